//! Whether the provider answers: what the last calls came to, for everybody who looks.
//!
//! A failure that is the provider's is kept until a call succeeds, with its class, its time and how many there were in a row. The log
//! gets one line when the kind changes and one when it is over, however many calls fail. A turn's own failure (a request that was
//! refused for what it says) tells nothing about the provider and changes nothing.
//!
//! Of a provider with several keys it is kept how many there are, and why and until when some are left alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use hermes_wire::latest::LastError;
use tokio::sync::watch;
use tracing::{info, warn};

use super::Fault;
use crate::clock;

/// What is known of the provider. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) struct Health(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    last: watch::Sender<Option<LastError>>,
    keys: watch::Sender<Pools>,
}

/// What is known of keys, by their provider.
pub(crate) type Pools = BTreeMap<String, Standing>;

/// The keys of a provider that has several.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Standing {
    /// How many there are.
    pub(crate) keys: usize,
    /// Of those that were refused: the class of the failure, and until when they are left alone, in seconds since the epoch; that may be over.
    pub(crate) left_alone: Vec<(&'static str, f64)>,
}

impl Health {
    /// Nothing failed yet.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { last: watch::Sender::new(None), keys: watch::Sender::default() }))
    }

    /// The last failure, unless a call succeeded since, and every change of it.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<LastError>> {
        self.0.last.subscribe()
    }

    /// What is known of keys, and every change of it.
    pub(crate) fn pools(&self) -> watch::Receiver<Pools> {
        self.0.keys.subscribe()
    }

    /// How the keys of a provider are now.
    pub(crate) fn keys(&self, provider: &str, standing: Standing) {
        self.0.keys.send_if_modified(|pools| {
            let is_new = pools.get(provider) != Some(&standing);
            pools.insert(provider.to_owned(), standing);
            is_new
        });
    }

    /// A call failed. `message` holds no secret.
    pub(crate) fn failed(&self, provider: &str, fault: Fault, code: Option<u16>, message: &str) {
        let at = clock::now();
        let mut is_new = false;
        let mut count = 0;
        self.0.last.send_modify(|last| {
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
        self.0.last.send_if_modified(|last| {
            over = last.take();
            over.is_some()
        });
        if let Some(LastError { provider, count, since, .. }) = over {
            info!(provider, failures = count, since, "the provider answers again");
        }
    }
}
