//! WhatsApp, through a bridge that speaks its protocol (Baileys, on Node.js) and is spoken to by HTTP on this machine.
//!
//! # Theory of operation
//!
//! ```text
//!   WhatsApp ⇄ bridge (its session, its queue on disk) ⇄ HTTP ⇄ this connection ─▶ reception
//!                        ▲                                     way out ◀─ ledger
//!                        └── started and ended by this connection
//! ```
//!
//! One process of a profile holds the session, and with it the [bridge]: in a swap the old one ends its bridge before the new one starts
//! its own. WhatsApp confirms to its sender what the bridge has received and offers it to nobody again, so the bridge keeps every message on disk
//! until it is confirmed here, which follows its being stored. The way out finds the running bridge by a file, whichever process has started it.
//!
//! # Guarantees
//!
//! - `connected` is said of WhatsApp, not of the bridge: what is away for longer than [`AWAY`] is down, and its bridge is started again.
//! - A message is confirmed once it is in the inbox. An older bridge, at an address, forgets what it hands out; that is its contract.
//! - No program is ended that was not started here.

mod bridge;
mod check;
mod files;
mod gate;
mod gather;
mod ids;
pub mod install;
mod outbound;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_config::network::Network;
use hermes_host::blocking;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::backoff::Backoff;
use super::sent::Echoes;
use super::{Adapter, Context, Down, Folder, Link, Outside, Platform, PlatformFuture, Shared};
use crate::access::Facts;
use crate::delivery::outbound::{CHAT_ID, Outbound};
use crate::handover::{Arrived, Reception, TOO_MANY, Taken};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};
use bridge::{Bridge, Plan};
use gate::Gate;
use gather::{Gather, Held};
use ids::Person;
use outbound::{Chats, REPLY_SENDER, REPLY_TO};
use service::{Failure, Service};
use settings::{DECLARATION, Mode, NAME, Settings};
use wire::{Heard, Item};

/// How long WhatsApp may be away from a bridge that lives.
const AWAY: Duration = Duration::from_secs(10);
/// Silence that a connection does not survive.
const WINDOW: Duration = Duration::from_secs(30);
/// Time from a bridge that answers to WhatsApp.
const REACHED: Duration = Duration::from_secs(15);
/// Time that a bridge which does not answer any more has to end.
const LAST: Duration = Duration::from_millis(500);
/// Time for what a bridge that has ended handed out to be stored.
const STORED: Duration = Duration::from_secs(2);
/// Pause between two looks at a bridge.
const LOOK: Duration = Duration::from_millis(250);
/// Pause between two questions to a bridge that does not hold them back.
const ROUND: Duration = Duration::from_secs(1);
/// Time after which the bridge is asked how it is.
const CHECK: Duration = Duration::from_secs(3);
/// Wait before the first try after a loss; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Most of what is quoted that is shown to the model, in characters.
const QUOTE: usize = 500;

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: Some(check::check) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let adapter = Bridged {
        plan: Plan {
            settings: settings.clone(),
            home: context.home.path().to_owned(),
            environment: context.child_env.clone(),
            most: context.config.max_inbound_media_bytes,
        },
        network: Network::of(&context.config.env).over(&context.child_env),
        reception: context.reception.clone(),
        sent: echoes(&context.shared),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
    };
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = Network::of(&outside.config.env).over(outside.inherited);
    let home = outside.home.path().to_owned();
    Some(Arc::new(Chats::new(settings.clone(), network, home, echoes(outside.shared))))
}

/// The names of the latest messages that were sent.
fn echoes(shared: &Shared) -> Arc<Echoes<String>> {
    shared.of(NAME, Echoes::default)
}

/// The adapter.
struct Bridged {
    plan: Plan,
    network: Network,
    reception: Reception,
    sent: Arc<Echoes<String>>,
    backoff: Backoff,
}

impl Adapter for Bridged {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move { self.connection(link).await.map_err(|down| self.backoff.after(down)) })
    }

    fn window(&self) -> Option<Duration> {
        Some(WINDOW)
    }
}

impl Bridged {
    /// One connection, with a bridge of its own where none is at an address.
    async fn connection(&self, link: Link) -> Result<(), Down> {
        let settings = &self.plan.settings;
        if let Some(fault) = &settings.fault {
            return Err(Down::fatal(fault.code.clone(), fault.message.clone()));
        }
        if let Some(url) = &settings.url {
            let service = Service::new(url.clone(), settings.secret.clone(), &self.network)
                .map_err(|failure| down(&failure))?;
            return self.listen(&link, &service).await;
        }
        let mut bridge = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            bridge = Bridge::start(&self.plan) => bridge?,
        };
        let service = bridge.service.clone();
        let listening = self.listen(&link, &service);
        tokio::pin!(listening);
        let ended = tokio::select! {
            biased;
            ended = &mut listening => Ok(ended),
            down = bridge.ended() => {
                // What it has handed out is stored; whoever asks it for more hears that it is gone.
                let _ = timeout(STORED, listening).await;
                Err(down)
            }
        };
        let ended = match ended {
            // A bridge that has ended is heard by its silence first, and by what it said of that a moment later.
            Ok(Err(down)) => Err(timeout(LAST, bridge.ended()).await.unwrap_or(down)),
            Ok(Ok(())) => Ok(()),
            Err(down) => Err(down),
        };
        // Whether it was lost or given up: its session's keys are on disk before anybody else reads them.
        bridge.end().await;
        ended
    }

    async fn listen(&self, link: &Link, service: &Service) -> Result<(), Down> {
        let told = link.told();
        tokio::pin!(told);
        let acknowledges = tokio::select! {
            biased;
            _ = &mut told => return Ok(()),
            reached = reached(service) => reached?,
        };
        link.up();
        self.backoff.stands();
        let mut intake = Line {
            home: &self.plan.home,
            session: {
                let plan = self.plan.clone();
                blocking::run(move || plan.session()).await.map_err(|error| lost(error.to_string()))?
            },
            gate: Gate::new(&self.plan.settings, &self.sent),
            mode: self.plan.settings.mode,
            reception: &self.reception,
            service,
            link,
            gather: Gather::default(),
            keeps: acknowledges,
            after: 0,
        };
        let ended = self.rounds(&mut intake).await;
        if ended.is_err() && !acknowledges {
            // What was handed out is nowhere else, complete or not.
            let rest = intake.gather.all();
            intake.all(rest).await?;
        }
        ended
    }

    /// Asks for messages, again and again, and how the bridge is.
    async fn rounds(&self, intake: &mut Line<'_>) -> Result<(), Down> {
        let (link, service, acknowledges) = (intake.link, intake.service, intake.keeps);
        let told = link.told();
        tokio::pin!(told);
        let mut pulse = Pulse { seen: Instant::now(), looked: Instant::now(), dropped: 0 };
        loop {
            let round = Instant::now();
            let heard = if acknowledges {
                let due = intake.gather.next().unwrap_or(round + CHECK * 2);
                tokio::select! {
                    biased;
                    _ = &mut told => return Ok(()),
                    () = sleep_until(due) => Vec::new(),
                    heard = service.messages(Some(intake.after)) => heard.map_err(|failure| down(&failure))?,
                }
            } else {
                // What is handed out now is nowhere else: nothing breaks this off.
                service.messages(None).await.map_err(|failure| down(&failure))?
            };
            let is_idle = heard.is_empty();
            if !intake.take(heard).await? {
                return Ok(());
            }
            if is_idle || pulse.looked.elapsed() >= CHECK {
                pulse.look(service, link).await?;
            }
            if !acknowledges {
                let next = if is_idle { round + ROUND } else { round };
                tokio::select! {
                    biased;
                    _ = &mut told => {
                        let rest = intake.gather.all();
                        intake.all(rest).await?;
                        return Ok(());
                    }
                    () = sleep_until(intake.gather.next().map_or(next, |due| due.min(next))) => {}
                }
            }
        }
    }
}

/// How WhatsApp's connection is, as the bridge says it.
struct Pulse {
    /// When it was there last.
    seen: Instant,
    /// When the bridge was asked last.
    looked: Instant,
    /// Messages that the bridge could not keep, as far as that was said.
    dropped: u64,
}

impl Pulse {
    async fn look(&mut self, service: &Service, link: &Link) -> Result<(), Down> {
        let health = service.health().await.map_err(|failure| down(&failure))?;
        self.looked = Instant::now();
        if health.dropped > self.dropped {
            let more = health.dropped - self.dropped;
            tracing::error!("[{NAME}] the bridge could not keep {more} messages: too many wait");
        }
        self.dropped = health.dropped;
        if health.is_connected() {
            self.seen = self.looked;
            link.progress();
        } else if self.seen.elapsed() >= AWAY {
            return Err(lost(format!("WhatsApp is not connected: the bridge says `{}`", health.status)));
        }
        Ok(())
    }
}

/// Waits until a bridge has reached WhatsApp; whether it keeps messages until they are confirmed.
async fn reached(service: &Service) -> Result<bool, Down> {
    let deadline = Instant::now() + REACHED;
    loop {
        let health = service.health().await.map_err(|failure| down(&failure))?;
        if health.is_connected() {
            return Ok(health.acknowledges);
        }
        if Instant::now() >= deadline {
            return Err(lost(format!(
                "the bridge runs, and WhatsApp is not connected: it says `{}`",
                health.status
            )));
        }
        sleep(LOOK).await;
    }
}

/// The way of messages from the bridge into the house.
struct Line<'l> {
    home: &'l Utf8Path,
    session: Utf8PathBuf,
    gate: Gate<'l>,
    mode: Mode,
    reception: &'l Reception,
    service: &'l Service,
    link: &'l Link,
    gather: Gather,
    /// The bridge keeps what is not confirmed.
    keeps: bool,
    /// The last message that was seen.
    after: u64,
}

impl Line<'_> {
    /// Takes what the bridge says, as far as it is for the bot. `false`: the connection is to be closed before.
    async fn take(&mut self, heard: Vec<Heard>) -> Result<bool, Down> {
        for one in heard {
            let (seq, complete) = match one {
                Heard::Odd(seq, why) => {
                    tracing::warn!("[{NAME}] a message is skipped: {why}");
                    (seq, None)
                }
                Heard::Message(item) => match self.gate.judge(&item) {
                    Ok(()) => (item.seq, Some(self.gather.take(*item, Instant::now()))),
                    Err(why) => {
                        tracing::debug!("[{NAME}] message {} is not for the bot: {why:?}", item.id);
                        (item.seq, None)
                    }
                },
            };
            self.after = self.after.max(seq);
            match complete {
                None => self.confirm(vec![seq]).await?,
                Some(complete) => {
                    if !self.all(complete).await? {
                        return Ok(false);
                    }
                }
            }
        }
        let due = self.gather.due(Instant::now());
        self.all(due).await
    }

    /// `false`: the connection is to be closed before.
    async fn all(&self, complete: Vec<Held>) -> Result<bool, Down> {
        for held in complete {
            let seqs = held.parts.iter().map(|part| part.seq).collect();
            let (item, also) = held.joined();
            if !self.accept(item, also).await? {
                return Ok(false);
            }
            self.confirm(seqs).await?;
        }
        Ok(true)
    }

    async fn confirm(&self, seqs: Vec<u64>) -> Result<(), Down> {
        if !self.keeps {
            return Ok(());
        }
        self.service.confirm(&seqs).await.map_err(|failure| down(&failure))
    }

    /// Stores a message, however long that takes. `false`: the connection is to be closed before.
    async fn accept(&self, item: Item, also: Vec<String>) -> Result<bool, Down> {
        let (chat, sender) = self.people(&item).await;
        loop {
            let arrived = self.arrived(&item, &chat, &sender, also.clone()).await;
            let accepting = self.reception.accept(arrived, None);
            let taken = if self.keeps {
                let Some(taken) = self.link.during(WINDOW, accepting).await else { return Ok(false) };
                taken
            } else {
                accepting.await
            };
            let (after, reason) = match taken {
                Ok(Taken::Full) => {
                    let body = serde_json::json!({"chatId": chat, "message": TOO_MANY});
                    if let Err(error) = self.service.call("send", &body, WINDOW).await {
                        tracing::warn!(%error, "[{NAME}] nobody could be told that a message was not taken");
                    }
                    return Ok(true);
                }
                Ok(_) => return Ok(true),
                Err(not) => not.wait().map_err(|error| Down::retrying("whatsapp_store", error.reason()))?,
            };
            tracing::info!("[{NAME}] a message waits: {reason}");
            if self.link.during(WINDOW, sleep(after)).await.is_none() {
                if !self.keeps {
                    tracing::error!(
                        "[{NAME}] message {} is lost: the bridge keeps nothing that it has handed out",
                        item.id
                    );
                }
                return Ok(false);
            }
        }
    }

    /// The chat's address, and who wrote.
    async fn people(&self, item: &Item) -> (String, Person) {
        let session = self.session.clone();
        let (chat, sender, in_group) = (
            (item.chat.clone(), item.chat_alt.clone()),
            (item.sender.clone(), item.sender_alt.clone()),
            item.in_group,
        );
        let named = (chat.0.clone(), sender.clone());
        let find = move || {
            let phone = |hidden: &str| ids::phone_of(&session, hidden);
            let sender = ids::person(&sender.0, sender.1.as_deref(), phone);
            let chat = if in_group { chat.0 } else { ids::person(&chat.0, chat.1.as_deref(), phone).address };
            (chat, sender)
        };
        // Where the session cannot be asked its ids stand as they came.
        let as_is = |_| (named.0, ids::person(&named.1.0, named.1.1.as_deref(), |_| None));
        blocking::run(find).await.unwrap_or_else(as_is)
    }

    /// A message, as the worker takes it.
    async fn arrived(&self, item: &Item, chat: &str, sender: &Person, also: Vec<String>) -> Arrived {
        let words = gate::words(item);
        let text = match item.quoted.as_deref().map(str::trim).filter(|quoted| !quoted.is_empty()) {
            Some(quoted) => {
                format!("[Replying to: \"{}\"]\n\n{words}", quoted.chars().take(QUOTE).collect::<String>())
            }
            None => words,
        };
        let mut extra =
            BTreeMap::from([(CHAT_ID.to_owned(), chat.to_owned()), (REPLY_TO.to_owned(), item.id.clone())]);
        if item.in_group {
            extra.insert(REPLY_SENDER.to_owned(), item.sender.clone());
        }
        let event = Inbound {
            source: Source {
                platform: NAME.to_owned(),
                chat_type: if item.in_group { "group" } else { "dm" }.to_owned(),
                chat_id: Some(chat.to_owned()),
                chat_name: item.chat_name.clone(),
                user_id: Some(sender.id.clone()),
                user_name: item.sender_name.clone(),
                ..Source::default()
            },
            text,
            dedup: Some(DedupKey { scope: chat.to_owned(), id: item.id.clone() }),
            delivery: DeliveryTarget { kind: NAME.to_owned(), extra },
            context: None,
            end_session: None,
            // The way in puts the profile's setting in its place.
            busy: Busy::Wait,
        };
        let facts = Facts {
            addressed: Gate::is_addressed(item),
            // Whoever holds the account is its owner: WhatsApp has said so.
            role_authorized: self.mode == Mode::SelfChat || item.from_owner || item.from_me,
            aliases: sender.aliases.clone(),
            ..Facts::default()
        };
        let attachments = files::attached(item, self.home).await;
        Arrived { attachments, facts, also, ..Arrived::from(event) }
    }
}

fn lost(text: String) -> Down {
    Down::retrying("whatsapp_network_error", text)
}

/// What a failed request is to the connection.
fn down(failure: &Failure) -> Down {
    let text = failure.to_string();
    match failure {
        Failure::Status { status: 401, .. } => Down::fatal("whatsapp_invalid_auth", text),
        Failure::Unusable(_) => Down::fatal("whatsapp_client", text),
        _ => lost(text),
    }
}
