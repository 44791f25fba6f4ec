//! The target's way out: an answer goes over the road to the worker whose bot received the question.
//!
//! One more kind of delivery for the ledger, which keeps it, repeats it and keeps the order of each chat. What the owner says of a
//! try is what the ledger hears; what is not heard may have got there, and is repeated under the same key. What else the owner's way can
//! do it has said with the event ([`Can`]): answers are shown while they are made, files go along, as on a bot of one's own.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hermes_wire::ProfileName;
use hermes_wire::road::{self, Act, Can, Delivered, Delivery, Errand};
use tokio::time::{Instant, sleep};

use super::road::Failure;
use super::{CAN, CHAT, LONGEST, PLATFORM, REPLY, Road, WAY_BACK};
use crate::delivery::outbound::{
    Abilities, File, Format, Message, Outbound, OutboundFuture, Sent, Sign, Unsent,
};
use crate::inbound::DeliveryTarget;
use crate::outgoing::file;

/// Time for one message: longer than its platform has at the owner, so that what comes of it is heard.
const TIME: Duration = Duration::from_secs(58);
/// The same for a file.
const FILE: Duration = Duration::from_secs(590);
/// Time for what nobody waits for.
const SHORTLY: Duration = Duration::from_secs(10);
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

/// Where something goes: the platform, and what its owner needs.
struct To {
    platform: String,
    reply: BTreeMap<String, String>,
}

impl To {
    fn of(target: &DeliveryTarget) -> Result<Self, Unsent> {
        let platform = target.extra.get(PLATFORM).filter(|name| road::is_platform(name)).cloned();
        let reply = target.extra.get(REPLY).and_then(|reply| serde_json::from_str(reply).ok());
        match (platform, reply) {
            (Some(platform), Some(reply)) => Ok(Self { platform, reply }),
            _ => Err(Unsent::never("It does not say where the answer is to go")),
        }
    }
}

/// A message that can be changed: what stands in the ledger for it.
fn named(id: String, pass: Option<String>) -> String {
    match pass {
        Some(pass) => format!("{pass} {id}"),
        None => id,
    }
}

/// The same, as the owner wants it.
fn passed(name: &str) -> Result<(String, String), Unsent> {
    let (pass, id) = name.split_once(' ').ok_or_else(|| Unsent::never("nobody may change that message"))?;
    Ok((id.to_owned(), pass.to_owned()))
}

impl WayBack {
    /// To the default profile's worker.
    pub(crate) fn new(road: Road) -> Self {
        Self { road, owner: ProfileName::default_profile() }
    }

    async fn deliver(&self, target: &DeliveryTarget, message: Message<'_>) -> Result<Sent, Unsent> {
        let To { platform, reply } = To::of(target)?;
        let Message { text, key, repeated } = message;
        let delivery = Delivery {
            text: text.to_owned(),
            key: key.to_owned(),
            repeated,
            ..Delivery::new(reply, Act::Send)
        };
        self.say(&platform, &delivery).await
    }

    async fn change(&self, target: &DeliveryTarget, act: Act, text: &str) -> Result<(), Unsent> {
        let To { platform, reply } = To::of(target)?;
        let delivery = Delivery { text: text.to_owned(), ..Delivery::new(reply, act) };
        self.say(&platform, &delivery).await.map(drop)
    }

    /// Something that nobody hears of, and that is asked for once.
    async fn show(&self, target: &DeliveryTarget, act: Act) {
        let Ok(To { platform, reply }) = To::of(target) else { return };
        let json = serde_json::to_vec(&Delivery::new(reply, act)).expect("texts always serialise");
        let (path, length) = (Errand::Deliver.path(&self.owner, &platform), length_of(&json));
        if let Err(failure) = self.road.ask(&path, length, Body::from(json), SHORTLY).await {
            tracing::debug!("[{platform}] something is not shown: {failure}");
        }
    }

    async fn carry_file(&self, target: &DeliveryTarget, sent: File<'_>) -> Result<Sent, Unsent> {
        let To { platform, reply } = To::of(target)?;
        let gone = |error: std::io::Error| Unsent::never(format!("the file cannot be read: {error}"));
        let (_, length) = file::opened(sent.path.to_owned()).await.map_err(gone)?;
        let act = Act::File {
            name: sent.name.to_owned(),
            media_type: sent.media_type.to_owned(),
            shown: sent.shown,
            length,
        };
        let delivery =
            Delivery { key: sent.key.to_owned(), repeated: sent.repeated, ..Delivery::new(reply, act) };
        let head = Bytes::from(delivery.head().map_err(|error| Unsent::never(error.to_string()))?);
        let path = Errand::DeliverFile.path(&self.owner, &platform);
        // From its beginning, at each try.
        let whole = || async {
            let (open, now) = file::opened(sent.path.to_owned()).await.map_err(gone)?;
            if now != length {
                return Err(Unsent::later("the file is being changed"));
            }
            let front = stream::once(ready(Ok(head.clone())));
            let body = Body::from_stream(front.chain(file::pieces(open, length)));
            Ok((length_of(&head).saturating_add(length), body))
        };
        self.ask(&path, whole, FILE).await
    }

    async fn say(&self, platform: &str, delivery: &Delivery) -> Result<Sent, Unsent> {
        let json = Bytes::from(serde_json::to_vec(delivery).expect("texts always serialise"));
        let path = Errand::Deliver.path(&self.owner, platform);
        self.ask(&path, || ready(Ok((length_of(&json), Body::from(json.clone())))), TIME).await
    }

    /// Asks until the owner's worker is there: it restarts faster than the ledger tries again. `body` makes, for each try, what is asked,
    /// and says how long it is.
    async fn ask<B: Future<Output = Result<(u64, Body), Unsent>>>(
        &self,
        path: &str,
        body: impl Fn() -> B,
        time: Duration,
    ) -> Result<Sent, Unsent> {
        let until = Instant::now() + MOMENT;
        loop {
            let (length, body) = body().await?;
            match self.road.ask(path, length, body, time).await {
                Err(failure) if failure.is_momentary() && Instant::now() < until => sleep(AGAIN).await,
                asked => return heard(asked),
            }
        }
    }
}

fn length_of(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What the owner says of a try.
fn heard(asked: Result<Bytes, Failure>) -> Result<Sent, Unsent> {
    let answer = asked.map_err(|failure| unsent(&failure))?;
    match serde_json::from_slice(&answer) {
        Ok(Delivered::Sent { id, pass }) => Ok(Sent { id: id.map(|id| named(id, pass)) }),
        Ok(Delivered::Later { after_ms, unsure, reason }) => {
            Err(Unsent::Later { after: after_ms.map(Duration::from_millis), unsure, reason })
        }
        Ok(Delivered::Never { reason, gone }) => Err(Unsent::Never { reason, gone }),
        Err(_) => Err(Unsent::unsure("what came back over the road cannot be read")),
    }
}

impl Outbound for WayBack {
    fn kind(&self) -> &'static str {
        WAY_BACK
    }

    fn abilities(&self) -> Abilities {
        Abilities { longest: LONGEST_UNSAID, format: Format::Markdown, at_once: AT_ONCE, ..Abilities::LEAST }
    }

    fn abilities_for(&self, target: &DeliveryTarget) -> Abilities {
        let longest = target.extra.get(LONGEST).and_then(|longest| longest.parse().ok());
        let longest = longest.filter(|longest| *longest > 0).unwrap_or(LONGEST_UNSAID);
        let least = Abilities { longest, ..self.abilities() };
        let can = target.extra.get(CAN).and_then(|can| serde_json::from_str::<Can>(can).ok());
        let Some(Can { format, edits, typing_ms, files, reacts }) = can else { return least };
        // What is written in a way that is not known here is cut once more over there, and not changed afterwards.
        let known = Format::of_word(&format);
        Abilities {
            format: known.unwrap_or(least.format),
            edits: edits && known.is_some(),
            typing: typing_ms.map(Duration::from_millis),
            files,
            reacts,
            ..least
        }
    }

    fn platform<'a>(&'a self, target: &'a DeliveryTarget) -> &'a str {
        target.extra.get(PLATFORM).map_or(WAY_BACK, String::as_str)
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

    fn edit<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
        text: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let (id, pass) = passed(id)?;
            self.change(target, Act::Edit { id, pass }, text).await
        })
    }

    fn take_back<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        id: &'a str,
    ) -> OutboundFuture<'a, Result<(), Unsent>> {
        Box::pin(async move {
            let (id, pass) = passed(id)?;
            self.change(target, Act::TakeBack { id, pass }, "").await
        })
    }

    fn send_file<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        file: File<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(self.carry_file(target, file))
    }

    fn react<'a>(&'a self, target: &'a DeliveryTarget, sign: Sign) -> OutboundFuture<'a, ()> {
        let sign = match sign {
            Sign::Seen => road::Sign::Seen,
            Sign::Done => road::Sign::Done,
            Sign::Failed => road::Sign::Failed,
            Sign::Nothing => road::Sign::Nothing,
        };
        Box::pin(self.show(target, Act::React(sign)))
    }

    fn typing<'a>(&'a self, target: &'a DeliveryTarget) -> OutboundFuture<'a, ()> {
        Box::pin(self.show(target, Act::Typing))
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

    #[test]
    fn what_the_owner_said_can_be_done_can_be_done() {
        let way = WayBack::new(Road::default());
        let can =
            |can: &str| way.abilities_for(&target(&[(CAN, can), (LONGEST, "7"), (PLATFORM, "telegram")]));
        let all =
            can(r#"{"format":"markdown_v2","edits":true,"typing_ms":4000,"files":9,"reacts":true,"more":1}"#);
        assert_eq!((all.format, all.longest, all.files), (Format::MarkdownV2, 7, Some(9)));
        assert!(all.edits && all.reacts && all.typing == Some(Duration::from_secs(4)));
        let unknown = can(r#"{"format":"runes","edits":true,"reacts":false}"#);
        assert_eq!((unknown.format, unknown.edits, unknown.files), (Format::Markdown, false, None));
        assert_eq!(way.platform(&target(&[(PLATFORM, "telegram")])), "telegram");
        assert!(!can("nonsense").edits && can("nonsense").files.is_none());
        for format in [
            Format::Plain,
            Format::Markdown,
            Format::MarkdownV2,
            Format::Mrkdwn,
            Format::WhatsApp,
            Format::MatrixHtml,
            Format::Irc,
            Format::Bare,
        ] {
            assert_eq!(Format::of_word(format.word()), Some(format));
        }
        assert_eq!(passed(&named("a b".into(), Some("p".into()))), Ok(("a b".to_owned(), "p".to_owned())));
        assert!(passed(&named("5".into(), None)).is_err(), "of an older owner");
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
