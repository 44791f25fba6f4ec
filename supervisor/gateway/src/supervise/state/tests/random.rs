//! Random sequences of events, against a model that knows only which processes there are.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn any_event() -> impl Strategy<Value = (u8, u8, u16)> {
    (0u8..43, 0u8..4, 0u16..4000)
}

fn event_of(kind: u8, generation: Generation) -> Event {
    match kind {
        0 => Event::Start,
        1 => Event::Stop,
        2 => Event::Restart,
        3 => Event::FilesChanged,
        4 => Event::Detach,
        5 => Event::Spawned { generation, pid: 1 },
        6 => Event::SpawnFailed { generation, reason: "no".into() },
        7 => Event::Reported { generation, worst: None, exclusive: false },
        8 | 23 | 24 => Event::Reported { generation, worst: None, exclusive: true },
        9 | 10 | 25 => Event::Admitted { generation },
        11 => Event::Refused { generation, why: why("no") },
        12 | 13 | 26 => Event::Ready { generation },
        14 => Event::Heartbeat { generation, quiet: Duration::from_secs(15) },
        15 => Event::AcceptStopped { generation },
        16 => Event::LinkClosed { generation },
        17 => Event::Exited { generation, exit: Exit::Code(1) },
        18 => Event::Exited { generation, exit: Exit::Code(78) },
        19 => Event::Exited { generation, exit: Exit::Code(75) },
        20 => Event::Degraded { generation, why: Some("x".to_owned()) },
        21 => Event::Broke { generation, rule: "no".into() },
        22 => Event::Undecided { generation },
        27 | 28 => Event::Yielded { generation },
        29 => Event::Connected { generation },
        30 => Event::MaySleep { generation },
        31 | 32 => Event::Spared { generation, asleep: true },
        33 => Event::Spared { generation, asleep: false },
        34 | 35 => Event::Idle { generation },
        36 => Event::Exited { generation, exit: Exit::Code(0) },
        37 => Event::Begin,
        38 => Event::Doze,
        41 => Event::Unpark,
        39 | 40 => Event::Wake,
        _ => Event::Tick,
    }
}

/// Whether an event says that a process is gone, so that the model must forget it.
fn gone(event: &Event) -> Option<Generation> {
    match event {
        Event::Exited { generation, .. } | Event::SpawnFailed { generation, .. } => Some(*generation),
        _ => None,
    }
}

proptest! {
    /// Whatever happens in whatever order: one generation at most serves, one at most may be connected to exclusive platforms,
    /// every process is known and has somebody waiting for it, nothing is started that is not wanted, and a stop ends with
    /// nothing.
    #[test]
    fn any_order_of_events_keeps_the_promises(events in proptest::collection::vec(any_event(), 1..120)) {
        let mut d = Driven::new();
        let mut alive: BTreeSet<Generation> = BTreeSet::new();
        let mut newest = Generation::default();
        // Told to connect, or says it is connected; has neither said that it yielded since, nor died.
        let mut connected: BTreeSet<Generation> = BTreeSet::new();
        for (kind, back, wait) in events {
            d.now += ms(u64::from(wait));
            let generation = nth(newest.get().saturating_sub(u64::from(back)));
            let event = event_of(kind, generation);
            // A process that never was, or is gone, says nothing.
            let about_a_process = (5..=36).contains(&kind);
            let spawn_failed_late = kind == 6
                && d.state.children().any(|c| c.generation == generation && c.pid.is_some());
            if about_a_process && !alive.contains(&generation) || spawn_failed_late {
                continue;
            }
            if matches!(event, Event::Spared { .. }) && !d.state.may_be_spared(generation) {
                continue;
            }
            if let Some(gone) = gone(&event) {
                alive.remove(&gone);
                connected.remove(&gone);
            }
            if let Event::Yielded { generation } = event {
                connected.remove(&generation);
            }
            if let Event::Connected { generation } = event {
                connected.insert(generation);
            }
            for action in d.on(event) {
                if let Action::Connect { generation } = action {
                    prop_assert!(connected.is_empty(), "{generation} may connect while {connected:?} may be connected");
                    prop_assert!(alive.contains(&generation));
                    connected.insert(generation);
                }
                if let Action::Yield { generation, .. } = action {
                    prop_assert!(connected.contains(&generation), "who is not connected has nothing to yield");
                }
                if let Action::Spawn { generation } = action {
                    prop_assert!(generation > newest, "generations only grow");
                    newest = generation;
                    alive.insert(generation);
                    prop_assert!(d.state.wants_to_run(), "nothing unwanted is started");
                }
            }
            let known: BTreeSet<Generation> = d.state.children().map(|c| c.generation).collect();
            prop_assert_eq!(&known, &alive, "every process is known, and no other");
            prop_assert!(d.state.children().filter(|c| c.phase == Phase::Serving).count() <= 1);
            prop_assert!(d.state.next.as_ref().is_none_or(|c| c.phase != Phase::Serving));
            prop_assert!(
                d.state.children().all(|c| c.patience.is_some()),
                "14: somebody waits for every process, whatever it is doing"
            );
            let resting = matches!(d.state.observed(), "stopped" | "failed" | "detached" | "conflict" | "sleeping");
            prop_assert!(
                resting && d.state.children().count() == 0 || d.state.next_deadline(d.now).is_some(),
                "14: every state that is not at rest ends by itself: {}", d.state.observed()
            );
            if !d.state.wants_to_run() {
                prop_assert!(d.state.current.is_none() && d.state.next.is_none());
            }
            if d.state.current.is_none() && d.state.wants_to_run() {
                prop_assert!(d.state.retry_at().is_some() || d.state.observed() == "failed" || newest == nth(0) || matches!(d.state.rest, Rest::Stopped | Rest::Asleep | Rest::Unasked));
            }
        }
        // Once everybody who is asked to yield does, and everybody who is ended dies, who serves is connected.
        for _ in 0..10 {
            for child in d.state.children().cloned().collect::<Vec<_>>() {
                let generation = child.generation;
                let event = match (child.exclusive, child.phase) {
                    (_, Phase::Terminating | Phase::Killing) => {
                        alive.remove(&generation);
                        Event::Exited { generation, exit: Exit::Signal(9) }
                    }
                    (Exclusive::Yielding(_), _) => Event::Yielded { generation },
                    _ => continue,
                };
                for action in d.on(event) {
                    if let Action::Spawn { generation } = action {
                        alive.insert(generation);
                    }
                }
            }
        }
        if let Some(current) = d.state.current().filter(|child| child.phase == Phase::Serving) {
            prop_assert!(matches!(current.exclusive, Exclusive::Open | Exclusive::Nothing), "{current:?}");
        }
        prop_assert!(d.state.next.as_ref().is_none_or(|next| next.phase != Phase::Standby));
        // A stop ends everything, even when no process ever answers.
        let mut killed = BTreeSet::new();
        d.on(Event::Stop);
        for _ in 0..10 {
            for action in d.tick(secs(30)) {
                if let Action::Signal { generation, signal: Signal::Kill } = action {
                    killed.insert(generation);
                }
                let spawned = matches!(action, Action::Spawn { .. });
                prop_assert!(!spawned, "nothing starts after a stop");
            }
        }
        prop_assert_eq!(&killed, &alive);
        for generation in killed {
            d.die(generation);
        }
        prop_assert_eq!(d.state.observed() == "detached" || d.state.observed() == "stopped", true);
        prop_assert_eq!(d.state.children().count(), 0);
        prop_assert_eq!(d.state.next_deadline(d.now), None);
    }
}
