//! Bytes of clients, wiped when they are no longer needed.
//!
//! A request's head carries its client's key. The proxy has no use for it but to pass it on, so it stays in no buffer behind
//! the request: what was read is wiped where it was read, and what has to be kept is kept in a [`Private`].

use std::hint::black_box;
use std::ops::{Deref, DerefMut};

/// Overwrites `bytes`. Not with the volatile writes of `zeroize`, which go byte by byte and would show in every request; the
/// black box keeps the compiler from leaving out writes to memory that is about to be freed.
pub(crate) fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    black_box(bytes);
}

/// A buffer that leaves nothing behind, neither when it is dropped nor when it grows.
#[derive(Debug, Default)]
pub(crate) struct Private(Vec<u8>);

impl Private {
    /// Appends. Memory that has become too small is wiped before it is given back.
    pub(crate) fn append(&mut self, more: &[u8]) {
        let needed = self.0.len() + more.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.max(self.0.capacity() * 2));
            larger.extend_from_slice(&self.0);
            *self = Self(larger);
        }
        self.0.extend_from_slice(more);
    }

    /// Forgets the content, keeps the memory.
    pub(crate) fn clear(&mut self) {
        wipe(&mut self.0);
        self.0.clear();
    }
}

impl From<Vec<u8>> for Private {
    /// `bytes` must not have grown: what a `Vec` leaves behind when it moves is out of reach.
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Private {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl Deref for Private {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Private {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_survives_growth_and_nothing_survives_clearing() {
        let mut bytes = Private::from(&b"secret"[..]);
        for _ in 0..1000 {
            bytes.append(b" and more");
        }
        assert!(bytes.starts_with(b"secret and more") && bytes.len() == 9006);
        let (start, len) = (bytes.0.as_ptr(), bytes.len());
        bytes.clear();
        assert!(bytes.is_empty() && bytes.0.capacity() >= len && bytes.0.as_ptr() == start);
        // The memory is kept, and says nothing of what was in it.
        bytes.0.resize(len, 1);
        assert!(bytes.iter().all(|&b| b == 1));
        wipe(&mut bytes);
        assert!(bytes.iter().all(|&b| b == 0));
    }
}
