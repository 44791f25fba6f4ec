//! To one gateway.
//!
//! The order is what keeps everybody served. The flag comes first, as it takes hold only of a gateway that starts or is ours; then the one
//! gateway, in one restart by the service manager where it takes the place of another; then each profile: its service will not start by
//! itself any more, the one gateway waits for its end, and it is stopped. At last the units go, when nobody needs them any more.

use std::sync::mpsc;

use hermes_gateway::client::{ClientError, Outcome};
use hermes_wire::contract::gateway_status::state;
use hermes_wire::latest::ClientRequest;
use hermes_wire::{ProfileName, exit};

use super::MigrateError;
use super::act::{self, END, Job, START, step};
use super::manifest::{Course, Flag};
use super::observe::{By, Installed};
use super::plan::{Action, Become, Plan, Step};
use crate::service::{Owner, Service};

/// Brings everybody into one gateway. What stands against it was looked at before.
pub(crate) fn run(job: &mut Job<'_>, plan: &Plan) -> Result<(), MigrateError> {
    job.head(Course::Migrating)?;
    for step in &plan.steps {
        match step.action {
            Action::Park => job.park(&step.seen.name)?,
            Action::TakeOver if step.seen.parked => job.unpark(&step.seen.name)?,
            _ => {}
        }
    }
    job.flag(Flag::On)?;
    let service = become_one(job, plan)?;
    for step in plan.steps.iter().filter(|step| step.action == Action::TakeOver) {
        if let Err(error) = take_over(job, step) {
            job.fail(error)?;
            job.without.push(step.seen.name.clone());
        }
    }
    for step in plan
        .steps
        .iter()
        .filter(|step| matches!(step.action, Action::TakeOver | Action::Park | Action::StayParked))
    {
        for installed in &step.seen.services {
            retire(job, &step.seen.name, installed)?;
        }
    }
    verify(job, plan)?;
    if let Some(service) = service {
        service.enable(true)?;
    }
    job.head(Course::Migrated)
}

/// The root home's gateway becomes the one; its service, where it has one.
fn become_one(job: &mut Job<'_>, plan: &Plan) -> Result<Option<Service>, MigrateError> {
    let default = ProfileName::default_profile();
    let Some(step) = plan.steps.first() else { return Ok(None) };
    let Action::Become(how) = step.action else { return Ok(None) };
    let service = match (how, &plan.target) {
        (Become::Stay, _) | (_, None) => step.seen.service().map(|installed| installed.service.clone()),
        (Become::Enlist | Become::Replace | Become::Start, Some(target)) => {
            let owner = Owner::new(job.root, &default);
            let service = act::put(&owner, target.manager, target.user.as_deref(), job.env)?;
            job.note(&format!("{} is written", service.file))?;
            if service.enable(true)? {
                job.note(&format!("the {} starts by itself", service.shown()))?;
            }
            Some(service)
        }
    };
    match (how, &service) {
        (Become::Stay | Become::Enlist, _) => {
            // It sees the flag by itself; this is sooner.
            let home = job.home(&default);
            let _ = job.ask(&home, &ClientRequest::Rescan { profile: None }, START);
        }
        (Become::Replace, Some(service)) => service.restart_soon()?,
        (Become::Start, Some(service)) => service.start_soon()?,
        (Become::Replace | Become::Start, None) => act::start_detached(job, &default)?,
    }
    let status = job.wait_for_one(service.as_ref())?;
    let pid = status.gateway.pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default();
    job.note(&format!("the gateway{pid} serves all profiles"))?;
    if step.rests {
        let home = job.home(&default);
        job.ask(&home, &ClientRequest::Stop { profile: default }, END)?;
        job.note("'default' stays stopped: its gateway did not run")?;
    }
    Ok(service)
}

/// A profile's own gateway ends, and the one serves it.
fn take_over(job: &mut Job<'_>, step: &Step) -> Result<(), MigrateError> {
    let name = &step.seen.name;
    for installed in &step.seen.services {
        installed.service.enable(false)?;
    }
    match act::again(|| succeed(job, step))? {
        Outcome::Done(line) => job.note(&line),
        Outcome::Refused { code, message, .. } => {
            let config = if code == exit::CONFIG { " (its configuration)" } else { "" };
            Err(act::step(
                Some(name),
                &format!("the service of '{name}' by the one gateway"),
                format!("{message}{config}"),
            ))
        }
    }
}

/// Has the one gateway serve a profile, and ends its own when that is waited for.
fn succeed(job: &mut Job<'_>, step: &Step) -> Result<Outcome, MigrateError> {
    let client = job.reach(job.root.path())?;
    let request = ClientRequest::Succeed { profile: step.seen.name.clone() };
    let (said, heard) = mpsc::channel();
    let asked = std::thread::Builder::new().name("succeed".to_owned()).spawn(move || {
        client.ask(&request, START + END, |_| {
            let _ = said.send(());
        })
    });
    let asked = asked.map_err(MigrateError::io("start a thread for", job.root.path()))?;
    // It waits for the end of the other, or it has answered already, and then nothing is ended for it.
    if heard.recv().is_ok() {
        end_own(job, step)?;
    }
    Ok(asked.join().unwrap_or(Err(ClientError::CutShort))?)
}

/// Ends a profile's own gateway.
fn end_own(job: &mut Job<'_>, one: &Step) -> Result<(), MigrateError> {
    let name = &one.seen.name;
    for installed in one.seen.services.iter().filter(|installed| installed.is_wanted()) {
        installed.service.stop(&mut |_| {})?;
    }
    // Without a service, or beside it.
    if let Some(live) = super::observe::Live::of(&one.seen.home) {
        match live.by {
            By::Us => {
                let home = one.seen.home.clone();
                job.shut_down(&home)?;
            }
            By::Python | By::Unknown => {
                let why = "it is still there, and it is not this program's";
                return Err(step(Some(name), &format!("the end of the own gateway of '{name}'"), why));
            }
        }
    }
    job.wait_own(name, false, END)
}

/// A unit that nobody needs any more goes.
fn retire(job: &mut Job<'_>, name: &ProfileName, installed: &Installed) -> Result<(), MigrateError> {
    let service = &installed.service;
    match service.remove() {
        Ok(()) => job.note(&format!("the service of '{name}' is removed: {}", service.file)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(MigrateError::io("remove", &service.file)(e)),
    }
}

/// Whoever is to be served is ready, as the gateway itself says.
fn verify(job: &mut Job<'_>, plan: &Plan) -> Result<(), MigrateError> {
    // Those that had no gateway of their own held nobody up before.
    let needed = |name: &ProfileName| {
        let step = plan.steps.iter().find(|step| step.seen.name == *name);
        step.is_some_and(|step| matches!(step.action, Action::Become(_) | Action::TakeOver))
    };
    let mut names: Vec<ProfileName> = plan.served().into_iter().filter(needed).collect();
    names.retain(|name| !job.without.contains(name));
    let deadline = act::until(START);
    loop {
        let now = job.status()?.map(|status| status.profiles).unwrap_or_default();
        let of = |name: &ProfileName| now.iter().find(|profile| profile.name == name.as_str());
        let missing: Vec<&ProfileName> =
            names.iter().filter(|name| !of(name).is_some_and(|profile| profile.ready)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        // One whose files must change first does not become ready by being waited for.
        let waits = missing.iter().any(|name| of(name).is_none_or(|profile| profile.state != state::FAILED));
        if !waits || hermes_host::clock::now() >= deadline {
            let names = missing.iter().map(ToString::to_string).collect();
            let without: Vec<ProfileName> = missing.into_iter().cloned().collect();
            job.without.extend(without);
            return job.fail(MigrateError::NotReady { names });
        }
        hermes_host::wait::pause(std::time::Duration::from_millis(50));
    }
}
