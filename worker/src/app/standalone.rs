//! One worker in the foreground, without a supervisor, to debug one profile: HTTP on an address of its own, log lines on
//! standard error as well, Ctrl-C drains, a second one ends at once.
//!
//! It holds the lock of the profile's home (`gateway.lock`) for its life. That is the lock a gateway of that profile alone
//! would hold: two of them exclude each other, and a supervisor shows the profile as `conflict`. Supervised workers never
//! take it, because a swap runs two of them side by side.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;

use hermes_config::ProfileConfig;
use hermes_host::child;
use hermes_wire::latest::{BoundListener, Prepare, Role};
use hermes_wire::{ProfileHome, exit};
use nix::fcntl::{Flock, FlockArg};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::serving::{Duty, Parts, Reporter, Serving, impediment};
use super::{Ended, Signals, Who, log_problems};
use crate::handover::Road;
use crate::http::{Listener, address};
use crate::load;
use crate::logging::Logging;
use crate::platform;
use crate::process::{self, Environment};
use crate::pulse;
use crate::status::{self, State, Status};

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("another gateway or worker holds `{0}`; stop it first")]
    Locked(camino::Utf8PathBuf),
    #[error("cannot lock `{0}`")]
    Lock(camino::Utf8PathBuf, #[source] std::io::Error),
    #[error("cannot listen on `{0}`")]
    Bind(SocketAddr, #[source] std::io::Error),
    #[error("cannot install signal handlers")]
    Signals(#[source] std::io::Error),
}

/// The whole life.
pub(super) async fn run(
    who: &Who,
    environment: &Environment,
    logging: &Logging,
    http: Option<SocketAddr>,
) -> Ended {
    match live(who, environment, logging, http).await {
        Ok(ended) => ended,
        Err(e) => {
            error!(error = &e as &dyn std::error::Error, "the worker does not start");
            Ended(exit::FAILURE)
        }
    }
}

async fn live(
    who: &Who,
    environment: &Environment,
    logging: &Logging,
    http: Option<SocketAddr>,
) -> Result<Ended, Failure> {
    let _lock = lock(&who.home)?;
    let mut signals = Signals::install().map_err(Failure::Signals)?;
    let wanted = http.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
    let listener = TcpListener::bind(wanted).await.map_err(|e| Failure::Bind(wanted, e))?;
    let bound = address(&listener).unwrap_or(wanted);
    let listeners = vec![BoundListener {
        address: bound.to_string(),
        host: Some(bound.ip().to_string()),
        platforms: platform::families().into_iter().map(|family| family.platform).collect(),
    }];
    let loaded =
        load::load(&who.profile, &who.home, &prepare(who, &listeners, environment), environment).await;
    if let Some(config) = &loaded.config {
        logging.configure(&config.logging);
        logging.redact(config);
    }
    log_problems(&loaded.report.problems);
    let record = status::empty(
        who.profile.as_str(),
        process::pid(),
        process::start_time(process::pid()),
        child::argv(),
    );
    let reporter = Reporter::start(Status::new(record), &who.home);
    let Some(config) = loaded.config else {
        reporter.finish(State::StartupFailed, Some("the configuration cannot be used; see the log")).await;
        return Ok(Ended(exit::CONFIG));
    };
    let deadline = config.agent.restart_drain_timeout;
    warn_if_nothing_to_serve(&config);
    let reason = impediment(&loaded.report.problems);
    let parts = Parts {
        config,
        reason,
        home: &who.home,
        environment,
        listeners,
        listener: Listener::Tcp(listener),
        road: Road::default(),
        reporter: &reporter,
        duty: Duty::All,
    };
    let serving = match Serving::start(parts).await {
        Ok(serving) => serving,
        Err(e) => {
            error!(error = &e as &dyn std::error::Error, "the profile cannot be served");
            reporter.finish(State::StartupFailed, Some(&e.to_string())).await;
            return Ok(Ended(e.exit_code()));
        }
    };
    serving.connections().connect();
    info!("serving at http://{bound}; Ctrl-C ends");
    let mut changes = serving.changes();
    let failed = serving.failed();
    tokio::pin!(failed);
    loop {
        tokio::select! {
            pulse::Failure { reason, code } = &mut failed => {
                error!("{reason}; the worker ends");
                reporter.finish(State::Stopped, Some(&reason)).await;
                return Ok(Ended(code));
            }
            name = signals.any() => {
                info!("{name}: draining");
                break;
            }
            () = changes.next() => serving.show_state(),
        }
    }
    let now = CancellationToken::new();
    let work = async {
        serving.stop_accepting().await;
        serving.drain(now.clone(), false).await;
    };
    tokio::pin!(work);
    let timer = tokio::time::sleep(deadline);
    tokio::pin!(timer);
    loop {
        tokio::select! {
            () = &mut work => break,
            () = &mut timer, if !now.is_cancelled() => now.cancel(),
            name = signals.any() => {
                warn!("{name} again: ending at once");
                break;
            }
        }
    }
    reporter.finish(State::Stopped, None).await;
    Ok(Ended(exit::OK))
}

/// What a supervisor would have said. The default profile keeps its own listeners' rules; any other one is served as a secondary
/// is, so that its file means the same here and there.
fn prepare(who: &Who, listeners: &[BoundListener], environment: &Environment) -> Prepare {
    let primary = who.profile.is_default();
    Prepare {
        multiplex: environment.multiplex.as_deref().and_then(flag),
        listeners: if primary { Vec::new() } else { listeners.to_vec() },
        ..load::unsupervised(if primary { Role::Primary } else { Role::Secondary })
    }
}

fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn warn_if_nothing_to_serve(config: &ProfileConfig) {
    if !config.settings.has_listeners() {
        warn!("no HTTP platform is configured: only /health answers");
    }
}

fn lock(home: &ProfileHome) -> Result<Flock<std::fs::File>, Failure> {
    let path = home.gateway_lock();
    let mut options = std::fs::OpenOptions::new();
    options.read(true).append(true).mode(0o600);
    let file = hermes_host::file::open_or_create(&path, &options);
    let file = file.map_err(|e| Failure::Lock(path.clone(), e))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| match e {
        nix::errno::Errno::EWOULDBLOCK => Failure::Locked(path),
        e => Failure::Lock(path, e.into()),
    })
}
