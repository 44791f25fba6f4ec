//! The gateway's settings, which only the primary's files decide.

use super::platforms::{Blocks, Listen};
use super::reader::{At, Reader};
use super::scalar::{address, boolean, narrow, whole};
use super::secret::Secret;
use super::types::ProfileConfig;
use hermes_wire::ProfileName;
use hermes_wire::admin;
use hermes_wire::contract::gateway_status::state;
use hermes_wire::env::{MULTIPLEX, may_be_shared};
use hermes_wire::latest::{GatewaySettings, ListenerSetting, OnProfileError, Severity, Upkeep};

/// Keys of `gateway` that a secondary's file cannot set.
const PRIMARY_ONLY: [&str; 18] = [
    "on_profile_error",
    "shared_env",
    "listen",
    "admin",
    "admin_token",
    "max_connections",
    "max_connections_per_address",
    "max_requests_per_profile",
    "max_body_bytes",
    "header_timeout_ms",
    "body_timeout_ms",
    "min_body_rate",
    "hold_ms",
    "response_timeout_ms",
    "start_timeout_ms",
    "stuck_after_ms",
    "heartbeat_ms",
    "keep_awake",
];

/// The variable that `gateway.admin_token` may be in.
pub(super) const ADMIN_TOKEN: &str = "GATEWAY_ADMIN_TOKEN";

/// Code of the problem that a release may have served profiles which this one does not.
pub(super) const MULTIPLEX_DEFAULT: &str = "multiplex_default";
/// `_config_version` of the first release without an allow-list.
const NO_ALLOWLIST: i64 = 43;

/// `gateway.listen`.
pub(super) fn listen(reader: &mut Reader<'_>, root: &At) -> Listen {
    let at = root.key("gateway.listen");
    let text = reader.text(&at)?;
    let parsed = address(&text);
    if parsed.is_none() {
        bad_address(reader, &at);
    }
    parsed
}

fn bad_address(reader: &mut Reader<'_>, at: &At) {
    let message = format!("`{}` must be `host:port`", at.path);
    let fix = Some("Write an address such as `127.0.0.1:8644`, or `*:8644` for all interfaces.".to_owned());
    reader.problems.add(Severity::Profile, "bad_address", reader.place(at), message, fix);
}

/// The multiplex flag. `outer` is the supervisor's own environment and wins.
fn multiplex(reader: &mut Reader<'_>, root: &At, outer: Option<bool>) -> bool {
    let at = root.key("multiplex_profiles").or(root.key("gateway.multiplex_profiles"));
    let at = at.or(root.legacy().key("multiplex_profiles"));
    let mut configured = None;
    if at.is_set() {
        let text = if at.is_map() || at.is_seq() { None } else { reader.text(&at) };
        configured = text.as_deref().and_then(boolean);
        if configured.is_none() {
            let message = format!("`{}` must be true or false", at.path);
            let fix = Some("Write `true` or `false`; or remove the line, which means false.".to_owned());
            reader.problems.add(Severity::Gateway, "multiplex_flag", reader.place(&at), message, fix);
        }
    }
    let own = reader.env(MULTIPLEX).map(str::to_owned).and_then(|token| {
        let flag = boolean(&token);
        if flag.is_none() {
            let shown: String = token.chars().take(40).collect();
            let message = format!(
                "Ignoring unrecognized {MULTIPLEX}='{shown}' (expected one of ['1', 'on', 'true', 'yes'] or ['0', 'false', \
                 'no', 'off']); falling back to config.yaml."
            );
            reader.warn("multiplex_flag", reader.env_place(MULTIPLEX), message, "Write `true` or `false`.");
        }
        flag
    });
    if outer.or(own).is_none() && !at.is_set() && is_newer(reader, root) {
        let place = reader.place(&root.key("_config_version"));
        let message = "`gateway.multiplex_profiles` is not set, so the default profile alone is served; a newer release that wrote this \
                       file may have served all profiles (from 0.21.4 on it does so unless something stands against it)"
            .to_owned();
        reader.warn(
            MULTIPLEX_DEFAULT,
            place,
            message,
            "`hermes config set gateway.multiplex_profiles true` serves all of them; `false` says that this is meant.",
        );
    }
    outer.or(own).or(configured).unwrap_or(false)
}

/// Whether a release wrote the file that has no allow-list any more (0.21.3). Its successors serve all profiles where nothing is said.
/// Which release that was is not in the file, so what is said about it is what may be.
fn is_newer(reader: &mut Reader<'_>, root: &At) -> bool {
    let at = root.key("_config_version");
    let text = if at.is_map() || at.is_seq() { None } else { reader.text(&at) };
    text.as_deref().and_then(whole).is_some_and(|version| version >= NO_ALLOWLIST)
}

/// Warns of settings that a secondary's files, or those of a lone named profile, cannot decide.
pub(super) fn warn_flag(reader: &mut Reader<'_>, root: &At) {
    let home = reader.home.path();
    let named = home.parent().filter(|p| p.file_name() == Some("profiles")).and_then(|p| p.parent());
    let shared = named
        .map_or_else(|| "the default profile's config.yaml".to_owned(), |root| format!("{root}/config.yaml"));
    let flag = root.key("multiplex_profiles").or(root.key("gateway.multiplex_profiles"));
    let place = if flag.is_set() { Some(reader.place(&flag)) } else { None };
    let place = place.or_else(|| reader.env(MULTIPLEX).is_some().then(|| reader.env_place(MULTIPLEX)));
    if let Some(place) = place {
        let key = place.key.clone().unwrap_or_default();
        let message = format!("`{key}` is ignored: set it in {shared}");
        reader.warn("ignored_key", place, message, &format!("Remove it here; set it in {shared}."));
    }
}

/// Whether a profile beside the default one wants no part in its gateway: `gateway.standalone`, in no other spelling. What nobody can
/// tell counts where the Python program takes it for a yes: two gateways for one bot are worse than none.
pub(super) fn stands_alone(reader: &mut Reader<'_>, root: &At) -> bool {
    let at = root.key("gateway").key("standalone");
    if !at.is_set() {
        return false;
    }
    let odd = at.is_map() || at.is_seq();
    let stands = if odd { true } else { reader.flag(&at).unwrap_or(false) };
    if stands {
        let name = reader.profile;
        let message =
            format!("`{}` is on: profile '{name}' is not served by the gateway of all profiles", at.path);
        let fix = format!(
            "`hermes gateway run -p {name}` runs a gateway of its own; remove the key to have it served"
        );
        reader.warn(state::STANDALONE, reader.place(&at), message, &fix);
    }
    stands
}

/// Warns of gateway-wide settings in a secondary's file.
pub(super) fn warn_primary_only(reader: &mut Reader<'_>, root: &At) {
    for at in PRIMARY_ONLY.map(|key| root.key("gateway").key(key)).into_iter().filter(At::is_set) {
        let message = format!("`{}` is ignored: the default profile's config.yaml decides it", at.path);
        reader.warn("ignored_key", reader.place(&at), message, "Remove it here.");
    }
}

/// The settings.
pub(super) fn settings(
    reader: &mut Reader<'_>,
    root: &At,
    outer: Option<bool>,
    config: &ProfileConfig,
) -> GatewaySettings {
    let gateway = root.key("gateway");
    reader.expect_map(&gateway);
    // A lone named profile never serves others: only `default` may turn the flag on.
    let multiplex = if reader.profile.is_default() {
        warn_standalone(reader, &gateway.key("standalone"));
        multiplex(reader, root, outer)
    } else {
        warn_flag(reader, root);
        false
    };
    let policies = [("fail", OnProfileError::Fail), ("skip", OnProfileError::Skip)];
    let mut number =
        |key: &str, range, default: u64| reader.number(&gateway.key(key), range).unwrap_or(default);
    let max_connections = number("max_connections", 1..=1_000_000, 4096);
    // Half, so that no address alone takes everything.
    let per_address = number("max_connections_per_address", 0..=1_000_000, max_connections.div_ceil(2));
    let max_requests_per_profile = number("max_requests_per_profile", 1..=100_000, 256);
    let max_body_bytes = number("max_body_bytes", 1024..=1 << 40, 64 << 20);
    let header_timeout_ms = number("header_timeout_ms", 100..=600_000, 15_000);
    let body_timeout_ms = number("body_timeout_ms", 0..=86_400_000, 300_000);
    let min_body_rate = number("min_body_rate", 0..=1 << 30, 500);
    let hold_ms = number("hold_ms", 0..=600_000, 5_000);
    let response_timeout_ms = number("response_timeout_ms", 100..=86_400_000, 3_600_000);
    let start_timeout_ms = number("start_timeout_ms", 100..=600_000, 30_000);
    let stuck_after_ms = number("stuck_after_ms", 100..=3_600_000, 10_000);
    let heartbeat_ms = number("heartbeat_ms", 20..=60_000, 1_000);
    if stuck_after_ms < 2 * heartbeat_ms {
        let at = gateway.key("stuck_after_ms").or(gateway.key("heartbeat_ms"));
        let message = "`gateway.stuck_after_ms` must be at least twice `gateway.heartbeat_ms`".to_owned();
        let fix = Some(format!("Set `gateway.stuck_after_ms` to {} or more.", 2 * heartbeat_ms));
        reader.problems.add(Severity::Profile, "heartbeat", reader.place(&at), message, fix);
    }
    GatewaySettings {
        multiplex,
        allowlist: allowlist(reader, root),
        on_profile_error: reader.choice(&gateway.key("on_profile_error"), &policies).unwrap_or_default(),
        shared_env: shared_env(reader, &gateway.key("shared_env")),
        listeners: listeners(reader, root, config, multiplex),
        admin: admin_address(reader, &gateway.key("admin"), config.admin_token.is_some()),
        max_connections: narrow(max_connections),
        max_requests_per_profile: narrow(max_requests_per_profile),
        max_body_bytes,
        header_timeout_ms,
        hold_ms,
        response_timeout_ms,
        drain_ms: u64::try_from(config.agent.restart_drain_timeout.as_millis()).unwrap_or(u64::MAX),
        start_timeout_ms,
        stuck_after_ms,
        heartbeat_ms,
        max_connections_per_address: narrow(per_address),
        body_timeout_ms,
        min_body_rate,
        // Hashed by whoever knows the key.
        admin_token: None,
        upkeep: config.upkeep.over(&Upkeep::default()),
        keep_awake: reader.flag(&gateway.key("keep_awake")).unwrap_or(false),
    }
}

fn warn_standalone(reader: &mut Reader<'_>, at: &At) {
    if at.is_set() && (at.is_map() || at.is_seq() || reader.flag(at) == Some(true)) {
        let message = format!("`{}` is ignored: the default profile's gateway is the one for all", at.path);
        reader.warn("ignored_key", reader.place(at), message, "Remove it here.");
    }
}

fn allowlist(reader: &mut Reader<'_>, root: &At) -> Option<Vec<String>> {
    let at = root.key("multiplex_profile_allowlist").or(root.key("gateway.multiplex_profile_allowlist"));
    if !at.is_set() {
        return None;
    }
    if is_newer(reader, root) {
        let message = format!(
            "`{}` is in force here; releases from 0.21.3 on ignore it and serve all profiles",
            at.path
        );
        let fix =
            "Park who is not to be served by either: `hermes -p NAME gateway stop`; then remove the list.";
        reader.warn("allowlist_newer", reader.place(&at), message, fix);
    }
    if !at.is_seq() {
        let message = format!("`{}` is not a list: only the default profile is served", at.path);
        reader.warn("allowlist", reader.place(&at), message, "Write a list of profile names.");
        return Some(Vec::new());
    }
    let mut names: Vec<String> = Vec::new();
    for item in at.items() {
        let text = if item.is_map() || item.is_seq() { None } else { reader.text(&item) };
        match text.as_deref().map(ProfileName::from_user_input) {
            Some(Ok(name)) if name.is_default() || names.iter().any(|n| n == name.as_str()) => {}
            Some(Ok(name)) => names.push(name.into()),
            Some(Err(_)) | None => {
                let message = format!("`{}` is not a profile name and is left out", item.path);
                reader.warn("allowlist", reader.place(&item), message, "Write the name of a profile.");
            }
        }
    }
    Some(names)
}

fn shared_env(reader: &mut Reader<'_>, at: &At) -> Vec<String> {
    let mut names = reader.list(at);
    names.sort();
    names.dedup();
    let (good, bad): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| may_be_shared(name));
    for name in bad {
        let shown: String = name.chars().take(80).collect();
        let message =
            format!("`{}` names `{shown}`, which identifies one profile or is not a variable name", at.path);
        let fix = Some("Remove it, and set it in the .env of the profile that needs it.".to_owned());
        reader.problems.add(Severity::Gateway, "shared_env", reader.place(at), message, fix);
    }
    good
}

/// The token of the admin address: of `.env`, else of the file. One that can be guessed is none.
pub(super) fn admin_token(reader: &mut Reader<'_>, root: &At) -> Option<Secret> {
    let at = root.key("gateway").key("admin_token");
    let (token, place) = match reader.env(ADMIN_TOKEN).map(Secret::new) {
        Some(token) => (token, reader.env_place(ADMIN_TOKEN)),
        None => (reader.secret(&at)?, reader.place(&at)),
    };
    if token.expose().len() < admin::MIN_TOKEN {
        let message = format!(
            "`gateway.admin_token` is shorter than {} characters and can be guessed",
            admin::MIN_TOKEN
        );
        let fix = Some(format!(
            "Make one with `openssl rand -hex 24`, and set it with `hermes config set {ADMIN_TOKEN} -`."
        ));
        reader.problems.add(Severity::Profile, "admin_token_short", place, message, fix);
        return None;
    }
    Some(token)
}

fn admin_address(reader: &mut Reader<'_>, at: &At, has_token: bool) -> Option<String> {
    let text = reader.text(at)?;
    match address(&text) {
        None => bad_address(reader, at),
        Some((host, _)) if !has_token && host.as_deref().is_none_or(|host| !is_loopback(host)) => {
            let message =
                "`gateway.admin` is reachable from other machines, and there is no token".to_owned();
            reader.warn(
                "admin_public",
                reader.place(at),
                message,
                "Use an address such as `127.0.0.1:9464`, or set `gateway.admin_token`.",
            );
            return Some(text);
        }
        Some(_) => return Some(text),
    }
    None
}

/// Whether a host is certainly this machine only.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim().to_ascii_lowercase();
    matches!(host.as_str(), "127.0.0.1" | "localhost" | "::1" | "ip6-localhost" | "ip6-loopback")
}

/// Whether nobody in between reads what is sent to an address: it is encrypted, or does not leave this machine.
pub fn is_private(url: &url::Url) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => url.host_str().is_some_and(|host| is_loopback(host.trim_matches(['[', ']']))),
        _ => false,
    }
}

/// What to bind. A platform that must not start keeps its listener while others are served through it.
fn listeners(
    reader: &mut Reader<'_>,
    root: &At,
    config: &ProfileConfig,
    multiplex: bool,
) -> Vec<ListenerSetting> {
    let together = root.key("gateway.listen");
    let mut all = Vec::new();
    for platform in reader.registry.own() {
        let (name, settings) = (platform.name, &config.settings);
        let faulty = settings.get(name).is_some_and(|settings| settings.fault().is_some());
        let (Some(spec), Some(address)) = (platform.listener, settings.listener(name)) else { continue };
        if faulty && !multiplex {
            continue;
        }
        let place = if together.is_set() {
            reader.place(&together)
        } else if reader.env(spec.port.env).is_some() {
            reader.env_place(spec.port.env)
        } else {
            reader.place(&Blocks::new(root, name).get(spec.port.key))
        };
        let (platform, host) = (name.to_owned(), address.host.clone());
        all.push(ListenerSetting { platform, host, port: address.port, source: place.source() });
    }
    all
}
