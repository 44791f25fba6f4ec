//! What goes wrong: a token that is taken back, limits, silence, answers that are lost, channels that are gone.

use std::time::Duration;

use hermes_tests::chats::{echo, log};
use hermes_tests::gateway::{both, run};
use hermes_tests::mattermost::{ANN, DM, Mattermost, NAME, Refusal, TOKEN, TOWN};
use hermes_tests::{Gateway, home, process, wait};
use nix::sys::signal::Signal;

use super::{connection, house, questions, wait_connection};

#[test]
fn a_refused_token_is_fatal_and_nothing_more_is_asked() {
    let server = Mattermost::start();
    server.revoke(true);
    let home = house(&server, "");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "mattermost_invalid_auth");
    let asked = server.requests();
    wait::pass(Duration::from_secs(3));
    assert_eq!((server.requests(), asked), ((1, 0), (1, 0)));
    gateway.wait_state("default", "degraded");
    assert!(log(&home).contains("MATTERMOST_TOKEN"), "{}", log(&home));
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    // Taken back while it is used and nothing is said: the server is silent about that, and is asked.
    server.revoke(false);
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connection(&gateway, "connected", "");
    server.wait_heard();
    server.revoke(true);
    let since = wait::now();
    wait_connection(&gateway, "fatal", "mattermost_invalid_auth");
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    let asked = server.requests();
    wait::pass(Duration::from_secs(3));
    assert_eq!(server.requests(), asked);
}

/// Who only speaks hears of it too, and tells who listens.
#[test]
fn a_token_that_is_taken_back_is_heard_of_by_an_answer() {
    let server = Mattermost::start();
    let home = house(&server, "reactions: false, typing_indicator: false");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    server.refuse("POST posts", [Refusal::error(401, "api.context.session_expired.app_error")]);
    server.say(DM, ANN, "hello");
    wait_connection(&gateway, "fatal", "mattermost_invalid_auth");
    let asked = server.requests();
    wait::pass(Duration::from_secs(3));
    assert_eq!(server.requests(), asked, "not even the answer's next try");
    // What could not be said is said by whoever comes next.
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    server.wait_seen(DM, &echo("hello"));
    assert_eq!(questions(&home), 1);
}

#[test]
fn limits_are_waited_out_and_so_are_errors_of_whoever_is_between() {
    let server = Mattermost::start();
    server.refuse("GET users/me", [Refusal::limit(2), Refusal::page(502)]);
    let home = house(&server, "reactions: false, typing_indicator: false");
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "retrying", "mattermost_network_error");
    wait_connection(&gateway, "connected", "");
    let tries = server.calls("GET users/me");
    assert_eq!(tries.len(), 3);
    assert!(tries[1].at - tries[0].at >= Duration::from_secs(2));
    server.refuse("POST posts", [Refusal::limit(2)]);
    server.say(DM, ANN, "hello");
    server.wait_seen(DM, &echo("hello"));
    let tries = server.calls("POST posts");
    assert!(tries.len() == 2 && tries[1].at - tries[0].at >= Duration::from_secs(2));
    assert_eq!(server.seen().len(), 1, "and no mark: it was certainly not posted");
    // What is missed cannot be asked for at first.
    server.refuse("GET users/me/channels", [Refusal::page(503)]);
    server.cut();
    server.say(DM, ANN, "again");
    server.wait_seen(DM, &echo("again"));
    assert_eq!(questions(&home), 2);
}

/// `connected` is a promise: a socket on which nothing comes any more is left, and what was said meanwhile is not lost.
#[test]
fn a_half_open_socket_is_left_and_nothing_is_lost() {
    let server = Mattermost::start();
    let home = house(&server, "");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    server.say(DM, ANN, "first");
    server.wait_seen(DM, &echo("first"));
    let since = wait::now();
    server.mute();
    server.say(DM, ANN, "unheard");
    server.wait_heard();
    server.wait_seen(DM, &echo("unheard"));
    assert!(since.elapsed() < Duration::from_secs(25), "{:?}", since.elapsed());
    wait_connection(&gateway, "connected", "");
    assert_eq!(questions(&home), 2);
}

/// A post whose answer was lost is there once where the server still knows it.
#[test]
fn an_answer_that_is_there_already_is_there_once() {
    let server = Mattermost::start();
    server.stick("POST posts", true);
    let home = house(&server, "reactions: false, typing_indicator: false");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    server.say(DM, ANN, "hello");
    server.wait_seen(DM, &echo("hello"));
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    server.stick("POST posts", false);
    wait::until_true("the answer to be sent again", || server.calls("POST posts").len() == 2);
    assert_eq!(questions(&home), 1);
    assert_eq!(server.seen_in(DM), [echo("hello")]);
}

#[test]
fn a_channel_that_is_gone_is_given_up_and_others_are_not_held_up() {
    let server = Mattermost::start();
    let home = house(&server, "reactions: false, typing_indicator: false");
    let gateway = Gateway::start(&home);
    server.wait_heard();
    server.say(TOWN, ANN, &format!("@{NAME} hello"));
    server.wait_seen(TOWN, &echo("hello"));
    server.refuse("POST posts", [Refusal::error(403, "api.context.permissions.app_error")]);
    server.say(TOWN, ANN, &format!("@{NAME} and out"));
    wait::until_true("it to be put down", || {
        let text = home.read("default", "gateway/dead_targets.json").unwrap_or_default();
        text.contains(&format!("\"mattermost:{TOWN}\""))
    });
    server.leave(TOWN);
    server.say(DM, ANN, "here");
    server.wait_seen(DM, &echo("here"));
    // What was said there before is not read, and holds up nothing.
    server.cut();
    server.say(DM, ANN, "and here");
    server.wait_seen(DM, &echo("and here"));
    assert_eq!(connection(&gateway).0, "connected");
}

#[test]
fn a_token_that_two_profiles_share_is_refused_before_anything_is_asked() {
    let server = Mattermost::start();
    let home = house(&server, "");
    home.profile("coder");
    let env = home.read("coder", ".env").unwrap();
    // The same server, written in another way.
    home.write(
        "coder",
        ".env",
        &format!("{env}MATTERMOST_URL={}/\nMATTERMOST_TOKEN={TOKEN}\n", server.address()),
    );
    let output = run(&home, &["gateway", "run"]);
    let said = both(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(["default", "coder", "mattermost"].iter().all(|word| said.contains(word)), "{said}");
    assert!(!said.contains(TOKEN), "{said}");
    assert_eq!(server.requests(), (0, 0));
}

#[test]
fn a_check_says_who_it_is_and_what_is_wrong() {
    let server = Mattermost::start();
    let home = house(&server, &format!("allowed_channels: [{TOWN}, nowhere]"));
    let check = || {
        let output = run(&home, &["setup", "--platform", "mattermost", "--check"]);
        (output.status.code(), both(&output))
    };
    let (code, said) = check();
    assert!(code == Some(0) && said.contains("@hermes answers, in 2 channels of Us"), "{said}");
    assert!(said.contains("the account is not in the listed channel nowhere"), "{said}");
    server.revoke(true);
    let (code, said) = check();
    assert!(
        code == Some(1) && said.contains("takes MATTERMOST_TOKEN for none") && !said.contains(TOKEN),
        "{said}"
    );
    drop(server);
    let (code, said) = check();
    assert!(code == Some(1) && said.contains("not reached"), "{said}");
}
