//! The HTTP client of a worker: built when it is first used, and small.
//!
//! Certificates are loaded at the first TLS handshake and not before, so that an idle worker and one that talks to a
//! local server over plain HTTP never hold them. Roots are the platform's, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
//! Proxy variables of the worker's environment are honoured except for loopback hosts. Redirects are never followed: the
//! key would travel along.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// Name resolution, connection and TLS handshake together.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client for one endpoint. `silence` ends a request whose server sends no byte for so long; `None` waits for ever.
pub(crate) fn build(endpoint: &Url, silence: Option<Duration>) -> Result<Client, reqwest::Error> {
    let mut client = Client::builder()
        .tls_backend_preconfigured(tls())
        .redirect(Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(2)
        .pool_idle_timeout(Duration::from_secs(30))
        .user_agent(concat!("hermes/", env!("CARGO_PKG_VERSION")));
    if let Some(silence) = silence {
        client = client.read_timeout(silence);
    }
    if crate::provider::is_loopback(endpoint) {
        client = client.no_proxy();
    }
    client.build()
}

fn tls() -> ClientConfig {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(LazyVerifier { crypto: crypto.clone(), inner: OnceLock::new() });
    let mut config = ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .expect("ring serves both protocol versions that are compiled in")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.resumption = Resumption::in_memory_sessions(4);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

/// The platform's verifier, made at the first handshake. It decides everything; this only delays it.
#[derive(Debug)]
struct LazyVerifier {
    crypto: Arc<CryptoProvider>,
    inner: OnceLock<Result<Verifier, rustls::Error>>,
}

impl LazyVerifier {
    fn inner(&self) -> Result<&Verifier, rustls::Error> {
        self.inner.get_or_init(|| Verifier::new(self.crypto.clone())).as_ref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for LazyVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.inner()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
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
