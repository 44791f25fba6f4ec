//! One request in, one response out: the fast path, the router, and what every response has in common.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use bytes::Bytes;
use futures_util::FutureExt as _;
use hermes_wire::latest::Family;
use hermes_wire::request_id::{REQUEST_ID, request_id};
use hermes_wire::road::INNER;
use hermes_wire::terminal::TERMINAL;
use hermes_wire::{ProfileName, http as contract};
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tower_service::Service as _;
use tracing::error;

use super::cors::{Cors, Verdict};
use super::rest::{self, Watched};
use super::{Caller, InFlight, Load};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers requests of one profile.
pub(crate) struct Responder {
    profile: ProfileName,
    router: Router,
    /// Of paths that only the supervisor may ask for.
    inner: Router,
    /// Of paths that only a command at a terminal may ask for.
    terminal: Router,
    /// Headers of a `/health` answer, cloned for each.
    health: HeaderMap,
    /// What listeners may be for.
    families: Vec<Family>,
    /// Bodies of it, by the line that says what a listener is for; of each platform alone, and of all.
    healths: Vec<(Vec<u8>, Bytes)>,
    /// Which pages may call, where there is an API.
    cors: Option<Cors>,
    load: Arc<Load>,
}

impl Responder {
    /// For `profile`, with the merged routes of its platforms. `families`: every platform that a listener may be for.
    pub(crate) fn new(
        profile: ProfileName,
        router: Router,
        families: Vec<Family>,
        cors: Option<Cors>,
    ) -> Self {
        let mut health = security();
        health.insert(CONTENT_TYPE, HeaderValue::from_static(contract::JSON));
        Self {
            profile,
            router: router.fallback(not_found),
            inner: Router::new().fallback(not_found),
            terminal: Router::new().fallback(not_found),
            health,
            healths: usual(&families)
                .map(|line| (line.as_bytes().to_vec(), health_of(&line, &families)))
                .collect(),
            families,
            cors,
            load: Arc::default(),
        }
    }

    /// With routes below [`INNER`] for the supervisor.
    pub(crate) fn with_inner(self, inner: Router) -> Self {
        Self { inner: inner.fallback(not_found), ..self }
    }

    /// With routes below [`TERMINAL`] for other processes of the user.
    pub(crate) fn with_terminal(self, terminal: Router) -> Self {
        Self { terminal: terminal.fallback(not_found), ..self }
    }

    pub(super) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Answers one request.
    pub(super) async fn respond(&self, request: Request<Incoming>, caller: Caller) -> Response<ReplyBody> {
        self.load.count();
        let id = request_id(request.headers().get(REQUEST_ID).map(HeaderValue::as_bytes));
        let (request, rest) = rest::watch(request);
        // The supervisor marks every request that came in by a listener.
        let is_direct = !request.headers().contains_key(contract::LISTENER);
        let path = request.uri().path();
        let private =
            [(INNER, Caller::Supervisor, &self.inner), (TERMINAL, Caller::Terminal, &self.terminal)];
        let private = private.into_iter().find(|(below, ..)| path.starts_with(below));
        let mut response = match private {
            None => self.admit(request).await,
            Some((_, whose, router)) if whose == caller && is_direct => self.answer(router, request).await,
            Some(_) => self.fixed(StatusCode::NOT_FOUND, TEXT, contract::NOT_FOUND),
        };
        rest.settle(&mut response).await;
        if let Ok(id) = HeaderValue::try_from(id) {
            response.headers_mut().insert(HeaderName::from_static(REQUEST_ID), id);
        }
        response
    }

    /// Lets in whom the rule on pages lets in, and completes the answer by it.
    async fn admit(&self, request: Request<Watched>) -> Response<ReplyBody> {
        let Some(cors) = self.cors.as_ref().filter(|_| self.is_for_pages(&request)) else {
            return self.answer(&self.router, request).await;
        };
        let grant = match cors.judge(request.method(), request.headers()) {
            Verdict::Free => None,
            Verdict::Granted(grant) => Some(grant),
            Verdict::Refused => {
                let mut response = self.fixed(StatusCode::FORBIDDEN, TEXT, "");
                cors.mark(response.headers_mut(), None);
                return response;
            }
            Verdict::Preflight(headers) => {
                let mut response = self.fixed(StatusCode::OK, TEXT, "");
                response.headers_mut().extend(headers);
                return response;
            }
        };
        let mut response = self.answer(&self.router, request).await;
        cors.mark(response.headers_mut(), grant);
        response
    }

    async fn answer(&self, router: &Router, request: Request<Watched>) -> Response<ReplyBody> {
        if self.is_misdirected(request.headers()) {
            return self.fixed(
                StatusCode::NOT_FOUND,
                HeaderValue::from_static(contract::JSON),
                contract::UNKNOWN_PROFILE,
            );
        }
        if request.uri().path() == "/health" {
            return self.health(&request);
        }
        let in_flight = self.load.enter();
        let method = request.method().clone();
        let answer = AssertUnwindSafe(router.clone().call(request)).catch_unwind().await;
        let Ok(Ok(mut response)) = answer else {
            // The panic hook has logged what and where.
            error!(%method, "a request handler panicked");
            return self.fixed(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "500: Internal Server Error");
        };
        if response.status() == StatusCode::METHOD_NOT_ALLOWED
            && !response.headers().contains_key(CONTENT_TYPE)
        {
            let allow = response.headers().get(ALLOW).cloned();
            return self.method_not_allowed(allow);
        }
        let headers = response.headers_mut();
        for (name, value) in &contract::SECURITY_HEADERS {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response.map(|body| ReplyBody::Routed { body, _in_flight: in_flight })
    }

    /// Whether it may be for the API: it came by a listener of that, or by none, and is no other platform's.
    fn is_for_pages(&self, request: &Request<Watched>) -> bool {
        let (line, path) = (listener(request.headers()), request.uri().path());
        let mut names = line.split(|&byte| byte == b',');
        let is_api = |name: &[u8]| self.families.iter().any(|f| f.is_api && f.platform.as_bytes() == name);
        let others = self.families.iter().filter(|family| !family.is_api);
        (line.is_empty() || names.any(is_api))
            && (path == "/health" || !others.into_iter().any(|family| contract::owns(&family.paths, path)))
    }

    /// Whether the supervisor meant another profile. That cannot happen; if it does, nothing of this profile is shown.
    fn is_misdirected(&self, headers: &HeaderMap) -> bool {
        headers.get(contract::PROFILE).is_some_and(|name| name.as_bytes() != self.profile.as_str().as_bytes())
    }

    fn health(&self, request: &Request<Watched>) -> Response<ReplyBody> {
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return self.method_not_allowed(Some(HeaderValue::from_static("GET,HEAD")));
        }
        let line = listener(request.headers());
        let known = self.healths.iter().find(|(known, _)| known == line).map(|(_, body)| body.clone());
        let body = known.unwrap_or_else(|| health_of(&String::from_utf8_lossy(line), &self.families));
        let mut response = Response::new(ReplyBody::Fixed(Some(body)));
        *response.headers_mut() = self.health.clone();
        response
    }

    fn method_not_allowed(&self, allow: Option<HeaderValue>) -> Response<ReplyBody> {
        let mut response = self.fixed(StatusCode::METHOD_NOT_ALLOWED, TEXT, "405: Method Not Allowed");
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
        response
    }

    fn fixed(&self, status: StatusCode, kind: HeaderValue, text: &'static str) -> Response<ReplyBody> {
        let mut response = Response::new(ReplyBody::Fixed(Some(Bytes::from_static(text.as_bytes()))));
        *response.status_mut() = status;
        *response.headers_mut() = self.health.clone();
        response.headers_mut().insert(CONTENT_TYPE, kind);
        response
    }
}

/// The platforms of the listener that a request came in by.
fn listener(headers: &HeaderMap) -> &[u8] {
    headers.get(contract::LISTENER).map_or(b"", HeaderValue::as_bytes)
}

/// What the lines say of listeners that there are mostly.
fn usual(families: &[Family]) -> impl Iterator<Item = String> {
    let all: Vec<_> = families.iter().map(|family| family.platform.as_str()).collect();
    let all = (all.len() > 1).then(|| all.join(","));
    [String::new()].into_iter().chain(families.iter().map(|family| family.platform.clone())).chain(all)
}

/// The body of `/health` where a line says this.
fn health_of(line: &str, families: &[Family]) -> Bytes {
    let names: Vec<_> = line.split(',').filter(|name| !name.is_empty()).collect();
    let is_api = |name: &str| families.iter().any(|family| family.is_api && family.platform == name);
    contract::health_of(&names, is_api).into()
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, contract::NOT_FOUND)
}

fn security() -> HeaderMap {
    contract::SECURITY_HEADERS
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

/// A response body: prepared bytes, or a platform's.
pub(super) enum ReplyBody {
    /// The whole body, until taken.
    Fixed(Option<Bytes>),
    /// A routed request counts as in flight until its body has been sent or dropped.
    Routed {
        /// The platform's body.
        body: axum::body::Body,
        /// The count.
        _in_flight: InFlight,
    },
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match self.get_mut() {
            Self::Fixed(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Routed { body, .. } => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Fixed(bytes) => bytes.is_none(),
            Self::Routed { body, .. } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Fixed(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Routed { body, .. } => body.size_hint(),
        }
    }
}
