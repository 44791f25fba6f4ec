//! Requests to the bridge, and what can become of them.

use std::time::Duration;

use futures_util::StreamExt as _;
use hermes_config::Secret;
use hermes_config::network::Network;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::{Value, json};

use super::wire::{self, Health, Heard};
use crate::outgoing;
use crate::outgoing::answer::{self, Unanswered, Unread, retry_after};

/// Most that is read of one answer, in bytes: a hundred messages of the longest.
const BODY: usize = 64 * 1024 * 1024;
/// Time for a look at the bridge.
const LOOK: Duration = Duration::from_secs(5);
/// How long the bridge holds a question for messages back, in seconds.
pub(super) const WAIT: u64 = 3;

/// What became of a request that got no proper answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// It cannot be made.
    #[error("{0}")]
    Unusable(String),
    /// Answered with an error.
    #[error("{what}: the bridge says {status}{}", if .text.is_empty() { String::new() } else { format!(": {}", .text) })]
    Status {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        status: u16,
        /// What it says.
        text: String,
        /// What it asks to wait.
        after: Option<Duration>,
    },
    /// It did not get there.
    #[error("the bridge is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the bridge was lost: {0}")]
    Lost(String),
    /// The answer is none of a bridge.
    #[error("{0}: what answers is no bridge of WhatsApp")]
    Garbled(&'static str),
    /// The bridge did not do it.
    #[error("{0}")]
    Refused(String),
}

/// A bridge, wherever it is. Cloning shares the connections.
#[derive(Clone)]
pub(super) struct Service {
    client: Client,
    base: Url,
    secret: Option<Secret>,
}

impl Service {
    /// One at an address.
    pub(super) fn new(base: Url, secret: Option<Secret>, network: &Network) -> Result<Self, Failure> {
        let client =
            outgoing::to(&base, network, None).map_err(|error| Failure::Unusable(error.to_string()))?;
        Ok(Self { client, base, secret })
    }

    /// One of this machine, by its port.
    pub(super) fn local(port: u16, secret: Option<Secret>) -> Result<Self, Failure> {
        let base = Url::parse(&format!("http://127.0.0.1:{port}"));
        let base = base.map_err(|_| Failure::Unusable("the bridge's port is none".to_owned()))?;
        Self::new(base, secret, &Network::default())
    }

    /// Another one of this machine, over the same client.
    pub(super) fn at(&self, port: u16, secret: Option<Secret>) -> Result<Self, Failure> {
        let mut base = self.base.clone();
        base.set_port(Some(port)).map_err(|()| Failure::Unusable("the bridge's port is none".to_owned()))?;
        Ok(Self { client: self.client.clone(), base, secret })
    }

    /// How the bridge is.
    pub(super) async fn health(&self) -> Result<Health, Failure> {
        let request = self.request(self.client.get(self.url("health")?).timeout(LOOK));
        let body = read(ask("health", request).await?).await?;
        wire::health(&body).ok_or(Failure::Garbled("health"))
    }

    /// What came. `after`: the last message that was seen, of a bridge that keeps them until they are confirmed.
    pub(super) async fn messages(&self, after: Option<u64>) -> Result<Vec<Heard>, Failure> {
        let mut url = self.url("messages")?;
        let mut time = LOOK;
        if let Some(after) = after {
            let wait = WAIT.to_string();
            url.query_pairs_mut().extend_pairs([
                ("ack", "1"),
                ("wait", &wait),
                ("after", &after.to_string()),
            ]);
            time += Duration::from_secs(WAIT);
        }
        let request = self.request(self.client.get(url).timeout(time));
        let body = read(ask("messages", request).await?).await?;
        wire::messages(&body).ok_or(Failure::Garbled("messages"))
    }

    /// These are taken over.
    pub(super) async fn confirm(&self, seqs: &[u64]) -> Result<(), Failure> {
        self.post("ack", &json!({"seqs": seqs}), LOOK).await.map(drop)
    }

    /// Has something sent or changed; the id of what was sent.
    pub(super) async fn call(
        &self,
        what: &'static str,
        body: &Value,
        time: Duration,
    ) -> Result<Option<String>, Failure> {
        let answer = self.post(what, body, time).await?;
        wire::sent(&answer).ok_or(Failure::Garbled(what))?.map_err(Failure::Refused)
    }

    async fn post(&self, what: &'static str, body: &Value, time: Duration) -> Result<Vec<u8>, Failure> {
        let request = self.request(self.client.post(self.url(what)?).timeout(time).json(body));
        read(ask(what, request).await?).await
    }

    fn request(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.secret {
            Some(secret) => request.bearer_auth(secret.expose()),
            None => request,
        }
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        let base = self.base.as_str().trim_end_matches('/');
        Url::parse(&format!("{base}/{path}")).map_err(|_| {
            Failure::Unusable("the bridge's address is none that anything could stand behind".to_owned())
        })
    }
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
    let text = match tokio::time::timeout(LOOK, response.bytes_stream().next()).await {
        Ok(Some(Ok(piece))) => wire::error(&piece),
        _ => String::new(),
    };
    Err(Failure::Status { what, status, text, after })
}

async fn read(response: Response) -> Result<Vec<u8>, Failure> {
    answer::body(response, BODY).await.map_err(|error| match error {
        Unread::Lost(text) => Failure::Lost(text),
        Unread::TooMuch => Failure::Lost("its answer is too long".to_owned()),
    })
}
