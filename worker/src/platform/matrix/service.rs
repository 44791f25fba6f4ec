//! Requests to the homeserver, and what can become of them. The token is in a header of each, and in no text that is made here.

use std::time::Duration;

use hermes_config::Secret;
use hermes_config::is_private;
use hermes_config::network::Network;
use reqwest::header::LOCATION;
use reqwest::{Body, Client, Method, RequestBuilder, Response, Url};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::wire::{self, Refusal, WireError};
use crate::handover::{ByteStream, Unfetched};
use crate::json;
use crate::outgoing::answer::{self, Unanswered, Unread, pieces, retry_after};
use crate::outgoing::to;

/// Most that is read of one answer, in bytes.
const BODY: usize = 32 * 1024 * 1024;
/// Most that is read of the list of who is in a room: beyond that they are many.
const MEMBERS: usize = 1024 * 1024;
/// Time for a request beyond what the server may take for it.
const TIME: Duration = Duration::from_secs(20);
/// Time for a message, which may wait for other servers.
const SEND: Duration = Duration::from_secs(45);
/// The same for a sync: a half-open connection is known by it. What was missed for long takes longer, and everything longest; a server goes on
/// with what it was asked for, and has it when it is asked again.
const SYNCED: Duration = Duration::from_secs(15);
const MISSED: Duration = Duration::from_secs(25);
const EVERYTHING: Duration = Duration::from_secs(50);
/// Most versions, or ways to log in.
const WORDS: usize = 100;
/// What the word of a server about its homeserver is called.
pub(super) const WELL_KNOWN: &str = "well-known";
/// What a file is called.
const FILE: &str = "file";
/// Time for a file to begin to come: it may be on another server, which may be away.
const BEGIN: Duration = Duration::from_secs(30);
/// Most servers that send elsewhere for one file.
const REDIRECTS: usize = 5;
/// Time for a file to go up.
const UPLOAD: Duration = Duration::from_secs(50);

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
    /// Nobody is logged in: it was not made.
    #[error("{0}")]
    LoggedOut(String),
    /// Answered with an error.
    #[error("{what}: the homeserver says {}", said(refusal))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        refusal: Refusal,
    },
    /// It did not get there.
    #[error("the homeserver is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the connection to the homeserver broke: {0}")]
    Lost(String),
    /// The answer is none.
    #[error(transparent)]
    Garbled(#[from] WireError),
}

impl Failure {
    /// The refusal, if it is one.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            _ => None,
        }
    }

    /// What was asked for is not there, or not for the bot.
    pub(super) fn is_absence(&self) -> bool {
        self.refusal().is_some_and(|refusal| {
            !refusal.code.is_empty() && matches!(refusal.status, 400 | 403 | 404) && !refusal.is_of_token()
        })
    }
}

fn said(refusal: &Refusal) -> String {
    let Refusal { status, code, text, .. } = refusal;
    match (code.is_empty(), text.is_empty()) {
        (true, _) => format!("{status}, and is no server of Matrix by its words"),
        (false, true) => format!("{status} ({code})"),
        (false, false) => format!("{status} ({code}: {text})"),
    }
}

/// A request, before anybody is named in it.
pub(super) struct Ask<'a> {
    pub(super) what: &'static str,
    pub(super) method: Method,
    /// The parts of its path below `/_matrix`; none has to be encoded.
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a Value>,
}

impl<'a> Ask<'a> {
    pub(super) fn get(what: &'static str, path: &'a [&'a str]) -> Self {
        Self { what, method: Method::GET, path, query: &[], body: None }
    }

    pub(super) fn put(what: &'static str, path: &'a [&'a str], body: &'a Value) -> Self {
        Self { what, method: Method::PUT, path, query: &[], body: Some(body) }
    }

    pub(super) fn post(what: &'static str, path: &'a [&'a str], body: &'a Value) -> Self {
        Self { what, method: Method::POST, path, query: &[], body: Some(body) }
    }

    pub(super) fn with(self, query: &'a [(&'a str, &'a str)]) -> Self {
        Self { query, ..self }
    }

    /// Time for it.
    fn time(&self) -> Duration {
        match self.what {
            "send" | "join" => SEND,
            _ => TIME,
        }
    }
}

/// Who somebody is that logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) user: String,
    pub(super) device: Option<String>,
}

/// The homeserver. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Service {
    client: Client,
    base: Url,
    /// The ways to other servers.
    network: Network,
}

impl Service {
    /// The one at this address.
    pub(super) fn at(base: Url, network: &Network) -> Result<Self, Failure> {
        let client = to(&base, network, None).map_err(|error| Failure::Unusable {
            code: "matrix_client".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { client, base, network: network.clone() })
    }

    /// Where it is.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Logs in with a password; who it is, and the token.
    pub(super) async fn login(
        &self,
        user: &str,
        password: &Secret,
        device: Option<&str>,
    ) -> Result<(Who, Secret), Failure> {
        let mut body = json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password.expose(),
            "initial_device_display_name": "Hermes Agent",
        });
        if let Some(device) = device {
            body["device_id"] = device.into();
        }
        let answer = self.ask(None, &Ask::post("login", &["client", "v3", "login"], &body)).await?;
        let token = answer["access_token"].as_str().filter(|token| {
            !token.is_empty() && token.len() <= 8192 && token.bytes().all(|byte| byte.is_ascii_graphic())
        });
        let token = token.ok_or(WireError::Garbled("login"))?;
        Ok((who("login", &answer)?, Secret::new(token)))
    }

    /// Who has a token.
    pub(super) async fn whoami(&self, token: &Secret) -> Result<Who, Failure> {
        let path = ["client", "v3", "account", "whoami"];
        who("whoami", &self.ask(Some(token), &Ask::get("whoami", &path)).await?)
    }

    /// The versions of Matrix that it speaks. Nobody says who he is for that.
    pub(super) async fn versions(&self) -> Result<Vec<String>, Failure> {
        let answer = self.ask(None, &Ask::get("versions", &["client", "versions"])).await?;
        Ok(words(&answer, "versions", Value::as_str).ok_or(WireError::Garbled("versions"))?)
    }

    /// The ways in which it lets accounts log in. Nobody does by that.
    pub(super) async fn flows(&self) -> Result<Vec<String>, Failure> {
        let answer = self.ask(None, &Ask::get("login", &["client", "v3", "login"])).await?;
        Ok(words(&answer, "flows", |one| one["type"].as_str()).ok_or(WireError::Garbled("login"))?)
    }

    /// Where the server that is asked says that the homeserver of its name is; `None`: it says nothing of the kind. It is not asked there.
    pub(super) async fn pointer(&self) -> Option<String> {
        let mut url = self.base.clone();
        url.set_path(wire::WELL_KNOWN);
        let response = answered(WELL_KNOWN, self.client.get(url).timeout(TIME)).await.ok()?;
        let bytes = body(WELL_KNOWN, response, 64 * 1024).await.ok()?;
        let answer: Value = serde_json::from_slice(&bytes).ok()?;
        let found = Url::parse(answer["m.homeserver"]["base_url"].as_str()?).ok()?;
        found.host_str().map(|host| format!("{}://{host}{}", found.scheme(), port(&found)))
    }

    /// What is new since then, once there is some, at the latest after `patience`.
    pub(super) async fn sync(
        &self,
        token: &Secret,
        me: &str,
        since: Option<&str>,
        filter: &str,
        patience: Duration,
    ) -> Result<wire::Batch, Failure> {
        let patient = patience.as_millis().to_string();
        let mut query = vec![("filter", filter), ("timeout", patient.as_str()), ("set_presence", "online")];
        query.extend(since.map(|since| ("since", since)));
        let path = ["client", "v3", "sync"];
        let ask = Ask::get("sync", &path).with(&query);
        let time = match (since, patience.is_zero()) {
            (None, _) => EVERYTHING,
            (Some(_), true) => MISSED,
            (Some(_), false) => patience + SYNCED,
        };
        let request = self.request(Some(token), &ask)?.timeout(time);
        let bytes = body("sync", answered("sync", request).await?, BODY).await?;
        Ok(wire::sync(&bytes, me)?)
    }

    /// Any other request; its answer.
    pub(super) async fn ask(&self, token: Option<&Secret>, ask: &Ask<'_>) -> Result<Value, Failure> {
        let request = self.request(token, ask)?.timeout(ask.time());
        let most = if ask.what == "members" { MEMBERS } else { BODY };
        let bytes = body(ask.what, answered(ask.what, request).await?, most).await?;
        Ok(json::parse(&bytes).map_err(|_| WireError::Garbled(ask.what))?)
    }

    /// Begins to fetch a file: its length as the server says it, and its bytes. What was said behind it waits meanwhile, so nobody has long
    /// for that.
    pub(super) async fn file(
        &self,
        token: &Secret,
        place: (&str, &str),
    ) -> Result<(Option<u64>, ByteStream), Unfetched> {
        match timeout(BEGIN, self.found(token, place)).await {
            Ok(Ok(response)) => Ok((response.content_length(), pieces(response))),
            Ok(Err(failure)) => Err(unfetched(&failure)),
            Err(_) => Err(Unfetched::Away(format!("nothing of the file came for {} s", BEGIN.as_secs()))),
        }
    }

    /// Where a file is: older servers have it where nobody is asked who he is.
    async fn found(&self, token: &Secret, (server, name): (&str, &str)) -> Result<Response, Failure> {
        let newer = ["client", "v1", "media", "download", server, name];
        match self.fetched(token, &newer).await {
            Err(failure) if failure.refusal().is_some_and(|refusal| refusal.code == "M_UNRECOGNIZED") => {
                self.fetched(token, &["media", "v3", "download", server, name]).await
            }
            found => found,
        }
    }

    /// A file, wherever the homeserver sends for it. Nobody else is shown the token.
    async fn fetched(&self, token: &Secret, path: &[&str]) -> Result<Response, Failure> {
        let mut response = answered(FILE, self.request(Some(token), &Ask::get(FILE, path))?).await?;
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        for _ in 0..REDIRECTS {
            if response.status().is_success() {
                return Ok(response);
            }
            let next = elsewhere(response.url(), &response).filter(|next| may_follow(&self.base, next));
            let Some(next) = next else {
                let reason = "the homeserver sends for the file to an address that cannot be asked";
                return Err(unusable("matrix_media", reason.to_owned()));
            };
            let client = to(&next, &self.network, None);
            let client = client.map_err(|error| unusable("matrix_client", error.to_string()))?;
            response = answered(FILE, client.get(next)).await?;
        }
        Err(unusable("matrix_media", "the homeserver sends for the file elsewhere without end".to_owned()))
    }

    /// Sends a file up; where it is then.
    pub(super) async fn upload(
        &self,
        token: &Secret,
        name: &str,
        media_type: &str,
        length: u64,
        bytes: Body,
    ) -> Result<String, Failure> {
        let (path, query) = (["media", "v3", "upload"], [("filename", name)]);
        let ask = Ask { method: Method::POST, ..Ask::get("upload", &path).with(&query) };
        let request = self
            .request(Some(token), &ask)?
            .header(http::header::CONTENT_TYPE, media_type)
            .header(http::header::CONTENT_LENGTH, length)
            .timeout(UPLOAD)
            .body(bytes);
        let bytes = body("upload", answered("upload", request).await?, BODY).await?;
        let answer: Value = serde_json::from_slice(&bytes).map_err(|_| WireError::Garbled("upload"))?;
        let place = answer["content_uri"].as_str().filter(|place| place.starts_with("mxc://"));
        Ok(place.ok_or(WireError::Garbled("upload"))?.to_owned())
    }

    fn request(&self, token: Option<&Secret>, ask: &Ask<'_>) -> Result<RequestBuilder, Failure> {
        let mut request = self.client.request(ask.method.clone(), self.url(ask)?);
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        Ok(match ask.body {
            Some(body) => request.json(body),
            None => request,
        })
    }

    fn url(&self, ask: &Ask<'_>) -> Result<Url, Failure> {
        let unusable = || Failure::Unusable {
            code: "matrix_base_url".to_owned(),
            reason: "the homeserver's address is none that anything could stand below".to_owned(),
        };
        // The library would drop these, and what stands behind them would be something else.
        if ask.path.iter().any(|part| matches!(*part, "." | ".." | "")) {
            return Err(unusable());
        }
        let mut url = self.base.clone();
        url.path_segments_mut().map_err(|()| unusable())?.pop_if_empty().push("_matrix").extend(ask.path);
        if !ask.query.is_empty() {
            url.query_pairs_mut().extend_pairs(ask.query);
        }
        Ok(url)
    }
}

fn who(what: &'static str, answer: &Value) -> Result<Who, Failure> {
    let user = answer["user_id"].as_str().filter(|user| wire::is_person(user));
    let device = answer["device_id"].as_str().filter(|id| !id.is_empty() && id.len() <= 255);
    let user = user.ok_or(WireError::Garbled(what))?;
    Ok(Who { user: user.to_owned(), device: device.map(str::to_owned) })
}

/// The texts of a list, each short and without signs that nobody sees.
fn words(answer: &Value, key: &str, text: impl Fn(&Value) -> Option<&str>) -> Option<Vec<String>> {
    let all = answer[key].as_array()?.iter().take(WORDS).filter_map(text);
    Some(all.map(|text| text.chars().filter(|c| !c.is_control()).take(80).collect()).collect())
}

fn port(url: &Url) -> String {
    url.port().map(|port| format!(":{port}")).unwrap_or_default()
}

/// Where an answer sends, if it does.
pub(super) fn elsewhere(from: &Url, response: &Response) -> Option<Url> {
    if !response.status().is_redirection() {
        return None;
    }
    let place = response.headers().get(LOCATION)?.to_str().ok()?;
    from.join(place).ok()
}

/// Whether what `from` says may lead to `to`.
pub(super) fn may_follow(from: &Url, to: &Url) -> bool {
    to.scheme() == "https" || (from.scheme() == "http" && is_private(to))
}

pub(super) async fn answered(what: &'static str, request: RequestBuilder) -> Result<Response, Failure> {
    let response = request.send().await.map_err(lost)?;
    let status = response.status().as_u16();
    // Nobody is sent elsewhere but who asks where a homeserver is, or for a file.
    let may_be_elsewhere = matches!(what, WELL_KNOWN | FILE) && response.headers().contains_key(LOCATION);
    if (200..300).contains(&status) || (may_be_elsewhere && (300..400).contains(&status)) {
        return Ok(response);
    }
    let asked = retry_after(response.headers());
    let bytes = match tokio::time::timeout(TIME, body(what, response, 64 * 1024)).await {
        Ok(Ok(bytes)) => bytes,
        // The status says enough.
        Ok(Err(_)) | Err(_) => Vec::new(),
    };
    let mut refusal = wire::refusal(status, &bytes);
    refusal.retry_after = refusal.retry_after.or(asked);
    Err(Failure::Refused { what, refusal })
}

pub(super) async fn body(what: &'static str, response: Response, most: usize) -> Result<Vec<u8>, Failure> {
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
    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinSet;

    use super::*;

    fn service(base: &str) -> Service {
        Service::at(Url::parse(base).unwrap(), &Network::default()).unwrap()
    }

    /// Answers one request with each of these, in order; where, and what was asked.
    async fn answers(all: Vec<String>) -> (String, JoinSet<Vec<String>>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut asked = Vec::new();
            for answer in all {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                asked.push(String::from_utf8(head).unwrap().to_lowercase());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (address, serving)
    }

    fn sends(to: &str) -> String {
        format!("HTTP/1.1 307 x\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
    }

    /// Clients must expect to be sent elsewhere for a file (MSC3916), to where the token is nothing to anybody.
    #[tokio::test]
    async fn a_file_is_fetched_where_the_homeserver_sends_and_without_the_token() {
        let whole = "HTTP/1.1 200 x\r\ncontent-length: 5\r\nconnection: close\r\n\r\nbytes".to_owned();
        let (store, mut seen) = answers(vec![whole]).await;
        let (base, mut asked) = answers(vec![sends(&format!("{store}/a/b?signed=1"))]).await;
        let (length, mut bytes) =
            service(&base).file(&Secret::new("SECRET"), ("hs.org", "Ab")).await.ok().unwrap();
        assert_eq!((length, bytes.next().await.unwrap().unwrap().as_ref()), (Some(5), &b"bytes"[..]));
        let (asked, seen) =
            (asked.join_next().await.unwrap().unwrap(), seen.join_next().await.unwrap().unwrap());
        assert!(asked[0].contains("/client/v1/media/download/hs.org/ab ") && asked[0].contains("secret"));
        assert!(seen[0].starts_with("get /a/b?signed=1 ") && !seen[0].contains("secret"), "{seen:?}");
    }

    #[tokio::test]
    async fn nobody_is_sent_in_a_circle_or_to_where_others_read_along() {
        for to in ["http://store.example.org/a", "file:///etc/passwd", "/again"] {
            let (base, _serving) = answers(vec![sends(to); REDIRECTS + 2]).await;
            let gone = service(&base).file(&Secret::new("SECRET"), ("hs.org", "Ab")).await.err();
            assert!(
                matches!(&gone, Some(Unfetched::Gone(why)) if why.contains("the homeserver sends")),
                "{gone:?}"
            );
        }
    }

    /// Who waits for a server that is away holds up everything behind it.
    #[tokio::test]
    async fn a_file_that_does_not_begin_to_come_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = service(&format!("http://{}", listener.local_addr().unwrap()));
        let token = Secret::new("SECRET");
        let asking = timeout(BEGIN * 2, service.file(&token, ("hs.org", "Ab")));
        let listening = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            tokio::time::pause();
            std::future::pending::<()>().await;
        };
        let away = tokio::select! {
            asked = asking => asked.map(Result::err),
            () = listening => unreachable!("it says nothing"),
        };
        assert!(matches!(away, Ok(Some(Unfetched::Away(_)))), "{away:?}");
    }

    #[test]
    fn addresses_are_the_homeserver_s_own() {
        for base in ["http://127.0.0.1:9/x", "http://127.0.0.1:9/x/"] {
            let url = |path: &[&str]| service(base).url(&Ask::get("x", path)).map(|url| url.to_string());
            assert_eq!(
                url(&["client", "rooms", "!a/b:c?#", "send"]).unwrap(),
                "http://127.0.0.1:9/x/_matrix/client/rooms/!a%2Fb:c%3F%23/send"
            );
            assert!(url(&["client", ".."]).is_err() && url(&["client", ""]).is_err());
        }
    }

    #[tokio::test]
    async fn what_is_not_reached_says_so_without_the_token() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let failure = service(&format!("http://{address}")).whoami(&Secret::new("SECRET")).await.unwrap_err();
        assert!(matches!(failure, Failure::Unsent(_)), "{failure:?}");
        assert!(!format!("{failure:?} {failure}").contains("SECRET"), "{failure}");
    }
}
