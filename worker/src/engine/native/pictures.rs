//! Pictures that came with messages of a chat, shown to a model that can see.
//!
//! Whether one can nobody says beforehand. So it is shown them, and where its provider refuses the request, it is asked again without: it is
//! told where the files are, as every model is. What was learned so holds for as long as this process lives.

use hermes_host::blocking;
use serde_json::{Value, json};

use super::retry::Failure;
use crate::engine::{Message, Prompt, Role};
use crate::media::Pictures;
use crate::provider::Fault;

/// Where no chat is, nobody sends pictures: a line that names one is text that somebody wrote.
pub(super) fn are_shown(prompt: &Prompt) -> bool {
    prompt.source.chat_type != "webhook" && !matches!(prompt.platform.as_str(), "" | "api_server" | "webhook")
}

/// The messages with their pictures; `None`: there are none.
pub(super) async fn shown(pictures: &Pictures, messages: &[Message]) -> Option<Vec<Message>> {
    let of_text = |message: &Message| {
        let text = message.content.as_str().filter(|_| message.role == Role::User)?;
        pictures.is_any(text).then(|| text.to_owned())
    };
    let (at, texts): (Vec<usize>, Vec<String>) =
        messages.iter().enumerate().filter_map(|(at, message)| Some((at, of_text(message)?))).unzip();
    if texts.is_empty() {
        return None;
    }
    let from = pictures.clone();
    let read = move || {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        from.read(&texts)
    };
    let found = blocking::run(read).await.unwrap_or_default();
    if found.is_empty() {
        return None;
    }
    let mut messages = messages.to_vec();
    for picture in found {
        let content = &mut messages[at[picture.text]].content;
        if let Value::String(text) = content {
            *content = json!([{"type": "text", "text": text}]);
        }
        if let Value::Array(parts) = content {
            parts.push(json!({"type": "image_url", "image_url": {"url": picture.url}}));
        }
    }
    Some(messages)
}

/// Whether less of them might have been taken.
pub(super) fn is_too_long(failure: &Failure) -> bool {
    failure.fault == Fault::TooLong || failure.status == Some(413)
}

/// Whether the pictures may be why a request was refused.
pub(super) fn may_be_refused(failure: &Failure) -> bool {
    matches!(failure.fault, Fault::Request | Fault::TooLong)
        || matches!(failure.status, Some(404 | 413 | 415 | 422))
}
