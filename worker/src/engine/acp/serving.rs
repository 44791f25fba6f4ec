//! The task of one process of an agent: it owns the process with all that it started, its pipes and the connection, to the end.

use std::sync::Arc;
use std::time::Duration;

use agent_client_protocol::v1::ConnectionTo;
use agent_client_protocol::v1::schema::RequestPermissionRequest;
use agent_client_protocol::{Agent, Channel, Client, JsonRpcNotification};
use futures_util::FutureExt as _;
use futures_util::future::FusedFuture as _;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::consent::Question;
use super::fault::Faults;
use super::heard::{self, Heard};
use super::mailbox::Mail;
use super::sessions::Sessions;
use super::wire::{self, Closed};
use crate::children::Group;

/// Time that an agent has to end after its input was closed, and again after it was asked to.
pub(super) const GRACE: Duration = Duration::from_secs(1);
/// Time to read what it said before its end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// An update as it comes: read by [`mail_of`], so that one that nobody knows harms nobody.
#[derive(Debug, Clone, Serialize, Deserialize, JsonRpcNotification)]
#[notification(method = "session/update")]
#[serde(rename_all = "camelCase")]
struct Update {
    session_id: String,
    update: Value,
}

/// What an update is to a turn.
fn mail_of(update: Value) -> Mail {
    match serde_json::from_value(update) {
        Ok(update) => Mail::Update(Box::new(update)),
        Err(error) => {
            tracing::debug!(%error, "an agent's update is of no known kind");
            Mail::Sign
        }
    }
}

/// What the task of a process owns.
pub(super) struct Serving {
    pub(super) group: Group,
    pub(super) faults: Faults,
    pub(super) sessions: Arc<Sessions>,
    pub(super) connected: oneshot::Sender<ConnectionTo<Agent>>,
    pub(super) stop: CancellationToken,
}

impl Serving {
    /// The whole life of the process; says why it ended.
    #[expect(clippy::too_many_lines, reason = "one connection with all that it hears")]
    pub(super) async fn run(self) -> String {
        let Self { mut group, faults, sessions, connected, stop } = self;
        let child = &mut group.child;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(input), Some(output), Some(errors)) = pipes else {
            return "was started without pipes".to_owned();
        };
        let heard = Heard::default();
        let (ours, theirs) = Channel::duplex();
        let (from, to) = theirs.into_parts();
        let (updates, questions) = (Arc::clone(&sessions), Arc::clone(&sessions));
        let hold = stop.clone();
        let connection = Client
            .v1()
            .name("hermes-gateway")
            .on_receive_notification(
                async move |update: Update, _| {
                    updates.put(&update.session_id, mail_of(update.update));
                    Ok(())
                },
                agent_client_protocol::on_receive_notification!(),
            )
            .on_receive_request(
                async move |request: RequestPermissionRequest, responder, _| {
                    let question = Question::new(request, responder);
                    let id = question.request.session_id.0.to_string();
                    questions.put(&id, Mail::Question(question));
                    Ok(())
                },
                agent_client_protocol::on_receive_request!(),
            )
            .connect_with(ours, async move |connection: ConnectionTo<Agent>| {
                let closing = connection.clone();
                let _gone = connected.send(connection);
                // What came before the end of its output is passed on to the last.
                tokio::select! {
                    () = hold.cancelled() => {}
                    () = closing.incoming_closed() => {}
                }
                Ok(())
            });
        let agent = faults.agent.to_string();
        let listen = heard::listen(&agent, errors, &heard).fuse();
        tokio::pin!(listen);
        let why = {
            let incoming = wire::incoming(&agent, output, move |frame| to.unbounded_send(frame).is_ok());
            let outgoing = async {
                let written = wire::outgoing(input, from).await;
                // Its output says more, if it says anything.
                tokio::time::sleep(GRACE).await;
                written
            };
            let talk = async {
                tokio::select! {
                    closed = incoming => match closed {
                        Closed::Ended => None,
                        Closed::Noise => {
                            Some("writes something else than the Agent Client Protocol to its output".to_owned())
                        }
                    },
                    written = outgoing => Some(match written {
                        Ok(()) => "closed the connection".to_owned(),
                        Err(error) => format!("takes no input: {error}"),
                    }),
                }
            };
            let connection = async {
                match connection.await {
                    Ok(()) => None,
                    Err(error) => Some(format!("breaks the protocol: {}", error.message)),
                }
            };
            tokio::pin!(talk, connection);
            let mut closed = None;
            let drained = tokio::time::sleep(GRACE);
            tokio::pin!(drained);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break Some("was ended".to_owned()),
                    // Its end and its last words come a little later.
                    why = &mut talk, if closed.is_none() => {
                        closed = Some(why);
                        drained.as_mut().reset(Instant::now() + GRACE);
                    }
                    why = &mut connection => break closed.unwrap_or(why),
                    () = &mut drained, if closed.is_some() => break closed.flatten(),
                    () = &mut listen, if !listen.is_terminated() => {}
                }
            }
        };
        // The pipes are closed by now.
        let status = {
            let end = end(&mut group);
            tokio::pin!(end);
            loop {
                tokio::select! {
                    biased;
                    status = &mut end => break status,
                    () = &mut listen, if !listen.is_terminated() => {}
                }
            }
        };
        if !listen.is_terminated() {
            let _ = tokio::time::timeout(LAST_WORDS, &mut listen).await;
        }
        if stop.is_cancelled() {
            tracing::info!(agent, "agent ended");
            return why.unwrap_or_else(|| "was ended".to_owned());
        }
        let said = faults.clean(&heard.last());
        let said = if said.is_empty() { String::new() } else { format!("; it said: {said}") };
        let why = match (why, status) {
            (Some(why), _) => format!("{why}{said}"),
            (None, Some(status)) => format!("ended ({status}){said}"),
            (None, None) => format!("closed its output{said}"),
        };
        tracing::warn!(agent, "the agent {why}");
        why
    }
}

/// Waits for the end of a process whose pipes are closed, asks it to end, ends it: with all that it started. `None`: it did not end by
/// itself.
async fn end(group: &mut Group) -> Option<std::process::ExitStatus> {
    let leader = group.child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw)?;
    let by_itself = has_ended(leader, GRACE).await;
    if !by_itself {
        let _ = killpg(leader, Signal::SIGTERM);
        has_ended(leader, GRACE).await;
    }
    // It has not been waited for, so the number is that of its group.
    let _ = killpg(leader, Signal::SIGKILL);
    group.child.wait().await.ok().filter(|_| by_itself)
}

/// Whether a child has ended within so long. It is not waited for.
#[cfg(target_os = "linux")]
async fn has_ended(leader: Pid, within: Duration) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    const LOOK: Duration = Duration::from_millis(20);
    let until = Instant::now() + within;
    loop {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        match waitid(Id::Pid(leader), look) {
            Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..)) => return true,
            Ok(_) if Instant::now() < until => tokio::time::sleep(LOOK).await,
            Ok(_) | Err(_) => return false,
        }
    }
}

/// Here nobody can look without waiting for it.
#[cfg(not(target_os = "linux"))]
async fn has_ended(_: Pid, within: Duration) -> bool {
    tokio::time::sleep(within).await;
    false
}
