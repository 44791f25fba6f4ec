//! Sessions: ids, origins, the routing index and stored history, as 0.19.0 writes and reads them.
//!
//! Everything here runs inside a job of the store's writer, so a session, its routing entry and its first message appear
//! together or not at all.
//!
//! **Newer homes.** Columns and tables that newer programs add are filled where the file has them ([`shape`]) and left alone otherwise: the
//! system prompt under its hash ([`frozen`]), whose session it is and whose bot received it, how many conversations a chat had
//! ([`ending`]). What is not ours to know (pinned and hidden sessions, tool lists, times of activity) is never written, and NULL in
//! our rows; time of use follows from the messages. Which session a conversation goes on in, is [`known`].
//!
//! **Long ones** are made shorter in one place, [`compact`]; what somebody wants gone goes in one, [`delete`], and is named in one, [`titles`].
//!
//! **No children.** A session that follows a reset begins without a parent, as in 0.19.0. So `_reset_from`, the mark that tells such a
//! child from a continuation of its parent, has nothing to tell apart.

pub(crate) mod agents;
pub(crate) mod chosen;
pub(crate) mod compact;
pub(crate) mod delete;
mod ending;
mod frozen;
pub(crate) mod history;
mod known;
pub(crate) mod lease;
pub(crate) mod mirror;
pub(crate) mod overheard;
mod overlay;
pub(crate) mod resource;
pub(crate) mod routing;
mod shape;
pub(crate) mod titles;

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use hermes_config::chats::AllChats;
use jiff::civil;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};

use crate::engine::{Engine, ModelId};
use crate::inbound::Source;
use crate::store::Owner;
use hermes_host::clock;

pub(crate) use ending::{end, end_by_id};
use known::State;
pub(crate) use known::{Known, Row};
pub use overlay::Overlay;
use routing::{Found, Scopes};
pub(crate) use shape::Shapes;

/// A time that is one, as a condition on a column of seconds since the epoch: what a damaged page left is none.
pub(crate) const SANE: &str = "BETWEEN 1 AND 1e11";

/// What a system prompt may depend on, besides the profile. It is built once per session and stored with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptContext<'a> {
    /// Session id.
    pub session_id: &'a str,
    /// Origin; only `platform` and `user_id` are set for direct turns.
    pub source: &'a Source,
    /// Model and provider that the session records.
    pub model: &'a ModelId,
    /// Today, in the profile's time zone.
    pub today: civil::Date,
}

/// Builds system prompts from what was read before. Called on the writer thread, once per new session: it reads nothing.
pub type Prompts = std::sync::Arc<dyn Fn(&PromptContext<'_>) -> String + Send + Sync>;

/// Reads what system prompts need of the profile's files. May block, and so is called before a transaction begins.
pub type PromptReader = std::sync::Arc<dyn Fn() -> Prompts + Send + Sync>;

/// What all jobs that touch sessions share.
pub(crate) struct SessionContext {
    /// This process.
    pub(crate) owner: Owner,
    /// Who answers.
    pub(crate) engine: Arc<dyn Engine>,
    /// What new sessions record.
    pub(crate) model: ModelId,
    /// What is otherwise in single chats.
    pub(crate) chats: AllChats,
    /// What is told in all of them behind the stored prompt.
    pub(crate) overlay: Overlay,
    /// The engine calls tools of its own, so its prompts hold what came of earlier calls.
    pub(crate) has_tools: bool,
    /// Messages that come during a turn can be put into it.
    pub(crate) is_steered: bool,
    /// Where routing entries live.
    pub(crate) scopes: Scopes,
    /// What the file has.
    pub(crate) shapes: Shapes,
    /// Local time.
    pub(crate) zone: TimeZone,
    /// What was learned of the turns of other programs.
    pub(crate) leases: lease::Watch,
}

impl SessionContext {
    /// The profile whose bot received what `source` says.
    fn receiver<'a>(&'a self, source: &'a Source) -> &'a str {
        source.received_by.as_deref().unwrap_or(&self.scopes.own)
    }
}

/// What a job needs in order to open sessions.
#[derive(Clone, Copy)]
pub(crate) struct Opening<'a> {
    /// What all jobs share.
    pub(crate) ctx: &'a SessionContext,
    /// System prompts, from files as they were just now.
    pub(crate) prompts: &'a Prompts,
    /// When it is.
    pub(crate) now: &'a Now,
    /// Who answers, where that is not the profile's model.
    pub(crate) model: Option<&'a ModelId>,
}

impl<'a> Opening<'a> {
    /// Who answers.
    fn model(self) -> &'a ModelId {
        self.model.unwrap_or(&self.ctx.model)
    }
}

/// One instant, in the two spellings the database knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// Seconds since the epoch.
    pub(crate) epoch: f64,
    /// Wall clock in the profile's time zone.
    pub(crate) local: civil::DateTime,
}

impl Now {
    pub(crate) fn in_zone(zone: &TimeZone) -> Self {
        let now = clock::utc();
        Self { epoch: seconds(now), local: now.to_zoned(zone.clone()).datetime() }
    }

    /// Naive local time with microseconds, as routing entries have it.
    pub(crate) fn iso(&self) -> String {
        self.local.strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()
    }

    /// `YYYYMMDD_HHMMSS_<8 hex>`; not yet known to be unused.
    fn session_id(&self) -> String {
        // Randomly keyed per thread and different at every call: 32 bits of it tell ids of one second apart.
        let low = RandomState::new().hash_one(self.local) & 0xffff_ffff;
        format!("{}_{low:08x}", self.local.strftime("%Y%m%d_%H%M%S"))
    }
}

/// Seconds since the epoch, now.
pub(crate) fn epoch() -> f64 {
    seconds(clock::utc())
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit the 53 bits for 280 years")]
fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_microsecond() as f64 / 1e6
}

/// A session that a turn may use.
pub(crate) struct Opened {
    /// Its id.
    pub(crate) id: String,
    /// Its system prompt.
    pub(crate) system: String,
    /// It was created just now, so there is no history yet.
    pub(crate) is_new: bool,
}

/// What there is of the session `id`, or of the one that it goes on in.
pub(crate) fn find(db: &Connection, opening: Opening<'_>, id: &str) -> rusqlite::Result<Known> {
    known::find(db, opening.ctx.shapes.of(db)?, id, opening.now.epoch)
}

/// The key of the session `id`, where it has one.
pub(crate) fn key_of(db: &Connection, id: &str) -> rusqlite::Result<Option<String>> {
    let key: Option<Option<String>> = db
        .prepare_cached("SELECT session_key FROM sessions WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(key.flatten().filter(|key| !key.is_empty()))
}

/// The session that takes the rows of a turn that began in the session `id`.
pub(crate) fn line_of<'a>(
    db: &Connection,
    ctx: &SessionContext,
    id: &'a str,
    now: f64,
) -> rusqlite::Result<Cow<'a, str>> {
    let other = known::line_of(db, ctx.shapes.of(db)?, id, now)?;
    Ok(other.map_or(Cow::Borrowed(id), Cow::Owned))
}

/// The routing entry of a key, and the session that it names while that goes on.
pub(crate) fn find_routed(
    db: &Connection,
    opening: Opening<'_>,
    key: &str,
) -> rusqlite::Result<(Option<Found>, Known)> {
    let found = routing::find(db, &opening.ctx.scopes, key)?;
    let id = found.as_ref().and_then(|found| found.session_id());
    let known = match id.map(|id| find(db, opening, id)).transpose()? {
        None | Some(Known::Row(Row { state: State::Over, .. })) => Known::Nothing,
        Some(known) => known,
    };
    Ok((found, known))
}

/// Goes on in a session. Its stored prompt is reused byte for byte while model and provider are the same.
pub(crate) fn go_on(
    db: &Connection,
    opening: Opening<'_>,
    row: Row,
    source: &Source,
) -> rusqlite::Result<Opened> {
    let Row { id, prompt, state, .. } = row;
    if state == State::Reopened {
        known::reopen(db, &id, opening.now.epoch)?;
    }
    let system = current_prompt(db, opening, &id, prompt, source)?;
    Ok(Opened { id, system, is_new: false })
}

/// The session of a key: `row`, else a new one, which counts the `messages` that are about to be added already. The entry is brought up to
/// date; what others keep in it stays.
pub(crate) fn open_for_key(
    db: &Connection,
    opening: Opening<'_>,
    key: &str,
    source: &Source,
    messages: usize,
    routed: (Option<Found>, Option<Row>),
) -> rusqlite::Result<Opened> {
    let Opening { ctx, now, .. } = opening;
    let (found, row) = routed;
    let in_upstream_scope = found.as_ref().is_some_and(|found| found.in_upstream_scope);
    let (opened, entry) = if let (Some(row), Some(found)) = (row, &found) {
        let opened = go_on(db, opening, row, source)?;
        let mut entry = found.entry.clone();
        entry["session_id"] = Value::String(opened.id.clone());
        entry["updated_at"] = Value::String(now.iso());
        (opened, entry)
    } else {
        let row = NewSession { id: None, source, session_key: Some(key), messages };
        let opened = create(db, opening, &row)?;
        let mut entry = routing::new_entry(key, &opened.id, source, now);
        chosen::take_over(&mut entry, found.as_ref());
        if ctx.shapes.of(db)?.transport_profile {
            entry["transport_profile"] = ctx.receiver(source).into();
        }
        (opened, entry)
    };
    routing::put(db, &ctx.scopes, key, &entry, now.epoch, in_upstream_scope)?;
    Ok(opened)
}

/// A session row to be made.
pub(crate) struct NewSession<'a> {
    /// Given by the client, or made up.
    pub(crate) id: Option<&'a str>,
    /// Origin.
    pub(crate) source: &'a Source,
    /// Key; direct sessions have none.
    pub(crate) session_key: Option<&'a str>,
    /// Rows that the caller is about to add.
    pub(crate) messages: usize,
}

/// Inserts a session with its system prompt.
pub(crate) fn create(
    db: &Connection,
    opening: Opening<'_>,
    new: &NewSession<'_>,
) -> rusqlite::Result<Opened> {
    let Opening { ctx, now, .. } = opening;
    let source = new.source;
    let origin = new.session_key.map(|_| origin(source).to_string());
    let name = source.chat_name.as_ref().or(source.user_name.as_ref());
    let mut insert = db.prepare_cached(
        "INSERT INTO sessions(id, source, user_id, session_key, chat_id, chat_type, thread_id, display_name, origin_json,
                              model, system_prompt, started_at, message_count, profile_name)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT(id) DO NOTHING",
    )?;
    loop {
        let id = new.id.map_or_else(|| now.session_id(), str::to_owned);
        let system = build_prompt(opening, &id, source);
        let inserted = insert.execute(params![
            id,
            source.platform,
            source.user_id,
            new.session_key,
            source.chat_id,
            new.session_key.map(|_| &source.chat_type),
            source.thread_id,
            name,
            origin,
            opening.model().model,
            system,
            now.epoch,
            i64::try_from(new.messages).unwrap_or(i64::MAX),
            ctx.scopes.own,
        ])?;
        if inserted == 1 {
            let shape = ctx.shapes.of(db)?;
            frozen::share(db, shape, &id, &system)?;
            // A client's session has no bot.
            if shape.transport_profile && new.session_key.is_some() {
                db.prepare_cached("UPDATE sessions SET transport_profile = ?2 WHERE id = ?1")?
                    .execute([&id, ctx.receiver(source)])?;
            }
        }
        // Taken: by another session of this second. A given id was looked up before, so the loop ends for it too.
        if inserted == 1 || new.id.is_some() {
            return Ok(Opened { id, system, is_new: true });
        }
    }
}

/// The stored prompt, or a new one that is stored from now on.
fn current_prompt(
    db: &Connection,
    opening: Opening<'_>,
    id: &str,
    stored: Option<String>,
    source: &Source,
) -> rusqlite::Result<String> {
    let ctx = opening.ctx;
    if let Some(stored) = stored.filter(|text| names_model(text, opening.model())) {
        return Ok(stored);
    }
    let built = build_prompt(opening, id, source);
    db.prepare_cached("UPDATE sessions SET system_prompt = ?2, model = ?3 WHERE id = ?1")?
        .execute(params![id, built, opening.model().model])?;
    frozen::share(db, ctx.shapes.of(db)?, id, &built)?;
    Ok(built)
}

fn build_prompt(opening: Opening<'_>, id: &str, source: &Source) -> String {
    let Opening { prompts, now, .. } = opening;
    prompts(&PromptContext { session_id: id, source, model: opening.model(), today: now.local.date() })
}

/// Builds the prompt of a session anew, and stores it.
pub(crate) fn rebuild_prompt(db: &Connection, opening: Opening<'_>, id: &str) -> rusqlite::Result<String> {
    let (platform, user_id) = db
        .prepare_cached("SELECT source, user_id FROM sessions WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let source = Source { platform, user_id, ..Source::default() };
    current_prompt(db, opening, id, None, &source)
}

/// Whether the prompt's last `Model:` and `Provider:` lines, where it has them, are those of `model`.
fn names_model(prompt: &str, model: &ModelId) -> bool {
    let says = |label: &str, expected: &str| {
        let line = prompt.lines().rev().find_map(|line| line.strip_prefix(label));
        line.is_none_or(|value| value.trim() == expected)
    };
    says("Model: ", &model.model) && says("Provider: ", &model.provider)
}

/// `origin_json`, and `origin` of routing entries.
pub(crate) fn origin(source: &Source) -> Value {
    let mut origin = json!({
        "platform": source.platform,
        "chat_id": source.chat_id,
        "chat_name": source.chat_name,
        "chat_type": source.chat_type,
        "user_id": source.user_id,
        "user_name": source.user_name,
        "thread_id": source.thread_id,
        "chat_topic": null,
    });
    for (key, value) in [("user_id_alt", &source.user_id_alt), ("parent_chat_id", &source.parent_chat_id)] {
        if let Some(value) = value {
            origin[key] = Value::String(value.clone());
        }
    }
    origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_times_look_like_those_of_0_19_0() {
        let now = Now { epoch: 0.5, local: civil::date(2026, 11, 21).at(1, 20, 39, 647_690_000) };
        assert_eq!(now.iso(), "2026-11-21T01:20:39.647690");
        let (a, b) = (now.session_id(), now.session_id());
        assert!(a.starts_with("20261121_012039_") && a.len() == 24, "{a}");
        assert_ne!(a, b);
    }

    #[test]
    fn a_prompt_is_kept_while_it_names_this_model() {
        let model = ModelId { model: "m".into(), provider: "custom".into() };
        let stored = "You are a sample.\n\nConversation started: Saturday\nModel: m\nProvider: custom";
        assert!(names_model(stored, &model));
        assert!(names_model("no lines at all", &model));
        assert!(!names_model(&stored.replace("Model: m", "Model: n"), &model));
        assert!(!names_model(&stored.replace("custom", "openrouter"), &model));
    }
}
