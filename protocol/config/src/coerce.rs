//! What somebody types after `hermes config set KEY`, as the value of a file: by the key's type where it is known, else by how
//! it looks.
//!
//! A text that does not fit its key is kept as text, and what would fit is said; nothing is guessed. Text with leading zeros
//! never becomes a number.

use serde_json::Value as Json;

use super::row::NO_LIMIT;
use super::scalar::{address, boolean, split_commas, whole};
use super::schema::{Key, Kind};
use super::typed::plain;
use super::yaml;

/// A value, and what it should have been.
#[derive(Debug, Clone, PartialEq)]
pub struct Coerced {
    /// To be written.
    pub value: Json,
    /// `a whole number from 1 to 5`, where it is not that.
    pub wanted: Option<String>,
}

/// A text as a value of `key`; `None`: nobody knows the key's type.
pub fn coerce(key: Option<&Key>, text: &str) -> Coerced {
    let fits = |value| Coerced { value, wanted: None };
    let Some(kind) = key.map(|key| key.kind) else { return fits(by_looks(text)) };
    let word = text.trim();
    match kind {
        Kind::Bool => boolean(word).map(|flag| fits(flag.into())),
        Kind::Int(..) | Kind::Count(_) | Kind::Limit(_) if is_number(word) => {
            whole(word).map(|number| checked(kind, number.into()))
        }
        Kind::Limit(_) if NO_LIMIT.contains(&word.to_ascii_lowercase().as_str()) => Some(fits(word.into())),
        Kind::Seconds(_) | Kind::Number if is_number(word) => {
            number(word).map(|number| checked(kind, number))
        }
        Kind::Text => Some(fits(text.into())),
        Kind::Choice(words) => {
            // As the documentation writes it, whatever the letter case.
            let found = words.iter().find(|known| known.eq_ignore_ascii_case(word));
            found.map(|word| fits((*word).into()))
        }
        Kind::Address => Some(checked(kind, word.into())),
        Kind::List => Some(list(text)),
        Kind::Any => Some(fits(by_looks(text))),
        Kind::Int(..) | Kind::Count(_) | Kind::Limit(_) | Kind::Seconds(_) | Kind::Number | Kind::Section => {
            None
        }
    }
    .unwrap_or_else(|| {
        // `007` is written as the text it is, and read as seven.
        let readable = match kind {
            Kind::Int(low, high) => whole(word).is_some_and(|n| (low..=high).contains(&n)),
            Kind::Count(high) | Kind::Limit(high) => whole(word).is_some_and(|n| n <= high),
            Kind::Seconds(high) => word.parse::<f64>().is_ok_and(|n| n.is_finite() && n <= f64::from(high)),
            _ => false,
        };
        Coerced { value: by_looks(text), wanted: (!readable).then(|| kind.wanted()) }
    })
}

/// A value of any type, for `key`.
pub fn checked_json(key: Option<&Key>, value: Json) -> Coerced {
    match key {
        Some(key) if !value.is_null() => checked(key.kind, value),
        _ => Coerced { value, wanted: None },
    }
}

fn checked(kind: Kind, value: Json) -> Coerced {
    let text = |value: &Json| value.as_str().map(str::to_owned);
    let within = |low: f64, high: f64| value.as_f64().is_some_and(|n| n >= low && n <= high);
    let fits = match kind {
        Kind::Bool => value.is_boolean() || text(&value).is_some_and(|text| boolean(&text).is_some()),
        Kind::Int(low, high) => value.as_i64().is_some_and(|n| (low..=high).contains(&n)),
        Kind::Count(high) => value.as_i64().is_some_and(|n| n <= high),
        Kind::Limit(high) => {
            let none = |text: String| NO_LIMIT.contains(&text.trim().to_ascii_lowercase().as_str());
            value.as_i64().is_some_and(|n| n <= high) || text(&value).is_some_and(none)
        }
        Kind::Seconds(high) => within(f64::MIN, f64::from(high)),
        Kind::Number => value.is_number(),
        Kind::Text => !value.is_array() && !value.is_object(),
        Kind::Choice(words) => {
            text(&value).is_some_and(|text| words.iter().any(|word| word.eq_ignore_ascii_case(text.trim())))
        }
        Kind::Address => text(&value).is_some_and(|text| address(&text).is_some()),
        Kind::List => value.is_array() || value.is_string(),
        Kind::Section => value.is_object(),
        Kind::Any => true,
    };
    Coerced { value, wanted: (!fits).then(|| kind.wanted()) }
}

/// 0.19.0's rule, for keys nobody knows, and negative numbers too.
fn by_looks(text: &str) -> Json {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => return true.into(),
        "false" | "no" | "off" => return false.into(),
        _ => {}
    }
    if is_number(text) { number(text).unwrap_or_else(|| text.into()) } else { text.into() }
}

/// Digits with at most one dot, a minus before them at most, and no zero before another digit.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let all = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    all(before)
        && all(behind)
        && !(before.is_empty() && behind.is_empty())
        && !(before.len() > 1 && before.starts_with('0'))
}

/// `None`: more digits than a number holds.
fn number(text: &str) -> Option<Json> {
    if text.contains('.') {
        return text.parse::<f64>().ok().and_then(serde_json::Number::from_f64).map(Json::Number);
    }
    text.parse::<i64>().map(Json::from).or_else(|_| text.parse::<u64>().map(Json::from)).ok()
}

/// `a, b` or `[a, b]`; the items are texts.
fn list(text: &str) -> Coerced {
    let text = text.trim();
    if !text.starts_with('[') {
        let items: Vec<Json> = split_commas(text).into_iter().map(Json::from).collect();
        return Coerced { value: items.into(), wanted: None };
    }
    let (node, flaws) = yaml::parse(text.as_bytes());
    let items = match node.as_deref().map(|node| &node.value) {
        Some(yaml::Value::Seq(items)) if flaws.iter().all(|flaw| !flaw.fatal) => {
            items.iter().map(|item| plain(item)).collect()
        }
        _ => return Coerced { value: text.into(), wanted: Some(Kind::List.wanted()) },
    };
    Coerced { value: Json::Array(items), wanted: None }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::schema;
    use super::*;

    fn typed(path: &str, text: &str) -> (Json, bool) {
        let key = schema::find(&crate::REGISTRY, path.split('.')).unwrap();
        let Coerced { value, wanted } = coerce(key, text);
        (value, wanted.is_none())
    }

    #[test]
    fn without_a_type_the_looks_decide() {
        for (text, value) in [
            ("true", json!(true)),
            ("Yes", json!(true)),
            ("ON", json!(true)),
            ("off", json!(false)),
            ("no", json!(false)),
            ("7", json!(7)),
            ("0", json!(0)),
            ("-3", json!(-3)),
            ("-0.5", json!(-0.5)),
            (".5", json!(0.5)),
            ("1.", json!(1.0)),
            ("123456789012345678", json!(123_456_789_012_345_678_i64)),
            ("18446744073709551615", json!(u64::MAX)),
            ("007", json!("007")),
            ("00.5", json!("00.5")),
            ("-01", json!("-01")),
            ("1e5", json!("1e5")),
            ("1.2.3", json!("1.2.3")),
            ("99999999999999999999999", json!("99999999999999999999999")),
            ("null", json!("null")),
            ("[1,2]", json!("[1,2]")),
            ("", json!("")),
            (".", json!(".")),
            ("-", json!("-")),
            ("+5", json!("+5")),
            (" 5", json!(" 5")),
            ("１２", json!("１２")),
        ] {
            assert_eq!(coerce(None, text).value, value, "{text:?}");
        }
    }

    #[test]
    fn with_a_type_the_type_decides() {
        assert_eq!(typed("approvals.mode", "off"), (json!("off"), true));
        assert_eq!(typed("model.default", "007"), (json!("007"), true));
        assert_eq!(typed("model.default", "true"), (json!("true"), true));
        assert_eq!(typed("gateway.multiplex_profiles", "1"), (json!(true), true));
        assert_eq!(typed("gateway.multiplex_profiles", "maybe"), (json!("maybe"), false));
        assert_eq!(typed("agent.max_turns", "50"), (json!(50), true));
        for any in [json!(0), json!(-1), json!("none"), json!("Unlimited")] {
            let typed_in = any.as_str().map_or_else(|| any.to_string(), str::to_owned);
            assert_eq!(typed("agent.max_turns", &typed_in), (any, true));
        }
        assert_eq!(typed("agent.max_turns", "100001"), (json!(100_001), false));
        assert_eq!(typed("agent.max_turns", "many"), (json!("many"), false));
        assert_eq!(typed("agent.max_turns", "007"), (json!("007"), true));
        assert_eq!(typed("agent.max_turns", "0x7"), (json!("0x7"), false));
        assert_eq!(typed("agent.api_max_retries", "-1"), (json!(-1), true));
        assert_eq!(typed("agent.gateway_timeout", "2.5"), (json!(2.5), true));
        assert_eq!(typed("agent.gateway_timeout", "30s"), (json!("30s"), false));
        assert_eq!(typed("agent.engine", "Echo"), (json!("echo"), true));
        assert_eq!(typed("agent.engine", "smart"), (json!("smart"), false));
        assert_eq!(typed("gateway.listen", "127.0.0.1:8644"), (json!("127.0.0.1:8644"), true));
        assert_eq!(typed("gateway.listen", "8644"), (json!("8644"), false));
        assert_eq!(typed("gateway.shared_env", "A, B"), (json!(["A", "B"]), true));
        assert_eq!(typed("gateway.shared_env", "[A, '007']"), (json!(["A", "007"]), true));
        assert_eq!(typed("gateway.shared_env", "[A"), (json!("[A"), false));
        assert_eq!(typed("gateway.shared_env", ""), (json!([]), true));
        assert_eq!(typed("telegram.anything", "5"), (json!(5), true));
    }
}
