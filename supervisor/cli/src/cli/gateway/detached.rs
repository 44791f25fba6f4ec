//! A gateway in the background: started by a command that returns when it runs, or has said why it does not.
//!
//! It is this very program with the whole environment of the command, in a session of its own, with the variable that says so. What it prints goes into
//! a file without a name that only this command reads: the gateway's own words come out as if it had run here. What happens
//! later is in its log. Whoever stops waiting leaves it as it is.

use std::io::{Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use hermes_gateway::client::Client;
use hermes_gateway::instance::{self, Liveness};
use hermes_host::refusal::Io;
use hermes_host::{child, clock};
use hermes_wire::contract::gateway_status::{GatewayStatus, state};
use hermes_wire::{ProfileName, RootHome, env as variables, exit};

use super::super::interrupt::Interrupt;
use super::ALL;
use super::answer::Say;
use super::reach::LOOK;
use crate::error::HermesError;
use crate::home::{Selection, Surroundings};
use crate::settings;

/// Time after which it is said again and again how far it is.
const QUIET: Duration = Duration::from_secs(1);
/// Most that is shown of what it printed, in bytes.
const SAID: u64 = 64 * 1024;

/// A gateway that runs.
pub(super) struct Started {
    /// Its status when all that it serves had come up, or had said why not.
    pub(super) status: GatewayStatus,
    /// Somebody else was faster, and it is that one.
    pub(super) other: bool,
}

/// Starts the gateway of `profile` and waits for it.
pub(super) fn start(
    selection: &Selection,
    profile: &ProfileName,
    env: &Surroundings,
    say: &mut Say,
) -> Result<Started, HermesError> {
    let home = selection.root.profile(profile);
    settings::make_home(profile, &home)?;
    let mut printed =
        tempfile::tempfile_in(&env.temp_dir).map_err(Io::at("make a file in", &env.temp_dir))?;
    let mut command = child::own_to_stay();
    if !profile.is_default() {
        command.args(["-p", profile.as_str()]);
    }
    let log = printed.try_clone().map_err(Io::at("make a file in", &env.temp_dir))?;
    command
        .args(["gateway", "run", "-q"])
        .env(variables::HERMES_HOME, selection.root.path())
        .env(variables::DETACHED, "1")
        .current_dir(home.path())
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(log);
    let mut child = command.spawn().map_err(Io::at("start", "the gateway"))?;
    say.progress(&format!("starting the gateway (PID {})", child.id()));
    let waited = wait(&mut child, home.path(), env, say);
    match waited? {
        Waited::Up(status) => Ok(Started { status: *status, other: false }),
        Waited::Ended(status) => {
            let said = said(&mut printed);
            // Two starts at once: one of them is the gateway now, and that is what was asked for.
            if status.code() == Some(i32::from(exit::FAILURE))
                && let Some(status) = other(home.path(), env, child.id())
            {
                return Ok(Started { status, other: true });
            }
            let log = RootHome::new(home.path()).supervisor_log();
            Err(HermesError::NotStarted { code: code(status), said, log })
        }
    }
}

enum Waited {
    Up(Box<GatewayStatus>),
    Ended(ExitStatus),
}

fn wait(
    child: &mut Child,
    home: &camino::Utf8Path,
    env: &Surroundings,
    say: &mut Say,
) -> Result<Waited, HermesError> {
    let pid = child.id();
    let interrupt = Interrupt::new();
    let (begun, mut told) = (clock::now(), clock::now());
    loop {
        if let Some(status) = child.try_wait().map_err(Io::at("wait for", "the gateway"))? {
            return Ok(Waited::Ended(status));
        }
        let asked = Client::connect(home, &env.sockets).and_then(|client| client.status(None)).ok();
        let running =
            asked.filter(|status| status.gateway.pid == Some(pid) && status.gateway.state == "running");
        let unsettled = running.as_ref().map(unsettled);
        if let (Some(status), Some(0)) = (running, unsettled) {
            return Ok(Waited::Up(Box::new(status)));
        }
        let now = clock::now();
        if now.saturating_duration_since(told) >= QUIET {
            told = now;
            let secs = now.saturating_duration_since(begun).as_secs();
            say.progress(&match unsettled {
                Some(count) => {
                    format!("waiting for {count} profile{} ({secs} s)", if count == 1 { "" } else { "s" })
                }
                None => format!("waiting for the gateway ({secs} s)"),
            });
        }
        if now.saturating_duration_since(begun) >= ALL {
            return Err(HermesError::NotReached {
                message: format!("the gateway (PID {pid}) is not up after {} minutes", ALL.as_secs() / 60),
                hint: "it goes on; `hermes gateway status` shows how far it is".to_owned(),
            });
        }
        if interrupt.came_within(LOOK * 2) {
            let hint = Some("`hermes gateway status` shows how far it is, `hermes gateway stop` ends it");
            return Err(HermesError::Interrupted { state: "the gateway goes on starting", hint });
        }
    }
}

/// How many of those that should run have neither come up nor said why not.
fn unsettled(status: &GatewayStatus) -> usize {
    status.profiles.iter().filter(|p| p.desired == "running" && p.state == state::STARTING).count()
}

/// The status of the gateway that runs instead of process `pid`.
fn other(home: &camino::Utf8Path, env: &Surroundings, pid: u32) -> Option<GatewayStatus> {
    let Liveness::Running { record: Some(record) } = instance::probe(home) else { return None };
    let status = Client::connect(home, &env.sockets).and_then(|client| client.status(None)).ok()?;
    (record.pid != pid && status.gateway.pid == Some(record.pid)).then_some(status)
}

/// What the process printed.
fn said(printed: &mut std::fs::File) -> String {
    let mut bytes = Vec::new();
    let read = printed.rewind().and_then(|()| printed.take(SAID).read_to_end(&mut bytes));
    if read.is_err() { String::new() } else { String::from_utf8_lossy(&bytes).trim().to_owned() }
}

/// The exit code, a signal's as a shell shows it.
fn code(status: ExitStatus) -> u8 {
    let signal = || status.signal().map(|signal| signal + 128);
    status.code().or_else(signal).and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILURE)
}
