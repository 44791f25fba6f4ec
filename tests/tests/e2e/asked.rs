//! `clarify`: the model asks whoever it works for, in a chat, and the next message there is the answer, whatever messages do otherwise.

use hermes_tests::chat::Chat;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::{Value, json};

fn house(chat: &Chat, provider: &Provider, more: &str) -> Home {
    let config = Home::config("true", "")
        .replacen("agent: {engine: echo, ", "agent: {clarify_timeout: 600, ", 1)
        .replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section("")), 1);
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &env);
    home
}

/// Asks once, then answers with what was said, or with what the question came to.
fn asks(provider: &Provider) {
    provider.answer_with(|body| {
        let last = body["messages"].as_array().unwrap().last().unwrap();
        if last["role"] != "tool" {
            let given = json!({"question": "Where to?", "choices": ["staging", "production"]});
            return match last["content"].as_str() {
                Some("deploy") => {
                    Reply::Calls(vec![("c1".to_owned(), "clarify".to_owned(), given.to_string())])
                }
                other => Reply::text(&format!("answer to {}", other.unwrap_or_default())),
            };
        }
        let result: Value = serde_json::from_str(last["content"].as_str().unwrap()).unwrap();
        let said = result["user_response"].as_str().or(result["error"].as_str()).unwrap();
        Reply::text(&format!("so: {}", said.split(':').next().unwrap()))
    });
}

fn count(home: &Home, what: &str) -> i64 {
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row(&format!("select count(*) from {what}"), [], |row| row.get(0)).unwrap()
}

const QUESTION: &str =
    "❓ Where to?\n\n1. staging\n2. production\n\nAnswer with a number, or in your own words.";

/// In every mode of a busy session; the message behind the answer has its own turn.
#[test]
fn the_next_message_is_the_answer_in_every_mode() {
    for mode in ["", "display: {busy_input_mode: interrupt}\n", "display: {busy_input_mode: steer}\n"] {
        let (chat, provider) = (Chat::start(), Provider::start());
        let home = house(&chat, &provider, mode);
        asks(&provider);
        let _gateway = Gateway::start(&home);
        chat.say("ann", "ann", "deploy");
        chat.wait_seen("ann", QUESTION);
        // Another chat is no part of this.
        chat.say("bob", "bob", "hello");
        chat.wait_seen("bob", "answer to hello");
        chat.say("ann", "ann", "2");
        chat.wait_seen("ann", "so: production");
        chat.say("ann", "ann", "thanks");
        chat.wait_seen("ann", "answer to thanks");
        assert_eq!(chat.seen_in("ann"), [QUESTION, "so: production", "answer to thanks"], "{mode}");
        wait::until_true("every message to be done", || {
            count(&home, "hermes_inbox where state = 'done'") == 4
        });
        assert_eq!(count(&home, "messages where role = 'user' and content = '2'"), 0, "{mode}");
    }
}

/// A worker that is killed while it asks: the model is told that nobody knows, and what is said afterwards is a message like any other.
#[test]
fn a_question_of_a_process_that_died_is_no_answer_lost() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    asks(&provider);
    let gateway = Gateway::start(&home);
    chat.say("ann", "ann", "deploy");
    chat.wait_seen("ann", QUESTION);
    gateway.kill_worker("default");
    chat.wait_seen("ann", "so: The result is unknown");
    chat.say("ann", "ann", "production");
    chat.wait_seen("ann", "answer to production");
    assert_eq!(chat.seen_in("ann"), [QUESTION, "so: The result is unknown", "answer to production"]);
}

/// A webhook has nobody to ask, and a client of the API is not offered the tool.
#[test]
fn where_nobody_can_be_asked_the_model_is_told() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    let gateway = Gateway::start(&home);
    provider.script([
        Reply::Calls(vec![(
            "c1".to_owned(),
            "clarify".to_owned(),
            json!({"question": "Where?"}).to_string(),
        )]),
        Reply::text("decided"),
    ]);
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    wait::until_true("the model to be told", || provider.calls().len() >= 2);
    let told = provider.calls()[1].body["messages"].as_array().unwrap().last().unwrap().clone();
    assert!(told["content"].as_str().unwrap().contains("nobody can be asked here"), "{told}");
    wait::until_true("the end of the turn", || count(&home, "hermes_inbox where state = 'done'") == 1);
    let before = provider.calls().len();
    let answer = gateway.chat("", home::DEFAULT_KEY, "go").json();
    assert_eq!(answer["choices"][0]["message"]["content"], "pong");
    let offered = provider.calls()[before].body["tools"].clone();
    let names: Vec<&str> =
        offered.as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"delegate_task") && !names.contains(&"clarify"), "{names:?}");
}

/// `skills.write_approval`, `memory.write_approval`: whoever is there is shown what is to be written, and only a yes writes it.
#[test]
fn a_skill_is_written_when_somebody_approves_of_it() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "skills: {write_approval: true}\nmemory: {write_approval: true}\n");
    provider.answer_with(|body| {
        let last = body["messages"].as_array().unwrap().last().unwrap();
        let text = last["content"].as_str().unwrap();
        if last["role"] == "tool" {
            let result: Value = serde_json::from_str(text).unwrap();
            let success = result["success"] == true;
            return Reply::text(if success { "written" } else { result["error"].as_str().unwrap() });
        }
        let (tool, given) = match text {
            "remember" => ("memory", json!({"target": "memory", "action": "add", "content": "tea is liked"})),
            name => {
                let content = format!("---\nname: {name}\ndescription: How it is done.\n---\n1. do it\n");
                ("skill_manage", json!({"action": "create", "name": name, "content": content}))
            }
        };
        Reply::Calls(vec![("c1".to_owned(), tool.to_owned(), given.to_string())])
    });
    let gateway = Gateway::start(&home);
    let asks = |text: &str, answer: &str, outcome: &str| {
        let before = chat.seen_in("ann").len();
        chat.say("ann", "ann", text);
        let question = wait::until("the question", || chat.seen_in("ann").get(before).cloned());
        assert!(question.contains("write_approval` asks."), "{question}");
        chat.say("ann", "ann", answer);
        let said = wait::until("the outcome", || chat.seen_in("ann").get(before + 1).cloned());
        assert!(said.contains(outcome), "{said}");
        question
    };
    let skill = |name: &str| home.read("default", &format!("skills/{name}/SKILL.md"));
    let question = asks("good", "/approve", "written");
    assert!(
        question.contains("May the skill `good` be written?") && question.contains("1. do it"),
        "{question}"
    );
    asks("bad", "/deny too vague", "nothing was written: the user denied it: too vague");
    assert!(skill("good").is_some() && skill("bad").is_none());
    let question = asks("remember", "no", "the user denied it");
    assert!(question.contains("tea is liked"), "{question}");
    asks("remember", "yes", "written");
    assert_eq!(home.read("default", "memories/MEMORY.md").as_deref(), Some("tea is liked"));
    // Nobody can be asked in the API without events.
    let answer = gateway.chat("", home::DEFAULT_KEY, "other").json();
    let said = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(said.contains("`skills.write_approval` asks for somebody's approval"), "{said}");
    assert!(skill("other").is_none());
}
