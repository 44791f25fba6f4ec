//! Keeping what this process holds to itself.

/// From now on no other process of this user can look into this one: not at its environment, its memory or its descriptors, not by
/// tracing it; and no core dump is written. Only root can. What this process starts is not meant: a program is closed to others only
/// if it does this itself.
///
/// What stays open to everybody is what `ps` and `top` show: the command line, the state, limits, processor time and resident memory.
pub fn close_to_others() {
    // Neither can fail on a kernel that runs this program, and there is nobody to tell.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
    #[cfg(not(target_os = "linux"))]
    let _ = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_CORE).and_then(|(_, hard)| {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, hard)
    });
}

/// Marks every descriptor but the usual three so that no program that is started from now on has it, whoever opened it.
#[cfg(target_os = "linux")]
pub fn keep_descriptors() {
    use nix::libc;
    let (first, last, flags) = (FIRST, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: changes a flag of descriptors, and closes none.
    #[expect(unsafe_code, reason = "`close_range` has no safe form")]
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if done == 0 {
        return;
    }
    // Older kernels cannot, or not so.
    let numbers = fs_err::read_dir("/proc/self/fd").into_iter().flatten().filter_map(Result::ok);
    for number in numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<libc::c_uint>().ok()) {
        if number >= FIRST {
            // SAFETY: as above; a number that is not open is refused.
            #[expect(
                unsafe_code,
                reason = "a descriptor that nobody here has opened is only known by its number"
            )]
            let _ = unsafe { libc::fcntl(number.cast_signed(), libc::F_SETFD, libc::FD_CLOEXEC) };
        }
    }
}

/// Elsewhere nothing but what this program opens itself is there, and it marks that.
#[cfg(not(target_os = "linux"))]
pub fn keep_descriptors() {}

/// The first descriptor that is none of the usual three.
#[cfg(target_os = "linux")]
const FIRST: nix::libc::c_uint = 3;
