//! 18: the body of a chat request: any JSON gives a conversation or a refusal that says where, within limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;

/// The module alone: the rest of its crate takes many minutes to build with the sanitizer.
#[path = "../../../worker/src/engine/call.rs"]
mod call;
#[path = "../../../worker/src/platform/api_server/content.rs"]
mod content;
#[path = "../../../worker/src/json.rs"]
mod json;

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
    pub(crate) use crate::call::call_kind;

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

        pub(crate) fn call_ids(&self) -> impl Iterator<Item = &str> {
            self.tool_calls.iter().filter_map(|call| call.get("id")?.as_str())
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Role {
        User,
        Assistant,
        Tool,
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

fn is_content(message: &engine::Message) -> bool {
    match &message.content {
        Value::String(_) => true,
        Value::Array(parts) => parts.iter().all(|part| part["type"].is_string()),
        Value::Null => !message.tool_calls.is_empty(),
        _ => false,
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(body) = json::parse(data) else { return };
    let messages = body.get("messages").cloned().or(Some(body));
    for named in [false, true] {
        match content::parse(messages.clone(), named) {
            Ok(conversation) => {
                let given = messages.as_ref().and_then(Value::as_array).map_or(0, Vec::len);
                assert!(conversation.history.len() + conversation.input.len() <= given);
                assert!(conversation.history.iter().chain(&conversation.input).all(is_content));
                let _ = conversation.opening();
                let Some(last) = conversation.input.last() else { panic!("nothing is new") };
                assert!(last.role != engine::Role::Assistant);
                if last.role == engine::Role::User {
                    // What was understood once is understood the same way again.
                    let again =
                        serde_json::json!([{"role": "user", "content": last.content, "name": last.name}]);
                    let again = content::parse(Some(again), named).map(|again| again.input);
                    assert_eq!(again, Ok(vec![last.clone()]));
                }
            }
            Err(error) => assert!(!error.message.is_empty() && error.param.is_some()),
        }
    }
});
