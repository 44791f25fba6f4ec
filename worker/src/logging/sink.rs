//! The one thread that writes logs, and the bounded buffer in front of it.

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use hermes_config::Secret;
use hermes_host::rotation::{Rotating, Stuck};
use hermes_host::{clock, zone};
use hermes_wire::{ProfileHome, ProfileName};
use jiff::tz::TimeZone;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::capture::Capture;
use super::line;

/// Lines that wait for the disk, in bytes.
const MAX_WAITING: usize = 256 * 1024;
/// A buffer that grew beyond this in a burst is given back.
const KEEP: usize = 16 * 1024;
/// Touched pages count, and formatting needs few.
const STACK: usize = 128 * 1024;
/// How long a count of repeated lines waits for more.
const COUNTING_MS: u16 = 1000;
/// Limits until the configuration is known.
const MAX_LEN: u64 = 5 * 1024 * 1024;
const BACKUPS: u32 = 3;

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

/// What happens to standard output and error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Descriptors 1 and 2 become a pipe into the second file.
    Captured,
    /// They stay, and standard error gets the log's lines too.
    Mirrored,
    /// They stay alone.
    #[cfg(test)]
    Untouched,
}

/// Shared between everybody who logs and the thread.
pub(super) struct Sink {
    queue: Mutex<Queue>,
    flushed: Condvar,
    wake: PipeWriter,
    settings: Mutex<Settings>,
    profile: String,
    generation: AtomicU64,
    zone: TimeZone,
    /// The next write panics.
    #[cfg(test)]
    fails: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Queue {
    log: Vec<u8>,
    errors: Vec<u8>,
    dropped: u64,
    /// Flushes asked for, and done.
    asked: u64,
    done: u64,
    writer: Option<ThreadId>,
}

struct Settings {
    max_len: u64,
    backups: u32,
    secrets: Arc<[Secret]>,
}

impl Sink {
    /// Starts the thread.
    pub(super) fn start(profile: &ProfileName, home: &ProfileHome, output: Output) -> io::Result<Arc<Self>> {
        let (wake_reader, wake) = io::pipe()?;
        nonblocking(&wake)?;
        nonblocking(&wake_reader)?;
        let printed = if output == Output::Captured {
            let (reader, writer) = io::pipe()?;
            nix::unistd::dup2_stdout(&writer)?;
            nix::unistd::dup2_stderr(&writer)?;
            Some(reader)
        } else {
            None
        };
        let sink = Arc::new(Self {
            queue: Mutex::default(),
            flushed: Condvar::new(),
            wake,
            settings: Mutex::new(Settings { max_len: MAX_LEN, backups: BACKUPS, secrets: Arc::new([]) }),
            profile: profile.to_string(),
            generation: AtomicU64::new(0),
            zone: zone::system(),
            #[cfg(test)]
            fails: std::sync::atomic::AtomicBool::new(false),
        });
        let writer = Writer {
            sink: Arc::clone(&sink),
            wake: wake_reader,
            echo: output == Output::Mirrored,
            printed,
            capture: Capture::default(),
            log: File::new(home.gateway_log()),
            errors: File::new(home.error_log()),
        };
        std::thread::Builder::new().name("logs".to_owned()).stack_size(STACK).spawn(move || writer.live())?;
        Ok(sink)
    }

    pub(super) fn set_limits(&self, max_len: u64, backups: u32) {
        let mut settings = lock(&self.settings);
        (settings.max_len, settings.backups) = (max_len, backups);
    }

    pub(super) fn set_secrets(&self, secrets: Vec<Secret>) {
        lock(&self.settings).secrets = secrets.into();
    }

    pub(super) fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// A whole line, newline included.
    pub(super) fn line(&self, level: &str, component: &str, text: &str) -> String {
        let mut out = line::time(&self.zone);
        out.reserve(component.len() + text.len() + 48);
        out.push(' ');
        out.push_str(level);
        out.push(' ');
        out.push_str(component);
        out.push_str(": ");
        line::push_escaped(&mut out, text);
        out.push_str(" profile=");
        out.push_str(&self.profile);
        let generation = self.generation.load(Ordering::Relaxed);
        if generation > 0 {
            out.push_str(" generation=");
            out.push_str(&generation.to_string());
        }
        let secrets = Arc::clone(&lock(&self.settings).secrets);
        line::redact(&mut out, &secrets);
        out.push('\n');
        out
    }

    /// Queues a line, or drops and counts it. Never waits for the disk.
    pub(super) fn push(&self, target: Target, line: &str) {
        let mut queue = lock(&self.queue);
        let wake = queue.log.is_empty() && queue.errors.is_empty();
        if queue.log.len() + queue.errors.len() + line.len() > MAX_WAITING {
            queue.dropped += 1;
        } else {
            if target != Target::Printed {
                queue.log.extend_from_slice(line.as_bytes());
            }
            if target != Target::Log {
                queue.errors.extend_from_slice(line.as_bytes());
            }
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

fn nonblocking(fd: &impl std::os::fd::AsFd) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks leaves whole lines and plain values behind.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread's own state.
struct Writer {
    sink: Arc<Sink>,
    wake: PipeReader,
    printed: Option<PipeReader>,
    echo: bool,
    capture: Capture,
    log: File,
    errors: File,
}

impl Writer {
    /// The thread's life, which ends with the process. What this program prints goes through here too: a writer that is gone would
    /// hold up everybody who prints. So one that panics begins anew, and says so; what it had in hand is lost.
    fn live(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            let text = "the writer of the logs failed and begins anew; some lines are lost";
            let line = self.sink.line("ERROR", "gateway.logging", text);
            self.sink.push(Target::Errors, &line);
            let mut queue = lock(&self.sink.queue);
            queue.done = queue.asked;
            drop(queue);
            self.sink.flushed.notify_all();
        }
    }

    fn run(&mut self) {
        lock(&self.sink.queue).writer = Some(std::thread::current().id());
        // People follow it before anything is wrong.
        self.errors.make();
        loop {
            let timeout =
                if self.capture.is_counting() { PollTimeout::from(COUNTING_MS) } else { PollTimeout::NONE };
            let printed = self.wait(timeout);
            if printed {
                self.read_printed();
            } else if self.capture.is_counting() {
                let sink = Arc::clone(&self.sink);
                self.capture.tell(&mut |text| queue_printed(&sink, text));
            }
            self.write_waiting();
        }
    }

    /// Waits for work; whether something was printed.
    fn wait(&mut self, timeout: PollTimeout) -> bool {
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.printed.as_ref().map(|p| PollFd::new(p.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut fds, timeout);
        let ready = |fd: Option<&PollFd<'_>>| fd.and_then(PollFd::any).unwrap_or(false);
        let (woken, printed) = (ready(fds.first()), ready(fds.get(1)));
        drop(fds);
        if woken {
            let _ = self.wake.read(&mut [0; 64]);
        }
        printed
    }

    fn read_printed(&mut self) {
        let Some(pipe) = self.printed.as_mut() else { return };
        let mut piece = [0; 4096];
        match pipe.read(&mut piece) {
            Ok(n) if n > 0 => {
                let sink = Arc::clone(&self.sink);
                self.capture.feed(&piece[..n], &mut |text| queue_printed(&sink, text));
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            // Nobody can print any more.
            _ => self.printed = None,
        }
    }

    fn write_waiting(&mut self) {
        let asked = lock(&self.sink.queue).asked;
        if asked > lock(&self.sink.queue).done {
            while self.printed.is_some() && self.wait(PollTimeout::ZERO) {
                self.read_printed();
                self.write_queue();
            }
            let sink = Arc::clone(&self.sink);
            self.capture.finish(&mut |text| queue_printed(&sink, text));
        }
        self.write_queue();
        let mut queue = lock(&self.sink.queue);
        if asked > queue.done {
            queue.done = asked;
            self.sink.flushed.notify_all();
        }
    }

    fn write_queue(&mut self) {
        #[cfg(test)]
        assert!(!self.sink.fails.swap(false, Ordering::Relaxed), "as meant by a test");
        let (mut log, mut errors, dropped) = {
            let mut queue = lock(&self.sink.queue);
            (
                std::mem::take(&mut queue.log),
                std::mem::take(&mut queue.errors),
                std::mem::take(&mut queue.dropped),
            )
        };
        let (max_len, backups) = {
            let settings = lock(&self.sink.settings);
            (settings.max_len, settings.backups)
        };
        if dropped > 0 {
            let line = self.sink.line(
                "WARNING",
                "gateway.logging",
                &format!("{dropped} log lines were dropped: the disk did not keep up"),
            );
            log.extend_from_slice(line.as_bytes());
            errors.extend_from_slice(line.as_bytes());
        }
        if self.echo {
            // A closed terminal is no reason to stop.
            let _ = io::stderr().lock().write_all(&log);
        }
        self.log.append(&log, max_len, backups, &self.sink);
        self.errors.append(&errors, max_len, backups, &self.sink);
        self.give_back(log, errors);
    }

    /// Keeps small buffers for the next lines; a burst's big ones are freed.
    fn give_back(&self, mut log: Vec<u8>, mut errors: Vec<u8>) {
        log.clear();
        errors.clear();
        let mut queue = lock(&self.sink.queue);
        if queue.log.capacity() == 0 && log.capacity() <= KEEP {
            queue.log = log;
        }
        if queue.errors.capacity() == 0 && errors.capacity() <= KEEP {
            queue.errors = errors;
        }
    }
}

fn queue_printed(sink: &Sink, text: &str) {
    let line = sink.line("INFO", "stderr", text);
    sink.push(Target::Printed, &line);
}

/// A file that may refuse to be written.
struct File {
    inner: Rotating,
    lost: u64,
    /// After a failure: not before.
    again: Option<Instant>,
}

impl File {
    fn new(path: camino::Utf8PathBuf) -> Self {
        Self { inner: Rotating::new(path, MAX_LEN, BACKUPS, Stuck::Fails), lost: 0, again: None }
    }

    /// An empty one, where there is none. Failing is said when there is something to write.
    fn make(&mut self) {
        let _ = self.inner.append(&[]);
    }

    fn append(&mut self, lines: &[u8], max_len: u64, backups: u32, sink: &Sink) {
        if lines.is_empty() {
            return;
        }
        (self.inner.max_len, self.inner.backups) = (max_len, backups);
        if self.again.is_some_and(|again| clock::now() < again) {
            self.lost += lines.len() as u64;
            return;
        }
        let told = if self.lost > 0 {
            let text = format!("{} bytes of this log could not be written and are lost", self.lost);
            self.inner
                .append(sink.line("WARNING", "gateway.logging", &text).as_bytes())
                .map(|()| self.lost = 0)
        } else {
            Ok(())
        };
        if told.and_then(|()| self.inner.append(lines)).is_err() {
            self.lost += lines.len() as u64;
            self.again = Some(clock::now() + Duration::from_secs(1));
        } else {
            self.again = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;

    use super::*;

    fn sink(home: &Utf8Path) -> Arc<Sink> {
        Sink::start(&"coder".parse().unwrap(), &ProfileHome::new(home), Output::Untouched).unwrap()
    }

    #[test]
    fn lines_arrive_in_order_with_profile_generation_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let sink = sink(home);
        sink.set_generation(3);
        sink.set_secrets(vec![Secret::new("hunter2hunter2")]);
        for i in 0..3 {
            sink.push(Target::Log, &sink.line("INFO", "gateway.test", &format!("n={i} hunter2hunter2\nx")));
        }
        sink.flush(Duration::from_secs(10));
        let text = fs_err::read_to_string(home.join("logs/gateway.log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        for (i, line) in lines.iter().enumerate() {
            assert!(
                line.ends_with(&format!(" INFO gateway.test: n={i} ***\\nx profile=coder generation=3")),
                "{line}"
            );
        }
    }

    /// 6, D23: warnings and errors, and what is printed, stand in a file of their own, which is there from the start.
    #[test]
    fn what_is_bad_stands_in_both_files_and_what_is_printed_in_one() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let sink = sink(home);
        sink.flush(Duration::from_secs(10));
        let text = |name: &str| fs_err::read_to_string(home.join("logs").join(name)).unwrap();
        assert_eq!(text("gateway.error.log"), "");
        for (target, word) in [(Target::Log, "fine"), (Target::Errors, "bad"), (Target::Printed, "printed")] {
            sink.push(target, &sink.line("X", "gateway.test", word));
        }
        sink.flush(Duration::from_secs(10));
        let words = |name: &str| {
            let of = |line: &str| line.split(' ').nth(4).unwrap().to_owned();
            text(name).lines().map(of).collect::<Vec<_>>()
        };
        assert_eq!(words("gateway.log"), ["fine", "bad"]);
        assert_eq!(words("gateway.error.log"), ["bad", "printed"]);
    }

    /// 12: a writer that panics costs some lines; it begins anew, says so, and nobody who flushes waits for it.
    #[test]
    fn n12_a_writer_that_panics_begins_anew() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let sink = sink(home);
        for round in 0..3 {
            sink.fails.store(true, Ordering::Relaxed);
            sink.flush(Duration::from_secs(10));
            sink.push(Target::Log, &sink.line("INFO", "gateway.test", &format!("round {round}")));
            sink.flush(Duration::from_secs(10));
        }
        let text = fs_err::read_to_string(home.join("logs/gateway.log")).unwrap();
        assert_eq!(text.matches("begins anew").count(), 3, "{text}");
        assert!((0..3).all(|round| text.contains(&format!("round {round}"))), "{text}");
    }

    #[test]
    fn a_home_that_cannot_be_written_costs_lines_and_nothing_else() {
        let sink = sink("/proc/nowhere".into());
        for _ in 0..10_000 {
            sink.push(Target::Log, &sink.line("INFO", "gateway.test", "lost"));
        }
        sink.flush(Duration::from_secs(10));
    }
}
