//! `skills/.bundled_manifest` and `skills/.curator_suppressed`: 0.19.0's files, one name a line.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use camino::Utf8Path;
use hermes_host::disk;

use super::rule::Recorded;

/// Largest of these files that is read, in bytes.
const LIMIT: usize = 1024 * 1024;
const MANIFEST: &str = ".bundled_manifest";
const SUPPRESSED: &str = ".curator_suppressed";

/// Which skills were brought, and the hash each had then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Manifest(BTreeMap<String, String>);

impl Manifest {
    /// Reads it. One that cannot be read is an error: taken for empty, it would bring back what the user removed.
    pub(crate) fn read(skills: &Utf8Path) -> io::Result<Self> {
        read(&skills.join(MANIFEST)).map(|text| Self::parse(&text))
    }

    pub(crate) fn parse(text: &str) -> Self {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let entry = |line: &str| {
            let (name, hash) = line.split_once(':').unwrap_or((line, ""));
            (name.trim().to_owned(), hash.trim().to_ascii_lowercase())
        };
        Self(lines.map(entry).filter(|(name, _)| !name.is_empty()).collect())
    }

    pub(crate) fn text(&self) -> String {
        self.0.iter().map(|(name, hash)| format!("{name}:{hash}\n")).collect()
    }

    pub(crate) fn write(&self, skills: &Utf8Path) -> io::Result<()> {
        disk::write_public(&skills.join(MANIFEST), self.text().as_bytes())
            .map_err(|e| named(&e, &skills.join(MANIFEST)))
    }

    /// What it says about `name`.
    pub(crate) fn of(&self, name: &str) -> Recorded<'_> {
        match self.0.get(name) {
            None => Recorded::Never,
            Some(hash) if hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Recorded::Hash(hash)
            }
            Some(_) => Recorded::Unknown,
        }
    }

    pub(crate) fn set(&mut self, name: &str, hash: &str) {
        self.0.insert(name.to_owned(), hash.to_owned());
    }

    /// Forgets names that `bundled` does not know.
    pub(crate) fn keep_only(&mut self, bundled: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| bundled(name));
    }
}

/// Names that are not to be brought.
pub(crate) fn suppressed(skills: &Utf8Path) -> io::Result<BTreeSet<String>> {
    let text = read(&skills.join(SUPPRESSED))?;
    let names = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(names.map(str::to_owned).collect())
}

fn read(path: &Utf8Path) -> io::Result<String> {
    match disk::read_bounded(path, LIMIT) {
        Ok(bytes) => String::from_utf8(bytes)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("`{path}` is not UTF-8"))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(e) => Err(named(&e, path)),
    }
}

/// The same error with the file in its text, unless it is there already.
pub(crate) fn named(e: &io::Error, path: &Utf8Path) -> io::Error {
    let text = e.to_string();
    let text = if text.contains(path.as_str()) { text } else { format!("`{path}`: {text}") };
    io::Error::new(e.kind(), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_age() {
        let hash = "0123456789abcdef0123456789abcdef";
        let text = format!("\n plain \nwith : {} \nbroken:xyz\n:nameless\n", hash.to_uppercase());
        let manifest = Manifest::parse(&text);
        assert_eq!(manifest.of("with"), Recorded::Hash(hash));
        assert_eq!([manifest.of("plain"), manifest.of("broken")], [Recorded::Unknown; 2]);
        assert_eq!(manifest.of("other"), Recorded::Never);
        assert_eq!(manifest.text(), format!("broken:xyz\nplain:\nwith:{hash}\n"));
        assert_eq!(Manifest::parse(&manifest.text()), manifest);
    }

    #[test]
    fn one_that_cannot_be_read_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap();
        assert_eq!(Manifest::read(dir).unwrap(), Manifest::default());
        fs_err::write(dir.join(MANIFEST), b"a:\xff\n").unwrap();
        assert!(Manifest::read(dir).unwrap_err().to_string().contains(MANIFEST));
        fs_err::remove_file(dir.join(MANIFEST)).unwrap();
        fs_err::create_dir(dir.join(MANIFEST)).unwrap();
        assert!(Manifest::read(dir).is_err());
        fs_err::write(dir.join(SUPPRESSED), "# why\n one \n\ntwo\n").unwrap();
        assert_eq!(suppressed(dir).unwrap().into_iter().collect::<Vec<_>>(), ["one", "two"]);
    }
}
