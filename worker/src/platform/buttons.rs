//! What may be pressed below a question instead of saying it, and what a press means: the same for every platform with buttons. Pure, but
//! for [`hear`].
//!
//! A button names its question, as no other one is named: a press that comes too late answers nothing else. Words answer as well.

use std::collections::BTreeMap;

use crate::access::Facts;
use crate::handover::{NotTaken, Reception};
use crate::inbound::{ASKS, CHOICES, DeliveryTarget, LABELS, Source};
use crate::questions::Heard;
use crate::tools::asking::Choice;

/// How what a button says to the bot begins, below an approval.
const ASK: &str = "ask";
/// The same below a question with numbered answers.
const PICK: &str = "pick";

/// What a press, or a sign at a question, says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pressed {
    /// An approval, or none.
    Chosen(Choice),
    /// The answer of this number, from 1.
    Picked(usize),
}

impl Pressed {
    /// What whoever pressed hears, where it is taken.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Chosen(choice) => choice.label().to_owned(),
            Self::Picked(number) => format!("✅ {number}"),
        }
    }
}

/// A button: what it shows, and what a press of it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Button {
    pub(super) label: String,
    pub(super) pressed: Pressed,
}

/// The question of a message that asks, and its buttons, whose labels have at most so many characters. None: it asks nothing that could be
/// pressed.
pub(super) fn offered(extra: &BTreeMap<String, String>, longest: usize) -> Option<(&str, Vec<Button>)> {
    let (name, choices) = (extra.get(ASKS)?, extra.get(CHOICES)?);
    let buttons: Vec<Button> = if let Some(labels) = extra.get(LABELS) {
        let labels: Vec<String> = serde_json::from_str(labels).ok()?;
        let button = |(at, label): (usize, &String)| Button {
            label: cut(&format!("{}. {label}", at + 1), longest),
            pressed: Pressed::Picked(at + 1),
        };
        labels.iter().enumerate().map(button).collect()
    } else {
        let button = |choice: &str| {
            let choice = Choice::named(choice)?;
            Some(Button { label: choice.label().to_owned(), pressed: Pressed::Chosen(choice) })
        };
        choices.split(',').filter_map(button).collect()
    };
    (!buttons.is_empty()).then_some((name, buttons))
}

/// The question says it whole; a button only as far as there is room.
fn cut(label: &str, longest: usize) -> String {
    if label.chars().count() <= longest {
        return label.to_owned();
    }
    let mut short: String = label.chars().take(longest.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// What a button says to the bot, where one text says all of it.
pub(super) fn written(name: &str, pressed: &Pressed) -> String {
    match pressed {
        Pressed::Chosen(choice) => format!("{ASK} {name} {}", choice.name()),
        Pressed::Picked(number) => format!("{PICK} {name} {number}"),
    }
}

/// The question that such a text is about, and what it says.
pub(super) fn read(text: &str) -> Option<(&str, Pressed)> {
    let mut words = text.split(' ');
    let (kind, name, choice, None) = (words.next()?, words.next()?, words.next()?, words.next()) else {
        return None;
    };
    let pressed = match kind {
        ASK => Pressed::Chosen(Choice::named(choice)?),
        PICK => picked(choice)?,
        _ => return None,
    };
    Some((name, pressed))
}

/// The answer of this number.
pub(super) fn picked(number: &str) -> Option<Pressed> {
    number.parse().ok().filter(|number| *number > 0).map(Pressed::Picked)
}

/// Takes a press by whoever is `source`, of whom `facts` are known. `delivery`: where an answer to a message of his would go.
pub(super) async fn hear(
    reception: &Reception,
    (source, facts): (&Source, &Facts),
    question: &str,
    pressed: &Pressed,
    delivery: DeliveryTarget,
) -> Result<Heard, NotTaken> {
    match pressed {
        Pressed::Chosen(choice) => reception.press(source, facts, question, choice).await,
        Pressed::Picked(number) => reception.pick(source, facts, question, *number, delivery).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: &str = "12.1700000000.125";

    fn extra(choices: &str, labels: Option<&str>) -> BTreeMap<String, String> {
        let all = [(ASKS, Some(NAME)), (CHOICES, Some(choices)), (LABELS, labels)];
        all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))).collect()
    }

    #[test]
    fn a_button_says_what_it_is_about() {
        let approval = extra("once,session,always,deny", None);
        let (name, buttons) = offered(&approval, 60).unwrap();
        assert_eq!((name, buttons.len()), (NAME, 4));
        for Button { label, pressed } in &buttons {
            assert_eq!(pressed.text(), *label);
            assert_eq!(read(&written(name, pressed)), Some((NAME, pressed.clone())));
        }
        let open = extra("1,2", Some(r#"["staging, as ever", "prod"]"#));
        let (_, buttons) = offered(&open, 12).unwrap();
        let labels: Vec<&str> = buttons.iter().map(|button| button.label.as_str()).collect();
        assert_eq!(labels, ["1. staging,…", "2. prod"]);
        assert_eq!(written(NAME, &buttons[1].pressed), format!("pick {NAME} 2"));
        assert_eq!(read(&format!("pick {NAME} 2")), Some((NAME, Pressed::Picked(2))));
        assert_eq!(offered(&extra("perhaps", None), 60), None);
        assert_eq!(offered(&extra("1", Some("no list")), 60), None);
        assert_eq!(offered(&BTreeMap::new(), 60), None);
    }

    #[test]
    fn what_no_button_says_means_nothing() {
        for odd in [
            "",
            "over",
            "ask",
            "ask 1.2",
            "ask 1.2 perhaps",
            "ask 1.2 once more",
            "do 1.2 once",
            "pick 1.2 0",
            "pick 1.2 -1",
            "pick 1.2 once",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}
