//! Which endpoint a profile's turns go to, with which key, or why none. Pure, and the one judge of that question: [`super::load()`]
//! puts its verdict among the problems of a profile, so that a worker, `gateway check`, `doctor`, `config` and `setup` say the
//! same.
//!
//! # Order
//!
//! `model.provider` → `HERMES_INFERENCE_PROVIDER` in the profile's `.env` → automatic: `model.base_url`, else
//! `OPENROUTER_API_KEY`, else `OPENAI_API_KEY` (which means OpenAI; 0.19.0 sends it to OpenRouter), else the first provider of
//! the table whose key is set. A provider the user declared under `providers` wins over an alias, not over a built-in id.
//!
//! # Keys
//!
//! A key comes from the profile's own files and nowhere else: the one written next to the address, else the variable named there
//! (`key_env`, `api_key_env`), else one of those that `auth.json` has for the provider (`pool`), else another variable of the profile's `.env`. A variable is chosen by the parsed host name (`host`): `OPENAI_API_KEY` goes to OpenAI's hosts only, whatever
//! the address looks like. A local server without a key gets the literal `no-key-required`.
//!
//! # Wires
//!
//! Chat completions, Anthropic's Messages and OpenAI's Responses. `api_mode` decides; without it the address does, as in 0.19.0: the
//! hosts of OpenAI and x.ai speak Responses, Anthropic's and paths that end in `/anthropic` Messages, everybody else chat completions.
//! `codex_responses` counts for nothing where a provider without a name is at another address. Any other wire is a [`ProviderError`]
//! that says what to do.

mod beside;
mod error;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use url::Url;

use super::host;
use super::network::Network;
use super::platform::ModelRoute;
use super::pool::Pool;
use super::schema::closest;
use super::{Model, ProfileConfig, Provider, Secret};
use hermes_wire::ProfileHome;
use hermes_wire::providers::{self, Row, TABLE, Wire};

pub use super::host::is_loopback;
pub use beside::{auxiliary, delegation};
pub use error::ProviderError;
pub(super) use error::Spot;

/// What a local server without a key is sent.
pub const NO_KEY: &str = "no-key-required";

/// Hosts that speak Responses where nobody says otherwise.
const RESPONSES: [&str; 2] = ["api.openai.com", "api.x.ai"];

/// What GitHub's service wants to be told of a request.
const COPILOT: [(&str, &str); 2] = [("Openai-Intent", "conversation-edits"), ("X-Initiator", "agent")];

/// Where keys of Kimi's coding plan are good.
const KIMI_CODING: &str = "https://api.kimi.com/coding";

/// Variable of `.env` that holds the address of the provider `custom`.
const CUSTOM_ADDRESS: &str = "CUSTOM_BASE_URL";

/// What is wrong with an address that is not there.
const NO_ADDRESS: &str = "none is set";

/// Variable of `.env` that names the provider where `model.provider` does not.
const BY_VARIABLE: &str = "HERMES_INFERENCE_PROVIDER";

/// Where turns go.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Provider name, for accounting.
    pub provider: String,
    /// Model id on the wire.
    pub model: String,
    /// Base address.
    pub base_url: Url,
    /// Sent to that address's host and to no other.
    pub key: Secret,
    /// Others that may be sent there in its place; it is among them.
    pub pool: Option<Pool>,
    /// Configured limit on an answer.
    pub max_tokens: Option<u64>,
    /// Merged into every request.
    pub extra_body: Map<String, Value>,
    /// Sent with every request.
    pub extra_headers: BTreeMap<String, Secret>,
    /// The server is on this machine or its network.
    pub local: bool,
    /// How it is reached.
    pub network: Network,
    /// The rule that chose it, for the log.
    pub rule: String,
    /// What it speaks: one of the three that are spoken here.
    pub wire: Wire,
    /// What is marked for its cache stays there for an hour.
    pub caches_an_hour: bool,
    /// Tokens of the model's window, where that is configured.
    pub context_length: Option<u64>,
}

impl Endpoint {
    /// Where turns are posted. A query in the base address is kept.
    pub fn turn_url(&self) -> Url {
        self.below(match self.wire {
            Wire::Messages => "messages",
            Wire::Responses => "responses",
            Wire::Chat | Wire::Other(_) => "chat/completions",
        })
    }

    /// Where its list of models is.
    pub fn models_url(&self) -> Url {
        self.below("models")
    }

    fn below(&self, what: &str) -> Url {
        let base = self.base_url.path().trim_end_matches('/');
        // The addresses of Messages are written without the version, and sometimes with it.
        let version = if self.wire == Wire::Messages && !base.ends_with("/v1") { "/v1" } else { "" };
        let mut url = self.base_url.clone();
        url.set_path(&format!("{base}{version}/{what}"));
        url
    }

    /// Whether chat completions are served beside Responses.
    pub fn also_serves_chat(&self) -> bool {
        RESPONSES.contains(&host::name(&self.base_url))
    }

    /// Whether this is Anthropic's own API.
    pub fn is_anthropic(&self) -> bool {
        host::is_under(host::name(&self.base_url), "anthropic.com")
    }

    /// Whether what is to be kept in the provider's cache is marked in the words of chat completions: OpenRouter passes the marks on to
    /// Anthropic.
    pub fn takes_marks(&self) -> bool {
        self.wire == Wire::Chat
            && host::is_under(host::name(&self.base_url), "openrouter.ai")
            && self.model.to_ascii_lowercase().contains("claude")
    }

    /// The same, below what the gateway was started with.
    #[must_use]
    pub fn inherits(mut self, environment: &[(String, String)]) -> Self {
        self.network = self.network.over(environment);
        self
    }

    /// Whether this is OpenAI's own API.
    pub fn is_openai(&self) -> bool {
        host::is_under(host::name(&self.base_url), "openai.com")
    }

    /// The base address for people and for accounting: no query, no final slash.
    pub fn shown_url(&self) -> String {
        let mut url = self.base_url.clone();
        url.set_query(None);
        url.set_fragment(None);
        url.as_str().trim_end_matches('/').to_owned()
    }
}

/// Decides; see the module.
pub fn resolve(config: &ProfileConfig, home: &ProfileHome) -> Result<Endpoint, ProviderError> {
    let resolver = Resolver { config, home };
    let endpoint = match requested(config) {
        Some((name, source)) => resolver.named(&name, source)?,
        None => resolver.automatic()?,
    };
    // A server of one's own may serve one model whatever it is called.
    if endpoint.model.is_empty() && !endpoint.local {
        return Err(ProviderError::NoModel { provider: endpoint.provider, file: home.config() });
    }
    sendable(&endpoint, home)?;
    Ok(endpoint)
}

/// Who is asked, in order, where that one fails; see the module.
pub fn fallbacks(config: &ProfileConfig, home: &ProfileHome) -> Vec<Result<Endpoint, ProviderError>> {
    let of = |model: &Model| resolve(&ProfileConfig { model: model.clone(), ..config.clone() }, home);
    config.fallbacks.iter().map(of).collect()
}

/// Who is asked by a client that names another model; see [`super::platform::ModelRoute`].
pub fn routed(
    config: &ProfileConfig,
    route: &ModelRoute,
    home: &ProfileHome,
) -> Result<Endpoint, ProviderError> {
    let ModelRoute { model, provider, api_key, base_url, .. } = route.clone();
    let own = &config.model;
    let model = if provider.is_none() && base_url.is_none() {
        let context_length = own.context_length.filter(|_| model == own.default);
        Model {
            default: model,
            api_key: api_key.or_else(|| own.api_key.clone()),
            context_length,
            ..own.clone()
        }
    } else {
        let provider = provider.or_else(|| Some("custom".to_owned()));
        let (max_tokens, caches_an_hour) = (own.max_tokens, own.caches_an_hour);
        Model { default: model, provider, api_key, base_url, max_tokens, caches_an_hour, ..Model::default() }
    };
    resolve(&ProfileConfig { model, ..config.clone() }, home)
}

/// The provider that the files name, and the key or variable that does.
pub fn requested(config: &ProfileConfig) -> Option<(String, &'static str)> {
    non_empty(config.model.provider.as_deref())
        .map(|name| (name, "model.provider"))
        .or_else(|| non_empty(config.env.get(BY_VARIABLE)).map(|name| (name, BY_VARIABLE)))
        .map(|(name, source)| (name.to_lowercase(), source))
        .filter(|(name, _)| name != "auto")
}

/// Refuses a key or header that no request can carry.
fn sendable(endpoint: &Endpoint, home: &ProfileHome) -> Result<(), ProviderError> {
    let refuse = |what: String| ProviderError::Header {
        provider: endpoint.provider.clone(),
        what,
        file: home.config(),
    };
    let is_value = |text: &str| text.bytes().all(|b| matches!(b, b'\t' | b' '..=b'~' | 0x80..));
    if !is_value(endpoint.key.expose().trim()) {
        return Err(refuse("the key".to_owned()));
    }
    for (name, value) in &endpoint.extra_headers {
        let is_name = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if !is_name || !is_value(value.expose()) {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
            return Err(refuse(format!("the extra header `{shown}`")));
        }
    }
    Ok(())
}

struct Resolver<'a> {
    config: &'a ProfileConfig,
    home: &'a ProfileHome,
}

impl Resolver<'_> {
    fn named(&self, name: &str, source: &'static str) -> Result<Endpoint, ProviderError> {
        let rule = format!("{source}: {name}");
        let declared = |name: &str| self.config.providers.iter().find(|p| p.name.to_lowercase() == name);
        if let Some(own) = name.strip_prefix("custom:") {
            return declared(own).map_or_else(|| Err(self.unknown(name, source)), |p| self.declared(p, rule));
        }
        if name == "custom" {
            return self.custom(rule);
        }
        if let Some(row) = providers::by_id(name) {
            return self.built_in(row, rule);
        }
        if let Some(provider) = declared(name) {
            return self.declared(provider, rule);
        }
        match providers::alias(name) {
            Some("custom") => self.custom(rule),
            Some(id) => providers::by_id(id)
                .map_or_else(|| Err(self.unknown(name, source)), |row| self.built_in(row, rule)),
            None => Err(self.unknown(name, source)),
        }
    }

    fn automatic(&self) -> Result<Endpoint, ProviderError> {
        if let Some(base_url) = non_empty(self.config.model.base_url.as_deref()) {
            let rule = "automatic: model.base_url".to_owned();
            let known = Url::parse(base_url).ok().and_then(|url| {
                let known = |row: &&Row| Url::parse(row.base_url).is_ok_and(|own| own.host() == url.host());
                TABLE.iter().filter(|row| !row.explicit_only).find(known)
            });
            return match known {
                Some(row) => self.built_in(row, rule),
                None => self.custom(rule),
            };
        }
        for row in TABLE.iter().filter(|row| !row.explicit_only) {
            if self.config.pools.of(row.id, &[], &self.config.env).is_some() {
                return self.built_in(row, format!("automatic: auth.json has keys for {}", row.id));
            }
            if let Some((variable, _)) = self.first_key(row.keys.iter().copied()) {
                return self.built_in(row, format!("automatic: {variable} is set"));
            }
        }
        Err(ProviderError::None { profile: self.config.name.clone(), env_file: self.home.env_file() })
    }

    /// A provider of the table.
    fn built_in(&self, row: &Row, rule: String) -> Result<Endpoint, ProviderError> {
        let model = &self.config.model;
        let own_wire = row.wire_of(&model.default);
        let from_env = row.url_env.and_then(|name| non_empty(self.config.env.get(name)));
        let configured = non_empty(model.base_url.as_deref());
        let address = configured.or(from_env).unwrap_or(row.base_url);
        let address_key = match (configured, from_env, row.url_env) {
            (None, Some(_), Some(variable)) => variable,
            _ => "model.base_url",
        };
        if address.is_empty() && !matches!(own_wire, Wire::Other(_)) {
            return Err(self.address(row.id, address_key, NO_ADDRESS));
        }
        // An address that someone wrote may serve chat completions where the provider's own does not.
        let mode = non_empty(model.api_mode.as_deref());
        if let Wire::Other(wire) = own_wire
            && !(address_speaks_chat(address) || (mode == Some("chat_completions") && !address.is_empty()))
        {
            return Err(self.wire(row.id, rule, wire));
        }
        let mut base_url = self.parse(row.id, address_key, address)?;
        let mut wire = self.wire_of(row.id, &rule, &base_url, mode)?;
        if (own_wire == Wire::Messages || row.is_per_model()) && mode.is_none() {
            wire = own_wire;
        }
        // Next to its own variable for the address a key needs no further proof that the two belong together.
        let paired = configured.is_none();
        let allowed = row.keys.iter().copied().filter(|name| paired || host::may_get(name, &base_url));
        let by_host = if paired { Vec::new() } else { host::key_variables(&base_url) };
        let named = non_empty(model.key_env.as_deref());
        let key = written_key(model.api_key.as_ref()).or_else(|| self.first_key(named).map(|(_, key)| key));
        let allowed: Vec<&str> = allowed.chain(by_host.iter().map(String::as_str)).collect();
        let pool = if key.is_none() { self.pool(row.id, &allowed, &base_url, paired) } else { None };
        let key = key
            .or_else(|| first_of(pool.as_ref()))
            .or_else(|| self.first_key(allowed).map(|(_, key)| key))
            .or_else(|| host::is_local(&base_url).then(|| Secret::new(NO_KEY)));
        let Some(key) = key else {
            let withheld = self.first_key(row.keys.iter().copied()).map(|(variable, _)| {
                format!(
                    ", or put the key for `{}` in model.api_key: {variable} is only sent to its vendor's own hosts",
                    host::name(&base_url)
                )
            });
            let variables =
                missing(model.api_key.as_ref(), named.into_iter().chain(row.keys.iter().copied()));
            return Err(self.no_key(row.id, variables, withheld.unwrap_or_default()));
        };
        if row.id == "kimi-coding"
            && key.expose().starts_with("sk-kimi-")
            && configured.or(from_env).is_none()
        {
            base_url = self.parse(row.id, address_key, KIMI_CODING)?;
            wire = self.wire_of(row.id, &rule, &base_url, mode)?;
        }
        let mut endpoint = self.endpoint(row.id, base_url, key, (rule, wire));
        endpoint.pool = pool.filter(|pool| pool.keys.len() > 1);
        if row.is_per_model() {
            // `opencode-zen/claude-…` is how other programs write it.
            endpoint.model = endpoint.model.rsplit('/').next().unwrap_or_default().to_owned();
        }
        if row.id == "copilot" {
            endpoint.extra_headers =
                COPILOT.map(|(name, value)| (name.to_owned(), Secret::new(value))).into();
        }
        Ok(endpoint)
    }

    /// An address without a provider.
    fn custom(&self, rule: String) -> Result<Endpoint, ProviderError> {
        let model = &self.config.model;
        let (address, key) = non_empty(model.base_url.as_deref())
            .map(|address| (address, "model.base_url"))
            .or_else(|| Some((non_empty(self.config.env.get(CUSTOM_ADDRESS))?, CUSTOM_ADDRESS)))
            .ok_or_else(|| self.address("custom", "model.base_url", NO_ADDRESS))?;
        let base_url = self.parse("custom", key, address)?;
        let wire = self.wire_of("custom", &rule, &base_url, non_empty(model.api_mode.as_deref()))?;
        let named = model.key_env.as_deref();
        let key = self.custom_key("custom", model.api_key.as_ref(), named, &base_url)?;
        Ok(self.endpoint("custom", base_url, key, (rule, wire)))
    }

    /// A provider the user declared.
    fn declared(&self, provider: &Provider, rule: String) -> Result<Endpoint, ProviderError> {
        let name = provider.name.as_str();
        if !provider.enabled {
            return Err(ProviderError::Disabled { name: name.to_owned(), file: self.home.config() });
        }
        let key = format!("providers.{name}.base_url");
        let address =
            non_empty(provider.base_url.as_deref()).ok_or_else(|| self.address(name, &key, NO_ADDRESS))?;
        let base_url = self.parse(name, &key, address)?;
        let wire = self.wire_of(name, &rule, &base_url, non_empty(provider.api_mode.as_deref()))?;
        let written = written_key(provider.api_key.as_ref())
            .or_else(|| self.first_key(non_empty(provider.key_env.as_deref())).map(|(_, key)| key));
        let pooled = format!("custom:{}", name.trim().to_lowercase().replace(' ', "-"));
        let pool = if written.is_none() { self.pool(&pooled, &[], &base_url, true) } else { None };
        let key = match first_of(pool.as_ref()) {
            Some(key) => key,
            None => {
                self.custom_key(name, provider.api_key.as_ref(), provider.key_env.as_deref(), &base_url)?
            }
        };
        let mut endpoint = self.endpoint(name, base_url, key, (rule, wire));
        endpoint.pool = pool.filter(|pool| pool.keys.len() > 1);
        if endpoint.model.is_empty() {
            endpoint.model = provider.default_model.clone().unwrap_or_default();
        }
        endpoint.max_tokens = endpoint.max_tokens.or(provider.max_output_tokens);
        endpoint.extra_body.clone_from(&provider.extra_body);
        endpoint.extra_headers.clone_from(&provider.extra_headers);
        Ok(endpoint)
    }

    /// The key for an address of the user's own: written next to it, named next to it, chosen by host, or none needed.
    fn custom_key(
        &self,
        provider: &str,
        written: Option<&Secret>,
        named: Option<&str>,
        base_url: &Url,
    ) -> Result<Secret, ProviderError> {
        let by_host = host::key_variables(base_url);
        let named = non_empty(named);
        written_key(written)
            .or_else(|| self.first_key(named).map(|(_, key)| key))
            .or_else(|| self.first_key(by_host.iter().map(String::as_str)).map(|(_, key)| key))
            .or_else(|| host::is_local(base_url).then(|| Secret::new(NO_KEY)))
            .ok_or_else(|| {
                let variables = missing(written, named.into_iter().chain(by_host.iter().map(String::as_str)));
                let hint = format!(", or api_key next to the address in `{}`", self.home.config());
                self.no_key(provider, variables, hint)
            })
    }

    /// The keys that `auth.json` has for an address. One that belongs to another host is not sent there; `paired`: those that belong to none
    /// are.
    fn pool(&self, provider: &str, variables: &[&str], base_url: &Url, paired: bool) -> Option<Pool> {
        let mut pool = self.config.pools.of(provider, variables, &self.config.env)?;
        pool.keys.retain(|credential| match &credential.base_url {
            Some(own) => Url::parse(own).is_ok_and(|own| host::name(&own) == host::name(base_url)),
            None => paired,
        });
        (!pool.keys.is_empty()).then_some(pool)
    }

    /// The first of these variables that is set, with its value.
    fn first_key<'n>(&self, variables: impl IntoIterator<Item = &'n str>) -> Option<(&'n str, Secret)> {
        variables
            .into_iter()
            .find_map(|name| Some((name, Secret::new(non_empty(self.config.env.get(name))?))))
    }

    fn endpoint(&self, provider: &str, base_url: Url, key: Secret, (rule, wire): (String, Wire)) -> Endpoint {
        Endpoint {
            provider: provider.to_owned(),
            model: self.config.model.default.clone(),
            local: host::is_local(&base_url),
            base_url,
            key,
            pool: None,
            max_tokens: self.config.model.max_tokens,
            extra_body: Map::new(),
            extra_headers: BTreeMap::new(),
            network: Network::of(&self.config.env),
            rule,
            wire,
            caches_an_hour: self.config.model.caches_an_hour,
            context_length: self.config.model.context_length,
        }
    }

    fn parse(&self, provider: &str, key: &str, address: &str) -> Result<Url, ProviderError> {
        let url = Url::parse(address)
            .map_err(|e| self.address(provider, key, &format!("it is not a URL ({e})")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(self.address(provider, key, "it must start with http:// or https://"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.address(provider, key, "it must not hold a user name or password; use api_key"));
        }
        Ok(url)
    }

    /// What an address speaks.
    fn wire_of(
        &self,
        provider: &str,
        rule: &str,
        url: &Url,
        mode: Option<&str>,
    ) -> Result<Wire, ProviderError> {
        let host = host::name(url);
        let path = url.path().trim_end_matches('/');
        let is_messages = || {
            host == "api.anthropic.com"
                || path.ends_with("/anthropic")
                || path.ends_with("/anthropic/v1")
                || (host == "api.kimi.com" && path.starts_with("/coding"))
        };
        Ok(match mode {
            Some(wire @ ("bedrock_converse" | "codex_app_server")) => {
                return Err(self.wire(provider, rule.to_owned(), wire));
            }
            Some("anthropic_messages") => Wire::Messages,
            Some("codex_responses") if provider != "custom" => Wire::Responses,
            Some("chat_completions") => Wire::Chat,
            _ if RESPONSES.contains(&host) => Wire::Responses,
            _ if is_messages() => Wire::Messages,
            _ => Wire::Chat,
        })
    }

    fn unknown(&self, name: &str, source: &'static str) -> ProviderError {
        let declared = self.config.providers.iter().map(|p| p.name.clone());
        let known: Vec<String> =
            providers::names().chain(["custom"]).map(str::to_owned).chain(declared).collect();
        let close = closest(name, known.iter().map(String::as_str)).map(str::to_owned);
        let file = if source == BY_VARIABLE { self.home.env_file() } else { self.home.config() };
        ProviderError::Unknown { name: name.to_owned(), by: source, close, file }
    }

    fn address(&self, provider: &str, key: &str, why: &str) -> ProviderError {
        // Variables are written in capitals, keys are not.
        let variable = !key.contains(char::is_lowercase);
        let file = if variable { self.home.env_file() } else { self.home.config() };
        ProviderError::Address {
            provider: provider.to_owned(),
            why: why.to_owned(),
            key: key.to_owned(),
            file,
        }
    }

    fn wire(&self, provider: &str, rule: String, wire: &str) -> ProviderError {
        ProviderError::Wire {
            provider: provider.to_owned(),
            rule,
            wire: wire.to_owned(),
            file: self.home.config(),
        }
    }

    fn no_key(&self, provider: &str, variables: String, hint: String) -> ProviderError {
        let variables = if variables.is_empty() { "a key".to_owned() } else { variables };
        ProviderError::NoKey { provider: provider.to_owned(), variables, file: self.home.env_file(), hint }
    }
}

/// The key of a pool that is used where nothing speaks against it.
fn first_of(pool: Option<&Pool>) -> Option<Secret> {
    let keys = &pool?.keys;
    keys.iter()
        .find(|credential| credential.until <= 0.0)
        .or(keys.first())
        .map(|credential| credential.key.clone())
}

/// A key as written in a file, unless it is only a reference to a variable that does not exist.
fn written_key(key: Option<&Secret>) -> Option<Secret> {
    key.filter(|key| !key.expose().trim().is_empty() && !key.expose().contains("${")).cloned()
}

/// Variables one of which would give a key: the one that the written key refers to comes first.
fn missing<'n>(written: Option<&'n Secret>, others: impl Iterator<Item = &'n str>) -> String {
    let referred =
        written.and_then(|key| key.expose().split_once("${")?.1.split_once('}')).map(|(name, _)| name);
    referred.into_iter().chain(others).collect::<Vec<_>>().join(" or ")
}

/// Google serves chat completions below this path.
fn address_speaks_chat(address: &str) -> bool {
    address.trim_end_matches('/').ends_with("/openai")
}

fn non_empty(text: Option<&str>) -> Option<&str> {
    text.map(str::trim).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
