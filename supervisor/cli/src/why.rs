//! Why a profile is as it is: everything that is known, put together from the status, the journal, its files and its log. Works
//! with a gateway and without.

mod changed;
mod log;
mod show;
mod step;

pub(crate) use changed::Changed;
pub(crate) use show::human;

use hermes_wire::contract::events::{Event, what};
use hermes_wire::contract::gateway_status::{GatewayStatus, Profile};
use hermes_wire::latest::Problem;
use hermes_wire::{ProfileName, RootHome};
use serde::Serialize;

use crate::events::{self, Filter};

/// Version of the JSON.
const SCHEMA: u32 = 1;
/// Events that are shown.
const EVENTS: usize = 8;
/// Events that are looked through for the last end.
const LOOKED_AT: usize = 4000;

/// Everything that is known. Fields are only ever added.
#[derive(Debug, Serialize)]
pub(crate) struct Why {
    schema: u32,
    pub(crate) profile: String,
    pub(crate) state: String,
    /// `running` or `stopped`: what was asked for.
    pub(crate) desired: String,
    pub(crate) ready: bool,
    /// The values come from files.
    pub(crate) stale: bool,
    pub(crate) since_secs: Option<u64>,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u64,
    pub(crate) reason: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) next_attempt_ms: Option<u64>,
    pub(crate) last_exit: Option<LastExit>,
    /// What provider and platforms last failed with.
    pub(crate) errors: Vec<Failing>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) changed: Changed,
    pub(crate) log: log::Tail,
    /// The newest, oldest first.
    pub(crate) events: Vec<Event>,
    /// What could not be read, and why.
    pub(crate) unread: Vec<String>,
    /// What can be done now; nothing where all is well.
    pub(crate) steps: Vec<String>,
}

/// How the last process of the profile ended.
#[derive(Debug, Serialize)]
pub(crate) struct LastExit {
    /// `exit 1`, `signal 9 (SIGKILL)`.
    pub(crate) how: String,
    /// When, why and by whom, where that is written down.
    pub(crate) event: Option<Event>,
}

/// A provider or a platform that fails.
#[derive(Debug, Serialize)]
pub(crate) struct Failing {
    /// `provider` or `platform`.
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    /// `auth`, `rate_limit`, …; a platform's state.
    pub(crate) class: String,
    pub(crate) code: Option<String>,
    pub(crate) message: String,
    pub(crate) secs: Option<u64>,
    pub(crate) count: Option<u64>,
}

/// Puts it together. `status` has this profile alone.
pub(crate) fn of(status: &GatewayStatus, root: &RootHome, name: &ProfileName) -> Option<Why> {
    let profile = status.profiles.iter().find(|profile| profile.name == name.as_str())?;
    let home = root.profile(name);
    let mut journals = vec![root.profile(&ProfileName::default_profile()).events()];
    if !name.is_default() {
        journals.push(home.events());
    }
    let filter = Filter { profile: Some(name.to_string()), ..Filter::default() };
    let found = events::newest(&journals, &filter, Some(LOOKED_AT));
    let mut unread: Vec<String> =
        found.unread.iter().map(|(path, error)| format!("{path}: {error}")).collect();
    let mut events = found.events;
    events.retain(|event| event.profile.is_some());
    let last_exit = last_exit(profile, &events);
    let older = events.len().saturating_sub(EVENTS);
    events.drain(..older);
    let log = log::tail(root, name, &mut unread);
    Some(Why {
        schema: SCHEMA,
        profile: profile.name.clone(),
        state: profile.state.clone(),
        desired: profile.desired.clone(),
        ready: profile.ready,
        stale: profile.stale,
        since_secs: profile.since_secs,
        pid: profile.pid,
        restarts: profile.restarts,
        reason: profile.reason.clone(),
        file: profile.file.clone(),
        next_attempt_ms: profile.next_attempt_ms,
        last_exit,
        errors: failing(profile),
        problems: profile.problems.clone(),
        changed: Changed::look(&home, &mut unread),
        log,
        events,
        unread,
        steps: step::of(status, profile),
    })
}

/// The end that the journal tells of last; what the gateway says of it counts where the journal is silent.
fn last_exit(profile: &Profile, events: &[Event]) -> Option<LastExit> {
    let event = events.iter().rev().find(|event| event.what == what::EXIT).cloned();
    let written = event.as_ref().and_then(|event| event.exit.clone());
    let how = written.or_else(|| profile.last_exit.clone())?;
    Some(LastExit { how, event })
}

fn failing(profile: &Profile) -> Vec<Failing> {
    let provider = profile.last_error.iter().map(|error| Failing {
        kind: "provider",
        name: error.provider.clone(),
        class: error.class.clone(),
        code: error.code.map(|code| code.to_string()),
        message: error.message.clone(),
        secs: profile.last_error_secs,
        count: Some(error.count),
    });
    let platforms = profile.platforms.iter().filter_map(|(name, platform)| {
        Some(Failing {
            kind: "platform",
            name: name.clone(),
            class: platform.state.clone(),
            code: platform.error_code.clone(),
            message: platform.error_message.clone()?,
            secs: platform.updated_at.as_deref().and_then(hermes_gateway::status::secs_since),
            count: None,
        })
    });
    provider.chain(platforms).collect()
}
