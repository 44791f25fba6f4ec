//! A raw HTTP/1.1 client: what is sent is exactly what the test says, and what came back is shown whole.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A response, read whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body, transfer coding removed.
    pub body: Vec<u8>,
    /// The body ended as its framing announced.
    pub complete: bool,
}

impl Response {
    /// First header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// Body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }
}

/// One connection to an address.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A response's head.
pub struct Head {
    /// Status code.
    pub status: u16,
    /// Header fields in order, names in lower case.
    pub headers: Vec<(String, String)>,
}

impl Connection {
    /// Connects; every read and write is bounded in time.
    pub fn open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// The socket, for tests that shut it down or set options.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads until more of the response is there; `false` at the end of the stream.
    pub fn fill(&mut self) -> std::io::Result<bool> {
        let mut chunk = [0; 16 * 1024];
        let n = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..n]);
        Ok(n > 0)
    }

    /// Bytes received and not consumed yet.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Reads a response's head; bytes behind it stay buffered.
    pub fn head(&mut self) -> std::io::Result<Head> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; 100];
            let mut parsed = httparse::Response::new(&mut fields);
            let status = parsed.parse(&self.buffer).map_err(|e| {
                std::io::Error::other(format!("{e}: {}", String::from_utf8_lossy(&self.buffer)))
            })?;
            if let httparse::Status::Complete(len) = status {
                let head = Head {
                    status: parsed.code.unwrap(),
                    headers: parsed
                        .headers
                        .iter()
                        .map(|h| (h.name.to_ascii_lowercase(), String::from_utf8_lossy(h.value).into_owned()))
                        .collect(),
                };
                self.buffer.drain(..len);
                if head.status == 100 {
                    continue;
                }
                return Ok(head);
            }
            if !self.fill()? {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::UnexpectedEof,
                    "closed before a response",
                ));
            }
        }
    }

    /// Reads a whole response. `head_only`: the request was a HEAD.
    pub fn response(&mut self, head_only: bool) -> std::io::Result<Response> {
        let Head { status, headers } = self.head()?;
        let mut response = Response { status, headers, body: Vec::new(), complete: true };
        if head_only || status == 204 || status == 304 {
            return Ok(response);
        }
        if response.header("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            response.complete = self.chunked(&mut response.body)?;
        } else if let Some(length) = response.header("content-length").map(|v| v.parse::<usize>().unwrap()) {
            while self.buffer.len() < length && self.fill()? {}
            response.complete = self.buffer.len() >= length;
            response.body = self.buffer.drain(..length.min(self.buffer.len())).collect();
        } else {
            while self.fill().unwrap_or(false) {}
            response.body = std::mem::take(&mut self.buffer);
        }
        Ok(response)
    }

    fn line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return Ok(Some(line));
            }
            if !self.fill().unwrap_or(false) {
                return Ok(None);
            }
        }
    }

    fn chunked(&mut self, body: &mut Vec<u8>) -> std::io::Result<bool> {
        loop {
            let Some(size) = self.line()? else { return Ok(false) };
            let size = usize::from_str_radix(size.split(';').next().unwrap().trim(), 16)
                .map_err(std::io::Error::other)?;
            while self.buffer.len() < size + 2 {
                if !self.fill().unwrap_or(false) {
                    body.append(&mut self.buffer);
                    return Ok(false);
                }
            }
            body.extend(self.buffer.drain(..size));
            self.buffer.drain(..2);
            if size == 0 {
                return Ok(true);
            }
        }
    }

    /// Sends a request with these header fields and reads the response.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Response> {
        self.send(&encode(method, path, headers, body))?;
        self.response(method == "HEAD")
    }
}

/// A request to coder's chat completions, with the key of [`crate::Home::key`].
pub fn chat(stream: bool, content: &str) -> Vec<u8> {
    let body = serde_json::json!({"stream": stream, "messages": [{"role": "user", "content": content}]});
    let key = format!("Bearer {}", crate::Home::key("coder"));
    encode("POST", "/p/coder/v1/chat/completions", &[("Authorization", &key)], body.to_string().as_bytes())
}

/// Bytes of a request with `Host` and, where there is a body, `Content-Length`.
pub fn encode(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    use std::fmt::Write as _;
    let named = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    let mut head = format!("{method} {path} HTTP/1.1\r\n{}", if named { "" } else { "Host: test\r\n" });
    for (name, value) in headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One request on a connection of its own.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Response> {
    Connection::open(address)?.request(method, path, headers, body)
}
