//! The tool `clarify`: the model asks whoever it works for, and goes on with the answer.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::desk::Answer;
use super::{Caller, Tool, ToolError, Work, arguments, toolset};

/// Most choices, as in 0.19.0.
const CHOICES: usize = 4;
/// Longest question, and choice, in characters.
const QUESTION: usize = 4000;
const CHOICE: usize = 400;

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct Clarify {
    /// `agent.clarify_timeout`
    pub(super) patience: Duration,
}

#[derive(Deserialize)]
struct Wanted {
    question: String,
    #[serde(default)]
    choices: Vec<Value>,
}

impl Tool for Clarify {
    fn name(&self) -> &'static str {
        "clarify"
    }

    fn about(&self) -> &'static str {
        "Asks the user, and waits for the answer: where a task can be read in several ways, or a decision is theirs. Give up to four answers \
         to choose from in `choices`, each by itself and none of them in the question; the user may always answer in other words. Where \
         little hangs on it, decide yourself."
    }

    fn parameters(&self) -> Value {
        json!({
            "type": "object",
            "properties": {
                "question": {"type": "string", "description": "The question alone."},
                "choices": {
                    "type": "array",
                    "items": {"type": "string"},
                    "maxItems": CHOICES,
                    "description": "Answers to choose from; none for an open question.",
                },
            },
            "required": ["question"],
        })
    }

    fn toolset(&self) -> &'static str {
        toolset::CLARIFY
    }

    fn run<'a>(&'a self, given: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        Box::pin(async move {
            let Wanted { question, choices } = arguments(given, &[])?;
            let question: String = question.trim().chars().take(QUESTION).collect();
            if question.is_empty() {
                return Err(ToolError("`question` is empty".to_owned()));
            }
            let choices: Vec<String> = choices.iter().filter_map(choice).take(CHOICES).collect();
            let Some(desk) = &caller.desk else {
                return Err(ToolError(
                    "nobody can be asked here: decide yourself, and say in your answer what you took for granted".to_owned(),
                ));
            };
            let answer =
                desk.ask(&caller.call_id, &asked(&question, &choices), &choices, self.patience).await;
            let said = match answer {
                Answer::Said(said) => chosen(&said, &choices).unwrap_or(said),
                Answer::Silence => {
                    let minutes = self.patience.as_secs() / 60;
                    format!(
                        "[no answer within {minutes} minutes: go on as you think best, and say what you took for granted]"
                    )
                }
                Answer::Unasked(why) => return Err(ToolError(why)),
            };
            Ok(json!({"question": question, "choices_offered": choices, "user_response": said}))
        })
    }
}

/// An answer to choose from; some models wrap it.
fn choice(value: &Value) -> Option<String> {
    let text = value
        .as_str()
        .or_else(|| ["label", "text", "value", "title"].iter().find_map(|key| value.get(key)?.as_str()))?;
    Some(text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(CHOICE).collect::<String>())
        .filter(|text| !text.is_empty())
}

/// The message that asks.
fn asked(question: &str, choices: &[String]) -> String {
    let mut text = format!("❓ {question}");
    for (at, choice) in choices.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}{}. {choice}", if at == 0 { "\n\n" } else { "\n" }, at + 1);
    }
    if !choices.is_empty() {
        text.push_str("\n\nAnswer with a number, or in your own words.");
    }
    text
}

/// The choice that an answer names by its number, or by itself.
fn chosen(said: &str, choices: &[String]) -> Option<String> {
    let said = said.trim().trim_end_matches(['.', ')']);
    let by_number = said.parse::<usize>().ok().and_then(|number| choices.get(number.checked_sub(1)?));
    by_number.or_else(|| choices.iter().find(|choice| choice.to_lowercase() == said.to_lowercase())).cloned()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::super::desk::{Asked, Desk};
    use super::*;

    #[derive(Default)]
    struct Script(Mutex<Vec<Answer>>, Mutex<Vec<String>>);

    impl Desk for Script {
        fn ask<'a>(&'a self, key: &'a str, question: &'a str, _: &'a [String], _: Duration) -> Asked<'a> {
            self.1.lock().unwrap().push(format!("{key}: {question}"));
            let answer = self.0.lock().unwrap().remove(0);
            Box::pin(std::future::ready(answer))
        }
    }

    async fn ask(desk: Option<Arc<Script>>, given: Value) -> Result<Value, ToolError> {
        let Value::Object(given) = given else { unreachable!() };
        let desk = desk.map(|desk| desk as Arc<dyn Desk>);
        let caller = Caller { desk, call_id: "c1".to_owned(), ..Caller::default() };
        Clarify { patience: Duration::from_secs(3600) }.run(given, &caller).await
    }

    #[tokio::test]
    async fn a_question_is_put_with_its_choices_and_its_answer_given() {
        let said = |text: &str| Answer::Said(text.to_owned());
        let desk = Arc::new(Script(
            Mutex::new(vec![said("2."), said("PROD"), said("neither"), Answer::Silence]),
            Mutex::default(),
        ));
        let given = json!({"question": "Where to?", "choices": ["staging", {"label": "prod"}]});
        for expected in ["prod", "prod", "neither", "[no answer within 60 minutes"] {
            let answer = ask(Some(desk.clone()), given.clone()).await.unwrap();
            assert!(answer["user_response"].as_str().unwrap().starts_with(expected), "{answer}");
            assert_eq!(answer["choices_offered"], json!(["staging", "prod"]));
        }
        let asked = desk.1.lock().unwrap();
        assert_eq!(
            asked[0],
            "c1: ❓ Where to?\n\n1. staging\n2. prod\n\nAnswer with a number, or in your own words."
        );
    }

    #[tokio::test]
    async fn where_nobody_can_be_asked_the_model_is_told() {
        let error = ask(None, json!({"question": "Where to?"})).await.unwrap_err();
        assert!(error.0.starts_with("nobody can be asked here"), "{error}");
        assert!(ask(None, json!({"question": " "})).await.is_err());
    }
}
