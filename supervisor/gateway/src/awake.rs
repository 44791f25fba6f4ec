//! Keeping the host awake: with `gateway.keep_awake` an inhibitor is held for as long as the gateway runs.
//!
//! It is a program of the system and a child of this process: `systemd-inhibit` on Linux, `caffeinate` on macOS. It ends with the gateway,
//! however that ends: the one runs a shell that reads a pipe whose other end only the gateway has, the other watches the gateway's process.
//! That it holds is known, not supposed: `systemd-inhibit` starts the shell, which says so, only when it has the lock. One that ends is
//! started again, ever later up to [`LONGEST`]; why it does not hold is in the status, and in the log once for each reason.
//!
//! Spawns and signals on the main thread alone, as everything here; `reap` collects.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStdin, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::{child, clock};
use hermes_wire::latest::{Problem, Severity};
use hermes_wire::text;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::board::Board;
use crate::supervise::Awake as View;
use crate::supervise::actor::Common;
use crate::supervise::reap::Children;
use crate::supervise::state::Exit;

/// The program that holds.
#[cfg(not(target_os = "macos"))]
const PROGRAM: &str = "systemd-inhibit";
#[cfg(target_os = "macos")]
const PROGRAM: &str = "caffeinate";
/// What the shell says that it runs with the lock held.
const SIGN: &str = "held";
/// Until the first new attempt.
const FIRST: Duration = Duration::from_secs(1);
/// Until the next one at most.
const LONGEST: Duration = Duration::from_secs(300);
/// One that held for this long begins with [`FIRST`] again.
const STABLE: Duration = Duration::from_secs(60);
/// Time that it has to take the lock before it counts as one that does not.
const TAKEN: Duration = Duration::from_secs(20);
/// Time that it has to end.
const END: Duration = Duration::from_secs(2);
/// What is read of what it says, in bytes.
const SAID: usize = 4096;

/// Whoever holds it.
pub(crate) struct Awake {
    wanted: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

impl Awake {
    /// Nothing is held yet. `config` is the primary's file, for what is said about the setting.
    pub(crate) fn new(board: Board, config: &Utf8Path, common: &Common) -> Self {
        let (wanted, receiver) = watch::channel(false);
        let config = config.to_owned();
        let keeper = Keeper { board, config, children: common.children.clone(), wanted: receiver };
        Self { wanted, task: Some(common.tracker.spawn(keeper.keep())) }
    }

    /// Whether it is to be held, from now on.
    pub(crate) fn want(&self, wanted: bool) {
        self.wanted.send_if_modified(|before| std::mem::replace(before, wanted) != wanted);
    }

    /// Holds nothing any more.
    pub(crate) async fn release(&mut self) {
        let Some(task) = self.task.take() else { return };
        // Its last sender: the task ends when it has let go.
        self.wanted = watch::channel(false).0;
        if tokio::time::timeout(END + FIRST, task).await.is_err() {
            tracing::warn!("{PROGRAM} does not end");
        }
    }
}

/// One process that holds, or is about to.
struct Inhibitor {
    pid: Pid,
    ended: oneshot::Receiver<Exit>,
    /// Says [`SIGN`].
    sign: pipe::Receiver,
    errors: pipe::Receiver,
    /// Its end ends it.
    _life: Option<ChildStdin>,
}

struct Keeper {
    board: Board,
    config: Utf8PathBuf,
    children: Children,
    wanted: watch::Receiver<bool>,
}

impl Keeper {
    /// Until nobody is left who could want it.
    async fn keep(mut self) {
        let mut delay = FIRST;
        let mut said = None;
        while self.wanted.has_changed().is_ok() {
            if !*self.wanted.borrow_and_update() {
                self.board.gateway(|view| view.awake = None);
                (delay, said) = (FIRST, None);
                // Without a sender it is over, as seen above.
                let _ = self.wanted.changed().await;
                continue;
            }
            let begun = clock::now();
            let Some(reason) = self.hold().await else { continue };
            if begun.elapsed() >= STABLE {
                delay = FIRST;
            }
            if said.as_ref() != Some(&reason) {
                tracing::warn!("the machine is not kept awake (gateway.keep_awake): {reason}");
                said = Some(reason.clone());
            }
            self.show(false, Some(reason));
            tokio::select! {
                // Not wanted any more, or nobody is left: both are seen above.
                _ = self.wanted.changed() => {}
                () = tokio::time::sleep(delay) => {}
            }
            delay = (delay * 2).min(LONGEST);
        }
    }

    fn show(&self, held: bool, reason: Option<String>) {
        let problem = reason.map(|reason| Problem {
            severity: Severity::Warning,
            code: "not_awake".to_owned(),
            platform: None,
            file: self.config.to_string(),
            line: None,
            column: None,
            key: Some("gateway.keep_awake".to_owned()),
            message: format!("the machine is not kept awake: {reason}"),
            fix: Some("it is tried again every few minutes; `hermes config set gateway.keep_awake false` gives it up".to_owned()),
        });
        self.board.gateway(|view| view.awake = Some(View { held, by: PROGRAM, problem }));
    }

    /// Holds for as long as it is wanted; why it ended before that.
    async fn hold(&mut self) -> Option<String> {
        let mut inhibitor = match self.start() {
            Ok(inhibitor) => inhibitor,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(format!("`{PROGRAM}` is not installed"));
            }
            Err(error) => return Some(format!("`{PROGRAM}` cannot be started: {error}")),
        };
        self.show(false, None);
        let taken = tokio::time::timeout(TAKEN, is_taken(&mut inhibitor.sign));
        let taken = tokio::select! {
            taken = taken => taken.unwrap_or(false),
            _ = self.wanted.changed() => {
                self.end(inhibitor).await;
                return None;
            }
        };
        if taken {
            tracing::info!(pid = inhibitor.pid.as_raw(), "{PROGRAM} keeps the machine awake");
            self.show(true, None);
            tokio::select! {
                _ = &mut inhibitor.ended => return Some(format!("`{PROGRAM}` ended")),
                _ = self.wanted.changed() => {
                    self.end(inhibitor).await;
                    return None;
                }
            }
        }
        // It has closed its output, or says nothing.
        let exit = tokio::time::timeout(END, &mut inhibitor.ended).await.ok().and_then(Result::ok);
        let mut bytes = vec![0; SAID];
        let read = inhibitor.errors.try_read(&mut bytes).unwrap_or(0);
        let said = String::from_utf8_lossy(&bytes[..read]).into_owned();
        let said = said
            .lines()
            .map(str::trim)
            .find(|line| !line.is_empty())
            .map(|line| text::visible(line).into_owned());
        let how =
            exit.as_ref().map_or_else(|| "says nothing".to_owned(), |exit| format!("ended with {exit}"));
        if exit.is_none() {
            self.end(inhibitor).await;
        }
        Some(format!("`{PROGRAM}` {how}{}", said.map(|line| format!(": {line}")).unwrap_or_default()))
    }

    fn start(&self) -> io::Result<Inhibitor> {
        let mut command = child::command(PROGRAM);
        if cfg!(target_os = "macos") {
            // Idle sleep and, on mains, system sleep; until this process is gone. It says nothing, so that is left to the shell.
            let own = std::process::id();
            let script = format!("echo {SIGN} && exec {PROGRAM} -i -s -w {own}");
            command = child::command("sh");
            command.args(["-c", &script]);
        } else {
            command.args(["--what=idle:sleep", "--mode=block", "--who=Hermes gateway"]);
            command.args(["--why=gateway.keep_awake is on", "sh", "-c", &format!("echo {SIGN} && exec cat")]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
        let ended = self.children.register(pid);
        let (sign, errors) = (child.stdout.take().map(OwnedFd::from), child.stderr.take().map(OwnedFd::from));
        let pipe = |end: Option<OwnedFd>| {
            pipe::Receiver::from_owned_fd(end.ok_or_else(|| io::Error::other("it has no output"))?)
        };
        Ok(Inhibitor { pid, ended, sign: pipe(sign)?, errors: pipe(errors)?, _life: child.stdin.take() })
    }

    /// Ends it and waits until it is gone.
    async fn end(&self, inhibitor: Inhibitor) {
        let Inhibitor { pid, mut ended, .. } = inhibitor;
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            // Does nothing once it was collected.
            self.children.signal(pid, signal);
            if tokio::time::timeout(END / 2, &mut ended).await.is_ok() {
                return;
            }
        }
    }
}

/// Whether it says that it holds the lock; it ends, or closes its output, where it does not.
async fn is_taken(sign: &mut pipe::Receiver) -> bool {
    let mut line = Vec::new();
    while line.len() < SAID {
        match sign.read_u8().await {
            Ok(b'\n') if line == SIGN.as_bytes() => return true,
            // It may say something itself first.
            Ok(b'\n') => line.clear(),
            Ok(byte) => line.push(byte),
            Err(_) => return false,
        }
    }
    false
}
