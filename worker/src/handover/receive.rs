//! The target's side: an event for this profile comes in.
//!
//! Its head is read, its attachments go to disk piece by piece, and when the whole body is there the event goes into the inbox. Only
//! then the owner is told that it was accepted. Whatever goes wrong before leaves nothing.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use camino::Utf8PathBuf;
use hermes_wire::ProfileHome;
use hermes_wire::http::{ERROR, JSON, LISTENER};
use hermes_wire::profile::DEFAULT;
use hermes_wire::road::{self, Attachment, Errand, Event, Media, Receipt, SENDER};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};

use super::cache::{self, CacheError, File, Label};
use super::framed::{Pieces, Unread};
use super::named::name_of;
use super::{Entrance, PLATFORM, REPLY, WAY_BACK};
use crate::access::Facts;
use crate::inbound::{self, Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::inbox::Inbox;
use crate::media::{left_out, with_notes};
use crate::store::StoreError;

/// Code of the refusal of an event whose chat has too many that wait.
pub(super) const FULL: &str = "full";

/// What an event for this profile becomes.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) home: ProfileHome,
    pub(crate) entrance: Entrance,
    /// Most bytes of attachments that one event may bring; `None`: any.
    pub(crate) most: Option<u64>,
    /// What an event does to a turn of its chat that runs.
    pub(crate) busy: Busy,
}

/// Why an event was not accepted.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("only the default profile's worker hands over")]
    Sender,
    #[error("it is not a hand-over: {0}")]
    Malformed(String),
    #[error("it did not come whole: {0}")]
    Broken(String),
    #[error("an attachment cannot be kept")]
    Cache(#[source] CacheError),
    #[error("the inbox cannot take it")]
    Store(#[from] StoreError),
    #[error("too many messages of this chat wait already")]
    Full,
    #[error("who may talk to the profile is not known: {0}")]
    Door(#[from] super::door::DoorError),
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Malformed(error) => Self::Malformed(error.to_string()),
            Unread::Broken(why) => Self::Broken(why),
        }
    }
}

impl Refusal {
    fn answer(&self) -> Response {
        let (status, code) = match self {
            Self::Sender => (StatusCode::FORBIDDEN, "not_declared"),
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::Broken(_) => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
            Self::Cache(_) => (StatusCode::INSUFFICIENT_STORAGE, "no_space"),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_inbox"),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, FULL),
            Self::Door(_) => (StatusCode::SERVICE_UNAVAILABLE, "no_access"),
        };
        refused(status, code, &self.to_string())
    }
}

/// An answer that says no.
pub(super) fn refused(status: StatusCode, code: &'static str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message } }).to_string();
    (status, [(CONTENT_TYPE.as_str(), JSON), (ERROR, code)], body).into_response()
}

/// An answer with a body of its own.
pub(super) fn said(body: &impl serde::Serialize) -> Response {
    let body = serde_json::to_string(body).expect("texts and numbers always serialise");
    ([(CONTENT_TYPE.as_str(), JSON)], body).into_response()
}

/// Who sent it: the supervisor says so, on what is no request of a client.
pub(super) fn sender(headers: &HeaderMap) -> Option<&str> {
    if headers.contains_key(LISTENER) {
        return None;
    }
    headers.get(SENDER)?.to_str().ok()
}

/// The route that only the supervisor may ask for.
pub(super) fn routes(target: Target) -> Router {
    Router::new()
        .route(&Errand::HandOver.inner_path("{platform}"), post(hand_over))
        .with_state(Arc::new(target))
}

async fn hand_over(
    State(target): State<Arc<Target>>,
    Path(platform): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let taken = match sender(&headers) {
        Some(DEFAULT) if road::is_platform(&platform) => target.take(&platform, body).await,
        _ => Err(Refusal::Sender),
    };
    match taken {
        Ok(receipt) => said(&receipt),
        Err(refusal) => {
            tracing::warn!(
                error = &refusal as &dyn std::error::Error,
                "[{platform}] an event that was handed over is not accepted"
            );
            refusal.answer()
        }
    }
}

impl Target {
    async fn take(&self, platform: &str, body: Body) -> Result<Receipt, Refusal> {
        let mut pieces = Pieces::of(body);
        let head = pieces.head().await?;
        let mut event = Event::parse(&head).map_err(|error| Refusal::Malformed(error.to_string()))?;
        drop(head);
        let dedup = event.identity.take().map(|identity| DedupKey { scope: identity.scope, id: identity.id });
        if let Some(key) = &dedup
            && self.entrance.inbox.is_known(platform, key).await?
        {
            // Read to its end: an answer before that could be lost with the connection.
            pieces.skip(u64::MAX).await?;
            return Ok(Receipt { accepted: road::Accepted::Known });
        }
        let facts = facts_of(&mut event);
        let also = std::mem::take(&mut event.also);
        let (name, twin) = (name_of(platform, dedup.as_ref()), dedup.clone());
        let attachments = std::mem::take(&mut event.attachments);
        let inbound = inbound(platform, event, dedup);
        if !self.entrance.door.admits(&inbound, &facts).await? {
            pieces.skip(u64::MAX).await?;
            return Ok(Receipt { accepted: road::Accepted::TurnedAway });
        }
        let (notes, files) = self.keep(&name, &attachments, &mut pieces).await?;
        if pieces.skip(u64::MAX).await? > 0 {
            return Err(Refusal::Malformed("it is longer than its head says".to_owned()));
        }
        let mut paths = Vec::new();
        let kept: Result<(), CacheError> = async {
            for file in files {
                paths.push(file.keep().await?);
            }
            Ok(())
        }
        .await;
        let accepted = match kept {
            Ok(()) => {
                let text = self.entrance.heard(with_notes(inbound.text, &notes), &paths).await;
                let inbound = Inbound { busy: self.busy, text, ..inbound };
                let shows = attachments.iter().any(|attachment| attachment.media == Media::Image);
                match self.entrance.take(inbound, &facts, also, shows).await {
                    Ok(inbound::Accepted::New) => Ok(road::Accepted::New),
                    Ok(inbound::Accepted::Duplicate) => Ok(road::Accepted::Known),
                    Ok(inbound::Accepted::Full) => Err(Refusal::Full),
                    Err(error) => Err(Refusal::Store(error)),
                }
            }
            Err(error) => Err(Refusal::Cache(error)),
        };
        match accepted {
            Ok(accepted) => Ok(Receipt { accepted }),
            Err(refusal) => {
                give_back(&self.entrance.inbox, platform, twin.as_ref(), paths).await;
                Err(refusal)
            }
        }
    }

    /// Writes the attachments; returns what the text says of each, and the files.
    async fn keep(
        &self,
        event: &str,
        attachments: &[Attachment],
        pieces: &mut Pieces,
    ) -> Result<(String, Vec<File>), Refusal> {
        let (mut notes, mut files, mut so_far) = (String::new(), Vec::new(), 0u64);
        for (index, attachment) in attachments.iter().enumerate() {
            let sum = so_far.saturating_add(attachment.length);
            if let Some(most) = self.most.filter(|most| sum > *most) {
                left_out(&mut notes, attachment, most);
                let read = pieces.skip(attachment.length).await?;
                if read < attachment.length {
                    return Err(Refusal::Broken("an attachment ended early".to_owned()));
                }
                continue;
            }
            so_far = sum;
            let label = Label { media: attachment.media, name: &attachment.name, event, index };
            let written = cache::write(&self.home, label, attachment.length, pieces.part(attachment.length));
            let file = written.await.map_err(|error| match error {
                CacheError::Broken(why) | CacheError::Cut(why) => Refusal::Broken(why),
                error => Refusal::Cache(error),
            })?;
            file.describe(&mut notes, attachment).await;
            files.push(file);
        }
        Ok((notes, files))
    }
}

/// Removes the files of an event that was not accepted. The same event may have come twice at once, and the other one been accepted: the
/// files are its then, as they are where nobody can tell.
pub(super) async fn give_back(
    inbox: &Inbox,
    platform: &str,
    dedup: Option<&DedupKey>,
    paths: Vec<Utf8PathBuf>,
) {
    if let Some(key) = dedup
        && !matches!(inbox.is_known(platform, key).await, Ok(false))
    {
        return;
    }
    cache::remove(paths).await;
}

/// What the owner knows of whoever wrote.
fn facts_of(event: &mut Event) -> Facts {
    let from = &mut event.from;
    Facts {
        is_bot: from.is_bot,
        addressed: from.addressed,
        role_authorized: from.role_authorized,
        aliases: std::mem::take(&mut from.aliases),
    }
}

fn inbound(platform: &str, event: Event, dedup: Option<DedupKey>) -> Inbound {
    let Event { from, text, reply, longest, can, .. } = event;
    let mut extra = std::collections::BTreeMap::from([
        (PLATFORM.to_owned(), platform.to_owned()),
        (REPLY.to_owned(), serde_json::to_string(&reply).expect("texts always serialise")),
    ]);
    extra.extend(
        can.map(|can| (super::CAN.to_owned(), serde_json::to_string(&can).expect("texts always serialise"))),
    );
    extra.extend(longest.map(|longest| (super::LONGEST.to_owned(), longest.to_string())));
    extra.extend(from.chat_id.clone().map(|chat| (super::CHAT.to_owned(), chat)));
    Inbound {
        source: Source {
            platform: platform.to_owned(),
            chat_type: from.chat_type,
            chat_id: from.chat_id,
            chat_name: from.chat_name,
            thread_id: from.thread_id,
            parent_chat_id: from.parent_chat_id,
            user_id: from.user_id,
            user_id_alt: from.user_id_alt,
            user_name: from.user_name,
            received_by: Some(DEFAULT.to_owned()),
        },
        text,
        dedup,
        delivery: DeliveryTarget { kind: WAY_BACK.to_owned(), extra },
        context: None,
        end_session: None,
        busy: Busy::Wait,
    }
}

#[cfg(test)]
mod tests;
