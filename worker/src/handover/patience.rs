//! How long an event may wait with its platform for what cannot be had now: a profile that does not serve, a file that is away.
//!
//! What waits holds up what came in behind it. So time is counted for each event, and for whom it waits for: of several events
//! that wait for the same profile all but the first find its time spent. An answer of it gives it its time again.

use std::collections::HashMap;
use std::time::Duration;

use hermes_wire::ProfileName;
use tokio::time::Instant;

/// How long an event waits, while its platform offers it again and again.
pub(super) const PATIENCE: Duration = Duration::from_mins(2);
/// A failure this long after the last one is the first of new ones.
const FORGOTTEN: Duration = Duration::from_hours(1);
/// Waits that are counted at once.
const WAITING: usize = 1024;

/// Whom or what time is counted for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum For {
    /// An event, by a name that it has whenever it is offered.
    Event(String),
    /// The profile that is to answer.
    Profile(ProfileName),
    /// The files of a platform.
    Files(String),
    /// Whom a platform's messages may come from.
    People(String),
}

/// Since when, and when last.
#[derive(Debug, Clone, Copy)]
struct Spell {
    since: Instant,
    last: Instant,
}

/// Who waits, and since when.
#[derive(Debug, Default)]
pub(super) struct Patience(HashMap<For, Spell>);

impl Patience {
    /// Whether `event`, for which `whom` is not to be had at `now`, may go on waiting. One without a name may not: it cannot be told
    /// from others, and its platform forgets it.
    pub(super) fn may_wait(&mut self, event: Option<&str>, whom: For, now: Instant) -> bool {
        let Some(event) = event else { return false };
        let own = self.lasts(For::Event(event.to_owned()), now);
        let theirs = self.lasts(whom, now);
        own && theirs
    }

    fn lasts(&mut self, whom: For, now: Instant) -> bool {
        if self.0.len() >= WAITING && !self.0.contains_key(&whom) {
            self.0.retain(|_, spell| now.duration_since(spell.since) < PATIENCE);
        }
        let new = Spell { since: now, last: now };
        let spell = self.0.entry(whom).or_insert(new);
        if now.duration_since(spell.last) >= FORGOTTEN {
            *spell = new;
        }
        spell.last = now;
        now.duration_since(spell.since) < PATIENCE
    }

    /// It was had: whoever waits for it next begins anew.
    pub(super) fn answered(&mut self, whom: &For) {
        self.0.remove(whom);
    }

    /// The event is settled.
    pub(super) fn settled(&mut self, event: Option<&str>) {
        if let Some(event) = event {
            self.0.remove(&For::Event(event.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coder() -> For {
        For::Profile("coder".parse().unwrap())
    }

    #[test]
    fn patience_ends_for_all_that_wait_for_the_same_and_for_nobody_else() {
        let (mut all, start) = (Patience::default(), Instant::now());
        let ops = || For::Profile("ops".parse().unwrap());
        assert!(all.may_wait(Some("a"), coder(), start));
        assert!(all.may_wait(Some("a"), coder(), start + PATIENCE / 2));
        let over = start + PATIENCE;
        assert!(!all.may_wait(Some("a"), coder(), over));
        all.settled(Some("a"));
        assert!(!all.may_wait(Some("b"), coder(), over), "the profile had its time");
        assert!(all.may_wait(Some("c"), ops(), over));
        assert!(all.may_wait(Some("d"), For::Files("telegram".to_owned()), over));
        assert!(!all.may_wait(None, ops(), over), "what has no name cannot be told from another");
        all.answered(&coder());
        assert!(all.may_wait(Some("e"), coder(), over));
    }

    #[test]
    fn one_event_ends_even_where_others_are_answered() {
        let (mut all, start) = (Patience::default(), Instant::now());
        assert!(all.may_wait(Some("a"), coder(), start));
        all.answered(&coder());
        assert!(!all.may_wait(Some("a"), coder(), start + PATIENCE));
    }

    #[test]
    fn old_failures_are_forgotten_and_what_is_counted_is_bounded() {
        let (mut all, start) = (Patience::default(), Instant::now());
        assert!(all.may_wait(Some("a"), coder(), start));
        let last = start + PATIENCE;
        assert!(!all.may_wait(Some("b"), coder(), last));
        assert!(all.may_wait(Some("c"), coder(), last + FORGOTTEN));
        for n in 0..3 * WAITING {
            all.may_wait(
                Some(&n.to_string()),
                coder(),
                last + FORGOTTEN + PATIENCE * u32::try_from(n).unwrap(),
            );
        }
        assert!(all.0.len() <= WAITING + 1, "{}", all.0.len());
    }
}
