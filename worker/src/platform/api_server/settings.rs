//! What `platforms.api_server` may hold: who may call the API of one profile, and where. What is declared of it, how it is read, and
//! what becomes of it.

use std::sync::Arc;

use hermes_config::platform::{
    self, BASE, Binds, Declaration, Fault, Listener, ModelRoute, Section, Spot, field,
};
use hermes_config::row::Kind::{Bool, Count, Int, List, Section as Mapping, Text};
use hermes_config::row::{Group, Kind, key};
use hermes_config::{Secret, redact};

/// Shortest usable key, in characters.
const MIN_KEY_LEN: usize = 16;
/// Model id of the default profile.
const DEFAULT_MODEL_NAME: &str = "hermes-agent";
/// Host of a listener that does not say.
const LOOPBACK: &str = "127.0.0.1";
/// Port of a listener that does not say.
const DEFAULT_PORT: u16 = 8642;
/// The variable with the key.
const KEY: &str = "API_SERVER_KEY";
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

/// What it declares.
pub(crate) static DECLARATION: Declaration = Declaration {
    name: "api_server",
    prefix: "API_SERVER",
    switch: Some("API_SERVER_ENABLED"),
    binds: Binds::Port,
    listener: Some(Listener {
        host: field("API_SERVER_HOST", "host"),
        default_host: Some(LOOPBACK),
        port: field("API_SERVER_PORT", "port"),
        default_port: DEFAULT_PORT,
        paths: &["/v1/", "/api/", "/health/detailed", "/openapi.json"],
        is_api: true,
        opened_by: KEY,
    }),
    adapter: true,
    keys: Some(&KEYS),
    idle: &[],
    read: Some(read),
    ..BASE
};

const PORT: Kind = Int(0, u16::MAX as i64);

/// Its rows.
static KEYS: Group = Group {
    title: "API server",
    intro: "`enabled`, `host` and `port` belong into the default profile's file only. The key, at least 16 characters, belongs \
            into each profile's own `.env`.",
    outro: "",
    keys: &[
        key("platforms.api_server", Mapping, "chat completions for programs"),
        key("platforms.api_server.enabled", Bool, "listen for API calls; `false` always wins")
            .env("API_SERVER_ENABLED")
            .primary(),
        key("platforms.api_server.host", Text, "address to listen on")
            .text("127.0.0.1")
            .env("API_SERVER_HOST")
            .primary(),
        key("platforms.api_server.port", PORT, "port to listen on; 0: any")
            .int(8642)
            .env("API_SERVER_PORT")
            .primary(),
        key("platforms.api_server.key", Text, "who has it may call").env("API_SERVER_KEY").secret(),
        key("platforms.api_server.cors_origins", List, "origins that browsers may call from; `*`: any")
            .env("API_SERVER_CORS_ORIGINS"),
        key(
            "platforms.api_server.model_name",
            Text,
            "the model's id that clients see; the profile's name without it",
        )
        .env("API_SERVER_MODEL_NAME"),
        key("platforms.api_server.max_concurrent_runs", Count(u32::MAX as i64), "turns at once; 0: no limit")
            .int(10),
        key(
            "platforms.api_server.max_stored_responses",
            Int(1, 1_000_000),
            "responses that are kept; the one that was not asked for longest goes first",
        )
        .int(100),
        key(
            "platforms.api_server.direct_model_requests",
            Bool,
            "a `model` that is neither the profile's nor an alias is an id at the profile's provider, and answers; else the profile's own does",
        )
        .no(),
        key("platforms.api_server.model_routes.*.model", Text, "the id that an alias stands for"),
        key("platforms.api_server.model_routes.*.provider", Text, "who serves it"),
        key("platforms.api_server.model_routes.*.api_key", Text, "its key").secret(),
        key("platforms.api_server.model_routes.*.base_url", Text, "address of its API"),
    ],
};

/// `platforms.api_server`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The key, if it is strong enough. `None` = every authenticated path answers 401.
    pub(crate) key: Option<Secret>,
    /// Origins that browsers may call from; `*` = any; empty = none.
    pub(crate) cors_origins: Vec<String>,
    /// Model id shown to clients. Default: the profile's name, `hermes-agent` for `default`.
    pub(crate) model_name: String,
    /// Alias → model.
    pub(crate) model_routes: Vec<ModelRoute>,
    /// A bare model that is neither the profile's own nor an alias answers. Default false, as with newer programs.
    pub(crate) direct_model_requests: bool,
    /// Runs at the same time; 0 = no limit. Default 10.
    pub(crate) max_concurrent_runs: u32,
    /// Responses that are kept. Default 100.
    pub(crate) max_stored_responses: u32,
    /// Set when the platform must not start.
    pub(crate) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn reaches(&self) -> bool {
        self.key.is_some()
    }

    fn model_routes(&self) -> &[ModelRoute] {
        &self.model_routes
    }

    fn direct_turns(&self) -> Option<u32> {
        Some(self.max_concurrent_runs)
    }

    fn secrets(&self) -> Vec<&Secret> {
        let routes = self.model_routes.iter().filter_map(|route| route.api_key.as_ref());
        self.key.iter().chain(routes).collect()
    }
}

/// Whether a key may guard an API.
fn is_strong(key: &str) -> bool {
    let key = key.trim();
    !redact::is_unresolved(key)
        && key.chars().count() >= MIN_KEY_LEN
        && !PLACEHOLDERS.contains(&key.to_ascii_lowercase().as_str())
}

/// Reads the section.
fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let key = section.secret("key", KEY);
    let strong = key.as_ref().is_some_and(|key| is_strong(key.expose()));
    let fault = if strong { None } else { weak(section, key.is_some()) };
    let cors_origins = section.list("cors_origins", "API_SERVER_CORS_ORIGINS");
    let model_name = section.text("model_name", "API_SERVER_MODEL_NAME").unwrap_or_else(|| {
        let profile = section.profile();
        if profile.is_default() { DEFAULT_MODEL_NAME.to_owned() } else { profile.to_string() }
    });
    let model_routes = model_routes(section);
    let direct_model_requests = section.flag("direct_model_requests").unwrap_or(false);
    let runs = section.count("max_concurrent_runs", u64::from(u32::MAX));
    let responses = section.count("max_stored_responses", 1_000_000).filter(|most| *most > 0);
    Arc::new(Settings {
        key: key.filter(|_| strong),
        cors_origins,
        model_name,
        model_routes,
        direct_model_requests,
        max_concurrent_runs: runs.map_or(10, |n| u32::try_from(n).unwrap_or(u32::MAX)),
        max_stored_responses: responses.map_or(100, |n| u32::try_from(n).unwrap_or(u32::MAX)),
        fault,
    })
}

/// Says that the key guards nothing. Through another profile's listener, a profile without a key is reachable by nobody, which is fine.
fn weak(section: &mut dyn Section, present: bool) -> Option<Fault> {
    let (host, shared) = match section.listener() {
        Some(address) => (address.host.clone(), address.shared),
        None => (None, false),
    };
    if shared && !present {
        return None;
    }
    let at = if present && !section.has_variable(KEY) { Spot::Key("key") } else { Spot::Variable(KEY) };
    let generate =
        "Set API_SERVER_KEY in .env to a random text, for example the output of `openssl rand -hex 32`.";
    if shared {
        let message =
            "API_SERVER_KEY is a placeholder or too short (<16 chars): every call is answered with 401"
                .to_owned();
        section.warn("weak_api_key", at, message, generate);
        return None;
    }
    let host = host.as_deref().unwrap_or("0.0.0.0");
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
    section.fault(code, at, message.clone(), generate);
    Some(Fault { code: code.to_owned(), message })
}

fn model_routes(section: &mut dyn Section) -> Vec<ModelRoute> {
    let mut all = Vec::new();
    section.each("model_routes", &mut |alias, at| {
        let Some(model) = at.text("model", "") else {
            let message = format!("`{}` has no `model` and is left out", at.path(""));
            at.warn("model_route", Spot::Here, message, "Give it a `model`.");
            return;
        };
        let provider = at.text("provider", "");
        let api_key = at.secret("api_key", "");
        let base_url = at.text("base_url", "");
        let base_url = base_url.map(|url| url.trim_end_matches('/').to_owned());
        all.push(ModelRoute { alias: alias.to_owned(), model, provider, api_key, base_url });
    });
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

    #[test]
    fn the_key_and_those_of_aliases_are_named_as_secrets() {
        let settings = Settings {
            key: Some(Secret::new("of-clients")),
            cors_origins: Vec::new(),
            model_name: "m".to_owned(),
            model_routes: vec![ModelRoute { api_key: Some(Secret::new("of-fast")), ..ModelRoute::default() }],
            direct_model_requests: false,
            max_concurrent_runs: 1,
            max_stored_responses: 1,
            fault: None,
        };
        let all: Vec<_> = platform::Settings::secrets(&settings).into_iter().map(Secret::expose).collect();
        assert_eq!(all, ["of-clients", "of-fast"]);
    }
}
