//! The way out: what is said goes through the connection that stands.
//!
//! A message is sent once the server has answered to what was asked behind its last line: by then it has taken all lines, or said why not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::NAME;
use super::wire::is_target;
use crate::delivery::outbound::{
    Abilities, Format, Message, Outbound, OutboundFuture, Sent, Unsent, chat_of,
};
use crate::formatting;
use crate::formatting::Unit;
use crate::formatting::split::Limit;
use crate::inbound::DeliveryTarget;

/// Longest message, in bytes: it goes out in several lines, and what is repeated after a loss is a message.
const LONGEST: usize = 1500;
/// Time that a message waits for a connection.
const WAIT: Duration = Duration::from_secs(20);

/// Something that is to be said.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) target: String,
    /// With IRC's signs; it may have several lines.
    pub(super) text: String,
    /// A part of it was said.
    pub(super) begun: Arc<AtomicBool>,
    pub(super) done: oneshot::Sender<Result<(), Unsent>>,
}

/// Where what is to be said meets the connection that says it.
#[derive(Debug, Default)]
pub(super) struct Desk(watch::Sender<Option<mpsc::Sender<Call>>>);

impl Desk {
    /// A connection stands, and takes what is to be said until the answer is dropped.
    pub(super) fn open(self: &Arc<Self>) -> (mpsc::Receiver<Call>, Opened) {
        let (sender, calls) = mpsc::channel(8);
        self.0.send_replace(Some(sender));
        (calls, Opened(Arc::clone(self)))
    }

    /// Says something.
    pub(super) async fn say(&self, target: &str, text: String) -> Result<(), Unsent> {
        let mut open = self.0.subscribe();
        let open = timeout(WAIT, open.wait_for(Option::is_some)).await;
        let sender = open.ok().and_then(Result::ok).and_then(|open| open.clone());
        let sender = sender.ok_or_else(|| Unsent::later("IRC is not connected"))?;
        let (done, answer) = oneshot::channel();
        let begun = Arc::new(AtomicBool::new(false));
        let call = Call { target: target.to_owned(), text, begun: Arc::clone(&begun), done };
        let lost = || {
            if begun.load(Ordering::Acquire) {
                Unsent::unsure("the connection was lost before the server had taken it")
            } else {
                Unsent::later("the connection was lost")
            }
        };
        sender.send(call).await.map_err(|_| lost())?;
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// While it is there the connection stands.
pub(super) struct Opened(Arc<Desk>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.0.send_replace(None);
    }
}

/// The nick, as it speaks.
pub(super) struct Chat(pub(super) Arc<Desk>);

impl Outbound for Chat {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn abilities(&self) -> Abilities {
        Abilities { longest: LONGEST, format: Format::Irc, ..Abilities::LEAST }
    }

    fn limit(&self, target: &DeliveryTarget) -> Limit {
        let dialect = self.abilities().format.dialect();
        Limit { most: self.longest(target), unit: Unit::Bytes, dialect, numbered: false }
    }

    fn send<'a>(
        &'a self,
        target: &'a DeliveryTarget,
        message: Message<'a>,
    ) -> OutboundFuture<'a, Result<Sent, Unsent>> {
        Box::pin(async move {
            let chat: String =
                chat_of(target)?.chars().filter(|c| !matches!(c, '\r' | '\n' | '\0')).collect();
            if !is_target(&chat) {
                return Err(Unsent::never(format!(
                    "`{}` is neither a channel nor a nick",
                    chat.escape_debug()
                )));
            }
            let text = formatting::irc(&message.marked(|_| true));
            self.0.say(&chat, text).await.map(|()| Sent::default())
        })
    }
}
