//! The tool `todo`: the model's list of what it has to do, in one session.
//!
//! The list is in the conversation: every call answers with the whole of it, and the last such answer is what there is. So it is there
//! after a restart, and also where its rows were folded into a summary: rows stay in the file, and are read here as long as they do.

use std::collections::HashMap;

use hermes_host::database;
use hermes_wire::ProfileHome;
use rusqlite::OptionalExtension as _;
use serde_json::{Map, Value, json};

use super::{Caller, Tool, ToolError, Work, blocking, toolset};

/// Longest text of one item, in characters, with the mark of what was cut.
const LONGEST: usize = 4000;
const CUT: &str = "… [truncated]";
/// Most items.
const MOST: usize = 256;
/// Longest earlier answer that is read, in bytes.
const ANSWER: usize = 512_000;
const STATES: [&str; 4] = ["pending", "in_progress", "completed", "cancelled"];

/// The tool; see the module.
#[derive(Debug)]
pub(super) struct Todo {
    home: ProfileHome,
}

impl Todo {
    pub(super) fn new(home: &ProfileHome) -> Self {
        Self { home: home.clone() }
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    id: String,
    content: String,
    status: String,
}

fn said(value: &Value, key: &str) -> Option<String> {
    let text = match value.get(key)? {
        Value::String(text) => text.trim().to_owned(),
        Value::Null => return None,
        other => other.to_string(),
    };
    Some(text).filter(|text| !text.is_empty())
}

fn status(value: &Value) -> Option<String> {
    said(value, "status").map(|text| text.to_lowercase()).filter(|text| STATES.contains(&text.as_str()))
}

fn cut(text: String) -> String {
    if text.chars().count() <= LONGEST {
        return text;
    }
    text.chars().take(LONGEST - CUT.chars().count()).collect::<String>() + CUT
}

impl Item {
    fn of(value: &Value) -> Self {
        if !value.is_object() {
            return Self {
                id: "?".to_owned(),
                content: "(invalid item)".to_owned(),
                status: STATES[0].to_owned(),
            };
        }
        Self {
            id: said(value, "id").unwrap_or_else(|| "?".to_owned()),
            content: said(value, "content").map_or_else(|| "(no description)".to_owned(), cut),
            status: status(value).unwrap_or_else(|| STATES[0].to_owned()),
        }
    }
}

/// The list after a call: another one, or the old one with what is new.
fn written(old: Vec<Item>, new: &[Value], merge: bool) -> Vec<Item> {
    let mut newest: HashMap<String, usize> = HashMap::new();
    for (at, value) in new.iter().enumerate() {
        let id = if value.is_object() {
            said(value, "id").unwrap_or_else(|| "?".to_owned())
        } else {
            format!("\0{at}")
        };
        newest.insert(id, at);
    }
    let mut places: Vec<usize> = newest.into_values().collect();
    places.sort_unstable();
    let new = places.into_iter().map(|at| &new[at]);
    let mut list = if merge { old } else { Vec::new() };
    for value in new {
        let known = said(value, "id").filter(|_| merge).map(|id| list.iter_mut().find(|item| item.id == id));
        match known {
            None if merge => {}
            Some(Some(item)) => {
                item.content = said(value, "content").map_or_else(|| std::mem::take(&mut item.content), cut);
                item.status = status(value).unwrap_or_else(|| std::mem::take(&mut item.status));
            }
            None | Some(None) => list.push(Item::of(value)),
        }
    }
    list.truncate(MOST);
    list
}

fn answer(list: &[Item]) -> Value {
    let count = |state: &str| list.iter().filter(|item| item.status == state).count();
    let shown = |item: &Item| json!({"id": item.id, "content": item.content, "status": item.status});
    json!({
        "todos": list.iter().map(shown).collect::<Vec<_>>(),
        "summary": {
            "total": list.len(),
            "pending": count("pending"),
            "in_progress": count("in_progress"),
            "completed": count("completed"),
            "cancelled": count("cancelled"),
        },
    })
}

/// The list of a session, as its last answer has it. Blocks.
fn last(home: &ProfileHome, session: &str) -> Result<Vec<Item>, ToolError> {
    let failed = |error: &dyn std::error::Error| ToolError(format!("the list cannot be read: {error}"));
    let path = home.state_db();
    if !path.exists() {
        return Ok(Vec::new());
    }
    let db = database::look_into(&path).map_err(|error| failed(&error))?;
    let found = db
        .query_row(
            "SELECT content FROM messages WHERE session_id = ?1 AND role = 'tool' AND tool_name = 'todo'
             AND content LIKE '{\"todos\":%' ORDER BY id DESC LIMIT 1",
            [session],
            |row| row.get::<_, String>(0),
        )
        .optional()
        .map_err(|error| failed(&error))?;
    let value =
        found.filter(|text| text.len() <= ANSWER).and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let items = value.as_ref().and_then(|value| value["todos"].as_array());
    Ok(items.map(|items| items.iter().map(Item::of).collect()).unwrap_or_default())
}

fn run(home: &ProfileHome, session: &str, arguments: &Map<String, Value>) -> Result<Value, ToolError> {
    let parsed;
    let new = match arguments.get("todos") {
        None | Some(Value::Null) => return Ok(answer(&last(home, session)?)),
        // Some models send the list as text.
        Some(Value::String(text)) => {
            parsed = serde_json::from_str::<Value>(text).map_err(|_| {
                ToolError("todos must be a list of objects, got unparseable string".to_owned())
            })?;
            &parsed
        }
        Some(other) => other,
    };
    let Value::Array(new) = new else { return Err(ToolError("todos must be a list".to_owned())) };
    let merge = arguments.get("merge").and_then(Value::as_bool).unwrap_or(false);
    let old = if merge { last(home, session)? } else { Vec::new() };
    Ok(answer(&written(old, new, merge)))
}

impl Tool for Todo {
    fn name(&self) -> &'static str {
        "todo"
    }

    fn about(&self) -> &'static str {
        "Your list of what is to be done in this session, for work of several steps. Without arguments it is read. `todos` writes it: anew, \
         or with `merge` by id. The order is what comes first; one item at most is in_progress. Mark what is done at once; what \
         failed is cancelled, and what is to be tried instead is a new item. The answer is always the whole list."
    }

    fn parameters(&self) -> Value {
        let item = json!({
            "type": "object",
            "properties": {
                "id": {"type": "string"},
                "content": {"type": "string", "description": "What is to be done."},
                "status": {"type": "string", "enum": STATES},
            },
            "required": ["id", "content", "status"],
        });
        json!({
            "type": "object",
            "properties": {
                "todos": {"type": "array", "items": item, "description": "The items; without them the list is read."},
                "merge": {"type": "boolean", "default": false, "description": "Change items by id and add new ones, instead of a new list."},
            },
            "required": [],
        })
    }

    fn toolset(&self) -> &'static str {
        toolset::TODO
    }

    fn run<'a>(&'a self, arguments: Map<String, Value>, caller: &'a Caller) -> Work<'a> {
        let (home, session) = (self.home.clone(), caller.session_id.clone());
        Box::pin(blocking(move |_| run(&home, &session, &arguments)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(values: &Value, old: &[Item], merge: bool) -> Vec<(String, String, String)> {
        let items = written(old.to_vec(), values.as_array().unwrap(), merge);
        items.into_iter().map(|item| (item.id, item.content, item.status)).collect()
    }

    fn item(id: &str, content: &str, status: &str) -> (String, String, String) {
        (id.to_owned(), content.to_owned(), status.to_owned())
    }

    #[test]
    fn a_list_is_written_anew_or_changed() {
        let new = json!([
            {"id": "1", "content": "old", "status": "pending"},
            {"id": 2, "content": "b", "status": "DONE"},
            {"id": "1", "content": " a ", "status": "In_Progress"},
            "odd",
            {},
        ]);
        assert_eq!(
            list(&new, &[], false),
            [
                item("2", "b", "pending"),
                item("1", "a", "in_progress"),
                item("?", "(invalid item)", "pending"),
                item("?", "(no description)", "pending")
            ]
        );
        let old = written(Vec::new(), new.as_array().unwrap(), false);
        let change =
            json!([{"id": "2", "status": "completed"}, {"id": "3", "content": "c"}, {"content": "nameless"}]);
        assert_eq!(
            list(&change, &old[..2], true),
            [item("2", "b", "completed"), item("1", "a", "in_progress"), item("3", "c", "pending")]
        );
        let many: Vec<Value> = (0..300).map(|n| json!({"id": n, "content": "ü".repeat(5000)})).collect();
        let many = written(Vec::new(), &many, false);
        assert_eq!((many.len(), many[0].content.chars().count()), (MOST, LONGEST));
        assert!(many[0].content.ends_with(CUT));
    }

    #[test]
    fn the_list_is_what_the_last_answer_of_the_session_says() {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let call = |arguments: Value| run(&home, "s", arguments.as_object().unwrap());
        assert_eq!(call(json!({})).unwrap()["summary"]["total"], 0);
        let first = call(json!({"todos": r#"[{"id": "1", "content": "a", "status": "pending"}]"#})).unwrap();
        let db = rusqlite::Connection::open(home.state_db()).unwrap();
        db.execute_batch(
            "CREATE TABLE messages (id INTEGER PRIMARY KEY, session_id, role, tool_name, content)",
        )
        .unwrap();
        for (session, text) in
            [("s", first.to_string()), ("other", answer(&[]).to_string()), ("s", "{\"error\":1}".to_owned())]
        {
            db.execute(
                "INSERT INTO messages(session_id, role, tool_name, content) VALUES (?1, 'tool', 'todo', ?2)",
                [session, &text],
            )
            .unwrap();
        }
        let merged = call(json!({"merge": true, "todos": [{"id": "1", "status": "completed"}]})).unwrap();
        assert_eq!(merged["todos"], json!([{"id": "1", "content": "a", "status": "completed"}]));
        assert_eq!(call(json!({})).unwrap(), first);
        assert!(call(json!({"todos": 7})).is_err() && call(json!({"todos": "["})).is_err());
    }
}
