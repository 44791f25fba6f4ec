//! The one thread that writes a profile's logs, and reads what is printed.
//!
//! What is printed is read as fast as it comes, whatever it is: nobody who prints is held up. What is kept of it is bounded (`capture`).

use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hermes_host::repeats::{Line, Repeats};
use hermes_host::rotation::{Rotating, Stuck};
use hermes_host::{clock, zone};
use hermes_wire::{ProfileHome, ProfileName};
use jiff::tz::TimeZone;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::capture::Capture;
use super::line;
use super::sink::{BACKUPS, MAX_LEN, Settings, Sink, Target, nonblocking};

/// Touched pages count, and formatting needs few.
const STACK: usize = 128 * 1024;

/// What is read of printed output at once: as much as a pipe holds, in pieces that fit on the stack.
const PIECE: usize = 8 * 1024;
const PIECES: usize = 8;

/// What happens to standard output and error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Descriptors 1 and 2 become a pipe each, into the second file.
    Captured,
    /// They stay, and standard error gets the log's lines too.
    Mirrored,
    /// They stay alone.
    #[cfg(test)]
    Untouched,
}

/// Starts the thread that writes the logs of this profile.
pub(super) fn start(profile: &ProfileName, home: &ProfileHome, output: Output) -> io::Result<Arc<Sink>> {
    let (sink, wake) = Sink::new(profile)?;
    let writer = Writer {
        sink: Arc::clone(&sink),
        wake,
        printed: if output == Output::Captured { captured()? } else { Vec::new() },
        echo: output == Output::Mirrored,
        zone: zone::system(),
        repeats: Default::default(),
        log: File::new(home.gateway_log()),
        errors: File::new(home.error_log()),
    };
    std::thread::Builder::new().name("logs".to_owned()).stack_size(STACK).spawn(move || writer.live())?;
    Ok(sink)
}

/// Descriptors 1 and 2 become a pipe each; their other ends.
fn captured() -> io::Result<Vec<Printed>> {
    let (stdout, to_stdout) = io::pipe()?;
    let (stderr, to_stderr) = io::pipe()?;
    nix::unistd::dup2_stdout(&to_stdout)?;
    nix::unistd::dup2_stderr(&to_stderr)?;
    [("stdout", stdout), ("stderr", stderr)]
        .into_iter()
        .map(|(name, pipe)| {
            nonblocking(&pipe)?;
            Ok(Printed { name, pipe, capture: Capture::default(), open: true })
        })
        .collect()
}

/// One of the two that this process and its children print to.
struct Printed {
    /// What it is called in the log.
    name: &'static str,
    pipe: PipeReader,
    capture: Capture,
    /// Whether anybody can still print.
    open: bool,
}

impl Printed {
    /// What a pipe holds, at most: the log's own lines must get their turn.
    fn read(&mut self, sink: &Sink) {
        for _ in 0..PIECES {
            let mut piece = [0; PIECE];
            match self.pipe.read(&mut piece) {
                Ok(n) if n > 0 => {
                    let name = self.name;
                    self.capture.feed(&piece[..n], clock::now(), &mut |text| queue(sink, name, text));
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                _ => {
                    self.open = false;
                    return;
                }
            }
        }
    }
}

fn queue(sink: &Sink, name: &str, text: &str) {
    sink.push(Target::Printed, sink.line("INFO", name, text));
}

/// The thread's own state.
struct Writer {
    sink: Arc<Sink>,
    wake: PipeReader,
    printed: Vec<Printed>,
    echo: bool,
    zone: TimeZone,
    /// Equal lines, by target.
    repeats: [Repeats; 3],
    log: File,
    errors: File,
}

impl Writer {
    /// The thread's life, which ends with the process. What this program prints goes through here too: a writer that is gone would
    /// hold up everybody who prints. So one that panics begins anew, and says so; what it had in hand is lost.
    fn live(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            let text = "the writer of the logs failed and begins anew; some lines are lost";
            self.sink.push(Target::Errors, self.sink.line("ERROR", "gateway.logging", text));
            if let Some(asked) = self.sink.asked() {
                self.sink.done(asked);
            }
        }
    }

    fn run(&mut self) {
        self.sink.written_by_this_thread();
        // People follow it before anything is wrong.
        self.errors.make();
        loop {
            let counts = self.printed.iter().filter_map(|printed| printed.capture.due());
            let due = self.repeats.iter().filter_map(Repeats::due).chain(counts).min();
            let timeout = due.map_or(PollTimeout::NONE, |due| {
                let left = due.saturating_duration_since(clock::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            });
            self.read_printed(timeout);
            for printed in &mut self.printed {
                let (sink, name) = (&self.sink, printed.name);
                printed.capture.tell(clock::now(), &mut |text| queue(sink, name, text));
            }
            self.write_waiting();
        }
    }

    /// Waits for work, and reads what was printed; whether anything was.
    fn read_printed(&mut self, timeout: PollTimeout) -> bool {
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        let open = || (0..self.printed.len()).filter(|at| self.printed[*at].open);
        fds.extend(open().map(|at| PollFd::new(self.printed[at].pipe.as_fd(), PollFlags::POLLIN)));
        let _ = poll(&mut fds, timeout);
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        let woken = is_ready(&fds[0]);
        let ready: Vec<usize> =
            open().zip(&fds[1..]).filter(|(_, fd)| is_ready(fd)).map(|(at, _)| at).collect();
        drop(fds);
        if woken {
            let _ = self.wake.read(&mut [0; 64]);
        }
        for at in &ready {
            self.printed[*at].read(&self.sink);
        }
        !ready.is_empty()
    }

    fn write_waiting(&mut self) {
        let asked = self.sink.asked();
        if asked.is_some() {
            // A flood has no end to wait for.
            for _ in 0..PIECES {
                if !self.read_printed(PollTimeout::ZERO) {
                    break;
                }
                self.write_queue(false);
            }
            for printed in &mut self.printed {
                let (sink, name) = (&self.sink, printed.name);
                printed.capture.finish(&mut |text| queue(sink, name, text));
            }
        }
        self.write_queue(asked.is_some());
        if let Some(asked) = asked {
            self.sink.done(asked);
        }
    }

    /// `all`: counts are told that would wait for more of the same.
    fn write_queue(&mut self, all: bool) {
        #[cfg(test)]
        assert!(!self.sink.fails.swap(false, std::sync::atomic::Ordering::Relaxed), "as meant by a test");
        let (lines, dropped) = self.sink.take();
        let (mut log, mut errors) = (Vec::new(), Vec::new());
        let zone = &self.zone;
        let mut put = |target: Target, line: &Line| {
            let text = format!("{} {}\n", line::time(line.at, zone), line.text);
            if target != Target::Printed {
                log.extend_from_slice(text.as_bytes());
            }
            if target != Target::Log {
                errors.extend_from_slice(text.as_bytes());
            }
        };
        let now = clock::now();
        for (target, line) in lines {
            self.repeats[target as usize].take(line, now, &mut |line| put(target, &line));
        }
        for target in [Target::Log, Target::Errors, Target::Printed] {
            let repeats = &mut self.repeats[target as usize];
            repeats.tell(now, &mut |line| put(target, &line));
            if all {
                repeats.finish(&mut |line| put(target, &line));
            }
        }
        if dropped > 0 {
            let text = format!("{dropped} log lines were dropped: the disk did not keep up");
            put(Target::Errors, &Line::new(self.sink.line("WARNING", "gateway.logging", &text)));
        }
        if self.echo {
            // A closed terminal is no reason to stop.
            let _ = io::stderr().lock().write_all(&log);
        }
        let settings = self.sink.settings();
        self.log.append(&log, &settings, &self.sink, zone);
        self.errors.append(&errors, &settings, &self.sink, zone);
    }
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

    fn append(&mut self, lines: &[u8], settings: &Settings, sink: &Sink, zone: &TimeZone) {
        if lines.is_empty() {
            return;
        }
        (self.inner.max_len, self.inner.backups) = (settings.max_len, settings.backups);
        if self.again.is_some_and(|again| clock::now() < again) {
            self.lost += lines.len() as u64;
            return;
        }
        let told = if self.lost > 0 {
            let text = format!("{} bytes of this log could not be written and are lost", self.lost);
            let line = sink.line("WARNING", "gateway.logging", &text);
            let line = format!("{} {line}\n", line::time(clock::utc(), zone));
            self.inner.append(line.as_bytes()).map(|()| self.lost = 0)
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
    use std::sync::atomic::Ordering;

    use camino::Utf8Path;
    use hermes_config::Secret;

    use super::*;

    fn sink(home: &Utf8Path) -> Arc<Sink> {
        start(&"coder".parse().unwrap(), &ProfileHome::new(home), Output::Untouched).unwrap()
    }

    #[test]
    fn lines_arrive_in_order_with_profile_generation_and_no_secret() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let sink = sink(home);
        sink.set_generation(3);
        sink.set_secrets(vec![Secret::new("hunter2hunter2")]);
        for i in 0..3 {
            sink.push(Target::Log, sink.line("INFO", "gateway.test", &format!("n={i} hunter2hunter2\nx")));
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
            sink.push(target, sink.line("X", "gateway.test", word));
        }
        sink.flush(Duration::from_secs(10));
        let words = |name: &str| {
            let of = |line: &str| line.split(' ').nth(4).unwrap().to_owned();
            text(name).lines().map(of).collect::<Vec<_>>()
        };
        assert_eq!(words("gateway.log"), ["fine", "bad"]);
        assert_eq!(words("gateway.error.log"), ["bad", "printed"]);
    }

    /// N3.6: equal lines are one and a count, in the order of what is different.
    #[test]
    fn n3_6_equal_lines_are_one_and_a_count() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        let sink = sink(home);
        for n in 0..100 {
            sink.push(Target::Errors, sink.line("WARNING", "gateway.test", "cannot connect"));
            sink.push(Target::Log, sink.line("INFO", "gateway.test", &format!("n={n}")));
        }
        sink.flush(Duration::from_secs(10));
        for (name, others) in [("gateway.log", 100), ("gateway.error.log", 0)] {
            let text = fs_err::read_to_string(home.join("logs").join(name)).unwrap();
            // On a busy machine more than one window passes.
            let mut equal = 0;
            for line in text.lines().filter(|line| line.contains("cannot connect profile=coder")) {
                let more = line.strip_suffix(" more like this)").and_then(|line| line.rsplit_once('('));
                equal += more.map_or(1, |(_, count)| count.parse::<usize>().unwrap());
            }
            assert_eq!(equal, 100, "{text}");
            let different = text.lines().filter(|line| line.contains(" n=")).count();
            assert_eq!(different, others, "{text}");
            assert!(text.lines().count() < others + 50, "{text}");
        }
    }

    /// A secret that stands where a line is cut is not shown by half.
    #[test]
    fn what_is_cut_is_free_of_secrets_before() {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(Utf8Path::from_path(dir.path()).unwrap());
        sink.set_secrets(vec![Secret::new("hunter2hunter2")]);
        let text = format!("{}hunter2hunter2", "x".repeat(line::MAX_LEN - 7));
        assert!(!sink.line("INFO", "gateway.test", &text).contains("hunter"));
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
            sink.push(Target::Log, sink.line("INFO", "gateway.test", &format!("round {round}")));
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
            sink.push(Target::Log, sink.line("INFO", "gateway.test", "lost"));
        }
        sink.flush(Duration::from_secs(10));
    }
}
