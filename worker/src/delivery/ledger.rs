//! Rows of `hermes_delivery`: the ledger of what is on its way out.
//!
//! A row belongs to a *lane*: the messages to one chat, in the order in which they were written. Only the head of a lane is ever sent, so
//! that order holds however often it is tried; lanes know nothing of each other. A row has a key of its own for life, under which every
//! try is sent. What a process was sending when it died is *ambiguous*: it may have got there. It is marked so and sent again.
//!
//! Only a head has a time (`next_attempt_at`): looking for what is due passes over nothing that waits behind one. Whoever finishes a
//! head gives the next row its time, in the same transaction.
//!
//! A long message goes out in parts: `sent` says how many of its bytes got there. Each part has its own key. A file is a row of its own,
//! behind the text that it came with. What its chat has been shown of an answer already is the message `preview_id`: the first part takes
//! its place. What becomes of a row that cannot be sent as it is says [`then`](super::then()).

use std::collections::BTreeMap;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest as _, Sha256};

use super::outbound::{Outbounds, Sent, Unsent};
use super::parcel::Parcel;
use crate::inbound::DeliveryTarget;
use crate::store::Owner;

/// Waits before the second and later tries; after the last one it has failed.
const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(2),
    Duration::from_hours(4),
    Duration::from_hours(8),
];

/// Longest wait that a service may ask for.
const ASKED: Duration = Duration::from_hours(8);

/// What is being sent: few rows of a ledger that may be long.
const SENDING: &str = "SELECT id, platform, chat_id, owner_pid, owner_start FROM hermes_delivery
    WHERE finished_at IS NULL AND state = 'sending'";

/// Likewise.
const EMPTY: &str = "SELECT NOT EXISTS (SELECT 1 FROM hermes_delivery WHERE finished_at IS NULL)";

/// Rows looked at for one that may be sent.
const LOOK: u32 = 256;

/// [`Due::form`] of what is said instead of something else; nothing is said instead of that.
pub(super) const LAST: i64 = 2;

/// A message that is to be sent now.
#[derive(Debug)]
pub(super) struct Due {
    pub(super) id: i64,
    pub(super) platform: String,
    pub(super) chat_id: String,
    pub(super) target: DeliveryTarget,
    /// All of it.
    pub(super) content: String,
    /// Bytes of it that got there.
    pub(super) sent: usize,
    pub(super) key: String,
    /// An earlier try may have got there.
    pub(super) ambiguous: bool,
    /// The message that shows its beginning.
    pub(super) preview: Option<String>,
    /// It comes as a new message all the same, and that one goes.
    pub(super) fresh: bool,
    /// It is a file.
    pub(super) file: Option<Parcel>,
    /// How often it took another form.
    pub(super) form: i64,
    /// Tries so far, this one included.
    pub(super) attempts: u32,
}

impl Due {
    /// The key of the part that is sent now.
    pub(super) fn key(&self) -> String {
        if self.sent == 0 { self.key.clone() } else { format!("{}-{}", self.key, self.sent) }
    }
}

/// What a look at the ledger brought.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Marked as being sent by this process.
    pub(super) due: Vec<Due>,
    /// When the head of another lane is due.
    pub(super) next: Option<f64>,
    /// Another process works on this ledger too: what it does is not heard of.
    pub(super) shared: bool,
}

/// What is under way in this process.
#[derive(Debug, Clone, Default)]
pub(super) struct UnderWay {
    /// Rows.
    pub(super) ids: Vec<i64>,
    /// Rows whose try is over and whose outcome is not written yet: they may have got there.
    pub(super) unwritten: Vec<i64>,
    /// How many of each kind.
    pub(super) kinds: BTreeMap<String, usize>,
    /// How many more there may be.
    pub(super) room: usize,
}

/// Whether answers for `target` go through the ledger; the log needs none, and a run keeps its own.
pub(crate) fn is_kept(target: &DeliveryTarget) -> bool {
    !matches!(target.kind.as_str(), "" | "log") && target.run().is_none()
}

/// Adds an answer, behind all others to its chat.
pub(crate) fn add(
    db: &Connection,
    session: &str,
    platform: &str,
    chat_id: &str,
    target: &DeliveryTarget,
    text: &str,
    now: f64,
) -> rusqlite::Result<()> {
    let extra = serde_json::to_string(&target.extra).expect("a map of strings always serialises");
    db.prepare_cached(
        "INSERT INTO hermes_delivery(session_id, platform, chat_id, kind, extra, content, state, next_attempt_at, created_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending', ?7, ?7)",
    )?
    .execute(params![session, platform, chat_id, target.kind, extra, text, now])?;
    Ok(())
}

/// A message to a chat that is no answer of a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Letter<'a> {
    /// The session that sends it.
    pub(crate) session: &'a str,
    /// Where it goes, for logs.
    pub(crate) platform: &'a str,
    /// Likewise.
    pub(crate) chat_id: &'a str,
    /// Where it goes.
    pub(crate) target: &'a DeliveryTarget,
    /// What it says.
    pub(crate) text: &'a str,
}

/// The key of what a tool's call sends: the same call sends it once, however often it is made.
pub(crate) fn key_of(session: &str, call: &str) -> String {
    let mut hash = Sha256::new();
    for part in [session, call] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether something stands in the ledger under a key, sent or not.
pub(crate) fn is_known(db: &Connection, key: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("SELECT EXISTS (SELECT 1 FROM hermes_delivery WHERE key = ?1)")?
        .query_row([key], |row| row.get(0))
}

/// Adds a message under a key of its own, behind all others to its chat. `false`: it is there already.
pub(crate) fn add_once(db: &Connection, key: &str, letter: &Letter<'_>, now: f64) -> rusqlite::Result<bool> {
    if is_known(db, key)? {
        return Ok(false);
    }
    let Letter { session, platform, chat_id, target, text } = *letter;
    add(db, session, platform, chat_id, target, text, now)?;
    db.prepare_cached("UPDATE hermes_delivery SET key = ?1 WHERE id = last_insert_rowid()")?
        .execute([key])?;
    Ok(true)
}

/// Marks heads of lanes that are due as being sent by `me`, as many as there is room for. Rows of a process that died in the middle
/// are due.
pub(super) fn take_due(
    db: &Connection,
    me: Owner,
    ways: &Outbounds,
    under_way: &UnderWay,
    now: f64,
) -> rusqlite::Result<Taken> {
    let shared = is_shared(db, me)?;
    if is_empty(db)? {
        return Ok(Taken { shared, ..Taken::default() });
    }
    free_dead(db, me, &under_way.ids, now)?;
    assign_lanes(db, ways)?;
    if shared {
        set_heads(db, now)?;
    }
    let mut kinds = under_way.kinds.clone();
    let has_room = |kinds: &BTreeMap<String, usize>, kind: &str| {
        let most = ways.get(kind).map_or(usize::MAX, |way| way.abilities().at_once.max(1));
        kinds.get(kind).is_none_or(|now| *now < most)
    };
    let full: Vec<&String> = kinds.keys().filter(|kind| !has_room(&kinds, kind)).collect();
    let full = serde_json::to_string(&full).expect("a list of strings always serialises");
    let heads: Vec<Due> = db
        .prepare_cached(
            "SELECT id, platform, chat_id, kind, extra, content, sent, key, ambiguous, attempts + 1, preview_id, fresh, file, form
             FROM hermes_delivery AS row
             WHERE finished_at IS NULL AND state = 'pending' AND next_attempt_at <= ?1
               AND kind NOT IN (SELECT value FROM json_each(?2))
               AND NOT EXISTS (SELECT 1 FROM hermes_delivery AS other
                   WHERE other.finished_at IS NULL AND other.lane = row.lane AND other.id < row.id)
             ORDER BY next_attempt_at, id LIMIT ?3",
        )?
        .query_map(params![now, full, LOOK], |row| {
            let extra = serde_json::from_str(row.get_ref(4)?.as_str()?).unwrap_or_default();
            let content = row.get::<_, Option<String>>(5)?.unwrap_or_default();
            let sent: usize = row.get::<_, i64>(6)?.try_into().unwrap_or(usize::MAX);
            Ok(Due {
                id: row.get(0)?,
                platform: row.get(1)?,
                chat_id: row.get(2)?,
                target: DeliveryTarget { kind: row.get(3)?, extra },
                sent: sent.min(content.len()),
                content,
                key: row.get(7)?,
                ambiguous: row.get(8)?,
                attempts: row.get(9)?,
                preview: row.get(10)?,
                fresh: row.get(11)?,
                file: row.get::<_, Option<String>>(12)?.and_then(|file| serde_json::from_str(&file).ok()),
                form: row.get(13)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut due = Vec::new();
    for head in heads {
        if due.len() == under_way.room {
            break;
        }
        if has_room(&kinds, &head.target.kind) {
            *kinds.entry(head.target.kind.clone()).or_default() += 1;
            due.push(head);
        }
    }
    for row in &due {
        db.prepare_cached(
            "UPDATE hermes_delivery SET state = 'sending', attempts = ?2, owner_pid = ?3, owner_start = ?4 WHERE id = ?1",
        )?
        .execute(params![row.id, row.attempts, me.pid, me.start_column()])?;
    }
    let next = db
        .prepare_cached(
            "SELECT min(next_attempt_at) FROM hermes_delivery AS row
             WHERE finished_at IS NULL AND state = 'pending' AND next_attempt_at > ?1
               AND NOT EXISTS (SELECT 1 FROM hermes_delivery AS other
                   WHERE other.finished_at IS NULL AND other.lane = row.lane AND other.id < row.id)",
        )?
        .query_row([now], |row| row.get(0))
        .optional()?
        .flatten();
    Ok(Taken { due, next, shared })
}

/// Gives new rows, and those of an older version, their lane and their key.
fn assign_lanes(db: &Connection, ways: &Outbounds) -> rusqlite::Result<()> {
    let fresh: Vec<(i64, String, String, String)> = db
        .prepare_cached(
            "SELECT id, kind, chat_id, extra FROM hermes_delivery WHERE lane = '' AND finished_at IS NULL ORDER BY id",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, kind, chat_id, extra) in fresh {
        let extra = serde_json::from_str(&extra).unwrap_or_default();
        let target = DeliveryTarget { kind, extra };
        let lane = lane_of(ways, &target, &chat_id);
        db.prepare_cached(
            "UPDATE hermes_delivery SET lane = ?2, key = CASE key WHEN '' THEN lower(hex(randomblob(16))) ELSE key END,
                next_attempt_at = CASE WHEN EXISTS (SELECT 1 FROM hermes_delivery AS other
                    WHERE other.finished_at IS NULL AND other.lane = ?2 AND other.id < ?1) THEN NULL ELSE next_attempt_at END
             WHERE id = ?1",
        )?
        .execute(params![id, lane])?;
    }
    Ok(())
}

/// Rows of a process that is gone, and of this one where it is not at them any more: whether they got there is not known.
fn free_dead(db: &Connection, me: Owner, under_way: &[i64], now: f64) -> rusqlite::Result<()> {
    let owned: Vec<(i64, String, String, Owner)> = db
        .prepare_cached(SENDING)?
        .query_map([], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, Owner::from_columns(row.get(3)?, row.get(4)?)))
        })?
        .collect::<rusqlite::Result<_>>()?;
    for (id, platform, chat_id, owner) in owned {
        let lives = if owner == me { under_way.contains(&id) } else { owner.is_alive() };
        if lives {
            continue;
        }
        tracing::warn!(
            "[{platform}] Whether the response for {chat_id} got there is not known; it is sent again"
        );
        db.prepare_cached(
            "UPDATE hermes_delivery SET state = 'pending', next_attempt_at = ?2, ambiguous = 1, owner_pid = NULL,
                owner_start = NULL
             WHERE id = ?1",
        )?
        .execute(params![id, now])?;
    }
    Ok(())
}

/// Whether nothing is on its way. So it is at most starts, which then need none of the statements about what is.
fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    db.prepare_cached(EMPTY)?.query_row([], |row| row.get(0))
}

/// Whether another living process runs turns of this home.
fn is_shared(db: &Connection, me: Owner) -> rusqlite::Result<bool> {
    let all: Vec<Owner> = db
        .prepare_cached("SELECT pid, start FROM hermes_life")?
        .query_map([], |row| Ok(Owner::from_columns(row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(all.into_iter().any(|owner| owner != me && owner.is_alive()))
}

/// What this process was sending is pending again; the try did not count. What it had begun may have got there, what was only marked did
/// not.
pub(super) fn give_back(db: &Connection, me: Owner, under_way: &UnderWay) -> rusqlite::Result<()> {
    let begun: Vec<i64> = under_way.ids.iter().chain(&under_way.unwritten).copied().collect();
    let begun = serde_json::to_string(&begun).expect("a list of numbers always serialises");
    db.execute(
        "UPDATE hermes_delivery SET state = 'pending', attempts = attempts - 1, owner_pid = NULL, owner_start = NULL,
            ambiguous = ambiguous OR id IN (SELECT value FROM json_each(?3))
         WHERE finished_at IS NULL AND state = 'sending' AND owner_pid = ?1 AND owner_start = ?2",
        params![me.pid, me.start_column(), begun],
    )?;
    Ok(())
}

/// How a try of the first `bytes` of what was left went.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) due: Due,
    pub(super) bytes: usize,
    pub(super) result: Result<Sent, Unsent>,
}

impl Tried {
    /// The wait before the next try of this part, if there is one.
    pub(super) fn retry_in(&self) -> Option<Duration> {
        self.result.as_ref().err().and_then(|unsent| retry_in(self.due.attempts, unsent))
    }

    /// It got there, and there is more.
    pub(super) fn goes_on(&self) -> bool {
        self.result.is_ok() && self.due.sent + self.bytes < self.due.content.len()
    }
}

/// What follows from a try; see [`then`](super::then()).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Then {
    /// Nothing more than what the try says.
    AsIs,
    /// The row becomes this text, in its place.
    Instead { text: String, form: i64 },
    /// It has failed, and this is said behind all that waits.
    Notice(&'static str),
}

/// Writes down how a try went, and what follows from it.
pub(super) fn record(db: &Connection, tried: &Tried, then: &Then, now: f64) -> rusqlite::Result<()> {
    let Tried { due, bytes, result } = tried;
    if let Then::Instead { text, form } = then {
        return instead(db, due, text, *form, now);
    }
    let is_over = !tried.goes_on() && tried.retry_in().is_none();
    match result {
        Ok(Sent { id }) => {
            let more = tried.goes_on();
            let sent = i64::try_from(due.sent + bytes).unwrap_or(i64::MAX);
            db.prepare_cached(
                "UPDATE hermes_delivery SET state = CASE WHEN ?2 THEN 'pending' ELSE 'done' END,
                    next_attempt_at = CASE WHEN ?2 THEN ?3 END, finished_at = CASE WHEN ?2 THEN NULL ELSE ?3 END,
                    attempts = CASE WHEN ?2 THEN 0 ELSE attempts END, content = CASE WHEN ?2 THEN content END, sent = ?4,
                    message_id = COALESCE(?5, message_id), last_error = NULL, owner_pid = NULL, owner_start = NULL
                 WHERE id = ?1",
            )?
            .execute(params![due.id, more, now, sent, id])?;
        }
        Err(unsent) => {
            let again = tried.retry_in().map(|wait| now + wait.as_secs_f64());
            let unsure = matches!(unsent, Unsent::Later { unsure: true, .. });
            let asked = matches!(unsent, Unsent::Later { after: Some(_), .. });
            db.prepare_cached(
                "UPDATE hermes_delivery SET state = CASE WHEN ?2 IS NULL THEN 'failed' ELSE 'pending' END,
                    next_attempt_at = ?2, finished_at = CASE WHEN ?2 IS NULL THEN ?3 END, ambiguous = ambiguous OR ?4,
                    last_error = ?5, asked = ?6, owner_pid = NULL, owner_start = NULL
                 WHERE id = ?1",
            )?
            .execute(params![due.id, again, now, unsure, unsent.to_string(), asked])?;
        }
    }
    if let Then::Notice(text) = then {
        db.prepare_cached(
            "INSERT INTO hermes_delivery(session_id, platform, chat_id, kind, extra, content, state, next_attempt_at, created_at, lane, key,
                form)
             SELECT session_id, platform, chat_id, kind, extra, ?2, 'pending', NULL, ?3, lane, lower(hex(randomblob(16))), ?4
             FROM hermes_delivery WHERE id = ?1",
        )?
        .execute(params![due.id, text, now, LAST])?;
    }
    if is_over {
        db.prepare_cached(
            "UPDATE hermes_delivery SET next_attempt_at = ?2 WHERE next_attempt_at IS NULL AND id =
                (SELECT min(id) FROM hermes_delivery WHERE finished_at IS NULL
                    AND lane = (SELECT lane FROM hermes_delivery WHERE id = ?1))",
        )?
        .execute(params![due.id, now])?;
    }
    Ok(())
}

/// The row says something else from now on, under another key: what it said was refused as it is, so it is nowhere.
fn instead(db: &Connection, due: &Due, text: &str, form: i64, now: f64) -> rusqlite::Result<()> {
    // A part that is not the first one stays so, for whoever quotes in the first.
    let key = if due.sent == 0 { format!("{}p", due.key) } else { format!("{}-{}p", due.key, due.sent) };
    db.prepare_cached(
        "UPDATE hermes_delivery SET state = 'pending', next_attempt_at = ?2, content = ?3, key = ?4, form = ?5, file = NULL, sent = 0,
            attempts = 0, ambiguous = 0, preview_id = NULL, owner_pid = NULL, owner_start = NULL
         WHERE id = ?1",
    )?
    .execute(params![due.id, now, text, key, form])
    .map(drop)
}

/// Whether nothing waits in the lane of a target.
pub(crate) fn is_free(
    db: &Connection,
    ways: &Outbounds,
    target: &DeliveryTarget,
    chat_id: &str,
) -> rusqlite::Result<bool> {
    assign_lanes(db, ways)?;
    db.prepare_cached(
        "SELECT NOT EXISTS (SELECT 1 FROM hermes_delivery WHERE finished_at IS NULL AND lane = ?1)",
    )?
    .query_row([lane_of(ways, target, chat_id)], |row| row.get(0))
}

fn lane_of(ways: &Outbounds, target: &DeliveryTarget, chat_id: &str) -> String {
    let chat = ways.get(&target.kind).and_then(|way| way.chat(target));
    format!("{} {}", target.kind, chat.as_deref().unwrap_or(chat_id))
}

/// What waits for another try to targets of a kind is due: what its tries failed by is over. A wait that the service asked for goes on. The
/// try that follows does not count, so that a connection that comes and goes uses no answer's tries up. Returns how many there were.
pub(super) fn hurry(db: &Connection, kind: &str, now: f64) -> rusqlite::Result<usize> {
    db.prepare_cached(
        "UPDATE hermes_delivery SET next_attempt_at = ?2, attempts = attempts - 1
         WHERE finished_at IS NULL AND state = 'pending' AND kind = ?1 AND asked = 0 AND attempts > 0 AND next_attempt_at > ?2",
    )?
    .execute(params![kind, now])
}

/// Gives heads without a time one: of lanes whose head was finished by a program that knows nothing of this, or taken out by hand.
pub(super) fn set_heads(db: &Connection, now: f64) -> rusqlite::Result<()> {
    if is_empty(db)? {
        return Ok(());
    }
    db.prepare_cached(
        "UPDATE hermes_delivery AS row SET next_attempt_at = ?1
         WHERE finished_at IS NULL AND state = 'pending' AND next_attempt_at IS NULL
           AND NOT EXISTS (SELECT 1 FROM hermes_delivery AS other
               WHERE other.finished_at IS NULL AND other.lane = row.lane AND other.id < row.id)",
    )?
    .execute([now])
    .map(drop)
}

/// How long to wait before another try, if there is one. What the service asks for makes it longer, never shorter: a try counts
/// whoever set its time, and ten of them one second apart would be the end of an answer after ten seconds.
pub(super) fn retry_in(attempts: u32, unsent: &Unsent) -> Option<Duration> {
    match unsent {
        Unsent::Never { .. } => None,
        Unsent::Later { after, .. } => {
            let done = usize::try_from(attempts).unwrap_or(usize::MAX);
            let wait = *WAITS.get(done.saturating_sub(1))?;
            Some(after.map_or(wait, |asked| asked.min(ASKED).max(wait)))
        }
    }
}

#[cfg(test)]
mod tests;
