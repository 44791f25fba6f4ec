//! What a program prints for us, slowed down and cut off where it is too much.
//!
//! A line is a message. One that is too long ends the connection: its answer will never come, and whoever waits for it should know that.
//! Of a flood so much a second is read, so that the program waits and not the profile.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// Longest message, in bytes.
pub(super) const LONGEST: usize = 16 << 20;
/// What is read at once, in bytes.
const BURST: u64 = 32 << 20;
/// What is read a second from then on, in bytes.
const RATE: u64 = 8 << 20;
/// Wait where nothing more may be read.
const WAIT: Duration = Duration::from_millis(20);

/// See the module.
pub(super) struct Bounded<R> {
    inner: R,
    line: usize,
    left: u64,
    at: Instant,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Set where a message was too long.
    is_over: Arc<AtomicBool>,
}

impl<R> Bounded<R> {
    pub(super) fn new(inner: R, is_over: Arc<AtomicBool>) -> Self {
        Self { inner, line: 0, left: BURST, at: Instant::now(), sleep: None, is_over }
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let passed = u64::try_from(now.duration_since(self.at).as_millis()).unwrap_or(u64::MAX);
        if passed > 0 {
            self.left = self.left.saturating_add(passed.saturating_mul(RATE) / 1000).min(BURST);
            self.at = now;
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Bounded<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if let Some(sleep) = &mut this.sleep {
                std::task::ready!(sleep.as_mut().poll(cx));
                this.sleep = None;
            }
            if this.left < buf.remaining() as u64 {
                this.refill();
            }
            if this.left > 0 {
                break;
            }
            this.sleep = Some(Box::pin(sleep(WAIT)));
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut this.inner).poll_read(cx, buf))?;
        let new = &buf.filled()[before..];
        this.left = this.left.saturating_sub(new.len() as u64);
        this.line = match memchr::memrchr(b'\n', new) {
            Some(at) => new.len() - at - 1,
            None => this.line.saturating_add(new.len()),
        };
        if this.line > LONGEST {
            this.is_over.store(true, Ordering::Relaxed);
            // Who is told of an error has got nothing.
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long")));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_slowly_and_lines_are_bounded() {
        let line = {
            let mut line = vec![b'x'; 1023];
            line.push(b'\n');
            line
        };
        let flood = line.repeat(usize::try_from(BURST + RATE).unwrap() / line.len());
        let begun = Instant::now();
        let is_over = Arc::new(AtomicBool::new(false));
        let mut read = Bounded::new(&flood[..], Arc::clone(&is_over));
        // In pieces, as the library reads.
        let mut piece = vec![0; 8 * 1024];
        let mut all = 0;
        loop {
            match read.read(&mut piece).await.unwrap() {
                0 => break,
                len => all += len,
            }
        }
        assert_eq!(all, flood.len());
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(500) && took < Duration::from_secs(3), "{took:?}");
        assert!(!is_over.load(Ordering::Relaxed));
        let long = vec![b'x'; LONGEST + 2];
        assert!(Bounded::new(&long[..], Arc::clone(&is_over)).read_to_end(&mut Vec::new()).await.is_err());
        assert!(is_over.load(Ordering::Relaxed));
    }
}
