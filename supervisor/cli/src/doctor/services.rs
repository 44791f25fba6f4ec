//! Units of service managers: whose they are, whether they are up to date, and whether what they start outlives a session.

use hermes_gateway::watch::Homes;
use hermes_wire::{ProfileName, RootHome};

use super::{Finding, Grade, Patient, Section};
use crate::home::Surroundings;
use crate::service::systemd::{self, bus};
use crate::service::unit::{Author, Program};
use crate::service::{self, Manager, Owner, Scope, Service, facts, install, launchd, name};
use crate::settings::unit;

fn finding(grade: Grade, code: &'static str, message: impl Into<String>) -> Finding {
    Finding::new(Section::Services, grade, code, message)
}

pub(super) fn check(patient: &Patient<'_>) -> Vec<Finding> {
    let mode = patient.status.as_ref().ok().and_then(|status| status.gateway.mode.as_deref());
    let place = Place {
        root: &patient.root,
        homes: &patient.homes,
        is_one: mode == Some("multiplex"),
        env: patient.env,
    };
    findings(&place, &service::everybodys(patient.env))
}

/// What services are judged by.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) root: &'a RootHome,
    pub(crate) homes: &'a Homes,
    /// The root home's gateway runs, and serves all profiles.
    pub(crate) is_one: bool,
    pub(crate) env: &'a Surroundings,
}

/// What there is to say about the services of a root home's gateways, of all that are installed. Files alone are looked at, and the
/// manager of sessions asked whether the user lingers where that matters.
pub(crate) fn findings(place: &Place<'_>, all: &[Service]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = all.iter().filter_map(|service| about(place, service)).collect();
    let own = Owner::new(place.root, &ProfileName::default_profile());
    let of_own = |scope| {
        all.iter().find(|s| s.manager == Manager::Systemd(scope) && s.unit.owner.as_ref() == Some(&own))
    };
    if let (Some(user), Some(system)) = (of_own(Scope::User), of_own(Scope::System)) {
        let message = "Both user and system gateway services are installed (user + system).";
        let next = format!(
            "keep one: `{}`, or `{}`",
            user.command("disable --now"),
            system.command("disable --now")
        );
        findings.push(finding(Grade::Warning, "both_scopes", message).at(&system.file).next(next));
    }
    findings.extend(of_own(Scope::User).filter(|user| is_enabled(user)).map(linger));
    findings
}

fn is_enabled(service: &Service) -> bool {
    match service.manager {
        Manager::Systemd(scope) => systemd::is_enabled(scope, &service.file),
        // It starts with the session, and nothing lingers.
        Manager::Launchd => false,
    }
}

/// Whether the gateway goes on when its user logs out. The texts are 0.19.0's.
fn linger(service: &Service) -> Finding {
    let fix = format!("`sudo loginctl enable-linger {}`", bus::user());
    match bus::lingers() {
        Some(true) => {
            finding(Grade::Good, "linger", "Systemd linger enabled (gateway service survives logout)")
        }
        Some(false) => {
            let message = "Systemd linger disabled (gateway service stops with the last session, and does not start with the machine)";
            finding(Grade::Warning, "linger", message).at(&service.file).next(fix)
        }
        None => {
            finding(Grade::Warning, "linger", "whether systemd linger is enabled cannot be told").next(fix)
        }
    }
}

fn about(place: &Place<'_>, service: &Service) -> Option<Finding> {
    let found = |code, message: String, next: String| {
        Some(finding(Grade::Warning, code, message).at(&service.file).next(next))
    };
    let owner = match &service.unit.owner {
        Some(owner) if owner.root == *place.root => owner,
        // Its name is one that this home's gateway would have: whoever looks for that one finds this one.
        Some(owner) if is_ours_by_name(place, service) => {
            let home = owner.root.profile(&owner.profile);
            return found(
                "unit_of_another_home",
                format!("a unit of this name starts the gateway of another home, {}", home.path()),
                "nothing to do: `hermes gateway install` gives this home's unit another name".to_owned(),
            );
        }
        _ => return None,
    };
    let profile = &owner.profile;
    if !profile.is_default() && !place.homes.contains(profile) {
        let message = format!("a unit for profile '{profile}', which does not exist");
        return found("unit_without_profile", message, removal(service));
    }
    let mine = |finding: Finding| if profile.is_default() { finding } else { finding.of(profile) };
    if service.unit.program == Program::Python {
        let message =
            "a unit that starts the Python program's gateway: both would want the same lock and ports"
                .to_owned();
        return found("python_unit", message, removal(service)).map(mine);
    }
    let stands_alone = || crate::settings::judge::stands_alone(place.root, profile, place.env);
    if place.is_one && !profile.is_default() && !stands_alone() {
        let message = "a unit of its own, and the gateway that runs serves this profile".to_owned();
        return found("unit_of_served_profile", message, removal(service)).map(mine);
    }
    if service.unit.author == Author::Edited {
        let message = "a unit that was changed by hand: no update of this program reaches it".to_owned();
        let next = format!(
            "`{} --force` writes it anew and keeps yours beside it{}",
            install_command(service, owner),
            match service.manager {
                Manager::Systemd(_) => format!("; changes in a drop-in last: `{}`", service.command("edit")),
                Manager::Launchd => String::new(),
            }
        );
        return found("unit_edited", message, next).map(mine);
    }
    outdated(place, service, owner).map(mine)
}

/// How a service is taken away that nobody needs.
fn removal(service: &Service) -> String {
    let command = match service.manager {
        Manager::Systemd(_) => service.command("disable --now"),
        Manager::Launchd => format!("launchctl bootout gui/$UID/{}", launchd::label(&service.name)),
    };
    format!("`{command}`, then remove the file")
}

fn install_command(service: &Service, owner: &Owner) -> String {
    let (sudo, flag) = match service.manager.scope() {
        Scope::System => ("sudo ", " --system"),
        Scope::User => ("", ""),
    };
    format!("{sudo}hermes gateway install{flag}{}", owner.flag())
}

fn is_ours_by_name(place: &Place<'_>, service: &Service) -> bool {
    let mut owners = place.homes.names().map(|profile| Owner::new(place.root, profile));
    owners.any(|owner| name::preferred_by(service.manager, &owner, place.env) == service.name)
}

/// A unit that this program wrote and would write another way now.
fn outdated(place: &Place<'_>, service: &Service, owner: &Owner) -> Option<Finding> {
    let scope = service.manager.scope();
    let account = match scope {
        Scope::User => None,
        Scope::System => Some(facts::account(service.unit.user.as_deref()).ok()?),
    };
    // What a file says that cannot be read is in no unit's text.
    let times = unit::known_times(owner, place.env)?;
    let facts = facts::gather(owner.clone(), service.manager, account, times, place.env).ok()?;
    let on_login = launchd::plist::starts_at_login(&service.unit.text);
    if install::is_current(service, &facts::Facts { on_login, ..facts }, place.env)? {
        return None;
    }
    let next = format!("`{}` brings it up to date", install_command(service, owner));
    Some(
        finding(Grade::Warning, "unit_outdated", "Installed gateway service definition is outdated")
            .at(&service.file)
            .next(next),
    )
}
