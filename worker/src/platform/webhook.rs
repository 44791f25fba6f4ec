//! Signed events from other systems: `POST /webhooks/{route}`.
//!
//! # The way of a request
//!
//! ```text
//! route known? 404 ─▶ enabled? 403 ─▶ size 413 ─▶ secret 403, signature 401 ─▶ GitHub's ping, Slack's challenge: 200
//!   ─▶ rate 429 ─▶ JSON 400 ─▶ event type, filters, script: 200 ignored (500 no such script, 503 none can be started now) ─▶ seen before? 200 duplicate
//!   ─▶ deliver_only: delivered now, 200 or 502   else   on disk: 202, and a turn follows
//! ```
//!
//! # Guarantees
//!
//! - 202 is answered after the event was committed, and an event runs once however often its sender repeats it, for a day and
//!   across restarts. A direct delivery counts as seen only once it succeeded.
//! - What was seen before costs no rate: a sender that repeats itself can not lock itself out.
//! - Only this profile's routes exist here: its own file's, those bound to it, and its own subscription file's.
//! - A platform whose configuration must not be served answers 503 to everything.

mod event;
mod filter;
mod payload;
mod rate;
mod routes;
mod script;
pub(crate) mod settings;
mod signature;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod vendor;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use hermes_config::ProfileConfig;
use hermes_host::{blocking, clock};
use hermes_wire::latest::BoundListener;
use hermes_wire::{ProfileHome, ProfileName};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio_util::task::TaskTracker;

use super::wire::{BodyError, CODINGS, json, read_body};
use super::{Adapter, Context, Down, Folder, Link, Platform, PlatformFuture};
use crate::delivery::Deliveries;
use crate::delivery::outbound::Unsent;
use crate::inbound::{Accepted, Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::inbox::{Inbox, Reservation};
use crate::skills::Library;
use crate::store::StoreError;
use event::DeliveryId;
use routes::{Auth, Ready, Routes, Shared};
use settings::DECLARATION;
pub(crate) use settings::{Route, Settings};
use signature::Verdict;
use tree::Node;

/// The platform's name, also in sources and de-duplication.
pub const NAME: &str = DECLARATION.name;
/// Reason under which the session of an event ends.
const SESSION_END: &str = "webhook_complete";

/// One line of the registry.
pub(super) const FOLDER: Folder = Folder { declaration: &DECLARATION, connect, outbound: None, check: None };

/// Whether routes without a secret of their own have one.
pub fn has_secret(config: &ProfileConfig) -> bool {
    let settings: Option<&Settings> = config.settings.of(NAME);
    settings.is_some_and(|settings| settings.secret.is_some())
}

/// The platform, where this profile's configuration turns it on.
fn connect(context: &Context) -> Option<Platform> {
    let webhook = Webhook::new(context.config.settings.of(NAME)?, context);
    let routes = axum::Router::new()
        .route("/webhooks/{route}", axum::routing::post(receive).fallback(wrong_method))
        .with_state(webhook.clone());
    Some(Platform {
        declaration: &DECLARATION,
        routes: Some(routes),
        pages: None,
        adapter: Arc::new(webhook),
    })
}

/// The platform `webhook`. Cloning shares it.
#[derive(Clone)]
struct Webhook(Arc<Inner>);

struct Inner {
    config: Settings,
    profile: ProfileName,
    home: ProfileHome,
    listeners: Vec<BoundListener>,
    inbox: Inbox,
    deliveries: Deliveries,
    scripts: script::Runner,
    skills: Library,
    /// Set once the configuration was found fit to be served.
    routes: OnceLock<Routes>,
    /// Direct deliveries: they end even if their sender does not wait.
    delivering: TaskTracker,
}

impl Webhook {
    fn new(config: &Settings, context: &Context) -> Self {
        let scripts = script::Runner::new(
            context.home.scripts(),
            &context.child_env,
            config.script_timeout,
            context.fence.clone(),
        );
        Self(Arc::new(Inner {
            skills: Library::new(&context.home, &context.config),
            config: config.clone(),
            profile: context.config.name.clone(),
            home: context.home.clone(),
            listeners: context.listeners.clone(),
            inbox: context.inbox.clone(),
            deliveries: context.deliveries.clone(),
            scripts,
            routes: OnceLock::new(),
            delivering: TaskTracker::new(),
        }))
    }

    /// Reads the routes, if the configuration may be served at all.
    fn open(&self) -> Result<(), Down> {
        let inner = &self.0;
        if let Some(fault) = &inner.config.fault {
            return Err(Down::fatal(&fault.code, &fault.message));
        }
        let secret = inner.config.secret.clone();
        let shared = Shared::new(secret, inner.profile.clone(), inner.home.clone(), &inner.listeners);
        let routes = Routes::new(shared, &inner.config.routes)?;
        for (name, route) in &inner.config.routes {
            if let Some((script, reason)) =
                route.script.as_deref().and_then(|script| Some((script, inner.scripts.fault(script)?)))
            {
                tracing::error!(
                    route = name,
                    script,
                    "[webhook] Route '{name}' refuses its events: its script cannot be run: {reason}"
                );
            }
        }
        // A second time finds the first one's routes in force.
        let _ = inner.routes.set(routes);
        Ok(())
    }
}

impl Adapter for Webhook {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            self.open()?;
            link.up();
            link.told().await;
            self.0.delivering.close();
            self.0.delivering.wait().await;
            Ok(())
        })
    }
}

/// Every answer but errors of the form `{"error": …}`; the order of the fields is that of 0.19.0.
#[derive(Serialize, Default)]
struct Reply<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_id: Option<&'a str>,
}

impl Reply<'_> {
    fn send(&self, status: StatusCode) -> Response {
        json(status, self)
    }
}

fn error(status: StatusCode, text: &str) -> Response {
    Reply { error: Some(text), ..Reply::default() }.send(status)
}

fn duplicate(id: &str) -> Response {
    Reply { status: Some("duplicate"), delivery_id: Some(id), ..Reply::default() }.send(StatusCode::OK)
}

fn ignored(event: &str) -> Response {
    Reply { status: Some("ignored"), event: Some(event), ..Reply::default() }.send(StatusCode::OK)
}

fn dropped(route: &str, reason: &str) -> Response {
    Reply { status: Some("ignored"), reason: Some(reason), route: Some(route), ..Reply::default() }
        .send(StatusCode::OK)
}

fn retry_after(mut response: Response, wait: Duration) -> Response {
    let seconds = wait.as_millis().div_ceil(1000).clamp(1, 3600);
    let value = HeaderValue::from_str(&seconds.to_string()).expect("digits are a header value");
    response.headers_mut().insert(header::RETRY_AFTER, value);
    response
}

fn not_stored(cause: &StoreError) -> Response {
    tracing::error!(error = %cause.reason(), "[webhook] an event could not be stored; its sender was told to retry");
    let (error, reason) = (Some("Event could not be stored"), cause.told());
    let answer = Reply { error, reason: Some(&reason), ..Reply::default() };
    retry_after(answer.send(StatusCode::SERVICE_UNAVAILABLE), Duration::from_secs(5))
}

async fn wrong_method() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "POST")], "405: Method Not Allowed").into_response()
}

async fn receive(
    State(webhook): State<Webhook>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let inner = &*webhook.0;
    let Ok(Path(name)) = name else {
        return error(StatusCode::NOT_FOUND, "Unknown route");
    };
    let Some(routes) = inner.routes.get() else {
        return error(StatusCode::SERVICE_UNAVAILABLE, "Webhook platform is not running");
    };
    let Some(ready) = routes.get(&name) else {
        return error(StatusCode::NOT_FOUND, &format!("Unknown route: {name}"));
    };
    if !ready.route.enabled {
        return error(StatusCode::FORBIDDEN, &format!("Route disabled: {name}"));
    }
    let (parts, body) = request.into_parts();
    let body = match read_body(&parts.headers, body, inner.config.max_body_bytes).await {
        Ok(body) => body,
        Err(BodyError::TooLarge) => return error(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"),
        Err(BodyError::Coding) => {
            let mut answer = error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported Content-Encoding");
            answer.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(CODINGS));
            return answer;
        }
        Err(BodyError::Broken | BodyError::Undecodable) => {
            return error(StatusCode::BAD_REQUEST, "Cannot parse body");
        }
    };
    let now = clock::utc();
    if let Some(refusal) = refuse(&name, &ready, &parts.headers, &body, now) {
        return refusal;
    }
    if event::is_ping(&parts.headers) {
        return ignored("ping");
    }
    let payload = payload::parse(&parts.headers, &body);
    let signed = ready.scheme.zip(payload.as_ref());
    if let Some(challenge) = signed.and_then(|(scheme, payload)| vendor::challenge(scheme, payload)) {
        return json(StatusCode::OK, &BTreeMap::from([("challenge", challenge)]));
    }
    let id = signed.and_then(|(scheme, payload)| vendor::id_of(scheme, payload));
    let delivery = event::delivery_id(&parts.headers, id, now.as_millisecond());
    let arrival = Arrival { inner, name, ready, headers: parts.headers, delivery };
    arrival.accept(payload).await.unwrap_or_else(|answer| answer)
}

/// The answer to a sender who does not prove to know the secret.
fn refuse(
    name: &str,
    ready: &Ready,
    headers: &HeaderMap,
    body: &[u8],
    now: jiff::Timestamp,
) -> Option<Response> {
    let secret = match &ready.auth {
        Auth::Open => return None,
        Auth::Missing => {
            return Some(error(StatusCode::FORBIDDEN, "Webhook route is missing an HMAC secret"));
        }
        Auth::Secret(secret) => secret,
    };
    let verdict = match ready.scheme {
        Some(scheme) => vendor::verify(scheme, headers, body, secret.expose(), now.as_millisecond()),
        None => signature::verify(headers, body, secret.expose(), now.as_second()),
    };
    match verdict {
        Verdict::Valid => None,
        Verdict::ValidV1 => {
            if !ready.warned_v1.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    route = name,
                    "[webhook] Route '{name}': X-Webhook-Signature can be replayed; send X-Webhook-Signature-V2 with \
                     X-Webhook-Timestamp"
                );
            }
            None
        }
        Verdict::Invalid => Some(error(StatusCode::UNAUTHORIZED, "Invalid signature")),
    }
}

/// An authenticated request.
struct Arrival<'a> {
    inner: &'a Inner,
    name: String,
    ready: Arc<Ready>,
    headers: HeaderMap,
    delivery: DeliveryId,
}

impl Arrival<'_> {
    /// Both sides are answers; the error side is that of a step that ends the way early.
    async fn accept(self, payload: Option<Node>) -> Result<Response, Response> {
        self.count().await?;
        let payload = payload.ok_or_else(|| error(StatusCode::BAD_REQUEST, "Cannot parse body"))?;
        let event = event::event_type(&self.headers, &payload);
        let route = &self.ready.route;
        if !event.is_listed(&route.events) {
            return Err(ignored(&event.name));
        }
        let subject = filter::Subject { payload: &payload, event_type: &event.name, headers: &self.headers };
        for filter in &self.ready.filters {
            match filter.matches(&subject) {
                Ok(true) => {}
                Ok(false) => return Err(dropped(&self.name, "filter")),
                Err(reason) => return Err(self.later("filter", &reason)),
            }
        }
        let payload = self.run_script(payload).await?;
        let text = if route.prompt.is_empty() {
            template::default_prompt(&payload, &event.name, &self.name)
        } else {
            template::render(&route.prompt, &payload, &event.name)
        };
        let target =
            DeliveryTarget { kind: route.deliver.clone(), extra: extra(&route.deliver_extra, &payload) };
        if route.deliver_only {
            return self.deliver(target, text).await;
        }
        let text = self.with_skill(text).await;
        self.enqueue(target, text, &event.name).await
    }

    /// The prompt behind the first of the route's skills that there is.
    async fn with_skill(&self, text: String) -> String {
        let names = self.ready.route.skills.clone();
        if names.is_empty() {
            return text;
        }
        let (skills, asked) = (self.inner.skills.clone(), text.clone());
        let invoked = blocking::run(move || skills.first_of(&names, &asked, NAME)).await;
        invoked.ok().flatten().unwrap_or(text)
    }

    /// Counts the request, unless it was seen before.
    async fn count(&self) -> Result<(), Response> {
        let taken = {
            let mut window = self.ready.window.lock().unwrap_or_else(PoisonError::into_inner);
            window.take(self.inner.config.rate_limit, clock::now())
        };
        // Storing finds duplicates by itself. Only who is refused, or would run a script twice, must know before.
        if taken.is_ok() && self.ready.route.script.is_none() {
            return Ok(());
        }
        if let Some(key) = self.dedup() {
            match self.inner.inbox.is_known(NAME, &key).await {
                Ok(true) => {
                    if taken.is_ok() {
                        self.uncount();
                    }
                    return Err(duplicate(&self.delivery.id));
                }
                Ok(false) => {}
                Err(cause) => return Err(not_stored(&cause)),
            }
        }
        taken.map_err(|wait| retry_after(error(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded"), wait))
    }

    fn uncount(&self) {
        self.ready.window.lock().unwrap_or_else(PoisonError::into_inner).give_back();
    }

    async fn run_script(&self, payload: Node) -> Result<Node, Response> {
        let Some(path) = &self.ready.route.script else { return Ok(payload) };
        match self.inner.scripts.run(path, payload).await {
            script::Verdict::Continue(payload) => Ok(payload),
            script::Verdict::Ignore(reason) => {
                tracing::info!(
                    route = self.name,
                    script = path,
                    "[webhook] the route's script dropped an event: {reason}"
                );
                Err(dropped(&self.name, "script"))
            }
            script::Verdict::Broken(reason) => {
                tracing::error!(
                    route = self.name,
                    script = path,
                    "[webhook] an event is refused because its route's script cannot be run: {reason}"
                );
                Err(error(StatusCode::INTERNAL_SERVER_ERROR, "Route script cannot be run"))
            }
            script::Verdict::Unavailable(reason) => Err(self.later("script", &reason)),
        }
    }

    /// The answer where something of ours that decides about the event cannot be had for now. Nothing is remembered of it.
    fn later(&self, what: &str, reason: &str) -> Response {
        tracing::error!(
            route = self.name,
            "[webhook] an event was not judged, its sender was told to retry: {what}: {reason}"
        );
        let busy = error(StatusCode::SERVICE_UNAVAILABLE, "Event could not be judged");
        retry_after(busy, Duration::from_secs(5))
    }

    /// How the sender may repeat this event. An id of our own never comes again.
    fn dedup(&self) -> Option<DedupKey> {
        self.delivery.from_sender.then(|| DedupKey { scope: self.name.clone(), id: self.delivery.id.clone() })
    }

    fn chat_id(&self) -> String {
        format!("webhook:{}:{}", self.name, self.delivery.id)
    }

    async fn enqueue(
        &self,
        delivery: DeliveryTarget,
        text: String,
        event: &str,
    ) -> Result<Response, Response> {
        let source = Source {
            platform: NAME.to_owned(),
            chat_type: NAME.to_owned(),
            chat_id: Some(self.chat_id()),
            chat_name: Some(format!("webhook/{}", self.name)),
            user_id: Some(format!("webhook:{}", self.name)),
            user_name: Some(self.name.clone()),
            ..Source::default()
        };
        let event_end = Some(SESSION_END.to_owned());
        let inbound = Inbound {
            source,
            text,
            context: None,
            dedup: self.dedup(),
            delivery,
            end_session: event_end,
            busy: Busy::Wait,
        };
        match self.inner.inbox.accept(inbound).await {
            Ok(Accepted::New) => Ok(Reply {
                status: Some("accepted"),
                route: Some(&self.name),
                event: Some(event),
                delivery_id: Some(&self.delivery.id),
                ..Reply::default()
            }
            .send(StatusCode::ACCEPTED)),
            Ok(Accepted::Duplicate) => {
                self.uncount();
                Ok(duplicate(&self.delivery.id))
            }
            // Events that wait are not bounded.
            Ok(Accepted::Full) => Err(error(StatusCode::SERVICE_UNAVAILABLE, "Too many events wait")),
            Err(cause) => Err(not_stored(&cause)),
        }
    }

    /// Delivers without a turn. The work does not depend on the sender's patience, so that its outcome is always recorded.
    async fn deliver(self, target: DeliveryTarget, text: String) -> Result<Response, Response> {
        let (dedup, chat_id, kind) = (self.dedup(), self.chat_id(), target.kind.clone());
        let (inbox, deliveries) = (self.inner.inbox.clone(), self.inner.deliveries.clone());
        let work = self.inner.delivering.spawn(async move {
            if let Some(key) = &dedup {
                match inbox.reserve(NAME, key).await? {
                    Reservation::New => {}
                    other => return Ok(Direct::Not(other)),
                }
            }
            let result = deliveries.deliver(&target, &chat_id, &text).await;
            if let Some(key) = &dedup {
                let recorded = match result {
                    Ok(()) => inbox.confirm(NAME, key).await,
                    Err(_) => inbox.release(NAME, key).await,
                };
                if let Err(cause) = recorded {
                    tracing::error!(error = %hermes_host::cause::chain(&cause), "[webhook] the outcome of a delivery could not be stored");
                }
            }
            Ok(Direct::Done(result))
        });
        let id = Some(self.delivery.id.as_str());
        let failed = |text, status| {
            Reply { status: Some("error"), error: Some(text), delivery_id: id, ..Reply::default() }
                .send(status)
        };
        match work.await {
            Ok(Ok(Direct::Done(Ok(())))) => Ok(Reply {
                status: Some("delivered"),
                route: Some(&self.name),
                target: Some(&kind),
                delivery_id: id,
                ..Reply::default()
            }
            .send(StatusCode::OK)),
            Ok(Ok(Direct::Done(Err(cause)))) => {
                tracing::warn!(route = self.name, target = kind, error = %cause, "[webhook] a direct delivery failed");
                Err(failed("Delivery failed", StatusCode::BAD_GATEWAY))
            }
            Ok(Ok(Direct::Not(Reservation::InFlight))) => {
                self.uncount();
                let busy = failed("Delivery in progress", StatusCode::SERVICE_UNAVAILABLE);
                Err(retry_after(busy, Duration::from_secs(1)))
            }
            Ok(Ok(Direct::Not(_))) => {
                self.uncount();
                Ok(duplicate(&self.delivery.id))
            }
            Ok(Err(cause)) => Err(not_stored(&cause)),
            Err(_) => Err(failed("Delivery failed", StatusCode::BAD_GATEWAY)),
        }
    }
}

/// What became of a direct delivery.
enum Direct {
    Done(Result<(), Unsent>),
    Not(Reservation),
}

fn extra(templates: &BTreeMap<String, String>, payload: &Node) -> BTreeMap<String, String> {
    templates.iter().map(|(key, value)| (key.clone(), template::render(value, payload, ""))).collect()
}
