//! Ctrl-C while a command works, and `q` where it shows something on a terminal.

use std::cell::Cell;
#[cfg(target_os = "linux")]
use std::os::fd::AsFd as _;
use std::time::Duration;

use hermes_host::wait;
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};

/// Ctrl-C and SIGTERM, awaited instead of obeyed, so that the terminal is left in order.
pub(super) struct Interrupt {
    #[cfg(target_os = "linux")]
    signals: Option<nix::sys::signalfd::SignalFd>,
    keys: Cell<Option<Keys>>,
}

/// The terminal on standard input, which gives keys as they are typed, without showing them, while this lives.
struct Keys(Termios);

impl Keys {
    /// `None` where standard input is no terminal.
    fn listen() -> Option<Self> {
        let before = termios::tcgetattr(std::io::stdin()).ok()?;
        let mut now = before.clone();
        now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &now).ok()?;
        Some(Self(before))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that has gone needs no order.
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

impl Interrupt {
    /// Signals alone.
    pub(super) fn new() -> Self {
        Self {
            #[cfg(target_os = "linux")]
            signals: signals(),
            keys: Cell::new(None),
        }
    }

    /// Signals, and the key `q`.
    pub(super) fn or_q() -> Self {
        Self { keys: Cell::new(Keys::listen()), ..Self::new() }
    }

    /// Whether one came within that time.
    #[cfg(target_os = "linux")]
    pub(super) fn came_within(&self, time: Duration) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let deadline = hermes_host::clock::now() + time;
        let mut keys = self.keys.take();
        let came = loop {
            let left = deadline.saturating_duration_since(hermes_host::clock::now());
            let stdin = std::io::stdin();
            let mut wait: Vec<PollFd<'_>> =
                self.signals.iter().map(|signals| PollFd::new(signals.as_fd(), PollFlags::POLLIN)).collect();
            let signals = wait.len();
            wait.extend(keys.as_ref().map(|_| PollFd::new(stdin.as_fd(), PollFlags::POLLIN)));
            if wait.is_empty() {
                wait::pause(left);
                break false;
            }
            match poll(&mut wait, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
                Ok(0) => break false,
                // A signal that is not ours, SIGWINCH for one.
                Err(_) => continue,
                Ok(_) => {}
            }
            if wait[..signals].iter().any(|fd| fd.any().unwrap_or(false)) {
                break true;
            }
            let mut typed = [0; 64];
            match nix::unistd::read(std::io::stdin(), &mut typed) {
                Ok(n) if n > 0 => {
                    if typed[..n].iter().any(|key| matches!(key, b'q' | b'Q')) {
                        break true;
                    }
                }
                // The terminal has gone; nobody types any more.
                _ => keys = None,
            }
        };
        self.keys.set(keys);
        came
    }

    /// Whether one came within that time: never, where signals cannot be awaited; they are obeyed.
    #[cfg(not(target_os = "linux"))]
    pub(super) fn came_within(&self, time: Duration) -> bool {
        // Nobody reads them here.
        self.keys.set(None);
        wait::pause(time);
        false
    }
}

#[cfg(target_os = "linux")]
fn signals() -> Option<nix::sys::signalfd::SignalFd> {
    use nix::sys::signal::{SigSet, Signal};
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    // Blocked only where they can be read: otherwise nothing could end this command.
    nix::sys::signalfd::SignalFd::new(&signals).ok().filter(|_| signals.thread_block().is_ok())
}
