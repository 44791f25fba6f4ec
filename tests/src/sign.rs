//! Signatures of webhook senders.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Lower-case hex of HMAC-SHA256.
pub fn hmac_hex(secret: &str, body: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(body);
    mac.finalize().into_bytes().iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Value of `X-Hub-Signature-256`.
pub fn github(secret: &str, body: &[u8]) -> String {
    format!("sha256={}", hmac_hex(secret, body))
}

/// What GitHub sends with a webhook: its signature and its identity.
pub struct Signed<'a> {
    signature: String,
    id: &'a str,
}

impl<'a> Signed<'a> {
    /// For `body`, signed with `secret`, as delivery `id`.
    pub fn new(secret: &str, id: &'a str, body: &[u8]) -> Self {
        Self { signature: github(secret, body), id }
    }

    /// The header lines.
    pub fn headers(&self) -> [(&str, &str); 3] {
        [
            ("X-Hub-Signature-256", &self.signature),
            ("X-GitHub-Delivery", self.id),
            ("Content-Type", "application/json"),
        ]
    }
}
