//! One record that stands in several files.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::bounds::Wall;
use super::names::Place;

/// Records of one moment that are compared with each other.
const MAX_TWINS: usize = 1024;

/// The same record in several files of a profile is one: what is bad stands in a file of its own, too.
#[derive(Debug, Default)]
pub(super) struct Twins {
    time: Option<Wall>,
    seen: Vec<(u64, usize)>,
}

impl Twins {
    /// Whether another log of the same profile had it. The same twice in one log is twice.
    pub(super) fn has(&mut self, place: &Place, source: usize, time: Wall, bytes: &[u8]) -> bool {
        if !place.has_twins {
            return false;
        }
        if self.time != Some(time) {
            (self.time, self.seen) = (Some(time), Vec::new());
        }
        let mut hasher = DefaultHasher::new();
        (&place.label, bytes).hash(&mut hasher);
        let hash = hasher.finish();
        let count = |of: usize| self.seen.iter().filter(|(h, s)| *h == hash && *s == of).count();
        let mine = count(source);
        let elsewhere = self.seen.iter().filter(|(h, s)| *h == hash && *s != source);
        let is_twin = elsewhere.map(|(_, of)| count(*of)).max().is_some_and(|theirs| theirs > mine);
        if self.seen.len() < MAX_TWINS {
            self.seen.push((hash, source));
        }
        is_twin
    }
}
