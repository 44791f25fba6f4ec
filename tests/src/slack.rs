//! Slack on loopback, as an adapter sees it: the Web API, Socket Mode with envelopes that come again until they are acknowledged, files, and
//! addresses where commands and buttons are answered. A published client takes it for Slack (`tests/tests/e2e/slack/published.rs`).

mod request;
mod serve;
mod socket;
mod state;

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use crate::serving::{listen, lock};
use crate::wait;
use state::{App, Channel, State};

/// The first bot: its tokens, its workspace, and what it is called there.
pub const TOKEN: &str = "xoxb-1111-test-SECRETBOT";
/// See [`TOKEN`].
pub const APP_TOKEN: &str = "xapp-1-test-SECRETAPP";
/// See [`TOKEN`].
pub const TEAM: &str = "T0001";
/// See [`TOKEN`].
pub const BOT: &str = "UBOT0001";
/// A channel in which the first bot is.
pub const CHANNEL: &str = "C0GENERAL";
/// What the bots may do.
const SCOPES: &str = "app_mentions:read,assistant:write,channels:history,chat:write,commands,files:read,files:write,im:history,\
                      reactions:write,users:read";

/// A message of a bot's, as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Chat.
    pub channel: String,
    /// Thread in it.
    pub thread: Option<String>,
    /// The text, in Slack's signs.
    pub text: String,
    /// Its name.
    pub ts: String,
    /// The buttons below it: what they say, and what a press says.
    pub buttons: Vec<(String, Value)>,
    /// How often it was changed.
    pub edits: u32,
    /// It is shown in its channel too.
    pub is_broadcast: bool,
}

/// A request of the Web API.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its method.
    pub method: String,
    /// What it said.
    pub fields: Map<String, Value>,
    /// When.
    pub at: Instant,
}

/// A file that was brought.
#[derive(Debug, Clone, Default)]
pub struct Upload {
    /// Its name.
    pub name: String,
    /// How long it was said to be.
    pub length: usize,
    /// What came.
    pub bytes: Vec<u8>,
    /// Chat and thread in which it is shown.
    pub shown: Option<(String, Option<String>)>,
}

/// An answer that says no.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    status: u16,
    error: String,
    needed: String,
    retry_after: Option<u64>,
}

impl Refusal {
    /// Slack's own, by this word.
    pub fn error(error: &str) -> Self {
        Self { status: 200, error: error.to_owned(), ..Self::default() }
    }

    /// Too many requests; in so many seconds again.
    pub fn limit(seconds: u64) -> Self {
        Self { status: 429, error: "ratelimited".to_owned(), retry_after: Some(seconds), ..Self::default() }
    }

    /// Not Slack's own: a page with this status.
    pub fn page(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

/// A running service.
pub struct Slack {
    shared: Arc<Shared>,
    address: String,
}

impl Default for Slack {
    fn default() -> Self {
        Self::start()
    }
}

impl Slack {
    /// Starts one, with one bot in one workspace.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let state = State {
            address: address.clone(),
            next: 0,
            apps: Vec::new(),
            channels: BTreeMap::new(),
            messages: BTreeMap::new(),
            seen: Vec::new(),
            calls: Vec::new(),
            files: BTreeMap::new(),
            uploads: BTreeMap::new(),
            reactions: std::collections::BTreeSet::new(),
            responses: Vec::new(),
            expired: std::collections::BTreeSet::new(),
            refusals: BTreeMap::new(),
            stuck: std::collections::BTreeSet::new(),
            tickets: BTreeMap::new(),
            sockets: Vec::new(),
            opened: 0,
            fewest: 0,
            turn: 0,
            envelopes: Vec::new(),
            ack_within: Duration::from_secs(3),
            says_nothing: false,
            is_called: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), stop: AtomicBool::new(false) });
        listen(listener, &shared, |shared| shared.stop.load(Ordering::SeqCst), serve::serve);
        let slack = Self { shared, address };
        slack.app(TOKEN, APP_TOKEN, TEAM);
        slack.channel(CHANNEL, "channel", TEAM);
        slack
    }

    /// Another bot, in a workspace.
    pub fn app(&self, bot_token: &str, app_token: &str, team: &str) {
        let mut state = self.state();
        let n = state.apps.len() + 1;
        state.apps.push(App {
            bot_token: bot_token.to_owned(),
            app_token: app_token.to_owned(),
            app_id: format!("A{n:04}"),
            team: team.to_owned(),
            name: if team == TEAM { "Team".to_owned() } else { format!("Team {team}") },
            user_id: format!("UBOT{n:04}"),
            bot_id: format!("B{n:04}"),
            scopes: SCOPES.to_owned(),
            app_scopes: "connections:write".to_owned(),
            revoked: None,
            link_disabled: false,
        });
    }

    /// Another chat: `channel`, `group`, `mpim`, `im`.
    pub fn channel(&self, id: &str, kind: &'static str, team: &str) {
        let channel = Channel { kind, team: team.to_owned(), is_closed: false };
        self.state().channels.insert(id.to_owned(), channel);
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `.env` lines for the first bot, which everybody may talk to.
    pub fn env(&self) -> String {
        format!("{}SLACK_ALLOW_ALL_USERS=true\n", self.env_for_some())
    }

    /// The same for a bot that nobody may talk to yet.
    pub fn env_for_some(&self) -> String {
        format!(
            "SLACK_API_BASE_URL={}/api/\nSLACK_BOT_TOKEN={TOKEN}\nSLACK_APP_TOKEN={APP_TOKEN}\n",
            self.address
        )
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Somebody writes; when, which is its name.
    pub fn say(&self, channel: &str, user: &str, text: &str) -> String {
        self.say_with(channel, user, text, &json!({}))
    }

    /// Somebody writes in a thread.
    pub fn say_in(&self, channel: &str, thread: &str, user: &str, text: &str) -> String {
        let root = self.state().messages.get(&(channel.to_owned(), thread.to_owned())).cloned();
        let parent = root.map(|root| root["user"].clone()).unwrap_or_default();
        self.say_with(channel, user, text, &json!({"thread_ts": thread, "parent_user_id": parent}))
    }

    /// Somebody writes, with more fields. Whoever mentions a bot in a channel is heard twice.
    pub fn say_with(&self, channel: &str, user: &str, text: &str, more: &Value) -> String {
        let mut state = self.state();
        let known = state.channel(channel).expect("the chat is there");
        let ts = state.ts();
        let rich = json!([{"type": "rich_text", "block_id": "b", "elements": [{"type": "rich_text_section",
            "elements": [{"type": "text", "text": text}]}]}]);
        let mut message = json!({"type": "message", "user": user, "text": text, "ts": ts, "client_msg_id": format!("c-{ts}"),
            "team": known.team, "blocks": rich});
        for (key, value) in more.as_object().unwrap() {
            message[key] = value.clone();
        }
        state.messages.insert((channel.to_owned(), ts.clone()), message.clone());
        message["channel"] = channel.into();
        message["channel_type"] = known.kind.into();
        for app in state.hearing(channel) {
            state.event(app, &message);
            if known.kind != "im" && text.contains(&format!("<@{}>", state.apps[app].user_id)) {
                let mut mention = message.clone();
                mention["type"] = "app_mention".into();
                mention.as_object_mut().unwrap().remove("channel_type");
                state.event(app, &mention);
            }
        }
        ts
    }

    /// Somebody takes a message of the bot away.
    pub fn take_away(&self, seen: &Seen) {
        let mut state = self.state();
        state.messages.remove(&(seen.channel.clone(), seen.ts.clone()));
        state.seen.retain(|other| other.ts != seen.ts);
    }

    /// Somebody sends a file.
    pub fn attach(
        &self,
        channel: &str,
        user: &str,
        text: &str,
        name: &str,
        kind: &str,
        bytes: &[u8],
    ) -> String {
        let file = self.file(name, kind, bytes);
        self.say_with(channel, user, text, &json!({"subtype": "file_share", "files": [file]}))
    }

    /// A file that somebody has.
    pub fn file(&self, name: &str, kind: &str, bytes: &[u8]) -> Value {
        let mut state = self.state();
        let id = format!("F{:08}", state.number());
        let at = format!("{}/files-pri/{id}", self.address);
        let file = json!({"id": id, "name": name, "title": name, "mimetype": kind, "size": bytes.len(), "mode": "hosted",
            "url_private": format!("{at}/{name}"), "url_private_download": format!("{at}/download/{name}")});
        state.files.insert(id, (file.clone(), bytes.to_vec()));
        file
    }

    /// Any event for the first bot.
    pub fn event(&self, event: &Value) {
        self.state().event(0, event);
    }

    /// An event, as the body of a request has it, through the first bot's socket.
    pub fn envelope(&self, callback: &Value) {
        let what = json!({"type": "events_api", "accepts_response_payload": false, "payload": callback});
        self.state().send(0, what);
    }

    /// From now on nothing is sent through sockets: events are what a test makes requests of.
    pub fn call_for_events(&self) {
        self.state().is_called = true;
    }

    /// The same as the body of a request.
    pub fn callback(&self, event: &Value) -> Value {
        self.state().callback(0, event)
    }

    /// Somebody calls a command; the name of the address where it is answered.
    pub fn slash(&self, channel: &str, user: &str, command: &str, text: &str) -> String {
        let mut state = self.state();
        let name = format!("slash-{}", state.number());
        let payload = self.command(&mut state, &name, (channel, user), (command, text));
        state
            .send(0, json!({"type": "slash_commands", "accepts_response_payload": true, "payload": payload}));
        name
    }

    /// A command as the fields of a request, which is answered at the address of this name.
    pub fn slash_fields(&self, name: &str, channel: &str, user: &str, command: &str, text: &str) -> Value {
        let mut state = self.state();
        self.command(&mut state, name, (channel, user), (command, text))
    }

    fn command(
        &self,
        state: &mut State,
        name: &str,
        (channel, user): (&str, &str),
        (command, text): (&str, &str),
    ) -> Value {
        let kind = if channel.starts_with('D') { "directmessage" } else { "general" };
        json!({"token": "x", "team_id": TEAM, "team_domain": "team", "channel_id": channel, "channel_name": kind, "user_id": user,
            "user_name": user.trim_start_matches('U').to_lowercase(), "command": command, "text": text, "api_app_id": "A0001",
            "is_enterprise_install": "false", "response_url": format!("{}/commands/{TEAM}/{name}", self.address),
            "trigger_id": format!("{}.1.x", state.number())})
    }

    /// Somebody presses the button of the last message that has one which says this; the name of the address where it is answered.
    pub fn press(&self, user: &str, label: &str) -> String {
        let found = self
            .seen()
            .into_iter()
            .rev()
            .find(|seen| seen.buttons.iter().any(|(text, _)| text.contains(label)));
        let seen = found.unwrap_or_else(|| panic!("no button `{label}`: {:?}", self.seen()));
        let (_, action) = seen.buttons.iter().find(|(text, _)| text.contains(label)).unwrap().clone();
        self.press_with(&seen, user, &action)
    }

    /// Somebody presses a button of a message, which says `action`.
    pub fn press_with(&self, seen: &Seen, user: &str, action: &Value) -> String {
        let mut state = self.state();
        let name = format!("press-{}-{}", state.number(), seen.ts);
        let message = json!({"type": "message", "text": seen.text, "ts": seen.ts, "thread_ts": seen.thread});
        let payload = json!({"type": "block_actions", "team": {"id": TEAM, "domain": "team"},
            "user": {"id": user, "username": user.trim_start_matches('U').to_lowercase(), "team_id": TEAM}, "api_app_id": "A0001",
            "container": {"type": "message", "message_ts": seen.ts, "channel_id": seen.channel, "thread_ts": seen.thread},
            "channel": {"id": seen.channel, "name": "x"}, "message": message, "actions": [action], "trigger_id": "1.1.x",
            "response_url": format!("{}/actions/{TEAM}/{name}", self.address)});
        state.send(0, json!({"type": "interactive", "accepts_response_payload": true, "payload": payload}));
        name
    }

    /// What was answered at the address of this name.
    pub fn responses(&self, name: &str) -> Vec<Value> {
        let state = self.state();
        state.responses.iter().filter(|(at, _)| at.starts_with(name)).map(|(_, what)| what.clone()).collect()
    }

    /// Waits for an answer at the address of this name.
    pub fn wait_response(&self, name: &str) -> Value {
        wait::until(&format!("an answer at {name}"), || self.responses(name).pop())
    }

    /// The address of this name is not good any more.
    pub fn expire(&self, name: &str) {
        self.state().expired.insert(name.to_owned());
    }

    /// What people see of the bots.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen.clone()
    }

    /// The texts that people see in one chat.
    pub fn seen_in(&self, channel: &str) -> Vec<String> {
        self.seen().into_iter().filter(|seen| seen.channel == channel).map(|seen| seen.text).collect()
    }

    /// Waits until people see `text` in a chat.
    pub fn wait_seen(&self, channel: &str, text: &str) -> Seen {
        wait::until(&format!("`{text}` in {channel}"), || {
            self.seen().into_iter().find(|seen| seen.channel == channel && seen.text == text)
        })
    }

    /// The signs at a message.
    pub fn reactions(&self, ts: &str) -> Vec<String> {
        self.state().reactions.iter().filter(|(at, _)| at == ts).map(|(_, name)| name.clone()).collect()
    }

    /// The files that were brought.
    pub fn uploads(&self) -> Vec<Upload> {
        self.state().uploads.values().cloned().collect()
    }

    /// Every request of a method so far.
    pub fn calls(&self, method: &str) -> Vec<Call> {
        self.state().calls.iter().filter(|call| call.method == method).cloned().collect()
    }

    /// How many requests there were.
    pub fn requests(&self) -> usize {
        self.state().calls.len()
    }

    /// The next requests of a method are answered so, one each.
    pub fn refuse(&self, method: &str, refusals: impl IntoIterator<Item = Refusal>) {
        self.state().refusals.entry(method.to_owned()).or_default().extend(refusals);
    }

    /// From now on requests of a method are done, and not answered; or are again.
    pub fn stick(&self, method: &str, stuck: bool) {
        let mut state = self.state();
        if stuck {
            state.stuck.insert(method.to_owned());
        } else {
            state.stuck.remove(method);
        }
    }

    /// The tokens of a bot are taken back: what every request says, and the sockets are closed; or are given again.
    pub fn revoke(&self, app: usize, error: Option<&str>) {
        let mut state = self.state();
        state.apps[app].revoked = error.map(str::to_owned);
        if error.is_some() {
            for socket in state.sockets.iter_mut().filter(|socket| socket.app == app) {
                socket.close_at = Some(wait::now());
            }
        }
    }

    /// What the first bot may do.
    pub fn allow(&self, scopes: &str) {
        scopes.clone_into(&mut self.state().apps[0].scopes);
    }

    /// What the token of the first bot's app may do.
    pub fn allow_app(&self, scopes: &str) {
        scopes.clone_into(&mut self.state().apps[0].app_scopes);
    }

    /// The first bot's app uses no Socket Mode; or does again.
    pub fn disable_sockets(&self, disabled: bool) {
        self.state().apps[0].link_disabled = disabled;
    }

    /// The bot is put out of a chat.
    pub fn close(&self, channel: &str) {
        if let Some(known) = self.state().channels.get_mut(channel) {
            known.is_closed = true;
        }
    }

    /// Tells every open socket that it will be closed, and closes it then.
    pub fn disconnect(&self, reason: &str, after: Duration) {
        let mut state = self.state();
        let is_end = reason == "link_disabled";
        for app in &mut state.apps {
            app.link_disabled |= is_end;
        }
        for socket in &mut state.sockets {
            socket
                .out
                .push(json!({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink"}}));
            socket.told = true;
            socket.close_at = Some(wait::now() + after);
        }
        state.fewest = state.sockets.len();
    }

    /// Ends every socket without a word.
    pub fn cut(&self) {
        for socket in &mut self.state().sockets {
            socket.close_at = Some(wait::now());
        }
    }

    /// Every open socket is dead, and nobody says so.
    pub fn mute(&self) {
        for socket in &mut self.state().sockets {
            socket.muted = true;
            socket.told = true;
        }
    }

    /// From now on new sockets hear no hello; or do again.
    pub fn say_no_hello(&self, silent: bool) {
        self.state().says_nothing = silent;
    }

    /// Whether a socket is open and usable.
    pub fn is_heard(&self) -> bool {
        self.state().sockets.iter().any(|socket| !socket.told)
    }

    /// Waits until one is.
    pub fn wait_heard(&self) {
        wait::until_true("a socket to Slack", || self.is_heard());
    }

    /// How many sockets were opened so far, are open, and were open at least since the last [`disconnect`](Self::disconnect).
    pub fn sockets(&self) -> (u64, usize, usize) {
        let state = self.state();
        (state.opened, state.sockets.len(), state.fewest)
    }

    /// What nobody has acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.state().envelopes.iter().filter(|one| one.acknowledged.is_none()).count()
    }

    /// The longest time that an acknowledgement took, and how often an envelope was sent at most.
    pub fn slowest(&self) -> (Duration, u32) {
        let state = self.state();
        let times = state.envelopes.iter().filter_map(|one| one.acknowledged);
        (times.max().unwrap_or_default(), state.envelopes.iter().map(|one| one.sent).max().unwrap_or(0))
    }
}

impl Drop for Slack {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}
