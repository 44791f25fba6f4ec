//! The table where it is longer than the terminal: trouble first, the rest counted. Pure.

use std::fmt::Write as _;

use hermes_wire::contract::gateway_status::{Profile, state};

use super::cells::Look;
use super::{Parts, columns};
use crate::columns::width;

/// Of all rows, the part that problems may take when not everything fits.
const PROBLEMS: usize = 3;
/// Names that a summary gives for each state.
const NAMED: usize = 8;
/// With fewer rows only the first line of the head is shown.
const SMALL: usize = 20;

/// As much of everything as fits into `rows`.
pub(super) fn table(profiles: &[Profile], mut parts: Parts, look: Look, rows: usize) -> String {
    let of = |text: &str| rows_of(text, look.width);
    // A person who watches sees the next step behind the problems, or nowhere.
    parts.hints.clear();
    parts.below = first(&parts.below, (rows / PROBLEMS).max(2), look.width);
    if rows < SMALL {
        // Who it is has one line; where it listens can be asked.
        parts.header = parts.header.lines().take(1).map(|line| format!("{line}\n")).collect();
    }
    // Beside the profiles: blank lines between the parts, the head of the table, the count.
    let blank = if parts.below.is_empty() { 1 } else { 2 };
    let room = rows.saturating_sub(of(&parts.header) + of(&parts.below) + blank + 2).max(1);
    let mut sorted: Vec<Profile> = profiles.to_vec();
    sorted.sort_by_key(trouble);
    let rest = sorted.split_off(room.min(sorted.len()));
    let mut table = columns::table(&sorted, look);
    if !rest.is_empty() {
        let _ = writeln!(table, "{}", counted(&rest));
    }
    parts.around(&table)
}

/// Rows that a text takes on a terminal of that width; colours take none.
pub(super) fn rows_of(text: &str, columns: Option<usize>) -> usize {
    let rows = |line: &str| match columns {
        Some(columns) if columns > 0 => visible(line).div_ceil(columns).max(1),
        _ => 1,
    };
    text.lines().map(rows).sum()
}

fn visible(line: &str) -> usize {
    // Each piece behind the first begins with the rest of a colour: `32m`.
    let mut pieces = line.split("\x1b[");
    let first = pieces.next().map_or(0, width);
    first + pieces.filter_map(|piece| piece.split_once('m')).map(|(_, text)| width(text)).sum::<usize>()
}

/// The lines that fit into `most` rows, and how many more there are.
fn first(text: &str, most: usize, columns: Option<usize>) -> String {
    if rows_of(text, columns) <= most {
        return text.to_owned();
    }
    let (mut out, mut used, mut shown) = (String::new(), 1, 0);
    for line in text.lines() {
        used += rows_of(line, columns);
        if used > most {
            break;
        }
        shown += 1;
        let _ = writeln!(out, "{line}");
    }
    let _ = writeln!(out, "… and {} more lines; `hermes status` shows all", text.lines().count() - shown);
    out
}

/// What needs somebody comes first.
fn trouble(profile: &Profile) -> u8 {
    match profile.state.as_str() {
        state::FAILED | state::CRASH_LOOP | state::CONFLICT => 0,
        state::READY if !profile.stale => 3,
        at_rest if state::is_at_rest(at_rest) => 2,
        _ => 1,
    }
}

/// `40 profiles: 36 ready, 1 failed (p31), 1 backoff (p35), 2 stopped`
pub(super) fn summary(profiles: &[Profile]) -> String {
    let mut sorted: Vec<&Profile> = profiles.iter().collect();
    sorted.sort_by_key(|profile| trouble(profile));
    let ready = profiles.iter().filter(|profile| profile.state == state::READY).count();
    let mut text = format!("{} profiles: {ready} ready", profiles.len());
    let mut rest: &[&Profile] = &sorted;
    while let Some(first) = rest.first() {
        let (same, others): (Vec<&Profile>, Vec<&Profile>) =
            rest.iter().partition(|profile| profile.state == first.state);
        if first.state != state::READY {
            let _ = write!(text, ", {} {}", same.len(), super::clean(&first.state));
            if trouble(first) < 2 {
                let names: Vec<String> =
                    same.iter().take(NAMED).map(|profile| super::clean(&profile.name)).collect();
                let more = if same.len() > NAMED { ", …" } else { "" };
                let _ = write!(text, " ({}{more})", names.join(", "));
            }
        }
        sorted = others;
        rest = &sorted;
    }
    text
}

/// `and 21 more, 1 failed`
fn counted(rest: &[Profile]) -> String {
    let mut states: Vec<(&str, usize)> = Vec::new();
    for profile in rest.iter().filter(|profile| profile.state != state::READY) {
        match states.iter_mut().find(|(name, _)| *name == profile.state) {
            Some((_, count)) => *count += 1,
            None => states.push((&profile.state, 1)),
        }
    }
    let mut text = format!("and {} more", rest.len());
    for (name, count) in &states {
        let _ = write!(text, ", {count} {}", super::clean(name));
    }
    if states.is_empty() {
        text += ", all ready";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::{gateway, profile};
    use super::*;

    fn many() -> Vec<Profile> {
        let mut all: Vec<Profile> = (0..40).map(|n| profile(&format!("p{n:02}"), state::READY)).collect();
        all[31] = profile("p31", state::FAILED);
        all[31].reason = Some("no model".to_owned());
        all[35] = profile("p35", state::BACKOFF);
        all[38] = profile("p38", state::STOPPED);
        all
    }

    /// 7: what does not fit is counted, and what is wrong is among what fits.
    #[test]
    fn n07_what_does_not_fit_is_counted_and_trouble_comes_first() {
        let status = gateway(many());
        for (rows, columns) in [(10, 80), (16, 60), (24, 80), (24, 40), (30, 200)] {
            let look = Look { color: true, width: Some(columns), rows: Some(rows), scrolls: false };
            let text = super::super::table(&status, look);
            assert!(rows_of(&text, Some(columns)) <= rows, "{rows} x {columns}:\n{text}");
            let at = |name: &str| text.lines().position(|line| line.starts_with(name));
            assert!(at("p31").is_some() && at("p31") < at("p00").or(Some(usize::MAX)), "{text}");
            let shown = text.lines().filter(|line| line.starts_with('p')).count();
            assert!(text.contains(&format!("and {} more", 40 - shown)), "{text}");
        }
        let fits = Look { rows: Some(100), ..Look::default() };
        assert!(!super::super::table(&status, fits).contains(" more"), "everything fits");
    }

    /// 7: a list that scrolls is whole, and its last line says how many are how, by name where somebody has to look.
    #[test]
    fn n07_a_list_longer_than_the_screen_is_summed_up_at_its_end() {
        let status = gateway(many());
        let look = Look { rows: Some(24), scrolls: true, ..Look::default() };
        let text = super::super::table(&status, look);
        assert_eq!(text.lines().filter(|line| line.starts_with('p')).count(), 40, "{text}");
        let last = "40 profiles: 37 ready, 1 failed (p31), 1 backoff (p35), 1 stopped";
        assert_eq!(text.lines().last(), Some(last), "{text}");
        let fits = super::super::table(&status, Look { rows: Some(100), scrolls: true, ..Look::default() });
        assert!(!fits.contains("40 profiles:"), "everything is seen");
    }

    #[test]
    fn n07_the_rest_is_counted_by_state() {
        let mut all = many();
        assert_eq!(counted(&all[..5]), "and 5 more, all ready");
        all[36] = profile("p36", state::FAILED);
        assert_eq!(counted(&all[30..]), "and 10 more, 2 failed, 1 backoff, 1 stopped");
    }
}
