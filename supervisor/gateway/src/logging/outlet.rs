//! A place where lines go: a bounded queue, and the one thread that anything may hold up.
//!
//! Whoever logs never waits for a disk, a terminal or a reader: a line that finds the queue full is dropped and counted, and the count
//! is said when there is room again. A thread waits for lines, not for time, unless a count of equal ones is due. It is joined when the
//! outlet is ended ([`Outlet::end`]), unless something holds it up beyond the deadline: then it is left to the end of the process.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use hermes_host::clock;
pub(crate) use hermes_host::repeats::Line;
use hermes_host::repeats::Repeats;

/// Lines that wait, in bytes.
const MAX_WAITING: usize = 256 * 1024;
/// What a line costs beside its text.
const OVERHEAD: usize = 64;
/// Writing needs little.
const STACK: usize = 128 * 1024;

/// What takes the lines in the end. It may block.
pub(crate) trait Sink: Send + 'static {
    /// Writes whole lines.
    fn write(&mut self, lines: &[Line]) -> io::Result<()>;

    /// The line that stands where so many are missing.
    fn gap(&self, missing: u64, why: &str) -> Line {
        Line::new(format!("WARNING logging: {missing} lines are missing here: {why}"))
    }
}

/// The queue's end for those who log.
#[derive(Debug, Clone)]
pub(crate) struct Outlet(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    flushed: Condvar,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Line>,
    bytes: usize,
    dropped: u64,
    /// Flushes asked for, and done.
    asked: u64,
    done: u64,
    /// Nothing comes any more.
    ending: bool,
    /// The thread does nothing any more.
    ended: bool,
}

impl Outlet {
    /// Starts the thread.
    pub(crate) fn start(name: &str, sink: impl Sink) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
                // It lives until the image changes: no signal that is meant for the next program may be taken here.
                let _ = nix::sys::signal::SigSet::all().thread_block();
                writer.empty(sink);
            })?;
        *shared.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        Ok(Self(shared))
    }

    /// Takes a line, or counts it as dropped.
    pub(crate) fn push(&self, line: Line) {
        let mut queue = self.0.lock();
        if queue.ending || queue.bytes + line.text.len() + OVERHEAD > MAX_WAITING {
            queue.dropped += 1;
            return;
        }
        queue.bytes += line.text.len() + OVERHEAD;
        queue.lines.push_back(line);
        drop(queue);
        self.0.work.notify_one();
    }

    /// Waits until what was taken before is written, at most until `deadline`. Whether it is.
    pub(crate) fn flush(&self, deadline: Instant) -> bool {
        let mut queue = self.0.lock();
        queue.asked += 1;
        let mine = queue.asked;
        self.0.work.notify_one();
        let patience = deadline.saturating_duration_since(clock::now());
        let waited = self.0.flushed.wait_timeout_while(queue, patience, |queue| queue.done < mine);
        waited.is_ok_and(|(queue, _)| queue.done >= mine)
    }

    /// Writes what was taken, takes nothing more, and joins the thread. What holds it up is waited for until `deadline`; then it is
    /// left behind. Whether it was joined.
    pub(crate) fn end(&self, deadline: Instant) -> bool {
        let mut queue = self.0.lock();
        queue.ending = true;
        queue.asked += 1;
        self.0.work.notify_one();
        let patience = deadline.saturating_duration_since(clock::now());
        let waited = self.0.flushed.wait_timeout_while(queue, patience, |queue| !queue.ended);
        if !waited.is_ok_and(|(queue, _)| queue.ended) {
            return false;
        }
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        thread.is_none_or(|thread| thread.join().is_ok())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Every change under this lock leaves whole lines and plain numbers behind.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread's life.
    fn empty(&self, mut sink: impl Sink) {
        let (mut repeats, mut lost) = (Repeats::default(), 0);
        loop {
            let (lines, asked, flush, dropped) = self.take(repeats.due());
            let now = clock::now();
            let mut out = Vec::with_capacity(lines.len() + 2);
            if lost > 0 {
                out.push(sink.gap(lost, "they could not be written"));
            }
            let before = out.len();
            for line in lines {
                repeats.take(line, now, &mut |line| out.push(line));
            }
            repeats.tell(now, &mut |line| out.push(line));
            if flush {
                repeats.finish(&mut |line| out.push(line));
            }
            let written = (out.len() - before) as u64;
            // What did not fit came after what did.
            if dropped > 0 {
                out.push(sink.gap(dropped, "they came faster than they could be written"));
            }
            if !out.is_empty() {
                match sink.write(&out) {
                    Ok(()) => lost = 0,
                    Err(_) => lost += written + dropped,
                }
            }
            let mut queue = self.lock();
            queue.done = queue.done.max(asked);
            queue.ended = queue.ending && queue.lines.is_empty() && queue.asked == queue.done;
            let ended = queue.ended;
            drop(queue);
            self.flushed.notify_all();
            if ended {
                return;
            }
        }
    }

    /// Waits for lines, for somebody who wants everything written, or until `due`.
    fn take(&self, due: Option<Instant>) -> (VecDeque<Line>, u64, bool, u64) {
        let mut queue = self.lock();
        while queue.lines.is_empty() && queue.asked == queue.done {
            let Some(due) = due else {
                queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let time = due.saturating_duration_since(clock::now());
            if time.is_zero() {
                break;
            }
            queue = self.work.wait_timeout(queue, time).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.bytes = 0;
        let (asked, dropped) = (queue.asked, std::mem::take(&mut queue.dropped));
        (std::mem::take(&mut queue.lines), asked, asked > queue.done, dropped)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use super::*;

    /// Takes nothing before it is told to.
    struct Slow(Receiver<()>, Sender<Vec<String>>);

    impl Sink for Slow {
        fn write(&mut self, lines: &[Line]) -> io::Result<()> {
            let _ = self.0.recv();
            self.1.send(lines.iter().map(|line| line.text.clone()).collect()).map_err(io::Error::other)
        }
    }

    /// 24: whoever logs is never held up by what takes the lines; what does not fit is counted, and said later.
    #[test]
    fn a_sink_that_blocks_costs_lines_and_nothing_else() {
        let (go, wait) = channel();
        let (told, lines) = channel();
        let outlet = Outlet::start("slow", Slow(wait, told)).unwrap();
        outlet.push(Line::new("first".to_owned()));
        for n in 0..10_000 {
            outlet.push(Line::new(format!("{n:0100}")));
        }
        assert!(!outlet.flush(hermes_host::clock::now()));
        drop(go);
        assert!(outlet.flush(hermes_host::clock::now() + Duration::from_secs(30)));
        let written: Vec<String> = lines.try_iter().flatten().collect();
        assert_eq!(written[0], "first");
        let kept = written.iter().filter(|line| line.len() == 100).count();
        // Said once or twice: the thread may have taken the first lines at any moment.
        let missing: Vec<&String> =
            written.iter().filter(|line| line.contains(" lines are missing here")).collect();
        let dropped: usize =
            missing.iter().map(|line| line.split(' ').nth(2).unwrap().parse::<usize>().unwrap()).sum();
        assert!(kept > 1000 && kept < 5000, "{kept}");
        assert_eq!(kept + dropped, 10_000, "{missing:?}");
    }

    /// The thread is joined when all is written; one that is held up is not waited for, and takes nothing more.
    #[test]
    fn a_thread_ends_with_its_outlet() {
        let (go, wait) = channel();
        let (told, lines) = channel();
        let outlet = Outlet::start("ending", Slow(wait, told)).unwrap();
        outlet.push(Line::new("last".to_owned()));
        assert!(!outlet.end(hermes_host::clock::now()), "nobody waits for what is held up");
        outlet.push(Line::new("too late".to_owned()));
        drop(go);
        assert!(outlet.end(hermes_host::clock::now() + Duration::from_secs(30)));
        assert!(outlet.0.thread.lock().unwrap().is_none());
        let written: Vec<String> = lines.iter().flatten().collect();
        assert_eq!(written[0], "last");
        assert!(!written.contains(&"too late".to_owned()), "{written:?}");
    }

    /// Refuses until told.
    struct Full(Receiver<()>, Sender<Vec<String>>);

    impl Sink for Full {
        fn write(&mut self, lines: &[Line]) -> io::Result<()> {
            self.0.try_recv().map_err(|_| io::Error::from(io::ErrorKind::StorageFull))?;
            self.1.send(lines.iter().map(|line| line.text.clone()).collect()).map_err(io::Error::other)
        }
    }

    #[test]
    fn what_could_not_be_written_is_counted() {
        let (go, wait) = channel();
        let (told, lines) = channel();
        let outlet = Outlet::start("full", Full(wait, told)).unwrap();
        let soon = || hermes_host::clock::now() + Duration::from_secs(30);
        for n in 0..3 {
            outlet.push(Line::new(format!("lost {n}")));
            assert!(outlet.flush(soon()));
        }
        go.send(()).unwrap();
        outlet.push(Line::new("kept".to_owned()));
        assert!(outlet.flush(soon()));
        let written: Vec<String> = lines.try_iter().flatten().collect();
        assert!(written[0].contains(" 3 lines are missing"), "{written:?}");
        assert_eq!(written[1..], ["kept"]);
    }
}
