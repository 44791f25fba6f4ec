//! A worker of a command's own: it answers what one `hermes chat` asks, as long as it is there, where no gateway serves the profile.
//!
//! It has the isolation of every worker and the profile's files as they are, and nothing else: no port, no path that anybody could
//! connect to, no bot, no inbox, no status file. Those belong to a gateway, which may start at any moment beside it; what both write
//! is in `state.db`, where leases keep their turns apart.
//!
//! Standard input is the line over which the command hands it connections. The end of that is its end: turns are interrupted, written
//! down, and the process gone.

use std::os::fd::OwnedFd;
use std::time::Duration;

use axum::Router;
use hermes_host::child;
use hermes_wire::exit;
use hermes_wire::latest::{Role, Severity};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::serving::{Duty, Parts, Reporter, Serving};
use super::{Ended, Signals, Who, describe, log_problems};
use crate::handover::Road;
use crate::http::{Given, Listener, Responder, Server};
use crate::logging::Logging;
use crate::process::{self, Environment};
use crate::pulse;
use crate::status::{self, Status};
use crate::{load, terminal};

/// Time that an interrupted turn has to be written.
const DEADLINE: Duration = Duration::from_secs(3);

/// The whole life.
pub(super) async fn run(who: &Who, environment: &Environment, logging: &Logging, input: OwnedFd) -> Ended {
    let (Ok(mut signals), Ok(stream)) = (Signals::install(), process::stream(input)) else {
        error!(
            "standard input is no line of connections: such a worker is started by `hermes chat`, and by nobody else"
        );
        return Ended(exit::FAILURE);
    };
    let given = Given::new(stream);
    let ended = given.ended();
    // Nobody serves it, and all rules but those of listeners hold.
    let role = if who.profile.is_default() { Role::Primary } else { Role::Secondary };
    let loaded = load::load(&who.profile, &who.home, &load::unsupervised(role), environment).await;
    if let Some(config) = &loaded.config {
        logging.configure(&config.logging);
        logging.redact(config);
    }
    log_problems(&loaded.report.problems);
    let Some(config) = loaded.config else {
        let worst = loaded.report.problems.iter().filter(|problem| problem.severity != Severity::Warning);
        let text = worst.map(describe).collect::<Vec<_>>().join("\n");
        let text = loaded.hindrance.unwrap_or(text);
        return refuse(who, given, format!("the configuration cannot be used: {text}")).await;
    };
    let record = status::empty(
        who.profile.as_str(),
        process::pid(),
        process::start_time(process::pid()),
        child::argv(),
    );
    let reporter = Reporter::silent(Status::new(record));
    let parts = Parts {
        config,
        reason: None,
        home: &who.home,
        environment,
        listeners: Vec::new(),
        listener: Listener::Given(given),
        road: Road::default(),
        reporter: &reporter,
        duty: Duty::Terminal,
    };
    let serving = match Serving::start(parts).await {
        Ok(serving) => serving,
        Err(e) => {
            error!(error = &e as &dyn std::error::Error, "the profile cannot be served");
            // Its connection went with the attempt: the command sees that this process ended, and its log says why.
            return Ended(e.exit_code());
        }
    };
    info!("serving a command at a terminal");
    let code = tokio::select! {
        () = ended.cancelled() => exit::OK,
        name = signals.any() => {
            info!("{name}: ending");
            exit::OK
        }
        pulse::Failure { reason, code } = serving.failed() => {
            error!("{reason}; the worker ends");
            return Ended(code);
        }
    };
    let now = CancellationToken::new();
    let timer = async {
        tokio::time::sleep(DEADLINE).await;
        now.cancel();
        std::future::pending::<()>().await;
    };
    let work = async {
        serving.stop_accepting().await;
        serving.drain(now.clone(), false).await
    };
    tokio::select! {
        _ = work => {}
        () = timer => {}
    }
    Ended(code)
}

/// Answers that nothing can be answered.
async fn refuse(who: &Who, given: Given, message: String) -> Ended {
    let hint = "`hermes config check` shows every problem of the file; `hermes config edit` opens it";
    let ended = given.ended();
    let responder = Responder::new(who.profile.clone(), Router::new(), Vec::new(), None)
        .with_terminal(terminal::refusing(message, hint.to_owned()));
    let server = Server::start(Listener::Given(given), responder, who.home.clone());
    if tokio::time::timeout(DEADLINE * 10, ended.cancelled()).await.is_err() {
        error!("nobody asked; the worker ends");
    }
    server.stop_accepting().await;
    Ended(exit::CONFIG)
}
