//! Mattermost on loopback, as an adapter sees it: the REST API, and the WebSocket that falls silent where a token is taken back. A published
//! client takes it for Mattermost (`tests/tests/e2e/mattermost/published.rs`).

mod serve;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use serde_json::{Value, json};

use crate::serving::{listen, lock};
use crate::wait;
use state::{Channel, State};

/// The bot's token, its id, and what it is called.
pub const TOKEN: &str = "mm0token0SECRETBOT00000000";
/// See [`TOKEN`].
pub const BOT: &str = "botuser0000000000000000000";
/// See [`TOKEN`].
pub const NAME: &str = "hermes";
/// Somebody, and the private chat with him.
pub const ANN: &str = "annuser0000000000000000000";
/// See [`ANN`].
pub const DM: &str = "dmann000000000000000000000";
/// An open channel, and a private one.
pub const TOWN: &str = "townsquare0000000000000000";
/// See [`TOWN`].
pub const BACK: &str = "backroom000000000000000000";
/// The team that they are in.
pub const TEAM: &str = "team0000000000000000000000";

/// A post of the bot's, as people see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Where.
    pub channel: String,
    /// The post that its thread begins with.
    pub root: String,
    /// The text.
    pub text: String,
    /// Its name.
    pub id: String,
    /// Files that it shows: name and bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// How often it was changed.
    pub edits: u32,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Call {
    /// Method and path below `/api/v4`.
    pub what: String,
    /// When.
    pub at: Instant,
}

/// An answer that says no.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    status: u16,
    id: String,
    reset: Option<u64>,
}

impl Refusal {
    /// Mattermost's own, by this word.
    pub fn error(status: u16, id: &str) -> Self {
        Self { status, id: id.to_owned(), reset: None }
    }

    /// Too many requests; in so many seconds again.
    pub fn limit(seconds: u64) -> Self {
        Self { status: 429, id: String::new(), reset: Some(seconds) }
    }

    /// Not Mattermost's own: a page with this status.
    pub fn page(status: u16) -> Self {
        Self { status, ..Self::default() }
    }
}

struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

/// A running server.
pub struct Mattermost {
    shared: Arc<Shared>,
    address: String,
}

impl Default for Mattermost {
    fn default() -> Self {
        Self::start()
    }
}

impl Mattermost {
    /// Starts one, with the bot in two channels, and somebody.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let channel =
            |kind: &'static str, name: &str| Channel { kind, name: name.to_owned(), is_left: false };
        let state = State {
            clock: 1_700_000_000_000,
            users: BTreeMap::from(
                [(BOT, NAME), (ANN, "ann")].map(|(id, name)| (id.to_owned(), name.to_owned())),
            ),
            channels: BTreeMap::from([
                (DM.to_owned(), channel("D", "")),
                (TOWN.to_owned(), channel("O", "Town Square")),
                (BACK.to_owned(), channel("P", "Back Room")),
            ]),
            posts: Vec::new(),
            edits: BTreeMap::new(),
            pending: BTreeMap::new(),
            files: BTreeMap::new(),
            reactions: BTreeSet::new(),
            typed: Vec::new(),
            calls: Vec::new(),
            refusals: BTreeMap::new(),
            stuck: BTreeSet::new(),
            is_revoked: false,
            is_closed: false,
            skips: 0,
            most: 1000,
            opened: 0,
            sockets: BTreeMap::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), stop: AtomicBool::new(false) });
        listen(listener, &shared, |shared| shared.stop.load(Ordering::SeqCst), serve::serve);
        Self { shared, address }
    }

    /// Where it is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// `.env` lines for the bot, which everybody may talk to.
    pub fn env(&self) -> String {
        format!("{}MATTERMOST_ALLOW_ALL_USERS=true\n", self.env_for_some())
    }

    /// The same for a bot that nobody may talk to yet.
    pub fn env_for_some(&self) -> String {
        format!("MATTERMOST_URL={}\nMATTERMOST_TOKEN={TOKEN}\n", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// Somebody writes; what the post is called.
    pub fn say(&self, channel: &str, user: &str, text: &str) -> String {
        self.say_with(channel, user, text, &json!({}))
    }

    /// Somebody writes in a thread.
    pub fn say_in(&self, channel: &str, root: &str, user: &str, text: &str) -> String {
        self.say_with(channel, user, text, &json!({"root_id": root}))
    }

    /// Somebody writes, with more fields.
    pub fn say_with(&self, channel: &str, user: &str, text: &str, more: &Value) -> String {
        let mut state = self.state();
        let post = state.add(channel, user, text, more);
        post["id"].as_str().unwrap().to_owned()
    }

    /// Somebody sends a file.
    pub fn attach(&self, channel: &str, user: &str, text: &str, name: &str, bytes: &[u8]) -> String {
        let mut state = self.state();
        let id = state.file(name, bytes.to_vec());
        let post = state.add(channel, user, text, &json!({"file_ids": [id]}));
        post["id"].as_str().unwrap().to_owned()
    }

    /// Somebody changes what was said.
    pub fn change(&self, post: &str, text: &str) {
        self.state().patch(post, text);
    }

    /// Any event, to everybody who listens.
    pub fn event(&self, event: &str, data: &Value) {
        self.state().event(event, data);
    }

    /// The same post is told once more.
    pub fn repeat(&self, post: &str) {
        let mut state = self.state();
        let found = state.posts.iter().find(|one| one["id"] == post).cloned().expect("the post is there");
        state.tell(&found);
    }

    /// Everything that the bot has posted, as it is now.
    pub fn seen(&self) -> Vec<Seen> {
        self.state().seen()
    }

    /// The texts of one channel.
    pub fn seen_in(&self, channel: &str) -> Vec<String> {
        self.seen().into_iter().filter(|seen| seen.channel == channel).map(|seen| seen.text).collect()
    }

    /// Waits for a post.
    pub fn wait_seen(&self, channel: &str, text: &str) -> Seen {
        let found = || self.seen().into_iter().find(|seen| seen.channel == channel && seen.text == text);
        wait::until(&format!("`{text}` in {channel}"), found)
    }

    /// The signs at a post, by their names.
    pub fn reactions(&self, post: &str) -> Vec<String> {
        let state = self.state();
        state.reactions.iter().filter(|(of, _)| of == post).map(|(_, name)| name.clone()).collect()
    }

    /// The channels in which somebody was seen to write.
    pub fn typed(&self) -> Vec<String> {
        self.state().typed.clone()
    }

    /// Requests of this method and path, in order.
    pub fn calls(&self, what: &str) -> Vec<Call> {
        self.state().calls.iter().filter(|call| call.what == what).cloned().collect()
    }

    /// Requests so far, and sockets.
    pub fn requests(&self) -> (usize, u64) {
        let state = self.state();
        (state.calls.len(), state.opened)
    }

    /// The next requests of this method and path are answered so.
    pub fn refuse(&self, what: &str, refusals: impl IntoIterator<Item = Refusal>) {
        self.state().refusals.entry(what.to_owned()).or_default().extend(refusals);
    }

    /// Requests of this method and path are carried out, and answered when this is over.
    pub fn stick(&self, what: &str, is_stuck: bool) {
        let mut state = self.state();
        if is_stuck {
            state.stuck.insert(what.to_owned());
        } else {
            state.stuck.remove(what);
        }
    }

    /// The token is taken back, or given again. Nobody is told: sockets stay, and nothing comes through them.
    pub fn revoke(&self, is_revoked: bool) {
        self.state().is_revoked = is_revoked;
    }

    /// The bot is put out of a channel.
    pub fn leave(&self, channel: &str) {
        self.state().channels.get_mut(channel).unwrap().is_left = true;
    }

    /// Ends every socket, without a word.
    pub fn cut(&self) {
        self.state().sockets.values_mut().for_each(|socket| socket.is_over = true);
    }

    /// Whether sockets are opened at all; those that are there end.
    pub fn close(&self, is_closed: bool) {
        self.state().is_closed = is_closed;
        self.cut();
    }

    /// From now on nothing is read or sent through the sockets that are there: the network is gone, and nobody says so.
    pub fn mute(&self) {
        self.state().sockets.values_mut().for_each(|socket| socket.is_mute = true);
    }

    /// The next events are left out, and their numbers are missing.
    pub fn skip(&self, events: u32) {
        self.state().skips = events;
    }

    /// So many posts are given at once.
    pub fn give_at_most(&self, posts: usize) {
        self.state().most = posts;
    }

    /// Whether somebody listens.
    pub fn is_heard(&self) -> bool {
        self.state().sockets.values().any(|socket| socket.is_known && !socket.is_over && !socket.is_mute)
    }

    /// Waits until somebody does.
    pub fn wait_heard(&self) {
        wait::until_true("somebody to listen to Mattermost", || self.is_heard());
    }

    /// How many do.
    pub fn listeners(&self) -> usize {
        self.state().sockets.values().filter(|socket| socket.is_known && !socket.is_over).count()
    }
}

impl Drop for Mattermost {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread; nobody is left to read.
        let _ = TcpStream::connect(self.address.trim_start_matches("http://"));
    }
}
