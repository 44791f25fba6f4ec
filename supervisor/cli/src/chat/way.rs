//! Who answers for a profile: the worker of a gateway that serves it, else one of this command's own.
//!
//! A worker of one's own is this same program again, with the environment of every worker. It has no address: its standard input is a line
//! over which it is handed connections, and when that ends it ends. It leads a process group, so that Ctrl-C at the terminal is this
//! command's alone.
//!
//! [`Link`] is the way of a command that asks more than once: a worker of its own stays for as long as the command does, with what it was
//! allowed and what it has started, unless a gateway begins to serve the profile.

use std::io::Read as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_gateway::client::{self, Client, ClientError};
use hermes_host::{child, clock, passing, wait};
use hermes_wire::contract::gateway_status::{Profile, state};
use hermes_wire::env;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::ChatError;
use crate::home::{Selection, Surroundings};

/// Time that a worker of one's own has to end behind its connection.
const GRACE: Duration = Duration::from_secs(6);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Most that is shown of what a worker prints that does not start, in bytes.
const SAID: u64 = 4096;

/// See the module.
pub(crate) struct Way<'a> {
    selection: &'a Selection,
    env: &'a Surroundings,
    kind: Kind,
}

enum Kind {
    /// Of a gateway, at this socket.
    Served(Utf8PathBuf),
    /// Of this command, with the line over which it is handed connections.
    Own(Box<Child>, UnixStream),
}

/// See the module.
pub(crate) struct Link<'a> {
    selection: &'a Selection,
    env: &'a Surroundings,
    /// A worker of the command's own that nobody asks now.
    own: Option<Way<'a>>,
}

impl<'a> Link<'a> {
    pub(crate) fn new(selection: &'a Selection, env: &'a Surroundings) -> Self {
        Self { selection, env, own: None }
    }

    pub(crate) fn selection(&self) -> &'a Selection {
        self.selection
    }

    /// The way to whoever answers now. `own`: a worker of the command's own in any case.
    pub(crate) fn way(&mut self, own: bool) -> Result<Way<'a>, ChatError> {
        if let Some(mut kept) = self.own.take() {
            if kept.is_alive() && (own || served(self.selection, self.env)?.is_none()) {
                return Ok(kept);
            }
            kept.end();
        }
        Way::to(self.selection, self.env, own)
    }

    /// Nobody asks there any more, for now.
    pub(crate) fn keep(&mut self, way: Way<'a>) {
        if !way.is_served() {
            self.own = Some(way);
        }
    }

    /// Nothing more is asked.
    pub(crate) fn end(self) {
        if let Some(own) = self.own {
            own.end();
        }
    }
}

impl<'a> Way<'a> {
    /// Looks for it, or starts one. `own`: one of the command's own in any case.
    pub(crate) fn to(selection: &'a Selection, env: &'a Surroundings, own: bool) -> Result<Self, ChatError> {
        let kind = match served(selection, env)?.filter(|_| !own).and_then(|profile| profile.data_socket) {
            Some(socket) => Kind::Served(socket.into()),
            None => start(selection, env)?,
        };
        Ok(Self { selection, env, kind })
    }

    /// The worker of a gateway.
    pub(crate) fn to_served(selection: &'a Selection, env: &'a Surroundings) -> Result<Self, ChatError> {
        let way = Self::if_served(selection, env)?;
        way.ok_or_else(|| ChatError::NotServed { profile: selection.profile.clone() })
    }

    /// The same, where a gateway serves the profile.
    pub(crate) fn if_served(
        selection: &'a Selection,
        env: &'a Surroundings,
    ) -> Result<Option<Self>, ChatError> {
        let socket = served(selection, env)?.and_then(|profile| profile.data_socket);
        Ok(socket.map(|socket| Self { selection, env, kind: Kind::Served(socket.into()) }))
    }

    /// Whether it is a gateway's.
    pub(crate) fn is_served(&self) -> bool {
        matches!(self.kind, Kind::Served(_))
    }

    /// Whether a worker of the command's own has not ended.
    fn is_alive(&mut self) -> bool {
        match &mut self.kind {
            Kind::Served(_) => true,
            Kind::Own(child, _) => matches!(child.try_wait(), Ok(None)),
        }
    }

    /// A connection.
    pub(crate) fn connect(&mut self) -> Result<UnixStream, ClientError> {
        match &mut self.kind {
            Kind::Served(socket) => client::data(socket),
            Kind::Own(_, line) => {
                let passed = UnixStream::pair().and_then(|(ours, theirs)| {
                    passing::send(line.as_fd(), Some(theirs.as_fd()))?;
                    Ok(ours)
                });
                let path = || Utf8PathBuf::from("a worker of this command");
                passed.map_err(|_gone| ClientError::NobodyThere { path: path() })
            }
        }
    }

    /// Nothing was heard for a while: an error where nothing will be.
    pub(crate) fn check(&mut self) -> Result<(), ChatError> {
        if !self.is_served() {
            // Its end is the end of its connections.
            return Ok(());
        }
        let (profile, env) = (&self.selection.profile, self.env);
        let why = match ask(self.selection, env) {
            Ok(Some(profile)) if is_serving(&profile) => return Ok(()),
            Ok(Some(profile)) => match profile.reason {
                Some(reason) => format!("it is {}: {reason}", profile.state),
                None => format!("it is {}", profile.state),
            },
            Ok(None) => "no gateway serves it any more".to_owned(),
            // Whoever cannot be asked now may be a moment later.
            Err(_) => return Ok(()),
        };
        Err(ChatError::Silent { profile: profile.clone(), why })
    }

    /// How a worker of one's own ended, behind a connection that did.
    pub(crate) fn gone(self) -> Option<Gone> {
        let Kind::Own(mut child, line) = self.kind else { return None };
        // One that lives, and does not answer, has no more to wait for.
        drop(line);
        let status = ended(&mut child);
        let mut said = String::new();
        if let Some(errors) = child.stderr.take() {
            let _ = errors.take(SAID).read_to_string(&mut said);
        }
        Some(Gone { code: status, said: said.trim().to_owned() })
    }

    /// It is not needed any more. One of the command's own writes what is left to write, and ends.
    pub(crate) fn end(self) {
        if let Kind::Own(mut child, line) = self.kind {
            drop(line);
            ended(&mut child);
        }
    }
}

/// How a worker of one's own ended.
#[derive(Debug)]
pub(crate) struct Gone {
    /// Its exit code; `None` after a signal.
    code: Option<i32>,
    said: String,
}

impl Gone {
    /// Whether another one would end in the same way: it ended by itself, and not because it is to be started again.
    pub(crate) fn is_final(&self) -> bool {
        self.code.is_some_and(|code| code != i32::from(hermes_wire::exit::RESTART))
    }

    pub(crate) fn into_error(self, selection: &Selection) -> ChatError {
        let said = Some(self.said).filter(|said| !said.is_empty());
        ChatError::Ended { profile: selection.profile.clone(), said, log: log(selection) }
    }
}

/// Workers were lost again and again.
pub(crate) fn lost(selection: &Selection, times: u32) -> ChatError {
    ChatError::Lost { profile: selection.profile.clone(), times, log: log(selection) }
}

fn log(selection: &Selection) -> Utf8PathBuf {
    selection.home().path().join("logs/gateway.log")
}

/// Waits for the end of a worker whose line has ended; then it is killed, with everything that it started. Its exit code.
fn ended(child: &mut Child) -> Option<i32> {
    let until = clock::now() + GRACE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.code(),
            Ok(None) if clock::now() < until => wait::pause(LOOK),
            _ => break,
        }
    }
    if let Ok(pid) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    child.wait().ok().and_then(|status| status.code())
}

/// Starts a worker for this command alone.
fn start(selection: &Selection, surroundings: &Surroundings) -> Result<Kind, ChatError> {
    let failed = |source| ChatError::NotStarted { profile: selection.profile.clone(), source };
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let mut command = child::own();
    command.arg0("hermes").args(["worker", "--terminal", "-p", selection.profile.as_str()]);
    for (name, value) in surroundings.passed.iter() {
        command.env(name, value);
    }
    command
        .env(env::HERMES_HOME, selection.root.path())
        .env(env::MANAGED_DIR, &surroundings.managed_dir)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().map_err(failed)?;
    Ok(Kind::Own(Box::new(child), ours))
}

/// The profile as a gateway that serves it shows it.
fn served(selection: &Selection, env: &Surroundings) -> Result<Option<Profile>, ChatError> {
    let found = ask(selection, env);
    let found = found.map_err(|source| ChatError::Gateway { profile: selection.profile.clone(), source })?;
    Ok(found.filter(is_serving))
}

/// Whether requests reach its worker, now or in a moment.
fn is_serving(profile: &Profile) -> bool {
    let there =
        [state::READY, state::DEGRADED, state::SLEEPING, state::STARTING, state::DRAINING, state::BACKOFF];
    there.contains(&profile.state.as_str()) && profile.desired != state::STOPPED
}

/// What a gateway says of the profile: its own where it has one, else the root home's.
fn ask(selection: &Selection, env: &Surroundings) -> Result<Option<Profile>, ClientError> {
    let (own, root) = (selection.home(), selection.root.path());
    let mut homes: Vec<&Utf8Path> = vec![own.path(), root];
    homes.dedup();
    for home in homes {
        let client = match Client::connect(home, &env.sockets) {
            Ok(client) => client,
            Err(ClientError::NobodyThere { .. } | ClientError::Elsewhere(_)) => continue,
            Err(error) => return Err(error),
        };
        let status = client.status(None)?;
        let mine = status.profiles.into_iter().find(|profile| profile.name == selection.profile.as_str());
        if let Some(mine) = mine.filter(is_serving) {
            return Ok(Some(mine));
        }
    }
    Ok(None)
}
