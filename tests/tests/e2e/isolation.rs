//! What changes in one profile stays in that profile.

use hermes_tests::{Gateway, Home, home, process, wait};

#[test]
fn c73_a_rotated_key_takes_effect_without_touching_others() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let (ops, default) = (gateway.worker("ops"), gateway.worker("default"));
    home.write("coder", ".env", "API_SERVER_KEY=a-new-key-of-coder-0123\n");
    wait::until_true("the new key to be taken", || {
        gateway.get("/p/coder/v1/models", "a-new-key-of-coder-0123").status == 200
    });
    assert_eq!(gateway.get("/p/coder/v1/models", &Home::key("coder")).status, 401);
    assert_eq!((gateway.worker("ops"), gateway.worker("default")), (ops, default));
}

#[test]
fn c74_shared_env_passes_exactly_the_named_variables() {
    if !hermes_tests::tools::may_look_into_others() {
        return;
    }
    let home = Home::with_config(&Home::config("true", "  shared_env: [SHARED_ONE, SHARED_TWO]\n"));
    home.profile("coder");
    let env = [
        ("SHARED_ONE", "value-one-of-the-deployment"),
        ("SHARED_TWO", "value-two-of-the-deployment"),
        ("NOT_SHARED", "value-three-of-the-deployment"),
    ];
    let mut gateway = Gateway::spawn(&home, &[], &env);
    gateway.wait_settled();
    for name in ["default", "coder"] {
        let environment = process::environment(gateway.worker(name)).unwrap();
        for (variable, value) in env {
            assert_eq!(
                process::contains(&environment, format!("{variable}={value}").as_bytes()),
                variable != "NOT_SHARED",
                "{name}: {variable}"
            );
        }
    }
    let log = home.read("default", "logs/supervisor.log").unwrap_or_default() + &gateway.output();
    assert!(log.contains("SHARED_ONE") && !log.contains("value-one"), "{log}");
}

#[test]
fn c74_an_identity_cannot_be_shared() {
    let home = Home::with_config(&Home::config("true", "  shared_env: [TELEGRAM_BOT_TOKEN]\n"));
    let output = hermes_tests::gateway::run(&home, &["gateway", "check"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(hermes_tests::gateway::both(&output).contains("TELEGRAM_BOT_TOKEN"));
}

#[test]
fn a_bad_edit_leaves_the_last_good_worker_and_says_where() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let worker = gateway.worker("coder");
    home.write("coder", "config.yaml", "agent: {engine: echo}\nplatforms: [\n");
    let coder = wait::until("the error to be shown", || {
        Some(gateway.profile("coder")).filter(|p| p.reason.is_some())
    });
    assert!(coder.ready && coder.pid == Some(worker), "{coder:?}");
    assert!(coder.file.unwrap().contains("profiles/coder/config.yaml"));
    assert_eq!(gateway.get("/p/coder/v1/models", &Home::key("coder")).status, 200);
    home.write("coder", "config.yaml", "agent: {engine: echo}\n");
    wait::until_true("the repaired one to be swapped in", || {
        let coder = gateway.profile("coder");
        coder.ready && coder.pid != Some(worker) && coder.reason.is_none()
    });
}

#[test]
fn c89_hot_add_and_remove_touch_nobody_else() {
    let home = Home::new();
    home.profile("ops");
    let gateway = Gateway::start(&home);
    let ops = gateway.worker("ops");
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").status, 404);
    home.profile("coder");
    wait::until_true("coder to be served", || gateway.api("GET", "/p/coder/health", &[], b"").status == 200);
    let coder = gateway.worker("coder");
    fs_err::rename(home.of("coder"), home.user().join("gone")).unwrap();
    wait::until_true("coder to be unrouted", || {
        gateway.api("GET", "/p/coder/health", &[], b"").status == 404
    });
    wait::until_true("its worker to end", || !process::is_alive(coder));
    assert!(!home.of("coder").exists(), "a worker re-created its home");
    assert_eq!(gateway.worker("ops"), ops);
    let _ = home::DEFAULT_KEY;
}

#[test]
fn hot_added_duplicate_credentials_are_refused_for_the_newcomer_only() {
    let home = Home::new();
    home.profile_with("ops", "agent: {engine: echo}\n", "WEIXIN_TOKEN=1:shared-by-two-profiles\n");
    let gateway = Gateway::start(&home);
    home.profile_with("coder", "agent: {engine: echo}\n", "WEIXIN_TOKEN=1:shared-by-two-profiles\n");
    let coder = gateway.wait_state("coder", "failed");
    let reason = coder.reason.unwrap();
    assert!(
        reason.contains("'coder'") && reason.contains("'ops'") && !reason.contains("shared-by"),
        "{reason}"
    );
    assert!(gateway.profile("ops").ready);
}
