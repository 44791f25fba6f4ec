//! One process of an agent, and its connection: what it can do, its sessions, and the turns that run in it.
//!
//! ```text
//!   turn ── prompt ─▶ connection ─▶ stdin          stdout ─▶ lines ─▶ connection ─▶ slot of the session ─▶ mailbox ─▶ turn
//! ```
//!
//! **Who owns what.** The task of [`Serving`] owns the process with all it started, its pipes and the connection: when it ends, for whatever
//! reason, the group is dead, and every turn in it has been told why. A turn owns a [`Talk`]; dropping one that is not over
//! tells the agent to stop, and the session is not used before the agent says that it has. An agent that does not say so in time is *retired*: it
//! gets no more turns, and is ended with the last of those it has.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_client_protocol::schema::ProtocolVersion;
use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::{
    AgentCapabilities, AuthMethod, AuthenticateRequest, CancelNotification, CloseSessionRequest,
    ContentBlock, Implementation, InitializeRequest, LoadSessionRequest, McpServer, NewSessionRequest,
    PromptRequest, ResumeSessionRequest, SetSessionModeRequest, SystemPrompt,
};
use agent_client_protocol::{Agent, Error, JsonRpcRequest, UntypedMessage};
use camino::Utf8PathBuf;
use serde_json::Value;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fault::Faults;
use super::launch::Launch;
use super::mailbox::{Mail, Mailbox, mailbox};
use super::serving::{GRACE, Serving};
use super::sessions::Sessions;
use crate::engine::EngineError;
use crate::provider::Fault;

/// Time that an agent has to end a turn that it was told to cancel.
const CANCEL: Duration = Duration::from_secs(10);
/// Time that it has to answer what is no turn.
const ANSWER: Duration = Duration::from_secs(60);
/// Sessions that stay open; of more the longest unused ones are closed.
const MAX_OPEN: usize = 64;
/// Sessions of a process that cannot close any; with more it is retired.
const MAX_LEFT: usize = 256;

/// A process that answers.
pub(super) struct Live {
    connection: ConnectionTo<Agent>,
    faults: Faults,
    /// What it can do.
    pub(super) can: AgentCapabilities,
    /// What its sessions are given.
    servers: Vec<McpServer>,
    /// How one signs in, by its own word.
    sign_in: Vec<String>,
    place: Utf8PathBuf,
    /// The mode that its sessions are put into.
    mode: Option<String>,
    sessions: Arc<Sessions>,
    /// Why it is gone, once it is.
    gone: watch::Receiver<Option<Arc<str>>>,
    stop: CancellationToken,
    tasks: TaskTracker,
    turns: AtomicUsize,
    retired: AtomicBool,
    used: Mutex<Instant>,
    pub(super) since: Instant,
}

/// A process that is being started: dropped, it is ended.
struct Starting(CancellationToken, bool);

impl Drop for Starting {
    fn drop(&mut self) {
        if !self.1 {
            self.0.cancel();
        }
    }
}

impl Live {
    /// Starts the process and asks it what it can do. Dropping the future ends the process.
    pub(super) async fn start(
        launch: &Launch,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, EngineError> {
        let faults = &launch.faults;
        let group = launch.start().await?;
        tracing::info!(agent = %faults.agent, pid = group.child.id(), "agent started");
        let mut starting = Starting(stop.clone(), false);
        let sessions = Arc::new(Sessions::default());
        let (gone_in, gone) = watch::channel(None);
        let (connected_in, connected) = oneshot::channel();
        let task = Serving {
            group,
            faults: faults.clone(),
            sessions: Arc::clone(&sessions),
            connected: connected_in,
            stop: stop.clone(),
        };
        tasks.spawn(async move {
            let sessions = Arc::clone(&task.sessions);
            let why: Arc<str> = task.run().await.into();
            // First: a turn whose request fails now looks here for the reason.
            gone_in.send_replace(Some(Arc::clone(&why)));
            sessions.all_gone(&why);
        });
        let connection =
            connected.await.map_err(|_| faults.of(Fault::Unreachable, "ended before it was connected"))?;
        let name = Implementation::new("hermes-gateway", env!("CARGO_PKG_VERSION"));
        let hello = InitializeRequest::new(ProtocolVersion::V1).client_info(name);
        let answer = connection.send_request(hello).block_task();
        let hello = match tokio::time::timeout(launch.start_timeout, answer).await {
            Ok(Ok(hello)) => hello,
            Ok(Err(error)) if is_lost(&error) => {
                let why = why(&gone).await.unwrap_or_else(|| "is gone".to_owned());
                return Err(faults.of(Fault::Unreachable, &why));
            }
            // Another version of the protocol, for one: nothing of this turn.
            Ok(Err(error)) => {
                let failed = faults.of_error("did not say what it is", &error);
                return Err(match failed {
                    EngineError::Provider {
                        fault: Fault::Request,
                        message,
                        status,
                        retry_after,
                        is_final,
                        calls,
                    } => EngineError::Provider {
                        fault: Fault::Setup,
                        message,
                        status,
                        retry_after,
                        is_final,
                        calls,
                    },
                    other => other,
                });
            }
            Err(_elapsed) => {
                let text = format!(
                    "did not answer within {} s of its start; `agent.acp.start_timeout` gives it more",
                    launch.start_timeout.as_secs()
                );
                return Err(faults.of(Fault::Unreachable, &text));
            }
        };
        let info = hello.agent_info.as_ref();
        tracing::info!(
            agent = %faults.agent,
            name = info.map(|info| info.name.as_str()),
            version = info.map(|info| info.version.as_str()),
            loads = hello.agent_capabilities.load_session,
            "the agent is ready"
        );
        let servers = launch.servers(&hello.agent_capabilities.mcp_capabilities).await;
        let live = Self {
            connection,
            faults: faults.clone(),
            servers,
            can: hello.agent_capabilities,
            sign_in: hello.auth_methods.iter().map(method_id).collect(),
            place: launch.place.clone(),
            mode: launch.mode.clone(),
            sessions,
            gone,
            stop,
            tasks: tasks.clone(),
            turns: AtomicUsize::new(0),
            retired: AtomicBool::new(false),
            used: Mutex::new(Instant::now()),
            since: Instant::now(),
        };
        if let Some(method) = &launch.sign_in {
            live.ask("did not let itself be signed in to", AuthenticateRequest::new(method.clone())).await?;
        }
        let live = Arc::new(live);
        live.tasks.spawn(rest(Arc::clone(&live), launch.idle));
        starting.1 = true;
        Ok(live)
    }

    /// Whether it takes turns.
    pub(super) fn serves(&self) -> bool {
        !self.retired.load(Ordering::Relaxed) && self.gone.borrow().is_none() && !self.stop.is_cancelled()
    }

    /// Whether it ended by itself.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.borrow().is_some() && !self.stop.is_cancelled()
    }

    /// A request that is no turn, and its answer.
    async fn ask<R: JsonRpcRequest>(&self, doing: &str, request: R) -> Result<R::Response, EngineError>
    where
        R::Response: Send,
    {
        match tokio::time::timeout(ANSWER, self.connection.send_request(request).block_task()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.failed(doing, &error).await),
            Err(_elapsed) => {
                let text = format!("{doing}: no answer within {} s", ANSWER.as_secs());
                Err(self.faults.of(Fault::Unreachable, &text))
            }
        }
    }

    /// What an error means: the end of the process, where it has one.
    pub(super) async fn failed(&self, doing: &str, error: &Error) -> EngineError {
        if (is_lost(error) || self.gone.borrow().is_some())
            && let Some(why) = why(&self.gone).await
        {
            return self.faults.of(Fault::Unreachable, &why);
        }
        let failed = self.faults.of_error(doing, error);
        match failed {
            EngineError::Provider { fault: Fault::Key, status, retry_after, is_final, message, calls } => {
                let ways = self.sign_in.join("`, `");
                let hint = if ways.is_empty() {
                    "sign in with its own program, as the user that the gateway runs as".to_owned()
                } else {
                    format!("sign in with its own program, or name one of `{ways}` in `agent.acp.auth`")
                };
                let message = format!("{message}; {hint}, and its key in `agent.acp.env`");
                EngineError::Provider { fault: Fault::Key, status, retry_after, is_final, message, calls }
            }
            other => other,
        }
    }

    /// A new session.
    pub(super) async fn open(&self, instructions: Option<&str>) -> Result<String, EngineError> {
        let mut request = NewSessionRequest::new(self.place.as_std_path()).mcp_servers(self.servers.clone());
        if let Some(text) = instructions.filter(|_| self.takes_instructions()) {
            request.system_prompt = Some(SystemPrompt::new(vec![ContentBlock::from(text.to_owned())]));
        }
        let answer = self.ask("opened no session", request).await?;
        let id = answer.session_id.0.to_string();
        self.set_mode(&id).await?;
        self.sessions.add(&id);
        Ok(id)
    }

    /// Puts a session into the mode that the profile asks for.
    async fn set_mode(&self, id: &str) -> Result<(), EngineError> {
        let Some(mode) = &self.mode else { return Ok(()) };
        let doing = format!("does not take the mode `{mode}` of `agent.acp.mode`");
        self.ask(&doing, SetSessionModeRequest::new(id.to_owned(), mode.clone())).await.map(|_| ())
    }

    /// Whether a new session can be given instructions.
    pub(super) fn takes_instructions(&self) -> bool {
        self.can.session_capabilities.system_prompt.is_some()
    }

    /// Whether the agent has the session, now or again.
    pub(super) async fn attach(&self, id: &str) -> Result<bool, EngineError> {
        if self.sessions.lock().contains_key(id) {
            let settled = tokio::time::timeout(CANCEL + GRACE, self.sessions.settled(id)).await;
            return Ok(settled.is_ok());
        }
        let (place, servers) = (self.place.as_std_path(), self.servers.clone());
        // Loading tells an unknown session apart; resuming may make a new one of it.
        let request = if self.can.load_session {
            UntypedMessage::new(
                "session/load",
                LoadSessionRequest::new(id.to_owned(), place).mcp_servers(servers),
            )
        } else if self.can.session_capabilities.resume.is_some() {
            UntypedMessage::new(
                "session/resume",
                ResumeSessionRequest::new(id.to_owned(), place).mcp_servers(servers),
            )
        } else {
            return Ok(false);
        };
        let request = request.map_err(|error| self.faults.of_error("cannot be asked", &error))?;
        let loads = request.method == "session/load";
        match tokio::time::timeout(ANSWER, self.connection.send_request(request).block_task()).await {
            // Some say so that they have no such session.
            Ok(Ok(Value::Null)) if loads => Ok(false),
            Ok(Ok(_)) => {
                self.set_mode(id).await?;
                self.sessions.add(id);
                Ok(true)
            }
            Ok(Err(_)) if self.gone.borrow().is_some() => {
                let why = why(&self.gone).await.unwrap_or_default();
                Err(self.faults.of(Fault::Unreachable, &why))
            }
            Ok(Err(error)) => {
                tracing::info!(agent = %self.faults.agent, code = error.code.value(), "the agent no longer has a session; a new one gets a recap");
                Ok(false)
            }
            Err(_elapsed) => Ok(false),
        }
    }

    /// Begins a turn in a session that is attached.
    pub(super) fn prompt(self: &Arc<Self>, id: &str, blocks: Vec<ContentBlock>) -> Result<Talk, EngineError> {
        let (slot, mailbox) = mailbox();
        {
            let mut sessions = self.sessions.lock();
            match sessions.get_mut(id) {
                Some(session) if !session.busy => {
                    (session.slot, session.busy, session.used) = (Some(slot), true, Instant::now());
                }
                Some(_) | None => {
                    return Err(self.faults.of(Fault::Unreachable, "is busy with the session's last turn"));
                }
            }
        }
        self.turns.fetch_add(1, Ordering::Relaxed);
        let talk = Talk { live: Arc::clone(self), id: id.to_owned(), mailbox, is_over: false };
        let request = self.connection.send_request(PromptRequest::new(id.to_owned(), blocks));
        let (sessions, id) = (Arc::clone(&self.sessions), id.to_owned());
        let spawned = self.connection.spawn(async move {
            let result = request.block_task().await;
            sessions.over(&id, result);
            Ok(())
        });
        if let Err(error) = spawned {
            return Err(self.faults.of_error("takes no turn", &error));
        }
        Ok(talk)
    }

    /// It gets no more turns.
    fn retire(&self, why: &str) {
        if !self.retired.swap(true, Ordering::Relaxed) {
            tracing::warn!(agent = %self.faults.agent, "the agent {why}; it is ended, and another one started for the next turn");
        }
        if self.turns.load(Ordering::Relaxed) == 0 {
            self.stop.cancel();
        }
    }

    /// Closes sessions that were not used for longest.
    fn tidy(self: &Arc<Self>) {
        let closes = self.can.session_capabilities.close.is_some();
        let mut old: Vec<(Instant, String)> = {
            let sessions = self.sessions.lock();
            if sessions.len() <= if closes { MAX_OPEN } else { MAX_LEFT } {
                return;
            }
            let free = sessions.iter().filter(|(_, session)| !session.busy);
            free.map(|(id, session)| (session.used, id.clone())).collect()
        };
        if !closes {
            self.retire("has many sessions and cannot close one");
            return;
        }
        old.sort();
        old.truncate(old.len().saturating_sub(MAX_OPEN / 2));
        for (_, id) in old {
            self.sessions.lock().remove(&id);
            // Whether it worked changes nothing.
            self.connection.send_request(CloseSessionRequest::new(id)).detach();
        }
    }
}

/// Ends a process that nobody has needed for long.
async fn rest(live: Arc<Live>, idle: Duration) {
    let mut gone = live.gone.clone();
    loop {
        let used = *live.used.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::select! {
            () = tokio::time::sleep_until(used + idle) => {}
            () = live.stop.cancelled() => return,
            _ = gone.wait_for(Option::is_some) => return,
        }
        let used = *live.used.lock().unwrap_or_else(PoisonError::into_inner);
        if live.turns.load(Ordering::Relaxed) > 0 {
            *live.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        } else if used.elapsed() >= idle {
            tracing::info!(agent = %live.faults.agent, "the agent was idle for long and is ended");
            live.stop.cancel();
            return;
        }
    }
}

/// Why it is gone; waits a little for one that is about to be.
async fn why(gone: &watch::Receiver<Option<Arc<str>>>) -> Option<String> {
    let mut gone = gone.clone();
    let ended = tokio::time::timeout(5 * GRACE, gone.wait_for(Option::is_some)).await;
    ended.ok()?.ok()?.as_ref().map(ToString::to_string)
}

/// Whether it is no answer, but the end of the connection.
pub(super) fn is_lost(error: &Error) -> bool {
    agent_client_protocol::is_connection_terminated(error)
        || agent_client_protocol::is_incoming_transport_closed(error)
}

fn method_id(method: &AuthMethod) -> String {
    method.id().0.to_string()
}

/// A turn in an agent's session. Dropped before it is over, the agent is told to stop.
pub(super) struct Talk {
    live: Arc<Live>,
    id: String,
    mailbox: Mailbox,
    is_over: bool,
}

impl Talk {
    /// What it says next. Cancel safe.
    pub(super) async fn next(&mut self) -> Mail {
        let mail = self.mailbox.next().await;
        self.is_over |= matches!(mail, Mail::Done(_) | Mail::Gone(_));
        mail
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        let live = &self.live;
        *live.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if live.turns.fetch_sub(1, Ordering::Relaxed) == 1 && live.retired.load(Ordering::Relaxed) {
            live.stop.cancel();
        }
        if self.is_over || !live.sessions.is_busy(&self.id) {
            live.tidy();
            return;
        }
        let _ = live.connection.send_notification(CancelNotification::new(self.id.clone()));
        let (live, id) = (Arc::clone(live), self.id.clone());
        self.live.tasks.spawn(async move {
            tokio::select! {
                () = live.sessions.settled(&id) => {}
                () = live.stop.cancelled() => {}
                () = tokio::time::sleep(CANCEL) => live.retire("did not end a turn that it was told to cancel"),
            }
        });
    }
}
