//! Calls of the client's tools, as providers stream them: in pieces, and told apart in more than one way.
//!
//! A piece belongs to the call of its `index`; servers that send none, or the same one for all, name a new call by a new `id`, or by
//! a function name after another's. A call's first piece gives everything but its arguments, which are joined; fields that only some
//! providers know (`extra_content`) are kept, because they want them back. Whoever sends no `id` gets one: clients answer by it.
//! `function_call`, which is what calls were before 2023, is one.

use std::hash::{BuildHasher as _, RandomState};

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::lenient::Halves;
use super::numbers::whole;
use crate::engine::call_kind;

/// Most calls of one answer.
const MAX_CALLS: usize = 1024;

/// The calls of one answer so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Calls {
    calls: Vec<Call>,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    index: Option<u64>,
    /// As on the wire, without the text of [`Call::text`].
    fields: Map<String, Value>,
    name: String,
    /// `arguments` of a function, `input` of a custom tool.
    text: String,
    halves: Halves,
}

impl Call {
    fn id(&self) -> &str {
        self.fields.get("id").and_then(Value::as_str).unwrap_or_default()
    }
}

impl Calls {
    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Whether the arguments of every one are JSON, as they are once nothing of them is missing.
    pub(super) fn are_whole(&self) -> bool {
        self.calls.iter().all(|call| serde_json::from_str::<IgnoredAny>(&call.text).is_ok())
    }

    /// Takes in the calls of a chunk's `delta`, or of a whole message. `mended`: see [`super::lenient`]. `false`: there are more
    /// than [`MAX_CALLS`], or more than `most` bytes.
    pub(super) fn take_in(&mut self, message: &Value, mended: bool, most: usize) -> bool {
        let pieces = match message.get("tool_calls") {
            Some(Value::Array(pieces)) => &pieces[..],
            Some(piece @ Value::Object(_)) => std::slice::from_ref(piece),
            _ => &[],
        };
        if !pieces.iter().filter_map(Value::as_object).all(|piece| self.piece(piece, mended, most)) {
            return false;
        }
        let Some(function) = message.get("function_call").filter(|function| function.is_object()) else {
            return true;
        };
        let piece =
            Map::from_iter([("index".to_owned(), 0.into()), ("function".to_owned(), function.clone())]);
        self.piece(&piece, mended, most)
    }

    fn piece(&mut self, piece: &Map<String, Value>, mended: bool, most: usize) -> bool {
        let text_of = |value: Option<&Value>| match value {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            // Some servers give the arguments as the object that they are.
            Some(other) => other.to_string(),
        };
        let (kind, key) = call_kind(piece);
        let inner = piece.get(kind).and_then(Value::as_object);
        let name = text_of(inner.and_then(|inner| inner.get("name")));
        let text = text_of(inner.and_then(|inner| inner.get(key)));
        let id = piece.get("id").and_then(Value::as_str).unwrap_or_default();
        let index = piece.get("index").and_then(whole);
        self.bytes = self.bytes.saturating_add(text.len() + name.len() + id.len());
        let at = match self.find(index, id, &name) {
            Some(at) => at,
            // Nothing to begin a call with.
            None if id.is_empty() && name.is_empty() && text.is_empty() => return true,
            None => {
                let mut fields = piece.clone();
                fields.remove("index");
                self.bytes = self.bytes.saturating_add(Value::Object(fields.clone()).to_string().len());
                self.calls.push(Call {
                    index,
                    fields,
                    name: String::new(),
                    text: String::new(),
                    halves: Halves::default(),
                });
                self.calls.len() - 1
            }
        };
        if self.bytes > most || self.calls.len() > MAX_CALLS {
            return false;
        }
        let call = &mut self.calls[at];
        if call.name.is_empty() {
            call.name = name;
        }
        call.text.push_str(&call.halves.join(&text, mended));
        if call.id().is_empty() && !id.is_empty() {
            call.fields.insert("id".to_owned(), id.into());
        }
        if let Some(extra) = piece.get("extra_content").filter(|extra| !extra.is_null()) {
            call.fields.insert("extra_content".to_owned(), extra.clone());
        }
        true
    }

    /// The call that a piece goes on with.
    fn find(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let last = self.calls.iter().rposition(|call| index.is_none() || call.index == index)?;
        let call = &self.calls[last];
        let is_other_id = !id.is_empty() && !call.id().is_empty() && call.id() != id;
        // Without ids a second name begins a second call.
        let is_other_name = index.is_none() && id.is_empty() && !name.is_empty() && !call.name.is_empty();
        (!is_other_id && !is_other_name).then_some(last)
    }

    /// The calls as a message carries them.
    pub(super) fn finish(self) -> Vec<Value> {
        let salt = RandomState::new();
        self.calls
            .into_iter()
            .enumerate()
            .map(|(at, call)| {
                let Call { mut fields, name, mut text, mut halves, .. } = call;
                text.push_str(halves.rest());
                let (kind, key) = call_kind(&fields);
                let mut inner = Map::new();
                inner.insert("name".to_owned(), name.into());
                inner.insert(key.to_owned(), text.into());
                if fields.get("id").and_then(Value::as_str).is_none_or(str::is_empty) {
                    // Randomly keyed: no other call of the conversation has it.
                    fields.insert("id".to_owned(), format!("call_{:016x}", salt.hash_one(at)).into());
                }
                let mut wire = Map::new();
                wire.insert("id".to_owned(), fields.remove("id").unwrap_or_default());
                wire.insert("type".to_owned(), kind.into());
                wire.insert(kind.to_owned(), Value::Object(inner));
                fields.retain(|key, value| {
                    !matches!(key.as_str(), "type" | "function" | "custom") && !value.is_null()
                });
                wire.extend(fields);
                Value::Object(wire)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn joined(deltas: &[Value]) -> Vec<Value> {
        let mut calls = Calls::default();
        for delta in deltas {
            assert!(calls.take_in(&json!({"tool_calls": delta}), true, 1 << 20));
        }
        calls.finish()
    }

    fn call(id: &str, name: &str, arguments: &str) -> Value {
        json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
    }

    /// Wires 7: pieces by index, as OpenAI sends them; several calls may be interleaved.
    #[test]
    fn pieces_of_an_index_are_one_call() {
        let got = joined(&[
            json!([{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]),
            json!([{"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{"}}]),
            json!([{"index": 0, "function": {"arguments": "{\"x\":"}}, {"index": 1, "id": null, "function": {"arguments": "}"}}]),
            json!([{"index": 0, "id": "a", "function": {"name": "f", "arguments": "1}"}}]),
            json!(null),
        ]);
        assert_eq!(got, [call("a", "f", "{\"x\":1}"), call("b", "g", "{}")]);
    }

    /// Wires 7: servers without indexes, without ids, with arguments as an object, with fields of their own.
    #[test]
    fn other_spellings_are_understood() {
        let whole = json!([
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
            {"id": "b", "function": {"name": "g"}, "extra_content": {"google": {"thought_signature": "s"}}},
        ]);
        let got = joined(&[whole]);
        assert_eq!(got[0], call("a", "f", "{\"x\":1}"));
        let mut second = call("b", "g", "");
        second["extra_content"] = json!({"google": {"thought_signature": "s"}});
        assert_eq!(got[1], second);

        // Index 0 for all of them, told apart by their ids.
        let same = |id: &str| json!([{"index": 0, "id": id, "function": {"name": "f", "arguments": "{}"}}]);
        assert_eq!(joined(&[same("a"), same("b")]), [call("a", "f", "{}"), call("b", "f", "{}")]);

        let nameless = joined(&[
            json!([{"function": {"name": "f", "arguments": "{"}}]),
            json!([{"function": {"arguments": "}"}}]),
            json!([{"function": {"name": "f", "arguments": "{}"}}]),
        ]);
        assert_eq!(nameless.len(), 2);
        assert!(nameless.iter().all(|c| c["function"]["arguments"] == "{}"));
        let ids: Vec<&str> = nameless.iter().filter_map(|c| c["id"].as_str()).collect();
        assert!(ids[0].starts_with("call_") && ids[0] != ids[1], "{ids:?}");

        let custom = joined(&[
            json!([{"index": 0, "id": "c", "type": "custom", "custom": {"name": "p", "input": "a"}}]),
            json!([{"index": 0, "custom": {"input": "b"}}]),
        ]);
        assert_eq!(custom, [json!({"id": "c", "type": "custom", "custom": {"name": "p", "input": "ab"}})]);
        assert!(joined(&[json!([{"index": 7}]), json!([7, "x"])]).is_empty());
    }

    /// Wires 1: indexes that are no integers, an emoji split between two pieces, and what calls were before 2023.
    #[test]
    fn w1_calls_of_every_kind_are_put_together() {
        let split = [
            json!([{"index": 0, "id": "a", "function": {"name": "f", "arguments": "[\"\u{10f83e}"}}]),
            json!([{"index": 0.0, "id": null, "function": {"name": null, "arguments": "\u{10fd80}\"]"}}]),
            json!({"index": "1", "id": "b", "function": {"name": "g", "arguments": "\u{10f83e}"}}),
        ];
        assert_eq!(joined(&split), [call("a", "f", "[\"🦀\"]"), call("b", "g", "\u{fffd}")]);
        let mut old = Calls::default();
        for piece in [json!({"name": "f", "arguments": "{"}), json!({"arguments": "}"})] {
            assert!(old.take_in(&json!({ "function_call": piece }), false, 1 << 20));
        }
        assert_eq!(old.finish()[0]["function"], json!({"name": "f", "arguments": "{}"}));
    }

    #[test]
    fn calls_are_bounded() {
        let mut calls = Calls::default();
        let long = json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "x".repeat(60)}}]});
        assert!(!calls.take_in(&long, false, 100));
        let mut calls = Calls::default();
        let many: Vec<Value> = (0..=MAX_CALLS).map(|n| json!({"index": n, "id": n.to_string()})).collect();
        assert!(!calls.take_in(&json!({ "tool_calls": many }), false, 1 << 20));
    }
}
