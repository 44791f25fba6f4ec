//! What can be seen of a profile without changing anything: the values of `profile list` and `show`.
//!
//! Nothing here fails: a broken file makes its field empty, or says so. Whether a gateway runs is asked of the gateway first;
//! the lock decides where nobody answers.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::MAX_FILE_LEN;
use hermes_gateway::client::Client;
use hermes_gateway::instance::{self, Liveness};
use hermes_host::{disk, homes};
use hermes_wire::{ProfileHome, ProfileName, RootHome};
use hermes_worker::REGISTRY;

use super::alias::{Alias, AliasDir};
use crate::home::Surroundings;

/// Largest `profile.yaml` or `distribution.yaml` that is read, in bytes.
const SMALL: usize = 256 * 1024;
/// One profile.
#[derive(Debug, Clone)]
pub(crate) struct Overview {
    pub(crate) name: ProfileName,
    pub(crate) home: Utf8PathBuf,
    pub(crate) model: Option<String>,
    pub(crate) provider: Option<String>,
    /// `config.yaml` is there and cannot be read.
    pub(crate) invalid_config: bool,
    /// A process serves it.
    pub(crate) running: bool,
    /// Its home says that it is parked.
    pub(crate) parked: bool,
    pub(crate) alias: Option<Alias>,
    pub(crate) distribution: Option<Distribution>,
    pub(crate) description: Option<String>,
    /// What people are shown in place of its name.
    pub(crate) display_name: Option<String>,
}

/// `distribution.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Distribution {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) source: Option<String>,
}

impl Distribution {
    /// `name@version`.
    pub(crate) fn label(&self) -> String {
        format!("{}@{}", self.name, self.version.as_deref().unwrap_or("?"))
    }
}

/// Who runs, asked once for all.
#[derive(Debug)]
pub(crate) struct Running {
    /// Names of served profiles, where a gateway answered.
    served: Option<Vec<String>>,
}

impl Running {
    /// Asks the gateway of `root`.
    pub(crate) fn ask(root: &RootHome, env: &Surroundings) -> Self {
        let answer = Client::connect(root.path(), &env.sockets).and_then(|client| client.status(None));
        let served = answer
            .ok()
            .map(|status| status.profiles.into_iter().filter(|p| p.pid.is_some()).map(|p| p.name).collect());
        Self { served }
    }

    /// Whether a process serves the profile: a worker, or a gateway of its own.
    pub(crate) fn is_running(&self, name: &ProfileName, home: &ProfileHome) -> bool {
        let served = self.served.iter().flatten().any(|served| served == name.as_str());
        served || (!name.is_default() || self.served.is_none()) && holds_lock(home)
    }

    /// The gateway of `root` has not said whom it serves and is there, or whether it is cannot be seen.
    pub(crate) fn is_unsure(&self, root: &RootHome) -> bool {
        self.served.is_none() && !matches!(instance::probe(root.path()), Liveness::Stopped)
    }
}

fn holds_lock(home: &ProfileHome) -> bool {
    matches!(instance::probe(home.path()), Liveness::Running { .. })
}

/// Looks at one profile.
pub(crate) fn look(root: &RootHome, name: &ProfileName, running: &Running, aliases: &[Alias]) -> Overview {
    let home = root.profile(name);
    let read = disk::read_bounded(&home.config(), MAX_FILE_LEN);
    let unreadable = read.as_ref().is_err_and(|e| e.kind() != std::io::ErrorKind::NotFound);
    let seen = read.map(|bytes| hermes_config::glance(&REGISTRY, &bytes)).unwrap_or_default();
    let alias = if name.is_default() { None } else { AliasDir::shown(aliases, name).cloned() };
    Overview {
        model: seen.model,
        provider: seen.provider,
        invalid_config: seen.invalid || unreadable,
        running: running.is_running(name, &home),
        parked: !name.is_default() && homes::is_parked(&home).unwrap_or(false),
        alias,
        distribution: distribution(home.path()),
        description: description(home.path()),
        display_name: super::describe::shown_as(home.path()),
        name: name.clone(),
        home: home.path().to_owned(),
    }
}

/// Looks at many, in their order, on all cores.
pub(crate) fn look_at_all(
    root: &RootHome,
    names: &[ProfileName],
    running: &Running,
    aliases: &[Alias],
) -> Vec<Overview> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if names.len() < 64 || cores == 1 {
        return names.iter().map(|name| look(root, name, running, aliases)).collect();
    }
    let part = names.len().div_ceil(cores);
    std::thread::scope(|scope| {
        let parts: Vec<_> = names
            .chunks(part)
            .map(|names| {
                let work =
                    move || names.iter().map(|name| look(root, name, running, aliases)).collect::<Vec<_>>();
                // Without a thread it is done here.
                std::thread::Builder::new().spawn_scoped(scope, work).map_err(|_| work)
            })
            .collect();
        let done = parts.into_iter().map(|part| match part {
            Ok(thread) => thread.join().unwrap_or_default(),
            Err(work) => work(),
        });
        done.flatten().collect()
    })
}

fn small_yaml(path: &Utf8Path, key: &[&str]) -> Option<String> {
    let bytes = disk::read_bounded(path, SMALL).ok()?;
    hermes_config::text_at(&bytes, key)
}

fn distribution(home: &Utf8Path) -> Option<Distribution> {
    let path = home.join("distribution.yaml");
    let bytes = disk::read_bounded(&path, SMALL).ok()?;
    let text = |key| hermes_config::text_at(&bytes, &[key]);
    Some(Distribution { name: text("name")?, version: text("version"), source: text("source") })
}

/// What the profile is for.
pub(crate) fn description(home: &Utf8Path) -> Option<String> {
    small_yaml(&home.join("profile.yaml"), &["description"])
}
