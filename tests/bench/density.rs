//! Memory, start and status with many profiles.

use std::time::{Duration, Instant};

use hermes_tests::{Gateway, gateway, process, wait};

use crate::load::home_of;
use crate::table::{Table, mb, median};

/// Resident and proportional memory, and idle CPU, with 100 workers.
#[expect(clippy::cast_precision_loss, reason = "megabytes and percent")]
pub(crate) fn memory(table: &mut Table) {
    let home = home_of(100);
    let gateway = Gateway::start(&home);
    let workers: Vec<u32> = gateway.status().profiles.iter().filter_map(|p| p.pid).collect();
    wait::pass(Duration::from_secs(3));
    let rss = median(workers.iter().map(|w| mb(process::rss(*w))).collect());
    let pss: f64 = workers.iter().map(|w| mb(process::pss(*w))).sum::<f64>() / workers.len() as f64;
    table.row(
        "supervisor RSS, 100 workers",
        "<= 12 MB",
        format!("{:.1} MB", mb(process::rss(gateway.pid()))),
        "Python: 106 MB for one process",
    );
    table.row("idle worker RSS (webhook + api_server), median", "<= 8 MB", format!("{rss:.1} MB"), "-");
    table.row("idle worker PSS where 100 run, mean", "<= 3 MB", format!("{pss:.2} MB"), "-");
    let ticks =
        || process::cpu_ticks(gateway.pid()) + workers.iter().map(|w| process::cpu_ticks(*w)).sum::<u64>();
    let (before, started) = (ticks(), Instant::now());
    wait::pass(Duration::from_secs(20));
    // A tick is 10 ms (USER_HZ = 100 on every Linux that matters).
    let percent = (ticks() - before) as f64 / started.elapsed().as_secs_f64();
    table.row(
        "idle CPU of 100 workers and the supervisor",
        "<= 2 % of a core",
        format!("{percent:.2} %"),
        "-",
    );
}

/// From exec until every profile is ready.
pub(crate) fn start(table: &mut Table) {
    for n in [1, 10, 100, 300] {
        let home = home_of(n);
        let mut times = Vec::new();
        for _ in 0..if n > 100 { 2 } else { 4 } {
            let started = Instant::now();
            let mut gateway = Gateway::spawn(&home, &[], &[]);
            wait::until_true("all profiles", || {
                let s = gateway.status();
                !s.gateway.stale
                    && s.gateway.profiles_desired as usize == n
                    && s.gateway.profiles_ready as usize == n
            });
            times.push(started.elapsed().as_secs_f64());
            gateway.stop();
        }
        // The first start also creates every database.
        let first = times.remove(0);
        table.row(
            format!("start of {n} profiles until all are ready"),
            if n == 100 { "<= 1 s" } else { "linear" },
            format!("{:.2} s (first time {first:.2} s)", median(times)),
            if n == 1 { "Python: 1.2 to 1.8 s" } else { "-" },
        );
    }
}

/// `hermes status` with 100 profiles.
pub(crate) fn status(table: &mut Table) {
    let home = home_of(100);
    let _gateway = Gateway::start(&home);
    let times = |args: &[&str]| {
        median(
            (0..21)
                .map(|_| {
                    let started = Instant::now();
                    assert!(gateway::run(&home, args).status.success());
                    started.elapsed().as_secs_f64() * 1e3
                })
                .collect(),
        )
    };
    table.row(
        "hermes status, 100 profiles",
        "<= 20 ms",
        format!("{:.1} ms", times(&["status"])),
        "Python: 600 to 800 ms",
    );
    table.row("hermes --help", "<= 5 ms", format!("{:.1} ms", times(&["--help"])), "Python: 500 ms");
}
