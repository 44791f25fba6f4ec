//! Attachments on disk: `cache/{images,audio,videos,documents}` of the profile that answers.
//!
//! A file is written under a temporary name and gets its own when it is whole; [`File::keep`] does that. What is dropped before is
//! removed. The name follows from whom the event came from and which it is, so that the same event again gives the same file. What is
//! [old](OLD) is forgotten when a worker starts.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use camino::Utf8PathBuf;
use futures_util::{Stream, StreamExt as _};
use hermes_host::refusal::Io;
use hermes_host::{blocking, clock, file};
use hermes_wire::ProfileHome;
use hermes_wire::road::{Attachment, Media};
use sha2::{Digest as _, Sha256};

use crate::media;

/// Bytes that are collected before they are written.
const PIECE: usize = 256 * 1024;
/// Longest part of an attachment's own name in the name of its file, in bytes.
const NAME: usize = 80;

/// Where attachments are, and how their names begin.
const PLACES: [(&str, &str); 4] =
    [("images", "img"), ("audio", "audio"), ("videos", "video"), ("documents", "doc")];
/// How long an attachment is kept.
const OLD: Duration = Duration::from_hours(30 * 24);
/// Most attachments of one directory that are looked at in one start: some milliseconds. The rest is looked at when these are gone.
const ROUND: usize = 2000;
/// Digits of an event's name in that of a file.
const DIGITS: usize = 12;

/// Why an attachment is not on disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum CacheError {
    /// The file system.
    #[error(transparent)]
    Io(#[from] Io),
    /// It is not what it said: it ended early, or went on.
    #[error("an attachment did not come whole: {0}")]
    Broken(String),
    /// It broke off.
    #[error("an attachment broke off: {0}")]
    Cut(String),
    /// The threads that write are busy, or gone.
    #[error("an attachment cannot be written now")]
    Busy(#[from] blocking::Lost),
}

/// A file that is whole and has no name of its own yet. Dropping it removes it.
pub(super) struct File {
    temp: tempfile::NamedTempFile,
    path: Utf8PathBuf,
    /// What it is, by its bytes.
    media: Media,
    length: u64,
}

/// What a file is for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label<'a> {
    /// Decides the directory.
    pub(super) media: Media,
    /// The attachment's own name; anything.
    pub(super) name: &'a str,
    /// Of the event: the same for the same event, of nothing else.
    pub(super) event: &'a str,
    /// Which attachment of the event.
    pub(super) index: usize,
}

impl Label<'_> {
    /// Directory and file name below `cache`.
    fn place(&self) -> (&'static str, String) {
        let (dir, prefix) = match self.media {
            Media::Image => PLACES[0],
            Media::Audio => PLACES[1],
            Media::Video => PLACES[2],
            Media::Document => PLACES[3],
        };
        let mut hash = Sha256::new();
        hash.update(self.event.as_bytes());
        hash.update([0]);
        hash.update(self.index.to_be_bytes());
        let hash = hash
            .finalize()
            .iter()
            .take(DIGITS / 2)
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        (dir, format!("{prefix}_{hash}_{}", safe(self.name)))
    }
}

/// A name that is one plain file's everywhere: no path, no control characters, not hidden, not long. The end, which tells what it is,
/// stays.
fn safe(name: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = name.chars().map(plain).collect();
    let start =
        name.char_indices().map(|(at, _)| at).find(|at| name.len() - at <= NAME).unwrap_or(name.len());
    let name = name[start..].trim_start_matches('.');
    if name.is_empty() { "file".to_owned() } else { name.to_owned() }
}

/// Writes exactly `length` bytes of `bytes`.
pub(super) async fn write<S>(
    home: &ProfileHome,
    label: Label<'_>,
    length: u64,
    mut bytes: S,
) -> Result<File, CacheError>
where
    S: Stream<Item = Result<Bytes, String>> + Unpin,
{
    let (mut left, mut piece) = (length, Vec::new());
    // Its first bytes say what it is, and so where it belongs.
    while left > 0 && piece.len() < media::SNIFFED {
        let Some(more) = bytes.next().await else {
            return Err(CacheError::Broken(format!("{left} bytes are missing")));
        };
        take(&mut piece, &mut left, &more.map_err(CacheError::Cut)?)?;
    }
    let label = Label { media: media::seen(label.media, &piece), ..label };
    let (dir, name) = label.place();
    let dir = home.cache().join(dir);
    let path = dir.join(name);
    let place = dir.clone();
    let make = move || file::make_dirs(&place, 0o700).and_then(|()| file::temporary(&place));
    let mut temp = blocking::run(make).await?.map_err(Io::at("write into", &*dir))?;
    loop {
        let more = if left == 0 { None } else { bytes.next().await };
        if let Some(more) = more {
            take(&mut piece, &mut left, &more.map_err(CacheError::Cut)?)?;
            if piece.len() < PIECE && left > 0 {
                continue;
            }
        } else if left > 0 {
            return Err(CacheError::Broken(format!("{left} bytes are missing")));
        }
        let (whole, out) = (left == 0, std::mem::take(&mut piece));
        let write = move || {
            temp.write_all(&out)?;
            if whole {
                temp.as_file().sync_all()?;
            }
            Ok(temp)
        };
        temp = blocking::run(write).await?.map_err(Io::at("write", &*path))?;
        if whole {
            return Ok(File { temp, path, media: label.media, length });
        }
    }
}

fn take(piece: &mut Vec<u8>, left: &mut u64, more: &[u8]) -> Result<(), CacheError> {
    let len = u64::try_from(more.len()).unwrap_or(u64::MAX);
    *left = left.checked_sub(len).ok_or_else(|| CacheError::Broken("it goes on".to_owned()))?;
    piece.extend_from_slice(more);
    Ok(())
}

impl File {
    /// Where its bytes are for as long as it has no name.
    pub(super) fn place(&self) -> &std::path::Path {
        self.temp.path()
    }

    /// Says in a message's text that it is there, and what it says where it is text.
    pub(super) async fn describe(&self, notes: &mut String, attachment: &Attachment) {
        let attachment = Attachment { media: self.media, ..attachment.clone() };
        media::note(notes, &attachment, self.path.as_str());
        let is_text = self.media == Media::Document
            && (1..=media::TEXT).contains(&self.length)
            && media::may_be_text(&attachment.name, &attachment.media_type);
        if !is_text {
            return;
        }
        let file = self.temp.path().to_owned();
        // What cannot be read back is named all the same.
        let read = blocking::run(move || fs_err::read(file).ok().and_then(media::as_text)).await;
        if let Ok(Some(text)) = read {
            media::content(notes, &attachment.name, &text);
        }
    }

    /// Gives it its name. What is there under it already came with the same event, and is replaced.
    pub(super) async fn keep(self) -> Result<Utf8PathBuf, CacheError> {
        let Self { temp, path, .. } = self;
        let to = path.clone();
        let named = move || {
            temp.persist(&to).map_err(|error| error.error)?;
            to.parent().map_or(Ok(()), |dir| fs_err::File::open(dir)?.sync_all())
        };
        let named = blocking::run(named).await?;
        named.map_err(Io::at("write", &*path))?;
        Ok(path)
    }
}

/// Takes back files whose event was not accepted.
pub(super) async fn remove(paths: Vec<Utf8PathBuf>) {
    let remove = move || {
        for path in paths {
            if let Err(error) = fs_err::remove_file(&path) {
                tracing::warn!(%error, "an attachment of an event that was not accepted stays");
            }
        }
    };
    if blocking::run(remove).await.is_err() {
        tracing::warn!("attachments of an event that was not accepted stay: nothing can be removed now");
    }
}

/// Removes attachments that are [old](OLD), some at a time. Files with other names than [`write()`] gives are somebody else's.
pub(crate) fn forget(home: &ProfileHome) {
    for (dir, prefix) in PLACES {
        // A directory that is not there, or cannot be read, has nothing that could be removed.
        let entries = fs_err::read_dir(home.cache().join(dir)).into_iter().flatten().filter_map(Result::ok);
        let ours =
            entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| is_ours(name, prefix)));
        for entry in ours.take(ROUND) {
            if is_old(&entry) {
                match fs_err::remove_file(entry.path()) {
                    Ok(()) => tracing::debug!(path = %entry.path().display(), "removed an old attachment"),
                    Err(error) => tracing::warn!(%error, "an old attachment stays"),
                }
            }
        }
    }
}

fn is_ours(name: &str, prefix: &str) -> bool {
    let rest = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    let parts = rest.and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(hash, name)| {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        hash.len() == DIGITS && hash.bytes().all(hex) && !name.is_empty()
    })
}

fn is_old(entry: &fs_err::DirEntry) -> bool {
    // Of the link itself, where it is one.
    let Ok(found) = entry.metadata() else { return false };
    let age = found.modified().ok().and_then(|then| clock::system().duration_since(then).ok());
    found.is_file() && age.is_some_and(|age| age >= OLD)
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use futures_util::stream;

    use super::*;

    fn label(name: &str) -> Label<'_> {
        Label { media: Media::Document, name, event: "telegram\u{0}1\u{0}2", index: 0 }
    }

    fn pieces(all: &[&'static str]) -> impl Stream<Item = Result<Bytes, String>> + Unpin {
        stream::iter(all.iter().map(|text| Ok(Bytes::from_static(text.as_bytes()))).collect::<Vec<_>>())
    }

    #[test]
    fn a_name_is_one_plain_file() {
        for (name, is) in [
            ("report.pdf", "report.pdf"),
            ("../../.ssh/authorized_keys", "authorized_keys"),
            ("..\\..\\.env", "env"),
            (".env", "env"),
            ("..", "file"),
            ("", "file"),
            ("a b\n\u{0}c.txt", "a_b__c.txt"),
            ("größe.png", "größe.png"),
        ] {
            assert_eq!(safe(name), is, "{name:?}");
        }
        let long = format!("{}ä.pdf", "ä".repeat(200));
        assert!(safe(&long).ends_with("ä.pdf") && safe(&long).len() <= NAME);
        assert_eq!(label("x").place(), label("x").place());
        assert_ne!(label("x").place(), Label { index: 1, ..label("x") }.place());
    }

    #[tokio::test]
    async fn only_what_is_whole_and_kept_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let there = || {
            let entries = fs_err::read_dir(home.cache().join("documents")).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
        };
        for (length, text) in [(9, "bytes are missing"), (5, "goes on")] {
            let broken = write(&home, label("a.txt"), length, pieces(&["hel", "lo!"])).await;
            assert!(broken.is_err_and(|error| error.to_string().contains(text)));
        }
        let dropped = write(&home, label("a.txt"), 6, pieces(&["hel", "lo!"])).await.unwrap();
        drop(dropped);
        assert_eq!(there(), [""; 0]);
        for text in ["hello!", "again!"] {
            let file = write(&home, label("a.txt"), 6, pieces(&[text])).await.unwrap();
            let path = file.keep().await.unwrap();
            assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(there().len(), 1, "the same attachment is the same file");
        let pretends = Label { media: Media::Image, ..label("x.png") };
        let file = write(&home, pretends, 6, pieces(&["hel", "lo!"])).await.unwrap();
        assert!(file.keep().await.unwrap().as_str().contains("/documents/doc_"), "it is no picture");
        let empty = write(&home, Label { index: 1, ..label("b") }, 0, pieces(&[])).await.unwrap();
        assert_eq!(fs_err::metadata(empty.keep().await.unwrap()).unwrap().len(), 0);
    }

    #[tokio::test]
    async fn old_attachments_are_forgotten_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        let mut written = Vec::new();
        for index in [0, 1] {
            let label = Label { index, ..label("a b.txt") };
            written.push(write(&home, label, 0, pieces(&[])).await.unwrap().keep().await.unwrap());
        }
        let age = |path: &Utf8Path, age: Duration| {
            let file = fs_err::OpenOptions::new().write(true).create(true).open(path).unwrap();
            file.file().set_modified(clock::system() - age).unwrap();
        };
        let hour = Duration::from_hours(1);
        age(&written[0], OLD + hour);
        age(&written[1], OLD.checked_sub(hour).unwrap());
        let others =
            ["doc_0123456789ab", "doc_0123456789AB_x", "img_0123456789ab_x", "doc_0123_x", "notes.txt"];
        let others = others.map(|name| home.cache().join("documents").join(name));
        for path in &others {
            age(path, OLD + hour);
        }
        forget(&home);
        assert!(!written[0].exists() && written[1].exists());
        assert!(others.iter().all(|path| path.exists()));
        forget(&ProfileHome::new(home.path().join("nothing")));
    }
}
