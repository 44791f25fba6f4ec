//! Starts a process of a worker and takes its end of the line.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use hermes_wire::latest::{HandOver, Heartbeat, Prepare, Report, Role, ToWorker, Upkeep};
use nix::unistd::Pid;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::Instrument as _;

use super::super::state::Event;
use super::keep::{Process, keep};
use super::outgoing::Outgoing;
use super::view::Condition;
use super::{Actor, Input};
use crate::generation::Generation;
use crate::link::Opening;
use crate::runtime::Listening;

/// One process's end of the line.
pub(super) struct Link {
    pub(super) pid: Pid,
    /// When its report came: then it had read its files.
    pub(super) reported: Option<SystemTime>,
    /// What it wants to hand over, of which platform to whom.
    pub(super) hand_over: Vec<HandOver>,
    /// The platforms that its report names as exclusive.
    pub(super) exclusive: Vec<String>,
    /// All of its report, for the program that this one may become.
    pub(super) report: Option<Box<Report>>,
    pub(super) beat: Option<(Instant, Heartbeat)>,
    /// What it said it is not able to do.
    pub(super) condition: Condition,
    pub(super) outgoing: Outgoing,
    /// What it hands over and delivers ends with it.
    pub(super) _road: DropGuard,
}

impl Actor {
    /// Waits for a turn to start a process.
    pub(super) fn queue(&self, generation: Generation) {
        let (gate, inputs) = (Arc::clone(&self.common.gate), self.inputs.clone());
        self.common.tracker.spawn(async move {
            if let Ok(permit) = gate.acquire_owned().await {
                let _ = inputs.send(Input::Permit { generation, permit }).await;
            }
        });
    }

    pub(super) fn spawn(&mut self, generation: Generation, permit: OwnedSemaphorePermit) -> Event {
        match self.try_spawn(generation, permit) {
            Ok(pid) => Event::Spawned { generation, pid: u32::try_from(pid.as_raw()).unwrap_or_default() },
            Err(error) => {
                tracing::warn!(%generation, %error, "the worker process cannot be started");
                self.gone(generation);
                Event::SpawnFailed { generation, reason: error.to_string() }
            }
        }
    }

    /// Its data socket. Made once: whoever tidied the runtime directory away took its name, not the socket.
    pub(super) fn listening(&mut self) -> std::io::Result<&Listening> {
        match &mut self.listener {
            Some(data) => Ok(data),
            none => {
                let data = self.common.runtime.listen(&self.spec.socket)?;
                self.route.hold(data.door.clone());
                Ok(none.insert(data))
            }
        }
    }

    fn try_spawn(&mut self, generation: Generation, permit: OwnedSemaphorePermit) -> std::io::Result<Pid> {
        let data = Arc::clone(&self.listening()?.listener);
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = tokio::net::UnixStream::from_std(ours)?;
        let (road, their_road) = UnixStream::pair()?;
        road.set_nonblocking(true)?;
        let (environment, prepare) = {
            let terms = self.common.terms();
            let prepare = Prepare {
                claim_key: self.common.claim_key,
                generation: generation.get(),
                role: self.spec.role,
                multiplex: terms.multiplex,
                listeners: terms.listeners.clone(),
                supervisor_pid: std::process::id(),
                restarts: self.state.restarts(),
                heartbeat_ms: terms.heartbeat_ms,
                upkeep: if self.spec.role == Role::Primary { Upkeep::default() } else { terms.upkeep },
                stamp: self.stamp.clone(),
            };
            (terms.environment.for_worker(&self.spec.name, &self.spec.home), prepare)
        };
        let pid = self.common.spawner.spawn(
            &self.spec.name,
            &environment,
            data.as_fd(),
            theirs.as_fd(),
            their_road.as_fd(),
        )?;
        let exited = self.common.children.register(pid);
        let (mut outgoing, messages) = Outgoing::new();
        let gone = CancellationToken::new();
        outgoing.send(ToWorker::Prepare(prepare)).expect("the queue is new and empty");
        self.links.insert(
            generation,
            Link {
                pid,
                reported: None,
                hand_over: Vec::new(),
                exclusive: Vec::new(),
                report: None,
                beat: None,
                condition: Condition::default(),
                outgoing,
                _road: gone.clone().drop_guard(),
            },
        );
        let (home, memory) = (self.spec.home.clone(), Arc::clone(&self.common.memory));
        let (opening, hand) = (Opening::New(ours), self.hand.clone());
        let process = Process { opening, hand, generation, pid, home, exited, permit: Some(permit), memory };
        let keeping = keep(process, messages, self.inputs.clone());
        self.common.tracker.spawn(keeping.in_current_span());
        self.keep_road(generation, Some(road), gone);
        Ok(pid)
    }
}
