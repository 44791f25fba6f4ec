//! Beginning a turn: claim or lease, session, user row, in one transaction.

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;

use super::finish::{InboxPart, attempt};
use super::{DirectSession, DirectTurn};
use crate::engine::{Message, Prompt, Role};
use crate::inbound::{Inbound, Source};
use crate::inbox::postpone::Postponed;
use crate::inbox::recover;
use crate::session::{self, NewSession, Now, SessionContext, history};
use crate::store::Owner;

/// A claimed item, ready for the engine.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) prompt: Prompt,
    pub(super) inbox: InboxPart,
}

/// A row that waits.
struct Waiting {
    id: i64,
    key: String,
    payload: Option<String>,
    /// Set when it was claimed before: its user row exists.
    session_id: Option<String>,
    postponed: Postponed,
}

/// What a look at the inbox brought.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) claimed: Vec<Claimed>,
    /// Others wait until the suspects have run.
    pub(super) held: bool,
}

/// How a look at the inbox goes about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// Most items to claim.
    pub(super) room: usize,
    /// An item that cannot be claimed is set aside instead of failing all.
    pub(super) careful: bool,
    /// While a suspect is left nobody else runs.
    pub(super) apart: bool,
}

/// Claims up to `room` items, oldest first, of sessions that nobody works on. Of items that are suspected of having killed a
/// process one runs at a time, over all processes.
pub(super) fn claim(db: &Connection, ctx: &SessionContext, look: Look) -> rusqlite::Result<Claims> {
    let Look { room, careful, apart } = look;
    let (mut waiting, held) = match suspects(db)? {
        Suspects::None => (Vec::new(), false),
        Suspects::Running => (Vec::new(), apart),
        Suspects::Waiting => (select(db, SUSPECTED, 1)?, apart),
    };
    if !held {
        waiting.append(&mut select(db, UNSUSPECTED, room.saturating_sub(waiting.len()))?);
    }
    let now = Now::in_zone(&ctx.zone);
    let mut claimed = Vec::with_capacity(waiting.len());
    for row in waiting {
        let parsed = row.payload.as_deref().and_then(|text| serde_json::from_str::<Inbound>(text).ok());
        match parsed {
            Some(event) if careful => {
                let work = || {
                    let claimed = claim_one(db, ctx, &row, event, &now)?;
                    history::publish(db)?;
                    Ok(Some(claimed))
                };
                let aside =
                    |error: rusqlite::Error| set_aside(db, &row, &error.to_string(), &now).map(|()| None);
                claimed.extend(attempt(db, work, aside)?);
            }
            Some(event) => claimed.push(claim_one(db, ctx, &row, event, &now)?),
            None => set_aside(db, &row, "unreadable payload", &now)?,
        }
    }
    Ok(Claims { claimed, held })
}

/// Items suspected of having killed a process.
enum Suspects {
    None,
    Waiting,
    Running,
}

fn suspects(db: &Connection) -> rusqlite::Result<Suspects> {
    let (waiting, running): (bool, bool) = db
        .prepare_cached(
            "SELECT COALESCE(max(state = 'waiting'), 0), COALESCE(max(state = 'claimed'), 0) FROM hermes_inbox
             WHERE suspect > 0 AND finished_at IS NULL",
        )?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(match (waiting, running) {
        (_, true) => Suspects::Running,
        (true, false) => Suspects::Waiting,
        (false, false) => Suspects::None,
    })
}

const UNSUSPECTED: &str =
    "SELECT id, session_key, payload, session_id, postponed, postponed_at FROM hermes_inbox AS i
    WHERE state = 'waiting' AND suspect = 0
      AND NOT EXISTS (SELECT 1 FROM hermes_lease AS l WHERE l.session_key = i.session_key)
    ORDER BY id LIMIT ?1";

/// Those that never died alone, or were there at fewer ends, come first: the innocent ones are done before the culprit dies again.
const SUSPECTED: &str =
    "SELECT id, session_key, payload, session_id, postponed, postponed_at FROM hermes_inbox AS i
    WHERE suspect > 0 AND finished_at IS NULL AND state = 'waiting'
      AND NOT EXISTS (SELECT 1 FROM hermes_lease AS l WHERE l.session_key = i.session_key)
    ORDER BY attempts, taken_down, id LIMIT ?1";

fn select(db: &Connection, sql: &str, limit: usize) -> rusqlite::Result<Vec<Waiting>> {
    db.prepare_cached(sql)?
        .query_map([i64::try_from(limit).unwrap_or(i64::MAX)], |row| {
            Ok(Waiting {
                id: row.get(0)?,
                key: row.get(1)?,
                payload: row.get(2)?,
                session_id: row.get(3)?,
                postponed: Postponed { times: row.get(4)?, since: row.get(5)? },
            })
        })?
        .collect()
}

/// Keeps an item that cannot run as failed.
fn set_aside(db: &Connection, row: &Waiting, error: &str, now: &Now) -> rusqlite::Result<()> {
    tracing::error!(item = row.id, error, "inbox item cannot run; it is kept as failed");
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'failed', finished_at = ?2, error = ?3 WHERE id = ?1",
    )?
    .execute(params![row.id, now.epoch, error])?;
    recover::promote(db, &row.key)
}

fn claim_one(
    db: &Connection,
    ctx: &SessionContext,
    row: &Waiting,
    event: Inbound,
    now: &Now,
) -> rusqlite::Result<Claimed> {
    let user = Message::new(Role::User, Value::String(event.text));
    let resumed = match &row.session_id {
        Some(id) => resume(db, ctx, id, &event.source, now)?,
        None => None,
    };
    let (session_id, system, messages) = if let Some((id, system, mut messages)) = resumed {
        if history::is_open(db, &id)? {
            history::close_calls(db, &id, &mut messages, now.epoch)?;
        } else {
            // While this one waited, somebody else may have had a turn in the session, and closed what was open.
            history::stage(db, &id, &user, None, now.epoch)?;
            history::count(db, &id, 1)?;
            messages.push(user);
        }
        (id, system, messages)
    } else {
        let opened = session::open_for_key(db, ctx, &row.key, &event.source, now)?;
        let mut messages = Vec::new();
        if !opened.is_new {
            history::close_left_open(db, &opened.id, now.epoch)?;
            messages = history::load_all(db, &opened.id)?;
            history::count(db, &opened.id, 1)?;
        }
        history::stage(db, &opened.id, &user, None, now.epoch)?;
        messages.push(user);
        (opened.id, opened.system, messages)
    };
    let messages = history::replay(messages, ctx.has_tools);
    take_lease(db, ctx.owner, &row.key, now.epoch)?;
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'claimed', owner_pid = ?2, owner_start = ?3, session_id = ?4 WHERE id = ?1",
    )?
    .execute(params![row.id, ctx.owner.pid, ctx.owner.start_column(), session_id])?;
    Ok(Claimed {
        prompt: Prompt { session_id, system, messages, ..Prompt::default() },
        inbox: InboxPart {
            id: row.id,
            session_key: row.key.clone(),
            remembers: event.dedup.is_some(),
            end_session: event.end_session,
            delivery: event.delivery,
            platform: event.source.platform,
            chat_id: event.source.chat_id.unwrap_or_default(),
            postponed: row.postponed,
        },
    })
}

/// The turn of an earlier process goes on from what is stored. `None`: someone deleted the session meanwhile.
fn resume(
    db: &Connection,
    ctx: &SessionContext,
    id: &str,
    source: &Source,
    now: &Now,
) -> rusqlite::Result<Option<(String, String, Vec<Message>)>> {
    let stored: Option<Option<String>> = db
        .prepare_cached("SELECT system_prompt FROM sessions WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    let Some(stored) = stored else { return Ok(None) };
    let system = session::current_prompt(db, ctx, id, stored, source, now)?;
    Ok(Some((id.to_owned(), system, history::load_all(db, id)?)))
}

/// `false`: held by someone else.
fn take_lease(db: &Connection, me: Owner, key: &str, now: f64) -> rusqlite::Result<bool> {
    let taken = db
        .prepare_cached(
            "INSERT INTO hermes_lease(session_key, owner_pid, owner_start, taken_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![key, me.pid, me.start_column(), now])?;
    Ok(taken == 1)
}

/// What came of the wish to begin a direct turn.
#[derive(Debug)]
pub(super) enum Begun {
    /// The session's turn runs elsewhere; ask again.
    Leased,
    /// Its results belong to no call of the session. Nothing is stored.
    UnknownCalls,
    /// The user row is stored.
    Started { prompt: Prompt, lease: String },
}

/// Begins a direct turn: its session is leased under its key where it has one, else under its id. What is refused leaves nothing.
pub(super) fn begin_direct(
    db: &Connection,
    ctx: &SessionContext,
    turn: &DirectTurn,
) -> rusqlite::Result<Begun> {
    db.execute_batch("SAVEPOINT begin_direct")?;
    let begun = try_begin(db, ctx, turn)?;
    let end = match begun {
        Begun::UnknownCalls => "ROLLBACK TO begin_direct; RELEASE begin_direct",
        Begun::Leased | Begun::Started { .. } => "RELEASE begin_direct",
    };
    db.execute_batch(end)?;
    Ok(begun)
}

fn try_begin(db: &Connection, ctx: &SessionContext, turn: &DirectTurn) -> rusqlite::Result<Begun> {
    let now = Now::in_zone(&ctx.zone);
    let id = turn.session.id();
    let row: Option<(Option<String>, Option<String>)> = db
        .prepare_cached("SELECT session_key, system_prompt FROM sessions WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let key = row.as_ref().and_then(|(key, _)| key.clone());
    let lease = key.filter(|key| !key.is_empty()).unwrap_or_else(|| id.to_owned());
    if !take_lease(db, ctx.owner, &lease, now.epoch)? {
        // The other one may be dead.
        recover::recover(db, ctx.owner)?;
        if !take_lease(db, ctx.owner, &lease, now.epoch)? {
            return Ok(Begun::Leased);
        }
    }
    let source =
        Source { platform: "api_server".to_owned(), user_id: turn.user.clone(), ..Source::default() };
    let is_new = row.is_none();
    let mut system = match row {
        Some((_, stored)) => session::current_prompt(db, ctx, id, stored, &source, &now)?,
        None => {
            session::create(
                db,
                ctx,
                &NewSession { id: Some(id), source: &source, session_key: None, messages: 0 },
                &now,
            )?
            .system
        }
    };
    if !is_new {
        history::close_left_open(db, id, now.epoch)?;
    }
    let calls_tools = ctx.has_tools
        || turn.options.contains_key("tools")
        || turn.input.iter().any(|message| message.role == Role::Tool);
    let mut messages = match &turn.session {
        DirectSession::Continue(_) => history::load_all(db, id)?,
        DirectSession::Fresh(_) => turn.history.clone(),
    };
    let before: &[Message] = if is_new { &turn.history } else { &[] };
    let unknown = &turn.input[usize::from(!is_new && history::ends_with_calls(db, id, &turn.input)?)..];
    match &turn.session {
        DirectSession::Continue(_) => {
            messages.extend_from_slice(unknown);
            messages = history::replay(messages, calls_tools);
            let mut results = unknown.iter().filter(|message| message.role == Role::Tool);
            if !results.all(|result| messages.contains(result)) {
                return Ok(Begun::UnknownCalls);
            }
        }
        // As the client sent it.
        DirectSession::Fresh(_) => messages.extend_from_slice(&turn.input),
    }
    for new in before.iter().chain(unknown) {
        history::stage(db, id, new, None, now.epoch)?;
    }
    history::publish(db)?;
    history::count(db, id, before.len() + unknown.len())?;
    if let Some(own) = turn.system.as_deref().filter(|text| !text.is_empty()) {
        if !system.is_empty() {
            system.push_str("\n\n");
        }
        system.push_str(own);
    }
    let options = turn.options.clone();
    Ok(Begun::Started { prompt: Prompt { session_id: id.to_owned(), system, messages, options }, lease })
}
