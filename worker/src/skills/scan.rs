//! Where skills are: directories with a `SKILL.md`. Nothing here fails; what cannot be looked into holds none.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;

use super::front_matter::{self, FrontMatter};

/// How much of a `SKILL.md` is read for its front matter, in bytes.
const HEAD: u64 = 16 * 1024;
/// Directories that hold no skills of their own, as 0.19.0 skips them.
const NOT_SKILLS: [&str; 14] = [
    ".git",
    ".github",
    ".hub",
    ".archive",
    ".venv",
    "venv",
    "node_modules",
    "site-packages",
    "__pycache__",
    ".tox",
    ".nox",
    ".pytest_cache",
    ".mypy_cache",
    ".ruff_cache",
];
/// Directories of a skill that are parts of it.
pub(crate) const PARTS: [&str; 4] = ["references", "templates", "assets", "scripts"];
/// Deepest directory that is looked into for skills.
const DEPTH: usize = 12;

/// Directories that hold a skill, in order. Blocks.
pub fn below(root: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    collect(root, 0, &mut found);
    found
}

fn collect(dir: &Utf8Path, depth: usize, found: &mut Vec<Utf8PathBuf>) {
    let Ok(entries) = dir.read_dir_utf8() else { return };
    let mut is_skill = false;
    let mut below = Vec::new();
    for entry in entries.filter_map(Result::ok) {
        let Ok(kind) = entry.file_type() else { continue };
        if entry.file_name() == "SKILL.md" {
            is_skill |= !kind.is_dir();
        } else if kind.is_dir() && !NOT_SKILLS.contains(&entry.file_name()) {
            below.push(entry.path().to_owned());
        }
    }
    if is_skill {
        found.push(dir.to_owned());
        below.retain(|path| path.file_name().is_none_or(|name| !PARTS.contains(&name)));
    }
    if depth < DEPTH {
        below.sort();
        for path in below {
            collect(&path, depth + 1, found);
        }
    }
}

/// `skills.external_dirs`, relative ones below the home; the home's own directory of skills is none of them. Blocks.
pub fn external_dirs(home: &Utf8Path, listed: &[String]) -> Vec<Utf8PathBuf> {
    let user_home = std::env::home_dir().and_then(|dir| Utf8PathBuf::from_path_buf(dir).ok());
    let own = home.join("skills");
    let dirs = listed.iter().map(|text| {
        // As 0.19.0 reads them.
        let rest = ["~/", "$HOME/", "${HOME}/"].iter().find_map(|start| text.strip_prefix(start));
        match (rest, &user_home) {
            (Some(rest), Some(user_home)) => user_home.join(rest),
            _ => home.join(text),
        }
    });
    let real = own.canonicalize().ok();
    dirs.filter(|dir| *dir != own && (real.is_none() || dir.canonicalize().ok() != real)).collect()
}

/// What a skill says about itself. Blocks.
pub fn head(dir: &Utf8Path) -> FrontMatter {
    match disk::read_start(&dir.join("SKILL.md"), HEAD) {
        Ok(bytes) => front_matter::read(&bytes),
        Err(_) => FrontMatter { problem: Some("it cannot be read"), ..FrontMatter::default() },
    }
}

/// What a skill is called: as its head says, else like its directory.
pub fn name_of(front: &FrontMatter, dir: &Utf8Path) -> String {
    front.name.clone().or_else(|| dir.file_name().map(str::to_owned)).unwrap_or_default()
}
