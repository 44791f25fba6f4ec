//! D19: `display.busy_input_mode`, with a chat, a model and real processes.

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
    assert_eq!(chat.seen_in("ann"), ["both"]);
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
    assert_eq!(chat.seen_in("ann"), ["done"]);
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
    assert_eq!(chat.seen_in("ann").len(), 1);
}
