//! Golden bytes of every message of every version that this build speaks, and how peers of two versions understand each other.

mod v2;
mod v3;

use hermes_wire::codec::{CodecError, decode, encode};
use hermes_wire::{ProfileName, version};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn coder() -> ProfileName {
    "coder".parse().expect("a valid name")
}

/// Names every variant, so that a new one does not compile before it has golden bytes.
trait Named {
    fn name(&self) -> &'static str;
}

macro_rules! named {
    ($($message:ident { $($variant:ident),+ $(,)? })+) => {
        $(impl Named for $message {
            fn name(&self) -> &'static str {
                match self { $($message::$variant { .. } => concat!(stringify!($message), "::", stringify!($variant))),+ }
            }
        })+
    };
}
use named;

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn lines<T: Serialize + Named>(messages: &[T]) -> Vec<String> {
    messages.iter().map(|m| format!("{} {}", m.name(), hex(&encode(m).expect("encodes")))).collect()
}

/// The golden lines of a type are exactly these messages, and nothing shorter or longer is one.
fn decodes_back<T: DeserializeOwned + Named + PartialEq + std::fmt::Debug>(golden: &str, messages: &[T]) {
    let name = std::any::type_name::<T>().rsplit("::").next().expect("a name");
    let golden: Vec<_> = golden.lines().filter(|line| line.starts_with(&format!("{name}::"))).collect();
    assert_eq!(golden.len(), messages.len(), "{name}");
    for (line, message) in golden.into_iter().zip(messages) {
        let (name, bytes) = line.split_once(' ').expect("name and bytes");
        let bytes = unhex(bytes);
        assert_eq!(&decode::<T>(&bytes).expect("decodes"), message, "{name}");
        assert!(decode::<T>(&bytes[..bytes.len() - 1]).is_err(), "{name} cut short");
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(decode::<T>(&longer), Err(CodecError::TrailingBytes { .. })), "{name} with a tail");
    }
}

#[test]
fn this_build_speaks_the_newest_version_and_at_most_the_one_before() {
    assert_eq!(*version::SUPPORTED.end(), version::NEWEST);
    assert!(version::NEWEST - version::SUPPORTED.start() <= 1);
}
