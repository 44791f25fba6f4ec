//! Reading how answers go out to chats: `streaming.*`, and which files may leave.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::reader::{At, Reader};
use super::types::{Leaving, Streaming};

const DAY: Duration = Duration::from_hours(24);

/// `streaming.*` with what `display.platforms` says.
pub(super) fn streaming(reader: &mut Reader<'_>, root: &At) -> Streaming {
    let defaults = Streaming::default();
    let anywhere = |key: &str| root.key("streaming").key(key).or(root.key("gateway.streaming").key(key));
    let transports = [("auto", true), ("draft", true), ("edit", true), ("off", false)];
    let is_off = reader.choice(&anywhere("transport"), &transports) == Some(false);
    let enabled = reader.flag(&anywhere("enabled")).unwrap_or(defaults.enabled) && !is_off;
    let (mut platforms, mut thoughts) = (BTreeMap::new(), BTreeSet::new());
    for (name, at) in root.key("display").key("platforms").entries() {
        if reader.flag(&at.key("show_reasoning")) == Some(true) {
            thoughts.insert(name.clone());
        }
        if let Some(on) = reader.flag(&at.key("streaming")) {
            platforms.insert(name, on);
        }
    }
    let threshold = reader.number(&anywhere("buffer_threshold"), 0..=1_000_000);
    let fresh = reader.seconds(&anywhere("fresh_final_after_seconds"), 365 * DAY);
    Streaming {
        enabled,
        platforms,
        thoughts,
        interval: reader.seconds(&anywhere("edit_interval"), DAY).unwrap_or(defaults.interval),
        threshold: threshold.and_then(|n| usize::try_from(n).ok()).unwrap_or(defaults.threshold),
        cursor: reader.raw_text(&anywhere("cursor")).unwrap_or(defaults.cursor),
        fresh_after: fresh.filter(|after| !after.is_zero()),
    }
}

/// Which files may leave.
pub(super) fn leaving(reader: &mut Reader<'_>, root: &At) -> Leaving {
    let gateway = root.key("gateway");
    let trusted = reader.flag(&gateway.key("trust_recent_files")).unwrap_or(true);
    let recent = reader.seconds(&gateway.key("trust_recent_files_seconds"), 365 * DAY);
    let recent = recent.or(Leaving::default().recent).filter(|recent| trusted && !recent.is_zero());
    Leaving { dirs: reader.list(&gateway.key("media_delivery_allow_dirs")), recent }
}
