//! What somebody chose for the conversation of a chat: another model, nothing asked before what is dangerous.
//!
//! It stands in the chat's routing entry (`model_override` as 0.19.0 has it), and goes with the conversation: a new one begins without.
//! What is chosen before a conversation has begun waits in the entry for it.

use rusqlite::{Connection, OptionalExtension as _};
use serde_json::{Value, json};

use super::ending::is_reopened;
use super::known::COMPRESSION;
use super::routing::{self, Found, Scopes};
use super::{Now, SessionContext};
use crate::engine::Choice;
use crate::inbound::Source;

/// Field of an entry: the model.
pub(crate) const MODEL: &str = "model_override";
/// Likewise: nobody is asked.
pub(crate) const UNASKED: &str = "hermes_unasked";
/// Likewise: what the next conversation begins with.
const NEXT: &str = "hermes_next";

/// What was chosen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub(crate) model: Option<Choice>,
    pub(crate) unasked: bool,
}

/// What was chosen for the conversation that the next message of a chat belongs to.
pub(crate) fn find(db: &Connection, scopes: &Scopes, key: &str) -> rusqlite::Result<Chosen> {
    let Some(found) = routing::find(db, scopes, key)? else { return Ok(Chosen::default()) };
    let fields = if goes_on(db, &found)? { &found.entry } else { &found.entry[NEXT] };
    Ok(read(fields))
}

fn read(fields: &Value) -> Chosen {
    let text = |key: &str| {
        fields[MODEL][key].as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let model = text("model").map(|model| Choice { model, provider: text("provider") });
    Chosen { model, unasked: fields[UNASKED].as_bool().unwrap_or(false) }
}

/// Chooses, or takes the choice back.
pub(crate) fn set(
    db: &Connection,
    scopes: &Scopes,
    (key, source): (&str, &Source),
    field: &str,
    value: Option<Value>,
    now: &Now,
) -> rusqlite::Result<()> {
    let found = routing::find(db, scopes, key)?;
    let goes_on = found.as_ref().map(|found| goes_on(db, found)).transpose()?.unwrap_or(false);
    let also_upstream = found.as_ref().is_some_and(|found| found.in_upstream_scope);
    let mut entry = match found {
        Some(found) => found.entry,
        None => routing::new_entry(key, "", source, now),
    };
    let fields = if goes_on { &mut entry } else { &mut entry[NEXT] };
    if !fields.is_object() {
        *fields = json!({});
    }
    match value {
        Some(value) => fields[field] = value,
        None => drop(fields.as_object_mut().and_then(|fields| fields.remove(field))),
    }
    routing::put(db, scopes, key, &entry, now.epoch, also_upstream)
}

/// Puts what waited for a new conversation into its entry.
pub(super) fn take_over(entry: &mut Value, before: Option<&Found>) {
    let Some(next) = before.and_then(|found| found.entry[NEXT].as_object()) else { return };
    for field in [MODEL, UNASKED] {
        if let Some(value) = next.get(field) {
            entry[field] = value.clone();
        }
    }
}

/// Whether the session of an entry goes on with the next message.
fn goes_on(db: &Connection, found: &Found) -> rusqlite::Result<bool> {
    let Some(id) = found.session_id() else { return Ok(false) };
    let ended: Option<(bool, Option<String>)> = db
        .prepare_cached("SELECT ended_at IS NOT NULL, end_reason FROM sessions WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    Ok(ended.is_some_and(|(ended, reason)| {
        !ended || is_reopened(reason.as_deref()) || reason.as_deref() == Some(COMPRESSION)
    }))
}

/// The id of the session that goes on with the next message of a chat.
pub(crate) fn current(db: &Connection, scopes: &Scopes, key: &str) -> rusqlite::Result<Option<String>> {
    let Some(found) = routing::find(db, scopes, key)? else { return Ok(None) };
    Ok(if goes_on(db, &found)? { found.session_id().map(str::to_owned) } else { None })
}

/// Has the next message of a chat belong to another session of it, which goes on; the one before is over.
pub(crate) fn switch(
    db: &Connection,
    ctx: (&Scopes, &super::Shapes),
    (key, source): (&str, &Source),
    id: &str,
    now: &Now,
) -> rusqlite::Result<()> {
    let (scopes, shapes) = ctx;
    let shape = shapes.of(db)?;
    if let Some(before) = current(db, scopes, key)?.filter(|before| before != id) {
        super::ending::end_in(db, shape, &before, "session_switch", now.epoch)?;
    }
    super::known::reopen(db, id, now.epoch)?;
    let found = routing::find(db, scopes, key)?;
    let also_upstream = found.as_ref().is_some_and(|found| found.in_upstream_scope);
    let mut entry = routing::new_entry(key, id, source, now);
    if let Some(found) = &found
        && found.entry["transport_profile"].is_string()
    {
        entry["transport_profile"] = found.entry["transport_profile"].clone();
    }
    routing::put(db, scopes, key, &entry, now.epoch, also_upstream)
}

impl SessionContext {
    /// Who answers a turn for which this was chosen, where that is another than the profile's.
    pub(crate) fn model_of(&self, choice: &Choice) -> crate::engine::ModelId {
        self.engine.model_of(Some(choice))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE gateway_routing(scope TEXT, session_key TEXT, entry_json TEXT, updated_at REAL,
                PRIMARY KEY(scope, session_key));
             CREATE TABLE sessions(id TEXT PRIMARY KEY, ended_at REAL, end_reason TEXT);
             INSERT INTO sessions VALUES ('s', NULL, NULL);",
        )
        .unwrap();
        db
    }

    #[test]
    fn a_choice_is_of_one_conversation_and_waits_for_the_first() {
        let db = db();
        let scopes = Scopes { own: "coder".into(), upstream: "/h/sessions".into() };
        let now = Now::in_zone(&jiff::tz::TimeZone::UTC);
        let source = Source { platform: "telegram".into(), ..Source::default() };
        let choose = |value: Option<Value>| set(&db, &scopes, ("k", &source), MODEL, value, &now).unwrap();
        let model = || find(&db, &scopes, "k").unwrap().model.map(|choice| choice.model);
        assert_eq!(model(), None);
        choose(Some(json!({"model": "m2", "provider": "p"})));
        assert_eq!(model().as_deref(), Some("m2"), "it waits");
        let found = routing::find(&db, &scopes, "k").unwrap();
        let mut entry = routing::new_entry("k", "s", &source, &now);
        take_over(&mut entry, found.as_ref());
        routing::put(&db, &scopes, "k", &entry, 1.0, false).unwrap();
        assert_eq!(model().as_deref(), Some("m2"));
        assert_eq!(current(&db, &scopes, "k").unwrap().as_deref(), Some("s"));
        db.execute_batch("UPDATE sessions SET ended_at = 1, end_reason = 'session_reset'").unwrap();
        assert_eq!(model(), None, "the next conversation begins without");
        choose(Some(json!({"model": "m3"})));
        choose(None);
        assert_eq!((model(), current(&db, &scopes, "k").unwrap()), (None, None));
    }
}
