//! What somebody writes and shows right behind each other is one message, and none of it is lost, whoever dies meanwhile.

use std::time::Duration;

use hermes_tests::gateway::run;
use hermes_tests::matrix::{Homeserver, Person};
use hermes_tests::{Gateway, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{bot_and_ann, echo, house, wait_connected};

fn shows(ann: &Person, room: &str, name: &str, bytes: &[u8]) {
    let place = ann.upload("text/plain", bytes);
    ann.say_with(room, name, &json!({"msgtype": "m.file", "filename": name, "url": place}));
}

/// Waits long enough for machines that are busy.
const SLOW: &str = "HERMES_MATRIX_TEXT_BATCH_DELAY_SECONDS=2\n";

#[test]
fn what_is_written_and_shown_at_once_is_one_message() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, _) = bot_and_ann(server);
    let bob = server.person("bob");
    let room = ann.room(&[&bob, &bot], &json!({}));
    bob.join(&room);
    let allowed = format!("MATRIX_ALLOWED_USERS={},{}\nMATRIX_AUTO_THREAD=false\n", ann.id, bob.id);
    let home = house(&bot.env(server.address()), &format!("{allowed}{SLOW}"));
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    let mention = json!({"m.mentions": {"user_ids": [bot.id]}});
    let place = ann.upload("text/plain", b"the words of a file");
    ann.say_with(&room, "look", &mention);
    bob.say_with(&room, "me too", &mention);
    ann.say_with(&room, "at this", &mention);
    // It calls nobody, and belongs to what does.
    ann.say_with(&room, "a.txt", &json!({"msgtype": "m.file", "filename": "a.txt", "url": place}));
    bob.wait_said(&room, &bot, &echo("me too"));
    let answer = wait::until("an answer to all of it", || {
        ann.texts_by(&room, &bot).into_iter().find(|text| text.contains("look"))
    });
    assert!(answer.starts_with(&echo("look\nat this\n")), "{answer}");
    assert!(answer.contains("the words of a file"), "{answer}");
    assert_eq!(ann.said_by(&room, &bot).len(), 2);
    // A file alone calls nobody.
    shows(&ann, &room, "b.txt", b"to somebody else");
    ann.say_with(&room, "last", &mention);
    ann.wait_said(&room, &bot, &echo("last"));
    assert_eq!(ann.said_by(&room, &bot).len(), 3);
}

/// A command waits for nothing, and what was said before it comes before it.
#[test]
fn a_command_waits_for_nothing_and_comes_behind_what_was_said() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.private(&bot);
    let home = house(&bot.env(server.address()), &format!("{allowed}{SLOW}"));
    let _gateway = Gateway::start(&home);
    ann.wait_member(&room, &bot);
    ann.say(&room, "first");
    ann.say(&room, "!whoami");
    ann.wait_said(&room, &bot, &echo("first"));
    wait::until_true("an answer to the command", || {
        ann.texts_by(&room, &bot).iter().any(|text| text.contains(&ann.id))
    });
    assert_eq!(ann.said_by(&room, &bot).len(), 2);
}

#[test]
fn what_waits_for_more_is_lost_by_no_death_and_no_swap() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let home = house(&bot.env(server.address()), &format!("{allowed}{SLOW}"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let rooms: Vec<String> = (0..2).map(|_| ann.private(&bot)).collect();
    for room in &rooms {
        ann.wait_member(room, &bot);
    }
    // What is stored of another room meanwhile is not answered twice.
    for (round, kills) in [(0, true), (1, false)] {
        let (one, other) = (format!("one {round}"), format!("other {round}"));
        ann.say(&rooms[0], &one);
        wait::pass(Duration::from_millis(1200));
        ann.say(&rooms[1], &other);
        wait::pass(Duration::from_millis(1200));
        if kills {
            process::signal(gateway.worker("default"), Signal::SIGKILL);
        } else {
            assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
        }
        ann.wait_said(&rooms[0], &bot, &echo(&one));
        ann.wait_said(&rooms[1], &bot, &echo(&other));
    }
    for (room, word) in rooms.iter().zip(["one", "other"]) {
        let expected: Vec<String> = (0..2).map(|n| echo(&format!("{word} {n}"))).collect();
        assert_eq!(ann.texts_by(room, &bot), expected);
    }
}
