//! What comes with messages, as the model is told of it: a line for each file, the text of what is text, and pictures as pictures.
//!
//! # Theory of operation
//!
//! A file that came with a message is one line of the message's text ([`note`]) that names it and says where it is, in a form that is
//! written here and read here alone. So a conversation keeps its pictures in as many bytes as their names have: where a model is asked
//! that can see, the pictures behind the latest of these lines are read from the cache again ([`Pictures`]), also for a question that
//! comes later. Nothing outside the profile's own cache is ever read so, whatever a line says, and no picture that is
//! [too long](MOST).
//!
//! What a file is its first bytes say, not its sender: what says to be a picture and is none is a document.

use std::fmt::Write as _;
use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileHome;
use hermes_wire::road::{Attachment, Media};

/// Bytes that say what a file is.
pub(crate) const SNIFFED: usize = 16;
/// Longest document whose text is part of the message, in bytes.
pub(crate) const TEXT: u64 = 100 * 1024;
/// Longest text of all documents of one message, in bytes.
const TEXTS: usize = 512 * 1024;
/// Longest picture that a model is shown, in bytes: services take five megabytes of them as text.
const MOST: u64 = 5 * 1024 * 1024 / 4 * 3;
/// Most pictures of one request, the latest.
const PICTURES: usize = 8;
/// Longest of them together, in bytes.
const ALL: u64 = 12 * 1024 * 1024;

/// Ends of the names of files that are text, whatever their sender says they are.
const TEXT_NAMES: [&str; 34] = [
    "txt", "md", "markdown", "log", "csv", "tsv", "json", "jsonl", "xml", "yaml", "yml", "toml", "ini",
    "cfg", "conf", "env", "sql", "sh", "py", "js", "ts", "rs", "go", "c", "h", "cpp", "java", "rb", "html",
    "css", "diff", "patch", "tex", "rst",
];

/// What a text says of an attachment that is there.
pub(crate) fn note(notes: &mut String, attachment: &Attachment, path: &str) {
    say(notes, attachment, &format!(": {path}"));
}

/// What it says of one that was too much.
pub(crate) fn left_out(notes: &mut String, attachment: &Attachment, most: u64) {
    say(notes, attachment, &format!(" was left out: at most {most} bytes come with one message"));
}

/// What it says of one that was not to be had.
pub(crate) fn not_fetched(notes: &mut String, attachment: &Attachment) {
    say(notes, attachment, " could not be fetched");
}

/// The text of a document, behind its line. What is too much together is in its file alone.
pub(crate) fn content(notes: &mut String, name: &str, text: &str) {
    if notes.len() + text.len() <= TEXTS {
        // Writing to a string cannot fail.
        let _ = write!(notes, "\n[Content of {}]:\n{text}", plain(name));
    }
}

/// What was said in a sound, behind its line.
pub(crate) fn transcript(notes: &mut String, name: &str, text: &str) {
    let _ = write!(notes, "\n[Transcript of {}]:\n{text}", plain(name));
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn say(notes: &mut String, attachment: &Attachment, what: &str) {
    let Attachment { media, name, media_type, length } = attachment;
    let (word, name, media_type) = (media.as_str(), plain(name), plain(media_type));
    let _ = write!(notes, "\n[{word} {name} ({media_type}, {length} bytes){what}]");
}

/// A message's text, and behind it what is said of what came with it.
pub(crate) fn with_notes(text: String, notes: &str) -> String {
    if text.is_empty() { notes.trim_start_matches('\n').to_owned() } else { text + notes }
}

/// What a file is that says to be `media`, by its first bytes.
pub(crate) fn seen(media: Media, start: &[u8]) -> Media {
    if media == Media::Image && !is_picture(start) { Media::Document } else { media }
}

fn is_picture(start: &[u8]) -> bool {
    let box_of = |brands: &[&[u8]]| {
        start.get(4..8) == Some(b"ftyp") && start.get(8..12).is_some_and(|brand| brands.contains(&brand))
    };
    shown_as(start).is_some()
        || start.starts_with(b"BM")
        || start.starts_with(b"II*\0")
        || start.starts_with(b"MM\0*")
        || box_of(&[b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1", b"avif", b"avis"])
}

/// The media type of a picture that models are shown.
fn shown_as(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if start.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if start.starts_with(b"GIF87a") || start.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}

/// Whether a document may be text, by its name and by what its sender says it is.
pub(crate) fn may_be_text(name: &str, media_type: &str) -> bool {
    let kind = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let end = name.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase());
    kind.starts_with("text/")
        || matches!(
            kind.as_str(),
            "application/json"
                | "application/xml"
                | "application/yaml"
                | "application/x-yaml"
                | "application/toml"
                | "application/x-sh"
                | "application/sql"
        )
        || end.is_some_and(|end| TEXT_NAMES.contains(&end.as_str()))
}

/// Bytes as text, where they are.
pub(crate) fn as_text(bytes: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    (!text.contains('\0') && !text.trim().is_empty()).then_some(text)
}

/// The pictures of a profile's cache.
#[derive(Debug, Clone)]
pub(crate) struct Pictures {
    dir: Utf8PathBuf,
}

/// A picture as a request has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    /// Which text it is behind.
    pub(crate) text: usize,
    /// A `data:` address.
    pub(crate) url: String,
}

impl Pictures {
    /// Those of the profile with this home.
    pub(crate) fn of(home: &ProfileHome) -> Self {
        Self { dir: home.cache().join("images") }
    }

    /// Whether a text says that a picture came with it.
    pub(crate) fn is_any(&self, text: &str) -> bool {
        !self.named(text).is_empty()
    }

    /// The pictures that came with these texts, in order, as many of the latest as one request carries. What is not there any more is
    /// left out. Blocks.
    pub(crate) fn read(&self, texts: &[&str]) -> Vec<Picture> {
        let (mut all, mut room) = (Vec::new(), ALL);
        'texts: for (at, text) in texts.iter().enumerate().rev() {
            for path in self.named(text).into_iter().rev() {
                if all.len() == PICTURES {
                    break 'texts;
                }
                let Some((url, length)) = read(&path, room) else { continue };
                room -= length;
                all.push(Picture { text: at, url });
            }
        }
        all.reverse();
        all
    }

    /// The files that the lines of a text name, where they are in the cache under a name of its own.
    fn named(&self, text: &str) -> Vec<Utf8PathBuf> {
        let lines = text.lines().filter(|line| line.starts_with("[image ") && line.ends_with(']'));
        let path = |line: &str| {
            let path = Utf8Path::new(line.strip_suffix(']')?.rsplit_once(" bytes): ")?.1);
            let is_ours = path.parent() == Some(&*self.dir) && path.file_name()?.starts_with("img_");
            is_ours.then(|| path.to_owned())
        };
        lines.filter_map(path).collect()
    }
}

/// A file as an address, and its length.
fn read(path: &Utf8Path, room: u64) -> Option<(String, u64)> {
    // No link leads out of the cache.
    let length = fs_err::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    if length == 0 || length > MOST.min(room) {
        return None;
    }
    let mut bytes = Vec::new();
    fs_err::File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    let kind = shown_as(&bytes)?;
    Some((format!("data:{kind};base64,{}", STANDARD.encode(&bytes)), length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0123456789";

    fn picture(dir: &Utf8Path, name: &str, bytes: &[u8]) -> String {
        let path = dir.join(name);
        fs_err::write(&path, bytes).unwrap();
        let mut text = "look".to_owned();
        let length = u64::try_from(bytes.len()).unwrap();
        let attachment = Attachment {
            media: Media::Image,
            name: "p: x].png".into(),
            media_type: "image/png".into(),
            length,
        };
        note(&mut text, &attachment, path.as_str());
        text
    }

    fn cache() -> (tempfile::TempDir, Pictures) {
        let dir = tempfile::tempdir().unwrap();
        let pictures = Pictures { dir: Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap() };
        (dir, pictures)
    }

    #[test]
    fn what_a_file_is_its_first_bytes_say() {
        assert_eq!(seen(Media::Image, PNG), Media::Image);
        assert_eq!(seen(Media::Image, b"\0\0\0\x18ftypheic\0\0\0\0"), Media::Image);
        for no in [&b"<svg xmlns="[..], b"#!/bin/sh", b"", b"\0\0\0\x18ftypmp42"] {
            assert_eq!(seen(Media::Image, no), Media::Document, "{no:?}");
        }
        assert_eq!(seen(Media::Audio, b"x"), Media::Audio);
        assert!(
            may_be_text("notes.MD", "application/octet-stream")
                && may_be_text("x", "Text/Plain; charset=utf-8")
        );
        assert!(!may_be_text("a.pdf", "application/pdf") && !may_be_text("txt", ""));
        assert_eq!(as_text(b"\xef\xbb\xbfa\n".to_vec()).as_deref(), Some("a\n"));
        assert!(as_text(b"a\0b".to_vec()).is_none() && as_text(b"\xff\xfe".to_vec()).is_none());
    }

    #[test]
    fn the_pictures_of_a_conversation_are_found_again_and_nothing_else() {
        let (dir, pictures) = cache();
        let first = picture(&pictures.dir, "img_0123456789ab_a.png", PNG);
        let second = picture(&pictures.dir, "img_0123456789ac_b.jpg", b"\xff\xd8\xff0123");
        let outside = dir.path().parent().unwrap().join("img_x.png");
        let outside = Utf8PathBuf::from_path_buf(outside).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", pictures.dir.join("img_link.png")).unwrap();
        let no = format!(
            "[image a (b, 1 bytes): {outside}]\n[image a (b, 1 bytes): {0}/../x/img_a.png]\n[image a (b, 1 bytes): {0}/img_link.png]\n\
             [image a (b, 1 bytes): {0}/notes.png]\n[document a (b, 1 bytes): {0}/img_0123456789ab_a.png]",
            pictures.dir
        );
        let odd = picture(&pictures.dir, "img_0123456789ad_c.png", b"<svg>");
        let gone = picture(&pictures.dir, "img_0123456789ae_d.png", PNG);
        fs_err::remove_file(pictures.dir.join("img_0123456789ae_d.png")).unwrap();
        let read = pictures.read(&[&first, "nothing", &no, &odd, &gone, &second]);
        assert_eq!(read.iter().map(|picture| picture.text).collect::<Vec<_>>(), [0, 5]);
        assert!(
            read[0].url.starts_with("data:image/png;base64,") && read[1].url.starts_with("data:image/jpeg;")
        );
        assert!(pictures.is_any(&first) && !pictures.is_any("look"));
    }

    #[test]
    fn a_request_carries_the_latest_and_no_giants() {
        let (_dir, pictures) = cache();
        let many: Vec<String> =
            (0..10).map(|n| picture(&pictures.dir, &format!("img_00000000000{n}_x.png"), PNG)).collect();
        let texts: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(
            pictures.read(&texts).iter().map(|p| p.text).collect::<Vec<_>>(),
            (2..10).collect::<Vec<_>>()
        );
        let mut giant = PNG.to_vec();
        giant.resize(usize::try_from(MOST).unwrap() + 1, 0);
        let giant = picture(&pictures.dir, "img_000000000000_g.png", &giant);
        assert_eq!(pictures.read(&[&giant]), []);
    }
}
