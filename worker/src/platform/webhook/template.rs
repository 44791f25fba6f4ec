//! Prompt templates: `{path.into.payload}` in one pass. What was put in is not looked at again.

use super::tree::{Full, Node, Out};

/// Longest dump of a whole payload, in characters.
const RAW_LIMIT: usize = 4000;
/// Longest dump of a part of it.
const PART_LIMIT: usize = 2000;
/// Marks a dump that was cut.
const CUT: &str = "… [truncated]";

/// Fills in a template.
pub(super) fn render(template: &str, payload: &Node, event_type: &str) -> String {
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
pub(super) fn default_prompt(payload: &Node, event_type: &str, route: &str) -> String {
    format!("Webhook event '{event_type}' on route '{route}':\n\n```json\n{}\n```", dump(payload, RAW_LIMIT))
}

/// The path of `{path}` at the start of `text`.
fn placeholder(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('{')?;
    let end = inner.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_' || b == b'.'))?;
    (end > 0 && inner.as_bytes()[end] == b'}').then(|| &inner[..end])
}

fn fill(out: &mut String, path: &str, payload: &Node, event_type: &str) {
    match path {
        "__raw__" => out.push_str(&dump(payload, RAW_LIMIT)),
        "event_type" => out.push_str(event_type),
        _ => match lookup(payload, path.split('.')) {
            Some(Node::Text(text)) => out.push_str(text),
            Some(Node::Plain(text)) => out.push_str(text),
            Some(part @ (Node::Map(_) | Node::List(_))) => out.push_str(&dump(part, PART_LIMIT)),
            None => {
                out.push('{');
                out.push_str(path);
                out.push('}');
            }
        },
    }
}

/// Walks objects by key and lists by index.
pub(super) fn lookup<'v, 'p>(root: &'v Node, mut path: impl Iterator<Item = &'p str>) -> Option<&'v Node> {
    path.try_fold(root, |at, key| match at {
        Node::List(items) => key.parse::<usize>().ok().and_then(|index| items.get(index)),
        other => other.get(key),
    })
}

/// Indented JSON of at most `limit` characters, and a mark where it was cut. Costs what is shown, not what there is.
fn dump(value: &Node, limit: usize) -> String {
    let mut out = Bounded { text: String::new(), room: limit };
    if value.write(&mut out, Some(0)) == Err(Full) {
        out.text.push_str(CUT);
    }
    out.text
}

/// Takes so many characters and then refuses.
struct Bounded {
    text: String,
    room: usize,
}

impl Out for Bounded {
    fn push(&mut self, piece: &str) -> Result<(), Full> {
        if let Some((at, _)) = piece.char_indices().nth(self.room) {
            self.text.push_str(&piece[..at]);
            self.room = 0;
            return Err(Full);
        }
        self.text.push_str(piece);
        self.room -= piece.chars().count();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::webhook::tree::json;

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

    /// Wires 8: digit for digit, in a field and in a dump.
    #[test]
    fn w8_numbers_reach_the_prompt_as_they_came() {
        let payload =
            r#"{"id":12345678901234567890123,"price":1.10,"huge":1e400,"list":[-0.0,1E5],"id2":1,"id2":2}"#;
        let payload = Node::parse(payload.as_bytes()).unwrap();
        assert_eq!(
            render("{id} {price} {huge} {list.0} {id2}", &payload, ""),
            "12345678901234567890123 1.10 1e400 -0.0 2"
        );
        let dumped = "{\n  \"id\": 12345678901234567890123,\n  \"price\": 1.10,\n  \"huge\": 1e400,\n  \"list\": [\n    -0.0,\n    1E5\n  ],\n  \"id2\": 1,\n  \"id2\": 2\n}";
        assert_eq!(render("{__raw__}", &payload, ""), dumped);
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
