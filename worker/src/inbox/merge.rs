//! Pictures that come while a turn runs: they join the message that waits for its own turn, so that an album is one question.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{Inbox, know};
use crate::inbound::{Accepted, Inbound};
use crate::store::StoreError;

/// Longest message that grows by this, in bytes.
const LONGEST: usize = 256 * 1024;

impl Inbox {
    /// Adds a message to the last one of the same person that waits behind the turn of their conversation; `None`: there is none, or it is
    /// known already. `also`: the ids of others that it was made of.
    pub(crate) async fn merge(
        &self,
        event: &Inbound,
        also: &[String],
    ) -> Result<Option<Accepted>, StoreError> {
        let (key, event, also) = (self.key(&event.source), event.clone(), also.to_vec());
        let job = move |db: &Connection| {
            let (scope, id) = event.dedup.as_ref().map_or((None, None), |d| (Some(&d.scope), Some(&d.id)));
            let platform = &event.source.platform;
            let is_known: bool = db
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM hermes_inbox WHERE platform = ?1 AND scope = ?2 AND dedup_id = ?3)",
                )?
                .query_row(params![platform, scope, id], |row| row.get(0))?;
            if is_known {
                return Ok(None);
            }
            let last: Option<(i64, String)> = db
                .prepare_cached(
                    "SELECT id, payload FROM hermes_inbox WHERE session_key = ?1 AND state = 'queued'
                        AND finished_at IS NULL AND payload IS NOT NULL ORDER BY id DESC LIMIT 1",
                )?
                .query_row([&key], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            // What cannot be read is set aside when its own turn comes.
            let last = last
                .and_then(|(item, payload)| Some((item, serde_json::from_str::<Inbound>(&payload).ok()?)));
            let Some((item, mut waiting)) = last.filter(|(_, waiting)| joins(waiting, &event)) else {
                return Ok(None);
            };
            if !waiting.text.is_empty() {
                waiting.text.push('\n');
            }
            waiting.text.push_str(&event.text);
            let payload =
                serde_json::to_string(&waiting).expect("strings and maps of strings always serialise");
            db.prepare_cached("UPDATE hermes_inbox SET payload = ?2 WHERE id = ?1")?
                .execute(params![item, payload])?;
            let ids: Vec<String> = id.cloned().into_iter().chain(also).collect();
            know(db, platform, scope.map(String::as_str), &ids, &key)?;
            Ok(Some(Accepted::New))
        };
        self.store.write_for_client(job).await
    }
}

/// Whether a message is of whoever wrote the one that waits, and both are plain.
fn joins(waiting: &Inbound, event: &Inbound) -> bool {
    waiting.source.user_id == event.source.user_id
        && waiting.delivery.run().is_none()
        && !waiting.text.trim_start().starts_with('/')
        && waiting.text.len() + event.text.len() <= LONGEST
}
