//! What a profile needs before its agent can answer and be reached, and which settings give it that.
//!
//! Pure: the wizard (`cli::setup`) asks and writes, this decides. Keys go to `.env` under the names that the worker looks for;
//! everything else goes to `config.yaml`.

use hermes_config::Secret;
use hermes_wire::providers::{self, Row, TABLE, Wire};

/// Variable of the key of a server that is not in the table.
pub(crate) const CUSTOM_KEY: &str = "CUSTOM_API_KEY";
/// Variable of the key that callers of a profile's API server send.
pub(crate) const API_KEY: &str = "API_SERVER_KEY";
/// Variable of the secret that webhook senders sign with.
pub(crate) const WEBHOOK_SECRET: &str = "WEBHOOK_SECRET";

/// Whether an address is one of this machine, whose servers ask for no key.
pub(crate) fn is_local(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["127.0.0.1", "localhost", "[::1]"].iter().any(|local| {
        host.strip_prefix(local).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/']))
    })
}

/// The providers that can be offered: those of the table whose wire the worker speaks.
pub(crate) fn offered() -> impl Iterator<Item = &'static Row> {
    TABLE.iter().filter(|row| !matches!(row.wire_of(""), Wire::Other(_)))
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Engine {
    /// A provider of the table.
    Known {
        /// Its row's id.
        id: &'static str,
        /// A new key; none keeps the one there is.
        key: Option<Secret>,
        /// An address of one's own; none is the table's.
        base_url: Option<String>,
        /// The model.
        model: String,
    },
    /// Any server that speaks chat completions.
    Custom {
        /// Its address.
        base_url: String,
        /// Its key, if it wants one.
        key: Option<Secret>,
        /// The model.
        model: String,
    },
    /// The built-in echo: offline, no model.
    Echo,
}

/// How a profile is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Platforms {
    /// The OpenAI-compatible API: its new key, and its port where this profile has listeners of its own.
    pub(crate) api: Option<(Option<Secret>, Option<u16>)>,
    /// Webhooks: the new secret, and the port likewise.
    pub(crate) webhook: Option<(Option<Secret>, Option<u16>)>,
    /// No route exists yet, so that one is made.
    pub(crate) first_route: bool,
    /// Whether this gateway serves every profile; not asked of other profiles than `default`.
    pub(crate) multiplex: Option<bool>,
}

/// One change of a profile's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// A variable of `.env`.
    Env(&'static str, Secret),
    /// A key of `config.yaml`, and its value as somebody would type it.
    Set(&'static str, String),
    /// A key of `config.yaml` that must not be there, if it is.
    Unset(&'static str),
}

/// The changes that make `engine` answer.
pub(crate) fn engine_changes(engine: &Engine) -> Vec<Change> {
    let set = |key, value: &str| Change::Set(key, value.to_owned());
    match engine {
        Engine::Known { id, key, base_url, model } => {
            let variable = providers::by_id(id).and_then(|row| row.keys.first());
            let key = variable.zip(key.clone()).map(|(name, key)| Change::Env(name, key));
            let address = match base_url {
                Some(url) => set("model.base_url", url),
                None => Change::Unset("model.base_url"),
            };
            // One that was written for another provider would be sent to this one.
            let rest = [
                set("model.provider", id),
                set("model.default", model),
                address,
                Change::Unset("model.api_key"),
            ];
            key.into_iter().chain(rest).chain([Change::Unset("agent.engine")]).collect()
        }
        Engine::Custom { base_url, key, model } => {
            let written = match key {
                Some(_) => set("model.api_key", &format!("${{{CUSTOM_KEY}}}")),
                None => Change::Unset("model.api_key"),
            };
            let key = key.clone().map(|key| Change::Env(CUSTOM_KEY, key));
            let rest = [
                set("model.provider", "custom"),
                set("model.default", model),
                set("model.base_url", base_url),
                written,
            ];
            key.into_iter().chain(rest).chain([Change::Unset("agent.engine")]).collect()
        }
        Engine::Echo => vec![set("agent.engine", "echo")],
    }
}

/// The changes that make a profile reachable. With `listeners` it has listeners of its own, else it is served below the default
/// profile's.
pub(crate) fn platform_changes(platforms: &Platforms, listeners: bool) -> Vec<Change> {
    let mut changes = Vec::new();
    let set = |key, value: &str| Change::Set(key, value.to_owned());
    if let Some((key, port)) = &platforms.api {
        changes.extend(key.clone().map(|key| Change::Env(API_KEY, key)));
        if listeners {
            changes.push(set("platforms.api_server.enabled", "true"));
            changes.extend(port.map(|port| set("platforms.api_server.extra.port", &port.to_string())));
        }
    }
    if let Some((secret, port)) = &platforms.webhook {
        changes.extend(secret.clone().map(|secret| Change::Env(WEBHOOK_SECRET, secret)));
        if listeners {
            changes.push(set("platforms.webhook.enabled", "true"));
            changes.push(set("platforms.webhook.extra.host", "127.0.0.1"));
            changes.extend(port.map(|port| set("platforms.webhook.extra.port", &port.to_string())));
        }
        if platforms.first_route {
            changes.push(set("platforms.webhook.extra.routes.inbox.prompt", "An event came in: {__raw__}"));
        }
    }
    changes.extend(
        platforms.multiplex.map(|on| set("gateway.multiplex_profiles", if on { "true" } else { "false" })),
    );
    changes
}

#[cfg(test)]
mod tests {
    use hermes_config::EngineKind;

    use super::*;

    fn loaded(yaml: &str, env: &str) -> hermes_config::Loaded {
        use hermes_config::{Input, load};
        let (profile, home) =
            (hermes_wire::ProfileName::default_profile(), hermes_wire::ProfileHome::new("/h"));
        load(Input {
            registry: &hermes_worker::REGISTRY,
            profile: &profile,
            role: hermes_wire::latest::Role::Primary,
            multiplex: None,
            listeners: &[],
            home: &home,
            yaml: Some(yaml.as_bytes()),
            env: Some(env.as_bytes()),
        })
    }

    #[test]
    fn only_this_machine_s_addresses_are_local() {
        assert!(!is_local("https://localhost.example/v1") && is_local("http://localhost:1/v1"));
    }

    /// Whatever the wizard decides gives a profile that lacks nothing.
    #[test]
    fn every_engine_that_is_offered_can_answer() {
        let key = || Some(Secret::new("a-key"));
        let known = offered().map(|row| Engine::Known {
            id: row.id,
            key: key(),
            base_url: row.base_url.is_empty().then(|| "https://x.example/v1".to_owned()),
            model: "m".to_owned(),
        });
        let custom = |base_url: &str, key| Engine::Custom {
            base_url: base_url.to_owned(),
            key,
            model: "m".to_owned(),
        };
        let others =
            [custom("http://localhost:1234/v1", None), custom("https://x.example/v1", key()), Engine::Echo];
        for engine in known.chain(others) {
            let (mut yaml, mut env) = ("agent: {engine: native}\n".to_owned(), String::new());
            for change in engine_changes(&engine) {
                use hermes_config::{dotenv_edit, edit};
                match change {
                    Change::Env(name, value) => env = dotenv_edit::set(&env, name, value.expose()).unwrap(),
                    Change::Set(key, value) => {
                        let path: Vec<&str> = key.split('.').collect();
                        yaml = edit::set(&yaml, &path, &edit::Value::from(value.as_str())).unwrap().text;
                    }
                    Change::Unset(key) => {
                        let path: Vec<&str> = key.split('.').collect();
                        yaml = edit::unset(&yaml, &path).unwrap().unwrap_or(yaml);
                    }
                }
            }
            let loaded = loaded(&yaml, &env);
            assert_eq!(loaded.problems, [], "{engine:?}: {yaml}{env}");
            let echo = loaded.config.unwrap().agent.engine == EngineKind::Echo;
            assert_eq!(echo, engine == Engine::Echo, "{yaml}");
        }
    }
}
