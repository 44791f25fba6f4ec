//! The host record: which gateway of this user serves many profiles, for programs that would start a second one.
//!
//! In a directory for each user (mode 0700, and ours or not used) a lock, held for life, decides who is the host; the record beside it says who
//! that is, with the time its process was started, so that a number that was used again proves nothing. Both are those of the
//! newer Python releases, which look there before they start and stand down, or ask the host to serve their profile.
//!
//! There is one seat for each user, and several homes are usual here, so being without it stops nobody: this gateway then runs without
//! a record, says so once, and tries again every [`AGAIN`]. Only a host that lives and serves this very home refuses a start. A
//! gateway that serves one profile is no host.

use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::{clock, disk};
use hermes_wire::absence::OrAbsent as _;
use hermes_wire::{RootHome, exit, profile};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::instance;

/// What a gateway is among the hosts.
const ROLE: &str = "gateway";
/// Version of the record.
const PROTOCOL: i64 = 1;
/// Largest record that is read.
const MAX_LEN: usize = 64 * 1024;
/// Time between two attempts to take a seat that somebody else has.
const AGAIN: Duration = Duration::from_mins(1);
/// Of a recorded start, in seconds, as its readers allow it.
const TOLERANCE: f64 = 2.0;
/// Ticks of a second in what the kernel tells programs, on every architecture that this program is built for.
const TICKS: u64 = 100;

/// Another gateway says that it serves this home, and lives.
#[derive(Debug, thiserror::Error)]
#[error("process {pid} serves the home `{home}` already, as `{record}` says")]
pub struct HostConflict {
    /// Its process.
    pub pid: u32,
    /// The home that it was started for.
    pub home: String,
    /// The file that says so.
    pub record: Utf8PathBuf,
}

impl HostConflict {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        exit::CONFIG
    }

    /// The next step.
    pub fn hint(&self) -> String {
        format!("stop it with its own `gateway stop`, or end it (`kill {}`), then start again", self.pid)
    }
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    role: String,
    #[serde(default)]
    home: String,
    pid: u32,
    /// When the process was started, in seconds since 1970.
    #[serde(default)]
    create_time: Option<f64>,
    #[serde(default)]
    host: String,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    protocol_version: i64,
    #[serde(default)]
    token_fingerprint: String,
    #[serde(default)]
    profiles: Vec<String>,
    #[serde(default)]
    updated_at: String,
}

impl Record {
    /// Whether the very process that it names runs. Where the time of its start is not known, the number has to do.
    fn is_alive(&self) -> bool {
        if !instance::lives(self.pid, None) {
            return false;
        }
        match (created(self.pid), self.create_time) {
            (Some(now), Some(then)) => (now - then).abs() < TOLERANCE,
            _ => true,
        }
    }

    fn conflict(&self, directory: &Utf8Path) -> HostConflict {
        let home = hermes_wire::text::visible(&self.home).into_owned();
        HostConflict { pid: self.pid, home, record: record_path(directory) }
    }

    /// Whether its gateway serves the home of `root`: it was started for it, or for a profile in it and serves `default` too.
    fn serves(&self, root: &Utf8Path) -> bool {
        let home = Utf8Path::new(&self.home);
        let home = home.canonicalize_utf8().unwrap_or_else(|_| home.to_owned());
        let of_root = home.parent() == Some(&RootHome::new(root).profiles());
        home == root || (of_root && self.profiles.iter().any(|name| name == profile::DEFAULT))
    }
}

/// When a process was started, in seconds since 1970, as the process library of the readers reckons it.
fn created(pid: u32) -> Option<f64> {
    let started = instance::start_time(pid)?;
    let boot: u64 = fs_err::read_to_string("/proc/stat")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    let since_boot =
        Duration::from_secs(started / TICKS) + Duration::from_millis(started % TICKS * 1000 / TICKS);
    Some((Duration::from_secs(boot) + since_boot).as_secs_f64())
}

/// What would refuse a start for `home`, were it to come now; nothing is made. `own` is the gateway of this home that runs, which is in nobody's way.
pub(crate) fn obstacle(directory: &Utf8Path, home: &Utf8Path, own: Option<u32>) -> Option<HostConflict> {
    let record = read(directory).ok().flatten()?;
    let counts = Some(record.pid) != own && record.is_alive() && record.serves(home);
    counts.then(|| record.conflict(directory))
}

/// The seat of the host: had, or not.
#[derive(Debug)]
pub(crate) struct Seat {
    /// `None` where there is no directory for it.
    directory: Option<Utf8PathBuf>,
    home: Utf8PathBuf,
    lock: Option<Flock<std::fs::File>>,
    /// What the record says.
    profiles: Vec<String>,
    /// When to try again.
    due: Option<Instant>,
    /// That it is not had was said, and why.
    said: String,
}

/// Why the seat is not had.
#[derive(Debug)]
enum Without {
    /// Another gateway has it.
    Taken(Option<Box<Record>>),
    /// The system refuses.
    Io(io::Error),
}

impl From<io::Error> for Without {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Seat {
    /// Of the gateway of `home`; touches nothing.
    pub(crate) fn new(directory: Option<Utf8PathBuf>, home: &Utf8Path) -> Self {
        let home = home.to_owned();
        Self { directory, home, lock: None, profiles: Vec::new(), due: None, said: String::new() }
    }

    /// Takes it for `profiles`, if it is free. An error only where its holder serves this home.
    pub(crate) fn claim(&mut self, profiles: &[String], now: Instant) -> Result<(), HostConflict> {
        let Some(directory) = self.directory.clone() else { return Ok(()) };
        self.due = Some(now + AGAIN);
        let without = match self.take(&directory, profiles) {
            Ok(()) => {
                tracing::info!(file = %record_path(&directory), "newer Python programs find this gateway as the host");
                self.said.clear();
                return Ok(());
            }
            Err(without) => without,
        };
        let why = match without {
            Without::Taken(Some(record)) if record.serves(&self.home) => {
                return Err(record.conflict(&directory));
            }
            Without::Taken(Some(record)) => {
                let home = hermes_wire::text::visible(&record.home);
                format!("process {} has it, for the home `{home}`", record.pid)
            }
            Without::Taken(None) => "another process has its lock".to_owned(),
            Without::Io(error) => error.to_string(),
        };
        if why != self.said {
            tracing::warn!(
                directory = %directory,
                "this gateway runs without a host record, so that newer Python programs may start another one beside it: {why}"
            );
            self.said = why;
        }
        Ok(())
    }

    /// Keeps the record true: another set of profiles, a file that is gone, a seat that has become free, a gateway that is a host no more.
    pub(crate) fn look(&mut self, multiplex: bool, profiles: &[String], now: Instant) {
        let Some(directory) = self.directory.clone() else { return };
        match (multiplex, self.lock.is_some()) {
            (false, true) => self.leave(),
            (false, false) => self.due = None,
            (true, true) => {
                if self.profiles != profiles || !own_record(&directory) {
                    match self.publish(&directory, profiles) {
                        Ok(()) => self.said.clear(),
                        Err(error) if error.to_string() != self.said => {
                            self.said = error.to_string();
                            tracing::warn!("the host record cannot be written: {}", self.said);
                        }
                        Err(_) => {}
                    }
                }
            }
            (true, false) if self.due.is_none_or(|due| now >= due) => {
                if let Err(conflict) = self.claim(profiles, now) {
                    let conflict = conflict.to_string();
                    if conflict != self.said {
                        tracing::error!("{conflict}");
                        self.said = conflict;
                    }
                }
            }
            (true, false) => {}
        }
    }

    /// Gives it up: the record first, then the lock.
    pub(crate) fn leave(&mut self) {
        let Some(lock) = self.lock.take() else { return };
        self.remove_record();
        self.profiles.clear();
        self.due = None;
        drop(lock);
    }

    /// Gives up the lock alone: this very process goes on as another program.
    pub(crate) fn keep(&mut self) {
        self.lock = None;
    }

    /// Removes the record, if it is this process's.
    pub(crate) fn remove_record(&self) {
        if let Some(directory) = &self.directory
            && own_record(directory)
            && let Err(error) = fs_err::remove_file(record_path(directory))
        {
            tracing::warn!(%error, "the host record cannot be removed");
        }
    }

    fn take(&mut self, directory: &Utf8Path, profiles: &[String]) -> Result<(), Without> {
        prepare(directory)?;
        let path = directory.join("host-gateway.lock");
        let lock = match Flock::lock(open_lock(&path)?, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                return Err(Without::Taken(read(directory)?.map(Box::new)));
            }
            Err((_, errno)) => return Err(Without::Io(errno.into())),
        };
        // One whose lock could not be had, or was removed under it, is a host as well for as long as it lives.
        if let Some(record) = read(directory)?
            && record.pid != std::process::id()
            && record.is_alive()
        {
            return Err(Without::Taken(Some(Box::new(record))));
        }
        self.publish(directory, profiles)?;
        self.lock = Some(lock);
        Ok(())
    }

    fn publish(&mut self, directory: &Utf8Path, profiles: &[String]) -> io::Result<()> {
        let pid = std::process::id();
        let record = Record {
            role: ROLE.to_owned(),
            home: self.home.to_string(),
            pid,
            create_time: created(pid),
            host: String::new(),
            port: None,
            protocol_version: PROTOCOL,
            token_fingerprint: String::new(),
            profiles: profiles.to_vec(),
            updated_at: clock::utc().strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string(),
        };
        let bytes = serde_json::to_vec(&record)?;
        disk::write_atomic(&record_path(directory), &bytes, false)?;
        self.profiles = profiles.to_vec();
        Ok(())
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}

fn record_path(directory: &Utf8Path) -> Utf8PathBuf {
    directory.join("host-gateway.json")
}

/// Makes the directory where it is missing, and closes it to others. One of another user is none of ours.
fn prepare(directory: &Utf8Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    disk::make_dirs(directory, 0o700)?;
    let found = fs_err::metadata(directory)?;
    if found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(foreign(directory, found.uid()));
    }
    if found.mode() & 0o077 != 0 {
        fs_err::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn open_lock(path: &Utf8Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK);
    let file = disk::open_or_create(path, &options)
        .map_err(|error| io::Error::new(error.kind(), format!("`{path}` cannot be opened: {error}")))?;
    let found = file.metadata()?;
    if !found.is_file() || found.uid() != nix::unistd::geteuid().as_raw() {
        return Err(foreign(path, found.uid()));
    }
    Ok(file)
}

fn foreign(path: &Utf8Path, uid: u32) -> io::Error {
    let why = format!("`{path}` is user {uid}'s, or no regular file or directory");
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// What the record says; nothing where there is none, or none that anybody could read. One of another user is an error: it is not
/// written over.
fn read(directory: &Utf8Path) -> io::Result<Option<Record>> {
    let bytes = disk::read_own(&record_path(directory), MAX_LEN).or_absent()?;
    Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

/// Whether the record is this process's.
fn own_record(directory: &Utf8Path) -> bool {
    matches!(read(directory), Ok(Some(record)) if record.pid == std::process::id())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Machine {
        _keep: tempfile::TempDir,
        directory: Utf8PathBuf,
        home: Utf8PathBuf,
        now: Instant,
    }

    impl Machine {
        fn new() -> Self {
            let keep = tempfile::tempdir().unwrap();
            let path = Utf8PathBuf::from_path_buf(keep.path().canonicalize().unwrap()).unwrap();
            let home = path.join("home");
            fs_err::create_dir(&home).unwrap();
            Self { _keep: keep, directory: path.join("state/hermes/gateway-locks"), home, now: clock::now() }
        }

        fn seat(&self) -> Seat {
            Seat::new(Some(self.directory.clone()), &self.home)
        }

        fn record(&self) -> Option<Record> {
            read(&self.directory).unwrap()
        }

        /// The record of another process.
        fn record_of(&self, pid: u32, home: &str, profiles: &[&str]) {
            prepare(&self.directory).unwrap();
            let record = serde_json::json!({
                "role": "gateway", "home": home, "pid": pid, "createTime": created(pid), "host": "", "port": null,
                "protocolVersion": 1, "tokenFingerprint": "", "profiles": profiles, "updatedAt": "", "new": 1,
            });
            disk::write_atomic(&record_path(&self.directory), record.to_string().as_bytes(), false).unwrap();
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_record_is_kept_true_and_goes_with_the_seat() {
        let machine = Machine::new();
        let mut seat = machine.seat();
        seat.claim(&names(&["default"]), machine.now).unwrap();
        let record = machine.record().unwrap();
        assert_eq!((record.pid, record.home.as_str()), (std::process::id(), machine.home.as_str()));
        assert_eq!((record.role.as_str(), record.protocol_version), ("gateway", 1));
        assert!(record.is_alive() && record.serves(&machine.home));
        let mode = |path: &Utf8Path| fs_err::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(
            [
                machine.directory.clone(),
                record_path(&machine.directory),
                machine.directory.join("host-gateway.lock")
            ]
            .map(|path| mode(&path)),
            [0o700, 0o600, 0o600]
        );
        let both = names(&["default", "coder"]);
        seat.look(true, &both, machine.now);
        assert_eq!(machine.record().unwrap().profiles, both);
        fs_err::remove_file(record_path(&machine.directory)).unwrap();
        seat.look(true, &both, machine.now);
        assert_eq!(machine.record().unwrap().profiles, both);
        // A gateway of one profile is no host.
        seat.look(false, &both, machine.now);
        assert_eq!(machine.record(), None);
        seat.look(true, &both, machine.now);
        assert!(machine.record().is_some());
        // As another program this process is found all the time, and takes its seat again.
        seat.keep();
        drop(seat);
        assert_eq!(machine.record().unwrap().pid, std::process::id());
        let mut seat = machine.seat();
        seat.claim(&both, machine.now).unwrap();
        drop(seat);
        assert_eq!(machine.record(), None);
        assert!(machine.directory.join("host-gateway.lock").exists(), "a lock file is never unlinked");
    }

    #[test]
    fn a_second_home_runs_without_the_seat_and_gets_it_when_it_is_free() {
        let machine = Machine::new();
        let mut first = machine.seat();
        first.claim(&names(&["default"]), machine.now).unwrap();
        // Two locks of one process are two locks: as another process's.
        let mut second = Seat::new(Some(machine.directory.clone()), "/another/home".into());
        second.claim(&names(&["x"]), machine.now).unwrap();
        assert!(second.lock.is_none() && second.said.contains("has it"));
        drop(first);
        second.look(true, &names(&["x"]), machine.now);
        assert!(second.lock.is_none(), "not before its time");
        second.look(true, &names(&["x"]), machine.now + AGAIN);
        assert_eq!(machine.record().unwrap().profiles, ["x"]);
    }

    #[test]
    fn only_a_living_host_of_this_home_refuses_a_start() {
        let machine = Machine::new();
        let parent = std::os::unix::process::parent_id();
        let below = machine.home.join("profiles/coder");
        for (home, profiles, refuses) in [
            (machine.home.as_str(), &["default"][..], true),
            (machine.home.as_str(), &[], true),
            (below.as_str(), &["coder", "default"], true),
            (below.as_str(), &["coder"], false),
            ("/another/home", &["default"], false),
        ] {
            machine.record_of(parent, home, profiles);
            let mut seat = machine.seat();
            let claimed = seat.claim(&names(&["default"]), machine.now);
            assert_eq!(claimed.is_err(), refuses, "{home} {profiles:?}");
            let foreseen =
                |own| obstacle(&machine.directory, &machine.home, own).map(|error| error.to_string());
            assert_eq!(foreseen(None), claimed.as_ref().err().map(ToString::to_string), "one judge");
            assert_eq!(foreseen(Some(parent)), None);
            if let Err(conflict) = claimed {
                assert_eq!((conflict.pid, conflict.exit_code()), (parent, exit::CONFIG));
            }
            assert!(seat.lock.is_none());
            assert_eq!(machine.record().unwrap().pid, parent, "it is not written over");
        }
        // The same number, started at another time: gone.
        let mut dead = machine.record().unwrap();
        dead.create_time = dead.create_time.map(|at| at - 3600.0);
        dead.home = machine.home.to_string();
        let bytes = serde_json::to_vec(&dead).unwrap();
        disk::write_atomic(&record_path(&machine.directory), &bytes, false).unwrap();
        let mut seat = machine.seat();
        seat.claim(&names(&["default"]), machine.now).unwrap();
        assert_eq!(machine.record().unwrap().pid, std::process::id());
    }

    #[test]
    fn what_is_not_ours_is_not_used() {
        let machine = Machine::new();
        fs_err::create_dir_all(&machine.directory).unwrap();
        fs_err::set_permissions(&machine.directory, std::fs::Permissions::from_mode(0o775)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", machine.directory.join("host-gateway.lock")).unwrap();
        let mut seat = machine.seat();
        seat.claim(&names(&["default"]), machine.now).unwrap();
        assert!(seat.lock.is_none() && !seat.said.is_empty());
        assert_eq!(fs_err::metadata(&machine.directory).unwrap().mode() & 0o777, 0o700, "closed to others");
        fs_err::remove_file(machine.directory.join("host-gateway.lock")).unwrap();
        // No record of anybody's: what nobody can read is replaced, a link is not.
        fs_err::write(record_path(&machine.directory), "{oops").unwrap();
        seat.claim(&names(&["default"]), machine.now).unwrap();
        assert!(seat.lock.is_some() && machine.record().is_some());
        seat.leave();
        std::os::unix::fs::symlink("/etc/hostname", record_path(&machine.directory)).unwrap();
        seat.claim(&names(&["default"]), machine.now).unwrap();
        assert!(seat.lock.is_none() && record_path(&machine.directory).is_symlink());
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&machine.directory, Some(12345), None).unwrap();
            fs_err::remove_file(record_path(&machine.directory)).unwrap();
            seat.claim(&names(&["default"]), machine.now).unwrap();
            assert!(seat.lock.is_none() && seat.said.contains("12345"), "{}", seat.said);
        }
    }

    /// As the process library of the readers has it: a fraction of a second, and never more than a moment off.
    #[test]
    #[cfg(target_os = "linux")]
    fn the_time_of_a_start_is_that_of_the_process() {
        let started = created(std::process::id()).unwrap();
        let now = clock::system().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(started <= now + TOLERANCE && started > 1_500_000_000.0, "{started} {now}");
        assert_eq!(created(u32::MAX), None);
    }
}
