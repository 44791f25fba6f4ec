//! Where a service is installed for a gateway, verbs go through its manager: what it started it would start again, and what it stopped stays stopped.
//!
//! A restart does not: the gateway replaces its workers, or takes the program on disk up, without an end of its process, and its
//! manager hears of it by itself.

use hermes_gateway::running;
use hermes_wire::ProfileName;

use super::answer::{Done, Say};
use crate::error::HermesError;
use crate::home::{Selection, Surroundings};
use crate::service::{self, Owner, Scope, Service, ServiceError};

/// The service that would start the gateway of `profile`; one of that `scope` has to be there.
pub(super) fn of(
    selection: &Selection,
    profile: &ProfileName,
    scope: Option<Scope>,
    env: &Surroundings,
) -> Result<Option<Service>, HermesError> {
    Ok(service::required(&Owner::new(&selection.root, profile), scope, env)?)
}

/// The service that runs the gateway of `profile`, whose process is `pid` where one is known; or that is about to start it again.
pub(super) fn that_runs(
    selection: &Selection,
    profile: &ProfileName,
    (scope, pid): (Option<Scope>, Option<u32>),
    env: &Surroundings,
) -> Result<Option<Service>, HermesError> {
    let Some(service) = of(selection, profile, scope, env)? else { return Ok(None) };
    match service.state() {
        Ok(state) => {
            let is_it = pid.is_none() || state.pid == pid || scope.is_some();
            Ok(Some(service).filter(|_| state.runs() && is_it))
        }
        // Whoever started it cannot be asked; it was not that manager, where the process is in no unit.
        Err(ServiceError::Unreachable { .. }) if pid.is_none_or(|pid| running::unit_of(pid).is_none()) => {
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Stops it, in the lines that scripts know.
pub(super) fn stop(service: &Service, say: &mut Say) -> Result<Done, HermesError> {
    if running::unit_of(std::process::id()).is_some_and(|(unit, _)| unit == service.name) {
        service.stop_soon()?;
        return Ok(Done::accepted(format!(
            "✓ The {} stops: {}",
            service.shown(),
            hermes_gateway::app::UNAWAITED
        )));
    }
    service.stop(&mut |line| say.progress(line))?;
    let name = service.name.trim_end_matches(".service").trim_end_matches(".plist");
    Ok(Done::changed(format!("✓ {} service stopped\n✓ Stopped {name} service", service.manager.title())))
}

/// Starts it; returns when it is ready.
pub(super) fn start(service: &Service, say: &mut Say) -> Result<String, HermesError> {
    service.start(&mut |line| say.progress(line))?;
    Ok(format!("✓ {} service started", service.manager.title()))
}
