//! What people and the bot do with each other beside asking and answering: strangers, buttons, menus, texts of any length and look.

use hermes_tests::chats;
use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::telegram::{Refusal, Telegram};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::json;

use super::{ANN, GROUP, echo, house, log, sessions, wait_connected};

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
    let results = chats::wants_a_command(&provider);
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

/// What the model asks is answered by a button, by a number or in other words; a button of a question that is over answers nothing.
#[test]
fn a_question_has_a_button_for_each_choice() {
    let (telegram, provider) = (Telegram::start(), Provider::start());
    let home = with_model(&telegram, &provider, "");
    chats::asks_where_to(&provider);
    let _gateway = Gateway::start(&home);
    telegram.say_with(GROUP, ANN, "deploy", &json!({}));
    wait::until_true("the question", || telegram.seen().len() == 1);
    let question = telegram.seen().remove(0);
    let labels: Vec<&str> = question.buttons.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["1. staging, as ever", "2. production"]);
    let bobs = telegram.press(GROUP, BOB, "production");
    wait::until_true("Bob to hear it", || telegram.answer_to(&bobs).is_some());
    assert_eq!(telegram.answer_to(&bobs).unwrap(), "That question is not for you.");
    let anns = telegram.press(GROUP, ANN, "production");
    telegram.wait_seen(GROUP, "so: production");
    wait::until_true("Ann to hear it", || telegram.answer_to(&anns).as_deref() == Some("✅ 2"));
    let data = question.buttons[0].1.clone();
    let late = telegram.press_with(GROUP, ANN, question.id, &data);
    wait::until_true("it to be too late", || {
        telegram.answer_to(&late).as_deref() == Some("That question is over.")
    });
    assert_eq!(telegram.seen_in(GROUP).len(), 2, "{:?}", telegram.seen());
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

/// Whatever people send is said to the model in words, in its own conversation, and somebody else's words are no command.
#[test]
fn every_kind_of_message_is_understood() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let without_text = |more: serde_json::Value| {
        let mut all = json!({"text": null, "entities": []});
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let place = json!({"latitude": 52.5, "longitude": 13.4});
    for (n, (more, said)) in [
        (json!({"location": place}), "[location 52.5, 13.4]"),
        (
            json!({"location": place, "venue": {"title": "Café", "address": "Street 1", "location": place}}),
            "[location Café, Street 1: 52.5, 13.4]",
        ),
        (json!({"contact": {"phone_number": "+491", "first_name": "Bob"}}), "[contact Bob: +491]"),
        (json!({"sticker": {"file_id": "s", "emoji": "🙂", "set_name": "Faces"}}), "[sticker 🙂 of Faces]"),
        (
            json!({"poll": {"id": "1", "question": "Tea?", "options": [{"text": "yes"}, {"text": "no"}]}}),
            "[poll \"Tea?\": yes; no]",
        ),
        (json!({"dice": {"emoji": "🎲", "value": 5}}), "[🎲 that shows 5]"),
        (json!({"game": {"title": "Chess"}}), "[game Chess]"),
        (
            json!({"story": {"id": 3, "chat": {"id": 5, "type": "private"}}}),
            "[a story, which bots cannot see]",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let who = 1000 + i64::try_from(n).unwrap();
        telegram.say_with(who, who, "", &without_text(more));
        telegram.wait_seen(who, &echo(said));
    }
    let origin =
        json!({"type": "user", "date": 1, "sender_user": {"id": 5, "is_bot": false, "first_name": "Bob"}});
    telegram.say_with(ANN, ANN, "/new", &json!({"forward_origin": origin}));
    telegram.wait_seen(ANN, &echo("[Forwarded from Bob]\n\n/new"));
    let hidden = json!({"type": "hidden_user", "date": 1, "sender_user_name": "Someone"});
    telegram.say_with(ANN, ANN, "psst", &json!({"forward_origin": hidden}));
    telegram.wait_seen(ANN, &echo("[Forwarded from Someone]\n\npsst"));
    // Topics of a private chat, and the general one of a forum.
    telegram.say_with(ANN, ANN, "topic", &json!({"message_thread_id": 9, "is_topic_message": true}));
    telegram.wait_seen(ANN, &echo("topic"));
    let forum = json!({"id": -100_700, "type": "supergroup", "title": "Forum", "is_forum": true});
    telegram.say_with(-100_700, ANN, "general", &json!({"chat": forum}));
    telegram.wait_seen(-100_700, &echo("general"));
    let thread =
        |text: &str| telegram.seen().into_iter().find(|seen| seen.text == echo(text)).unwrap().thread;
    assert_eq!((thread("topic"), thread("general")), (Some(9), None));
    let keys = sessions(&home);
    let has = |key: &str| keys.iter().any(|known| known == key);
    assert!(has("agent:main:telegram:dm:777:9") && has("agent:main:telegram:group:-100700:1"), "{keys:?}");
    // A caption is a command too; what follows a link to the bot says nothing by itself; nobody answers what nobody asked.
    let caption = json!({"caption": "/whoami@hermes_test_bot",
        "caption_entities": [{"type": "bot_command", "offset": 0, "length": 23}]});
    telegram.attach(GROUP, "photo", "", b"x", &caption);
    wait::until_true("an answer to the caption", || {
        telegram.seen_in(GROUP).iter().any(|text| text.contains("100500"))
    });
    let before = telegram.seen().len();
    telegram.say(ANN, "/start payload");
    for kind in
        ["edited_message", "message_reaction", "my_chat_member", "business_message", "kind_of_tomorrow"]
    {
        telegram.update(kind, json!({"chat": {"id": ANN, "type": "private"}, "message_id": 1, "text": "no"}));
    }
    // A button of a message that is too old to be shown again, and one of no message at all.
    let old = json!({"id": "old", "from": {"id": ANN, "first_name": "Ann"}, "chat_instance": "1", "data": "ask 1.2 once",
        "message": {"chat": {"id": ANN, "type": "private"}, "message_id": 1, "date": 0}});
    telegram.update("callback_query", old);
    telegram.update(
        "callback_query",
        json!({"id": "none", "from": {"id": ANN, "first_name": "Ann"}, "data": "x"}),
    );
    for press in ["old", "none"] {
        wait::until_true("the press to be over", || {
            telegram.answer_to(press).as_deref() == Some("That question is over.")
        });
    }
    let last = telegram.say(ANN, "last");
    telegram.wait_seen(ANN, &echo("last"));
    wait::until_true("all to be confirmed", || telegram.confirmed() == last + 1);
    assert_eq!(telegram.seen().len(), before + 1, "{:?}", telegram.seen());
}

/// Who writes in a group's or a channel's name is that group or channel, and is let in as such.
#[test]
fn channels_and_anonymous_admins_are_let_in_by_their_chat() {
    let telegram = Telegram::start();
    let home = house(&telegram, "");
    let keys = format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, telegram.env_for_some());
    home.write("default", ".env", &format!("{keys}TELEGRAM_GROUP_ALLOWED_CHATS=-100500,-100600\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let anonymous = json!({"from": {"id": 1_087_968_824, "is_bot": true, "first_name": "Group"},
        "sender_chat": {"id": GROUP, "type": "supergroup", "title": "Team"}});
    telegram.say_with(GROUP, 1_087_968_824, "as the group", &anonymous);
    telegram.wait_seen(GROUP, &echo("as the group"));
    let channel = json!({"id": -100_600, "type": "channel", "title": "News"});
    telegram.update(
        "channel_post",
        json!({"message_id": 1, "date": 1, "chat": channel, "sender_chat": channel, "text": "post"}),
    );
    telegram.wait_seen(-100_600, &echo("post"));
    telegram.say_with(-100_800, ANN, "elsewhere", &json!({}));
    wait::until_true("it to be turned away", || {
        log(&home).contains("Unauthorized user: 777 (Ann Lee) on telegram")
    });
    assert_eq!(telegram.seen().len(), 2, "{:?}", telegram.seen());
}

/// A Bot API server on this machine puts files on its disk.
#[test]
fn files_of_a_local_server_are_read_from_its_disk() {
    let telegram = Telegram::start();
    let home = house(&telegram, "local_mode: true");
    let disk = tempfile::tempdir().unwrap();
    let own = disk.path().join(hermes_tests::telegram::TOKEN).join("documents");
    fs_err::create_dir_all(&own).unwrap();
    telegram.keep_files_in(&own);
    let _gateway = Gateway::start(&home);
    telegram.attach(ANN, "document", "report.pdf", b"%PDF", &json!({}));
    wait::until_true("the answer", || telegram.seen().len() == 1);
    let answer = telegram.seen_in(ANN).remove(0);
    let path = answer.split(": ").last().unwrap().trim_end_matches(']');
    assert_eq!(fs_err::read(path).unwrap_or_else(|error| panic!("{error}: {answer}")), b"%PDF");
    assert!(!log(&home).contains(hermes_tests::telegram::TOKEN));
}
