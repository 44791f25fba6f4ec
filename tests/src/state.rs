//! A `state.db` as newer releases of the Python program leave it, from `tests/fixtures/state`.

use camino::Utf8Path;
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection};
use sha2::{Digest as _, Sha256};

/// What such a file can look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A new file of schema 30.
    New,
    /// Search layout 1: the base index reads `messages` itself.
    Layout1,
    /// Both indexes are detached.
    Stale,
    /// Made where SQLite knows no trigrams.
    NoTrigram,
    /// A rebuild of the indexes was interrupted; rows 4 to 10 are in none.
    Rebuilding,
    /// Began at schema 22 and was never converted.
    Inline,
    /// With an index whose tokenizer is not there.
    Cjk,
    /// Some prompts are inline still.
    MixedPrompts,
}

impl Shape {
    /// The scripts that make it, in their order.
    fn scripts(self) -> Vec<&'static str> {
        let (new, rows) =
            (include_str!("../fixtures/state/v30.sql"), include_str!("../fixtures/state/v30-rows.sql"));
        match self {
            Self::New => vec![new, rows],
            Self::Layout1 => vec![new, include_str!("../fixtures/state/layout-1.sql"), rows],
            Self::Stale => vec![new, include_str!("../fixtures/state/fts-stale.sql"), rows],
            Self::NoTrigram => vec![new, include_str!("../fixtures/state/no-trigram.sql"), rows],
            Self::Rebuilding => vec![new, include_str!("../fixtures/state/rebuilding.sql"), rows],
            Self::Inline => vec![new, include_str!("../fixtures/state/inline.sql"), rows],
            Self::Cjk => vec![new, rows, include_str!("../fixtures/state/cjk.sql")],
            Self::MixedPrompts => vec![new, rows, include_str!("../fixtures/state/mixed-prompts.sql")],
        }
    }

    /// Makes the file, as its program would have left it after a clean end.
    pub fn make(self, path: &Utf8Path) {
        let db = Connection::open(path).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON").unwrap();
        for script in self.scripts() {
            db.execute_batch(script).unwrap();
        }
    }
}

/// What a newer program does to a file of schema 22 that it opens, statement by statement, each of which it commits by itself; `between`
/// is called after each.
pub fn migrate(db: &Connection, mut between: impl FnMut()) {
    let mut batch = Batch::new(db, include_str!("../fixtures/state/migration.sql"));
    while let Some(mut statement) = batch.next().unwrap() {
        statement.execute([]).unwrap();
        between();
    }
    let prompts: Vec<(String, String)> = db
        .prepare("SELECT id, system_prompt FROM sessions WHERE system_prompt IS NOT NULL")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (session, prompt) in prompts {
        let hash: String = Sha256::digest(&prompt).iter().map(|byte| format!("{byte:02x}")).collect();
        let store = db.unchecked_transaction().unwrap();
        store.execute("INSERT OR IGNORE INTO system_prompts VALUES (?1, ?2)", [&hash, &prompt]).unwrap();
        store
            .execute(
                "UPDATE sessions SET system_prompt_hash = ?1, system_prompt = NULL WHERE id = ?2",
                [&hash, &session],
            )
            .unwrap();
        store.commit().unwrap();
        between();
    }
}

/// Has both indexes compare themselves with the rows that they index; an error says which does not.
pub fn check_search(db: &Connection) -> Result<(), String> {
    for index in ["messages_fts", "messages_fts_trigram"] {
        let there: bool = db
            .query_row("SELECT count(*) FROM sqlite_schema WHERE name = ?1", [index], |row| row.get(0))
            .unwrap();
        if there {
            db.execute_batch(&format!("INSERT INTO {index}({index}, rank) VALUES ('integrity-check', 1)"))
                .map_err(|e| format!("{index}: {e}"))?;
        }
    }
    Ok(())
}
