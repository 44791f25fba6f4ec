//! What is known beyond one connection: whether the password is taken, which the way out has to know as well, and the mail that cannot be read.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// How often a mail is tried that its server does not give.
const TRIES: u32 = 3;

/// Kept once a worker.
#[derive(Debug, Default)]
pub(super) struct State {
    refused: watch::Sender<Option<String>>,
    /// The number of the mail that was not given last, and how often it was not.
    not_given: Mutex<(u32, u32)>,
}

impl State {
    /// A server has said that it does not take the password.
    pub(super) fn refuse(&self, reason: String) {
        self.refused.send_modify(|refused| {
            refused.get_or_insert(reason);
        });
    }

    /// Why it is not used any more.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refused.borrow().clone()
    }

    /// A mail is not given. Whether that is for good: those behind it wait.
    pub(super) fn gives_up(&self, uid: u32) -> bool {
        let mut not_given = self.not_given.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = if not_given.0 == uid { not_given.1 + 1 } else { 1 };
        *not_given = (uid, tries);
        tries >= TRIES
    }

    /// Waits until a server has said so.
    pub(super) async fn refused(&self) -> String {
        let mut refused = self.refused.subscribe();
        // The sender is this value's own.
        let reason = refused.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        reason.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_that_is_not_given_is_given_up_after_some_tries() {
        let state = State::default();
        assert_eq!(
            [7, 7, 8, 7, 7, 7].map(|uid| state.gives_up(uid)),
            [false, false, false, false, false, true]
        );
    }
}
