//! What has happened to gateways and profiles, read from their journals (`logs/events.jsonl`), whether or not a gateway runs.
//!
//! A gateway writes the journal of its own home alone; that of the root home tells of all profiles that it serves, and a profile that has
//! had a gateway of its own has a journal of its own beside that. They are read together, in the order of time.

mod follow;
mod read;
mod show;

pub(crate) use follow::Following;
pub(crate) use read::{Found, newest};
pub(crate) use show::human;

use hermes_wire::contract::events::Event;
use jiff::Timestamp;

/// Which events are asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// About this profile alone, and about the gateway that serves it.
    pub(crate) profile: Option<String>,
    /// Not older than that.
    pub(crate) since: Option<Timestamp>,
    /// Not newer than that.
    pub(crate) until: Option<Timestamp>,
}

impl Filter {
    fn takes(&self, event: &Event) -> bool {
        let about = match (&self.profile, &event.profile) {
            (Some(wanted), Some(profile)) => wanted == profile,
            _ => true,
        };
        let then =
            |at| self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until);
        about && time(event).is_none_or(then)
    }
}

/// When it happened, where that can be read.
pub(crate) fn time(event: &Event) -> Option<Timestamp> {
    event.at.parse().ok()
}
