//! Signals to the supervisor, as requests.
//!
//! SIGTERM, SIGINT and SIGHUP are a planned stop; each further one makes it more urgent. SIGUSR1 replaces every worker, one
//! after the other. A SIGHUP or SIGINT that was ignored when the program started (`nohup`, a background job of a shell without job
//! control) stays ignored.
//!
//! Before this process becomes another program, [`Signals::give_back`] leaves the stop signals to the system again: one that
//! comes while nobody can listen ends the process instead of being lost.

use std::ffi::OsStr;
use std::io;
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use hermes_host::signals::{came, unless_ignored};
use nix::sys::signal::SigHandler;
use nix::time::{ClockId, clock_gettime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a signal that was caught may take to be told.
const TOLD: Duration = Duration::from_millis(10);

/// How long a service manager may take to be told.
const MANAGER_TIME: Duration = Duration::from_millis(500);

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
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
    user1: Signal,
}

impl Signals {
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: unless_ignored(SignalKind::interrupt())?,
            hangup: unless_ignored(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }

    /// The next signal. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.terminate.recv() => Interrupt::Stop("SIGTERM"),
            () = came(&mut self.interrupt) => Interrupt::Stop("SIGINT"),
            () = came(&mut self.hangup) => Interrupt::Stop("SIGHUP"),
            _ = self.user1.recv() => Interrupt::Reload,
        }
    }

    /// From now on a stop signal ends this process. One that came before is the result.
    pub(crate) async fn give_back(&mut self) -> Option<&'static str> {
        use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM};
        let ours = [(SIGTERM, true), (SIGINT, self.interrupt.is_some()), (SIGHUP, self.hangup.is_some())];
        for (signal, _) in ours.into_iter().filter(|(_, heard)| *heard) {
            if let Err(error) = default_action(signal) {
                tracing::warn!(%signal, %error, "a signal keeps its handler");
            }
        }
        let stop = async {
            loop {
                if let Interrupt::Stop(name) = self.next().await {
                    return name;
                }
            }
        };
        tokio::time::timeout(TOLD, stop).await.ok()
    }
}

#[expect(unsafe_code, reason = "`sigaction` takes any handler")]
fn default_action(signal: nix::sys::signal::Signal) -> nix::Result<SigHandler> {
    // SAFETY: the default action runs no code of this process.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }
}

/// What a service manager is told when the program replaces itself: its next word is the new one's `READY=1`.
pub(crate) fn reloading() -> String {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    let stamp = now.map(|now| format!("\nMONOTONIC_USEC={}", now.as_micros())).unwrap_or_default();
    format!("RELOADING=1{stamp}")
}

/// Tells a service manager how far we are (`sd_notify`); nothing happens without one.
pub(crate) fn notify_manager(socket: Option<&OsStr>, state: &str) {
    let Some(socket) = socket else { return };
    let sent = manager_address(socket).and_then(|address| {
        let sender = UnixDatagram::unbound()?;
        // A manager that does not read must not stop us.
        sender.set_write_timeout(Some(MANAGER_TIME))?;
        sender.send_to_addr(state.as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

fn manager_address(socket: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        return <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name);
    }
    SocketAddr::from_pathname(socket)
}
