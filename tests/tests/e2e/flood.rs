//! Hostile clients, and a system that gives too little: what others need is there all the same, or the start is refused.

use std::time::Duration;

use hermes_tests::gateway::{binary, both, hermes_at, run};
use hermes_tests::{Gateway, Home, attack, home, http, wait};

const PAUSE: Duration = Duration::from_millis(100);

/// The program under test behind `ulimit`.
fn with_limit(home: &Home, limit: &str) -> std::path::PathBuf {
    use std::os::unix::fs::PermissionsExt as _;
    let path = home.user().join("limited").into_std_path_buf();
    let program = binary();
    fs_err::write(
        &path,
        format!("#!/bin/sh\nulimit {limit} || exit 99\nexec '{}' \"$@\"\n", program.display()),
    )
    .unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Everything of coder that a client may ask for is answered.
fn coder_answers(gateway: &Gateway<'_>, id: &str) {
    assert_eq!(gateway.get("/p/coder/health", "").status, 200);
    let chat = gateway.chat("/p/coder", &Home::key("coder"), "hello");
    assert_eq!(chat.status, 200, "{}", chat.text());
    let secret = format!("{}-coder", home::SECRET);
    let hook = gateway.hook("/p/coder/webhooks/hook", &secret, id, r#"{"text": "x"}"#);
    assert_eq!(hook.status, 202, "{}", hook.text());
}

/// 20: bodies that trickle without any key take none of the places that a profile's clients need.
#[test]
fn n20_trickling_bodies_do_not_silence_a_profile() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let opening = b"POST /p/coder/webhooks/hook HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{";
    let attack = attack::trickle(&gateway.address("webhook"), 300, opening, &[b" "], PAUSE);
    for at in 0..5 {
        coder_answers(&gateway, &format!("d{at}"));
    }
    drop(attack);
}

/// 20: connections that say nothing, or nothing to its end, keep nobody out.
#[test]
fn n20_connections_without_a_request_make_room() {
    let home = Home::with_config(&Home::config("true", "  max_connections: 64\n"));
    home.profile("coder");
    let gateway = Gateway::start(&home);
    for listener in ["webhook", "api_server"] {
        let address = gateway.address(listener);
        let silent = attack::silent(&address, 150);
        coder_answers(&gateway, &format!("silent-{listener}"));
        let heads = attack::trickle(&address, 150, b"\r", &[b"\n", b"\r"], PAUSE);
        coder_answers(&gateway, &format!("heads-{listener}"));
        drop((silent, heads));
    }
}

/// 21: a client that posts what nobody wants still reads its answer, whoever gives it.
#[test]
fn n21_the_answer_to_an_unwanted_body_is_read() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let body = vec![b'x'; 1_000_000];
    for path in ["/nowhere", "/p/coder/v1/nowhere", "/p/nobody/v1/models"] {
        let answer = http::request(&gateway.address("api_server"), "POST", path, &[], &body).unwrap();
        assert!([401, 404].contains(&answer.status), "{path}: {}", answer.text());
    }
}

/// 21: other profiles are served while bodies that nobody wants pour in.
#[test]
fn n21_unwanted_bodies_delay_nobody_for_long() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let attack = attack::post(&gateway.address("webhook"), 4, "/nowhere", 60_000_000);
    for at in 0..20 {
        coder_answers(&gateway, &format!("p{at}"));
    }
    drop(attack);
}

/// 31: a start that could not keep its word is refused, with numbers and the next step.
#[test]
fn n31_a_start_with_too_few_open_files_is_refused() {
    let home = Home::new();
    home.profile("coder");
    for limit in [24, 64, 200] {
        let program = with_limit(&home, &format!("-n {limit}"));
        let output = hermes_at(&program, &home, &["gateway", "run"]).output().unwrap();
        let text = both(&output);
        assert_eq!(output.status.code(), Some(78), "{limit}: {text}");
        assert!(text.contains(&format!("at most {limit} open files are allowed")), "{text}");
        assert!(text.contains("are needed at least") && text.contains("`ulimit -n 1024`"), "{text}");
    }
    let status = both(&run(&home, &["status"]));
    assert!(!status.contains("ready "), "{status}");
}

/// 31: with few open files fewer clients are let in, status says so, and everything that governs the gateway works.
#[test]
fn n31_few_open_files_are_shared_out() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start_at(&with_limit(&home, "-n 352"), &home);
    let status = gateway.status().gateway;
    let fit = status.max_connections.unwrap();
    assert!((16..64).contains(&fit), "{fit}");
    let problem = status.problems.iter().find(|p| p.code == "descriptor_limit").unwrap();
    assert!(
        problem.message.contains(&format!("{fit} client connections fit into 352 open files")),
        "{problem:?}"
    );
    let address = gateway.address("api_server");
    let silent = attack::silent(&address, 400);
    coder_answers(&gateway, "few");
    // A worker can be started, and a command is answered, while clients take all they can.
    gateway.kill_worker("coder");
    coder_answers(&gateway, "again");
    drop(silent);
}

/// 31: the gateway raises its own limit as far as it goes; its workers have the usual one.
#[test]
fn n31_workers_have_a_limit_of_their_own() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start_at(&with_limit(&home, "-S -n 1100"), &home);
    let soft = |pid: u32| -> u64 {
        let limits = fs_err::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        line.split_whitespace().nth(3).unwrap().parse().unwrap()
    };
    assert!(soft(gateway.pid()) > 1100, "raised");
    wait::until_true("the worker to have its limit", || soft(gateway.worker("coder")) == 1100);
}
