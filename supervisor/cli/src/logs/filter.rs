//! Which records are wanted. Pure.

use regex::bytes::{Regex, RegexBuilder};

use super::bounds::Wall;
use super::record::{Level, Record};

/// What a compiled expression may take, in bytes: whoever types one waits for it.
const MAX_REGEX: usize = 4 * 1024 * 1024;

/// The components that 0.19.0 names, and what says things for them. Any other name is the beginning of one.
pub(crate) const COMPONENTS: [(&str, &[&str]); 6] = [
    ("agent", &["agent", "run_agent", "model_tools", "batch_runner"]),
    ("cli", &["cli", "hermes_cli"]),
    ("cron", &["cron", "gateway.cron"]),
    ("gateway", &["gateway", "hermes_plugins", "plugins.platforms"]),
    ("gui", &["gui", "hermes_gui", "dashboard"]),
    ("tools", &["tools", "gateway.tools"]),
];

/// What must hold for a record to be shown; what is `None` always holds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// At least this bad.
    pub(crate) level: Option<Level>,
    /// Not before.
    pub(crate) since: Option<Wall>,
    /// Not after.
    pub(crate) until: Option<Wall>,
    /// Somewhere in the first line.
    pub(crate) session: Option<String>,
    /// Beginnings of names.
    pub(crate) component: Option<Vec<String>>,
    /// Anywhere in the record.
    pub(crate) grep: Option<Regex>,
}

impl Filter {
    /// Whether it passes. A line that belongs to no record has neither level nor time, and no component.
    pub(crate) fn passes(&self, record: &Record<'_>) -> bool {
        if let Some(head) = &record.head {
            let outside = self.level.is_some_and(|least| head.level < least)
                || self.since.is_some_and(|since| head.time < since)
                || self.until.is_some_and(|until| head.time > until);
            if outside {
                return false;
            }
        }
        if let Some(names) = &self.component {
            let line = record.first_line();
            let component = record.head.and_then(|head| head.parts(line).component);
            if !component.is_some_and(|name| names.iter().any(|wanted| begins_with(name, wanted))) {
                return false;
            }
        }
        let holds = |text: &String| memchr::memmem::find(record.first_line(), text.as_bytes()).is_some();
        self.session.as_ref().is_none_or(holds)
            && self.grep.as_ref().is_none_or(|grep| grep.is_match(record.bytes))
    }
}

/// Whether a line of a gateway is about this profile.
pub(super) fn is_about(record: &Record<'_>, profile: &str) -> bool {
    let line = record.first_line();
    let message = record.head.map(|head| &line[head.parts(line).message..]);
    let name = message.and_then(|m| m.strip_prefix(b"[")).and_then(|m| m.strip_prefix(profile.as_bytes()));
    name.is_some_and(|rest| rest.starts_with(b"]"))
}

/// Whether a dotted name begins with another one.
fn begins_with(name: &[u8], wanted: &str) -> bool {
    name.strip_prefix(wanted.as_bytes()).is_some_and(|rest| rest.is_empty() || rest[0] == b'.')
}

/// What says things for a component.
pub(crate) fn component(name: &str) -> Vec<String> {
    let known = COMPONENTS.iter().find(|(known, _)| *known == name);
    known.map_or_else(
        || vec![name.to_owned()],
        |(_, names)| names.iter().map(|name| (*name).to_owned()).collect(),
    )
}

/// An expression as `grep -E` users know it; `(?i)` for letters of any size.
pub(crate) fn grep(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(MAX_REGEX).dfa_size_limit(MAX_REGEX).multi_line(true).build()
}

#[cfg(test)]
mod tests {
    use super::super::record::head;
    use super::*;

    fn passes(filter: &Filter, text: &str) -> bool {
        let first = text.lines().next().unwrap_or_default();
        filter.passes(&Record { head: head(first.as_bytes()), bytes: text.as_bytes() })
    }

    const WARNING: &str = "2026-11-21 00:30:57,386 WARNING [s1] gateway.platform.webhook: slow id=7";

    #[test]
    fn each_condition_holds_alone() {
        let none = Filter::default;
        assert!(passes(&none(), WARNING) && passes(&none(), "anything"));
        let level = |word| Filter { level: Level::from_word(word), ..none() };
        assert!(passes(&level("warning"), WARNING) && !passes(&level("error"), WARNING));
        assert!(passes(&level("error"), "  a line of no record"), "as 0.19.0 has it");
        let of = |name: &str| Filter { component: Some(component(name)), ..none() };
        assert!(passes(&of("gateway"), WARNING) && passes(&of("gateway.platform"), WARNING));
        assert!(!passes(&of("gateway.plat"), WARNING) && !passes(&of("tools"), WARNING));
        assert!(!passes(&of("gateway"), "a line of no record"));
        let session = |id: &str| Filter { session: Some(id.to_owned()), ..none() };
        assert!(passes(&session("s1"), WARNING) && !passes(&session("s2"), WARNING));
        let matching = |text: &str| Filter { grep: Some(grep(text).unwrap()), ..none() };
        assert!(passes(&matching("id=[0-9]$"), &format!("{WARNING}\nTraceback")), "in any of its lines");
        assert!(!passes(&matching("nothing"), WARNING));
        let since = |text: &str| Filter { since: text.parse().ok(), ..none() };
        assert!(
            passes(&since("2026-11-21T00:30:57"), WARNING) && !passes(&since("2026-11-21T00:31"), WARNING)
        );
        let until = |text: &str| Filter { until: text.parse().ok(), ..none() };
        assert!(
            !passes(&until("2026-11-21T00:30:57"), WARNING) && passes(&until("2026-11-21T00:31"), WARNING)
        );
        let about =
            |text: &str| is_about(&Record { head: head(text.as_bytes()), bytes: text.as_bytes() }, "coder");
        assert!(about("2026-11-21 00:30:57,386 INFO supervise: [coder] ready"));
        assert!(!about("2026-11-21 00:30:57,386 INFO supervise: [coders] ready"));
    }

    #[test]
    fn an_expression_that_would_take_too_much_is_refused() {
        assert!(grep("(").is_err());
        assert!(grep("(a{1000}){1000}").is_err());
    }
}
