//! Stock clients of the OpenAI API against a real gateway, with a provider behind it that answers by what it is asked. The scripts are in
//! `tests/clients`; where a client is not installed its test is skipped, and says so.

#![expect(clippy::disallowed_methods, reason = "the tests start the clients' own interpreters")]

use std::collections::HashMap;
use std::process::Command;
use std::sync::Mutex;

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::tap::Tap;
use hermes_tests::tools::Clients;
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::{Value, json};

/// The text of a message.
fn text(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// What the provider answers to a request. `tries` counts requests by what they ask.
fn answer(body: &Value, tries: &Mutex<HashMap<String, u32>>) -> Reply {
    let messages = body["messages"].as_array().unwrap();
    let asked = messages.iter().rev().find(|message| message["role"] == "user").map(text).unwrap_or_default();
    let talk = messages.iter().filter(|message| message["role"] != "system");
    let is_result = |message: &&Value| message["role"] == "tool";
    if messages.last().as_ref().is_some_and(is_result) {
        let results: Vec<String> = messages.iter().filter(is_result).map(text).collect();
        return Reply::text(&results[results.len() - 2..].join(", "));
    }
    match asked.split_whitespace().next().unwrap_or_default() {
        "plain" => Reply::Text(vec!["po".to_owned(), "ng".to_owned()]),
        "how" => Reply::text(&talk.count().to_string()),
        "the" => {
            let call = |id: &str, place: &str| {
                (format!("call_{id}"), "weather".to_owned(), json!({ "place": place }).to_string())
            };
            Reply::Calls(vec![call("a", "here"), call("b", "there")])
        }
        "parameters" => {
            let known = ["temperature", "seed", "max_tokens", "stop", "top_k"];
            let sent: serde_json::Map<String, Value> = known
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), body.get(*name)?.clone())))
                .collect();
            Reply::text(&Value::Object(sent).to_string())
        }
        "json" if matches!(body["response_format"]["type"].as_str(), Some("json_object" | "json_schema")) => {
            Reply::text(r#"{"answer": 42}"#)
        }
        "look" if body.to_string().contains("data:image/png;base64,iVBORw0KGgo=") => Reply::text("a picture"),
        "deny" => Reply::error(401, "no such account"),
        "busy" => {
            let mut tries = tries.lock().unwrap();
            let nth = tries.entry(asked).or_default();
            *nth += 1;
            if *nth == 1 { Reply::error(503, "come back") } else { Reply::text("at last") }
        }
        "endless" => Reply::Endless,
        _ => Reply::error(400, "nobody knows what this means"),
    }
}

/// Runs a script to its end and looks at what came of it on both sides of the gateway.
fn run(clients: Clients, script: &str, client: &str) {
    let Some(interpreter) = clients.interpreter() else { return };
    let provider = Provider::start();
    let tries = Mutex::default();
    provider.answer_with(move |body| answer(body, &tries));
    // One try a turn: whoever repeats is the client.
    let config = Home::config("true", "").replace("engine: echo, ", "api_max_retries: 1, ");
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=the-model-key\n", home::DEFAULT_KEY),
    );
    let gateway = Gateway::start(&home);
    let tap = Tap::start(&gateway.address("api_server"));

    // Beside the clients: there Node finds them.
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    let copy = Clients::directory().join(format!("{}-{script}", std::process::id()));
    fs_err::copy(source, &copy).unwrap();
    let output = Command::new(interpreter)
        .arg(&copy)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home.user())
        .env("HERMES_BASE_URL", format!("http://{}/v1", tap.address))
        .env("HERMES_API_KEY", home::DEFAULT_KEY)
        // Neither asks anybody else.
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("LANGSMITH_TRACING", "false")
        .output();
    fs_err::remove_file(&copy).unwrap();
    let output = output.unwrap();
    let said = hermes_tests::gateway::both(&output);
    assert!(output.status.success(), "{script}:\n{said}");

    assert_eq!(tap.count(&format!("wrong-key-of-{client}")), 1, "a wrong key is tried once:\n{said}");
    let asked = |what: &str| {
        let what = format!("{what} {client}");
        let mut tries: HashMap<String, u32> = HashMap::new();
        for call in provider.calls() {
            let last = call.body["messages"].as_array().and_then(|all| all.last()).map(text);
            if let Some(text) = last.filter(|text| text.starts_with(&what)) {
                *tries.entry(text).or_default() += 1;
            }
        }
        assert!(!tries.is_empty(), "{what}");
        tries
    };
    assert!(asked("deny").values().all(|tries| *tries == 1), "what will not pass is tried once");
    assert!(asked("busy").values().all(|tries| *tries == 2), "what passes is tried again");
    asked("endless");
    wait::until_true("answers that nobody reads to end", || {
        gateway.get("/health/detailed", home::DEFAULT_KEY).json()["active_agents"] == 0
    });
}

/// Wires 7: the `openai` package for Python.
#[test]
fn w7_openai_for_python() {
    run(Clients::Python, "with_openai.py", "openai-python");
}

/// Wires 7: litellm, as a library.
#[test]
fn w7_litellm() {
    run(Clients::Python, "with_litellm.py", "litellm");
}

/// `llm`, the program for terminals.
#[test]
fn llm_for_terminals() {
    run(Clients::Python, "with_llm.py", "llm");
}

/// Wires 7: langchain-openai.
#[test]
fn w7_langchain() {
    run(Clients::Python, "with_langchain.py", "langchain");
}

/// Wires 7: the `openai` package for Node.
#[test]
fn w7_openai_for_node() {
    run(Clients::Node, "with_openai.mjs", "openai-node");
}

/// Wires 7: the AI SDK, with both of its providers that speak this wire.
#[test]
fn w7_ai_sdk() {
    run(Clients::Node, "with_ai_sdk.mjs", "ai-sdk");
}

/// A conversation with an image, a call, its result and tools, as it is sent on each wire, is of the types that its vendor's library has
/// for it: no field is unknown, none is missing.
#[test]
fn requests_are_of_the_types_of_their_vendors() {
    let Some(interpreter) = Clients::Python.interpreter() else { return };
    let provider = Provider::start();
    let named =
        format!("{{base_url: '{}', api_key: k, api_mode: MODE, default_model: m}}", provider.base_url());
    let config = |name: &str, mode: &str| {
        let declared = named.replace("MODE", mode);
        format!("model: {{default: m, provider: {name}}}\nproviders: {{{name}: {declared}}}\n")
    };
    let own = Home::config("true", "").replace("engine: echo, ", "");
    let home = Home::with_config(&format!("{own}{}", config("one", "chat_completions")));
    for (name, mode) in [("two", "anthropic_messages"), ("three", "codex_responses")] {
        let env = format!("API_SERVER_KEY={}\n", Home::key(name));
        home.profile_with(name, &config(name, mode), &env);
    }
    let gateway = Gateway::start(&home);
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 1}"}});
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}});
    let parameters = json!({"type": "object", "properties": {"at": {"type": "integer"}}});
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}});
    let body = json!({
        "model": "x",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "look at this"}, image]},
            {"role": "assistant", "content": "I look.", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": "seen"},
            {"role": "user", "content": "well?"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": parameters}}],
        "tool_choice": "auto", "reasoning_effort": "low", "response_format": schema, "max_tokens": 99,
    });
    let mut requests = Vec::new();
    for (prefix, key, wire) in [
        ("", home::DEFAULT_KEY.to_owned(), "chat"),
        ("/p/two", Home::key("two"), "messages"),
        ("/p/three", Home::key("three"), "responses"),
    ] {
        let key = format!("Bearer {key}");
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
        let path = format!("{prefix}/v1/chat/completions");
        let answer = gateway.api("POST", &path, &headers, body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{wire}: {}", answer.text());
        requests.push((wire, provider.calls().pop().unwrap().body));
    }
    let file = home.user().join("requests.json");
    fs_err::write(&file, json!(requests).to_string()).unwrap();
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/wire_types.py");
    let output = Command::new(interpreter).arg(script).arg(file.as_std_path()).env_clear().output().unwrap();
    assert!(output.status.success(), "{}\n{requests:#?}", hermes_tests::gateway::both(&output));
}
