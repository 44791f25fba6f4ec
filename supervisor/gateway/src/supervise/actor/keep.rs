//! One task a process: carries its messages, and tells when the connection and when the process ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hermes_host::cause::Chain;
use hermes_wire::latest::ToWorker;
use hermes_wire::{ProfileHome, exit};
use nix::unistd::Pid;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::super::memory::OomKills;
use super::super::state::Exit;
use super::Input;
use crate::generation::Generation;
use crate::link::{self, LinkError, Opening};
use crate::status_files;

/// How long a starting process keeps others from starting.
const GATE_TIME: Duration = Duration::from_secs(1);
/// How long the last words of a process are waited for.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// A process, and how its connection begins.
pub(super) struct Process {
    pub(super) opening: Opening<UnixStream>,
    /// Cancelled when this program hands its workers over to another one.
    pub(super) hand: CancellationToken,
    pub(super) generation: Generation,
    pub(super) pid: Pid,
    pub(super) home: ProfileHome,
    pub(super) exited: oneshot::Receiver<Exit>,
    /// Of one that was just started.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) memory: Arc<OomKills>,
}

/// Keeps one process: carries its messages, and tells when the connection and when the process ended.
pub(super) async fn keep(
    process: Process,
    outgoing: mpsc::Receiver<Box<ToWorker>>,
    inputs: mpsc::Sender<Input>,
) {
    let Process { opening, hand, generation, pid, home, mut exited, permit, memory } = process;
    // Others may start once this one has spoken, or has had its time.
    let permit = Mutex::new(permit);
    let release = || drop(permit.lock().unwrap_or_else(PoisonError::into_inner).take());
    let wrap = |message| {
        release();
        Input::Said { generation, message: Box::new(message) }
    };
    let linked = link::run(opening, outgoing, &inputs, wrap, &hand);
    tokio::pin!(linked);
    let mut gate_over = std::pin::pin!(tokio::time::sleep(GATE_TIME));
    let mut gated = true;
    let exit = loop {
        tokio::select! {
            biased;
            result = &mut linked => {
                release();
                if let Ok(Some(handed)) = result {
                    let _ = inputs.send(Input::Handed { generation, handed: Box::new(handed) }).await;
                    return;
                }
                let broken = result.as_ref().err().and_then(broken);
                if let Err(error) = &result {
                    tracing::debug!(%generation, error = %Chain(error), "the control connection ended");
                }
                let _ = inputs.send(Input::LinkClosed { generation, broken }).await;
                break exited.await;
            }
            exit = &mut exited => {
                let _ = tokio::time::timeout(LAST_WORDS, &mut linked).await;
                break exit;
            }
            () = &mut gate_over, if gated => {
                gated = false;
                release();
            }
        }
    };
    let exit = exit.unwrap_or_else(|_| {
        tracing::error!(%generation, "the end of the process was not reported");
        Exit::Signal(0)
    });
    let exit = match exit {
        Exit::Signal(nix::libc::SIGKILL) if memory.has_grown() => Exit::OutOfMemory,
        exit => exit,
    };
    let said = last_words(exit, home, pid).await;
    let _ = inputs.send(Input::Exited { generation, exit, said }).await;
}

/// What a worker is ended for that does not keep to the protocol. A connection that merely ended is no such thing.
fn broken(error: &LinkError) -> Option<String> {
    match error {
        LinkError::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => None,
        // Longer than anything it may say; the frame was not read.
        LinkError::Io(_) => Some("it sent a message that is too long".to_owned()),
        LinkError::Violation(violation) => Some(violation.to_string()),
        LinkError::Handshake(_) | LinkError::Codec(_) => Some(Chain(error).to_string()),
        LinkError::WriteTimeout => Some("it does not read what it is told".to_owned()),
    }
}

/// What a process that failed wrote down as its reason.
async fn last_words(exit: Exit, home: ProfileHome, pid: Pid) -> Option<String> {
    if !matches!(exit, Exit::Code(code) if code != i32::from(exit::OK) && code != i32::from(exit::RESTART)) {
        return None;
    }
    let read = hermes_host::blocking::run(move || status_files::read(&home));
    let status = tokio::time::timeout(LAST_WORDS, read).await.ok()?.ok()??;
    let own = status.pid.and_then(|pid| i32::try_from(pid).ok()) == Some(pid.as_raw());
    let ended = matches!(status.gateway_state.as_deref(), Some("startup_failed" | "stopped"));
    status.exit_reason.filter(|_| own && ended)
}
