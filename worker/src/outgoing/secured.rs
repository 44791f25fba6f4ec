//! The other end of a connection with TLS, for tests.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

/// A certificate of `localhost`, signed by itself, and its key.
pub(crate) const LOCALHOST: &[u8] = include_bytes!("../engine/native/test-localhost.pem");

/// Speaks TLS with the certificate and the key in this file.
pub(crate) fn acceptor(pem: &[u8]) -> TlsAcceptor {
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                CertificateDer::pem_slice_iter(pem).map(Result::unwrap).collect(),
                PrivateKeyDer::from_pem_slice(pem).unwrap(),
            )
            .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
