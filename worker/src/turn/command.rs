//! Messages of chats that are no question: `/compress` makes the conversation shorter now, `/compress WORDS` with those in view; `/new`
//! ends the conversation; `/stop` has ended what ran before its turn, and has nothing more to do.
//!
//! A command is an item of the inbox like any message: it waits for its turn in the session, and is answered once. It is no part of the
//! conversation, and no model answers it. What a webhook brings is no command: anybody may have written it.

use crate::engine::{Pressure, Prompt, Squeeze, tokens_of};
use crate::inbound::Inbound;
use crate::session::history;

use super::compress;
use super::journal::TurnJournal;
use crate::store::StoreError;

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
    /// The last question and its answer are no part of the conversation any more.
    Undo,
    /// The same, and all of the question is said, so that it can be asked again.
    TakeBack,
    /// There is no question that could be asked again.
    NothingToRetry,
}

/// What a client asks to be done with its conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The last question and its answer are no part of it any more.
    Undo,
    /// The same; all of the question is said, nothing where there is none.
    TakeBack,
    /// It is made shorter, with this in view.
    Compress(Option<String>),
}

impl From<Change> for Command {
    fn from(change: Change) -> Self {
        match change {
            Change::Undo => Self::Undo,
            Change::TakeBack => Self::TakeBack,
            Change::Compress(focus) => Self::Compress(focus),
        }
    }
}

/// Characters of a question that was taken back.
const SHOWN: usize = 200;
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
            "/undo" => return Some(Self::Undo),
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
            Self::NothingToRetry => return "There is nothing here that could be asked again.".to_owned(),
            Self::Undo => return undo(journal, prompt).await,
            Self::TakeBack => return take_back(journal, prompt).await.unwrap_or_default(),
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

/// Whether an event asks for the last question again.
pub(super) fn is_retry(event: &Inbound) -> bool {
    event.source.chat_type != "webhook" && event.text.trim() == "/retry"
}

async fn rewound(journal: &TurnJournal, prompt: &Prompt) -> Result<Option<history::Rewound>, StoreError> {
    let (inner, id) = (&journal.of.inner, prompt.session_id.clone());
    inner.store.write(move |db| history::rewind(db, &id)).await
}

/// The question that was taken back. One that cannot be is none.
async fn take_back(journal: &TurnJournal, prompt: &Prompt) -> Option<String> {
    match rewound(journal, prompt).await {
        Ok(taken) => taken.map(|taken| taken.question),
        Err(error) => {
            tracing::error!(%error, "a question is not taken back");
            None
        }
    }
}

async fn undo(journal: &TurnJournal, prompt: &Prompt) -> String {
    match rewound(journal, prompt).await {
        Ok(Some(taken)) => {
            let shown: String = taken.question.chars().take(SHOWN).collect();
            let more = if shown.len() < taken.question.len() { "…" } else { "" };
            format!("↩️ Taken back, with all that followed ({} messages): \"{shown}{more}\"", taken.messages)
        }
        Ok(None) => "There is nothing here that could be taken back.".to_owned(),
        Err(error) => format!("The conversation stays as it is: {}.", error.reason()),
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
        assert_eq!((of("dm", "/undo"), of("webhook", "/undo")), (Some(Command::Undo), None));
        assert_eq!((Command::New.ends(), Command::Stop.ends()), (Some("session_reset"), None));
    }
}
