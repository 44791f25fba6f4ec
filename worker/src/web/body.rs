//! The body of a page: read within bounds, unpacked as it comes, and made text.

use std::io::Write as _;

use encoding_rs::{Encoding, UTF_8, WINDOWS_1252};
use flate2::write::MultiGzDecoder;
use futures_util::StreamExt as _;
use hermes_wire::text::is_unseen;
use reqwest::header::CONTENT_ENCODING;
use reqwest::{Response, Url};

use super::{Unread, markdown, unread};
use crate::outgoing::innermost;

/// Most bytes of a body, before and after it is unpacked; what is longer is cut.
const MOST: usize = 5 * 1024 * 1024;
/// Bytes that are unpacked at once: to a thousand times as many at most.
const STEP: usize = 1024;
/// In so many of its first bytes a page says which characters it is written in.
const PRESCAN: usize = 1024;

/// What came.
pub(super) struct Bytes {
    bytes: Vec<u8>,
    is_cut: bool,
}

#[expect(clippy::large_enum_variant, reason = "there is one while a body comes in")]
enum Unpacker {
    Plain(Vec<u8>),
    Gzip(MultiGzDecoder<Vec<u8>>),
}

impl Unpacker {
    fn bytes(&self) -> &Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Gzip(decoder) => decoder.get_ref(),
        }
    }

    fn write(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(bytes) => bytes.extend_from_slice(chunk),
            Self::Gzip(decoder) => decoder.write_all(chunk)?,
        }
        Ok(())
    }
}

/// Reads a body as far as it is read.
pub(super) async fn read(response: Response) -> Result<Bytes, Unread> {
    let coding = response.headers().get(CONTENT_ENCODING).and_then(|coding| coding.to_str().ok());
    let mut out = match coding.unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Unpacker::Plain(Vec::new()),
        "gzip" | "x-gzip" => Unpacker::Gzip(MultiGzDecoder::new(Vec::new())),
        other => return unread(format!("it is packed with `{}`, which was not asked for", word(other))),
    };
    let mut chunks = response.bytes_stream();
    let mut received = 0_usize;
    'body: while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Unread(format!("the answer broke off: {}", innermost(&error))))?;
        for step in chunk.chunks(STEP) {
            received += step.len();
            out.write(step).map_err(|_| Unread("it is not packed as it says".to_owned()))?;
            if received > MOST || out.bytes().len() > MOST {
                break 'body;
            }
        }
    }
    if let Unpacker::Gzip(decoder) = &mut out {
        // What is missing at the end of a packed body is missing; what is there is there.
        let _ = decoder.try_finish();
    }
    let mut bytes = match out {
        Unpacker::Plain(bytes) => bytes,
        Unpacker::Gzip(mut decoder) => std::mem::take(decoder.get_mut()),
    };
    let is_cut = received > MOST || bytes.len() > MOST;
    bytes.truncate(MOST);
    Ok(Bytes { bytes, is_cut })
}

/// What a body says.
#[expect(clippy::struct_field_names, reason = "the text of a text beside its title")]
pub(super) struct Text {
    pub(super) text: String,
    pub(super) title: Option<String>,
    pub(super) is_cut: bool,
}

/// How a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Html,
    Plain,
}

/// Makes text of a body; `kind` is its `Content-Type`.
pub(super) fn text(kind: &str, Bytes { bytes, is_cut }: &Bytes, at: &Url) -> Result<Text, Unread> {
    let (name, charset) = parts(kind);
    let how = match of(&name) {
        Some(how) => how,
        None if name.is_empty() || name == "application/octet-stream" => guess(bytes).ok_or_else(|| {
            Unread(format!("it does not say what it is, and is no text ({} bytes)", bytes.len()))
        })?,
        None => {
            return unread(format!(
                "it is `{}`, which is not read as text ({} bytes)",
                word(&name),
                bytes.len()
            ));
        }
    };
    let decoded = decode(bytes, charset.as_deref(), how);
    let is_cut = *is_cut;
    Ok(match how {
        Kind::Plain => {
            let text = decoded.chars().filter(|c| matches!(c, '\n' | '\t') || !is_unseen(*c)).collect();
            Text { text, title: None, is_cut }
        }
        Kind::Html => {
            let markdown::Document { title, text } = markdown::read(&decoded, Some(at));
            Text { text, title, is_cut }
        }
    })
}

/// `text/html; charset="utf-8"` → both, in lower case.
fn parts(kind: &str) -> (String, Option<String>) {
    let mut parts = kind.split(';');
    let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = parts.find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    });
    (name, charset)
}

fn of(name: &str) -> Option<Kind> {
    match name {
        "text/html" | "application/xhtml+xml" => Some(Kind::Html),
        "application/json"
        | "application/xml"
        | "application/javascript"
        | "application/x-javascript"
        | "application/yaml"
        | "application/x-yaml"
        | "application/toml"
        | "application/x-ndjson"
        | "application/x-sh"
        | "application/sql"
        | "application/graphql" => Some(Kind::Plain),
        _ if name.starts_with("text/")
            || name.ends_with("+json")
            || name.ends_with("+xml")
            || name.ends_with("+yaml") =>
        {
            Some(Kind::Plain)
        }
        _ => None,
    }
}

/// What a body without a name looks like; none: no text.
fn guess(bytes: &[u8]) -> Option<Kind> {
    let start = &bytes[..bytes.len().min(PRESCAN)];
    if start.contains(&0) {
        return None;
    }
    let lower = String::from_utf8_lossy(start).to_ascii_lowercase();
    if lower.contains("<html") || lower.contains("<!doctype html") {
        return Some(Kind::Html);
    }
    let end = std::str::from_utf8(start).map_or_else(|error| error.valid_up_to(), str::len);
    (end + 4 > start.len()).then_some(Kind::Plain)
}

/// The characters of a body: as its first bytes mark them, as its header says, as the page says, else UTF-8 where it is that.
fn decode(bytes: &[u8], charset: Option<&str>, how: Kind) -> String {
    let named = charset.and_then(|label| Encoding::for_label(label.as_bytes()));
    let within = || (how == Kind::Html).then(|| meta(bytes)).flatten();
    let encoding = named.or_else(within).unwrap_or_else(|| {
        let cut = std::str::from_utf8(bytes).map_or_else(|error| error.valid_up_to(), str::len);
        // A character that was cut at the end says nothing.
        if cut + 4 > bytes.len() { UTF_8 } else { WINDOWS_1252 }
    });
    encoding.decode(bytes).0.into_owned()
}

/// What a page says about its characters.
fn meta(bytes: &[u8]) -> Option<&'static Encoding> {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(PRESCAN)]).to_ascii_lowercase();
    let mut rest = start.as_str();
    while let Some(at) = rest.find("charset") {
        rest = &rest[at + "charset".len()..];
        let Some(value) = rest.trim_start().strip_prefix('=') else { continue };
        let value = value.trim_start().trim_start_matches(['"', '\'']);
        let end =
            value.find(|c: char| !c.is_ascii_alphanumeric() && !"-_:.+".contains(c)).unwrap_or(value.len());
        if let Some(encoding) = Encoding::for_label(&value.as_bytes()[..end]) {
            // A page that is read byte by byte to find this is not written in two bytes a character.
            let is_wide = encoding == encoding_rs::UTF_16LE || encoding == encoding_rs::UTF_16BE;
            return Some(if is_wide { UTF_8 } else { encoding });
        }
    }
    None
}

/// A word from outside, as far as it is shown.
fn word(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(kind: &str, bytes: &[u8]) -> Result<String, Unread> {
        let at = Url::parse("https://example.org/").unwrap();
        text(kind, &Bytes { bytes: bytes.to_vec(), is_cut: false }, &at).map(|text| text.text)
    }

    #[test]
    fn characters_are_those_that_were_meant() {
        for (kind, bytes, expected) in [
            ("text/plain; charset=ISO-8859-1", &b"gr\xfc\xdfe"[..], "grüße"),
            ("text/plain", "grüße".as_bytes(), "grüße"),
            ("text/plain", b"gr\xfc\xdfe, und mehr", "grüße, und mehr"),
            ("text/html", b"<meta charset='shift_jis'><p>\x93\xfa\x96\x7b", "日本"),
            ("text/html; charset=utf-8", "<meta charset=latin1><p>ü".as_bytes(), "ü"),
            ("text/plain; charset=utf-8", b"\xff\xfea\0b\0", "ab"),
            ("text/plain; charset=nonsense", "ü".as_bytes(), "ü"),
        ] {
            assert_eq!(read_as(kind, bytes).unwrap(), expected, "{kind}");
        }
    }

    #[test]
    fn what_is_no_text_is_named() {
        assert_eq!(
            read_as("application/pdf", b"%PDF").unwrap_err().0,
            "it is `application/pdf`, which is not read as text (4 bytes)"
        );
        assert!(read_as("", b"\0\x01").is_err() && read_as("image/png", b"x").is_err());
        assert_eq!(read_as("", b"plain").unwrap(), "plain");
        assert_eq!(read_as("", b"<!DOCTYPE html><p>x").unwrap(), "x");
        assert_eq!(read_as("application/ld+json; charset=utf-8", b"{}").unwrap(), "{}");
    }
}
