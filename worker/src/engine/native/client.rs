//! The HTTP client of a provider.

use std::time::Duration;

use hermes_config::network::{NoSuchProxy, Proxy};
use reqwest::Client;

pub(crate) use crate::outgoing::{BuildError, CONNECT_TIMEOUT, Special, innermost, specially, tls_error, to};

use crate::outgoing::proxy_to;
use crate::provider::Endpoint;

/// A client for one endpoint. `silence` ends a request whose server sends no byte for so long; `None` waits for ever.
pub(crate) fn build(endpoint: &Endpoint, silence: Option<Duration>) -> Result<Client, BuildError> {
    to(&endpoint.base_url, &endpoint.network, silence)
}

/// The proxy that requests to `endpoint` go through.
pub(super) fn proxy(endpoint: &Endpoint) -> Result<Option<Proxy>, NoSuchProxy> {
    proxy_to(&endpoint.base_url, &endpoint.network)
}
