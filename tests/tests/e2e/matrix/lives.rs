//! Nothing is lost or doubled: restarts, deaths and swaps while people write; logins that end, and accounts that two profiles have.

use std::time::Duration;

use hermes_tests::gateway::{both, run};
use hermes_tests::matrix::{Between, Fault, Homeserver, PASSWORD, Person};
use hermes_tests::{Gateway, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{bot_and_ann, connection, echo, house, log, wait_connected};

/// Swaps in one test.
const SWAPS: usize = 5;

/// Rooms with the bot, each of one conversation: a newer message of the same one would interrupt the answer.
fn rooms(ann: &Person, bot: &Person, count: usize) -> Vec<String> {
    let rooms: Vec<String> = (0..count).map(|_| ann.private(bot)).collect();
    for room in &rooms {
        ann.wait_member(room, bot);
    }
    rooms
}

fn answers(ann: &Person, bot: &Person, room: &str, text: &str) -> usize {
    ann.texts_by(room, bot).iter().filter(|said| said.ends_with(&echo(text))).count()
}

/// Part 4, no. 5: how far it has got survives; the first start of all answers nothing that was said before.
#[test]
fn what_is_said_while_nobody_listens_is_answered_and_what_was_said_before_is_not() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let room = ann.private(&bot);
    bot.join(&room);
    ann.say(&room, "long ago");
    let home = house(&bot.env(server.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ann.say(&room, "now");
    ann.wait_said(&room, &bot, &echo("now"));
    drop(gateway);
    // More than one answer of the homeserver holds: a gap that has to be filled.
    let quiet = ann.private(&bot);
    ann.say(&quiet, "said while it was invited");
    for n in 0..70 {
        ann.say_with(&room, &format!("a notice {n}"), &json!({"msgtype": "m.notice"}));
        if n == 0 {
            ann.say(&room, "behind the gap");
        }
    }
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ann.wait_said(&room, &bot, &echo("behind the gap"));
    ann.wait_said(&quiet, &bot, &echo("said while it was invited"));
    assert_eq!(ann.texts_by(&room, &bot), [echo("now"), echo("behind the gap")]);
    // And once more, with nothing new.
    drop(gateway);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    ann.say(&room, "the end");
    ann.wait_said(&room, &bot, &echo("the end"));
    assert_eq!(ann.said_by(&room, &bot).len(), 3);
    assert_eq!(ann.said_by(&quiet, &bot).len(), 1);
}

#[test]
fn swaps_under_load_lose_and_double_nothing() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let home = house(&bot.env(server.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let rooms = rooms(&ann, &bot, 4);
    let mut asked = Vec::new();
    for n in 0..SWAPS {
        std::thread::scope(|scope| {
            let swapped = scope.spawn(|| run(&home, &["gateway", "restart", "-p", "default"]));
            for room in &rooms {
                let text = format!("swap {n}");
                ann.say(room, &text);
                asked.push((room.clone(), text));
                wait::pass(Duration::from_millis(50));
            }
            let swapped = swapped.join().unwrap();
            assert!(swapped.status.success(), "{swapped:?}");
        });
        wait_connected(&gateway);
        wait::until_true("every answer", || {
            asked.iter().all(|(room, text)| answers(&ann, &bot, room, text) >= 1)
        });
    }
    for (room, text) in &asked {
        assert_eq!(answers(&ann, &bot, room, text), 1, "{text}: {:?}", ann.texts_by(room, &bot));
    }
    // The key is the transaction's id: what is sent again is there once, and needs no mark.
    assert!(rooms.iter().all(|room| ann.texts_by(room, &bot).iter().all(|text| !text.contains('♻'))));
}

#[test]
fn deaths_while_people_write_lose_and_double_nothing() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let home = house(&bot.env(server.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let rooms = rooms(&ann, &bot, 3);
    for n in 0..3 {
        let text = format!("death {n}");
        for (at, room) in rooms.iter().enumerate() {
            ann.say(room, &text);
            if at == n {
                // Whatever it is at just now.
                process::signal(gateway.worker("default"), Signal::SIGKILL);
            }
        }
        wait::until_true("every answer", || rooms.iter().all(|room| answers(&ann, &bot, room, &text) >= 1));
    }
    for room in &rooms {
        let texts = ann.texts_by(room, &bot);
        assert_eq!(texts, (0..3).map(|n| echo(&format!("death {n}"))).collect::<Vec<_>>());
    }
}

/// Part 4, no. 5: a token that is taken back is fatal and silence after that, and not silence alone.
#[test]
fn a_token_that_is_taken_back_is_fatal_and_not_shown_again() {
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let home = house(&bot.env(between.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let room = rooms(&ann, &bot, 1).remove(0);
    bot.done("POST", "client/v3/logout", &json!({}));
    ann.say(&room, "are you there?");
    let is_fatal = || connection(&gateway) == ("fatal".into(), "matrix_invalid_auth".into());
    wait::until_true("the refusal", is_fatal);
    let asked = between.requests("").len();
    wait::pass(Duration::from_secs(3));
    assert_eq!(between.requests("").len(), asked, "{:?}", between.requests(""));
    gateway.wait_state("default", "degraded");
    assert!(!log(&home).contains(&bot.token), "{}", log(&home));
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    // From the beginning.
    drop(gateway);
    let gateway = Gateway::start(&home);
    wait::until_true("the refusal", || connection(&gateway).0 == "fatal");
}

/// A login with a password is kept, for the profile's user alone; one that ends for good is not made up for by itself.
#[test]
fn a_password_logs_in_once_and_keeps_its_device() {
    use std::os::unix::fs::PermissionsExt as _;
    let Some(server) = Homeserver::shared() else { return };
    let (bot, ann, allowed) = bot_and_ann(server);
    let between = Between::start(server.address());
    let home = house(&bot.env_with_password(between.address()), &allowed);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let room = rooms(&ann, &bot, 1).remove(0);
    ann.say(&room, "hello");
    ann.wait_said(&room, &bot, &echo("hello"));
    let file = home.of("default").join("platforms/matrix/session.json");
    assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = || -> Value { serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap() };
    let first = kept();
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    assert_eq!((between.requests("/login").len(), kept()), (1, first.clone()));
    // A session that ended for now is begun again, on the same device.
    let soft = Fault::error(401, "M_UNKNOWN_TOKEN", ",\"soft_logout\":true");
    between.fail("/sync", 1, soft);
    ann.say(&room, "and now?");
    ann.wait_said(&room, &bot, &echo("and now?"));
    wait::until_true("another login", || between.requests("/login").len() == 2);
    wait_connected(&gateway);
    assert_eq!(kept()["device_id"], first["device_id"]);
    // One that ended for good is not.
    let mut now = bot.clone();
    kept()["access_token"].as_str().unwrap().clone_into(&mut now.token);
    now.done("POST", "client/v3/logout", &json!({}));
    ann.say(&room, "and then?");
    wait::until_true("the refusal", || {
        connection(&gateway) == ("fatal".into(), "matrix_invalid_auth".into())
    });
    assert_eq!(between.requests("/login").len(), 2);
    // Who is asked to start it again wants it to.
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    ann.wait_said(&room, &bot, &echo("and then?"));
    let everything = log(&home) + &gateway.output() + &serde_json::to_string(&gateway.status()).unwrap();
    assert!(!everything.contains(PASSWORD) && !everything.contains(&now.token), "{everything}");
}

/// Part 4, no. 1: one account in two profiles is refused before anything is asked, and both are named.
#[test]
fn one_account_in_two_profiles_is_refused_before_the_first_packet() {
    let Some(server) = Homeserver::shared() else { return };
    let bot = server.person("bot");
    let between = Between::start(server.address());
    let user = format!("MATRIX_USER_ID={}\n", bot.id);
    let home = house(&bot.env(between.address()), &user);
    // Another token, and the same account in other letters.
    let env = format!(
        "MATRIX_HOMESERVER=http://{}/\nMATRIX_USER_ID={}\nMATRIX_ACCESS_TOKEN=another\n",
        between.address(),
        bot.id.to_uppercase()
    );
    home.profile_with("coder", "agent: {engine: echo}\n", &env);
    let refused = run(&home, &["gateway", "run"]);
    let said = both(&refused);
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(said.contains("coder") && said.contains("default"), "{said}");
    assert_eq!(between.requests("").len(), 0);
}

/// Two tokens of one account say nothing of each other: whose they are, the homeserver says, and the second profile is refused then.
#[test]
fn two_tokens_of_one_account_are_found_out() {
    let Some(server) = Homeserver::shared() else { return };
    let bot = server.person("bot");
    let login = json!({"type": "m.login.password", "password": PASSWORD, "identifier": {"type": "m.id.user", "user": bot.id}});
    let other = bot.done("POST", "client/v3/login", &login);
    let home = house(&bot.env(server.address()), "");
    let env = format!(
        "MATRIX_HOMESERVER=http://{}\nMATRIX_ACCESS_TOKEN={}\n",
        server.address(),
        other["access_token"].as_str().unwrap()
    );
    home.profile_with("coder", "agent: {engine: echo}\n", &env);
    let gateway = Gateway::start(&home);
    let of = |profile: &str| gateway.profile(profile).platforms.get("matrix").cloned();
    let state = |profile: &str| of(profile).map(|found| (found.state, found.error_code.unwrap_or_default()));
    let refused = wait::until("one of them to be refused", || {
        ["default", "coder"]
            .into_iter()
            .find(|profile| state(profile).is_some_and(|(_, code)| code == "matrix-user_lock"))
    });
    let message = of(refused).unwrap().error_message.unwrap_or_default();
    let owner = if refused == "coder" { "default" } else { "coder" };
    assert!(message.contains(&format!("profile '{owner}'")), "{message}");
    wait::until_true("the other one to be connected", || {
        state(owner).is_some_and(|(state, _)| state == "connected")
    });
}
