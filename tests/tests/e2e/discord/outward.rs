//! What goes out to Discord beside finished texts: answers while they are made, files, signs, and questions with buttons.

use hermes_tests::chats::{self, STREAMING, ledger, wait_done, words};
use hermes_tests::discord::{ANN, BOB, Discord, FORUM, GENERAL, ROLE, Refusal};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, process, wait};
use nix::sys::signal::Signal;
use serde_json::json;

use super::talk::{for_some, with_model};
use super::{echo, to_bot, wait_connected};

/// A home with an agent that takes its time for every word.
fn slow(discord: &Discord, delay: u32, section: &str) -> Home {
    let config = chats::slow(&Home::config("true", ""), delay);
    let section = format!("platforms:\n  discord: {{text_batch_delay_seconds: 0, {section}}}\n");
    let config = config.replacen("platforms:\n", &section, 1);
    let home = Home::with_config(&(config + STREAMING));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{}", home::DEFAULT_KEY, discord.env()));
    home
}

#[test]
fn an_answer_is_shown_while_it_is_made_and_survives_a_death() {
    let discord = Discord::start();
    let home = slow(&discord, 40, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let text = words(50);
    let asked = discord.tell(ANN, &text);
    let private = discord.private(ANN);
    wait::until_true("it to be shown", || discord.calls("PATCH messages").len() >= 2);
    process::signal(gateway.worker("default"), Signal::SIGKILL);
    discord.wait_seen(private, &echo(&text));
    wait_done(&home, 1);
    let seen = discord.seen();
    assert_eq!((seen.len(), seen[0].reply_to, discord.calls("POST messages").len()), (1, Some(asked), 1));
    // A change calls nobody whom the first text could not have called.
    let edits = discord.calls("PATCH messages");
    assert!(edits.iter().all(|edit| edit.body["allowed_mentions"]["parse"] == json!(["users"])), "{edits:?}");
}

/// In the thread that was begun for it, with Discord's wait kept, and whole where it is too long for one message.
#[test]
fn a_long_answer_is_shown_by_its_beginning_and_sent_in_parts() {
    let discord = Discord::start();
    discord.refuse("PATCH messages", [Refusal::flood(0.5, false)]);
    let home = slow(&discord, 4, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let text = words(700);
    let thread = discord.say(GENERAL, ANN, &to_bot(&text));
    wait::until_true("it to be shown", || !discord.seen_in(thread).is_empty());
    wait_done(&home, 1);
    let seen = discord.seen_in(thread);
    let all = seen.concat();
    let missing: Vec<usize> = (0..700).filter(|n| !all.contains(&format!("word{n}"))).collect();
    assert!(missing.is_empty() && seen.len() == 3, "{missing:?} {}", seen.len());
    assert!(seen.iter().all(|text| text.chars().count() <= 2000 && !text.contains('▉')), "{seen:?}");
    assert_eq!(discord.seen().len(), 3, "nothing is anywhere else");
}

/// Whoever takes the message away gets the answer all the same.
#[test]
fn a_message_that_was_taken_away_comes_anew() {
    let discord = Discord::start();
    let home = slow(&discord, 40, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let text = words(40);
    discord.tell(ANN, &text);
    let private = discord.private(ANN);
    let shown = wait::until("it to be shown", || discord.seen().first().map(|seen| seen.id));
    discord.take_away(shown);
    discord.wait_seen(private, &echo(&text));
    wait_done(&home, 1);
    assert_eq!(discord.seen_in(private), [echo(&text)], "and without a mark");
}

fn put(home: &Home, name: &str, bytes: &[u8]) -> String {
    let cache = home.of("default").join("cache");
    fs_err::create_dir_all(&cache).unwrap();
    fs_err::write(cache.join(name), bytes).unwrap();
    cache.join(name).to_string()
}

#[test]
fn files_go_out_behind_their_text() {
    let discord = Discord::start();
    let home = slow(&discord, 0, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let bytes: Vec<u8> = (0..=255).cycle().take(300_000).collect();
    let (picture, named) =
        (put(&home, "a.png", b"\x89PNG\r\n\x1a\n"), put(&home, "two \u{fc} words.bin", &bytes));
    let text = format!("here MEDIA:{picture} MEDIA:\"{named}\" ![a picture]({picture}) MEDIA:/etc/passwd");
    let thread = discord.say(GENERAL, ANN, &to_bot(&text));
    wait::until_true("both files", || discord.seen().iter().map(|seen| seen.files.len()).sum::<usize>() >= 2);
    wait::until_true("the ledger to be done", || ledger(&home).iter().all(|row| row.0 == "done"));
    let seen = discord.seen();
    assert!(seen.iter().all(|seen| seen.channel == thread), "{seen:?}");
    assert!(seen[0].text.starts_with(echo("here").trim()) && seen[0].files.is_empty(), "{seen:?}");
    assert!(!seen[0].text.contains("MEDIA:/home") && !seen[0].text.contains("a.png"), "{seen:?}");
    let files: Vec<_> = seen.iter().flat_map(|seen| &seen.files).collect();
    let sent: Vec<(&str, &str)> =
        files.iter().map(|file| (file.name.as_str(), file.media_type.as_str())).collect();
    assert_eq!(sent, [("a.png", "image/png"), ("two \u{fc} words.bin", "application/octet-stream")]);
    assert!(files[1].bytes == bytes, "as it was");
}

/// A file is known by its nonce for some minutes: shown once. After that it has a mark.
#[test]
fn a_file_that_may_be_there_already_is_shown_once_or_marked() {
    for is_forgotten in [false, true] {
        let (discord, provider) = (Discord::start(), Provider::start());
        let home = with_model(&discord, &provider, "", "");
        let path = put(&home, "c.pdf", b"%PDF");
        provider.answer_with(move |_| Reply::text(&format!("MEDIA:{path}")));
        let gateway = Gateway::start(&home);
        wait_connected(&gateway);
        discord.stick("POST messages", true);
        discord.tell(ANN, "the file, please");
        wait::until_true("the file", || discord.seen().iter().any(|seen| !seen.files.is_empty()));
        if is_forgotten {
            discord.forget_nonces();
        }
        process::signal(gateway.worker("default"), Signal::SIGKILL);
        discord.stick("POST messages", false);
        wait::until_true("the ledger to be done", || {
            let all = ledger(&home);
            !all.is_empty() && all.iter().all(|row| row.0 == "done")
        });
        let files: Vec<String> =
            discord.seen().into_iter().filter(|seen| !seen.files.is_empty()).map(|seen| seen.text).collect();
        assert_eq!(files.len(), 1 + usize::from(is_forgotten), "{files:?}");
        assert_eq!(files.last().unwrap().starts_with("♻️"), is_forgotten, "{files:?}");
    }
}

/// What a tool sends goes to another chat, as a post where that takes nothing else.
#[test]
fn a_tool_sends_a_file_to_another_chat() {
    let (discord, provider) = (Discord::start(), Provider::start());
    let section = format!("auto_thread: false, home_channel: {{chat_id: '{FORUM}', name: Forum}}");
    let home = with_model(&discord, &provider, &section, "platform_toolsets: {discord: [messaging]}\n");
    let path = put(&home, "plan.txt", b"the plan");
    provider.answer_with(move |body| {
        let last = body["messages"].as_array().unwrap().last().unwrap().clone();
        if last["role"] == "tool" {
            return Reply::text("sent");
        }
        let given = json!({"target": "discord", "message": format!("the plan\nMEDIA:{path}")});
        Reply::Calls(vec![("call_1".to_owned(), "send_message".to_owned(), given.to_string())])
    });
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.say(GENERAL, ANN, &to_bot("send it"));
    discord.wait_seen(GENERAL, "sent");
    let file = wait::until("the file", || {
        discord.seen().into_iter().find(|seen| !seen.files.is_empty()).map(|seen| seen.files[0].clone())
    });
    assert_eq!((file.name.as_str(), file.bytes.as_slice()), ("plan.txt", &b"the plan"[..]));
    assert!(discord.seen().iter().any(|seen| seen.text == "the plan"), "{:?}", discord.seen());
}

#[test]
fn signs_stand_at_the_question_where_they_are_wanted() {
    for (section, expected) in
        [("reactions: false", &[][..]), ("", &[("👀", true), ("👀", false), ("✅", true)])]
    {
        let discord = Discord::start();
        let home = slow(&discord, 0, section);
        let gateway = Gateway::start(&home);
        wait_connected(&gateway);
        let asked = discord.say(GENERAL, ANN, &to_bot("hello"));
        discord.wait_seen(asked, &echo("hello"));
        // The question stands in the channel, and its answer in the thread.
        let signs = || discord.reactions(asked);
        wait::until_true("the signs", || {
            signs().iter().map(|(sign, is_put)| (sign.as_str(), *is_put)).eq(expected.iter().copied())
        });
    }
}

/// What the model asks with choices is answered by a button, by whom the question is for and by nobody else; a press that comes too late
/// is told so, and the buttons go.
#[test]
fn a_question_has_a_button_for_each_choice() {
    let (discord, provider) = (Discord::start(), Provider::start());
    discord.give_role(ANN, ROLE);
    discord.give_role(BOB, ROLE);
    let home = with_model(&discord, &provider, "auto_thread: false", "");
    // Known by a role alone, which only Discord knows of.
    for_some(&home, &discord, &format!("CUSTOM_API_KEY=key\nDISCORD_ALLOWED_ROLES={ROLE}\n"));
    chats::asks_where_to(&provider);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.say(GENERAL, ANN, &to_bot("deploy"));
    wait::until_true("the question", || discord.seen().len() == 1);
    let question = discord.seen().remove(0);
    let labels: Vec<&str> = question.buttons.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["1. staging, as ever", "2. production"]);
    assert!(question.text.contains("1. staging, as ever\n2. production"), "{question:?}");
    let said = |id: u64| wait::until("an answer to a press", || discord.interaction(id).callback);
    let bobs = said(discord.press(GENERAL, BOB, "production"));
    assert_eq!(
        (&bobs["type"], &bobs["data"]["content"], &bobs["data"]["flags"]),
        (&json!(4), &json!("That question is not for you."), &json!(64))
    );
    assert_eq!(discord.seen().remove(0).buttons, question.buttons, "it still waits");
    let anns = said(discord.press(GENERAL, ANN, "production"));
    discord.wait_seen(GENERAL, "so: production");
    assert_eq!(anns["type"], 7);
    let buttons = discord.seen().remove(0).buttons;
    assert_eq!(buttons, [("✅ 2 · Ann Lee".to_owned(), "over".to_owned())]);
    // A press of the other button, from a screen that was slow.
    let late = said(discord.press_with(GENERAL, ANN, question.id, &question.buttons[0].1));
    assert!(late.to_string().contains("That question is over."), "{late}");
    assert_eq!(discord.seen_in(GENERAL).len(), 2, "{:?}", discord.seen());
    // Words answer as well, and then a button of that question answers nothing.
    discord.say(GENERAL, ANN, &to_bot("again"));
    let asked = || discord.seen().iter().filter(|seen| seen.text.contains("Where to?")).count();
    wait::until_true("another question", || asked() == 2);
    let second = discord.seen().into_iter().rev().find(|seen| seen.text.contains("Where to?")).unwrap();
    discord.say(GENERAL, ANN, &to_bot("1"));
    discord.wait_seen(GENERAL, "so: staging, as ever");
    let late = said(discord.press_with(GENERAL, ANN, second.id, &second.buttons[1].1));
    assert!(late.to_string().contains("That question is over."), "{late}");
    assert_eq!(discord.seen_in(GENERAL).len(), 4, "{:?}", discord.seen());
}
