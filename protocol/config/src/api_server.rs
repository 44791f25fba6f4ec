//! `platforms.api_server`: who may call the API of one profile, and where.

use super::gateway::{API_PORT, Listen};
use super::platforms::Blocks;
use super::problem::Place;
use super::reader::{At, Reader};
use super::scalar::{narrow, split_commas};
use super::secret::Secret;
use super::types::{ApiServer, Fault, ModelRoute};
use super::webhook::{port, port_of};
use hermes_wire::latest::{BoundListener, Problem, Severity};

/// Shortest usable key, in characters.
const MIN_KEY_LEN: usize = 16;
/// Model id of the default profile.
const DEFAULT_MODEL_NAME: &str = "hermes-agent";
const LOOPBACK: &str = "127.0.0.1";
/// Keys that mean "not filled in yet", lower case.
const PLACEHOLDERS: [&str; 12] = [
    "*",
    "**",
    "***",
    "changeme",
    "your_api_key",
    "your_api_key_here",
    "your-api-key",
    "placeholder",
    "example",
    "dummy",
    "null",
    "none",
];

/// Whether a key may guard an API.
pub(super) fn is_strong(key: &str) -> bool {
    let key = key.trim();
    !super::redact::is_unresolved(key)
        && key.chars().count() >= MIN_KEY_LEN
        && !PLACEHOLDERS.contains(&key.to_ascii_lowercase().as_str())
}

/// The settings. `bound` is the gateway's listener, for a secondary: without a key it is reachable by nobody, which is fine.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &At,
    listen: &Listen,
    bound: Option<&BoundListener>,
) -> ApiServer {
    let blocks = Blocks::new(root, "api_server");
    let (host, port) = match (bound, listen) {
        (Some(bound), _) => (bound.host.clone().unwrap_or_default(), port_of(&bound.address)),
        (None, Some((host, port))) => (host.clone().unwrap_or_default(), *port),
        (None, None) => (host(reader, &blocks), port(reader, &blocks, "API_SERVER_PORT", API_PORT)),
    };
    let (key, place) = key(reader, &blocks);
    let strong = key.as_ref().is_some_and(|key| is_strong(key.expose()));
    let fault = if strong { None } else { weak(reader, key.is_some(), place, &host, bound.is_some()) };
    let cors_origins = match reader.env("API_SERVER_CORS_ORIGINS") {
        Some(origins) => split_commas(origins),
        None => reader.list(&blocks.get("cors_origins")),
    };
    let profile = reader.profile;
    let own_name = || if profile.is_default() { DEFAULT_MODEL_NAME.to_owned() } else { profile.to_string() };
    let model_name = reader
        .env("API_SERVER_MODEL_NAME")
        .map(str::to_owned)
        .or_else(|| reader.text(&blocks.get("model_name")));
    let runs = reader.number_or_zero(&blocks.get("max_concurrent_runs"), u64::from(u32::MAX));
    ApiServer {
        key: key.filter(|_| strong),
        cors_origins,
        model_name: model_name.unwrap_or_else(own_name),
        model_routes: model_routes(reader, &blocks.get("model_routes")),
        max_concurrent_runs: runs.map_or(10, narrow),
        host,
        port,
        fault,
    }
}

/// Empty = all interfaces.
fn host(reader: &mut Reader<'_>, blocks: &Blocks) -> String {
    let host = reader.env("API_SERVER_HOST").map(str::to_owned).or_else(|| reader.text(&blocks.get("host")));
    match host.as_deref() {
        None => LOOPBACK.to_owned(),
        Some("*") => String::new(),
        Some(host) => host.to_owned(),
    }
}

fn key(reader: &mut Reader<'_>, blocks: &Blocks) -> (Option<Secret>, Place) {
    const VARIABLE: &str = "API_SERVER_KEY";
    if let Some(value) = reader.env(VARIABLE) {
        return (Some(Secret::new(value)), reader.env_place(VARIABLE));
    }
    let at = blocks.get("key");
    let key = reader.secret(&at);
    let place = if key.is_some() {
        reader.place(&at)
    } else {
        Place { key: Some(VARIABLE.to_owned()), ..env_file(reader) }
    };
    (key, place)
}

fn env_file(reader: &Reader<'_>) -> Place {
    Place { file: reader.env_file.clone(), ..Place::default() }
}

fn weak(reader: &mut Reader<'_>, present: bool, place: Place, host: &str, secondary: bool) -> Option<Fault> {
    if secondary && !present {
        return None;
    }
    let generate =
        "Set API_SERVER_KEY in .env to a random text, for example the output of `openssl rand -hex 32`.";
    if secondary {
        let message =
            "API_SERVER_KEY is a placeholder or too short (<16 chars): every call is answered with 401"
                .to_owned();
        reader.warn("weak_api_key", place, message, generate);
        return None;
    }
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let (code, message) = if present {
        let message = format!(
            "Refusing to start: API_SERVER_KEY is a placeholder or too short (<16 chars). {generate}"
        );
        ("weak_api_key", message)
    } else {
        let message = format!(
            "Refusing to start: API_SERVER_KEY is required for the API server, including loopback-only binds on {host}."
        );
        ("missing_api_key", message)
    };
    let Place { file, line, column, key } = place;
    let (severity, platform, fix) =
        (Severity::Platform, Some("api_server".to_owned()), Some(generate.to_owned()));
    let fault = Fault { code: code.to_owned(), message: message.clone() };
    let code = code.to_owned();
    reader.problems.push(Problem { severity, code, platform, file, line, column, key, message, fix });
    Some(fault)
}

fn model_routes(reader: &mut Reader<'_>, at: &At) -> Vec<(String, ModelRoute)> {
    reader.expect_map(at);
    let mut all = Vec::new();
    for (alias, at) in at.entries() {
        let model = reader.text(&at.key("model"));
        let Some(model) = model else {
            let message = format!("`{}` has no `model` and is left out", at.path);
            reader.warn("model_route", reader.place(&at), message, "Give it a `model`.");
            continue;
        };
        let provider = reader.text(&at.key("provider"));
        let api_key = reader.secret(&at.key("api_key"));
        let base_url = reader.text(&at.key("base_url"));
        all.push((alias, ModelRoute { model, provider, api_key, base_url }));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_and_short_keys_guard_nothing() {
        assert!(is_strong("0123456789abcdef") && is_strong("default-api-key-0123456789abcdef"));
        for weak in ["", "short", "changeme", "YOUR_API_KEY_HERE", "  0123456789  ", "***", "0123456789abcde"]
        {
            assert!(!is_strong(weak), "{weak}");
        }
    }
}
