//! `/v1/responses`: one turn a response, which is kept, can be asked for again, and gone on from.
//!
//! | | |
//! |---|---|
//! | `POST /v1/responses` | asks ([`asked`]) and waits, or reads along ([`stream`]) |
//! | `GET /v1/responses/{id}` | the response as it was given |
//! | `GET /v1/responses/{id}/input_items` | what was new in its request |
//! | `DELETE /v1/responses/{id}` | forgets it |
//!
//! - **Items.** What the engine says becomes items in one place ([`script`]), whoever reads them and when. The agent's own calls have their
//!   outputs beside them; calls of the client's tools have none, and the next request carries it.
//! - **Failures.** A turn without an answer is a response with `status` `failed` and an `error`. Whoever waits for it gets it with the
//!   status and the headers that a failed chat completion has, so that stock clients act on it.
//! - **What is kept** ([`store`]) holds the whole conversation up to its response: so two requests may go on from one response, each its own way.
//!   A failed response is kept, and what is gone on from is what was there before it.
//! - **Whose it is.** The file is this profile's: another's ids are unknown here.

mod asked;
mod items;
mod object;
mod params;
mod script;
pub(super) mod store;
mod stream;

use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{End, run_out};
use super::error::ApiError;
use super::replay::Answer;
use super::request::{Id, respond};
use super::session::{SESSION_ID, echo};
use super::sse::Writer as _;
use super::{ApiServer, request};
use crate::platform::wire::{self, first_chars};
use crate::turn::{RunningTurn, Turn};
use asked::Asked;
pub(super) use asked::{Previous, before_run};
use object::{Draft, Status};
pub(super) use params::TABLE;
use script::Script;

/// Most items of a page, and items of one that is not asked for.
const PAGES: (usize, usize) = (100, 20);

pub(super) async fn create(State(api): State<ApiServer>, request: Request) -> Response {
    respond(answer(&api, request).await)
}

pub(super) async fn get(
    State(api): State<ApiServer>,
    id: Id,
    query: Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    respond(api.response(id, &query, &headers).await)
}

pub(super) async fn delete(State(api): State<ApiServer>, id: Id, headers: HeaderMap) -> Response {
    respond(api.forget(id, &headers).await)
}

pub(super) async fn input_items(
    State(api): State<ApiServer>,
    id: Id,
    page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
) -> Response {
    respond(api.input_items(id, page, &headers).await)
}

async fn answer(api: &ApiServer, request: Request) -> Result<Response, ApiError> {
    api.authorize(request.headers())?;
    let (parts, body) = request.into_parts();
    let body = request::body(&parts.headers, body).await?;
    let Asked { stream, idempotency, turn, draft } = asked::parse(api, &parts.headers, &body).await?;
    drop(body);
    if stream {
        let (running, draft) = begin(api, turn, draft).await?;
        return Ok(stream::respond(api.clone(), running, draft).await);
    }
    request::once(api, idempotency, complete(api, turn, draft)).await
}

/// Starts the turn, and says in which session it runs.
async fn begin(api: &ApiServer, turn: Turn, mut draft: Draft) -> Result<(RunningTurn, Draft), ApiError> {
    let running = api.start(turn).await?;
    if let Some(id) = echo(&running.session_id) {
        draft.headers.insert(SESSION_ID, id);
    }
    draft.session_id.clone_from(&running.session_id);
    Ok((running, draft))
}

/// Runs a turn to its end.
async fn complete(api: &ApiServer, turn: Turn, draft: Draft) -> Result<Answer, ApiError> {
    let (running, mut draft) = begin(api, turn, draft).await?;
    let mut script = Script::new(&draft, false);
    let end = run_out(running, api.0.config.max_concurrent_runs, |event| script.hear(event)).await;
    let (status, output, usage) = script.end(&end);
    if let End::Failed(error) = end {
        return Ok(request::to_answer(failed(api, &draft, error, &output).await).await);
    }
    let object = draft.object(&status, &output, usage.as_ref());
    let object = keep(api, &mut draft, &status, object, &output).await;
    let mut headers = draft.headers.clone();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(hermes_wire::http::JSON));
    if let End::Text { hermes: Some(hermes), .. } = &end {
        super::error::mark(&mut headers, hermes);
    }
    Ok(Answer { status: StatusCode::OK, headers, body: wire::spaced(&object).into() })
}

/// A response without an answer, with the status and headers of its error.
async fn failed(api: &ApiServer, draft: &Draft, error: ApiError, output: &[Value]) -> Response {
    let status = Status::Failed(object::told(&error));
    let object = draft.object(&status, output, None);
    if draft.is_stored {
        let kept = draft.kept(&status, object.clone(), output);
        if let Err(error) = api.0.responses.put(&draft.id, kept, None).await {
            tracing::warn!(response = draft.id, "a failed response is not kept: {}", error.message);
        }
    }
    let (mut parts, _) = error.into_response().into_parts();
    parts.headers.extend(draft.headers.clone());
    let mut response = wire::json(parts.status, &object);
    for (name, value) in &parts.headers {
        response.headers_mut().insert(name, value.clone());
    }
    response
}

/// Keeps a response where that is wanted. What cannot be kept says so: it is no longer one that can be asked for.
async fn keep(
    api: &ApiServer,
    draft: &mut Draft,
    status: &Status,
    mut object: Value,
    output: &[Value],
) -> Value {
    if !draft.is_stored {
        return object;
    }
    let kept = draft.kept(status, object.clone(), output);
    if let Err(error) = api.0.responses.put(&draft.id, kept, draft.ends(status)).await {
        tracing::warn!(response = draft.id, "a response is not kept: {}", error.message);
        draft.is_stored = false;
        object["store"] = Value::Bool(false);
    }
    object
}

fn not_found(id: &str) -> ApiError {
    ApiError::not_found(&format!("Response not found: {}", first_chars(id, 256))).code("response_not_found")
}

/// The id in a path.
fn named(id: Id) -> Result<String, ApiError> {
    match id {
        Ok(Path(id)) => Ok(id),
        Err(_) => Err(not_found("its name is no text")),
    }
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Page {
    limit: Option<usize>,
    order: Option<String>,
    after: Option<String>,
}

impl ApiServer {
    async fn response(
        &self,
        id: Id,
        query: &[(String, String)],
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        if query.iter().any(|(name, value)| name == "stream" && value == "true") {
            return Err(super::params::unsupported(
                "stream",
                "a response is read along where it is asked for",
            ));
        }
        let text = self.0.responses.response(&id).await?.ok_or_else(|| not_found(&id))?;
        Ok(wire::json_bytes(StatusCode::OK, text.into()))
    }

    async fn forget(&self, id: Id, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        if !self.0.responses.delete(&id).await? {
            return Err(not_found(&id));
        }
        Ok(wire::json(StatusCode::OK, &json!({"id": id, "object": "response", "deleted": true})))
    }

    async fn input_items(
        &self,
        id: Id,
        page: Result<Query<Page>, axum::extract::rejection::QueryRejection>,
        headers: &HeaderMap,
    ) -> Result<Response, ApiError> {
        self.authorize(headers)?;
        let id = named(id)?;
        let invalid =
            |param: &'static str, what: &str| ApiError::invalid(what).param(param).code("invalid_value");
        let Query(Page { limit, order, after }) =
            page.map_err(|_| invalid("limit", "'limit' is a whole number from 1 to 100"))?;
        let limit = limit.unwrap_or(PAGES.1);
        if !(1..=PAGES.0).contains(&limit) {
            return Err(invalid("limit", "'limit' is a whole number from 1 to 100"));
        }
        let kept = self.0.responses.get(&id).await?.ok_or_else(|| not_found(&id))?;
        // 0.19.0 keeps no items: there, what was asked is the last thing that the user said.
        let mut items = kept.input.unwrap_or_else(|| {
            let asked = kept.history.iter().rev().find(|message| message["role"] == "user");
            items::kept(&id, &asked.cloned().into_iter().collect::<Vec<_>>())
        });
        match order.as_deref() {
            None | Some("desc") => items.reverse(),
            Some("asc") => {}
            Some(_) => return Err(invalid("order", "'order' is asc or desc")),
        }
        if let Some(after) = after {
            let at = items.iter().position(|item| item["id"] == *after);
            let at = at.ok_or_else(|| invalid("after", "'after' is the id of an item of this response"))?;
            items.drain(..=at);
        }
        let has_more = items.len() > limit;
        items.truncate(limit);
        let edge = |item: Option<&Value>| item.map(|item| item["id"].clone());
        let listed = json!({
            "object": "list", "data": items, "first_id": edge(items.first()), "last_id": edge(items.last()), "has_more": has_more,
        });
        Ok(wire::json(StatusCode::OK, &listed))
    }
}
