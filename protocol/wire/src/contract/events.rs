//! `logs/events.jsonl` in the home of a gateway: every change of state, why, and who wanted it; one JSON object a line.
//!
//! The gateway that holds the home's lock appends, and nobody else. Lines are in the order in which things happened; the last one
//! may be torn where the machine stopped, and readers leave out what is no event. Fields and words are only ever added.

use serde::{Deserialize, Serialize};

use crate::text;

/// Longest line in bytes, its end included: what is longer was not written by a gateway.
pub const MAX_LINE: usize = 8 * 1024;
/// Longest cause in bytes; what is longer is cut.
pub const MAX_CAUSE: usize = 1024;

/// Words of [`Event::what`].
pub mod what {
    /// The gateway itself is in another state.
    pub const GATEWAY: &str = "gateway";
    /// A profile is in another state.
    pub const STATE: &str = "state";
    /// Another process of a profile serves than before, without a gap; or could not take over (`to` is `failed`).
    pub const SWAP: &str = "swap";
    /// A process of a profile has ended.
    pub const EXIT: &str = "exit";
    /// A platform of a profile is connected (`up`), or is not any more (`down`).
    pub const PLATFORM: &str = "platform";
    /// What the files say is in force (`applied`), or is not (`refused`).
    pub const CONFIG: &str = "config";
    /// Events are missing here.
    pub const GAP: &str = "gap";
}

/// Words of [`By::who`].
pub mod who {
    /// A command of `hermes`, or another program that may ask.
    pub const COMMAND: &str = "command";
    /// Files of the home have changed.
    pub const FILES: &str = "files";
    /// A signal to the gateway.
    pub const SIGNAL: &str = "signal";
    /// The gateway, by its own rules: a deadline, a retry, a start, a stop.
    pub const GATEWAY: &str = "gateway";
    /// The worker itself.
    pub const WORKER: &str = "worker";
    /// The machine: no memory, no space, no process.
    pub const MACHINE: &str = "machine";
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// ISO 8601 in UTC with milliseconds.
    pub at: String,
    /// Counts up from 1 while one gateway runs.
    #[serde(default)]
    pub seq: u64,
    /// One of [`what`].
    pub what: String,
    /// The profile; absent where it is about the gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// What it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cause: String,
    /// Who wanted it, or did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// Which process of the profile, counted since the gateway started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Its process id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How a process ended: `exit 1`, `signal 9 (SIGKILL)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<String>,
    /// The file it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// How many events are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<u64>,
}

/// Who wanted something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// One of [`who`].
    pub who: String,
    /// Which command, signal or rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The process that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
}

impl By {
    /// Somebody without a name.
    pub fn who(who: &str) -> Self {
        Self { who: who.to_owned(), ..Self::default() }
    }

    /// Who wanted it; nothing where that goes without saying.
    pub fn shown(&self) -> String {
        let name = self.name.as_deref().map(|name| format!(" {}", clean(name))).unwrap_or_default();
        let who = match self.who.as_str() {
            // What a worker does of itself, and what follows from the gateway's own rules, stands in the cause.
            who::WORKER | who::GATEWAY if name.is_empty() => String::new(),
            who::MACHINE => format!("the machine:{name}"),
            other => format!("{}{name}", clean(other)),
        };
        let pid = self.pid.map(|pid| format!(", PID {pid}")).unwrap_or_default();
        let uid = self.uid.map(|uid| format!(", user {uid}")).unwrap_or_default();
        format!("{who}{pid}{uid}")
    }

    /// Somebody, and what of it.
    pub fn named(who: &str, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::who(who) }
    }
}

impl Event {
    /// What happened, why, and by whom, without when and to whom.
    pub fn sentence(&self) -> String {
        let word = |text: &Option<String>| text.as_deref().map(clean).unwrap_or_default();
        let (from, to) = (word(&self.from), word(&self.to));
        let arrow = if from.is_empty() { to.clone() } else { format!("{from} → {to}") };
        let pid = self.pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
        let subject = match self.what.as_str() {
            what::STATE => arrow,
            what::GATEWAY => format!("gateway {arrow}{pid}"),
            what::EXIT => format!("worker{pid} ended, {}", word(&self.exit)),
            what::PLATFORM => format!("{} {to}", word(&self.platform)),
            what::CONFIG => format!("configuration {to}"),
            what::SWAP if to == "failed" => "the newer worker could not take over".to_owned(),
            what::SWAP => format!("swapped, {arrow}{pid}"),
            what::GAP => format!("{} events are missing here", self.missing.unwrap_or_default()),
            other => format!("{} {arrow}", clean(other)),
        };
        let cause = clean(&self.cause);
        let cause = if cause.is_empty() || cause == to { String::new() } else { format!(": {cause}") };
        let file = self.file.as_deref().filter(|file| !self.cause.contains(*file));
        let file = file.map(|file| format!(" [{}]", clean(file))).unwrap_or_default();
        let by = self.by.as_ref().map(By::shown).filter(|by| !by.is_empty());
        let by = by.map(|by| format!(" ({by})")).unwrap_or_default();
        format!("{subject}{cause}{file}{by}")
    }

    /// Reads one line, with its end or without. `None`: it is no event.
    pub fn parse(line: &[u8]) -> Option<Self> {
        if line.len() > MAX_LINE {
            return None;
        }
        serde_json::from_slice(line).ok()
    }
}

fn clean(text: &str) -> String {
    text::visible(text.trim()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_what_is_none_is_not() {
        let line = br#"{"at":"2026-11-29T18:00:00.000Z","seq":3,"what":"state","profile":"coder","from":"ready","to":"draining","cause":"stop requested","by":{"who":"command","name":"stop","pid":7,"uid":0},"later":true}"#;
        let event = Event::parse(line).unwrap();
        assert_eq!((event.seq, event.to.as_deref()), (3, Some("draining")));
        assert_eq!(event.by.as_ref().unwrap().pid, Some(7));
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(Event::parse(text.as_bytes()).unwrap(), event);
        for none in [&b""[..], b"{", b"null", b"[]", b"{}", &line[..40], &[b' '; MAX_LINE + 1]] {
            assert_eq!(Event::parse(none), None);
        }
    }
}
