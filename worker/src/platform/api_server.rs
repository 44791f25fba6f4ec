//! The OpenAI-compatible API of one profile.

use hermes_protocol::config;
use tokio_util::sync::CancellationToken;

use super::{Context, Platform, PlatformError, PlatformFuture};

/// The platform `api_server`.
pub(super) struct ApiServer {}

impl ApiServer {
    pub(super) fn new(config: &config::ApiServer, context: &Context) -> Self {
        let _ = (config, context);
        Self {}
    }
}

impl Platform for ApiServer {
    fn name(&self) -> &'static str {
        "api_server"
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
