//! Streams as servers send them: `tests/fixtures/streams`, whose README says what stands there.

use std::io::{Error, ErrorKind};

use hermes_config::redact;
use serde::Deserialize;

use super::*;
use crate::engine::Event;
use crate::engine::native::coding::{self, Coder};

/// What a stream means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Expected {
    /// Its connection breaks after the last byte.
    broken: bool,
    coding: String,
    text: Option<String>,
    reasoning: String,
    finish_reason: Option<String>,
    model: Option<String>,
    /// Input, output, read from the cache, written to it, reasoning.
    usage: [u64; 5],
    calls: Vec<(Option<String>, String, String)>,
    fault: Option<String>,
    says: String,
}

impl Default for Expected {
    fn default() -> Self {
        let (coding, reasoning, says) = (String::new(), String::new(), String::new());
        let (text, finish_reason, model, fault) = (None, None, None, None);
        Self {
            broken: false,
            coding,
            text,
            reasoning,
            finish_reason,
            model,
            usage: [0; 5],
            calls: Vec::new(),
            fault,
            says,
        }
    }
}

/// What came of a stream, without the ids that were made up.
#[derive(Debug, Clone, PartialEq)]
struct Read {
    result: Result<(), (&'static str, String)>,
    answer: Answer,
    heard: String,
}

fn read_in(pieces: &[&[u8]], expected: &Expected, runtime: &tokio::runtime::Runtime) -> Read {
    let end = expected.broken.then(|| Err(Error::from(ErrorKind::ConnectionReset)));
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok(Bytes::copy_from_slice(piece))).chain(end).collect();
    let (sink, mut events) = tokio::sync::mpsc::channel(1);
    runtime.block_on(async {
        let mut answer = Answer::new(Wire::Chat, true);
        let reading = async {
            let body = coding::decoded(stream::iter(pieces), Coder::of(&expected.coding).unwrap());
            answer.read(body, &mut Audience::new(sink.into())).await
        };
        let listening = async {
            let mut heard = String::new();
            while let Some(event) = events.recv().await {
                if let Event::Delta(text) = event {
                    heard.push_str(&text);
                }
            }
            heard
        };
        let (result, heard) = tokio::join!(reading, listening);
        Read { result: result.map_err(|failure| (failure.fault.code(), failure.message)), answer, heard }
    })
}

fn check(name: &str, read: &Read, expected: &Expected) {
    let Read { result, answer, heard } = read;
    assert_eq!(*heard, answer.text, "{name}: what was heard is what is kept");
    if let Some(fault) = &expected.fault {
        let (code, message) = result.as_ref().expect_err(name);
        assert_eq!((code, message.contains(&expected.says)), (&fault.as_str(), true), "{name}: {message}");
        // Nothing that helps is taken for a secret.
        assert_eq!(redact::prose(message, &[]), *message, "{name}");
        return;
    }
    assert_eq!(*result, Ok(()), "{name}");
    let Usage { input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens } =
        answer.usage;
    let usage = [input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens];
    assert_eq!(Some(answer.text.as_str()), expected.text.as_deref(), "{name}");
    assert_eq!(answer.reasoning, expected.reasoning, "{name}");
    assert_eq!(Some(answer.finish_reason()), expected.finish_reason.as_deref(), "{name}");
    assert_eq!((&answer.model, usage), (&expected.model, expected.usage), "{name}");
    let calls = answer.calls.clone().finish();
    assert_eq!(calls.len(), expected.calls.len(), "{name}");
    for (call, (id, function, arguments)) in calls.iter().zip(&expected.calls) {
        assert_eq!(call["function"], json!({"name": function, "arguments": arguments}), "{name}");
        assert!(id.as_ref().is_none_or(|id| call["id"] == id.as_str()), "{name}: {call}");
    }
}

/// Wires 1: every stream of the corpus means what stands beside it, whole, byte by byte, and cut in two anywhere.
#[test]
fn w1_the_corpus_of_streams_is_read_wherever_it_is_cut() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/streams");
    let mut count = 0;
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "body") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let body = fs_err::read(&path).unwrap();
        let expected: Expected =
            serde_json::from_slice(&fs_err::read(path.with_extension("json")).unwrap()).unwrap();
        let whole = read_in(&[&body], &expected, &runtime);
        check(name, &whole, &expected);
        let bytes: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(read_in(&bytes, &expected, &runtime), whole, "{name}: byte by byte");
        for cut in 1..body.len() {
            let (first, second) = body.split_at(cut);
            assert_eq!(read_in(&[first, second], &expected, &runtime), whole, "{name}: cut after {cut}");
        }
        count += 1;
    }
    assert!(count > 80, "{count}");
}
