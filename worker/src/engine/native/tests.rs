//! The engine against a provider on a real socket.

use std::sync::Arc;

use bytes::Bytes;
use hermes_config::{ProfileConfig, Secret};
use hermes_wire::providers::Wire;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer::Answer;
use super::exchange::MAX_MESSAGE;
use super::fake::{Fake, Step, answer, broken_off, chunk, ending, error, status, stream_head};
use super::*;
use crate::engine::{Event, Message, Options, Outcome, Role, Unrecorded, Usage};
use crate::outgoing::secured;

mod faults;
mod network;
mod options;
mod streams;
mod wires;

const KEY: &str = "sk-canary-7f3a";

fn quick() -> RetryPolicy {
    let ms = Duration::from_millis;
    RetryPolicy { base: ms(1), cap: ms(4), invalid_base: ms(1), invalid_cap: ms(4), ..RetryPolicy::default() }
}

fn endpoint(base_url: &str) -> Endpoint {
    let mut config = ProfileConfig::new("coder".parse().unwrap());
    config.model.provider = Some("custom".to_owned());
    config.model.base_url = Some(base_url.to_owned());
    config.model.api_key = Some(Secret::new(KEY));
    config.model.default = "m".to_owned();
    provider::resolve(&config, &ProfileHome::new("/h")).unwrap()
}

fn native(base_url: &str) -> Native {
    Native::new(Ok(endpoint(base_url)), quick(), Some(Duration::from_secs(30)))
}

fn prompt() -> Prompt {
    Prompt {
        session_id: "s".to_owned(),
        system: "Be brief.".to_owned(),
        messages: vec![
            Message::new(Role::User, json!("one")),
            Message::new(Role::Assistant, json!("two")),
            Message::new(Role::User, json!([{"type": "text", "text": "three"}])),
        ],
        ..Prompt::default()
    }
}

/// Runs a turn with somebody listening; gives back what was heard too.
async fn run(engine: &Native) -> (Result<Outcome, EngineError>, Vec<Event>) {
    run_prompt(engine, &prompt()).await
}

async fn run_prompt(engine: &Native, prompt: &Prompt) -> (Result<Outcome, EngineError>, Vec<Event>) {
    let (sink, mut events) = mpsc::channel(4);
    let listening = async {
        let mut all = Vec::new();
        while let Some(event) = events.recv().await {
            all.push(event);
        }
        all
    };
    tokio::join!(engine.run(prompt, &Unrecorded, sink.into(), CancellationToken::new()), listening)
}

fn deltas(events: &[Event]) -> String {
    events
        .iter()
        .filter_map(|e| if let Event::Delta(text) = e { Some(text.as_str()) } else { None })
        .collect()
}

/// An endpoint that speaks `wire`.
pub(super) fn endpoint_of(wire: Wire) -> Endpoint {
    Endpoint { wire, ..endpoint("http://127.0.0.1:1/v1") }
}

pub(super) fn options_of(options: &Value) -> Options {
    options.as_object().unwrap().clone()
}

/// What was read of an answer.
#[derive(Debug, PartialEq)]
pub(super) struct Said {
    pub(super) text: String,
    /// Piece by piece.
    pub(super) heard: String,
    pub(super) reasoning: String,
    pub(super) calls: Vec<Value>,
    pub(super) thoughts: Vec<Value>,
    pub(super) model: String,
    pub(super) finish: String,
    pub(super) usage: Value,
}

/// Reads these events, each with its name, or one alone as a body of its own.
pub(super) async fn said_by(wire: Wire, events: &[Value]) -> Result<Said, String> {
    let named =
        |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or("x"));
    let bytes = match events {
        [one] if one.get("object").is_some() || one["type"] == "message" => one.to_string(),
        many => many.iter().map(named).collect(),
    };
    let (sink, mut heard) = mpsc::channel(1000);
    let mut audience = Audience::new(sink.into());
    let mut answer = Answer::new(wire, true);
    let pieces: Vec<_> = bytes
        .as_bytes()
        .chunks(7)
        .map(|piece| Ok::<_, std::io::Error>(Bytes::copy_from_slice(piece)))
        .collect();
    let read = answer.read(futures_util::stream::iter(pieces), &mut audience).await;
    drop(audience);
    read.map_err(|failure| failure.message)?;
    let mut pieces = Vec::new();
    while let Some(event) = heard.recv().await {
        pieces.push(event);
    }
    let thought =
        pieces.iter().filter_map(|e| if let Event::Thought(text) = e { Some(text.as_str()) } else { None });
    assert_eq!(thought.collect::<String>(), answer.reasoning, "piece by piece");
    let usage = answer.usage;
    Ok(Said {
        heard: deltas(&pieces),
        reasoning: answer.reasoning.clone(),
        thoughts: answer.thoughts(),
        finish: answer.finish_reason().to_owned(),
        model: answer.model.clone().unwrap_or_default(),
        usage: json!({
            "input": usage.input_tokens, "output": usage.output_tokens, "read": usage.cache_read_tokens,
            "written": usage.cache_write_tokens, "reasoning": usage.reasoning_tokens,
        }),
        text: answer.text,
        calls: answer.calls.finish(),
    })
}

fn message(result: Result<Outcome, EngineError>) -> String {
    result.unwrap_err().to_string()
}

#[tokio::test]
async fn the_request_is_what_0_19_0_sends_and_the_answer_streams() {
    let fake = Fake::start([answer(&["Hel", "lo ", "🦀"])]).await;
    let engine = native(&fake.base_url);
    assert!(engine.ways.as_ref().unwrap()[0].is_idle(), "no client before the first turn");
    let (result, events) = run(&engine).await;
    let outcome = result.unwrap();
    assert_eq!((outcome.text.as_str(), deltas(&events).as_str()), ("Hello 🦀", "Hello 🦀"));
    assert_eq!(events.len(), 3);
    assert_eq!(
        (outcome.finish_reason.as_str(), outcome.model.as_str(), outcome.calls),
        ("stop", "m-2026", 1)
    );
    assert_eq!((outcome.provider.as_str(), outcome.base_url.as_str()), ("custom", fake.base_url.as_str()));
    let usage = Usage {
        input_tokens: 60,
        output_tokens: 7,
        cache_read_tokens: 40,
        reasoning_tokens: 3,
        ..Usage::default()
    };
    assert_eq!(outcome.usage, usage);
    let call = &fake.calls()[0];
    assert!(call.head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{}", call.head);
    assert!(call.head.to_lowercase().contains(&format!("authorization: bearer {KEY}")));
    assert_eq!(
        serde_json::to_string(&call.body).unwrap(),
        r#"{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":[{"type":"text","text":"three"}]}],"max_tokens":65536,"stream":true,"stream_options":{"include_usage":true}}"#
    );
}

#[tokio::test]
async fn any_split_line_end_and_extra_is_understood() {
    let wire = format!(": ping\r\n\r\nevent: x\r\n{}{}", chunk("grün "), chunk("🦀").replace('\n', "\r\n"));
    let wire = format!("{wire}data: {}\n\n{}", json!({"id": "no choices"}), ending());
    let mut steps = vec![stream_head()];
    steps.extend(wire.into_bytes().into_iter().map(|byte| Step::Send(vec![byte])));
    steps.push(Step::Close);
    let fake = Fake::start([steps]).await;
    assert_eq!(run(&native(&fake.base_url)).await.0.unwrap().text, "grün 🦀");
}

#[tokio::test]
async fn a_json_answer_is_as_good_as_a_stream() {
    let body = json!({"model": "x", "choices": [{"message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 1}});
    let fake = Fake::start([status(200, "Content-Type: text/event-stream\r\n", &format!("\n {body}"))]).await;
    let (result, events) = run(&native(&fake.base_url)).await;
    let outcome = result.unwrap();
    assert_eq!(
        (outcome.text.as_str(), outcome.model.as_str(), outcome.usage.input_tokens),
        ("whole", "x", 5)
    );
    assert_eq!(deltas(&events), "whole");
}

#[tokio::test]
async fn a_wrong_key_fails_at_once_and_is_not_repeated_to_anyone() {
    for code in [400, 401, 403, 404] {
        let fake = Fake::start([error(code, &format!("bad key {KEY}\n{}", "x".repeat(2_000)))]).await;
        let (result, events) = run(&native(&fake.base_url)).await;
        let text = message(result);
        assert!(text.starts_with(&format!("HTTP {code}: bad key *** xxx")), "{text}");
        assert!(!text.contains("canary") && text.chars().count() <= MAX_MESSAGE + 1, "{text}");
        assert_eq!((fake.calls().len(), events.len()), (1, 0));
    }
}

#[tokio::test]
async fn a_rate_limit_is_waited_out_as_the_provider_asks() {
    let fake = Fake::start([
        status(429, "Retry-After: 0.2\r\n", r#"{"error":"slow down"}"#),
        status(429, "Retry-After: 0.2\r\n", r#"{"error":"slow down"}"#),
        answer(&["ok"]),
    ])
    .await;
    let started = hermes_host::clock::now();
    let (result, events) = run(&native(&fake.base_url)).await;
    let outcome = result.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(400));
    assert_eq!((outcome.text.as_str(), outcome.calls), ("ok", 3));
    let reason = "HTTP 429: slow down".to_owned();
    assert_eq!(events[0], Event::Retrying { attempt: 2, reason: reason.clone() });
    assert_eq!(events[1], Event::Retrying { attempt: 3, reason });
}

/// Wires 3: milliseconds count, the provider's word on another call is the last, and a wait that nobody has time for is not begun.
#[tokio::test]
async fn w3_a_provider_decides_when_and_whether_it_is_called_again() {
    let slow = |headers: &str| status(429, headers, r#"{"error":"slow down"}"#);
    let fake = Fake::start([slow("retry-after-ms: 120.5\r\nRetry-After: 50\r\n"), answer(&["ok"])]).await;
    let started = hermes_host::clock::now();
    assert_eq!(run(&native(&fake.base_url)).await.0.unwrap().calls, 2);
    assert!(started.elapsed() >= Duration::from_millis(120));

    let fake = Fake::start([status(400, "x-should-retry: true\r\n", "{}"), answer(&["ok"])]).await;
    assert_eq!(run(&native(&fake.base_url)).await.0.unwrap().calls, 2);

    for (headers, body, fault, is_final, says) in [
        ("x-should-retry: false\r\n", "{}", Fault::Limited, true, "HTTP 429"),
        (
            "",
            r#"{"error":{"code":"insufficient_quota","message":"Pay"}}"#,
            Fault::Quota,
            false,
            "HTTP 429: Pay",
        ),
        (
            "Retry-After: 86400\r\n",
            "{}",
            Fault::Limited,
            false,
            "; the provider asks to come back in 86400 s, at 20",
        ),
    ] {
        let fake = Fake::start([status(429, headers, body), answer(&["never"])]).await;
        let error = run(&native(&fake.base_url)).await.0.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
        let EngineError::Provider { fault: f, is_final: end, calls, .. } = error else { panic!("{error}") };
        assert_eq!((f, end, calls, fake.calls().len()), (fault, is_final, 1, 1), "{headers}");
    }
}

/// Wires 3: a bare 404 says which address was asked, and what is probably meant.
#[tokio::test]
async fn w3_an_address_that_is_not_known_there_is_named() {
    for body in ["", "<html><body>404</body></html>", "404 page not found", r#"{"detail":"Not Found"}"#] {
        let fake = Fake::start([status(404, "", body)]).await;
        let base_url = fake.base_url.trim_end_matches("/v1").to_owned();
        let text = message(run(&native(&base_url)).await.0);
        let said = format!(
            "(asked `{base_url}/chat/completions`; model.base_url should probably be `{base_url}/v1`)"
        );
        assert!(text.starts_with("HTTP 404: ") && text.ends_with(&said) && !text.contains('<'), "{text}");
    }
    let fake = Fake::start([error(404, "The model `m` does not exist")]).await;
    assert_eq!(message(run(&native(&fake.base_url)).await.0), "HTTP 404: The model `m` does not exist");
}

#[tokio::test]
async fn the_last_attempt_says_how_often_it_was_tried() {
    let fake = Fake::start((0..3).map(|_| error(429, "quota"))).await;
    let (result, _) = run(&native(&fake.base_url)).await;
    let expected = "API call failed after 3 retries: HTTP 429: quota".to_owned();
    let error = result.unwrap_err();
    assert_eq!(error.fault(), Some(Fault::Limited));
    let EngineError::Provider { status, message, calls, .. } = error else { panic!("{error}") };
    assert_eq!((status, message, calls), (Some(429), expected, 3));
}

#[tokio::test]
async fn a_server_error_an_empty_answer_and_garbage_are_tried_again() {
    let garbage = |body: &str| status(200, "Content-Type: text/event-stream\r\n", body);
    for bad in [
        error(500, "oops"),
        error(503, "busy"),
        error(529, "overloaded"),
        vec![Step::Close],
        vec![stream_head(), Step::Close],
        vec![stream_head(), Step::Send(ending().into_bytes()), Step::Close],
        garbage("data: {not json}\n\n"),
        garbage("<html>maintenance</html>"),
        garbage(""),
        garbage("\u{1}\u{2}\u{3}"),
        garbage(r#"{"object":"list"}"#),
        garbage("data: {\"error\":{\"message\":\"upstream died\",\"code\":502}}\n\n"),
        vec![Step::Send(b"this is not HTTP\r\n\r\n".to_vec()), Step::Close],
    ] {
        let shown = format!("{bad:?}");
        let fake = Fake::start([bad, answer(&["fine"])]).await;
        let (result, events) = run(&native(&fake.base_url)).await;
        let outcome = result.unwrap_or_else(|e| panic!("{shown}: {e}"));
        assert_eq!(
            (outcome.text.as_str(), outcome.calls, deltas(&events).as_str()),
            ("fine", 2, "fine"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_never_said_twice() {
    let cut = broken_off(&chunk("half an ans"));
    let failing = [chunk("half"), "data: {\"error\":{\"message\":\"died\"}}\n\n".to_owned()].concat();
    for bad in [cut.clone(), vec![stream_head(), Step::Send(failing.into_bytes()), Step::Close]] {
        let fake = Fake::start([bad, answer(&["again"])]).await;
        let (result, events) = run(&native(&fake.base_url)).await;
        assert!(message(result).starts_with("the answer broke off: "));
        assert_eq!(fake.calls().len(), 1);
        assert!(deltas(&events).starts_with("half"));
    }
    // Where nobody was listening nobody hears it twice.
    let fake = Fake::start([cut, answer(&["whole"])]).await;
    let (sink, _) = mpsc::channel(1);
    let outcome = native(&fake.base_url)
        .run(&prompt(), &Unrecorded, sink.into(), CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((outcome.text.as_str(), outcome.calls), ("whole", 2));
}

#[tokio::test]
async fn silence_ends_a_call() {
    let fake = Fake::start([vec![Step::Hang], vec![stream_head(), Step::Hang], answer(&["awake"])]).await;
    let engine = Native::new(Ok(endpoint(&fake.base_url)), quick(), Some(Duration::from_millis(100)));
    let (result, events) = run(&engine).await;
    assert_eq!(result.unwrap().text, "awake");
    let Event::Retrying { reason, .. } = &events[0] else { panic!("{events:?}") };
    assert!(reason.contains("said nothing for too long"), "{reason}");
    fake.left(2).await;
}

/// 1: a call that failed is the provider's last error at once, not only when its turn is over.
#[tokio::test]
async fn c1_a_failed_call_is_known_before_its_turn_is_over() {
    let fake = Fake::start([status(503, "", "{}"), vec![Step::Hang]]).await;
    let health = Health::new();
    let engine = native(&fake.base_url).reporting(health.clone());
    let (prompt, cancel) = (prompt(), CancellationToken::new());
    let (sink, _events) = mpsc::channel(4);
    let turn = engine.run(&prompt, &Unrecorded, sink.into(), cancel.clone());
    let look = async {
        fake.begun(2).await;
        let last = health.subscribe().borrow().clone().unwrap();
        assert_eq!((last.class.as_str(), last.code, last.count), ("overloaded", Some(503), 1));
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(turn, look);
    assert!(matches!(ended, Err(EngineError::Interrupted)));
}

#[tokio::test]
async fn cancelling_drops_the_connection_and_ends_a_wait() {
    let busy = status(429, "Retry-After: 60\r\n", "{}");
    let hang = vec![Step::Hang];
    let half = vec![stream_head(), Step::Send(chunk("half").into_bytes()), Step::Hang];
    for (script, leaves) in [(busy, 0), (hang, 1), (half, 1)] {
        let fake = Fake::start([script]).await;
        let engine = native(&fake.base_url);
        let (sink, mut events) = mpsc::channel(4);
        let cancel = CancellationToken::new();
        let prompt = prompt();
        let (result, ()) =
            tokio::join!(engine.run(&prompt, &Unrecorded, sink.into(), cancel.clone()), async {
                fake.begun(1).await;
                if leaves == 0 {
                    assert!(matches!(events.recv().await, Some(Event::Retrying { .. })));
                }
                cancel.cancel();
            });
        assert_eq!(result, Err(EngineError::Interrupted));
        fake.left(leaves).await;
    }
}

#[tokio::test]
async fn nobody_listening_at_the_other_end_is_tried_again_and_named() {
    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/v1", free.local_addr().unwrap());
    drop(free);
    let text = message(run(&native(&base_url)).await.0);
    assert!(
        text.starts_with("API call failed after 3 retries: cannot connect to `http://127.0.0.1:"),
        "{text}"
    );
    assert!(text.contains("refused"), "{text}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Fake::start([answer(&["stolen"])]).await;
    let fake =
        Fake::start([status(307, &format!("Location: {}/chat/completions\r\n", other.base_url), "")]).await;
    let text = message(run(&native(&fake.base_url)).await.0);
    assert!(text.starts_with("HTTP 307: the address redirects elsewhere"), "{text}");
    assert!(other.calls().is_empty());
}

/// Wires 2: a part that is refused, by a status or within a 200, is left out, and from then on too.
#[tokio::test]
async fn what_a_provider_refuses_is_left_out_from_then_on() {
    let fake = Fake::start([
        error(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        error(400, "max_completion_tokens is too large: 65536"),
        status(
            200,
            "",
            r#"{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}"#,
        ),
        answer(&["ok"]),
        answer(&["ok"]),
    ])
    .await;
    let engine = native(&fake.base_url);
    assert_eq!(run(&engine).await.0.unwrap().calls, 4);
    assert_eq!(run(&engine).await.0.unwrap().calls, 1);
    let keys: Vec<Vec<String>> =
        fake.calls().iter().map(|c| c.body.as_object().unwrap().keys().cloned().collect()).collect();
    assert_eq!(keys[1], ["model", "messages", "max_completion_tokens", "stream", "stream_options"]);
    assert_eq!(keys[4], ["model", "messages", "stream"]);
}

#[tokio::test]
async fn an_untrusted_certificate_fails_at_once_and_loads_the_roots_only_then() {
    let acceptor = secured::acceptor(secured::LOCALHOST);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("https://localhost:{}/v1", listener.local_addr().unwrap().port());
    let engine = native(&base_url);
    let serving = async {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = acceptor.accept(stream).await;
        }
    };
    let (result, _) = tokio::select! {
        done = run(&engine) => done,
        () = serving => unreachable!("it accepts for ever"),
    };
    let error = result.unwrap_err();
    let EngineError::Provider { calls, message, .. } = &error else { panic!("{error}") };
    assert!(message.starts_with("no secure connection to `https://localhost:"), "{message}");
    assert_eq!(*calls, 1, "{message}");
}

#[tokio::test]
async fn without_a_provider_a_turn_says_what_to_do() {
    let config = ProfileConfig::new("coder".parse().unwrap());
    let engine = Native::from_config(&config, &ProfileHome::new("/h/.hermes/profiles/coder"), &[]);
    let text = run(&engine).await.0.unwrap_err();
    assert!(
        matches!(&text, EngineError::Config(t) if t.starts_with("No inference provider configured. Run 'hermes -p coder setup model'"))
    );
    assert!(text.to_string().contains("/h/.hermes/profiles/coder/.env"));
}
