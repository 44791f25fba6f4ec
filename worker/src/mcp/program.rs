//! A server that is a program: started for one connection, and ended with it.
//!
//! Its standard input is closed first, which tells it to end; what is left of its group after that is killed. Dropping it kills the
//! group at once. What it prints on its standard error goes to the profile's log, a part of it where it is too much.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camino::Utf8Path;
use hermes_config::servers::ToolServer;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::TaskTracker;

use super::Premises;
use super::fault::{Fault, shown};
use super::reader::Bounded;
use crate::children::{self, Group};

/// Time to end after its input was closed, and once more after it was asked to.
const GRACE: Duration = Duration::from_secs(1);
/// Between two looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(10);
/// Longest line of its messages that is logged, in bytes.
const LINE: usize = 2000;
/// Lines that are logged at once, and a second from then on.
const LINES: f64 = 200.0;
const RATE: f64 = 10.0;
/// Last lines that are kept to say why it ended.
const KEPT: usize = 3;
/// Time for its last messages to arrive.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The program of one connection.
pub(super) struct Program {
    group: Group,
    said: Arc<Mutex<VecDeque<String>>>,
    /// Whether a message of it was too long.
    is_over: Arc<AtomicBool>,
    heard: tokio::sync::watch::Receiver<bool>,
}

impl Program {
    /// Starts it. Its standard output and input are whoever talks to it.
    pub(super) async fn start(
        server: &ToolServer,
        premises: &Premises,
        tasks: &TaskTracker,
    ) -> Result<(Self, Bounded<ChildStdout>, ChildStdin), Fault> {
        let name = server.command.as_deref().unwrap_or_default();
        let mut environment = premises.surroundings.plain();
        let user_home = environment.iter().find(|(name, _)| *name == "HOME").map(|(_, home)| home.to_owned());
        let tilde = |text: &str| match (text.strip_prefix("~/"), &user_home) {
            (Some(below), Some(home)) => format!("{home}/{below}"),
            _ => text.to_owned(),
        };
        let dir = match &server.cwd {
            Some(cwd) => premises.home.path().join(tilde(cwd)),
            None if premises.dir.is_dir() => premises.dir.clone(),
            None => premises.home.path().to_owned(),
        };
        if !dir.is_dir() {
            return Err(Fault::lasting(format!(
                "the directory `{dir}`, in which it is to run, is not there"
            )));
        }
        for (name, value) in &server.env {
            environment.set(name, value.expose());
        }
        let mut program = children::Program::new(tilde(name), &dir, environment).heard();
        program.stdin = Stdio::piped();
        program.arguments = server.args.iter().map(|argument| argument.expose().into()).collect();
        let mut group =
            premises.fence.start(program).await.map_err(|error| not_started(name, &dir, &error))?;
        let child = &mut group.child;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Fault::new("its input and output cannot be reached"));
        };
        let said = Arc::new(Mutex::new(VecDeque::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (done, heard) = tokio::sync::watch::channel(false);
        let listener = Listener { server: server.clone(), said: Arc::clone(&said) };
        tasks.spawn(async move {
            listener.listen(stderr).await;
            done.send_replace(true);
        });
        let stdout = Bounded::new(stdout, Arc::clone(&is_over));
        Ok((Self { group, said, is_over, heard }, stdout, stdin))
    }

    /// Waits until it has ended. Its number stays its own.
    async fn ended(&self) {
        let Some(pid) = self.pid() else { return };
        while is_running(pid) {
            sleep(LOOK).await;
        }
    }

    fn pid(&self) -> Option<Pid> {
        self.group.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)
    }

    /// Ends it with all that it started, and says how it ended, where that says anything. Its input is closed already.
    pub(super) async fn end(mut self) -> Option<String> {
        let begun = Instant::now();
        for signal in [None, Some(Signal::SIGTERM)] {
            if let (Some(signal), Some(pid)) = (signal, self.pid()) {
                let _ = killpg(pid, signal);
            }
            if timeout(GRACE, self.ended()).await.is_ok() {
                break;
            }
        }
        let was_quick = begun.elapsed() < LOOK * 5;
        // What it started may not have ended with it.
        if let Some(pid) = self.pid() {
            let _ = killpg(pid, Signal::SIGKILL);
        }
        let status = self.group.child.wait().await;
        let _ = timeout(LAST_WORDS, self.heard.wait_for(|done| *done)).await;
        if self.is_over.load(Ordering::Relaxed) {
            return Some(format!("a message of it was longer than {} MiB", super::reader::LONGEST >> 20));
        }
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = said.iter().map(String::as_str).collect::<Vec<_>>().join(" / ");
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        match status {
            Ok(status) if was_quick => Some(format!("it ended with {status}{said}")),
            _ if said.is_empty() => None,
            _ => Some(format!("it said{said}")),
        }
    }
}

fn not_started(name: &str, dir: &Utf8Path, error: &std::io::Error) -> Fault {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    match error.kind() {
        NotFound if name.contains('/') => {
            Fault::lasting(format!("there is no program `{name}` (seen from `{dir}`)"))
        }
        NotFound => Fault::lasting(format!("there is no program `{name}` in `PATH`")),
        PermissionDenied if error.get_ref().is_none() => {
            Fault::lasting(format!("`{name}` may not be started"))
        }
        PermissionDenied => Fault::lasting(format!("`{name}` cannot be started: {error}")),
        _ => Fault::new(format!("`{name}` cannot be started: {error}")),
    }
}

/// Hears what a program says on its standard error.
struct Listener {
    server: ToolServer,
    said: Arc<Mutex<VecDeque<String>>>,
}

impl Listener {
    async fn listen(self, mut stderr: impl AsyncRead + Unpin) {
        let mut line = Vec::with_capacity(LINE / 4);
        let mut piece = vec![0; LINE];
        let (mut left, mut at, mut missing) = (LINES, Instant::now(), 0_u64);
        // A broken pipe is an end like any other.
        while let Ok(len) = stderr.read(&mut piece).await
            && len > 0
        {
            let now = Instant::now();
            left = (left + now.duration_since(at).as_secs_f64() * RATE).min(LINES);
            at = now;
            for part in piece[..len].split_inclusive(|byte| *byte == b'\n') {
                let room = LINE.saturating_sub(line.len());
                line.extend_from_slice(&part[..part.len().min(room)]);
                if !part.ends_with(b"\n") {
                    continue;
                }
                if left < 1.0 {
                    missing += 1;
                } else {
                    left -= 1.0;
                    self.log(&line, std::mem::take(&mut missing));
                }
                line.clear();
            }
        }
        self.log(&line, missing);
    }

    fn log(&self, line: &[u8], missing: u64) {
        let server = self.server.name.as_str();
        if missing > 0 {
            tracing::info!(server, "it said {missing} lines more, which are not kept");
        }
        let line = String::from_utf8_lossy(line);
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        let line = shown(line, &self.server);
        tracing::info!(server, "it says: {line}");
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() == KEPT {
            said.pop_front();
        }
        said.push_back(line);
    }
}

/// Whether a child of ours has not ended yet; it is not collected.
#[cfg(target_os = "linux")]
fn is_running(pid: Pid) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::EINTR))
}

/// Nobody can look without collecting it here: it is given all the time there is.
#[cfg(not(target_os = "linux"))]
fn is_running(_: Pid) -> bool {
    true
}
