//! Where an answer goes: the parameters of a target.

use std::collections::BTreeMap;

use super::settings::NAME;
use crate::delivery::outbound::CHAT_ID;
use crate::inbound::DeliveryTarget;

/// Key of a target's parameters: the event that a thread began with, as in 0.19.0's `deliver_extra`.
pub(super) const THREAD_ID: &str = "thread_id";
/// Likewise: the event that an answer is to.
pub(super) const REPLY_TO: &str = "reply_to_message_id";
/// Likewise: who wrote that.
pub(super) const SENDER: &str = "sender_id";

/// Where an answer to an event goes.
pub(super) fn target(room: &str, thread: Option<String>, event: &str, sender: &str) -> DeliveryTarget {
    let mut extra = BTreeMap::from([
        (CHAT_ID.to_owned(), room.to_owned()),
        (REPLY_TO.to_owned(), event.to_owned()),
        (SENDER.to_owned(), sender.to_owned()),
    ]);
    extra.extend(thread.map(|thread| (THREAD_ID.to_owned(), thread)));
    DeliveryTarget { kind: NAME.to_owned(), extra }
}
