//! `testchat`: a chat service that exists in tests only, polled as the real ones are.
//!
//! It shows, and keeps under test, what a platform that dials out is made of. Nobody is told of it: it is on where its own section
//! says so, and nowhere else.
//!
//! # The service
//!
//! ```text
//! GET  /updates?offset=N&timeout=S   confirms what is below N; what is not confirmed, as soon as there is some, at the latest after S
//! POST /send    Idempotency-Key: K   {"chat", "text"} -> {"id"}; the same key twice is one message
//! POST /edit                         {"chat", "id", "text"}
//! POST /typing                       {"chat"}
//! ```
//!
//! All with a bearer token, polls with an `X-Poller` that is one connection's. 401: wrong token; 409: another poller; 429: slower, as `Retry-After` says.
//!
//! # Guarantees
//!
//! - An update is confirmed after it was stored, and never before; one that is offered again is known.
//! - Told to yield, it confirms what it accepted, and nothing of it is open afterwards.

mod outbound;
mod service;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use hermes_config::network::Network;
use hermes_config::platform::{BASE, ClaimSpec, Declaration, claim, part};
use tokio::time::sleep;

use super::{Adapter, Context, Down, Folder, Link, Outside, Platform, PlatformFuture};
use crate::delivery::outbound::{CHAT_ID, Outbound};
use crate::handover::{Arrived, Attached, Reception, TOO_MANY, Taken};
use crate::inbound::{Busy, DedupKey, DeliveryTarget, Inbound, Source};
use outbound::Chat;
use service::{Failure, Service};
use settings::Settings;
use wire::Update;

/// The platform's name.
const NAME: &str = "testchat";

const CLAIMS: &[ClaimSpec] = &[claim("testchat-token", &[part("TESTCHAT_TOKEN", "token")])];

static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "TESTCHAT",
    claims: CLAIMS,
    adapter: true,
    exclusive: true,
    target: true,
    hidden: true,
    keys: Some(&settings::KEYS),
    read: Some(settings::read),
    ..BASE
};

/// One line of the registry.
pub(super) const FOLDER: Folder =
    Folder { declaration: &DECLARATION, connect, outbound: Some(way_out), check: None };

fn connect(context: &Context) -> Option<Platform> {
    let settings: &Settings = context.config.settings.of(NAME)?;
    let network = Network::of(&context.config.env).over(&context.child_env);
    let adapter = Polling { settings: settings.clone(), network, reception: context.reception.clone() };
    Some(Platform { declaration: &DECLARATION, routes: None, pages: None, adapter: Arc::new(adapter) })
}

fn way_out(outside: &Outside<'_>) -> Option<Arc<dyn Outbound>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Arc::new(Chat::new(settings.clone(), network)))
}

/// The adapter.
struct Polling {
    settings: Settings,
    network: Network,
    reception: Reception,
}

impl Adapter for Polling {
    fn run(&self, link: Link) -> PlatformFuture<'_, Result<(), Down>> {
        Box::pin(self.poll(link))
    }

    /// Two polls without an answer.
    fn window(&self) -> Option<Duration> {
        Some(self.silence())
    }
}

impl Polling {
    fn silence(&self) -> Duration {
        self.settings.poll * 2 + Duration::from_secs(2)
    }

    async fn poll(&self, link: Link) -> Result<(), Down> {
        let service = Service::new(&self.settings, &self.network).map_err(down)?;
        let mut offset = 0;
        // The first answer comes at once: it says whether the connection stands.
        let mut patience = Duration::ZERO;
        'polls: loop {
            let updates = tokio::select! {
                biased;
                _ = link.told() => break,
                updates = service.updates(offset, patience) => updates.map_err(down)?,
            };
            link.up();
            link.progress();
            patience = self.settings.poll;
            let (before, mut all) = (offset, true);
            for update in updates.sound {
                let (id, longest) = (update.id, u64::try_from(self.settings.longest).ok());
                let chat = update.chat.clone();
                let accepting = self.reception.accept(arrived(update, &service), longest);
                let Some(taken) = link.during(self.silence(), accepting).await else { break 'polls };
                let (after, reason) = match taken {
                    Ok(Taken::Full) => {
                        offset = id + 1;
                        if let Err(error) = service.send(&chat, TOO_MANY, &format!("full-{id}")).await {
                            tracing::warn!(%error, "[{NAME}] nobody could be told that update {id} was not taken");
                        }
                        continue;
                    }
                    Ok(_) => {
                        offset = id + 1;
                        continue;
                    }
                    Err(not) => {
                        not.wait().map_err(|error| Down::retrying("testchat_store", error.reason()))?
                    }
                };
                tracing::info!("[{NAME}] update {id} waits: {reason}");
                patience = Duration::ZERO;
                (offset, all) = (offset.max(id), false);
                tokio::select! {
                    _ = link.told() => {}
                    () = sleep(after) => {}
                }
                break;
            }
            if all {
                offset = offset.max(updates.next.unwrap_or(offset));
            }
            for id in updates.odd.iter().filter(|id| (before..offset).contains(*id)) {
                tracing::warn!("[{NAME}] update {id} is skipped: a part of it is empty or too long");
            }
        }
        // What is not confirmed would be offered to whoever comes next; it would be known there.
        service.updates(offset, Duration::ZERO).await.map(drop).map_err(down)
    }
}

/// An update, as the worker takes it.
fn arrived(update: Update, service: &Service) -> Arrived {
    let Update { id, chat, group, user, text, attachments } = update;
    let extra = [(CHAT_ID.to_owned(), chat.clone()), (outbound::UPDATE.to_owned(), id.to_string())].into();
    let event = Inbound {
        source: Source {
            platform: NAME.to_owned(),
            chat_type: if group { "group" } else { "dm" }.to_owned(),
            chat_id: Some(chat.clone()),
            user_id: Some(user.clone()),
            user_name: Some(user),
            ..Source::default()
        },
        text,
        dedup: Some(DedupKey { scope: chat, id: id.to_string() }),
        delivery: DeliveryTarget { kind: NAME.to_owned(), extra },
        context: None,
        end_session: None,
        // The way in puts the profile's setting in its place.
        busy: Busy::Wait,
    };
    let attachments = attachments.into_iter().map(|attachment| {
        let (service, path) = (service.clone(), attachment.path);
        Attached {
            name: attachment.name,
            media_type: attachment.media_type,
            length: attachment.length,
            open: Box::new(move || Box::pin(async move { service.file(&path).await })),
        }
    });
    Arrived { attachments: attachments.collect(), ..Arrived::from(event) }
}

/// What a failed request is to the connection.
fn down(failure: Failure) -> Down {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { code, .. } => Down::fatal(code, text),
        Failure::Status { status: 401 | 403, .. } => Down::fatal("testchat_invalid_auth", text),
        Failure::Status { status: 409, retry_after, .. } => {
            Down::retrying("testchat_polling_conflict", text).after(retry_after)
        }
        Failure::Status { status: 429, retry_after, .. } => {
            Down::retrying("testchat_rate_limited", text).after(retry_after)
        }
        Failure::Status { retry_after, .. } => {
            Down::retrying("testchat_network_error", text).after(retry_after)
        }
        Failure::Unsent(_) | Failure::Lost(_) => Down::retrying("testchat_network_error", text),
        Failure::Garbled(_) => Down::retrying("testchat_protocol", text),
    }
}
