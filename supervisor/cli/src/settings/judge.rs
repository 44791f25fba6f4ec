//! What a start would say about a profile's two files, without starting anything: looked at here, judged where a worker's are.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::judge::{Case, Files, Found, judge};
use hermes_config::tokens::{TokenFile, TokenFiles};
use hermes_config::unsupported::Leftovers;
use hermes_config::{Env, Loaded, MAX_FILE_LEN};
use hermes_host::disk;
use hermes_host::inherited;
use hermes_wire::latest::{BoundListener, GatewaySettings, ListenerSetting, Problem, Role};
use hermes_wire::{ProfileHome, ProfileName, RootHome};
use hermes_worker::REGISTRY;

use crate::home::Surroundings;

/// The part a profile plays, below what an administrator pinned: the gateway's own, with listeners, or, with multiplexing, one
/// beside the default profile.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    role: Role,
    multiplex: Option<bool>,
    listeners: Vec<BoundListener>,
    pinned_dir: Utf8PathBuf,
    surroundings: Env,
}

impl Part {
    /// Whether it is the gateway's own, with listeners.
    pub(crate) fn is_primary(&self) -> bool {
        self.role == Role::Primary
    }

    /// The part of the default profile, and of one that runs alone.
    pub(crate) fn primary(env: &Surroundings) -> Self {
        Self {
            role: Role::Primary,
            multiplex: env.multiplex,
            listeners: Vec::new(),
            pinned_dir: env.managed_dir.clone(),
            surroundings: env.passed.clone(),
        }
    }

    /// The part of another profile, where the default profile has these settings; alone without multiplexing.
    pub(crate) fn beside(settings: Option<&GatewaySettings>, env: &Surroundings) -> Self {
        let alone = Self::primary(env);
        match settings.filter(|settings| settings.multiplex) {
            Some(settings) => Self { role: Role::Secondary, listeners: listeners(settings), ..alone },
            None => alone,
        }
    }

    /// As the default profile's files have it now.
    pub(crate) fn of(root: &RootHome, profile: &ProfileName, env: &Surroundings) -> Self {
        if profile.is_default() {
            Self::primary(env)
        } else {
            Self::beside(settings(root, env).as_ref(), env)
        }
    }

    /// What a start would make of the files as they are.
    pub(crate) fn look(&self, profile: &ProfileName, home: &ProfileHome) -> Loaded {
        use std::os::unix::fs::MetadataExt as _;
        let mode = fs_err::metadata(home.env_file()).ok().map(|found| found.mode());
        let fault = match nix::unistd::access(home.path().as_std_path(), nix::unistd::AccessFlags::W_OK) {
            Ok(()) => None,
            // A start makes it.
            Err(nix::errno::Errno::ENOENT) if profile.is_default() => None,
            Err(error) => Some(error.desc().to_owned()),
        };
        let files = Files {
            yaml: read(&home.config()),
            env: read(&home.env_file()),
            env_mode: mode,
            home_fault: fault,
            logs_fault: hermes_host::fault::of_logs(home.logs().as_std_path()),
            tokens: token_files(home),
            leftovers: leftovers(profile, home),
            others: others(profile, home),
            ..self.pinned()
        };
        self.judge(profile, home, &files)
    }

    /// What a start would make of these texts.
    pub(crate) fn load(&self, profile: &ProfileName, home: &ProfileHome, yaml: &str, env: &str) -> Loaded {
        let bytes = |text: &str| Found::Bytes(text.as_bytes().to_vec());
        // Read below these texts; nothing else in the home is a matter of them.
        let (gateway, auth) = (read(&home.gateway_json()), read(&home.auth_json()));
        let leftovers = Leftovers { gateway, auth, ..Leftovers::default() };
        let (tokens, others) = (token_files(home), others(profile, home));
        self.judge(
            profile,
            home,
            &Files { yaml: bytes(yaml), env: bytes(env), tokens, leftovers, others, ..self.pinned() },
        )
    }

    fn pinned(&self) -> Files<Vec<u8>> {
        Files {
            pinned_yaml: read(&self.pinned_dir.join("config.yaml")),
            pinned_env: read(&self.pinned_dir.join(".env")),
            pinned_dir: self.pinned_dir.clone(),
            certificates: Some(hermes_host::certificates::check),
            program: Some(hermes_host::child::check),
            profile: Some(hermes_host::homes::check),
            surroundings: self.surroundings.clone(),
            ..Files::default()
        }
    }

    fn judge(&self, profile: &ProfileName, home: &ProfileHome, files: &Files<Vec<u8>>) -> Loaded {
        let of = |role, listeners| {
            judge(
                Case { registry: &REGISTRY, profile, home, role, multiplex: self.multiplex, listeners },
                files,
            )
        };
        let loaded = of(self.role, self.listeners.as_slice());
        let Some(said) = loaded.problems.iter().find(|problem| problem.is_standalone()) else {
            return loaded;
        };
        // Its own gateway reads the rest.
        let mut alone = of(Role::Primary, &[]);
        alone.problems.insert(0, said.clone());
        alone
    }
}

fn others(profile: &ProfileName, home: &ProfileHome) -> bool {
    profile.is_default() && hermes_host::homes::has_named(&RootHome::new(home.path()))
}

fn read(path: &Utf8Path) -> Found<Vec<u8>> {
    Found::of(disk::read_bounded(path, MAX_FILE_LEN + 1), path)
}

/// The files of tokens of all platforms.
fn token_files(home: &ProfileHome) -> TokenFiles<Vec<u8>> {
    use std::os::unix::fs::MetadataExt as _;
    let look = |name: &'static str| {
        let path = home.path().join(name);
        let mode = fs_err::metadata(&path).ok().map(|found| found.mode());
        (name, TokenFile { found: read(&path), mode })
    };
    REGISTRY.token_files().map(look).collect()
}

/// What a home of the Python program may hold beside its two files.
fn leftovers(name: &ProfileName, home: &ProfileHome) -> Leftovers<Vec<u8>> {
    let own = || inherited::boards(&home.kanban_db(), &home.kanban().join("boards"));
    let boards = if name.is_default() { own() } else { Vec::new() };
    let (gateway, cron) = (read(&home.gateway_json()), read(&home.cron_jobs()));
    let auth = read(&home.auth_json());
    Leftovers { gateway, auth, cron, hooks: inherited::names(&home.hooks()), boards }
}

/// The settings of the default profile's files; `None` where they cannot be used.
pub(crate) fn settings(root: &RootHome, env: &Surroundings) -> Option<GatewaySettings> {
    let name = ProfileName::default_profile();
    Part::primary(env).look(&name, &root.profile(&name)).config?.gateway
}

/// Whether the files of a profile want no part in the gateway of all profiles.
pub(crate) fn stands_alone(root: &RootHome, profile: &ProfileName, env: &Surroundings) -> bool {
    let beside = Part { role: Role::Secondary, ..Part::primary(env) };
    !profile.is_default()
        && beside.look(profile, &root.profile(profile)).problems.iter().any(Problem::is_standalone)
}

/// The listeners a gateway with these settings would have.
fn listeners(settings: &GatewaySettings) -> Vec<BoundListener> {
    let bound = |setting: &ListenerSetting| BoundListener {
        address: format!("{}:{}", setting.host.as_deref().unwrap_or("0.0.0.0"), setting.port),
        host: setting.host.clone(),
        platforms: vec![setting.platform.clone()],
    };
    settings.listeners.iter().map(bound).collect()
}
