//! Who may send whom what, and how it is carried.

use std::os::fd::AsFd as _;

use camino::Utf8PathBuf;
use hermes_host::passing;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::time::timeout;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);
const READY: Availability = Availability::Open { ready: true };

fn name(text: &str) -> ProfileName {
    text.parse().unwrap()
}

fn way(profile: &str) -> HandOver {
    HandOver { platform: "telegram".to_owned(), profile: name(profile) }
}

fn sender(profile: &str, generation: u64) -> Sender {
    Sender { profile: name(profile), generation: Generation::new(generation) }
}

/// A road with `default` and `coder`; telegram is handed over to coder by generation 3 of default.
fn road() -> Road {
    let road = Road::new(TaskTracker::new());
    for profile in ["default", "coder", "ops"] {
        let route = Route::new(name(profile), "/nowhere".into());
        route.set(READY);
        road.open(route);
    }
    road.declare(Generation::new(3), vec![way("coder"), way("gone")]);
    road
}

fn says(road: &Road, from: (&str, u64), path: &str) -> String {
    let (errand, profile, platform) = Errand::parse(path).unwrap();
    match road.decide(&sender(from.0, from.1), errand, &profile, platform) {
        Ok(route) => route.name().to_string(),
        Err(refusal) => refusal.code().to_owned(),
    }
}

#[test]
fn only_declared_ways_are_open_and_only_from_where_they_begin() {
    let road = road();
    for (from, path, said) in [
        (("default", 3), "/hand-over/coder/telegram", "coder"),
        (("default", 3), "/hand-over/coder/discord", "not_declared"),
        (("default", 3), "/hand-over/ops/telegram", "not_declared"),
        (("default", 3), "/hand-over/gone/telegram", "unknown_profile"),
        (("default", 4), "/hand-over/coder/telegram", "not_declared"),
        (("coder", 3), "/hand-over/coder/telegram", "not_declared"),
        (("coder", 3), "/hand-over/ops/telegram", "not_declared"),
        (("coder", 9), "/deliver/default/telegram", "default"),
        (("coder", 9), "/deliver/default/discord", "not_a_target"),
        (("coder", 9), "/deliver/ops/telegram", "not_a_target"),
        (("ops", 9), "/deliver/default/telegram", "not_a_target"),
        (("default", 3), "/deliver/default/telegram", "not_a_target"),
    ] {
        assert_eq!(says(&road, from, path), said, "{from:?} {path}");
    }
    road.withdraw(Generation::new(3));
    assert_eq!(says(&road, ("default", 3), "/hand-over/coder/telegram"), "not_declared");
    assert_eq!(says(&road, ("coder", 9), "/deliver/default/telegram"), "not_a_target");
}

#[test]
fn who_does_not_serve_gets_nothing() {
    let road = road();
    let route = Arc::clone(&lock(&road.ways).get(&name("coder")).unwrap().route);
    let asked = |availability| {
        route.set(availability);
        road.decide(&sender("default", 3), Errand::HandOver, &name("coder"), "telegram").unwrap_err()
    };
    assert_eq!(asked(Availability::Open { ready: false }), Refusal::Unavailable("starting"));
    let stopped = Availability::Unavailable { state: "stopped", retry_after_secs: 5 };
    assert_eq!(asked(stopped), Refusal::Unavailable("stopped"));
    road.close(&name("coder"));
    assert_eq!(asked(READY), Refusal::UnknownProfile);
    let response = Refusal::Unavailable("stopped").response();
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key(RETRY_AFTER));
}

/// A worker behind a socket of its own, and the end of a process that may pass sockets.
struct Rig {
    _dir: tempfile::TempDir,
    worker: UnixListener,
    process: UnixStream,
    tracker: TaskTracker,
    gone: CancellationToken,
}

fn rig() -> Rig {
    rig_that_waits(STALL)
}

fn rig_that_waits(stall: Duration) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let socket = Utf8PathBuf::from_path_buf(dir.path().join("w")).unwrap();
    let worker = UnixListener::bind(&socket).unwrap();
    let tracker = TaskTracker::new();
    let road = Road { stall, ..Road::new(tracker.clone()) };
    let route = Route::new(name("coder"), socket);
    route.set(READY);
    road.open(route);
    road.declare(Generation::new(1), vec![way("coder")]);
    let (ours, process) = UnixStream::pair().unwrap();
    let gone = CancellationToken::new();
    ours.set_nonblocking(true).unwrap();
    process.set_nonblocking(true).unwrap();
    tracker.spawn(Arc::new(road).keep(sender("default", 1), ours, gone.clone(), CancellationToken::new()));
    Rig { _dir: dir, worker, process, tracker, gone }
}

impl Rig {
    async fn connect(&self) -> Stream {
        let mut line = &self.process;
        std::io::Write::write_all(&mut line, &[0]).unwrap();
        let taken = timeout(PATIENCE, async {
            loop {
                match passing::receive(self.process.as_fd()) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                        tokio::task::yield_now().await;
                    }
                    taken => break taken.unwrap().unwrap(),
                }
            }
        });
        let taken = UnixStream::from(taken.await.unwrap());
        taken.set_nonblocking(true).unwrap();
        Stream::from_std(taken).unwrap()
    }
}

async fn until(stream: &mut Stream, end: &str) -> String {
    let mut text = Vec::new();
    let mut piece = vec![0; 4096];
    timeout(PATIENCE, async {
        while !String::from_utf8_lossy(&text).contains(end) {
            let n = stream.read(&mut piece).await.unwrap();
            assert!(n > 0, "it ended at {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..n]);
        }
    })
    .await
    .unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn an_errand_is_passed_on_under_its_senders_name_and_its_answer_comes_back() {
    let rig = rig();
    let mut asks = rig.connect().await;
    let head = "POST /hand-over/coder/telegram HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\
                x-hermes-sender: ops\r\nx-forged: 1\r\n\r\n";
    asks.write_all(head.as_bytes()).await.unwrap();
    let (mut worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
    let seen = until(&mut worker, "\r\n\r\n").await.to_ascii_lowercase();
    assert!(seen.starts_with("post /road/hand-over/telegram http/1.1\r\n"), "{seen}");
    assert!(seen.contains("\r\nx-hermes-sender: default\r\n") && !seen.contains("ops"), "{seen}");
    assert!(seen.contains("\r\ncontent-length: 5\r\n") && !seen.contains("x-forged"), "{seen}");
    asks.write_all(b"hello").await.unwrap();
    assert!(until(&mut worker, "hello").await.contains("hello"));
    worker.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-y: z\r\n\r\nok").await.unwrap();
    let answer = until(&mut asks, "ok").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-y: z"), "{answer}");
    drop((asks, worker));
    drop(rig.process);
    rig.tracker.close();
    timeout(PATIENCE, rig.tracker.wait()).await.expect("nothing is left of a process that is gone");
}

#[tokio::test]
async fn refusals_have_reasons_and_the_worker_hears_of_none() {
    let rig = rig();
    for (line, code) in [
        ("POST /hand-over/ops/telegram", "not_declared"),
        ("GET /hand-over/coder/telegram", "not_found"),
        ("POST /road/hand-over/telegram", "not_found"),
        ("POST /v1/chat/completions", "not_found"),
        ("POST /deliver/default/telegram", "not_a_target"),
    ] {
        let mut asks = rig.connect().await;
        asks.write_all(format!("{line} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let answer = until(&mut asks, "}}").await;
        assert!(answer.contains(&format!("x-hermes-error: {code}\r\n")), "{line}: {answer}");
    }
    assert!(timeout(Duration::from_millis(20), rig.worker.accept()).await.is_err());
}

#[tokio::test]
async fn half_a_message_never_looks_whole() {
    let rig = rig();
    let mut asks = rig.connect().await;
    let head = "POST /hand-over/coder/telegram HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhel";
    asks.write_all(head.as_bytes()).await.unwrap();
    let (mut worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
    until(&mut worker, "hel").await;
    drop(asks);
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, worker.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty(), "{ended:?} {rest:?}");

    let mut asks = rig.connect().await;
    asks.write_all(head.replace("hel", "hello").as_bytes()).await.unwrap();
    let (mut worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
    until(&mut worker, "hello").await;
    drop(worker);
    let answer = until(&mut asks, "}}").await;
    assert!(answer.contains("x-hermes-error: worker_closed_early\r\n"), "{answer}");
}

/// Whoever finds no place waits for one, and hears that there is none; a place is free again when its errand is over.
#[tokio::test]
async fn only_so_much_is_carried_at_once() {
    let rig = rig();
    let head = "POST /hand-over/coder/telegram HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n";
    let mut carried = Vec::new();
    for _ in 0..SHARE {
        let mut asks = rig.connect().await;
        asks.write_all(head.as_bytes()).await.unwrap();
        let (worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
        carried.push((asks, worker));
    }
    let mut waits = rig.connect().await;
    waits.write_all(head.as_bytes()).await.unwrap();
    assert!(timeout(Duration::from_millis(50), rig.worker.accept()).await.is_err());
    drop(carried.pop());
    let (worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
    carried.push((waits, worker));
    assert_eq!(Refusal::Busy.status(), 503);
}

/// The pace of the slower end holds for both: what the worker does not take is not read from the other one.
#[tokio::test]
async fn a_body_that_nobody_takes_stays_where_it_is() {
    let rig = rig();
    let mut asks = rig.connect().await;
    let most = 64 << 20;
    let head =
        format!("POST /hand-over/coder/telegram HTTP/1.1\r\nhost: x\r\ncontent-length: {most}\r\n\r\n");
    asks.write_all(head.as_bytes()).await.unwrap();
    let (worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
    let piece = vec![7; 64 * 1024];
    let mut taken = 0;
    while let Ok(n) = timeout(Duration::from_millis(300), asks.write(&piece)).await {
        taken += n.unwrap();
        assert!(taken < 8 << 20, "{taken} bytes went into the gateway");
    }
    drop(worker);
}

/// A target that answers early and reads nothing holds nothing: its errand ends with its answer.
#[tokio::test]
async fn an_early_answer_ends_the_errand() {
    let rig = rig();
    let mut asks = rig.connect().await;
    let head =
        format!("POST /hand-over/coder/telegram HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", 64 << 20);
    asks.write_all(head.as_bytes()).await.unwrap();
    let (mut worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
    // As much as goes in: both sides are full.
    let piece = vec![7; 64 * 1024];
    while timeout(Duration::from_millis(100), asks.write(&piece)).await.is_ok() {}
    worker.write_all(b"HTTP/1.1 507 Full\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
    assert!(until(&mut asks, "no").await.starts_with("HTTP/1.1 507 "));
    timeout(PATIENCE, worker.read_to_end(&mut Vec::new())).await.expect("the connection is closed").unwrap();
    drop((asks, rig.process));
    rig.tracker.close();
    timeout(PATIENCE, rig.tracker.wait()).await.expect("no task is left while the worker still has its end");
    drop(worker);
}

/// Whoever does not take, and whoever does not send, is given up after a while.
#[tokio::test]
async fn what_stands_still_is_given_up() {
    for fill in [false, true] {
        let rig = rig_that_waits(Duration::from_millis(300));
        let mut asks = rig.connect().await;
        let head = format!(
            "POST /hand-over/coder/telegram HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            64 << 20
        );
        asks.write_all(head.as_bytes()).await.unwrap();
        let (worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
        let piece = vec![7; 64 * 1024];
        while fill && timeout(Duration::from_millis(100), asks.write(&piece)).await.is_ok_and(|n| n.is_ok()) {
        }
        drop(rig.process);
        rig.tracker.close();
        timeout(PATIENCE, rig.tracker.wait()).await.expect("it is given up while both sides are there");
        drop((asks, worker));
    }
}

/// One profile has no more than its share, and no kind of errand takes the places of the other.
#[tokio::test]
async fn a_profile_has_its_share_and_each_kind_of_errand_its_places() {
    let road = road();
    let soon = Duration::from_millis(20);
    let mut held = Vec::new();
    for profile in ["coder", "ops"] {
        for _ in 0..SHARE {
            held.push(road.take_place(Errand::HandOver, &name(profile)).await.unwrap());
        }
        let more = timeout(soon, road.take_place(Errand::HandOver, &name(profile))).await;
        assert_eq!((more.is_err(), road.places.hand_over.available_permits()), (true, AT_ONCE - held.len()));
    }
    assert_eq!(held.len(), AT_ONCE);
    let more = timeout(soon, road.take_place(Errand::HandOver, &name("default"))).await;
    assert!(more.is_err(), "all places are taken");
    drop(road.take_place(Errand::Deliver, &name("coder")).await.unwrap());
    held.clear();
    drop(road.take_place(Errand::HandOver, &name("coder")).await.unwrap());
    assert!(road.take_place(Errand::Deliver, &name("gone")).await.is_err());
}

/// A child that a process left behind, with a copy of its end of the line, asks for nothing and goes on with nothing.
#[tokio::test]
async fn nothing_of_a_process_goes_on_after_it() {
    let rig = rig();
    let mut asks = rig.connect().await;
    let head = "POST /hand-over/coder/telegram HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhel";
    asks.write_all(head.as_bytes()).await.unwrap();
    let (mut worker, _) = timeout(PATIENCE, rig.worker.accept()).await.unwrap().unwrap();
    until(&mut worker, "hel").await;
    rig.gone.cancel();
    rig.tracker.close();
    timeout(PATIENCE, rig.tracker.wait()).await.expect("it ends with the process");
    assert!(timeout(PATIENCE, worker.read_to_end(&mut Vec::new())).await.is_ok());
    let again = std::io::Write::write_all(&mut &rig.process, &[0]);
    assert_eq!(again.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    drop(asks);
}
