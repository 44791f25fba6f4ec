//! Whether the fence holds: something tries from inside what it is there against.
//!
//! It is started like any program of the profile, and says what it could do. What it was to try is what is there outside, so that nothing counts as
//! hidden because it does not exist.

use std::ffi::OsString;
use std::io::{self, Write as _};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::absence::OrAbsent as _;

use super::Rung;
use super::plan::Place;

/// Of a home: what must not be seen.
const SECRETS: [&str; 6] = [".env", "auth.json", "config.yaml", "state.db", "mcp-tokens", "sessions"];
/// Of a running process.
const OF_PROCESS: [&str; 3] = ["environ", "mem", "fd"];
/// The last line of one that has tried everything.
const DONE: &str = "done";

/// What is to be tried, as the words of a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trial(pub(super) Vec<String>);

impl Trial {
    /// Of what is there now: the secrets of all homes, the gateway's sockets, this process, its parent, and the workspace. Blocks.
    pub(super) fn of(place: &Place) -> io::Result<Self> {
        let mut homes = vec![place.root.clone(), place.home.clone()];
        let profiles = place.root.join("profiles").read_dir_utf8().or_absent()?.into_iter().flatten();
        homes.extend(profiles.map(|entry| Ok(entry?.into_path())).collect::<io::Result<Vec<_>>>()?);
        let mut words = Vec::new();
        for home in &homes {
            for path in SECRETS.map(|name| home.join(name)) {
                let Some(found) = fs_err::metadata(&path).or_absent()? else { continue };
                words.extend([if found.is_dir() { "dir" } else { "file" }.to_owned(), path.to_string()]);
            }
        }
        for socket in sockets(place)? {
            words.extend(["socket".to_owned(), socket.to_string()]);
        }
        for pid in [Some(std::process::id()), place.supervisor].into_iter().flatten() {
            words.extend(
                OF_PROCESS.iter().flat_map(|name| ["process".to_owned(), format!("/proc/{pid}/{name}")]),
            );
        }
        if fs_err::metadata(&place.workspace).or_absent()?.is_some() {
            words.extend(["workspace".to_owned(), place.workspace.to_string()]);
        }
        Ok(Self(words))
    }
}

/// What listens for the gateway, where it may.
fn sockets(place: &Place) -> io::Result<Vec<Utf8PathBuf>> {
    use std::os::unix::fs::FileTypeExt as _;
    let mut found = Vec::new();
    for dir in &place.sockets {
        for entry in dir.read_dir_utf8().or_absent()?.into_iter().flatten() {
            let entry = entry?;
            if entry.file_type()?.is_socket() {
                found.push(entry.into_path());
            }
        }
    }
    Ok(found)
}

/// Tries it, inside: a line for everything that could be done, and a last one.
pub(super) fn look(words: &[OsString]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for pair in words.chunks(2) {
        let [kind, path] = pair else { return Err(io::ErrorKind::InvalidInput.into()) };
        let (kind, path) = (kind.to_string_lossy(), Utf8PathBuf::from(path.to_string_lossy().into_owned()));
        if let Some(said) = try_one(&kind, &path) {
            writeln!(out, "{said} {path}")?;
        }
    }
    for number in descriptors()? {
        writeln!(out, "inherited {number}")?;
    }
    for root in entered()? {
        writeln!(out, "entered {root}")?;
    }
    writeln!(out, "{DONE}")
}

/// What could be done with it.
fn try_one(kind: &str, path: &Utf8Path) -> Option<&'static str> {
    let is_there = fs_err::symlink_metadata(path).is_ok();
    match kind {
        "file" | "process" if fs_err::File::open(path).is_ok_and(|mut file| reads(&mut file)) => Some("read"),
        "process" if path.file_name() == Some("fd") && follows(path) => Some("read"),
        "dir" if reads_within(path) => Some("read"),
        "socket" if std::os::unix::net::UnixStream::connect(path).is_ok() => Some("connected"),
        "file" | "dir" | "socket" if is_there => Some("seen"),
        "workspace" if !is_there => Some("missing"),
        "workspace" if tempfile::Builder::new().prefix(".hermes-fence-").tempfile_in(path).is_err() => {
            Some("unwritable")
        }
        _ => None,
    }
}

/// Whether there is anything to be had. Memory has nothing at its beginning; that it can be opened is enough.
fn reads(file: &mut fs_err::File) -> bool {
    let is_memory = file.path().ends_with("mem");
    is_memory || io::Read::read(file, &mut [0]).is_ok()
}

/// Whether a descriptor of a process leads anywhere; to root their numbers are no secret.
fn follows(dir: &Utf8Path) -> bool {
    let entries = dir.read_dir_utf8().into_iter().flatten().flatten();
    entries.take(64).any(|entry| entry.path().read_link_utf8().is_ok())
}

/// Whether a file in a directory can be read; that there are names says nothing about their contents.
fn reads_within(dir: &Utf8Path) -> bool {
    let entries = dir.read_dir_utf8().into_iter().flatten().flatten();
    entries.take(64).any(|entry| fs_err::File::open(entry.path()).is_ok_and(|mut file| reads(&mut file)))
}

/// Roots of other processes that can be entered: each leads to all that they see, which is what is hidden here. In a user namespace of
/// its own nobody gets there; a mount namespace alone, as bubblewrap makes it for root or with the right of root, keeps nobody out.
fn entered() -> io::Result<Vec<Utf8PathBuf>> {
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let pid: Option<u32> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        let root = pid.filter(|pid| *pid != own).map(|pid| Utf8PathBuf::from(format!("/proc/{pid}/root/")));
        found.extend(root.filter(|root| fs_err::metadata(root).is_ok()));
    }
    Ok(found)
}

/// Open descriptors besides the usual three.
fn descriptors() -> io::Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir("/proc/self/fd")? {
        let number: Option<i32> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        found.extend(number.filter(|number| *number > 2));
    }
    // The directory itself was open while it was read.
    found.retain(|number| fs_err::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok());
    Ok(found)
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why the fence does not hold, if it does not.
    pub(super) broken: Option<String>,
    /// What it does not do, or does too much, although it holds.
    pub(super) notes: Vec<String>,
}

/// Judges what a trial behind `rung` has printed.
pub(super) fn judge(rung: Rung, printed: &str, workspace: &Utf8Path) -> Verdict {
    let lines: Vec<&str> = printed.lines().collect();
    let mut notes = Vec::new();
    let Some((&DONE, lines)) = lines.split_last() else {
        return Verdict { broken: Some("it was not tried to the end".to_owned()), notes };
    };
    for line in lines {
        let (what, path) = line.split_once(' ').unwrap_or((line, ""));
        match what {
            // Landlock hides no names, and older kernels have no word for connections.
            "seen" if rung == Rung::Landlock => {}
            "connected" if rung == Rung::Landlock => {
                let note =
                    "the gateway's sockets can be reached: this kernel's Landlock has no rule for them";
                if !notes.iter().any(|known| known == note) {
                    notes.push(note.to_owned());
                }
            }
            "missing" | "unwritable" => notes.push(format!(
                "the workspace `{workspace}` cannot be written to; `terminal.cwd` names a directory that can"
            )),
            _ => {
                let broken = Some(format!("a program could do what it must not: {what} `{path}`"));
                return Verdict { broken, notes };
            }
        }
    }
    Verdict { broken: None, notes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_done_decides() {
        let judged = |rung, printed: &str| judge(rung, printed, Utf8Path::new("/w"));
        let holds = Verdict { broken: None, notes: Vec::new() };
        for rung in [Rung::Namespaces, Rung::Bubblewrap, Rung::Landlock] {
            assert_eq!(judged(rung, "done\n"), holds);
            for bad in [
                "",
                "seen /h/.env\n",
                "read /h/.env\ndone\n",
                "inherited 7\ndone\n",
                "read /proc/1/mem\ndone\n",
                "entered /proc/1/root/\ndone\n",
            ] {
                assert!(judged(rung, bad).broken.is_some(), "{rung:?}: {bad}");
            }
            assert_eq!(judged(rung, "unwritable /w\ndone\n").notes.len(), 1);
        }
        assert!(judged(Rung::Namespaces, "seen /h/.env\ndone\n").broken.is_some());
        assert_eq!(judged(Rung::Landlock, "seen /h/.env\ndone\n"), holds);
        assert_eq!(judged(Rung::Landlock, "connected /s\nconnected /t\ndone\n").notes.len(), 1);
        assert!(judged(Rung::Bubblewrap, "connected /s\ndone\n").broken.is_some());
    }
}
