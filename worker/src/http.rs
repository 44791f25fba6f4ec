//! HTTP on the data socket: accepts, keeps count, and hands requests to the platforms' routes.
//!
//! `GET /health` is answered before routing from prepared parts: it is what load balancers ask all day. Everything else goes to
//! one router. Whatever answers, the response carries the security headers, and says whether the request's body was read to its
//! end, or the connection ends with it; it carries an `x-request-id`, the client's where that is sane; the web pages that may call the API
//! can read it, and no others are let in. Paths below [`INNER`] exist only for the supervisor, on a data socket. A handler that panics costs its own request a 500 and nobody anything else.
//!
//! Stopping comes in two steps. [`Server::stop_accepting`] ends accepting and returns when it has ended: what waits in the
//! backlog by then is still taken, because there may be no next process; what comes later is for that one. [`Server::drained`] then waits until the connections that exist are gone: a supervisor
//! closes its idle ones itself, so none is ever closed under a request.

mod bare;
mod cors;
mod respond;
mod rest;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hermes_host::local::LocalStream;
use hermes_wire::ProfileHome;
use hermes_wire::http::{ADDED_HEADERS, MAX_HEADERS};
use hermes_wire::latest::TaskProgress;
#[cfg(doc)]
use hermes_wire::road::INNER;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

use crate::pulse::Pulse;

pub(crate) use cors::Cors;
pub(crate) use respond::Responder;

/// Largest request head, and largest piece of a body that is read at once.
const MAX_BUFFER: usize = 128 * 1024;
/// Time a connection may wait while nothing is accepted.
const DEADLINE: Duration = Duration::from_secs(15);
/// Most connections that can wait to be accepted.
const BACKLOG: usize = 4096;
/// Pause after a failed accept, which is a lack of descriptors that passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time a client that is no supervisor has for a request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where connections come from.
#[derive(Debug)]
pub(crate) enum Listener {
    /// The inherited data socket; its client is the supervisor.
    Data(UnixListener),
    /// A TCP address, when there is no supervisor; clients are anybody.
    Tcp(TcpListener),
}

/// The running server. Dropping it stops nothing.
#[derive(Debug)]
pub(crate) struct Server {
    accepting: CancellationToken,
    /// Ends idle connections, for clients that do not do it themselves.
    closing: CancellationToken,
    connections: TaskTracker,
    acceptor: TaskTracker,
    load: Arc<Load>,
    pulse: Pulse,
    /// Gone once nothing is accepted any more.
    listener: Weak<Listener>,
}

/// What is going on.
#[derive(Debug, Default)]
pub(crate) struct Load {
    requests: AtomicU64,
    active: AtomicUsize,
    idle: Notify,
}

impl Load {
    pub(crate) fn enter(self: &Arc<Self>) -> InFlight {
        self.active.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    pub(crate) fn count(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// A request that is not finished. Counted until dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Load>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.active.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

impl Server {
    /// Starts serving on `listener`.
    pub(crate) fn start(listener: Listener, responder: Responder, home: ProfileHome) -> Self {
        let listener = Arc::new(listener);
        let server = Self {
            accepting: CancellationToken::new(),
            closing: CancellationToken::new(),
            connections: TaskTracker::new(),
            acceptor: TaskTracker::new(),
            load: Arc::clone(responder.load()),
            pulse: Pulse::new("http", DEADLINE),
            listener: Arc::downgrade(&listener),
        };
        let accept = Accept {
            responder: Arc::new(responder),
            connections: server.connections.clone(),
            stop: server.accepting.clone(),
            closing: server.closing.clone(),
            pulse: server.pulse.clone(),
            home,
        };
        server.acceptor.spawn(server.pulse.clone().of(async move {
            match &*listener {
                Listener::Data(listener) => accept.data(listener).await,
                Listener::Tcp(listener) => accept.tcp(listener).await,
            }
        }));
        server.acceptor.close();
        server
    }

    /// Takes no new connection; when this returns the listener is closed on our side. The supervisor's copy stays.
    pub(crate) async fn stop_accepting(&self) {
        self.accepting.cancel();
        self.acceptor.wait().await;
        self.connections.close();
    }

    /// Waits until every connection has ended. Call after [`Server::stop_accepting`].
    pub(crate) async fn drained(&self) {
        self.connections.wait().await;
    }

    /// Waits until no request is in flight, whatever connections are open.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.load.idle.notified();
            tokio::pin!(idle);
            idle.as_mut().enable();
            if self.load.active.load(Ordering::Relaxed) == 0 {
                return;
            }
            idle.await;
        }
    }

    /// Closes every connection as soon as its request is over.
    pub(crate) fn close_idle(&self) {
        self.closing.cancel();
    }

    /// How accepting is. Connections that nobody takes are work that waits.
    pub(crate) fn progress(&self) -> TaskProgress {
        self.pulse.progress(self.listener.upgrade().is_some_and(|listener| listener.is_called()))
    }

    /// The same, for its end.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }
}

impl Listener {
    /// Whether a connection waits to be accepted.
    fn is_called(&self) -> bool {
        let fd = match self {
            Self::Data(listener) => listener.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        };
        let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

struct Accept {
    responder: Arc<Responder>,
    connections: TaskTracker,
    stop: CancellationToken,
    closing: CancellationToken,
    pulse: Pulse,
    home: ProfileHome,
}

impl Accept {
    async fn data(self, listener: &UnixListener) {
        let mut failing = false;
        loop {
            self.pulse.door(&self.home).await;
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return self.take_waiting(listener),
                accepted = listener.accept() => accepted,
            };
            self.pulse.done(1);
            let accepted = accepted.and_then(|(stream, _)| {
                let caller = caller(&stream);
                Ok((LocalStream::from_tokio(stream)?, caller))
            });
            match accepted {
                Ok((stream, caller)) => {
                    failing = false;
                    self.connections.spawn(connection(stream, Arc::clone(&self.responder), caller, None));
                }
                Err(e) => self.failed(&e, &mut failing).await,
            }
        }
    }

    /// Takes the connections whose requests were sent before accepting ended.
    fn take_waiting(&self, listener: &UnixListener) {
        // The kernel is asked, not the runtime, which may not have heard of them yet.
        let Ok(listener) = listener.as_fd().try_clone_to_owned() else { return };
        let listener = std::os::unix::net::UnixListener::from(listener);
        for _ in 0..BACKLOG {
            let Ok((stream, _)) = listener.accept() else { return };
            let waiting = stream.set_nonblocking(true).and_then(|()| {
                let stream = tokio::net::UnixStream::from_std(stream)?;
                let caller = caller(&stream);
                Ok((LocalStream::from_tokio(stream)?, caller))
            });
            if let Ok((stream, caller)) = waiting {
                self.connections.spawn(connection(stream, Arc::clone(&self.responder), caller, None));
            }
        }
    }

    async fn tcp(self, listener: &TcpListener) {
        let mut failing = false;
        loop {
            self.pulse.door(&self.home).await;
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            self.pulse.done(1);
            match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    let _ = stream.set_nodelay(true);
                    let closing = Some(self.closing.clone());
                    let stream = bare::Dressed::new(stream);
                    self.connections.spawn(connection(
                        stream,
                        Arc::clone(&self.responder),
                        Caller::Anybody,
                        closing,
                    ));
                }
                Err(e) => self.failed(&e, &mut failing).await,
            }
        }
    }

    /// A failed accept is never fatal, and said once until it works again.
    async fn failed(&self, error: &std::io::Error, failing: &mut bool) {
        if !std::mem::replace(failing, true) {
            error!("cannot accept connections: {error}; trying on");
        }
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(ACCEPT_PAUSE) => {}
        }
    }
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The process that started this one.
    Supervisor,
    /// Somebody else, or nobody knows.
    Anybody,
}

/// Who connected, as the kernel noted it.
fn caller(stream: &tokio::net::UnixStream) -> Caller {
    let Ok(peer) = stream.peer_cred() else { return Caller::Anybody };
    let own = nix::unistd::geteuid().as_raw();
    let parent = nix::unistd::getppid().as_raw();
    if peer.uid() == own && peer.pid().is_none_or(|pid| pid == parent) {
        Caller::Supervisor
    } else {
        Caller::Anybody
    }
}

/// Serves one connection to its end. `closing` is given where the client is not the supervisor.
async fn connection<S>(
    stream: S,
    responder: Arc<Responder>,
    caller: Caller,
    closing: Option<CancellationToken>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_BUFFER).max_headers(MAX_HEADERS + ADDED_HEADERS);
    if closing.is_some() {
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    }
    let service = service_fn(move |request| {
        let responder = Arc::clone(&responder);
        async move { Ok::<_, Infallible>(responder.respond(request, caller).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    tokio::pin!(connection);
    let ended = match closing {
        None => connection.await,
        Some(closing) => tokio::select! {
            ended = connection.as_mut() => ended,
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        },
    };
    if let Err(e) = ended {
        // The client went away or sent what is no HTTP; hyper has answered where an answer was possible.
        debug!("connection ended early: {e}");
    }
}

/// The address a listener has.
pub(crate) fn address(listener: &TcpListener) -> Option<SocketAddr> {
    listener.local_addr().ok()
}

#[cfg(test)]
mod tests {

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::UnixStream;
    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    struct Fixture {
        server: Server,
        dir: tempfile::TempDir,
        /// Lets `/slow` finish.
        go: Arc<Notify>,
    }

    fn start() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let go = Arc::new(Notify::new());
        let wait = Arc::clone(&go);
        let router = Router::new()
            .route("/boom", get(async || -> &'static str { panic!("on purpose") }))
            .route(
                "/slow",
                get(async move || {
                    wait.notified().await;
                    "done"
                }),
            )
            .route("/echo", axum::routing::post(async |body: String| body));
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let responder =
            Responder::new("coder".parse().unwrap(), router, Some(Cors::new(&["https://good".to_owned()])));
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        Fixture { server: Server::start(Listener::Data(listener), responder, home), dir, go }
    }

    impl Fixture {
        async fn connect(&self) -> UnixStream {
            UnixStream::connect(self.dir.path().join("s")).await.unwrap()
        }
    }

    async fn send(stream: &mut UnixStream, line: &str) {
        stream.write_all(format!("{line} HTTP/1.1\r\nhost: w\r\n\r\n").as_bytes()).await.unwrap();
    }

    /// One answer with a short body, read until it ends with `end`.
    async fn answer(stream: &mut UnixStream, end: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(end) {
            let mut piece = [0; 1024];
            let n = timeout(Duration::from_secs(10), stream.read(&mut piece)).await.unwrap().unwrap();
            assert!(n > 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&piece[..n]).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn a_panic_costs_one_request_a_500_and_the_connection_goes_on() {
        let fixture = start();
        let mut stream = fixture.connect().await;
        send(&mut stream, "GET /boom").await;
        let text = answer(&mut stream, "500: Internal Server Error").await;
        assert!(
            text.starts_with("HTTP/1.1 500 ") && text.contains("x-content-type-options: nosniff"),
            "{text}"
        );
        send(&mut stream, "GET /health").await;
        assert!(answer(&mut stream, "}").await.starts_with("HTTP/1.1 200 "));
        assert_eq!(fixture.server.load.requests.load(Ordering::Relaxed), 2);
        // Nothing counts as in flight.
        timeout(Duration::from_secs(10), fixture.server.idle()).await.unwrap();
    }

    #[tokio::test]
    async fn wrong_methods_and_paths_are_told_apart() {
        let fixture = start();
        let mut stream = fixture.connect().await;
        send(&mut stream, "DELETE /slow").await;
        let text = answer(&mut stream, "405: Method Not Allowed").await;
        assert!(text.contains("allow: GET,HEAD"), "{text}");
        send(&mut stream, "GET /boom/").await;
        assert!(answer(&mut stream, "404: Not Found").await.contains("text/plain; charset=utf-8"));
        send(&mut stream, "HEAD /health").await;
        let text = answer(&mut stream, "\r\n\r\n").await;
        let length = hermes_wire::http::health("").len();
        assert!(text.contains(&format!("content-length: {length}\r\n")), "{text}");
    }

    /// Wires 7: errors, health and unknown paths are named, and listed pages can read them.
    #[tokio::test]
    async fn every_answer_is_named_and_readable_by_listed_pages() {
        let fixture = start();
        for (line, end) in [
            ("GET /health", "}"),
            ("GET /nowhere", "404: Not Found"),
            ("DELETE /slow", "405: Method Not Allowed"),
            ("GET /boom", "500: Internal Server Error"),
        ] {
            let mut stream = fixture.connect().await;
            let head =
                format!("{line} HTTP/1.1\r\nhost: w\r\norigin: https://good\r\nx-request-id: mine-1\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let text = answer(&mut stream, end).await;
            assert!(text.contains("access-control-allow-origin: https://good\r\n"), "{text}");
            assert!(text.contains("x-request-id: mine-1\r\n") && text.contains("vary: Origin\r\n"), "{text}");
            // Who is no page is not asked.
            send(&mut stream, line).await;
            let text = answer(&mut stream, end).await;
            assert!(!text.contains("access-control") && text.contains("x-request-id: req_"), "{text}");
        }
        for (line, headers, status) in [
            ("GET /health", "origin: https://bad\r\n", "403"),
            ("OPTIONS /nowhere", "origin: https://good\r\naccess-control-request-headers: x-mine\r\n", "200"),
            ("OPTIONS /nowhere", "", "403"),
            // Not for pages.
            ("GET /webhooks/x", "origin: https://bad\r\n", "404"),
            ("GET /health", "origin: https://bad\r\nx-hermes-listener: webhook\r\n", "200"),
        ] {
            let mut stream = fixture.connect().await;
            let head = format!("{line} HTTP/1.1\r\nhost: w\r\n{headers}connection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).await.unwrap();
            assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{line} {headers}: {text}");
            assert_eq!(
                text.contains("access-control-allow-headers: x-mine\r\n"),
                status == "200" && line.starts_with('O')
            );
        }
    }

    async fn post(stream: &mut UnixStream, path: &str, headers: &str, body: &[u8]) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: w\r\n{headers}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // A worker that does not want it may have closed.
        let _ = stream.write_all(body).await;
    }

    /// 19: a body that nobody wanted is read where it is little, and the answer says so; another request finds a clean connection.
    #[tokio::test]
    async fn an_answer_before_the_body_was_read_keeps_the_connection_clean() {
        let fixture = start();
        let mut stream = fixture.connect().await;
        let body = vec![b'x'; 40_000];
        let chunked = [b"9c40\r\n".as_slice(), &body, b"\r\n0\r\n\r\n"].concat();
        for round in 0..50 {
            for (path, end) in
                [("/nowhere", "404: Not Found"), ("/slow", "405: Method Not Allowed"), ("/health", "Allowed")]
            {
                let (headers, body) = match round % 2 {
                    0 => ("content-length: 40000", &body),
                    _ => ("transfer-encoding: chunked", &chunked),
                };
                post(&mut stream, path, headers, body).await;
                let text = answer(&mut stream, end).await;
                assert!(
                    text.contains("x-hermes-taken: 1\r\n") && !text.contains("connection: close"),
                    "{text}"
                );
            }
        }
        // Read by its handler: taken as well. Without a body there is nothing to take.
        post(&mut stream, "/echo", "content-length: 5", b"hello").await;
        assert!(answer(&mut stream, "hello").await.contains("x-hermes-taken: 1\r\n"));
        send(&mut stream, "GET /health").await;
        assert!(!answer(&mut stream, "}").await.contains("x-hermes-taken"));
    }

    /// 19: what is too much, too slow or only announced is not read; then the connection ends with the answer.
    #[tokio::test]
    async fn an_answer_before_a_long_or_slow_body_ends_the_connection() {
        let fixture = start();
        let long = vec![b'x'; 100_000];
        let chunked = [b"186a0\r\n".as_slice(), &long, b"\r\n0\r\n\r\n"].concat();
        for (headers, body) in [
            ("content-length: 100000", long.as_slice()),
            ("transfer-encoding: chunked", &chunked),
            ("content-length: 40000", b"only the start"),
            ("transfer-encoding: chunked", b"nonsense\r\n"),
            ("expect: 100-continue\r\ncontent-length: 5", b""),
        ] {
            let mut stream = fixture.connect().await;
            post(&mut stream, "/nowhere", headers, body).await;
            let text = answer(&mut stream, "404: Not Found").await;
            assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
            assert!(text.contains("connection: close\r\n") && !text.contains("x-hermes-taken"), "{text}");
            let mut rest = Vec::new();
            // The end, or a reset where bytes were left.
            let ended = timeout(Duration::from_secs(10), stream.read_to_end(&mut rest)).await;
            assert!(ended.is_ok() && rest.is_empty());
        }
    }

    /// 22: 100 header lines of a client, and those of the proxy beside them.
    #[tokio::test]
    async fn as_many_headers_are_read_as_the_proxy_lets_pass() {
        let fixture = start();
        let mut stream = fixture.connect().await;
        let lines = "a: b\r\n".repeat(MAX_HEADERS + ADDED_HEADERS - 1);
        stream.write_all(format!("GET /health HTTP/1.1\r\nhost: w\r\n{lines}\r\n").as_bytes()).await.unwrap();
        assert!(answer(&mut stream, "}").await.starts_with("HTTP/1.1 200 "));
    }

    /// 22: without a proxy in front, too, what the library refuses looks like every other answer.
    #[tokio::test]
    async fn what_the_library_refuses_looks_like_every_other_answer() {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = address(&listener).unwrap();
        let responder = Responder::new("coder".parse().unwrap(), Router::new(), None);
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let _server = Server::start(Listener::Tcp(listener), responder, home);
        let many = format!("GET / HTTP/1.1\r\nhost: w\r\n{}\r\n", "a: b\r\n".repeat(200));
        for (request, status, code) in [
            ("no request at all\r\n\r\n", "400 Bad Request", "bad_request"),
            (&many, "431 Request Header Fields Too Large", "head_too_large"),
        ] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut bytes = Vec::new();
            timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
            let text = String::from_utf8(bytes).unwrap();
            let start = format!("HTTP/1.1 {status}\r\nx-hermes-error: {code}\r\n");
            assert!(text.starts_with(&start) && text.contains("x-content-type-options: nosniff"), "{text}");
        }
    }

    /// 13: a request that was sent before accepting ended is answered, also one that nobody had accepted.
    #[tokio::test]
    async fn connections_that_wait_when_accepting_ends_are_taken() {
        let fixture = start();
        let mut waiting = Vec::new();
        for _ in 0..20 {
            // On this thread nobody accepts meanwhile.
            let stream = std::os::unix::net::UnixStream::connect(fixture.dir.path().join("s")).unwrap();
            stream.set_nonblocking(true).unwrap();
            waiting.push(UnixStream::from_std(stream).unwrap());
        }
        fixture.server.stop_accepting().await;
        for stream in &mut waiting {
            send(stream, "GET /health").await;
            assert!(answer(stream, "}").await.starts_with("HTTP/1.1 200 "));
        }
        drop(waiting);
        timeout(Duration::from_secs(10), fixture.server.drained()).await.unwrap();
    }

    #[tokio::test]
    async fn draining_waits_for_requests_and_connections_and_closes_neither() {
        let fixture = start();
        let mut stream = fixture.connect().await;
        send(&mut stream, "GET /health").await;
        answer(&mut stream, "}").await;
        send(&mut stream, "GET /slow").await;
        let started = hermes_host::clock::now();
        while fixture.server.load.requests.load(Ordering::Relaxed) < 2 {
            assert!(started.elapsed() < Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
        fixture.server.stop_accepting().await;
        assert!(UnixStream::connect(fixture.dir.path().join("s")).await.is_err(), "still accepting");
        let short = Duration::from_millis(20);
        assert!(timeout(short, fixture.server.idle()).await.is_err());
        fixture.go.notify_one();
        assert!(answer(&mut stream, "done").await.starts_with("HTTP/1.1 200 "));
        timeout(Duration::from_secs(10), fixture.server.idle()).await.unwrap();
        assert!(timeout(short, fixture.server.drained()).await.is_err(), "an open connection was forgotten");
        send(&mut stream, "GET /health").await;
        answer(&mut stream, "}").await;
        drop(stream);
        timeout(Duration::from_secs(10), fixture.server.drained()).await.unwrap();
    }
}
