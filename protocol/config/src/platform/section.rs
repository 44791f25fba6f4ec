//! A platform's section and variables, as its folder reads them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::ListenAddress;
use crate::secret::Secret;
use hermes_wire::ProfileName;

/// A token, and the place that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// What the file calls the place.
    pub place: String,
    /// The bot's token there.
    pub token: Secret,
}

/// A platform's section and variables, or one entry of a mapping in it. A variable (empty = none) beats a key; what is not what it should
/// be is noted as a problem that keeps the profile from starting, and the answer is as if nothing were there.
pub trait Section {
    /// The profile whose files these are.
    fn profile(&self) -> &ProfileName;
    /// Where the platform is reached; none: it opens no port of the gateway's. Of one that is [called](super::Declaration::called): where webhooks
    /// are, without host and port where this profile's own files say them; none: nowhere.
    fn listener(&self) -> Option<&ListenAddress>;
    /// Whether something is written there, if only an empty text.
    fn is_set(&self, key: &'static str) -> bool;
    /// Whether a variable says something.
    fn has_variable(&self, variable: &'static str) -> bool;
    /// Any text, white space around it dropped; empty counts as absent.
    fn text(&mut self, key: &'static str, variable: &'static str) -> Option<String>;
    /// Any text, exactly.
    fn verbatim(&mut self, key: &'static str) -> Option<String>;
    /// A text that must not be seen.
    fn secret(&mut self, key: &'static str, variable: &'static str) -> Option<Secret>;
    /// What the platform's file of [tokens](super::Tokens) holds.
    fn tokens(&self) -> &[Token];
    /// One of these words, letter case ignored.
    fn choice(&mut self, key: &'static str, words: &[&'static str]) -> Option<&'static str>;
    /// True or false.
    fn flag(&mut self, key: &'static str) -> Option<bool>;
    /// A whole number in a range.
    fn number(
        &mut self,
        key: &'static str,
        variable: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<u64>;
    /// A whole number up to a limit; a negative one counts as zero.
    fn count(&mut self, key: &'static str, most: u64) -> Option<u64>;
    /// Seconds, fractions allowed, up to a limit.
    fn seconds(&mut self, key: &'static str, most: Duration) -> Option<Duration>;
    /// A list of texts, in a variable with commas.
    fn list(&mut self, key: &'static str, variable: &'static str) -> Vec<String>;
    /// Anything, as JSON.
    fn json(&mut self, key: &'static str) -> serde_json::Value;
    /// A mapping of free names to texts; what is a mapping or a list there becomes its JSON.
    fn texts(&mut self, key: &'static str) -> BTreeMap<String, String>;
    /// Shows every entry of a mapping of free names, in the file's order, with its name.
    fn each(&mut self, key: &'static str, entry: &mut dyn FnMut(&str, &mut dyn Section));
    /// Whether this is a mapping, or nothing.
    fn is_mapping(&mut self) -> bool;
    /// The key as people are told of it: `platforms.webhook.extra.routes.a.prompt`; empty: this section's own.
    fn path(&self, key: &'static str) -> String;
    /// Says that something is not as it looks.
    fn warn(&mut self, code: &str, at: Spot, message: String, fix: &str);
    /// Says that the platform cannot run as it is configured, what is in the way, and what to do. The profile is served without it.
    fn fault(&mut self, code: &str, at: Spot, message: String, fix: &str);
}

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// This section itself.
    Here,
    /// A key of it.
    Key(&'static str),
    /// A variable.
    Variable(&'static str),
}

/// A switch, in a variable (empty = none) or in the file. A word that is neither true nor false is said, and `default` holds.
pub fn switch(section: &mut dyn Section, key: &'static str, variable: &'static str, default: bool) -> bool {
    if variable.is_empty() || !section.has_variable(variable) {
        return section.flag(key).unwrap_or(default);
    }
    let said = section.text(key, variable).unwrap_or_default();
    match said.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => true,
        "false" | "0" | "no" | "off" => false,
        _ => {
            let message = format!("`{variable}` is neither true nor false; {default} holds");
            section.warn("wrong_type", Spot::Variable(variable), message, "Write `true` or `false`.");
            default
        }
    }
}
