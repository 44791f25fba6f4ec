//! What the Messages wire sends, and what it makes of what comes.

use super::super::shape::Shape;
use super::*;
use crate::engine::native::tests::{Said, endpoint_of, options_of, said_by};
use hermes_wire::providers::Wire;

fn sent(messages: &[Message], options: &Value, tools: &[Value]) -> Result<Value, EngineError> {
    let endpoint = endpoint_of(Wire::Messages);
    let options = options_of(options);
    let ask = Ask { session_id: "s", system: "Be brief.", messages, options: &options, tools };
    body(&endpoint, &ask, &Shape::default())
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}})
}

/// A turn with tools in its middle, as it is sent: results stand together in the user's turn, thoughts with the calls they led to, marks
/// on the system prompt and the last two turns of the user.
#[test]
fn a_turn_with_tools() {
    let thinking = json!({"type": "thinking", "thinking": "hm", "signature": "s"});
    let foreign = json!({"type": "reasoning", "encrypted_content": "e"});
    let assistant = |calls: Vec<Value>, thoughts: Vec<Value>| Message {
        tool_calls: calls,
        thoughts,
        ..Message::new(Role::Assistant, json!("I look. \n"))
    };
    let body = sent(
        &[
            Message::new(Role::User, json!("first")),
            assistant(Vec::new(), vec![thinking.clone()]),
            Message::new(
                Role::User,
                json!([
                    {"type": "text", "text": "and this"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                ]),
            ),
            assistant(
                vec![call("call:1", r#"{"at":"x"}"#), call("call_2", "")],
                vec![thinking.clone(), foreign],
            ),
            Message::result("call:1", "look", "one".to_owned()),
            Message::result("call_2", "look", "two".to_owned()),
        ],
        &json!({}),
        &[
            json!({"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}}),
        ],
    );
    let mark = json!({"type": "ephemeral"});
    assert_eq!(
        body.unwrap(),
        json!({
            "model": "m",
            "max_tokens": 32_000,
            "system": [{"type": "text", "text": "Be brief.", "cache_control": mark}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "first"}]},
                {"role": "assistant", "content": [{"type": "text", "text": "I look."}]},
                {"role": "user", "content": [
                    {"type": "text", "text": "and this"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                    {"type": "image", "source": {"type": "url", "url": "https://x.example/a.png"}, "cache_control": mark},
                ]},
                {"role": "assistant", "content": [
                    thinking,
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "x"}},
                    {"type": "tool_use", "id": "call_2", "name": "look", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "one"},
                    {"type": "tool_result", "tool_use_id": "call_2", "content": "two", "cache_control": mark},
                ]},
            ],
            "stream": true,
            "tools": [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}],
        })
    );
}

/// A history as crashes, cuts and other programs leave it is made into one that alternates.
#[test]
fn what_a_history_lacks_is_made_up_for() {
    let calls =
        Message { tool_calls: vec![call("a", "not json")], ..Message::new(Role::Assistant, Value::Null) };
    let body = sent(
        &[
            Message::result("gone", "look", "orphan".to_owned()),
            calls,
            Message::new(Role::User, json!("well?")),
            Message::new(Role::User, json!(" ")),
            Message::new(Role::User, json!("hello?")),
            Message::new(Role::Assistant, json!("")),
        ],
        &json!({}),
        &[],
    );
    let mut turns = body.unwrap()["messages"].take();
    for block in
        turns.as_array_mut().unwrap().iter_mut().flat_map(|turn| turn["content"].as_array_mut().unwrap())
    {
        block.as_object_mut().unwrap().remove("cache_control");
    }
    assert_eq!(
        turns,
        json!([
            {"role": "user", "content": [{"type": "text", "text": "[Result of look]\norphan"}]},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "a", "name": "look", "input": {"arguments": "not json"}},
            ]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": NO_RESULT, "is_error": true},
                {"type": "text", "text": "well?"},
                {"type": "text", "text": "hello?"},
            ]},
        ])
    );
    let first = sent(&[Message::new(Role::Assistant, json!("hi"))], &json!({}), &[]).unwrap();
    assert_eq!(first["messages"][0]["content"][0]["text"], BEFORE);
}

/// A client's fields are translated, or refused by name.
#[test]
fn options_have_their_words_or_are_refused() {
    let ask = |options: Value| sent(&[Message::new(Role::User, json!("x"))], &options, &[]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let body = ask(json!({
        "max_tokens": 9, "temperature": 0.5, "top_k": 3, "stop": "END", "safety_identifier": "u", "tools": tools,
        "parallel_tool_calls": false, "response_format": {"type": "text"}, "store": false,
    }))
    .unwrap();
    assert_eq!((&body["max_tokens"], &body["stop_sequences"]), (&json!(9), &json!(["END"])));
    assert_eq!(body["metadata"], json!({"user_id": "u"}));
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": true}});
    let config =
        ask(json!({"reasoning_effort": "minimal", "response_format": schema})).unwrap()["output_config"]
            .take();
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    assert_eq!(config, json!({"effort": "low", "format": format}));
    assert_eq!(body["tools"][0]["input_schema"], json!({"type": "object", "properties": {}}));
    assert_eq!(body["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    for (choice, wire) in [
        (json!("required"), json!({"type": "any"})),
        (json!("none"), json!({"type": "none"})),
        (json!({"type": "function", "function": {"name": "f"}}), json!({"type": "tool", "name": "f"})),
    ] {
        assert_eq!(ask(json!({"tools": tools, "tool_choice": choice})).unwrap()["tool_choice"], wire);
    }
    for (field, value) in [
        ("logit_bias", json!({"1": 2})),
        ("response_format", json!({"type": "json_object"})),
        ("seed", json!(1)),
        ("tools", json!([{"type": "custom", "custom": {"name": "c"}}])),
    ] {
        let error = ask(json!({ field: value })).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{field}` cannot be asked of provider 'custom'")), "{error}");
    }
    let part = sent(&[Message::new(Role::User, json!([{"type": "file", "file": {}}]))], &json!({}), &[]);
    assert!(part.unwrap_err().to_string().contains("a part of type file"));
}

/// The events of a stream with thinking, text and two calls.
#[tokio::test]
async fn a_stream_is_read() {
    let events = [
        json!({"type": "message_start", "message": {"id": "m1", "type": "message", "role": "assistant", "model": "claude-x",
            "content": [], "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 2, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "let me "}}),
        json!({"type": "ping"}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "see"}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "sig"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "I lo"}}),
        json!({"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "ok."}}),
        json!({"type": "content_block_stop", "index": 1}),
        json!({"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "t1", "name": "look", "input": {}}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": "{\"at\""}}),
        json!({"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": ": 1}"}}),
        json!({"type": "content_block_stop", "index": 2}),
        json!({"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "t2", "name": "list", "input": {}}}),
        json!({"type": "content_block_stop", "index": 3}),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null}, "usage": {"output_tokens": 30}}),
        json!({"type": "message_stop"}),
    ];
    let said = said_by(Wire::Messages, &events).await.unwrap();
    let call = |id: &str, name: &str, arguments: &str| json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
    let usage = json!({"input": 10, "output": 30, "read": 5, "written": 2, "reasoning": 0});
    assert_eq!(
        said,
        Said {
            text: "I look.".to_owned(),
            heard: "I look.".to_owned(),
            reasoning: "let me see".to_owned(),
            calls: vec![call("t1", "look", r#"{"at": 1}"#), call("t2", "list", "{}")],
            thoughts: vec![json!({"type": "thinking", "thinking": "let me see", "signature": "sig"})],
            model: "claude-x".to_owned(),
            finish: "tool_calls".to_owned(),
            usage,
        }
    );
}

/// A whole message, an error in a stream, and a stream that breaks off.
#[tokio::test]
async fn other_ends() {
    let whole = json!({"type": "message", "model": "claude-x", "stop_reason": "max_tokens", "content": [
        {"type": "text", "text": "Half"}, {"type": "tool_use", "id": "t", "name": "look", "input": {"at": 1}},
    ], "usage": {"input_tokens": 3, "output_tokens": 4}});
    let said = said_by(Wire::Messages, &[whole]).await.unwrap();
    assert_eq!((said.text.as_str(), said.finish.as_str()), ("Half", "length"));
    assert_eq!(said.calls[0]["function"]["arguments"], r#"{"at":1}"#);
    let start = json!({"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 1}}});
    let overloaded = json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}});
    let error = said_by(Wire::Messages, &[start.clone(), overloaded]).await.unwrap_err();
    assert_eq!(error, "the provider reported an error: Overloaded");
    let error = said_by(Wire::Messages, &[start]).await.unwrap_err();
    assert_eq!(error, "the provider's stream ended in the middle of the answer");
}
