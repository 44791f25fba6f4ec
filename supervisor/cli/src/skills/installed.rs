//! The skills of a home: what `hermes skills list` shows. Nothing here fails; a broken skill says so in its row.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::MAX_FILE_LEN;
use hermes_host::disk;
use hermes_wire::ProfileHome;
use hermes_wire::text::is_unseen;

use super::bundle::Bundled;
use super::front_matter::{self, FrontMatter};
use super::manifest::Manifest;
use super::rule::Recorded;
use super::tree;

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
const PARTS: [&str; 4] = ["references", "templates", "assets", "scripts"];
/// Deepest directory that is looked into for skills.
const DEPTH: usize = 12;

/// Where a skill comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// With this program, unchanged.
    Bundled,
    /// With this program, changed by the user.
    Modified,
    /// The user's own, or brought by another program.
    Yours,
    /// From a directory of `skills.external_dirs`.
    External,
}

impl Source {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Bundled => "bundled",
            Self::Modified => "modified",
            Self::Yours => "yours",
            Self::External => "external",
        }
    }
}

/// One skill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skill {
    pub(crate) name: String,
    pub(crate) category: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) source: Source,
    /// Named in `skills.disabled`.
    pub(crate) disabled: bool,
    pub(crate) path: Utf8PathBuf,
    /// Why readers cannot use it.
    pub(crate) problem: Option<String>,
}

/// All skills of a home, by category and name, and what is wrong with its own list of them.
pub(crate) fn list(home: &ProfileHome, bundle: &[Bundled]) -> (Vec<Skill>, Option<String>) {
    let skills = home.path().join("skills");
    let (manifest, flaw) = match Manifest::read(&skills) {
        Ok(manifest) => (manifest, None),
        Err(e) => (Manifest::default(), Some(e.to_string())),
    };
    let file = disk::read_bounded(&home.config(), MAX_FILE_LEN).unwrap_or_default();
    let disabled = hermes_config::list_at(&file, &["skills", "disabled"]);
    let external = external_dirs(home.path());
    let roots = std::iter::once((&skills, false)).chain(external.iter().map(|dir| (dir, true)));
    let mut all: Vec<Skill> = Vec::new();
    let mut reals = std::collections::HashSet::new();
    for (root, is_external) in roots {
        for path in below(root) {
            // The same directory by another way.
            if is_external && path.canonicalize().is_ok_and(|real| reals.contains(&real)) {
                continue;
            }
            reals.extend(path.canonicalize());
            let front = front_matter(&path);
            let name = name_of(&front, &path);
            let source =
                if is_external { Source::External } else { source(&name, &path, &skills, &manifest, bundle) };
            all.push(Skill {
                category: category(root, &path).map(|text| clean(&text)),
                description: front.description,
                disabled: disabled.contains(&name),
                problem: front.problem.map(str::to_owned),
                source,
                name: clean(&name),
                path,
            });
        }
    }
    // An unchanged bundled one whose name a directory of the user's has as well is not the one that is used.
    let external: Vec<String> =
        all.iter().filter(|skill| skill.source == Source::External).map(|skill| skill.name.clone()).collect();
    all.retain(|skill| skill.source != Source::Bundled || !external.contains(&skill.name));
    all.sort_by(|a, b| (&a.category, &a.name, &a.path).cmp(&(&b.category, &b.name, &b.path)));
    (all, flaw)
}

/// Names and directories of all skills, for whoever must not add a second one of a name.
pub(super) fn names(skills: &Utf8Path, external: &[Utf8PathBuf]) -> Vec<(String, Utf8PathBuf)> {
    let roots = std::iter::once(skills).chain(external.iter().map(Utf8PathBuf::as_path));
    let both = |path: Utf8PathBuf| {
        let front = front_matter(&path).name;
        let own = path.file_name().map(str::to_owned);
        front.into_iter().chain(own).map(move |name| (name, path.clone())).collect::<Vec<_>>()
    };
    roots.flat_map(below).flat_map(both).collect()
}

/// `skills.external_dirs`, relative ones below the home.
pub(super) fn external_dirs(home: &Utf8Path) -> Vec<Utf8PathBuf> {
    let file = disk::read_bounded(&home.join("config.yaml"), MAX_FILE_LEN).unwrap_or_default();
    let user_home = std::env::home_dir().and_then(|dir| Utf8PathBuf::from_path_buf(dir).ok());
    let own = home.join("skills");
    let dirs = hermes_config::list_at(&file, &["skills", "external_dirs"]).into_iter().map(|text| {
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

/// Number of skills in a home.
pub(crate) fn count(home: &Utf8Path) -> usize {
    below(&home.join("skills")).len()
}

pub(super) fn below(root: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut found = Vec::new();
    collect(root, 0, &mut found);
    found
}

/// Directories that hold a skill, below `dir`.
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

fn front_matter(dir: &Utf8Path) -> FrontMatter {
    match disk::read_start(&dir.join("SKILL.md"), HEAD) {
        Ok(bytes) => front_matter::read(&bytes),
        Err(_) => FrontMatter { problem: Some("it cannot be read"), ..FrontMatter::default() },
    }
}

fn name_of(front: &FrontMatter, path: &Utf8Path) -> String {
    front.name.clone().or_else(|| path.file_name().map(str::to_owned)).unwrap_or_default()
}

/// Names of directories may hold anything.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_unseen(c) { ' ' } else { c }).collect()
}

/// The directories between the root and the skill.
fn category(root: &Utf8Path, path: &Utf8Path) -> Option<String> {
    let above = path.strip_prefix(root).ok()?.parent()?;
    Some(above.to_string()).filter(|text| !text.is_empty())
}

fn source(name: &str, path: &Utf8Path, skills: &Utf8Path, manifest: &Manifest, bundle: &[Bundled]) -> Source {
    let bundled = bundle.iter().find(|skill| skill.name == name);
    // One of a bundled skill's name in another place is another skill.
    if bundled.is_some_and(|skill| skills.join(skill.place()) != path) {
        return Source::Yours;
    }
    match manifest.of(name) {
        Recorded::Never => Source::Yours,
        Recorded::Hash(hash) if tree::look(path).is(hash) => Source::Bundled,
        _ if bundled.is_some_and(|skill| tree::look(path).is(&skill.hash)) => Source::Bundled,
        Recorded::Hash(_) | Recorded::Unknown => Source::Modified,
    }
}
