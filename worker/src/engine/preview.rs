//! What a call of a tool is about, in a few words, for whoever looks on.

use serde_json::Value;

/// Longest, in characters.
const LONGEST: usize = 80;
/// Arguments that say most, the first one that there is.
const TELLING: [&str; 14] = [
    "command", "path", "urls", "url", "query", "pattern", "name", "action", "question", "task", "tasks",
    "text", "message", "content",
];

/// Of arguments as the model wrote them.
pub(super) fn of(arguments: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(arguments).ok();
    let telling = parsed.as_ref().and_then(|all| TELLING.iter().find_map(|name| all.get(name)));
    match telling {
        Some(Value::String(text)) => short(text),
        Some(other) => short(&other.to_string()),
        None if parsed.as_ref().is_some_and(|all| all.as_object().is_some_and(serde_json::Map::is_empty)) => {
            String::new()
        }
        None => short(arguments),
    }
}

/// One line, without what a terminal would act upon.
pub(super) fn short(text: &str) -> String {
    let mut shown = String::new();
    let mut length = 0;
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        let word = if shown.is_empty() { word.to_owned() } else { format!(" {word}") };
        for c in word.chars() {
            if length == LONGEST {
                shown.push('…');
                return shown;
            }
            shown.push(c);
            length += 1;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_telling_argument_is_one_short_line() {
        for (arguments, expected) in [
            (r#"{"timeout": 5, "command": "ls\n  -l\u001b[31m"}"#, "ls -l [31m"),
            (r#"{"urls": ["http://a"]}"#, r#"["http://a"]"#),
            (r#"{"other": 1}"#, r#"{"other": 1}"#),
            ("{}", ""),
            ("", ""),
            ("half of {", "half of {"),
        ] {
            assert_eq!(of(arguments), expected, "{arguments}");
        }
        assert_eq!(of(&format!(r#"{{"command": "{}"}}"#, "ä".repeat(90))), format!("{}…", "ä".repeat(80)));
    }
}
