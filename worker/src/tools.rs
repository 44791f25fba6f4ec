//! The worker's own tools: what a model may have done here, by name.
//!
//! A tool gets its arguments as the JSON object they must be and answers with JSON, which the model reads as text. Whatever goes wrong
//! is an answer too (`{"error": …}`): the model hears it and decides. A tool is interrupted by dropping its future, so what it does
//! must be whole or not begun at every await; whether it was done when a process died nobody knows, and the model is told that.

mod trial;

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use hermes_config::ProfileConfig;
use hermes_wire::ProfileHome;
use serde_json::{Map, Value, json};

/// Longest result that a model is shown, in bytes (0.19.0's `tool_output.max_bytes`).
const MAX_RESULT: usize = 50_000;

/// Why a tool did not do what it was asked to; the text is for the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ToolError(pub String);

/// A tool at work.
pub type Work<'a> = Pin<Box<dyn Future<Output = Result<Value, ToolError>> + Send + 'a>>;

/// Something a model can have done.
pub trait Tool: Send + Sync {
    /// What the model calls it.
    fn name(&self) -> &'static str;

    /// What it does, for the model.
    fn about(&self) -> &'static str;

    /// The JSON Schema of its arguments.
    fn parameters(&self) -> Value;

    /// Does it.
    fn run(&self, arguments: Map<String, Value>) -> Work<'_>;
}

/// The tools of a profile, in the order of their names: the same ones make the same prompt. Cloning shares them.
#[derive(Clone, Default)]
pub struct Tools(Arc<Vec<Box<dyn Tool>>>);

impl std::fmt::Debug for Tools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|tool| tool.name())).finish()
    }
}

impl Tools {
    /// These tools.
    pub fn new(mut tools: Vec<Box<dyn Tool>>) -> Self {
        tools.sort_by_key(|tool| tool.name());
        Self(Arc::new(tools))
    }

    /// Those that a profile's files ask for.
    pub fn from_config(config: &ProfileConfig, home: &ProfileHome) -> Self {
        let trial = config.agent.trial_tool.as_ref().map(|file| trial::Trial::new(home, file));
        Self::new(trial.into_iter().map(|tool| Box::new(tool) as Box<dyn Tool>).collect())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What a request offers, as the chat-completions wire has it.
    pub fn declarations(&self) -> Vec<Value> {
        let declare = |tool: &dyn Tool| {
            let function =
                json!({"name": tool.name(), "description": tool.about(), "parameters": tool.parameters()});
            json!({"type": "function", "function": function})
        };
        self.0.iter().map(|tool| declare(&**tool)).collect()
    }

    /// Runs a tool to its end and gives the text of its result.
    pub async fn run(&self, name: &str, arguments: &str) -> String {
        let result = match self.0.iter().find(|tool| tool.name() == name) {
            None => Err(ToolError(format!("there is no tool `{name}`"))),
            Some(tool) => match parse(arguments) {
                Err(error) => Err(error),
                // Nothing of the tool's own state is used by this turn after a panic.
                Ok(arguments) => {
                    AssertUnwindSafe(tool.run(arguments)).catch_unwind().await.unwrap_or_else(|_| {
                        Err(ToolError("the tool failed; its worker's log says how".to_owned()))
                    })
                }
            },
        };
        let value = result.unwrap_or_else(|error| {
            tracing::info!(tool = name, %error, "a tool failed");
            json!({"error": error.to_string()})
        });
        bounded(value.to_string())
    }
}

fn parse(arguments: &str) -> Result<Map<String, Value>, ToolError> {
    // A model that has nothing to say says nothing.
    let text = if arguments.trim().is_empty() { "{}" } else { arguments };
    match serde_json::from_str(text) {
        Ok(Value::Object(arguments)) => Ok(arguments),
        Ok(_) => Err(ToolError("the arguments are not a JSON object".to_owned())),
        Err(error) => Err(ToolError(format!("the arguments are not JSON: {error}"))),
    }
}

fn bounded(mut text: String) -> String {
    if text.len() > MAX_RESULT {
        let length = text.len();
        text.truncate(text.floor_char_boundary(MAX_RESULT));
        // Writing to a string cannot fail.
        let _ = write!(text, "… [cut: {MAX_RESULT} of {length} bytes are shown]");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Odd;

    impl Tool for Odd {
        fn name(&self) -> &'static str {
            "odd"
        }

        fn about(&self) -> &'static str {
            "Fails in every way."
        }

        fn parameters(&self) -> Value {
            json!({"type": "object"})
        }

        fn run(&self, arguments: Map<String, Value>) -> Work<'_> {
            Box::pin(async move {
                match arguments.get("how").and_then(Value::as_str) {
                    Some("panic") => panic!("as meant by this test"),
                    Some("long") => Ok(Value::String("ü".repeat(MAX_RESULT))),
                    Some("error") => Err(ToolError("no".to_owned())),
                    _ => Ok(json!({"ok": true})),
                }
            })
        }
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_a_result_that_says_so() {
        let tools = Tools::new(vec![Box::new(Odd)]);
        for (name, arguments, expected) in [
            ("odd", "", r#"{"ok":true}"#),
            ("odd", r#"{"how": "error"}"#, r#"{"error":"no"}"#),
            ("even", "{}", r#"{"error":"there is no tool `even`"}"#),
            ("odd", "[]", r#"{"error":"the arguments are not a JSON object"}"#),
            ("odd", r#"{"how": "panic"}"#, r#"{"error":"the tool failed; its worker's log says how"}"#),
        ] {
            assert_eq!(tools.run(name, arguments).await, expected, "{name} {arguments}");
        }
        assert!(tools.run("odd", "{").await.starts_with(r#"{"error":"the arguments are not JSON: "#));
        let long = tools.run("odd", r#"{"how": "long"}"#).await;
        assert!(long.len() < MAX_RESULT + 100 && long.ends_with("bytes are shown]"), "{}", long.len());
        let declared = tools.declarations();
        assert_eq!(declared[0]["function"]["name"], "odd");
        assert_eq!(declared.len(), 1);
    }
}
