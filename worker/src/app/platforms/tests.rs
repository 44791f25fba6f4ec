//! Connections against adapters that do as they are told, in time that only passes when nothing else can happen.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use hermes_config::platform::BASE;
use tokio::sync::Notify;

use super::*;
use crate::platform::{Adapter, PlatformFuture};

/// What one run of an adapter does.
enum Act {
    /// Ends before it is up.
    Fails(Down),
    /// Is up, and lost after so long.
    Lives(Duration, Down),
    /// Is up, and makes progress every so often, so many times; then is silent for ever.
    Progresses(Duration, u32),
    /// Is up, ails after so long, and is well again after as long; then stays.
    Ails(Duration, Down),
    /// Never comes up.
    Hangs,
    /// Returns without being told.
    Returns,
    Panics,
    /// Is up until told, and takes so long to close.
    Stays(Duration),
}

/// Runs one act after the other, and notes what happens.
struct Actor {
    acts: Mutex<VecDeque<Act>>,
    noted: Arc<Noted>,
}

#[derive(Default)]
struct Noted {
    began: Mutex<Vec<Instant>>,
    told: Mutex<Vec<Told>>,
    open: Mutex<u32>,
    most_open: Mutex<u32>,
    changed: Notify,
}

/// Counts a connection for as long as it lives.
struct Open<'a>(&'a Noted);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'a> Open<'a> {
    fn new(noted: &'a Noted) -> Self {
        *lock(&noted.open) += 1;
        let open = *lock(&noted.open);
        let mut most = lock(&noted.most_open);
        *most = open.max(*most);
        Self(noted)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *lock(&self.0.open) -= 1;
    }
}

impl Adapter for Actor {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            let _open = Open::new(&self.noted);
            lock(&self.noted.began).push(Instant::now());
            self.noted.changed.notify_waiters();
            let act = lock(&self.acts).pop_front().unwrap_or(Act::Stays(Duration::ZERO));
            match act {
                Act::Fails(down) => return Err(down),
                Act::Lives(time, down) => {
                    link.up();
                    sleep(time).await;
                    return Err(down);
                }
                Act::Progresses(every, times) => {
                    link.up();
                    for _ in 0..times {
                        sleep(every).await;
                        link.progress();
                    }
                    return std::future::pending().await;
                }
                Act::Ails(time, down) => {
                    link.up_by("webhook");
                    sleep(time).await;
                    link.ails(down);
                    sleep(time).await;
                    link.up_by("webhook");
                    link.told().await;
                }
                Act::Hangs => std::future::pending().await,
                Act::Returns => {}
                Act::Panics => panic!("a test asked for it"),
                Act::Stays(closing) => {
                    link.up();
                    let lives = async {
                        loop {
                            sleep(Duration::from_mins(1)).await;
                            link.progress();
                        }
                    };
                    let told = tokio::select! {
                        told = link.told() => told,
                        () = lives => unreachable!(),
                    };
                    lock(&self.noted.told).push(told);
                    sleep(closing).await;
                }
            }
            Ok(())
        })
    }

    fn window(&self) -> Option<Duration> {
        Some(Duration::from_secs(90))
    }
}

fn actor(
    name: &'static str,
    exclusive: bool,
    routes: bool,
    acts: impl Into<VecDeque<Act>>,
) -> (Platform, Arc<Noted>) {
    let noted = Arc::new(Noted::default());
    let adapter = Arc::new(Actor { acts: Mutex::new(acts.into()), noted: Arc::clone(&noted) });
    // Few, and only in tests: declarations live as long as the program.
    let declaration = Box::leak(Box::new(Declaration { name, exclusive, ..BASE }));
    (Platform { declaration, routes: routes.then(axum::Router::new), pages: None, adapter }, noted)
}

fn record() -> Status {
    Status::new(status::empty("coder", 1, None, Vec::new()))
}

async fn reaches(connections: &Connections, name: &str, phase: Phase) {
    let mut phases = connections.phases();
    let reached = phases.wait_for(|phases| phases[name] == phase);
    timeout(Duration::from_hours(2), reached).await.expect("it gets there").unwrap();
}

fn code(status: &Status, name: &str) -> String {
    status.snapshot().platforms[name].error_code.clone().unwrap_or_default()
}

fn later() -> Down {
    Down::retrying("chat_network_error", "no route")
}

#[test]
fn waits_double_up_to_five_minutes_and_differ_by_a_fifth() {
    for (failures, seconds) in (1..).zip([30, 60, 120, 240, 300, 300, 300]) {
        let of = |random| wait(failures, None, random).as_millis();
        let (low, high) = (u128::from(seconds * 800_u32), u128::from(seconds * 1200_u32));
        assert_eq!(of(0), low, "{failures}");
        assert_eq!(of(u64::from(seconds) * 400), high, "{failures}");
        assert!((low..=high).contains(&of(u64::MAX)), "{failures}");
    }
    assert!(wait(u32::MAX, None, 0) == LONGEST * 4 / 5);
    // What the service asks for is never cut short, and never without a bound.
    let asked =
        |failures, seconds, random| wait(failures, Some(Duration::from_secs(seconds)), random).as_millis();
    assert_eq!([asked(1, 7, 0), asked(1, 7, 1400), asked(1, 7, 1401)], [7000, 8400, 7000]);
    assert_eq!([asked(1, 1 << 40, 0), asked(9, 1 << 40, 0)], [ASKED.as_millis(); 2]);
    // Nor is it a loop without a pause.
    assert_eq!(
        [asked(1, 0, 0), asked(2, 0, 0), asked(9, 0, 0), asked(9, 1, 0)],
        [1000, 48_000, 240_000, 1000]
    );
}

#[tokio::test(start_paused = true)]
async fn what_may_come_up_is_tried_again_and_what_cannot_is_left_out() {
    let (good, _) = actor("good", false, true, []);
    let (late, noted) = actor("late", false, true, [Act::Fails(later()), Act::Fails(later())]);
    let (never, refused) = actor("never", false, true, [Act::Fails(Down::fatal("chat_invalid_auth", "401"))]);
    let status = record();
    let connections =
        Connections::start(vec![good, late, never], status.clone(), &Identities::default()).await;
    let state = |name: &str| status.snapshot().platforms[name].state.clone();
    assert_eq!([state("good"), state("late"), state("never")], ["connected", "retrying", "fatal"]);
    assert_eq!([code(&status, "late"), code(&status, "never")], ["chat_network_error", "chat_invalid_auth"]);
    assert_eq!(connections.degraded().borrow().iter().collect::<Vec<_>>(), ["late", "never"]);
    reaches(&connections, "late", Phase::Connected).await;
    assert_eq!(connections.degraded().borrow().iter().collect::<Vec<_>>(), ["never"]);
    let began = lock(&noted.began).clone();
    let waits: Vec<u64> = began.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!((24..=36).contains(&waits[0]) && (48..=72).contains(&waits[1]), "{waits:?}");
    connections.stop(&CancellationToken::new()).await;
    assert_eq!(lock(&refused.began).len(), 1, "what is fatal is not tried again");
    assert_eq!([state("good"), state("late"), state("never")], ["disconnected", "disconnected", "fatal"]);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_what_dials_out_and_not_for_long_for_what_listens() {
    let began = Instant::now();
    let (dials, _) = actor("dials", false, false, [Act::Hangs]);
    let connections = Connections::start(vec![dials], record(), &Identities::default()).await;
    assert_eq!(began.elapsed(), Duration::ZERO);
    connections.stop(&CancellationToken::new()).await;
    let (listens, _) = actor("listens", false, true, [Act::Hangs]);
    let status = record();
    let connections = Connections::start(vec![listens], status.clone(), &Identities::default()).await;
    assert_eq!(began.elapsed(), FIRST);
    reaches(&connections, "listens", Phase::Retrying).await;
    assert_eq!(began.elapsed(), CONNECT);
    assert_eq!(code(&status, "listens"), "timeout");
}

/// Its service keeps nothing for who comes later: the one before closes when this one is ready.
#[tokio::test(start_paused = true)]
async fn what_overlaps_is_connected_before_the_worker_is_ready() {
    let now = CancellationToken::new();
    now.cancel();
    for (act, phase, after) in [
        (Act::Stays(Duration::ZERO), Phase::Connected, Duration::ZERO),
        (Act::Fails(later()), Phase::Retrying, Duration::ZERO),
        (Act::Hangs, Phase::Connecting, FIRST),
    ] {
        let (mut chat, _) = actor("chat", false, false, [act]);
        chat.declaration = Box::leak(Box::new(Declaration { name: "chat", overlaps: true, ..BASE }));
        let started = Instant::now();
        let connections = Connections::start(vec![chat], record(), &Identities::default()).await;
        assert_eq!((connections.phases().borrow()["chat"], started.elapsed()), (phase, after));
        connections.stop(&now).await;
    }
}

/// A connection that ends by itself, however, is seen, and so is one that only seems to live.
#[tokio::test(start_paused = true)]
async fn a_lost_connection_is_seen() {
    let minute = Duration::from_mins(1);
    for (act, wanted, after) in [
        (Act::Lives(minute, later()), "chat_network_error", minute),
        (Act::Returns, "ended", Duration::ZERO),
        (Act::Panics, "panic", Duration::ZERO),
        (Act::Progresses(minute, 10), "silent", 10 * minute + Duration::from_secs(90)),
    ] {
        let (chat, noted) = actor("chat", false, false, [act]);
        let status = record();
        let began = Instant::now();
        let connections = Connections::start(vec![chat], status.clone(), &Identities::default()).await;
        reaches(&connections, "chat", Phase::Retrying).await;
        assert_eq!((code(&status, "chat").as_str(), began.elapsed()), (wanted, after));
        assert!(connections.degraded().borrow().contains("chat"), "{wanted}");
        assert_eq!(*lock(&noted.open), 0, "nothing of it is left open");
        reaches(&connections, "chat", Phase::Connected).await;
        assert!(connections.degraded().borrow().is_empty(), "{wanted}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stable_connection_makes_up_for_failures_before_it_and_a_short_one_does_not() {
    let acts = [
        Act::Fails(later()),
        Act::Fails(later()),
        Act::Lives(Duration::from_secs(59), later()),
        Act::Lives(STABLE, later()),
        Act::Fails(later().after(Some(Duration::from_secs(1)))),
    ];
    let (chat, noted) = actor("chat", false, false, acts);
    let connections = Connections::start(vec![chat], record(), &Identities::default()).await;
    while lock(&noted.began).len() < 6 {
        noted.changed.notified().await;
    }
    let began = lock(&noted.began).clone();
    let gaps: Vec<u64> = began.windows(2).map(|pair| (pair[1] - pair[0]).as_secs()).collect();
    assert!((59 + 96..=59 + 144).contains(&gaps[2]), "the third failure: {gaps:?}");
    assert!((60 + 24..=60 + 36).contains(&gaps[3]), "the first one again: {gaps:?}");
    assert_eq!(gaps[4], 1, "as the service asked: {gaps:?}");
    drop(connections);
}

#[tokio::test(start_paused = true)]
async fn an_exclusive_connection_waits_for_the_word_and_is_given_up_on_the_word() {
    let (chat, noted) = actor("chat", true, false, [Act::Stays(Duration::from_secs(2))]);
    let (other, others) = actor("other", false, false, []);
    let connections = Connections::start(vec![chat, other], record(), &Identities::default()).await;
    assert_eq!(connections.exclusive().collect::<Vec<_>>(), ["chat"]);
    reaches(&connections, "other", Phase::Connected).await;
    sleep(Duration::from_hours(1)).await;
    assert_eq!((connections.phases().borrow()["chat"], lock(&noted.began).len()), (Phase::Held, 0));

    connections.connect();
    connections.connect();
    reaches(&connections, "chat", Phase::Connected).await;
    let began = Instant::now();
    connections.yield_exclusive(YIELD).await;
    assert_eq!((began.elapsed(), *lock(&noted.open)), (Duration::from_secs(2), 0));
    sleep(Duration::from_hours(1)).await;
    assert_eq!((lock(&noted.began).len(), connections.phases().borrow()["chat"]), (1, Phase::Held));
    assert!(connections.degraded().borrow().is_empty(), "a connection that was handed over is no failure");

    connections.connect();
    reaches(&connections, "chat", Phase::Connected).await;
    connections.stop(&CancellationToken::new()).await;
    connections.connect();
    assert_eq!(*lock(&noted.told), [Told::Yield, Told::Stop]);
    assert_eq!((*lock(&others.told)).as_slice(), [Told::Stop]);
    assert_eq!((*lock(&noted.most_open), lock(&noted.began).len()), (1, 2));
}

/// Whatever the connection is doing: giving it up takes seconds, and nothing is open afterwards.
#[tokio::test(start_paused = true)]
async fn an_exclusive_connection_is_given_up_in_every_state() {
    let long = Duration::from_hours(1);
    for (act, most) in [
        (Act::Hangs, YIELD),
        (Act::Fails(later()), Duration::ZERO),
        (Act::Fails(Down::fatal("f", "f")), Duration::ZERO),
        (Act::Stays(long), YIELD),
        (Act::Progresses(long, 0), YIELD),
    ] {
        let (chat, noted) = actor("chat", true, false, [act]);
        let connections = Connections::start(vec![chat], record(), &Identities::default()).await;
        connections.connect();
        sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        connections.yield_exclusive(YIELD).await;
        assert_eq!((began.elapsed(), *lock(&noted.open)), (most, 0));
        let runs = lock(&noted.began).len();
        sleep(long).await;
        assert_eq!(lock(&noted.began).len(), runs);
    }
    // Before the word to connect was even heard.
    let (chat, noted) = actor("chat", true, false, []);
    let connections = Connections::start(vec![chat], record(), &Identities::default()).await;
    connections.connect();
    connections.yield_exclusive(YIELD).await;
    sleep(long).await;
    assert_eq!(lock(&noted.began).len(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_what_is_under_way_until_there_is_no_patience_left() {
    let long = Duration::from_hours(1);
    let (chat, noted) = actor("chat", false, false, [Act::Stays(long)]);
    let connections = Connections::start(vec![chat], record(), &Identities::default()).await;
    reaches(&connections, "chat", Phase::Connected).await;
    let (now, began) = (CancellationToken::new(), Instant::now());
    let impatient = async {
        sleep(Duration::from_mins(10)).await;
        now.cancel();
    };
    tokio::join!(connections.stop(&now), impatient);
    assert_eq!((began.elapsed(), *lock(&noted.open)), (Duration::from_mins(10), 0));
    assert_eq!(connections.phases().borrow()["chat"], Phase::Closed);
}

/// A connection that its service does not get through by is not cut, and is not called connected either.
#[tokio::test(start_paused = true)]
async fn a_connection_that_ails_stays_and_is_said_to() {
    let status = record();
    let act = Act::Ails(Duration::from_secs(5), Down::retrying("blocked", "a wall"));
    let (platform, noted) = actor("chat", false, false, [act]);
    let connections = Connections::start(vec![platform], status.clone(), &Identities::default()).await;
    reaches(&connections, "chat", Phase::Connected).await;
    assert_eq!(status.snapshot().platforms["chat"].mode.as_deref(), Some("webhook"));
    reaches(&connections, "chat", Phase::Retrying).await;
    assert_eq!((code(&status, "chat").as_str(), *lock(&noted.open)), ("blocked", 1));
    assert!(connections.degraded().borrow().contains("chat"));
    reaches(&connections, "chat", Phase::Connected).await;
    assert!(connections.degraded().borrow().is_empty() && lock(&noted.began).len() == 1);
    connections.stop(&CancellationToken::new()).await;
}

/// Somebody has a connection closed for now, and made again.
#[tokio::test(start_paused = true)]
async fn a_paused_platform_is_closed_until_it_is_resumed() {
    let (chat, noted) = actor("chat", false, false, [Act::Stays(Duration::ZERO), Act::Stays(Duration::ZERO)]);
    let (status, paused) = (record(), Paused::default());
    let none = Identities::default();
    let connections = Connections::start_unless(vec![chat], status.clone(), &none, paused.clone()).await;
    reaches(&connections, "chat", Phase::Connected).await;
    paused.send_modify(|all| {
        all.insert("chat".to_owned());
    });
    reaches(&connections, "chat", Phase::Held).await;
    let state = || status.snapshot().platforms["chat"].state.clone();
    assert_eq!((state(), *lock(&noted.open)), ("paused".to_owned(), 0));
    assert!(connections.degraded().borrow().is_empty());
    paused.send_modify(|all| {
        all.remove("chat");
    });
    reaches(&connections, "chat", Phase::Connected).await;
    assert_eq!((state(), lock(&noted.began).len()), ("connected".to_owned(), 2));
    connections.stop(&CancellationToken::new()).await;
    assert_eq!(*lock(&noted.most_open), 1);
}
