//! ntfy: a topic of ntfy.sh or of a server of one's own.
//!
//! # Theory of operation
//!
//! The connection reads the topic's stream (`GET /<topic>/json`), one event a line, and the [way out](outbound) publishes. The server keeps
//! what is published for some hours: a stream that is opened begins where the last one got to ([`mark`]), and what comes twice is known by
//! its id, by the mark and in the inbox. So two workers that take turns read side by side, and what the server keeps for nobody (`Cache: no`)
//! is heard all the same.
//!
//! # Guarantees
//!
//! - A message is stored before the mark passes it; what cannot be stored now is offered again until it can.
//! - The first connection begins with what comes: nobody is answered for what was published before.
//! - No answer is a question: it carries a [tag](service::TAG), as 0.19.0's do, and its id is known.
//! - Who may publish is the user: ntfy knows no others, and a title says nothing of who wrote it.
//! - Files are fetched from the server itself only. One that is a link to elsewhere is named in the text, and nobody goes there.

mod check;
mod mark;
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
use hermes_config::platform::{BASE, ClaimSpec, Declaration, claim, field, folded, or, part};
use tokio::time::{Instant, interval, sleep};

use super::backoff::Backoff;
use super::sent::Echoes;
use super::{Adapter, Context, Down, Folder, Link, Outside, Platform, PlatformFuture, Shared};
use crate::access::Facts;
use crate::delivery::outbound::{CHAT_ID, Outbound};
use crate::handover::{Arrived, Attached, Reception, TOO_MANY, Taken};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::inbox::Inbox;
use crate::store::StoreError;
use mark::Mark;
use outbound::Topic;
use service::{Failure, Service};
use settings::Settings;
use wire::{Attachment, Heard, Message};

/// The platform's name.
const NAME: &str = "ntfy";
/// Silence that a connection does not survive: a server says every 45 s that it lives, where nothing else is set.
const WINDOW: Duration = Duration::from_secs(150);
/// For so long a connection that is to be closed goes on.
const LINGER: Duration = Duration::from_millis(500);
/// Waits before the tries after a loss, in seconds, as in 0.19.0.
const WAITS: &[u64] = &[2, 5, 10, 30, 60];
/// A connection that stands for so long begins them anew.
const STANDS: Duration = Duration::from_mins(1);

const CLAIMS: &[ClaimSpec] = &[claim(
    "ntfy-topic",
    &[or(folded("NTFY_SERVER_URL", "server"), settings::SERVER), part("NTFY_TOPIC", "topic")],
)];

static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "NTFY",
    credentials: &[&[field("NTFY_TOPIC", "topic")]],
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
    let adapter = Reading {
        settings: settings.clone(),
        network: Network::of(&context.config.env).over(&context.child_env),
        reception: context.reception.clone(),
        inbox: context.inbox.clone(),
        sent: echoes(&context.shared),
        backoff: Backoff::steps(WAITS),
    };
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Arc::new(Topic::new(settings.clone(), network, echoes(outside.shared))))
}

/// The ids of the latest answers.
fn echoes(shared: &Shared) -> Arc<Echoes<String>> {
    shared.of(NAME, Echoes::default)
}

/// The adapter.
struct Reading {
    settings: Settings,
    network: Network,
    reception: Reception,
    inbox: Inbox,
    sent: Arc<Echoes<String>>,
    backoff: Backoff,
}

impl Adapter for Reading {
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

impl Reading {
    async fn listen(&self, link: Link) -> Result<(), Down> {
        let service = Service::new(&self.settings, &self.network).map_err(down)?;
        // Without whatever else an address may hold.
        let place = |base: &reqwest::Url| format!("{}{}", base.origin().ascii_serialization(), base.path());
        let server = self.settings.base.as_ref().map(place);
        let mark = Mark::read(&self.inbox, &server.unwrap_or_default(), &self.settings.topic).await;
        let mut mark = mark.map_err(|error| not_stored(&error))?;
        // Whoever takes over is connected by then, and hears what is published from there on.
        let end = async {
            link.told().await;
            sleep(LINGER).await;
        };
        tokio::pin!(end);
        let mut events = tokio::select! {
            biased;
            () = &mut end => return Ok(()),
            events = service.stream(&self.settings.topic, mark.since()) => events.map_err(down)?,
        };
        let mut since = None;
        loop {
            let heard = tokio::select! {
                biased;
                () = &mut end => return Ok(()),
                heard = events.next() => heard.map_err(down)?,
            };
            link.progress();
            if since.is_some_and(|since: Instant| since.elapsed() >= STANDS) {
                self.backoff.stands();
            }
            match heard {
                Heard::Open(time) => {
                    link.up();
                    since.get_or_insert_with(Instant::now);
                    if mark.begin(time) {
                        mark.write(&self.inbox).await;
                    }
                }
                Heard::Life => {}
                Heard::Odd(why) => tracing::warn!("[{NAME}] a message is skipped: {why}"),
                Heard::Message(message) if mark.has(&message.id) => {}
                Heard::Message(message) => {
                    if !self.take(&link, end.as_mut(), &service, &message).await? {
                        return Ok(());
                    }
                    mark.done(&message.id, message.time);
                    mark.write(&self.inbox).await;
                }
            }
        }
    }

    /// Takes a message. `false`: the connection is to be closed before it is stored.
    async fn take(
        &self,
        link: &Link,
        end: Pin<&mut impl Future<Output = ()>>,
        service: &Service,
        message: &Message,
    ) -> Result<bool, Down> {
        let is_own = message.tags.iter().any(|tag| tag == service::TAG) || self.sent.is_known(&message.id);
        if is_own || message.topic != self.settings.topic {
            tracing::debug!("[{NAME}] a message is not for the bot: it is an answer, or of another topic");
            return Ok(true);
        }
        self.accept(link, end, service, message).await
    }

    /// Stores a message, however long that takes. `false`: the connection is to be closed before.
    async fn accept(
        &self,
        link: &Link,
        mut end: Pin<&mut impl Future<Output = ()>>,
        service: &Service,
        message: &Message,
    ) -> Result<bool, Down> {
        loop {
            let accepting = self.reception.accept(arrived(message, service), None);
            tokio::pin!(accepting);
            let mut beat = interval(WINDOW / 3);
            let taken = loop {
                tokio::select! {
                    biased;
                    taken = &mut accepting => break taken,
                    () = end.as_mut() => return Ok(false),
                    // The server waits meanwhile, which is no silence of its own.
                    _ = beat.tick() => link.progress(),
                }
            };
            let (after, reason) = match taken {
                Ok(Taken::Full) => {
                    let topic = &self.settings.publish_topic;
                    if let Err(error) = service.publish(topic, TOO_MANY.to_owned()).await {
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
                () = sleep(after.min(WINDOW / 2)) => {}
            }
        }
    }
}

/// A message, as the worker takes it.
fn arrived(message: &Message, service: &Service) -> Arrived {
    let (mut text, mut attachments) = (message.text.clone(), Vec::new());
    if let Some(file) = &message.attachment {
        match service.own_file(file).zip(file.size) {
            Some((url, length)) => attachments.push(attached(file, url, length, service)),
            None => text = format!("{text}\n\n[A link came with it: {} {}]", file.name, file.url),
        }
    }
    let topic = &message.topic;
    let event = Inbound {
        source: Source {
            platform: NAME.to_owned(),
            chat_type: "dm".to_owned(),
            chat_id: Some(topic.clone()),
            chat_name: Some(topic.clone()),
            user_id: Some(topic.clone()),
            user_name: Some(topic.clone()),
            ..Source::default()
        },
        text,
        dedup: Some(DedupKey { scope: topic.clone(), id: message.id.clone() }),
        delivery: DeliveryTarget {
            kind: NAME.to_owned(),
            extra: [(CHAT_ID.to_owned(), topic.clone())].into(),
        },
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    };
    let facts = Facts { addressed: true, ..Facts::default() };
    Arrived { attachments, facts, ..Arrived::from(event) }
}

fn attached(file: &Attachment, url: reqwest::Url, length: u64, service: &Service) -> Attached {
    let service = service.clone();
    Attached {
        name: if file.name.is_empty() { "file".to_owned() } else { file.name.clone() },
        media_type: file.media_type.clone().unwrap_or_else(|| "application/octet-stream".to_owned()),
        length,
        open: Box::new(move || Box::pin(async move { service.file(url).await })),
    }
}

fn not_stored(error: &StoreError) -> Down {
    Down::retrying("ntfy_store", error.reason())
}

/// What a failed request is to the connection.
fn down(failure: Failure) -> Down {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { code, .. } => Down::fatal(code, text),
        Failure::Refused { status: 401 | 403, .. } => {
            let fix = "set NTFY_TOKEN to a token or `user:password` that may read the topic";
            Down::fatal("ntfy_unauthorized", format!("{text}; {fix}"))
        }
        Failure::Refused { status: 404, .. } => {
            Down::fatal("ntfy_topic_not_found", format!("{text}; correct NTFY_TOPIC or NTFY_SERVER_URL"))
        }
        // Names that the server keeps for itself.
        Failure::Refused { status: 400, refusal, .. } if matches!(refusal.code, 40009 | 40010) => {
            Down::fatal("ntfy_topic_not_found", format!("{text}; choose another NTFY_TOPIC"))
        }
        Failure::Refused { after, .. } => Down::retrying("ntfy_network_error", text).after(after),
        Failure::Unsent(_) | Failure::Lost(_) => Down::retrying("ntfy_network_error", text),
    }
}
