//! Collects ended processes. The only caller of `wait*` in this program.
//!
//! Every child is ours to collect: workers, and what they left behind, which the kernel hands to us because we are a subreaper
//! (or process 1 of a container). A worker's process group is killed while its leader is still a zombie, so its number cannot
//! have been given to anybody else. What a worker started outside its group is handed to us when the worker dies, not before:
//! every worker is the subreaper of its own descendants. It carries the worker's [mark], by which it is
//! told from whatever else may become our child; so nothing that a worker started outlives it, and nobody else is touched.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use hermes_wire::mark;
use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal as listen};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::state::Exit;

/// The worker processes that have not been collected yet.
#[derive(Clone)]
pub(crate) struct Children {
    workers: Arc<Mutex<HashMap<Pid, oneshot::Sender<Exit>>>>,
    origin: Arc<Origin>,
}

/// How a child of ours that is no worker is told from what a dead worker left behind.
enum Origin {
    /// By the mark of the worker it descends from; what carries ours as well is older than we are.
    Marks { own: Option<Pid> },
    /// Where marks cannot be set: whatever came after us was left behind, as long as we are not process 1.
    Arrival { earlier: HashSet<Pid> },
}

impl Children {
    /// Takes note of the children that exist already.
    pub(crate) fn new() -> Self {
        let origin = if marks_work() {
            Origin::Marks { own: worker_of(nix::unistd::getpid()) }
        } else {
            Origin::Arrival { earlier: children_of_this_process().into_iter().collect() }
        };
        Self { workers: Arc::default(), origin: Arc::new(origin) }
    }

    /// From now on the end of `pid` is told to the receiver. Call before anything is awaited after the spawn.
    pub(crate) fn register(&self, pid: Pid) -> oneshot::Receiver<Exit> {
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(pid, sender);
        receiver
    }

    /// The same for a process that the program before this one had started: it may have ended, and have been collected, since it was passed on.
    pub(crate) fn register_passed(&self, pid: Pid) -> oneshot::Receiver<Exit> {
        let receiver = self.register(pid);
        if !is_child(pid)
            && let Some(sender) = self.lock().remove(&pid)
        {
            // Whoever asked is there.
            let _ = sender.send(Exit::Unseen);
        }
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
        if self.collect_all() {
            self.sweep();
        }
    }

    /// Ends what dead workers left behind outside their process groups.
    fn sweep(&self) {
        let workers = self.lock();
        for pid in children_of_this_process() {
            if !workers.contains_key(&pid) && self.origin.is_left_behind(pid, &workers) {
                tracing::debug!(pid = pid.as_raw(), "ending a process that a worker had left behind");
                // It may have ended by itself just now.
                let _ = signal::kill(pid, Signal::SIGKILL);
            }
        }
    }

    /// Whether there were any: a worker, or what one had left behind and has left something behind in turn.
    fn collect_all(&self) -> bool {
        let mut ended = false;
        // Look first, collect after: the zombie keeps its number reserved.
        while let Some(pid) = ended_child() {
            let worker = self.lock().remove(&pid);
            if worker.is_some() {
                // No such group is the usual answer: nothing was left.
                let _ = signal::killpg(pid, Signal::SIGKILL);
            }
            ended = true;
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
        ended
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Pid, oneshot::Sender<Exit>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a process is a child of this one, ended or not. Collects nothing.
#[cfg(target_os = "linux")]
fn is_child(pid: Pid) -> bool {
    use nix::sys::wait::{Id, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), peek) != Err(Errno::ECHILD)
}

/// Likewise, as far as it can be told: a number that is nobody's is none of ours.
#[cfg(not(target_os = "linux"))]
fn is_child(pid: Pid) -> bool {
    signal::kill(pid, None) != Err(Errno::ESRCH)
}

/// A child that has ended and was not collected.
#[cfg(target_os = "linux")]
fn ended_child() -> Option<Pid> {
    use nix::sys::wait::{Id, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, peek) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => return Some(pid),
            Err(Errno::EINTR) => {}
            Ok(_) | Err(_) => return None,
        }
    }
}

/// The same, by the call that nix has for Linux alone.
#[cfg(not(target_os = "linux"))]
#[expect(unsafe_code, reason = "nix has no `waitid` here")]
fn ended_child() -> Option<Pid> {
    use nix::libc::{P_ALL, WEXITED, WNOHANG, WNOWAIT, siginfo_t, waitid};
    loop {
        let mut info = std::mem::MaybeUninit::<siginfo_t>::zeroed();
        // SAFETY: `info` is room for one record; zeroed it is valid, and it stays so where nothing has ended.
        let (result, pid) = unsafe {
            let result = waitid(P_ALL, 0, info.as_mut_ptr(), WEXITED | WNOHANG | WNOWAIT);
            (result, info.assume_init().si_pid)
        };
        match Errno::result(result) {
            Ok(_) => return (pid != 0).then(|| Pid::from_raw(pid)),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
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

impl Origin {
    fn is_left_behind<T>(&self, pid: Pid, workers: &HashMap<Pid, T>) -> bool {
        match self {
            Self::Marks { own } => {
                worker_of(pid).is_some_and(|worker| Some(worker) != *own && !workers.contains_key(&worker))
            }
            Self::Arrival { earlier } => std::process::id() != 1 && !earlier.contains(&pid),
        }
    }
}

/// The worker whose mark a process carries.
fn worker_of(pid: Pid) -> Option<Pid> {
    let limits = fs_err::read_to_string(format!("/proc/{pid}/limits")).ok()?;
    mark::worker_of(&limits).and_then(|worker| i32::try_from(worker).ok()).map(Pid::from_raw)
}

/// Whether workers can mark what they start: they inherit our limits, and a limit that somebody lowered cannot be raised again.
#[cfg(target_os = "linux")]
fn marks_work() -> bool {
    use nix::sys::resource::{Resource, getrlimit};
    getrlimit(Resource::RLIMIT_RTTIME).is_ok_and(|(_, hard)| hard >= mark::value(u32::MAX))
}

#[cfg(not(target_os = "linux"))]
fn marks_work() -> bool {
    false
}

/// Our children; empty where the system does not tell.
fn children_of_this_process() -> Vec<Pid> {
    let mut pids = Vec::new();
    for thread in fs_err::read_dir("/proc/self/task").into_iter().flatten().filter_map(Result::ok) {
        // A kernel may be built without this file; then every process is looked at.
        let Ok(list) = fs_err::read_to_string(thread.path().join("children")) else {
            return children_by_parent(std::process::id());
        };
        pids.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw));
    }
    pids
}

fn children_by_parent(parent: u32) -> Vec<Pid> {
    let all = fs_err::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let ours = pids.filter(|pid| crate::program::parent(*pid) == Some(parent));
    ours.filter_map(|pid| i32::try_from(pid).ok()).map(Pid::from_raw).collect()
}

/// Asks the kernel to hand us what dead workers leave behind.
pub(crate) fn adopt_orphans() {
    #[cfg(target_os = "linux")]
    if let Err(error) = nix::sys::prctl::set_child_subreaper(true) {
        tracing::warn!(%error, "cannot become a subreaper; what dead workers leave behind goes to process 1");
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn who_was_passed_on_and_had_ended_by_then_is_gone() {
        let children = Children::new();
        let pid = |child: &std::process::Child| Pid::from_raw(child.id().cast_signed());
        let command = |program| hermes_host::child::command(program);
        let mut ended = command("true").spawn().unwrap();
        ended.wait().unwrap();
        assert_eq!(children.register_passed(pid(&ended)).try_recv(), Ok(Exit::Unseen));
        let mut lives = command("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        assert!(children.register_passed(pid(&lives)).try_recv().is_err());
        assert_eq!(children.len(), 1);
        drop(lives.stdin.take());
        lives.wait().unwrap();
    }
}
