//! This worker's end of the road: asks the supervisor to carry something, and waits for what comes back.
//!
//! Each errand has a connection of its own, one end of which is passed over the connection that this process was born with. Dropping
//! the future that waits ends the errand.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hermes_host::passing;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

/// Largest answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Largest piece of a body in memory.
const PIECE: usize = 64 * 1024;

/// The way to other workers. Cloning shares it; a worker that runs alone has none.
#[derive(Debug, Clone, Default)]
pub struct Road(Option<Arc<UnixStream>>);

/// Why an errand was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody to ask.
    #[error("this worker runs without a gateway")]
    NoRoad,
    /// It could not be sent: nothing happened.
    #[error("the gateway cannot be asked")]
    Unsent(#[source] io::Error),
    /// The gateway, or the worker that it is for, says no.
    #[error("refused ({code}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// For programs.
        code: String,
        /// For people.
        message: String,
    },
    /// Whether it was done is not known.
    #[error("no answer came: {0}")]
    Lost(String),
}

impl Failure {
    /// It was not done, and another try may help.
    pub(super) fn is_for_now(&self) -> bool {
        match self {
            Self::Unsent(_) | Self::Lost(_) => true,
            Self::NoRoad => false,
            Self::Refused { status, .. } => *status >= 500,
        }
    }

    /// The worker that it is for starts, restarts or is busy: it never had it, and may take it in a moment.
    pub(super) fn is_momentary(&self) -> bool {
        match self {
            Self::NoRoad | Self::Unsent(_) | Self::Lost(_) => false,
            Self::Refused { status, code, .. } => *status == 503 || code == hermes_wire::road::UNREACHABLE,
        }
    }

    /// It may have been done all the same: the worker that had it said nothing more.
    pub(super) fn is_unsure(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::NoRoad | Self::Unsent(_) => false,
            Self::Refused { status, code, .. } => {
                matches!(status, 502 | 504) && code != hermes_wire::road::UNREACHABLE
            }
        }
    }
}

impl Road {
    /// Over the connection that this process inherited.
    pub(crate) fn inherited(connection: OwnedFd) -> io::Result<Self> {
        let connection = UnixStream::from(connection);
        connection.peer_addr()?;
        connection.set_nonblocking(true)?;
        Ok(Self(Some(Arc::new(connection))))
    }

    /// Has `length` bytes of `body` carried to `path`, and returns the body of the answer.
    pub(super) async fn ask(
        &self,
        path: &str,
        length: u64,
        body: Body,
        time: Duration,
    ) -> Result<Bytes, Failure> {
        let stream = self.connect()?;
        let asked = tokio::time::timeout(time, exchange(stream, path, length, body)).await;
        asked.unwrap_or_else(|_| Err(Failure::Lost(format!("not within {} s", time.as_secs()))))
    }

    fn connect(&self) -> Result<tokio::net::UnixStream, Failure> {
        let road = self.0.as_ref().ok_or(Failure::NoRoad)?;
        let connect = || {
            let (kept, given) = UnixStream::pair()?;
            passing::send(road.as_fd(), given.as_fd())?;
            kept.set_nonblocking(true)?;
            tokio::net::UnixStream::from_std(kept)
        };
        connect().map_err(Failure::Unsent)
    }
}

async fn exchange(
    stream: tokio::net::UnixStream,
    path: &str,
    length: u64,
    body: Body,
) -> Result<Bytes, Failure> {
    let lost = |error: hyper::Error| Failure::Lost(error.to_string());
    let mut http = http1::Builder::new();
    let (mut sender, connection) =
        http.max_buf_size(PIECE).handshake(TokioIo::new(stream)).await.map_err(lost)?;
    let mut request = Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().expect("a path of names");
    request.headers_mut().insert(HOST, HeaderValue::from_static("gateway"));
    request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    let answer = async {
        let response = sender.send_request(request).await.map_err(lost)?;
        let (status, code) = (response.status(), code(response.headers()));
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| Failure::Lost(error.to_string()))?.to_bytes();
        if status.is_success() {
            return Ok(body);
        }
        Err(Failure::Refused { status: status.as_u16(), code, message: message(&body) })
    };
    let driver = async {
        let ended = connection.await;
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of the road ended early");
        }
        std::future::pending().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driver => never,
    }
}

fn code(headers: &http::HeaderMap) -> String {
    let code = headers.get(hermes_wire::http::ERROR).and_then(|code| code.to_str().ok());
    code.unwrap_or("unknown").to_owned()
}

/// The words of a refusal.
fn message(body: &[u8]) -> String {
    let value: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let text = value.pointer("/error/message").and_then(serde_json::Value::as_str).unwrap_or("without words");
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
