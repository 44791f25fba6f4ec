//! What is wrong with the bytes of a request, before anybody has decided what its sender is told.

/// Why a request head is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    /// It can be read in two ways, or in none.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// More than [`super::head::MAX_HEAD`] bytes or [`super::head::MAX_HEADERS`] lines.
    #[error("the head is too large")]
    HeadTooLarge,
    /// An expectation beside `100-continue`.
    #[error("an unknown expectation")]
    Expectation,
    /// `TRACE`, which shows a request to whoever is on its way.
    #[error("TRACE")]
    Trace,
    /// `CONNECT`.
    #[error("CONNECT")]
    Tunnel,
    /// Neither HTTP/1.0 nor HTTP/1.1.
    #[error("another version of HTTP")]
    Version,
}
