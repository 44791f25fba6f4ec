//! Tool servers: programs and addresses that bring tools by the Model Context Protocol.
//!
//! # Theory of operation
//!
//! ```text
//!   config ─▶ Servers ─▶ one actor a server ── link (a program, or HTTP) ── the server
//!                          │ publishes a View: state, tools, the open connection
//!   turn ─▶ tools::Supply ─┘ reads it; a call goes straight through the connection, not through the actor
//! ```
//!
//! **Who owns what.** An actor alone connects, ends and watches its server, and alone writes its view; everybody else reads. What it
//! does next after a failure is decided in `tries`, and how long it waits; what a server may be called and what its tools are called in
//! `names`; what of its list of tools is offered in `catalogue`; what the model is shown of a result in `result`. All four are pure.
//!
//! **States.** `connecting` → `connected` → (lost) `retrying` → `connected`, or `parked` with a reason: its tools are withdrawn, and it
//! is tried again every [five minutes](tries::PROBE), or at once when somebody has logged in. `asleep`: a program that was ended because
//! nobody called it; its tools stay, and the next call starts it.
//!
//! **Guarantees.**
//! - Nothing is started before the profile is served, and nobody waits for it: but the first turns wait until every server has come up
//!   or failed once, for `mcp_discovery_timeout` from the start at most.
//! - A call is made once. Where a server goes while one runs, the model is told that nobody knows whether it was done.
//! - What a server says is bounded: lines, bodies, lists, descriptions, schemas, results; one that floods is read slowly.
//! - A program has its own environment, standard input and output, and group of processes, and ends with its connection. Its
//!   messages are in the profile's log under its name.
//! - No text from here holds a key: what a server says of itself is redacted before anybody sees it.

mod actor;
mod beginning;
mod call;
mod catalogue;
mod connect;
mod fault;
mod handler;
mod login;
mod names;
mod program;
mod reader;
mod remote;
mod result;
mod tokens;
mod trial;
mod tries;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::ProfileConfig;
use hermes_config::network::Network;
use hermes_wire::ProfileHome;
use hermes_wire::contract::runtime_status::ToolServerStatus;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::children::Surroundings;
use crate::fence::Fence;
use crate::process;
use crate::status::Status;
use crate::tools::{Supply, Tool};
use call::{Server, ServerTool};

pub(crate) use login::login;
pub(crate) use trial::{Trial, trial};

/// Longest wait for servers to end by themselves.
const LAST_WAIT: Duration = Duration::from_secs(4);

/// What connections are made with, the same for all servers of a profile.
#[derive(Debug, Clone)]
pub(crate) struct Premises {
    pub(crate) home: ProfileHome,
    /// Where programs run that say nothing else.
    pub(crate) dir: camino::Utf8PathBuf,
    pub(crate) surroundings: Surroundings,
    /// What is around them.
    pub(crate) fence: Fence,
    pub(crate) network: Network,
    /// How a profile is named on a command line: ` -p coder`, or nothing.
    pub(crate) flag: String,
}

impl Premises {
    /// Of a profile; `inherited` is what its worker was started with.
    pub(crate) fn new(
        config: &ProfileConfig,
        home: &ProfileHome,
        inherited: &[(String, String)],
        fence: Fence,
    ) -> Self {
        let name = &config.name;
        let user_home = inherited.iter().find(|(name, _)| name == "HOME").map(|(_, value)| value.as_str());
        Self {
            home: home.clone(),
            dir: config.tools.workspace(home, user_home.map(camino::Utf8Path::new)),
            surroundings: Surroundings::new(config, home, inherited),
            fence,
            network: Network::of(&config.env).over(inherited),
            flag: if name.is_default() { String::new() } else { format!(" -p {name}") },
        }
    }
}

/// The tool servers of a profile. Cloning shares them.
#[derive(Clone, Default)]
pub(crate) struct Servers(Arc<Inner>);

#[derive(Default)]
struct Inner {
    all: Vec<Arc<Server>>,
    /// What each actor starts with, until it is started.
    waiting: Mutex<Vec<actor::Actor>>,
    discovery: Duration,
    /// When the first turns wait no longer; nothing before the start.
    until: watch::Sender<Option<Instant>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Servers {
    /// Those that a profile's files ask for. Nothing is started.
    pub(crate) fn from_config(config: &ProfileConfig, premises: &Premises, status: &Status) -> Self {
        let mut inner = Inner { discovery: config.servers.discovery, ..Inner::default() };
        let prefixes = names::prefixes(config.servers.all.iter().map(|server| server.name.as_str()));
        let mut waiting = Vec::new();
        for (config, prefix) in config.servers.all.iter().zip(prefixes) {
            let (server, view) = Server::new(config.clone(), prefix, premises);
            let server = Arc::new(server);
            if let Some(state) = call::unused(config) {
                status.set_tool_server(&config.name, state);
            } else {
                let stop = inner.stop.child_token();
                let tasks = inner.tasks.clone();
                waiting.push(actor::Actor::new(Arc::clone(&server), view, status.clone(), stop, tasks));
                inner.all.push(server);
            }
        }
        inner.waiting = Mutex::new(waiting);
        Self(Arc::new(inner))
    }

    /// Whether there are none that are used.
    fn is_empty(&self) -> bool {
        self.0.all.is_empty()
    }

    /// Where their tools come from; nothing where there are none.
    pub(crate) fn supply(&self) -> Option<Arc<dyn Supply>> {
        (!self.is_empty()).then(|| Arc::new(self.clone()) as Arc<dyn Supply>)
    }

    /// Starts all of them. Waits for none.
    pub(crate) async fn start(&self) {
        let actors = std::mem::take(&mut *self.0.waiting.lock().await);
        self.0.until.send_replace(Some(Instant::now() + self.0.discovery));
        if actors.is_empty() {
            return;
        }
        for actor in actors {
            self.0.tasks.spawn(actor.run());
        }
        let all = self.0.all.clone();
        self.0.tasks.spawn(async move {
            for server in &all {
                server.settled().await;
            }
            // What only connecting needed is given back.
            process::settle();
        });
    }

    /// Ends all of them, and what they started.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        // What is left then is killed when the tasks are dropped.
        let _ = tokio::time::timeout(LAST_WAIT, self.0.tasks.wait()).await;
    }
}

impl Supply for Servers {
    fn gathered(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            if self.is_empty() {
                return;
            }
            // Before the start nobody knows how long.
            let Ok(until) = self.0.until.subscribe().wait_for(Option::is_some).await.map(|until| *until)
            else {
                return;
            };
            let settled = async {
                for server in &self.0.all {
                    server.settled().await;
                }
            };
            let _ = tokio::time::timeout_at(until.unwrap_or_else(Instant::now), settled).await;
        })
    }

    fn tools(&self) -> Vec<Arc<dyn Tool>> {
        let each = self.0.all.iter().flat_map(|server| {
            server
                .offers()
                .iter()
                .cloned()
                .map(|offer| Arc::new(ServerTool { server: Arc::clone(server), offer }) as Arc<dyn Tool>)
                .collect::<Vec<_>>()
        });
        each.collect()
    }

    fn toolsets(&self) -> Vec<String> {
        self.0.all.iter().map(|server| server.name().to_owned()).collect()
    }

    fn absent(&self, tool: &str) -> Option<String> {
        self.0.all.iter().find_map(|server| server.absent(tool))
    }
}

/// What a home keeps of a server beside its configuration: its login.
pub fn files(home: &ProfileHome, server: &str) -> [camino::Utf8PathBuf; 3] {
    let file = tokens::file(home, server);
    [file.clone(), file.with_extension("client.json"), file.with_extension("lock")]
}

/// What is known of one server, as its status.
fn state(state: &str, tools: usize, reason: Option<String>, protocol: Option<&str>) -> ToolServerStatus {
    ToolServerStatus {
        state: state.to_owned(),
        tools: u32::try_from(tools).unwrap_or(u32::MAX),
        reason,
        protocol: protocol.map(str::to_owned),
        updated_at: None,
    }
}
