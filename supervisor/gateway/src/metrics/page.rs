//! The status for a browser: one page that is part of this program, fed by server-sent events. Read-only.
//!
//! The page itself holds nothing that is secret: it asks for `/status` and `/events`, which the [`Door`](super::door::Door) guards, and shows
//! a field for the token where it is turned away. It loads nothing from anywhere else, and its policy allows nothing else: what it shows
//! is put in as text. However many look, the status is collected once in [`FRESH`]; only so many streams are open ([`STREAMS`]), and one
//! that is not read is ended ([`super::impatient`]).

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hermes_host::{blocking, clock};
use hermes_wire::http::JSON;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::door::{MAX_TOKEN, nonce};
use super::{Source, Workers, json};
use crate::journal::Journal;
use crate::status::{Processes, collect, homes};
use crate::status_files::StatusFiles;

/// The page.
const PAGE: &str = include_str!("page.html");
/// Streams that are open at the same time.
const STREAMS: usize = 12;
/// How long a status that was collected is the status.
const FRESH: Duration = Duration::from_millis(900);
/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// The same, where there are more profiles than [`MANY`].
const EVERY_OF_MANY: Duration = Duration::from_secs(5);
const MANY: usize = 150;
/// For collecting, once the homes were looked at.
const COLLECT_TIME: Duration = Duration::from_secs(5);
/// What a wrong token costs whoever sends it.
const WRONG: Duration = Duration::from_secs(1);

/// What is shown, collected when somebody looks.
#[derive(Clone)]
pub(super) struct View(Arc<Shared>);

struct Shared {
    workers: Workers,
    journal: Journal,
    files: StatusFiles,
    kept: Mutex<Kept>,
    streams: Arc<Semaphore>,
}

#[derive(Default)]
struct Kept {
    processes: Option<Processes>,
    status: Option<(Instant, Bytes, usize)>,
}

impl View {
    pub(super) fn new(workers: Workers, journal: Journal) -> Self {
        Self(Arc::new(Shared {
            workers,
            journal,
            files: StatusFiles::default(),
            kept: Mutex::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
        }))
    }

    /// The status as JSON in one line, and how many profiles it has; `None` where it cannot be had in time.
    async fn status(&self) -> Option<(Bytes, usize)> {
        let shared = &self.0;
        let mut kept = shared.kept.lock().await;
        if let Some((at, json, profiles)) = &kept.status
            && at.elapsed() < FRESH
        {
            return Some((json.clone(), *profiles));
        }
        let table = (shared.workers)();
        let files = shared.files.read(homes(&table, None)).await;
        let mut processes = kept.processes.take().unwrap_or_default();
        let collected = blocking::run(move || {
            let status = collect(&table, None, &files, &mut processes, clock::now());
            (status, processes)
        });
        let (status, processes) = tokio::time::timeout(COLLECT_TIME, collected).await.ok()?.ok()?;
        kept.processes = Some(processes);
        let profiles = status.profiles.len();
        let json = Bytes::from(serde_json::to_vec(&status).expect("strings and numbers always serialise"));
        kept.status = Some((Instant::now(), json.clone(), profiles));
        Some((json, profiles))
    }

    /// What happened last, for people, and the number of the newest; `None` where `known` is the newest.
    fn happened(&self, known: u64) -> Option<(u64, Vec<u8>)> {
        let (newest, events) = self.0.journal.recent();
        if newest == known {
            return None;
        }
        let events: Vec<_> = events
            .iter()
            .map(|event| serde_json::json!({"at": event.at, "profile": event.profile, "text": event.sentence()}))
            .collect();
        Some((newest, serde_json::to_vec(&events).expect("strings always serialise")))
    }
}

/// `/`
pub(super) async fn page() -> Response {
    let Ok(nonce) = nonce() else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; \
         form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
        (CONTENT_SECURITY_POLICY, policy),
        (CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, PAGE.replace("NONCE", &nonce)).into_response()
}

/// `/status`
pub(super) async fn status(State(source): State<Source>) -> Response {
    match source.view.status().await {
        Some((json, _)) => {
            let guarded = if source.entrance.door().is_some() { "yes" } else { "no" };
            let headers = [(CONTENT_TYPE, JSON), (CACHE_CONTROL, "no-store")];
            (headers, [("x-hermes-login", guarded)], json).into_response()
        }
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// `/events`
pub(super) async fn events(State(source): State<Source>) -> Response {
    let Ok(place) = Arc::clone(&source.view.0.streams).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "5")]).into_response();
    };
    let looking = Looking { view: source.view, next: Instant::now(), known: u64::MAX, _place: place };
    let frames = stream::unfold(looking, |mut looking| async move {
        let frame = looking.frame().await;
        Some((Ok::<_, std::convert::Infallible>(frame), looking))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(frames)).into_response()
}

/// One stream.
struct Looking {
    view: View,
    next: Instant,
    /// The newest event that was sent.
    known: u64,
    _place: OwnedSemaphorePermit,
}

impl Looking {
    async fn frame(&mut self) -> Bytes {
        tokio::time::sleep_until(self.next).await;
        let mut frame = Vec::new();
        let mut every = EVERY;
        if let Some((json, profiles)) = self.view.status().await {
            frame.extend_from_slice(b"event: status\ndata: ");
            frame.extend_from_slice(&json);
            frame.extend_from_slice(b"\n\n");
            every = if profiles > MANY { EVERY_OF_MANY } else { EVERY };
        } else {
            // That it lives, and has nothing to show.
            frame.extend_from_slice(b": no status\n\n");
        }
        if let Some((newest, json)) = self.view.happened(self.known) {
            self.known = newest;
            frame.extend_from_slice(b"event: happened\ndata: ");
            frame.extend_from_slice(&json);
            frame.extend_from_slice(b"\n\n");
        }
        self.next = Instant::now() + every;
        frame.into()
    }
}

/// `/login`: the token is the body.
pub(super) async fn login(State(source): State<Source>, body: Body) -> Response {
    let Some(door) = source.entrance.door() else { return StatusCode::NO_CONTENT.into_response() };
    let Ok(said) = axum::body::to_bytes(body, MAX_TOKEN).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    match door.enter(said.trim_ascii()) {
        Ok(Some(cookie)) => (StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]).into_response(),
        Ok(None) => {
            tokio::time::sleep(WRONG).await;
            json(StatusCode::UNAUTHORIZED, r#"{"error": "not the token"}"#.to_owned())
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// `/logout`
pub(super) async fn logout(State(source): State<Source>, headers: HeaderMap) -> Response {
    match source.entrance.door() {
        Some(door) => (StatusCode::NO_CONTENT, [(SET_COOKIE, door.leave(&headers))]).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    }
}
