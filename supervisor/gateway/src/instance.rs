//! The instance lock and the PID record: exactly one gateway a home.
//!
//! `gateway.lock` is locked (`flock`) from before any other effect until after the last one. The kernel releases it when the
//! process dies, so it alone decides whether a gateway runs. The file is never unlinked: whoever unlinks a lock file lets two
//! processes hold "the" lock on two inodes. `gateway.pid` is a hint for people and for 0.19.0's readers; it is written once the
//! lock is held, by temporary file and rename, and removed before the lock is released.
//!
//! [`probe`] tells whether the lock is held without taking it for longer than a system call.

use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::refusal::Io;
use hermes_host::{disk, fault};
use hermes_wire::contract::pid_record::{self, PidRecord};
use hermes_wire::{ProfileName, exit, text};
use nix::fcntl::{Flock, FlockArg};

use crate::place::{self, Elsewhere};

mod passing;

/// Version of the PID record this build writes.
const SCHEMA: u32 = 1;
/// Largest lock file or PID record that is read.
const MAX_LEN: usize = 64 * 1024;
/// How often a lock is tried again: it may be held by a mere probe, ours or one of 0.19.0's readers.
const ATTEMPTS: u32 = 10;
/// Time between two attempts.
const PAUSE: Duration = Duration::from_millis(15);

/// Why this process is not the gateway of a home.
#[derive(Debug, thiserror::Error)]
pub enum InstanceError {
    /// Somebody holds the lock.
    #[error("the lock `{lock}` is held by {}", holder(*.pid))]
    AlreadyRunning {
        /// The holder, where its record tells.
        pid: Option<u32>,
        /// The lock file.
        lock: Utf8PathBuf,
    },
    /// A gateway holds it whose process cannot be seen from here.
    #[error("the lock `{lock}` is held by {gateway}")]
    Elsewhere {
        /// Which.
        gateway: Elsewhere,
        /// The lock file.
        lock: Utf8PathBuf,
    },
    /// Somebody holds the lock who is no gateway.
    #[error("the lock `{lock}` is held by {who}, which is no gateway")]
    Held {
        /// Whose process.
        who: Holder,
        /// The lock file.
        lock: Utf8PathBuf,
    },
    /// The path holds something that no gateway wrote; it is left alone.
    #[error("`{path}` is not a lock file of a gateway: {what}")]
    Foreign {
        /// The path.
        path: Utf8PathBuf,
        /// What is there instead.
        what: &'static str,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] Io),
}

impl InstanceError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        // Full disks and the like pass; a service manager shall try again. Not so a lock whose holder is no gateway that can be
        // seen: waiting does not help, somebody has to look.
        match self {
            // A gateway, as in the same place: the code of "already running".
            Self::Elsewhere { .. } => exit::FAILURE,
            _ if fault::caused_by_machine(self) => exit::MACHINE,
            _ => exit::CONFIG,
        }
    }

    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            Self::Foreign { .. } => "move that file away if nothing else needs it".to_owned(),
            // A process without a record is no gateway, or a worker that is debugged.
            Self::AlreadyRunning { lock, .. } => {
                format!("`fuser {lock}` shows which process that is; end it, then start again")
            }
            Self::Elsewhere { gateway, .. } => gateway.hint(),
            Self::Held { who, .. } => format!("end it (`kill {}`), or let it finish", who.pid),
            Self::Io(_) => "check the directory's owner, mode and free space".to_owned(),
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// Who holds a lock, as the kernel's table of locks says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// Its command line, as far as others may see it.
    pub command: String,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown: String = text::visible(&self.command).chars().take(80).collect();
        write!(f, "process {} (`{shown}`)", self.pid)
    }
}

impl Holder {
    /// Whoever holds the lock of `home`, where the system tells.
    pub fn of_home(home: &Utf8Path) -> Option<Self> {
        Self::of(&open_lock_to_read(&lock_path(home)).ok()?)
    }

    #[cfg(not(target_os = "linux"))]
    fn of(_file: &std::fs::File) -> Option<Self> {
        None
    }

    #[cfg(target_os = "linux")]
    fn of(file: &std::fs::File) -> Option<Self> {
        let meta = file.metadata().ok()?;
        let (major, minor) = (nix::sys::stat::major(meta.dev()), nix::sys::stat::minor(meta.dev()));
        let pid = holder_in(&fs_err::read_to_string("/proc/locks").ok()?, (major, minor), meta.ino())?;
        let command = fs_err::read(format!("/proc/{pid}/cmdline")).ok()?;
        let words: Vec<_> = command.split(|byte| *byte == 0).filter(|word| !word.is_empty()).collect();
        Some(Self { pid, command: String::from_utf8_lossy(&words.join(&b' ')).into_owned() })
    }

    /// Whether it looks like a gateway, ours or that of 0.19.0.
    pub fn is_gateway(&self) -> bool {
        self.command.contains("hermes")
            && self.command.split(' ').any(|word| word == "gateway" || word == "run")
    }
}

/// The process that holds a `flock` on a file, out of `/proc/locks`. Some file systems go by another device number there than
/// elsewhere; then the inode alone decides, if it is the only one.
#[cfg(target_os = "linux")]
fn holder_in(table: &str, device: (u64, u64), inode: u64) -> Option<u32> {
    let held = table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        // One that waits has an arrow here.
        let (kind, pid, file) = (fields.next()?, fields.nth(2)?, fields.next()?);
        let mut file = file.split(':');
        let mut hex = || u64::from_str_radix(file.next()?, 16).ok();
        let found = (hex()?, hex()?);
        let same: u64 = file.next()?.parse().ok()?;
        (kind == "FLOCK" && same == inode).then(|| (found, pid.parse::<u32>().ok()))
    });
    let all: Vec<_> = held.collect();
    let exact = all.iter().find(|(found, _)| *found == device);
    exact.or(if all.len() == 1 { all.first() } else { None })?.1.filter(|pid| *pid > 0)
}

/// Proof that this process is the gateway of one home. Dropping it releases.
#[derive(Debug)]
pub struct Instance {
    lock: Option<Flock<std::fs::File>>,
    record: PidRecord,
    pid_path: Utf8PathBuf,
    is_handed_over: bool,
}

impl Instance {
    /// Takes the lock of `home` and writes the PID record.
    ///
    /// `home` is the home the gateway runs for: the root home, or a profile's own for a gateway of that profile alone.
    /// `profile` is the profile whose settings are in force.
    pub fn acquire(
        home: &Utf8Path,
        profile: &ProfileName,
        argv: Vec<String>,
        runtime_dir: &Utf8Path,
    ) -> Result<Self, InstanceError> {
        let lock = lock_file(&lock_path(home))?;
        Self::record_as(lock, home, (profile, argv, runtime_dir))
    }

    fn record_as(
        lock: Flock<std::fs::File>,
        home: &Utf8Path,
        (profile, argv, runtime_dir): (&ProfileName, Vec<String>, &Utf8Path),
    ) -> Result<Self, InstanceError> {
        let lock_path = lock_path(home);
        let pid = std::process::id();
        let record = PidRecord {
            pid,
            kind: pid_record::KIND.to_owned(),
            argv,
            start_time: start_time(pid),
            schema: Some(SCHEMA),
            role: Some("supervisor".to_owned()),
            home: Some(home.to_owned()),
            profile: Some(profile.to_string()),
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            runtime_dir: Some(runtime_dir.to_owned()),
            place: place::own(),
            host: place::host(),
        };
        let text = record.write();
        rewrite(&lock, &text).map_err(|source| io_error("write", &lock_path, source))?;
        let pid_path = pid_path(home);
        disk::write_atomic(&pid_path, text.as_bytes(), false)
            .map_err(|source| io_error("write", &pid_path, source))?;
        Ok(Self { lock: Some(lock), record, pid_path, is_handed_over: false })
    }

    /// What the PID record says.
    pub fn record(&self) -> &PidRecord {
        &self.record
    }

    /// Removes the PID record and then gives up the lock. Call it last.
    pub fn release(self) {
        drop(self);
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Only our own record: a file that was replaced meanwhile is not ours to remove.
        if !self.is_handed_over && read_record(&self.pid_path).is_some_and(|r| r.pid == self.record.pid) {
            let _ = fs_err::remove_file(&self.pid_path);
        }
        drop(self.lock.take());
    }
}

/// Says, in the records of the gateway that this process is, that its sockets are in another directory now.
pub(crate) fn moved(home: &Utf8Path, runtime_dir: &Utf8Path) -> io::Result<()> {
    let Some(mut record) = record(home).filter(|record| record.pid == std::process::id()) else {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the PID record is not this process's any more"));
    };
    record.runtime_dir = Some(runtime_dir.to_owned());
    let text = record.write();
    // Another descriptor of the locked file: closing it gives up nothing, for the lock belongs to the one that took it.
    let lock = open_lock(&lock_path(home), false).map_err(io::Error::other)?;
    rewrite(&lock, &text)?;
    disk::write_atomic(&pid_path(home), text.as_bytes(), false)
}

/// Whether a gateway runs for a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Liveness {
    /// The lock is free, or was never made.
    Stopped,
    /// The lock is held.
    Running {
        /// What its record says; `None` where it cannot be read.
        record: Option<Box<PidRecord>>,
    },
    /// The lock file cannot be opened.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// Looks whether the lock of `home` is held. Never creates or changes a file.
pub fn probe(home: &Utf8Path) -> Liveness {
    let path = lock_path(home);
    let file = match open_lock_to_read(&path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Liveness::Stopped,
        Err(e) => return Liveness::Unknown { reason: e.to_string() },
    };
    // A shared try-lock: two probes never disturb each other, and a starting gateway tries again.
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_released_here) => Liveness::Stopped,
        Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
            let record = read_record(&pid_path(home)).or_else(|| record_in(&file));
            Liveness::Running { record: record.map(Box::new) }
        }
        Err((_, e)) => Liveness::Unknown { reason: e.desc().to_owned() },
    }
}

/// What keeps a start from taking the lock of `home`, other than a gateway that lives. Never creates or changes a file.
pub fn obstacle(home: &Utf8Path) -> Option<InstanceError> {
    let path = lock_path(home);
    match open_lock(&path, false) {
        Err(InstanceError::Io(e)) if e.source.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(error),
        Ok(_) => {}
    }
    match probe(home) {
        Liveness::Running { record } if !record.as_deref().is_some_and(is_alive) => {
            let error = held(&open_lock_to_read(&path).ok()?, &path);
            // A gateway is in nobody's way: `--replace` and `restart` are about it.
            (!matches!(error, InstanceError::AlreadyRunning { pid: Some(_), .. })).then_some(error)
        }
        _ => None,
    }
}

/// Whose a lock is that somebody holds: a gateway's, by its record or its command line, another program's, or nobody's who can
/// be seen.
fn held(file: &std::fs::File, path: &Utf8Path) -> InstanceError {
    let lock = path.to_owned();
    if let Some(gateway) = unseen(file) {
        return InstanceError::Elsewhere { gateway, lock };
    }
    let pid = record_in(file).filter(is_alive).map(|record| record.pid);
    match Holder::of(file) {
        Some(who) if Some(who.pid) != pid && !who.is_gateway() => InstanceError::Held { who, lock },
        Some(who) if pid.is_none() => InstanceError::AlreadyRunning { pid: Some(who.pid), lock },
        _ => InstanceError::AlreadyRunning { pid, lock },
    }
}

/// Whose a lock is that nobody in this place holds. From outside its container a holder has a process id here, too.
fn unseen(file: &std::fs::File) -> Option<Elsewhere> {
    record_in(file).as_ref().and_then(Elsewhere::of).filter(|_| Holder::of(file).is_none())
}

/// The gateway of `home`, where one runs that cannot be seen from here.
pub fn elsewhere(home: &Utf8Path) -> Option<Elsewhere> {
    let gateway = unseen(&open_lock_to_read(&lock_path(home)).ok()?)?;
    matches!(probe(home), Liveness::Running { .. }).then_some(gateway)
}

/// The record in `home`, whoever wrote it and whether or not that process lives.
pub fn record(home: &Utf8Path) -> Option<PidRecord> {
    read_record(&pid_path(home)).or_else(|| read_record(&lock_path(home)))
}

/// What a command about the gateway of `home` needs beside its verb: ` -p NAME` for a named profile's own.
pub fn flag_of(home: &Utf8Path) -> String {
    let named = home.parent().is_some_and(|above| above.file_name() == Some("profiles"));
    home.file_name().filter(|_| named).map_or_else(String::new, |name| format!(" -p {name}"))
}

/// Field 22 of `/proc/<pid>/stat`; `None` when there is no such process.
pub fn start_time(pid: u32) -> Option<u64> {
    pid_record::start_time_from_stat(&fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether the very process a record was written by still lives. One that only waits to be collected does not.
pub fn is_alive(record: &PidRecord) -> bool {
    lives(record.pid, record.start_time)
}

/// The same of a process and, where it is known, the time it started.
pub fn lives(pid: u32, started: Option<u64>) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    if stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])) {
        return false;
    }
    match (pid_record::start_time_from_stat(&stat), started) {
        (Some(now), Some(then)) => now == then,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn lock_path(home: &Utf8Path) -> Utf8PathBuf {
    hermes_wire::RootHome::new(home).gateway_lock()
}

fn pid_path(home: &Utf8Path) -> Utf8PathBuf {
    hermes_wire::RootHome::new(home).gateway_pid()
}

fn io_error(doing: &'static str, path: &Utf8Path, source: io::Error) -> InstanceError {
    Io::at(doing, path)(source).into()
}

/// Opens and locks; the name and the locked inode are the same file when this returns.
fn lock_file(path: &Utf8Path) -> Result<Flock<std::fs::File>, InstanceError> {
    let mut attempt = 0;
    loop {
        let file = open_lock(path, true)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) if is_still_named(&lock, path) => return Ok(lock),
            // A reader of 0.19.0 unlinked the file between open and lock.
            Ok(_) => {}
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                if attempt >= ATTEMPTS {
                    return Err(held(&file, path));
                }
            }
            Err((_, e)) => return Err(io_error("lock", path, e.into())),
        }
        attempt += 1;
        if attempt > ATTEMPTS {
            return Err(InstanceError::AlreadyRunning { pid: None, lock: path.to_owned() });
        }
        pause();
    }
}

fn open_lock_to_read(path: &Utf8Path) -> io::Result<std::fs::File> {
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Waits without a runtime: nothing else happens in this process before the lock is held.
fn pause() {
    let timeout = nix::poll::PollTimeout::try_from(PAUSE).unwrap_or(nix::poll::PollTimeout::ZERO);
    let _ = nix::poll::poll(&mut [], timeout);
}

fn open_lock(path: &Utf8Path, create: bool) -> Result<std::fs::File, InstanceError> {
    // Not `fs_err`, whose errors have lost the system's code.
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    let opened = if create { disk::open_or_create(path, &options) } else { options.open(path) };
    let file = match opened {
        Ok(file) => file,
        Err(e) => {
            let what = match e.raw_os_error() {
                Some(nix::libc::ELOOP) => "a symbolic link",
                Some(nix::libc::EISDIR) => "a directory",
                Some(nix::libc::ENXIO) => "a FIFO or a socket",
                _ => return Err(io_error("open", path, e)),
            };
            return Err(InstanceError::Foreign { path: path.to_owned(), what });
        }
    };
    let meta = file.metadata().map_err(|e| io_error("look at", path, e))?;
    if !meta.is_file() {
        return Err(InstanceError::Foreign { path: path.to_owned(), what: "not a regular file" });
    }
    if !looks_like_ours(&file) {
        return Err(InstanceError::Foreign { path: path.to_owned(), what: "it has other contents" });
    }
    Ok(file)
}

/// Empty, a JSON object, a bare number, or zeros after a power loss.
fn looks_like_ours(file: &std::fs::File) -> bool {
    let mut head = [0; 64];
    let mut read = 0;
    let mut reader = file;
    while read < head.len() {
        match reader.read(&mut head[read..]) {
            Ok(0) => break,
            Ok(n) => read += n,
            Err(_) => return false,
        }
    }
    let head = &head[..read];
    head.first() == Some(&b'{')
        || head.iter().all(|b| b.is_ascii_digit() || b.is_ascii_whitespace() || *b == 0)
}

fn is_still_named(lock: &Flock<std::fs::File>, path: &Utf8Path) -> bool {
    match (lock.metadata(), fs_err::symlink_metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn rewrite(mut file: &std::fs::File, text: &str) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o777 != 0o600 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

fn record_in(file: &std::fs::File) -> Option<PidRecord> {
    let mut reader = file.as_fd().try_clone_to_owned().map(std::fs::File::from).ok()?;
    reader.rewind().ok()?;
    let mut text = String::new();
    reader.take(MAX_LEN as u64).read_to_string(&mut text).ok()?;
    PidRecord::read(&text).ok()
}

fn read_record(path: &Utf8Path) -> Option<PidRecord> {
    let bytes = disk::read_own(path, MAX_LEN).ok()?;
    PidRecord::read(std::str::from_utf8(&bytes).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Utf8PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
        (dir, path)
    }

    fn acquire(home: &Utf8Path) -> Result<Instance, InstanceError> {
        let argv = vec!["hermes".to_owned(), "gateway".to_owned(), "run".to_owned()];
        Instance::acquire(home, &ProfileName::default_profile(), argv, "/run/x".into())
    }

    #[test]
    fn one_at_a_time_and_the_lock_file_stays() {
        let (_dir, home) = home();
        assert_eq!(probe(&home), Liveness::Stopped);
        assert!(!lock_path(&home).exists(), "a probe creates nothing");
        let first = acquire(&home).unwrap();
        let inode = std::fs::metadata(lock_path(&home)).unwrap().ino();
        match acquire(&home) {
            Err(InstanceError::AlreadyRunning { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{other:?}"),
        }
        let Liveness::Running { record: Some(record) } = probe(&home) else { panic!("must run") };
        assert_eq!(record.runtime_dir.as_deref(), Some(Utf8Path::new("/run/x")));
        assert!(is_alive(&record));
        for path in [lock_path(&home), pid_path(&home)] {
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path}");
        }
        first.release();
        assert!(!pid_path(&home).exists());
        assert_eq!(std::fs::metadata(lock_path(&home)).unwrap().ino(), inode);
        assert_eq!(probe(&home), Liveness::Stopped);
        acquire(&home).unwrap();
    }

    #[test]
    fn what_a_killed_gateway_left_behind_does_not_block() {
        let (_dir, home) = home();
        let stale = r#"{"pid":1,"kind":"hermes-gateway","argv":["hermes","gateway","run"],"start_time":1}"#;
        fs_err::write(lock_path(&home), stale).unwrap();
        fs_err::write(pid_path(&home), "garbage").unwrap();
        assert_eq!(probe(&home), Liveness::Stopped);
        let instance = acquire(&home).unwrap();
        assert_eq!(record(&home).unwrap().pid, std::process::id());
        drop(instance);
    }

    /// 33: whoever holds the lock without being a gateway is named.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_holder_of_a_foreign_lock_is_named() {
        let table = "1: FLOCK  ADVISORY  WRITE 42 fe:01:77 0 EOF\n1: -> FLOCK  ADVISORY  WRITE 43 fe:01:77 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 44 fe:01:78 0 EOF\n3: FLOCK  ADVISORY  READ 0 fe:01:79 0 EOF\n";
        assert_eq!(holder_in(table, (0xfe, 1), 77), Some(42));
        assert_eq!(holder_in(table, (0, 40), 77), Some(42), "another number for the same device");
        assert_eq!([78, 79, 80].map(|inode| holder_in(table, (0xfe, 1), inode)), [None; 3]);

        let (_dir, home) = home();
        let file = std::fs::File::options().create(true).append(true).open(lock_path(&home)).unwrap();
        let _held = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
        let holder = Holder::of_home(&home).unwrap();
        assert_eq!(holder.pid, std::process::id());
        let message = acquire(&home).unwrap_err().to_string();
        assert!(message.contains(&format!("held by process {} (`", holder.pid)), "{message}");
        assert_eq!(obstacle(&home).map(|error| error.to_string()), Some(message), "one judge");
    }

    #[test]
    fn foreign_files_are_refused_and_kept() {
        let (_dir, home) = home();
        fs_err::write(lock_path(&home), "my shopping list").unwrap();
        assert!(matches!(acquire(&home), Err(InstanceError::Foreign { .. })));
        assert_eq!(fs_err::read_to_string(lock_path(&home)).unwrap(), "my shopping list");
        fs_err::remove_file(lock_path(&home)).unwrap();
        std::fs::create_dir(lock_path(&home)).unwrap();
        assert!(matches!(acquire(&home), Err(InstanceError::Foreign { what: "a directory", .. })));
        std::fs::remove_dir(lock_path(&home)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", lock_path(&home)).unwrap();
        assert!(matches!(acquire(&home), Err(InstanceError::Foreign { what: "a symbolic link", .. })));
    }

    #[test]
    fn a_probe_at_the_wrong_moment_does_not_fail_a_start() {
        let (_dir, home) = home();
        drop(acquire(&home).unwrap());
        let file = fs_err::File::open(lock_path(&home)).unwrap().into_file();
        let probing = Flock::lock(file, FlockArg::LockSharedNonblock).unwrap();
        let starting = std::thread::spawn({
            let home = home.clone();
            move || acquire(&home).map(drop)
        });
        // The other thread is refused at least once meanwhile, or it starts only after the probe: both must succeed.
        std::thread::yield_now();
        drop(probing);
        starting.join().unwrap().unwrap();
    }

    #[test]
    fn a_record_that_is_no_longer_ours_is_kept() {
        let (_dir, home) = home();
        let instance = acquire(&home).unwrap();
        fs_err::write(pid_path(&home), "4242").unwrap();
        drop(instance);
        assert_eq!(fs_err::read_to_string(pid_path(&home)).unwrap(), "4242");
    }
}
