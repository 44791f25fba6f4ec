//! JSON on one line, as 0.19.0 prints it: a blank behind commas and colons, letters as they are.

use hermes_wire::spaced::Spaced;
use serde::Serialize as _;
use serde_json::Value;
use serde_json::ser::Serializer;

/// The value on one line.
pub(super) fn compact(value: &Value) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Spaced));
    // Writing to memory does not fail, and a value holds nothing that JSON cannot.
    written.ok().and_then(|()| String::from_utf8(bytes).ok()).unwrap_or_else(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_line_with_blanks() {
        let value = json!({"a": [1, 2.5, true, null], "ü": {"x": "é\n"}, "e": [], "f": {}});
        assert_eq!(compact(&value), r#"{"a": [1, 2.5, true, null], "ü": {"x": "é\n"}, "e": [], "f": {}}"#);
    }
}
