//! The four answers over a small database, and words that are no error of syntax.

use super::*;

const TABLES: &str = "
    CREATE TABLE sessions(id TEXT PRIMARY KEY, source TEXT, model TEXT, title TEXT, started_at REAL, message_count INTEGER,
        parent_session_id TEXT);
    CREATE TABLE messages(id INTEGER PRIMARY KEY, session_id TEXT, role TEXT, content TEXT, timestamp REAL, tool_name TEXT);
    CREATE VIRTUAL TABLE messages_fts USING fts5(content);
    CREATE TRIGGER i AFTER INSERT ON messages BEGIN INSERT INTO messages_fts(rowid, content) VALUES (new.id, new.content); END;
    INSERT INTO sessions VALUES ('now', 'api_server', 'm', NULL, 300, 2, 'before'), ('before', 'api_server', 'm', NULL, 200, 1, NULL),
        ('tea', 'telegram', 'm', 'About tea', 100, 3, NULL), ('more', 'telegram', 'm', NULL, 150, 1, 'tea'),
        ('none', 'subagent', 'm', NULL, 160, 1, NULL);";

struct Place {
    _dir: tempfile::TempDir,
    home: ProfileHome,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let home = ProfileHome::new(camino::Utf8Path::from_path(dir.path()).unwrap());
        let db = rusqlite::Connection::open(home.state_db()).unwrap();
        db.execute_batch(TABLES).unwrap();
        for (id, session, role, content) in [
            (1, "tea", "user", "which tea do I like"),
            (2, "tea", "tool", "tea from a tool"),
            (3, "tea", "assistant", "You like green tea."),
            (4, "more", "user", "and coffee?"),
            (5, "none", "user", "tea of nobody"),
            (6, "before", "user", "tea, earlier in this line"),
            (7, "now", "user", "tea, just now"),
        ] {
            db.execute(
                "INSERT INTO messages VALUES (?1, ?2, ?3, ?4, ?1, NULL)",
                rusqlite::params![id, session, role, content],
            )
            .unwrap();
        }
        Self { _dir: dir, home }
    }

    fn ask(&self, arguments: &Value) -> Value {
        answer(&self.home, "now", arguments.as_object().unwrap())
    }
}

#[test]
fn what_was_said_is_found_but_not_what_is_being_said() {
    let place = Place::new();
    let said = place.ask(&json!({"query": "tea"}));
    assert_eq!((&said["count"], &said["mode"]), (&json!(1), &json!("discover")), "{said}");
    let found = &said["results"][0];
    assert_eq!((&found["session_id"], &found["title"]), (&json!("tea"), &json!("About tea")));
    assert!(found["snippet"].as_str().unwrap().contains(">>>tea<<<"), "{found}");
    assert_eq!(found["messages"].as_array().unwrap().len(), 3);
    assert_eq!(found["bookend_end"][1]["content"], "You like green tea.");
    let anchors =
        found["messages"].as_array().unwrap().iter().filter(|message| message["anchor"] == true).count();
    assert_eq!(anchors, 1);
    // One line of sessions is one result, and the session that was found in is named.
    let more = place.ask(&json!({"query": "coffee", "sort": "newest"}));
    assert_eq!(
        (&more["results"][0]["session_id"], &more["results"][0]["parent_session_id"]),
        (&json!("more"), &json!("tea"))
    );
    assert_eq!(place.ask(&json!({"query": "tool"}))["message"], "No matching sessions found.");
    assert_eq!(place.ask(&json!({"query": "tool", "role_filter": "tool"}))["count"], 1);
    for odd in ["\"", "(", "NEAR(", "tea AND", "*", "a:b", "'; DROP TABLE messages; --"] {
        assert_eq!(place.ask(&json!({"query": odd}))["success"], true, "{odd}");
    }
}

#[test]
fn a_session_is_read_and_scrolled_and_the_latest_are_listed() {
    let place = Place::new();
    let all = place.ask(&json!({}));
    assert_eq!(
        (&all["count"], &all["results"][0]["preview"]),
        (&json!(1), &json!("which tea do I like")),
        "{all}"
    );
    let whole = place.ask(&json!({"session_id": "tea"}));
    assert_eq!((&whole["message_count"], &whole["truncated"]), (&json!(3), &json!(false)));
    assert_eq!(whole["messages"].as_array().unwrap().len(), 3);
    let around = place.ask(&json!({"session_id": "tea", "around_message_id": 2, "window": 1}));
    assert_eq!((&around["messages_before"], &around["messages_after"]), (&json!(1), &json!(1)), "{around}");
    let bound = place.ask(&json!({"session_id": "tea", "around_message_id": "4"}));
    assert_eq!(bound["session_id"], "more");
    for (arguments, error) in [
        (json!({"session_id": "gone"}), "session_id not found: gone"),
        (json!({"session_id": "tea", "around_message_id": 7}), "around_message_id 7 not in session_id tea"),
        (
            json!({"session_id": "before", "around_message_id": 6}),
            "scroll rejected: anchor lives in the current session lineage",
        ),
    ] {
        let said = place.ask(&arguments);
        assert!(said["error"].as_str().unwrap().starts_with(error), "{said}");
    }
    let db = rusqlite::Connection::open(place.home.state_db()).unwrap();
    for n in 10..100 {
        let content = format!("{n} {}", "long ".repeat(2000));
        db.execute(
            "INSERT INTO messages VALUES (?1, 'tea', 'user', ?2, 1, NULL)",
            rusqlite::params![n, content],
        )
        .unwrap();
    }
    let whole = place.ask(&json!({"session_id": "tea"}));
    assert_eq!((whole["messages"].as_array().unwrap().len(), &whole["truncated"]), (30, &json!(true)));
    assert!(whole.to_string().len() < 45_000);
    assert!(place.ask(&json!({"query": "long", "limit": 10})).to_string().len() < 45_000);
    fs_err::remove_file(place.home.state_db()).unwrap();
    assert_eq!(place.ask(&json!({}))["success"], false);
}
