//! Leases: which process runs a session's turn.
//!
//! A turn holds two rows. Ours, in `hermes_lease`, is of the session key: it orders the turns of all processes of this program, and
//! with it the items of the inbox, and is void when its process is gone ([`crate::inbox::recover`]). The other is shared with newer
//! releases of the Python program ([`crate::session::lease`]). Both are taken in the transaction that stores the user's message, named in each
//! other, and ended in the one that stores the end; in between every step looks whether the shared one is still there.
//!
//! **Not to be had.** An item of the inbox waits, without a limit, and is tried again every [`LEASED`](crate::inbox::postpone::LEASED); its client waits for a
//! direct turn. Nothing was written then, and the history is loaded when it is tried again.
//!
//! **Lost.** Another program may take the shared row of a turn that runs, for instance because it cannot see this process. From then on
//! nothing of the turn is stored; it is stopped when that is noticed, at the next renewal ([`super::held`]) or the next step. Its
//! item of the inbox waits and goes on when the other one is done: from its last step, where the other one has not answered it.

use rusqlite::{Connection, params};

use crate::inbox::recover;
use crate::session::SessionContext;
use crate::session::lease::{self as shared, Held, Refused};
use crate::store::Owner;

/// What a turn holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lease {
    /// Of our row: the session key, or the session's id where it has none.
    pub(super) key: String,
    /// The other row.
    pub(super) shared: Held,
}

/// Why a turn cannot begin now.
#[derive(Debug)]
pub(super) enum NotNow {
    /// A turn of the session runs in this program.
    Ours,
    /// In another one, or that cannot be known.
    Others(Refused),
}

/// Whether a turn may begin: `Ok` with the conversation of `session`, where there is one. Nothing is taken yet, and nothing written but what
/// dead processes left.
pub(super) fn look(
    db: &Connection,
    ctx: &SessionContext,
    key: &str,
    session: Option<&str>,
    now: f64,
) -> rusqlite::Result<Result<Option<String>, NotNow>> {
    if is_taken(db, key)? {
        // Its process may be dead.
        recover::recover(db, ctx)?;
        if is_taken(db, key)? {
            return Ok(Err(NotNow::Ours));
        }
    }
    let conversation = session.map(|id| shared::root(db, id)).transpose()?;
    let refused = shared::look(db, &ctx.leases, ctx.owner, conversation.as_deref(), now)?;
    Ok(match refused {
        Some(refused) => Err(NotNow::Others(refused)),
        None => Ok(conversation),
    })
}

/// Takes both rows, in the transaction that [looked](look).
pub(super) fn take(
    db: &Connection,
    me: Owner,
    key: String,
    conversation: String,
    platform: &str,
    now: f64,
) -> rusqlite::Result<Lease> {
    let shared = shared::take(db, me, conversation, platform, now)?;
    db.prepare_cached(
        "INSERT INTO hermes_lease(session_key, owner_pid, owner_start, taken_at, conversation_id, holder)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![key, me.pid, me.start_column(), now, shared.conversation, shared.holder])?;
    Ok(Lease { key, shared })
}

/// Whether the turn may write to its conversation.
pub(super) fn holds(db: &Connection, lease: &Lease, now: f64) -> rusqlite::Result<bool> {
    shared::holds(db, &lease.shared, now)
}

/// Ends what a turn of this process holds. `true`: it held it until now, so the turn may write its end.
pub(super) fn release(db: &Connection, me: Owner, lease: &Lease) -> rusqlite::Result<bool> {
    let was_held = shared::release(db, &lease.shared)?;
    db.prepare_cached(
        "DELETE FROM hermes_lease WHERE session_key = ?1 AND owner_pid = ?2 AND owner_start = ?3",
    )?
    .execute(params![lease.key, me.pid, me.start_column()])?;
    Ok(was_held)
}

fn is_taken(db: &Connection, key: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM hermes_lease WHERE session_key = ?1)")?
        .query_row([key], |row| row.get(0))
}
