//! HTTP on the data socket: accepts, keeps count, and hands requests to the platforms' routes.
//!
//! `GET /health` is answered before routing from prepared parts: it is what load balancers ask all day. Everything else goes to
//! one router. Whatever answers, the response carries the security headers; a handler that panics costs its own request a 500
//! and nobody anything else.
//!
//! Stopping comes in two steps. [`Server::stop_accepting`] ends accepting and returns when it has ended: what waits in the
//! backlog is for the next process. [`Server::drained`] then waits until the connections that exist are gone: a supervisor
//! closes its idle ones itself, so none is ever closed under a request.

mod respond;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, error};

pub(crate) use respond::Responder;

/// Largest request head, and largest piece of a body that is read at once.
const MAX_BUFFER: usize = 128 * 1024;
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
    pub(crate) fn start(listener: Listener, responder: Responder) -> Self {
        let server = Self {
            accepting: CancellationToken::new(),
            closing: CancellationToken::new(),
            connections: TaskTracker::new(),
            acceptor: TaskTracker::new(),
            load: Arc::clone(responder.load()),
        };
        let accept = Accept {
            responder: Arc::new(responder),
            connections: server.connections.clone(),
            stop: server.accepting.clone(),
            closing: server.closing.clone(),
        };
        server.acceptor.spawn(async move {
            match listener {
                Listener::Data(listener) => accept.data(listener).await,
                Listener::Tcp(listener) => accept.tcp(listener).await,
            }
        });
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

    /// Requests taken so far.
    pub(crate) fn requests(&self) -> u64 {
        self.load.requests.load(Ordering::Relaxed)
    }
}

struct Accept {
    responder: Arc<Responder>,
    connections: TaskTracker,
    stop: CancellationToken,
    closing: CancellationToken,
}

impl Accept {
    async fn data(self, listener: UnixListener) {
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    self.connections.spawn(connection(stream, Arc::clone(&self.responder), None));
                }
                Err(e) => self.failed(&e, &mut failing).await,
            }
        }
    }

    async fn tcp(self, listener: TcpListener) {
        let mut failing = false;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    let _ = stream.set_nodelay(true);
                    let closing = Some(self.closing.clone());
                    self.connections.spawn(connection(stream, Arc::clone(&self.responder), closing));
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

/// Serves one connection to its end. `closing` is given where the client is not the supervisor.
async fn connection<S>(stream: S, responder: Arc<Responder>, closing: Option<CancellationToken>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_BUFFER);
    if closing.is_some() {
        builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    }
    let service = service_fn(move |request| {
        let responder = Arc::clone(&responder);
        async move { Ok::<_, Infallible>(responder.respond(request).await) }
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
