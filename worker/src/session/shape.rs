//! What a file has beyond version 22.
//!
//! A newer program adds tables and columns to any file that it opens, whatever version it stamps; so what is there is looked at, and the
//! version says nothing. Looked at is once for each state of the schema: its counter is compared at every use, because the other program
//! may open the file while this one runs.

use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is there or not, whatever the others are")]
pub(crate) struct Shape {
    /// System prompts stand in a table of their own, under their hash.
    pub(super) prompts: bool,
    /// Conversations of a chat are counted.
    pub(super) generations: bool,
    /// Sessions say whose bot received them.
    pub(super) transport_profile: bool,
    /// Sessions say when they were last in use.
    pub(super) last_activity: bool,
}

impl Shape {
    fn read(db: &Connection) -> rusqlite::Result<Self> {
        db.query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'system_prompts')
                AND EXISTS (SELECT 1 FROM pragma_table_info('sessions') WHERE name = 'system_prompt_hash'),
                EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'conversation_generations'),
                EXISTS (SELECT 1 FROM pragma_table_info('sessions') WHERE name = 'transport_profile'),
                EXISTS (SELECT 1 FROM pragma_table_info('sessions') WHERE name = 'last_activity_at')",
            [],
            |row| {
                Ok(Self {
                    prompts: row.get(0)?,
                    generations: row.get(1)?,
                    transport_profile: row.get(2)?,
                    last_activity: row.get(3)?,
                })
            },
        )
    }
}

/// The shape of the one file that a process works on, as it was last seen.
#[derive(Debug, Default)]
pub(crate) struct Shapes(Mutex<Option<(i64, Shape)>>);

impl Shapes {
    /// What `db` has now. Within a transaction that stays so.
    pub(crate) fn of(&self, db: &Connection) -> rusqlite::Result<Shape> {
        let counter = db.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))?;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, shape)) = *seen
            && at == counter
        {
            return Ok(shape);
        }
        let shape = Shape::read(db)?;
        *seen = Some((counter, shape));
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_that_changes_is_looked_at_again() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE sessions(id TEXT PRIMARY KEY, system_prompt TEXT)").unwrap();
        let shapes = Shapes::default();
        let old = shapes.of(&db).unwrap();
        assert_eq!(
            (old.prompts, old.generations, old.transport_profile, old.last_activity),
            (false, false, false, false)
        );
        db.execute_batch("CREATE TABLE system_prompts(hash TEXT PRIMARY KEY, prompt TEXT NOT NULL)").unwrap();
        assert!(!shapes.of(&db).unwrap().prompts, "a table that no session names holds nobody's prompt");
        db.execute_batch(
            "ALTER TABLE sessions ADD COLUMN system_prompt_hash TEXT; ALTER TABLE sessions ADD COLUMN transport_profile TEXT;
             ALTER TABLE sessions ADD COLUMN last_activity_at REAL;
             CREATE TABLE conversation_generations(source TEXT, session_key TEXT, generation INTEGER)",
        )
        .unwrap();
        let new = shapes.of(&db).unwrap();
        assert_eq!(
            (new.prompts, new.generations, new.transport_profile, new.last_activity),
            (true, true, true, true)
        );
    }
}
