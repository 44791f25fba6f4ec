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
use std::time::Duration;

use hermes_host::child;
use hermes_wire::latest::ClientReply;
use hermes_wire::{env, exit};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{AccessFlags, Pid, access};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::gateway::Gateway;
use super::requests::{answer, done};
use crate::program;
use crate::proxy::Inherited;
use crate::server::refused;
use crate::supervise::reap::Children;
use crate::supervise::state::Exit;

/// For requests on connections that were accepted in the last moment.
const LAST_REQUESTS: Duration = Duration::from_millis(250);
/// Longest answer that is looked at.
const MAX_PROOF: u64 = 1024;
/// The running image, whatever became of its file.
const RUNNING: &str = "/proc/self/exe";

/// What this process is about to become.
#[derive(Debug)]
pub(crate) struct Renewal {
    program: PathBuf,
    listeners: Inherited,
}

impl Gateway {
    /// Lets the program on disk prove itself, if there is one and this process may become it; [`Self::renew`] goes on.
    pub(super) async fn prove(&mut self, waits: bool, replies: mpsc::Sender<ClientReply>) {
        if !self.may_renew(&replies).await {
            return;
        }
        let (proved, children) = (self.proved.0.clone(), self.common.children.clone());
        self.common.tracker.spawn(async move {
            let program = match program_on_disk() {
                Ok(program) => proof(&children, &program).await.map(|()| program),
                Err(refusal) => Err(refusal),
            };
            // A gateway that has ended meanwhile needs no program.
            let _ = proved.send(Proved { program, waits, replies }).await;
        });
    }

    /// Whether it may at all; says why not.
    async fn may_renew(&self, replies: &mpsc::Sender<ClientReply>) -> bool {
        if !self.repeatable {
            let message = "a gateway of `hermes demo` cannot take up another program";
            let hint = Some("end it and start it again".to_owned());
            answer(replies, refused(exit::FAILURE, message, hint)).await;
            return false;
        }
        if let Some(profile) = self.released.keys().next() {
            let message = format!("a command is moving or removing profile '{profile}'");
            answer(replies, refused(exit::RESTART, &message, Some("try again in a moment".to_owned()))).await;
            return false;
        }
        true
    }

    /// Remembers that this process shall become the program on disk. True: begin.
    pub(super) async fn renew(&mut self, proved: Proved) -> bool {
        let Proved { program, waits, replies } = proved;
        let replies = &replies;
        let program = match program {
            Ok(program) => program,
            Err((message, hint)) => {
                answer(replies, refused(exit::FAILURE, &message, Some(hint.to_owned()))).await;
                return false;
            }
        };
        if !self.may_renew(replies).await {
            return false;
        }
        if !waits {
            let line = "accepted; it is carried out without waiting for this turn";
            answer(replies, ClientReply::Progress(line.to_owned())).await;
        }
        let line = format!("the gateway (PID {}) takes up {}", std::process::id(), program.display());
        answer(replies, done(&line)).await;
        self.renewal = Some(Renewal { program, listeners: Inherited::default() });
        true
    }

    /// Lets connections wait from now on, before anything is taken down.
    pub(super) async fn keep_listeners(&mut self) {
        if let (Some(proxy), Some(renewal)) = (&mut self.proxy, &mut self.renewal) {
            renewal.listeners = proxy.keep_listeners();
            tokio::time::sleep(LAST_REQUESTS).await;
        }
    }

    /// Somebody wants a stop instead. True: the process was about to go on as another program.
    pub(super) fn stop_instead(&mut self, who: &str) -> bool {
        let was = self.renewal.take().is_some();
        if was {
            tracing::warn!("{who}: stopping, instead of taking up the program on disk");
        }
        was
    }
}

/// What is said where there is nothing to become, and the next step.
type Refusal = (String, &'static str);

const HINT: &str = "install it again; the running gateway goes on with the program that it was started from";

/// The program on disk has been asked whether it is a gateway.
pub(super) struct Proved {
    program: Result<PathBuf, Refusal>,
    waits: bool,
    pub(super) replies: mpsc::Sender<ClientReply>,
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
    for image in [&renewal.program, Path::new(RUNNING)] {
        tracing::info!("becoming {}", image.display());
        crate::logging::flush();
        let Err(error) = replace_image(image, &listeners);
        tracing::error!(program = %image.display(), %error, "the program cannot be executed");
    }
    exit::RESTART
}

fn replace_image(image: &Path, listeners: &str) -> Result<Infallible, Errno> {
    let text = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| Errno::EINVAL);
    let arguments = std::env::args_os().map(|word| text(word.into_vec())).collect::<Result<Vec<_>, _>>()?;
    let others = std::env::vars_os().filter(|(name, _)| name != env::LISTENERS);
    let variables = others
        .chain([(env::LISTENERS.into(), OsString::from(listeners))])
        .map(|(name, value)| text([name.as_bytes(), b"=", value.as_bytes()].concat()))
        .collect::<Result<Vec<_>, _>>()?;
    let image = text(image.as_os_str().as_bytes().to_vec())?;
    // Not by `execvp`, which lets a shell read what is no program.
    nix::unistd::execve(&image, &arguments, &variables)
}
