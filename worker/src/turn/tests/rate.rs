//! How fast it is: `cargo test --release -p hermes-worker rate -- --ignored --nocapture`.

use std::time::Instant;

use super::*;

const ITEMS: usize = 8_000;
const CALLERS: usize = 16;

#[tokio::test]
#[ignore = "a measurement, for a release build"]
async fn rate() {
    let home = Home::new();
    let process = home.start(Owner::current(), Scripted::open());
    let (inbox, store) = (process.inbox.clone(), process.store.clone());
    let before = store.commits();
    let started = (hermes_host::clock::now(), cpu());
    accept_all(&inbox, 0).await;
    report("accepts", ITEMS, started, store.commits() - before);

    let before = store.commits();
    let started = (hermes_host::clock::now(), cpu());
    process.turns.serve_inbox();
    finished(&home, ITEMS).await;
    report("turns of a backlog", ITEMS, started, store.commits() - before);

    let before = store.commits();
    let started = (hermes_host::clock::now(), cpu());
    accept_all(&inbox, 1).await;
    report("accepts while turns run", ITEMS, started, store.commits() - before);
    finished(&home, 2 * ITEMS).await;
    report("accepted and answered", ITEMS, started, store.commits() - before);
    let started = hermes_host::clock::now();
    process.stop().await;
    println!("stopped in {:?}", started.elapsed());
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).unwrap());
}

async fn accept_all(inbox: &Inbox, round: usize) {
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let inbox = inbox.clone();
        callers.spawn(async move {
            for n in 0..ITEMS / CALLERS {
                let id = format!("{round}-{caller}-{n}");
                let mut event = event(&format!("webhook:open:{id}"), &id, "hook event with some text in it");
                event.end_session = Some("webhook_complete".to_owned());
                assert_eq!(inbox.accept(event).await.unwrap(), Accepted::New);
            }
        });
    }
    callers.join_all().await;
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn report(what: &str, items: usize, (started, cpu_before): (Instant, f64), commits: u64) {
    let seconds = started.elapsed().as_secs_f64();
    let (rate, per) = (items as f64 / seconds, items as f64 / commits.max(1) as f64);
    let cpu_us = (cpu() - cpu_before) / items as f64 * 1e6;
    println!("{what}: {rate:.0}/s, {per:.1} per commit, {cpu_us:.0} µs of processor each");
}

/// Processor time of this process so far, in seconds.
#[expect(clippy::cast_precision_loss, reason = "for display")]
fn cpu() -> f64 {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    [usage.user_time(), usage.system_time()]
        .iter()
        .map(|t| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6)
        .sum()
}

/// Waits for a count, looking rarely: looking costs too.
async fn finished(home: &Home, items: usize) {
    let items = i64::try_from(items).unwrap();
    while home.count("hermes_inbox WHERE finished_at IS NOT NULL") < items {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
