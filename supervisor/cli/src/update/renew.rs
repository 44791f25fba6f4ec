//! Lets a running gateway take up the program that is on disk now, and waits until it serves again.
//!
//! The new program is asked first whether it would start this gateway: a release that refuses the configuration must not become
//! an outage. Only what was observed is reported: the same process, the new image, its profiles ready.

use std::process::Output;
use std::time::Duration;

use camino::Utf8Path;
use hermes_gateway::client::{Client, ClientError, Outcome};
use hermes_gateway::running::Running;
use hermes_gateway::{instance, program};
use hermes_host::child;
use hermes_host::clock;
use hermes_wire::contract::gateway_status::{Gateway, GatewayStatus, state};
use hermes_wire::latest::ClientRequest;
use hermes_wire::{RootHome, exit};

use crate::error::{HermesError, UpdateError};
use crate::home::Surroundings;

/// Time the new program has to check the files of every profile.
const CHECK: Duration = Duration::from_mins(3);
/// Time the gateway has to answer the request.
const ANSWER: Duration = Duration::from_secs(30);
/// Time requests and turns have to finish, and the new program to answer.
const TAKE_UP: Duration = Duration::from_mins(15);
/// Time the profiles have to be ready afterwards.
const READY: Duration = Duration::from_mins(3);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// What became of it.
#[derive(Debug)]
pub(crate) enum Renewal {
    /// It runs the program on disk.
    Done(Box<TakenUp>),
    /// It will, when the turn that asks for it is over.
    Accepted(String),
    /// The gateway, or the program on disk, is of a release that cannot do this.
    TooOld,
}

/// What is observed afterwards.
#[derive(Debug)]
pub(crate) struct TakenUp {
    pub(crate) version: String,
    pub(crate) gateway: Gateway,
    /// Were ready before, and are not.
    pub(crate) missing: Vec<String>,
    /// Are ready, by the worker that they had before: the new program's does not start.
    pub(crate) kept: Vec<String>,
}

impl TakenUp {
    /// Whether every profile that was ready is, by a worker of the new program.
    pub(crate) fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.kept.is_empty()
    }
}

/// How a renewal is watched.
pub(crate) struct Watcher<'a> {
    /// Waits that long; whether the user wants to wait no longer.
    pub(crate) interrupted: &'a dyn Fn(Duration) -> bool,
    /// Gets a line for people now and then.
    pub(crate) progress: &'a mut dyn FnMut(&str),
}

/// Brings `gateway` to `program`, which is the file that it was started from.
pub(crate) fn renew(
    gateway: &Running,
    root: &RootHome,
    program: &Utf8Path,
    env: &Surroundings,
    watcher: &mut Watcher<'_>,
) -> Result<Renewal, HermesError> {
    if !check(gateway, root, program, watcher)? {
        return Ok(Renewal::TooOld);
    }
    let home = root.profile(&gateway.profile);
    let before = status(home.path(), env)?;
    let mut inside = None;
    let request = Client::connect(home.path(), &env.sockets)?;
    match request.ask(&ClientRequest::Renew, ANSWER, |line| inside = Some(line.to_owned())) {
        Ok(Outcome::Done(_)) => {}
        Ok(Outcome::Refused { code, message, hint }) => {
            return Err(HermesError::Refused { code, message, hint });
        }
        // What cannot be read is answered by hanging up.
        Err(ClientError::CutShort) => return Ok(Renewal::TooOld),
        Err(error) => return Err(error.into()),
    }
    if let Some(line) = inside {
        return Ok(Renewal::Accepted(line));
    }
    (watcher.progress)("requests and turns in flight finish; new connections wait");
    let after = taken_up(gateway, home.path(), program, &before, env, watcher)?;
    (watcher.progress)("the new program starts its workers");
    ready(gateway, home.path(), &before, after, env, watcher)
}

/// Lets the new program say whether it would start. False: it is not one that could take the listeners over.
fn check(
    gateway: &Running,
    root: &RootHome,
    program: &Utf8Path,
    watcher: &mut Watcher<'_>,
) -> Result<bool, HermesError> {
    if !prove(gateway, program)? {
        return Ok(false);
    }
    (watcher.progress)("the new program checks the files of every profile");
    let mut command = child::command_passing(program.as_str(), &[hermes_wire::env::MULTIPLEX]);
    command.args(["gateway", "check", "--renewal"]).env("HERMES_HOME", root.path().as_str());
    if !gateway.profile.is_default() {
        command.args(["-p", gateway.profile.as_str()]);
    }
    let (code, said) = match child::run_watched(command, CHECK, watcher.interrupted) {
        Ok(output) if output.status.success() => return Ok(true),
        Ok(output) if output.status.code() == Some(exit::USAGE.into()) => return Ok(false),
        Ok(output) => {
            let refused = output.status.code() == Some(exit::CONFIG.into());
            let code = if refused { exit::CONFIG } else { exit::FAILURE };
            (code, format!("{}{}", output.status, text(&output)))
        }
        Err(error) => (exit::FAILURE, error.to_string()),
    };
    if (watcher.interrupted)(Duration::ZERO) {
        let state = "the gateway goes on with the program before";
        return Err(HermesError::Interrupted { state, hint: None });
    }
    let (pid, flag, program) = (gateway.pid, gateway.flag(), program.to_owned());
    Err(UpdateError::WouldNotStart { code, pid, said, program, flag }.into())
}

/// Lets the program on disk prove that it is a gateway, before it has time for anything. False: it is one that cannot take the
/// listeners over.
fn prove(gateway: &Running, program: &Utf8Path) -> Result<bool, HermesError> {
    let mut command = child::command(program.as_str());
    command.args(program::PROOF_ARGUMENTS);
    let why = match child::run(command, program::PROOF_TIME) {
        Ok(output) if output.status.code() == Some(exit::USAGE.into()) => return Ok(false),
        Ok(output) => match program::judge_proof(&output.stdout, output.status.success()) {
            Ok(()) => return Ok(true),
            Err(why) => format!("{why}: {}{}", output.status, text(&output)),
        },
        Err(error) => error.to_string(),
    };
    let (pid, flag, program) = (gateway.pid, gateway.flag(), program.to_owned());
    Err(UpdateError::NoGateway { program, why, pid, flag }.into())
}

/// What a program printed, below each other, as part of a message.
fn text(output: &Output) -> String {
    let both = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    let lines = both.iter().flat_map(|text| text.lines()).filter(|line| !line.trim().is_empty());
    // Enough for every problem that somebody reads here; the command of the hint has all.
    lines.take(40).fold(String::new(), |text, line| text + "\n  " + line)
}

fn status(home: &Utf8Path, env: &Surroundings) -> Result<GatewayStatus, HermesError> {
    Ok(Client::connect(home, &env.sockets)?.status(None)?)
}

/// Waits until the same process answers as the new program.
fn taken_up(
    gateway: &Running,
    home: &Utf8Path,
    program: &Utf8Path,
    before: &GatewayStatus,
    env: &Surroundings,
    watcher: &Watcher<'_>,
) -> Result<GatewayStatus, HermesError> {
    let deadline = clock::now() + TAKE_UP;
    let pid = gateway.pid;
    loop {
        if instance::start_time(pid) != before.gateway.start_time {
            let (log, restart) = (home.join("logs/supervisor.log"), gateway.restart.clone());
            return Err(UpdateError::Ended { pid, log, restart }.into());
        }
        if let Ok(now) = status(home, env)
            && now.gateway.started_at != before.gateway.started_at
            && now.gateway.state == "running"
        {
            let file = program::running_file(pid, now.gateway.program.as_ref());
            if file.is_some() && file == program::file_of(program) {
                return Ok(now);
            }
            let (log, program) = (home.join("logs/supervisor.log"), program.to_owned());
            let last = now.gateway.problems.iter().rfind(|problem| problem.code == "not_taken_up");
            let why = last.map(|problem| problem.message.clone());
            return Err(UpdateError::NotExecuted { pid, program, why, log }.into());
        }
        if clock::now() >= deadline {
            return Err(HermesError::NotReached {
                message: format!("the gateway (PID {pid}) has not taken up the new program yet"),
                hint: "`hermes status` shows how it goes on".to_owned(),
            });
        }
        pause(watcher)?;
    }
}

/// Waits until those that were ready are ready again, or it is seen that they will not be.
fn ready(
    gateway: &Running,
    home: &Utf8Path,
    before: &GatewayStatus,
    mut now: GatewayStatus,
    env: &Surroundings,
    watcher: &Watcher<'_>,
) -> Result<Renewal, HermesError> {
    let deadline = clock::now() + READY;
    loop {
        let missing = missing(before, &now);
        let may_come = missing.iter().any(|missing| missing.may_come);
        if !may_come || clock::now() >= deadline {
            return Ok(Renewal::Done(Box::new(TakenUp {
                version: now.gateway.version.clone().unwrap_or_else(|| "?".to_owned()),
                gateway: now.gateway.clone(),
                missing: missing.iter().filter(|one| !one.serves).map(|one| one.name.to_owned()).collect(),
                kept: missing.iter().filter(|one| one.serves).map(|one| one.name.to_owned()).collect(),
            })));
        }
        pause(watcher)?;
        if instance::start_time(gateway.pid) == before.gateway.start_time {
            // It is busy with its start; the next look counts.
            if let Ok(status) = status(home, env) {
                now = status;
            }
        } else {
            let log = home.join("logs/supervisor.log");
            return Err(UpdateError::EndedAfterwards { pid: gateway.pid, log }.into());
        }
    }
}

/// A profile that was ready before and is not ready by a worker of the new program.
struct Missing<'a> {
    name: &'a str,
    /// The worker from before serves it.
    serves: bool,
    /// It may still get there.
    may_come: bool,
}

/// Profiles that were ready before and are not brought to the new program now.
fn missing<'a>(before: &'a GatewayStatus, now: &'a GatewayStatus) -> Vec<Missing<'a>> {
    let was = before.profiles.iter().filter(|profile| profile.ready);
    was.filter_map(|old| {
        // One that is gone was removed meanwhile.
        let new = now.profiles.iter().find(|new| new.name == old.name)?;
        let name = new.name.as_str();
        // Who sleeps has none, and nothing to replace.
        if new.ready && new.pid.is_some() && new.pid == old.pid {
            return Some(Missing { name, serves: true, may_come: new.refused_at.is_none() });
        }
        let may_come = matches!(new.state.as_str(), state::STARTING | state::BACKOFF);
        (!new.ready && new.desired == "running").then_some(Missing { name, serves: false, may_come })
    })
    .collect()
}

fn pause(watcher: &Watcher<'_>) -> Result<(), HermesError> {
    if !(watcher.interrupted)(LOOK) {
        return Ok(());
    }
    Err(HermesError::Interrupted {
        state: "the gateway goes on taking up the new program",
        hint: Some("`hermes status` shows how it goes on"),
    })
}
