//! Ending a turn: answer, counters, routing entry, inbox, ledger and lease, in one transaction.
//!
//! Of a turn that lost its session to another program nothing is written there, and its item waits for the other one.

use std::time::Duration;

use rusqlite::{Connection, params};
use serde_json::Value;

use super::attempt::attempt;
use super::journal::Booked;
use super::lease::{self, Lease};
use super::{Item, Reply, accounts};
use crate::delivery::files::{self, Outgoing};
use crate::delivery::outbound::Sign;
use crate::delivery::{ledger, stream};
use crate::engine::{Cost, Message, Outcome, Role};
use crate::inbox::{postpone, recover, steered};
use crate::provider::Fault;
use crate::runs::{self, End, Tokens};
use crate::session::lease::was_taken;
use crate::session::{self, Now, SessionContext, compact, epoch, history, routing};

/// Why an item waits whose turn came to nothing.
const TAKEN: &str = "another program took over the session while the turn ran";

/// How it ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// With an answer.
    Answered(Outcome),
    /// A command was carried out; this is said of it, and is no part of the conversation.
    Said(String),
    /// Without one, for good.
    Failed { error: String, calls: u32 },
    /// Without one for now, because of the provider: an inbox item is tried again after the wait.
    Postponed { fault: Fault, error: String, calls: u32, wait: Duration },
    /// A newer message took its place; what it came to, if anything, is not said.
    Superseded(Option<Outcome>),
    /// Interrupted: an item of the inbox waits again, a client's turn is over.
    Released,
    /// Interrupted by the end of this process: its client asks again, and it goes on.
    Left,
}

impl Ending {
    /// What is shown of it at the message that began the turn; none: it goes on.
    pub(super) fn sign(&self) -> Option<Sign> {
        match self {
            Self::Answered(_) | Self::Said(_) => Some(Sign::Done),
            Self::Failed { .. } => Some(Sign::Failed),
            Self::Superseded(_) => Some(Sign::Nothing),
            Self::Postponed { .. } | Self::Released | Self::Left => None,
        }
    }
}

/// A turn that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) session_id: String,
    pub(super) lease: Lease,
    pub(super) reply: Reply,
    /// What its steps have been booked with.
    pub(super) booked: Booked,
    pub(super) ending: Ending,
    /// The conversation's first question, where its answer is followed by a title.
    pub(super) untitled: Option<String>,
    /// The answer as it goes out; none: it is not sent.
    pub(super) outgoing: Option<Outgoing>,
    /// After how long one that was shown meanwhile comes as a new message.
    pub(super) fresh_after: Option<Duration>,
}

/// What became of the end of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It is as it was said to be.
    Yes,
    /// The session is another program's, and the turn came to nothing.
    Taken,
}

/// Writes everything that follows from `turn`; its answer, or why there is none, is staged.
pub(super) fn finish(db: &Connection, ctx: &SessionContext, turn: &Finished) -> rusqlite::Result<Kept> {
    let now = Now::in_zone(&ctx.zone);
    let kept = if lease::release(db, ctx.owner, &turn.lease)? {
        write(db, ctx, turn, &now)?;
        Kept::Yes
    } else {
        was_taken(db, ctx.owner, &turn.lease.shared, now.epoch)?;
        Kept::Taken
    };
    if let Some(item) = turn.reply.item() {
        match (&turn.ending, kept) {
            // Whatever it came to, it did so without what the other program writes: it goes on when that is done.
            (Ending::Answered(_) | Ending::Said(_) | Ending::Failed { .. }, Kept::Taken) => {
                postpone::until_free(db, item.id, TAKEN, postpone::LEASED, now.epoch)?;
            }
            // Its answer was not wanted, or it waits anyway.
            (ending, _) => {
                if let Some(run) = &item.run {
                    end_run(db, run, ending, turn.booked, now.epoch)?;
                }
                settle(db, item, &turn.lease.key, ending, now.epoch)?;
            }
        }
    }
    Ok(kept)
}

/// What the session has of the end.
fn write(db: &Connection, ctx: &SessionContext, turn: &Finished, now: &Now) -> rusqlite::Result<()> {
    let session = session::line_of(db, ctx, &turn.session_id, now.epoch)?;
    // A turn that was stopped while its conversation was made shorter.
    compact::lock::release(db, ctx.owner, &session)?;
    let end_reason = turn.reply.item().and_then(|item| item.end_session.as_deref());
    let is_over = match &turn.ending {
        Ending::Answered(_) | Ending::Said(_) | Ending::Failed { .. } | Ending::Superseded(Some(_)) => true,
        Ending::Postponed { .. } | Ending::Superseded(None) | Ending::Released | Ending::Left => false,
    };
    let count_calls = |calls: u32| {
        db.prepare_cached("UPDATE sessions SET api_call_count = api_call_count + ?2 WHERE id = ?1")?
            .execute(params![session, calls.saturating_sub(turn.booked.calls)])
    };
    match &turn.ending {
        Ending::Answered(outcome) => answered(db, ctx, &session, turn, outcome, now)?,
        Ending::Said(text) => {
            // What has nothing to say is over all the same.
            let item = turn.reply.item().filter(|item| !text.is_empty() && ledger::is_kept(&item.delivery));
            if let Some(item) = item {
                ledger::add(db, &session, &item.platform, &item.chat_id, &item.delivery, text, now.epoch)?;
            }
        }
        Ending::Failed { calls, error } => {
            history::close(db, &session, error, now.epoch)?;
            count_calls(*calls)?;
        }
        Ending::Postponed { calls, .. } => {
            count_calls(*calls)?;
        }
        Ending::Superseded(outcome) => {
            if let Some(outcome) = outcome {
                let none = accounts::Rows { messages: 0, tool_calls: 0 };
                accounts::book(db, &session, &unbooked_of(turn, outcome), none, now.epoch)?;
            }
            history::interrupt(db, &session, now.epoch)?;
        }
        // An item of the inbox goes on; whoever waited for a direct turn has gone.
        Ending::Released if turn.reply.item().is_none() => {
            history::close(db, &session, history::GIVEN_UP, now.epoch)?;
        }
        Ending::Released | Ending::Left => {}
    }
    if let Some(reason) = end_reason.filter(|_| is_over) {
        session::end(db, ctx, &session, reason, now.epoch)?;
    }
    Ok(())
}

/// [`finish`], or, where the turn's own data does not let it be written (its session was deleted meanwhile), its failure.
pub(super) fn finish_or_give_up(
    db: &Connection,
    ctx: &SessionContext,
    turn: &Finished,
) -> rusqlite::Result<Kept> {
    attempt(
        db,
        || finish(db, ctx, turn).and_then(|kept| history::publish(db).map(|()| kept)),
        |error| {
            tracing::error!(session = %turn.session_id, %error, "cannot store the end of a turn; its item is kept as failed");
            if let Some(item) = turn.reply.item() {
                let ending = Ending::Failed { error: format!("cannot store the answer: {error}"), calls: 0 };
                if let Some(run) = &item.run {
                    end_run(db, run, &ending, turn.booked, epoch())?;
                }
                settle(db, item, &turn.lease.key, &ending, epoch())?;
            }
            lease::release(db, ctx.owner, &turn.lease)?;
            Ok(Kept::Yes)
        },
    )
}

/// What an answer cost, without what its steps have been booked with.
fn unbooked_of(turn: &Finished, outcome: &Outcome) -> Cost {
    let cost = Cost::of(outcome);
    Cost {
        usage: cost.usage.minus(turn.booked.usage),
        calls: cost.calls.saturating_sub(turn.booked.calls),
        ..cost
    }
}

fn answered(
    db: &Connection,
    ctx: &SessionContext,
    id: &str,
    turn: &Finished,
    outcome: &Outcome,
    now: &Now,
) -> rusqlite::Result<()> {
    let mut message = Message::new(Role::Assistant, Value::String(outcome.text.clone()));
    message.tool_calls.clone_from(&outcome.tool_calls);
    history::stage(db, id, &message, Some(&outcome.finish_reason), now.epoch)?;
    let cost = unbooked_of(turn, outcome);
    let rows = accounts::Rows { messages: 1, tool_calls: outcome.tool_calls.len() };
    accounts::book(db, id, &cost, rows, now.epoch)?;
    let Some(item) = turn.reply.item() else { return Ok(()) };
    let usage = cost.usage;
    let prompt_tokens = usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens;
    routing::touch(db, &ctx.scopes, &turn.lease.key, prompt_tokens, now)?;
    match &turn.outgoing {
        Some(outgoing) => send(db, id, item, outgoing, turn.fresh_after, now.epoch),
        None => Ok(()),
    }
}

/// Puts an answer into the ledger, in the place of what is shown of it already.
fn send(
    db: &Connection,
    session: &str,
    item: &Item,
    outgoing: &Outgoing,
    fresh_after: Option<Duration>,
    now: f64,
) -> rusqlite::Result<()> {
    // A message that is shown must say something in the end.
    let shown = stream::is_shown(db, item.id)?.then(|| outgoing.shown());
    let text = shown.as_deref().unwrap_or(&outgoing.text);
    let Item { platform, chat_id, delivery: target, .. } = item;
    let letter = |text| ledger::Letter { session, platform, chat_id, target, text };
    files::add(db, None, &letter(text), &[], now)?;
    if !text.is_empty() {
        stream::take_over(db, item.id, fresh_after, now)?;
    }
    files::add(db, None, &letter(""), &outgoing.files, now)
}

/// The item's last state, that of what was put into its turn, and the next item of its session.
fn settle(db: &Connection, item: &Item, key: &str, ending: &Ending, now: f64) -> rusqlite::Result<()> {
    match ending {
        Ending::Released | Ending::Left => {
            db.prepare_cached(
                "UPDATE hermes_inbox SET state = 'waiting', owner_pid = NULL, owner_start = NULL WHERE id = ?1",
            )?
            .execute([item.id])?;
            return Ok(());
        }
        Ending::Postponed { fault, error, wait, .. } => {
            // It lived through its turn, so it killed nobody.
            db.prepare_cached(
                "UPDATE hermes_inbox SET state = 'postponed', owner_pid = NULL, owner_start = NULL, suspect = 0,
                    postponed = postponed + 1, postponed_at = COALESCE(postponed_at, ?2), due_at = ?3, fault = ?4, error = ?5
                 WHERE id = ?1",
            )?
            .execute(params![item.id, now, now + wait.as_secs_f64(), fault.code(), error])?;
            return Ok(());
        }
        Ending::Answered(_) | Ending::Said(_) | Ending::Superseded(_) if item.remembers => {
            forget(db, item, now)?;
        }
        Ending::Answered(_) | Ending::Said(_) | Ending::Superseded(_) => {
            db.prepare_cached("DELETE FROM hermes_inbox WHERE id = ?1")?.execute([item.id])?;
        }
        // Whoever asked for a run reads there what became of it: that is no dead letter.
        Ending::Failed { .. } if item.run.is_some() => forget(db, item, now)?,
        Ending::Failed { error, .. } => {
            db.prepare_cached(
                "UPDATE hermes_inbox SET state = 'failed', error = ?3, finished_at = ?2, owner_pid = NULL,
                    owner_start = NULL, preview_id = NULL WHERE id = ?1",
            )?
            .execute(params![item.id, now, error])?;
        }
    }
    match ending {
        Ending::Failed { error, .. } => steered::failed(db, key, error, now)?,
        _ => steered::done(db, key, now)?,
    }
    recover::promote(db, key)
}

/// Nothing is left of an item but its identity.
fn forget(db: &Connection, item: &Item, now: f64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'done', payload = NULL, error = NULL, fault = NULL, finished_at = ?2,
            owner_pid = NULL, owner_start = NULL WHERE id = ?1",
    )?
    .execute(params![item.id, now])
    .map(drop)
}

/// Writes the end of a run, where its turn's end is one.
fn end_run(db: &Connection, id: &str, ending: &Ending, booked: Booked, now: f64) -> rusqlite::Result<()> {
    let unbooked = |outcome: &Outcome| accounts::tokens_of(outcome.usage.minus(booked.usage));
    match ending {
        Ending::Answered(outcome) if outcome.text.trim().is_empty() => {
            let tokens = unbooked(outcome);
            runs::end(db, id, &End::Failed { error: SILENT, tokens }, now)
        }
        Ending::Answered(outcome) => {
            let Outcome { text, finish_reason, .. } = outcome;
            let end = End::Completed { output: text, finish_reason, tokens: unbooked(outcome) };
            runs::end(db, id, &end, now)
        }
        Ending::Said(text) => {
            let end = End::Completed { output: text, finish_reason: "stop", tokens: Tokens::default() };
            runs::end(db, id, &end, now)
        }
        Ending::Failed { error, .. } => {
            runs::end(db, id, &End::Failed { error, tokens: Tokens::default() }, now)
        }
        Ending::Superseded(outcome) => {
            let tokens = outcome.as_ref().map(unbooked).unwrap_or_default();
            runs::end(db, id, &End::Cancelled { tokens }, now)
        }
        // It goes on.
        Ending::Postponed { .. } | Ending::Released | Ending::Left => Ok(()),
    }
}

/// What a run fails with whose turn ended without a word.
const SILENT: &str = "The agent ended its turn without any text";
