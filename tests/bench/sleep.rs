//! Profiles that run on demand: how long a request to one that sleeps takes, how many can be woken in a second, what a thousand of
//! them cost of which ten are awake, and how fast a hundred idle workers end.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hermes_tests::process::TICK;
use hermes_tests::{Gateway, Home, http, process, wait};
use nix::sys::resource::{Resource, getrlimit};

use crate::load::home_of;
use crate::table::{Table, mb, median};

/// Threads that ask at once, where as much as possible is woken.
const ASKING: usize = 8;
/// A thousand are looked at by a worker each when they are new.
const PATIENCE: Duration = Duration::from_secs(300);

/// `n` profiles that sleep after so many seconds, beside the default one.
fn sleepers(n: usize, idle: &str) -> Home {
    let extra = format!("  autostart: on-demand\n  idle_timeout: {idle}\n  max_requests_per_profile: 64\n");
    let home = Home::with_config(&Home::config("true", &extra));
    for name in names(n) {
        home.profile(&name);
    }
    home
}

fn names(n: usize) -> impl Iterator<Item = String> {
    (0..n).map(|n| format!("p{n:04}"))
}

fn asleep(gateway: &Gateway<'_>) -> usize {
    let at_rest = |profile: &&hermes_wire::contract::gateway_status::Profile| {
        profile.state == "sleeping" && profile.pid.is_none()
    };
    gateway.status().profiles.iter().filter(at_rest).count()
}

fn wait_asleep(gateway: &Gateway<'_>, n: usize) {
    let deadline = wait::now() + PATIENCE;
    while asleep(gateway) < n {
        assert!(wait::now() < deadline, "{n} profiles do not go to sleep");
        // Asking costs the processor, too.
        wait::pass(Duration::from_millis(500));
    }
}

/// Milliseconds from the request to the first byte of its answer.
fn wake(address: &str, name: &str) -> f64 {
    let mut connection = http::Connection::open(address).unwrap();
    let started = wait::now();
    let path = format!("/p/{name}/health");
    connection.send(&http::encode("GET", &path, &[("Connection", "close")], b"")).unwrap();
    connection.fill().unwrap();
    let time = started.elapsed().as_secs_f64() * 1e3;
    let answer = connection.response(false).unwrap();
    assert_eq!(answer.status, 200, "{name}: {answer:?}");
    time
}

fn percentiles(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |permille: usize| times[(times.len() * permille / 1000).min(times.len() - 1)];
    format!("p50 {:.1} ms, p95 {:.1} ms, p99 {:.1} ms", at(500), at(950), at(990))
}

/// The first byte from a profile that sleeps: one at a time, and as many as the machine bears.
pub(crate) fn wakes(table: &mut Table) {
    let n = 100;
    let home = sleepers(n, "300");
    let gateway = Gateway::start(&home);
    wait_asleep(&gateway, n);
    let address = gateway.address("api_server");
    // The first wake of each also creates its database.
    let first: Vec<f64> = names(n).map(|name| wake(&address, &name)).collect();
    drop(gateway);
    let home_again = home;
    let gateway = Gateway::start(&home_again);
    wait_asleep(&gateway, n);
    let address = gateway.address("api_server");
    let again: Vec<f64> = names(n).map(|name| wake(&address, &name)).collect();
    table.row(
        "first byte from a profile that sleeps, one at a time",
        "p95 <= 100 ms",
        percentiles(again),
        format!("first time in its life {}; hosted actor systems aim at p95 100 ms", percentiles(first)),
    );
    drop(gateway);
    let gateway = Gateway::start(&home_again);
    wait_asleep(&gateway, n);
    let address = gateway.address("api_server");
    let (next, times, all) = (AtomicUsize::new(0), Mutex::new(Vec::new()), names(n).collect::<Vec<_>>());
    let started = wait::now();
    std::thread::scope(|scope| {
        for _ in 0..ASKING {
            scope.spawn(|| {
                while let Some(name) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let time = wake(&address, name);
                    times.lock().unwrap().push(time);
                }
            });
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let rate = f64::from(u32::try_from(n).unwrap()) / seconds;
    let times = times.into_inner().unwrap();
    table.row(
        format!("the same, {ASKING} at a time: as many as 2 cores bear"),
        "-",
        percentiles(times),
        format!("{rate:.0} wakes a second"),
    );
}

/// A thousand profiles on demand of which ten are awake.
pub(crate) fn thousand(table: &mut Table) {
    let (n, awake) = (1000, 10);
    let what = format!("{n} profiles on demand, {awake} awake: PSS of everything");
    let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
    if files < 8 * u64::try_from(n).unwrap() {
        table.row(what, "<= 60 MB", "not measured", format!("at most {files} open files are allowed"));
        return;
    }
    let home = sleepers(n, "3600");
    let started = wait::now();
    let mut gateway = Gateway::start(&home);
    wait_asleep(&gateway, n);
    let first = started.elapsed().as_secs_f64();
    gateway.stop();
    let started = wait::now();
    let gateway = Gateway::start(&home);
    let again = started.elapsed().as_secs_f64();
    wait_asleep(&gateway, n);
    let address = gateway.address("api_server");
    for name in names(awake) {
        wake(&address, &name);
    }
    // What only a start needs is given back, and heartbeats become rare.
    wait::pass(Duration::from_secs(20));
    let family = process::family(gateway.pid());
    let pss: f64 = family.iter().map(|pid| mb(process::pss(*pid))).sum();
    table.row(
        what,
        "<= 60 MB",
        format!("{pss:.1} MB"),
        format!(
            "supervisor {:.1} MB; {} processes; start {again:.2} s (first time {first:.2} s)",
            mb(process::pss(gateway.pid())),
            family.len()
        ),
    );
    let look = || {
        family
            .iter()
            .map(|pid| process::cpu(*pid))
            .map(|cpu| cpu.scheduled + cpu.children * TICK)
            .sum::<u64>()
    };
    let (before, started) = (look(), wait::now());
    wait::pass(Duration::from_secs(60));
    #[expect(clippy::cast_precision_loss, reason = "percent")]
    let percent = look().saturating_sub(before) as f64 / 1e7 / started.elapsed().as_secs_f64();
    table.row("the same: idle CPU", "<= 1 % of a core", format!("{percent:.2} %"), "over a minute");
}

/// From SIGTERM to the end of everything, with a hundred idle workers.
pub(crate) fn stop(table: &mut Table) {
    let home = home_of(100);
    let times = (0..3)
        .map(|_| {
            let mut gateway = Gateway::start(&home);
            wait::pass(Duration::from_secs(3));
            let started = wait::now();
            gateway.stop();
            started.elapsed().as_secs_f64()
        })
        .collect();
    table.row("stop of 100 idle workers", "<= 1 s", format!("{:.2} s", median(times)), "-");
}
