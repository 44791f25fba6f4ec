//! Collects ended processes. The only caller of `wait*` in this program.
//!
//! Every child is ours to collect: workers, and what they left behind, which the kernel hands to us because we are a subreaper
//! (or process 1 of a container). A worker's process group is killed while its leader is still a zombie, so its number cannot
//! have been given to anybody else; nothing that a worker started outlives it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal as listen};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::state::Exit;

/// The worker processes that have not been collected yet.
#[derive(Clone, Default)]
pub(crate) struct Children(Arc<Mutex<HashMap<Pid, oneshot::Sender<Exit>>>>);

impl Children {
    /// From now on the end of `pid` is told to the receiver. Call before anything is awaited after the spawn.
    pub(crate) fn register(&self, pid: Pid) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(pid, sender);
        receiver
    }

    /// Sends a signal to a worker's process group. Does nothing once it was collected: the number may be somebody else's.
    pub(crate) fn signal(&self, pid: Pid, signal: Signal) {
        if self.lock().contains_key(&pid)
            && let Err(error) = signal::killpg(pid, signal)
            && error != Errno::ESRCH
        {
            tracing::warn!(pid = pid.as_raw(), %signal, %error, "a worker cannot be signalled");
        }
    }

    /// How many workers are not collected.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Collects everything that has ended.
    pub(crate) fn collect(&self) {
        loop {
            // Look first, collect after: the zombie keeps its number reserved.
            let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let pid = match waitid(Id::All, peek) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return,
            };
            let worker = self.lock().remove(&pid);
            if worker.is_some() {
                // No such group is the usual answer: nothing was left.
                let _ = signal::killpg(pid, Signal::SIGKILL);
            }
            let status = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            let exit = match status {
                Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
                other => {
                    tracing::warn!(pid = pid.as_raw(), ?other, "an ended process could not be collected");
                    return;
                }
            };
            match worker {
                // Nobody listens after the actor has gone; the process is collected either way.
                Some(worker) => drop(worker.send(exit)),
                None => {
                    tracing::debug!(pid = pid.as_raw(), %exit, "collected a process that a worker had left behind")
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Pid, oneshot::Sender<Exit>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects children whenever one has ended, until cancelled. Starts listening before it returns its future, so that no end
/// before the first poll is missed.
pub(crate) fn reaper(
    children: Children,
    stop: CancellationToken,
) -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    let mut ended = listen(SignalKind::child())?;
    Ok(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ended.recv() => children.collect(),
            }
        }
        children.collect();
    })
}

/// Asks the kernel to hand us what dead workers leave behind.
pub(crate) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "cannot become a subreaper; what dead workers leave behind goes to process 1");
    }
}
