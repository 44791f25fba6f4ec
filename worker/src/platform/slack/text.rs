//! What a message of Slack says, in words: its own text, what stands in its blocks and attachments only, and Slack's signs read. Pure.

use serde_json::Value;

use super::wire::Message;

/// Characters of one attachment, and of what stands in blocks only.
const ATTACHMENT: usize = 500;
const BLOCKS: usize = 6000;
/// Most nested parts of blocks.
const DEPTH: usize = 12;

/// What a message says; `me` is the bot's own id, whose mention is no part of what is said.
pub(super) fn said(message: &Message, me: &str) -> String {
    let mut text = read(&message.text, me);
    let mut blocks = String::new();
    for block in &message.blocks {
        // What people write stands in both; what apps write may stand in blocks only.
        if text.is_empty() || block["type"] != "rich_text" {
            gather(block, 0, &mut blocks);
        }
    }
    let shown = read(blocks.trim(), me);
    if !shown.is_empty() && !is_in(&text, &shown) {
        let cut: String = shown.chars().take(BLOCKS).collect();
        join(&mut text, cut.trim_end());
    }
    for attachment in &message.attachments {
        let said = attached(attachment, me);
        if !said.is_empty() && !is_in(&text, &said) {
            let cut: String = said.chars().take(ATTACHMENT).collect();
            join(&mut text, &format!("[attachment: {cut}]"));
        }
    }
    text
}

fn join(text: &mut String, more: &str) {
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(more);
}

/// Whether a text says something already, whatever white space is between.
fn is_in(text: &str, part: &str) -> bool {
    let bare = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let part = bare(part);
    !part.is_empty() && bare(text).contains(&part)
}

fn attached(attachment: &Value, me: &str) -> String {
    let of = |key: &str| attachment[key].as_str().map(str::trim).filter(|text| !text.is_empty());
    let parts: Vec<&str> = ["pretext", "author_name", "title", "text"].into_iter().filter_map(of).collect();
    let parts = if parts.is_empty() { of("fallback").into_iter().collect() } else { parts };
    read(&parts.join(" · "), me)
}

/// The texts of a block, in order.
fn gather(value: &Value, depth: usize, out: &mut String) {
    if depth > DEPTH || out.len() > 4 * BLOCKS {
        return;
    }
    match value {
        Value::Array(all) => all.iter().for_each(|one| gather(one, depth + 1, out)),
        Value::Object(fields) => {
            let of = |key: &str| fields.get(key).and_then(Value::as_str);
            match of("type") {
                Some("text" | "mrkdwn" | "plain_text") => out.push_str(of("text").unwrap_or_default()),
                Some("link") => out.push_str(of("text").or_else(|| of("url")).unwrap_or_default()),
                Some("user") => out.push_str(&of("user_id").map(|id| format!("<@{id}>")).unwrap_or_default()),
                Some("emoji") => {
                    out.push_str(&of("name").map(|name| format!(":{name}:")).unwrap_or_default());
                }
                // Buttons and menus say nothing.
                Some("actions") => {}
                _ => {
                    for key in ["text", "fields", "elements"] {
                        if let Some(inner) = fields.get(key) {
                            gather(inner, depth + 1, out);
                        }
                    }
                    if !out.is_empty() && !out.ends_with('\n') {
                        out.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

/// A text with Slack's signs read, without the name of the bot that is `me`.
pub(super) fn read(text: &str, me: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let Some((sign, after)) = behind.split_once('>').filter(|(sign, _)| !sign.contains('<')) else {
            out.push('<');
            rest = behind;
            continue;
        };
        rest = after;
        if is_mention(sign, me) {
            // Nor what sets it off.
            let trimmed = rest.trim_start_matches([' ', ',', ':']);
            if out.trim_end().is_empty() || trimmed.is_empty() || out.ends_with([' ', '\n']) {
                rest = trimmed;
            }
        } else {
            out.push_str(&sign_of(sign));
        }
    }
    out.push_str(rest);
    plain(out.trim())
}

/// Whether what stands between `<` and `>` names somebody.
pub(super) fn is_mention(sign: &str, whom: &str) -> bool {
    let id = sign.strip_prefix('@').map(|id| id.split('|').next().unwrap_or_default());
    id.is_some_and(|id| id == whom && !id.is_empty())
}

fn sign_of(sign: &str) -> String {
    let (head, label) = sign.split_once('|').unwrap_or((sign, ""));
    match head.chars().next() {
        // People are named by their ids: an answer can mention them.
        Some('@') => format!("<{head}>"),
        Some('#') if label.is_empty() => format!("<{head}>"),
        Some('#') => format!("#{label}"),
        Some('!') => match head[1..].split('^').next().unwrap_or_default() {
            group @ ("here" | "channel" | "everyone") => format!("@{group}"),
            _ if label.is_empty() => head[1..].to_owned(),
            _ => label.to_owned(),
        },
        _ => {
            let bare = head.strip_prefix("mailto:").unwrap_or(head);
            if label.is_empty() || label == bare || label == head {
                bare.to_owned()
            } else {
                format!("{label} ({head})")
            }
        }
    }
}

/// What Slack escapes.
fn plain(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(text: &str, more: &Value) -> Message {
        let mut message = json!({"type": "message", "text": text});
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        serde_json::from_value(message).unwrap()
    }

    #[test]
    fn slacks_signs_are_read() {
        for (text, expected) in [
            ("hello", "hello"),
            ("<@UBOT> hello", "hello"),
            ("<@UBOT|hermes>: /status", "/status"),
            ("hey <@UBOT>, how are you", "hey how are you"),
            ("<@U7> and <@UBOT>", "<@U7> and"),
            ("see <https://e.org/a|this> or <https://e.org>", "see this (https://e.org/a) or https://e.org"),
            ("mail <mailto:a@e.org|a@e.org>", "mail a@e.org"),
            ("in <#C1|general> <#C2>", "in #general <#C2>"),
            ("<!here> <!channel> <!subteam^S1|@team> <!date^1^{date}|today>", "@here @channel @team today"),
            ("1 &lt; 2 &amp;&amp; 3 &gt; 2", "1 < 2 && 3 > 2"),
            ("&lt;@UBOT&gt;", "<@UBOT>"),
            ("a < b", "a < b"),
            ("a <b <@UBOT>", "a <b"),
            ("<", "<"),
        ] {
            assert_eq!(said(&message(text, &json!({})), "UBOT"), expected, "{text}");
        }
    }

    #[test]
    fn what_stands_in_blocks_and_attachments_only_is_said_too() {
        let rich = json!([{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [
            {"type": "user", "user_id": "UBOT"}, {"type": "text", "text": " hello "}, {"type": "emoji", "name": "wave"}]}]}]);
        assert_eq!(said(&message("", &json!({"blocks": rich})), "UBOT"), "hello :wave:");
        assert_eq!(said(&message("other", &json!({"blocks": rich})), "UBOT"), "other");
        let app = json!([{"type": "section", "text": {"type": "mrkdwn", "text": "*Build* failed"}},
            {"type": "actions", "elements": [{"type": "button", "text": {"type": "plain_text", "text": "Retry"}}]}]);
        assert_eq!(said(&message("Alert", &json!({"blocks": app})), "UBOT"), "Alert\n*Build* failed");
        assert_eq!(said(&message("*Build* failed", &json!({"blocks": app})), "UBOT"), "*Build* failed");
        let shared = json!([{"author_name": "Bob", "text": "x".repeat(900)}, {"fallback": "plain"}, {}]);
        let text = said(&message("see", &json!({"attachments": shared})), "UBOT");
        assert!(
            text.starts_with("see\n[attachment: Bob · xxx") && text.ends_with("]\n[attachment: plain]"),
            "{text}"
        );
        assert_eq!(text.matches('x').count(), 500 - "Bob · ".chars().count());
    }

    #[test]
    fn deep_blocks_end() {
        let mut deep = json!({"type": "text", "text": "deep"});
        for _ in 0..100 {
            deep = json!({"type": "section", "elements": [deep]});
        }
        assert_eq!(said(&message("", &json!({"blocks": [deep]})), "UBOT"), "");
    }
}
