//! The loop of model and tools, with an engine and tools that do as the test says: every step is in the journal before the next begins.

use std::sync::{Arc, Mutex};

use serde_json::Map;
use tokio::sync::mpsc;

use super::*;
use crate::engine::{Booked, Kept, Unkept};
use crate::tools::{Tool, Work};

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: impl Into<String>) {
    log.lock().unwrap().push(what.into());
}

/// Calls the tool `count` times over, then answers; what it was asked stands in the log.
struct Scripted {
    log: Log,
    calls: Mutex<u32>,
}

impl Model for Scripted {
    async fn ask(&self, ask: Ask<'_>, _: &EventSink) -> Result<Reply, EngineError> {
        let last = ask.messages.last().unwrap();
        note(&self.log, format!("ask with {} tools after {}", ask.tools.len(), last.content));
        let mut left = self.calls.lock().unwrap();
        let usage = Usage { input_tokens: 10, output_tokens: 1, ..Usage::default() };
        let mut outcome = Outcome { usage, calls: 2, text: "done".to_owned(), ..Outcome::default() };
        let offered = ask.offers_tools();
        if *left > 0 && offered {
            *left -= 1;
            outcome.text = "let me see".to_owned();
            // As servers do that number the calls of each answer.
            outcome.tool_calls = vec![call("call_0"), call("call_1")];
        }
        Ok(Reply { outcome, reasoning: Some("hm".to_owned()), thoughts: Vec::new() })
    }
}

fn call(id: &str) -> Value {
    json!({"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}})
}

struct Counted(Log);

impl Tool for Counted {
    fn name(&self) -> &'static str {
        "f"
    }

    fn about(&self) -> &'static str {
        "Counts."
    }

    fn parameters(&self) -> Value {
        json!({"type": "object"})
    }

    fn toolset(&self) -> &'static str {
        "file"
    }

    fn run<'a>(&'a self, _: Map<String, Value>, _: &'a Caller) -> Work<'a> {
        note(&self.0, "run");
        Box::pin(std::future::ready(Ok(json!("ran"))))
    }
}

/// Keeps steps in the log, up to a number of them.
struct Paper(Log, Mutex<u32>);

impl Journal for Paper {
    fn keep(&self, step: Step) -> Kept<'_> {
        let mut room = self.1.lock().unwrap();
        if *room == 0 {
            return Box::pin(std::future::ready(Err(Unkept("no paper".to_owned()))));
        }
        *room -= 1;
        let (what, message) = match step {
            Step::Calls { message, cost } => (format!("keep calls, {} made", cost.calls), message),
            Step::Result { message, is_last } => (format!("keep result, last: {is_last}"), message),
        };
        note(&self.0, what);
        Box::pin(std::future::ready(Ok(message)))
    }

    fn spend(&self, cost: Cost, task: &'static str) -> Booked<'_> {
        note(&self.0, format!("spend {} for {task}", cost.calls));
        Box::pin(std::future::ready(Ok(())))
    }
}

struct Ran {
    result: Result<Outcome, EngineError>,
    log: Vec<String>,
}

async fn ran(prompt: &Prompt, calls: u32, limit: u32, paper: u32) -> Ran {
    let log = Log::default();
    let model = Scripted { log: Arc::clone(&log), calls: Mutex::new(calls) };
    let tools = Tools::new(vec![Box::new(Counted(Arc::clone(&log)))]);
    let journal = Paper(Arc::clone(&log), Mutex::new(paper));
    let (events, _pieces) = mpsc::channel(64);
    let result =
        run(&model, Own { tools: &tools, limit, is_child: false }, prompt, &journal, &events.into()).await;
    let log = log.lock().unwrap().clone();
    Ran { result, log }
}

fn question() -> Prompt {
    Prompt { messages: vec![Message::new(Role::User, json!("q"))], ..Prompt::default() }
}

/// D19: a step is kept before the next begins, and everything is paid for once.
#[tokio::test]
async fn every_step_is_kept_before_the_next_begins() {
    let Ran { result, log } = ran(&question(), 1, 90, 99).await;
    assert_eq!(
        log,
        [
            "ask with 1 tools after \"q\"",
            "keep calls, 2 made",
            "run",
            "keep result, last: false",
            "run",
            "keep result, last: true",
            "ask with 1 tools after \"\\\"ran\\\"\"",
        ]
    );
    let outcome = result.unwrap();
    assert_eq!((outcome.text.as_str(), outcome.calls), ("done", 4));
    assert_eq!((outcome.usage.input_tokens, outcome.usage.output_tokens), (20, 2));
}

#[tokio::test]
async fn nothing_is_run_that_could_not_be_kept() {
    let Ran { result, log } = ran(&question(), 1, 90, 0).await;
    assert!(matches!(result, Err(EngineError::Unkept(_))), "{result:?}");
    assert_eq!(log, ["ask with 1 tools after \"q\""]);
    let Ran { result, log } = ran(&question(), 1, 90, 2).await;
    assert!(matches!(result, Err(EngineError::Unkept(_))), "{result:?}");
    assert_eq!(log.iter().filter(|what| *what == "run").count(), 2, "{log:?}");
    assert_eq!(log.iter().filter(|what| what.starts_with("ask")).count(), 1, "{log:?}");
}

/// At the limit one more call asks for a summary; calls that an earlier process made count.
#[tokio::test]
async fn calls_for_tools_are_limited_over_all_processes() {
    let Ran { result, log } = ran(&question(), 99, 2, 99).await;
    assert_eq!(result.unwrap().text, "done");
    let asks: Vec<_> = log.iter().filter(|what| what.starts_with("ask")).collect();
    assert_eq!(asks.len(), 3, "{asks:?}");
    assert!(asks[2].starts_with("ask with 0 tools after \"You've reached the maximum number"), "{asks:?}");

    let mut resumed = question();
    let step = Message { tool_calls: vec![call("a")], ..Message::new(Role::Assistant, json!("")) };
    resumed.messages.extend([step, Message::result("a", "f", "1".to_owned())]);
    let Ran { log, .. } = ran(&resumed, 99, 1, 99).await;
    assert!(log[0].starts_with("ask with 0 tools"), "{log:?}");
    // An earlier turn's are not this one's.
    let answer = [Message::new(Role::Assistant, json!("x")), Message::new(Role::User, json!("next"))];
    resumed.messages.extend(answer);
    let Ran { log, .. } = ran(&resumed, 0, 1, 99).await;
    assert_eq!(log, ["ask with 1 tools after \"next\""]);
}

/// A client's tools are the client's to run, and the only ones.
#[tokio::test]
async fn a_client_that_brings_tools_runs_them_itself() {
    let mut prompt = question();
    prompt.options.insert("tools".to_owned(), json!([{"type": "function", "function": {"name": "f"}}]));
    let Ran { result, log } = ran(&prompt, 1, 90, 99).await;
    assert_eq!(result.unwrap().tool_calls, [call("call_0"), call("call_1")]);
    assert_eq!(log, ["ask with 0 tools after \"q\""]);
}

#[test]
fn ids_that_are_taken_are_given_anew() {
    let mut before = Message::new(Role::Assistant, json!(""));
    before.tool_calls = vec![call("call_0")];
    let mut calls = vec![call("call_0"), call("call_0"), call(""), call("own")];
    name_apart(&mut calls, &[before]);
    let ids: HashSet<_> = calls.iter().map(|call| call["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(!ids.contains("call_0") && !ids.contains("") && ids.contains("own"), "{ids:?}");
    assert_eq!(Call::of(&calls[3]), Call { id: "own".into(), name: "f".into(), arguments: "{}".into() });
}
