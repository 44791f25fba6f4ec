//! Dead letters that were never letters: events that this profile received for another one that cannot have them.

use rusqlite::params;

use super::Inbox;
use crate::inbound::Inbound;
use crate::session::epoch;
use crate::store::StoreError;

impl Inbox {
    /// Keeps an event that nobody will answer, with the reason, as what failed is kept: counted in the status, for a week. It is
    /// durable when this returns. One that is known already stays what it is.
    pub(crate) async fn bury(&self, event: Inbound, reason: String) -> Result<(), StoreError> {
        let key = self.keys.key(&event.source);
        let payload = serde_json::to_string(&event).expect("strings and maps of strings always serialise");
        self.store
            .write_one_for_client(move |db| {
                let (scope, id) = event.dedup.map_or((None, None), |d| (Some(d.scope), Some(d.id)));
                db.prepare_cached(
                    "INSERT INTO hermes_inbox(platform, scope, dedup_id, session_key, payload, received_at, state,
                        finished_at, error)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'failed', ?6, ?7)
                     ON CONFLICT(platform, scope, dedup_id) WHERE dedup_id IS NOT NULL DO UPDATE SET
                        finished_at = excluded.finished_at, error = excluded.error
                     WHERE hermes_inbox.state = 'failed'",
                )?
                .execute(params![event.source.platform, scope, id, key, payload, epoch(), reason])
                .map(drop)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::ProfileHome;

    use super::super::KeyPolicy;
    use super::*;
    use crate::inbound::{Busy, DedupKey, DeliveryTarget, Source};
    use crate::store::{Owner, Store};

    #[tokio::test]
    async fn what_is_buried_is_counted_and_never_runs() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let store = Store::open(&home, Owner::current()).unwrap();
        let profile = "default".parse().unwrap();
        let keys = KeyPolicy { profile, group_sessions_per_user: true, thread_sessions_per_user: false };
        let inbox = Inbox::new(store.clone(), keys);
        let event = Inbound {
            source: Source { platform: "telegram".into(), chat_type: "dm".into(), ..Source::default() },
            text: "hi".into(),
            dedup: Some(DedupKey { scope: "1".into(), id: "2".into() }),
            delivery: DeliveryTarget::default(),
            context: None,
            end_session: None,
            busy: Busy::Wait,
        };
        for reason in ["the first", "the second"] {
            inbox.bury(event.clone(), reason.to_owned()).await.unwrap();
        }
        let backlog = inbox.backlog().await.unwrap();
        assert_eq!((backlog.failed, backlog.waiting), (1, 0));
        let error: String = store
            .aside(|db| db.query_row("SELECT error FROM hermes_inbox", [], |row| row.get(0)))
            .await
            .unwrap();
        assert_eq!(error, "the second");
        store.close().await;
    }
}
