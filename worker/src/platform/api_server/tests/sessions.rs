//! Sessions as a resource, from the router to the database, with the echo engine behind them.

use std::time::Duration;

use serde_json::{Value, json};

use super::{AUTH, house};
use crate::platform::harness::{Answer, Client, House, request};

async fn open() -> (House, Client) {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    (house, client)
}

async fn ask(client: &Client, method: &str, path: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    client.send(request(method, &format!("/api/sessions{path}"), &[AUTH], body)).await
}

fn refusal(answer: &Answer) -> (u16, String) {
    let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
    (answer.status.as_u16(), code)
}

/// A turn in `mine` as events, whose question was `three`.
fn shows_a_turn(stream: &Answer) {
    assert_eq!(stream.headers["content-type"], "text/event-stream");
    let names: Vec<&str> = stream.text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(
        (names[0], names[1], &names[names.len() - 3..]),
        ("run.started", "message.started", &["assistant.completed", "run.completed", "done"][..])
    );
    let events: Vec<Value> = stream
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        events.iter().zip(1_u64..).all(|(event, seq)| event["seq"] == seq && event["session_id"] == "mine")
    );
    let deltas: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(
        (deltas.as_str(), &events[events.len() - 3]["content"]),
        ("echo (not a model): three", &json!(deltas))
    );
    assert_eq!(events[events.len() - 2]["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_session_is_made_named_talked_to_forked_and_deleted() {
    let (_house, client) = open().await;
    let made = ask(
        &client,
        "POST",
        "",
        &json!({"id": "mine", "title": " My  talk ", "system_prompt": "You are a pirate."}),
    )
    .await;
    assert_eq!(
        (made.status.as_u16(), &made.json()["object"]),
        (201, &json!("hermes.session")),
        "{}",
        made.text
    );
    let session = made.json()["session"].clone();
    assert_eq!(
        (
            &session["id"],
            &session["source"],
            &session["title"],
            &session["message_count"],
            &session["has_system_prompt"]
        ),
        (&json!("mine"), &json!("api_server"), &json!("My talk"), &json!(0), &json!(true))
    );
    assert_eq!(
        refusal(&ask(&client, "POST", "", &json!({"id": "mine"})).await),
        (409, "session_exists".to_owned())
    );
    let other =
        ask(&client, "POST", "", &Value::Null).await.json()["session"]["id"].as_str().unwrap().to_owned();
    assert!(other.starts_with("api_"), "{other}");
    for (body, code) in [
        (json!({"id": "../x"}), "invalid_session_id"),
        (json!({"id": 7}), "invalid_session_id"),
        (json!({"title": 7}), "invalid_title"),
        (json!({"title": "x".repeat(101)}), "invalid_title"),
        (json!({"title": "My talk"}), "invalid_title"),
        (json!({"system_prompt": []}), "invalid_system_prompt"),
        (json!({"colour": "red"}), "unsupported_session_field"),
    ] {
        assert_eq!(refusal(&ask(&client, "POST", "", &body).await), (400, code.to_owned()), "{body}");
    }

    let answer = ask(&client, "POST", "/mine/chat", &json!({"message": "one two"})).await;
    assert_eq!(answer.headers["x-hermes-session-id"], "mine");
    let answer = answer.json();
    assert_eq!(
        (&answer["object"], &answer["session_id"], &answer["message"]),
        (
            &json!("hermes.session.chat.completion"),
            &json!("mine"),
            &json!({"role": "assistant", "content": "echo (not a model): one two"})
        )
    );
    // The session's own prompt of four words, and the question.
    assert_eq!(answer["usage"]["input_tokens"], 6);
    let said = ask(&client, "GET", "/mine/messages", &Value::Null).await.json();
    let said: Vec<_> = said["data"].as_array().unwrap().iter().map(|row| row["role"].clone()).collect();
    assert_eq!(said, ["user", "assistant"]);

    let stream =
        ask(&client, "POST", "/mine/chat/stream", &json!({"input": [{"type": "text", "text": "three"}]}))
            .await;
    shows_a_turn(&stream);

    let forked = ask(&client, "POST", "/mine/fork", &json!({"id": "fork"})).await;
    assert_eq!(forked.status, 201, "{}", forked.text);
    let fork = forked.json()["session"].clone();
    assert_eq!(
        (&fork["title"], &fork["parent_session_id"], &fork["message_count"], &fork["preview"]),
        (&json!("My talk #2"), &json!("mine"), &json!(4), &json!("one two"))
    );
    let source = ask(&client, "GET", "/mine", &Value::Null).await.json()["session"].clone();
    assert_eq!(source["end_reason"], "branched");
    let goes_on = ask(&client, "POST", "/fork/chat", &json!({"message": "x"})).await.json();
    // The pirate, both exchanges, the question.
    assert_eq!(goes_on["usage"]["input_tokens"], 4 + 2 + 6 + 1 + 5 + 1);

    let listed = ask(&client, "GET", "?limit=2", &Value::Null).await.json();
    assert_eq!(
        (&listed["data"][0]["id"], &listed["limit"], &listed["offset"], &listed["has_more"]),
        (&json!("fork"), &json!(2), &json!(0), &json!(true))
    );
    let none = ask(&client, "GET", "?source=cli&offset=1", &Value::Null).await.json();
    assert_eq!((&none["data"], &none["has_more"]), (&json!([]), &json!(false)));

    let patched =
        ask(&client, "PATCH", "/fork", &json!({"title": "Other", "end_reason": "done with it"})).await.json();
    assert_eq!(
        (&patched["session"]["title"], &patched["session"]["end_reason"]),
        (&json!("Other"), &json!("done with it"))
    );
    assert_eq!(
        refusal(&ask(&client, "PATCH", "/fork", &json!({"model": "x"})).await),
        (400, "unsupported_session_field".to_owned())
    );
    let deleted = ask(&client, "DELETE", "/mine", &Value::Null).await.json();
    assert_eq!(deleted, json!({"object": "hermes.session.deleted", "id": "mine", "deleted": true}));
    let fork = ask(&client, "GET", "/fork", &Value::Null).await.json()["session"].clone();
    assert_eq!((&fork["parent_session_id"], &fork["message_count"]), (&Value::Null, &json!(6)));
}

/// What it went on in because it became too long goes with it, and so do files of 0.19.0.
#[tokio::test]
async fn a_conversation_is_deleted_as_a_whole() {
    let (house, client) = open().await;
    ask(&client, "POST", "", &json!({"id": "head"})).await;
    let tail = "UPDATE sessions SET end_reason = 'compression' WHERE id = 'head';
        INSERT INTO sessions(id, source, started_at, parent_session_id) VALUES ('tail', 'api_server', 1, 'head')";
    house.store.write(move |db| db.execute_batch(tail)).await.unwrap();
    let log = house.path("sessions/tail.jsonl");
    fs_err::create_dir_all(log.parent().unwrap()).unwrap();
    fs_err::write(&log, "{}").unwrap();
    let deleted = ask(&client, "DELETE", "/head", &Value::Null).await.json();
    assert_eq!(deleted["deleted"], true);
    let tail = ask(&client, "GET", "/tail", &Value::Null).await;
    assert_eq!(refusal(&tail), (404, "session_not_found".to_owned()));
    assert!(!log.exists());
}

#[tokio::test]
async fn what_is_not_there_or_not_asked_for_rightly_is_refused_by_its_name() {
    let (house, client) = open().await;
    for (method, path) in [
        ("GET", "/x"),
        ("PATCH", "/x"),
        ("DELETE", "/x"),
        ("GET", "/x/messages"),
        ("POST", "/x/fork"),
        ("POST", "/x/chat"),
        ("POST", "/x/chat/stream"),
        ("GET", "/%ff"),
    ] {
        let body = json!({"message": "x"});
        let body = if path.contains("chat") { body } else { json!({}) };
        assert_eq!(
            refusal(&ask(&client, method, path, &body).await),
            (404, "session_not_found".to_owned()),
            "{path}"
        );
        let closed =
            client.send(request(method, &format!("/api/sessions{path}"), &[], body.to_string())).await;
        assert_eq!(closed.status, 401, "{path}");
    }
    ask(&client, "POST", "", &json!({"id": "s"})).await;
    for (body, code) in [
        (json!({}), "missing_message"),
        (json!({"message": "  "}), "missing_message"),
        (json!({"message": "x", "system_message": 7}), "invalid_system_message"),
        (json!({"message": "x", "tools": [{"type": "function"}]}), "unsupported_parameter"),
        (json!({"message": "x", "temperature": 0}), "unsupported_parameter"),
        (json!({"message": [{"type": "input_audio"}]}), "unsupported_content_type"),
    ] {
        assert_eq!(refusal(&ask(&client, "POST", "/s/chat", &body).await), (400, code.to_owned()), "{body}");
    }
    assert_eq!(
        refusal(&ask(&client, "GET", "?limit=x", &Value::Null).await),
        (400, "invalid_value".to_owned())
    );
    // A turn that runs keeps its session.
    let lease =
        "INSERT INTO hermes_lease(session_key, owner_pid, owner_start, taken_at) VALUES ('s', ?1, ?2, 1)";
    let owner = house.store.owner().columns();
    house.store.write(move |db| db.execute(lease, owner)).await.unwrap();
    for (method, path) in [("DELETE", "/s"), ("POST", "/s/fork")] {
        assert_eq!(refusal(&ask(&client, method, path, &json!({})).await), (409, "session_busy".to_owned()));
    }
    let jobs = client.send(request("POST", "/api/jobs/x/run", &[AUTH], "")).await;
    assert_eq!((jobs.status.as_u16(), jobs.json()), (501, json!({"error": "Cron module not available"})));
    let skills = house.path("skills/tidy");
    fs_err::create_dir_all(&skills).unwrap();
    fs_err::write(skills.join("SKILL.md"), "---\nname: tidy\ndescription: Tidies up.\n---\nTidy.\n").unwrap();
    let list = async |path: &str| client.send(request("GET", path, &[AUTH], "")).await.json();
    assert_eq!(
        list("/v1/skills").await,
        json!({"object": "list", "data": [{"name": "tidy", "description": "Tidies up.", "category": "tidy"}]})
    );
    let toolsets = list("/v1/toolsets").await;
    let file = toolsets["data"].as_array().unwrap().iter().find(|group| group["name"] == "file").unwrap();
    assert!(
        toolsets["platform"] == "api_server"
            && file["tools"].as_array().unwrap().contains(&json!("read_file")),
        "{toolsets}"
    );
}
