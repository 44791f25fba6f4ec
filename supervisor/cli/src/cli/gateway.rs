//! `hermes gateway run|start|stop|restart`: the guards before a start, and requests to the gateway that runs.

mod check;
mod parking;

use std::time::Duration;

use hermes_gateway::app::{self, GatewayOptions};
use hermes_gateway::client::{Client, ClientError, Outcome};
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::logging::{self, Verbosity};
use hermes_gateway::predecessor::{Predecessor, Purpose};
use hermes_gateway::running::Running;
use hermes_host::refusal::Io;
use hermes_host::{clock, homes, wait};
use hermes_wire::contract::gateway_status::{GatewayStatus, Profile, state};
use hermes_wire::latest::ClientRequest;
use hermes_wire::{ProfileName, RootHome, exit};

use super::interrupt::Interrupt;
use super::output::{self, Output};
use super::update::gateways::{self, take_up};
use super::{RunArgs, target};
use crate::error::{CommandError, HermesError, UpdateError};
use crate::home::{Selection, Surroundings};
use crate::profile::standalone;
use crate::status::render;
use crate::update::renew::Renewal;

pub(super) use check::run as check;

/// Time a worker has to start, drain and be replaced, before the command gives up waiting (the gateway goes on).
const ONE: Duration = Duration::from_secs(180);
/// Time a change of everything has.
const ALL: Duration = Duration::from_secs(900);
/// Time a gateway that has just taken its lock has until it answers.
const STARTING: Duration = Duration::from_secs(3);
/// Time a gateway has until its start is no longer worth announcing.
const ANNOUNCE: Duration = Duration::from_secs(120);
/// Time between two looks at something that is awaited.
const LOOK: Duration = Duration::from_millis(25);

/// `hermes gateway run`.
pub(super) fn run(
    args: &RunArgs,
    selection: &Selection,
    env: &Surroundings,
    settle: fn(),
) -> Result<u8, HermesError> {
    let root_home = selection.root.path();
    // A first start on a fresh machine; a named profile's home was found, or it could not have been selected.
    if !root_home.exists() {
        hermes_host::disk::make_dirs(root_home, 0o700).map_err(Io::at("make the home", root_home))?;
    }
    if !selection.profile.is_default() {
        guard(selection, args.force, env)?;
    }
    let home = selection.home();
    if let Err(e) = crate::profile::skeleton::seed_soul(home.path()) {
        // A home on a medium that cannot be written to is served without it.
        output::warn(&format!("{} was not made: {e}", home.soul()));
    }
    if !args.replace
        && let Some(predecessor) = Predecessor::find(home.path())
    {
        return Err(HermesError::Predecessor(Box::new(predecessor)));
    }
    // Where the lock is, there is the log: two gateways never write to one file.
    let own = RootHome::new(home.path());
    if let Err(e) = logging::init(&own, Verbosity::from_flags(args.verbose, args.quiet)) {
        tracing::warn!(path = %own.supervisor_log(), error = %e, "there is no log file");
    }
    let banner = announce(home.path().to_owned(), selection.profile.clone(), env.clone(), render::banner);
    let result = app::run(GatewayOptions {
        root: selection.root.clone(),
        profile: selection.profile.clone(),
        replace: args.replace,
        repeatable: true,
        settle,
        sockets: env.sockets.clone(),
        rendezvous: Some(env.rendezvous.clone()),
    });
    banner.cancel();
    Ok(result?)
}

/// A named profile may not have a gateway of its own while the root home's gateway serves it. The gateway that runs is asked;
/// neither this command's environment nor a file decides.
fn guard(selection: &Selection, force: bool, env: &Surroundings) -> Result<(), HermesError> {
    let root = &selection.root;
    let name = &selection.profile;
    if let Some(predecessor) = Predecessor::find(root.path()) {
        // It cannot give up one profile alone.
        let serves = predecessor.serves(name);
        return if serves { Err(HermesError::Predecessor(Box::new(predecessor))) } else { Ok(()) };
    }
    let Some(client) = connect(root.path(), env)? else { return Ok(()) };
    let status = client.status(None)?;
    if !is_served(&status, name) {
        return Ok(());
    }
    if !force {
        return Err(HermesError::Served { profile: name.clone() });
    }
    let Some(client) = connect(root.path(), env)? else { return Ok(()) };
    let request = ClientRequest::Detach { profile: name.clone() };
    match client.ask(&request, ONE, |line| tracing::info!("{line}"))? {
        Outcome::Done(_) => Ok(()),
        Outcome::Refused { code, message, hint } => Err(HermesError::Refused { code, message, hint }),
    }
}

/// Refuses to debug a worker beside the one that a gateway runs for the same home.
pub(super) fn refuse_if_served_for_debugging(
    selection: &Selection,
    env: &Surroundings,
) -> Result<(), HermesError> {
    let name = &selection.profile;
    let own_home = selection.home();
    for home in [selection.root.path(), own_home.path()] {
        let Some(client) = connect(home, env)? else { continue };
        let status = client.status(None)?;
        let runs = status.profiles.iter().any(|p| p.name == name.as_str() && p.state != state::STOPPED);
        if runs && is_served(&status, name) {
            let mine = status.profiles.iter().find(|p| p.name == name.as_str());
            let socket = mine.and_then(|p| p.data_socket.clone());
            let (pid, profile) = (status.gateway.pid, name.clone());
            return Err(CommandError::WorkedOn { pid, profile, socket }.into());
        }
    }
    Ok(())
}

fn is_served(status: &GatewayStatus, name: &ProfileName) -> bool {
    status
        .profiles
        .iter()
        .find(|p| p.name == name.as_str())
        .is_some_and(|p| !matches!(p.state.as_str(), state::DETACHED | state::CONFLICT | state::STANDALONE))
}

/// Connects to the gateway of `home`; `None` when none runs. One that has just begun is waited for.
fn connect(home: &camino::Utf8Path, env: &Surroundings) -> Result<Option<Client>, HermesError> {
    let deadline = clock::now() + STARTING;
    loop {
        match Client::connect(home, &env.sockets) {
            Ok(client) => return Ok(Some(client)),
            Err(ClientError::NobodyThere { .. }) => {
                if let Some(predecessor) = Predecessor::find(home) {
                    return Err(HermesError::Predecessor(Box::new(predecessor)));
                }
                let Liveness::Running { record } = instance::probe(home) else { return Ok(None) };
                if clock::now() >= deadline {
                    return Err(silent(home, record.map(|record| record.pid)));
                }
                wait::pause(LOOK);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn silent(home: &camino::Utf8Path, pid: Option<u32>) -> HermesError {
    HermesError::Silent { home: home.to_string(), pid, flag: instance::flag_of(home) }
}

/// The gateway a command about `selection` goes to: a profile's own where it has one, else the root home's.
fn gateway_of(
    selection: &Selection,
    env: &Surroundings,
) -> Result<(Client, camino::Utf8PathBuf), HermesError> {
    find(selection, env)?.ok_or_else(|| not_running(selection, env))
}

/// The same; `None` where neither runs.
fn find(
    selection: &Selection,
    env: &Surroundings,
) -> Result<Option<(Client, camino::Utf8PathBuf)>, HermesError> {
    let own = selection.home();
    let root = selection.root.path();
    if own.path() != root
        && let Some(client) = connect(own.path(), env)?
    {
        return Ok(Some((client, own.path().to_owned())));
    }
    Ok(connect(root, env)?.map(|client| (client, root.to_owned())))
}

/// No gateway runs; the hint is what starts one.
fn not_running(selection: &Selection, env: &Surroundings) -> HermesError {
    let name = &selection.profile;
    let alone = !name.is_default() && !target::is_multiplexer(&selection.root, env);
    let (flag, unit) = if alone {
        (format!(" -p {name}"), standalone::unit_name(name))
    } else {
        (String::new(), "hermes-gateway.service".to_owned())
    };
    let foreground = format!("`hermes gateway run{flag}` runs it in the foreground");
    let hint = if standalone::is_installed(&unit, env) {
        format!("`systemctl --user start {unit}` starts it; {foreground}")
    } else {
        foreground
    };
    let home = if alone { selection.home().path().to_string() } else { selection.root.path().to_string() };
    HermesError::NotRunning { home, hint }
}

/// What is said of a gateway that is, or was, there: `the gateway of profile 'coder' (PID 7)`.
fn shown(home: &camino::Utf8Path, selection: &Selection, pid: Option<u32>) -> String {
    let own = home == selection.home().path() && !selection.profile.is_default();
    let of = if own { format!(" of profile '{}'", selection.profile) } else { String::new() };
    let pid = pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
    format!("gateway{of}{pid}")
}

/// `hermes gateway start`. What runs is left alone, so that a loop over profiles goes on.
pub(super) fn start(selection: &Selection, env: &Surroundings, mut out: Output) -> Result<u8, HermesError> {
    if let Some(predecessor) = Predecessor::find(selection.home().path()) {
        out.line(&format!("✓ Running already: {predecessor}; `{}` takes over", predecessor.take_over()))?;
        return Ok(exit::OK);
    }
    let was_parked = parking::end(selection, env)?;
    let name = &selection.profile;
    let (client, home) = match find(selection, env)? {
        Some(found) => found,
        None if was_parked => return parking::ended(&not_running(selection, env), name, out),
        None => return Err(not_running(selection, env)),
    };
    let status = client.status(None)?;
    let mine = status.profiles.iter().find(|p| p.name == name.as_str());
    let is_own = home == *selection.home().path();
    let serving = mine.is_some_and(|p| p.pid.is_some());
    if !selection.is_named() || (is_own && serving) {
        out.line(&format!("✓ The {} is running", shown(&home, selection, status.gateway.pid)))?;
        return Ok(exit::OK);
    }
    match mine {
        Some(Profile { pid: Some(pid), state, .. }) if !was_parked => {
            out.line(&format!("✓ Profile '{name}' is running already ({state}, PID {pid})"))?;
            return Ok(exit::OK);
        }
        Some(Profile { state, .. }) if !is_own && state == state::STANDALONE => {
            return Err(not_served(name, &status));
        }
        Some(_) => {}
        None => return Err(not_served(name, &status)),
    }
    let Some(client) = connect(&home, env)? else { return Err(not_running(selection, env)) };
    let request = ClientRequest::Start { profile: name.clone() };
    if was_parked {
        return parking::ask(client, &request, &parking::served(name), out);
    }
    ask(client, &request, ONE, &format!("✓ Started profile {name}"), out)
}

/// The gateway that runs does not have this profile.
fn not_served(name: &ProfileName, status: &GatewayStatus) -> HermesError {
    let alone = status.profiles.iter().any(|p| p.name == name.as_str() && p.state == state::STANDALONE);
    let (why, is_odd) = if alone {
        ("its `config.yaml` says that it stands alone (`gateway.standalone`)", false)
    } else if status.gateway.mode.as_deref() == Some("multiplex") {
        ("it is not among those that `gateway.multiplex_profile_allowlist` names, or cannot be served", true)
    } else {
        ("multiplexing is off", false)
    };
    CommandError::NotServed { pid: status.gateway.pid, profile: name.clone(), why, is_odd }.into()
}

/// `hermes gateway stop`. What does not run is left alone, so that a loop over profiles goes on.
pub(super) fn stop(selection: &Selection, env: &Surroundings, mut out: Output) -> Result<u8, HermesError> {
    if let Some(predecessor) = Predecessor::find(selection.home().path()) {
        predecessor.end(Purpose::Stop).map_err(Io::at("end", predecessor.to_string()))?;
        out.line(&format!("✓ Stopped {predecessor}"))?;
        return Ok(exit::OK);
    }
    let name = &selection.profile;
    let Some((client, home)) = find(selection, env)? else {
        if parking::concerns(selection, env) && target::is_multiplexer(&selection.root, env) {
            parking::begin(selection)?;
            out.line(&parking::parked(name))?;
            return Ok(exit::OK);
        }
        let whose = if selection.is_named() && !name.is_default() {
            format!("profile '{name}'")
        } else {
            format!("`{}`", selection.root.path())
        };
        out.line(&format!("✓ Nothing to stop: no gateway runs for {whose}"))?;
        return Ok(exit::OK);
    };
    let is_own = home == *selection.home().path() && !name.is_default();
    if !selection.is_named() || is_own {
        return shutdown(client, &home, selection, out);
    }
    let status = client.status(None)?;
    let mine = status.profiles.iter().find(|p| p.name == name.as_str());
    if mine.is_none_or(|mine| mine.state == state::STANDALONE) {
        // One that an allow-list keeps out is parked all the same: newer releases of the Python program know no such list.
        let kept_out = status.gateway.mode.as_deref() == Some("multiplex")
            && parking::concerns(selection, env)
            && homes::check(selection.home().path()).is_ok();
        if kept_out || parking::is_parked(selection, env) {
            parking::begin(selection)?;
            out.line(&parking::parked(name))?;
            return Ok(exit::OK);
        }
        let pid = status.gateway.pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
        out.line(&format!("✓ Nothing to stop: the gateway{pid} does not serve profile '{name}'"))?;
        return Ok(exit::OK);
    }
    let request = ClientRequest::Stop { profile: name.clone() };
    let text = if parking::concerns(selection, env) {
        // Before anybody is asked: whoever looks at the homes meanwhile must not start it again.
        match parking::begin(selection) {
            Ok(_) => Some(parking::parked(name)),
            Err(error) => {
                output::warn(&format!("{error}; only this gateway remembers that the profile is stopped"));
                None
            }
        }
    } else {
        None
    };
    let Some(client) = connect(&home, env)? else { return Err(not_running(selection, env)) };
    if let Some(text) = text {
        return parking::ask(client, &request, &text, out);
    }
    let text = format!("✓ Stopped profile {name}; `hermes gateway start -p {name}` starts it again");
    ask(client, &request, ONE, &text, out)
}

/// Stops a whole gateway and waits until its lock is free.
fn shutdown(
    client: Client,
    home: &camino::Utf8Path,
    selection: &Selection,
    mut out: Output,
) -> Result<u8, HermesError> {
    let pid = instance::record(home).map(|r| r.pid);
    let result = client.ask(&ClientRequest::Shutdown, ALL, |line| drop(out.line(&format!("  {line}"))));
    match result {
        // It may be gone before it has answered; the lock decides.
        Ok(Outcome::Done(_)) | Err(ClientError::CutShort | ClientError::Io(_)) => {}
        Ok(Outcome::Refused { code, message, hint }) => {
            return Err(HermesError::Refused { code, message, hint });
        }
        Err(e) => return Err(e.into()),
    }
    let deadline = clock::now() + ONE;
    while let Liveness::Running { record } = instance::probe(home) {
        if pid.is_some() && record.as_ref().map(|r| r.pid) != pid {
            break;
        }
        if clock::now() >= deadline {
            let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            return Err(HermesError::NotReached {
                message: format!("the gateway (PID {pid}) is still running"),
                hint: format!("`kill -TERM {pid}` hurries it, a second time kills its workers"),
            });
        }
        wait::pause(LOOK);
    }
    out.line(&format!("✓ Stopped the {}", shown(home, selection, pid)))?;
    Ok(exit::OK)
}

/// `hermes gateway restart`.
pub(super) fn restart(selection: &Selection, env: &Surroundings, mut out: Output) -> Result<u8, HermesError> {
    let was_parked = parking::end(selection, env)?;
    let name = &selection.profile;
    let (client, home) = match find(selection, env)? {
        Some(found) => found,
        None if was_parked => return parking::ended(&not_running(selection, env), name, out),
        None => return Err(not_running(selection, env)),
    };
    let is_own = home == *selection.home().path() && !name.is_default();
    if (!selection.is_named() || is_own)
        && let Some(code) = renew(selection, is_own, env, &mut out)?
    {
        return Ok(code);
    }
    if selection.is_named() {
        let request = ClientRequest::Restart { profile: name.clone() };
        if was_parked {
            return parking::ask(client, &request, &parking::served(name), out);
        }
        return ask(client, &request, ONE, &format!("✓ Restarted profile {name}"), out);
    }
    // A bad edit must not become an outage: everything is checked before anything is replaced.
    let report = app::check(&check::options(selection, env))?;
    if report.refused {
        out.write(&check::text(&report, selection))?;
        return Err(CommandError::NotRestarted.into());
    }
    // The check took a while; the connection from before is used only to know that a gateway runs.
    drop(client);
    let Some(client) = connect(&home, env)? else { return Err(not_running(selection, env)) };
    ask(client, &ClientRequest::Reload, ALL, "✓ Restarted every profile", out)
}

/// `hermes gateway reload`.
pub(super) fn reload(selection: &Selection, env: &Surroundings, out: Output) -> Result<u8, HermesError> {
    let (client, home) = gateway_of(selection, env)?;
    let name = &selection.profile;
    if !name.is_default() && home != *selection.home().path() {
        return Err(CommandError::NotItsSettings { profile: name.clone() }.into());
    }
    ask(client, &ClientRequest::Apply, ALL, "✓ The configuration is in force as a whole", out)
}

/// Brings a gateway to the program that has taken the place of its own; `None` where it runs what is on disk.
fn renew(
    selection: &Selection,
    is_own: bool,
    env: &Surroundings,
    out: &mut Output,
) -> Result<Option<u8>, HermesError> {
    let whose = if is_own { selection.profile.clone() } else { ProfileName::default_profile() };
    let Some(running) = Running::find(&selection.root, &whose) else { return Ok(None) };
    let Some(program) = running.replaced_by() else { return Ok(None) };
    let interrupt = Interrupt::new();
    let wait = |time| interrupt.came_within(time);
    match take_up(&running, &selection.root, program, env, &wait)? {
        Renewal::Done(facts) => {
            out.write(&gateways::done(&running, &facts))?;
            Ok(Some(if facts.missing.is_empty() { exit::OK } else { exit::FAILURE }))
        }
        Renewal::Accepted(line) => {
            out.line(&format!("✓ {line}"))?;
            Ok(Some(exit::OK))
        }
        Renewal::TooOld => {
            Err(UpdateError::TooOld { pid: running.pid, restart: running.restart.clone() }.into())
        }
    }
}

fn ask(
    client: Client,
    request: &ClientRequest,
    limit: Duration,
    success: &str,
    mut out: Output,
) -> Result<u8, HermesError> {
    let outcome = client.ask(request, limit, |line| drop(out.line(&format!("  {line}"))))?;
    match outcome {
        Outcome::Done(line) => {
            let line = if line.is_empty() { success.to_owned() } else { line };
            out.line(&if line.starts_with(['✓', '⚠']) { line } else { format!("✓ {line}") })?;
            Ok(exit::OK)
        }
        Outcome::Refused { code, message, hint } => Err(HermesError::Refused { code, message, hint }),
    }
}

/// `hermes gateway check --proof`: needs no home, no file and no time.
pub(super) fn prove(mut out: Output) -> Result<u8, HermesError> {
    out.line(hermes_wire::version::PROOF)?;
    Ok(exit::OK)
}

/// A look-out for the moment the gateway in this process is ready.
pub(super) struct Announcement(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl Announcement {
    /// Nothing is printed any more.
    pub(super) fn cancel(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Prints `text` of the status once the gateway of `home`, which this process is about to become, is up. Runs on a thread of
/// its own, as any other client would ask, and ends by itself. Until then it asks about `primary` alone, which costs the
/// starting gateway next to nothing.
pub(super) fn announce(
    home: camino::Utf8PathBuf,
    primary: ProfileName,
    env: Surroundings,
    text: impl Fn(&GatewayStatus) -> String + Send + 'static,
) -> Announcement {
    use std::sync::atomic::{AtomicBool, Ordering};
    let cancelled = std::sync::Arc::new(AtomicBool::new(false));
    let seen = std::sync::Arc::clone(&cancelled);
    let own = std::process::id();
    let look = move || {
        let begun = clock::now();
        let ask = |only| Client::connect(&home, &env.sockets).and_then(|client| client.status(only));
        while !seen.load(Ordering::Relaxed) && begun.elapsed() < ANNOUNCE {
            let up = ask(Some(&primary)).ok().map(|s| s.gateway).filter(|gateway| {
                let all = gateway.profiles_ready >= gateway.profiles_desired;
                gateway.pid == Some(own) && gateway.state == "running" && (all || begun.elapsed() > STARTING)
            });
            if up.is_some()
                && let Ok(status) = ask(None)
                && !seen.load(Ordering::Relaxed)
            {
                let _ = Output::stdout().write(&text(&status));
                return;
            }
            wait::pause(2 * LOOK);
        }
    };
    // Without the thread there is no banner, nothing else.
    let _ = std::thread::Builder::new().name("announce".to_owned()).stack_size(256 * 1024).spawn(look);
    Announcement(cancelled)
}
