//! One proxy thread: its runtime, and its accept loops.

use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::listener::Gate;
use super::local::{Counted, Local};
use super::places::Place;
use super::shared::{Command, Shared};
use super::table::Reader;
use super::{Limits, conn};
use crate::accept::{Failures, Quiet};

/// Deep enough for a debug build; only touched pages count.
const STACK: usize = 512 * 1024;
/// Connections taken in one go, so that a storm of them does not starve those that exist.
const ACCEPT_BATCH: u32 = 16;
/// How long, and how often, a new connection waits for a place that is being left.
const MOMENT: Duration = Duration::from_millis(1);
const MOMENTS: u32 = 50;

/// What a thread starts with.
pub(super) struct Start {
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) reader: Reader,
    pub(super) limits: Limits,
    pub(super) inbox: mpsc::Receiver<Command>,
}

/// Starts the thread. It can serve when this returns.
pub(super) fn spawn(start: Start) -> io::Result<JoinHandle<()>> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_io().enable_time().max_blocking_threads(1);
    let (said, hear) = sync_channel(1);
    let name = format!("proxy-{}", start.index);
    let thread = std::thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
        match builder.build_local(tokio::runtime::LocalOptions::default()) {
            Ok(runtime) => {
                // Whoever started us waits for this.
                let _ = said.send(Ok(()));
                // Dropping the runtime drops what is left of its tasks, and with them their sockets.
                runtime.block_on(run(start));
            }
            Err(error) => drop(said.send(Err(error))),
        }
    })?;
    hear.recv().unwrap_or_else(|_| Err(io::Error::other("it ended at once")))?;
    Ok(thread)
}

async fn run(start: Start) {
    let Start { index, shared, reader, limits, mut inbox } = start;
    let local = Local::new(index, shared, reader, limits);
    let stop = local.shared.stop.clone();
    loop {
        let command = tokio::select! {
            () = stop.cancelled() => break,
            command = inbox.recv() => command,
        };
        match command {
            None => break,
            Some(Command::Limits(limits)) => local.limits.set(limits),
            Some(Command::Serve { socket, gate, peer, place }) => match TcpStream::from_std(socket) {
                Ok(stream) => serve(&local, stream, gate, peer, place),
                Err(error) => {
                    drop(Counted::already(&local));
                    tracing::warn!(%error, "a connection could not be registered");
                }
            },
            Some(Command::Accept { socket, gate, said }) => {
                let listener = TcpListener::from_std(socket);
                let result = listener.map(|listener| {
                    local.tasks.spawn_local(accept(Rc::clone(&local), listener, gate));
                });
                // Whoever does not wait any more has closed the listener.
                let _ = said.send(result);
            }
        }
    }
}

/// Serves a connection that was already counted as this thread's.
fn serve(local: &Rc<Local>, stream: TcpStream, gate: Arc<Gate>, peer: IpAddr, place: Place) {
    let counted = Counted::already(local);
    local.tasks.spawn_local(conn::serve(Rc::clone(local), stream, gate, peer, place, counted));
}

async fn accept(local: Rc<Local>, listener: TcpListener, gate: Arc<Gate>) {
    let mut failing = Failures::of("connections");
    let mut crowded = Quiet::default();
    let mut batch = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let peer = address.ip().to_canonical();
                if let Some(place) = take_place(&local, gate.id(), peer).await {
                    hand_over(&local, stream, &gate, peer, place);
                } else {
                    if crowded.speak() {
                        tracing::warn!(
                            limit = local.limits.get().connections,
                            address = %peer,
                            "too many connections with requests that are being answered; new ones are refused"
                        );
                    }
                    conn::refuse(&stream);
                }
            }
            Err(error) => failing.rest(&error, &gate.stop).await,
        }
        batch += 1;
        if batch % ACCEPT_BATCH == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Takes a place for a connection. Whoever was asked to make room needs a moment to do so; others wait in the backlog.
async fn take_place(local: &Rc<Local>, listener: usize, peer: IpAddr) -> Option<Place> {
    for _ in 0..MOMENTS {
        let place = local.shared.places.enter(listener, peer);
        if place.is_some() || !local.shared.places.are_being_left() {
            return place;
        }
        tokio::time::sleep(MOMENT).await;
    }
    None
}

/// Gives the connection to the thread that has fewest.
fn hand_over(local: &Rc<Local>, stream: TcpStream, gate: &Arc<Gate>, peer: IpAddr, place: Place) {
    #[cfg(not(target_os = "linux"))]
    if let Err(error) = super::listener::configure(&socket2::SockRef::from(&stream)) {
        tracing::debug!(%error, "a connection has no keep-alive");
    }
    let shared = &local.shared;
    let count = |thread: usize| shared.load[thread].connections.load(Ordering::Relaxed);
    let target =
        (0..shared.inboxes.len()).min_by_key(|&t| (count(t), t != local.index)).unwrap_or(local.index);
    shared.load[target].connections.fetch_add(1, Ordering::Relaxed);
    if target == local.index {
        return serve(local, stream, Arc::clone(gate), peer, place);
    }
    let uncount = || shared.load[target].connections.fetch_sub(1, Ordering::Relaxed);
    match stream.into_std() {
        Ok(socket) => {
            if shared.inboxes[target]
                .try_send(Command::Serve { socket, gate: Arc::clone(gate), peer, place })
                .is_err()
            {
                uncount();
                tracing::warn!(thread = target, "a proxy thread takes no more connections");
            }
        }
        Err(error) => {
            uncount();
            tracing::warn!(%error, "a connection could not be handed over");
        }
    }
}
