//! Profiles that run while they are needed, or when they are started by hand.

use super::*;

/// Looked at by generation 1, and resting since.
fn resting(asleep: bool) -> Driven {
    let mut d = Driven::new();
    assert_eq!(d.on(Event::Begin), [Action::Spawn { generation: nth(1) }]);
    assert_eq!(d.state.observed(), "starting");
    report(&mut d, nth(1));
    assert!(d.state.may_be_spared(nth(1)));
    assert_eq!(d.on(Event::Spared { generation: nth(1), asleep }), []);
    d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) });
    assert_eq!((d.state.children().count(), d.state.next_deadline(d.now)), (0, None));
    d
}

fn report(d: &mut Driven, generation: Generation) {
    d.on(Event::Spawned { generation, pid: 7 });
    d.on(Event::Reported { generation, worst: None, exclusive: false });
}

/// Woken, admitted and serving as `generation`.
fn awake(d: &mut Driven, generation: Generation) {
    report(d, generation);
    assert!(!d.state.may_be_spared(generation), "it was called");
    d.on(Event::MaySleep { generation });
    d.on(Event::Admitted { generation });
    d.on(Event::Ready { generation });
    assert_eq!(d.state.observed(), "ready");
}

#[test]
fn n6_5_one_that_runs_on_demand_sleeps_until_there_is_something_to_do() {
    let mut d = resting(true);
    assert_eq!((d.state.observed(), d.state.desired_running()), ("sleeping", true));
    assert_eq!((d.state.availability(d.now), d.state.restarts()), (Availability::Asleep, 0));
    assert_eq!(d.state.verdict(Goal::Serving { generation: nth(1) }), Some(Ok(())));
    assert_eq!(d.tick(secs(10_000)), []);
    assert_eq!(d.on(Event::Wake), [Action::Spawn { generation: nth(2) }]);
    assert_eq!((d.state.observed(), d.state.availability(d.now)), ("starting", Availability::Hold));
    assert_eq!(d.on(Event::Wake), [], "once");
    awake(&mut d, nth(2));
    // And to sleep again: in the order of a swap, so that no request is broken.
    assert_eq!(d.on(Event::Idle { generation: nth(2) }), [Action::StopAccepting { generation: nth(2) }]);
    assert_eq!((d.state.observed(), d.state.availability(d.now)), ("sleeping", Availability::Asleep));
    let Action::Rest { generation, .. } = d.on(Event::AcceptStopped { generation: nth(2) })[1] else {
        panic!("it is told to rest")
    };
    assert_eq!(generation, nth(2));
    // A request that comes while it goes is another process's.
    assert_eq!(d.on(Event::Wake), [Action::Spawn { generation: nth(3) }]);
    assert_eq!(d.on(Event::Exited { generation: nth(2), exit: Exit::Code(0) }), []);
    awake(&mut d, nth(3));
}

/// Whatever else it does not end with than in order: there may be work that nobody does.
#[test]
fn one_that_could_not_go_to_sleep_is_started_again() {
    for exit in [Exit::Code(75), Exit::Code(1), Exit::Signal(9), Exit::OutOfMemory, Exit::OverLimit] {
        let mut d = resting(true);
        d.on(Event::Wake);
        awake(&mut d, nth(2));
        d.on(Event::Idle { generation: nth(2) });
        d.on(Event::AcceptStopped { generation: nth(2) });
        let actions = d.on(Event::Exited { generation: nth(2), exit });
        assert_eq!(actions, [Action::Spawn { generation: nth(3) }], "{exit}");
        awake(&mut d, nth(3));
    }
}

#[test]
fn only_one_that_may_sleeps_and_never_beside_a_newer_one() {
    let mut d = Driven::serving();
    assert_eq!(d.on(Event::Idle { generation: nth(1) }), [], "it runs always");
    let mut d = resting(true);
    d.on(Event::Wake);
    awake(&mut d, nth(2));
    d.on(Event::FilesChanged);
    assert_eq!(d.on(Event::Idle { generation: nth(2) }), [], "a newer one is on its way");
    report(&mut d, nth(3));
    assert!(!d.state.may_be_spared(nth(3)), "the one in force serves");
}

/// Bad files are shown, good ones leave nothing behind.
#[test]
fn n6_5_changed_files_are_looked_at_while_it_sleeps() {
    let mut d = resting(true);
    assert_eq!(d.on(Event::FilesChanged), [Action::Spawn { generation: nth(2) }]);
    assert_eq!((d.state.observed(), d.state.availability(d.now)), ("sleeping", Availability::Asleep));
    assert_eq!(d.on(Event::FilesChanged), [TERM_2, Action::Spawn { generation: nth(3) }], "the newest files");
    report(&mut d, nth(3));
    d.on(Event::Spared { generation: nth(3), asleep: true });
    for (generation, exit) in [(nth(2), Exit::Signal(15)), (nth(3), Exit::Code(0))] {
        assert_eq!(d.on(Event::Exited { generation, exit }), []);
    }
    assert_eq!((d.state.observed(), d.state.children().count()), ("sleeping", 0));
    d.on(Event::FilesChanged);
    report(&mut d, nth(4));
    d.on(Event::Refused { generation: nth(4), why: why("bad yaml") });
    d.on(Event::Exited { generation: nth(4), exit: Exit::Code(78) });
    assert_eq!((d.state.observed(), d.state.why()), ("failed", Some(&why("bad yaml"))));
    d.on(Event::FilesChanged);
    report(&mut d, nth(5));
    assert!(d.state.may_be_spared(nth(5)), "mended, and still nobody needs it");
    // A request during the look keeps it.
    assert_eq!(d.on(Event::Wake), []);
    assert!(!d.state.may_be_spared(nth(5)));
}

const TERM_2: Action = Action::Signal { generation: nth(2), signal: Signal::Terminate };

#[test]
fn n6_5_one_that_is_started_by_hand_waits_for_that() {
    let mut d = resting(false);
    assert_eq!((d.state.observed(), d.state.desired_running()), ("stopped", false));
    assert!(matches!(d.state.availability(d.now), Availability::Down { state: "stopped", .. }));
    assert_eq!(d.on(Event::Wake), [], "a request is no hand");
    assert_eq!(d.on(Event::FilesChanged), [Action::Spawn { generation: nth(2) }]);
    assert_eq!((d.state.observed(), d.state.desired_running()), ("stopped", false), "it is only looked at");
    report(&mut d, nth(2));
    d.on(Event::Spared { generation: nth(2), asleep: false });
    d.on(Event::Exited { generation: nth(2), exit: Exit::Code(0) });
    assert_eq!(d.on(Event::Begin), []);
    assert_eq!(d.on(Event::Start), [Action::Spawn { generation: nth(3) }]);
    report(&mut d, nth(3));
    assert!(!d.state.may_be_spared(nth(3)));
}

#[test]
fn commands_are_stronger_than_sleep() {
    let mut d = resting(true);
    assert_eq!(d.on(Event::Stop), []);
    assert_eq!((d.state.observed(), d.state.desired_running()), ("stopped", false));
    assert_eq!(d.on(Event::Wake), []);
    assert_eq!(d.on(Event::Restart), [Action::Spawn { generation: nth(2) }]);
    awake(&mut d, nth(2));
    d.on(Event::Idle { generation: nth(2) });
    d.on(Event::AcceptStopped { generation: nth(2) });
    d.on(Event::Stop);
    assert_eq!(d.on(Event::Exited { generation: nth(2), exit: Exit::Code(75) }), [], "it is stopped now");
    assert_eq!(d.on(Event::Doze), []);
    assert_eq!(d.state.observed(), "sleeping", "its files are known, and it is to run");
    d.on(Event::Leave);
    assert!(d.state.is_over());
}
