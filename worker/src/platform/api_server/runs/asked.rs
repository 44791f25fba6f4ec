//! The body of `POST /v1/runs`, understood: every field is honoured, handed to the model, or refused by its name.
//!
//! `input` is a text, or a list of texts and messages as the Responses API has them. `session_id` names a session, whose stored
//! conversation goes on; `conversation_history` takes its place. Without either a list is the conversation, and its last message what is new.

use http::HeaderMap;
use serde_json::{Value, json};

use super::super::content::{self, Conversation};
use super::super::error::ApiError;
use super::super::params;
use super::super::request::{BROKEN_RUN, Named, fingerprint, history, model, object, placed, run_id, text};
use super::super::responses::{self, Previous};
use super::super::{ApiServer, NAME, session};
use crate::engine::Role;
use crate::inbound::Source;
use crate::platform::wire::hex;
use crate::turn::{Asked, Request};

/// Longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;
/// Fields of chat completions that a run cannot have: nobody reads it while it is written, and nobody else runs tools for it.
const NOT_HERE: [(&str, &str); 7] = [
    ("messages", "use `input`, and `conversation_history` for what came before"),
    ("stream", "GET /v1/runs/{run_id}/events has the answer as it is written"),
    ("stream_options", "GET /v1/runs/{run_id}/events has the answer as it is written"),
    ("tools", "the agent of this profile calls its own tools in a run"),
    ("tool_choice", "the agent of this profile calls its own tools in a run"),
    ("parallel_tool_calls", "the agent of this profile calls its own tools in a run"),
    ("prediction", "a run has no answer that is known before"),
];

/// A request, understood.
pub(super) struct Understood {
    pub(super) asked: Asked,
    /// Headers that are said again.
    pub(super) echo: HeaderMap,
}

pub(super) async fn parse(api: &ApiServer, headers: &HeaderMap, body: &[u8]) -> Result<Understood, ApiError> {
    let named = session::session_id(headers)?;
    let session_key = session::session_key(headers)?;
    let mut fields = object(body, BROKEN_RUN)?;
    let known_by = |model: &str| hex(&fingerprint(&fields, model, named.as_deref(), session_key.as_deref()));
    let key = idempotency_key(headers)?.map(|key| (key, known_by("")));
    let Named { said: model, route, choice } = model(api, fields.remove("model"), &fields).await?;
    let session_id = match text(&mut fields, "session_id")? {
        Some(id) => {
            let id = session::checked_id(&id).map_err(|error| error.param("session_id"))?;
            if named.as_ref().is_some_and(|named| *named != id) {
                let message = "'session_id' and X-Hermes-Session-Id name different sessions";
                return Err(ApiError::invalid(message).param("session_id").code("invalid_value"));
            }
            Some(id)
        }
        None => named,
    };
    let previous = match text(&mut fields, "previous_response_id")? {
        Some(id) => Some(responses::before_run(api, &id).await?),
        None => None,
    };
    let instructions = text(&mut fields, "instructions")?;
    let history = history(fields.remove("conversation_history"))?;
    let (instructions, session_id, history) = match previous {
        None => (instructions, session_id, history),
        Some(Previous { messages, session_id: before, instructions: inherited }) => {
            (instructions.or(inherited), session_id.or(before), history.or(Some(messages)))
        }
    };
    let is_fresh = history.is_some();
    let before = history.unwrap_or_default();
    let conversation = conversation(before, fields.remove("input"), session_id.is_some() && !is_fresh)?;
    let user = text(&mut fields, "user")?;
    params::refuse(&mut fields, &NOT_HERE)?;
    let options = params::parse(&fields, api.0.turns.takes_options())?.options;
    let Conversation { system, history, input } = conversation;
    let system = match (instructions, system) {
        (Some(instructions), Some(system)) => Some(format!("{instructions}\n{system}")),
        (instructions, system) => instructions.or(system),
    };
    let id = run_id();
    let request = Request {
        is_fresh: is_fresh || (session_id.is_none() && !history.is_empty()),
        session_id: session_id.unwrap_or_else(|| id.clone()),
        system,
        history,
        input,
        options,
        route,
        choice,
    };
    let source = Source { platform: NAME.to_owned(), user_id: user, ..Source::default() };
    let echo = session::echoed(session_key.as_deref());
    Ok(Understood { asked: Asked { id, source, request, model, key }, echo })
}

/// The conversation with what is new at its end.
fn conversation(mut before: Vec<Value>, input: Option<Value>, named: bool) -> Result<Conversation, ApiError> {
    let invalid = |message: &str| ApiError::invalid(message).param("input");
    let brought = before.len();
    let as_message = |text: String| json!({"role": "user", "content": text});
    match input {
        None | Some(Value::Null) => return Err(invalid("Missing 'input' field")),
        Some(Value::String(text)) => before.push(as_message(text)),
        Some(Value::Array(items)) => {
            let read = |item| match item {
                Value::String(text) => as_message(text),
                other => other,
            };
            before.extend(items.into_iter().map(read));
        }
        Some(_) => return Err(invalid("'input' must be a string or array")),
    }
    if before.len() == brought {
        return Err(invalid("No user message found in input"));
    }
    let conversation =
        content::parse(Some(Value::Array(before)), named).map_err(|error| placed(error, brought))?;
    if conversation.input.iter().any(|message| message.role != Role::User) {
        return Err(invalid("The last message of 'input' must be the user's"));
    }
    Ok(conversation)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let is_visible = value.as_bytes().iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(key) if is_visible && !key.is_empty() && key.len() <= MAX_KEY => Ok(Some(key.to_owned())),
        _ => Err(ApiError::invalid("Idempotency-Key must be 1 to 255 visible ASCII characters")
            .code("invalid_idempotency_key")),
    }
}
