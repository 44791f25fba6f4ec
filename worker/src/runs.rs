//! Runs of the API: what is known of each, and what has happened in it, in two tables of `state.db`.
//!
//! A run is an item of the inbox like any other, whose answer goes into its row here instead of a chat. As long as it is not over its
//! state is its item's: nothing else says whether it waits or runs, in whichever process. Its end is written in the transaction that
//! ends the item.
//!
//! What happens in it is a log of numbered events that is only ever appended to, so any number of readers may begin anywhere, also in
//! another process and after the end. Beyond [`LOG`] bytes the pieces of an answer are left out, which is said in the log; the answer
//! itself is not. What is over is kept for [`KEPT`], or until newer runs need the room ([`ROOM`]).
//!
//! A text that is to be put into a run waits in its row until the turn takes it, in whichever process that is. One that came too late is
//! kept there, and told with the end.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Map, Value};

/// What the inbox knows runs by.
pub(crate) const SCOPE: &str = "run";
/// How long a run is kept that is over, in seconds; so long its `Idempotency-Key` holds.
pub(crate) const KEPT: f64 = 24.0 * 3600.0;
/// Bytes of a log beyond which pieces are left out.
const LOG: i64 = 4 << 20;
/// Bytes that all logs and answers together may have before the oldest runs are forgotten.
const ROOM: i64 = 128 << 20;
/// Bytes of a page of a log, about.
const PAGE: usize = 64 << 10;
/// Most texts that wait to be put into one run.
pub(crate) const STEERS: usize = 32;

/// A run to be.
pub(crate) struct New<'a> {
    pub(crate) id: &'a str,
    /// Its item's.
    pub(crate) platform: &'a str,
    pub(crate) session_id: &'a str,
    /// As the client named it.
    pub(crate) model: &'a str,
    /// What is asked, for whoever begins it.
    pub(crate) request: &'a str,
    /// `Idempotency-Key`, and what the request is known by besides.
    pub(crate) key: Option<(&'a str, &'a str)>,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has not begun, or waits for its turn again.
    Queued,
    /// It runs.
    Running,
    /// It has asked somebody.
    WaitingForApproval,
    /// It was told to stop.
    Stopping,
    /// It is over, with an answer.
    Completed,
    /// It is over, without one.
    Failed,
    /// It was stopped.
    Cancelled,
}

impl State {
    /// As clients know it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::WaitingForApproval => "waiting_for_approval",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// Tokens of all calls to the model that a run made, in whatever process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Of prompts, cached ones included.
    pub input: u64,
    /// Of answers.
    pub output: u64,
}

/// What is known of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// How far it is.
    pub state: State,
    /// Seconds since the epoch.
    pub created_at: f64,
    /// Likewise.
    pub updated_at: f64,
    /// Its session.
    pub session_id: String,
    /// As the client named it.
    pub model: String,
    /// Name of the last event.
    pub last_event: Option<String>,
    /// The answer, of a completed one.
    pub output: Option<String>,
    /// `length` and the like, where the answer did not just end.
    pub finish_reason: Option<String>,
    /// What it has cost so far.
    pub tokens: Tokens,
    /// Why there is no answer.
    pub error: Option<String>,
    /// What is to be put into it, and is not, or came too late for that.
    pub steers: Vec<String>,
    /// The process in which it runs.
    pub(crate) owner: Option<(i64, i64)>,
}

/// How a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End<'a> {
    Completed { output: &'a str, finish_reason: &'a str, tokens: Tokens },
    Failed { error: &'a str, tokens: Tokens },
    Cancelled { tokens: Tokens },
}

/// A part of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    /// Numbers, and the events as JSON.
    pub events: Vec<(i64, String)>,
    /// There is nothing behind it, and there will not be.
    pub is_last: bool,
    /// The run is at work in the process that was asked.
    pub is_here: bool,
}

/// Puts a run down. Its item is put into the inbox by the same transaction.
pub(crate) fn put(db: &Connection, new: &New<'_>, now: f64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO hermes_run(id, platform, session_id, model, request, idempotency_key, fingerprint, created_at, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
    )?
    .execute(params![
        new.id,
        new.platform,
        new.session_id,
        new.model,
        new.request,
        new.key.map(|(key, _)| key),
        new.key.map(|(_, fingerprint)| fingerprint),
        now,
    ])
    .map(drop)
}

/// The run that was asked for with this key, and its fingerprint. One that is too old gives the key free.
pub(crate) fn with_key(db: &Connection, key: &str, now: f64) -> rusqlite::Result<Option<(String, String)>> {
    db.prepare_cached(
        "UPDATE hermes_run SET idempotency_key = NULL WHERE idempotency_key = ?1 AND created_at < ?2 AND status IS NOT NULL",
    )?
    .execute(params![key, now - KEPT])?;
    db.prepare_cached("SELECT id, fingerprint FROM hermes_run WHERE idempotency_key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// Runs that are not over.
pub(crate) fn unfinished(db: &Connection) -> rusqlite::Result<usize> {
    db.prepare_cached("SELECT count(*) FROM hermes_run WHERE status IS NULL")?
        .query_row([], |row| row.get::<_, i64>(0))
        .map(|count| usize::try_from(count).unwrap_or_default())
}

/// What is known of a run.
pub(crate) fn find(db: &Connection, id: &str, now: f64) -> rusqlite::Result<Option<Run>> {
    db.prepare_cached(
        "SELECT r.status, r.created_at, r.updated_at, r.session_id, r.model, r.last_event, r.output, r.finish_reason,
                r.input_tokens, r.output_tokens, r.error, r.stop_at IS NOT NULL, i.state, i.error, i.owner_pid, i.owner_start,
                EXISTS (SELECT 1 FROM hermes_question AS q WHERE q.scope = r.id AND q.answer IS NULL AND q.until >= ?2),
                r.steers
         FROM hermes_run AS r
         LEFT JOIN hermes_inbox AS i ON i.platform = r.platform AND i.scope = 'run' AND i.dedup_id = r.id
         WHERE r.id = ?1",
    )?
    .query_row(params![id, now], read)
    .optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    let status: Option<String> = row.get(0)?;
    let (is_stopping, is_asking): (bool, bool) = (row.get(11)?, row.get(16)?);
    let item: Option<String> = row.get(12)?;
    let state = match (status.as_deref(), item.as_deref()) {
        (Some("completed"), _) => State::Completed,
        (Some("cancelled"), _) => State::Cancelled,
        // An item that is over took its run along; one that is gone, or was set aside by another release, leaves it without an end.
        (Some(_), _) | (None, None | Some("done" | "failed")) => State::Failed,
        (None, _) if is_stopping => State::Stopping,
        (None, Some("claimed")) if is_asking => State::WaitingForApproval,
        (None, Some("claimed")) => State::Running,
        (None, Some(_)) => State::Queued,
    };
    let error: Option<String> = row.get(10)?;
    let item_error: Option<String> = row.get(13)?;
    let error = match state {
        State::Failed => Some(error.or(item_error).unwrap_or_else(|| "the run is gone".to_owned())),
        _ => None,
    };
    let owner = row.get::<_, Option<i64>>(14)?.zip(row.get::<_, Option<i64>>(15)?);
    let tokens = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(Run {
        state,
        created_at: row.get(1)?,
        updated_at: row.get(2)?,
        session_id: row.get(3)?,
        model: row.get(4)?,
        last_event: row.get(5)?,
        output: row.get(6)?,
        finish_reason: row.get(7)?,
        tokens: Tokens { input: tokens(8)?, output: tokens(9)? },
        error,
        steers: texts(row.get(17)?),
        owner,
    })
}

/// What a run is asked, for whoever begins it; `None`: it is over, or gone.
pub(crate) fn request(db: &Connection, id: &str) -> rusqlite::Result<Option<String>> {
    let found = db
        .prepare_cached("SELECT request FROM hermes_run WHERE id = ?1 AND status IS NULL")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// A run begins in this session, or goes on there.
pub(crate) fn begin(
    db: &Connection,
    id: &str,
    session: &str,
    goes_on: bool,
    now: f64,
) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE hermes_run SET session_id = ?2, updated_at = ?3 WHERE id = ?1")?
        .execute(params![id, session, now])?;
    if goes_on {
        append(db, id, &[event("run.resumed")], now)?;
    }
    Ok(())
}

/// An event without anything to say.
pub(crate) fn event(name: &str) -> Map<String, Value> {
    Map::from_iter([("event".to_owned(), name.into())])
}

/// Whether an event is one of many, of which some may be missing.
fn is_piece(name: &str) -> bool {
    matches!(name, "message.delta" | "reasoning.available" | "tool.started" | "tool.completed")
}

/// Adds to the log of a run that is not over.
pub(crate) fn append(
    db: &Connection,
    id: &str,
    events: &[Map<String, Value>],
    now: f64,
) -> rusqlite::Result<()> {
    let found: Option<(i64, i64)> = db
        .prepare_cached("SELECT events, bytes FROM hermes_run WHERE id = ?1 AND status IS NULL")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((mut seq, mut bytes)) = found else { return Ok(()) };
    let mut insert =
        db.prepare_cached("INSERT INTO hermes_run_event(run_id, seq, event) VALUES (?1, ?2, ?3)")?;
    let mut last = None;
    let mut add = |event: &Map<String, Value>, bytes: &mut i64| {
        let mut event = event.clone();
        event.insert("run_id".to_owned(), id.into());
        event.insert("timestamp".to_owned(), now.into());
        let text = Value::Object(event).to_string();
        seq += 1;
        *bytes = bytes.saturating_add(i64::try_from(text.len()).unwrap_or(i64::MAX));
        insert.execute(params![id, seq, text])
    };
    for said in events {
        let name = said.get("event").and_then(Value::as_str).unwrap_or_default();
        if is_piece(name) && bytes >= LOG {
            continue;
        }
        add(said, &mut bytes)?;
        last = Some(name);
        if is_piece(name) && bytes >= LOG {
            let mut full = event("log.truncated");
            let why = "the log of this run is full: pieces that follow are left out, the end is not";
            full.insert("message".to_owned(), why.into());
            add(&full, &mut bytes)?;
        }
    }
    let Some(last) = last else { return Ok(()) };
    db.prepare_cached(
        "UPDATE hermes_run SET events = ?2, bytes = ?3, last_event = ?4, updated_at = ?5 WHERE id = ?1",
    )?
    .execute(params![id, seq, bytes, last, now])
    .map(drop)
}

/// Notes what a call to the model cost.
pub(crate) fn spend(db: &Connection, id: &str, tokens: Tokens) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE hermes_run SET input_tokens = input_tokens + ?2, output_tokens = output_tokens + ?3 WHERE id = ?1",
    )?
    .execute(params![id, tokens.input.cast_signed(), tokens.output.cast_signed()])
    .map(drop)
}

/// The column `steers`, read.
fn texts(column: Option<String>) -> Vec<String> {
    // Nobody else writes it.
    column.and_then(|column| serde_json::from_str(&column).ok()).unwrap_or_default()
}

fn waiting(db: &Connection, id: &str) -> rusqlite::Result<Vec<String>> {
    let found = db
        .prepare_cached("SELECT steers FROM hermes_run WHERE id = ?1 AND status IS NULL")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(texts(found.flatten()))
}

/// Has a text wait until it can be put into a run that is not over. `false`: [`STEERS`] wait already.
pub(crate) fn steer(db: &Connection, id: &str, text: String, now: f64) -> rusqlite::Result<bool> {
    let mut waiting = waiting(db, id)?;
    if waiting.len() >= STEERS {
        return Ok(false);
    }
    waiting.push(text);
    db.prepare_cached("UPDATE hermes_run SET steers = ?2, updated_at = ?3 WHERE id = ?1 AND status IS NULL")?
        .execute(params![id, Value::from(waiting).to_string(), now])?;
    Ok(true)
}

/// Takes what waits to be put into a run, and says so in its log.
pub(crate) fn take_steers(db: &Connection, id: &str, now: f64) -> rusqlite::Result<Vec<String>> {
    let taken = waiting(db, id)?;
    if taken.is_empty() {
        return Ok(taken);
    }
    db.prepare_cached("UPDATE hermes_run SET steers = NULL WHERE id = ?1")?.execute([id])?;
    let mut steered = event("run.steered");
    steered.insert("accepted".to_owned(), true.into());
    append(db, id, &vec![steered; taken.len()], now)?;
    Ok(taken)
}

/// What came too late, as clients are told of it.
pub(crate) fn pending(steers: &[String]) -> Option<String> {
    (!steers.is_empty()).then(|| steers.join("\n"))
}

/// Writes a run's end, once. `tokens` of it are those that were not noted before.
pub(crate) fn end(db: &Connection, id: &str, end: &End<'_>, now: f64) -> rusqlite::Result<()> {
    let (End::Completed { tokens, .. } | End::Failed { tokens, .. } | End::Cancelled { tokens }) = end;
    spend(db, id, *tokens)?;
    let found = db
        .prepare_cached(
            "SELECT input_tokens, output_tokens, steers FROM hermes_run WHERE id = ?1 AND status IS NULL",
        )?
        .query_row([id], |row| {
            let count = |column| row.get::<_, i64>(column).map(i64::unsigned_abs);
            Ok((Tokens { input: count(0)?, output: count(1)? }, row.get(2)?))
        })
        .optional()?;
    let Some((all, steers)) = found else { return Ok(()) };
    let mut last = event("run.completed");
    let (state, output, finish, error) = match end {
        End::Completed { output, finish_reason, .. } => {
            last.insert("output".to_owned(), (*output).into());
            let finish = Some(*finish_reason).filter(|reason| !matches!(*reason, "" | "stop"));
            if let Some(finish) = finish {
                last.insert("finish_reason".to_owned(), finish.into());
            }
            (State::Completed, Some(*output), finish, None)
        }
        End::Failed { error, .. } => {
            last = event("run.failed");
            last.insert("error".to_owned(), (*error).into());
            (State::Failed, None, None, Some(*error))
        }
        End::Cancelled { .. } => {
            last = event("run.cancelled");
            (State::Cancelled, None, None, None)
        }
    };
    last.insert("usage".to_owned(), usage(all));
    if let Some(late) = pending(&texts(steers)) {
        last.insert("pending_steer".to_owned(), late.into());
    }
    append(db, id, &[last], now)?;
    db.prepare_cached(
        "UPDATE hermes_run SET status = ?2, output = ?3, finish_reason = ?4, error = ?5, request = NULL, ended_at = ?6,
            updated_at = ?6, bytes = bytes + ?7 WHERE id = ?1",
    )?
    .execute(params![
        id,
        state.name(),
        output,
        finish,
        error,
        now,
        i64::try_from(output.unwrap_or_default().len()).unwrap_or(i64::MAX)
    ])
    .map(drop)
}

/// An item of the inbox failed without a turn's end. A run among them ends with it.
pub(crate) fn fail_item(db: &Connection, item: i64, error: &str, now: f64) -> rusqlite::Result<()> {
    let run: Option<Option<String>> = db
        .prepare_cached("SELECT dedup_id FROM hermes_inbox WHERE id = ?1 AND scope = ?2")?
        .query_row(params![item, SCOPE], |row| row.get(0))
        .optional()?;
    match run.flatten() {
        Some(run) => end(db, &run, &End::Failed { error, tokens: Tokens::default() }, now),
        None => Ok(()),
    }
}

/// Tokens as the API says them.
pub fn usage(tokens: Tokens) -> Value {
    serde_json::json!({
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "total_tokens": tokens.input.saturating_add(tokens.output),
    })
}

/// Notes that somebody wants a run to stop.
pub(crate) fn stop(db: &Connection, id: &str, now: f64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE hermes_run SET stop_at = COALESCE(stop_at, ?2), updated_at = ?2 WHERE id = ?1 AND status IS NULL",
    )?
    .execute(params![id, now])
    .map(drop)
}

/// Whether somebody wants it to stop.
pub(crate) fn is_unwanted(db: &Connection, id: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM hermes_run WHERE id = ?1 AND stop_at IS NOT NULL)")?
        .query_row([id], |row| row.get(0))
}

/// The log behind event `after`; `None`: there is no such run. `me` is who asks.
pub(crate) fn page(
    db: &Connection,
    id: &str,
    after: i64,
    (me, now): ((i64, i64), f64),
) -> rusqlite::Result<Option<Page>> {
    let Some(run) = find(db, id, now)? else { return Ok(None) };
    let mut select = db.prepare_cached(
        "SELECT seq, event FROM hermes_run_event WHERE run_id = ?1 AND seq > ?2 ORDER BY seq LIMIT 512",
    )?;
    let mut rows = select.query(params![id, after])?;
    let mut page = Page { is_here: run.owner == Some(me), ..Page::default() };
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let event: (i64, String) = (row.get(0)?, row.get(1)?);
        bytes += event.1.len();
        page.events.push(event);
        if bytes >= PAGE {
            return Ok(Some(page));
        }
    }
    page.is_last = run.state.is_over() && page.events.len() < 512;
    if page.is_last
        && let Some(error) = run.error.filter(|_| run.last_event.as_deref() != Some("run.failed"))
    {
        // Its item was taken from it: what the log does not have is told by what is known.
        let mut failed = event("run.failed");
        failed.insert("error".to_owned(), error.into());
        failed.insert("run_id".to_owned(), id.into());
        failed.insert("timestamp".to_owned(), run.updated_at.into());
        let last = page.events.last().map_or(after, |(seq, _)| *seq);
        if last < FELL {
            page.events.push((FELL, Value::Object(failed).to_string()));
        }
    }
    Ok(Some(page))
}

/// Number of the event that stands for an end which nobody wrote.
const FELL: i64 = i64::MAX;

/// Forgets what is over and old, and the oldest where there is too much of it; up to `step` of each. Whether there may be more.
pub(crate) fn prune(db: &Connection, now: f64, step: u32) -> rusqlite::Result<bool> {
    // One whose item is gone has no end of its own.
    db.prepare_cached(
        "UPDATE hermes_run SET status = 'failed', error = 'the run is gone', request = NULL, ended_at = updated_at
         WHERE status IS NULL AND updated_at < ?1
           AND NOT EXISTS (SELECT 1 FROM hermes_inbox AS i
                           WHERE i.platform = hermes_run.platform AND i.scope = 'run' AND i.dedup_id = hermes_run.id)",
    )?
    .execute([now - KEPT])?;
    let mut old: Vec<String> = db
        .prepare_cached("SELECT id FROM hermes_run WHERE ended_at < ?1 ORDER BY ended_at LIMIT ?2")?
        .query_map(params![now - KEPT, step], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let total: i64 = db
        .prepare_cached("SELECT COALESCE(sum(bytes), 0) FROM hermes_run")?
        .query_row([], |row| row.get(0))?;
    if old.is_empty() && total > ROOM {
        let mut over = total - ROOM;
        let mut select = db.prepare_cached(
            "SELECT id, bytes FROM hermes_run WHERE ended_at IS NOT NULL ORDER BY ended_at LIMIT ?1",
        )?;
        let mut rows = select.query([step])?;
        while over > 0
            && let Some(row) = rows.next()?
        {
            old.push(row.get(0)?);
            over -= row.get::<_, i64>(1)?;
        }
    }
    for id in &old {
        db.prepare_cached("DELETE FROM hermes_run_event WHERE run_id = ?1")?.execute([id])?;
        db.prepare_cached("DELETE FROM hermes_run WHERE id = ?1")?.execute([id])?;
    }
    Ok(old.len() >= step as usize)
}

#[cfg(test)]
mod tests;
