//! What is sent to providers, for whoever wants to see it exactly: each request while somebody looks, and the last one.
//!
//! Nothing is copied and nothing is written: the bytes are those of the request. The last body is kept while it is at most
//! [`MAX_KEPT`] long; of a longer one it is known how long it was. Secrets are taken out when a request is shown, not before.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hermes_config::Secret;
use hermes_host::clock;
use hermes_wire::terminal::Sent;
use http::HeaderMap;
use tokio::sync::broadcast;

use crate::logging::redacted;
use crate::provider::{Endpoint, NO_KEY};

/// Longest body that is kept behind its call.
const MAX_KEPT: usize = 1024 * 1024;
/// Requests that may wait for somebody who looks; of more the oldest are lost, which is said.
const WAITING: usize = 16;
/// What stands in the place of a secret.
const MASK: &str = "***";

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) session: String,
    at: jiff::Timestamp,
    url: String,
    /// Values of secrets are masked already.
    headers: Vec<(String, String)>,
    body: Option<Bytes>,
    bytes: u64,
    key: Secret,
}

/// Where requests are told of. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Tap(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    watchers: broadcast::Sender<Arc<Request>>,
    last: Mutex<Option<Arc<Request>>>,
}

impl Default for Tap {
    fn default() -> Self {
        Self(Arc::new(Inner { watchers: broadcast::Sender::new(WAITING), last: Mutex::default() }))
    }
}

impl Tap {
    /// A request is about to be sent.
    pub(super) fn sent(&self, session: &str, endpoint: &Endpoint, headers: &HeaderMap, body: &Bytes) {
        let mut request = Request {
            session: session.to_owned(),
            at: clock::utc(),
            url: shown(endpoint),
            headers: headers.iter().map(|(name, value)| (name.to_string(), shown_value(value))).collect(),
            body: Some(body.clone()),
            bytes: body.len() as u64,
            key: endpoint.key.clone(),
        };
        request.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        request.headers.sort();
        if self.0.watchers.receiver_count() > 0 {
            // Whoever looked has just gone.
            let _gone = self.0.watchers.send(Arc::new(request.clone()));
        }
        if body.len() > MAX_KEPT {
            request.body = None;
        }
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(request));
    }

    /// Every request from now on.
    pub(crate) fn watch(&self) -> broadcast::Receiver<Arc<Request>> {
        self.0.watchers.subscribe()
    }

    /// The last request.
    pub(crate) fn last(&self) -> Option<Arc<Request>> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The address without its query, which may hold a key.
fn shown(endpoint: &Endpoint) -> String {
    let mut url = endpoint.turn_url();
    url.set_query(None);
    url.set_fragment(None);
    // Nobody needs them to know where it went.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

fn shown_value(value: &http::HeaderValue) -> String {
    if value.is_sensitive() {
        return MASK.to_owned();
    }
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

impl Request {
    /// As people may see it: without any of `secrets`.
    pub(crate) fn shown(&self, secrets: &[Secret]) -> Sent {
        let masked = |text: &str| {
            let text = redacted(text, secrets);
            let key = self.key.expose().trim();
            if key.is_empty() || key == NO_KEY { text.into_owned() } else { text.replace(key, MASK) }
        };
        Sent {
            session: self.session.clone(),
            at: self.at.to_string(),
            url: masked(&self.url),
            headers: self.headers.iter().map(|(name, value)| (name.clone(), masked(value))).collect(),
            body: self.body.as_ref().map(|body| masked(&String::from_utf8_lossy(body))),
            bytes: self.bytes,
        }
    }
}
