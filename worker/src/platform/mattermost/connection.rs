//! The connection: one socket, from its opening to its end.
//!
//! ```text
//!   open ─▶ authentication_challenge ─▶ hello ─▶ what was missed is asked for ─▶ posts, and a ping every other second
//! ```
//!
//! A server does not say that it takes a token for none any more: it falls silent, and the socket stays. Only an answer to something says so;
//! that is what the pings are for, and half-open connections are known by them as well.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hermes_config::network::Network;
use http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::desk::{Desk, Item};
use super::event::Place;
use super::failures::{INVALID, NETWORK, down};
use super::gate::Gate;
use super::mark::Mark;
use super::missed::missed;
use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::wire::{self, Frame, Posted};
use crate::delivery::outbound::made;
use crate::handover::Reception;
use crate::inbox::Inbox;
use crate::outgoing::websocket::{self, Bounds, Heard, OpenError, Socket};
use crate::platform::backoff::Backoff;
use crate::platform::{Adapter, Down, Link, PlatformFuture};

/// Bounds of a socket; silence is known by pings of its own.
const BOUNDS: Bounds = Bounds {
    message: 4 * 1024 * 1024,
    silence: Some(Duration::from_secs(60)),
    sending: Duration::from_secs(10),
};
/// Time between two pings.
const BEAT: Duration = Duration::from_secs(2);
/// A ping that is not answered for so long was not heard.
const LATE: Duration = Duration::from_secs(10);
/// Silence that a connection does not survive.
const WINDOW: Duration = Duration::from_secs(60);
/// Time for the first word on a new socket.
const HELLO: Duration = Duration::from_secs(10);
/// Most that waits before nothing more is read, and most that is being handed in.
const WAITING: usize = 1000;
const LINE: usize = 16;
/// Time for what came to be handed in when the connection ends; the rest is given again.
const LAST: Duration = Duration::from_secs(2);
/// Wait before the first try after a loss; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The adapter.
pub(super) struct Listening {
    settings: Settings,
    network: Network,
    reception: Reception,
    inbox: Inbox,
    service: Arc<OnceLock<Service>>,
    backoff: Backoff,
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
        Self { settings, network, reception, inbox, service, backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT) }
    }

    async fn connect(&self, link: &Link) -> Result<(), Down> {
        let make = || Service::new(&self.settings, &self.network);
        let service = made(&self.service, make).map_err(|failure| down(&failure))?.clone();
        let me = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            me = service.me() => me.map_err(|failure| down(&failure))?,
        };
        tracing::info!("[{NAME}] the bot is @{}", me.username);
        let server = self.settings.base.as_ref().map(ToString::to_string).unwrap_or_default();
        let mark = Mark::read(&self.inbox, &me.id, &server).await;
        let mark = mark.map_err(|error| Down::retrying("mattermost_store", error.reason()))?;
        let gate = Gate { settings: &self.settings, me: &me.id, name: &me.username };
        let desk = Desk::new(service, (&self.reception, &self.inbox), gate, mark);
        let (items, came) = mpsc::channel(LINE);
        let taking = desk.take_all(came);
        let driving = self.drive(link, &desk, items);
        tokio::pin!(taking, driving);
        let ended = tokio::select! {
            biased;
            // Only what cannot be stored ends this before everything else has.
            taken = &mut taking => return taken,
            ended = &mut driving => ended,
        };
        let _ = timeout(LAST, taking).await;
        let _ = timeout(LAST, desk.write_mark()).await;
        ended
    }

    /// Opens a socket, and listens until its end.
    async fn drive(&self, link: &Link, desk: &Desk<'_>, items: mpsc::Sender<Item>) -> Result<(), Down> {
        let socket = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            () = desk.service.revoked() => return Err(down(&Failure::Revoked)),
            opened = self.open(desk) => opened?,
        };
        link.up();
        let now = Instant::now();
        let mut talk = Talk {
            desk,
            link,
            backoff: &self.backoff,
            socket,
            // The first number was that of the challenge.
            sent: 1,
            asked: None,
            next_beat: now + BEAT,
            expected: None,
            waiting: VecDeque::new(),
        };
        let ended = talk.listen(&items).await;
        talk.socket.close(None).await;
        ended
    }

    async fn open(&self, desk: &Desk<'_>) -> Result<Socket, Down> {
        let again = |text: String| Down::retrying(NETWORK, text);
        let address = desk.service.socket().map_err(|failure| down(&failure))?;
        let opened = websocket::open(&address, HeaderMap::new(), &self.network, BOUNDS).await;
        let mut socket = opened.map_err(|error| match error {
            OpenError::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => {
                Down::fatal(INVALID, format!("{error}: something before the server does not let the bot in"))
            }
            OpenError::Refused { retry_after, .. } => again(error.to_string()).after(retry_after),
            OpenError::Unusable(_) | OpenError::Address => {
                Down::fatal("mattermost_client", error.to_string())
            }
            OpenError::Unreached(_) => again(error.to_string()),
        })?;
        let token = desk.service.token().expose();
        let challenge = json!({"seq": 1, "action": "authentication_challenge", "data": {"token": token}});
        let hello = async {
            socket.send(challenge.to_string()).await?;
            loop {
                let Heard::Text(text) = socket.next().await? else { continue };
                match wire::frame(&text) {
                    Some((_, Frame::Hello)) => return Ok(true),
                    Some((_, Frame::Reply { refused: true })) => return Ok(false),
                    _ => {}
                }
            }
        };
        let heard: Result<bool, websocket::Lost> = timeout(HELLO, hello)
            .await
            .map_err(|_| again("the server says nothing on the new socket".to_owned()))?;
        match heard {
            Ok(true) => Ok(socket),
            // Of a token that is none the server closes the socket without a word.
            Ok(false) | Err(_) => Err(why(desk, "the server does not take the token on its socket").await),
        }
    }
}

/// Why the server does not talk: it is asked in a way that it answers.
async fn why(desk: &Desk<'_>, otherwise: &str) -> Down {
    match desk.service.me().await {
        Ok(_) => Down::retrying(NETWORK, otherwise),
        Err(failure) => down(&failure),
    }
}

/// What is asked for beside.
type Catching<'d> = Pin<Box<dyn Future<Output = Result<Vec<Item>, Failure>> + Send + 'd>>;

/// What is said over one socket.
struct Talk<'c, 'd> {
    desk: &'c Desk<'d>,
    link: &'c Link,
    backoff: &'c Backoff,
    socket: Socket,
    /// The number of what was sent last.
    sent: u64,
    /// Since when a ping is not answered.
    asked: Option<Instant>,
    next_beat: Instant,
    /// The number of the next event.
    expected: Option<u64>,
    /// What is to be handed in, in its order.
    waiting: VecDeque<Item>,
}

impl Talk<'_, '_> {
    async fn listen(&mut self, items: &mpsc::Sender<Item>) -> Result<(), Down> {
        let (desk, link) = (self.desk, self.link);
        let mut catching: Option<Catching<'_>> = Some(Box::pin(missed(desk)));
        // Events were left out while that was done already.
        let mut again = false;
        loop {
            // What was missed comes first.
            let may_give = catching.is_none() && !self.waiting.is_empty();
            let caught = async {
                match &mut catching {
                    Some(catching) => catching.await,
                    None => std::future::pending().await,
                }
            };
            let is_full = self.waiting.len() >= WAITING;
            tokio::select! {
                biased;
                _ = link.told() => return Ok(()),
                () = desk.service.revoked() => return Err(down(&Failure::Revoked)),
                caught = caught => {
                    self.add(caught.map_err(|failure| down(&failure))?);
                    catching = std::mem::take(&mut again).then(|| -> Catching<'_> { Box::pin(missed(desk)) });
                    if catching.is_none() {
                        desk.mark().release();
                        self.backoff.stands();
                    }
                }
                room = items.reserve(), if may_give => {
                    let Ok(room) = room else {
                        return Err(Down::retrying("mattermost_store", "nothing takes what comes"));
                    };
                    if let Some(item) = self.waiting.pop_front() {
                        room.send(item);
                    }
                }
                () = sleep_until(self.next_beat) => self.beat(is_full).await?,
                came = self.socket.next(), if !is_full => {
                    link.progress();
                    let Heard::Text(text) = came.map_err(|lost| Down::retrying(NETWORK, lost.to_string()))? else {
                        continue;
                    };
                    if self.hear(&text).await? {
                        tracing::info!("[{NAME}] the server has left out events: they are asked for");
                        again = catching.is_some();
                        if !again {
                            catching = Some(Box::pin(missed(desk)));
                        }
                    }
                }
            }
        }
    }

    /// Asks for a sign of life. While nothing is read, nothing can be heard.
    async fn beat(&mut self, is_full: bool) -> Result<(), Down> {
        let now = Instant::now();
        self.next_beat = now + BEAT;
        if is_full {
            self.link.progress();
            self.asked = None;
            return Ok(());
        }
        if self.asked.is_some_and(|since| now - since >= LATE) {
            let text = format!("nothing was heard of the server for {} s", LATE.as_secs());
            return Err(Down::retrying(NETWORK, text));
        }
        self.asked.get_or_insert(now);
        self.sent += 1;
        let ping = json!({"seq": self.sent, "action": "ping"});
        self.socket.send(ping.to_string()).await.map_err(|lost| Down::retrying(NETWORK, lost.to_string()))
    }

    /// Takes what came. True: something before it did not.
    async fn hear(&mut self, text: &str) -> Result<bool, Down> {
        let Some((number, frame)) = wire::frame(text) else {
            tracing::warn!("[{NAME}] a frame is skipped: it is no JSON");
            return Ok(false);
        };
        let mut has_gap = false;
        if let Some(number) = number {
            has_gap = self.expected.is_some_and(|expected| number > expected);
            self.expected = Some(number.saturating_add(1));
        }
        match frame {
            Frame::Reply { refused: false } => self.asked = None,
            Frame::Reply { refused: true } => {
                return Err(why(self.desk, "the server has ended the session").await);
            }
            Frame::Posted(posted) => self.take(*posted),
            Frame::Odd => tracing::warn!("[{NAME}] a post is skipped: a part of it is missing or too long"),
            Frame::Hello | Frame::Other => {}
        }
        Ok(has_gap)
    }

    fn take(&mut self, posted: Posted) {
        let Posted { post, kind, channel_name, team, sender } = posted;
        let desk = self.desk;
        if !kind.is_empty() {
            desk.learn(&post.channel, Place { kind, name: channel_name, team });
        }
        let is_private = desk.known(&post.channel).is_some_and(|place| place.is_private());
        match desk.gate.judge(&post, is_private) {
            Ok(addressed) => {
                desk.name(&post.user, &sender);
                self.add(vec![Item { post, addressed }]);
            }
            Err(passed) => {
                desk.mark().see(post.at);
                tracing::trace!(
                    "[{NAME}] post {} in {} is not for the bot: {passed:?}",
                    post.id,
                    post.channel
                );
            }
        }
    }

    /// Puts these where they are handed in: what was missed before what came meanwhile.
    fn add(&mut self, items: Vec<Item>) {
        let mut mark = self.desk.mark();
        for item in items {
            let (at, id) = (item.post.at, &item.post.id);
            if mark.knows(at, id) {
                continue;
            }
            mark.open(at, id);
            let channel = &item.post.channel;
            let later = |other: &Item| other.post.channel == *channel && other.post.at > at;
            // Only what came while something was asked for can be later.
            match self.waiting.iter().position(later) {
                Some(place) => self.waiting.insert(place, item),
                None => self.waiting.push_back(item),
            }
        }
    }
}
