//! A worker passes from the program that its supervisor is to the one that it becomes: its processes live on, and what is known of
//! them goes along.
//!
//! Going: every connection stops between two messages, and the actor ends when it has all of them. Only processes that serve or finish
//! pass; one that is on its way to serve, or stands by, is ended, and the next program starts another. Coming: the actor begins with the
//! processes that it is given, as if it had started them.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream as Blocking;
use std::sync::Arc;

use hermes_wire::latest::Role;
use nix::sys::signal::Signal;
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::super::state::{Event, Resumed, State};
use super::keep::{Process, keep};
use super::outgoing::Outgoing;
use super::passed::{Passed, PassedProcess};
use super::process::Link;
use super::{Actor, Input, rest};
use crate::generation::Generation;
use crate::handover::Told;
use crate::link::{Handed, Opening};
use crate::road;

/// An actor's connections that have stopped, until it has all of them.
pub(super) struct Handing {
    reply: oneshot::Sender<Option<Passed>>,
    controls: HashMap<Generation, Handed<UnixStream>>,
    roads: HashMap<Generation, Option<Blocking>>,
}

impl Handing {
    pub(super) fn control(&mut self, generation: Generation, control: Handed<UnixStream>) {
        self.controls.insert(generation, control);
    }

    pub(super) fn road(&mut self, generation: Generation, road: Option<Blocking>) {
        self.roads.insert(generation, road);
    }
}

impl Actor {
    /// Stops every connection; what is on its way to serve is ended.
    pub(super) fn begin_to_hand_over(&mut self, reply: oneshot::Sender<Option<Passed>>) {
        let passing: Vec<Generation> =
            self.state.passing().into_iter().map(|process| process.generation).collect();
        let others: Vec<Generation> =
            self.links.keys().copied().filter(|generation| !passing.contains(generation)).collect();
        for generation in others {
            if let Some(link) = self.links.remove(&generation) {
                self.common.children.signal(link.pid, Signal::SIGKILL);
            }
        }
        self.hand.cancel();
        self.handing = Some(Handing { reply, controls: HashMap::new(), roads: HashMap::new() });
    }

    /// Gives everything away, once it is there. True: the actor is over.
    pub(super) fn give_away(&mut self) -> bool {
        let has_all = |handing: &mut Handing| {
            let has = |generation| {
                handing.controls.contains_key(generation) && handing.roads.contains_key(generation)
            };
            self.links.keys().all(has)
        };
        let Some(Handing { reply, mut controls, mut roads }) =
            self.handing.take_if(|handing| has_all(handing))
        else {
            return false;
        };
        let Some(listening) = self.listener.take() else {
            // Nobody listens any more where the gateway ends.
            let _ = reply.send(None);
            return true;
        };
        let (mut serving, mut finishing) = (None, Vec::new());
        for process in self.state.passing() {
            let generation = process.generation;
            let (Some(link), Some(control)) = (self.links.remove(&generation), controls.remove(&generation))
            else {
                continue;
            };
            let Handed { stream, version, unread } = control;
            let Ok(stream) = stream.into_std() else { continue };
            let passed = PassedProcess {
                generation,
                pid: link.pid,
                control: Handed { stream, version, unread },
                road: roads.remove(&generation).flatten(),
                report: link.report.map(|report| *report).unwrap_or_default(),
                reported: link.reported,
                connected: process.connected,
                told: process.told,
                condition: link.condition,
            };
            match process.told {
                Told::Serve => serving = Some(passed),
                Told::StopAccepting | Told::Finish | Told::End => finishing.push(passed),
            }
        }
        let passed = Passed {
            profile: self.spec.name.clone(),
            listening,
            started: self.state.started(),
            restarts: self.state.restarts(),
            last_exit: self.state.last_exit().map(str::to_owned),
            serving,
            finishing,
        };
        let _ = reply.send(Some(passed));
        true
    }

    /// Goes on with processes that it did not start.
    pub(super) fn go_on_with(&mut self, passed: Passed) -> io::Result<()> {
        let Passed { listening, started, restarts, last_exit, serving, finishing, .. } = passed;
        let resumed: Vec<Resumed> = serving.iter().chain(&finishing).map(PassedProcess::resumed).collect();
        let (limits, now) = (self.common.terms().limits, self.now());
        let fresh = State::new(self.spec.desired_running, limits, self.seed);
        self.state = fresh.resumed((started, restarts, last_exit), &resumed, now);
        self.route.hold(listening.door.clone());
        self.listener = Some(listening);
        let own = serving.as_ref().map(|process| (process.generation, process.report.clone()));
        for process in serving.into_iter().chain(finishing) {
            self.take_up(process)?;
        }
        if let Some((generation, report)) = own {
            self.problems.clone_from(&report.problems);
            self.keep_as(&report);
            self.limit(generation, &report);
            if rest::stay(&report, self.spec.role == Role::Primary).sleeps {
                self.apply(Event::MaySleep { generation });
            }
        }
        self.set_route();
        Ok(())
    }

    fn take_up(&mut self, passed: PassedProcess) -> io::Result<()> {
        let PassedProcess { generation, pid, control, road, report, reported, condition, .. } = passed;
        let Handed { stream, version, unread } = control;
        let control = Handed { stream: UnixStream::from_std(stream)?, version, unread };
        let exited = self.common.children.register_passed(pid);
        let (outgoing, messages) = Outgoing::of_admitted();
        let gone = CancellationToken::new();
        let exclusive = report.exclusive.clone();
        let link = Link {
            pid,
            reported,
            hand_over: report.hand_over.clone(),
            exclusive: exclusive.clone(),
            report: Some(Box::new(report)),
            beat: None,
            condition,
            outgoing,
            _road: gone.clone().drop_guard(),
        };
        self.links.insert(generation, link);
        self.open_road(generation);
        let process = Process {
            opening: Opening::Again(control, exclusive),
            hand: self.hand.clone(),
            generation,
            pid,
            home: self.spec.home.clone(),
            exited,
            permit: None,
            memory: Arc::clone(&self.common.memory),
        };
        let keeping = keep(process, messages, self.inputs.clone());
        self.common.tracker.spawn(keeping.in_current_span());
        self.keep_road(generation, road, gone);
        Ok(())
    }

    /// Serves what a process sends to others, until it is gone or handed over.
    pub(super) fn keep_road(&self, generation: Generation, road: Option<Blocking>, gone: CancellationToken) {
        let sender = road::Sender { profile: self.spec.name.clone(), generation };
        let (ways, hand, inputs) = (Arc::clone(&self.common.road), self.hand.clone(), self.inputs.clone());
        let keeping = async move {
            let road = match road {
                Some(road) => ways.keep(sender, road, gone.clone(), hand.clone()).await,
                None => None,
            };
            // One that ended early is told of when it is asked for, as long as there is the process.
            if gone.run_until_cancelled(hand.cancelled()).await.is_some() {
                let _ = inputs.send(Input::Road { generation, road }).await;
            }
        };
        self.common.tracker.spawn(keeping.in_current_span());
    }
}
