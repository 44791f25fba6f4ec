//! Requests to the service, and what can become of them.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use hermes_config::network::Network;
use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;

use super::settings::Settings;
use super::wire::{self, Updates, WireError};
use crate::engine::native::client;
use crate::handover::{ByteStream, Unfetched};
use crate::outgoing::answer::{self, Unanswered, Unread, pieces, retry_after};

/// Most that is read of one answer, in bytes.
const BODY: usize = 4 * 1024 * 1024;
/// Silence that ends a request which is not a poll.
const SILENCE: Duration = Duration::from_secs(20);

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
    #[error("{what}: the service says {status}")]
    Status {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        status: u16,
        /// The wait that was asked for.
        retry_after: Option<Duration>,
    },
    /// It did not get there.
    #[error("the service is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the service was lost: {0}")]
    Lost(String),
    /// The answer is none.
    #[error(transparent)]
    Garbled(#[from] WireError),
}

/// The service, as one profile's bot sees it. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Service {
    client: Client,
    base: Url,
    token: hermes_config::Secret,
    /// Tells this connection's polls from those of another one, for the service.
    poller: String,
}

impl Service {
    pub(super) fn new(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        if let Some(fault) = &settings.fault {
            return Err(unusable(&fault.code, fault.message.clone()));
        }
        let Some(base) = settings.base.clone() else {
            return Err(unusable("testchat_config_missing", "testchat has no address".to_owned()));
        };
        let client = client::to(&base, network, None)
            .map_err(|error| unusable("testchat_client", error.to_string()))?;
        let poller = format!("{}-{:016x}", std::process::id(), RandomState::new().hash_one(()));
        Ok(Self { client, base, token: settings.token.clone(), poller })
    }

    /// Confirms what is below `offset`, and returns what is not confirmed once there is some, at the latest after `patience`.
    pub(super) async fn updates(&self, offset: u64, patience: Duration) -> Result<Updates, Failure> {
        let mut url = self.url("updates")?;
        let timeout = patience.as_secs().to_string();
        url.query_pairs_mut().append_pair("offset", &offset.to_string()).append_pair("timeout", &timeout);
        let request = self.client.get(url).header("X-Poller", &self.poller);
        // A poll that is silent for too long is the worker's to find; one that need not wait is like any other request.
        let request = if patience.is_zero() { request.timeout(SILENCE) } else { request };
        Ok(wire::updates(&self.answer("updates", request).await?)?)
    }

    /// Sends a message; its id.
    pub(super) async fn send(&self, chat: &str, text: &str, key: &str) -> Result<String, Failure> {
        let body = serde_json::json!({"chat": chat, "text": text});
        let request = self.client.post(self.url("send")?).header("Idempotency-Key", key);
        Ok(wire::sent(&self.answer("send", json(request, &body)).await?)?)
    }

    /// Sends a file; its id.
    pub(super) async fn send_file(
        &self,
        about: &[(&str, &str)],
        bytes: Vec<u8>,
        key: &str,
    ) -> Result<String, Failure> {
        let mut url = self.url("file")?;
        url.query_pairs_mut().extend_pairs(about);
        let request = self.client.post(url).header("Idempotency-Key", key).timeout(SILENCE).body(bytes);
        Ok(wire::sent(&self.answer("file", request).await?)?)
    }

    /// Any other call, whose answer says nothing.
    pub(super) async fn call(&self, what: &'static str, body: &Value) -> Result<(), Failure> {
        self.answer(what, json(self.client.post(self.url(what)?), body)).await.map(drop)
    }

    /// A file below the service's address, as it comes.
    pub(super) async fn file(&self, path: &str) -> Result<ByteStream, Unfetched> {
        let url = self.url(path.trim_start_matches('/')).map_err(|failure| unfetched(&failure))?;
        let response = self.ask("file", self.client.get(url)).await.map_err(|failure| unfetched(&failure))?;
        Ok(pieces(response))
    }

    /// An address of the service. One that leads elsewhere would take the token along.
    fn url(&self, path: &str) -> Result<Url, Failure> {
        let base = self.base.as_str().trim_end_matches('/');
        let url = Url::parse(&format!("{base}/{path}")).ok().filter(|url| url.origin() == self.base.origin());
        url.ok_or_else(|| Failure::Unusable {
            code: "testchat_address".to_owned(),
            reason: "an address is none of the service's".to_owned(),
        })
    }

    async fn answer(&self, what: &'static str, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        let response = self.ask(what, request).await?;
        answer::body(response, BODY).await.map_err(|error| match error {
            Unread::Lost(text) => Failure::Lost(text),
            Unread::TooMuch => WireError::TooMuch("more than 4 MiB").into(),
        })
    }

    async fn ask(&self, what: &'static str, request: RequestBuilder) -> Result<Response, Failure> {
        let sent = request.bearer_auth(self.token.expose()).send().await;
        let response = sent.map_err(|error| match Unanswered::from(error) {
            Unanswered::Unsent(text) => Failure::Unsent(text),
            Unanswered::Lost(text) => Failure::Lost(text),
        })?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        Err(Failure::Status {
            what,
            status: response.status().as_u16(),
            retry_after: retry_after(response.headers()),
        })
    }
}

/// What a failed request is to a file.
fn unfetched(failure: &Failure) -> Unfetched {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { .. } | Failure::Status { status: 404 | 410, .. } => Unfetched::Gone(text),
        Failure::Status { .. } | Failure::Unsent(_) | Failure::Lost(_) | Failure::Garbled(_) => {
            Unfetched::Away(text)
        }
    }
}

fn json(request: RequestBuilder, body: &Value) -> RequestBuilder {
    request.timeout(SILENCE).json(body)
}
