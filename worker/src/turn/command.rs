//! Messages of chats that are no question: `/compress` makes the conversation shorter now, `/compress WORDS` with those in view; `/new`
//! ends the conversation; `/stop` has ended what ran before its turn, and has nothing more to do.
//!
//! A command is an item of the inbox like any message: it waits for its turn in the session, and is answered once. It is no part of the
//! conversation, and no model answers it. What a webhook brings is no command: anybody may have written it.

use crate::engine::{Pressure, Prompt, Squeeze, tokens_of};
use crate::inbound::Inbound;

use super::compress;
use super::journal::TurnJournal;

/// Tokens that the latest messages keep where somebody asks for it; what is known of the model's window belongs to the engine.
const TAIL: u64 = 8_000;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// A shorter conversation, with this in view.
    Compress(Option<String>),
    /// Another conversation.
    New,
    /// Nothing: what it was for has happened.
    Stop,
}

/// Said of a conversation that is over.
const BEGINS: &str = "✨ New conversation: what was said before is kept, and not part of it.";
/// Why its session ended.
const RESET: &str = "session_reset";

impl Command {
    /// The command that an event is, if it is one.
    pub(super) fn of(event: &Inbound) -> Option<Self> {
        if event.source.chat_type == "webhook" {
            return None;
        }
        match event.text.trim() {
            "/new" => return Some(Self::New),
            "/stop" => return Some(Self::Stop),
            _ => {}
        }
        let rest = event.text.trim().strip_prefix("/compress")?;
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            return None;
        }
        let focus = rest.trim();
        Some(Self::Compress((!focus.is_empty()).then(|| focus.to_owned())))
    }

    /// With what the session ends, if it does.
    pub(super) fn ends(&self) -> Option<&'static str> {
        (*self == Self::New).then_some(RESET)
    }

    /// Does it; gives what is said of it.
    pub(super) async fn run(&self, journal: &TurnJournal, prompt: &Prompt) -> String {
        let focus = match self {
            Self::Compress(focus) => focus,
            Self::New => return BEGINS.to_owned(),
            Self::Stop => return String::new(),
        };
        let squeeze = Squeeze { why: Pressure::Asked, tail: TAIL, round: 0 };
        let before = (prompt.messages.len(), prompt.messages.iter().map(tokens_of).sum::<u64>());
        match compress::shorten(&journal.of, squeeze, focus.as_deref()).await {
            Ok(Ok(shorter)) => {
                let after: u64 = shorter.messages.iter().map(tokens_of).sum();
                format!(
                    "The conversation is shorter now: {} messages (about {} tokens) became {} (about {after}).",
                    before.0,
                    before.1,
                    shorter.messages.len()
                )
            }
            Ok(Err(why)) => format!("The conversation stays as it is: {why}."),
            Err(error) => format!("The conversation stays as it is: {error}."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::tests::event;

    #[test]
    fn what_is_a_command() {
        let of = |kind: &str, text: &str| {
            let mut event = event("c", "1", text);
            kind.clone_into(&mut event.source.chat_type);
            Command::of(&event)
        };
        assert_eq!(of("dm", " /compress\n"), Some(Command::Compress(None)));
        assert_eq!(of("group", "/compress the API "), Some(Command::Compress(Some("the API".to_owned()))));
        for text in ["/compressor", "compress", "say /compress", "/compress-all"] {
            assert_eq!(of("dm", text), None, "{text}");
        }
        assert_eq!(of("webhook", "/compress"), None);
        assert_eq!((of("dm", "/new"), of("dm", "/stop ")), (Some(Command::New), Some(Command::Stop)));
        assert_eq!((of("dm", "/new idea"), of("webhook", "/new")), (None, None));
        assert_eq!((Command::New.ends(), Command::Stop.ends()), (Some("session_reset"), None));
    }
}
