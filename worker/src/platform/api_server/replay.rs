//! `Idempotency-Key`: the same request again gets the same bytes again, and equal requests at the same time share one run.
//!
//! Answers are kept for [`TTL`], at most [`MAX_ENTRIES`] of them and [`MAX_BYTES`] together; the oldest go first. Only good
//! answers are kept: a failure may be tried again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::watch;

/// How long an answer is kept.
const TTL: Duration = Duration::from_secs(300);
/// Most answers kept.
const MAX_ENTRIES: usize = 1000;
/// Most bytes of answers kept.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What a request is known by, besides its key.
pub(super) type Fingerprint = [u8; 32];

/// An answer that can be given again.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Answer {
    /// As a response.
    pub(super) fn respond(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// Receives the answer of a run that somebody else leads; `None` and then closed when that one gave up.
pub(super) type Follower = watch::Receiver<Option<Answer>>;

/// What to do with a request that has a key.
pub(super) enum Begin {
    /// Run it, and report with [`Lead::finish`].
    Lead(Lead),
    /// Somebody is at it: wait for the answer. When the leader gives up, begin again.
    Follow(Follower),
    /// It was answered.
    Replay(Answer),
    /// The key belongs to another request.
    Mismatch,
}

/// Answers and runs by key. Cloning shares them.
#[derive(Debug, Clone, Default)]
pub(super) struct Replay(Arc<Mutex<Cache>>);

#[derive(Debug, Default)]
struct Cache {
    slots: HashMap<String, Slot>,
    /// Answered keys with the time and cost of their answer, oldest first.
    order: VecDeque<(String, Instant, usize)>,
    bytes: usize,
}

#[derive(Debug)]
struct Slot {
    fingerprint: Fingerprint,
    state: State,
}

#[derive(Debug)]
enum State {
    Running(Follower),
    Answered(Answer),
}

impl Replay {
    /// Decides what becomes of a request.
    pub(super) fn begin(&self, key: &str, fingerprint: Fingerprint, now: Instant) -> Begin {
        let mut cache = self.lock();
        cache.expire(now);
        if let Some(slot) = cache.slots.get(key) {
            return match &slot.state {
                _ if slot.fingerprint != fingerprint => Begin::Mismatch,
                State::Running(follower) => Begin::Follow(follower.clone()),
                State::Answered(answer) => Begin::Replay(answer.clone()),
            };
        }
        let (sender, follower) = watch::channel(None);
        cache.slots.insert(key.to_owned(), Slot { fingerprint, state: State::Running(follower) });
        Begin::Lead(Lead { replay: self.clone(), key: Some(key.to_owned()), sender })
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        // Nothing panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn expire(&mut self, now: Instant) {
        while let Some((_, at, _)) = self.order.front() {
            let old = now.saturating_duration_since(*at) >= TTL;
            if !old && self.order.len() <= MAX_ENTRIES && self.bytes <= MAX_BYTES {
                break;
            }
            if let Some((key, _, cost)) = self.order.pop_front() {
                self.slots.remove(&key);
                self.bytes -= cost;
            }
        }
    }
}

/// The duty to report. Dropping it gives the key free and tells those who wait to begin again.
pub(super) struct Lead {
    replay: Replay,
    key: Option<String>,
    sender: watch::Sender<Option<Answer>>,
}

impl Lead {
    /// Keeps a good answer, forgets a bad one; whoever waits gets either.
    pub(super) fn finish(mut self, answer: &Answer, now: Instant) {
        if answer.status.is_success()
            && let Some(key) = self.key.take()
        {
            let mut cache = self.replay.lock();
            let cost = answer.body.len() + key.len() + 256;
            if let Some(slot) = cache.slots.get_mut(&key) {
                slot.state = State::Answered(answer.clone());
            }
            cache.order.push_back((key, now, cost));
            cache.bytes += cost;
            cache.expire(now);
        }
        self.sender.send_replace(Some(answer.clone()));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.replay.lock().slots.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &'static str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from_static(body.as_bytes()),
        }
    }

    fn lead(replay: &Replay, key: &str, now: Instant) -> Lead {
        match replay.begin(key, [1; 32], now) {
            Begin::Lead(lead) => lead,
            _ => panic!("expected to lead"),
        }
    }

    #[test]
    fn good_answers_are_replayed_until_they_expire() {
        let (replay, now) = (Replay::default(), hermes_host::clock::now());
        lead(&replay, "k", now).finish(&answer(200, "x"), now);
        assert!(matches!(replay.begin("k", [1; 32], now), Begin::Replay(a) if a.body == "x"));
        assert!(matches!(replay.begin("k", [2; 32], now), Begin::Mismatch));
        assert!(matches!(replay.begin("k", [2; 32], now + TTL), Begin::Lead(_)));
    }

    #[tokio::test]
    async fn equal_requests_share_a_run_and_failures_are_not_kept() {
        let (replay, now) = (Replay::default(), hermes_host::clock::now());
        let first = lead(&replay, "k", now);
        let Begin::Follow(mut follower) = replay.begin("k", [1; 32], now) else { panic!() };
        first.finish(&answer(502, "bad"), now);
        let got = follower.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(got.unwrap().status, 502);
        let second = lead(&replay, "k", now);
        let Begin::Follow(mut follower) = replay.begin("k", [1; 32], now) else { panic!() };
        drop(second);
        assert!(follower.wait_for(Option::is_some).await.is_err());
        drop(lead(&replay, "k", now));
    }

    #[test]
    fn the_cache_is_bounded_by_entries_and_bytes() {
        let (replay, now) = (Replay::default(), hermes_host::clock::now());
        for i in 0..MAX_ENTRIES + 10 {
            lead(&replay, &format!("k{i}"), now).finish(&answer(200, "x"), now);
        }
        assert_eq!(replay.lock().slots.len(), MAX_ENTRIES);
        let big = Answer { body: vec![0; MAX_BYTES / 2].into(), ..answer(200, "") };
        for key in ["a", "b", "c"] {
            lead(&replay, key, now).finish(&big, now);
        }
        let cache = replay.lock();
        assert!(cache.bytes <= MAX_BYTES && cache.slots.contains_key("c") && !cache.slots.contains_key("a"));
        assert_eq!(cache.slots.len(), cache.order.len());
    }
}
