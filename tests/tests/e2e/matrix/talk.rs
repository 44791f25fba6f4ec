//! What people and the bot do with each other in rooms.

use hermes_tests::chats;
use hermes_tests::gateway::{both, run};
use hermes_tests::matrix::{Homeserver, Person};
use hermes_tests::provider::Provider;
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::{Value, json};

use super::{bot_and_ann, connection, echo, house, log, wait_connected};

/// Part 4, no. 5: only who may talk to the bot brings it into a room.
#[test]
fn an_invitation_is_followed_for_who_may_talk_and_turned_down_for_others() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let eve = server.person("eve");
    // It waits already when the bot comes.
    let early = ann.private(&bot);
    let home = house(&bot.env(server.address()), &allowed);
    let gateway = Gateway::start(&home);
    ann.wait_member(&early, &bot);
    let (hers, anns) = (eve.private(&bot), ann.room(&[&bot], &json!({})));
    let public = ann.room(&[&bot], &json!({"preset": "public_chat"}));
    ann.wait_member(&anns, &bot);
    let is_out = |room: &str, person: &Person| {
        let path = format!("client/v3/rooms/{room}/state/m.room.member/{}", bot.id);
        person.done("GET", &path, &Value::Null)["membership"] == "leave"
    };
    wait::until_true("the stranger to be turned down", || is_out(&hers, &eve));
    wait::until_true("the public room to be turned down", || is_out(&public, &ann));
    assert!(log(&home).contains(&format!("Unauthorized user: {} on matrix", eve.id)), "{}", log(&home));
    ann.say(&early, "hello");
    ann.wait_said(&early, &bot, &echo("hello"));
    assert_eq!(connection(&gateway), ("connected".to_owned(), String::new()));
    gateway.wait_state("default", "ready");
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    assert!(!everything.contains(&bot.token), "{everything}");
}

/// In a room of many it is spoken to, and answers in a thread of its own; there nobody has to call it again.
#[test]
fn in_rooms_the_bot_is_called_and_answers_in_a_thread() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, _) = bot_and_ann(server);
    let (bob, eve) = (server.person("bob"), server.person("eve"));
    let room = ann.room(&[&bob, &eve, &bot], &json!({"name": "Team"}));
    for person in [&bob, &eve] {
        person.join(&room);
    }
    let home = house(&bot.env(server.address()), &format!("MATRIX_ALLOWED_USERS={},{}\n", ann.id, bob.id));
    let gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    ann.say(&room, "among people");
    ann.say(&room, "bot: and this is not for it");
    let mention = json!({"m.mentions": {"user_ids": [bot.id]}});
    eve.say_with(&room, "let me in", &mention);
    let asked = ann.say_with(&room, &format!("{}: who are you?", bot.id), &mention);
    let answer = ann.wait_said(&room, &bot, &echo("who are you?"));
    let relation = &answer["content"]["m.relates_to"];
    assert_eq!((&relation["rel_type"], &relation["event_id"]), (&json!("m.thread"), &json!(asked)));
    // Without a mention, by another one of those who may.
    let within = json!({"m.relates_to": {"rel_type": "m.thread", "event_id": asked}});
    bob.say_with(&room, "and you?", &within);
    let answer = ann.wait_said(&room, &bot, &echo("and you?"));
    assert_eq!(answer["content"]["m.relates_to"]["event_id"], json!(asked));
    // Who is started anew still knows its threads.
    drop(gateway);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ann.say_with(&room, "still there?", &within);
    ann.wait_said(&room, &bot, &echo("still there?"));
    // A command needs no mention, and is about the room.
    ann.say(&room, "!whoami");
    let said = wait::until("an answer to the command", || {
        let found = ann.said_by(&room, &bot).into_iter().next_back()?;
        found["content"]["body"].as_str()?.contains(&ann.id).then_some(found)
    });
    assert_eq!(said["content"]["m.relates_to"]["rel_type"], Value::Null, "{said}");
    assert_eq!(ann.said_by(&room, &bot).len(), 4);
    assert!(log(&home).contains(&format!("Unauthorized user: {}", eve.id)), "{}", log(&home));
    let sessions = format!("agent:main:matrix:group:{room}:{asked}");
    let db = rusqlite::Connection::open(home.of("default").join("state.db")).unwrap();
    let found: i64 = db
        .query_row("SELECT count(*) FROM sessions WHERE session_key = ?1", [&sessions], |row| row.get(0))
        .unwrap();
    assert!(found >= 1, "{sessions}");
}

#[test]
fn a_stranger_is_let_in_by_code() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let eve = server.person("eve");
    // Ann brings her along, so that she can write to the bot at all.
    let room = ann.room(&[&bot], &json!({"is_direct": true}));
    let more = format!("{allowed}MATRIX_UNAUTHORIZED_DM_BEHAVIOR=pair\n");
    let home = house(&bot.env(server.address()), &more);
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    ann.done("POST", &format!("client/v3/rooms/{room}/invite"), &json!({"user_id": eve.id}));
    eve.join(&room);
    ann.done("POST", &format!("client/v3/rooms/{room}/leave"), &json!({}));
    eve.say(&room, "let me in");
    let offer = wait::until("a code to be offered", || eve.texts_by(&room, &bot).pop());
    let code = offer.split('`').nth(1).unwrap();
    let ran = run(&home, &["pairing", "approve", "matrix", code]);
    assert!(ran.status.success(), "{ran:?}");
    eve.say(&room, "thank you");
    eve.wait_said(&room, &bot, &echo("thank you"));
}

#[test]
fn replies_edits_markup_and_receipts() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.private(&bot);
    let home = house(&bot.env(server.address()), &allowed);
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let first = ann.say(&room, "**bold** <script>x</script> @bob:hs.test");
    let answer = ann.wait_said(&room, &bot, &echo("**bold** <script>x</script> @bob:hs.test"));
    let content = &answer["content"];
    assert_eq!(content["format"], "org.matrix.custom.html");
    let html = content["formatted_body"].as_str().unwrap();
    assert!(html.contains("<strong>bold</strong> &lt;script&gt;"), "{html}");
    assert_eq!(content["m.mentions"], json!({"user_ids": ["@bob:hs.test"]}));
    assert_eq!(content["m.relates_to"]["m.in_reply_to"]["event_id"], json!(first));
    let reply = json!({"m.relates_to": {"m.in_reply_to": {"event_id": answer["event_id"]}}});
    ann.say_with(&room, "> <@x:hs.test> quoted\n\nwhy?", &reply);
    let answered = wait::until("an answer to the reply", || {
        ann.texts_by(&room, &bot).into_iter().find(|text| text.ends_with("why?"))
    });
    assert!(
        answered.starts_with(&echo("[Replying to your message: \"echo (not a model): **bold**")),
        "{answered}"
    );
    assert!(!answered.contains("quoted"), "{answered}");
    // Another text for what was said before, and what another program says, are no questions.
    let edit = json!({"m.new_content": {"msgtype": "m.text", "body": "edited"}, "m.relates_to": {"rel_type": "m.replace", "event_id": first}});
    ann.say_with(&room, "* edited", &edit);
    ann.say_with(&room, "a notice", &json!({"msgtype": "m.notice"}));
    let last = ann.say(&room, "last");
    ann.wait_said(&room, &bot, &echo("last"));
    assert_eq!(ann.said_by(&room, &bot).len(), 3);
    // That it was read is seen.
    let mut looks = 0;
    wait::until_true("a receipt", || {
        // The homeserver remembers what it said to the same question.
        looks += 1;
        let sync = ann.done("GET", &format!("client/v3/sync?timeout={looks}"), &Value::Null);
        let events =
            sync["rooms"]["join"][&room]["ephemeral"]["events"].as_array().cloned().unwrap_or_default();
        events.iter().any(|event| !event["content"][&last]["m.read"][&bot.id].is_null())
    });
}

#[test]
fn long_answers_come_in_parts_that_fit_into_events() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.private(&bot);
    let home = house(&bot.env(server.address()), &format!("{allowed}MATRIX_MAX_MESSAGE_LENGTH=65535\n"));
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    // As HTML each letter of it is longer.
    let text = "<漢字 & 😀> ".repeat(2500);
    ann.say(&room, &text);
    let parts = wait::until("all parts", || {
        let texts = ann.texts_by(&room, &bot);
        (texts.concat().matches("漢字").count() >= 2500).then_some(texts)
    });
    assert!(parts.len() >= 2, "{}", parts.len());
    assert_eq!(parts.concat().matches("漢字").count(), 2500);
}

#[test]
fn files_come_along() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.private(&bot);
    let home = house(&bot.env(server.address()), &format!("{allowed}MATRIX_MAX_MEDIA_BYTES=200000\n"));
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let bytes: Vec<u8> = [b"\x89PNG\r\n\x1a\n".as_slice(), &vec![7; 100_000]].concat();
    let place = ann.upload("image/png", &bytes);
    // What its sender says of its length is nothing to go by.
    let image = json!({"msgtype": "m.image", "filename": "a.png", "url": place, "info": {"mimetype": "image/png", "size": 5}});
    ann.say_with(&room, "see this", &image);
    let answer = wait::until("an answer about the image", || ann.texts_by(&room, &bot).pop());
    assert!(answer.starts_with(&echo("see this\n[image a.png (image/png, 100008 bytes): ")), "{answer}");
    let path = answer.rsplit(": ").next().unwrap().trim_end_matches(']');
    assert_eq!(fs_err::read(path).unwrap(), bytes);
    assert!(path.starts_with(home.of("default").join("cache").as_str()), "{path}");
    let large = ann.upload("application/octet-stream", &vec![1; 300_000]);
    ann.say_with(&room, "b.bin", &json!({"msgtype": "m.file", "url": large}));
    wait::until_true("an answer without the file", || ann.said_by(&room, &bot).len() == 2);
    let gone = json!({"msgtype": "m.file", "url": "mxc://hs.test/doesnotexist"});
    ann.say_with(&room, "c.bin", &gone);
    wait::until_true("an answer without the file", || ann.said_by(&room, &bot).len() == 3);
    let texts = ann.texts_by(&room, &bot);
    assert!(texts[1].contains("b.bin") && texts[2].contains("c.bin"), "{texts:?}");
}

/// A room with encryption is said to be one, once, and nothing is sent there but that.
#[test]
fn a_room_with_encryption_is_named_once() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let encryption = json!([{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]);
    let room = ann.room(&[&bot], &json!({"is_direct": true, "initial_state": encryption}));
    let home = house(&bot.env(server.address()), &format!("{allowed}MATRIX_HOME_ROOM={room}\n"));
    let gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let secret = json!({"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "y", "sender_key": "z", "device_id": "d"});
    ann.send(&room, "m.room.encrypted", &secret);
    let said = wait::until("it to be said", || ann.texts_by(&room, &bot).pop());
    assert!(said.contains("encrypted"), "{said}");
    drop(gateway);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ann.send(&room, "m.room.encrypted", &secret);
    ann.say(&room, "in the clear");
    let open = ann.private(&bot);
    ann.wait_member(&open, &bot);
    ann.say(&open, "hello");
    ann.wait_said(&open, &bot, &echo("hello"));
    assert_eq!(ann.said_by(&room, &bot).len(), 1);
    assert!(log(&home).contains(&format!("{room} is encrypted")), "{}", log(&home));
    assert_eq!(connection(&gateway), ("connected".to_owned(), "matrix_encryption_missing".to_owned()));
    let shown = both(&run(&home, &["status"]));
    assert!(shown.contains(&format!("rooms with encryption are not read: {room}")), "{shown}");
}

/// What the model wants to do is allowed by a sign, by whoever it works for and by nobody else.
#[test]
fn a_sign_answers_its_question() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, _) = bot_and_ann(server);
    let bob = server.person("bob");
    let room = ann.room(&[&bob, &bot], &json!({}));
    bob.join(&room);
    let provider = Provider::start();
    let config = Home::config("true", "").replace("engine: echo, ", "");
    let approvals = "approvals: {mode: manual, timeout: 60}\n";
    let home = Home::with_config(&format!("{config}{}{approvals}", provider.model_config()));
    let keys =
        format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=key\n{}", home::DEFAULT_KEY, bot.env(server.address()));
    home.write("default", ".env", &format!("{keys}MATRIX_ALLOWED_USERS={},{}\n", ann.id, bob.id));
    let results = chats::wants_a_command(&provider);
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    ann.say_with(&room, "go", &json!({"m.mentions": {"user_ids": [bot.id]}}));
    let question = wait::until("the question", || {
        ann.said_by(&room, &bot).into_iter().find(|event| !event["content"]["hermes.ask"].is_null())
    });
    let id = question["event_id"].as_str().unwrap().to_owned();
    let signs = || {
        let events = ann.events(&room);
        let of_it = |event: &&Value| {
            event["content"]["m.relates_to"]["event_id"] == id.as_str() && event["type"] == "m.reaction"
        };
        let keys = events
            .iter()
            .filter(of_it)
            .map(|event| event["content"]["m.relates_to"]["key"].as_str().unwrap().to_owned());
        keys.collect::<Vec<_>>()
    };
    wait::until_true("the signs that answer", || signs().len() == 3);
    let mut shown = signs();
    shown.sort();
    let mut all = ["✅", "♾️", "❌"];
    all.sort_unstable();
    assert_eq!(shown, all);
    bob.react(&room, &id, "✅");
    ann.react(&room, &id, "👍");
    wait::pass(std::time::Duration::from_secs(1));
    assert!(results.lock().unwrap().is_empty(), "somebody else's sign counts");
    ann.react(&room, &id, "✅");
    ann.wait_said(&room, &bot, "all done");
    assert_eq!(results.lock().unwrap().len(), 1);
    let edited = wait::until("what came of it", || {
        ann.events(&room)
            .into_iter()
            .find(|event| event["content"]["m.relates_to"]["rel_type"] == "m.replace")
    });
    let body = edited["content"]["m.new_content"]["body"].as_str().unwrap().to_owned();
    assert!(body.ends_with(&format!("✅ Once · {}", ann.id)), "{body}");
}

/// A room that goes on elsewhere is followed; one that the bot was put out of is not written to.
#[test]
fn a_room_that_moves_is_followed_and_one_that_ends_is_given_up() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.room(&[&bot], &json!({}));
    let home = house(
        &bot.env(server.address()),
        &format!("{allowed}MATRIX_REQUIRE_MENTION=false\nMATRIX_AUTO_THREAD=false\n"),
    );
    let gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let new = ann.done("POST", &format!("client/v3/rooms/{room}/upgrade"), &json!({"new_version": "10"}));
    let new = new["replacement_room"].as_str().unwrap().to_owned();
    // Its own server lets nobody in who is not asked.
    ann.ask("POST", &format!("client/v3/rooms/{new}/invite"), &json!({"user_id": bot.id}));
    ann.wait_member(&new, &bot);
    ann.say(&new, "hello");
    ann.wait_said(&new, &bot, &echo("hello"));
    let ended = ann.room(&[&bot], &json!({}));
    ann.wait_member(&ended, &bot);
    ann.done("POST", &format!("client/v3/rooms/{ended}/kick"), &json!({"user_id": bot.id}));
    wait::until_true("that to be seen", || log(&home).contains(&format!("out of {ended}")));
    let other = ann.private(&bot);
    ann.wait_member(&other, &bot);
    ann.say(&other, "still here");
    ann.wait_said(&other, &bot, &echo("still here"));
    gateway.wait_state("default", "ready");
}
