//! Puts bundled skills into a home so that a crash between any two steps loses nothing; finishes or undoes what one left.
//!
//! Everything in work stands in `skills/.archive/.hermes-sync/`, where no program looks for skills:
//!
//! | Entry | What it is | After a crash |
//! |---|---|---|
//! | `pending` | what was about to be done: name, hash, place | read first, removed last |
//! | `NAME.new` | a bundled skill being written | removed: it never holds a user's bytes |
//! | `NAME.ready` | complete; after the exchange, what was in its place before | told apart by its hash, see [`recover`] |
//! | `NAME.bak` | what was in its place, where two names cannot be exchanged | put back where its place is empty |
//! | `NAME.old` | known to be an unchanged former version | removed |

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::disk;
use hermes_host::disk::{exchange, knows_no_such_rename, rename_new, sync_file_system};

use super::bundle::Bundled;
use super::manifest::{Manifest, named};
use super::rule::Recorded;
use super::tree::{self, Tree};

/// Largest `pending` that is read, in bytes.
const LIMIT: usize = 1024 * 1024;
const ARCHIVE: &str = ".archive";
const WORK: &str = ".hermes-sync";
const PENDING: &str = "pending";

/// How two names change places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    /// In one step, where the file system can.
    Exchange,
    /// In two, by way of `NAME.bak`.
    #[cfg_attr(not(test), expect(dead_code, reason = "what `Exchange` falls back to; tests ask for it"))]
    TwoRenames,
}

/// The place where one sync of one home works.
#[derive(Debug)]
pub(crate) struct Workplace {
    skills: Utf8PathBuf,
    dir: Utf8PathBuf,
    swap: Swap,
}

impl Workplace {
    /// Makes it, and writes down what is about to be done.
    pub(crate) fn begin(skills: &Utf8Path, plan: &[&Bundled], swap: Swap) -> io::Result<Self> {
        let dir = skills.join(ARCHIVE).join(WORK);
        disk::make_dirs(&dir, 0o755)?;
        let line = |skill: &&Bundled| format!("{}:{}:{}\n", skill.name, skill.hash, skill.place());
        let text: String = plan.iter().map(line).collect();
        disk::write_atomic(&dir.join(PENDING), text.as_bytes(), true)
            .map_err(|e| named(&e, &dir.join(PENDING)))?;
        Ok(Self { skills: skills.to_owned(), dir, swap })
    }

    fn entry(&self, name: &str, what: &str) -> Utf8PathBuf {
        self.dir.join(format!("{name}.{what}"))
    }

    /// Writes one completely, aside.
    pub(crate) fn stage(&self, skill: &Bundled) -> io::Result<()> {
        let new = self.entry(skill.name, "new");
        fs_err::create_dir(&new)?;
        for (path, text) in skill.files {
            let path = new.join(path);
            if let Some(dir) = path.parent() {
                fs_err::create_dir_all(dir)?;
            }
            fs_err::write(path, text)?;
        }
        disk::hand_over(&new)
    }

    /// Makes everything staged or moved survive a power loss.
    pub(crate) fn sync(&self) -> io::Result<()> {
        sync_file_system(&self.dir)
    }

    /// Gives a staged one its name. `false`: something took it meanwhile, and was left alone.
    pub(crate) fn install(&self, skill: &Bundled) -> io::Result<bool> {
        let place = self.skills.join(skill.place());
        disk::make_dirs(&self.skills.join(skill.category), 0o755)?;
        match rename_new(&self.entry(skill.name, "new"), &place) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(e) => Err(named(&e, &place)),
        }
    }

    /// Puts a staged one where an unchanged one with the hash `origin` is. `false`: that one was changed in the last moment, and
    /// is in its place again.
    pub(crate) fn replace(&self, skill: &Bundled, origin: &str) -> io::Result<bool> {
        let place = self.skills.join(skill.place());
        let ready = self.entry(skill.name, "ready");
        fs_err::rename(self.entry(skill.name, "new"), &ready)?;
        let former = self.put(skill.name, &ready, &place)?;
        // Whoever had a file of it open may have written between the decision and now.
        if tree::look(&former).is(origin) {
            return fs_err::rename(&former, self.free_old(skill.name)?).map(|()| true);
        }
        self.put_back(skill.name, &former, &place)?;
        Ok(false)
    }

    /// Puts `ready` in the place of what is there; where that is now.
    fn put(&self, name: &str, ready: &Utf8Path, place: &Utf8Path) -> io::Result<Utf8PathBuf> {
        if self.swap == Swap::Exchange {
            match exchange(ready, place) {
                Err(e) if knows_no_such_rename(&e) => {}
                other => return other.map(|()| ready.to_owned()).map_err(|e| named(&e, place)),
            }
        }
        let former = self.entry(name, "bak");
        fs_err::rename(place, &former)?;
        if let Err(e) = rename_new(ready, place) {
            fs_err::rename(&former, place)?;
            return Err(named(&e, place));
        }
        Ok(former)
    }

    /// Undoes [`Self::put`]: `former` goes back, and what is in its place becomes `NAME.old`.
    fn put_back(&self, name: &str, former: &Utf8Path, place: &Utf8Path) -> io::Result<()> {
        let old = self.free_old(name)?;
        if self.swap == Swap::Exchange {
            match exchange(former, place) {
                Err(e) if knows_no_such_rename(&e) => {}
                Ok(()) => return fs_err::rename(former, old),
                Err(e) => return Err(named(&e, place)),
            }
        }
        fs_err::rename(place, old)?;
        rename_new(former, place).map_err(|e| named(&e, place))
    }

    /// The name of what may be removed, with nothing there.
    fn free_old(&self, name: &str) -> io::Result<Utf8PathBuf> {
        let old = self.entry(name, "old");
        match fs_err::remove_dir_all(&old) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(old),
        }
    }

    /// Gives what cannot be told apart a name of its own beside the workplace.
    fn keep(&self, leftover: &Utf8Path) -> io::Result<Utf8PathBuf> {
        aside(&self.skills, leftover, leftover.file_stem().unwrap_or("skill"))
    }

    /// Removes everything that is ours, `pending` last, and the workplace. What is not is kept, and returned.
    fn clear(self) -> io::Result<Vec<Utf8PathBuf>> {
        let mut kept = Vec::new();
        for entry in self.dir.read_dir_utf8()? {
            let path = entry?.path().to_owned();
            match path.extension() {
                Some("new" | "old") => fs_err::remove_dir_all(&path)?,
                Some("tmp") => fs_err::remove_file(&path)?,
                _ if path.file_name() == Some(PENDING) => {}
                _ => kept.push(self.keep(&path)?),
            }
        }
        match fs_err::remove_file(self.dir.join(PENDING)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs_err::remove_dir(&self.dir)?;
        // Fails where something is in it, which is meant.
        let _ = fs_err::remove_dir(self.skills.join(ARCHIVE));
        Ok(kept)
    }
}

/// Finishes or undoes what a sync left, one that died or the one that is about to end; returns what could not be told apart and
/// was kept in `.archive`. `manifest` learns what had come into its place, and is written then.
///
/// A leftover is removed only when its bytes are known: those of the bundled skill that was being brought, or those that the
/// manifest says were brought before. Anything else is a user's: it goes back into its place where that is empty or holds the
/// untouched bundled skill, else it stays in `.archive` under its own name.
pub(crate) fn recover(skills: &Utf8Path, manifest: &mut Manifest) -> io::Result<Vec<Utf8PathBuf>> {
    let dir = skills.join(ARCHIVE).join(WORK);
    let mut kept = Vec::new();
    if fs_err::symlink_metadata(&dir).is_err() {
        // What died last may have left it, with nothing in it.
        let _ = fs_err::remove_dir(skills.join(ARCHIVE));
        return Ok(kept);
    }
    let text = match disk::read_bounded(&dir.join(PENDING), LIMIT) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(named(&e, &dir.join(PENDING))),
    };
    let work = Workplace { skills: skills.to_owned(), dir, swap: Swap::Exchange };
    let before = manifest.clone();
    for (name, hash, place) in text.lines().filter_map(pending) {
        let place = skills.join(place);
        for what in ["bak", "ready"] {
            let leftover = work.entry(name, what);
            if let Some(path) = settle(&work, name, hash, &leftover, &place, manifest)? {
                kept.push(path);
            }
        }
        if tree::look(&place).is(hash) {
            manifest.set(name, hash);
        }
    }
    if *manifest != before {
        manifest.write(skills)?;
    }
    kept.extend(work.clear()?);
    Ok(kept)
}

/// Undoes what 0.19.0 left when it died in the middle of an update: it moves a skill to `NAME.bak` beside its place, copies the new
/// one there and removes the old. What comes back is whole; what is kept for a look is returned. Names that neither the manifest nor
/// the bundle knows are the user's own.
pub(crate) fn recover_former(
    skills: &Utf8Path,
    found: &[Utf8PathBuf],
    bundle: &[Bundled],
    manifest: &Manifest,
) -> io::Result<Vec<Utf8PathBuf>> {
    let mut kept = Vec::new();
    for former in found {
        let Some(name) = former.file_name().and_then(|name| name.strip_suffix(".bak")) else { continue };
        let bundled = bundle
            .iter()
            .find(|skill| skill.name == name && former.parent() == skills.join(skill.place()).parent());
        let recorded = manifest.of(name);
        if bundled.is_none() && recorded == Recorded::Never {
            continue;
        }
        let place = former.with_file_name(name);
        if tree::look(&place) == Tree::Absent {
            rename_new(former, &place).map_err(|e| named(&e, &place))?;
        } else if bundled.is_some_and(|skill| tree::look(&place).is(&skill.hash))
            || !is_remains(&place, bundled)
        {
            // The update came to its end, or the user went on with what there was.
            let known = matches!(recorded, Recorded::Hash(origin) if tree::look(former).is(origin));
            if known {
                fs_err::remove_dir_all(former)?;
            } else {
                kept.push(aside(skills, former, name)?);
            }
        } else {
            kept.push(aside(skills, &place, name)?);
            rename_new(former, &place).map_err(|e| named(&e, &place))?;
        }
    }
    Ok(kept)
}

/// Whether a directory is what a copy that was cut off leaves: without `SKILL.md`, or only beginnings of the bundled files.
fn is_remains(place: &Utf8Path, bundled: Option<&Bundled>) -> bool {
    if disk::is_absent(&place.join("SKILL.md")) {
        return true;
    }
    let Some(skill) = bundled else { return false };
    let begun = skill.files.iter().map(|(path, text)| match disk::read_bounded(&place.join(path), LIMIT) {
        Ok(bytes) => text.as_bytes().starts_with(&bytes),
        Err(e) => e.kind() == io::ErrorKind::NotFound,
    });
    begun.into_iter().all(|begun| begun)
}

/// Moves what stays for a look to `.archive`.
fn aside(skills: &Utf8Path, path: &Utf8Path, name: &str) -> io::Result<Utf8PathBuf> {
    let archive = skills.join(ARCHIVE);
    disk::make_dirs(&archive, 0o755)?;
    for n in 1..1000 {
        let to = archive.join(format!("{name}-{n}"));
        match rename_new(path, &to) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.map(|()| to).map_err(|e| named(&e, path)),
        }
    }
    Err(io::Error::other(format!("`{path}` cannot be told apart and `{archive}` is full")))
}

/// One line of `pending`; a place outside of `skills/` is not ours.
fn pending(line: &str) -> Option<(&str, &str, &Utf8Path)> {
    let mut parts = line.splitn(3, ':');
    let (name, hash, place) = (parts.next()?, parts.next()?, Utf8Path::new(parts.next()?));
    let plain = |path: &Utf8Path| {
        path.components().all(|part| matches!(part, camino::Utf8Component::Normal(_)))
            && !path.as_str().is_empty()
    };
    (plain(Utf8Path::new(name)) && !name.contains('/') && plain(place)).then_some((name, hash, place))
}

fn settle(
    work: &Workplace,
    name: &str,
    hash: &str,
    leftover: &Utf8Path,
    place: &Utf8Path,
    manifest: &Manifest,
) -> io::Result<Option<Utf8PathBuf>> {
    let what = tree::look(leftover);
    if what == Tree::Absent {
        return Ok(None);
    }
    let there = tree::look(place);
    let former = leftover.extension() == Some("bak");
    if there == Tree::Absent && former {
        rename_new(leftover, place)?;
        return Ok(None);
    }
    let ours = what.is(hash) || matches!(manifest.of(name), Recorded::Hash(origin) if what.is(origin));
    if !ours && there.is(hash) {
        // The user's stands aside, the untouched bundled one in its place.
        work.put_back(name, leftover, place)?;
        return Ok(None);
    }
    if ours {
        fs_err::rename(leftover, work.free_old(name)?)?;
        return Ok(None);
    }
    work.keep(leftover).map(Some)
}
