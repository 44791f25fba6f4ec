//! A request, as a service of the tests reads it off its connection.

use std::io::Read as _;
use std::net::TcpStream;

/// What a request asks for.
pub(crate) struct Asked {
    pub(crate) method: String,
    /// As it is written.
    pub(crate) path: String,
    /// What stands behind a question mark.
    pub(crate) query: String,
    pub(crate) body: Vec<u8>,
    head: String,
}

impl Asked {
    /// One of its headers.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        header(&self.head, name)
    }
}

/// The header of a name.
pub(crate) fn header(head: &str, name: &str) -> Option<String> {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
    found.next().map(|(_, value)| value.trim().to_owned())
}

/// Where bytes hold others first.
pub(crate) fn position(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The next request on a connection, of at most so many bytes behind its head; none: the client is gone.
pub(crate) fn read(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    most: usize,
) -> std::io::Result<Option<Asked>> {
    let mut piece = vec![0; 16 * 1024];
    let mut more = |stream: &mut TcpStream, buffer: &mut Vec<u8>| -> std::io::Result<bool> {
        let read = stream.read(&mut piece)?;
        buffer.extend_from_slice(&piece[..read]);
        Ok(read > 0)
    };
    let end = loop {
        if let Some(at) = position(buffer, b"\r\n\r\n") {
            break at + 4;
        }
        if !more(stream, buffer)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end);
    let length: usize = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    assert!(length <= most);
    while buffer.len() < length {
        if !more(stream, buffer)? {
            return Ok(None);
        }
    }
    let body: Vec<u8> = buffer.drain(..length).collect();
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (path, query) = (path.to_owned(), query.to_owned());
    Ok(Some(Asked { method, path, query, body, head }))
}

/// A part of an address, as it is meant.
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        let hex = behind.get(..2).filter(|_| *first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[2..] } else { behind };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
