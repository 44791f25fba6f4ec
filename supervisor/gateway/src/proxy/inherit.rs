//! Listening sockets that outlive the program which opened them: a gateway becomes its next release, and connections wait in
//! their backlog meanwhile.
//!
//! They are named in one variable ([`env::LISTENERS`]): the process they belong to, then `descriptor=address` for each, with
//! `/platform` where the configuration leaves the port open. A variable of another process is ignored, and so is every
//! descriptor that is not a listening TCP socket of the address it is said to have. What nobody asks for is closed.
//!
//! A service manager may have opened them too (`LISTEN_FDS`): those are only lent. It goes on listening when this gateway has ended, so they
//! are never shut down, only closed; and what of them the configuration does not ask for is named.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};

use hermes_wire::env;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use socket2::{SockAddr, SockRef};

use crate::handover::{self, Handover};
use crate::inherited;

/// Most sockets that are taken over.
const MAX: usize = 256;

/// Sockets that listen already, until somebody asks for their address.
#[derive(Debug, Default)]
pub struct Inherited {
    open: Vec<Open>,
    /// Descriptors of a service manager's sockets.
    lent: Vec<RawFd>,
}

/// One of them.
#[derive(Debug)]
struct Open {
    listener: TcpListener,
    address: SocketAddr,
    /// Whose it is, where the configuration names no port.
    platform: Option<String>,
    /// What the service manager calls it, where it has just handed it over.
    name: Option<String>,
}

/// What the variable says of one.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    fd: RawFd,
    address: SocketAddr,
    platform: Option<String>,
}

impl Inherited {
    /// Takes over what the variable names; where this process was no other program before, what a service manager has opened for it.
    /// Call once, before this process opens a TCP socket of its own.
    pub fn take(variable: Option<&OsStr>) -> Self {
        let Some(text) = variable else { return Self::lent() };
        let entries = match text.to_str().ok_or("it is not UTF-8".to_owned()).and_then(parse) {
            Ok((pid, entries)) if pid == std::process::id() => entries,
            // Set for a gateway that has started this process; its sockets are not here.
            Ok(_) => return Self::lent(),
            Err(why) => {
                tracing::warn!("{} is ignored: {why}", env::LISTENERS);
                return Self::default();
            }
        };
        let open = entries.into_iter().filter_map(|entry| {
            let Entry { fd, address, platform } = entry;
            match own(fd, address) {
                Ok(listener) => Some(Open { listener, address, platform, name: None }),
                Err(error) => {
                    tracing::warn!(fd, %address, %error, "an inherited listener is ignored");
                    None
                }
            }
        });
        // Taken over by number, so that those of the service manager have the ones that they came with.
        Self { open: open.collect(), lent: lent_numbers(|name| std::env::var_os(name)).collect() }
    }

    /// What a service manager has opened for this process.
    fn lent() -> Self {
        let sockets = match sd_notify::listen_fds_with_names() {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::warn!(%error, "sockets of the service manager are ignored");
                return Self::default();
            }
        };
        let mut lent = Self::default();
        for (fd, name) in sockets.take(MAX) {
            let no_tcp = |bound: &SockAddr| bound.as_socket().is_none().then_some("it is no TCP socket");
            let taken = inherited::listening(fd, no_tcp).map(TcpListener::from);
            match taken.and_then(|listener| Ok((listener.local_addr()?, listener))) {
                Ok((address, listener)) => {
                    tracing::info!(%name, %address, "a socket that the service manager has opened");
                    lent.open.push(Open { listener, address, platform: None, name: Some(name) });
                    lent.lent.push(fd);
                }
                Err(error) => {
                    tracing::warn!(%name, fd, %error, "a socket of the service manager is of no use here, and closed");
                    inherited::close(fd);
                }
            }
        }
        lent
    }

    /// Whether it is a service manager's.
    pub(super) fn is_lent(&self, listener: &TcpListener) -> bool {
        self.lent.contains(&listener.as_raw_fd())
    }

    /// Closes what nobody asked for, and names what a service manager has opened of it.
    pub(super) fn dismiss(&mut self) {
        for Open { address, name, .. } in self.open.drain(..) {
            if let Some(name) = name {
                tracing::warn!(%name, %address, "a socket of the service manager is closed: nothing in the configuration listens there");
            }
        }
    }

    /// Those of a handover.
    pub(crate) fn of(handover: &Handover) -> io::Result<Self> {
        let mut inherited = Self::default();
        for listener in &handover.document.listeners {
            let socket = TcpListener::from(handover.copy(listener.socket)?);
            socket.set_nonblocking(true)?;
            inherited.add(socket, listener.platform.as_deref(), listener.lent);
        }
        Ok(inherited)
    }

    /// The other way round.
    pub(crate) fn hand_over(self, outgoing: &mut handover::Outgoing) -> Vec<handover::Listener> {
        let Self { open, lent } = self;
        let listener = |Open { listener, platform, .. }: Open| {
            let lent = lent.contains(&listener.as_raw_fd());
            handover::Listener { socket: outgoing.add(listener), platform, lent }
        };
        open.into_iter().map(listener).collect()
    }

    pub(super) fn add(&mut self, listener: TcpListener, platform: Option<&str>, lent: bool) {
        match listener.local_addr() {
            Ok(address) => {
                self.lent.extend(lent.then(|| listener.as_raw_fd()));
                self.open.push(Open { listener, address, platform: platform.map(str::to_owned), name: None });
            }
            Err(error) => tracing::error!(%error, "a listener without an address cannot be handed over"),
        }
    }

    /// Lets them survive an `exec`; the value of the variable for the program that is executed. From here on no child may be
    /// started.
    pub fn publish(&self) -> io::Result<String> {
        let mut text = std::process::id().to_string();
        for Open { listener, address, platform, .. } in &self.open {
            fcntl(listener.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
            let _ = write!(text, " {}={address}", listener.as_raw_fd());
            if let Some(platform) = platform {
                let _ = write!(text, "/{platform}");
            }
        }
        Ok(text)
    }

    /// The one that listens on `address`, or for a port that is left open the one of that platform.
    pub(super) fn claim(
        &mut self,
        address: SocketAddr,
        dual_stack: bool,
        platform: Option<&str>,
    ) -> Option<TcpListener> {
        let at = self.open.iter().position(|open| {
            let port = open.address.port() == address.port()
                || (address.port() == 0 && platform.is_some() && open.platform.as_deref() == platform);
            let stack = address.is_ipv4()
                || SockRef::from(&open.listener).only_v6().is_ok_and(|only| only != dual_stack);
            // A unit that names a port alone listens on both stacks with one socket.
            let both = open.name.is_some()
                && address.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
                && open.address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && SockRef::from(&open.listener).only_v6().is_ok_and(|only| !only);
            (open.address.ip() == address.ip() || both) && port && stack
        })?;
        Some(self.open.swap_remove(at).listener)
    }

    /// Closes those that stand in the way of a port.
    pub(super) fn free(&mut self, port: u16) {
        self.open.retain(|open| open.address.port() != port);
    }
}

/// The numbers of the descriptors that a service manager has handed to this process, whatever became of them.
fn lent_numbers(variable: impl Fn(&str) -> Option<OsString>) -> std::ops::Range<RawFd> {
    const FIRST: RawFd = 3;
    let number = |name: &str| variable(name)?.to_str()?.parse::<u32>().ok();
    let count = number("LISTEN_FDS").filter(|_| number("LISTEN_PID") == Some(std::process::id()));
    let count = count.map_or(0, |count| usize::try_from(count).unwrap_or(MAX).min(MAX));
    FIRST..FIRST + RawFd::try_from(count).unwrap_or(0)
}

/// The variable's parts: the process, and what it hands over.
fn parse(text: &str) -> Result<(u32, Vec<Entry>), String> {
    let mut words = text.split(' ');
    let pid = words.next().and_then(|word| word.parse().ok()).ok_or("it names no process")?;
    let mut entries: Vec<Entry> = Vec::new();
    for word in words {
        let entry = entry(word).ok_or_else(|| format!("`{}` is no listener", word.escape_default()))?;
        if entries.iter().any(|other| other.fd == entry.fd) {
            return Err(format!("descriptor {} is named twice", entry.fd));
        }
        if entries.len() == MAX {
            return Err(format!("it names more than {MAX} listeners"));
        }
        entries.push(entry);
    }
    Ok((pid, entries))
}

fn entry(word: &str) -> Option<Entry> {
    let (fd, rest) = word.split_once('=')?;
    let (address, platform) =
        rest.split_once('/').map_or((rest, None), |(address, platform)| (address, Some(platform)));
    // The first three are standard input and outputs.
    let fd = fd.parse().ok().filter(|fd| *fd > 2)?;
    Some(Entry { fd, address: address.parse().ok()?, platform: platform.map(str::to_owned) })
}

fn own(fd: RawFd, address: SocketAddr) -> io::Result<TcpListener> {
    let other = |bound: &SockAddr| (bound.as_socket() != Some(address)).then_some("it has another address");
    inherited::listening(fd, other).map(TcpListener::from)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_whole_variable_is_understood() {
        let entry = |fd, address: &str, platform: Option<&str>| Entry {
            fd,
            address: address.parse().unwrap(),
            platform: platform.map(str::to_owned),
        };
        assert_eq!(parse("7"), Ok((7, vec![])));
        assert_eq!(
            parse("7 10=127.0.0.1:8644 11=[::1]:0/webhook"),
            Ok((7, vec![entry(10, "127.0.0.1:8644", None), entry(11, "[::1]:0", Some("webhook"))]))
        );
        for bad in [
            "",
            " ",
            "x",
            "-1",
            "7 ",
            "7 10",
            "7 10=",
            "7 10=host:80",
            "7 2=127.0.0.1:80",
            "7 -3=127.0.0.1:80",
            "7 99999999999=127.0.0.1:80",
            "7 10=127.0.0.1:80  11=127.0.0.1:81",
            "7 10=127.0.0.1:99999",
            "7 10=127.0.0.1:80 10=127.0.0.1:81",
            "7\n10=127.0.0.1:80",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        let many: String = (3..300).fold("7".to_owned(), |text, fd| format!("{text} {fd}=127.0.0.1:80"));
        assert!(parse(&many).is_err());
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "\\PC*") {
            let _ = parse(&text);
        }
    }

    /// A descriptor that nothing else in this process knows.
    fn listening() -> (RawFd, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener.into_raw_fd(), address)
    }

    fn taken(text: &str) -> Inherited {
        Inherited::take(Some(OsStr::new(text)))
    }

    #[test]
    fn what_is_handed_over_is_found_by_its_address() {
        let own = std::process::id();
        let ((a, first), (b, second)) = (listening(), listening());
        assert!(taken(&format!("{} {a}={first}", own + 1)).open.is_empty(), "another process");
        assert!(taken(&format!("{own} {a}={second}")).open.is_empty(), "another address");
        let mut inherited = taken(&format!("{own} {a}={first} {b}={second}/webhook"));
        assert_eq!(inherited.publish().unwrap(), format!("{own} {a}={first} {b}={second}/webhook"));
        let open: SocketAddr = "127.0.0.1:0".parse().unwrap();
        assert!(inherited.claim(open, false, None).is_none());
        assert!(inherited.claim(open, false, Some("api_server")).is_none());
        assert!(inherited.claim("127.0.0.2:0".parse().unwrap(), false, Some("webhook")).is_none());
        let found = inherited.claim(open, false, Some("webhook")).unwrap();
        assert_eq!((found.local_addr().unwrap(), found.as_raw_fd()), (second, b));
        assert!(inherited.claim(first, false, Some("x")).is_some());
        assert!(inherited.claim(first, false, None).is_none(), "once");
    }

    #[test]
    fn what_is_lent_is_known_by_its_number() {
        let numbers = |pid: u32, count: &str| {
            let (pid, count) = (pid.to_string(), count.to_owned());
            lent_numbers(move |name| {
                Some(if name == "LISTEN_PID" { pid.clone() } else { count.clone() }.into())
            })
        };
        let own = std::process::id();
        assert_eq!(numbers(own, "2"), 3..5);
        assert_eq!(numbers(own, "99999999"), 3..259);
        for none in [numbers(own + 1, "2"), numbers(own, "x"), numbers(own, "-1"), lent_numbers(|_| None)] {
            assert_eq!(none, 3..3);
        }
    }

    #[test]
    fn nothing_else_is_taken() {
        let own = std::process::id();
        let file = fs_err::File::open("/dev/null").unwrap();
        let datagram = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (fd, address) = listening();
        let client = std::net::TcpStream::connect(address).unwrap();
        for (fd, address) in [
            (file.as_raw_fd(), address),
            (datagram.as_raw_fd(), datagram.local_addr().unwrap()),
            (client.as_raw_fd(), client.local_addr().unwrap()),
            (1_000_000, address),
        ] {
            assert!(taken(&format!("{own} {fd}={address}")).open.is_empty(), "{fd}");
        }
        let mut rest = taken(&format!("{own} {fd}={address}"));
        rest.free(address.port());
        assert!(rest.open.is_empty() && std::net::TcpStream::connect(address).is_err());
    }
}
