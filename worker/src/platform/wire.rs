//! What HTTP platforms share: bounded bodies in, JSON out as 0.19.0 spelled it, random ids.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use hermes_wire::spaced::Spaced;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Serialize;

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// More than allowed, by its declared length or by count.
    #[error("body too large")]
    TooLarge,
    /// The connection ended early, or its framing is broken.
    #[error("body ended early")]
    Broken,
    /// It is coded in a way that is not spoken here.
    #[error("unsupported content coding")]
    Coding,
    /// It is not coded as it says.
    #[error("body is not what its content coding says")]
    Undecodable,
}

/// What `Content-Encoding` may say, for `Accept-Encoding` of a refusal.
pub(crate) const CODINGS: &str = "gzip, deflate";

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
}

impl Coding {
    /// What the headers say; more than one coding, one over the other, is nobody's practice.
    fn of(headers: &HeaderMap) -> Result<Self, BodyError> {
        let mut coding = Self::Identity;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            for name in value.to_str().map_err(|_| BodyError::Coding)?.split(',').map(str::trim) {
                let next = match name.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    _ => return Err(BodyError::Coding),
                };
                if coding != Self::Identity {
                    return Err(BodyError::Coding);
                }
                coding = next;
            }
        }
        Ok(coding)
    }

    /// The body's own bytes, at most `limit` of them: what unpacks to more is not unpacked further.
    fn decode(self, coded: Bytes, limit: usize) -> Result<Bytes, BodyError> {
        let mut decoded = Vec::new();
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let read = match self {
            Self::Identity => return Ok(coded),
            Self::Gzip => MultiGzDecoder::new(&coded[..]).take(most).read_to_end(&mut decoded),
            // Some senders leave out the two bytes that the standard asks for; no stream without them begins like that.
            Self::Deflate if coded.first().is_some_and(|first| first & 0x0f == 8) => {
                ZlibDecoder::new(&coded[..]).take(most).read_to_end(&mut decoded)
            }
            Self::Deflate => DeflateDecoder::new(&coded[..]).take(most).read_to_end(&mut decoded),
        };
        if decoded.len() > limit {
            return Err(BodyError::TooLarge);
        }
        read.map(|_| decoded.into()).map_err(|_| BodyError::Undecodable)
    }
}

/// Reads a body of at most `limit` bytes, before and after its content coding. A declared length above it is refused without reading;
/// so is the rest of a chunked one.
pub(crate) async fn read_body(headers: &HeaderMap, body: Body, limit: u64) -> Result<Bytes, BodyError> {
    let coding = Coding::of(headers)?;
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|len| len > limit) {
        return Err(BodyError::TooLarge);
    }
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => coding.decode(collected.to_bytes(), limit),
        Err(error) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Err(_) => Err(BodyError::Broken),
    }
}

/// JSON text as 0.19.0 spaced it.
pub(crate) fn spaced(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Spaced);
    match value.serialize(&mut serializer) {
        Ok(()) => out,
        // Only a map with keys that are no strings, or a failing writer, could end here; bodies have neither.
        Err(_) => b"{}".to_vec(),
    }
}

/// A JSON response.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    json_bytes(status, spaced(value).into())
}

/// A JSON response of bytes that are JSON already.
pub(crate) fn json_bytes(status: StatusCode, bytes: Bytes) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(hermes_wire::http::JSON));
    response
}

/// 64 bits nobody outside can predict: a keyed hash of a counter, the key drawn from the system once per thread.
pub(crate) fn random64() -> u64 {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(COUNTER.fetch_add(1, Ordering::Relaxed));
    hasher.finish()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    out
}

/// The token of an `Authorization: Bearer` header; the scheme's case does not matter.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Equality in time that depends on the lengths only.
pub(crate) fn same_secret(a: &[u8], b: &[u8]) -> bool {
    use subtle::ConstantTimeEq as _;
    a.ct_eq(b).into()
}

/// The first `limit` characters of a text.
pub(crate) fn first_chars(text: &str, limit: usize) -> &str {
    text.char_indices().nth(limit).map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_spaced_as_python_spaces_it() {
        let value = json!({"error": "Unknown route: x", "n": [1, 2, {"a": null}], "e": {}, "l": []});
        assert_eq!(
            String::from_utf8(spaced(&value)).unwrap(),
            r#"{"error": "Unknown route: x", "n": [1, 2, {"a": null}], "e": {}, "l": []}"#
        );
    }

    #[test]
    fn ids_do_not_repeat() {
        let ids: std::collections::HashSet<u64> = (0..10_000).map(|_| random64()).collect();
        assert_eq!(ids.len(), 10_000);
        assert_eq!(hex(&[0, 0xab, 0x0f]), "00ab0f");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(first_chars("äöü", 2), "äö");
        assert_eq!(first_chars("ab", 5), "ab");
    }

    fn coded(name: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(name).unwrap());
        headers
    }

    /// Wires 7: gzip and deflate are read, within the limit; what is not spoken is refused, and so is what is broken.
    #[tokio::test]
    async fn coded_bodies_are_decoded_within_the_limit() {
        use flate2::Compression;
        use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
        use std::io::Write as _;

        let text = b"{\"a\": 1}".repeat(50);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(&text).unwrap();
        let gzip = gzip.finish().unwrap();
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&text).unwrap();
        let zlib = zlib.finish().unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::default());
        raw.write_all(&text).unwrap();
        let raw = raw.finish().unwrap();
        let twice = [&gzip[..], &gzip[..]].concat();
        let read = async |name: &str, bytes: &[u8], limit| {
            read_body(&coded(name), Body::from(bytes.to_vec()), limit).await
        };
        for (name, bytes) in [
            ("gzip", &gzip),
            ("x-gzip", &gzip),
            ("GZIP", &gzip),
            ("deflate", &zlib),
            ("deflate", &raw),
            ("identity", &text),
            ("", &text),
            ("identity, gzip", &gzip),
        ] {
            assert_eq!(read(name, bytes, 1000).await.unwrap(), text, "{name}");
        }
        assert_eq!(read("gzip", &twice, 1000).await.unwrap().len(), 2 * text.len());
        // What is small and unpacks to much more than the limit.
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        bomb.write_all(&vec![0; 4_000_000]).unwrap();
        let bomb = bomb.finish().unwrap();
        assert!(bomb.len() < 10_000);
        assert_eq!(read("gzip", &bomb, 10_000).await, Err(BodyError::TooLarge));
        for name in ["br", "zstd", "gzip, gzip", "gzip, br", "compress", "\u{fc}"] {
            assert_eq!(read(name, &gzip, 1000).await, Err(BodyError::Coding), "{name}");
        }
        let cut = &gzip[..gzip.len() / 2];
        for (name, bytes) in [("gzip", &text[..]), ("gzip", cut), ("deflate", &text), ("gzip", b"")] {
            assert_eq!(read(name, bytes, 1000).await, Err(BodyError::Undecodable), "{name}");
        }
    }

    #[tokio::test]
    async fn bodies_are_bounded_by_declaration_and_by_count() {
        let none = HeaderMap::new();
        assert_eq!(read_body(&none, Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(read_body(&none, Body::from("123456"), 5).await, Err(BodyError::TooLarge));
        let mut declared = HeaderMap::new();
        declared.insert(header::CONTENT_LENGTH, HeaderValue::from_static("6"));
        assert_eq!(read_body(&declared, Body::empty(), 5).await, Err(BodyError::TooLarge));
    }
}
