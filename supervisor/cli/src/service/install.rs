//! Installing and removing a service, with whatever manager. What is to be written is decided first, and can be looked at; then it is done.
//!
//! Only a file that `install` wrote itself, and nobody touched since, is written again. One that was changed by hand, or that somebody else
//! wrote, is left as it is unless that is asked for, and then kept beside the new one. A unit of another home is nobody's to touch.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;

use super::facts::Facts;
use super::systemd::render;
use super::unit::{self, Author, Program};
use super::{Manager, Owner, Scope, Service, ServiceError, State, launchd, name};
use crate::home::Surroundings;

/// What is kept of a unit that was replaced.
const BEFORE: &str = "before-hermes";

/// What writing would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// There is none yet.
    Create,
    /// It was written by another release, or something that it is made from has changed.
    Update,
    /// It is as it would be written.
    Nothing,
    /// Somebody changed it by hand: it is left alone.
    LeaveEdited,
    /// Somebody else's is replaced, as was asked for, and kept.
    Replace,
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) manager: Manager,
    pub(crate) name: String,
    pub(crate) file: Utf8PathBuf,
    pub(crate) text: String,
    pub(crate) change: Change,
}

impl Facts {
    /// The file of the service of that name, with its mark.
    pub(crate) fn text(&self, name: &str, env: &Surroundings) -> Result<String, ServiceError> {
        let home = self.owner.root.profile(&self.owner.profile);
        let values = [self.program.as_str(), home.path().as_str()];
        let of_account =
            self.account.iter().flat_map(|a| [a.name.as_str(), a.group.as_str(), a.home.as_str()]);
        let of_path = self.path.iter().map(|directory| directory.as_str());
        let mut values = values.into_iter().chain(of_account).chain(of_path);
        if let Some(value) = values.find(|value| value.chars().any(char::is_control)) {
            return Err(ServiceError::Unwritable { value: value.to_owned() });
        }
        match self.manager {
            Manager::Systemd(_) => Ok(unit::sealed(&render::body(self, name))),
            Manager::Launchd => {
                let label = launchd::label(name);
                let log = launchd::log(label, env).ok_or(ServiceError::NoDirectory)?;
                Ok(launchd::plist::render(self, label, &log))
            }
        }
    }
}

/// Decides it. With `force` what is there is replaced, whoever wrote it.
pub(crate) fn plan(facts: &Facts, force: bool, env: &Surroundings) -> Result<Plan, ServiceError> {
    let manager = facts.manager;
    let directory = super::directory(manager, env).ok_or(ServiceError::NoDirectory)?;
    let owner = &facts.owner;
    let names = name::all_by(manager, owner, env);
    let mut found = None;
    for name in &names {
        let there = super::at(manager, &directory, name, env)?;
        let fits = there.filter(|service| service.unit.owner.as_ref() == Some(owner));
        if let Some(service) = fits {
            found = Some(service);
            break;
        }
    }
    let name = match &found {
        Some(service) => service.name.clone(),
        None => free(&names, manager, &directory, env)?,
    };
    let text = facts.text(&name, env)?;
    let change = match &found {
        None => Change::Create,
        Some(service) => change(service, &text, force)?,
    };
    Ok(Plan { manager, file: directory.join(&name), name, text, change })
}

fn change(service: &Service, text: &str, force: bool) -> Result<Change, ServiceError> {
    let same = is_same(service, text);
    Ok(match service.unit.author {
        Author::Us if same && !force => Change::Nothing,
        Author::Us => Change::Update,
        Author::Edited | Author::Other if force => Change::Replace,
        Author::Edited => Change::LeaveEdited,
        Author::Other => {
            let python = service.unit.program == Program::Python;
            return Err(ServiceError::SomebodyElses { file: service.file.clone(), python });
        }
    })
}

/// A name that no unit has.
fn free(
    names: &[String; 2],
    manager: Manager,
    directory: &Utf8Path,
    env: &Surroundings,
) -> Result<String, ServiceError> {
    for name in names {
        if super::at(manager, directory, name, env)?.is_none() {
            return Ok(name.clone());
        }
    }
    Err(ServiceError::NameTaken { file: directory.join(&names[0]) })
}

/// Whether the unit of a service is what this program would write; `None` where it is not this program's to write.
pub(crate) fn is_current(service: &Service, facts: &Facts, env: &Surroundings) -> Option<bool> {
    if service.unit.author != Author::Us {
        return None;
    }
    Some(is_same(service, &facts.text(&service.name, env).ok()?))
}

fn is_same(service: &Service, text: &str) -> bool {
    let now = &service.unit.text;
    match service.manager {
        Manager::Systemd(_) => render::comparable(unit::body(now)) == render::comparable(unit::body(text)),
        Manager::Launchd => launchd::plist::comparable(now) == launchd::plist::comparable(text),
    }
}

/// What writing led to.
pub(crate) struct Written {
    pub(crate) service: Service,
    pub(crate) state: State,
    /// The file that has the unit that was replaced.
    pub(crate) kept: Option<Utf8PathBuf>,
}

/// Writes it and lets the manager read it; with `enable` it starts by itself from now on.
pub(crate) fn write(plan: &Plan, enable: bool, env: &Surroundings) -> Result<Written, ServiceError> {
    let failed = |what: &'static str| {
        move |source: io::Error| ServiceError::File { what, file: plan.file.clone(), source }
    };
    let directory = plan.file.parent().ok_or(ServiceError::NoDirectory)?;
    let mut kept = None;
    if plan.change == Change::Replace {
        let beside = plan.file.with_file_name(format!("{}.{BEFORE}", plan.name));
        fs_err::copy(&plan.file, &beside).map_err(failed("keep"))?;
        kept = Some(beside);
    }
    if matches!(plan.change, Change::Create | Change::Update | Change::Replace) {
        disk::make_dirs(directory, 0o755).map_err(failed("make a directory for"))?;
        disk::write_public(&plan.file, plan.text.as_bytes()).map_err(failed("write"))?;
    }
    let gone = || failed("read")(io::ErrorKind::NotFound.into());
    let service = super::at(plan.manager, directory, &plan.name, env)?.ok_or_else(gone)?;
    // Also where nothing was written: whoever wrote it before may not have come so far.
    let state = service.refresh(enable)?;
    Ok(Written { service, state, kept })
}

/// The services of this gateway that an uninstallation removes.
pub(crate) fn removable(
    owner: &Owner,
    scope: Option<Scope>,
    env: &Surroundings,
) -> Result<Vec<Service>, ServiceError> {
    let all = super::installed(owner, env)?;
    let has_own = all.iter().any(|service| service.manager.scope() == Scope::User);
    let scope = scope.unwrap_or(if has_own || all.is_empty() { Scope::User } else { Scope::System });
    let manager = super::manager(scope, env)?;
    let own: Vec<_> = all.into_iter().filter(|service| service.manager.scope() == scope).collect();
    if own.is_empty() {
        let Some(directory) = super::directory(manager, env) else { return Ok(own) };
        // One of that name that is another home's is not what was asked for, and whoever asked should know.
        for name in name::all_by(manager, owner, env) {
            if let Some(Service { file, unit, .. }) = super::at(manager, &directory, &name, env)? {
                let whose = unit.owner.map(|whose| whose.root.profile(&whose.profile).path().to_owned());
                return Err(ServiceError::AnotherHomes { file, home: whose });
            }
        }
    }
    Ok(own)
}

/// Drop-ins that stay when a unit is removed.
pub(crate) fn drop_ins(service: &Service) -> Option<Utf8PathBuf> {
    let directory = service.file.with_file_name(format!("{}.d", service.name));
    directory.is_dir().then_some(directory)
}
