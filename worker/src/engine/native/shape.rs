//! The parts of a request that providers disagree about: what is sent at first, what after a refusal that names a part, and
//! what was learned of an endpoint.
//!
//! A refused part is renamed (`max_tokens` and `max_completion_tokens` are one thing) or left out, one at a time, so that it ends. Only
//! what the program or the configuration put into a request is ever left out, never what a client asked for, and nothing
//! without which the answer would be another kind of answer.

use std::collections::BTreeSet;

use hermes_wire::providers::Wire;
use serde_json::Value;

use super::retry::Failure;
use crate::engine::Options;
use crate::provider::{Endpoint, Fault};

/// `max_tokens` for a custom endpoint where nothing is configured.
const CUSTOM_MAX_TOKENS: u64 = 65_536;

/// The two names of the limit on an answer's length.
pub(super) const LIMITS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

/// The limit under the names of servers behind an adapter (TGI, Google).
const INNER_LIMITS: [&str; 3] = ["max_new_tokens", "max_output_tokens", "max_length"];

/// How the limit is told where its name is not.
const ABOUT_LIMIT: [&str; 4] = ["context length", "context window", "maximum tokens", "max tokens"];

/// The limit itself is understood, and too large.
const TOO_LARGE: [&str; 14] = [
    "too large",
    "too high",
    "too big",
    "too many",
    "exceed",
    "at most",
    "maximum",
    "must be <",
    "must be less",
    "less than",
    "larger than",
    "greater than",
    "range",
    "context",
];

/// Asks for the usage at the end of a stream.
pub(super) const USAGE: &str = "stream_options";

/// Asks for the thoughts of a reasoning model, for it to be told again.
pub(super) const INCLUDE: &str = "include";

/// How a model that has none refuses that.
const NO_THOUGHTS: &str = "encrypted content";

/// Without one of these the answer would be of another kind, or to somebody else.
const ESSENTIAL: [&str; 13] = [
    "model",
    "messages",
    "stream",
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "response_format",
    "stop",
    "n",
    "modalities",
    "audio",
    "prediction",
];

/// What an endpoint was found to accept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shape {
    /// The name it wants the limit under, where it refused the other one.
    limit_name: Option<&'static str>,
    /// It refused the limit.
    no_limit: bool,
    /// The largest limit that it takes.
    most: Option<u64>,
    /// Other parts that it refused.
    without: BTreeSet<String>,
}

/// What is sent instead after a refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repair {
    /// The shape to try.
    pub(super) shape: Shape,
    /// The part that was refused.
    pub(super) part: String,
    /// The name that takes its place.
    pub(super) renamed: Option<&'static str>,
    /// Somebody configured it, so that leaving it out changes what was asked for.
    pub(super) configured: bool,
    /// The next requests are as well off with it; else it was about this conversation alone.
    pub(super) lasting: bool,
}

impl Shape {
    /// The limit on an answer that nobody asked otherwise for, under its name.
    pub(super) fn limit(&self, endpoint: &Endpoint) -> Option<(&'static str, u64)> {
        let (name, limit) = configured_limit(endpoint).or_else(|| {
            let is_custom = endpoint.provider == "custom" && endpoint.wire == Wire::Chat;
            Some(("max_tokens", is_custom.then_some(CUSTOM_MAX_TOKENS)?))
        })?;
        // The reasoning models there refuse the older name, and every other one accepts the newer.
        let name = if endpoint.is_openai() { "max_completion_tokens" } else { name };
        (!self.no_limit).then_some((self.limit_name.unwrap_or(name), limit))
    }

    /// The name for a limit that a client gave under `name`.
    pub(super) fn limit_name(&self, name: &'static str, endpoint: &Endpoint) -> &'static str {
        self.limit_name.or_else(|| self.limit(endpoint).map(|(name, _)| name)).unwrap_or(name)
    }

    /// `limit`, or less where the endpoint takes no more.
    pub(super) fn at_most(&self, limit: u64) -> u64 {
        self.most.map_or(limit, |most| most.min(limit))
    }

    /// Whether a part is left out.
    pub(super) fn leaves_out(&self, part: &str) -> bool {
        self.without.contains(part)
    }

    /// What to send instead of `body` after a refusal that names the part it dislikes; `None` where that is no help. `asked`: what
    /// the client asked for.
    pub(super) fn repaired(
        &self,
        failure: &Failure,
        body: &Value,
        endpoint: &Endpoint,
        asked: &Options,
    ) -> Option<Repair> {
        if !matches!(failure.fault, Fault::Request | Fault::TooLong | Fault::Overloaded | Fault::Setup) {
            return None;
        }
        // A server that is only busy names nothing; one that cannot parse a request may well answer 500.
        let text = failure.message.to_ascii_lowercase();
        let limit = match endpoint.wire {
            Wire::Messages => self.lower_limit(&text, body, endpoint, asked),
            Wire::Responses => None,
            Wire::Chat | Wire::Other(_) => self.other_limit(&text, body, endpoint, asked),
        };
        limit.or_else(|| {
            let mut parts: Vec<&str> = endpoint
                .extra_body
                .keys()
                .map(String::as_str)
                .chain([USAGE, INCLUDE])
                .filter(|part| body.get(part).is_some())
                .collect();
            // `reasoning_effort` before `reasoning`.
            parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
            let part = parts.into_iter().find(|part| {
                !ESSENTIAL.contains(part)
                    && !LIMITS.contains(part)
                    && !asked.contains_key(*part)
                    && (names(&text, part) || (*part == INCLUDE && text.contains(NO_THOUGHTS)))
            })?;
            let mut shape = self.clone();
            shape.without.insert(part.to_owned());
            let configured = endpoint.extra_body.contains_key(part);
            Some(Repair { shape, part: part.to_owned(), renamed: None, configured, lasting: true })
        })
    }

    /// `max_tokens: 32000 > 8192, which is the maximum allowed …`.
    fn lower_limit(&self, text: &str, body: &Value, endpoint: &Endpoint, asked: &Options) -> Option<Repair> {
        let clients = LIMITS.iter().any(|name| asked.contains_key(*name));
        let sent = body.get("max_tokens").and_then(Value::as_u64)?;
        let after = text.split_once("max_tokens")?.1.split_once('>')?.1.trim_start();
        let digits = after.find(|c: char| !c.is_ascii_digit()).map_or(after, |end| &after[..end]);
        let most = digits.parse().ok().filter(|most| (1..sent).contains(most) && !clients)?;
        let shape = Self { most: Some(most), ..self.clone() };
        let configured = configured_limit(endpoint).is_some();
        Some(Repair { shape, part: "max_tokens".to_owned(), renamed: None, configured, lasting: true })
    }

    fn other_limit(&self, text: &str, body: &Value, endpoint: &Endpoint, asked: &Options) -> Option<Repair> {
        let sent = LIMITS.into_iter().find(|name| body.get(name).is_some())?;
        let named = LIMITS.iter().chain(&INNER_LIMITS).any(|name| names(text, name));
        let about = named || ABOUT_LIMIT.iter().any(|phrase| text.contains(phrase));
        let too_large = TOO_LARGE.iter().any(|phrase| text.contains(phrase));
        if named && !too_large && self.limit_name.is_none() {
            let other = LIMITS.into_iter().find(|name| *name != sent).expect("there are two");
            let shape = Self { limit_name: Some(other), ..self.clone() };
            return Some(Repair {
                shape,
                part: sent.to_owned(),
                renamed: Some(other),
                configured: false,
                lasting: true,
            });
        }
        let clients = LIMITS.iter().any(|name| asked.contains_key(*name));
        let configured = configured_limit(endpoint).is_some();
        // One that somebody set is given up only where it is named.
        if self.no_limit || clients || !about || (configured && !named) {
            return None;
        }
        let shape = Self { no_limit: true, ..self.clone() };
        // A configured limit may be too large for this conversation only.
        let lasting = !(configured && too_large);
        Some(Repair { shape, part: sent.to_owned(), renamed: None, configured, lasting })
    }
}

/// The limit that the configuration sets, in its own key or among the fields that are sent as they are.
fn configured_limit(endpoint: &Endpoint) -> Option<(&'static str, u64)> {
    let extra = |name: &&'static str| Some((*name, endpoint.extra_body.get(*name)?.as_u64()?));
    LIMITS.iter().find_map(extra).or_else(|| Some(("max_tokens", endpoint.max_tokens?)))
}

/// Whether a text, in small letters, names a parameter: as a word of its own, and a word that prose uses too only where it is marked.
fn names(text: &str, part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let distinct = part.contains('_') || part.len() >= 9;
    let part = part.to_ascii_lowercase();
    text.match_indices(&part).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + part.len()..]);
        let alone = !before.ends_with(is_word) && !after.starts_with(is_word);
        let marked = before.ends_with(['\'', '"', '`', '.']) && after.starts_with(['\'', '"', '`', '.'])
            || [
                "parameter ",
                "parameter: ",
                "param ",
                "param: ",
                "argument ",
                "field ",
                "property ",
                "supplied: ",
                "option ",
                "key ",
            ]
            .iter()
            .any(|word| before.ends_with(word));
        alone && (distinct || marked)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hermes_config::Secret;
    use serde_json::json;

    use super::*;
    use crate::engine::Prompt;
    use crate::engine::steps::Ask;

    fn endpoint(max_tokens: Option<u64>, extra: &Value) -> Endpoint {
        Endpoint {
            provider: "custom".to_owned(),
            model: "m".to_owned(),
            base_url: "http://127.0.0.1:1/v1".parse().unwrap(),
            key: Secret::new("k"),
            pool: None,
            max_tokens,
            extra_body: extra.as_object().unwrap().clone(),
            extra_headers: BTreeMap::new(),
            local: true,
            network: hermes_config::network::Network::default(),
            rule: String::new(),
            wire: Wire::Chat,
            caches_an_hour: false,
            context_length: None,
        }
    }

    fn refusal(message: &str) -> Failure {
        Failure { status: Some(400), ..Failure::new(Fault::Request, message) }
    }

    /// What is sent in the end, and how often, by a server that refuses with `message` as long as `refuses`.
    fn settled(endpoint: &Endpoint, message: &str, refuses: impl Fn(&Value) -> bool) -> (Value, Vec<Repair>) {
        let (mut shape, mut repairs) = (Shape::default(), Vec::new());
        loop {
            let mut body = super::super::chat::body(endpoint, &Ask::of(&Prompt::default()), &shape);
            if !refuses(&body) {
                for key in ["model", "messages", "stream"] {
                    body.as_object_mut().unwrap().remove(key);
                }
                return (body, repairs);
            }
            let repair = shape
                .repaired(&refusal(message), &body, endpoint, &Options::new())
                .unwrap_or_else(|| panic!("{message}: {body}"));
            shape = repair.shape.clone();
            repairs.push(repair);
            assert!(repairs.len() < 8, "it ends");
        }
    }

    /// Wires 2: refusals as servers phrase them, and what is sent instead.
    #[test]
    fn w2_a_refused_part_is_renamed_or_left_out() {
        let usage = json!({"include_usage": true});
        let has = |key: &'static str| move |body: &Value| body.get(key).is_some();
        let default = endpoint(None, &json!({}));
        for message in [
            "HTTP 400: Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "HTTP 422: `max_tokens`: Extra inputs are not permitted",
            "HTTP 400: Unrecognized request argument supplied: max_tokens",
        ] {
            let (body, _) = settled(&default, message, has("max_tokens"));
            assert_eq!(body, json!({"max_completion_tokens": 65_536, "stream_options": usage}), "{message}");
        }
        for message in [
            "HTTP 422: Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 20 `inputs` tokens and 65536 `max_new_tokens`",
            "HTTP 400: max_tokens is too large: 65536. This model supports at most 4096 completion tokens",
            "HTTP 400: 'max_tokens' or 'max_completion_tokens' is too large: 65536. This model's maximum context length is 4096 tokens",
            "HTTP 400: Invalid max_tokens value, the valid range of max_tokens is [1, 8192]",
            "HTTP 400: This model's maximum context length is 4096 tokens. However, you requested 65556 tokens (20 in the messages, 65536 in the completion).",
            "HTTP 400: The maximum tokens you requested exceeds the model limit of 4096",
        ] {
            let (body, repairs) =
                settled(&default, message, |body| LIMITS.iter().any(|name| body.get(name).is_some()));
            assert_eq!((body, repairs.len()), (json!({"stream_options": usage}), 1), "{message}");
            assert!(repairs[0].lasting && !repairs[0].configured);
        }
        for message in [
            "HTTP 400: unknown field stream_options",
            "HTTP 422: `stream_options`: Extra inputs are not permitted",
            "HTTP 422: `stream_options.include_usage`: not permitted",
            "HTTP 400: Unrecognized request arguments supplied: stream_options",
            "the provider reported an error: \"stream_options\" is not supported",
        ] {
            let (body, _) = settled(&default, message, has("stream_options"));
            assert_eq!(body, json!({"max_tokens": 65_536}), "{message}");
        }
    }

    /// Wires 2: what the configuration sends is left out where it is named, and whoever reads the log is told.
    #[test]
    fn w2_a_configured_part_is_left_out_and_said() {
        let endpoint = endpoint(
            None,
            &json!({"temperature": 0.3, "reasoning_effort": "low", "reasoning": {}, "user": "u", "stop": ["x"]}),
        );
        let refuse = |message: &str, part: &str| {
            let body = super::super::chat::body(&endpoint, &Ask::of(&Prompt::default()), &Shape::default());
            let repair = Shape::default().repaired(&refusal(message), &body, &endpoint, &Options::new());
            assert_eq!(
                repair.as_ref().map(|repair| (repair.part.as_str(), repair.configured)),
                (!part.is_empty()).then_some((part, true)),
                "{message}"
            );
        };
        refuse(
            "Unsupported value: 'temperature' does not support 0.3 with this model. Only the default (1) value is supported.",
            "temperature",
        );
        refuse("Unrecognized request argument supplied: reasoning_effort", "reasoning_effort");
        refuse("this model does not support the parameter reasoning", "reasoning");
        refuse("`user`: Extra inputs are not permitted", "user");
        refuse("the last message must come from the user", "");
        refuse("'stop' is not supported", "");
        refuse("messages is too long", "");
        // A client's own value is the client's to change.
        let asked = Options::from_iter([("temperature".to_owned(), json!(1))]);
        let body = super::super::chat::body(
            &endpoint,
            &Ask::of(&Prompt { options: asked.clone(), ..Prompt::default() }),
            &Shape::default(),
        );
        assert_eq!(
            Shape::default().repaired(&refusal("temperature is not supported"), &body, &endpoint, &asked),
            None
        );
        // What is no refusal of the request is none of a part of it.
        let limited = Failure::new(Fault::Limited, "max_tokens per minute");
        assert_eq!(Shape::default().repaired(&limited, &body, &endpoint, &Options::new()), None);
    }

    /// Wires 2: a configured limit is given up only where it is named, and not for good where one conversation was too long.
    #[test]
    fn w2_a_configured_limit_is_kept_while_it_can_be() {
        let endpoint = endpoint(Some(9_000), &json!({}));
        let any = |body: &Value| LIMITS.iter().any(|name| body.get(name).is_some());
        let (_, repairs) = settled(&endpoint, "max_tokens must be less than or equal to 8192", any);
        assert_eq!(
            repairs.iter().map(|repair| (repair.configured, repair.lasting)).collect::<Vec<_>>(),
            [(true, false)]
        );
        let (_, repairs) = settled(&endpoint, "unknown parameters: max_tokens, max_completion_tokens", any);
        assert_eq!(
            repairs.iter().map(|repair| (repair.renamed, repair.lasting)).collect::<Vec<_>>(),
            [(Some("max_completion_tokens"), true), (None, true)]
        );
        let body = super::super::chat::body(&endpoint, &Ask::of(&Prompt::default()), &Shape::default());
        let overflow = refusal("the context length of this model is 4096");
        assert_eq!(Shape::default().repaired(&overflow, &body, &endpoint, &Options::new()), None);
    }
}
