//! Making a stored conversation shorter: what stays, and the rows that change.
//!
//! ```text
//!   first messages │ what is between          │ latest messages
//!   stay           │ active 0, compacted 1    │ stay, behind the summary
//! ```
//!
//! A summary is two rows, one of the user's side and one of the assistant's, so that roles alternate on every wire, whatever is around
//! them, and that what closes an unanswered question never closes it. The first of them begins with [`MARK`], by which 0.19.0 knows its
//! own. The question that is being answered stays to the letter, also where steps of its turn are summed up: it stands behind the summary
//! then. A call of tools and its results are never parted.
//!
//! Rows of messages are ordered by their id, so what stands behind a summary gets new ones: copies with every column that the file has,
//! and the old rows go. All of it is one transaction. Found by searches is what was found before, once.

pub(crate) mod lock;

use std::ops::Range;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use super::{SessionContext, ending, history, known, routing};
use crate::engine::{Message, Role, tokens_of};
use crate::session::Now;

/// How a summary begins: 0.19.0 takes it for one.
pub(crate) const MARK: &str = "[CONTEXT SUMMARY]:";
/// How those of 0.19.0 begin.
const THEIRS: &str = "[CONTEXT COMPACTION";
/// The assistant's part of a summary.
const NOTED: &str = "Noted. I go on from there.";
/// Less than this share of a conversation is not worth a summary, in tenths.
const WORTH: u64 = 1;
/// Rows fewer than these are not worth it either.
const FEWEST: usize = 2;

/// A row of a conversation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Line {
    /// Its id.
    pub(crate) id: i64,
    /// What it says.
    pub(crate) message: Message,
}

impl Line {
    fn tokens(&self) -> u64 {
        tokens_of(&self.message)
    }

    fn is_summary(&self) -> bool {
        let text = self.message.content.as_str().unwrap_or_default();
        text.starts_with(MARK) || text.starts_with(THEIRS)
    }
}

/// What is to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Aim {
    /// So many of the first rows.
    pub(crate) first: usize,
    /// So many of the latest, where they are not too long.
    pub(crate) last: usize,
    /// Tokens that the latest may have.
    pub(crate) tail: u64,
    /// How often that was tried just before.
    pub(crate) round: u32,
    /// Whatever it is worth.
    pub(crate) forced: bool,
}

/// What becomes of each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Stay where they are.
    pub(crate) head: Vec<i64>,
    /// Are summed up.
    pub(crate) middle: Vec<i64>,
    /// Stay, behind the summary.
    pub(crate) tail: Vec<i64>,
}

/// Decides; `None`: there is nothing to be won.
pub(crate) fn plan(lines: &[Line], aim: Aim) -> Option<Plan> {
    let starts = turns(lines);
    let open = open_question(lines);
    let tokens = |range: Range<usize>| lines[range].iter().map(Line::tokens).sum::<u64>();
    let latest = latest(lines, aim);
    // The beginning of a turn, or, of the one that runs, any step.
    let (tail, question) = match (starts.iter().find(|start| **start >= latest), &open) {
        (Some(start), _) => (*start, 0..0),
        (None, Some(question)) => (latest.max(question.end), question.clone()),
        (None, None) => {
            let last = starts.last().copied().unwrap_or(0);
            let fits = aim.round == 0 && tokens(last..lines.len()) <= aim.tail + aim.tail / 2;
            (if fits { last } else { lines.len() }, 0..0)
        }
    };
    let first = if lines.iter().any(Line::is_summary) { 0 } else { aim.first };
    let head = first_turns(&starts, first, |end| tokens(0..end) <= aim.tail / 2);
    let limit = if question.is_empty() { tail } else { question.start };
    let head = if head <= limit {
        head
    } else if aim.forced {
        0
    } else {
        return None;
    };
    let is_asked = |at: usize| question.contains(&at);
    let ids = |range: Range<usize>, asked: bool| -> Vec<i64> {
        range.filter(|at| is_asked(*at) == asked).map(|at| lines[at].id).collect()
    };
    let middle = ids(head..tail, false);
    let between: u64 = (head..tail).filter(|at| !is_asked(*at)).map(|at| lines[at].tokens()).sum();
    let worth = aim.forced || between.saturating_mul(10) >= tokens(0..lines.len()).saturating_mul(WORTH);
    if middle.len() < FEWEST || !worth {
        return None;
    }
    let mut after = ids(question.clone(), true);
    after.extend(lines[tail..].iter().map(|line| line.id));
    Some(Plan { head: ids(0..head, false), middle, tail: after })
}

/// Where turns begin: at the first of the user's rows.
fn turns(lines: &[Line]) -> Vec<usize> {
    let is_user = |at: usize| lines[at].message.role == Role::User;
    (0..lines.len()).filter(|at| is_user(*at) && (*at == 0 || !is_user(at - 1))).collect()
}

/// The user's rows at the end that nobody has answered.
fn open_question(lines: &[Line]) -> Option<Range<usize>> {
    let last = lines.iter().rposition(|line| line.message.role == Role::User)?;
    let step = |line: &Line| line.message.role == Role::Tool || !line.message.tool_calls.is_empty();
    if !lines[last + 1..].iter().all(step) {
        return None;
    }
    let first = lines[..last].iter().rposition(|line| line.message.role != Role::User).map_or(0, |at| at + 1);
    Some(first..last + 1)
}

/// Where the latest rows begin that stay: never between calls and their results.
fn latest(lines: &[Line], aim: Aim) -> usize {
    let budget = aim.tail >> aim.round.saturating_mul(2).min(63);
    let last = if aim.round == 0 { aim.last } else { 0 };
    let (mut tokens, mut begins) = (0_u64, lines.len());
    while begins > 0 {
        let results = lines[..begins].iter().rev().take_while(|line| line.message.role == Role::Tool).count();
        // The calls stand before their results.
        let unit = match (begins - results).checked_sub(1) {
            Some(calls) if results == 0 || lines[calls].message.role == Role::Assistant => calls,
            _ => begins - results,
        };
        let cost: u64 = lines[unit..begins].iter().map(Line::tokens).sum();
        let more = tokens.saturating_add(cost);
        let fits = more <= budget || (lines.len() - begins < last && more <= budget + budget / 2);
        // At first the very latest stays in any case.
        if !(fits || begins == lines.len() && aim.round == 0) {
            break;
        }
        (tokens, begins) = (more, unit);
    }
    begins
}

/// Where the first rows end that stay: at the end of a turn.
fn first_turns(starts: &[usize], first: usize, is_short: impl Fn(usize) -> bool) -> usize {
    if first == 0 {
        return 0;
    }
    let whole = starts.iter().find(|start| **start >= first).filter(|end| is_short(**end));
    whole.or_else(|| starts.iter().rev().find(|start| **start <= first)).copied().unwrap_or(0)
}

/// The conversation's rows, oldest first.
pub(crate) fn lines(db: &Connection, session: &str) -> rusqlite::Result<Vec<Line>> {
    let messages = history::load_all(db, session)?;
    let ids = ids(db, session)?;
    Ok(ids.into_iter().zip(messages).map(|(id, message)| Line { id, message }).collect())
}

fn ids(db: &Connection, session: &str) -> rusqlite::Result<Vec<i64>> {
    db.prepare_cached(
        "SELECT id FROM messages WHERE session_id = ?1 AND active = 1 AND role IN ('user', 'assistant', 'tool') ORDER BY id",
    )?
    .query_map([session], |row| row.get(0))?
    .collect()
}

/// Puts `summary` in the place of what is between, unless the conversation changed since it was planned: then `None`. The session that
/// the conversation goes on in. Its prompt is the caller's to build anew.
pub(crate) fn apply(
    db: &Connection,
    ctx: &SessionContext,
    session: &str,
    plan: &Plan,
    summary: &str,
    in_place: bool,
    now: &Now,
) -> rusqlite::Result<Option<String>> {
    let planned = plan.head.iter().chain(&plan.middle).chain(&plan.tail);
    let mut planned: Vec<i64> = planned.copied().collect();
    planned.sort_unstable();
    if ids(db, session)? != planned {
        return Ok(None);
    }
    let columns = columns(db)?;
    let into = if in_place { session.to_owned() } else { child(db, session, now)? };
    if !in_place {
        copy(db, &columns, &plan.head, &into)?;
    }
    let said =
        [(Role::User, format!("{MARK} {summary}"), None), (Role::Assistant, NOTED.to_owned(), Some("stop"))];
    for (role, text, finish_reason) in said {
        history::stage(db, &into, &Message::new(role, Value::String(text)), finish_reason, now.epoch)?;
    }
    history::publish(db)?;
    copy(db, &columns, &plan.tail, &into)?;
    if in_place {
        each(db, "UPDATE messages SET active = 0, compacted = 1 WHERE id = ?1", &plan.middle)?;
        each(db, "DELETE FROM messages WHERE id = ?1", &plan.tail)?;
    } else {
        ending::end(db, ctx, session, known::COMPRESSION, now.epoch)?;
        go_on_in(db, ctx, session, &into)?;
    }
    settle(db, ctx, &into)?;
    Ok(Some(into))
}

/// The columns of a message, its id and its session left out.
fn columns(db: &Connection) -> rusqlite::Result<String> {
    let names: Vec<String> = db
        .prepare_cached(
            "SELECT name FROM pragma_table_info('messages') WHERE name NOT IN ('id', 'session_id')",
        )?
        .query_map([], |row| row.get::<_, String>(0))?
        .map(|name| name.map(|name| format!("\"{}\"", name.replace('"', "\"\""))))
        .collect::<rusqlite::Result<_>>()?;
    Ok(names.join(", "))
}

/// Rows again, in this order, behind all others.
fn copy(db: &Connection, columns: &str, ids: &[i64], into: &str) -> rusqlite::Result<()> {
    let mut insert = db.prepare(&format!(
        "INSERT INTO messages(session_id, {columns}) SELECT ?2, {columns} FROM messages WHERE id = ?1"
    ))?;
    ids.iter().try_for_each(|id| insert.execute(params![id, into]).map(drop))
}

fn each(db: &Connection, sql: &str, ids: &[i64]) -> rusqlite::Result<()> {
    let mut statement = db.prepare_cached(sql)?;
    ids.iter().try_for_each(|id| statement.execute([id]).map(drop))
}

/// A session that goes on where `session` ended: all that is known of it stays, but for what it has had.
fn child(db: &Connection, session: &str, now: &Now) -> rusqlite::Result<String> {
    const FRESH: [&str; 22] = [
        "id",
        "parent_session_id",
        "started_at",
        "ended_at",
        "end_reason",
        "message_count",
        "tool_call_count",
        "input_tokens",
        "output_tokens",
        "cache_read_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
        "estimated_cost_usd",
        "actual_cost_usd",
        "api_call_count",
        "title",
        "compression_failure_cooldown_until",
        "compression_failure_error",
        "compression_fallback_streak",
        "rewind_count",
        "expiry_finalized",
        "archived",
    ];
    let all: Vec<String> = db
        .prepare_cached("SELECT name FROM pragma_table_info('sessions')")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let kept = all.iter().filter(|name| !FRESH.contains(&name.as_str()));
    let kept: Vec<String> = kept.map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    let kept = kept.join(", ");
    let mut insert = db.prepare(&format!(
        "INSERT INTO sessions(id, parent_session_id, started_at, {kept})
         SELECT ?2, id, ?3, {kept} FROM sessions WHERE id = ?1 ON CONFLICT(id) DO NOTHING"
    ))?;
    let id = loop {
        let id = now.session_id();
        if insert.execute(params![session, id, now.epoch])? == 1 {
            break id;
        }
    };
    // The name goes along: people know the conversation by it. No two sessions have the same.
    let title: Option<String> = db
        .prepare_cached("SELECT title FROM sessions WHERE id = ?1")?
        .query_row([session], |row| row.get(0))
        .optional()?
        .flatten();
    if let Some(title) = title {
        db.prepare_cached("UPDATE sessions SET title = NULL WHERE id = ?1")?.execute([session])?;
        db.prepare_cached("UPDATE sessions SET title = ?2 WHERE id = ?1")?.execute([&id, &title])?;
    }
    Ok(id)
}

/// What named `session` names the one that it goes on in.
fn go_on_in(db: &Connection, ctx: &SessionContext, session: &str, into: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE gateway_routing SET entry_json = json_set(entry_json, '$.session_id', ?4)
         WHERE scope IN (?1, ?2) AND json_valid(entry_json) AND json_extract(entry_json, '$.session_id') = ?3",
    )?
    .execute(params![ctx.scopes.own, ctx.scopes.upstream, session, into])?;
    Ok(())
}

/// Counts of what is told from now on, as 0.19.0 has them, and nothing that was known of a longer one.
fn settle(db: &Connection, ctx: &SessionContext, session: &str) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE sessions SET
            message_count = (SELECT count(*) FROM messages WHERE session_id = ?1 AND active = 1),
            tool_call_count = (SELECT COALESCE(sum(json_array_length(tool_calls)), 0) FROM messages
                               WHERE session_id = ?1 AND active = 1 AND role = 'assistant' AND json_valid(tool_calls)),
            compression_failure_cooldown_until = NULL, compression_failure_error = NULL
         WHERE id = ?1",
    )?
    .execute([session])?;
    routing::forget_tokens(db, &ctx.scopes, session)
}

/// What keeps a conversation from being made shorter without being asked: an earlier failure, until a time or for good.
pub(crate) fn blocked(db: &Connection, session: &str, now: f64) -> rusqlite::Result<Option<String>> {
    /// So many summaries in a row that no model wrote are enough, as in 0.19.0.
    const STREAK: i64 = 2;
    let row: Option<(Option<f64>, Option<String>, i64)> = db
        .prepare_cached(
            "SELECT compression_failure_cooldown_until, compression_failure_error, COALESCE(compression_fallback_streak, 0)
             FROM sessions WHERE id = ?1",
        )?
        .query_row([session], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((until, error, streak)) = row else { return Ok(Some("there is no such session".to_owned())) };
    Ok(match until.filter(|until| *until > now) {
        Some(until) => {
            let error = error.unwrap_or_else(|| "it failed".to_owned());
            Some(format!("it failed and is tried again in {:.0} s: {error}", until - now))
        }
        None if streak >= STREAK => {
            Some("no model could sum it up, twice; send /compress to try again".to_owned())
        }
        None => None,
    })
}

/// Notes that there was no summary: until when it is not tried again, and whether something stands in its place all the same.
pub(crate) fn note_failure(
    db: &Connection,
    session: &str,
    error: &str,
    until: f64,
    replaced: bool,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE sessions SET compression_failure_cooldown_until = ?2, compression_failure_error = ?3,
            compression_fallback_streak = COALESCE(compression_fallback_streak, 0) + ?4 WHERE id = ?1",
    )?
    .execute(params![session, until, error, i64::from(replaced)])?;
    Ok(())
}

/// Notes that a model has summed it up.
pub(crate) fn note_success(db: &Connection, session: &str) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE sessions SET compression_fallback_streak = 0 WHERE id = ?1")?
        .execute([session])?;
    Ok(())
}

#[cfg(test)]
mod tests;
