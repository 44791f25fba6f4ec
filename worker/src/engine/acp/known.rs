//! What an agent knows of a conversation, and what it does not.
//!
//! The agent has a session of its own for each of ours, which one is kept ([`Map`]), and beside it which texts of ours it has been given: how
//! many, and a digest of them. So a conversation that went on elsewhere, by another engine, another program or another agent, is
//! noticed: what is missing is told, and where what it knows is not what happened it begins anew, with a recap.

use std::pin::Pin;

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::engine::{Message, Role, Unkept};

/// What is kept of an agent's session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// Which agent has it: its command and where it works.
    pub agent: String,
    /// The agent's id of it.
    pub session: String,
    /// Texts of the conversation that it was given, the last question included.
    pub texts: u32,
    /// A digest of them.
    pub digest: String,
    /// A digest of its answer to the last one; empty while there is none.
    pub answer: String,
    /// A digest of the instructions that it was given.
    pub instructions: String,
}

/// When it is on disk, or read from there.
pub type Mapped<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unkept>> + Send + 'a>>;

/// Where agents' sessions are kept, by ours.
pub trait Map: Send + Sync {
    /// What is kept for session `id`.
    fn recall<'a>(&'a self, id: &'a str) -> Mapped<'a, Option<Known>>;

    /// Keeps it.
    fn keep<'a>(&'a self, id: &'a str, known: Known) -> Mapped<'a, ()>;
}

/// What there is to tell in a turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Gap<'a> {
    /// It goes on in its session; otherwise it knows nothing of the conversation.
    pub(super) knows: bool,
    /// What came before the question and is not known to it.
    pub(super) missed: &'a [Message],
    /// The question.
    pub(super) question: Option<&'a Message>,
    /// Steps that were taken after it, by an earlier process.
    pub(super) steps: &'a [Message],
    /// It was given the question before, and was cut off.
    pub(super) again: bool,
    /// How many texts it knows after this turn's question, and their digest.
    pub(super) texts: u32,
    pub(super) digest: String,
}

/// Compares a conversation with what is known.
pub(super) fn gap<'a>(messages: &'a [Message], known: Option<&Known>) -> Gap<'a> {
    let asked = messages.iter().rposition(|message| message.role == Role::User);
    let behind = asked.map_or(messages.len(), |at| at + 1);
    let (before, steps) = messages.split_at(behind);
    let before_question = &before[..asked.unwrap_or(before.len())];
    let said: Vec<usize> = (0..before.len()).filter(|at| is_text(&before[*at])).collect();
    let digest_of = |count: usize| digest(said[..count].iter().map(|at| &before[*at]));
    let (texts, whole) = (u32::try_from(said.len()).unwrap_or(u32::MAX), digest_of(said.len()));
    let matching = known.filter(|known| {
        let count = usize::try_from(known.texts).unwrap_or(usize::MAX);
        !known.session.is_empty() && count <= said.len() && digest_of(count) == known.digest
    });
    let question = asked.map(|at| &messages[at]);
    let (missed, again) = match matching {
        None => (before_question, !steps.is_empty()),
        Some(known) if known.texts == texts => (&[][..], true),
        Some(known) => {
            let mut from = usize::try_from(known.texts).unwrap_or(usize::MAX);
            let next = &before[said[from]];
            if next.role == Role::Assistant && digest(std::iter::once(next)) == known.answer {
                from += 1;
            }
            let from = said.get(from).copied().unwrap_or(before_question.len()).min(before_question.len());
            (&before_question[from..], !steps.is_empty())
        }
    };
    Gap { knows: matching.is_some(), missed, question, steps, again, texts, digest: whole }
}

/// Whether it is a text of the conversation, and no step or nothing.
fn is_text(message: &Message) -> bool {
    let says = match &message.content {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    says && message.role != Role::Tool && message.tool_calls.is_empty()
}

/// A digest of who says what.
fn digest<'a>(messages: impl Iterator<Item = &'a Message>) -> String {
    let mut hash = Sha256::new();
    for message in messages {
        let text = match &message.content {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        hash.update([u8::from(message.role == Role::User)]);
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hex(&hash.finalize())
}

/// A digest of an answer.
pub(super) fn digest_of_answer(text: &str) -> String {
    digest(std::iter::once(&Message::new(Role::Assistant, Value::String(text.to_owned()))))
}

/// A digest of a text.
pub(super) fn digest_of_text(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Half of the bytes tell everything apart.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(role: Role, text: &str) -> Message {
        Message::new(role, json!(text))
    }

    fn user(text: &str) -> Message {
        said(Role::User, text)
    }

    fn agent(text: &str) -> Message {
        said(Role::Assistant, text)
    }

    fn step(id: &str) -> [Message; 2] {
        let call = json!({"id": id, "type": "function", "function": {"name": "read", "arguments": "{}"}});
        let calls = Message { tool_calls: vec![call], ..agent("I look.") };
        [calls, Message::result(id, "read", "found".to_owned())]
    }

    /// What is kept after a turn that ended with `answer`, or without one.
    fn after(messages: &[Message], answer: Option<&str>) -> Known {
        let gap = gap(messages, None);
        let answer = answer.map(digest_of_answer).unwrap_or_default();
        Known { session: "s".to_owned(), texts: gap.texts, digest: gap.digest, answer, ..Known::default() }
    }

    #[test]
    fn an_agent_that_knows_it_all_is_told_the_question_only() {
        let first = [user("one")];
        let known = after(&first, Some("1"));
        let mut messages = vec![user("one")];
        messages.extend(step("a"));
        messages.extend([agent("1"), user("two")]);
        let gap = gap(&messages, Some(&known));
        assert!(gap.knows && !gap.again && gap.missed.is_empty() && gap.steps.is_empty(), "{gap:?}");
        assert_eq!(gap.question, Some(&messages[4]));
        assert_eq!(gap.texts, 3);
    }

    #[test]
    fn what_others_said_meanwhile_is_told() {
        let known = after(&[user("one")], Some("1"));
        let messages = [user("one"), agent("1"), user("two"), agent("2"), user("three")];
        let gap1 = gap(&messages, Some(&known));
        assert!(gap1.knows && !gap1.again);
        assert_eq!(gap1.missed, &messages[2..4]);
        // Its answer was not wanted.
        let known = after(&[user("one")], None);
        let messages = [user("one"), agent("[interrupted]"), user("two")];
        let gap = gap(&messages, Some(&known));
        assert_eq!((gap.knows, gap.missed), (true, &messages[1..2]));
    }

    #[test]
    fn an_agent_that_knows_something_else_begins_anew() {
        let known = after(&[user("one")], Some("1"));
        for messages in
            [vec![user("other"), agent("1"), user("two")], vec![agent("one"), user("two")], vec![]]
        {
            let gap = gap(&messages, Some(&known));
            assert!(!gap.knows, "{messages:?}");
            assert_eq!(gap.missed.len(), messages.len().saturating_sub(1));
        }
        assert!(!gap(&[user("one"), agent("1"), user("two")], None).knows);
    }

    #[test]
    fn a_turn_that_was_cut_off_goes_on() {
        let known = after(&[user("one")], None);
        let same = gap(&[user("one")], Some(&known)).again;
        assert!(same);
        let mut messages = vec![user("one")];
        messages.extend(step("a"));
        let gap1 = gap(&messages, Some(&known));
        assert!(gap1.knows && gap1.again && gap1.missed.is_empty());
        assert_eq!((gap1.question, gap1.steps), (Some(&messages[0]), &messages[1..]));
        let gap = gap(&messages, None);
        assert!(!gap.knows && gap.again && gap.missed.is_empty() && gap.steps.len() == 2);
    }
}
