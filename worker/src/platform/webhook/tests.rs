//! The whole way of a request, from the router to the store.

use std::time::Duration;

use hermes_protocol::config::{self, ProfileConfig, Route, Secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::platform::harness::{Answer, Client, House, request};
use crate::platform::wire::hex;

const SECRET: &str = "a secret of the route";

fn webhook(routes: Vec<(&str, Route)>) -> config::Webhook {
    config::Webhook {
        host: Some("127.0.0.1".to_owned()),
        port: 8644,
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

fn house(change: impl FnOnce(&mut config::Webhook)) -> House {
    let mut webhook = webhook(vec![("gh", route())]);
    change(&mut webhook);
    House::new(Duration::ZERO, Some("127.0.0.1"), |config: &mut ProfileConfig| config.webhook = Some(webhook))
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
        let house = House::new(Duration::ZERO, host, |config| config.webhook = Some(webhook));
        let error = house.start("webhook").await.err().unwrap();
        assert_eq!((error.code.as_str(), error.retryable), (code, false));
        assert!(error.message.starts_with(text), "{}", error.message);
    }
    let webhook = webhook(vec![("open", open())]);
    let house = House::new(Duration::ZERO, Some("localhost"), |config| config.webhook = Some(webhook));
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
