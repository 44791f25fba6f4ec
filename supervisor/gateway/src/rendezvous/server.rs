//! Answers the clients of `gateway.sock`, and looks after its name and the host record.
//!
//! One request a connection, as upstream has it: what comes after the first line is not read as one. A client of another user is not
//! heard. Each has [`ASK_TIME`] to ask and [`WRITE_TIME`] to take its answer; one that does neither costs its place until then and
//! nothing else. Who this gateway is and how it is comes from the board. The rest is asked of the app, by [`Asked`], whose clients take
//! half of the places at most; they are answered when the result was observed or [`RESULT_TIME`] is over, and what they asked for goes on
//! without them.

use std::os::unix::net::UnixListener as StdListener;
use std::sync::Arc;
use std::time::Duration;

use hermes_host::cause::Chain;
use hermes_host::{blocking, clock};
use hermes_wire::ProfileName;
use hermes_wire::latest::ClientReply;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answers::{self, Seen};
use super::inherit::Kept;
use super::request::{self, MAX_REQUEST, Refusal, Verb};
use super::{Rendezvous, lock};
use crate::accept::Failures;
use crate::board::Board;

/// Clients at the same time; more wait in the backlog.
pub(crate) const CLIENTS: u32 = 16;
/// Of those, what may wait for a result.
const WAITING: u32 = CLIENTS / 2;
/// For the request.
const ASK_TIME: Duration = Duration::from_secs(2);
/// For a client to take its answer.
const WRITE_TIME: Duration = Duration::from_secs(5);
/// For the status file, which may be on a file system that hangs: clients wait two seconds for all of it.
const FILE_TIME: Duration = Duration::from_secs(1);
/// For a result; clients wait eight seconds.
pub(crate) const RESULT_TIME: Duration = Duration::from_secs(6);
/// What is read of a request that is too long before the connection is closed, so that its client can read why.
const REST: u64 = 1024 * 1024;
/// Time between two looks at the socket's name and the host record.
const LOOK: Duration = Duration::from_secs(2);
/// Time in which clients that were taken in the last moment are answered.
const LAST: Duration = Duration::from_millis(250);
/// Time that a look may still take at the end.
const END: Duration = Duration::from_secs(1);

/// Something that the app is to do.
pub(crate) struct Asked {
    pub(crate) what: Ask,
    /// Who asks.
    pub(crate) pid: Option<i32>,
}

/// What, and where the result is told.
pub(crate) enum Ask {
    /// Look at the homes now.
    Rescan(oneshot::Sender<Result<Looked, String>>),
    /// Serve a profile, unless its home says otherwise.
    Serve(ProfileName, mpsc::Sender<ClientReply>),
    /// End its worker, and remember nothing.
    Unserve(ProfileName, mpsc::Sender<ClientReply>),
    /// End as for a restart.
    Pause(oneshot::Sender<Pausing>),
}

/// What a look at the homes has led to.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Served now, and not before.
    pub(crate) added: Vec<ProfileName>,
    /// Not served any more.
    pub(crate) removed: Vec<ProfileName>,
    /// Their files had changed.
    pub(crate) rescanned: Vec<ProfileName>,
    /// Should be served, and cannot.
    pub(crate) failed: Vec<ProfileName>,
    /// Not all of it has come about yet.
    pub(crate) pending: bool,
}

/// How the gateway ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pausing {
    /// It was on its way already.
    pub(crate) already: bool,
    /// How long that may take.
    pub(crate) within: Duration,
}

/// What answering needs.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) rendezvous: Rendezvous,
    pub(crate) board: Board,
    pub(crate) asked: mpsc::Sender<Asked>,
    pub(crate) tracker: TaskTracker,
}

/// Answers clients until `stop`, or until it is to `rest`, on `listener` and on those that take its place, and looks after names.
pub(crate) async fn serve(
    context: Context,
    listener: Option<StdListener>,
    (rest, stop): (CancellationToken, CancellationToken),
) {
    let places = Arc::new(Semaphore::new(CLIENTS as usize));
    let waiting = Arc::new(Semaphore::new(WAITING as usize));
    let file = Arc::new(Semaphore::new(1));
    let clients = CancellationToken::new();
    let mut listener = listener.and_then(usable);
    let mut failures = Failures::of("newer Python programs");
    // One look at a time: the home may be on a file system that hangs.
    let over = CancellationToken::new();
    let eye = Eye { news: context.board.news(), seen: None, over: over.clone() };
    let mut look = Box::pin(looked(context.clone(), eye));
    loop {
        let (place, accepted) = tokio::select! {
            () = stop.cancelled() => break,
            () = rest.cancelled() => break,
            accepted = accept(&places, listener.as_ref()) => accepted,
            (made, eye) = &mut look => {
                if let Some(made) = made.and_then(usable) {
                    listener = Some(made);
                }
                look = Box::pin(looked(context.clone(), eye));
                continue;
            }
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                failures.rest(&error, &stop).await;
                continue;
            }
        };
        let client =
            Client { context: context.clone(), waiting: Arc::clone(&waiting), file: Arc::clone(&file) };
        let clients = clients.clone();
        context.tracker.spawn(async move {
            tokio::select! {
                () = client.answer(stream) => {}
                () = clients.cancelled() => {}
            }
            drop(place);
        });
    }
    // Who is being answered is answered; whoever comes now waits for the next program, or finds nobody.
    let _ = tokio::time::timeout(LAST, places.acquire_many(CLIENTS)).await;
    clients.cancel();
    // One that is under way could make the name again; one that has not begun does not.
    over.cancel();
    let _ = tokio::time::timeout(END, look).await;
    let rendezvous = context.rendezvous;
    let ended = blocking::run(move || {
        let listener = listener.and_then(|listener| listener.into_std().ok());
        let mut door = lock(&rendezvous.door);
        let renews = lock(&rendezvous.renewal).0;
        match (listener, door.id()) {
            (Some(listener), Some(id)) if renews => {
                lock(&rendezvous.renewal).1 = Some(Kept { listener, id });
            }
            _ => door.remove(),
        }
    });
    if tokio::time::timeout(END, ended).await.is_err() {
        tracing::warn!("the names for newer Python programs could not be removed in time");
    }
}

fn usable(listener: StdListener) -> Option<UnixListener> {
    UnixListener::from_std(listener)
        .inspect_err(|error| tracing::error!(%error, "newer Python programs cannot be answered"))
        .ok()
}

/// The next client, when there is a place for it. Safe to cancel.
async fn accept(
    places: &Arc<Semaphore>,
    listener: Option<&UnixListener>,
) -> (Option<OwnedSemaphorePermit>, std::io::Result<UnixStream>) {
    let Some(listener) = listener else { return std::future::pending().await };
    // The places are never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    (place, listener.accept().await.map(|(stream, _)| stream))
}

/// What the board said last, and whether it says something else since.
struct Eye {
    news: watch::Receiver<()>,
    seen: Option<Arc<Seen>>,
    /// Nobody looks any more.
    over: CancellationToken,
}

impl Eye {
    fn look(&mut self, board: &Board) -> Arc<Seen> {
        let is_old = self.news.has_changed().unwrap_or(true);
        self.news.mark_unchanged();
        let seen = self.seen.take().filter(|_| !is_old).unwrap_or_else(|| Arc::new(Seen::on(board)));
        Arc::clone(self.seen.insert(seen))
    }
}

/// Waits until it is time for a look, and looks. A listener where the name had to be made.
async fn looked(context: Context, mut eye: Eye) -> (Option<StdListener>, Eye) {
    if eye.over.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
        return (None, eye);
    }
    let Context { rendezvous, board, .. } = context;
    let seen = eye.look(&board);
    // Neither before it is known who is served, nor when nobody is to come any more.
    let is_running = seen.state == "running";
    let look = blocking::run(move || {
        if is_running {
            lock(&rendezvous.seat).look(seen.multiplex, &seen.served, clock::now());
        }
        lock(&rendezvous.door).look()
    });
    (look.await.ok().flatten(), eye)
}

struct Client {
    context: Context,
    waiting: Arc<Semaphore>,
    /// One at a time reads the status file.
    file: Arc<Semaphore>,
}

/// What a client has said.
enum Said {
    Line(Vec<u8>),
    TooLong,
}

impl Client {
    async fn answer(&self, mut stream: UnixStream) {
        let peer = match stream.peer_cred() {
            Ok(peer) if is_heard(peer.uid(), nix::unistd::geteuid().as_raw()) => peer,
            Ok(peer) => {
                return tracing::warn!(
                    uid = peer.uid(),
                    pid = peer.pid(),
                    "a request of another user was refused"
                );
            }
            Err(error) => return tracing::debug!(%error, "a client cannot be told from others"),
        };
        let said = match tokio::time::timeout(ASK_TIME, read_line(&mut stream)).await {
            Ok(Ok(Some(said))) => said,
            // It left, or was silent.
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => return tracing::debug!(error = %Chain(&error), "a request could not be read"),
        };
        let too_long = matches!(said, Said::TooLong);
        let line = match said {
            Said::TooLong => {
                let why = format!("the request is longer than {MAX_REQUEST} bytes");
                request::answer(None, Err(Refusal::Because(why)))
            }
            Said::Line(line) => {
                let asked = request::parse(&line);
                let result = match asked.verb {
                    Ok(verb) => self.result(verb, peer.pid()).await,
                    Err(refusal) => Err(refusal),
                };
                request::answer(asked.id.as_ref(), result)
            }
        };
        let written = tokio::time::timeout(WRITE_TIME, async {
            stream.write_all(&line).await?;
            stream.shutdown().await?;
            if too_long {
                // Closed with something unread, the connection would be reset before the client has read why.
                tokio::io::copy(&mut stream.take(REST), &mut tokio::io::sink()).await?;
            }
            Ok::<_, std::io::Error>(())
        });
        if let Ok(Err(error)) = written.await {
            tracing::debug!(error = %Chain(&error), "a request was answered to nobody");
        }
    }

    async fn result(&self, verb: Verb, pid: Option<i32>) -> Result<Map<String, Value>, Refusal> {
        match verb {
            Verb::Identify => {
                Ok(answers::identify(&Seen::on(&self.context.board), self.context.rendezvous.supervisor))
            }
            Verb::Status => {
                let file = self.status_file().await;
                Ok(answers::status(&Seen::on(&self.context.board), file, clock::system()))
            }
            Verb::Pause => self.pause(pid).await,
            Verb::Rescan | Verb::Serve(_) | Verb::Unserve(_) => {
                let Ok(_waiting) = self.waiting.try_acquire() else {
                    return Err(because(
                        "too many requests wait for the gateway; try again when some of them are done",
                    ));
                };
                match verb {
                    Verb::Serve(name) => Ok(self.profile(&name, "served", Ask::Serve, pid).await),
                    Verb::Unserve(name) => Ok(self.profile(&name, "unserved", Ask::Unserve, pid).await),
                    _ => self.rescan(pid).await,
                }
            }
        }
    }

    async fn status_file(&self) -> Result<Map<String, Value>, String> {
        let home = self.context.rendezvous.home.clone();
        let read = async {
            let turn = Arc::clone(&self.file).acquire_owned().await.map_err(|error| error.to_string())?;
            let read = move || {
                // Kept by whoever hangs in the file system, so that no second one does.
                let _turn = turn;
                answers::state_file(&home)
            };
            blocking::run(read).await.map_err(|error| error.to_string())?
        };
        let late = |_| Err("the status file could not be read in time".to_owned());
        tokio::time::timeout(FILE_TIME, read).await.unwrap_or_else(late)
    }

    async fn pause(&self, pid: Option<i32>) -> Result<Map<String, Value>, Refusal> {
        let (reply, pausing) = oneshot::channel();
        let Pausing { already, within } = self.ask(Ask::Pause(reply), pid, pausing).await?;
        Ok(object(json!({
            "pausing": !already,
            "already_stopping": already,
            "pid": std::process::id(),
            "drain_timeout": within.as_secs_f64(),
        })))
    }

    async fn rescan(&self, pid: Option<i32>) -> Result<Map<String, Value>, Refusal> {
        let (reply, looked) = oneshot::channel();
        let looked = self.ask(Ask::Rescan(reply), pid, looked).await?.map_err(Refusal::Because)?;
        let mut answer = object(json!({
            "added": names(&looked.added),
            "removed": names(&looked.removed),
            "rescanned": names(&looked.rescanned),
            "parked": names(&looked.failed),
        }));
        if looked.pending {
            answer.insert("pending".to_owned(), true.into());
        }
        Seen::on(&self.context.board).serves(&mut answer);
        Ok(answer)
    }

    /// The app's answer about more than one profile.
    async fn ask<T>(&self, what: Ask, pid: Option<i32>, answer: oneshot::Receiver<T>) -> Result<T, Refusal> {
        let ending = || because("the gateway is ending");
        self.context.asked.send(Asked { what, pid }).await.map_err(|_| ending())?;
        match tokio::time::timeout(RESULT_TIME, answer).await {
            Ok(answer) => answer.map_err(|_| ending()),
            Err(_) => Err(because("the gateway is busy and does it later")),
        }
    }

    /// What has become of one profile: `{done: name}`, or why not, or that it is not over yet.
    async fn profile(
        &self,
        name: &str,
        done: &str,
        what: fn(ProfileName, mpsc::Sender<ClientReply>) -> Ask,
        pid: Option<i32>,
    ) -> Map<String, Value> {
        let mut answer = Map::new();
        let result = match name.parse::<ProfileName>() {
            Ok(parsed) => self.observed(|replies| what(parsed, replies), pid).await,
            Err(error) => Err(Some(format!("'{}' is no name of a profile: {error}", request::shown(name)))),
        };
        match result {
            Ok(()) => answer.insert(done.to_owned(), name.into()),
            Err(Some(why)) => answer.insert("error".to_owned(), why.into()),
            // No confirmation: nobody may take it for one.
            Err(None) => answer.insert("pending".to_owned(), true.into()),
        };
        Seen::on(&self.context.board).serves(&mut answer);
        answer
    }

    /// Whether it has come about; why not, or `None` for "not in time".
    async fn observed(
        &self,
        what: impl FnOnce(mpsc::Sender<ClientReply>) -> Ask,
        pid: Option<i32>,
    ) -> Result<(), Option<String>> {
        let (replies, mut answers) = mpsc::channel(16);
        let ending = || Some("the gateway is ending".to_owned());
        self.context.asked.send(Asked { what: what(replies), pid }).await.map_err(|_| ending())?;
        let last = tokio::time::timeout(RESULT_TIME, async {
            loop {
                match answers.recv().await {
                    Some(ClientReply::Progress(_)) => {}
                    last => return last,
                }
            }
        });
        match last.await {
            Ok(Some(ClientReply::Done(_))) => Ok(()),
            Ok(Some(ClientReply::Refused { message, .. })) => Err(Some(message)),
            Ok(_) => Err(ending()),
            Err(_) => Err(None),
        }
    }
}

/// Whether somebody may ask: who runs this gateway, and root, who may do anything anyway.
fn is_heard(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// The first line, without its end. `None` where nothing came.
async fn read_line(stream: &mut UnixStream) -> std::io::Result<Option<Said>> {
    let mut line = Vec::with_capacity(256);
    let mut part = [0; 4096];
    loop {
        let len = stream.read(&mut part).await?;
        let end = memchr::memchr(b'\n', &part[..len]);
        line.extend_from_slice(&part[..end.unwrap_or(len)]);
        // With its line end, as upstream counts.
        if line.len() + usize::from(end.is_some()) > MAX_REQUEST {
            return Ok(Some(Said::TooLong));
        }
        match (len, end) {
            (0, _) if line.is_empty() => return Ok(None),
            (0, _) | (_, Some(_)) => return Ok(Some(Said::Line(line))),
            _ => {}
        }
    }
}

fn because(why: &str) -> Refusal {
    Refusal::Because(why.to_owned())
}

fn names(profiles: &[ProfileName]) -> Vec<&str> {
    profiles.iter().map(ProfileName::as_str).collect()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_elses_requests_are_heard() {
        assert!(is_heard(1000, 1000) && is_heard(0, 1000) && is_heard(0, 0));
        assert!(!is_heard(1001, 1000) && !is_heard(1000, 0));
    }

    async fn read(said: &[u8]) -> Option<Result<Vec<u8>, ()>> {
        let (mut client, mut server) = UnixStream::pair().unwrap();
        let writing = async {
            // One that has read enough may be gone.
            let _ = client.write_all(said).await;
            let _ = client.shutdown().await;
        };
        let (read, ()) = tokio::join!(async { read_line(&mut server).await.unwrap() }, writing);
        Some(match read? {
            Said::Line(line) => Ok(line),
            Said::TooLong => Err(()),
        })
    }

    #[tokio::test]
    async fn one_line_is_read_up_to_its_limit() {
        assert_eq!(read(b"").await, None);
        assert_eq!(read(b"{}\n{}\n").await, Some(Ok(b"{}".to_vec())), "a second line is nobody's business");
        assert_eq!(read(b"{}").await, Some(Ok(b"{}".to_vec())), "the end ends the line");
        assert_eq!(read(b"\n").await, Some(Ok(Vec::new())));
        let longest = [vec![b'x'; MAX_REQUEST - 1], b"\n".to_vec()].concat();
        assert_eq!(read(&longest).await.unwrap().unwrap().len(), MAX_REQUEST - 1);
        let longer = [vec![b'x'; MAX_REQUEST], b"\n".to_vec()].concat();
        assert_eq!(read(&longer).await, Some(Err(())));
        assert_eq!(read(&vec![b'x'; MAX_REQUEST + 1]).await, Some(Err(())));
    }
}
