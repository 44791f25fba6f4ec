//! Claiming items of the inbox: which ones, and what becomes of each.

use std::collections::BTreeMap;

use hermes_config::chats;
use rusqlite::{Connection, params};
use serde_json::Value;

use super::attempt::attempt;
use super::begin::{Begun, begin};
use super::command::{self, Command};
use super::lease::{Lease, NotNow};
use super::runs::{self, Due};
use super::{Item, SessionRef, Turn};
use crate::delivery::ledger;
use crate::delivery::signs::Waits;
use crate::engine::{Choice, Message, Prompt, Role};
use crate::inbound::{Inbound, Source, with_context};
use crate::inbox::postpone::{self, Postponed};
use crate::inbox::{self, recover, steered};
use crate::runs as record;
use crate::session::chosen::{self, Chosen};
use crate::session::lease::Refused;
use crate::session::{self, Known, Now, Opening, SessionContext, history};
use crate::tools::asking;

/// What somebody hears who answers a question that nobody asks.
const NOTHING_ASKED: &str = "Nothing waits for an approval here; it may have run out of time.";

/// A claimed item, ready for the engine.
#[derive(Debug)]
pub(super) struct Claimed {
    pub(super) prompt: Prompt,
    pub(super) lease: Lease,
    pub(super) item: Item,
}

/// A row that waits.
struct Waiting {
    id: i64,
    key: String,
    payload: Option<String>,
    /// Set when it was claimed before: its user row exists.
    session_id: Option<String>,
    postponed: Postponed,
    /// It waited for another program when it was last tried.
    was_leased: bool,
}

/// What a look at the inbox brought.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) claimed: Vec<Claimed>,
    /// Others wait until the suspects have run.
    pub(super) held: bool,
    /// There was as much to claim as there was room for, so there may be more.
    pub(super) full: bool,
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
pub(super) fn claim(db: &Connection, opening: Opening<'_>, look: Look) -> rusqlite::Result<Claims> {
    let Look { room, careful, apart } = look;
    let (mut waiting, held) = match suspects(db)? {
        Suspects::None => (Vec::new(), false),
        Suspects::Running => (Vec::new(), apart),
        Suspects::Waiting => (select(db, SUSPECTED, 1)?, apart),
    };
    if !held {
        waiting.append(&mut select(db, UNSUSPECTED, room.saturating_sub(waiting.len()))?);
    }
    let full = room > 0 && waiting.len() >= room;
    let mut claimed = Vec::with_capacity(waiting.len());
    for row in waiting {
        let parsed = row.payload.as_deref().and_then(inbox::run::read);
        match parsed {
            Some(event) if careful => {
                let work = || {
                    let claimed = claim_one(db, opening, &row, event)?;
                    history::publish(db)?;
                    Ok(claimed)
                };
                let aside = |error: rusqlite::Error| {
                    set_aside(db, &row, &error.to_string(), opening.now).map(|()| None)
                };
                claimed.extend(attempt(db, work, aside)?);
            }
            Some(event) => claimed.extend(claim_one(db, opening, &row, event)?),
            None => set_aside(db, &row, "unreadable payload", opening.now)?,
        }
    }
    Ok(Claims { claimed, held, full })
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
    "SELECT id, session_key, payload, session_id, postponed, postponed_at, fault FROM hermes_inbox AS i
    WHERE state = 'waiting' AND suspect = 0
      AND NOT EXISTS (SELECT 1 FROM hermes_lease AS l WHERE l.session_key = i.session_key)
    ORDER BY id LIMIT ?1";

/// Those that never died alone, or were there at fewer ends, come first: the innocent ones are done before the culprit dies again.
const SUSPECTED: &str =
    "SELECT id, session_key, payload, session_id, postponed, postponed_at, fault FROM hermes_inbox AS i
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
                was_leased: row.get::<_, Option<String>>(6)?.as_deref() == Some(postpone::LEASED_FAULT),
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
    steered::failed(db, &row.key, error, now.epoch)?;
    record::fail_item(db, row.id, error, now.epoch)?;
    recover::promote(db, &row.key)
}

/// Somebody answers what was not asked, or not any more: that is said, and no turn's business.
fn nothing_asked(db: &Connection, row: &Waiting, event: &Inbound, now: f64) -> rusqlite::Result<()> {
    let Source { platform, chat_id, .. } = &event.source;
    if ledger::is_kept(&event.delivery) {
        let chat_id = chat_id.as_deref().unwrap_or_default();
        let session = row.session_id.as_deref().unwrap_or_default();
        ledger::add(db, session, platform, chat_id, &event.delivery, NOTHING_ASKED, now)?;
    }
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'done', payload = NULL, finished_at = ?2 WHERE id = ?1",
    )?
    .execute(params![row.id, now])?;
    recover::promote(db, &row.key)
}

/// The turn of a message.
fn said(key: String, source: Source, text: String, is_command: bool) -> Turn {
    let said = Message::new(Role::User, Value::String(text));
    // A command is no part of the conversation.
    let input = if is_command { Vec::new() } else { vec![said] };
    Turn { input, ..Turn::new(source, SessionRef::Keyed(key)) }
}

/// What is otherwise in the turn of a chat: by what somebody chose for its conversation, else by what the profile's files say of it.
fn wish(db: &Connection, ctx: &SessionContext, turn: &mut Turn, key: &str) -> rusqlite::Result<()> {
    let overlay = ctx.overlay.text();
    if turn.source.chat_type == "webhook" {
        turn.system = overlay;
        return Ok(());
    }
    let Chosen { model, unasked } = chosen::find(db, &ctx.scopes, key)?;
    turn.wishes.unasked = unasked;
    let source = &turn.source;
    let settings = ctx.chats.get(source.platform.as_str());
    let own = settings.and_then(|settings| of_chat(&settings.overrides, source));
    let of_files = || {
        let own = own?;
        let model = own.model.clone().unwrap_or_else(|| ctx.model.model.clone());
        (own.model.is_some() || own.provider.is_some())
            .then(|| Choice { model, provider: own.provider.clone() })
    };
    // Whoever has no model of its own has none to be changed.
    turn.wishes.model = model.or_else(of_files).filter(|_| ctx.engine.takes_options());
    let prompts = [
        own.and_then(|own| own.system_prompt.as_ref()),
        settings.and_then(|settings| of_chat(&settings.prompts, source)),
        overlay.as_ref(),
    ];
    let system: Vec<&str> = prompts.into_iter().flatten().map(String::as_str).collect();
    turn.system = (!system.is_empty()).then(|| system.join("\n\n"));
    Ok(())
}

/// What is said of a thread, else of its chat, else of the chat that that belongs to.
fn of_chat<'m, T>(map: &'m BTreeMap<String, T>, source: &Source) -> Option<&'m T> {
    let own = chats::of(map, source.chat_id.as_deref(), source.thread_id.as_deref());
    own.or_else(|| map.get(source.parent_chat_id.as_deref()?))
}

/// `None`: its session's turn runs elsewhere. In another program: then the item is put off, without losing its place.
fn claim_one(
    db: &Connection,
    opening: Opening<'_>,
    row: &Waiting,
    mut event: Inbound,
) -> rusqlite::Result<Option<Claimed>> {
    if !command::is_retry(&event) {
        let command = Command::of(&event);
        return claim_as(db, opening, row, event, command);
    }
    // Where the turn does not begin now, the question stays where it is.
    db.execute_batch("SAVEPOINT retry")?;
    let command = match asked_last(db, opening, row)? {
        Some(question) => {
            db.prepare_cached(
                "UPDATE hermes_inbox SET payload = json_set(payload, '$.text', ?2) WHERE id = ?1",
            )?
            .execute(params![row.id, question])?;
            event.text = question;
            None
        }
        None => Some(Command::NothingToRetry),
    };
    let claimed = claim_as(db, opening, row, event, command)?;
    db.execute_batch(if claimed.is_some() { "RELEASE retry" } else { "ROLLBACK TO retry; RELEASE retry" })?;
    Ok(claimed)
}

/// Takes the last question of a chat back.
fn asked_last(db: &Connection, opening: Opening<'_>, row: &Waiting) -> rusqlite::Result<Option<String>> {
    let (_, known) = session::find_routed(db, opening, &row.key)?;
    let Known::Row(found) = known else { return Ok(None) };
    Ok(history::rewind(db, &found.id)?.map(|taken| taken.question).filter(|question| !question.is_empty()))
}

fn claim_as(
    db: &Connection,
    opening: Opening<'_>,
    row: &Waiting,
    event: Inbound,
    command: Option<Command>,
) -> rusqlite::Result<Option<Claimed>> {
    if event.source.chat_type != "webhook" && asking::is_command(&event.text) {
        return nothing_asked(db, row, &event, opening.now.epoch).map(|()| None);
    }
    let run = event.delivery.run().map(str::to_owned);
    let mut opening = opening;
    let turn = if let Some(id) = &run {
        match runs::due(db, id, event.source, opening.now.epoch)? {
            Due::Turn(turn) => *turn,
            Due::Stopped => return Ok(None),
            Due::Nothing(why) => return set_aside(db, row, &why, opening.now).map(|()| None),
        }
    } else {
        let text = with_context(event.context.as_deref(), event.text);
        let mut turn = said(row.key.clone(), event.source, text, command.is_some());
        wish(db, opening.ctx, &mut turn, &row.key)?;
        turn
    };
    let model = turn.wishes.model.as_ref().map(|choice| opening.ctx.model_of(choice));
    opening.model = model.as_ref();
    let is_open = opening.ctx.is_steered;
    let (prompt, lease) = match begin(db, opening, &turn, row.session_id.as_deref(), is_open)? {
        Begun::Started { prompt, lease } => (*prompt, lease),
        Begun::NotNow(NotNow::Ours) | Begun::UnknownCalls | Begun::Over(_) => return Ok(None),
        Begun::NotNow(NotNow::Others(refused)) => {
            let wait = match refused {
                Refused::Held(_) => postpone::LEASED,
                Refused::Unknown(_) => postpone::UNGUARDED,
            };
            postpone::until_free(db, row.id, refused.why(), wait, opening.now.epoch)?;
            if !row.was_leased {
                tracing::warn!(session_key = row.key, "a message waits: {}", refused.why());
            }
            return Ok(None);
        }
    };
    let owner = opening.ctx.owner;
    db.prepare_cached(
        "UPDATE hermes_inbox SET state = 'claimed', owner_pid = ?2, owner_start = ?3, session_id = ?4, session_key = ?5
         WHERE id = ?1",
    )?
    .execute(params![row.id, owner.pid, owner.start_column(), prompt.session_id, lease.key])?;
    if lease.key != row.key {
        // The session that a client named goes on in another: from now on it waits there, and what waits here need not.
        recover::promote(db, &row.key)?;
    }
    if let Some(run) = &run {
        let goes_on = row.session_id.is_some();
        record::begin(db, run, &prompt.session_id, goes_on, opening.now.epoch)?;
    }
    let item = Item {
        id: row.id,
        remembers: event.dedup.is_some(),
        end_session: command.as_ref().and_then(Command::ends).map(str::to_owned).or(event.end_session),
        delivery: event.delivery,
        platform: turn.source.platform,
        chat_type: turn.source.chat_type,
        chat_id: turn.source.chat_id.unwrap_or_default(),
        postponed: row.postponed,
        command,
        run,
        is_stored: !matches!(turn.session, SessionRef::Fresh(_)),
        waits: Waits::default(),
    };
    Ok(Some(Claimed { prompt, lease, item }))
}
