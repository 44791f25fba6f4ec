//! The OpenAI-compatible API of one profile: chat completions, responses, runs, models, capabilities, detailed health; and its sessions,
//! skills, toolsets and the models that it may be asked for.
//!
//! # Guarantees
//!
//! - Everything but `/v1/health` and `/openapi.json` needs this profile's own key; without a strong one every such path answers 401.
//! - Every error has the one shape clients of the OpenAI API know, wrong paths and methods included.
//! - Nothing is advertised that does not work.
//! - Every field of a request is honoured, handed to the model, or refused by its name ([`params`]).
//! - A client that goes away ends its turn, unless that is a run ([`runs`]).
//!
//! `GET /health`, the pages that may call and the names of requests are not here: the HTTP layer sees to them, for errors and
//! unknown paths too.

mod answer;
mod chat;
mod content;
mod error;
mod health;
mod listed;
mod models;
mod openapi;
mod options;
mod params;
mod replay;
mod request;
mod responses;
mod runs;
mod session;
mod sessions;
mod settings;
mod sse;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{any, get, post};
use hermes_host::clock;
use hermes_wire::{COMPATIBLE_WITH, ProfileHome, VERSION, http as contract};
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;
use tokio_util::task::TaskTracker;

use super::wire::{self, bearer, same_secret};
use super::{Adapter, Context, Down, Folder, Link, Platform, PlatformFuture};
use crate::http::Cors;
use crate::inbox::Inbox;
use crate::status::Status;
use crate::turn::Turns;
use error::ApiError;
use replay::Replay;
use settings::DECLARATION;
pub(crate) use settings::Settings;

/// The platform's name.
pub(crate) const NAME: &str = DECLARATION.name;

/// One line of the registry.
pub(super) const FOLDER: Folder = Folder { declaration: &DECLARATION, connect, outbound: None, check: None };

/// The platform, where this profile's configuration turns it on.
fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let server = ApiServer::new(settings, context);
    Some(Platform {
        declaration: &DECLARATION,
        routes: Some(server.routes()),
        pages: Some(Cors::new(&settings.cors_origins)),
        adapter: Arc::new(server),
    })
}

/// The platform `api_server`. Cloning shares it.
#[derive(Clone)]
struct ApiServer(Arc<Inner>);

struct Inner {
    config: Settings,
    profile: Arc<hermes_config::ProfileConfig>,
    home: ProfileHome,
    turns: Turns,
    inbox: Inbox,
    status: Status,
    replay: Replay,
    /// Seconds since the epoch, for `created` of models.
    started: i64,
    /// Each chat completion holds a clone.
    runs: Arc<()>,
    /// Those that stream.
    streams: runs::Streams,
    /// Those that are kept.
    responses: responses::store::Responses,
    /// What the profile's provider offers.
    offers: options::Offers,
    /// What of the gateway's environment requests to it need: proxies and certificates.
    inherited: Vec<(String, String)>,
    /// Write responses while their clients read.
    tasks: TaskTracker,
}

impl ApiServer {
    fn new(config: &Settings, context: &Context) -> Self {
        Self(Arc::new(Inner {
            config: config.clone(),
            profile: Arc::clone(&context.config),
            home: context.home.clone(),
            turns: context.turns.clone(),
            inbox: context.inbox.clone(),
            status: context.status.clone(),
            replay: Replay::default(),
            started: clock::utc().as_second(),
            runs: Arc::new(()),
            streams: runs::Streams::default(),
            responses: responses::store::Responses::new(context.home.path(), config.max_stored_responses),
            offers: options::Offers::default(),
            inherited: context.child_env.clone(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Whether the client holds this profile's key.
    fn authorize(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let key = self.0.config.key.as_ref().filter(|key| !key.is_empty());
        match (key, bearer(headers)) {
            (Some(key), Some(token)) if same_secret(token, key.expose().as_bytes()) => Ok(()),
            _ => Err(ApiError::unauthorized()),
        }
    }

    /// Chat completions that go on now.
    fn active_runs(&self) -> usize {
        Arc::strong_count(&self.0.runs) - 1
    }

    fn routes(&self) -> Router {
        let on_get = |route: axum::routing::MethodRouter<Self>| {
            route.fallback(|| async { ApiError::wrong_method("GET, HEAD") })
        };
        let on_post = |route: axum::routing::MethodRouter<Self>| {
            route.fallback(|| async { ApiError::wrong_method("POST") })
        };
        Router::new()
            .route("/openapi.json", on_get(get(openapi::document)))
            .route("/v1/health", on_get(get(v1_health)))
            .route("/health/detailed", on_get(get(health::detailed)))
            .route("/v1/models", on_get(get(models::list)))
            .route("/v1/models/{id}", on_get(get(models::one)))
            .route("/api/model/options", on_get(get(options::options)))
            .route("/v1/capabilities", on_get(get(models::capabilities)))
            .route("/v1/chat/completions", on_post(post(chat::completions)))
            .route("/v1/responses", on_post(post(responses::create)))
            .route(
                "/v1/responses/{id}",
                get(responses::get)
                    .delete(responses::delete)
                    .fallback(|| async { ApiError::wrong_method("GET, HEAD, DELETE") }),
            )
            .route("/v1/responses/{id}/input_items", on_get(get(responses::input_items)))
            .route("/v1/skills", on_get(get(listed::skills)))
            .route("/v1/toolsets", on_get(get(listed::toolsets)))
            .route(
                "/api/sessions",
                get(sessions::list)
                    .post(sessions::create)
                    .fallback(|| async { ApiError::wrong_method("GET, HEAD, POST") }),
            )
            .route(
                "/api/sessions/{id}",
                get(sessions::get)
                    .patch(sessions::patch)
                    .delete(sessions::delete)
                    .fallback(|| async { ApiError::wrong_method("GET, HEAD, PATCH, DELETE") }),
            )
            .route("/api/sessions/{id}/messages", on_get(get(sessions::messages)))
            .route("/api/sessions/{id}/fork", on_post(post(sessions::fork)))
            .route("/api/sessions/{id}/chat", on_post(post(sessions::chat)))
            .route("/api/sessions/{id}/chat/stream", on_post(post(sessions::chat_stream)))
            .route("/api/jobs", any(listed::jobs))
            .route("/api/jobs/{*rest}", any(listed::jobs))
            .route("/v1/runs", on_post(post(runs::submit)))
            .route("/v1/runs/{id}", on_get(get(runs::status)))
            .route("/v1/runs/{id}/events", on_get(get(runs::events)))
            .route("/v1/runs/{id}/stop", on_post(post(runs::stop)))
            .route("/v1/runs/{id}/approval", on_post(post(runs::approval)))
            .route("/v1/runs/{id}/steer", on_post(post(runs::steer)))
            .route("/v1/", any(unknown))
            .route("/v1/{*rest}", any(unknown))
            .route("/api/", any(unknown))
            .route("/api/{*rest}", any(unknown))
            .with_state(self.clone())
    }
}

impl Adapter for ApiServer {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            if let Some(fault) = &self.0.config.fault {
                return Err(Down::fatal(&fault.code, &fault.message));
            }
            link.up();
            // Runs belong to `turn`, connections to `http`.
            link.told().await;
            Ok(())
        })
    }
}

async fn v1_health(State(_): State<ApiServer>) -> Response {
    wire::json(
        StatusCode::OK,
        &json!({
            "status": "ok",
            "platform": "hermes-agent",
            "version": VERSION,
            "compatible_with": COMPATIBLE_WITH,
        }),
    )
}

async fn unknown(method: Method, uri: Uri, headers: HeaderMap) -> ApiError {
    let prefix =
        headers.get(contract::FORWARDED_PREFIX).and_then(|prefix| prefix.to_str().ok()).unwrap_or_default();
    let path = wire::first_chars(uri.path(), 200);
    ApiError::not_found(&format!(
        "There is no endpoint {method} {prefix}{path} here; GET {prefix}/v1/capabilities lists those there are"
    ))
}
