//! Which session a conversation goes on in, over rows in memory.

use super::*;
use crate::session::shape::Shapes;

/// What the rules need of a file.
const TABLES: &str = "CREATE TABLE sessions(id TEXT PRIMARY KEY, source TEXT, session_key TEXT, system_prompt TEXT, model_config TEXT,
        parent_session_id TEXT, started_at REAL, ended_at REAL, end_reason TEXT);
     CREATE TABLE messages(session_id TEXT, timestamp REAL);
     CREATE TABLE compression_locks(session_id TEXT PRIMARY KEY, holder TEXT, acquired_at REAL, expires_at REAL);";

struct Line(Connection);

impl Line {
    fn new() -> Self {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch(TABLES).unwrap();
        Self(db)
    }

    /// A session; `end`: reason, or empty.
    fn row(&self, id: &str, parent: &str, end: &str, started: f64) -> &Self {
        self.0
            .execute(
                "INSERT INTO sessions(id, source, parent_session_id, started_at, ended_at, end_reason)
                 VALUES (?1, 'api_server', NULLIF(?2, ''), ?4, iif(?3 = '', NULL, ?4 + 1), NULLIF(?3, ''))",
                params![id, parent, end, started],
            )
            .unwrap();
        self
    }

    fn set(&self, id: &str, column: &str, value: &str) -> &Self {
        self.0.execute(&format!("UPDATE sessions SET {column} = ?2 WHERE id = ?1"), [id, value]).unwrap();
        self
    }

    fn find(&self, id: &str) -> Known {
        find(&self.0, Shapes::default().of(&self.0).unwrap(), id, 100.0).unwrap()
    }

    fn end_of(&self, id: &str) -> (String, State) {
        match self.find(id) {
            Known::Row(row) => (row.id, row.state),
            other => panic!("{other:?}"),
        }
    }
}

fn at(id: &str, state: State) -> (String, State) {
    (id.to_owned(), state)
}

#[test]
fn a_line_is_followed_to_its_end() {
    let line = Line::new();
    line.row("a", "", "compression", 1.0).row("b", "a", "compression", 2.0).row("c", "b", "", 3.0);
    for id in ["a", "b", "c"] {
        assert_eq!(line.end_of(id), at("c", State::Open));
    }
    line.set("c", "end_reason", "session_reset").set("c", "ended_at", "4");
    assert_eq!(line.end_of("a"), at("c", State::Over));
    line.set("c", "end_reason", "startup_orphan_reap");
    assert_eq!(line.end_of("a"), at("c", State::Reopened));
    assert!(matches!(line.find("none"), Known::Nothing));
}

#[test]
fn a_fork_is_no_continuation_and_a_copied_marker_is_no_fork() {
    let line = Line::new();
    line.row("a", "", "compression", 1.0).row("b", "a", "compression", 2.0).row("c", "b", "", 3.0);
    // Named so, whatever is in it, however new it is.
    for (n, marker) in ["_branched_from", "_delegate_from", "_reset_from"].into_iter().enumerate() {
        let fork = format!("fork-{n}");
        line.row(&fork, "b", "", 50.0).set(&fork, "model_config", &format!(r#"{{"{marker}": "b"}}"#));
    }
    line.row("tool", "b", "", 50.0).set("tool", "source", "tool");
    assert_eq!(line.end_of("a"), at("c", State::Open));
    // A continuation has its parent's settings.
    line.set("c", "model_config", r#"{"_branched_from": "elsewhere"}"#);
    assert_eq!(line.end_of("a"), at("c", State::Open));
    for nonsense in ["{broken", "[1]", "7", "null"] {
        line.set("c", "model_config", nonsense);
        assert_eq!(line.end_of("a"), at("c", State::Open), "{nonsense}");
    }
}

#[test]
fn of_several_continuations_the_one_in_use_counts() {
    let line = Line::new();
    line.row("a", "", "compression", 1.0).row("over", "a", "cli_close", 9.0);
    assert_eq!(line.end_of("a"), at("over", State::Over));
    line.row("live", "a", "", 2.0);
    assert_eq!(line.end_of("a"), at("live", State::Open));
    line.row("newer", "a", "", 3.0);
    assert_eq!(line.end_of("a"), at("newer", State::Open));
    line.0
        .execute(
            "INSERT INTO messages VALUES ('live', 8.0), ('newer', 4.0), ('newer', 1e200), ('newer', 'x')",
            [],
        )
        .unwrap();
    assert_eq!(line.end_of("a"), at("live", State::Open));
    line.0.execute_batch("ALTER TABLE sessions ADD COLUMN last_activity_at REAL").unwrap();
    line.set("newer", "last_activity_at", "9");
    assert_eq!(line.end_of("a"), at("newer", State::Open));
    line.set("newer", "last_activity_at", "5e246");
    assert_eq!(line.end_of("a"), at("live", State::Open));
    line.row("again", "a", "compression", 1.5).row("last", "again", "", 1.6);
    assert_eq!(line.end_of("a"), at("last", State::Open));
}

/// Its messages are all in it, and nobody else has them.
#[test]
fn a_line_without_an_end_is_opened_again_unless_somebody_is_at_work_on_it() {
    let line = Line::new();
    line.row("a", "", "compression", 1.0);
    assert_eq!(line.end_of("a"), at("a", State::Reopened));
    line.0.execute("INSERT INTO compression_locks VALUES ('a', 'pid=1', 50.0, 100.5)", []).unwrap();
    assert!(matches!(line.find("a"), Known::Compressing));
    line.0.execute("UPDATE compression_locks SET expires_at = 99.5", []).unwrap();
    assert_eq!(line.end_of("a"), at("a", State::Reopened));
    reopen(&line.0, "a", 100.0).unwrap();
    assert_eq!(line.end_of("a"), at("a", State::Open));
    let locks: i64 =
        line.0.query_row("SELECT count(*) FROM compression_locks", [], |row| row.get(0)).unwrap();
    assert_eq!(locks, 0);
    // Circles end.
    let line = Line::new();
    line.row("a", "b", "compression", 1.0).row("b", "a", "compression", 2.0).row(
        "self",
        "self",
        "compression",
        1.0,
    );
    assert_eq!(line.end_of("a"), at("b", State::Reopened));
    assert_eq!(line.end_of("self"), at("self", State::Reopened));
}

#[test]
fn ends_that_nobody_meant_are_not_final() {
    let line = Line::new();
    let reopened = ["agent_close", "ws_orphan_reap", "superseded_by_resume", "startup_orphan_reap"];
    let over = [
        "tui_shutdown",
        "ws_disconnect",
        "idle_timeout",
        "lru_evict",
        "new_session",
        "daily",
        "webhook_complete",
    ];
    for (reasons, state) in [(&reopened[..], State::Reopened), (&over[..], State::Over)] {
        for reason in reasons {
            line.row(reason, "", reason, 1.0);
            assert_eq!(line.end_of(reason), at(reason, state));
        }
    }
    // Ended, and nobody says why.
    line.row("mute", "", "x", 1.0)
        .0
        .execute("UPDATE sessions SET end_reason = NULL WHERE id = 'mute'", [])
        .unwrap();
    assert_eq!(line.end_of("mute"), at("mute", State::Over));
}
