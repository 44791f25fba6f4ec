//! What a client asks of the model, and the calls of its tools.

use serde_json::Value;

use super::*;

fn with(options: &Value) -> Prompt {
    Prompt { options: options.as_object().unwrap().clone(), ..prompt() }
}

fn tool() -> Value {
    json!([{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}])
}

/// A stream of these deltas that ends with `reason`.
fn deltas_of(deltas: &[Value], reason: &str) -> Vec<Step> {
    let mut steps = vec![stream_head()];
    for delta in deltas {
        let event = json!({"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]});
        steps.push(Step::Send(format!("data: {event}\n\n").into_bytes()));
    }
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]});
    steps.extend([Step::Send(format!("data: {end}\n\ndata: [DONE]\n\n").into_bytes()), Step::Close]);
    steps
}

/// Wires 7: what a client asks for stands in the request as it asked, also against the configuration.
#[tokio::test]
async fn options_reach_the_provider_as_they_came() {
    let fake = Fake::start([answer(&["a"]), answer(&["b"]), answer(&["c"])]).await;
    let mut endpoint = endpoint(&fake.base_url);
    endpoint.extra_body.insert("temperature".to_owned(), json!(0.9));
    endpoint.extra_body.insert("top_k".to_owned(), json!(3));
    let engine = Native::new(Ok(endpoint), quick(), None);
    let asked = json!({
        "temperature": 0.25, "stop": ["\n"], "seed": 7, "max_completion_tokens": 9, "max_tokens": 12, "tools": tool(),
        "tool_choice": "auto", "response_format": {"type": "json_object"},
    });
    run_prompt(&engine, &with(&asked)).await.0.unwrap();
    let body = fake.calls()[0].body.clone();
    for key in ["temperature", "stop", "seed", "tools", "tool_choice", "response_format"] {
        assert_eq!(body[key], asked[key], "{key}");
    }
    assert_eq!((&body["top_k"], &body["max_tokens"]), (&json!(3), &json!(9)));
    assert_eq!(body.get("max_completion_tokens"), None, "this endpoint knows the older name");
    run_prompt(&engine, &prompt()).await.0.unwrap();
    assert_eq!(fake.calls()[1].body["temperature"], 0.9, "nobody else's request changed");
}

/// Wires 7: messages of a client's own history keep ids, order and null content.
#[tokio::test]
async fn calls_and_results_of_the_history_are_sent_as_they_are() {
    let fake = Fake::start([answer(&["done"])]).await;
    let calls = json!([
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
    ]);
    let result = |id: &str, text: &str| Message {
        tool_call_id: Some(id.to_owned()),
        ..Message::new(Role::Tool, json!(text))
    };
    let call = Message {
        tool_calls: calls.as_array().unwrap().clone(),
        ..Message::new(Role::Assistant, Value::Null)
    };
    let mut prompt = prompt();
    prompt.messages.extend([call, result("c2", "2"), result("c1", "1")]);
    prompt.messages[0].name = Some("ana".to_owned());
    run_prompt(&native(&fake.base_url), &prompt).await.0.unwrap();
    let sent = &fake.calls()[0].body["messages"];
    assert_eq!(sent[1], json!({"role": "user", "content": "one", "name": "ana"}));
    assert_eq!(sent[4], json!({"role": "assistant", "content": null, "tool_calls": calls}));
    assert_eq!(sent[5], json!({"role": "tool", "content": "2", "tool_call_id": "c2"}));
    assert_eq!(sent[6], json!({"role": "tool", "content": "1", "tool_call_id": "c1"}));
}

/// Wires 7: calls come whole, under the one reason that clients act on, and only to somebody who offered tools.
#[tokio::test]
async fn calls_of_tools_are_an_answer() {
    let pieces = [
        json!({"role": "assistant", "content": null, "tool_calls": [
            {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"x\": 1}"}}]}),
    ];
    let whole =
        json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\": 1}"}}]);
    for (reason, said) in [("tool_calls", "tool_calls"), ("stop", "tool_calls"), ("length", "length")] {
        let fake = Fake::start([deltas_of(&pieces, reason)]).await;
        let (outcome, events) = run_prompt(&native(&fake.base_url), &with(&json!({"tools": tool()}))).await;
        let outcome = outcome.unwrap();
        assert_eq!((outcome.text.as_str(), outcome.finish_reason.as_str(), events.len()), ("", said, 0));
        assert_eq!(json!(outcome.tool_calls), whole);
    }
    // A stream that breaks off in a call is repeated: nobody was given half of one.
    let mut broken = deltas_of(&pieces, "tool_calls");
    broken.drain(2..broken.len() - 1);
    let fake = Fake::start([broken, deltas_of(&pieces, "tool_calls")]).await;
    let outcome = run_prompt(&native(&fake.base_url), &with(&json!({"tools": tool()}))).await.0.unwrap();
    assert_eq!((json!(outcome.tool_calls), outcome.calls), (whole, 2));
    // Nobody offered any.
    let unasked = std::iter::repeat_n(deltas_of(&pieces, "tool_calls"), 3);
    let fake = Fake::start(unasked).await;
    let error = run(&native(&fake.base_url)).await.0.unwrap_err();
    assert!(matches!(error, EngineError::Provider { fault: Fault::Empty, .. }), "{error:?}");
}
