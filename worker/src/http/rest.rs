//! What is left of a request's body when its answer is ready.
//!
//! An answer may come before the body was read: wrong path, wrong key, too large. The bytes that nobody read still lie on the
//! connection, where the next request would be looked for. So every answer to a request with a body says one of two things:
//! that the body was read to its end ([`TAKEN`], which the proxy waits for before it uses the connection again), or
//! `Connection: close`. Little that is here already is read and thrown away, so that a client with a small mistake keeps its
//! connection; a client that waits for `100 Continue` is not asked for bytes that nobody wants.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hermes_wire::http::TAKEN;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderName, HeaderValue, Request, Response};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

/// Most that is read only to be thrown away.
const MOST: u64 = 64 * 1024;
/// How long that may take.
const TIME: Duration = Duration::from_millis(250);

/// A request's body that tells what became of it: `None` at its end, itself when it is dropped before.
pub(super) struct Watched {
    body: Option<Incoming>,
    told: Option<oneshot::Sender<Option<Incoming>>>,
}

/// The other end.
pub(super) enum Rest {
    /// There is no body.
    Nothing,
    /// The client waits to be asked for it.
    Asked(oneshot::Receiver<Option<Incoming>>),
    /// It is on its way.
    Coming(oneshot::Receiver<Option<Incoming>>),
}

/// The request for whoever answers it, and what will be known of its body.
pub(super) fn watch(request: Request<Incoming>) -> (Request<Watched>, Rest) {
    if request.body().is_end_stream() {
        return (request.map(|body| Watched { body: Some(body), told: None }), Rest::Nothing);
    }
    let (told, hears) = oneshot::channel();
    let rest = if request.headers().contains_key(EXPECT) { Rest::Asked(hears) } else { Rest::Coming(hears) };
    (request.map(|body| Watched { body: Some(body), told: Some(told) }), rest)
}

impl Rest {
    /// Makes `response` say whether the connection can carry another request.
    pub(super) async fn settle<B>(self, response: &mut Response<B>) {
        let (mut hears, may_read) = match self {
            Self::Nothing => return,
            Self::Asked(hears) => (hears, false),
            Self::Coming(hears) => (hears, true),
        };
        let taken = match hears.try_recv() {
            Ok(None) => true,
            Ok(Some(body)) => may_read && swallow(body).await,
            // Somebody still reads it, or it was lost: whether it ends is not known now.
            Err(_) => false,
        };
        let headers = response.headers_mut();
        if taken {
            headers.insert(HeaderName::from_static(TAKEN), HeaderValue::from_static("1"));
        } else {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Reads a body to its end, if that is near.
async fn swallow(mut body: Incoming) -> bool {
    if body.size_hint().lower() > MOST {
        return false;
    }
    let reading = async {
        let mut left = MOST;
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            let Ok(frame) = frame else { return false };
            let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
            if bytes > left {
                return false;
            }
            left -= bytes;
        }
        true
    };
    tokio::time::timeout(TIME, reading).await.unwrap_or(false)
}

impl Watched {
    fn tell(&mut self, rest: Option<Incoming>) {
        if let Some(told) = self.told.take() {
            // Nobody hears it any more where the request was given up.
            let _ = told.send(rest);
        }
    }
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let ended = match &polled {
            Poll::Ready(None) => true,
            // With a length the last piece is the end.
            Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if ended {
            this.tell(None);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let rest = self.body.take();
        self.tell(rest);
    }
}
