//! `hermes gateway run|start|stop|restart|check`: the guards before a start, and requests to the gateway that runs.

use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::time::{Duration, Instant};

use hermes_protocol::contract::gateway_status::{GatewayStatus, state};
use hermes_protocol::latest::{ClientRequest, Problem, Severity};
use hermes_protocol::{ProfileName, RootHome, exit};

use super::RunArgs;
use super::interrupt::Interrupt;
use super::output::Output;
use super::update::gateways::{self, take_up};
use crate::app::{self, CheckOptions, CheckReport, GatewayOptions};
use crate::client::{Client, ClientError, Outcome};
use crate::error::HermesError;
use crate::home::{Selection, Surroundings};
use crate::instance::{self, Liveness};
use crate::logging::{self, Verbosity};
use crate::status::render;
use crate::update::renew::Renewal;
use crate::update::running::Running;

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
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root_home).map_err(|source| {
            HermesError::System { doing: "make the home", object: root_home.to_string(), source }
        })?;
    }
    if !selection.profile.is_default() {
        guard(selection, args.force, env)?;
    }
    let home = selection.home();
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
    });
    banner.cancel();
    result
}

/// A named profile may not have a gateway of its own while the root home's gateway serves it. The gateway that runs is asked;
/// neither this command's environment nor a file decides.
fn guard(selection: &Selection, force: bool, env: &Surroundings) -> Result<(), HermesError> {
    let root = &selection.root;
    let name = &selection.profile;
    let Some(client) = connect(root.path(), env)? else { return Ok(()) };
    let status = status_of(client, None)?;
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
        let status = status_of(client, None)?;
        let runs = status.profiles.iter().any(|p| p.name == name.as_str() && p.state != state::STOPPED);
        if runs && is_served(&status, name) {
            let pid = status.gateway.pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
            let mine = status.profiles.iter().find(|p| p.name == name.as_str());
            let socket = mine.and_then(|p| p.data_socket.clone());
            let talk = socket.map_or_else(String::new, |socket| {
                format!(", or talk to its worker: curl --unix-socket {socket} http://worker/health")
            });
            return Err(HermesError::Refused {
                code: exit::CONFIG,
                message: format!(
                    "the gateway{pid} serves profile `{name}`; two workers must not share a home"
                ),
                hint: Some(format!("`hermes gateway stop -p {name}` makes room{talk}")),
            });
        }
    }
    Ok(())
}

fn is_served(status: &GatewayStatus, name: &ProfileName) -> bool {
    status
        .profiles
        .iter()
        .find(|p| p.name == name.as_str())
        .is_some_and(|p| !matches!(p.state.as_str(), state::DETACHED | state::CONFLICT))
}

/// Connects to the gateway of `home`; `None` when none runs. One that has just begun is waited for.
fn connect(home: &camino::Utf8Path, env: &Surroundings) -> Result<Option<Client>, HermesError> {
    let deadline = Instant::now() + STARTING;
    loop {
        match Client::connect(home, env) {
            Ok(client) => return Ok(Some(client)),
            Err(error @ ClientError::NobodyThere { .. }) => {
                if !matches!(instance::probe(home), Liveness::Running { .. }) {
                    return Ok(None);
                }
                if Instant::now() >= deadline {
                    return Err(error.into());
                }
                pause(LOOK);
            }
            // Without a usable socket path there can be no gateway either, unless the lock says otherwise.
            Err(ClientError::Path(_)) if instance::probe(home) == Liveness::Stopped => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

fn status_of(client: Client, only: Option<&ProfileName>) -> Result<GatewayStatus, HermesError> {
    match client.status(&ClientRequest::Status { profile: only.cloned() })? {
        Ok(status) => Ok(status),
        Err(Outcome::Refused { code, message, hint }) => Err(HermesError::Refused { code, message, hint }),
        Err(Outcome::Done(_)) => Err(ClientError::CutShort.into()),
    }
}

/// The gateway a command about `selection` goes to: a profile's own where it has one, else the root home's.
fn gateway_of(
    selection: &Selection,
    env: &Surroundings,
) -> Result<(Client, camino::Utf8PathBuf), HermesError> {
    let own = selection.home();
    let root = selection.root.path();
    if own.path() != root
        && let Liveness::Running { .. } = instance::probe(own.path())
        && let Some(client) = connect(own.path(), env)?
    {
        return Ok((client, own.path().to_owned()));
    }
    match connect(root, env)? {
        Some(client) => Ok((client, root.to_owned())),
        None => Err(not_running(root)),
    }
}

fn not_running(home: &camino::Utf8Path) -> HermesError {
    HermesError::NotRunning { home: home.to_string(), hint: "start it with `hermes gateway run`".to_owned() }
}

/// `hermes gateway start`.
pub(super) fn start(selection: &Selection, env: &Surroundings, out: Output) -> Result<u8, HermesError> {
    let (client, home) = gateway_of(selection, env)?;
    let name = &selection.profile;
    let status = status_of(client, Some(name))?;
    let is_own = home == *selection.home().path();
    let serving = status.profiles.iter().any(|p| p.name == name.as_str() && p.pid.is_some());
    if !selection.is_named() || (is_own && serving) {
        let mut out = out;
        let pid = status.gateway.pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
        out.line(&format!("✓ The gateway is running{pid}"))?;
        return Ok(exit::OK);
    }
    // The same contract as `run`: what is served already is not started once more, and scripts are told so.
    if serving {
        return Err(HermesError::Served { profile: name.clone() });
    }
    let Some(client) = connect(&home, env)? else { return Err(not_running(&home)) };
    ask(
        client,
        &ClientRequest::Start { profile: name.clone() },
        ONE,
        &format!("✓ Started profile {name}"),
        out,
    )
}

/// `hermes gateway stop`.
pub(super) fn stop(selection: &Selection, env: &Surroundings, out: Output) -> Result<u8, HermesError> {
    let (client, home) = gateway_of(selection, env)?;
    let name = &selection.profile;
    let is_own = home == *selection.home().path() && !name.is_default();
    if selection.is_named() && !is_own {
        let text = format!("✓ Stopped profile {name}; `hermes gateway start -p {name}` starts it again");
        return ask(client, &ClientRequest::Stop { profile: name.clone() }, ONE, &text, out);
    }
    shutdown(client, &home, out)
}

/// Stops a whole gateway and waits until its lock is free.
fn shutdown(client: Client, home: &camino::Utf8Path, mut out: Output) -> Result<u8, HermesError> {
    let pid = instance::record(home).map(|r| r.pid);
    let result = client.ask(&ClientRequest::Shutdown, ALL, |line| drop(out.line(&format!("  {line}"))));
    match result {
        // It may be gone before it has answered; the lock decides.
        Ok(Outcome::Done(_)) | Err(ClientError::CutShort | ClientError::Io { .. }) => {}
        Ok(Outcome::Refused { code, message, hint }) => {
            return Err(HermesError::Refused { code, message, hint });
        }
        Err(e) => return Err(e.into()),
    }
    let deadline = Instant::now() + ONE;
    while let Liveness::Running { record } = instance::probe(home) {
        if pid.is_some() && record.as_ref().map(|r| r.pid) != pid {
            break;
        }
        if Instant::now() >= deadline {
            let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            return Err(HermesError::NotReached {
                message: format!("the gateway (PID {pid}) is still running"),
                hint: format!("`kill -TERM {pid}` hurries it, a second time kills its workers"),
            });
        }
        pause(LOOK);
    }
    let pid = pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
    out.line(&format!("✓ Stopped the gateway{pid}"))?;
    Ok(exit::OK)
}

/// `hermes gateway restart`.
pub(super) fn restart(selection: &Selection, env: &Surroundings, mut out: Output) -> Result<u8, HermesError> {
    let (client, home) = gateway_of(selection, env)?;
    let name = &selection.profile;
    let is_own = home == *selection.home().path() && !name.is_default();
    if (!selection.is_named() || is_own)
        && let Some(code) = renew(selection, is_own, env, &mut out)?
    {
        return Ok(code);
    }
    if selection.is_named() {
        let request = ClientRequest::Restart { profile: name.clone() };
        return ask(client, &request, ONE, &format!("✓ Restarted profile {name}"), out);
    }
    // A bad edit must not become an outage: everything is checked before anything is replaced.
    let report =
        app::check(CheckOptions { root: selection.root.clone(), profile: selection.profile.clone() })?;
    if report.refused {
        out.write(&check_text(&report, &selection.root))?;
        return Err(HermesError::Refused {
            code: exit::CONFIG,
            message: "nothing was restarted: the files would not pass a start".to_owned(),
            hint: Some("the gateway goes on with what it has; fix the files and try again".to_owned()),
        });
    }
    // The check took a while; the connection from before is used only to know that a gateway runs.
    drop(client);
    let Some(client) = connect(&home, env)? else { return Err(not_running(&home)) };
    ask(client, &ClientRequest::Reload, ALL, "✓ Restarted every profile", out)
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
        Renewal::TooOld => Err(HermesError::Known {
            code: exit::FAILURE,
            message: format!(
                "the gateway (PID {}) cannot take up the program on disk in place: one of the two is of an older release",
                running.pid
            ),
            hint: Some(format!("restart it: {}", running.restart)),
        }),
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

/// `hermes gateway check`.
pub(super) fn check(json: bool, selection: &Selection, mut out: Output) -> Result<u8, HermesError> {
    let report =
        app::check(CheckOptions { root: selection.root.clone(), profile: selection.profile.clone() })?;
    if json {
        out.line(&check_json(&report))?;
        return Ok(if report.refused { exit::CONFIG } else { exit::OK });
    }
    out.write(&check_text(&report, &selection.root))?;
    if report.refused {
        let count = report.problems.iter().filter(|(_, p)| p.severity == Severity::Gateway).count();
        return Err(HermesError::CheckFailed { count: count.max(1) });
    }
    Ok(exit::OK)
}

fn check_json(report: &CheckReport) -> String {
    let problems: Vec<serde_json::Value> = report
        .problems
        .iter()
        .map(|(profile, problem)| {
            let mut value = serde_json::json!({ "profile": profile.as_ref().map(ProfileName::as_str) });
            if let (Some(to), Ok(serde_json::Value::Object(from))) =
                (value.as_object_mut(), serde_json::to_value(problem))
            {
                to.extend(from);
            }
            value
        })
        .collect();
    let value = serde_json::json!({
        "schema": 1,
        "refused": report.refused,
        "served": report.served.iter().map(ProfileName::as_str).collect::<Vec<_>>(),
        "problems": problems,
    });
    format!("{value:#}")
}

fn check_text(report: &CheckReport, root: &RootHome) -> String {
    let mut text = String::new();
    for (profile, problem) in &report.problems {
        text += &render::problem(profile.as_ref().map(ProfileName::as_str), problem);
    }
    if !report.problems.is_empty() {
        text.push('\n');
    }
    let count = |wanted: fn(&Problem) -> bool| report.problems.iter().filter(|(_, p)| wanted(p)).count();
    let warnings = count(|p| p.severity == Severity::Warning);
    let errors = report.problems.len() - warnings;
    let names: Vec<_> = report.served.iter().map(ProfileName::as_str).collect();
    let mark = if report.refused { "✗" } else { "✓" };
    let verdict = if report.refused { "would not start" } else { "would start" };
    let _ = writeln!(text, "{mark} The gateway of `{}` {verdict}", root.path());
    if !report.refused {
        let _ = writeln!(text, "  profiles: {}", names.join(", "));
    }
    let _ = writeln!(text, "  problems: {errors}, warnings: {warnings}");
    text
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
        let begun = Instant::now();
        let ask =
            |only| Client::connect(&home, &env).map_err(HermesError::from).and_then(|c| status_of(c, only));
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
            pause(2 * LOOK);
        }
    };
    // Without the thread there is no banner, nothing else.
    let _ = std::thread::Builder::new().name("announce".to_owned()).stack_size(256 * 1024).spawn(look);
    Announcement(cancelled)
}

/// Waits without a runtime.
pub(crate) fn pause(time: Duration) {
    let timeout = nix::poll::PollTimeout::try_from(time).unwrap_or(nix::poll::PollTimeout::ZERO);
    let _ = nix::poll::poll(&mut [], timeout);
}
