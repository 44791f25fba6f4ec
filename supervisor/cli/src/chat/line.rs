//! One request over a local socket, and its answer line by line.
//!
//! A request is HTTP/1.0, so that the answer is not cut into chunks and ends with the connection; but one that is replied to while it is
//! answered has a body without an end, which only HTTP/1.1 knows. A thread reads; whoever waits for lines does so with a time limit, and
//! can close the connection meanwhile. What is read is bounded.

use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use hermes_wire::terminal::{LINES, Said};

/// Longest line: a request with a whole conversation may be in it.
const MAX_LINE: u64 = 256 << 20;
/// Longest head of an answer.
const MAX_HEAD: u64 = 64 * 1024;
/// Longest line with the size of a chunk.
const MAX_SIZE: u64 = 256;
/// Lines between the reader and whoever waits for them.
const WAITING: usize = 64;

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Nothing in that time.
    Nothing,
    /// A line.
    Line(Said),
    /// There is no such path.
    NotFound,
    /// The connection ended, or something came that is no answer.
    End,
}

/// An answer that is being read.
pub(crate) struct Line {
    stream: Option<UnixStream>,
    heard: Receiver<Heard>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Line {
    /// Asks.
    pub(crate) fn ask(stream: UnixStream, method: &str, path: &str, body: &[u8]) -> Self {
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nHost: worker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        Self::send(stream, request)
    }

    /// Asks, and may [reply](Self::reply) to what is asked back.
    pub(crate) fn talk(stream: UnixStream, path: &str, question: &[u8]) -> Self {
        let mut request = format!(
            "POST {path} HTTP/1.1\r\nHost: worker\r\nContent-Type: {LINES}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .into_bytes();
        request.extend_from_slice(&chunk(question));
        Self::send(stream, request)
    }

    /// Says something to what was asked back.
    pub(crate) fn reply(&mut self, reply: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Some(stream) => stream.write_all(&chunk(reply)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn send(stream: UnixStream, request: Vec<u8>) -> Self {
        let (tell, heard) = sync_channel(WAITING);
        let (Ok(mut writing), Ok(reading)) = (stream.try_clone(), stream.try_clone()) else {
            return Self { stream: None, heard, reader: None };
        };
        let reader = std::thread::spawn(move || {
            // Who does not read it to its end answers nevertheless, or the connection says that it is over.
            let _ = writing.write_all(&request);
            drop((writing, request));
            read(reading, &tell);
        });
        Self { stream: Some(stream), heard, reader: Some(reader) }
    }

    /// What comes within that time.
    pub(crate) fn next(&mut self, time: Duration) -> Heard {
        match self.heard.recv_timeout(time) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Ends the connection.
    pub(crate) fn close(&mut self) {
        if let Some(stream) = self.stream.take() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // So that the reader is not kept waiting for room.
        while self.heard.try_recv().is_ok() {}
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.close();
        // It ends with the connection, or when nobody hears it.
        let (_, nobody) = sync_channel(0);
        drop(std::mem::replace(&mut self.heard, nobody));
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// A line as a chunk of a body.
fn chunk(line: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", line.len() + 1).into_bytes();
    chunk.extend_from_slice(line);
    chunk.extend_from_slice(b"\n\r\n");
    chunk
}

/// A body that comes in chunks.
struct Chunks<R> {
    inner: R,
    /// Bytes of the chunk that is being read.
    left: u64,
    is_over: bool,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.is_over {
            let mut size = String::new();
            self.inner.by_ref().take(MAX_SIZE).read_line(&mut size)?;
            let digits = size.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(digits, 16).map_err(io::Error::other)?;
            self.is_over = self.left == 0;
        }
        if self.is_over {
            return Ok(0);
        }
        let read = self.inner.by_ref().take(self.left).read(buffer)?;
        self.left -= read as u64;
        if read > 0 && self.left == 0 {
            self.inner.read_exact(&mut [0; 2])?;
        }
        Ok(read)
    }
}

/// Reads to the end. Whoever waits may go away.
fn read(stream: UnixStream, tell: &SyncSender<Heard>) {
    let mut reader = BufReader::new(stream);
    let mut reader: Box<dyn BufRead> = match head(&mut reader) {
        Some(Head { status: 200, is_chunked: false }) => Box::new(reader),
        Some(Head { status: 200, is_chunked: true }) => {
            Box::new(BufReader::new(Chunks { inner: reader, left: 0, is_over: false }))
        }
        Some(Head { status: 404, .. }) => {
            let _ = tell.send(Heard::NotFound);
            return;
        }
        _ => return,
    };
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
        if read.is_err() || line.last() != Some(&b'\n') {
            return;
        }
        let Ok(said) = serde_json::from_slice(&line) else { return };
        if tell.send(Heard::Line(said)).is_err() {
            return;
        }
    }
}

/// What the head of an answer says.
struct Head {
    status: u16,
    is_chunked: bool,
}

/// Reads the head of an answer.
fn head(reader: &mut BufReader<UnixStream>) -> Option<Head> {
    let mut head = reader.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    head.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.trim().parse().ok()?;
    let mut is_chunked = false;
    loop {
        line.clear();
        if head.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let field = line.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            return Some(Head { status, is_chunked });
        }
        is_chunked |= field.strip_prefix("transfer-encoding:").is_some_and(|value| value.trim() == "chunked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    /// One that is replied to: its body and its answer come in chunks.
    #[test]
    fn what_is_asked_back_is_replied_to_in_the_same_body() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let mut line = Line::talk(ours, "/terminal/talk", b"{}");
        let mut asked = [0; 4096];
        let mut n = 0;
        while !asked[..n].ends_with(b"3\r\n{}\n\r\n") {
            n += theirs.read(&mut asked[n..]).unwrap();
        }
        theirs
            .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{\"said\":\r\n9;x=y\r\n\"alive\"}\n\r\n")
            .unwrap();
        assert!(matches!(line.next(PATIENCE), Heard::Line(Said::Alive)));
        line.reply(b"{\"choice\":\"once\"}").unwrap();
        let n = theirs.read(&mut asked).unwrap();
        assert_eq!(&asked[..n], b"12\r\n{\"choice\":\"once\"}\n\r\n");
        theirs.write_all(b"11\r\n{\"said\":\"alive\"}\n\r\n0\r\n\r\n").unwrap();
        assert!(matches!(line.next(PATIENCE), Heard::Line(Said::Alive)));
        assert!(matches!(line.next(PATIENCE), Heard::End));
    }

    fn answered(answer: &'static [u8]) -> Vec<Heard> {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let server = std::thread::spawn(move || {
            let mut asked = [0; 4096];
            let n = theirs.read(&mut asked).unwrap();
            theirs.write_all(answer).unwrap();
            String::from_utf8_lossy(&asked[..n]).into_owned()
        });
        let mut line = Line::ask(ours, "POST", "/terminal/turn", b"{}");
        let mut all = Vec::new();
        loop {
            let heard = line.next(PATIENCE);
            let is_end = matches!(heard, Heard::End);
            all.push(heard);
            if is_end {
                break;
            }
        }
        let asked = server.join().unwrap();
        assert!(
            asked.starts_with("POST /terminal/turn HTTP/1.0\r\n") && asked.ends_with("\r\n\r\n{}"),
            "{asked}"
        );
        all
    }

    #[test]
    fn lines_are_told_and_whatever_is_none_is_the_end() {
        let all = answered(
            b"HTTP/1.0 200 OK\r\ncontent-type: x\r\n\r\n{\"said\":\"alive\"}\n{\"said\":\"later\",\"x\":1}\n{\"said\":\"de",
        );
        assert!(
            matches!(&all[..], [Heard::Line(Said::Alive), Heard::Line(Said::Unknown), Heard::End]),
            "{all:?}"
        );
        assert!(matches!(&answered(b"HTTP/1.1 404 Not Found\r\n\r\nx")[..], [Heard::NotFound, Heard::End]));
        for odd in [&b"HTTP/1.1 500 X\r\n\r\n"[..], b"nonsense", b"", b"HTTP/1.0 200 OK\r\n\r\nnonsense\n"] {
            assert!(matches!(&answered(odd)[..], [Heard::End]), "{odd:?}");
        }
    }

    #[test]
    fn an_answer_that_does_not_end_can_be_left() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut line = Line::ask(ours, "GET", "/x", b"");
        assert!(matches!(line.next(Duration::from_millis(1)), Heard::Nothing));
        line.close();
        assert!(matches!(line.next(PATIENCE), Heard::End));
    }
}
