//! What came in: an event is a row here before its sender hears that it arrived.
//!
//! ```text
//!            accept                claim                 finish
//!   (none) ─────────▶ waiting ───────────────▶ claimed ─────────▶ done | failed
//!             └─────▶ queued ──▲ promote  ▲       │                       └──▶ waiting | queued: sent again
//!                                         ├───────┤ release (drain), recover (its process died)
//!                                   wake  └── postponed (its provider was away, busy, unpaid, set up wrong; another program
//!                                             was at work in its session)
//!   (none) ─────────▶ reserved ─────────▶ done      work that is no turn (`deliver_only`)
//! ```
//!
//! What a message of a chat does to the turn that runs in its session is its [`Busy`] mode: it waits, interrupts, or is put into the turn
//! (`queued` → `steered`, which ends as that turn does: done or failed). A chat's queue holds [`QUEUED`].
//!
//! Of a session's unfinished items exactly one, as a rule the oldest, is waiting, claimed or postponed, the others are queued: so
//! order within a session holds across processes, and finding the next item never walks over a backlog. What failed is a dead
//! letter: it is kept for a week, counted in the status, and runs again when its sender repeats it. Done rows keep their identity for
//! [`REMEMBERED`] without their payload: a sender that repeats itself hours later is told `duplicate`.

pub(crate) mod acks;
pub(crate) mod again;
mod bury;
pub(crate) mod life;
mod merge;
mod notes;
mod overhear;
pub(crate) mod postpone;
pub(crate) mod prune;
pub(crate) mod recover;
pub(crate) mod run;
pub(crate) mod steered;
pub(crate) mod unfinished;

use hermes_config::ProfileConfig;
use hermes_host::blocking;
use hermes_wire::ProfileName;
use hermes_wire::session_key::{self, KeyParts};
use rusqlite::{Connection, OptionalExtension, params};

use crate::inbound::{Accepted, Busy, DedupKey, DeliveryTarget, Inbound, Source};
use crate::questions::{self, Heard};
use crate::session::epoch;
use crate::skills::Library;
use crate::store::{Owner, Store, StoreError};
use crate::tools::asking;

pub use prune::REMEMBERED;

/// Most messages of a chat that wait behind the turn that runs, as 0.19.0 has it.
pub const QUEUED: usize = 32;

/// What decides which conversation an event belongs to.
#[derive(Debug, Clone)]
pub struct KeyPolicy {
    /// The profile: namespace of the keys.
    pub profile: ProfileName,
    /// `group_sessions_per_user`
    pub group_sessions_per_user: bool,
    /// `thread_sessions_per_user`
    pub thread_sessions_per_user: bool,
}

impl KeyPolicy {
    /// What a profile's files say.
    pub(crate) fn of(config: &ProfileConfig) -> Self {
        Self {
            profile: config.name.clone(),
            group_sessions_per_user: config.group_sessions_per_user,
            thread_sessions_per_user: config.thread_sessions_per_user,
        }
    }

    /// The session key of an event.
    pub fn key(&self, source: &Source) -> String {
        session_key::build(&KeyParts {
            profile: &self.profile,
            platform: &source.platform,
            chat_type: &source.chat_type,
            chat_id: source.chat_id.as_deref(),
            thread_id: source.thread_id.as_deref(),
            user_id: source.user_id.as_deref(),
            user_id_alt: source.user_id_alt.as_deref(),
            group_sessions_per_user: self.group_sessions_per_user,
            thread_sessions_per_user: self.thread_sessions_per_user,
        })
    }
}

/// How many items are where.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Backlog {
    /// Not yet begun, or put off.
    pub waiting: u64,
    /// Of those, put off because of their provider.
    pub postponed: u64,
    /// Given up; kept for a week.
    pub failed: u64,
    /// Why the last one was put off.
    pub reason: Option<String>,
    /// Answers that could not be delivered; kept for a week.
    pub undelivered: u64,
    /// Turns that wait for somebody's approval, and since when the first does, in seconds since the epoch.
    pub approvals: Option<(u64, f64)>,
}

/// Answer to [`Inbox::reserve`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reservation {
    /// Yours: do the work, then `confirm` or `release`.
    New,
    /// Someone is at it right now.
    InFlight,
    /// Done before, or accepted as an ordinary item.
    Duplicate,
}

/// The way in. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Inbox {
    store: Store,
    keys: KeyPolicy,
    skills: Option<Library>,
}

impl Inbox {
    /// An inbox on `store`.
    pub fn new(store: Store, keys: KeyPolicy) -> Self {
        Self { store, keys, skills: None }
    }

    /// The same, where a message `/name words` of a chat becomes the invocation of that skill.
    #[must_use]
    pub(crate) fn with_skills(self, skills: Library) -> Self {
        Self { skills: Some(skills), ..self }
    }

    /// The text of an event. What a webhook brings is no command: anybody may have written it.
    async fn meant(&self, event: &Inbound) -> Option<String> {
        let skills = self.skills.clone().filter(|_| event.source.chat_type != "webhook")?;
        if !event.text.trim_start().starts_with('/') {
            return None;
        }
        let (text, platform) = (event.text.clone(), event.source.platform.clone());
        blocking::run(move || skills.expanded(&text, &platform)).await.ok().flatten()
    }

    /// Makes the event durable. After `New` it is answered exactly once, whatever happens to this process: by a turn of its own or, as
    /// its [`Busy`] mode says, by the one that runs.
    pub async fn accept(&self, event: Inbound) -> Result<Accepted, StoreError> {
        self.accept_joined(event, Vec::new()).await
    }

    /// The same for an event that was made of several. `also` are the ids of the others, in the same scope: each of them is known from
    /// then on, by itself too.
    pub(crate) async fn accept_joined(
        &self,
        mut event: Inbound,
        also: Vec<String>,
    ) -> Result<Accepted, StoreError> {
        if let Some(text) = self.meant(&event).await {
            event.text = text;
        }
        // What is no question is neither put into a turn nor ends one.
        if event.busy != Busy::Wait
            && event.source.chat_type != "webhook"
            && event.text.trim().starts_with("/compress")
        {
            event.busy = Busy::Queue;
        }
        let key = self.keys.key(&event.source);
        let payload = serde_json::to_string(&event).expect("strings and maps of strings always serialise");
        if event.busy != Busy::Wait && asking::is_command(&event.text) {
            // An answer that comes too late ends no turn, and is not put into one.
            event.busy = Busy::Queue;
        }
        let busy = event.busy;
        if event.source.chat_type != "webhook"
            && let Some(accepted) = self.answered(&event, &key, also.clone()).await?
        {
            return Ok(accepted);
        }
        let is_one = also.is_empty();
        let job = move |db: &Connection| {
            let (scope, id) = event.dedup.map_or((None, None), |d| (Some(d.scope), Some(d.id)));
            let (platform, busy) = (event.source.platform, event.busy.column());
            let is_full = busy.is_some() && queued(db, &key)? >= QUEUED;
            let accepted = !is_full
                    && db
                        .prepare_cached(
                            "INSERT INTO hermes_inbox(platform, scope, dedup_id, session_key, payload, received_at, busy, state)
                             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, CASE WHEN EXISTS
                                (SELECT 1 FROM hermes_inbox WHERE session_key = ?4 AND finished_at IS NULL)
                                THEN 'queued' ELSE 'waiting' END)
                             ON CONFLICT(platform, scope, dedup_id) WHERE dedup_id IS NOT NULL DO UPDATE SET
                                session_key = excluded.session_key, payload = excluded.payload, received_at = excluded.received_at,
                                busy = excluded.busy, state = excluded.state, session_id = NULL, finished_at = NULL, error = NULL, fault = NULL, attempts = 0,
                                taken_down = 0,
                                postponed = 0, postponed_at = NULL, due_at = NULL
                             WHERE hermes_inbox.state = 'failed'",
                        )?
                        .execute(params![platform, scope, id, key, payload, epoch(), busy])?
                        > 0;
            if accepted {
                know(db, &platform, scope.as_deref(), &also, &key)?;
                return Ok(Accepted::New);
            }
            if !is_full {
                return Ok(Accepted::Duplicate);
            }
            let is_known: bool = db
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM hermes_inbox
                         WHERE platform = ?1 AND scope = ?2 AND dedup_id = ?3 AND state <> 'failed')",
                )?
                .query_row(params![platform, scope, id], |row| row.get(0))?;
            Ok(if is_known { Accepted::Duplicate } else { Accepted::Full })
        };
        let accepted = if is_one {
            self.store.write_one_for_client(job).await?
        } else {
            self.store.write_for_client(job).await?
        };
        if accepted == Accepted::New {
            self.store.note_accept(busy == Busy::Interrupt);
        }
        Ok(accepted)
    }

    /// The session key of an event.
    pub(crate) fn key(&self, source: &Source) -> String {
        self.keys.key(source)
    }

    /// Where it is kept.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Notes an event as done, with what `job` writes for its session key, in one transaction: it has no turn. One that is known is not
    /// done again.
    pub(crate) async fn carry_out(
        &self,
        event: &Inbound,
        job: impl FnOnce(&Connection, &str) -> rusqlite::Result<()> + Send + 'static,
    ) -> Result<Accepted, StoreError> {
        let (key, platform, dedup) =
            (self.key(&event.source), event.source.platform.clone(), event.dedup.clone());
        let done = move |db: &Connection| {
            if let Some(DedupKey { scope, id }) = &dedup {
                let noted = db
                    .prepare_cached(
                        "INSERT INTO hermes_inbox(platform, scope, dedup_id, session_key, received_at, finished_at, state)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?5, 'done')
                         ON CONFLICT(platform, scope, dedup_id) WHERE dedup_id IS NOT NULL DO NOTHING",
                    )?
                    .execute(params![platform, scope, id, key, epoch()])?;
                if noted == 0 {
                    return Ok(Accepted::Duplicate);
                }
            }
            job(db, &key)?;
            Ok(Accepted::New)
        };
        self.store.write_for_client(done).await
    }

    /// Takes a message of a chat for the answer to what its turn has asked, if it is one: then it is no item, whatever its mode.
    async fn answered(
        &self,
        event: &Inbound,
        key: &str,
        also: Vec<String>,
    ) -> Result<Option<Accepted>, StoreError> {
        let (key, text, platform) = (key.to_owned(), event.text.clone(), event.source.platform.clone());
        let dedup = event.dedup.clone();
        let job = move |db: &rusqlite::Connection| {
            let (scope, id) = dedup.map_or((None, None), |d| (Some(d.scope), Some(d.id)));
            let is_known: bool = db
                .prepare_cached(
                    "SELECT EXISTS (SELECT 1 FROM hermes_inbox WHERE platform = ?1 AND scope = ?2 AND dedup_id = ?3)",
                )?
                .query_row(params![platform, scope, id], |row| row.get(0))?;
            if is_known || questions::hear(db, &key, &text, epoch())? != Heard::Answered {
                return Ok(false);
            }
            if id.is_some() {
                // Its sender may repeat itself.
                db.prepare_cached(
                    "INSERT INTO hermes_inbox(platform, scope, dedup_id, session_key, received_at, finished_at, state)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?5, 'done')",
                )?
                .execute(params![platform, scope, id, key, epoch()])?;
            }
            know(db, &platform, scope.as_deref(), &also, &key)?;
            Ok(true)
        };
        let answers = self.store.write_for_client(job).await?;
        if answers {
            self.store.note_answer();
        }
        Ok(answers.then_some(Accepted::New))
    }

    /// Takes a press of a button for the answer to the question that it names, where that was asked of the conversation of `source`.
    pub(crate) async fn press(
        &self,
        source: &Source,
        question: &str,
        text: String,
    ) -> Result<Heard, StoreError> {
        let (key, question) = (self.keys.key(source), question.to_owned());
        let hear = move |db: &Connection| questions::hear_named(db, &key, &question, &text, epoch());
        let heard = self.store.write_for_client(hear).await?;
        if heard == Heard::Answered {
            self.store.note_answer();
        }
        Ok(heard)
    }

    /// Takes the choice of a numbered answer to the question that it names, where that was asked of the conversation of `source`: it is a
    /// message that says the number. `delivery`: where an answer would go.
    pub(crate) async fn pick(
        &self,
        source: &Source,
        question: &str,
        number: usize,
        delivery: DeliveryTarget,
    ) -> Result<Heard, StoreError> {
        let (scope, wanted) = (questions::of_choices(&self.keys.key(source)), question.to_owned());
        let waits = self.store.aside(move |db| questions::waits(db, &scope, &wanted, epoch())).await?;
        if waits != Heard::Answered {
            return Ok(waits);
        }
        let said = Inbound {
            source: source.clone(),
            text: number.to_string(),
            dedup: Some(DedupKey {
                scope: source.chat_id.clone().unwrap_or_default(),
                id: format!("choice {question}"),
            }),
            delivery,
            context: None,
            end_session: None,
            busy: Busy::Queue,
        };
        let accepted = self.accept(said).await?;
        Ok(if accepted == Accepted::New { Heard::Answered } else { Heard::Late })
    }

    /// What waits and what failed.
    pub async fn backlog(&self) -> Result<Backlog, StoreError> {
        self.store
            .aside(|db| {
                let count = |sql: &str| -> rusqlite::Result<u64> {
                    db.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
                };
                let postponed = count(
                    "SELECT count(*) FROM hermes_inbox WHERE state = 'postponed' AND COALESCE(fault, '') <> 'leased'",
                )?;
                let reason = db
                    .prepare_cached(
                        "SELECT error FROM hermes_inbox WHERE state = 'postponed' AND COALESCE(fault, '') <> 'leased'
                         ORDER BY due_at DESC LIMIT 1",
                    )?
                    .query_row([], |row| row.get(0))
                    .optional()?
                    .flatten();
                Ok(Backlog {
                    waiting: postponed
                        + count(
                            "SELECT count(*) FROM hermes_inbox
                             WHERE finished_at IS NULL
                               AND (state IN ('waiting', 'queued') OR state = 'postponed' AND fault = 'leased')",
                        )?,
                    postponed,
                    failed: count("SELECT count(*) FROM hermes_inbox WHERE state = 'failed'")?,
                    reason,
                    undelivered: count("SELECT count(*) FROM hermes_delivery WHERE state = 'failed'")?,
                    approvals: questions::pending(db, epoch())?,
                })
            })
            .await
    }

    /// Turns that wait for somebody's approval, and since when the first does.
    pub(crate) async fn approvals(&self) -> Result<Option<(u64, f64)>, StoreError> {
        self.store.aside(|db| questions::pending(db, epoch())).await
    }

    /// Whether anything waits for this worker: messages, or answers on their way. What cannot be found out counts.
    pub(crate) async fn has_unfinished(&self) -> bool {
        self.store.aside(unfinished::is_any).await.unwrap_or(true)
    }

    /// Whether `key` was accepted, reserved or done within the last day; what failed may be sent again. [`accept`](Self::accept) finds that out by itself, in
    /// one trip; this is for an event that would otherwise be refused (rate limit).
    pub async fn is_known(&self, platform: &str, key: &DedupKey) -> Result<bool, StoreError> {
        let (platform, key) = (platform.to_owned(), key.clone());
        self.store
            .aside(move |db| {
                let found = db
                    .prepare_cached(
                        "SELECT 1 FROM hermes_inbox
                         WHERE platform = ?1 AND scope = ?2 AND dedup_id = ?3 AND state <> 'failed'",
                    )?
                    .query_row(params![platform, key.scope, key.id], |_| Ok(()))
                    .optional()?;
                Ok(found.is_some())
            })
            .await
    }

    /// Marks `key` as being worked on, for work that is no turn (`deliver_only`): what fails can be released and tried again. A
    /// reservation of a process that died is given to the next one that asks.
    pub async fn reserve(&self, platform: &str, key: &DedupKey) -> Result<Reservation, StoreError> {
        let (platform, key, me) = (platform.to_owned(), key.clone(), self.store.owner());
        self.store
            .write_for_client(move |db| {
                let inserted = db
                    .prepare_cached(
                        "INSERT INTO hermes_inbox(platform, scope, dedup_id, received_at, state, owner_pid, owner_start)
                         VALUES (?1, ?2, ?3, ?4, 'reserved', ?5, ?6)
                         ON CONFLICT(platform, scope, dedup_id) WHERE dedup_id IS NOT NULL DO UPDATE SET
                            state = 'reserved', session_key = '', payload = NULL, finished_at = NULL, error = NULL,
                            received_at = excluded.received_at, owner_pid = excluded.owner_pid,
                            owner_start = excluded.owner_start
                         WHERE hermes_inbox.state = 'failed'",
                    )?
                    .execute(params![platform, key.scope, key.id, epoch(), me.pid, me.start_column()])?;
                if inserted == 1 {
                    return Ok(Reservation::New);
                }
                let holder = db
                    .prepare_cached(
                        "SELECT id, owner_pid, owner_start FROM hermes_inbox
                         WHERE platform = ?1 AND scope = ?2 AND dedup_id = ?3 AND state = 'reserved'",
                    )?
                    .query_row(params![platform, key.scope, key.id], |row| {
                        Ok((row.get::<_, i64>(0)?, Owner::from_columns(row.get(1)?, row.get(2)?)))
                    })
                    .optional()?;
                let Some((id, holder)) = holder else { return Ok(Reservation::Duplicate) };
                if holder == me || holder.is_alive() {
                    return Ok(Reservation::InFlight);
                }
                db.prepare_cached("UPDATE hermes_inbox SET owner_pid = ?2, owner_start = ?3 WHERE id = ?1")?
                    .execute(params![id, me.pid, me.start_column()])?;
                Ok(Reservation::New)
            })
            .await
    }

    /// The reserved work is done: later ones are duplicates.
    pub async fn confirm(&self, platform: &str, key: &DedupKey) -> Result<(), StoreError> {
        let (platform, key) = (platform.to_owned(), key.clone());
        self.store
            .write_one(move |db| {
                db.prepare_cached(
                    "UPDATE hermes_inbox SET state = 'done', finished_at = ?4, owner_pid = NULL, owner_start = NULL
                     WHERE platform = ?1 AND scope = ?2 AND dedup_id = ?3 AND state = 'reserved'",
                )?
                .execute(params![platform, key.scope, key.id, epoch()])
                .map(drop)
            })
            .await
    }

    /// The reserved work failed: the next one is new.
    pub async fn release(&self, platform: &str, key: &DedupKey) -> Result<(), StoreError> {
        let (platform, key) = (platform.to_owned(), key.clone());
        self.store
            .write_one(move |db| {
                db.prepare_cached(
                    "DELETE FROM hermes_inbox
                     WHERE platform = ?1 AND scope = ?2 AND dedup_id = ?3 AND state = 'reserved'",
                )?
                .execute(params![platform, key.scope, key.id])
                .map(drop)
            })
            .await
    }
}

/// Writes down that these are done: they are parts of something else.
fn know(
    db: &Connection,
    platform: &str,
    scope: Option<&str>,
    ids: &[String],
    key: &str,
) -> rusqlite::Result<()> {
    for id in ids {
        db.prepare_cached(
            "INSERT INTO hermes_inbox(platform, scope, dedup_id, session_key, received_at, finished_at, state)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, 'done') ON CONFLICT DO NOTHING",
        )?
        .execute(params![platform, scope, id, key, epoch()])?;
    }
    Ok(())
}

/// Messages that wait for the turn that runs in their session.
fn queued(db: &Connection, key: &str) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "SELECT count(*) FROM hermes_inbox WHERE session_key = ?1 AND finished_at IS NULL AND state = 'queued'",
    )?
    .query_row([key], |row| row.get::<_, i64>(0))
    .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests;
