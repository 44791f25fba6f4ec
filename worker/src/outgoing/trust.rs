//! Whom a connection trusts: the platform's roots, or, where the profile names certificates of its own, those and nobody else.
//!
//! Certificates are loaded at the first TLS handshake and not before, so that an idle worker and one that talks to a local server
//! over plain HTTP never hold them.
//!
//! A certificate of one's own is often the server's itself, as `openssl req -x509` makes it: marked as an authority's, and
//! perhaps with no name but its common name. Who names it means it, and curl and Python accept it; so does this, for exactly
//! the certificate that was named. Its dates, its names and its signatures count like any other's.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// Judges the certificates of servers.
#[derive(Debug)]
pub(super) struct Trust {
    crypto: Arc<CryptoProvider>,
    anchors: Anchors,
}

#[derive(Debug)]
enum Anchors {
    /// The platform's, loaded at the first handshake.
    Platform(OnceLock<Result<Verifier, Error>>),
    /// Anybody's.
    Anybodys,
    /// Certificates that somebody named.
    Named { roots: RootCertStore, certificates: Vec<CertificateDer<'static>> },
}

impl Trust {
    /// The platform's roots, whose verifier decides everything; this only delays it.
    pub(super) fn platform(crypto: Arc<CryptoProvider>) -> Self {
        Self { crypto, anchors: Anchors::Platform(OnceLock::new()) }
    }

    /// Whoever answers is believed: somebody has said so for one address.
    pub(super) fn anybody(crypto: Arc<CryptoProvider>) -> Self {
        Self { crypto, anchors: Anchors::Anybodys }
    }

    /// These certificates alone; an error where none of them can be used.
    pub(super) fn named(
        crypto: Arc<CryptoProvider>,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        // A system's list may hold some that are too odd; a file with nothing else is of no use.
        for certificate in &certificates {
            if let Err(error) = roots.add(certificate.clone()) {
                tracing::debug!(%error, "a certificate cannot be used and is not trusted");
            }
        }
        if roots.is_empty() {
            return Err(Error::General("none of the certificates can be used".to_owned()));
        }
        Ok(Self { crypto, anchors: Anchors::Named { roots, certificates } })
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (roots, certificates) = match &self.anchors {
            Anchors::Anybodys => return Ok(ServerCertVerified::assertion()),
            Anchors::Platform(verifier) => {
                let verifier = verifier.get_or_init(|| Verifier::new(self.crypto.clone()));
                return verifier
                    .as_ref()
                    .map_err(Clone::clone)?
                    .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                    .map_err(plain);
            }
            Anchors::Named { roots, certificates } => (roots, certificates),
        };
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let is_named = certificates.contains(end_entity);
        let algorithms = self.crypto.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)
            .or_else(|error| if is_named && is_only_its_part(&error) { Ok(()) } else { Err(plain(error)) })?;
        verify_server_name(&certificate, server_name).or_else(|error| {
            let named = is_named
                && has_no_names(&error)
                && common_name(end_entity)
                    .is_some_and(|name| name.eq_ignore_ascii_case(&server_name.to_str()));
            if named { Ok(()) } else { Err(error) }
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.crypto.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.crypto.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.crypto.signature_verification_algorithms.supported_schemes()
    }
}

/// Whether a chain ends only because the certificate is an authority's, or nobody's that is known. Its dates were looked at
/// before; an expired one fails with that.
fn is_only_its_part(error: &Error) -> bool {
    is_authoritys(error) || matches!(error, Error::InvalidCertificate(CertificateError::UnknownIssuer))
}

fn is_authoritys(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            matches!(inner.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
        }
        _ => false,
    }
}

/// What a stranger's certificate that is marked as an authority's is to people: nobody's that is known.
fn plain(error: Error) -> Error {
    if is_authoritys(&error) { CertificateError::UnknownIssuer.into() } else { error }
}

/// Whether a certificate is not valid for a name because it has none where names belong (`subjectAltName`).
fn has_no_names(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(CertificateError::NotValidForNameContext { presented, .. }) if presented.is_empty()
    )
}

/// The common name of a certificate's subject.
fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    /// 2.5.4.3 (RFC 5280, appendix A.1).
    const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
    let anchor = webpki::anchor_from_trusted_cert(certificate).ok()?;
    // A sequence of sets of pairs; the parser gives what is inside the sequence.
    let mut names = anchor.subject.as_ref();
    let mut found = None;
    while let Some((SET, mut pairs, rest)) = element(names) {
        names = rest;
        while let Some((SEQUENCE, pair, rest)) = element(pairs) {
            pairs = rest;
            if let Some((OID, oid, value)) = element(pair)
                && oid == COMMON_NAME
                && let Some((UTF8 | PRINTABLE | IA5, text, _)) = element(value)
            {
                found = std::str::from_utf8(text).ok().map(str::to_owned);
            }
        }
    }
    found
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OID: u8 = 0x06;
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;
const IA5: u8 = 0x16;

/// The first element of DER: its tag, its contents, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(len)?;
    Some((tag, contents, rest))
}
