//! Buttons below a question, as Telegram shows them. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::platform::buttons::{Button, Pressed, offered, written};

/// Longest of what a button says to the bot, in bytes, as the Bot API has it.
const LONGEST: usize = 64;
/// Longest text of a button, in characters: more is not seen anyway.
const LABEL: usize = 60;
/// Most approvals of one row; numbered answers have a row each.
const ROW: usize = 2;

/// The buttons of a message that asks; none: it does not.
pub(super) fn keyboard(extra: &BTreeMap<String, String>) -> Option<Value> {
    let (name, buttons) = offered(extra, LABEL)?;
    let is_numbered = buttons.iter().any(|button| matches!(button.pressed, Pressed::Picked(_)));
    let button = |button: &Button| {
        let data = written(name, &button.pressed);
        (data.len() <= LONGEST).then(|| json!({"text": button.label, "callback_data": data}))
    };
    let buttons: Vec<Value> = buttons.iter().filter_map(button).collect();
    let rows: Vec<&[Value]> = buttons.chunks(if is_numbered { 1 } else { ROW }).collect();
    (!rows.is_empty()).then(|| json!({"inline_keyboard": rows}))
}

/// What stands in place of the buttons of a question that is over.
pub(super) fn over(text: &str) -> Value {
    json!({"inline_keyboard": [[{"text": text, "callback_data": "over"}]]})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::{ASKS, CHOICES, LABELS};

    #[test]
    fn approvals_stand_beside_each_other_and_answers_below() {
        let keyboard = |name: &str, choices: &str, labels: Option<&str>| {
            let mut extra = BTreeMap::from([
                (ASKS.to_owned(), name.to_owned()),
                (CHOICES.to_owned(), choices.to_owned()),
            ]);
            extra.extend(labels.map(|labels| (LABELS.to_owned(), labels.to_owned())));
            super::keyboard(&extra)
        };
        let lengths = |keyboard: Value| -> Vec<usize> {
            let rows = keyboard["inline_keyboard"].as_array().unwrap();
            rows.iter().map(|row| row.as_array().unwrap().len()).collect()
        };
        let approval = keyboard("12.1700000000.125", "once,session,always,deny", None).unwrap();
        assert_eq!(approval["inline_keyboard"][1][1]["callback_data"], "ask 12.1700000000.125 deny");
        assert_eq!(lengths(approval), [2, 2]);
        let open = keyboard("12.1700000000.125", "1,2", Some(r#"["staging", "prod"]"#)).unwrap();
        assert_eq!(open["inline_keyboard"][0][0]["text"], "1. staging");
        assert_eq!(lengths(open), [1, 1]);
        assert_eq!(keyboard(&"1".repeat(60), "once", None), None, "Telegram takes no more");
    }
}
