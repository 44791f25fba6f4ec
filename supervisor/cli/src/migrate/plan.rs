//! What is to be done with each profile, or why nothing may be. Pure.

use std::collections::BTreeSet;

use hermes_gateway::app::CheckReport;
use hermes_wire::ProfileName;
use hermes_wire::latest::Problem;

use super::lost::{self, Lost};
use super::manifest::{Flag, Manifest, Record, ServiceRecord, TargetRecord, UnitRecord};
use super::observe::{By, Installed, Live, Seen, World};
use crate::service::{Manager, Scope, unit};

/// What was asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// Settings of old units may be lost.
    pub(crate) force: bool,
    /// A profile that cannot be served keeps nobody else from it.
    pub(crate) keep_going: bool,
}

/// What becomes of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// The root home's gateway becomes the one for all.
    Become(Become),
    /// Its worker takes over from its own gateway.
    TakeOver,
    /// Its own gateway does not run, and neither will its worker.
    Park,
    /// It is parked already.
    StayParked,
    /// It has had no gateway so far.
    Serve,
    /// It is served already.
    Served,
    /// Its configuration wants no part in it.
    Alone,
    /// The allow-list does not name it, and it has no gateway that would have to be replaced.
    NotAllowed,
}

/// How the root home's gateway becomes the one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Become {
    /// It is the one already, or needs only the flag: its process stays.
    Stay,
    /// The same, and it gets a service, which starts with the machine.
    Enlist,
    /// Its unit is written anew and restarted.
    Replace,
    /// None runs: one is started, as a service where there is a manager.
    Start,
}

/// One profile's part.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) seen: Seen,
    pub(crate) action: Action,
    /// Its worker is not to run: a gateway of its own was set up, and did not run.
    pub(crate) rests: bool,
}

/// Everything that is to be done.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Default's first.
    pub(crate) steps: Vec<Step>,
    /// The service of the one gateway; `None`: without one.
    pub(crate) target: Option<Target>,
    /// Whether the flag is to be set.
    pub(crate) sets_flag: bool,
}

/// Whose service the one gateway becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) manager: Manager,
    /// The user it runs as, of a service of the machine.
    pub(crate) user: Option<String>,
}

/// Why nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) code: &'static str,
    pub(crate) profile: Option<ProfileName>,
    pub(crate) message: String,
    pub(crate) fix: String,
}

impl Target {
    pub(crate) fn record(&self) -> TargetRecord {
        TargetRecord { system: self.manager == Manager::Systemd(Scope::System), user: self.user.clone() }
    }
}

impl Plan {
    /// Profiles that will not run.
    pub(crate) fn parked(&self) -> BTreeSet<ProfileName> {
        let rests = |step: &&Step| matches!(step.action, Action::Park | Action::StayParked);
        self.steps.iter().filter(rests).map(|step| step.seen.name.clone()).collect()
    }

    /// Profiles that are to be ready afterwards.
    pub(crate) fn served(&self) -> Vec<ProfileName> {
        let serves = |step: &&Step| match step.action {
            Action::Become(_) => !step.rests,
            Action::TakeOver | Action::Serve | Action::Served => true,
            Action::Park | Action::StayParked | Action::Alone | Action::NotAllowed => false,
        };
        self.steps.iter().filter(serves).map(|step| step.seen.name.clone()).collect()
    }

    /// Whether there is nothing to do.
    pub(crate) fn is_done(&self) -> bool {
        let done = |step: &Step| match step.action {
            Action::Become(how) => how == Become::Stay,
            Action::Served | Action::Alone | Action::NotAllowed | Action::Serve => true,
            Action::TakeOver => false,
            Action::Park | Action::StayParked => step.seen.services.is_empty(),
        };
        !self.sets_flag && self.steps.iter().all(done)
    }

    /// What is written down about each gateway of its own.
    pub(crate) fn records(&self) -> (Record, Vec<Record>) {
        let record = |step: &Step| record(&step.seen);
        let own = |step: &&Step| {
            !step.seen.name.is_default() && step.seen.has_own() && step.action != Action::Alone
        };
        let nobody = || Record {
            profile: hermes_wire::profile::DEFAULT.to_owned(),
            home: camino::Utf8PathBuf::new(),
            pid: None,
            service: None,
            unit: None,
            parked: false,
            unparked: false,
        };
        let default = self.steps.first().map_or_else(nobody, record);
        (default, self.steps.iter().filter(own).map(record).collect())
    }
}

/// A gateway as it is now.
fn record(seen: &Seen) -> Record {
    let service = seen.service();
    let unit = service.map(|Installed { service, state, .. }| UnitRecord {
        name: service.name.clone(),
        text: service.unit.text.clone(),
        enabled: state.enabled,
        active: seen.is_wanted(),
        drop_ins: state.drop_ins.clone(),
    });
    Record {
        profile: seen.name.to_string(),
        home: seen.home.path().to_owned(),
        pid: seen.live.as_ref().and_then(|live| live.pid),
        service: service.map(|installed| ServiceRecord::of(installed.manager())),
        unit,
        parked: false,
        unparked: false,
    }
}

/// What is to be done; what stands against it is found by [`obstacles`]. `before`: what an unfinished migration wrote down, which is right
/// where it has changed something since.
pub(crate) fn plan(world: &World, allowlist: Option<&[String]>, before: Option<&Manifest>) -> Plan {
    let target = target(world);
    let allowed = |name: &ProfileName| {
        allowlist.is_none_or(|list| {
            list.iter().any(|entry| ProfileName::from_user_input(entry).is_ok_and(|entry| entry == *name))
        })
    };
    let is_served = |name: &ProfileName| {
        let status = world.gateway.as_ref().filter(|_| world.is_one());
        status
            .is_some_and(|status| status.profiles.iter().any(|p| p.name == name.as_str() && p.pid.is_some()))
    };
    let step = |seen: &Seen| {
        let known =
            before.and_then(|before| before.records().find(|record| record.profile == seen.name.as_str()));
        let wanted = seen.is_wanted() || known.is_some_and(Record::ran);
        let had_own = !seen.services.is_empty() || known.is_some_and(|record| record.unit.is_some());
        let action = if seen.name.is_default() {
            Action::Become(becomes(world, seen, target.as_ref()))
        } else if seen.alone {
            Action::Alone
        } else if wanted {
            Action::TakeOver
        } else if seen.parked {
            Action::StayParked
        } else if had_own {
            Action::Park
        } else if is_served(&seen.name) {
            Action::Served
        } else if allowed(&seen.name) {
            Action::Serve
        } else {
            Action::NotAllowed
        };
        // A default profile that runs beside a record that says otherwise is one that this migration has not stopped yet.
        let ran = if seen.name.is_default() { known.map_or(seen.is_wanted(), Record::ran) } else { wanted };
        let rests = match action {
            Action::Become(_) => had_own && !ran,
            Action::Park | Action::StayParked => true,
            Action::TakeOver | Action::Serve | Action::Served | Action::Alone | Action::NotAllowed => false,
        };
        Step { seen: seen.clone(), action, rests }
    };
    Plan { steps: world.profiles.iter().map(step).collect(), sets_flag: world.flag.flag != Flag::On, target }
}

/// Units that the one service takes the place of.
fn replaced(world: &World) -> impl Iterator<Item = (&Seen, &Installed)> {
    let own = world.profiles.iter().filter(|seen| !seen.alone || seen.name.is_default());
    own.flat_map(|seen| seen.services.iter().map(move |installed| (seen, installed)))
}

/// The manager and user of the old units; default's decides where they differ, and then that is an obstacle.
fn target(world: &World) -> Option<Target> {
    let first = replaced(world).next().map(|(_, installed)| installed)?;
    Some(Target { manager: first.manager(), user: first.service.unit.user.clone() })
}

fn becomes(world: &World, seen: &Seen, target: Option<&Target>) -> Become {
    let installed = seen.services.first();
    match &seen.live {
        Some(Live { by: By::Us, unit, pid, .. }) => match (target, installed) {
            (None, _) => Become::Stay,
            (Some(_), Some(installed))
                if unit.is_some() || (pid.is_some() && installed.state.pid == *pid) =>
            {
                Become::Stay
            }
            (Some(_), _) => Become::Enlist,
        },
        Some(_) => Become::Replace,
        None if world.is_one() => Become::Stay,
        None => Become::Start,
    }
}

/// Everything that stands against it, in the order in which people would look. `check`: what the one gateway's start would meet.
pub(crate) fn obstacles(world: &World, plan: &Plan, check: &CheckReport, wishes: Wishes) -> Vec<Obstacle> {
    let mut found = Vec::new();
    let mut add = |code, profile: Option<&ProfileName>, message: String, fix: &str| {
        found.push(Obstacle { code, profile: profile.cloned(), message, fix: fix.to_owned() });
    };
    for (path, why) in &world.unseen {
        add("unseen", None, format!("{path} cannot be looked at: {why}"), "make it readable");
    }
    if let Some(why) = &world.flag.obstacle {
        let message = format!("{} cannot be turned on: {why}", world.flag.key);
        add("flag", None, message, "take that away first");
    }
    of_services(world, &mut add);
    for step in &plan.steps {
        of_step(world, step, wishes, &mut add);
    }
    of_check(plan, check, wishes, &mut add);
    found
}

type Add<'a> = &'a mut dyn FnMut(&'static str, Option<&ProfileName>, String, &str);

/// Units that do not fit together.
fn of_services(world: &World, add: Add<'_>) {
    let names = |of: &dyn Fn(&Installed) -> bool| {
        let found = replaced(world).filter(|(_, installed)| of(installed));
        found.map(|(_, installed)| installed.service.name.clone()).collect::<Vec<_>>().join(", ")
    };
    let (systems, users) = (names(&Installed::is_systems), names(&|installed| !installed.is_systems()));
    if !systems.is_empty() && !users.is_empty() {
        let message = format!("some are services of the machine ({systems}), others of the user ({users})");
        let fix = "bring them to one kind: `hermes -p NAME gateway uninstall`, then `install` with or without --system";
        add("both_scopes", None, message, fix);
    } else if !systems.is_empty() && !world.is_root {
        let message = format!("{systems} are services of the machine, which only root may change");
        add("needs_root", None, message, "run `sudo hermes gateway migrate`");
    }
    let mut by_user: Vec<(Option<&str>, Vec<&str>)> = Vec::new();
    for (_, installed) in replaced(world).filter(|(_, installed)| installed.is_systems()) {
        let (user, name) = (installed.service.unit.user.as_deref(), installed.service.name.as_str());
        match by_user.iter_mut().find(|(known, _)| *known == user) {
            Some((_, names)) => names.push(name),
            None => by_user.push((user, vec![name])),
        }
    }
    if by_user.len() > 1 {
        let each =
            by_user.iter().map(|(user, names)| format!("{} as {}", names.join(", "), user.unwrap_or("root")));
        let message = format!("they run as different users: {}", each.collect::<Vec<_>>().join("; "));
        let fix = "one gateway runs as one user: give these profiles to one (`User=`), or leave them their own (`gateway.standalone: true`)";
        add("users", None, message, fix);
    }
}

fn of_step(world: &World, step: &Step, wishes: Wishes, add: Add<'_>) {
    let Step { seen, action, .. } = step;
    let name = Some(&seen.name);
    if *action == Action::Alone {
        return;
    }
    if seen.services.len() > 1 {
        let names: Vec<_> = seen.services.iter().map(|installed| installed.service.shown()).collect();
        let message = format!("it has several services: {}", names.join(", "));
        add(
            "two_services",
            name,
            message,
            "uninstall all but one: `hermes gateway uninstall` with or without --system",
        );
    }
    if let Some(live) = &seen.live {
        of_live(world, seen, live, add);
    }
    for installed in &seen.services {
        if !wishes.force {
            for Lost { file, what, only_variables } in &installed.lost {
                let message = format!("{file} sets {}, which the one gateway would not", what.join(", "));
                let place = if *only_variables {
                    "write what it needs into the profile's `.env`"
                } else {
                    "see `gateway.limits` in its config.yaml for memory, CPU and tasks"
                };
                add("lost", name, message, &format!("{place}; `--force` goes on without"));
            }
        }
        if seen.name.is_default()
            && let Some(file) = lost::commands(&installed.state.drop_ins)
        {
            let message = format!("{file} says what the service starts, and would go on doing so");
            add("command", name, message, "remove that line");
        }
        if installed.service.unit.program == unit::Program::Unknown {
            let message = format!("{} starts something that is not known here", installed.service.file);
            add("unknown_program", name, message, "migrate it by hand");
        }
    }
}

fn of_live(world: &World, seen: &Seen, live: &Live, add: Add<'_>) {
    let name = Some(&seen.name);
    let pid = live.pid.map_or_else(|| "of an unknown process".to_owned(), |pid| format!("(PID {pid})"));
    if let Some(user) = live.user {
        let message = format!("its gateway {pid} belongs to user {user}");
        return add("other_user", name, message, "run this command as that user, or as root");
    }
    let runs_in = |installed: &Installed| installed.state.pid.is_some() && installed.state.pid == live.pid;
    let has_service = seen.services.iter().any(runs_in);
    match live.by {
        By::Us if seen.name.is_default() && world.gateway.is_none() => {
            add("silent", name, format!("its gateway {pid} does not answer"), "`hermes doctor` says more");
        }
        By::Unknown => {
            let message = format!(
                "a process holds {}, and is no gateway that is known {pid}",
                seen.home.gateway_lock()
            );
            add(
                "unknown_holder",
                name,
                message,
                "end it, or find out whose it is: `fuser` shows the process",
            );
        }
        By::Python if !has_service => {
            let (what, fix) = if let Some(unit) = &live.unit {
                let fix = "`hermes gateway migrate-legacy` removes a unit of before the rename".to_owned();
                (format!("runs in {unit}"), fix)
            } else {
                let flag = if seen.name.is_default() { String::new() } else { format!(" -p {}", seen.name) };
                let fix =
                    format!("stop it (`hermes{flag} gateway stop`), and run `hermes gateway migrate` again");
                ("runs in no service, and no way back could start it again".to_owned(), fix)
            };
            add("python", name, format!("its gateway {pid} is the Python program's and {what}"), &fix);
        }
        By::Us | By::Python => {}
    }
}

/// What a start of the one gateway would refuse.
fn of_check(plan: &Plan, check: &CheckReport, wishes: Wishes, add: Add<'_>) {
    let concerned = |name: &ProfileName| {
        let step = plan.steps.iter().find(|step| step.seen.name == *name);
        step.is_some_and(|step| matches!(step.action, Action::Become(_) | Action::TakeOver))
    };
    let said = |problem: &Problem| {
        let place = problem.line.map_or_else(String::new, |line| format!(":{line}"));
        let key = problem.key.as_ref().map_or_else(String::new, |key| format!(" ({key})"));
        format!("{} ({}{place}{key})", problem.message, problem.file)
    };
    for (profile, problem) in &check.problems {
        let stops = problem.severity.stops_profile();
        let counts = match profile {
            None => stops,
            Some(_) if check.refused => stops,
            Some(name) => stops && concerned(name) && !wishes.keep_going,
        };
        if counts {
            let fix = problem.fix.clone().unwrap_or_else(|| "correct that file".to_owned());
            add("refused", profile.as_ref(), said(problem), &fix);
        }
    }
    for step in plan.steps.iter().filter(|step| step.action == Action::TakeOver) {
        let name = &step.seen.name;
        let known = check.served.contains(name) || check.left_out.contains(name);
        if !known && !wishes.keep_going {
            let message = "it runs now, and the one gateway would not serve it".to_owned();
            add(
                "not_served",
                Some(name),
                message,
                "add it to `gateway.multiplex_profile_allowlist`, or `hermes doctor` says why",
            );
        }
    }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
