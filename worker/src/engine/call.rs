//! Calls of tools on the chat-completions wire: what kinds there are.

use serde_json::{Map, Value};

/// The kind of a call, and the key of what it carries.
pub(crate) fn call_kind(call: &Map<String, Value>) -> (&'static str, &'static str) {
    if call.contains_key("custom") { ("custom", "input") } else { ("function", "arguments") }
}
