//! What configuration says of tool servers (`mcp_servers`, the Model Context Protocol): plain data.

use std::collections::BTreeMap;
use std::time::Duration;

use super::secret::Secret;

/// Most servers that one profile may have.
pub const MAX_SERVERS: usize = 64;
/// Longest name of a server, in characters.
pub const MAX_NAME: usize = 64;

/// Every tool server of a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolServers {
    /// In the order of their names.
    pub all: Vec<ToolServer>,
    /// `mcp_discovery_timeout`: how long the first turns wait for servers that are still coming up. Default 1.5 s.
    pub discovery: Duration,
}

impl Default for ToolServers {
    fn default() -> Self {
        Self { all: Vec::new(), discovery: Duration::from_millis(1500) }
    }
}

/// One `mcp_servers.<name>`.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolServer {
    /// Its name, which is also that of the group of its tools.
    pub name: String,
    /// `enabled`, and not `disabled`. Default true.
    pub enabled: bool,
    /// Why it cannot be used, where that is so.
    pub fault: Option<String>,
    /// `command`: a program that is started, and talked to by its standard input and output.
    pub command: Option<String>,
    /// `args`
    pub args: Vec<Secret>,
    /// `env`: all that it gets besides the usual variables.
    pub env: BTreeMap<String, Secret>,
    /// `cwd`
    pub cwd: Option<String>,
    /// `url`: a server that is there already. May hold a key.
    pub url: Option<Secret>,
    /// `headers`
    pub headers: BTreeMap<String, Secret>,
    /// `transport`, where it says something.
    pub transport: Option<String>,
    /// `auth: oauth`
    pub oauth: bool,
    /// `oauth.*`
    pub client: OAuthClient,
    /// `ssl_verify`
    pub verify: Verify,
    /// `client_cert`: a file.
    pub client_cert: Option<String>,
    /// `client_key`: a file; the certificate's own where it is not set.
    pub client_key: Option<String>,
    /// `protocol`: which of the two ways of beginning a conversation it knows.
    pub protocol: Protocol,
    /// `timeout`: of one call. Default 300 s.
    pub timeout: Duration,
    /// `connect_timeout`: from the start to the list of tools. Default 60 s.
    pub connect_timeout: Duration,
    /// `keepalive_interval`: it is asked whether it is there, so often. `None`: never. Default 180 s, at least 5.
    pub keepalive: Option<Duration>,
    /// `idle_timeout_seconds`: a program that nobody called for so long is ended, and started again by the next call.
    pub idle: Option<Duration>,
    /// `max_lifetime_seconds`: a program that runs for so long is started anew, between two calls.
    pub lifetime: Option<Duration>,
    /// `supports_parallel_tool_calls`
    pub parallel: bool,
    /// `tools.*`
    pub tools: ToolFilter,
}

/// Which tools of a server are offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolFilter {
    /// `tools.include`: these and no others; empty: all.
    pub include: Vec<String>,
    /// `tools.exclude`: not these.
    pub exclude: Vec<String>,
    /// `tools.resources`: tools that list and read its resources. Default true.
    pub resources: bool,
    /// `tools.prompts`: tools that list and fill in its prompts. Default true.
    pub prompts: bool,
}

impl Default for ToolFilter {
    fn default() -> Self {
        Self { include: Vec::new(), exclude: Vec::new(), resources: true, prompts: true }
    }
}

impl ToolFilter {
    /// Whether a tool is offered, by the name that the server has for it.
    pub fn offers(&self, tool: &str) -> bool {
        let is_in = |list: &[String]| list.iter().any(|name| name == tool);
        (self.include.is_empty() || is_in(&self.include)) && !is_in(&self.exclude)
    }
}

/// Who this program is to the server that gives out tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OAuthClient {
    /// `oauth.client_id`: as registered beforehand; without one it registers itself.
    pub id: Option<String>,
    /// `oauth.client_secret`
    pub secret: Option<Secret>,
    /// `oauth.scope`: what is asked for; empty: what the server proposes.
    pub scopes: Vec<String>,
    /// `oauth.redirect_port`: of the loopback address that the browser comes back to; none: any.
    pub redirect_port: Option<u16>,
}

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verify {
    /// Those that the profile's requests believe otherwise.
    #[default]
    Usual,
    /// Those in this file or directory.
    Named(String),
    /// Anybody's.
    Nobodys,
}

/// How a conversation with a server begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// Asked: without a handshake where the server can, else with it.
    #[default]
    Auto,
    /// With the handshake: 2025-11-25 and before.
    Handshake,
    /// Without one: 2026-07-28 and later.
    Stateless,
}

impl ToolServer {
    /// All defaults.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            enabled: true,
            fault: None,
            command: None,
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            url: None,
            headers: BTreeMap::new(),
            transport: None,
            oauth: false,
            client: OAuthClient::default(),
            verify: Verify::Usual,
            client_cert: None,
            client_key: None,
            protocol: Protocol::Auto,
            timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(60),
            keepalive: Some(Duration::from_secs(180)),
            idle: None,
            lifetime: None,
            parallel: false,
            tools: ToolFilter::default(),
        }
    }

    /// What must not be seen of it: values that only it is given.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let of_client = self.client.secret.iter();
        self.env.values().chain(self.headers.values()).chain(of_client)
    }

    /// Why it cannot be told to an agent of the Agent Client Protocol, which has no word for everything; `None`: it can.
    pub fn unspeakable(&self) -> Option<&'static str> {
        if self.oauth {
            return Some("it is behind a login (`auth: oauth`), whose tokens stay here");
        }
        if self.verify != Verify::Usual || self.client_cert.is_some() || self.client_key.is_some() {
            return Some("the protocol has no word for `ssl_verify`, `client_cert` and `client_key`");
        }
        if self.cwd.is_some() {
            return Some("the protocol has no word for `cwd`");
        }
        let all = self.tools == ToolFilter::default();
        (!all).then_some("the protocol has no word for `tools`: the agent would have all of them")
    }

    /// For people: the program, or where the server is, without anything that may be a key.
    pub fn place(&self) -> String {
        let Some(url) = &self.url else { return self.command.clone().unwrap_or_default() };
        match url::Url::parse(url.expose()) {
            Ok(url) => {
                let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
                format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
            }
            Err(_) => "an address that is none".to_owned(),
        }
    }
}

/// Whether a name may be a server's: it is part of the names of its tools, of a file and of a line of status.
pub fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | ' ' | '/' | '@' | ':');
    !name.is_empty() && name.chars().count() <= MAX_NAME && name.chars().all(fits) && name.trim() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_holds_no_key() {
        let mut server = ToolServer::new("x");
        server.url = Some(Secret::new("https://me:topsecret@host:81/mcp?key=topsecret#topsecret"));
        assert_eq!(server.place(), "https://host:81/mcp");
        server.url = Some(Secret::new("topsecret"));
        assert_eq!(server.place(), "an address that is none");
    }

    #[test]
    fn which_tools_are_offered() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut filter = ToolFilter::default();
        assert!(filter.offers("a"));
        filter.include = list(&["a", "b"]);
        filter.exclude = list(&["b"]);
        assert_eq!(["a", "b", "c"].map(|name| filter.offers(name)), [true, false, false]);
    }

    #[test]
    fn names_of_servers() {
        for name in ["github", "my server", "@scope/x", "a.b-c_d", "größe"] {
            assert!(is_name(name), "{name}");
        }
        let long = "n".repeat(MAX_NAME + 1);
        for name in ["", " a", "a\nb", "a\u{1b}", "a\"b", &long] {
            assert!(!is_name(name), "{name}");
        }
    }
}
