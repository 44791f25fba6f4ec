//! Requests to the Bot API, and what can become of them. The token is a part of every address, and of no text that is made here.

use std::time::Duration;

use futures_util::StreamExt as _;
use hermes_config::Secret;
use hermes_config::network::Network;
use reqwest::{Client, Response, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::settings::Settings;
use super::wire::{self, Found, Me, Refusal, Sent, Update, WireError};
use crate::handover::{ByteStream, Unfetched};
use crate::outgoing::{innermost, to};

/// Most that is read of one answer, in bytes.
const BODY: usize = 16 * 1024 * 1024;
/// Time for a request beyond what the service may take for it.
const TIME: Duration = Duration::from_secs(20);
/// The same for a poll: a half-open connection is known by it.
const POLLED: Duration = Duration::from_secs(10);
/// Most updates in one answer.
const MOST: u32 = 100;
/// What is asked for.
const WANTED: [&str; 3] = ["message", "channel_post", "callback_query"];

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
    /// Answered with an error.
    #[error("{what}: Telegram says {}", said(refusal))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        refusal: Refusal,
    },
    /// It did not get there.
    #[error("Telegram is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the connection to Telegram broke: {0}")]
    Lost(String),
    /// The answer is none.
    #[error(transparent)]
    Garbled(#[from] WireError),
}

fn said(refusal: &Refusal) -> String {
    let Refusal { status, description, .. } = refusal;
    if description.is_empty() { status.to_string() } else { format!("{status} ({description})") }
}

/// The service, as one bot sees it. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Service {
    client: Client,
    base: Url,
    files: Url,
    token: Secret,
}

impl Service {
    pub(super) fn new(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        if let Some(fault) = &settings.fault {
            return Err(unusable(&fault.code, fault.message.clone()));
        }
        let client = to(&settings.base, network, None)
            .map_err(|error| unusable("telegram_client", error.to_string()))?;
        let Settings { base, files, token, .. } = settings.clone();
        Ok(Self { client, base, files, token })
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
        let url = self.place(&found.file_path.ok_or_else(gone)?).ok_or_else(gone)?;
        let sent = self.client.get(url).send().await.map_err(|error| unfetched(&self.lost(&error)))?;
        match sent.status().as_u16() {
            200 => {
                let bytes = sent.bytes_stream();
                Ok(Box::pin(bytes.map(|piece| piece.map_err(|error| innermost(&error.without_url())))))
            }
            status @ (400 | 404 | 410) => Err(Unfetched::Gone(format!("Telegram says {status}"))),
            status => Err(Unfetched::Away(format!("Telegram says {status}"))),
        }
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
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        let status = response.status().as_u16();
        let asked = response.headers().get(http::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let asked: Option<u64> = asked.and_then(|value| value.trim().parse().ok());
        let bytes = self.body(method, response).await?;
        wire::answer(method, status, &bytes)?.map_err(|mut refusal| {
            refusal.retry_after = refusal.retry_after.or(asked.map(|asked| asked.min(3600)));
            refusal.description = self.clean(&refusal.description);
            Failure::Refused { what: method, refusal }
        })
    }

    async fn body(&self, what: &'static str, response: Response) -> Result<Vec<u8>, Failure> {
        let mut pieces = response.bytes_stream();
        let mut body = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|error| Failure::Lost(self.clean(&innermost(&error.without_url()))))?;
            if body.len() + piece.len() > BODY {
                return Err(WireError::TooMuch(what).into());
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    /// What a request without an answer is. The library's own text may repeat the address.
    fn lost(&self, error: &reqwest::Error) -> Failure {
        let text =
            if error.is_timeout() { "no answer in time".to_owned() } else { self.clean(&innermost(error)) };
        if error.is_connect() || error.is_builder() { Failure::Unsent(text) } else { Failure::Lost(text) }
    }

    /// A text without the token.
    fn clean(&self, text: &str) -> String {
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
            client: to(&url("/bot"), &Network::default(), None).unwrap(),
            base: url("/bot"),
            files: url("/file/bot"),
            token: Secret::new("1:SECRET"),
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
    async fn what_is_not_reached_says_so_without_the_token() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let failure = service(&format!("http://{address}")).me().await.unwrap_err();
        assert!(matches!(failure, Failure::Unsent(_)), "{failure:?}");
        assert!(!format!("{failure:?} {failure}").contains("SECRET"), "{failure}");
    }
}
