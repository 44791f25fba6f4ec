//! Ending a turn: answer, counters, routing entry, inbox, ledger and lease, in one transaction.

use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::Value;

use super::accounts;
use super::journal::Booked;
use crate::delivery::ledger;
use crate::engine::{Cost, Message, Outcome, Role};
use crate::inbound::DeliveryTarget;
use crate::inbox::postpone::Postponed;
use crate::inbox::recover;
use crate::provider::Fault;
use crate::session::{Now, SessionContext, epoch, history, routing};
use crate::store::Owner;

/// What the end of an inbox turn needs of its item.
#[derive(Debug, Clone)]
pub(super) struct InboxPart {
    pub(super) id: i64,
    pub(super) session_key: String,
    /// The item has an identity that must be remembered.
    pub(super) remembers: bool,
    pub(super) end_session: Option<String>,
    pub(super) delivery: DeliveryTarget,
    pub(super) platform: String,
    pub(super) chat_id: String,
    /// How long it has been put off already.
    pub(super) postponed: Postponed,
}

/// How it ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// With an answer.
    Answered(Outcome),
    /// Without one, for good.
    Failed { error: String, calls: u32 },
    /// Without one for now, because of the provider: an inbox item is tried again after the wait.
    Postponed { fault: Fault, error: String, calls: u32, wait: Duration },
    /// Interrupted: an inbox item waits again, a direct turn is over.
    Released,
}

/// A turn that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) session_id: String,
    pub(super) lease: String,
    pub(super) inbox: Option<InboxPart>,
    /// What its steps have been booked with.
    pub(super) booked: Booked,
    pub(super) ending: Ending,
}

/// Writes everything that follows from `turn`; its answer, or why there is none, is staged.
pub(super) fn finish(db: &Connection, ctx: &SessionContext, turn: &Finished) -> rusqlite::Result<()> {
    let now = Now::in_zone(&ctx.zone);
    let end_reason = turn.inbox.as_ref().and_then(|inbox| inbox.end_session.as_deref());
    let unbooked = |calls: u32| calls.saturating_sub(turn.booked.calls);
    match &turn.ending {
        Ending::Answered(outcome) => answered(db, ctx, turn, outcome, end_reason, &now)?,
        Ending::Failed { calls, error } => {
            history::close(db, &turn.session_id, error, now.epoch)?;
            db.prepare_cached(
                "UPDATE sessions SET api_call_count = api_call_count + ?2,
                    ended_at = CASE WHEN ?3 IS NULL THEN ended_at ELSE ?4 END, end_reason = COALESCE(?3, end_reason)
                 WHERE id = ?1",
            )?
            .execute(params![turn.session_id, unbooked(*calls), end_reason, now.epoch])?;
        }
        Ending::Postponed { calls, .. } => {
            db.prepare_cached("UPDATE sessions SET api_call_count = api_call_count + ?2 WHERE id = ?1")?
                .execute(params![turn.session_id, unbooked(*calls)])?;
        }
        // An item of the inbox goes on; whoever waited for a direct turn has gone.
        Ending::Released if turn.inbox.is_none() => {
            history::close(db, &turn.session_id, "interrupted", now.epoch)?;
        }
        Ending::Released => {}
    }
    if let Some(inbox) = &turn.inbox {
        settle(db, inbox, &turn.ending, now.epoch)?;
    }
    release_lease(db, ctx.owner, &turn.lease)
}

/// [`finish`], or, where the turn's own data does not let it be written (its session was deleted meanwhile), its failure.
pub(super) fn finish_or_give_up(
    db: &Connection,
    ctx: &SessionContext,
    turn: &Finished,
) -> rusqlite::Result<()> {
    attempt(
        db,
        || finish(db, ctx, turn).and_then(|()| history::publish(db)),
        |error| {
            tracing::error!(session = %turn.session_id, %error, "cannot store the end of a turn; its item is kept as failed");
            if let Some(inbox) = &turn.inbox {
                let ending = Ending::Failed { error: format!("cannot store the answer: {error}"), calls: 0 };
                settle(db, inbox, &ending, epoch())?;
            }
            release_lease(db, ctx.owner, &turn.lease)
        },
    )
}

/// Does `work` or, with its changes taken back, `otherwise`.
pub(super) fn attempt<T>(
    db: &Connection,
    work: impl FnOnce() -> rusqlite::Result<T>,
    otherwise: impl FnOnce(rusqlite::Error) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    db.execute_batch("SAVEPOINT attempt")?;
    let result = work();
    if let Err(error) = result {
        db.execute_batch("ROLLBACK TO attempt; RELEASE attempt")?;
        return otherwise(error);
    }
    db.execute_batch("RELEASE attempt")?;
    result
}

/// Ends a lease of this process.
pub(super) fn release_lease(db: &Connection, me: Owner, key: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "DELETE FROM hermes_lease WHERE session_key = ?1 AND owner_pid = ?2 AND owner_start = ?3",
    )?
    .execute(params![key, me.pid, me.start_column()])?;
    Ok(())
}

fn answered(
    db: &Connection,
    ctx: &SessionContext,
    turn: &Finished,
    outcome: &Outcome,
    end_reason: Option<&str>,
    now: &Now,
) -> rusqlite::Result<()> {
    let id = &turn.session_id;
    let mut message = Message::new(Role::Assistant, Value::String(outcome.text.clone()));
    message.tool_calls.clone_from(&outcome.tool_calls);
    history::stage(db, id, &message, Some(&outcome.finish_reason), now.epoch)?;
    let mut cost = Cost::of(outcome);
    cost.usage = cost.usage.minus(turn.booked.usage);
    cost.calls = cost.calls.saturating_sub(turn.booked.calls);
    let rows = accounts::Rows { messages: 1, tool_calls: outcome.tool_calls.len() };
    accounts::book(db, id, &cost, rows, end_reason, now.epoch)?;
    let Some(inbox) = &turn.inbox else { return Ok(()) };
    let usage = cost.usage;
    let prompt_tokens = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    routing::touch(db, &ctx.scopes, &inbox.session_key, prompt_tokens, now)?;
    if ledger::is_kept(&inbox.delivery) {
        ledger::add(db, id, &inbox.platform, &inbox.chat_id, &inbox.delivery, &outcome.text, now.epoch)?;
    }
    Ok(())
}

/// The item's last state, and the next item of its session.
fn settle(db: &Connection, inbox: &InboxPart, ending: &Ending, now: f64) -> rusqlite::Result<()> {
    match ending {
        Ending::Released => {
            db.prepare_cached(
                "UPDATE hermes_inbox SET state = 'waiting', owner_pid = NULL, owner_start = NULL WHERE id = ?1",
            )?
            .execute([inbox.id])?;
            return Ok(());
        }
        Ending::Postponed { fault, error, wait, .. } => {
            // It lived through its turn, so it killed nobody.
            db.prepare_cached(
                "UPDATE hermes_inbox SET state = 'postponed', owner_pid = NULL, owner_start = NULL, suspect = 0,
                    postponed = postponed + 1, postponed_at = COALESCE(postponed_at, ?2), due_at = ?3, fault = ?4, error = ?5
                 WHERE id = ?1",
            )?
            .execute(params![inbox.id, now, now + wait.as_secs_f64(), fault.code(), error])?;
            return Ok(());
        }
        Ending::Answered(_) if inbox.remembers => {
            db.prepare_cached(
                "UPDATE hermes_inbox SET state = 'done', payload = NULL, error = NULL, fault = NULL, finished_at = ?2,
                    owner_pid = NULL, owner_start = NULL WHERE id = ?1",
            )?
            .execute(params![inbox.id, now])?;
        }
        Ending::Answered(_) => {
            db.prepare_cached("DELETE FROM hermes_inbox WHERE id = ?1")?.execute([inbox.id])?;
        }
        Ending::Failed { error, .. } => {
            db.prepare_cached(
                "UPDATE hermes_inbox SET state = 'failed', error = ?3, finished_at = ?2, owner_pid = NULL,
                    owner_start = NULL WHERE id = ?1",
            )?
            .execute(params![inbox.id, now, error])?;
        }
    }
    recover::promote(db, &inbox.session_key)
}
