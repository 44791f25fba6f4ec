//! Starts worker processes: the running image again, with a clean environment, three descriptors and a process group of its own.
//!
//! Everything goes through `posix_spawn`, which borrows our memory until the new image runs instead of copying our page tables:
//! the cost of a start does not grow with the supervisor. Call only from the main thread: the parent-death signal that workers
//! ask for follows the thread that made them.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;

use hermes_wire::ProfileName;

/// `argv[0]` of workers: readers of the status files know a gateway by it.
pub(crate) const ARGV0: &str = "hermes-gateway";

/// Descriptors 0 to 5 of a worker are set explicitly; sources are moved above them first.
const FIRST_FREE: i32 = 10;

/// What every worker is started from.
pub(crate) struct Spawner {
    image: CString,
    null: OwnedFd,
}

impl Spawner {
    /// Finds the running image.
    pub(crate) fn new() -> std::io::Result<Self> {
        let image = if cfg!(target_os = "linux") {
            c"/proc/self/exe".to_owned()
        } else {
            use std::os::unix::ffi::OsStringExt as _;
            CString::new(std::env::current_exe()?.into_os_string().into_vec())?
        };
        let null = fs_err::OpenOptions::new().read(true).write(true).open("/dev/null")?;
        Ok(Self { image, null: above(null.file().as_fd())? })
    }

    /// Starts the worker of `profile` with `data`, `control` and `road` as descriptors 3, 4 and 5.
    pub(crate) fn spawn(
        &self,
        profile: &ProfileName,
        environment: &[CString],
        data: BorrowedFd<'_>,
        control: BorrowedFd<'_>,
        road: BorrowedFd<'_>,
    ) -> Result<Pid, Errno> {
        let (data, control, road) = (above(data)?, above(control)?, above(road)?);
        let mut files = PosixSpawnFileActions::init()?;
        files.add_dup2(self.null.as_raw_fd(), 0)?;
        // The worker redirects both into its own log as soon as it runs.
        files.add_dup2(2, 1)?;
        files.add_dup2(data.as_raw_fd(), 3)?;
        files.add_dup2(control.as_raw_fd(), 4)?;
        files.add_dup2(road.as_raw_fd(), 5)?;
        let mut attributes = PosixSpawnAttr::init()?;
        attributes.set_flags(
            PosixSpawnFlags::POSIX_SPAWN_SETPGROUP
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF
                | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
        )?;
        attributes.set_pgroup(Pid::from_raw(0))?;
        let mut ignored_by_us = SigSet::empty();
        ignored_by_us.add(Signal::SIGPIPE);
        attributes.set_sigdefault(&ignored_by_us)?;
        attributes.set_sigmask(&SigSet::empty())?;
        let name = CString::new(profile.as_str()).expect("a profile name has no zero byte");
        let argv =
            [CString::new(ARGV0).expect("a literal"), c"worker".to_owned(), c"--profile".to_owned(), name];
        posix_spawn(self.image.as_c_str(), &files, &attributes, &argv, environment)
    }
}

/// A copy of a descriptor that no explicit one can collide with; not inherited.
#[expect(unsafe_code, reason = "`fcntl` hands the new descriptor over as a number")]
fn above(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let raw = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST_FREE))?;
    // SAFETY: the descriptor was made by this call and nobody else has its number.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
