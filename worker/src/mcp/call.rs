//! A server as turns see it: its tools, and a call of one.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hermes_config::servers::ToolServer;
use hermes_wire::contract::runtime_status::ToolServerStatus;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, GetPromptRequestParams, GetPromptResponse,
    PaginatedRequestParams, ReadResourceRequestParams, ReadResourceResponse,
};
use rmcp::service::{Peer, RoleClient, ServiceError};
use serde_json::{Map, Value};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use super::catalogue::{Offer, What};
use super::fault::{self, redacted};
use super::{Premises, result, state};
use crate::tools::{Caller, Tool, ToolError, Work};

/// Most pages of a list that one call fetches.
const PAGES: usize = 16;

/// What an actor says of its server.
#[derive(Debug, Clone, Default)]
pub(super) struct View {
    pub(super) stage: Stage,
    pub(super) offers: Arc<[Offer]>,
    pub(super) peer: Option<Peer<RoleClient>>,
}

/// How far a server has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Not tried yet.
    #[default]
    New,
    /// Being started for the first time, or again.
    Connecting,
    /// It is there.
    Connected,
    /// It is not there, and is tried again soon.
    Retrying(String),
    /// It is not there, and its tools are not offered.
    Parked(String),
    /// It is started by the next call.
    Asleep,
    /// It is not started again.
    Stopped,
}

/// One server.
pub(super) struct Server {
    pub(super) config: ToolServer,
    pub(super) prefix: String,
    pub(super) premises: Premises,
    view: watch::Receiver<View>,
    /// Rung by a call that needs it.
    pub(super) wake: Notify,
    /// Calls that run.
    pub(super) running: AtomicUsize,
    /// Rung when a call has ended.
    pub(super) ended: Notify,
}

impl Server {
    pub(super) fn new(
        config: ToolServer,
        prefix: String,
        premises: &Premises,
    ) -> (Self, watch::Sender<View>) {
        let (sender, view) = watch::channel(View::default());
        let server = Self {
            config,
            prefix,
            premises: premises.clone(),
            view,
            wake: Notify::new(),
            running: AtomicUsize::new(0),
            ended: Notify::new(),
        };
        (server, sender)
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// What it offers now.
    pub(super) fn offers(&self) -> Arc<[Offer]> {
        Arc::clone(&self.view.borrow().offers)
    }

    /// Waits until it has come up, or failed once.
    pub(super) async fn settled(&self) {
        let is_settled = |view: &View| !matches!(view.stage, Stage::New | Stage::Connecting);
        // An actor that is gone is settled, too.
        let _ = self.view.clone().wait_for(is_settled).await;
    }

    /// Why a tool that begins like its own is not offered.
    pub(super) fn absent(&self, tool: &str) -> Option<String> {
        let view = self.view.borrow();
        let why = match &view.stage {
            Stage::Parked(why) | Stage::Retrying(why) => why.clone(),
            Stage::New | Stage::Connecting => "it is still being started".to_owned(),
            Stage::Stopped => "it was ended".to_owned(),
            Stage::Connected | Stage::Asleep => return None,
        };
        tool.starts_with(&self.prefix)
            .then(|| format!("the tool server `{}` is not there: {why}", self.name()))
    }

    /// The connection; waits for one that is on its way, and starts a server that sleeps.
    async fn peer(&self, until: Instant) -> Result<Peer<RoleClient>, ToolError> {
        let mut view = self.view.clone();
        let gone = |why: &str| ToolError(format!("the tool server `{}` is not there: {why}", self.name()));
        let wait = async {
            loop {
                let now = view.borrow_and_update().clone();
                match (&now.stage, now.peer) {
                    (Stage::Connected, Some(peer)) => return Ok(peer),
                    (Stage::Parked(why), _) => return Err(gone(why)),
                    (Stage::Stopped, _) => return Err(gone("it was ended")),
                    (Stage::Asleep, _) => self.wake.notify_one(),
                    _ => {}
                }
                if view.changed().await.is_err() {
                    return Err(gone("it was ended"));
                }
            }
        };
        timeout_at(until, wait).await.unwrap_or_else(|_| Err(gone("it was not ready in time")))
    }

    /// Has it do something.
    async fn call(&self, offer: &Offer, arguments: Map<String, Value>) -> Result<Value, ToolError> {
        let _running = Running::of(self);
        let now = Instant::now();
        let until = now + self.config.timeout;
        let peer = self.peer(until.min(now + self.config.connect_timeout)).await?;
        let done = pin!(ask(&peer, offer, arguments));
        let Ok(done) = timeout(until.duration_since(Instant::now()), done).await else {
            let seconds = self.config.timeout.as_secs_f32();
            return Err(ToolError(format!(
                "the server did not answer within {seconds} s, so it was told to stop: whether it was done is not known"
            )));
        };
        match done {
            Ok(answer) => answer.map_err(|error| ToolError(redacted(&error.0, &self.config))),
            Err(error) => Err(ToolError(fault::of_call(&error, &self.config, &self.premises.flag))),
        }
    }
}

/// Counts a call for as long as it lives.
struct Running<'a>(&'a Server);

impl<'a> Running<'a> {
    fn of(server: &'a Server) -> Self {
        server.running.fetch_add(1, Ordering::Relaxed);
        Self(server)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
        self.0.ended.notify_one();
    }
}

/// One question to a server. The outer error: it did not come through.
async fn ask(
    peer: &Peer<RoleClient>,
    offer: &Offer,
    arguments: Map<String, Value>,
) -> Result<Result<Value, ToolError>, ServiceError> {
    let wants_input = || {
        Err(ToolError(
            "the server wants to ask a person something in the middle, which is not supported yet".to_owned(),
        ))
    };
    let text = |name: &str| arguments.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(match offer.what {
        What::Tool => {
            let params = CallToolRequestParams::new(offer.tool.clone()).with_arguments(arguments);
            match peer.call_tool_once(params).await? {
                CallToolResponse::Complete(answer) => result::of_call(&json(&answer)?),
                _ => wants_input(),
            }
        }
        What::ReadResource => {
            match peer.read_resource_once(ReadResourceRequestParams::new(text("uri"))).await? {
                ReadResourceResponse::Complete(answer) => Ok(result::of_resource(&json(&answer)?)),
                _ => wants_input(),
            }
        }
        What::GetPrompt => {
            let mut params = GetPromptRequestParams::new(text("name"));
            if let Some(Value::Object(of_prompt)) = arguments.get("arguments") {
                params = params.with_arguments(of_prompt.clone());
            }
            match peer.get_prompt_once(params).await? {
                GetPromptResponse::Complete(answer) => Ok(result::of_prompt(&json(&answer)?)),
                _ => wants_input(),
            }
        }
        What::ListResources => {
            let (mut all, mut cursor) = (Vec::new(), None);
            for _ in 0..PAGES {
                let page = peer.list_resources(page(cursor.take())).await?;
                all.extend(page.resources.iter().map(json).collect::<Result<Vec<_>, _>>()?);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let fields = ["uri", "name", "title", "description", "mimeType", "size"];
            Ok(result::of_list("resources", &all, &fields, cursor.is_none()))
        }
        What::ListPrompts => {
            let (mut all, mut cursor) = (Vec::new(), None);
            for _ in 0..PAGES {
                let page = peer.list_prompts(page(cursor.take())).await?;
                all.extend(page.prompts.iter().map(json).collect::<Result<Vec<_>, _>>()?);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let fields = ["name", "title", "description", "arguments"];
            Ok(result::of_list("prompts", &all, &fields, cursor.is_none()))
        }
    })
}

fn page(cursor: Option<String>) -> Option<PaginatedRequestParams> {
    cursor.map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)))
}

fn json(value: &impl serde::Serialize) -> Result<Value, ServiceError> {
    serde_json::to_value(value).map_err(|_| ServiceError::UnexpectedResponse)
}

/// A server that is never started, as its status.
pub(super) fn unused(config: &ToolServer) -> Option<ToolServerStatus> {
    match &config.fault {
        _ if !config.enabled => Some(state("off", 0, None, None)),
        Some(why) => Some(state("unusable", 0, Some(why.clone()), None)),
        None => None,
    }
}

/// One tool of a server.
pub(super) struct ServerTool {
    pub(super) server: Arc<Server>,
    pub(super) offer: Offer,
}

impl Tool for ServerTool {
    fn name(&self) -> &str {
        &self.offer.name
    }

    fn about(&self) -> &str {
        &self.offer.about
    }

    fn toolset(&self) -> &str {
        self.server.name()
    }

    fn is_foreign(&self) -> bool {
        true
    }

    fn parameters(&self) -> Value {
        serde_json::from_str(&self.offer.schema).unwrap_or_else(|_| serde_json::json!({"type": "object"}))
    }

    fn run<'a>(&'a self, arguments: Map<String, Value>, _: &'a Caller) -> Work<'a> {
        Box::pin(self.server.call(&self.offer, arguments))
    }
}
