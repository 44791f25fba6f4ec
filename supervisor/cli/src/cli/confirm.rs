//! A question that is answered with yes or no before something is lost.

use std::io::{BufRead as _, IsTerminal as _, Read as _};

use super::output::Output;
use crate::error::{HermesError, StoredError};

/// Longest answer that is read, in bytes.
const ANSWER: u64 = 1024;

/// Whether somebody said yes, from a terminal or a pipe. `yes`: it was said on the command line.
pub(super) fn confirmed(question: &str, yes: bool, out: &mut Output) -> Result<bool, HermesError> {
    if yes {
        return Ok(true);
    }
    out.write(&format!("{question} [y/N] "))?;
    let input = std::io::stdin();
    let terminal = input.is_terminal();
    let mut answer = String::new();
    let read = input.lock().take(ANSWER).read_line(&mut answer);
    if !terminal {
        out.line("")?;
    }
    match read {
        // A script that gave nothing to read made a mistake; a person who pressed Ctrl-D did not.
        Ok(0) | Err(_) if !terminal => Err(StoredError::NoConfirmation.into()),
        Ok(_) if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") => Ok(true),
        _ => {
            out.line("Cancelled.")?;
            Ok(false)
        }
    }
}
