//! The body of `POST /v1/responses`, understood: what is asked, and the conversation that it goes on from.
//!
//! What came before is, in this order: `conversation_history`, the response before (`previous_response_id`, or the latest of
//! `conversation`), the session that `X-Hermes-Session-Id` names, or what `input` itself begins with. A response before also lends its
//! session and its instructions. Results of calls must belong to the last answer, and to all of its calls.

use std::sync::Arc;

use hermes_host::clock;
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::super::ApiServer;
use super::super::content::{self, Conversation, first_new};
use super::super::error::ApiError;
use super::super::replay::Fingerprint;
use super::super::request::{self, Named, idempotency_key, is_on};
use super::super::session;
use super::items::{self, Messages};
use super::object::Draft;
use super::params::{self, Params};
use super::store::Kept;
use crate::engine::{Message, Role, Wishes, call_kind};
use crate::platform::wire::first_chars;
use crate::session::history::replay;
use crate::turn::{SessionRef, Turn};

/// Items of the history that `truncation: "auto"` keeps.
const TRUNCATED: usize = 100;
/// Longest name of a conversation, and id of a response, in characters.
const MAX_NAME: usize = 256;

/// A request, understood.
pub(super) struct Asked {
    pub(super) stream: bool,
    /// Key and fingerprint; never with `stream`.
    pub(super) idempotency: Option<(String, Fingerprint)>,
    pub(super) turn: Turn,
    pub(super) draft: Draft,
}

/// What came before a request.
#[derive(Default)]
struct Before {
    messages: Vec<Message>,
    /// The session that the turn runs in, where that is decided.
    session: Option<SessionRef>,
    instructions: Option<String>,
    /// The response before.
    previous: Option<String>,
}

pub(super) async fn parse(api: &ApiServer, headers: &HeaderMap, body: &[u8]) -> Result<Asked, ApiError> {
    let named = session::session_id(headers)?;
    let session_key = session::session_key(headers)?;
    let mut fields = request::object(body, request::BROKEN)?;
    let stream = is_on(fields.get("stream"));
    let key = if stream { None } else { idempotency_key(headers)? };
    let Named { said: model, route, choice } = request::model(api, fields.remove("model"), &fields).await?;
    let idempotency =
        key.map(|key| (key, request::fingerprint(&fields, &model, named.as_deref(), session_key.as_deref())));
    let Params { options, thoughts, truncates, said } = params::parse(&fields, api.0.turns.takes_options())?;
    let user = request::text(&mut fields, "user")?;
    let instructions = request::text(&mut fields, "instructions")?;
    let previous = name(&mut fields, "previous_response_id")?;
    if let Some(Value::Object(conversation)) = fields.get_mut("conversation") {
        let id = conversation.remove("id").unwrap_or_else(|| json!({}));
        fields.insert("conversation".to_owned(), id);
    }
    let conversation = name(&mut fields, "conversation")?;
    if conversation.is_some() && previous.is_some() {
        return Err(ApiError::invalid("Cannot use both 'conversation' and 'previous_response_id'")
            .param("previous_response_id"));
    }
    let is_stored = is_stored(&mut fields)?;
    if conversation.is_some() && !is_stored {
        return Err(ApiError::invalid(
            "'conversation' needs 'store': what is not kept cannot be gone on from",
        )
        .param("store")
        .code("invalid_value"));
    }
    let history = request::history(fields.remove("conversation_history"))?;
    let listed = items::listed(fields.remove("input"))?;
    let listed = resolved(api, listed).await?;
    let new = items::to_messages(&listed)?;
    let mut before = before(api, previous, conversation.as_deref(), named).await?;
    if let Some(history) = history {
        before.messages = brought(history)?;
    }
    if truncates {
        let over = before.messages.len().saturating_sub(TRUNCATED);
        before.messages.drain(..over);
    }
    let Conversation { system, history, input } = joined(before.messages, new)?;
    let instructions = instructions.or(before.instructions);
    let told = match (instructions.clone(), system) {
        (Some(instructions), Some(system)) => Some(format!("{instructions}\n{system}")),
        (instructions, system) => instructions.or(system),
    };
    let run = request::attended(api, stream);
    let (kept_before, kept_new) = split(&history, &input);
    let conversation_of = Conversation { system: told, history, input };
    let turn = api.turn(conversation_of, None, user.clone());
    let session = match before.session {
        None => turn.session,
        Some(session) => session,
    };
    let history = match &session {
        SessionRef::Fresh(_) => turn.history,
        _ => Vec::new(),
    };
    let (SessionRef::Fresh(session_id) | SessionRef::Continue(session_id) | SessionRef::Keyed(session_id)) =
        &session;
    let session_id = session_id.clone();
    let id = items::random_id();
    let draft = Draft {
        input: items::kept(&id, &listed),
        id,
        created: clock::utc().as_second(),
        model,
        said,
        user,
        instructions,
        previous: before.previous,
        conversation,
        is_stored,
        thoughts,
        before: kept_before,
        new: kept_new,
        session_id,
        headers: session::echoed(session_key.as_deref()),
        run: Arc::clone(&api.0.runs),
    };
    let wishes = Wishes { model: choice, ..Wishes::default() };
    let turn = Turn { session, history, options, route, run, wishes, ..turn };
    Ok(Asked { stream, idempotency, turn, draft })
}

/// Whether the response is to be kept.
fn is_stored(fields: &mut Map<String, Value>) -> Result<bool, ApiError> {
    match fields.remove("store") {
        None | Some(Value::Null) => Ok(true),
        Some(Value::Bool(store)) => Ok(store),
        Some(_) => {
            Err(ApiError::invalid("'store' must be true or false").param("store").code("invalid_value"))
        }
    }
}

/// A field that names something.
fn name(fields: &mut Map<String, Value>, field: &'static str) -> Result<Option<String>, ApiError> {
    let name = request::text(fields, field)?;
    if name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME) {
        return Err(ApiError::invalid(format!("'{field}' has more than {MAX_NAME} characters"))
            .param(field)
            .code("invalid_value"));
    }
    Ok(name)
}

fn unknown_response(id: &str, param: &'static str) -> ApiError {
    let message = format!("Previous response not found: {}", first_chars(id, MAX_NAME));
    ApiError::not_found(&message).param(param).code("previous_response_not_found")
}

/// Items with those in them that others only refer to.
async fn resolved(api: &ApiServer, listed: Vec<Value>) -> Result<Vec<Value>, ApiError> {
    let mut all = Vec::with_capacity(listed.len());
    // Those of one response come one after the other.
    let mut known: Option<(String, Kept)> = None;
    for (at, item) in listed.into_iter().enumerate() {
        let Some(id) = items::reference(&item) else {
            all.push(item);
            continue;
        };
        let unknown = || {
            ApiError::not_found(&format!("Item not found: {}", first_chars(id, MAX_NAME)))
                .param(format!("input[{at}].id"))
                .code("item_not_found")
        };
        let response = items::response_of(id).ok_or_else(unknown)?;
        if known.as_ref().is_none_or(|(of, _)| *of != response) {
            let kept = api.0.responses.get(&response).await?.ok_or_else(unknown)?;
            known = Some((response, kept));
        }
        let Some((_, kept)) = &known else { return Err(unknown()) };
        let output = kept.response["output"].as_array().into_iter().flatten();
        let found = output.chain(kept.input.iter().flatten()).find(|item| item["id"] == id);
        all.push(found.ok_or_else(unknown)?.clone());
    }
    Ok(all)
}

/// What came before, as far as that is kept here.
async fn before(
    api: &ApiServer,
    previous: Option<String>,
    conversation: Option<&str>,
    named: Option<String>,
) -> Result<Before, ApiError> {
    let (id, param) = match (previous, conversation) {
        (Some(id), _) => (Some(id), "previous_response_id"),
        (None, Some(name)) => (api.0.responses.latest(name).await?, "conversation"),
        (None, None) => (None, ""),
    };
    let Some(id) = id else {
        let Some(named) = named else { return Ok(Before::default()) };
        let messages = api.0.turns.told(&named).await.map_err(ApiError::unreadable)?;
        let messages = replay(messages, true);
        return Ok(Before { messages, session: Some(SessionRef::Continue(named)), ..Before::default() });
    };
    let kept = api.0.responses.get(&id).await?.ok_or_else(|| unknown_response(&id, param))?;
    if let (Some(named), Some(known)) = (&named, &kept.session_id)
        && named != known
    {
        return Err(ApiError::invalid(
            "X-Hermes-Session-Id names another session than that of the response before",
        )
        .param(param)
        .code("invalid_value"));
    }
    Ok(Before {
        messages: kept.history.iter().filter_map(to_message).collect(),
        session: kept.session_id.map(SessionRef::Fresh),
        instructions: kept.instructions,
        previous: Some(id),
    })
}

/// What a run goes on from that names a response.
pub(in super::super) struct Previous {
    /// The conversation, as messages of a chat completion.
    pub(in super::super) messages: Vec<Value>,
    pub(in super::super) session_id: Option<String>,
    pub(in super::super) instructions: Option<String>,
}

/// What a run goes on from. Calls that nobody has answered are left out.
pub(in super::super) async fn before_run(api: &ApiServer, id: &str) -> Result<Previous, ApiError> {
    let found = before(api, Some(id.to_owned()), None, None).await?;
    let session_id = match found.session {
        Some(SessionRef::Fresh(id)) => Some(id),
        _ => None,
    };
    let messages = replay(found.messages, true).iter().map(to_value).collect();
    Ok(Previous { messages, session_id, instructions: found.instructions })
}

/// `conversation_history` of a request.
fn brought(history: Vec<Value>) -> Result<Vec<Message>, ApiError> {
    let mut asked = history;
    let count = asked.len();
    // With a question behind it, it is a conversation like any other.
    asked.push(json!({"role": "user", "content": "."}));
    let placed = |error: ApiError| request::placed(error, count);
    let Conversation { system, history, .. } =
        content::parse(Some(Value::Array(asked)), true).map_err(placed)?;
    if system.is_some() {
        return Err(ApiError::invalid("'conversation_history' has no system messages; use 'instructions'")
            .param("conversation_history")
            .code("invalid_value"));
    }
    Ok(history)
}

/// The conversation with what is new at its end.
fn joined(before: Vec<Message>, new: Messages) -> Result<Conversation, ApiError> {
    let Messages { messages, from } = new;
    let placed = |mut error: ApiError| {
        error.message = error.message.replace("messages", "input");
        let param = error.param.take().unwrap_or_default();
        let rest = param.strip_prefix("messages[").and_then(|rest| rest.split_once(']'));
        let at = rest.and_then(|(index, rest)| Some((from.get(index.parse::<usize>().ok()?)?, rest)));
        error.param(at.map_or_else(|| "input".to_owned(), |(index, rest)| format!("input[{index}]{rest}")))
    };
    if messages.is_empty() {
        return Err(ApiError::invalid("No user message found in input").param("input"));
    }
    let goes_on = !before.is_empty();
    let Conversation { system, history, input } =
        content::parse(Some(Value::Array(messages)), goes_on).map_err(placed)?;
    if !goes_on {
        return Ok(Conversation { system, history, input });
    }
    let new: Vec<Message> = history.into_iter().chain(input).collect();
    let results = new.iter().take_while(|message| message.role == Role::Tool).count();
    let mut all = before;
    if results > 0 {
        answered(&all, &new[..results])?;
        let rest = new[results..].to_vec();
        all.extend(new.into_iter().take(results));
        all = replay(all, true);
        all.extend(rest);
    } else {
        all = replay(all, true);
        all.extend(new);
    }
    let input = all.split_off(first_new(&all));
    Ok(Conversation { system, history: all, input })
}

/// Checks that results are those of all calls of the last answer.
fn answered(before: &[Message], results: &[Message]) -> Result<(), ApiError> {
    let calls: Vec<&str> = before.last().map(|last| last.call_ids().collect()).unwrap_or_default();
    let given: Vec<&str> = results.iter().filter_map(|result| result.tool_call_id.as_deref()).collect();
    let refused = |message: String| Err(ApiError::invalid(message).param("input").code("invalid_value"));
    if let Some(id) = given.iter().find(|id| !calls.contains(id)) {
        return refused(format!(
            "No tool call found for function call output with call_id {}.",
            first_chars(id, 64)
        ));
    }
    match calls.iter().find(|id| !given.contains(id)) {
        Some(id) => refused(format!("No tool output found for function call {}.", first_chars(id, 64))),
        None => Ok(()),
    }
}

/// The conversation as it is kept: what was there before the question, and what belongs to it.
fn split(history: &[Message], input: &[Message]) -> (Vec<Value>, Vec<Value>) {
    let told = |messages: &[Message]| messages.iter().map(to_value).collect();
    (told(history), told(input))
}

/// A message that is kept, as 0.19.0 and we write it; `None` for what is none.
fn to_message(value: &Value) -> Option<Message> {
    let role = match value["role"].as_str()? {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        _ => return None,
    };
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    let mut message = Message::new(role, value["content"].clone());
    if message.content.is_null() && role != Role::Assistant {
        message.content = Value::String(String::new());
    }
    (message.tool_call_id, message.name) = (text("tool_call_id"), text("name"));
    let calls = value["tool_calls"].as_array().into_iter().flatten();
    message.tool_calls = calls
        .filter_map(|call| {
            let (kind, _) = call.as_object().map(call_kind)?;
            Some(json!({"id": call["id"].as_str()?, "type": kind, kind: call.get(kind)?}))
        })
        .collect();
    Some(message)
}

fn to_value(message: &Message) -> Value {
    let mut value = json!({ "role": message.role, "content": message.content });
    if !message.tool_calls.is_empty() {
        value["tool_calls"] = Value::Array(message.tool_calls.clone());
    }
    for (name, text) in [("tool_call_id", &message.tool_call_id), ("name", &message.name)] {
        if let Some(text) = text {
            value[name] = text.as_str().into();
        }
    }
    value
}
