//! What comes back for a request: bounded bodies, files in pieces, and why there is none. No text repeats an address, which may hold a
//! secret.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, header};
use reqwest::Response;

use super::innermost;

/// A file, as it comes.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

/// Longest wait that is taken from a service.
const ASKED: Duration = Duration::from_secs(3600);

/// How a request ended without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// It did not get there.
    Unsent(String),
    /// It may have got there.
    Lost(String),
}

impl From<reqwest::Error> for Unanswered {
    fn from(error: reqwest::Error) -> Self {
        let (is_late, is_unsent) = (error.is_timeout(), error.is_connect() || error.is_builder());
        let text = if is_late { "no answer in time".to_owned() } else { innermost(&error.without_url()) };
        if is_unsent { Self::Unsent(text) } else { Self::Lost(text) }
    }
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The connection broke.
    Lost(String),
    /// It is longer than what is read.
    TooMuch,
}

/// Reads a body of at most so many bytes.
pub(crate) async fn body(response: Response, most: usize) -> Result<Vec<u8>, Unread> {
    let mut pieces = pieces(response);
    let mut body = Vec::new();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(Unread::Lost)?;
        if body.len() + piece.len() > most {
            return Err(Unread::TooMuch);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// A body, as it comes.
pub(crate) fn pieces(response: Response) -> ByteStream {
    let pieces = response.bytes_stream();
    Box::pin(pieces.map(|piece| piece.map_err(|error| innermost(&error.without_url()))))
}

/// The whole seconds that a service asks to wait, an hour at most.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok();
    seconds.map(|seconds| Duration::from_secs(seconds).min(ASKED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_whole_seconds_and_bounded() {
        let of = |value: &'static str| {
            retry_after(&HeaderMap::from_iter([(header::RETRY_AFTER, value.parse().unwrap())]))
        };
        assert_eq!(of(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(of("99999999"), Some(ASKED));
        for odd in ["", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(of(odd), None, "{odd}");
        }
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
