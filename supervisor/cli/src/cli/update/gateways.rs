//! The gateways that run, after an update or a restart: each is brought to the program on disk, or said how.

use std::time::Duration;

use camino::Utf8Path;
use hermes_gateway::running::{self, Running};
use hermes_wire::RootHome;
use serde_json::{Value, json};

use super::super::output::{self, Output};
use super::Profiles;
use crate::error::HermesError;
use crate::home::Surroundings;
use crate::report;
use crate::update::renew::{Renewal, TakenUp, Watcher, renew};

/// What was done about them.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Nothing went wrong.
    pub(super) good: bool,
    pub(super) json: Vec<Value>,
}

/// Brings every gateway that runs another program than `exe` to that one. With `quiet` nothing is printed but errors.
pub(super) fn renew_all(
    all: &Profiles,
    exe: &Utf8Path,
    env: &Surroundings,
    interrupted: &dyn Fn(Duration) -> bool,
    quiet: bool,
    out: &mut Output,
) -> Result<Report, HermesError> {
    let mut report = Report { good: true, json: Vec::new() };
    for gateway in running::gateways(&all.root, &all.names, &env.sockets) {
        let mut value = json(&gateway, exe);
        if gateway.runs(exe) == Some(true) {
            report.json.push(value);
            continue;
        }
        let mut text = about(&gateway, exe);
        if gateway.replaced_by() == Some(exe) {
            if !quiet {
                out.line(&format!("→ Bringing {} to the new program", name(&gateway)))?;
            }
            match take_up(&gateway, &all.root, exe, env, interrupted) {
                Ok(Renewal::TooOld) => {}
                Ok(Renewal::Accepted(line)) => text = format!("✓ {}: {line}\n", capital(&name(&gateway))),
                Ok(Renewal::Done(facts)) => {
                    text = done(&gateway, &facts);
                    report.good &= facts.is_complete();
                    value["renewed"] = true.into();
                    value["runs_this_program"] = true.into();
                    value["version"] = facts.version.into();
                    value["profiles_ready"] = facts.gateway.profiles_ready.into();
                    value["profiles_desired"] = facts.gateway.profiles_desired.into();
                    value["profiles_missing"] = facts.missing.into();
                    value["profiles_kept"] = facts.kept.into();
                }
                Err(error) => {
                    report.good = false;
                    report::report(&error);
                    value["problem"] = error.to_string().into();
                    text.clear();
                }
            }
        }
        if !quiet {
            out.write(&text)?;
        }
        report.json.push(value);
    }
    Ok(report)
}

/// Brings one gateway to `program`, with what happens shown where somebody watches.
pub(in crate::cli) fn take_up(
    gateway: &Running,
    root: &RootHome,
    program: &Utf8Path,
    env: &Surroundings,
    interrupted: &dyn Fn(Duration) -> bool,
) -> Result<Renewal, HermesError> {
    let terminal = output::stderr_is_terminal();
    let mut progress = |line: &str| {
        if terminal {
            output::note(line);
        }
    };
    renew(gateway, root, program, env, &mut Watcher { interrupted, progress: &mut progress })
}

/// The line that says what runs now.
pub(in crate::cli) fn done(gateway: &Running, facts: &TakenUp) -> String {
    let TakenUp { version, gateway: now, missing, kept } = facts;
    let mark = if facts.is_complete() { "✓" } else { "⚠" };
    let list = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("\n  {what}: {}; `hermes status` shows why", names.join(", ")),
    };
    let rest = list("not ready, and were before", missing)
        + &list("served by the worker from before, as the new one does not start", kept);
    let who = capital(&name(gateway));
    format!("{mark} {who} runs hermes {version} now: {}{rest}\n", now.readiness("profile"))
}

fn name(gateway: &Running) -> String {
    let of = if gateway.profile.is_default() { String::new() } else { format!(" of {}", gateway.profile) };
    format!("the gateway{of} (PID {})", gateway.pid)
}

fn capital(name: &str) -> String {
    name.replacen('t', "T", 1)
}

/// What a gateway runs, and how one that runs something else is brought to `exe`.
pub(super) fn to_do(gateway: &Running, exe: &Utf8Path) -> String {
    if gateway.replaced_by() != Some(exe) {
        return about(gateway, exe);
    }
    let who = capital(&name(gateway));
    let command = format!("hermes gateway restart{}", gateway.flag());
    format!("⚠ {who} still runs the program that was here before.\n  Bring it to this one: {command}\n")
}

/// What a gateway runs, and what restarts one that runs something else.
fn about(gateway: &Running, exe: &Utf8Path) -> String {
    let who = capital(&name(gateway));
    let what = match gateway.runs(exe) {
        Some(true) => return format!("✓ {who} runs this program\n"),
        Some(false) => "still runs another build, and starts its workers from that one",
        None => "runs a program that cannot be seen from here",
    };
    format!("⚠ {who} {what}.\n  Restart it: {}\n", gateway.restart)
}

pub(super) fn json(gateway: &Running, exe: &Utf8Path) -> Value {
    json!({
        "profile": gateway.profile,
        "pid": gateway.pid,
        "runs_this_program": gateway.runs(exe),
        "renewed": false,
        "restart": gateway.restart,
    })
}
