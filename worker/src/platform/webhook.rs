//! Signed events from other systems: `POST /webhooks/{route}`.

mod event;
mod filter;
mod payload;
mod rate;
mod routes;
mod script;
mod signature;
mod template;

use hermes_protocol::config;
use tokio_util::sync::CancellationToken;

use super::{Context, Platform, PlatformError, PlatformFuture};

/// The platform `webhook`.
pub(super) struct Webhook {}

impl Webhook {
    pub(super) fn new(config: &config::Webhook, context: &Context) -> Self {
        let _ = (config, context);
        Self {}
    }
}

impl Platform for Webhook {
    fn name(&self) -> &'static str {
        "webhook"
    }

    fn routes(&self) -> axum::Router {
        axum::Router::new()
    }

    fn start(&self) -> PlatformFuture<'_, Result<(), PlatformError>> {
        Box::pin(async { Ok(()) })
    }

    fn drain(&self, _now: CancellationToken) -> PlatformFuture<'_, ()> {
        Box::pin(async {})
    }
}
