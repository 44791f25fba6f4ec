//! A platform: one way into (and out of) this profile.
//!
//! One file or folder under `platform/` each, plus one line in [`registry`]. The trait has exactly what differs: HTTP-inbound
//! platforms contribute routes; connection platforms (none yet) will do their work in `start`.

use std::future::Future;
use std::pin::Pin;

use tokio_util::sync::CancellationToken;

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
