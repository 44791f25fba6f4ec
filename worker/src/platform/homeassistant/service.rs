//! Requests to the house, and what can become of them. The token is in a header of each, and in no text that is made here.

use std::sync::Arc;
use std::time::Duration;

use hermes_config::Secret;
use hermes_config::network::Network;
use reqwest::{Client, RequestBuilder, Response, Url};
use serde_json::Value;
use tokio::sync::watch;

use super::settings::Settings;
use super::wire;
use crate::outgoing::answer::{self, Unanswered, retry_after};
use crate::outgoing::to;

/// Most that is read of one answer, in bytes.
const BODY: usize = 1024 * 1024;
/// Time for a request.
const TIME: Duration = Duration::from_secs(15);

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
    /// Home Assistant takes the token for none: nothing more is asked with it.
    #[error(
        "Home Assistant takes HASS_TOKEN for none (any more): make another long-lived access token, and see that this machine is not banned"
    )]
    Revoked,
    /// Answered with an error.
    #[error("{what}: Home Assistant says {status}{}", said(message))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// How it was answered.
        status: u16,
        /// In its own words.
        message: String,
        /// The wait that it asks for.
        retry_after: Option<Duration>,
    },
    /// It did not get there.
    #[error("Home Assistant is not reached: {0}")]
    Unsent(String),
    /// It may have got there.
    #[error("the connection to Home Assistant broke: {0}")]
    Lost(String),
}

fn said(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

/// The house. Cloning shares it.
#[derive(Clone)]
pub(super) struct Service(Arc<Inner>);

struct Inner {
    client: Client,
    base: Url,
    token: Secret,
    revoked: watch::Sender<bool>,
}

impl Service {
    pub(super) fn new(settings: &Settings, network: &Network) -> Result<Self, Failure> {
        let unusable = |code: &str, reason: String| Failure::Unusable { code: code.to_owned(), reason };
        if let Some(fault) = &settings.fault {
            return Err(unusable(&fault.code, fault.message.clone()));
        }
        let Some(base) = settings.base.clone() else {
            return Err(unusable("homeassistant_config_missing", "homeassistant has no address".to_owned()));
        };
        let client =
            to(&base, network, None).map_err(|error| unusable("homeassistant_client", error.to_string()))?;
        let revoked = watch::Sender::new(false);
        Ok(Self(Arc::new(Inner { client, base, token: settings.token.clone(), revoked })))
    }

    pub(super) fn token(&self) -> &Secret {
        &self.0.token
    }

    /// Returns once Home Assistant has said that the token is none. Cancel safe.
    pub(super) async fn revoked(&self) {
        let mut revoked = self.0.revoked.subscribe();
        // The sender lives as long as this.
        let _ = revoked.wait_for(|is_revoked| *is_revoked).await;
    }

    /// The token is none any more.
    pub(super) fn revoke(&self) {
        self.0.revoked.send_replace(true);
    }

    pub(super) fn is_revoked(&self) -> bool {
        *self.0.revoked.borrow()
    }

    /// Where the socket is opened.
    pub(super) fn socket(&self) -> Result<Url, Failure> {
        let mut url = self.url("api/websocket")?;
        let scheme = if url.scheme() == "https" { "wss" } else { "ws" };
        // From one of the web's own schemes to the other.
        let _ = url.set_scheme(scheme);
        Ok(url)
    }

    /// What the house is called, and its version; none: what answers is none.
    pub(super) async fn about(&self) -> Result<Option<(String, String)>, Failure> {
        let request = self.0.client.get(self.url("api/config")?);
        Ok(wire::about(&self.bytes("config", request).await?))
    }

    /// Shows a notification, in place of the one of this name.
    pub(super) async fn notify(&self, body: &Value) -> Result<(), Failure> {
        let url = self.url("api/services/persistent_notification/create")?;
        self.bytes("the notification", self.0.client.post(url).json(body)).await.map(drop)
    }

    async fn bytes(&self, what: &'static str, request: RequestBuilder) -> Result<Vec<u8>, Failure> {
        if self.is_revoked() {
            return Err(Failure::Revoked);
        }
        let request = request.bearer_auth(self.0.token.expose()).timeout(TIME);
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        // A machine that showed wrong tokens is banned, and hears 403 from then on.
        if matches!(status, 401 | 403) {
            self.revoke();
            return Err(Failure::Revoked);
        }
        let retry_after = retry_after(response.headers());
        let body = body(response).await;
        if (200..300).contains(&status) {
            return body;
        }
        let message = wire::message(&body.unwrap_or_default());
        Err(Failure::Refused { what, status, message, retry_after })
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        self.0.base.join(path).map_err(|_| Failure::Unusable {
            code: "homeassistant_url".to_owned(),
            reason: "nothing can stand below Home Assistant's address".to_owned(),
        })
    }
}

async fn body(response: Response) -> Result<Vec<u8>, Failure> {
    answer::body(response, BODY).await.map_err(|error| match error {
        answer::Unread::Lost(text) => Failure::Lost(text),
        answer::Unread::TooMuch => Failure::Lost("the answer is too long".to_owned()),
    })
}

/// What a request without an answer is.
fn lost(error: reqwest::Error) -> Failure {
    match Unanswered::from(error) {
        Unanswered::Unsent(text) => Failure::Unsent(text),
        Unanswered::Lost(text) => Failure::Lost(text),
    }
}
