//! Sockets that listen already, because this process was another program before: known by a number alone, taken over once, and only
//! where they are what they should be.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::socket::{getsockopt, sockopt};
use socket2::{SockAddr, SockRef};

/// Makes a listening socket ours, non-blocking and closed on `exec`. `other` says what is wrong with its address. Call it before this
/// process opens a socket of that kind, and once for a number.
pub(crate) fn listening(
    fd: RawFd,
    other: impl FnOnce(&SockAddr) -> Option<&'static str>,
) -> io::Result<OwnedFd> {
    // SAFETY: only borrowed for calls that report a descriptor which is not open as an error.
    #[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let refused = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if !getsockopt(&borrowed, sockopt::AcceptConn)? {
        return refused("it does not listen");
    }
    if let Some(what) = other(&SockRef::from(&borrowed).local_addr()?) {
        return refused(what);
    }
    SockRef::from(&borrowed).set_nonblocking(true)?;
    fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: open (the calls above succeeded), listening although this process has made no socket of its kind yet, so handed over to
    // it, and named once: nothing else in this process knows its number.
    #[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Closes a descriptor that was handed to this process and is of no use; nothing where it is not open.
pub(crate) fn close(fd: RawFd) {
    // SAFETY: only borrowed for a call that reports a descriptor which is not open as an error.
    #[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    if fcntl(borrowed, FcntlArg::F_GETFD).is_ok() {
        // SAFETY: open, handed over to this process as its own, and named once: nothing else in it knows the number.
        #[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
}
