//! Buttons below a question, as Slack shows them, and what a press says. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::wire::Press;
use crate::platform::buttons::{Button, Pressed, offered, picked};
use crate::tools::asking::Choice;

/// Longest text of one section, in characters.
const SECTION: usize = 2900;
/// Most sections; a longer text has no buttons, and is answered in words.
const SECTIONS: usize = 40;
/// Longest text of a button, in characters.
const LABEL: usize = 75;
/// Longest name of a question.
const QUESTION: usize = 64;
/// How the name of a button with a numbered answer begins: in one message no two have the same.
const PICK: &str = "hermes_choice_";
/// What the buttons of an approval are called, as 0.19.0's are.
const ACTIONS: [(&str, &str); 4] = [
    ("once", "hermes_approve_once"),
    ("session", "hermes_approve_session"),
    ("always", "hermes_approve_always"),
    ("deny", "hermes_deny"),
];

/// The blocks of a message that asks, which says `text` already written in Slack's signs; none: it does not.
pub(super) fn blocks(extra: &BTreeMap<String, String>, text: &str) -> Option<Value> {
    let (name, buttons) = offered(extra, LABEL)?;
    let button = |Button { label, pressed }: &Button| {
        let label = json!({"type": "plain_text", "text": label, "emoji": true});
        let mut button =
            json!({"type": "button", "action_id": action(pressed)?, "value": name, "text": label});
        match pressed {
            Pressed::Chosen(Choice::Once) => button["style"] = "primary".into(),
            Pressed::Chosen(Choice::Deny(_)) => button["style"] = "danger".into(),
            Pressed::Chosen(Choice::Session | Choice::Always) | Pressed::Picked(_) => {}
        }
        Some(button)
    };
    let buttons: Vec<Value> = buttons.iter().filter_map(button).collect();
    let sections = sections(text);
    if buttons.is_empty() || sections.len() > SECTIONS {
        return None;
    }
    let section = |text: String| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let mut blocks: Vec<Value> = sections.into_iter().map(section).collect();
    blocks.push(json!({"type": "actions", "elements": buttons}));
    Some(blocks.into())
}

/// A text in pieces that are short enough, cut between lines where there are some.
fn sections(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut length = 0;
    for line in text.split_inclusive('\n') {
        let long = line.chars().count();
        if length > 0 && length + long > SECTION {
            all.push(String::new());
            length = 0;
        }
        for c in line.chars() {
            if length == SECTION {
                all.push(String::new());
                length = 0;
            }
            all.last_mut().expect("there is always one").push(c);
            length += 1;
        }
    }
    all.retain(|section| !section.trim().is_empty());
    all
}

/// What a button is called.
fn action(pressed: &Pressed) -> Option<String> {
    match pressed {
        Pressed::Chosen(choice) => {
            let (_, action) = ACTIONS.iter().find(|(name, _)| *name == choice.name())?;
            Some((*action).to_owned())
        }
        Pressed::Picked(number) => Some(format!("{PICK}{number}")),
    }
}

/// The question that a press is about, and what it says.
pub(super) fn read(press: &Press) -> Option<(&str, Pressed)> {
    let pressed = if let Some(number) = press.action.strip_prefix(PICK) {
        picked(number)?
    } else {
        let (choice, _) = ACTIONS.iter().find(|(_, action)| *action == press.action)?;
        Pressed::Chosen(Choice::named(choice)?)
    };
    let is_name = !press.value.is_empty() && press.value.len() <= QUESTION;
    is_name.then_some((press.value.as_str(), pressed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbound::{ASKS, CHOICES, LABELS};

    fn extra(choices: &str) -> BTreeMap<String, String> {
        BTreeMap::from([
            (ASKS.to_owned(), "12.1700000000.125".to_owned()),
            (CHOICES.to_owned(), choices.to_owned()),
        ])
    }

    #[test]
    fn a_button_says_what_it_is_about() {
        let blocks = blocks(&extra("once,session,always,deny"), "May it run?").unwrap();
        assert_eq!(blocks[0]["text"]["text"], "May it run?");
        let buttons = blocks[1]["elements"].as_array().unwrap();
        let actions: Vec<&str> = buttons.iter().map(|button| button["action_id"].as_str().unwrap()).collect();
        assert_eq!(
            actions,
            ["hermes_approve_once", "hermes_approve_session", "hermes_approve_always", "hermes_deny"]
        );
        for button in buttons {
            let of = |key: &str| button[key].as_str().unwrap().to_owned();
            let press = Press { action: of("action_id"), value: of("value"), ..Press::default() };
            let (name, pressed) = read(&press).unwrap();
            assert_eq!(
                (name, pressed.text()),
                ("12.1700000000.125", button["text"]["text"].as_str().unwrap().to_owned())
            );
        }
        let mut open = extra("1,2");
        open.insert(LABELS.to_owned(), format!(r#"["staging", "{}"]"#, "x".repeat(100)));
        let blocks = super::blocks(&open, "Where to?").unwrap();
        let second = &blocks[1]["elements"][1];
        assert_eq!(second["text"]["text"].as_str().unwrap().chars().count(), LABEL);
        let of = |key: &str| second[key].as_str().unwrap().to_owned();
        let press = Press { action: of("action_id"), value: of("value"), ..Press::default() };
        assert_eq!(read(&press), Some(("12.1700000000.125", Pressed::Picked(2))));
        assert_eq!(super::blocks(&extra("perhaps"), "x"), None);
        assert_eq!(super::blocks(&BTreeMap::new(), "x"), None);
        for (action, value) in [
            ("hermes_feedback", "1.1"),
            ("hermes_deny", ""),
            ("", "1.1"),
            ("hermes_choice_0", "1.1"),
            ("hermes_choice_", "1.1"),
        ] {
            let press = Press { action: action.into(), value: value.into(), ..Press::default() };
            assert_eq!(read(&press), None, "{action} {value}");
        }
    }

    #[test]
    fn a_long_question_is_cut_into_sections() {
        let long = format!("{}\n{}\nend", "x".repeat(2000), "ö".repeat(7000));
        let parts = sections(&long);
        assert!(parts.iter().all(|part| part.chars().count() <= SECTION));
        assert_eq!(parts.concat(), long);
        assert_eq!(parts[0], format!("{}\n", "x".repeat(2000)));
        assert_eq!(super::blocks(&extra("once"), &"x".repeat(200_000)), None);
    }
}
