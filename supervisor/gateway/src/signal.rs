//! Signals to the supervisor, as requests.
//!
//! SIGTERM and SIGINT are a planned stop; each further one makes it more urgent. So is SIGHUP where this process belongs to a terminal.
//! Where it is detached, or a service manager runs it, that means what it means to every daemon: look again ([`Interrupt::Renew`]).
//! SIGUSR1 replaces every worker, one after the other. A SIGHUP or SIGINT that was ignored when the program started (`nohup`, a
//! background job of a shell without job control) stays ignored.
//!
//! Before this process becomes another program, [`Signals::give_back`] leaves the stop signals to the system again: one that
//! comes while nobody can listen ends the process instead of being lost. A program that knows about it gets them: with
//! [`Signals::hand_over`] they wait until it listens.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use hermes_host::signals::{came, unless_ignored};
use nix::sys::signal::{SigHandler, SigSet};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long a signal that was caught may take to be told.
const TOLD: Duration = Duration::from_millis(10);

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// Stop, or stop faster.
    Stop(&'static str),
    /// Replace every worker.
    Reload,
    /// Take up the program on disk, or where that is the one that runs, what the files say.
    Renew,
}

/// Whether this process belongs to no terminal that could hang up: its environment says that it is detached, or who runs it.
pub(crate) fn is_detached(get: impl Fn(&str) -> Option<OsString>) -> bool {
    let says = |name: &str| get(name).is_some_and(|value| !value.is_empty());
    let yes = |name: &str| {
        get(name).is_some_and(|value| {
            matches!(value.to_string_lossy().trim().to_lowercase().as_str(), "1" | "true" | "yes" | "on")
        })
    };
    let by_launchd = get("XPC_SERVICE_NAME").is_some_and(|name| name.to_string_lossy().contains("hermes"));
    yes("HERMES_GATEWAY_DETACHED")
        || yes("HERMES_GATEWAY_EXTERNAL_SUPERVISOR")
        || says("NOTIFY_SOCKET")
        || says("HERMES_S6_SUPERVISED_CHILD")
        || by_launchd
}

/// The signals that are listened to, from construction on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Option<Signal>,
    hangup: Option<Signal>,
    user1: Signal,
    /// What a SIGHUP asks for.
    hung_up: Interrupt,
}

impl Signals {
    /// Call from the main thread.
    pub(crate) fn listen() -> io::Result<Self> {
        let detached = is_detached(|name| std::env::var_os(name));
        let signals = Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: unless_ignored(SignalKind::interrupt())?,
            hangup: unless_ignored(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            hung_up: if detached { Interrupt::Renew } else { Interrupt::Stop("SIGHUP") },
        };
        // Those that came while this process was neither the program before nor this one.
        ours().thread_unblock()?;
        Ok(signals)
    }

    /// From now on signals wait for the program that this process becomes; what came a moment ago is sent again. Threads beside the
    /// main one take none, or end at once.
    pub(crate) async fn hand_over(&mut self) {
        use nix::sys::signal::Signal::{SIGHUP, SIGTERM, SIGUSR1};
        if let Err(error) = ours().thread_block() {
            tracing::warn!(%error, "a signal that comes now may be lost");
        }
        while let Ok(interrupt) = tokio::time::timeout(TOLD, self.next()).await {
            let signal = match interrupt {
                Interrupt::Stop(_) => SIGTERM,
                Interrupt::Reload => SIGUSR1,
                Interrupt::Renew => SIGHUP,
            };
            let _ = nix::sys::signal::raise(signal);
        }
    }

    /// The next signal. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.terminate.recv() => Interrupt::Stop("SIGTERM"),
            () = came(&mut self.interrupt) => Interrupt::Stop("SIGINT"),
            () = came(&mut self.hangup) => self.hung_up,
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

/// What is listened to.
fn ours() -> SigSet {
    use nix::sys::signal::Signal::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    [SIGTERM, SIGINT, SIGHUP, SIGUSR1].into_iter().collect()
}

#[expect(unsafe_code, reason = "`sigaction` takes any handler")]
fn default_action(signal: nix::sys::signal::Signal) -> nix::Result<SigHandler> {
    // SAFETY: the default action runs no code of this process.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_belongs_to_a_terminal_is_told_from_who_does_not() {
        let detached = |variables: &[(&str, &str)]| {
            is_detached(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        assert!(!detached(&[]));
        // A shell inherits this one from the unit that its terminal runs in.
        assert!(!detached(&[("INVOCATION_ID", "6f1e")]));
        assert!(!detached(&[("HERMES_GATEWAY_DETACHED", "0"), ("NOTIFY_SOCKET", "")]));
        for variable in [
            ("HERMES_GATEWAY_DETACHED", "1"),
            ("HERMES_GATEWAY_EXTERNAL_SUPERVISOR", "Yes"),
            ("NOTIFY_SOCKET", "/run/systemd/notify"),
            ("HERMES_S6_SUPERVISED_CHILD", "x"),
            ("XPC_SERVICE_NAME", "ai.hermes.gateway"),
        ] {
            assert!(detached(&[variable]), "{variable:?}");
        }
    }
}
