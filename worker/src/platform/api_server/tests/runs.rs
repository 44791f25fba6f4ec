//! Runs from the router to the store, with the echo engine behind them.

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::{AUTH, house, say};
use crate::platform::harness::{Answer, Client, House, request};

async fn post(client: &Client, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![AUTH];
    all.extend_from_slice(headers);
    client.send(request("POST", path, &all, body.to_string())).await
}

async fn get(client: &Client, path: &str) -> Answer {
    client.send(request("GET", path, &[AUTH], "")).await
}

async fn submit(client: &Client, body: &Value) -> String {
    let answer = post(client, "/v1/runs", &[], body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    assert_eq!(answer.json()["status"], "started");
    answer.json()["run_id"].as_str().unwrap().to_owned()
}

/// All of a run's events, which come to their end with it.
async fn events(client: &Client, id: &str, after: Option<&str>) -> (Vec<Value>, String) {
    let mut headers = vec![AUTH];
    headers.extend(after.map(|after| ("last-event-id", after)));
    let answer = client.send(request("GET", &format!("/v1/runs/{id}/events"), &headers, "")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["content-type"].as_bytes()),
        (200, &b"text/event-stream"[..])
    );
    let data = answer.text.lines().filter_map(|line| line.strip_prefix("data: "));
    (data.map(|line| serde_json::from_str(line).unwrap()).collect(), answer.text)
}

async fn open(delay: Duration) -> (House, Client) {
    let house = house(delay, |_| {});
    house.context.turns.serve_inbox();
    let client = house.start("api_server").await.unwrap();
    (house, client)
}

#[tokio::test]
async fn a_run_is_read_while_it_goes_on_and_after_its_end_as_often_as_one_likes() {
    let (_house, client) = open(Duration::from_millis(5)).await;
    let id =
        submit(&client, &json!({"input": "one two", "model": "any-name", "instructions": "Be kind."})).await;
    let (first, second) = tokio::join!(events(&client, &id, None), events(&client, &id, None));
    let (told, text) = first;
    assert_eq!(told, second.0);
    let answer: String = told.iter().filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(answer, "echo (not a model): one two");
    let last = told.last().unwrap();
    assert_eq!(
        (&last["event"], &last["output"], &last["run_id"]),
        (&json!("run.completed"), &json!(answer), &json!(id))
    );
    assert!(last["timestamp"].is_f64() && last["usage"]["total_tokens"].as_u64().unwrap() > 0, "{last}");
    assert!(text.starts_with("id: 1\ndata: ") && text.ends_with("\n\n: stream closed\n\n"), "{text}");

    let run = get(&client, &format!("/v1/runs/{id}")).await.json();
    assert_eq!(
        (
            &run["object"],
            &run["status"],
            &run["output"],
            &run["model"],
            &run["session_id"],
            &run["last_event"]
        ),
        (
            &json!("hermes.run"),
            &json!("completed"),
            &json!(answer),
            &json!("any-name"),
            &json!(id),
            &json!("run.completed")
        )
    );
    assert!(run["created_at"].as_f64().unwrap() <= run["updated_at"].as_f64().unwrap());
    // From the middle, and behind the end.
    let (rest, _) = events(&client, &id, Some("1")).await;
    assert_eq!(rest[..], told[1..]);
    let (none, text) = events(&client, &id, Some(&told.len().to_string())).await;
    assert_eq!((none.len(), text.as_str()), (0, ": stream closed\n\n"));
    let odd = client
        .send(request("GET", &format!("/v1/runs/{id}/events"), &[AUTH, ("last-event-id", "x")], ""))
        .await;
    assert_eq!((odd.status.as_u16(), &odd.json()["error"]["code"]), (400, &json!("invalid_last_event_id")));
}

#[tokio::test]
async fn a_client_that_goes_away_ends_nothing_and_a_stop_does() {
    let (_house, client) = open(Duration::from_millis(5)).await;
    let long = vec!["word"; 2000].join(" ");
    let id = submit(&client, &json!({"input": long, "session_id": "s"})).await;
    let behind = submit(&client, &json!({"input": "next", "session_id": "s"})).await;
    let third = post(&client, "/v1/runs", &[], &json!({"input": "x"})).await;
    assert_eq!((third.status.as_u16(), &third.json()["error"]["code"]), (429, &json!("rate_limit_exceeded")));
    assert_eq!(third.headers["retry-after"], "1");
    let reader = client.open(request("GET", &format!("/v1/runs/{id}/events"), &[AUTH], "")).await;
    let mut body = reader.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(first.starts_with(b"id: 1\n"));
    drop(body);
    let run = get(&client, &format!("/v1/runs/{id}")).await.json();
    assert_eq!((&run["status"], &run["output"]), (&json!("running"), &Value::Null), "{run}");
    let waits = get(&client, &format!("/v1/runs/{behind}")).await.json();
    assert_eq!((&waits["status"], &waits["last_event"]), (&json!("queued"), &Value::Null));
    assert_eq!(super::chat(&client, &[], &say("x")).await.status, 200, "what waits takes no place");

    // What waits is over at once, what runs soon.
    stop(&client, &behind).await;
    let other = submit(&client, &json!({"input": long})).await;
    let mut other_events =
        client.open(request("GET", &format!("/v1/runs/{other}/events"), &[AUTH], "")).await.into_body();
    other_events.frame().await.unwrap().unwrap();
    assert_eq!(super::chat(&client, &[], &say("x")).await.status, 429, "a chat is a turn like a run");
    stop(&client, &other).await;
    stop(&client, &id).await;
}

/// Has a run stopped, and looks at everything that is said of it then.
async fn stop(client: &Client, run: &str) {
    let stopped = post(client, &format!("/v1/runs/{run}/stop"), &[], &json!({})).await;
    assert_eq!(
        (stopped.status.as_u16(), stopped.json()),
        (200, json!({"run_id": run, "status": "stopping"}))
    );
    let (told, _) = events(client, run, None).await;
    assert_eq!(told.last().unwrap()["event"], "run.cancelled");
    assert_eq!(get(client, &format!("/v1/runs/{run}")).await.json()["status"], "cancelled");
    let again = post(client, &format!("/v1/runs/{run}/stop"), &[], &json!({})).await;
    assert_eq!((again.status.as_u16(), &again.json()["error"]["code"]), (404, &json!("run_not_found")));
    let late = post(client, &format!("/v1/runs/{run}/approval"), &[], &json!({"choice": "once"})).await;
    assert_eq!((late.status.as_u16(), &late.json()["error"]["code"]), (409, &json!("approval_not_active")));
}

#[tokio::test]
async fn what_is_asked_twice_under_one_key_runs_once() {
    let (_house, client) = open(Duration::ZERO).await;
    let key = [("idempotency-key", "order-1")];
    let (body, other) = (json!({"input": "x"}), json!({"input": "y"}));
    let first = post(&client, "/v1/runs", &key, &body).await;
    let second = post(&client, "/v1/runs", &key, &body).await;
    assert_eq!((first.status.as_u16(), &first.text), (202, &second.text));
    assert_eq!(
        (first.headers.get("idempotency-replayed"), &second.headers["idempotency-replayed"]),
        (None, &"true".parse().unwrap())
    );
    let conflict = post(&client, "/v1/runs", &key, &other).await;
    assert_eq!(
        (conflict.status.as_u16(), &conflict.json()["error"]["code"]),
        (409, &json!("idempotency_key_conflict"))
    );
    let long = "k".repeat(256);
    for bad in ["two words", long.as_str(), ""] {
        let answer = post(&client, "/v1/runs", &[("idempotency-key", bad)], &body).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["code"]),
            (400, &json!("invalid_idempotency_key"))
        );
    }
}

#[tokio::test]
async fn histories_come_from_the_session_or_from_the_client() {
    let (house, client) = open(Duration::ZERO).await;
    let done = async |body: Value| {
        let id = submit(&client, &body).await;
        events(&client, &id, None).await;
        id
    };
    done(json!({"input": "one", "session_id": "s"})).await;
    done(json!({"input": [{"role": "user", "content": [{"type": "input_text", "text": "two"}]}], "session_id": "s"})).await;
    let own = done(json!({"input": "three", "conversation_history": [
        {"role": "user", "content": "before"}, {"role": "assistant", "content": "yes"}]}))
    .await;
    let listed = done(json!({"input": ["first", {"role": "assistant", "content": "ok"}, "last"]})).await;
    let count = |id: String| async {
        let count = move |db: &rusqlite::Connection| {
            db.query_row("SELECT count(*) FROM messages WHERE session_id = ?1", [id], |row| {
                row.get::<_, i64>(0)
            })
        };
        house.store.aside(count).await.unwrap()
    };
    assert_eq!((count("s".to_owned()).await, count(own).await, count(listed).await), (4, 4, 4));
}

#[tokio::test]
async fn what_cannot_be_run_is_refused_by_its_name() {
    let (_house, client) = open(Duration::ZERO).await;
    let bad = |body: Value| {
        let client = client.clone();
        async move {
            let answer = post(&client, "/v1/runs", &[], &body).await;
            let error = answer.json()["error"].clone();
            (answer.status.as_u16(), error["message"].as_str().unwrap().to_owned(), error["param"].clone())
        }
    };
    for (body, status, message, param) in [
        (json!({}), 400, "Missing 'input' field", json!("input")),
        (json!({"input": 7}), 400, "'input' must be a string or array", json!("input")),
        (json!({"input": []}), 400, "No user message found in input", json!("input")),
        (json!({"input": "  "}), 400, "No user message found in input", json!("input[0].content")),
        (json!({"input": "x", "session_id": "../y"}), 400, "Invalid session ID", json!("session_id")),
        (
            json!({"input": "x", "previous_response_id": "resp_1"}),
            404,
            "Previous response not found: resp_1",
            json!("previous_response_id"),
        ),
        (
            json!({"input": "x", "conversation_history": "y"}),
            400,
            "'conversation_history' must be an array of message objects",
            json!("conversation_history"),
        ),
        (
            json!({"input": "x", "conversation_history": [{"role": "user"}]}),
            400,
            "conversation_history[0] must have 'role' and 'content' fields",
            json!("conversation_history[0]"),
        ),
        (
            json!({"input": "x", "conversation_history": [{"role": "robot", "content": "y"}]}),
            400,
            "Unsupported role",
            json!("conversation_history[0].role"),
        ),
    ] {
        let (code, said, at) = bad(body.clone()).await;
        assert!(code == status && said.starts_with(message) && at == param, "{body}: {code} {said} {at}");
    }
    for (field, value) in [
        ("tools", json!([{"type": "function"}])),
        ("stream", json!(true)),
        ("colour", json!("red")),
        ("temperature", json!(0.5)),
    ] {
        let (code, said, at) = bad(json!({"input": "x", field: value})).await;
        assert!(code == 400 && said.contains(field) && at == *field, "{code} {said}");
    }
    let id = format!("run_{}", "0".repeat(32));
    for (method, path) in [
        ("GET", format!("/v1/runs/{id}")),
        ("GET", format!("/v1/runs/{id}/events")),
        ("POST", format!("/v1/runs/{id}/stop")),
        ("POST", format!("/v1/runs/{id}/approval")),
        ("POST", format!("/v1/runs/{id}/steer")),
        ("GET", "/v1/runs/agent:main:x".to_owned()),
        ("GET", "/v1/runs/%ff".to_owned()),
    ] {
        let answer = client.send(request(method, &path, &[AUTH], r#"{"choice": "once"}"#)).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["code"]),
            (404, &json!("run_not_found")),
            "{path}"
        );
        assert_eq!(
            client.send(request(method, &path, &[], r#"{"choice": "once"}"#)).await.status,
            401,
            "{path}"
        );
    }
}

/// The engine here hears nothing while it works: that is said, and advertised. What is over takes nothing either.
#[tokio::test]
async fn a_run_that_hears_nothing_is_not_steered() {
    let (_house, client) = open(Duration::from_millis(5)).await;
    let features = get(&client, "/v1/capabilities").await.json()["features"].clone();
    assert_eq!(features["run_steer"], false);
    let id = submit(&client, &json!({"input": vec!["word"; 2000].join(" ")})).await;
    let steer = async |body: &str| {
        let path = format!("/v1/runs/{id}/steer");
        let answer = client.send(request("POST", &path, &[AUTH], body.to_owned())).await;
        let error = answer.json()["error"].clone();
        (answer.status.as_u16(), error["code"].clone(), error["message"].as_str().unwrap().to_owned())
    };
    let (status, code, message) = steer(r#"{"input": "shorter"}"#).await;
    assert_eq!((status, code), (409, json!("run_not_accepting_steer")));
    assert!(message.contains("engine"), "{message}");
    stop(&client, &id).await;
    let (status, code, message) = steer(r#"{"input": "shorter"}"#).await;
    assert_eq!((status, code), (409, json!("run_not_accepting_steer")));
    assert!(message.contains("cancelled"), "{message}");
}
