//! What goes out to Matrix beside finished texts: answers while they are made, files, signs, and questions that are answered by a sign.

use base64::Engine as _;
use hermes_tests::chats::{self, STREAMING, words};
use hermes_tests::gateway::run;
use hermes_tests::matrix::{Between, Fault, Homeserver, Person};
use hermes_tests::provider::Provider;
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{bot_and_ann, echo, house, wait_connected};

/// A home with an agent that takes its time for every word.
fn slow(delay: u32, env: &str) -> Home {
    let home = Home::with_config(&(chats::slow(&Home::config("true", ""), delay) + STREAMING));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{env}", home::DEFAULT_KEY));
    home
}

/// The texts that were put in the place of an event, in order.
fn edits(ann: &Person, room: &str, event: &Value) -> Vec<String> {
    let is_of_it = |other: &Value| {
        let relation = &other["content"]["m.relates_to"];
        relation["rel_type"] == "m.replace" && relation["event_id"] == event["event_id"]
    };
    let text = |edit: Value| edit["content"]["m.new_content"]["body"].as_str().unwrap().to_owned();
    ann.events(room).into_iter().filter(is_of_it).map(text).collect()
}

/// What an event says in the end: a program shows the last of what stands in its place.
fn shown(ann: &Person, room: &str, event: &Value) -> String {
    let first = event["content"]["body"].as_str().unwrap().to_owned();
    edits(ann, room, event).pop().unwrap_or(first)
}

/// The signs that somebody has at an event, in order, without those that were taken back.
fn signs(ann: &Person, room: &str, by: &Person, event: &str) -> Vec<String> {
    let is_of_it = |other: &&Value| {
        other["type"] == "m.reaction"
            && other["sender"] == by.id.as_str()
            && other["content"]["m.relates_to"]["event_id"] == event
    };
    let key = |sign: &Value| sign["content"]["m.relates_to"]["key"].as_str().unwrap().to_owned();
    ann.events(room).iter().filter(is_of_it).map(key).collect()
}

#[test]
fn an_answer_is_shown_while_it_is_made_and_survives_a_death() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.private(&bot);
    let home = slow(40, &(bot.env(server.address()) + &allowed));
    let gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let text = words(60);
    let asked = ann.say(&room, &text);
    let first = wait::until("it to be shown", || {
        let first = ann.said_by(&room, &bot).into_iter().next()?;
        (edits(&ann, &room, &first).len() >= 2).then_some(first)
    });
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    wait::until_true("the whole answer", || shown(&ann, &room, &first) == echo(&text));
    assert_eq!(first["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], json!(asked));
    wait::until_true("the sign of the end", || signs(&ann, &room, &bot, &asked).contains(&"✅".to_owned()));
    assert_eq!(ann.said_by(&room, &bot).len(), 1, "{:?}", ann.texts_by(&room, &bot));
    let all = edits(&ann, &room, &first);
    assert!(all.iter().all(|edit| echo(&text).starts_with(edit.trim_end_matches(" ▉"))), "{all:?}");
}

/// Its first words are there once, also where nobody heard that they had arrived: the homeserver knows the key that they were sent under.
#[test]
fn what_is_shown_first_is_there_once_whoever_loses_the_answer() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let room = ann.private(&bot);
    let home = slow(30, &(bot.env(between.address()) + &allowed));
    let gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    wait_connected(&gateway);
    between.fail("send/m.room.message", 1, Fault::Cut);
    let text = words(40);
    ann.say(&room, &text);
    let first = wait::until("it to be shown", || ann.said_by(&room, &bot).into_iter().next());
    wait::until_true("the whole answer", || shown(&ann, &room, &first) == echo(&text));
    assert_eq!(ann.said_by(&room, &bot).len(), 1, "{:?}", ann.texts_by(&room, &bot));
}

/// In a thread what is shown stands there from the first word on; a homeserver that asks to wait is waited for.
#[test]
fn what_is_shown_in_a_thread_stays_there_and_waits_are_kept() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let bob = server.person("bob");
    let between = Between::start(server.address());
    let room = ann.room(&[&bob, &bot], &json!({}));
    bob.join(&room);
    let home = slow(30, &(bot.env(between.address()) + &allowed));
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let text = words(40);
    let mention = json!({"m.mentions": {"user_ids": [bot.id]}});
    let asked = ann.say_with(&room, &text, &mention);
    let first = wait::until("it to be shown", || ann.said_by(&room, &bot).into_iter().next());
    assert_eq!(first["content"]["m.relates_to"]["event_id"], json!(asked), "{first}");
    between.fail("send/m.room.message", 2, Fault::error(429, "M_LIMIT_EXCEEDED", ",\"retry_after_ms\":300"));
    wait::until_true("the whole answer", || shown(&ann, &room, &first) == echo(&text));
    assert_eq!(ann.said_by(&room, &bot).len(), 1);
}

const PNG: &str =
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[test]
fn files_go_out_as_what_they_are() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.private(&bot);
    let more = "MATRIX_DM_AUTO_THREAD=true\nMATRIX_MAX_MEDIA_BYTES=100000\n";
    let home = slow(0, &format!("{}{allowed}{more}", bot.env(server.address())));
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    let png = base64::engine::general_purpose::STANDARD.decode(PNG).unwrap();
    let large = vec![7; 200_000];
    for (name, bytes) in [
        ("a.png", png.as_slice()),
        ("with a space.png", png.as_slice()),
        ("b.ogg", b"sound"),
        ("c.pdf", b"%PDF"),
        ("large.bin", &large),
    ] {
        fs_err::write(cache.join(name), bytes).unwrap();
    }
    let text = format!(
        "MEDIA:{cache}/a.png MEDIA:\"{cache}/with a space.png\" MEDIA:{cache}/b.ogg MEDIA:{cache}/c.pdf MEDIA:{cache}/large.bin"
    );
    let asked = ann.say(&room, &text);
    let is_file = |event: &Value| event["content"]["url"].is_string();
    let files = wait::until("the files", || {
        let files: Vec<Value> = ann.said_by(&room, &bot).into_iter().filter(is_file).collect();
        (files.len() == 4).then_some(files)
    });
    let sent: Vec<(&str, &str)> = files
        .iter()
        .map(|file| (file["content"]["msgtype"].as_str().unwrap(), file["content"]["body"].as_str().unwrap()))
        .collect();
    assert_eq!(
        sent,
        [("m.image", "a.png"), ("m.image", "with a space.png"), ("m.audio", "b.ogg"), ("m.file", "c.pdf")]
    );
    let bytes = |at: usize| ann.download(files[at]["content"]["url"].as_str().unwrap());
    assert!(bytes(0) == png && bytes(3) == b"%PDF");
    for file in &files {
        let content = &file["content"];
        assert_eq!(content["m.relates_to"]["event_id"], json!(asked), "{content}");
        assert!(content["info"]["size"].is_u64() && content["info"]["mimetype"].is_string(), "{content}");
    }
    // What does not go is named.
    wait::until_true("the one that is too large to be named", || {
        // By what stands in the place of the text, where that was shown before.
        ann.said_by(&room, &bot).iter().any(|said| shown(&ann, &room, said).contains("large.bin"))
    });
}

/// A death in the middle doubles no file: its key is the transaction's id.
#[test]
fn a_file_whose_answer_is_lost_is_there_once() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let room = ann.private(&bot);
    let home = house(&bot.env(between.address()), &allowed);
    let gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let path = home.of("default").join("cache/c.pdf");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, "%PDF").unwrap();
    wait_connected(&gateway);
    // Behind the text, that of the file.
    between.fail("send/m.room.message", 1, Fault::Pass);
    between.fail("send/m.room.message", 1, Fault::Cut);
    ann.say(&room, &format!("here MEDIA:{path}"));
    let files = || {
        let said = ann.said_by(&room, &bot);
        said.into_iter().filter(|event| event["content"]["url"].is_string()).count()
    };
    wait::until_true("the file", || files() == 1);
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    ann.say(&room, "and now?");
    ann.wait_said(&room, &bot, &echo("and now?"));
    assert_eq!((files(), ann.said_by(&room, &bot).len()), (1, 3), "{:?}", ann.texts_by(&room, &bot));
}

#[test]
fn signs_stand_at_the_question_where_they_are_wanted() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.private(&bot);
    let home = slow(30, &(bot.env(server.address()) + &allowed));
    let gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let text = words(30);
    let asked = ann.say(&room, &text);
    wait::until_true("that it is seen", || signs(&ann, &room, &bot, &asked) == ["👀"]);
    wait::until_true("that it is done, alone", || signs(&ann, &room, &bot, &asked) == ["✅"]);
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &format!("{env}MATRIX_REACTIONS=false\n"));
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    let quiet = ann.say(&room, "quietly");
    wait::until_true("an answer", || {
        ann.said_by(&room, &bot).last().is_some_and(|last| shown(&ann, &room, last) == echo("quietly"))
    });
    assert!(signs(&ann, &room, &bot, &quiet).is_empty());
}

/// What the model asks is answered by the sign of a number, by whom it was asked of; a sign at a question that is over answers nothing.
#[test]
fn a_question_has_a_sign_for_each_choice() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, _) = bot_and_ann(server);
    let bob = server.person("bob");
    let room = ann.room(&[&bob, &bot], &json!({}));
    bob.join(&room);
    let provider = Provider::start();
    let config = Home::config("true", "").replace("engine: echo, ", "");
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    let keys =
        format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=key\n{}", home::DEFAULT_KEY, bot.env(server.address()));
    home.write("default", ".env", &format!("{keys}MATRIX_ALLOWED_USERS={},{}\n", ann.id, bob.id));
    chats::asks_where_to(&provider);
    let gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    ann.say_with(&room, "deploy", &json!({"m.mentions": {"user_ids": [bot.id]}}));
    let question = wait::until("the question", || {
        ann.said_by(&room, &bot).into_iter().find(|event| !event["content"]["hermes.ask"].is_null())
    });
    let id = question["event_id"].as_str().unwrap().to_owned();
    assert!(question["content"]["body"].as_str().unwrap().contains("2. production"), "{question}");
    wait::until_true("a sign for each", || signs(&ann, &room, &bot, &id) == ["1️⃣", "2️⃣"]);
    bob.react(&room, &id, "1️⃣");
    ann.react(&room, &id, "3️⃣");
    // Another worker takes over, and hears the answer to what the one before it asked.
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    assert_eq!(ann.said_by(&room, &bot).len(), 1, "what others say answers nothing");
    // Without what makes it a picture, as some programs send it.
    ann.react(&room, &id, "2\u{20e3}");
    ann.wait_said(&room, &bot, "so: production");
    let ended = format!("✅ 2 · {}", ann.id);
    wait::until_true("what was chosen below the question", || {
        shown(&ann, &room, &question).ends_with(&ended)
    });
    ann.react(&room, &id, "1️⃣");
    let within = json!({"m.mentions": {"user_ids": [bot.id]}});
    ann.say_with(&room, "/whoami", &within);
    wait::until_true("another answer", || ann.said_by(&room, &bot).len() == 3);
    assert!(shown(&ann, &room, &question).ends_with(&ended));
}
