//! What people and the bot do with each other beside asking and answering: strangers, roles, buttons, commands, files, texts of any length.

use hermes_tests::chats;
use hermes_tests::discord::{ANN, BOB, BOT, Discord, GENERAL, GUILD, RANDOM, ROLE, Refusal};
use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::json;

use super::{echo, house, log, to_bot, wait_connected};

/// A home whose default profile has the bot and a model behind it.
pub(super) fn with_model(discord: &Discord, provider: &Provider, section: &str, more: &str) -> Home {
    let config = Home::config("true", "").replace("engine: echo, ", "");
    let section = format!("platforms:\n  discord: {{text_batch_delay_seconds: 0, {section}}}\n");
    let config = config.replacen("platforms:\n", &section, 1);
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    let keys = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=key\n{}", home::DEFAULT_KEY, discord.env());
    home.write("default", ".env", &keys);
    home
}

pub(super) fn for_some(home: &Home, discord: &Discord, more: &str) {
    let keys = format!("API_SERVER_KEY={}\n{}{more}", home::DEFAULT_KEY, discord.env_for_some());
    home.write("default", ".env", &keys);
}

/// A stranger is offered a code in private, and nothing in a server; the owner lets him in while the gateway runs.
#[test]
fn a_stranger_is_let_in_by_code() {
    let discord = Discord::start();
    let home = house(&discord, "");
    for_some(&home, &discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.say(GENERAL, ANN, &to_bot("anybody here?"));
    discord.tell(ANN, "let me in");
    let private = discord.private(ANN);
    wait::until_true("a code to be offered", || !discord.seen().is_empty());
    let seen = discord.seen();
    assert_eq!((seen.len(), seen[0].channel), (1, private), "{seen:?}");
    assert!(discord.calls("POST threads").is_empty(), "strangers begin no threads");
    let code = seen[0].text.split('`').nth(1).unwrap();
    assert!(log(&home).contains("Unauthorized user: 777 (Ann Lee) on discord"), "{}", log(&home));
    assert!(both(&run(&home, &["pairing", "approve", "discord", code])).contains("Approved!"));
    discord.tell(ANN, "thank you");
    discord.wait_seen(private, &echo("thank you"));
}

/// A role counts in its server, and in private where that is set; a name counts, and a channel where nobody is listed.
#[test]
fn roles_names_and_channels_let_people_in() {
    let discord = Discord::start();
    discord.give_role(ANN, ROLE);
    let home = house(&discord, &format!("auto_thread: false, dm_role_auth_guild: '{GUILD}'"));
    for_some(&home, &discord, &format!("DISCORD_ALLOWED_ROLES={ROLE}\nDISCORD_ALLOWED_USERS=bob\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let (ann, bob) = (discord.private(ANN), discord.private(BOB));
    discord.say(GENERAL, ANN, &to_bot("by my role"));
    discord.wait_seen(GENERAL, &echo("by my role"));
    discord.tell(ANN, "and in private");
    discord.wait_seen(ann, &echo("and in private"));
    discord.tell(BOB, "by my name");
    discord.wait_seen(bob, &echo("by my name"));
    drop(gateway);
    let home = house(&discord, "auto_thread: false");
    for_some(&home, &discord, &format!("DISCORD_ALLOWED_CHANNELS={RANDOM}\n"));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.say(GENERAL, BOB, &to_bot("not here"));
    discord.say(RANDOM, BOB, &to_bot("here"));
    discord.wait_seen(RANDOM, &echo("here"));
    assert_eq!(discord.seen_in(GENERAL).len(), 1);
}

/// What the model wants to do is allowed by a button, by whoever it works for and by nobody else; a press that comes too late allows
/// nothing else.
#[test]
fn a_button_answers_its_question() {
    let (discord, provider) = (Discord::start(), Provider::start());
    let home =
        with_model(&discord, &provider, "auto_thread: false", "approvals: {mode: manual, timeout: 60}\n");
    let results = chats::wants_a_command(&provider);
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.say(GENERAL, ANN, &to_bot("go"));
    wait::until_true("the question", || discord.seen().len() == 1);
    let question = discord.seen().remove(0);
    let labels: Vec<&str> = question.buttons.iter().map(|(label, _)| label.as_str()).collect();
    assert_eq!(labels, ["✅ Once", "✅ In this conversation", "✅ Always", "❌ No"]);
    assert!(question.text.contains("git reset --hard"), "{question:?}");
    let said = |id: u64| discord.interaction(id).callback;
    let bobs = discord.press(GENERAL, BOB, "Once");
    wait::until_true("Bob to hear it", || said(bobs).is_some());
    let answer = said(bobs).unwrap();
    assert_eq!(
        (&answer["type"], &answer["data"]["content"], &answer["data"]["flags"]),
        (&json!(4), &json!("That question is not for you."), &json!(64))
    );
    assert!(home.read("default", "workspace/log").is_none());
    let once = question.buttons[0].1.clone();
    discord.press(GENERAL, ANN, "Once");
    discord.wait_seen(GENERAL, "all done");
    assert_eq!(home.read("default", "workspace/log").unwrap(), "ran\n");
    wait::until_true("the buttons to be gone", || {
        let buttons = discord.seen().remove(0).buttons;
        buttons.len() == 1 && buttons[0].0 == "✅ Once · Ann Lee"
    });
    // Another question, and a press of the first one's button.
    discord.say(GENERAL, ANN, &to_bot("again"));
    let asked = || discord.seen().iter().filter(|seen| seen.text.contains("May this command run?")).count();
    wait::until_true("another question", || asked() == 2);
    let late = discord.press_with(GENERAL, ANN, question.id, &once);
    wait::until_true("it to be too late", || {
        said(late).is_some_and(|said| said.to_string().contains("That question is over."))
    });
    discord.press(GENERAL, ANN, "No");
    wait::until_true("the refusal", || results.lock().unwrap().len() == 2);
    assert_eq!(home.read("default", "workspace/log").unwrap(), "ran\n");
}

/// Commands are offered once, beside those of others; using one is acknowledged at once and answered in its place.
#[test]
fn commands_are_in_the_menu_and_answered() {
    let discord = Discord::start();
    discord.add_command("other");
    let home = house(&discord, "ignored_channels: ['1002']");
    for_some(&home, &discord, "DISCORD_ALLOWED_USERS=777\n");
    let gateway = Gateway::start(&home);
    let names = || -> Vec<String> {
        discord.commands().iter().map(|command| command["name"].as_str().unwrap().to_owned()).collect()
    };
    let wanted = ["other", "new", "stop", "status", "whoami", "help"];
    wait::until_true("the menu", || wanted.iter().all(|name| names().iter().any(|n| n == name)));
    let id = discord.slash(GENERAL, ANN, "whoami", None);
    wait::until_true("its answer", || {
        discord.interaction(id).followups.iter().any(|text| text.contains("777"))
    });
    let used = discord.interaction(id);
    assert_eq!(used.callback.unwrap()["type"], 5);
    assert!(used.after.unwrap().as_secs() < 3);
    // Who may not hears it alone.
    let id = discord.slash(GENERAL, BOB, "status", None);
    wait::until_true("the refusal", || discord.interaction(id).callback.is_some());
    let refused = discord.interaction(id).callback.unwrap();
    assert_eq!(
        (&refused["data"]["content"], &refused["data"]["flags"]),
        (&json!("You're not authorized to use this command."), &json!(64))
    );
    assert!(log(&home).contains("Unauthorized user: 888 (bob) on discord"), "{}", log(&home));
    let id = discord.slash(RANDOM, ANN, "status", None);
    wait::until_true("the refusal", || discord.interaction(id).callback.is_some());
    assert_eq!(discord.interaction(id).callback.unwrap()["data"]["flags"], 64);
    // An answer that comes too late for the command goes to its channel.
    discord.refuse("POST webhooks", [Refusal::new(404, 10015, "Unknown Webhook")]);
    let private = discord.private(ANN);
    discord.slash(private, ANN, "queue", Some("later"));
    discord.wait_seen(private, &echo("later"));
    let offered = discord.calls("POST commands").len();
    assert!(run(&home, &["gateway", "restart", "-p", "default"]).status.success());
    discord.tell(ANN, "hello");
    discord.wait_seen(private, &echo("hello"));
    assert_eq!((discord.calls("POST commands").len(), discord.calls("GET commands").len()), (offered, 1));
    drop(gateway);
}

/// Where no thread can be begun, the answer goes to the channel: nothing is dropped.
#[test]
fn an_answer_without_a_thread_goes_to_the_channel() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.refuse("POST threads", [Refusal::new(403, 50013, "Missing Permissions")]);
    let asked = discord.say(GENERAL, ANN, &to_bot("hello"));
    discord.wait_seen(GENERAL, &echo("hello"));
    assert_eq!(discord.seen()[0].reply_to, Some(asked));
    // Offered again, it is known, thread or not.
    discord.repeat(asked);
    // A message that has a thread already is answered in it.
    let thread = discord.say(GENERAL, ANN, &to_bot("with a thread"));
    discord.wait_seen(thread, &echo("with a thread"));
    discord.archive(thread);
    discord.say(thread, ANN, "is it open?");
    discord.wait_seen(thread, &echo("is it open?"));
    assert_eq!(discord.seen().len(), 3);
}

#[test]
fn files_come_along_with_what_is_forwarded_and_answered() {
    let discord = Discord::start();
    let home = house(&discord, "auto_thread: false, history_backfill: false, max_attachment_bytes: 100");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let pdf = discord.file("report.pdf", "application/pdf", b"%PDF");
    let large = discord.file("large.bin", "application/octet-stream", &[0; 200]);
    let gone = json!({"id": "1", "filename": "gone.txt", "size": 3, "url": format!("{}/files/5", discord.address()), "content_type": "text/plain"});
    discord.say_with(GENERAL, ANN, &to_bot("see these"), &json!({"attachments": [pdf, large, gone]}));
    wait::until_true("the answer", || discord.seen_in(GENERAL).len() == 1);
    let answer = discord.seen_in(GENERAL).remove(0);
    assert!(
        answer.starts_with(&echo("see these\n[document report.pdf (application/pdf, 4 bytes): ")),
        "{answer}"
    );
    assert!(
        answer.contains("large.bin (application/octet-stream, 200 bytes) could not be fetched]"),
        "{answer}"
    );
    assert!(answer.contains("gone.txt (text/plain, 3 bytes) could not be fetched]"), "{answer}");
    let path = answer.split("bytes): ").nth(1).unwrap().split(']').next().unwrap();
    assert_eq!(fs_err::read(path).unwrap(), b"%PDF");
    let forwarded =
        json!({"message_snapshots": [{"message": {"content": "look at that", "attachments": []}}]});
    discord.say_with(GENERAL, ANN, &to_bot("this"), &forwarded);
    discord.wait_seen(GENERAL, &echo("this\n[Forwarded message]\nlook at that"));
    let first = discord.say(GENERAL, BOB, "is it?");
    discord.reply(GENERAL, ANN, first, &to_bot("what is he asking?"));
    discord.wait_seen(GENERAL, &echo("[Replying to bob: \"is it?\"]\n\nwhat is he asking?"));
}

/// A file that does not come holds up what is said behind it in its channel, and nothing else.
#[test]
fn a_file_that_does_not_come_holds_up_no_other_channel() {
    let discord = Discord::start();
    let home = house(&discord, "auto_thread: false, history_backfill: false");
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    // It takes whoever calls, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/a.pdf", silent.local_addr().unwrap());
    let file =
        json!({"id": "1", "filename": "a.pdf", "size": 4, "url": url, "content_type": "application/pdf"});
    let since = wait::now();
    discord.say_with(GENERAL, ANN, &to_bot("see this"), &json!({"attachments": [file]}));
    discord.say(GENERAL, ANN, &to_bot("/whoami"));
    discord.tell(BOB, "hello");
    discord.wait_seen(discord.private(BOB), &echo("hello"));
    wait::until_true("the command's answer", || discord.seen_in(GENERAL).len() == 1);
    assert!(since.elapsed() < std::time::Duration::from_secs(10), "{:?}", since.elapsed());
}

/// Offered again before it is stored it is one message, too.
#[test]
fn a_message_that_is_said_twice_at_once_is_one() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &config.replace("text_batch_delay_seconds: 0, ", ""));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let id = discord.tell(ANN, "hello");
    discord.repeat(id);
    discord.tell(BOB, "other");
    discord.wait_seen(discord.private(ANN), &echo("hello"));
    discord.wait_seen(discord.private(BOB), &echo("other"));
    assert_eq!(discord.seen().len(), 2, "{:?}", discord.seen());
}

/// What one person writes at once is one message.
#[test]
fn what_is_written_at_once_is_one_message() {
    let discord = Discord::start();
    let home = house(&discord, "");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &config.replace("text_batch_delay_seconds: 0, ", ""));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    discord.tell(ANN, "one");
    discord.tell(ANN, "two");
    discord.tell(BOB, "other");
    let private = discord.private(ANN);
    discord.wait_seen(private, &echo("one\ntwo"));
    discord.wait_seen(discord.private(BOB), &echo("other"));
    assert_eq!(discord.seen().len(), 2);
}

/// Long texts are cut into messages that Discord takes, with their code whole; what nobody may reply to is answered all the same.
#[test]
fn texts_of_any_length_get_there_and_call_nobody() {
    let (discord, provider) = (Discord::start(), Provider::start());
    let home = with_model(&discord, &provider, "auto_thread: false", "");
    let code = format!("Before @everyone\n\n```rust\n{}```\nafter <@&1010>", "let a = 1;\n".repeat(400));
    provider.answer_with(move |_| Reply::text(&code));
    let gateway = Gateway::start(&home);
    wait_connected(&gateway);
    let asked = discord.say(GENERAL, ANN, &to_bot("code"));
    wait::until_true("all of it", || {
        discord.seen_in(GENERAL).iter().any(|text| text.contains("after <@&1010>"))
    });
    let seen = discord.seen();
    assert!(
        seen.len() > 2 && seen.iter().all(|seen| seen.text.chars().count() <= 2000 && !seen.calls_everyone)
    );
    assert!(seen.iter().all(|seen| seen.text.matches("```").count() % 2 == 0), "{seen:?}");
    assert_eq!(seen.iter().map(|seen| seen.text.matches("let a = 1;").count()).sum::<usize>(), 400);
    assert!(seen[0].text.trim_end().ends_with(&format!("(1/{})", seen.len())), "{}", seen[0].text);
    assert!(seen[0].reply_to == Some(asked) && seen[1..].iter().all(|seen| seen.reply_to.is_none()));
    let allowed = &discord.calls("POST messages")[0].body["allowed_mentions"];
    assert_eq!(allowed, &json!({"parse": ["users"], "replied_user": true}));
    discord.refuse("POST messages", [Refusal::new(400, 50035, "Cannot reply to a system message")]);
    let before = discord.seen().len();
    discord.say(GENERAL, ANN, &format!("<@{BOT}> once more"));
    wait::until_true("an answer without a reply", || discord.seen().len() > before);
    assert_eq!(discord.seen()[before].reply_to, None);
}
