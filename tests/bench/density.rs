//! Memory, idle processor time, start and status with many profiles.

use std::collections::HashMap;
use std::time::Duration;

use hermes_tests::process::{Cpu, TICK};
use hermes_tests::{Gateway, Home, gateway, process, wait};
use hermes_wire::contract::runtime_status::RuntimeStatus;
use nix::sys::resource::{Resource, getrlimit};

use crate::load::home_of;
use crate::table::{Table, mb, median};

/// Time after the start in which a worker gives back what only the start needed, and a bit.
pub(crate) const IDLE: Duration = Duration::from_secs(13);

/// Resident and proportional memory with 100 workers.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
pub(crate) fn memory(table: &mut Table) {
    let home = home_of(100);
    let gateway = Gateway::start(&home);
    let workers: Vec<u32> = gateway.status().profiles.iter().filter_map(|p| p.pid).collect();
    wait::pass(IDLE);
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
    drop(gateway);
    tool_servers(table);
}

/// What a worker is resident with, on the average of as long as two polls of a bot take; the median of all.
#[expect(clippy::cast_precision_loss, reason = "a mean")]
pub(crate) fn over_time(workers: &[u32]) -> f64 {
    let mut sums = vec![0.0; workers.len()];
    for _ in 0..LOOKS {
        for (sum, pid) in sums.iter_mut().zip(workers) {
            *sum += mb(process::rss(*pid)) / LOOKS as f64;
        }
        wait::pass(Duration::from_secs(2));
    }
    median(sums)
}

/// Workers with three tool servers beside workers with none, in one gateway. What the servers themselves take is theirs.
fn tool_servers(table: &mut Table) {
    const WITH: usize = 8;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/servers/odd.py");
    let server = |name: &str| format!("  {name}: {{command: python3, args: ['{script}', plain]}}\n");
    let servers: String = ["one", "two", "three"].into_iter().map(server).collect();
    let model = "model: {default: m, provider: custom, base_url: 'http://127.0.0.1:9/v1', api_key: '${CUSTOM_API_KEY}'}\n";
    let home = Home::new();
    for n in 0..2 * WITH {
        let config = if n < WITH { format!("{model}mcp_servers:\n{servers}") } else { model.to_owned() };
        home.profile_with(
            &format!("p{n}"),
            &config,
            &format!("API_SERVER_KEY=bench-api-key-{n:04}\nCUSTOM_API_KEY=k\n"),
        );
    }
    let gateway = Gateway::start(&home);
    let is_up = |n: usize| {
        let text = home.read(&format!("p{n}"), "runtime_status.json").unwrap_or_default();
        let status = RuntimeStatus::read(text.as_bytes());
        status.is_ok_and(|status| {
            status.tool_servers.values().filter(|one| one.state == "connected").count() == 3
        })
    };
    wait::until_true("all tool servers to be connected", || (0..WITH).all(is_up));
    wait::pass(IDLE);
    let profiles = gateway.status().profiles;
    let workers = |from: usize| {
        let names: Vec<String> = (from..from + WITH).map(|n| format!("p{n}")).collect();
        let of =
            profiles.iter().filter(|profile| names.contains(&profile.name)).filter_map(|profile| profile.pid);
        over_time(&of.collect::<Vec<_>>())
    };
    let (with, without) = (workers(0), workers(WITH));
    table.row(
        "the same with three stdio tool servers, beyond one with none",
        "<= 1 MB",
        format!("{:+.1} MB", with - without),
        format!("{with:.1} and {without:.1} MB"),
    );
}

/// Processor time, in percent of a core, that a gateway nobody asks anything takes: in its first minute, then when it is quiet.
pub(crate) fn idle(table: &mut Table) {
    for (n, must) in [(100, "<= 1 % of a core"), (1000, "<= 10 % of a core")] {
        let what = format!("idle CPU of {n} workers and the supervisor");
        // Each profile has a few: its socket, its channel, its pipes.
        let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard);
        if files < 16 * n {
            table.row(what, must, "not measured", format!("at most {files} open files are allowed"));
            continue;
        }
        let home = home_of(usize::try_from(n).unwrap());
        let gateway = Gateway::spawn(&home, &[], &[]);
        let deadline = wait::now() + PATIENCE;
        while !is_ready(&gateway, usize::try_from(n).unwrap()) {
            assert!(wait::now() < deadline, "{n} profiles do not come up");
            // Asking costs the processor, too.
            wait::pass(Duration::from_secs(1));
        }
        let first = Usage::during(&gateway, FIRST_MINUTE);
        wait::pass(SETTLE);
        let quiet = Usage::during(&gateway, QUIET);
        table.row(
            what,
            must,
            format!("{:.2} %", quiet.scheduled),
            format!(
                "by clock ticks {:.2} %; first minute {:.2} %, {:.2} %; asleep {:.1} times a second, supervisor {:.1}",
                quiet.ticks, first.scheduled, first.ticks, quiet.workers, quiet.supervisor
            ),
        );
    }
}

/// Time after every profile is ready in which workers give back what only their start needed.
const FIRST_MINUTE: Duration = Duration::from_secs(60);
/// A thousand take a while on a slow machine.
const PATIENCE: Duration = Duration::from_secs(300);
const SETTLE: Duration = Duration::from_secs(10);
/// Looks at what is resident, two seconds apart.
const LOOKS: usize = 30;
const QUIET: Duration = Duration::from_secs(30);

/// What a gateway used: percent of a core, by two clocks, and how often its processes went to sleep in a second.
pub(crate) struct Usage {
    pub(crate) scheduled: f64,
    ticks: f64,
    workers: f64,
    supervisor: f64,
}

impl Usage {
    /// Of every process of the gateway, those included that begin or end meanwhile.
    #[expect(clippy::cast_precision_loss, reason = "percent")]
    pub(crate) fn during(gateway: &Gateway<'_>, time: Duration) -> Self {
        let look = || -> HashMap<u32, (Cpu, u64)> {
            let family = process::family(gateway.pid()).into_iter();
            family.map(|pid| (pid, (process::cpu(pid), process::sleeps(pid)))).collect()
        };
        let (before, started) = (look(), wait::now());
        wait::pass(time);
        let (after, seconds) = (look(), started.elapsed().as_secs_f64());
        let (mut scheduled, mut ticks, mut workers, mut supervisor) = (0, 0, 0, 0);
        for (pid, (now, slept)) in &after {
            let (then, slept_then) = before.get(pid).copied().unwrap_or_default();
            let children = now.children - then.children;
            scheduled += now.scheduled.saturating_sub(then.scheduled) + children * TICK;
            ticks += (now.ticks - then.ticks + children) * TICK;
            let sleeps = if *pid == gateway.pid() { &mut supervisor } else { &mut workers };
            *sleeps += slept - slept_then;
        }
        let percent = |nanos: u64| nanos as f64 / 1e7 / seconds;
        let a_second = |times: u64| times as f64 / seconds;
        Self {
            scheduled: percent(scheduled),
            ticks: percent(ticks),
            workers: a_second(workers),
            supervisor: a_second(supervisor),
        }
    }
}

fn is_ready(gateway: &Gateway<'_>, n: usize) -> bool {
    let status = gateway.status();
    !status.gateway.stale
        && status.gateway.profiles_desired as usize == n
        && status.gateway.profiles_ready as usize == n
}

/// From exec until every profile is ready.
pub(crate) fn start(table: &mut Table) {
    for n in [1, 10, 100, 300] {
        let home = home_of(n);
        let mut times = Vec::new();
        for _ in 0..if n > 100 { 2 } else { 4 } {
            let started = wait::now();
            let mut gateway = Gateway::spawn(&home, &[], &[]);
            wait::until_true("all profiles", || is_ready(&gateway, n));
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
                    let started = wait::now();
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
