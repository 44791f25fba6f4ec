//! `hermes gateway restart` and `reload`: everything is checked first, and nobody is kept waiting. Where nobody runs, a restart is a start.

use hermes_gateway::app;
use hermes_gateway::running::Running;
use hermes_wire::latest::ClientRequest;
use hermes_wire::{ProfileName, exit};

use super::super::interrupt::Interrupt;
use super::super::update::gateways::{self, take_up};
use super::answer::{Done, Say};
use super::{ALL, ONE, ask, check, force, parking, reach, start};
use crate::error::{CommandError, HermesError, UpdateError};
use crate::home::{Selection, Surroundings};
use crate::service::Scope;
use crate::update::renew::Renewal;

/// Restarts the selected gateway or profile.
pub(super) fn restart(
    selection: &Selection,
    (scope, env): (Option<Scope>, &Surroundings),
    say: &mut Say,
) -> Result<Done, HermesError> {
    match asked(selection, (scope, env), say) {
        Err(error) => match reach::unanswered(selection, &error) {
            Some(home) => {
                force::end(&home, say)?;
                let own = home != *selection.root.path();
                let owner = if own { reach::Owner::Own } else { reach::Owner::Root };
                start::launch(selection, owner, (scope, env), say)
            }
            None => Err(error),
        },
        done => done,
    }
}

fn asked(
    selection: &Selection,
    (scope, env): (Option<Scope>, &Surroundings),
    say: &mut Say,
) -> Result<Done, HermesError> {
    let was_parked = parking::end(selection, env)?;
    let name = &selection.profile;
    // A connection on which nothing is asked would only keep the gateway from becoming another program.
    let Some(home) = reach::find(selection, env)?.map(|(_, home)| home) else {
        return start::launch(selection, reach::owner(selection, env), (scope, env), say);
    };
    let is_own = home == *selection.home().path() && !name.is_default();
    if (!selection.is_named() || is_own)
        && let Some(done) = renew(selection, is_own, env)?
    {
        return Ok(done);
    }
    if selection.is_named() {
        let Some(client) = reach::connect(&home, env)? else {
            return Err(reach::not_running(selection, env));
        };
        let status = client.status(None)?;
        if reach::mine(&status, name).is_none() && reach::owner(selection, env) == reach::Owner::Own {
            return start::launch(selection, reach::Owner::Own, (scope, env), say);
        }
        let Some(client) = reach::connect(&home, env)? else {
            return Err(reach::not_running(selection, env));
        };
        let request = ClientRequest::Restart { profile: name.clone() };
        if was_parked {
            return parking::ask(client, &request, &parking::served(name), say);
        }
        return ask(client, &request, ONE, &format!("✓ Restarted profile {name}"), say);
    }
    // A bad edit must not become an outage: everything is checked before anything is replaced.
    say.progress("checking every profile");
    let report = app::check(&check::options(selection, env))?;
    if report.refused {
        say.text(&check::text(&report, selection))?;
        return Err(CommandError::NotRestarted.into());
    }
    let Some(client) = reach::connect(&home, env)? else { return Err(reach::not_running(selection, env)) };
    ask(client, &ClientRequest::Reload, ALL, "✓ Restarted every profile", say)
}

/// `hermes gateway reload`.
pub(super) fn reload(selection: &Selection, env: &Surroundings, say: &mut Say) -> Result<Done, HermesError> {
    let (client, home) = reach::gateway_of(selection, env)?;
    let name = &selection.profile;
    if !name.is_default() && home != *selection.home().path() {
        return Err(CommandError::NotItsSettings { profile: name.clone() }.into());
    }
    ask(client, &ClientRequest::Apply, ALL, "✓ The configuration is in force as a whole", say)
}

/// Brings a gateway to the program that has taken the place of its own; `None` where it runs what is on disk.
fn renew(selection: &Selection, is_own: bool, env: &Surroundings) -> Result<Option<Done>, HermesError> {
    let whose = if is_own { selection.profile.clone() } else { ProfileName::default_profile() };
    let Some(running) = Running::find(&selection.root, &whose, &env.sockets) else { return Ok(None) };
    let Some(program) = running.replaced_by() else { return Ok(None) };
    let interrupt = Interrupt::new();
    let wait = |time| interrupt.came_within(time);
    match take_up(&running, &selection.root, program, env, &wait)? {
        Renewal::Done(facts) => {
            let line = gateways::done(&running, &facts);
            let code = if facts.is_complete() { exit::OK } else { exit::FAILURE };
            Ok(Some(Done::partly(line.trim_end(), code)))
        }
        Renewal::Accepted(line) => Ok(Some(Done::accepted(format!("✓ {line}")))),
        Renewal::TooOld => {
            Err(UpdateError::TooOld { pid: running.pid, restart: running.restart.clone() }.into())
        }
    }
}
