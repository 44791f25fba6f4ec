//! What is known of a profile without starting its worker: which state its files are in, and whether a worker that read them in this
//! state left word that it has nothing to do.
//!
//! So a gateway that starts again need not start every profile that sleeps to be told so. Such a word counts for exactly the state that it
//! names, in a home that was left in order; in every other case the profile is looked at by a worker of its own.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use hermes_wire::contract::runtime_status::{Asleep, RuntimeStatus};
use hermes_wire::latest::{Autostart, Severity, Upkeep};

use crate::status_files;
use crate::supervise::actor::{Handle, Known};

/// Time that a home has to say so.
const PATIENCE: Duration = Duration::from_secs(1);

/// The state of a profile's files, with everything else that decides what is made of them: this release, and how profiles are kept whose
/// files do not say it. `files`: what the watch knows of them.
pub(super) fn stamp(files: u64, upkeep: &Upkeep) -> String {
    let mut hasher = DefaultHasher::new();
    (files, upkeep, hermes_wire::VERSION).hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// What is known of it. Without a stamp nothing is: its files could not be looked at.
pub(super) async fn of(handle: &Handle, stamp: Option<String>) -> Known {
    let Some(stamp) = stamp else { return Known::default() };
    let home = handle.home.clone();
    let read = hermes_host::blocking::run(move || status_files::read(&home));
    let status = tokio::time::timeout(PATIENCE, read).await.ok().and_then(Result::ok).flatten();
    let found = status.and_then(|status| word(status, &stamp)).map(Box::new);
    Known { stamp, found }
}

/// The word that a worker left, where it counts.
fn word(status: RuntimeStatus, stamp: &str) -> Option<Asleep> {
    let ended = status.gateway_state.as_deref() == Some("stopped");
    let note = status.asleep.filter(|note| ended && note.stamp == stamp)?;
    let on_demand = note.upkeep.autostart == Autostart::OnDemand;
    // What does not work is looked at again: what it needs may have come from elsewhere.
    let whole = note.problems.iter().all(|problem| problem.severity == Severity::Warning);
    (on_demand && whole).then_some(note)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str, note: &str) -> RuntimeStatus {
        let text = format!(r#"{{"pid": 7, "gateway_state": "{state}", "asleep": {note}}}"#);
        RuntimeStatus::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_word_counts_for_the_very_state_that_it_names() {
        let note = |autostart: &str, severity: &str| {
            format!(
                r#"{{"stamp": "1", "upkeep": {{"autostart": "{autostart}", "idle_ms": 7, "limits":
                    {{"memory": null, "cpu_permille": null, "tasks": 20}}}}, "problems": [{{"severity": "{severity}", "code": "c",
                    "platform": null, "file": "", "line": null, "column": null, "key": null, "message": "m", "fix": null}}]}}"#
            )
        };
        let good = note("on-demand", "Warning");
        let found = word(status("stopped", &good), "1").unwrap();
        assert_eq!((found.upkeep.idle_ms, found.upkeep.limits.tasks, found.problems.len()), (7, Some(20), 1));
        assert_eq!(word(status("stopped", &good), "2"), None, "other files");
        assert_eq!(word(status("running", &good), "1"), None, "it did not end in order");
        assert_eq!(word(status("stopped", "null"), "1"), None, "it was stopped");
        assert_eq!(word(status("stopped", &note("never", "Warning")), "1"), None);
        assert_eq!(
            word(status("stopped", &note("on-demand", "Platform")), "1"),
            None,
            "something is missing"
        );
    }

    #[test]
    fn another_default_is_another_state() {
        let upkeep = Upkeep::default();
        assert_eq!(stamp(1, &upkeep), stamp(1, &upkeep));
        assert_ne!(stamp(1, &upkeep), stamp(2, &upkeep));
        assert_ne!(stamp(1, &upkeep), stamp(1, &Upkeep { idle_ms: 1, ..upkeep }));
    }
}
