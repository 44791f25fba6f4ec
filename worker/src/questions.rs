//! Questions that turns have asked and wait for an answer to: a table of `state.db`.
//!
//! A question belongs to the turn that asked it, which puts it there and takes it away. Its answer may come to another process: to the next
//! generation of this worker, which has the connection already while the turn still runs in the last one. So whoever hears an answer writes
//! it down, and the turn looks for it. A question that is older than its patience is void, whatever became of its turn.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::tools::asking::{Choice, Kind};

/// How a kind stands in the table.
fn column(kind: Kind) -> &'static str {
    match kind {
        Kind::Approval => "approval",
        Kind::Open => "open",
    }
}

/// Puts a question to `scope`, a session key or the id of a run, until `until` (seconds since the epoch). One at a time: what was asked
/// there before has been given up. Its id.
pub(crate) fn put(db: &Connection, scope: &str, kind: Kind, now: f64, until: f64) -> rusqlite::Result<i64> {
    db.prepare_cached("DELETE FROM hermes_question WHERE scope = ?1 OR until < ?2")?
        .execute(params![scope, now])?;
    db.prepare_cached("INSERT INTO hermes_question(scope, kind, asked_at, until) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![scope, column(kind), now, until])?;
    Ok(db.last_insert_rowid())
}

/// Takes a question away; what was answered.
pub(crate) fn take(db: &Connection, id: i64) -> rusqlite::Result<Option<String>> {
    let answer = answer(db, id)?;
    db.prepare_cached("DELETE FROM hermes_question WHERE id = ?1")?.execute([id])?;
    Ok(answer)
}

/// What was answered so far.
pub(crate) fn answer(db: &Connection, id: i64) -> rusqlite::Result<Option<String>> {
    let found = db
        .prepare_cached("SELECT answer FROM hermes_question WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?;
    Ok(found.flatten())
}

/// How many approvals are waited for, and since when the first is; `None`: none.
pub(crate) fn pending(db: &Connection, now: f64) -> rusqlite::Result<Option<(u64, f64)>> {
    let (count, since): (i64, Option<f64>) = db
        .prepare_cached(
            "SELECT count(*), min(asked_at) FROM hermes_question WHERE kind = ?1 AND answer IS NULL AND until >= ?2",
        )?
        .query_row(params![column(Kind::Approval), now], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(since.map(|since| (count.unsigned_abs(), since)))
}

/// What a look for a question found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It is the answer, and written down.
    Answered,
    /// It was answered before.
    Late,
    /// Nothing was asked, or this is no answer to it.
    No,
}

impl Heard {
    /// What whoever pressed a button hears; `chosen`: what the button says.
    pub(crate) fn said(self, chosen: &str) -> &str {
        match self {
            Self::Answered => chosen,
            Self::Late => "That question is over.",
            Self::No => "That question is not for you.",
        }
    }
}

/// Takes `text` for the answer to what was asked of `scope`, if it is one.
pub(crate) fn hear(db: &Connection, scope: &str, text: &str, now: f64) -> rusqlite::Result<Heard> {
    // A command is never what somebody says to an open question.
    let may_be_said = !text.trim_start().starts_with('/');
    heard(db, scope, text, now, may_be_said)
}

/// The same from somebody who says it to the question and to nothing else.
pub(crate) fn told(db: &Connection, scope: &str, text: &str, now: f64) -> rusqlite::Result<Heard> {
    heard(db, scope, text, now, true)
}

fn heard(db: &Connection, scope: &str, text: &str, now: f64, may_be_said: bool) -> rusqlite::Result<Heard> {
    let asked: Option<(i64, String, bool)> = db
        .prepare_cached(
            "SELECT id, kind, answer IS NOT NULL FROM hermes_question WHERE scope = ?1 AND until >= ?2",
        )?
        .query_row(params![scope, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((id, kind, is_answered)) = asked else { return Ok(Heard::No) };
    let is_answer = if kind == column(Kind::Approval) {
        Choice::said(text).is_some()
    } else {
        !text.trim().is_empty() && may_be_said
    };
    match (is_answer, is_answered) {
        (false, _) => Ok(Heard::No),
        (true, true) => Ok(Heard::Late),
        (true, false) => {
            db.prepare_cached("UPDATE hermes_question SET answer = ?2 WHERE id = ?1")?
                .execute(params![id, text])?;
            Ok(Heard::Answered)
        }
    }
}

/// A question's name, for what answers it without words: of no other question, also when that has its number.
pub(crate) fn name(id: i64, asked_at: f64) -> String {
    // Whole milliseconds of this century.
    format!("{id}.{asked_at:.3}")
}

/// Where a question of a conversation is put whose answer is a message like any other, or the number of a choice.
pub(crate) fn of_choices(key: &str) -> String {
    format!("{key}\u{1f}choices")
}

/// Whether the question of this [`name`] was asked of `scope` and still waits; as [`hear_named`], without an answer.
pub(crate) fn waits(db: &Connection, scope: &str, wanted: &str, now: f64) -> rusqlite::Result<Heard> {
    let number: Option<i64> = wanted.split('.').next().and_then(|number| number.parse().ok());
    let asked: Option<(i64, f64, String)> = db
        .prepare_cached("SELECT id, asked_at, scope FROM hermes_question WHERE id = ?1 AND until >= ?2")?
        .query_row(params![number, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    Ok(match asked {
        Some((id, at, of)) if name(id, at) == wanted => {
            if of == scope {
                Heard::Answered
            } else {
                Heard::No
            }
        }
        _ => Heard::Late,
    })
}

/// Takes `text` for the answer to the question of this [`name`], where it was asked of `scope` and still waits. [`Heard::No`]: it was asked
/// of somebody else.
pub(crate) fn hear_named(
    db: &Connection,
    scope: &str,
    wanted: &str,
    text: &str,
    now: f64,
) -> rusqlite::Result<Heard> {
    let number: Option<i64> = wanted.split('.').next().and_then(|number| number.parse().ok());
    let asked: Option<(i64, f64, String, bool)> = db
        .prepare_cached(
            "SELECT id, asked_at, scope, answer IS NOT NULL FROM hermes_question WHERE id = ?1 AND until >= ?2",
        )?
        .query_row(params![number, now], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    match asked {
        Some((id, at, of, is_answered)) if name(id, at) == wanted => {
            if of != scope {
                return Ok(Heard::No);
            }
            if is_answered {
                return Ok(Heard::Late);
            }
            db.prepare_cached("UPDATE hermes_question SET answer = ?2 WHERE id = ?1")?
                .execute(params![id, text])?;
            Ok(Heard::Answered)
        }
        _ => Ok(Heard::Late),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn db() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE hermes_question (id INTEGER PRIMARY KEY, scope TEXT NOT NULL UNIQUE, kind TEXT NOT NULL,
                asked_at REAL NOT NULL, until REAL NOT NULL, answer TEXT)",
        )
        .unwrap();
        db
    }

    #[test]
    fn an_answer_reaches_its_question_once_and_in_time() {
        let db = db();
        assert_eq!(hear(&db, "chat", "/approve", 1.0).unwrap(), Heard::No);
        let id = put(&db, "chat", Kind::Approval, 1.0, 61.0).unwrap();
        assert_eq!(pending(&db, 2.0).unwrap(), Some((1, 1.0)));
        assert_eq!(pending(&db, 62.0).unwrap(), None);
        for (scope, text, now, heard) in [
            ("other", "yes", 2.0, Heard::No),
            ("chat", "how is it going?", 2.0, Heard::No),
            ("chat", "yes", 62.0, Heard::No),
            ("chat", "yes", 3.0, Heard::Answered),
            ("chat", "/deny", 4.0, Heard::Late),
        ] {
            assert_eq!(hear(&db, scope, text, now).unwrap(), heard, "{text} at {now}");
        }
        assert_eq!(pending(&db, 2.0).unwrap(), None, "it is answered");
        assert_eq!(take(&db, id).unwrap().as_deref(), Some("yes"));
        assert_eq!(hear(&db, "chat", "/approve", 5.0).unwrap(), Heard::No);
        let id = put(&db, "chat", Kind::Open, 5.0, 65.0).unwrap();
        assert_eq!(hear(&db, "chat", "/stop", 6.0).unwrap(), Heard::No);
        assert_eq!(hear(&db, "chat", "the second one", 6.0).unwrap(), Heard::Answered);
        assert_eq!(answer(&db, id).unwrap().as_deref(), Some("the second one"));
        let next = put(&db, "chat", Kind::Approval, 7.0, 67.0).unwrap();
        assert_eq!(
            (answer(&db, id).unwrap(), answer(&db, next).unwrap()),
            (None, None),
            "the earlier one is gone"
        );
    }
    #[test]
    fn a_question_with_choices_is_answered_by_no_message_and_stands_beside_an_approval() {
        let db = db();
        let scope = of_choices("chat");
        let approval = put(&db, "chat", Kind::Approval, 1.0, 61.0).unwrap();
        let id = put(&db, &scope, Kind::Open, 2.0, 62.0).unwrap();
        assert_eq!(hear(&db, "chat", "the second", 3.0).unwrap(), Heard::No);
        assert_eq!(waits(&db, &scope, &name(id, 2.0), 3.0).unwrap(), Heard::Answered);
        assert_eq!(waits(&db, &of_choices("other"), &name(id, 2.0), 3.0).unwrap(), Heard::No);
        assert_eq!(waits(&db, &scope, &name(id, 2.0), 63.0).unwrap(), Heard::Late);
        take(&db, id).unwrap();
        assert_eq!(waits(&db, &scope, &name(id, 2.0), 3.0).unwrap(), Heard::Late);
        assert_eq!(hear(&db, "chat", "yes", 3.0).unwrap(), Heard::Answered);
        assert_eq!(take(&db, approval).unwrap().as_deref(), Some("yes"));
    }

    /// A button that was pressed too late answers nothing else, also where another question has its number.
    #[test]
    fn a_button_answers_its_own_question_and_no_other() {
        let db = db();
        let id = put(&db, "chat", Kind::Approval, 1.25, 61.0).unwrap();
        let first = name(id, 1.25);
        assert_eq!(hear_named(&db, "other", &first, "/approve", 2.0).unwrap(), Heard::No);
        assert_eq!(hear_named(&db, "chat", &first, "/approve", 62.0).unwrap(), Heard::Late);
        take(&db, id).unwrap();
        assert_eq!(put(&db, "chat", Kind::Approval, 5.0, 65.0).unwrap(), id);
        assert_eq!(hear_named(&db, "chat", &first, "/approve", 6.0).unwrap(), Heard::Late);
        assert_eq!(hear_named(&db, "chat", &name(id, 5.0), "/deny", 6.0).unwrap(), Heard::Answered);
        assert_eq!(hear_named(&db, "chat", &name(id, 5.0), "/approve", 6.0).unwrap(), Heard::Late);
        assert_eq!(take(&db, id).unwrap().as_deref(), Some("/deny"));
        for odd in ["", "x", "1", "9999999999999999999999.1"] {
            assert_eq!(hear_named(&db, "chat", odd, "/approve", 6.0).unwrap(), Heard::Late, "{odd}");
        }
    }
}
