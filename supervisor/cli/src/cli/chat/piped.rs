//! Standard input of `hermes chat`: the question, or what it is about.
//!
//! It is taken where it is there for this command: a pipe, or a file of which nobody has read anything. A terminal, `/dev/null` and the
//! file that a shell's loop reads line by line are left alone. A pipe in which nothing comes within [`PATIENCE`] was left open by whoever
//! started the command, and the question goes without it: that is said. With `--stdin` its end is waited for, whatever it is.

use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::time::Duration;

use hermes_host::refusal::Io;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Whence, lseek};

use super::MAX_TEXT;
use super::warn;
use crate::error::{ChatError, HermesError};

/// What a slow command at the other end of the pipe has for its first byte.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is asked; `None`: nothing. `typed`: on the command line. `waits`: `--stdin` is there.
pub(super) fn question(typed: Option<&str>, waits: bool) -> Result<Option<String>, HermesError> {
    let is_there = || waits || (is_for_us() && has_come());
    let text = match typed {
        Some("-") => whole()?,
        Some(text) if is_there() => {
            let about = context(MAX_TEXT.saturating_sub(text.len() as u64 + 2))?;
            if about.is_empty() { text.to_owned() } else { format!("{text}\n\n{about}") }
        }
        Some(text) => text.to_owned(),
        None if is_there() => whole()?,
        None => return Ok(None),
    };
    if text.len() as u64 > MAX_TEXT {
        return Err(ChatError::TooLong { most: MAX_TEXT }.into());
    }
    Ok((typed.is_some() || !text.is_empty()).then_some(text))
}

/// Whether what stands there was put there for this command.
fn is_for_us() -> bool {
    let stdin = io::stdin();
    let Ok(found) = fstat(&stdin) else { return false };
    match SFlag::from_bits_truncate(found.st_mode) & SFlag::S_IFMT {
        // Some programs give their children sockets for pipes.
        SFlag::S_IFIFO | SFlag::S_IFSOCK => true,
        SFlag::S_IFREG => lseek(&stdin, 0, Whence::SeekCur) == Ok(0),
        _ => false,
    }
}

/// Whether something comes by a pipe in time, its end included.
fn has_come() -> bool {
    let stdin = io::stdin();
    let mut wait = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
    let patience = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
    loop {
        match poll(&mut wait, patience) {
            Err(Errno::EINTR) => {}
            Ok(0) => {
                warn(&format!(
                    "nothing has come by the pipe at standard input for {} s: it is left out (--stdin waits for it, `</dev/null` says that there is none)",
                    PATIENCE.as_secs()
                ));
                return false;
            }
            // What cannot be waited for is told by whoever reads it.
            Ok(_) | Err(_) => return true,
        }
    }
}

/// Standard input as what a question is about: as much as there is room for, and that it was cut is said.
fn context(room: u64) -> Result<String, HermesError> {
    let mut bytes = read(room)?;
    if bytes.len() as u64 > room {
        bytes.truncate(usize::try_from(room).unwrap_or(usize::MAX));
        // Not within a sign.
        let whole = match std::str::from_utf8(&bytes) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => bytes.len(),
        };
        bytes.truncate(whole);
        warn(&format!(
            "standard input is longer than goes with one question: the first {} KB go",
            room >> 10
        ));
    }
    as_text(bytes)
}

/// The whole of it, as a question.
fn whole() -> Result<String, HermesError> {
    let bytes = read(MAX_TEXT)?;
    if bytes.len() as u64 > MAX_TEXT {
        return Err(ChatError::TooLong { most: MAX_TEXT }.into());
    }
    as_text(bytes)
}

/// So many bytes of it, and one more where there are more.
fn read(most: u64) -> Result<Vec<u8>, HermesError> {
    let mut bytes = Vec::new();
    let read = io::stdin().lock().take(most + 1).read_to_end(&mut bytes);
    read.map_err(Io::at("read", "standard input"))?;
    Ok(bytes)
}

fn as_text(bytes: Vec<u8>) -> Result<String, HermesError> {
    let text = String::from_utf8(bytes).map_err(|_| ChatError::NotUtf8)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
