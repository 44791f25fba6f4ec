//! The bounded buffer in front of the thread that writes logs.

use std::collections::VecDeque;
use std::io::{self, PipeReader, PipeWriter, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

use hermes_config::Secret;
use hermes_host::repeats::Line;
use hermes_wire::ProfileName;

use super::line;

/// Lines that wait for the disk, in bytes.
const MAX_WAITING: usize = 256 * 1024;
/// What a line costs beside its text.
const OVERHEAD: usize = 64;
/// Limits until the configuration is known.
pub(super) const MAX_LEN: u64 = 5 * 1024 * 1024;
pub(super) const BACKUPS: u32 = 3;

/// Which files a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// `gateway.log`
    Log,
    /// `gateway.log` and `gateway.error.log`
    Errors,
    /// `gateway.error.log`
    Printed,
}

/// Shared between everybody who logs and the thread.
pub(super) struct Sink {
    queue: Mutex<Queue>,
    flushed: Condvar,
    wake: PipeWriter,
    settings: Mutex<Settings>,
    profile: String,
    generation: AtomicU64,
    /// The next write panics.
    #[cfg(test)]
    pub(super) fails: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<(Target, Line)>,
    bytes: usize,
    dropped: u64,
    /// Flushes asked for, and done.
    asked: u64,
    done: u64,
    writer: Option<ThreadId>,
}

/// What the configuration says.
#[derive(Clone)]
pub(super) struct Settings {
    /// Bytes at which a new file is begun.
    pub(super) max_len: u64,
    /// Older files that are kept.
    pub(super) backups: u32,
    secrets: Arc<[Secret]>,
}

impl Sink {
    /// Of this profile, and the end at which its thread hears that something waits.
    pub(super) fn new(profile: &ProfileName) -> io::Result<(Arc<Self>, PipeReader)> {
        let (wake_reader, wake) = io::pipe()?;
        nonblocking(&wake)?;
        nonblocking(&wake_reader)?;
        let sink = Arc::new(Self {
            queue: Mutex::default(),
            flushed: Condvar::new(),
            wake,
            settings: Mutex::new(Settings { max_len: MAX_LEN, backups: BACKUPS, secrets: Arc::new([]) }),
            profile: profile.to_string(),
            generation: AtomicU64::new(0),
            #[cfg(test)]
            fails: std::sync::atomic::AtomicBool::new(false),
        });
        Ok((sink, wake_reader))
    }

    pub(super) fn set_limits(&self, max_len: u64, backups: u32) {
        let mut settings = lock(&self.settings);
        (settings.max_len, settings.backups) = (max_len, backups);
    }

    pub(super) fn set_secrets(&self, secrets: Vec<Secret>) {
        lock(&self.settings).secrets = secrets.into();
    }

    pub(super) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// A line without its time, with profile and generation, and without any secret.
    pub(super) fn line(&self, level: &str, component: &str, text: &str) -> String {
        let mut out = String::with_capacity(component.len() + text.len() + 72);
        for part in [level, " ", component, ": "] {
            out.push_str(part);
        }
        // Before anything is cut or escaped: half a secret is one, and so is a written out one.
        let secrets = self.settings().secrets;
        line::push_escaped(&mut out, &line::redacted(text, &secrets));
        out.push_str(" profile=");
        out.push_str(&self.profile);
        let generation = self.generation.load(Ordering::Relaxed);
        if generation > 0 {
            out.push_str(" generation=");
            out.push_str(&generation.to_string());
        }
        out
    }

    /// Queues a line, or drops and counts it. Never waits for the disk.
    pub(super) fn push(&self, target: Target, line: String) {
        let mut queue = lock(&self.queue);
        let wake = queue.lines.is_empty();
        if queue.bytes + line.len() + OVERHEAD > MAX_WAITING {
            queue.dropped += 1;
        } else {
            queue.bytes += line.len() + OVERHEAD;
            queue.lines.push_back((target, Line::new(line)));
        }
        drop(queue);
        if wake {
            self.wake();
        }
    }

    /// Waits until what was logged and printed before is written, at most `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let mut queue = lock(&self.queue);
        if queue.writer == Some(std::thread::current().id()) {
            return;
        }
        queue.asked += 1;
        let mine = queue.asked;
        self.wake();
        let _ = self.flushed.wait_timeout_while(queue, patience, |queue| queue.done < mine);
    }

    fn wake(&self) {
        // Full means that a wake-up is on its way already.
        let _ = (&self.wake).write(&[1]);
    }
}

/// The thread's side.
impl Sink {
    /// Says who writes: that one never waits for itself.
    pub(super) fn written_by_this_thread(&self) {
        lock(&self.queue).writer = Some(std::thread::current().id());
    }

    /// What waits, and how many lines did not fit.
    pub(super) fn take(&self) -> (VecDeque<(Target, Line)>, u64) {
        let mut queue = lock(&self.queue);
        queue.bytes = 0;
        (std::mem::take(&mut queue.lines), std::mem::take(&mut queue.dropped))
    }

    /// Number of the last flush that somebody waits for.
    pub(super) fn asked(&self) -> Option<u64> {
        let queue = lock(&self.queue);
        (queue.asked > queue.done).then_some(queue.asked)
    }

    /// That flush, and those before, are done.
    pub(super) fn done(&self, asked: u64) {
        let mut queue = lock(&self.queue);
        queue.done = queue.done.max(asked);
        drop(queue);
        self.flushed.notify_all();
    }
}

/// Reading or writing there never waits.
pub(super) fn nonblocking(fd: &impl std::os::fd::AsFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks leaves whole lines and plain values behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
