//! Messages of a conversation, with the roles and fields of the chat-completions wire.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One message of the history an engine sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who wrote it.
    pub role: Role,
    /// Text, or parts as the wire has them; null for an assistant that only calls tools.
    pub content: Value,
    /// The assistant's calls of tools, as the chat-completions wire has them (`id`, `type`, `function`).
    pub tool_calls: Vec<Value>,
    /// The call that a result belongs to.
    pub tool_call_id: Option<String>,
    /// The author's name, or the tool's.
    pub name: Option<String>,
    /// What the assistant thought before it called tools, where its provider wants it back (`reasoning_content`).
    pub reasoning: Option<String>,
    /// The same as blocks of the provider's own, signed or encrypted, which it wants back with the results of the calls.
    pub thoughts: Vec<Value>,
}

impl Message {
    /// A message that only says something.
    pub fn new(role: Role, content: Value) -> Self {
        Self {
            role,
            content,
            tool_calls: Vec::new(),
            tool_call_id: None,
            name: None,
            reasoning: None,
            thoughts: Vec::new(),
        }
    }

    /// The result of a call of the tool `name`.
    pub fn result(call: &str, name: &str, content: String) -> Self {
        Self {
            tool_call_id: Some(call.to_owned()),
            name: Some(name.to_owned()),
            ..Self::new(Role::Tool, Value::String(content))
        }
    }

    /// The ids of its calls.
    pub fn call_ids(&self) -> impl Iterator<Item = &str> {
        self.tool_calls.iter().filter_map(|call| call.get("id")?.as_str())
    }
}

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The person, or the system that sent the event.
    User,
    /// The agent.
    Assistant,
    /// A tool, the client's or the worker's: the result of a call.
    Tool,
}
