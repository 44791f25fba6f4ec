//! Telegram, against a Bot API that speaks the real wire: what comes in is answered in its place, whatever goes wrong in between, and
//! nothing is lost or doubled, whoever dies or takes over.

mod groups;
mod outward;
mod published;
mod talk;
mod webhook;

use std::time::Duration;

use hermes_tests::chats::{self, echo, ledger, log};
use hermes_tests::gateway::run;
use hermes_tests::telegram::{Refusal, TOKEN, Telegram};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

/// Somebody, and a group.
const ANN: i64 = 777;
const GROUP: i64 = -100_500;
/// Swaps in one test. Fifty were run before a release.
const SWAPS: usize = 10;

/// A home whose default profile has the bot; `section` is its section in `config.yaml`.
fn house(telegram: &Telegram, section: &str) -> Home {
    let config = Home::config("true", "");
    let section = format!("platforms:\n  telegram: {{poll_seconds: 2, {section}}}\n");
    let home = Home::with_config(&config.replacen("platforms:\n", &section, 1));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, telegram.env()));
    home
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "telegram")
}

fn wait_connected(gateway: &Gateway<'_>) {
    wait::until_true("the bot to be connected", || connection(gateway).0 == "connected");
}

fn sessions(home: &Home) -> Vec<String> {
    chats::sessions(home, "telegram")
}

#[test]
fn a_message_is_confirmed_once_stored_and_answered_in_its_chat() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    telegram.say(ANN, "hello");
    telegram.say_with(GROUP, ANN, "in a group", &json!({}));
    let topic = json!({"message_thread_id": 9, "is_topic_message": true});
    let last = telegram.say_with(GROUP, ANN, "in a topic", &topic);
    telegram.wait_seen(ANN, &echo("hello"));
    telegram.wait_seen(GROUP, &echo("in a group"));
    telegram.wait_seen(GROUP, &echo("in a topic"));
    wait::until_true("all to be confirmed", || telegram.confirmed() == last + 1);
    let seen = telegram.seen();
    let threads: Vec<Option<i64>> = ["hello", "in a group", "in a topic"]
        .map(|text| seen.iter().find(|seen| seen.text == echo(text)).unwrap().thread)
        .into();
    assert_eq!((seen.len(), threads), (3, vec![None, None, Some(9)]));
    assert!(seen.iter().all(|seen| seen.reply_to.is_some()), "{seen:?}");
    let keys = [
        "agent:main:telegram:dm:777",
        "agent:main:telegram:group:-100500:777",
        "agent:main:telegram:group:-100500:9",
    ];
    assert_eq!(sessions(&home), keys);
    assert_eq!((connection(&gateway), telegram.overlaps()), (("connected".into(), String::new()), 0));
    assert!(telegram.calls("sendChatAction").iter().all(|call| call.fields["action"] == "typing"));
    gateway.wait_state("default", "ready");
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    assert!(!everything.contains(TOKEN) && !everything.contains(&TOKEN[10..]), "{everything}");
}

/// A message that nobody can use holds up no other, and one that is for nobody is not answered.
#[test]
fn what_is_for_nobody_is_passed_over() {
    let telegram = Telegram::start();
    let home = house(&telegram, "require_mention: true");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let odd = telegram.update("message", json!({"message_id": "none"}));
    telegram.update("poll", json!({}));
    telegram.update(
        "edited_message",
        json!({"message_id": 1, "chat": {"id": ANN, "type": "private"}, "text": "edited"}),
    );
    telegram.say_with(GROUP, ANN, "to each other", &json!({}));
    telegram.say_with(GROUP, ANN, "/status@another_bot", &json!({}));
    telegram.say_with(GROUP, ANN, "", &json!({"new_chat_members": [], "text": null}));
    telegram.say_with(GROUP, ANN, "@hermes_test_bot, to you", &json!({}));
    let last = telegram.say(ANN, "last");
    telegram.wait_seen(GROUP, &echo("to you"));
    telegram.wait_seen(ANN, &echo("last"));
    wait::until_true("all to be confirmed", || telegram.confirmed() == last + 1);
    assert_eq!(telegram.seen().len(), 2);
    assert!(log(&home).contains(&format!("update {odd} is skipped")), "{}", log(&home));
}

#[test]
fn files_come_along_and_albums_are_one_message() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let _gateway = Gateway::start(&home);
    let album = json!({"media_group_id": "a", "date": 1_700_000_000});
    telegram.attach(
        ANN,
        "photo",
        "",
        b"\xff\xd8\xffone",
        &json!({"media_group_id": "a", "date": 1_700_000_000, "caption": "see these"}),
    );
    telegram.attach(ANN, "photo", "", b"\xff\xd8\xfftwo!", &album);
    telegram.attach(GROUP, "document", "report.pdf", b"%PDF", &json!({}));
    wait::until_true("both answers", || telegram.seen().len() == 2);
    let answer = telegram.seen_in(ANN).remove(0);
    assert!(answer.starts_with(&echo("see these\n[image photo.jpg (image/jpeg, 6 bytes): ")), "{answer}");
    assert!(answer.contains("[image photo.jpg (image/jpeg, 7 bytes): "), "{answer}");
    let answer = telegram.seen_in(GROUP).remove(0);
    let path = answer.split(": ").last().unwrap().trim_end_matches(']');
    assert_eq!(fs_err::read(path).unwrap(), b"%PDF");
    assert!(
        path.ends_with("_report.pdf")
            && path.starts_with(home.of("default").join("cache/documents").as_str())
    );
}

/// Programs cut long texts: what one person says at once is one message.
#[test]
fn a_text_that_was_cut_is_one_message() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let _gateway = Gateway::start(&home);
    let same = json!({"date": 1_700_000_000});
    telegram.say_with(ANN, ANN, "one", &same);
    telegram.say_with(ANN, ANN, "two", &same);
    telegram.wait_seen(ANN, &echo("one\ntwo"));
    assert_eq!((telegram.seen().len(), telegram.most_given()), (1, 1));
}

/// One message under two numbers is one.
#[test]
fn a_message_that_is_said_twice_at_once_is_one() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let same = json!({"message_id": 4711, "date": 1_700_000_000});
    telegram.say_with(ANN, ANN, "hello", &same);
    let last = telegram.say_with(ANN, ANN, "hello", &same);
    telegram.wait_seen(ANN, &echo("hello"));
    wait::until_true("both to be confirmed", || telegram.confirmed() == last + 1);
    assert_eq!(telegram.seen().len(), 1);
}

/// What waits for its other parts is confirmed already, and outlives whoever waits.
#[test]
fn a_text_that_waits_for_its_other_parts_outlives_its_worker() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let text = "word ".repeat(819) + "x";
    let id = telegram.say(ANN, &text);
    wait::until_true("it to be confirmed", || telegram.confirmed() > id);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    let answers = || telegram.seen_in(ANN).concat().matches("word").count();
    wait::until_true("all of it to be answered", || answers() >= 819);
    let last = telegram.say(ANN, "the end");
    telegram.wait_seen(ANN, &echo("the end"));
    wait::until_true("the end to be confirmed", || telegram.confirmed() > last);
    // Parts of the answer may be there twice, marked; the question is one.
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let asked = "SELECT count(*) FROM messages WHERE role = 'user' AND active = 1";
    let questions: i64 = db.query_row(asked, [], |row| row.get(0)).unwrap();
    assert_eq!(questions, 2);
}

#[test]
fn a_refused_token_is_fatal_and_asked_about_once() {
    let telegram = Telegram::start();
    telegram.set_token("1:another");
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    let is_fatal = || connection(&gateway) == ("fatal".into(), "telegram_invalid_auth".into());
    wait::until_true("the refusal", is_fatal);
    wait::pass(Duration::from_secs(3));
    assert_eq!(telegram.all_calls().len(), 1);
    gateway.wait_state("default", "degraded");
    assert!(!log(&home).contains(TOKEN) && log(&home).contains("@BotFather"), "{}", log(&home));
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    // Taken back while it is used.
    telegram.set_token(TOKEN);
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    telegram.set_token("1:another");
    wait::until_true("the refusal", is_fatal);
}

/// Who only speaks hears of it too, and tells who listens: nothing more is asked with the token, by nobody.
#[test]
fn a_token_that_is_taken_back_is_heard_of_by_an_answer() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &config.replace("poll_seconds: 2", "poll_seconds: 50"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    telegram.refuse("sendMessage", [Refusal::new(401, "Unauthorized")]);
    telegram.say(ANN, "hello");
    wait::until_true("the refusal", || {
        connection(&gateway) == ("fatal".into(), "telegram_invalid_auth".into())
    });
    let calls = telegram.all_calls().len();
    wait::pass(Duration::from_secs(7));
    assert_eq!(telegram.all_calls().len(), calls, "not even the answer's next try");
    assert!(!telegram.is_polled());
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    telegram.wait_seen(ANN, &echo("hello"));
}

/// Another program with the same bot: it is waited for, and the bot comes back by itself when it is gone.
#[test]
fn another_poller_is_waited_for() {
    let telegram = Telegram::start();
    telegram.be_rivalled(true);
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait::until_true("the conflict", || {
        connection(&gateway) == ("retrying".into(), "telegram_polling_conflict".into())
    });
    let polls = telegram.calls("getUpdates").len();
    assert!(log(&home).contains("another program polls this bot"), "{}", log(&home));
    telegram.be_rivalled(false);
    wait_connected(&gateway);
    let calls = telegram.calls("getUpdates");
    let gap = calls[polls].at - calls[polls - 1].at;
    assert!(gap >= Duration::from_secs(20), "{gap:?}");
}

#[test]
fn a_webhook_that_is_set_is_removed() {
    let telegram = Telegram::start();
    telegram.set_webhook("https://elsewhere.example/hook");
    telegram.say(ANN, "hello");
    let home = house(&telegram, "");
    let _gateway = Gateway::start(&home);
    telegram.wait_seen(ANN, &echo("hello"));
    assert_eq!(telegram.webhook(), "");
}

#[test]
fn a_wait_that_telegram_asks_for_is_kept() {
    let telegram = Telegram::start();
    telegram.refuse("getUpdates", [Refusal::flood(2)]);
    telegram.refuse("sendMessage", [Refusal::flood(2)]);
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let polls = telegram.calls("getUpdates");
    let gap = polls[1].at - polls[0].at;
    assert!(gap >= Duration::from_secs(2), "{gap:?}");
    telegram.say(ANN, "hello");
    telegram.wait_seen(ANN, &echo("hello"));
    let tries = telegram.calls("sendMessage");
    assert_eq!(tries.len(), 2);
    assert!(tries[1].at - tries[0].at >= Duration::from_secs(2));
    assert_eq!(telegram.seen().len(), 1, "and no mark: it was certainly not sent");
}

/// `connected` is a promise: who polls and hears nothing is down.
#[test]
fn a_half_open_connection_is_seen() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    telegram.stick("getUpdates", true);
    wait::until_true("the silence to be seen", || {
        connection(&gateway) == ("retrying".into(), "telegram_network_error".into())
    });
    gateway.wait_state("default", "degraded");
    telegram.stick("getUpdates", false);
    telegram.say(ANN, "hello");
    telegram.wait_seen(ANN, &echo("hello"));
    gateway.wait_state("default", "ready");
}

/// Telegram shows twice what is sent twice: an answer whose request broke off has a mark the second time.
#[test]
fn an_answer_that_may_be_there_already_is_marked() {
    let telegram = Telegram::start();
    telegram.stick("sendMessage", true);
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    telegram.say(ANN, "hello");
    telegram.wait_seen(ANN, &echo("hello"));
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    telegram.stick("sendMessage", false);
    wait::until_true("the ledger to say so", || ledger(&home) == [("done".to_owned(), true)]);
    let seen = telegram.seen_in(ANN);
    assert_eq!(seen.len(), 2);
    assert!(seen[1].starts_with("♻️ Recovered reply") && seen[1].ends_with(&echo("hello")), "{seen:?}");
}

/// A file that does not come, and a menu that is not heard of: both hold up nobody else.
#[test]
fn what_is_slow_holds_up_its_own_conversation_alone() {
    let telegram = Telegram::start();
    telegram.stick("setMyCommands", true);
    telegram.stick("getFile", true);
    let home = house(&telegram, "");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}display: {{busy_input_mode: queue}}\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let since = wait::now();
    let (bob, asked) = (GROUP.abs(), || telegram.calls("getFile").len());
    telegram.attach(GROUP, "document", "report.pdf", b"%PDF", &json!({}));
    wait::until_true("the file to be asked for", || asked() == 1);
    telegram.say_with(GROUP, bob, "/whoami", &json!({}));
    wait::until_true("the command's answer", || telegram.seen_in(GROUP).len() == 1);
    telegram.say_with(GROUP, bob, "and this", &json!({}));
    telegram.say(ANN, "hello");
    telegram.wait_seen(ANN, &echo("hello"));
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    assert_eq!((telegram.seen_in(GROUP).len(), asked()), (1, 1));
    telegram.stick("getFile", false);
    telegram.wait_seen(GROUP, &echo("and this"));
    let seen: Vec<String> =
        telegram.seen_in(GROUP).into_iter().filter(|seen| seen.starts_with("echo")).collect();
    assert!(seen.len() == 2 && seen[0].contains("_report.pdf"), "{seen:?}");
}

#[test]
fn the_menu_is_offered_again_after_a_flood() {
    let telegram = Telegram::start();
    telegram.refuse("setMyCommands", [Refusal::flood(2)]);
    let home = house(&telegram, "");
    let _gateway = Gateway::start(&home);
    wait::until_true("the menu", || telegram.calls("setMyCommands").len() == 4);
    let calls = telegram.calls("setMyCommands");
    assert!(calls[1].at - calls[0].at >= Duration::from_secs(2));
}

/// A webhook that comes back as often as it is removed is another program's: it is waited for, and not fought.
#[test]
fn a_webhook_that_comes_back_is_a_rival_s() {
    let telegram = Telegram::start();
    let webhook = || Refusal::new(409, "Conflict: can't use getUpdates method while webhook is active");
    telegram.refuse("getUpdates", [webhook(), webhook()]);
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait::until_true("the conflict", || {
        connection(&gateway) == ("retrying".into(), "telegram_polling_conflict".into())
    });
    assert_eq!((telegram.calls("getUpdates").len(), telegram.calls("deleteWebhook").len()), (2, 1));
}

/// Who blocks the bot is not written to again and again, and holds up nobody.
#[test]
fn a_chat_that_is_gone_is_given_up() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let _gateway = Gateway::start(&home);
    telegram.say(ANN, "hello");
    telegram.block(ANN);
    telegram.say_with(GROUP, ANN, "before", &json!({}));
    telegram.wait_seen(GROUP, &echo("before"));
    wait::until_true("the ledger to say so", || ledger(&home).iter().any(|row| row.0 == "failed"));
    telegram.migrate(GROUP, -100_900);
    telegram.say_with(GROUP, ANN, "moved", &json!({}));
    telegram.wait_seen(-100_900, &echo("moved"));
    assert_eq!(telegram.seen_in(ANN), [""; 0]);
}

/// Every event once and every answer once, wherever a death falls.
#[test]
fn deaths_at_any_moment_lose_and_double_nothing() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let texts: Vec<String> = (0..24).map(|n| format!("message {n}")).collect();
    for (n, text) in texts.iter().enumerate() {
        telegram.say_with(if n % 2 == 0 { ANN } else { GROUP }, ANN, text, &json!({}));
        if n % 8 == 7 {
            // Whatever the worker is at just now.
            wait::until_true("something to happen", || telegram.seen().len() > n / 2);
            process::signal(gateway.worker("default"), Signal::SIGKILL);
            wait::until_true("a new worker", || gateway.profile("default").pid.is_some());
        }
    }
    let answered = |text: &String| telegram.seen().iter().filter(|seen| seen.text == echo(text)).count();
    let marked = |text: &String| {
        let ending = echo(text);
        telegram
            .seen()
            .iter()
            .filter(|seen| seen.text.starts_with('♻') && seen.text.ends_with(&ending))
            .count()
    };
    wait::until_true("every answer", || texts.iter().all(|text| answered(text) + marked(text) >= 1));
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    assert!(texts.iter().all(|text| answered(text) <= 1), "{:?}", telegram.seen());
    assert_eq!(ledger(&home).len(), texts.len());
}

/// Swaps under load: the bot changes hands, Telegram never sees two pollers, and nothing is lost or doubled.
#[test]
fn swaps_never_have_two_pollers_and_lose_nothing() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let mut texts = Vec::new();
    for n in 0..SWAPS {
        for part in 0..3 {
            let text = format!("swap {n}.{part}");
            telegram.say(ANN + i64::from(part), &text);
            texts.push((ANN + i64::from(part), text));
        }
        let old = gateway.worker("default");
        assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
        assert_ne!(gateway.worker("default"), old);
    }
    wait::until_true("every answer", || telegram.seen().len() >= texts.len());
    // What a worker had only just begun to send when it went has a mark, and is there once all the same.
    let words = |text: String| text.rsplit("\n\n").next().unwrap_or_default().to_owned();
    let mut seen: Vec<(i64, String)> =
        telegram.seen().into_iter().map(|seen| (seen.chat, words(seen.text))).collect();
    let mut wanted: Vec<(i64, String)> = texts.iter().map(|(chat, text)| (*chat, echo(text))).collect();
    seen.sort();
    wanted.sort();
    assert_eq!((seen, telegram.overlaps()), (wanted, 0));
    // A start asks for what is behind the last one that was stored.
    let last = telegram.confirmed();
    drop(gateway);
    let polls = telegram.calls("getUpdates").len();
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    assert_eq!(telegram.calls("getUpdates")[polls].fields["offset"], last);
}
