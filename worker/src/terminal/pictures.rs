//! Pictures that go with a question from a terminal: files of the user's, copied to where the profile keeps those of its conversations.
//!
//! The copy's name follows from what is in it, so that a question that is asked again copies nothing. What stands in the question is the
//! line that chats have for a picture; who shows it to the model reads the copy.

use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::refusal::Io;
use hermes_host::{blocking, disk};
use hermes_wire::ProfileHome;
use hermes_wire::road::{Attachment, Media};
use hermes_wire::terminal::Said;
use sha2::{Digest as _, Sha256};

use super::failed;
use crate::media;

/// Most pictures of one question.
const MOST: usize = 8;
/// Longest picture, in bytes.
const LONGEST: u64 = 20 << 20;

/// The question with its pictures named in it. What is named and is no picture that can be read is an error: nobody is left to believe that
/// the model has seen it.
pub(super) async fn with(home: &ProfileHome, text: String, paths: Vec<String>) -> Result<String, Said> {
    if paths.is_empty() {
        return Ok(text);
    }
    if paths.len() > MOST {
        return Err(failed("pictures", format!("at most {MOST} pictures go with one question"), None));
    }
    let dir = home.cache().join("images");
    let copied = blocking::run(move || {
        let mut notes = String::new();
        for path in &paths {
            let (attachment, kept) = copy(&dir, Utf8Path::new(path))?;
            media::note(&mut notes, &attachment, kept.as_str());
        }
        Ok::<_, String>(notes)
    });
    match copied.await {
        Ok(Ok(notes)) => Ok(media::with_notes(text, &notes)),
        Ok(Err(why)) => Err(failed("pictures", why, None)),
        Err(lost) => Err(failed("files", lost.to_string(), None)),
    }
}

/// Copies one.
fn copy(dir: &Utf8Path, path: &Utf8Path) -> Result<(Attachment, Utf8PathBuf), String> {
    let io = |error: Io| error.to_string();
    let file = fs_err::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LONGEST {
        return Err(format!("`{path}` is longer than {} MB", LONGEST >> 20));
    }
    if media::seen(Media::Image, &bytes[..bytes.len().min(media::SNIFFED)]) != Media::Image {
        return Err(format!("`{path}` is no picture"));
    }
    let name = path.file_name().unwrap_or("picture");
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    let safe: String = name.chars().map(plain).collect();
    let safe = &safe[safe.len().saturating_sub(60)..];
    let hash: String = Sha256::digest(&bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let kept = dir.join(format!("img_{hash}_{safe}"));
    if !kept.is_file() {
        fs_err::create_dir_all(dir).map_err(Io::at("make", dir)).map_err(io)?;
        disk::write_atomic(&kept, &bytes, false).map_err(Io::at("write", &kept)).map_err(io)?;
    }
    let media_type = mime_guess::from_path(path).first_or_octet_stream().essence_str().to_owned();
    let length = bytes.len() as u64;
    Ok((Attachment { media: Media::Image, name: name.to_owned(), media_type, length }, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pictures_are_copied_once_and_what_is_none_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(dir.path()).unwrap();
        let home = ProfileHome::new(root);
        let (picture, other) = (root.join("a b.png"), root.join("x.png"));
        fs_err::write(&picture, b"\x89PNG\r\n\x1a\n0123").unwrap();
        fs_err::write(&other, b"#!/bin/sh\n").unwrap();
        let ask = async |path: &Utf8Path| with(&home, "look".to_owned(), vec![path.to_string()]).await;
        let text = ask(&picture).await.unwrap();
        assert!(text.starts_with("look\n[image a b.png (image/png, 12 bytes): "), "{text}");
        assert!(text.contains("/cache/images/img_") && text.ends_with("_a_b.png]"), "{text}");
        assert_eq!(ask(&picture).await.unwrap(), text);
        assert_eq!(fs_err::read_dir(home.cache().join("images")).unwrap().count(), 1);
        for bad in [other, root.join("none.png")] {
            assert!(matches!(ask(&bad).await, Err(Said::Failed { .. })), "{bad}");
        }
    }
}
