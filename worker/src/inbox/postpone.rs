//! When a turn that met a provider's fault is tried again. The waits are pure; the rows are `hermes_inbox`'s.
//!
//! A postponed item keeps its place: the later ones of its session wait behind it, those of others pass. A new process tries all
//! of them at once: what was wrong may have been mended by the edit that brought it.
//!
//! An item whose session is at work in another program waits in the same state, for as long as that takes.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};

/// First wait; doubles with every further one.
const FIRST: Duration = Duration::from_secs(5);
/// Longest such wait, before jitter.
const LONGEST: Duration = Duration::from_mins(5);
/// Longest wait a provider may ask for.
const LONGEST_ASKED: Duration = Duration::from_hours(1);
/// Between two looks whether another program's turn in the session is over.
pub(crate) const LEASED: Duration = Duration::from_millis(1500);
/// The same where no turn can begin at all, for any item: nothing but a look by a person changes that.
pub(crate) const UNGUARDED: Duration = Duration::from_secs(30);
/// What such an item has in the place of a provider's fault.
pub(crate) const LEASED_FAULT: &str = "leased";
/// Shortest wait.
const SHORTEST: Duration = Duration::from_secs(1);

/// How long an item has been put off already.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Postponed {
    /// How often.
    pub(crate) times: u32,
    /// Since when, in seconds since the epoch.
    pub(crate) since: Option<f64>,
}

/// How long to wait before the next try, or `None` where `patience` is at its end. `asked` is the provider's wish, `jitter`
/// between 0 and 1.
pub(crate) fn wait(
    before: Postponed,
    now: f64,
    patience: Duration,
    asked: Option<Duration>,
    jitter: f64,
) -> Option<Duration> {
    let waited = Duration::try_from_secs_f64(now - before.since.unwrap_or(now)).unwrap_or_default();
    let left = patience.checked_sub(waited).filter(|left| !left.is_zero())?;
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(before.times)).min(LONGEST);
    let jittered = doubled.mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 2.0);
    let wait = asked.map_or(jittered, |asked| asked.min(LONGEST_ASKED).max(jittered));
    // The last try comes when patience ends, not long before.
    Some(wait.min(left).max(SHORTEST))
}

/// A new process: everything that was put off is tried at once.
pub(crate) fn hurry(db: &Connection, now: f64) -> rusqlite::Result<()> {
    db.execute("UPDATE hermes_inbox SET due_at = ?1 WHERE state = 'postponed'", [now])?;
    Ok(())
}

/// Puts an item off because its session is another program's, for `why`; it is looked at again after `wait`. How long a provider was away
/// before stays counted.
pub(crate) fn until_free(
    db: &Connection,
    id: i64,
    why: &str,
    wait: Duration,
    now: f64,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'postponed', owner_pid = NULL, owner_start = NULL, due_at = ?2, fault = ?3, error = ?4
         WHERE id = ?1",
    )?
    .execute(params![id, now + wait.as_secs_f64(), LEASED_FAULT, why])
    .map(drop)
}

/// Lets what is due wait for its turn.
pub(crate) fn wake(db: &Connection, now: f64) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE hermes_inbox SET state = 'waiting' WHERE state = 'postponed' AND due_at <= ?1")?
        .execute(params![now])
        .map(drop)
}

/// When the next one is due, in seconds since the epoch.
pub(crate) fn next_due(db: &Connection) -> rusqlite::Result<Option<f64>> {
    db.prepare_cached("SELECT due_at FROM hermes_inbox WHERE state = 'postponed' ORDER BY due_at LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// 25: patience is hours, and the first tries come soon.
    #[test]
    fn waits_double_up_to_five_minutes_for_as_long_as_patience_lasts() {
        let wait =
            |times, since: f64, asked| wait(Postponed { times, since: Some(since) }, 1e9, DAY, asked, 0.0);
        assert_eq!(
            [0, 1, 2, 5, 6, 40].map(|n| wait(n, 1e9, None)),
            [5, 10, 20, 160, 300, 300].map(|n| Some(secs(n)))
        );
        assert_eq!(wait(0, 1e9, Some(secs(90))), Some(secs(90)), "as the provider asks");
        assert_eq!(wait(0, 1e9, Some(secs(1))), Some(secs(5)), "but never sooner than by ourselves");
        assert_eq!(wait(0, 1e9, Some(secs(86_400))), Some(secs(3600)));
        assert_eq!(wait(9, 1e9 - 86_390.0, None), Some(secs(10)), "the last try is at the end");
        assert_eq!(wait(9, 1e9 - 86_400.0, None), None);
        assert_eq!(wait(9, 1e9 + 500.0, None), Some(secs(300)), "a clock that was set back");
    }

    #[test]
    fn no_patience_is_none_and_jitter_adds_up_to_half() {
        let first = Postponed::default();
        assert_eq!(wait(first, 1e9, Duration::ZERO, None, 0.5), None);
        assert_eq!(wait(first, 1e9, DAY, None, 1.0), Some(Duration::from_millis(7500)));
    }
}
