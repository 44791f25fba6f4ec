//! The settings of the bot, what its failed messages are to the ledger, and the requests that are made for a message.

use std::time::Duration;

use hermes_config::network::Network;
use hermes_wire::latest::Problem;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::delivery::outbound::{CHAT_ID, File, Message, Sign, Unsent};
use crate::inbound::{ASKS, CHOICES, DeliveryTarget};
use crate::platform::harness::{self, codes};
use crate::platform::settings::Quotes;

const TOKEN: &str = "MTIzNDU2.test.token-of-a-test";

/// What these files say of the platform, and what is wrong with them.
fn read(section: &str, env: &str) -> (Option<Settings>, Vec<Problem>) {
    harness::found(NAME, section, env)
}

/// The settings of a bot with more in its section.
pub(super) fn settings(extra: &str) -> Settings {
    let section = format!("platforms: {{discord: {{enabled: true, token: '{TOKEN}', {extra}}}}}\n");
    let (settings, problems) = read(&section, "");
    settings.unwrap_or_else(|| panic!("{problems:?}"))
}

#[test]
fn a_token_is_enough_and_variables_beat_the_file() {
    let (bot, problems) = read("", &format!("DISCORD_BOT_TOKEN={TOKEN}\n"));
    let bot = bot.unwrap();
    assert_eq!((codes(&problems), bot.fault), (vec![], None));
    assert_eq!((bot.base.as_str(), bot.gateway), ("https://discord.com/api/v10/", None));
    assert!(bot.require_mention && bot.ignore_no_mention && bot.auto_thread && bot.reactions && bot.typing);
    assert!(!bot.thread_require_mention && !bot.bots_require_inline && !bot.hide_commands);
    let calls = settings::Calls { everyone: false, roles: false, users: true, replied: true };
    assert_eq!((bot.calls, bot.quotes, bot.sync), (calls, Quotes::First, settings::Sync::Safe));
    assert_eq!((bot.batch, bot.largest), (Duration::from_millis(600), 32 * 1024 * 1024));
    let env = format!(
        "DISCORD_BOT_TOKEN=Bot {TOKEN}\nDISCORD_REQUIRE_MENTION=no\nDISCORD_ALLOWED_CHANNELS=1, 2\nDISCORD_REPLY_TO_MODE=off\n\
         DISCORD_API_BASE_URL=http://127.0.0.1:8081/\nDISCORD_GATEWAY_URL=ws://127.0.0.1:8082/\nDISCORD_COMMAND_SYNC_POLICY=bulk\n\
         DISCORD_ALLOW_MENTION_EVERYONE=true\n"
    );
    let section = "platforms: {discord: {token: other, require_mention: true, allowed_channels: [3], extra: {reply_to_mode: all, \
                   api_base_url: 'https://x.example', ignored_channels: ['*']}}}\n";
    let (bot, problems) = read(section, &env);
    let bot = bot.unwrap();
    assert_eq!(codes(&problems), [""; 0]);
    assert_eq!(bot.token.expose(), TOKEN);
    assert!(
        !bot.require_mention
            && bot.allowed_channels.holds_any(["2"])
            && !bot.allowed_channels.holds_any(["3"])
    );
    assert!(bot.ignored_channels.holds_any(["9"]) && bot.calls.everyone);
    assert_eq!((bot.quotes, bot.sync), (Quotes::None, settings::Sync::Bulk));
    assert_eq!(bot.base.as_str(), "http://127.0.0.1:8081/api/v10/");
    assert_eq!(bot.gateway.unwrap().as_str(), "ws://127.0.0.1:8082/");
    assert!(read("", "").0.is_none() && read("discord: {enabled: false}\n", &env).0.is_none());
}

#[test]
fn what_cannot_run_says_why_and_what_does_nothing_is_named() {
    let token = format!("DISCORD_BOT_TOKEN={TOKEN}\n");
    for (section, env, code) in [
        ("platforms: {discord: {enabled: true}}\n", String::new(), "discord_config_missing"),
        ("", "DISCORD_BOT_TOKEN=q q\n".to_owned(), "discord_invalid_auth"),
        ("", format!("{token}DISCORD_API_BASE_URL=http://10.0.0.1/\n"), "discord_base_url"),
        ("", format!("{token}DISCORD_API_BASE_URL=nothing\n"), "discord_base_url"),
        ("", format!("{token}DISCORD_GATEWAY_URL=ws://10.0.0.1/\n"), "discord_gateway_url"),
        ("", format!("{token}DISCORD_GATEWAY_URL=https://discord.com\n"), "discord_gateway_url"),
        ("platforms: {discord: {api_base_url: 'https://h/?x=1'}}\n", token.clone(), "discord_base_url"),
    ] {
        let (bot, problems) = read(section, &env);
        assert_eq!(codes(&problems), [code], "{section}{env}");
        assert!(problems[0].fix.is_some() && !problems[0].message.contains("q q"), "{problems:?}");
        let bot = bot.unwrap();
        assert_eq!(bot.fault.as_ref().unwrap().code, code);
        assert!(service::Service::new(&bot, &Network::default()).is_err());
    }
    let section = "platforms: {discord: {history_backfill_limit: some, missed_message_backfill: true, allow_any_attachment: true, text_batch_delay_seconds: 9}}\n";
    let env = format!(
        "{token}DISCORD_MISSED_MESSAGE_BACKFILL=true\nDISCORD_AUTO_THREAD=perhaps\nDISCORD_REPLY_TO_MODE=some\n"
    );
    let (bot, problems) = read(section, &env);
    let mut all = codes(&problems);
    all.sort_unstable();
    assert_eq!(all, ["unsupported", "unsupported", "wrong_type", "wrong_type", "wrong_type", "wrong_type"]);
    assert!(bot.is_some_and(|bot| bot.fault.is_none() && bot.auto_thread && bot.history == 50));
    let history = |lines: &str| read("", &format!("{token}{lines}")).0.unwrap().history;
    assert_eq!(history("DISCORD_HISTORY_BACKFILL_LIMIT=500\n"), 100);
    assert_eq!(history("DISCORD_HISTORY_BACKFILL_LIMIT=7\n"), 7);
    assert_eq!(history("DISCORD_HISTORY_BACKFILL=false\n"), 0);
    let (bot, problems) = read("", &format!("{token}DISCORD_MISSED_MESSAGE_BACKFILL=false\n"));
    assert!(bot.is_some() && problems.is_empty(), "what is off is not missed: {problems:?}");
}

/// Answers requests with `answers`, one each, and returns them: method and path, and the whole body.
async fn served(listener: TcpListener, answers: &[(u16, Value)]) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    for (status, answer) in answers {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let (head, body) = loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    break (head.to_owned(), body.to_owned());
                }
            }
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            assert!(read > 0, "{text}");
            request.extend_from_slice(&piece[..read]);
        };
        assert!(head.contains(&format!("Bot {TOKEN}")) || head.contains("/webhooks/"), "{head}");
        let words: Vec<&str> = head.split(' ').take(2).collect();
        seen.push((words.join(" ").replace("/api/v10", ""), body));
        let answer = if answer.is_null() { String::new() } else { answer.to_string() };
        let head =
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
    }
    seen
}

fn target(more: &[(&str, &str)]) -> DeliveryTarget {
    let extra = [(CHAT_ID, "100")].iter().chain(more);
    DeliveryTarget {
        kind: NAME.to_owned(),
        extra: extra.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

fn refused(status: u16, code: u64, message: &str) -> (u16, Value) {
    (status, json!({"code": code, "message": message}))
}

fn sent() -> (u16, Value) {
    (200, json!({"id": "77"}))
}

/// A way out to a service of a test.
async fn way(extra: &str) -> (TcpListener, Chats) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("api_base_url: 'http://{}', {extra}", listener.local_addr().unwrap());
    (listener, Chats::new(settings(&base), Network::default(), Arc::default()))
}

/// Sends `message` to a service that answers so; what came of it, and what was asked.
async fn send(
    target: &DeliveryTarget,
    message: Message<'_>,
    answers: &[(u16, Value)],
) -> (Result<Option<String>, Unsent>, Vec<(String, Value)>) {
    let (listener, way) = way("").await;
    let (asked, sent) = tokio::join!(served(listener, answers), way.send(target, message));
    let asked = asked.into_iter().map(|(path, body)| (path, serde_json::from_str(&body).unwrap_or_default()));
    (sent.map(|sent| sent.id), asked.collect())
}

fn message(text: &str) -> Message<'_> {
    Message { text, key: "k", repeated: false }
}

#[tokio::test]
async fn what_is_in_the_way_of_a_message_is_left_out() {
    let to = target(&[(outbound::REPLY_TO, "5")]);
    for refusal in
        [refused(400, 50035, "Cannot reply to a system message"), refused(400, 10008, "Unknown Message")]
    {
        let (id, asked) = send(&to, message("hi"), &[refusal, sent()]).await;
        assert_eq!(id, Ok(Some("77".to_owned())));
        assert!(asked.iter().all(|(path, _)| path == "POST /channels/100/messages"), "{asked:?}");
        let references: Vec<bool> =
            asked.iter().map(|(_, body)| !body["message_reference"].is_null()).collect();
        assert_eq!(references, [true, false]);
        assert_eq!(asked[0].1["allowed_mentions"]["parse"], json!(["users"]));
    }
    // A thread that was put away is opened.
    let thread = target(&[(outbound::THREAD_ID, "100")]);
    let (id, asked) =
        send(&thread, message("hi"), &[refused(400, 50083, "Thread is archived"), sent(), sent()]).await;
    assert_eq!(id, Ok(Some("77".to_owned())));
    assert_eq!((asked[1].0.as_str(), &asked[1].1), ("PATCH /channels/100", &json!({"archived": false})));
    // The answer to a command that was too long ago goes to the channel.
    let command = target(&[(outbound::COMMAND, "8 aW50")]);
    let (id, asked) = send(&command, message("hi"), &[refused(404, 10015, "Unknown Webhook"), sent()]).await;
    assert_eq!(id, Ok(Some("77".to_owned())));
    assert_eq!(
        (asked[0].0.as_str(), asked[1].0.as_str()),
        ("POST /webhooks/8/aW50?wait=true", "POST /channels/100/messages")
    );
    assert!(asked[0].1["nonce"].is_null() && asked[1].1["nonce"].as_str().unwrap().len() == 25);
}

/// A channel that takes posts only gets one, and what follows goes below it.
#[tokio::test]
async fn a_forum_gets_a_post() {
    let (listener, way) = way("").await;
    let answers = [
        refused(400, 50008, "Cannot send messages in a non-text channel"),
        (200, json!({"id": "100", "type": 15})),
        (200, json!({"id": "500"})),
        sent(),
    ];
    let to = target(&[]);
    let later = Message { text: "the rest", key: "k-9", repeated: false };
    let speak = async {
        let first = way.send(&to, message("# News of today\n\nall of it")).await;
        (first, way.send(&to, later).await)
    };
    let (asked, (first, second)) = tokio::join!(served(listener, &answers), speak);
    assert_eq!((first.unwrap().id.as_deref(), second.unwrap().id.as_deref()), (Some("500"), Some("77")));
    assert_eq!(asked[2].0, "POST /channels/100/threads");
    let post: Value = serde_json::from_str(&asked[2].1).unwrap();
    assert_eq!(
        (&post["name"], &post["message"]["content"]),
        (&json!("News of today"), &json!("# News of today\n\nall of it"))
    );
    assert_eq!(asked[3].0, "POST /channels/500/messages");
}

#[tokio::test]
async fn every_failure_says_whether_another_try_may_help() {
    let flood =
        (429, json!({"message": "You are being rate limited.", "retry_after": 30.5, "global": false}));
    for (answer, expected) in [
        (flood, (Some(30), false)),
        (refused(500, 0, "Internal Server Error"), (None, false)),
        (refused(401, 0, "401: Unauthorized"), (None, false)),
        ((502, json!("a proxy")), (None, true)),
        ((504, json!({"message": "Gateway Timeout"})), (None, true)),
        ((200, json!("nothing")), (None, false)),
    ] {
        let (result, _) = send(&target(&[]), message("hi"), std::slice::from_ref(&answer)).await;
        if answer.0 == 200 {
            assert_eq!(result, Ok(None), "it is there, without a name");
            continue;
        }
        let Err(Unsent::Later { after, unsure, reason }) = result else { panic!("{answer:?}: {result:?}") };
        assert_eq!((after.map(|after| after.as_secs()), unsure), expected, "{answer:?}");
        assert!(!reason.contains(TOKEN), "{reason}");
    }
    let thread = target(&[(outbound::THREAD_ID, "100")]);
    for (to, answer, is_gone) in [
        (target(&[]), refused(404, 10003, "Unknown Channel"), true),
        (target(&[]), refused(403, 50001, "Missing Access"), true),
        (target(&[]), refused(403, 50007, "Cannot send messages to this user"), true),
        (target(&[]), refused(403, 50013, "Missing Permissions"), false),
        (thread, refused(404, 10003, "Unknown Channel"), false),
        (target(&[]), refused(400, 50035, "Invalid Form Body"), false),
    ] {
        let (result, _) = send(&to, message("hi"), std::slice::from_ref(&answer)).await;
        let Err(Unsent::Never { gone, .. }) = result else { panic!("{answer:?}: {result:?}") };
        assert_eq!(gone, is_gone, "{answer:?}");
    }
    let nowhere = DeliveryTarget { kind: NAME.to_owned(), ..DeliveryTarget::default() };
    let named = target(&[(CHAT_ID, "../users/@me")]);
    for to in [nowhere, named] {
        let (_, way) = way("").await;
        assert!(matches!(way.send(&to, message("hi")).await, Err(Unsent::Never { .. })));
    }
}

/// Once Discord has said that the token is none, nobody asks for anything with it.
#[tokio::test]
async fn after_a_refusal_of_the_token_nothing_is_asked_for() {
    let (listener, way) = way("").await;
    let to = target(&[]);
    let answers = [refused(401, 0, "401: Unauthorized")];
    let (asked, first) = tokio::join!(served(listener, &answers), way.send(&to, message("hi")));
    assert_eq!((asked.len(), first.is_err()), (1, true));
    // Nobody listens any more: a request would say so.
    let second = way.send(&to, message("hi")).await.unwrap_err();
    assert!(second.to_string().contains("does not accept the token"), "{second}");
}

/// Discord knows a message by its nonce for minutes only: who reads it later is told.
#[tokio::test]
async fn what_may_be_there_already_has_a_mark_and_the_same_nonce() {
    let (_, first) = send(&target(&[]), message("hi"), &[sent()]).await;
    let (_, again) = send(&target(&[]), Message { repeated: true, ..message("hi") }, &[sent()]).await;
    let text = again[0].1["content"].as_str().unwrap();
    assert!(text.starts_with("♻️ Recovered reply") && text.ends_with("hi"), "{text}");
    assert_eq!(first[0].1["nonce"], again[0].1["nonce"]);
    let long = "x".repeat(1990);
    let (_, again) = send(&target(&[]), Message { repeated: true, ..message(&long) }, &[sent()]).await;
    let text = again[0].1["content"].as_str().unwrap();
    assert!(text.starts_with("♻️ x") && text.chars().count() <= 2000, "{text}");
}

#[tokio::test]
async fn a_file_goes_as_a_form() {
    let dir = tempfile::tempdir().unwrap();
    let path = camino::Utf8PathBuf::from_path_buf(dir.path().join("a.txt")).unwrap();
    fs_err::write(&path, "its text").unwrap();
    let (listener, way) = way("").await;
    let file = File {
        path: &path,
        name: "a\"b.txt",
        media_type: "text/plain",
        shown: false,
        key: "k",
        repeated: false,
    };
    let to = target(&[(outbound::REPLY_TO, "5")]);
    let answers = [self::sent()];
    let (asked, sent) = tokio::join!(served(listener, &answers), way.send_file(&to, file));
    assert_eq!(sent.unwrap().id.as_deref(), Some("77"));
    let (path_asked, body) = &asked[0];
    assert_eq!(path_asked, "POST /channels/100/messages");
    assert!(
        body.contains(
            "name=\"files[0]\"; filename=\"a_b.txt\"\r\nContent-Type: text/plain\r\n\r\nits text\r\n--"
        ),
        "{body}"
    );
    assert!(body.contains("name=\"payload_json\"") && body.contains("\"message_reference\""), "{body}");
    let gone = File { path: camino::Utf8Path::new("/no/such/file"), ..file };
    assert!(matches!(way.send_file(&to, gone).await, Err(Unsent::Never { .. })));
    fs_err::write(&path, vec![0; 10 * 1024 * 1024 + 1]).unwrap();
    assert!(
        matches!(way.send_file(&to, file).await, Err(Unsent::Never { reason, .. }) if reason.contains("longer"))
    );
}

/// One sign at a time, at the message, wherever the answer goes.
#[tokio::test]
async fn a_sign_stands_at_the_message() {
    let (listener, way) = way("").await;
    let to = target(&[(outbound::REPLY_TO, "5"), (outbound::MESSAGE_CHANNEL, "9")]);
    let done = (204, Value::Null);
    let answers = [done.clone(), done.clone(), done.clone(), done];
    let show = async {
        way.react(&to, Sign::Seen).await;
        way.react(&to, Sign::Done).await;
        way.react(&to, Sign::Nothing).await;
        // Nothing to show it at.
        way.react(&target(&[]), Sign::Seen).await;
    };
    let (asked, ()) = tokio::join!(served(listener, &answers), show);
    let asked: Vec<&str> = asked.iter().map(|(path, _)| path.as_str()).collect();
    let eyes = "/channels/9/messages/5/reactions/%F0%9F%91%80/@me";
    assert_eq!(
        asked,
        [
            format!("PUT {eyes}"),
            format!("DELETE {eyes}"),
            "PUT /channels/9/messages/5/reactions/%E2%9C%85/@me".to_owned(),
            format!("DELETE {eyes}"),
        ]
    );
    let abilities = way.abilities();
    assert!(abilities.reacts && abilities.edits && abilities.files == Some(10 * 1024 * 1024));
}

#[tokio::test]
async fn a_question_has_buttons_below_its_first_part_only() {
    let to = target(&[(ASKS, "1.5"), (CHOICES, "once,deny")]);
    let (_, first) = send(&to, message("may I?"), &[sent()]).await;
    assert_eq!(first[0].1["components"][0]["components"].as_array().unwrap().len(), 2);
    let (_, later) = send(&to, Message { key: "k-9", ..message("more") }, &[sent()]).await;
    assert!(later[0].1["components"].is_null());
}

#[tokio::test]
async fn a_message_is_edited_in_its_place() {
    let (listener, way) = way("").await;
    let to = target(&[(outbound::REPLY_TO, "5")]);
    let answers = [sent()];
    let (asked, edited) = tokio::join!(served(listener, &answers), way.edit(&to, "77", "new @everyone"));
    assert_eq!(edited, Ok(()));
    assert_eq!(asked[0].0, "PATCH /channels/100/messages/77");
    let body: Value = serde_json::from_str(&asked[0].1).unwrap();
    assert_eq!(
        body,
        json!({"content": "new @everyone", "allowed_mentions": {"parse": ["users"], "replied_user": true}})
    );
    assert!(way.edit(&to, "no number", "x").await.is_err());
}
