//! IRC: one nick on one server, in its channels and in private.
//!
//! # Theory of operation
//!
//! A [`connection`] is TLS over TCP (plain text only to this machine). [`registration`] makes it a user; [`session`] knows what follows
//! from each line; both are pure. What comes in is stored beside the connection, which answers the server's questions meanwhile. The [way
//! out](outbound) speaks through the same connection: an answer waits for one, and is sent once the server has answered to what was asked
//! behind its last line.
//!
//! IRC keeps nothing: what is said while nobody is connected is lost, and nobody can ask for it. Two workers that were there side by side would
//! both hear, and a message has a name by which that is known on some servers only. So in a swap the old one leaves before the new one comes
//! ([`exclusive`](Declaration::exclusive)): nothing is answered twice, and what is said in the second between is not heard.
//!
//! # Guarantees
//!
//! - In a channel only who calls the bot by its nick is answered, in private everybody who may. Other programs' requests (CTCP) and notices
//!   are never answered.
//! - Where the server vouches for accounts (`account-tag`), who somebody is says his account, and a nick says nothing.
//! - Nothing of an answer is another command: its lines are made here, and no text holds a line's end.

mod check;
mod connection;
mod outbound;
mod pipe;
mod registration;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod text;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use hermes_config::network::Network;
use hermes_config::platform::{BASE, ClaimSpec, Declaration, Form, field, folded, or};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::backoff::Backoff;
use super::{Adapter, Context, Down, Folder, Link, Outside, Platform, PlatformFuture, Shared};
use crate::access::Facts;
use crate::delivery::outbound::{CHAT_ID, Outbound};
use crate::handover::{Arrived, Reception, TOO_MANY, Taken};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::outgoing::stream::Unconnected;
use connection::{Connection, register};
use outbound::{Chat, Desk};
use pipe::Pipe;
use registration::Ended;
use session::{Incoming, Session};
use settings::Settings;

/// The platform's name.
const NAME: &str = "irc";
/// Silence that a connection does not survive. The server is asked long before.
const WINDOW: Duration = Duration::from_secs(180);
/// Messages that wait to be stored.
const WAITING: usize = 64;
/// Time for what came in to be stored once the connection is over.
const LAST: Duration = Duration::from_secs(2);
/// Wait before the first try after a loss; each next one is twice as long, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait: servers refuse who comes back too often.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// A connection that stands for so long begins the waits anew.
const STANDS: Duration = Duration::from_mins(1);

const CLAIMS: &[ClaimSpec] = &[ClaimSpec {
    scope: "irc",
    parts: &[folded("IRC_SERVER", "server"), or(folded("IRC_NICKNAME", "nickname"), settings::NICK)],
    form: Form::Colon,
}];

static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "IRC",
    credentials: &[&[field("IRC_SERVER", "server"), field("IRC_CHANNEL", "channel")]],
    claims: CLAIMS,
    adapter: true,
    exclusive: true,
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
    let adapter = Listening {
        settings: settings.clone(),
        network: Network::of(&context.config.env).over(&context.child_env),
        reception: context.reception.clone(),
        desk: desk(&context.shared),
        backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
    };
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let _: &Settings = outside.config.settings.of(NAME)?;
    Some(Arc::new(Chat(desk(outside.shared))))
}

/// Where what is to be said meets the connection.
fn desk(shared: &Shared) -> Arc<Desk> {
    shared.of(NAME, Desk::default)
}

/// The adapter.
struct Listening {
    settings: Settings,
    network: Network,
    reception: Reception,
    desk: Arc<Desk>,
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
        if let Some(fault) = &self.settings.fault {
            return Err(Down::fatal(&fault.code, &fault.message));
        }
        let mut pipe = tokio::select! {
            biased;
            _ = link.told() => return Ok(()),
            pipe = Pipe::open(&self.settings, &self.network) => pipe.map_err(|error| unconnected(&error))?,
        };
        let welcome = match register(&mut pipe, &self.settings, &link).await {
            Ok(Some(welcome)) => welcome,
            Ok(None) => {
                pipe.close().await;
                return Ok(());
            }
            Err(ended) => return Err(down(ended)),
        };
        let since = Instant::now();
        let (session, first) = Session::new(&self.settings, *welcome, since);
        tracing::info!("[{NAME}] the bot is {} on {}", session.nick(), self.settings.server);
        link.up();
        let (calls, opened) = self.desk.open();
        let (sender, heard) = mpsc::channel(WAITING);
        let speaking = Connection::new(&mut pipe, session, calls, sender).run(&link, first);
        let storing = self.store(heard);
        tokio::pin!(storing);
        let ended = tokio::select! {
            ended = speaking => ended.map_err(down),
            stored = &mut storing => stored,
        };
        // Nothing is said through it any more, and what was heard is stored.
        drop(opened);
        if ended.is_ok() {
            pipe.close().await;
        }
        if since.elapsed() >= STANDS {
            self.backoff.stands();
        }
        match &ended {
            Err(down) if down.code == "irc_store" => {}
            _ => {
                if timeout(LAST, storing).await.is_err() {
                    tracing::warn!("[{NAME}] messages that came last could not be stored");
                }
            }
        }
        ended
    }

    /// Stores what is heard, one after the other, until nothing is any more.
    async fn store(&self, mut heard: mpsc::Receiver<Incoming>) -> Result<(), Down> {
        while let Some(incoming) = heard.recv().await {
            self.accept(&incoming).await?;
        }
        Ok(())
    }

    /// Stores a message, however long that takes.
    async fn accept(&self, incoming: &Incoming) -> Result<(), Down> {
        loop {
            let (after, reason) = match self.reception.accept(arrived(incoming), None).await {
                Ok(Taken::Full) => {
                    if let Err(error) = self.desk.say(chat_of(incoming), TOO_MANY.to_owned()).await {
                        tracing::warn!(%error, "[{NAME}] nobody could be told that a message was not taken");
                    }
                    return Ok(());
                }
                Ok(_) => return Ok(()),
                Err(not) => not.wait().map_err(|error| Down::retrying("irc_store", error.reason()))?,
            };
            tracing::info!("[{NAME}] a message waits: {reason}");
            sleep(after).await;
        }
    }
}

fn chat_of(incoming: &Incoming) -> &str {
    incoming.channel.as_deref().unwrap_or(&incoming.nick)
}

/// A message, as the worker takes it.
fn arrived(incoming: &Incoming) -> Arrived {
    // Conversations do not depend on how somebody writes his nick.
    let chat = incoming.channel.clone().unwrap_or_else(|| incoming.nick.to_ascii_lowercase());
    let dedup = incoming.message_id.clone().map(|id| DedupKey { scope: chat.clone(), id });
    let event = Inbound {
        source: Source {
            platform: NAME.to_owned(),
            chat_type: if incoming.channel.is_some() { "group" } else { "dm" }.to_owned(),
            chat_id: Some(chat.clone()),
            chat_name: Some(chat_of(incoming).to_owned()),
            user_id: Some(incoming.id.clone()),
            user_name: Some(incoming.nick.clone()),
            ..Source::default()
        },
        text: incoming.text.clone(),
        dedup,
        delivery: DeliveryTarget { kind: NAME.to_owned(), extra: [(CHAT_ID.to_owned(), chat)].into() },
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    };
    let aliases = incoming.aliases.clone();
    let facts = Facts { addressed: true, is_bot: incoming.is_bot, aliases, ..Facts::default() };
    Arrived { facts, ..Arrived::from(event) }
}

fn unconnected(error: &Unconnected) -> Down {
    match error {
        Unconnected::Unusable(_) => Down::fatal("irc_client", error.to_string()),
        Unconnected::Address(_) => Down::fatal("irc_config_missing", error.to_string()),
        Unconnected::Unreached { .. } => Down::retrying("irc_network_error", error.to_string()),
    }
}

/// What the end of a connection is to the worker.
fn down(ended: Ended) -> Down {
    if ended.is_fatal { Down::fatal(ended.code, ended.why) } else { Down::retrying(ended.code, ended.why) }
}
