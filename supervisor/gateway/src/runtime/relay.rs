//! A name for a data socket that has lost its own: a socket that passes what comes on to the held one.
//!
//! A link into this process would do, but only root could follow it: to everybody else the process is closed. The gateway itself needs no
//! name; this is for who looks at a worker by hand, and for commands. Few connections, and each costs two small threads while it lasts.

use std::io;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Builder;

use socket2::{Domain, Socket, Type};

use super::Door;

/// Connections at once; more are hung up on.
const MOST: usize = 32;
/// Stack of a thread that only copies, in bytes.
const STACK: usize = 64 * 1024;

/// Passes on what comes to `listener` for as long as the socket behind `door` is held.
pub(super) fn start(listener: UnixListener, door: Weak<Door>) -> io::Result<()> {
    listener.set_nonblocking(false)?;
    let open = Arc::new(AtomicUsize::new(0));
    let serve = move || {
        while let Ok((client, _)) = listener.accept() {
            let Some(door) = door.upgrade() else { return };
            let place = Place(Arc::clone(&open));
            if place.0.fetch_add(1, Ordering::Relaxed) >= MOST {
                continue;
            }
            if let Err(error) = pass(client, &door, place) {
                tracing::debug!(%error, "a connection by a name that was made again is hung up on");
            }
        }
    };
    Builder::new().name("name-again".to_owned()).stack_size(STACK).spawn(serve).map(drop)
}

/// Counted until it is dropped.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn pass(client: UnixStream, door: &Door, place: Place) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect(door.address())?;
    let worker = UnixStream::from(std::os::fd::OwnedFd::from(socket));
    let place = Arc::new(place);
    for (from, to) in [(client.try_clone()?, worker.try_clone()?), (worker, client)] {
        let place = Arc::clone(&place);
        let copy = move || {
            let _place = place;
            let (mut from, mut to) = (from, to);
            // Either end may go at any time.
            let _ = io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Write);
        };
        Builder::new().name("name-again".to_owned()).stack_size(STACK).spawn(copy)?;
    }
    Ok(())
}
