//! What is in the chats, and what the methods of the Bot API do with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::TcpStream;

use serde_json::{Map, Value, json};

use super::{BOT, Call, NAME, Refusal, Seen, error, markup};

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
    pub(super) messages: BTreeSet<(i64, i64)>,
    pub(super) seen: Vec<Seen>,
    pub(super) calls: Vec<Call>,
    pub(super) poll: Option<Poll>,
    pub(super) polls: u64,
    pub(super) overlaps: u32,
    /// Another program polls too.
    pub(super) rival: bool,
    pub(super) webhook: String,
    pub(super) token: String,
    pub(super) blocked: BTreeSet<i64>,
    pub(super) migrated: BTreeMap<i64, i64>,
    pub(super) refusals: BTreeMap<String, VecDeque<Refusal>>,
    /// Methods whose requests are done and never answered.
    pub(super) stuck: BTreeSet<String>,
    pub(super) answered_presses: BTreeMap<String, Map<String, Value>>,
}

impl State {
    /// Does what a request asks for.
    pub(super) fn call(&mut self, method: &str, fields: &Map<String, Value>) -> Result<Value, Refusal> {
        let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        match method {
            "getMe" => Ok(json!({"id": BOT, "is_bot": true, "first_name": "Hermes", "username": NAME,
                "can_join_groups": true, "can_read_all_group_messages": false, "supports_inline_queries": false})),
            "getWebhookInfo" => Ok(json!({"url": self.webhook, "has_custom_certificate": false,
                "pending_update_count": self.updates.len()})),
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
                Ok(
                    json!({"file_id": id, "file_unique_id": id, "file_size": bytes.len(), "file_path": format!("files/{id}")}),
                )
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
