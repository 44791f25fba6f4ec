//! How many tokens a model takes: as configured, as it said when it refused more, as its provider lists it, as is known of its kind.
//!
//! The provider's list is asked for once, and only for a conversation that some model would not take.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::wire;
use crate::engine::EngineError;
use crate::provider::Endpoint;

/// A conversation of so many tokens fits into every window that is in use.
const ASKED_FROM: u64 = 20_000;
/// Time that the list has.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most of it that is read, in bytes: OpenRouter's is the longest.
const LONGEST: usize = 8 * 1024 * 1024;
/// What nobody knows is taken for this.
const USUAL: u64 = 128_000;
/// No window is smaller.
const LEAST: u64 = 1_024;
/// A number in a refusal stands so near to what it is the number of, in bytes.
const NEAR: usize = 32;

/// Fields of a provider's list that hold it, with the servers that have them.
const FIELDS: [&str; 7] = [
    // OpenRouter and most.
    "context_length",
    // vLLM.
    "max_model_len",
    "context_window",
    // LM Studio.
    "loaded_context_length",
    "max_context_length",
    // Anthropic.
    "max_input_tokens",
    "context_size",
];

/// Parts of models' names and their windows, from their vendors' pages; the first that fits counts.
const KNOWN: [(&str, u64); 28] = [
    ("gpt-4.1", 1_047_576),
    ("gpt-4o", 128_000),
    ("gpt-4-turbo", 128_000),
    ("gpt-4", 8_192),
    ("gpt-3.5", 16_385),
    ("gpt-oss", 131_072),
    ("gpt-5", 400_000),
    ("o1", 200_000),
    ("o3", 200_000),
    ("o4", 200_000),
    ("claude", 200_000),
    ("gemini", 1_048_576),
    ("gemma", 128_000),
    ("deepseek", 128_000),
    ("qwen3-coder", 262_144),
    ("qwen", 131_072),
    ("kimi", 262_144),
    ("glm-4.5", 131_072),
    ("glm", 200_000),
    ("grok-4", 256_000),
    ("grok", 131_072),
    ("minimax", 204_800),
    ("llama-4", 1_000_000),
    ("llama", 128_000),
    ("codestral", 256_000),
    ("mistral", 128_000),
    ("mimo", 262_144),
    ("step", 262_144),
];

/// What is in front of the size of a window in a refusal.
const TOLD: [&str; 8] = [
    "context length",
    "context window",
    "context size",
    "prompt length is",
    "maximum number of tokens",
    "input length should be",
    "n_ctx",
    "tokens >",
];

/// What was learned of one model's window.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// 0: nothing.
    told: AtomicU64,
    listed: OnceCell<Option<u64>>,
}

impl Window {
    /// The model's window, for a request of about so many tokens.
    pub(super) async fn of<'c>(
        &self,
        endpoint: &Endpoint,
        tokens: u64,
        client: impl FnOnce() -> Result<&'c Client, EngineError>,
    ) -> u64 {
        let told = Some(self.told.load(Relaxed)).filter(|told| *told > 0);
        if let Some(configured) = endpoint.context_length {
            return told.map_or(configured, |told| told.min(configured));
        }
        let listed = match (told, client) {
            (None, client) if tokens >= ASKED_FROM => {
                *self.listed.get_or_init(|| listed(endpoint, client)).await
            }
            _ => self.listed.get().copied().flatten(),
        };
        told.or(listed).unwrap_or_else(|| known(&endpoint.model))
    }

    /// The model refused a request as too long, in these words.
    pub(super) fn refused(&self, message: &str) {
        if let Some(window) = named(message) {
            self.told.store(window, Relaxed);
            tracing::info!(window, "the model has said how many tokens it takes");
        }
    }
}

async fn listed<'c>(
    endpoint: &Endpoint,
    client: impl FnOnce() -> Result<&'c Client, EngineError>,
) -> Option<u64> {
    let headers = wire::headers(endpoint).ok()?;
    let asked = async {
        let mut response = client().ok()?.get(endpoint.models_url()).headers(headers).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.ok()? {
            body.extend_from_slice(&piece);
            if body.len() > LONGEST {
                return None;
            }
        }
        in_list(&serde_json::from_slice(&body).ok()?, &endpoint.model)
    };
    let window = tokio::time::timeout(PATIENCE, asked).await.ok().flatten();
    tracing::debug!(model = endpoint.model, window, "the provider's list of models was asked for its window");
    window
}

fn in_list(list: &Value, model: &str) -> Option<u64> {
    let models = ["data", "models"].iter().find_map(|key| list.get(key)).unwrap_or(list).as_array()?;
    let is_it = |entry: &&Value| {
        ["id", "name", "slug"].iter().any(|key| entry.get(key).and_then(Value::as_str) == Some(model))
    };
    let entry = models.iter().find(is_it)?;
    FIELDS.iter().find_map(|field| entry.get(field)?.as_u64()).filter(|window| *window >= LEAST)
}

fn known(model: &str) -> u64 {
    let model = model.to_ascii_lowercase();
    // `openai/o3`, `o3-mini`: so short a name must stand alone.
    let has = |part: &str| {
        model
            .match_indices(part)
            .any(|(at, _)| part.len() > 2 || at == 0 || !model.as_bytes()[at - 1].is_ascii_alphanumeric())
    };
    KNOWN.iter().find(|(part, _)| has(part)).map_or(USUAL, |(_, window)| *window)
}

/// The size of the window that a refusal names.
fn named(message: &str) -> Option<u64> {
    let text = message.to_ascii_lowercase().replace([',', '_'], "");
    let told = TOLD.map(|told| told.replace('_', ""));
    told.into_iter().find_map(|told| {
        let after = &text[text.find(&told)? + told.len()..];
        let ends = after.char_indices().map(|(at, c)| at + c.len_utf8());
        let end = ends.take_while(|end| *end <= NEAR).last()?;
        let numbers = after[..end].split(|c: char| !c.is_ascii_digit()).rev();
        numbers.filter_map(|digits| digits.parse().ok()).find(|number| *number >= LEAST)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_names_the_window() {
        for (message, window) in [
            (
                "This model's maximum context length is 4096 tokens. However, you requested 65556 tokens",
                Some(4096),
            ),
            ("prompt is too long: 216003 tokens > 200000 maximum", Some(200_000)),
            (
                "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
                Some(1_048_576),
            ),
            (
                "This model's maximum prompt length is 131072 but the request contains 200000 tokens",
                Some(131_072),
            ),
            ("Range of input length should be [1, 98304]", Some(98_304)),
            (
                "request (5012 tokens) exceeds the available context size (4096 tokens), try increasing it",
                Some(4096),
            ),
            ("your context window is 32,768 tokens", Some(32_768)),
            ("the context length is exceeded", None),
            ("Payload Too Large", None),
        ] {
            assert_eq!(named(message), window, "{message}");
        }
    }

    #[test]
    fn lists_of_every_kind_are_read() {
        let list = json!({"data": [{"id": "a", "context_length": 9}, {"id": "m", "max_model_len": 32_768}]});
        assert_eq!(in_list(&list, "m"), Some(32_768));
        assert_eq!(in_list(&list, "a"), None, "no window is as small");
        assert_eq!(in_list(&json!([{"name": "m", "context_length": 8_192}]), "m"), Some(8_192));
        assert_eq!(in_list(&json!({"data": {}}), "m"), None);
    }

    #[test]
    fn models_are_known_by_their_kind() {
        for (model, window) in [
            ("anthropic/claude-sonnet-4.5", 200_000),
            ("openai/o3-mini", 200_000),
            ("gpt-4.1-mini", 1_047_576),
            ("gpt-5.2-codex", 400_000),
            ("Qwen/Qwen3-Coder-480B", 262_144),
            ("proto3", USUAL),
            ("something", USUAL),
        ] {
            assert_eq!(known(model), window, "{model}");
        }
    }
}
