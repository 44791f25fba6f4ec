//! The HTTP client of a worker: built when it is first used, and small.
//!
//! Whom it trusts is decided in [`trust`](super::trust), by which way it goes in
//! [`network`](hermes_config::network): both by the profile's own `.env`, then by what the gateway was started with.
//! Every request of a worker goes out through a client that is built here. Redirects are never followed: the key would
//! travel along.

use std::sync::Arc;
use std::time::Duration;

use hermes_config::network::{Network, NoSuchProxy, Proxy};
use hermes_host::certificates;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;

use super::trust::Trust;
use crate::provider::Endpoint;

/// Name resolution, connection and TLS handshake together.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no client. No text holds a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// A variable names no proxy.
    #[error(transparent)]
    Proxy(#[from] NoSuchProxy),
    /// A variable names no certificates.
    #[error("{variable} ({}): {why}", origin(*is_own))]
    Certificates {
        /// Which.
        variable: &'static str,
        /// `.env` of the profile holds it.
        is_own: bool,
        /// What is wrong with them, with their path.
        why: String,
    },
    /// The library refuses.
    #[error("cannot make an HTTP client: {0}")]
    Library(String),
}

fn origin(is_own: bool) -> &'static str {
    if is_own { "in the profile's `.env`" } else { "in the gateway's environment" }
}

/// A client for one endpoint. `silence` ends a request whose server sends no byte for so long; `None` waits for ever.
pub(crate) fn build(endpoint: &Endpoint, silence: Option<Duration>) -> Result<Client, BuildError> {
    to(&endpoint.base_url, &endpoint.network, silence)
}

/// The same for any address.
pub(crate) fn to(address: &Url, network: &Network, silence: Option<Duration>) -> Result<Client, BuildError> {
    let proxy = proxy_to(address, network)?;
    let mut client = Client::builder()
        .tls_backend_preconfigured(tls(address, network, proxy.as_ref())?)
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("hermes/", env!("CARGO_PKG_VERSION")))
        // The library would look into the environment of this process.
        .no_proxy();
    if let Some(silence) = silence {
        client = client.read_timeout(silence);
    }
    // What the library says of an address may repeat it.
    let library = |what: &str| BuildError::Library(what.to_owned());
    if let Some(proxy) = proxy {
        let address = reqwest::Proxy::all(proxy.address().expose());
        client = client.proxy(address.map_err(|_| library("the address of the proxy is not accepted"))?);
    }
    client.build().map_err(|error| BuildError::Library(innermost(&error)))
}

/// The proxy that requests to `endpoint` go through.
pub(super) fn proxy(endpoint: &Endpoint) -> Result<Option<Proxy>, NoSuchProxy> {
    proxy_to(&endpoint.base_url, &endpoint.network)
}

fn proxy_to(address: &Url, network: &Network) -> Result<Option<Proxy>, NoSuchProxy> {
    let proxy = network.proxy(address)?;
    Ok(proxy.filter(|proxy| !is_excepted(address, &proxy.except)))
}

/// Whether `NO_PROXY` lists an address. The matching is the library's; Python's ways of writing the list are made curl's first:
/// blanks between entries, `*.domain`, brackets around an address, and a port, which must then be the one that is asked.
fn is_excepted(to: &Url, except: &str) -> bool {
    let port = to.port_or_known_default();
    let entry = |entry: &str| {
        let entry = entry.strip_prefix("*.").unwrap_or(entry);
        if entry.parse::<std::net::IpAddr>().is_ok() {
            return Some(entry.to_owned());
        }
        let (host, wanted) = match entry.rsplit_once(':') {
            Some((host, digits)) if digits.parse::<u16>().is_ok() => (host, digits.parse().ok()),
            _ => (entry, port),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        (wanted == port).then(|| host.to_owned())
    };
    let entries: Vec<String> =
        except.split([',', ' ', '\t', ';']).filter(|part| !part.is_empty()).filter_map(entry).collect();
    // The library compares names with it, and not addresses.
    if entries.iter().any(|entry| entry == "*") {
        return true;
    }
    let matcher = Matcher::builder().all("http://proxy".to_owned()).no(entries.join(",")).build();
    let Ok(uri) = to.as_str().parse() else { return false };
    matcher.intercept(&uri).is_none()
}

fn tls(address: &Url, network: &Network, proxy: Option<&Proxy>) -> Result<ClientConfig, BuildError> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let is_used = address.scheme() == "https" || proxy.is_some_and(|p| p.shown.starts_with("https:"));
    let named = if is_used { network.trusted() } else { Vec::new() };
    let mut certificates = Vec::new();
    for place in &named {
        let flaw = |why| BuildError::Certificates { variable: place.variable, is_own: place.is_own, why };
        certificates.append(&mut certificates::read(&place.path).map_err(|error| flaw(error.to_string()))?);
    }
    let verifier: Arc<dyn ServerCertVerifier> = match named.first() {
        None => Arc::new(Trust::platform(crypto.clone())),
        Some(place) => Arc::new(Trust::named(crypto.clone(), certificates).map_err(|error| {
            let why = format!("`{}`: {error}", place.path);
            BuildError::Certificates { variable: place.variable, is_own: place.is_own, why }
        })?),
    };
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .expect("ring serves both protocol versions that are compiled in")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(4);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The TLS error in the chain of `error`, if there is one.
pub(super) fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|e| e.downcast_ref::<rustls::Error>())
}

/// The text of the innermost error: the one that says what happened.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    chain(error).last().map(ToString::to_string).unwrap_or_default()
}

/// An error and its sources. An I/O error that wraps another one does not name it as its source; here it does.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        wrapped.map(|inner| -> &'a (dyn std::error::Error + 'static) { inner }).or_else(|| error.source())
    })
}
