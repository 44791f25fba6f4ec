//! Prometheus text, `/health` and `/ready` on the admin address: loopback only, off unless configured.
//!
//! Nothing is counted here. A scrape reads the proxy's atomics and the actors' last published facts at that moment. There is no
//! authentication, so a request that was sent to any name but this machine's own (a web page whose name leads here) is refused.
//!
//! It has places of its own, and whoever comes gets one: the connection that is open longest makes room. So nothing that the
//! proxy's clients do keeps it from answering, and nothing that its own do.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hermes_wire::http::{JSON, SECURITY_HEADERS};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::accept::Failures;
use crate::proxy::{LATENCY_BOUNDS_MS, Reader, Totals, not_ready};
use crate::supervise::{WorkerTable, WorkerView};

/// Where worker facts come from; called once a scrape.
pub type Workers = Arc<dyn Fn() -> Arc<WorkerTable> + Send + Sync>;

/// Connections at the same time.
pub(crate) const CLIENTS: usize = 32;
/// Time a client has for a request's head, which is also how long a kept connection may be idle.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// Time a connection has for all of its requests.
const LIFE: Duration = Duration::from_secs(600);
/// Largest request head.
const MAX_HEAD: usize = 16 * 1024;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The admin listener cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Not an address.
    #[error("gateway.admin `{0}` is not an address; use 127.0.0.1:PORT")]
    Address(String),
    /// Not loopback.
    #[error("gateway.admin `{0}` is not a loopback address; it has no authentication, use 127.0.0.1:PORT")]
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
    /// Binds `address` (`127.0.0.1:9464`, `[::1]:0`, `localhost:9464`).
    pub async fn bind(address: &str) -> Result<Self, AdminError> {
        let wanted = Self::parse(address)?;
        let bind = |source| AdminError::Bind { address: wanted, source };
        let listener = TcpListener::bind(wanted).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, address })
    }

    /// The address that is meant, if it may be listened on.
    pub fn parse(address: &str) -> Result<SocketAddr, AdminError> {
        let literal = address
            .strip_prefix("localhost:")
            .map_or_else(|| address.to_owned(), |p| format!("127.0.0.1:{p}"));
        let wanted: SocketAddr = literal.parse().map_err(|_| AdminError::Address(address.to_owned()))?;
        if wanted.ip().to_canonical().is_loopback() {
            Ok(wanted)
        } else {
            Err(AdminError::NotLoopback(wanted))
        }
    }

    /// The address as bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`.
    pub async fn serve(
        self,
        reader: Reader,
        workers: Workers,
        stop: CancellationToken,
    ) -> std::io::Result<()> {
        let app = Router::new()
            .route("/metrics", get(metrics))
            .route("/health", get(|| async { json(StatusCode::OK, r#"{"status": "ok"}"#.to_owned()) }))
            .route("/ready", get(ready))
            .layer(from_fn(guard))
            .with_state(Source { reader, workers });
        let service = TowerToHyperService::new(app);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).max_buf_size(MAX_HEAD);
        let mut clients = JoinSet::new();
        let mut oldest: VecDeque<AbortHandle> = VecDeque::new();
        let mut failures = Failures::of("scrapes");
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return Ok(()),
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
                    let connection = http.serve_connection(TokioIo::new(stream), service.clone());
                    oldest.push_back(clients.spawn(tokio::time::timeout(LIFE, connection)));
                }
                Err(error) => failures.rest(&error, &stop).await,
            }
        }
    }
}

/// What a scrape reads.
#[derive(Clone)]
struct Source {
    reader: Reader,
    workers: Workers,
}

/// Refuses names that are not this machine's, and puts the security headers on everything.
async fn guard(request: Request, next: Next) -> Response {
    // Nothing here wants a body, so none is read, and the next request would be looked for in what is left of it.
    let has_body = !request.body().is_end_stream();
    let mut response = if is_local(request.headers()) {
        next.run(request).await
    } else {
        (StatusCode::FORBIDDEN, "403: Forbidden").into_response()
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, axum::http::HeaderValue::from_static(value));
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
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot { workers: (source.workers)(), reader: source.reader }));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
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

/// One scrape.
#[derive(Debug)]
struct Snapshot {
    workers: Arc<WorkerTable>,
    reader: Reader,
}

/// Name, help and value of a gauge each worker has.
type Described = (&'static str, &'static str, fn(&WorkerView) -> i64);

/// Profile names and words of ours need no escaping.
type Labels<'a> = [(&'static str, &'a str)];

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let encoder = &mut encoder;
        let release: &Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
        describe(encoder, "hermes_build", "The release that runs", None, MetricType::Info)?
            .encode_info(&release)?;
        let help = "Open client connections";
        describe(encoder, "hermes_connections", help, None, MetricType::Gauge)?
            .encode_gauge(&as_i64(self.reader.connections()))?;
        self.encode_requests(encoder)?;
        self.encode_workers(encoder)
    }
}

impl Snapshot {
    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let table = self.reader.table();
        let mut routes: Vec<_> =
            table.routes.values().map(|r| (r.name().as_str(), r.active(), r.totals())).collect();
        routes.sort_unstable_by_key(|(name, ..)| *name);

        let help = "Finished requests by profile and class of status";
        let mut family = describe(encoder, "hermes_requests", help, None, MetricType::Counter)?;
        for (profile, _, totals) in &routes {
            for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(totals.classes) {
                counter(&mut family, &[("profile", profile), ("class", class)], count)?;
            }
        }
        let help = "Requests being answered";
        let mut family = describe(encoder, "hermes_requests_in_flight", help, None, MetricType::Gauge)?;
        for (profile, active, _) in &routes {
            gauge(&mut family, &[("profile", profile)], as_i64(*active))?;
        }
        let help = "Bytes of request and response bodies";
        let mut family = describe(encoder, "hermes_body", help, Some(&Unit::Bytes), MetricType::Counter)?;
        for (profile, _, totals) in &routes {
            counter(&mut family, &[("profile", profile), ("direction", "received")], totals.received)?;
            counter(&mut family, &[("profile", profile), ("direction", "sent")], totals.sent)?;
        }
        let help = "From the request's head to the last byte of its answer";
        let mut family =
            describe(encoder, "hermes_request_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for (profile, _, totals) in &routes {
            histogram(&mut family, profile, totals)?;
        }
        Ok(())
    }

    fn encode_workers(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let workers = &self.workers.workers;
        let help = "1 for the state a profile's worker is in";
        let mut family = describe(encoder, "hermes_worker_state", help, None, MetricType::Gauge)?;
        for worker in workers {
            gauge(&mut family, &[("profile", worker.name.as_str()), ("state", worker.state)], 1)?;
        }
        let help = "Unplanned replacements of a profile's worker";
        let mut family = describe(encoder, "hermes_worker_restarts", help, None, MetricType::Counter)?;
        for worker in workers {
            counter(&mut family, &[("profile", worker.name.as_str())], worker.restarts)?;
        }
        let gauges: [Described; 7] = [
            ("hermes_worker_desired", "1 for a profile that should run", |w| i64::from(w.desired_running)),
            ("hermes_worker_ready", "1 for a worker that takes requests", |w| i64::from(w.ready)),
            ("hermes_worker_active_turns", "Turns running, at the last heartbeat", |w| {
                i64::from(w.active_turns)
            }),
            ("hermes_worker_inbox_waiting", "Inbox items waiting, at the last heartbeat", |w| {
                as_i64(w.inbox_waiting)
            }),
            ("hermes_worker_inbox_postponed", "Of those, put off because of the provider", |w| {
                as_i64(w.inbox_postponed)
            }),
            ("hermes_worker_inbox_failed", "Inbox items given up within a week", |w| as_i64(w.inbox_failed)),
            ("hermes_worker_undelivered", "Answers that could not be delivered within a week", |w| {
                as_i64(w.undelivered)
            }),
        ];
        for (name, help, value) in gauges {
            let mut family = describe(encoder, name, help, None, MetricType::Gauge)?;
            for worker in workers {
                gauge(&mut family, &[("profile", worker.name.as_str())], value(worker))?;
            }
        }
        let help = "Failed calls to the provider in a row, by what the last one was; absent while it answers";
        let mut family = describe(encoder, "hermes_worker_last_error", help, None, MetricType::Gauge)?;
        for worker in workers {
            if let Some(error) = &worker.last_error {
                let code = error.code.map(|code| code.to_string()).unwrap_or_default();
                let labels: &Labels<'_> =
                    &[("profile", worker.name.as_str()), ("class", &error.class), ("code", &code)];
                gauge(&mut family, labels, as_i64(error.count))?;
            }
        }
        let help = "How long nobody was connected when exclusive platforms last passed to another process";
        let mut family =
            describe(encoder, "hermes_worker_takeover_pause", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for worker in workers {
            if let Some(takeover) = &worker.takeover {
                let labels: &Labels<'_> = &[("profile", worker.name.as_str())];
                family.encode_family(&labels)?.encode_gauge(&takeover.pause.as_secs_f64())?;
            }
        }
        let help = "Time since the last heartbeat";
        let mut family =
            describe(encoder, "hermes_worker_heartbeat_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for worker in workers {
            if let Some(heartbeat) = worker.heartbeat {
                let labels: &Labels<'_> = &[("profile", worker.name.as_str())];
                family.encode_family(&labels)?.encode_gauge(&heartbeat.elapsed().as_secs_f64())?;
            }
        }
        Ok(())
    }
}

fn describe<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    name: &'e str,
    help: &str,
    unit: Option<&'e Unit>,
    kind: MetricType,
) -> Result<MetricEncoder<'e>, std::fmt::Error> {
    encoder.encode_descriptor(name, help, unit, kind)
}

fn counter(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: u64) -> std::fmt::Result {
    family.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&value, None)
}

fn gauge(family: &mut MetricEncoder<'_>, labels: &Labels<'_>, value: i64) -> std::fmt::Result {
    family.encode_family(&labels)?.encode_gauge(&value)
}

fn histogram(family: &mut MetricEncoder<'_>, profile: &str, totals: &Totals) -> std::fmt::Result {
    let labels: &Labels<'_> = &[("profile", profile)];
    let bounds = LATENCY_BOUNDS_MS.iter().map(|&ms| std::time::Duration::from_millis(ms).as_secs_f64());
    let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(totals.buckets).collect();
    let sum = std::time::Duration::from_micros(totals.micros).as_secs_f64();
    family.encode_family(&labels)?.encode_histogram::<NoLabels>(sum, totals.requests(), &buckets, None)
}

/// The type of exemplars nobody has.
type NoLabels = [(&'static str, &'static str); 0];

/// Gauges are signed; none of ours comes near the limit.
fn as_i64(value: impl TryInto<i64>) -> i64 {
    value.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_addresses_are_bound() {
        assert!(matches!(Admin::bind("0.0.0.0:0").await, Err(AdminError::NotLoopback(_))));
        assert!(matches!(Admin::bind("192.0.2.1:0").await, Err(AdminError::NotLoopback(_))));
        assert!(matches!(Admin::bind("nonsense").await, Err(AdminError::Address(_))));
        assert!(Admin::bind("localhost:0").await.unwrap().address().ip().is_loopback());
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
