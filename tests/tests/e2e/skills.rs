//! Skills: the index in the prompt, the tools that read them, `/name` in a chat, and `skills` of a route.

use hermes_tests::chat::Chat;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::{Value, json};

const SKILL: &str = "skills/writing/deploy/SKILL.md";

fn house(provider: &Provider, chat: &Chat) -> Home {
    let config = Home::config("true", "")
        .replace("engine: echo, ", "")
        .replace("{prompt: 'say {text}'}", "{prompt: 'say {text}', skills: [gone, deploy]}")
        .replacen("platforms:\n", &format!("platforms:\n  {}\n", chat.section("")), 1);
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    let keys = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &keys);
    home.write(
        "default",
        SKILL,
        "---\nname: deploy\ndescription: How a release goes out.\n---\nRun make dist.\n",
    );
    home.write("default", "skills/writing/deploy/references/hosts.md", "host one");
    home
}

fn content(body: &Value, at: usize) -> String {
    body["messages"][at]["content"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn skills_are_named_in_the_prompt_read_by_tools_and_invoked_by_name() {
    let (provider, chat) = (Provider::start(), Chat::start());
    let home = house(&provider, &chat);
    provider.answer_with(|body| {
        let all = body["messages"].as_array().unwrap();
        let results = all.iter().filter(|message| message["role"] == "tool").count();
        let call = |name: &str, arguments: Value| {
            Reply::Calls(vec![(format!("call_{results}"), name.to_owned(), arguments.to_string())])
        };
        match (all[1]["content"].as_str(), results) {
            (Some("go"), 0) => call("skills_list", json!({})),
            (Some("go"), 1) => call("skill_view", json!({"name": "deploy"})),
            (Some("go"), 2) => {
                call("skill_view", json!({"name": "deploy", "file_path": "references/hosts.md"}))
            }
            (Some("go"), 3) => call("skill_view", json!({"name": "deploy", "file_path": "../../../.env"})),
            _ => Reply::text("done"),
        }
    });
    let gateway = Gateway::start(&home);
    assert_eq!(gateway.chat("", home::DEFAULT_KEY, "go").json()["choices"][0]["message"]["content"], "done");
    let last = provider.calls().last().unwrap().body.clone();
    let index = "<available_skills>\n  writing:\n    - deploy: How a release goes out.\n</available_skills>";
    assert!(content(&last, 0).contains(index), "{}", content(&last, 0));
    let results: Vec<Value> = last["messages"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|message| message["role"] == "tool")
        .map(|message| serde_json::from_str(message["content"].as_str().unwrap()).unwrap())
        .collect();
    assert_eq!(results[0]["skills"][0]["name"], "deploy");
    assert!(results[1]["content"].as_str().unwrap().ends_with("Run make dist.\n"), "{}", results[1]);
    assert_eq!(results[2]["content"], "host one");
    assert_eq!(results[3]["success"], false);

    // In a chat its name is a command; by a webhook it is text, and the route says which skill.
    let invoked = "[IMPORTANT: The user has invoked the \"deploy\" skill, indicating they want you to follow its instructions.";
    let asked = |body: &Value| content(body, 1);
    chat.say("ann", "ann", "/deploy tonight");
    chat.wait_seen("ann", "done");
    let text = asked(&provider.calls().last().unwrap().body);
    assert!(text.starts_with(invoked) && text.ends_with("skill invocation: tonight"), "{text}");
    let before = provider.calls().len();
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "/x"}"#).status, 202);
    wait::until_true("the event to be asked", || provider.calls().len() > before);
    let body = provider.calls().last().unwrap().body.clone();
    assert!(
        asked(&body).starts_with(invoked) && asked(&body).ends_with("skill invocation: say /x"),
        "{body}"
    );
    assert!(!content(&body, 0).contains("<available_skills>"), "a webhook is offered no tool to read them");
}
