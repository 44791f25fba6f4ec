//! Files that go out: as what they are where Telegram shows them, else as documents.

use camino::Utf8Path;
use reqwest::multipart::{Form, Part};
use serde_json::Value;

use super::outbound::{Chats, drop_key, is_about_reply, unsent};
use super::service::Failure;
use super::settings::NAME;
use crate::delivery::outbound::{File, Sent, Unsent};
use crate::inbound::DeliveryTarget;

/// Longest picture that is shown as one; longer ones are documents.
const PICTURE: u64 = 10 << 20;

/// As what a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) method: &'static str,
    pub(super) field: &'static str,
}

const DOCUMENT: Way = Way { method: "sendDocument", field: "document" };

/// As what a file of this type and length is sent. Pure.
pub(super) fn way(media_type: &str, length: u64, shown: bool) -> Way {
    if !shown {
        return DOCUMENT;
    }
    match media_type {
        "image/jpeg" | "image/png" | "image/webp" if length <= PICTURE => {
            Way { method: "sendPhoto", field: "photo" }
        }
        "image/gif" => Way { method: "sendAnimation", field: "animation" },
        "video/mp4" => Way { method: "sendVideo", field: "video" },
        "audio/ogg" | "audio/opus" => Way { method: "sendVoice", field: "voice" },
        "audio/mpeg" | "audio/mp4" | "audio/m4a" | "audio/x-m4a" => {
            Way { method: "sendAudio", field: "audio" }
        }
        _ => DOCUMENT,
    }
}

impl Chats {
    /// Sends a file, and once more without what is in the way.
    pub(super) async fn upload(&self, target: &DeliveryTarget, file: File<'_>) -> Result<Sent, Unsent> {
        let service = self.service()?;
        let mut body = self.place(target, !file.key.contains('-') && self.is_quoting_files())?;
        if file.repeated {
            body["caption"] = "♻️".into();
        }
        let length = tokio::fs::metadata(file.path.as_std_path()).await.map_err(|error| gone(&error))?.len();
        let mut way = way(file.media_type, length, file.shown);
        for _ in 0..5 {
            let form = form(&body).part(way.field, part(file).await?);
            let failure = match service.upload(way.method, &body["chat_id"], form).await {
                Ok(answer) => return Ok(Sent { id: answer["message_id"].as_i64().map(|id| id.to_string()) }),
                Err(failure) => failure,
            };
            let Failure::Refused { refusal, .. } = &failure else { return Err(unsent(&failure)) };
            if let Some(new) = refusal.migrated_to.filter(|new| body["chat_id"] != *new) {
                self.remember(target, new);
                body["chat_id"] = new.into();
            } else if refusal.status == 400
                && is_about_reply(refusal)
                && body.get("reply_parameters").is_some()
            {
                drop_key(&mut body, "reply_parameters");
            } else if refusal.status == 400
                && refusal.says("thread not found")
                && body.get("message_thread_id").is_some()
            {
                drop_key(&mut body, "message_thread_id");
            } else if way != DOCUMENT && (is_about_media(refusal) || refusal.says("voice_messages_forbidden"))
            {
                tracing::info!(
                    "[{NAME}] Telegram does not show the file as what it is; it goes as a document: {failure}"
                );
                way = DOCUMENT;
            } else {
                return Err(unsent(&failure));
            }
        }
        Err(Unsent::never("Telegram refuses the file in every form"))
    }
}

/// Whether it is the file as it is shown that is refused.
fn is_about_media(refusal: &super::wire::Refusal) -> bool {
    refusal.status == 400
        && ["photo", "image", "video", "audio", "voice", "wrong file", "wrong type", "media"]
            .iter()
            .any(|what| refusal.says(what))
}

fn gone(error: &std::io::Error) -> Unsent {
    Unsent::never(format!("the file cannot be read: {error}"))
}

/// The fields of a request, as a form has them.
fn form(body: &Value) -> Form {
    let fields = body.as_object().into_iter().flatten();
    fields.fold(Form::new(), |form, (name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        form.text(name.clone(), text)
    })
}

async fn part(file: File<'_>) -> Result<Part, Unsent> {
    let path: &Utf8Path = file.path;
    let part = Part::file(path).await.map_err(|error| gone(&error))?.file_name(file.name.to_owned());
    part.mime_str(file.media_type).map_err(|_| Unsent::never("the file's type is none"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_shown_as_what_they_are_where_telegram_can() {
        for (media_type, length, shown, method) in [
            ("image/png", 5, true, "sendPhoto"),
            ("image/png", 5, false, "sendDocument"),
            ("image/png", PICTURE + 1, true, "sendDocument"),
            ("image/svg+xml", 5, true, "sendDocument"),
            ("image/gif", 5, true, "sendAnimation"),
            ("audio/ogg", 5, true, "sendVoice"),
            ("audio/mpeg", 5, true, "sendAudio"),
            ("video/mp4", 5, true, "sendVideo"),
            ("application/pdf", 5, true, "sendDocument"),
        ] {
            assert_eq!(way(media_type, length, shown).method, method, "{media_type} {length} {shown}");
        }
    }
}
