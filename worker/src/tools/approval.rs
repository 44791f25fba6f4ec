//! Asking whether something may be written that lasts: `skills.write_approval`, `memory.write_approval`.

use std::time::Duration;

use serde_json::json;

use super::asking::{Answer, Choice, Kind, Question};
use super::{Caller, ToolError};

/// Longest part of what is to be written that a question shows, in characters.
const SHOWN: usize = 1500;

/// What is to be approved of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    /// The setting that wants it asked.
    pub(super) setting: &'a str,
    /// What is to happen, as it follows "May": `the skill deploy be written`.
    pub(super) what: &'a str,
    /// What is to be written.
    pub(super) text: &'a str,
    /// How long somebody has to answer.
    pub(super) patience: Duration,
}

/// Asks whoever is there. No answer, and nobody who could give one, is a no, each with its reason.
pub(super) async fn of(wish: Wish<'_>, caller: &Caller) -> Result<(), ToolError> {
    let Wish { setting, what, text, patience } = wish;
    if caller.unasked {
        return Ok(());
    }
    let no = |why: &str| Err(ToolError(format!("nothing was written: {why}")));
    let Some(asker) = &caller.asker else {
        return no(&format!("`{setting}` asks for somebody's approval, and nobody can be asked here"));
    };
    let secs = patience.as_secs();
    let mut shown: String = text.chars().take(SHOWN).collect();
    if shown.len() < text.len() {
        shown.push_str("\n… (it is longer)");
    }
    let details = json!({
        "command": shown,
        "description": format!("whether {what} may be"),
        "pattern_key": setting,
        "pattern_keys": [setting],
        "allow_permanent": false,
        "choices": ["once", "deny"],
        "timeout": secs,
    });
    let text = format!(
        "⚠️ May {what}? `{setting}` asks.\n\n{shown}\n\nAnswer /approve or /deny within {secs} s; without an answer nothing is written."
    );
    match asker.ask(Question { kind: Kind::Approval, text, details, patience }).await {
        Answer::Said(said) => match Choice::said(&said) {
            Some(Choice::Once | Choice::Session | Choice::Always) => Ok(()),
            Some(Choice::Deny(Some(reason))) => no(&format!("the user denied it: {reason}")),
            Some(Choice::Deny(None)) => no("the user denied it"),
            None => no(&format!("the user said: {said}")),
        },
        Answer::Silence => no(&format!("it needs an approval, and nobody answered within {secs} s")),
        Answer::Nobody(why) => no(&format!("`{setting}` asks for somebody's approval, and {why}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::tools::asking::{Asker, Asking};

    #[derive(Debug)]
    struct Somebody(Answer, Mutex<Vec<Question>>);

    impl Asker for Somebody {
        fn ask(&self, question: Question) -> Asking<'_> {
            self.1.lock().unwrap().push(question);
            Box::pin(std::future::ready(self.0.clone()))
        }
    }

    #[tokio::test]
    async fn only_a_yes_is_one() {
        let wish = Wish {
            setting: "skills.write_approval",
            what: "the skill deploy be written",
            text: &"x".repeat(2000),
            patience: Duration::from_secs(9),
        };
        let said = |text: &str| Answer::Said(text.to_owned());
        for (answer, expected) in [
            (said("/approve"), None),
            (said("yes"), None),
            (said("/deny not now"), Some("the user denied it: not now")),
            (said("what is that?"), Some("the user said: what is that?")),
            (Answer::Silence, Some("nobody answered within 9 s")),
            (Answer::Nobody("nobody reads along".to_owned()), Some("nobody reads along")),
        ] {
            let somebody = Arc::new(Somebody(answer, Mutex::default()));
            let asker = Arc::clone(&somebody) as Arc<dyn Asker>;
            let caller = Caller { asker: Some(asker), ..Caller::default() };
            let result = of(wish, &caller).await;
            assert_eq!(result.is_ok(), expected.is_none());
            let error = result.err().map(|error| error.0).unwrap_or_default();
            assert!(error.contains(expected.unwrap_or_default()), "{error}");
            let question = somebody.1.lock().unwrap()[0].clone();
            assert!(question.text.contains("May the skill deploy be written?"), "{}", question.text);
            assert!(question.text.len() < 1800 && question.details["choices"] == json!(["once", "deny"]));
        }
        let error = of(wish, &Caller::default()).await.unwrap_err();
        assert!(error.0.contains("nobody can be asked here"), "{}", error.0);
        assert!(of(wish, &Caller { unasked: true, ..Caller::default() }).await.is_ok());
    }
}
