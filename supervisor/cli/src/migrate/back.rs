//! To one gateway a profile, as it was written down.
//!
//! The old units come first, so that a machine that restarts in between finds them; then the flag, which the gateway that runs holds back
//! as long as it serves others. Then each profile: it is out of the one gateway's service for as long as this command lives, its own gateway
//! starts, and only when that holds the profile's lock is the one gateway let look again. Where no gateway runs any more, what ran is started.

use camino::Utf8PathBuf;
use hermes_gateway::client::ClientError;
use hermes_wire::ProfileName;
use hermes_wire::latest::ClientRequest;

use super::MigrateError;
use super::act::{self, END, Job, START, step, write_unit};
use super::manifest::{Course, Flag, Found, Manifest, Record};
use super::observe::Live;
use crate::profile::notify;
use crate::service::{self, Manager, Owner, Phase, Service};

/// What is written down, to go back to.
pub(crate) fn find(root: &hermes_wire::RootHome) -> Result<Manifest, MigrateError> {
    let file = root.gateway_migration();
    match Manifest::find(root)? {
        Found::Some(manifest) => Ok(*manifest),
        Found::None => Err(MigrateError::NeverMigrated { file }),
        Found::Torn(why) => Err(MigrateError::Torn { file, why }),
    }
}

/// Brings back what there was.
pub(crate) fn run(job: &mut Job<'_>) -> Result<(), MigrateError> {
    job.head(Course::RollingBack)?;
    let records: Vec<Record> = job.manifest.secondaries.clone();
    let mut services = Vec::new();
    for record in &records {
        services.push(restore(job, record)?);
    }
    let progress = job.manifest.progress_mut();
    let flag = progress.flag;
    job.flag(flag)?;
    let mut failed = Vec::new();
    for (record, service) in records.iter().zip(&services) {
        let Some(name) = record.name().filter(|_| record.ran()) else { continue };
        if let Err(error) = start_own(job, &name, record, service.as_ref()) {
            // The others are not kept waiting for it.
            (job.say)(&format!("⚠ {error}"));
            failed.push(name.to_string());
        }
    }
    default(job, flag)?;
    for record in &records {
        let Some(name) = record.name() else { continue };
        let home = job.home(&name);
        if record.parked {
            hermes_host::homes::unpark(&home).map_err(MigrateError::io("remove", &home.parked()))?;
        }
        if record.unparked {
            hermes_host::homes::park(&home).map_err(MigrateError::io("make", &home.parked()))?;
        }
    }
    if !failed.is_empty() {
        return Err(MigrateError::NotReady { names: failed });
    }
    Manifest::remove(job.root)
}

/// A record's unit is where it was, and starts by itself if it did. Where only the Python program's manifest tells of it, one is made.
fn restore(job: &mut Job<'_>, record: &Record) -> Result<Option<Service>, MigrateError> {
    let (Some(name), Some(manager)) = (record.name(), record.manager()) else { return Ok(None) };
    let owner = Owner::new(job.root, &name);
    let Some(unit) = &record.unit else {
        let service = if let Some(service) = installed(&owner, manager, job.env)? {
            service
        } else {
            let target = job.manifest.progress.as_ref().and_then(|progress| progress.target.as_ref());
            let user = target.and_then(|target| target.user.clone());
            let service = act::put(&owner, manager, user.as_deref(), job.env)?;
            job.note(&format!("{} is written", service.file))?;
            service
        };
        service.enable(true)?;
        return Ok(Some(service));
    };
    let Some(file) = unit.place(manager, job.env) else {
        let why = format!("'{}' is no name of a gateway's unit", unit.name);
        return Err(step(Some(&name), &format!("the service of '{name}'"), why));
    };
    let service = put_back(job, manager, &file, &unit.text)?;
    service.enable(unit.enabled)?;
    Ok(Some(service))
}

fn put_back(
    job: &mut Job<'_>,
    manager: Manager,
    file: &Utf8PathBuf,
    text: &str,
) -> Result<Service, MigrateError> {
    if write_unit(file, text)? {
        job.note(&format!("{file} is back"))?;
    }
    let service = at(manager, file, job.env)?;
    service.refresh(false)?;
    Ok(service)
}

fn installed(
    owner: &Owner,
    manager: Manager,
    env: &crate::home::Surroundings,
) -> Result<Option<Service>, MigrateError> {
    Ok(service::installed(owner, env)?.into_iter().find(|service| service.manager == manager))
}

fn at(
    manager: Manager,
    file: &Utf8PathBuf,
    env: &crate::home::Surroundings,
) -> Result<Service, MigrateError> {
    let (directory, name) = (file.parent().unwrap_or(file), file.file_name().unwrap_or_default());
    let found = service::at(manager, directory, name, env)?;
    found.ok_or_else(|| step(None, &format!("the unit {file}"), "it was there a moment ago"))
}

/// A profile's own gateway runs again, and the one gateway leaves it alone.
fn start_own(
    job: &mut Job<'_>,
    name: &ProfileName,
    record: &Record,
    service: Option<&Service>,
) -> Result<(), MigrateError> {
    let home = job.home(name);
    if Live::of(&home).is_some() {
        return Ok(());
    }
    let hold = notify::release(job.root, job.env, name);
    let hold = match hold {
        Ok(hold) => hold,
        // It ends just now.
        Err(ClientError::CutShort) => None,
        Err(error) => return Err(error.into()),
    };
    let started = match service {
        Some(service) => service.start(&mut |_| {}).map(drop).map_err(MigrateError::from),
        None => act::start_detached(job, name),
    };
    let result = started.and_then(|()| job.wait_own(name, true, START));
    // Whether it came up or not, whoever is there now serves.
    drop(hold);
    match result {
        Ok(()) => job.note(&format!("'{name}' has a gateway of its own again")),
        // It did not run well before, either.
        Err(error) if record.pid.is_none() => {
            (job.say)(&format!("⚠ {error}; it did not run before"));
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// The root home's gateway is what it was.
fn default(job: &mut Job<'_>, flag: Flag) -> Result<(), MigrateError> {
    let name = ProfileName::default_profile();
    let record = job.manifest.default.clone();
    let home = job.home(&name);
    let target = job.manifest.progress.as_ref().and_then(|progress| progress.target.clone());
    let scope = |system| if system { service::Scope::System } else { service::Scope::User };
    let of_target = || target.and_then(|target| service::manager(scope(target.system), job.env).ok());
    let manager = record.manager().or_else(of_target);
    let owner = Owner::new(job.root, &name);
    let now = manager.map(|manager| installed(&owner, manager, job.env)).transpose()?.flatten();
    match (&record.unit, manager) {
        (Some(unit), Some(manager)) => {
            let Some(file) = unit.place(manager, job.env) else {
                let why = format!("'{}' is no name of a gateway's unit", unit.name);
                return Err(step(Some(&name), "the service of 'default'", why));
            };
            let is_another = now.as_ref().is_some_and(|now| now.unit.text != unit.text || now.file != file);
            let service = put_back(job, manager, &file, &unit.text)?;
            service.enable(unit.enabled)?;
            if !unit.active {
                forget_rest(job)?;
                service.stop(&mut |_| {})?;
            } else if is_another || service.state()?.phase != Phase::Active {
                service.restart(&mut |_| {})?;
            } else {
                apply(job, flag)?;
            }
        }
        // It had a process and no service.
        (None, _) if record.ran() && record.service.is_none() => {
            if let Some(service) = &now {
                service.remove().map_err(MigrateError::io("remove", &service.file))?;
                job.note(&format!("{} is removed", service.file))?;
            }
            if Live::of(&home).is_none() {
                act::start_detached(job, &name)?;
            }
            apply(job, flag)?;
        }
        // The Python program's manifest: its service is the one that is there.
        (None, _) if record.service.is_some() => apply(job, flag)?,
        // It had none at all.
        (_, _) => {
            forget_rest(job)?;
            match &now {
                Some(service) => {
                    service.remove().map_err(MigrateError::io("remove", &service.file))?;
                    job.note(&format!("{} is removed", service.file))?;
                }
                None => end_detached(job)?,
            }
        }
    }
    job.note("the gateway serves one profile again")
}

/// The flag as the file says it now, in force as a whole.
fn apply(job: &mut Job<'_>, flag: Flag) -> Result<(), MigrateError> {
    // Whoever does not serve others, the Python program's gateway among them, has nothing to take back.
    let is_one = job.status()?.is_some_and(|status| status.gateway.mode.as_deref() == Some("multiplex"));
    if flag == Flag::On || !is_one {
        return Ok(());
    }
    let home = job.home(&ProfileName::default_profile());
    job.ask(&home, &ClientRequest::Apply, START + END).map(drop)
}

/// What was remembered of a default profile that was not to run holds no longer: its gateway is stopped as a whole.
fn forget_rest(job: &mut Job<'_>) -> Result<(), MigrateError> {
    let name = ProfileName::default_profile();
    let Some(status) = job.status()? else { return Ok(()) };
    let rests =
        status.profiles.iter().any(|profile| profile.name == name.as_str() && profile.desired == "stopped");
    if rests {
        let home = job.home(&name);
        job.ask(&home, &ClientRequest::Start { profile: name }, START)?;
    }
    Ok(())
}

fn end_detached(job: &mut Job<'_>) -> Result<(), MigrateError> {
    let name = ProfileName::default_profile();
    let home = job.home(&name);
    if Live::of(&home).is_none() {
        return Ok(());
    }
    job.shut_down(&home)?;
    job.wait_own(&name, false, END)
}
