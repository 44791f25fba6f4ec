//! `hermes gateway stop`: returns when what was asked for is gone. What does not run is left alone, so that a loop over profiles goes on.

use std::time::Duration;

use camino::Utf8Path;
use hermes_gateway::client::{Client, ClientError, Outcome};
use hermes_gateway::instance::{self, Liveness};
use hermes_gateway::predecessor::{Predecessor, Purpose};
use hermes_host::refusal::Io;
use hermes_host::{clock, homes, wait};
use hermes_wire::ProfileName;
use hermes_wire::contract::gateway_status::state;
use hermes_wire::latest::ClientRequest;

use super::super::{output, target};
use super::answer::{Done, Say};
use super::reach::{self, LOOK};
use super::{ALL, ONE, ask, force, manager, parking};
use crate::error::HermesError;
use crate::home::{Selection, Surroundings};
use crate::service::Scope;

/// Time after which it is said that an end takes its time.
const QUIET: Duration = Duration::from_secs(1);

/// Stops the selected gateway or profile.
pub(super) fn stop(
    selection: &Selection,
    (scope, env): (Option<Scope>, &Surroundings),
    say: &mut Say,
) -> Result<Done, HermesError> {
    match asked(selection, (scope, env), say) {
        Err(error) => match reach::unanswered(selection, &error) {
            Some(home) => {
                let pid = force::end(&home, say)?;
                Ok(Done::changed(format!("✓ Stopped the {}", reach::shown(&home, selection, pid))))
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
    if let Some(predecessor) = Predecessor::find(selection.home().path()) {
        predecessor.end(Purpose::Stop).map_err(Io::at("end", predecessor.to_string()))?;
        return Ok(Done::changed(format!("✓ Stopped {predecessor}")));
    }
    let name = &selection.profile;
    let Some((client, home)) = reach::find(selection, env)? else {
        if parking::concerns(selection, env) && target::is_multiplexer(&selection.root, env) {
            let changed = parking::begin(selection)?;
            let line = parking::parked(name);
            return Ok(if changed { Done::changed(line) } else { Done::unchanged(line) });
        }
        // One that its manager is about to start again.
        let of = if selection.is_named() { name.clone() } else { ProfileName::default_profile() };
        if let Some(service) = manager::that_runs(selection, &of, (scope, None), env)? {
            return manager::stop(&service, say);
        }
        let whose = if selection.is_named() && !name.is_default() {
            format!("profile '{name}'")
        } else {
            format!("`{}`", selection.root.path())
        };
        return Ok(Done::unchanged(format!("✓ Nothing to stop: no gateway runs for {whose}")));
    };
    let is_own = home == *selection.home().path() && !name.is_default();
    if !selection.is_named() || is_own {
        let of = if is_own { name.clone() } else { ProfileName::default_profile() };
        let pid = instance::record(&home).map(|record| record.pid);
        if let Some(service) = manager::that_runs(selection, &of, (scope, pid), env)? {
            return manager::stop(&service, say);
        }
        return shutdown(client, &home, selection, say);
    }
    let status = client.status(None)?;
    let mine = reach::mine(&status, name);
    if mine.is_none_or(|mine| mine.state == state::STANDALONE) {
        // One that an allow-list keeps out is parked all the same: newer releases of the Python program know no such list.
        let kept_out = status.gateway.mode.as_deref() == Some("multiplex")
            && parking::concerns(selection, env)
            && homes::check(selection.home().path()).is_ok();
        if kept_out || parking::is_parked(selection, env) {
            let changed = parking::begin(selection)?;
            let line = parking::parked(name);
            return Ok(if changed { Done::changed(line) } else { Done::unchanged(line) });
        }
        let pid = status.gateway.pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
        let line = format!("✓ Nothing to stop: the gateway{pid} does not serve profile '{name}'");
        return Ok(Done::unchanged(line));
    }
    let was = mine.is_some_and(|mine| mine.desired != "running" && mine.pid.is_none());
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
    let Some(client) = reach::connect(&home, env)? else { return Err(reach::not_running(selection, env)) };
    let done = if let Some(text) = text {
        parking::ask(client, &request, &text, say)
    } else {
        let text = format!("✓ Stopped profile {name}; `hermes gateway start -p {name}` starts it again");
        ask(client, &request, ONE, &text, say)
    };
    done.map(|done| done.unless(was))
}

/// Stops a whole gateway and waits until its lock is free.
pub(super) fn shutdown(
    client: Client,
    home: &Utf8Path,
    selection: &Selection,
    say: &mut Say,
) -> Result<Done, HermesError> {
    let record = instance::record(home).filter(instance::is_alive);
    let pid = record.as_ref().map(|record| record.pid);
    let result = client.ask(&ClientRequest::Shutdown, ALL, |line| say.progress(line));
    match result {
        // Whoever asks from inside a turn would wait for its own end.
        Ok(Outcome::Done(line)) if line == hermes_gateway::app::UNAWAITED => {
            return Ok(Done::accepted(format!("✓ The gateway stops: {line}")));
        }
        // It may be gone before it has answered; the lock decides.
        Ok(Outcome::Done(_)) | Err(ClientError::CutShort | ClientError::Io(_)) => {}
        Ok(Outcome::Refused { code, message, hint }) => {
            return Err(HermesError::Refused { code, message, hint });
        }
        Err(e) => return Err(e.into()),
    }
    let (deadline, mut quiet) = (clock::now() + ONE, Some(clock::now() + QUIET));
    // Gone is who has given the lock up, or lost it to somebody else, and whose process has ended.
    let holds = || match instance::probe(home) {
        Liveness::Running { record } => pid.is_none() || record.map(|now| now.pid) == pid,
        Liveness::Stopped | Liveness::Unknown { .. } => false,
    };
    while holds() || record.as_ref().is_some_and(instance::is_alive) {
        if clock::now() >= deadline {
            let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            return Err(HermesError::NotReached {
                message: format!("the gateway (PID {pid}) is still running"),
                hint: format!("`kill -TERM {pid}` hurries it, a second time kills its workers"),
            });
        }
        if quiet.take_if(|quiet| clock::now() >= *quiet).is_some() {
            say.progress("waiting for its end");
        }
        wait::pause(LOOK);
    }
    Ok(Done::changed(format!("✓ Stopped the {}", reach::shown(home, selection, pid))))
}
