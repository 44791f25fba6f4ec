//! Collects ended processes. The only caller of `wait*` in this program.
//!
//! Every child is ours to collect: workers, and what they left behind, which the kernel hands to us because we are a subreaper
//! (or process 1 of a container). A worker's process group is killed while its leader is still a zombie, so its number cannot
//! have been given to anybody else; nothing that a worker started outlives it.

use std::collections::{HashMap, HashSet};
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
#[derive(Clone)]
pub(crate) struct Children {
    workers: Arc<Mutex<HashMap<Pid, oneshot::Sender<Exit>>>>,
    /// Children from before we were what we are (a shell that became us may have had some), and whatever comes as process 1.
    not_ours: Arc<HashSet<Pid>>,
}

impl Children {
    /// Takes note of the children that exist already.
    pub(crate) fn new() -> Self {
        Self { workers: Arc::default(), not_ours: Arc::new(children_of_this_process().collect()) }
    }

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
        let ended = self.collect_all();
        if ended {
            self.sweep();
        }
    }

    /// Ends what dead workers left behind outside their process groups; it is our child now. As process 1 we cannot tell that
    /// from what others left, and only collect.
    fn sweep(&self) {
        if std::process::id() == 1 {
            return;
        }
        let workers = self.lock();
        for pid in children_of_this_process() {
            if !workers.contains_key(&pid) && !self.not_ours.contains(&pid) {
                tracing::debug!(pid = pid.as_raw(), "ending a process that a worker had left behind");
                // It may have ended by itself just now.
                let _ = signal::kill(pid, Signal::SIGKILL);
            }
        }
    }

    /// Whether a worker was among them.
    fn collect_all(&self) -> bool {
        let mut ended = false;
        loop {
            // Look first, collect after: the zombie keeps its number reserved.
            let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            let pid = match waitid(Id::All, peek) {
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
                Err(Errno::EINTR) => continue,
                Ok(_) | Err(_) => return ended,
            };
            let worker = self.lock().remove(&pid);
            if worker.is_some() {
                // No such group is the usual answer: nothing was left.
                let _ = signal::killpg(pid, Signal::SIGKILL);
                ended = true;
            }
            let status = waitpid(pid, Some(WaitPidFlag::WNOHANG));
            let exit = match status {
                Ok(WaitStatus::Exited(_, code)) => Exit::Code(code),
                Ok(WaitStatus::Signaled(_, signal, _)) => Exit::Signal(signal as i32),
                other => {
                    tracing::warn!(pid = pid.as_raw(), ?other, "an ended process could not be collected");
                    return ended;
                }
            };
            match worker {
                // Nobody listens after the actor has gone; the process is collected either way.
                Some(worker) => drop(worker.send(exit)),
                None => {
                    tracing::debug!(pid = pid.as_raw(), %exit, "collected a process that a worker had left behind");
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Pid, oneshot::Sender<Exit>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Our children; empty where the system does not tell.
fn children_of_this_process() -> impl Iterator<Item = Pid> {
    let threads = fs_err::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok);
    let lists = threads.filter_map(|thread| fs_err::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| {
        let pids: Vec<Pid> =
            list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw).collect();
        pids
    })
}

/// Asks the kernel to hand us what dead workers leave behind.
pub(crate) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "cannot become a subreaper; what dead workers leave behind goes to process 1");
    }
}
