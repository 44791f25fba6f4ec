//! What this worker started, and what that left behind.
//!
//! A supervised worker is the subreaper of everything below it: what a script leaves running, in whatever session, becomes a
//! child of this worker and of nobody else, and carries its [mark](hermes_wire::mark). So the supervisor never meets a
//! descendant of a worker that lives, and knows those of one that died. [`collect`] takes in what was adopted and has ended.
//!
//! The end of a program that was started here belongs to whoever waits for it. [`own`] says so, in the same turn of the
//! worker's one thread as the start, so that no look at ended children can come in between.
//!
//! [`Program`] is how a program is started, [`Surroundings`] what its environment is made of.

mod environment;
mod start;
pub(crate) mod strays;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) use environment::{Surroundings, Variables};
pub(crate) use start::Program;

/// Time until the next look while one of our own has ended and nobody has asked for it yet: it hides those behind it.
const AGAIN: Duration = Duration::from_secs(1);

static OWN: Mutex<BTreeSet<Pid>> = Mutex::new(BTreeSet::new());

/// For as long as it lives, the end of that child is left to its owner.
#[derive(Debug)]
pub(crate) struct Owned(Option<Pid>);

/// Says that a child that was just started has an owner. `None`: it has ended and was waited for already.
pub(crate) fn own(child: Option<u32>) -> Owned {
    let pid = child.and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    lock().extend(pid);
    Owned(pid)
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            lock().remove(&pid);
        }
    }
}

/// A child that leads its own process group; dropping it before it ended kills the group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) child: Child,
    _own: Owned,
}

impl Group {
    /// Of a child that was just started, as the leader of a group.
    pub(crate) fn new(child: Child) -> Self {
        let own = own(child.id());
        Self { child, _own: own }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // While the leader is not reaped its number cannot belong to anybody else. Once it is, `id` is `None`.
        if let Some(leader) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = killpg(Pid::from_raw(leader), Signal::SIGKILL);
        }
    }
}

/// Whether the end of that child is left to an owner.
#[cfg(target_os = "linux")]
fn is_own(pid: Pid) -> bool {
    lock().contains(&pid)
}

fn lock() -> MutexGuard<'static, BTreeSet<Pid>> {
    // A set of numbers is whole whatever happened to its last user.
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Becomes the one that inherits what our descendants leave behind, and marks them all. Call before anything is started.
#[cfg(target_os = "linux")]
pub(crate) fn adopt() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // Neither can fail on a kernel that runs this program, short of a filter on system calls; then the supervisor adopts.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let mark = hermes_wire::mark::value(std::process::id());
    let _ = getrlimit(Resource::RLIMIT_RTTIME)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_RTTIME, mark.min(hard), hard));
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn adopt() {}

/// Collects what was adopted and ended, for ever.
pub(crate) async fn collect() -> std::io::Result<Infallible> {
    let mut ended = signal(SignalKind::child())?;
    loop {
        if collect_all() {
            // One of our own has ended; its owner's turn comes, but no signal with it.
            tokio::select! {
                _ = ended.recv() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        } else {
            ended.recv().await;
        }
    }
}

/// Whether it stopped at one that has an owner.
#[cfg(target_os = "linux")]
fn collect_all() -> bool {
    use nix::errno::Errno;
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
    loop {
        let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        let pid = match waitid(Id::All, peek) {
            Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => pid,
            Err(Errno::EINTR) => continue,
            Ok(_) | Err(_) => return false,
        };
        if lock().contains(&pid) {
            return true;
        }
        if let Err(error) = waitpid(pid, Some(WaitPidFlag::WNOHANG)) {
            tracing::debug!(pid = pid.as_raw(), %error, "an ended process could not be collected");
            return false;
        }
    }
}

/// Nobody is adopted here.
#[cfg(not(target_os = "linux"))]
fn collect_all() -> bool {
    false
}
