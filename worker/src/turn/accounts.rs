//! What turns cost, in the counters of their sessions and models.

use hermes_config::Task;
use rusqlite::{Connection, params};

use crate::engine::{Cost, Usage};
use crate::runs::Tokens;

/// Rows that are written along.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows {
    /// Messages.
    pub(super) messages: usize,
    /// Calls of tools in them.
    pub(super) tool_calls: usize,
}

/// Adds to the counters of a session.
pub(super) fn book(db: &Connection, id: &str, cost: &Cost, rows: Rows, now: f64) -> rusqlite::Result<()> {
    book_for(db, id, "", cost, rows, now)
}

/// The same for what is no step of a turn: `task` says what for.
pub(super) fn book_for(
    db: &Connection,
    id: &str,
    task: &str,
    cost: &Cost,
    rows: Rows,
    now: f64,
) -> rusqlite::Result<()> {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let [input, output, read, written, reasoning] = tokens(cost);
    db.prepare_cached(
        "UPDATE sessions SET message_count = message_count + ?10, tool_call_count = tool_call_count + ?11,
            input_tokens = input_tokens + ?2,
            output_tokens = output_tokens + ?3, cache_read_tokens = cache_read_tokens + ?4,
            cache_write_tokens = cache_write_tokens + ?5, reasoning_tokens = reasoning_tokens + ?6,
            api_call_count = api_call_count + ?7, billing_provider = ?8, billing_base_url = ?9,
            estimated_cost_usd = COALESCE(estimated_cost_usd, 0.0), cost_status = COALESCE(cost_status, 'unknown'),
            cost_source = COALESCE(cost_source, 'none')
         WHERE id = ?1",
    )?
    .execute(params![
        id,
        input,
        output,
        read,
        written,
        reasoning,
        cost.calls,
        cost.provider,
        cost.base_url,
        count(rows.messages),
        count(rows.tool_calls),
    ])?;
    by_model(db, id, task, cost, now)
}

/// Adds what a job beside the conversation cost, which is no part of the session's own counters, as in 0.19.0.
pub(super) fn book_task(
    db: &Connection,
    id: &str,
    task: Task,
    cost: &Cost,
    now: f64,
) -> rusqlite::Result<()> {
    by_model(db, id, task.name(), cost, now)
}

/// Tokens of a run, as its clients count them.
pub(super) fn tokens_of(usage: Usage) -> Tokens {
    Tokens {
        input: usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
        output: usage.output_tokens,
    }
}

fn tokens(cost: &Cost) -> [i64; 5] {
    let usage = cost.usage;
    [
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
    ]
    .map(u64::cast_signed)
}

fn by_model(db: &Connection, id: &str, task: &str, cost: &Cost, now: f64) -> rusqlite::Result<()> {
    let [input, output, read, written, reasoning] = tokens(cost);
    db.prepare_cached(
        "INSERT INTO session_model_usage(session_id, model, billing_provider, billing_base_url, api_call_count,
            input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_status,
            cost_source, first_seen, last_seen, task)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, 'unknown', 'none', ?11, ?11, ?12)
         ON CONFLICT DO UPDATE SET api_call_count = api_call_count + excluded.api_call_count,
            input_tokens = input_tokens + excluded.input_tokens,
            output_tokens = output_tokens + excluded.output_tokens,
            cache_read_tokens = cache_read_tokens + excluded.cache_read_tokens,
            cache_write_tokens = cache_write_tokens + excluded.cache_write_tokens,
            reasoning_tokens = reasoning_tokens + excluded.reasoning_tokens, last_seen = excluded.last_seen",
    )?
    .execute(params![
        id,
        cost.model,
        cost.provider,
        cost.base_url,
        cost.calls,
        input,
        output,
        read,
        written,
        reasoning,
        now,
        task
    ])?;
    Ok(())
}
