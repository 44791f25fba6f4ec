//! The API from the router to the store, with the echo engine behind it.

mod responses;
mod runs;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use hermes_config::{ProfileConfig, Secret};
use serde_json::{Value, json};

use super::{NAME, Settings};
use crate::platform::harness::{Answer, Client, House, request};

const KEY: &str = "a-strong-enough-key-of-coder";
const AUTH: (&str, &str) = ("authorization", "bearer a-strong-enough-key-of-coder");

fn house(delay: Duration, change: impl FnOnce(&mut Settings)) -> House {
    let mut api = Settings {
        key: Some(Secret::new(KEY)),
        cors_origins: Vec::new(),
        model_name: "coder".to_owned(),
        model_routes: Vec::new(),
        direct_model_requests: false,
        max_concurrent_runs: 2,
        max_stored_responses: 100,
        fault: None,
    };
    change(&mut api);
    House::new(delay, Some("127.0.0.1"), |config: &mut ProfileConfig| {
        config.settings.set(NAME, Arc::new(api));
    })
}

async fn chat(client: &Client, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![AUTH];
    all.extend_from_slice(headers);
    client.send(request("POST", "/v1/chat/completions", &all, body.to_string())).await
}

fn say(text: &str) -> Value {
    json!({"model": "any-name", "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn only_the_profiles_own_key_opens_and_errors_have_one_shape() {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    for path in ["/v1/models", "/v1/models/coder", "/v1/capabilities", "/health/detailed"] {
        assert_eq!(client.send(request("GET", path, &[AUTH], "")).await.status, 200, "{path}");
        for headers in [&[][..], &[("authorization", "Bearer other")], &[("authorization", "Bearer \u{fc}")]]
        {
            let answer = client.send(request("GET", path, headers, "")).await;
            assert_eq!(answer.status, 401);
            assert_eq!(answer.headers["www-authenticate"], "Bearer");
            assert_eq!(
                answer.text,
                r#"{"error": {"message": "Invalid API key", "type": "invalid_request_error", "code": "invalid_api_key"}}"#
            );
        }
    }
    for (method, path, status, allow) in [
        ("GET", "/v1/nothing", 404, None),
        ("GET", "/v1/models/", 404, None),
        ("POST", "/api/nothing", 404, None),
        ("GET", "/v1/chat/completions", 405, Some("POST")),
        ("POST", "/v1/models", 405, Some("GET, HEAD")),
    ] {
        let answer = client.send(request(method, path, &[AUTH], "")).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.headers.get("allow").map(|v| v.to_str().unwrap()), allow, "{path}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
    }
    assert_eq!(client.send(request("HEAD", "/v1/health", &[], "")).await.status, 200);
    let unknown = client.send(request("GET", "/v1/models/gpt", &[AUTH], "")).await;
    assert_eq!((unknown.status.as_u16(), &unknown.json()["error"]["code"]), (404, &json!("model_not_found")));
}

#[tokio::test]
async fn without_a_strong_key_everything_but_health_is_closed() {
    let house = house(Duration::ZERO, |api| api.key = None);
    let client = house.start("api_server").await.unwrap();
    assert_eq!(chat(&client, &[], &say("x")).await.status, 401);
    assert_eq!(client.send(request("GET", "/v1/models", &[AUTH], "")).await.status, 401);
    let health = client.send(request("GET", "/v1/health", &[], "")).await;
    assert_eq!(
        health.text,
        r#"{"status": "ok", "platform": "hermes-agent", "version": "0.1.0", "compatible_with": "0.19.0"}"#
    );
}

#[tokio::test]
async fn profile_and_process_are_named_truthfully() {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    let get = async |path| client.send(request("GET", path, &[AUTH], "")).await.json();
    assert_eq!(get("/v1/models").await["data"][0]["id"], "coder");
    let capabilities = get("/v1/capabilities").await;
    assert_eq!(
        (&capabilities["model"], &capabilities["features"]["responses_api"]),
        (&json!("coder"), &json!(true))
    );
    let health = get("/health/detailed").await;
    assert_eq!(health["pid"], std::process::id());
    assert_eq!(health["readiness"]["checks"]["state_db"]["status"], "ok");
    assert!(health["readiness"]["checks"]["disk"]["free_bytes"].is_u64());
}

#[tokio::test]
async fn bad_requests_name_what_is_wrong() {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    let send = async |headers: &[(&str, &str)], body: Body| {
        let mut all = vec![AUTH];
        all.extend_from_slice(headers);
        let answer = client.send(request("POST", "/v1/chat/completions", &all, body)).await;
        (answer.status.as_u16(), answer.json()["error"]["message"].as_str().unwrap().to_owned())
    };
    for (body, message) in [
        ("{", "Invalid JSON in request body"),
        ("[1]", "Request body must be a JSON object"),
        ("{}", "Missing or invalid 'messages' field"),
        (r#"{"messages":["x"]}"#, "Missing or invalid 'messages' field"),
        (r#"{"messages":[{"role":"system","content":"x"}]}"#, "No user message found in messages"),
        (r#"{"messages":[{"role":"user","content":"x"}],"model":7}"#, "'model' must be a string"),
    ] {
        assert_eq!(send(&[], body.into()).await, (400, message.to_owned()));
    }
    let ok = say("x").to_string();
    let session = send(&[("x-hermes-session-id", "../x")], ok.clone().into()).await;
    assert_eq!(session, (400, "Invalid session ID".to_owned()));
    let chunk = Bytes::from(vec![b' '; 1_000_000]);
    let chunked =
        Body::from_stream(stream::iter((0..11).map(move |_| Ok::<_, std::io::Error>(chunk.clone()))));
    assert_eq!(
        send(&[], chunked).await,
        (413, "Request body too large. At most 10000000 bytes are read.".to_owned())
    );
    assert_eq!(send(&[("content-length", "10000001")], ok.into()).await.0, 413);
}

/// Wires 7: half a character is no reason to refuse a body; a coded body is read or refused by its coding.
#[tokio::test]
async fn bodies_are_read_as_clients_write_them() {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    let send = async |headers: &[(&str, &str)], body: Vec<u8>| {
        let mut all = vec![AUTH];
        all.extend_from_slice(headers);
        client.send(request("POST", "/v1/chat/completions", &all, body)).await
    };
    let half = br#"{"messages": [{"role": "user", "content": "cut \ud83e off"}]}"#.to_vec();
    let answer = send(&[], half).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "echo (not a model): cut \u{fffd} off");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, say("packed").to_string().as_bytes()).unwrap();
    let answer = send(&[("content-encoding", "gzip")], gzip.finish().unwrap()).await;
    assert_eq!(answer.json()["choices"][0]["message"]["content"], "echo (not a model): packed");
    let refused = send(&[("content-encoding", "br")], say("x").to_string().into()).await;
    assert_eq!(
        (refused.status.as_u16(), refused.headers["accept-encoding"].as_bytes()),
        (415, &b"gzip, deflate"[..])
    );
    assert_eq!(refused.json()["error"]["code"], "unsupported_content_encoding");
    assert_eq!(send(&[("content-encoding", "gzip")], b"{}".to_vec()).await.status, 400);
}

/// Wires 7: without a model nothing is passed on, and nothing dropped; what is no endpoint says where to look.
#[tokio::test]
async fn what_is_not_there_is_refused_by_name() {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    for (name, value) in
        [("tools", json!([{"type": "function"}])), ("temperature", json!(0)), ("n", json!(2))]
    {
        let mut body = say("x");
        body[name] = value;
        let error = chat(&client, &[], &body).await;
        let error = (error.status.as_u16(), error.json()["error"].clone());
        assert_eq!(
            (error.0, &error.1["code"], &error.1["param"]),
            (400, &json!("unsupported_parameter"), &json!(name))
        );
    }
    for (method, path) in
        [("POST", "/v1/threads"), ("POST", "/v1/embeddings"), ("GET", "/v1/"), ("DELETE", "/api/nothing/x")]
    {
        let answer =
            client.send(request(method, path, &[AUTH, ("x-forwarded-prefix", "/p/coder")], "")).await;
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(answer.status, 404);
        assert!(message.contains(&format!("{method} /p/coder{path} ")), "{message}");
        assert!(message.contains("GET /p/coder/v1/capabilities"), "{message}");
    }
    let capabilities = client.send(request("GET", "/v1/capabilities", &[AUTH], "")).await.json();
    assert_eq!(
        (&capabilities["features"]["client_tools"], &capabilities["parameters"]["passed_to_model"]),
        (&json!(false), &json!([]))
    );
}

/// Wires 7: the tokens of a stream come as asked for.
#[tokio::test]
async fn a_stream_says_its_tokens_as_the_client_wants_them() {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    let chunks = async |options: Value| {
        let mut body = say("one two");
        body["stream"] = json!(true);
        body["stream_options"] = options;
        let text = chat(&client, &[], &body).await.text;
        let events = text.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").unwrap().to_owned());
        events.filter(|e| e != "[DONE]").map(|e| serde_json::from_str(&e).unwrap()).collect::<Vec<Value>>()
    };
    let own = chunks(json!({"include_usage": true})).await;
    let (last, others) = own.split_last().unwrap();
    assert_eq!((&last["choices"], last["usage"]["total_tokens"].as_u64().is_some()), (&json!([]), true));
    assert!(
        others.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()),
        "{others:?}"
    );
    assert_eq!(others.last().unwrap()["choices"][0]["finish_reason"], "stop");
    let none = chunks(json!({"include_usage": false})).await;
    assert!(none.iter().all(|chunk| chunk.get("usage").is_none()));
    let riding = chunks(json!(null)).await;
    assert!(riding.last().unwrap()["usage"]["total_tokens"].is_u64());
}

#[tokio::test]
async fn a_completion_has_the_shape_clients_know() {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    let answer = chat(&client, &[("x-hermes-session-key", "scope")], &say("hello there")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    assert!(
        body["id"].as_str().unwrap().starts_with("chatcmpl-") && body["id"].as_str().unwrap().len() == 38
    );
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("any-name")));
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["content"], "echo (not a model): hello there");
    assert_eq!((&choice["index"], &choice["finish_reason"]), (&json!(0), &json!("stop")));
    let usage = &body["usage"];
    assert_eq!(
        usage["total_tokens"],
        usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap()
    );
    assert_eq!(answer.headers["x-hermes-session-key"], "scope");
    let id = answer.headers["x-hermes-session-id"].to_str().unwrap();
    assert!(id.starts_with("api-") && id.len() == 20);
}

#[tokio::test]
async fn a_stream_has_the_chunks_clients_know() {
    let house = house(Duration::from_millis(1), |_| {});
    let client = house.start("api_server").await.unwrap();
    let mut body = say("one two three four");
    body["stream"] = json!(true);
    let answer = chat(&client, &[], &body).await;
    assert_eq!(
        (answer.status.as_u16(), answer.headers["content-type"].as_bytes()),
        (200, &b"text/event-stream"[..])
    );
    assert!(answer.headers.contains_key("x-hermes-session-id"));
    let events: Vec<&str> =
        answer.text.split_terminator("\n\n").map(|e| e.strip_prefix("data: ").unwrap()).collect();
    assert_eq!(events.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> =
        events[..events.len() - 1].iter().map(|e| serde_json::from_str(e).unwrap()).collect();
    assert!(chunks.iter().all(|c| c["object"] == "chat.completion.chunk" && c["id"] == chunks[0]["id"]));
    assert!(
        events[0].ends_with(r#""choices":[{"index":0,"delta":{"role":"assistant"},"finish_reason":null}]}"#)
    );
    let text: String = chunks.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, "echo (not a model): one two three four");
    let last = chunks.last().unwrap();
    assert_eq!(
        (&last["choices"][0]["finish_reason"], &last["choices"][0]["delta"]),
        (&json!("stop"), &json!({}))
    );
    assert!(last["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_turn_and_the_limit_holds() {
    let house = house(Duration::from_secs(600), |_| {});
    let client = house.start("api_server").await.unwrap();
    let open = async || {
        let mut body = say("x");
        body["stream"] = json!(true);
        let request = request("POST", "/v1/chat/completions", &[AUTH], body.to_string());
        let mut stream = client.open(request).await.into_body().into_data_stream();
        assert!(stream.next().await.unwrap().unwrap().starts_with(b"data: "));
        stream
    };
    let streams = [open().await, open().await];
    let refused = chat(&client, &[], &say("x")).await;
    assert_eq!((refused.status.as_u16(), refused.headers["retry-after"].as_bytes()), (429, &b"1"[..]));
    assert_eq!(refused.json()["error"]["message"], "Too many concurrent runs (max 2)");
    drop(streams);
    let gone = async {
        while house.context.turns.active() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
    house.context.turns.set_quiesced(true);
    let draining = chat(&client, &[], &say("x")).await;
    assert_eq!(
        (draining.status.as_u16(), &draining.json()["error"]["code"]),
        (503, &json!("gateway_draining"))
    );
}

#[tokio::test]
async fn a_named_session_is_continued_and_others_are_kept_apart() {
    let house = house(Duration::ZERO, |_| {});
    let client = house.start("api_server").await.unwrap();
    let named = [("x-hermes-session-id", "my session")];
    let first = chat(&client, &named, &say("one")).await;
    assert_eq!(
        (first.status.as_u16(), first.headers["x-hermes-session-id"].as_bytes()),
        (200, &b"my session"[..])
    );
    let second = chat(&client, &named, &say("two")).await.json();
    let fresh = chat(&client, &[], &say("two")).await.json();
    // The stored exchange came along.
    assert!(second["usage"]["prompt_tokens"].as_u64() > fresh["usage"]["prompt_tokens"].as_u64());
    let turn = |user: Option<&str>| {
        let messages = json!([
            {"role": "user", "content": "hi"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "b"},
        ]);
        json!({"messages": messages, "user": user})
    };
    let mut ids = Vec::new();
    for body in [say("hi"), say("hi"), turn(None), turn(Some("u"))] {
        let answer = chat(&client, &[], &body).await;
        ids.push(answer.headers["x-hermes-session-id"].to_str().unwrap().to_owned());
    }
    let distinct: std::collections::HashSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), 4, "{ids:?}");
}

/// Both kinds of answer say in which session the turn ran.
#[tokio::test]
async fn the_session_that_a_named_one_goes_on_in_is_said() {
    let house = house(Duration::ZERO, |_| {});
    let sessions = "INSERT INTO sessions(id, source, started_at, ended_at, end_reason) VALUES ('old', 'cli', 1, 2, 'compression');
         INSERT INTO sessions(id, source, started_at, parent_session_id) VALUES ('now', 'cli', 2, 'old');";
    house.store.write(|db| db.execute_batch(sessions)).await.unwrap();
    let client = house.start("api_server").await.unwrap();
    for stream in [false, true] {
        let mut body = say("one");
        body["stream"] = json!(stream);
        let answer = chat(&client, &[("x-hermes-session-id", "old")], &body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.headers["x-hermes-session-id"].as_bytes()),
            (200, &b"now"[..])
        );
    }
    let rows = |id| {
        move |db: &rusqlite::Connection| {
            db.query_row("SELECT count(*) FROM messages WHERE session_id = ?1", [id], |row| {
                row.get::<_, i64>(0)
            })
        }
    };
    assert_eq!(house.store.aside(rows("old")).await.unwrap(), 0);
    assert_eq!(house.store.aside(rows("now")).await.unwrap(), 4);
}

#[tokio::test]
async fn the_same_key_gets_the_same_bytes() {
    let house = house(Duration::from_millis(5), |_| {});
    let client = house.start("api_server").await.unwrap();
    let key = [("idempotency-key", "k-1")];
    let (body, other) = (say("x"), say("y"));
    let (a, b) = tokio::join!(chat(&client, &key, &body), chat(&client, &key, &body));
    let c = chat(&client, &key, &body).await;
    assert_eq!((a.status.as_u16(), &a.text, &a.text), (200, &b.text, &c.text));
    assert_eq!(a.headers["x-hermes-session-id"], c.headers["x-hermes-session-id"]);
    assert_eq!(chat(&client, &key, &other).await.status, 409);
    let named = [key[0], ("x-hermes-session-id", "s")];
    assert_eq!(chat(&client, &named, &body).await.status, 409);
    assert_ne!(chat(&client, &[("idempotency-key", "k-2")], &body).await.text, a.text);
    let runs = house.store.commits();
    chat(&client, &key, &body).await;
    assert_eq!(house.store.commits(), runs, "a replay runs nothing");
    assert!(a.text.is_ascii() && !a.text.is_empty());
}
