//! `hermes gateway …`: the guards before a start, and which part carries each verb out.

mod answer;
mod args;
mod bots;
mod check;
mod detached;
mod every;
mod force;
mod install;
mod list;
mod manager;
mod migrate;
mod parking;
mod reach;
mod restart;
mod start;
mod stop;

use std::time::Duration;

use hermes_gateway::app::{self, GatewayOptions};
use hermes_gateway::client::{Client, Outcome};
use hermes_gateway::logging::{self, Verbosity};
use hermes_gateway::predecessor::Predecessor;
use hermes_gateway::rendezvous;
use hermes_host::refusal::Io;
use hermes_host::{clock, wait};
use hermes_wire::contract::gateway_status::{GatewayStatus, state};
use hermes_wire::latest::ClientRequest;
use hermes_wire::{ProfileName, RootHome, exit};

use super::output::{self, Output};
use super::{Call, setup, status, target};
use crate::error::{CommandError, HermesError};
use crate::home::{Selection, Surroundings};
use crate::status::render;
use answer::{Done, Say, answer, outcome};
pub(super) use args::{GatewayArgs, GatewayCommand};
use args::{RunArgs, VerbArgs};
use every::Verb;
use reach::LOOK;

/// Time a worker has to start, drain and be replaced, before the command gives up waiting (the gateway goes on).
const ONE: Duration = Duration::from_secs(180);
/// Time a change of everything has.
const ALL: Duration = Duration::from_secs(900);
/// Time a gateway has until its start is announced without those that are still starting.
const STARTING: Duration = Duration::from_secs(3);
/// Time a gateway has until its start is no longer worth announcing.
const ANNOUNCE: Duration = Duration::from_secs(120);

/// `hermes gateway …`.
pub(super) fn dispatch(args: GatewayArgs, call: &Call, settle: fn(), out: Output) -> Result<u8, HermesError> {
    let of = |name: Option<String>| target::of(&call.about(name)?);
    let env = &call.env;
    match args.command.unwrap_or(GatewayCommand::Run { run: args.run, name: None }) {
        GatewayCommand::Run { run: args, name } => run(&args, &of(name)?, env, settle),
        GatewayCommand::Start(args) if args.foreground => {
            let run_args = RunArgs { replace: args.take_over, force: args.force, ..RunArgs::default() };
            let selection = of(args.verb.whose.name)?;
            if args.take_over {
                bots::Bots::of(&selection, env)?.free(&mut Say::new(out, false))?;
            }
            run(&run_args, &selection, env, settle)
        }
        GatewayCommand::Start(args) => {
            let how = start::How::from(&args);
            verb(Verb::Start, args.verb, call, out, |one, say| start::start(how, one, env, say))
        }
        GatewayCommand::Stop(args) => {
            let scope = args.scope();
            verb(Verb::Stop, args, call, out, |one, say| stop::stop(one, (scope, env), say))
        }
        GatewayCommand::Restart(args) if args.foreground => {
            let run_args = RunArgs { replace: true, ..RunArgs::default() };
            run(&run_args, &of(args.verb.whose.name)?, env, settle)
        }
        GatewayCommand::Restart(args) => {
            let scope = args.verb.scope();
            verb(Verb::Restart, args.verb, call, out, |one, say| restart::restart(one, (scope, env), say))
        }
        GatewayCommand::Reload => {
            let selection = target::of(call)?;
            answer("reload", (&selection, env), Say::new(out, false), |say| {
                restart::reload(&selection, env, say)
            })
        }
        GatewayCommand::Install { how, whose } => install::run(&how, &of(whose.name)?, env, out),
        GatewayCommand::Uninstall { how, whose } => install::remove(&how, &of(whose.name)?, env, out),
        GatewayCommand::Status(args) => status::run(&args, &call.about(args.whose.name.clone())?, out),
        GatewayCommand::List(args) => list::list(args.json, &call.select()?, env, out),
        GatewayCommand::Migrate(args) => migrate::run(&args, &call.select()?, env, out),
        GatewayCommand::MigrateLegacy { dry_run, yes } => migrate::legacy(dry_run, yes, env, out),
        GatewayCommand::Check { proof: true, .. } => prove(hermes_wire::version::PROOF, out),
        GatewayCommand::Check { succession: true, .. } => prove(hermes_wire::version::SUCCESSION, out),
        GatewayCommand::Check { whose, json, .. } => check::run(json, &of(whose.name)?, env, out),
        GatewayCommand::Setup(args) => setup::run(&args.about_platforms(), call),
    }
}

/// One verb about one gateway or profile, or about each.
fn verb(
    verb: Verb,
    args: VerbArgs,
    call: &Call,
    out: Output,
    act: impl FnOnce(&Selection, &mut Say) -> Result<Done, HermesError>,
) -> Result<u8, HermesError> {
    if args.all {
        return every::each(verb, &call.select()?, &call.env, (args.json, out));
    }
    let selection = target::of(&call.about(args.whose.name)?)?;
    answer(verb.name(), (&selection, &call.env), Say::new(out, args.json), |say| act(&selection, say))
}

/// `hermes gateway run`.
fn run(args: &RunArgs, selection: &Selection, env: &Surroundings, settle: fn()) -> Result<u8, HermesError> {
    let root_home = selection.root.path();
    if env.detached {
        // Of its own, so that no terminal hangs up on it. The program that this one was before has done so already.
        let _ = nix::unistd::setsid();
    }
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
    let detached = env.detached.then(|| own.supervisor_log());
    let text = move |status: &GatewayStatus| {
        if let Some(log) = &detached {
            take_leave(log);
        }
        render::banner(status)
    };
    let banner = announce(home.path().to_owned(), selection.profile.clone(), env.clone(), text);
    let mut rendezvous = env.rendezvous.clone();
    if args.external_supervisor {
        rendezvous.supervisor = rendezvous::EXTERNAL;
    }
    let result = app::run(GatewayOptions {
        root: selection.root.clone(),
        profile: selection.profile.clone(),
        replace: args.replace,
        repeatable: true,
        settle,
        sockets: env.sockets.clone(),
        rendezvous: Some(rendezvous),
    });
    banner.cancel();
    Ok(result?)
}

/// A gateway in the background is up: nobody reads its standard error any more. What the system or a library still prints there, as
/// they do before they end a process, goes where its own words are.
fn take_leave(log: &camino::Utf8Path) {
    let file = fs_err::OpenOptions::new().append(true).open(log);
    if let Err(error) = file.and_then(|file| Ok(nix::unistd::dup2_stderr(file)?)) {
        tracing::warn!(%log, %error, "what the system prints about this process is lost");
    }
}

/// A named profile may not have a gateway of its own while the root home's gateway serves it. The gateway that runs is asked;
/// neither this command's environment nor a file decides.
pub(super) fn guard(selection: &Selection, force: bool, env: &Surroundings) -> Result<(), HermesError> {
    let root = &selection.root;
    let name = &selection.profile;
    if let Some(predecessor) = Predecessor::find(root.path()) {
        // It cannot give up one profile alone.
        let serves = predecessor.serves(name);
        return if serves { Err(HermesError::Predecessor(Box::new(predecessor))) } else { Ok(()) };
    }
    let Some(client) = reach::connect(root.path(), env)? else { return Ok(()) };
    let status = client.status(None)?;
    if !reach::is_served(&status, name) {
        return Ok(());
    }
    if !force {
        return Err(HermesError::Served { profile: name.clone() });
    }
    let Some(client) = reach::connect(root.path(), env)? else { return Ok(()) };
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
        let Some(client) = reach::connect(home, env)? else { continue };
        let status = client.status(None)?;
        let runs = status.profiles.iter().any(|p| p.name == name.as_str() && p.state != state::STOPPED);
        if runs && reach::is_served(&status, name) {
            let mine = status.profiles.iter().find(|p| p.name == name.as_str());
            let socket = mine.and_then(|p| p.data_socket.clone());
            let (pid, profile) = (status.gateway.pid, name.clone());
            return Err(CommandError::WorkedOn { pid, profile, socket }.into());
        }
    }
    Ok(())
}

fn ask(
    client: Client,
    request: &ClientRequest,
    limit: Duration,
    success: &str,
    say: &mut Say,
) -> Result<Done, HermesError> {
    let answered = client.ask(request, limit, |line| say.progress(line))?;
    outcome(answered, success)
}

/// `hermes gateway check --proof`: needs no home, no file and no time.
fn prove(line: &str, mut out: Output) -> Result<u8, HermesError> {
    out.line(line)?;
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

/// Earlier versions have `--accept-hooks` between `hermes gateway` and the verb, which means nothing here, in units and scripts.
pub(super) fn without_hooks(mut args: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    if args.len() > 3 && args[1] == "gateway" && args[2] == "--accept-hooks" {
        args.remove(2);
    }
    args
}
