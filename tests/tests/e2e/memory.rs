//! What a profile keeps between sessions: the model's tool `memory`, the files, and the prompt of the next session.

use hermes_tests::command::run;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home};
use serde_json::{Value, json};

fn with_model(provider: &Provider) -> Home {
    let config = Home::config("true", "").replace("engine: echo, ", "");
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n", home::DEFAULT_KEY));
    home
}

fn say(gateway: &Gateway<'_>, session: &str, text: &str) -> String {
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let headers = [("Authorization", key.as_str()), ("X-Hermes-Session-Id", session)];
    let body = json!({"messages": [{"role": "user", "content": text}]}).to_string();
    let answer = gateway.api("POST", "/v1/chat/completions", &headers, body.as_bytes()).json();
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn system(body: &Value) -> &str {
    body["messages"][0]["content"].as_str().unwrap()
}

/// Kept at once, seen by the next session, and not by the one that is under way, whose prompt stays byte for byte as it was.
#[test]
fn what_the_model_keeps_is_in_the_prompt_of_the_next_session() {
    let provider = Provider::start();
    let home = with_model(&provider);
    home.profile("coder");
    provider.answer_with(|body| {
        let last = body["messages"].as_array().unwrap().last().unwrap();
        match (last["role"].as_str(), last["content"].as_str()) {
            (Some("user"), Some("keep")) => {
                let add = json!({"target": "user", "action": "add", "content": "Ana, short answers"});
                Reply::Calls(vec![("call_1".to_owned(), "memory".to_owned(), add.to_string())])
            }
            (_, content) => Reply::text(content.unwrap()),
        }
    });
    let gateway = Gateway::start(&home);
    let told: Value = serde_json::from_str(&say(&gateway, "one", "keep")).unwrap();
    assert_eq!(
        told,
        json!({"success": true, "done": true, "target": "user", "usage": "1% — 18/1,375 chars", "entry_count": 1,
            "message": "Entry added.", "note": "Write saved. This update is complete — do not repeat it."})
    );
    assert_eq!(home.read("default", "memories/USER.md").as_deref(), Some("Ana, short answers"));
    assert!(!home.of("coder").join("memories").exists());
    say(&gateway, "one", "again");
    say(&gateway, "two", "hello");
    let calls = provider.calls();
    let prompts: Vec<&str> = calls.iter().map(|call| system(&call.body)).collect();
    assert!(!prompts[0].contains("Ana") && prompts[0].contains("tool `memory`"), "{}", prompts[0]);
    assert_eq!(prompts[..3], [prompts[0]; 3]);
    let rule = "═".repeat(46);
    let block = format!(
        "\n\n{rule}\nUSER PROFILE (who the user is) [1% — 18/1,375 chars]\n{rule}\nAna, short answers\n\nConversation started: "
    );
    assert!(prompts[3].contains(&block), "{}", prompts[3]);

    let shown = run(&home, &["memory", "show"]).ok();
    assert!(
        shown.contains("memory (0% — 0/2,200 chars)") && shown.contains("  - Ana, short answers\n"),
        "{shown}"
    );
    let shown: Value = serde_json::from_str(&run(&home, &["memory", "show", "--json"]).ok()).unwrap();
    assert_eq!(shown["memories"][1]["entries"], json!([{"text": "Ana, short answers", "blocked": []}]));
    assert_eq!(shown["memories"][1]["limit"], 1375);
}
