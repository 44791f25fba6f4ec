//! Prompt templates: `{path.into.payload}` in one pass. What was put in is not looked at again.

use std::io;

use serde_json::Value;

/// Longest dump of a whole payload, in characters.
const RAW_LIMIT: usize = 4000;
/// Longest dump of a part of it.
const PART_LIMIT: usize = 2000;
/// Marks a dump that was cut.
const CUT: &str = "… [truncated]";

/// Fills in a template.
pub(super) fn render(template: &str, payload: &Value, event_type: &str) -> String {
    let mut out = String::with_capacity(template.len() + 64);
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        out.push_str(&rest[..open]);
        rest = &rest[open..];
        if let Some(path) = placeholder(rest) {
            fill(&mut out, path, payload, event_type);
            rest = &rest[path.len() + 2..];
        } else {
            out.push('{');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

/// What stands for an empty template.
pub(super) fn default_prompt(payload: &Value, event_type: &str, route: &str) -> String {
    format!("Webhook event '{event_type}' on route '{route}':\n\n```json\n{}\n```", dump(payload, RAW_LIMIT))
}

/// The path of `{path}` at the start of `text`.
fn placeholder(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let end = inner.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_' || b == b'.'))?;
    (end > 0 && inner.as_bytes()[end] == b'}').then(|| &inner[..end])
}

fn fill(out: &mut String, path: &str, payload: &Value, event_type: &str) {
    match path {
        "__raw__" => out.push_str(&dump(payload, RAW_LIMIT)),
        "event_type" => out.push_str(event_type),
        _ => match lookup(payload, path.split('.')) {
            Some(Value::String(text)) => out.push_str(text),
            Some(part @ (Value::Object(_) | Value::Array(_))) => out.push_str(&dump(part, PART_LIMIT)),
            Some(scalar) => out.push_str(&scalar.to_string()),
            None => {
                out.push('{');
                out.push_str(path);
                out.push('}');
            }
        },
    }
}

/// Walks objects by key and lists by index.
pub(super) fn lookup<'v, 'p>(root: &'v Value, mut path: impl Iterator<Item = &'p str>) -> Option<&'v Value> {
    path.try_fold(root, |at, key| match at {
        Value::Object(map) => map.get(key),
        Value::Array(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
        _ => None,
    })
}

/// Indented JSON of at most `limit` characters, and a mark where it was cut. Costs what is shown, not what there is.
fn dump(value: &Value, limit: usize) -> String {
    let mut out = Bounded { bytes: Vec::new(), limit: limit * 4 };
    // The only error is that enough was written.
    let whole = serde_json::to_writer_pretty(&mut out, value).is_ok();
    let text = match std::str::from_utf8(&out.bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&out.bytes[..error.valid_up_to()]).unwrap_or_default(),
    };
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}{CUT}", &text[..at]),
        None if whole => text.to_owned(),
        None => format!("{text}{CUT}"),
    }
}

/// Takes so many bytes and then refuses.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.limit - self.bytes.len();
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let taken = bytes.len().min(room);
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_are_filled_once_and_unknown_ones_stay() {
        let payload = json!({"a": {"b": "{a.c}", "c": 1.5, "t": true, "n": null}, "l": [{"x": "y"}], "event_type": "no"});
        for (template, expected) in [
            ("{a.b} {a.c} {a.t} {a.n}", "{a.c} 1.5 true null"),
            ("{l.0.x}{l.1.x}{l.x}", "y{l.1.x}{l.x}"),
            ("{event_type}|{missing}|{a.b.c}", "push|{missing}|{a.b.c}"),
            ("{{a.c}} { a.c } {} {ä} {a", "{1.5} { a.c } {} {ä} {a"),
            ("{l}", "[\n  {\n    \"x\": \"y\"\n  }\n]"),
            ("", ""),
        ] {
            assert_eq!(render(template, &payload, "push"), expected, "{template}");
        }
    }

    #[test]
    fn dumps_are_cut_by_characters_and_say_so() {
        let payload = json!({"text": "ä".repeat(10_000)});
        let raw = render("{__raw__}", &payload, "");
        assert_eq!(raw.chars().count(), RAW_LIMIT + CUT.chars().count());
        assert!(raw.starts_with("{\n  \"text\": \"ää") && raw.ends_with(CUT));
        let part = render("{part}", &json!({"part": {"text": "x".repeat(10_000)}}), "");
        assert_eq!(part.chars().count(), PART_LIMIT + CUT.chars().count());
        let wide = render("{__raw__}", &json!({"text": "😀".repeat(5000)}), "");
        assert_eq!(wide.chars().count(), RAW_LIMIT + CUT.chars().count());
    }

    #[test]
    fn an_empty_template_shows_the_payload() {
        assert_eq!(
            default_prompt(&json!({"a": 1}), "push", "gh"),
            "Webhook event 'push' on route 'gh':\n\n```json\n{\n  \"a\": 1\n}\n```"
        );
    }
}
