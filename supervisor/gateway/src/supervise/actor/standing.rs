//! Measures how long a profile's exclusive platforms are without a connection while they pass from one process to the next: from
//! the moment at which the last one is known to have closed them (it said so, or is dead) until all of them stand again. Platforms
//! that the next process does not configure are not waited for. Pure.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::generation::Generation;

/// Connections that stand, or stood.
#[derive(Debug, Default)]
pub(super) struct Standing {
    held: Held,
    lost: Option<Lost>,
}

/// Whose connections stand, and which.
#[derive(Debug, Default)]
struct Held {
    generation: Generation,
    platforms: BTreeSet<String>,
}

/// What stood and does not stand again yet.
#[derive(Debug)]
struct Lost {
    since: Instant,
    from: Generation,
    platforms: BTreeSet<String>,
    again: Vec<String>,
}

/// All of it stands again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Restored {
    /// Whose connections were lost.
    pub(super) from: Generation,
    pub(super) platforms: Vec<String>,
    pub(super) pause: Duration,
}

impl Standing {
    /// A generation's connection stands.
    pub(super) fn connected(
        &mut self,
        generation: Generation,
        platform: &str,
        now: Instant,
    ) -> Option<Restored> {
        if self.held.generation != generation {
            self.held = Held { generation, platforms: BTreeSet::new() };
        }
        self.held.platforms.insert(platform.to_owned());
        if let Some(lost) = &mut self.lost
            && let Some(name) = lost.platforms.take(platform)
        {
            lost.again.push(name);
        }
        let Lost { since, from, again, .. } = self.lost.take_if(|lost| lost.platforms.is_empty())?;
        Some(Restored { from, platforms: again, pause: now.saturating_duration_since(since) })
    }

    /// Nothing of a generation is connected any more.
    pub(super) fn closed(&mut self, generation: Generation, now: Instant) {
        if self.held.generation != generation || self.held.platforms.is_empty() {
            return;
        }
        let mut platforms = std::mem::take(&mut self.held.platforms);
        // What did not even come back yet is waited for with the rest.
        platforms.extend(self.lost.take().into_iter().flat_map(|lost| lost.platforms));
        self.lost = Some(Lost { since: now, from: generation, platforms, again: Vec::new() });
    }

    /// The next process may connect these.
    pub(super) fn expects(&mut self, exclusive: &[String]) {
        if let Some(lost) = &mut self.lost {
            lost.platforms.retain(|name| exclusive.contains(name));
        }
        self.lost.take_if(|lost| lost.platforms.is_empty() && lost.again.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn nth(number: u64) -> Generation {
        Generation::new(number)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_pause_lasts_from_the_close_to_the_last_connection() {
        let (mut standing, t0) = (Standing::default(), hermes_host::clock::now());
        standing.expects(&names(&["a", "b", "c"]));
        for platform in ["a", "b", "c"] {
            assert_eq!(standing.connected(nth(1), platform, t0), None, "the first time nothing was lost");
        }
        standing.closed(nth(2), t0);
        standing.closed(nth(1), t0 + ms(10));
        standing.closed(nth(1), t0 + ms(90));
        // `c` is not configured any more.
        standing.expects(&names(&["a", "b"]));
        assert_eq!(standing.connected(nth(2), "a", t0 + ms(30)), None);
        let restored = Restored { from: nth(1), platforms: names(&["a", "b"]), pause: ms(40) };
        assert_eq!(standing.connected(nth(2), "b", t0 + ms(50)), Some(restored));
        assert_eq!(standing.connected(nth(2), "b", t0 + ms(60)), None);
    }

    #[test]
    fn a_process_that_dies_before_it_has_connected_makes_the_pause_longer() {
        let (mut standing, t0) = (Standing::default(), hermes_host::clock::now());
        standing.connected(nth(1), "a", t0);
        standing.connected(nth(1), "b", t0);
        standing.closed(nth(1), t0);
        standing.closed(nth(2), t0 + ms(5));
        standing.connected(nth(3), "a", t0 + ms(7));
        standing.closed(nth(3), t0 + ms(8));
        standing.connected(nth(4), "b", t0 + ms(9));
        let Restored { from, pause, .. } = standing.connected(nth(4), "a", t0 + ms(18)).unwrap();
        assert_eq!((from, pause), (nth(3), ms(10)));
    }

    #[test]
    fn what_nobody_configures_any_more_is_no_pause() {
        let (mut standing, t0) = (Standing::default(), hermes_host::clock::now());
        standing.connected(nth(1), "a", t0);
        standing.closed(nth(1), t0);
        standing.expects(&[]);
        assert_eq!(standing.connected(nth(2), "a", t0 + ms(5)), None);
    }
}
