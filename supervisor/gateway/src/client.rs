//! Asks the supervisor: one request a connection over `supervisor.sock`, without a runtime.
//!
//! The socket is looked for in the runtime directory that `gateway.pid` names, because a service and a shell rarely have the same
//! environment, then where this command's environment would put it. A socket is only believed when its peer runs as this user or
//! as root and is, where the record tells, the very process that holds the lock. Nobody is waited for without a limit.

use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_host::clock;
use hermes_host::refusal::Io;
use hermes_wire::codec::CodecError;
use hermes_wire::contract::gateway_status::{Gateway, GatewayStatus, Profile, SCHEMA};
use hermes_wire::contract::pid_record::PidRecord;
use hermes_wire::frame;
use hermes_wire::handshake::{ANSWER_HEAD, Answer, HandshakeError, Offer};
use hermes_wire::latest::{ClientReply, ClientRequest, Message as _};
use hermes_wire::version::{self, Version};
use hermes_wire::{ProfileName, RootHome};
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::local_socket::{Stream, traits::Stream as _};
use interprocess::os::unix::uds_local_socket;
use socket2::{Domain, Socket, Type};

use crate::instance;
use crate::place::Elsewhere;
use crate::runtime::{self, SocketPlaces};

/// Time for the handshake and for a status.
const SHORT: Duration = Duration::from_secs(5);

/// Why the supervisor could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket, or nobody listens on it.
    #[error("nobody answers on `{path}`")]
    NobodyThere {
        /// The socket.
        path: Utf8PathBuf,
    },
    /// Another user's process.
    #[error("`{path}` belongs to user {uid}")]
    Stranger {
        /// The socket.
        path: Utf8PathBuf,
        /// Who listens there.
        uid: u32,
    },
    /// A process that is not the gateway.
    #[error("process {pid} listens on `{path}`, and the gateway is process {gateway}")]
    Impostor {
        /// The socket.
        path: Utf8PathBuf,
        /// Who listens there.
        pid: u32,
        /// Who holds the lock.
        gateway: u32,
    },
    /// It runs where its process cannot be seen from here.
    #[error("this home is served by {0}")]
    Elsewhere(Elsewhere),
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] Io),
    /// No answer in time.
    #[error("the gateway did not answer within {} seconds", .after.as_secs())]
    Timeout {
        /// The limit.
        after: Duration,
    },
    /// Not a hermes process, or one of a release too far away.
    #[error("the gateway does not understand this command")]
    Handshake(#[source] HandshakeError),
    /// A malformed frame.
    #[error("the gateway's answer cannot be read")]
    Codec(#[source] CodecError),
    /// A frame beyond the limit.
    #[error("the gateway's answer is too large")]
    TooLarge,
    /// Status that is not the JSON it should be.
    #[error("the gateway's status cannot be read")]
    Json(#[source] serde_json::Error),
    /// It said no.
    #[error("the gateway refused: {message}")]
    Refused {
        /// Exit code.
        code: u8,
        /// What and why.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
    /// It is of a release that has no such request.
    #[error("the gateway is older than this command")]
    TooOld,
    /// The connection ended before the final frame.
    #[error("the gateway closed the connection before it had answered")]
    CutShort,
}

impl ClientError {
    /// The next step where the lock of the gateway at `home` is held, so that somebody runs.
    pub fn hint_while_running(&self, root: &RootHome) -> String {
        match self {
            Self::NobodyThere { .. } => format!(
                "it may be starting, or its directory of sockets was lost and is being made again: try again in a few seconds; its log is {}, and `hermes gateway run --replace` takes over",
                root.supervisor_log()
            ),
            _ => self.hint(),
        }
    }

    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            Self::Elsewhere(gateway) => return gateway.hint(),
            Self::NobodyThere { .. } => "start it with `hermes gateway run`",
            Self::Stranger { .. } => "run this command as the user who runs the gateway",
            Self::Impostor { .. } => "end that process; nothing was sent to it",
            Self::Timeout { .. } | Self::Io(_) | Self::CutShort => {
                "`hermes status` shows what is known; the gateway's log is logs/supervisor.log in the root home"
            }
            Self::Refused { .. } => "`hermes status` shows what the gateway serves",
            Self::Handshake(_) | Self::Codec(_) | Self::TooOld | Self::TooLarge | Self::Json(_) => {
                "restart the gateway so that both are of one release"
            }
        }
        .to_owned()
    }
}

/// How the supervisor answered a request that changes something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out.
    Done(String),
    /// Not carried out.
    Refused {
        /// Exit code.
        code: u8,
        /// What and why.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
}

/// A connection to a worker, by the data socket that a gateway's [status](Client::status) named. A worker that sleeps is woken; one
/// that is being replaced takes it when it is there.
pub fn data(socket: &Utf8Path) -> Result<UnixStream, ClientError> {
    connected(socket).map(UnixStream::from)
}

fn connected(path: &Utf8Path) -> Result<OwnedFd, ClientError> {
    let connected = || {
        let (address, _directory) = runtime::address(path)?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // One that does not accept, with a full backlog, is not waited for either.
        socket.set_write_timeout(Some(SHORT))?;
        socket.connect(&address)?;
        Ok(OwnedFd::from(socket))
    };
    connected().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NobodyThere { path: path.to_owned() }
        }
        _ => Io::at("connect to", path)(source).into(),
    })
}

/// A profile is out of service for as long as this lives.
#[derive(Debug)]
pub struct Hold(#[expect(dead_code, reason = "its end is what it is for")] Client);

/// An open connection, the handshake done.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    path: Utf8PathBuf,
    /// Whose gateway it may be besides this user's.
    owner: Option<u32>,
    /// What the gateway speaks: one that runs may be older than this program.
    version: Version,
}

impl Client {
    /// Connects to the gateway whose instance home is `home`.
    pub fn connect(home: &Utf8Path, places: &SocketPlaces) -> Result<Self, ClientError> {
        // Its socket may well be in the home. It answers nobody whose process it cannot see, nor would its numbers mean anything here.
        if let Some(gateway) = instance::elsewhere(home) {
            return Err(ClientError::Elsewhere(gateway));
        }
        let recorded = || instance::record(home).filter(instance::is_alive);
        let record = recorded();
        let recorded_dir = record.iter().filter_map(|record| record.runtime_dir.clone());
        let usual = places.of(home).into_iter().map(|dir| dir.path().to_owned());
        // Root may deal with everybody; whose gateway it is, is said by the home.
        let owner = fs_err::metadata(home).ok().map(|found| std::os::unix::fs::MetadataExt::uid(&found));
        let owner = owner.filter(|_| nix::unistd::geteuid().is_root());
        let mut first = None;
        for dir in recorded_dir.chain(usual) {
            let socket = dir.join(hermes_wire::endpoint::SUPERVISOR_SOCKET);
            let client = match Self::dial(&socket, owner) {
                Ok(client) => client,
                Err(error @ ClientError::NobodyThere { .. }) => {
                    first.get_or_insert(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            // One gateway may just have followed another.
            if client.check_holder(record.as_ref()).is_err() {
                client.check_holder(recorded().as_ref())?;
            }
            return client.greeted();
        }
        Err(first.unwrap_or_else(|| ClientError::NobodyThere { path: home.to_owned() }))
    }

    /// Connects to a socket and shakes hands.
    pub fn open(path: &Utf8Path) -> Result<Self, ClientError> {
        Self::dial(path, None)?.greeted()
    }

    /// A connection to somebody who is of this user, or is `owner`; nothing is said yet.
    fn dial(path: &Utf8Path, owner: Option<u32>) -> Result<Self, ClientError> {
        let stream = Stream::UdSocket(uds_local_socket::Stream::from(connected(path)?));
        let client = Self { stream, path: path.to_owned(), owner, version: version::NEWEST };
        client.check_peer(owner)?;
        Ok(client)
    }

    /// A gateway that becomes another program, or ends, cuts off who has not asked yet: whoever listens there then is greeted.
    fn greeted(mut self) -> Result<Self, ClientError> {
        match self.handshake(clock::now() + SHORT) {
            Err(ClientError::CutShort) => {
                let mut next = self.again()?;
                next.handshake(clock::now() + SHORT)?;
                Ok(next)
            }
            greeted => greeted.map(|()| self),
        }
    }

    /// Another connection to the same socket.
    fn again(&self) -> Result<Self, ClientError> {
        Self::dial(&self.path, self.owner)
    }

    /// The socket.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Status of everything, or with `only` of the gateway and that profile. Profiles come in the supervisor's order.
    pub fn status(mut self, only: Option<&ProfileName>) -> Result<GatewayStatus, ClientError> {
        match self.status_once(only) {
            // Nothing is lost by asking twice; see [`Self::greeted`].
            Err(ClientError::CutShort) => self.again()?.greeted()?.status_once(only),
            told => told,
        }
    }

    fn status_once(&mut self, only: Option<&ProfileName>) -> Result<GatewayStatus, ClientError> {
        let deadline = clock::now() + SHORT;
        self.send(&ClientRequest::Status { profile: only.cloned() }, deadline)?;
        let mut gateway: Option<Gateway> = None;
        let mut profiles: Vec<Profile> = Vec::new();
        loop {
            match self.reply(deadline, SHORT)? {
                ClientReply::Gateway(json) => {
                    gateway = Some(serde_json::from_str(&json).map_err(ClientError::Json)?);
                }
                ClientReply::Profile(json) => {
                    profiles.push(serde_json::from_str(&json).map_err(ClientError::Json)?);
                }
                ClientReply::Progress(_) => {}
                ClientReply::Done(_) => {
                    let gateway = gateway.ok_or(ClientError::CutShort)?;
                    return Ok(GatewayStatus { schema: SCHEMA, gateway, profiles });
                }
                ClientReply::Refused { code, message, hint } => {
                    return Err(ClientError::Refused { code, message, hint });
                }
            }
        }
    }

    /// Asks for a change and waits until it came about. `progress` gets the lines for people.
    pub fn ask(
        mut self,
        request: &ClientRequest,
        limit: Duration,
        mut progress: impl FnMut(&str),
    ) -> Result<Outcome, ClientError> {
        let deadline = clock::now() + limit;
        self.send(request, deadline)?;
        loop {
            match self.reply(deadline, limit)? {
                ClientReply::Progress(line) => progress(&line),
                ClientReply::Gateway(_) | ClientReply::Profile(_) => {}
                ClientReply::Done(line) => return Ok(Outcome::Done(line)),
                ClientReply::Refused { code, message, hint } => {
                    return Ok(Outcome::Refused { code, message, hint });
                }
            }
        }
    }

    /// Asks for something that holds for as long as the connection is open; returns when it came about.
    pub fn hold(mut self, request: &ClientRequest, limit: Duration) -> Result<Hold, ClientError> {
        let deadline = clock::now() + limit;
        self.send(request, deadline)?;
        loop {
            match self.reply(deadline, limit)? {
                ClientReply::Progress(_) => return Ok(Hold(self)),
                ClientReply::Refused { code, message, hint } => {
                    return Err(ClientError::Refused { code, message, hint });
                }
                ClientReply::Gateway(_) | ClientReply::Profile(_) | ClientReply::Done(_) => {}
            }
        }
    }

    fn check_peer(&self, owner: Option<u32>) -> Result<(), ClientError> {
        let peer = self.stream.peer_creds().map_err(|e| self.io("look at the peer of", e))?;
        match peer.euid() {
            Some(uid) if uid != 0 && uid != nix::unistd::geteuid().as_raw() && Some(uid) != owner => {
                Err(ClientError::Stranger { path: self.path.clone(), uid })
            }
            _ => Ok(()),
        }
    }

    /// Whether the peer is the process that a record names. A record without the time of its process's start may be about another
    /// one, and a peer of another process namespace has no number here.
    fn check_holder(&self, record: Option<&PidRecord>) -> Result<(), ClientError> {
        let Some(record) = record.filter(|record| record.start_time.is_some()) else { return Ok(()) };
        let peer = self.stream.peer_creds().map_err(|e| self.io("look at the peer of", e))?;
        match peer.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0) {
            Some(pid) if cfg!(target_os = "linux") && pid != record.pid => {
                Err(ClientError::Impostor { path: self.path.clone(), pid, gateway: record.pid })
            }
            _ => Ok(()),
        }
    }

    fn handshake(&mut self, deadline: Instant) -> Result<(), ClientError> {
        self.write(&Offer::ours().encode(), deadline)?;
        let mut bytes = vec![0; ANSWER_HEAD];
        self.read(&mut bytes, deadline, SHORT)?;
        let text = Answer::text_len(&bytes).map_err(ClientError::Handshake)?;
        bytes.resize(ANSWER_HEAD + text, 0);
        self.read(&mut bytes[ANSWER_HEAD..], deadline, SHORT)?;
        let answer = Answer::decode(&bytes).map_err(ClientError::Handshake)?;
        self.version = answer.into_version().map_err(ClientError::Handshake)?;
        Ok(())
    }

    fn send(&mut self, request: &ClientRequest, deadline: Instant) -> Result<(), ClientError> {
        let payload = request.encode(self.version).map_err(ClientError::Codec)?.ok_or(ClientError::TooOld)?;
        let head = frame::head(payload.len()).ok_or(ClientError::TooLarge)?;
        self.write(&[&head, payload.as_slice()].concat(), deadline)
    }

    fn reply(&mut self, deadline: Instant, limit: Duration) -> Result<ClientReply, ClientError> {
        let mut head = [0; 4];
        self.read(&mut head, deadline, limit)?;
        let len = frame::payload_len(head).ok_or(ClientError::TooLarge)?;
        let mut payload = vec![0; len];
        self.read(&mut payload, deadline, limit)?;
        ClientReply::decode(self.version, &payload).map_err(ClientError::Codec)
    }

    fn write(&mut self, bytes: &[u8], deadline: Instant) -> Result<(), ClientError> {
        let left = remaining(deadline).ok_or(ClientError::Timeout { after: SHORT })?;
        self.stream.set_send_timeout(Some(left)).and_then(|()| self.stream.write_all(bytes)).map_err(
            |source| match source.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::CutShort,
                _ => self.io("write to", source),
            },
        )
    }

    fn read(&mut self, mut into: &mut [u8], deadline: Instant, limit: Duration) -> Result<(), ClientError> {
        while !into.is_empty() {
            let left = remaining(deadline).ok_or(ClientError::Timeout { after: limit })?;
            self.stream.set_recv_timeout(Some(left)).map_err(|e| self.io("read from", e))?;
            match self.stream.read(into) {
                Ok(0) => return Err(ClientError::CutShort),
                Ok(n) => into = &mut into[n..],
                Err(e) => match e.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        return Err(ClientError::Timeout { after: limit });
                    }
                    io::ErrorKind::ConnectionReset => return Err(ClientError::CutShort),
                    _ => return Err(self.io("read from", e)),
                },
            }
        }
        Ok(())
    }

    fn io(&self, doing: &'static str, source: io::Error) -> ClientError {
        Io::at(doing, self.path.clone())(source).into()
    }
}

fn remaining(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(clock::now());
    (!left.is_zero()).then_some(left)
}

#[cfg(test)]
#[path = "client/tests.rs"]
mod tests;
