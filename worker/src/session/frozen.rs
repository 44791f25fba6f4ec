//! The frozen system prompt, where newer homes keep it.
//!
//! They have each text once, in `system_prompts` under its hash, and the session names the hash; a text that stands in the session itself
//! counts only where the hash leads nowhere. So the hash is read first. Both are written: 0.19.0 finds the text in the session, newer
//! programs find it by its hash, and both send the same bytes. The table is tidied by the newer program, which deletes texts that no session
//! names: a text and the hash that names it are written in one transaction, and what nobody names is left alone.

use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};

use super::shape::Shape;

/// The prompt of a row of `sessions`, as an expression.
pub(super) fn column(shape: Shape) -> &'static str {
    if shape.prompts {
        "COALESCE((SELECT prompt FROM system_prompts WHERE hash = sessions.system_prompt_hash), sessions.system_prompt)"
    } else {
        "sessions.system_prompt"
    }
}

/// Stores the prompt of the session `id` for newer programs too, where this is one of their files. The session's own column has it already.
pub(super) fn share(db: &Connection, shape: Shape, id: &str, prompt: &str) -> rusqlite::Result<()> {
    if !shape.prompts {
        return Ok(());
    }
    let hash = hash(prompt);
    db.prepare_cached("INSERT OR IGNORE INTO system_prompts(hash, prompt) VALUES (?1, ?2)")?
        .execute([&hash, prompt])?;
    db.prepare_cached("UPDATE sessions SET system_prompt_hash = ?2 WHERE id = ?1")?
        .execute(params![id, hash])?;
    Ok(())
}

/// SHA-256 of the text's bytes, in lower-case hex.
fn hash(prompt: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(prompt.as_bytes()).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_other_program() {
        assert_eq!(hash(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hash("Grüße"), "f83e039796c6453a10f5519e39fd113901572316a1a8ea07cb525d2801dfd074");
    }
}
