//! What people and the bot do with each other beside asking and answering: strangers, commands, buttons, files, threads of others, several
//! workspaces, long texts.

use std::time::Duration;

use hermes_tests::chats;
use hermes_tests::gateway::{both, run};
use hermes_tests::provider::Provider;
use hermes_tests::slack::{BOT, CHANNEL, Refusal, Slack, TOKEN};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::json;

use super::{ANN, DM, NEVER, echo, house, log, wait_connected};

pub(super) const BOB: &str = "U0BOB";

/// A home whose default profile has the bot and a model behind it.
pub(super) fn with_model(slack: &Slack, provider: &Provider, more: &str) -> Home {
    let config = Home::config("true", "").replace("engine: echo, ", "");
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    let keys = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=key\n{}", home::DEFAULT_KEY, slack.env());
    home.write("default", ".env", &keys);
    home
}

/// A home whose default profile has the bot, for these people.
fn for_some(slack: &Slack, people: &str) -> Home {
    let home = house(slack, "");
    let keys = format!("API_SERVER_KEY={}\n{}{people}", home::DEFAULT_KEY, slack.env_for_some());
    home.write("default", ".env", &keys);
    home
}

#[test]
fn a_stranger_is_let_in_by_code() {
    let slack = Slack::start();
    let home = for_some(&slack, "");
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.say(CHANNEL, ANN, &format!("<@{BOT}> anybody here?"));
    slack.say(DM, ANN, "let me in");
    let offer = wait::until("a code to be offered", || slack.seen().pop());
    assert_eq!((slack.seen().len(), offer.channel.as_str()), (1, DM));
    let code = offer.text.split('`').nth(1).unwrap().to_owned();
    assert!(log(&home).contains("Unauthorized user: U0ANN (0ann) on slack"), "{}", log(&home));
    assert!(both(&run(&home, &["pairing", "approve", "slack", &code])).contains("Approved!"));
    slack.say(DM, ANN, "thank you");
    slack.wait_seen(DM, &echo("thank you"));
}

/// What the model wants to do is allowed by a button, by whoever may talk to the bot and by nobody else; a press that comes too late
/// allows nothing else.
#[test]
fn a_button_answers_its_question() {
    let (slack, provider) = (Slack::start(), Provider::start());
    let home = with_model(&slack, &provider, "approvals: {mode: manual, timeout: 60}\n");
    let keys = home
        .read("default", ".env")
        .unwrap()
        .replace("SLACK_ALLOW_ALL_USERS=true", "SLACK_ALLOWED_USERS=U0ANN");
    home.write("default", ".env", &keys);
    let results = chats::wants_a_command(&provider);
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    let root = slack.say(CHANNEL, ANN, &format!("<@{BOT}> go"));
    let question = wait::until("the question", || slack.seen().pop());
    let labels: Vec<&str> = question.buttons.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["✅ Once", "✅ In this conversation", "✅ Always", "❌ No"]);
    assert!(
        question.text.contains("git reset --hard") && question.thread.as_ref() == Some(&root),
        "{question:?}"
    );
    let bobs = slack.press(BOB, "Once");
    assert_eq!(slack.wait_response(&bobs)["text"], "That question is not for you.");
    assert_eq!(slack.wait_response(&bobs)["response_type"], "ephemeral");
    assert!(home.read("default", "workspace/log").is_none());
    let once = question.buttons[0].1.clone();
    let anns = slack.press(ANN, "Once");
    slack.wait_seen(CHANNEL, "all done");
    let shown = slack.wait_response(&anns);
    assert!(
        shown["text"].as_str().unwrap().ends_with("✅ Once · 0ann") && shown["replace_original"] == true,
        "{shown}"
    );
    assert_eq!(home.read("default", "workspace/log").unwrap(), "ran\n");
    assert!(slack.seen()[0].buttons.is_empty());
    // Another question, and a press of the first one's button.
    slack.say_in(CHANNEL, &root, ANN, "again");
    wait::until_true("another question", || slack.seen().iter().any(|seen| !seen.buttons.is_empty()));
    let late = slack.press_with(&question, ANN, &once);
    assert!(slack.wait_response(&late)["text"].as_str().unwrap().contains("That question is over."));
    slack.press(ANN, "No");
    wait::until_true("the refusal", || results.lock().unwrap().len() == 2);
    assert_eq!(home.read("default", "workspace/log").unwrap(), "ran\n");
    // A button of nobody's.
    let odd = json!({"action_id": "hermes_feedback", "value": "1", "type": "button"});
    slack.press_with(&question, ANN, &odd);
    wait::until_true("all to be acknowledged", || slack.unacknowledged() == 0);
}

/// Commands are answered for their caller's eyes, at once, and where that is not possible any more in private.
#[test]
fn commands_are_answered_where_they_were_called() {
    let slack = Slack::start();
    let home = for_some(&slack, "SLACK_ALLOWED_USERS=U0ANN\n");
    let gateway = Gateway::start(&home);
    slack.wait_heard();
    let text = |name: &str| slack.wait_response(name)["text"].as_str().unwrap().to_owned();
    let help = slack.slash(CHANNEL, ANN, "/hermes", "");
    assert!(text(&help).contains("/status"), "{}", text(&help));
    assert_eq!(slack.wait_response(&help)["response_type"], "ephemeral");
    assert!(text(&slack.slash(CHANNEL, ANN, "/hermes", "whoami")).contains("U0ANN"));
    assert!(text(&slack.slash(DM, ANN, "/status", "")).len() > 10);
    assert_eq!(text(&slack.slash(DM, ANN, "/hermes", "what is up?")), echo("what is up?"));
    slack.slash(CHANNEL, BOB, "/hermes", "whoami");
    wait::until_true("all to be acknowledged", || slack.unacknowledged() == 0);
    wait::until_true("it to be said", || log(&home).contains("Unauthorized user: U0BOB (0bob) on slack"));
    assert!(slack.seen().is_empty(), "nobody else sees anything: {:?}", slack.seen());
    // By the sign that people can type, in its own thread.
    let root = slack.say(CHANNEL, ANN, &format!("<@{BOT}> !whoami"));
    let seen = wait::until("an answer", || slack.seen().pop());
    assert_eq!(seen.thread, Some(root));
    // The address is not good any more.
    slack.expire("gone");
    let fields = slack.slash_fields("gone", CHANNEL, ANN, "/hermes", "whoami");
    let mut whispered = "ephemeral ".to_owned();
    whispered.push_str(CHANNEL);
    assert!(slack.responses(&whispered).is_empty());
    drop(gateway);
    let secret = "SIGNING-SECRET";
    let keys = home.read("default", ".env").unwrap();
    home.write("default", ".env", &format!("{keys}SLACK_SIGNING_SECRET={secret}\nSLACK_MODE=http\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let answer = super::requests::form(&gateway, "/slack/commands", secret, &fields);
    assert_eq!(answer.status, 200);
    assert_eq!(slack.wait_response(&whispered)["user"], ANN);
    slack.close(CHANNEL);
    let fields = slack.slash_fields("gone", CHANNEL, ANN, "/hermes", "model");
    super::requests::form(&gateway, "/slack/commands", secret, &fields);
    wait::until_true("an answer in private", || !slack.seen_in(DM).is_empty());
}

#[test]
fn files_come_along_and_slacks_page_for_strangers_is_none() {
    let slack = Slack::start();
    let home = house(&slack, "");
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    let bytes: Vec<u8> = [b"\x89PNG\r\n\x1a\n".as_slice(), &vec![7; 100_000]].concat();
    slack.attach(DM, ANN, "look", "a.png", "image/png", &bytes);
    let answer = wait::until("an answer about the file", || slack.seen_in(DM).pop());
    assert!(answer.starts_with(&echo("look\n[image a.png (image/png, 100008 bytes): ")), "{answer}");
    let path = answer.split(": ").last().unwrap().trim_end_matches(']');
    assert_eq!(fs_err::read(path).unwrap(), bytes);
    // Elsewhere, gone, or not for the bot.
    let mut elsewhere = slack.file("b.txt", "text/plain", b"text");
    elsewhere["url_private"] = "https://docs.example.org/b.txt".into();
    elsewhere["url_private_download"] = json!(null);
    slack.say_with(DM, ANN, "elsewhere", &json!({"subtype": "file_share", "files": [elsewhere]}));
    let answer =
        wait::until("an answer", || slack.seen_in(DM).into_iter().find(|seen| seen.contains("elsewhere")));
    assert!(answer.contains("could not be fetched"), "{answer}");
    // What a message does not say of a file is asked for.
    let whole = slack.file("d.txt", "text/plain", b"asked for");
    let bare = json!({"id": whole["id"], "file_access": "check_file_info"});
    slack.say_with(DM, ANN, "shared", &json!({"subtype": "file_share", "files": [bare]}));
    let answer =
        wait::until("an answer", || slack.seen_in(DM).into_iter().find(|seen| seen.contains("shared")));
    assert!(answer.contains("d.txt") && !answer.contains("could not be fetched"), "{answer}");
    slack.allow("chat:write,users:read");
    slack.attach(DM, ANN, "hidden", "c.txt", "text/plain", b"text");
    let answer =
        wait::until("an answer", || slack.seen_in(DM).into_iter().find(|seen| seen.contains("hidden")));
    assert!(answer.contains("could not be fetched") && log(&home).contains("files:read"), "{answer}");
}

/// A file that Slack does not tell of for now is waited for, as long as it says, and what its sender says next does not overtake it.
#[test]
fn a_file_that_has_to_wait_is_waited_for_in_its_place() {
    let slack = Slack::start();
    let home = house(&slack, "dm_top_level_threads_as_sessions: false");
    home.write(
        "default",
        "config.yaml",
        &format!("{}display: {{busy_input_mode: queue}}\n", home.read("default", "config.yaml").unwrap()),
    );
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.say(DM, ANN, "first");
    slack.wait_seen(DM, &echo("first"));
    slack.refuse("files.info", [Refusal::limit(2)]);
    let whole = slack.file("d.txt", "text/plain", b"asked for");
    let bare = json!({"id": whole["id"], "file_access": "check_file_info"});
    slack.say_with(DM, ANN, "shared", &json!({"subtype": "file_share", "files": [bare]}));
    wait::until_true("the file to be asked for", || slack.calls("files.info").len() == 1);
    slack.say(DM, ANN, "next");
    slack.wait_seen(DM, &echo("next"));
    let answers: Vec<String> =
        slack.seen_in(DM).into_iter().filter(|seen| seen.starts_with("echo")).collect();
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(answers[1].contains("d.txt") && !answers[1].contains("could not be fetched"), "{answers:?}");
    let asked = slack.calls("files.info");
    assert!(asked.len() == 2 && asked[1].at - asked[0].at >= Duration::from_secs(2), "{}", asked.len());
}

/// Whoever calls the bot into a thread does not have to say what it is about. What others said there is no order.
#[test]
fn what_was_said_in_a_thread_before_comes_along() {
    let slack = Slack::start();
    let home = for_some(&slack, "SLACK_ALLOWED_USERS=U0ANN\n");
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    let root = slack.say(CHANNEL, BOB, "the build is red");
    slack.say_in(CHANNEL, &root, ANN, "since when?");
    slack.say_in(CHANNEL, &root, ANN, &format!("<@{BOT}> have a look"));
    let answer = wait::until("an answer", || slack.seen_in(CHANNEL).pop());
    for part in ["0bob (unverified): the build is red", "0ann: since when?", "have a look"] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    assert_eq!(answer.matches("have a look").count(), 1);
    slack.say_in(CHANNEL, &root, ANN, "and now?");
    slack.wait_seen(CHANNEL, &echo("and now?"));
    // What cannot be read is said to be that.
    slack.refuse("conversations.replies", [Refusal::error("channel_not_found")]);
    let other = slack.say(CHANNEL, BOB, "the disk is full");
    slack.say_in(CHANNEL, &other, ANN, &format!("<@{BOT}> help"));
    let answer =
        wait::until("an answer", || slack.seen_in(CHANNEL).into_iter().find(|seen| seen.ends_with("help")));
    assert!(answer.contains("could not be read") && !answer.contains("disk"), "{answer}");
}

/// Each workspace has its token, and an answer goes out by that of its question.
#[test]
fn one_bot_serves_several_workspaces() {
    let slack = Slack::start();
    slack.app("xoxb-2222-test", "xapp-2", "T0002");
    slack.channel("C0SECOND", "channel", "T0002");
    let home = house(&slack, "require_mention: false");
    let keys = home.read("default", ".env").unwrap();
    home.write("default", ".env", &keys.replace(TOKEN, &format!("{TOKEN},xoxb-2222-test,xoxb-3333-none")));
    let gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.say(CHANNEL, ANN, "one");
    slack.wait_seen(CHANNEL, &echo("one"));
    // The app is one: what is for another workspace comes through the same socket.
    let ts = slack.say("C0SECOND", ANN, "kept");
    let event = json!({"type": "message", "channel": "C0SECOND", "channel_type": "channel", "user": ANN, "text": "two", "ts": ts});
    let mut callback = slack.callback(&event);
    callback["team_id"] = "T0002".into();
    callback["authorizations"][0]["team_id"] = "T0002".into();
    slack.envelope(&callback);
    slack.wait_seen("C0SECOND", &echo("two"));
    assert!(log(&home).contains("workspace 3 stays out"), "{}", log(&home));
    wait_connected(&gateway);
}

#[test]
fn signs_are_shown_and_long_answers_come_in_parts() {
    let slack = Slack::start();
    let home = house(
        &slack,
        "dm_top_level_threads_as_sessions: false, reply_in_thread: false, require_mention: false",
    );
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.say(DM, ANN, "**bold** & <!channel> &lt;!everyone&gt; [a](https://e.org)");
    let seen = wait::until("an answer", || slack.seen().pop());
    assert_eq!(seen.thread, None);
    assert_eq!(seen.text, echo("*bold* &amp; @channel &lt;!everyone&gt; <https://e.org|a>"));
    slack.say(DM, ANN, &"word ".repeat(9000));
    wait::until_true("all parts", || slack.seen_in(DM).concat().matches("word").count() == 9000);
    let parts = slack.seen();
    assert!(
        parts.len() == 3 && parts.iter().all(|part| part.text.chars().count() <= 39_000),
        "{}",
        parts.len()
    );
    wait::pass(NEVER);
    assert_eq!(slack.seen().len(), 3);
}
