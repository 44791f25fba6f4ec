//! What a provider says went wrong, wherever in its JSON it says so.
//!
//! Shapes come from OpenAI, Azure, vLLM (`{"object":"error",…}`), TGI (`error_type`), llama.cpp, FastAPI and pydantic (`detail`,
//! `loc`), Google (lists), OpenRouter (`metadata.raw`), Anthropic (`{"type":"error",…}`), MiniMax (`base_resp`), Cloudflare
//! (`errors`), Alibaba, Baidu, Apigee and RFC 7807.

use serde_json::Value;

use super::Fault;

/// Where a sentence is looked for, in this order.
const SENTENCES: [&str; 18] = [
    "error",
    "message",
    "detail",
    "msg",
    "error_msg",
    "error_message",
    "errorMessage",
    "errors",
    "status_msg",
    "Message",
    "fault",
    "faultstring",
    "error_description",
    "description",
    "details",
    "title",
    "reason",
    "base_resp",
];

/// How deep a sentence may hide.
const MAX_DEPTH: u8 = 6;

/// So many of several errors are told.
const MAX_ERRORS: usize = 3;

/// An error as the provider puts it. Raw: not for people before it was cleaned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Said {
    /// The HTTP status that the body names, 400 to 599.
    pub(crate) status: Option<u16>,
    /// What the error calls itself (`code`, `type`), or nothing.
    pub(crate) word: String,
    /// The sentence, or nothing.
    pub(crate) message: String,
}

impl Said {
    /// What an error body, or the error in it, says.
    pub(crate) fn of(error: &Value) -> Self {
        Self {
            status: status(error),
            word: word(error).unwrap_or_default().to_owned(),
            message: sentence(error, MAX_DEPTH).unwrap_or_default(),
        }
    }

    /// An error that is only text.
    pub(crate) fn text(text: &str) -> Self {
        Self { message: sentence(&Value::from(text), MAX_DEPTH).unwrap_or_default(), ..Self::default() }
    }

    /// What it means, where no status line tells.
    pub(crate) fn fault(&self) -> Fault {
        if let Some(status) = self.status {
            return Fault::of_answer(status, &self.word, &self.message);
        }
        match Fault::of_answer(400, &self.word, &self.message) {
            // Nothing in it names money, the key or the model.
            Fault::Request => {}
            named => return named,
        }
        let squeezed = |text: &str| -> String {
            text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
        };
        let (word, sentence) = (squeezed(&self.word), squeezed(&self.message));
        let gone = ["notfound", "doesnotexist"].iter().any(|sign| sentence.contains(sign));
        // A word says it more surely than a sentence does.
        let told = by_signs(&word, &WORDS).or_else(|| by_signs(&sentence, &PHRASES));
        let no_model = (gone && sentence.contains("model")).then_some(Fault::Setup);
        told.or(no_model).unwrap_or(Fault::Overloaded)
    }
}

/// Parts of codes and types, squeezed to small letters and digits.
const WORDS: [(&str, Fault); 23] = [
    ("ratelimit", Fault::Limited),
    ("toomanyrequests", Fault::Limited),
    ("resourceexhausted", Fault::Limited),
    ("throttl", Fault::Limited),
    ("quota", Fault::Limited),
    ("auth", Fault::Key),
    ("permission", Fault::Key),
    ("forbidden", Fault::Key),
    ("apikey", Fault::Key),
    ("accessdenied", Fault::Key),
    ("notfound", Fault::Setup),
    ("contextlength", Fault::TooLong),
    ("badrequest", Fault::Request),
    ("invalid", Fault::Request),
    ("validation", Fault::Request),
    ("unprocessable", Fault::Request),
    ("unsupported", Fault::Request),
    ("valueerror", Fault::Request),
    ("typeerror", Fault::Request),
    ("contentfilter", Fault::Request),
    ("contentpolicy", Fault::Request),
    ("moderation", Fault::Request),
    ("sensitive", Fault::Request),
];

/// Parts of sentences, squeezed.
const PHRASES: [(&str, Fault); 14] = [
    ("ratelimit", Fault::Limited),
    ("toomanyrequests", Fault::Limited),
    ("notauthenticated", Fault::Key),
    ("unauthorized", Fault::Key),
    ("unauthenticated", Fault::Key),
    ("authenticationerror", Fault::Key),
    ("permissiondenied", Fault::Key),
    ("invalidapikey", Fault::Key),
    ("incorrectapikey", Fault::Key),
    ("invalidtoken", Fault::Key),
    ("modelnotfound", Fault::Setup),
    ("contextlength", Fault::TooLong),
    ("validationerror", Fault::Request),
    ("extrainputsarenotpermitted", Fault::Request),
];

fn by_signs(text: &str, signs: &[(&str, Fault)]) -> Option<Fault> {
    signs.iter().find(|(sign, _)| text.contains(sign)).map(|(_, fault)| *fault)
}

/// The error that an answer with status 200 reports in place of, or amid, the answer. `named`: its event was called `error`.
pub(crate) fn within(answer: &Value, named: bool) -> Option<Said> {
    let choices = answer.get("choices").filter(|choices| !choices.is_null());
    let nested = [answer.get("error"), answer.pointer("/choices/0/error")];
    if let Some(error) = nested.into_iter().flatten().find(|error| is_something(error)) {
        let (inner, outer) = (Said::of(error), Said::of(answer));
        return Some(Said {
            status: inner.status.or(outer.status),
            word: if inner.word.is_empty() { outer.word } else { inner.word },
            message: if inner.message.is_empty() { error.to_string() } else { inner.message },
        });
    }
    let is = |key: &str, word: &str| answer.get(key).and_then(Value::as_str) == Some(word);
    let declared = named
        || is("object", "error")
        || is("type", "error")
        || is("status", "error")
        || answer.get("success") == Some(&Value::Bool(false))
        || answer.pointer("/base_resp/status_code").is_some_and(is_something);
    // `{"code": 0, "msg": "ok"}` is none.
    let fine =
        ["code", "status"].iter().filter_map(|key| answer.get(key)?.as_u64()).any(|n| matches!(n, 0 | 200));
    let said = Said::of(answer);
    let told = choices.is_none() && !fine && !said.message.is_empty();
    (declared || told).then_some(said)
}

/// Whether a value says more than "none".
fn is_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.trim().is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// The sentence in a value: providers agree on little more than that there is one.
fn sentence(value: &Value, depth: u8) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::String(text) if text.trim().is_empty() => None,
        // The error of a server behind this one.
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            let inner = serde_json::from_str(text).ok().and_then(|inner| sentence(&inner, depth));
            Some(inner.unwrap_or_else(|| text.clone()))
        }
        Value::String(text) => Some(text.clone()),
        Value::Array(items) => {
            let all: Vec<String> =
                items.iter().take(MAX_ERRORS).filter_map(|item| sentence(item, depth)).collect();
            (!all.is_empty()).then(|| all.join("; "))
        }
        Value::Object(map) => {
            let found = SENTENCES.iter().find_map(|key| sentence(map.get(*key)?, depth))?;
            let place = location(value).filter(|place| !found.contains(place.as_str()));
            let raw = value.pointer("/metadata/raw").and_then(|raw| sentence(raw, depth));
            let raw = raw.filter(|raw| !found.contains(raw.as_str()));
            let found = place.map_or(found.clone(), |place| format!("`{place}`: {found}"));
            Some(raw.map_or(found.clone(), |raw| format!("{found}: {raw}")))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// The parameter that an error is about: `param`, or pydantic's `loc` without the part that is always there.
fn location(error: &Value) -> Option<String> {
    let plain =
        |value: &Value| value.as_str().map(str::to_owned).or_else(|| Some(value.as_u64()?.to_string()));
    let place = match (error.get("param"), error.get("loc")) {
        (Some(Value::String(param)), _) => param.clone(),
        (_, Some(Value::Array(loc))) => {
            let parts: Vec<String> = loc.iter().filter_map(plain).filter(|part| part != "body").collect();
            parts.join(".")
        }
        _ => return None,
    };
    (!place.trim().is_empty()).then_some(place)
}

/// The values that describe an error itself: those of the object in it first.
fn layers(error: &Value) -> impl Iterator<Item = &Value> {
    let first = if let Value::Array(all) = error { all.first() } else { Some(error) };
    let inner = |key: &str| match first?.get(key)? {
        Value::Array(all) => all.first(),
        one => Some(one),
    };
    ["error", "errors", "detail", "base_resp"].map(inner).into_iter().flatten().chain(first)
}

fn word(error: &Value) -> Option<&str> {
    const KEYS: [&str; 7] = ["code", "type", "error_type", "error_code", "status", "Code", "__type"];
    fn of_layer(layer: &Value) -> Option<&str> {
        // The list that pydantic makes of what it refuses.
        if layer.get("loc").is_some() {
            return Some("validation_error");
        }
        let words = KEYS.iter().filter_map(|key| layer.get(*key)?.as_str());
        words.filter(|word| !word.is_empty() && word.parse::<f64>().is_err()).find(|word| *word != "error")
    }
    layers(error).find_map(of_layer)
}

fn status(error: &Value) -> Option<u16> {
    const KEYS: [&str; 7] =
        ["code", "status", "status_code", "statusCode", "error_code", "http_status", "httpStatus"];
    let number = |value: &Value| {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
        (400_u16..600).find(|status| (f64::from(*status) - number).abs() < 0.5)
    };
    layers(error).find_map(|layer| KEYS.iter().find_map(|key| number(layer.get(key)?)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sentences_are_found_where_providers_hide_them() {
        for (body, message) in [
            (json!({"error": {"message": "m", "type": "t"}}), "m"),
            (json!({"error": "m"}), "m"),
            (json!({"message": "m"}), "m"),
            (json!({"detail": "m"}), "m"),
            (json!({"detail": {"error": "m"}}), "m"),
            (json!([{"error": {"code": 400, "message": "m"}}]), "m"),
            (json!({"detail": [{"loc": ["body", "max_tokens"], "msg": "m"}]}), "`max_tokens`: m"),
            (json!({"detail": [{"loc": ["body"], "msg": "m"}, {"msg": "n"}]}), "m; n"),
            (json!({"error": {"message": "m", "param": "p"}}), "`p`: m"),
            (json!({"error": {"message": "m of p", "param": "p"}}), "m of p"),
            (
                json!({"error": {"message": "m", "metadata": {"raw": "{\"error\":{\"message\":\"n\"}}"}}}),
                "m: n",
            ),
            (json!({"error": "{\"message\":\"m\"}"}), "m"),
            (json!({"success": false, "errors": [{"code": 7003, "message": "m"}]}), "m"),
            (json!({"base_resp": {"status_code": 1004, "status_msg": "m"}}), "m"),
            (json!({"Code": "c", "Message": "m"}), "m"),
            (json!({"fault": {"faultstring": "m"}}), "m"),
            (json!({"title": "m", "status": 503}), "m"),
            (json!({"code": 1}), ""),
        ] {
            assert_eq!(Said::of(&body).message, message, "{body}");
        }
    }

    /// Wires 1: an error is found in every shape, and means what it says.
    #[test]
    fn w1_errors_within_an_answer() {
        for (answer, fault) in [
            (json!({"error": {"code": 401, "message": "m"}}), Fault::Key),
            (json!({"error": {"code": "429", "message": "m"}}), Fault::Limited),
            (json!({"error": {"code": 503.0, "message": "m"}}), Fault::Overloaded),
            (json!({"error": {"code": "insufficient_quota", "message": "m"}}), Fault::Quota),
            (json!({"error": {"type": "authentication_error", "message": "m"}}), Fault::Key),
            (
                json!({"type": "error", "error": {"type": "overloaded_error", "message": "m"}}),
                Fault::Overloaded,
            ),
            (
                json!({"object": "error", "message": "m", "type": "BadRequestError", "code": 400}),
                Fault::Request,
            ),
            (json!({"object": "error", "message": "m", "type": "NotFoundError", "code": null}), Fault::Setup),
            (json!({"error": "m", "error_type": "validation"}), Fault::Request),
            (json!({"error": "m", "error_type": "overloaded"}), Fault::Overloaded),
            (json!({"detail": "Not authenticated"}), Fault::Key),
            (
                json!({"detail": [{"loc": ["body", "x"], "msg": "m", "type": "extra_forbidden"}]}),
                Fault::Request,
            ),
            (json!({"message": "m", "code": "rate_limit_exceeded"}), Fault::Limited),
            (json!({"message": "m", "type": "invalid_request_error"}), Fault::Request),
            (
                json!({"choices": [{"index": 0, "error": {"code": 502, "message": "m"}, "finish_reason": "error"}]}),
                Fault::Overloaded,
            ),
            (
                json!({"choices": null, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}),
                Fault::Quota,
            ),
            (json!({"error": {"status": "RESOURCE_EXHAUSTED", "code": 8, "message": "m"}}), Fault::Limited),
            (json!({"error": {"odd": 1}}), Fault::Overloaded),
            (json!({"error": true, "message": "m"}), Fault::Overloaded),
        ] {
            let said = within(&answer, false).unwrap_or_else(|| panic!("{answer}"));
            assert_eq!(said.fault(), fault, "{answer}");
            assert!(!said.message.is_empty(), "{answer}");
        }
        for fine in [
            json!({"choices": [{"delta": {"content": "m"}}]}),
            json!({"choices": [], "error": null}),
            json!({"choices": [{"delta": {"content": "error"}}], "error": {}, "base_resp": {"status_code": 0, "status_msg": ""}}),
            json!({"error": "", "id": "x"}),
            json!({"code": 0, "msg": "ok"}),
            json!({"type": "ping"}),
            json!({"choices": [], "usage": {}}),
            json!({"message": {"role": "assistant", "content": "m"}}),
        ] {
            assert_eq!(within(&fine, false), None, "{fine}");
        }
        assert_eq!(within(&json!({"choices": []}), true), Some(Said::default()));
    }
}
