//! Telegram brings updates to the gateway's listener instead of being polled: the same messages, the same answers, nothing lost or doubled.

use std::time::Duration;

use hermes_tests::gateway::run;
use hermes_tests::telegram::{Refusal, Telegram};
use hermes_tests::{Gateway, Home, home, http, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{ANN, GROUP, SWAPS, connection, echo, house, ledger, log, wait_connected};

const SECRET: &str = "hook-secret_0123456789";

/// A home whose default profile has a bot that is called.
fn called(telegram: &Telegram, url: &str) -> Home {
    let home = house(telegram, "");
    let env = home.read("default", ".env").unwrap();
    home.write(
        "default",
        ".env",
        &format!("{env}TELEGRAM_WEBHOOK_URL={url}\nTELEGRAM_WEBHOOK_SECRET={SECRET}\n"),
    );
    home
}

fn mode(gateway: &Gateway<'_>, profile: &str) -> Option<String> {
    gateway.profile(profile).platforms.get("telegram").and_then(|found| found.mode.clone())
}

/// Who knocks with this secret hears this.
fn knock(gateway: &Gateway<'_>, path: &str, secret: &str, body: &str) -> u16 {
    let headers = [("Content-Type", "application/json"), ("X-Telegram-Bot-Api-Secret-Token", secret)];
    http::request(&gateway.address("webhook"), "POST", path, &headers, body.as_bytes()).unwrap().status
}

#[test]
fn updates_are_brought_answered_and_confirmed_once_stored() {
    let telegram = Telegram::start();
    let home = called(&telegram, "https://hooks.example");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    assert_eq!(telegram.webhook(), "https://hooks.example/telegram");
    assert_eq!(mode(&gateway, "default").as_deref(), Some("webhook"));
    let set = telegram.calls("setWebhook").remove(0).fields;
    assert_eq!((&set["secret_token"], &set["drop_pending_updates"]), (&json!(SECRET), &json!(false)));
    assert!(set["allowed_updates"].as_array().unwrap().contains(&json!("callback_query")), "{set:?}");
    telegram.bring_to(&gateway.address("webhook"));
    telegram.say(ANN, "hello");
    telegram.say_with(GROUP, ANN, "in a group", &json!({}));
    let album = json!({"media_group_id": "a", "date": 1_700_000_000, "caption": "see"});
    telegram.attach(999, "photo", "", b"\xff\xd8\xffone", &album);
    telegram.attach(999, "video", "v.mp4", b"two!", &json!({"media_group_id": "a", "date": 1_700_000_000}));
    telegram.wait_seen(ANN, &echo("hello"));
    telegram.wait_seen(GROUP, &echo("in a group"));
    wait::until_true("the album", || telegram.seen_in(999).len() == 1);
    let album = telegram.seen_in(999).remove(0);
    assert!(album.contains("[image photo.jpg") && album.contains("v.mp4"), "{album}");
    assert!(telegram.calls("getUpdates").is_empty());
    assert_eq!((telegram.seen().len(), telegram.most_given()), (3, 1));
    let told = run(&home, &["status", "-p", "default"]);
    assert!(String::from_utf8_lossy(&told.stdout).contains("telegram connected (webhook)"), "{told:?}");
    assert!(!(log(&home) + &gateway.output()).contains(SECRET));
}

/// Only who says the secret is heard, and what he says is bounded; the same update again is the same message.
#[test]
fn a_stranger_at_the_door_is_not_heard() {
    let telegram = Telegram::start();
    let home = called(&telegram, "https://hooks.example/telegram/of/mine");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    assert_eq!(telegram.webhook(), "https://hooks.example/telegram/of/mine");
    let update = json!({"update_id": 77, "message": {"message_id": 5, "date": 1_700_000_000, "text": "hi",
        "chat": {"id": ANN, "type": "private"}, "from": {"id": ANN, "is_bot": false, "first_name": "Ann"}}});
    let update = update.to_string();
    // The chat exists for the service too.
    telegram.say(ANN, "never brought");
    for path in ["/telegram", "/telegram/", "/telegram/x/y"] {
        for secret in ["", "wrong", &SECRET[1..], &format!("{SECRET}x")] {
            assert_eq!(knock(&gateway, path, secret, &update), 401, "{path} {secret}");
        }
    }
    assert_eq!(knock(&gateway, "/telegram", SECRET, "{"), 400);
    assert_eq!(knock(&gateway, "/telegram", SECRET, &" ".repeat(2 << 20)), 413);
    let address = gateway.address("webhook");
    assert_eq!(http::request(&address, "GET", "/telegram", &[], b"").unwrap().status, 405);
    // An API listener is no door.
    let api = gateway.address("api_server");
    assert_eq!(http::request(&api, "POST", "/telegram", &[], update.as_bytes()).unwrap().status, 404);
    for _ in 0..3 {
        assert_eq!(knock(&gateway, "/telegram/of/mine", SECRET, &update), 200);
    }
    telegram.wait_seen(ANN, &echo("hi"));
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    assert_eq!(knock(&gateway, "/telegram", SECRET, &update), 200, "known to who comes later too");
    let odd = json!({"update_id": 78, "message": {"message_id": "none"}}).to_string();
    assert_eq!(knock(&gateway, "/telegram", SECRET, &odd), 200, "nobody could ever use it");
    assert_eq!(knock(&gateway, "/p/default/telegram", SECRET, r#"{"update_id": 79, "new_kind": {}}"#), 200);
    wait::pass(Duration::from_millis(500));
    assert_eq!(telegram.seen_in(ANN), [echo("hi")]);
    assert_eq!(log(&home).matches("does not know the webhook's secret").count(), 1, "{}", log(&home));
}

/// A profile beside the default one is called below its own prefix, by the same listener.
#[test]
fn a_served_profile_is_called_below_its_prefix() {
    let telegram = Telegram::start();
    let home = Home::new();
    let env = format!(
        "API_SERVER_KEY={}\n{}TELEGRAM_WEBHOOK_URL=https://hooks.example\nTELEGRAM_WEBHOOK_SECRET={SECRET}\n\
         TELEGRAM_WEBHOOK_PORT=8443\n",
        Home::key("coder"),
        telegram.env()
    );
    home.profile_with("coder", "agent: {engine: echo}\nplatforms: {telegram: {poll_seconds: 2}}\n", &env);
    let gateway = Gateway::start(&home);
    wait::until_true("the bot", || mode(&gateway, "coder").as_deref() == Some("webhook"));
    assert_eq!(telegram.webhook(), "https://hooks.example/p/coder/telegram");
    telegram.bring_to(&gateway.address("webhook"));
    telegram.say(ANN, "hello");
    telegram.wait_seen(ANN, &echo("hello"));
    let problems = gateway.profile("coder").problems;
    assert!(problems.iter().any(|problem| problem.code == "telegram_webhook_port"), "{problems:?}");
    assert_eq!(
        knock(&gateway, "/telegram", SECRET, r#"{"update_id": 1}"#),
        404,
        "the default profile has no bot"
    );
}

/// Where nobody listens for webhooks the bot is polled, and this is said; so it is after the webhook was taken out of the files.
#[test]
fn back_to_polling() {
    let telegram = Telegram::start();
    let home = called(&telegram, "https://hooks.example");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    assert_eq!(mode(&gateway, "default").as_deref(), Some("webhook"));
    // Nobody brings it: it waits at the service.
    telegram.say(ANN, "hello");
    let env = home.read("default", ".env").unwrap();
    let env: Vec<&str> = env.lines().filter(|line| !line.contains("WEBHOOK")).collect();
    home.write("default", ".env", &(env.join("\n") + "\n"));
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    telegram.wait_seen(ANN, &echo("hello"));
    assert_eq!((telegram.webhook().as_str(), mode(&gateway, "default").as_deref()), ("", Some("polling")));
    drop(gateway);
    let telegram = Telegram::start();
    let config = "agent: {engine: echo}\nplatforms:\n  api_server: {enabled: true, host: 127.0.0.1, port: 0}\n  telegram: {poll_seconds: 2}\n";
    let home = Home::with_config(config);
    let hook = format!("TELEGRAM_WEBHOOK_URL=https://hooks.example\nTELEGRAM_WEBHOOK_SECRET={SECRET}\n");
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}{hook}", home::DEFAULT_KEY, telegram.env()));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    assert_eq!(mode(&gateway, "default").as_deref(), Some("polling"));
    let problems = gateway.profile("default").problems;
    assert!(problems.iter().any(|problem| problem.code == "telegram_webhook_listener"), "{problems:?}");
}

/// `connected` is a promise here too: a webhook that is taken away, one that Telegram does not reach, and a token that is taken back are seen.
#[test]
fn what_happens_to_the_webhook_is_seen() {
    let telegram = Telegram::start();
    telegram.refuse("setWebhook", [Refusal::new(400, "Bad Request: bad webhook: Failed to resolve host")]);
    let home = called(&telegram, "https://hooks.example");
    let gateway = Gateway::start(&home);
    let is = |state: &str, code: &str| connection(&gateway) == (state.to_owned(), code.to_owned());
    wait::until_true("the refusal", || is("retrying", "telegram_webhook_refused"));
    wait_connected(&gateway);
    // Nobody listens where it leads.
    telegram.bring_to("127.0.0.1:1");
    telegram.say(ANN, "hello");
    wait::until_true("it to be seen", || is("retrying", "telegram_webhook_blocked"));
    assert!(log(&home).contains("Connection refused"), "{}", log(&home));
    telegram.bring_to(&gateway.address("webhook"));
    telegram.wait_seen(ANN, &echo("hello"));
    wait_connected(&gateway);
    telegram.set_webhook("https://elsewhere.example/");
    wait::until_true("the other one to be seen", || is("retrying", "telegram_webhook_conflict"));
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    wait_connected(&gateway);
    assert_eq!(telegram.webhook(), "https://hooks.example/telegram");
    telegram.set_token("1:another");
    wait::until_true("the token to be refused", || is("fatal", "telegram_invalid_auth"));
    let calls = telegram.all_calls().len();
    wait::pass(Duration::from_secs(3));
    assert_eq!(telegram.all_calls().len(), calls, "nobody asks any more");
}

/// Deaths and swaps while updates are brought: each is answered, and none twice without a mark.
#[test]
fn deaths_and_swaps_lose_and_double_nothing() {
    let telegram = Telegram::start();
    let home = called(&telegram, "https://hooks.example");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    telegram.bring_to(&gateway.address("webhook"));
    let mut texts = Vec::new();
    for n in 0..SWAPS {
        for part in 0..3 {
            let text = format!("swap {n}.{part}");
            telegram.say(ANN + i64::from(part), &text);
            texts.push(text);
        }
        let old = gateway.worker("default");
        if n % 3 == 2 {
            process::signal(old, Signal::SIGKILL);
        } else {
            assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
        }
        wait::until_true("another worker", || gateway.profile("default").pid.is_some_and(|pid| pid != old));
    }
    let answers =
        |text: &String| telegram.seen().iter().filter(|seen| seen.text.ends_with(&echo(text))).count();
    let plain = |text: &String| telegram.seen().iter().filter(|seen| seen.text == echo(text)).count();
    wait::until_true("every answer", || texts.iter().all(|text| answers(text) >= 1));
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    assert!(texts.iter().all(|text| plain(text) <= 1), "{:?}", telegram.seen());
    assert_eq!(ledger(&home).len(), texts.len());
    assert!(telegram.calls("getUpdates").is_empty());
}
