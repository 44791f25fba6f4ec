//! Signal, through the HTTP daemon of signal-cli.
//!
//! # Theory of operation
//!
//! The daemon holds the account; this connection reads its stream of events (`GET /api/v1/events`, server-sent events), and the [way
//! out](outbound) calls it (`POST /api/v1/rpc`, JSON-RPC 2.0). A daemon that gives its events ids keeps the latest of them: who comes back
//! says which was his last one, and gets what came behind it. Others keep nothing: what they receive while nobody reads is lost there, so two
//! workers that take turns read side by side, and the inbox knows a message by its chat, sender and time.
//!
//! A stream that is silent for [`QUIET`] may be one where nobody writes, or one whose other end is gone without a word: the daemon is asked
//! whether it lives, and another stream is opened before this one is left.
//!
//! # Guarantees
//!
//! - An event is stored before the next one is read; what cannot be stored now is offered again until it can. How far that got is written down
//!   behind it.
//! - Groups are off where none is listed; in the others only what is for the bot comes in, as `require_mention` says.
//! - What the account itself sends comes in as a message only from another device of its owner's, to himself or in a group, and never as
//!   an echo of the bot's own answer.

mod check;
mod outbound;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hermes_config::network::Network;
use hermes_config::platform::{BASE, ClaimSpec, Declaration, claim, field, part};
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::sent::Echoes;
use super::{Adapter, Context, Down, Folder, Link, Outside, Platform, PlatformFuture, Shared};
use crate::access::Facts;
use crate::delivery::outbound::{CHAT_ID, Outbound};
use crate::handover::{Arrived, Attached, Reception, TOO_MANY, Taken, Unfetched};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::inbox::Inbox;
use crate::store::StoreError;
use outbound::Chat;
use service::{Came, Failure, Service};
use settings::Settings;
use wire::{Attachment, Heard, Incoming};

/// The platform's name.
const NAME: &str = "signal";
/// Start of the id of a chat that is a group.
const GROUP: &str = "group:";
/// Silence after which the daemon is asked whether it lives.
const QUIET: Duration = Duration::from_secs(120);
/// Silence that a connection does not survive.
const WINDOW: Duration = Duration::from_secs(180);
/// For so long a connection that is to be closed goes on.
const LINGER: Duration = Duration::from_millis(500);
/// Wait before the first try after a loss; each next one is twice as long, up to [`LONGEST_WAIT`]. What is received meanwhile is lost.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

const CLAIMS: &[ClaimSpec] = &[claim("signal-phone", &[part("SIGNAL_ACCOUNT", "account")])];

static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "SIGNAL",
    credentials: &[&[field("SIGNAL_HTTP_URL", "http_url"), field("SIGNAL_ACCOUNT", "account")]],
    claims: CLAIMS,
    adapter: true,
    overlaps: true,
    target: true,
    keys: Some(&settings::KEYS),
    read: Some(settings::read),
    ..BASE
};

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: Some(check::check) };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let network = Network::of(&context.config.env).over(&context.child_env);
    let (settings, reception, inbox) = (settings.clone(), context.reception.clone(), context.inbox.clone());
    let (sent, backoff) = (echoes(&context.shared), Backoff::new(FIRST_WAIT, LONGEST_WAIT));
    let adapter = Listening { settings, network, reception, inbox, sent, backoff };
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Arc::new(Chat::new(settings.clone(), network, echoes(outside.shared))))
}

/// When the latest messages were sent, which is what Signal names them by.
fn echoes(shared: &Shared) -> Arc<Echoes<u64>> {
    shared.of(NAME, Echoes::default)
}

/// The adapter.
struct Listening {
    settings: Settings,
    network: Network,
    reception: Reception,
    inbox: Inbox,
    sent: Arc<Echoes<u64>>,
    backoff: Backoff,
}

impl Adapter for Listening {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(async move {
            let ended = self.listen(link).await;
            ended.map_err(|down| self.backoff.after(down))
        })
    }

    fn window(&self) -> Option<Duration> {
        Some(WINDOW)
    }
}

impl Listening {
    async fn listen(&self, link: Link) -> Result<(), Down> {
        let service = Service::new(&self.settings, &self.network).map_err(down)?;
        service.check().await.map_err(down)?;
        let key = self.key();
        let written = self.inbox.remembered(&key).await.map_err(|error| not_stored(&error))?;
        let mut place = written.filter(|place| !place.is_empty());
        let mut events = service.events(place.as_deref()).await.map_err(down)?;
        link.up();
        self.backoff.stands();
        let mut heard = Instant::now();
        // Whoever takes over is connected by then, and the daemon may need a moment to see that.
        let end = async {
            link.told().await;
            sleep(LINGER).await;
        };
        tokio::pin!(end);
        loop {
            let came = tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                came = events.next() => {
                    if let Err(Failure::TooMuch(_)) = &came {
                        // It would come again, and again nothing behind it.
                        self.write_place(&key, String::new()).await;
                    }
                    came.map_err(down)?
                }
                () = sleep_until(heard + QUIET) => {
                    service.check().await.map_err(down)?;
                    events = service.events(place.as_deref()).await.map_err(down)?;
                    Came::Life
                }
            };
            heard = Instant::now();
            link.progress();
            let Came::Event(text, id) = came else { continue };
            let mut is_message = false;
            match wire::event(&text, &self.settings.account) {
                Heard::Nothing => {}
                Heard::Odd(why) => tracing::warn!("[{NAME}] an event is skipped: {why}"),
                Heard::Message(incoming) => {
                    if let Some(why) = self.passes(&incoming) {
                        tracing::debug!("[{NAME}] a message is not for the bot: {why}");
                    } else if !self.accept(&link, end.as_mut(), &service, *incoming).await? {
                        return Ok(());
                    }
                    is_message = true;
                }
            }
            let Some(id) = id else { continue };
            // Receipts and the like may come again.
            if is_message {
                self.write_place(&key, id.clone()).await;
            }
            place = Some(id);
        }
    }

    /// Where it is written down how far events were read.
    fn key(&self) -> String {
        let daemon = self.settings.base.as_ref().map(|base| base.origin().ascii_serialization());
        format!("hermes_signal_place {} {}", self.settings.account, daemon.unwrap_or_default())
    }

    /// Writes that down. What is not comes again, and is known in the inbox.
    async fn write_place(&self, key: &str, place: String) {
        if let Err(error) = self.inbox.remember(key, place).await {
            tracing::debug!("[{NAME}] how far events were read is not written down: {}", error.reason());
        }
    }

    /// Why a message is not for the bot.
    fn passes(&self, incoming: &Incoming) -> Option<&'static str> {
        if incoming.elsewhere && self.sent.is_known(&incoming.timestamp) {
            return Some("the bot wrote it");
        }
        let group = incoming.group.as_deref()?;
        if !self.settings.groups.holds(group) {
            return Some("its group is not listed");
        }
        (self.settings.require_mention && !self.is_addressed(incoming)).then_some("nobody spoke to the bot")
    }

    fn is_addressed(&self, incoming: &Incoming) -> bool {
        let own = incoming.elsewhere.then_some(incoming.uuid.as_deref()).flatten();
        let is_own = |id: &String| *id == self.settings.account || own == Some(id);
        incoming.text.starts_with('/') || incoming.addressed.iter().any(is_own)
    }

    /// Stores a message, however long that takes. `false`: the connection is to be closed before.
    async fn accept(
        &self,
        link: &Link,
        mut end: Pin<&mut impl Future<Output = ()>>,
        service: &Service,
        incoming: Incoming,
    ) -> Result<bool, Down> {
        let chat = chat_of(&incoming);
        loop {
            let accepting =
                self.reception.accept(arrived(&incoming, self.is_addressed(&incoming), service), None);
            let taken = tokio::select! {
                biased;
                taken = accepting => taken,
                () = end.as_mut() => return Ok(false),
            };
            let (after, reason) = match taken {
                Ok(Taken::Full) => {
                    if let Err(error) = service.send(&chat, TOO_MANY, &[]).await {
                        tracing::warn!(%error, "[{NAME}] nobody could be told that a message was not taken");
                    }
                    return Ok(true);
                }
                Ok(_) => return Ok(true),
                Err(not) => not.wait().map_err(|error| not_stored(&error))?,
            };
            tracing::info!("[{NAME}] a message waits: {reason}");
            link.progress();
            tokio::select! {
                () = end.as_mut() => return Ok(false),
                () = sleep(after.min(QUIET)) => {}
            }
        }
    }
}

fn chat_of(incoming: &Incoming) -> String {
    match &incoming.group {
        Some(group) => format!("{GROUP}{group}"),
        None => incoming.sender().unwrap_or_default().to_owned(),
    }
}

/// A message, as the worker takes it.
fn arrived(incoming: &Incoming, addressed: bool, service: &Service) -> Arrived {
    let chat = chat_of(incoming);
    let sender = incoming.sender().unwrap_or_default();
    let text = match incoming.quoted.as_deref().map(str::trim).filter(|quoted| !quoted.is_empty()) {
        Some(quoted) => format!(
            "[Replying to: \"{}\"]\n\n{}",
            quoted.chars().take(500).collect::<String>(),
            incoming.text
        ),
        None => incoming.text.clone(),
    };
    let event = Inbound {
        source: Source {
            platform: NAME.to_owned(),
            chat_type: if incoming.group.is_some() { "group" } else { "dm" }.to_owned(),
            chat_id: Some(chat.clone()),
            chat_name: incoming.group_name.clone(),
            user_id: Some(sender.to_owned()),
            user_id_alt: incoming.uuid.clone(),
            user_name: incoming.name.clone(),
            ..Source::default()
        },
        text,
        dedup: Some(DedupKey { scope: chat.clone(), id: format!("{sender}-{}", incoming.timestamp) }),
        delivery: DeliveryTarget {
            kind: NAME.to_owned(),
            extra: [
                (CHAT_ID.to_owned(), chat.clone()),
                (outbound::AUTHOR.to_owned(), sender.to_owned()),
                (outbound::TIMESTAMP.to_owned(), incoming.timestamp.to_string()),
            ]
            .into(),
        },
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    };
    let attachments = incoming.attachments.iter().map(|file| attached(file, &chat, service)).collect();
    let facts = Facts { addressed, ..Facts::default() };
    Arrived { attachments, facts, ..Arrived::from(event) }
}

fn attached(file: &Attachment, chat: &str, service: &Service) -> Attached {
    let Attachment { id, filename, content_type, size } = file.clone();
    let name = filename.filter(|name| !name.is_empty()).or_else(|| id.clone());
    let (service, chat) = (service.clone(), chat.to_owned());
    let open = async move {
        match (id, size) {
            (Some(id), Some(_)) => service.file(&id, &chat).await,
            (None, _) => Err(Unfetched::Gone("signal-cli does not have it".to_owned())),
            (Some(_), None) => Err(Unfetched::Gone("nobody says how long it is".to_owned())),
        }
    };
    Attached {
        name: name.unwrap_or_else(|| "file".to_owned()),
        media_type: content_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        length: size.unwrap_or_default(),
        open: Box::new(move || Box::pin(open)),
    }
}

/// What the connection is while nobody knows what is stored.
fn not_stored(error: &StoreError) -> Down {
    Down::retrying("signal_store", error.reason())
}

/// What a failed request is to the connection.
fn down(failure: Failure) -> Down {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { code, .. } => Down::fatal(code, text),
        Failure::Status { status: 401 | 403, .. } => Down::fatal("signal_invalid_auth", text),
        // It may be linked later: the daemon finds new accounts by itself.
        Failure::Status { what: "events", status: 400 | 404, .. } => {
            Down::retrying("signal_account_unknown", text)
        }
        Failure::Status { .. }
        | Failure::Unsent(_)
        | Failure::Lost(_)
        | Failure::TooMuch(_)
        | Failure::Refused(_) => Down::retrying("signal_network_error", text),
    }
}
