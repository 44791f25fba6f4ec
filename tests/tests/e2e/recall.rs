//! Earlier sessions, and what is to be done: the tools `session_search` and `todo`.

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home};
use serde_json::{Value, json};

fn say(gateway: &Gateway<'_>, session: &str, text: &str) -> String {
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let headers = [("Authorization", key.as_str()), ("X-Hermes-Session-Id", session)];
    let body = json!({"messages": [{"role": "user", "content": text}]}).to_string();
    let answer = gateway.api("POST", "/v1/chat/completions", &headers, body.as_bytes()).json();
    answer["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// A question `tool {…}` has that tool called, and is answered with its result.
#[test]
fn earlier_sessions_are_found_and_the_list_lasts() {
    let provider = Provider::start();
    let config = Home::config("true", "").replace("engine: echo, ", "");
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n", home::DEFAULT_KEY));
    provider.answer_with(|body| {
        let last = body["messages"].as_array().unwrap().last().unwrap();
        let content = last["content"].as_str().unwrap();
        match content.split_once(" {").filter(|_| last["role"] == "user") {
            Some((tool, arguments)) => {
                let id = format!("call_{}", body["messages"].as_array().unwrap().len());
                Reply::Calls(vec![(id, tool.to_owned(), format!("{{{arguments}"))])
            }
            None => Reply::text(content),
        }
    });
    let gateway = Gateway::start(&home);
    let call = |session: &str, tool: &str, arguments: Value| -> Value {
        let said = say(&gateway, session, &format!("{tool} {arguments}"));
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"))
    };
    say(&gateway, "one", "the kettle is in the blue cupboard");
    say(&gateway, "two", "where is the kettle");
    let found = call("two", "session_search", json!({"query": "kettle"}));
    assert_eq!((&found["count"], &found["results"][0]["session_id"]), (&json!(1), &json!("one")), "{found}");
    assert!(found["results"][0]["snippet"].as_str().unwrap().contains(">>>kettle<<<"), "{found}");
    assert_eq!(call("two", "session_search", json!({"query": "AND \" ( NEAR"}))["success"], true);

    let items = json!({"todos": [{"id": "1", "content": "boil water", "status": "in_progress"}]});
    assert_eq!(call("two", "todo", items)["summary"]["in_progress"], 1);
    let worker = gateway.worker("default");
    gateway.kill_worker("default");
    gateway.wait_replaced("default", worker);
    let list = call("two", "todo", json!({"merge": true, "todos": [{"id": "1", "status": "completed"}]}));
    assert_eq!(list["todos"], json!([{"id": "1", "content": "boil water", "status": "completed"}]));
    assert_eq!(call("one", "todo", json!({}))["summary"]["total"], 0);
}
