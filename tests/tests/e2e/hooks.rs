//! Webhooks as their senders send them. Wires 8.

use std::process::{Command, Stdio};

use hermes_tests::{Gateway, Home, home, http, sign, tools, wait};
use rusqlite::Connection;

/// A gateway's home whose default profile has these routes beside `hook`.
fn with_routes(routes: &str) -> Home {
    Home::with_config(
        &Home::config("true", "").replace("      routes:\n", &format!("      routes:\n{routes}")),
    )
}

fn users(home: &Home) -> Vec<String> {
    let db = Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    let mut select = db.prepare("SELECT content FROM messages WHERE role = 'user' ORDER BY id").unwrap();
    select.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
}

fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)], body: &str) -> http::Response {
    http::request(&gateway.address("webhook"), "POST", path, headers, body.as_bytes()).unwrap()
}

/// Wires 8: a webhook as GitHub sets it up when nobody changes anything: a ping, then forms.
#[test]
fn w8_github_with_its_defaults() {
    let home = with_routes("        gh: {prompt: '{repository.full_name} {number} {ratio}'}\n");
    let gateway = Gateway::start(&home);
    let send = |event: &str, id: &str, body: &str| {
        let signature = sign::github(home::SECRET, body.as_bytes());
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("user-agent", "GitHub-Hookshot/044aadd"),
            ("x-github-event", event),
            ("x-github-delivery", id),
            ("x-hub-signature-256", &signature),
        ];
        post(&gateway, "/webhooks/gh", &headers, body)
    };
    let ping = send("ping", "p-1", "payload=%7B%22zen%22%3A%22Speak+like+a+human.%22%7D");
    assert_eq!((ping.status, ping.text().contains("ping")), (200, true), "{}", ping.text());
    let form = "payload=%7B%22repository%22%3A%7B%22full_name%22%3A%22a%2Fb%22%7D%2C%22number%22%3A\
                12345678901234567890123%2C%22ratio%22%3A1.10%7D";
    assert_eq!(send("push", "d-1", form).status, 202);
    assert_eq!(send("push", "d-1", form).status, 200, "the same delivery");
    wait::until_true("the turn", || users(&home) == ["a/b 12345678901234567890123 1.10"]);
}

/// Wires 8: Linear names its deliveries in a header of its own.
#[test]
fn w8_linear_is_not_run_twice() {
    let home = with_routes("        lin: {signature: linear, secret: lin_wh_x, prompt: '{data.title}'}\n");
    let gateway = Gateway::start(&home);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let body = format!(r#"{{"type": "Issue", "data": {{"title": "it burns"}}, "webhookTimestamp": {now}}}"#);
    let signature = sign::hmac_hex("lin_wh_x", body.as_bytes());
    let send = |id: &str| {
        let headers = [("linear-delivery", id), ("linear-event", "Issue"), ("linear-signature", &signature)];
        post(&gateway, "/webhooks/lin", &headers, &body).status
    };
    assert_eq!((send("d-1"), send("d-1"), send("d-2")), (202, 200, 202));
    wait::until_true("two turns", || users(&home) == ["it burns", "it burns"]);
}

/// Wires 8: a subscription and a route whose secret is empty are refused by name, where people look; the others are served.
#[test]
fn w8_an_empty_secret_is_refused_by_name() {
    let home = Home::new();
    let subscriptions = r#"{"open": {"secret": "", "prompt": "x"}, "fine": {"prompt": "x"}}"#;
    home.write("default", "webhook_subscriptions.json", subscriptions);
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.hook("/webhooks/open", home::SECRET, "1", "{}").status, 404);
    assert_eq!(gateway.hook("/webhooks/fine", home::SECRET, "1", "{}").status, 202);
    let log = fs_err::read_to_string(home.root().join("logs/gateway.log")).unwrap();
    assert!(log.contains("Route 'open' has no HMAC secret") && log.contains("is empty"), "{log}");
    drop(gateway);
    let home = with_routes("        bad: {secret: '', prompt: 'x'}\n");
    let gateway = Gateway::start(&home);
    let profile = gateway.wait_state("default", "degraded");
    let reason = profile.reason.unwrap();
    assert!(reason.contains("Route 'bad' has no HMAC secret") && reason.contains("is empty"), "{reason}");
    let check = hermes_tests::gateway::run(&home, &["config", "check"]);
    assert!(hermes_tests::gateway::both(&check).contains("Route 'bad'"), "{check:?}");
    let refused = gateway.hook("/webhooks/bad", home::SECRET, "1", "{}").status;
    assert!(matches!(refused, 404 | 503), "{refused}");
}

/// Wires 8: what the vendors' own libraries sign is accepted, and what they would refuse is refused.
#[test]
#[expect(clippy::disallowed_methods, reason = "runs the vendors' libraries")]
fn w8_signatures_of_the_vendors_own_libraries() {
    const SIGN: &str = r"
import json, sys, time
import stripe
from slack_sdk.signature import SignatureVerifier
secret, body = sys.argv[1], sys.argv[2]
now = int(time.time())
old = now - 400
header = lambda at: 't=%d,v1=%s' % (at, stripe.WebhookSignature._compute_signature('%d.%s' % (at, body), secret))
slack = lambda at: SignatureVerifier(secret).generate_signature(timestamp=str(at), body=body)
stripe.WebhookSignature.verify_header(body, header(now), secret, 300)
assert SignatureVerifier(secret).is_valid(body, str(now), slack(now))
print(json.dumps({'now': str(now), 'old': str(old), 'stripe': header(now), 'stripe_old': header(old),
                  'slack': slack(now), 'slack_old': slack(old)}))
";
    let Some(python) = tools::Clients::Python.interpreter() else { return };
    let home = with_routes(
        "        stripe: {signature: stripe, secret: whsec_of_tests}\n        slack: {signature: slack, secret: whsec_of_tests}\n",
    );
    let gateway = Gateway::start(&home);
    let body = r#"{"id": "evt_1", "event_id": "Ev1", "type": "charge.succeeded", "name": "Zoë"}"#;
    let mut command = Command::new(python);
    let output = command.args(["-c", SIGN, "whsec_of_tests", body]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let made = |key: &str| made[key].as_str().unwrap().to_owned();
    for (stripe, slack, stamp, status) in [
        ("stripe_old", "slack_old", "old", 401),
        ("stripe", "slack", "now", 202),
        ("stripe", "slack", "now", 200),
    ] {
        let answer = post(&gateway, "/webhooks/stripe", &[("stripe-signature", &made(stripe))], body);
        assert_eq!(answer.status, status, "{stripe}: {}", answer.text());
        let headers = [("x-slack-signature", &*made(slack)), ("x-slack-request-timestamp", &*made(stamp))];
        let answer = post(&gateway, "/webhooks/slack", &headers, body);
        assert_eq!(answer.status, status, "{slack}: {}", answer.text());
    }
    let wrong = [("stripe-signature", &*made("stripe"))];
    assert_eq!(post(&gateway, "/webhooks/stripe", &wrong, "{}").status, 401);
}
