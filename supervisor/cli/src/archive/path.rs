//! Names of members: which are safe, and which links stay inside. Pure.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::text::is_unseen;

/// Longest path of a member, in bytes.
pub const MAX_PATH: usize = 2048;
/// Longest name in one, in bytes; file systems take no more.
const MAX_NAME: usize = 255;
/// Deepest path, in names.
pub const MAX_DEPTH: usize = 128;

/// What a link of a member may name: as many `..` as lead no higher than the top directory, then plain names.
pub type LinkTarget = Utf8PathBuf;

/// The path of a member as plain names joined by `/`; empty for `./`. `None`: it is not safe.
///
/// A backslash counts as a separator, as in 0.19.0: what leads out on any system leads out here.
pub fn member_path(raw: &[u8]) -> Option<Utf8PathBuf> {
    let text = std::str::from_utf8(raw).ok()?;
    if text.is_empty() || text.len() > MAX_PATH || text.chars().any(char::is_control) {
        return None;
    }
    let text = text.replace('\\', "/");
    let drive =
        |text: &str| text.as_bytes().get(1) == Some(&b':') && text.as_bytes()[0].is_ascii_alphabetic();
    if text.starts_with('/') || drive(&text) {
        return None;
    }
    let mut path = Utf8PathBuf::new();
    let mut depth = 0;
    for name in text.split('/').filter(|name| !matches!(*name, "" | ".")) {
        depth += 1;
        if name == ".." || name.len() > MAX_NAME || depth > MAX_DEPTH {
            return None;
        }
        path.push(name);
    }
    (!drive(path.as_str())).then_some(path)
}

/// Whether a link at `path` that names `target` cannot lead out of the first name of `path`, whatever other such links are on
/// its way. That is: `..` only in front, and no more of them than there are directories above the link below the top one.
///
/// A `..` behind a name is not safe: the name may be a link, and then `..` is not where it seems.
pub fn link_stays_inside(path: &Utf8Path, target: &[u8]) -> Option<LinkTarget> {
    let text = std::str::from_utf8(target).ok()?;
    let unsafe_text = text.is_empty() || text.len() > MAX_PATH || text.starts_with('/');
    if unsafe_text || text.contains('\\') || text.chars().any(char::is_control) {
        return None;
    }
    // The top directory, and the link's own name.
    let above = path.components().count().checked_sub(2)?;
    let mut up = 0;
    let mut down = 0;
    for name in text.split('/').filter(|name| !matches!(*name, "" | ".")) {
        if name == ".." {
            up += 1;
        } else {
            down += 1;
        }
        if name == ".." && down > 0 || name.len() > MAX_NAME || down > MAX_DEPTH {
            return None;
        }
    }
    (up <= above && up + down > 0).then(|| Utf8PathBuf::from(text))
}

/// A name as it can be printed: nothing in it reaches the terminal as a command.
pub fn printable(raw: &[u8]) -> String {
    let mut text = String::new();
    for c in String::from_utf8_lossy(raw).chars().take(200) {
        if is_unseen(c) {
            let _ = write!(text, "{}", c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_are_safe_and_names_that_are_not() {
        let path = |raw: &[u8]| member_path(raw).map(Utf8PathBuf::into_string);
        assert_eq!(path(b"a/b").as_deref(), Some("a/b"));
        assert_eq!(path(b"./a//./b/").as_deref(), Some("a/b"));
        assert_eq!(path(b"a\\b").as_deref(), Some("a/b"));
        assert_eq!(path(b"./").as_deref(), Some(""));
        assert_eq!(path("ä/…".as_bytes()).as_deref(), Some("ä/…"));
        for bad in [
            &b""[..],
            b"/",
            b"/a",
            b"\\a",
            b"..",
            b"a/..",
            b"a/../b",
            b"a\\..\\b",
            b"C:/x",
            b"c:x",
            b"./c:x",
            b"\\\\server\\x",
            b"a/\xff",
            b"a\nb",
            b"a\x1b[2J",
            b"a\0b",
            &[b'a'; 256],
            &b"a/".repeat(129),
            &b"aaaaaaaaaa/".repeat(190),
        ] {
            assert_eq!(path(bad), None, "{}", printable(bad));
        }
    }

    #[test]
    fn links_that_stay_and_links_that_do_not() {
        let stays =
            |path: &str, target: &str| link_stays_inside(Utf8Path::new(path), target.as_bytes()).is_some();
        for (path, target) in
            [("c/x", "y"), ("c/a/x", "../y"), ("c/a/b/x", "../../y/z"), ("c/x", "./y"), ("c/a/x", "..")]
        {
            assert!(stays(path, target), "{path} {target}");
        }
        for (path, target) in [
            ("x", "y"),
            ("c/x", ".."),
            ("c/x", "../y"),
            ("c/a/x", "../../y"),
            ("c/x", "/y"),
            ("c/x", ""),
            ("c/x", "."),
            ("c/a/x", "y/../.."),
            ("c/a/x", "y/../z"),
            ("c/x", "a\\..\\..\\b"),
        ] {
            assert!(!stays(path, target), "{path} {target}");
        }
    }

    #[test]
    fn what_is_printed_commands_no_terminal() {
        assert_eq!(printable(b"a\x1b[2J\nb\xff"), "a\\u{1b}[2J\\nb\u{fffd}");
        assert_eq!(printable("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert!(printable(&[b'a'; 5000]).len() <= 200);
    }

    proptest! {
        /// Any bytes: a path that is accepted has only plain names, and accepting it again changes nothing.
        #[test]
        fn accepted_paths_are_plain(raw in prop::collection::vec(prop_oneof![
            Just(b'/'), Just(b'.'), Just(b'\\'), Just(b':'), Just(b'a'), any::<u8>()], 0..40)) {
            if let Some(path) = member_path(&raw) {
                prop_assert!(!path.is_absolute());
                prop_assert!(path.components().all(|c| matches!(c, camino::Utf8Component::Normal(_))));
                prop_assert!(!path.as_str().contains(['\\', '\0', '\n']));
                if path.as_str() != "" {
                    prop_assert_eq!(member_path(path.as_str().as_bytes()), Some(path));
                }
            }
        }

        /// A tree of directories and accepted links on a real disk: no link, followed by the system, leaves the top.
        #[test]
        fn accepted_links_stay_inside(links in prop::collection::vec(("[ab](/[ab]){0,3}", "(\\.\\./|[ab]/|\\./){0,5}[ab.]{0,2}"), 1..8)) {
            let dir = tempfile::tempdir().unwrap();
            let outside = Utf8PathBuf::from_path_buf(dir.path().canonicalize().unwrap()).unwrap();
            let top = outside.join("top");
            fs_err::create_dir(&top).unwrap();
            for (path, target) in links {
                let path = Utf8Path::new("top").join(path);
                let Some(target) = link_stays_inside(&path, target.as_bytes()) else { continue };
                let place = outside.join(&path);
                // As the importer does: no parent is a link.
                let real = |dir: &Utf8Path| dir.canonicalize_utf8().is_ok_and(|real| real == *dir);
                if fs_err::create_dir_all(place.parent().unwrap()).is_ok() && real(place.parent().unwrap()) {
                    let _ = std::os::unix::fs::symlink(&target, &place);
                }
                if let Ok(leads) = place.canonicalize_utf8() {
                    prop_assert!(leads.starts_with(&top), "{place} -> {target} = {leads}");
                }
            }
        }
    }
}
