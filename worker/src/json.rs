//! JSON that somebody else wrote: the one way it becomes values.
//!
//! Programs that cut texts by UTF-16 units (JavaScript, Java, Windows) write half a character as `\ud83e`, which JSON's grammar
//! allows and no text can hold. It becomes U+FFFD, as every browser does it; strict parsers, ours among them, would refuse the whole
//! body for it. A byte order mark in front is skipped. Everything else is the parser's to judge. Only the parser sees the repaired
//! copy: signatures are computed over what came.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The digits of U+FFFD.
const REPLACEMENT: [u8; 4] = *b"fffd";

/// The value that `bytes` spell.
pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(&repaired(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)))
}

/// A value without the members of its objects that are `null`: to whoever reads shapes with defaults, absent is one thing and not two.
pub(crate) fn without_nulls(mut value: Value) -> Value {
    match &mut value {
        Value::Object(fields) => {
            fields.retain(|_, field| !field.is_null());
            fields.values_mut().for_each(|field| *field = without_nulls(field.take()));
        }
        Value::Array(all) => all.iter_mut().for_each(|one| *one = without_nulls(one.take())),
        _ => {}
    }
    value
}

/// `bytes` with every half of a surrogate pair that stands alone written as U+FFFD, of the same length.
///
/// JSON has backslashes inside strings only, where each begins an escape of two or six bytes: walking from one to the next needs no
/// other knowledge of the grammar. Outside of strings a backslash is an error before and after.
pub(crate) fn repaired(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut repaired = Cow::Borrowed(bytes);
    let mut at = 0;
    while let Some(found) = bytes[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        let Some(unit) = unit(bytes, at) else {
            at = bytes.len().min(at + 2);
            continue;
        };
        let is_pair = (0xd800..0xdc00).contains(&unit)
            && self::unit(bytes, at + 6).is_some_and(|low| (0xdc00..0xe000).contains(&low));
        if is_pair {
            at += 12;
            continue;
        }
        if (0xd800..0xe000).contains(&unit) {
            repaired.to_mut()[at + 2..at + 6].copy_from_slice(&REPLACEMENT);
        }
        at += 6;
    }
    repaired
}

/// What is there; the default where it is `null`, which many write for what there is none of.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// The UTF-16 unit of a `\uXXXX` that begins at `at`.
fn unit(bytes: &[u8], at: usize) -> Option<u32> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_null_is_absent() {
        let value = json!({"a": null, "b": [null, {"c": null, "d": 0}], "e": ""});
        assert_eq!(without_nulls(value), json!({"b": [null, {"d": 0}], "e": ""}));
        assert_eq!(without_nulls(Value::Null), Value::Null);
    }

    /// Wires 7: half a character is U+FFFD, a whole one is itself, and an escaped backslash is no escape.
    #[test]
    fn half_a_character_becomes_the_replacement() {
        for (json, text) in [
            (r#""\ud83e\udd80""#, "🦀"),
            (r#""\uD83E\uDD80!""#, "🦀!"),
            (r#""\ud83e""#, "\u{fffd}"),
            (r#""\udd80 x""#, "\u{fffd} x"),
            (r#""\ud83e\ud83e\udd80""#, "\u{fffd}🦀"),
            (r#""\udd80\ud83e""#, "\u{fffd}\u{fffd}"),
            (r#""\ud83e\u0041""#, "\u{fffd}A"),
            (r#""\ud83e\n""#, "\u{fffd}\n"),
            (r#""\\ud83e""#, "\\ud83e"),
            (r#""\\\ud83e""#, "\\\u{fffd}"),
            (r#""\\\\ud83e""#, "\\\\ud83e"),
        ] {
            assert_eq!(parse(json.as_bytes()).unwrap(), json!(text), "{json}");
        }
        let key = parse(br#"{"a\udfff": ["\ud800"]}"#).unwrap();
        assert_eq!(key, json!({"a\u{fffd}": ["\u{fffd}"]}));
        assert_eq!(parse(b"\xef\xbb\xbf{}").unwrap(), json!({}));
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for bad in [
            &b"\"\\ud83\""[..],
            b"\"\\ud83",
            b"\"\\",
            b"\\ud83e",
            b"\"\\ud83e",
            b"\"\xed\xa0\xbe\"",
            b"\"\\ug000\"",
            b"",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        /// What the strict parser accepts, it accepts after the repair with the same meaning: nothing else is touched.
        #[test]
        fn strict_json_is_left_alone(text in any::<String>(), bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let strict = serde_json::to_vec(&text).unwrap();
            prop_assert_eq!(&*repaired(&strict), &strict[..]);
            let strict = serde_json::from_slice::<Value>(&bytes);
            if let Ok(value) = strict {
                prop_assert_eq!(parse(&bytes).ok(), Some(value));
            }
            prop_assert_eq!(repaired(&bytes).len(), bytes.len());
        }
    }
}
