//! The settings of the bot, what its failed messages are to the ledger, and the requests that are made for a message.

use std::time::Duration;

use hermes_config::network::Network;
use hermes_wire::latest::Problem;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::delivery::outbound::{CHAT_ID, Message, Unsent};
use crate::inbound::DeliveryTarget;
use crate::platform::harness::{self, codes};
use crate::platform::settings::Quotes;

const TOKEN: &str = "123456:AAtoken-of-a-test";

/// What these files say of the platform, and what is wrong with them.
fn read(section: &str, env: &str) -> (Option<Settings>, Vec<Problem>) {
    harness::found(NAME, section, env)
}

/// The settings of a bot with more in its section.
pub(super) fn settings(extra: &str) -> Settings {
    let section = format!("platforms: {{telegram: {{enabled: true, token: '{TOKEN}', {extra}}}}}\n");
    let (settings, problems) = read(&section, "");
    settings.unwrap_or_else(|| panic!("{problems:?}"))
}

#[test]
fn a_token_is_enough_and_variables_beat_the_file() {
    let (bot, problems) = read("", &format!("TELEGRAM_BOT_TOKEN={TOKEN}\n"));
    let bot = bot.unwrap();
    assert_eq!((codes(&problems), bot.fault), (vec![], None));
    assert_eq!(bot.base.as_str(), "https://api.telegram.org/bot");
    assert_eq!(bot.files.as_str(), "https://api.telegram.org/file/bot");
    assert_eq!(
        (bot.require_mention, bot.exclusive_bot_mentions, bot.typing, bot.previews),
        (false, true, true, true)
    );
    let env = format!(
        "TELEGRAM_BOT_TOKEN={TOKEN}\nTELEGRAM_REQUIRE_MENTION=yes\nTELEGRAM_ALLOWED_CHATS=-1, -2\nTELEGRAM_REPLY_TO_MODE=off\n\
         TELEGRAM_API_BASE_URL=http://127.0.0.1:8081/\nTELEGRAM_MENTION_PATTERNS=[\"^a,b\"]\n"
    );
    let section = "platforms: {telegram: {token: other, require_mention: false, allowed_chats: [3], extra: {reply_to_mode: all, \
                   mention_patterns: [x], base_url: 'https://x.example'}}}\n";
    let (bot, problems) = read(section, &env);
    let bot = bot.unwrap();
    assert_eq!(codes(&problems), [""; 0]);
    assert_eq!(bot.token.expose(), TOKEN);
    assert!(bot.require_mention && bot.allowed_chats.iter().eq(["-1", "-2"]));
    assert_eq!((bot.quotes, bot.mention_patterns), (Quotes::None, vec!["^a,b".to_owned()]));
    assert_eq!(bot.base.as_str(), "http://127.0.0.1:8081/bot");
    assert!(read("", "").0.is_none() && read("telegram: {enabled: false}\n", &env).0.is_none());
}

#[test]
fn what_cannot_run_says_why_and_what_does_nothing_is_named() {
    for (section, env, code) in [
        ("platforms: {telegram: {enabled: true}}\n", "", "telegram_config_missing"),
        ("", "TELEGRAM_BOT_TOKEN=a/b\n", "telegram_invalid_auth"),
        ("", "TELEGRAM_BOT_TOKEN=1:a\nTELEGRAM_API_BASE_URL=http://10.0.0.1/\n", "telegram_base_url"),
        ("", "TELEGRAM_BOT_TOKEN=1:a\nTELEGRAM_API_BASE_URL=nothing\n", "telegram_base_url"),
        (
            "platforms: {telegram: {base_url: 'ftp://127.0.0.1'}}\n",
            "TELEGRAM_BOT_TOKEN=1:a\n",
            "telegram_base_url",
        ),
        (
            "platforms: {telegram: {base_url: 'https://h/?x=1'}}\n",
            "TELEGRAM_BOT_TOKEN=1:a\n",
            "telegram_base_url",
        ),
    ] {
        let (bot, problems) = read(section, env);
        assert_eq!(codes(&problems), [code], "{section}{env}");
        assert!(problems[0].fix.is_some() && !problems[0].message.contains("a/b"), "{problems:?}");
        let bot = bot.unwrap();
        assert_eq!(bot.fault.as_ref().unwrap().code, code);
        assert!(service::Service::new(&bot, &Network::default(), Arc::default()).is_err());
    }
    let section = "platforms: {telegram: {rich_messages: true, mention_patterns: ['(', 'ok'], text_batch_delay_seconds: 9}}\n";
    let env = "TELEGRAM_BOT_TOKEN=1:a\nTELEGRAM_REACTIONS=true\nTELEGRAM_GUEST_MODE=perhaps\nTELEGRAM_REPLY_TO_MODE=some\n";
    let (bot, problems) = read(section, env);
    let bot = bot.unwrap();
    let mut all = codes(&problems);
    all.sort_unstable();
    assert_eq!(all, ["mention_pattern", "unsupported", "wrong_type", "wrong_type", "wrong_type"]);
    assert_eq!((bot.fault, bot.mention_patterns, bot.guest_mode), (None, vec!["ok".to_owned()], false));
    assert!(bot.reactions);
    let (bot, problems) =
        read("", "TELEGRAM_BOT_TOKEN=1:a\nTELEGRAM_OBSERVE_UNMENTIONED_GROUP_MESSAGES=false\n");
    assert!(
        bot.is_some_and(|bot| !bot.reactions) && problems.is_empty(),
        "what is off is not missed: {problems:?}"
    );
}

#[test]
fn a_webhook_needs_a_secret_and_somebody_who_listens() {
    let listens = "platforms: {webhook: {enabled: true, host: 127.0.0.1, secret: a-secret-of-a-test}}\n";
    let of = |section: &str, env: &str| read(section, &format!("TELEGRAM_BOT_TOKEN=1:a\n{env}"));
    for (env, code) in [
        ("TELEGRAM_WEBHOOK_URL=https://h.example\n", "telegram_webhook_secret"),
        (
            "TELEGRAM_WEBHOOK_URL=https://h.example\nTELEGRAM_WEBHOOK_SECRET=\"a b\"\n",
            "telegram_webhook_secret",
        ),
        ("TELEGRAM_WEBHOOK_URL=http://h.example\nTELEGRAM_WEBHOOK_SECRET=s\n", "telegram_webhook_url"),
        ("TELEGRAM_WEBHOOK_URL=nowhere\nTELEGRAM_WEBHOOK_SECRET=s\n", "telegram_webhook_url"),
    ] {
        let (bot, problems) = of(listens, env);
        let bot = bot.unwrap();
        assert_eq!((codes(&problems), bot.hook), (vec![code], None), "{env}");
        assert_eq!(bot.fault.unwrap().code, code);
        assert!(problems[0].fix.is_some() && !problems[0].message.contains("a b"), "{problems:?}");
    }
    let secret = "TELEGRAM_WEBHOOK_SECRET=s-3_\n";
    for (url, expected) in [
        ("https://h.example", "https://h.example/telegram"),
        ("https://h.example/", "https://h.example/telegram"),
        ("https://h.example/bots/of/mine?x=1", "https://h.example/bots/of/mine?x=1"),
        ("http://127.0.0.1:8644/telegram", "http://127.0.0.1:8644/telegram"),
    ] {
        let (bot, problems) = of(listens, &format!("TELEGRAM_WEBHOOK_URL={url}\n{secret}"));
        assert_eq!(codes(&problems), [""; 0]);
        assert_eq!(bot.unwrap().hook.unwrap().url.as_str(), expected);
    }
    let (bot, problems) = of("", &format!("TELEGRAM_WEBHOOK_URL=https://h.example\n{secret}"));
    let bot = bot.unwrap();
    assert_eq!((codes(&problems), bot.hook, bot.fault), (vec!["telegram_webhook_listener"], None, None));
    let (bot, problems) =
        of(listens, &format!("TELEGRAM_WEBHOOK_URL=https://h.example\n{secret}TELEGRAM_WEBHOOK_PORT=8443\n"));
    assert!(bot.unwrap().hook.is_some() && codes(&problems) == ["telegram_webhook_port"], "{problems:?}");
    let (_, problems) = of("platforms: {telegram: {rich_messages: true}}\n", "");
    assert_eq!(codes(&problems), ["unsupported"], "what is left out is said");
}

#[test]
fn topics_and_other_addresses_are_read_and_what_is_none_of_them_is_said() {
    let of = |section: &str, env: &str| {
        let section = format!("platforms: {{telegram: {{{section}}}}}\n");
        read(&section, &format!("TELEGRAM_BOT_TOKEN=1:a\n{env}"))
    };
    let yaml = "dm_topics: [{chat_id: '777', topics: [{name: Work, icon_color: 7322096}, {name: ' Home ', thread_id: 3}]}]";
    let (bot, problems) = of(yaml, "");
    let bot = bot.unwrap();
    assert_eq!((codes(&problems), bot.topics.len()), (vec![], 2));
    assert_eq!((bot.topics[0].chat, bot.topics[0].color, bot.topics[0].thread), (777, Some(7_322_096), None));
    assert_eq!((bot.topics[1].name.as_str(), bot.topics[1].thread), ("Home", Some(3)));
    for (odd, left) in [
        ("dm_topics: [{chat_id: x, topics: [{name: Work}]}]", 0),
        ("dm_topics: [{chat_id: 7, topics: [{name: ''}, {name: Work}]}]", 1),
        ("dm_topics: [{chat_id: 7}]", 0),
        ("dm_topics: Work", 0),
    ] {
        let (bot, problems) = of(odd, "");
        assert_eq!((codes(&problems), bot.unwrap().topics.len()), (vec!["wrong_type"], left), "{odd}");
    }
    let (bot, problems) = of("dm_topics: [{chat_id: 7, topics: [{name: Work, skill: a}]}]", "");
    assert_eq!((codes(&problems), bot.unwrap().topics.len()), (vec!["unsupported"], 1));

    let ips = |yaml: &str, env: &str| {
        let (bot, problems) = of(yaml, env);
        (bot.unwrap().fallback.map(|all| all.len()), problems.len())
    };
    assert_eq!(ips("", ""), (Some(0), 0));
    assert_eq!(ips("", "TELEGRAM_FALLBACK_IPS=149.154.167.220, 149.154.167.99\n"), (Some(2), 0));
    assert_eq!(ips("fallback_ips: [149.154.167.220, telegram.org]", ""), (Some(1), 1));
    assert_eq!(ips("fallback_ips: [149.154.167.220], base_url: 'http://127.0.0.1:9'", ""), (None, 0));
    assert_eq!(ips("", "HERMES_TELEGRAM_DISABLE_FALLBACK_IPS=true\n"), (None, 0));
}

/// Answers requests with `answers`, one each, and returns them: path and body.
async fn served(listener: TcpListener, answers: &[(u16, Value)]) -> Vec<(String, Value)> {
    let mut seen = Vec::new();
    for (status, answer) in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let (head, body) = loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n")
                && let Ok(body) = serde_json::from_str::<Value>(body)
            {
                break (head.to_owned(), body);
            }
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "{text}");
            request.extend_from_slice(&piece[..read]);
        };
        seen.push((head.split(' ').nth(1).unwrap().to_owned(), body));
        let answer = answer.to_string();
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
    }
    seen
}

fn target(more: &[(&str, &str)]) -> DeliveryTarget {
    let extra = [(CHAT_ID, "-100")].iter().chain(more);
    DeliveryTarget {
        kind: NAME.to_owned(),
        extra: extra.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

fn refused(status: u16, description: &str) -> (u16, Value) {
    (status, json!({"ok": false, "error_code": status, "description": description}))
}

fn sent() -> (u16, Value) {
    (200, json!({"ok": true, "result": {"message_id": 77}}))
}

/// Sends `message` to a service that answers so; what came of it, and what was asked.
async fn send(
    extra: &str,
    target: &DeliveryTarget,
    message: Message<'_>,
    answers: &[(u16, Value)],
) -> (Result<Option<String>, Unsent>, Vec<(String, Value)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("base_url: 'http://{}', {extra}", listener.local_addr().unwrap());
    let way = Chats::new(settings(&base), Network::default(), Arc::default());
    let (asked, sent) = tokio::join!(served(listener, answers), way.send(target, message));
    (sent.map(|sent| sent.id), asked)
}

fn message(text: &str) -> Message<'_> {
    Message { text, key: "k", repeated: false }
}

#[tokio::test]
async fn what_is_in_the_way_of_a_message_is_left_out() {
    let to = target(&[(outbound::THREAD_ID, "9"), (outbound::REPLY_TO, "5")]);
    let answers = [
        refused(400, "Bad Request: message to be replied not found"),
        refused(400, "Bad Request: message thread not found"),
        sent(),
    ];
    let (id, asked) = send("", &to, message("hi"), &answers).await;
    assert_eq!(id, Ok(Some("77".to_owned())));
    assert!(asked.iter().all(|(path, _)| *path == format!("/bot{TOKEN}/sendMessage")), "{asked:?}");
    let keys = ["reply_parameters", "message_thread_id"];
    let has: Vec<[bool; 2]> = asked.iter().map(|(_, body)| keys.map(|key| !body[key].is_null())).collect();
    assert_eq!(has, [[true, true], [false, true], [false, false]]);

    let moved = (
        400,
        json!({"ok": false, "error_code": 400, "description": "Bad Request: group chat was upgraded to a supergroup chat",
        "parameters": {"migrate_to_chat_id": -1_001_234}}),
    );
    let (id, asked) = send("reply_to_mode: off", &to, message("hi"), &[moved, sent()]).await;
    assert_eq!(id, Ok(Some("77".to_owned())));
    let chats: Vec<i64> = asked.iter().map(|(_, body)| body["chat_id"].as_i64().unwrap()).collect();
    assert_eq!(chats, [-100, -1_001_234]);
    assert!(asked[0].1["reply_parameters"].is_null());
}

#[tokio::test]
async fn every_failure_says_whether_another_try_may_help() {
    let to = target(&[]);
    let flood = (
        429,
        json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 7", "parameters": {"retry_after": 7}}),
    );
    for (answer, expected) in [
        (flood, (Some(7), false)),
        (refused(502, "Bad Gateway"), (None, false)),
        (refused(401, "Unauthorized"), (None, false)),
        ((502, json!("a proxy")), (None, true)),
        ((200, json!("nothing")), (None, true)),
    ] {
        let (result, _) = send("", &to, message("hi"), std::slice::from_ref(&answer)).await;
        let Err(Unsent::Later { after, unsure, reason }) = result else { panic!("{answer:?}: {result:?}") };
        assert_eq!((after.map(|after| after.as_secs()), unsure), expected, "{answer:?}");
        assert!(!reason.contains(TOKEN), "{reason}");
    }
    for description in ["Forbidden: bot was blocked by the user", "Bad Request: chat not found"] {
        let status = if description.starts_with('F') { 403 } else { 400 };
        let (result, _) = send("", &to, message("hi"), &[refused(status, description)]).await;
        assert!(
            matches!(&result, Err(Unsent::Never { reason, .. }) if reason.contains(description)),
            "{result:?}"
        );
    }
}

/// A text that the service does not read as it is marked up goes out all the same.
#[tokio::test]
async fn what_is_no_markup_goes_out_plain() {
    let answers = [refused(400, "Bad Request: can't parse entities: Character '.' is reserved"), sent()];
    let (id, asked) = send("", &target(&[]), message("**b**. `c`"), &answers).await;
    assert_eq!(id, Ok(Some("77".to_owned())));
    assert_eq!(
        (&asked[0].1["text"], &asked[0].1["parse_mode"]),
        (&json!("*b*\\. `c`"), &json!("MarkdownV2"))
    );
    assert_eq!((&asked[1].1["text"], &asked[1].1["parse_mode"]), (&json!("b. c"), &Value::Null));
}

/// Telegram shows a message twice that is sent twice: who reads it is told.
#[tokio::test]
async fn what_may_be_there_already_has_a_mark() {
    let repeated = Message { repeated: true, ..message("hi") };
    let (id, asked) = send("", &target(&[]), repeated, &[sent()]).await;
    assert!(id.is_ok());
    let text = asked[0].1["text"].as_str().unwrap();
    assert!(text.starts_with("♻️ Recovered reply") && text.ends_with("hi"), "{text}");
    let long = "x".repeat(4090);
    let repeated = Message { repeated: true, ..message(&long) };
    let (_, asked) = send("", &target(&[]), repeated, &[sent()]).await;
    let text = asked[0].1["text"].as_str().unwrap();
    assert!(text.starts_with("♻️ x") && text.encode_utf16().count() <= 4096, "{text}");
}

#[tokio::test]
async fn a_message_that_says_so_already_is_edited() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bot = settings(&format!("base_url: 'http://{}/bot'", listener.local_addr().unwrap()));
    let way = Chats::new(bot, Network::default(), Arc::default());
    let to = target(&[(outbound::REPLY_TO, "5")]);
    let answers =
        [refused(400, "Bad Request: message is not modified: specified new message content is the same")];
    let (asked, edited) = tokio::join!(served(listener, &answers), way.edit(&to, "77", "new"));
    assert_eq!(edited, Ok(()));
    assert_eq!(asked[0].0, format!("/bot{TOKEN}/editMessageText"));
    assert_eq!((asked[0].1["message_id"].clone(), asked[0].1["text"].clone()), (json!(77), json!("new")));
    assert!(way.edit(&to, "no number", "x").await.is_err());
    assert_eq!(way.abilities().typing, Some(Duration::from_secs(4)));
}

/// Who edits too often hears for how long not to.
#[tokio::test]
async fn an_edit_too_many_says_for_how_long_to_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bot = settings(&format!("base_url: 'http://{}/bot'", listener.local_addr().unwrap()));
    let way = Chats::new(bot, Network::default(), Arc::default());
    let flood = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 9",
        "parameters": {"retry_after": 9}});
    let to = target(&[]);
    let answers = [(429, flood)];
    let (_, edited) = tokio::join!(served(listener, &answers), way.edit(&to, "77", "new"));
    let Err(Unsent::Later { after, unsure, .. }) = edited else { panic!("{edited:?}") };
    assert_eq!((after.map(|after| after.as_secs()), unsure), (Some(9), false));
}

/// A flood is about one method in one chat: what it is about is not asked meanwhile, and everything else is.
#[tokio::test]
async fn what_telegram_wants_none_of_is_not_asked_meanwhile() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bot = settings(&format!("base_url: 'http://{}/bot'", listener.local_addr().unwrap()));
    let way = Chats::new(bot, Network::default(), Arc::default());
    let (to, other) = (target(&[]), target(&[(CHAT_ID, "-200")]));
    let flood = json!({"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 9",
        "parameters": {"retry_after": 9}});
    let typing = async {
        way.typing(&to).await;
        way.typing(&to).await;
        way.typing(&other).await;
        way.send(&to, message("hi")).await
    };
    let answers = [(429, flood), (200, json!({"ok": true, "result": true})), sent()];
    let (asked, sent) = tokio::join!(served(listener, &answers), typing);
    let asked: Vec<(&str, i64)> = asked
        .iter()
        .map(|(path, body)| (path.rsplit('/').next().unwrap(), body["chat_id"].as_i64().unwrap()))
        .collect();
    assert_eq!(asked, [("sendChatAction", -100), ("sendChatAction", -200), ("sendMessage", -100)]);
    assert!(sent.is_ok(), "{sent:?}");
}

/// A token that is taken back is asked about once, whoever speaks.
#[tokio::test]
async fn nothing_is_asked_with_a_token_that_is_none() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bot = settings(&format!("base_url: 'http://{}/bot'", listener.local_addr().unwrap()));
    let common: Arc<Common> = Arc::default();
    let way = Chats::new(bot, Network::default(), Arc::clone(&common));
    let to = target(&[]);
    let answers = [refused(401, "Unauthorized")];
    let sending = async {
        let first = way.send(&to, message("hi")).await;
        way.typing(&to).await;
        (first, way.send(&to, message("again")).await)
    };
    let (asked, (first, again)) = tokio::join!(served(listener, &answers), sending);
    assert_eq!(asked.len(), 1);
    for unsent in [first, again] {
        assert!(matches!(unsent, Err(Unsent::Later { unsure: false, .. })), "{unsent:?}");
    }
    let down = waits::Failures::default().down(&common.refused().await);
    assert_eq!(down.code, "telegram_invalid_auth");
}
