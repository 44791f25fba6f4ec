//! Reads this profile's files and turns them into settings, claims and problems.
//!
//! Everything is read once, at start, as values; nothing is written to the process environment. What cannot be read is a
//! problem that names the file, never a default. The default profile's file is looked at by a secondary for one question only:
//! does it hold webhook routes that belong to this profile? If it may, a short-lived child answers; see [`routes`].

mod routes;

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use hermes_config::judge::{Case, Files, Found, judge};
use hermes_config::tokens::{TokenFile, TokenFiles};
use hermes_config::unsupported::Leftovers;
use hermes_config::{Loaded, MAX_FILE_LEN, ProfileConfig, RawClaim, Secret};
use hermes_host::{cause, fault, inherited};
use hermes_wire::admin;
use hermes_wire::latest::{Autostart, Claim, GatewaySettings, HandOver, Prepare, Report, Role, Upkeep};
use hermes_wire::{ProfileHome, ProfileName, RootHome};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

pub(crate) use routes::print as print_routes;

use crate::inbox::unfinished;
use crate::platform::{self, REGISTRY, webhook};
use crate::process::Environment;

/// What this profile's files say.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Settings; `None` when the profile cannot be served.
    pub(crate) config: Option<ProfileConfig>,
    /// What the supervisor is told.
    pub(crate) report: Report,
    /// What the machine did not let be read, so that all this says nothing.
    pub(crate) hindrance: Option<String>,
    /// What was read, until it is known whether all is well with it.
    pub(crate) read: Read,
}

/// The bytes of the profile's two files; of one that is not there none.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) yaml: Zeroizing<Vec<u8>>,
    pub(crate) env: Zeroizing<Vec<u8>>,
}

/// What the machine did not let be done.
#[derive(Debug, Default)]
struct Hindrance(RefCell<Option<String>>);

impl Hindrance {
    /// Takes note of an error, if it is one of the machine.
    fn note(&self, doing: &str, path: &Utf8Path, error: &io::Error) {
        if fault::is_of_machine(error) {
            let innermost =
                cause::causes(error).last().map_or_else(|| error.to_string(), ToString::to_string);
            self.0.borrow_mut().get_or_insert(format!("cannot {doing} `{path}`: {innermost}"));
        }
    }
}

/// What a supervisor would have said, where there is none: nobody is beside this profile and nothing listens for it.
pub(crate) fn unsupervised(role: Role) -> Prepare {
    Prepare {
        claim_key: [0; 32],
        generation: 0,
        role,
        multiplex: None,
        listeners: Vec::new(),
        supervisor_pid: 0,
        restarts: 0,
        heartbeat_ms: 0,
        upkeep: Upkeep::default(),
        stamp: String::new(),
    }
}

/// Reads everything.
pub(crate) async fn load(
    name: &ProfileName,
    home: &ProfileHome,
    prepare: &Prepare,
    environment: &Environment,
) -> Profile {
    let case = Case {
        registry: &REGISTRY,
        profile: name,
        home,
        role: prepare.role,
        multiplex: prepare.multiplex,
        listeners: &prepare.listeners,
    };
    let hindrance = Hindrance::default();
    let files = look(name, home, environment, &hindrance);
    let Loaded { mut config, mut problems } = judge(case, &files);
    let read = Read { yaml: taken(files.yaml), env: taken(files.env) };
    let settings = config.as_mut().map(|config| &mut config.settings);
    if let Some(settings) = settings
        && let Some(webhook) = settings.of::<webhook::settings::Settings>(webhook::NAME)
        && prepare.role == Role::Secondary
    {
        let mut webhook = webhook.clone();
        let theirs = routes::of_root(name, home, environment, &mut problems, &hindrance).await;
        for (route, of_route) in theirs {
            if webhook.routes.iter().any(|(own, _)| *own == route) {
                problems.push(routes::shadowed(name, home, &route));
            } else {
                webhook.routes.push((route, of_route));
            }
        }
        settings.set(webhook::NAME, Arc::new(webhook));
    }
    problems.sort_by_key(|p| std::cmp::Reverse(p.severity));
    let token = config.as_ref().and_then(|config| config.admin_token.as_ref());
    let admin_token = token.map(|token| admin::hash(&prepare.claim_key, token.expose().as_bytes()));
    let report = config.as_ref().map_or_else(Report::default, |config| Report {
        claims: claims(&prepare.claim_key, &config.claims),
        gateway: config.gateway.clone().map(|settings| GatewaySettings { admin_token, ..settings }),
        hand_over: hand_over(config),
        exclusive: platform::exclusive(config),
        awake: awake(config, home, prepare),
        upkeep: config.upkeep.over(&prepare.upkeep),
        families: if config.gateway.is_some() { platform::families() } else { Vec::new() },
        ..Report::default()
    });
    let mut report = Report { problems, ..report };
    report.bound();
    Profile { config, report, hindrance: hindrance.0.into_inner(), read }
}

fn taken(found: Found<Zeroizing<Vec<u8>>>) -> Zeroizing<Vec<u8>> {
    match found {
        Found::Bytes(bytes) => bytes,
        Found::Absent | Found::Unreadable { .. } => Zeroizing::default(),
    }
}

/// Why a profile that runs on demand cannot sleep: what only a process can hold, or work that waits for one.
fn awake(config: &ProfileConfig, home: &ProfileHome, prepare: &Prepare) -> Option<String> {
    let on_demand = config.upkeep.over(&prepare.upkeep).autostart == Autostart::OnDemand;
    if prepare.role == Role::Primary || !on_demand {
        return None;
    }
    let held = platform::connections(config);
    if held.is_empty() {
        unfinished::of_home(home)
    } else {
        Some(format!("it holds a connection: {}", held.join(", ")))
    }
}

/// Where the profile's rules lead. A name that is no platform's applies to nothing.
fn hand_over(config: &ProfileConfig) -> Vec<HandOver> {
    let ways = config.profile_routes.hand_overs().into_iter();
    let ways = ways.filter(|(platform, _)| hermes_wire::road::is_platform(platform));
    ways.map(|(platform, profile)| HandOver { platform: platform.to_owned(), profile: profile.clone() })
        .collect()
}

/// Keyed hashes of exclusive identities: equal in two workers exactly when the identities are, useless without the key.
fn claims(key: &[u8; 32], raw: &[RawClaim]) -> Vec<Claim> {
    raw.iter()
        .map(|claim| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
            mac.update(claim.scope.as_bytes());
            mac.update(&[0]);
            mac.update(claim.identity.expose().as_bytes());
            Claim {
                platform: claim.platform.clone(),
                identity: mac.finalize().into_bytes().into(),
                source: claim.source.clone(),
            }
        })
        .collect()
}

/// What there is to be judged.
fn look(
    name: &ProfileName,
    home: &ProfileHome,
    environment: &Environment,
    hindrance: &Hindrance,
) -> Files<Zeroizing<Vec<u8>>> {
    let read = |path: Utf8PathBuf| {
        let read = read_bounded(&path).inspect_err(|error| hindrance.note("read", &path, error));
        Found::of(read, &path)
    };
    let pinned_dir = environment.managed_dir.clone();
    Files {
        yaml: read(home.config()),
        env: read(home.env_file()),
        env_mode: fs_err::metadata(home.env_file()).ok().map(|found| found.mode()),
        home_fault: home_fault(home, name.is_default() && environment.examined, hindrance),
        logs_fault: fault::of_logs(home.logs().as_std_path()),
        pinned_yaml: read(pinned_dir.join("config.yaml")),
        pinned_env: read(pinned_dir.join(".env")),
        pinned_dir,
        tokens: token_files(home),
        leftovers: leftovers(name, home),
        certificates: Some(hermes_host::certificates::check),
        program: Some(hermes_host::child::check),
        profile: Some(hermes_host::homes::check),
        others: name.is_default() && hermes_host::homes::has_named(&RootHome::new(home.path())),
        surroundings: environment
            .base
            .iter()
            .map(|(name, value)| (name.clone(), Secret::new(value.as_str())))
            .collect(),
    }
}

/// The files of tokens of all platforms.
fn token_files(home: &ProfileHome) -> TokenFiles<Zeroizing<Vec<u8>>> {
    let look = |name: &'static str| {
        let path = home.path().join(name);
        let mode = fs_err::metadata(&path).ok().map(|found| found.mode());
        (name, TokenFile { found: Found::of(read_bounded(&path), &path), mode })
    };
    REGISTRY.token_files().map(look).collect()
}

/// What a home of the Python program may hold beside its two files.
fn leftovers(name: &ProfileName, home: &ProfileHome) -> Leftovers<Zeroizing<Vec<u8>>> {
    let own = || inherited::boards(&home.kanban_db(), &home.kanban().join("boards"));
    let boards = if name.is_default() { own() } else { Vec::new() };
    let read = |path: Utf8PathBuf| Found::of(read_bounded(&path), &path);
    let (gateway, cron) = (read(home.gateway_json()), read(home.cron_jobs()));
    let auth = read(home.auth_json());
    Leftovers { gateway, auth, cron, hooks: inherited::names(&home.hooks()), boards }
}

/// Reads without ever growing the buffer, so that no freed copy of a secret stays behind, and without waiting on a FIFO.
fn read_bounded(path: &Utf8Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = fs_err::OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC)
        .open(path);
    let file = file?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(MAX_FILE_LEN).saturating_add(1);
    let mut bytes = Zeroizing::new(vec![0; len]);
    let mut filled = 0;
    let mut file = file.into_file();
    while filled < len {
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Why the home cannot hold a database, logs and status. `to_be_made`: a start makes one that is not there.
fn home_fault(home: &ProfileHome, to_be_made: bool, hindrance: &Hindrance) -> Option<String> {
    match nix::unistd::access(home.path().as_std_path(), nix::unistd::AccessFlags::W_OK) {
        Ok(()) => None,
        Err(nix::errno::Errno::ENOENT) if to_be_made => None,
        Err(error) => {
            hindrance.note("write in", home.path(), &error.into());
            Some(error.desc().to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use hermes_config::Secret;

    use super::*;

    fn claim(scope: &str, identity: &str) -> RawClaim {
        RawClaim {
            platform: "p".into(),
            scope: scope.into(),
            identity: Secret::new(identity),
            source: "s".into(),
        }
    }

    #[test]
    fn only_a_start_makes_a_home() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let hindrance = Hindrance::default();
        assert_eq!(home_fault(&home, false, &hindrance), None);
        let gone = ProfileHome::new(home.path().join("gone"));
        assert!(home_fault(&gone, false, &hindrance).is_some());
        assert_eq!(home_fault(&gone, true, &hindrance), None);
        assert_eq!(hindrance.0.into_inner(), None, "whoever removed it was not the machine");
    }

    #[test]
    fn claims_are_equal_exactly_for_equal_identities_under_one_key() {
        let of =
            |key: u8, scope: &str, identity: &str| claims(&[key; 32], &[claim(scope, identity)])[0].identity;
        assert_eq!(of(1, "a", "token"), of(1, "a", "token"));
        assert_ne!(of(1, "a", "token"), of(2, "a", "token"));
        assert_ne!(of(1, "a", "token"), of(1, "b", "token"));
        assert_ne!(of(1, "a", "b\0c"), of(1, "a\0b", "c2"));
    }

    #[test]
    fn what_cannot_be_read_is_not_absent() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let read = |name: &str| Found::of(read_bounded(&dir.join(name)), &dir.join(name));
        assert!(matches!(read("none"), Found::Absent));
        fs_err::create_dir(dir.join("config.yaml")).unwrap();
        fs_err::os::unix::fs::symlink("/nowhere/at/all", dir.join(".env")).unwrap();
        for name in ["config.yaml", ".env"] {
            assert!(matches!(read(name), Found::Unreadable { .. }), "{name}");
        }
    }
}
