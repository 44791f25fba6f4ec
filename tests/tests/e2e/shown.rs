//! What goes out to chats beside finished texts: answers while they are made, files, signs, notices of starts; and chats that are gone. By
//! the chat of the tests, whose messages can be changed and taken back.

use hermes_tests::chat::{Chat, FILES, Refusal};
use hermes_tests::chats::{self, echo, tries as ledger, wait_done, words};
use hermes_tests::gateway::run;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::Value;

const ONLINE: &str = "♻️ Gateway online — Hermes is back and ready.";
const RESTARTED: &str = "♻ Gateway restarted successfully. Your session continues.";

/// A home whose default profile has the bot, with an agent that takes its time for every word; `more` goes into the bot's section, `root`
/// behind everything.
fn house(chat: &Chat, delay: u32, more: &str, root: &str) -> Home {
    let config = chats::slow(&Home::config("true", ""), delay);
    let config = config.replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section(more)), 1);
    let home = Home::with_config(&format!("{config}{root}"));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, Chat::env()));
    home
}

const STREAMING: &str = "streaming: {enabled: true, edit_interval: 0.05}\n";

fn wait_shown(chat: &Chat) {
    wait::until_true("an answer to be shown while it is made", || chat.edits().len() >= 2);
}

#[test]
fn an_answer_is_shown_while_it_is_made_and_is_one_message() {
    let chat = Chat::start();
    let home = house(&chat, 40, "", STREAMING);
    let _gateway = Gateway::start(&home);
    let text = words(40);
    chat.say("ann", "ann", &text);
    chat.wait_seen("ann", &echo(&text));
    wait_done(&home, 1);
    assert_eq!((chat.seen_in("ann").len(), chat.tries().len()), (1, 1));
    let edits = chat.edits();
    let (last, before) = edits.split_last().unwrap();
    assert_eq!((last.text.clone(), last.key.as_str()), (echo(&text), "m0"));
    assert!(before.len() >= 3, "{edits:?}");
    for edit in before {
        let shown = edit.text.strip_suffix(" ▉").unwrap();
        assert!(echo(&text).starts_with(shown), "{edit:?}");
    }
}

#[test]
fn without_the_setting_and_where_one_platform_is_left_out_an_answer_comes_whole() {
    for root in ["", "streaming: {enabled: true}\ndisplay: {platforms: {testchat: {streaming: false}}}\n"] {
        let chat = Chat::start();
        let home = house(&chat, 5, "", root);
        let _gateway = Gateway::start(&home);
        chat.say("ann", "ann", &words(40));
        chat.wait_seen("ann", &echo(&words(40)));
        assert_eq!((chat.edits().len(), chat.tries().len()), (0, 1), "{root}");
    }
}

/// The turn goes on in another process, and so does its message.
#[test]
fn a_death_in_the_middle_leaves_one_message_with_the_whole_answer() {
    let chat = Chat::start();
    let home = house(&chat, 40, "", STREAMING);
    let gateway = Gateway::start(&home);
    let text = words(40);
    chat.say("ann", "ann", &text);
    wait_shown(&chat);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    chat.wait_seen("ann", &echo(&text));
    wait_done(&home, 1);
    assert_eq!((chat.seen_in("ann"), chat.tries().len()), (vec![echo(&text)], 1));
}

/// The service has the message, and the worker dies before it hears which one it is: nobody can change it. The answer comes whole, once,
/// and as one that is nowhere yet.
#[test]
fn a_death_before_the_message_is_known_leaves_its_beginning_behind() {
    let chat = Chat::start();
    chat.stick("ann");
    let home = house(&chat, 40, "", STREAMING);
    let gateway = Gateway::start(&home);
    let text = words(30);
    chat.say("ann", "ann", &text);
    wait::until_true("the beginning to be sent", || chat.tries().len() == 1);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    chat.unstick("ann");
    chat.wait_seen("ann", &echo(&text));
    wait_done(&home, 1);
    assert!(!ledger(&home)[0].2, "{:?}", ledger(&home));
    let seen = chat.seen_in("ann");
    assert!(seen.len() == 2 && seen[0].ends_with('▉') && seen[1] == echo(&text), "{seen:?}");
    assert_eq!((chat.tries().len(), chat.edits().len()), (2, 0));
}

/// Deaths at any moment of an answer that is shown: nothing of it is lost, and it is there once.
#[test]
fn deaths_at_any_moment_lose_and_double_no_answer() {
    let chat = Chat::start();
    let home = house(&chat, 20, "", STREAMING);
    let gateway = Gateway::start(&home);
    for n in 0..4 {
        let text = format!("{} {n}", words(30));
        chat.say("ann", "ann", &text);
        let (tries, edits) = (chat.tries().len(), chat.edits().len());
        // From the first request of the answer to its last.
        wait::until_true("something to be shown", || {
            chat.tries().len() > tries && chat.edits().len() >= edits + usize::try_from(n).unwrap()
        });
        process::signal(gateway.worker("default"), Signal::SIGKILL);
        chat.wait_seen("ann", &echo(&text));
        wait_done(&home, usize::try_from(n).unwrap() + 1);
        let whole = chat.seen_in("ann").into_iter().filter(|seen| *seen == echo(&text)).count();
        assert_eq!(whole, 1, "{:?}", chat.seen_in("ann"));
    }
}

/// What is shown is cut where a message ends; the answer itself is in parts, the first of which takes the place of what was shown.
#[test]
fn a_long_answer_is_in_parts_and_each_is_there_once() {
    let chat = Chat::start();
    let home = house(&chat, 5, ", longest: 200", STREAMING);
    let _gateway = Gateway::start(&home);
    let text = words(80);
    chat.say("ann", "ann", &text);
    wait_done(&home, 1);
    let seen = chat.seen_in("ann");
    assert!(seen.len() >= 3, "{seen:?}");
    assert_eq!(seen.concat(), echo(&text));
    assert_eq!(chat.tries().len(), seen.len(), "one message was sent early");
    assert!(chat.edits().iter().all(|edit| edit.text.chars().count() <= 200));
}

#[test]
fn an_answer_that_took_long_comes_as_a_new_message_and_what_was_shown_goes() {
    let chat = Chat::start();
    let slow = "streaming: {enabled: true, edit_interval: 0.05, fresh_final_after_seconds: 0.5}\n";
    let home = house(&chat, 50, "", slow);
    let _gateway = Gateway::start(&home);
    let text = words(40);
    chat.say("ann", "ann", &text);
    wait_done(&home, 1);
    assert_eq!((chat.seen_in("ann"), chat.tries().len()), (vec![echo(&text)], 2));
}

#[test]
fn refusals_make_it_slower_and_three_end_it() {
    let chat = Chat::start();
    chat.refuse("edit", [Refusal { status: 429, retry_after: None }; 3]);
    let home = house(&chat, 20, "", STREAMING);
    let _gateway = Gateway::start(&home);
    let text = words(60);
    chat.say("ann", "ann", &text);
    wait_done(&home, 1);
    assert_eq!(chat.seen_in("ann"), [echo(&text)]);
    assert_eq!(
        chat.edits().len(),
        1,
        "the answer itself, and nothing after three refusals: {:?}",
        chat.edits()
    );
}

/// A stopped turn leaves no cursor behind, and the next answer is another message.
#[test]
fn a_stopped_answer_stands_without_a_cursor() {
    let chat = Chat::start();
    let home = house(&chat, 60, "", STREAMING);
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", &words(200));
    wait_shown(&chat);
    chat.say("ann", "ann", "/stop");
    wait::until_true("the cursor to go", || chat.seen_in("ann").iter().all(|seen| !seen.ends_with('▉')));
    let stopped = chat.seen_in("ann")[0].clone();
    chat.say("ann", "ann", "next");
    chat.wait_seen("ann", &echo("next"));
    assert_eq!(chat.seen_in("ann")[0], stopped);
    wait::until_true("the sign to go", || chat.signs().contains(&("1".to_owned(), String::new())));
}

#[test]
fn files_of_an_answer_follow_it_and_what_does_not_go_is_named() {
    let chat = Chat::start();
    let home = house(&chat, 0, "", "");
    let _gateway = Gateway::start(&home);
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    fs_err::write(cache.join("a b.png"), "picture").unwrap();
    fs_err::write(cache.join("notes.txt"), "text").unwrap();
    fs_err::write(cache.join("big.bin"), vec![7; (1 << 20) + 1]).unwrap();
    let env = home.of("default").join(".env");
    let text = format!(
        "see ![chart]({cache}/notes.txt) and\nMEDIA:\"{cache}/a b.png\"\nMEDIA:{cache}/big.bin\nMEDIA:{env}\nMEDIA:{cache}/none.pdf\nthe end"
    );
    chat.say("ann", "ann", &text);
    wait_done(&home, 3);
    let files = chat.files();
    let named: Vec<(&str, &str, &[u8], bool, usize)> = files
        .iter()
        .map(|file| {
            (file.name.as_str(), file.media_type.as_str(), file.bytes.as_slice(), file.shown, file.behind)
        })
        .collect();
    assert_eq!(
        named,
        [
            ("notes.txt", "text/plain", b"text".as_slice(), true, 1),
            ("a b.png", "image/png", b"picture", true, 1)
        ]
    );
    let seen = chat.seen_in("ann");
    assert_eq!(seen.len(), 1);
    let lines: Vec<&str> = seen[0].lines().collect();
    assert_eq!(lines[..3], [echo("see and").as_str(), "the end", ""], "{seen:?}");
    let unsent =
        |name: &str| lines.iter().find(|line| line.starts_with(&format!("⚠️ Not sent: {name} ("))).unwrap();
    assert!(unsent("big.bin").contains("MiB"), "{seen:?}");
    assert!(unsent(".env").contains("credentials"), "{seen:?}");
    assert!(unsent("none.pdf").contains("not found"), "{seen:?}");
    chat.say("ann", "ann", &format!("[[as_document]] MEDIA:{cache}/notes.txt"));
    wait::until_true("the document", || chat.files().len() == 3);
    assert!(!chat.files()[2].shown);
}

/// The text is there, the service has the file, and the worker dies before it hears so: the file is repeated under its key, the text is not.
#[test]
fn a_death_while_a_file_goes_out_repeats_neither_text_nor_file() {
    let chat = Chat::start();
    chat.stick(FILES);
    let home = house(&chat, 0, "", "");
    let gateway = Gateway::start(&home);
    let path = home.of("default").join("cache/a.txt");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, "text").unwrap();
    chat.say("ann", "ann", &format!("here MEDIA:{path}"));
    wait::until_true("the file to be sent", || chat.tries().len() == 2);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    wait::until_true("another try", || chat.tries().len() == 3);
    chat.unstick(FILES);
    wait_done(&home, 2);
    assert_eq!((chat.seen_in("ann"), chat.files().len()), (vec![echo("here")], 1));
    let tries = chat.tries();
    assert_eq!((&tries[1], tries.len()), (&tries[2], 3), "the same file under the same key");
}

/// What is there when the answer is made and gone when it is sent is named instead.
#[test]
fn a_file_that_is_gone_meanwhile_is_named() {
    let chat = Chat::start();
    let home = house(&chat, 0, "", "");
    let _gateway = Gateway::start(&home);
    let path = home.of("default").join("cache/a.txt");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, "text").unwrap();
    chat.stick("ann");
    chat.say("ann", "ann", &format!("here MEDIA:{path}"));
    wait::until_true("the text to be sent", || chat.tries().len() == 1);
    fs_err::remove_file(&path).unwrap();
    chat.unstick("ann");
    wait_done(&home, 2);
    let seen = chat.seen_in("ann");
    assert!(seen[1].starts_with("⚠️ Not sent: a.txt (") && chat.files().is_empty(), "{seen:?}");
}

#[test]
fn a_turn_is_shown_by_signs_at_its_message() {
    let chat = Chat::start();
    let home = house(&chat, 0, "", "");
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "hello");
    let sign = |sign: &str| ("1".to_owned(), sign.to_owned());
    wait::until_true("the signs", || chat.signs() == [sign("👀"), sign("✅")]);
}

fn dead(home: &Home) -> Value {
    home.read("default", "gateway/dead_targets.json")
        .and_then(|text| serde_json::from_str(&text).ok())
        .unwrap_or_default()
}

#[test]
fn a_start_is_told_once_and_a_chat_that_is_gone_hears_nothing_until_it_writes() {
    let chat = Chat::start();
    let home = house(&chat, 0, ", home_channel: {chat_id: ann}", "");
    let gateway = Gateway::start(&home);
    let told = || chat.seen_in("ann").into_iter().filter(|seen| seen == ONLINE).count();
    wait::until_true("the start to be told", || told() == 1);
    // Other workers of the same gateway.
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    chat.say("ann", "ann", "one");
    chat.wait_seen("ann", &echo("one"));
    assert_eq!(told(), 1);
    // The chat goes: its service says so.
    chat.refuse("send", [Refusal { status: 410, retry_after: None }]);
    chat.say("ann", "ann", "two");
    wait::until_true("it to be put down", || dead(&home)["testchat:ann"]["chat_id"] == "ann");
    drop(gateway);
    let gateway = Gateway::start(&home);
    chat.say("bob", "bob", "hello");
    chat.wait_seen("bob", &echo("hello"));
    assert_eq!(told(), 1);
    chat.say("ann", "ann", "three");
    chat.wait_seen("ann", &echo("three"));
    wait::until_true("it to be struck out", || dead(&home)["testchat:ann"].is_null());
    drop(gateway);
    let _gateway = Gateway::start(&home);
    wait::until_true("the next start to be told", || told() == 2);
}

#[test]
fn whoever_asked_for_a_restart_hears_once_that_it_is_over() {
    let chat = Chat::start();
    let home = house(&chat, 0, ", home_channel: {chat_id: ann}", "");
    let asked = r#"{"platform": "testchat", "chat_id": "ann", "chat_type": "dm", "message_id": "7"}"#;
    home.write("default", ".restart_notify.json", asked);
    let gateway = Gateway::start(&home);
    chat.wait_seen("ann", RESTARTED);
    wait::until_true("the note to go", || home.read("default", ".restart_notify.json").is_none());
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    chat.say("bob", "bob", "hello");
    chat.wait_seen("bob", &echo("hello"));
    assert_eq!(chat.seen_in("ann"), [RESTARTED]);
}

#[test]
fn a_platform_may_leave_notices_out() {
    let chat = Chat::start();
    let more = ", home_channel: {chat_id: ann}, gateway_restart_notification: false";
    let home = house(&chat, 0, more, "");
    let _gateway = Gateway::start(&home);
    chat.say("bob", "bob", "hello");
    chat.wait_seen("bob", &echo("hello"));
    assert!(chat.seen_in("ann").is_empty());
}
