//! Sessions: ids, origins, the routing index and stored history, as 0.19.0 writes and reads them.
//!
//! Everything here runs inside a job of the store's writer, so a session, its routing entry and its first message appear
//! together or not at all.

pub(crate) mod history;
pub(crate) mod mirror;
pub(crate) mod routing;

use std::hash::{BuildHasher, RandomState};

use jiff::civil;
use jiff::tz::TimeZone;
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json};

use crate::engine::ModelId;
use crate::inbound::Source;
use crate::store::Owner;
use hermes_host::clock;

use routing::Scopes;

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
    /// What new sessions record.
    pub(crate) model: ModelId,
    /// The engine calls tools of its own, so its prompts hold what came of earlier calls.
    pub(crate) has_tools: bool,
    /// Where routing entries live.
    pub(crate) scopes: Scopes,
    /// Local time.
    pub(crate) zone: TimeZone,
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

/// The session of a key: the one its routing entry names while that is open, else a new one, which counts the `messages` that are
/// about to be added already. The entry is brought up to date.
pub(crate) fn open_for_key(
    db: &Connection,
    opening: Opening<'_>,
    key: &str,
    source: &Source,
    messages: usize,
) -> rusqlite::Result<Opened> {
    let Opening { ctx, now, .. } = opening;
    let found = routing::find(db, &ctx.scopes, key)?;
    let id = found.as_ref().and_then(|found| found.session_id());
    let known = id.map(|id| reopen(db, opening, id, source)).transpose()?.flatten();
    if let (Some(opened), Some(found)) = (known, &found) {
        let mut entry = found.entry.clone();
        entry["updated_at"] = Value::String(now.iso());
        routing::put(db, &ctx.scopes, key, &entry, now.epoch, found.in_upstream_scope)?;
        return Ok(opened);
    }
    let row = NewSession { id: None, source, session_key: Some(key), messages };
    let opened = create(db, opening, &row)?;
    let entry = routing::new_entry(key, &opened.id, source, now);
    let in_upstream_scope = found.is_some_and(|found| found.in_upstream_scope);
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
                              model, system_prompt, started_at, message_count)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) ON CONFLICT(id) DO NOTHING",
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
            ctx.model.model,
            system,
            now.epoch,
            i64::try_from(new.messages).unwrap_or(i64::MAX),
        ])?;
        // Taken: by another session of this second. A given id was looked up before, so the loop ends for it too.
        if inserted == 1 || new.id.is_some() {
            return Ok(Opened { id, system, is_new: true });
        }
    }
}

/// The session `id`, if it exists and is not over. Its stored prompt is reused byte for byte while model and provider are the same.
fn reopen(
    db: &Connection,
    opening: Opening<'_>,
    id: &str,
    source: &Source,
) -> rusqlite::Result<Option<Opened>> {
    let row = db
        .prepare_cached("SELECT ended_at IS NOT NULL, end_reason, system_prompt FROM sessions WHERE id = ?1")?
        .query_row([id], |row| {
            Ok((row.get::<_, bool>(0)?, row.get::<_, Option<String>>(1)?, row.get::<_, Option<String>>(2)?))
        })
        .optional()?;
    let Some((ended, reason, stored)) = row else { return Ok(None) };
    if ended {
        // Ends that only said that a client went away.
        if !matches!(reason.as_deref(), Some("agent_close" | "ws_orphan_reap")) {
            return Ok(None);
        }
        db.execute("UPDATE sessions SET ended_at = NULL, end_reason = NULL WHERE id = ?1", [id])?;
    }
    let system = current_prompt(db, opening, id, stored, source)?;
    Ok(Some(Opened { id: id.to_owned(), system, is_new: false }))
}

/// The stored prompt, or a new one that is stored from now on.
pub(crate) fn current_prompt(
    db: &Connection,
    opening: Opening<'_>,
    id: &str,
    stored: Option<String>,
    source: &Source,
) -> rusqlite::Result<String> {
    let ctx = opening.ctx;
    if let Some(stored) = stored.filter(|text| names_model(text, &ctx.model)) {
        return Ok(stored);
    }
    let built = build_prompt(opening, id, source);
    db.prepare_cached("UPDATE sessions SET system_prompt = ?2, model = ?3 WHERE id = ?1")?
        .execute(params![id, built, ctx.model.model])?;
    Ok(built)
}

fn build_prompt(opening: Opening<'_>, id: &str, source: &Source) -> String {
    let Opening { ctx, prompts, now } = opening;
    prompts(&PromptContext { session_id: id, source, model: &ctx.model, today: now.local.date() })
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
    if let Some(alt) = &source.user_id_alt {
        origin["user_id_alt"] = Value::String(alt.clone());
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
