//! Writes a profile to an archive: what belongs to it, without credentials, the same bytes for the same content.
//!
//! The archive appears by one rename, readable by its owner alone, or not at all. Secrets within configuration files become
//! `${NAME}`; a file from which they cannot be taken stays out, and that is said. Databases are copied as of one instant, and what
//! changes or vanishes while it is read stays out, with a warning. At last the finished archive is read, and where it holds a value
//! of `.env`, of a sign-in, or one that was taken out of the configuration, there is none.

mod collect;
mod pack;
mod search;
pub(super) mod snapshot;
mod steady;

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::redact;
use hermes_host::disk;
use hermes_wire::{ProfileName, RootHome};

use self::collect::Collector;
use self::pack::{Failure, Packing};
use super::entries::Scope;
use super::error::ProfileError;
use super::staging::sync_directory;
use crate::archive::{self, Limits};

/// Said about the archive as a whole when it holds the history.
pub(crate) const WITH_HISTORY: &str = "hermes profile export with history";

/// What to write.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) root: &'a RootHome,
    pub(crate) name: &'a ProfileName,
    /// Absolute.
    pub(crate) output: &'a Utf8Path,
    pub(crate) history: bool,
    /// Names of values that are no secrets, whatever they look like.
    pub(crate) allow: &'a [String],
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// Files, directories and links.
    pub(crate) entries: u64,
    /// Bytes of their content.
    pub(crate) bytes: u64,
    /// Bytes of the archive.
    pub(crate) packed: u64,
    /// File, key and variable of every secret that was replaced.
    pub(crate) replaced: Vec<(Utf8PathBuf, redact::Replaced)>,
    /// Files with comments from which something was removed.
    pub(crate) comments: Vec<Utf8PathBuf>,
    /// Databases.
    pub(crate) databases: Vec<Utf8PathBuf>,
    /// Files that begin like databases and are none.
    pub(crate) as_they_are: Vec<Utf8PathBuf>,
    /// Entries that stayed out although they are the profile's own, with the reason.
    pub(crate) left_out: Vec<(String, String)>,
    /// Entries in the home of `default` that are nothing of a profile.
    pub(crate) foreign: Vec<String>,
    /// Why an import with the limits there are would refuse it.
    pub(crate) too_large: Option<String>,
}

/// Writes it. `progress` is told the bytes read so far and answers whether to go on.
pub(crate) fn export(
    plan: &Plan<'_>,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<Exported, ProfileError> {
    let home = plan.root.profile(plan.name);
    let real = home.path().canonicalize_utf8().map_err(ProfileError::io("read", home.path()))?;
    let dir = plan.output.parent().unwrap_or(Utf8Path::new("/"));
    let unwritable = || ProfileError::io("write", plan.output);
    disk::make_dirs(dir, 0o755).map_err(unwritable())?;
    // Where links to directories are followed, so that it is recognised when it lies in the home itself.
    let output =
        dir.canonicalize_utf8().map_err(unwritable())?.join(plan.output.file_name().unwrap_or_default());
    if output.is_dir() {
        return Err(unwritable()(io::ErrorKind::IsADirectory.into()));
    }
    let scope = Scope { default: plan.name.is_default(), history: plan.history };
    let mut kept = search::kept(&real)?;
    let mut collector = Collector::new(&real, plan.name.as_str(), scope, &output)?;
    collector.collect()?;
    let mut done = Exported {
        left_out: std::mem::take(&mut collector.left_out),
        foreign: std::mem::take(&mut collector.foreign),
        ..Exported::default()
    };
    let items = std::mem::take(&mut collector.items);
    let file = hermes_host::file::temporary_as(dir, ".hermes-", ".tmp").map_err(unwritable())?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let written = archive::compress(file.as_file(), threads, |to| {
        let mut packing = Packing::new(plan, &real, &mut done, &mut kept, progress);
        packing.all(&items, to)
    });
    match written {
        Ok(_) => {}
        Err(Failure::Profile(e)) => return Err(e),
        Err(Failure::Output(e)) => return Err(unwritable()(e)),
    }
    kept.retain(|_, name| !plan.allow.contains(name));
    let found = search::search(file.as_file(), &kept, progress)?;
    if !found.is_empty() {
        return Err(ProfileError::Leaks { found });
    }
    file.as_file().sync_all().map_err(unwritable())?;
    done.packed = file.as_file().metadata().map_err(unwritable())?.len();
    file.persist(&output).map_err(|e| unwritable()(e.error))?;
    sync_directory(dir).map_err(unwritable())?;
    done.too_large = beyond_limits(&done);
    Ok(done)
}

fn beyond_limits(done: &Exported) -> Option<String> {
    let limits = Limits::IMPORT;
    let unpacked = done.bytes + done.entries * 1024;
    if done.entries > limits.members {
        return Some(format!("more than {} entries", limits.members));
    }
    if unpacked > limits.total {
        return Some(format!("more than {} MB", limits.total >> 20));
    }
    let allowed = done.packed.saturating_mul(limits.ratio).saturating_add(limits.free);
    (unpacked > allowed).then(|| format!("more than {} times its packed size", limits.ratio))
}
