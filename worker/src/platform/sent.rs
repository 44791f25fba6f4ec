//! The latest messages that were sent: one that comes in under the same name is an echo, and not somebody who writes to the bot.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Most that are known.
const MOST: usize = 512;

/// By the service's names for them.
#[derive(Debug)]
pub(super) struct Echoes<T>(Mutex<VecDeque<T>>);

impl<T> Default for Echoes<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: PartialEq> Echoes<T> {
    /// A message of this name was sent.
    pub(super) fn remember(&self, name: T) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() == MOST {
            sent.pop_front();
        }
        sent.push_back(name);
    }

    /// Whether one was.
    pub(super) fn is_known(&self, name: &T) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_known() {
        let echoes = Echoes::default();
        (0..=MOST).for_each(|n| echoes.remember(n));
        assert!(!echoes.is_known(&0) && echoes.is_known(&1) && echoes.is_known(&MOST));
    }
}
