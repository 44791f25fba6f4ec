//! What requests have in common: what their path names, their body, the model they name, what came before them, and what makes two of them the
//! same.

use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use hermes_config::platform::ModelRoute;
use hermes_host::{blocking, clock};
use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::error::ApiError;
use super::replay::{Answer, Begin, Fingerprint};
use super::{ApiServer, params};
use crate::engine::Choice;
use crate::platform::wire::{self, BodyError, first_chars, random64, read_body};
use crate::{json, provider};

/// Largest request body.
pub(super) const MAX_BODY: u64 = 10_000_000;
/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 256;
/// Longest model name that is echoed, in characters.
const MAX_MODEL: usize = 256;

/// What is said of a body that is no JSON; of runs, as 0.19.0 has it, [less](BROKEN_RUN).
pub(super) const BROKEN: &str = "Invalid JSON in request body";
/// The same of a run's.
pub(super) const BROKEN_RUN: &str = "Invalid JSON";

/// The id in a path.
pub(super) type Id = Result<Path<String>, PathRejection>;

/// An answer, or what is wrong.
pub(super) fn respond(result: Result<Response, ApiError>) -> Response {
    result.unwrap_or_else(ApiError::into_response)
}

/// The same of an answer that is nothing but its body.
pub(super) fn tell(result: Result<Value, ApiError>) -> Response {
    respond(result.map(|value| wire::json(StatusCode::OK, &value)))
}

/// The body of a request.
pub(super) async fn body(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    read_body(headers, body, MAX_BODY).await.map_err(|error| match error {
        BodyError::TooLarge => ApiError::too_large(MAX_BODY),
        BodyError::Broken => ApiError::invalid("Request body ended early"),
        BodyError::Coding => ApiError::unknown_coding(),
        BodyError::Undecodable => ApiError::invalid("Request body is not what its Content-Encoding says"),
    })
}

/// The fields of a body. `broken` is said of one that is no JSON.
pub(super) fn object(body: &[u8], broken: &'static str) -> Result<Map<String, Value>, ApiError> {
    match json::parse(body) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(ApiError::invalid("Request body must be a JSON object")),
        Err(_) => Err(ApiError::invalid(broken)),
    }
}

/// The model that a client names.
pub(super) struct Named {
    /// As it is said again.
    pub(super) said: String,
    /// The alias of `model_routes` that it is, if it is one.
    pub(super) route: Option<String>,
    /// A model that is neither that nor the profile's own.
    pub(super) choice: Option<Choice>,
}

/// The model that a client names: this agent, which is what any name is unless it is an alias, `direct_model_requests` is on, or a `provider`
/// stands beside it, which `fields` has still. One that the profile cannot ask is refused.
pub(super) async fn model(
    api: &ApiServer,
    named: Option<Value>,
    fields: &Map<String, Value>,
) -> Result<Named, ApiError> {
    let config = &api.0.config;
    let said = match named {
        None | Some(Value::Null) => config.model_name.clone(),
        Some(Value::String(model)) if model.chars().count() <= MAX_MODEL => model,
        Some(_) => return Err(ApiError::invalid("'model' must be a string").param("model")),
    };
    let is_own = said == config.model_name;
    let route = config.model_routes.iter().find(|route| route.alias == said).map(|route| route.alias.clone());
    // Without a model to choose a provider is refused with the other fields.
    let provider =
        fields.get("provider").filter(|value| !params::is_empty(value) && api.0.turns.takes_options());
    let choice = match provider {
        Some(Value::String(name)) if is_own => {
            if !name.trim().eq_ignore_ascii_case(&api.0.turns.model().provider) {
                let message = format!("'provider' needs a 'model' of its own: '{said}' is this agent");
                return Err(ApiError::invalid(message).param("provider").code("invalid_value"));
            }
            None
        }
        Some(Value::String(name)) => {
            let choice = Choice { model: said.clone(), provider: Some(name.trim().to_owned()) };
            return Ok(Named { said, route: None, choice: Some(reached(api, choice).await?) });
        }
        Some(_) => {
            return Err(ApiError::invalid("'provider' must be a string")
                .param("provider")
                .code("invalid_value"));
        }
        None if is_own
            || route.is_some()
            || !config.direct_model_requests
            || !api.0.turns.takes_options() =>
        {
            None
        }
        None => Some(reached(api, Choice { model: said.clone(), provider: None }).await?),
    };
    Ok(Named { said, route, choice })
}

/// A model that the profile can ask, by its own files.
async fn reached(api: &ApiServer, choice: Choice) -> Result<Choice, ApiError> {
    let (profile, home) = (Arc::clone(&api.0.profile), api.0.home.clone());
    let route = ModelRoute {
        model: choice.model.clone(),
        provider: choice.provider.clone(),
        ..ModelRoute::default()
    };
    let found = blocking::run(move || provider::routed(&profile, &route, &home).map(drop)).await;
    match found.map_err(|error| lost(&error))? {
        Ok(()) => Ok(choice),
        Err(error) => {
            let field = if choice.provider.is_some() { "provider" } else { "model" };
            let message = format!("'{}' cannot be asked: {}", first_chars(&choice.model, 64), error.what());
            Err(ApiError::invalid(message).param(field).code("model_unavailable"))
        }
    }
}

/// The profile's files were not read.
pub(super) fn lost(lost: &blocking::Lost) -> ApiError {
    ApiError::store_away(&format!("The profile's files cannot be read now: {lost}."))
}

/// Everything that makes two requests the same: the whole body, and the session headers.
pub(super) fn fingerprint(
    fields: &Map<String, Value>,
    model: &str,
    id: Option<&str>,
    key: Option<&str>,
) -> Fingerprint {
    let mut hash = Sha256::new();
    // Compact JSON of the body as sent, so two spellings of one request are equal but for the order of keys.
    let body = serde_json::to_vec(fields).unwrap_or_default();
    for part in
        [&body[..], model.as_bytes(), id.unwrap_or_default().as_bytes(), key.unwrap_or_default().as_bytes()]
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// An id of a run.
pub(super) fn run_id() -> String {
    format!("run_{:016x}{:016x}", random64(), random64())
}

/// The id by which a client that reads along answers what its turn asks. Whoever waits for the whole answer hears no question.
pub(super) fn attended(api: &ApiServer, stream: bool) -> Option<String> {
    let run = stream.then(run_id);
    if let Some(run) = &run {
        api.0.streams.note(run);
    }
    run
}

/// Answers a request, where it has a key once: the same one again gets the same bytes, and one that comes meanwhile waits for them.
pub(super) async fn once(
    api: &ApiServer,
    idempotency: Option<(String, Fingerprint)>,
    run: impl Future<Output = Result<Answer, ApiError>>,
) -> Result<Response, ApiError> {
    let Some((key, fingerprint)) = idempotency else { return Ok(run.await?.respond()) };
    loop {
        match api.0.replay.begin(&key, fingerprint, clock::now()) {
            Begin::Lead(lead) => {
                let answer = match run.await {
                    Ok(answer) => answer,
                    Err(error) => to_answer(error.into_response()).await,
                };
                lead.finish(&answer, clock::now());
                return Ok(answer.respond());
            }
            Begin::Follow(mut leader) => {
                if let Ok(answer) = leader.wait_for(Option::is_some).await
                    && let Some(answer) = answer.clone()
                {
                    return Ok(answer.respond());
                }
            }
            Begin::Replay(answer) => return Ok(answer.respond()),
            Begin::Mismatch => {
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "invalid_request_error",
                    "Idempotency-Key was used with another request",
                )
                .code("idempotency_mismatch"));
            }
        }
    }
}

/// A response whose body is in memory already.
pub(super) async fn to_answer(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let body = read_body(&HeaderMap::new(), body, MAX_BODY).await.unwrap_or_default();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// The key under which an equal request gets the same answer.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str().map(str::trim) {
        Ok("") => Ok(None),
        Ok(key) if key.len() <= MAX_KEY => Ok(Some(key.to_owned())),
        _ => Err(ApiError::invalid("Invalid Idempotency-Key").code("invalid_idempotency_key")),
    }
}

/// `true`, or one of the texts that mean it.
pub(super) fn is_on(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(on)) => *on,
        Some(Value::String(text)) => {
            ["1", "true", "yes", "on"].iter().any(|on| text.trim().eq_ignore_ascii_case(on))
        }
        Some(Value::Number(number)) => number.as_i64() == Some(1),
        _ => false,
    }
}

/// A field that is a text where it is there at all.
pub(super) fn text(fields: &mut Map<String, Value>, name: &'static str) -> Result<Option<String>, ApiError> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text).filter(|text| !text.trim().is_empty())),
        Some(_) => {
            Err(ApiError::invalid(format!("'{name}' must be a string")).param(name).code("invalid_value"))
        }
    }
}

/// Earlier messages that the client brings; `None` where there are none.
pub(super) fn history(value: Option<Value>) -> Result<Option<Vec<Value>>, ApiError> {
    let messages = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Array(messages)) => messages,
        Some(_) => {
            return Err(ApiError::invalid("'conversation_history' must be an array of message objects")
                .param("conversation_history"));
        }
    };
    let lacks = |message: &Value| message.get("role").is_none() || message.get("content").is_none();
    if let Some(at) = messages.iter().position(lacks) {
        let at = format!("conversation_history[{at}]");
        return Err(ApiError::invalid(format!("{at} must have 'role' and 'content' fields")).param(at));
    }
    Ok(Some(messages).filter(|messages| !messages.is_empty()))
}

/// An error about one of `messages`, as one about where that came from.
pub(super) fn placed(mut error: ApiError, brought: usize) -> ApiError {
    error.message = error.message.replace("messages", "input");
    let param = error.param.take().unwrap_or_default();
    let rest = param.strip_prefix("messages[").and_then(|rest| rest.split_once(']'));
    let at = rest.and_then(|(index, rest)| Some((index.parse::<usize>().ok()?, rest)));
    error.param(match at {
        Some((index, rest)) if index < brought => format!("conversation_history[{index}]{rest}"),
        Some((index, rest)) => format!("input[{}]{rest}", index - brought),
        None => "input".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn stream_is_read_as_clients_spell_it() {
        for on in [json!(true), json!("true"), json!("ON"), json!("1"), json!(" yes "), json!(1)] {
            assert!(is_on(Some(&on)), "{on}");
        }
        for off in [json!(false), json!("false"), json!(""), json!(null), json!(0), json!({})] {
            assert!(!is_on(Some(&off)), "{off}");
        }
        assert!(!is_on(None));
    }

    #[test]
    fn fingerprints_cover_body_model_and_session_headers() {
        let fields = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let base = fingerprint(&fields(r#"{"messages": [1]}"#), "m", None, None);
        assert_eq!(base, fingerprint(&fields(r#"{ "messages":[1] }"#), "m", None, None));
        for other in [
            fingerprint(&fields(r#"{"messages": [2]}"#), "m", None, None),
            fingerprint(&fields(r#"{"messages": [1]}"#), "n", None, None),
            fingerprint(&fields(r#"{"messages": [1]}"#), "m", Some("s"), None),
            fingerprint(&fields(r#"{"messages": [1]}"#), "m", None, Some("s")),
        ] {
            assert_ne!(base, other);
        }
    }
}
