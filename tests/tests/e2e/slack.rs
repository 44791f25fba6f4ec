//! Slack, against a service that speaks the real wire: what comes in is answered in its place, whatever goes wrong in between, and nothing
//! is lost or doubled, whoever dies or takes over.

mod checked;
mod outward;
mod published;
mod requests;
mod talk;
mod workspaces;

use std::time::Duration;

use hermes_tests::chats::{self, echo, log};
use hermes_tests::gateway::{both, run};
use hermes_tests::slack::{APP_TOKEN, BOT, CHANNEL, Refusal, Slack, TEAM, TOKEN};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

/// Somebody, and the private chat with him.
const ANN: &str = "U0ANN";
const DM: &str = "D0ANN";
/// Swaps in one test.
const SWAPS: usize = 10;
/// The same where there is time: before a release.
const MANY_SWAPS: usize = 50;
/// Longer than any answer of a bot takes that is not to come.
const NEVER: Duration = Duration::from_millis(700);

/// A home whose default profile has the bot; `section` is its section in `config.yaml`.
fn house(slack: &Slack, section: &str) -> Home {
    let config = Home::config("true", "");
    let section = format!("platforms:\n  slack: {{{section}}}\n");
    let home = Home::with_config(&config.replacen("platforms:\n", &section, 1));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, slack.env()));
    home
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "slack")
}

fn wait_connected(gateway: &Gateway<'_>) {
    wait::until_true("the bot to be connected", || connection(gateway).0 == "connected");
}

fn wait_connection(gateway: &Gateway<'_>, state: &str, code: &str) {
    wait::until_true(&format!("{state} ({code})"), || {
        connection(gateway) == (state.to_owned(), code.to_owned())
    });
}

fn rows<T: rusqlite::types::FromSql>(home: &Home, select: &str) -> Vec<T> {
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let mut rows = db.prepare(select).unwrap();
    let rows = rows.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

fn sessions(home: &Home) -> Vec<String> {
    chats::sessions(home, "slack")
}

/// Events that are on disk and not handed in.
fn held(home: &Home) -> Vec<String> {
    rows(home, "SELECT key FROM state_meta WHERE key LIKE 'hermes_slack_held %'")
}

#[test]
fn a_message_is_acknowledged_once_stored_and_answered_in_its_thread() {
    let slack = Slack::start();
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    slack.wait_heard();
    let hello = slack.say(DM, ANN, "hello");
    let mention = slack.say(CHANNEL, ANN, &format!("<@{BOT}> in a channel"));
    slack.say(CHANNEL, ANN, "to each other");
    let first = slack.wait_seen(DM, &echo("hello"));
    let second = slack.wait_seen(CHANNEL, &echo("in a channel"));
    assert_eq!(
        (first.thread.as_deref(), second.thread.as_deref()),
        (Some(hello.as_str()), Some(mention.as_str()))
    );
    // In a thread that the bot takes part in nobody has to name it.
    slack.say_in(CHANNEL, &mention, "U0BOB", "and more");
    let third = slack.wait_seen(CHANNEL, &echo("and more"));
    assert_eq!(third.thread, second.thread);
    wait::until_true("all to be acknowledged", || slack.unacknowledged() == 0);
    let keys =
        [format!("agent:main:slack:dm:{DM}:{hello}"), format!("agent:main:slack:group:{CHANNEL}:{mention}")];
    assert_eq!(sessions(&home), keys);
    // The bot's own messages, and a message that came as a mention too, are answered by nobody.
    wait::pass(NEVER);
    assert_eq!(slack.seen().len(), 3, "{:?}", slack.seen());
    let (slowest, sent) = slack.slowest();
    assert!(slowest < Duration::from_secs(3) && sent == 1, "{slowest:?} {sent}");
    wait_connected(&gateway);
    gateway.wait_state("default", "ready");
    wait::until_true("nothing to be held", || held(&home).is_empty());
    let statuses = slack.calls("assistant.threads.setStatus");
    assert!(statuses.iter().all(|call| call.fields["status"] == "is thinking..."), "{statuses:?}");
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    for secret in [TOKEN, APP_TOKEN, "SECRETBOT", "SECRETAPP", "ticket-"] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

/// A thread that the bot was in is one that it is in, whoever serves the profile now.
#[test]
fn what_the_bot_takes_part_in_outlives_its_worker() {
    let slack = Slack::start();
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    slack.wait_heard();
    let root = slack.say(CHANNEL, ANN, &format!("<@{BOT}> begin"));
    slack.wait_seen(CHANNEL, &echo("begin"));
    drop(gateway);
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.say_in(CHANNEL, &root, ANN, "go on");
    slack.wait_seen(CHANNEL, &echo("go on"));
    let other = slack.say(CHANNEL, ANN, "another thread");
    slack.say_in(CHANNEL, &other, "U0BOB", "of people");
    wait::pass(NEVER);
    assert_eq!(slack.seen().len(), 2, "{:?}", slack.seen());
}

#[test]
fn a_refused_token_is_fatal_and_nothing_more_is_asked() {
    let slack = Slack::start();
    slack.revoke(0, Some("invalid_auth"));
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "slack_invalid_auth");
    let asked = slack.requests();
    wait::pass(Duration::from_secs(3));
    assert_eq!((slack.requests(), asked), (1, 1));
    gateway.wait_state("default", "degraded");
    assert!(log(&home).contains("SLACK_BOT_TOKEN"), "{}", log(&home));
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    // Taken back while it is used: the next one that asks hears it, and all know.
    slack.revoke(0, None);
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    slack.revoke(0, Some("token_revoked"));
    let since = wait::now();
    wait_connection(&gateway, "fatal", "slack_invalid_auth");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    let asked = slack.requests();
    wait::pass(Duration::from_secs(3));
    assert_eq!(slack.requests(), asked);
}

/// Who only speaks hears of it too, and tells who listens.
#[test]
fn a_token_that_is_taken_back_is_heard_of_by_an_answer() {
    let slack = Slack::start();
    let home = house(&slack, "reactions: false, typing_indicator: false");
    let gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.refuse("chat.postMessage", [Refusal::error("account_inactive")]);
    slack.say(DM, ANN, "hello");
    wait_connection(&gateway, "fatal", "slack_invalid_auth");
    let asked = slack.requests();
    wait::pass(Duration::from_secs(7));
    assert_eq!(slack.requests(), asked, "not even the answer's next try");
    // As an event, too.
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    slack.wait_seen(DM, &echo("hello"));
    slack.event(&json!({"type": "app_uninstalled"}));
    wait_connection(&gateway, "fatal", "slack_invalid_auth");
}

#[test]
fn what_is_missing_to_the_app_is_named() {
    let slack = Slack::start();
    slack.allow("channels:history,im:history");
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "slack_missing_scope");
    assert!(log(&home).contains("`chat:write`"), "{}", log(&home));
    // Where Slack says it only when it is asked for something.
    slack.allow("chat:write");
    let missing = Refusal::error("missing_scope");
    slack.refuse("apps.connections.open", [missing]);
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connection(&gateway, "fatal", "slack_missing_scope");
    slack.disconnect("link_disabled", Duration::ZERO);
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connection(&gateway, "fatal", "slack_link_disabled");
}

#[test]
fn a_limit_at_the_start_is_waited_out_and_so_are_errors_of_whoever_is_between() {
    let slack = Slack::start();
    slack.refuse("apps.connections.open", [Refusal::limit(2), Refusal::page(502)]);
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "retrying", "slack_network_error");
    wait_connected(&gateway);
    let tries = slack.calls("apps.connections.open");
    assert_eq!(tries.len(), 3);
    assert!(tries[1].at - tries[0].at >= Duration::from_secs(2));
    slack.refuse("chat.postMessage", [Refusal::limit(2)]);
    slack.say(DM, ANN, "hello");
    slack.wait_seen(DM, &echo("hello"));
    let tries = slack.calls("chat.postMessage");
    assert_eq!(tries.len(), 2);
    assert!(tries[1].at - tries[0].at >= Duration::from_secs(2));
    assert_eq!(slack.seen().len(), 1, "and no mark: it was certainly not sent");
    // One that says no hello is none.
    slack.say_no_hello(true);
    slack.cut();
    wait_connection(&gateway, "retrying", "slack_network_error");
    slack.say_no_hello(false);
    wait_connected(&gateway);
}

/// Part 4, no. 4.
#[test]
fn a_new_socket_is_open_before_the_old_one_is_left_and_nothing_is_lost() {
    let slack = Slack::start();
    let home = house(&slack, "dm_top_level_threads_as_sessions: true");
    let gateway = Gateway::start(&home);
    slack.wait_heard();
    let mut texts = Vec::new();
    for (n, reason) in ["warning", "refresh_requested", "something_new"].into_iter().enumerate() {
        let (opened, ..) = slack.sockets();
        slack.say(DM, ANN, &format!("before {n}"));
        slack.disconnect(reason, Duration::from_millis(1500));
        slack.say(DM, ANN, &format!("while {n}"));
        wait::until_true("a new socket", || slack.sockets().0 > opened && slack.is_heard());
        slack.say(DM, ANN, &format!("after {n}"));
        wait::until_true("the old socket to be gone", || slack.sockets().1 == 1);
        assert!(slack.sockets().2 >= 1, "there was always one");
        texts.extend(["before", "while", "after"].map(|when| echo(&format!("{when} {n}"))));
    }
    for text in &texts {
        slack.wait_seen(DM, text);
    }
    assert_eq!((slack.seen().len(), connection(&gateway).0.as_str()), (texts.len(), "connected"));
    // Closed without a word.
    wait::pass(Duration::from_secs(11));
    slack.cut();
    slack.say(DM, ANN, "the end");
    slack.wait_seen(DM, &echo("the end"));
    slack.disconnect("link_disabled", Duration::from_millis(100));
    wait_connection(&gateway, "fatal", "slack_link_disabled");
}

/// `connected` is a promise: a socket on which nothing comes any more is left.
#[test]
fn a_half_open_socket_is_left_and_what_was_sent_through_it_comes_again() {
    let slack = Slack::start();
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    slack.wait_heard();
    wait::pass(Duration::from_secs(11));
    let since = wait::now();
    slack.mute();
    slack.say(DM, ANN, "hello");
    wait::until_true("another socket", || slack.is_heard() || since.elapsed() > Duration::from_secs(29));
    slack.wait_heard();
    assert!(since.elapsed() < Duration::from_secs(45), "{:?}", since.elapsed());
    slack.wait_seen(DM, &echo("hello"));
    assert_eq!(slack.seen().len(), 1);
    wait_connected(&gateway);
}

/// A store that is slow is no reason to be late, and one that cannot take anything none to say that it did.
#[test]
fn what_is_not_stored_is_not_acknowledged() {
    let slack = Slack::start();
    let home = house(&slack, "");
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.say(DM, ANN, "first");
    slack.wait_seen(DM, &echo("first"));
    wait::until_true("all to be acknowledged", || slack.unacknowledged() == 0);
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    db.busy_timeout(Duration::from_secs(10)).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    slack.say(DM, ANN, "second");
    wait::pass(Duration::from_secs(3));
    assert!(slack.unacknowledged() >= 1, "it is not on disk");
    db.execute_batch("COMMIT").unwrap();
    slack.wait_seen(DM, &echo("second"));
    wait::until_true("all to be acknowledged", || slack.unacknowledged() == 0);
    wait::pass(NEVER);
    assert_eq!(slack.seen().len(), 2, "{:?}", slack.seen());
}

/// Slack shows twice what is sent twice: an answer whose request broke off has a mark the second time.
#[test]
fn an_answer_that_may_be_there_already_is_marked() {
    let slack = Slack::start();
    slack.stick("chat.postMessage", true);
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    slack.say(DM, ANN, "hello");
    slack.wait_seen(DM, &echo("hello"));
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    slack.stick("chat.postMessage", false);
    let twice = wait::until("the answer to come again", || {
        let seen = slack.seen_in(DM);
        (seen.len() == 2).then_some(seen)
    });
    assert!(twice[1].starts_with("♻️ Recovered reply") && twice[1].ends_with(&echo("hello")), "{twice:?}");
}

#[test]
fn a_chat_that_is_gone_is_given_up_and_others_are_not_held_up() {
    let slack = Slack::start();
    slack.channel("C0OTHER", "channel", TEAM);
    let home = house(&slack, "require_mention: false");
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.close("C0OTHER");
    slack.say("C0OTHER", ANN, "hello");
    slack.say(CHANNEL, ANN, "here");
    slack.wait_seen(CHANNEL, &echo("here"));
    let failed =
        || rows::<String>(&home, "SELECT state FROM hermes_delivery").iter().any(|state| state == "failed");
    wait::until_true("the ledger to say so", failed);
    assert_eq!(slack.seen_in("C0OTHER"), [""; 0]);
}

#[test]
fn tokens_that_two_profiles_share_are_refused_before_anything_is_asked() {
    for (line, scope) in [
        (format!("SLACK_BOT_TOKEN=xoxb-other\nSLACK_APP_TOKEN={APP_TOKEN}\n"), "SLACK_APP_TOKEN"),
        (format!("SLACK_BOT_TOKEN=xoxb-other,{TOKEN}\nSLACK_APP_TOKEN=xapp-other\n"), "SLACK_BOT_TOKEN"),
    ] {
        let slack = Slack::start();
        let home = house(&slack, "");
        home.profile("coder");
        let env = home.read("coder", ".env").unwrap();
        home.write("coder", ".env", &format!("{env}SLACK_API_BASE_URL={}/api/\n{line}", slack.address()));
        let output = run(&home, &["gateway", "run"]);
        let said = both(&output);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(["default", "coder", "slack", scope].iter().all(|word| said.contains(word)), "{said}");
        assert!(!said.contains(TOKEN) && !said.contains(APP_TOKEN), "{said}");
        assert_eq!(slack.requests(), 0);
    }
}

/// Every event once and every answer once, wherever a death falls.
#[test]
fn deaths_at_any_moment_lose_and_double_nothing() {
    let slack = Slack::start();
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let mut wanted = Vec::new();
    for n in 0..24 {
        let text = format!("message {n}");
        if n % 3 == 0 {
            // What has to be fetched is on disk before it is acknowledged.
            slack.attach(DM, ANN, &text, "a.txt", "text/plain", b"text");
        } else {
            slack.say(DM, ANN, &text);
        }
        wanted.push(text);
        if n % 8 == 7 {
            wait::until_true("something to happen", || slack.seen().len() > n / 2);
            process::signal(gateway.worker("default"), Signal::SIGKILL);
            wait::until_true("a new worker", || gateway.profile("default").pid.is_some());
        }
    }
    let of = |text: &String| {
        let seen = slack.seen_in(DM).into_iter();
        seen.filter(|seen| seen.contains(&format!("{text}\n")) || seen.ends_with(text.as_str()))
            .collect::<Vec<_>>()
    };
    wait::until_true("every answer", || wanted.iter().all(|text| !of(text).is_empty()));
    let open = "SELECT state FROM hermes_delivery WHERE finished_at IS NULL";
    wait::until_true("the ledger to be done", || rows::<String>(&home, open).is_empty());
    for text in &wanted {
        let plain = of(text).iter().filter(|seen| !seen.starts_with('♻')).count();
        assert!(plain <= 1, "{text}: {:?}", of(text));
    }
    let questions: Vec<i64> = rows(&home, "SELECT count(*) FROM messages WHERE role = 'user' AND active = 1");
    assert_eq!(questions, [24]);
    wait::until_true("nothing to be held", || held(&home).is_empty());
}

/// Swaps under load: the new generation listens before the old one leaves, and nothing is lost or doubled.
#[test]
fn swaps_lose_and_double_nothing() {
    swap(SWAPS);
}

#[test]
#[ignore = "takes minutes; run before a release"]
fn fifty_swaps_lose_and_double_nothing() {
    swap(MANY_SWAPS);
}

fn swap(times: usize) {
    let slack = Slack::start();
    let home = house(&slack, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let mut wanted = Vec::new();
    for n in 0..times {
        let old = gateway.worker("default");
        std::thread::scope(|scope| {
            let swapped = scope.spawn(|| run(&home, &["gateway", "restart", "-p", "default"]));
            for part in 0..6 {
                let text = format!("swap {n}.{part}");
                if part == 3 {
                    slack.attach(DM, ANN, &text, "a.txt", "text/plain", b"text");
                    wanted.push((text, true));
                } else {
                    slack.say(DM, ANN, &text);
                    wanted.push((text, false));
                }
                wait::pass(NEVER / 20);
            }
            assert!(swapped.join().unwrap().status.success());
        });
        assert_ne!(gateway.worker("default"), old);
    }
    let of = |(text, is_file): &(String, bool)| {
        let seen = slack.seen_in(DM).into_iter();
        let is_it = |seen: &String| {
            if *is_file { seen.contains(&format!("{}\n", echo(text))) } else { seen.ends_with(&echo(text)) }
        };
        seen.filter(is_it).collect::<Vec<_>>()
    };
    wait::until_true("every answer", || wanted.iter().all(|text| !of(text).is_empty()));
    let open = "SELECT state FROM hermes_delivery WHERE finished_at IS NULL";
    wait::until_true("the ledger to be done", || rows::<String>(&home, open).is_empty());
    // What a worker had only just begun to send when it went has a mark.
    for text in &wanted {
        let plain = of(text).iter().filter(|seen| !seen.starts_with('♻')).count();
        assert!(plain <= 1, "{text:?}: {:?}", of(text));
    }
    let questions: Vec<i64> = rows(&home, "SELECT count(*) FROM messages WHERE role = 'user' AND active = 1");
    assert_eq!(questions, [i64::try_from(wanted.len()).unwrap()]);
}
