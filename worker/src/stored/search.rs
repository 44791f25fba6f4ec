//! Messages that have words in them.
//!
//! The index is asked where it can be believed. Where a part of it is missing or marked as stale, and for words of scripts that have no blanks
//! between words and are shorter than the three characters that the other index knows, every message is read instead.

use rusqlite::params;
use serde_json::json;

use super::look::{HIDDEN, Look, Unread, plain};
use crate::session::history;
use crate::tools::session_search::query;

/// Marks of a hit in its surroundings.
const MARKS: [char; 2] = ['\u{2}', '\u{3}'];
/// Characters around a hit that was found by reading.
const AROUND: usize = 60;

/// How it was searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// By the index.
    Index,
    /// By reading every message, because a word is too short for the index of its script.
    Reading,
    /// By reading every message, because the index is missing or stale.
    ReadingForLack,
}

/// A message.
#[derive(Debug, Clone, PartialEq)]
pub struct Hit {
    /// Its number.
    pub message: i64,
    /// Its session.
    pub session: String,
    /// The session's source.
    pub source: String,
    /// The session's title.
    pub title: Option<String>,
    /// Whose it is.
    pub role: String,
    /// When it came, in seconds since the epoch.
    pub at: f64,
    /// The hit and what is around it, in pieces: whether a piece is the hit itself.
    pub pieces: Vec<(bool, String)>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Searched {
    /// How.
    pub by: By,
    /// The best first, or, where every message was read, the latest.
    pub hits: Vec<Hit>,
}

impl Look {
    /// Messages with these words, of people, models and tools.
    pub fn search(&self, words: &str, source: Option<&str>, limit: u32) -> Result<Searched, Unread> {
        let Some(expression) = query::expression(words) else {
            return Ok(Searched { by: By::Index, hits: Vec::new() });
        };
        self.read(|_| {
            let is_dense = words.chars().any(is_dense);
            let index = if is_dense { "messages_fts_trigram" } else { "messages_fts" };
            if !self.is_believed(index)? {
                return Ok(Searched { by: By::ReadingForLack, hits: self.scan(words, source, limit)? });
            }
            let is_short = |word: &str| word.chars().count() < 3;
            if is_dense && words.split_whitespace().any(is_short) {
                return Ok(Searched { by: By::Reading, hits: self.scan(words, source, limit)? });
            }
            Ok(Searched { by: By::Index, hits: self.ask(index, &expression, source, limit)? })
        })
    }

    /// Whether an index is whole, as far as its program says.
    pub(super) fn is_believed(&self, index: &str) -> rusqlite::Result<bool> {
        if !self.tables.contains(index) || !self.tables.contains(&format!("{index}_insert")) {
            return Ok(false);
        }
        if !self.tables.contains("state_meta") {
            return Ok(true);
        }
        let stale =
            "SELECT EXISTS (SELECT 1 FROM state_meta WHERE key IN ('fts_stale', 'fts_rebuild_high_water'))";
        self.db.query_row(stale, [], |row| row.get::<_, bool>(0)).map(|stale| !stale)
    }

    fn ask(
        &self,
        index: &str,
        expression: &str,
        source: Option<&str>,
        limit: u32,
    ) -> rusqlite::Result<Vec<Hit>> {
        let title = self.column("title");
        let sql = format!(
            "SELECT m.id, m.session_id, COALESCE(s.source, ''), {title}, m.role, COALESCE(m.timestamp, 0.0),
                snippet({index}, -1, '{}', '{}', '…', 24)
             FROM {index} JOIN messages m ON m.id = {index}.rowid JOIN sessions s ON s.id = m.session_id
             WHERE {index} MATCH ?1 AND COALESCE(s.source, '') NOT IN {HIDDEN} AND m.role <> 'session_meta' AND {shown}
               AND (?2 IS NULL OR s.source = ?2)
             ORDER BY rank LIMIT ?3",
            MARKS[0],
            MARKS[1],
            shown = self.is_shown(),
        );
        self.db
            .prepare(&sql)?
            .query_map(params![expression, source, limit], |row| {
                let snippet: Option<String> = row.get(6)?;
                Ok(Hit {
                    message: row.get(0)?,
                    session: row.get(1)?,
                    source: row.get(2)?,
                    title: row.get(3)?,
                    role: row.get(4)?,
                    at: row.get(5)?,
                    pieces: pieces(&snippet.unwrap_or_default()),
                })
            })?
            .collect()
    }

    fn scan(&self, words: &str, source: Option<&str>, limit: u32) -> rusqlite::Result<Vec<Hit>> {
        // What stands between words for the index is one here.
        let all: Vec<String> = words
            .split(|c: char| c.is_whitespace() || c == '"')
            .map(|word| word.trim_matches('*').to_lowercase())
            .filter(|word| !word.is_empty() && !matches!(word.as_str(), "and" | "or" | "not"))
            .collect();
        let title = self.column("title");
        let sql = format!(
            "SELECT m.id, m.session_id, COALESCE(s.source, ''), {title}, m.role, COALESCE(m.timestamp, 0.0), m.content
             FROM messages m JOIN sessions s ON s.id = m.session_id
             WHERE COALESCE(s.source, '') NOT IN {HIDDEN} AND m.role <> 'session_meta' AND {shown} AND (?2 IS NULL OR s.source = ?2)
               AND NOT EXISTS (SELECT 1 FROM json_each(?1) WHERE instr(lower(COALESCE(m.content, '')), value) = 0)
             ORDER BY m.id DESC LIMIT ?3",
            shown = self.is_shown(),
        );
        let first = all.first().cloned().unwrap_or_default();
        self.db
            .prepare(&sql)?
            .query_map(params![json!(all).to_string(), source, limit], |row| {
                let content: Option<String> = row.get(6)?;
                let text = content.map(|text| plain(&history::decode(text))).unwrap_or_default();
                Ok(Hit {
                    message: row.get(0)?,
                    session: row.get(1)?,
                    source: row.get(2)?,
                    title: row.get(3)?,
                    role: row.get(4)?,
                    at: row.get(5)?,
                    pieces: around(&text, &first),
                })
            })?
            .collect()
    }
}

/// Scripts without blanks between words.
fn is_dense(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}'
        | '\u{20000}'..='\u{3ffff}')
}

fn pieces(snippet: &str) -> Vec<(bool, String)> {
    let mut all = Vec::new();
    for (at, part) in snippet.split(MARKS[0]).enumerate() {
        let (hit, rest) = if at == 0 { ("", part) } else { part.split_once(MARKS[1]).unwrap_or((part, "")) };
        for (is_hit, text) in [(true, hit), (false, rest)] {
            if !text.is_empty() {
                all.push((is_hit, text.to_owned()));
            }
        }
    }
    all
}

/// The first place of `word`, with what is around it.
fn around(text: &str, word: &str) -> Vec<(bool, String)> {
    let chars: Vec<char> = text.chars().collect();
    let same = |a: &char, b: &char| a == b || a.to_lowercase().eq(b.to_lowercase());
    let wanted: Vec<char> = word.chars().collect();
    let place = (!wanted.is_empty())
        .then(|| {
            chars.windows(wanted.len()).position(|part| part.iter().zip(&wanted).all(|(a, b)| same(a, b)))
        })
        .flatten();
    let Some(begin) = place else {
        return vec![(false, chars.iter().take(2 * AROUND).collect())];
    };
    let end = begin + wanted.len();
    let (from, to) = (begin.saturating_sub(AROUND), (end + AROUND).min(chars.len()));
    let before = if from > 0 { "…" } else { "" };
    let after = if to < chars.len() { "…" } else { "" };
    let part = |from: usize, to: usize| chars[from..to].iter().collect::<String>();
    vec![
        (false, format!("{before}{}", part(from, begin))),
        (true, part(begin, end)),
        (false, format!("{}{after}", part(end, to))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_stands_apart_from_what_is_around_it() {
        let (yes, no) = (true, false);
        let owned = |all: &[(bool, &str)]| -> Vec<(bool, String)> {
            all.iter().map(|(hit, text)| (*hit, (*text).to_owned())).collect()
        };
        assert_eq!(
            pieces("a \u{2}b\u{3} c \u{2}d\u{3}"),
            owned(&[(no, "a "), (yes, "b"), (no, " c "), (yes, "d")])
        );
        assert_eq!(pieces("\u{2}b\u{3}"), owned(&[(yes, "b")]));
        assert_eq!(pieces(""), []);
        assert_eq!(around("Das Ärgernis", "ärger"), owned(&[(no, "Das "), (yes, "Ärger"), (no, "nis")]));
        assert_eq!(around("none", "word"), owned(&[(no, "none")]));
        let long = format!("{}模型{}", "x".repeat(99), "y".repeat(99));
        let found = around(&long, "模型");
        assert_eq!((found[0].1.chars().count(), found[1].1.as_str()), (AROUND + 1, "模型"));
        assert!(found[0].1.starts_with('…') && found[2].1.ends_with('…'));
    }
}
