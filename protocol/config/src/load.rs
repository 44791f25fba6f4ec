//! Reads one profile's two files into a [`ProfileConfig`], with every problem that they have.

use camino::Utf8Path;

use super::pins::{self, Pins};
use super::platform::Registry;
use super::platforms::{Blocks, State};
use super::problem::{Place, Problems};
use super::reader::{At, Reader};
use super::secret::Env;
use super::types::{ConfiguredPlatform, Input, Loaded, ProfileConfig, Route};
use super::{
    able, api_server, dotenv, gateway, keys, legacy, platforms, routing, sections, unsupported, webhook, yaml,
};
use hermes_wire::latest::{BoundListener, Problem, Role, Severity};
use hermes_wire::{ProfileHome, ProfileName};

/// Reads one profile's files. See [`Input`] and [`Loaded`].
pub fn load(input: Input<'_>) -> Loaded {
    load_pinned(input, None)
}

/// The same, with what an administrator pinned laid over them.
pub fn load_pinned(input: Input<'_>, pins: Option<Pins<'_>>) -> Loaded {
    load_layers(input, pins, None, &Env::default())
}

/// The same, with the bytes of an older `gateway.json` below everything, among the variables that `.env` may refer to.
pub(super) fn load_layers(
    input: Input<'_>,
    pins: Option<Pins<'_>>,
    older: Option<&[u8]>,
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
        older,
        surroundings,
    );
    let Some(root) = root else { return Loaded { config: None, problems: reader.problems.finish() } };
    let mut config = ProfileConfig::new(input.profile.clone());
    sections::check_root(&mut reader, &root);
    keys::check(&mut reader, &root);
    sections::read(&mut reader, &root, &mut config);
    (config.platforms, config.claims) = platforms::survey(&mut reader, &root, input.role);
    match input.role {
        Role::Primary => {
            let listen = gateway::listen(&mut reader, &root);
            let on = |name: &str| config.platforms.iter().any(|platform| platform.name == name);
            config.webhook = on("webhook").then(|| webhook::read(&mut reader, &root, &listen, None));
            config.api_server = on("api_server").then(|| api_server::read(&mut reader, &root, &listen, None));
            let settings = gateway::settings(&mut reader, &root, input.multiplex, &config);
            config.profile_routes = routing::read(&mut reader, &root, settings.multiplex);
            config.gateway = Some(settings);
        }
        Role::Secondary => {
            gateway::warn_flag(&mut reader, &root);
            gateway::warn_primary_only(&mut reader, &root);
            routing::warn_ignored(&mut reader, &root);
            // What the default profile's listeners serve, this profile serves below its prefix, unless it says no.
            let mut bound = |name: &str| listener(&mut reader, &root, name, input.listeners);
            let (hooks, api) = (bound("webhook"), bound("api_server"));
            config.webhook = hooks.map(|bound| webhook::read(&mut reader, &root, &None, Some(bound)));
            config.api_server = api.map(|bound| api_server::read(&mut reader, &root, &None, Some(bound)));
            config.platforms.retain(|platform| !matches!(platform.name.as_str(), "webhook" | "api_server"));
            let served = [("webhook", config.webhook.is_some()), ("api_server", config.api_server.is_some())];
            for (name, _) in served.into_iter().filter(|(_, served)| *served) {
                let source = "the gateway's listener".to_owned();
                config.platforms.push(ConfiguredPlatform { name: name.to_owned(), supported: true, source });
            }
        }
    }
    config.settings = platforms::settings(&mut reader, &root, &config.platforms);
    config.env = std::mem::take(&mut reader.dotenv.env);
    let broken = reader.problems.any(Severity::Profile);
    if !broken {
        able::judge(&mut reader, &root, &config);
        unsupported::of_keys(&mut reader, &root, &config);
    }
    Loaded { config: (!broken).then_some(config), problems: reader.problems.finish() }
}

/// The webhook routes in the default profile's files that carry `profile: <name>`, secrets resolved.
///
/// Bytes are those of `<root>/config.yaml` and `<root>/.env`; the paths are for problems. Whether a listener may serve a route is
/// [`Route::refusal`], which needs the listener's host.
pub fn routes_for(
    registry: &'static Registry,
    profile: &ProfileName,
    yaml: (&Utf8Path, &[u8]),
    env: (&Utf8Path, &[u8]),
) -> (Vec<(String, Route)>, Vec<Problem>) {
    let home = ProfileHome::new(yaml.0.parent().unwrap_or(Utf8Path::new("/")));
    let (mut reader, root) = open(registry, profile, &home, yaml, env, None, None, &Env::default());
    let Some(root) = root else { return (Vec::new(), reader.problems.finish()) };
    // The file's other flaws are its own profile's.
    reader.problems = Problems::default();
    let found = webhook::routes(&mut reader, &root, webhook::Whose::GivenTo(profile));
    (found.into_iter().map(|(name, route, _)| (name, route)).collect(), reader.problems.finish())
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
    let reader = Reader { registry, profile, home, yaml_file, env_file, dotenv, problems, pins };
    (reader, usable.then(|| At::root(node)))
}

/// The gateway's listener for a platform of a secondary; none where the profile turns the platform off.
fn listener<'l>(
    reader: &mut Reader<'_>,
    root: &At,
    name: &str,
    all: &'l [BoundListener],
) -> Option<&'l BoundListener> {
    let spec = reader.registry.find(name)?;
    if matches!(reader.state(&Blocks::new(root, name), spec), State::Off) {
        return None;
    }
    all.iter().find(|listener| listener.platforms.iter().any(|platform| platform == name))
}
