//! What is said of a bot that is asked about on request: every state that it can be in, and that nothing changes by it.

use hermes_tests::chats::{Asked, ask};
use hermes_tests::slack::{APP_TOKEN, Refusal, Slack, TOKEN};
use hermes_tests::{Gateway, Home, home};

use super::{house, wait_connected};

/// Everything that is of use, but these.
fn scopes(without: &[&str]) -> String {
    let all = "app_mentions:read,assistant:write,channels:history,chat:write,commands,files:read,files:write,im:history,reactions:write,users:read";
    all.split(',').filter(|scope| !without.contains(scope)).collect::<Vec<_>>().join(",")
}

fn is_quiet(asked: &Asked) -> bool {
    ["SECRETBOT", "SECRETAPP", "SECRETSIGN", "ticket-"].iter().all(|secret| !asked.printed.contains(secret))
}

#[test]
fn every_workspace_is_asked_about_and_each_lack_is_named() {
    let slack = Slack::start();
    slack.app("xoxb-2222-test-SECRETBOT", "xapp-2-test-SECRETAPP", "T0002");
    let home = house(&slack, "");
    let env = home.read("default", ".env").unwrap();
    home.write(
        "default",
        ".env",
        &env.replace(
            &format!("SLACK_BOT_TOKEN={TOKEN}"),
            &format!("SLACK_BOT_TOKEN={TOKEN},xoxb-2222-test-SECRETBOT"),
        ),
    );
    let fine = ask(&home, "slack");
    assert_eq!(
        (fine.verdict.as_str(), fine.message.as_str(), fine.lacks.len()),
        ("fine", "@hermes in Team, @hermes in Team T0002 answers; the app may open sockets", 0)
    );
    assert_eq!(
        (slack.calls("auth.test").len(), slack.calls("apps.connections.open").len(), slack.sockets().0),
        (8, 4, 0)
    );

    slack.allow(&scopes(&["files:read", "users:read"]));
    let fewer = ask(&home, "slack");
    assert_eq!(fewer.verdict, "fine");
    assert!(fewer.lacks("in Team the app lacks scopes", "OAuth & Permissions"), "{fewer:?}");
    assert!(fewer.lacks("files:read, users:read", "install the app again"), "{fewer:?}");
    slack.allow(&scopes(&["chat:write"]));
    let mute = ask(&home, "slack");
    assert!(
        mute.verdict == "lacking"
            && mute.lacks("in Team the app lacks the scope chat:write", "Bot Token Scopes")
    );
    slack.allow(&scopes(&[]));

    slack.revoke(1, Some("account_inactive"));
    let out = ask(&home, "slack");
    assert_eq!((out.verdict.as_str(), out.lacks.len()), ("lacking", 1));
    assert!(
        out.lacks(
            "no. 2 of 2: the token in SLACK_BOT_TOKEN is refused (auth.test: Slack says account_inactive)",
            "copy SLACK_BOT_TOKEN"
        ),
        "{out:?}"
    );
    assert!([fine, fewer, mute, out].iter().all(is_quiet));
}

#[test]
fn the_token_of_the_app_has_its_own_lacks() {
    let slack = Slack::start();
    let home = house(&slack, "");
    slack.allow_app("authorizations:read");
    let scope = ask(&home, "slack");
    assert_eq!(scope.verdict, "lacking");
    assert!(
        scope.lacks("the token in SLACK_APP_TOKEN lacks a scope", "scope `connections:write`"),
        "{scope:?}"
    );
    slack.allow_app("connections:write");
    slack.disable_sockets(true);
    let off = ask(&home, "slack");
    assert!(
        off.verdict == "lacking" && off.lacks("does not use Socket Mode", "turn Socket Mode on"),
        "{off:?}"
    );
    slack.disable_sockets(false);
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &env.replace(APP_TOKEN, "xapp-1-test-other-SECRETAPP"));
    let refused = ask(&home, "slack");
    assert!(
        refused.verdict == "lacking"
            && refused.lacks("the token in SLACK_APP_TOKEN is refused", "copy SLACK_APP_TOKEN")
    );
    assert!([scope, off, refused].iter().all(is_quiet));

    home.write("default", ".env", &env);
    slack.refuse("auth.test", (0..4).map(|_| Refusal::page(404)));
    let strange = ask(&home, "slack");
    assert!(
        strange.verdict == "lacking" && strange.lacks("is not Slack", "SLACK_API_BASE_URL"),
        "{strange:?}"
    );
    slack.refuse("auth.test", (0..4).map(|_| Refusal::limit(60)));
    let busy = ask(&home, "slack");
    assert!(busy.verdict == "unreachable" && busy.message.contains("ratelimited"), "{busy:?}");
    drop(slack);
    let gone = ask(&home, "slack");
    assert!(gone.verdict == "unreachable" && gone.message.contains("Slack is not reached"), "{gone:?}");
    assert!(gone.printed.contains("fix: see that this machine reaches the service"), "{gone:?}");
}

/// A home whose default profile is called by Slack.
fn called(slack: &Slack, webhooks: &str, more: &str) -> Home {
    let opens = format!("webhook:\n    enabled: {webhooks}\n");
    let home = Home::with_config(&Home::config("true", "").replace("webhook:\n    enabled: true\n", &opens));
    let env = slack.env().replace(&format!("SLACK_APP_TOKEN={APP_TOKEN}"), more);
    home.write("default", ".env", &format!("API_SERVER_KEY={}\nSLACK_MODE=http\n{env}", home::DEFAULT_KEY));
    home
}

#[test]
fn where_slack_calls_there_is_a_secret_and_an_open_port() {
    let slack = Slack::start();
    let home = called(&slack, "true", "SLACK_SIGNING_SECRET=SECRETSIGN");
    let fine = ask(&home, "slack");
    assert_eq!(
        (fine.verdict.as_str(), fine.message.as_str()),
        ("fine", "@hermes in Team answers; Slack calls /slack/events of this gateway, with signed requests")
    );
    {
        let gateway = Gateway::start(&home);
        wait_connected(&gateway);
        assert_eq!(ask(&home, "slack").verdict, "fine");
    }
    let closed = called(&slack, "false", "SLACK_SIGNING_SECRET=SECRETSIGN");
    let port = ask(&closed, "slack");
    assert!(
        port.verdict == "lacking" && port.lacks("no port of webhooks is open", "WEBHOOK_ENABLED=true"),
        "{port:?}"
    );
    let secret = ask(&called(&slack, "true", ""), "slack");
    assert!(secret.verdict == "not_asked" && secret.message.contains("no signing secret"), "{secret:?}");
    assert!(slack.calls("apps.connections.open").is_empty() && is_quiet(&fine) && is_quiet(&port));
}
