//! What somebody hears at once who writes while a turn runs: what becomes of the message, and how far the turn is.

use std::fmt::Write as _;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use crate::inbound::Busy;

/// How far the turn of a session is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Whole minutes since it began.
    pub(crate) minutes: u64,
    /// Which call to the model this is.
    pub(crate) iteration: u64,
    /// The tool that runs.
    pub(crate) tool: Option<String>,
}

/// Whether a turn of a session runs, in whichever process.
pub(crate) fn runs(db: &Connection, key: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM hermes_inbox WHERE session_key = ?1 AND state = 'claimed')",
    )?
    .query_row([key], |row| row.get(0))
}

/// How far it is; `None`: none runs.
pub(crate) fn progress(db: &Connection, key: &str, now: f64) -> rusqlite::Result<Option<Progress>> {
    let found: Option<(Option<String>, Option<f64>)> = db
        .prepare_cached(
            "SELECT i.session_id, l.taken_at FROM hermes_inbox AS i
             LEFT JOIN hermes_lease AS l ON l.session_key = i.session_key
             WHERE i.session_key = ?1 AND i.state = 'claimed' LIMIT 1",
        )?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((session, since)) = found else { return Ok(None) };
    let elapsed = now - since.unwrap_or(now);
    let minutes = std::time::Duration::try_from_secs_f64(elapsed).unwrap_or_default().as_secs() / 60;
    let mut progress = Progress { minutes, iteration: 1, tool: None };
    let Some(session) = session else { return Ok(Some(progress)) };
    let mut steps = db.prepare_cached(
        "SELECT id, tool_calls FROM messages WHERE session_id = ?1 AND active = 1 AND role = 'assistant'
            AND id > COALESCE((SELECT max(id) FROM messages WHERE session_id = ?1 AND active = 1 AND role = 'user'), 0)
         ORDER BY id",
    )?;
    let steps: Vec<(i64, Option<String>)> = steps
        .query_map([&session], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    progress.iteration += u64::try_from(steps.len()).unwrap_or(u64::MAX);
    if let Some((id, Some(calls))) = steps.last() {
        let mut results = db.prepare_cached(
            "SELECT tool_call_id FROM messages WHERE session_id = ?1 AND id > ?2 AND role = 'tool'",
        )?;
        let results: Vec<Option<String>> =
            results.query_map(params![session, id], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        progress.tool = open_call(calls, &results);
        if progress.tool.is_some() {
            progress.iteration -= 1;
        }
    }
    Ok(Some(progress))
}

/// The name of the first call without a result.
fn open_call(calls: &str, results: &[Option<String>]) -> Option<String> {
    let calls: Vec<Value> = serde_json::from_str(calls).ok()?;
    let open = calls.iter().find(|call| {
        let id = call["id"].as_str();
        !results.iter().any(|result| result.as_deref() == id)
    })?;
    let name: String =
        open["function"]["name"].as_str()?.chars().filter(|c| !c.is_control()).take(64).collect();
    Some(name).filter(|name| !name.is_empty())
}

/// What is said of a turn in an acknowledgement: ` (3 min elapsed, iteration 4/90, running: terminal)`.
pub(crate) fn detail(progress: &Progress, most: u32) -> String {
    let Progress { minutes, iteration, tool } = progress;
    let mut parts = Vec::new();
    if *minutes > 0 {
        parts.push(format!("{minutes} min elapsed"));
    }
    if *iteration > 1 || tool.is_some() {
        parts.push(if most == 0 || most == u32::MAX {
            format!("iteration {iteration}")
        } else {
            format!("iteration {iteration}/{most}")
        });
    }
    parts.extend(tool.as_ref().map(|tool| format!("running: {tool}")));
    let mut text = String::new();
    if !parts.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, " ({})", parts.join(", "));
    }
    text
}

/// The acknowledgement of a message; `None`: nothing is said of it.
pub(crate) fn text(busy: Busy, detail: &str) -> Option<String> {
    Some(match busy {
        Busy::Wait => return None,
        Busy::Interrupt => {
            format!("⚡ Interrupting current task{detail}. I'll respond to your message shortly.")
        }
        Busy::Queue => {
            format!("⏳ Queued for the next turn{detail}. I'll respond once the current task finishes.")
        }
        Busy::Steer => {
            format!("⏩ Steered into current run{detail}. Your message arrives after the next tool call.")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_says_how_far_the_turn_is() {
        let of = |minutes, iteration, tool: Option<&str>, most| {
            detail(&Progress { minutes, iteration, tool: tool.map(str::to_owned) }, most)
        };
        assert_eq!(of(0, 1, None, 90), "");
        assert_eq!(of(3, 4, Some("terminal"), 90), " (3 min elapsed, iteration 4/90, running: terminal)");
        assert_eq!(of(0, 2, None, 0), " (iteration 2)");
        assert_eq!(
            text(Busy::Interrupt, " (1 min elapsed)").unwrap(),
            "⚡ Interrupting current task (1 min elapsed). I'll respond to your message shortly."
        );
        assert_eq!(text(Busy::Wait, ""), None);
        for busy in [Busy::Queue, Busy::Steer] {
            assert!(text(busy, "").unwrap().contains(". "));
        }
    }

    #[test]
    fn the_tool_that_runs_is_the_first_without_a_result() {
        let calls = r#"[{"id":"a","function":{"name":"one"}},{"id":"b","function":{"name":"two"}}]"#;
        let done = |ids: &[&str]| ids.iter().map(|id| Some((*id).to_owned())).collect::<Vec<_>>();
        assert_eq!(open_call(calls, &[]).as_deref(), Some("one"));
        assert_eq!(open_call(calls, &done(&["a"])).as_deref(), Some("two"));
        assert_eq!(open_call(calls, &done(&["a", "b"])), None);
        assert_eq!(open_call("nonsense", &[]), None);
    }

    #[test]
    fn progress_is_read_from_what_is_stored() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(
            "CREATE TABLE hermes_inbox(session_key, state, session_id);
             CREATE TABLE hermes_lease(session_key, taken_at);
             CREATE TABLE messages(id INTEGER PRIMARY KEY, session_id, role, tool_calls, tool_call_id, active);",
        )
        .unwrap();
        assert_eq!(progress(&db, "k", 0.0).unwrap(), None);
        db.execute_batch(
            r#"INSERT INTO hermes_inbox VALUES ('k', 'claimed', 's');
               INSERT INTO hermes_lease VALUES ('k', 100.0);
               INSERT INTO messages(session_id, role, tool_calls, tool_call_id, active) VALUES
                ('s', 'assistant', NULL, NULL, 1), ('s', 'user', NULL, NULL, 1),
                ('s', 'assistant', '[{"id":"a","function":{"name":"note"}}]', NULL, 1);"#,
        )
        .unwrap();
        let of = |minutes, iteration, tool: Option<&str>| {
            Some(Progress { minutes, iteration, tool: tool.map(str::to_owned) })
        };
        assert_eq!(progress(&db, "k", 290.0).unwrap(), of(3, 1, Some("note")));
        db.execute_batch(
            "INSERT INTO messages(session_id, role, tool_call_id, active) VALUES ('s', 'tool', 'a', 1)",
        )
        .unwrap();
        assert_eq!(progress(&db, "k", 101.0).unwrap(), of(0, 2, None));
        assert!(runs(&db, "k").unwrap() && !runs(&db, "x").unwrap());
    }
}
