//! Numbers as servers send them: integers, floats, text, or nothing.

use serde_json::Value;

use crate::engine::Usage;

/// A number that counts or points: whole, not negative. A fraction is cut off.
pub(super) fn whole(value: &Value) -> Option<u64> {
    /// Up to here a float holds every integer.
    const MOST: f64 = 9_007_199_254_740_992.0;
    let float = match value {
        Value::Number(number) => match number.as_u64() {
            Some(number) => return Some(number),
            None => number.as_f64()?,
        },
        Value::String(text) => match text.trim().parse() {
            Ok(number) => return Some(number),
            Err(_) => text.trim().parse().ok()?,
        },
        _ => return None,
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is within the range")]
    (0.0..=MOST).contains(&float).then_some(float as u64)
}

/// Counters of one report under the names that providers use; `None` where there is none. Cached input is not counted as input.
fn report(usage: &Value) -> Option<Usage> {
    let count = |paths: &[&str]| paths.iter().find_map(|path| whole(usage.pointer(path)?)).unwrap_or(0);
    let read = count(&[
        "/prompt_tokens_details/cached_tokens",
        "/input_tokens_details/cached_tokens",
        "/prompt_cache_hit_tokens",
        "/cache_read_input_tokens",
        "/cached_tokens",
    ]);
    let written = count(&["/prompt_tokens_details/cache_write_tokens", "/cache_creation_input_tokens"]);
    let usage = Usage {
        input_tokens: count(&["/prompt_tokens", "/input_tokens"])
            .saturating_sub(read)
            .saturating_sub(written),
        output_tokens: count(&["/completion_tokens", "/output_tokens"]),
        cache_read_tokens: read,
        cache_write_tokens: written,
        reasoning_tokens: count(&[
            "/completion_tokens_details/reasoning_tokens",
            "/output_tokens_details/reasoning_tokens",
            "/reasoning_tokens",
        ]),
    };
    (usage != Usage::default()).then_some(usage)
}

/// The usage that a chunk reports, wherever: at the top, in a choice (Moonshot), under `x_groq`.
pub(super) fn usage(chunk: &Value) -> Option<Usage> {
    ["/usage", "/choices/0/usage", "/x_groq/usage"].iter().find_map(|path| report(chunk.pointer(path)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Wires 1: numbers that are not integers where integers are expected.
    #[test]
    fn w1_numbers_of_every_kind() {
        for (value, number) in [
            (json!(3), Some(3)),
            (json!(3.0), Some(3)),
            (json!(3.9), Some(3)),
            (json!("3"), Some(3)),
            (json!(" 3.5 "), Some(3)),
            (json!(u64::MAX), Some(u64::MAX)),
            (json!(1e300), None),
            (json!(-1), None),
            (json!("NaN"), None),
            (json!(null), None),
            (json!([3]), None),
        ] {
            assert_eq!(whole(&value), number, "{value}");
        }
    }

    #[test]
    fn usage_under_other_names() {
        let read = usage(
            &json!({"usage": {"prompt_tokens": 10, "prompt_cache_hit_tokens": 4, "completion_tokens": 2}}),
        )
        .unwrap();
        assert_eq!((read.input_tokens, read.cache_read_tokens, read.output_tokens), (6, 4, 2));
        let odd = usage(
            &json!({"usage": {"prompt_tokens": 1, "prompt_tokens_details": {"cached_tokens": 9}, "completion_tokens": -3}}),
        );
        let odd = odd.unwrap();
        assert_eq!((odd.input_tokens, odd.cache_read_tokens, odd.output_tokens), (0, 9, 0));
        let groq =
            json!({"usage": null, "x_groq": {"usage": {"prompt_tokens": 5.0, "completion_tokens": "6"}}});
        assert_eq!(usage(&groq).map(|usage| (usage.input_tokens, usage.output_tokens)), Some((5, 6)));
        assert_eq!(usage(&json!({"choices": [{"usage": {"output_tokens": 1}}]})).unwrap().output_tokens, 1);
        for none in [
            json!({}),
            json!({"usage": {}}),
            json!({"usage": {"prompt_tokens": 0}}),
            json!({"usage": 7}),
            json!([]),
        ] {
            assert_eq!(usage(&none), None, "{none}");
        }
    }
}
