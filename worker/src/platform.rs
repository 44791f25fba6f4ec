//! A platform: one way into (and out of) this profile.
//!
//! One file or folder under `platform/` each, plus one line in [`registry`]. The trait has exactly what differs: HTTP-inbound
//! platforms contribute routes; connection platforms (none yet) will do their work in `start`.

mod api_server;
#[cfg(test)]
mod harness;
mod webhook;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hermes_config::ProfileConfig;
use hermes_wire::ProfileHome;
use hermes_wire::latest::BoundListener;
use tokio_util::sync::CancellationToken;

use crate::delivery::Deliveries;
use crate::inbox::Inbox;
use crate::status::Status;
use crate::turn::Turns;

/// A boxed future of a platform.
pub type PlatformFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a platform could not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlatformError {
    /// For programs; shown in the status file.
    pub code: String,
    /// For people.
    pub message: String,
    /// `false`: a retry cannot help until the files change (`fatal`); `true`: `retrying`.
    pub retryable: bool,
}

/// One adapter.
pub trait Platform: Send + Sync {
    /// Name in configuration, status and logs.
    fn name(&self) -> &'static str;

    /// Routes on the data socket, without prefix. They are merged with those of the other platforms.
    fn routes(&self) -> axum::Router;

    /// Connects. Returns when the platform is usable.
    fn start(&self) -> PlatformFuture<'_, Result<(), PlatformError>>;

    /// Takes in nothing new; finishes what it holds. Returns early when `now` is cancelled.
    fn drain(&self, now: CancellationToken) -> PlatformFuture<'_, ()>;
}

/// What platforms are made of.
#[derive(Clone)]
pub struct Context {
    /// The profile's settings.
    pub config: Arc<ProfileConfig>,
    /// The profile's home.
    pub home: ProfileHome,
    /// The way in for events.
    pub inbox: Inbox,
    /// Turns whose client waits.
    pub turns: Turns,
    /// The way out for what needs no turn.
    pub deliveries: Deliveries,
    /// What this worker says about itself.
    pub status: Status,
    /// The gateway's listeners, as bound: rules that hold on loopback only look at these.
    pub listeners: Vec<BoundListener>,
    /// The whole environment of a program that a platform starts (route scripts): the allow-list of this process, plus
    /// `HERMES_HOME` and `HERMES_PROFILE`. No secret is in it.
    pub child_env: Vec<(String, String)>,
}

/// The platforms that this profile's configuration turns on and this build has an adapter for.
pub fn registry(context: &Context) -> Vec<Arc<dyn Platform>> {
    let mut platforms: Vec<Arc<dyn Platform>> = Vec::new();
    if let Some(config) = &context.config.webhook {
        platforms.push(Arc::new(webhook::Webhook::new(config, context)));
    }
    if let Some(config) = &context.config.api_server {
        platforms.push(Arc::new(api_server::ApiServer::new(config, context)));
    }
    platforms
}
