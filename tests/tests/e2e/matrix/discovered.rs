//! A homeserver of which only its server's name is known: it is asked where the homeserver is, and nothing is guessed.

use hermes_tests::chats::ask;
use hermes_tests::gateway::run;
use hermes_tests::matrix::{Between, Fault, Homeserver};
use hermes_tests::{Gateway, wait};

use super::{bot_and_ann, connection, echo, house, wait_connected};

/// What a server says of its homeserver.
fn says(base: &str) -> Fault {
    Fault::Answer(200, format!(r#"{{"m.homeserver": {{"base_url": "{base}"}}}}"#))
}

#[test]
fn a_server_says_where_its_homeserver_is() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let there = format!("http://{}", server.address());
    between.fail("/.well-known/", 1, Fault::Answer(502, "<html>".into()));
    between.fail("/.well-known/", 20, says(&there));
    let env = format!("MATRIX_HOMESERVER={}\nMATRIX_ACCESS_TOKEN={}\n", between.address(), bot.token);
    let home = house(&env, &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let room = ann.private(&bot);
    ann.wait_member(&room, &bot);
    ann.say(&room, "hello");
    ann.wait_said(&room, &bot, &echo("hello"));
    let asked: Vec<String> = between.requests("").into_iter().map(|request| request.path).collect();
    assert!(asked.iter().all(|path| path == "/.well-known/matrix/client"), "{asked:?}");
    let fine = ask(&home, "matrix");
    assert!(fine.verdict == "fine" && fine.message.starts_with(&bot.id), "{fine:?}");
    // Who is started anew knows by the homeserver's own address how far the account has synced.
    ann.say(&room, "again");
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    ann.wait_said(&room, &bot, &echo("again"));
    assert_eq!(ann.said_by(&room, &bot).len(), 2);
}

#[test]
fn a_server_that_says_nothing_is_named_and_gets_no_token() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, _, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let env = format!("MATRIX_HOMESERVER={}\nMATRIX_ACCESS_TOKEN={}\n", between.address(), bot.token);
    for (fault, why) in [
        (Fault::error(404, "M_NOT_FOUND", ""), "answers 404"),
        (Fault::Answer(200, "<html>".into()), "no JSON"),
        (says("http://10.0.0.1"), "no address that a token may go to"),
    ] {
        between.mend();
        between.fail("/.well-known/", 100, fault);
        let home = house(&env, &allowed);
        let lacking = ask(&home, "matrix");
        assert!(lacking.verdict == "lacking" && lacking.lacks(why, "set MATRIX_HOMESERVER"), "{lacking:?}");
        let gateway = Gateway::start(&home);
        wait::until_true("the connection to be given up", || {
            connection(&gateway) == ("fatal".to_owned(), "matrix_discovery".to_owned())
        });
    }
    assert!(between.requests("/_matrix/").is_empty(), "{:?}", between.requests(""));
}
