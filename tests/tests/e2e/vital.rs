//! 12: a worker in which a vital task is stuck, or gone, is replaced, and the reason says which.
//!
//! The faults come in through a door that exists in builds with debug assertions only: a file `.wedge-NAME` in a home.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hermes_tests::{Gateway, Home, home, http, sign, wait};

/// Short limits, and one profile for each of these tasks.
fn start(tasks: &[&str]) -> Home {
    let home = Home::with_config(&Home::config("true", "  stuck_after_ms: 2000\n  heartbeat_ms: 500\n"));
    for task in tasks {
        let config = format!(
            "agent: {{engine: echo, echo_delay_ms: 300}}\nplatforms: {{webhook: {{extra: {{secret: {}, rate_limit: 1000000, \
             routes: {{hook: {{prompt: x, deliver: github_comment, deliver_extra: {{repo: o/n, pr_number: '1'}}}}}}}}}}}}\n",
            home::SECRET
        );
        home.profile_with(task, &config, &format!("API_SERVER_KEY={}\n", Home::key(task)));
    }
    home
}

/// Gives a profile something to do until told to stop. What comes back does not matter: its worker is about to be replaced.
fn load(gateway: (&str, &str), name: &str, thread: usize, stop: &AtomicBool) {
    let (webhook, api) = gateway;
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let body = br#"{"messages": [{"role": "user", "content": "x"}]}"#;
        let key = format!("Bearer {}", Home::key(name));
        let json = ("Content-Type", "application/json");
        let _ = http::Connection::open(api).and_then(|mut open| {
            open.request(
                "POST",
                &format!("/p/{name}/v1/chat/completions"),
                &[("Authorization", &key), json],
                body,
            )
        });
        let signature = sign::github(home::SECRET, b"{}");
        let id = format!("{name}-{thread}-{n}");
        let headers = [("X-Hub-Signature-256", signature.as_str()), ("X-GitHub-Delivery", &id), json];
        let _ = http::Connection::open(webhook)
            .and_then(|mut open| open.request("POST", &format!("/p/{name}/webhooks/hook"), &headers, b"{}"));
        wait::pass(Duration::from_millis(50));
    }
}

/// Puts each task's fault in, and waits until each worker was replaced for a reason with this text in it.
fn replaced(tasks: &[&str], word: &str, reason: impl Fn(&str) -> String) {
    let home = start(tasks);
    let gateway = Gateway::start(&home);
    let (webhook, api) = (gateway.address("webhook"), gateway.address("api_server"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for task in tasks {
            home.write(task, &format!(".wedge-{task}"), word);
            for thread in 0..2 {
                let (addresses, stop) = ((webhook.as_str(), api.as_str()), &stop);
                scope.spawn(move || load(addresses, task, thread, stop));
            }
        }
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for task in tasks {
                wait::until_true(&format!("the worker with the fault in `{task}` to be replaced"), || {
                    let exit = gateway.profile(task).last_exit.unwrap_or_default();
                    exit.contains(&reason(task))
                });
            }
        }));
        stop.store(true, Ordering::Relaxed);
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    for task in tasks {
        gateway.wait_ready(task);
        let id = format!("after-{task}");
        assert_eq!(gateway.hook(&format!("/p/{task}/webhooks/hook"), home::SECRET, &id, "{}").status, 202);
    }
    assert_eq!(gateway.profile("default").restarts, 0, "nobody else is disturbed");
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "the door exists in debug builds")]
fn n12_a_task_that_does_nothing_of_its_work_is_named_and_its_worker_replaced() {
    replaced(&["store", "inbox", "delivery", "http", "status"], "stop", |task| {
        format!("stuck: the task `{task}`")
    });
}

#[test]
#[cfg_attr(not(debug_assertions), ignore = "the door exists in debug builds")]
fn n12_a_task_that_panics_ends_its_worker_and_leaves_the_reason() {
    replaced(&["store", "inbox", "delivery", "http"], "panic", |task| {
        format!("exit 1: the task `{task}` panicked: a test asked for it")
    });
}
