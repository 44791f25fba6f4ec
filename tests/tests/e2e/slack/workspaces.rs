//! One bot in several workspaces, whose tokens stand in `slack_tokens.json`: each is heard and answered by its own token, a file with a slip is
//! named with its line, and no two profiles have one.

use std::os::unix::fs::PermissionsExt as _;

use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::slack::{CHANNEL, Slack, TOKEN};
use hermes_tests::{Gateway, Home, wait};
use serde_json::{Value, json};

use super::talk::with_model;
use super::{ANN, DM, echo, house, log, wait_connected};

const FILE: &str = "slack_tokens.json";
const SECOND_TOKEN: &str = "xoxb-2222-test-SECRETTWO";
const SECOND: &str = "C0SECOND";

fn with_second(slack: &Slack) {
    slack.app(SECOND_TOKEN, "xapp-2", "T0002");
    slack.channel(SECOND, "channel", "T0002");
}

/// Puts the file there, for its owner's eyes.
fn keep(home: &Home, text: &str) {
    home.write("default", FILE, text);
    fs_err::set_permissions(home.of("default").join(FILE), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn tokens() -> String {
    // The first one stands in `.env` as well.
    format!(
        "{{\n  \"T0001\": {{\"token\": \"{TOKEN}\"}},\n  \"T0002\": {{\"token\": \"{SECOND_TOKEN}\", \"team_name\": \"Two\"}}\n}}\n"
    )
}

/// Somebody of the second workspace writes: the app is one, and hears it through the same socket.
fn say_there(slack: &Slack, text: &str) {
    let ts = slack.say(SECOND, ANN, text);
    let event = json!({"type": "message", "channel": SECOND, "channel_type": "channel", "user": ANN, "text": text, "ts": ts});
    let mut callback = slack.callback(&event);
    callback["team_id"] = "T0002".into();
    callback["authorizations"][0]["team_id"] = "T0002".into();
    slack.envelope(&callback);
}

#[test]
fn a_file_of_tokens_brings_more_workspaces_and_a_slip_in_it_is_named() {
    let slack = Slack::start();
    with_second(&slack);
    let home = house(&slack, "require_mention: false");
    keep(&home, &tokens().replace("},\n", "}\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    // What can be answered is, and what cannot is said with its place.
    slack.say(CHANNEL, ANN, "one");
    slack.wait_seen(CHANNEL, &echo("one"));
    gateway.wait_state("default", "degraded");
    let said = both(&run(&home, &["status", "-p", "default"])) + &both(&run(&home, &["gateway", "check"]));
    let path = home.of("default").join(FILE);
    assert!(said.contains(&format!("{path}:3")) && said.contains("no JSON, line 3"), "{said}");
    keep(&home, &tokens());
    gateway.wait_state("default", "ready");
    wait::until_true("the second workspace", || log(&home).contains("the bot is @hermes in Team T0002"));
    wait_connected(&gateway);
    say_there(&slack, "two");
    slack.wait_seen(SECOND, &echo("two"));
    slack.say(CHANNEL, ANN, "three");
    slack.wait_seen(CHANNEL, &echo("three"));
    // A token that is taken back takes its workspace alone.
    let checked = both(&run(&home, &["setup", "--platform", "slack", "--check"]));
    assert!(checked.contains("@hermes in Team, @hermes in Team T0002"), "{checked}");
    slack.revoke(1, Some("token_revoked"));
    let checked = both(&run(&home, &["setup", "--platform", "slack", "--check"]));
    assert!(checked.contains("no. 2 of 2: the token in slack_tokens.json is refused"), "{checked}");
    let everything = log(&home) + &gateway.output() + &said + &checked;
    for secret in ["SECRETTWO", "SECRETBOT"] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

#[test]
fn a_file_that_others_may_read_is_named() {
    let slack = Slack::start();
    let home = house(&slack, "");
    home.write("default", FILE, &tokens());
    fs_err::set_permissions(home.of("default").join(FILE), std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = both(&run(&home, &["gateway", "check"]));
    assert!(said.contains(FILE) && said.contains("mode 0644") && said.contains("chmod 600"), "{said}");
    assert!(!said.contains("SECRETTWO"), "{said}");
}

#[test]
fn a_token_of_the_file_belongs_to_one_profile() {
    let slack = Slack::start();
    with_second(&slack);
    let home = house(&slack, "");
    keep(&home, &tokens());
    home.profile("coder");
    let env = home.read("coder", ".env").unwrap();
    let line = format!(
        "SLACK_API_BASE_URL={}/api/\nSLACK_BOT_TOKEN={SECOND_TOKEN}\nSLACK_APP_TOKEN=xapp-2\n",
        slack.address()
    );
    home.write("coder", ".env", &format!("{env}{line}"));
    let output = run(&home, &["gateway", "run"]);
    let said = both(&output);
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(["default", "coder", "slack", "T0002", FILE].iter().all(|word| said.contains(word)), "{said}");
    assert!(!said.contains("SECRET"), "{said}");
    assert_eq!(slack.requests(), 0);
}

/// A chat that nobody wrote from is looked for, and its files go where its messages go.
#[test]
fn what_goes_to_a_chat_goes_out_by_the_token_of_its_workspace() {
    let (slack, provider) = (Slack::start(), Provider::start());
    with_second(&slack);
    let home = with_model(&slack, &provider, "platform_toolsets: {slack: [messaging]}\n");
    let config = home.read("default", "config.yaml").unwrap();
    let section = format!(
        "platforms:\n  slack: {{home_channel: {{chat_id: {SECOND}, name: Second}}, gateway_restart_notification: false}}\n"
    );
    home.write("default", "config.yaml", &config.replacen("platforms:\n", &section, 1));
    keep(&home, &tokens());
    let path = home.of("default").join("cache/plan.txt");
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, "the plan").unwrap();
    let file = format!("MEDIA:{path}");
    provider.answer_with(move |body| {
        let messages = body["messages"].as_array().unwrap();
        let last = messages.last().unwrap();
        if last["role"] == "tool" {
            return Reply::text("sent");
        }
        // A file alone first: nothing has said yet where the chat is.
        let asked = last["content"].to_string();
        let message = if asked.contains("the file") { file.clone() } else { "a word".to_owned() };
        let given = json!({"target": "slack", "message": message});
        Reply::Calls(vec![("call_1".to_owned(), "send_message".to_owned(), given.to_string())])
    });
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.say(DM, ANN, "send the file");
    let shown = wait::until("the file", || slack.uploads().into_iter().find(|file| file.shown.is_some()));
    assert_eq!((shown.name.as_str(), shown.shown.unwrap().0.as_str()), ("plan.txt", SECOND));
    slack.say(DM, ANN, "send a word");
    slack.wait_seen(SECOND, "a word");
    // From then on the other workspace is not asked.
    let to_second = |method: &str| {
        let to = |fields: &serde_json::Map<String, Value>| {
            ["channel", "channel_id"].iter().any(|key| fields.get(*key) == Some(&SECOND.into()))
        };
        slack.calls(method).iter().filter(|call| to(&call.fields)).count()
    };
    assert_eq!((to_second("files.completeUploadExternal"), to_second("chat.postMessage")), (2, 1));
}
