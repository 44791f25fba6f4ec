//! The answer of the Messages wire, told as chunks of chat completions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Most of what is thought that is kept to be given back, in bytes.
const MAX_KEPT: usize = 4 * 1024 * 1024;

/// So far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Reader {
    /// The blocks that are being said.
    blocks: BTreeMap<u64, Block>,
    /// The latest counters, each as it was last told.
    usage: Map<String, Value>,
    /// Bytes of blocks so far.
    kept: usize,
    /// Thinking, with its signatures.
    pub(crate) thoughts: Vec<Value>,
    pub(crate) over: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Block {
    /// Arguments that came with its start; of such as come in pieces none.
    Call(Option<Value>),
    Thought(Value),
}

impl Reader {
    /// An event, or a whole message; `None`: it is neither.
    pub(crate) fn chunk(&mut self, event: &Value) -> Option<Value> {
        let index = event.get("index").and_then(Value::as_u64).unwrap_or(0);
        match event.get("type")?.as_str()? {
            "message_start" => Some(self.begin(event.get("message")?)),
            "content_block_start" => Some(chunk(&self.start(index, event.get("content_block")?))),
            "content_block_delta" => Some(chunk(&self.delta(index, event.get("delta")?))),
            "content_block_stop" => Some(chunk(&self.stop(index))),
            "message_delta" => {
                self.count(event.get("usage"));
                let reason = event.pointer("/delta/stop_reason");
                let choice = json!({"index": 0, "delta": {}, "finish_reason": reason});
                Some(json!({"choices": [choice], "usage": self.usage()}))
            }
            "message_stop" => {
                self.over = true;
                Some(chunk(&json!({})))
            }
            "ping" => Some(json!({"choices": []})),
            "message" => Some(self.whole(event)),
            _ => None,
        }
    }

    fn begin(&mut self, message: &Value) -> Value {
        self.count(message.get("usage"));
        json!({"model": message.get("model"), "choices": [], "usage": self.usage()})
    }

    /// What the start of a block says already.
    fn start(&mut self, index: u64, block: &Value) -> Value {
        match block.get("type").and_then(Value::as_str) {
            Some("text") => json!({"content": block.get("text")}),
            Some("thinking" | "redacted_thinking") => {
                self.kept = self.kept.saturating_add(block.to_string().len());
                if self.kept <= MAX_KEPT {
                    self.blocks.insert(index, Block::Thought(block.clone()));
                }
                json!({"reasoning": block.get("thinking")})
            }
            Some("tool_use") => {
                let input = block.get("input").filter(|input| input.is_object());
                self.blocks.insert(index, Block::Call(Some(input.cloned().unwrap_or_else(|| json!({})))));
                let function = json!({"name": block.get("name"), "arguments": ""});
                let call =
                    json!({"index": index, "id": block.get("id"), "type": "function", "function": function});
                json!({"tool_calls": [call]})
            }
            _ => json!({}),
        }
    }

    fn delta(&mut self, index: u64, delta: &Value) -> Value {
        let text = |key: &str| delta.get(key).and_then(Value::as_str).unwrap_or_default();
        match delta.get("type").and_then(Value::as_str) {
            Some("text_delta") => json!({"content": text("text")}),
            Some("thinking_delta") => {
                self.add(index, "thinking", text("thinking"));
                json!({"reasoning": text("thinking")})
            }
            Some("signature_delta") => {
                self.add(index, "signature", text("signature"));
                json!({})
            }
            Some("input_json_delta") => {
                let piece = text("partial_json");
                if !piece.is_empty() {
                    self.blocks.insert(index, Block::Call(None));
                }
                json!({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            }
            _ => json!({}),
        }
    }

    /// Adds to a thought. One that is too long is not given back at all.
    fn add(&mut self, index: u64, key: &str, piece: &str) {
        self.kept = self.kept.saturating_add(piece.len());
        if self.kept > MAX_KEPT {
            self.blocks.remove(&index);
        }
        let Some(Block::Thought(block)) = self.blocks.get_mut(&index) else { return };
        match block.get_mut(key) {
            Some(Value::String(text)) => text.push_str(piece),
            _ => block[key] = json!(piece),
        }
    }

    /// What was missing of a block that is complete.
    fn stop(&mut self, index: u64) -> Value {
        match self.blocks.remove(&index) {
            Some(Block::Thought(block)) => {
                self.thoughts.push(block);
                json!({})
            }
            Some(Block::Call(Some(input))) => {
                json!({"tool_calls": [{"index": index, "function": {"arguments": input.to_string()}}]})
            }
            Some(Block::Call(None)) | None => json!({}),
        }
    }

    /// A message that came in one.
    fn whole(&mut self, message: &Value) -> Value {
        let mut whole = self.begin(message);
        let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
        let blocks = message.get("content").and_then(Value::as_array).into_iter().flatten();
        for (index, block) in (0_u64..).zip(blocks) {
            for delta in [self.start(index, block), self.stop(index)] {
                let said = |key: &str| delta.get(key).and_then(Value::as_str).unwrap_or_default();
                text.push_str(said("content"));
                reasoning.push_str(said("reasoning"));
                calls
                    .extend(delta.get("tool_calls").and_then(Value::as_array).into_iter().flatten().cloned());
            }
        }
        let said = json!({"content": text, "reasoning": reasoning, "tool_calls": calls});
        whole["choices"] =
            json!([{"index": 0, "message": said, "finish_reason": message.get("stop_reason")}]);
        self.over = true;
        whole
    }

    fn count(&mut self, usage: Option<&Value>) {
        let counters = usage.and_then(Value::as_object).into_iter().flatten();
        let numbers = counters.filter(|(_, count)| count.is_number());
        // A handful of names; whoever sends more is not believed.
        self.usage.extend(numbers.take(32).map(|(name, count)| (name.clone(), count.clone())));
    }

    /// The counters; what was read from the cache or written to it is not among `input_tokens` on this wire.
    fn usage(&self) -> Value {
        let count = |name: &str| self.usage.get(name).and_then(super::numbers::whole).unwrap_or(0);
        let (read, written) = (count("cache_read_input_tokens"), count("cache_creation_input_tokens"));
        json!({
            "prompt_tokens": count("input_tokens").saturating_add(read).saturating_add(written),
            "completion_tokens": count("output_tokens"),
            "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written},
        })
    }
}

fn chunk(delta: &Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta}]})
}
