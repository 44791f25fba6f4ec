//! Passing an open socket to the process at the other end of a connection.
//!
//! Two processes that share one connection can have as many as they like: one makes a pair, keeps an end and passes the other. Who
//! holds the shared connection is who it was given to; no name, no number and no permission has to be asked for.
//!
//! Whoever makes the pair trusts nobody: the end that it keeps was never in other hands. Whoever takes a socket shares it, with the
//! flag that keeps a read from blocking, with everyone who kept a copy. The more trusted process is therefore the one that passes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

/// Passes a copy of `socket` over the connection `over`; `None` says that there is none, which [`receive`] reads as invalid data.
pub fn send(over: BorrowedFd<'_>, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let sockets = socket.map(|socket| [socket]);
    if let Some(sockets) = &sockets
        && !control.push(SendAncillaryMessage::ScmRights(sockets))
    {
        return Err(io::Error::other("a descriptor does not fit into a message"));
    }
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = SendFlags::NOSIGNAL;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = SendFlags::empty();
    // A descriptor travels with a byte.
    sendmsg(over, &[IoSlice::new(&[0])], &mut control, flags)?;
    Ok(())
}

/// Takes what was passed; `None`: the other end is closed. Not inherited by children.
pub fn receive(over: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let flags = RecvFlags::CMSG_CLOEXEC;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let flags = RecvFlags::empty();
    let received = recvmsg(over, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut passed = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            // More than one was not asked for; what is not kept is closed.
            for descriptor in descriptors {
                passed = Some(descriptor);
            }
        }
    }
    match passed {
        Some(descriptor) => {
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::CLOEXEC)?;
            Ok(Some(descriptor))
        }
        None if received.bytes == 0 => Ok(None),
        // No descriptors left here, or the other end passes none.
        None => Err(io::Error::new(io::ErrorKind::InvalidData, "a message came without a descriptor")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_that_is_passed_is_the_same_socket() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut kept, given) = UnixStream::pair().unwrap();
        send(theirs.as_fd(), Some(given.as_fd())).unwrap();
        drop(given);
        let mut taken = UnixStream::from(receive(ours.as_fd()).unwrap().unwrap());
        assert!(rustix::io::fcntl_getfd(taken.as_fd()).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        kept.write_all(b"x").unwrap();
        let mut byte = [0];
        taken.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");

        send(theirs.as_fd(), None).unwrap();
        let none = receive(ours.as_fd()).unwrap_err();
        assert_eq!(none.kind(), io::ErrorKind::InvalidData, "a byte alone passes nothing");
        drop(theirs);
        assert!(receive(ours.as_fd()).unwrap().is_none());
    }
}
