//! Why a model stopped, in the words of every provider.
//!
//! The table is litellm's (`litellm_core_utils/core_helpers.py`, `_FINISH_REASON_MAP`) with what servers were seen to send besides.

use serde_json::Value;

/// Why an answer ended, as OpenAI tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    /// It was complete, or ended for a reason that nobody knows.
    Stop,
    /// It met a limit.
    Length,
    /// It was withheld, or cut.
    ContentFilter,
    /// The model wants tools to be called.
    ToolCalls,
    /// The server gave up in the middle.
    Broken,
}

impl Finish {
    /// The reason in a choice, if it gives one yet.
    pub(super) fn of(choice: &Value) -> Option<Self> {
        let reason =
            ["finish_reason", "finishReason", "done_reason"].iter().find_map(|key| choice.get(key))?;
        // SGLang: `{"type": "stop", "matched": …}`.
        let reason = reason.get("type").unwrap_or(reason);
        let word = reason.as_str()?.trim().to_ascii_lowercase();
        let word = word.rsplit('.').next().unwrap_or_default();
        match word.trim_start_matches("finish_reason_") {
            "" | "null" | "none" | "unspecified" => None,
            "length"
            | "max_tokens"
            | "max_output_tokens"
            | "max_new_tokens"
            | "max_length"
            | "model_length"
            | "token_limit"
            | "continuation"
            | "compaction"
            | "pause_turn"
            | "incomplete"
            | "model_context_window_exceeded"
            | "context_window_exceeded"
            | "context_length_exceeded" => Some(Self::Length),
            "content_filter"
            | "content_filtered"
            | "refusal"
            | "error_toxic"
            | "safety"
            | "recitation"
            | "language"
            | "other"
            | "blocklist"
            | "prohibited_content"
            | "spii"
            | "escalation"
            | "image_safety"
            | "image_prohibited_content"
            | "image_recitation"
            | "image_other"
            | "no_image"
            | "sensitive"
            | "guardrail_intervened"
            | "moderation"
            | "repetition" => Some(Self::ContentFilter),
            "tool_calls" | "tool_call" | "tool_use" | "tools" | "tool-calls" | "function_call"
            | "function_calls" => Some(Self::ToolCalls),
            "error"
            | "network_error"
            | "abort"
            | "aborted"
            | "cancelled"
            | "timeout"
            | "insufficient_system_resource" => Some(Self::Broken),
            _ => Some(Self::Stop),
        }
    }

    /// OpenAI's word.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Stop | Self::Broken => "stop",
            Self::Length => "length",
            Self::ContentFilter => "content_filter",
            Self::ToolCalls => "tool_calls",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Wires 1: reasons outside OpenAI's set are mapped into it.
    #[test]
    fn w1_every_providers_reason_is_one_of_openais() {
        for (expected, reasons) in [
            (
                Some(Finish::Stop),
                &[
                    "stop",
                    "eos",
                    "eos_token",
                    "end_turn",
                    "stop_sequence",
                    "STOP",
                    "COMPLETE",
                    "FinishReason.STOP",
                    "whatever",
                ][..],
            ),
            (
                Some(Finish::Length),
                &["length", "max_tokens", "MAX_TOKENS", "model_length", "FINISH_REASON_MAX_TOKENS"],
            ),
            (Some(Finish::ContentFilter), &["content_filter", "SAFETY", "refusal", "sensitive"]),
            (Some(Finish::ToolCalls), &["tool_calls", "tool_use", "function_call", "TOOL_CALL"]),
            (Some(Finish::Broken), &["error", "network_error", "abort"]),
            (None, &["", " ", "null", "None", "FINISH_REASON_UNSPECIFIED"]),
        ] {
            for reason in reasons {
                assert_eq!(Finish::of(&json!({"finish_reason": reason})), expected, "{reason}");
            }
        }
        for none in [json!({}), json!({"finish_reason": null}), json!({"finish_reason": 3}), json!(null)] {
            assert_eq!(Finish::of(&none), None, "{none}");
        }
        assert_eq!(
            Finish::of(&json!({"finish_reason": {"type": "length", "length": 5}})),
            Some(Finish::Length)
        );
    }
}
