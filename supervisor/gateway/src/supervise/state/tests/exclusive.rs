//! Exclusive platforms pass from one generation to the next: in order, and when one of the two dies, hangs or is stopped at any
//! point of it.

use super::super::super::policy::{YIELD, YIELD_SLACK};
use super::*;

const YIELD_1: Action = Action::Yield { generation: nth(1), within: YIELD };
const CONNECT_1: Action = Action::Connect { generation: nth(1) };
const CONNECT_2: Action = Action::Connect { generation: nth(2) };
const STOP_ACCEPTING_1: Action = Action::StopAccepting { generation: nth(1) };

impl Driven {
    /// Brings a spawned generation with exclusive platforms to its admission.
    fn admit(&mut self, generation: Generation) -> Vec<Action> {
        self.on(Event::Spawned { generation, pid: 1000 + u32::try_from(generation.get()).unwrap() });
        self.on(Event::Reported { generation, worst: None, exclusive: true });
        self.on(Event::Admitted { generation })
    }

    /// Generation 1 serves and is connected.
    fn polling() -> Self {
        let mut driven = Self::new();
        driven.on(Event::Start);
        assert_eq!(driven.admit(nth(1)), [CONNECT_1], "nobody else lives: right after the admission");
        assert_eq!(driven.on(Event::Ready { generation: nth(1) }), []);
        assert_eq!(driven.on(Event::Connected { generation: nth(1) }), []);
        driven
    }

    /// Generation 2 is ready and stands by.
    fn swapping() -> Self {
        let mut driven = Self::polling();
        assert_eq!(driven.on(Event::FilesChanged), [Action::Spawn { generation: nth(2) }]);
        assert_eq!(driven.admit(nth(2)), [], "the old one is connected");
        assert_eq!(driven.on(Event::Ready { generation: nth(2) }), [YIELD_1]);
        driven
    }

    fn in_force(&self) -> (Generation, &'static str) {
        (self.state.current().unwrap().generation, self.state.observed())
    }
}

#[test]
fn the_old_yields_then_the_new_takes_over_and_connects() {
    let mut d = Driven::swapping();
    assert_eq!(d.in_force(), (nth(1), "ready"));
    assert_eq!(d.state.availability(d.now), Availability::Ready);
    assert_eq!(d.state.verdict(Goal::Serving { generation: nth(2) }), None, "not before it has taken over");
    assert_eq!(d.on(Event::Yielded { generation: nth(1) }), [STOP_ACCEPTING_1, CONNECT_2]);
    assert_eq!(d.in_force(), (nth(2), "ready"));
    assert_eq!(d.state.verdict(Goal::Serving { generation: nth(2) }), Some(Ok(())));
    assert_eq!(d.on(Event::Connected { generation: nth(2) }), []);
    d.on(Event::AcceptStopped { generation: nth(1) });
    d.on(Event::Yielded { generation: nth(1) });
    d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) });
    assert_eq!((d.in_force(), d.state.restarts()), ((nth(2), "ready"), 0));
}

#[test]
fn who_stands_by_succeeds_when_it_takes_over() {
    let mut d = Driven::new();
    let mut succeeds = |event: Event| {
        let before = d.state.clone();
        d.on(event);
        d.state.succeeds(&before)
    };
    let exclusive = |generation| {
        let reported = Event::Reported { generation, worst: None, exclusive: true };
        [Event::Spawned { generation, pid: 1 }, reported, Event::Admitted { generation }]
    };
    assert_eq!(succeeds(Event::Start), None);
    assert!(exclusive(nth(1)).into_iter().all(|event| succeeds(event).is_none()));
    assert_eq!(succeeds(Event::Ready { generation: nth(1) }), Some(nth(1)));
    assert_eq!(succeeds(Event::FilesChanged), None);
    assert!(exclusive(nth(2)).into_iter().all(|event| succeeds(event).is_none()));
    assert_eq!(succeeds(Event::Ready { generation: nth(2) }), None, "the old one is connected");
    assert_eq!(succeeds(Event::Yielded { generation: nth(1) }), Some(nth(2)));
    assert_eq!(succeeds(Event::Exited { generation: nth(1), exit: Exit::Code(0) }), None);
}

#[test]
fn nobody_waits_where_nothing_is_exclusive() {
    // A newer generation without exclusive platforms takes over at once; what the old one has ends with it.
    let mut d = Driven::polling();
    d.on(Event::FilesChanged);
    assert_eq!(d.serve(nth(2)), [STOP_ACCEPTING_1]);
    // And a newer one with some connects as soon as the one that had some is gone, or has said that it yielded.
    d.on(Event::AcceptStopped { generation: nth(1) });
    d.on(Event::FilesChanged);
    assert_eq!(d.admit(nth(3)), []);
    let takes_over = [Action::StopAccepting { generation: nth(2) }, YIELD_1];
    assert_eq!(d.on(Event::Ready { generation: nth(3) }), takes_over);
    assert_eq!(d.on(Event::Yielded { generation: nth(1) }), [Action::Connect { generation: nth(3) }]);
}

#[test]
fn when_the_old_dies_before_it_has_yielded_the_new_connects() {
    let mut d = Driven::swapping();
    assert_eq!(d.die(nth(1)), [CONNECT_2]);
    assert_eq!((d.in_force(), d.state.why()), ((nth(2), "ready"), None));
}

#[test]
fn a_closed_link_is_no_proof() {
    let mut d = Driven::swapping();
    assert_eq!(d.on(Event::LinkClosed { generation: nth(1) }), []);
    assert_eq!(d.tick(LOST_GRACE), [TERM_1, Action::DropIdle]);
    assert_eq!(d.in_force(), (nth(2), "ready"), "requests wait for nobody");
    assert_eq!(d.tick(TERM_GRACE), [KILL_1]);
    assert_eq!(d.die(nth(1)), [CONNECT_2]);
}

#[test]
fn who_does_not_yield_is_ended_and_the_new_connects_when_it_is_dead() {
    let mut d = Driven::swapping();
    for _ in 0..6 {
        assert_eq!(d.tick(secs(1)), []);
        d.on(Event::Heartbeat { generation: nth(1), quiet: Duration::ZERO });
        d.on(Event::Heartbeat { generation: nth(2), quiet: Duration::ZERO });
    }
    assert_eq!(d.tick((YIELD + YIELD_SLACK).saturating_sub(secs(6))), [TERM_1, Action::DropIdle]);
    assert_eq!(d.in_force(), (nth(2), "ready"));
    assert_eq!(d.tick(TERM_GRACE), [KILL_1]);
    assert_eq!(d.die(nth(1)), [CONNECT_2]);
    assert_eq!(d.state.last_exit(), Some("it did not close its connections within 7 s"));
}

#[test]
fn a_stuck_old_one_lets_nobody_connect_before_it_is_dead() {
    let mut d = Driven::swapping();
    let stuck = Event::Stuck { generation: nth(1), reason: "stuck: the task `store` …".to_owned() };
    assert_eq!(d.on(stuck), [TERM_1, Action::DropIdle]);
    assert_eq!(d.in_force(), (nth(2), "ready"));
    assert_eq!(d.die(nth(1)), [CONNECT_2]);
}

#[test]
fn when_the_new_dies_before_it_connects_the_old_goes_on() {
    // It has not yielded yet.
    let mut d = Driven::swapping();
    assert_eq!(d.die(nth(2)), []);
    assert_eq!(d.on(Event::Yielded { generation: nth(1) }), [CONNECT_1], "as if nothing had been");
    assert_eq!(d.in_force(), (nth(1), "ready"));
    assert!(d.state.why().unwrap().reason.contains("signal 9"), "why the newer one is not in force");
    // The next swap is like the first.
    assert_eq!(d.on(Event::FilesChanged), [Action::Spawn { generation: nth(3) }]);
    d.admit(nth(3));
    assert_eq!(d.on(Event::Ready { generation: nth(3) }), [YIELD_1]);
    let connect_3 = Action::Connect { generation: nth(3) };
    assert_eq!(d.on(Event::Yielded { generation: nth(1) }), [STOP_ACCEPTING_1, connect_3]);
}

#[test]
fn when_the_new_dies_after_it_was_told_to_connect_another_one_does() {
    let mut d = Driven::swapping();
    d.on(Event::Yielded { generation: nth(1) });
    assert_eq!(d.die(nth(2)), [Action::Spawn { generation: nth(3) }]);
    assert_eq!(
        d.admit(nth(3)),
        [Action::Connect { generation: nth(3) }],
        "while the first one still finishes"
    );
    assert_eq!(d.on(Event::Ready { generation: nth(3) }), []);
    assert_eq!(d.in_force(), (nth(3), "ready"));
}

#[test]
fn a_worker_that_leaves_unasked_is_succeeded_once_it_has_yielded() {
    for says_so_first in [true, false] {
        let mut d = Driven::polling();
        if says_so_first {
            assert_eq!(
                d.on(Event::Yielded { generation: nth(1) }),
                [],
                "it is about to end: nothing connects it again"
            );
        }
        assert!(
            d.on(Event::AcceptStopped { generation: nth(1) }).contains(&Action::Spawn { generation: nth(2) })
        );
        if says_so_first {
            assert_eq!(d.admit(nth(2)), [CONNECT_2]);
        } else {
            assert_eq!(d.admit(nth(2)), [YIELD_1]);
            assert_eq!(d.on(Event::Ready { generation: nth(2) }), []);
            assert_eq!(d.in_force(), (nth(2), "ready"), "requests wait for nobody");
            assert_eq!(d.on(Event::Yielded { generation: nth(1) }), [CONNECT_2]);
        }
    }
}

#[test]
fn a_worker_that_is_killed_is_dead_before_the_next_one_connects() {
    let mut d = Driven::polling();
    d.tick(secs(10));
    assert_eq!(d.state.observed(), "backoff", "silent, so it got SIGTERM");
    assert_eq!(d.on(Event::Restart), [], "its death brings a new process");
    assert_eq!(d.die(nth(1)), [Action::Spawn { generation: nth(2) }]);
    assert_eq!(d.admit(nth(2)), [CONNECT_2]);
}

#[test]
fn changes_during_a_swap_lead_to_one_more() {
    let mut d = Driven::swapping();
    assert_eq!(d.on(Event::FilesChanged), [], "who stands by is waited for");
    assert_eq!(d.state.target_generation(), nth(3));
    let actions = d.on(Event::Yielded { generation: nth(1) });
    assert_eq!(actions, [STOP_ACCEPTING_1, Action::Spawn { generation: nth(3) }, CONNECT_2]);
    d.admit(nth(3));
    let yield_2 = Action::Yield { generation: nth(2), within: YIELD };
    assert_eq!(d.on(Event::Ready { generation: nth(3) }), [yield_2]);
}

#[test]
fn a_stop_in_the_middle_ends_both_in_order() {
    let mut d = Driven::swapping();
    let actions = d.on(Event::Stop);
    assert_eq!(
        actions,
        [Action::StopAccepting { generation: nth(2) }, STOP_ACCEPTING_1],
        "both may have requests"
    );
    assert_eq!(d.on(Event::Yielded { generation: nth(1) }), [], "nobody connects any more");
    for generation in [nth(1), nth(2)] {
        d.on(Event::AcceptStopped { generation });
        d.on(Event::Exited { generation, exit: Exit::Code(0) });
    }
    assert_eq!(d.state.verdict(Goal::Gone), Some(Ok(())));
    assert_eq!(d.state.next_deadline(d.now), None);
}

#[test]
fn who_stands_by_and_leaves_unasked_is_no_successor() {
    let mut d = Driven::swapping();
    d.on(Event::AcceptStopped { generation: nth(2) });
    assert_eq!(d.in_force(), (nth(1), "ready"));
    assert_eq!(d.on(Event::Yielded { generation: nth(1) }), [CONNECT_1]);
    assert_eq!(d.on(Event::Exited { generation: nth(2), exit: Exit::Code(0) }), []);
}

#[test]
fn who_connects_without_being_told_to_is_ended() {
    let mut d = Driven::swapping();
    let term_2 = Action::Signal { generation: nth(2), signal: Signal::Terminate };
    assert_eq!(d.on(Event::Connected { generation: nth(2) }), [term_2, Action::DropIdle]);
    assert_eq!(
        d.on(Event::Yielded { generation: nth(1) }),
        [],
        "the other one is connected until it is dead"
    );
    assert_eq!(d.in_force(), (nth(1), "ready"));
    assert_eq!(d.die(nth(2)), [CONNECT_1]);
    assert!(d.state.why().unwrap().reason.contains("before it was told to"));
    // One that was told to connect and has yielded breaks the rule too, even while it finishes.
    let mut d = Driven::swapping();
    assert_eq!(d.on(Event::Yielded { generation: nth(1) }), [STOP_ACCEPTING_1, CONNECT_2]);
    assert_eq!(d.on(Event::Connected { generation: nth(1) }), [TERM_1]);
    assert_eq!(d.die(nth(2)), [Action::Spawn { generation: nth(3) }]);
    assert_eq!(d.admit(nth(3)), [], "the first one is connected until it is dead");
    assert_eq!(d.die(nth(1)), [Action::Connect { generation: nth(3) }]);
    // What was said before the question arrived breaks no rule.
    let mut d = Driven::swapping();
    assert_eq!(d.on(Event::Connected { generation: nth(1) }), []);
}

/// What a process does next when all goes well, and who is asked to yield may do that first.
fn next_of(child: &Child, yields_first: bool) -> Event {
    let generation = child.generation;
    match child.phase {
        Phase::Spawned if child.pid.is_none() => Event::Spawned { generation, pid: 1 },
        Phase::Spawned => Event::Reported { generation, worst: None, exclusive: true },
        Phase::Reported => Event::Admitted { generation },
        Phase::Terminating | Phase::Killing | Phase::Refused => {
            Event::Exited { generation, exit: Exit::Signal(9) }
        }
        _ if yields_first && matches!(child.exclusive, Exclusive::Yielding(_)) => {
            Event::Yielded { generation }
        }
        Phase::Admitted => Event::Ready { generation },
        Phase::StopAccepting => Event::AcceptStopped { generation },
        Phase::Draining => Event::Exited { generation, exit: Exit::Code(0) },
        Phase::Serving | Phase::Standby => Event::Heartbeat { generation, quiet: Duration::ZERO },
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// Swap after swap, with deaths, lost links, silence, stops and starts at any point: never two that may be connected, and
    /// whoever serves in the end is.
    #[test]
    fn never_two_pollers(steps in proptest::collection::vec((0u8..32, 0usize..8, 0u64..1500), 20..200)) {
        let mut d = Driven::polling();
        let mut connected = std::collections::BTreeSet::from([nth(1)]);
        let mut leaving = std::collections::BTreeSet::new();
        let quiet_end = std::iter::repeat_n((0, 0, 0), 200).enumerate().map(|(n, _)| (0, n, 0));
        for (kind, which, wait) in steps.into_iter().chain(quiet_end) {
            let children: Vec<Child> = d.state.children().cloned().collect();
            let Some(child) = children.get(which % children.len().max(1)) else {
                d.on(Event::Start);
                continue;
            };
            let generation = child.generation;
            let spawned = child.pid.is_some();
            let event = match kind {
                0..=17 => next_of(child, true),
                18 => next_of(child, false),
                19..=23 => Event::FilesChanged,
                24 | 25 if spawned => Event::Exited { generation, exit: Exit::Signal(9) },
                26 if spawned => Event::LinkClosed { generation },
                27 if child.phase == Phase::Serving => {
                    leaving.insert(generation);
                    Event::Yielded { generation }
                }
                28 if child.phase == Phase::Serving => Event::AcceptStopped { generation },
                29 => Event::Stop,
                30 => Event::Start,
                _ => {
                    d.now += ms(wait);
                    Event::Tick
                }
            };
            match event {
                Event::Yielded { generation } | Event::Exited { generation, .. } => {
                    connected.remove(&generation);
                }
                _ => {}
            }
            for action in d.on(event) {
                if let Action::Connect { generation } = action {
                    proptest::prop_assert!(connected.is_empty(), "{generation} beside {connected:?}");
                    connected.insert(generation);
                }
            }
            let known: Vec<Generation> =
                d.state.children().filter(|child| child.may_be_connected()).map(|c| c.generation).collect();
            proptest::prop_assert!(connected.iter().eq(&known), "{connected:?} {known:?}");
        }
        if let Some(current) = d.state.current().filter(|child| child.phase == Phase::Serving) {
            let is_connected = connected.contains(&current.generation);
            proptest::prop_assert!(is_connected || leaving.contains(&current.generation), "{current:?}");
        }
    }
}
