//! One socket of the gateway: what is said over it, from HELLO to its end, and what its end means.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use twilight_model::gateway::payload::outgoing::Resume;
use twilight_model::gateway::{CloseCode, Intents, OpCode};

use super::desk::Desk;
use super::gate::Passed;
use super::intake::{Item, What};
use super::mark::{Number, Session};
use super::service::Failure;
use super::settings::NAME;
use super::slash;
use super::wire::{self, Event, Id, Interaction, Ready, Said};
use crate::clock;
use crate::outgoing::websocket::{Bounds, Heard, Lost, Socket};
use crate::platform::backoff::Backoff;
use crate::platform::wire::random64;
use crate::platform::{Down, Link, Told};

/// Bounds of a socket: messages as long as a very large server is; silence is known by heartbeats.
pub(super) const BOUNDS: Bounds =
    Bounds { message: 32 * 1024 * 1024, silence: None, sending: Duration::from_secs(10) };
/// Time for a close to be said.
const CLOSING: Duration = Duration::from_millis(500);
/// What is asked for.
pub(super) const INTENTS: Intents = Intents::GUILDS
    .union(Intents::GUILD_MESSAGES)
    .union(Intents::DIRECT_MESSAGES)
    .union(Intents::MESSAGE_CONTENT);
/// Longest time between two heartbeats, whatever the gateway wants: a silent one is known by it.
const BEAT: Duration = Duration::from_secs(15);
/// A heartbeat that is not heard for so long was not.
const UNHEARD: Duration = Duration::from_secs(10);
/// Time for the gateway to begin, and to say that a session stands.
const HELLO: Duration = Duration::from_secs(10);
const STANDING: Duration = Duration::from_secs(20);
/// A connection that stood for less did not stand.
pub(super) const SHORT: Duration = Duration::from_secs(10);
/// Wait before a connection that Discord did not want as it was.
const WAIT: Duration = Duration::from_secs(1);
/// The same, where it was too busy.
const LONG_WAIT: Duration = Duration::from_mins(1);
/// The close after which a session can be resumed: the usual ones end it.
const RESUMABLE: u16 = 4000;
/// Where intents are allowed.
pub(super) const PORTAL: &str = "https://discord.com/developers/applications";

/// How one socket ended.
pub(super) enum End {
    /// As it was told.
    Told,
    /// Another one is to be made, after so long.
    Again(Duration, String),
    /// The worker is to judge.
    Down(Down),
}

/// The ends of the lines that what came goes into.
pub(super) struct Lines {
    pub(super) items: mpsc::Sender<Item>,
    pub(super) interactions: mpsc::Sender<(Number, Box<Interaction>)>,
}

/// What came and found no room.
pub(super) enum Waiting {
    Item(Item),
    Interaction(Number, Box<Interaction>),
}

/// One socket.
pub(super) struct Connection<'c, 'd> {
    backoff: &'c Backoff,
    desk: &'c Desk<'d>,
    socket: Socket,
    resumable: Option<(Session, u64)>,
    /// The time between two heartbeats, once it is known.
    beat: Option<Duration>,
    next_beat: Instant,
    /// Until when the last heartbeat is to be heard.
    unheard: Option<Instant>,
    /// Until when the session is to stand.
    limit: Option<Instant>,
    waiting: &'c mut VecDeque<Waiting>,
    stood: &'c mut Option<Instant>,
    /// Commands are to be offered, of this program where it is known.
    #[expect(clippy::option_option, reason = "whether, and of which one")]
    offers: Option<Option<Id>>,
}

impl<'c, 'd> Connection<'c, 'd> {
    /// A socket that was just opened, for a session that is resumed or begins. `stood`: since when its session does.
    pub(super) fn new(
        desk: &'c Desk<'d>,
        backoff: &'c Backoff,
        (socket, resumable): (Socket, Option<(Session, u64)>),
        waiting: &'c mut VecDeque<Waiting>,
        stood: &'c mut Option<Instant>,
    ) -> Self {
        let now = Instant::now();
        Self {
            backoff,
            desk,
            socket,
            resumable,
            beat: None,
            next_beat: now,
            unheard: None,
            limit: Some(now + HELLO),
            waiting,
            stood,
            offers: None,
        }
    }

    /// Closes it so that its session can be resumed. A close of the other side needs none of this one; what is gone hears none.
    pub(super) async fn close(self) {
        // Whoever does not hear it finds the connection gone.
        let _ = timeout(CLOSING, self.socket.close(Some(RESUMABLE))).await;
    }

    /// Until its end.
    pub(super) async fn run(&mut self, link: &Link, server: &str, lines: &Lines) -> End {
        let (desk, settings) = (self.desk, self.desk.settings);
        let mut offering: Option<std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>> = None;
        loop {
            if let Some(application) = self.offers.take() {
                let (service, inbox, bot) = (&desk.service, desk.inbox, desk.gate.me);
                offering = Some(Box::pin(slash::offer(settings, service, inbox, bot, application, server)));
            }
            let offered = async {
                match &mut offering {
                    Some(offering) => offering.await,
                    None => std::future::pending().await,
                }
            };
            let room = async {
                match self.waiting.front() {
                    Some(Waiting::Item(_)) => lines.items.reserve().await.map(Room::Item).ok(),
                    Some(Waiting::Interaction(..)) => {
                        lines.interactions.reserve().await.map(Room::Interaction).ok()
                    }
                    None => std::future::pending().await,
                }
            };
            let is_full = !self.waiting.is_empty();
            // While nothing is read, nothing can be heard.
            let limit = if is_full { None } else { [self.unheard, self.limit].into_iter().flatten().min() };
            tokio::select! {
                biased;
                told = link.told() => {
                    tracing::debug!("[{NAME}] told to {}", if told == Told::Stop { "stop" } else { "yield" });
                    return End::Told;
                }
                () = desk.service.revoked() => return End::Down(down(Failure::Revoked)),
                room = room => match (room, self.waiting.pop_front()) {
                    (Some(Room::Item(permit)), Some(Waiting::Item(item))) => permit.send(item),
                    (Some(Room::Interaction(permit)), Some(Waiting::Interaction(number, it))) => permit.send((number, it)),
                    _ => return End::Again(WAIT, "nothing takes what comes".to_owned()),
                },
                () = sleep_until(self.next_beat), if self.beat.is_some() => {
                    if is_full {
                        link.progress();
                    }
                    if let Err(error) = self.send_beat().await {
                        return lost(&error);
                    }
                }
                () = clock::until(limit) => {
                    let why = if self.unheard == limit { "a heartbeat was not heard" } else { "no session came to stand" };
                    return End::Again(Duration::ZERO, why.to_owned());
                }
                () = offered => offering = None,
                came = self.socket.next(), if !is_full => {
                    let ended = match came {
                        Ok(Heard::Text(text)) => {
                            link.progress();
                            self.hear(&text, link).await
                        }
                        Ok(Heard::Life) => {
                            link.progress();
                            None
                        }
                        Err(Lost::Closed { code, reason }) => Some(self.closed(code, &reason)),
                        Err(error) => Some(lost(&error)),
                    };
                    if let Some(end) = ended {
                        return end;
                    }
                }
            }
        }
    }

    async fn send(&mut self, message: &Value) -> Result<(), Lost> {
        self.socket.send(message.to_string()).await
    }

    async fn send_beat(&mut self) -> Result<(), Lost> {
        let beat = self.beat.unwrap_or(BEAT);
        let now = Instant::now();
        self.next_beat = now + beat;
        self.unheard.get_or_insert(now + UNHEARD);
        let number = self.desk.mark().top();
        self.send(&json!({"op": OpCode::Heartbeat, "d": number})).await
    }

    /// Takes one message of the gateway.
    async fn hear(&mut self, text: &str, link: &Link) -> Option<End> {
        let said = match wire::said(text) {
            Ok(said) => said,
            Err(error) => {
                tracing::warn!("[{NAME}] {error}; it is skipped");
                return None;
            }
        };
        match said {
            Said::Hello(beat) => {
                let beat = beat.min(BEAT);
                self.beat = Some(beat);
                // Not all at once after an outage.
                self.next_beat = Instant::now() + beat.mul_f64(f64::from(share()));
                self.limit = Some(Instant::now() + STANDING);
                let begin = self.beginning();
                self.send(&begin).await.err().map(|error| lost(&error))
            }
            Said::Ack => {
                self.unheard = None;
                None
            }
            Said::Beat => self.send_beat().await.err().map(|error| lost(&error)),
            Said::Reconnect => {
                Some(End::Again(Duration::ZERO, "Discord asks for another connection".to_owned()))
            }
            Said::Invalid { resumable } => {
                if !resumable {
                    self.desk.mark().end();
                }
                // What Discord wants between two of them.
                let wait = Duration::from_secs(1) + Duration::from_secs(4).mul_f64(f64::from(share()));
                // One that could not be resumed stood before.
                if self.resumable.is_some() {
                    let now = Instant::now();
                    self.stood.get_or_insert(now.checked_sub(SHORT).unwrap_or(now));
                }
                Some(End::Again(wait, "the session is not valid any more".to_owned()))
            }
            Said::Event(number, event) => {
                self.take(number, event, link);
                None
            }
            Said::Nothing => None,
        }
    }

    /// What a session begins with.
    fn beginning(&self) -> Value {
        let token = self.desk.settings.token.expose();
        match &self.resumable {
            Some((session, number)) => json!(Resume::new(*number, session.id.clone(), token)),
            None => json!({"op": OpCode::Identify, "d": {
                "token": token, "intents": INTENTS, "compress": false, "large_threshold": 50,
                "properties": {"os": std::env::consts::OS, "browser": "hermes", "device": "hermes"},
            }}),
        }
    }

    fn stands(&mut self, link: &Link) {
        self.limit = None;
        *self.stood = Some(Instant::now());
        self.backoff.stands();
        link.up();
    }

    fn take(&mut self, number: u64, event: Event, link: &Link) {
        let desk = self.desk;
        match event {
            Event::Ready(ready) => {
                let Ready { session_id, resume_gateway_url, application, .. } = *ready;
                let mut mark = desk.mark();
                mark.begin(Session { id: session_id, url: resume_gateway_url });
                mark.see(number);
                drop(mark);
                desk.began.notify_one();
                self.offers = Some(application.map(|application| application.id));
                self.stands(link);
            }
            Event::Resumed => {
                desk.mark().see(number);
                self.offers = Some(None);
                self.stands(link);
            }
            Event::Message(message) => match desk.gate.knows(&message) {
                // Its own may be in a thread: then it takes part there.
                Ok(()) | Err(Passed::Own) => {
                    let number = desk.mark().open(number);
                    self.waiting.push_back(Waiting::Item(Item { number, what: What::Message(message) }));
                }
                Err(_) => desk.mark().see(number),
            },
            Event::Interaction(interaction) => {
                let number = desk.mark().open(number);
                self.waiting.push_back(Waiting::Interaction(number, interaction));
            }
            other => {
                desk.mark().see(number);
                match other {
                    Event::Guild(guild) => desk.places().guild(&guild),
                    Event::Channel(channel) => desk.places().channel(&channel),
                    Event::Gone(channel) => desk.places().gone(channel),
                    Event::Odd(what) => {
                        tracing::warn!("[{NAME}] a {what} is skipped: a part of it is missing or too long");
                    }
                    _ => {}
                }
            }
        }
    }

    /// What a close means.
    fn closed(&self, code: Option<u16>, said: &str) -> End {
        let said = if said.is_empty() { String::new() } else { format!(": {said}") };
        let shown = code.map_or_else(|| "without a code".to_owned(), |code| format!("with {code}{said}"));
        let Some(known) = code.and_then(|code| CloseCode::try_from(code).ok()) else {
            return End::Again(Duration::ZERO, format!("Discord closed the connection {shown}"));
        };
        match known {
            CloseCode::AuthenticationFailed => {
                self.desk.service.revoke();
                End::Down(down(Failure::Revoked))
            }
            CloseCode::InvalidIntents | CloseCode::DisallowedIntents => End::Down(Down::fatal(
                "discord_disallowed_intents",
                format!(
                    "Discord does not allow the bot the intent MESSAGE_CONTENT ({}): turn on \"Message Content Intent\" on the page Bot of {PORTAL}",
                    code.unwrap_or_default()
                ),
            )),
            CloseCode::InvalidShard | CloseCode::ShardingRequired | CloseCode::InvalidApiVersion => {
                let why =
                    format!("Discord does not take the bot in one connection of this version ({shown})");
                End::Down(Down::fatal("discord_shard_config", why))
            }
            CloseCode::InvalidSequence | CloseCode::SessionTimedOut | CloseCode::NotAuthenticated => {
                self.desk.mark().end();
                End::Again(WAIT, format!("Discord closed the connection {shown}"))
            }
            CloseCode::RateLimited => End::Again(LONG_WAIT, format!("Discord closed the connection {shown}")),
            _ => End::Again(Duration::ZERO, format!("Discord closed the connection {shown}")),
        }
    }
}

/// Room in one of the lines.
enum Room<'l> {
    Item(mpsc::Permit<'l, Item>),
    Interaction(mpsc::Permit<'l, (Number, Box<Interaction>)>),
}

/// A random share of a whole.
fn share() -> f32 {
    f32::from(u16::try_from(random64() & 0xFFFF).unwrap_or_default()) / 65_536.0
}

pub(super) fn lost(error: &dyn std::fmt::Display) -> End {
    End::Again(Duration::ZERO, format!("the connection to Discord's gateway broke: {error}"))
}

/// What a failed request is to the connection.
pub(super) fn down(failure: Failure) -> Down {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { code, .. } => Down::fatal(code, text),
        Failure::Revoked => Down::fatal("discord_invalid_auth", text),
        Failure::Limited { after } => Down::retrying("discord_network_error", text).after(Some(after)),
        Failure::Refused { refusal, .. } => {
            Down::retrying("discord_network_error", text).after(refusal.retry_after)
        }
        Failure::Unsent(_) | Failure::Lost(_) => Down::retrying("discord_network_error", text),
        Failure::Garbled(_) => Down::retrying("discord_protocol", text),
    }
}
