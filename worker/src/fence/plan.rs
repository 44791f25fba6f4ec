//! What programs behind the fence find in place of what they have no business with.
//!
//! The root home holds the homes of all profiles, and secrets at its top. Files in it are replaced and made at any time, and whatever covers a single
//! file is gone as soon as that file is replaced. So the whole directory is covered by an empty one that nobody can write to, and what
//! programs are for is put back into it: directories, which stay the same whatever happens in them. What nobody thought of is not there.

use std::collections::BTreeSet;
use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::absence::OrAbsent as _;

use super::mounts;
use crate::skills::scan;

/// Directories of the profile's own home that programs work with.
const WORKED_WITH: [&str; 14] = [
    "workspace",
    "home",
    "skills",
    "scripts",
    "plans",
    "sandboxes",
    "image_cache",
    "audio_cache",
    "document_cache",
    "browser_screenshots",
    // A container may have its home for the user's.
    ".cache",
    ".config",
    ".local",
    ".npm",
];
/// Of its own home and of the root home: programs that may have been installed there.
const USED: [&str; 9] =
    ["bin", "node", "node_modules", "hermes-agent", "tools", "runtimes", "models", "plugins", "hooks"];
/// Within those: secrets all the same.
const SECRET_WITHIN: [&str; 2] = ["skills/.hub", "hermes-agent/.env"];
/// What a gateway that runs as root could have started outside by any program of root's.
const OF_ROOT: [&str; 2] = ["/run/dbus", "/run/systemd/private"];

/// Where a profile's programs are started, and what there is around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// The profile's own home.
    pub(crate) home: Utf8PathBuf,
    /// The home of `default`, which holds all others.
    pub(crate) root: Utf8PathBuf,
    /// Where the profile works.
    pub(crate) workspace: Utf8PathBuf,
    /// Directories that hold sockets of the user's services, the gateway among them.
    pub(crate) runtime: Vec<Utf8PathBuf>,
    /// Where an administrator's files are.
    pub(crate) managed: Utf8PathBuf,
    /// `skills.external_dirs`.
    pub(crate) named: Vec<String>,
    /// Where the gateway's sockets may be.
    pub(crate) sockets: Vec<Utf8PathBuf>,
    /// The gateway.
    pub(crate) supervisor: Option<u32>,
    /// The gateway runs as root.
    pub(crate) is_root: bool,
}

/// One step of what makes the view of programs; in the order in which they are done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// An empty directory over what is there; nobody can write to it once it is sealed.
    Empty(Utf8PathBuf),
    /// The same for a directory in which programs have their sockets: they may make new ones.
    Scratch(Utf8PathBuf),
    /// A directory that is there, whatever is in it.
    Dir(Utf8PathBuf),
    /// Nothing over a file.
    Cover(Utf8PathBuf),
    /// Back again, as it is.
    Keep(Utf8PathBuf),
    /// Back again, to be read.
    See(Utf8PathBuf),
    /// A link again.
    Link(Utf8PathBuf, Utf8PathBuf),
    /// The end of an empty directory's being filled.
    Seal(Utf8PathBuf),
}

impl Step {
    /// What it puts back.
    fn back(&self) -> Option<&Utf8Path> {
        match self {
            Self::Keep(path) | Self::See(path) | Self::Link(path, _) => Some(path),
            Self::Empty(_) | Self::Scratch(_) | Self::Dir(_) | Self::Cover(_) | Self::Seal(_) => None,
        }
    }
}

/// Everything that is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan(pub(crate) Vec<Step>);

impl Plan {
    /// For what is there now. Blocks. What cannot be looked at is an error: nothing is left open because it was not seen.
    pub(crate) fn of(place: &Place) -> io::Result<Self> {
        let (root, home) = (place.root.canonicalize_utf8()?, place.home.canonicalize_utf8()?);
        let mut hidden: BTreeSet<Utf8PathBuf> = BTreeSet::from([root.clone(), home.clone()]);
        hidden.extend(homes_elsewhere(&root)?);
        hidden.extend(directory(&place.managed)?);
        let mut scratch = BTreeSet::new();
        for dir in &place.runtime {
            scratch.extend(directory(dir)?);
        }
        hidden.extend(scratch.iter().cloned());
        let mut covered = Vec::new();
        if place.is_root {
            for path in OF_ROOT.map(Utf8Path::new) {
                match fs_err::metadata(path).or_absent()? {
                    Some(found) if found.is_dir() => drop(hidden.insert(path.to_owned())),
                    Some(_) => covered.push(path.to_owned()),
                    None => {}
                }
            }
        }
        let own = Kept { root: &root, home: &home, hidden: &hidden }.entries()?;
        // Other names of the same directories, except of what is put back.
        let aliases = mounts::aliases(&mounts::read()?, hidden.iter().map(AsRef::as_ref));
        let is_back = |path: &Utf8Path| own.iter().filter_map(Step::back).any(|back| path.starts_with(back));
        let aliases: Vec<_> =
            aliases.into_iter().filter(|(_, original)| !is_back(original)).map(|(alias, _)| alias).collect();
        hidden.extend(aliases);
        let mut kept = own;
        kept.extend(Kept { root: &root, home: &home, hidden: &hidden }.named(place)?);
        Ok(steps(&hidden, (&scratch, &covered), without_nested(kept), &within(&[&home, &root])?))
    }

    /// Whether something is there behind the fence as it is outside.
    pub(crate) fn shows(&self, path: &Utf8Path) -> bool {
        // The last step that says something about a path, or about a directory above it, is in force.
        let says = |step: &Step| match step {
            Step::Empty(at) | Step::Scratch(at) | Step::Cover(at) => path.starts_with(at).then_some(false),
            Step::Keep(at) | Step::See(at) | Step::Link(at, _) => path.starts_with(at).then_some(true),
            Step::Dir(_) | Step::Seal(_) => None,
        };
        self.0.iter().rev().find_map(says).unwrap_or(true)
    }

    /// What is covered.
    pub(crate) fn hidden(&self) -> impl Iterator<Item = &Utf8Path> {
        self.0.iter().filter_map(|step| match step {
            Step::Empty(path) | Step::Scratch(path) | Step::Cover(path) => Some(path.as_path()),
            Step::Dir(_) | Step::Keep(_) | Step::See(_) | Step::Link(..) | Step::Seal(_) => None,
        })
    }

    /// For the command line of the program that does it. Paths are no secrets.
    pub(crate) fn words(&self) -> Vec<String> {
        let word = |name: &str, path: &Utf8Path| vec![name.to_owned(), path.to_string()];
        let words = self.0.iter().map(|step| match step {
            Step::Empty(path) => word("empty", path),
            Step::Scratch(path) => word("scratch", path),
            Step::Dir(path) => word("dir", path),
            Step::Cover(path) => word("cover", path),
            Step::Keep(path) => word("keep", path),
            Step::See(path) => word("see", path),
            Step::Seal(path) => word("seal", path),
            Step::Link(path, target) => [word("link", path), vec![target.to_string()]].concat(),
        });
        words.flatten().collect()
    }

    /// The same, read. `None`: these are none.
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> Option<Self> {
        let mut steps = Vec::new();
        while let Some(word) = words.next() {
            let path = Utf8PathBuf::from(words.next()?);
            steps.push(match word.as_str() {
                "empty" => Step::Empty(path),
                "scratch" => Step::Scratch(path),
                "dir" => Step::Dir(path),
                "cover" => Step::Cover(path),
                "keep" => Step::Keep(path),
                "see" => Step::See(path),
                "seal" => Step::Seal(path),
                "link" => Step::Link(path, words.next()?.into()),
                _ => return None,
            });
        }
        Some(Self(steps))
    }
}

/// What is put back.
#[derive(Debug, Clone, Copy)]
struct Kept<'a> {
    root: &'a Utf8Path,
    home: &'a Utf8Path,
    hidden: &'a BTreeSet<Utf8PathBuf>,
}

impl Kept<'_> {
    /// What homes have for programs.
    fn entries(self) -> io::Result<Vec<Step>> {
        // Programs are told where it is, and may be started there.
        let mut kept = vec![Step::Dir(self.home.to_owned())];
        for name in WORKED_WITH {
            kept.extend(self.entry(&self.home.join(name), Step::Keep)?);
        }
        let homes = [Some(self.home), Some(self.root).filter(|root| *root != self.home)];
        for home in homes.into_iter().flatten() {
            for name in USED {
                kept.extend(self.entry(&home.join(name), Step::See)?);
            }
        }
        Ok(kept)
    }

    /// What the profile's files name.
    fn named(self, place: &Place) -> io::Result<Vec<Step>> {
        let mut kept = Vec::new();
        if let Some(dir) = directory(&place.workspace)?.filter(|dir| self.may_be_put_back(dir)) {
            kept.push(Step::Keep(dir));
        }
        for dir in scan::external_dirs(&place.home, &place.named) {
            if let Some(dir) = directory(&dir)?.filter(|dir| self.may_be_put_back(dir)) {
                kept.push(Step::See(dir));
            }
        }
        Ok(kept)
    }

    /// A directory by its name, or a link that leads to something that is not hidden.
    fn entry(self, path: &Utf8Path, step: fn(Utf8PathBuf) -> Step) -> io::Result<Option<Step>> {
        let Some(found) = fs_err::symlink_metadata(path).or_absent()? else { return Ok(None) };
        if found.is_dir() {
            return Ok(Some(step(path.to_owned())));
        }
        let target = if found.is_symlink() { path.canonicalize_utf8().or_absent()? } else { None };
        Ok(target.filter(|target| !self.is_hidden(target)).map(|target| Step::Link(path.to_owned(), target)))
    }

    fn is_hidden(self, path: &Utf8Path) -> bool {
        self.hidden.iter().any(|hidden| path.starts_with(hidden))
    }

    /// A directory that somebody sent the profile to: not a home as a whole, and nothing of another profile.
    fn may_be_put_back(self, path: &Utf8Path) -> bool {
        let is_home =
            self.hidden.iter().any(|hidden| hidden.starts_with(path)) || self.home.starts_with(path);
        let of_others = path.starts_with(self.root.join("profiles")) && !path.starts_with(self.home);
        self.is_hidden(path) && !is_home && !of_others
    }
}

/// Homes that a link in `profiles` leads to.
fn homes_elsewhere(root: &Utf8Path) -> io::Result<Vec<Utf8PathBuf>> {
    let entries = root.join("profiles").read_dir_utf8().or_absent()?.into_iter().flatten();
    let mut homes = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_symlink()
            && let Some(home) = directory(entry.path())?.filter(|home| !home.starts_with(root))
        {
            homes.push(home);
        }
    }
    Ok(homes)
}

/// The directory that a path leads to.
fn directory(path: &Utf8Path) -> io::Result<Option<Utf8PathBuf>> {
    let found = fs_err::metadata(path).or_absent()?;
    if found.is_some_and(|found| found.is_dir()) { path.canonicalize_utf8().or_absent() } else { Ok(None) }
}

/// Without what comes back with a directory that it lies in.
fn without_nested(kept: Vec<Step>) -> Vec<Step> {
    let whole: Vec<Utf8PathBuf> = kept
        .iter()
        .filter(|step| matches!(step, Step::Keep(_)))
        .filter_map(Step::back)
        .map(Into::into)
        .collect();
    let mut seen = BTreeSet::new();
    let is_alone = |step: &Step| {
        step.back().is_none_or(|at| {
            seen.insert(at.to_owned()) && !whole.iter().any(|whole| at != whole && at.starts_with(whole))
        })
    };
    let mut kept = kept;
    kept.retain(is_alone);
    kept
}

/// Secrets within what is put back.
fn within(homes: &[&Utf8Path]) -> io::Result<Vec<(Utf8PathBuf, bool)>> {
    let mut found = BTreeSet::new();
    for path in homes.iter().flat_map(|home| SECRET_WITHIN.map(|name| home.join(name))) {
        if let Some(meta) = fs_err::symlink_metadata(&path).or_absent()? {
            found.insert((path, meta.is_dir()));
        }
    }
    Ok(found.into_iter().collect())
}

/// Whether it lies in one of the others.
fn is_in<'a>(path: &Utf8Path, others: impl IntoIterator<Item = &'a Utf8PathBuf>) -> bool {
    others.into_iter().any(|other| path != other && path.starts_with(other))
}

/// Everything in order: what is covered, what is put back, what is covered within that, and the seals.
fn steps(
    hidden: &BTreeSet<Utf8PathBuf>,
    (scratch, covered): (&BTreeSet<Utf8PathBuf>, &[Utf8PathBuf]),
    kept: Vec<Step>,
    within: &[(Utf8PathBuf, bool)],
) -> Plan {
    let outer: Vec<&Utf8PathBuf> = hidden.iter().filter(|path| !is_in(path, hidden)).collect();
    let cover = |path: &Utf8PathBuf| {
        if scratch.contains(path) { Step::Scratch(path.clone()) } else { Step::Empty(path.clone()) }
    };
    let mut steps: Vec<Step> = outer.iter().map(|path| cover(path)).collect();
    steps.extend(covered.iter().cloned().map(Step::Cover));
    let back: Vec<Utf8PathBuf> = kept.iter().filter_map(Step::back).map(Into::into).collect();
    steps.extend(kept);
    // What lies in something that was put back.
    let inner = hidden.iter().filter(|path| is_in(path, &back)).map(|path| (path.clone(), true));
    let inner = inner.chain(within.iter().filter(|(path, _)| is_in(path, &back)).cloned());
    let inner: BTreeSet<(Utf8PathBuf, bool)> = inner.collect();
    steps.extend(
        inner.iter().map(
            |(path, is_dir)| {
                if *is_dir { Step::Empty(path.clone()) } else { Step::Cover(path.clone()) }
            },
        ),
    );
    let inner = inner.iter().filter(|(_, is_dir)| *is_dir).map(|(path, _)| path);
    let sealed = outer.into_iter().filter(|path| !scratch.contains(*path)).chain(inner);
    steps.extend(sealed.cloned().map(Step::Seal).collect::<Vec<_>>());
    Plan(steps)
}

#[cfg(test)]
mod tests;
