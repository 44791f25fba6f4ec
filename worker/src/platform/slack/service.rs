//! Requests to Slack, and what can become of them. The tokens are in no text that is made here, and go to Slack's own servers only.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use hermes_config::network::Network;
use hermes_config::{Secret, is_private};
use reqwest::{Body, Client, RequestBuilder, Response, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::refused::{self, Refused};
use super::settings::{Mode, Settings};
use super::wire::{self, File, Me, Refusal, WireError};
use crate::handover::{ByteStream, Unfetched};
use crate::outgoing::answer::{self, Unanswered, Unread, pieces, retry_after};
use crate::outgoing::to;

/// Most that is read of one answer, in bytes.
const BODY: usize = 8 * 1024 * 1024;
/// Time for a request.
const TIME: Duration = Duration::from_secs(20);
/// Time for a file to go out.
const UPLOAD: Duration = Duration::from_secs(600);
/// Time for something that nobody waits for.
const BRIEF: Duration = Duration::from_secs(3);
/// Most messages of a thread that are read.
const REPLIES: &str = "50";
/// Slack's own servers.
const SLACKS: [&str; 3] = ["slack.com", "slack-gov.com", "slack-files.com"];

/// What became of a request that got no proper answer. No text holds a token.
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
    #[error("{what}: Slack says {}", said(refusal))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        refusal: Refusal,
    },
    /// It did not get there.
    #[error("Slack is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the connection to Slack broke: {0}")]
    Lost(String),
    /// The answer is none.
    #[error(transparent)]
    Garbled(#[from] WireError),
}

fn said(refusal: &Refusal) -> String {
    let Refusal { status, error, needed, .. } = refusal;
    match (error.as_str(), needed.as_str()) {
        ("", _) => status.to_string(),
        (error, "") => error.to_owned(),
        (error, needed) => format!("{error} (needed: {needed})"),
    }
}

impl Failure {
    /// Slack's word for it.
    pub(super) fn error(&self) -> &str {
        match self {
            Self::Refused { refusal, .. } => &refusal.error,
            _ => "",
        }
    }
}

/// Slack, as one token sees it. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Service {
    client: Client,
    base: Url,
    token: Secret,
    refused: Arc<Refused>,
}

/// How a request says what it asks.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Json(&'a Value),
    /// Methods that only read take nothing else.
    Form(&'a [(&'a str, &'a str)]),
}

impl Asked<'_> {
    /// What Slack counts such requests by, as far as anybody outside knows: what is written, by its channel too.
    fn counted(self, method: &str) -> String {
        let channel = match self {
            Self::Json(body) => body["channel"].as_str().or(body["channel_id"].as_str()),
            Self::Form(_) => None,
        };
        channel.map_or_else(|| method.to_owned(), |channel| format!("{method} {channel}"))
    }
}

#[derive(Deserialize)]
struct Nothing {}

/// A message that was posted.
#[derive(Debug, Deserialize)]
pub(super) struct Posted {
    pub(super) ts: String,
    #[serde(default)]
    pub(super) channel: String,
}

#[derive(Deserialize)]
struct Opened {
    url: String,
}

#[derive(Deserialize)]
struct Replies {
    #[serde(default)]
    messages: Vec<Value>,
}

#[derive(Deserialize)]
struct Person {
    user: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    name: String,
    #[serde(default)]
    real_name: String,
    #[serde(default)]
    profile: Profile,
}

#[derive(Default, Deserialize)]
struct Profile {
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    real_name: String,
}

#[derive(Deserialize)]
struct Known {
    file: File,
}

/// Where a file is to go.
#[derive(Debug, Deserialize)]
pub(super) struct Place {
    upload_url: String,
    file_id: String,
}

/// How Slack took what went to an address of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Responded {
    /// It is shown.
    Shown,
    /// The address is not good any more.
    Over,
}

impl Service {
    /// One for each token of the bot.
    pub(super) fn all(
        settings: &Settings,
        network: &Network,
        refused: &Arc<Refused>,
    ) -> Result<Vec<Self>, Failure> {
        let client = client(settings, network)?;
        let one = |token: &Secret| Self {
            client: client.clone(),
            base: settings.base.clone(),
            token: token.clone(),
            refused: Arc::clone(refused),
        };
        Ok(settings.tokens.iter().map(one).collect())
    }

    /// The app itself, where it opens sockets.
    pub(super) fn app(
        settings: &Settings,
        network: &Network,
        refused: &Arc<Refused>,
    ) -> Result<Self, Failure> {
        let (Mode::Socket(token) | Mode::Http(token)) = &settings.mode;
        let client = client(settings, network)?;
        Ok(Self { client, base: settings.base.clone(), token: token.clone(), refused: Arc::clone(refused) })
    }

    pub(super) fn token(&self) -> &Secret {
        &self.token
    }

    /// Who the bot is, and what it may do, where Slack says so.
    pub(super) async fn me(&self) -> Result<(Me, Option<BTreeSet<String>>), Failure> {
        const METHOD: &str = "auth.test";
        self.usable(METHOD)?;
        let request = self.request(METHOD, Asked::Form(&[]))?.timeout(TIME);
        let response = request.send().await.map_err(lost)?;
        let scopes = response.headers().get("x-oauth-scopes").and_then(|scopes| scopes.to_str().ok());
        let scopes = scopes.map(|scopes| scopes.split(',').map(|scope| scope.trim().to_owned()).collect());
        let me = read(METHOD, response).await;
        self.note(METHOD, &me);
        Ok((me?, scopes))
    }

    /// Where a socket is to be opened; it holds a ticket.
    pub(super) async fn socket(&self) -> Result<Url, Failure> {
        let Opened { url } = self.ask("apps.connections.open", Asked::Form(&[]), TIME).await?;
        Url::parse(&url).map_err(|_| WireError::Shape("apps.connections.open").into())
    }

    /// Posts a message.
    pub(super) async fn post(&self, body: &Value) -> Result<Posted, Failure> {
        self.ask("chat.postMessage", Asked::Json(body), TIME).await
    }

    /// Any call that writes something.
    pub(super) async fn call(&self, method: &'static str, body: &Value) -> Result<(), Failure> {
        self.ask::<Nothing>(method, Asked::Json(body), TIME).await.map(drop)
    }

    /// The same for what nobody waits for.
    pub(super) async fn show(&self, method: &'static str, body: &Value) -> Result<(), Failure> {
        self.ask::<Nothing>(method, Asked::Json(body), BRIEF).await.map(drop)
    }

    /// What was said in a thread, the first messages of it, as Slack has them.
    pub(super) async fn replies(&self, channel: &str, thread: &str) -> Result<Vec<Value>, Failure> {
        let fields = [("channel", channel), ("ts", thread), ("limit", REPLIES)];
        let Replies { messages } = self.ask("conversations.replies", Asked::Form(&fields), TIME).await?;
        Ok(messages)
    }

    /// What somebody is called.
    pub(super) async fn name(&self, user: &str) -> Result<String, Failure> {
        let Person { user } = self.ask("users.info", Asked::Form(&[("user", user)]), TIME).await?;
        let User { name, real_name, profile } = user;
        let all = [profile.display_name, profile.real_name, real_name, name];
        let name = all.into_iter().find(|name| !name.trim().is_empty()).unwrap_or_default();
        Ok(name.chars().filter(|c| !c.is_control()).take(100).collect())
    }

    /// A file with what a message does not say of it: that of another organisation is asked for.
    pub(super) async fn found(&self, file: &File) -> Result<File, Unfetched> {
        let is_said = file.size.is_some() && file.url_private.is_some();
        let is_gone = matches!(file.mode.as_deref(), Some("tombstone" | "hidden_by_limit"));
        if is_gone || is_said && file.file_access.as_deref() != Some("check_file_info") {
            return Ok(file.clone());
        }
        let found = self.ask("files.info", Asked::Form(&[("file", &file.id)]), TIME).await;
        found.map(|Known { file }| file).map_err(|failure| unfetched(&failure))
    }

    /// A file, as it comes.
    pub(super) async fn file(&self, file: &File) -> Result<ByteStream, Unfetched> {
        let gone = |why: &str| Unfetched::Gone(why.to_owned());
        let at = file.url_private_download.as_ref().or(file.url_private.as_ref());
        let url = at
            .and_then(|text| Url::parse(text).ok())
            .ok_or_else(|| gone("Slack does not say where the file is"))?;
        if !self.is_slacks(&url) {
            return Err(gone("the file is on a server that is not Slack's"));
        }
        if let Some(error) = self.refused.of(&self.token) {
            return Err(Unfetched::Away(format!("Slack refuses the token: {error}")));
        }
        let request = self.client.get(url).bearer_auth(self.token.expose());
        let response = request.send().await.map_err(|error| unfetched(&lost(error)))?;
        let kind = response.headers().get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_page = kind.is_some_and(|kind| kind.starts_with("text/html"));
        match response.status().as_u16() {
            // Who may not read it is shown where to sign in.
            200 if is_page && file.mimetype.as_deref() != Some("text/html") => {
                Err(gone("Slack does not give it to the bot: the app needs files:read"))
            }
            200 => Ok(pieces(response)),
            status @ (302 | 400 | 401 | 403 | 404 | 410) => {
                Err(Unfetched::Gone(format!("Slack says {status}")))
            }
            status => Err(Unfetched::Away(format!("Slack says {status}"))),
        }
    }

    /// Asks where a file is to go.
    pub(super) async fn place(&self, name: &str, length: u64) -> Result<Place, Failure> {
        let fields = [("filename", name), ("length", &length.to_string())];
        self.ask("files.getUploadURLExternal", Asked::Form(&fields), TIME).await
    }

    /// Brings it there; it is shown to nobody yet.
    pub(super) async fn upload(&self, place: &Place, length: u64, bytes: ByteStream) -> Result<(), Failure> {
        let url = Url::parse(&place.upload_url).ok().filter(|url| self.is_slacks(url));
        let url = url.ok_or(WireError::Shape("files.getUploadURLExternal"))?;
        let bytes = bytes.map(|piece| piece.map_err(std::io::Error::other));
        let request = self
            .client
            .post(url)
            .timeout(UPLOAD)
            .header(http::header::CONTENT_LENGTH, length)
            .header(http::header::CONTENT_TYPE, "application/octet-stream")
            .body(Body::wrap_stream(bytes));
        let response = request.send().await.map_err(lost)?;
        match response.status().as_u16() {
            200 => Ok(()),
            status => {
                let refusal = Refusal { status, retry_after: asked(&response), ..Refusal::default() };
                Err(Failure::Refused { what: "the upload", refusal })
            }
        }
    }

    /// Shows a file that was brought.
    pub(super) async fn complete(&self, place: &Place, title: &str, mut to: Value) -> Result<(), Failure> {
        to["files"] = json!([{"id": place.file_id, "title": title}]);
        self.call("files.completeUploadExternal", &to).await
    }

    /// Answers at an address that came with what is answered. It needs no token.
    pub(super) async fn respond(&self, address: &str, body: &Value) -> Result<Responded, Failure> {
        const WHAT: &str = "the answer to a command";
        let url = Url::parse(address).ok().filter(|url| self.is_slacks(url));
        let Some(url) = url else { return Ok(Responded::Over) };
        let response = self.client.post(url).timeout(TIME).json(body).send().await.map_err(lost)?;
        match response.status().as_u16() {
            200 => Ok(Responded::Shown),
            status @ (429 | 500..) => {
                let refusal = Refusal { status, retry_after: asked(&response), ..Refusal::default() };
                Err(Failure::Refused { what: WHAT, refusal })
            }
            _ => Ok(Responded::Over),
        }
    }

    /// Whether an address is one of Slack's, or of whatever is in its place.
    fn is_slacks(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let is_below =
            |name: &&str| host == *name || host.strip_suffix(*name).is_some_and(|rest| rest.ends_with('.'));
        is_private(url)
            && (self.base.host_str() == Some(host)
                || (url.scheme() == "https" && SLACKS.iter().any(is_below)))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        asked: Asked<'_>,
        time: Duration,
    ) -> Result<T, Failure> {
        self.usable(method)?;
        let counted = asked.counted(method);
        if let Some(left) = self.refused.held(&self.token, &counted) {
            return Err(Failure::Refused { what: method, refusal: limited(left) });
        }
        let request = self.request(method, asked)?.timeout(time);
        let answered = match request.send().await {
            Ok(response) => read(method, response).await,
            Err(error) => Err(lost(error)),
        };
        self.note(method, &answered);
        if let Err(Failure::Refused { refusal, .. }) = &answered
            && let Some(seconds) = refusal.retry_after.filter(|_| refusal.is_limit())
        {
            self.refused.hold(&self.token, &counted, Duration::from_secs(seconds));
        }
        answered
    }

    /// Nothing is asked with a token that is refused.
    fn usable(&self, method: &'static str) -> Result<(), Failure> {
        let Some(error) = self.refused.of(&self.token) else { return Ok(()) };
        let refusal = match error.strip_prefix(refused::SCOPE) {
            Some(needed) => Refusal {
                status: 200,
                error: "missing_scope".to_owned(),
                needed: needed.to_owned(),
                ..Refusal::default()
            },
            None => Refusal { status: 200, error, ..Refusal::default() },
        };
        Err(Failure::Refused { what: method, refusal })
    }

    /// The token is of no use any more: nothing is asked with it.
    pub(super) fn refuse(&self, error: &str) {
        self.refused.note(&self.token, error);
    }

    /// Tells everybody of a token that is of no use any more.
    fn note<T>(&self, method: &'static str, answered: &Result<T, Failure>) {
        let Err(Failure::Refused { refusal, .. }) = answered else { return };
        let is_vital = matches!(method, "auth.test" | "apps.connections.open" | "chat.postMessage");
        let is_token = refusal.is_auth() && (is_vital || refusal.error != "not_allowed_token_type");
        if is_token {
            let error = if refusal.error.is_empty() { "invalid_auth" } else { &refusal.error };
            self.refuse(error);
        } else if is_vital && refusal.error == "missing_scope" {
            self.refuse(&format!("{}{}", refused::SCOPE, refusal.needed));
        }
    }

    fn request(&self, method: &'static str, asked: Asked<'_>) -> Result<RequestBuilder, Failure> {
        let url = self.base.join(method).map_err(|_| Failure::Unusable {
            code: "slack_base_url".to_owned(),
            reason: "the address of a method of the Web API is none".to_owned(),
        })?;
        let request = self.client.post(url).bearer_auth(self.token.expose());
        Ok(match asked {
            Asked::Json(body) => {
                // The library would leave out what Slack asks for, the charset.
                let kind = "application/json; charset=utf-8";
                request.header(http::header::CONTENT_TYPE, kind).body(body.to_string())
            }
            Asked::Form(fields) => {
                let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
                request.header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
            }
        })
    }
}

async fn read<T: DeserializeOwned>(method: &'static str, response: Response) -> Result<T, Failure> {
    let (status, asked) = (response.status().as_u16(), asked(&response));
    let bytes = body(method, response).await?;
    wire::answer(method, status, asked, &bytes)?.map_err(|refusal| Failure::Refused { what: method, refusal })
}

fn client(settings: &Settings, network: &Network) -> Result<Client, Failure> {
    let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
    if let Some(fault) = &settings.fault {
        return Err(unusable(&fault.code, fault.message.clone()));
    }
    to(&settings.base, network, None).map_err(|error| unusable("slack_client", error.to_string()))
}

/// As Slack says that there were too many requests, with what is left of the wait.
fn limited(left: Duration) -> Refusal {
    let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    Refusal { status: 429, error: "ratelimited".to_owned(), retry_after: Some(seconds), ..Refusal::default() }
}

fn asked(response: &Response) -> Option<u64> {
    retry_after(response.headers()).map(|wait| wait.as_secs())
}

async fn body(what: &'static str, response: Response) -> Result<Vec<u8>, Failure> {
    answer::body(response, BODY).await.map_err(|error| match error {
        Unread::Lost(text) => Failure::Lost(text),
        Unread::TooMuch => WireError::TooMuch(what).into(),
    })
}

/// What a request without an answer is.
fn lost(error: reqwest::Error) -> Failure {
    match Unanswered::from(error) {
        Unanswered::Unsent(text) => Failure::Unsent(text),
        Unanswered::Lost(text) => Failure::Lost(text),
    }
}

/// What a failed request is to a file.
fn unfetched(failure: &Failure) -> Unfetched {
    let text = failure.to_string();
    match failure {
        Failure::Refused { refusal, .. } if refusal.is_limit() || refusal.error.is_empty() => {
            Unfetched::Away(text)
        }
        Failure::Unusable { .. } | Failure::Refused { .. } => Unfetched::Gone(text),
        Failure::Unsent(_) | Failure::Lost(_) | Failure::Garbled(_) => Unfetched::Away(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_files_go_to_slacks_own_servers_only() {
        let service = |base: &str| Service {
            client: to(&Url::parse(base).unwrap(), &Network::default(), None).unwrap(),
            base: Url::parse(base).unwrap(),
            token: Secret::new("xoxb-SECRET"),
            refused: Arc::default(),
        };
        let (slack, fake) = (service("https://slack.com/api/"), service("http://127.0.0.1:9/api/"));
        for (address, at_slack, at_fake) in [
            ("https://files.slack.com/files-pri/T1-F1/a.png", true, true),
            ("https://slack.com/x", true, true),
            ("https://hooks.slack-gov.com/x", true, true),
            ("http://files.slack.com/x", false, false),
            ("https://evilslack.com/x", false, false),
            ("https://slack.com.evil.example/x", false, false),
            ("https://docs.example.org/x", false, false),
            ("http://127.0.0.1:77/files/x", false, true),
            ("http://localhost/x", false, false),
            ("ftp://slack.com/x", false, false),
        ] {
            let url = Url::parse(address).unwrap();
            assert_eq!((slack.is_slacks(&url), fake.is_slacks(&url)), (at_slack, at_fake), "{address}");
        }
    }

    /// What is too much is not asked again meanwhile; it is the method's and, of what is written, the channel's.
    #[tokio::test]
    async fn what_slack_wants_none_of_is_not_asked_meanwhile() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}/api/", listener.local_addr().unwrap())).unwrap();
        let client = to(&base, &Network::default(), None).unwrap();
        let service = Service { client, base, token: Secret::new("xoxb-SECRET"), refused: Arc::default() };
        let serve = async {
            let mut asked = Vec::new();
            for answer in [
                "HTTP/1.1 429 X\r\nRetry-After: 30\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                "HTTP/1.1 200 X\r\nContent-Length: 11\r\nConnection: close\r\n\r\n{\"ok\":true}",
                "HTTP/1.1 429 X\r\nRetry-After: 30\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 4096];
                let read = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                asked.push(head.split(' ').nth(1).unwrap().to_owned());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        };
        let calls = async {
            let react = async |channel: &str| {
                let body = json!({"channel": channel, "timestamp": "1.2", "name": "eyes"});
                service.show("reactions.add", &body).await.is_ok()
            };
            let reacted = [react("C1").await, react("C1").await, react("C2").await];
            let file = File { id: "F1".to_owned(), ..File::default() };
            let found = [service.found(&file).await, service.found(&file).await];
            (reacted, found.map(|found| matches!(found, Err(Unfetched::Away(_)))))
        };
        let (asked, (reacted, are_away)) = tokio::join!(serve, calls);
        assert_eq!(asked, ["/api/reactions.add", "/api/reactions.add", "/api/files.info"]);
        assert_eq!((reacted, are_away), ([false, false, true], [true, true]));
    }

    #[tokio::test]
    async fn what_is_not_reached_says_so_without_the_token() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}/api/", listener.local_addr().unwrap())).unwrap();
        drop(listener);
        let client = to(&base, &Network::default(), None).unwrap();
        let service = Service { client, base, token: Secret::new("xoxb-SECRET"), refused: Arc::default() };
        let failure = service.me().await.unwrap_err();
        assert!(matches!(failure, Failure::Unsent(_)), "{failure:?}");
        assert!(!format!("{failure:?} {failure}").contains("SECRET"), "{failure}");
    }
}
