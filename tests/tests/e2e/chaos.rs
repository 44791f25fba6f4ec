//! Random kills, stops and starvation under load, for a bounded time.
//!
//! Checked: every acknowledged message is answered exactly once; a profile that nobody touches answers every request as long as
//! its supervisor lives; at the end no process, socket or PID record is left. The seed is printed; `CHAOS_SEED` and
//! `CHAOS_SECONDS` repeat or lengthen a run.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use hermes_tests::{Gateway, Home, home, http, sign, wait};
use nix::sys::signal::Signal;

const TARGETS: [&str; 3] = ["default", "coder", "ops"];

/// A tiny generator (`SplitMix64`): the test's randomness is its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[expect(clippy::disallowed_methods, reason = "the knobs of this test are environment variables")]
fn knob(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

struct Shared {
    addresses: Mutex<(String, String)>,
    /// Counts supervisors; odd while none is up.
    epoch: AtomicU64,
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<(usize, String)>>,
    quiet: AtomicU64,
}

impl Shared {
    fn up(&self) -> Option<u64> {
        Some(self.epoch.load(SeqCst)).filter(|e| e % 2 == 0)
    }
}

/// Posts webhooks with ids of its own and records those that were acknowledged. Any failure is legal, a wrong code is not.
fn post(shared: &Shared, thread: usize) {
    let mut connection = None;
    let mut n = 0_u64;
    while !shared.stop.load(SeqCst) {
        n += 1;
        let target = usize::try_from(n).unwrap() % TARGETS.len();
        let (name, id) = (TARGETS[target], format!("{thread}-{n}"));
        let secret =
            if name == "default" { home::SECRET.to_owned() } else { format!("{}-{name}", home::SECRET) };
        let body = br#"{"text": "chaos"}"#;
        let signature = sign::github(&secret, body);
        let headers = [
            ("X-Hub-Signature-256", signature.as_str()),
            ("X-GitHub-Delivery", id.as_str()),
            ("Content-Type", "application/json"),
        ];
        let address = shared.addresses.lock().unwrap().0.clone();
        let open = connection.take().map_or_else(|| http::Connection::open(&address), Ok);
        let Ok(mut open) = open else {
            wait::pass(Duration::from_millis(20));
            continue;
        };
        match open.request("POST", &format!("/p/{name}/webhooks/hook"), &headers, body) {
            Ok(response) if response.status == 202 => {
                shared.acknowledged.lock().unwrap().insert((target, id));
                connection = Some(open);
            }
            Ok(response) => {
                assert!(matches!(response.status, 502..=504), "{}: {}", response.status, response.text());
                connection = Some(open).filter(|_| response.header("connection") != Some("close"));
            }
            Err(_) => {}
        }
        wait::pass(Duration::from_millis(3));
    }
}

/// Asks the untouched profile, and insists on an answer whenever the same supervisor lived through the whole request.
fn ask(shared: &Shared) {
    let mut connection = None;
    while !shared.stop.load(SeqCst) {
        let before = shared.up();
        let address = shared.addresses.lock().unwrap().1.clone();
        let open = connection.take().map_or_else(|| http::Connection::open(&address), Ok);
        let result = open.and_then(|mut open| {
            let response = open.request("GET", "/p/quiet/health", &[], b"")?;
            connection = Some(open);
            Ok(response)
        });
        let after = shared.up();
        match result {
            Ok(response) if response.status == 200 => {
                shared.quiet.fetch_add(1, SeqCst);
            }
            other if before.is_some() && before == after => {
                panic!("a request to the untouched profile failed: {other:?}")
            }
            _ => connection = None,
        }
        wait::pass(Duration::from_millis(2));
    }
}

#[test]
fn chaos_loses_nothing_and_disturbs_nobody() {
    let seed = knob("CHAOS_SEED", u64::from(std::process::id()));
    let length = Duration::from_secs(knob("CHAOS_SECONDS", 25));
    // Shown with a failure: what a failed run is repeated with.
    eprintln!("CHAOS_SEED={seed}");
    let mut random = Random(seed);
    let home = Home::with_config(&Home::config("true", "  stuck_after_ms: 3000\n  heartbeat_ms: 500\n"));
    home.profile("coder").profile("ops").profile("quiet");
    let mut gateway = Gateway::start(&home);
    let shared = Shared {
        addresses: Mutex::new((gateway.address("webhook"), gateway.address("api_server"))),
        epoch: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        acknowledged: Mutex::new(BTreeSet::new()),
        quiet: AtomicU64::new(0),
    };
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let shared = &shared;
            scope.spawn(move || post(shared, thread));
        }
        scope.spawn(|| ask(&shared));
        let end = Instant::now() + length;
        let mut kills = 0;
        while Instant::now() < end {
            wait::pass(Duration::from_millis(300 + random.below(900)));
            let target = TARGETS[usize::try_from(random.below(3)).unwrap()];
            let pid = gateway.status().profiles.into_iter().find(|p| p.name == target).and_then(|p| p.pid);
            match (random.below(10), pid) {
                (0..=4, Some(pid)) => {
                    let _ = nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(pid.cast_signed()),
                        Signal::SIGKILL,
                    );
                    kills += 1;
                }
                (5 | 6, Some(pid)) => {
                    let _ = nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(pid.cast_signed()),
                        Signal::SIGSTOP,
                    );
                }
                (7, Some(pid)) => starve(pid),
                (8, _) => {
                    // The flag goes up before the kill, so that no failure is blamed on a gateway that was there.
                    shared.epoch.fetch_add(1, SeqCst);
                    gateway.signal(Signal::SIGKILL);
                    gateway.wait();
                    gateway.assert_nothing_left();
                    gateway = Gateway::start(&home);
                    *shared.addresses.lock().unwrap() =
                        (gateway.address("webhook"), gateway.address("api_server"));
                    shared.epoch.fetch_add(1, SeqCst);
                }
                _ => {
                    hermes_tests::gateway::run(&home, &["gateway", "restart", "-p", target]);
                }
            }
            // Enough deaths in a row are a crash loop, which is right and would end the load: clear it.
            if kills % 4 == 3 {
                hermes_tests::gateway::run(&home, &["gateway", "restart", "-p", target]);
            }
        }
        shared.stop.store(true, SeqCst);
    });
    for name in TARGETS {
        hermes_tests::gateway::run(&home, &["gateway", "restart", "-p", name]);
    }
    let acknowledged = shared.acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > 50, "only {} messages were acknowledged", acknowledged.len());
    assert!(shared.quiet.load(SeqCst) > 100);
    for (index, name) in TARGETS.iter().enumerate() {
        let expected: BTreeSet<&str> =
            acknowledged.iter().filter(|(t, _)| *t == index).map(|(_, id)| id.as_str()).collect();
        wait::until(&format!("{} answers of {name}", expected.len()), || {
            let answered = answers(&home, name);
            let missing: Vec<_> =
                expected.iter().filter(|id| !answered.iter().any(|(a, _)| a == *id)).collect();
            missing.is_empty().then_some(())
        });
        for (id, count) in answers(&home, name) {
            assert_eq!(count, (1, 1), "{name}: message {id} has (user, assistant) rows");
        }
    }
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
    assert!(!home.root().join("gateway.pid").exists());
}

/// Lets a worker have next to no CPU for a while: the lowest priority, beside a busy machine.
fn starve(pid: u32) {
    #[expect(clippy::disallowed_methods, reason = "renice is the tool for it")]
    let _ = std::process::Command::new("renice").args(["-n", "19", "-p", &pid.to_string()]).output();
}

/// Delivery ids of finished turns with their numbers of user and assistant rows.
fn answers(home: &Home, profile: &str) -> Vec<(String, (i64, i64))> {
    let db = rusqlite::Connection::open(home.of(profile).join("state.db")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    let mut statement = db
        .prepare(
            "select s.chat_id, sum(m.role = 'user'), sum(m.role = 'assistant') from sessions s join messages m on m.session_id = s.id \
             where s.source = 'webhook' group by s.id having sum(m.role = 'assistant') > 0",
        )
        .unwrap();
    let rows = statement.query_map([], |r| Ok((r.get::<_, String>(0)?, (r.get(1)?, r.get(2)?)))).unwrap();
    rows.map(|r| {
        r.map(|(chat, counts)| (chat.trim_start_matches("webhook:hook:").to_owned(), counts)).unwrap()
    })
    .collect()
}
