//! The search index of messages, which is another program's too.
//!
//! `messages_fts` and `messages_fts_trigram` have had four layouts. Up to schema 22 each holds a copy of what it indexes; since then
//! both read `messages` or a view of it, and whoever removes a row from one must say what was in it. Triggers of one layout on
//! tables of another make inserts fail or leave hits that lead nowhere. So:
//!
//! - An index is made by us only in a file that has nothing of one and no sign that a newer program had a part in it ([`is_ours`]). One
//!   that is there in part is left so: its triggers were dropped on purpose, or by a program that could not use them, and the rows that
//!   came meanwhile are in no index; 0.19.0 and the newer programs build it anew when they find that. We search in none.
//! - What we change in an index that is there is three things of which the text is known to the letter ([`settle`]), at every change
//!   of the file's schema, whoever made it: when the file is opened, and before the first transaction after the change, under the same
//!   lock. So no row is ever inserted beside a trigger that fails.

use std::collections::BTreeSet;

use hermes_wire::absence::OrAbsent as _;
use rusqlite::{Connection, ErrorCode};

use super::{Object, columns, objects};

/// The triggers of the index whose tokenizer is an extension that can be missing.
const CJK: [&str; 3] = ["messages_fts_cjk_insert", "messages_fts_cjk_delete", "messages_fts_cjk_update"];

/// How an update trigger of ours began once. It fired at every change of a row: beside triggers of newer programs that change a row
/// in its own insert, it put that row into the index before its insert did, which failed.
const BROAD: &str = " AFTER UPDATE ON messages BEGIN";
/// How it begins now: only what is indexed counts.
const NARROW: &str = " AFTER UPDATE OF content, tool_name, tool_calls, role ON messages BEGIN";

/// The indexes that every file has whose search is whole.
pub(crate) const INDEXES: [&str; 2] = ["messages_fts", "messages_fts_trigram"];

/// What fills an index of ours that is empty.
pub(super) fn filling(index: &str) -> String {
    format!(
        "INSERT INTO {index}(rowid, content) SELECT id,
         COALESCE(content, '') || ' ' || COALESCE(tool_name, '') || ' ' || COALESCE(tool_calls, '') FROM messages"
    )
}

/// Makes the indexes anew from the messages, in a file that no newer program has a part in; `false`: it is such a file. For somebody who
/// wants just that: whatever is there of an index goes. Within a transaction that has the write lock.
pub(crate) fn rebuild(db: &Connection) -> rusqlite::Result<bool> {
    let have = super::names(db)?;
    let is_foreign = have.contains(INDEXES[0]) && columns(db, INDEXES[0])?.contains("tool_name");
    if is_foreign || is_newer(db, &have)? {
        return Ok(false);
    }
    for object in objects().filter(|object| is_part(object.name)) {
        let kind = if object.kind == "TRIGGER" { "TRIGGER" } else { "TABLE" };
        db.execute_batch(&format!("DROP {kind} IF EXISTS {}", object.name))?;
    }
    for object in objects().filter(|object| is_part(object.name)) {
        db.execute_batch(object.sql)?;
        if object.kind == "VIRTUAL" {
            db.execute_batch(&filling(object.name))?;
        }
    }
    db.execute("DELETE FROM state_meta WHERE key = 'fts_stale'", [])?;
    Ok(true)
}

/// Whether an object belongs to a search index.
pub(super) fn is_part(name: &str) -> bool {
    name.starts_with("messages_fts")
}

/// Whether the index is made by us: nothing of any is there, and no newer program is at work on the file. `have`: its objects.
pub(super) fn is_ours(db: &Connection, have: &BTreeSet<String>) -> rusqlite::Result<bool> {
    if have.iter().any(|name| is_part(name) || name.starts_with("fts_v22_trash_")) {
        return Ok(false);
    }
    // What a newer program notes of its index, `fts_stale` and how far a rebuild came among it. A file of 0.19.0 has no such key.
    let noted = have.contains("state_meta")
        && db.query_row("SELECT EXISTS (SELECT 1 FROM state_meta WHERE key GLOB 'fts_*')", [], |row| {
            row.get(0)
        })?;
    // Who rebuilds an index holds a lock on a file beside the database. The file stays; that cannot be told from a rebuild without
    // taking the lock. That it cannot be looked at does not mean that it is not there.
    let locked = db.path().filter(|path| !path.is_empty()).is_some_and(|path| {
        !matches!(fs_err::metadata(format!("{path}.fts_rebuild.lock")).or_absent(), Ok(None))
    });
    Ok(!noted && !locked)
}

/// Whether a newer program made this file or has begun to migrate it. It writes its version last.
pub(super) fn is_newer(db: &Connection, have: &BTreeSet<String>) -> rusqlite::Result<bool> {
    Ok(have.contains("system_prompts")
        || (have.contains("messages") && columns(db, "messages")?.contains("display_kind")))
}

/// What was changed in an index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Update triggers that fire for what is indexed only, from now on.
    pub(super) narrowed: Vec<&'static str>,
    /// Triggers of an index whose tokenizer is not there: dropped, and the index marked as stale.
    pub(super) detached: bool,
    /// Triggers of schema 22 on tables of a newer layout: dropped, and both indexes marked as stale.
    pub(super) misplaced: bool,
}

impl Settled {
    /// Says it in the log.
    pub(crate) fn log(&self, path: &str) {
        if !self.narrowed.is_empty() {
            tracing::info!(
                path,
                triggers = self.narrowed.join(", "),
                "the search index follows only what it indexes"
            );
        }
        if self.detached {
            tracing::warn!(
                path,
                "the index messages_fts_cjk needs a tokenizer that is not there, and is followed no more: `sessions \
                 optimize-storage` of the program that made it builds it anew"
            );
        }
        if self.misplaced {
            tracing::warn!(
                path,
                "an older program put its search triggers on a newer program's index; they are removed, and the newer program builds \
                 the index anew when it opens the file"
            );
        }
    }
}

/// Makes the triggers such that rows can be written. Within a transaction that has the write lock.
pub(crate) fn settle(db: &Connection) -> rusqlite::Result<Settled> {
    let mut settled = Settled::default();
    let triggers = triggers(db)?;
    if triggers.iter().any(|(name, _)| CJK.contains(&name.as_str())) && !opens(db, "messages_fts_cjk")? {
        // First the mark: a process that ends between the two leaves an index that nobody believes. This is what the program
        // that made it does where it lacks the tokenizer.
        mark(db, "fts_cjk_stale")?;
        for name in CJK {
            db.execute_batch(&format!("DROP TRIGGER IF EXISTS {name}"))?;
        }
        settled.detached = true;
    }
    for object in objects().filter(|object| object.kind == "TRIGGER") {
        let Some((_, text)) = triggers.iter().find(|(name, _)| name == object.name) else { continue };
        let ours = *text == object.sql || *text == broad(object);
        if ours && columns(db, index(object.name))?.contains("tool_name") {
            // 0.19.0 opens newer files, and puts back the triggers that it misses. On a table that reads another they make inserts of
            // tool calls fail. All six go, as in a file whose index is stale: rows that one of them lets pass are in no index.
            mark(db, "fts_stale")?;
            for object in objects().filter(|object| object.kind == "TRIGGER") {
                db.execute_batch(&format!("DROP TRIGGER IF EXISTS {}", object.name))?;
            }
            settled.misplaced = true;
            break;
        }
        if ours && *text != object.sql {
            db.execute_batch(&format!("DROP TRIGGER {}; {}", object.name, object.sql))?;
            settled.narrowed.push(object.name);
        }
    }
    Ok(settled)
}

/// The index that a trigger follows changes for.
fn index(trigger: &str) -> &'static str {
    if trigger.starts_with("messages_fts_trigram") { "messages_fts_trigram" } else { "messages_fts" }
}

/// The text that 0.19.0 gives a trigger, and ours once did.
fn broad(object: Object<'_>) -> String {
    object.sql.replacen(NARROW, BROAD, 1)
}

/// Name and text of what follows the changes of messages.
fn triggers(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut select =
        db.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'messages'")?;
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Whether an index can be used: what it is made of is there. A tokenizer is looked for when there is something to take apart.
fn opens(db: &Connection, index: &str) -> rusqlite::Result<bool> {
    let looked =
        db.query_row(&format!("SELECT EXISTS (SELECT 1 FROM {index} WHERE {index} MATCH 'a')"), [], |_| {
            Ok(())
        });
    match looked.as_ref().map_err(rusqlite::Error::sqlite_error_code) {
        // That it is damaged is for who searches in it.
        Ok(()) | Err(Some(ErrorCode::DatabaseCorrupt)) => Ok(true),
        Err(Some(ErrorCode::Unknown)) => Ok(false),
        Err(_) => looked.map(|()| true),
    }
}

fn mark(db: &Connection, key: &str) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO state_meta(key, value) VALUES (?1, '1') ON CONFLICT(key) DO UPDATE SET value = excluded.value",
        [key],
    )
    .map(drop)
}

#[cfg(test)]
mod tests;
