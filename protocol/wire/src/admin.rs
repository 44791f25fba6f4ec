//! The token of the admin address, as the supervisor may know it: a hash with the key of this supervisor's life, never the token.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Shortest token that is taken, in bytes: a shorter one can be guessed.
pub const MIN_TOKEN: usize = 16;

/// What the worker reports and the supervisor compares. `key` is [`crate::latest::Prepare::claim_key`].
pub fn hash(key: &[u8; 32], token: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(b"gateway.admin_token\0");
    mac.update(token);
    mac.finalize().into_bytes().into()
}

/// Whether both are equal, in a time that does not tell where they differ.
pub fn is_same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_under_one_key_alone() {
        let (key, other) = ([1; 32], [2; 32]);
        assert!(is_same(&hash(&key, b"token"), &hash(&key, b"token")));
        assert!(!is_same(&hash(&key, b"token"), &hash(&key, b"tokem")));
        assert!(!is_same(&hash(&key, b"token"), &hash(&other, b"token")));
    }
}
