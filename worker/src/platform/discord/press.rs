//! Buttons below a question, as Discord shows them. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use twilight_model::channel::message::component::{ButtonStyle, ComponentType};

use crate::platform::buttons::{Button, Pressed, offered, written};
use crate::tools::asking::Choice;

/// Longest of what a button says to the bot, in characters, as Discord has it.
const LONGEST: usize = 100;
/// Most buttons of one row.
const ROW: usize = 5;
/// Longest label, in characters.
const LABEL: usize = 80;

fn row(buttons: &[Value]) -> Value {
    json!({"type": ComponentType::ActionRow, "components": buttons})
}

/// The buttons of a message that asks; none: it does not.
pub(super) fn buttons(extra: &BTreeMap<String, String>) -> Option<Value> {
    let (name, buttons) = offered(extra, LABEL)?;
    let button = |Button { label, pressed }: &Button| {
        let id = written(name, pressed);
        let style = match pressed {
            Pressed::Chosen(Choice::Deny(_)) => ButtonStyle::Danger,
            Pressed::Chosen(_) => ButtonStyle::Success,
            Pressed::Picked(_) => ButtonStyle::Primary,
        };
        let button = json!({"type": ComponentType::Button, "style": style, "label": label, "custom_id": id});
        (id.len() <= LONGEST).then_some(button)
    };
    let buttons: Vec<Value> = buttons.iter().filter_map(button).collect();
    let rows: Vec<Value> = buttons.chunks(ROW).map(row).collect();
    (!rows.is_empty()).then(|| rows.into())
}

/// What stands in place of the buttons of a question that is over.
pub(super) fn over(text: &str) -> Value {
    let label: String = text.chars().take(LABEL).collect();
    let button = json!({
        "type": ComponentType::Button, "style": ButtonStyle::Secondary, "label": label, "custom_id": "over", "disabled": true,
    });
    json!([row(&[button])])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::{ASKS, CHOICES, LABELS};

    #[test]
    fn buttons_stand_in_one_row_and_a_refusal_is_marked() {
        let buttons = |name: &str, choices: &str, labels: Option<&str>| {
            let mut extra = BTreeMap::from([
                (ASKS.to_owned(), name.to_owned()),
                (CHOICES.to_owned(), choices.to_owned()),
            ]);
            extra.extend(labels.map(|labels| (LABELS.to_owned(), labels.to_owned())));
            super::buttons(&extra)
        };
        let rows = buttons("12.1700000000.125", "once,session,always,deny", None).unwrap();
        assert_eq!((rows[0]["type"].as_u64(), rows[0]["components"].as_array().unwrap().len()), (Some(1), 4));
        let last = &rows[0]["components"][3];
        assert_eq!((last["type"].as_u64(), last["style"].as_u64()), (Some(2), Some(4)));
        assert_eq!(last["custom_id"], "ask 12.1700000000.125 deny");
        let long = format!(r#"["staging", "{}"]"#, "x".repeat(100));
        let rows = buttons("12.1700000000.125", "1,2", Some(&long)).unwrap();
        let second = &rows[0]["components"][1];
        assert_eq!(
            (second["style"].as_u64(), &second["custom_id"]),
            (Some(1), &json!("pick 12.1700000000.125 2"))
        );
        assert_eq!(second["label"].as_str().unwrap().chars().count(), LABEL);
        assert_eq!(buttons(&"1".repeat(100), "once", None), None, "Discord takes no more");
        assert_eq!(over(&"x".repeat(90))[0]["components"][0]["label"].as_str().unwrap().len(), 80);
    }
}
