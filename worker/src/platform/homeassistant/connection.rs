//! The connection: one socket, from its opening to its end, and what of the house is told.
//!
//! ```text
//!   open ─▶ auth_required ─▶ auth ─▶ auth_ok ─▶ subscribe_events ─▶ get_states: what changed meanwhile ─▶ state_changed …
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hermes_config::network::Network;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::failures::{INVALID, NETWORK, down};
use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::watch::{Told, Watch};
use super::wire::{self, Frame, State};
use crate::access::Facts;
use crate::clock;
use crate::delivery::outbound::{CHAT_ID, made};
use crate::handover::{Arrived, Reception, Taken};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::inbox::Inbox;
use crate::outgoing::websocket::{self, Bounds, Heard, Lost, OpenError, Socket};
use crate::platform::backoff::Backoff;
use crate::platform::link::Lack;
use crate::platform::{Adapter, Class, Down, Link, PlatformFuture};
use crate::store::StoreError;

/// The one chat.
pub(super) const CHAT: &str = "ha_events";
/// Bounds of a socket: all states of a large house at once; silence is known by pings.
const BOUNDS: Bounds = Bounds {
    message: 32 * 1024 * 1024,
    silence: Some(Duration::from_secs(20)),
    sending: Duration::from_secs(10),
};
/// Silence that a connection does not survive.
const WINDOW: Duration = Duration::from_secs(60);
/// Time for who is there to be known, and for everything to be said once.
const HELLO: Duration = Duration::from_secs(10);
const STATES: Duration = Duration::from_secs(20);
/// Time between two sockets that are replaced at once.
const LIVED: Duration = Duration::from_secs(10);
/// How often it is written down what was told, where that changes.
const NOTED: Duration = Duration::from_secs(5);
/// Pause before something is stored that cannot be stored now.
const AGAIN: Duration = Duration::from_secs(1);
/// Wait before the first try after a loss; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Numbers of what is asked for: events, states.
const EVENTS: u64 = 1;
const ALL: u64 = 2;

/// The adapter.
pub(super) struct Listening {
    settings: Settings,
    network: Network,
    reception: Reception,
    inbox: Inbox,
    service: Arc<OnceLock<Service>>,
    backoff: Backoff,
    /// It was said that nothing is watched.
    is_said: AtomicBool,
}

impl Adapter for Listening {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            let ended = Box::pin(self.connect(&link)).await;
            ended.map_err(|down| self.backoff.after(down))
        })
    }

    fn window(&self) -> Option<Duration> {
        Some(WINDOW)
    }
}

impl Listening {
    pub(super) fn new(
        settings: Settings,
        network: Network,
        (reception, inbox): (Reception, Inbox),
        service: Arc<OnceLock<Service>>,
    ) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        Self { settings, network, reception, inbox, service, backoff, is_said: AtomicBool::new(false) }
    }

    async fn connect(&self, link: &Link) -> Result<(), Down> {
        let make = || Service::new(&self.settings, &self.network);
        let service = made(&self.service, make).map_err(|failure| down(&failure))?.clone();
        let base = self.settings.base.as_ref().map(ToString::to_string).unwrap_or_default();
        let key = format!("hermes_homeassistant_told {base}");
        let told = self.inbox.remembered(&key).await.map_err(|error| not_stored(&error))?;
        // What is unreadable was never written by this program: it begins anew.
        let told: BTreeMap<String, String> =
            told.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let watch = Watch::new(self.settings.filter.clone(), self.settings.cooldown, told);
        let mut house = House {
            listening: self,
            service: &service,
            link,
            watch,
            key,
            written: None,
            asked: ALL,
            is_telling: false,
        };
        let ended = house.listen().await;
        house.note().await;
        ended
    }
}

/// The house, while somebody listens.
struct House<'l> {
    listening: &'l Listening,
    service: &'l Service,
    link: &'l Link,
    watch: Watch,
    /// Where it is written down what was told.
    key: String,
    written: Option<String>,
    /// The number of what was asked for last.
    asked: u64,
    /// Not everything is stored that counts as told.
    is_telling: bool,
}

impl House<'_> {
    /// A socket that lived is replaced once, at once: of a token that was taken back the house says nothing but goodbye.
    async fn listen(&mut self) -> Result<(), Down> {
        let mut replaced: Option<Instant> = None;
        loop {
            let stood = match self.socket().await {
                Ok(()) => return Ok(()),
                Err((down, stood)) => {
                    let may_be = stood && !self.is_telling && replaced.is_none_or(|at| at.elapsed() >= LIVED);
                    if down.class == Class::Fatal || !may_be {
                        return Err(down);
                    }
                    down
                }
            };
            tracing::info!("[{NAME}] {stood}; another socket is opened");
            replaced = Some(Instant::now());
        }
    }

    /// One socket. An error says whether it stood.
    async fn socket(&mut self) -> Result<(), (Down, bool)> {
        let (link, service) = (self.link, self.service);
        let opening = async {
            let mut socket = self.open().await?;
            let states = timeout(STATES, self.begin(&mut socket)).await;
            let states = states.map_err(|_| again("Home Assistant does not say how the house is"))??;
            Ok((socket, states))
        };
        let opened = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            () = service.revoked() => return Err((down(&Failure::Revoked), false)),
            opened = opening => opened,
        };
        let (mut socket, (states, meanwhile)) = opened.map_err(|down| (down, false))?;
        self.stands();
        let (now, mut all) = (Instant::now(), Vec::new());
        for (old, new) in meanwhile {
            all.extend(self.watch.changed(old.as_deref(), new, now));
        }
        // What was said before how everything is was said is older than that.
        all.extend(self.watch.compare(states, now));
        let ended = self.talk(&mut socket, all).await;
        socket.close(None).await;
        ended.map_err(|down| (down, true))
    }

    fn stands(&self) {
        self.link.up();
        self.listening.backoff.stands();
        if self.listening.settings.filter.is_blind() {
            let message = "nothing of the house is watched: set watch_domains, watch_entities or watch_all below platforms.homeassistant; \
                           answers and messages go there all the same";
            if !self.listening.is_said.swap(true, Ordering::Relaxed) {
                tracing::warn!("[{NAME}] {message}");
            }
            let code = "homeassistant_no_filter";
            self.link.lacks(Some(Lack { code, message: message.to_owned() }));
        }
    }

    /// Opens a socket, and says who is there.
    async fn open(&self) -> Result<Socket, Down> {
        let address = self.service.socket().map_err(|failure| down(&failure))?;
        let opened = websocket::open(&address, HeaderMap::new(), &self.listening.network, BOUNDS).await;
        let mut socket = opened.map_err(|error| match error {
            OpenError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                let text = format!(
                    "{error}: this machine is banned there, or something before it does not let anybody in"
                );
                Down::fatal(INVALID, text)
            }
            OpenError::Refused { retry_after, .. } => again(error.to_string()).after(retry_after),
            OpenError::Unusable(_) | OpenError::Address => {
                Down::fatal("homeassistant_client", error.to_string())
            }
            OpenError::Unreached(_) => again(error.to_string()),
        })?;
        let auth = json!({"type": "auth", "access_token": self.service.token().expose()});
        let hello = async {
            loop {
                match next(&mut socket).await? {
                    Some(Frame::AuthRequired) => socket.send(auth.to_string()).await?,
                    Some(Frame::AuthOk) => return Ok(None),
                    Some(Frame::AuthInvalid(why)) => return Ok(Some(why)),
                    _ => {}
                }
            }
        };
        let heard: Result<Option<String>, Lost> = timeout(HELLO, hello)
            .await
            .map_err(|_| again("Home Assistant says nothing on the new socket"))?;
        match heard.map_err(|lost| again(lost.to_string()))? {
            None => Ok(socket),
            Some(why) => {
                self.service.revoke();
                let down = down(&Failure::Revoked);
                let message = format!("{} (it says: {why})", down.message);
                Err(Down { message, ..down })
            }
        }
    }

    /// Asks for what changes from now on, and for how everything is. Events that come meanwhile are kept.
    async fn begin(&self, socket: &mut Socket) -> Result<(Vec<State>, Vec<(Option<String>, State)>), Down> {
        // Where nothing is watched nothing is asked for.
        if self.listening.settings.filter.is_blind() {
            return Ok((Vec::new(), Vec::new()));
        }
        let lost = |lost: Lost| again(lost.to_string());
        let events = json!({"id": EVENTS, "type": "subscribe_events", "event_type": "state_changed"});
        socket.send(events.to_string()).await.map_err(lost)?;
        socket.send(json!({"id": ALL, "type": "get_states"}).to_string()).await.map_err(lost)?;
        let mut meanwhile = Vec::new();
        loop {
            match next(socket).await.map_err(lost)? {
                Some(Frame::Result { id, success: false, error, .. }) => {
                    let what = if id == EVENTS { "what changes" } else { "how the house is" };
                    let text = format!(
                        "Home Assistant does not say {what} ({error}): the token's user has to be an administrator"
                    );
                    return Err(Down::retrying("homeassistant_forbidden", text));
                }
                Some(Frame::Result { id: ALL, states, odd, .. }) => {
                    if odd > 0 {
                        tracing::warn!(
                            "[{NAME}] {odd} states are skipped: a part of them is missing or too long"
                        );
                    }
                    return Ok((states, meanwhile));
                }
                Some(Frame::Changed { old, new }) => meanwhile.push((old, *new)),
                _ => {}
            }
        }
    }

    /// Listens until the end.
    async fn talk(&mut self, socket: &mut Socket, mut all: Vec<Told>) -> Result<(), Down> {
        let (link, service) = (self.link, self.service);
        let mut note_at = Instant::now() + NOTED;
        loop {
            // What is not stored now is told by whoever comes next: it is not written down.
            self.is_telling = true;
            for told in std::mem::take(&mut all) {
                let Some(done) = link.during(WINDOW, self.tell(&told)).await else { return Ok(()) };
                done?;
            }
            self.is_telling = false;
            let due = self.watch.next();
            tokio::select! {
                biased;
                _ = link.told() => return Ok(()),
                () = service.revoked() => return Err(down(&Failure::Revoked)),
                () = clock::until(due) => all = self.watch.due(Instant::now()),
                () = sleep_until(note_at) => {
                    note_at = Instant::now() + NOTED;
                    self.note().await;
                    self.asked += 1;
                    let ping = json!({"id": self.asked, "type": "ping"});
                    socket.send(ping.to_string()).await.map_err(|lost| again(lost.to_string()))?;
                }
                came = next(socket) => {
                    link.progress();
                    match came.map_err(|lost| again(lost.to_string()))? {
                        Some(Frame::Changed { old, new }) => {
                            all.extend(self.watch.changed(old.as_deref(), *new, Instant::now()));
                        }
                        Some(Frame::Odd) => {
                            tracing::warn!("[{NAME}] a state is skipped: a part of it is missing or too long");
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    /// Stores an event, however long that takes.
    async fn tell(&self, told: &Told) -> Result<(), Down> {
        loop {
            let (after, reason) = match self.listening.reception.accept(arrived(told), None).await {
                Ok(Taken::Full) => {
                    tracing::warn!("[{NAME}] {} is not told: too much waits already", told.entity);
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(not) => {
                    not.wait().map_err(|error| Down::retrying("homeassistant_store", error.reason()))?
                }
            };
            tracing::info!("[{NAME}] {} waits: {reason}", told.entity);
            sleep(after).await;
        }
    }

    /// Writes down what was told, where that is not written yet.
    async fn note(&mut self) {
        let Ok(text) = serde_json::to_string(&self.watch.told()) else { return };
        if self.is_telling {
            return;
        }
        if self.written.as_ref() == Some(&text) {
            return;
        }
        match self.listening.inbox.remember(&self.key, text.clone()).await {
            Ok(()) => self.written = Some(text),
            // It would be told once more, and known.
            Err(error) => tracing::debug!("[{NAME}] what was told is not written down: {}", error.reason()),
        }
    }
}

fn again(text: impl Into<String>) -> Down {
    Down::retrying(NETWORK, text)
}

fn not_stored(error: &StoreError) -> Down {
    Down::retrying("homeassistant_store", error.reason()).after(Some(AGAIN))
}

/// The next message. None: a sign of life, or nothing that is one. A large house may send several at once.
async fn next(socket: &mut Socket) -> Result<Option<Frame>, Lost> {
    let Heard::Text(text) = socket.next().await? else { return Ok(None) };
    let frame = wire::frame(&text);
    if frame.is_none() && !serde_json::from_str::<Value>(&text).is_ok_and(|said| said.is_array()) {
        tracing::warn!("[{NAME}] a message is skipped: it is none");
    }
    Ok(frame)
}

/// A change, as the worker takes it.
fn arrived(told: &Told) -> Arrived {
    let event = Inbound {
        source: Source {
            platform: NAME.to_owned(),
            chat_type: "channel".to_owned(),
            chat_id: Some(CHAT.to_owned()),
            chat_name: Some("Home Assistant Events".to_owned()),
            user_id: Some("homeassistant".to_owned()),
            user_name: Some("Home Assistant".to_owned()),
            ..Source::default()
        },
        text: told.text.clone(),
        dedup: Some(DedupKey { scope: CHAT.to_owned(), id: format!("{} {}", told.entity, told.since) }),
        delivery: DeliveryTarget {
            kind: NAME.to_owned(),
            extra: [(CHAT_ID.to_owned(), CHAT.to_owned())].into(),
        },
        context: None,
        end_session: None,
        // A lamp ends no answer about a door.
        busy: Busy::Queue,
    };
    Arrived { facts: Facts { addressed: true, ..Facts::default() }, ..Arrived::from(event) }
}
