//! One end of a connection on this machine that is woken for what it waits for and for nothing else.
//!
//! Whoever is registered to hear when a Unix socket can be written to hears it each time the other end has read something, though
//! there was room all along: two wake-ups for every message, one of which is for nothing. So a [`LocalStream`] is registered for reading
//! alone. Only where the other end is slow, and a write finds no room, it is registered for both until a write goes through whole.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// Most that is read at once into memory that was never written to.
const SCRATCH: usize = 64 * 1024;

thread_local! {
    /// Memory has to be written to before it can be read into. This is, once; what was read is copied.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A connected Unix socket. It does not write vectored: what is written here is small as a rule, and one buffer is cheaper than a list.
#[derive(Debug)]
pub struct LocalStream {
    /// `None` only after a registration has failed.
    socket: Option<AsyncFd<UnixStream>>,
    /// Registered for writing, too.
    wide: bool,
    /// Who waits to read: a new registration knows of nobody.
    reader: Option<Waker>,
}

impl LocalStream {
    /// Registers `stream`, which must not block, with the runtime.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        Ok(Self { socket: Some(registered(stream, false)?), wide: false, reader: None })
    }

    /// Registers what the runtime knows already.
    pub fn from_tokio(stream: tokio::net::UnixStream) -> io::Result<Self> {
        Self::new(stream.into_std()?)
    }

    /// Whether nothing has happened since the last read: no end, no bytes. Costs a system call only if something did.
    pub fn is_quiet(&self) -> bool {
        let Some(socket) = &self.socket else { return false };
        let looked = socket.try_io(Interest::READABLE, |mut stream| stream.read(&mut [0]));
        looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Registers anew, for writing too or no longer.
    fn register(&mut self, wide: bool) -> io::Result<()> {
        let socket = present(self.socket.take())?;
        self.socket = Some(registered(socket.into_inner(), wide)?);
        self.wide = wide;
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
        Ok(())
    }

    /// Writes as much of `buf` as there is room for.
    fn poll_room(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let socket = present(self.socket.as_ref())?;
            let mut guard = if self.wide { Some(ready!(socket.poll_write_ready(cx))?) } else { None };
            match socket.get_ref().write(buf) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match &mut guard {
                    Some(guard) => guard.clear_ready(),
                    None => self.register(true)?,
                },
                Ok(written) if written == buf.len() && self.wide => {
                    self.register(false)?;
                    return Poll::Ready(Ok(written));
                }
                done => return Poll::Ready(done),
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "what replaces it is unsafe for the sake of types that are not the sole owner of their descriptor"
)]
fn registered(stream: UnixStream, wide: bool) -> io::Result<AsyncFd<UnixStream>> {
    let interest = if wide { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
    AsyncFd::with_interest(stream, interest)
}

/// The socket, unless its registration has failed.
fn present<T>(socket: Option<T>) -> io::Result<T> {
    socket.ok_or_else(|| io::ErrorKind::NotConnected.into())
}

impl AsyncRead for LocalStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let socket = present(this.socket.as_ref())?;
        loop {
            let Poll::Ready(guard) = socket.poll_read_ready(cx) else {
                if !this.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                    this.reader = Some(cx.waker().clone());
                }
                return Poll::Pending;
            };
            let mut guard = guard?;
            let most = buf.remaining();
            let read = if buf.initialized().len() == buf.capacity() {
                let unfilled = buf.initialize_unfilled();
                guard.get_inner().read(unfilled).inspect(|&read| buf.advance(read))
            } else {
                READ.with_borrow_mut(|scratch| {
                    let room = &mut scratch[..most.min(SCRATCH)];
                    guard.get_inner().read(room).inspect(|&read| buf.put_slice(&room[..read]))
                })
            };
            match read {
                Ok(read) => {
                    // Less than there was room for is all there was; what comes later is announced. Nothing at all is the end,
                    // which stays.
                    if read > 0 && read < most.min(SCRATCH) {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for LocalStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_room(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(
            present(self.socket.as_ref()).and_then(|socket| socket.get_ref().shutdown(Shutdown::Write)),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinSet;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn pair() -> (LocalStream, LocalStream) {
        let (a, b) = UnixStream::pair().unwrap();
        for stream in [&a, &b] {
            stream.set_nonblocking(true).unwrap();
        }
        (LocalStream::new(a).unwrap(), LocalStream::new(b).unwrap())
    }

    async fn read(stream: &mut LocalStream, most: usize) -> Vec<u8> {
        let mut bytes = vec![0; most];
        let read = timeout(PATIENCE, stream.read(&mut bytes)).await.expect("something comes").unwrap();
        bytes.truncate(read);
        bytes
    }

    /// hardening 17: that the other end has read is no news.
    #[tokio::test]
    async fn what_the_other_end_reads_wakes_nobody() {
        let (mut a, mut b) = pair();
        a.write_all(b"one").await.unwrap();
        assert_eq!(read(&mut b, 9).await, b"one");
        assert!(!a.wide && a.is_quiet() && b.is_quiet());
        let heard = a.socket.as_ref().unwrap().try_io(Interest::READABLE, |_| Ok(()));
        assert!(heard.is_err(), "the runtime heard something");
        b.write_all(b"two").await.unwrap();
        assert_eq!(read(&mut a, 2).await, b"tw");
        assert_eq!(read(&mut a, 2).await, b"o");
    }

    /// hardening 17: a slow reader is waited for, in both directions at once, and forgotten when it has caught up.
    #[tokio::test]
    async fn all_of_it_arrives_whatever_the_pace() {
        let (a, b) = pair();
        let all: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        for stream in [a, b] {
            let (mut reading, mut writing) = tokio::io::split(stream);
            let (sent, expected) = (all.clone(), all.clone());
            writers.spawn(async move {
                for piece in sent.chunks(300_001) {
                    writing.write_all(piece).await.unwrap();
                }
                writing
            });
            readers.spawn(async move {
                // Memory that was never written to, and memory that was.
                let mut got = Vec::with_capacity(expected.len());
                while got.len() < expected.len() / 2 {
                    assert!(reading.read_buf(&mut got).await.unwrap() > 0);
                }
                let at = got.len();
                got.resize(expected.len(), 0);
                reading.read_exact(&mut got[at..]).await.unwrap();
                assert!(got == expected, "other bytes came");
                reading
            });
        }
        let mut writers = timeout(PATIENCE, writers.join_all()).await.expect("all was taken");
        let readers = timeout(PATIENCE, readers.join_all()).await.expect("all came");
        for reading in readers {
            let at = writers.iter().position(|writing| reading.is_pair_of(writing)).unwrap();
            assert!(!reading.unsplit(writers.swap_remove(at)).wide, "nothing waits for room any more");
        }
    }

    #[tokio::test]
    async fn the_end_is_seen_and_stays() {
        let (mut a, mut b) = pair();
        a.write_all(b"last").await.unwrap();
        a.shutdown().await.unwrap();
        assert_eq!(read(&mut b, 9).await, b"last");
        for _ in 0..3 {
            assert_eq!(read(&mut b, 9).await, b"");
            assert!(!b.is_quiet());
        }
        drop(b);
        let gone = poll_fn(|cx| Pin::new(&mut a).poll_write(cx, b"x")).await.unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }
}
