//! The gateway becomes the program that is on disk now: the same process, the same listening sockets, another image.
//!
//! Order: the program on disk proves that it is a gateway, the request is answered, no more connections are accepted (they wait in the
//! listeners' backlog), everything is taken down as at a stop, the lock is released, the image is replaced. The new program
//! finds the sockets by a variable and starts as always. A stop that is asked for on the way is a stop. Should the program on
//! disk turn out not to be executable at the last moment, the running image is executed again and serves on.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use hermes_host::child;
use hermes_wire::{env, exit};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, Pid, access};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::answers::Replies;
use crate::program;
use crate::proxy::Inherited;
use crate::rendezvous::Kept;
use crate::supervise::reap::Children;
use crate::supervise::state::Exit;

/// Longest answer that is looked at.
const MAX_PROOF: u64 = 1024;
/// The running image, whatever became of its file.
const RUNNING: &str = "/proc/self/exe";

/// What this process is about to become.
#[derive(Debug)]
pub(super) struct Renewal {
    program: PathBuf,
    /// The sockets that it takes along.
    listeners: Inherited,
    /// The one on which newer Python programs ask.
    socket: Option<Kept>,
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
    pub(super) fn ask(&self, tracker: &TaskTracker, children: Children, waits: bool, replies: Replies) {
        let proved = self.proved.0.clone();
        tracker.spawn(async move {
            let program = match program_on_disk() {
                Ok(program) => proof(&children, &program).await.map(|()| program),
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
    pub(super) fn begin(&mut self, program: PathBuf) {
        self.next = Some(Renewal { program, listeners: Inherited::default(), socket: None });
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
    pub(super) program: Result<PathBuf, Refusal>,
    pub(super) waits: bool,
    pub(super) replies: Replies,
}

/// Asks a program whether it is a gateway. Its end is collected like a worker's, with whatever it started.
async fn proof(children: &Children, program: &Path) -> Result<(), Refusal> {
    let no = |why: &dyn std::fmt::Display| {
        let text = format!(
            "the program `{}` does not prove to be a gateway: {why}; nothing was changed",
            program.display()
        );
        (text, HINT)
    };
    let Some(name) = program.to_str() else { return Err(no(&"its path is not UTF-8")) };
    let mut command = child::command(name);
    command.args(program::PROOF_ARGUMENTS).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut started = command.spawn().map_err(|error| no(&error))?;
    let pid = Pid::from_raw(started.id().cast_signed());
    let exited = children.register(pid);
    let answered = async {
        let stdout = started.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        let stdout = tokio::net::unix::pipe::Receiver::from_owned_fd(stdout.into())?;
        let mut printed = Vec::new();
        stdout.take(MAX_PROOF).read_to_end(&mut printed).await?;
        Ok::<_, std::io::Error>((printed, exited.await.ok()))
    };
    match tokio::time::timeout(program::PROOF_TIME, answered).await {
        Ok(Ok((printed, exit))) => {
            program::judge_proof(&printed, exit == Some(Exit::Code(0))).map_err(|why| no(&why))
        }
        Ok(Err(error)) => {
            children.signal(pid, Signal::SIGKILL);
            Err(no(&error))
        }
        Err(_) => {
            children.signal(pid, Signal::SIGKILL);
            Err(no(&format!("it did not answer within {} s", program::PROOF_TIME.as_secs())))
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

/// Becomes that program, with the command line and the environment of this one. Call from the main thread, when nothing is left
/// that would have to end in order. Returns, with the exit code, only where no program can be executed.
pub(super) fn execute(renewal: &Renewal) -> u8 {
    let listeners = match renewal.listeners.publish() {
        Ok(listeners) => listeners,
        Err(error) => {
            tracing::error!(%error, "the listeners cannot be handed over; connections are refused for a moment");
            std::process::id().to_string()
        }
    };
    let mut handed = vec![(env::LISTENERS, listeners)];
    match renewal.socket.as_ref().map(Kept::publish) {
        Some(Ok(socket)) => handed.push((env::GATEWAY_SOCKET, socket)),
        Some(Err(error)) => {
            tracing::error!(%error, "newer Python programs do not reach this gateway for a moment");
        }
        None => {}
    }
    for image in [&renewal.program, Path::new(RUNNING)] {
        tracing::info!("becoming {}", image.display());
        crate::logging::flush();
        let Err(error) = replace_image(image, &handed);
        tracing::error!(program = %image.display(), %error, "the program cannot be executed");
    }
    exit::RESTART
}

fn replace_image(image: &Path, handed: &[(&str, String)]) -> Result<Infallible, Errno> {
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::EINVAL);
    let arguments = std::env::args_os().map(|word| text(word.into_vec())).collect::<Result<Vec<_>, _>>()?;
    let others =
        std::env::vars_os().filter(|(name, _)| name != env::LISTENERS && name != env::GATEWAY_SOCKET);
    let variables = others
        .chain(handed.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))))
        .map(|(name, value)| text([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<_>, _>>()?;
    let image = text(image.as_os_str().as_bytes().to_vec())?;
    // Not by `execvp`, which lets a shell read what is no program.
    nix::unistd::execve(&image, &arguments, &variables)
}
