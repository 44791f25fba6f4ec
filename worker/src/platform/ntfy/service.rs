//! Requests to the server, and what can become of them.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hermes_config::network::Network;
use http::header;
use reqwest::{Body, Client, RequestBuilder, Response, Url};

use super::settings::Settings;
use super::wire::{self, Attachment, Heard, Refusal};
use crate::delivery::outbound::File;
use crate::handover::{ByteStream, Unfetched};
use crate::outgoing;
use crate::outgoing::answer::{self, Unanswered, pieces, retry_after};
use crate::outgoing::file::{self, opened};
use crate::platform::lines::Lines;

/// Most that is read of one answer, in bytes.
const BODY: usize = 64 * 1024;
/// Time for one message.
const TIME: Duration = Duration::from_secs(30);
/// Time for a file on its way out.
const UPLOAD: Duration = Duration::from_mins(9);
/// Time for the server to begin a stream, or to say why it refuses.
const BEGIN: Duration = Duration::from_secs(20);
/// What answers are marked with, as 0.19.0 marks them: a message that has it is no question.
pub(super) const TAG: &str = "hermes-agent";

/// What became of a request that got no proper answer. No text holds an address or a password.
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
    #[error("{what}: the server says {status}{}", said(refusal))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        status: u16,
        /// What the server says itself.
        refusal: Refusal,
        /// The wait that it asks for.
        after: Option<Duration>,
    },
    /// It did not get there.
    #[error("the server is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the server was lost: {0}")]
    Lost(String),
}

fn said(refusal: &Refusal) -> String {
    match (refusal.code, refusal.text.as_str()) {
        (0, _) => String::new(),
        (code, "") => format!(" ({code})"),
        (code, text) => format!(" ({code}): {text}"),
    }
}

/// The server, as one profile sees it. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Service {
    client: Client,
    base: Url,
    auth: Option<String>,
    markdown: bool,
    title: Option<String>,
}

impl Service {
    pub(super) fn new(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        if let Some(fault) = &settings.fault {
            return Err(unusable(&fault.code, fault.message.clone()));
        }
        let Some(base) = settings.base.clone() else {
            return Err(unusable("ntfy_config_missing", "ntfy has no server".to_owned()));
        };
        let client =
            outgoing::to(&base, network, None).map_err(|error| unusable("ntfy_client", error.to_string()))?;
        let auth = settings.token.as_ref().map(|token| match token.expose() {
            pair if pair.contains(':') => format!("Basic {}", STANDARD.encode(pair)),
            token => format!("Bearer {token}"),
        });
        Ok(Self { client, base, auth, markdown: settings.markdown, title: settings.title.clone() })
    }

    /// What is published in a topic, from a time on, or from now on.
    pub(super) async fn stream(&self, topic: &str, since: Option<i64>) -> Result<Events, Failure> {
        let mut url = self.url(&format!("{topic}/json"))?;
        if let Some(since) = since {
            url.query_pairs_mut().append_pair("since", &since.to_string());
        }
        let asked = ask("subscribe", self.signed(self.client.get(url)));
        let response = tokio::time::timeout(BEGIN, asked).await;
        let response = response.map_err(|_| Failure::Lost("it does not answer".to_owned()))??;
        Ok(Events { response, lines: Lines::of(wire::LINE), heard: VecDeque::new() })
    }

    /// Asks whether a topic may be read. Nothing comes of it.
    pub(super) async fn may_read(&self, topic: &str) -> Result<(), Failure> {
        let url = self.url(&format!("{topic}/json?poll=1&since=none"))?;
        ask("check", self.signed(self.client.get(url)).timeout(TIME)).await.map(drop)
    }

    /// Publishes a text; its name.
    pub(super) async fn publish(&self, topic: &str, text: String) -> Result<Option<String>, Failure> {
        let mut url = self.url(topic)?;
        if let Some(title) = &self.title {
            // A header holds no letters but ASCII's.
            url.query_pairs_mut().append_pair("title", title);
        }
        let mut request = self.client.post(url).timeout(TIME).header("X-Tags", TAG);
        if self.markdown {
            request = request.header("X-Markdown", "true");
        }
        let request = request.header(header::CONTENT_TYPE, "text/plain; charset=utf-8").body(text);
        named(ask("publish", self.signed(request)).await?).await
    }

    /// Publishes a file, piece by piece; its name.
    pub(super) async fn publish_file(
        &self,
        topic: &str,
        file: &File<'_>,
        text: &str,
    ) -> Result<Option<String>, Failure> {
        let unread = |error: std::io::Error| Failure::Unusable {
            code: "ntfy_file".to_owned(),
            reason: format!("the file cannot be read: {error}"),
        };
        let (open, length) = opened(file.path.to_owned()).await.map_err(unread)?;
        let mut url = self.url(topic)?;
        url.query_pairs_mut().append_pair("filename", file.name);
        if !text.is_empty() {
            url.query_pairs_mut().append_pair("message", text);
        }
        let request = self.client.put(url).timeout(UPLOAD).header("X-Tags", TAG);
        let request = request
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_LENGTH, length)
            .body(Body::wrap_stream(file::pieces(open, length)));
        named(ask("publish a file", self.signed(request)).await?).await
    }

    /// Where the server itself has a file that came with a message; none: it is somewhere else, and not fetched.
    pub(super) fn own_file(&self, attachment: &Attachment) -> Option<Url> {
        attachment.size?;
        let url = Url::parse(&attachment.url).ok()?;
        if url.origin() == self.base.origin() {
            return Some(url);
        }
        // A server that is reached by another address than the one that it calls itself by.
        let name =
            url.path().strip_prefix("/file/").filter(|name| !name.is_empty() && !name.contains('/'))?;
        self.url(&format!("file/{name}")).ok()
    }

    /// A file that came with a message, as it comes.
    pub(super) async fn file(&self, url: Url) -> Result<ByteStream, Unfetched> {
        match ask("fetch a file", self.signed(self.client.get(url))).await {
            Ok(response) => Ok(pieces(response)),
            Err(failure @ (Failure::Unusable { .. } | Failure::Refused { status: 400..=428, .. })) => {
                Err(Unfetched::Gone(failure.to_string()))
            }
            Err(failure) => Err(Unfetched::Away(failure.to_string())),
        }
    }

    fn signed(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.auth {
            Some(auth) => {
                let mut value = header::HeaderValue::from_str(auth)
                    .unwrap_or_else(|_| header::HeaderValue::from_static("Bearer none"));
                value.set_sensitive(true);
                request.header(header::AUTHORIZATION, value)
            }
            None => request,
        }
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{path}")).map_err(|_| Failure::Unusable {
            code: "ntfy_config_missing".to_owned(),
            reason: "the server's address is none that anything could stand behind".to_owned(),
        })
    }
}

/// The name of what was published. It is there, whatever the answer looks like.
async fn named(response: Response) -> Result<Option<String>, Failure> {
    let body = answer::body(response, BODY).await.unwrap_or_default();
    Ok(wire::published(&body))
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
    let after = retry_after(response.headers());
    let body = tokio::time::timeout(BEGIN, answer::body(response, BODY)).await;
    let refusal = body.ok().and_then(Result::ok).map(|body| wire::refusal(&body)).unwrap_or_default();
    Err(Failure::Refused { what, status, refusal, after })
}

/// The stream of a topic.
pub(super) struct Events {
    response: Response,
    lines: Lines,
    heard: VecDeque<Heard>,
}

impl Events {
    /// What comes next. Cancel safe. The end of the stream is an error: the server never ends it but to go away.
    pub(super) async fn next(&mut self) -> Result<Heard, Failure> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let piece = self.response.chunk().await;
            let piece = piece.map_err(|error| Failure::Lost(outgoing::innermost(&error.without_url())))?;
            let Some(piece) = piece else {
                return Err(Failure::Lost("it has ended the stream".to_owned()));
            };
            self.lines.push(&piece, |line| {
                self.heard.push_back(line.map_or(Heard::Odd("it is too long"), wire::line));
            });
        }
    }
}
