//! Notices a model that goes round in circles: the same call that fails again, one tool that only fails, the same answer once more. Pure.
//!
//! It is told behind the result. Where the profile says so, what goes on in the same way is not run any more in this turn.

use std::collections::HashMap;

use hermes_config::{Guardrails, Repeats};
use serde_json::Value;

/// Tools whose answer is the same as long as nothing has changed.
const IDEMPOTENT: [&str; 8] = [
    "read_file",
    "search_files",
    "session_search",
    "skill_view",
    "skills_list",
    "vision_analyze",
    "web_extract",
    "web_search",
];

/// What one turn has seen.
#[derive(Debug)]
pub(super) struct Circles {
    settings: Guardrails,
    /// Failures of each call.
    calls: HashMap<(String, String), u32>,
    /// Failures of each tool, in a row.
    tools: HashMap<String, u32>,
    /// The last answer of each call, and how often it was the same.
    answers: HashMap<(String, String), (String, u32)>,
}

/// Whether a count has reached a number of times; 0 is never.
fn reached(count: u32, times: u32) -> bool {
    times > 0 && count >= times
}

/// Whether a result says that the call failed.
pub(super) fn is_failure(result: &str) -> bool {
    let Ok(Value::Object(result)) = serde_json::from_str::<Value>(result) else { return false };
    let says_error =
        result.get("error").is_some_and(|error| !error.is_null() && *error != Value::Bool(false));
    let code = result.get("exit_code").and_then(Value::as_i64).unwrap_or(0);
    says_error || code != 0 || result.get("success") == Some(&Value::Bool(false))
}

/// The same arguments in another spelling are the same.
fn plain(arguments: &str) -> String {
    serde_json::from_str::<Value>(arguments)
        .map_or_else(|_| arguments.trim().to_owned(), |value| value.to_string())
}

impl Circles {
    pub(super) fn new(settings: Guardrails) -> Self {
        Self { settings, calls: HashMap::new(), tools: HashMap::new(), answers: HashMap::new() }
    }

    fn counts(&self, name: &str, arguments: &str) -> Repeats {
        let call = (name.to_owned(), plain(arguments));
        Repeats {
            exact_failure: self.calls.get(&call).copied().unwrap_or(0),
            same_tool_failure: self.tools.get(name).copied().unwrap_or(0),
            no_progress: self.answers.get(&call).map_or(0, |(_, times)| *times),
        }
    }

    /// Why a call is not run any more, if so.
    pub(super) fn refuses(&self, name: &str, arguments: &str) -> Option<String> {
        if !self.settings.stops {
            return None;
        }
        let (counts, most) = (self.counts(name, arguments), self.settings.stop_after);
        let why = if reached(counts.exact_failure, most.exact_failure) {
            format!("this call has failed {} times in this turn", counts.exact_failure)
        } else if reached(counts.same_tool_failure, most.same_tool_failure) {
            format!("`{name}` has failed {} times in a row in this turn", counts.same_tool_failure)
        } else if reached(counts.no_progress, most.no_progress) {
            format!("this call has given the same answer {} times in this turn", counts.no_progress)
        } else {
            return None;
        };
        Some(format!("not run: {why}. Do something else, or tell the user what is in the way"))
    }

    /// Takes note of a result. What the model is to be told of it, if anything.
    pub(super) fn note(&mut self, name: &str, arguments: &str, result: &str) -> Option<String> {
        let call = (name.to_owned(), plain(arguments));
        if is_failure(result) {
            *self.calls.entry(call.clone()).or_default() += 1;
            *self.tools.entry(name.to_owned()).or_default() += 1;
            self.answers.remove(&call);
        } else {
            self.calls.remove(&call);
            self.tools.remove(name);
            let known = self.answers.entry(call).or_default();
            if known.0 == result && known.1 > 0 {
                known.1 += 1;
            } else if IDEMPOTENT.contains(&name) {
                *known = (result.to_owned(), 1);
            }
        }
        if !self.settings.warns {
            return None;
        }
        let (counts, after) = (self.counts(name, arguments), self.settings.warn_after);
        let said = if reached(counts.exact_failure, after.exact_failure) {
            format!(
                "This call has failed {} times with the same arguments; change them, or do something else.",
                counts.exact_failure
            )
        } else if reached(counts.same_tool_failure, after.same_tool_failure) {
            format!(
                "`{name}` has failed {} times in a row; look at the errors, and at another way.",
                counts.same_tool_failure
            )
        } else if reached(counts.no_progress, after.no_progress) {
            format!(
                "This call has given the same answer {} times; use what it says, or do something else.",
                counts.no_progress
            )
        } else {
            return None;
        };
        Some(format!("\n\n[Going round in circles: {said}]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILED: &str = r#"{"error": "no"}"#;
    const FINE: &str = r#"{"output": "x", "exit_code": 0, "error": null}"#;

    fn told(circles: &mut Circles, name: &str, arguments: &str, result: &str) -> bool {
        circles.note(name, arguments, result).is_some()
    }

    #[test]
    fn what_repeats_is_said() {
        let mut circles = Circles::new(Guardrails::default());
        assert!(!told(&mut circles, "terminal", r#"{"command":"a"}"#, FAILED));
        assert!(told(
            &mut circles,
            "terminal",
            r#"{ "command": "a" }"#,
            r#"{"output":"","exit_code":1,"error":null}"#
        ));
        // Another call of the same tool is the third failure of it.
        assert!(told(&mut circles, "terminal", r#"{"command":"b"}"#, FAILED));
        assert!(!told(&mut circles, "terminal", r#"{"command":"c"}"#, FINE));
        assert!(!told(&mut circles, "terminal", r#"{"command":"d"}"#, FAILED));
        // The same answer says something of tools that only look.
        assert!(!told(&mut circles, "read_file", "{}", FINE));
        assert!(told(&mut circles, "read_file", "{}", FINE));
        assert!(!told(&mut circles, "read_file", "{}", "{}"));
        for _ in 0..9 {
            assert!(!told(&mut circles, "process", "{}", FINE));
        }
        assert_eq!(circles.refuses("terminal", "{}"), None);
        let silent = Guardrails { warns: false, ..Guardrails::default() };
        let mut circles = Circles::new(silent);
        assert!((0..9).all(|_| !told(&mut circles, "a", "{}", FAILED)));
    }

    #[test]
    fn what_repeats_is_stopped_where_that_is_asked_for() {
        let mut circles = Circles::new(Guardrails { stops: true, ..Guardrails::default() });
        for n in 0..5 {
            assert_eq!(circles.refuses("f", "{}"), None, "{n}");
            circles.note("f", "{}", FAILED);
        }
        assert!(circles.refuses("f", "{}").unwrap().contains("5 times"));
        assert_eq!(circles.refuses("f", r#"{"a":1}"#), None);
        for _ in 0..3 {
            circles.note("f", r#"{"a":1}"#, FAILED);
        }
        assert!(circles.refuses("f", r#"{"b":1}"#).unwrap().contains("in a row"));
        assert_eq!(circles.refuses("g", "{}"), None);
    }
}
