//! The gateway becomes the program that is on disk now: the same process, the same listening sockets, another image.
//!
//! # Theory of operation
//!
//! The program on disk proves that it is a gateway, as a child, and says whether it goes on with workers; the request is answered; no
//! more connections are accepted (they wait in the listeners' backlog), and requests in flight are answered. Then there are two ways.
//!
//! **With workers** ([`super::succession`]), where the program knows how: workers run on, and everything that is known of them and every
//! descriptor passes to the new image in one document ([`crate::handover`]): listeners, both command sockets, the admin listener, the
//! lock, and of each worker its data socket, control connection and road. The new image serves at once, with the workers that are there,
//! and then replaces them one by one as a restart does. What clients wait for is the change of the image alone; turns are not even
//! waited for.
//!
//! **Without**, for releases from before that: everything is taken down as at a stop, the lock is released, and the new
//! program finds the listeners by a variable and starts as always.
//!
//! **When it does not come up.** One that cannot be executed is seen at once, and the running image is executed again. One that is
//! executed and cannot go on, before it has read a single byte of a worker, becomes the image before again ([`super::lifeline`]): that one
//! finds the document and every descriptor as it had left them, goes on, and says why in its log and its status. A stop that
//! is asked for on the way is a stop.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use hermes_host::child;
use hermes_wire::{env, exit};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, Pid, access};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::answers::Replies;
use super::estate::Estate;
use crate::guard::Guard;
use crate::instance::Instance;
use crate::program;
use crate::proxy::Inherited;
use crate::rendezvous::Kept;
use crate::supervise::reap::Children;
use crate::supervise::state::Exit;

/// Longest answer that is looked at.
const MAX_PROOF: u64 = 16 * 1024;
/// Time a program has to look at the files of every profile.
const CHECK_TIME: Duration = Duration::from_mins(3);
/// The running image, whatever became of its file.
const RUNNING: &str = "/proc/self/exe";

/// What this process is about to become.
#[derive(Debug)]
pub(super) struct Renewal {
    program: Program,
    /// The sockets that it takes along.
    pub(super) listeners: Inherited,
    /// The one on which newer Python programs ask.
    pub(super) socket: Option<Kept>,
    /// Everything else that it takes along, where the program goes on with workers.
    pub(super) estate: Option<Estate>,
}

/// A program that this process may become.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// It goes on with the workers that run.
    pub(super) succeeds: bool,
}

/// Whether, and as what, this process goes on when everything is taken down.
pub(super) struct Renewals {
    /// The command line, executed again, is this gateway again.
    repeatable: bool,
    /// Everything is taken down in order to become this.
    next: Option<Renewal>,
    /// Where the program on disk, asked whether it is a gateway, is told of.
    proved: (mpsc::Sender<Proved>, mpsc::Receiver<Proved>),
}

impl Renewals {
    pub(super) fn new(repeatable: bool) -> Self {
        Self { repeatable, next: None, proved: mpsc::channel(4) }
    }

    /// See [`super::GatewayOptions::repeatable`].
    pub(super) fn are_possible(&self) -> bool {
        self.repeatable
    }

    /// Whether this process is about to become another program.
    pub(super) fn is_under_way(&self) -> bool {
        self.next.is_some()
    }

    /// Asks the program on disk, if there is one; [`Self::next`] tells what it said.
    pub(super) fn ask(&self, tracker: &TaskTracker, children: Children, asked: Asked, replies: Replies) {
        let Asked { waits, check } = asked;
        let proved = self.proved.0.clone();
        tracker.spawn(async move {
            let program = match program_on_disk() {
                Ok(path) => match proof(&children, &path).await {
                    Ok(succeeds) => match check {
                        Some(check) => check.run(&children, &path).await,
                        None => Ok(()),
                    }
                    .map(|()| Program { path, succeeds }),
                    Err(refusal) => Err(refusal),
                },
                Err(refusal) => Err(refusal),
            };
            // A gateway that has ended meanwhile needs no program.
            let _ = proved.send(Proved { program, waits, replies }).await;
        });
    }

    /// What the program on disk has said. Safe to cancel.
    pub(super) async fn next(&mut self) -> Proved {
        match self.proved.1.recv().await {
            Some(proved) => proved,
            // A sender is held here.
            None => std::future::pending().await,
        }
    }

    /// When all is taken down, this process becomes `program`.
    pub(super) fn begin(&mut self, program: Program) {
        self.next = Some(Renewal { program, listeners: Inherited::default(), socket: None, estate: None });
    }

    /// Whether this process is about to become a program that goes on with the workers that run.
    pub(super) fn passes_workers(&self) -> bool {
        self.next.as_ref().is_some_and(|renewal| renewal.program.succeeds)
    }

    /// It takes all of this along.
    pub(super) fn take_along_estate(&mut self, estate: Estate) {
        if let Some(renewal) = &mut self.next {
            renewal.estate = Some(estate);
        }
    }

    /// It takes these sockets along.
    pub(super) fn take_along(&mut self, listeners: Inherited) {
        if let Some(renewal) = &mut self.next {
            renewal.listeners = listeners;
        }
    }

    /// And this one.
    pub(super) fn take_along_socket(&mut self, socket: Option<Kept>) {
        if let Some(renewal) = &mut self.next {
            renewal.socket = socket;
        }
    }

    /// Somebody wants a stop instead. True: the process was about to go on as another program.
    pub(super) fn stop_instead(&mut self, who: &str) -> bool {
        let was = self.next.take().is_some();
        if was {
            tracing::warn!("{who}: stopping, instead of taking up the program on disk");
        }
        was
    }

    /// What this process is to become now.
    pub(super) fn take(&mut self) -> Option<Renewal> {
        self.next.take()
    }
}

/// What is said where there is nothing to become, and the next step.
pub(super) type Refusal = (String, &'static str);

const HINT: &str = "install it again; the running gateway goes on with the program that it was started from";

/// The program on disk has been asked whether it is a gateway.
pub(super) struct Proved {
    pub(super) program: Result<Program, Refusal>,
    pub(super) waits: bool,
    pub(super) replies: Replies,
}

/// How a program is asked.
pub(super) struct Asked {
    /// Whoever asks waits for the result.
    pub(super) waits: bool,
    /// Nobody has asked it yet whether it would start.
    pub(super) check: Option<Check>,
}

/// Whose gateway it would start.
pub(super) struct Check {
    pub(super) root: camino::Utf8PathBuf,
    pub(super) profile: hermes_wire::ProfileName,
}

impl Check {
    /// Lets the program look at the files of every profile.
    async fn run(&self, children: &Children, program: &Path) -> Result<(), Refusal> {
        let mut command = child::command_passing(program.to_str().unwrap_or_default(), &[env::MULTIPLEX]);
        command.args(["gateway", "check", "--renewal"]).env(env::HERMES_HOME, self.root.as_str());
        if !self.profile.is_default() {
            command.args(["-p", self.profile.as_str()]);
        }
        let no = |why: &str| {
            let text =
                format!("the program `{}` would not start: {why}; nothing was changed", program.display());
            (text, "`hermes gateway check` lists what it finds")
        };
        match said(children, command, CHECK_TIME).await {
            Ok((_, true)) => Ok(()),
            Ok((printed, false)) => {
                let printed = String::from_utf8_lossy(&printed).into_owned();
                Err(no(printed.lines().find(|line| !line.trim().is_empty()).unwrap_or("it fails")))
            }
            Err(why) => Err(no(&why)),
        }
    }
}

/// Asks a program whether it is a gateway, and whether it goes on with workers.
async fn proof(children: &Children, program: &Path) -> Result<bool, Refusal> {
    let no = |why: &dyn std::fmt::Display| {
        let text = format!(
            "the program `{}` does not prove to be a gateway: {why}; nothing was changed",
            program.display()
        );
        (text, HINT)
    };
    let ask = |arguments: [&str; 3]| {
        let mut command = child::command(program.to_str().unwrap_or_default());
        command.args(arguments);
        said(children, command, program::PROOF_TIME)
    };
    let (printed, ended_well) = ask(program::PROOF_ARGUMENTS).await.map_err(|why| no(&why))?;
    program::judge_proof(&printed, ended_well).map_err(|why| no(&why))?;
    match ask(program::SUCCESSION_ARGUMENTS).await {
        Ok((printed, ended_well)) => Ok(program::succeeds(&printed, ended_well)),
        Err(why) => {
            tracing::warn!(program = %program.display(), "it does not say whether it goes on with workers: {why}");
            Ok(false)
        }
    }
}

/// What a program prints, and whether it ends well. Its end is collected like a worker's, with whatever it started.
async fn said(
    children: &Children,
    mut command: std::process::Command,
    time: Duration,
) -> Result<(Vec<u8>, bool), String> {
    command.stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut started = command.spawn().map_err(|error| error.to_string())?;
    let pid = Pid::from_raw(started.id().cast_signed());
    let exited = children.register(pid);
    let answered = async {
        let stdout = started.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let stdout = tokio::net::unix::pipe::Receiver::from_owned_fd(stdout.into())?;
        let mut printed = Vec::new();
        stdout.take(MAX_PROOF).read_to_end(&mut printed).await?;
        Ok::<_, std::io::Error>((printed, exited.await.ok()))
    };
    match tokio::time::timeout(time, answered).await {
        Ok(Ok((printed, exit))) => Ok((printed, exit == Some(Exit::Code(0)))),
        Ok(Err(error)) => {
            children.signal(pid, Signal::SIGKILL);
            Err(error.to_string())
        }
        Err(_) => {
            children.signal(pid, Signal::SIGKILL);
            Err(format!("it did not answer within {} s", time.as_secs()))
        }
    }
}

/// The file that this process was started from, as it is now.
fn program_on_disk() -> Result<PathBuf, Refusal> {
    let program = program::own_path().map_err(|error| {
        (format!("the file of the running program cannot be found ({error})"), "restart the gateway")
    })?;
    let is_file = fs_err::metadata(&program).map(|found| found.is_file());
    let why = match (is_file, access(&program, AccessFlags::X_OK)) {
        (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => "is gone".to_owned(),
        (Err(error), _) => format!("cannot be looked at ({error})"),
        (Ok(false), _) => "is not a file".to_owned(),
        (Ok(true), Err(errno)) => format!("cannot be executed ({})", errno.desc()),
        (Ok(true), Ok(())) => return Ok(program),
    };
    Err((format!("the program `{}` {why}; nothing was changed", program.display()), HINT))
}

/// Becomes that program, with the command line and the environment of this one. `kept` is what holds the home. Call from the main
/// thread, when nothing is left that would have to end in order. Returns, with the exit code, only where no program can be executed.
pub(super) fn execute(renewal: Renewal, (instance, guard): (Instance, Option<Guard>)) -> u8 {
    let Renewal { program, listeners, socket, estate } = renewal;
    let mut handed = if let Some(estate) = estate {
        estate.publish((listeners, socket), (instance, guard))
    } else {
        drop(guard);
        instance.release();
        publish(&listeners, socket.as_ref())
    };
    for image in [&program.path, Path::new(RUNNING)] {
        tracing::info!("becoming {}", image.display());
        crate::logging::flush();
        let Err(error) = replace_image(image, &handed);
        tracing::error!(program = %image.display(), %error, "the program cannot be executed");
        handed.push((env::RETURNED, format!("it cannot be executed ({})", error.desc())));
    }
    exit::RESTART
}

/// What a program is told of listeners alone.
fn publish(listeners: &Inherited, socket: Option<&Kept>) -> Vec<(&'static str, String)> {
    let listeners = match listeners.publish() {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::error!(%error, "the listeners cannot be handed over; connections are refused for a moment");
            std::process::id().to_string()
        }
    };
    let mut handed = vec![(env::LISTENERS, listeners)];
    match socket.map(Kept::publish) {
        Some(Ok(socket)) => handed.push((env::GATEWAY_SOCKET, socket)),
        Some(Err(error)) => {
            tracing::error!(%error, "newer Python programs do not reach this gateway for a moment");
        }
        None => {}
    }
    handed
}

fn replace_image(image: &Path, handed: &[(&str, String)]) -> Result<Infallible, Errno> {
    let image = text(image.as_os_str().as_bytes().to_vec())?;
    let (arguments, variables) = call(handed)?;
    // Not by `execvp`, which lets a shell read what is no program.
    nix::unistd::execve(&image, &arguments, &variables)
}

/// The command line and the environment of this process, with `handed` and nothing else that one program hands to another.
pub(super) fn call(handed: &[(&str, String)]) -> Result<(Vec<CString>, Vec<CString>), Errno> {
    const OURS: [&str; 4] = [env::LISTENERS, env::GATEWAY_SOCKET, env::HANDOVER, env::RETURNED];
    // In a handover each listener says whether it is the manager's; without one the numbers of the manager still mean what they did.
    const MANAGERS: [&str; 3] = [env::LISTEN_FDS, env::LISTEN_FDNAMES, "LISTEN_PID"];
    let passes = handed.iter().any(|(name, _)| *name == env::HANDOVER);
    let is_left_out = |name: &OsString| {
        OURS.iter().any(|ours| name == ours) || (passes && MANAGERS.iter().any(|theirs| name == theirs))
    };
    let arguments = std::env::args_os().map(|word| text(word.into_vec())).collect::<Result<Vec<_>, _>>()?;
    let others = std::env::vars_os().filter(|(name, _)| !is_left_out(name));
    let variables = others
        .chain(handed.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
        .map(|(name, value)| text([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<_>, _>>()?;
    Ok((arguments, variables))
}

fn text(bytes: Vec<u8>) -> Result<CString, Errno> {
    CString::new(bytes).map_err(|_| Errno::EINVAL)
}
