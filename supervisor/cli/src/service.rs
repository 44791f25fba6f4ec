//! Services of gateways: which unit of a service manager runs which gateway, and what that manager is asked to do with it.
//!
//! One judge for everybody who asks: the verbs of `hermes gateway`, status, doctor, and what moves or removes a profile. A unit belongs
//! to a gateway by what it starts (`HERMES_HOME` and `-p` of its command), never by its name alone: a unit of that name for another home
//! is nobody's business here. What is asked of a manager is waited for, and the result is what it then says itself.

mod error;
pub(crate) mod facts;
pub(crate) mod install;
pub(crate) mod launchd;
pub(crate) mod name;
pub(crate) mod systemd;
pub(crate) mod unit;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::{ProfileName, RootHome};
use serde_json::{Value, json};

use crate::home::{Selection, Surroundings};
pub use error::ServiceError;
use unit::Unit;

/// Where the system's units are that an administrator, or `install --system`, made.
pub(crate) const SYSTEM_UNITS: &str = "/etc/systemd/system";

/// Whose service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// The user's own: its services start with his session, or with the machine where he lingers.
    User,
    /// The machine's.
    System,
}

impl Scope {
    /// `user` or `system`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::System => "system",
        }
    }
}

/// What runs services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Manager {
    Systemd(Scope),
    /// The user's launch agents.
    Launchd,
}

/// Those that this system has: launchd where its program is, systemd elsewhere.
fn managers(env: &Surroundings) -> &'static [Manager] {
    let is_there = |directory: &Utf8PathBuf| directory.join(launchd::PROGRAM).is_file();
    if cfg!(target_os = "macos") || env.path.iter().any(is_there) {
        &[Manager::Launchd]
    } else {
        &[Manager::Systemd(Scope::User), Manager::Systemd(Scope::System)]
    }
}

/// The one for services of that scope.
pub(crate) fn manager(scope: Scope, env: &Surroundings) -> Result<Manager, ServiceError> {
    let mut all = managers(env).iter().copied();
    all.find(|manager| manager.scope() == scope).ok_or(ServiceError::NoMachineScope)
}

impl Manager {
    /// `systemd (user)`, as status and JSON say it.
    pub(crate) fn shown(self) -> String {
        match self {
            Self::Systemd(scope) => format!("systemd ({})", scope.as_str()),
            Self::Launchd => "launchd".to_owned(),
        }
    }

    /// How lines about its services begin.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Systemd(Scope::User) => "User",
            Self::Systemd(Scope::System) => "System",
            Self::Launchd => "Launchd",
        }
    }

    /// Whether it answers at all; the way to reach it where not.
    pub(crate) fn reach(self) -> Result<(), ServiceError> {
        match self {
            Self::Systemd(scope) => systemd::reach(scope),
            Self::Launchd => launchd::reach(),
        }
    }

    /// Whose it is.
    pub(crate) fn scope(self) -> Scope {
        match self {
            Self::Systemd(scope) => scope,
            Self::Launchd => Scope::User,
        }
    }
}

/// Which gateway a service is for: a profile of a root home; `default` is the root home's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) root: RootHome,
    pub(crate) profile: ProfileName,
}

impl Owner {
    pub(crate) fn new(root: &RootHome, profile: &ProfileName) -> Self {
        Self { root: root.clone(), profile: profile.clone() }
    }

    /// The gateway that a command is about.
    pub(crate) fn of(selection: &Selection) -> Self {
        Self::new(&selection.root, &selection.profile)
    }

    /// ` -p coder`, for commands about it.
    pub(crate) fn flag(&self) -> String {
        if self.profile.is_default() { String::new() } else { format!(" -p {}", self.profile) }
    }
}

/// A service that is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service {
    pub(crate) manager: Manager,
    /// Its name, with its ending.
    pub(crate) name: String,
    /// What describes it.
    pub(crate) file: Utf8PathBuf,
    /// What the file says.
    pub(crate) unit: Unit,
}

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Starting,
    Active,
    Reloading,
    Stopping,
    Inactive,
    Failed,
}

impl Phase {
    /// For texts and JSON.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Reloading => "reloading",
            Self::Stopping => "stopping",
            Self::Inactive => "inactive",
            Self::Failed => "failed",
        }
    }
}

/// What the manager says of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    /// Its main process.
    pub(crate) pid: Option<u32>,
    /// Whether it starts by itself, with the session or the machine.
    pub(crate) enabled: bool,
    /// Why it is not well, in the manager's word (`exit-code`, `watchdog`, `timeout`).
    pub(crate) result: Option<String>,
    /// Exit code, or signal, of its last main process.
    pub(crate) exit: Option<Exit>,
    /// What the gateway itself says of itself to the manager.
    pub(crate) status: Option<String>,
    /// How often the manager has started it again by itself.
    pub(crate) restarts: u32,
    /// The file has changed since the manager read it.
    pub(crate) stale: bool,
    /// Drop-ins of the user's or the administrator's.
    pub(crate) drop_ins: Vec<Utf8PathBuf>,
}

/// How a main process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

impl State {
    /// `: exit code 1`, where it did not end well.
    pub(crate) fn reason(&self) -> String {
        error::reason(self.result.as_deref(), self.exit)
    }

    /// Whether there is, or is about to be, a gateway.
    pub(crate) fn runs(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Active | Phase::Reloading)
    }
}

/// What somebody sees while a verb is waited for.
pub(crate) type Progress<'a> = &'a mut dyn FnMut(&str);

impl Service {
    /// `user service hermes-gateway.service`.
    pub(crate) fn shown(&self) -> String {
        match self.manager {
            Manager::Systemd(scope) => format!("{} service {}", scope.as_str(), self.name),
            Manager::Launchd => format!("launchd service {}", launchd::label(&self.name)),
        }
    }

    /// The command of the manager itself for `verb`, for texts.
    pub(crate) fn command(&self, verb: &str) -> String {
        match self.manager {
            Manager::Systemd(Scope::User) => format!("systemctl --user {verb} {}", self.name),
            Manager::Systemd(Scope::System) => format!("sudo systemctl {verb} {}", self.name),
            // Its own command takes a domain and a file, and starts nothing that is not loaded.
            Manager::Launchd => {
                let flag = self.unit.owner.as_ref().map(Owner::flag).unwrap_or_default();
                ["hermes gateway ", verb, &flag].concat()
            }
        }
    }

    /// How it is.
    pub(crate) fn state(&self) -> Result<State, ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::state(scope, &self.name),
            Manager::Launchd => launchd::with(|jobs| jobs.state(self)),
        }
    }

    /// Has the manager read its file anew; with `enable` it starts by itself from now on. Nothing is started or stopped.
    pub(crate) fn refresh(&self, enable: bool) -> Result<State, ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::read_anew(scope, &self.name, enable),
            // The file itself says whether it starts by itself, unless launchd was told otherwise.
            Manager::Launchd => launchd::with(|jobs| jobs.refresh(self, enable)),
        }
    }

    /// Has the manager start it by itself, or not any more, whatever it does now; whether that changed anything.
    pub(crate) fn enable(&self, wanted: bool) -> Result<bool, ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::enable(scope, &self.name, wanted),
            Manager::Launchd => launchd::with(|jobs| jobs.enable(self, wanted)),
        }
    }

    /// Has it started, and does not wait.
    pub(crate) fn start_soon(&self) -> Result<(), ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::soon(scope, self, "start"),
            Manager::Launchd => launchd::with(|jobs| jobs.kick(self, &mut |_| {})),
        }
    }

    /// Has what runs replaced by what its file says now, and does not wait. One step: whatever becomes of this command, what is stopped
    /// is started.
    pub(crate) fn restart_soon(&self) -> Result<(), ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::soon(scope, self, "restart"),
            Manager::Launchd => launchd::with(|jobs| jobs.reload(self)),
        }
    }

    /// Starts it and waits until it says that it is ready; nothing where it runs already.
    pub(crate) fn start(&self, progress: Progress<'_>) -> Result<State, ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::start(scope, self, progress),
            Manager::Launchd => launchd::with(|jobs| jobs.start(self, progress)),
        }
    }

    /// Stops it and waits until its process is gone; it stays installed, and enabled.
    pub(crate) fn stop(&self, progress: Progress<'_>) -> Result<State, ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::stop(scope, self, progress),
            Manager::Launchd => launchd::with(|jobs| jobs.stop(self, progress)),
        }
    }

    /// Has it stopped, and does not wait: for whoever runs in it and would wait for its own end.
    pub(crate) fn stop_soon(&self) -> Result<(), ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::stop_soon(scope, self),
            Manager::Launchd => launchd::with(|jobs| jobs.stop_soon(self)),
        }
    }

    /// Stops and starts it: another process afterwards, ready.
    pub(crate) fn restart(&self, progress: Progress<'_>) -> Result<State, ServiceError> {
        match self.manager {
            Manager::Systemd(scope) => systemd::restart(scope, self, progress),
            Manager::Launchd => launchd::with(|jobs| jobs.restart(self, progress)),
        }
    }

    /// Disables, stops and removes it. Failures of the manager are not ours to stop at: what counts is that the file is gone.
    pub(crate) fn remove(&self) -> std::io::Result<()> {
        match self.manager {
            Manager::Systemd(scope) => systemd::remove(scope, &self.name, &self.file),
            Manager::Launchd => launchd::with(|jobs| jobs.remove(self)),
        }
    }

    /// Installs it for the profile's new name, enabled if it was; the file. The old one stays.
    pub(crate) fn install_as(
        &self,
        old: &Owner,
        new: &Owner,
        env: &Surroundings,
    ) -> std::io::Result<Utf8PathBuf> {
        match self.manager {
            Manager::Systemd(scope) => systemd::install_as(scope, self, (old, new), env),
            Manager::Launchd => {
                let name = name::preferred_by(self.manager, new, env);
                launchd::with(|jobs| jobs.install_as(self, (new, &name), env))
            }
        }
    }
}

/// A service, for programs.
pub(crate) fn described(manager: Manager, name: &str, file: &Utf8Path) -> Value {
    let which = match manager {
        Manager::Systemd(_) => "systemd",
        Manager::Launchd => "launchd",
    };
    json!({ "manager": which, "scope": manager.scope().as_str(), "name": name, "file": file })
}

/// Where files of `manager` are.
pub(crate) fn directory(manager: Manager, env: &Surroundings) -> Option<Utf8PathBuf> {
    match manager {
        Manager::Systemd(Scope::User) => env.user_home.as_ref().map(|home| home.join(".config/systemd/user")),
        Manager::Systemd(Scope::System) => Some(SYSTEM_UNITS.into()),
        Manager::Launchd => launchd::directory(env),
    }
}

/// Every service that is installed for this gateway, the user's first.
pub(crate) fn installed(owner: &Owner, env: &Surroundings) -> Result<Vec<Service>, ServiceError> {
    let mut found = Vec::new();
    for &manager in managers(env) {
        let Some(directory) = directory(manager, env) else { continue };
        for name in name::all_by(manager, owner, env) {
            let service = at(manager, &directory, &name, env)?;
            found.extend(service.filter(|service| service.unit.owner.as_ref() == Some(owner)));
        }
    }
    Ok(found)
}

/// The one that verbs act on: of that scope, or the user's, or the system's where the user has none.
pub(crate) fn find(
    owner: &Owner,
    scope: Option<Scope>,
    env: &Surroundings,
) -> Result<Option<Service>, ServiceError> {
    let all = installed(owner, env)?;
    let fits = |service: &Service| scope.is_none_or(|scope| scope == service.manager.scope());
    Ok(all.into_iter().find(fits))
}

/// The same; where a scope is named, one has to be there.
pub(crate) fn required(
    owner: &Owner,
    scope: Option<Scope>,
    env: &Surroundings,
) -> Result<Option<Service>, ServiceError> {
    match (find(owner, scope, env)?, scope) {
        (None, Some(scope)) => Err(ServiceError::NotInstalled { scope, flag: owner.flag() }),
        (found, _) => Ok(found),
    }
}

/// Every service of a gateway that the user, or the machine, has, whosever it is.
pub(crate) fn everybodys(env: &Surroundings) -> Vec<Service> {
    let mut found = Vec::new();
    for &manager in managers(env) {
        let Some(directory) = directory(manager, env) else { continue };
        let Ok(entries) = directory.read_dir_utf8() else { continue };
        let names = entries.filter_map(Result::ok).map(|entry| entry.file_name().to_owned());
        let mut names: Vec<_> = names.filter(|name| name::is_gateways(manager, name)).collect();
        names.sort();
        found.extend(names.iter().filter_map(|name| at(manager, &directory, name, env).ok()?));
    }
    found
}

/// What is in that file; `None` where there is none. One that cannot be read is not one that is not there.
pub(crate) fn at(
    manager: Manager,
    directory: &Utf8Path,
    name: &str,
    env: &Surroundings,
) -> Result<Option<Service>, ServiceError> {
    let file = directory.join(name);
    let bytes = match disk::read_bounded(&file, unit::MAX).or_absent() {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(None),
        Err(source) => return Err(ServiceError::Unreadable { file, source }),
    };
    let unit = match manager {
        Manager::Systemd(_) => Unit::read(String::from_utf8_lossy(&bytes).into_owned(), env),
        Manager::Launchd => launchd::plist::read(&bytes, env),
    };
    Ok(Some(Service { manager, name: name.to_owned(), file, unit }))
}
