//! Requests of Slack's, where it calls this gateway instead of being listened to: events, commands and buttons below `/slack/`.
//!
//! A request is answered after what it brings is on disk. Slack repeats what is not answered within three seconds; a repetition is known
//! by what it brings, so it does not matter whether it says that it is one.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hermes_config::Secret;
use hermes_host::clock;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, StatusCode, header};
use serde_json::json;
use sha2::Sha256;
use tokio::sync::watch;

use super::bot::Bot;
use super::desk::Desk;
use super::intake;
use super::settings::NAME;
use super::wire::{self, Request as Said};
use crate::platform::wire::{BodyError, hex, json, read_body, same_secret};

/// Longest body.
const BODY: u64 = 3 << 20;
/// How far the time of a signature may be from now, in seconds.
const APART: u64 = 300;

/// What requests are answered with.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) secret: Secret,
    pub(super) desk: Desk,
    /// None: it is not known yet who the bot is.
    pub(super) bot: watch::Receiver<Option<Arc<Bot>>>,
}

/// The routes. What a request is about it says itself, whichever of them it comes by.
pub(super) fn routes(door: Door) -> axum::Router {
    let mut routes = axum::Router::new();
    for path in ["/slack/events", "/slack/interactivity", "/slack/actions", "/slack/commands"] {
        routes = routes.route(path, post(receive).fallback(wrong_method));
    }
    routes.with_state(door)
}

async fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], "405: Method Not Allowed").into_response()
}

fn error(status: StatusCode, text: &str) -> Response {
    json(status, &json!({"error": text}))
}

async fn receive(State(door): State<Door>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = match read_body(&parts.headers, body, BODY).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return error(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"),
        Err(BodyError::Broken | BodyError::Undecodable | BodyError::Coding) => {
            return error(StatusCode::BAD_REQUEST, "Cannot parse body");
        }
    };
    if !is_signed(&parts.headers, &body, door.secret.expose(), clock::utc().as_second()) {
        tracing::warn!("[{NAME}] a request is refused: it has no valid signature of the last five minutes");
        return error(StatusCode::UNAUTHORIZED, "Invalid signature");
    }
    let came = match wire::request(&body) {
        None => return error(StatusCode::BAD_REQUEST, "Cannot parse body"),
        Some(Said::Challenge(challenge)) => return json(StatusCode::OK, &json!({"challenge": challenge})),
        Some(Said::Came(came)) => came,
    };
    if let Some(times) = parts.headers.get("x-slack-retry-num").and_then(|value| value.to_str().ok()) {
        tracing::debug!("[{NAME}] Slack repeats a request: {}", times.escape_debug());
    }
    let bot = door.bot.borrow().clone();
    let Some(bot) = bot else { return error(StatusCode::SERVICE_UNAVAILABLE, "Slack is not connected") };
    match intake::take(&door.desk, &bot, came).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(why) => {
            tracing::error!("[{NAME}] an event could not be stored; Slack repeats it: {why}");
            error(StatusCode::SERVICE_UNAVAILABLE, "Event could not be stored")
        }
    }
}

/// Whether whoever sent this knows the secret, now.
fn is_signed(headers: &HeaderMap, body: &[u8], secret: &str, now: i64) -> bool {
    let of = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(stamp), Some(signature)) = (of("x-slack-request-timestamp"), of("x-slack-signature")) else {
        return false;
    };
    let is_number = !stamp.is_empty() && stamp.len() < 16 && stamp.bytes().all(|byte| byte.is_ascii_digit());
    let Some(at) = stamp.parse::<i64>().ok().filter(|_| is_number) else { return false };
    if secret.is_empty() || now.abs_diff(at) > APART {
        return false;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    for part in [b"v0:".as_slice(), stamp.as_bytes(), b":", body] {
        mac.update(part);
    }
    let expected = format!("v0={}", hex(&mac.finalize().into_bytes()));
    same_secret(signature.as_bytes(), expected.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fresh_signature_by_the_secret_counts() {
        let (secret, body) = ("8f742231b10e8888abcd99yyyzzz85a5", b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c");
        // As Slack's documentation has it.
        let signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
        let at = 1_531_420_618;
        let judge = |stamp: &str, signature: &str, body: &[u8], secret: &str, now| {
            let mut headers = HeaderMap::new();
            headers.insert("x-slack-request-timestamp", stamp.parse().unwrap());
            headers.insert("x-slack-signature", signature.parse().unwrap());
            is_signed(&headers, body, secret, now)
        };
        assert!(judge("1531420618", signature, body, secret, at));
        assert!(judge("1531420618", signature, body, secret, at + 300));
        assert!(!judge("1531420618", signature, body, secret, at + 301));
        assert!(!judge("1531420618", signature, body, secret, at - 301));
        assert!(!judge("1531420619", signature, body, secret, at));
        assert!(!judge("1531420618", signature, b"other", secret, at));
        assert!(!judge("1531420618", signature, body, "other", at));
        assert!(!judge("1531420618", &signature[3..], body, secret, at));
        assert!(!judge("+1531420618", signature, body, secret, at));
        assert!(!judge("", signature, body, secret, at));
        assert!(!is_signed(&HeaderMap::new(), body, secret, at));
        let mut mac = Hmac::<Sha256>::new_from_slice(b"").unwrap();
        mac.update(b"v0:1:x");
        let empty = format!("v0={}", hex(&mac.finalize().into_bytes()));
        assert!(!judge("1", &empty, b"x", "", 1), "no secret is none");
    }
}
