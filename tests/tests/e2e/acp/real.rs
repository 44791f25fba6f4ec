//! Agents that others wrote, behind a profile: without a key of anybody, and with models on loopback.

use hermes_tests::messages::Messages;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::tools::Clients;
use serde_json::json;

use super::*;

/// The Python program's own agent, in a home of its own, with a model on loopback: it answers, calls a tool, and goes on in its session
/// after a restart.
#[test]
fn d11_the_python_programs_agent_answers() {
    let Some(program) = Clients::HermesAcp.interpreter() else { return };
    let provider = Provider::start();
    provider.answer_with(|body| {
        // It asks for the list of models too.
        let Some(messages) = body["messages"].as_array() else { return Reply::error(404, "not here") };
        let said = |text: &str| messages.iter().any(|message| message["content"].to_string().contains(text));
        match messages.last().map(|last| last["role"].as_str().unwrap()) {
            Some("tool") => Reply::text("It is noted."),
            _ if said("what was my word") => {
                Reply::text(if said("remember xyzzy") { "xyzzy" } else { "no idea" })
            }
            _ if said("note it") => {
                let arguments = json!({"todos": [{"id": "1", "content": "xyzzy", "status": "pending"}]});
                Reply::Calls(vec![("call_1".to_owned(), "todo".to_owned(), arguments.to_string())])
            }
            _ => Reply::text("pong"),
        }
    });
    let home = house(|home| {
        let own = home.user().join("agent-home");
        fs_err::create_dir_all(&own).unwrap();
        fs_err::write(own.join("config.yaml"), provider.model_config()).unwrap();
        fs_err::write(own.join(".env"), "CUSTOM_API_KEY=k\n").unwrap();
        format!(
            "engine: acp, acp: {{command: [/usr/bin/env, HERMES_HOME={own}, '{}'], start_timeout: 120}}",
            program.display()
        )
    });
    let mut gateway = Gateway::start(&home);
    let ask = |gateway: &Gateway<'_>, text: &str| {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": text}]}).to_string();
        let key = format!("Bearer {}", home::DEFAULT_KEY);
        let headers = [
            ("Authorization", key.as_str()),
            ("Content-Type", "application/json"),
            ("X-Hermes-Session-Id", "one"),
        ];
        let answer = gateway.api("POST", "/v1/chat/completions", &headers, body.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    assert_eq!(ask(&gateway, "remember xyzzy, and note it"), "It is noted.");
    let kept = rows(&home);
    assert!(kept.iter().any(|(role, text, _)| role == "tool" && text.contains("xyzzy")), "{kept:?}");
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
    drop(gateway);
    let gateway = Gateway::start(&home);
    let before = provider.calls().len();
    assert_eq!(ask(&gateway, "what was my word"), "xyzzy");
    let body = provider.calls()[before].body.to_string();
    assert!(!body.contains("This conversation so far"), "it had its session again: {body}");
}

/// Claude Code with a model on loopback: it answers, gets its key by name and the profile's own words as part of its system prompt.
#[test]
fn d11_claude_code_answers() {
    let Some(programs) = Clients::Agents.interpreter() else { return };
    let model = Messages::start("pong of a model");
    let home = house(|_| {
        let program = programs.join("claude-agent-acp");
        format!(
            "engine: acp, acp: {{command: ['{}'], env: [ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL], mode: default, start_timeout: 120}}",
            program.display()
        )
    });
    let env = format!(
        "API_SERVER_KEY={}\nANTHROPIC_API_KEY=sk-ant-of-this-test\nANTHROPIC_BASE_URL={}\n",
        home::DEFAULT_KEY,
        model.base_url()
    );
    home.write("default", ".env", &env);
    home.write("default", "SOUL.md", "You are the soul of this test.");
    let mut gateway = Gateway::start(&home);
    let answer = gateway.chat("", home::DEFAULT_KEY, "ping");
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "pong of a model");
    assert!(answer.json()["usage"]["completion_tokens"].as_u64().is_some_and(|tokens| tokens > 0));
    let asked = model.asked();
    let whole = asked.iter().find(|(_, body)| body.to_string().contains("ping")).expect("the question");
    assert_eq!(whole.0, "sk-ant-of-this-test");
    assert!(
        whole.1["system"].to_string().contains("You are the soul of this test."),
        "{}",
        whole.1["system"]
    );
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
}

/// Gemini CLI without a key says how one signs in, and with a key that nobody knows begins a session; the answer is its provider's.
#[test]
fn d11_gemini_cli_says_how_to_sign_in_and_starts() {
    let Some(programs) = Clients::Agents.interpreter() else { return };
    let program = programs.join("gemini");
    let section = |more: &str| {
        let program = program.display();
        format!("engine: acp, acp: {{command: ['{program}', --experimental-acp], start_timeout: 120{more}}}")
    };
    let home = house(|_| section(""));
    let gateway = Gateway::start(&home);
    let answer = gateway.chat("", home::DEFAULT_KEY, "ping");
    assert!(answer.status >= 400, "{}", answer.text());
    let profile = gateway.wait_state("default", "degraded");
    let error = profile.last_error.expect("the reason");
    assert_eq!(error.class, "unauthorized", "{}", error.message);
    assert!(
        error.message.contains("`gemini-api-key`") && error.message.contains("`agent.acp.auth`"),
        "{}",
        error.message
    );
    let worker = gateway.worker("default");
    home.furnish(&Home::config("true", "").replacen(
        "engine: echo",
        &section(", env: [GEMINI_API_KEY], auth: gemini-api-key"),
        1,
    ));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\nGEMINI_API_KEY=nobodys\n", home::DEFAULT_KEY));
    gateway.wait_replaced("default", worker);
    let body = json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "ping"}]});
    // Its provider is away from here: what counts is that it got so far.
    let _stream =
        hermes_tests::http::Connection::open(&gateway.address("api_server")).and_then(|mut connection| {
            let key = format!("Bearer {}", home::DEFAULT_KEY);
            let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
            connection.send(&hermes_tests::http::encode(
                "POST",
                "/v1/chat/completions",
                &headers,
                body.to_string().as_bytes(),
            ))?;
            Ok(connection)
        });
    let kept = || {
        let opened = "select count(*) from hermes_agent_session where theirs <> ''";
        database(&home).query_row(opened, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    wait::until_true("its session to be opened", || kept() == 1);
}
