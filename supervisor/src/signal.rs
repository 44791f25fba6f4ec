//! Signals to the supervisor, as requests.
//!
//! SIGTERM, SIGINT and SIGHUP are a planned stop; each further one makes it more urgent. SIGUSR1 replaces every worker, one
//! after the other.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Stop, or stop faster.
    Stop(&'static str),
    /// Replace every worker.
    Reload,
}

/// The signals that are listened to, from construction on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user1: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next signal. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.terminate.recv() => Interrupt::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Interrupt::Stop("SIGINT"),
            _ = self.hangup.recv() => Interrupt::Stop("SIGHUP"),
            _ = self.user1.recv() => Interrupt::Reload,
        }
    }
}

/// Tells a service manager how far we are (`sd_notify`); nothing happens without one.
pub(crate) fn notify_manager(socket: Option<&std::ffi::OsStr>, state: &str) {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    let Some(socket) = socket else { return };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}
