//! The offline engine: deterministic, free, and honest about being no model.
//!
//! It answers with what it was sent, after the words `echo (not a model): `, a word a piece (at most [`MAX_PIECES`] pieces).
//! Usage counts words. `agent.echo_delay_ms` waits before each piece, so that tests and trials can see a slow
//! turn; the wait ends at once when the turn is cancelled.

use std::time::Duration;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{
    Engine, EngineError, EngineFuture, Event, EventSink, Journal, ModelId, Outcome, Prompt, Role, Usage,
};

/// What every answer starts with.
pub const PREFIX: &str = "echo (not a model): ";

/// Most pieces one answer is streamed in, however long it is.
pub const MAX_PIECES: usize = 16_384;

/// The engine; see the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Echo {
    delay: Duration,
}

impl Echo {
    /// An engine that waits `delay` before each piece.
    pub fn new(delay: Duration) -> Self {
        Self { delay }
    }

    async fn answer(&self, prompt: &Prompt, events: EventSink) -> Outcome {
        let asked = prompt.messages.iter().rev().find(|m| m.role == Role::User);
        let text = asked.map(|m| text_of(&m.content)).unwrap_or_default();
        let text = format!("{PREFIX}{text}");
        // A turn from the inbox has no listener: its pieces are not even cut.
        let heard = !events.is_closed() || !self.delay.is_zero();
        for piece in pieces(&text).take_while(|_| heard) {
            if !self.delay.is_zero() {
                tokio::time::sleep(self.delay).await;
            }
            // A closed sink is fine: nobody listens to the pieces, the outcome has the whole text.
            let _ = events.send(Event::Delta(piece.to_owned())).await;
        }
        let input =
            words(&prompt.system) + prompt.messages.iter().map(|m| words(&text_of(&m.content))).sum::<u64>();
        Outcome {
            finish_reason: "stop".to_owned(),
            model: "echo".to_owned(),
            provider: "echo".to_owned(),
            base_url: String::new(),
            usage: Usage { input_tokens: input, output_tokens: words(&text), ..Usage::default() },
            calls: 1,
            tool_calls: Vec::new(),
            is_cut_short: false,
            text,
        }
    }
}

impl Engine for Echo {
    fn name(&self) -> &'static str {
        "echo"
    }

    fn model(&self) -> ModelId {
        ModelId { model: "echo".to_owned(), provider: "echo".to_owned() }
    }

    fn run<'a>(
        &'a self,
        prompt: &'a Prompt,
        _journal: &'a dyn Journal,
        events: EventSink,
        cancel: CancellationToken,
    ) -> EngineFuture<'a> {
        Box::pin(async move {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(EngineError::Interrupted),
                outcome = self.answer(prompt, events) => Ok(outcome),
            }
        })
    }
}

/// The text of a message: itself, or its text parts one per line with other parts named in brackets.
pub(super) fn text_of(content: &Value) -> std::borrow::Cow<'_, str> {
    match content {
        Value::String(text) => text.into(),
        Value::Array(parts) => parts.iter().map(part).collect::<Vec<_>>().join("\n").into(),
        Value::Null => "".into(),
        other => other.to_string().into(),
    }
}

fn part(part: &Value) -> String {
    if let Some(text) = part.get("text").and_then(Value::as_str).or(part.as_str()) {
        return text.to_owned();
    }
    format!("[{}]", part.get("type").and_then(Value::as_str).unwrap_or("part"))
}

fn words(text: &str) -> u64 {
    u64::try_from(text.split_whitespace().count()).unwrap_or(u64::MAX)
}

/// Splits before words, into at most [`MAX_PIECES`] pieces of about the same length; joined they are the text.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let least = (text.len() / MAX_PIECES).max(1);
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = least.min(rest.len());
        while !rest.is_char_boundary(end) {
            end += 1;
        }
        let end = rest[end..].find(char::is_whitespace).map_or(rest.len(), |at| {
            let space = end + at;
            space + rest[space..].chars().next().map_or(0, char::len_utf8)
        });
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::mpsc;

    use super::*;
    use crate::engine::{Message, Options, Unrecorded};

    fn prompt(content: Value) -> Prompt {
        Prompt {
            session_id: "s".to_owned(),
            platform: "webhook".to_owned(),
            source: crate::inbound::Source::default(),
            conversation: String::new(),
            route: None,
            system: "You are terse.".to_owned(),
            stored: 0,
            last_tokens: 0,
            messages: vec![
                Message::new(Role::User, json!("first")),
                Message::new(Role::Assistant, json!("yes")),
                Message::new(Role::User, content),
            ],
            wishes: crate::engine::Wishes::default(),
            options: Options::new(),
        }
    }

    #[test]
    fn pieces_join_to_the_text_and_are_bounded() {
        for text in
            ["", "a", "hello big world", "ünï cödé — wörds", &"word ".repeat(5_000), &"x".repeat(5_000)]
        {
            let all: Vec<_> = pieces(text).collect();
            assert_eq!(all.concat(), text);
            assert!(all.len() <= MAX_PIECES, "{}", all.len());
        }
        assert_eq!(pieces("hello big world").collect::<Vec<_>>(), ["hello ", "big ", "world"]);
    }

    #[tokio::test]
    async fn it_repeats_the_last_user_message_and_says_what_it_is() {
        let (sink, mut events) = mpsc::channel(64);
        let echo = Echo::default();
        let outcome = echo
            .run(&prompt(json!("hello there")), &Unrecorded, sink.into(), CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(outcome.text, "echo (not a model): hello there");
        assert_eq!((outcome.usage.input_tokens, outcome.usage.output_tokens), (7, 6));
        let mut streamed = String::new();
        while let Some(Event::Delta(piece)) = events.recv().await {
            streamed.push_str(&piece);
        }
        assert_eq!(streamed, outcome.text);
    }

    #[tokio::test]
    async fn nobody_needs_to_listen_and_parts_are_readable() {
        let (sink, _) = mpsc::channel(1);
        let parts =
            json!([{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:"}}]);
        let outcome = Echo::default()
            .run(&prompt(parts), &Unrecorded, sink.into(), CancellationToken::new())
            .await
            .unwrap();
        assert_eq!(outcome.text, "echo (not a model): look\n[image_url]");
    }

    #[tokio::test]
    async fn a_slow_echo_and_a_stuck_reader_are_interruptible() {
        for delay in [Duration::from_secs(3_600), Duration::ZERO] {
            let (sink, _never_read) = mpsc::channel(1);
            let cancel = CancellationToken::new();
            let guard = cancel.clone();
            let echo = Echo::new(delay);
            let prompt = prompt(json!("a b c d"));
            // Polled in this order: the engine waits before it is told.
            let (result, ()) = tokio::join!(biased; echo.run(&prompt, &Unrecorded, sink.into(), cancel), async { guard.cancel() });
            assert_eq!(result, Err(EngineError::Interrupted));
        }
    }
}
