//! The table: columns as wide as their widest cell, the least important ones left out where the terminal is narrow.

use hermes_wire::contract::gateway_status::Profile;

use super::cells::{Look, Paint, age, bytes, clean, cpu, duration};
use crate::columns::{cut, pad, width};

/// Platforms named in one cell before the rest is only counted.
const PLATFORMS_SHOWN: usize = 4;
/// Widest cell.
const MAX_CELL: usize = 64;
/// Between two columns.
const GAP: usize = 2;

struct Column {
    title: &'static str,
    right: bool,
    /// 0 stays always; the highest goes first.
    rank: u8,
    cell: fn(&Profile) -> String,
}

const COLUMNS: [Column; 12] = [
    Column { title: "PROFILE", right: false, rank: 0, cell: |p| p.name.clone() },
    Column { title: "STATE", right: false, rank: 0, cell: state },
    Column { title: "SINCE", right: true, rank: 2, cell: |p| p.since_secs.map_or_else(none, duration) },
    Column { title: "PID", right: true, rank: 1, cell: |p| number(p.pid.map(u64::from)) },
    Column { title: "RESTARTS", right: true, rank: 3, cell: |p| counted(p, p.restarts) },
    Column {
        title: "LAST EXIT",
        right: false,
        rank: 7,
        cell: |p| p.last_exit.as_deref().map_or_else(none, clean),
    },
    Column { title: "PLATFORMS", right: false, rank: 4, cell: platforms },
    Column {
        title: "TURNS",
        right: true,
        rank: 8,
        cell: |p| if p.pid.is_some() { turns(p) } else { none() },
    },
    Column { title: "REQUESTS", right: true, rank: 9, cell: |p| counted(p, p.requests) },
    Column { title: "RSS", right: true, rank: 5, cell: |p| p.rss_bytes.map_or_else(none, bytes) },
    Column { title: "CPU", right: true, rank: 10, cell: |p| p.cpu_ms.map_or_else(none, cpu) },
    Column { title: "HEARTBEAT", right: true, rank: 6, cell: |p| p.heartbeat_age_ms.map_or_else(none, age) },
];

fn none() -> String {
    "-".to_owned()
}

fn number(n: Option<u64>) -> String {
    n.map_or_else(none, |n| n.to_string())
}

/// A counter of the supervisor's: without one there is nothing to count.
fn counted(profile: &Profile, n: u64) -> String {
    if profile.stale && profile.pid.is_none() { none() } else { n.to_string() }
}

fn state(profile: &Profile) -> String {
    let mut text = clean(&profile.state);
    if profile.stale && profile.pid.is_some() {
        text += " (stale)";
    }
    text
}

fn turns(profile: &Profile) -> String {
    match profile.inbox_waiting {
        0 => profile.active_agents.to_string(),
        waiting => format!("{}+{waiting}", profile.active_agents),
    }
}

/// Connected platforms by name, others with their state; of a process that is gone nothing is claimed.
fn platforms(profile: &Profile) -> String {
    if profile.pid.is_none() || profile.platforms.is_empty() {
        return none();
    }
    let mut names: Vec<String> = profile
        .platforms
        .iter()
        .map(|(name, p)| {
            let name = clean(name);
            if p.state == "connected" { name } else { format!("{name} ({})", clean(&p.state)) }
        })
        .collect();
    if names.len() > PLATFORMS_SHOWN + 1 {
        let more = names.len() - PLATFORMS_SHOWN;
        names.truncate(PLATFORMS_SHOWN);
        names.push(format!("+{more}"));
    }
    names.join(", ")
}

/// The whole table with its head.
pub(super) fn table(profiles: &[Profile], look: Look) -> String {
    if profiles.is_empty() {
        return String::new();
    }
    let mut columns: Vec<(&Column, Vec<String>, usize)> = COLUMNS
        .iter()
        .map(|column| {
            let cells: Vec<String> = profiles.iter().map(|p| cut(&(column.cell)(p), MAX_CELL)).collect();
            let widest = cells.iter().map(|c| width(c)).max().unwrap_or(0);
            (column, cells, widest.max(width(column.title)))
        })
        .collect();
    // A column in which nobody has anything says nothing.
    columns.retain(|(column, cells, _)| column.rank == 0 || cells.iter().any(|c| c != "-"));
    if let Some(limit) = look.width {
        while total(&columns) > limit
            && let Some(at) =
                (0..columns.len()).filter(|&i| columns[i].0.rank > 0).max_by_key(|&i| columns[i].0.rank)
        {
            columns.remove(at);
        }
    }
    let paint = Paint(look.color);
    let mut text = String::new();
    let head: Vec<String> =
        columns.iter().map(|(column, _, width)| pad(column.title, *width, column.right)).collect();
    push_line(&mut text, &head.join(&" ".repeat(GAP)), |line| paint.bold(line));
    for (row, profile) in profiles.iter().enumerate() {
        let cells: Vec<String> = columns
            .iter()
            .map(|(column, cells, width)| {
                let padded = pad(&cells[row], *width, column.right);
                if column.title == "STATE" { paint.state(&profile.state, &padded) } else { padded }
            })
            .collect();
        push_line(&mut text, &cells.join(&" ".repeat(GAP)), str::to_owned);
    }
    text
}

fn push_line(text: &mut String, line: &str, paint: impl Fn(&str) -> String) {
    text.push_str(&paint(line.trim_end()));
    text.push('\n');
}

fn total(columns: &[(&Column, Vec<String>, usize)]) -> usize {
    columns.iter().map(|(_, _, width)| width + GAP).sum::<usize>().saturating_sub(GAP)
}
