//! What an agent's failures mean: for the turn, and for what is known of who answers.

use std::sync::Arc;

use agent_client_protocol::ErrorCode;
use agent_client_protocol::v1::schema::StopReason;
use hermes_config::redact;
use serde_json::json;

use crate::engine::EngineError;
use crate::provider::Fault;
use crate::provider::said::Said;

/// Most of what an agent says that is told, in characters.
const MAX_SAID: usize = 500;

/// Makes errors of one agent's failures. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Faults {
    /// What it is called.
    pub(super) agent: Arc<str>,
    /// Values that must not be told.
    pub(super) secrets: Arc<[hermes_config::Secret]>,
}

impl Faults {
    /// A failure in words.
    pub(super) fn of(&self, fault: Fault, what: &str) -> EngineError {
        let message = format!("the agent `{}` {}", self.agent, self.clean(what));
        EngineError::Provider { fault, status: None, retry_after: None, is_final: false, message, calls: 1 }
    }

    /// What an error says that it answered a request with.
    pub(super) fn of_error(&self, doing: &str, error: &agent_client_protocol::Error) -> EngineError {
        let said = said(error);
        let fault = match error.code {
            ErrorCode::AUTH_REQUIRED => Fault::Key,
            ErrorCode::METHOD_NOT_FOUND => Fault::Setup,
            ErrorCode::INVALID_PARAMS | ErrorCode::INVALID_REQUEST => Fault::Request,
            _ => said.fault(),
        };
        let text = if said.message.is_empty() { error.message.clone() } else { said.message };
        self.of(fault, &format!("{doing}: {text} ({})", i32::from(error.code)))
    }

    /// What somebody else wrote, without secrets, on one line.
    pub(super) fn clean(&self, text: &str) -> String {
        let known: Vec<&str> = self.secrets.iter().map(hermes_config::Secret::expose).collect();
        let text = redact::prose(text, &known);
        let words: Vec<&str> = text.split_whitespace().collect();
        let line = words.join(" ");
        match line.char_indices().nth(MAX_SAID) {
            Some((end, _)) => format!("{}…", &line[..end]),
            None => line,
        }
    }
}

fn said(error: &agent_client_protocol::Error) -> Said {
    let of_data = error.data.as_ref().map(Said::of).unwrap_or_default();
    let of_message = Said::of(&json!({"message": error.message}));
    // Data says more, where it says something: the message may be no more than the code's name.
    Said {
        status: of_data.status.or(of_message.status),
        word: of_data.word,
        message: match (of_data.message.is_empty(), of_message.message) {
            (true, message) => message,
            (false, message) if message.is_empty() || of_data.message.contains(&message) => of_data.message,
            (false, message) => format!("{message}: {}", of_data.message),
        },
    }
}

/// Whether an error says that the agent has no such session.
pub(super) fn is_unknown_session(error: &agent_client_protocol::Error) -> bool {
    let text =
        format!("{} {}", error.message, error.data.as_ref().map(ToString::to_string).unwrap_or_default());
    let text = text.to_ascii_lowercase();
    error.code == ErrorCode::RESOURCE_NOT_FOUND
        || text.contains("session")
            && ["not found", "unknown", "no such", "invalid"].iter().any(|w| text.contains(w))
}

/// Why a turn ended, as the chat-completions wire calls it; `None`: without an answer.
pub(super) fn finish_reason(stop: StopReason) -> Option<&'static str> {
    match stop {
        StopReason::EndTurn => Some("stop"),
        StopReason::MaxTokens | StopReason::MaxTurnRequests => Some("length"),
        StopReason::Refusal => Some("content_filter"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use agent_client_protocol::Error;
    use hermes_config::Secret;

    use super::*;

    fn faults() -> Faults {
        Faults { agent: "coder".into(), secrets: [Secret::new("hunter2hunter2")].into() }
    }

    fn of(error: &Error) -> (Fault, String) {
        match faults().of_error("does not answer", error) {
            EngineError::Provider { fault, message, .. } => (fault, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn errors_mean_what_they_say() {
        let internal = |data| Error::internal_error().data(data);
        for (error, fault) in [
            (Error::auth_required(), Fault::Key),
            (Error::method_not_found(), Fault::Setup),
            (Error::invalid_params(), Fault::Request),
            (Error::internal_error(), Fault::Overloaded),
            (internal(json!({"details": "API Error: 429 rate limit reached"})), Fault::Limited),
            (internal(json!({"status": 401, "message": "invalid x-api-key"})), Fault::Key),
            (internal(json!("Your credit balance is too low")), Fault::Quota),
        ] {
            assert_eq!(of(&error).0, fault, "{error:?}");
        }
    }

    #[test]
    fn no_secret_is_told_and_much_is_cut() {
        let (_, message) =
            of(&Error::internal_error().data(json!({"details": "key hunter2hunter2 was\nrefused"})));
        assert!(!message.contains("hunter2") && message.contains("was refused"), "{message}");
        let (_, message) = of(&Error::internal_error().data("word ".repeat(1000)));
        assert!(message.chars().count() < MAX_SAID + 100, "{}", message.len());
    }

    #[test]
    fn an_unknown_session_is_told_apart() {
        assert!(is_unknown_session(&Error::internal_error().data(json!({"details": "Session not found"}))));
        assert!(is_unknown_session(&agent_client_protocol::v1::schema::Error::session_not_found("x").into()));
        assert!(!is_unknown_session(&Error::internal_error()));
    }
}
