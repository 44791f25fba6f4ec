//! How errors look: headline, the chain of causes, a blank line, the next step.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use crate::error::HermesError;

/// The text for standard error, with its final line end.
pub(crate) fn text(error: &HermesError) -> String {
    let mut out = format!("{}{error}\n", error.prefix());
    for cause in hermes_host::cause::causes(error) {
        let _ = writeln!(out, "  caused by: {cause}");
    }
    if let Some(hint) = error.hint() {
        let _ = writeln!(out, "\nhint: {hint}");
    }
    out
}

/// Prints the error and returns its exit code. Output nobody reads any more is not a failure.
pub(crate) fn report(error: &HermesError) -> u8 {
    if let HermesError::Output(e) = error
        && e.kind() == io::ErrorKind::BrokenPipe
    {
        return hermes_wire::exit::OK;
    }
    let text = text(error);
    // Names and values in it may come from anywhere.
    let text = hermes_wire::text::printable(&text);
    // A gateway's reader may not read.
    if !hermes_gateway::logging::print(&text) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
    error.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hermes_gateway::instance::InstanceError;
    use hermes_host::refusal::Io;

    #[test]
    fn causes_are_listed_and_the_hint_stands_apart() {
        let source = io::Error::from_raw_os_error(nix::libc::EROFS);
        let error = HermesError::from(InstanceError::from(Io::at("open", "/h/gateway.lock")(source)));
        insta::assert_snapshot!(text(&error), @r"
        Error: cannot take the instance lock
          caused by: cannot open `/h/gateway.lock`
          caused by: Read-only file system (os error 30)

        hint: check the directory's owner, mode and free space
        ");
    }

    #[test]
    fn a_closed_pipe_is_success() {
        let closed = HermesError::Output(io::ErrorKind::BrokenPipe.into());
        assert_eq!(report(&closed), 0);
    }
}
