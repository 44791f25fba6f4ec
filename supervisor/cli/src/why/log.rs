//! The last lines of a profile's log that say that something is wrong, or where there are none, the last ones.

use camino::Utf8PathBuf;
use hermes_wire::{ProfileName, RootHome};
use serde::Serialize;

use crate::logs::{self, Filter, Look, Name, Span};

/// Lines that are shown, of so many records.
const LINES: usize = 8;
const RECORDS: u64 = 8;

/// The end of a log.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tail {
    /// Where it is from.
    pub(crate) file: Option<Utf8PathBuf>,
    /// Oldest first.
    pub(crate) lines: Vec<String>,
}

/// Reads it.
pub(super) fn tail(root: &RootHome, profile: &ProfileName, unread: &mut Vec<String>) -> Tail {
    for name in [Name::Errors, Name::Gateway] {
        // This program's own; the older one's says nothing of a worker.
        let place = logs::places(root, &name, std::slice::from_ref(profile), false, None).swap_remove(0);
        let file = place.path.clone();
        let mut read = logs::read(vec![place], Filter::default(), Span { last: Some(RECORDS), follow: true });
        let mut text = String::new();
        while let Some(entry) = read.next() {
            logs::human(&mut text, &entry, Look { color: false, label: None });
        }
        unread.extend(read.troubles.iter().map(ToString::to_string));
        let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        if !all.is_empty() {
            let lines =
                all[all.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect();
            return Tail { file: Some(file), lines };
        }
    }
    Tail::default()
}
