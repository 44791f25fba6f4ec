//! The fields of a response's request besides its input: honoured, passed to the model, or refused, by the rule of chat completions.
//!
//! [`TABLE`] is the one list; `docs/api.md` holds it, and a test compares. What is passed gets the name and the shape that it has in a
//! chat completion, which is what every wire to a provider begins from.

use serde_json::{Map, Value, json};

use super::super::error::ApiError;
use super::super::params::{
    Asks, MODEL_OPTIONS, PROVIDER, Row, chosen, judge, limit, model_options, passed, read, refused,
    unsupported,
};
use crate::engine::Options;

/// Most entries of `metadata`.
const MAX_METADATA: usize = 16;

/// Every known field, in the order of the page.
pub(in super::super) const TABLE: &[Row] = &[
    read("input", "what is new: a text, or a list of texts and [items](#items)"),
    read("model", "as in chat completions"),
    chosen("provider", PROVIDER),
    passed("model_options", &[], MODEL_OPTIONS),
    read(
        "instructions",
        "follow the agent's own prompt; inherited from the response before, where there is one",
    ),
    read("previous_response_id", "the response that the conversation goes on from"),
    read(
        "conversation",
        "a name, or `{\"id\"}`: goes on from the latest response of that name; a new one begins it",
    ),
    read(
        "conversation_history",
        "earlier messages (`role`, `content`), in the place of those of the response before",
    ),
    read("store", "`false`: the response cannot be asked for again, or gone on from"),
    read("stream", "the response as server-sent events"),
    read("stream_options", "`include_obfuscation: false`"),
    read("truncation", "`auto`: of the history the last 100 items are kept; `disabled`: all"),
    read("metadata", "up to 16 texts, said again in the response"),
    read("user", "tells conversations of different users apart"),
    read("include", "`reasoning.encrypted_content`, of which there is none; anything else is refused"),
    passed("text", &[r#"{"format":{"type":"text"}}"#], "`format`: JSON mode and schemas; `verbosity`"),
    passed("reasoning", &[], "`effort`; `summary`: what the model thought, in items of their own"),
    passed("tools", &[], "`function` and `custom`, the client's own; every other type is refused"),
    passed("tool_choice", &["\"none\"", "\"auto\""], ""),
    passed("parallel_tool_calls", &["true"], ""),
    passed("max_output_tokens", &[], "a whole number from 1; wins over `model.max_tokens`"),
    passed("temperature", &["1"], ""),
    passed("top_p", &["1"], ""),
    passed("service_tier", &["\"auto\"", "\"default\""], ""),
    passed("safety_identifier", &[], ""),
    passed("prompt_cache_key", &[], ""),
    passed("prompt_cache_retention", &[], ""),
    passed("presence_penalty", &["0"], "not OpenAI's here; as in chat completions"),
    passed("frequency_penalty", &["0"], "as `presence_penalty`"),
    passed("seed", &[], "as `presence_penalty`"),
    passed("stop", &[], "as `presence_penalty`"),
    passed("top_k", &[], "as `presence_penalty`"),
    passed("min_p", &[], "as `presence_penalty`"),
    passed("repetition_penalty", &["1"], "as `presence_penalty`"),
    refused("background", &["false"], "POST /v1/runs has a turn that goes on without its client"),
    refused("max_tool_calls", &[], "`agent.max_turns` of the profile limits a turn"),
    refused("prompt", &[], "no prompts are stored here; use `instructions`"),
    refused("top_logprobs", &["0"], "answers carry no probabilities"),
    refused("context_management", &[], "the profile's `compression` makes long conversations shorter"),
];

/// What the fields of a request ask for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Params {
    /// For the model, by their names in a chat completion.
    pub(super) options: Options,
    /// What the model thinks is to be told.
    pub(super) thoughts: bool,
    /// Only the latest part of the history is to be sent.
    pub(super) truncates: bool,
    /// Said again in the response, by the names that they came by.
    pub(super) said: Map<String, Value>,
}

/// Sorts out the fields of a request.
pub(super) fn parse(fields: &Map<String, Value>, has_model: bool) -> Result<Params, ApiError> {
    let mut params = Params::default();
    for (name, value) in fields {
        let asks = judge(TABLE, name, value, has_model)?;
        if asks == Asks::Nothing {
            continue;
        }
        match name.as_str() {
            "truncation" => params.truncates = truncation(value)?,
            "stream_options" => stream_options(value)?,
            "include" => include(value)?,
            "metadata" => metadata(value)?,
            _ => {}
        }
        if asks == Asks::Model {
            pass(&mut params, name, value)?;
        }
        if SAID.contains(&name.as_str()) {
            params.said.insert(name.clone(), value.clone());
        }
    }
    Ok(params)
}

/// Fields that a response says again as they came.
const SAID: [&str; 14] = [
    "max_output_tokens",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
];

fn invalid(message: &str, param: impl Into<Box<str>>) -> ApiError {
    ApiError::invalid(message).param(param).code("invalid_value")
}

/// Gives a field the name and shape that it has in a chat completion.
fn pass(params: &mut Params, name: &str, value: &Value) -> Result<(), ApiError> {
    if name == "model_options" {
        for (name, value) in model_options(value)? {
            params.options.entry(name).or_insert(value);
        }
        return Ok(());
    }
    let mut set = |name: &str, value: Value| params.options.insert(name.to_owned(), value);
    match name {
        "max_output_tokens" => {
            limit(name, value)?;
            set("max_completion_tokens", value.clone());
        }
        "tools" => {
            set(name, Value::Array(tools(value)?));
        }
        "tool_choice" => {
            set(name, tool_choice(value)?);
        }
        "text" => {
            let Some(text) = value.as_object() else { return Err(invalid("'text' must be an object", name)) };
            for (key, value) in text.iter().filter(|(_, value)| !value.is_null()) {
                match key.as_str() {
                    "format" if value["type"] == "text" => {}
                    "format" => {
                        set("response_format", format(value)?);
                    }
                    "verbosity" => {
                        set("verbosity", value.clone());
                    }
                    other => return Err(unsupported(&format!("text.{other}"), "it is not known here")),
                }
            }
        }
        "reasoning" => {
            let Some(reasoning) = value.as_object() else {
                return Err(invalid("'reasoning' must be an object", name));
            };
            for (key, value) in reasoning.iter().filter(|(_, value)| !value.is_null()) {
                match key.as_str() {
                    "effort" => {
                        set("reasoning_effort", value.clone());
                    }
                    "summary" | "generate_summary" => params.thoughts = value.is_string(),
                    other => return Err(unsupported(&format!("reasoning.{other}"), "it is not known here")),
                }
            }
        }
        _ => {
            set(name, value.clone());
        }
    }
    Ok(())
}

/// Tools, whose fields stand beside the type here and in an object of their own there.
fn tools(value: &Value) -> Result<Vec<Value>, ApiError> {
    let tools = value.as_array().ok_or_else(|| invalid("'tools' must be a list", "tools"))?;
    let nested = |(at, tool): (usize, &Value)| {
        let kind = tool["type"].as_str().unwrap_or_default();
        if !matches!(kind, "function" | "custom") {
            let name = format!("tools[{at}].type");
            let kind: String = kind.chars().take(64).collect();
            return Err(unsupported(
                &name,
                &format!("tools are of the types `function` and `custom` here, not `{kind}`"),
            ));
        }
        let mut fields = tool.as_object().cloned().unwrap_or_default();
        if fields.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(invalid("A tool needs a 'name'", format!("tools[{at}].name")));
        }
        fields.retain(|key, value| key != "type" && !value.is_null());
        // A grammar's fields have an object of their own there as well.
        if let Some(Value::Object(format)) = fields.get_mut("format")
            && format.get("type").and_then(Value::as_str) == Some("grammar")
        {
            let mut grammar = std::mem::take(format);
            grammar.remove("type");
            *format = Map::from_iter([
                ("type".to_owned(), json!("grammar")),
                ("grammar".to_owned(), Value::Object(grammar)),
            ]);
        }
        let mut tool = Map::from_iter([("type".to_owned(), json!(kind))]);
        tool.insert(kind.to_owned(), Value::Object(fields));
        Ok(Value::Object(tool))
    };
    tools.iter().enumerate().map(nested).collect()
}

fn tool_choice(value: &Value) -> Result<Value, ApiError> {
    let Some(choice) = value.as_object() else { return Ok(value.clone()) };
    let kind = choice.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        "function" | "custom" => Ok(json!({"type": kind, kind: {"name": choice.get("name")}})),
        "allowed_tools" => {
            let named = choice.get("tools").cloned().unwrap_or_else(|| json!([]));
            let named: Vec<Value> = named
                .as_array()
                .into_iter()
                .flatten()
                .map(|tool| {
                    let kind = tool["type"].as_str().unwrap_or("function");
                    json!({"type": kind, kind: {"name": tool["name"]}})
                })
                .collect();
            let mode = choice.get("mode").cloned().unwrap_or_else(|| json!("auto"));
            Ok(json!({"type": kind, "allowed_tools": {"mode": mode, "tools": named}}))
        }
        _ => Err(unsupported("tool_choice.type", "only tools of the client can be chosen")),
    }
}

fn format(value: &Value) -> Result<Value, ApiError> {
    match value["type"].as_str() {
        Some("json_object") => Ok(json!({"type": "json_object"})),
        Some("json_schema") => {
            let mut schema = value.as_object().cloned().unwrap_or_default();
            schema.retain(|key, value| key != "type" && !value.is_null());
            if !schema.get("schema").is_some_and(Value::is_object) {
                return Err(invalid("'text.format.schema' must be a JSON schema", "text.format.schema"));
            }
            Ok(json!({"type": "json_schema", "json_schema": schema}))
        }
        _ => Err(invalid("'text.format.type' is text, json_object or json_schema", "text.format.type")),
    }
}

fn truncation(value: &Value) -> Result<bool, ApiError> {
    match value.as_str() {
        Some("auto") => Ok(true),
        Some("disabled") => Ok(false),
        _ => Err(invalid("'truncation' is `auto` or `disabled`", "truncation")),
    }
}

fn stream_options(value: &Value) -> Result<(), ApiError> {
    let fields =
        value.as_object().ok_or_else(|| invalid("'stream_options' must be an object", "stream_options"))?;
    match fields.iter().find(|(name, value)| {
        !matches!((name.as_str(), value), (_, Value::Null) | ("include_obfuscation", Value::Bool(false)))
    }) {
        None => Ok(()),
        Some((name, _)) => Err(unsupported(&format!("stream_options.{name}"), "events are not padded here")),
    }
}

fn include(value: &Value) -> Result<(), ApiError> {
    let wanted = value.as_array().ok_or_else(|| invalid("'include' must be a list", "include"))?;
    match wanted.iter().position(|wanted| wanted != "reasoning.encrypted_content") {
        None => Ok(()),
        Some(at) => Err(unsupported(&format!("include[{at}]"), "responses have nothing of that kind here")),
    }
}

fn metadata(value: &Value) -> Result<(), ApiError> {
    let fine =
        value.as_object().is_some_and(|all| all.len() <= MAX_METADATA && all.values().all(Value::is_string));
    if fine { Ok(()) } else { Err(invalid("'metadata' must be an object of up to 16 texts", "metadata")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &Value, has_model: bool) -> Result<Params, ApiError> {
        parse(fields.as_object().unwrap(), has_model)
    }

    #[test]
    fn the_page_holds_the_table() {
        let page = include_str!("../../../../../docs/api.md");
        let table = super::super::super::params::markdown(TABLE);
        assert!(page.contains(&table), "docs/api.md must hold:\n\n{table}");
    }

    #[test]
    fn what_is_passed_has_the_shape_of_a_chat_completion() {
        let schema = json!({"type": "object"});
        let fields = json!({
            "tools": [{"type": "function", "name": "f", "parameters": schema, "strict": null}, {"type": "custom", "name": "c"}],
            "tool_choice": {"type": "function", "name": "f"}, "max_output_tokens": 7, "temperature": 0,
            "text": {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": true}, "verbosity": "low"},
            "reasoning": {"effort": "low", "summary": "auto"}, "truncation": "auto", "metadata": {"a": "b"},
        });
        let params = asked(&fields, true).unwrap();
        assert_eq!(
            Value::Object(params.options),
            json!({
                "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}, {"type": "custom", "custom": {"name": "c"}}],
                "tool_choice": {"type": "function", "function": {"name": "f"}}, "max_completion_tokens": 7, "temperature": 0,
                "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": true}},
                "verbosity": "low", "reasoning_effort": "low",
            })
        );
        assert!(params.thoughts && params.truncates);
        assert_eq!(params.said, *fields.as_object().unwrap());
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        for (name, value, param) in [
            ("background", json!(true), "background"),
            ("tools", json!([{"type": "web_search"}]), "tools[0].type"),
            ("include", json!(["message.output_text.logprobs"]), "include[0]"),
            ("prompt", json!({"id": "p"}), "prompt"),
            ("messages", json!([1]), "messages"),
            ("text", json!({"colour": 1}), "text.colour"),
            ("stream_options", json!({"include_usage": true}), "stream_options.include_usage"),
        ] {
            let error = asked(&json!({ name: value }), true).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Some("unsupported_parameter"), Some(param)));
        }
        for (name, value) in [
            ("temperature", json!(0)),
            ("tools", json!([{"type": "function", "name": "f"}])),
            ("reasoning", json!({"effort": "low"})),
            ("text", json!({"format": {"type": "json_object"}})),
        ] {
            let error = asked(&json!({ name: value }), false).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Some("unsupported_parameter"), Some(name)));
        }
        for (name, value) in [
            ("max_output_tokens", json!(0)),
            ("metadata", json!({"a": 1})),
            ("truncation", json!("some")),
            ("text", json!({"format": {"type": "json_schema"}})),
            ("tools", json!([{"type": "function"}])),
        ] {
            assert_eq!(
                asked(&json!({ name: value }), true).unwrap_err().code,
                Some("invalid_value"),
                "{name}"
            );
        }
        let idle = json!({"background": false, "text": {"format": {"type": "text"}}, "temperature": 1.0, "tools": [], "include": [],
            "reasoning": {}, "tool_choice": "auto", "parallel_tool_calls": true, "top_logprobs": 0, "unheard_of": null});
        assert!(asked(&idle, false).unwrap().options.is_empty());
    }
}
