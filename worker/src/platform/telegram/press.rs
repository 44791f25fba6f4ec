//! Buttons below a question: what they say, and what a press means. Pure.
//!
//! A button names its question, as no other one is named: a press that comes too late answers nothing else. Words answer as well.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::inbound::{ASKS, CHOICES};
use crate::questions::Heard;
use crate::tools::asking::Choice;

/// How what a button says to the bot begins.
const ASK: &str = "ask";
/// Longest of that, in bytes, as the Bot API has it.
const LONGEST: usize = 64;

/// The buttons of a message that asks; none: it does not.
pub(super) fn keyboard(extra: &BTreeMap<String, String>) -> Option<Value> {
    let (name, choices) = (extra.get(ASKS)?, extra.get(CHOICES)?);
    let button = |choice: &str| {
        let data = format!("{ASK} {name} {choice}");
        let label = label(&Choice::named(choice)?);
        (data.len() <= LONGEST).then(|| json!({"text": label, "callback_data": data}))
    };
    let buttons: Vec<Value> = choices.split(',').filter_map(button).collect();
    let rows: Vec<&[Value]> = buttons.chunks(2).collect();
    (!rows.is_empty()).then(|| json!({"inline_keyboard": rows}))
}

/// What stands in place of the buttons of a question that is over.
pub(super) fn over(text: &str) -> Value {
    json!({"inline_keyboard": [[{"text": text, "callback_data": "over"}]]})
}

/// The question that a press is about, and what it says.
pub(super) fn read(data: &str) -> Option<(&str, Choice)> {
    let mut words = data.split(' ');
    let (ASK, name, choice, None) = (words.next()?, words.next()?, words.next()?, words.next()) else {
        return None;
    };
    Some((name, Choice::named(choice)?))
}

pub(super) fn label(choice: &Choice) -> &'static str {
    match choice {
        Choice::Once => "✅ Once",
        Choice::Session => "✅ In this conversation",
        Choice::Always => "✅ Always",
        Choice::Deny(_) => "❌ No",
    }
}

/// What whoever pressed hears.
pub(super) fn said(heard: Heard, choice: &Choice) -> &'static str {
    match heard {
        Heard::Answered => label(choice),
        Heard::Late => "That question is over.",
        Heard::No => "That question is not for you.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_button_says_what_it_is_about() {
        let extra = |choices: &str| {
            BTreeMap::from([
                (ASKS.to_owned(), "12.1700000000.125".to_owned()),
                (CHOICES.to_owned(), choices.to_owned()),
            ])
        };
        let keyboard = |choices: &str| super::keyboard(&extra(choices));
        let rows = keyboard("once,session,always,deny").unwrap();
        let rows = rows["inline_keyboard"].as_array().unwrap();
        assert_eq!(rows.iter().map(|row| row.as_array().unwrap().len()).collect::<Vec<_>>(), [2, 2]);
        let data = rows[1][1]["callback_data"].as_str().unwrap();
        assert_eq!(read(data), Some(("12.1700000000.125", Choice::Deny(None))));
        assert_eq!(keyboard("perhaps"), None);
        assert_eq!(super::keyboard(&BTreeMap::new()), None);
        for odd in ["", "over", "ask", "ask 1.2", "ask 1.2 perhaps", "ask 1.2 once more", "do 1.2 once"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
