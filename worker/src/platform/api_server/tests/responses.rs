//! Responses from the router to their file, with the echo engine behind them.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};

use super::{AUTH, house};
use crate::platform::harness::{Answer, Client, House, request};

async fn open(delay: Duration) -> (House, Client) {
    let house = house(delay, |_| {});
    let client = house.start("api_server").await.unwrap();
    (house, client)
}

async fn post(client: &Client, headers: &[(&str, &str)], body: &Value) -> Answer {
    let mut all = vec![AUTH];
    all.extend_from_slice(headers);
    client.send(request("POST", "/v1/responses", &all, body.to_string())).await
}

async fn get(client: &Client, path: &str) -> Answer {
    client.send(request("GET", &format!("/v1/responses/{path}"), &[AUTH], "")).await
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn said(response: &Value) -> String {
    let items = response["output"].as_array().unwrap().iter();
    items.filter_map(|item| item["content"][0]["text"].as_str()).collect()
}

/// Tokens of what the engine was sent: it counts words.
fn sent(answer: &Answer) -> u64 {
    answer.json()["usage"]["input_tokens"].as_u64().unwrap()
}

#[tokio::test]
async fn a_response_is_whole_and_can_be_asked_for_again() {
    let (_house, client) = open(Duration::ZERO).await;
    let body =
        json!({"model": "any", "input": "one two", "instructions": "Be kind.", "metadata": {"a": "b"}});
    let answer = post(&client, &[], &body).await;
    let id = id(&answer);
    let response = answer.json();
    assert!(id.starts_with("resp_") && id.len() == 33 && response["created_at"].is_i64());
    assert_eq!(
        (
            &response["object"],
            &response["status"],
            &response["model"],
            &response["error"],
            &response["metadata"]
        ),
        (&json!("response"), &json!("completed"), &json!("any"), &Value::Null, &json!({"a": "b"}))
    );
    let item = &response["output"][0];
    assert!(item["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(
        (&item["type"], &item["status"], &item["role"], &item["content"][0]),
        (
            &json!("message"),
            &json!("completed"),
            &json!("assistant"),
            &json!({"type": "output_text", "annotations": [], "logprobs": [], "text": "echo (not a model): one two"})
        )
    );
    assert!(answer.headers.contains_key("x-hermes-session-id"));
    assert_eq!(get(&client, &id).await.json(), response);

    let listed = get(&client, &format!("{id}/input_items")).await.json();
    let input = &listed["data"][0];
    assert_eq!(
        (&listed["object"], &listed["has_more"], &input["role"], &input["content"]),
        (&json!("list"), &json!(false), &json!("user"), &json!([{"type": "input_text", "text": "one two"}]))
    );
    assert_eq!(get(&client, &format!("{id}/input_items?limit=0")).await.status, 400);

    let gone = client.send(request("DELETE", &format!("/v1/responses/{id}"), &[AUTH], "")).await;
    assert_eq!(
        (gone.status.as_u16(), gone.json()),
        (200, json!({"id": id, "object": "response", "deleted": true}))
    );
    for path in [id.clone(), format!("{id}/input_items"), "resp_other".to_owned()] {
        let answer = get(&client, &path).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["code"]),
            (404, &json!("response_not_found"))
        );
    }
    let kept = post(&client, &[], &json!({"input": "x", "store": false})).await;
    assert_eq!(kept.json()["store"], false);
    assert_eq!(get(&client, kept.json()["id"].as_str().unwrap()).await.status, 404);
    for path in ["", "/x", "/x/input_items"] {
        let answer = client.send(request("GET", &format!("/v1/responses{path}"), &[], "")).await;
        assert!(!answer.status.is_success(), "{path}");
    }
}

#[tokio::test]
async fn a_conversation_goes_on_from_any_response_of_it() {
    let (_house, client) = open(Duration::ZERO).await;
    let first = post(&client, &[], &json!({"input": "one", "instructions": "Be kind."})).await;
    let alone = sent(&first);
    let next = |body: Value| {
        let client = client.clone();
        async move { post(&client, &[], &body).await }
    };
    let second = next(json!({"input": "two", "previous_response_id": id(&first)})).await;
    assert_eq!(second.json()["previous_response_id"], json!(id(&first)));
    assert_eq!(second.json()["instructions"], "Be kind.", "they are inherited");
    assert_eq!(second.json()["output"].as_array().unwrap().len(), 1, "nothing of the turn before");
    assert_eq!(first.headers["x-hermes-session-id"], second.headers["x-hermes-session-id"]);
    // "one", its answer of five words, "two".
    assert_eq!(sent(&second), alone + 6);
    let other = next(json!({"input": "three", "previous_response_id": id(&first)})).await;
    assert_eq!(sent(&other), sent(&second), "each goes its own way");
    let third =
        next(json!({"input": "four", "previous_response_id": id(&second), "instructions": "Be."})).await;
    assert_eq!((sent(&third), &third.json()["instructions"]), (alone + 11, &json!("Be.")));
    let brought = next(json!({"input": "x", "previous_response_id": id(&third), "conversation_history": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}))
    .await;
    assert_eq!(sent(&brought), alone + 1, "what the client brings takes the place of what is kept");

    let talk = |text: &str| next(json!({"input": text, "conversation": {"id": "talk"}}));
    let begun = talk("one").await;
    let goes_on = talk("two").await;
    assert_eq!(
        (&goes_on.json()["previous_response_id"], &goes_on.json()["conversation"]),
        (&json!(id(&begun)), &json!({"id": "talk"}))
    );
    client.send(request("DELETE", &format!("/v1/responses/{}", id(&goes_on)), &[AUTH], "")).await;
    assert_eq!(
        talk("three").await.json()["previous_response_id"],
        Value::Null,
        "the tip is gone, and the name"
    );

    // What is only referred to is looked up.
    let item = first.json()["output"][0]["id"].clone();
    let referred = next(json!({"input": [
        {"role": "user", "content": "one"}, {"type": "item_reference", "id": item}, {"role": "user", "content": "two"}]}))
    .await;
    assert_eq!(said(&referred.json()), "echo (not a model): two");
    assert_eq!(sent(&referred), sent(&second) - 2, "but for the instructions");
    // A named session goes on too.
    let named = [("x-hermes-session-id", "mine")];
    let once = post(&client, &named, &json!({"input": "one"})).await;
    let twice = post(&client, &named, &json!({"input": "two"})).await;
    assert_eq!(twice.headers["x-hermes-session-id"], "mine");
    assert_eq!(sent(&twice), sent(&once) + 6);
}

fn events(text: &str) -> Vec<Value> {
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn a_stream_has_every_event_in_order() {
    let (_house, client) = open(Duration::from_millis(1)).await;
    let answer = post(&client, &[], &json!({"input": "one two", "stream": true})).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let events = events(&answer.text);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let mut distinct = kinds.clone();
    distinct.dedup();
    assert_eq!(
        distinct,
        [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
    );
    assert!(events.iter().enumerate().all(|(at, event)| event["sequence_number"] == at));
    for (event, kind) in answer.text.split_terminator("\n\n").zip(&kinds) {
        assert!(event.starts_with(&format!("event: {kind}\n")), "{event}");
    }
    let text: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
    let last = &events.last().unwrap()["response"];
    assert_eq!((text, &last["status"]), (said(last), &json!("completed")));
    assert_eq!(events[0]["response"]["status"], "in_progress");
    assert_eq!(get(&client, last["id"].as_str().unwrap()).await.json(), *last);
}

/// Whoever goes away ends the turn; what there is of the response is kept, and says so.
#[tokio::test]
async fn a_client_that_goes_away_leaves_an_incomplete_response() {
    let (house, client) = open(Duration::from_millis(20)).await;
    let body = json!({"input": vec!["word"; 2000].join(" "), "stream": true});
    let stream = client.open(request("POST", "/v1/responses", &[AUTH], body.to_string())).await;
    let mut stream = stream.into_body().into_data_stream();
    let first = stream.next().await.unwrap().unwrap();
    let created = events(std::str::from_utf8(&first).unwrap());
    let id = created[0]["response"]["id"].as_str().unwrap().to_owned();
    drop(stream);
    let kept = async {
        loop {
            let answer = get(&client, &id).await;
            if answer.status == 200 {
                break answer.json();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let kept = tokio::time::timeout(Duration::from_secs(20), kept).await.unwrap();
    assert_eq!((&kept["status"], &kept["output"][0]["status"]), (&json!("incomplete"), &json!("incomplete")));
    let ended = async {
        while house.context.turns.active() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
}

#[tokio::test]
async fn the_same_key_gets_the_same_response() {
    let (house, client) = open(Duration::from_millis(2)).await;
    let (key, body) = ([("idempotency-key", "k")], json!({"input": "x"}));
    let (a, b) = tokio::join!(post(&client, &key, &body), post(&client, &key, &body));
    let runs = house.store.commits();
    let c = post(&client, &key, &body).await;
    assert_eq!((&a.text, &b.text, house.store.commits()), (&b.text, &c.text, runs));
    assert_eq!(post(&client, &key, &json!({"input": "y"})).await.status, 409);
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_by_its_name() {
    let (_house, client) = open(Duration::ZERO).await;
    for (body, status, message, param) in [
        (json!({}), 400, "Missing 'input' field", "input"),
        (json!({"input": 7}), 400, "'input' must be a string or array", "input"),
        (json!({"input": []}), 400, "No user message found in input", "input"),
        (json!({"input": "  "}), 400, "No user message found in input", "input[0].content"),
        (
            json!({"input": [{"role": "assistant", "content": "x"}]}),
            400,
            "The last message must be",
            "input[0].role",
        ),
        (
            json!({"input": "x", "conversation": "a", "previous_response_id": "b"}),
            400,
            "Cannot use both",
            "previous_response_id",
        ),
        (
            json!({"input": "x", "previous_response_id": "resp_1"}),
            404,
            "Previous response not found: resp_1",
            "previous_response_id",
        ),
        (
            json!({"input": "x", "conversation": "a", "store": false}),
            400,
            "'conversation' needs 'store'",
            "store",
        ),
        (json!({"input": "x", "conversation": 7}), 400, "'conversation' must be a string", "conversation"),
        (
            json!({"input": "x", "conversation_history": "y"}),
            400,
            "'conversation_history' must be an array",
            "conversation_history",
        ),
        (
            json!({"input": "x", "conversation_history": [{"role": "user"}]}),
            400,
            "conversation_history[0] must have",
            "conversation_history[0]",
        ),
        (json!({"input": [{"type": "item_reference", "id": "msg_1"}]}), 404, "Item not found", "input[0].id"),
        (
            json!({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}),
            400,
            "A result must follow",
            "input[0].tool_call_id",
        ),
        (json!({"input": "x", "background": true}), 400, "Unsupported parameter", "background"),
        (
            json!({"input": "x", "tools": [{"type": "function", "name": "f"}]}),
            400,
            "Unsupported parameter",
            "tools",
        ),
    ] {
        let answer = post(&client, &[], &body).await;
        let error = answer.json()["error"].clone();
        assert!(
            answer.status == status
                && error["message"].as_str().unwrap().starts_with(message)
                && error["param"] == param,
            "{body}: {} {error}",
            answer.status
        );
    }
    let first = id(&post(&client, &[], &json!({"input": "x"})).await);
    let body = json!({"previous_response_id": first, "input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]});
    let answer = post(&client, &[], &body).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json()["error"]["message"]),
        (400, &json!("No tool call found for function call output with call_id c."))
    );
}

#[tokio::test]
async fn a_run_goes_on_from_a_response() {
    let (house, client) = open(Duration::ZERO).await;
    house.context.turns.serve_inbox();
    let first = post(&client, &[], &json!({"input": "one", "instructions": "Be kind."})).await;
    let body = json!({"input": "two", "previous_response_id": id(&first)}).to_string();
    let answer = client.send(request("POST", "/v1/runs", &[AUTH], body)).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let run = answer.json()["run_id"].as_str().unwrap().to_owned();
    client.send(request("GET", &format!("/v1/runs/{run}/events"), &[AUTH], "")).await;
    let run = client.send(request("GET", &format!("/v1/runs/{run}"), &[AUTH], "")).await.json();
    assert_eq!(run["session_id"].as_str().unwrap(), first.headers["x-hermes-session-id"].to_str().unwrap());
    assert_eq!(run["usage"]["input_tokens"], sent(&first) + 6);
}
