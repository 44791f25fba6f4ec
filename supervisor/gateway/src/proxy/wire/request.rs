//! Request heads: read strictly, written anew for the worker.

use std::mem::MaybeUninit;

use super::error::RequestError;
use super::head::{
    Kinds, MAX_HEAD, MAX_HEADERS, Special, classify, classify_all, content_length, has_token, lines, tokens,
};
use super::private::wipe;

/// How a body is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// Until the connection ends; responses only.
    Close,
}

/// What the proxy has to know about a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    Options,
    /// May be sent twice, like the three above.
    Idempotent,
    Other,
}

/// What a request head says.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact about the request")]
pub(crate) struct Request<'h> {
    pub(crate) method: Method,
    pub(crate) method_name: &'h str,
    /// Path and query, or `*`.
    pub(crate) target: &'h str,
    /// HTTP/1.0: no chunks, no interim responses, one request a connection unless it asks for more.
    pub(crate) old: bool,
    pub(crate) keep_alive: bool,
    pub(crate) framing: Framing,
    /// A change of protocol is asked for that may be passed on.
    pub(crate) upgrade: bool,
    /// It comes from a web page.
    pub(crate) from_page: bool,
    /// The client's name for it.
    pub(crate) id: Option<&'h [u8]>,
}

/// Header lines on their way to the worker. Reused from request to request.
#[derive(Debug)]
pub(crate) struct Lines {
    kept: Vec<u8>,
    forwarded_for: Vec<u8>,
}

impl Default for Lines {
    fn default() -> Self {
        // As much as can ever be in it: a buffer that grows leaves its content behind, and here are keys.
        Self { kept: Vec::with_capacity(MAX_HEAD + 64), forwarded_for: Vec::new() }
    }
}

impl Lines {
    /// Forgets what was read, for good.
    pub(crate) fn wipe(&mut self) {
        wipe(&mut self.kept);
        self.kept.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len() + self.forwarded_for.len()
    }
}

impl Request<'_> {
    /// Whether the request can be sent again when it is not known what became of it.
    pub(crate) fn repeatable(&self) -> bool {
        self.framing == Framing::None && !self.upgrade && self.method != Method::Other
    }

    /// The path without the query.
    pub(crate) fn path(&self) -> &str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }
}

/// Reads `head`, which is complete; header lines to pass on are left in `out`.
pub(crate) fn parse<'h>(head: &'h [u8], out: &mut Lines) -> Result<Request<'h>, RequestError> {
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, &mut headers) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(RequestError::Malformed("the head ends early")),
        Err(httparse::Error::TooManyHeaders) => return Err(RequestError::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(RequestError::Version),
        Err(_) => return Err(RequestError::Malformed("the request line or a header is malformed")),
    }
    let (Some(method_name), Some(raw_target), Some(version)) = (parsed.method, parsed.path, parsed.version)
    else {
        return Err(RequestError::Malformed("the request line is incomplete"));
    };
    let old = version == 0;
    let method = match method_name {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "PUT" | "DELETE" => Method::Idempotent,
        "CONNECT" => return Err(RequestError::Tunnel),
        "TRACE" => return Err(RequestError::Trace),
        _ => Method::Other,
    };
    let (authority, target) = target_of(raw_target, method)?;
    let kinds = classify_all(parsed.headers);
    let seen = Seen::of(parsed.headers, &kinds, old)?;
    match (seen.host, authority) {
        (None, _) if !old => return Err(RequestError::Malformed("there is no Host header")),
        (Some(host), Some(authority)) if !authority.is(host) => {
            return Err(RequestError::Malformed("the Host header contradicts the request line"));
        }
        _ => {}
    }
    let framing = seen.framing();
    let upgrade = seen.upgrade && !seen.unseen && seen.wants_upgrade && !old && framing == Framing::None;
    let expects_continue = seen.expects_continue && framing != Framing::None && !old;

    out.kept.clear();
    out.forwarded_for.clear();
    lines(head, parsed.headers, |at, header, line| {
        let keep = match kinds[at] {
            Special::None | Special::Origin | Special::RequestId => {
                !(seen.lists_more && is_listed(parsed.headers, header.name))
            }
            Special::Host | Special::ContentLength | Special::TransferEncoding => true,
            Special::Expect => expects_continue,
            Special::Upgrade => upgrade,
            Special::Connection | Special::Taken | Special::Drop => false,
            Special::ForwardedFor => {
                if !out.forwarded_for.is_empty() {
                    out.forwarded_for.extend_from_slice(b", ");
                }
                out.forwarded_for.extend_from_slice(header.value);
                false
            }
        };
        if keep {
            out.kept.extend_from_slice(line);
        }
    });
    if seen.host.is_none() {
        out.kept.extend_from_slice(b"host: localhost\r\n");
    }
    let keep_alive = !seen.close && (!old || seen.keep);
    let (from_page, id) = (seen.from_page, seen.id);
    Ok(Request { method, method_name, target, old, keep_alive, framing, upgrade, from_page, id })
}

/// Writes the head for the worker: `rest` (path and query) instead of the target, `ours` behind the client's lines, and the
/// client's address `peer` behind all.
pub(crate) fn write<'o>(
    request: &Request<'_>,
    rest: &str,
    lines: &Lines,
    peer: &str,
    ours: impl IntoIterator<Item = &'o [u8]>,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(request.method_name.as_bytes());
    out.push(b' ');
    out.extend_from_slice(rest.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    out.extend_from_slice(&lines.kept);
    if request.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
    }
    for piece in ours {
        out.extend_from_slice(piece);
    }
    out.extend_from_slice(b"x-forwarded-for: ");
    if !lines.forwarded_for.is_empty() {
        out.extend_from_slice(&lines.forwarded_for);
        out.extend_from_slice(b", ");
    }
    out.extend_from_slice(peer.as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
}

/// Host and port of a target that is a URL.
struct Authority<'h> {
    text: &'h str,
    default_port: &'static [u8],
}

impl Authority<'_> {
    /// Whether `host` names the same; the scheme's own port may be left out on either side.
    fn is(&self, host: &[u8]) -> bool {
        self.bare(host).eq_ignore_ascii_case(self.bare(self.text.as_bytes()))
    }

    fn bare<'a>(&self, host: &'a [u8]) -> &'a [u8] {
        host.strip_suffix(self.default_port).or_else(|| host.strip_suffix(b":")).unwrap_or(host)
    }
}

/// Authority, where the target has one, and the target in origin form.
fn target_of(raw: &str, method: Method) -> Result<(Option<Authority<'_>>, &str), RequestError> {
    if !raw.bytes().all(|b| (b'!'..=b'~').contains(&b) && b != b'#') {
        return Err(RequestError::Malformed("the request target has a character that must be escaped"));
    }
    if raw.starts_with('/') || (raw == "*" && method == Method::Options) {
        return Ok((None, raw));
    }
    let malformed = RequestError::Malformed("the request target is neither a path nor a URL");
    let Some((scheme, after)) = raw.split_once("://") else { return Err(malformed) };
    let default_port: &[u8] = match scheme {
        s if s.eq_ignore_ascii_case("http") => b":80",
        s if s.eq_ignore_ascii_case("https") => b":443",
        _ => return Err(malformed),
    };
    // A URL may end with its authority; then the path is the root.
    let (text, path) = after.find('/').map_or((after, "/"), |at| after.split_at(at));
    if text.is_empty() || !is_host(text.as_bytes()) {
        return Err(malformed);
    }
    Ok((Some(Authority { text, default_port }), path))
}

/// What the headers say as a whole.
#[expect(clippy::struct_excessive_bools, reason = "each is a header that was seen or not")]
struct Seen<'h> {
    host: Option<&'h [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    /// `Connection: keep-alive`.
    keep: bool,
    /// `Connection: upgrade`.
    wants_upgrade: bool,
    /// There is an `Upgrade` header.
    upgrade: bool,
    /// One of its values is a protocol behind which requests would no longer be seen.
    unseen: bool,
    expects_continue: bool,
    /// `Connection` names headers of its own.
    lists_more: bool,
    from_page: bool,
    id: Option<&'h [u8]>,
}

impl<'h> Seen<'h> {
    fn of(headers: &[httparse::Header<'h>], kinds: &Kinds, old: bool) -> Result<Self, RequestError> {
        let mut seen = Self {
            host: None,
            length: None,
            chunked: false,
            close: false,
            keep: false,
            wants_upgrade: false,
            upgrade: false,
            unseen: false,
            expects_continue: false,
            lists_more: false,
            from_page: false,
            id: None,
        };
        for (header, kind) in headers.iter().zip(kinds) {
            match kind {
                Special::Host => {
                    if seen.host.is_some() || !is_host(header.value) {
                        return Err(RequestError::Malformed("the Host header is repeated or malformed"));
                    }
                    seen.host = Some(header.value);
                }
                Special::ContentLength => {
                    let length = content_length(header.value);
                    if seen.length.is_some() || length.is_none() {
                        return Err(RequestError::Malformed(
                            "the Content-Length header is repeated or malformed",
                        ));
                    }
                    seen.length = length;
                }
                Special::TransferEncoding => {
                    if seen.chunked || old || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(RequestError::Malformed(
                            "the only transfer coding is a single `chunked`, in HTTP/1.1",
                        ));
                    }
                    seen.chunked = true;
                }
                Special::Connection => {
                    for token in tokens(header.value) {
                        match token {
                            t if t.eq_ignore_ascii_case(b"close") => seen.close = true,
                            t if t.eq_ignore_ascii_case(b"upgrade") => seen.wants_upgrade = true,
                            t if t.eq_ignore_ascii_case(b"keep-alive") => seen.keep = true,
                            _ => seen.lists_more = true,
                        }
                    }
                }
                Special::Upgrade => {
                    seen.upgrade = true;
                    seen.unseen |= tokens(header.value).any(carries_requests);
                }
                Special::Expect => {
                    if !header.value.eq_ignore_ascii_case(b"100-continue") {
                        return Err(RequestError::Expectation);
                    }
                    seen.expects_continue = true;
                }
                Special::Origin => seen.from_page = true,
                Special::RequestId => seen.id = Some(header.value),
                Special::ForwardedFor | Special::Taken | Special::Drop | Special::None => {}
            }
        }
        if seen.chunked && seen.length.is_some() {
            return Err(RequestError::Malformed("there is a Content-Length beside Transfer-Encoding"));
        }
        Ok(seen)
    }

    fn framing(&self) -> Framing {
        match self.length {
            _ if self.chunked => Framing::Chunked,
            None | Some(0) => Framing::None,
            Some(length) => Framing::Length(length),
        }
    }
}

/// Whether an upgrade to `protocol` would carry requests of its own past the proxy: another HTTP, or a tunnel for one.
fn carries_requests(protocol: &[u8]) -> bool {
    let name = protocol.split(|&b| b == b'/').next().unwrap_or_default().trim_ascii();
    [&b"h2c"[..], b"h2", b"h3", b"http", b"https", b"tls"]
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

fn is_listed(headers: &[httparse::Header<'_>], name: &str) -> bool {
    headers
        .iter()
        .filter(|h| classify(h.name) == Special::Connection)
        .any(|h| has_token(h.value, name.as_bytes()))
}

fn is_host(value: &[u8]) -> bool {
    value.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(head: &str) -> Result<String, RequestError> {
        let mut lines = Lines::default();
        let request = parse(head.as_bytes(), &mut lines)?;
        let mut out = Vec::new();
        write(&request, request.target, &lines, "10.0.0.9", [&b"x-hermes-profile: coder\r\n"[..]], &mut out);
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn lines_pass_byte_for_byte_but_hop_by_hop() {
        let head = "POST /a%2Fb//c?q=%20&r HTTP/1.1\r\nHOST: x:1\r\nX-Hub-Signature-256:  sha256=ab  \r\nconnection: Keep-Alive, X-Private\r\n\
            X-Private: 1\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nTrailer: a\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\n\
            x-hermes-profile: ops\r\nX-FORWARDED-PREFIX: /p/ops\r\nX-Hermes-Sender: ops\r\nX-Hermes-Listener: api_server\r\nX-Forwarded-For: 1.2.3.4\r\n\
            X-Forwarded-For: 5.6.7.8\r\nAuthorization: Bearer k\r\nContent-Length: 3\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(
            forward(head).unwrap(),
            "POST /a%2Fb//c?q=%20&r HTTP/1.1\r\nHOST: x:1\r\nX-Hub-Signature-256:  sha256=ab  \r\nAuthorization: Bearer k\r\n\
             Content-Length: 3\r\nx-hermes-profile: coder\r\nx-forwarded-for: 1.2.3.4, 5.6.7.8, 10.0.0.9\r\n\r\n"
        );
    }

    #[test]
    fn framing_that_can_be_read_in_two_ways_is_refused() {
        for headers in [
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: -1",
            "Content-Length:",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding:",
            "Transfer-Encoding : chunked",
            "Host: b",
            " folded: x",
            "A: b\r\n folded",
            "na me: x",
            ": x",
            "Na\u{e9}: x",
            "Content-Length\t: 1",
        ] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
            assert!(matches!(forward(&head), Err(RequestError::Malformed(_))), "{headers}");
        }
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a:443/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET https://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\nHost: u@a\r\n\r\n",
            "GET /\r\n\r\n",
        ] {
            assert!(matches!(forward(head), Err(RequestError::Malformed(_))), "{head}");
        }
    }

    /// 22: `http://h:80/x` and `Host: h` are the same; the limit of header lines is 100.
    #[test]
    fn targets_methods_and_versions() {
        let start = |head: &str| forward(head).map(|h| h.split("\r\n").next().unwrap().to_owned());
        assert_eq!(start("GET http://A:1/x?y HTTP/1.1\r\nHost: a:1\r\n\r\n").unwrap(), "GET /x?y HTTP/1.1");
        assert_eq!(start("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(), "OPTIONS * HTTP/1.1");
        assert_eq!(start("GET / HTTP/1.0\r\n\r\n").unwrap(), "GET / HTTP/1.1");
        assert!(forward("GET / HTTP/1.0\r\n\r\n").unwrap().contains("\r\nhost: localhost\r\n"));
        assert!(matches!(start("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n"), Err(RequestError::Tunnel)));
        assert!(matches!(start("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"), Err(RequestError::Trace)));
        assert!(matches!(start("GET / HTTP/2.0\r\nHost: a\r\n\r\n"), Err(RequestError::Version)));
        for (url, host) in [
            ("http://a:80/x", "a"),
            ("http://a/x", "A:80"),
            ("http://a:/x", "a"),
            ("https://a:443/x", "a"),
            ("HTTP://[::1]:80/x", "[::1]"),
        ] {
            let head = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(start(&head).unwrap(), "GET /x HTTP/1.1", "{url}");
        }
        assert_eq!(start("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n").unwrap(), "GET / HTTP/1.1");
        assert!(start(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(99))).is_ok());
        let many = "A: b\r\n".repeat(100);
        assert!(matches!(
            start(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n")),
            Err(RequestError::HeadTooLarge)
        ));
    }

    /// 22: HTTP/1.0 clients that ask for it are kept.
    #[test]
    fn old_clients_say_whether_the_connection_goes_on() {
        let keeps = |headers: &str| {
            let head = format!("GET / HTTP/1.0\r\nHost: a\r\n{headers}\r\n");
            super::parse(head.as_bytes(), &mut Lines::default()).unwrap().keep_alive
        };
        assert!(keeps("Connection: Keep-Alive\r\n"));
        assert!(!keeps("") && !keeps("Connection: keep-alive, close\r\n"));
    }

    /// 22: `Upgrade: h2c` beside `Upgrade: websocket`.
    #[test]
    fn persistence_expectations_and_upgrades() {
        let parse = |headers: &str| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
            let mut lines = Lines::default();
            let request = super::parse(head.as_bytes(), &mut lines)?;
            let flags = (request.keep_alive, request.upgrade, request.framing);
            Ok::<_, RequestError>((flags, String::from_utf8(lines.kept).unwrap()))
        };
        assert_eq!(parse("Connection: close").unwrap().0, (false, false, Framing::None));
        assert!(matches!(parse("Expect: 200-ok"), Err(RequestError::Expectation)));
        let (flags, kept) = parse("Expect: 100-Continue\r\nContent-Length: 1").unwrap();
        assert_eq!(flags, (true, false, Framing::Length(1)));
        assert!(kept.contains("Expect"));
        let (flags, kept) = parse("Connection: Upgrade\r\nUpgrade: websocket").unwrap();
        assert!(flags.1 && kept.contains("Upgrade: websocket"));
        let (flags, kept) =
            parse("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x").unwrap();
        assert!(!flags.1 && kept == "Host: a\r\n", "{kept}");
        // Every value is judged, whatever stands last.
        for lines in [
            "Upgrade: h2c\r\nUpgrade: websocket",
            "Upgrade: websocket\r\nUpgrade: H2C",
            "Upgrade: websocket, h2c",
            "Upgrade: HTTP/2.0, websocket",
            "Upgrade: TLS/1.2\r\nUpgrade: websocket",
        ] {
            let (flags, kept) = parse(&format!("Connection: Upgrade\r\n{lines}")).unwrap();
            assert!(!flags.1 && kept == "Host: a\r\n", "{lines}: {kept}");
        }
        let (_, kept) = parse("Expect: 100-continue").unwrap();
        assert_eq!(kept, "Host: a\r\n");
        let (_, kept) = parse("Connection: host, content-length, te\r\nContent-Length: 1").unwrap();
        assert!(kept.contains("Host: a") && kept.contains("Content-Length: 1"));
    }
}
