//! Reads `mcp_servers`. An entry that is wrong keeps nobody from starting: it is a warning with its place, and its server is not used,
//! which its status says too.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reader::{At, Reader};
use super::scalar::boolean;
use super::secret::Secret;
use super::servers::{
    MAX_NAME, MAX_SERVERS, OAuthClient, Protocol, ToolFilter, ToolServer, ToolServers, Verify, is_name,
};
use super::yaml::Value;

/// Longest time that anything here may be set to.
const YEAR: Duration = Duration::from_hours(365 * 24);
/// Shortest time between two looks at whether a server is there.
const SHORTEST_KEEPALIVE: Duration = Duration::from_secs(5);

/// What both files say of tool servers.
pub(super) fn read(reader: &mut Reader<'_>, root: &At) -> ToolServers {
    let mark = reader.problems.mark();
    let at = root.key("mcp_servers");
    let mut all = Vec::new();
    if reader.expect_map(&at) {
        for (name, at) in at.entries() {
            if !is_name(&name) {
                let message = format!("`{}` is no name of a server and is not read", at.path);
                let fix = format!("A name has letters, digits, `-`, `_` and `.`, {MAX_NAME} at most.");
                reader.warn("mcp_server", reader.place(&at), message, &fix);
            } else if all.len() >= MAX_SERVERS {
                let message = format!("`{}` is one server more than {MAX_SERVERS} and is not read", at.path);
                reader.warn("mcp_server", reader.place(&at), message, "Remove those that are not used.");
            } else {
                all.push(server(reader, name, &at));
            }
        }
    }
    all.sort_by(|a: &ToolServer, b| a.name.cmp(&b.name));
    let discovery =
        reader.seconds(&root.key("mcp_discovery_timeout"), YEAR).unwrap_or(ToolServers::default().discovery);
    reader.problems.soften_since(mark);
    ToolServers { all, discovery }
}

/// What an entry asks for that is not done.
pub(super) fn idle(at: &At) -> Vec<&'static str> {
    let is_off = |at: &At| {
        let flag = |at: &At| match at.node().map(|node| &node.value) {
            Some(Value::Scalar { text, .. }) => boolean(text),
            _ => None,
        };
        !at.is_set() || flag(at) == Some(false) || flag(&at.key("enabled")) == Some(false)
    };
    let mut idle: Vec<&'static str> =
        ["sampling", "elicitation"].into_iter().filter(|key| !is_off(&at.key(key))).collect();
    if at.key("transport").says("sse") {
        idle.push("transport sse");
    }
    idle
}

fn server(reader: &mut Reader<'_>, name: String, at: &At) -> ToolServer {
    let mark = reader.problems.mark();
    let mut server = ToolServer::new(name);
    if !reader.expect_map(at) {
        if !at.is_set() {
            reader.wrong_type(at, "a mapping of keys to values");
        }
        server.fault = Some(format!("`{}` says nothing about it", at.path));
        return server;
    }
    let below = |key: &str| at.key(key);
    let off = reader.flag(&below("disabled")).unwrap_or(false);
    server.enabled = reader.flag(&below("enabled")).unwrap_or(true) && !off;
    server.command = reader.text(&below("command"));
    server.args = arguments(reader, &below("args"));
    server.env = values(reader, &below("env"));
    server.cwd = reader.text(&below("cwd"));
    server.url = reader.secret(&below("url"));
    server.headers = values(reader, &below("headers"));
    server.transport = reader.text(&below("transport"));
    server.oauth = reader.choice(&below("auth"), &[("none", false), ("oauth", true)]).unwrap_or(server.oauth);
    server.client = client(reader, &below("oauth"));
    server.verify = verify(reader, &below("ssl_verify"));
    server.client_cert = reader.text(&below("client_cert"));
    server.client_key = reader.text(&below("client_key"));
    let protocols =
        [("auto", Protocol::Auto), ("2025-11-25", Protocol::Handshake), ("2026-07-28", Protocol::Stateless)];
    server.protocol = reader.choice(&below("protocol"), &protocols).unwrap_or_default();
    let mut seconds = |key: &str, default: Duration| {
        let at = below(key).or(below("lifecycle").key(key));
        reader.seconds(&at, YEAR).unwrap_or(default)
    };
    server.timeout = above_zero(seconds("timeout", server.timeout), server.timeout);
    server.connect_timeout =
        above_zero(seconds("connect_timeout", server.connect_timeout), server.connect_timeout);
    let keepalive = seconds("keepalive_interval", server.keepalive.unwrap_or_default());
    server.keepalive = Some(keepalive).filter(|time| !time.is_zero()).map(|t| t.max(SHORTEST_KEEPALIVE));
    let some = |time: Duration| Some(time).filter(|time| !time.is_zero());
    server.idle = some(seconds("idle_timeout_seconds", Duration::ZERO));
    server.lifetime = some(seconds("max_lifetime_seconds", Duration::ZERO));
    server.parallel = reader.flag(&below("supports_parallel_tool_calls")).unwrap_or(false);
    server.tools = filter(reader, &below("tools"));
    server.fault = if reader.problems.has_fatal_since(mark) {
        Some(format!("`{}` has an error; `hermes config check` names it", at.path))
    } else {
        fault(reader, at, &server)
    };
    server
}

/// Nothing is no time to wait.
fn above_zero(time: Duration, default: Duration) -> Duration {
    if time.is_zero() { default } else { time }
}

/// Why an entry whose parts are right is no server.
fn fault(reader: &mut Reader<'_>, at: &At, server: &ToolServer) -> Option<String> {
    let (message, fix) = match (&server.command, &server.url) {
        (None, None) => ("has neither `command` nor `url`".to_owned(), "Give it one of the two."),
        (Some(_), Some(_)) => ("has both `command` and `url`".to_owned(), "Remove one of the two."),
        (None, Some(url)) if !is_address(url.expose()) => {
            ("has a `url` that is no http or https address".to_owned(), "Correct it.")
        }
        (None, Some(_)) if server.transport.as_deref().is_some_and(|t| t.eq_ignore_ascii_case("sse")) => {
            return Some("the older transport sse is not supported yet".to_owned());
        }
        _ => return None,
    };
    if server.enabled {
        let text = format!("`{}` {message}: its tools cannot be offered", at.path);
        reader.warn("mcp_server", reader.place(at), text, fix);
    }
    Some(format!("its entry {message}"))
}

fn is_address(text: &str) -> bool {
    url::Url::parse(text)
        .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
}

/// Exactly as they stand there; one text alone is one argument.
fn arguments(reader: &mut Reader<'_>, at: &At) -> Vec<Secret> {
    if at.is_seq() {
        return at.items().iter().filter_map(|item| reader.raw_text(item)).map(Secret::new).collect();
    }
    if at.is_map() {
        reader.wrong_type(at, "a list");
        return Vec::new();
    }
    reader.raw_text(at).map(Secret::new).into_iter().collect()
}

fn values(reader: &mut Reader<'_>, at: &At) -> BTreeMap<String, Secret> {
    let entries = if reader.expect_map(at) { at.entries() } else { Vec::new() };
    entries.into_iter().filter_map(|(name, at)| Some((name, Secret::new(reader.raw_text(&at)?)))).collect()
}

fn client(reader: &mut Reader<'_>, at: &At) -> OAuthClient {
    reader.expect_map(at);
    let scope = at.key("scope").or(at.key("scopes"));
    let scopes =
        reader.list(&scope).iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect();
    OAuthClient {
        id: reader.text(&at.key("client_id")),
        secret: reader.secret(&at.key("client_secret")),
        scopes,
        redirect_port: reader
            .number(&at.key("redirect_port"), 1..=65_535)
            .and_then(|n| u16::try_from(n).ok()),
    }
}

fn verify(reader: &mut Reader<'_>, at: &At) -> Verify {
    match reader.text(at) {
        None => Verify::Usual,
        Some(text) => match boolean(&text) {
            Some(true) => Verify::Usual,
            Some(false) => Verify::Nobodys,
            None => Verify::Named(text),
        },
    }
}

fn filter(reader: &mut Reader<'_>, at: &At) -> ToolFilter {
    reader.expect_map(at);
    ToolFilter {
        include: reader.list(&at.key("include")),
        exclude: reader.list(&at.key("exclude")),
        resources: reader.flag(&at.key("resources")).unwrap_or(true),
        prompts: reader.flag(&at.key("prompts")).unwrap_or(true),
    }
}
