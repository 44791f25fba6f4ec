//! How an actor comes to be: for a profile whose worker is to be started, or with the processes of a worker that runs.

use std::collections::HashMap;
use std::sync::Arc;

use hermes_host::clock;
use hermes_wire::latest::Upkeep;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::super::state::{self, State};
use super::history::Asked;
use super::passed::Passed;
use super::shared::{Command, Common, Handle, WorkerSpec};
use super::standing::Standing;
use super::{Actor, INPUTS, Input};
use crate::proxy::Route;

/// Starts an actor; its worker starts with the first [`Event::Start`](super::Event::Start).
pub(crate) fn start(spec: WorkerSpec, common: &Arc<Common>) -> Handle {
    let (actor, queues) = Actor::new(spec, common);
    actor.begin(queues)
}

/// Starts an actor for a worker that the program which this process was before had started. Nothing of it is read before the caller
/// waits for something.
pub(crate) fn resume(spec: WorkerSpec, passed: Passed, common: &Arc<Common>) -> std::io::Result<Handle> {
    let (mut actor, queues) = Actor::new(spec, common);
    actor.go_on_with(passed)?;
    Ok(actor.begin(queues))
}

/// Where an actor hears what it is told, and what happens.
struct Queues {
    commands: mpsc::Sender<Box<Command>>,
    told: mpsc::Receiver<Box<Command>>,
    happens: mpsc::Receiver<Input>,
}

impl Actor {
    fn new(spec: WorkerSpec, common: &Arc<Common>) -> (Self, Queues) {
        let route = Route::new(spec.name.clone(), common.runtime.path_of(&spec.socket));
        let (commands, told) = mpsc::channel(INPUTS);
        let (inputs, happens) = mpsc::channel(INPUTS);
        let limits = common.terms().limits;
        let bytes = common.claim_key.iter().zip(spec.name.as_str().bytes().cycle());
        let seed = bytes
            .fold(0u64, |seed, (key, byte)| seed.rotate_left(7) ^ u64::from(*key) ^ (u64::from(byte) << 32));
        let actor = Self {
            route,
            listener: None,
            links: HashMap::new(),
            inputs,
            waiters: Vec::new(),
            since: clock::system(),
            standing: Standing::default(),
            takeover: None,
            problems: Vec::new(),
            why_at: clock::system(),
            asked: Asked::default(),
            publisher: None,
            upkeep: Upkeep::default(),
            awake: None,
            stamp: String::new(),
            bell: None,
            restless: false,
            group: None,
            unkept: None,
            state: State::new(spec.desired_running, limits, seed),
            spec,
            common: Arc::clone(common),
            seed,
            hand: CancellationToken::new(),
            handing: None,
        };
        (actor, Queues { commands, told, happens })
    }

    fn begin(mut self, queues: Queues) -> Handle {
        let Queues { commands, told, happens } = queues;
        // Requests may come before it is told anything.
        if self.state.availability(self.now()) == state::Availability::Hold && self.listening().is_ok() {
            self.set_route();
        }
        let route = Arc::clone(&self.route);
        self.common.road.open(Arc::clone(&route));
        let (publisher, view) = watch::channel(self.view());
        self.publisher = Some(publisher);
        let handle =
            Handle { name: self.spec.name.clone(), home: self.spec.home.clone(), route, commands, view };
        let span = tracing::info_span!("worker", profile = %handle.name);
        let tracker = self.common.tracker.clone();
        tracker.spawn(self.run(told, happens).instrument(span));
        handle
    }
}
