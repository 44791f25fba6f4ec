//! Requests to the daemon, and what can become of them.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use hermes_config::network::Network;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::{Value, json};

use super::settings::Settings;
use super::wire::{self, Refused};
use crate::delivery::outbound::File;
use crate::engine::native::sse::{Decoder, Frame};
use crate::handover::{ByteStream, Unfetched};
use crate::outgoing;
use crate::outgoing::answer::{self, Unanswered, Unread};
use crate::outgoing::file::{opened, pieces};

/// Most that is read of one answer, in bytes.
const BODY: usize = 1024 * 1024;
/// Time for one call. Sending waits for the service.
const TIME: Duration = Duration::from_secs(60);
/// Time for a file on its way out.
const UPLOAD: Duration = Duration::from_mins(9);
/// Where a file stands in its request, until it does.
const MARK_OF_FILE: &str = "\u{fffc}\u{fffc}";
/// Time for a look whether the daemon lives.
const LOOK: Duration = Duration::from_secs(10);
/// Most that stands before a file's bytes in an answer.
const HEAD: usize = 4096;
/// What they are called there.
const MARK: &[u8] = b"\"data\"";
/// Longest name of an event, in bytes.
const PLACE: usize = 256;

/// What became of a request that got no proper answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It cannot be made, ever.
    #[error("{reason}")]
    Unusable {
        /// For programs.
        code: String,
        /// For people.
        reason: String,
    },
    /// Answered with an error.
    #[error("{what}: the daemon says {status}{}", if .text.is_empty() { String::new() } else { format!(": {}", .text) })]
    Status {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        status: u16,
        /// The beginning of what it says.
        text: String,
    },
    /// It did not get there.
    #[error("the daemon is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the daemon was lost: {0}")]
    Lost(String),
    /// An event is longer than any message: what stands behind it cannot be read.
    #[error("an event of the daemon's cannot be read: {0}")]
    TooMuch(String),
    /// The daemon did not do it.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// The daemon, as one account sees it. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Service {
    client: Client,
    base: Url,
    account: String,
}

impl Service {
    pub(super) fn new(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        if let Some(fault) = &settings.fault {
            return Err(unusable(&fault.code, fault.message.clone()));
        }
        let Some(base) = settings.base.clone() else {
            return Err(unusable("signal_config_missing", "signal has no address".to_owned()));
        };
        let client = outgoing::to(&base, network, None)
            .map_err(|error| unusable("signal_client", error.to_string()))?;
        Ok(Self { client, base, account: settings.account.clone() })
    }

    /// Whether the daemon is there.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        ask("check", self.client.get(self.url("check")?).timeout(LOOK)).await.map(drop)
    }

    /// Which accounts the daemon has, as it answers.
    pub(super) async fn accounts(&self) -> Result<Vec<u8>, Failure> {
        self.call("listAccounts", json!({})).await
    }

    /// Everything that is received, from now on. A daemon that keeps what it has received gives what came behind `place` first.
    pub(super) async fn events(&self, place: Option<&str>) -> Result<Events, Failure> {
        let mut url = self.url("events")?;
        url.query_pairs_mut().append_pair("account", &self.account);
        let mut request = self.client.get(url).header(http::header::ACCEPT, "text/event-stream");
        if let Some(place) = place.and_then(|place| http::HeaderValue::from_str(place).ok()) {
            request = request.header("Last-Event-ID", place);
        }
        let response = match tokio::time::timeout(LOOK, ask("events", request)).await {
            Ok(response) => response?,
            Err(_) => return Err(Failure::Lost("it does not answer".to_owned())),
        };
        Ok(Events { response, decoder: Decoder::default(), frames: VecDeque::new() })
    }

    /// Sends a message; when it was sent, which is its name.
    pub(super) async fn send(&self, chat: &str, text: &str, styles: &[String]) -> Result<u64, Failure> {
        let mut params = self.to(chat);
        params["message"] = text.into();
        if !styles.is_empty() {
            params["textStyle"] = styles.into();
        }
        Ok(wire::sent(&self.call("send", params).await?)?)
    }

    /// Sends a file, piece by piece; when it was sent.
    pub(super) async fn send_file(&self, chat: &str, text: &str, file: File<'_>) -> Result<u64, Failure> {
        let unusable = |reason: String| Failure::Refused(Refused::Never(reason));
        let unread = |error: std::io::Error| unusable(format!("the file cannot be read: {error}"));
        let (open, length) = opened(file.path.to_owned()).await.map_err(unread)?;
        let mut params = self.to(chat);
        params["message"] = text.into();
        // Nothing of a name is a sign of the address.
        let name: String =
            file.name.chars().map(|c| if ";,\"\\\u{fffc}".contains(c) { '_' } else { c }).collect();
        params["attachments"] =
            json!([format!("data:{};filename={name};base64,{MARK_OF_FILE}", file.media_type)]);
        let body = json!({"jsonrpc": "2.0", "id": "1", "method": "send", "params": params}).to_string();
        let (head, tail) = body.split_once(MARK_OF_FILE).unwrap_or((&body, ""));
        let whole = head.len() as u64 + length.div_ceil(3) * 4 + tail.len() as u64;
        let request = self.client.post(self.url("rpc")?).timeout(UPLOAD);
        let request = request
            .header(http::header::CONTENT_TYPE, "application/json")
            .header(http::header::CONTENT_LENGTH, whole)
            .body(reqwest::Body::wrap_stream(encoded(head.to_owned(), open, length, tail.to_owned())));
        Ok(wire::sent(&body_of(ask("send", request).await?).await?)?)
    }

    /// Shows a sign at a message, named by who wrote it and when, or takes it away.
    pub(super) async fn react(
        &self,
        chat: &str,
        (author, timestamp): (&str, u64),
        emoji: &str,
        remove: bool,
    ) -> Result<(), Failure> {
        let mut params = self.to(chat);
        params["emoji"] = emoji.into();
        params["targetAuthor"] = author.into();
        params["targetTimestamp"] = timestamp.into();
        if remove {
            params["remove"] = true.into();
        }
        wire::result(&self.call("sendReaction", params).await?)?;
        Ok(())
    }

    /// Shows in a chat that somebody types.
    pub(super) async fn typing(&self, chat: &str) -> Result<(), Failure> {
        wire::result(&self.call("sendTyping", self.to(chat)).await?)?;
        Ok(())
    }

    /// A file that came with a message, as it comes.
    pub(super) async fn file(&self, id: &str, chat: &str) -> Result<ByteStream, Unfetched> {
        let mut params = self.to(chat);
        params["id"] = id.into();
        let request = self.rpc("getAttachment", &params).map_err(|failure| unfetched(&failure))?;
        let response = ask("getAttachment", request).await.map_err(|failure| unfetched(&failure))?;
        file_of(response).await
    }

    /// Whom something is for.
    fn to(&self, chat: &str) -> Value {
        match chat.strip_prefix(super::GROUP) {
            Some(group) => json!({"account": self.account, "groupId": group}),
            None => json!({"account": self.account, "recipient": [chat]}),
        }
    }

    async fn call(&self, method: &'static str, params: Value) -> Result<Vec<u8>, Failure> {
        body_of(ask(method, self.rpc(method, &params)?.timeout(TIME)).await?).await
    }

    fn rpc(&self, method: &str, params: &Value) -> Result<RequestBuilder, Failure> {
        let body = json!({"jsonrpc": "2.0", "id": "1", "method": method, "params": params});
        Ok(self.client.post(self.url("rpc")?).json(&body))
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/api/v1/{path}")).map_err(|_| Failure::Unusable {
            code: "signal_config_missing".to_owned(),
            reason: "the daemon's address is none that anything could stand behind".to_owned(),
        })
    }
}

async fn body_of(response: Response) -> Result<Vec<u8>, Failure> {
    answer::body(response, BODY).await.map_err(|error| match error {
        Unread::Lost(text) => Failure::Lost(text),
        Unread::TooMuch => Refused::Garbled.into(),
    })
}

/// A file in Base64 between two texts, without ever holding all of it. One that is not as long as it was is an error.
fn encoded(
    head: String,
    file: std::fs::File,
    length: u64,
    tail: String,
) -> impl futures_util::Stream<Item = Result<Bytes, String>> + Send + 'static {
    let piece = |text: String| futures_util::stream::once(async move { Ok(Bytes::from(text)) });
    let bytes = pieces(file, length).map(|piece| piece.map(|bytes| Bytes::from(STANDARD.encode(bytes))));
    piece(head).chain(bytes).chain(piece(tail))
}

async fn ask(what: &'static str, request: RequestBuilder) -> Result<Response, Failure> {
    let response = request.send().await.map_err(|error| match Unanswered::from(error) {
        Unanswered::Unsent(text) => Failure::Unsent(text),
        Unanswered::Lost(text) => Failure::Lost(text),
    })?;
    let status = response.status().as_u16();
    if (200..300).contains(&status) {
        return Ok(response);
    }
    let text = match tokio::time::timeout(LOOK, response.bytes_stream().next()).await {
        Ok(Some(Ok(piece))) => {
            String::from_utf8_lossy(&piece).chars().filter(|c| !c.is_control()).take(200).collect()
        }
        _ => String::new(),
    };
    Err(Failure::Status { what, status, text })
}

/// The stream of events.
pub(super) struct Events {
    response: Response,
    decoder: Decoder,
    frames: VecDeque<Frame>,
}

/// What came by the stream.
#[derive(Debug)]
pub(super) enum Came {
    /// An event's data, and what the daemon calls it, where it does.
    Event(String, Option<String>),
    /// A sign of life, or a part of an event.
    Life,
}

impl Events {
    /// What comes next. Cancel safe. The end of the stream is an error: the daemon never ends it.
    pub(super) async fn next(&mut self) -> Result<Came, Failure> {
        if let Some(frame) = self.frames.pop_front() {
            let place = Some(frame.id).filter(|id| (1..=PLACE).contains(&id.len()));
            return Ok(Came::Event(frame.data, place));
        }
        let piece =
            self.response.chunk().await.map_err(|error| Failure::Lost(error.without_url().to_string()))?;
        let Some(piece) = piece else {
            return Err(Failure::Lost("it has ended the stream of events".to_owned()));
        };
        self.decoder.push(&piece, &mut self.frames).map_err(|error| Failure::TooMuch(error.to_string()))?;
        self.decoder.go_on();
        Ok(Came::Life)
    }
}

/// A file's bytes out of the answer to `getAttachment`, `{"result": {"data": "…base64…"}}`, without ever holding all of it. How much room there
/// is between its signs, whoever writes it decides.
async fn file_of(response: Response) -> Result<ByteStream, Unfetched> {
    let lost = |error: reqwest::Error| Unfetched::Away(error.without_url().to_string());
    let mut pieces = response.bytes_stream();
    let mut head = Vec::new();
    let begins = loop {
        if let Some(at) = begin(&head) {
            break at;
        }
        let piece = pieces.next().await.transpose().map_err(lost)?;
        let Some(piece) = piece.filter(|_| head.len() <= HEAD) else {
            let why = wire::result(&head)
                .err()
                .map_or_else(|| "the daemon's answer is no file".to_owned(), |error| error.to_string());
            return Err(Unfetched::Gone(why));
        };
        head.extend_from_slice(&piece);
    };
    let rest = Bytes::from(head.split_off(begins));
    let all = futures_util::stream::once(async move { Ok(rest) }).chain(pieces);
    let decoded = all.scan(Text::default(), |text, piece| {
        let out = match piece {
            Ok(piece) => text.take(&piece),
            Err(error) => Some(Err(reqwest::Error::without_url(error).to_string())),
        };
        std::future::ready(out)
    });
    Ok(Box::pin(decoded))
}

/// Where a file's bytes begin: behind the quotation mark of the text that is called so.
fn begin(head: &[u8]) -> Option<usize> {
    let marks = head.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    marks.map(|(at, _)| at + MARK.len()).find_map(|behind| {
        let mut signs = head.iter().enumerate().skip(behind).filter(|(_, byte)| !byte.is_ascii_whitespace());
        match (signs.next(), signs.next()) {
            (Some((_, b':')), Some((at, b'"'))) => Some(at + 1),
            _ => None,
        }
    })
}

/// Base64 that comes in pieces, up to a quotation mark.
#[derive(Default)]
struct Text {
    kept: Vec<u8>,
    is_over: bool,
}

impl Text {
    /// The bytes of one more piece; `None` behind the end.
    fn take(&mut self, piece: &[u8]) -> Option<Result<Bytes, String>> {
        if self.is_over {
            return None;
        }
        let end = piece.iter().position(|byte| *byte == b'"');
        self.kept.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
        self.is_over = end.is_some();
        let whole = if self.is_over { self.kept.len() } else { self.kept.len() / 4 * 4 };
        let rest = self.kept.split_off(whole);
        let text = std::mem::replace(&mut self.kept, rest);
        Some(
            STANDARD
                .decode(text)
                .map(Bytes::from)
                .map_err(|_| "the file's bytes are not understood".to_owned()),
        )
    }
}

/// What a failed request is to a file.
fn unfetched(failure: &Failure) -> Unfetched {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { .. }
        | Failure::Refused(Refused::Never(_) | Refused::Gone(_) | Refused::Garbled) => Unfetched::Gone(text),
        Failure::Status { .. }
        | Failure::Unsent(_)
        | Failure::Lost(_)
        | Failure::TooMuch(_)
        | Failure::Refused(_) => Unfetched::Away(text),
    }
}

#[cfg(test)]
mod tests {
    //! Files, in whatever pieces they come.

    use super::*;

    /// The file of an answer to `getAttachment` that comes in pieces of so many bytes.
    async fn file(answer: &str, size: usize) -> Result<Vec<u8>, Unfetched> {
        let pieces: Vec<std::io::Result<Bytes>> =
            answer.as_bytes().chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
        let mut bytes = file_of(http::Response::new(body).into()).await?;
        let mut whole = Vec::new();
        while let Some(piece) = bytes.next().await {
            whole.extend_from_slice(&piece.map_err(Unfetched::Away)?);
        }
        Ok(whole)
    }

    #[tokio::test]
    async fn a_file_is_found_however_its_answer_is_written() {
        let (bytes, text) = (b"\x89PNG".to_vec(), STANDARD.encode(b"\x89PNG"));
        for answer in [
            format!(r#"{{"jsonrpc":"2.0","result":{{"data":"{text}"}},"id":"1"}}"#),
            format!(r#"{{"jsonrpc": "2.0", "id": "1", "result": {{"data": "{text}"}}}}"#),
            format!("{{\n  \"error\" : null,\n  \"result\" : {{\n    \"data\" :\n\"{text}\"\n  }}\n}}"),
        ] {
            for size in [1, 7, answer.len()] {
                assert_eq!(file(&answer, size).await, Ok(bytes.clone()), "{size}: {answer}");
            }
        }
        let none = r#"{"id": "1", "error": {"code": -1, "message": "no \"data\": \"x\"", "data": null}}"#;
        for size in [1, none.len()] {
            let gone = file(none, size).await;
            assert!(matches!(&gone, Err(Unfetched::Gone(why)) if why.contains("no \"data\"")), "{gone:?}");
        }
    }

    #[test]
    fn a_file_is_decoded_in_whatever_pieces_it_comes() {
        let file: Vec<u8> = (0..=255).collect();
        let text = format!("{}\"}}}}", STANDARD.encode(&file));
        for size in 1..20 {
            let mut decoder = Text::default();
            let pieces = text.as_bytes().chunks(size).map_while(|piece| decoder.take(piece));
            let bytes: Result<Vec<Bytes>, String> = pieces.collect();
            assert_eq!(bytes.unwrap().concat(), file, "{size}");
        }
        assert!(Text::default().take(b"!!!!\"").unwrap().is_err());
        assert!(Text::default().take(b"QUJ\"").unwrap().is_err(), "cut off");
    }
}
