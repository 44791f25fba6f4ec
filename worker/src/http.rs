//! HTTP on the data socket: accepts, keeps count, and hands requests to the platforms' routes.
//!
//! `GET /health` is answered before routing from prepared parts: it is what load balancers ask all day. Everything else goes to
//! one router. Whatever answers, the response carries the security headers, and says whether the request's body was read to its
//! end, or the connection ends with it; it carries an `x-request-id`, the client's where that is sane; the web pages that may call the API
//! can read it, and no others are let in. Paths below [`INNER`] exist only for the supervisor, on a data socket, and
//! those below [`TERMINAL`] only for other processes of the user there. A handler that panics costs its own request a 500 and nobody anything else.
//!
//! Stopping comes in two steps. [`Server::stop_accepting`] ends accepting and returns when it has ended: what waits in the
//! backlog by then is still taken, because there may be no next process; what comes later is for that one. [`Server::drained`] then waits until the connections that exist are gone: a supervisor
//! closes its idle ones itself, so none is ever closed under a request.

mod bare;
mod cors;
mod respond;
mod rest;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hermes_host::local::LocalStream;
use hermes_host::passing;
use hermes_wire::ProfileHome;
use hermes_wire::http::{ADDED_HEADERS, MAX_HEADERS};
use hermes_wire::latest::TaskProgress;
#[cfg(doc)]
use hermes_wire::road::INNER;
#[cfg(doc)]
use hermes_wire::terminal::TERMINAL;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
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
    /// Connections that are handed over one by one: of the command at a terminal that started this process for itself.
    Given(Given),
}

/// A line over which connections come, for as long as whoever holds its other end lives.
#[derive(Debug)]
pub(crate) struct Given {
    line: tokio::net::UnixStream,
    /// Cancelled when it has ended.
    ended: CancellationToken,
}

impl Given {
    pub(crate) fn new(line: tokio::net::UnixStream) -> Self {
        Self { line, ended: CancellationToken::new() }
    }

    /// Cancelled when the line has ended: whoever holds the other end is gone, or has what it wanted.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// The next connection; `None`: there will be none. Cancel safe.
    async fn next(&self) -> io::Result<Option<LocalStream>> {
        let over = &self.line;
        let passed = over.async_io(Interest::READABLE, || passing::receive(over.as_fd())).await?;
        let Some(passed) = passed else { return Ok(None) };
        let stream = std::os::unix::net::UnixStream::from(passed);
        stream.set_nonblocking(true)?;
        LocalStream::from_tokio(tokio::net::UnixStream::from_std(stream)?).map(Some)
    }
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
                Listener::Given(given) => accept.given(given).await,
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

    /// Requests that came so far, and whether one of them is not over.
    pub(crate) fn activity(&self) -> (u64, bool) {
        let active = self.load.active.load(Ordering::Relaxed) > 0;
        (self.load.requests.load(Ordering::Relaxed), active)
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
            Self::Given(_) => return false,
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

    /// The connections of whoever holds the line; nobody else can come.
    async fn given(self, given: &Given) {
        let _ended = given.ended.clone().drop_guard();
        let mut failing = false;
        loop {
            let passed = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                passed = given.next() => passed,
            };
            match passed {
                Ok(Some(stream)) => {
                    failing = false;
                    let responder = Arc::clone(&self.responder);
                    self.connections.spawn(connection(stream, responder, Caller::Terminal, None));
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => break,
                Err(error) => self.failed(&error, &mut failing).await,
            }
        }
        given.ended.cancel();
        self.stop.cancelled().await;
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
    /// Another process of the same user, or root: a command at a terminal.
    Terminal,
    /// Somebody else, or nobody knows.
    Anybody,
}

/// Who connected, as the kernel noted it.
fn caller(stream: &tokio::net::UnixStream) -> Caller {
    let Ok(peer) = stream.peer_cred() else { return Caller::Anybody };
    let own = nix::unistd::geteuid().as_raw();
    let parent = nix::unistd::getppid().as_raw();
    match peer.pid() {
        None if peer.uid() == own => Caller::Supervisor,
        Some(pid) if pid == parent && peer.uid() == own => Caller::Supervisor,
        // The supervisor itself is never one: what it passes on came from somebody else.
        Some(pid) if pid != parent && (peer.uid() == own || peer.uid() == 0) => Caller::Terminal,
        _ => Caller::Anybody,
    }
}

/// Serves one connection to its end. `closing` is given where the client is one that would keep it open.
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
mod tests;
