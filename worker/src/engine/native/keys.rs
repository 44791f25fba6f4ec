//! Which of several keys a call is made with, and for how long one that was refused is left alone.
//!
//! What was learned is kept in memory: the file that the keys come from belongs to another program, which may look at it at any time.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use hermes_config::Secret;
use hermes_config::pool::{Pool, Strategy};
use hermes_host::clock;

use super::retry::Failure;
use crate::provider::Fault;
use crate::provider::health::Standing;

/// How long a key is left alone that was refused, as in 0.19.0: somebody may be about to mend it.
const REFUSED: Duration = Duration::from_mins(5);
/// And one that has no money or no calls left, where the provider does not say.
const EXHAUSTED: Duration = Duration::from_hours(1);

/// The keys of one provider.
#[derive(Debug)]
pub(super) struct Keys {
    strategy: Strategy,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    keys: Vec<Key>,
    last: usize,
}

#[derive(Debug)]
struct Key {
    value: Secret,
    used: u64,
    /// Seconds since the epoch until which it is not used.
    until: f64,
    /// Why not, as the class of a failure.
    why: &'static str,
}

impl Keys {
    pub(super) fn new(pool: &Pool) -> Self {
        let keys = pool.keys.iter().map(|credential| Key {
            value: credential.key.clone(),
            used: credential.used,
            until: credential.until,
            why: credential.why,
        });
        let state = State { keys: keys.collect(), last: usize::MAX };
        Self { strategy: pool.strategy, state: Mutex::new(state) }
    }

    /// The key of the next call, and its number; where all are refused, the one that is good again soonest.
    pub(super) fn next(&self) -> (usize, Secret) {
        self.next_at(epoch())
    }

    fn next_at(&self, now: f64) -> (usize, Secret) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let good: Vec<usize> = (0..state.keys.len()).filter(|at| state.keys[*at].until <= now).collect();
        let soonest =
            || (0..state.keys.len()).min_by(|a, b| state.keys[*a].until.total_cmp(&state.keys[*b].until));
        let at = match (self.strategy, good.first()) {
            (_, None) => soonest().unwrap_or(0),
            (Strategy::FillFirst, Some(first)) => *first,
            (Strategy::RoundRobin, Some(first)) => good
                .iter()
                .find(|at| state.last != usize::MAX && **at > state.last)
                .copied()
                .unwrap_or(*first),
            (Strategy::Random, Some(first)) => {
                let random = usize::try_from(RandomState::new().hash_one(0_u8) >> 33).unwrap_or(0);
                good.get(random % good.len()).copied().unwrap_or(*first)
            }
            (Strategy::LeastUsed, Some(first)) => {
                good.iter().copied().min_by_key(|at| state.keys[*at].used).unwrap_or(*first)
            }
        };
        state.last = at;
        state.keys[at].used += 1;
        (at, state.keys[at].value.clone())
    }

    /// Notes that a call with a key failed. `true`: another one may well be taken.
    pub(super) fn failed(&self, at: usize, failure: &Failure) -> bool {
        self.failed_at(at, failure, epoch())
    }

    fn failed_at(&self, at: usize, failure: &Failure, now: f64) -> bool {
        let pause = match failure.fault {
            Fault::Key => REFUSED,
            Fault::Quota | Fault::Limited => EXHAUSTED,
            _ => return false,
        };
        let pause = failure.asked.wait.filter(|wait| !wait.is_zero()).unwrap_or(pause);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = state.keys.get_mut(at) {
            let until = now + pause.as_secs_f64();
            if until > key.until {
                (key.until, key.why) = (until, failure.fault.code());
            }
        }
        state.keys.iter().any(|key| key.until <= now)
    }

    /// How many there are, and those that have been refused: why, and until when. Which they are is nobody's business.
    pub(super) fn standing(&self) -> Standing {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = state.keys.iter().filter(|key| key.until > 0.0).map(|key| (key.why, key.until));
        Standing { keys: state.keys.len(), left_alone: refused.collect() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).keys.len()
    }
}

/// Seconds since the epoch, now.
fn epoch() -> f64 {
    clock::system().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use hermes_config::pool::Credential;

    use super::super::retry::Asked;
    use super::*;

    fn keys(strategy: Strategy) -> Keys {
        let key = |name: &str, used| Credential {
            key: Secret::new(name),
            base_url: None,
            used,
            until: 0.0,
            why: "",
        };
        Keys::new(&Pool { strategy, keys: vec![key("a", 5), key("b", 0), key("c", 1)] })
    }

    fn taken(keys: &Keys, times: usize) -> String {
        (0..times).map(|_| keys.next_at(1.0).1.expose().to_owned()).collect()
    }

    #[test]
    fn strategies_choose_as_they_say() {
        assert_eq!(taken(&keys(Strategy::FillFirst), 3), "aaa");
        assert_eq!(taken(&keys(Strategy::RoundRobin), 5), "abcab");
        assert_eq!(taken(&keys(Strategy::LeastUsed), 4), "bbcb");
        let random = taken(&keys(Strategy::Random), 100);
        assert!(["a", "b", "c"].iter().all(|key| random.contains(key)), "{random}");
    }

    #[test]
    fn a_key_that_is_refused_is_left_alone_for_a_while() {
        let keys = keys(Strategy::FillFirst);
        let limited =
            |wait| Failure { asked: Asked { wait, again: None }, ..Failure::new(Fault::Limited, "") };
        assert!(keys.failed_at(0, &Failure::new(Fault::Key, ""), 100.0));
        assert_eq!(keys.next_at(101.0).0, 1);
        assert!(keys.failed_at(1, &limited(Some(Duration::from_secs(20))), 101.0));
        assert!(!keys.failed_at(2, &Failure::new(Fault::Quota, ""), 101.0), "none is left");
        assert_eq!(keys.next_at(102.0).0, 1, "the first that is good again");
        assert_eq!(keys.next_at(121.5).0, 1);
        assert_eq!(keys.next_at(401.0).0, 0);
        assert!(!keys.failed_at(1, &Failure::new(Fault::Overloaded, ""), 401.0), "no key is to blame");
    }
}
