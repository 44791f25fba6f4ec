//! What people and the bot do with each other beside asking and answering: strangers, buttons, menus, texts of any length and look.

use std::sync::{Arc, Mutex};

use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::telegram::{Refusal, Telegram};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::json;

use super::{ANN, GROUP, echo, house, log, wait_connected};

const BOB: i64 = 888;

/// A home whose default profile has the bot and a model behind it.
fn with_model(telegram: &Telegram, provider: &Provider, more: &str) -> Home {
    let config = Home::config("true", "").replace("engine: echo, ", "");
    let config = config.replacen("platforms:\n", "platforms:\n  telegram: {poll_seconds: 2}\n", 1);
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    let keys = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=key\n{}", home::DEFAULT_KEY, telegram.env());
    home.write("default", ".env", &keys);
    home
}

/// A stranger is offered a code in private, and nothing in a group; the owner lets him in while the gateway runs.
#[test]
fn a_stranger_is_let_in_by_code() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let keys = format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, telegram.env_for_some());
    home.write("default", ".env", &keys);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    telegram.say_with(GROUP, ANN, "anybody here?", &json!({}));
    telegram.say(ANN, "let me in");
    wait::until_true("a code to be offered", || !telegram.seen().is_empty());
    let seen = telegram.seen();
    assert_eq!((seen.len(), seen[0].chat), (1, ANN), "{seen:?}");
    let (_, code) = seen[0].marked.iter().find(|(kind, _)| kind == "code").unwrap();
    assert!(log(&home).contains("Unauthorized user: 777 (Ann Lee) on telegram"), "{}", log(&home));
    assert!(both(&run(&home, &["pairing", "approve", "telegram", code])).contains("Approved!"));
    telegram.say(ANN, "thank you");
    telegram.wait_seen(ANN, &echo("thank you"));
}

/// What the model wants to do is allowed by a button, by whoever it works for and by nobody else; a press that comes too late allows
/// nothing else.
#[test]
fn a_button_answers_its_question() {
    let (telegram, provider) = (Telegram::start(), Provider::start());
    let home = with_model(&telegram, &provider, "approvals: {mode: manual, timeout: 60}\n");
    let results: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&results);
    provider.answer_with(move |body| {
        let last = body["messages"].as_array().unwrap().last().unwrap().clone();
        if last["role"] == "tool" {
            told.lock().unwrap().push(last["content"].to_string());
            return Reply::text("all done");
        }
        let arguments = json!({"command": "git reset --hard; echo ran >> log"}).to_string();
        Reply::Calls(vec![("call_1".to_owned(), "terminal".to_owned(), arguments)])
    });
    let _gateway = Gateway::start(&home);
    telegram.say_with(GROUP, ANN, "go", &json!({}));
    wait::until_true("the question", || telegram.seen().len() == 1);
    let question = telegram.seen().remove(0);
    let labels: Vec<&str> = question.buttons.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["✅ Once", "✅ In this conversation", "✅ Always", "❌ No"]);
    assert!(question.text.contains("git reset --hard"), "{question:?}");
    let bobs = telegram.press(GROUP, BOB, "Once");
    wait::until_true("Bob to hear it", || telegram.answer_to(&bobs).is_some());
    assert_eq!(telegram.answer_to(&bobs).unwrap(), "That question is not for you.");
    assert!(home.read("default", "workspace/log").is_none());
    let once = question.buttons[0].1.clone();
    let anns = telegram.press(GROUP, ANN, "Once");
    telegram.wait_seen(GROUP, "all done");
    wait::until_true("Ann to hear it", || telegram.answer_to(&anns).as_deref() == Some("✅ Once"));
    assert_eq!(home.read("default", "workspace/log").unwrap(), "ran\n");
    wait::until_true("the buttons to be gone", || {
        let buttons = telegram.seen().remove(0).buttons;
        buttons.len() == 1 && buttons[0].0 == "✅ Once · Ann Lee"
    });
    // Another question, and a press of the first one's button.
    telegram.say_with(GROUP, ANN, "again", &json!({}));
    let asked = || telegram.seen().iter().filter(|seen| seen.text.contains("May this command run?")).count();
    wait::until_true("another question", || asked() == 2);
    let late = telegram.press_with(GROUP, ANN, question.id, &once);
    wait::until_true("it to be too late", || {
        telegram.answer_to(&late).as_deref() == Some("That question is over.")
    });
    telegram.press(GROUP, ANN, "No");
    wait::until_true("the refusal", || results.lock().unwrap().len() == 2);
    assert_eq!(home.read("default", "workspace/log").unwrap(), "ran\n");
}

/// Commands are offered once, and again where they are others.
#[test]
fn the_commands_are_in_telegrams_menu() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait::until_true("the menu", || telegram.calls("setMyCommands").len() == 3);
    let calls = telegram.calls("setMyCommands");
    let names: Vec<&str> = calls[0].fields["commands"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|c| c["command"].as_str())
        .collect();
    assert!(["new", "stop", "status", "help"].iter().all(|name| names.contains(name)), "{names:?}");
    telegram.say_with(GROUP, ANN, "/whoami@hermes_test_bot", &json!({}));
    wait::until_true("an answer", || telegram.seen_in(GROUP).iter().any(|text| text.contains("777")));
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    telegram.say(ANN, "hello");
    telegram.wait_seen(ANN, &echo("hello"));
    assert_eq!(telegram.calls("setMyCommands").len(), 3);
    drop(gateway);
}

/// Markdown is shown as it is meant, lengths are counted as Telegram counts them, and what it does not read goes out plain.
#[test]
fn texts_of_any_look_and_length_get_there() {
    let (telegram, provider) = (Telegram::start(), Provider::start());
    let home = with_model(&telegram, &provider, "");
    let faces = "😀".repeat(5000);
    let long = faces.clone();
    provider.answer_with(move |body| {
        let last = body["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
        if last.contains("faces") {
            return Reply::text(&long);
        }
        Reply::text("# Title\n\n**bold** and `a.b` (1.5) _x_\n\n```rust\nlet a = 1;\n```\n\n[here](https://a.example/x_y)")
    });
    let _gateway = Gateway::start(&home);
    telegram.say(ANN, "markdown");
    wait::until_true("the answer", || telegram.seen_in(ANN).len() == 1);
    let seen = telegram.seen().remove(0);
    let marked = |kind: &str, text: &str| seen.marked.iter().any(|(k, t)| k == kind && t.trim() == text);
    assert!(marked("bold", "Title") && marked("bold", "bold") && marked("code", "a.b"), "{seen:?}");
    assert!(marked("pre", "let a = 1;") && marked("link https://a.example/x_y", "here"), "{seen:?}");
    assert!(seen.text.contains("(1.5)") && !seen.text.contains('\\'), "{seen:?}");
    telegram.say(BOB, "faces");
    let count = || telegram.seen_in(BOB).concat().matches('😀').count();
    wait::until_true("all of them", || count() == 5000);
    let parts = telegram.seen_in(BOB);
    assert!(parts.len() > 1 && parts.iter().all(|part| part.encode_utf16().count() <= 4096));
    let replies: Vec<bool> =
        telegram.seen().iter().filter(|seen| seen.chat == BOB).map(|seen| seen.reply_to.is_some()).collect();
    assert!(replies[0] && replies[1..].iter().all(|quotes| !quotes), "the first part quotes: {replies:?}");
    telegram.refuse(
        "sendMessage",
        [Refusal::new(400, "Bad Request: can't parse entities: Character '.' is reserved")],
    );
    telegram.say(BOB, "markdown");
    wait::until_true("it to go out plain", || {
        telegram.seen_in(BOB).iter().any(|text| text.contains("bold and a.b"))
    });
    let plain = telegram.seen().into_iter().rfind(|seen| seen.chat == BOB).unwrap();
    assert_eq!(plain.marked, []);
}
