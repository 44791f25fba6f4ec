//! What is on the server, and what requests do with it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::{BOT, Call, Refusal, Seen, TEAM};
use crate::wait;

/// Longest text of a post, in characters.
const LONGEST: usize = 16_383;
/// For so long the same post is not made twice.
const PENDING: Duration = Duration::from_secs(30);

/// A channel.
pub(super) struct Channel {
    pub(super) kind: &'static str,
    pub(super) name: String,
    /// The bot is not in it any more.
    pub(super) is_left: bool,
}

/// A socket.
#[derive(Default)]
pub(super) struct Socket {
    /// Who listens is known.
    pub(super) is_known: bool,
    pub(super) is_mute: bool,
    pub(super) is_over: bool,
    pub(super) out: Vec<Value>,
    /// The number of the next event.
    pub(super) number: u64,
}

/// The whole.
pub(super) struct State {
    pub(super) clock: u64,
    pub(super) users: BTreeMap<String, String>,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) posts: Vec<Value>,
    pub(super) edits: BTreeMap<String, u32>,
    pub(super) pending: BTreeMap<String, (String, Instant)>,
    pub(super) files: BTreeMap<String, (String, Vec<u8>)>,
    pub(super) reactions: BTreeSet<(String, String)>,
    pub(super) typed: Vec<String>,
    pub(super) calls: Vec<Call>,
    pub(super) refusals: BTreeMap<String, VecDeque<Refusal>>,
    pub(super) stuck: BTreeSet<String>,
    pub(super) is_revoked: bool,
    pub(super) is_closed: bool,
    pub(super) skips: u32,
    pub(super) most: usize,
    pub(super) opened: u64,
    pub(super) sockets: BTreeMap<u64, Socket>,
}

/// What a request is answered with.
pub(super) type Answer = Result<Value, Refusal>;

fn no(status: u16, id: &str) -> Answer {
    Err(Refusal::error(status, id))
}

fn text<'v>(fields: &'v Value, name: &str) -> &'v str {
    fields[name].as_str().unwrap_or_default()
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn id(&mut self, of: &str) -> String {
        format!("{of}{:0>width$}", self.tick(), width = 26 - of.len())
    }

    /// A file that was brought; what it is called.
    pub(super) fn file(&mut self, name: &str, bytes: Vec<u8>) -> String {
        let id = self.id("file");
        self.files.insert(id.clone(), (name.to_owned(), bytes));
        id
    }

    pub(super) fn info(&self, id: &str) -> Option<Value> {
        let (name, bytes) = self.files.get(id)?;
        let kind = if name.rsplit('.').next() == Some("png") { "image/png" } else { "text/plain" };
        Some(
            json!({"id": id, "name": name, "extension": name.rsplit('.').next(), "size": bytes.len(), "mime_type": kind}),
        )
    }

    /// Makes a post, and tells everybody who listens.
    pub(super) fn add(&mut self, channel: &str, user: &str, message: &str, more: &Value) -> Value {
        let (id, at) = (self.id("post"), self.clock);
        let mut post = json!({"id": id, "create_at": at, "update_at": at, "edit_at": 0, "delete_at": 0, "is_pinned": false,
            "user_id": user, "channel_id": channel, "root_id": "", "original_id": "", "message": message, "type": "", "props": {},
            "hashtags": "", "file_ids": [], "pending_post_id": "", "reply_count": 0, "metadata": {}});
        for (key, value) in more.as_object().unwrap() {
            post[key] = value.clone();
        }
        let files: Vec<Value> =
            post["file_ids"].as_array().unwrap().iter().filter_map(|id| self.info(id.as_str()?)).collect();
        if !files.is_empty() {
            post["metadata"] = json!({"files": files});
        }
        if user == BOT {
            post["props"] = json!({"from_bot": "true"});
        }
        self.posts.push(post.clone());
        self.tell(&post);
        post
    }

    pub(super) fn tell(&mut self, post: &Value) {
        let channel = self.channels.get(text(post, "channel_id"));
        let (kind, name) = channel.map(|channel| (channel.kind, channel.name.clone())).unwrap_or_default();
        let sender = self.users.get(text(post, "user_id")).cloned().unwrap_or_default();
        let team = if kind == "D" { "" } else { TEAM };
        let data = json!({"channel_display_name": name, "channel_name": "x", "channel_type": kind, "post": post.to_string(),
            "sender_name": format!("@{sender}"), "set_online": true, "team_id": team});
        self.event("posted", &data);
    }

    /// Tells everybody who listens. Of a token that was taken back nobody does.
    pub(super) fn event(&mut self, event: &str, data: &Value) {
        if self.is_revoked {
            return;
        }
        let is_skipped = self.skips > 0;
        self.skips = self.skips.saturating_sub(1);
        for socket in self.sockets.values_mut().filter(|socket| socket.is_known) {
            let said = json!({"event": event, "data": data, "broadcast": {"omit_users": null, "user_id": "", "channel_id": "", "team_id": ""},
                "seq": socket.number});
            socket.number += 1;
            if !is_skipped {
                socket.out.push(said);
            }
        }
    }

    /// Takes what came through a socket.
    pub(super) fn hear(&mut self, number: u64, said: &str, token: &str) {
        let said: Value = serde_json::from_str(said).unwrap_or_default();
        let is_good = !self.is_revoked && text(&said["data"], "token") == token;
        let is_revoked = self.is_revoked;
        let now = self.clock;
        let Some(socket) = self.sockets.get_mut(&number) else { return };
        let reply = |data: Value| json!({"status": "OK", "data": data, "seq_reply": said["seq"]});
        match text(&said, "action") {
            "authentication_challenge" if socket.is_known => {}
            // Without a word.
            "authentication_challenge" if !is_good => socket.is_over = true,
            "authentication_challenge" => {
                socket.is_known = true;
                socket.number = 1;
                let hello = json!({"event": "hello", "data": {"server_version": "10.5.0.x", "connection_id": "c"},
                    "broadcast": {"user_id": BOT}, "seq": 0});
                socket.out.extend([hello, json!({"status": "OK", "seq_reply": said["seq"]})]);
            }
            // Who is not known yet hears nothing at all.
            _ if !socket.is_known => {}
            _ if is_revoked => socket.out.push(json!({"status": "FAIL", "seq_reply": said["seq"], "error": {
                "id": "api.web_socket_router.not_authenticated.app_error", "message": "WebSocket connection is not authenticated.",
                "detailed_error": "", "status_code": 401}})),
            "ping" => socket.out.push(reply(json!({"text": "pong", "version": "10.5.0", "server_time": now, "node_id": ""}))),
            "user_typing" => socket.out.push(reply(json!({}))),
            _ => socket.out.push(json!({"status": "FAIL", "seq_reply": said["seq"], "error": {
                "id": "api.web_socket_router.bad_action.app_error", "message": "Unknown WebSocket action.", "status_code": 500}})),
        }
    }

    pub(super) fn patch(&mut self, id: &str, message: &str) -> Option<Value> {
        let now = self.tick();
        let post = self.posts.iter_mut().find(|post| post["id"] == id && post["delete_at"] == 0)?;
        post["message"] = message.into();
        post["update_at"] = now.into();
        post["edit_at"] = now.into();
        *self.edits.entry(id.to_owned()).or_default() += 1;
        let post = post.clone();
        self.event("post_edited", &json!({"post": post.to_string()}));
        Some(post)
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        let own = self.posts.iter().filter(|post| post["user_id"] == BOT && post["delete_at"] == 0);
        let seen = own.map(|post| {
            let ids = post["file_ids"].as_array().unwrap().iter().filter_map(Value::as_str);
            Seen {
                channel: text(post, "channel_id").to_owned(),
                root: text(post, "root_id").to_owned(),
                text: text(post, "message").to_owned(),
                id: text(post, "id").to_owned(),
                files: ids.filter_map(|id| self.files.get(id).cloned()).collect(),
                edits: self.edits.get(text(post, "id")).copied().unwrap_or_default(),
            }
        });
        seen.collect()
    }

    fn user(&self, id: &str) -> Answer {
        let id = if id == "me" { BOT } else { id };
        match self.users.get(id) {
            Some(name) => Ok(
                json!({"id": id, "username": name, "email": "", "roles": "system_user", "is_bot": id == BOT, "delete_at": 0}),
            ),
            None => no(404, "app.user.missing_account.const"),
        }
    }

    fn channel(&self, id: &str) -> Answer {
        let Some(channel) = self.channels.get(id) else {
            return no(404, "app.channel.get.existing.app_error");
        };
        if channel.is_left {
            return no(403, "api.context.permissions.app_error");
        }
        let last = self
            .posts
            .iter()
            .filter(|post| post["channel_id"] == id)
            .filter_map(|post| post["create_at"].as_u64())
            .max();
        let team = if channel.kind == "D" { "" } else { TEAM };
        Ok(
            json!({"id": id, "type": channel.kind, "display_name": channel.name, "name": "x", "team_id": team, "delete_at": 0,
            "last_post_at": last.unwrap_or_default(), "total_msg_count": 1}),
        )
    }

    fn posts_of(&self, channel: &str, query: &Map<String, Value>) -> Answer {
        self.channel(channel)?;
        let number =
            |name: &str| query.get(name).and_then(Value::as_str).and_then(|text| text.parse::<u64>().ok());
        let at = |post: &Value| post["create_at"].as_u64().unwrap();
        let all = self.posts.iter().filter(|post| post["channel_id"] == channel && post["delete_at"] == 0);
        let mut found: Vec<&Value> = match (number("since"), query.get("before").and_then(Value::as_str)) {
            (Some(since), _) => all.filter(|post| post["update_at"].as_u64().unwrap() > since).collect(),
            (None, Some(before)) => {
                let limit = self.posts.iter().find(|post| post["id"] == before).map(at).unwrap_or_default();
                all.filter(|post| at(post) < limit).collect()
            }
            (None, None) => all.collect(),
        };
        found.sort_by_key(|post| std::cmp::Reverse(at(post)));
        let most = number("per_page").map_or(self.most, |most| usize::try_from(most).unwrap());
        let order: Vec<&str> = found.iter().take(most).map(|post| text(post, "id")).collect();
        // The beginnings of threads come along.
        let roots =
            found.iter().filter_map(|post| self.posts.iter().find(|root| root["id"] == post["root_id"]));
        let posts: Map<String, Value> = found
            .iter()
            .take(most)
            .copied()
            .chain(roots)
            .map(|post| (text(post, "id").to_owned(), post.clone()))
            .collect();
        Ok(json!({"order": order, "posts": posts, "next_post_id": "", "prev_post_id": ""}))
    }

    fn create(&mut self, fields: &Value) -> Answer {
        let (channel, message, root) = (
            text(fields, "channel_id").to_owned(),
            text(fields, "message").to_owned(),
            text(fields, "root_id").to_owned(),
        );
        self.channel(&channel)?;
        let pending = text(fields, "pending_post_id").to_owned();
        if let Some((id, at)) = self.pending.get(&pending).filter(|_| !pending.is_empty())
            && at.elapsed() < PENDING
        {
            return Ok(self.posts.iter().find(|post| post["id"] == id.as_str()).cloned().unwrap());
        }
        let files: Vec<String> = fields["file_ids"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|id| id.as_str().map(str::to_owned))
            .collect();
        if message.chars().count() > LONGEST || (message.is_empty() && files.is_empty()) {
            return no(400, "model.post.is_valid.message_length.app_error");
        }
        if !root.is_empty()
            && !self
                .posts
                .iter()
                .any(|post| post["id"] == root.as_str() && post["channel_id"] == channel.as_str())
        {
            return no(400, "api.post.create_post.root_id.app_error");
        }
        let post = self.add(
            &channel,
            BOT,
            &message,
            &json!({"root_id": root, "file_ids": files, "pending_post_id": pending}),
        );
        self.pending.insert(pending, (text(&post, "id").to_owned(), wait::now()));
        Ok(post)
    }

    fn react(&mut self, fields: &Value) -> Answer {
        if text(fields, "user_id") != BOT {
            return no(403, "api.reaction.save_reaction.user_id.app_error");
        }
        let (post, name) = (text(fields, "post_id").to_owned(), text(fields, "emoji_name").to_owned());
        if !self.posts.iter().any(|one| one["id"] == post.as_str()) {
            return no(404, "app.post.get.app_error");
        }
        // A sign changes the post that it stands at.
        let now = self.tick();
        if let Some(one) = self.posts.iter_mut().find(|one| one["id"] == post.as_str()) {
            one["update_at"] = now.into();
        }
        self.reactions.insert((post, name));
        Ok(fields.clone())
    }

    /// Answers a request of the bot's, by its method and the parts of its path.
    pub(super) fn answer(
        &mut self,
        method: &str,
        path: &[&str],
        query: &Map<String, Value>,
        fields: &Value,
    ) -> Answer {
        match (method, path) {
            ("GET", ["users", "me", "teams"]) => {
                Ok(json!([{"id": TEAM, "name": "us", "display_name": "Us"}]))
            }
            ("GET", ["users", "me", "channels"]) => {
                let ids: Vec<String> = self.channels.keys().cloned().collect();
                Ok(ids.iter().filter_map(|id| self.channel(id).ok()).collect())
            }
            ("GET", ["users", id]) => self.user(id),
            ("GET", ["users", "username", name]) => {
                let found = self.users.iter().find(|(_, known)| known == name).map(|(id, _)| id.clone());
                self.user(&found.unwrap_or_default())
            }
            ("GET", ["channels", id]) => self.channel(id),
            ("GET", ["channels", id, "posts"]) => self.posts_of(id, query),
            ("POST", ["posts"]) => self.create(fields),
            ("GET", ["posts", id]) => match self.posts.iter().find(|post| post["id"] == *id) {
                Some(post) => Ok(post.clone()),
                None => no(404, "app.post.get.app_error"),
            },
            ("PUT", ["posts", id, "patch"]) => match self.patch(id, text(fields, "message")) {
                Some(post) => Ok(post),
                None => no(404, "app.post.get.app_error"),
            },
            ("DELETE", ["posts", id]) => {
                let now = self.tick();
                let Some(post) = self.posts.iter_mut().find(|post| post["id"] == *id) else {
                    return no(404, "app.post.get.app_error");
                };
                post["delete_at"] = now.into();
                Ok(json!({"status": "OK"}))
            }
            ("POST", ["users", "me", "typing"]) => {
                self.typed.push(text(fields, "channel_id").to_owned());
                Ok(json!({"status": "OK"}))
            }
            ("POST", ["reactions"]) => self.react(fields),
            ("DELETE", ["users", "me" | BOT, "posts", post, "reactions", name]) => {
                if !self.reactions.remove(&((*post).to_owned(), (*name).to_owned())) {
                    return no(404, "app.reaction.delete.app_error");
                }
                Ok(json!({"status": "OK"}))
            }
            ("GET", ["files", id, "info"]) => {
                self.info(id).ok_or_else(|| Refusal::error(404, "app.file_info.get.app_error"))
            }
            _ => no(404, "api.context.404.app_error"),
        }
    }
}
