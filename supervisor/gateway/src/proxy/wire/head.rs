//! What request and response heads have in common: where they end, and what may stand in them.

use memchr::memchr3;

/// Most bytes of a head.
pub(crate) const MAX_HEAD: usize = 32 * 1024;
/// Most header lines of a head.
pub(crate) const MAX_HEADERS: usize = hermes_wire::http::MAX_HEADERS;

/// A head holds a byte or a line end that may be read in two ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// What an answer says about the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// It ends.
    Close,
    /// It goes on, as HTTP/1.1 does without a word.
    Silent,
    /// It goes on, and a client of HTTP/1.0 has to be told.
    Said,
}

impl Persistence {
    /// Of a connection that goes on if `keep`, with a client that speaks HTTP/1.0 if `old`.
    pub(crate) fn of(keep: bool, old: bool) -> Self {
        match (keep, old) {
            (false, _) => Self::Close,
            (true, false) => Self::Silent,
            (true, true) => Self::Said,
        }
    }

    /// The header line that says so.
    pub(crate) fn line(self) -> &'static [u8] {
        match self {
            Self::Close => b"connection: close\r\n",
            Self::Silent => b"",
            Self::Said => b"connection: keep-alive\r\n",
        }
    }
}

/// Looks for the end of a head in `buf`, of which the first `seen` bytes were looked at before. `Ok(Some(n))`: the head is the
/// first `n` bytes, blank line included.
pub(crate) fn find_end(buf: &[u8], seen: usize) -> Result<Option<usize>, Ambiguous> {
    // A line end may straddle what was seen.
    let mut at = seen.saturating_sub(1);
    while let Some(found) = memchr3(b'\n', b'\r', 0, &buf[at..]) {
        at += found;
        if buf[at] == b'\r' && buf.get(at + 1) == Some(&b'\n') {
            // Both at once.
            at += 1;
        }
        match buf[at] {
            b'\n' => {
                if at == 0 || buf[at - 1] != b'\r' {
                    return Err(Ambiguous);
                }
                if at >= 3 && buf[at - 2] == b'\n' {
                    return Ok(Some(at + 1));
                }
            }
            b'\r' if buf.get(at + 1).is_some_and(|&next| next != b'\n') => return Err(Ambiguous),
            0 => return Err(Ambiguous),
            _ => {}
        }
        at += 1;
    }
    Ok(None)
}

/// Where `part`, a slice of `whole`, begins in it.
pub(crate) fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

/// Calls `each` with the number of every header, the header, and the range of its line in `head`, line end included.
pub(crate) fn lines<'h>(
    head: &'h [u8],
    headers: &[httparse::Header<'h>],
    mut each: impl FnMut(usize, &httparse::Header<'h>, &'h [u8]),
) {
    for (at, header) in headers.iter().enumerate() {
        let from = offset(head, header.name.as_bytes());
        let to = headers.get(at + 1).map_or(head.len() - 2, |next| offset(head, next.name.as_bytes()));
        each(at, header, &head[from..to]);
    }
}

/// Whether the comma-separated `list` has `token`, letter case aside.
pub(crate) fn has_token(list: &[u8], token: &[u8]) -> bool {
    tokens(list).any(|t| t.eq_ignore_ascii_case(token))
}

/// The tokens of a comma-separated list.
pub(crate) fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|t| !t.is_empty())
}

/// A length: digits only, one value, no list.
pub(crate) fn content_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + u64::from(b - b'0')))
}

/// Headers whose handling is not "copy the line".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    Connection,
    ContentLength,
    Expect,
    ForwardedFor,
    Host,
    /// The page that calls.
    Origin,
    /// [`hermes_wire::request_id`].
    RequestId,
    /// [`hermes_wire::http::TAKEN`].
    Taken,
    TransferEncoding,
    Upgrade,
    /// Means something on this connection only, or is ours to say.
    Drop,
    None,
}

/// The kinds of the headers of one head, by number.
pub(crate) type Kinds = [Special; MAX_HEADERS];

/// What kinds of headers these are.
pub(crate) fn classify_all(headers: &[httparse::Header<'_>]) -> Kinds {
    let mut kinds = [Special::None; MAX_HEADERS];
    for (kind, header) in kinds.iter_mut().zip(headers) {
        *kind = classify(header.name);
    }
    kinds
}

/// What kind of header `name` is.
pub(crate) fn classify(name: &str) -> Special {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    match name.len() {
        2 if is("te") => Special::Drop,
        4 if is("host") => Special::Host,
        6 if is("expect") => Special::Expect,
        6 if is("origin") => Special::Origin,
        7 if is("upgrade") => Special::Upgrade,
        7 if is("trailer") => Special::Drop,
        10 if is("connection") => Special::Connection,
        10 if is("keep-alive") => Special::Drop,
        12 if is(hermes_wire::request_id::REQUEST_ID) => Special::RequestId,
        14 if is("content-length") => Special::ContentLength,
        14 if is(hermes_wire::http::TAKEN) => Special::Taken,
        15 if is("x-forwarded-for") => Special::ForwardedFor,
        15 if is(hermes_wire::road::SENDER) => Special::Drop,
        16 if is("proxy-connection") || is(hermes_wire::http::PROFILE) => Special::Drop,
        17 if is("transfer-encoding") => Special::TransferEncoding,
        17 if is(hermes_wire::http::LISTENER) => Special::Drop,
        18 if is("proxy-authenticate") || is(hermes_wire::http::FORWARDED_PREFIX) => Special::Drop,
        19 if is("proxy-authorization") => Special::Drop,
        _ => Special::None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads_end_at_the_first_blank_line() {
        assert_eq!(find_end(b"GET / HTTP/1.1\r\n\r\nrest", 0), Ok(Some(18)));
        assert_eq!(find_end(b"GET / HTTP/1.1\r\n\r", 0), Ok(None));
        for bad in ["a\nb", "\n", "a\rb\r\n", "a\0", "a\r\r\n", "a\r\n\n"] {
            assert_eq!(find_end(bad.as_bytes(), 0), Err(Ambiguous), "{bad:?}");
        }
    }

    #[test]
    fn lengths_are_digits_only() {
        assert_eq!(content_length(b"0"), Some(0));
        assert_eq!(content_length(b"0042"), Some(42));
        for bad in ["", "+1", "-1", "1,1", "1 1", "0x1", "1.0", "9999999999999999999", "\u{661}"] {
            assert_eq!(content_length(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn every_special_header_is_known_by_its_length() {
        for name in
            ["TE", "Trailer", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization"]
        {
            assert_eq!(classify(name), Special::Drop, "{name}");
        }
        for name in ["X-Hermes-Profile", "X-Hermes-Listener", "X-FORWARDED-PREFIX"] {
            assert_eq!(classify(name), Special::Drop, "{name}");
        }
        assert_eq!(classify("Transfer-Encoding"), Special::TransferEncoding);
        assert_eq!(classify("X-Forwarded-For"), Special::ForwardedFor);
        assert_eq!(classify("Authorization"), Special::None);
    }

    proptest! {
        #[test]
        fn splits_do_not_matter(text in "[a\\r\\n\\x00]{0,12}(\\r\\n\\r\\n)?", cut in any::<prop::sample::Index>()) {
            let bytes = text.as_bytes();
            let cut = cut.index(bytes.len() + 1);
            let whole = find_end(bytes, 0);
            let split = match find_end(&bytes[..cut], 0) {
                Ok(None) => find_end(bytes, cut),
                decided => decided,
            };
            prop_assert_eq!(whole, split);
        }
    }
}
