//! A WebSocket to a service: dialled by a client of [`outgoing`](super), so with the same trust, proxies and waits as every other request,
//! and taken over once the service has switched protocols. The library frames; it knows nothing of addresses and TLS.
//!
//! # Guarantees
//!
//! - A message is bounded before it is in memory; buffers are small while nothing comes.
//! - Whoever is silent for half of [`Bounds::silence`] is asked for a sign of life, and lost after all of it: a half-open connection
//!   does not live longer than that. A protocol with heartbeats of its own needs none of that.
//! - Plain `ws:` goes to this machine's own addresses only.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use hermes_config::is_private;
use hermes_config::network::Network;
use http::{HeaderMap, StatusCode, header};
use reqwest::{Upgraded, Url};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::answer::retry_after;
use super::{BuildError, innermost, to};

/// Time for the service to switch protocols.
const SWITCH: Duration = Duration::from_secs(20);
/// Time for a goodbye.
const GOODBYE: Duration = Duration::from_secs(1);
/// Bytes of a buffer while nothing comes.
const BUFFER: usize = 4096;

/// What a socket may do to this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Longest message, in bytes.
    pub(crate) message: usize,
    /// Silence that it does not survive; none: whoever uses it knows better.
    pub(crate) silence: Option<Duration>,
    /// Time for one message to be sent.
    pub(crate) sending: Duration,
}

/// Why there is no socket. No text repeats an address, which may hold a ticket.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// It cannot be made, ever.
    #[error(transparent)]
    Unusable(#[from] BuildError),
    /// Nothing secret goes there.
    #[error("the address is neither `wss:` nor `ws:` on this machine's own addresses")]
    Address,
    /// Answered, and not by switching protocols.
    #[error("the service does not open a socket: it says {}", status.as_u16())]
    Refused {
        /// How.
        status: StatusCode,
        /// The wait that it asks for.
        retry_after: Option<Duration>,
    },
    /// Not reached, or lost meanwhile.
    #[error("the service is not reached: {0}")]
    Unreached(String),
}

/// What came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message.
    Text(String),
    /// Nothing but a sign of life.
    Life,
}

/// How a socket ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// The service closed it, with a code and a reason where it gave them.
    #[error("the service closed the socket{}", said(*code, reason))]
    Closed {
        /// The code.
        code: Option<u16>,
        /// For people; cut.
        reason: String,
    },
    /// The connection broke, or what came is no WebSocket.
    #[error("the socket broke: {0}")]
    Broken(String),
    /// Nothing came any more.
    #[error("the socket was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// A message is longer than it may be.
    #[error("a message on the socket is too long")]
    TooMuch,
}

fn said(code: Option<u16>, reason: &str) -> String {
    match (code, reason) {
        (None, _) => String::new(),
        (Some(code), "") => format!(": {code}"),
        (Some(code), reason) => format!(": {code} ({reason})"),
    }
}

impl From<Error> for Lost {
    fn from(error: Error) -> Self {
        match error {
            Error::ConnectionClosed | Error::AlreadyClosed => {
                Self::Closed { code: None, reason: String::new() }
            }
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Self::TooMuch,
            error => Self::Broken(innermost(&error)),
        }
    }
}

/// An open socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<Upgraded>,
    bounds: Bounds,
    heard: Instant,
    /// A sign of life was asked for, and nothing was heard since.
    is_asked: bool,
}

/// Opens one. `headers` go along with the request.
pub(crate) async fn open(
    address: &Url,
    headers: HeaderMap,
    network: &Network,
    bounds: Bounds,
) -> Result<Socket, OpenError> {
    let address = dialled(address).ok_or(OpenError::Address)?;
    let client = to(&address, network, None)?;
    let key = generate_key();
    let request = client
        .get(address)
        .headers(headers)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, &key);
    let unreached = |error: reqwest::Error| OpenError::Unreached(innermost(&error.without_url()));
    let late = || OpenError::Unreached("no answer in time".to_owned());
    let response = timeout(SWITCH, request.send()).await.map_err(|_| late())?.map_err(unreached)?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(OpenError::Refused { status, retry_after: retry_after(response.headers()) });
    }
    let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(header::HeaderValue::as_bytes);
    if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
        return Err(OpenError::Unreached("what answers is no WebSocket".to_owned()));
    }
    let upgraded = timeout(SWITCH, response.upgrade()).await.map_err(|_| late())?.map_err(unreached)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(bounds.message.max(2 * BUFFER))
        .max_message_size(Some(bounds.message))
        .max_frame_size(Some(bounds.message));
    let stream = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
    Ok(Socket { stream, bounds, heard: Instant::now(), is_asked: false })
}

/// The address as the client dials it; none: nothing secret may go there.
pub(crate) fn dialled(address: &Url) -> Option<Url> {
    let mut url = address.clone();
    let scheme = match address.scheme() {
        "wss" | "https" => "https",
        "ws" | "http" => "http",
        _ => return None,
    };
    url.set_scheme(scheme).ok()?;
    is_private(&url).then_some(url)
}

impl Socket {
    /// Waits for what comes next. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Heard, Lost> {
        loop {
            let (heard, is_asked) = (self.heard, self.is_asked);
            let silent = async {
                let Some(silence) = self.bounds.silence else { return std::future::pending().await };
                sleep_until(heard + if is_asked { silence } else { silence / 2 }).await;
                silence
            };
            let came = tokio::select! {
                biased;
                came = self.stream.next() => came,
                silence = silent => {
                    if is_asked {
                        return Err(Lost::Silent(silence));
                    }
                    self.is_asked = true;
                    self.give(Message::Ping(Bytes::new())).await?;
                    continue;
                }
            };
            self.heard = Instant::now();
            self.is_asked = false;
            let end = || Lost::Closed { code: None, reason: String::new() };
            match came.ok_or_else(end)?? {
                Message::Text(text) => return Ok(Heard::Text(text.as_str().to_owned())),
                Message::Close(frame) => {
                    let reason = frame
                        .as_ref()
                        .map(|frame| frame.reason.chars().filter(|c| !c.is_control()).take(120));
                    let reason = reason.map(Iterator::collect).unwrap_or_default();
                    return Err(Lost::Closed { code: frame.map(|frame| frame.code.into()), reason });
                }
                Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_) => {
                    return Ok(Heard::Life);
                }
            }
        }
    }

    /// Sends a message. A service that does not read is lost after the time for one.
    pub(crate) async fn send(&mut self, text: String) -> Result<(), Lost> {
        self.give(Message::text(text)).await
    }

    async fn give(&mut self, message: Message) -> Result<(), Lost> {
        match timeout(self.bounds.sending, self.stream.send(message)).await {
            Ok(sent) => Ok(sent?),
            Err(_) => Err(Lost::Silent(self.bounds.sending)),
        }
    }

    /// Says goodbye, with a code where one is given, and closes.
    pub(crate) async fn close(mut self, code: Option<u16>) {
        let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
        // Who does not listen is left without a word.
        let _ = timeout(GOODBYE, self.stream.close(frame)).await;
    }
}

#[cfg(test)]
mod tests {
    //! Against a real socket.

    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::accept_async;

    use super::*;

    const FIVE: Duration = Duration::from_secs(5);
    const BOUNDS: Bounds = Bounds { message: 1000, silence: Some(FIVE), sending: FIVE };

    async fn pair(bounds: Bounds) -> (Socket, WebSocketStream<TcpStream>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Url::parse(&format!("ws://{}/x?y=z", listener.local_addr().unwrap())).unwrap();
        let network = Network::default();
        let accepted = async { accept_async(listener.accept().await.unwrap().0).await.unwrap() };
        let (opened, accepted) = tokio::join!(open(&address, HeaderMap::new(), &network, bounds), accepted);
        (opened.unwrap(), accepted)
    }

    #[tokio::test]
    async fn messages_go_both_ways_and_pings_are_answered() {
        let (mut socket, mut service) = pair(BOUNDS).await;
        service.send(Message::text("hello")).await.unwrap();
        assert_eq!(socket.next().await, Ok(Heard::Text("hello".to_owned())));
        socket.send("bye".to_owned()).await.unwrap();
        assert_eq!(service.next().await.unwrap().unwrap(), Message::text("bye"));
        service.send(Message::Ping("x".into())).await.unwrap();
        assert_eq!(socket.next().await, Ok(Heard::Life));
        let answered = tokio::select! {
            answer = service.next() => answer.unwrap().unwrap(),
            heard = socket.next() => panic!("{heard:?}"),
        };
        assert_eq!(answered, Message::Pong("x".into()));
        service.close(None).await.unwrap();
        let ended = socket.next().await.unwrap_err();
        assert!(matches!(ended, Lost::Closed { .. }), "{ended:?}");
    }

    #[tokio::test]
    async fn what_is_too_long_ends_the_socket() {
        let (mut socket, mut service) = pair(BOUNDS).await;
        service.send(Message::text("x".repeat(1001))).await.unwrap();
        assert_eq!(socket.next().await, Err(Lost::TooMuch));
    }

    /// Half-open: nobody reads on the other side, and no goodbye comes.
    #[tokio::test]
    async fn who_is_silent_is_asked_and_then_lost() {
        let silence = Duration::from_millis(400);
        let (mut socket, service) = pair(Bounds { silence: Some(silence), ..BOUNDS }).await;
        let since = Instant::now();
        assert_eq!(socket.next().await, Err(Lost::Silent(silence)));
        assert!(since.elapsed() >= silence);
        drop(service);
        // One that answers lives on: to ask is to hear.
        let (mut socket, mut service) = pair(Bounds { silence: Some(silence), ..BOUNDS }).await;
        let answering = async { while let Some(Ok(_)) = service.next().await {} };
        tokio::pin!(answering);
        for _ in 0..3 {
            tokio::select! {
                () = &mut answering => panic!("the socket was closed"),
                heard = socket.next() => assert_eq!(heard, Ok(Heard::Life)),
            }
        }
    }

    #[tokio::test]
    async fn only_who_switches_protocols_opens_a_socket() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        for (answer, expected) in [
            ("HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", "it says 429"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "it says 200"),
            (
                "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: no\r\n\r\n",
                "no WebSocket",
            ),
            ("", "not reached"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address =
                Url::parse(&format!("ws://{}/?ticket=SECRET", listener.local_addr().unwrap())).unwrap();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 2000]).await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let network = Network::default();
            let (opened, ()) = tokio::join!(open(&address, HeaderMap::new(), &network, BOUNDS), serve);
            let error = opened.unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(error.to_string().contains(expected) && !text.contains("SECRET"), "{text}");
            if let OpenError::Refused { status: StatusCode::TOO_MANY_REQUESTS, retry_after } = error {
                assert_eq!(retry_after, Some(Duration::from_secs(7)));
            }
        }
    }

    #[test]
    fn plain_text_stays_on_this_machine() {
        let of = |text: &str| dialled(&Url::parse(text).unwrap()).map(String::from);
        assert_eq!(
            of("wss://wss-primary.slack.com/link").as_deref(),
            Some("https://wss-primary.slack.com/link")
        );
        assert_eq!(of("ws://127.0.0.1:1/x").as_deref(), Some("http://127.0.0.1:1/x"));
        assert_eq!(of("ws://[::1]:1/x").as_deref(), Some("http://[::1]:1/x"));
        let gateway = "wss://gateway.discord.gg/?v=10";
        assert_eq!(of(gateway).as_deref(), Some("https://gateway.discord.gg/?v=10"));
        for refused in ["ws://example.org/", "http://10.0.0.1/", "ftp://127.0.0.1/"] {
            assert_eq!(of(refused), None, "{refused}");
        }
    }
}
