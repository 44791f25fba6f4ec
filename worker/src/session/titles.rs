//! What conversations are called: one line of what can be seen, which no other conversation of the profile has.
//!
//! Here is what people choose: at a terminal, in chats, by the API. What a model proposes ([`crate::turn`]) is cleaned by the same rule,
//! numbered where it is taken, and never replaces a title that is there.

use hermes_wire::stored::MAX_TITLE;
use hermes_wire::text;
use rusqlite::{Connection, OptionalExtension as _, params};

/// Why a title is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// There is no such session.
    Unknown,
    /// It has so many characters, more than [`MAX_TITLE`].
    Long(usize),
    /// The session of this id has it.
    Taken(String),
}

/// One line of what can be seen of `text`. `None`: nothing of it is left.
pub(crate) fn cleaned(text: &str) -> Option<String> {
    let seen: String = text.chars().filter(|c| c.is_whitespace() || !text::is_unseen(*c)).collect();
    let title = seen.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then_some(title)
}

/// Gives a session the title that somebody chose, which is [`cleaned`]; `None` takes it away.
pub(crate) fn choose(
    db: &Connection,
    session: &str,
    title: Option<&str>,
) -> rusqlite::Result<Result<(), Unfit>> {
    let length = title.map_or(0, |title| title.chars().count());
    if length > MAX_TITLE {
        return Ok(Err(Unfit::Long(length)));
    }
    let other: Option<String> = db
        .prepare_cached("SELECT id FROM sessions WHERE title = ?1 AND id <> ?2")?
        .query_row(params![title, session], |row| row.get(0))
        .optional()?;
    if let Some(other) = other {
        return Ok(Err(Unfit::Taken(other)));
    }
    let changed = db
        .prepare_cached("UPDATE sessions SET title = ?2 WHERE id = ?1")?
        .execute(params![session, title])?;
    if changed == 0 {
        return Ok(Err(Unfit::Unknown));
    }
    // Newer programs replace a title that nobody chose.
    let has_source: bool = db
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM pragma_table_info('sessions') WHERE name = 'title_source')",
        )?
        .query_row([], |row| row.get(0))?;
    if has_source {
        let by = title.map(|_| "user");
        db.execute("UPDATE sessions SET title_source = ?2 WHERE id = ?1", params![session, by])?;
    }
    Ok(Ok(()))
}
