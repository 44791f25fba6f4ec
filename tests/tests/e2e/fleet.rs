//! Workers and their supervisor under trouble: what is left behind, what is said too often, what the machine refuses.

use camino::Utf8PathBuf;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;

/// A profile whose webhook `hook` runs this shell script first.
fn with_script(home: &Home, name: &str, script: &str) {
    home.write(name, "scripts/s.sh", script);
    let config = format!(
        "agent: {{engine: echo}}\nplatforms: {{webhook: {{extra: {{secret: {}-{name}, routes: {{hook: {{prompt: 'say {{text}}', script: s.sh}}}}}}}}}}\n",
        home::SECRET
    );
    home.profile_with(name, &config, &format!("API_SERVER_KEY={}\n", Home::key(name)));
}

fn hook(gateway: &Gateway<'_>, name: &str) {
    let secret = format!("{}-{name}", home::SECRET);
    let response = gateway.hook(&format!("/p/{name}/webhooks/hook"), &secret, "1", r#"{"text": "x"}"#);
    assert!(matches!(response.status, 200 | 202), "{response:?}");
}

/// What the script of a profile left running.
fn left_behind(file: &Utf8PathBuf, n: usize) -> Vec<u32> {
    wait::until("the script to leave something behind", || {
        let text = fs_err::read_to_string(file).unwrap_or_default();
        let pids: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
        (pids.len() == n).then_some(pids)
    })
}

/// 10: what a script leaves running belongs to its worker, in a session of its own and with an empty environment too. It is
/// that worker's child, stays when another profile's worker dies, is collected when it ends, and ends when its own worker does.
#[test]
fn h10_orphans_belong_to_the_worker_that_made_them() {
    let home = Home::new();
    let pids = |name: &str| home.user().join(format!("{name}.pids"));
    for name in ["coder", "ops"] {
        let file = pids(name);
        let leave = |more: &str| {
            format!(
                "setsid {more} sh -c 'echo $$ >> {file}; exec sleep 600' </dev/null >/dev/null 2>/dev/null &\n"
            )
        };
        with_script(&home, name, &format!("{}{}echo ok\n", leave(""), leave("env -i PATH=/usr/bin:/bin")));
    }
    let gateway = Gateway::start(&home);
    hook(&gateway, "coder");
    hook(&gateway, "ops");
    let (coders, opss) = (left_behind(&pids("coder"), 2), left_behind(&pids("ops"), 2));
    let (coder, ops) = (gateway.worker("coder"), gateway.worker("ops"));
    for (pids, worker) in [(&coders, coder), (&opss, ops)] {
        for pid in pids {
            wait::until_true("the worker to inherit it", || process::parent(*pid) == Some(worker));
        }
    }
    // What ends is collected by the worker.
    process::signal(opss[0], Signal::SIGKILL);
    wait::until_true("it to be collected", || process::state(opss[0]).is_none());

    process::signal(coder, Signal::SIGKILL);
    wait::until_true("what the dead worker left behind to end", || {
        coders.iter().all(|pid| !process::is_alive(*pid))
    });
    wait::until_true("its next worker", || gateway.profile("coder").ready);
    assert!(process::is_alive(opss[1]), "it belongs to a worker that lives");
    assert_eq!((process::parent(opss[1]), gateway.worker("ops")), (Some(ops), ops));

    let stopped = hermes_tests::gateway::run(&home, &["gateway", "stop", "-p", "ops"]);
    assert!(stopped.status.success(), "{}", hermes_tests::gateway::both(&stopped));
    wait::until_true("what the stopped worker left behind to end", || !process::is_alive(opss[1]));
}

/// 10: a process that became the supervisor's child in another way is nobody's to end.
#[test]
#[expect(clippy::disallowed_methods, reason = "the gateway is started by a shell that becomes it")]
fn h10_children_of_the_shell_that_became_the_gateway_are_left_alone() {
    let home = Home::new();
    home.profile("coder");
    let file = home.user().join("pid");
    // The first child ends later, and hands what it started to the process that is the gateway by then.
    let script = format!(
        "sh -c 'sleep 3; setsid sleep 600 & echo $! > {file}.new; mv {file}.new {file}' </dev/null >/dev/null 2>&1 &\n\
         exec {} gateway run",
        hermes_tests::gateway::binary().display()
    );
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script]).env_clear();
    command.envs(hermes_tests::gateway::hermes(&home, &[]).get_envs().filter_map(|(k, v)| Some((k, v?))));
    let null = || std::process::Stdio::null();
    let mut child = command.stdin(null()).stdout(null()).stderr(null()).spawn().unwrap();
    let status = || hermes_tests::gateway::status(&home);
    wait::until_true("coder to be ready", || status().profiles.iter().any(|p| p.name == "coder" && p.ready));
    let stranger = left_behind(&file, 1)[0];
    wait::until_true("the gateway to inherit it", || process::parent(stranger) == Some(child.id()));
    let worker = || status().profiles.into_iter().find(|p| p.name == "coder").unwrap();
    let before = worker().pid.unwrap();
    process::signal(before, Signal::SIGKILL);
    wait::until_true("the next worker", || worker().ready && worker().pid != Some(before));
    assert!(process::is_alive(stranger), "no worker had started it");
    process::signal(stranger, Signal::SIGKILL);
    process::signal(child.id(), Signal::SIGTERM);
    assert!(child.wait().unwrap().success());
}

/// 30: a supervisor that is stopped for longer than a worker may be silent kills none of them when it goes on.
#[test]
fn h30_a_paused_supervisor_kills_no_healthy_worker() {
    let home = Home::with_config(&Home::config("true", "  stuck_after_ms: 2000\n  heartbeat_ms: 200\n"));
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let names = ["default", "coder", "ops"];
    let before = names.map(|name| gateway.worker(name));
    for pause in [1900, 2100, 5000] {
        gateway.signal(Signal::SIGSTOP);
        wait::pass(std::time::Duration::from_millis(pause));
        gateway.signal(Signal::SIGCONT);
        // Longer than a silence that would be judged.
        wait::pass(std::time::Duration::from_millis(2500));
        assert_eq!(names.map(|name| gateway.worker(name)), before, "after {pause} ms");
    }
    // One that really is silent is still found.
    process::signal(before[1], Signal::SIGSTOP);
    wait::until_true("the silent one to be replaced", || {
        let coder = gateway.profile("coder");
        coder.ready && coder.pid != Some(before[1])
    });
    assert!(gateway.profile("coder").last_exit.is_some_and(|exit| exit.starts_with("stuck")));
}

/// 26: while there are no descriptors a worker that died is tried again every few seconds, for as long as it takes, and soon
/// afterwards it serves; nobody calls that a crash loop.
#[test]
fn h26_without_descriptors_a_worker_is_tried_again_until_there_are_some() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let pid = gateway.pid();
    let limit = |soft| process::limit(pid, process::Resource::Nofile, soft);
    let before = gateway.worker("coder");
    // No new one at all; those that are open stay.
    limit(Some(8));
    process::signal(before, Signal::SIGKILL);
    let hindered = wait::until("the reason to be shown", || {
        let text = home.read("default", "logs/supervisor.log").unwrap_or_default();
        text.matches("the machine does not let it run").count().checked_sub(6)
    });
    assert_eq!(hindered, 0);
    limit(None);
    gateway.wait_ready("coder");
    let coder = gateway.profile("coder");
    assert!(coder.pid != Some(before) && coder.restarts == 1, "{coder:?}");
    let log = home.read("default", "logs/supervisor.log").unwrap();
    assert!(!log.contains("crash_loop"), "{log}");
}
