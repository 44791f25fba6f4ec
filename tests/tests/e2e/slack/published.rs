//! The tests' own Slack, shown by clients that people use: what `slack_sdk` and `slack_bolt` take for Slack is enough of it.

use std::time::Duration;

use hermes_tests::slack::{APP_TOKEN, BOT, CHANNEL, Refusal, Slack, TOKEN};
use hermes_tests::tools::Clients;
use hermes_tests::wait;

use super::{ANN, DM};

#[test]
fn published_clients_take_it_for_slack() {
    let slack = Slack::start();
    Clients::Slack.talk(
        "with_slack.py",
        &[
            ("SLACK_API", &format!("{}/api/", slack.address())),
            ("BOT_TOKEN", TOKEN),
            ("APP_TOKEN", APP_TOKEN),
        ],
        |line| match line {
            "do hear" => slack.wait_heard(),
            "do say" => drop(slack.say(DM, ANN, "hi there")),
            "do mention" => drop(slack.say(CHANNEL, ANN, &format!("<@{BOT}> hello"))),
            "do attach" => drop(slack.attach(DM, ANN, "with file", "a.txt", "text/plain", b"text")),
            "do slash" => {
                let name = slack.slash(DM, ANN, "/hermes", "status");
                assert_eq!(slack.wait_response(&name)["text"], "ran status");
            }
            "do press" => drop(slack.press(ANN, "Once")),
            "do limit" => slack.refuse("chat.postMessage", [Refusal::limit(9)]),
            "do narrow" => slack.allow("commands"),
            "do widen" => slack.allow("chat:write"),
            "do narrow app" => slack.allow_app("authorizations:read"),
            "do widen app" => slack.allow_app("connections:write"),
            "do refresh" => {
                let (opened, ..) = slack.sockets();
                slack.disconnect("refresh_requested", Duration::from_millis(500));
                wait::until_true("another socket", || slack.sockets().0 > opened && slack.is_heard());
                slack.say(DM, ANN, "after refresh");
            }
            "do check" => {
                wait::until_true("all to be acknowledged", || slack.unacknowledged() == 0);
                assert!(
                    slack
                        .uploads()
                        .iter()
                        .any(|upload| upload.bytes == b"hello file" && upload.shown.is_some())
                );
            }
            "do revoke" => slack.revoke(0, Some("token_revoked")),
            _ => {}
        },
    );
}
