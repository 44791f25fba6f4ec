//! What is in the chats, and what the methods of the Bot API do with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpStream;

use serde_json::{Map, Value, json};

use base64::Engine as _;

use super::{BOT, Call, NAME, Refusal, Seen, SentFile, error, markup};

/// Longest message, in UTF-16 units.
const LONGEST: usize = 4096;

/// Who polls.
pub(super) struct Poll {
    pub(super) number: u64,
    pub(super) stream: TcpStream,
}

/// Everything that the service knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) next_update: i64,
    pub(super) next_id: i64,
    pub(super) updates: BTreeMap<i64, Value>,
    pub(super) given: BTreeMap<i64, u32>,
    pub(super) confirmed: i64,
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) chats: BTreeMap<i64, Value>,
    pub(super) topics: BTreeSet<(i64, i64)>,
    /// Private chats may have topics.
    pub(super) has_topics: bool,
    pub(super) messages: BTreeSet<(i64, i64)>,
    pub(super) seen: Vec<Seen>,
    pub(super) calls: Vec<Call>,
    pub(super) poll: Option<Poll>,
    pub(super) polls: u64,
    pub(super) overlaps: u32,
    /// Another program polls too.
    pub(super) rival: bool,
    pub(super) webhook: String,
    /// What is said with each update that is brought there.
    pub(super) secret: String,
    /// Where files are put on disk; none: nowhere.
    pub(super) disk: Option<std::path::PathBuf>,
    /// Where what stands before the gateway leads to.
    pub(super) door: Option<String>,
    /// The last time that did not get through, and why.
    pub(super) missed: Option<(i64, String)>,
    pub(super) token: String,
    pub(super) blocked: BTreeSet<i64>,
    pub(super) migrated: BTreeMap<i64, i64>,
    pub(super) refusals: BTreeMap<String, VecDeque<Refusal>>,
    /// Methods whose requests are done and never answered.
    pub(super) stuck: BTreeSet<String>,
    pub(super) signs: Vec<(i64, i64, String)>,
    pub(super) sent_files: Vec<SentFile>,
    pub(super) answered_presses: BTreeMap<String, Map<String, Value>>,
}

impl State {
    /// Does what a request asks for.
    #[expect(clippy::too_many_lines, reason = "one arm a method")]
    pub(super) fn call(&mut self, method: &str, fields: &Map<String, Value>) -> Result<Value, Refusal> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match method {
            "getMe" => Ok(json!({"id": BOT, "is_bot": true, "first_name": "Hermes", "username": NAME,
                "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false})),
            "getWebhookInfo" => {
                let mut info = json!({"url": self.webhook, "has_custom_certificate": false,
                    "pending_update_count": self.updates.len()});
                if let Some((at, why)) = &self.missed {
                    info["last_error_date"] = (*at).into();
                    info["last_error_message"] = why.as_str().into();
                }
                Ok(info)
            }
            "setWebhook" => {
                if !text("url").is_empty() && !text("url").starts_with("https://") {
                    return Err(error(
                        400,
                        "Bad Request: bad webhook: An HTTPS URL must be provided for webhook",
                    ));
                }
                (self.webhook, self.secret) = (text("url"), text("secret_token"));
                self.missed = None;
                // Who polls hears that it is over.
                self.polls += 1;
                Ok(true.into())
            }
            "deleteWebhook" => {
                self.webhook.clear();
                Ok(true.into())
            }
            "sendMessage" => self.send(fields),
            "editMessageText" => self.edit(fields),
            "editMessageReplyMarkup" => {
                let (chat, id) = (self.chat(fields)?, number(fields, "message_id"));
                let seen = self.seen.iter_mut().find(|seen| (seen.chat, Some(seen.id)) == (chat, id));
                let seen = seen.ok_or_else(|| error(400, "Bad Request: message to edit not found"))?;
                seen.buttons = buttons(fields);
                Ok(shown(seen))
            }
            "sendPhoto" | "sendDocument" | "sendVoice" | "sendAudio" | "sendVideo" | "sendAnimation" => {
                self.send_file(method, fields)
            }
            "deleteMessage" => {
                let (chat, id) = (self.chat(fields)?, number(fields, "message_id"));
                let before = self.seen.len();
                self.seen.retain(|seen| (seen.chat, Some(seen.id)) != (chat, id));
                if self.seen.len() == before {
                    return Err(error(400, "Bad Request: message to delete not found"));
                }
                Ok(true.into())
            }
            "setMessageReaction" => {
                let (chat, id) = (self.chat(fields)?, number(fields, "message_id").unwrap_or_default());
                if !self.messages.contains(&(chat, id)) {
                    return Err(error(400, "Bad Request: message to react not found"));
                }
                let signs = fields.get("reaction").and_then(Value::as_array).cloned().unwrap_or_default();
                let emoji = signs.first().map(|sign| sign["emoji"].as_str().unwrap_or_default().to_owned());
                if emoji.as_ref().is_some_and(|emoji| !matches!(emoji.as_str(), "👀" | "👍" | "👎")) {
                    return Err(error(400, "Bad Request: REACTION_INVALID"));
                }
                self.signs.push((chat, id, emoji.unwrap_or_default()));
                Ok(true.into())
            }
            "createForumTopic" => {
                let (chat, name) = (self.chat(fields)?, text("name"));
                if !(1..=128).contains(&name.chars().count()) {
                    return Err(error(400, "Bad Request: TOPIC_TITLE_EMPTY"));
                }
                if chat > 0 && !self.has_topics {
                    return Err(error(400, "Bad Request: the chat is not a forum"));
                }
                let id = self.next_id;
                self.next_id += 1;
                self.topics.insert((chat, id));
                Ok(json!({"message_thread_id": id, "name": name, "icon_color": 7_322_096}))
            }
            "sendChatAction" => self.chat(fields).map(|_| true.into()),
            "setMyCommands" => {
                let commands = fields.get("commands").and_then(Value::as_array).cloned().unwrap_or_default();
                if commands.len() > 100 {
                    return Err(error(400, "Bad Request: BOT_COMMANDS_TOO_MUCH"));
                }
                let is_name = |name: &str| {
                    (1..=32).contains(&name.len())
                        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                };
                for command in &commands {
                    if !command["command"].as_str().is_some_and(is_name) {
                        return Err(error(400, "Bad Request: BOT_COMMAND_INVALID"));
                    }
                    let about = command["description"].as_str().unwrap_or_default().chars().count();
                    if !(1..=256).contains(&about) {
                        return Err(error(400, "Bad Request: BOT_COMMAND_DESCRIPTION_INVALID"));
                    }
                }
                Ok(true.into())
            }
            "answerCallbackQuery" => {
                self.answered_presses.insert(text("callback_query_id"), fields.clone());
                Ok(true.into())
            }
            "getFile" => {
                let id = text("file_id");
                let Some(bytes) = self.files.get(&id) else {
                    return Err(error(
                        400,
                        "Bad Request: wrong file_id or the file is temporarily unavailable",
                    ));
                };
                let path = match &self.disk {
                    Some(disk) => {
                        let path = disk.join(&id);
                        fs_err::write(&path, bytes).unwrap();
                        path.to_str().unwrap().to_owned()
                    }
                    None => format!("files/{id}"),
                };
                Ok(json!({"file_id": id, "file_unique_id": id, "file_size": bytes.len(), "file_path": path}))
            }
            _ => Err(error(404, "Not Found: method not found")),
        }
    }

    /// The chat that a request is about, where the bot can be in it.
    fn chat(&self, fields: &Map<String, Value>) -> Result<i64, Refusal> {
        let chat = number(fields, "chat_id").ok_or_else(|| error(400, "Bad Request: chat not found"))?;
        if let Some(to) = self.migrated.get(&chat) {
            return Err(error(400, &format!("Bad Request: group chat was upgraded to {to}")));
        }
        if !self.chats.contains_key(&chat) {
            return Err(error(400, "Bad Request: chat not found"));
        }
        if self.blocked.contains(&chat) {
            let who = if chat > 0 {
                "Forbidden: bot was blocked by the user"
            } else {
                "Forbidden: bot was kicked from the supergroup chat"
            };
            return Err(error(403, who));
        }
        Ok(chat)
    }

    fn send(&mut self, fields: &Map<String, Value>) -> Result<Value, Refusal> {
        let chat = self.chat(fields)?;
        let (text, marked) = said(fields)?;
        let thread = number(fields, "message_thread_id");
        if thread.is_some_and(|thread| !self.topics.contains(&(chat, thread))) {
            return Err(error(400, "Bad Request: message thread not found"));
        }
        let reply = fields.get("reply_parameters").cloned().unwrap_or_default();
        let to = reply["message_id"].as_i64();
        let is_there = to.is_some_and(|to| self.messages.contains(&(chat, to)));
        if to.is_some() && !is_there && reply["allow_sending_without_reply"] != true {
            return Err(error(400, "Bad Request: message to be replied not found"));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.messages.insert((chat, id));
        let reply_to = to.filter(|_| is_there);
        let seen = Seen { chat, id, text, marked, reply_to, thread, buttons: buttons(fields) };
        let answer = shown(&seen);
        self.seen.push(seen);
        Ok(answer)
    }

    fn send_file(&mut self, method: &str, fields: &Map<String, Value>) -> Result<Value, Refusal> {
        let chat = self.chat(fields)?;
        let thread = number(fields, "message_thread_id");
        if thread.is_some_and(|thread| !self.topics.contains(&(chat, thread))) {
            return Err(error(400, "Bad Request: message thread not found"));
        }
        let kind = method.trim_start_matches("send").to_lowercase();
        let file = fields.get(&kind).filter(|file| file.is_object()).cloned();
        let file =
            file.ok_or_else(|| error(400, &format!("Bad Request: there is no {kind} in the request")))?;
        let text = |name: &str| file[name].as_str().unwrap_or_default().to_owned();
        let bytes = base64::engine::general_purpose::STANDARD.decode(text("data")).unwrap_or_default();
        if bytes.is_empty() {
            return Err(error(400, "Bad Request: file must be non-empty"));
        }
        if kind == "photo" && !bytes.starts_with(b"\x89PNG") {
            return Err(error(400, "Bad Request: IMAGE_PROCESS_FAILED"));
        }
        let id = self.next_id;
        self.next_id += 1;
        self.messages.insert((chat, id));
        let behind = self.seen.iter().filter(|seen| seen.chat == chat).count();
        let caption = fields.get("caption").and_then(Value::as_str).unwrap_or_default().to_owned();
        let (name, media_type) = (text("name"), text("type"));
        self.sent_files.push(SentFile { chat, kind, name, media_type, bytes, caption, thread, behind });
        Ok(json!({"message_id": id, "date": 1_700_000_000, "chat": {"id": chat, "type": "private"}}))
    }

    fn edit(&mut self, fields: &Map<String, Value>) -> Result<Value, Refusal> {
        let (chat, id) = (self.chat(fields)?, number(fields, "message_id"));
        let (text, marked) = said(fields)?;
        let seen = self.seen.iter_mut().find(|seen| (seen.chat, Some(seen.id)) == (chat, id));
        let seen = seen.ok_or_else(|| error(400, "Bad Request: message to edit not found"))?;
        let buttons = buttons(fields);
        if (&seen.text, &seen.marked, &seen.buttons) == (&text, &marked, &buttons) {
            return Err(error(
                400,
                "Bad Request: message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message",
            ));
        }
        (seen.text, seen.marked, seen.buttons) = (text, marked, buttons);
        Ok(shown(seen))
    }
}

fn number(fields: &Map<String, Value>, name: &str) -> Option<i64> {
    let value = fields.get(name)?;
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// What people will see.
fn said(fields: &Map<String, Value>) -> Result<(String, Vec<(String, String)>), Refusal> {
    let source = fields.get("text").and_then(Value::as_str).unwrap_or_default();
    let (text, marked) = match fields.get("parse_mode").and_then(Value::as_str) {
        None | Some("") => (source.to_owned(), Vec::new()),
        Some("MarkdownV2") => markup::parse(source)
            .map_err(|why| error(400, &format!("Bad Request: can't parse entities: {why}")))?,
        Some(_) => return Err(error(400, "Bad Request: unsupported parse_mode")),
    };
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Err(error(400, "Bad Request: message text is empty"));
    }
    if text.encode_utf16().count() > LONGEST {
        return Err(error(400, "Bad Request: message is too long"));
    }
    Ok((text, marked))
}

fn buttons(fields: &Map<String, Value>) -> Vec<(String, String)> {
    let rows = fields.get("reply_markup").and_then(|markup| markup["inline_keyboard"].as_array().cloned());
    let buttons = rows.into_iter().flatten().filter_map(|row| row.as_array().cloned()).flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    buttons.map(|button| (text(&button["text"]), text(&button["callback_data"]))).collect()
}

fn shown(seen: &Seen) -> Value {
    json!({"message_id": seen.id, "date": 1_700_000_000, "text": seen.text,
        "chat": {"id": seen.chat, "type": if seen.chat > 0 { "private" } else { "supergroup" }},
        "from": {"id": BOT, "is_bot": true, "first_name": "Hermes", "username": NAME}})
}
