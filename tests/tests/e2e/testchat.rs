//! Platforms that dial out, by the one that exists for tests: a lost connection is seen, answers stay in order, and a crash loses and
//! doubles nothing.

use std::time::Duration;

use hermes_tests::chat::{Chat, Refusal};
use hermes_tests::chats::{self, echo, tries as ledger};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;

/// A home whose default profile has the bot; `more` goes into its section, `extra` below `gateway`.
fn house(chat: &Chat, more: &str) -> Home {
    let config = Home::config("true", "");
    let config = config.replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section(more)), 1);
    let home = Home::with_config(&config);
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, Chat::env()));
    home
}

fn refusals(status: u16, retry_after: u64, times: usize) -> Vec<Refusal> {
    vec![Refusal { status, retry_after: Some(retry_after) }; times]
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "testchat")
}

fn wait_connected(gateway: &Gateway<'_>) {
    wait::until_true("the bot to be connected", || connection(gateway).0 == "connected");
}

#[test]
fn a_message_comes_in_is_confirmed_once_stored_and_answered_in_its_chat() {
    let chat = Chat::start();
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    let id = chat.say("ann", "ann", "hello");
    chat.say_in_group("team", "bob", "in a group");
    chat.wait_seen("ann", &echo("hello"));
    chat.wait_seen("team", &echo("in a group"));
    wait::until_true("both to be confirmed", || chat.confirmed() == id + 2);
    assert!(chat.typed().iter().all(|chat| chat == "ann" || chat == "team"));
    assert_eq!((chat.seen().len(), chat.tries().len(), chat.overlaps()), (2, 2, Vec::<String>::new()));
    assert_eq!(connection(&gateway), ("connected".to_owned(), String::new()));
    gateway.wait_state("default", "ready");
    let log = home.read("default", "logs/gateway.log").unwrap();
    assert!(!log.contains(hermes_tests::chat::TOKEN), "{log}");
}

/// One message that nobody can use, or whose file is gone, holds up no other.
#[test]
fn an_odd_message_is_skipped_and_a_missing_file_is_said() {
    let chat = Chat::start();
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let odd = chat.say("ann", "", "PRIVATE");
    chat.attach_gone("ann", "ann", "see this", "a.bin");
    chat.say("bob", "bob", "hello");
    chat.wait_seen(
        "ann",
        &echo("see this\n[document a.bin (application/octet-stream, 9 bytes) could not be fetched]"),
    );
    chat.wait_seen("bob", &echo("hello"));
    let last = chat.say("bob", &"b".repeat(300), "PRIVATE");
    wait::until_true("all to be confirmed", || chat.confirmed() > last);
    let log = || home.read("default", "logs/gateway.log").unwrap();
    wait::until_true("both to be named", || {
        [odd, last].iter().all(|id| log().contains(&format!("update {id} is skipped")))
    });
    assert!(!log().contains("PRIVATE") && !log().contains("lost its connection"), "{}", log());
    assert_eq!(chat.seen().len(), 2);
}

/// A lock on the database is no reason to leave the service.
#[test]
fn a_locked_database_keeps_the_connection() {
    let chat = Chat::start();
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let other = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let id = chat.say("ann", "ann", "meanwhile");
    let log = || home.read("default", "logs/gateway.log").unwrap();
    wait::until_true("it to wait", || log().contains(&format!("update {id} waits: ")));
    assert!(chat.confirmed() <= id);
    other.execute_batch("ROLLBACK").unwrap();
    chat.wait_seen("ann", &echo("meanwhile"));
    wait::until_true("it to be confirmed", || chat.confirmed() > id);
    assert_eq!(connection(&gateway), ("connected".to_owned(), String::new()));
    assert!(!log().contains("lost its connection"), "{}", log());
}

#[test]
fn a_lost_connection_is_seen_and_comes_back_when_the_service_says() {
    let chat = Chat::start();
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    // Long enough to be looked at: five tries, a second apart.
    chat.refuse("updates", refusals(503, 1, 5));
    // The state and the platforms are told by two ways.
    wait::until_true("the loss to be seen", || {
        connection(&gateway) == ("retrying".into(), "testchat_network_error".into())
    });
    let lost = gateway.wait_state("default", "degraded");
    assert!(lost.ready, "the rest is served: {lost:?}");
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    chat.say("ann", "ann", "while it was away");
    chat.wait_seen("ann", &echo("while it was away"));
    gateway.wait_state("default", "ready");
    let log = home.read("default", "logs/gateway.log").unwrap();
    assert!(log.contains("platform lost its connection") && log.contains("the service says 503"), "{log}");
}

/// `connected` is a promise: who polls and hears nothing is down, and so is who is cut off.
#[test]
fn a_silent_connection_and_a_cut_one_are_seen() {
    let chat = Chat::start();
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    chat.be_silent(true);
    wait::until_true("the silence to be seen", || {
        connection(&gateway) == ("retrying".into(), "silent".into())
    });
    gateway.wait_state("default", "degraded");
    drop(gateway);
    let chat = Chat::start();
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    wait::until_true("a poll to be open", || chat.polling() == 1);
    chat.cut();
    wait::until_true("the cut to be seen", || {
        connection(&gateway) == ("retrying".into(), "testchat_network_error".into())
    });
}

#[test]
fn a_refused_token_is_fatal_and_not_tried_again() {
    let chat = Chat::start();
    chat.set_token("another-token");
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    wait::until_true("the refusal", || {
        connection(&gateway) == ("fatal".into(), "testchat_invalid_auth".into())
    });
    let polls = chat.polls().len();
    assert_eq!(polls, 1);
    gateway.wait_state("default", "degraded");
    assert_eq!(chat.polling(), 0);
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    // New files, a new try.
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nTESTCHAT_TOKEN=another-token\n", home::DEFAULT_KEY),
    );
    wait_connected(&gateway);
    assert_eq!(chat.overlaps(), Vec::<String>::new());
}

#[test]
fn a_wait_that_the_service_asks_for_is_kept() {
    let chat = Chat::start();
    chat.refuse("updates", refusals(429, 2, 1));
    chat.refuse("send", refusals(429, 2, 1));
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    wait::until_true("the limit", || connection(&gateway).1 == "testchat_rate_limited");
    wait_connected(&gateway);
    let polls = chat.polls();
    let gap = polls[1] - polls[0];
    assert!(gap >= Duration::from_secs(2), "{gap:?}");
    chat.say("ann", "ann", "hello");
    chat.wait_seen("ann", &echo("hello"));
    wait::until_true("the ledger to say so", || ledger(&home) == [("done".to_owned(), 2, false)]);
}

#[test]
fn answers_to_one_chat_stay_in_order_while_another_is_stuck() {
    let chat = Chat::start();
    chat.stick("stuck");
    let home = house(&chat, ", longest: 30");
    let _gateway = Gateway::start(&home);
    for text in ["one", "two"] {
        chat.say("stuck", "ann", text);
    }
    for text in ["1", "2", "3", "four five six seven"] {
        chat.say("free", "bob", text);
    }
    chat.wait_seen("free", "six seven");
    assert_eq!(chat.seen_in("free"), [&echo("1"), &echo("2"), &echo("3"), &echo("four five "), "six seven"]);
    assert_eq!(chat.seen_in("stuck"), [echo("one")], "the second waits for the first");
    chat.unstick("stuck");
    chat.wait_seen("stuck", &echo("two"));
    assert_eq!(chat.seen_in("stuck"), [echo("one"), echo("two")]);
}

/// The service has it, and the worker dies before it hears so.
#[test]
fn a_delivery_under_way_at_a_death_is_marked_and_repeated_under_its_key() {
    let chat = Chat::start();
    chat.stick("ann");
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    chat.say("ann", "ann", "hello");
    chat.wait_seen("ann", &echo("hello"));
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    wait::until_true("another try", || chat.tries().len() == 2);
    chat.unstick("ann");
    wait::until_true("the ledger to say so", || ledger(&home) == [("done".to_owned(), 2, true)]);
    let tries = chat.tries();
    assert_eq!((&tries[0], chat.seen_in("ann").len()), (&tries[1], 1), "the same key: seen once");
}

/// Every event once and every answer once, wherever a death falls between the service, the inbox, the turn and the answer.
#[test]
fn deaths_at_any_moment_lose_and_double_nothing() {
    let chat = Chat::start();
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    let texts: Vec<String> = (0..30).map(|n| format!("message {n}")).collect();
    for (n, text) in texts.iter().enumerate() {
        chat.say(if n % 2 == 0 { "even" } else { "odd" }, "ann", text);
        if n % 10 == 9 {
            // Whatever the worker is at just now.
            wait::until_true("something to happen", || chat.seen().len() > n / 2);
            process::signal(gateway.worker("default"), Signal::SIGKILL);
            wait::until_true("a new worker", || gateway.profile("default").pid.is_some());
        }
    }
    wait::until_true("every answer", || chat.seen().len() >= texts.len());
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    for (parity, name) in ["even", "odd"].into_iter().enumerate() {
        let wanted = texts.iter().skip(parity).step_by(2).map(|text| echo(text));
        assert_eq!(chat.seen_in(name), wanted.collect::<Vec<_>>());
    }
    assert_eq!((ledger(&home).len(), chat.overlaps()), (texts.len(), Vec::<String>::new()));
}

/// A swap: the bot changes hands, and the service never sees two pollers.
#[test]
fn a_swap_never_has_two_pollers_and_loses_no_message() {
    let chat = Chat::start();
    let home = house(&chat, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    for n in 0..3 {
        chat.say("ann", "ann", &format!("before {n}"));
        let old = gateway.worker("default");
        assert!(hermes_tests::gateway::run(&home, &["gateway", "restart", "-p", "default"]).status.success());
        assert_ne!(gateway.worker("default"), old);
        chat.say("ann", "ann", &format!("after {n}"));
        chat.wait_seen("ann", &echo(&format!("after {n}")));
    }
    let wanted = (0..3).flat_map(|n| [echo(&format!("before {n}")), echo(&format!("after {n}"))]);
    assert_eq!(chat.seen_in("ann"), wanted.collect::<Vec<_>>());
    assert_eq!(chat.overlaps(), Vec::<String>::new());
    let ended = chat.polls().len();
    wait::until_true("the new one to poll", || chat.polls().len() > ended);
}
