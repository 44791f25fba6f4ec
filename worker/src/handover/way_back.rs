//! The target's way out: an answer goes over the road to the worker whose bot received the question.
//!
//! One more kind of delivery for the ledger, which keeps it, repeats it and keeps the order of each chat. What the owner says of a
//! try is what the ledger hears; what is not heard may have got there, and is repeated under the same key.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hermes_wire::ProfileName;
use hermes_wire::road::{self, Delivered, Delivery, Errand};

use tokio::time::{Instant, sleep};

use super::road::Failure;
use super::{CHAT, LONGEST, PLATFORM, REPLY, Road, WAY_BACK};
use crate::delivery::outbound::{Abilities, Format, Message, Outbound, OutboundFuture, Sent, Unsent};
use crate::inbound::DeliveryTarget;

/// Time for one message: longer than its platform has at the owner, so that what comes of it is heard.
const TIME: Duration = Duration::from_secs(58);
/// How long a try waits for an owner that does not serve at the moment, and how often it looks.
const MOMENT: Duration = Duration::from_secs(20);
const AGAIN: Duration = Duration::from_millis(500);
/// Longest answer where the owner did not say.
const LONGEST_UNSAID: usize = 4096;
/// Messages under way at once.
const AT_ONCE: usize = 8;

/// The way out over the road.
pub(crate) struct WayBack {
    road: Road,
    owner: ProfileName,
}

impl WayBack {
    /// To the default profile's worker.
    pub(crate) fn new(road: Road) -> Self {
        Self { road, owner: ProfileName::default_profile() }
    }

    async fn deliver(&self, target: &DeliveryTarget, message: Message<'_>) -> Result<Sent, Unsent> {
        let platform = target.extra.get(PLATFORM).filter(|name| road::is_platform(name));
        let reply: Option<BTreeMap<String, String>> =
            target.extra.get(REPLY).and_then(|reply| serde_json::from_str(reply).ok());
        let (Some(platform), Some(reply)) = (platform, reply) else {
            return Err(Unsent::never("It does not say where the answer is to go"));
        };
        let Message { text, key, repeated } = message;
        let delivery =
            Delivery { schema: road::SCHEMA, reply, text: text.to_owned(), key: key.to_owned(), repeated };
        let json = serde_json::to_vec(&delivery).expect("texts always serialise");
        let path = Errand::Deliver.path(&self.owner, platform);
        let answer = self.ask(&path, Bytes::from(json)).await.map_err(|failure| unsent(&failure))?;
        match serde_json::from_slice(&answer) {
            Ok(Delivered::Sent { id }) => Ok(Sent { id }),
            Ok(Delivered::Later { after_ms, unsure, reason }) => {
                Err(Unsent::Later { after: after_ms.map(Duration::from_millis), unsure, reason })
            }
            Ok(Delivered::Never { reason }) => Err(Unsent::Never { reason }),
            Err(_) => Err(Unsent::unsure("what came back over the road cannot be read")),
        }
    }
}

impl WayBack {
    /// Asks until the owner's worker is there: it restarts faster than the ledger tries again.
    async fn ask(&self, path: &str, json: Bytes) -> Result<Bytes, Failure> {
        let length = u64::try_from(json.len()).unwrap_or(u64::MAX);
        let until = Instant::now() + MOMENT;
        loop {
            let asked = self.road.ask(path, length, Body::from(json.clone()), TIME).await;
            match asked {
                Err(failure) if failure.is_momentary() && Instant::now() < until => sleep(AGAIN).await,
                asked => return asked,
            }
        }
    }
}

impl Outbound for WayBack {
    fn kind(&self) -> &'static str {
        WAY_BACK
    }

    fn abilities(&self) -> Abilities {
        Abilities {
            longest: LONGEST_UNSAID,
            format: Format::Markdown,
            at_once: AT_ONCE,
            keyed: false,
            edits: false,
            typing: None,
        }
    }

    fn longest(&self, target: &DeliveryTarget) -> usize {
        let said = target.extra.get(LONGEST).and_then(|longest| longest.parse().ok());
        said.filter(|longest| *longest > 0).unwrap_or(LONGEST_UNSAID)
    }

    fn chat(&self, target: &DeliveryTarget) -> Option<String> {
        Some(format!("{} {}", target.extra.get(PLATFORM)?, target.extra.get(CHAT)?))
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(self.deliver(target, message))
    }
}

/// What a failure of the road means for the message.
fn unsent(failure: &Failure) -> Unsent {
    match failure {
        _ if failure.is_unsure() => Unsent::unsure(failure.to_string()),
        // The way is closed now: the owner swaps, stopped, or its rules changed. The ledger knows when to give up.
        Failure::Refused { status: 403 | 404 | 500.., .. }
        | Failure::Unsent(_)
        | Failure::NoRoad
        | Failure::Lost(_) => Unsent::later(failure.to_string()),
        Failure::Refused { .. } => Unsent::never(failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(extra: &[(&str, &str)]) -> DeliveryTarget {
        let extra = extra.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        DeliveryTarget { kind: WAY_BACK.to_owned(), extra }
    }

    #[test]
    fn chats_of_two_platforms_are_two_lanes_and_parts_are_as_long_as_the_owner_says() {
        let way = WayBack::new(Road::default());
        let chat = |platform| way.chat(&target(&[(PLATFORM, platform), (CHAT, "1")]));
        assert_ne!(chat("telegram"), chat("discord"));
        assert_eq!(way.longest(&target(&[(LONGEST, "7")])), 7);
        assert_eq!(way.longest(&target(&[(LONGEST, "0")])), LONGEST_UNSAID);
        assert_eq!(way.longest(&target(&[])), LONGEST_UNSAID);
    }

    #[tokio::test]
    async fn what_cannot_be_sent_says_whether_it_may_be_later() {
        let way = WayBack::new(Road::default());
        let message = Message { text: "t", key: "k", repeated: false };
        let nowhere = way.send(&target(&[]), message).await.unwrap_err();
        assert!(matches!(nowhere, Unsent::Never { .. }), "{nowhere:?}");
        let whole = target(&[(PLATFORM, "telegram"), (REPLY, "{}")]);
        let alone = way.send(&whole, message).await.unwrap_err();
        assert!(matches!(alone, Unsent::Later { unsure: false, .. }), "{alone:?}");
        let refused =
            |status, code: &str| unsent(&Failure::Refused { status, code: code.into(), message: "m".into() });
        for (status, code) in [(403, "not_a_target"), (503, "worker_not_ready"), (502, road::UNREACHABLE)] {
            assert!(matches!(refused(status, code), Unsent::Later { unsure: false, .. }), "{status}");
        }
        for (status, code) in [(502, "worker_closed_early"), (504, "worker_timeout")] {
            assert!(matches!(refused(status, code), Unsent::Later { unsure: true, .. }), "{status}");
        }
        assert!(matches!(refused(400, "malformed"), Unsent::Never { .. }));
        assert!(matches!(unsent(&Failure::Lost("x".into())), Unsent::Later { unsure: true, .. }));
    }
}
