//! `gateway.autostart`: profiles that run while there is something to do, or when they are started by hand.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use hermes_tests::command::run;
use hermes_tests::gateway::both;
use hermes_tests::home::SECRET;
use hermes_tests::http::{Connection, chat};
use hermes_tests::installed::Installed;
use hermes_tests::{Gateway, Home, command, process, wait};
use nix::sys::signal::Signal;

/// A profile that sleeps after this many seconds without work.
fn on_demand(home: &Home, name: &str, idle: &str) {
    let gateway = format!("gateway: {{autostart: on-demand, idle_timeout: {idle}}}");
    home.profile_with(name, &config(name, &gateway), &format!("API_SERVER_KEY={}\n", Home::key(name)));
}

fn config(name: &str, gateway: &str) -> String {
    format!(
        "agent: {{engine: echo}}\n{gateway}\nplatforms: {{webhook: {{extra: {{secret: {SECRET}-{name}, rate_limit: 1000000, \
         routes: {{hook: {{prompt: 'say {{text}}'}}}}}}}}}}\n"
    )
}

/// N6.5: it is looked at once and sleeps; its first request starts it and is answered; without work it sleeps again. Asleep it counts
/// as ready.
#[test]
fn n6_5_the_first_request_starts_it_and_without_work_it_sleeps() {
    let home = Home::new();
    on_demand(&home, "coder", "0.5");
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "sleeping");
    assert_eq!((coder.desired.as_str(), coder.ready, coder.restarts), ("running", true, 0));
    wait::until_true("the process that looked to be gone", || gateway.profile("coder").pid.is_none());
    let status = gateway.status().gateway;
    assert_eq!((status.profiles_ready, status.profiles_desired), (2, 2));
    for round in 0..3 {
        let answer = gateway.chat("/p/coder", &Home::key("coder"), "hello");
        assert_eq!(answer.status, 200, "{round}: {answer:?}");
        let coder = gateway.wait_state("coder", "sleeping");
        assert_eq!((coder.restarts, coder.last_exit.as_deref()), (0, Some("exit 0")), "{round}");
    }
    // A webhook's turn is done before it sleeps.
    let hook = gateway.hook("/p/coder/webhooks/hook", &format!("{SECRET}-coder"), "d1", r#"{"text":"x"}"#);
    assert_eq!(hook.status, 202, "{hook:?}");
    gateway.wait_state("coder", "sleeping");
    let db = rusqlite::Connection::open(home.of("coder").join("state.db")).unwrap();
    let open: i64 = db
        .query_row("SELECT count(*) FROM hermes_inbox WHERE finished_at IS NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(open, 0);
    let shown = command::run(&home, &["status"]).ok();
    assert!(shown.lines().any(|line| line.contains("coder") && line.contains("sleeping")), "{shown}");
}

/// Whoever connects to its data socket wakes it, whatever way it came: no request is lost between two processes.
#[test]
fn n6_5_no_request_is_lost_while_it_goes_to_sleep() {
    let home = Home::new();
    on_demand(&home, "coder", "0.1");
    let gateway = Gateway::start(&home);
    gateway.wait_state("coder", "sleeping");
    let address = gateway.address("api_server");
    // All at once, around the time after which it sleeps.
    let together = std::sync::Barrier::new(3);
    std::thread::scope(|scope| {
        for worker in 0..3u64 {
            let (address, together) = (&address, &together);
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for n in 0..40 {
                    together.wait();
                    wait::pass(std::time::Duration::from_millis(60 + (n * 37) % 200 + worker * 3));
                    connection.send(&chat(n % 2 == 0, "hello")).unwrap();
                    let answer = connection.response(false).unwrap();
                    assert_eq!(answer.status, 200, "{worker} {n}: {answer:?}");
                }
            });
        }
    });
    let coder = gateway.wait_state("coder", "sleeping");
    assert!(coder.generation > 2, "it slept in between: {}", coder.generation);
    assert_eq!(coder.restarts, 0);
    let mut socket = UnixStream::connect(coder.data_socket.unwrap()).unwrap();
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// What came in before everything was killed is done after the next start, without anybody's request.
#[test]
fn n6_5_work_that_waits_wakes_it_at_the_next_start() {
    let home = Home::new();
    on_demand(&home, "coder", "0.5");
    let slow = config("coder", "gateway: {autostart: on-demand, idle_timeout: 0.5}")
        .replace("{engine: echo}", "{engine: echo, echo_delay_ms: 600000}");
    home.write("coder", "config.yaml", &slow);
    let mut gateway = Gateway::start(&home);
    let hook = gateway.hook("/p/coder/webhooks/hook", &format!("{SECRET}-coder"), "d1", r#"{"text":"x"}"#);
    assert_eq!(hook.status, 202, "{hook:?}");
    wait::until_true("the turn to run", || gateway.profile("coder").active_agents == 1);
    let worker = gateway.worker("coder");
    gateway.signal(Signal::SIGKILL);
    gateway.wait();
    wait::until_true("the worker to end", || !process::is_alive(worker));
    on_demand(&home, "coder", "0.5");
    let gateway = Gateway::start(&home);
    gateway.wait_state("coder", "sleeping");
    let db = rusqlite::Connection::open(home.of("coder").join("state.db")).unwrap();
    let done: i64 =
        db.query_row("SELECT count(*) FROM hermes_inbox WHERE state = 'done'", [], |row| row.get(0)).unwrap();
    assert_eq!(done, 1);
}

/// Its files are looked at while it sleeps: a bad edit is shown, a good one leaves nobody running, one that asks for more is heeded.
#[test]
fn n6_5_an_edit_is_examined_without_leaving_it_running() {
    let home = Home::new();
    on_demand(&home, "coder", "300");
    let gateway = Gateway::start(&home);
    gateway.wait_state("coder", "sleeping");
    home.write("coder", "config.yaml", "agent: {engine: echo\n");
    let coder = gateway.wait_state("coder", "failed");
    assert!(coder.file.is_some_and(|file| file.ends_with("coder/config.yaml")));
    on_demand(&home, "coder", "300");
    gateway.wait_state("coder", "sleeping");
    wait::until_true("nobody to be left", || gateway.profile("coder").pid.is_none());
    home.write("coder", "config.yaml", &config("coder", "gateway: {autostart: always}"));
    gateway.wait_state("coder", "ready");
    // The default profile's file speaks for those that say nothing.
    home.write("coder", "config.yaml", &config("coder", ""));
    gateway.wait_state("coder", "ready");
    let all = Home::config("true", "  autostart: on-demand\n  idle_timeout: 0.3\n");
    home.write("default", "config.yaml", &all);
    gateway.wait_state("coder", "sleeping");
    assert_eq!(gateway.profile("default").state, "ready", "the primary always runs");
}

/// `never` waits for a hand; commands act on a profile that sleeps; what a user stopped stays stopped over a restart.
#[test]
fn n6_5_commands_start_and_stop_what_rests() {
    let home = Home::new();
    home.profile_with("ops", &config("ops", "gateway: {autostart: never}"), "");
    on_demand(&home, "coder", "300");
    let mut gateway = Gateway::start(&home);
    gateway.wait_state("coder", "sleeping");
    let ops = gateway.wait_state("ops", "stopped");
    assert_eq!(ops.desired, "stopped");
    assert_eq!(gateway.get("/p/ops/health", "").status, 503);
    command::run(&home, &["-p", "ops", "gateway", "start"]).ok();
    command::run(&home, &["-p", "coder", "gateway", "start"]).ok();
    for name in ["ops", "coder"] {
        gateway.wait_state(name, "ready");
    }
    command::run(&home, &["-p", "coder", "gateway", "stop"]).ok();
    assert_eq!(gateway.get("/p/coder/health", "").status, 503, "a request is no start");
    gateway.stop();
    let gateway = Gateway::start(&home);
    gateway.wait_state("ops", "stopped");
    let coder = gateway.profile("coder");
    assert!(matches!(coder.state.as_str(), "stopped" | "parked"), "{}", coder.state);
    command::run(&home, &["-p", "coder", "gateway", "restart"]).ok();
    gateway.wait_state("coder", "ready");
}

/// A gateway that starts again need not start who sleeps, as long as nothing has changed.
#[test]
fn n6_5_who_slept_in_order_is_not_started_to_be_looked_at() {
    let home = Home::new();
    on_demand(&home, "coder", "300");
    let mut gateway = Gateway::start(&home);
    gateway.wait_state("coder", "sleeping");
    wait::until_true("it has left word", || {
        home.read("coder", "runtime_status.json").is_some_and(|text| text.contains(r#""asleep":"#))
    });
    gateway.stop();
    let mut gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "sleeping");
    assert_eq!((coder.generation, coder.upkeep.unwrap().idle_ms), (0, 300_000), "nobody was started");
    assert_eq!(gateway.chat("/p/coder", &Home::key("coder"), "hello").status, 200);
    gateway.stop();
    on_demand(&home, "coder", "301");
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "sleeping");
    assert_eq!((coder.generation, coder.upkeep.unwrap().idle_ms), (1, 301_000), "other files are looked at");
}

/// N6.5, N5.7: who sleeps while the gateway becomes another program sleeps on, and its first request wakes it. A request that is held for one
/// that is being woken at that moment is answered.
#[test]
fn n6_5_who_sleeps_sleeps_through_an_upgrade_and_who_is_woken_answers() {
    let home = Home::new();
    on_demand(&home, "coder", "0.5");
    let installed = Installed::new();
    let mut gateway = Gateway::start_at(&installed.program(), &home);
    let pid = gateway.pid();
    let renew = || {
        installed.replace();
        let output = installed.run(&home, &["gateway", "restart"]);
        assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    };
    gateway.wait_state("coder", "sleeping");
    let started =
        || home.read("coder", "logs/gateway.log").unwrap_or_default().matches(": ready profile=").count();
    for _ in 0..2 {
        wait::until_true("its process to be gone", || gateway.profile("coder").pid.is_none());
        let before = started();
        let default = gateway.worker("default");
        renew();
        // Whoever was to be replaced has been.
        gateway.wait_replaced("default", default);
        let now = gateway.profile("coder");
        assert_eq!((now.state.as_str(), now.pid, now.restarts), ("sleeping", None, 0));
        assert_eq!((gateway.pid(), started()), (pid, before), "nobody was started");
        let answer = gateway.chat("/p/coder", &Home::key("coder"), "hello");
        assert_eq!(answer.status, 200, "{answer:?}");
        gateway.wait_state("coder", "sleeping");
    }
    // Woken before, during and after the program changes.
    let address = gateway.address("api_server");
    for pause in [0, 5, 20, 60, 150] {
        gateway.wait_state("coder", "sleeping");
        std::thread::scope(|scope| {
            let asks = scope.spawn(|| {
                wait::pass(std::time::Duration::from_millis(pause));
                let mut connection = Connection::open(&address).unwrap();
                connection.send(&chat(false, "hello")).unwrap();
                connection.response(false).unwrap()
            });
            renew();
            let answer = asks.join().unwrap();
            assert_eq!(answer.status, 200, "{pause}: {answer:?}");
        });
    }
    assert_eq!(gateway.wait_state("coder", "sleeping").restarts, 0);
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
}

/// N6.4: limits that cannot be kept here are said where people look, with the reason; the worker serves all the same. Where they are
/// kept, nothing is said.
#[test]
fn n6_4_limits_are_kept_or_it_is_said_that_they_are_not() {
    let home = Home::new();
    let limits = "gateway: {limits: {memory: 512M, cpu: 2, tasks: 400}}";
    home.profile_with("coder", &config("coder", limits), &format!("API_SERVER_KEY={}\n", Home::key("coder")));
    let gateway = Gateway::start(&home);
    let coder = gateway.wait_state("coder", "ready");
    let upkeep = coder.upkeep.unwrap();
    assert_eq!((upkeep.limits.memory, upkeep.limits.cpu_permille), (Some(512 << 20), Some(2000)));
    assert_eq!(gateway.chat("/p/coder", &Home::key("coder"), "hello").status, 200);
    let group = fs_err::read_to_string(format!("/proc/{}/cgroup", coder.pid.unwrap())).unwrap();
    let is_kept = group.lines().any(|line| line.starts_with("0::") && line.ends_with("/worker-coder"));
    let said = coder.problems.iter().find(|problem| problem.code == "limits_unkept");
    assert_eq!(said.is_none(), is_kept, "{group}{:?}", coder.problems);
    let doctor = run(&home, &["doctor", "--json"]).out;
    let word =
        if is_kept { "the kernel keeps it to `gateway.limits`" } else { "`gateway.limits` is not kept: " };
    assert!(doctor.contains(word), "{doctor}");
    let logged = gateway.output().matches("gateway.limits are not kept").count();
    assert_eq!(logged, usize::from(!is_kept), "once");
}
