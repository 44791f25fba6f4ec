//! The turn leases of `session_turn_leases`: by them every program that has the file open, ours and newer releases of the Python
//! program alike, runs one turn at a time in a conversation.
//!
//! # Theory of operation
//!
//! **A row** belongs to a conversation, which is named by the root of its line of compressions ([`root`]), and to a holder, whose text
//! says which process it is (`pid=<n>:turn=<id>:platform=<p>`). It is good for [`TTL`] and renewed before that. It is void when its time
//! is over or its process is gone: then the next one who wants the conversation deletes it and inserts its own, in one transaction
//! ([`look`], [`take`]). What is judged is pure ([`judge`]).
//!
//! **Who owns what.** The rows of this program are also named in `hermes_lease`, with a process that is told apart from a later one with
//! the same id; that says more than a number in a text, so it is asked first. Only whoever holds a row writes to the conversation:
//! every transaction of a turn that writes rows of messages begins with [`holds`], the last one with [`release`]. A row that ran out and that nobody took is still its
//! holder's, and renewed: a clock that jumps, or a machine that slept, ends no turn.
//!
//! **Where numbers mean nothing.** A process in another namespace of process ids (a container that shares the home) is gone by every
//! look from here, and lives. What shows it is remembered in the file ([`Watch`]), and from then on rows of processes that
//! cannot be seen are good until their time is over.
//!
//! **Another shape.** A table that lacks a column, or has one more that must be given a value, is that of a protocol that this program
//! does not know. It cannot take part there, and a turn beside a program that does could mix two turns in one conversation: so none
//! runs, what came waits, and the log says why.

pub(crate) mod judge;
mod watch;

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, params};

use crate::store::{Owner, process_exists};

use judge::{Row, Verdict};

pub(crate) use watch::{Watch, was_taken};

/// Seconds for which a row is good, as newer releases have it.
pub(crate) const TTL: f64 = 300.0;

/// Most steps from a session to the root of its line. A longer line is damage, and where the walk stops is as good as any other place.
const LONGEST_LINE: usize = 10_000;

/// What is said of a turn of this program.
pub(crate) const OURS: &str = "another turn of this gateway runs in this conversation";

/// A row of this process.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    /// The root of the conversation's line.
    pub(crate) conversation: String,
    /// The text that no other row has.
    pub(crate) holder: String,
    /// Seconds since the epoch until which nobody can take it for one that ran out.
    pub(crate) until: f64,
}

/// Why a conversation is not to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Somebody runs a turn in it. What is said of that one.
    Held(String),
    /// The table has another shape. What is said of it.
    Unknown(String),
}

impl Refused {
    /// For logs and errors.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Held(why) | Self::Unknown(why) => why,
        }
    }
}

/// The root of the line that session `id` belongs to: from a session to its parent while that was ended by compression and the session
/// is what it was compressed into, no fork of it. Ends where the line is a circle or a row is missing.
pub(crate) fn root(db: &Connection, id: &str) -> rusqlite::Result<String> {
    let mut select = db.prepare_cached(
        "SELECT c.parent_session_id FROM sessions AS c JOIN sessions AS p ON p.id = c.parent_session_id
         WHERE c.id = ?1 AND p.end_reason = 'compression' AND c.source <> 'tool'
           AND NOT CASE WHEN json_valid(c.model_config) THEN EXISTS (
                SELECT 1 FROM json_each(c.model_config) AS mark
                WHERE mark.key IN ('_branched_from', '_delegate_from', '_reset_from') AND mark.value = p.id)
               ELSE 0 END",
    )?;
    let mut at = id.to_owned();
    let mut passed = HashSet::from([at.clone()]);
    while passed.len() < LONGEST_LINE {
        let parent: Option<String> = select.query_row([&at], |row| row.get(0)).optional()?;
        let Some(parent) = parent.filter(|parent| passed.insert(parent.clone())) else { break };
        at = parent;
    }
    Ok(at)
}

/// Why `conversation` is not to be had now; without one, why none is. Writes nothing, except what it [learns](Watch).
pub(crate) fn look(
    db: &Connection,
    watch: &Watch,
    me: Owner,
    conversation: Option<&str>,
    now: f64,
) -> rusqlite::Result<Option<Refused>> {
    if let Some(shape) = watch.misfit(db)? {
        return Ok(Some(Refused::Unknown(shape)));
    }
    let Some(conversation) = conversation else { return Ok(None) };
    let Some(row) = row(db, conversation)? else { return Ok(None) };
    if let Some(owner) = owner(db, conversation, &row.holder)? {
        // Under another session key, as where a client names the session of a chat. What ran out is renewed soon.
        let is_held = owner == me || owner.is_alive();
        return Ok(is_held.then(|| Refused::Held(OURS.to_owned())));
    }
    Ok(match verdict(db, watch, me, &row, now)? {
        Verdict::Held => Some(Refused::Held(row.said())),
        Verdict::Void => None,
    })
}

/// Takes `conversation`. In the same transaction there was no reason against it, so a row that is there is void.
pub(crate) fn take(
    db: &Connection,
    me: Owner,
    conversation: String,
    platform: &str,
    now: f64,
) -> rusqlite::Result<Held> {
    let held = Held { holder: judge::holder(me.pid, &turn_id(), platform), conversation, until: now + TTL };
    db.prepare_cached(
        "INSERT OR REPLACE INTO session_turn_leases(conversation_id, holder, acquired_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
    )?
    .execute(params![held.conversation, held.holder, now, held.until])?;
    Ok(held)
}

/// Whether the row is still this turn's. One that ran out is renewed.
pub(crate) fn holds(db: &Connection, held: &Held, now: f64) -> rusqlite::Result<bool> {
    let expires: Option<f64> = db
        .prepare_cached(
            "SELECT CAST(expires_at AS REAL) FROM session_turn_leases WHERE conversation_id = ?1 AND holder = ?2",
        )?
        .query_row([&held.conversation, &held.holder], |row| row.get(0))
        .optional()?;
    if expires.is_some_and(|at| at <= now) {
        db.prepare_cached(
            "UPDATE session_turn_leases SET expires_at = ?3 WHERE conversation_id = ?1 AND holder = ?2",
        )?
        .execute(params![held.conversation, held.holder, now + TTL])?;
    }
    Ok(expires.is_some())
}

/// Ends a row, if it is still this turn's. `false`: it was not.
pub(crate) fn release(db: &Connection, held: &Held) -> rusqlite::Result<bool> {
    db.prepare_cached("DELETE FROM session_turn_leases WHERE conversation_id = ?1 AND holder = ?2")?
        .execute([&held.conversation, &held.holder])
        .map(|ended| ended == 1)
}

/// Renews every row of `me`; gives the holders whose row is not theirs any more.
pub(crate) fn renew(db: &Connection, me: Owner, now: f64) -> rusqlite::Result<Vec<String>> {
    let mine = params![me.pid, me.start_column(), now + TTL];
    db.prepare_cached(
        "UPDATE session_turn_leases SET expires_at = ?3 WHERE (conversation_id, holder) IN
            (SELECT conversation_id, holder FROM hermes_lease WHERE owner_pid = ?1 AND owner_start = ?2)",
    )?
    .execute(mine)?;
    db.prepare_cached(
        "SELECT holder FROM hermes_lease WHERE owner_pid = ?1 AND owner_start = ?2 AND holder IS NOT NULL
           AND (conversation_id, holder) NOT IN (SELECT conversation_id, holder FROM session_turn_leases)",
    )?
    .query_map(params![me.pid, me.start_column()], |row| row.get(0))?
    .collect()
}

/// Ends the rows of a process of ours that is gone, by what `hermes_lease` says of it.
pub(crate) fn release_all(db: &Connection, dead: Owner) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM session_turn_leases WHERE (conversation_id, holder) IN
            (SELECT conversation_id, holder FROM hermes_lease WHERE owner_pid = ?1 AND owner_start = ?2)",
    )?
    .execute(params![dead.pid, dead.start_column()])
    .map(drop)
}

fn row(db: &Connection, conversation: &str) -> rusqlite::Result<Option<Row>> {
    db.prepare_cached(
        "SELECT COALESCE(CAST(holder AS BLOB), X''), COALESCE(CAST(acquired_at AS REAL), 0.0), COALESCE(CAST(expires_at AS REAL), 0.0)
         FROM session_turn_leases WHERE conversation_id = ?1",
    )?
    .query_row([conversation], Row::read)
    .optional()
}

/// Who of ours holds the row, if one does.
fn owner(db: &Connection, conversation: &str, holder: &str) -> rusqlite::Result<Option<Owner>> {
    db.prepare_cached(
        "SELECT owner_pid, owner_start FROM hermes_lease WHERE conversation_id = ?1 AND holder = ?2",
    )?
    .query_row([conversation, holder], |row| Ok(Owner::from_columns(row.get(0)?, row.get(1)?)))
    .optional()
}

/// What to make of a row that is not ours.
fn verdict(db: &Connection, watch: &Watch, me: Owner, row: &Row, now: f64) -> rusqlite::Result<Verdict> {
    if !row.is_unseen(me.pid, process_exists) {
        return Ok(row.judge(now, false, false));
    }
    let by_time_only = watch.saw(db, row, now)?;
    Ok(row.judge(now, true, by_time_only))
}

/// Different for every turn.
fn turn_id() -> String {
    use std::hash::{BuildHasher as _, RandomState};
    // Each is keyed by the system's randomness.
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

#[cfg(test)]
mod tests;
