//! HTTP clients of a worker: built when they are first used, and small; and [streams](stream) to services that speak no HTTP.
//!
//! Whom they trust is decided in [`trust`], by which way they go in
//! [`network`](hermes_config::network): both by the profile's own `.env`, then by what the gateway was started with.
//! Every request of a worker goes out through what is built here. Redirects are never followed: the key would
//! travel along.

pub(crate) mod answer;
pub(crate) mod file;
#[cfg(test)]
pub(crate) mod secured;
pub(crate) mod stream;
mod trust;
pub(crate) mod websocket;

use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::network::{Network, NoSuchProxy, Proxy};
use hermes_config::servers::Verify;
use hermes_host::certificates;
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Url};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WantsClientCert};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder};

use trust::Trust;

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
    /// A file that settings name holds no certificate or no key.
    #[error("`{path}`: {why}")]
    Own {
        /// Which.
        path: Utf8PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The library refuses.
    #[error("cannot make an HTTP client: {0}")]
    Library(String),
}

fn origin(is_own: bool) -> &'static str {
    if is_own { "in the profile's `.env`" } else { "in the gateway's environment" }
}

/// A client for one address. `silence` ends a request whose server sends no byte for so long; `None` waits for ever.
pub(crate) fn to(address: &Url, network: &Network, silence: Option<Duration>) -> Result<Client, BuildError> {
    build(builder(address, network, silence)?)
}

/// What such a client is made of, for whoever has more to say about it.
pub(crate) fn builder(
    address: &Url,
    network: &Network,
    silence: Option<Duration>,
) -> Result<ClientBuilder, BuildError> {
    let proxy = proxy_to(address, network)?;
    let tls = tls(is_encrypted(address, proxy.as_ref()), network, None)?;
    with(tls, proxy, silence)
}

/// The client.
pub(crate) fn build(client: ClientBuilder) -> Result<Client, BuildError> {
    client.build().map_err(|error| BuildError::Library(innermost(&error)))
}

/// What one address has of its own.
#[derive(Debug)]
pub(crate) struct Special<'a> {
    /// Whose certificates are believed.
    pub(crate) verify: &'a Verify,
    /// What paths are relative to.
    pub(crate) base: &'a Utf8Path,
    /// The certificate that this side shows.
    pub(crate) certificate: Option<Utf8PathBuf>,
    /// Its key, where it is not in the same file.
    pub(crate) key: Option<Utf8PathBuf>,
}

/// The same for an address with certificates of its own; its server may be silent for ever.
pub(crate) fn specially(
    address: &Url,
    network: &Network,
    special: &Special<'_>,
) -> Result<Client, BuildError> {
    let proxy = proxy_to(address, network)?;
    let tls = tls(is_encrypted(address, proxy.as_ref()), network, Some(special))?;
    build(with(tls, proxy, None)?)
}

fn with(
    tls: ClientConfig,
    proxy: Option<Proxy>,
    silence: Option<Duration>,
) -> Result<ClientBuilder, BuildError> {
    let mut client = Client::builder()
        .tls_backend_preconfigured(tls)
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
    Ok(client)
}

/// The proxy that requests to an address go through.
pub(crate) fn proxy_to(address: &Url, network: &Network) -> Result<Option<Proxy>, NoSuchProxy> {
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

/// Whether certificates will be looked at on the way to an address.
fn is_encrypted(address: &Url, proxy: Option<&Proxy>) -> bool {
    address.scheme() == "https" || proxy.is_some_and(|p| p.shown.starts_with("https:"))
}

/// `is_used`: certificates will be looked at; else those that the files name are not read.
fn tls(is_used: bool, network: &Network, special: Option<&Special<'_>>) -> Result<ClientConfig, BuildError> {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let named = if is_used { network.trusted() } else { Vec::new() };
    let mut certificates = Vec::new();
    for place in &named {
        let flaw = |why| BuildError::Certificates { variable: place.variable, is_own: place.is_own, why };
        certificates.append(&mut certificates::read(&place.path).map_err(|error| flaw(error.to_string()))?);
    }
    let own = special.map_or(&Verify::Usual, |special| special.verify);
    let verifier: Arc<dyn ServerCertVerifier> = match (own, named.first()) {
        (Verify::Nobodys, _) => Arc::new(Trust::anybody(crypto.clone())),
        (Verify::Named(path), _) => {
            let path = special.map_or_else(|| path.into(), |special| special.base.join(path));
            let flaw = |why: String| BuildError::Own { path: path.clone(), why };
            let certificates = certificates::read(&path).map_err(|error| flaw(error.to_string()))?;
            Arc::new(Trust::named(crypto.clone(), certificates).map_err(|error| flaw(error.to_string()))?)
        }
        (Verify::Usual, None) => Arc::new(Trust::platform(crypto.clone())),
        (Verify::Usual, Some(place)) => {
            Arc::new(Trust::named(crypto.clone(), certificates).map_err(|error| {
                let why = format!("`{}`: {error}", place.path);
                BuildError::Certificates { variable: place.variable, is_own: place.is_own, why }
            })?)
        }
    };
    let config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .expect("ring serves both protocol versions that are compiled in")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let identity = special.and_then(|special| Some((special.certificate.as_ref()?, special.key.as_ref())));
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => shown(config, certificate, key.unwrap_or(certificate))?,
    };
    config.resumption = Resumption::in_memory_sessions(4);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// With what this side shows of itself.
fn shown(
    config: ConfigBuilder<ClientConfig, WantsClientCert>,
    certificate: &Utf8PathBuf,
    key: &Utf8PathBuf,
) -> Result<ClientConfig, BuildError> {
    let flaw = |path: &Utf8PathBuf, why: &dyn std::fmt::Display| BuildError::Own {
        path: path.clone(),
        why: why.to_string(),
    };
    let certificates = certificates::read(certificate).map_err(|error| flaw(certificate, &error))?;
    let held = PrivateKeyDer::from_pem_file(key).map_err(|error| flaw(key, &error))?;
    config.with_client_auth_cert(certificates, held).map_err(|error| flaw(key, &error))
}

/// The TLS error in the chain of `error`, if there is one.
pub(crate) fn tls_error<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|e| e.downcast_ref::<rustls::Error>())
}

/// The text of the innermost error: the one that says what happened.
pub(crate) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
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
