//! The four answers: what fits, what is around a message, a whole session, the latest sessions. Bounded in number and length.

use std::collections::HashSet;

use hermes_host::zone;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::{Value, json};

use super::query;

/// Most hits that are looked at, to find enough sessions among them.
const HITS: usize = 300;
/// Messages around a hit, and at the beginning and the end of its session.
const AROUND: i64 = 5;
const ENDS: i64 = 3;
/// Bytes of messages in one answer.
const ROOM: usize = 36_000;
/// Longest line of sessions that continue each other.
const LINE: usize = 100;
/// Of a whole session: its first messages, and its last.
const FIRST: i64 = 20;
const LAST: i64 = 10;
/// Conversations that nobody had.
const HIDDEN: &str = "('tool', 'subagent')";

/// What is looked for.
pub(super) struct Wanted<'a> {
    pub(super) words: &'a str,
    pub(super) roles: &'a [&'a str],
    pub(super) sort: Option<&'a str>,
    pub(super) limit: usize,
}

struct Hit {
    id: i64,
    session: String,
    role: String,
    snippet: String,
}

/// The best sessions for some words.
pub(super) fn discover(db: &Connection, current: &str, wanted: &Wanted<'_>) -> rusqlite::Result<Value> {
    let hits = match query::expression(wanted.words) {
        Some(expression) => hits(db, &expression, wanted)?,
        None => Vec::new(),
    };
    let own = root(db, current)?;
    let mut seen = HashSet::new();
    let mut results = Vec::new();
    for hit in hits {
        let line = root(db, &hit.session)?;
        if line == own || !seen.insert(line.clone()) {
            continue;
        }
        let most = ROOM / (wanted.limit * usize::try_from(2 * AROUND + 1 + 2 * ENDS).unwrap_or(1));
        let Some(meta) = meta(db, &line)? else { continue };
        let (window, before, after) = around(db, &hit.session, hit.id, AROUND, most)?;
        let ends = |order: &str| {
            let sql = format!(
                "SELECT id, role, content, timestamp, tool_name FROM (SELECT * FROM messages WHERE session_id = ?1
                 AND role IN ('user', 'assistant') AND COALESCE(content, '') <> '' ORDER BY id {order} LIMIT ?2) ORDER BY id"
            );
            messages(db, &sql, params![hit.session, ENDS], None, most)
        };
        let mut result = json!({
            "session_id": hit.session,
            "when": meta["when"],
            "source": meta["source"],
            "model": meta["model"],
            "title": meta["title"],
            "matched_role": hit.role,
            "match_message_id": hit.id,
            "snippet": hit.snippet,
            "bookend_start": ends("ASC")?,
            "messages": window,
            "bookend_end": ends("DESC")?,
            "messages_before": before,
            "messages_after": after,
        });
        if line != hit.session {
            result["parent_session_id"] = line.into();
        }
        results.push(result);
        if results.len() >= wanted.limit {
            break;
        }
    }
    let mut answer = json!({"success": true, "mode": "discover", "query": wanted.words, "results": results, "count": results.len()});
    if results.is_empty() {
        answer["message"] = "No matching sessions found.".into();
    } else {
        answer["sessions_searched"] = seen.len().into();
    }
    Ok(answer)
}

fn hits(db: &Connection, expression: &str, wanted: &Wanted<'_>) -> rusqlite::Result<Vec<Hit>> {
    let order = match wanted.sort {
        Some("newest") => "m.id DESC",
        Some("oldest") => "m.id ASC",
        _ => "rank",
    };
    let sql = format!(
        "SELECT m.id, m.session_id, m.role, snippet(messages_fts, -1, '>>>', '<<<', '...', 40)
         FROM messages_fts JOIN messages m ON m.id = messages_fts.rowid JOIN sessions s ON s.id = m.session_id
         WHERE messages_fts MATCH ?1 AND s.source NOT IN {HIDDEN} AND m.role IN (SELECT value FROM json_each(?2))
         ORDER BY {order} LIMIT ?3"
    );
    let roles = json!(wanted.roles).to_string();
    let mut statement = db.prepare(&sql)?;
    let rows = statement
        .query_map(params![expression, roles, i64::try_from(HITS).unwrap_or(i64::MAX)], |row| {
            Ok(Hit { id: row.get(0)?, session: row.get(1)?, role: row.get(2)?, snippet: row.get(3)? })
        })?;
    rows.collect()
}

/// What is around a message.
pub(super) fn scroll(
    db: &Connection,
    current: &str,
    id: &str,
    anchor: i64,
    window: i64,
) -> rusqlite::Result<Value> {
    let refused = |error: String| Ok(json!({"success": false, "error": error}));
    if meta(db, id)?.is_none() {
        return refused(format!("session_id not found: {id}"));
    }
    let line = root(db, id)?;
    if line == root(db, current)? {
        return refused(
            "scroll rejected: anchor lives in the current session lineage (already in your active context)"
                .to_owned(),
        );
    }
    let owner: Option<String> = db
        .query_row("SELECT session_id FROM messages WHERE id = ?1", [anchor], |row| row.get(0))
        .optional()?;
    // One of a session that goes on from the named one is meant as well.
    let Some(owner) = owner.filter(|owner| root(db, owner).is_ok_and(|root| root == line)) else {
        return refused(format!("around_message_id {anchor} not in session_id {id}"));
    };
    let most = ROOM / usize::try_from(2 * window + 1).unwrap_or(1);
    let (messages, before, after) = around(db, &owner, anchor, window, most)?;
    Ok(json!({
        "success": true,
        "mode": "scroll",
        "session_id": owner,
        "around_message_id": anchor,
        "window": window,
        "session_meta": meta(db, &owner)?,
        "messages": messages,
        "messages_before": before,
        "messages_after": after,
    }))
}

/// A session from its beginning to its end, or both of these.
pub(super) fn whole(db: &Connection, id: &str) -> rusqlite::Result<Value> {
    let Some(meta) = meta(db, id)? else {
        return Ok(json!({"success": false, "error": format!("session_id not found: {id}")}));
    };
    let total: i64 =
        db.query_row("SELECT count(*) FROM messages WHERE session_id = ?1", [id], |row| row.get(0))?;
    let is_cut = total > FIRST + LAST;
    let last = if is_cut { LAST } else { total };
    let sql = "SELECT id, role, content, timestamp, tool_name FROM messages WHERE id IN
        (SELECT id FROM (SELECT id FROM messages WHERE session_id = ?1 ORDER BY id LIMIT ?2)
         UNION SELECT id FROM (SELECT id FROM messages WHERE session_id = ?1 ORDER BY id DESC LIMIT ?3)) ORDER BY id";
    let shown = usize::try_from(total.min(FIRST + LAST)).unwrap_or(1).max(1);
    let messages = messages(db, sql, params![id, FIRST, last], None, ROOM / shown)?;
    let mut answer = json!({
        "success": true,
        "mode": "read",
        "session_id": id,
        "session_meta": meta,
        "message_count": total,
        "truncated": is_cut,
        "messages": messages,
    });
    if is_cut {
        answer["message"] = format!(
            "Session has {total} messages; showing first {FIRST} + last {LAST}. Pass around_message_id (any id above) to scroll the middle."
        )
        .into();
    }
    Ok(answer)
}

/// The latest sessions.
pub(super) fn browse(db: &Connection, current: &str, limit: usize) -> rusqlite::Result<Value> {
    let own = root(db, current)?;
    let sql = format!(
        "SELECT id, title, source, started_at, message_count,
            (SELECT content FROM messages WHERE session_id = sessions.id AND role = 'user' ORDER BY id LIMIT 1),
            (SELECT max(timestamp) FROM messages WHERE session_id = sessions.id)
         FROM sessions WHERE parent_session_id IS NULL AND source NOT IN {HIDDEN} AND id <> ?1 AND message_count > 0
         ORDER BY started_at DESC LIMIT ?2"
    );
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map(params![own, i64::try_from(limit).unwrap_or(3)], |row| {
        let preview: Option<String> = row.get(5)?;
        Ok(json!({
            "session_id": row.get::<_, String>(0)?,
            "title": row.get::<_, Option<String>>(1)?,
            "source": row.get::<_, String>(2)?,
            "started_at": when(row.get(3)?),
            "last_active": row.get::<_, Option<f64>>(6)?.map(when),
            "message_count": row.get::<_, i64>(4)?,
            "preview": preview.map(|text| cut(text, 200)),
        }))
    })?;
    let results = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let message = format!(
        "Showing {} most recent sessions. Pass a query= to search, or session_id+around_message_id to scroll.",
        results.len()
    );
    Ok(
        json!({"success": true, "mode": "browse", "results": results, "count": results.len(), "message": message}),
    )
}

/// The first session of a line in which each continues the one before.
fn root(db: &Connection, id: &str) -> rusqlite::Result<String> {
    let mut id = id.to_owned();
    for _ in 0..LINE {
        let above: Option<Option<String>> = db
            .prepare_cached("SELECT parent_session_id FROM sessions WHERE id = ?1")?
            .query_row([&id], |row| row.get(0))
            .optional()?;
        match above.flatten() {
            Some(above) if above != id => id = above,
            _ => break,
        }
    }
    Ok(id)
}

fn meta(db: &Connection, id: &str) -> rusqlite::Result<Option<Value>> {
    db.query_row("SELECT started_at, source, model, title FROM sessions WHERE id = ?1", [id], |row| {
        Ok(json!({
            "when": when(row.get(0)?),
            "source": row.get::<_, Option<String>>(1)?,
            "model": row.get::<_, Option<String>>(2)?,
            "title": row.get::<_, Option<String>>(3)?,
        }))
    })
    .optional()
}

/// Messages around one, and how many there are before and after it among them.
fn around(
    db: &Connection,
    id: &str,
    anchor: i64,
    window: i64,
    most: usize,
) -> rusqlite::Result<(Vec<Value>, usize, usize)> {
    let sql = "SELECT id, role, content, timestamp, tool_name FROM
        (SELECT * FROM (SELECT * FROM messages WHERE session_id = ?1 AND id <= ?2 ORDER BY id DESC LIMIT ?3 + 1)
         UNION ALL SELECT * FROM (SELECT * FROM messages WHERE session_id = ?1 AND id > ?2 ORDER BY id LIMIT ?3)) ORDER BY id";
    let all = messages(db, sql, params![id, anchor, window], Some(anchor), most)?;
    let count = |wanted: fn(i64, i64) -> bool| {
        all.iter().filter(|message| message["id"].as_i64().is_some_and(|id| wanted(id, anchor))).count()
    };
    let (before, after) = (count(|id, anchor| id < anchor), count(|id, anchor| id > anchor));
    Ok((all, before, after))
}

fn messages(
    db: &Connection,
    sql: &str,
    params: &[&dyn rusqlite::ToSql],
    anchor: Option<i64>,
    most: usize,
) -> rusqlite::Result<Vec<Value>> {
    let mut statement = db.prepare_cached(sql)?;
    let rows = statement.query_map(params, |row| {
        let id: i64 = row.get(0)?;
        let content: Option<String> = row.get(2)?;
        let mut message = json!({
            "id": id,
            "role": row.get::<_, String>(1)?,
            "content": content.map(|text| cut(text, most)),
            "timestamp": row.get::<_, Option<f64>>(3)?,
        });
        if let Some(tool) = row.get::<_, Option<String>>(4)? {
            message["tool_name"] = tool.into();
        }
        if anchor == Some(id) {
            message["anchor"] = true.into();
        }
        Ok(message)
    })?;
    rows.collect()
}

fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
    text
}

/// A time as people write it.
fn when(seconds: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "milliseconds of any year fit; others are cut to the last one"
    )]
    let time = Timestamp::from_millisecond((seconds * 1000.0) as i64);
    time.map_or_else(
        |_| "unknown".to_owned(),
        |time| time.to_zoned(zone::system()).strftime("%B %d, %Y at %I:%M %p").to_string(),
    )
}
