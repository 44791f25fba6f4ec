//! Temporary files that a writer left in this home when it was killed between writing and renaming.

use std::time::Duration;

use camino::Utf8Path;
use hermes_host::clock;
use hermes_wire::ProfileHome;
use hermes_wire::home::{Writer, temporary};

/// A younger file may be about to be renamed, by a process of another container for instance.
const SETTLED: Duration = Duration::from_secs(60);
/// How old one has to be whose writer cannot be known.
const ABANDONED: Duration = Duration::from_secs(3600);
/// Where such files are made.
const PLACES: [&str; 7] =
    ["", "sessions", "skills", "cache/images", "cache/audio", "cache/videos", "cache/documents"];

/// Removes those of processes that are gone.
pub(crate) fn sweep(home: &ProfileHome) {
    for place in PLACES {
        let dir = if place.is_empty() { home.path().to_owned() } else { home.path().join(place) };
        // A directory that is not there, or cannot be read, has nothing that could be removed.
        for entry in fs_err::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if let Some(path) = Utf8Path::from_path(&path)
                && is_left(path)
            {
                match fs_err::remove_file(path) {
                    Ok(()) => tracing::info!(%path, "removed a temporary file of a process that is gone"),
                    Err(error) => tracing::debug!(%error, "a temporary file stays"),
                }
            }
        }
    }
}

fn is_left(path: &Utf8Path) -> bool {
    let Some(writer) = path.file_name().and_then(temporary) else { return false };
    let Ok(found) = fs_err::symlink_metadata(path) else { return false };
    let age = found.modified().ok().and_then(|then| clock::system().duration_since(then).ok());
    let old = |least| age.is_some_and(|age| age >= least);
    found.is_file()
        && match writer {
            Writer::Process(pid) => old(SETTLED) && !lives(pid),
            Writer::Unknown => old(ABANDONED),
        }
}

fn lives(pid: u32) -> bool {
    let pid = i32::try_from(pid).map(nix::unistd::Pid::from_raw);
    // No permission to send it a signal: it lives.
    pid.is_ok_and(|pid| nix::sys::signal::kill(pid, None) != Err(nix::errno::Errno::ESRCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 33: what a killed writer left is removed, what a living one works on and what is somebody else's stays.
    #[test]
    fn only_files_of_dead_writers_are_removed() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
        fs_err::create_dir(home.path().join("sessions")).unwrap();
        let (own, dead) = (std::process::id(), i32::MAX);
        let put = |name: &str, age: u64| {
            let file = fs_err::File::create(home.path().join(name)).unwrap();
            let then = hermes_host::clock::system() - Duration::from_secs(age);
            file.file().set_modified(then).unwrap();
        };
        let gone = [
            (format!(".runtime_status.json.{dead}.tmp"), 100),
            (format!(".gateway_state.json.{dead}.tmp"), 100),
            (format!("sessions/sessions.json.{dead}.tmp"), 100),
            (format!(".hermes-{dead}-a1B2c3.tmp"), 100),
            (".hermes-a1B2c3.tmp".to_owned(), 4000),
        ];
        let kept = [
            (format!(".runtime_status.json.{dead}.tmp2"), 100),
            (format!(".hermes-{own}-a1B2c3.tmp"), 4000),
            (format!(".hermes-{dead}-a1B2c4.tmp"), 1),
            (".hermes-a1B2c4.tmp".to_owned(), 100),
            ("notes.tmp".to_owned(), 9000),
            ("report.2024.tmp".to_owned(), 9000),
            ("config.yaml".to_owned(), 9000),
        ];
        gone.iter().chain(&kept).for_each(|(name, age)| put(name, *age));
        fs_err::create_dir(home.path().join(format!(".hermes-{dead}-dir.tmp"))).unwrap();
        sweep(&home);
        for (name, _) in gone {
            assert!(!home.path().join(&name).exists(), "{name}");
        }
        for (name, _) in kept {
            assert!(home.path().join(&name).exists(), "{name}");
        }
        assert!(home.path().join(format!(".hermes-{dead}-dir.tmp")).is_dir());
    }
}
