//! When to scan, on Linux: completed writes and name changes in the root home, in `profiles/`, in its list of removed
//! profiles and in each directory there.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use camino::Utf8Path;
use hermes_wire::ProfileName;
use hermes_wire::home::{IDENTITY_FILES, PARKED, TOMBSTONES};
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use super::{DATABASE, TRIGGERS};

/// Time between two looks at the queue. Workers write many files that do not matter; the kernel merges and holds what comes.
const PACE: Duration = Duration::from_millis(50);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Root,
    Profiles,
    Home(ProfileName),
}

/// Adds watches from another thread: finding a directory may take for ever.
#[derive(Debug)]
pub(super) struct Watcher(Arc<Inotify>);

/// What came of adding one.
#[derive(Debug)]
pub(super) struct Watched {
    place: Place,
    result: Result<WatchDescriptor, Errno>,
}

impl Watcher {
    pub(super) fn add(&self, path: &Utf8Path, place: Place) -> Watched {
        Watched { place, result: self.0.add_watch(path.as_std_path(), mask()) }
    }
}

/// The notification queue and what is watched.
#[derive(Debug)]
pub(super) struct Source {
    queue: AsyncFd<Queue>,
    places: HashMap<WatchDescriptor, Place>,
    complete: bool,
    read_after: Instant,
}

#[derive(Debug)]
struct Queue(Arc<Inotify>);

#[expect(unsafe_code, reason = "tokio asks its caller to vouch that the descriptor stays the same")]
fn register(queue: Queue) -> io::Result<AsyncFd<Queue>> {
    // SAFETY: `Queue` owns its descriptor for as long as it lives, never replaces it, and always returns that one.
    unsafe { AsyncFd::register_with_interest(queue, Interest::READABLE) }.map_err(io::Error::from)
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

fn mask() -> AddWatchFlags {
    use AddWatchFlags as F;
    F::IN_CLOSE_WRITE
        | F::IN_MOVED_TO
        | F::IN_MOVED_FROM
        | F::IN_CREATE
        | F::IN_DELETE
        | F::IN_DELETE_SELF
        | F::IN_MOVE_SELF
        | F::IN_ATTRIB
        | F::IN_ONLYDIR
}

impl Source {
    pub(super) fn new() -> io::Result<Self> {
        let queue = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let queue = register(Queue(Arc::new(queue)))?;
        Ok(Self { queue, places: HashMap::new(), complete: true, read_after: Instant::now() })
    }

    /// What a look adds watches with.
    pub(super) fn watcher(&self) -> Watcher {
        Watcher(Arc::clone(&self.queue.get_ref().0))
    }

    /// Whether every directory that should be watched is.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Takes over the watches that a look added, all there are to be.
    pub(super) fn follow(&mut self, watches: Vec<Watched>) {
        let was_complete = self.complete;
        self.complete = true;
        let mut places = HashMap::with_capacity(watches.len());
        for Watched { place, result } in watches {
            match result {
                Ok(wd) => drop(places.insert(wd, place)),
                Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(e) => {
                    if was_complete && self.complete {
                        tracing::warn!(
                            ?place,
                            error = e.desc(),
                            "cannot watch; the homes are scanned as well"
                        );
                    }
                    self.complete = false;
                }
            }
        }
        for wd in self.places.keys().filter(|wd| !places.contains_key(wd)) {
            // The directory may be gone, and its watch with it.
            let _ = self.queue.get_ref().0.rm_watch(*wd);
        }
        self.places = places;
    }

    /// Waits for notifications and says whether one of them matters. Safe to cancel.
    pub(super) async fn stirred(&mut self) -> bool {
        tokio::time::sleep_until(self.read_after).await;
        let Ok(mut ready) = self.queue.readable().await else { return true };
        let mut matters = false;
        let mut removed = Vec::new();
        loop {
            match ready.get_inner().0.read_events() {
                Ok(events) if events.is_empty() => break,
                Ok(events) => {
                    for event in events {
                        let place = self.places.get(&event.wd);
                        // One that is not known yet was added by a look that is under way.
                        let new = place.is_none() && !event.mask.contains(AddWatchFlags::IN_IGNORED);
                        matters |= event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)
                            || place.map_or(new, |p| p.cares_for(event.name.as_deref(), event.mask));
                        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                            removed.push(event.wd);
                        }
                    }
                }
                Err(nix::errno::Errno::EAGAIN) => {
                    ready.clear_ready();
                    break;
                }
                Err(nix::errno::Errno::EINTR) => {}
                Err(_) => {
                    matters = true;
                    break;
                }
            }
        }
        for wd in removed {
            self.places.remove(&wd);
        }
        self.read_after = Instant::now() + PACE;
        matters
    }
}

impl Place {
    fn cares_for(&self, name: Option<&std::ffi::OsStr>, mask: AddWatchFlags) -> bool {
        let Some(name) = name.and_then(|n| n.to_str()) else {
            // About the directory itself: gone or moved matters, its attributes do not.
            return mask.intersects(AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF);
        };
        let appears_or_goes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM;
        match self {
            Self::Root | Self::Home(_) if TRIGGERS.contains(&name) => true,
            // Put back in place by a copy: whoever writes into it keeps it open, but for that.
            Self::Root | Self::Home(_) if name == DATABASE => {
                mask.intersects(appears_or_goes | AddWatchFlags::IN_CLOSE_WRITE)
            }
            Self::Root | Self::Home(_) if name == PARKED => mask.intersects(appears_or_goes),
            Self::Root => name == "profiles",
            // A change of mode may be what makes a home readable.
            Self::Profiles => !name.starts_with('.') || name == TOMBSTONES,
            Self::Home(_) => IDENTITY_FILES.contains(&name) && mask.intersects(appears_or_goes),
        }
    }
}

/// Whether `path` lies on a file system that other machines change without this kernel being told.
pub(super) fn is_silent(path: &Utf8Path) -> bool {
    // NFS, SMB (three forms), FUSE and virtiofs, 9p, Ceph.
    const SILENT: [i64; 7] =
        [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x6573_5546, 0x0102_1997, 0x00c3_6400];
    nix::sys::statfs::statfs(path.as_std_path())
        .is_ok_and(|fs| SILENT.iter().any(|magic| fs.filesystem_type().0 & 0xffff_ffff == *magic))
}
