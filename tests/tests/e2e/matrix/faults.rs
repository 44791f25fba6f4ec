//! What a homeserver never does when it is asked to: floods, errors, silence, broken connections, nonsense.

use std::time::Duration;

use hermes_tests::matrix::{Between, Fault, Homeserver};
use hermes_tests::{Gateway, wait};

use super::{bot_and_ann, connection, echo, house, log, wait_connected};

#[test]
fn waits_that_the_homeserver_asks_for_are_kept() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let limited = || Fault::error(429, "M_LIMIT_EXCEEDED", ",\"retry_after_ms\":2000");
    between.fail("/sync", 1, limited());
    let home = house(&bot.env(between.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let syncs = between.requests("/sync");
    assert!(syncs[1].at - syncs[0].at >= Duration::from_secs(2));
    let room = ann.private(&bot);
    ann.wait_member(&room, &bot);
    between.fail("/send/m.room.message/", 1, limited());
    ann.say(&room, "hello");
    ann.wait_said(&room, &bot, &echo("hello"));
    let sends = between.requests("/send/m.room.message/");
    assert_eq!(sends.len(), 2);
    assert!(sends[1].at - sends[0].at >= Duration::from_secs(2));
    assert_eq!(sends[0].path, sends[1].path, "under the same id");
}

/// A message whose answer was lost goes out again under its id, and is there once.
#[test]
fn an_answer_that_is_sent_again_is_there_once() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let home = house(&bot.env(between.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let room = ann.private(&bot);
    ann.wait_member(&room, &bot);
    between.fail("/send/m.room.message/", 1, Fault::Cut);
    ann.say(&room, "hello");
    wait::until_true("another try", || between.requests("/send/m.room.message/").len() == 2);
    let sends = between.requests("/send/m.room.message/");
    assert_eq!(sends[0].path, sends[1].path);
    ann.say(&room, "the end");
    ann.wait_said(&room, &bot, &echo("the end"));
    assert_eq!(ann.texts_by(&room, &bot), [echo("hello"), echo("the end")]);
}

#[test]
fn errors_and_nonsense_are_tried_again() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    between.fail("/whoami", 1, Fault::Answer(503, "<html>down".to_owned()));
    between.fail("/sync", 1, Fault::Answer(200, "[]".to_owned()));
    let home = house(&bot.env(between.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let room = ann.private(&bot);
    ann.wait_member(&room, &bot);
    // What is asked on the way: nothing of a message is lost by it.
    between.fail("/joined_members", 1, Fault::Answer(502, String::new()));
    between.fail("/state/m.room.encryption", 1, Fault::Cut);
    ann.say(&room, "hello");
    ann.wait_said(&room, &bot, &echo("hello"));
    between.fail("/send/m.room.message/", 1, Fault::Answer(502, "<html>".to_owned()));
    ann.say(&room, "and again");
    ann.wait_said(&room, &bot, &echo("and again"));
    assert_eq!(ann.said_by(&room, &bot).len(), 2);
    assert!(
        log(&home).contains("matrix_protocol") && log(&home).contains("matrix_network_error"),
        "{}",
        log(&home)
    );
    wait_connected(&gateway);
}

/// A room whose own servers are gone holds up no other one.
#[test]
fn a_room_that_cannot_be_joined_is_given_up() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let home = house(&bot.env(between.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let room = ann.private(&bot);
    ann.wait_member(&room, &bot);
    between.fail("/v3/join/", usize::MAX, Fault::error(502, "M_UNKNOWN", ""));
    let gone = ann.private(&bot);
    ann.say(&room, "hello");
    ann.wait_said(&room, &bot, &echo("hello"));
    assert!(log(&home).contains(&format!("{gone} cannot be joined")), "{}", log(&home));
    // Nor does one that a stranger invites into.
    between.fail("/leave", usize::MAX, Fault::error(502, "M_UNKNOWN", ""));
    let gone = server.person("eve").private(&bot);
    ann.say(&room, "again");
    ann.wait_said(&room, &bot, &echo("again"));
    wait::until_true("that to be said", || log(&home).contains(&format!("{gone} cannot be left")));
    between.mend();
    wait_connected(&gateway);
}

/// `connected` is a promise: who is silent for longer than a sync takes is down.
#[test]
fn a_silent_homeserver_is_left() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let home = house(&bot.env(between.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let room = ann.private(&bot);
    ann.wait_member(&room, &bot);
    between.fail("/sync", usize::MAX, Fault::Stall);
    let silent = wait::now();
    ann.say(&room, "hello");
    while connection(&gateway) != ("retrying".into(), "matrix_network_error".into()) {
        assert!(silent.elapsed() < Duration::from_secs(100), "{:?}", connection(&gateway));
        wait::pass(Duration::from_millis(200));
    }
    between.mend();
    ann.wait_said(&room, &bot, &echo("hello"));
    wait_connected(&gateway);
}

#[test]
fn a_wrong_token_is_fatal_and_asked_about_once() {
    let Some(server) = Homeserver::shared() else { return };
    let between = Between::start(server.address());
    let env = format!("MATRIX_HOMESERVER=http://{}\nMATRIX_ACCESS_TOKEN=syt_wrong\n", between.address());
    let home = house(&env, "");
    let gateway = Gateway::start(&home);
    wait::until_true("the refusal", || {
        connection(&gateway) == ("fatal".into(), "matrix_invalid_auth".into())
    });
    wait::pass(Duration::from_secs(3));
    assert_eq!(between.requests("").len(), 1);
    gateway.wait_state("default", "degraded");
    assert!(!log(&home).contains("syt_wrong"), "{}", log(&home));
}
