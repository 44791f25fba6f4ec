//! `delegate_task` and `send_message`, with a model and real processes.

use std::time::Duration;

use hermes_tests::chat::Chat;
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::{Value, json};

fn house(chat: &Chat, provider: &Provider, more: &str) -> Home {
    let config = Home::config("true", "")
        .replacen("agent: {engine: echo, ", "agent: {trial_tool: notes.txt, ", 1)
        .replacen(
            "platforms:\n",
            &format!(
                "platforms:\n  {}\n",
                chat.section(", gateway_restart_notification: false, home_channel: {chat_id: hq}")
            ),
            1,
        );
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n{}", home::DEFAULT_KEY, Chat::env());
    home.write("default", ".env", &env);
    home
}

fn database(home: &Home) -> rusqlite::Connection {
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db
}

fn call(id: &str, name: &str, arguments: &Value) -> Reply {
    Reply::Calls(vec![(id.to_owned(), name.to_owned(), arguments.to_string())])
}

fn said(body: &Value, role: &str) -> Vec<String> {
    let all = body["messages"].as_array().unwrap().iter().filter(|message| message["role"] == role);
    all.map(|message| message["content"].as_str().unwrap_or_default().to_owned()).collect()
}

fn tools(body: &Value) -> Vec<&str> {
    let all = body["tools"].as_array().into_iter().flatten();
    all.filter_map(|tool| tool["function"]["name"].as_str()).collect()
}

/// Children work side by side with tools of their own, report in order, and cost their parent.
#[test]
fn children_do_pieces_of_the_work_and_their_parent_pays() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    provider.answer_with(|body| {
        let (asked, results) = (said(body, "user"), said(body, "tool"));
        match (asked[0].as_str(), results.len()) {
            ("go", 0) => call("c1", "delegate_task", &json!({"tasks": [{"goal": "write a", "context": "now"}, {"goal": "write b"}, {"goal": "fail"}]})),
            ("go", _) => Reply::text(&results[0]),
            ("fail", _) => Reply::error(400, "no"),
            (task, 0) => call("c1", "note", &json!({"line": task.lines().next().unwrap()})),
            (task, _) => Reply::text(&format!("did {}", task.lines().next().unwrap())),
        }
    });
    let gateway = Gateway::start(&home);
    let answer = gateway.chat("", home::DEFAULT_KEY, "go").json();
    let report: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    let of = |at: usize, key: &str| report["results"][at][key].clone();
    assert_eq!(
        (of(0, "summary"), of(1, "summary")),
        (json!("did write a"), json!("did write b")),
        "{report}"
    );
    assert_eq!((of(0, "api_calls"), of(2, "status")), (json!(2), json!("failed")));
    let mut notes: Vec<String> =
        home.read("default", "notes.txt").unwrap().lines().map(str::to_owned).collect();
    notes.sort();
    assert_eq!(notes, ["write a", "write b"]);
    let calls = provider.calls();
    let child = calls.iter().find(|call| said(&call.body, "user")[0].starts_with("write a")).unwrap();
    assert_eq!(said(&child.body, "user"), ["write a\n\nContext:\nnow"]);
    for lacking in ["delegate_task", "clarify", "memory", "send_message", "todo"] {
        assert!(!tools(&child.body).contains(&lacking), "{lacking}");
    }
    assert!(tools(&child.body).contains(&"read_file"));
    // Six calls, each of 11 and 5 tokens, as the fake provider says; the failed one cost nothing.
    assert_eq!(answer["usage"]["total_tokens"], 16 * 6, "{answer}");
    let db = database(&home);
    let booked: (i64, i64) = db
        .query_row(
            "select api_call_count, input_tokens from session_model_usage where task = 'delegation'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .unwrap();
    let all: (i64, i64) = db
        .query_row("select input_tokens, message_count from sessions", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .unwrap();
    assert_eq!(booked.0, 4);
    assert!(booked.1 > 0 && all.0 == booked.1 / 4 * 6, "{booked:?} {all:?}");
    assert_eq!(all.1, 4, "nothing of a child is stored");
}

/// Sub-agents ask a model of their own, with its key; where it does not answer, the profile's own does their work.
#[test]
fn children_have_a_model_of_their_own_and_fall_back_to_the_profile_s() {
    let (chat, provider, cheap) = (Chat::start(), Provider::start(), Provider::start());
    let more = format!(
        "\ndelegation: {{model: small, base_url: \"{}\", api_key: cheap-key, api_mode: chat_completions}}\n",
        cheap.base_url()
    );
    let home = house(&chat, &provider, &more);
    provider.answer_with(|body| match (said(body, "user")[0].as_str(), said(body, "tool").len()) {
        ("go", 0) => call("c1", "delegate_task", &json!({"tasks": [{"goal": "work"}, {"goal": "refused"}]})),
        ("go", _) => Reply::text(&said(body, "tool")[0]),
        _ => Reply::text("done by the profile's own"),
    });
    cheap.answer_with(|body| match said(body, "user")[0].as_str() {
        "work" => Reply::text("done by the small one"),
        _ => Reply::error(401, "no such key"),
    });
    let gateway = Gateway::start(&home);
    let answer = gateway.chat("", home::DEFAULT_KEY, "go").json();
    let report: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    assert_eq!(report["results"][0]["summary"], "done by the small one", "{report}");
    assert_eq!(report["results"][1]["summary"], "done by the profile's own", "{report}");
    for asked in cheap.calls() {
        assert!(asked.body["model"] == "small" && asked.head.contains("Bearer cheap-key"), "{asked:?}");
    }
    assert!(provider.calls().iter().all(|asked| !asked.head.contains("cheap-key")));
}

/// A worker that is killed while a child works: the result of the call is unknown, nobody does the work again by itself.
#[test]
fn work_of_children_that_died_with_their_worker_is_unknown() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "");
    provider.answer_with(|body| match (said(body, "user")[0].as_str(), said(body, "tool").pop()) {
        ("go", None) => call("c1", "delegate_task", &json!({"goal": "hang"})),
        ("go", Some(result)) => Reply::text(if result.contains("unknown") { "unknown" } else { "known" }),
        _ => Reply::Hang,
    });
    let gateway = Gateway::start(&home);
    chat.say("ann", "ann", "go");
    wait::until_true("the child to be asked", || provider.calls().len() == 2);
    gateway.kill_worker("default");
    chat.wait_seen("ann", "unknown");
    assert_eq!(provider.calls().len(), 3);
}

/// A message goes to a chat that somebody chose, once, also where the worker died before the result of the call was kept.
#[test]
fn a_message_to_another_chat_is_sent_once() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "toolsets: [hermes-cli, messaging]\n");
    provider.answer_with(|body| {
        let (asked, results) = (said(body, "user"), said(body, "tool"));
        match (asked.last().unwrap().as_str(), results.len()) {
            ("go", 0) => call("c0", "send_message", &json!({"action": "list"})),
            ("go", 1) => call("c1", "send_message", &json!({"target": "testchat", "message": "to all"})),
            ("go", 2) => call("c2", "send_message", &json!({"target": "testchat:nobody", "message": "x"})),
            ("go", _) => Reply::text(&results.join("\n")),
            ("ask", _) => Reply::text("hi ann"),
            _ => Reply::text("pong"),
        }
    });
    let gateway = Gateway::start(&home);
    chat.say("ann", "ann", "ask");
    chat.wait_seen("ann", "hi ann");
    let answer = gateway.chat("", home::DEFAULT_KEY, "go").json();
    let results = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let results: Vec<Value> = results.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        results[0]["targets"][0],
        json!({"target": "testchat:hq", "name": null, "type": "", "home": true}),
        "{results:?}"
    );
    assert_eq!(results[0]["targets"][1]["target"], "testchat:ann");
    assert_eq!(results[1]["success"], true, "{results:?}");
    assert!(results[2]["error"].as_str().unwrap().contains("messages go to no other"), "{results:?}");
    chat.wait_seen("hq", "to all");
    assert_eq!(chat.seen_in("hq"), ["to all"]);

    // The call is committed and its message taken over; the result is not kept when the worker dies.
    provider.answer_with(|body| {
        let last = body["messages"].as_array().unwrap().last().unwrap();
        match last["role"].as_str() {
            Some("tool") if last["content"].as_str().unwrap().contains("taken over") => {
                Reply::text("it was sent")
            }
            Some("tool") => Reply::Hang,
            _ => call("c9", "send_message", &json!({"target": "testchat", "message": "once"})),
        }
    });
    chat.say("bob", "bob", "tell them");
    chat.wait_seen("hq", "once");
    wait::until_true("the model to be asked again", || {
        provider.calls().last().is_some_and(|call| said(&call.body, "tool").len() == 1)
    });
    // As if the process had died between the two commits.
    gateway.kill_worker("default");
    drop(gateway);
    let db = database(&home);
    let gone = db.execute("delete from messages where role = 'tool' and tool_call_id = 'c9'", []).unwrap();
    assert_eq!(gone, 1);
    let _gateway = Gateway::start(&home);
    chat.wait_seen("bob", "it was sent");
    assert_eq!(chat.seen_in("hq"), ["to all", "once"]);
}

/// Commands of sub-agents that work side by side are each in a place of their own, which begins where the conversation is and moves nobody else.
#[test]
fn sub_agents_have_a_directory_each() {
    let (chat, provider) = (Chat::start(), Provider::start());
    let home = house(&chat, &provider, "terminal: {fence: 'off'}\n");
    let run = |id: usize, command: &str| call(&format!("c{id}"), "terminal", &json!({"command": command}));
    provider.answer_with(move |body| {
        let (asked, results) = (said(body, "user"), said(body, "tool"));
        let output = |text: &str| -> String {
            let result: Value = serde_json::from_str(text).unwrap();
            result["output"].as_str().unwrap_or_default().trim().to_owned()
        };
        match (asked[0].as_str(), results.len()) {
            ("go", 0) => run(0, "mkdir -p top/a top/b && cd top"),
            ("go", 1) => call("c1", "delegate_task", &json!({"tasks": [{"goal": "a"}, {"goal": "b"}]})),
            ("go", 2) => run(2, "pwd"),
            ("go", _) => Reply::text(&format!("{}\n{}", results[1], output(&results[2]))),
            // Neither goes on before the other has moved.
            (task, 0) => {
                let other = if task == "a" { "b" } else { "a" };
                run(
                    0,
                    &format!("cd {task}; touch moved; until test -e ../{other}/moved; do sleep 0.02; done"),
                )
            }
            (_, 1) => run(1, "pwd"),
            (_, _) => Reply::text(&output(&results[1])),
        }
    });
    let gateway = Gateway::start(&home);
    let answer = gateway.chat("", home::DEFAULT_KEY, "go").json();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap_or_else(|| panic!("{answer}"));
    let (report, own) = text.rsplit_once('\n').unwrap();
    let report: Value = serde_json::from_str(report).unwrap_or_else(|error| panic!("{error}: {text}"));
    let top = home.root().join("workspace").canonicalize_utf8().unwrap().join("top");
    assert_eq!(report["results"][0]["summary"], format!("{top}/a"), "{report}");
    assert_eq!(report["results"][1]["summary"], format!("{top}/b"), "{report}");
    assert_eq!(own, top);
}
