//! What a profile has stored, shown and changed at a terminal while a gateway serves the profile.

use hermes_tests::command::{Ran, run, run_with_input};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::Value;

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).unwrap()
}

/// A home whose turns go to this provider, one call a turn.
fn asking(provider: &Provider) -> Home {
    let config = Home::config("true", "").replace("engine: echo, ", "api_max_retries: 1, ");
    let base_url = provider.base_url();
    Home::with_config(&format!(
        "{config}auxiliary: {{title_generation: {{enabled: false}}}}\nmodel: {{default: m, provider: custom, base_url: '{base_url}', api_key: k-123456}}\n"
    ))
}

fn hook(gateway: &Gateway, id: &str, text: &str) {
    let body = serde_json::json!({"text": text}).to_string();
    let response = gateway.hook("/webhooks/hook", home::SECRET, id, &body);
    assert_eq!(response.status, 202, "{}", response.text());
}

/// The id of a session that has just had its first answer.
fn ask(gateway: &Gateway, text: &str) -> String {
    let response = gateway.chat("", home::DEFAULT_KEY, text);
    assert_eq!(response.status, 200, "{}", response.text());
    response.header("x-hermes-session-id").unwrap().to_owned()
}

#[test]
fn sessions_of_a_served_profile_are_changed_by_its_worker() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    let (first, second) = (ask(&gateway, "where is the door code?"), ask(&gateway, "what is for dinner?"));

    let listed = json(run(&home, &["sessions", "list", "--json"]));
    let ids: Vec<&str> =
        listed["sessions"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{listed}");
    let text = run(&home, &["sessions", "list", "--source", "api_server"]).ok();
    assert!(
        text.starts_with("Preview")
            && text.contains("Last Active")
            && text.contains("where is the door code?"),
        "{text}"
    );
    let shown = run(&home, &["sessions", "show", &first]).ok();
    assert!(shown.contains("\nuser  ") && shown.contains("\n  where is the door code?\n"), "{shown}");
    let found = run(&home, &["sessions", "search", "door", "code"]).ok();
    assert!(found.contains(&first) && !found.contains(&second), "{found}");

    let renamed = run(&home, &["sessions", "rename", &first, "Door", "codes"]).ok();
    assert_eq!(renamed, format!("Session '{first}' renamed to: Door codes\n"));
    let taken = run(&home, &["sessions", "rename", &second, "Door codes"]).fails(1);
    assert!(taken.contains("has this title already"), "{taken}");

    // Nobody is asked where nobody is, and nothing is done without a yes.
    let unasked = run(&home, &["sessions", "delete", "Door codes"]).fails(2);
    assert!(unasked.contains("--yes"), "{unasked}");
    let no = run_with_input(&home, &["sessions", "delete", "Door codes"], "n\n");
    assert_eq!(no.code, Some(1), "{no:?}");
    let yes = run_with_input(&home, &["sessions", "delete", "Door codes"], "y\n").ok();
    assert!(yes.contains(&format!("Deleted session '{first}' (2 messages).")), "{yes}");
    let log = || home.read("default", "logs/gateway.log").unwrap_or_default();
    wait::until_true("the worker to say so", || {
        log().contains(&format!("session {first} was deleted at a terminal"))
    });
    assert_eq!(json(run(&home, &["sessions", "stats", "--json"]))["sessions"], 1);
    let gone = run(&home, &["sessions", "show", &first]).fails(1);
    assert!(gone.contains("Session not found:") && gone.contains("hermes sessions list"), "{gone}");
    // The worker goes on.
    ask(&gateway, "and now?");
    let served = run(&home, &["sessions", "repair"]).ok();
    assert!(served.contains("are whole"), "{served}");
}

/// A session in which a turn runs is kept, and says so; the turn is answered.
#[test]
fn a_session_whose_turn_runs_is_kept() {
    let provider = Provider::start();
    provider.script([Reply::text("first answer"), Reply::Hang]);
    let home = asking(&provider);
    let gateway = Gateway::start(&home);
    let session = ask(&gateway, "first");
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            gateway.api(
                "POST",
                "/v1/chat/completions",
                &[
                    ("Authorization", &format!("Bearer {}", home::DEFAULT_KEY)),
                    ("X-Hermes-Session-Id", &session),
                ],
                br#"{"messages": [{"role": "user", "content": "second"}]}"#,
            )
        });
        wait::until_true("the turn to reach the provider", || provider.calls().len() == 2);
        let kept = run(&home, &["sessions", "delete", &session, "--yes"]).fails(1);
        assert!(kept.contains("was kept: a turn runs in it"), "{kept}");
        let pruned = run(&home, &["sessions", "prune", "--older-than", "0", "--open", "--yes"]).fails(1);
        assert!(pruned.contains("was kept: a turn runs in it"), "{pruned}");
        // Its worker's end is the end of the turn.
        gateway.kill_worker("default");
        let _cut = running.join();
    });
    gateway.wait_ready("default");
    wait::until("the session to be free", || {
        let ran = run(&home, &["sessions", "delete", &session, "--yes"]);
        (ran.code == Some(0)).then_some(())
    });
}

#[test]
fn what_failed_is_tried_again_or_dropped() {
    let provider = Provider::start();
    provider.script([
        Reply::error(400, "this makes no sense"),
        Reply::error(400, "nor does this"),
        Reply::text("now it does"),
    ]);
    let home = asking(&provider);
    let gateway = Gateway::start(&home);
    let failed = |count| gateway.profile("default").inbox_failed == count;
    hook(&gateway, "d1", "one");
    wait::until_true("a dead letter", || failed(1));
    hook(&gateway, "d2", "two");
    wait::until_true("another", || failed(2));

    let listed = json(run(&home, &["inbox", "list", "--json"]));
    let messages = listed["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 2, "{listed}");
    assert_eq!((&messages[0]["state"], &messages[0]["text"]), (&"failed".into(), &"say one".into()));
    assert!(messages[0]["why"].as_str().unwrap().contains("this makes no sense"), "{listed}");
    let (one, two) = (messages[0]["id"].to_string(), messages[1]["id"].to_string());
    let text = run(&home, &["inbox", "list"]).ok();
    assert!(text.starts_with("NUMBER") && text.contains("say one"), "{text}");
    let shown = run(&home, &["inbox", "show", &one]).ok();
    assert!(shown.contains("failed") && shown.contains("\n  say one\n"), "{shown}");

    let again = run(&home, &["inbox", "retry", &one]).ok();
    assert_eq!(again, format!("✓ Message {one} is tried again\n"));
    wait::until_true("its answer", || failed(1));
    wait::until_true("it to be answered", || {
        json(run(&home, &["inbox", "show", &one, "--json"]))["state"] == "answered"
    });
    let unasked = run(&home, &["inbox", "drop", &two]).fails(2);
    assert!(unasked.contains("--yes"), "{unasked}");
    let dropped = run(&home, &["inbox", "drop", &two, "--yes"]).ok();
    assert_eq!(dropped, format!("✓ Message {two} is dropped\n"));
    wait::until_true("status to say so", || failed(0));
    let log = || home.read("default", "logs/gateway.log").unwrap_or_default();
    wait::until_true("it to be written down", || {
        log().contains(&format!("message {two} of the inbox was dropped"))
    });
    assert_eq!(json(run(&home, &["inbox", "show", &two, "--json"]))["state"], "dropped");
    assert_eq!(run(&home, &["inbox", "list"]).ok(), "Nothing waits, and nothing failed.\n");
    let twice = run(&home, &["inbox", "drop", &two, "--yes"]).fails(1);
    assert!(twice.contains("stays as it is: it was dropped"), "{twice}");
    run(&home, &["inbox", "retry", "999"]).fails(1);
    // Its sender is told that it is known.
    let body = serde_json::json!({"text": "two"}).to_string();
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d2", &body).status, 200);
}

/// Without a gateway the command decides, and the next worker carries it out.
#[test]
fn what_failed_waits_for_the_next_gateway_where_none_serves() {
    let provider = Provider::start();
    provider.script([Reply::error(400, "this makes no sense"), Reply::text("now it does")]);
    let home = asking(&provider);
    let mut gateway = Gateway::start(&home);
    hook(&gateway, "d1", "one");
    wait::until_true("a dead letter", || gateway.profile("default").inbox_failed == 1);
    gateway.stop();
    let ran = run(&home, &["inbox", "retry", "--all"]);
    assert!(ran.err.contains("no gateway serves the profile now"), "{ran:?}");
    assert!(ran.ok().contains("is tried again"));
    let waiting = json(run(&home, &["inbox", "list", "--json"]));
    assert_eq!(waiting["messages"][0]["state"], "waiting", "{waiting}");
    let _gateway = Gateway::start(&home);
    wait::until_true("its answer", || {
        run(&home, &["inbox", "list"]).ok() == "Nothing waits, and nothing failed.\n"
    });
    assert_eq!(provider.calls().len(), 2);
}

#[test]
fn insights_tell_of_all_profiles_or_one() {
    let provider = Provider::start();
    provider.script([Reply::text("a"), Reply::text("b")]);
    let home = asking(&provider);
    home.profile("coder");
    let gateway = Gateway::start(&home);
    ask(&gateway, "one");
    gateway.chat("/p/coder", &Home::key("coder"), "two");
    let all = json(run(&home, &["insights", "--json"]));
    let profile = |name: &str| {
        let found = all["profiles"].as_array().unwrap().iter().find(|one| one["profile"] == name);
        found.unwrap_or_else(|| panic!("{all}")).clone()
    };
    assert_eq!((&profile("default")["sessions"], &profile("coder")["sessions"]), (&1.into(), &1.into()));
    assert!(profile("default")["output_tokens"].as_i64().unwrap() > 0, "{all}");
    assert_eq!(all["total"]["sessions"], 2);
    assert!(all["models"].as_array().unwrap().iter().any(|one| one["model"] == "m"), "{all}");
    let one = json(run(&home, &["-p", "coder", "insights", "--json"]));
    assert_eq!((one["profiles"].as_array().unwrap().len(), &one["total"]["sessions"]), (1, &1.into()));
    let text = run(&home, &["insights"]).ok();
    assert!(text.contains("PROFILE") && text.contains("\nMODEL") && text.contains("\ncoder"), "{text}");
}
