//! The answer of the Responses wire, told as chunks of chat completions.

use std::collections::BTreeSet;

use serde_json::{Value, json};

/// Most of what is thought that is kept to be given back, in bytes.
const MAX_KEPT: usize = 4 * 1024 * 1024;

/// So far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reader {
    /// Items, by their index, of which something was told piece by piece.
    told: BTreeSet<u64>,
    /// Bytes of thoughts so far.
    kept: usize,
    /// Reasoning items that can be given back.
    pub(crate) thoughts: Vec<Value>,
    pub(crate) over: bool,
}

impl Reader {
    /// An event, or a whole response; `None`: it is neither.
    pub(crate) fn chunk(&mut self, event: &Value) -> Option<Value> {
        if event.get("object").and_then(Value::as_str) == Some("response") {
            return Some(self.end(event));
        }
        let index = event.get("output_index").and_then(Value::as_u64).unwrap_or(0);
        let kind = event.get("type")?.as_str()?;
        let mut piece = |delta: Value| {
            self.told.insert(index);
            Some(chunk(&delta))
        };
        match kind {
            "response.output_text.delta" | "response.refusal.delta" => {
                piece(json!({"content": event.get("delta")}))
            }
            "response.reasoning_summary_text.delta" | "response.reasoning_text.delta" => {
                piece(json!({"reasoning": event.get("delta")}))
            }
            "response.function_call_arguments.delta" => piece(
                json!({"tool_calls": [{"index": index, "function": {"arguments": event.get("delta")}}]}),
            ),
            "response.custom_tool_call_input.delta" => {
                piece(json!({"tool_calls": [{"index": index, "custom": {"input": event.get("delta")}}]}))
            }
            "response.output_item.added" => Some(chunk(&begun(index, event.get("item")?))),
            "response.output_item.done" => Some(chunk(&self.item(index, event.get("item")?))),
            "response.completed" | "response.incomplete" | "response.done" => {
                Some(self.end(event.get("response")?))
            }
            "response.failed" => Some(failed(event.get("response")?)),
            // It says what every error says.
            "error" => None,
            kind if kind.starts_with("response.") => {
                Some(json!({"model": event.pointer("/response/model"), "choices": []}))
            }
            _ => None,
        }
    }

    /// What was not told of an item that is complete.
    fn item(&mut self, index: u64, item: &Value) -> Value {
        let is_new = self.told.insert(index);
        match item.get("type").and_then(Value::as_str) {
            Some("reasoning") => {
                // Without its encrypted content only the provider's store knows it.
                if let Some(content) = item.get("encrypted_content").and_then(Value::as_str) {
                    self.kept = self.kept.saturating_add(content.len());
                    if self.kept <= MAX_KEPT {
                        self.thoughts.push(sent_back(item));
                    }
                }
                json!({})
            }
            Some("message") if is_new => {
                let parts = item.get("content").and_then(Value::as_array).into_iter().flatten();
                let text =
                    parts.filter_map(|part| part.get("text").or_else(|| part.get("refusal"))?.as_str());
                json!({"content": text.collect::<String>()})
            }
            Some("function_call") if is_new => {
                let function = json!({"name": item.get("name"), "arguments": item.get("arguments")});
                call(index, item, "function", function)
            }
            Some("custom_tool_call") if is_new => {
                let custom = json!({"name": item.get("name"), "input": item.get("input")});
                call(index, item, "custom", custom)
            }
            _ => json!({}),
        }
    }

    fn end(&mut self, response: &Value) -> Value {
        let status = response.get("status").and_then(Value::as_str);
        if status == Some("failed") {
            return failed(response);
        }
        // Of a server that tells nothing before.
        let (mut said, mut calls) = (String::new(), Vec::new());
        let items = response.get("output").and_then(Value::as_array).into_iter().flatten();
        for (index, item) in
            (0_u64..).zip(items).filter(|(index, _)| !self.told.contains(index)).collect::<Vec<_>>()
        {
            let delta = self.item(index, item);
            let text = delta.get("content").and_then(Value::as_str).unwrap_or_default();
            said.push_str(text);
            calls.extend(delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten().cloned());
        }
        let reason = response.pointer("/incomplete_details/reason").and_then(Value::as_str);
        let reason = reason.or((status == Some("incomplete")).then_some("length")).unwrap_or("stop");
        self.over = true;
        json!({
            "model": response.get("model"),
            "usage": response.get("usage"),
            "choices": [{"index": 0, "delta": {"content": said, "tool_calls": calls}, "finish_reason": reason}],
        })
    }
}

/// A response that is none.
fn failed(response: &Value) -> Value {
    let error = response.get("error").filter(|error| !error.is_null()).cloned();
    json!({"error": error.unwrap_or_else(|| json!({"message": "the response failed"}))})
}

/// The start of an item: of a call its name.
fn begun(index: u64, item: &Value) -> Value {
    match item.get("type").and_then(Value::as_str) {
        Some("function_call") => {
            call(index, item, "function", json!({"name": item.get("name"), "arguments": ""}))
        }
        Some("custom_tool_call") => {
            call(index, item, "custom", json!({"name": item.get("name"), "input": ""}))
        }
        _ => json!({}),
    }
}

fn call(index: u64, item: &Value, kind: &str, inner: Value) -> Value {
    let id = item.get("call_id").or_else(|| item.get("id"));
    let mut call = json!({"index": index, "id": id, "type": kind});
    call[kind] = inner;
    json!({"tool_calls": [call]})
}

/// A reasoning item as a request has it: its id names something that was not stored.
fn sent_back(item: &Value) -> Value {
    json!({
        "type": "reasoning",
        "summary": item.get("summary").cloned().unwrap_or_else(|| json!([])),
        "encrypted_content": item.get("encrypted_content"),
    })
}

fn chunk(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta}]})
}
