//! What is in the workspaces, and what the methods of the Web API do with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{Call, Refusal, Seen, Upload};
use crate::wait;

/// Longest text of a message, and of a section of one.
const LONGEST: usize = 40_000;
const SECTION: usize = 3000;

/// A bot in a workspace.
#[expect(clippy::struct_field_names, reason = "as Slack has them")]
#[derive(Debug, Clone)]
pub(super) struct App {
    pub(super) bot_token: String,
    pub(super) app_token: String,
    pub(super) app_id: String,
    pub(super) team: String,
    /// What the workspace is called.
    pub(super) name: String,
    pub(super) user_id: String,
    pub(super) bot_id: String,
    pub(super) scopes: String,
    /// Those of the app's own token.
    pub(super) app_scopes: String,
    /// What every request is answered with.
    pub(super) revoked: Option<String>,
    pub(super) link_disabled: bool,
}

/// A chat.
#[derive(Debug, Clone)]
pub(super) struct Channel {
    pub(super) kind: &'static str,
    pub(super) team: String,
    /// The bot is not in it.
    pub(super) is_closed: bool,
}

/// One socket.
pub(super) struct Socket {
    pub(super) number: u64,
    pub(super) app: usize,
    /// What is to be sent.
    pub(super) out: Vec<Value>,
    /// It was told to go: nothing more is sent through it.
    pub(super) told: bool,
    /// When it is closed.
    pub(super) close_at: Option<Instant>,
    /// Nothing is read or sent: the network is gone, and nobody says so.
    pub(super) muted: bool,
}

/// Something to be acknowledged.
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) app: usize,
    pub(super) what: Value,
    pub(super) first: Option<Instant>,
    /// When it is sent again.
    pub(super) due: Instant,
    pub(super) sent: u32,
    pub(super) through: u64,
    /// How long that took.
    pub(super) acknowledged: Option<Duration>,
}

/// Everything that the service knows.
pub(super) struct State {
    pub(super) address: String,
    pub(super) next: u64,
    pub(super) apps: Vec<App>,
    pub(super) channels: BTreeMap<String, Channel>,
    /// By chat and time, as events have them.
    pub(super) messages: BTreeMap<(String, String), Value>,
    pub(super) seen: Vec<Seen>,
    pub(super) calls: Vec<Call>,
    pub(super) files: BTreeMap<String, (Value, Vec<u8>)>,
    pub(super) uploads: BTreeMap<String, Upload>,
    pub(super) reactions: BTreeSet<(String, String)>,
    pub(super) responses: Vec<(String, Value)>,
    /// Addresses of answers that are not good any more.
    pub(super) expired: BTreeSet<String>,
    pub(super) refusals: BTreeMap<String, VecDeque<Refusal>>,
    /// Methods whose requests are done and never answered.
    pub(super) stuck: BTreeSet<String>,
    pub(super) tickets: BTreeMap<String, usize>,
    pub(super) sockets: Vec<Socket>,
    pub(super) opened: u64,
    /// Fewest sockets at once since somebody looked.
    pub(super) fewest: usize,
    pub(super) turn: usize,
    pub(super) envelopes: Vec<Envelope>,
    pub(super) ack_within: Duration,
    /// A new socket hears no hello.
    pub(super) says_nothing: bool,
    /// Nobody is called through a socket: events are kept for who calls for them.
    pub(super) is_called: bool,
}

type Answer = Result<Value, Refusal>;

fn error(error: &str) -> Refusal {
    Refusal::error(error)
}

impl State {
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn ts(&mut self) -> String {
        let n = self.number();
        format!("{}.{n:06}", 1_700_000_000 + n)
    }

    /// Something for an app.
    pub(super) fn send(&mut self, app: usize, what: Value) -> String {
        let id = format!("envelope-{}", self.number());
        if !self.is_called {
            let due = wait::now();
            self.envelopes.push(Envelope {
                id: id.clone(),
                app,
                what,
                first: None,
                due,
                sent: 0,
                through: 0,
                acknowledged: None,
            });
        }
        id
    }

    /// An event, as it stands in an envelope or a request.
    pub(super) fn callback(&mut self, app: usize, event: &Value) -> Value {
        let n = self.number();
        let App { team, app_id, user_id, .. } = &self.apps[app];
        json!({"token": "x", "team_id": team, "api_app_id": app_id, "event": event, "type": "event_callback",
            "event_id": format!("Ev{n:08}"), "event_time": 1_700_000_000,
            "authorizations": [{"enterprise_id": null, "team_id": team, "user_id": user_id, "is_bot": true, "is_enterprise_install": false}],
            "is_ext_shared_channel": false, "event_context": "4-x"})
    }

    pub(super) fn event(&mut self, app: usize, event: &Value) {
        let payload = self.callback(app, event);
        self.send(app, json!({"type": "events_api", "accepts_response_payload": false, "payload": payload}));
    }

    /// The bots that hear what is said in a chat.
    pub(super) fn hearing(&self, channel: &str) -> Vec<usize> {
        let team = self.channels.get(channel).map(|channel| channel.team.clone());
        (0..self.apps.len()).filter(|app| team.as_ref() == Some(&self.apps[*app].team)).collect()
    }

    /// A chat; a private one is there once somebody asks for it.
    pub(super) fn channel(&mut self, id: &str) -> Option<Channel> {
        if id.starts_with('D') && !self.channels.contains_key(id) {
            let team = self.apps[0].team.clone();
            self.channels.insert(id.to_owned(), Channel { kind: "im", team, is_closed: false });
        }
        self.channels.get(id).cloned()
    }

    pub(super) fn respond(&mut self, address: &str, what: &Value) {
        let name = address.rsplit('/').next().unwrap_or_default().to_owned();
        if what["replace_original"] == true {
            let shown = what["text"].as_str().unwrap_or_default();
            if let Some(seen) = self.seen.iter_mut().find(|seen| name.contains(&seen.ts)) {
                shown.clone_into(&mut seen.text);
                seen.buttons.clear();
            }
        }
        self.responses.push((name, what.clone()));
    }

    /// Does what a request asks for.
    pub(super) fn call(&mut self, method: &str, token: &str, fields: &Map<String, Value>) -> Answer {
        let text = |name: &str| match fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(other) if !other.is_null() => other.to_string(),
            _ => String::new(),
        };
        if token.is_empty() {
            return Err(error("not_authed"));
        }
        let is_app = self.apps.iter().any(|app| app.app_token == token);
        let at = self.apps.iter().position(|app| app.bot_token == token || app.app_token == token);
        let at = at.ok_or_else(|| error("invalid_auth"))?;
        let app = self.apps[at].clone();
        if let Some(revoked) = &app.revoked {
            return Err(error(revoked));
        }
        if (method == "apps.connections.open") != is_app {
            return Err(error("not_allowed_token_type"));
        }
        if let Some(needed) =
            needed(method).filter(|needed| !app.scopes.split(',').any(|scope| scope == *needed))
        {
            return Err(Refusal { needed: needed.to_owned(), ..error("missing_scope") });
        }
        match method {
            "auth.test" => Ok(
                json!({"url": "https://team.slack.com/", "team": app.name, "user": "hermes", "team_id": app.team,
                "user_id": app.user_id, "bot_id": app.bot_id}),
            ),
            "apps.connections.open" => self.open(at, &app),
            "chat.postMessage" => self.post(at, &app, &text, fields),
            "chat.update" => self.update(&app, &text),
            "chat.postEphemeral" => {
                if self.channels.get(&text("channel")).is_none_or(|channel| channel.is_closed) {
                    return Err(error("channel_not_found"));
                }
                let name = format!("ephemeral {} {}", text("channel"), text("user"));
                self.responses.push((name, Value::Object(fields.clone())));
                Ok(json!({"message_ts": self.ts()}))
            }
            "conversations.replies" => {
                let (channel, root) = (text("channel"), text("ts"));
                if !self.messages.contains_key(&(channel.clone(), root.clone())) {
                    return Err(error("thread_not_found"));
                }
                let all = self.messages.iter().filter(|((of, ts), message)| {
                    *of == channel && (*ts == root || message["thread_ts"] == root.as_str())
                });
                Ok(
                    json!({"messages": all.map(|(_, message)| message.clone()).collect::<Vec<_>>(), "has_more": false}),
                )
            }
            "users.info" => {
                let id = text("user");
                if id.contains("NOBODY") {
                    return Err(error("user_not_found"));
                }
                let name = id.trim_start_matches('U').to_lowercase();
                Ok(
                    json!({"user": {"id": id, "name": name, "real_name": name, "profile": {"display_name": name}}}),
                )
            }
            "reactions.add" | "reactions.remove" => {
                if !self.messages.contains_key(&(text("channel"), text("timestamp"))) {
                    return Err(error("message_not_found"));
                }
                let key = (text("timestamp"), text("name"));
                let did = if method == "reactions.add" {
                    self.reactions.insert(key)
                } else {
                    self.reactions.remove(&key)
                };
                let why = if method == "reactions.add" { "already_reacted" } else { "no_reaction" };
                did.then(|| json!({})).ok_or_else(|| error(why))
            }
            "assistant.threads.setStatus"
                if text("channel_id").is_empty() || text("thread_ts").is_empty() =>
            {
                Err(error("invalid_arguments"))
            }
            "assistant.threads.setStatus" => Ok(json!({})),
            "files.getUploadURLExternal" => {
                let length: usize = text("length").parse().unwrap_or(0);
                if text("filename").is_empty() || length == 0 {
                    return Err(error("invalid_arguments"));
                }
                let id = format!("F{:08}", self.number());
                let upload = Upload { name: text("filename"), length, ..Upload::default() };
                self.uploads.insert(id.clone(), upload);
                Ok(json!({"upload_url": format!("{}/upload/{id}", self.address), "file_id": id}))
            }
            "files.completeUploadExternal" => self.complete(&app, &text, fields),
            "files.info" => match self.files.get(&text("file")) {
                Some((file, _)) => Ok(json!({"file": file})),
                None => Err(error("file_not_found")),
            },
            _ => Err(error("unknown_method")),
        }
    }

    fn open(&mut self, at: usize, app: &App) -> Answer {
        const SCOPE: &str = "connections:write";
        if !app.app_scopes.split(',').any(|scope| scope == SCOPE) {
            return Err(Refusal { needed: SCOPE.to_owned(), ..error("missing_scope") });
        }
        if app.link_disabled {
            return Err(error("forbidden"));
        }
        if self.sockets.iter().filter(|socket| socket.app == at).count() >= 10 {
            return Err(error("too_many_websockets"));
        }
        let ticket = format!("ticket-{}", self.number());
        self.tickets.insert(ticket.clone(), at);
        let address = self.address.replacen("http", "ws", 1);
        Ok(json!({"url": format!("{address}/link/?ticket={ticket}&app_id={}", app.app_id)}))
    }

    fn post(
        &mut self,
        at: usize,
        app: &App,
        text: &dyn Fn(&str) -> String,
        fields: &Map<String, Value>,
    ) -> Answer {
        let mut channel = text("channel");
        if channel.starts_with('U') {
            channel = format!("D{}", &channel[1..]);
        }
        let known = self.channel(&channel).filter(|known| known.team == self.apps[at].team);
        match known {
            None => return Err(error("channel_not_found")),
            Some(known) if known.is_closed => return Err(error("not_in_channel")),
            Some(_) => {}
        }
        let said = text("text");
        if said.is_empty() && !fields.contains_key("blocks") {
            return Err(error("no_text"));
        }
        if said.chars().count() > LONGEST {
            return Err(error("msg_too_long"));
        }
        let blocks = fields.get("blocks").cloned().unwrap_or_default();
        let sections = blocks.as_array().into_iter().flatten();
        let long =
            |block: &Value| block["text"]["text"].as_str().is_some_and(|text| text.chars().count() > SECTION);
        if sections.clone().any(long) || sections.count() > 50 {
            return Err(error("invalid_blocks"));
        }
        let thread = Some(text("thread_ts")).filter(|thread| !thread.is_empty());
        if thread
            .as_ref()
            .is_some_and(|thread| !self.messages.contains_key(&(channel.clone(), thread.clone())))
        {
            return Err(error("thread_not_found"));
        }
        let ts = self.ts();
        let mut message = json!({"type": "message", "user": app.user_id, "bot_id": app.bot_id, "app_id": app.app_id,
            "team": app.team, "text": said, "ts": ts});
        if let Some(thread) = &thread {
            message["thread_ts"] = thread.as_str().into();
        }
        self.messages.insert((channel.clone(), ts.clone()), message.clone());
        self.seen.push(Seen {
            channel: channel.clone(),
            thread,
            text: said,
            ts: ts.clone(),
            buttons: buttons(&blocks),
            edits: 0,
            is_broadcast: fields.get("reply_broadcast") == Some(&Value::Bool(true)),
        });
        // Who posts hears of it.
        let mut event = message.clone();
        event["channel"] = channel.as_str().into();
        event["channel_type"] = if channel.starts_with('D') { "im" } else { "channel" }.into();
        self.event(at, &event);
        Ok(json!({"channel": channel, "ts": ts, "message": message}))
    }

    fn update(&mut self, app: &App, text: &dyn Fn(&str) -> String) -> Answer {
        let key = (text("channel"), text("ts"));
        let Some(message) = self.messages.get_mut(&key) else { return Err(error("message_not_found")) };
        if message["bot_id"] != app.bot_id.as_str() {
            return Err(error("cant_update_message"));
        }
        message["text"] = text("text").into();
        if let Some(seen) = self.seen.iter_mut().find(|seen| seen.ts == key.1) {
            seen.text = text("text");
            seen.edits += 1;
        }
        Ok(json!({"channel": key.0, "ts": key.1, "text": text("text")}))
    }

    fn complete(&mut self, app: &App, text: &dyn Fn(&str) -> String, fields: &Map<String, Value>) -> Answer {
        let channel = text("channel_id");
        let is_here = |known: Option<Channel>| known.is_some_and(|known| known.team == app.team);
        if !channel.is_empty() && !is_here(self.channel(&channel)) {
            return Err(error("channel_not_found"));
        }
        let mut shown = Vec::new();
        for file in fields.get("files").and_then(Value::as_array).into_iter().flatten() {
            let id = file["id"].as_str().unwrap_or_default();
            let upload = self.uploads.get_mut(id).filter(|upload| upload.bytes.len() == upload.length);
            let upload = upload.ok_or_else(|| error("file_not_found"))?;
            upload.shown =
                Some((channel.clone(), Some(text("thread_ts")).filter(|thread| !thread.is_empty())));
            shown.push(json!({"id": id, "title": file["title"]}));
        }
        if shown.is_empty() { Err(error("invalid_arguments")) } else { Ok(json!({"files": shown})) }
    }
}

/// The buttons below a message: what they say, and what a press of each says.
fn buttons(blocks: &Value) -> Vec<(String, Value)> {
    let actions = blocks.as_array().into_iter().flatten().filter(|block| block["type"] == "actions");
    let all = actions.flat_map(|block| block["elements"].as_array().into_iter().flatten());
    all.map(|button| {
        let label = button["text"]["text"].as_str().unwrap_or_default().to_owned();
        (label, json!({"action_id": button["action_id"], "value": button["value"], "type": "button", "block_id": "b"}))
    })
    .collect()
}

fn needed(method: &str) -> Option<&'static str> {
    Some(match method {
        "chat.postMessage" | "chat.update" | "chat.postEphemeral" => "chat:write",
        "reactions.add" | "reactions.remove" => "reactions:write",
        "files.getUploadURLExternal" | "files.completeUploadExternal" => "files:write",
        "users.info" => "users:read",
        "assistant.threads.setStatus" => "assistant:write",
        "conversations.replies" => "channels:history",
        _ => return None,
    })
}
