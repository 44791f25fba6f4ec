//! Frames: a u32 little-endian length, then that many bytes. A length above [`MAX_FRAME_LEN`] is refused before anything is
//! allocated, in both directions.

use tokio_util::codec::LengthDelimitedCodec;

/// Largest frame in bytes. Long lists (status) are sent as one frame an item, so no message comes near it.
pub const MAX_FRAME_LEN: usize = 1024 * 1024;

/// The codec of both sockets that carry frames.
pub fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_type::<u32>()
        .max_frame_length(MAX_FRAME_LEN)
        .new_codec()
}

/// The same for a side that has nothing long to say.
pub fn codec_up_to(longest: usize) -> LengthDelimitedCodec {
    let mut codec = codec();
    codec.set_max_frame_length(longest.min(MAX_FRAME_LEN));
    codec
}

/// A frame's head for writers without a runtime. `None` when the payload is too large.
pub fn head(payload_len: usize) -> Option<[u8; 4]> {
    if payload_len > MAX_FRAME_LEN {
        return None;
    }
    u32::try_from(payload_len).ok().map(u32::to_le_bytes)
}

/// The payload length a head announces, for readers without a runtime. `None` when it is too large.
pub fn payload_len(head: [u8; 4]) -> Option<usize> {
    let len = u32::from_le_bytes(head) as usize;
    (len <= MAX_FRAME_LEN).then_some(len)
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use tokio_util::codec::{Decoder, Encoder};

    use super::*;

    #[test]
    fn frame_bytes_are_frozen() {
        let mut out = BytesMut::new();
        codec().encode(Bytes::from_static(b"abc"), &mut out).unwrap();
        assert_eq!(&out[..], [3, 0, 0, 0, b'a', b'b', b'c']);
        assert_eq!(head(3), Some([3, 0, 0, 0]));
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused_without_its_bytes() {
        let mut input = BytesMut::from(&[0xff, 0xff, 0xff, 0x7f][..]);
        assert!(codec().decode(&mut input).is_err());
        assert_eq!(payload_len([0xff, 0xff, 0xff, 0x7f]), None);
        assert_eq!(head(MAX_FRAME_LEN + 1), None);
    }
}
