//! Reads one profile's two files into a [`ProfileConfig`], with every problem that they have.

use std::collections::BTreeMap;

use camino::Utf8Path;

use super::pins::{self, Pins};
use super::platform::{Registry, Section};
use super::platforms::{Blocks, Listening, State};
use super::pool::{Pools, Strategy};
use super::problem::{Place, Problems};
use super::reader::{At, Reader};
use super::secret::Env;
use super::tokens::TokenFiles;
use super::types::{ConfiguredPlatform, Input, Loaded, ProfileConfig};
use super::{able, dotenv, gateway, keys, legacy, platforms, routing, sections, unsupported, upkeep, yaml};
use hermes_wire::latest::{BoundListener, Problem, Role, Severity};
use hermes_wire::{ProfileHome, ProfileName};

/// Reads one profile's files. See [`Input`] and [`Loaded`].
pub fn load(input: Input<'_>) -> Loaded {
    load_pinned(input, None)
}

/// The same, with what an administrator pinned laid over them.
pub fn load_pinned(input: Input<'_>, pins: Option<Pins<'_>>) -> Loaded {
    load_layers(input, pins, &Beside::default(), &Env::default())
}

/// What lies beside the two files.
#[derive(Debug, Default)]
pub(super) struct Beside<'a> {
    /// An older `gateway.json`, below everything.
    pub(super) older: Option<&'a [u8]>,
    /// `auth.json`.
    pub(super) auth: Option<&'a [u8]>,
    /// The platforms' files of tokens.
    pub(super) tokens: TokenFiles<&'a [u8]>,
}

/// The same, with what lies beside them, among the variables that `.env` may refer to.
pub(super) fn load_layers(
    input: Input<'_>,
    pins: Option<Pins<'_>>,
    beside: &Beside<'_>,
    surroundings: &Env,
) -> Loaded {
    let files = (input.home.config(), input.home.env_file());
    let (mut reader, root) = open(
        input.registry,
        input.profile,
        input.home,
        (&files.0, input.yaml.unwrap_or_default()),
        (&files.1, input.env.unwrap_or_default()),
        pins,
        beside.older,
        surroundings,
    );
    let Some(root) = root else { return Loaded { config: None, problems: reader.problems.finish() } };
    let mut config = ProfileConfig::new(input.profile.clone());
    if input.role == Role::Secondary && gateway::stands_alone(&mut reader, &root) {
        // It plays no part here: what else its files say is a matter of its own gateway.
        let broken = reader.problems.any(Severity::Profile);
        return Loaded { config: (!broken).then_some(config), problems: reader.problems.finish() };
    }
    sections::check_root(&mut reader, &root);
    keys::check(&mut reader, &root);
    sections::read(&mut reader, &root, &mut config);
    config.upkeep = upkeep::read(&mut reader, &root);
    pools(&mut reader, &root, beside.auth, &mut config);
    (config.platforms, config.claims) = platforms::survey(&mut reader, &root, input.role, &beside.tokens);
    config.access = platforms::access::read(&mut reader, &root);
    config.chats = platforms::chats::read(&mut reader, &root);
    match input.role {
        Role::Primary => {
            let listen = gateway::listen(&mut reader, &root);
            let listening = Listening::Own(listen);
            config.settings = platforms::settings(&mut reader, &root, &config.platforms, &listening);
            config.admin_token = gateway::admin_token(&mut reader, &root);
            let settings = gateway::settings(&mut reader, &root, input.multiplex, &config);
            config.profile_routes = routing::read(&mut reader, &root, settings.multiplex);
            config.gateway = Some(settings);
        }
        Role::Secondary => {
            gateway::warn_flag(&mut reader, &root);
            gateway::warn_primary_only(&mut reader, &root);
            routing::warn_ignored(&mut reader, &root);
            serve_through(&mut reader, &root, input.listeners, &mut config.platforms);
            let listening = Listening::Shared(input.listeners);
            config.settings = platforms::settings(&mut reader, &root, &config.platforms, &listening);
        }
    }
    config.env = std::mem::take(&mut reader.dotenv.env);
    let broken = reader.problems.any(Severity::Profile);
    if !broken {
        able::judge(&mut reader, &root, &config);
        unsupported::of_keys(&mut reader, &root, &config);
    }
    Loaded { config: (!broken).then_some(config), problems: reader.problems.finish() }
}

/// The keys of `auth.json`. A file that cannot be understood has none, and that is said.
fn pools(reader: &mut Reader<'_>, root: &At, auth: Option<&[u8]>, config: &mut ProfileConfig) {
    match auth.map(Pools::parse) {
        Some(Ok(pools)) => config.pools = pools,
        Some(Err(why)) => {
            let place = Place { file: reader.home.auth_json().into_string(), ..Place::default() };
            let message = format!("`auth.json`: {why}: its keys are not used");
            reader.warn("auth_json", place, message, "Correct it, or remove it.");
        }
        None => {}
    }
    let strategies = root.key("credential_pool_strategies");
    if reader.expect_map(&strategies) {
        for (name, at) in strategies.entries() {
            if let Some(strategy) = reader.choice(&at, &Strategy::WORDS).filter(|s| *s != Strategy::default())
            {
                config.pools.strategies.insert(name.to_lowercase(), strategy);
            }
        }
    }
}

/// What `read` finds in a platform's section of the default profile's files, which are another profile's, and what it has to say about
/// it. Nothing is found in a file that cannot be read as what it should be.
///
/// Bytes are those of `<root>/config.yaml` and `<root>/.env`; the paths are for problems. The profile that asks is the one that
/// the section names as its own.
pub fn of_section<T>(
    registry: &'static Registry,
    platform: &str,
    profile: &ProfileName,
    yaml: (&Utf8Path, &[u8]),
    env: (&Utf8Path, &[u8]),
    read: impl FnOnce(&mut dyn Section) -> T,
) -> (Option<T>, Vec<Problem>) {
    let home = ProfileHome::new(yaml.0.parent().unwrap_or(Utf8Path::new("/")));
    let (mut reader, root) = open(registry, profile, &home, yaml, env, None, None, &Env::default());
    let (Some(root), Some(platform)) = (root, registry.find(platform)) else {
        return (None, reader.problems.finish());
    };
    // The file's other flaws are its own profile's.
    reader.problems = Problems::default();
    let found = platforms::section(&mut reader, &root, platform, read);
    (Some(found), reader.problems.finish())
}

/// Parses both files. No document: what was read cannot be used.
#[expect(clippy::too_many_arguments, reason = "each is a layer of its own")]
fn open<'a>(
    registry: &'static Registry,
    profile: &'a ProfileName,
    home: &'a ProfileHome,
    yaml: (&Utf8Path, &[u8]),
    env: (&Utf8Path, &[u8]),
    pins: Option<Pins<'_>>,
    older: Option<&[u8]>,
    surroundings: &Env,
) -> (Reader<'a>, Option<At>) {
    let (yaml_file, env_file) = (yaml.0.to_string(), env.0.to_string());
    let mut problems = Problems::default();
    let mut dotenv = dotenv::judge_in(registry, env.1, surroundings);
    for flaw in std::mem::take(&mut dotenv.flaws) {
        problems.add_flaw(&env_file, flaw);
    }
    let (node, flaws) = yaml::parse(yaml.1);
    for flaw in flaws {
        let severity = if flaw.fatal { Severity::Profile } else { Severity::Warning };
        let (line, column) = (Some(flaw.line), Some(flaw.column));
        let fix = Some(format!("Correct line {} of {yaml_file}.", flaw.line));
        let place = Place { file: yaml_file.clone(), line, column, key: None };
        problems.add(severity, flaw.code, place, flaw.message, fix);
    }
    let (node, pins) = match pins {
        Some(pins) => pins::apply(pins, node, &mut dotenv, surroundings, &mut problems, registry),
        None => (node, pins::Files::default()),
    };
    let node = match older {
        Some(older) => legacy::lay_under(node, older, &home.gateway_json(), &mut problems),
        None => node,
    };
    let usable = !problems.any(Severity::Profile);
    let tokens = BTreeMap::new();
    let reader = Reader { registry, profile, home, yaml_file, env_file, dotenv, problems, pins, tokens };
    (reader, usable.then(|| At::root(node)))
}

/// What the default profile's listeners serve, a secondary serves below its prefix, unless it says no; by them, and not by its own word.
fn serve_through(
    reader: &mut Reader<'_>,
    root: &At,
    listeners: &[BoundListener],
    platforms: &mut Vec<ConfiguredPlatform>,
) {
    let listened_for = reader.registry.own().filter(|own| own.listener.is_some());
    for own in listened_for {
        platforms.retain(|platform| platform.name != own.name);
        let off = matches!(reader.state(&Blocks::new(root, own.name), own), State::Off);
        if !off && platforms::serving(listeners, own.name).is_some() {
            let (name, source) = (own.name.to_owned(), "the gateway's listener".to_owned());
            platforms.push(ConfiguredPlatform { name, supported: true, source, home: None, notices: true });
        }
    }
}
