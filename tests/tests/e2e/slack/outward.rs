//! What goes out to Slack beside finished texts: answers while they are made, files, signs, and questions with buttons.

use hermes_tests::chats::{self, STREAMING, ledger, wait_done, words};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::slack::{BOT, CHANNEL, Refusal, Slack, TEAM};
use hermes_tests::{Gateway, Home, process, wait};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::talk::{BOB, with_model};
use super::{ANN, DM, echo, house};

/// A home with an agent that takes its time for every word.
fn slow(slack: &Slack, delay: u32, section: &str) -> Home {
    let home = house(slack, section);
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &(chats::slow(&config, delay) + STREAMING));
    home
}

#[test]
fn an_answer_is_shown_while_it_is_made_and_survives_a_death() {
    let slack = Slack::start();
    // Slack's wait is kept.
    slack.refuse("chat.update", [Refusal::limit(1)]);
    let home = slow(&slack, 40, "");
    let gateway = Gateway::start(&home);
    slack.wait_heard();
    let text = words(60);
    let asked = slack.say(DM, ANN, &text);
    wait::until_true("it to be shown", || slack.calls("chat.update").len() >= 3);
    let updates = slack.calls("chat.update");
    assert!(updates[1].at - updates[0].at >= std::time::Duration::from_secs(1));
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    let seen = slack.wait_seen(DM, &echo(&text));
    wait_done(&home, 1);
    assert_eq!((slack.seen().len(), slack.calls("chat.postMessage").len()), (1, 1), "{:?}", slack.seen());
    assert!(seen.edits >= 2 && seen.thread == Some(asked), "{seen:?}");
}

/// Whoever takes the message away gets the answer all the same.
#[test]
fn a_message_that_was_taken_away_comes_anew() {
    let slack = Slack::start();
    let home = slow(&slack, 40, "");
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    let text = words(40);
    slack.say(CHANNEL, ANN, &format!("<@{BOT}> {text}"));
    let shown = wait::until("it to be shown", || slack.seen().pop());
    slack.take_away(&shown);
    slack.wait_seen(CHANNEL, &echo(&text));
    wait_done(&home, 1);
    assert_eq!(slack.seen_in(CHANNEL), [echo(&text)], "and without a mark");
}

fn put(home: &Home, name: &str, bytes: &[u8]) -> String {
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    fs_err::write(cache.join(name), bytes).unwrap();
    cache.join(name).to_string()
}

#[test]
fn files_go_out_into_the_thread_of_their_text() {
    let slack = Slack::start();
    let home = slow(&slack, 0, "");
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let (picture, named) =
        (put(&home, "a.png", b"\x89PNG\r\n\x1a\n"), put(&home, "two \u{fc} words.bin", &bytes));
    let text = format!("here MEDIA:{picture} MEDIA:\"{named}\" ![a picture]({picture}) MEDIA:/etc/passwd");
    let root = slack.say(CHANNEL, ANN, &format!("<@{BOT}> {text}"));
    let shown = || slack.uploads().into_iter().filter(|upload| upload.shown.is_some()).collect::<Vec<_>>();
    wait::until_true("both files", || shown().len() >= 2);
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    let files = shown();
    let sent: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(sent, ["a.png", "two \u{fc} words.bin"]);
    assert!(files[1].bytes == bytes, "as it was");
    let place = Some((CHANNEL.to_owned(), Some(root)));
    assert!(files.iter().all(|file| file.shown == place), "{:?}", files[0].shown);
    let texts = slack.seen_in(CHANNEL);
    assert!(texts[0].starts_with(echo("here").trim()) && !texts[0].contains("a.png"), "{texts:?}");
}

/// A file that was not shown yet when its worker died is shown once; one that may be there already has a mark.
#[test]
fn a_file_is_shown_once_or_marked() {
    for (method, expected) in [("files.getUploadURLExternal", 1), ("files.completeUploadExternal", 2)] {
        let slack = Slack::start();
        let home = slow(&slack, 0, "");
        let gateway = Gateway::start(&home);
        slack.wait_heard();
        let path = put(&home, "c.pdf", b"%PDF");
        slack.stick(method, true);
        slack.say(DM, ANN, &format!("here MEDIA:{path}"));
        wait::until_true("the request", || !slack.calls(method).is_empty());
        process::signal(gateway.worker("default"), Signal::SIGKILL);
        slack.stick(method, false);
        wait_done(&home, 2);
        let shown = slack.uploads().into_iter().filter(|upload| upload.shown.is_some());
        assert_eq!(shown.count(), expected, "{method}");
        assert_eq!(slack.seen_in(DM), [echo("here")], "the text is not sent again");
        let comments: Vec<Value> = slack
            .calls("files.completeUploadExternal")
            .into_iter()
            .map(|call| call.fields.get("initial_comment").cloned().unwrap_or_default())
            .collect();
        let last = comments.last().unwrap();
        assert!(last.as_str().is_some_and(|text| text.starts_with("♻️")), "{method}: {comments:?}");
    }
}

/// What a tool sends goes to another chat, with its files.
#[test]
fn a_tool_sends_a_file_to_another_chat() {
    let (slack, provider) = (Slack::start(), Provider::start());
    slack.channel("C0OTHER", "channel", TEAM);
    let home = with_model(&slack, &provider, "platform_toolsets: {slack: [messaging]}\n");
    let config = home.read("default", "config.yaml").unwrap();
    let section = "platforms:\n  slack: {home_channel: {chat_id: C0OTHER, name: Other}}\n";
    home.write("default", "config.yaml", &config.replacen("platforms:\n", section, 1));
    let path = put(&home, "plan.txt", b"the plan");
    provider.answer_with(move |body| {
        let last = body["messages"].as_array().unwrap().last().unwrap().clone();
        if last["role"] == "tool" {
            return Reply::text("sent");
        }
        let given = json!({"target": "slack", "message": format!("the plan\nMEDIA:{path}")});
        Reply::Calls(vec![("call_1".to_owned(), "send_message".to_owned(), given.to_string())])
    });
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    slack.say(DM, ANN, "send it");
    slack.wait_seen(DM, "sent");
    slack.wait_seen("C0OTHER", "the plan");
    let file = wait::until("the file", || slack.uploads().into_iter().find(|file| file.shown.is_some()));
    assert_eq!((file.name.as_str(), file.bytes.as_slice()), ("plan.txt", &b"the plan"[..]));
    assert_eq!(file.shown, Some(("C0OTHER".to_owned(), None)));
}

#[test]
fn signs_stand_at_the_question_where_they_are_wanted() {
    for (section, expected) in [("reactions: false", &[][..]), ("", &["white_check_mark"])] {
        let slack = Slack::start();
        let home = slow(&slack, 40, section);
        let _gateway = Gateway::start(&home);
        slack.wait_heard();
        let asked = slack.say(DM, ANN, &words(20));
        if !expected.is_empty() {
            wait::until_true("it to be seen", || slack.reactions(&asked) == ["eyes"]);
        }
        slack.wait_seen(DM, &echo(&words(20)));
        wait::until_true("the signs", || slack.reactions(&asked) == expected);
        assert_eq!(slack.calls("reactions.add").is_empty(), expected.is_empty());
    }
}

/// What the model asks with choices is answered by a button, by people who may talk to the bot and by nobody else, once; a press that comes
/// too late is told so, and the buttons go.
#[test]
fn a_question_has_a_button_for_each_choice() {
    let (slack, provider) = (Slack::start(), Provider::start());
    let home = with_model(&slack, &provider, "");
    let keys = home
        .read("default", ".env")
        .unwrap()
        .replace("SLACK_ALLOW_ALL_USERS=true", "SLACK_ALLOWED_USERS=U0ANN");
    home.write("default", ".env", &keys);
    chats::asks_where_to(&provider);
    let _gateway = Gateway::start(&home);
    slack.wait_heard();
    let root = slack.say(CHANNEL, ANN, &format!("<@{BOT}> deploy"));
    let question = wait::until("the question", || slack.seen().pop());
    let labels: Vec<&str> = question.buttons.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["1. staging, as ever", "2. production"]);
    assert_eq!(question.thread.as_ref(), Some(&root));
    let bobs = slack.wait_response(&slack.press(BOB, "production"));
    assert_eq!(
        (&bobs["text"], &bobs["response_type"]),
        (&json!("That question is not for you."), &json!("ephemeral"))
    );
    assert_eq!(slack.seen()[0].buttons, question.buttons, "it still waits");
    let anns = slack.press(ANN, "production");
    let answer = slack.wait_seen(CHANNEL, "so: production");
    assert_eq!(answer.thread.as_ref(), Some(&root));
    let shown = slack.wait_response(&anns);
    assert!(
        shown["text"].as_str().unwrap().ends_with("✅ 2 · 0ann") && shown["replace_original"] == true,
        "{shown}"
    );
    assert!(slack.seen()[0].buttons.is_empty() && slack.seen()[0].text.contains("Where to?"));
    // A press of the other button, from a screen that was slow.
    let late = slack.wait_response(&slack.press_with(&question, ANN, &question.buttons[0].1));
    assert!(late["text"].as_str().unwrap().contains("That question is over."), "{late}");
    assert_eq!(slack.seen().len(), 2, "{:?}", slack.seen());
    // Words answer as well, and then a button of that question answers nothing.
    slack.say_in(CHANNEL, &root, ANN, "again");
    let second =
        wait::until("another question", || slack.seen().into_iter().find(|seen| !seen.buttons.is_empty()));
    slack.say_in(CHANNEL, &root, ANN, "1");
    slack.wait_seen(CHANNEL, "so: staging, as ever");
    let late = slack.wait_response(&slack.press_with(&second, ANN, &second.buttons[1].1));
    assert!(late["text"].as_str().unwrap().contains("That question is over."), "{late}");
    assert_eq!(slack.seen().len(), 4, "{:?}", slack.seen());
}
