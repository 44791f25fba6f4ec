//! The two other wires on a real socket: addresses, headers, a turn with a tool, refusals and retries.

use serde_json::Value;

use super::*;
use crate::tools::{Caller, Tool, Tools, Work};

pub(super) fn native_of(fake: &Fake, wire: Wire, key: &str) -> Native {
    let endpoint = Endpoint { wire, key: Secret::new(key), ..endpoint(&fake.base_url) };
    Native::new(Ok(endpoint), quick(), Some(Duration::from_secs(30)))
}

pub(super) fn stream_of(events: &[Value]) -> Vec<Step> {
    let mut steps = vec![stream_head()];
    for event in events {
        let name = event["type"].as_str().unwrap();
        steps.push(Step::Send(format!("event: {name}\ndata: {event}\n\n").into_bytes()));
    }
    steps.push(Step::Close);
    steps
}

pub(super) fn message_of(blocks: &[(Value, Value)], reason: &str) -> Vec<Step> {
    let usage = json!({"input_tokens": 3, "output_tokens": 1});
    let mut events = vec![
        json!({"type": "message_start", "message": {"model": "claude-x", "content": [], "usage": usage}}),
    ];
    for (index, (block, delta)) in blocks.iter().enumerate() {
        events.push(json!({"type": "content_block_start", "index": index, "content_block": block}));
        events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 5}}),
    );
    events.push(json!({"type": "message_stop"}));
    stream_of(&events)
}

pub(super) fn text_of(text: &str) -> (Value, Value) {
    (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": text}))
}

pub(super) fn response_of(items: &[Value]) -> Vec<Step> {
    let mut events = vec![json!({"type": "response.created", "response": {"model": "gpt-x", "error": null}})];
    for (index, item) in items.iter().enumerate() {
        events.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    }
    let usage = json!({"input_tokens": 3, "output_tokens": 6});
    let response = json!({"object": "response", "status": "completed", "model": "gpt-x", "output": items, "usage": usage});
    events.push(json!({"type": "response.completed", "response": response}));
    stream_of(&events)
}

struct Look;

impl Tool for Look {
    fn name(&self) -> &'static str {
        "look"
    }

    fn about(&self) -> &'static str {
        "Looks."
    }

    fn toolset(&self) -> &'static str {
        "file"
    }

    fn parameters(&self) -> Value {
        json!({"type": "object"})
    }

    fn run<'a>(&'a self, arguments: serde_json::Map<String, Value>, _: &'a Caller) -> Work<'a> {
        Box::pin(async move { Ok(json!({"seen": arguments})) })
    }
}

fn with_tool(engine: Native) -> Native {
    engine.with_tools(Tools::new(vec![Box::new(Look)]), 5)
}

/// A tool is called, its result goes back with the thoughts that led to the call, and the answer follows.
#[tokio::test]
async fn a_turn_with_a_tool_on_messages() {
    let thinking = (
        json!({"type": "thinking", "thinking": "hm", "signature": ""}),
        json!({"type": "signature_delta", "signature": "sig"}),
    );
    let call = (
        json!({"type": "tool_use", "id": "t1", "name": "look", "input": {}}),
        json!({"type": "input_json_delta", "partial_json": "{\"at\": 1}"}),
    );
    let fake = Fake::start([
        message_of(&[thinking, text_of("I look."), call], "tool_use"),
        message_of(&[text_of("Seen.")], "end_turn"),
    ])
    .await;
    let engine = with_tool(native_of(&fake, Wire::Messages, KEY));
    let (result, events) = run(&engine).await;
    let outcome = result.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.finish_reason.as_str(), outcome.calls), ("Seen.", "stop", 2));
    assert_eq!((outcome.usage.input_tokens, outcome.usage.output_tokens), (6, 10));
    assert_eq!(deltas(&events), "I look.Seen.");
    let calls = fake.calls();
    let head = calls[0].head.to_lowercase();
    assert!(head.starts_with("post /v1/messages http/1.1\r\n"), "{head}");
    for header in [
        &format!("x-api-key: {KEY}"),
        &format!("authorization: bearer {KEY}"),
        "anthropic-version: 2023-06-01",
    ] {
        assert!(head.contains(header), "{head}");
    }
    assert_eq!(
        calls[0].body["tools"],
        json!([{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}])
    );
    let turns = calls[1].body["messages"].as_array().unwrap();
    assert_eq!(
        turns[turns.len() - 2..],
        [
            json!({"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "sig"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}},
            ]}),
            json!({"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "{\"seen\":{\"at\":1}}", "cache_control": {"type": "ephemeral"}},
            ]}),
        ]
    );
}

#[tokio::test]
async fn a_turn_with_a_tool_on_responses() {
    let reasoning = json!({"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "e"});
    let call = json!({"type": "function_call", "id": "fc", "call_id": "c1", "name": "look", "arguments": "{\"at\":1}"});
    let text = json!({"type": "message", "content": [{"type": "output_text", "text": "Seen."}]});
    let fake = Fake::start([response_of(&[reasoning, call]), response_of(&[text])]).await;
    let (result, _) = run(&with_tool(native_of(&fake, Wire::Responses, KEY))).await;
    let outcome = result.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.finish_reason.as_str()), ("Seen.", "stop"));
    let calls = fake.calls();
    assert!(calls[0].head.starts_with("POST /v1/responses HTTP/1.1\r\n"), "{}", calls[0].head);
    let input = calls[1].body["input"].as_array().unwrap();
    assert_eq!(
        input[input.len() - 3..],
        [
            json!({"type": "reasoning", "summary": [], "encrypted_content": "e"}),
            json!({"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"at\":1}"}),
            json!({"type": "function_call_output", "call_id": "c1", "output": "{\"seen\":{\"at\":1}}"}),
        ]
    );
}

/// A subscription's key is announced as one, and stands in no other header.
#[tokio::test]
async fn a_key_of_a_subscription() {
    let fake = Fake::start([message_of(&[text_of("x")], "end_turn")]).await;
    run(&native_of(&fake, Wire::Messages, "sk-ant-oat01-canary")).await.0.unwrap();
    let head = fake.calls()[0].head.to_lowercase();
    assert!(
        head.contains("authorization: bearer sk-ant-oat01-canary\r\n") && !head.contains("x-api-key"),
        "{head}"
    );
    assert!(head.contains("anthropic-beta: oauth-2025-04-20"), "{head}");
}

/// Every row of the error table on both wires: what is tried again, and what is not.
#[tokio::test]
async fn errors_mean_the_same_on_every_wire() {
    for wire in [Wire::Messages, Wire::Responses] {
        let text = json!({"type": "message", "content": [{"type": "output_text", "text": "ok"}]});
        let is_messages = wire == Wire::Messages;
        let good = if is_messages { message_of(&[text_of("ok")], "end_turn") } else { response_of(&[text]) };
        let anthropic = |code: u16, kind: &str| {
            let body = json!({"type": "error", "error": {"type": kind, "message": "said so"}});
            status(code, "Content-Type: application/json\r\n", &body.to_string())
        };
        let in_stream = if is_messages {
            let error = json!({"type": "overloaded_error", "message": "Overloaded"});
            stream_of(&[json!({"type": "error", "error": error})])
        } else {
            let error = json!({"code": "server_error", "message": "Overloaded"});
            stream_of(&[json!({"type": "response.failed", "response": {"error": error}})])
        };
        // Half an event, and the connection is gone.
        let cut = broken_off("event: message_start\ndata: {\"type\":\"mess");
        for failed in [
            anthropic(429, "rate_limit_error"),
            anthropic(500, "api_error"),
            anthropic(529, "overloaded_error"),
            in_stream,
            cut,
            vec![Step::Close],
            status(200, "", "<html><title>proxy</title>"),
            status(200, "", "{\"no\": 1"),
        ] {
            let fake = Fake::start([failed.clone(), good.clone()]).await;
            let (result, _) = run(&native_of(&fake, wire, KEY)).await;
            assert_eq!(result.unwrap().text, "ok", "{wire:?} {failed:?}");
        }
        for (code, kind) in [
            (401, "authentication_error"),
            (402, "billing_error"),
            (404, "not_found_error"),
            (413, "request_too_large"),
            (400, "invalid_request_error"),
        ] {
            let fake = Fake::start([anthropic(code, kind), good.clone()]).await;
            let (result, _) = run(&native_of(&fake, wire, KEY)).await;
            let said = message(result);
            assert!(said.starts_with(&format!("HTTP {code}: said so")), "{wire:?}: {said}");
            assert_eq!(fake.calls().len(), 1, "{wire:?} {code}");
        }
    }
}

/// A limit that is too high is lowered to what the model takes, once and for good; a model without thoughts is not asked for them.
#[tokio::test]
async fn what_a_model_does_not_take_is_learned() {
    let refusal = |text: &str| {
        let body = json!({"type": "error", "error": {"type": "invalid_request_error", "message": text}});
        status(400, "Content-Type: application/json\r\n", &body.to_string())
    };
    let good = || message_of(&[text_of("ok")], "end_turn");
    let too_high = "max_tokens: 32000 > 8192, which is the maximum allowed number of output tokens for m";
    let fake = Fake::start([refusal(too_high), good(), good()]).await;
    let engine = native_of(&fake, Wire::Messages, KEY);
    run(&engine).await.0.unwrap();
    run(&engine).await.0.unwrap();
    let limits: Vec<_> = fake.calls().iter().map(|call| call.body["max_tokens"].clone()).collect();
    assert_eq!(limits, [32_000, 8_192, 8_192]);
    let text = json!({"type": "message", "content": [{"type": "output_text", "text": "ok"}]});
    let fake =
        Fake::start([refusal("Encrypted content is not supported with this model."), response_of(&[text])])
            .await;
    run(&native_of(&fake, Wire::Responses, KEY)).await.0.unwrap();
    let asked: Vec<_> = fake.calls().iter().map(|call| call.body.get("include").is_some()).collect();
    assert_eq!(asked, [true, false]);
}

/// What Responses has no word for goes by chat completions where those are served, too.
#[test]
fn what_only_chat_completions_carry_goes_that_way() {
    let wire_of = |url: &str, options: &Value| {
        let endpoint = Endpoint { wire: Wire::Responses, ..endpoint(url) };
        wire::for_turn(&endpoint, &options_of(options)).wire
    };
    let (openai, other) = ("https://api.openai.com/v1", "http://127.0.0.1:1/v1");
    assert_eq!(wire_of(openai, &json!({"temperature": 1, "tools": []})), Wire::Responses);
    assert_eq!(wire_of(openai, &json!({"stop": "x"})), Wire::Chat);
    assert_eq!(wire_of(other, &json!({"stop": "x"})), Wire::Responses);
}

/// The next of `fallback_providers` takes over where the provider fails, for the rest of the turn, and the first is asked again by the
/// next turn; a request that nobody would take, and an answer that somebody has heard of, stay with whoever gave it.
#[tokio::test]
async fn another_provider_takes_the_place_of_one_that_fails() {
    let broke = || error(402, "pay first");
    let second = Fake::start([answer(&["second"]), answer(&["again"])]).await;
    let first =
        Fake::start([broke(), error(400, "no such thing"), broken_off(&chunk("ha")), answer(&["first"])])
            .await;
    let mut config = ProfileConfig::new("coder".parse().unwrap());
    let at = |url: &str| hermes_config::Model {
        provider: Some("custom".to_owned()),
        base_url: Some(url.to_owned()),
        api_key: Some(Secret::new(KEY)),
        default: "m".to_owned(),
        ..hermes_config::Model::default()
    };
    config.model = at(&first.base_url);
    let nobody = hermes_config::Model { provider: Some("nope".to_owned()), ..at("") };
    config.fallbacks = vec![nobody, at(&first.base_url), at(&second.base_url)];
    let mut engine = Native::from_config(&config, &ProfileHome::new("/h"), &[]);
    engine.policy = quick();
    let (result, events) = run(&engine).await;
    let outcome = result.unwrap();
    assert_eq!(
        (outcome.text.as_str(), outcome.base_url.as_str(), outcome.calls),
        ("second", second.base_url.as_str(), 2)
    );
    assert!(
        matches!(&events[0], Event::Retrying { reason, .. } if reason == "HTTP 402: pay first"),
        "{events:?}"
    );
    assert_eq!(message(run(&engine).await.0), "HTTP 400: no such thing");
    assert!(message(run(&engine).await.0).starts_with("the answer broke off"));
    assert_eq!(run(&engine).await.0.unwrap().text, "first");
    assert_eq!((first.calls().len(), second.calls().len()), (4, 1));
}

/// A client that names another model is answered by it; where that one fails, by those that take the provider's place.
#[tokio::test]
async fn a_client_may_ask_for_another_model() {
    let own = Fake::start([answer(&["own"])]).await;
    let fast = Fake::start([answer(&["fast"]), error(402, "pay first")]).await;
    let spare = Fake::start([answer(&["spare"])]).await;
    let mut engine = native(&own.base_url);
    engine.ways.as_mut().unwrap().push(Way::new(endpoint(&spare.base_url)));
    engine.routes.insert("fast".to_owned(), Ok(Way::new(endpoint(&fast.base_url))));
    let asked = |route: &str| Prompt { route: Some(route.to_owned()), ..prompt() };
    assert_eq!(run_prompt(&engine, &asked("fast")).await.0.unwrap().text, "fast");
    assert_eq!(run_prompt(&engine, &asked("fast")).await.0.unwrap().text, "spare");
    assert_eq!(run_prompt(&engine, &asked("gpt-4")).await.0.unwrap().text, "own");
}
