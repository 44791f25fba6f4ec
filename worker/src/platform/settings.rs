//! What reading the settings of chat platforms shares. Pure: what is wrong is said to the section that is read.

use std::ops::RangeInclusive;
use std::time::Duration;

use hermes_config::platform::{Fault, Section, Spot};
use hermes_config::row::Key;
use hermes_config::{is_private, unsupported};
use regex::RegexSetBuilder;
use reqwest::Url;

/// Longest pattern of all, compiled.
pub(super) const PATTERNS: usize = 1 << 20;

/// Words for nothing, in variables that have `off` among their words.
const OFF: [&str; 4] = ["false", "none", "no", "0"];

/// Where something is set: in its variable, where there is one, else below its key.
pub(super) fn at(section: &dyn Section, key: &'static str, variable: &'static str) -> Spot {
    let has_variable = !variable.is_empty() && section.has_variable(variable);
    if has_variable { Spot::Variable(variable) } else { Spot::Key(key) }
}

/// What keeps a platform from running; all of it is said, the first is its state.
pub(super) struct Faults<'s> {
    pub(super) section: &'s mut dyn Section,
    pub(super) first: Option<Fault>,
}

impl<'s> Faults<'s> {
    pub(super) fn of(section: &'s mut dyn Section) -> Self {
        Self { section, first: None }
    }

    pub(super) fn say(&mut self, code: &str, at: Spot, message: &str, fix: &str) {
        self.section.fault(code, at, message.to_owned(), fix);
        self.first.get_or_insert_with(|| Fault { code: code.to_owned(), message: message.to_owned() });
    }

    /// Says what is wrong with a setting, where it stands.
    pub(super) fn say_of(
        &mut self,
        code: &str,
        (key, variable): (&'static str, &'static str),
        message: &str,
        fix: &str,
    ) {
        let at = at(self.section, key, variable);
        self.say(code, at, message, fix);
    }
}

/// An address that a token may go to, with nothing behind its path: by TLS, or on this machine.
pub(super) fn address(text: &str) -> Option<Url> {
    let is_right =
        |url: &Url| url.has_host() && url.query().is_none() && url.fragment().is_none() && is_private(url);
    Url::parse(text).ok().filter(is_right)
}

/// One of some words, in a variable or in the file. What is none of them is said: nothing is set then, and `otherwise` holds.
pub(super) fn word(
    section: &mut dyn Section,
    key: &'static str,
    variable: &'static str,
    words: &[&'static str],
    otherwise: &str,
) -> Option<&'static str> {
    if variable.is_empty() || !section.has_variable(variable) {
        return section.choice(key, words);
    }
    let said = section.text(key, variable).unwrap_or_default().to_ascii_lowercase();
    let said = if OFF.contains(&said.as_str()) && words.contains(&"off") { "off" } else { &said };
    let found = words.iter().find(|word| **word == said).copied();
    if found.is_none() {
        let message = format!("`{variable}` is none of {}; `{otherwise}` holds", words.join(", "));
        section.warn("wrong_type", Spot::Variable(variable), message, "Write one of them.");
    }
    found
}

/// Seconds that are waited for the next part of a text: `text_batch_delay_seconds`, within these bounds. What is no such number is said, and
/// nothing is set then.
pub(super) fn batch(
    section: &mut dyn Section,
    variable: &'static str,
    bounds: RangeInclusive<f64>,
) -> Option<Duration> {
    const KEY: &str = "text_batch_delay_seconds";
    let text = section.text(KEY, variable)?;
    match text.parse::<f64>() {
        Ok(seconds) if bounds.contains(&seconds) => Some(Duration::from_secs_f64(seconds)),
        _ => {
            let (least, most) = (bounds.start(), bounds.end());
            let at = at(section, KEY, variable);
            let message = format!("the wait for the next part of a text is no number from {least} to {most}");
            let fix = format!("Write a number of seconds from {least} to {most}.");
            section.warn("wrong_type", at, message, &fix);
            None
        }
    }
}

/// Which parts of an answer quote what they answer: `reply_to_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quotes {
    None,
    First,
    All,
}

impl Quotes {
    /// As a section says it.
    pub(super) fn read(section: &mut dyn Section, variable: &'static str) -> Self {
        match word(section, "reply_to_mode", variable, &["off", "first", "all"], "first") {
            Some("off") => Self::None,
            Some("all") => Self::All,
            _ => Self::First,
        }
    }

    /// Whether the part of this key does. The key of a later part has a number behind it.
    pub(super) fn quote(self, key: &str) -> bool {
        match self {
            Self::None => false,
            Self::First => !key.contains('-'),
            Self::All => true,
        }
    }
}

/// `mention_patterns`: those that are regular expressions. In a variable: a JSON list, or one a line, or with commas.
pub(super) fn mentions(section: &mut dyn Section, variable: &'static str, platform: &str) -> Vec<String> {
    const KEY: &str = "mention_patterns";
    let all = if section.has_variable(variable) {
        let text = section.text(KEY, variable).unwrap_or_default();
        let json: Option<Vec<String>> = serde_json::from_str(&text).ok();
        json.unwrap_or_else(|| {
            let cut = if text.contains('\n') { '\n' } else { ',' };
            text.split(cut).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
        })
    } else {
        section.list(KEY, "")
    };
    let at = at(section, KEY, variable);
    regular(section, all, at, &format!("{platform}'s mention patterns"))
}

/// Those of some patterns that are regular expressions; others are said.
pub(super) fn regular(section: &mut dyn Section, all: Vec<String>, at: Spot, what: &str) -> Vec<String> {
    let compiles = |pattern: &String| RegexSetBuilder::new([pattern]).size_limit(PATTERNS).build().is_ok();
    let (good, bad): (Vec<String>, Vec<String>) = all.into_iter().partition(compiles);
    if !bad.is_empty() {
        let message = format!("{} of {what} are no regular expressions", bad.len());
        section.warn("mention_pattern", at, message, "Write them as Rust's `regex` reads them.");
    }
    good
}

/// Says which of a platform's known keys and variables are set and do nothing here. A variable that is off asks for nothing.
pub(super) fn say_idle<'k>(
    section: &mut dyn Section,
    platform: &str,
    keys: impl IntoIterator<Item = &'k Key>,
    variables: &[&'static str],
) {
    for key in keys {
        let name = key.path.rsplit('.').next().unwrap_or_default();
        if section.is_set(name) {
            let message = format!("{}{platform}'s {name}", unsupported::PREFIX);
            section.warn(unsupported::CODE, Spot::Key(name), message, "");
        }
    }
    for variable in variables {
        let off = |text: &str| matches!(text.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off");
        if section.has_variable(variable) && !section.text("", variable).is_some_and(|text| off(&text)) {
            let message = format!("{}{variable}", unsupported::PREFIX);
            section.warn(unsupported::CODE, Spot::Variable(variable), message, "");
        }
    }
}
