//! Sessions as clients of the API see them: read between the writer's transactions, changed within one. One whose turn runs, or that has
//! something waiting, is neither forked nor deleted.

use std::sync::Arc;

use serde_json::Value;

use super::Turns;
use crate::engine::Message;
use crate::session::resource::{self, NewResource, Page, Refusal};
use crate::session::{self, Now, Opening, delete, epoch, history};
use crate::store::StoreError;
use crate::turn::TurnError;

/// What is to be otherwise in a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionChange {
    /// Its title; an empty one takes it away.
    pub title: Option<String>,
    /// It ends, for this reason.
    pub end_reason: Option<String>,
}

impl Turns {
    /// What was said in a session, or in the one that it goes on in: everything that can be part of a prompt.
    pub async fn told(&self, id: &str) -> Result<Vec<Message>, StoreError> {
        let (id, ctx) = (id.to_owned(), Arc::clone(&self.0.session));
        self.0
            .store
            .aside(move |db| {
                let id = session::line_of(db, &ctx, &id, epoch())?;
                history::load_all(db, &id)
            })
            .await
    }

    /// What clients are told of a session.
    pub async fn session(&self, id: &str) -> Result<Option<Value>, StoreError> {
        let id = id.to_owned();
        self.0.store.aside(move |db| resource::find(db, &id)).await
    }

    /// A page of all sessions.
    pub async fn sessions(&self, page: Page) -> Result<Vec<Value>, StoreError> {
        self.0.store.aside(move |db| resource::list(db, &page)).await
    }

    /// The messages of a session, or of the one that it goes on in, whose id comes with them; `None`: there is none.
    pub async fn messages(&self, id: &str) -> Result<Option<(String, Vec<Value>)>, StoreError> {
        let (id, ctx) = (id.to_owned(), Arc::clone(&self.0.session));
        self.0
            .store
            .aside(move |db| {
                if resource::find(db, &id)?.is_none() {
                    return Ok(None);
                }
                let id = session::line_of(db, &ctx, &id, epoch())?.into_owned();
                let messages = resource::messages(db, &id)?;
                Ok(Some((id, messages)))
            })
            .await
    }

    /// Makes a session without messages.
    pub async fn make_session(&self, new: NewResource) -> Result<Result<Value, Refusal>, TurnError> {
        let inner = &self.0;
        let prompts = inner.read_prompts().await.map_err(|lost| TurnError::Files(lost.to_string()))?;
        let ctx = Arc::clone(&inner.session);
        let made = inner.store.write_for_client(move |db| {
            undone(db, |db| {
                let now = Now::in_zone(&ctx.zone);
                let opening = Opening { ctx: &ctx, prompts: &prompts, now: &now, model: None };
                resource::make(db, opening, &new)
            })
        });
        Ok(made.await?.and_then(|made| made.ok_or(Refusal::Unknown)))
    }

    /// Changes a session.
    pub async fn change_session(
        &self,
        id: &str,
        change: SessionChange,
    ) -> Result<Result<Value, Refusal>, StoreError> {
        let (id, ctx) = (id.to_owned(), Arc::clone(&self.0.session));
        let changed = self.0.store.write_for_client(move |db| {
            if resource::find(db, &id)?.is_none() {
                return Ok(Err(Refusal::Unknown));
            }
            if let Some(title) = &change.title
                && let Err(refusal) = resource::retitle(db, &id, title)?
            {
                return Ok(Err(refusal));
            }
            if let Some(reason) = &change.end_reason {
                session::end(db, &ctx, &id, reason, epoch())?;
            }
            resource::find(db, &id).map(Ok)
        });
        Ok(changed.await?.and_then(|changed| changed.ok_or(Refusal::Unknown)))
    }

    /// Makes a session `id` that goes on from `from`, which is over then.
    pub async fn fork_session(
        &self,
        from: &str,
        id: (String, String),
        title: Option<String>,
    ) -> Result<Result<Value, Refusal>, StoreError> {
        let (from, ctx) = (from.to_owned(), Arc::clone(&self.0.session));
        let forked = self.0.store.write_for_client(move |db| {
            undone(db, |db| {
                if let Err(stays) = delete::idle(db, (&ctx.leases, ctx.owner), &from, epoch())? {
                    return Ok(Err(stays.into()));
                }
                resource::fork(db, &ctx, &from, (&id.0, &id.1), title.as_deref(), epoch())
            })
        });
        Ok(forked.await?.and_then(|forked| forked.ok_or(Refusal::Unknown)))
    }

    /// Deletes the conversation of a session.
    pub async fn delete_session(&self, id: &str) -> Result<Result<(), Refusal>, StoreError> {
        let (id, ctx) = (id.to_owned(), Arc::clone(&self.0.session));
        let deleted = self
            .0
            .store
            .write_for_client(move |db| delete::delete(db, (&ctx.leases, ctx.owner), &id, None, epoch()));
        Ok(match deleted.await? {
            Ok(deleted) => {
                delete::clear(self.0.store.home(), deleted.sessions).await;
                Ok(())
            }
            Err(stays) => Err(stays.into()),
        })
    }
}

/// Does `work`, and takes it back where it is refused in the middle.
fn undone<T>(
    db: &rusqlite::Connection,
    work: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<Result<T, Refusal>>,
) -> rusqlite::Result<Result<T, Refusal>> {
    db.execute_batch("SAVEPOINT resource")?;
    let done = work(db)?;
    db.execute_batch(if done.is_ok() {
        "RELEASE resource"
    } else {
        "ROLLBACK TO resource; RELEASE resource"
    })?;
    Ok(done)
}
