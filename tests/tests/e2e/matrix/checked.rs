//! What is said of an account that is asked about on request: every state that it can be in, and that nobody logs in by that.

use hermes_tests::Gateway;
use hermes_tests::chats::ask;
use hermes_tests::matrix::{Between, Fault, Homeserver, PASSWORD};
use serde_json::Value;

use super::{bot_and_ann, house, wait_connected};

#[test]
fn a_token_is_asked_about_and_what_is_wrong_with_it_is_named() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, _) = bot_and_ann(server);
    let between = Between::start(server.address());
    let fine = ask(&house(&bot.env(between.address()), ""), "matrix");
    assert_eq!((fine.verdict.as_str(), fine.lacks.len()), ("fine", 0), "{fine:?}");
    let said = format!("{} is logged in at a homeserver of Matrix v1.", bot.id);
    assert!(fine.message.starts_with(&said) && fine.message.ends_with(&bot.device), "{fine:?}");
    let paths: Vec<String> = between.requests("").into_iter().map(|request| request.path).collect();
    assert_eq!(paths[..2], ["/_matrix/client/versions", "/_matrix/client/v3/account/whoami"]);

    let other = ask(&house(&bot.env(between.address()), &format!("MATRIX_USER_ID={}\n", ann.id)), "matrix");
    assert_eq!(other.verdict, "fine");
    assert!(other.lacks(&format!("not that of MATRIX_USER_ID, {}", ann.id), "MATRIX_USER_ID"), "{other:?}");

    let before = between.requests("/whoami").len();
    let wrong = format!("MATRIX_HOMESERVER=http://{}\nMATRIX_ACCESS_TOKEN=syt_wrong\n", between.address());
    let wrong = ask(&house(&wrong, ""), "matrix");
    assert!(
        wrong.verdict == "lacking" && wrong.lacks("the access token is refused", "MATRIX_ACCESS_TOKEN"),
        "{wrong:?}"
    );
    assert_eq!(between.requests("/whoami").len() - before, 4, "it is shown once each time");
    for asked in [&fine, &other, &wrong] {
        assert!(!asked.printed.contains(&bot.token) && !asked.printed.contains("syt_wrong"));
    }
}

#[test]
fn a_password_is_not_tried_and_makes_no_device() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, _, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let devices = || bot.done("GET", "client/v3/devices", &Value::Null)["devices"].as_array().unwrap().len();
    let home = house(&bot.env_with_password(between.address()), &allowed);
    let before = devices();
    let fine = ask(&home, "matrix");
    assert!(fine.verdict == "fine" && fine.message.contains("takes logins with a password"), "{fine:?}");
    assert!(between.requests("POST").is_empty() && devices() == before && !fine.printed.contains(PASSWORD));
    between.fail(
        "GET /_matrix/client/v3/login",
        4,
        Fault::Answer(200, r#"{"flows": [{"type": "m.login.sso"}]}"#.into()),
    );
    let sso = ask(&home, "matrix");
    assert!(sso.verdict == "lacking" && sso.lacks("(it has m.login.sso)", "MATRIX_ACCESS_TOKEN"), "{sso:?}");

    // Once the worker has logged in, its login is asked about.
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let after = devices();
    let logged_in = ask(&home, "matrix");
    assert!(
        logged_in.verdict == "fine" && logged_in.message.starts_with(&format!("{} is logged in", bot.id))
    );
    assert_eq!((after, devices()), (before + 1, before + 1));
    assert_eq!(between.requests("POST /_matrix/client/v3/login").len(), 1);
}

#[test]
fn what_is_no_homeserver_is_told_from_what_is_not_there() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ..) = bot_and_ann(server);
    let between = Between::start(server.address());
    let home = house(&bot.env(between.address()), "");
    let page = || Fault::Answer(404, "<html>nothing here</html>".into());
    between.fail("/client/versions", 8, page());
    between.fail("/.well-known/", 4, page());
    let strange = ask(&home, "matrix");
    assert!(
        strange.verdict == "lacking" && strange.lacks("no homeserver of Matrix", "correct MATRIX_HOMESERVER"),
        "{strange:?}"
    );
    let there = r#"{"m.homeserver": {"base_url": "https://matrix.x.example"}}"#;
    between.fail("/.well-known/", 4, Fault::Answer(200, there.into()));
    let moved = ask(&home, "matrix");
    assert!(
        moved.lacks("no homeserver of Matrix", "set MATRIX_HOMESERVER to https://matrix.x.example"),
        "{moved:?}"
    );
    between.fail("/client/versions", 4, Fault::Answer(200, r#"{"versions": ["r0.6.1"]}"#.into()));
    let old = ask(&home, "matrix");
    assert!(old.verdict == "lacking" && old.lacks("too old (r0.6.1)", "have it updated"), "{old:?}");
    assert!(between.requests("/whoami").is_empty(), "no token goes to who is no homeserver");
    between.fail("/client/versions", 4, Fault::Answer(502, "<html>".into()));
    let broken = ask(&home, "matrix");
    assert!(broken.verdict == "unreachable" && broken.message.contains("502"), "{broken:?}");
    drop(between);
    let gone = ask(&home, "matrix");
    assert!(gone.verdict == "unreachable" && gone.message.contains("not reached"), "{gone:?}");
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &format!("{env}MATRIX_E2EE_MODE=required\n"));
    let fault = ask(&home, "matrix");
    assert!(fault.verdict == "not_asked" && fault.message.contains("encryption"), "{fault:?}");
}
