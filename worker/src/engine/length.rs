//! How long a conversation is, and when it is to be made shorter. Pure.
//!
//! What a provider counted is believed; what came since, and what nobody has counted, is estimated: four letters of the Latin alphabet
//! are a token, as are two of others and one sign of Chinese or Japanese.

use serde_json::Value;

use super::{Message, Pressure, Prompt, Squeeze, Usage};

/// Most times in one turn: each of them takes a call to a model.
const MOST: u32 = 12;
/// Most times that a model may refuse what was made shorter for it.
const REFUSALS: u32 = 3;
/// What stands around a message on the wire, in tokens.
const AROUND: u64 = 4;
/// An image, in tokens: providers count one to a few thousand, whatever its bytes are.
const IMAGE: u64 = 1_600;

/// What a model takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// From so many tokens on a conversation is made shorter.
    pub(super) threshold: u64,
    /// Its latest messages may keep so many then.
    pub(super) tail: u64,
    /// More messages no turn begins with; 0: any number.
    pub(super) most_messages: usize,
}

/// The length of a turn's conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Length {
    /// Tokens of so many first messages with everything around them.
    counted: Option<(u64, usize)>,
    shortened: u32,
    /// Refusals since the last answer.
    refused: u32,
    /// It was tried, and cannot be made shorter now.
    stuck: bool,
    /// The model was asked already.
    asked: bool,
}

impl Length {
    /// Of the conversation that a turn begins with.
    pub(super) fn of(prompt: &Prompt) -> Self {
        let last =
            prompt.messages.iter().rposition(|message| message.tool_calls.is_empty() && is_answer(message));
        let counted = last.filter(|_| prompt.last_tokens > 0).map(|last| (prompt.last_tokens, last));
        Self { counted, shortened: 0, refused: 0, stuck: false, asked: false }
    }

    /// Tokens of a request.
    pub(super) fn tokens(&self, system: &str, messages: &[Message], tools: &[Value]) -> u64 {
        let tools: u64 = tools.iter().map(|tool| of_text(&tool.to_string())).sum();
        let estimated = of_text(system) + tools + messages.iter().map(of_message).sum::<u64>();
        let counted = self
            .counted
            .filter(|(_, known)| *known <= messages.len())
            .map(|(tokens, known)| tokens.saturating_add(messages[known..].iter().map(of_message).sum()));
        // An estimate is not as wrong as that: a server that says so counts something else.
        counted.filter(|counted| counted.saturating_mul(3) >= estimated).unwrap_or(estimated)
    }

    /// Whether the conversation is to be made shorter before the model is asked.
    pub(super) fn before(&self, tokens: u64, messages: usize, room: &Room) -> Option<Squeeze> {
        let too_many = !self.asked && room.most_messages > 0 && messages > room.most_messages;
        let wanted = tokens >= room.threshold || too_many;
        (wanted && !self.stuck && self.shortened < MOST).then_some(Squeeze {
            why: Pressure::Near,
            tail: room.tail,
            round: 0,
        })
    }

    /// Whether it is to be made shorter after it was refused as too long; it had about so many tokens.
    pub(super) fn after_refusal(&mut self, tokens: u64, room: &Room) -> Option<Squeeze> {
        self.refused += 1;
        // Whatever the window is, it is smaller than that.
        let tail = room.tail.min(tokens / 3);
        (self.refused <= REFUSALS && self.shortened < MOST).then_some(Squeeze {
            why: Pressure::Refused,
            tail,
            round: self.refused - 1,
        })
    }

    /// It was made shorter.
    pub(super) fn shortened(&mut self) {
        (self.counted, self.shortened) = (None, self.shortened + 1);
    }

    /// It cannot be.
    pub(super) fn stuck(&mut self) {
        self.stuck = true;
    }

    /// The model has answered a request with so many messages.
    pub(super) fn answered(&mut self, usage: Usage, messages: usize) {
        let tokens = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
        self.counted = (tokens > 0).then_some((tokens, messages));
        (self.refused, self.asked) = (0, true);
    }
}

fn is_answer(message: &Message) -> bool {
    message.role == super::Role::Assistant
}

/// Tokens of a message, about.
pub(crate) fn of_message(message: &Message) -> u64 {
    let calls: u64 = message.tool_calls.iter().map(|call| of_text(&call.to_string())).sum();
    let thoughts: u64 = message.thoughts.iter().map(|thought| of_text(&thought.to_string())).sum();
    AROUND + of_content(&message.content) + calls + thoughts + message.reasoning.as_deref().map_or(0, of_text)
}

fn of_content(content: &Value) -> u64 {
    match content {
        Value::Null => 0,
        Value::String(text) => of_text(text),
        Value::Array(parts) => parts.iter().map(of_content).sum(),
        part => match part.get("text").and_then(Value::as_str) {
            Some(text) => of_text(text),
            None if part.get("image_url").is_some() => IMAGE,
            None => of_text(&part.to_string()),
        },
    }
}

/// Tokens of a text, about.
pub(crate) fn of_text(text: &str) -> u64 {
    if text.is_ascii() {
        return u64::try_from(text.len()).unwrap_or(u64::MAX).div_ceil(4);
    }
    let quarters: u64 = text
        .chars()
        .map(|c| match u32::from(c) {
            0..=0x7f => 1,
            0x80..=0x2e7f => 2,
            _ => 4,
        })
        .sum();
    quarters.div_ceil(4)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::engine::Role;

    fn said(role: Role, text: &str) -> Message {
        Message::new(role, json!(text))
    }

    #[test]
    fn a_text_is_measured_by_its_writing() {
        assert_eq!(
            [of_text(""), of_text("word"), of_text("words"), of_text("слово"), of_text("言葉")],
            [0, 1, 2, 3, 2]
        );
        let image = json!([{"type": "image_url", "image_url": {"url": "x".repeat(100_000)}}, {"type": "text", "text": "four"}]);
        assert_eq!(of_message(&Message::new(Role::User, image)), AROUND + IMAGE + 1);
    }

    /// What the provider counted last is believed, and only what came since is estimated.
    #[test]
    fn what_was_counted_is_believed() {
        let messages =
            vec![said(Role::User, "q"), said(Role::Assistant, "answer!!"), said(Role::User, "next")];
        let mut length =
            Length::of(&Prompt { messages: messages.clone(), last_tokens: 1_000, ..Prompt::default() });
        assert_eq!(length.tokens("", &messages, &[]), 1_000 + 2 * AROUND + 2 + 1);
        length.answered(Usage { input_tokens: 5, cache_read_tokens: 40, ..Usage::default() }, 3);
        assert_eq!(length.tokens("", &messages, &[]), 45);
        length.shortened();
        assert_eq!(length.tokens("12345678", &messages[..1], &[json!(1)]), 2 + 1 + AROUND + 1);
        length.answered(Usage::default(), 1);
        assert_eq!(length.tokens("", &messages[..1], &[]), AROUND + 1, "a server that counts nothing");
        length.answered(Usage { input_tokens: 1, ..Usage::default() }, 3);
        assert_eq!(length.tokens("", &messages, &[]), 3 * AROUND + 4, "or something else");
    }

    #[test]
    fn it_is_made_shorter_near_the_end_and_after_a_refusal_and_not_for_ever() {
        let room = Room { threshold: 100, tail: 20, most_messages: 3 };
        let mut length = Length::of(&Prompt::default());
        assert_eq!(length.before(99, 3, &room), None);
        let near = Some(Squeeze { why: Pressure::Near, tail: 20, round: 0 });
        assert_eq!(length.before(100, 3, &room), near);
        assert_eq!(length.before(1, 4, &room), near, "too many messages");
        length.answered(Usage::default(), 4);
        assert_eq!(length.before(1, 4, &room), None, "in the middle of a turn they are not counted");
        let rounds: Vec<_> = (0..5)
            .map(|_| length.after_refusal(30, &room).map(|squeeze| (squeeze.round, squeeze.tail)))
            .collect();
        assert_eq!(rounds, [Some((0, 10)), Some((1, 10)), Some((2, 10)), None, None]);
        length.stuck();
        assert_eq!(length.before(100, 1, &room), None);
    }
}
