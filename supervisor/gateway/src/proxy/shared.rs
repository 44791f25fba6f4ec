//! What all threads of the proxy see, and what each is told.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::Limits;
use super::counters::MAX_THREADS;
use super::listener::Gate;
use super::places::{Place, Places};

/// What all threads see.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) draining: AtomicBool,
    pub(super) stop: CancellationToken,
    pub(super) load: [Load; MAX_THREADS],
    pub(super) places: Arc<Places>,
    /// One of the threads has no request in flight any more, while draining.
    pub(super) idle: Notify,
    pub(super) inboxes: Vec<mpsc::Sender<Command>>,
}

/// How busy one thread is. Only that thread writes, but for connections on their way to it.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Load {
    pub(super) connections: AtomicUsize,
    pub(super) requests: AtomicUsize,
}

impl Shared {
    pub(super) fn connections(&self) -> usize {
        self.load.iter().map(|l| l.connections.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn requests(&self) -> usize {
        self.load.iter().map(|l| l.requests.load(Ordering::Relaxed)).sum()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// What a thread is told.
#[derive(Debug)]
pub(super) enum Command {
    /// Accept on this socket until its gate closes.
    Accept {
        /// Non-blocking.
        socket: std::net::TcpListener,
        /// The listener it belongs to.
        gate: Arc<Gate>,
        /// Told whether it does.
        said: SyncSender<io::Result<()>>,
    },
    /// Serve a connection that another thread accepted.
    Serve {
        /// Non-blocking.
        socket: std::net::TcpStream,
        /// The listener it came through.
        gate: Arc<Gate>,
        /// Who it is.
        peer: IpAddr,
        /// Its place.
        place: Place,
    },
    /// New limits.
    Limits(Limits),
}
