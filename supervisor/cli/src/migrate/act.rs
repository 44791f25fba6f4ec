//! Single steps, each of which looks first whether it is done, and what they are noted in.

use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_gateway::client::{Client, ClientError, Outcome};
use hermes_host::{clock, disk, homes, wait};
use hermes_wire::contract::gateway_status::{GatewayStatus, Profile, state};
use hermes_wire::latest::ClientRequest;
use hermes_wire::{ProfileHome, ProfileName, RootHome};

use super::MigrateError;
use super::manifest::{Course, Flag, Manifest, Record};
use super::observe::{self, FlagSeen, Live};
use crate::home::Surroundings;
use crate::service::unit::Program;
use crate::service::{self, Manager, Owner, Phase, Scope, Service, facts, install};
use crate::settings::{As, Draft, unit};

/// Time a gateway has to start, with all its workers.
pub(super) const START: Duration = Duration::from_secs(180);
/// Time a gateway has to finish what runs, and to end.
pub(super) const END: Duration = Duration::from_secs(300);
/// Time in which a gateway that runs is reached.
const REACH: Duration = Duration::from_secs(10);
/// How often a gateway is asked that cuts its answers short.
const TRIES: usize = 3;
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// A migration under way.
pub(crate) struct Job<'a> {
    pub(crate) root: &'a RootHome,
    pub(crate) env: &'a Surroundings,
    pub(crate) manifest: Manifest,
    /// Lines for people.
    pub(crate) say: &'a mut dyn FnMut(&str),
    /// A profile that does not come up keeps nobody else from it.
    pub(crate) keep_going: bool,
    /// What did not come about, and was gone on without.
    pub(crate) missing: Vec<String>,
    /// Whose service that was.
    pub(crate) without: Vec<ProfileName>,
}

impl<'a> Job<'a> {
    /// One of which nothing has been done yet.
    pub(crate) fn new(
        (root, env): (&'a RootHome, &'a Surroundings),
        manifest: Manifest,
        keep_going: bool,
        say: &'a mut dyn FnMut(&str),
    ) -> Self {
        Self { root, env, manifest, say, keep_going, missing: Vec::new(), without: Vec::new() }
    }

    /// Notes a step, on disk and for people.
    pub(super) fn note(&mut self, step: &str) -> Result<(), MigrateError> {
        self.manifest.progress_mut().steps.push(step.to_owned());
        self.manifest.save(self.root)?;
        (self.say)(step);
        Ok(())
    }

    /// Which way it goes from now on.
    pub(super) fn head(&mut self, course: Course) -> Result<(), MigrateError> {
        self.manifest.progress_mut().course = course;
        self.manifest.save(self.root)
    }

    pub(super) fn home(&self, profile: &ProfileName) -> ProfileHome {
        self.root.profile(profile)
    }

    /// Changes a record and writes it down.
    pub(super) fn record(
        &mut self,
        profile: &ProfileName,
        change: impl FnOnce(&mut Record),
    ) -> Result<(), MigrateError> {
        if let Some(record) = self.manifest.record_mut(profile) {
            change(record);
        }
        self.manifest.save(self.root)
    }

    /// Puts `gateway.parked` into a home; whether it was not there.
    pub(super) fn park(&mut self, profile: &ProfileName) -> Result<(), MigrateError> {
        let home = self.home(profile);
        if homes::is_parked(&home).map_err(MigrateError::io("look at", &home.parked()))? {
            return Ok(());
        }
        // Noted before it is done: what is taken away without need is put back by nobody.
        self.record(profile, |record| record.parked = true)?;
        homes::park(&home).map_err(MigrateError::io("make", &home.parked()))?;
        self.note(&format!("'{profile}' parked: its gateway did not run"))
    }

    /// Takes it away.
    pub(super) fn unpark(&mut self, profile: &ProfileName) -> Result<(), MigrateError> {
        let home = self.home(profile);
        if homes::is_parked(&home).map_err(MigrateError::io("look at", &home.parked()))? {
            self.record(profile, |record| record.unparked = true)?;
            homes::unpark(&home).map_err(MigrateError::io("remove", &home.parked()))?;
        }
        Ok(())
    }

    /// Brings the flag to `wanted`.
    pub(super) fn flag(&mut self, wanted: Flag) -> Result<(), MigrateError> {
        let seen = FlagSeen::look(self.root, self.env)?;
        if seen.flag == wanted {
            return Ok(());
        }
        let mut draft = Draft::open(self.root, &ProfileName::default_profile(), self.env)?;
        match wanted {
            Flag::Absent => draft.unset(&seen.key)?,
            Flag::Off => draft.set(&seen.key, "false", As::Schema)?,
            Flag::On => draft.set(&seen.key, "true", As::Schema)?,
        };
        let file = draft.config_file().to_owned();
        draft.commit()?;
        let said = match wanted {
            Flag::Absent => format!("{} is gone from {file}", seen.key),
            Flag::Off => format!("{}: false in {file}", seen.key),
            Flag::On => format!("{}: true in {file}", seen.key),
        };
        self.note(&said)
    }

    /// The gateway of the root home, as it is now.
    pub(super) fn status(&self) -> Result<Option<GatewayStatus>, MigrateError> {
        observe::status(self.root, self.env)
    }

    /// Waits until the root home's gateway serves everybody, and default is settled.
    pub(super) fn wait_for_one(&self, service: Option<&Service>) -> Result<GatewayStatus, MigrateError> {
        let deadline = clock::now() + START;
        let mut seen = None;
        while clock::now() < deadline {
            // While it starts, or becomes another process, it may refuse or cut a connection short.
            if let Ok(Some(status)) = self.status() {
                let one =
                    status.gateway.mode.as_deref() == Some("multiplex") && status.gateway.state == "running";
                let starts = |profile: &Profile| profile.state == state::STARTING;
                if one && !status.profiles.first().is_some_and(starts) {
                    return Ok(status);
                }
                seen = Some(status.gateway.state);
            }
            if let Some(service) = service {
                let now = service.state()?;
                if now.phase == Phase::Failed {
                    let exit = now.exit.map(|exit| format!(" ({exit:?})")).unwrap_or_default();
                    return Err(step(
                        None,
                        "the one gateway",
                        format!("its {} has failed{exit}", service.shown()),
                    ));
                }
            }
            wait::pause(LOOK);
        }
        let why = seen.map_or_else(|| "it does not answer".to_owned(), |state| format!("it is {state}"));
        Err(step(None, "the one gateway", format!("{why} after {} s", START.as_secs())))
    }

    /// Waits until a profile has, or has not, a gateway of its own.
    pub(super) fn wait_own(
        &self,
        profile: &ProfileName,
        there: bool,
        limit: Duration,
    ) -> Result<(), MigrateError> {
        let home = self.home(profile);
        let deadline = clock::now() + limit;
        while Live::of(&home).is_some() != there {
            if clock::now() >= deadline {
                let what =
                    format!("the {} of the own gateway of '{profile}'", if there { "start" } else { "end" });
                return Err(step(Some(profile), &what, format!("not within {} s", limit.as_secs())));
            }
            wait::pause(LOOK);
        }
        Ok(())
    }

    /// Asks the gateway of `home`, and waits for the result.
    pub(super) fn ask(
        &self,
        home: &ProfileHome,
        request: &ClientRequest,
        limit: Duration,
    ) -> Result<String, MigrateError> {
        again(|| self.ask_once(home, request, limit))
    }

    /// Has the gateway of `home` end: whoever does not answer any more does.
    pub(super) fn shut_down(&self, home: &ProfileHome) -> Result<(), MigrateError> {
        match self.ask_once(home, &ClientRequest::Shutdown, END) {
            Ok(_)
            | Err(MigrateError::Client(
                ClientError::CutShort | ClientError::NobodyThere { .. } | ClientError::Io(_),
            )) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn ask_once(
        &self,
        home: &ProfileHome,
        request: &ClientRequest,
        limit: Duration,
    ) -> Result<String, MigrateError> {
        match self.reach(home.path())?.ask(request, limit, |_| {})? {
            Outcome::Done(line) => Ok(line),
            Outcome::Refused { code, message, hint } => {
                Err(ClientError::Refused { code, message, hint }.into())
            }
        }
    }

    /// A connection to the gateway of a home. One that becomes another process may refuse it for a moment.
    pub(super) fn reach(&self, home: &Utf8Path) -> Result<Client, MigrateError> {
        let deadline = clock::now() + REACH;
        loop {
            match Client::connect(home, &self.env.sockets) {
                Err(ClientError::NobodyThere { .. }) if clock::now() < deadline => wait::pause(LOOK),
                found => return Ok(found?),
            }
        }
    }

    /// Goes on without something, or not.
    pub(super) fn fail(&mut self, error: MigrateError) -> Result<(), MigrateError> {
        if !self.keep_going {
            return Err(error);
        }
        let line = error.to_string();
        (self.say)(&format!("⚠ {line}"));
        self.missing.push(line);
        Ok(())
    }
}

/// Asks a gateway, and once more where it becomes another process in the middle of that: what is asked here can be asked twice.
pub(super) fn again<T>(mut ask: impl FnMut() -> Result<T, MigrateError>) -> Result<T, MigrateError> {
    for _ in 1..TRIES {
        match ask() {
            Err(MigrateError::Client(ClientError::CutShort)) => wait::pause(LOOK),
            answer => return answer,
        }
    }
    ask()
}

/// A step that did not come about.
pub(super) fn step(profile: Option<&ProfileName>, what: &str, why: impl Into<String>) -> MigrateError {
    MigrateError::Step { profile: profile.cloned(), what: what.to_owned(), why: why.into() }
}

/// Writes a unit, where it does not say that already; whether it did not.
pub(super) fn write_unit(file: &Utf8PathBuf, text: &str) -> Result<bool, MigrateError> {
    let now = disk::read_bounded(file, service::unit::MAX);
    if now.is_ok_and(|bytes| bytes == text.as_bytes()) {
        return Ok(false);
    }
    if let Some(directory) = file.parent() {
        disk::make_dirs(directory, 0o755).map_err(MigrateError::io("make", directory))?;
    }
    disk::write_public(file, text.as_bytes()).map_err(MigrateError::io("write", file))?;
    Ok(true)
}

/// The instant `limit` from now.
pub(super) fn until(limit: Duration) -> Instant {
    clock::now() + limit
}

/// Starts a gateway in the background, as `hermes gateway start` does where there is no service.
pub(super) fn start_detached(job: &Job<'_>, profile: &ProfileName) -> Result<(), MigrateError> {
    let mut command = hermes_host::child::own();
    // It is to have what it would have if it were typed.
    command.envs(std::env::vars_os()).env(hermes_wire::env::HERMES_HOME, job.root.path());
    command.args(["-p", profile.as_str(), "gateway", "start"]);
    // Of its own, whoever serves all the others just now.
    command.args((!profile.is_default()).then_some("--force"));
    let what = format!("the start of the gateway of '{profile}'");
    let output = hermes_host::child::run(command, START)
        .map_err(|error| step(Some(profile), &what, error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it ended with an error");
    Err(step(Some(profile), &what, first.to_owned()))
}

/// Writes the unit of a gateway, which starts this program; one of this program that somebody changed by hand stays as it is. What another
/// one said is written down already.
pub(super) fn put(
    owner: &Owner,
    manager: Manager,
    user: Option<&str>,
    env: &Surroundings,
) -> Result<Service, MigrateError> {
    let account = match manager.scope() {
        // One that does not say whose it is, is root's.
        Scope::System => Some(facts::account(Some(user.unwrap_or("root")))?),
        Scope::User => None,
    };
    let user_home = account.as_ref().map(|account| account.home.clone()).or_else(|| env.user_home.clone());
    let env = &Surroundings { user_home, ..env.clone() };
    let facts = facts::gather(owner.clone(), manager, account, unit::times(owner, env), env)?;
    let known = service::installed(owner, env)?.into_iter().find(|service| service.manager == manager);
    let foreign = known.is_some_and(|service| service.unit.program != Program::Hermes);
    let plan = install::plan(&facts, foreign, env)?;
    let written = install::write(&plan, false, env)?;
    if let Some(kept) = written.kept {
        fs_err::remove_file(&kept).map_err(MigrateError::io("remove", &kept))?;
    }
    Ok(written.service)
}
