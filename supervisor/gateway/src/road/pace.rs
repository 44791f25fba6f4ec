//! How far an errand is: its bodies must move, and none outlives the errand.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Instant;

/// The bodies of one errand.
#[derive(Debug)]
pub(super) struct Pace {
    state: Mutex<State>,
    stall: Duration,
}

#[derive(Debug)]
struct State {
    /// Bodies that have begun and not ended.
    open: u32,
    moved: Instant,
}

impl Pace {
    /// A body may stand still for `stall`.
    pub(super) fn new(stall: Duration) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { open: 0, moved: Instant::now() }), stall })
    }

    /// Ends when a body has stood still for too long.
    pub(super) async fn stalled(&self) {
        loop {
            let now = Instant::now();
            let until = match &*self.state() {
                state if state.open == 0 => now + self.stall,
                state => state.moved + self.stall,
            };
            if until <= now {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A body that keeps the pace, and `with` it what lives as long.
pub(super) struct Paced<B, W = ()> {
    body: B,
    pace: Arc<Pace>,
    _with: W,
}

impl<B, W> Paced<B, W> {
    pub(super) fn new(body: B, pace: Arc<Pace>, with: W) -> Self {
        {
            let mut state = pace.state();
            state.open += 1;
            state.moved = Instant::now();
        }
        Self { body, pace, _with: with }
    }
}

impl<B, W> Drop for Paced<B, W> {
    fn drop(&mut self) {
        self.pace.state().open -= 1;
    }
}

impl<B: Body + Unpin, W: Unpin> Body for Paced<B, W> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.pace.state().moved = Instant::now();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const STALL: Duration = Duration::from_secs(60);

    /// Whether the errand is given up within so many seconds.
    async fn stalls(pace: &Pace, secs: u64) -> bool {
        timeout(Duration::from_secs(secs), pace.stalled()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_body_that_stands_still_is_given_up() {
        let pace = Pace::new(STALL);
        assert!(!stalls(&pace, 600).await, "no body, no pace");
        let (sender, body) = tokio::sync::mpsc::channel::<()>(1);
        let mut paced = Paced::new(Pieces(body), Arc::clone(&pace), ());
        for _ in 0..3 {
            assert!(!stalls(&pace, 59).await);
            sender.try_send(()).unwrap();
            std::future::poll_fn(|cx| Pin::new(&mut paced).poll_frame(cx)).await.unwrap().unwrap();
        }
        assert!(stalls(&pace, 61).await);
        drop(paced);
        assert!(!stalls(&pace, 600).await, "what has ended stands still by right");
    }

    struct Pieces(tokio::sync::mpsc::Receiver<()>);

    impl Body for Pieces {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<bytes::Bytes>, Self::Error>>> {
            self.0.poll_recv(cx).map(|piece| piece.map(|()| Ok(Frame::data(bytes::Bytes::from_static(b"x")))))
        }
    }
}
