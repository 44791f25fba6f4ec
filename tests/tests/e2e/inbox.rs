//! What got 202 survives: once when the crash comes before the turn, resumed and not repeated after.

use hermes_tests::gateway::{both, run};
use hermes_tests::place::Place;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;

/// Messages that a prompt may contain; those of a turn that failed stay in the transcript alone.
fn rows(home: &Home, role: &str) -> i64 {
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row("select count(*) from messages where role = ?1 and active = 1", [role], |r| r.get(0))
        .unwrap()
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
        gateway.kill_worker("default");
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

/// A home whose turns go to `base_url`, one call a turn.
fn asking(base_url: &str) -> Home {
    let config = Home::config("true", "").replace("engine: echo, ", "api_max_retries: 1, ");
    let model = format!(
        "auxiliary: {{title_generation: {{enabled: false}}}}\nmodel: {{default: m, provider: custom, base_url: '{base_url}', api_key: k-123456}}\n"
    );
    Home::with_config(&format!("{config}max_concurrent_sessions: 32\n{model}"))
}

fn hook(gateway: &Gateway, id: &str, text: &str) -> u16 {
    let body = serde_json::json!({"text": text}).to_string();
    gateway.hook("/webhooks/hook", home::SECRET, id, &body).status
}

fn default(gateway: &Gateway) -> hermes_wire::contract::gateway_status::Profile {
    gateway.status().profiles.into_iter().find(|p| p.name == "default").unwrap()
}

/// 25: a provider that refuses connections makes messages wait, status says for what, and they are answered when it is back.
#[test]
fn n25_a_provider_that_is_away_makes_messages_wait_and_nobody_is_lost() {
    let place = Place::new();
    let home = asking(&format!("http://{}/v1", place.address()));
    let gateway = Gateway::start(&home);
    assert_eq!(hook(&gateway, "d1", "x"), 202);
    assert_eq!(hook(&gateway, "d2", "y"), 202);
    wait::until_true("both messages to wait", || default(&gateway).inbox_postponed == 2);
    let profile = default(&gateway);
    assert_eq!((profile.inbox_waiting, profile.inbox_failed), (2, 0));
    assert!(profile.inbox_reason.as_deref().unwrap().contains("cannot connect to"), "{profile:?}");
    let shown = both(&run(&home, &["status"]));
    assert!(shown.contains("default: 2 messages wait for the provider"), "{shown}");
    let file = || fs_err::read_to_string(home.root().join("runtime_status.json")).unwrap();
    wait::until_true("the status file to say so", || {
        file().contains(r#""inbox":{"waiting":2,"postponed":2,"failed":0"#)
    });
    assert_eq!(hook(&gateway, "d1", "x"), 200, "it is known, and waits");

    let _provider = Provider::start_at(&place);
    wait::until_true("both answers", || rows(&home, "assistant") == 2);
    assert_eq!(rows(&home, "user"), 2);
    wait::until_true("status to say that nothing waits", || {
        let profile = default(&gateway);
        (profile.inbox_waiting, profile.inbox_postponed, profile.inbox_reason) == (0, 0, None)
    });
}

/// 25: what failed for good is a dead letter; status counts it, and its sender's repetition runs it again.
#[test]
fn n25_a_dead_letter_is_counted_and_runs_again_when_it_is_sent_again() {
    let provider = Provider::start();
    provider.script([Reply::error(400, "this makes no sense")]);
    let home = asking(&provider.base_url());
    let gateway = Gateway::start(&home);
    assert_eq!(hook(&gateway, "d1", "x"), 202);
    wait::until_true("a dead letter", || default(&gateway).inbox_failed == 1);
    let shown = both(&run(&home, &["status"]));
    assert!(shown.contains("default: 1 message could not be answered"), "{shown}");
    assert_eq!(hook(&gateway, "d1", "x"), 202, "sent again it is no duplicate");
    wait::until_true("the answer", || rows(&home, "assistant") == 1);
    wait::until_true("no dead letter", || default(&gateway).inbox_failed == 0);
    assert_eq!(hook(&gateway, "d1", "x"), 200, "now it is");
    assert_eq!(rows(&home, "user"), 1);
}

/// 25: a supervisor that is killed takes its workers along; that is no turn's fault, however often.
#[test]
fn n25_the_supervisors_end_counts_against_no_turn() {
    const KILLS: usize = 5;
    let provider = Provider::start();
    provider.script(std::iter::repeat_n(Reply::Hang, KILLS));
    let home = asking(&provider.base_url());
    for round in 1..=KILLS {
        let mut gateway = Gateway::start(&home);
        if round == 1 {
            assert_eq!(hook(&gateway, "d1", "x"), 202);
        }
        wait::until_true("the turn to reach the provider", || provider.calls().len() == round);
        gateway.signal(Signal::SIGKILL);
        gateway.wait();
        gateway.assert_nothing_left();
    }
    let _gateway = Gateway::start(&home);
    wait::until_true("the answer", || rows(&home, "assistant") == 1);
    assert_eq!(rows(&home, "user"), 1);
}

/// 25: sixteen innocent messages beside one whose turn kills the worker: all are answered, only that one is given up.
#[test]
fn n25_a_message_that_kills_the_worker_takes_no_other_along() {
    const INNOCENT: usize = 16;
    let provider = Provider::start();
    provider.never_answer("poison");
    provider.script(std::iter::repeat_n(Reply::Hang, INNOCENT));
    let home = asking(&provider.base_url());
    let gateway = Gateway::start(&home);
    for n in 0..INNOCENT {
        assert_eq!(hook(&gateway, &format!("d{n}"), "innocent"), 202);
    }
    assert_eq!(hook(&gateway, "d-p", "poison"), 202);
    wait::until_true("all turns to run", || provider.open() == INNOCENT + 1);
    let poisoned = || provider.calls().iter().filter(|call| call.body.to_string().contains("poison")).count();
    let mut deaths = 0;
    wait::until_true("the poisonous message to be given up", || {
        if poisoned() > deaths {
            deaths = poisoned();
            gateway.kill_worker("default");
        }
        default(&gateway).inbox_failed == 1
    });
    let answered = i64::try_from(INNOCENT).unwrap();
    wait::until_true("every innocent message to be answered", || rows(&home, "assistant") == answered);
    assert_eq!(deaths, 4, "one with all others, three alone");
    assert_eq!(rows(&home, "user"), answered, "what was given up is repeated to nobody");
    assert_eq!(hook(&gateway, "after", "innocent"), 202);
    wait::until_true("the worker to serve on", || rows(&home, "assistant") == answered + 1);
}
