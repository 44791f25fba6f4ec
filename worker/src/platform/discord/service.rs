//! Requests to Discord's REST, within its limits, and what can become of them. The token is in one header, and in no text that is made here.
//!
//! There is one [`Service`] for each bot: the connection and the way out share its client and what is known of limits. Once Discord has said
//! that the token is none, no further request is made.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hermes_config::Secret;
use hermes_config::is_private;
use hermes_config::network::Network;
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use twilight_http_ratelimiting::{Endpoint, Method, Permit, RateLimitHeaders, RateLimiter};

use super::settings::Settings;
use super::wire::{self, Channel, Guild, Id, Member, Message, Refusal, User};
use crate::handover::{ByteStream, Unfetched};
use crate::outgoing::answer::{self, Unanswered, Unread, pieces};
use crate::outgoing::{innermost, to};

/// Most that is read of one answer, in bytes.
const BODY: usize = 8 * 1024 * 1024;
/// Time for one request.
const TIME: Duration = Duration::from_secs(20);
/// Longest wait for a limit within a request; whoever asked is told of longer ones.
const WAIT: Duration = Duration::from_secs(6);
/// How often a request is made that is one too many.
const TRIES: u32 = 3;
/// The wait where one is asked for and not named.
const UNNAMED: Duration = Duration::from_secs(1);
/// Hosts that files are on, beside that of REST.
const FILES: [&str; 3] = ["cdn.discordapp.com", "media.discordapp.net", "cdn.discord.com"];

/// What became of a request that got no proper answer. No text holds the token.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(super) enum Failure {
    /// It cannot be made, ever.
    #[error("{reason}")]
    Unusable {
        /// For programs.
        code: String,
        /// For people.
        reason: String,
    },
    /// The token is none (any more); nothing is asked for with it.
    #[error(
        "Discord does not accept the token of the bot: copy it to DISCORD_BOT_TOKEN again, from the page Bot of https://discord.com/developers/applications"
    )]
    Revoked,
    /// Answered with an error.
    #[error("{what}: Discord says {}", said(refusal))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        refusal: Refusal,
    },
    /// It is one too many for now.
    #[error("Discord wants {} s without such requests", after.as_secs_f64().ceil())]
    Limited {
        /// For how long.
        after: Duration,
    },
    /// It did not get there.
    #[error("Discord is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the connection to Discord broke: {0}")]
    Lost(String),
    /// The answer is none.
    #[error("Discord's answer to {0} is not understood")]
    Garbled(&'static str),
}

fn said(refusal: &Refusal) -> String {
    let Refusal { status, code, message, .. } = refusal;
    match (message.is_empty(), code) {
        (true, _) => status.to_string(),
        (false, 0) => format!("{status} ({message})"),
        (false, code) => format!("{status} ({code}: {message})"),
    }
}

impl Failure {
    /// Discord's own number of it.
    pub(super) fn code(&self) -> u64 {
        match self {
            Self::Refused { refusal, .. } => refusal.code,
            _ => 0,
        }
    }

    /// Whether the same request may go well later.
    pub(super) fn is_for_now(&self) -> bool {
        match self {
            Self::Refused { refusal, .. } => refusal.status >= 500,
            Self::Limited { .. } | Self::Unsent(_) | Self::Lost(_) | Self::Garbled(_) => true,
            Self::Unusable { .. } | Self::Revoked => false,
        }
    }
}

/// What goes with a request.
#[derive(Clone)]
pub(super) enum Body {
    Nothing,
    Json(Value),
    /// A form of several parts, with its boundary.
    Form(String, Bytes),
}

/// Discord, as one bot sees it. Cloning shares it.
#[derive(Clone)]
pub(super) struct Service(Arc<Inner>);

struct Inner {
    client: Client,
    base: Url,
    token: Secret,
    network: Network,
    limits: RateLimiter,
    /// No request at all before that.
    until: Mutex<Option<Instant>>,
    revoked: watch::Sender<bool>,
}

impl Service {
    pub(super) fn new(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        if let Some(fault) = &settings.fault {
            return Err(unusable(&fault.code, fault.message.clone()));
        }
        let client = to(&settings.base, network, None)
            .map_err(|error| unusable("discord_client", error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            client,
            base: settings.base.clone(),
            token: settings.token.clone(),
            network: network.clone(),
            limits: RateLimiter::default(),
            until: Mutex::default(),
            revoked: watch::Sender::new(false),
        })))
    }

    /// Returns once Discord has said that the token is none. Cancel safe.
    pub(super) async fn revoked(&self) {
        let mut revoked = self.0.revoked.subscribe();
        // The sender lives as long as this.
        let _ = revoked.wait_for(|is_revoked| *is_revoked).await;
    }

    /// The token is none any more.
    pub(super) fn revoke(&self) {
        self.0.revoked.send_replace(true);
    }

    /// Who the bot is.
    pub(super) async fn me(&self) -> Result<User, Failure> {
        self.ask("users/@me", Method::Get, "users/@me", Body::Nothing).await
    }

    /// A channel or a thread.
    pub(super) async fn channel(&self, id: Id) -> Result<Channel, Failure> {
        self.ask("channels", Method::Get, &format!("channels/{id}"), Body::Nothing).await
    }

    /// A server.
    pub(super) async fn guild(&self, id: Id) -> Result<Guild, Failure> {
        self.ask("guilds", Method::Get, &format!("guilds/{id}"), Body::Nothing).await
    }

    /// Somebody, as a server knows him.
    pub(super) async fn member(&self, guild: Id, user: Id) -> Result<Member, Failure> {
        self.ask("members", Method::Get, &format!("guilds/{guild}/members/{user}"), Body::Nothing).await
    }

    /// The last messages of a channel before another one, the newest first. What is none of them is left out.
    pub(super) async fn history(&self, channel: Id, before: Id, most: u64) -> Result<Vec<Message>, Failure> {
        let path = format!("channels/{channel}/messages?before={before}&limit={most}");
        let all: Vec<Value> = self.ask("what was said", Method::Get, &path, Body::Nothing).await?;
        let read = |one: Value| serde_json::from_value::<Message>(one).ok().filter(Message::is_sound);
        Ok(all.into_iter().filter_map(read).collect())
    }

    /// Answers an interaction, for the first time.
    pub(super) async fn answer(&self, id: Id, token: &str, body: &Value) -> Result<(), Failure> {
        let path = format!("interactions/{id}/{token}/callback");
        self.call("interactions", Method::Post, &path, Body::Json(body.clone())).await.map(drop)
    }

    /// Any request; its answer as JSON.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<T, Failure> {
        let bytes = self.call(what, method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|_| Failure::Garbled(what))
    }

    /// Any request, once more where it was one too many and the wait is short. What is asked with a token of its own (interactions,
    /// webhooks) has no limit in common with the rest, and is never in line behind it.
    pub(super) async fn call(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: Body,
    ) -> Result<Bytes, Failure> {
        let is_apart = path.starts_with("interactions/") || path.starts_with("webhooks/");
        let give_up = Instant::now() + WAIT;
        let mut tries = 0;
        loop {
            tries += 1;
            if *self.0.revoked.borrow() {
                return Err(Failure::Revoked);
            }
            let permit = if is_apart { None } else { Some(self.permit(method, path, give_up).await?) };
            let after = match self.once(what, method, path, body.clone(), permit).await {
                Err(Failure::Limited { after }) => after,
                Err(Failure::Refused { refusal, .. }) if refusal.status == 401 && !is_apart => {
                    self.revoke();
                    return Err(Failure::Revoked);
                }
                answer => return answer,
            };
            let until = Instant::now() + after;
            if tries == TRIES || until > give_up {
                return Err(Failure::Limited { after });
            }
            sleep_until(until).await;
        }
    }

    /// Waits until a request may be made.
    async fn permit(&self, method: Method, path: &str, give_up: Instant) -> Result<Permit, Failure> {
        let until = *self.0.until.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(until) = until.filter(|until| *until > Instant::now()) {
            if until > give_up {
                return Err(Failure::Limited { after: until.saturating_duration_since(Instant::now()) });
            }
            sleep_until(until).await;
        }
        let endpoint = Endpoint { method, path: path.split('?').next().unwrap_or_default().to_owned() };
        if let Ok(permit) = timeout_at(give_up, self.0.limits.acquire(endpoint.clone())).await {
            return Ok(permit);
        }
        // How long the line is, nobody knows; when its bucket is full again is known.
        let after = match timeout_at(Instant::now() + UNNAMED, self.0.limits.bucket(endpoint)).await {
            Ok(Some(bucket)) => {
                bucket.reset_at.saturating_duration_since(std::time::Instant::from(Instant::now()))
            }
            _ => UNNAMED,
        };
        Err(Failure::Limited { after: after.max(UNNAMED) })
    }

    async fn once(
        &self,
        what: &'static str,
        method: Method,
        path: &str,
        body: Body,
        permit: Option<Permit>,
    ) -> Result<Bytes, Failure> {
        let url = self.0.base.join(path).ok().filter(|url| url.origin() == self.0.base.origin());
        let url = url.ok_or(Failure::Garbled(what))?;
        let name = http::Method::from_bytes(method.name().as_bytes()).map_err(|_| Failure::Garbled(what))?;
        let mut request = self.0.client.request(name, url).timeout(TIME);
        // What has a token in its address needs no other.
        if permit.is_some() {
            request = request.header(header::AUTHORIZATION, format!("Bot {}", self.0.token.expose()));
        }
        request = match body {
            Body::Nothing if matches!(method, Method::Post | Method::Put) => {
                request.header(header::CONTENT_LENGTH, 0)
            }
            Body::Nothing => request,
            Body::Json(value) => request.json(&value),
            Body::Form(boundary, bytes) => request
                .header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
                .body(bytes),
        };
        let response = request.send().await.map_err(|error| self.lost(error))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if let Some(permit) = permit {
            permit.complete(limits(status, &headers));
        }
        let bytes = answer::body(response, BODY).await.map_err(|error| match error {
            Unread::Lost(text) => Failure::Lost(self.clean(&text)),
            Unread::TooMuch => Failure::Garbled(what),
        })?;
        if status.is_success() {
            return Ok(bytes.into());
        }
        let asked = number(&headers, "retry-after").filter(|seconds| (0.0..=86_400.0).contains(seconds));
        let mut refusal = wire::refusal(status.as_u16(), &bytes, asked.map(Duration::from_secs_f64));
        refusal.message = self.clean(&refusal.message);
        if status == StatusCode::TOO_MANY_REQUESTS {
            let after = refusal.retry_after.unwrap_or(UNNAMED);
            // What is between asks for everything to wait, too.
            if refusal.is_global || !refusal.is_own || headers.contains_key("x-ratelimit-global") {
                let until = Instant::now() + after;
                let mut all = self.0.until.lock().unwrap_or_else(PoisonError::into_inner);
                *all = Some(all.map_or(until, |before| before.max(until)));
            }
            return Err(Failure::Limited { after });
        }
        Err(Failure::Refused { what, refusal })
    }

    /// A file, as it comes. Nothing of this bot goes along.
    pub(super) async fn file(&self, address: &str) -> Result<ByteStream, Unfetched> {
        let gone = |why: &str| Unfetched::Gone(why.to_owned());
        let url = Url::parse(address).ok().filter(is_private);
        let url =
            url.filter(|url| self.has_files(url)).ok_or_else(|| gone("it is not where Discord has files"))?;
        let client = to(&url, &self.0.network, None).map_err(|error| Unfetched::Gone(error.to_string()))?;
        let sent = client.get(url).send().await;
        let sent = sent.map_err(|error| Unfetched::Away(innermost(&error.without_url())))?;
        match sent.status().as_u16() {
            200 => Ok(pieces(sent)),
            status @ (400 | 401 | 403 | 404 | 410) => Err(Unfetched::Gone(format!("Discord says {status}"))),
            status => Err(Unfetched::Away(format!("Discord says {status}"))),
        }
    }

    fn has_files(&self, url: &Url) -> bool {
        let is_at_home = url.host() == self.0.base.host();
        is_at_home || (url.scheme() == "https" && url.host_str().is_some_and(|host| FILES.contains(&host)))
    }

    /// What a request without an answer is.
    fn lost(&self, error: reqwest::Error) -> Failure {
        match Unanswered::from(error) {
            Unanswered::Unsent(text) => Failure::Unsent(self.clean(&text)),
            Unanswered::Lost(text) => Failure::Lost(self.clean(&text)),
        }
    }

    /// A text without the token.
    fn clean(&self, text: &str) -> String {
        if self.0.token.is_empty() { text.to_owned() } else { text.replace(self.0.token.expose(), "***") }
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<f64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// What an answer says of its limit.
fn limits(status: StatusCode, headers: &HeaderMap) -> Option<RateLimitHeaders> {
    let bucket = headers.get(RateLimitHeaders::BUCKET)?.as_bytes().to_vec();
    let whole = |name| number(headers, name).filter(|n| (0.0..=65_535.0).contains(n));
    let seconds = |name| number(headers, name).filter(|n| (0.0..=86_400.0).contains(n));
    // What is counted with others' requests is free again later than its own bucket says.
    let asked =
        seconds("retry-after").filter(|_| status == StatusCode::TOO_MANY_REQUESTS).unwrap_or_default();
    let reset = seconds(RateLimitHeaders::RESET_AFTER)?.max(asked);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is in range")]
    let whole = |name| whole(name).map(|n| n as u16);
    let is_over = status == StatusCode::TOO_MANY_REQUESTS;
    Some(RateLimitHeaders {
        bucket,
        limit: whole(RateLimitHeaders::LIMIT)?,
        remaining: if is_over { 0 } else { whole(RateLimitHeaders::REMAINING)? },
        reset_at: std::time::Instant::from(Instant::now()) + Duration::from_secs_f64(reset),
    })
}

/// A file and what is said with it, as a form.
pub(super) fn form(boundary: &str, said: &Value, name: &str, media_type: &str, bytes: &[u8]) -> Body {
    // Nothing in a name ends the header that it stands in.
    let plain = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() || matches!(c, '"' | '\\') { '_' } else { c }).collect()
    };
    let (name, media_type) = (plain(name), plain(media_type));
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"payload_json\"\r\nContent-Type: application/json\r\n\r\n{said}\r\n\
         --{boundary}\r\nContent-Disposition: form-data; name=\"files[0]\"; filename=\"{name}\"\r\nContent-Type: {media_type}\r\n\r\n"
    );
    let tail = format!("\r\n--{boundary}--\r\n");
    Body::Form(boundary.to_owned(), [head.as_bytes(), bytes, tail.as_bytes()].concat().into())
}

/// What a message says of a file that comes with it.
pub(super) fn described(name: &str) -> Value {
    json!([{"id": 0, "filename": name}])
}
