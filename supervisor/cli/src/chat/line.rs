//! One request over a local socket, and its answer line by line.
//!
//! The request is HTTP/1.0, so that the answer is not cut into chunks and ends with the connection. A thread reads; whoever waits for
//! lines does so with a time limit, and can close the connection meanwhile. What is read is bounded.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use hermes_wire::terminal::Said;

/// Longest line: a request with a whole conversation may be in it.
const MAX_LINE: u64 = 256 << 20;
/// Longest head of an answer.
const MAX_HEAD: u64 = 64 * 1024;
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
        let (tell, heard) = sync_channel(WAITING);
        let (Ok(mut writing), Ok(reading)) = (stream.try_clone(), stream.try_clone()) else {
            return Self { stream: None, heard, reader: None };
        };
        let mut request = format!(
            "{method} {path} HTTP/1.0\r\nHost: worker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
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

/// Reads to the end. Whoever waits may go away.
fn read(stream: UnixStream, tell: &SyncSender<Heard>) {
    let mut reader = BufReader::new(stream);
    match head(&mut reader) {
        Some(200) => {}
        Some(404) => {
            let _ = tell.send(Heard::NotFound);
            return;
        }
        _ => return,
    }
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

/// The status of an answer, its head read.
fn head(reader: &mut BufReader<UnixStream>) -> Option<u16> {
    let mut head = reader.by_ref().take(MAX_HEAD);
    let mut line = String::new();
    head.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.trim().parse().ok()?;
    loop {
        line.clear();
        if head.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            return Some(status);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

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
