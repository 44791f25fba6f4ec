//! What is in the servers and chats, and what requests do with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use serde_json::{Value, json};

use super::request::{Request, Upload};
use super::session::{Session, Sockets};
use super::{
    ANN, APPLICATION, BOB, BOT, Call, FORUM, GENERAL, GUILD, Interaction, NAME, RANDOM, ROBOT, ROLE, Refusal,
    Seen, error,
};
use crate::asked::decoded;
use crate::wait;

/// Longest message, in characters.
const LONGEST: usize = 2000;

/// Everything that the service knows.
#[derive(Default)]
pub(super) struct State {
    pub(super) token: String,
    pub(super) beat: u64,
    /// Where its gateway and its REST are.
    pub(super) gateway: String,
    pub(super) rest: String,
    pub(super) next_id: u64,
    pub(super) next_socket: u64,
    pub(super) users: BTreeMap<u64, Value>,
    pub(super) roles: BTreeMap<u64, Vec<String>>,
    pub(super) guilds: BTreeMap<u64, Value>,
    pub(super) channels: BTreeMap<u64, Value>,
    pub(super) messages: BTreeMap<u64, Value>,
    pub(super) files: BTreeMap<u64, Vec<u8>>,
    pub(super) seen: Vec<Seen>,
    pub(super) reactions: Vec<(u64, String, bool)>,
    pub(super) nonces: BTreeMap<String, u64>,
    pub(super) interactions: BTreeMap<u64, Interaction>,
    pub(super) commands: BTreeMap<u64, Value>,
    pub(super) calls: Vec<Call>,
    pub(super) refusals: BTreeMap<String, VecDeque<Refusal>>,
    pub(super) stuck: BTreeSet<String>,
    /// Of each route: what is left, and until when.
    pub(super) buckets: BTreeMap<String, (u32, Instant)>,
    /// What a channel takes at once, and in how many milliseconds.
    pub(super) limit: Option<(u32, u64)>,
    pub(super) violations: u32,
    pub(super) sockets: Sockets,
    pub(super) sessions: BTreeMap<String, Session>,
    pub(super) identifies: u64,
    pub(super) resumes: u64,
    pub(super) beats: u64,
    pub(super) overlaps: u32,
    pub(super) closes: Vec<u16>,
    pub(super) disallowed: u64,
    /// Channels that the bot does not see.
    pub(super) hidden: BTreeSet<u64>,
    /// The bot is in no server, as far as it is asked.
    pub(super) is_outside: bool,
    /// What its roles let it do; none: everything.
    pub(super) permissions: Option<u64>,
}

fn number(text: &str) -> Option<u64> {
    text.parse().ok()
}

impl State {
    /// A server, its people and a few channels.
    pub(super) fn populate(&mut self) {
        let user = |id: u64, name: &str, shown: Option<&str>, is_bot: bool| {
            json!({"id": id.to_string(), "username": name, "global_name": shown, "discriminator": if is_bot { "0001" } else { "0" },
            "avatar": null, "bot": is_bot, "public_flags": 0})
        };
        for (id, name, shown, is_bot) in [
            (BOT, NAME, None, true),
            (ANN, "ann", Some("Ann Lee"), false),
            (BOB, "bob", None, false),
            (ROBOT, "robot", None, true),
        ] {
            self.users.insert(id, user(id, name, shown, is_bot));
            self.roles.insert(id, Vec::new());
        }
        let role = |id: u64, name: &str| {
            json!({"id": id.to_string(), "name": name, "color": 0, "colors": {"primary_color": 0, "secondary_color": null, "tertiary_color": null},
            "hoist": false, "position": 0, "permissions": "8", "managed": false, "mentionable": false, "flags": 0})
        };
        let guild = json!({
            "id": GUILD.to_string(), "name": "Guild", "icon": null, "owner_id": ANN.to_string(), "roles": [role(GUILD, "@everyone"), role(ROLE, "crew")],
            "emojis": [], "stickers": [], "features": [], "afk_channel_id": null, "afk_timeout": 300, "verification_level": 0,
            "default_message_notifications": 0, "explicit_content_filter": 0, "mfa_level": 0, "application_id": null,
            "system_channel_id": null, "system_channel_flags": 0, "rules_channel_id": null, "vanity_url_code": null, "description": null,
            "banner": null, "premium_tier": 0, "preferred_locale": "en-US", "public_updates_channel_id": null, "nsfw_level": 0,
            "premium_progress_bar_enabled": false, "safety_alerts_channel_id": null, "splash": null, "discovery_splash": null,
            "max_members": 1000, "joined_at": "2024-01-01T00:00:00+00:00", "large": false, "unavailable": false, "member_count": 4,
            "voice_states": [], "members": [], "presences": [], "stage_instances": [], "guild_scheduled_events": [], "soundboard_sounds": [],
        });
        self.guilds.insert(GUILD, guild);
        for (id, kind, name) in [(GENERAL, 0, "general"), (RANDOM, 0, "random"), (FORUM, 15, "forum")] {
            let channel = json!({"id": id.to_string(), "type": kind, "guild_id": GUILD.to_string(), "name": name, "position": 0,
            "permission_overwrites": [], "nsfw": false, "parent_id": null, "topic": null, "last_message_id": null,
            "rate_limit_per_user": 0, "flags": 0, "available_tags": [], "default_reaction_emoji": null, "default_sort_order": null,
            "default_forum_layout": 0});
            self.channels.insert(id, channel);
        }
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn me(&self) -> Value {
        self.users[&BOT].clone()
    }

    pub(super) fn member(&self, user: u64) -> Value {
        json!({"roles": self.roles.get(&user).cloned().unwrap_or_default(), "nick": null, "avatar": null,
            "joined_at": "2024-01-01T00:00:00+00:00", "premium_since": null, "deaf": false, "mute": false, "flags": 0,
            "pending": false, "communication_disabled_until": null})
    }

    pub(super) fn guild_object(&self, guild: &Value) -> Value {
        let of_guild = |threads: bool| -> Vec<Value> {
            let is_thread = |channel: &&Value| {
                channel["guild_id"] == guild["id"]
                    && (10..=12).contains(&channel["type"].as_u64().unwrap()) == threads
            };
            self.channels.values().filter(is_thread).cloned().collect()
        };
        let mut whole = guild.clone();
        whole["channels"] = of_guild(false).into();
        whole["threads"] = of_guild(true).into();
        whole
    }

    /// Something happens in a channel, for every session that wants to hear of it.
    pub(super) fn emit(&mut self, name: &str, data: &Value, wanted: u64) {
        let mut sessions = std::mem::take(&mut self.sessions);
        let me = BOT.to_string();
        for session in sessions.values_mut().filter(|session| wanted == 0 || session.intents & wanted != 0) {
            let mut data = data.clone();
            let is_blank = name == "MESSAGE_CREATE"
                && session.intents & (1 << 15) == 0
                && !data["guild_id"].is_null()
                && data["author"]["id"] != me.as_str()
                && !data["mentions"].as_array().unwrap().iter().any(|user| user["id"] == me.as_str());
            if is_blank {
                data["content"] = "".into();
                data["attachments"] = json!([]);
            }
            session.dispatch(name, &data, &mut self.sockets);
        }
        self.sessions = sessions;
    }

    /// The servers that the bot is in, as it is told.
    fn places(&self) -> Value {
        let permissions = self.permissions.unwrap_or(1 << 3).to_string();
        let of = |guild: &Value| json!({"id": guild["id"], "name": guild["name"], "icon": null, "banner": null, "owner": false, "permissions": permissions, "features": []});
        self.guilds.values().filter(|_| !self.is_outside).map(of).collect()
    }

    /// Which intents its application was granted, being in few servers.
    fn flags(&self) -> u64 {
        if self.disallowed & super::MESSAGE_CONTENT == 0 { 1 << 19 } else { 0 }
    }

    /// Somebody's message, as it is stored.
    pub(super) fn message(&mut self, channel: u64, user: u64, text: &str, more: &Value) -> Value {
        let id = self.id();
        let mentions: Vec<Value> = self
            .users
            .iter()
            .filter(|(id, _)| text.contains(&format!("<@{id}>")))
            .map(|(_, user)| user.clone())
            .collect();
        let mut message = json!({
            "id": id.to_string(), "channel_id": channel.to_string(), "author": self.users[&user], "content": text,
            "timestamp": "2026-01-01T00:00:00.000000+00:00", "edited_timestamp": null, "tts": false, "mention_everyone": false,
            "mentions": mentions, "mention_roles": [], "attachments": [], "embeds": [], "pinned": false, "type": 0, "flags": 0,
            "components": [],
        });
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        self.messages.insert(id, message.clone());
        message
    }

    /// Everybody hears of a message.
    pub(super) fn publish(&mut self, message: &Value) {
        let channel = number(message["channel_id"].as_str().unwrap()).unwrap();
        let known = self.channels[&channel].clone();
        let mut message = message.clone();
        message["channel_type"] = known["type"].clone();
        let wanted = if known["guild_id"].is_null() { 1 << 12 } else { 1 << 9 };
        if !known["guild_id"].is_null() {
            message["guild_id"] = known["guild_id"].clone();
            let author = message["author"]["id"].as_str().and_then(number).unwrap();
            if message.get("member").is_none() {
                message["member"] = self.member(author);
            }
        }
        self.emit("MESSAGE_CREATE", &message, wanted);
    }

    /// The private channel of somebody.
    pub(super) fn private(&mut self, user: u64) -> u64 {
        let name = user.to_string();
        let is_of = |channel: &Value| channel["type"] == 1 && channel["recipients"][0]["id"] == name.as_str();
        if let Some((id, _)) = self.channels.iter().find(|(_, channel)| is_of(channel)) {
            return *id;
        }
        let id = self.id();
        let recipient = self.users[&user].clone();
        let channel = json!({"id": id.to_string(), "type": 1, "last_message_id": null, "recipients": [recipient], "flags": 0});
        self.channels.insert(id, channel);
        id
    }

    pub(super) fn thread(&mut self, id: u64, parent: u64, name: &str, owner: u64) -> Value {
        let guild = self.channels[&parent]["guild_id"].clone();
        let thread = json!({
            "id": id.to_string(), "type": 11, "guild_id": guild, "parent_id": parent.to_string(), "name": name,
            "owner_id": owner.to_string(), "message_count": 0, "member_count": 1, "rate_limit_per_user": 0, "flags": 0,
            "last_message_id": null, "total_message_sent": 0,
            "thread_metadata": {"archived": false, "auto_archive_duration": 1440, "archive_timestamp": "2026-01-01T00:00:00+00:00", "locked": false},
        });
        self.channels.insert(id, thread.clone());
        self.emit("THREAD_CREATE", &thread, 1);
        thread
    }

    /// Takes one from what a route has left. The headers of the answer, and how long to wait where nothing is left.
    pub(super) fn limited(&mut self, route: &str, path: &str) -> (Vec<(String, String)>, Option<f64>) {
        let (most, window) = match self.limit {
            Some(limit) if route == "POST messages" => limit,
            _ => (500, 1000),
        };
        let now = wait::now();
        let top = path.split('/').nth(2).unwrap_or_default();
        let window = std::time::Duration::from_millis(window);
        let bucket = self.buckets.entry(format!("{route} {top}")).or_insert((most, now + window));
        if bucket.1 <= now {
            *bucket = (most, now + window);
        }
        let left = (bucket.1 - now).as_secs_f64();
        let over = (bucket.0 == 0).then_some(left);
        bucket.0 = bucket.0.saturating_sub(1);
        let is_over = over.is_some();
        let headers = [
            ("X-RateLimit-Bucket", format!("b-{}", route.replace([' ', '/', '@'], "-"))),
            ("X-RateLimit-Limit", most.to_string()),
            ("X-RateLimit-Remaining", bucket.0.to_string()),
            ("X-RateLimit-Reset-After", format!("{left:.3}")),
            ("X-RateLimit-Reset", format!("{left:.3}")),
        ];
        let mut headers: Vec<(String, String)> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if is_over {
            self.violations += 1;
            headers.push(("X-RateLimit-Scope".to_owned(), "user".to_owned()));
        }
        (headers, over)
    }

    /// Does what a request asks for; none: there is nothing to say of it.
    pub(super) fn call(&mut self, request: &Request) -> Result<Option<Value>, Refusal> {
        let parts: Vec<&str> = request.path.trim_matches('/').split('/').collect();
        let body = &request.body;
        match (request.method.as_str(), parts.as_slice()) {
            ("GET", ["users", "@me"]) => Ok(Some(self.me())),
            ("GET", ["users", "@me", "guilds"]) => Ok(Some(self.places())),
            ("GET", ["gateway", "bot"]) => Ok(Some(json!({
                "url": format!("ws://{}", self.gateway), "shards": 1,
                "session_start_limit": {"total": 1000, "remaining": 1000 - self.identifies.min(1000), "reset_after": 14_400_000, "max_concurrency": 1},
            }))),
            ("GET", ["oauth2" | "applications", ..]) if parts.last() == Some(&"@me") => Ok(Some(json!({
                "id": APPLICATION.to_string(), "name": NAME, "icon": null, "description": "", "summary": "", "bot_public": true,
                "bot_require_code_grant": false, "verify_key": "0".repeat(64), "flags": self.flags(), "team": null, "rpc_origins": [],
                "redirect_uris": [], "interactions_endpoint_url": null, "integration_types_config": {}, "bot": self.me(),
                "owner": self.me(),
            }))),
            ("POST", ["users", "@me", "channels"]) => {
                let user = body["recipient_id"].as_str().and_then(number);
                let user = user
                    .filter(|user| self.users.contains_key(user))
                    .ok_or_else(|| error(400, 50033, "Invalid Recipient(s)"))?;
                let channel = self.private(user);
                Ok(Some(self.channels[&channel].clone()))
            }
            ("GET", ["guilds", guild]) => {
                let guild = number(guild).and_then(|guild| self.guilds.get(&guild));
                guild.cloned().map(Some).ok_or_else(|| error(404, 10004, "Unknown Guild"))
            }
            ("GET", ["guilds", _, "members", user]) => {
                let user = number(user)
                    .filter(|user| self.users.contains_key(user) && self.roles.contains_key(user));
                let user = user.ok_or_else(|| error(404, 10007, "Unknown Member"))?;
                let mut member = self.member(user);
                member["user"] = self.users[&user].clone();
                Ok(Some(member))
            }
            ("POST", ["interactions", id, token, "callback"]) => self.callback(id, token, body).map(Some),
            (method, ["webhooks", _, token, rest @ ..]) => {
                self.webhook(method, token, rest, request).map(Some)
            }
            (method, ["applications", _, "commands", rest @ ..]) => self.menu(method, rest, body),
            (method, ["channels", channel, rest @ ..]) => {
                let channel = number(channel).filter(|channel| self.channels.contains_key(channel));
                let channel = channel.ok_or_else(|| error(404, 10003, "Unknown Channel"))?;
                if self.hidden.contains(&channel) {
                    return Err(error(403, 50001, "Missing Access"));
                }
                self.channel(method, channel, rest, request)
            }
            _ => Err(error(404, 0, "404: Not Found")),
        }
    }

    fn channel(
        &mut self,
        method: &str,
        channel: u64,
        rest: &[&str],
        request: &Request,
    ) -> Result<Option<Value>, Refusal> {
        let body = &request.body;
        match (method, rest) {
            ("GET", []) => Ok(Some(self.channels[&channel].clone())),
            ("PATCH", []) => {
                if let Some(archived) = body["archived"].as_bool() {
                    self.channels.get_mut(&channel).unwrap()["thread_metadata"]["archived"] = archived.into();
                }
                if let Some(name) = body["name"].as_str() {
                    if name.is_empty() || name.chars().count() > 100 {
                        return Err(error(400, 50035, "Invalid Form Body"));
                    }
                    self.channels.get_mut(&channel).unwrap()["name"] = name.into();
                }
                Ok(Some(self.channels[&channel].clone()))
            }
            ("POST", ["typing"]) => Ok(None),
            ("POST", ["messages"]) => self.post(channel, request).map(Some),
            ("POST", ["threads"]) => {
                if self.channels[&channel]["type"] != 15 {
                    return Err(error(400, 50024, "Cannot execute action on this channel type"));
                }
                let name = body["name"].as_str().unwrap_or_default().to_owned();
                let id = self.id();
                let mut thread = self.thread(id, channel, &name, BOT);
                let message = self.sent(id, &body["message"], &request.files)?;
                thread["message"] = message;
                Ok(Some(thread))
            }
            ("POST", ["messages", message, "threads"]) => {
                let message = number(message).filter(|message| self.messages.contains_key(message));
                let message = message.ok_or_else(|| error(404, 10008, "Unknown Message"))?;
                if self.channels.contains_key(&message) {
                    return Err(error(400, 160_004, "A thread has already been created for this message"));
                }
                let name = body["name"].as_str().unwrap_or_default().to_owned();
                if name.is_empty() || name.chars().count() > 100 {
                    return Err(error(400, 50035, "Invalid Form Body"));
                }
                Ok(Some(self.thread(message, channel, &name, BOT)))
            }
            ("GET", ["messages"]) => {
                let name = channel.to_string();
                let asked = |key: &str| {
                    let pairs = request.query.split('&').filter_map(|pair| pair.split_once('='));
                    pairs.filter(|(name, _)| *name == key).find_map(|(_, value)| number(value))
                };
                let (before, limit) = (asked("before").unwrap_or(u64::MAX), asked("limit").unwrap_or(50));
                if !(1..=100).contains(&limit) {
                    return Err(error(400, 50035, "Invalid Form Body"));
                }
                let all = self.messages.range(..before).rev().map(|(_, message)| message);
                let here = all.filter(|message| message["channel_id"] == name.as_str());
                let limit = usize::try_from(limit).unwrap();
                Ok(Some(here.take(limit).cloned().collect::<Vec<_>>().into()))
            }
            ("PATCH", ["messages", id]) => {
                let id = number(id).filter(|id| self.messages.contains_key(id));
                let id = id.ok_or_else(|| error(404, 10008, "Unknown Message"))?;
                let text = checked(body)?;
                self.messages.get_mut(&id).unwrap()["content"] = text.clone().into();
                for seen in self.seen.iter_mut().filter(|seen| seen.id == id) {
                    seen.text.clone_from(&text);
                }
                Ok(Some(self.messages[&id].clone()))
            }
            (method @ ("PUT" | "DELETE"), ["messages", id, "reactions", sign, "@me"]) => {
                let id = number(id).filter(|id| self.messages.contains_key(id));
                let id = id.ok_or_else(|| error(404, 10008, "Unknown Message"))?;
                self.reactions.push((id, decoded(sign), method == "PUT"));
                Ok(None)
            }
            _ => Err(error(404, 0, "404: Not Found")),
        }
    }

    fn post(&mut self, channel: u64, request: &Request) -> Result<Value, Refusal> {
        let body = &request.body;
        if self.channels[&channel]["type"] == 15 {
            return Err(error(400, 50008, "Cannot send messages in a non-text channel"));
        }
        if self.channels[&channel]["thread_metadata"]["archived"] == true {
            return Err(error(400, 50083, "Thread is archived"));
        }
        if let Some(to) = reply_to(body) {
            let found = self.messages.get(&to);
            match found {
                Some(found) if ![0, 19].contains(&found["type"].as_u64().unwrap()) => {
                    return Err(error(400, 50035, "Cannot reply to a system message"));
                }
                None if body["message_reference"]["fail_if_not_exists"] != false => {
                    return Err(error(400, 10008, "Unknown Message"));
                }
                _ => {}
            }
        }
        if let Some(nonce) = body["nonce"].as_str().filter(|_| body["enforce_nonce"] == true) {
            if nonce.len() > 25 {
                return Err(error(400, 50035, "Invalid Form Body"));
            }
            if let Some(there) = self.nonces.get(nonce) {
                return Ok(self.messages[there].clone());
            }
        }
        let message = self.sent(channel, body, &request.files)?;
        if let Some(nonce) = body["nonce"].as_str().filter(|_| body["enforce_nonce"] == true) {
            let id = message["id"].as_str().and_then(number).unwrap();
            self.nonces.insert(nonce.to_owned(), id);
        }
        self.publish(&message);
        Ok(message)
    }

    /// The bot's message is there.
    fn sent(&mut self, channel: u64, body: &Value, files: &[Upload]) -> Result<Value, Refusal> {
        let text = if files.is_empty() {
            checked(body)?
        } else {
            body["content"].as_str().unwrap_or_default().to_owned()
        };
        let allowed = &body["allowed_mentions"];
        let may = |kind: &str| {
            allowed.is_null()
                || allowed["parse"].as_array().is_some_and(|parse| parse.iter().any(|one| one == kind))
        };
        let calls_everyone = (text.contains("@everyone") || text.contains("@here")) && may("everyone");
        let mut attachments = Vec::new();
        for file in files {
            let id = self.id();
            self.files.insert(id, file.bytes.clone());
            attachments.push(json!({"id": id.to_string(), "filename": file.name, "size": file.bytes.len(), "content_type": file.media_type,
                "url": format!("http://{}/files/{id}", self.rest), "proxy_url": ""}));
        }
        let reply_to = reply_to(body).filter(|to| self.messages.contains_key(to));
        let mut more = json!({"mention_everyone": calls_everyone, "attachments": attachments, "components": body["components"].as_array().cloned().unwrap_or_default(),
            "type": if reply_to.is_some() { 19 } else { 0 }});
        if let Some(to) = reply_to {
            more["message_reference"] =
                json!({"type": 0, "message_id": to.to_string(), "channel_id": channel.to_string()});
            more["referenced_message"] = self.messages[&to].clone();
        }
        let message = self.message(channel, BOT, &text, &more);
        self.seen.push(Seen {
            channel,
            id: message["id"].as_str().and_then(number).unwrap(),
            text,
            reply_to,
            buttons: buttons(&message["components"]),
            calls_everyone,
            files: files.to_vec(),
        });
        Ok(message)
    }

    fn callback(&mut self, id: &str, token: &str, body: &Value) -> Result<Value, Refusal> {
        let found =
            number(id).and_then(|id| self.interactions.get_mut(&id)).filter(|found| found.token == token);
        let found = found.ok_or_else(|| error(404, 10062, "Unknown interaction"))?;
        if found.callback.is_some() {
            return Err(error(400, 40060, "Interaction has already been acknowledged."));
        }
        found.after = Some(found.at.elapsed());
        found.callback = Some(body.clone());
        let message = found.message;
        if let (Some(message), Some(7)) = (message, body["type"].as_u64()) {
            let shown = buttons(&body["data"]["components"]);
            for seen in self.seen.iter_mut().filter(|seen| seen.id == message) {
                seen.buttons.clone_from(&shown);
            }
        }
        // As with `with_response=true`.
        let resource = json!({"type": body["type"]});
        let message = message.map(|message| message.to_string());
        Ok(
            json!({"interaction": {"id": id, "type": 2, "response_message_id": message}, "resource": resource}),
        )
    }

    fn webhook(
        &mut self,
        method: &str,
        token: &str,
        rest: &[&str],
        request: &Request,
    ) -> Result<Value, Refusal> {
        let found = self.interactions.values_mut().find(|found| found.token == token);
        let found = found.ok_or_else(|| error(404, 50027, "Invalid Webhook Token"))?;
        if found.callback.is_none() || found.is_over {
            return Err(error(404, 10015, "Unknown Webhook"));
        }
        let channel = found.channel;
        let (id, is_new) = (found.id, method == "POST" && rest.is_empty());
        let message =
            if is_new { self.sent(channel, &request.body, &request.files)? } else { request.body.clone() };
        let text = message["content"].as_str().unwrap_or_default().to_owned();
        self.interactions.get_mut(&id).unwrap().followups.push(text);
        Ok(message)
    }

    fn menu(&mut self, method: &str, rest: &[&str], body: &Value) -> Result<Option<Value>, Refusal> {
        let with_id = |id: u64, command: &Value| {
            let mut command = command.clone();
            command["id"] = id.to_string().into();
            command["application_id"] = APPLICATION.to_string().into();
            command["version"] = "1".into();
            for (key, value) in
                [("default_member_permissions", Value::Null), ("type", 1.into()), ("nsfw", false.into())]
            {
                if command.get(key).is_none() {
                    command[key] = value;
                }
            }
            command
        };
        match (method, rest) {
            ("GET", []) => Ok(Some(self.commands.values().cloned().collect::<Vec<_>>().into())),
            ("PUT", []) => {
                self.commands.clear();
                for command in body.as_array().cloned().unwrap_or_default() {
                    let id = self.id();
                    self.commands.insert(id, with_id(id, &command));
                }
                Ok(Some(self.commands.values().cloned().collect::<Vec<_>>().into()))
            }
            ("POST", []) => {
                let id = self.id();
                self.commands.insert(id, with_id(id, body));
                Ok(Some(self.commands[&id].clone()))
            }
            (method, [id]) => {
                let id = number(id).filter(|id| self.commands.contains_key(id));
                let id = id.ok_or_else(|| error(404, 10063, "Unknown application command"))?;
                if method == "DELETE" {
                    self.commands.remove(&id);
                    return Ok(None);
                }
                self.commands.insert(id, with_id(id, body));
                Ok(Some(self.commands[&id].clone()))
            }
            _ => Err(error(404, 0, "404: Not Found")),
        }
    }
}

/// A text that Discord takes.
fn checked(body: &Value) -> Result<String, Refusal> {
    let text = body["content"].as_str().unwrap_or_default();
    if text.chars().count() > LONGEST {
        return Err(error(400, 50035, "Invalid Form Body"));
    }
    if text.trim().is_empty() {
        return Err(error(400, 50006, "Cannot send an empty message"));
    }
    Ok(text.to_owned())
}

/// What buttons say, and what a press of each says.
fn buttons(rows: &Value) -> Vec<(String, String)> {
    let rows = rows.as_array().cloned().unwrap_or_default();
    let all = rows.iter().flat_map(|row| row["components"].as_array().cloned().unwrap_or_default());
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|button| (text(&button["label"]), text(&button["custom_id"]))).collect()
}

/// The message that a request answers. Its id may be a number or a text, as the real service takes both.
fn reply_to(body: &Value) -> Option<u64> {
    let id = &body["message_reference"]["message_id"];
    id.as_u64().or_else(|| id.as_str().and_then(number))
}
