//! This worker's end of the road: asks the supervisor to carry something, and waits for what comes back.
//!
//! Each errand has a connection of its own. A byte over the connection that this process was born with asks for one; the supervisor
//! makes it and answers every byte with one byte, with which a socket comes or, when there is none for now, does not. Dropping the
//! future that waits ends the errand.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
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
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

/// Largest answer.
const MAX_ANSWER: usize = 64 * 1024;
/// Largest piece of a body in memory.
const PIECE: usize = 64 * 1024;

/// The way to other workers. Cloning shares it; a worker that runs alone has none.
#[derive(Debug, Clone, Default)]
pub struct Road(Option<Arc<Mutex<Line>>>);

/// The connection that this process was born with.
#[derive(Debug)]
struct Line {
    connection: UnixStream,
    /// Bytes that were not answered yet.
    owed: u64,
}

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
    /// Over the connection that this process inherited. Call within the runtime.
    pub(crate) fn inherited(connection: OwnedFd) -> io::Result<Self> {
        let connection = std::os::unix::net::UnixStream::from(connection);
        connection.peer_addr()?;
        connection.set_nonblocking(true)?;
        let line = Line { connection: UnixStream::from_std(connection)?, owed: 0 };
        Ok(Self(Some(Arc::new(Mutex::new(line)))))
    }

    /// Has `length` bytes of `body` carried to `path`, and returns the body of the answer.
    pub(super) async fn ask(
        &self,
        path: &str,
        length: u64,
        body: Body,
        time: Duration,
    ) -> Result<Bytes, Failure> {
        let asked = async {
            let road = self.0.as_ref().ok_or(Failure::NoRoad)?;
            let stream = road.lock().await.connect().await.map_err(Failure::Unsent)?;
            exchange(stream, path, length, body).await
        };
        let asked = tokio::time::timeout(time, asked).await;
        asked.unwrap_or_else(|_| Err(Failure::Lost(format!("not within {} s", time.as_secs()))))
    }
}

impl Line {
    /// A new connection to the supervisor. Whoever drops the future leaves an answer owed, which the next one passes over.
    async fn connect(&mut self) -> io::Result<UnixStream> {
        self.connection.write_all(&[0]).await?;
        self.owed += 1;
        loop {
            let over = &self.connection;
            let passed = over.async_io(Interest::READABLE, || passing::receive(over.as_fd())).await;
            let answered = match &passed {
                Ok(socket) => socket.is_some(),
                Err(error) => error.kind() == io::ErrorKind::InvalidData,
            };
            self.owed -= u64::from(answered);
            if answered && self.owed > 0 {
                continue;
            }
            let socket = passed?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let socket = std::os::unix::net::UnixStream::from(socket);
            socket.set_nonblocking(true)?;
            return UnixStream::from_std(socket);
        }
    }
}

async fn exchange(stream: UnixStream, path: &str, length: u64, body: Body) -> Result<Bytes, Failure> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream as Blocking;

    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn line() -> (Line, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Line { connection: ours, owed: 0 }, theirs)
    }

    /// Passes one end of a pair over `line` and keeps the other, which says `word`.
    fn pass(line: &UnixStream, word: &[u8]) -> Blocking {
        let (mut kept, given) = Blocking::pair().unwrap();
        std::io::Write::write_all(&mut kept, word).unwrap();
        passing::send(line.as_fd(), Some(given.as_fd())).unwrap();
        kept
    }

    #[tokio::test]
    async fn whoever_goes_away_leaves_the_next_one_its_own_connection() {
        let (mut line, mut gateway) = line();
        for _ in 0..2 {
            let gone = tokio::time::timeout(Duration::from_millis(20), line.connect()).await;
            assert!(gone.is_err(), "nothing was passed");
        }
        let kept = [pass(&gateway, b"1"), pass(&gateway, b"2"), pass(&gateway, b"3")];
        let mut third = line.connect().await.unwrap();
        assert_eq!((third.read_u8().await.unwrap(), line.owed), (b'3', 0));
        let mut asked = [0; 3];
        gateway.read_exact(&mut asked).await.unwrap();
        drop(kept);
    }

    #[tokio::test]
    async fn no_connection_for_now_and_none_any_more_are_errors() {
        let (mut line, gateway) = line();
        passing::send(gateway.as_fd(), None).unwrap();
        assert_eq!(line.connect().await.unwrap_err().kind(), io::ErrorKind::InvalidData);
        let kept = pass(&gateway, b"x");
        assert_eq!(line.connect().await.unwrap().read_u8().await.unwrap(), b'x');
        drop((kept, gateway));
        assert!(line.connect().await.is_err());
        let unsent = Road::default().ask("/", 0, Body::empty(), Duration::from_secs(1)).await;
        assert!(matches!(unsent, Err(Failure::NoRoad)));
    }
}
