//! One bot, several profiles: what goes over the road between workers, and what does not. The part of the bot's own worker is played
//! with its own end of the road; supervisor and the other worker are the real ones.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use hermes_tests::road::{Road, event};
use hermes_tests::{Gateway, Home, http, process, wait};
use nix::sys::signal::Signal;

/// `default` with rules for the platform `telegram`, `coder` that they lead to, and `ops` that none leads to.
fn home() -> Home {
    let rules = "  max_inbound_media_bytes: 0\n  profile_routes:\n  - {platform: telegram, profile: coder, chat_id: -100}\n\
                 \x20 - {platform: telegram, profile: gone, chat_id: 2}\n";
    let home = Home::with_config(&Home::config("true", rules));
    home.profile("coder").profile("ops");
    home.lets_everybody_in("coder");
    home.write("coder", "config.yaml", "agent: {engine: echo}\ngateway: {max_inbound_media_bytes: 0}\n");
    home
}

const TO_CODER: &str = "/hand-over/coder/telegram";

/// A number out of a profile's database.
fn count(home: &Home, profile: &str, sql: &str) -> i64 {
    let db = rusqlite::Connection::open(home.of(profile).join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn answers(home: &Home, profile: &str) -> i64 {
    count(home, profile, "SELECT count(*) FROM messages WHERE role = 'assistant' AND active = 1")
}

/// An event for another profile is in that profile's inbox when it is accepted, is answered there by its own session, once, and its
/// answer comes back to the worker whose bot it is, which sends it nowhere but where the question came from.
#[test]
fn d_an_event_is_answered_once_by_the_profile_that_the_rule_names() {
    let home = home();
    let gateway = Gateway::start(&home);
    let road = Road::of(gateway.worker("default"));
    let body = event("1", &[]).head().unwrap();
    let first = road.ask(TO_CODER, &body);
    assert!(first.status == 200 && first.text.ends_with(r#"{"accepted":"new"}"#), "{first:?}");
    let again = road.ask(TO_CODER, &body);
    assert!(again.status == 200 && again.text.ends_with(r#"{"accepted":"known"}"#), "{again:?}");
    wait::until_true("the answer", || answers(&home, "coder") == 1);
    let sessions = "SELECT count(*) FROM sessions WHERE session_key = 'agent:coder:telegram:group:-100:7'";
    assert_eq!((count(&home, "coder", sessions), answers(&home, "default")), (1, 0));
    // Nobody sealed this event, so the owner refuses the answer for good: it was asked.
    let refused = "SELECT count(*) FROM hermes_delivery WHERE kind = 'hand_over' AND state = 'failed'
        AND last_error LIKE '%not for where its question came from%'";
    wait::until_true("the owner's word", || count(&home, "coder", refused) == 1);
    assert_eq!(answers(&home, "coder"), 1);
}

/// Only default's worker hands over, only along its declared rules, and only to who serves; what is refused has a reason.
#[test]
fn d_only_declared_ways_are_open_and_refusals_have_reasons() {
    let home = home();
    let gateway = Gateway::start(&home);
    let (default, coder) = (Road::of(gateway.worker("default")), Road::of(gateway.worker("coder")));
    let body = event("1", &[]).head().unwrap();
    for (road, path, status, code) in [
        (&default, "/hand-over/ops/telegram", 403, "not_declared"),
        (&default, "/hand-over/coder/discord", 403, "not_declared"),
        (&default, "/hand-over/gone/telegram", 404, "unknown_profile"),
        (&default, "/road/hand-over/telegram", 404, "not_found"),
        (&coder, "/hand-over/ops/telegram", 403, "not_declared"),
        (&coder, "/hand-over/default/telegram", 403, "not_declared"),
        (&coder, "/deliver/ops/telegram", 403, "not_a_target"),
        (&Road::of(gateway.worker("ops")), "/deliver/default/telegram", 403, "not_a_target"),
    ] {
        let answer = road.ask(path, &body);
        assert_eq!((answer.status, answer.code()), (status, code), "{path}");
    }
    let stopped = hermes_tests::gateway::run(&home, &["gateway", "stop", "-p", "coder"]);
    assert!(stopped.status.success());
    let answer = default.ask(TO_CODER, &body);
    assert_eq!((answer.status, answer.code()), (503, "worker_not_ready"), "{answer:?}");
    assert!(answer.text.contains("retry-after: ") && answer.text.contains("parked"), "{answer:?}");
    assert_eq!((answers(&home, "default"), answers(&home, "ops")), (0, 0), "never run by anybody else");

    // A rule that is gone closes the way as soon as its worker is replaced.
    hermes_tests::gateway::run(&home, &["gateway", "start", "-p", "coder"]);
    gateway.wait_ready("coder");
    let before = gateway.worker("default");
    home.write("default", "config.yaml", &Home::config("true", ""));
    wait::until_true("the swap", || gateway.worker("default") != before);
    let answer = Road::of(gateway.worker("default")).ask(TO_CODER, &body);
    assert_eq!((answer.status, answer.code()), (403, "not_declared"));
}

/// What workers send each other is no path of a listener, and a worker's socket takes it from the supervisor alone.
#[test]
fn d_no_client_reaches_the_inner_paths() {
    let home = home();
    let gateway = Gateway::start(&home);
    let body = event("1", &[]).head().unwrap();
    for platform in ["webhook", "api_server"] {
        let address = gateway.address(platform);
        let page = ("origin", "http://page.example");
        for path in
            ["/road/hand-over/telegram", "/p/coder/road/hand-over/telegram", "/p/coder/road/deliver/x"]
        {
            for more in [None, Some(page)] {
                let headers: Vec<_> = [("x-hermes-sender", "default")].into_iter().chain(more).collect();
                let answer = http::request(&address, "POST", path, &headers, &body).unwrap();
                assert_eq!(answer.status, 404, "{platform} {path} {headers:?}: {answer:?}");
            }
        }
        assert_eq!(http::request(&address, "POST", TO_CODER, &[], &body).unwrap().status, 404);
    }
    let mut direct = UnixStream::connect(gateway.profile("coder").data_socket.unwrap()).unwrap();
    let head = format!(
        "POST /road/hand-over/telegram HTTP/1.1\r\nhost: w\r\nx-hermes-sender: default\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    // At once: the answer may come, and the connection end, before a second write.
    direct.write_all(&[head.as_bytes(), &body].concat()).unwrap();
    let mut answer = String::new();
    direct.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(count(&home, "coder", "SELECT count(*) FROM hermes_inbox"), 0);
}

/// Tens of megabytes pass through the gateway and stay in nobody's memory; the file is whole, or not there.
#[test]
fn d_large_attachments_pass_as_streams() {
    const LEN: usize = 48 << 20;
    let home = home();
    let gateway = Gateway::start(&home);
    let road = Road::of(gateway.worker("default"));
    let (supervisor, coder) = (gateway.pid(), gateway.worker("coder"));
    let before = (process::rss(supervisor), process::rss(coder));
    let head = event("1", &[LEN]).head().unwrap();
    let mut asked = road.begin(TO_CODER, head.len() + LEN);
    asked.send(&head).unwrap();
    let piece: Vec<u8> = (0..1 << 20).map(|n: u32| n.to_le_bytes()[0]).collect();
    let mut most = (0, 0);
    for _ in 0..LEN >> 20 {
        asked.send(&piece).unwrap();
        most = (most.0.max(process::rss(supervisor)), most.1.max(process::rss(coder)));
    }
    let answer = asked.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    let grown = (most.0.saturating_sub(before.0), most.1.saturating_sub(before.1));
    assert!(grown.0 < 8 << 20 && grown.1 < 8 << 20, "grown by {grown:?} bytes");
    let files: Vec<_> =
        fs_err::read_dir(home.of("coder").join("cache/documents")).unwrap().map(Result::unwrap).collect();
    let [file] = files.as_slice() else { panic!("{files:?}") };
    let bytes = fs_err::read(file.path()).unwrap();
    assert!(bytes.len() == LEN && bytes.chunks(1 << 20).all(|chunk| chunk == piece));
    wait::until_true("the answer", || answers(&home, "coder") == 1);
}

/// Whoever dies, at whatever step: nothing is half accepted, and what is offered again is answered once.
#[test]
fn d_kills_at_every_step_lose_nothing_and_double_nothing() {
    const LEN: usize = 200_000;
    let home = home();
    let mut gateway = Gateway::start(&home);
    let whole = |id: &str| {
        let mut body = event(id, &[LEN]).head().unwrap();
        body.resize(body.len() + LEN, 7);
        body
    };
    let inbox = |id: &str| {
        count(&home, "coder", &format!("SELECT count(*) FROM hermes_inbox WHERE dedup_id = '{id}'"))
    };
    let files = || {
        let dir = home.of("coder").join("cache/documents");
        let names = fs_err::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().file_name());
        names.filter(|name| !name.to_string_lossy().starts_with('.')).count()
    };

    // The target, in the middle of the body.
    let road = Road::of(gateway.worker("default"));
    let body = whole("a");
    let mut asked = road.begin(TO_CODER, body.len());
    asked.send(&body[..LEN / 2]).unwrap();
    let temporary = || {
        fs_err::read_dir(home.of("coder").join("cache/documents")).is_ok_and(|mut dir| dir.next().is_some())
    };
    wait::until_true("the attachment to be begun", temporary);
    let coder = gateway.worker("coder");
    process::signal(coder, Signal::SIGKILL);
    let _ = asked.send(&body[LEN / 2..]);
    let lost = asked.answer();
    assert_ne!(lost.status, 200, "{lost:?}");
    gateway.wait_replaced("coder", coder);
    assert_eq!((inbox("a"), files()), (0, 0), "half an event is none");
    assert_eq!(road.ask(TO_CODER, &body).status, 200);

    // The target, right after it accepted.
    let body = whole("b");
    assert_eq!(road.ask(TO_CODER, &body).status, 200);
    gateway.kill_worker("coder");
    let again = road.ask(TO_CODER, &body);
    assert!(again.text.ends_with(r#"{"accepted":"known"}"#), "{again:?}");

    // The owner, in the middle of the body, and after the target accepted what it never heard of.
    let body = whole("c");
    let mut asked = road.begin(TO_CODER, body.len());
    asked.send(&body[..LEN / 2]).unwrap();
    drop(asked);
    gateway.kill_worker("default");
    assert_eq!(inbox("c"), 0);
    let road = Road::of(gateway.worker("default"));
    let mut asked = road.begin(TO_CODER, body.len());
    asked.send(&body).unwrap();
    wait::until_true("it to be accepted", || inbox("c") == 1);
    drop(asked);
    let again = road.ask(TO_CODER, &body);
    assert!(again.text.ends_with(r#"{"accepted":"known"}"#), "{again:?}");

    // The supervisor, in the middle of the body; everything else goes with it.
    let body = whole("d");
    let mut asked = road.begin(TO_CODER, body.len());
    asked.send(&body[..LEN / 2]).unwrap();
    gateway.signal(Signal::SIGKILL);
    gateway.wait();
    let _ = asked.send(&body[LEN / 2..]);
    assert_ne!(asked.answer().status, 200);
    drop(gateway);
    let gateway = Gateway::start(&home);
    assert_eq!(inbox("d"), 0);
    assert_eq!(Road::of(gateway.worker("default")).ask(TO_CODER, &body).status, 200);

    wait::until_true("every answer", || answers(&home, "coder") == 4);
    let users = count(&home, "coder", "SELECT count(*) FROM messages WHERE role = 'user' AND active = 1");
    assert_eq!((users, answers(&home, "coder"), answers(&home, "default")), (4, 4, 0));
    assert_eq!(files(), 4);
}
