//! The skills of a home: what `hermes skills list` shows. Nothing here fails; a broken skill says so in its row.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::MAX_FILE_LEN;
use hermes_host::disk;
use hermes_wire::ProfileHome;
use hermes_wire::text::is_unseen;

use hermes_worker::skills::scan::{self, below, head, name_of};

use super::bundle::Bundled;
use super::manifest::Manifest;
use super::rule::Recorded;
use super::tree;

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
            let front = head(&path);
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
        let front = head(&path).name;
        let own = path.file_name().map(str::to_owned);
        front.into_iter().chain(own).map(move |name| (name, path.clone())).collect::<Vec<_>>()
    };
    roots.flat_map(below).flat_map(both).collect()
}

/// `skills.external_dirs` of a home.
pub(super) fn external_dirs(home: &Utf8Path) -> Vec<Utf8PathBuf> {
    let file = disk::read_bounded(&home.join("config.yaml"), MAX_FILE_LEN).unwrap_or_default();
    scan::external_dirs(home, &hermes_config::list_at(&file, &["skills", "external_dirs"]))
}

/// Number of skills in a home.
pub(crate) fn count(home: &Utf8Path) -> usize {
    below(&home.join("skills")).len()
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
