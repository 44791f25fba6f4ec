//! Signs at a question: what they mean. Pure.
//!
//! A question of the bot carries its own name where people do not see it, so that a sign at it answers that question and no other one,
//! whoever hears of it: also a process that did not ask. Words answer as well.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::target::{SENDER, THREAD_ID};
use super::wire::Ask;
use crate::inbound::{ASKS, CHOICES};
use crate::platform::buttons::Pressed;
use crate::tools::asking::Choice;

/// Signs below an approval, with what may be meant, the first that is offered.
const SIGNS: [(&str, &[&str]); 3] = [("✅", &["once"]), ("♾️", &["always", "session"]), ("❌", &["deny"])];
/// Signs below numbered answers, from 1.
const NUMBERS: [&str; 9] = ["1️⃣", "2️⃣", "3️⃣", "4️⃣", "5️⃣", "6️⃣", "7️⃣", "8️⃣", "9️⃣"];

/// What a message that asks carries; none: it does not.
pub(super) fn ask(extra: &BTreeMap<String, String>) -> Option<Value> {
    let (name, choices) = (extra.get(ASKS)?, extra.get(CHOICES)?);
    Some(json!({"name": name, "choices": choices, "user": extra.get(SENDER), "thread": extra.get(THREAD_ID)}))
}

/// The signs that stand below a question with these choices, in order.
pub(super) fn signs(choices: &str) -> impl Iterator<Item = &'static str> {
    let named = SIGNS.into_iter().filter(move |(_, names)| meant(choices, names).is_some());
    named.map(|(sign, _)| sign).chain(numbered(choices).map(|(_, sign)| sign))
}

/// What a sign means there: what a button would say.
pub(super) fn read(ask: &Ask, sign: &str) -> Option<Pressed> {
    // Programs differ in whether a sign is to be a picture.
    let bare = |sign: &str| sign.replace('\u{fe0f}', "");
    let sign = bare(sign);
    if let Some((number, _)) = numbered(&ask.choices).find(|(_, known)| bare(known) == sign) {
        return Some(Pressed::Picked(number));
    }
    let (_, names) = SIGNS.into_iter().find(|(known, _)| bare(known) == sign)?;
    Choice::named(meant(&ask.choices, names)?).map(Pressed::Chosen)
}

fn meant(choices: &str, names: &'static [&'static str]) -> Option<&'static str> {
    names.iter().find(|name| choices.split(',').any(|choice| choice == **name)).copied()
}

/// The numbers among some choices that have a sign.
fn numbered(choices: &str) -> impl Iterator<Item = (usize, &'static str)> {
    let is_one = |number: usize| choices.split(',').any(|choice| choice.parse() == Ok(number));
    (1..).zip(NUMBERS).filter(move |(number, _)| is_one(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_means_what_is_offered() {
        let ask = |choices: &str| Ask {
            name: "12.1700000000.125".to_owned(),
            choices: choices.to_owned(),
            user: None,
            thread: None,
        };
        let chosen = Pressed::Chosen;
        let all = ask("once,session,always,deny");
        assert_eq!(signs(&all.choices).collect::<Vec<_>>(), ["✅", "♾️", "❌"]);
        assert_eq!(read(&all, "✅"), Some(chosen(Choice::Once)));
        assert_eq!(read(&all, "♾"), Some(chosen(Choice::Always)));
        assert_eq!(read(&all, "♾️"), Some(chosen(Choice::Always)));
        assert_eq!(read(&all, "❌"), Some(chosen(Choice::Deny(None))));
        assert_eq!(read(&ask("once,session,deny"), "♾️"), Some(chosen(Choice::Session)));
        assert_eq!(read(&ask("once,deny"), "♾️"), None);
        assert_eq!(signs("once,deny").collect::<Vec<_>>(), ["✅", "❌"]);
        let two = ask("1,2");
        assert_eq!(signs(&two.choices).collect::<Vec<_>>(), ["1️⃣", "2️⃣"]);
        assert_eq!(
            (read(&two, "2\u{20e3}"), read(&two, "1️⃣")),
            (Some(Pressed::Picked(2)), Some(Pressed::Picked(1)))
        );
        assert_eq!((read(&two, "3️⃣"), read(&two, "✅"), read(&all, "1️⃣")), (None, None, None));
        for odd in ["", "1", "👍", "✅✅", "\u{fe0f}"] {
            assert_eq!(read(&all, odd), None, "{odd}");
        }
        assert_eq!(super::ask(&BTreeMap::new()), None);
    }
}
