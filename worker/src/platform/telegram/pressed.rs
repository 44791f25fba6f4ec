//! What becomes of a press of a button.

use serde_json::{Value, json};

use super::event;
use super::press::over;
use super::service::Service;
use super::settings::NAME;
use super::wire::Press;
use crate::access::Facts;
use crate::handover::Reception;
use crate::platform::buttons;
use crate::questions::Heard;

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
