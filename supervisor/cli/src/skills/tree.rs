//! A directory as one value: the hash of its files, or that it cannot be a bundled skill's.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use md5::{Digest as _, Md5};

/// Most files of a directory that is hashed; one with more is no bundled skill.
const FILES: usize = 256;
/// Largest file that is hashed, in bytes.
const FILE: usize = 1024 * 1024;
/// Deepest directory that is looked into.
const DEPTH: usize = 8;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tree {
    /// Nothing.
    Absent,
    /// Plain files with this hash, in directories that all hold some.
    Files(String),
    /// Anything else: a link, a special file, an empty directory, too much, or something that cannot be read.
    Other,
}

impl Tree {
    pub(crate) fn is(&self, hash: &str) -> bool {
        matches!(self, Self::Files(own) if own == hash)
    }
}

/// The hash of 0.19.0: MD5 over path and contents of each file in the order of their paths' components. It tells an unchanged
/// copy from a changed one; nothing depends on nobody being able to forge it.
pub(crate) fn hash<'a>(files: impl Iterator<Item = (&'a Utf8Path, &'a [u8])>) -> String {
    let mut files: Vec<_> = files.collect();
    files.sort_by(|a, b| a.0.cmp(b.0));
    let mut md5 = Md5::new();
    for (path, bytes) in files {
        md5.update(path.as_str());
        md5.update(bytes);
    }
    hex(&md5.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Looks at `dir` itself, never through a link.
pub(crate) fn look(dir: &Utf8Path) -> Tree {
    match fs_err::symlink_metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Tree::Absent,
        Ok(meta) if meta.is_dir() => read(dir).map_or(Tree::Other, Tree::Files),
        _ => Tree::Other,
    }
}

fn read(dir: &Utf8Path) -> Option<String> {
    let mut paths = Vec::new();
    walk(dir, 0, &mut paths)?;
    let mut md5 = Md5::new();
    paths.sort();
    for path in paths {
        md5.update(path.strip_prefix(dir).ok()?.as_str());
        md5.update(disk::read_bounded(&path, FILE).ok()?);
    }
    Some(hex(&md5.finalize()))
}

fn walk(dir: &Utf8Path, depth: usize, files: &mut Vec<Utf8PathBuf>) -> Option<()> {
    let before = files.len();
    for entry in dir.read_dir_utf8().ok()? {
        let entry = entry.ok()?;
        let kind = entry.file_type().ok()?;
        if kind.is_file() && files.len() < FILES {
            files.push(entry.path().to_owned());
        } else if kind.is_dir() && depth < DEPTH {
            walk(entry.path(), depth + 1, files)?;
        } else {
            return None;
        }
    }
    (files.len() > before).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashed_as_0_19_0_does() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::create_dir(dir.join("a")).unwrap();
        fs_err::write(dir.join("SKILL.md"), "hello\n").unwrap();
        fs_err::write(dir.join("a/x.md"), "x").unwrap();
        fs_err::write(dir.join("a-b.md"), "y").unwrap();
        // python3: sorted(Path(d).rglob('*')) gives SKILL.md, a/x.md, a-b.md; md5 of "SKILL.md" "hello\n" "a/x.md" "x" "a-b.md" "y"
        let expected = "4cd21602601215fc85050e10404c81d9";
        assert_eq!(look(dir), Tree::Files(expected.to_owned()));
        let files = [("a-b.md", "y"), ("a/x.md", "x"), ("SKILL.md", "hello\n")];
        assert_eq!(hash(files.iter().map(|(p, t)| (Utf8Path::new(p), t.as_bytes()))), expected);
    }

    #[test]
    fn what_cannot_be_the_bundles_is_not_hashed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        let skill = dir.join("s");
        assert_eq!(look(&skill), Tree::Absent);
        fs_err::create_dir(&skill).unwrap();
        assert_eq!(look(&skill), Tree::Other, "nothing in it");
        fs_err::write(skill.join("SKILL.md"), "x").unwrap();
        assert!(matches!(look(&skill), Tree::Files(_)));
        fs_err::create_dir(skill.join("empty")).unwrap();
        assert_eq!(look(&skill), Tree::Other);
        fs_err::remove_dir(skill.join("empty")).unwrap();
        std::os::unix::fs::symlink("SKILL.md", skill.join("link")).unwrap();
        assert_eq!(look(&skill), Tree::Other);
        fs_err::remove_file(skill.join("link")).unwrap();
        nix::unistd::mkfifo(skill.join("pipe").as_std_path(), nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert_eq!(look(&skill), Tree::Other, "and it is not waited for");
        fs_err::remove_file(skill.join("pipe")).unwrap();
        std::os::unix::fs::symlink(&skill, dir.join("linked")).unwrap();
        assert_eq!(look(&dir.join("linked")), Tree::Other);
        fs_err::File::create(skill.join("big")).unwrap().set_len(FILE as u64 + 1).unwrap();
        assert_eq!(look(&skill), Tree::Other);
    }
}
