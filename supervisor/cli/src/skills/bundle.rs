//! The skills in this executable. Their files are in `supervisor/cli/skills/`; a test compares the list with the directory.

use std::sync::LazyLock;

use camino::{Utf8Path, Utf8PathBuf};

use super::tree;

/// One skill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundled {
    pub(crate) category: &'static str,
    /// The directory, and `name` in its front matter.
    pub(crate) name: &'static str,
    /// Paths below the skill's directory, and texts.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Of the files, as a home's copy is hashed.
    pub(crate) hash: String,
}

impl Bundled {
    pub(crate) fn new(
        category: &'static str,
        name: &'static str,
        files: &'static [(&'static str, &'static str)],
    ) -> Self {
        let hash = tree::hash(files.iter().map(|(path, text)| (Utf8Path::new(path), text.as_bytes())));
        Self { category, name, files, hash }
    }

    /// Its directory below `skills/`.
    pub(crate) fn place(&self) -> Utf8PathBuf {
        Utf8Path::new(self.category).join(self.name)
    }
}

macro_rules! bundle {
    ($($category:literal / $name:literal: $($file:literal),+;)+) => {
        vec![$(Bundled::new($category, $name, &[
            $(($file, include_str!(concat!("../../skills/", $category, "/", $name, "/", $file)))),+
        ])),+]
    };
}

/// All of them.
pub(crate) fn all() -> &'static [Bundled] {
    static ALL: LazyLock<Vec<Bundled>> = LazyLock::new(|| {
        bundle! {
            "gateway" / "operating-hermes": "SKILL.md";
            "gateway" / "session-handover": "SKILL.md";
            "gateway" / "webhook-triage": "SKILL.md", "references/github-events.md";
            "operations" / "daily-digest": "SKILL.md";
            "operations" / "log-triage": "SKILL.md";
            "writing" / "chat-replies": "SKILL.md";
        }
    });
    &ALL
}

#[cfg(test)]
mod tests {
    use hermes_worker::skills::front_matter;

    use super::*;

    #[test]
    fn the_list_is_the_directory() {
        let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("skills");
        let mut on_disk = Vec::new();
        let mut open = vec![root.clone()];
        while let Some(dir) = open.pop() {
            for entry in dir.read_dir_utf8().unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    open.push(entry.path().to_owned());
                } else {
                    on_disk.push(entry.path().strip_prefix(&root).unwrap().to_owned());
                }
            }
        }
        on_disk.sort();
        let mut listed: Vec<_> = all()
            .iter()
            .flat_map(|skill| skill.files.iter().map(|(path, _)| skill.place().join(path)))
            .collect();
        listed.sort();
        assert_eq!(listed, on_disk);
    }

    #[test]
    fn each_is_what_readers_expect() {
        for skill in all() {
            let (_, text) = skill.files.iter().find(|(path, _)| *path == "SKILL.md").unwrap();
            let front = front_matter::read(text.as_bytes());
            assert_eq!((front.name.as_deref(), front.problem), (Some(skill.name), None));
            let description = front.description.unwrap();
            assert!((40..=1024).contains(&description.len()), "{description}");
            assert!(text.len() < 8 * 1024, "{} is too long to be read in a turn", skill.name);
            for (path, _) in skill.files.iter().filter(|(path, _)| *path != "SKILL.md") {
                assert!(text.contains(path), "{} does not mention {path}", skill.name);
            }
        }
    }
}
