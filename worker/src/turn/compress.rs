//! Making the conversation of a turn shorter: a lock, a plan, a summary by a model, and one transaction.
//!
//! Nothing is held while the model writes but the lock, which is void when its process is gone, and nothing of the conversation has
//! changed until the transaction that changes all of it. A process that dies on the way leaves the old conversation; what it costs
//! is one summary. Where the model fails for a reason that passes, nothing is changed and it is not tried for a while; where its answer
//! is of no use, what can be said without one stands in the summary's place, unless `compression.abort_on_summary_failure` says no.

mod summary;

use std::sync::Arc;

use hermes_config::Task;

use super::conversation::Conversation;
use super::running::Occupation;
use super::{accounts, lease};
use crate::engine::{Chore, Cost, EngineError, Outcome, Pressure, Shortened, Squeeze};
use crate::session::compact::{self, Aim, Line, Plan, lock};
use crate::session::{self, Now, Opening, epoch, history};
use crate::store::StoreError;

/// Seconds for which it is not tried again after a failure, as in 0.19.0.
const COOLDOWN: f64 = 600.0;
/// Seconds for which the lock is taken beyond the time that the model has.
const BEYOND: f64 = 180.0;
/// Characters of a failure that are kept.
const MAX_ERROR: usize = 300;
/// Characters that a model is shown at most: what a window of 128 000 tokens takes with room to spare.
const SHOWN: usize = 320_000;

/// What is to be summed up.
struct Work {
    session: String,
    lines: Vec<Line>,
    plan: Plan,
}

/// A summary, and what came of the model that was to write it.
struct Summary {
    text: String,
    written: Result<Cost, String>,
}

/// Makes the conversation of a turn shorter; else why not.
pub(super) async fn shorten(
    of: &Conversation,
    squeeze: Squeeze,
    focus: Option<&str>,
) -> Result<Result<Shortened, String>, EngineError> {
    // A newer message waits until the conversation is whole again.
    let _occupied = of.inner.running.occupied(&of.lease.key, Occupation::Compressing);
    let work = match prepare(of, squeeze).await {
        Ok(Ok(work)) => work,
        Ok(Err(why)) => return Ok(Err(why)),
        Err(error) => return Ok(Err(error.to_string())),
    };
    tracing::info!(
        session = work.session,
        messages = work.lines.len(),
        summed_up = work.plan.middle.len(),
        why = ?squeeze.why,
        "a conversation is made shorter"
    );
    let summary = match summed_up(of, &work, squeeze, focus).await {
        Ok(summary) => summary,
        Err(error) => {
            give_up(of, &work.session, &error).await;
            // Without a shorter conversation there is no answer: whoever runs the turn knows what a provider's failure means.
            let passes = error.fault().is_some_and(crate::provider::Fault::is_providers);
            return if squeeze.why == Pressure::Refused && passes {
                Err(error)
            } else {
                Ok(Err(error.to_string()))
            };
        }
    };
    match commit(of, work, summary).await {
        Ok(shorter) => Ok(shorter),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Takes the lock and decides what is summed up.
async fn prepare(of: &Conversation, squeeze: Squeeze) -> Result<Result<Work, String>, StoreError> {
    let inner = &of.inner;
    let settings = inner.settings.compression;
    let aim = Aim {
        first: settings.protect_first,
        last: settings.protect_last,
        tail: squeeze.tail,
        round: squeeze.round,
        forced: squeeze.why != Pressure::Near,
    };
    let (ctx, begun_in) = (Arc::clone(&inner.session), of.session_id.clone());
    let seconds = inner.settings.compression_timeout.as_secs_f64() + BEYOND;
    let lease = of.lease.clone();
    let job = move |db: &rusqlite::Connection| {
        let now = epoch();
        if !lease::holds(db, &lease, now)? {
            return Ok(Err("another program took over the session".to_owned()));
        }
        let session = session::line_of(db, &ctx, &begun_in, now)?.into_owned();
        let blocked = compact::blocked(db, &session, now)?;
        if let Some(why) = blocked.filter(|_| squeeze.why == Pressure::Near) {
            return Ok(Err(why));
        }
        let lines = compact::lines(db, &session)?;
        let Some(plan) = compact::plan(&lines, aim) else {
            return Ok(Err("there is nothing in it that could be summed up".to_owned()));
        };
        Ok(lock::take(db, ctx.owner, &session, now, seconds)?.map(|()| Work { session, lines, plan }))
    };
    inner.store.write(job).await
}

/// Has the model sum it up. An error: nothing is to be changed.
async fn summed_up(
    of: &Conversation,
    work: &Work,
    squeeze: Squeeze,
    focus: Option<&str>,
) -> Result<Summary, EngineError> {
    let inner = &of.inner;
    let middle: Vec<&Line> = work.lines.iter().filter(|line| work.plan.middle.contains(&line.id)).collect();
    let written = if inner.engine.does(Task::Compression) {
        let chore = Chore {
            task: Task::Compression,
            session_id: work.session.clone(),
            system: summary::instruction(focus),
            // After a refusal the same model takes less.
            text: summary::transcript(&middle, SHOWN >> squeeze.round.min(8)),
        };
        inner.engine.assist(chore).await
    } else {
        Err(EngineError::Config(
            "no model sums up conversations here (auxiliary.compression.enabled)".to_owned(),
        ))
    };
    // Where nothing presses, the conversation is better as it is.
    let written = match written {
        Err(error @ EngineError::Config(_)) if squeeze.why != Pressure::Refused => return Err(error),
        written => written,
    };
    let usable = |outcome: Outcome| match summary::read(&outcome.text) {
        Some(text) => Ok(Summary { text, written: Ok(Cost::of(&outcome)) }),
        None => Err("the model's summary is empty".to_owned()),
    };
    let passes = |error: &EngineError| match error {
        EngineError::Config(_) => false,
        error => error.fault().is_none_or(crate::provider::Fault::is_providers),
    };
    let why = match written {
        Ok(outcome) => match usable(outcome) {
            Ok(summary) => return Ok(summary),
            Err(why) => why,
        },
        Err(error) if passes(&error) || inner.settings.compression.abort_on_failure => return Err(error),
        Err(error) => error.to_string(),
    };
    if inner.settings.compression.abort_on_failure {
        return Err(EngineError::Config(format!("{why} (compression.abort_on_summary_failure)")));
    }
    tracing::warn!(
        session = work.session,
        why,
        "no model sums up a conversation; what it began with is taken out all the same"
    );
    Ok(Summary { text: summary::without_model(&middle), written: Err(why) })
}

/// Puts the summary in its place, unless the conversation is another's by now, or another one.
async fn commit(
    of: &Conversation,
    work: Work,
    summary: Summary,
) -> Result<Result<Shortened, String>, StoreError> {
    let inner = &of.inner;
    let prompts = match inner.read_prompts().await {
        Ok(prompts) => prompts,
        Err(lost) => return Ok(Err(lost.to_string())),
    };
    let (ctx, in_place) = (Arc::clone(&inner.session), inner.settings.compression.in_place);
    let (own, model) = (of.own.clone(), of.model.clone());
    let (with_tools, lease) = (of.with_tools, of.lease.clone());
    let before: u64 = work.lines.iter().map(|line| crate::engine::tokens_of(&line.message)).sum();
    let lines = work.lines.len();
    let job = move |db: &rusqlite::Connection| {
        let now = Now::in_zone(&ctx.zone);
        let opening = Opening { ctx: &ctx, prompts: &prompts, now: &now, model: model.as_ref() };
        if !lease::holds(db, &lease, now.epoch)? {
            return Ok(Err("another program took over the session".to_owned()));
        }
        let session = &*work.session;
        if !lock::holds(db, ctx.owner, session)? {
            return Ok(Err("another program makes it shorter".to_owned()));
        }
        lock::release(db, ctx.owner, session)?;
        let Some(into) = compact::apply(db, &ctx, session, &work.plan, &summary.text, in_place, &now)? else {
            return Ok(Err("it changed meanwhile".to_owned()));
        };
        match &summary.written {
            Ok(cost) => {
                compact::note_success(db, &into)?;
                accounts::book_task(db, &into, Task::Compression, cost, now.epoch)?;
            }
            Err(why) => compact::note_failure(db, &into, &brief(why), now.epoch + COOLDOWN, true)?,
        }
        let mut system = session::rebuild_prompt(db, opening, &into)?;
        system.push_str(&own);
        let messages = history::replay(history::load_all(db, &into)?, with_tools);
        Ok(Ok(Shortened { system, messages }))
    };
    let shorter = inner.store.write(job).await?;
    if let Ok(shorter) = &shorter {
        let after: u64 = shorter.messages.iter().map(crate::engine::tokens_of).sum();
        tracing::info!(
            session = of.session_id,
            messages_before = lines,
            messages_after = shorter.messages.len(),
            tokens_before = before,
            tokens_after = after,
            "a conversation was made shorter"
        );
    }
    Ok(shorter)
}

/// Gives the lock back and notes why, so that it is not tried again at once.
async fn give_up(of: &Conversation, session: &str, error: &EngineError) {
    let (ctx, session, why) = (Arc::clone(&of.inner.session), session.to_owned(), brief(&error.to_string()));
    tracing::warn!(session, why, "a conversation stays as long as it is");
    let noted = of.inner.store.write(move |db| {
        lock::release(db, ctx.owner, &session)?;
        compact::note_failure(db, &session, &why, epoch() + COOLDOWN, false)
    });
    if let Err(error) = noted.await {
        tracing::warn!(%error, "why a conversation stays as long as it is cannot be noted");
    }
}

fn brief(why: &str) -> String {
    why.chars().take(MAX_ERROR).collect()
}
