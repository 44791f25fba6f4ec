//! Files that come and go by the bridge, which is another process: what it names is read only where files of messages are, and what it is to send
//! is put where it may read.

use std::io::{self, Read as _};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::stream;
use hermes_host::{blocking, file};

use super::install::state;
use super::wire::Item;
use crate::handover::{Attached, ByteStream, Unfetched};

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;
/// Where files of messages are, below a profile's home; the later ones are the Python program's.
const CACHES: [&str; 5] = ["cache", "image_cache", "audio_cache", "video_cache", "document_cache"];
/// What is said of a file that is not read.
const OUTSIDE: &str = "the bridge names a file outside the cache";

/// What came with a message.
pub(super) async fn attached(item: &Item, home: &Utf8Path) -> Vec<Attached> {
    if item.media_type.is_empty() {
        return Vec::new();
    }
    if item.paths.is_empty() {
        let reason = item.media_error.clone().unwrap_or_else(|| "the bridge has not fetched it".to_owned());
        return vec![missing(item, 0, Unfetched::Gone(reason))];
    }
    let mut all = Vec::new();
    for (index, path) in item.paths.iter().enumerate() {
        let (path, home) = (Utf8PathBuf::from(path), home.to_owned());
        let found = blocking::run(move || inside(&path, &home)).await;
        all.push(match found {
            Ok(Ok((path, length))) => Attached {
                name: name(item, index),
                media_type: mime(item),
                length,
                open: Box::new(move || Box::pin(open(path))),
            },
            Ok(Err(reason)) => missing(item, index, Unfetched::Gone(reason)),
            Err(error) => missing(item, index, Unfetched::Away(error.to_string())),
        });
    }
    all
}

fn missing(item: &Item, index: usize, why: Unfetched) -> Attached {
    tracing::warn!("[whatsapp] a file of message {} is not there: {why}", item.id);
    Attached {
        name: name(item, index),
        media_type: mime(item),
        length: item.media_size,
        open: Box::new(move || Box::pin(async move { Err(why) })),
    }
}

/// A file where files of messages are, with its length. Blocks. No link leads out.
fn inside(path: &Utf8Path, home: &Utf8Path) -> Result<(Utf8PathBuf, u64), String> {
    let real = path.canonicalize_utf8().map_err(|error| error.to_string())?;
    let media = state(home).join("media");
    let places = CACHES.map(|name| home.join(name)).into_iter().chain([media]);
    let is_inside = |place: Utf8PathBuf| place.canonicalize_utf8().is_ok_and(|place| real.starts_with(place));
    if !places.into_iter().any(is_inside) {
        return Err(OUTSIDE.to_owned());
    }
    let found = fs_err::metadata(&real).map_err(|error| error.to_string())?;
    if found.is_file() { Ok((real, found.len())) } else { Err("it is no file".to_owned()) }
}

async fn open(path: Utf8PathBuf) -> Result<ByteStream, Unfetched> {
    let opened = blocking::run(move || fs_err::File::open(path)).await;
    let file = match opened {
        Ok(Ok(file)) => file,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Unfetched::Gone(error.to_string()));
        }
        Ok(Err(error)) => return Err(Unfetched::Away(error.to_string())),
        Err(error) => return Err(Unfetched::Away(error.to_string())),
    };
    Ok(Box::pin(stream::unfold(Some(file), async |file| {
        let mut file = file?;
        let read = move || {
            let mut piece = vec![0; PIECE];
            let length = file.read(&mut piece)?;
            piece.truncate(length);
            Ok::<_, io::Error>((Bytes::from(piece), file))
        };
        match blocking::run(read).await {
            Ok(Ok((piece, _))) if piece.is_empty() => None,
            Ok(Ok((piece, file))) => Some((Ok(piece), Some(file))),
            Ok(Err(error)) => Some((Err(error.to_string()), None)),
            Err(error) => Some((Err(error.to_string()), None)),
        }
    })))
}

/// What a file is called: as its sender does, or after what it is.
fn name(item: &Item, index: usize) -> String {
    if !item.file_name.is_empty() {
        return item.file_name.clone();
    }
    let mime = mime(item);
    let end = match mime.split(';').next().unwrap_or_default() {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/webp" => "webp",
        "image/gif" => "gif",
        "video/mp4" => "mp4",
        "video/3gpp" => "3gp",
        "audio/ogg" => "ogg",
        "audio/mpeg" => "mp3",
        "audio/mp4" => "m4a",
        "application/pdf" => "pdf",
        _ => "bin",
    };
    let kind = if item.media_type == "ptt" { "voice" } else { item.media_type.as_str() };
    if index == 0 { format!("{kind}.{end}") } else { format!("{kind}-{}.{end}", index + 1) }
}

fn mime(item: &Item) -> String {
    if !item.mime.is_empty() {
        return item.mime.clone();
    }
    match item.media_type.as_str() {
        "image" => "image/jpeg",
        "sticker" => "image/webp",
        "video" => "video/mp4",
        "audio" | "ptt" => "audio/ogg",
        _ => "application/octet-stream",
    }
    .to_owned()
}

/// A copy where the bridge may read, gone when this is dropped.
pub(super) struct Lent {
    dir: tempfile::TempDir,
    name: String,
}

impl Lent {
    /// Of that file. Blocks.
    pub(super) fn of(path: &Utf8Path, home: &Utf8Path) -> io::Result<Self> {
        let place = state(home).join("outgoing");
        file::make_dirs(&place, 0o700)?;
        let dir = tempfile::Builder::new().prefix("f").tempdir_in(&place)?;
        // The name is what some bridges judge a file by.
        let end = path
            .extension()
            .filter(|end| end.len() <= 8 && end.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        let name = end.map_or_else(|| "file".to_owned(), |end| format!("file.{end}"));
        fs_err::copy(path, dir.path().join(&name))?;
        Ok(Self { dir, name })
    }

    /// Where it is.
    pub(super) fn path(&self) -> String {
        self.dir.path().join(&self.name).to_string_lossy().into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_a_cache_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap().canonicalize_utf8().unwrap();
        let media = state(&home).join("media");
        fs_err::create_dir_all(&media).unwrap();
        fs_err::create_dir_all(home.join("image_cache")).unwrap();
        for path in [media.join("a"), home.join("image_cache/b"), home.join(".env")] {
            fs_err::write(path, "secret").unwrap();
        }
        std::os::unix::fs::symlink(home.join(".env"), media.join("link")).unwrap();
        assert_eq!(inside(&media.join("a"), &home), Ok((media.join("a"), 6)));
        assert!(inside(&home.join("image_cache/b"), &home).is_ok());
        for outside in
            [home.join(".env"), media.join("link"), media.join("../../../../.env"), "/etc/passwd".into()]
        {
            assert_eq!(inside(&outside, &home), Err(OUTSIDE.to_owned()), "{outside}");
        }
        assert!(inside(&media.join("none"), &home).is_err() && inside(&media, &home).is_err());
    }

    #[test]
    fn what_is_lent_is_gone_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let home = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::write(home.join("a.png"), "x").unwrap();
        let lent = Lent::of(&home.join("a.png"), home).unwrap();
        let path = lent.path();
        assert!(path.ends_with("/file.png") && fs_err::read_to_string(&path).unwrap() == "x");
        drop(lent);
        assert!(!std::path::Path::new(&path).exists());
    }
}
