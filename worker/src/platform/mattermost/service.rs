//! Requests to the server, and what can become of them. The token is in a header of each, and in no text that is made here.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt as _;
use hermes_config::Secret;
use hermes_config::network::Network;
use reqwest::{Body, Client, Method, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::settings::Settings;
use super::wire::{self, Channel, File, Posts, Refusal, Team, User, WireError};
use crate::handover::{ByteStream, Unfetched};
use crate::outgoing::answer::{self, Unanswered, Unread, pieces, retry_after};
use crate::outgoing::to;
use crate::session::epoch;

/// Most that is read of one answer, in bytes.
const BODY: usize = 16 * 1024 * 1024;
/// Most that is read of an error.
const ERROR: usize = 64 * 1024;
/// Time for a request.
const TIME: Duration = Duration::from_secs(20);
/// Time for something that nobody waits for.
const BRIEF: Duration = Duration::from_secs(3);
/// Time for a file to go up.
const UPLOAD: Duration = Duration::from_secs(600);
/// Posts of one page.
const PAGE: &str = "60";

/// What became of a request that got no proper answer. No text holds the token.
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
    /// The server takes the token for none: nothing more is asked with it.
    #[error(
        "the server takes MATTERMOST_TOKEN for none (any more): make another token for the bot account, and see that the account is not \
         disabled"
    )]
    Revoked,
    /// Answered with an error.
    #[error("{what}: the server says {}", said(refusal))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        refusal: Refusal,
    },
    /// It did not get there.
    #[error("the server is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the connection to the server broke: {0}")]
    Lost(String),
    /// The answer is none.
    #[error(transparent)]
    Garbled(#[from] WireError),
}

fn said(refusal: &Refusal) -> String {
    let Refusal { status, id, message, .. } = refusal;
    match (id.is_empty(), message.is_empty()) {
        (true, _) => format!("{status}, and is no Mattermost by its words"),
        (false, true) => format!("{status} ({id})"),
        (false, false) => format!("{status} ({id}: {message})"),
    }
}

impl Failure {
    /// The refusal, if it is one of Mattermost's own.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal).filter(|refusal| !refusal.id.is_empty()),
            _ => None,
        }
    }

    /// What was asked for is not there, or not for the bot.
    pub(super) fn is_absence(&self) -> bool {
        self.refusal().is_some_and(|refusal| matches!(refusal.status, 400 | 403 | 404))
    }
}

/// The server, as the bot sees it. Cloning shares it.
#[derive(Clone)]
pub(super) struct Service(Arc<Inner>);

struct Inner {
    client: Client,
    base: Url,
    token: Secret,
    revoked: watch::Sender<bool>,
    me: OnceLock<String>,
}

/// A request.
struct Ask<'a> {
    what: &'static str,
    method: Method,
    /// The parts of its path below `/api/v4`.
    path: &'a [&'a str],
    query: &'a [(&'a str, &'a str)],
    body: Option<&'a Value>,
    time: Duration,
}

impl<'a> Ask<'a> {
    fn get(what: &'static str, path: &'a [&'a str]) -> Self {
        Self { what, method: Method::GET, path, query: &[], body: None, time: TIME }
    }

    fn with(method: Method, what: &'static str, path: &'a [&'a str], body: &'a Value) -> Self {
        Self { method, body: Some(body), ..Self::get(what, path) }
    }
}

impl Service {
    pub(super) fn new(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        if let Some(fault) = &settings.fault {
            return Err(unusable(&fault.code, fault.message.clone()));
        }
        let Some(base) = settings.base.clone() else {
            return Err(unusable("mattermost_config_missing", "mattermost has no address".to_owned()));
        };
        let client =
            to(&base, network, None).map_err(|error| unusable("mattermost_client", error.to_string()))?;
        let (revoked, me) = (watch::Sender::new(false), OnceLock::new());
        Ok(Self(Arc::new(Inner { client, base, token: settings.token.clone(), revoked, me })))
    }

    pub(super) fn token(&self) -> &Secret {
        &self.0.token
    }

    /// Returns once the server has said that the token is none. Cancel safe.
    pub(super) async fn revoked(&self) {
        let mut revoked = self.0.revoked.subscribe();
        // The sender lives as long as this.
        let _ = revoked.wait_for(|is_revoked| *is_revoked).await;
    }

    /// Where the socket is opened.
    pub(super) fn socket(&self) -> Result<Url, Failure> {
        let mut url = self.url("websocket", &["websocket"], &[])?;
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        // From one of the web's own schemes to the other.
        let _ = url.set_scheme(scheme);
        Ok(url)
    }

    /// Who the bot is.
    pub(super) async fn me(&self) -> Result<User, Failure> {
        let me: User = self.read(&Ask::get("users/me", &["users", "me"])).await?;
        if !wire::is_id(&me.id) || !me.username.is_ascii() || me.username.len() > 64 {
            return Err(WireError::Shape("users/me").into());
        }
        // It is the same one for as long as the token is.
        let _ = self.0.me.set(me.id.clone());
        Ok(me)
    }

    async fn my_id(&self) -> Result<String, Failure> {
        match self.0.me.get() {
            Some(id) => Ok(id.clone()),
            None => Ok(self.me().await?.id),
        }
    }

    /// The teams that the bot is in.
    pub(super) async fn teams(&self) -> Result<Vec<Team>, Failure> {
        self.read(&Ask::get("teams", &["users", "me", "teams"])).await
    }

    /// The channels that the bot is in, of all teams.
    pub(super) async fn channels(&self) -> Result<Vec<Channel>, Failure> {
        let mut all: Vec<Channel> = self.read(&Ask::get("channels", &["users", "me", "channels"])).await?;
        all.retain(|channel| wire::is_id(&channel.id));
        Ok(all)
    }

    /// One channel.
    pub(super) async fn channel(&self, id: &str) -> Result<Channel, Failure> {
        self.read(&Ask::get("channel", &["channels", id])).await
    }

    /// What was said, or changed, in a channel since then.
    pub(super) async fn since(&self, channel: &str, since: u64) -> Result<Posts, Failure> {
        // Nothing is no time.
        let since = since.max(1).to_string();
        self.posts(channel, &[("since", &since)]).await
    }

    /// A page of what was said in a channel before a post, or at last.
    pub(super) async fn before(&self, channel: &str, post: Option<&str>) -> Result<Posts, Failure> {
        match post {
            Some(post) => self.posts(channel, &[("before", post), ("per_page", PAGE)]).await,
            None => self.posts(channel, &[("per_page", PAGE)]).await,
        }
    }

    async fn posts(&self, channel: &str, query: &[(&str, &str)]) -> Result<Posts, Failure> {
        let path = ["channels", channel, "posts"];
        let ask = Ask { query, ..Ask::get("posts", &path) };
        Ok(wire::posts(&self.bytes(&ask).await?)?)
    }

    /// What somebody is called.
    pub(super) async fn name(&self, user: &str) -> Result<String, Failure> {
        let user: User = self.read(&Ask { time: BRIEF, ..Ask::get("users", &["users", user]) }).await?;
        Ok(user.username.chars().filter(|c| !c.is_control()).take(100).collect())
    }

    /// A file with what a post does not say of it.
    pub(super) async fn found(&self, file: &File) -> File {
        if file.size > 0 {
            return file.clone();
        }
        // Whatever is in the way is in the way of the file as well, and is said there.
        let found = self.read(&Ask::get("files", &["files", &file.id, "info"])).await;
        found.unwrap_or_else(|_| file.clone())
    }

    /// A file, as it comes.
    pub(super) async fn file(&self, id: &str) -> Result<ByteStream, Unfetched> {
        let request = self.request(&Ask::get("files", &["files", id])).map_err(|f| unfetched(&f))?;
        let response = self.answered("files", request).await.map_err(|failure| unfetched(&failure))?;
        Ok(pieces(response))
    }

    /// Says something; what it is called.
    pub(super) async fn post(&self, body: &Value) -> Result<String, Failure> {
        let bytes = self.bytes(&Ask::with(Method::POST, "posts", &["posts"], body)).await?;
        Ok(wire::made("posts", &bytes)?)
    }

    /// Says something else instead.
    pub(super) async fn patch(&self, post: &str, message: &str) -> Result<(), Failure> {
        let body = json!({"message": message});
        self.bytes(&Ask::with(Method::PUT, "patch", &["posts", post, "patch"], &body)).await.map(drop)
    }

    /// Takes something back.
    pub(super) async fn delete(&self, post: &str) -> Result<(), Failure> {
        let path = ["posts", post];
        let ask = Ask { method: Method::DELETE, ..Ask::get("posts", &path) };
        self.bytes(&ask).await.map(drop)
    }

    /// Shows that something is being written.
    pub(super) async fn typing(&self, channel: &str, thread: Option<&str>) -> Result<(), Failure> {
        let body = json!({"channel_id": channel, "parent_id": thread.unwrap_or_default()});
        let ask = Ask::with(Method::POST, "typing", &["users", "me", "typing"], &body);
        self.bytes(&Ask { time: BRIEF, ..ask }).await.map(drop)
    }

    /// Puts a sign at a post, by its name.
    pub(super) async fn sign(&self, post: &str, name: &str) -> Result<(), Failure> {
        let me = self.my_id().await?;
        let body = json!({"user_id": me, "post_id": post, "emoji_name": name});
        let ask = Ask::with(Method::POST, "reactions", &["reactions"], &body);
        self.bytes(&Ask { time: BRIEF, ..ask }).await.map(drop)
    }

    /// Takes it away.
    pub(super) async fn unsign(&self, post: &str, name: &str) -> Result<(), Failure> {
        let path = ["users", "me", "posts", post, "reactions", name];
        let ask = Ask { method: Method::DELETE, time: BRIEF, ..Ask::get("reactions", &path) };
        self.bytes(&ask).await.map(drop)
    }

    /// Sends a file up for a channel; what it is called. It is shown to nobody yet.
    pub(super) async fn upload(
        &self,
        channel: &str,
        name: &str,
        length: u64,
        bytes: ByteStream,
    ) -> Result<String, Failure> {
        let query = [("channel_id", channel), ("filename", name)];
        let ask = Ask { method: Method::POST, query: &query, time: UPLOAD, ..Ask::get("files", &["files"]) };
        let bytes = bytes.map(|piece| piece.map_err(std::io::Error::other));
        let request = self
            .request(&ask)?
            .header(http::header::CONTENT_TYPE, "application/octet-stream")
            .header(http::header::CONTENT_LENGTH, length)
            .body(Body::wrap_stream(bytes));
        let bytes = body("files", self.answered("files", request).await?, BODY).await?;
        Ok(wire::made("files", &bytes)?)
    }

    async fn read<T: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<T, Failure> {
        Ok(wire::answer(ask.what, &self.bytes(ask).await?)?)
    }

    async fn bytes(&self, ask: &Ask<'_>) -> Result<Vec<u8>, Failure> {
        let request = self.request(ask)?.timeout(ask.time);
        body(ask.what, self.answered(ask.what, request).await?, BODY).await
    }

    /// The answer that is one. Who hears that the token is none tells all others.
    async fn answered(&self, what: &'static str, request: RequestBuilder) -> Result<Response, Failure> {
        if *self.0.revoked.borrow() {
            return Err(Failure::Revoked);
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        if (200..300).contains(&status) {
            return Ok(response);
        }
        // Of who is not let in to ask who he is, nothing else is to be expected.
        if status == 401 || (status == 403 && what == "users/me") {
            self.0.revoked.send_replace(true);
            return Err(Failure::Revoked);
        }
        let asked = retry_after(response.headers()).or_else(|| {
            let reset = response.headers().get("x-ratelimit-reset").filter(|_| status == 429)?;
            wire::reset(reset.to_str().ok()?, now())
        });
        let bytes = match tokio::time::timeout(TIME, body(what, response, ERROR)).await {
            Ok(Ok(bytes)) => bytes,
            // The status says enough.
            Ok(Err(_)) | Err(_) => Vec::new(),
        };
        Err(Failure::Refused { what, refusal: wire::refusal(status, &bytes, asked) })
    }

    fn request(&self, ask: &Ask<'_>) -> Result<RequestBuilder, Failure> {
        let url = self.url(ask.what, ask.path, ask.query)?;
        let request = self.0.client.request(ask.method.clone(), url).bearer_auth(self.0.token.expose());
        Ok(match ask.body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    fn url(&self, what: &str, path: &[&str], query: &[(&str, &str)]) -> Result<Url, Failure> {
        let unusable = || Failure::Unusable {
            code: "mattermost_url".to_owned(),
            reason: format!("nothing can stand below the server's address that asks for {what}"),
        };
        // The library would drop these, and what stands behind them would be something else.
        if path.iter().any(|part| matches!(*part, "." | ".." | "")) {
            return Err(unusable());
        }
        let mut url = self.0.base.clone();
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().extend(["api", "v4"]).extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

/// Seconds since the epoch.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the clock is behind 1970 and before any overflow"
)]
fn now() -> u64 {
    epoch().max(0.0) as u64
}

async fn body(what: &'static str, response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    answer::body(response, most).await.map_err(|error| match error {
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
    if matches!(failure, Failure::Unusable { .. }) || failure.is_absence() {
        Unfetched::Gone(text)
    } else {
        Unfetched::Away(text)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings_of;
    use super::*;

    fn service(url: &str) -> Service {
        let settings =
            settings_of("", &format!("MATTERMOST_URL={url}\nMATTERMOST_TOKEN=SECRET\n")).0.unwrap();
        Service::new(&settings, &Network::default()).unwrap()
    }

    #[test]
    fn addresses_are_the_server_s_own() {
        for base in ["http://127.0.0.1:9/x", "http://127.0.0.1:9/x/"] {
            let service = service(base);
            let url = |path: &[&str]| service.url("x", path, &[]).map(|url| url.to_string());
            assert_eq!(url(&["posts", "a b/c"]).unwrap(), "http://127.0.0.1:9/x/api/v4/posts/a%20b%2Fc");
            assert!(url(&["posts", ".."]).is_err() && url(&["posts", ""]).is_err());
            assert_eq!(service.socket().unwrap().as_str(), "ws://127.0.0.1:9/x/api/v4/websocket");
        }
        assert_eq!(
            service("https://mm.example").socket().unwrap().as_str(),
            "wss://mm.example/api/v4/websocket"
        );
    }

    #[tokio::test]
    async fn what_is_not_reached_says_so_without_the_token() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let failure = service(&format!("http://{address}")).me().await.unwrap_err();
        assert!(matches!(failure, Failure::Unsent(_)), "{failure:?}");
        assert!(!format!("{failure:?} {failure}").contains("SECRET"), "{failure}");
    }
}
