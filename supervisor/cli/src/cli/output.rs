//! Standard output of the one-shot commands. A closed pipe ends the command with success.

use std::io::{self, IsTerminal as _, Write as _};

use hermes_wire::text;

/// A warning, on standard error. Output nobody reads any more is not a failure.
pub(super) fn warn(text: &str) {
    let _ = writeln!(io::stderr().lock(), "warning: {}", text::printable(text));
}

/// What is being done, on standard error.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "  {}", text::printable(text));
}

/// Whether somebody watches standard error, so that progress can be shown.
pub(super) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Where a command prints.
#[derive(Debug)]
pub(super) struct Output {
    terminal: bool,
}

impl Output {
    pub(super) fn stdout() -> Self {
        Self { terminal: io::stdout().is_terminal() }
    }

    /// Columns of the terminal, where there is one that knows.
    pub(super) fn width(&self) -> Option<usize> {
        self.size().map(|(width, _)| width)
    }

    /// Rows of the terminal, where there is one.
    pub(super) fn rows(&self) -> Option<usize> {
        self.terminal.then(|| self.size().map_or(24, |(_, rows)| rows))
    }

    fn size(&self) -> Option<(usize, usize)> {
        let (width, height) = self.terminal.then(terminal_size::terminal_size).flatten()?;
        Some((usize::from(width.0), usize::from(height.0)))
    }

    /// Writes and flushes, so that a line is seen when it is printed and not when the command ends.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "one writer at a time")]
    pub(super) fn write(&mut self, text: &str) -> io::Result<()> {
        // What a terminal would obey is ours alone; a pipe gets everything as it is.
        let shown = if self.terminal { text::printable(text) } else { text.into() };
        let mut out = io::stdout().lock();
        out.write_all(shown.as_bytes())?;
        out.flush()
    }

    /// One line.
    pub(super) fn line(&mut self, text: &str) -> io::Result<()> {
        self.write(&format!("{text}\n"))
    }

    /// On a terminal: the line that stands there gives way to `text`, without an end. One line at most, whatever is in it.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "one writer at a time")]
    pub(super) fn replace_line(&mut self, text: &str) -> io::Result<()> {
        let width = self.width().unwrap_or(80).saturating_sub(1);
        let shown: String = text::visible(text).chars().take(width).collect();
        let mut out = io::stdout().lock();
        write!(out, "\r{shown}\x1b[K")?;
        out.flush()
    }
}
