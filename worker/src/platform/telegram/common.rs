//! What the connection and the way out of a bot have in common: other addresses of the service, the waits that it asked for, and whether it
//! still takes the token. Whichever of them hears first that it does not tells the other, and nothing more is asked with it.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;

use super::failure::Failure;
use super::ways::Ways;
use super::wire::Refusal;
use crate::platform::holds::Holds;

/// What only a token that is none is answered with 404; elsewhere that is a method that an old server does not know.
const KNOWN: [&str; 5] = ["getMe", "getUpdates", "setWebhook", "deleteWebhook", "getWebhookInfo"];

/// See the module.
#[derive(Default)]
pub(super) struct Common {
    pub(super) ways: Option<Ways>,
    holds: Holds,
    /// How the token was refused.
    refused: watch::Sender<Option<Failure>>,
}

impl Common {
    pub(super) fn new(ways: Option<Ways>) -> Self {
        Self { ways, ..Self::default() }
    }

    /// Returns once the service has said that the token is none. Cancel safe.
    pub(super) async fn refused(&self) -> Failure {
        let mut refused = self.refused.subscribe();
        let heard = refused.wait_for(Option::is_some).await.ok().and_then(|failure| failure.clone());
        match heard {
            Some(failure) => failure,
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }

    /// Whether a request may be made now. Limits are those of a method and a chat, as far as anybody outside knows.
    pub(super) fn may(&self, method: &'static str, chat: &Value) -> Result<(), Failure> {
        if let Some(failure) = &*self.refused.borrow() {
            return Err(failure.clone());
        }
        let Some(left) = self.holds.left(&name(method, chat)) else { return Ok(()) };
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        let refusal = Refusal {
            status: 429,
            description: format!("it asked for {seconds} s without such requests"),
            is_own: true,
            retry_after: Some(seconds),
            ..Refusal::default()
        };
        Err(Failure::Refused { what: method, refusal })
    }

    /// A request was answered with an error.
    pub(super) fn hear(&self, failure: &Failure, chat: &Value) {
        let Failure::Refused { what, refusal } = failure else { return };
        let is_known = KNOWN.contains(what);
        match (refusal.status, refusal.retry_after) {
            (401, _) if refusal.is_own || is_known => drop(self.refused.send_replace(Some(failure.clone()))),
            (404, _) if refusal.is_own && is_known => drop(self.refused.send_replace(Some(failure.clone()))),
            (429, Some(seconds)) => self.holds.hold(&name(what, chat), Duration::from_secs(seconds)),
            _ => {}
        }
    }
}

fn name(method: &str, chat: &Value) -> String {
    if chat.is_null() { method.to_owned() } else { format!("{method} {chat}") }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use serde_json::json;

    use super::*;

    fn refused(what: &'static str, status: u16, is_own: bool, retry_after: Option<u64>) -> Failure {
        let refusal = Refusal { status, is_own, retry_after, ..Refusal::default() };
        Failure::Refused { what, refusal }
    }

    #[test]
    fn a_token_is_none_where_the_service_says_so() {
        for (what, status, is_own, is_over) in [
            ("sendMessage", 401, true, true),
            ("sendMessage", 401, false, false),
            ("getUpdates", 401, false, true),
            ("getUpdates", 404, true, true),
            ("getUpdates", 404, false, false),
            ("setMessageReaction", 404, true, false),
            ("getUpdates", 409, true, false),
        ] {
            let common = Common::default();
            let failure = refused(what, status, is_own, None);
            common.hear(&failure, &json!(7));
            let expected = is_over.then_some(failure);
            assert_eq!(common.refused().now_or_never(), expected, "{what} {status} {is_own}");
            assert_eq!(common.may("sendMessage", &json!(8)).err(), expected, "{what} {status} {is_own}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_holds_up_its_own_method_in_its_own_chat() {
        let common = Common::default();
        common.hear(&refused("sendChatAction", 429, true, Some(9)), &json!(7));
        common.hear(&refused("getFile", 429, true, Some(9)), &Value::Null);
        let left = |method, chat: Value| match common.may(method, &chat) {
            Ok(()) => None,
            Err(Failure::Refused { refusal, .. }) => refusal.retry_after,
            Err(other) => panic!("{other}"),
        };
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!([left("sendChatAction", json!(7)), left("getFile", Value::Null)], [Some(8), Some(8)]);
        assert_eq!([left("sendChatAction", json!(8)), left("sendMessage", json!(7))], [None, None]);
        tokio::time::advance(Duration::from_secs(8)).await;
        assert_eq!(left("sendChatAction", json!(7)), None);
    }
}
