//! Random kills, stops, starvation, upgrades in place and refusals of the machine under load, for a bounded time.
//!
//! Checked: every acknowledged message is answered exactly once, and everything that is said in a chat too, or the second answer says so, also beside one whose turn kills its worker, and whatever the
//! provider does; a profile that nobody touches answers every request as long as its supervisor lives and the machine lets it; at
//! the end no process, socket or PID record is left. Nobody reads what the gateway prints. The seed is printed; `CHAOS_SEED` and
//! `CHAOS_SECONDS` repeat or lengthen a run.

mod faults;
mod load;
mod talk;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use hermes_tests::mounts::Disk;
use hermes_tests::place::Place;
use hermes_tests::provider::Provider;
use hermes_tests::{Gateway, Home, home, tools, wait};
use nix::sys::signal::Signal;

use faults::Faults;

/// Those that are killed, stopped and starved.
const TARGETS: [&str; 3] = ["default", "coder", "ops"];
/// The one whose turns ask a provider, and one of whose messages is poisonous.
const ASKING: &str = "asking";
/// The one that sleeps between its messages.
const DROWSY: &str = "drowsy";
/// How long the last answers may take: tries that failed wait for others, two minutes after the third.
const SETTLED: Duration = Duration::from_secs(180);
/// In the text, and at the beginning of the id, of a message whose turn kills the worker.
const POISON: &str = "poison";

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

/// What the threads share.
struct Shared {
    /// Of webhooks, and of the API.
    addresses: Mutex<(String, String)>,
    /// Odd while a request to the untouched profile may fail: no supervisor is up, or the machine refuses it what it needs.
    epoch: AtomicU64,
    stop: AtomicBool,
    acknowledged: Mutex<BTreeSet<(&'static str, String)>>,
    quiet: AtomicU64,
    /// `None` while it is away.
    provider: Mutex<Option<Provider>>,
}

impl Shared {
    fn up(&self) -> Option<u64> {
        Some(self.epoch.load(SeqCst)).filter(|e| e % 2 == 0)
    }

    /// Does what costs the untouched profile something, too.
    fn excused<T>(&self, what: impl FnOnce() -> T) -> T {
        // The flag goes up before, so that no failure is blamed on a gateway that was there.
        self.epoch.fetch_add(1, SeqCst);
        let result = what();
        self.epoch.fetch_add(1, SeqCst);
        result
    }

    fn meet(&self, gateway: &Gateway<'_>) {
        *self.addresses.lock().unwrap() = (gateway.address("webhook"), gateway.address("api_server"));
    }
}

/// Tells threads to stop, on drop.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// The root home, where possible on a disk of its own that holds what is written in so many seconds, and not much more.
fn furnished(provider: &Provider, seconds: u32) -> (Home, Option<Disk>, Vec<talk::Line>) {
    let home = Home::empty();
    let disk = tools::permitted("a mount, to fill a disk", Disk::mount(&home.root(), 256 + seconds));
    home.furnish(&Home::config("true", "  stuck_after_ms: 3000\n  heartbeat_ms: 500\n"));
    home.profile("coder").profile("ops").profile("quiet");
    let config = format!(
        "agent: {{api_max_retries: 1}}\nmax_concurrent_sessions: 32\n{}platforms: {{webhook: {{extra: {{secret: {}-{ASKING}, \
         rate_limit: 1000000, routes: {{hook: {{prompt: 'say {{text}}'}}}}}}}}}}\n",
        provider.model_config(),
        home::SECRET
    );
    home.profile_with(
        ASKING,
        &config,
        "CUSTOM_API_KEY=k-0123456789\nAPI_SERVER_KEY=asking-api-key-0123456789\n",
    );
    let config = format!(
        "agent: {{engine: echo}}\ngateway: {{autostart: on-demand, idle_timeout: 0.2}}\nplatforms: {{webhook: {{extra: \
         {{secret: {}-{DROWSY}, rate_limit: 1000000, routes: {{hook: {{prompt: 'say {{text}}'}}}}}}}}}}\n",
        home::SECRET
    );
    home.profile_with(DROWSY, &config, "API_SERVER_KEY=drowsy-api-key-0123456789\n");
    let lines = talk::furnish(&home);
    (home, disk, lines)
}

#[test]
fn chaos_loses_nothing_and_disturbs_nobody() {
    let seed = knob("CHAOS_SEED", u64::from(std::process::id()));
    let seconds = knob("CHAOS_SECONDS", 25);
    // Shown with a failure: what a failed run is repeated with.
    eprintln!("CHAOS_SEED={seed}");
    let mut random = Random(seed);
    let place = Place::new();
    let provider = Provider::start_at(&place);
    provider.never_answer(POISON);
    let (home, disk, lines) = furnished(&provider, u32::try_from(seconds).unwrap());
    let mut faults = Faults::new(&home, disk.as_ref(), &lines, &place);
    let gateway = faults.start();
    talk::wait_connected(&gateway, &lines);
    let shared = Shared {
        addresses: Mutex::new((gateway.address("webhook"), gateway.address("api_server"))),
        epoch: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        acknowledged: Mutex::new(BTreeSet::new()),
        quiet: AtomicU64::new(0),
        provider: Mutex::new(Some(provider)),
    };
    let poisoner_stops = AtomicBool::new(false);
    let mut gateway = std::thread::scope(|scope| {
        let mut gateway = gateway;
        // Whatever fails here, nobody goes on for ever.
        let _ends = (Ends(&shared.stop), Ends(&poisoner_stops));
        for thread in 0..3 {
            let shared = &shared;
            scope.spawn(move || load::post(shared, &TARGETS, thread, Duration::from_millis(3)));
        }
        scope.spawn(|| load::post(&shared, &[ASKING], 3, Duration::from_millis(60)));
        scope.spawn(|| load::post(&shared, &[DROWSY], 4, Duration::from_millis(450)));
        scope.spawn(|| load::ask(&shared));
        talk::everybody(scope, &shared, &lines);
        scope.spawn(|| load::kill_what_is_poisoned(&home, &shared, &poisoner_stops));
        let end = wait::now() + Duration::from_secs(seconds);
        while wait::now() < end {
            wait::pass(Duration::from_millis(300 + random.below(900)));
            gateway = faults.one(&mut random, gateway, &shared);
        }
        faults.end(&shared);
        shared.stop.store(true, SeqCst);
        settle(&home, &shared);
        talk::settle(&gateway, &lines);
        gateway
    });
    assert!(shared.quiet.load(SeqCst) > 100);
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
    assert!(!home.root().join("gateway.pid").exists());
}

/// Waits until everything that was acknowledged is answered, and looks how often.
fn settle(home: &Home, shared: &Shared) {
    for name in TARGETS.iter().chain(&[ASKING, DROWSY]) {
        hermes_tests::gateway::run(home, &["gateway", "restart", "-p", name]);
    }
    let acknowledged = shared.acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > 50, "only {} messages were acknowledged", acknowledged.len());
    for name in TARGETS.iter().chain(&[ASKING, DROWSY]) {
        let of = |wanted: &bool| {
            let ids = acknowledged.iter().filter(|(target, _)| target == name).map(|(_, id)| id.as_str());
            ids.filter(|id| id.starts_with(POISON) == *wanted).collect::<BTreeSet<_>>()
        };
        let expected = of(&false);
        let are_there = || {
            let answered: BTreeSet<String> = answers(home, name).into_iter().map(|(id, _)| id).collect();
            expected.iter().all(|id| answered.contains(*id))
        };
        wait::within(SETTLED, &format!("{} answers of {name}", expected.len()), are_there, || {
            waiting(home, name)
        });
        for (id, count) in answers(home, name).into_iter().filter(|(id, _)| !id.starts_with(POISON)) {
            assert_eq!(count, (1, 1), "{name}: message {id} has (user, assistant) rows");
        }
        let poisonous = of(&true).len();
        let are_dead = || {
            let status = hermes_tests::gateway::status(home);
            let found = status.profiles.into_iter().find(|profile| profile.name == *name);
            found
                .is_some_and(|profile| profile.inbox_failed == poisonous as u64 && profile.inbox_waiting == 0)
        };
        let what = format!("{poisonous} dead letters of {name}");
        wait::within(SETTLED, &what, are_dead, || waiting(home, name));
    }
}

/// What a profile has not done yet, for whoever looks for the reason.
fn waiting(home: &Home, profile: &str) -> String {
    let db = rusqlite::Connection::open(home.of(profile).join("state.db")).unwrap();
    let mut statement = db
        .prepare(
            "select 'inbox', platform, state, attempts, due_at - unixepoch('subsec'), error from hermes_inbox where finished_at is null \
             union all \
             select 'delivery', kind, state, attempts, next_attempt_at - unixepoch('subsec'), last_error from hermes_delivery \
             where finished_at is null",
        )
        .unwrap();
    let rows = statement.query_map([], |row| {
        let (place, kind, state): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (tries, due, error): (u32, Option<f64>, Option<String>) = (row.get(3)?, row.get(4)?, row.get(5)?);
        Ok(format!("{place} {kind}: {state}, tries {tries}, due in {due:?} s, {error:?}\n"))
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
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
