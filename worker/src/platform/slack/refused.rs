//! Tokens that Slack has taken back: whichever of connection and way out hears it first tells the other, and nothing more is asked with
//! such a token. And what Slack has had too much of with one: that is not asked before the time is over that it named.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hermes_config::Secret;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use crate::platform::holds::Holds;
use crate::platform::wire::hex;

/// How what is noted of a token begins that lacks this scope.
pub(super) const SCOPE: &str = "missing_scope ";

/// As many as a profile has tokens.
#[derive(Debug, Default)]
pub(super) struct Refused {
    /// By the hash of the token: what Slack said.
    all: Mutex<BTreeMap<[u8; 32], String>>,
    heard: Notify,
    holds: Holds,
}

fn hash(token: &Secret) -> [u8; 32] {
    Sha256::digest(token.expose()).into()
}

impl Refused {
    /// Slack refuses a token.
    pub(super) fn note(&self, token: &Secret, error: &str) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(hash(token), error.to_owned());
        self.heard.notify_waiters();
    }

    /// What Slack said of a token that it refuses.
    pub(super) fn of(&self, token: &Secret) -> Option<String> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).get(&hash(token)).cloned()
    }

    /// Slack wants no such request with a token for so long.
    pub(super) fn hold(&self, token: &Secret, what: &str, wait: Duration) {
        self.holds.hold(&format!("{} {what}", hex(&hash(token)[..8])), wait);
    }

    /// For how long there is to be none yet.
    pub(super) fn held(&self, token: &Secret, what: &str) -> Option<Duration> {
        self.holds.left(&format!("{} {what}", hex(&hash(token)[..8])))
    }

    /// Waits until one of these is refused. Cancel safe.
    pub(super) async fn any_of(&self, tokens: &[&Secret]) {
        loop {
            let heard = self.heard.notified();
            tokio::pin!(heard);
            // From here on nothing is missed.
            heard.as_mut().enable();
            if tokens.iter().any(|token| self.of(token).is_some()) {
                return;
            }
            heard.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_refused_token_is_known_to_everybody_and_others_are_not_touched() {
        let refused = Refused::default();
        let (good, bad) = (Secret::new("xoxb-refused-good"), Secret::new("xoxb-refused-bad"));
        let (both, one) = ([&good, &bad], [&good]);
        let mut waiting = Box::pin(refused.any_of(&both));
        assert!((&mut waiting).now_or_never().is_none());
        refused.note(&bad, "token_revoked");
        waiting.await;
        assert_eq!((refused.of(&bad).as_deref(), refused.of(&good)), (Some("token_revoked"), None));
        assert!(refused.any_of(&one).now_or_never().is_none());
    }
}
