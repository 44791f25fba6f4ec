//! What a platform hands inward: one normalised event, and what became of it.
//!
//! A platform authenticates, filters and renders; after that an event is an [`Inbound`] and nothing behind it knows the wire it
//! came from. `Inbox::accept` makes it durable before the platform answers its sender.

use std::collections::BTreeMap;

use hermes_config::BusyMode;
use serde::{Deserialize, Serialize};

/// Who said it, and where. Field names are those of 0.19.0's `origin` objects.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Source {
    /// Platform name: `webhook`, `telegram`, …
    pub platform: String,
    /// `dm`, `group`, `channel`, `thread`, `webhook`, …
    pub chat_type: String,
    /// Chat.
    pub chat_id: Option<String>,
    /// Chat's name for people.
    pub chat_name: Option<String>,
    /// Thread in the chat.
    pub thread_id: Option<String>,
    /// The chat that it belongs to, where it is itself a thread or a post of another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_chat_id: Option<String>,
    /// Sender.
    pub user_id: Option<String>,
    /// Sender's stable second id, preferred for keys.
    pub user_id_alt: Option<String>,
    /// Sender's name for people.
    pub user_name: Option<String>,
    /// The profile whose bot received it, where that is another than the one that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_by: Option<String>,
}

/// Identity of an event for its sender: the same one twice is one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DedupKey {
    /// Route or chat.
    pub scope: String,
    /// The sender's id of the message or delivery.
    pub id: String,
}

/// Where the answer goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeliveryTarget {
    /// `log`, `github_comment`, or a platform name.
    pub kind: String,
    /// Rendered parameters of that kind.
    pub extra: BTreeMap<String, String>,
}

/// The kind of a target that is a run of the API, and the parameter that names it.
const RUN: &str = "run";

impl DeliveryTarget {
    /// Of an item that is a run: its answer stays with it.
    pub(crate) fn of_run(id: &str) -> Self {
        Self { kind: RUN.to_owned(), extra: BTreeMap::from([(RUN.to_owned(), id.to_owned())]) }
    }

    /// The run that it is, if it is one.
    pub(crate) fn run(&self) -> Option<&str> {
        if self.kind == RUN { self.extra.get(RUN).map(String::as_str) } else { None }
    }
}

/// Key of [`DeliveryTarget::extra`]: the message asks for an approval, and has this [name](crate::questions::name). A platform with buttons
/// may offer them.
pub(crate) const ASKS: &str = "asks";
/// Likewise: what may be chosen, with commas between: names of approvals or, where there are [`LABELS`], numbers from 1.
pub(crate) const CHOICES: &str = "choices";
/// Likewise: how the numbered choices read, as a JSON list of texts.
pub(crate) const LABELS: &str = "labels";

/// What an event does to a turn that runs in its session when it arrives. It is on disk in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Busy {
    /// Waits for its own turn, however many do: nobody sits there and waits.
    #[default]
    Wait,
    /// Waits for its own turn; beyond a number of them the sender is told that there are too many.
    Queue,
    /// Ends what runs, and has the next turn. Bounded like a queue.
    Interrupt,
    /// Is put into what runs, behind the next results of tools; if there are none any more, it waits. Bounded like a queue.
    Steer,
}

impl Busy {
    /// As the database has it; `None` is the default.
    pub(crate) fn column(self) -> Option<&'static str> {
        match self {
            Self::Wait => None,
            Self::Queue => Some("queue"),
            Self::Interrupt => Some("interrupt"),
            Self::Steer => Some("steer"),
        }
    }
}

impl From<BusyMode> for Busy {
    fn from(mode: BusyMode) -> Self {
        match mode {
            BusyMode::Interrupt => Self::Interrupt,
            BusyMode::Queue => Self::Queue,
            BusyMode::Steer => Self::Steer,
        }
    }
}

/// One event, ready to become a turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inbound {
    /// Origin; decides the session key.
    pub source: Source,
    /// The user message.
    pub text: String,
    /// What was said around it and is not addressed to the bot (`channel_context`): the model sees it [before](with_context) the message,
    /// and nothing that looks at what somebody wrote does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Where the sender may repeat itself.
    pub dedup: Option<DedupKey>,
    /// Where the answer goes.
    pub delivery: DeliveryTarget,
    /// End the session with this reason when the turn is over, however it went (`webhook_complete`).
    pub end_session: Option<String>,
    /// What it does to a turn that runs already. For chats the way in says what `display.busy_input_mode` says.
    #[serde(default)]
    pub busy: Busy,
}

/// What stands between what was said around a message and the message, as in 0.19.0.
const NEW: &str = "\n\n[New message]\n";

/// A message as the model sees it: behind what was said around it.
pub(crate) fn with_context(context: Option<&str>, text: String) -> String {
    match context {
        Some(context) => format!("{context}{NEW}{text}"),
        None => text,
    }
}

/// What somebody wrote, of what the model sees. Between the lines of what was said around it no line is empty.
pub(crate) fn without_context(text: &str) -> &str {
    match text.split_once(NEW) {
        Some((context, own)) if context.starts_with(AROUND) && !context.contains("\n\n") => own,
        _ => text,
    }
}

/// How what was said around a message begins, as in 0.19.0.
pub(crate) const AROUND: &str = "[Recent channel messages";

/// What became of an event. New or known, it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// New; will run exactly once.
    New,
    /// Known already; nothing more happens.
    Duplicate,
    /// Refused: too many of its session wait. Nothing is kept, and its sender is to be told.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_around_a_message_stands_before_it_and_is_no_part_of_it() {
        let around = format!("{AROUND}]\n[Ann] it is red");
        let whole = with_context(Some(&around), "look\n\n[New message]\nat it".to_owned());
        assert_eq!(whole, format!("{around}\n\n[New message]\nlook\n\n[New message]\nat it"));
        assert_eq!(without_context(&whole), "look\n\n[New message]\nat it");
        assert_eq!(with_context(None, "look".to_owned()), "look");
        for own in ["look", "a\n\n[New message]\nb", "[Recent channel messages]\n\nx\n\n[New message]\nb"] {
            assert_eq!(without_context(own), own);
        }
    }
}
