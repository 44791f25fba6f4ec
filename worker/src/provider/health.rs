//! Whether the provider answers: what the last calls came to, for everybody who looks.
//!
//! A failure that is the provider's is kept until a call succeeds, with its class, its time and how many there were in a row. The log
//! gets one line when the kind changes and one when it is over, however many calls fail. A turn's own failure (a request that was
//! refused for what it says) tells nothing about the provider and changes nothing.

use std::sync::Arc;

use hermes_wire::latest::LastError;
use tokio::sync::watch;
use tracing::{info, warn};

use super::Fault;
use crate::clock;

/// What is known of the provider. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<watch::Sender<Option<LastError>>>);

impl Health {
    /// Nothing failed yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// The last failure, unless a call succeeded since, and every change of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<LastError>> {
        self.0.subscribe()
    }

    /// A call failed. `message` holds no secret.
    pub(crate) fn failed(&self, provider: &str, fault: Fault, code: Option<u16>, message: &str) {
        let at = clock::now();
        let mut is_new = false;
        let mut count = 0;
        self.0.send_modify(|last| {
            let before = last.take();
            is_new = before.as_ref().is_none_or(|b| (b.class.as_str(), b.code) != (fault.code(), code));
            count = before.as_ref().map_or(0, |before| before.count).saturating_add(1);
            *last = Some(LastError {
                provider: provider.to_owned(),
                class: fault.code().to_owned(),
                code,
                message: message.to_owned(),
                since: before.map_or_else(|| at.clone(), |before| before.since),
                at,
                count,
            });
        });
        if is_new {
            warn!(provider, class = fault.code(), code, count, "the provider gives no answer: {message}");
        }
    }

    /// A call succeeded.
    pub(crate) fn answered(&self) {
        let mut over = None;
        self.0.send_if_modified(|last| {
            over = last.take();
            over.is_some()
        });
        if let Some(LastError { provider, count, since, .. }) = over {
            info!(provider, failures = count, since, "the provider answers again");
        }
    }
}
