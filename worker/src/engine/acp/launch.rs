//! How an agent is started: what a profile's files say, with the environment and the directory made of it.

use std::time::Duration;

use agent_client_protocol::v1::schema::{McpCapabilities, McpServer};
use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::servers::ToolServer;
use hermes_config::{ProfileConfig, Secret, program};
use hermes_host::blocking;
use hermes_wire::ProfileHome;

use super::fault::Faults;
use super::servers::{self, Finding, Hears};
use crate::children::{Group, Program, Surroundings};
use crate::engine::EngineError;
use crate::fence::Fence;
use crate::logging;
use crate::provider::Fault;

/// Time without a turn after which an agent is ended, as in 0.19.0.
const IDLE: Duration = Duration::from_hours(1);

/// See the module.
pub(super) struct Launch {
    command: Vec<String>,
    home: ProfileHome,
    surroundings: Surroundings,
    fence: Fence,
    /// Variables that `agent.acp.env` names.
    named: Vec<(String, Secret)>,
    /// Where its sessions work.
    pub(super) place: Utf8PathBuf,
    /// That directory is the profile's own, and made where it is missing.
    own_place: bool,
    pub(super) start_timeout: Duration,
    /// `agent.acp.auth`
    pub(super) sign_in: Option<String>,
    /// `agent.acp.mode`
    pub(super) mode: Option<String>,
    pub(super) idle: Duration,
    pub(super) faults: Faults,
    /// `mcp_servers`, those that are on.
    servers: Vec<ToolServer>,
    hears: Hears,
}

impl Launch {
    /// Of a profile; `inherited` is what its worker was started with.
    pub(super) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        inherited: &[(String, String)],
        fence: &Fence,
        hears: Hears,
    ) -> Self {
        for server in &config.servers.all {
            if let Some(status) = servers::before(server) {
                hears(&server.name, status);
            }
        }
        let acp = &config.agent.acp;
        let user = inherited.iter().find(|(name, _)| name == "HOME").map(|(_, path)| Utf8Path::new(path));
        let named = |name: &String| Some((name.clone(), Secret::new(config.env.get(name)?)));
        let named: Vec<(String, Secret)> = acp.env.iter().filter_map(named).collect();
        let given = named.iter().map(|(_, value)| Secret::new(value.expose()));
        let secrets: Vec<Secret> = logging::secrets(config).into_iter().chain(given).collect();
        Self {
            command: acp.command.clone(),
            home: home.clone(),
            surroundings: Surroundings::new(config, home, inherited),
            fence: fence.clone(),
            named,
            place: acp.place(home, user, config.tools.workspace(home, user)),
            own_place: acp.cwd.is_none() && config.tools.cwd.is_none(),
            start_timeout: acp.start_timeout,
            sign_in: acp.auth.clone(),
            mode: acp.mode.clone(),
            idle: IDLE,
            faults: Faults { agent: Self::name(&acp.command).into(), secrets: secrets.into() },
            servers: config.servers.all.iter().filter(|server| server.enabled).cloned().collect(),
            hears,
        }
    }

    /// What the agent of a command is called: the program's name.
    pub(super) fn name(command: &[String]) -> &str {
        let program = command.first().map_or("", String::as_str);
        Utf8Path::new(program).file_name().unwrap_or(program)
    }

    /// What tells agents apart that do not know each other's sessions.
    pub(super) fn fingerprint(&self) -> String {
        super::known::digest_of_text(&format!("{:?} {}", self.command, self.place))
    }

    /// The tool servers that an agent is given which can do this.
    pub(super) async fn servers(&self, can: &McpCapabilities) -> Vec<McpServer> {
        if self.servers.is_empty() {
            return Vec::new();
        }
        let (all, can, surroundings, place) =
            (self.servers.clone(), can.clone(), self.surroundings.clone(), self.place.clone());
        let looked = blocking::run(move || {
            let environment = surroundings.of_commands();
            let finding = Finding { dir: &place, environment: &environment, look: hermes_host::child::check };
            all.iter().map(|server| servers::given(server, &can, finding)).collect::<Vec<_>>()
        });
        let given = match looked.await {
            Ok(given) => given,
            Err(lost) => self.servers.iter().map(|_| Err(lost.to_string())).collect(),
        };
        for (server, given) in self.servers.iter().zip(&given) {
            if let Err(why) = given {
                let agent = &self.faults.agent;
                tracing::warn!(%agent, server = server.name, "a tool server is not handed on to the agent: {why}");
            }
            (self.hears)(&server.name, servers::after(given));
        }
        given.into_iter().flatten().collect()
    }

    /// Starts the program, with its pipes.
    pub(super) async fn start(&self) -> Result<Group, EngineError> {
        // Told as the agent's, so that whoever looks sees it: the files may have been right when the worker started.
        let setup = |what: String| self.faults.of(Fault::Setup, &format!("cannot be started: {what}"));
        let Some(name) = self.command.first().cloned() else {
            return Err(setup("`agent.acp.command` names no program".to_owned()));
        };
        let (home, place, own) = (self.home.clone(), self.place.clone(), self.own_place);
        let surroundings = self.surroundings.clone();
        // All that looks at the disk.
        let looked = blocking::run(move || {
            let environment = surroundings.of_commands();
            let path = environment.get("PATH").unwrap_or_default().to_owned();
            let found = program::find(&name, home.path(), &path, hermes_host::child::check)
                .map_err(|error| format!("`agent.acp.command`: {error}"))?;
            if own {
                hermes_host::disk::make_dirs(&place, 0o700)
                    .map_err(|error| format!("cannot make `{place}`: {error}"))?;
            }
            if !place.is_dir() {
                return Err(format!(
                    "`{place}`, where its sessions are to work, is no directory; `agent.acp.cwd` or `terminal.cwd` says where"
                ));
            }
            Ok((environment, found))
        });
        let (mut environment, found) =
            looked.await.map_err(|lost| setup(lost.to_string()))?.map_err(setup)?;
        for (name, value) in &self.named {
            environment.set(name, value.expose());
        }
        let mut program = Program::new(found.as_str(), &self.place, environment).heard();
        program.stdin = std::process::Stdio::piped();
        program.arguments = self.command[1..].iter().map(Into::into).collect();
        let started = self.fence.start(program).await;
        started.map_err(|error| setup(format!("`{found}` cannot be started: {error}")))
    }
}
