//! The admin address, off unless configured: a page with the status ([`page`]), Prometheus text ([`scrape`]), `/health` and `/ready`.
//!
//! Where there is a token ([`door`]), everything but `/health` and the empty page asks for it. Where there is none, only loopback
//! addresses are listened on, and a request that was sent to any name but this machine's own (a web page whose name leads here) is refused.
//!
//! It has places of its own, and whoever comes gets one: the connection that is open longest makes room. So nothing that the
//! proxy's clients do keeps it from answering, and nothing that its own do.

mod door;
mod impatient;
mod page;
mod scrape;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hermes_wire::http::{JSON, SECURITY_HEADERS};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::accept::Failures;
use crate::journal::Journal;
use crate::proxy::{Reader, not_ready};
use crate::supervise::WorkerTable;
pub use door::Door;
use impatient::{Impatient, PATIENCE};
use page::View;

/// Where worker facts come from; called once a scrape.
pub type Workers = Arc<dyn Fn() -> Arc<WorkerTable> + Send + Sync>;

/// Connections at the same time.
pub(crate) const CLIENTS: usize = 32;
/// Time a client has for a request's head, which is also how long a kept connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Time a connection has for all of its requests.
const LIFE: Duration = Duration::from_secs(600);
/// Time for what is being answered when it ends.
const LAST: Duration = Duration::from_millis(100);
/// Largest request head.
const MAX_HEAD: usize = 16 * 1024;

/// The admin listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Not an address.
    #[error("gateway.admin `{0}` is not an address; use 127.0.0.1:PORT")]
    Address(String),
    /// Not loopback, and no token.
    #[error("gateway.admin `{0}` is not a loopback address; without gateway.admin_token use 127.0.0.1:PORT")]
    NotLoopback(SocketAddr),
    /// Not to be bound.
    #[error("cannot listen on gateway.admin `{address}`")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
}

/// The admin listener, bound.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds `address` (`127.0.0.1:9464`, `[::1]:0`, `localhost:9464`); one that others reach only where it is `guarded` by a token.
    pub async fn bind(address: &str, guarded: bool) -> Result<Self, AdminError> {
        let wanted = Self::allowed(address, guarded)?;
        let bind = |source| AdminError::Bind { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, address })
    }

    /// Goes on with a listener, where it is the one that `address` asks for.
    pub fn of(listener: std::net::TcpListener, address: &str) -> Option<Self> {
        let (wanted, bound) = (Self::parse(address).ok()?, listener.local_addr().ok()?);
        let is_it = wanted.ip() == bound.ip() && (wanted.port() == bound.port() || wanted.port() == 0);
        listener.set_nonblocking(true).ok()?;
        let listener = TcpListener::from_std(listener).ok().filter(|_| is_it)?;
        Some(Self { listener, address: bound })
    }

    /// The address that is meant, if it may be listened on.
    pub fn allowed(address: &str, guarded: bool) -> Result<SocketAddr, AdminError> {
        let wanted = Self::parse(address)?;
        if guarded || wanted.ip().to_canonical().is_loopback() {
            Ok(wanted)
        } else {
            Err(AdminError::NotLoopback(wanted))
        }
    }

    /// The address that is meant.
    pub fn parse(address: &str) -> Result<SocketAddr, AdminError> {
        let literal = address
            .strip_prefix("localhost:")
            .map_or_else(|| address.to_owned(), |p| format!("127.0.0.1:{p}"));
        let literal = literal.strip_prefix("*:").map_or_else(|| literal.clone(), |p| format!("0.0.0.0:{p}"));
        literal.parse().map_err(|_| AdminError::Address(address.to_owned()))
    }

    /// The address as bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then the listener, on which whoever comes waits.
    pub async fn serve(
        self,
        shown: Shown,
        stop: CancellationToken,
    ) -> std::io::Result<std::net::TcpListener> {
        let Shown { reader, workers, journal, entrance } = shown;
        let view = View::new(Arc::clone(&workers), journal);
        let app = Router::new()
            .route("/", get(page::page))
            .route("/status", get(page::status))
            .route("/events", get(page::events))
            .route("/login", post(page::login))
            .route("/logout", post(page::logout))
            .route("/metrics", get(metrics))
            .route("/health", get(|| async { json(StatusCode::OK, r#"{"status": "ok"}"#.to_owned()) }))
            .route("/ready", get(ready))
            .layer(from_fn_with_state(entrance.clone(), guard))
            .with_state(Source { reader, workers, view, entrance });
        let service = TowerToHyperService::new(app);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD);
        let mut clients = JoinSet::new();
        let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
        let mut failures = Failures::of("scrapes");
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                // Only collects: how it ended is the client's business.
                Some(_) = clients.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    oldest.retain(|client| !client.is_finished());
                    if oldest.len() == CLIENTS
                        && let Some(client) = oldest.pop_front()
                    {
                        client.abort();
                    }
                    let connection = http
                        .serve_connection(TokioIo::new(Impatient::new(stream, PATIENCE)), service.clone());
                    oldest.push_back(clients.spawn(tokio::time::timeout(LIFE, connection)));
                }
                Err(error) => failures.rest(&error, &stop).await,
            }
        }
        // Who is being answered is answered; idle connections are cut.
        let answered = async { while clients.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(LAST, answered).await;
        self.listener.into_std()
    }
}

/// What is shown, and to whom.
#[derive(Clone)]
pub struct Shown {
    /// Routes, for counters.
    pub reader: Reader,
    /// Workers, as last published.
    pub workers: Workers,
    /// What has happened.
    pub(crate) journal: Journal,
    /// Who may look.
    pub entrance: Entrance,
}

impl Shown {
    /// To everybody on this machine, and without what has happened.
    pub fn openly(reader: Reader, workers: Workers) -> Self {
        Self { reader, workers, journal: Journal::default(), entrance: Entrance::default() }
    }
}

/// Where everybody who looks passes: through a door that a token opens, where there is one. Cloning shares it.
#[derive(Debug, Clone, Default)]
pub struct Entrance(Arc<RwLock<Option<Arc<Door>>>>);

impl Entrance {
    /// From now on this is the door; whoever passed another one has to come again.
    pub fn set(&self, door: Option<Door>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = door.map(Arc::new);
    }

    fn door(&self) -> Option<Arc<Door>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Clone)]
struct Source {
    reader: Reader,
    workers: Workers,
    view: View,
    entrance: Entrance,
}

/// What shows nothing, or only that there is somebody.
const OPEN: [&str; 4] = ["/", "/health", "/login", "/logout"];

/// Refuses who may not look, and puts the security headers on everything.
async fn guard(State(entrance): State<Entrance>, request: Request, next: Next) -> Response {
    // What is not read of a body would be looked at as the next request.
    let has_body = !request.body().is_end_stream();
    let refused = match entrance.door() {
        Some(door) if OPEN.contains(&request.uri().path()) || door.admits(request.headers()) => None,
        Some(_) => {
            let text = r#"{"error": "a token is needed: Authorization: Bearer …"}"#;
            let bearer = [(WWW_AUTHENTICATE, "Bearer realm=\"hermes\"")];
            Some((bearer, json(StatusCode::UNAUTHORIZED, text.to_owned())).into_response())
        }
        None if is_local(request.headers()) => None,
        None => Some((StatusCode::FORBIDDEN, "403: Forbidden").into_response()),
    };
    let mut response = match refused {
        Some(refused) => refused,
        None => next.run(request).await,
    };
    for (name, value) in SECURITY_HEADERS {
        // The page has a policy of its own.
        let value = axum::http::HeaderValue::from_static(value);
        response.headers_mut().entry(name).or_insert(value);
    }
    if has_body {
        response.headers_mut().insert(CONNECTION, axum::http::HeaderValue::from_static("close"));
    }
    response
}

fn is_local(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST).and_then(|h| h.to_str().ok()) else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost")
        || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

async fn metrics(State(source): State<Source>) -> Response {
    match scrape::text((source.workers)(), source.reader) {
        Ok(text) => ([(CONTENT_TYPE, scrape::OPEN_METRICS)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn ready(State(source): State<Source>) -> Response {
    let table = source.reader.table();
    let missing = table.not_ready();
    if missing.is_empty() && !source.reader.is_draining() {
        return json(StatusCode::OK, r#"{"status": "ready"}"#.to_owned());
    }
    json(StatusCode::SERVICE_UNAVAILABLE, not_ready("not_ready", &missing))
}

fn json(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, JSON)], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_addresses_are_bound() {
        assert!(matches!(Admin::bind("0.0.0.0:0", false).await, Err(AdminError::NotLoopback(_))));
        assert!(matches!(Admin::bind("192.0.2.1:0", false).await, Err(AdminError::NotLoopback(_))));
        assert!(Admin::bind("0.0.0.0:0", true).await.is_ok(), "with a token");
        assert!(matches!(Admin::bind("nonsense", false).await, Err(AdminError::Address(_))));
        assert!(Admin::bind("localhost:0", false).await.unwrap().address().ip().is_loopback());
    }

    #[test]
    fn only_this_machine_s_names_are_answered() {
        let local = |host: &str| is_local(&HeaderMap::from_iter([(HOST, host.parse().unwrap())]));
        for good in ["localhost", "LOCALHOST:9464", "127.0.0.1:1", "[::1]:9464", "[::1]"] {
            assert!(local(good), "{good}");
        }
        for bad in ["evil.example:9464", "localhost.evil.example", "10.0.0.1", ""] {
            assert!(!local(bad), "{bad}");
        }
        assert!(!is_local(&HeaderMap::new()));
    }
}
