//! The profile's tool servers, handed on to an agent, which starts them and talks to them by itself.
//!
//! Every agent takes programs, and those that say so take addresses. What the protocol has no word for is not handed on: a server whose tools are
//! chosen among would be there with all of them, and one behind a login would want the login's tokens. Each that is not is named with its
//! reason, in the log and in the status.

use agent_client_protocol::v1::schema::{
    EnvVariable, HttpHeader, McpCapabilities, McpServer, McpServerHttp, McpServerStdio,
};
use camino::Utf8Path;
use hermes_config::program;
use hermes_config::servers::ToolServer;
use hermes_wire::contract::runtime_status::ToolServerStatus;

use crate::children::Variables;

/// Hears how each tool server is, by its name.
pub type Hears = Box<dyn Fn(&str, ToolServerStatus) + Send + Sync>;

/// The state of a server that an agent was given.
const HANDED_ON: &str = "handed_on";

/// Where a program of a server is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finding<'a> {
    /// What a path is relative to.
    pub(super) dir: &'a Utf8Path,
    /// The agent's environment.
    pub(super) environment: &'a Variables,
    /// Whether a file can be started.
    pub(super) look: fn(&Utf8Path) -> Result<(), String>,
}

/// What an agent that can do this is given; else why not. Looks at the disk.
pub(super) fn given(
    server: &ToolServer,
    can: &McpCapabilities,
    finding: Finding<'_>,
) -> Result<McpServer, String> {
    if let Some(why) = not_at_all(server) {
        return Err(why);
    }
    if let Some(url) = &server.url {
        if !can.http {
            return Err("the agent takes no servers by HTTP".to_owned());
        }
        let header = |(name, value): (&String, &hermes_config::Secret)| HttpHeader::new(name, value.expose());
        let headers = server.headers.iter().map(header).collect();
        return Ok(McpServer::Http(McpServerHttp::new(&server.name, url.expose()).headers(headers)));
    }
    let Finding { dir, environment, look } = finding;
    let name = server.command.as_deref().unwrap_or_default();
    let name = match (name.strip_prefix("~/"), environment.get("HOME")) {
        (Some(below), Some(home)) => format!("{home}/{below}"),
        _ => name.to_owned(),
    };
    let path = environment.get("PATH").unwrap_or_default();
    let program = program::find(&name, dir, path, look).map_err(|error| error.to_string())?;
    let variable = |(name, value): (&String, &hermes_config::Secret)| EnvVariable::new(name, value.expose());
    let program = McpServerStdio::new(&server.name, program.as_std_path())
        .args(server.args.iter().map(|argument| argument.expose().to_owned()).collect())
        .env(server.env.iter().map(variable).collect());
    Ok(McpServer::Stdio(program))
}

/// Why a server is handed on to no agent, where that is so.
fn not_at_all(server: &ToolServer) -> Option<String> {
    server.fault.clone().or_else(|| server.unspeakable().map(str::to_owned))
}

/// How a server is that no agent was asked about yet; nothing where that remains to be seen.
pub(super) fn before(server: &ToolServer) -> Option<ToolServerStatus> {
    if !server.enabled {
        return Some(status("off", None));
    }
    not_at_all(server).map(|why| status("unusable", Some(why)))
}

/// How a server is that an agent was, or was not, given.
pub(super) fn after(given: &Result<McpServer, String>) -> ToolServerStatus {
    match given {
        Ok(_) => status(HANDED_ON, None),
        Err(why) => status("unusable", Some(format!("it is not handed on to the agent: {why}"))),
    }
}

fn status(state: &str, reason: Option<String>) -> ToolServerStatus {
    ToolServerStatus { state: state.to_owned(), tools: 0, reason, protocol: None, updated_at: None }
}

#[cfg(test)]
mod tests {
    use hermes_config::Secret;
    use serde_json::json;

    use super::*;

    fn there(path: &Utf8Path) -> Result<(), String> {
        if path == "/opt/bin/npx" || path.starts_with("/home") { Ok(()) } else { Err("no".to_owned()) }
    }

    fn of(server: &ToolServer, http: bool) -> Result<serde_json::Value, String> {
        let mut environment = Variables::default();
        environment.set("PATH", "/bin:/opt/bin");
        environment.set("HOME", "/home/u");
        let finding = Finding { dir: Utf8Path::new("/home/w"), environment: &environment, look: there };
        let given = given(server, &McpCapabilities::new().http(http), finding)?;
        Ok(serde_json::to_value(given).unwrap())
    }

    #[test]
    fn programs_and_addresses_go_on_as_the_protocol_has_them() {
        let mut server = ToolServer::new("files");
        server.command = Some("npx".to_owned());
        server.args = ["-y", "files"].map(Secret::new).to_vec();
        server.env.insert("KEY".to_owned(), Secret::new("k"));
        let expected = json!({"name": "files", "command": "/opt/bin/npx", "args": ["-y", "files"], "env": [{"name": "KEY", "value": "k"}]});
        assert_eq!(of(&server, false), Ok(expected));
        for (name, found) in [("~/s", "/home/u/s"), ("./s", "/home/w/./s")] {
            server.command = Some(name.to_owned());
            assert_eq!(of(&server, false).unwrap()["command"], found);
        }
        server.command = Some("nothing".to_owned());
        assert!(of(&server, false).unwrap_err().contains("there is no program `nothing`"));

        let mut server = ToolServer::new("far");
        server.url = Some(Secret::new("https://x/mcp"));
        server.headers.insert("authorization".to_owned(), Secret::new("Bearer k"));
        let expected = json!({"type": "http", "name": "far", "url": "https://x/mcp", "headers": [{"name": "authorization", "value": "Bearer k"}]});
        assert_eq!(of(&server, true), Ok(expected));
        assert_eq!(of(&server, false).unwrap_err(), "the agent takes no servers by HTTP");
    }

    #[test]
    fn what_the_protocol_has_no_word_for_stays_here_and_is_named() {
        let plain = || ToolServer { command: Some("npx".to_owned()), ..ToolServer::new("s") };
        assert_eq!(before(&plain()), None);
        let mut odd: Vec<ToolServer> = [(); 5].map(|()| plain()).to_vec();
        odd[0].oauth = true;
        odd[1].tools.include.push("read".to_owned());
        odd[2].cwd = Some("x".to_owned());
        odd[3].client_cert = Some("c.pem".to_owned());
        odd[4].fault = Some("it is odd".to_owned());
        for server in odd {
            let why = of(&server, true).unwrap_err();
            assert_eq!(before(&server).unwrap().reason, Some(why.clone()));
            assert!(after(&Err(why.clone())).reason.unwrap().ends_with(&why));
        }
        assert_eq!(before(&ToolServer { enabled: false, ..plain() }).unwrap().state, "off");
    }
}
