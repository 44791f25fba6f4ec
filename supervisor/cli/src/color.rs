//! Whether output is coloured: one rule for everything that is printed. Pure.
//!
//! `--color` decides where it is given. Otherwise the environment, as <https://bixense.com/clicolors> and <https://no-color.org>
//! have it: `NO_COLOR` first, then `CLICOLOR_FORCE`, then `CLICOLOR=0` and a dumb terminal. Otherwise a terminal gets colours and a file
//! or pipe none.

use std::ffi::{OsStr, OsString};

use clap::ValueEnum;
use clap::builder::PossibleValue;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set; with CLICOLOR_FORCE everywhere.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// By hand: what the derive would take from the comments makes every help page twice as long.
impl ValueEnum for Color {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Auto, Self::Always, Self::Never]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Never => "never",
        }))
    }
}

impl Color {
    /// What the environment asks for.
    pub(crate) fn from_environment(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        if set("NO_COLOR").is_some() {
            return Self::Never;
        }
        if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
            return Self::Always;
        }
        if set("CLICOLOR").is_some_and(|value| value == "0") || set("TERM").is_some_and(|term| term == "dumb")
        {
            return Self::Never;
        }
        Self::Auto
    }

    /// What the command line asks for: the last `--color WHEN` before `--`. Known before the line is parsed, because what is wrong
    /// with it is printed too; a word that is none of the three is left to the parser.
    pub(crate) fn from_arguments<'a>(args: impl IntoIterator<Item = &'a OsStr>) -> Option<Self> {
        let mut found = None;
        let mut args = args.into_iter().filter_map(OsStr::to_str).take_while(|arg| *arg != "--");
        while let Some(arg) = args.next() {
            let value = match arg.strip_prefix("--color") {
                Some("") => args.next(),
                Some(rest) => rest.strip_prefix('='),
                None => None,
            };
            found = value.and_then(|word| Self::from_str(word, false).ok()).or(found);
        }
        found
    }

    /// Whether a stream gets colours.
    pub(crate) fn on(self, is_terminal: bool) -> bool {
        match self {
            Self::Auto => is_terminal,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 7: the same answer everywhere.
    #[test]
    fn n07_the_environment_decides_in_the_order_of_the_conventions() {
        let of = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> =
                set.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            Color::from_environment(|name| set.iter().find(|(k, _)| k == name).map(|(_, v)| v.into()))
        };
        assert_eq!(of(&[]), Color::Auto);
        assert_eq!(of(&[("NO_COLOR", "")]), Color::Auto, "an empty one is none");
        assert_eq!(of(&[("NO_COLOR", "0"), ("CLICOLOR_FORCE", "1")]), Color::Never);
        assert_eq!(of(&[("CLICOLOR_FORCE", "1"), ("TERM", "dumb")]), Color::Always);
        assert_eq!(of(&[("CLICOLOR_FORCE", "0")]), Color::Auto);
        assert_eq!(of(&[("CLICOLOR", "0")]), Color::Never);
        assert_eq!(of(&[("CLICOLOR", "1"), ("TERM", "xterm")]), Color::Auto);
        assert_eq!(of(&[("TERM", "dumb")]), Color::Never);
        assert!(
            !Color::Auto.on(false)
                && Color::Auto.on(true)
                && Color::Always.on(false)
                && !Color::Never.on(true)
        );
    }

    #[test]
    fn n07_the_command_line_is_read_before_it_is_judged() {
        let of = |line: &str| Color::from_arguments(line.split(' ').map(OsStr::new));
        assert_eq!(of("hermes status --color always"), Some(Color::Always));
        assert_eq!(of("hermes --color=never nonsense"), Some(Color::Never));
        assert_eq!(of("hermes --color always --color=auto"), Some(Color::Auto));
        assert_eq!(of("hermes --color purple"), None);
        assert_eq!(of("hermes config set x -- --color=always"), None);
        assert_eq!(of("hermes --colors always"), None);
    }
}
