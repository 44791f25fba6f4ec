//! After a change of protocol: bytes both ways until both ends have closed. One end's half-close reaches the other.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hermes_host::local::LocalStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::TURN;
use super::client::Client;
use super::local::{Local, others_first};
use super::wire::private::Private;

/// One direction.
#[derive(Default)]
struct Way {
    /// Read, not written yet.
    pending: Vec<u8>,
    at: usize,
    ended: bool,
    shut: bool,
    bytes: u64,
    /// Bytes read in this turn.
    turn: usize,
}

/// Copies until the end. `early` is what the client sent behind its request. Returns the bytes received from and sent to it.
pub(super) async fn run(
    local: &Rc<Local>,
    client: &mut Client,
    upstream: &mut LocalStream,
    early: Private,
) -> (u64, u64) {
    let mut up = Way { pending: early.to_vec(), ..Way::default() };
    let mut down = Way::default();
    poll_fn(|cx| {
        let scratch = &mut local.scratch.borrow_mut().read;
        (up.turn, down.turn) = (0, 0);
        let (ups, downs) = (up.poll(cx, client, upstream, scratch), down.poll(cx, upstream, client, scratch));
        if up.turn.max(down.turn) >= TURN {
            others_first(cx);
        }
        match (ups, downs) {
            // An error in one direction ends both.
            (Poll::Ready(Err(_)), _)
            | (_, Poll::Ready(Err(_)))
            | (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(()),
            _ => Poll::Pending,
        }
    })
    .await;
    (up.bytes, down.bytes)
}

impl Way {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        scratch: &mut [u8],
    ) -> Poll<io::Result<()>> {
        loop {
            while self.at < self.pending.len() {
                let n = ready!(Pin::new(&mut *to).poll_write(cx, &self.pending[self.at..]))?;
                if n == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.at += n;
                self.bytes += n as u64;
            }
            if !self.pending.is_empty() {
                self.pending = Vec::new();
                self.at = 0;
            }
            if self.ended {
                if !self.shut {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.shut = true;
                }
                return Poll::Ready(Ok(()));
            }
            if self.turn >= TURN {
                return Poll::Pending;
            }
            let mut buf = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buf))?;
            let bytes = buf.filled();
            self.turn += bytes.len();
            if bytes.is_empty() {
                self.ended = true;
                continue;
            }
            let written = match Pin::new(&mut *to).poll_write(cx, bytes)? {
                Poll::Ready(n) => n,
                Poll::Pending => 0,
            };
            self.bytes += written as u64;
            self.pending.extend_from_slice(&bytes[written..]);
        }
    }
}
