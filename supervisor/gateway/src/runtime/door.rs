//! How connections to a worker are made: to a socket that is held, not to whatever its name leads to.

use std::io;
use std::os::unix::net::UnixStream;

use socket2::{Domain, SockAddr, Socket, Type};

#[cfg(target_os = "linux")]
use super::directory::{Directory, through};

/// A data socket that is held: whoever removes, moves or replaces its name changes nothing about where connections go.
#[derive(Debug)]
pub(crate) struct Door {
    #[cfg(target_os = "linux")]
    socket: std::os::fd::OwnedFd,
    address: SockAddr,
}

impl Door {
    /// Holds the socket that `listener` was just bound to under `name`; `None` where the system cannot, or where something else is
    /// there by now.
    #[cfg(target_os = "linux")]
    pub(super) fn of(
        directory: &Directory,
        name: &str,
        listener: &std::os::unix::net::UnixListener,
    ) -> Option<Self> {
        let socket = directory.hold(name).ok()?;
        let address = SockAddr::unix(through(&socket)?).ok()?;
        // The proof: what connects through it arrives at this listener, which nobody else knows yet.
        let _knock = dial(&address).ok()?;
        listener.accept().ok()?;
        Some(Self { socket, address })
    }

    /// Holds a socket by a descriptor that another program had made by [`Self::of`].
    #[cfg(target_os = "linux")]
    pub(super) fn held(socket: std::os::fd::OwnedFd) -> Option<Self> {
        let address = SockAddr::unix(through(&socket)?).ok()?;
        Some(Self { socket, address })
    }

    /// For the program that this one becomes.
    #[cfg(target_os = "linux")]
    pub(crate) fn copy(&self) -> io::Result<std::os::fd::OwnedFd> {
        self.socket.try_clone()
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &SockAddr {
        &self.address
    }

    /// A path that leads to it for as long as this process lives.
    #[cfg(target_os = "linux")]
    pub(super) fn path(&self) -> String {
        use std::os::fd::AsRawFd as _;
        format!("/proc/{}/fd/{}", std::process::id(), self.socket.as_raw_fd())
    }

    /// What tells the socket from another one.
    #[cfg(target_os = "linux")]
    pub(super) fn id(&self) -> Option<super::directory::Id> {
        let through = through(&self.socket)?;
        fs_err::metadata(through).ok().map(|found| super::directory::id_of_metadata(&found))
    }
}

/// Makes a connection that does not block. Local sockets connect at once or not at all: with `WouldBlock` the backlog is full.
pub(crate) fn dial(address: &SockAddr) -> io::Result<UnixStream> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let socket = {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket
    };
    socket.connect(address)?;
    Ok(UnixStream::from(std::os::fd::OwnedFd::from(socket)))
}

/// Whether a data socket's listener is this process's own: the kernel notes who began to listen. Anybody else's gets no request.
pub(crate) fn verify(stream: &tokio::net::UnixStream) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    let (uid, own) = (nix::unistd::geteuid().as_raw(), i32::try_from(std::process::id()).ok());
    // Elsewhere the number is of whoever used the socket last.
    let process = if cfg!(target_os = "linux") { peer.pid() } else { own };
    if peer.uid() == uid && (process.is_none() || process == own) {
        return Ok(());
    }
    let process = process.map(|pid| format!("process {pid} of ")).unwrap_or_default();
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!("{process}user {} listens in the worker's place", peer.uid()),
    ))
}
