//! Ends of sessions: which of them are final, and the one place where this program ends one.

use rusqlite::{Connection, params};

use super::SessionContext;
use super::shape::{Shape, Shapes};

/// Ends that only say that some client or process went away: the session goes on with the next message. Newer programs know more
/// automatic ends (`tui_shutdown`, `ws_disconnect`, `idle_timeout`, `lru_evict`), which they do not open again either when a chat's next
/// message comes; so these are final here too.
const REOPENED: [&str; 4] = ["agent_close", "ws_orphan_reap", "superseded_by_resume", "startup_orphan_reap"];

/// Ends after which the chat's next session is another conversation.
const RESETS: [&str; 6] =
    ["session_reset", "session_switch", "idle", "daily", "suspended", "resume_pending_expired"];

/// Whether a session that ended for `reason` goes on.
pub(super) fn is_reopened(reason: Option<&str>) -> bool {
    reason.is_some_and(|reason| REOPENED.contains(&reason))
}

/// Ends the session `id`, unless somebody ended it for good already: what others go by stays true. An end that begins another
/// conversation is counted in the same transaction, for its chat, where the file has such counts; they are never taken back, because what
/// a provider has cached for one number must not be met by another conversation.
pub(crate) fn end(
    db: &Connection,
    ctx: &SessionContext,
    id: &str,
    reason: &str,
    now: f64,
) -> rusqlite::Result<()> {
    end_in(db, ctx.shapes.of(db)?, id, reason, now)
}

/// The same for whoever knows the file's shapes alone.
pub(crate) fn end_by_id(
    db: &Connection,
    shapes: &Shapes,
    id: &str,
    reason: &str,
    now: f64,
) -> rusqlite::Result<()> {
    end_in(db, shapes.of(db)?, id, reason, now)
}

/// The same in a file of this shape.
pub(super) fn end_in(
    db: &Connection,
    shape: Shape,
    id: &str,
    reason: &str,
    now: f64,
) -> rusqlite::Result<()> {
    let [a, b, c, d] = REOPENED;
    let ended = db
        .prepare_cached(
            "UPDATE sessions SET ended_at = ?2, end_reason = ?3
             WHERE id = ?1 AND (ended_at IS NULL OR end_reason IN (?4, ?5, ?6, ?7))",
        )?
        .execute(params![id, now, reason, a, b, c, d])?;
    if ended == 1 && RESETS.contains(&reason) && shape.generations {
        db.prepare_cached(
            "INSERT INTO conversation_generations(source, session_key, generation)
             SELECT source, session_key, 1 FROM sessions WHERE id = ?1 AND source <> '' AND session_key <> ''
             ON CONFLICT(source, session_key) DO UPDATE SET generation = generation + 1",
        )?
        .execute([id])?;
    }
    Ok(())
}
