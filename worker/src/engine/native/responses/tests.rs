//! What the Responses wire sends, and what it makes of what comes.

use super::super::shape::Shape;
use super::*;
use crate::engine::native::tests::{Said, endpoint_of, options_of, said_by};
use hermes_wire::providers::Wire;

fn sent(messages: &[Message], options: &Value, tools: &[Value]) -> Result<Value, EngineError> {
    let mut endpoint = endpoint_of(Wire::Responses);
    endpoint.max_tokens = Some(99);
    let options = options_of(options);
    let ask = Ask { session_id: "s", system: "Be brief.", messages, options: &options, tools };
    body(&endpoint, &ask, &Shape::default())
}

#[test]
fn a_turn_with_tools() {
    let reasoning = json!({"type": "reasoning", "summary": [], "encrypted_content": "e"});
    let foreign = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
    let call =
        json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}});
    let body = sent(
        &[
            Message::new(Role::User, json!("first")),
            Message { thoughts: vec![reasoning.clone()], ..Message::new(Role::Assistant, json!("one")) },
            Message::new(
                Role::User,
                json!([
                    {"type": "text", "text": "and this"}, {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                ]),
            ),
            Message {
                tool_calls: vec![call],
                thoughts: vec![reasoning.clone(), foreign],
                ..Message::new(Role::Assistant, json!(""))
            },
            Message::result("c1", "look", "seen".to_owned()),
        ],
        &json!({}),
        &[
            json!({"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}),
        ],
    );
    assert_eq!(
        body.unwrap(),
        json!({
            "model": "m",
            "instructions": "Be brief.",
            "input": [
                {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "first"}]},
                {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "one"}]},
                {"type": "message", "role": "user", "content": [
                    {"type": "input_text", "text": "and this"},
                    {"type": "input_image", "image_url": "https://x.example/a.png", "detail": "auto"},
                ]},
                reasoning,
                {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"at\":1}"},
                {"type": "function_call_output", "call_id": "c1", "output": "seen"},
            ],
            "max_output_tokens": 99,
            "stream": true,
            "store": false,
            "include": ["reasoning.encrypted_content"],
            "tools": [{"type": "function", "name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": false}],
        })
    );
}

#[test]
fn options_have_their_places_or_are_refused() {
    let ask = |options: Value| sent(&[Message::new(Role::User, json!("x"))], &options, &[]);
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}});
    let body = ask(json!({
        "max_completion_tokens": 9, "temperature": 0.5, "reasoning_effort": "low", "verbosity": "low",
        "response_format": schema, "tool_choice": {"type": "function", "function": {"name": "f"}},
        "tools": [{"type": "function", "function": {"name": "f", "strict": true, "parameters": {}}}],
    }))
    .unwrap();
    assert_eq!((&body["max_output_tokens"], &body["temperature"]), (&json!(9), &json!(0.5)));
    assert_eq!(body["reasoning"], json!({"effort": "low"}));
    assert_eq!(
        body["text"],
        json!({"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": true}})
    );
    assert_eq!(body["tool_choice"], json!({"type": "function", "name": "f"}));
    assert_eq!(body["tools"], json!([{"type": "function", "name": "f", "strict": true, "parameters": {}}]));
    for (field, value) in [("stop", json!("x")), ("seed", json!(1)), ("store", json!(true))] {
        let error = ask(json!({ field: value })).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{field}` cannot be asked of provider 'custom'")), "{error}");
    }
    assert!(carries("temperature") && !carries("stop"));
}

#[tokio::test]
async fn a_stream_is_read() {
    let response = |extra: Value| {
        let mut response =
            json!({"id": "r", "object": "response", "model": "gpt-x", "error": null, "output": []});
        response.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        response
    };
    let reasoning = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "e"});
    let called = json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": "{\"at\":1}"});
    let begun =
        json!({"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": ""});
    let events = [
        json!({"type": "response.created", "response": response(json!({"status": "in_progress", "usage": null}))}),
        json!({"type": "response.in_progress", "response": response(json!({"status": "in_progress"}))}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs_1", "summary": []}}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": reasoning}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "content": []}}),
        json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "I lo"}),
        json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "ok."}),
        json!({"type": "response.output_text.done", "output_index": 1, "text": "I look."}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": {"type": "message", "content": [{"type": "output_text", "text": "I look."}]}}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": begun}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{\"at\""}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"}),
        json!({"type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{\"at\":1}"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": called}),
        json!({"type": "response.completed", "response": response(json!({"status": "completed", "output": [reasoning, {"type": "message"}, called],
            "usage": {"input_tokens": 15, "input_tokens_details": {"cached_tokens": 5}, "output_tokens": 30,
                "output_tokens_details": {"reasoning_tokens": 8}, "total_tokens": 45}}))}),
    ];
    let said = said_by(Wire::Responses, &events).await.unwrap();
    assert_eq!(
        said,
        Said {
            text: "I look.".to_owned(),
            heard: "I look.".to_owned(),
            reasoning: "hm".to_owned(),
            calls: vec![
                json!({"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}})
            ],
            thoughts: vec![
                json!({"type": "reasoning", "summary": reasoning["summary"], "encrypted_content": "e"})
            ],
            model: "gpt-x".to_owned(),
            finish: "tool_calls".to_owned(),
            usage: json!({"input": 10, "output": 30, "read": 5, "written": 0, "reasoning": 8}),
        }
    );
}

/// Servers that tell a response only at its end, or in one; and ends that are none.
#[tokio::test]
async fn other_ends() {
    let output = json!([
        {"type": "message", "content": [{"type": "output_text", "text": "All "}, {"type": "output_text", "text": "here"}]},
        {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
    ]);
    let whole = json!({"object": "response", "status": "completed", "model": "m", "output": output});
    let at_end = json!({"type": "response.completed", "response": whole});
    for answer in [whole.clone(), at_end] {
        let said = said_by(Wire::Responses, &[answer]).await.unwrap();
        assert_eq!(
            (said.text.as_str(), said.calls.len(), said.finish.as_str()),
            ("All here", 1, "tool_calls")
        );
    }
    let cut = json!({"object": "response", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"},
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "Ha"}]}]});
    assert_eq!(said_by(Wire::Responses, &[cut]).await.unwrap().finish, "length");
    let error = json!({"code": "rate_limit_exceeded", "message": "slow down"});
    for failed in [
        json!({"type": "response.failed", "response": {"status": "failed", "error": error}}),
        json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow down"}),
        json!({"object": "response", "status": "failed", "error": error}),
    ] {
        assert_eq!(
            said_by(Wire::Responses, &[failed]).await.unwrap_err(),
            "the provider reported an error: slow down"
        );
    }
}
