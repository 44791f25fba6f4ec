//! A server of ntfy on loopback, as an adapter sees it: `GET /<topic>/json` (a stream, or `poll=1`), publishing by `POST` and `PUT`, files, tokens and
//! its own ways to refuse. What is published is kept, unless it says otherwise, and repeated from a time or an id on.

mod serve;
mod state;

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::serving::{listen, lock};
use crate::wait;
use state::State;

/// Between two signs of life on a stream.
const KEEPALIVE: Duration = Duration::from_millis(500);
/// What a bot's messages are marked with.
pub const TAG: &str = "hermes-agent";

/// How a request is refused.
#[derive(Debug, Clone, Default)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// ntfy's own number; 0: somebody in between answers, with a page.
    pub code: u32,
    /// `Retry-After`.
    pub after: Option<u64>,
}

impl Refusal {
    /// One of ntfy's own.
    pub fn own(status: u16, code: u32) -> Self {
        Self { status, code, after: None }
    }
}

#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    stop: AtomicBool,
}

/// A running server.
pub struct Ntfy {
    shared: Arc<Shared>,
    address: String,
}

impl Default for Ntfy {
    fn default() -> Self {
        Self::start()
    }
}

impl Ntfy {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        lock(&shared.state).address.clone_from(&address);
        listen(
            listener,
            &shared,
            |shared| shared.stop.load(Ordering::SeqCst),
            |stream, shared| serve::serve(stream, shared),
        );
        let beating = Arc::clone(&shared);
        std::thread::spawn(move || {
            while !beating.stop.load(Ordering::SeqCst) {
                lock(&beating.state).keep_alive();
                wait::pass(KEEPALIVE);
            }
        });
        Self { shared, address }
    }

    /// Its address, with a scheme.
    pub fn address(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `.env` lines for a topic of it.
    pub fn env(&self, topic: &str) -> String {
        format!("NTFY_SERVER_URL=http://{}\nNTFY_TOPIC={topic}\n", self.address)
    }

    /// Somebody publishes; its id.
    pub fn say(&self, topic: &str, text: &str) -> String {
        self.say_with(topic, text, &json!({}))
    }

    /// The same with more in it. `"cache": false`: it is kept for nobody. `"id"`, `"time"`: these instead of its own.
    pub fn say_with(&self, topic: &str, text: &str, more: &Value) -> String {
        lock(&self.shared.state).publish(topic, text, more)
    }

    /// Somebody publishes a file.
    pub fn attach(&self, topic: &str, name: &str, media_type: &str, bytes: &[u8]) -> String {
        lock(&self.shared.state).attach(topic, name, media_type, bytes, &json!({}))
    }

    /// Everything that was published in a topic, in order.
    pub fn published(&self, topic: &str) -> Vec<Value> {
        lock(&self.shared.state).published(topic)
    }

    /// What a bot has said in a topic.
    pub fn said(&self, topic: &str) -> Vec<String> {
        let is_bot = |message: &Value| {
            message["tags"].as_array().is_some_and(|tags| tags.iter().any(|tag| tag == TAG))
        };
        let all = self.published(topic).into_iter().filter(is_bot);
        all.map(|message| message["message"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// Waits until a bot has said this.
    pub fn wait_said(&self, topic: &str, text: &str) {
        wait::until_true(&format!("`{text}` in {topic}"), || {
            self.said(topic).iter().any(|said| said == text)
        });
    }

    /// A file that was published.
    pub fn file(&self, message: &Value) -> Option<Vec<u8>> {
        let url = message["attachment"]["url"].as_str()?;
        lock(&self.shared.state).files.get(url.rsplit('/').next()?).cloned()
    }

    /// Only who shows this is let in from now on: the whole of `Authorization`.
    pub fn require(&self, authorization: &str) {
        lock(&self.shared.state).required = Some(authorization.to_owned());
    }

    /// Refuses the next requests of a kind: `subscribe` or `publish`.
    pub fn refuse(&self, what: &'static str, refusals: impl IntoIterator<Item = Refusal>) {
        lock(&self.shared.state).refusals.entry(what).or_default().extend(refusals);
    }

    /// The next message gets there, and whoever published it does not hear so.
    pub fn lose_the_answer(&self) {
        lock(&self.shared.state).is_lost = true;
    }

    /// Streams that stand say nothing any more, not even that they live.
    pub fn hush(&self, is_quiet: bool) {
        lock(&self.shared.state).is_quiet = is_quiet;
    }

    /// Ends every stream.
    pub fn cut(&self) {
        for (_, reader) in lock(&self.shared.state).readers.drain(..) {
            // It may be gone already.
            let _ = reader.shutdown(Shutdown::Both);
        }
    }

    /// Waits until somebody reads.
    pub fn wait_read(&self) {
        wait::until_true("somebody to read ntfy's stream", || !lock(&self.shared.state).readers.is_empty());
    }

    /// What stood behind the question mark of each subscription, in order.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.shared.state).asked.clone()
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        lock(&self.shared.state).requests
    }
}

impl Drop for Ntfy {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the accepting thread; nobody is left to read.
        let _ = TcpStream::connect(&self.address);
    }
}
