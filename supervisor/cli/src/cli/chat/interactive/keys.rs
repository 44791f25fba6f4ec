//! Keys that are typed while something is answered: Ctrl-C stops it, the others wait, unseen, for the next line.
//!
//! The terminal sends no signals meanwhile, so that Ctrl-C is a key like any other, on every system. How it was before is how it is again
//! when [`Keys`] is dropped.

use std::io;
use std::os::fd::AsFd as _;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{self, InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios};

/// Ctrl-C.
pub(super) const INTERRUPT: u8 = 3;
/// Most that is kept, in bytes.
const KEPT: usize = 4096;

/// How keys are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// One by one, and not shown.
    Unseen,
    /// In lines, as they are typed; Ctrl-C ends one.
    Lines,
}

/// See the module.
pub(super) struct Keys(Termios);

impl Keys {
    /// `None` where standard input is no terminal.
    pub(super) fn given(way: Way) -> Option<Self> {
        let before = termios::tcgetattr(io::stdin()).ok()?;
        let mut now = before.clone();
        now.local_flags.remove(LocalFlags::ISIG);
        match way {
            Way::Unseen => {
                now.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
                now.input_flags.remove(InputFlags::ICRNL);
                now.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
                now.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            }
            Way::Lines => now.control_chars[SpecialCharacterIndices::VEOL as usize] = INTERRUPT,
        }
        termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &now).ok()?;
        Some(Self(before))
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        // A terminal that has gone needs no order.
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}

/// What was typed ahead.
#[derive(Debug, Default)]
pub(super) struct Ahead(Vec<u8>);

impl Ahead {
    /// Takes what was typed; whether Ctrl-C was among it, which forgets what was typed before.
    pub(super) fn look(&mut self) -> bool {
        let stdin = io::stdin();
        let mut ready = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        if !poll(&mut ready, PollTimeout::ZERO).is_ok_and(|ready| ready > 0) {
            return false;
        }
        let mut bytes = [0; 256];
        // A terminal that has gone ends this process by a signal.
        nix::unistd::read(&stdin, &mut bytes).is_ok_and(|read| self.take(&bytes[..read]))
    }

    fn take(&mut self, bytes: &[u8]) -> bool {
        if let Some(at) = bytes.iter().rposition(|byte| *byte == INTERRUPT) {
            self.0 = bytes[at + 1..].to_vec();
            return true;
        }
        let room = KEPT.saturating_sub(self.0.len()).min(bytes.len());
        self.0.extend_from_slice(&bytes[..room]);
        false
    }

    /// The next line that was typed to its end.
    pub(super) fn line(&mut self) -> Option<String> {
        let at = self.0.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
        let rest = self.0.split_off(at + 1);
        let line = std::mem::replace(&mut self.0, rest);
        Some(text(&line[..at]))
    }

    /// What of a line was typed.
    pub(super) fn rest(&mut self) -> String {
        text(&std::mem::take(&mut self.0))
    }
}

/// Keys as the text that they make: what moves a cursor does nothing, what takes a sign away does.
fn text(keys: &[u8]) -> String {
    let typed = String::from_utf8_lossy(keys);
    let (mut out, mut signs) = (String::new(), typed.chars());
    while let Some(sign) = signs.next() {
        match sign {
            '\u{7f}' | '\u{8}' => drop(out.pop()),
            '\u{15}' => out.clear(),
            '\u{1b}' => {
                // `ESC [ … letter`, `ESC O letter`, `ESC key`.
                if matches!(signs.next(), Some('[' | 'O')) {
                    let _ = signs.by_ref().find(|sign| sign.is_ascii_alphabetic() || *sign == '~');
                }
            }
            sign if sign.is_control() => {}
            sign => out.push(sign),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_typed_ahead_is_the_next_line() {
        let mut ahead = Ahead::default();
        assert!(!ahead.take(b"one\x1b[A\x7fe\rtw"));
        assert!(!ahead.take("ö".as_bytes()));
        assert_eq!(ahead.line().as_deref(), Some("one"));
        assert_eq!(ahead.line(), None);
        assert_eq!(ahead.rest(), "twö");
        assert!(!ahead.take(b"forgotten\r") && ahead.take(b"x\x03kept"));
        assert_eq!((ahead.line(), ahead.rest()), (None, "kept".to_owned()));
    }

    proptest! {
        #[test]
        fn keys_make_text(keys in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(!text(&keys).contains(char::is_control));
        }
    }
}
