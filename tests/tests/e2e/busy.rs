//! D19: `display.busy_input_mode`, with a chat, a model and real processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hermes_tests::chat::Chat;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::Value;

/// A home whose default profile has the bot, a model and the tool for trials.
fn house(chat: &Chat, provider: &Provider, mode: &str) -> Home {
    let config = Home::config("true", "")
        .replacen("agent: {engine: echo, ", "agent: {trial_tool: notes.txt, ", 1)
        .replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section("")), 1);
    let home = Home::with_config(&format!(
        "{config}{}display: {{busy_input_mode: {mode}}}\n",
        provider.model_config()
    ));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &env);
    home
}

fn count(home: &Home, what: &str) -> i64 {
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row(&format!("select count(*) from {what}"), [], |row| row.get(0)).unwrap()
}

fn messages(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = body["messages"].as_array().unwrap().iter();
    all.map(|message| (text(&message["role"]), text(&message["content"]))).skip(1).collect()
}

/// What runs is told to stop, says nothing, and stays in the conversation.
#[test]
fn d19_a_newer_message_takes_the_place_of_what_runs() {
    let (chat, provider) = (Chat::start(), Provider::start());
    provider.script([Reply::Hang, Reply::text("both")]);
    let home = house(&chat, &provider, "interrupt");
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "one");
    wait::until_true("the model to be asked", || provider.calls().len() == 1);
    chat.say("ann", "ann", "two");
    chat.wait_seen("ann", "both");
    let ack = "⚡ Interrupting current task. I'll respond to your message shortly.";
    assert_eq!(chat.seen_in("ann"), [ack, "both"]);
    let pair = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    assert_eq!(
        messages(&provider.calls()[1].body),
        [pair("user", "one"), pair("assistant", "[interrupted by a newer message]"), pair("user", "two")]
    );
}

/// A message is put behind the result of the tool that runs, and there is one answer to both.
#[test]
fn d19_a_message_is_put_into_what_runs() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let call = r#"{"line": "x", "before": "go"}"#;
    provider.script([
        Reply::Calls(vec![("c1".to_owned(), "note".to_owned(), call.to_owned())]),
        Reply::text("done"),
    ]);
    let home = house(&chat, &provider, "steer");
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "one");
    wait::until_true("the tool to run", || count(&home, "messages where tool_calls is not null") == 1);
    chat.say("ann", "ann", "and two");
    wait::until_true("the message to wait", || count(&home, "hermes_inbox where state = 'queued'") == 1);
    home.write("default", "go", "");
    chat.wait_seen("ann", "done");
    let ack = "⏩ Steered into current run (iteration 1/90, running: note). Your message arrives after the next tool call.";
    assert_eq!(chat.seen_in("ann"), [ack, "done"]);
    let told = &messages(&provider.calls()[1].body)[2];
    assert_eq!(told.0, "tool");
    assert!(told.1.starts_with("{\"appended\":\"x\"}\n\n[OUT-OF-BAND USER MESSAGE "), "{told:?}");
    assert!(told.1.contains("\nand two\n[/OUT-OF-BAND USER MESSAGE "), "{told:?}");
    assert_eq!(count(&home, "hermes_inbox where state = 'done'"), 2);
}

/// Messages wait in order; whoever is one too many is told.
#[test]
fn d19_a_queue_is_bounded_and_who_does_not_fit_is_told() {
    let (chat, provider) = (Chat::start(), Provider::start());
    provider.script([Reply::Hang]);
    let home = house(&chat, &provider, "queue");
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "0");
    wait::until_true("the model to be asked", || provider.calls().len() == 1);
    for n in 1..=33 {
        chat.say("ann", "ann", &n.to_string());
    }
    chat.wait_seen("ann", "Too many messages wait here already; this one was not taken.");
    assert_eq!(count(&home, "hermes_inbox where state = 'queued'"), 32);
    let ack = "⏳ Queued for the next turn. I'll respond once the current task finishes.";
    let full = "Too many messages wait here already; this one was not taken.";
    assert_eq!(chat.seen_in("ann"), [ack, full], "once in half a minute");
}

/// Nothing is said where nobody wants it; a picture ends no turn, and joins the message that waits. Without a setting a message interrupts.
#[test]
fn d19_pictures_join_what_waits_and_acknowledgements_can_be_off() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let may_go = Arc::new(AtomicBool::new(false));
    let goes = Arc::clone(&may_go);
    provider.answer_with(move |body| {
        if body["messages"].as_array().unwrap().last().unwrap()["content"] != "one" {
            return Reply::text("all of it");
        }
        wait::until_true("the pictures", || goes.load(Ordering::SeqCst));
        Reply::text("one is done")
    });
    let home = house(&chat, &provider, "interrupt");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &config.replace("display: {busy_input_mode: interrupt}\n", ""));
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &format!("{env}HERMES_GATEWAY_BUSY_ACK_ENABLED=false\n"));
    let _gateway = Gateway::start(&home);
    chat.say("ann", "ann", "one");
    wait::until_true("the model to be asked", || provider.calls().len() == 1);
    let png = b"\x89PNG\r\n\x1a\n0123456789";
    for name in ["a.png", "b.png"] {
        chat.attach_as("ann", "ann", "see", (name, "image/png"), png);
        wait::until_true("it to wait", || count(&home, "hermes_inbox where state = 'queued'") == 1);
    }
    wait::until_true("both to be known", || count(&home, "hermes_inbox where state = 'done'") == 1);
    assert_eq!((provider.calls().len(), chat.seen_in("ann").len()), (1, 0), "nothing was interrupted");
    may_go.store(true, Ordering::SeqCst);
    chat.wait_seen("ann", "all of it");
    assert_eq!(chat.seen_in("ann"), ["one is done", "all of it"]);
    let asked =
        provider.calls()[1].body["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
    assert!(asked.contains("a.png") && asked.contains("b.png"), "{asked}");
    assert_eq!(asked.matches("data:image/png").count(), 2, "{asked}");
}

/// What is not begun anew is not interrupted either: a message that comes while sub-agents work, or a conversation is made shorter, has the
/// next turn, and whoever wrote it is told.
#[test]
fn d19_a_message_waits_for_sub_agents_and_for_a_conversation_that_is_made_shorter() {
    for (first, told) in [
        (
            "have it done",
            "⏳ Subagent working — your message is queued for when it finishes (use /stop to cancel everything).",
        ),
        (
            "/compress",
            "⏳ Compressing context — your message is queued for when it finishes (use /stop to cancel everything).",
        ),
    ] {
        let (chat, provider) = (Chat::start(), Provider::start());
        let (asked, may_go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (asks, goes) = (Arc::clone(&asked), Arc::clone(&may_go));
        provider.answer_with(move |body| {
            let messages = body["messages"].as_array().unwrap();
            let system = messages[0]["content"].as_str().unwrap();
            let last = messages.last().unwrap();
            let text = last["content"].as_str().unwrap_or_default();
            if system.starts_with("You are a sub-agent") || system.starts_with("You keep the notes") {
                asks.store(true, Ordering::SeqCst);
                wait::until_true("the message that waits", || goes.load(Ordering::SeqCst));
                return Reply::text("The work is done.");
            }
            match (last["role"].as_str().unwrap(), text) {
                ("tool", _) => Reply::text("one is done"),
                (_, "have it done") => {
                    let task = r#"{"goal": "the work"}"#.to_owned();
                    Reply::Calls(vec![("c1".to_owned(), "delegate_task".to_owned(), task)])
                }
                (_, "two") => Reply::text("and two"),
                _ => Reply::text("so be it"),
            }
        });
        let home = house(&chat, &provider, "interrupt");
        let config = home.read("default", "config.yaml").unwrap();
        let eager = "compression: {protect_first_n: 0, protect_last_n: 1}\n";
        home.write("default", "config.yaml", &format!("{config}{eager}"));
        let gateway = Gateway::start(&home);
        for _ in 0..3 {
            let before = chat.seen_in("ann").len();
            chat.say("ann", "ann", &"word ".repeat(4000));
            wait::until_true("an answer", || chat.seen_in("ann").len() > before);
        }
        wait::until_true("all to be over", || count(&home, "hermes_lease") == 0);
        let before = chat.seen_in("ann").len();
        chat.say("ann", "ann", first);
        wait::until_true("the model to be asked", || asked.load(Ordering::SeqCst));
        chat.say("ann", "ann", "two");
        chat.wait_seen("ann", told);
        may_go.store(true, Ordering::SeqCst);
        chat.wait_seen("ann", "and two");
        let seen = chat.seen_in("ann").split_off(before);
        assert_eq!(seen.len(), 3, "{seen:?}\n{}", gateway.output());
        assert_eq!((seen[0].as_str(), seen[2].as_str()), (told, "and two"));
        let expected = if first == "/compress" { "The conversation is shorter now" } else { "one is done" };
        assert!(seen[1].starts_with(expected), "{seen:?}");
        drop(gateway);
    }
}
