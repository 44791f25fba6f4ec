//! Frames and the messages in them: any bytes, in any pieces, give messages or an error, never a panic, never more memory than
//! a frame may have; what decodes encodes to the same message, in every version that is spoken.
#![no_main]

use bytes::BytesMut;
use hermes_wire::latest::{ClientReply, ClientRequest, FromWorker, Message, ToWorker};
use hermes_wire::{frame, version};
use libfuzzer_sys::fuzz_target;
use tokio_util::codec::Decoder as _;

fn roundtrip<T: Message + PartialEq>(bytes: &[u8]) {
    for version in version::SUPPORTED {
        if let Ok(message) = T::decode(version, bytes) {
            let again = message.encode(version).expect("what was decoded can be encoded");
            let again = again.expect("what a version says, it can say again");
            assert!(T::decode(version, &again).expect("what was encoded can be decoded") == message);
        }
    }
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
