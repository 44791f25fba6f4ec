//! What got 202 survives: once when the crash comes before the turn, resumed and not repeated after.

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;

fn rows(home: &Home, role: &str) -> i64 {
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row("select count(*) from messages where role = ?1", [role], |r| r.get(0)).unwrap()
}

#[test]
fn accepted_then_killed_runs_once() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    let mut accepted = 0;
    // One death more within two minutes would be a crash loop.
    for round in 0..4 {
        for i in 0..20 {
            let id = format!("{round}-{i}");
            if gateway.hook("/webhooks/hook", home::SECRET, &id, r#"{"text": "x"}"#).status == 202 {
                accepted += 1;
            }
        }
        process::signal(gateway.worker("default"), Signal::SIGKILL);
        gateway.wait_ready("default");
    }
    wait::until_true("every accepted message to be answered", || rows(&home, "assistant") >= accepted);
    assert_eq!((rows(&home, "user"), rows(&home, "assistant")), (accepted, accepted));
}

#[test]
fn a_turn_that_was_running_is_resumed_not_repeated() {
    let provider = Provider::start();
    provider.script([Reply::Hang, Reply::text("resumed")]);
    let home = Home::with_config(&format!(
        "{}{}",
        Home::config("true", "").replace("engine: echo, ", ""),
        provider.model_config()
    ));
    home.write("default", ".env", "CUSTOM_API_KEY=k\nAPI_SERVER_KEY=default-api-key-0123456789\n");
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    wait::until_true("the turn to reach the provider", || provider.open() == 1);
    assert_eq!(rows(&home, "user"), 1, "the user's row is written before the first call");
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    wait::until_true("the resumed turn", || rows(&home, "assistant") == 1);
    assert_eq!(rows(&home, "user"), 1);
    assert_eq!(provider.calls().len(), 2);
    assert_eq!(
        gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status,
        200,
        "still known"
    );
}

#[test]
fn a_supervisor_that_is_killed_loses_nothing() {
    let home = Home::new();
    let mut accepted = 0;
    for round in 0..3 {
        let mut gateway = Gateway::start(&home);
        for i in 0..30 {
            accepted += i64::from(
                gateway
                    .hook("/webhooks/hook", home::SECRET, &format!("{round}-{i}"), r#"{"text": "x"}"#)
                    .status
                    == 202,
            );
        }
        gateway.signal(Signal::SIGKILL);
        gateway.wait();
        gateway.assert_nothing_left();
    }
    let _gateway = Gateway::start(&home);
    wait::until_true("every accepted message to be answered", || rows(&home, "assistant") >= accepted);
    assert_eq!((rows(&home, "user"), rows(&home, "assistant")), (accepted, accepted));
}
