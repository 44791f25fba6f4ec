//! Sessions of agents, by ours: the table in which the engine `acp` finds them again.

use rusqlite::{OptionalExtension as _, params};

use super::epoch;
use crate::engine::Unkept;
use crate::engine::acp::known::{Known, Map, Mapped};
use crate::store::{Store, StoreError};

/// See the module.
pub(crate) struct Agents {
    store: Store,
}

impl Agents {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what an error is made into")]
fn unkept(error: StoreError) -> Unkept {
    Unkept(error.to_string())
}

impl Map for Agents {
    fn recall<'a>(&'a self, id: &'a str) -> Mapped<'a, Option<Known>> {
        let id = id.to_owned();
        Box::pin(async move {
            let found = self.store.aside(move |db| {
                db.prepare_cached(
                    "SELECT agent, theirs, texts, digest, answer, instructions FROM hermes_agent_session WHERE session_id = ?1",
                )?
                .query_row([id], |row| {
                    Ok(Known {
                        agent: row.get(0)?,
                        session: row.get(1)?,
                        texts: row.get(2)?,
                        digest: row.get(3)?,
                        answer: row.get(4)?,
                        instructions: row.get(5)?,
                    })
                })
                .optional()
            });
            found.await.map_err(unkept)
        })
    }

    fn keep<'a>(&'a self, id: &'a str, known: Known) -> Mapped<'a, ()> {
        let id = id.to_owned();
        Box::pin(async move {
            let Known { agent, session, texts, digest, answer, instructions } = known;
            let kept = self.store.write_one(move |db| {
                db.prepare_cached(
                    "INSERT INTO hermes_agent_session(session_id, agent, theirs, texts, digest, answer, instructions, used_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     ON CONFLICT(session_id) DO UPDATE SET agent = excluded.agent, theirs = excluded.theirs,
                        texts = excluded.texts, digest = excluded.digest, answer = excluded.answer,
                        instructions = excluded.instructions, used_at = excluded.used_at",
                )?
                .execute(params![id, agent, session, texts, digest, answer, instructions, epoch()])
            });
            kept.await.map(|_| ()).map_err(unkept)
        })
    }
}
