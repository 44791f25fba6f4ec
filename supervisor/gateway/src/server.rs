//! `supervisor.sock`: answers the command line.
//!
//! One request a connection: handshake, one frame, answers until a final one, close. Clients are few, checked (same user) and
//! held to deadlines and lengths. Status is answered from the [`Board`] without disturbing anybody; everything else goes to the
//! app. Commands that wait for something take half of the places at most, so that however many wait, status is answered.

use std::os::unix::net::UnixListener as StdListener;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt as _};
use hermes_host::cause::Chain;
use hermes_host::clock;
use hermes_wire::contract::gateway_status::GatewayStatus;
use hermes_wire::latest::{ClientReply, ClientRequest, Message as _};
use hermes_wire::version::Version;
use hermes_wire::{ProfileName, exit, frame};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::Failures;
use crate::board::Board;
use crate::link::{self, LinkError};
use crate::status::{Processes, collect, homes};
use crate::status_files::StatusFiles;

/// Clients at the same time; more wait in the backlog.
pub(crate) const CLIENTS: usize = 64;
/// Of those, what may wait for a result.
const WAITING: usize = CLIENTS / 2;
/// Longest request: two names.
const MAX_REQUEST: usize = 4096;
/// For the handshake and the request.
const ASK_TIME: Duration = Duration::from_secs(5);
/// The same for those who have connected when nobody is let in any more.
const LAST_ASK: Duration = Duration::from_millis(300);
/// For a client to take a frame.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// For a client to take a whole status.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// For collecting status, once the homes were looked at.
const COLLECT_TIME: Duration = Duration::from_secs(5);

/// A request that the app answers. The connection is closed when `replies` is dropped.
pub(crate) struct Request {
    pub(crate) what: ClientRequest,
    /// Who asks.
    pub(crate) pid: Option<i32>,
    /// The user of that process.
    pub(crate) uid: u32,
    pub(crate) replies: mpsc::Sender<ClientReply>,
}

/// Answers clients until `stop`, on the listener and on those that take its place; then that listener, on which whoever comes waits.
/// From `rest` on nobody is let in any more, and who is in is answered.
pub(crate) async fn serve(
    (listener, mut replacements): (StdListener, mpsc::Receiver<StdListener>),
    board: Board,
    requests: mpsc::Sender<Request>,
    tracker: TaskTracker,
    (rest, stop): (CancellationToken, CancellationToken),
) -> Option<StdListener> {
    let places = Arc::new(Semaphore::new(CLIENTS));
    let waiting = Arc::new(Semaphore::new(WAITING));
    let processes = Arc::new(Mutex::new(None));
    let files = StatusFiles::default();
    let mut listener = match UnixListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "commands cannot be answered");
            return None;
        }
    };
    let mut failures = Failures::of("commands");
    loop {
        let place = tokio::select! {
            () = stop.cancelled() => break,
            () = rest.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            () = rest.cancelled() => break,
            accepted = listener.accept() => accepted,
            Some(replacement) = replacements.recv() => {
                match UnixListener::from_std(replacement) {
                    Ok(replacement) => listener = replacement,
                    Err(error) => tracing::error!(%error, "commands cannot be answered"),
                }
                continue;
            }
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                failures.rest(&error, &stop).await;
                continue;
            }
        };
        let client = Client {
            board: board.clone(),
            requests: requests.clone(),
            processes: Arc::clone(&processes),
            files: files.clone(),
            waiting: Arc::clone(&waiting),
            rest: rest.clone(),
        };
        let stop = stop.clone();
        tracker.spawn(async move {
            let answered = tokio::select! {
                answered = client.answer(stream) => answered,
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = answered {
                tracing::debug!(error = %Chain(&error), "a command was not answered");
            }
            drop(place);
        });
    }
    let everybody = u32::try_from(CLIENTS).unwrap_or(u32::MAX);
    tokio::select! {
        _ = places.acquire_many(everybody) => {}
        () = stop.cancelled() => {}
    }
    listener.into_std().ok()
}

struct Client {
    board: Board,
    requests: mpsc::Sender<Request>,
    processes: Arc<Mutex<Option<Processes>>>,
    files: StatusFiles,
    waiting: Arc<Semaphore>,
    /// Nobody is let in any more.
    rest: CancellationToken,
}

/// The connection, and the version that the client speaks.
struct Wire {
    framed: Framed<UnixStream, tokio_util::codec::LengthDelimitedCodec>,
    version: Version,
}

impl Client {
    async fn answer(&self, mut stream: UnixStream) -> Result<(), LinkError> {
        let peer = stream.peer_cred()?;
        let own = nix::unistd::geteuid().as_raw();
        if peer.uid() != 0 && peer.uid() != own {
            tracing::warn!(uid = peer.uid(), pid = peer.pid(), "a command of another user was refused");
            return Ok(());
        }
        let asked = tokio::time::timeout(ASK_TIME, async {
            let version = link::accept(&mut stream).await?;
            let mut wire = Framed::new(stream, frame::codec_up_to(MAX_REQUEST));
            let request = match wire.next().await {
                Some(bytes) => Some(ClientRequest::decode(version, &bytes?)),
                None => None,
            };
            Ok::<_, LinkError>((wire, version, request))
        });
        let given_up = async {
            self.rest.cancelled().await;
            tokio::time::sleep(LAST_ASK).await;
        };
        let asked = tokio::select! {
            asked = asked => asked,
            () = given_up => return Ok(()),
        };
        let Ok(asked) = asked else { return Ok(()) };
        let (wire, version, Some(request)) = asked? else { return Ok(()) };
        let mut wire = Wire { framed: wire, version };
        // What is answered may be long.
        wire.framed.codec_mut().set_max_frame_length(frame::MAX_FRAME_LEN);
        match request? {
            ClientRequest::Status { profile } => self.status(&mut wire, profile).await,
            what => self.pass_on(&mut wire, what, (peer.pid(), peer.uid())).await,
        }
    }

    async fn status(&self, wire: &mut Wire, profile: Option<ProfileName>) -> Result<(), LinkError> {
        if let Some(name) = &profile
            && self.board.handle(name).is_none()
        {
            return send(wire, &unknown(name)).await;
        }
        let (table, processes) = (self.board.snapshot(), Arc::clone(&self.processes));
        // Homes may hang; what the kernel says of processes does not.
        let files = self.files.read(homes(&table, profile.as_ref())).await;
        let collected = hermes_host::blocking::run(move || {
            let mut processes = processes.lock().unwrap_or_else(PoisonError::into_inner);
            let processes = processes.get_or_insert_with(Processes::new);
            collect(&table, profile.as_ref(), &files, processes, clock::now())
        });
        match tokio::time::timeout(COLLECT_TIME, collected).await {
            Ok(Ok(status)) => tokio::time::timeout(ANSWER_TIME, send_status(wire, &status))
                .await
                .map_err(|_| LinkError::WriteTimeout)?,
            Ok(Err(_)) | Err(_) => {
                send(wire, &refused(exit::FAILURE, "the status could not be collected in time", None)).await
            }
        }
    }

    async fn pass_on(
        &self,
        wire: &mut Wire,
        what: ClientRequest,
        (pid, uid): (Option<i32>, u32),
    ) -> Result<(), LinkError> {
        // A stop is always possible.
        let waiting = (what != ClientRequest::Shutdown).then(|| self.waiting.try_acquire()).transpose();
        let Ok(_waiting) = waiting else {
            let hint = Some("try again when some of them are done".to_owned());
            return send(wire, &refused(exit::RESTART, "too many commands wait for the gateway", hint)).await;
        };
        let (replies, mut answers) = mpsc::channel(16);
        if self.requests.send(Request { what, pid, uid, replies }).await.is_err() {
            return send(wire, &refused(exit::UNAVAILABLE, "the gateway is stopping", None)).await;
        }
        loop {
            tokio::select! {
                reply = answers.recv() => match reply {
                    Some(reply) => send(wire, &reply).await?,
                    None => return Ok(()),
                },
                // Nothing is said after the request: this is the client hanging up. Whoever waits for that sees `replies` closed.
                _ = wire.framed.next() => return Ok(()),
            }
        }
    }
}

async fn send_status(wire: &mut Wire, status: &GatewayStatus) -> Result<(), LinkError> {
    let json = |value: serde_json::Result<String>| value.expect("strings and integers always serialise");
    feed(wire, &ClientReply::Gateway(json(serde_json::to_string(&status.gateway)))).await?;
    for profile in &status.profiles {
        feed(wire, &ClientReply::Profile(json(serde_json::to_string(profile)))).await?;
    }
    send(wire, &ClientReply::Done(String::new())).await
}

async fn feed(wire: &mut Wire, reply: &ClientReply) -> Result<(), LinkError> {
    if let Some(bytes) = reply.encode(wire.version)? {
        let fed = tokio::time::timeout(WRITE_TIME, wire.framed.feed(Bytes::from(bytes)));
        fed.await.map_err(|_| LinkError::WriteTimeout)??;
    }
    Ok(())
}

async fn send(wire: &mut Wire, reply: &ClientReply) -> Result<(), LinkError> {
    feed(wire, reply).await?;
    tokio::time::timeout(WRITE_TIME, SinkExt::<Bytes>::flush(&mut wire.framed))
        .await
        .map_err(|_| LinkError::WriteTimeout)??;
    Ok(())
}

/// "No such profile".
pub(crate) fn unknown(name: &ProfileName) -> ClientReply {
    let message = format!("the gateway does not serve a profile '{name}'");
    refused(exit::FAILURE, &message, Some("`hermes status` lists the profiles it serves".to_owned()))
}

/// A final "no".
pub(crate) fn refused(code: u8, message: &str, hint: Option<String>) -> ClientReply {
    ClientReply::Refused { code, message: message.to_owned(), hint }
}
