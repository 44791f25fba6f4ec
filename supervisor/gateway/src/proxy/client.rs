//! A client's socket, which can tell that the client has gone without being read to the end.
//!
//! While a request is being answered, what comes behind it is read up to a bound and no further. The end of the connection then
//! lies behind bytes that nobody reads, so the kernel is asked for it: readiness says "closed" beside "readable". To be woken
//! by the next change instead of by those bytes again, the runtime is made to forget that they are there; [`Client::poll_read`]
//! remembers.

use std::future::Future as _;
use std::io::{self, Read as _};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// The socket of one client.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    /// There may be bytes that the runtime does not know of.
    forgot: bool,
}

impl Client {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, forgot: false }
    }

    /// Ready once the client sends no more, however much it sent before that is unread. What the kernel has no room for is not
    /// seen: a client that sends more than a receive buffer has to be read before it can be missed.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match pin!(self.stream.ready(Interest::READABLE)).poll(cx) {
                Poll::Ready(Ok(readiness)) if !readiness.is_read_closed() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                // It is not readable after all; the next round waits for it.
                Poll::Pending => continue,
            }
            self.forgot = true;
            // Its result is the point: "would block" is what makes the runtime wait for the next change.
            let _ = self
                .stream
                .try_io(Interest::READABLE, || Err::<(), io::Error>(io::ErrorKind::WouldBlock.into()));
        }
    }

    /// What the runtime forgot. `None`: there is nothing.
    fn recall(&mut self, buf: &mut ReadBuf<'_>) -> Option<io::Result<()>> {
        loop {
            let room = buf.initialize_unfilled();
            let most = room.len();
            match (&*SockRef::from(&self.stream)).read(room) {
                Ok(n) => {
                    // Less than there was room for is all there was; what comes later is announced.
                    self.forgot = n == most;
                    buf.advance(n);
                    return Some(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.forgot = false;
                    return (error.kind() != io::ErrorKind::WouldBlock).then_some(Err(error));
                }
            }
        }
    }
}

impl AsyncRead for Client {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.forgot
            && buf.remaining() > 0
            && let Some(read) = this.recall(buf)
        {
            return Poll::Ready(read);
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Client {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn pair() -> (Client, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (theirs, ours) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (Client::new(ours.unwrap().0), theirs.unwrap())
    }

    async fn gone(client: &mut Client) {
        timeout(PATIENCE, poll_fn(|cx| client.poll_gone(cx))).await.expect("noticed in time");
    }

    async fn stays(client: &mut Client) {
        let gone = timeout(Duration::from_millis(50), poll_fn(|cx| client.poll_gone(cx))).await;
        assert!(gone.is_err(), "it has not gone");
    }

    /// 22: a client's end is seen behind bytes that nobody reads.
    #[tokio::test]
    async fn an_end_is_noticed_behind_unread_bytes() {
        for silent in [true, false] {
            let (mut ours, mut theirs) = pair().await;
            theirs.write_all(&vec![7; 50_000]).await.unwrap();
            stays(&mut ours).await;
            theirs.write_all(&vec![8; 50_000]).await.unwrap();
            stays(&mut ours).await;
            if silent {
                theirs.shutdown().await.unwrap();
            } else {
                drop(theirs);
            }
            gone(&mut ours).await;
        }
    }

    #[tokio::test]
    async fn bytes_that_were_not_looked_at_are_read_later() {
        let (mut ours, mut theirs) = pair().await;
        theirs.write_all(&vec![7; 50_000]).await.unwrap();
        stays(&mut ours).await;
        let mut all = vec![0; 50_000];
        timeout(PATIENCE, ours.read_exact(&mut all)).await.expect("what is there is read").unwrap();
        // Nothing is there, then something is: the usual way works again.
        let mut byte = [0];
        assert!(timeout(Duration::from_millis(50), ours.read(&mut byte)).await.is_err());
        theirs.write_all(b"x").await.unwrap();
        assert_eq!(timeout(PATIENCE, ours.read(&mut byte)).await.unwrap().unwrap(), 1);
        stays(&mut ours).await;
        drop(theirs);
        gone(&mut ours).await;
        assert_eq!(ours.read(&mut byte).await.unwrap(), 0);
    }
}
