//! The whole way of a request, from the router to the store.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use hermes_config::{ProfileConfig, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use super::NAME;
use super::settings::{Route, Settings};
use crate::platform::Class;
use crate::platform::harness::{Answer, Client, House, request};
use crate::platform::wire::hex;

const SECRET: &str = "a secret of the route";

fn webhook(routes: Vec<(&str, Route)>) -> Settings {
    Settings {
        secret: None,
        routes: routes.into_iter().map(|(name, route)| (name.to_owned(), route)).collect(),
        rate_limit: 5,
        max_body_bytes: 1000,
        script_timeout: Duration::from_secs(10),
        fault: None,
    }
}

fn route() -> Route {
    Route { secret: Some(Secret::new(SECRET)), ..Route::default() }
}

fn house(change: impl FnOnce(&mut Settings)) -> House {
    let mut webhook = webhook(vec![("gh", route())]);
    change(&mut webhook);
    House::new(Duration::ZERO, Some("127.0.0.1"), |config: &mut ProfileConfig| {
        config.settings.set(NAME, Arc::new(webhook));
    })
}

fn sign(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

async fn post(client: &Client, route: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let signature = sign(body);
    let mut all = vec![("x-hub-signature-256", signature.as_str())];
    all.extend_from_slice(headers);
    client.send(request("POST", &format!("/webhooks/{route}"), &all, body.to_owned())).await
}

#[tokio::test]
async fn an_event_is_accepted_once_and_answers_are_those_of_0_19_0() {
    let house = house(|_| {});
    let client = house.start("webhook").await.unwrap();
    let headers = [("x-github-event", "push"), ("x-github-delivery", "d-1")];
    let first = post(&client, "gh", &headers, r#"{"a": 1}"#).await;
    assert_eq!(first.status, 202);
    assert_eq!(first.headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(first.text, r#"{"status": "accepted", "route": "gh", "event": "push", "delivery_id": "d-1"}"#);
    let again = post(&client, "gh", &headers, r#"{"a": 1}"#).await;
    assert_eq!(
        (again.status.as_u16(), again.text.as_str()),
        (200, r#"{"status": "duplicate", "delivery_id": "d-1"}"#)
    );
    // A new process knows it too.
    let restarted = house.start("webhook").await.unwrap();
    assert_eq!(post(&restarted, "gh", &headers, r#"{"a": 1}"#).await.status, 200);
    let unnamed = [post(&client, "gh", &[], "{}").await.json(), post(&client, "gh", &[], "{}").await.json()];
    assert_ne!(unnamed[0]["delivery_id"], unnamed[1]["delivery_id"]);
    assert_eq!(unnamed[0]["event"], "unknown");
}

#[tokio::test]
async fn refusals_come_in_the_order_of_the_contract() {
    let house = house(|webhook| {
        webhook.routes.push(("off".to_owned(), Route { enabled: false, ..route() }));
        webhook.routes.push(("narrow".to_owned(), Route { events: vec!["push".to_owned()], ..route() }));
        let filters = vec![json!({"field": "action", "equals": "opened"})];
        webhook.routes.push(("picky".to_owned(), Route { filters, ..route() }));
    });
    let client = house.start("webhook").await.unwrap();
    let big = "x".repeat(1001);
    for (path, headers, body, status, text) in [
        ("none", &[][..], "{}", 404, r#"{"error": "Unknown route: none"}"#),
        ("off", &[], &big, 403, r#"{"error": "Route disabled: off"}"#),
        ("gh", &[], &big, 413, r#"{"error": "Payload too large"}"#),
        ("gh", &[], "[1,2]", 400, r#"{"error": "Cannot parse body"}"#),
        ("gh", &[], "hello", 400, r#"{"error": "Cannot parse body"}"#),
        ("gh", &[("content-type", "application/x-www-form-urlencoded")], "a=1", 202, ""),
        ("narrow", &[("x-github-event", "ping")], "{}", 200, r#"{"status": "ignored", "event": "ping"}"#),
        ("narrow", &[("x-gitlab-event", "Push Hook")], "{}", 202, ""),
        ("picky", &[], "{}", 200, r#"{"status": "ignored", "reason": "filter", "route": "picky"}"#),
        ("picky", &[], r#"{"action": "opened"}"#, 202, ""),
    ] {
        let answer = post(&client, path, headers, body).await;
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.text);
        assert!(text.is_empty() || answer.text == text, "{path}: {}", answer.text);
    }
    for headers in [&[][..], &[("x-hub-signature-256", "sha256=00")], &[("x-gitlab-token", "\u{fc}")]] {
        let answer = client.send(request("POST", "/webhooks/gh", headers, "{}")).await;
        assert_eq!(
            (answer.status.as_u16(), answer.text.as_str()),
            (401, r#"{"error": "Invalid signature"}"#)
        );
    }
    let wrong = client.send(request("GET", "/webhooks/gh", &[], "")).await;
    assert_eq!((wrong.status.as_u16(), wrong.headers["allow"].as_bytes()), (405, &b"POST"[..]));
}

#[tokio::test]
async fn duplicates_cost_no_rate_and_a_refusal_says_when_to_return() {
    let house = house(|webhook| webhook.rate_limit = 2);
    let client = house.start("webhook").await.unwrap();
    for id in ["1", "1", "1", "2"] {
        let answer = post(&client, "gh", &[("x-request-id", id)], "{}").await;
        assert!(answer.status.is_success(), "{}", answer.text);
    }
    let refused = post(&client, "gh", &[("x-request-id", "3")], "{}").await;
    assert_eq!(
        (refused.status.as_u16(), refused.text.as_str()),
        (429, r#"{"error": "Rate limit exceeded"}"#)
    );
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    let known = post(&client, "gh", &[("x-request-id", "2")], "{}").await;
    assert_eq!(known.json()["status"], "duplicate");
}

#[tokio::test]
async fn a_direct_delivery_counts_only_once_it_succeeded() {
    let house = house(|webhook| {
        let deliver = "github_comment".to_owned();
        webhook.routes.push(("direct".to_owned(), Route { deliver, deliver_only: true, ..route() }));
    });
    let client = house.start("webhook").await.unwrap();
    for _ in 0..2 {
        // `repo` and `pr_number` are missing, so it can never be delivered.
        let answer = post(&client, "direct", &[("x-request-id", "d")], "{}").await;
        assert_eq!(answer.status, 502);
        assert_eq!(answer.text, r#"{"status": "error", "error": "Delivery failed", "delivery_id": "d"}"#);
    }
    client.drain().await;
}

#[tokio::test]
async fn a_script_changes_or_drops_an_event() {
    let house = house(|webhook| {
        webhook.routes.push(("s".to_owned(), Route { script: Some("s.sh".to_owned()), ..route() }));
    });
    fs_err::create_dir(house.path("scripts")).unwrap();
    fs_err::write(house.path("scripts/s.sh"), "grep -q keep && echo kept || true").unwrap();
    let client = house.start("webhook").await.unwrap();
    assert_eq!(post(&client, "s", &[], r#"{"v": "keep"}"#).await.status, 202);
    let dropped = post(&client, "s", &[], r#"{"v": "no"}"#).await;
    assert_eq!(dropped.text, r#"{"status": "ignored", "reason": "script", "route": "s"}"#);
}

#[tokio::test]
async fn routes_made_by_command_come_and_go_with_their_file() {
    let house = house(|_| {});
    let client = house.start("webhook").await.unwrap();
    let file = house.path("webhook_subscriptions.json");
    let write = |value: serde_json::Value| fs_err::write(&file, value.to_string()).unwrap();
    assert_eq!(post(&client, "made", &[], "{}").await.status, 404);
    write(json!({
        "made": {"secret": SECRET, "filters": {"field": "a", "exists": true}, "deliver_extra": {"n": 7}, "script": null},
        "open": {},
        "foreign": {"secret": SECRET, "profile": "ops"},
        "gh": {"secret": "other"},
        "broken": {"secret": SECRET, "events": 7},
        "job": {"secret": SECRET, "cron_job": "nightly"},
    }));
    assert_eq!(post(&client, "made", &[], r#"{"a": 1}"#).await.status, 202);
    for unserved in ["open", "foreign", "broken", "job"] {
        assert_eq!(post(&client, unserved, &[], "{}").await.status, 404, "{unserved}");
    }
    // The configured route keeps its own secret.
    assert_eq!(post(&client, "gh", &[], "{}").await.status, 202);
    fs_err::write(&file, "{ no json").unwrap();
    assert_eq!(post(&client, "made", &[], r#"{"a": 1}"#).await.status, 202);
    write(json!({}));
    assert_eq!(post(&client, "made", &[], "{}").await.status, 404);
    fs_err::remove_file(&file).unwrap();
    assert_eq!(post(&client, "gh", &[], "{}").await.status, 202);
}

#[tokio::test]
async fn what_must_not_be_served_stops_the_platform_and_is_never_tried_again() {
    let open = || Route { secret: Some(Secret::new("INSECURE_NO_AUTH")), ..Route::default() };
    let direct = Route { deliver_only: true, ..route() };
    for (host, bad, code, text) in [
        (
            Some("127.0.0.1"),
            Route::default(),
            "webhook_route",
            "[webhook] Route 'bad' has no HMAC secret. Set 'secret' on the route or globally. For testing without auth, set secret to 'INSECURE_NO_AUTH'.",
        ),
        (
            Some("0.0.0.0"),
            open(),
            "webhook_route",
            "[webhook] Route 'bad' uses INSECURE_NO_AUTH secret but is bound to non-loopback host '0.0.0.0'. INSECURE_NO_AUTH is for local testing only. Refusing to start to prevent accidental exposure.",
        ),
        (
            None,
            open(),
            "webhook_route",
            "[webhook] Route 'bad' uses INSECURE_NO_AUTH secret but is bound to non-loopback host",
        ),
        (
            Some("127.0.0.1"),
            direct,
            "webhook_route",
            "[webhook] Route 'bad' has deliver_only=true but deliver is 'log'. Direct delivery requires a real target (telegram, discord, slack, github_comment, etc.).",
        ),
    ] {
        let webhook = webhook(vec![("bad", bad)]);
        let house = House::new(Duration::ZERO, host, |config| config.settings.set(NAME, Arc::new(webhook)));
        let error = house.start("webhook").await.err().unwrap();
        assert_eq!((error.code.as_str(), error.class), (code, Class::Fatal));
        assert!(error.message.starts_with(text), "{}", error.message);
    }
    let webhook = webhook(vec![("open", open())]);
    let house =
        House::new(Duration::ZERO, Some("localhost"), |config| config.settings.set(NAME, Arc::new(webhook)));
    let client = house.start("webhook").await.unwrap();
    assert_eq!(client.send(request("POST", "/webhooks/open", &[], "{}")).await.status, 202);
}

/// 32: a script that is not there is a fault with a name, not an event that was ignored; nothing is remembered of the event.
#[tokio::test]
async fn n32_an_event_whose_script_is_missing_is_refused_and_may_come_again() {
    let house = house(|webhook| {
        webhook.routes.push(("s".to_owned(), Route { script: Some("s.sh".to_owned()), ..route() }));
    });
    let client = house.start("webhook").await.unwrap();
    let id = [("x-github-delivery", "d-1")];
    let refused = post(&client, "s", &id, "{}").await;
    assert_eq!(
        (refused.status.as_u16(), refused.text.as_str()),
        (500, r#"{"error": "Route script cannot be run"}"#)
    );
    fs_err::create_dir(house.path("scripts")).unwrap();
    fs_err::write(house.path("scripts/s.sh"), "cat").unwrap();
    assert_eq!(post(&client, "s", &id, "{}").await.status, 202);
}

fn signed_with(key: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// The texts of everything that was accepted, oldest first.
async fn accepted(house: &House) -> Vec<String> {
    let payloads = house.store.aside(|db| {
        let mut select = db.prepare("SELECT payload FROM hermes_inbox ORDER BY id")?;
        select.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()
    });
    let text = |json: &String| {
        serde_json::from_str::<serde_json::Value>(json).unwrap()["text"].as_str().unwrap().to_owned()
    };
    payloads.await.unwrap().iter().map(text).collect()
}

/// Wires 8: GitHub's first call says that the webhook was set up; nobody is woken for it, whatever the route takes.
#[tokio::test]
async fn w8_a_ping_is_answered_and_runs_nothing() {
    let house = house(|webhook| {
        webhook.routes.push(("narrow".to_owned(), Route { events: vec!["ping".to_owned()], ..route() }));
    });
    let client = house.start("webhook").await.unwrap();
    for path in ["gh", "narrow"] {
        let answer =
            post(&client, path, &[("x-github-event", "ping")], r#"{"zen": "Keep it simple."}"#).await;
        let expected = (200, r#"{"status": "ignored", "event": "ping"}"#);
        assert_eq!((answer.status.as_u16(), answer.text.as_str()), expected);
    }
    let unsigned = client.send(request("POST", "/webhooks/gh", &[("x-github-event", "ping")], "{}")).await;
    assert_eq!(unsigned.status, 401);
    assert!(accepted(&house).await.is_empty());
}

/// Wires 8: what GitHub sends by default is a form; the signature is that of the form, the prompt shows what is in it.
#[tokio::test]
async fn w8_forms_are_unwrapped_and_payloads_reach_the_prompt_as_they_came() {
    let house = house(|webhook| {
        let prompt = "{id} {amount}".to_owned();
        webhook.routes.push(("t".to_owned(), Route { prompt, ..route() }));
    });
    let client = house.start("webhook").await.unwrap();
    let form = "payload=%7B%22id%22%3A12345678901234567890123%2C%22amount%22%3A1.10%2C%22text%22%3A%22%5Cud83e%22%7D";
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("x-github-event", "push")];
    for path in ["t", "gh"] {
        let answer = post(&client, path, &headers, form).await;
        assert_eq!(answer.status, 202, "{}", answer.text);
    }
    let texts = accepted(&house).await;
    assert_eq!(texts[0], "12345678901234567890123 1.10");
    let dumped = "{\n  \"id\": 12345678901234567890123,\n  \"amount\": 1.10,\n  \"text\": \"\u{fffd}\"\n}";
    assert!(texts[1].contains(dumped), "{}", texts[1]);
}

/// Wires 8: an empty secret is none: it is refused by name and never stands for the one that other routes have.
#[tokio::test]
async fn w8_an_empty_secret_never_means_the_global_one() {
    let empty = |secret: &str| Route { secret: Some(Secret::new(secret)), ..Route::default() };
    for secret in ["", "  "] {
        let house = house(|webhook| {
            webhook.secret = Some(Secret::new(SECRET));
            webhook.routes.push(("bad".to_owned(), empty(secret)));
        });
        let error = house.start("webhook").await.err().unwrap();
        assert!(error.message.starts_with("[webhook] Route 'bad' has no HMAC secret."), "{}", error.message);
        assert!(error.message.contains("is empty"), "{}", error.message);
    }
    let house = house(|webhook| webhook.secret = Some(Secret::new(SECRET)));
    let client = house.start("webhook").await.unwrap();
    let file = house.path("webhook_subscriptions.json");
    let routes =
        json!({"empty": {"secret": ""}, "blank": {"secret": " "}, "null": {"secret": null}, "none": {}});
    fs_err::write(&file, routes.to_string()).unwrap();
    for (path, status) in [("empty", 404), ("blank", 404), ("null", 202), ("none", 202)] {
        assert_eq!(post(&client, path, &[], "{}").await.status, status, "{path}");
    }
}

/// Wires 8: a route that asks for a vendor's signature takes that alone; ids and Slack's challenge stand in the payload.
#[tokio::test]
async fn w8_routes_ask_for_a_vendors_signature() {
    let house = house(|webhook| {
        for name in ["stripe", "slack"] {
            let signature = Some(name.to_owned());
            webhook.routes.push((name.to_owned(), Route { signature, ..route() }));
        }
    });
    let client = house.start("webhook").await.unwrap();
    let now = hermes_host::clock::utc().as_second();
    let stripe = async |body: &str, trace: &str| {
        let signature = format!("t={now},v1={}", signed_with(SECRET, &format!("{now}.{body}")));
        let headers = [("stripe-signature", signature.as_str()), ("x-request-id", trace)];
        client.send(request("POST", "/webhooks/stripe", &headers, body.to_owned())).await
    };
    let body = r#"{"id": "evt_1", "type": "charge.succeeded"}"#;
    let first = stripe(body, "1").await;
    assert_eq!(
        (first.status.as_u16(), &first.json()["delivery_id"]),
        (202, &json!("evt_1")),
        "{}",
        first.text
    );
    assert_eq!(first.json()["event"], "charge.succeeded");
    assert_eq!(stripe(body, "2").await.json()["status"], "duplicate", "whatever a proxy calls it");
    assert_eq!(post(&client, "stripe", &[], body).await.status, 401, "GitHub's signature opens another door");
    let slack = async |body: &str| {
        let stamp = now.to_string();
        let signature = format!("v0={}", signed_with(SECRET, &format!("v0:{now}:{body}")));
        let headers =
            [("x-slack-signature", signature.as_str()), ("x-slack-request-timestamp", stamp.as_str())];
        client.send(request("POST", "/webhooks/slack", &headers, body.to_owned())).await
    };
    let answer = slack(r#"{"type": "url_verification", "challenge": "3eZbrw1a"}"#).await;
    assert_eq!((answer.status.as_u16(), answer.text.as_str()), (200, r#"{"challenge": "3eZbrw1a"}"#));
    assert_eq!(slack(r#"{"event_id": "Ev1"}"#).await.json()["delivery_id"], "Ev1");
    let unknown = Route { signature: Some("paypal".to_owned()), ..route() };
    let house = House::new(Duration::ZERO, Some("127.0.0.1"), |config| {
        config.settings.set(NAME, Arc::new(webhook(vec![("bad", unknown)])));
    });
    let error = house.start("webhook").await.err().unwrap();
    assert!(error.message.contains("'paypal', which is none of stripe, slack,"), "{}", error.message);
}
