//! The handle on the running proxy: starts its threads, ends them, changes its listeners.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use hermes_wire::latest::{BoundListener, GatewaySettings};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::counters::MAX_THREADS;
use super::inherit::Inherited;
use super::listener::{BindError, Bound, Listener};
use super::shared::{Command, Shared};
use super::table::Reader;
use super::thread;

/// Connections on their way from one thread to another.
const HANDOVER: usize = 1024;

/// A busy thread takes a moment to begin to accept.
const REGISTER: Duration = Duration::from_secs(5);

/// The proxy cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {what}")]
pub struct StartError {
    /// Which thread, or which listener.
    pub what: String,
    /// Why not.
    pub source: io::Error,
}

/// What was left when draining ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Requests still in flight.
    pub unfinished: usize,
}

/// The running proxy.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    bound: Bound,
    threads: Vec<JoinHandle<()>>,
    /// Round robin over threads for accept loops.
    next: usize,
}

impl Bound {
    /// Starts to answer: from here on connections are accepted.
    pub fn start(self, reader: Reader, limits: Limits) -> Result<Proxy, StartError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.start_on(cores.min(MAX_THREADS), reader, limits)
    }

    /// As [`Self::start`], with that many threads (at most four, at least one).
    pub fn start_on(self, threads: usize, reader: Reader, limits: Limits) -> Result<Proxy, StartError> {
        let threads = threads.clamp(1, MAX_THREADS);
        let (inboxes, receivers): (Vec<_>, Vec<_>) = (0..threads).map(|_| mpsc::channel(HANDOVER)).unzip();
        let shared = Arc::new(Shared {
            draining: AtomicBool::new(false),
            stop: CancellationToken::new(),
            load: Default::default(),
            places: Arc::default(),
            idle: Notify::new(),
            inboxes,
        });
        shared.places.limit(limits.connections, limits.per_address);
        reader.attach(&shared);
        let mut proxy = Proxy { shared: Arc::clone(&shared), bound: self, threads: Vec::new(), next: 0 };
        let readers = std::iter::repeat_n(reader, threads);
        for (index, (inbox, reader)) in receivers.into_iter().zip(readers).enumerate() {
            let start = thread::Start { index, shared: Arc::clone(&shared), reader, limits, inbox };
            let handle = thread::spawn(start)
                .map_err(|source| StartError { what: format!("proxy thread `{index}`"), source })?;
            proxy.threads.push(handle);
        }
        let all: Vec<usize> = (0..proxy.bound.listeners.len()).collect();
        proxy.accept_on(&all)?;
        Ok(proxy)
    }
}

impl Proxy {
    /// What is bound.
    pub fn listeners(&self) -> Vec<BoundListener> {
        self.bound.listeners()
    }

    /// Open client connections.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Requests in flight.
    pub fn requests(&self) -> usize {
        self.shared.requests()
    }

    /// Puts new settings into force: listeners whose address stays keep their connections, new ones are bound, others closed.
    /// With a [`BindError`] nothing changes.
    pub fn rebind(
        &mut self,
        settings: &GatewaySettings,
        limits: Limits,
    ) -> Result<Vec<BoundListener>, RebindError> {
        let fresh = self.bound.adjust(settings, &mut Inherited::default())?;
        self.set_limits(limits);
        self.accept_on(&fresh)?;
        Ok(self.listeners())
    }

    /// Requests from now on are held to `limits`.
    pub fn set_limits(&self, limits: Limits) {
        self.shared.places.limit(limits.connections, limits.per_address);
        for inbox in &self.shared.inboxes {
            send(inbox, Command::Limits(limits));
        }
    }

    /// Accepts no more connections; those that come wait in the sockets that are returned, which go on listening. Requests
    /// that have come are answered.
    pub fn keep_listeners(&mut self) -> Inherited {
        self.bound.keep()
    }

    /// Closes the listeners. `/ready` on kept connections says no from now on.
    pub fn quiesce(&mut self) {
        self.shared.draining.store(true, Ordering::Release);
        self.bound.close();
    }

    /// Waits until no request is in flight, at most for `deadline`. New requests on kept connections are refused.
    pub async fn drain(&self, deadline: Duration) -> DrainReport {
        self.shared.draining.store(true, Ordering::Release);
        let finished = async {
            loop {
                let idle = self.shared.idle.notified();
                if self.shared.requests() == 0 {
                    break;
                }
                idle.await;
            }
        };
        // The result only says which of the two it was; what is left is counted either way.
        let _ = tokio::time::timeout(deadline, finished).await;
        DrainReport { unfinished: self.shared.requests() }
    }

    /// Cuts what is left and joins the threads. Blocks for the moment that takes.
    pub fn stop(mut self) {
        self.quiesce();
    }

    /// Has the threads accept, and waits until they do.
    fn accept_on(&mut self, listeners: &[usize]) -> Result<(), StartError> {
        self.shared.places.listeners(self.bound.listeners.iter().map(|l| l.gate.id()).collect());
        let mut waiting = Vec::new();
        for &at in listeners {
            let listener: &Listener = &self.bound.listeners[at];
            let failed =
                |source| StartError { what: format!("accepting on `{}`", listener.address()), source };
            for socket in listener.sockets().map_err(failed)? {
                let inbox = &self.shared.inboxes[self.next % self.shared.inboxes.len()];
                self.next += 1;
                let (said, hear) = sync_channel(1);
                send(inbox, Command::Accept { socket, gate: Arc::clone(&listener.gate), said });
                waiting.push((at, hear));
            }
        }
        for (at, hear) in waiting {
            let accepts = hear.recv_timeout(REGISTER).unwrap_or_else(|error| Err(io::Error::other(error)));
            let address = self.bound.listeners[at].address();
            accepts.map_err(|source| StartError { what: format!("accepting on `{address}`"), source })?;
        }
        Ok(())
    }
}

/// New settings cannot be put into force.
#[derive(Debug, thiserror::Error)]
pub enum RebindError {
    /// Addresses are not to be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// They are, but not to be served.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.bound.close();
        self.shared.stop.cancel();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a proxy thread had panicked");
            }
        }
    }
}

/// Commands are few and threads always take them; a full inbox means a storm of new connections, so try a little.
fn send(inbox: &mpsc::Sender<Command>, command: Command) {
    let mut command = command;
    loop {
        match inbox.try_send(command) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => return,
            Err(mpsc::error::TrySendError::Full(back)) => {
                command = back;
                std::thread::yield_now();
            }
        }
    }
}
