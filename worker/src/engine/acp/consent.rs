//! Whether an agent may do what it asks for: its questions, and who answers them.
//!
//! A question that nobody takes is answered: the turn is over, so the agent is told that it was cancelled.

use std::time::Duration;

use agent_client_protocol::v1::Responder;
use agent_client_protocol::v1::schema::{
    PermissionOption, PermissionOptionKind, RequestPermissionOutcome, RequestPermissionRequest,
    RequestPermissionResponse, SelectedPermissionOutcome,
};
use serde_json::json;

use crate::tools::asking::{self, Answer, Choice, Kind};

/// Most that is shown of what is asked for, in characters.
const SHOWN: usize = 1000;

/// A question of an agent.
#[derive(Debug)]
pub(super) struct Question {
    /// What it wants to do, and what it may be told.
    pub(super) request: RequestPermissionRequest,
    responder: Option<Responder<RequestPermissionResponse>>,
}

impl Question {
    pub(super) fn new(
        request: RequestPermissionRequest,
        responder: Responder<RequestPermissionResponse>,
    ) -> Self {
        Self { request, responder: Some(responder) }
    }

    /// Answers it.
    pub(super) fn answer(mut self, outcome: RequestPermissionOutcome) {
        self.respond(outcome);
    }

    fn respond(&mut self, outcome: RequestPermissionOutcome) {
        if let Some(responder) = self.responder.take()
            && let Err(error) = responder.respond(RequestPermissionResponse::new(outcome))
        {
            tracing::debug!(code = i32::from(error.code), "an agent's question could not be answered");
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.respond(RequestPermissionOutcome::Cancelled);
    }
}

/// What is said to a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consent {
    /// This time.
    Once,
    /// As long as the agent remembers.
    Always,
    /// No.
    No,
}

/// The question as it is put to whoever is there.
pub(super) fn question(
    agent: &str,
    request: &RequestPermissionRequest,
    patience: Duration,
) -> asking::Question {
    let fields = &request.tool_call.fields;
    let mut shown: String = fields.title.as_deref().unwrap_or("something").chars().take(SHOWN).collect();
    let input = fields.raw_input.as_ref().filter(|input| !input.is_null()).map(ToString::to_string);
    if let Some(input) = input {
        shown.push('\n');
        shown.extend(input.chars().take(SHOWN));
    }
    let secs = patience.as_secs();
    let text = format!(
        "⚠️ May the agent `{agent}` do this?\n\n{shown}\n\nAnswer /approve, /approve session or /deny within {secs} s; without an answer it \
         does not."
    );
    let details = json!({
        "command": shown,
        "description": format!("is what the agent `{agent}` wants to do"),
        "allow_permanent": false,
        "choices": ["once", "session", "deny"],
        "timeout": secs,
    });
    asking::Question { kind: Kind::Approval, text, details, patience }
}

/// What an answer means, and why where it is no.
pub(super) fn heard(answer: Answer) -> (Consent, &'static str) {
    match answer {
        Answer::Said(text) => match Choice::said(&text).or_else(|| Choice::named(&text)) {
            Some(Choice::Once) => (Consent::Once, ""),
            Some(Choice::Session | Choice::Always) => (Consent::Always, ""),
            Some(Choice::Deny(_)) | None => (Consent::No, "whoever was asked said no"),
        },
        Answer::Silence => (Consent::No, "nobody answered in time"),
        Answer::Nobody(_) => (Consent::No, "nobody can be asked"),
    }
}

/// The option that says so, once rather than for good; never one that says the opposite. Without one the question is void.
pub(super) fn outcome(consent: Consent, options: &[PermissionOption]) -> RequestPermissionOutcome {
    use PermissionOptionKind::{AllowAlways, AllowOnce, RejectAlways, RejectOnce};
    let kinds = match consent {
        Consent::Once => [AllowOnce, AllowAlways],
        Consent::Always => [AllowAlways, AllowOnce],
        Consent::No => [RejectOnce, RejectAlways],
    };
    let found = kinds.iter().find_map(|kind| options.iter().find(|option| option.kind == *kind));
    found.map_or(RequestPermissionOutcome::Cancelled, |option| {
        RequestPermissionOutcome::Selected(SelectedPermissionOutcome::new(option.option_id.clone()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_option_is_taken_and_never_one_that_says_the_opposite() {
        use Consent::{Always, No, Once};
        use PermissionOptionKind::{AllowAlways, AllowOnce, RejectAlways, RejectOnce};
        let options = |kinds: &[PermissionOptionKind]| -> Vec<PermissionOption> {
            kinds.iter().map(|kind| PermissionOption::new(format!("{kind:?}"), "name", *kind)).collect()
        };
        let picked = |consent, kinds: &[PermissionOptionKind]| match outcome(consent, &options(kinds)) {
            RequestPermissionOutcome::Selected(selected) => selected.option_id.0.to_string(),
            _ => "cancelled".to_owned(),
        };
        let all = [AllowAlways, AllowOnce, RejectAlways, RejectOnce];
        assert_eq!(picked(Once, &all), "AllowOnce");
        assert_eq!(picked(Always, &all), "AllowAlways");
        assert_eq!(picked(No, &all), "RejectOnce");
        assert_eq!(picked(Once, &[AllowAlways, RejectOnce]), "AllowAlways");
        assert_eq!(picked(No, &[AllowOnce, AllowAlways]), "cancelled");
        assert_eq!(picked(Once, &[RejectOnce]), "cancelled");
    }

    #[test]
    fn what_is_said_decides_and_silence_is_no() {
        let said = |text: &str| heard(Answer::Said(text.to_owned())).0;
        assert_eq!(
            (said("/approve"), said("once"), said("/approve session")),
            (Consent::Once, Consent::Once, Consent::Always)
        );
        assert_eq!((said("/deny"), said("what?")), (Consent::No, Consent::No));
        assert_eq!(heard(Answer::Silence).0, Consent::No);
        assert_eq!(heard(Answer::Nobody(String::new())).0, Consent::No);
    }
}
