//! How a message is said to a peer, and understood from one, that speaks an older version.

use crate::codec::CodecError;
use crate::version::Version;

/// A message between two processes that agreed on a version. Both ends of a connection speak the newest form inside and
/// convert here.
pub trait Message: Sized {
    /// Its bytes in that version; `None` where that version has nothing like it, and the peer does without.
    ///
    /// # Errors
    /// It is larger than a frame.
    fn encode(&self, version: Version) -> Result<Option<Vec<u8>>, CodecError>;

    /// The message that these bytes are in that version.
    ///
    /// # Errors
    /// They are none.
    fn decode(version: Version, bytes: &[u8]) -> Result<Self, CodecError>;
}
