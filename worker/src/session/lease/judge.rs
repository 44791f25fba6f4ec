//! What a row of the turn leases says about its holder, and whether it is void. Pure.

/// Longest part of a holder's text that is repeated in a log or an error.
const SHOWN: usize = 120;

/// A row, as any program wrote it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// Whose it is.
    pub(crate) holder: String,
    /// Since when, in seconds since the epoch.
    pub(crate) acquired: f64,
    /// Until when.
    pub(crate) expires: f64,
}

/// What to make of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its holder is at work, as far as can be known.
    Held,
    /// Whoever wants it may take it.
    Void,
}

impl Row {
    /// From the bytes of the holder and the two times. One row that is no text must not keep all turns from being looked at.
    pub(super) fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        let holder = String::from_utf8_lossy(row.get_ref(0)?.as_blob()?).into_owned();
        Ok(Self { holder, acquired: row.get(1)?, expires: row.get(2)? })
    }

    /// Whether the text names a process that cannot be seen from here. `me` counts: what is this process's own was asked for before, so
    /// a text with its number is of an earlier process, or of one in another namespace.
    pub(crate) fn is_unseen(&self, me: u32, exists: impl Fn(i32) -> bool) -> bool {
        pid(&self.holder).is_some_and(|pid| u32::try_from(pid) == Ok(me) || !exists(pid))
    }

    /// `unseen`: see [`is_unseen`](Self::is_unseen). `by_time_only`: that says nothing here. A number that was given to another process
    /// since counts as alive, and so does a text without a number, both until the time is over.
    pub(crate) fn judge(&self, now: f64, unseen: bool, by_time_only: bool) -> Verdict {
        if self.expires <= now || (unseen && !by_time_only) { Verdict::Void } else { Verdict::Held }
    }

    /// The holder, as it may be shown.
    pub(crate) fn said(&self) -> String {
        let clean = self.holder.chars().filter(|c| !c.is_control());
        format!("another program runs a turn in this session ({})", clean.take(SHOWN).collect::<String>())
    }
}

/// The text of a holder.
pub(super) fn holder(pid: u32, turn: &str, platform: &str) -> String {
    // A part of its own would be read as one of the others.
    let platform = platform.replace(':', "_");
    let platform = if platform.is_empty() { "unknown" } else { &platform };
    format!("pid={pid}:turn={turn}:platform={platform}")
}

/// The process that a holder's text names: a part `pid=<digits>`. A number that no process can have is none.
fn pid(holder: &str) -> Option<i32> {
    let digits = holder
        .split(':')
        .filter_map(|part| part.strip_prefix("pid="))
        .find(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_a_part_of_its_own() {
        for (holder, expected) in [
            ("pid=42:turn=t:platform=cli", Some(42)),
            ("turn=t:pid=42", Some(42)),
            ("pid=42", Some(42)),
            ("xpid=42:turn=t", None),
            ("pid=42x:turn=t", None),
            ("pid=:turn=t", None),
            ("pid=0:turn=t", None),
            ("pid=-1:turn=t", None),
            ("pid=+7:turn=t", None),
            ("pid=99999999999:turn=t", None),
            ("", None),
        ] {
            assert_eq!(pid(holder), expected, "{holder}");
        }
        assert_eq!(holder(7, "t", ""), "pid=7:turn=t:platform=unknown");
        assert_eq!(pid(&holder(7, "t", "odd:pid=9")), Some(7));
    }

    #[test]
    fn a_row_is_void_when_its_time_is_over_or_its_process_is_gone() {
        use Verdict::{Held, Void};
        let row = |holder: &str| Row { holder: holder.to_owned(), acquired: 100.0, expires: 400.0 };
        let judged = |holder: &str, now: f64, by_time_only: bool| {
            let row = row(holder);
            row.judge(now, row.is_unseen(7, |pid| pid == 42), by_time_only)
        };
        for (holder, now, by_time_only, expected) in [
            ("pid=42:turn=t", 399.0, false, Held),
            ("pid=42:turn=t", 400.0, false, Void),
            ("pid=43:turn=t", 101.0, false, Void),
            ("pid=43:turn=t", 101.0, true, Held),
            ("pid=43:turn=t", 400.0, true, Void),
            // This process's own number, in a text that is not its own.
            ("pid=7:turn=t", 101.0, false, Void),
            ("pid=7:turn=t", 101.0, true, Held),
            ("no process", 399.0, false, Held),
            ("no process", 401.0, false, Void),
        ] {
            assert_eq!(judged(holder, now, by_time_only), expected, "{holder} at {now}");
        }
    }

    #[test]
    fn what_is_shown_of_a_holder_is_short_and_on_one_line() {
        let row = Row { holder: format!("pid=1\n{}", "x".repeat(5000)), acquired: 0.0, expires: 0.0 };
        assert!(row.said().len() < 200 && !row.said().contains('\n'), "{}", row.said());
    }
}
