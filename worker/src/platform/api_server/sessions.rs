//! `/api/sessions`: the profile's stored conversations, for programs that show and steer them.
//!
//! | | |
//! |---|---|
//! | `GET`, `POST /api/sessions` | a page of them; a new one |
//! | `GET`, `PATCH`, `DELETE /api/sessions/{id}` | one |
//! | `GET …/messages` | what was said in it |
//! | `POST …/fork` | a new one with what was said in it, which is over then |
//! | `POST …/chat`, `…/chat/stream` | a turn in it ([`mod@chat`]) |
//!
//! An id that is not in this profile's database is 404, whatever another profile has under it.

mod chat;

use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use hermes_host::clock;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::request::{Id, respond};
use super::{ApiServer, NAME, request, session};
use crate::platform::wire::{self, first_chars, random64};
use crate::session::resource::{NewResource, Page, Refusal};
use crate::turn::SessionChange;
pub(super) use chat::{answer as chat, stream as chat_stream};

/// Most sessions of a page, and those of one that is not asked for.
const PAGES: (u32, u32) = (200, 50);
/// Most sessions that are passed over.
const OFFSET: u32 = 1_000_000;
/// Longest reason of an end, in characters.
const REASON: usize = 64;

pub(super) async fn list(
    State(api): State<ApiServer>,
    query: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    respond(api.list_sessions(query, &headers).await)
}

pub(super) async fn create(State(api): State<ApiServer>, request: Request) -> Response {
    respond(api.create_session(request).await)
}

pub(super) async fn get(State(api): State<ApiServer>, id: Id, headers: HeaderMap) -> Response {
    respond(api.get_session(id, &headers).await)
}

pub(super) async fn patch(State(api): State<ApiServer>, id: Id, request: Request) -> Response {
    respond(api.patch_session(id, request).await)
}

pub(super) async fn delete(State(api): State<ApiServer>, id: Id, headers: HeaderMap) -> Response {
    respond(api.remove_session(id, &headers).await)
}

pub(super) async fn messages(State(api): State<ApiServer>, id: Id, headers: HeaderMap) -> Response {
    respond(api.session_messages(id, &headers).await)
}

pub(super) async fn fork(State(api): State<ApiServer>, id: Id, request: Request) -> Response {
    respond(api.fork(id, request).await)
}

/// What a list is asked for.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    limit: Option<u32>,
    offset: Option<u32>,
    source: Option<String>,
    include_children: Option<String>,
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(&format!("Session not found: {}", first_chars(id, 256))).code("session_not_found")
}

/// The id in a path.
fn named(id: Id) -> Result<String, ApiError> {
    match id {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(unknown("its id is no text")),
    }
}

fn refused(refusal: Refusal, id: &str) -> ApiError {
    let conflict = |message: String| ApiError::new(StatusCode::CONFLICT, "invalid_request_error", message);
    match refusal {
        Refusal::Unknown => unknown(id),
        Refusal::Exists => {
            conflict(format!("Session already exists: {}", first_chars(id, 256))).code("session_exists")
        }
        Refusal::Busy(why) => {
            conflict(format!("The session is not free: {why}; try again when that is over"))
                .code("session_busy")
        }
        Refusal::Title(why) => ApiError::invalid(why).param("title").code("invalid_title"),
    }
}

fn described(status: StatusCode, session: &Value) -> Response {
    wire::json(status, &json!({"object": "hermes.session", "session": session}))
}

/// The fields of a body; one without anything has none.
async fn fields(headers: &HeaderMap, body: Body) -> Result<Map<String, Value>, ApiError> {
    let body = request::body(headers, body).await?;
    if body.is_empty() {
        return Ok(Map::new());
    }
    request::object(&body, request::BROKEN)
}

/// A text of a body, refused by a code of its own where it is none.
fn text(
    fields: &mut Map<String, Value>,
    name: &'static str,
    code: &'static str,
) -> Result<Option<String>, ApiError> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(ApiError::invalid(format!("{name} must be a string")).param(name).code(code)),
    }
}

/// The id that a new session gets.
fn new_id(fields: &mut Map<String, Value>) -> Result<String, ApiError> {
    let mut given = None;
    for name in ["session_id", "id"] {
        given = text(fields, name, "invalid_session_id")?.filter(|id| !id.is_empty()).or(given);
    }
    match given {
        None => Ok(format!("api_{}_{:08x}", clock::utc().as_second(), random64() & 0xffff_ffff)),
        Some(id) if id.trim().is_empty() => {
            Err(ApiError::invalid("Invalid session ID").param("id").code("invalid_session_id"))
        }
        Some(id) => session::checked_id(&id).map_err(|error| error.param("id").code("invalid_session_id")),
    }
}

/// Refuses what is left of a body.
fn nothing_else(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let mut names: Vec<&str> = fields.keys().map(|name| first_chars(name, 64)).collect();
    if names.is_empty() {
        return Ok(());
    }
    names.sort_unstable();
    names.truncate(8);
    Err(ApiError::invalid(format!("Unsupported session fields: {}", names.join(", ")))
        .param(names[0])
        .code("unsupported_session_field"))
}

impl ApiServer {
    async fn list_sessions(
        &self,
        query: Result<Query<Asked>, QueryRejection>,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let Query(asked) = query.map_err(|_| {
            ApiError::invalid("'limit' and 'offset' are whole numbers").param("limit").code("invalid_value")
        })?;
        let children = asked.include_children.map(Value::String);
        let page = Page {
            limit: asked.limit.unwrap_or(PAGES.1).min(PAGES.0),
            offset: asked.offset.unwrap_or(0).min(OFFSET),
            source: asked.source.filter(|source| !source.is_empty()),
            children: request::is_on(children.as_ref()),
        };
        let (limit, offset) = (page.limit, page.offset);
        let data = self.0.turns.sessions(page).await.map_err(ApiError::unreadable)?;
        let has_more = limit > 0 && data.len() == usize::try_from(limit).unwrap_or(usize::MAX);
        let listed =
            json!({"object": "list", "data": data, "limit": limit, "offset": offset, "has_more": has_more});
        Ok(wire::json(StatusCode::OK, &listed))
    }

    async fn create_session(&self, request: Request) -> Result<Response, ApiError> {
        self.authorize(request.headers())?;
        let (parts, body) = request.into_parts();
        let mut fields = fields(&parts.headers, body).await?;
        let id = new_id(&mut fields)?;
        let new = NewResource {
            id: id.clone(),
            source: NAME.to_owned(),
            title: text(&mut fields, "title", "invalid_title")?,
            model: text(&mut fields, "model", "invalid_value")?
                .map(|model| first_chars(&model, 256).to_owned()),
            system_prompt: text(&mut fields, "system_prompt", "invalid_system_prompt")?,
        };
        nothing_else(&fields)?;
        let made = self.0.turns.make_session(new).await.map_err(|error| ApiError::from_turn(&error, 0))?;
        Ok(described(StatusCode::CREATED, &made.map_err(|refusal| refused(refusal, &id))?))
    }

    async fn get_session(&self, id: Id, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        let found = self.0.turns.session(&id).await.map_err(ApiError::unreadable)?;
        Ok(described(StatusCode::OK, &found.ok_or_else(|| unknown(&id))?))
    }

    async fn patch_session(&self, id: Id, request: Request) -> Result<Response, ApiError> {
        self.authorize(request.headers())?;
        let id = named(id)?;
        let (parts, body) = request.into_parts();
        let mut fields = fields(&parts.headers, body).await?;
        let title = match fields.get("title") {
            Some(Value::Null) => {
                fields.remove("title");
                Some(String::new())
            }
            _ => text(&mut fields, "title", "invalid_title")?,
        };
        let end_reason =
            text(&mut fields, "end_reason", "invalid_value")?.filter(|why| !why.trim().is_empty());
        nothing_else(&fields)?;
        let is_fine = |why: &String| why.chars().count() <= REASON && !why.contains(char::is_control);
        if end_reason.as_ref().is_some_and(|why| !is_fine(why)) {
            return Err(ApiError::invalid(format!("'end_reason' is a line of at most {REASON} characters"))
                .param("end_reason")
                .code("invalid_value"));
        }
        let changed = self
            .0
            .turns
            .change_session(&id, SessionChange { title, end_reason })
            .await
            .map_err(ApiError::unreadable)?;
        Ok(described(StatusCode::OK, &changed.map_err(|refusal| refused(refusal, &id))?))
    }

    async fn remove_session(&self, id: Id, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        let deleted = self.0.turns.delete_session(&id).await.map_err(ApiError::unreadable)?;
        deleted.map_err(|refusal| refused(refusal, &id))?;
        let said = json!({"object": "hermes.session.deleted", "id": id, "deleted": true});
        Ok(wire::json(StatusCode::OK, &said))
    }

    async fn session_messages(&self, id: Id, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        let found = self.0.turns.messages(&id).await.map_err(ApiError::unreadable)?;
        let (session_id, data) = found.ok_or_else(|| unknown(&id))?;
        Ok(wire::json(StatusCode::OK, &json!({"object": "list", "session_id": session_id, "data": data})))
    }

    async fn fork(&self, id: Id, request: Request) -> Result<Response, ApiError> {
        self.authorize(request.headers())?;
        let id = named(id)?;
        let (parts, body) = request.into_parts();
        let mut fields = fields(&parts.headers, body).await?;
        let new = new_id(&mut fields)?;
        let title = text(&mut fields, "title", "invalid_title")?;
        nothing_else(&fields)?;
        let forked = self.0.turns.fork_session(&id, (new.clone(), NAME.to_owned()), title).await;
        let forked = forked.map_err(ApiError::unreadable)?.map_err(|refusal| {
            let about = if refusal == Refusal::Exists { &new } else { &id };
            refused(refusal, about)
        })?;
        Ok(described(StatusCode::CREATED, &forked))
    }
}
