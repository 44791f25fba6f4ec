//! Asks for a value on the terminal and shows nothing of it.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::cli::interrupt::Interrupt;
use crate::error::ValueError;

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 64 * 1024;
/// Time between two looks whether Ctrl-C was pressed, in milliseconds.
const LOOK: u16 = 50;

/// The terminal as it was, for when the question is over.
struct Silent(Termios);

impl Silent {
    fn begin() -> Option<Self> {
        let input = io::stdin();
        let before = tcgetattr(input.as_fd()).ok()?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        silent.local_flags.insert(LocalFlags::ECHONL);
        tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &silent).ok()?;
        Some(Self(before))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// Asks for the value of `key`. Without a terminal nobody can be asked.
pub(in crate::cli) fn ask(key: &str) -> Result<String, ValueError> {
    let input = io::stdin();
    if !input.is_terminal() {
        return Err(ValueError::Missing { key: key.to_owned() });
    }
    let interrupt = Interrupt::new();
    // Without a terminal that can be quiet, a secret would be seen: nothing is read then.
    let silent = Silent::begin().ok_or(ValueError::Cancelled)?;
    let _ = write!(io::stderr().lock(), "Value of {key} (not shown): ");
    loop {
        if interrupt.came_within(Duration::ZERO) {
            drop(silent);
            let _ = writeln!(io::stderr().lock());
            return Err(ValueError::Cancelled);
        }
        let mut wait = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        if poll(&mut wait, PollTimeout::from(LOOK)).is_ok_and(|n| n > 0) {
            break;
        }
    }
    let mut line = String::new();
    let read = input.lock().take(MAX_LINE).read_line(&mut line);
    drop(silent);
    match read {
        Ok(0) | Err(_) => Err(ValueError::Cancelled),
        Ok(_) => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}
