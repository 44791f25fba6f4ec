//! The tool `session_search`: what was said in earlier sessions of this profile.
//!
//! Reads the profile's own `state.db` by a connection that cannot write, and no other profile's. The session that asks, with what it was
//! continued from, is left out: the model has it before its eyes. Whatever is searched for, it is no error of syntax ([`query`]).

pub(crate) mod query;
mod read;

use hermes_host::database;
use hermes_wire::ProfileHome;
use serde_json::{Map, Value, json};

use super::{Caller, Tool, Work, blocking, toolset};

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct SessionSearch {
    home: ProfileHome,
}

impl SessionSearch {
    pub(super) fn new(home: &ProfileHome) -> Self {
        Self { home: home.clone() }
    }
}

/// Answers one call. Blocks.
fn answer(home: &ProfileHome, session: &str, arguments: &Map<String, Value>) -> Value {
    let failed =
        |error: &dyn std::error::Error| json!({"success": false, "error": format!("Search failed: {error}")});
    let db = match database::look_into(&home.state_db()) {
        Ok(db) => db,
        Err(error) => return failed(&error),
    };
    let text =
        |key: &str| arguments.get(key).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let number = |key: &str, default: i64| {
        let value = arguments.get(key);
        value
            .and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()))
            .unwrap_or(default)
    };
    let anchor = arguments.get("around_message_id").filter(|value| !value.is_null());
    let limit = usize::try_from(number("limit", 3).clamp(1, 10)).unwrap_or(3);
    let done = match (text("session_id"), text("query")) {
        (Some(id), _) if anchor.is_some() => {
            read::scroll(&db, session, id, number("around_message_id", -1), number("window", 5).clamp(1, 20))
        }
        (Some(id), _) => read::whole(&db, id),
        (None, Some(words)) => {
            let roles: Vec<&str> =
                text("role_filter").unwrap_or("user,assistant").split(',').map(str::trim).collect();
            let wanted = read::Wanted { words, roles: &roles, sort: text("sort"), limit };
            read::discover(&db, session, &wanted)
        }
        (None, None) => read::browse(&db, session, limit),
    };
    done.unwrap_or_else(|error| failed(&error))
}

impl Tool for SessionSearch {
    fn name(&self) -> &'static str {
        "session_search"
    }

    fn about(&self) -> &'static str {
        "Searches what was said in earlier sessions of this profile; the answers are real messages. With `query`, the best sessions, each with \
         a snippet, how it began and ended, and the messages around the hit. With `session_id` and `around_message_id`, more messages \
         around one: pass the first or last id of an answer to go on. With `session_id` alone, a whole session. Without arguments, the \
         latest sessions. All words must occur; OR, NOT, \"phrases\" and prefixes (deploy*) work. It says what was said then, not how \
         things are now: where the user names a source, look there."
    }

    fn parameters(&self) -> Value {
        let about = |kind: &str, text: &str| json!({"type": kind, "description": text});
        json!({
            "type": "object",
            "properties": {
                "query": about("string", "What to look for; without it, the latest sessions."),
                "limit": {"type": "integer", "default": 3, "description": "Most sessions, 10 at most."},
                "sort": {"type": "string", "enum": ["newest", "oldest"], "description": "By time instead of by how well it fits."},
                "session_id": about("string", "The session to read in."),
                "around_message_id": about("integer", "The message to read around."),
                "window": {"type": "integer", "default": 5, "description": "Messages before and after it, 20 at most."},
                "role_filter": about("string", "Roles to search, with commas: user,assistant by default; tool for results of tools."),
            },
            "required": [],
        })
    }

    fn toolset(&self) -> &'static str {
        toolset::SESSION_SEARCH
    }

    fn run<'a>(&'a self, arguments: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        let (home, session) = (self.home.clone(), caller.session_id.clone());
        Box::pin(blocking(move |_| Ok(answer(&home, &session, &arguments))))
    }
}

#[cfg(test)]
mod tests;
