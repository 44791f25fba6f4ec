//! 6 and D23: verbs that are safe to repeat, and that say which gateway they are about.

use hermes_tests::background::Background;
use hermes_tests::command::run;
use hermes_tests::gateway::hermes;
use hermes_tests::{Gateway, Home, process, wait};
use nix::sys::signal::Signal;

/// A home without multiplexing, whose profiles have gateways of their own.
fn single() -> Home {
    let home = Home::with_config(&Home::config("false", ""));
    home.profile_with("coder", &alone(0), "API_SERVER_KEY=coder-api-key-0123456789\n");
    home.profile_with("ops", &alone(0), "API_SERVER_KEY=ops-api-key-0123456789\n");
    home
}

fn alone(port: u16) -> String {
    format!(
        "agent: {{engine: echo}}\nplatforms: {{api_server: {{enabled: true, extra: {{port: {port}}}}}}}\n"
    )
}

/// A gateway of one profile's own. Ended by its handle.
struct Alone(std::process::Child);

impl Alone {
    fn start(home: &Home, args: &[&str]) -> Self {
        let mut command = hermes(home, args);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            process::signal(self.0.id(), Signal::SIGTERM);
        }
        let _ = self.0.wait();
    }
}

fn wait_running(home: &Home, profile: &str) {
    wait::until_true("the gateway to run", || {
        home.read(profile, "runtime_status.json").is_some_and(|s| s.contains(r#""gateway_state":"running""#))
    });
}

/// 6: starting what runs and stopping what does not is exit 0 with a line, by argument and by flag, so that a loop goes on.
#[test]
fn n6_verbs_can_be_repeated() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let pid = gateway.worker("coder");
    let out = run(&home, &["gateway", "start", "coder"]).ok();
    assert_eq!(out, format!("✓ Profile 'coder' is running already (ready, PID {pid})\n"));
    assert_eq!(gateway.worker("coder"), pid, "left alone");
    let out = run(&home, &["gateway", "start"]).ok();
    assert_eq!(out, format!("✓ The gateway (PID {}) is running\n", gateway.pid()));
    for _ in 0..2 {
        for name in ["coder", "ops"] {
            run(&home, &["gateway", "stop", name]).ok();
        }
    }
    assert_eq!(gateway.profile("ops").state, "parked");
    for _ in 0..2 {
        for args in [&["gateway", "start", "coder"][..], &["-p", "ops", "gateway", "start", "ops"]] {
            run(&home, args).ok();
        }
    }
    gateway.wait_ready("ops");
    // What differs is a wrong command line, and a name that is nobody's is said to be.
    assert!(
        run(&home, &["gateway", "stop", "coder", "-p", "ops"]).fails(2).contains("two different profiles")
    );
    assert!(run(&home, &["status", "coder", "-p", "ops"]).fails(2).contains("two different profiles"));
    assert!(run(&home, &["gateway", "stop", "nope"]).fails(1).contains("does not exist"));
    assert!(run(&home, &["status", "coder"]).ok().starts_with("Profile coder\n"));
    let pid = gateway.pid();
    let out = run(&home, &["gateway", "stop"]).ok();
    assert!(out.ends_with(&format!("✓ Stopped the gateway (PID {pid})\n")), "{out}");
    for _ in 0..2 {
        let out = run(&home, &["gateway", "stop"]).ok();
        assert!(out.starts_with("✓ Nothing to stop: "), "{out}");
    }
}

/// 6: where one gateway serves all profiles, a verb without a name is about that one, whatever the sticky profile is.
#[test]
fn n6_a_multiplexer_is_meant_as_a_whole() {
    let home = Home::new();
    home.profile("coder");
    let mut gateway = Gateway::start(&home);
    run(&home, &["profile", "use", "coder"]).ok();
    let pid = run(&home, &["gateway", "status", "--pid"]);
    assert!(pid.err.contains("sticky profile 'coder'"), "{pid:#?}");
    assert_eq!(pid.ok(), format!("{}\n", gateway.pid()));
    assert_eq!(run(&home, &["gateway", "status", "--pid", "coder"]).ok(), format!("{}\n", gateway.pid()));
    let stop = run(&home, &["gateway", "stop"]);
    assert!(stop.err.contains("`-p coder` is about the sticky profile 'coder' alone"), "{stop:#?}");
    stop.ok();
    assert_eq!(gateway.wait(), Some(0));
    let none = run(&home, &["gateway", "status", "--pid"]);
    assert_eq!((none.code, none.out.as_str()), (Some(3), ""), "{none:#?}");
    // The record is 0.19.0's JSON, not a number.
    let gateway = Gateway::start(&home);
    let record: serde_json::Value =
        serde_json::from_str(&home.read("default", "gateway.pid").unwrap()).unwrap();
    assert_eq!(record["pid"], gateway.pid());
}

/// 6: with multiplexing off, verbs follow the sticky profile like every command, and say so.
#[test]
fn n6_without_multiplexing_the_sticky_profile_is_meant() {
    let home = single();
    run(&home, &["profile", "use", "coder"]).ok();
    let root = Gateway::spawn(&home, &["-p", "default"], &[]);
    let _coder = Alone::start(&home, &["gateway", "run"]);
    wait_running(&home, "coder");
    wait_running(&home, "default");
    let pid = run(&home, &["gateway", "status", "--pid"]).ok();
    assert!(pid != format!("{}\n", root.pid()) && pid.trim().parse::<u32>().is_ok(), "{pid}");
    let stop = run(&home, &["gateway", "stop"]);
    assert!(stop.err.contains("this is about the sticky profile 'coder'"), "{stop:#?}");
    assert!(stop.ok().contains("✓ Stopped the gateway of profile 'coder' (PID "));
    assert!(process::is_alive(root.pid()), "the root home's gateway is another one");
    let again = run(&home, &["gateway", "stop"]).ok();
    assert!(again.contains("does not serve profile 'coder'"), "{again}");
    let background = Background(&home);
    let start = run(&home, &["gateway", "start"]).ok();
    assert!(
        start.contains("✓ The gateway of profile 'coder' (PID ") && background.pid("coder").is_some(),
        "{start}"
    );
}

/// 6: two standalone profiles on one port: the second is refused, naming the first and the command that sets another port.
#[test]
fn n6_the_second_profile_on_one_port_is_refused() {
    let home = single();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    home.write("coder", "config.yaml", &alone(port)).write("ops", "config.yaml", &alone(port));
    let _coder = Alone::start(&home, &["-p", "coder", "gateway", "run"]);
    wait_running(&home, "coder");
    for args in [&["-p", "ops", "gateway", "check"][..], &["-p", "ops", "gateway", "run"]] {
        let ran = run(&home, args);
        let text = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(78), "{text}");
        assert!(
            text.contains(&format!("Port {port} already in use by the gateway of profile 'coder'")),
            "{text}"
        );
        assert!(text.contains("hermes -p ops config set platforms.api_server"), "{text}");
    }
    let refused = run(&home, &["-p", "ops", "gateway", "run"]).err;
    let hint =
        refused.split('`').find(|part| part.starts_with("hermes -p ops config set ")).unwrap().to_owned();
    run(&home, &hint.split(' ').skip(1).collect::<Vec<_>>()).ok();
    let _ops = Alone::start(&home, &["-p", "ops", "gateway", "run"]);
    wait_running(&home, "ops");
}

/// 6: `model.model` is kept where it is in force, and that is said.
#[test]
fn n6_model_model_sets_the_key_in_force() {
    let home = Home::empty();
    home.write("default", "config.yaml", "model: {default: old, model: older}\n");
    let out = run(&home, &["config", "set", "model.model", "new"]).ok();
    assert!(out.contains("'model.model' is stored as 'model.default'"), "{out}");
    assert_eq!(run(&home, &["config", "get", "model.default"]).ok(), "new\n");
}

/// 5: SINCE is the time of the process that serves, not of the first one for the profile.
#[test]
fn n5_since_is_the_workers() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let before = gateway.profile("coder");
    run(&home, &["gateway", "restart", "coder"]).ok();
    let after = gateway.profile("coder");
    assert!(before.pid != after.pid && before.since < after.since, "{before:?} {after:?}");
    assert_eq!(gateway.profile("default").since, gateway.profile("default").since);
}
