//! Beginning a turn, whoever asks: lease, session, and what is new of the conversation, in one transaction.

use rusqlite::Connection;

use super::busy::Marks;
use super::lease::{self, Lease, NotNow};
use super::{SessionRef, Turn};
use crate::delivery::ledger;
use crate::engine::{Message, Prompt, Role};
use crate::session::history::{Asked, Came};
use crate::session::lease::Refused;
use crate::session::routing::Found;
use crate::session::{self, Known, NewSession, Opened, Opening, Row, history, overheard};
use crate::tools::send_message;

/// What came of the wish to begin a turn.
#[derive(Debug)]
pub(super) enum Begun {
    /// The session's turn runs elsewhere; ask again. Nothing is stored.
    NotNow(NotNow),
    /// Its results belong to no call of the session. Nothing is stored.
    UnknownCalls,
    /// The question was asked before, and its turn is over. Nothing is stored.
    Over(Over),
    /// What is new is staged.
    Started { prompt: Box<Prompt>, lease: Lease },
}

/// A turn that is over.
#[derive(Debug)]
pub(super) struct Over {
    /// Its session.
    pub(super) session_id: String,
    /// What came of it.
    pub(super) came: Came,
}

/// Begins a turn. `resumed`: the session in which an earlier process began it. `is_open`: somebody may write into it while it runs, which its
/// prompt says. What is refused leaves nothing; what is new is staged.
pub(super) fn begin(
    db: &Connection,
    opening: Opening<'_>,
    turn: &Turn,
    resumed: Option<&str>,
    is_open: bool,
) -> rusqlite::Result<Begun> {
    let again = asked_again(db, opening, turn)?;
    let resumed = match &again {
        None | Some((_, Asked::CutOff)) => resumed,
        Some((_, Asked::Open)) => match &turn.session {
            SessionRef::Continue(id) => Some(id.as_str()),
            _ => resumed,
        },
        Some((session_id, Asked::Over(came))) => {
            return Ok(Begun::Over(Over { session_id: session_id.clone(), came: came.clone() }));
        }
    };
    // Nothing else is refused.
    if !turn.input.iter().any(|message| message.role == Role::Tool) {
        return try_begin(db, opening, turn, resumed, is_open);
    }
    db.execute_batch("SAVEPOINT begin_turn")?;
    let begun = try_begin(db, opening, turn, resumed, is_open)?;
    let end = match begun {
        Begun::UnknownCalls => "ROLLBACK TO begin_turn; RELEASE begin_turn",
        Begun::NotNow(_) | Begun::Started { .. } | Begun::Over(_) => "RELEASE begin_turn",
    };
    db.execute_batch(end)?;
    Ok(begun)
}

/// What there is in its session of a question that may be asked again, where it was asked before.
fn asked_again(
    db: &Connection,
    opening: Opening<'_>,
    turn: &Turn,
) -> rusqlite::Result<Option<(String, Asked)>> {
    let (SessionRef::Continue(id), Some(identity)) = (&turn.session, &turn.identity) else { return Ok(None) };
    let Known::Row(row) = session::find(db, opening, id)? else { return Ok(None) };
    Ok(history::asked(db, &row.id, identity)?.map(|asked| (row.id, asked)))
}

fn try_begin(
    db: &Connection,
    opening: Opening<'_>,
    turn: &Turn,
    resumed: Option<&str>,
    is_open: bool,
) -> rusqlite::Result<Begun> {
    let ctx = opening.ctx;
    let (way, known) = look_up(db, opening, turn, resumed)?;
    let row = match known {
        Known::Nothing => None,
        Known::Row(row) => Some(row),
        Known::Compressing => {
            let by = Refused::Held("another program is compressing this session".to_owned());
            return Ok(Begun::NotNow(NotNow::Others(by)));
        }
    };
    let key = match &turn.session {
        SessionRef::Keyed(key) => key,
        SessionRef::Continue(id) | SessionRef::Fresh(id) => {
            let (id, key) = row.as_ref().map_or((id, None), |row| (&row.id, row.key.as_ref()));
            key.filter(|key| !key.is_empty()).unwrap_or(id)
        }
    };
    let key = key.clone();
    let now = opening.now.epoch;
    // A row, or the id of one that is about to be made; for one that gets an id of its own there is nobody to wait for.
    let session = match (&row, &way) {
        (Some(row), _) => Some(row.id.as_str()),
        (None, Way::Id(id)) => Some(*id),
        (None, Way::Key(..)) => None,
    };
    let last_tokens = match &way {
        Way::Key(_, Some(found)) if row.as_ref().is_some_and(|row| found.session_id() == Some(&row.id)) => {
            found.last_tokens()
        }
        _ => 0,
    };
    let conversation = match lease::look(db, ctx, &key, session, now)? {
        Ok(conversation) => conversation,
        Err(not_now) => return Ok(Begun::NotNow(not_now)),
    };
    let goes_on = resumed.is_some() && matches!((&way, &row), (Way::Id(_), Some(_)));
    let Opened { id, system, is_new } = open(db, opening, turn, way, row)?;
    let conversation = conversation.unwrap_or_else(|| id.clone());
    let lease = lease::take(db, ctx.owner, key, conversation, &turn.source.platform, now)?;
    let begun = if goes_on { goes_on_from(db, opening, turn, &id)? } else { None };
    let messages = match begun {
        Some(messages) => Some(messages),
        None => take_in(db, opening, turn, &id, is_new)?,
    };
    let Some(messages) = messages else { return Ok(Begun::UnknownCalls) };
    if let Some(identity) = &turn.identity {
        history::identify(db, identity)?;
    }
    let marks = if is_open { Some(Marks::of(db, &id)?.guidance()) } else { None };
    let stored = system.len();
    let system = with_own(with_own(system, marks.as_deref()), turn.system.as_deref());
    let options = turn.options.clone();
    let platform = turn.source.platform.clone();
    let (route, wishes) = (turn.route.clone(), turn.wishes.clone());
    let (source, conversation) = (turn.source.clone(), lease.key.clone());
    let prompt = Prompt {
        session_id: id,
        platform,
        source,
        conversation,
        route,
        system,
        stored,
        last_tokens,
        messages,
        options,
        wishes,
    };
    Ok(Begun::Started { prompt: Box::new(prompt), lease })
}

/// How a turn comes to its session.
enum Way<'a> {
    /// By the session's id, or that of an earlier one of its line.
    Id(&'a str),
    /// By the key of its chat, and the routing entry that there is.
    Key(&'a str, Option<Found>),
}

/// What there is of the turn's session. Nothing is written yet.
fn look_up<'a>(
    db: &Connection,
    opening: Opening<'_>,
    turn: &'a Turn,
    resumed: Option<&'a str>,
) -> rusqlite::Result<(Way<'a>, Known)> {
    let key = match &turn.session {
        SessionRef::Continue(id) | SessionRef::Fresh(id) => {
            return Ok((Way::Id(id), session::find(db, opening, id)?));
        }
        SessionRef::Keyed(key) => key,
    };
    if let Some(id) = resumed {
        match session::find(db, opening, id)? {
            // Someone deleted it.
            Known::Nothing => {}
            known => return Ok((Way::Id(id), known)),
        }
    }
    let (found, known) = session::find_routed(db, opening, key)?;
    Ok((Way::Key(key, found), known))
}

/// The turn's session, made where there is none.
fn open(
    db: &Connection,
    opening: Opening<'_>,
    turn: &Turn,
    way: Way<'_>,
    row: Option<Row>,
) -> rusqlite::Result<Opened> {
    let source = &turn.source;
    let messages = turn.history.len() + turn.input.len();
    match (way, row) {
        (Way::Key(key, found), row) => {
            session::open_for_key(db, opening, key, source, messages, (found, row))
        }
        (Way::Id(_), Some(row)) => session::go_on(db, opening, row, source),
        (Way::Id(id), None) => {
            session::create(db, opening, &NewSession { id: Some(id), source, session_key: None, messages })
        }
    }
}

/// The conversation of a turn that an earlier process began, with a result for every call of its last step. `None`: while it waited,
/// somebody else had a turn in the session, and closed what was open.
fn goes_on_from(
    db: &Connection,
    opening: Opening<'_>,
    turn: &Turn,
    id: &str,
) -> rusqlite::Result<Option<Vec<Message>>> {
    if !history::is_open(db, id)? {
        return Ok(None);
    }
    let mut messages = history::load_all(db, id)?;
    for sent in letters(db, id, &messages)? {
        history::stage_step(db, id, &sent, opening.now.epoch)?;
        history::count(db, id, 1)?;
        messages.push(sent);
    }
    history::close_calls(db, id, &mut messages, opening.now.epoch)?;
    if let SessionRef::Fresh(_) = &turn.session {
        // What the caller brought is the history, whatever else there is in the session.
        let asked = messages.iter().rposition(|message| message.role == Role::User).unwrap_or(0);
        messages = turn.history.iter().cloned().chain(messages.split_off(asked)).collect();
    }
    Ok(Some(history::replay(messages, is_with_tools(opening, turn))))
}

/// Results of calls that were cut off and whose messages the ledger has: what became of those is known.
fn letters(db: &Connection, id: &str, messages: &[Message]) -> rusqlite::Result<Vec<Message>> {
    let mut results = Vec::new();
    for (call, name) in history::without_result(messages) {
        if name == send_message::NAME && ledger::is_known(db, &ledger::key_of(id, &call))? {
            results.push(Message::result(&call, &name, send_message::TAKEN.to_owned()));
        }
    }
    Ok(results)
}

/// Stores what is new, and gives the conversation. `None`: there are results in it that belong to no call.
fn take_in(
    db: &Connection,
    opening: Opening<'_>,
    turn: &Turn,
    id: &str,
    is_new: bool,
) -> rusqlite::Result<Option<Vec<Message>>> {
    let now = opening.now.epoch;
    if !is_new {
        history::close_left_open(db, id, now)?;
    }
    let before: &[Message] = if is_new { &turn.history } else { &[] };
    let known = usize::from(!is_new && history::ends_with_calls(db, id, &turn.input)?);
    let unknown = &turn.input[known..];
    let overheard = match &turn.session {
        SessionRef::Keyed(key) if !unknown.is_empty() => overheard::take(db, &turn.source, key)?,
        _ => None,
    };
    let messages = match &turn.session {
        // As the client sent it.
        SessionRef::Fresh(_) => turn.history.iter().chain(&turn.input).cloned().collect(),
        SessionRef::Continue(_) | SessionRef::Keyed(_) => {
            let mut messages = if is_new { Vec::new() } else { history::load_all(db, id)? };
            messages.extend(overheard.iter().map(|said| Message::new(Role::User, said.as_str().into())));
            messages.extend_from_slice(unknown);
            let messages = history::replay(messages, is_with_tools(opening, turn));
            let mut results = unknown.iter().filter(|message| message.role == Role::Tool);
            if !results.all(|result| messages.contains(result)) {
                return Ok(None);
            }
            messages
        }
    };
    for new in before {
        history::stage(db, id, new, None, now)?;
    }
    if let Some(said) = &overheard {
        history::stage_overheard(db, id, said, now)?;
        history::count(db, id, 1)?;
    }
    for new in unknown {
        history::stage(db, id, new, None, now)?;
    }
    if !is_new {
        history::count(db, id, unknown.len())?;
    }
    Ok(Some(messages))
}

/// Whether exchanges with tools are part of the prompt.
fn is_with_tools(opening: Opening<'_>, turn: &Turn) -> bool {
    opening.ctx.has_tools
        || turn.options.contains_key("tools")
        || turn.input.iter().any(|message| message.role == Role::Tool)
}

/// A system prompt, and behind it what else there is to say.
fn with_own(mut system: String, own: Option<&str>) -> String {
    if let Some(own) = own.filter(|text| !text.is_empty()) {
        if !system.is_empty() {
            system.push_str("\n\n");
        }
        system.push_str(own);
    }
    system
}
