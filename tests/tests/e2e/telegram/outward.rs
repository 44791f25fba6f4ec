//! What goes out to Telegram beside finished texts: answers while they are made, files, signs; and chats that are gone.

use base64::Engine as _;
use hermes_tests::chats::{self, STREAMING, wait_done, words};
use hermes_tests::gateway::{both, run};
use hermes_tests::telegram::{Refusal, Telegram};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{ANN, GROUP, echo, wait_connected};

/// A home with an agent that takes its time for every word.
fn slow(telegram: &Telegram, delay: u32, env: &str) -> Home {
    let config = chats::slow(&Home::config("true", ""), delay);
    let config = config.replacen("platforms:\n", "platforms:\n  telegram: {poll_seconds: 2}\n", 1);
    let home = Home::with_config(&(config + STREAMING));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}{env}", home::DEFAULT_KEY, telegram.env()));
    home
}

#[test]
fn an_answer_is_shown_while_it_is_made_and_survives_a_death() {
    let telegram = Telegram::start();
    let home = slow(&telegram, 40, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let text = words(50);
    telegram.say(ANN, &text);
    wait::until_true("it to be shown", || telegram.calls("editMessageText").len() >= 2);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    telegram.wait_seen(ANN, &echo(&text));
    wait_done(&home, 1);
    let seen = telegram.seen();
    assert_eq!((seen.len(), telegram.calls("sendMessage").len()), (1, 1), "{seen:?}");
    assert!(seen[0].reply_to.is_some());
}

/// Telegram's waits are kept, and the answer is there in the end.
#[test]
fn a_flood_of_changes_is_slowed_down() {
    let telegram = Telegram::start();
    telegram.refuse("editMessageText", [Refusal::flood(1)]);
    let home = slow(&telegram, 30, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let text = words(60);
    telegram.say(ANN, &text);
    telegram.wait_seen(ANN, &echo(&text));
    wait_done(&home, 1);
    let edits = telegram.calls("editMessageText");
    assert!(edits[1].at - edits[0].at >= std::time::Duration::from_secs(1));
    assert_eq!(telegram.seen().len(), 1);
}

/// Whoever takes the message away gets the answer all the same.
#[test]
fn a_message_that_was_taken_away_comes_anew() {
    let telegram = Telegram::start();
    let home = slow(&telegram, 40, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let text = words(40);
    telegram.say(ANN, &text);
    wait::until_true("it to be shown", || !telegram.seen().is_empty());
    telegram.take_away(ANN, telegram.seen()[0].id);
    telegram.wait_seen(ANN, &echo(&text));
    wait_done(&home, 1);
    assert_eq!(telegram.seen_in(ANN), [echo(&text)], "and without a mark");
}

const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[test]
fn files_go_out_as_what_they_are() {
    let telegram = Telegram::start();
    let home = slow(&telegram, 0, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    let png = base64::engine::general_purpose::STANDARD.decode(PNG).unwrap();
    for (name, bytes) in
        [("a.png", png.as_slice()), ("no picture.png", b"x"), ("b.ogg", b"sound"), ("c.pdf", b"%PDF")]
    {
        fs_err::write(cache.join(name), bytes).unwrap();
    }
    let topic = json!({"message_thread_id": 9, "is_topic_message": true});
    let text = format!(
        "MEDIA:{cache}/a.png MEDIA:\"{cache}/no picture.png\" MEDIA:{cache}/b.ogg MEDIA:{cache}/c.pdf"
    );
    telegram.say_with(GROUP, ANN, &text, &topic);
    wait_done(&home, 5);
    let files = telegram.files();
    let sent: Vec<(&str, &str, Option<i64>)> =
        files.iter().map(|file| (file.kind.as_str(), file.name.as_str(), file.thread)).collect();
    assert_eq!(
        sent,
        [
            ("photo", "a.png", Some(9)),
            ("document", "no picture.png", Some(9)),
            ("voice", "b.ogg", Some(9)),
            ("document", "c.pdf", Some(9))
        ]
    );
    assert!(files[0].bytes == png && files.iter().all(|file| file.behind == 1 && file.caption.is_empty()));
    assert_eq!(telegram.seen_in(GROUP), [echo("").trim()]);
}

/// Telegram shows twice what is sent twice: a file whose request broke off has a mark, and its text is not sent again.
#[test]
fn a_file_that_may_be_there_already_is_marked() {
    let telegram = Telegram::start();
    telegram.stick("sendDocument", true);
    let home = slow(&telegram, 0, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let path = home.of("default").join("cache/c.pdf");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, "%PDF").unwrap();
    telegram.say(ANN, &format!("here MEDIA:{path}"));
    wait::until_true("the file", || telegram.files().len() == 1);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    telegram.stick("sendDocument", false);
    wait_done(&home, 2);
    let captions: Vec<String> = telegram.files().into_iter().map(|file| file.caption).collect();
    assert_eq!((captions, telegram.seen_in(ANN)), (vec![String::new(), "♻️".to_owned()], vec![echo("here")]));
}

#[test]
fn signs_stand_at_the_question_where_they_are_wanted() {
    for (env, expected) in [("", &[][..]), ("TELEGRAM_REACTIONS=true\n", &["👀", "👍"])] {
        let telegram = Telegram::start();
        let home = slow(&telegram, 0, env);
        let gateway = Gateway::start(&home);
        wait_connected(&gateway);
        telegram.say(ANN, "hello");
        telegram.wait_seen(ANN, &echo("hello"));
        wait::until_true("the signs", || {
            let signs: Vec<String> = telegram.signs().into_iter().map(|(_, _, sign)| sign).collect();
            signs == expected
        });
    }
}

/// Who blocks the bot is put down, and struck out when he writes again.
#[test]
fn who_blocks_the_bot_is_put_down_until_he_writes() {
    let telegram = Telegram::start();
    let home = slow(&telegram, 0, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    telegram.say(ANN, "hello");
    telegram.wait_seen(ANN, &echo("hello"));
    telegram.block(ANN);
    telegram.say(ANN, "again");
    let dead = || -> Value {
        let text = home.read("default", "gateway/dead_targets.json");
        text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    };
    let key = format!("telegram:{ANN}");
    wait::until_true("it to be put down", || {
        dead()[&key]["reason"].as_str().is_some_and(|reason| reason.contains("blocked by the user"))
    });
    // Whoever looks is told, whether the gateway runs or not.
    let shown = wait::until("the status to say so", || gateway.profile("default").gone_chats);
    assert_eq!(
        (shown.count, shown.latest[0].platform.as_str(), &shown.latest[0].chat_id),
        (1, "telegram", &ANN.to_string())
    );
    let is_said = |args: &[&str]| {
        both(&run(&home, args)).contains(&format!("1 chat is gone: telegram {ANN} (since 20"))
    };
    assert!(
        is_said(&["status"])
            && is_said(&["status", "-p", "default"])
            && is_said(&["doctor", "-p", "default"])
    );
    drop(gateway);
    assert!(is_said(&["status"]) && is_said(&["doctor", "-p", "default"]));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let again = wait::until("the status to say so again", || gateway.profile("default").gone_chats);
    assert_eq!(again, shown, "since when is known to the next one too");
    let found: Value =
        serde_json::from_slice(&run(&home, &["doctor", "-p", "default", "--json"]).stdout).unwrap();
    let finding =
        found["findings"].as_array().unwrap().iter().find(|one| one["code"] == "gone_chats").unwrap();
    assert!(
        finding["grade"] == "warning" && finding["fix"].as_str().unwrap().contains("let the bot in again"),
        "{finding}"
    );
    telegram.unblock(ANN);
    telegram.say(ANN, "back");
    telegram.wait_seen(ANN, &echo("back"));
    wait::until_true("it to be struck out", || dead()[&key].is_null());
    wait::until_true("the status to say nothing", || gateway.profile("default").gone_chats.is_none());
    assert!(!is_said(&["status"]) && !is_said(&["doctor", "-p", "default"]));
}
