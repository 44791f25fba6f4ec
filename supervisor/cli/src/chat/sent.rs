//! Requests that were made of a provider, for people and in files.

use std::fmt::Write as _;

use camino::Utf8Path;
use hermes_host::disk;
use hermes_wire::terminal::Sent;

use super::ChatError;

/// Writes a file that nobody else can read.
pub(crate) fn write(path: &Utf8Path, text: &str) -> Result<(), ChatError> {
    disk::write_atomic(path, text.as_bytes(), false)
        .map_err(|source| ChatError::Dump { path: path.to_owned(), source })
}

/// A request as it would stand on the wire.
pub(crate) fn readable(sent: &Sent) -> String {
    let Sent { session, at, url, headers, body, bytes } = sent;
    let mut text = format!("# session {session}, {at}\nPOST {url}\n");
    for (name, value) in headers {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {value}");
    }
    match body {
        Some(body) => {
            let _ = write!(text, "\n{body}");
        }
        None => {
            let _ = write!(
                text,
                "\n# The body had {bytes} bytes, which is more than is kept: `hermes debug turn --next` shows the next one whole."
            );
        }
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reads_as_it_was_sent() {
        let sent = Sent {
            session: "s".to_owned(),
            at: "2026-11-30T03:04:05Z".to_owned(),
            url: "http://127.0.0.1:1/v1/chat/completions".to_owned(),
            headers: vec![("authorization".to_owned(), "***".to_owned())],
            body: Some("{\"a\":1}".to_owned()),
            bytes: 7,
        };
        assert_eq!(
            readable(&sent),
            "# session s, 2026-11-30T03:04:05Z\nPOST http://127.0.0.1:1/v1/chat/completions\nauthorization: ***\n\n{\"a\":1}\n"
        );
        assert!(readable(&Sent { body: None, bytes: 2_000_000, ..sent }).contains("2000000 bytes"));
    }
}
