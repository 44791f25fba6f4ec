//! `platforms.webhook` and its routes.

use std::collections::BTreeMap;
use std::time::Duration;

use super::gateway::{Listen, WEBHOOK_PORT, is_loopback};
use super::platforms::Blocks;
use super::problem::Place;
use super::reader::{At, Reader};
use super::scalar::narrow;
use super::secret::Secret;
use super::types::{Fault, Route, Scheme, Webhook};
use hermes_wire::ProfileName;
use hermes_wire::latest::{BoundListener, Problem, Severity};

/// A secret that turns authentication off.
pub(super) const NO_AUTH: &str = "INSECURE_NO_AUTH";

const DEFAULT_MAX_BODY: u64 = 1 << 20;

impl Route {
    /// Why a listener on `host` (`None` = all interfaces) must not serve this route; the exact text scripts know.
    pub fn refusal(&self, name: &str, host: Option<&str>) -> Option<String> {
        let Some(secret) = self.secret.as_ref().filter(|secret| !secret.expose().trim().is_empty()) else {
            // Whoever wrote an empty secret did not mean the one that other routes have.
            let own = if self.secret.is_some() { " Its own 'secret' is empty." } else { "" };
            return Some(format!(
                "[webhook] Route '{name}' has no HMAC secret. Set 'secret' on the route or globally. For testing without \
                 auth, set secret to 'INSECURE_NO_AUTH'.{own}"
            ));
        };
        if let Some(asked) = self.signature.as_ref().filter(|asked| Scheme::named(asked).is_none()) {
            let known = Scheme::NAMES.join(", ");
            return Some(format!(
                "[webhook] Route '{name}' asks for signature '{asked}', which is none of {known}."
            ));
        }
        // What a placeholder says is known to whoever knows the file: an imported profile's route waits for its own secret.
        if super::redact::is_unresolved(secret.expose()) {
            return Some(format!(
                "[webhook] Route '{name}' has a secret that names a variable which is not in this profile's .env. Set the \
                 variable, or the secret."
            ));
        }
        if secret.expose() == NO_AUTH && !host.is_some_and(is_loopback) {
            let host = host.unwrap_or("0.0.0.0");
            return Some(format!(
                "[webhook] Route '{name}' uses INSECURE_NO_AUTH secret but is bound to non-loopback host '{host}'. \
                 INSECURE_NO_AUTH is for local testing only. Refusing to start to prevent accidental exposure."
            ));
        }
        if self.deliver_only && self.deliver == "log" {
            let deliver = &self.deliver;
            return Some(format!(
                "[webhook] Route '{name}' has deliver_only=true but deliver is '{deliver}'. Direct delivery requires a real \
                 target (telegram, discord, slack, github_comment, etc.)."
            ));
        }
        None
    }
}

/// Whose routes are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) enum Whose<'a> {
    /// A profile's own, from its own file.
    Own(&'a ProfileName),
    /// Those the default profile's file gives to a profile.
    GivenTo(&'a ProfileName),
}

/// The settings. `bound` is the gateway's listener, for a secondary.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &At,
    listen: &Listen,
    bound: Option<&BoundListener>,
) -> Webhook {
    let blocks = Blocks::new(root, "webhook");
    let (host, port) = match (bound, listen) {
        (Some(bound), _) => (bound.host.clone(), port_of(&bound.address)),
        (None, Some((host, port))) => (host.clone(), *port),
        (None, None) => (host(reader, &blocks), port(reader, &blocks, "WEBHOOK_PORT", WEBHOOK_PORT)),
    };
    let profile = reader.profile;
    let found = routes(reader, root, Whose::Own(profile));
    let fault = refuse(reader, &found, host.as_deref());
    let rate_limit = reader.number(&blocks.get("rate_limit"), 1..=u64::from(u32::MAX));
    let body = reader.number(&blocks.get("max_body_bytes"), 1..=1 << 40);
    let script = reader.number_or_zero(&blocks.get("script_timeout_seconds"), 86_400);
    Webhook {
        host,
        port,
        secret: global_secret(reader, &blocks),
        routes: found.into_iter().map(|(name, route, _)| (name, route)).collect(),
        rate_limit: rate_limit.map_or(30, narrow),
        max_body_bytes: body.unwrap_or(DEFAULT_MAX_BODY),
        script_timeout: Duration::from_secs(script.map_or(30, |seconds| seconds.max(1))),
        fault,
    }
}

fn host(reader: &mut Reader<'_>, blocks: &Blocks) -> Option<String> {
    reader.text(&blocks.get("host")).filter(|host| host != "*")
}

/// A port: variable, then key, then default.
pub(super) fn port(reader: &mut Reader<'_>, blocks: &Blocks, variable: &str, default: u16) -> u16 {
    let range = 0..=u64::from(u16::MAX);
    let port = match reader.env(variable) {
        Some(_) => reader.env_number(variable, range),
        None => reader.number(&blocks.get("port"), range),
    };
    port.and_then(|n| u16::try_from(n).ok()).unwrap_or(default)
}

/// The port of `127.0.0.1:8644`.
pub(super) fn port_of(address: &str) -> u16 {
    address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0)
}

fn global_secret(reader: &mut Reader<'_>, blocks: &Blocks) -> Option<Secret> {
    match reader.env("WEBHOOK_SECRET") {
        Some(value) => Some(Secret::new(value)),
        None => reader.secret(&blocks.get("secret")),
    }
}

/// What is written down, if only as nothing: an empty secret is not one that is left out.
fn written(reader: &mut Reader<'_>, at: &At) -> Option<String> {
    let text = reader.text(at);
    if at.is_set() { Some(text.unwrap_or_default()) } else { None }
}

/// Routes with their secrets resolved, in file order, and where each stands.
pub(super) fn routes(reader: &mut Reader<'_>, root: &At, whose: Whose<'_>) -> Vec<(String, Route, At)> {
    let blocks = Blocks::new(root, "webhook");
    let global = global_secret(reader, &blocks);
    let map = blocks.get("routes");
    reader.expect_map(&map);
    let mut all = Vec::new();
    for (name, at) in map.entries() {
        let Ok(owner) = owner(reader, &at, whose) else { continue };
        if at.is_set() && !reader.expect_map(&at) {
            continue;
        }
        let mut route = route(reader, &at);
        route.secret = route.secret.or_else(|| global.clone());
        route.profile = owner;
        all.push((name, route, at));
    }
    all
}

/// The route's `profile`, or an error where the route is not wanted.
fn owner(reader: &mut Reader<'_>, at: &At, whose: Whose<'_>) -> Result<Option<String>, ()> {
    let key = at.key("profile");
    let Some(text) = reader.text(&key) else {
        return if matches!(whose, Whose::Own(_)) { Ok(None) } else { Err(()) };
    };
    let named = ProfileName::from_user_input(&text).ok();
    match (whose, named) {
        (Whose::Own(profile) | Whose::GivenTo(profile), Some(named)) if named == *profile => {
            Ok(Some(named.into()))
        }
        (Whose::Own(_), None) => {
            let message = format!("`{}` is not a profile name: the route belongs to nobody", key.path);
            reader.warn("route_profile", reader.place(&key), message, "Write the name of a profile.");
            Err(())
        }
        (Whose::Own(profile), Some(named)) if !profile.is_default() => {
            let message =
                format!("`{}` gives the route to `{named}`, which only the default profile can do", key.path);
            reader.warn(
                "route_profile",
                reader.place(&key),
                message,
                "Move the route to that profile's config.yaml.",
            );
            Err(())
        }
        _ => Err(()),
    }
}

fn route(reader: &mut Reader<'_>, at: &At) -> Route {
    let below = |key: &str| at.key(key);
    let defaults = Route::default();
    let filters = match reader.json(&below("filters")) {
        serde_json::Value::Null => Vec::new(),
        serde_json::Value::Array(list) => list,
        one => vec![one],
    };
    let extra = below("deliver_extra");
    reader.expect_map(&extra);
    let mut deliver_extra = BTreeMap::new();
    for (key, value) in extra.entries() {
        let text = if value.is_map() || value.is_seq() {
            Some(reader.json(&value).to_string())
        } else {
            reader.raw_text(&value)
        };
        if let Some(text) = text {
            deliver_extra.insert(key, text);
        }
    }
    for key in ["toolsets", "coalesce"].map(below) {
        if key.is_set() {
            let message = format!("`{}` is not supported by this version and is ignored", key.path);
            reader.warn("unsupported_key", reader.place(&key), message, "Remove it, or keep it for 0.19.0.");
        }
    }
    // Running an ordinary turn instead of the job would be worse than refusing.
    let fires_job = below("cron_job").is_set();
    if fires_job {
        let key = below("cron_job");
        let message =
            format!("`{}` fires a scheduled job, which this version cannot: the route is disabled", key.path);
        reader.warn(
            "unsupported_key",
            reader.place(&key),
            message,
            "Remove the route, or keep it for 0.19.0.",
        );
    }
    Route {
        secret: written(reader, &below("secret")).map(Secret::new),
        signature: reader
            .choice(&below("signature"), &Scheme::NAMES.map(|name| (name, name)))
            .map(str::to_owned),
        enabled: reader.flag(&below("enabled")).unwrap_or(true) && !fires_job,
        events: reader.list(&below("events")),
        filters,
        script: reader.text(&below("script")),
        prompt: reader.raw_text(&below("prompt")).unwrap_or_default(),
        skills: reader.list(&below("skills")),
        deliver: reader.text(&below("deliver")).unwrap_or(defaults.deliver),
        deliver_extra,
        deliver_only: reader.flag(&below("deliver_only")).unwrap_or(false),
        profile: None,
        description: reader.text(&below("description")).unwrap_or_default(),
    }
}

/// Notes every route that must not be served; the first one is why the platform does not start.
pub(super) fn refuse(
    reader: &mut Reader<'_>,
    found: &[(String, Route, At)],
    host: Option<&str>,
) -> Option<Fault> {
    let mut fault = None;
    for (name, route, at) in found {
        let Some(message) = route.refusal(name, host) else { continue };
        fault.get_or_insert_with(|| Fault { code: "webhook_route".to_owned(), message: message.clone() });
        let Place { file, line, column, key } = reader.place(at);
        let fix = Some(format!("Change route `{}`.", super::yaml::shorten(name)));
        let (code, platform) = ("webhook_route".to_owned(), Some("webhook".to_owned()));
        let severity = Severity::Platform;
        reader.problems.push(Problem { severity, code, platform, file, line, column, key, message, fix });
    }
    fault
}
