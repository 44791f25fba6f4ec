//! Response heads of workers: read strictly, written anew for the client.

use std::mem::MaybeUninit;

use super::head::{
    MAX_HEADERS, Persistence, Special, classify, classify_all, content_length, has_token, lines, tokens,
};
use super::request::Framing;

/// One of the headers that every answer of a worker carries.
const SIGNATURE: &str = "x-content-type-options";

/// What decides how a response is read and written.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent fact about the request")]
pub(crate) struct Context {
    /// The request's method was HEAD: no body, whatever the headers say.
    pub(crate) head_only: bool,
    /// The request had a body.
    pub(crate) body: bool,
    /// The client speaks HTTP/1.0.
    pub(crate) old: bool,
    /// The client's connection may serve another request.
    pub(crate) keep_alive: bool,
    /// A change of protocol was asked for.
    pub(crate) upgrade: bool,
}

/// What a response head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) framing: Framing,
    /// The worker keeps its connection, and says that it took the whole request: bytes of a body that it left would be read as
    /// the next request.
    pub(crate) upstream_keeps: bool,
    /// The client's connection may serve another request; the head written says the same.
    pub(crate) client_keeps: bool,
    /// Made by the worker's HTTP library, which could not read the request: what the worker itself answers carries the security
    /// headers.
    pub(crate) refusal: bool,
}

impl Response {
    /// 1xx, but not the change of protocol: another head follows.
    pub(crate) fn is_interim(&self) -> bool {
        self.status / 100 == 1 && self.status != 101
    }
}

/// The worker sent something that is no response to this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads `head`, which is complete, and appends to `out` what the client gets.
pub(crate) fn rewrite(head: &[u8], context: Context, out: &mut Vec<u8>) -> Result<Response, Malformed> {
    // The library skips empty lines; what is copied below begins at the status line.
    if !head.starts_with(b"HTTP/1.") {
        return Err(Malformed);
    }
    let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let Ok(httparse::Status::Complete(_)) =
        config.parse_response_with_uninit_headers(&mut parsed, head, &mut headers)
    else {
        return Err(Malformed);
    };
    let (Some(status), Some(version)) = (parsed.code, parsed.version) else { return Err(Malformed) };
    if !(100..=599).contains(&status) || (status == 101 && !context.upgrade) {
        return Err(Malformed);
    }
    let mut length = None;
    let mut chunked = false;
    let mut close = version == 0;
    let mut lists_more = false;
    let (mut taken, mut signed) = (false, false);
    let kinds = classify_all(parsed.headers);
    for (header, kind) in parsed.headers.iter().zip(&kinds) {
        match kind {
            Special::ContentLength => {
                if length.is_some() {
                    return Err(Malformed);
                }
                length = Some(content_length(header.value).ok_or(Malformed)?);
            }
            Special::TransferEncoding => {
                if chunked || version == 0 || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed);
                }
                chunked = true;
            }
            Special::Connection => {
                for token in tokens(header.value) {
                    if token.eq_ignore_ascii_case(b"close") {
                        close = true;
                    } else if !token.eq_ignore_ascii_case(b"keep-alive")
                        && !token.eq_ignore_ascii_case(b"upgrade")
                    {
                        lists_more = true;
                    }
                }
            }
            Special::Taken => taken = true,
            _ => signed |= header.name.eq_ignore_ascii_case(SIGNATURE),
        }
    }
    if chunked && length.is_some() {
        return Err(Malformed);
    }
    let interim = status / 100 == 1;
    let framing = match length {
        _ if interim || status == 204 || status == 304 || context.head_only => Framing::None,
        _ if chunked => Framing::Chunked,
        None => Framing::Close,
        Some(0) => Framing::None,
        Some(length) => Framing::Length(length),
    };
    // What has no end of its own ends with the connection; for HTTP/1.0 that is a chunked body too.
    let endless = framing == Framing::Close || (context.old && framing == Framing::Chunked);
    let client_keeps = interim || (context.keep_alive && !endless);

    out.extend_from_slice(b"HTTP/1.1");
    let status_line =
        parsed.headers.first().map_or(head.len() - 2, |h| super::head::offset(head, h.name.as_bytes()));
    // Behind the version, line end included.
    out.extend_from_slice(&head[8..status_line]);
    let no_framing = interim || status == 204;
    lines(head, parsed.headers, |at, header, line| {
        let keep = match kinds[at] {
            Special::Connection | Special::Taken | Special::Drop => false,
            Special::Upgrade => status == 101,
            Special::ContentLength => !no_framing,
            // A client of HTTP/1.0 gets the payload alone.
            Special::TransferEncoding => !no_framing && !context.old,
            _ => {
                let is_listed = |h: &httparse::Header<'_>| {
                    classify(h.name) == Special::Connection && has_token(h.value, header.name.as_bytes())
                };
                !(lists_more && parsed.headers.iter().any(is_listed))
            }
        };
        if keep {
            out.extend_from_slice(line);
        }
    });
    if status == 101 {
        out.extend_from_slice(b"connection: upgrade\r\n");
    } else if !interim {
        out.extend_from_slice(Persistence::of(client_keeps, context.old).line());
    }
    out.extend_from_slice(b"\r\n");
    let upstream_keeps = !close && framing != Framing::Close && (taken || !context.body);
    let refusal = !signed && length == Some(0) && matches!(status, 400 | 414 | 431);
    Ok(Response { status, framing, upstream_keeps, client_keeps, refusal })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Context =
        Context { head_only: false, body: false, old: false, keep_alive: true, upgrade: false };

    fn run(head: &str, context: Context) -> Result<(Response, String), Malformed> {
        let mut out = Vec::new();
        let response = rewrite(head.as_bytes(), context, &mut out)?;
        Ok((response, String::from_utf8(out).unwrap()))
    }

    #[test]
    fn lines_pass_byte_for_byte_but_hop_by_hop() {
        let head = "HTTP/1.1 200 All  right\r\nX-A:  b \r\nConnection: keep-alive, X-Hop\r\nx-hop: 1\r\nKeep-Alive: 5\r\ncontent-length: 2\r\n\r\n";
        let (response, out) = run(head, PLAIN).unwrap();
        assert_eq!(out, "HTTP/1.1 200 All  right\r\nX-A:  b \r\ncontent-length: 2\r\n\r\n");
        assert_eq!(
            response,
            Response {
                status: 200,
                framing: Framing::Length(2),
                upstream_keeps: true,
                client_keeps: true,
                refusal: false
            }
        );
    }

    #[test]
    fn bodies_end_where_they_should() {
        let framing = |head: &str, context| run(head, context).unwrap().0.framing;
        let head_only = Context { head_only: true, ..PLAIN };
        assert_eq!(framing("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", head_only), Framing::None);
        assert_eq!(framing("HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n", PLAIN), Framing::None);
        assert_eq!(framing("HTTP/1.1 204 x\r\n\r\n", PLAIN), Framing::None);
        assert_eq!(framing("HTTP/1.1 200\r\ntransfer-encoding: chunked\r\n\r\n", PLAIN), Framing::Chunked);
        let (response, out) = run("HTTP/1.1 200 OK\r\n\r\n", PLAIN).unwrap();
        assert_eq!(
            (response.framing, response.client_keeps, response.upstream_keeps),
            (Framing::Close, false, false)
        );
        assert!(out.ends_with("\r\nconnection: close\r\n\r\n"));
        let old = Context { old: true, keep_alive: false, ..PLAIN };
        let (_, out) = run("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", old).unwrap();
        assert_eq!(out, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
        let (response, out) =
            run("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", PLAIN).unwrap();
        assert!(response.client_keeps && !response.upstream_keeps && !out.contains("close"));
    }

    #[test]
    fn interim_responses_and_changes_of_protocol() {
        let (response, out) = run("HTTP/1.1 100 Continue\r\n\r\n", PLAIN).unwrap();
        assert!(response.is_interim() && response.client_keeps);
        assert_eq!(out, "HTTP/1.1 100 Continue\r\n\r\n");
        let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert!(run(switch, PLAIN).is_err());
        let (response, out) = run(switch, Context { upgrade: true, ..PLAIN }).unwrap();
        assert!(!response.is_interim() && out.contains("Upgrade: websocket\r\nconnection: upgrade\r\n"));
    }

    #[test]
    fn what_is_no_response_is_refused() {
        for bad in [
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 99 x\r\n\r\n",
            "HTTP/1.1 600 x\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "nonsense\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\n a: b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        ] {
            assert_eq!(run(bad, PLAIN).unwrap_err(), Malformed, "{bad}");
        }
    }
}
