//! 18: the body of a chat request: any JSON gives a conversation or a refusal that says where, within limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The module alone: the rest of its crate takes many minutes to build with the sanitizer.
#[path = "../../../worker/src/platform/api_server/content.rs"]
mod content;

/// What it uses of `api_server/error.rs`.
mod error {
    #[derive(Debug, Clone, PartialEq)]
    pub(super) struct ApiError {
        pub(super) message: String,
        pub(super) param: Option<String>,
        pub(super) code: Option<&'static str>,
    }

    impl ApiError {
        pub(super) fn invalid(message: impl Into<String>) -> Self {
            Self { message: message.into(), param: None, code: None }
        }

        pub(super) fn code(mut self, code: &'static str) -> Self {
            self.code = Some(code);
            self
        }

        pub(super) fn param(mut self, param: impl Into<Box<str>>) -> Self {
            self.param = Some(param.into().into());
            self
        }
    }
}

/// What it uses of `engine.rs`.
mod engine {
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(crate) struct Message {
        pub(crate) role: Role,
        pub(crate) content: serde_json::Value,
        pub(crate) tool_calls: Vec<serde_json::Value>,
        pub(crate) tool_call_id: Option<String>,
        pub(crate) name: Option<String>,
    }

    impl Message {
        pub(crate) fn new(role: Role, content: serde_json::Value) -> Self {
            Self { role, content, tool_calls: Vec::new(), tool_call_id: None, name: None }
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Role {
        User,
        Assistant,
    }
}

/// What it uses of `platform/wire.rs`.
mod platform {
    pub(crate) mod wire {
        pub(crate) fn first_chars(text: &str, limit: usize) -> &str {
            text.char_indices().nth(limit).map_or(text, |(at, _)| &text[..at])
        }
    }
}

const MAX_TEXT: usize = 65_536;

fn is_content(content: &Value) -> bool {
    match content {
        Value::String(text) => text.chars().count() <= MAX_TEXT,
        Value::Array(parts) => parts.len() <= 1000 && parts.iter().all(|part| part["type"].is_string()),
        _ => false,
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(body) = serde_json::from_slice::<Value>(data) else { return };
    let messages = body.get("messages").cloned().or(Some(body));
    match content::parse(messages.clone()) {
        Ok(conversation) => {
            let given = messages.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
            assert!(conversation.history.len() < given);
            assert!(is_content(&conversation.input));
            assert!(conversation.history.iter().all(|message| is_content(&message.content)));
            let _ = conversation.opening();
            // What was understood once is understood the same way again.
            let again =
                content::parse(Some(serde_json::json!([{"role": "user", "content": conversation.input}])));
            assert_eq!(again.map(|again| again.input), Ok(conversation.input));
        }
        Err(error) => assert!(!error.message.is_empty() && error.param.is_some()),
    }
});
