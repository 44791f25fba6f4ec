//! Where Slack calls the gateway: signatures, repetitions, commands and buttons, below a profile's prefix too.

use hermes_tests::http::{self, Response};
use hermes_tests::slack::{BOT, CHANNEL, Slack, TOKEN};
use hermes_tests::{Gateway, Home, home, sign, wait};
use serde_json::{Value, json};

use super::{ANN, DM, NEVER, connection, echo, wait_connected, wait_connection};

const SECRET: &str = "SIGNING-SECRET";

fn house(slack: &Slack) -> Home {
    let home = super::house(slack, "");
    let keys = format!(
        "API_SERVER_KEY={}\nSLACK_API_BASE_URL={}/api/\nSLACK_BOT_TOKEN={TOKEN}\nSLACK_SIGNING_SECRET={SECRET}\nSLACK_ALLOW_ALL_USERS=true\n",
        home::DEFAULT_KEY,
        slack.address(),
    );
    home.write("default", ".env", &keys);
    home
}

/// A request, signed at this time.
fn request(gateway: &Gateway<'_>, path: &str, kind: &str, (secret, at): (&str, i64), body: &str) -> Response {
    let stamp = at.to_string();
    let signature = format!("v0={}", sign::hmac_hex(secret, format!("v0:{stamp}:{body}").as_bytes()));
    let headers = [
        ("Content-Type", kind),
        ("X-Slack-Request-Timestamp", stamp.as_str()),
        ("X-Slack-Signature", signature.as_str()),
        ("X-Slack-Retry-Num", "1"),
    ];
    http::request(&gateway.address("webhook"), "POST", path, &headers, body.as_bytes()).unwrap()
}

fn now() -> i64 {
    let since = wait::system().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn event(gateway: &Gateway<'_>, path: &str, body: &Value) -> Response {
    request(gateway, path, "application/json", (SECRET, now()), &body.to_string())
}

/// A request with the fields of a form.
pub(super) fn form(gateway: &Gateway<'_>, path: &str, secret: &str, fields: &Value) -> Response {
    let encoded = |text: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
        let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        text.bytes().map(one).collect::<String>()
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let pairs = fields.as_object().unwrap().iter();
    let body: Vec<String> = pairs.map(|(name, value)| format!("{name}={}", encoded(&text(value)))).collect();
    request(gateway, path, "application/x-www-form-urlencoded", (secret, now()), &body.join("&"))
}

#[test]
fn events_come_as_requests_and_each_is_answered_once() {
    let slack = Slack::start();
    let home = house(&slack);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let challenge = json!({"type": "url_verification", "challenge": "abc", "token": "x"});
    let answer = event(&gateway, "/slack/events", &challenge);
    assert_eq!((answer.status, answer.json()["challenge"].as_str()), (200, Some("abc")));
    slack.call_for_events();
    let ts = slack.say(DM, ANN, "hello");
    let message = json!({"type": "message", "channel": DM, "channel_type": "im", "user": ANN, "text": "hello", "ts": ts});
    let body = slack.callback(&message);
    for path in ["/slack/events", "/p/default/slack/events", "/slack/events"] {
        assert_eq!(event(&gateway, path, &body).status, 200, "{path}");
    }
    slack.wait_seen(DM, &echo("hello"));
    let ts = slack.say(CHANNEL, ANN, &format!("<@{BOT}> hi"));
    for kind in ["app_mention", "message"] {
        let mention =
            json!({"type": kind, "channel": CHANNEL, "user": ANN, "text": format!("<@{BOT}> hi"), "ts": ts});
        assert_eq!(event(&gateway, "/slack/events", &slack.callback(&mention)).status, 200);
    }
    slack.wait_seen(CHANNEL, &echo("hi"));
    let fields = slack.slash_fields("status", DM, ANN, "/hermes", "status");
    let answer = form(&gateway, "/slack/commands", SECRET, &fields);
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    slack.wait_response("status");
    // A button of nobody's.
    let press = json!({"type": "block_actions", "user": {"id": ANN}, "channel": {"id": DM}, "actions": [{"action_id": "x"}]});
    let answer = form(&gateway, "/slack/interactivity", SECRET, &json!({"payload": press.to_string()}));
    assert_eq!(answer.status, 200);
    wait::pass(NEVER);
    assert_eq!((slack.seen().len(), slack.sockets().0), (2, 0), "{:?}", slack.seen());
}

#[test]
fn whoever_does_not_know_the_secret_is_turned_away() {
    let slack = Slack::start();
    let home = house(&slack);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    slack.call_for_events();
    let ts = slack.say(DM, ANN, "hello");
    let message = json!({"type": "message", "channel": DM, "channel_type": "im", "user": ANN, "text": "hello", "ts": ts});
    let body = slack.callback(&message).to_string();
    for (secret, at) in [("another", now()), (SECRET, now() - 301), (SECRET, now() + 400), ("", now())] {
        let answer = request(&gateway, "/slack/events", "application/json", (secret, at), &body);
        assert_eq!(answer.status, 401, "{secret} {at}");
    }
    let bare =
        http::request(&gateway.address("webhook"), "POST", "/slack/events", &[], body.as_bytes()).unwrap();
    let get = http::request(&gateway.address("webhook"), "GET", "/slack/events", &[], b"").unwrap();
    assert_eq!((bare.status, get.status), (401, 405));
    let odd = request(&gateway, "/slack/events", "application/json", (SECRET, now()), "nothing");
    let long = "x".repeat((3 << 20) + 1);
    let long = request(&gateway, "/slack/events", "application/json", (SECRET, now()), &long);
    assert_eq!((odd.status, long.status), (400, 413));
    // The port of the API is not Slack's, and a profile without Slack is none.
    let elsewhere =
        http::request(&gateway.address("api_server"), "POST", "/slack/events", &[], body.as_bytes());
    assert_eq!(elsewhere.unwrap().status, 404);
    wait::pass(NEVER);
    assert!(slack.seen().is_empty());
}

#[test]
fn a_profile_is_called_below_its_prefix_and_only_where_a_port_is_open() {
    let slack = Slack::start();
    let home = Home::new();
    home.profile("coder");
    let keys = home.read("coder", ".env").unwrap();
    let own = format!(
        "SLACK_API_BASE_URL={}\nSLACK_BOT_TOKEN={TOKEN}\nSLACK_SIGNING_SECRET={SECRET}\nSLACK_ALLOW_ALL_USERS=true\n",
        slack.address()
    );
    home.write("coder", ".env", &format!("{keys}{own}"));
    let gateway = Gateway::start(&home);
    gateway.wait_ready("coder");
    slack.call_for_events();
    let ts = slack.say(DM, ANN, "hello");
    let message = json!({"type": "message", "channel": DM, "channel_type": "im", "user": ANN, "text": "hello", "ts": ts});
    let body = slack.callback(&message);
    assert_eq!(event(&gateway, "/p/coder/slack/events", &body).status, 200);
    slack.wait_seen(DM, &echo("hello"));
    assert_eq!(event(&gateway, "/slack/events", &body).status, 404);
    drop(gateway);
    // Nobody can call where no port is open.
    let home = house(&slack);
    let config = home.read("default", "config.yaml").unwrap().replacen("enabled: true", "enabled: false", 1);
    home.write("default", "config.yaml", &config);
    let gateway = Gateway::start(&home);
    wait_connection(&gateway, "fatal", "slack_config_missing");
    assert_eq!(connection(&gateway).0, "fatal");
}
