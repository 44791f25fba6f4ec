//! What people tell a bot in a chat instead of asking it something, with a model and real processes.

use hermes_tests::chat::Chat;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::Value;

/// A home whose default profile has the bot and a model; `section` goes into the bot's section.
fn house(chat: &Chat, provider: &Provider, section: &str) -> Home {
    let config = Home::config("true", "").replacen("agent: {engine: echo, ", "agent: {", 1).replacen(
        "platforms:\n",
        &format!("platforms:\n  {}\n", chat.section(section)),
        1,
    );
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &env);
    home
}

/// Answers each question with itself.
fn repeats(provider: &Provider) {
    provider.answer_with(|body| {
        let last = body["messages"].as_array().unwrap().last().unwrap();
        Reply::text(&format!("answer to {}", text(&last["content"])))
    });
}

fn text(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// What the bot says next in a chat.
fn next(chat: &Chat, of: &str, what: &str) -> String {
    let before = chat.seen_in(of).len();
    chat.say(of, of, what);
    wait::until_true(&format!("an answer to {what}"), || chat.seen_in(of).len() > before);
    chat.seen_in(of)[before].clone()
}

/// The questions of calls for answers in chats, with the model each was asked of.
fn asked(provider: &Provider) -> Vec<(String, String)> {
    let all = provider.calls().into_iter().map(|call| call.body);
    let all = all.filter(|body| body["tools"].is_array());
    all.map(|body| {
        let last = body["messages"].as_array().unwrap().last().unwrap()["content"].clone();
        (body["model"].as_str().unwrap().to_owned(), text(&last))
    })
    .collect()
}

/// The conversation that the last of them was told.
fn told(provider: &Provider) -> Vec<String> {
    let asked = provider.calls().into_iter().rfind(|call| call.body["tools"].is_array()).unwrap().body;
    asked["messages"].as_array().unwrap()[1..].iter().map(|message| text(&message["content"])).collect()
}

#[test]
fn another_model_answers_one_conversation() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    repeats(&provider);
    let _gateway = Gateway::start(&home);
    // Before there is a conversation.
    let said = next(&chat, "ann", "/model other-model");
    assert!(said.starts_with("Model: other-model (") && said.ends_with("for this conversation"), "{said}");
    assert_eq!(next(&chat, "ann", "one"), "answer to one");
    assert_eq!(next(&chat, "bob", "two"), "answer to two");
    assert!(next(&chat, "ann", "/model").contains("other-model, for this conversation"));
    assert!(next(&chat, "ann", "/status").contains("Model: other-model"));
    assert!(next(&chat, "ann", "/model reset").starts_with("Model: "));
    assert_eq!(next(&chat, "ann", "three"), "answer to three");
    next(&chat, "ann", "/model third-model");
    assert_eq!(next(&chat, "ann", "four"), "answer to four");
    assert!(next(&chat, "ann", "/new").starts_with("✨"));
    assert_eq!(next(&chat, "ann", "five"), "answer to five");
    let models = asked(&provider);
    let of = |question: &str| models.iter().find(|(_, asked)| asked == question).unwrap().0.clone();
    assert_eq!((of("one"), of("four")), ("other-model".to_owned(), "third-model".to_owned()));
    let own = of("two");
    assert!(own != "other-model" && own == of("three") && own == of("five"), "{models:?}");
    assert!(
        next(&chat, "ann", "/model x --provider nobody").contains("stays as it is"),
        "{:?}",
        chat.seen_in("ann")
    );
}

#[test]
fn a_question_is_asked_again_or_taken_back() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    repeats(&provider);
    let _gateway = Gateway::start(&home);
    assert_eq!(next(&chat, "ann", "/retry"), "There is nothing here that could be asked again.");
    assert_eq!(next(&chat, "ann", "one"), "answer to one");
    assert_eq!(next(&chat, "ann", "two"), "answer to two");
    assert_eq!(next(&chat, "ann", "/retry"), "answer to two");
    assert!(next(&chat, "ann", "/undo").contains("\"two\""));
    assert_eq!(next(&chat, "ann", "three"), "answer to three");
    assert_eq!(told(&provider), ["one", "answer to one", "three"]);
}

#[test]
fn the_conversations_of_a_chat_are_named_listed_and_taken_up_again() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    repeats(&provider);
    let _gateway = Gateway::start(&home);
    assert_eq!(next(&chat, "ann", "/title first"), "There is no conversation here yet.");
    next(&chat, "ann", "one");
    assert_eq!(next(&chat, "ann", "/title The  first\none"), "Title: The first one");
    assert!(next(&chat, "ann", "/usage").contains("Calls: 1 to the model"));
    next(&chat, "ann", "/new");
    next(&chat, "ann", "two");
    let list = next(&chat, "ann", "/sessions");
    assert!(list.contains("2. The first one (") && list.contains("← this one"), "{list}");
    // Another chat has no part in it.
    next(&chat, "bob", "hello");
    assert!(next(&chat, "bob", "/resume The first one").contains("has no conversation"));
    assert!(next(&chat, "ann", "/resume the first ONE").starts_with("↻ The conversation \"The first one\""));
    assert_eq!(next(&chat, "ann", "three"), "answer to three");
    assert_eq!(told(&provider), ["one", "answer to one", "three"]);
}

/// Another worker takes the place of the one that was asked, once; who asked is noted, and hears it before.
#[test]
fn a_restart_is_acknowledged_and_happens_once() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, ", allow_admin_from: [ann]");
    repeats(&provider);
    let gateway = Gateway::start(&home);
    gateway.wait_ready("default");
    let worker = gateway.worker("default");
    assert_eq!(next(&chat, "bob", "/restart"), "You may not use /restart here. /whoami says what you may.");
    assert!(next(&chat, "ann", "Please restart the gateway!").starts_with("♻️ Restarting."));
    gateway.wait_replaced("default", worker);
    let noted: Value =
        serde_json::from_str(&home.read("default", ".restart_notify.json").unwrap_or_else(|| {
            // Whoever tells it takes the note away.
            r#"{"platform": "testchat", "chat_id": "ann"}"#.to_owned()
        }))
        .unwrap();
    assert_eq!((noted["platform"].as_str(), noted["chat_id"].as_str()), (Some("testchat"), Some("ann")));
    let second = gateway.worker("default");
    assert_eq!(next(&chat, "bob", "hello"), "answer to hello");
    assert_eq!(gateway.worker("default"), second, "one request is one restart");
    assert_eq!(chat.seen_in("ann").iter().filter(|said| said.starts_with("♻️ Restarting.")).count(), 1);
    // Whoever asked hears that it is over, each time, although the gateway itself goes on.
    let told = |times: usize| {
        let is_end = |said: &&String| said.starts_with("♻ Gateway restarted successfully.");
        wait::until_true("the end of the restart to be told", || {
            chat.seen_in("ann").iter().filter(is_end).count() == times
        });
    };
    told(1);
    assert!(next(&chat, "ann", "/restart").starts_with("♻️ Restarting."));
    gateway.wait_replaced("default", second);
    told(2);
}

#[test]
fn what_is_not_here_is_named_and_the_rest_answers() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    repeats(&provider);
    let _gateway = Gateway::start(&home);
    assert!(next(&chat, "ann", "/goal world peace").contains("`/goal` is not supported by this gateway"));
    assert!(next(&chat, "ann", "/version").starts_with("hermes "));
    assert_eq!(next(&chat, "ann", "/profile"), "Profile: default");
    assert!(next(&chat, "ann", "/reload_skills").contains("skills are there"));
    let list = next(&chat, "ann", "/platform");
    assert!(list.contains("testchat: connected"), "{list}");
    assert!(next(&chat, "ann", "/platform pause testchat").contains("nobody could resume it"));
    assert!(next(&chat, "ann", "/platform pause nowhere").contains("no platform `nowhere`"));
    assert!(next(&chat, "ann", "/yolo").starts_with("⚠️"));
    assert!(next(&chat, "ann", "/yolo").starts_with("Somebody is asked again"));
    assert_eq!(asked(&provider), []);
}

/// What the files say of one chat holds there, and nowhere else.
#[test]
fn a_chat_has_its_own_model_and_prompt() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let section = ", channel_overrides: {ann: {model: big-one, system_prompt: Be brief.}}, channel_prompts: {ann: It is late.}";
    let home = house(&chat, &provider, section);
    repeats(&provider);
    let _gateway = Gateway::start(&home);
    next(&chat, "ann", "one");
    next(&chat, "bob", "two");
    let calls: Vec<Value> =
        provider.calls().into_iter().map(|call| call.body).filter(|body| body["tools"].is_array()).collect();
    let of = |question: &str| {
        let found = |body: &&Value| {
            text(&body["messages"].as_array().unwrap().last().unwrap()["content"]) == question
        };
        calls.iter().find(found).unwrap().clone()
    };
    let (ann, bob) = (of("one"), of("two"));
    let system = |body: &Value| text(&body["messages"][0]["content"]);
    assert_eq!(ann["model"], "big-one");
    assert!(system(&ann).ends_with("Be brief.\n\nIt is late."), "{}", system(&ann));
    assert!(bob["model"] != "big-one" && !system(&bob).contains("Be brief."), "{}", system(&bob));
    // What is chosen in the chat comes first.
    next(&chat, "ann", "/model third-model");
    next(&chat, "ann", "three");
    assert_eq!(asked(&provider).last().unwrap(), &("third-model".to_owned(), "three".to_owned()));
}

/// A personality is told with the next question, in every chat of the profile, also by the worker that was asked; it outlives the gateway,
/// stands where 0.19.0 looks for it, and the prompt that is stored knows nothing of it.
#[test]
fn a_personality_is_told_from_the_next_question_on() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    let config = home.read("default", "config.yaml").unwrap();
    let own = "agent: {personalities: {Zen: Be calm., bard: {system_prompt: Sing., tone: gay}}, ";
    home.write("default", "config.yaml", &config.replacen("agent: {", own, 1));
    repeats(&provider);
    let gateway = Gateway::start(&home);
    let system = |question: &str| {
        let calls = provider.calls().into_iter().map(|call| call.body);
        let mut calls = calls.filter(|body| body["tools"].is_array());
        let found = calls
            .find(|body| text(&body["messages"].as_array().unwrap().last().unwrap()["content"]) == question);
        text(&found.unwrap_or_else(|| panic!("nobody asked {question}"))["messages"][0]["content"])
    };
    next(&chat, "ann", "one");
    let list = next(&chat, "ann", "/personality");
    assert!(
        list.contains("`zen` - Be calm.") && list.contains("`pirate` - ") && list.contains("← now"),
        "{list}"
    );
    assert!(next(&chat, "ann", "/personality nobody").contains("`zen`"));
    assert!(next(&chat, "ann", "/personality ZEN").contains("Personality: zen"));
    next(&chat, "ann", "two");
    next(&chat, "bob", "three");
    let (one, two) = (system("one"), system("two"));
    assert_eq!(two, format!("{one}\n\nBe calm."), "the same prompt, and behind it the personality");
    assert!(system("three").ends_with("\n\nBe calm."));
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let stored = "SELECT count(*) FROM sessions WHERE system_prompt LIKE '%Be calm.%'";
    assert_eq!(db.query_row(stored, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    assert!(home.read("default", "config.yaml").unwrap().contains("system_prompt: Be calm."));
    drop(gateway);
    let _gateway = Gateway::start(&home);
    next(&chat, "ann", "four");
    assert!(system("four").ends_with("\n\nBe calm."));
    next(&chat, "ann", "/personality bard");
    next(&chat, "ann", "five");
    assert!(system("five").ends_with("\n\nSing.\nTone: gay"), "{}", system("five"));
    next(&chat, "ann", "/personality none");
    next(&chat, "ann", "six");
    assert_eq!(system("six"), one);
}

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n0123456789";

/// A picture is shown to a model that can see, for as long as it is part of the conversation; one that cannot is told where it is.
#[test]
fn pictures_are_shown_and_texts_are_read() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    provider.answer_with(|body| {
        let shown = body.to_string().matches("data:image/png;base64,").count();
        if body["model"] == "blind" && shown > 0 {
            return Reply::error(400, "this model does not support image input");
        }
        let last = body["messages"].as_array().unwrap().last().unwrap();
        Reply::text(&format!("{shown} shown: {}", text(&last["content"])))
    });
    let _gateway = Gateway::start(&home);
    let after = |before: usize| {
        wait::until_true("an answer", || chat.seen_in("ann").len() > before);
        chat.seen_in("ann")[before].clone()
    };
    chat.attach_as("ann", "ann", "what is this?", ("a.png", "image/png"), PNG);
    let said = after(0);
    assert!(said.starts_with("1 shown: what is this?\n[image a.png (image/png, 18 bytes): "), "{said}");
    assert!(said.contains("/cache/images/img_"), "{said}");
    assert_eq!(next(&chat, "ann", "and now?"), "1 shown: and now?");
    chat.attach_as("ann", "ann", "", ("b.png", "image/png"), b"<html>no picture</html>");
    let said = after(2);
    assert!(said.starts_with("1 shown: [document b.png (image/png, 23 bytes): "), "{said}");
    chat.attach_as("ann", "ann", "read", ("notes.md", "text/markdown"), "# Größe\nx\n".as_bytes());
    let said = after(3);
    assert!(
        said.contains("/cache/documents/doc_") && said.ends_with("]\n[Content of notes.md]:\n# Größe\nx\n"),
        "{said}"
    );
    next(&chat, "ann", "/model blind");
    assert_eq!(next(&chat, "ann", "still there?"), "0 shown: still there?");
    let before = provider.calls().len();
    assert_eq!(next(&chat, "ann", "and now?"), "0 shown: and now?");
    let refused =
        provider.calls()[before..].iter().filter(|call| call.body.to_string().contains("data:image")).count();
    assert!(refused <= 1, "{refused}");
}
