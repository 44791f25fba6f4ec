//! What a failed call says about the provider: the one classification behind retries, postponed turns and every "last error".
//!
//! A fault is the provider's (it is away, busy, wants money, refuses the key, is set up wrong) or the turn's own (this request, this
//! answer). The provider's faults pass, by themselves or when somebody mends them, so a turn that met one is worth trying
//! later; the turn's own would come again.

/// Why a call gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Nobody answered: refused, no such host, too slow, cut off.
    Unreachable,
    /// Too many calls.
    Limited,
    /// It answered that it cannot at the moment.
    Overloaded,
    /// It wants to be paid first.
    Quota,
    /// It does not accept the key.
    Key,
    /// It can never work as configured: no provider, no such address or model, a certificate that is not valid.
    Setup,
    /// What came back is not what a provider answers: a web page, no JSON.
    Garbled,
    /// The model answered, with nothing that could be used.
    Empty,
    /// It judged this request, or its answer, impossible.
    Request,
    /// The conversation is longer than it takes.
    TooLong,
}

/// What a failure means for the next call of the same turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would fail the same way.
    Never,
    /// Soon, and then ever later.
    Soon,
    /// A little later: the call went through, and its answer was useless.
    Later,
}

impl Fault {
    /// For programs: stable words of status files and metrics.
    pub fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Limited => "rate_limited",
            Self::Overloaded => "overloaded",
            Self::Quota => "quota",
            Self::Key => "unauthorized",
            Self::Setup => "misconfigured",
            Self::Garbled => "garbled",
            Self::Empty => "empty_answer",
            Self::Request => "rejected",
            Self::TooLong => "too_long",
        }
    }

    /// Whether it is the provider's, so that any turn would have met it. The others are this turn's own.
    pub fn is_providers(self) -> bool {
        !matches!(self, Self::Empty | Self::Request | Self::TooLong)
    }

    /// Whether another call helps.
    pub(crate) fn again(self) -> Again {
        match self {
            Self::Unreachable | Self::Limited | Self::Overloaded => Again::Soon,
            Self::Garbled | Self::Empty => Again::Later,
            Self::Quota | Self::Key | Self::Setup | Self::Request | Self::TooLong => Again::Never,
        }
    }

    /// The meaning of an error answer. `code` is what the body calls itself (`code` or `type`), `message` what it says.
    pub(crate) fn of_answer(status: u16, code: &str, message: &str) -> Self {
        let says = |signs: &[&str]| {
            let message = message.to_ascii_lowercase();
            signs.iter().any(|sign| code.eq_ignore_ascii_case(sign) || message.contains(sign))
        };
        match status {
            402 => Self::Quota,
            // Said with whatever status: 429 by OpenAI, 400 by Anthropic, 403 by others.
            400 | 403 | 429 if says(&NO_MONEY) => Self::Quota,
            // Google answers 400 to a wrong key.
            400 if says(&["invalid_api_key", "api key not valid", "api_key_invalid"]) => Self::Key,
            400 if says(&["model_not_found"]) => Self::Setup,
            // A moderation in front of the model looked at this very text.
            403 if says(&["moderation", "flagged"]) => Self::Request,
            401 | 403 | 407 => Self::Key,
            429 => Self::Limited,
            413 => Self::TooLong,
            400 | 422 | 500 if says(&TOO_LONG) => Self::TooLong,
            ..400 | 404 | 405 | 410 | 421 | 426 | 501 | 505 => Self::Setup,
            408 | 425 | 500.. => Self::Overloaded,
            _ => Self::Request,
        }
    }
}

/// Codes, and words of messages, of an account that has run dry.
const NO_MONEY: [&str; 8] = [
    "insufficient_quota",
    "billing_hard_limit_reached",
    "billing_not_active",
    "credit balance is too low",
    "insufficient balance",
    "insufficient credits",
    "insufficient funds",
    "exceeded your monthly",
];

/// The same of a request that does not fit into the model's window, as OpenAI, Anthropic, Google, xAI, Alibaba, vLLM, llama.cpp,
/// LM Studio and those behind OpenRouter say it.
const TOO_LONG: [&str; 14] = [
    "context_length_exceeded",
    "exceed_context_size_error",
    "request_too_large",
    "context length",
    "context window",
    "context size",
    "maximum context",
    "maximum prompt length",
    "prompt is too long",
    "input is too long",
    "input token count",
    "input length should be",
    "reduce the length of the messages",
    "too many input tokens",
];

#[cfg(test)]
mod tests {
    use super::*;

    /// 25, 1: one classification for every answer a provider may give.
    #[test]
    fn answers_mean_the_provider_or_the_request() {
        let of = |status| Fault::of_answer(status, "", "");
        for (fault, statuses) in [
            (Fault::Overloaded, &[408, 425, 500, 502, 503, 504, 520, 529][..]),
            (Fault::Limited, &[429]),
            (Fault::Quota, &[402]),
            (Fault::Key, &[401, 403, 407]),
            (Fault::Setup, &[301, 308, 404, 405, 501, 505]),
            (Fault::Request, &[400, 415, 422]),
            (Fault::TooLong, &[413]),
        ] {
            for status in statuses {
                assert_eq!(of(*status), fault, "{status}");
            }
        }
    }

    #[test]
    fn what_the_body_says_counts_more_than_the_status() {
        assert_eq!(
            Fault::of_answer(429, "insufficient_quota", "You exceeded your current quota"),
            Fault::Quota
        );
        assert_eq!(
            Fault::of_answer(400, "invalid_request_error", "Your credit balance is too low to access"),
            Fault::Quota
        );
        assert_eq!(Fault::of_answer(400, "", "API key not valid. Please pass a valid API key."), Fault::Key);
        assert_eq!(Fault::of_answer(403, "", "your input was flagged"), Fault::Request);
        for (status, word, message) in [
            (400, "context_length_exceeded", "no"),
            (400, "invalid_request_error", "prompt is too long: 216003 tokens > 200000 maximum"),
            (400, "", "This model's maximum context length is 4096 tokens."),
            (
                400,
                "",
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            ),
            (400, "", "This model's maximum prompt length is 131072 but the request contains 200000 tokens."),
            (400, "InvalidParameter", "Range of input length should be [1, 98304]"),
            (500, "", "the request exceeds the available context size. try increasing the context size"),
        ] {
            assert_eq!(Fault::of_answer(status, word, message), Fault::TooLong, "{message}");
        }
    }

    #[test]
    fn the_providers_faults_pass_and_the_turns_own_do_not() {
        let own = [Fault::Empty, Fault::Request, Fault::TooLong];
        for fault in [
            Fault::Unreachable,
            Fault::Limited,
            Fault::Overloaded,
            Fault::Quota,
            Fault::Key,
            Fault::Setup,
            Fault::Garbled,
            Fault::Empty,
            Fault::Request,
            Fault::TooLong,
        ] {
            assert_eq!(fault.is_providers(), !own.contains(&fault), "{fault:?}");
            assert!(!fault.code().is_empty());
        }
    }
}
