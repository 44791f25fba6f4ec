//! Every arrow of the state diagram by example; [`random`] event sequences against what must never happen.

mod exclusive;
mod random;
mod rests;
mod sleep;

use super::super::policy::{ACCEPT_GRACE, DRAIN_SLACK, LOST_GRACE, TERM_GRACE};
use super::machine::MOST_RETIRING;
use super::*;

fn secs(s: u64) -> Duration {
    Duration::from_secs(s)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn nth(number: u64) -> Generation {
    Generation::new(number)
}

fn why(reason: &str) -> Why {
    Why { reason: reason.to_owned(), file: Some("/h/config.yaml:3".to_owned()) }
}

/// A state that is driven event by event, with the clock in hand.
struct Driven {
    state: State,
    now: At,
}

impl Driven {
    fn new() -> Self {
        Self { state: State::new(true, Limits::default(), 42), now: secs(100) }
    }

    fn on(&mut self, event: Event) -> Vec<Action> {
        let (state, actions) = step(&self.state, event, self.now);
        self.state = state;
        actions
    }

    fn after(&mut self, time: Duration, event: Event) -> Vec<Action> {
        self.now += time;
        self.on(event)
    }

    /// Lets time pass in which the supervisor runs.
    fn tick(&mut self, time: Duration) -> Vec<Action> {
        let (until, mut actions) = (self.now + time, Vec::new());
        while let Some(due) = self.state.next_deadline(self.now).filter(|due| *due <= until) {
            self.now = self.now.max(due);
            actions.extend(self.on(Event::Tick));
        }
        self.now = until;
        actions
    }

    /// Brings a spawned generation to serving.
    fn serve(&mut self, generation: Generation) -> Vec<Action> {
        self.on(Event::Spawned { generation, pid: 1000 + u32::try_from(generation.get()).unwrap() });
        self.on(Event::Reported { generation, worst: None, exclusive: false });
        self.on(Event::Admitted { generation });
        self.on(Event::Ready { generation })
    }

    fn serving() -> Self {
        let mut driven = Self::new();
        assert_eq!(driven.on(Event::Start), [Action::Spawn { generation: nth(1) }]);
        assert_eq!(driven.state.observed(), "starting");
        assert_eq!(driven.serve(nth(1)), []);
        assert_eq!(driven.state.observed(), "ready");
        driven
    }

    fn die(&mut self, generation: Generation) -> Vec<Action> {
        self.on(Event::Exited { generation, exit: Exit::Signal(9) })
    }
}

const TERM_1: Action = Action::Signal { generation: nth(1), signal: Signal::Terminate };
const KILL_1: Action = Action::Signal { generation: nth(1), signal: Signal::Kill };

#[test]
fn a_first_death_is_answered_in_the_same_step() {
    let mut d = Driven::serving();
    assert_eq!(d.die(nth(1)), [Action::Spawn { generation: nth(2) }]);
    assert_eq!((d.state.observed(), d.state.restarts()), ("starting", 1));
    assert_eq!(d.state.last_exit(), Some("signal 9 (SIGKILL)"));
    assert_eq!(d.state.availability(d.now), Availability::Hold);
}

#[test]
fn a_second_death_waits_and_requests_wait_with_it() {
    let mut d = Driven::serving();
    d.die(nth(1));
    d.serve(nth(2));
    assert_eq!(d.die(nth(2)), []);
    assert_eq!(d.state.observed(), "backoff");
    let due = d.state.retry_at().unwrap().saturating_sub(d.now);
    assert!(due >= ms(16) && due <= ms(24));
    assert_eq!(d.state.availability(d.now), Availability::Hold, "the delay is within the hold time");
    assert_eq!(d.tick(ms(24)), [Action::Spawn { generation: nth(3) }]);
    assert_eq!(d.state.observed(), "starting");
}

#[test]
fn five_deaths_are_a_crash_loop_that_a_restart_or_a_change_of_files_ends() {
    for wake in [Event::Restart, Event::FilesChanged, Event::Start] {
        let mut d = Driven::serving();
        for generation in (1..=5).map(nth) {
            d.die(generation);
            if let Some(due) = d.state.retry_at().filter(|_| generation < nth(5)) {
                d.now = due;
                d.tick(Duration::ZERO);
            }
        }
        assert_eq!((d.state.observed(), d.state.restarts()), ("crash_loop", 5));
        let Availability::Down { state: "crash_loop", retry_after } = d.state.availability(d.now) else {
            panic!("requests are refused at once");
        };
        assert!(retry_after >= secs(240));
        assert_eq!(d.on(wake), [Action::Spawn { generation: nth(6) }]);
        d.serve(nth(6));
        assert_eq!(d.die(nth(6)), [Action::Spawn { generation: nth(7) }], "the past is forgiven");
    }
}

#[test]
fn a_crash_loop_retries_by_itself_at_the_longest_delay() {
    let mut d = Driven::serving();
    for generation in (1..=5).map(nth) {
        d.die(generation);
        if generation < nth(5) {
            d.now = d.state.retry_at().unwrap_or(d.now);
            d.tick(Duration::ZERO);
        }
    }
    d.now = d.state.retry_at().unwrap();
    assert_eq!(d.tick(Duration::ZERO), [Action::Spawn { generation: nth(6) }]);
    d.die(nth(6));
    assert_eq!(d.state.observed(), "crash_loop");
}

#[test]
fn exit_78_waits_for_a_change_and_names_what_the_report_named() {
    let mut d = Driven::new();
    d.on(Event::Start);
    d.on(Event::Reported { generation: nth(1), worst: Some(why("not valid YAML")), exclusive: false });
    assert_eq!(d.on(Event::Exited { generation: nth(1), exit: Exit::Code(78) }), []);
    assert_eq!(d.state.observed(), "failed");
    assert_eq!(d.state.why(), Some(&why("not valid YAML")));
    assert_eq!(d.state.next_deadline(d.now), None, "no retry");
    assert_eq!(d.tick(secs(3600)), []);
    assert_eq!(d.on(Event::FilesChanged), [Action::Spawn { generation: nth(2) }]);
}

#[test]
fn a_refused_worker_fails_whatever_its_exit_code_and_is_killed_when_it_stays() {
    let mut d = Driven::new();
    d.on(Event::Start);
    d.on(Event::Reported { generation: nth(1), worst: None, exclusive: false });
    d.on(Event::Refused { generation: nth(1), why: why("same credential") });
    assert_eq!(d.state.observed(), "failed");
    assert_eq!(d.tick(TERM_GRACE), [TERM_1]);
    assert_eq!(d.tick(TERM_GRACE), [KILL_1]);
    d.die(nth(1));
    assert_eq!((d.state.observed(), d.state.why()), ("failed", Some(&why("same credential"))));
}

#[test]
fn exit_75_restarts_at_once_and_is_no_death_unless_it_spins() {
    let mut d = Driven::serving();
    for generation in (1..=20).map(nth) {
        d.now += secs(1);
        let actions = d.on(Event::Exited { generation, exit: Exit::Code(75) });
        assert_eq!(actions, [Action::Spawn { generation: generation.next() }]);
        d.serve(generation.next());
    }
    assert_eq!(d.state.restarts(), 0);
    for generation in (21..=22).map(nth) {
        d.on(Event::Exited { generation, exit: Exit::Code(75) });
        d.serve(generation.next());
    }
    assert_eq!((d.state.observed(), d.state.restarts()), ("backoff", 2));
}

#[test]
fn exit_0_unasked_is_replaced_and_counted() {
    let mut d = Driven::serving();
    let actions = d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) });
    assert_eq!((actions.as_slice(), d.state.restarts()), (&[Action::Spawn { generation: nth(2) }][..], 1));
}

#[test]
fn a_worker_that_never_reports_or_never_gets_ready_is_killed_and_blamed() {
    let mut d = Driven::new();
    d.on(Event::Start);
    assert_eq!(d.tick(secs(29)), []);
    assert_eq!(d.tick(secs(1)), [TERM_1]);
    assert_eq!(d.state.observed(), "backoff");
    assert_eq!(d.tick(TERM_GRACE), [KILL_1]);
    assert_eq!(d.die(nth(1)), [Action::Spawn { generation: nth(2) }]);
    assert_eq!(d.state.last_exit(), Some("no report within 30 s of its start"));

    d.on(Event::Reported { generation: nth(2), worst: None, exclusive: false });
    assert_eq!(d.tick(secs(200)), [], "waiting for our own decision is not the worker's fault");
    d.on(Event::Admitted { generation: nth(2) });
    assert_eq!(d.tick(secs(30)), [Action::Signal { generation: nth(2), signal: Signal::Terminate }]);
    d.die(nth(2));
    assert_eq!(d.state.last_exit(), Some("not ready within 30 s of its admission"));
}

/// 14: a process about which nobody decides is not starting for ever, neither when the question got lost nor when it is never
/// answered; and one that waits for its turn to be started ends too.
#[test]
fn a_start_that_nobody_decides_about_ends() {
    for lost in [true, false] {
        let mut d = Driven::new();
        d.on(Event::Start);
        d.on(Event::Spawned { generation: nth(1), pid: 7 });
        d.on(Event::Reported { generation: nth(1), worst: None, exclusive: false });
        let actions = if lost {
            d.on(Event::Undecided { generation: nth(1) })
        } else {
            d.tick(super::super::policy::DECISION)
        };
        assert_eq!(actions, [TERM_1]);
        assert_eq!(d.die(nth(1)), [Action::Spawn { generation: nth(2) }]);
        assert_eq!(d.state.why().unwrap().reason, "the gateway did not decide whether it may serve");
    }
    let mut d = Driven::new();
    d.on(Event::Start);
    assert_eq!(d.tick(secs(30)), [TERM_1], "no place among those that start");
    d.on(Event::SpawnFailed { generation: nth(1), reason: "cancelled".into() });
    assert_eq!(d.state.observed(), "backoff");
}

#[test]
fn silence_means_stuck() {
    let mut d = Driven::serving();
    assert_eq!(d.tick(secs(9)), []);
    d.on(Event::Heartbeat { generation: nth(1), quiet: Duration::ZERO });
    assert_eq!(d.tick(secs(9)), []);
    assert_eq!(d.tick(secs(1)), [TERM_1, Action::DropIdle]);
    assert_eq!(d.state.observed(), "backoff");
    assert_eq!(d.state.availability(d.now), Availability::Hold, "requests wait for the next process");
    assert_eq!(d.tick(TERM_GRACE), [KILL_1]);
    assert_eq!(d.die(nth(1)), [Action::Spawn { generation: nth(2) }]);
    assert_eq!(d.state.last_exit(), Some("stuck: no heartbeat for 10 s"));
    assert_eq!(d.state.why().unwrap().reason, "stuck: no heartbeat for 10 s");
}

/// 12: a worker that beats and does not work is ended like one that is silent, and one that failed by itself says why.
#[test]
fn n12_a_stuck_task_ends_its_worker_with_its_name() {
    let mut d = Driven::serving();
    let stuck = |generation| Event::Stuck { generation, reason: "stuck: the task `store` …".to_owned() };
    assert_eq!(d.on(stuck(nth(1))), [TERM_1, Action::DropIdle]);
    assert_eq!(d.on(stuck(nth(1))), [], "once");
    assert_eq!(d.die(nth(1)), [Action::Spawn { generation: nth(2) }]);
    assert_eq!(d.state.last_exit(), Some("stuck: the task `store` …"));
    assert_eq!(d.on(stuck(nth(2))), [], "it does not serve yet");
    d.serve(nth(2));
    d.on(Event::LastWords { generation: nth(2), reason: "the task `inbox` panicked".to_owned() });
    d.on(Event::Exited { generation: nth(2), exit: Exit::Code(1) });
    assert_eq!(d.state.last_exit(), Some("exit 1: the task `inbox` panicked"));
}

/// 30: a supervisor that was held up judges nobody before it has read what waits, in whatever phase they are, and however the
/// pause lies to the deadline.
#[test]
fn whoever_slept_reads_before_it_judges() {
    for before in [0, 1500, 5000, 9900] {
        for pause in [ms(200), ms(9_999), secs(10), ms(10_001), ms(10_500), secs(600)] {
            let mut d = Driven::serving();
            d.tick(ms(before).min(secs(8)));
            d.on(Event::Heartbeat { generation: nth(1), quiet: Duration::ZERO });
            d.tick(ms(before % 1000));
            assert_eq!(d.after(pause, Event::Tick), [], "{before} {pause:?}");
            assert_eq!(d.tick(secs(5)), [], "what waits in the socket is read in this time");
            d.on(Event::Heartbeat { generation: nth(1), quiet: Duration::ZERO });
            assert_eq!(d.tick(ms(9_999)), []);
        }
    }
    let mut d = Driven::new();
    d.on(Event::Start);
    d.on(Event::Spawned { generation: nth(1), pid: 1 });
    assert_eq!(d.after(secs(31), Event::Tick), [], "its report may wait");
    d.on(Event::Reported { generation: nth(1), worst: None, exclusive: false });
    d.on(Event::Admitted { generation: nth(1) });
    assert_eq!(d.after(secs(31), Event::Tick), [], "it may be ready");
    d.on(Event::Ready { generation: nth(1) });
    d.on(Event::Stop);
    assert_eq!(d.after(secs(3), Event::Tick), [], "it may have stopped accepting");
    d.on(Event::AcceptStopped { generation: nth(1) });
    assert_eq!(d.after(secs(30), Event::Tick), [], "it may have drained");
    d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) });
    assert_eq!(d.state.observed(), "stopped");
}

/// 29: who does not keep to the protocol is ended, and status says for what.
#[test]
fn a_worker_that_breaks_the_protocol_is_ended_with_the_reason() {
    let mut d = Driven::serving();
    let broke = |generation| Event::Broke { generation, rule: "it said `Report` twice".to_owned() };
    assert_eq!(d.on(broke(nth(1))), [TERM_1, Action::DropIdle]);
    assert_eq!(d.on(broke(nth(1))), [], "once is enough");
    let reason = "the worker does not keep to the protocol: it said `Report` twice";
    assert_eq!(d.state.why().unwrap().reason, reason);
    assert_eq!(d.die(nth(1)), [Action::Spawn { generation: nth(2) }]);
    assert_eq!(d.state.last_exit(), Some(reason));
    // Before it was admitted nobody is ready.
    d.on(Event::Spawned { generation: nth(2), pid: 2 });
    let term_2 = Action::Signal { generation: nth(2), signal: Signal::Terminate };
    assert_eq!(d.on(Event::Ready { generation: nth(2) }), [term_2]);
    d.die(nth(2));
    assert!(d.state.last_exit().unwrap().ends_with("it said `Ready` before it was admitted"));
    // A newer generation that does so leaves the one in force alone.
    let mut d = Driven::serving();
    d.on(Event::FilesChanged);
    d.on(broke(nth(2)));
    d.on(Event::Exited { generation: nth(2), exit: Exit::Signal(15) });
    assert_eq!((d.state.observed(), d.state.why().unwrap().reason.as_str()), ("ready", reason));
}

/// 26: what the machine does not let run is tried again every few seconds for as long as it takes, is no crash loop, and
/// forgotten when it runs.
#[test]
fn the_machines_fault_is_not_the_workers() {
    let words =
        |generation| Event::LastWords { generation, reason: "cannot open `/h/state.db`: full".to_owned() };
    let mut d = Driven::serving();
    for (n, exit) in [Exit::Code(71), Exit::OutOfMemory].into_iter().cycle().take(40).enumerate() {
        let generation = d.state.target_generation();
        d.on(words(generation));
        assert_eq!(d.on(Event::Exited { generation, exit }), []);
        assert_eq!((d.state.observed(), d.state.restarts()), ("backoff", 1));
        let wait = d.state.retry_at().unwrap().saturating_sub(d.now);
        assert!(wait >= ms(400) && wait <= secs(5), "{n}: {wait:?}");
        let reason = &d.state.why().unwrap().reason;
        assert!(reason.contains("the machine") && reason.contains("/h/state.db"), "{reason}");
        assert!(d.state.verdict(Goal::Serving { generation }).is_some_and(|verdict| verdict.is_err()));
        assert_eq!(d.tick(wait).len(), 1, "started again");
    }
    let generation = d.state.target_generation();
    d.on(Event::SpawnFailed { generation, reason: "too many open files".to_owned() });
    assert_eq!(d.state.observed(), "backoff");
    d.tick(secs(5));
    let generation = d.state.target_generation();
    d.serve(generation);
    assert_eq!((d.state.observed(), d.state.why()), ("ready", None));
    assert_eq!(d.die(generation).len(), 1, "its first own death is answered at once");
}

/// 26: a newer generation that the machine does not let run is tried again, beside the one in force.
#[test]
fn a_swap_that_the_machine_did_not_let_happen_is_tried_again() {
    let mut d = Driven::serving();
    assert_eq!(d.on(Event::FilesChanged), [Action::Spawn { generation: nth(2) }]);
    d.on(Event::Exited { generation: nth(2), exit: Exit::Code(71) });
    assert_eq!(d.state.observed(), "ready");
    assert_eq!(d.tick(secs(1)), [Action::Spawn { generation: nth(3) }]);
    d.on(Event::SpawnFailed { generation: nth(3), reason: "no".to_owned() });
    assert_eq!(d.on(Event::Stop), [Action::StopAccepting { generation: nth(1) }]);
    assert_eq!(d.tick(secs(1)), [], "a stop ends the tries");
}

#[test]
fn a_lost_control_connection_ends_the_process_soon() {
    let mut d = Driven::serving();
    d.on(Event::LinkClosed { generation: nth(1) });
    assert_eq!(d.tick(LOST_GRACE), [TERM_1, Action::DropIdle]);
    d.tick(TERM_GRACE);
    d.die(nth(1));
    assert_eq!(d.state.last_exit(), Some("control connection lost"));
}

#[test]
fn stop_drains_in_order_and_stays_stopped() {
    let mut d = Driven::serving();
    assert_eq!(d.on(Event::Stop), [Action::StopAccepting { generation: nth(1) }]);
    assert_eq!((d.state.observed(), d.state.desired_running()), ("draining", false));
    assert_eq!(
        d.on(Event::AcceptStopped { generation: nth(1) }),
        [Action::DropIdle, Action::Drain { generation: nth(1), deadline: secs(20) }]
    );
    assert_eq!(d.state.verdict(Goal::Gone), None);
    assert_eq!(d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) }), []);
    assert_eq!((d.state.observed(), d.state.verdict(Goal::Gone)), ("stopped", Some(Ok(()))));
    assert_eq!(d.on(Event::FilesChanged), [], "a stopped profile stays stopped");
    assert_eq!(d.tick(secs(1000)), []);
    assert_eq!(d.on(Event::Start), [Action::Spawn { generation: nth(2) }]);
}

#[test]
fn a_worker_that_ignores_the_drain_is_terminated_then_killed() {
    let mut d = Driven::serving();
    d.on(Event::Stop);
    let silent = d.tick(ACCEPT_GRACE);
    assert_eq!(silent, [Action::DropIdle, Action::Drain { generation: nth(1), deadline: secs(20) }]);
    assert_eq!(d.tick(secs(20) + DRAIN_SLACK), [TERM_1]);
    assert_eq!(d.tick(TERM_GRACE), [KILL_1]);
    assert_eq!(d.tick(TERM_GRACE), [KILL_1], "again, for as long as it takes");
    d.die(nth(1));
    assert_eq!(d.state.observed(), "stopped");
}

#[test]
fn stop_of_a_starting_worker_terminates_it() {
    let mut d = Driven::new();
    d.on(Event::Start);
    assert_eq!(d.on(Event::Stop), [TERM_1]);
    assert_eq!(d.on(Event::Exited { generation: nth(1), exit: Exit::Signal(15) }), []);
    assert_eq!((d.state.observed(), d.state.restarts()), ("stopped", 0));
}

#[test]
fn a_swap_starts_the_new_before_it_ends_the_old() {
    let mut d = Driven::serving();
    assert_eq!(d.on(Event::FilesChanged), [Action::Spawn { generation: nth(2) }]);
    assert_eq!((d.state.observed(), d.state.availability(d.now)), ("ready", Availability::Ready));
    assert_eq!(d.state.verdict(Goal::Serving { generation: nth(2) }), None);
    assert_eq!(d.serve(nth(2)), [Action::StopAccepting { generation: nth(1) }]);
    assert_eq!(d.state.verdict(Goal::Serving { generation: nth(2) }), Some(Ok(())));
    assert_eq!(d.state.current().unwrap().generation, nth(2));
    d.on(Event::AcceptStopped { generation: nth(1) });
    d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) });
    assert_eq!((d.state.observed(), d.state.restarts()), ("ready", 0));
}

#[test]
fn a_bad_edit_leaves_the_last_good_worker_and_says_why() {
    let mut d = Driven::serving();
    d.on(Event::FilesChanged);
    d.on(Event::Reported { generation: nth(2), worst: None, exclusive: false });
    d.on(Event::Refused { generation: nth(2), why: why("did not find expected key") });
    d.on(Event::Exited { generation: nth(2), exit: Exit::Code(78) });
    assert_eq!((d.state.observed(), d.state.availability(d.now)), ("ready", Availability::Ready));
    assert_eq!(d.state.why(), Some(&why("did not find expected key")));
    assert_eq!(
        d.state.verdict(Goal::Serving { generation: nth(2) }),
        Some(Err(why("did not find expected key")))
    );
    d.on(Event::FilesChanged);
    d.serve(nth(3));
    assert_eq!(d.state.why(), None, "a good edit clears it");
}

#[test]
fn changes_during_a_swap_lead_to_one_more_swap() {
    let mut d = Driven::serving();
    d.on(Event::FilesChanged);
    assert_eq!(
        d.on(Event::FilesChanged),
        [
            Action::Signal { generation: nth(2), signal: Signal::Terminate },
            Action::Spawn { generation: nth(3) }
        ],
        "what serves nobody yet is replaced at once"
    );
    d.on(Event::Reported { generation: nth(3), worst: None, exclusive: false });
    d.on(Event::Admitted { generation: nth(3) });
    assert_eq!(d.on(Event::FilesChanged), [], "what may serve any moment is waited for");
    assert_eq!(d.state.target_generation(), nth(4));
    assert_eq!(
        d.on(Event::Ready { generation: nth(3) }),
        [Action::StopAccepting { generation: nth(1) }, Action::Spawn { generation: nth(4) }]
    );
}

#[test]
fn when_the_old_dies_during_a_swap_the_new_takes_its_place() {
    let mut d = Driven::serving();
    d.on(Event::Restart);
    assert_eq!(d.die(nth(1)), [], "generation 2 is on its way");
    assert_eq!((d.state.observed(), d.state.restarts()), ("starting", 1));
    d.serve(nth(2));
    assert_eq!(d.state.observed(), "ready");
}

/// 13: a newer generation waits until there is room; nobody's requests are cut for it.
#[test]
fn many_swaps_in_a_row_pile_up_no_processes_and_hurry_none() {
    let mut d = Driven::serving();
    let most = u64::try_from(MOST_RETIRING).unwrap();
    let mut old = nth(1);
    for generation in (2..most + 2).map(nth) {
        assert_eq!(d.on(Event::Restart), [Action::Spawn { generation }]);
        assert_eq!(d.serve(generation), [Action::StopAccepting { generation: old }]);
        d.on(Event::AcceptStopped { generation: old });
        old = generation;
    }
    let next = nth(most + 2);
    for _ in 0..30 {
        assert_eq!(d.on(Event::Restart), [], "one more waits");
        assert_eq!(d.state.target_generation(), next);
    }
    let gone = |generation| Event::Exited { generation, exit: Exit::Code(0) };
    assert_eq!(d.on(gone(nth(2))), [Action::Spawn { generation: next }]);
    d.serve(next);
    assert_eq!(d.on(gone(nth(1))), [], "and only one");
    assert_eq!(d.state.verdict(Goal::Serving { generation: next }), Some(Ok(())));
}

#[test]
fn a_spawn_that_fails_is_the_profiles_backoff() {
    let mut d = Driven::new();
    d.on(Event::Start);
    assert_eq!(d.on(Event::SpawnFailed { generation: nth(1), reason: "too many open files".into() }), []);
    assert_eq!(d.state.observed(), "backoff");
    assert!(d.state.why().unwrap().reason.contains("too many open files"));
    assert!(d.state.retry_at().unwrap() >= d.now + ms(400));
}

#[test]
fn detached_and_conflicting_profiles_are_left_alone_until_taken_back() {
    let mut d = Driven::serving();
    d.on(Event::Detach);
    assert_eq!(d.state.observed(), "detached");
    d.on(Event::AcceptStopped { generation: nth(1) });
    d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) });
    assert_eq!(d.on(Event::FilesChanged), []);
    assert!(matches!(d.state.availability(d.now), Availability::Down { state: "detached", .. }));
    assert_eq!(d.on(Event::Start), [Action::Spawn { generation: nth(2) }]);

    let mut c = Driven::new();
    c.on(Event::Conflict(why("PID 7 holds it")));
    assert_eq!((c.state.observed(), c.state.why()), ("conflict", Some(&why("PID 7 holds it"))));
    assert_eq!(c.tick(secs(100)), []);
    assert_eq!(c.on(Event::Restart), [Action::Spawn { generation: nth(1) }]);
}

#[test]
fn a_worker_that_leaves_unasked_is_replaced_while_it_finishes() {
    let mut d = Driven::serving();
    assert_eq!(
        d.on(Event::AcceptStopped { generation: nth(1) }),
        [
            Action::DropIdle,
            Action::Drain { generation: nth(1), deadline: secs(20) },
            Action::Spawn { generation: nth(2) }
        ],
        "13: what it was sent has the whole drain time"
    );
    d.serve(nth(2));
    d.on(Event::Exited { generation: nth(1), exit: Exit::Code(0) });
    assert_eq!((d.state.observed(), d.state.restarts()), ("ready", 1));
}

#[test]
fn degraded_is_shown_and_ends() {
    let mut d = Driven::serving();
    d.on(Event::Degraded { generation: nth(1), why: Some("x".to_owned()) });
    assert_eq!((d.state.observed(), d.state.availability(d.now)), ("degraded", Availability::Ready));
    d.on(Event::Degraded { generation: nth(1), why: None });
    assert_eq!(d.state.observed(), "ready");
}

#[test]
fn escalation_reaches_every_process_once_a_phase() {
    let mut d = Driven::serving();
    d.on(Event::Restart);
    d.serve(nth(2));
    d.on(Event::Leave);
    let terminated = d.on(Event::Escalate(Signal::Terminate));
    assert_eq!(terminated.len(), 2);
    assert_eq!(d.on(Event::Escalate(Signal::Terminate)), []);
    assert_eq!(d.on(Event::Escalate(Signal::Kill)).len(), 2);
    d.die(nth(1));
    d.die(nth(2));
    assert!(d.state.is_over());
}
