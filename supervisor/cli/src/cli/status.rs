//! `hermes status`: asks, or reads the files, and shows.

mod services;

use std::fmt::Write as _;
use std::time::Duration;

use hermes_gateway::client::{Client, ClientError};
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::Predecessor;
use hermes_host::disk;
use hermes_wire::contract::gateway_status::{GatewayStatus, state};
use hermes_wire::{ProfileName, exit};

use super::interrupt::Interrupt;
use super::output::Output;
use super::{Call, StatusArgs, target};
use crate::error::{CommandError, HermesError};
use crate::home::{Chosen, Selection, Surroundings};
use crate::service::Scope;
use crate::settings::judge;
use crate::status::offline;
use crate::status::render::{self, Look};
use services::Services;

/// Lines of a log that are shown, and most bytes that are read for them.
const LINES: usize = 20;
const TAIL: u64 = 64 * 1024;
/// Time between two looks of `--watch`.
const EVERY: Duration = Duration::from_secs(1);

/// `hermes status` and `hermes gateway status`.
pub(super) fn run(args: &StatusArgs, call: &Call, mut out: Output) -> Result<u8, HermesError> {
    if args.pid {
        return print_pid(&target::of(call)?, &call.env, out);
    }
    let (selection, env) = (&call.select()?, &call.env);
    // The sticky profile is for commands that need one; looking at everything is what this one is for.
    let only = matches!(selection.chosen, Chosen::Flag | Chosen::Home).then_some(&selection.profile);
    let scope = args.system.then_some(Scope::System);
    let mut status = look(selection, only, env);
    // Files of services are not what changes from second to second.
    let services = Services::look(selection, (only, scope), &status, env)?;
    services.tell(&mut status);
    if !args.watch {
        out.write(&show(args, selection, (&status, &services), only, &out, env))?;
        if args.deep {
            out.write(&last_lines(selection, only))?;
        }
        return Ok(code(args, &status, only));
    }
    let interrupt = Interrupt::or_q();
    loop {
        let text = show(args, selection, (&status, &services), only, &out, env);
        match out.rows() {
            Some(_) if !args.json => out.write(&redraw(&text))?,
            _ => out.write(&text)?,
        }
        if interrupt.came_within(EVERY) {
            return Ok(code(args, &status, only));
        }
        status = look(selection, only, env);
        services.tell(&mut status);
    }
}

/// The process id of the gateway that serves a profile, alone: its own gateway's, else the root home's.
fn print_pid(selection: &Selection, env: &Surroundings, mut out: Output) -> Result<u8, HermesError> {
    let (own, root) = (selection.home(), selection.root.path());
    let of = |home: &camino::Utf8Path| match (Predecessor::find(home), instance::probe(home)) {
        (Some(predecessor), _) => Some(predecessor.pid),
        (None, Liveness::Running { record }) => record.map(|record| record.pid),
        (None, _) => None,
    };
    let is_served = || {
        let name = &selection.profile;
        if let Some(predecessor) = Predecessor::find(root) {
            return predecessor.serves(name);
        }
        let status = look(selection, Some(name), env);
        let apart = [state::DETACHED, state::CONFLICT];
        let mine = status.profiles.iter().find(|p| p.name == name.as_str());
        !status.gateway.stale && mine.is_some_and(|p| p.generation > 0 && !apart.contains(&p.state.as_str()))
    };
    let pid = of(own.path()).or_else(|| if is_served() { of(root) } else { None });
    let Some(pid) = pid else {
        return Err(CommandError::NobodyRuns { home: own.path().to_owned() }.into());
    };
    out.line(&pid.to_string())?;
    Ok(exit::OK)
}

/// Over what was there: home, each line with its rest erased, then everything below. No flicker.
fn redraw(text: &str) -> String {
    let mut out = String::from("\x1b[H");
    for line in text.lines() {
        out.push_str(line);
        out.push_str("\x1b[K\n");
    }
    out.push_str("\x1b[J");
    out
}

/// The status from whoever answers, completed from the files.
pub(super) fn look(selection: &Selection, only: Option<&ProfileName>, env: &Surroundings) -> GatewayStatus {
    let root = &selection.root;
    let ask = |only| Client::connect(root.path(), &env.sockets).and_then(|client| client.status(only));
    let answer = match ask(only) {
        // A profile the gateway does not know: everything it knows, and the files for the rest.
        Err(ClientError::Refused { .. }) => ask(None),
        other => other,
    };
    let mut status = answer.unwrap_or_else(|error| offline::gateway(root, &error));
    offline::complete(&mut status, root, only, env, &|name| judge::stands_alone(root, name, env));
    status
}

fn show(
    args: &StatusArgs,
    selection: &Selection,
    (status, services): (&GatewayStatus, &Services),
    only: Option<&ProfileName>,
    out: &Output,
    env: &Surroundings,
) -> String {
    if args.json {
        let mut all = serde_json::to_value(status).expect("strings and integers always serialise");
        all["services"] = services.json();
        // One line a look, so that a program can read a stream of them.
        return if args.watch { format!("{all}\n") } else { format!("{all:#}\n") };
    }
    // The last row is the cursor's.
    let rows = out.rows().map(|rows| rows.saturating_sub(1));
    let width = out.width().filter(|_| !args.full);
    let look = Look { color: env.colors(), width, rows: rows.filter(|_| !args.full), scrolls: !args.watch };
    let mut text = match only {
        Some(_) => render::detail(status, look),
        None => render::table(status, look),
    };
    let lines = services.lines();
    if !lines.is_empty() && !args.watch {
        text = format!("{text}\n{lines}");
    }
    if let Some(dangling) = &selection.dangling {
        let _ = writeln!(text, "\nnote: {} (`{}`); it is ignored here", dangling.message(), dangling.file);
    }
    text
}

/// The end of the log that says most: a profile's own, or the gateway's.
fn last_lines(selection: &Selection, only: Option<&ProfileName>) -> String {
    let log = match only {
        Some(name) => selection.root.profile(name).gateway_log(),
        None => selection.root.supervisor_log(),
    };
    match disk::read_end(&log, TAIL) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = text.lines().collect();
            let mut shown = format!("\n{log}\n");
            for line in &lines[lines.len().saturating_sub(LINES)..] {
                let _ = writeln!(shown, "  {}", hermes_wire::text::visible(line));
            }
            shown
        }
        Err(error) => format!("\n{log}\n  cannot be read: {error}\n"),
    }
}

fn code(args: &StatusArgs, status: &GatewayStatus, only: Option<&ProfileName>) -> u8 {
    if !args.exit_code {
        return exit::OK;
    }
    let own = only.and_then(|name| status.profiles.iter().find(|p| p.name == name.as_str()));
    match own {
        Some(profile) if profile.ready && profile.state == state::READY && !profile.stale => exit::OK,
        Some(profile) if profile.pid.is_none() && state::is_at_rest(&profile.state) => exit::STOPPED,
        Some(_) => exit::DEGRADED,
        None if status.gateway.state == "stopped" => exit::STOPPED,
        None => {
            let well = status.gateway.state == "running"
                && !status.gateway.stale
                && status
                    .profiles
                    .iter()
                    .filter(|p| p.desired == "running")
                    .all(|p| p.ready && p.state == state::READY);
            if well { exit::OK } else { exit::DEGRADED }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::OneOfAll;
    use super::*;
    use crate::status::render::tests::{gateway, profile};

    fn args() -> StatusArgs {
        let whose = OneOfAll { name: None, profile: None };
        StatusArgs {
            whose,
            json: false,
            watch: false,
            exit_code: true,
            pid: false,
            deep: false,
            full: false,
            system: false,
            platform: None,
        }
    }

    #[test]
    fn the_exit_code_tells_only_when_asked() {
        let mut status = gateway(vec![profile("default", state::READY), profile("coder", state::READY)]);
        assert_eq!(code(&args(), &status, None), 0);
        status.profiles[1].state = state::DEGRADED.to_owned();
        assert_eq!(code(&args(), &status, None), 4);
        let coder: ProfileName = "coder".parse().unwrap();
        assert_eq!(code(&args(), &status, Some(&coder)), 4);
        assert_eq!(code(&args(), &status, Some(&ProfileName::default_profile())), 0);
        // Stopped on purpose is not a fault of the whole.
        status.profiles[1] = profile("coder", state::STOPPED);
        status.profiles[1].desired = "stopped".to_owned();
        assert_eq!(code(&args(), &status, None), 0);
        assert_eq!(code(&args(), &status, Some(&coder)), 3);
        status.gateway.state = "stopped".to_owned();
        assert_eq!(code(&args(), &status, None), 3);
        assert_eq!(code(&StatusArgs { exit_code: false, ..args() }, &status, None), 0);
    }
}
