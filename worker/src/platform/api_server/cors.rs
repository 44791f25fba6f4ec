//! Which web pages may call: those of the configured origins, on every path.
//!
//! Requests without an `Origin` are no business of this rule. Any other origin gets 403 and nothing else.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use super::ApiServer;

const METHODS: &str = "GET, POST, PATCH, DELETE, OPTIONS";
const ALLOWED: &str =
    "Authorization, Content-Type, Idempotency-Key, X-Hermes-Session-Id, X-Hermes-Session-Key";
const EXPOSED: &str =
    "X-Hermes-Session-Id, X-Hermes-Session-Key, X-Hermes-Completed, X-Hermes-Partial, X-Hermes-Error";

/// The configured origins.
#[derive(Debug)]
pub(super) struct Cors {
    any: bool,
    origins: Vec<String>,
}

impl Cors {
    pub(super) fn new(origins: &[String]) -> Self {
        Self { any: origins.iter().any(|o| o == "*"), origins: origins.to_vec() }
    }

    /// Whether any page may call at all.
    pub(super) fn is_on(&self) -> bool {
        !self.origins.is_empty()
    }

    /// What `Access-Control-Allow-Origin` says; an error for an origin that may not call.
    fn grant(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, ()> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(None) };
        if self.any {
            return Ok(Some(HeaderValue::from_static("*")));
        }
        let listed = self.origins.iter().any(|o| o.as_bytes() == origin.as_bytes());
        if listed { Ok(Some(origin.clone())) } else { Err(()) }
    }

    fn mark(&self, headers: &mut HeaderMap, grant: HeaderValue) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, grant);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        self.vary(headers);
    }

    /// With a list, answers differ by origin, also those to requests without one.
    fn vary(&self, headers: &mut HeaderMap) {
        if self.is_on() && !self.any {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Around every route of the API.
pub(super) async fn guard(State(api): State<ApiServer>, request: Request, next: Next) -> Response {
    let cors = &api.0.cors;
    let Ok(grant) = cors.grant(request.headers()) else {
        return empty(StatusCode::FORBIDDEN);
    };
    if request.method() == Method::OPTIONS {
        let Some(grant) = grant else { return empty(StatusCode::FORBIDDEN) };
        let mut response = empty(StatusCode::OK);
        let headers = response.headers_mut();
        cors.mark(headers, grant);
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ALLOWED));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        return response;
    }
    let mut response = next.run(request).await;
    match grant {
        Some(grant) => cors.mark(response.headers_mut(), grant),
        None => cors.vary(response.headers_mut()),
    }
    response
}
