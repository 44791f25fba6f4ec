//! The tool `delegate_task`: pieces of the work are done by children of the turn, side by side, and only what they report comes back.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use hermes_config::Delegation;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::crew::Report;
use super::{Caller, Tool, ToolError, Work, arguments, toolset};

/// Most tasks of one call.
const TASKS: usize = 10;
/// Longest task with its context, in bytes.
const LONGEST: usize = 200_000;

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct Delegate(pub(super) Delegation);

#[derive(Deserialize)]
struct Task {
    goal: String,
    context: Option<String>,
}

#[derive(Deserialize)]
struct Wanted {
    goal: Option<String>,
    context: Option<String>,
    #[serde(default)]
    tasks: Vec<Task>,
}

impl Tool for Delegate {
    fn name(&self) -> &'static str {
        "delegate_task"
    }

    fn about(&self) -> &'static str {
        "Has pieces of the work done by sub-agents, side by side, each in a conversation of its own with the same tools; you get back what \
         each reports at its end, in order. For work that would fill your context with what you do not need afterwards, and for pieces \
         that have nothing to do with each other. A sub-agent knows nothing of this conversation: say in `goal` and `context` all that \
         it has to know, and what to report. It can neither ask nor delegate, and keeps nothing in the memory."
    }

    fn parameters(&self) -> Value {
        let goal = json!({"type": "string", "description": "What is to be done, and what to report; complete in itself."});
        let context = json!({"type": "string", "description": "What the sub-agent has to know: paths, errors, constraints."});
        json!({
            "type": "object",
            "properties": {
                "goal": goal,
                "context": context,
                "tasks": {
                    "type": "array",
                    "maxItems": TASKS,
                    "items": {
                        "type": "object",
                        "properties": {"goal": goal, "context": context},
                        "required": ["goal"],
                    },
                    "description": format!("Several tasks, in place of `goal`; {} of them are worked on at once.", self.0.at_once),
                },
            },
            "required": [],
        })
    }

    fn toolset(&self) -> &'static str {
        toolset::DELEGATION
    }

    fn longest(&self) -> usize {
        // Bounded by `delegation.max_summary_chars` for each.
        usize::MAX
    }

    fn run<'a>(&'a self, given: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let tasks = tasks(arguments(given, &[])?)?;
            let Some(crew) = &caller.crew else {
                return Err(ToolError("nothing can be delegated here: do it yourself".to_owned()));
            };
            let Delegation { max_iterations, timeout, with_servers, .. } = self.0;
            let begun = Instant::now();
            let one = async |(at, task): (usize, String)| {
                let begun = Instant::now();
                let work = crew.run(task, max_iterations, with_servers);
                let report = match timeout {
                    None => Ok(work.await),
                    Some(timeout) => tokio::time::timeout(timeout, work).await,
                };
                self.entry(at, report.ok(), begun.elapsed())
            };
            let done = stream::iter(tasks.into_iter().enumerate()).map(one).buffered(self.0.at_once.max(1));
            let results: Vec<Value> = done.collect().await;
            Ok(json!({"results": results, "total_duration_seconds": seconds(begun.elapsed())}))
        })
    }
}

impl Delegate {
    /// What the model is told of one task; no report: it took too long.
    fn entry(&self, at: usize, report: Option<Report>, took: Duration) -> Value {
        let mut entry = json!({"task_index": at});
        match report {
            None => {
                let limit = self.0.timeout.unwrap_or_default().as_secs();
                entry["status"] = "timeout".into();
                entry["error"] =
                    format!("it was not done within {limit} s; what it did until then stays done").into();
            }
            Some(Report { result: Ok(text), calls }) => {
                entry["status"] = "completed".into();
                entry["summary"] = cut(text, self.0.max_summary_chars).into();
                entry["api_calls"] = calls.into();
            }
            Some(Report { result: Err(why), calls }) => {
                entry["status"] = "failed".into();
                entry["error"] = why.into();
                entry["api_calls"] = calls.into();
            }
        }
        entry["duration_seconds"] = seconds(took).into();
        entry
    }
}

/// What each child is told.
fn tasks(Wanted { goal, context, tasks }: Wanted) -> Result<Vec<String>, ToolError> {
    let alone = goal.map(|goal| Task { goal, context });
    let all: Vec<Task> = if tasks.is_empty() { alone.into_iter().collect() } else { tasks };
    if all.is_empty() || all.len() > TASKS {
        return Err(ToolError(format!("give `goal`, or one to {TASKS} `tasks` with a `goal` each")));
    }
    let text = |Task { goal, context }: Task| {
        let goal = goal.trim();
        if goal.is_empty() {
            return Err(ToolError("a `goal` is empty".to_owned()));
        }
        let context = context.as_deref().map(str::trim).filter(|context| !context.is_empty());
        let text =
            context.map_or_else(|| goal.to_owned(), |context| format!("{goal}\n\nContext:\n{context}"));
        if text.len() > LONGEST {
            return Err(ToolError(format!(
                "a task has at most {LONGEST} bytes: name files that say the rest"
            )));
        }
        Ok(text)
    };
    all.into_iter().map(text).collect()
}

fn cut(text: String, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text,
        Some((end, _)) => format!("{}\n[… cut here: delegation.max_summary_chars is {most}]", &text[..end]),
    }
}

/// Seconds with two places.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::super::crew::Crew;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reports_come_back_in_order_and_within_limits() {
        let settings = Delegation {
            at_once: 2,
            timeout: Some(Duration::from_secs(60)),
            max_summary_chars: 5,
            ..Delegation::default()
        };
        let tool = Delegate(settings);
        let (crew, mut errands) = Crew::new();
        let mut workers = JoinSet::new();
        workers.spawn(async move {
            let (mut now, mut most) = (JoinSet::new(), 0);
            while let Some(errand) = errands.recv().await {
                assert_eq!(errand.limit, 50);
                while now.try_join_next().is_some() {}
                now.spawn(async move {
                    let (time, result) = match &*errand.task {
                        "slow" => (10, Ok("first".to_owned())),
                        "long\n\nContext:\nc" => (1, Ok("123456789".to_owned())),
                        "bad" => (1, Err("no".to_owned())),
                        _ => (1000, Ok(String::new())),
                    };
                    tokio::time::sleep(Duration::from_secs(time)).await;
                    let _ = errand.report.send(Report { result, calls: 3 });
                });
                most = most.max(now.len());
            }
            most
        });
        let caller = Caller { crew: Some(crew), ..Caller::default() };
        let given = json!({"tasks": [{"goal": "slow"}, {"goal": "long", "context": "c"}, {"goal": "bad"}, {"goal": "ever"}]});
        let Value::Object(given) = given else { unreachable!() };
        let said = tool.run(given, &caller).await.unwrap();
        let of = |at: usize, key: &str| said["results"][at][key].clone();
        let states: Vec<Value> = (0..4).map(|at| of(at, "status")).collect();
        assert_eq!(states, ["completed", "completed", "failed", "timeout"]);
        assert_eq!(of(0, "summary"), "first");
        assert_eq!(of(1, "summary"), "12345\n[… cut here: delegation.max_summary_chars is 5]");
        assert_eq!((of(2, "error"), of(2, "api_calls")), (json!("no"), json!(3)));
        drop(caller);
        assert_eq!(workers.join_next().await.unwrap().unwrap(), 2, "at once");
    }

    #[tokio::test]
    async fn tasks_are_judged_first() {
        let tool = Delegate(Delegation::default());
        for given in
            [json!({}), json!({"goal": " "}), json!({"tasks": [{"context": "x"}]}), json!({"goal": "x"})]
        {
            let Value::Object(given) = given else { unreachable!() };
            assert!(tool.run(given, &Caller::default()).await.is_err());
        }
    }
}
