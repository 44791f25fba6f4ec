//! Which home a look is at, since when, and which homes are left to a look that is stuck there.
//!
//! A look that was given up ends when it is back from where it was stuck, with nothing to show; only then does another one touch
//! that home again. So every home that hangs costs one thread, however long it hangs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use hermes_wire::ProfileName;
use tokio::time::Instant;

use super::{LESS_PATIENCE, PATIENCE};

/// The homes at which looks are stuck.
#[derive(Debug, Clone, Default)]
pub(super) struct Stuck(Arc<Mutex<BTreeSet<ProfileName>>>);

impl Stuck {
    fn change<T>(&self, change: impl FnOnce(&mut BTreeSet<ProfileName>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where a look is. Shared by the look and by who waits for it.
#[derive(Debug, Clone)]
pub(super) struct Progress {
    stuck: Stuck,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    /// `None`: at the list of all.
    at: Option<ProfileName>,
    since: Instant,
    given_up: bool,
}

impl Inner {
    fn due(&self, one_is_stuck: bool) -> Instant {
        let less = one_is_stuck && self.at.is_some();
        self.since + if less { LESS_PATIENCE } else { PATIENCE }
    }
}

/// What came of losing patience.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// The look goes on, it is somewhere else by now.
    Nobody,
    /// A home is left to the look that is stuck there; another look may begin.
    Home,
    /// The list of homes does not come; no other look would do better.
    List,
}

impl Progress {
    pub(super) fn new(stuck: &Stuck) -> Self {
        let inner = Inner { at: None, since: Instant::now(), given_up: false };
        Self { stuck: stuck.clone(), inner: Arc::new(Mutex::new(inner)) }
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether another look is stuck at this home.
    pub(super) fn is_stuck(&self, name: &ProfileName) -> bool {
        self.stuck.change(|stuck| stuck.contains(name))
    }

    /// The look comes to a home.
    pub(super) fn begin(&self, name: &ProfileName) {
        self.with(|inner| {
            inner.at = Some(name.clone());
            inner.since = Instant::now();
        });
    }

    /// The look is back from where it was; `None` where nobody waits for it any more.
    pub(super) fn done(&self) -> Option<()> {
        self.with(|inner| {
            if inner.given_up {
                if let Some(name) = &inner.at {
                    self.stuck.change(|stuck| stuck.remove(name));
                }
                return None;
            }
            // What is left is the list's part, with a time of its own.
            inner.since = Instant::now();
            Some(())
        })
    }

    /// When patience with the place where the look is now ends.
    pub(super) fn due(&self) -> Instant {
        let one_is_stuck = self.stuck.change(|stuck| !stuck.is_empty());
        self.with(|inner| inner.due(one_is_stuck))
    }

    /// Patience is at its end, if it is.
    pub(super) fn give_up(&self) -> GivenUp {
        let one_is_stuck = self.stuck.change(|stuck| !stuck.is_empty());
        self.with(|inner| match &inner.at {
            _ if Instant::now() < inner.due(one_is_stuck) => GivenUp::Nobody,
            None => GivenUp::List,
            Some(name) => {
                self.stuck.change(|stuck| stuck.insert(name.clone()));
                inner.given_up = true;
                GivenUp::Home
            }
        })
    }
}
