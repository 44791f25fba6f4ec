//! Frames and the messages in them: any bytes, in any pieces, give messages or an error, never a panic, never more memory than
//! a frame may have; what decodes encodes to the same message.
#![no_main]

use bytes::BytesMut;
use hermes_wire::latest::{ClientReply, ClientRequest, FromWorker, ToWorker};
use hermes_wire::{codec, frame};
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::Decoder as _;

fn roundtrip<T: serde_like::Message>(bytes: &[u8]) {
    if let Ok(message) = codec::decode::<T>(bytes) {
        let again = codec::encode(&message).expect("what was decoded can be encoded");
        assert!(codec::decode::<T>(&again).expect("what was encoded can be decoded") == message);
    }
}

mod serde_like {
    /// What every message is.
    pub trait Message: for<'de> serde::Deserialize<'de> + serde::Serialize + PartialEq {}
    impl<T: for<'de> serde::Deserialize<'de> + serde::Serialize + PartialEq> Message for T {}
}

fuzz_target!(|data: &[u8]| {
    let Some((&pieces, data)) = data.split_first() else { return };
    let mut decoder = frame::codec();
    let mut buffer = BytesMut::new();
    for piece in data.chunks(usize::from(pieces).max(1)) {
        buffer.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(payload)) => {
                    assert!(payload.len() <= frame::MAX_FRAME_LEN);
                    roundtrip::<ToWorker>(&payload);
                    roundtrip::<FromWorker>(&payload);
                    roundtrip::<ClientRequest>(&payload);
                    roundtrip::<ClientReply>(&payload);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
    roundtrip::<ToWorker>(data);
    roundtrip::<FromWorker>(data);
    roundtrip::<ClientRequest>(data);
    roundtrip::<ClientReply>(data);
});
