//! Buttons below a question, as Telegram shows them, and what becomes of a press.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::event;
use super::service::Service;
use super::settings::NAME;
use super::wire::Press;
use crate::access::Facts;
use crate::handover::Reception;
use crate::platform::buttons::{self, Button, Pressed, offered, written};
use crate::questions::Heard;

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
fn over(text: &str) -> Value {
    json!({"inline_keyboard": [[{"text": text, "callback_data": "over"}]]})
}

/// Takes a press of a button. What is said of it, and whether its question is over.
pub(super) async fn take(reception: &Reception, press: &Press) -> (String, bool) {
    let named = press.data.as_deref().and_then(buttons::read).zip(press.message.as_deref());
    let Some(((question, pressed), message)) = named else {
        return ("That question is over.".to_owned(), false);
    };
    let source = event::source(message, &event::Speaker::person(&press.from));
    let by = (&source, &Facts::default());
    match buttons::hear(reception, by, question, &pressed, event::target(message)).await {
        Ok(heard) => (heard.said(&pressed.text()).to_owned(), heard != Heard::No),
        Err(error) => {
            tracing::warn!(%error, "[{NAME}] an answer by a button is not taken");
            ("That did not work; please answer in words.".to_owned(), false)
        }
    }
}

/// Says what came of a press: to whoever pressed, and, where the question is over, below it.
pub(super) async fn tell(service: Service, press: Box<Press>, said: String, is_over: bool) {
    let body = json!({"callback_query_id": press.id, "text": said});
    if let Err(error) = service.call::<Value>("answerCallbackQuery", &body).await {
        tracing::debug!(%error, "[{NAME}] who pressed a button hears nothing");
    }
    if let Some(message) = press.message.as_ref().filter(|_| is_over) {
        let shown = format!("{said} · {}", press.from.name());
        let body = json!({
            "chat_id": message.chat.id,
            "message_id": message.message_id,
            "reply_markup": over(&shown),
        });
        if let Err(error) = service.call::<Value>("editMessageReplyMarkup", &body).await {
            tracing::debug!(%error, "[{NAME}] the buttons of a question stay");
        }
    }
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
