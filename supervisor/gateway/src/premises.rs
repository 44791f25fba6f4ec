//! What a start needs of this machine beside the profiles' files: looked at, with nothing taken, made or changed.
//!
//! `gateway run` takes these things for real; `gateway check` and `doctor` ask here, and all of them use the same words. A
//! gateway that already runs for the home is in nobody's way: its lock and its addresses are the ones the next start gets.

use std::collections::HashSet;
use std::fmt;
use std::io;

use camino::Utf8Path;
use hermes_host::disk;
use hermes_wire::latest::{GatewaySettings, Problem, Severity};
use hermes_wire::{ProfileHome, ProfileName, RootHome};

use crate::client::Client;
use crate::instance::{self, InstanceError, Liveness};
use crate::metrics::{Admin, AdminError};
use crate::proxy::{BindError, BindFailure, Trial};
use crate::rendezvous::host;
use crate::runtime::{self, SocketPlaces};
use crate::watch;

/// Processes whose descriptors are looked at.
const PROCESSES: usize = 20_000;
/// Ports behind a taken one that are tried before none is proposed.
const PROPOSED: u16 = 50;

/// The gateway that is to start.
#[derive(Debug, Clone, Copy)]
pub struct Premises<'a> {
    /// The root home.
    pub root: &'a RootHome,
    /// The profile whose gateway it is.
    pub profile: &'a ProfileName,
    /// Where it may have its sockets.
    pub sockets: &'a SocketPlaces,
    /// Where its host record would be.
    pub host: Option<&'a Utf8Path>,
}

/// Who listens on a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    pid: Option<u32>,
    /// Its gateway, where it is one of this root home.
    profile: Option<ProfileName>,
    program: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.profile {
            Some(profile) => write!(f, "the gateway of profile '{profile}'")?,
            None => write!(f, "`{}`", self.program)?,
        }
        self.pid.map_or(Ok(()), |pid| write!(f, " (PID {pid})"))
    }
}

impl Premises<'_> {
    fn home(&self) -> ProfileHome {
        self.root.profile(self.profile)
    }

    /// Everything but the addresses.
    pub fn problems(&self) -> Vec<Problem> {
        let home = self.home();
        let mut problems = Vec::new();
        let mut add = |code: &str, file: &Utf8Path, message: String, fix: &str| {
            problems.push(Problem::of_file(Severity::Gateway, code, file, message, fix));
        };
        if !home.path().exists()
            && let Err(error) = disk::could_make(home.path())
        {
            let message = format!("the home `{}` cannot be made: {error}", home.path());
            add(
                "home_not_writable",
                home.path(),
                message,
                "Set HERMES_HOME to a directory that can be made.",
            );
        }
        let places = self.sockets.of(home.path());
        if let Some(why) = runtime::unusable(&places) {
            let message = format!("there is no directory for the sockets: {why}");
            let fix = "Set XDG_RUNTIME_DIR to a directory that only you can write to.";
            add("runtime_dir", home.path(), message, fix);
        }
        if let Some(error) = instance::obstacle(home.path()) {
            let fix = match &error {
                InstanceError::Elsewhere { .. } => error.hint(),
                _ => "Find out whose it is (`fuser`, `lsof`), and end that process or move the file away."
                    .to_owned(),
            };
            let cause = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
            add("lock", &home.gateway_lock(), format!("the lock cannot be taken: {error}{cause}"), &fix);
        }
        problems
    }

    /// Another gateway that serves this home, as the host record says.
    pub fn another_host(&self, settings: &GatewaySettings) -> Option<Problem> {
        if !settings.multiplex || !self.profile.is_default() {
            return None;
        }
        let home = self.home();
        let own = self.ours().and_then(|(pid, _)| pid);
        let conflict = host::obstacle(self.host?, home.path(), own)?;
        let file = conflict.record.clone();
        Some(Problem::of_file(
            Severity::Gateway,
            "another_host",
            &file,
            conflict.to_string(),
            &conflict.hint(),
        ))
    }

    /// The addresses that cannot be had.
    pub fn addresses(&self, settings: &GatewaySettings) -> Vec<Problem> {
        let mut trial = Trial::default();
        let mut failures = BindError(trial.listeners(&settings.listeners));
        let ours = self.ours();
        failures.0.retain(|failure| !is_ours(failure.error.kind(), failure.port, ours.as_ref(), self));
        self.name_holders(&mut failures);
        let mut problems: Vec<Problem> = failures.0.iter().map(|failure| self.problem(failure)).collect();
        if let Some(text) = &settings.admin {
            let tried = Admin::allowed(text, settings.admin_token.is_some()).and_then(|address| match trial
                .address(address)
            {
                Err(e) if is_ours(e.kind(), address.port(), ours.as_ref(), self) => Ok(()),
                other => other.map_err(|source| AdminError::Bind { address, source }),
            });
            problems.extend(tried.err().map(|error| self.admin_problem(&error)));
        }
        problems
    }

    /// Adds who has each address that is taken.
    pub fn name_holders(&self, error: &mut BindError) {
        for failure in error.0.iter_mut().filter(|f| f.error.kind() == io::ErrorKind::AddrInUse) {
            failure.holder = self.holder(failure.port).map(|holder| holder.to_string());
        }
    }

    /// The command that chooses another port.
    pub fn remedy(&self, failure: &BindFailure) -> Option<String> {
        if failure.error.kind() != io::ErrorKind::AddrInUse {
            return None;
        }
        let free = (1..=PROPOSED)
            .filter_map(|n| failure.port.checked_add(n))
            .find(|port| Trial::default().address((std::net::Ipv4Addr::LOCALHOST, *port).into()).is_ok())?;
        let (key, _) = failure.key();
        let listen = key.ends_with("listen");
        let host = failure.address.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
        let value = if listen { format!("{host}:{free}") } else { free.to_string() };
        let flag = if self.profile.is_default() { String::new() } else { format!("-p {} ", self.profile) };
        Some(format!("hermes {flag}config set {key} {value}"))
    }

    fn problem(&self, failure: &BindFailure) -> Problem {
        let (key, file) = failure.key();
        let code = match failure.error.kind() {
            io::ErrorKind::AddrInUse => "port_in_use",
            _ => "address",
        };
        let fix = self.remedy(failure).map_or_else(
            || format!("Set {key} to another value."),
            |command| format!("Choose another port: {command}"),
        );
        let mut found =
            Problem::of_file(Severity::Gateway, code, Utf8Path::new(file), failure.to_string(), &fix);
        (found.platform, found.key) = (Some(failure.platform.clone()), Some(key));
        found
    }

    fn admin_problem(&self, error: &AdminError) -> Problem {
        let cause = std::error::Error::source(error).map(|e| format!(": {e}")).unwrap_or_default();
        let holder = match error {
            AdminError::Bind { address, .. } => self.holder(address.port()),
            _ => None,
        };
        let by = holder.map(|holder| format!(" ({holder} has it)")).unwrap_or_default();
        let (code, file) = ("admin_address", self.home().config());
        let fix = "Set gateway.admin to another address, such as 127.0.0.1:9464.";
        let mut found = Problem::of_file(Severity::Gateway, code, &file, format!("{error}{cause}{by}"), fix);
        found.key = Some("gateway.admin".to_owned());
        found
    }

    /// The gateway that runs for this very home: its process, and the ports it says it has.
    fn ours(&self) -> Option<(Option<u32>, Option<HashSet<u16>>)> {
        let home = self.home();
        let Liveness::Running { record } = instance::probe(home.path()) else { return None };
        Some((record.map(|record| record.pid), ports(home.path(), self.sockets)))
    }

    /// Who listens on `port`.
    fn holder(&self, port: u16) -> Option<Holder> {
        let gateways = || {
            let homes = watch::scan(self.root);
            let names: Vec<ProfileName> = homes.names().cloned().collect();
            names.into_iter().filter_map(|name| {
                let home = self.root.profile(&name);
                match instance::probe(home.path()) {
                    Liveness::Running { record } => Some((name, record.map(|record| record.pid), home)),
                    _ => None,
                }
            })
        };
        if let Some((pid, program)) = listening_process(port) {
            let profile = gateways().find(|(_, gateway, _)| *gateway == Some(pid)).map(|(name, ..)| name);
            return Some(Holder { pid: Some(pid), profile, program });
        }
        // Whose descriptors cannot be seen may still say what it listens on.
        gateways()
            .find(|(_, _, home)| ports(home.path(), self.sockets).is_some_and(|ports| ports.contains(&port)))
            .map(|(name, pid, _)| Holder { pid, profile: Some(name), program: "hermes".to_owned() })
    }
}

/// Whether an address is taken only by the gateway whose place this one would take. Where that cannot be seen, it is.
fn is_ours(
    kind: io::ErrorKind,
    port: u16,
    ours: Option<&(Option<u32>, Option<HashSet<u16>>)>,
    premises: &Premises<'_>,
) -> bool {
    let Some((pid, ports)) = ours.filter(|_| kind == io::ErrorKind::AddrInUse) else { return false };
    match ports {
        Some(ports) => ports.contains(&port),
        None => premises.holder(port).is_none_or(|holder| holder.pid == *pid),
    }
}

/// The ports that the gateway of `home` listens on, as it says.
fn ports(home: &Utf8Path, sockets: &SocketPlaces) -> Option<HashSet<u16>> {
    let status = Client::connect(home, sockets).and_then(|client| client.status(None)).ok()?;
    let listeners = status.gateway.listeners.into_iter().map(|listener| listener.address);
    let port = |address: String| address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Some(listeners.chain(status.gateway.admin).filter_map(port).collect())
}

/// The process that listens on a port of this machine and its name, as far as this user may see.
fn listening_process(port: u16) -> Option<(u32, String)> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs_err::read_to_string(path).unwrap_or_default());
    let inodes: HashSet<String> = tables.iter().flat_map(|table| listening_inodes(table, port)).collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = fs_err::read_dir("/proc").ok()?.filter_map(Result::ok);
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let Ok(descriptors) = fs_err::read_dir(format!("/proc/{pid}/fd")) else { return false };
        descriptors.filter_map(Result::ok).any(|fd| {
            let link = fs_err::read_link(fd.path()).unwrap_or_default();
            let inode = link.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            inode.is_some_and(|inode| inodes.contains(inode))
        })
    };
    let pid = numbers.take(PROCESSES).find(holds)?;
    let name = fs_err::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some((pid, name.trim().chars().filter(|c| !c.is_control()).collect()))
}

/// The inodes of sockets in state LISTEN on `port`, of the text of `/proc/net/tcp`.
fn listening_inodes(table: &str, port: u16) -> impl Iterator<Item = String> {
    table.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace();
        let (local, state) = (fields.nth(1)?, fields.nth(1)?);
        let local = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
        (state == "0A" && local == port).then(|| fields.nth(5).map(str::to_owned)).flatten()
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// 2: whoever holds a port is found by what listens, not by what is connected.
    #[test]
    fn the_process_that_listens_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (pid, name) = listening_process(port).unwrap();
        assert!(pid == std::process::id() && !name.is_empty());
        drop(listener);
        assert_eq!(listening_process(port), None);
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   0: 0100007F:21C4 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4242 1 x\n   1: 0100007F:21C4 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4243 1 x\n";
        assert_eq!(listening_inodes(table, 0x21C4).collect::<Vec<_>>(), ["4242"]);
    }

    /// 2: a trial takes nothing and sees two settings that cannot both be had.
    #[test]
    fn a_trial_takes_nothing() {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = free();
        let mut trial = Trial::default();
        trial.address(address).unwrap();
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody can connect");
        let any = std::net::SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, address.port()));
        assert_eq!(trial.address(any).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let held = TcpListener::bind(address).unwrap();
        assert_eq!(Trial::default().address(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(held);
    }
}
