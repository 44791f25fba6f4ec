//! Which of the three wires a request is written for, and what comes back on the other two told as the chat-completions wire tells it.
//!
//! A conversation is kept in the words of chat completions; `messages` and `responses` translate it on the way out, and event by
//! event on the way in, so that everything behind them (limits, retries, repairs, the judgement of an end) is written once. What a client
//! asks for and a wire cannot carry is refused by name.

use std::borrow::Cow;

use hermes_wire::providers::Wire;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::shape::Shape;
use super::{chat, messages, responses};
use crate::engine::steps::Ask;
use crate::engine::{EngineError, Options};
use crate::provider::Endpoint;

/// The version of the Messages API that is spoken.
const VERSION: &str = "2023-06-01";
/// What a key of a subscription has to be announced with.
const OAUTH_BETA: &str = "oauth-2025-04-20";
/// How such a key begins.
const OAUTH_KEY: &str = "sk-ant-oat";

/// The endpoint of a request: what only chat completions can carry goes that way where there is one.
pub(super) fn for_turn<'a>(endpoint: &'a Endpoint, options: &Options) -> Cow<'a, Endpoint> {
    let chat = endpoint.wire == Wire::Responses && endpoint.also_serves_chat();
    if chat && options.keys().any(|field| !responses::carries(field)) {
        Cow::Owned(Endpoint { wire: Wire::Chat, ..endpoint.clone() })
    } else {
        Cow::Borrowed(endpoint)
    }
}

/// The body of a request.
pub(super) fn body(endpoint: &Endpoint, ask: &Ask<'_>, shape: &Shape) -> Result<Value, EngineError> {
    match endpoint.wire {
        Wire::Messages => messages::body(endpoint, ask, shape),
        Wire::Responses => responses::body(endpoint, ask, shape),
        Wire::Chat | Wire::Other(_) => Ok(chat::body(endpoint, ask, shape)),
    }
}

/// The headers of a request.
pub(super) fn headers(endpoint: &Endpoint) -> Result<HeaderMap, EngineError> {
    let unusable = |what: &str| {
        EngineError::Config(format!(
            "{what} for provider '{}' holds characters that no header may have",
            endpoint.provider
        ))
    };
    let value = |text: &str, what: &str| {
        let mut value = HeaderValue::from_str(text).map_err(|_| unusable(what))?;
        value.set_sensitive(true);
        Ok::<_, EngineError>(value)
    };
    let mut headers = HeaderMap::new();
    // Where none is asked for, any would do.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    let key = endpoint.key.expose().trim();
    let mut bearer = true;
    if endpoint.wire == Wire::Messages {
        headers.insert("anthropic-version", HeaderValue::from_static(VERSION));
        if key.starts_with(OAUTH_KEY) {
            headers.insert("anthropic-beta", HeaderValue::from_static(OAUTH_BETA));
        } else {
            headers.insert("x-api-key", value(key, "the key")?);
            // Others that speak this wire look for either.
            bearer = !endpoint.is_anthropic();
        }
    }
    if bearer {
        headers.insert(AUTHORIZATION, value(&format!("Bearer {key}"), "the key")?);
    }
    for (name, text) in &endpoint.extra_headers {
        let what = format!("the extra header `{name}`");
        let name = HeaderName::try_from(name.as_str()).map_err(|_| unusable(&what))?;
        headers.insert(name, value(text.expose(), &what)?);
    }
    Ok(headers)
}
