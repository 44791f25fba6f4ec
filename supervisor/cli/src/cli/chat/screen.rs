//! How a question and its answer look. Off a terminal there is no control code, and nothing that moves.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Instant;

use hermes_host::clock;
use hermes_wire::ProfileName;
use hermes_wire::terminal::{Counts, Said};

use super::super::output::Output;
use super::say;
use crate::chat::News;
use crate::error::HermesError;

/// How much is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// The answer as it comes, what goes on, and a footer.
    Full,
    /// The answer when it is whole, and the session.
    Quiet,
    /// The answer when it is whole.
    Bare,
}

/// See the module.
pub(super) struct Screen {
    look: Look,
    out: Output,
    /// Something that moves may be shown: standard error is a terminal.
    is_alive: bool,
    begun: Instant,
    session: Option<String>,
    /// The line of standard error holds what is going on now.
    is_marked: bool,
    /// Text of the answer stands on standard output, and whether its line has ended.
    written: Option<bool>,
    /// What comes next of the answer stands apart.
    apart: bool,
}

impl Screen {
    pub(super) fn new(look: Look) -> Self {
        Self {
            look,
            out: Output::stdout(),
            is_alive: look == Look::Full && io::stderr().is_terminal(),
            begun: clock::now(),
            session: None,
            is_marked: false,
            written: None,
            apart: false,
        }
    }

    /// Before anything is known.
    pub(super) fn begin(&mut self, question: &str) {
        if self.is_alive {
            let first = question.lines().next().unwrap_or_default();
            say(&format!("Query: {first}\n\n"));
            self.mark("…");
        }
    }

    /// Shows what came.
    pub(super) fn tell(&mut self, news: &News) -> Result<(), HermesError> {
        match news {
            News::Said(Said::Begun { session, before }) => {
                let is_first = self.session.replace(session.clone()).is_none();
                if let (Some(before), true, true) = (before, is_first, self.look != Look::Bare) {
                    let Counts { messages, user, .. } = *before;
                    let s = if user == 1 { "" } else { "s" };
                    self.note(&format!(
                        "↻ Resumed session {session} ({user} user message{s}, {messages} total messages)"
                    ));
                }
                self.mark("thinking…");
            }
            News::Said(Said::Delta { text }) if self.look == Look::Full => self.delta(text)?,
            News::Said(Said::Tool { name, done: false, .. }) if self.look == Look::Full => {
                self.apart = true;
                self.note(&format!("  ┊ {name}"));
                self.mark(&format!("{name}…"));
            }
            News::Said(Said::Tool { done: true, .. } | Said::Heard { .. }) => self.mark("thinking…"),
            News::Said(Said::Retrying { attempt, reason }) if self.look == Look::Full => {
                self.note(&format!("  ┊ attempt {attempt}: {reason}"));
                self.mark("thinking…");
            }
            News::Said(Said::Unheard) => self.warn("the answer came too late: the command did not run"),
            News::Said(Said::Lost { requests }) => {
                self.warn(&format!("{requests} requests came too fast to be kept"));
            }
            News::Waiting(why) if self.look != Look::Bare => {
                self.apart = self.written.is_some();
                self.note(&format!("  ┊ waiting: {why}"));
                self.mark("waiting…");
            }
            News::Again if self.look != Look::Bare => {
                self.apart = self.written.is_some();
                self.note("  ┊ the worker was replaced; the turn goes on");
                self.mark("thinking…");
            }
            _ => {}
        }
        Ok(())
    }

    fn delta(&mut self, text: &str) -> Result<(), HermesError> {
        self.clear();
        let mut text = text;
        if std::mem::take(&mut self.apart) && self.written.is_some() {
            self.end_line()?;
            self.out.write("\n")?;
            text = text.trim_start_matches('\n');
        }
        self.out.write(text)?;
        if !text.is_empty() {
            self.written = Some(text.ends_with('\n'));
        }
        Ok(())
    }

    /// The whole text of the answer.
    pub(super) fn answer(&mut self, text: &str) -> Result<(), HermesError> {
        self.clear();
        // It was told as it came; one that another process gave was not.
        if self.look != Look::Full || self.written.is_none() || self.apart {
            self.delta(text)?;
        }
        self.end_line()
    }

    fn end_line(&mut self) -> Result<(), HermesError> {
        if self.written == Some(false) {
            self.out.write("\n")?;
            self.written = Some(true);
        }
        Ok(())
    }

    /// A line on standard error.
    fn note(&mut self, text: &str) {
        self.clear();
        if self.is_alive && self.written == Some(false) {
            // Both are one screen.
            say("\n");
        }
        say(&format!("{text}\n"));
    }

    /// Makes room for something that is not the answer.
    pub(super) fn step_aside(&mut self) {
        self.clear();
        if self.written == Some(false) {
            say("\n");
        }
        self.apart = true;
    }

    pub(super) fn warn(&mut self, text: &str) {
        self.clear();
        say(&format!("warning: {text}\n"));
    }

    /// Shows what is going on, where somebody looks and nothing of the answer stands in that line.
    fn mark(&mut self, text: &str) {
        if self.is_alive && self.written != Some(false) {
            let width = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
            let text: String =
                hermes_wire::text::visible(text).chars().take(width.saturating_sub(3)).collect();
            let _ = write!(io::stderr().lock(), "\r\x1b[2m  {text}\x1b[0m\x1b[K");
            self.is_marked = true;
        }
    }

    /// Takes it away.
    pub(super) fn clear(&mut self) {
        if std::mem::take(&mut self.is_marked) {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }

    /// What stands behind everything; `None`: there is no answer.
    pub(super) fn footer(&mut self, counts: Option<Counts>, profile: &ProfileName) {
        self.clear();
        let Some(session) = &self.session else { return };
        match self.look {
            Look::Bare => {}
            Look::Quiet => say(&format!("\nsession_id: {session}\n")),
            Look::Full => {
                if self.is_alive && self.written == Some(false) {
                    say("\n");
                }
                let flag = if profile.is_default() { String::new() } else { format!(" -p {profile}") };
                let mut text = format!(
                    "\nResume this session with:\n  hermes{flag} chat --resume {session} -q TEXT\n\n"
                );
                // Writing to a string cannot fail.
                let _ = writeln!(text, "Session:   {session}");
                let _ = writeln!(text, "Duration:  {}", duration(self.begun.elapsed()));
                if let Some(Counts { messages, user, tool_calls }) = counts {
                    let s = if tool_calls == 1 { "" } else { "s" };
                    let _ = writeln!(text, "Messages:  {messages} ({user} user, {tool_calls} tool call{s})");
                }
                say(&text);
            }
        }
    }
}

/// `0.8s`, `12s`, `3m 5s`
fn duration(time: std::time::Duration) -> String {
    let secs = time.as_secs();
    match secs {
        0..10 => format!("{:.1}s", time.as_secs_f64()),
        10..60 => format!("{secs}s"),
        _ => format!("{}m {}s", secs / 60, secs % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn durations_are_short() {
        let of = |ms| duration(Duration::from_millis(ms));
        assert_eq!(
            (of(820), of(12_400), of(185_000)),
            ("0.8s".to_owned(), "12s".to_owned(), "3m 5s".to_owned())
        );
    }
}
