//! Requests to the Bot API, and what can become of them. The token is a part of every address, and of no text that is made here.

use std::io::{self, Read as _};
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use hermes_config::Secret;
use hermes_config::network::Network;
use hermes_host::blocking;
use reqwest::multipart::Form;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::common::Common;
pub(super) use super::failure::Failure;
use super::settings::Settings;
use super::wire::{self, Found, Me, Sent, Update, WireError};
use crate::handover::{ByteStream, Unfetched};
use crate::outgoing::answer::{self, Unanswered, Unread, pieces, retry_after};
use crate::outgoing::{build, builder};

/// Most that is read of one answer, in bytes.
const BODY: usize = 16 * 1024 * 1024;
/// Most that is read of a file on disk at once, in bytes.
const PIECE: usize = 64 * 1024;
/// Time for a request beyond what the service may take for it.
const TIME: Duration = Duration::from_secs(20);
/// The same for a poll: a half-open connection is known by it.
const POLLED: Duration = Duration::from_secs(10);
/// Time for a file on its way out.
const UPLOAD: Duration = Duration::from_mins(9);
/// Most updates in one answer.
const MOST: u32 = 100;
/// What is asked for.
pub(super) const WANTED: [&str; 3] = ["message", "channel_post", "callback_query"];

/// The service, as one bot sees it. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Service {
    client: Client,
    common: Arc<Common>,
    base: Url,
    files: Url,
    token: Secret,
    /// The server puts files on this machine's disk.
    is_local: bool,
}

impl Service {
    pub(super) fn new(settings: &Settings, network: &Network, common: Arc<Common>) -> Result<Self, Failure> {
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        if let Some(fault) = &settings.fault {
            return Err(unusable(&fault.code, fault.message.clone()));
        }
        let Settings { base, files, token, is_local, .. } = settings.clone();
        let client = builder(&base, network, None).map(|client| match &common.ways {
            Some(ways) => client.dns_resolver(ways.clone()),
            None => client,
        });
        let client =
            client.and_then(build).map_err(|error| unusable("telegram_client", error.to_string()))?;
        Ok(Self { client, common, base, files, token, is_local })
    }

    /// Whether it is Telegram's own server, with its limits.
    pub(super) fn is_public(&self) -> bool {
        self.base.host_str() == Some("api.telegram.org")
    }

    /// Who the bot is.
    pub(super) async fn me(&self) -> Result<Me, Failure> {
        self.call("getMe", &json!({})).await
    }

    /// Confirms what is below `offset`, and returns what is not confirmed once there is some, at the latest after `patience`.
    pub(super) async fn updates(&self, offset: i64, patience: Duration) -> Result<Vec<Update>, Failure> {
        let body = json!({
            "offset": offset,
            "timeout": patience.as_secs(),
            "limit": MOST,
            "allowed_updates": WANTED,
        });
        let time = if patience.is_zero() { TIME } else { patience + POLLED };
        self.ask("getUpdates", &body, time).await.map(wire::updates)
    }

    /// Sends a message; its id.
    pub(super) async fn send(&self, body: &Value) -> Result<i64, Failure> {
        self.call("sendMessage", body).await.map(|Sent { message_id }| message_id)
    }

    /// Any other call.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: &Value,
    ) -> Result<T, Failure> {
        self.ask(method, body, TIME).await
    }

    /// Where a file is, and how long it is.
    pub(super) async fn find(&self, file_id: &str) -> Result<Found, Failure> {
        self.call("getFile", &json!({"file_id": file_id})).await
    }

    /// A file, as it comes.
    pub(super) async fn file(&self, file_id: &str) -> Result<ByteStream, Unfetched> {
        let found = self.find(file_id).await.map_err(|failure| unfetched(&failure))?;
        let gone = || Unfetched::Gone("Telegram does not say where the file is".to_owned());
        let path = found.file_path.ok_or_else(gone)?;
        if self.is_local && path.starts_with('/') {
            return self.local(path).await;
        }
        let url = self.place(&path).ok_or_else(gone)?;
        let sent = self.client.get(url).send().await.map_err(|error| unfetched(&self.lost(error)))?;
        match sent.status().as_u16() {
            200 => Ok(pieces(sent)),
            status @ (400 | 404 | 410) => Err(Unfetched::Gone(format!("Telegram says {status}"))),
            status => Err(Unfetched::Away(format!("Telegram says {status}"))),
        }
    }

    /// A file that the server has put on this machine's disk, in the bot's own directory, which is named by its token.
    async fn local(&self, path: String) -> Result<ByteStream, Unfetched> {
        let parts: Vec<Component<'_>> = Path::new(&path).components().collect();
        let is_own = parts.contains(&Component::Normal(self.token.expose().as_ref()));
        if !is_own || parts.contains(&Component::ParentDir) {
            let why = "the Bot API server names a file that is not in the bot's own directory";
            return Err(Unfetched::Gone(why.to_owned()));
        }
        let open = move || {
            // What is no file could keep whoever opens it waiting.
            let is_file = fs_err::metadata(&path)?.is_file();
            if is_file { fs_err::File::open(&path) } else { Err(io::ErrorKind::InvalidInput.into()) }
        };
        // An error's own text would have the path, and so the token.
        let text =
            |error: &io::Error| format!("the file of the Bot API server cannot be read: {}", error.kind());
        let opened = blocking::run(open).await.map_err(|_| Unfetched::Away("the worker ends".to_owned()))?;
        let file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Unfetched::Gone(text(&error)),
            _ => Unfetched::Away(text(&error)),
        })?;
        Ok(Box::pin(stream::try_unfold(file, move |mut file| async move {
            let read = move || {
                let mut piece = vec![0; PIECE];
                file.read(&mut piece).map(|read| {
                    piece.truncate(read);
                    (Bytes::from(piece), file)
                })
            };
            let read = blocking::run(read).await.map_err(|_| "the worker ends".to_owned())?;
            let (piece, file) = read.map_err(|error| text(&error))?;
            Ok((!piece.is_empty()).then_some((piece, file)))
        })))
    }

    /// The address of a file of the service. One that leads elsewhere would take the token along.
    fn place(&self, path: &str) -> Option<Url> {
        let mut url = self.files.clone();
        let parts = path.split('/').filter(|part| !part.is_empty());
        if path.split('/').any(|part| matches!(part, "." | "..")) {
            return None;
        }
        let last = format!("{}{}", url.path().rsplit('/').next().unwrap_or_default(), self.token.expose());
        // What stands in a segment is no separator.
        url.path_segments_mut().ok()?.pop().push(&last).extend(parts);
        Some(url)
    }

    fn method(&self, method: &str) -> Result<Url, Failure> {
        let text = format!("{}{}/{method}", self.base, self.token.expose());
        let url = Url::parse(&text).ok().filter(|url| url.origin() == self.base.origin());
        url.ok_or_else(|| Failure::Unusable {
            code: "telegram_base_url".to_owned(),
            reason: "the address of a method of the Bot API is none".to_owned(),
        })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: &'static str,
        body: &Value,
        time: Duration,
    ) -> Result<T, Failure> {
        let request = self.client.post(self.method(method)?).timeout(time).json(body);
        self.answered(method, &body["chat_id"], request).await
    }

    /// A call with a file, for a chat.
    pub(super) async fn upload(
        &self,
        method: &'static str,
        chat: &Value,
        form: Form,
    ) -> Result<Value, Failure> {
        let request = self.client.post(self.method(method)?).timeout(UPLOAD).multipart(form);
        self.answered(method, chat, request).await
    }

    /// Returns once the service has said that the token is none, to whomever. Cancel safe.
    pub(super) async fn refused(&self) -> Failure {
        self.common.refused().await
    }

    async fn answered<T: DeserializeOwned>(
        &self,
        method: &'static str,
        chat: &Value,
        request: RequestBuilder,
    ) -> Result<T, Failure> {
        self.common.may(method, chat)?;
        let answered = self.asked(method, request).await;
        if let Err(failure) = &answered {
            self.common.hear(failure, chat);
        }
        answered
    }

    async fn asked<T: DeserializeOwned>(
        &self,
        method: &'static str,
        request: RequestBuilder,
    ) -> Result<T, Failure> {
        let response = request.send().await.map_err(|error| self.lost(error))?;
        let (status, asked) = (response.status().as_u16(), retry_after(response.headers()));
        let bytes = self.body(method, response).await?;
        wire::answer(method, status, &bytes)?.map_err(|mut refusal| {
            refusal.retry_after = refusal.retry_after.or(asked.map(|asked| asked.as_secs()));
            refusal.description = self.clean(&refusal.description);
            Failure::Refused { what: method, refusal }
        })
    }

    async fn body(&self, what: &'static str, response: Response) -> Result<Vec<u8>, Failure> {
        answer::body(response, BODY).await.map_err(|error| match error {
            Unread::Lost(text) => Failure::Lost(self.clean(&text)),
            Unread::TooMuch => WireError::TooMuch(what).into(),
        })
    }

    /// What a request without an answer is.
    fn lost(&self, error: reqwest::Error) -> Failure {
        match Unanswered::from(error) {
            Unanswered::Unsent(text) => {
                if let Some(ways) = &self.common.ways {
                    ways.failed();
                }
                Failure::Unsent(self.clean(&text))
            }
            Unanswered::Lost(text) => Failure::Lost(self.clean(&text)),
        }
    }

    /// A text without the token.
    pub(super) fn clean(&self, text: &str) -> String {
        if self.token.is_empty() { text.to_owned() } else { text.replace(self.token.expose(), "***") }
    }
}

/// What a failed request is to a file.
fn unfetched(failure: &Failure) -> Unfetched {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { .. } => Unfetched::Gone(text),
        Failure::Refused { refusal, .. } if matches!(refusal.status, 400 | 404 | 410) => {
            Unfetched::Gone(text)
        }
        Failure::Refused { .. } | Failure::Unsent(_) | Failure::Lost(_) | Failure::Garbled(_) => {
            Unfetched::Away(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(base: &str) -> Service {
        let url = |end: &str| Url::parse(&format!("{base}{end}")).unwrap();
        Service {
            client: crate::outgoing::to(&url("/bot"), &Network::default(), None).unwrap(),
            common: Arc::default(),
            base: url("/bot"),
            files: url("/file/bot"),
            token: Secret::new("1:SECRET"),
            is_local: true,
        }
    }

    #[test]
    fn addresses_are_the_service_s_own_and_errors_hold_no_token() {
        let service = service("http://127.0.0.1:9/x");
        assert_eq!(service.method("getMe").unwrap().as_str(), "http://127.0.0.1:9/x/bot1:SECRET/getMe");
        for (path, expected) in [
            ("photos/a b.jpg", Some("http://127.0.0.1:9/x/file/bot1:SECRET/photos/a%20b.jpg")),
            ("//evil.example/x", Some("http://127.0.0.1:9/x/file/bot1:SECRET/evil.example/x")),
            ("x?y#z", Some("http://127.0.0.1:9/x/file/bot1:SECRET/x%3Fy%23z")),
            ("../../x", None),
            ("a/./b", None),
        ] {
            assert_eq!(service.place(path).as_ref().map(Url::as_str), expected, "{path}");
        }
        assert_eq!(service.clean("at /bot1:SECRET/getMe"), "at /bot***/getMe");
    }

    #[tokio::test]
    async fn a_local_server_s_files_are_read_from_disk_and_no_others() {
        use futures_util::TryStreamExt as _;

        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("1:SECRET");
        fs_err::create_dir(&own).unwrap();
        let long = "x".repeat(2 * PIECE + 7);
        fs_err::write(own.join("file_1"), &long).unwrap();
        fs_err::write(dir.path().join("other"), "x").unwrap();
        let service = service("http://127.0.0.1:9");
        let at = |path: std::path::PathBuf| service.local(path.to_str().unwrap().to_owned());
        let pieces: Vec<Bytes> = at(own.join("file_1")).await.unwrap().try_collect().await.unwrap();
        assert_eq!(pieces.concat(), long.as_bytes());
        for path in [dir.path().join("other"), own.join("../other"), own.join("nothing"), own.clone()] {
            let Err(error) = at(path.clone()).await else { panic!("{path:?}") };
            assert!(!error.to_string().contains("SECRET"), "{error}");
        }
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
