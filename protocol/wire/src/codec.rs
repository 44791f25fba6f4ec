//! The only file that names the binary codec: bincode 2.0.1, fixed configuration, bounded, no trailing bytes.
//!
//! The crate is unmaintained but frozen, which is what a wire format wants; golden bytes per message guard it. Leaving it means
//! a new message version and another twenty lines here.

use serde::{Serialize, de::DeserializeOwned};

use crate::frame::MAX_FRAME_LEN;

const CONFIG: bincode::config::Configuration = bincode::config::standard();

/// Why bytes are not the message they should be.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Malformed, or announces more than fits in a frame.
    #[error("malformed message")]
    Decode(#[source] bincode::error::DecodeError),
    /// More bytes than the message has.
    #[error("message of {len} bytes has {} trailing bytes", len - used)]
    TrailingBytes {
        /// Bytes the message took.
        used: usize,
        /// Bytes there were.
        len: usize,
    },
    /// Larger than a frame may be.
    #[error("message of {0} bytes exceeds the frame limit")]
    TooLarge(usize),
    /// Well formed, and of a version that was not agreed on.
    #[error("a message of version {0}, which was not agreed on")]
    Newer(u16),
    /// A type that cannot be encoded: a bug.
    #[error("message cannot be encoded")]
    Encode(#[source] bincode::error::EncodeError),
}

/// Encodes one message.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let bytes = bincode::serde::encode_to_vec(message, CONFIG).map_err(CodecError::Encode)?;
    if bytes.len() > MAX_FRAME_LEN { Err(CodecError::TooLarge(bytes.len())) } else { Ok(bytes) }
}

/// Decodes one message that must fill `bytes` exactly.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, CONFIG.with_limit::<MAX_FRAME_LEN>())
        .map_err(CodecError::Decode)?;
    if used == bytes.len() { Ok(value) } else { Err(CodecError::TrailingBytes { used, len: bytes.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_and_missing_bytes_are_refused() {
        let bytes = encode(&("running", 4242u32)).unwrap();
        assert_eq!(decode::<(String, u32)>(&bytes).unwrap(), ("running".to_owned(), 4242));
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(decode::<(String, u32)>(&longer), Err(CodecError::TrailingBytes { .. })));
        assert!(decode::<(String, u32)>(&bytes[..bytes.len() - 1]).is_err());
    }

    #[test]
    fn an_announced_length_is_not_believed() {
        // 0xfd announces a u64 length follows.
        assert!(decode::<String>(&[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
    }
}
