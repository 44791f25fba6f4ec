//! What is said to others in a group, as context of what is said to the bot; and topics of private chats that the bot makes.

use hermes_tests::gateway::run;
use hermes_tests::telegram::Telegram;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{ANN, GROUP, echo, house, log, wait_connected};

const BOB: i64 = 888;
const EVE: i64 = 999;

/// A home whose bot hears what is said to others, and which nobody but Ann and Bob may talk to.
fn observing(telegram: &Telegram) -> Home {
    let home = house(telegram, "require_mention: true, observe_unmentioned_group_messages: true");
    let env = format!(
        "API_SERVER_KEY={}\n{}TELEGRAM_ALLOWED_USERS={ANN},{BOB}\n",
        home::DEFAULT_KEY,
        telegram.env_for_some()
    );
    home.write("default", ".env", &env);
    home
}

fn answer(telegram: &Telegram, chat: i64, end: &str) -> String {
    wait::until(&format!("an answer to `{end}`"), || {
        telegram.seen_in(chat).into_iter().find(|text| text.ends_with(end))
    })
}

#[test]
fn what_is_said_to_others_is_context_of_what_is_said_to_the_bot() {
    let telegram = Telegram::start();
    let home = observing(&telegram);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    telegram.say_with(GROUP, ANN, "the release is on friday", &json!({}));
    telegram.say_with(GROUP, EVE, "do what I say", &json!({}));
    telegram.say_with(GROUP, BOB, "in a topic", &json!({"message_thread_id": 9, "is_topic_message": true}));
    let last = telegram.attach(
        GROUP,
        "document",
        "plan.pdf",
        b"%PDF",
        &json!({"caption": "the plan", "from": {"id": BOB, "first_name": "Bob"}}),
    );
    wait::until_true("all of it to be taken", || telegram.confirmed() > last);
    // It outlives whoever heard it.
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    telegram.say_with(GROUP, BOB, "@hermes_test_bot when is it?", &json!({}));
    let said = answer(&telegram, GROUP, "when is it?");
    // Telegram shows as a quote what is one.
    assert!(said.contains("\nAnn Lee (777): the release is on friday\nBob (888): the plan\n"), "{said}");
    assert!(said.contains("[plan.pdf]"), "{said}");
    assert!(said.starts_with(echo("[Said in this chat meanwhile").as_str()), "{said}");
    assert!(!said.contains("what I say") && !said.contains("in a topic"), "{said}");
    // What was heard is not told again, and each conversation hears for itself.
    telegram.say_with(GROUP, ANN, "or on monday", &json!({}));
    telegram.say_with(GROUP, BOB, "@hermes_test_bot really?", &json!({}));
    let said = answer(&telegram, GROUP, "really?");
    assert!(said.contains("or on monday") && !said.contains("friday"), "{said}");
    telegram.say_with(GROUP, BOB, "@hermes_test_bot sure?", &json!({}));
    telegram.wait_seen(GROUP, &echo("sure?"));
    telegram.say_with(GROUP, ANN, "@hermes_test_bot and for me?", &json!({}));
    let said = answer(&telegram, GROUP, "and for me?");
    assert!(said.contains("friday") && said.contains("monday"), "{said}");
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let rows = |observed: i64| -> Vec<String> {
        let mut select = db
            .prepare("SELECT content FROM messages WHERE role = 'user' AND observed = ?1 ORDER BY id")
            .unwrap();
        let rows = select.query_map([observed], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    };
    assert_eq!(
        rows(0),
        ["when is it?", "really?", "sure?", "and for me?"],
        "what was asked stays what it was"
    );
    assert_eq!(rows(1).len(), 3);
}

/// Where it is off, nothing is kept.
#[test]
fn nothing_is_heard_where_nobody_wants_it() {
    let telegram = Telegram::start();
    let home = house(&telegram, "require_mention: true");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    telegram.say_with(GROUP, ANN, "among people", &json!({}));
    telegram.say_with(GROUP, ANN, "@hermes_test_bot hello", &json!({}));
    telegram.wait_seen(GROUP, &echo("hello"));
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let kept: i64 = db
        .query_row("SELECT count(*) FROM state_meta WHERE key LIKE 'hermes_overheard%'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(kept, 0);
}

#[test]
fn topics_are_made_once_and_are_conversations_of_their_own() {
    let telegram = Telegram::start();
    let topics = format!(
        "dm_topics: [{{chat_id: {ANN}, topics: [{{name: Work}}, {{name: Home, icon_color: 7322096}}, {{name: Old, thread_id: 3}}]}}]"
    );
    let home = house(&telegram, &topics);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    // Nobody has written to the bot yet: that is said, and nothing else suffers.
    wait::until_true("the refusal to be said", || {
        log(&home).contains("topic \"Home\" of chat 777 (platforms.telegram.dm_topics) is not made")
    });
    telegram.allow_topics();
    telegram.say(ANN, "hello");
    telegram.wait_seen(ANN, &echo("hello"));
    let made = || -> Vec<String> {
        let all = telegram.calls("createForumTopic").into_iter();
        all.map(|call| call.fields["name"].as_str().unwrap().to_owned()).collect()
    };
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    let topic = wait::until("the topics", || {
        let text = log(&home);
        let said = text.lines().find(|line| line.contains("topic \"Work\" of chat 777 is "))?;
        (made().len() == 4 && text.contains("topic \"Home\" of chat 777 is ")).then(|| said.to_owned())
    });
    let behind = topic.rsplit(" is ").next().unwrap();
    let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
    let thread: i64 = digits.parse().unwrap();
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    telegram.say_with(ANN, ANN, "at work", &json!({"message_thread_id": thread, "is_topic_message": true}));
    telegram.wait_seen(ANN, &echo("at work"));
    let seen = telegram.seen().into_iter().find(|seen| seen.text == echo("at work")).unwrap();
    assert_eq!(seen.thread, Some(thread));
    assert_eq!(made(), ["Work", "Home", "Work", "Home"], "each was made once");
    let home_topic = telegram.calls("createForumTopic").pop().unwrap();
    assert_eq!(home_topic.fields["icon_color"], 7_322_096);
}
