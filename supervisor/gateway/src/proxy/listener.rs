//! Listening addresses: what the settings ask for, bound.
//!
//! One listener per distinct address, however many platforms name it; each serves only the platforms that were configured on
//! it. Binding happens before anything else depends on it and reports every address that cannot be had at once. A
//! listener's platforms may change while it stays open; its connections see the change with their next request.
//!
//! An address that a socket listens on already, because this process was another program before, is not bound again: that
//! socket is used. [`Bound::keep`] is the other end of that: it takes the sockets out, so that closing does not shut them down.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hermes_wire::latest::{BoundListener, GatewaySettings, ListenerSetting};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio_util::sync::CancellationToken;

use super::families::{Chosen, Families, Served};
use super::inherit::Inherited;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// What a connection knows of the listener it came through.
#[derive(Debug)]
pub(super) struct Gate {
    families: Chosen,
    /// The listener was given up: its connections end with their next answer.
    closed: AtomicBool,
    /// Ends the accept loops.
    pub(super) stop: CancellationToken,
}

impl Gate {
    pub(super) fn served(&self) -> Served<'_> {
        self.families.now()
    }

    /// Tells listeners apart that live at the same time.
    pub(super) fn id(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        self.stop.cancel();
    }
}

/// One address with its sockets (a host name may stand for several).
#[derive(Debug)]
pub(super) struct Listener {
    key: Key,
    platforms: Vec<String>,
    address: SocketAddr,
    sockets: Vec<TcpListener>,
    /// A service manager's, which goes on listening when this gateway does not.
    lent: bool,
    pub(super) gate: Arc<Gate>,
}

/// What makes two settings the same listener.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    host: Option<String>,
    port: u16,
    /// With port 0 every platform gets a port of its own.
    platform: Option<String>,
}

/// An address could not be had.
#[derive(Debug)]
pub struct BindFailure {
    /// The first platform that asks for it.
    pub platform: String,
    /// The address, as configured.
    pub address: String,
    /// Port, as configured.
    pub port: u16,
    /// File and key it comes from.
    pub source: String,
    /// What the system said.
    pub error: io::Error,
    /// Who has it, where that is known.
    pub holder: Option<String>,
}

impl BindFailure {
    /// The key or variable that decides the address, and the file in which it stands.
    pub fn key(&self) -> (String, &str) {
        let (key, file) = self.source.split_once(" in ").unwrap_or(("", &self.source));
        let decides = |end: &str| key.to_ascii_lowercase().ends_with(end);
        let decides = decides("port") || decides("listen");
        (if decides { key.to_owned() } else { format!("platforms.{}.port", self.platform) }, file)
    }
}

impl fmt::Display for BindFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { platform, address, port, source, error, holder } = self;
        let key =
            if error.kind() == io::ErrorKind::AddrInUse || error.kind() == io::ErrorKind::PermissionDenied {
                "port"
            } else {
                "host"
            };
        if error.kind() == io::ErrorKind::AddrInUse {
            let by = holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default();
            write!(f, "Port {port} already in use{by}. ")?;
        }
        write!(f, "Set platforms.{platform}.{key} in config.yaml to a different value")?;
        write!(f, " (cannot listen on `{address}`, from {source}: {error})")
    }
}

/// The listeners cannot all be bound; nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct BindError(
    /// Every address that could not be had.
    pub Vec<BindFailure>,
);

/// Bound listeners that nobody accepts on yet: connections wait.
#[derive(Debug)]
pub struct Bound {
    pub(super) listeners: Vec<Listener>,
    families: Families,
}

impl Bound {
    /// Binds every address the settings ask for, or says all that stands against it. Sockets that listen already are used; those of
    /// them that the settings do not ask for are closed.
    pub fn bind(
        settings: &GatewaySettings,
        families: Families,
        mut inherited: Inherited,
    ) -> Result<Self, BindError> {
        let mut bound = Self { listeners: Vec::new(), families };
        bound.adjust(settings, &mut inherited)?;
        inherited.dismiss();
        Ok(bound)
    }

    /// What is bound.
    pub fn listeners(&self) -> Vec<BoundListener> {
        self.listeners.iter().map(Listener::describe).collect()
    }

    /// Makes this what `settings` ask for: listeners whose address stays are not touched, new ones are bound, others closed.
    /// The result has the indices of the new ones. With an error everything is as before.
    pub(super) fn adjust(
        &mut self,
        settings: &GatewaySettings,
        inherited: &mut Inherited,
    ) -> Result<Vec<usize>, BindError> {
        let wanted = merge(&settings.listeners);
        let mut failures = Vec::new();
        let mut fresh = Vec::new();
        for (key, platforms, setting) in &wanted {
            if self.listeners.iter().any(|l| l.key == *key) {
                continue;
            }
            let mut sockets = bind_all(key, inherited);
            if sockets.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::AddrInUse) {
                // Perhaps it is one of ours, on its way out.
                for old in &self.listeners {
                    if old.address.port() == key.port && !wanted.iter().any(|(k, ..)| *k == old.key) {
                        old.stop_listening();
                    }
                }
                inherited.free(key.port);
                sockets = bind_all(key, inherited);
            }
            match sockets {
                Ok(sockets) => {
                    let lent = sockets.iter().any(|socket| inherited.is_lent(socket));
                    match Listener::new(key.clone(), platforms.clone(), &self.families, (sockets, lent)) {
                        Ok(listener) => fresh.push(listener),
                        Err(error) => failures.push(failure(key, setting, error)),
                    }
                }
                Err(error) => failures.push(failure(key, setting, error)),
            }
        }
        if !failures.is_empty() {
            for old in &self.listeners {
                old.listen_again();
            }
            return Err(BindError(failures));
        }
        self.listeners.retain(|old| {
            let stays = wanted.iter().find(|(key, ..)| *key == old.key);
            match stays {
                Some((_, platforms, _)) => {
                    old.gate.families.set(platforms);
                }
                None => old.gate.close(),
            }
            stays.is_some()
        });
        for listener in &mut self.listeners {
            if let Some((_, platforms, _)) = wanted.iter().find(|(key, ..)| *key == listener.key) {
                listener.platforms.clone_from(platforms);
            }
        }
        let first = self.listeners.len();
        self.listeners.extend(fresh);
        Ok((first..self.listeners.len()).collect())
    }

    /// Takes the sockets out, still listening: what connects from now on waits, and closing leaves them alone. Connections that
    /// exist end with their next answer.
    pub(super) fn keep(&mut self) -> Inherited {
        let mut kept = Inherited::default();
        for listener in &mut self.listeners {
            for socket in std::mem::take(&mut listener.sockets) {
                kept.add(socket, listener.key.platform.as_deref(), listener.lent);
            }
            listener.gate.close();
        }
        kept
    }

    /// Closes all of them, at once and for good.
    pub(super) fn close(&mut self) {
        for listener in self.listeners.drain(..) {
            // In this order: a thread whose socket is shut down knows why.
            listener.gate.stop.cancel();
            listener.stop_listening();
        }
    }
}

impl Listener {
    fn new(
        key: Key,
        platforms: Vec<String>,
        families: &Families,
        (sockets, lent): (Vec<TcpListener>, bool),
    ) -> io::Result<Self> {
        let address = sockets[0].local_addr()?;
        let gate = Gate {
            families: families.choose(&platforms),
            closed: AtomicBool::new(false),
            stop: CancellationToken::new(),
        };
        Ok(Self { key, platforms, address, sockets, lent, gate: Arc::new(gate) })
    }

    fn describe(&self) -> BoundListener {
        BoundListener {
            address: self.address.to_string(),
            host: self.key.host.clone(),
            platforms: self.platforms.clone(),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Further descriptors of the sockets, for the accept loops.
    pub(super) fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        self.sockets.iter().map(TcpListener::try_clone).collect()
    }

    /// Frees the address while accept loops still hold descriptors. One that is lent is its owner's to free.
    fn stop_listening(&self) {
        if self.lent {
            return;
        }
        for socket in &self.sockets {
            // Fails only where it no longer listens, which is what is wanted.
            let _ = SockRef::from(socket).shutdown(std::net::Shutdown::Both);
        }
    }

    fn listen_again(&self) {
        for socket in &self.sockets {
            if let Err(error) = SockRef::from(socket).listen(BACKLOG) {
                tracing::error!(address = %self.address, %error, "a listener could not be restored");
            }
        }
    }
}

fn failure(key: &Key, setting: &ListenerSetting, error: io::Error) -> BindFailure {
    let host = key.host.as_deref().unwrap_or("*");
    let address =
        if host.contains(':') { format!("[{host}]:{}", key.port) } else { format!("{host}:{}", key.port) };
    BindFailure {
        platform: setting.platform.clone(),
        address,
        port: key.port,
        source: setting.source.clone(),
        error,
        holder: None,
    }
}

/// One entry per distinct address, in order of first mention, with all platforms that name it.
fn merge(settings: &[ListenerSetting]) -> Vec<(Key, Vec<String>, &ListenerSetting)> {
    let mut merged: Vec<(Key, Vec<String>, &ListenerSetting)> = Vec::new();
    for setting in settings {
        let host =
            setting.host.as_deref().map(str::trim).filter(|h| !h.is_empty()).map(str::to_ascii_lowercase);
        let platform = (setting.port == 0).then(|| setting.platform.clone());
        let key = Key { host, port: setting.port, platform };
        match merged.iter_mut().find(|(known, ..)| *known == key) {
            Some((_, platforms, _)) if platforms.contains(&setting.platform) => {}
            Some((_, platforms, _)) => platforms.push(setting.platform.clone()),
            None => merged.push((key, vec![setting.platform.clone()], setting)),
        }
    }
    merged
}

fn bind_all(key: &Key, inherited: &mut Inherited) -> io::Result<Vec<TcpListener>> {
    let one = |address, dual_stack| match inherited.claim(address, dual_stack, key.platform.as_deref()) {
        Some(listener) => Ok(listener),
        None => bind_one(address, dual_stack),
    };
    each_address(key, one, TcpListener::local_addr)
}

/// Does `one` with every address that a key stands for.
fn each_address<S>(
    key: &Key,
    mut one: impl FnMut(SocketAddr, bool) -> io::Result<S>,
    address_of: impl Fn(&S) -> io::Result<SocketAddr>,
) -> io::Result<Vec<S>> {
    let Some(host) = &key.host else {
        let mut any = |ip: IpAddr| one(SocketAddr::new(ip, key.port), true);
        return any(Ipv6Addr::UNSPECIFIED.into())
            .or_else(|error| match error.kind() {
                io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
                // No IPv6 here.
                _ => any(Ipv4Addr::UNSPECIFIED.into()),
            })
            .map(|socket| vec![socket]);
    };
    if let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(vec![one(SocketAddr::new(ip, key.port), false)?]);
    }
    let mut sockets: Vec<S> = Vec::new();
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the name has no address");
    for mut address in (host.as_str(), key.port).to_socket_addrs()? {
        if let Some(first) = sockets.first() {
            address.set_port(address_of(first)?.port());
        }
        match one(address, false) {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(error) => last = error,
        }
    }
    if sockets.is_empty() { Err(last) } else { Ok(sockets) }
}

fn bind_one(address: SocketAddr, dual_stack: bool) -> io::Result<TcpListener> {
    let socket = bind_socket(address, dual_stack)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_socket(address: SocketAddr, dual_stack: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    configure(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Finds out which addresses could be had, and takes none: no socket ever listens, so nobody connects to it, and a gateway that
/// starts at the same moment is not in its way.
#[derive(Debug, Default)]
pub struct Trial {
    /// What was asked for already; two that overlap cannot both be had.
    asked: Vec<SocketAddr>,
}

impl Trial {
    /// Tries every address the settings ask for; those that could not be had.
    pub fn listeners(&mut self, settings: &[ListenerSetting]) -> Vec<BindFailure> {
        let mut failures = Vec::new();
        for (key, _, setting) in &merge(settings) {
            let one = |address, dual_stack| self.one(address, dual_stack);
            if let Err(error) = each_address(key, one, |address| Ok(*address)) {
                failures.push(failure(key, setting, error));
            }
        }
        failures
    }

    /// Tries one address.
    pub fn address(&mut self, address: SocketAddr) -> io::Result<()> {
        self.one(address, false).map(drop)
    }

    fn one(&mut self, address: SocketAddr, dual_stack: bool) -> io::Result<SocketAddr> {
        let overlaps = |other: &SocketAddr| {
            let any = other.ip().is_unspecified() || address.ip().is_unspecified();
            other.port() == address.port() && address.port() != 0 && (any || other.ip() == address.ip())
        };
        if self.asked.iter().any(overlaps) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let bound = bind_socket(address, dual_stack)?.local_addr()?;
        self.asked.push(address);
        Ok(bound.as_socket().unwrap_or(address))
    }
}

/// Options of client connections. Linux copies them from the listening socket, which saves four system calls a connection.
pub(super) fn configure(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    socket.set_tcp_keepalive(&keepalive)
}
