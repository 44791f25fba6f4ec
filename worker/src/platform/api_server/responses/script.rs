//! A response while it is written: what the engine says becomes items, and for those who read along events. Pure.
//!
//! One item is open at a time: text, or a thought. Whatever else is said closes it. A call and its output are whole from the start, so
//! their pieces come at once. The agent's own calls have their outputs beside them; a call without one is the client's to answer.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::super::answer::End;
use super::super::sse::Writer;
use super::items::id_of;
use super::object::{Draft, Status};
use crate::engine::{Event, Usage, call_kind};
use crate::turn;

/// The item that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Message,
    Thought,
}

impl Open {
    fn kind(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Thought => "reasoning",
        }
    }
}

/// Writes one response.
pub(super) struct Script {
    response: String,
    thoughts: bool,
    items: Vec<Value>,
    /// The last item is this, and is not whole.
    open: Option<(Open, String)>,
    /// The answer's text has begun.
    has_text: bool,
    /// Events, where somebody reads them.
    out: Option<String>,
    sequence: u64,
}

impl Script {
    pub(super) fn new(draft: &Draft, is_heard: bool) -> Self {
        Self {
            response: draft.id.clone(),
            thoughts: draft.thoughts,
            items: Vec::new(),
            open: None,
            has_text: false,
            out: is_heard.then(String::new),
            sequence: 0,
        }
    }

    /// Opens the stream.
    pub(super) fn begin(&mut self, draft: &Draft) {
        for kind in ["response.created", "response.in_progress"] {
            let object = draft.object(&Status::InProgress, &[], None);
            self.event(kind, json!({ "response": object }));
        }
    }

    /// Ends it: how, its items, and its tokens.
    pub(super) fn end(&mut self, end: &End) -> (Status, Vec<Value>, Option<Usage>) {
        let status = Status::of(end);
        let usage = match end {
            End::Failed(_) => {
                self.close("incomplete");
                None
            }
            End::Text { outcome, .. } => {
                if !self.has_text && !outcome.text.is_empty() {
                    self.say(Open::Message, &outcome.text);
                }
                self.close(if matches!(status, Status::Incomplete(_)) { "incomplete" } else { "completed" });
                for call in &outcome.tool_calls {
                    self.call(call);
                }
                Some(outcome.usage)
            }
        };
        (status, std::mem::take(&mut self.items), usage)
    }

    /// Ends it in the middle.
    pub(super) fn break_off(&mut self) -> Vec<Value> {
        self.close("incomplete");
        std::mem::take(&mut self.items)
    }

    /// The last event.
    pub(super) fn finish(&mut self, status: &Status, object: &Value) {
        self.event(&format!("response.{}", status.name()), json!({ "response": object }));
    }

    fn event(&mut self, kind: &str, fields: Value) {
        let Some(out) = &mut self.out else { return };
        let mut event = Map::from_iter([("type".to_owned(), kind.into())]);
        if let Value::Object(fields) = fields {
            event.extend(fields);
        }
        event.insert("sequence_number".to_owned(), self.sequence.into());
        self.sequence += 1;
        // Writing to a string cannot fail.
        let _ = write!(out, "event: {kind}\ndata: {}\n\n", Value::Object(event));
    }

    /// The number of the item that is being written, and its id.
    fn last(&self) -> (usize, Value) {
        let at = self.items.len().saturating_sub(1);
        (at, self.items.last().map(|item| item["id"].clone()).unwrap_or_default())
    }

    fn add(&mut self, kind: &str, fields: Value) {
        let id = id_of(&self.response, kind, self.items.len());
        let mut item = Map::from_iter([("id".to_owned(), id.into()), ("type".to_owned(), kind.into())]);
        if let Value::Object(fields) = fields {
            item.extend(fields);
        }
        self.items.push(Value::Object(item.clone()));
        item.insert("status".to_owned(), "in_progress".into());
        self.event("response.output_item.added", json!({"output_index": self.items.len() - 1, "item": item}));
    }

    /// The last item is whole.
    fn done(&mut self) {
        let (at, _) = self.last();
        let item = self.items.last().cloned().unwrap_or_default();
        self.event("response.output_item.done", json!({"output_index": at, "item": item}));
    }

    fn say(&mut self, open: Open, text: &str) {
        if self.open.as_ref().is_none_or(|(kind, _)| *kind != open) {
            self.close("completed");
            let empty = match open {
                Open::Message => json!({"status": "completed", "role": "assistant", "content": []}),
                Open::Thought => json!({"status": "completed", "summary": []}),
            };
            self.add(open.kind(), empty);
            self.open = Some((open, String::new()));
            let (at, id) = self.last();
            match open {
                Open::Message => self.event(
                    "response.content_part.added",
                    json!({"item_id": id, "output_index": at, "content_index": 0, "part": part("")}),
                ),
                Open::Thought => self.event(
                    "response.reasoning_summary_part.added",
                    json!({"item_id": id, "output_index": at, "summary_index": 0, "part": {"type": "summary_text", "text": ""}}),
                ),
            }
        }
        if let Some((_, said)) = &mut self.open {
            said.push_str(text);
        }
        let (at, id) = self.last();
        match open {
            Open::Message => self.event(
                "response.output_text.delta",
                json!({"item_id": id, "output_index": at, "content_index": 0, "delta": text, "logprobs": []}),
            ),
            Open::Thought => self.event(
                "response.reasoning_summary_text.delta",
                json!({"item_id": id, "output_index": at, "summary_index": 0, "delta": text}),
            ),
        }
    }

    /// Nothing more is added to what is open.
    fn close(&mut self, status: &str) {
        let Some((open, text)) = self.open.take() else { return };
        let (at, id) = self.last();
        let part = match open {
            Open::Message => part(&text),
            Open::Thought => json!({"type": "summary_text", "text": text}),
        };
        let (said, whole, place, field) = match open {
            Open::Message => {
                ("response.output_text.done", "response.content_part.done", "content_index", "content")
            }
            Open::Thought => (
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "summary_index",
                "summary",
            ),
        };
        let mut done = json!({"item_id": id, "output_index": at, place: 0, "text": text});
        if open == Open::Message {
            done["logprobs"] = json!([]);
        }
        self.event(said, done);
        self.event(whole, json!({"item_id": id, "output_index": at, place: 0, "part": part}));
        if let Some(item) = self.items.last_mut() {
            item[field] = json!([part]);
            item["status"] = status.into();
        }
        self.done();
    }

    /// A call, as the chat-completions wire has it.
    fn call(&mut self, call: &Value) {
        self.close("completed");
        let Some((kind, key)) = call.as_object().map(call_kind) else { return };
        let inner = &call[kind];
        let (item, events) = match key {
            "input" => ("custom_tool_call", "response.custom_tool_call_input"),
            _ => ("function_call", "response.function_call_arguments"),
        };
        let text = inner[key].as_str().unwrap_or_default();
        let (name, call_id) = (&inner["name"], &call["id"]);
        self.add(item, json!({"status": "completed", "name": name, key: "", "call_id": call_id}));
        let (at, id) = self.last();
        self.event(&format!("{events}.delta"), json!({"item_id": id, "output_index": at, "delta": text}));
        self.event(
            &format!("{events}.done"),
            json!({"item_id": id, "output_index": at, "name": name, key: text}),
        );
        if let Some(item) = self.items.last_mut() {
            item[key] = text.into();
        }
        self.done();
    }

    /// What came of a call of the agent's own.
    fn output(&mut self, call: &str, text: &str) {
        self.close("completed");
        self.add("function_call_output", json!({"status": "completed", "call_id": call, "output": ""}));
        if let Some(item) = self.items.last_mut() {
            item["output"] = text.into();
        }
        self.done();
    }
}

impl Writer for Script {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Delta(text) if !text.is_empty() => {
                self.has_text = true;
                self.say(Open::Message, &text);
            }
            Event::Thought(text) if self.thoughts && !text.is_empty() => self.say(Open::Thought, &text),
            Event::Tool { name, id, done: false, text, .. } => {
                self.call(
                    &json!({"id": id, "type": "function", "function": {"name": name, "arguments": text}}),
                );
                // What comes next is another message.
                self.has_text = false;
            }
            Event::Tool { id, done: true, text, .. } => self.output(&id, &text),
            Event::Asked { run, details } => {
                self.event("hermes.approval.request", turn::described(&run, details));
            }
            Event::Heard { run, choice } => {
                let heard =
                    json!({"event": "approval.responded", "run_id": run, "choice": choice, "resolved": 1});
                self.event("hermes.approval.responded", heard);
            }
            Event::Delta(_) | Event::Thought(_) | Event::Alive | Event::Retrying { .. } => {}
        }
    }

    fn waiting(&self) -> usize {
        self.out.as_ref().map_or(0, String::len)
    }

    fn take(&mut self) -> String {
        self.out.as_mut().map(std::mem::take).unwrap_or_default()
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text})
}
