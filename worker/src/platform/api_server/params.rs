//! The fields of a request besides its messages: which are honoured, by whom, and which are refused.
//!
//! # Theory
//!
//! [`TABLE`] is the one list. A field is read here, handed to the model, or refused by its name with 400 `unsupported_parameter`;
//! none is dropped in silence, and none that is unknown is handed on, so that nothing a client sends changes where a request goes or
//! what it costs in a way that this program does not know. A value that asks for nothing (null, something empty, the value that
//! every model has anyway) is fine everywhere: clients send many of them.
//!
//! What is handed on stands in the provider's request as the client sent it, and overrides `model.extra_body`; what the provider thinks
//! of a value is the provider's to say. An engine without a model (`echo`) is given none.
//!
//! The page `docs/api.md` holds this table; a test compares. Responses have a table of their own, read in the same way.

use serde_json::{Map, Value};

use super::error::ApiError;
use crate::engine::Options;

/// What becomes of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Read here, whatever the engine.
    Read,
    /// Read here, where there is a model.
    Chosen,
    /// Handed to the model.
    Passed,
    /// Refused unless it asks for nothing.
    Refused,
}

/// One field.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) fate: Fate,
    /// Values besides null and empty ones that ask for nothing, as JSON.
    idle: &'static [&'static str],
    /// What it does here, or why it is refused.
    pub(super) note: &'static str,
}

pub(super) const fn read(name: &'static str, note: &'static str) -> Row {
    Row { name, fate: Fate::Read, idle: &[], note }
}

pub(super) const fn chosen(name: &'static str, note: &'static str) -> Row {
    Row { name, fate: Fate::Chosen, idle: &[], note }
}

pub(super) const fn passed(name: &'static str, idle: &'static [&'static str], note: &'static str) -> Row {
    Row { name, fate: Fate::Passed, idle, note }
}

pub(super) const fn refused(name: &'static str, idle: &'static [&'static str], note: &'static str) -> Row {
    Row { name, fate: Fate::Refused, idle, note }
}

/// What `provider` does.
pub(super) const PROVIDER: &str =
    "who serves `model`, which is one of its ids then; 400 where the profile cannot ask it";
/// What `model_options` does.
pub(super) const MODEL_OPTIONS: &str = "`reasoning_effort`, `reasoning` (`effort`, `enabled`) and `service_tier`, as `reasoning_effort` and `service_tier`; what the request says beside it wins";

/// Every known field, in the order of the page.
pub(super) const TABLE: &[Row] = &[
    read("messages", "the conversation"),
    read(
        "model",
        "echoed; an alias of `model_routes` is answered by its model, every other name by the profile's own, but for `direct_model_requests` and `provider`",
    ),
    chosen("provider", PROVIDER),
    passed("model_options", &[], MODEL_OPTIONS),
    read("stream", "the answer as server-sent events"),
    read(
        "stream_options",
        "`include_usage`: the tokens in a last chunk of their own, `usage: null` in the others; `false`: no tokens; without it they ride on the finishing chunk",
    ),
    read("user", "tells conversations of different users apart"),
    passed("tools", &[], "the client's own tools; calls come back in `tool_calls`"),
    passed("tool_choice", &["\"none\"", "\"auto\""], ""),
    passed("parallel_tool_calls", &["true"], ""),
    passed("response_format", &[r#"{"type":"text"}"#], "JSON mode and schemas"),
    passed("stop", &[], ""),
    passed(
        "max_completion_tokens",
        &[],
        "a whole number from 1; wins over `max_tokens` and `model.max_tokens`",
    ),
    passed(
        "max_tokens",
        &[],
        "a whole number from 1; wins over `model.max_tokens`; sent under the name that the provider wants",
    ),
    passed("temperature", &["1"], ""),
    passed("top_p", &["1"], ""),
    passed("presence_penalty", &["0"], ""),
    passed("frequency_penalty", &["0"], ""),
    passed("logit_bias", &[], ""),
    passed("seed", &[], ""),
    passed("reasoning_effort", &[], ""),
    passed("verbosity", &[], ""),
    passed("prediction", &[], ""),
    passed("service_tier", &["\"auto\"", "\"default\""], ""),
    passed("store", &["false"], ""),
    passed("metadata", &[], ""),
    passed("safety_identifier", &[], ""),
    passed("prompt_cache_key", &[], ""),
    passed("prompt_cache_retention", &[], ""),
    passed("web_search_options", &[], ""),
    passed("top_k", &[], "not OpenAI's; vLLM, llama.cpp, OpenRouter and others know it"),
    passed("min_p", &[], "as `top_k`"),
    passed("repetition_penalty", &["1"], "as `top_k`"),
    passed("reasoning", &[], "OpenRouter"),
    passed("thinking", &[], "Anthropic, DeepSeek and others"),
    passed("enable_thinking", &[], "Qwen"),
    passed("chat_template_kwargs", &[], "vLLM, SGLang"),
    refused("n", &["1"], "a turn has one answer"),
    refused("logprobs", &["false"], "answers carry no probabilities"),
    refused("top_logprobs", &["0"], "answers carry no probabilities"),
    refused("modalities", &["[\"text\"]"], "answers are text"),
    refused("audio", &[], "answers are text"),
    refused("functions", &[], "use `tools`"),
    refused("function_call", &["\"none\"", "\"auto\""], "use `tool_choice`"),
];

/// What the fields of a request ask for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Params {
    /// For the model.
    pub(super) options: Options,
    /// `stream_options.include_usage`.
    pub(super) include_usage: Option<bool>,
}

/// What a value of a field asks for, once nothing speaks against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// Nothing.
    Nothing,
    /// Something of this program.
    Us,
    /// Something of the model.
    Model,
}

/// Judges a field by its row in a table. `has_model`: the engine hands options to one.
pub(super) fn judge(table: &[Row], name: &str, value: &Value, has_model: bool) -> Result<Asks, ApiError> {
    if is_empty(value) {
        return Ok(Asks::Nothing);
    }
    let Some(row) = table.iter().find(|row| row.name == name) else {
        return Err(unsupported(name, "it is not known here"));
    };
    match row.fate {
        Fate::Read => Ok(Asks::Us),
        Fate::Chosen if has_model => Ok(Asks::Us),
        Fate::Passed if has_model => Ok(Asks::Model),
        _ if row.is_idle(value) => Ok(Asks::Nothing),
        Fate::Passed | Fate::Chosen => {
            Err(unsupported(name, "the engine `echo` of this profile has no model that could honour it"))
        }
        Fate::Refused => Err(unsupported(name, row.note)),
    }
}

/// Sorts out the fields of a request. `has_model`: the engine hands options to one.
pub(super) fn parse(fields: &Map<String, Value>, has_model: bool) -> Result<Params, ApiError> {
    let mut params = Params::default();
    let mut beside = Options::new();
    for (name, value) in fields {
        match judge(TABLE, name, value, has_model)? {
            Asks::Us if name == "stream_options" => params.include_usage = include_usage(value)?,
            Asks::Us | Asks::Nothing => {}
            Asks::Model if name == "model_options" => beside = model_options(value)?,
            Asks::Model => {
                if matches!(name.as_str(), "max_tokens" | "max_completion_tokens") {
                    limit(name, value)?;
                }
                params.options.insert(name.clone(), value.clone());
            }
        }
    }
    for (name, value) in beside {
        params.options.entry(name).or_insert(value);
    }
    Ok(params)
}

/// What `model_options` of newer clients asks for, by the names of a chat completion.
pub(super) fn model_options(value: &Value) -> Result<Options, ApiError> {
    let fields = value.as_object().ok_or_else(|| {
        ApiError::invalid("'model_options' must be an object").param("model_options").code("invalid_value")
    })?;
    let unknown = |name: &str| unsupported(&format!("model_options.{name}"), "it is not known here");
    let mut options = Options::new();
    for (name, value) in fields.iter().filter(|(_, value)| !is_empty(value)) {
        match (name.as_str(), value) {
            ("reasoning_effort" | "service_tier", value) => {
                options.insert(name.clone(), value.clone());
            }
            ("reasoning", Value::Object(reasoning)) => {
                for (name, value) in reasoning.iter().filter(|(_, value)| !is_empty(value)) {
                    match (name.as_str(), value) {
                        ("effort", effort) => {
                            options.entry("reasoning_effort").or_insert_with(|| effort.clone());
                        }
                        ("enabled", Value::Bool(true)) => {}
                        ("enabled", Value::Bool(false)) => {
                            options.insert("reasoning_effort".to_owned(), "none".into());
                        }
                        (other, _) => return Err(unknown(&format!("reasoning.{other}"))),
                    }
                }
            }
            ("fast", Value::Bool(false)) => {}
            (other, _) => return Err(unknown(other)),
        }
    }
    Ok(options)
}

/// Takes fields out of a request that it cannot have, each with why. One that asks for something is refused.
pub(super) fn refuse(
    fields: &mut Map<String, Value>,
    not_here: &[(&'static str, &'static str)],
) -> Result<(), ApiError> {
    for (name, why) in not_here {
        let asks = fields.remove(*name).is_some_and(|value| !is_empty(&value) && value != Value::Bool(false));
        if asks {
            return Err(unsupported(name, why));
        }
    }
    Ok(())
}

/// Checks a number of tokens.
pub(super) fn limit(name: &str, value: &Value) -> Result<(), ApiError> {
    if value.as_u64().is_some_and(|n| n > 0) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("'{name}' must be a whole number from 1"))
        .param(name)
        .code("invalid_value"))
}

impl Row {
    fn is_idle(&self, value: &Value) -> bool {
        let same = |idle: &Value| match (idle.as_f64(), value.as_f64()) {
            // 1 and 1.0 ask for the same.
            (Some(idle), Some(value)) => (idle - value).abs() < f64::EPSILON,
            _ => idle == value,
        };
        self.idle.iter().any(|text| serde_json::from_str(text).is_ok_and(|idle| same(&idle)))
    }
}

/// Whether a value asks for nothing, whatever the field.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

pub(super) fn unsupported(name: &str, why: &str) -> ApiError {
    let name: String = name.chars().take(64).collect();
    ApiError::invalid(format!(
        "Unsupported parameter: '{name}': {why}. `parameters` of GET /v1/capabilities lists what can be asked for."
    ))
    .param(name)
    .code("unsupported_parameter")
}

fn include_usage(options: &Value) -> Result<Option<bool>, ApiError> {
    let wrong = || {
        ApiError::invalid("'stream_options' must be an object with 'include_usage': true or false")
            .param("stream_options")
            .code("invalid_value")
    };
    let mut include = None;
    for (name, value) in options.as_object().ok_or_else(wrong)? {
        match (name.as_str(), value) {
            (_, Value::Null) | ("include_obfuscation", Value::Bool(false)) => {}
            ("include_usage", Value::Bool(on)) => include = Some(*on),
            ("include_usage", _) => return Err(wrong()),
            (other, _) => {
                return Err(unsupported(&format!("stream_options.{other}"), "it is not known here"));
            }
        }
    }
    Ok(include)
}

/// The names a client may use, for `/v1/capabilities`.
pub(super) fn listed(has_model: bool) -> Value {
    listed_of(TABLE, has_model)
}

/// Those of a table.
pub(super) fn listed_of(table: &[Row], has_model: bool) -> Value {
    let names = |fate: Fate| -> Value {
        table
            .iter()
            .filter(|row| row.fate == fate)
            .map(|row| Value::from(row.name))
            .collect::<Vec<_>>()
            .into()
    };
    let mut listed = Map::new();
    listed.insert("read".to_owned(), names(Fate::Read));
    listed
        .insert("chosen".to_owned(), if has_model { names(Fate::Chosen) } else { Value::Array(Vec::new()) });
    listed.insert(
        "passed_to_model".to_owned(),
        if has_model { names(Fate::Passed) } else { Value::Array(Vec::new()) },
    );
    Value::Object(listed)
}

/// A table as `docs/api.md` holds it.
#[cfg(test)]
pub(super) fn markdown(table: &[Row]) -> String {
    use std::fmt::Write as _;

    let mut page = "| Parameter | With a model | Engine `echo` | |\n|---|---|---|---|\n".to_owned();
    for row in table {
        let idle = row.idle.iter().map(|idle| format!("`{idle}`")).collect::<Vec<_>>().join(", ");
        let only = if idle.is_empty() { "refused".to_owned() } else { format!("refused, but for {idle}") };
        let (model, echo) = match row.fate {
            Fate::Read => ("honoured".to_owned(), "honoured".to_owned()),
            Fate::Chosen => ("honoured".to_owned(), only),
            Fate::Passed => ("passed to the provider".to_owned(), only),
            Fate::Refused => (only.clone(), only),
        };
        writeln!(page, "| `{}` | {model} | {echo} | {} |", row.name, row.note).unwrap();
    }
    page
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(fields: &Value, has_model: bool) -> Result<Params, ApiError> {
        parse(fields.as_object().unwrap(), has_model)
    }

    /// Wires 7: the page says what the code does.
    #[test]
    fn the_page_holds_the_table() {
        let page = include_str!("../../../../docs/api.md");
        let table = markdown(TABLE);
        assert!(page.contains(&table), "docs/api.md must hold:\n\n{table}");
    }

    /// Wires 7: handed on as it came, or refused by name.
    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (name, value) in [
            ("tools", json!([{"type": "function"}])),
            ("tool_choice", json!("required")),
            ("parallel_tool_calls", json!(false)),
            ("response_format", json!({"type": "json_object"})),
            ("stop", json!("x")),
            ("max_tokens", json!(5)),
            ("temperature", json!(0)),
            ("seed", json!(1)),
            ("logit_bias", json!({"1": 2})),
        ] {
            let fields = json!({ name: value });
            assert_eq!(Value::Object(asked(&fields, true).unwrap().options), fields);
            let error = asked(&fields, false).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Some("unsupported_parameter"), Some(name)));
            assert!(error.message.contains(name) && error.message.contains("echo"), "{}", error.message);
        }
        for (name, value) in [
            ("n", json!(2)),
            ("logprobs", json!(true)),
            ("top_logprobs", json!(3)),
            ("audio", json!({"voice": "x"})),
            ("modalities", json!(["text", "audio"])),
            ("functions", json!([{"name": "f"}])),
            ("function_call", json!({"name": "f"})),
            ("api_base", json!("http://elsewhere")),
            ("models", json!(["a", "b"])),
        ] {
            for has_model in [true, false] {
                let error = asked(&json!({ name: value }), has_model).unwrap_err();
                assert_eq!((error.code, error.param.as_deref()), (Some("unsupported_parameter"), Some(name)));
            }
        }
    }

    /// Wires 7: stock clients send much that asks for nothing.
    #[test]
    fn what_asks_for_nothing_is_fine_everywhere() {
        let idle = json!({
            "n": 1, "logprobs": false, "top_logprobs": null, "modalities": ["text"], "functions": [], "function_call": "none",
            "temperature": 1.0, "top_p": 1, "frequency_penalty": 0.0, "stop": [], "tools": [], "tool_choice": "auto",
            "response_format": {"type": "text"}, "metadata": {}, "store": false, "unheard_of": null, "parallel_tool_calls": true,
        });
        assert_eq!(asked(&idle, false).unwrap(), Params::default());
        let kept = asked(&idle, true).unwrap().options;
        // Whoever says 1 means 1, also where the configuration says otherwise; whoever says nothing says nothing.
        assert_eq!(kept["temperature"], 1.0);
        assert!(!kept.contains_key("tools") && !kept.contains_key("n") && !kept.contains_key("stop"));
    }

    /// Newer clients say here what others say in fields of their own; those win.
    #[test]
    fn model_options_are_what_they_are_called_elsewhere() {
        let options = |fields: Value| asked(&fields, true).map(|params| Value::Object(params.options));
        for (given, expected) in [
            (
                json!({"reasoning_effort": "low", "service_tier": "flex"}),
                json!({"reasoning_effort": "low", "service_tier": "flex"}),
            ),
            (
                json!({"reasoning": {"enabled": true, "effort": "high"}, "fast": false}),
                json!({"reasoning_effort": "high"}),
            ),
            (json!({"reasoning": {"effort": "high", "enabled": false}}), json!({"reasoning_effort": "none"})),
            (json!({"reasoning": {}, "service_tier": null}), json!({})),
        ] {
            assert_eq!(options(json!({"model_options": given})), Ok(expected), "{given}");
        }
        let both = json!({"model_options": {"reasoning_effort": "low"}, "reasoning_effort": "high"});
        assert_eq!(options(both), Ok(json!({"reasoning_effort": "high"})));
        for (given, param) in [
            (json!({"fast": true}), "model_options.fast"),
            (json!({"reasoning": {"budget": 5}}), "model_options.reasoning.budget"),
            (json!({"colour": "red"}), "model_options.colour"),
            (json!("low"), "model_options"),
        ] {
            let error = options(json!({"model_options": given})).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{given}");
        }
        for field in ["provider", "model_options"] {
            let error = asked(&json!({field: {"reasoning_effort": "low"}}), false).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Some("unsupported_parameter"), Some(field)));
        }
        assert_eq!(
            options(json!({"provider": "openrouter"})),
            Ok(json!({})),
            "whoever names the model reads it"
        );
    }

    #[test]
    fn limits_and_stream_options_are_checked() {
        for bad in [json!(0), json!(-1), json!(1.5), json!("5"), json!(true)] {
            let error = asked(&json!({ "max_tokens": bad }), true).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Some("invalid_value"), Some("max_tokens")));
        }
        let usage =
            |options: Value| asked(&json!({ "stream_options": options }), false).map(|p| p.include_usage);
        assert_eq!(usage(json!({"include_usage": true, "include_obfuscation": false})), Ok(Some(true)));
        assert_eq!(usage(json!({"include_usage": false})), Ok(Some(false)));
        assert_eq!((usage(json!(null)), usage(json!({}))), (Ok(None), Ok(None)));
        assert_eq!(usage(json!({"include_usage": 1})).unwrap_err().code, Some("invalid_value"));
        assert_eq!(usage(json!([1])).unwrap_err().code, Some("invalid_value"));
        let unknown = usage(json!({"chunk_size": 3})).unwrap_err();
        assert_eq!(unknown.param.as_deref(), Some("stream_options.chunk_size"));
    }
}
