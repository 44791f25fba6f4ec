//! A process as the system shows it: the file that it was started from, as it is on disk now, and its parent.

use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hermes_wire::contract::gateway_status::Program;
use hermes_wire::version::{PROOF, SUCCESSION};

/// What the kernel appends to the name of a file that was removed or replaced.
const GONE: &[u8] = b" (deleted)";

/// The path of this process's program. Whatever is there now may be another program than the one that runs.
pub(crate) fn own_path() -> io::Result<PathBuf> {
    std::env::current_exe().map(without_mark)
}

/// The same of another process.
pub fn path_of(pid: u32) -> io::Result<PathBuf> {
    fs_err::read_link(image_of(pid)).map(without_mark)
}

/// The image that a process runs, whatever became of its file.
pub fn image_of(pid: u32) -> String {
    format!("/proc/{pid}/exe")
}

/// Whether both are one file; `None` where that cannot be seen.
pub fn is_same(a: impl AsRef<Path>, b: impl AsRef<Path>) -> Option<bool> {
    Some(file_of(a)? == file_of(b)?)
}

/// What tells a file from every other: its device and its number there. `None` where that cannot be seen.
pub fn file_of(path: impl AsRef<Path>) -> Option<(u64, u64)> {
    fs_err::metadata(path.as_ref()).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// The very file that a process runs: as the system shows it, which it does to root alone, else as the process `said`.
pub fn running_file(pid: u32, said: Option<&Program>) -> Option<(u64, u64)> {
    file_of(image_of(pid)).or_else(|| said.map(|said| (said.device, said.inode)))
}

/// The program of this process, for those who may not look.
pub(crate) fn own() -> Option<Program> {
    let (device, inode) = file_of(image_of(std::process::id())).or_else(|| file_of(own_path().ok()?))?;
    let path = own_path().ok()?.into_os_string().into_string().ok()?;
    Some(Program { path, device, inode })
}

/// Time a program has to prove that it is a gateway.
pub const PROOF_TIME: Duration = Duration::from_secs(10);
/// What it is asked with.
pub const PROOF_ARGUMENTS: [&str; 3] = ["gateway", "check", "--proof"];

/// What it is asked with whether it goes on with the workers of a gateway that becomes it.
pub const SUCCESSION_ARGUMENTS: [&str; 3] = ["gateway", "check", "--succession"];

/// Whether it does, by what it printed and how it ended. Releases from before the question exit with an error.
pub fn succeeds(printed: &[u8], ended_well: bool) -> bool {
    ended_well && printed.trim_ascii_end() == SUCCESSION.as_bytes()
}

/// Whether what a program printed and how it ended prove that it is a gateway; if not, why not.
pub fn judge_proof(printed: &[u8], ended_well: bool) -> Result<(), &'static str> {
    match (printed.trim_ascii_end() == PROOF.as_bytes(), ended_well) {
        (true, true) => Ok(()),
        (true, false) => Err("it fails"),
        (false, _) => Err("it does not say that it is a gateway"),
    }
}

/// The parent of a process.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn without_mark(link: PathBuf) -> PathBuf {
    match link.as_os_str().as_bytes().strip_suffix(GONE) {
        // A file may really be called that.
        Some(name) if !link.exists() => std::ffi::OsString::from_vec(name.to_vec()).into(),
        _ => link,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 32: only the very line is a proof.
    #[test]
    fn a_program_proves_that_it_is_a_gateway() {
        let line = format!("{PROOF}\n");
        assert_eq!(judge_proof(line.as_bytes(), true), Ok(()));
        assert!(judge_proof(line.as_bytes(), false).is_err());
        for other in ["", "\n", "gateway check --proof\n", "hermes 0.1.0\n", &line.repeat(2)] {
            assert!(judge_proof(other.as_bytes(), true).is_err(), "{other}");
        }
    }

    #[test]
    fn parents_are_read_past_odd_command_names() {
        let own = std::process::id();
        assert_eq!(parent(own), Some(nix::unistd::getppid().as_raw().unsigned_abs()));
        assert_eq!(parent(u32::MAX), None);
    }

    #[test]
    fn the_mark_of_the_kernel_is_not_part_of_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let marked = dir.path().join("hermes (deleted)");
        assert_eq!(without_mark(marked.clone()), dir.path().join("hermes"));
        fs_err::write(&marked, "").unwrap();
        assert_eq!(without_mark(marked.clone()), marked);
        assert_eq!(is_same(&marked, dir.path().join(".").join("hermes (deleted)")), Some(true));
        assert_eq!((is_same(&marked, dir.path()), is_same(&marked, "/nowhere")), (Some(false), None));
        assert_eq!(path_of(std::process::id()).unwrap(), own_path().unwrap());
    }
}
