//! A name for an event, wherever it is spoken of.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::inbound::DedupKey;

/// The same for the same event, of nothing else.
pub(super) fn name_of(platform: &str, dedup: Option<&DedupKey>) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    if let Some(key) = dedup {
        return format!("{platform}\0{}\0{}", key.scope, key.id);
    }
    let (now, next) = (crate::session::epoch(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{platform}\0{}\0{now}\0{next}", std::process::id())
}
