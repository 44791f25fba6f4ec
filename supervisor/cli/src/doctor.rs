//! What is wrong with an installation, in one look: every check runs, none stops the others, and nothing is changed.
//!
//! # Theory of operation
//!
//! `examine` collects [`Finding`]s from the checks, each of which looks at one thing and touches nothing: not the files, not the
//! databases (opened read-only), not the gateway (asked for its status as anybody may). A finding says what, where, and what to
//! do; where the remedy cannot lose anything it carries a [`Repair`], which only `--fix` carries out, after everything was
//! looked at. Configurations are read through the same loader as a worker's, so this sees what a start would see.
//!
//! Credentials are compared by hash; a finding names the two profiles and the keys, never a value.

mod duplicates;
mod fence;
mod gateway;
mod leases;
mod leftovers;
mod logins;
mod machine;
mod newer;
pub(crate) mod online;
mod profiles;
mod render;
mod repair;
pub(crate) mod services;

use std::time::Duration;

use camino::Utf8PathBuf;
use hermes_gateway::watch;
use hermes_host::child;
use hermes_wire::contract::gateway_status::GatewayStatus;
use hermes_wire::contract::platform_trials::Trials;
use hermes_wire::{ProfileName, RootHome};

use crate::home::{Selection, Surroundings};
use crate::profile::alias::{Alias, AliasDir};
use crate::settings::Draft;

pub(crate) use render::{json, text};
pub(crate) use repair::apply;

/// Time that a helper process has; it gives each of its few steps less.
const PATIENCE: Duration = Duration::from_secs(60);

/// How bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Grade {
    /// As it should be.
    Good,
    /// Works, and somebody should know.
    Warning,
    /// Does not work, or is not safe.
    Failure,
}

/// Which part of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// Disk, limits, directories of the system.
    Machine,
    /// The gateway that runs, or what one left behind.
    Gateway,
    /// The profiles.
    Profiles,
    /// Units of the service manager.
    Services,
}

/// One thing that was looked at.
#[derive(Debug)]
pub(crate) struct Finding {
    pub(crate) section: Section,
    pub(crate) grade: Grade,
    /// Stable, for scripts.
    pub(crate) code: &'static str,
    pub(crate) profile: Option<ProfileName>,
    pub(crate) message: String,
    /// File, with line and key where known.
    pub(crate) place: Option<String>,
    /// What to do.
    pub(crate) next: Option<String>,
    pub(crate) repair: Option<Repair>,
    /// Whether `--fix` repaired it, or why not.
    pub(crate) repaired: Option<Result<(), String>>,
}

/// A remedy that loses nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Repair {
    /// Set the permissions of a file or directory of ours.
    Mode(Utf8PathBuf, u32),
    /// Remove a file that only a process that is gone could use.
    Remove(Utf8PathBuf),
    /// Write the placeholder `.env`.
    SeedEnv(Utf8PathBuf),
    /// Remove hidden directories of makers that died.
    Sweep(Utf8PathBuf),
}

impl Finding {
    fn new(section: Section, grade: Grade, code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            section,
            grade,
            code,
            profile: None,
            message,
            place: None,
            next: None,
            repair: None,
            repaired: None,
        }
    }

    fn of(mut self, profile: &ProfileName) -> Self {
        self.profile = Some(profile.clone());
        self
    }

    fn at(mut self, place: impl std::fmt::Display) -> Self {
        self.place = Some(place.to_string());
        self
    }

    fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    fn repair(mut self, repair: Repair) -> Self {
        self.repair = Some(repair);
        self
    }

    /// Whether it still stands: a repaired failure does not.
    pub(crate) fn stands(&self) -> bool {
        self.grade != Grade::Good && !matches!(self.repaired, Some(Ok(())))
    }
}

/// What the checks share; read once.
struct Patient<'a> {
    root: RootHome,
    env: &'a Surroundings,
    /// The profiles to look at, `default` first.
    profiles: Vec<ProfileName>,
    /// Only one profile was asked for: what concerns all is left out.
    only: bool,
    homes: watch::Homes,
    /// Commands that stand for profiles of this root home.
    aliases: Vec<Alias>,
    /// Answered by the gateway, or the reason why nobody answers.
    status: Result<GatewayStatus, hermes_gateway::client::ClientError>,
}

impl Patient<'_> {
    fn gateway_runs(&self) -> bool {
        self.status.is_ok()
    }

    /// What a helper process of a profile answers, which reads the profile's files as its worker would: its keys are in no other process.
    /// `flag` is the worker's, for what is asked.
    fn ask<T: serde::de::DeserializeOwned>(&self, name: &ProfileName, flag: &str) -> Result<T, String> {
        helper(&self.root, self.env, name, &[flag])
    }

    /// The same of the services of its platforms.
    fn ask_platforms(&self, name: &ProfileName) -> Result<Trials, String> {
        platforms(&self.root, self.env, name, (None, self.status.as_ref().ok()))
    }
}

fn helper<T: serde::de::DeserializeOwned>(
    root: &RootHome,
    env: &Surroundings,
    name: &ProfileName,
    flags: &[&str],
) -> Result<T, String> {
    let mut command = child::own();
    command
        .args(["worker", "-p", name.as_str()])
        .args(flags)
        .env(hermes_wire::env::HERMES_HOME, root.path())
        .env(hermes_wire::env::MANAGED_DIR, &env.managed_dir);
    let output = child::run(command, PATIENCE).map_err(|e| e.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let said = String::from_utf8_lossy(&output.stderr);
        said.lines().next().unwrap_or("it gave no answer").to_owned()
    })
}

/// What the services of a profile's platforms say, or of the one of this name. Asked by a helper process, as above.
pub(crate) fn ask_platforms(
    selection: &Selection,
    env: &Surroundings,
    only: Option<&str>,
) -> Result<Trials, String> {
    let root = &selection.root;
    let client = hermes_gateway::client::Client::connect(root.path(), &env.sockets);
    let status = client.and_then(|client| client.status(None)).ok();
    platforms(root, env, &selection.profile, (only, status.as_ref()))
}

fn platforms(
    root: &RootHome,
    env: &Surroundings,
    name: &ProfileName,
    (only, status): (Option<&str>, Option<&GatewayStatus>),
) -> Result<Trials, String> {
    let asked = format!("--ask-platforms={}", only.unwrap_or_default());
    let known = webhooks(root, env, name, status).map(|is_open| format!("--webhooks={is_open}"));
    let flags: Vec<&str> = std::iter::once(asked.as_str()).chain(known.as_deref()).collect();
    helper(root, env, name, &flags)
}

/// Whether services can call what serves a profile: by the gateway that runs, else by the files that would open a port. A helper reads the
/// files of its profile alone, and cannot tell.
fn webhooks(
    root: &RootHome,
    env: &Surroundings,
    name: &ProfileName,
    status: Option<&GatewayStatus>,
) -> Option<bool> {
    const PLATFORM: &str = "webhook";
    if let Some(status) = status.filter(|status| status.profiles.iter().any(|one| one.name == name.as_str()))
    {
        let mut bound = status.gateway.listeners.iter().flat_map(|one| &one.platforms);
        return Some(bound.any(|platform| platform == PLATFORM));
    }
    let own = Draft::open(root, name, env).ok()?;
    let opens = |draft: Draft| {
        let listeners = draft.config()?.gateway?.listeners;
        Some(listeners.iter().any(|one| one.platform == PLATFORM))
    };
    if own.has_listeners() {
        opens(own)
    } else {
        opens(Draft::open(root, &ProfileName::default_profile(), env).ok()?)
    }
}

/// Looks at everything, and with `online` asks the providers and the platforms' services; with a named profile in `selection`, at that profile and at what the gateway needs.
pub(crate) fn examine(selection: &Selection, env: &Surroundings, online: bool) -> Vec<Finding> {
    use crate::home::Chosen;
    let root = selection.root.clone();
    let homes = watch::scan(&root);
    let only = matches!(selection.chosen, Chosen::Flag | Chosen::Home);
    let profiles =
        if only { vec![selection.profile.clone()] } else { homes.names().cloned().collect::<Vec<_>>() };
    let status = hermes_gateway::client::Client::connect(root.path(), &env.sockets)
        .and_then(|client| client.status(None));
    // What `hermes NAME` means is of no interest to aliases that are there already.
    let aliases = AliasDir::of(env, Vec::new()).map(|dir| dir.all()).unwrap_or_default();
    let patient = Patient { root, env, profiles, only, homes, aliases, status };
    let mut findings = machine::check(&patient);
    findings.extend(gateway::check(&patient));
    let (of_profiles, loaded) = profiles::check(&patient, selection);
    findings.extend(of_profiles);
    findings.extend(newer::check(&patient));
    findings.extend(fence::check(&patient));
    findings.extend(logins::check(&patient, &loaded));
    if online {
        findings.extend(online::check(&patient));
    }
    findings.extend(duplicates::check(&loaded));
    findings.extend(gateway::premises(&patient, &loaded));
    findings.extend(leftovers::check(&patient, selection));
    if !patient.only {
        findings.extend(services::check(&patient));
    }
    // Stable: within a section and a profile, checks stay in their order.
    findings.sort_by_key(|f| f.section);
    findings
}
