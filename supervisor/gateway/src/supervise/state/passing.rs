//! A worker's state as it passes from the program that its supervisor is to the one that it becomes.

use super::super::policy::{self, At, Patience};
use super::{Child, Exclusive, Phase, State};
use crate::generation::Generation;
use crate::handover::Told;

/// A process as it passes from one program to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resumed {
    pub(crate) generation: Generation,
    pub(crate) pid: u32,
    pub(crate) told: Told,
    /// It has platforms whose connection must never stand twice.
    pub(crate) exclusive: bool,
    /// And they may be connected.
    pub(crate) connected: bool,
    pub(crate) degraded: bool,
}

impl State {
    /// A worker that goes on with these processes, which another program had started. The first number is the newest generation that was
    /// started, the next how often it was replaced unplanned.
    pub(crate) fn resumed(
        self,
        (started, restarts, last_exit): (Generation, u64, Option<String>),
        processes: &[Resumed],
        now: At,
    ) -> Self {
        let limits = self.limits;
        let child = |process: &Resumed| {
            let (phase, patience) = match process.told {
                Told::Serve => (Phase::Serving, limits.stuck),
                Told::StopAccepting => (Phase::StopAccepting, policy::ACCEPT_GRACE),
                Told::Finish => (Phase::Draining, limits.drain + policy::DRAIN_SLACK),
                Told::End => (Phase::Terminating, policy::TERM_GRACE),
            };
            Child {
                generation: process.generation,
                pid: Some(process.pid),
                phase,
                patience: Some(Patience::new(patience, now)),
                exclusive: match (process.exclusive, process.connected) {
                    (false, _) => Exclusive::Nothing,
                    (true, false) => Exclusive::Closed,
                    (true, true) => Exclusive::Open,
                },
                spawned: now,
                ready: Some(now),
                degraded: process.degraded,
                sleeps: false,
                rests: false,
                blame: None,
                report: None,
                refused: false,
                lost: false,
                words: None,
            }
        };
        let (serving, finishing): (Vec<&Resumed>, Vec<&Resumed>) =
            processes.iter().partition(|process| process.told == Told::Serve);
        Self {
            current: serving.first().copied().map(child),
            retiring: finishing.into_iter().map(child).collect(),
            started,
            restarts,
            last_exit,
            ..self
        }
    }

    /// The processes that another program can go on with, as [`Self::resumed`] takes them.
    pub(crate) fn passing(&self) -> Vec<Resumed> {
        let told = |phase: Phase| match phase {
            Phase::Serving => Some(Told::Serve),
            Phase::StopAccepting => Some(Told::StopAccepting),
            Phase::Draining => Some(Told::Finish),
            Phase::Refused | Phase::Terminating | Phase::Killing => Some(Told::End),
            Phase::Spawned | Phase::Reported | Phase::Admitted | Phase::Standby => None,
        };
        let processes = self.current.iter().chain(&self.retiring).filter(|child| child.has_served());
        let resumed = |child: &Child| {
            Some(Resumed {
                generation: child.generation,
                pid: child.pid?,
                told: told(child.phase)?,
                exclusive: child.exclusive != Exclusive::Nothing,
                connected: child.may_be_connected(),
                degraded: child.degraded,
            })
        };
        processes.filter_map(resumed).collect()
    }
}
