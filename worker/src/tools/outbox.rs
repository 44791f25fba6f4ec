//! Which files may leave the machine in a message: the judge of the tools for files says what nobody may touch, and of the rest those may
//! leave that are in the workspace, in the profile's cache, in a directory that its owner named, or that were made just now.

use std::fs::File;
use std::time::SystemTime;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::{Leaving, ProfileConfig};
use hermes_wire::ProfileHome;

use super::ToolError;
use super::guard::Intent;
use super::place::Place;

/// The judge of one profile; see the module.
#[derive(Debug)]
pub(crate) struct Outbox {
    place: Place,
    cache: Utf8PathBuf,
    leaving: Leaving,
}

/// A file that may leave, open.
#[derive(Debug)]
pub(crate) struct Leaves {
    /// Where it is, every link followed.
    pub(crate) path: Utf8PathBuf,
    /// The file that was judged, whatever is at its path later.
    pub(crate) file: File,
    /// Its bytes.
    pub(crate) length: u64,
}

impl Outbox {
    pub(crate) fn new(config: &ProfileConfig, home: &ProfileHome) -> Self {
        let cache = home.path().join("cache");
        Self { place: Place::new(config, home), cache, leaving: config.leaving.clone() }
    }

    /// The file at a path as a model writes it, or why it does not leave. Blocks.
    pub(crate) fn judge(&self, path: &str) -> Result<Leaves, String> {
        self.look(path).map_err(|ToolError(reason)| reason)
    }

    fn look(&self, path: &str) -> Result<Leaves, ToolError> {
        // What may not be written is the system's or this program's own: that does not leave either.
        let judged = self.place.judge(path, &[Intent::Read, Intent::Write])?;
        let file = self.place.open(&judged)?;
        let found = file.metadata().map_err(|error| ToolError(error.to_string()))?;
        if found.len() == 0 {
            return Err(ToolError("it is empty".to_owned()));
        }
        if !self.is_shared(&judged.path) && !self.is_recent(found.modified().ok()) {
            return Err(ToolError(
                "it is neither in the workspace nor new; `gateway.media_delivery_allow_dirs` in config.yaml names other directories"
                    .to_owned(),
            ));
        }
        Ok(Leaves { path: judged.path, file, length: found.len() })
    }

    /// Whether a resolved path is below a directory whose files may leave.
    fn is_shared(&self, path: &Utf8Path) -> bool {
        let workspace = self.place.workspace().ok();
        let named = self.leaving.dirs.iter().map(|dir| self.place.expanded(dir));
        let named = named.filter(|dir| dir.is_absolute());
        let mut all = workspace.into_iter().chain([self.cache.clone()]).chain(named);
        all.any(|dir| path.starts_with(dir.canonicalize_utf8().unwrap_or(dir)))
    }

    fn is_recent(&self, changed: Option<SystemTime>) -> bool {
        let Some((most, changed)) = self.leaving.recent.zip(changed) else { return false };
        let now = hermes_host::clock::system();
        // A time that is yet to come is no old one.
        now.duration_since(changed).map_or(true, |age| age <= most)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outbox(dir: &Utf8Path, leaving: Leaving) -> Outbox {
        let mut config = ProfileConfig::new(hermes_wire::ProfileName::default_profile());
        config.tools.cwd = Some(dir.join("work"));
        config.leaving = leaving;
        Outbox::new(&config, &ProfileHome::new(dir.join("home")))
    }

    #[test]
    fn files_of_the_workspace_the_cache_and_named_directories_leave_and_no_secret_does() {
        let dir = tempfile::tempdir().unwrap();
        let dir = Utf8Path::from_path(dir.path()).unwrap().canonicalize_utf8().unwrap();
        for name in [
            "work/a.txt",
            "work/.env",
            "home/cache/images/b.png",
            "home/.env",
            "home/state.db",
            "shared/c",
            "old/d",
        ] {
            let path = dir.join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, "x").unwrap();
        }
        fs_err::write(dir.join("work/empty"), "").unwrap();
        std::os::unix::fs::symlink(dir.join("home/.env"), dir.join("work/link.txt")).unwrap();
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for name in ["work/a.txt", "home/cache/images/b.png", "shared/c", "old/d"] {
            File::options().write(true).open(dir.join(name)).unwrap().set_modified(past).unwrap();
        }
        let strict = outbox(&dir, Leaving { dirs: vec![dir.join("shared").into_string()], recent: None });
        let may = |outbox: &Outbox, path: &str| outbox.judge(path).map(|found| found.length);
        assert_eq!(may(&strict, "a.txt"), Ok(1));
        for name in ["work/a.txt", "home/cache/images/b.png", "shared/c"] {
            assert_eq!(may(&strict, dir.join(name).as_str()), Ok(1), "{name}");
        }
        for name in [
            "old/d",
            "home/.env",
            "home/state.db",
            "work/.env",
            "work/link.txt",
            "work/empty",
            "work/none",
            "work",
        ] {
            assert!(may(&strict, dir.join(name).as_str()).is_err(), "{name}");
        }
        assert!(may(&strict, "/etc/hostname").is_err() && may(&strict, "/proc/self/environ").is_err());
        // What was made just now, wherever it is.
        let open = outbox(&dir, Leaving::default());
        assert!(may(&open, dir.join("old/d").as_str()).is_err());
        fs_err::write(dir.join("old/d"), "new").unwrap();
        assert_eq!(may(&open, dir.join("old/d").as_str()), Ok(3));
        assert!(may(&open, dir.join("home/.env").as_str()).is_err());
    }
}
