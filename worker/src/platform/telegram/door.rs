//! The door that the service knocks at when it brings updates itself, behind the gateway's listener.
//!
//! ```text
//!  POST /telegram ─▶ secret? 401 ─▶ size 413 ─▶ an update? 400 ─▶ [Door] ═▶ hook ─▶ stored: 200, else 503
//! ```
//!
//! # Guarantees
//!
//! - 200 is answered after whoever stands behind the door has stored the update. Everything else is an error to the service, which brings the
//!   update again.
//! - Nobody is listened to who does not say the secret, which is compared in a time that says nothing about it.
//! - In a swap the worker that gives the bot up answers 503 at once, and the one that takes it has who knocks wait until it is connected.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodRouter, post};
use hermes_config::Secret;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use super::settings::{Hook, NAME};
use super::wire::{self, Update};
use crate::platform::wire::{BodyError, read_body, same_secret};
use crate::platform::{Class, Down};

/// Header with the secret.
const SECRET: &str = "x-telegram-bot-api-secret-token";
/// Longest update, in bytes.
const BODY: u64 = 1024 * 1024;
/// Time for a body to come.
const COMES: Duration = Duration::from_secs(15);
/// How long who knocks waits for a connection that is being made.
const OPENS: Duration = Duration::from_secs(10);
/// And then for the update to be stored. The service gives up later than that.
const STORES: Duration = Duration::from_secs(45);

/// An update that somebody waits for to be stored.
pub(super) struct Post {
    pub(super) update: Update,
    pub(super) stored: oneshot::Sender<bool>,
}

/// What stands behind the door.
#[derive(Debug, Clone)]
enum Behind {
    /// Nobody yet.
    Opening,
    Open(mpsc::Sender<Post>),
    /// Nobody any more.
    Closed,
}

/// What requests and the connection share.
pub(super) struct Door {
    secret: Secret,
    behind: watch::Sender<Behind>,
    /// Somebody without the secret was spoken of.
    warned: AtomicBool,
}

impl Door {
    pub(super) fn new(hook: &Hook) -> Self {
        let behind = watch::Sender::new(Behind::Opening);
        Self { secret: hook.secret.clone(), behind, warned: AtomicBool::new(false) }
    }

    /// Somebody stands behind it.
    pub(super) fn open(&self, posts: mpsc::Sender<Post>) {
        self.behind.send_replace(Behind::Open(posts));
    }

    /// Nobody stands behind it any more, or, where another try follows, for now.
    pub(super) fn shut(&self, down: Option<&Down>) {
        let comes_back = down.is_some_and(|down| down.class != Class::Fatal);
        self.behind.send_replace(if comes_back { Behind::Opening } else { Behind::Closed });
    }

    fn is_known(&self, headers: &HeaderMap) -> bool {
        let said = headers.get(SECRET).map_or(&b""[..], HeaderValue::as_bytes);
        !self.secret.is_empty() && same_secret(said, self.secret.expose().as_bytes())
    }

    /// Hands an update to the connection. True: it is stored.
    async fn hand_in(&self, update: Update) -> bool {
        let mut behind = self.behind.subscribe();
        let opened = timeout(OPENS, behind.wait_for(|behind| !matches!(behind, Behind::Opening))).await;
        let open = opened.ok().and_then(Result::ok).map(|behind| behind.clone());
        let Some(Behind::Open(posts)) = open else { return false };
        let (stored, is_stored) = oneshot::channel();
        let handed = async {
            posts.send(Post { update, stored }).await.ok()?;
            is_stored.await.ok()
        };
        timeout(STORES, handed).await.ok().flatten().unwrap_or(false)
    }
}

/// What answers the service.
pub(super) fn routes(door: Arc<Door>) -> axum::Router {
    let knock = || -> MethodRouter<Arc<Door>> { post(receive).fallback(wrong_method) };
    let routes = axum::Router::new().route("/telegram", knock()).route("/telegram/", knock());
    routes.route("/telegram/{*rest}", knock()).with_state(door)
}

async fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")]).into_response()
}

async fn receive(State(door): State<Arc<Door>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !door.is_known(&parts.headers) {
        if !door.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "[{NAME}] somebody who does not know the webhook's secret calls as if he were Telegram, and is refused; this is said once"
            );
        }
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let body = match timeout(COMES, read_body(&parts.headers, body, BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(BodyError::TooLarge)) => return StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Ok(Err(BodyError::Coding)) => return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response(),
        Ok(Err(BodyError::Broken | BodyError::Undecodable)) => {
            return StatusCode::BAD_REQUEST.into_response();
        }
        Err(_) => return StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    let Ok(update) = wire::brought(&body) else { return StatusCode::BAD_REQUEST.into_response() };
    if door.hand_in(update).await {
        return StatusCode::OK.into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://h.example/telegram";

    fn door(secret: &str) -> Arc<Door> {
        let url = reqwest::Url::parse(URL).unwrap();
        Arc::new(Door::new(&Hook { url, secret: Secret::new(secret) }))
    }

    async fn knock(door: &Arc<Door>, secret: Option<&str>, body: &str) -> StatusCode {
        let mut request = http::Request::post("/telegram");
        if let Some(secret) = secret {
            request = request.header(SECRET, secret);
        }
        let request = request.body(axum::body::Body::from(body.to_owned())).unwrap();
        receive(State(Arc::clone(door)), request).await.status()
    }

    const UPDATE: &str = r#"{"update_id": 7, "poll": {}}"#;

    #[tokio::test]
    async fn nobody_is_listened_to_who_does_not_say_the_secret() {
        let closed = door("s3cret");
        closed.shut(None);
        for secret in [None, Some(""), Some("S3cret"), Some("s3cret ")] {
            assert_eq!(knock(&closed, secret, UPDATE).await, StatusCode::UNAUTHORIZED, "{secret:?}");
        }
        assert_eq!(knock(&closed, Some("s3cret"), UPDATE).await, StatusCode::SERVICE_UNAVAILABLE);
        for body in ["", "{", "[]", r#"{"message": {}}"#, r#"{"update_id": -1}"#] {
            assert_eq!(knock(&closed, Some("s3cret"), body).await, StatusCode::BAD_REQUEST, "{body}");
        }
        let long = format!("{}{}", " ".repeat(1024 * 1024), UPDATE);
        assert_eq!(knock(&closed, Some("s3cret"), &long).await, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(knock(&door(""), Some(""), UPDATE).await, StatusCode::UNAUTHORIZED);
    }

    /// Who knocks waits for a connection that is being made, and hears what became of the update.
    #[tokio::test]
    async fn what_is_stored_is_confirmed_and_nothing_else() {
        for (is_stored, status) in [
            (Some(true), StatusCode::OK),
            (Some(false), StatusCode::SERVICE_UNAVAILABLE),
            (None, StatusCode::SERVICE_UNAVAILABLE),
        ] {
            let door = door("s");
            let (sender, mut posts) = mpsc::channel(1);
            let connection = async {
                tokio::task::yield_now().await;
                door.open(sender);
                let Post { update, stored } = posts.recv().await.unwrap();
                assert_eq!(update.id, 7);
                if let Some(is_stored) = is_stored {
                    stored.send(is_stored).unwrap();
                }
            };
            let (answered, ()) = tokio::join!(knock(&door, Some("s"), UPDATE), connection);
            assert_eq!(answered, status, "{is_stored:?}");
        }
    }
}
