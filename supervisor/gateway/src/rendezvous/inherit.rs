//! `gateway.sock` while a gateway becomes its next release: its clients wait in the backlog, and its name stays.
//!
//! One variable ([`env::GATEWAY_SOCKET`]) names it: the process it belongs to, the descriptor, and device and inode of the name. A variable of another
//! process is ignored, and so is a descriptor that is no listening local socket; whether the name still is the one that was made for it is
//! seen by whoever takes it. A release that does not know the variable leaves the socket open and makes no other: whoever goes back in place to
//! one of before has clients that wait in vain, two seconds each, until that gateway is started anew.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::os::unix::net::UnixListener;

use hermes_wire::env;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{Domain, SockAddr};

use crate::inherited;

/// What tells the socket's file from another one of its name: device and inode.
pub(super) type Id = (u64, u64);

/// A listener, and what tells its name from another one.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(super) listener: UnixListener,
    pub(super) id: Id,
}

impl Kept {
    /// Takes over what the variable names. Call once, before this process opens a local socket of its own.
    pub(crate) fn take(variable: Option<&OsStr>) -> Option<Self> {
        let text = variable?;
        let Some((pid, fd, id)) = text.to_str().and_then(parse) else {
            tracing::warn!("{} is ignored: it names no socket", env::GATEWAY_SOCKET);
            return None;
        };
        // Set for a gateway that has started this process.
        if pid != std::process::id() {
            return None;
        }
        match own(fd) {
            Ok(listener) => Some(Self { listener, id }),
            Err(error) => {
                tracing::warn!(fd, %error, "an inherited socket is ignored");
                None
            }
        }
    }

    /// Of a handover that [`crate::handover`] describes.
    pub(crate) fn of(listener: UnixListener, id: Id) -> Self {
        Self { listener, id }
    }

    /// The other way round.
    pub(crate) fn into_parts(self) -> (UnixListener, Id) {
        (self.listener, self.id)
    }

    /// Lets it survive an `exec`; the value of the variable for the program that is executed. From here on no child may be started.
    pub(crate) fn publish(&self) -> io::Result<String> {
        fcntl(self.listener.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
        let (device, inode) = self.id;
        Ok(format!("{} {} {device} {inode}", std::process::id(), self.listener.as_raw_fd()))
    }
}

fn parse(text: &str) -> Option<(u32, RawFd, Id)> {
    let mut words = text.split(' ');
    let pid = words.next()?.parse().ok()?;
    // The first three are standard input and outputs.
    let fd = words.next()?.parse().ok().filter(|fd| *fd > 2)?;
    let id = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    words.next().is_none().then_some((pid, fd, id))
}

fn own(fd: RawFd) -> io::Result<UnixListener> {
    let other = |address: &SockAddr| (address.domain() != Domain::UNIX).then_some("it is no local socket");
    inherited::listening(fd, other).map(UnixListener::from)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;

    use super::*;

    #[test]
    fn only_a_whole_variable_is_understood() {
        assert_eq!(parse("7 10 64 99"), Some((7, 10, (64, 99))));
        for bad in [
            "",
            "7",
            "7 10 64",
            "7 2 64 99",
            "7 -1 64 99",
            "7 10 64 99 1",
            "x 10 64 99",
            "7  10 64 99",
            "7 10 64 x",
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn only_what_listens_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let stream = std::os::unix::net::UnixStream::connect(dir.path().join("s")).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let file = fs_err::File::open("/dev/null").unwrap();
        let taken = |pid: u32, fd: RawFd| Kept::take(Some(OsStr::new(&format!("{pid} {fd} 1 2"))));
        let own = std::process::id();
        for other in [stream.as_raw_fd(), tcp.as_raw_fd(), file.as_raw_fd(), 1_000_000] {
            assert!(taken(own, other).is_none());
        }
        let fd = listener.into_raw_fd();
        assert!(taken(own + 1, fd).is_none(), "another process");
        let kept = taken(own, fd).unwrap();
        assert_eq!((kept.id, kept.publish().unwrap()), ((1, 2), format!("{own} {fd} 1 2")));
        assert!(kept.listener.accept().is_ok(), "who waited in the backlog");
    }
}
