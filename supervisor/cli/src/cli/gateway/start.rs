//! `hermes gateway start`: what runs is left alone, what does not run is started, in the background where no gateway is there that would.

use std::fmt::Write as _;

use hermes_gateway::client::ClientError;
use hermes_gateway::instance;
use hermes_gateway::predecessor::{Predecessor, Purpose};
use hermes_host::refusal::Io;
use hermes_wire::ProfileName;
use hermes_wire::contract::gateway_status::{Profile, state};
use hermes_wire::latest::ClientRequest;

use super::answer::{Done, Say};
use super::args::StartArgs;
use super::bots::Bots;
use super::reach::{self, Owner};
use super::{ONE, ask, detached, force, guard, manager, parking, stop};
use crate::error::HermesError;
use crate::home::{Chosen, Selection, Surroundings};
use crate::service::Scope;

/// What a start is asked to do beside starting.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct How {
    /// Detach the profile from the gateway that serves it.
    force: bool,
    /// End the gateway of its own that it has, and those that use its bots.
    take_over: bool,
    /// Whose services are meant.
    scope: Option<Scope>,
}

impl From<&StartArgs> for How {
    fn from(args: &StartArgs) -> Self {
        Self { force: args.force, take_over: args.take_over, scope: args.verb.scope() }
    }
}

/// Starts the selected gateway or profile.
pub(super) fn start(
    how: How,
    selection: &Selection,
    env: &Surroundings,
    say: &mut Say,
) -> Result<Done, HermesError> {
    if !how.take_over {
        return begin(how, selection, env, say);
    }
    // That somebody does not give way is known before anybody is ended.
    let bots = Bots::of(selection, env)?;
    take_over(selection, env, say)?;
    let freed = bots.free(say)?;
    let done = begin(how, selection, env, say)?;
    freed.connected(done, selection, env, say)
}

fn begin(how: How, selection: &Selection, env: &Surroundings, say: &mut Say) -> Result<Done, HermesError> {
    let name = &selection.profile;
    if !how.take_over
        && let Some(predecessor) = Predecessor::find(selection.home().path())
    {
        let take_over =
            format!("hermes gateway start{} --take-over", instance::flag_of(selection.home().path()));
        return Ok(Done::unchanged(format!("✓ Running already: {predecessor}; `{take_over}` takes over")));
    }
    if how.force && !name.is_default() {
        guard(selection, true, env)?;
        return launch(selection, Owner::Own, (how.scope, env), say);
    }
    let was_parked = parking::end(selection, env)?;
    let Some((client, home)) = reach::find(selection, env)? else {
        return launch(selection, reach::owner(selection, env), (how.scope, env), say);
    };
    let status = client.status(None)?;
    let mine = reach::mine(&status, name);
    let is_own = home == *selection.home().path();
    let serving = mine.is_some_and(|p| p.pid.is_some());
    if !selection.is_named() || (is_own && serving) {
        let who = reach::shown(&home, selection, status.gateway.pid);
        return Ok(Done::unchanged(format!("✓ The {who} is running")));
    }
    let apart = mine.is_none_or(|mine| mine.state == state::STANDALONE);
    if !is_own && apart {
        // Not this gateway's business: then it has one of its own.
        return match reach::owner(selection, env) {
            Owner::Own => launch(selection, Owner::Own, (how.scope, env), say),
            Owner::Root => Err(reach::not_served(name, &status)),
        };
    }
    if let Some(Profile { pid: Some(pid), state, .. }) = mine.filter(|_| !was_parked) {
        return Ok(Done::unchanged(format!("✓ Profile '{name}' is running already ({state}, PID {pid})")));
    }
    let Some(client) = reach::connect(&home, env)? else { return Err(reach::not_running(selection, env)) };
    let request = ClientRequest::Start { profile: name.clone() };
    if was_parked {
        return parking::ask(client, &request, &parking::served(name), say);
    }
    ask(client, &request, ONE, &format!("✓ Started profile {name}"), say)
}

/// By whom a gateway was started.
enum Started {
    /// The manager of its service; what is said of that.
    Service(String),
    /// This command.
    Background,
    /// Somebody who was faster.
    Other,
}

/// Starts a gateway, by its service where it has one, else in the background, and says what came of it.
pub(super) fn launch(
    selection: &Selection,
    owner: Owner,
    (scope, env): (Option<Scope>, &Surroundings),
    say: &mut Say,
) -> Result<Done, HermesError> {
    let name = &selection.profile;
    let of = if owner == Owner::Own { name.clone() } else { ProfileName::default_profile() };
    let (status, how) = if let Some(service) = manager::of(selection, &of, scope, env)? {
        let line = manager::start(&service, say)?;
        let home = selection.root.profile(&of);
        let Some(client) = reach::connect(home.path(), env)? else {
            return Err(reach::not_running(selection, env));
        };
        (client.status(None)?, Started::Service(line))
    } else {
        let started = detached::start(selection, &of, env, say)?;
        (started.status, if started.other { Started::Other } else { Started::Background })
    };
    let about = Selection { profile: of.clone(), chosen: Chosen::Flag, ..selection.clone() };
    let home = about.home();
    let who = reach::shown(home.path(), &about, status.gateway.pid);
    let counts = status.gateway.readiness("profile");
    let mut line = match &how {
        Started::Service(line) => format!("{line}: the {who} runs, {counts}"),
        Started::Background => format!("✓ The {who} is running in the background: {counts}"),
        Started::Other => format!("✓ The {who} is running: {counts}"),
    };
    let impaired: Vec<&Profile> = status
        .profiles
        .iter()
        .filter(|p| p.desired == "running" && (!p.ready || p.state == state::DEGRADED))
        .collect();
    // Whoever asked for one profile asked for that one.
    let mine = |p: &&&Profile| !p.ready && *p.name == *name.as_str() && selection.is_named();
    if let Some(mine) = impaired.iter().find(mine) {
        let why = mine.reason.as_deref().unwrap_or("it gives no reason");
        return Err(HermesError::NotReached {
            message: format!("the {who} runs, and profile '{name}' is {}: {why}", mine.state),
            hint: format!("`hermes status -p {name}` shows more"),
        });
    }
    for profile in impaired {
        let why = profile.reason.as_deref().unwrap_or("no reason is known");
        let _ = write!(line, "\n⚠ profile '{}' is {}: {why}", profile.name, profile.state);
    }
    Ok(if matches!(how, Started::Other) { Done::unchanged(line) } else { Done::changed(line) })
}

/// Ends the gateway of its own that the selected profile has, whoever's program it is; for the default profile the gateway of the
/// root home, where that is another program's.
fn take_over(selection: &Selection, env: &Surroundings, say: &mut Say) -> Result<(), HermesError> {
    let home = selection.home();
    if let Some(predecessor) = Predecessor::find(home.path()) {
        say.progress(&format!("taking over from {predecessor}"));
        return Ok(predecessor.end(Purpose::TakeOver).map_err(Io::at("end", predecessor.to_string()))?);
    }
    if selection.profile.is_default() || home.path() == selection.root.path() {
        return Ok(());
    }
    let pid = instance::record(home.path()).filter(instance::is_alive).map(|record| record.pid);
    if let Some(service) = manager::that_runs(selection, &selection.profile, (None, pid), env)? {
        // Its manager would start it again.
        return manager::stop(&service, say).map(drop);
    }
    match reach::connect(home.path(), env) {
        Ok(None) => Ok(()),
        Ok(Some(client)) => {
            say.progress(&format!("ending the gateway of profile '{}'", selection.profile));
            stop::shutdown(client, home.path(), selection, say).map(drop)
        }
        Err(HermesError::Silent { .. } | HermesError::Client(ClientError::Timeout { .. })) => {
            force::end(home.path(), say).map(drop)
        }
        Err(error) => Err(error),
    }
}
