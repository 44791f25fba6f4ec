//! What is stored, read and changed, on real files of both programs.

use camino::{Utf8Path, Utf8PathBuf};
use hermes_wire::ProfileHome;
use hermes_wire::stored::{Change, Changed};
use rusqlite::Connection;
use tempfile::TempDir;

use super::repair::{self, Faults};
use super::*;
use crate::store::fixtures;
use crate::store::{self, Owner};

/// A home with a file of ours.
fn home() -> (TempDir, ProfileHome, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
    let db = store::open_database(&home.state_db()).unwrap();
    (dir, home, db)
}

fn talk(db: &Connection, id: &str, source: &str, at: f64, texts: &[&str]) {
    db.execute(
        "INSERT INTO sessions(id, source, started_at, message_count) VALUES (?1, ?2, ?3, ?4)",
        rusqlite::params![id, source, at, u32::try_from(texts.len()).unwrap()],
    )
    .unwrap();
    for (n, text) in texts.iter().enumerate() {
        let role = if n % 2 == 0 { "user" } else { "assistant" };
        #[expect(clippy::cast_precision_loss, reason = "a handful")]
        let at = at + n as f64;
        db.execute(
            "INSERT INTO messages(session_id, role, content, timestamp) VALUES (?1, ?2, ?3, ?4)",
            rusqlite::params![id, role, text, at],
        )
        .unwrap();
    }
}

fn count(db: &Connection, what: &str) -> i64 {
    db.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
}

fn delete(home: &ProfileHome, sessions: &[&str], unused_since: Option<f64>) -> Changed {
    let sessions = sessions.iter().map(|id| (*id).to_owned()).collect();
    change(home, &Change::Delete { sessions, unused_since }).unwrap()
}

fn ids(home: &ProfileHome, wanted: &Wanted) -> Vec<String> {
    let look = Look::into(home).unwrap().unwrap();
    look.list(wanted).unwrap().into_iter().map(|session| session.id).collect()
}

#[test]
fn sessions_are_listed_by_their_last_use_and_what_cannot_be_read_is_no_emptiness() {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
    assert!(Look::into(&home).unwrap().is_none(), "nothing was ever stored");
    fs_err::write(home.state_db(), "this is no database, whatever its name says").unwrap();
    assert!(matches!(Look::into(&home), Err(Unread::Read { .. })));

    let (_dir, home, db) = home_with_three();
    assert_eq!(ids(&home, &Wanted::default()), ["new", "old", "other"]);
    assert_eq!(ids(&home, &Wanted { source: Some("telegram".to_owned()), ..Wanted::default() }), ["other"]);
    assert_eq!(ids(&home, &Wanted { limit: Some(1), ..Wanted::default() }), ["new"]);
    db.execute("UPDATE sessions SET cwd = '/home/Ana/work' WHERE id = 'old'", []).unwrap();
    assert_eq!(ids(&home, &Wanted { workspace: Some("ana".to_owned()), ..Wanted::default() }), ["old"]);
    // A row that went on elsewhere, and what a sub-agent did, are no conversations.
    db.execute_batch(
        "UPDATE sessions SET end_reason = 'compression', ended_at = 5 WHERE id = 'old';
         INSERT INTO sessions(id, source, started_at, parent_session_id) VALUES ('tail', 'cli', 1000, 'old'), ('sub', 'subagent', 2000, 'new')",
    )
    .unwrap();
    assert_eq!(ids(&home, &Wanted::default()), ["tail", "new", "other"]);
    let look = Look::into(&home).unwrap().unwrap();
    assert_eq!(look.find("ol").unwrap(), Found::One("old".to_owned()), "the beginning of an id");
    assert_eq!(look.find("o").unwrap(), Found::Several(vec!["old".to_owned(), "other".to_owned()]));
    assert_eq!((look.find("x").unwrap(), look.find("").unwrap()), (Found::None, Found::None));
    let lines = look.messages("new").unwrap();
    assert_eq!(
        lines.iter().map(|line| (line.role.as_str(), line.text.as_str())).collect::<Vec<_>>(),
        [("user", "third question"), ("assistant", "third answer")]
    );
}

fn home_with_three() -> (TempDir, ProfileHome, Connection) {
    let (dir, home, db) = home();
    talk(&db, "other", "telegram", 100.0, &["first question", "first answer"]);
    talk(&db, "old", "cli", 200.0, &["second question", "second answer about the door code"]);
    talk(&db, "new", "cli", 300.0, &["third question", "third answer"]);
    (dir, home, db)
}

#[test]
fn files_of_newer_programs_are_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(Utf8Path::from_path(dir.path()).unwrap());
    fixtures::make(&home.state_db(), &[fixtures::V30, fixtures::ROWS]);
    let look = Look::into(&home).unwrap().unwrap();
    let sessions = look.list(&Wanted::default()).unwrap();
    assert!(!sessions.is_empty());
    for id in look.all(None).unwrap() {
        let exported = look.export(&id).unwrap().unwrap();
        assert_eq!(exported["id"], id);
        assert!(exported["messages"].is_array());
    }
    look.usage(None, &jiff::tz::TimeZone::UTC).unwrap();
    look.counts().unwrap();
    let faults = look.faults().unwrap();
    assert!(faults.damage.is_empty() && faults.orphans == 0 && faults.foreign_index, "{faults:?}");
}

#[test]
fn an_export_has_every_column_and_every_message() {
    let (_dir, home, db) = home();
    talk(&db, "s", "cli", 100.0, &["q", "\0json:[{\"type\":\"text\",\"text\":\"a\"}]"]);
    db.execute(
        "INSERT INTO messages(session_id, role, content, timestamp, tool_calls, active) VALUES ('s', 'assistant', '', 102, ?1, 0)",
        [r#"[{"id":"c1","type":"function","function":{"name":"f","arguments":"{}"}}]"#],
    )
    .unwrap();
    let look = Look::into(&home).unwrap().unwrap();
    let session = look.export("s").unwrap().unwrap();
    assert_eq!((session["id"].as_str(), session["source"].as_str()), (Some("s"), Some("cli")));
    assert!(session.get("system_prompt").is_some_and(serde_json::Value::is_null), "what is empty is there");
    let messages = session["messages"].as_array().unwrap();
    assert_eq!(messages.len(), 3, "what has left the prompt too");
    assert_eq!(messages[1]["content"][0]["text"], "a");
    assert_eq!(
        (&messages[2]["tool_calls"][0]["function"]["name"], &messages[2]["active"]),
        (&"f".into(), &0.into())
    );
    assert_eq!(look.export("nobody").unwrap(), None);
}

#[test]
fn words_are_found_by_the_index_and_without_one() {
    let (_dir, home, db) = home_with_three();
    talk(&db, "zh", "cli", 400.0, &["请问门的密码是什么", "密码是七七"]);
    let found = |words: &str| {
        let look = Look::into(&home).unwrap().unwrap();
        let found = look.search(words, None, 10).unwrap();
        (found.by, found.hits.into_iter().map(|hit| hit.session).collect::<Vec<_>>())
    };
    assert_eq!(found("door code"), (By::Index, vec!["old".to_owned()]));
    assert_eq!(found("door NOT code"), (By::Index, vec![]));
    assert_eq!(found("门的密码"), (By::Index, vec!["zh".to_owned()]));
    assert_eq!(found("密码").0, By::Reading, "shorter than the index knows");
    assert_eq!(found("密码").1.len(), 2);
    assert_eq!(found("\" ( *"), (By::Index, vec![]), "nothing to look for is no error");
    db.execute_batch("DROP TRIGGER messages_fts_insert").unwrap();
    assert_eq!(found("Door code"), (By::ReadingForLack, vec!["old".to_owned()]));
}

#[test]
fn a_conversation_goes_as_a_whole_and_a_fork_of_it_stays() {
    let (_dir, home, db) = home_with_three();
    db.execute_batch(
        r#"UPDATE sessions SET end_reason = 'compression', ended_at = 5 WHERE id = 'old';
         INSERT INTO sessions(id, source, started_at, parent_session_id, model_config) VALUES
            ('tail', 'cli', 1000, 'old', NULL), ('sub', 'subagent', 1001, 'tail', NULL),
            ('fork', 'cli', 1002, 'tail', '{"_branched_from": "tail"}'), ('early', 'cli', 1003, 'old', '{"_branched_from": "old"}');
         INSERT INTO session_model_usage(session_id, model) VALUES ('tail', 'm');
         INSERT INTO messages(session_id, role, content, timestamp) VALUES ('tail', 'user', 'x', 1000), ('fork', 'user', 'x', 1002)"#,
    )
    .unwrap();
    fs_err::create_dir(home.path().join("sessions")).unwrap();
    fs_err::write(home.path().join("sessions/tail.jsonl"), "{}").unwrap();
    let changed = delete(&home, &["tail", "nobody"], None);
    assert_eq!(
        (changed.done[0].id.as_str(), changed.done[0].sessions, changed.done[0].messages),
        ("tail", 3, 3),
        "{changed:?}"
    );
    assert_eq!(
        (changed.kept[0].id.as_str(), changed.kept[0].why.as_str()),
        ("nobody", "there is no such session")
    );
    assert_eq!(ids(&home, &Wanted::default()), ["early", "fork", "new", "other"]);
    assert_eq!(count(&db, "sessions WHERE parent_session_id IS NOT NULL"), 0, "forks stand by themselves");
    assert_eq!((count(&db, "session_model_usage"), count(&db, "messages WHERE session_id = 'fork'")), (0, 1));
    assert_eq!(count(&db, "messages_fts WHERE messages_fts MATCH 'door'"), 0, "the index forgets it too");
    assert_eq!(count(&db, "pragma_foreign_key_check"), 0);
    assert!(!home.path().join("sessions/tail.jsonl").exists());
}

#[test]
fn a_session_in_which_something_is_done_stays() {
    let (_dir, home, db) = home_with_three();
    let me = Owner::current();
    db.execute(
        "INSERT INTO session_turn_leases(conversation_id, holder, acquired_at, expires_at) VALUES ('old', 'h', 1, 9e9)",
        [],
    )
    .unwrap();
    db.execute(
        "INSERT INTO hermes_lease(session_key, owner_pid, owner_start, taken_at, conversation_id, holder) VALUES ('k', ?1, ?2, 1, 'old', 'h')",
        rusqlite::params![me.pid, me.start_column()],
    )
    .unwrap();
    db.execute_batch(
        "INSERT INTO hermes_inbox(platform, session_key, state, payload, received_at, session_id)
            VALUES ('telegram', 'k', 'postponed', '{}', 1, 'other')",
    )
    .unwrap();
    let changed = delete(&home, &["old", "other", "new"], None);
    let why: Vec<(&str, &str)> =
        changed.kept.iter().map(|kept| (kept.id.as_str(), kept.why.as_str())).collect();
    assert_eq!(
        why,
        [
            ("old", "a turn runs in it (another turn of this gateway runs in this conversation)"),
            ("other", "message 1 of the inbox is to be answered in it")
        ]
    );
    assert_eq!((changed.done.len(), count(&db, "messages")), (1, 4));
    // A turn of a process that is gone holds nothing.
    db.execute("UPDATE hermes_lease SET owner_pid = 2147483646, owner_start = 1", []).unwrap();
    assert_eq!(delete(&home, &["old"], Some(100.0)).kept[0].why, "it was used meanwhile");
    assert_eq!(delete(&home, &["old"], Some(300.0)).done.len(), 1);
}

#[test]
fn what_nobody_used_for_long_is_found_and_what_is_not_over_or_kept_on_purpose_is_counted_apart() {
    let (_dir, home, db) = home_with_three();
    db.execute_batch(
        "UPDATE sessions SET ended_at = 250 WHERE id = 'old'; UPDATE sessions SET ended_at = 150, archived = 1 WHERE id = 'other'",
    )
    .unwrap();
    let unused = |before, open| Look::into(&home).unwrap().unwrap().unused(before, None, open).unwrap();
    let found = unused(1000.0, false);
    assert_eq!((found.sessions, found.open, found.pinned), (vec!["old".to_owned()], 1, 1));
    assert_eq!(unused(1000.0, true).sessions, ["old", "new"]);
    assert_eq!(unused(201.0, true).sessions, [] as [&str; 0], "its last message counts");
}

#[test]
fn a_title_is_one_line_that_nobody_else_has() {
    let (_dir, home, db) = home_with_three();
    let rename = |session: &str, title: &str| {
        let changed =
            change(&home, &Change::Rename { session: session.to_owned(), title: title.to_owned() }).unwrap();
        changed.kept.first().map(|kept| kept.why.clone())
    };
    assert_eq!(rename("old", " Door\ncodes\u{200b} "), None);
    assert_eq!(rename("new", "Door codes"), Some("session old has this title already".to_owned()));
    assert_eq!(rename("old", "Door codes"), None, "its own");
    assert!(rename("new", "\u{7}\n ").unwrap().contains("nothing in it"));
    assert!(rename("new", &"x".repeat(101)).unwrap().contains("longer than 100"));
    assert_eq!(rename("nobody", "x"), Some("there is no such session".to_owned()));
    let title: String =
        db.query_row("SELECT title FROM sessions WHERE id = 'old'", [], |row| row.get(0)).unwrap();
    assert_eq!(title, "Door codes");
    let look = Look::into(&home).unwrap().unwrap();
    assert_eq!(look.find("Door codes").unwrap(), Found::One("old".to_owned()));
}

#[test]
fn usage_is_counted_by_day_and_model_with_what_a_job_beside_cost() {
    let (_dir, home, db) = home();
    let day = 86_400.0;
    talk(&db, "a", "cli", 10.0 * day, &["q", "a"]);
    talk(&db, "b", "cli", 20.0 * day, &["q"]);
    talk(&db, "c", "subagent", 20.0 * day, &["q"]);
    db.execute_batch(
        "INSERT INTO session_model_usage(session_id, model, task, api_call_count, input_tokens, output_tokens, cost_status)
            VALUES ('b', 'm', '', 2, 10, 5, 'unknown'), ('b', 'small', 'title_generation', 1, 7, 1, NULL);
         UPDATE sessions SET model = 'm', input_tokens = 10, output_tokens = 5, api_call_count = 2, tool_call_count = 3 WHERE id = 'b';
         UPDATE sessions SET model = 'old', input_tokens = 100, api_call_count = 1, estimated_cost_usd = 0.5, cost_status = 'estimated' WHERE id = 'a';
         INSERT INTO messages(session_id, role, content, timestamp) VALUES ('a', 'user', 'later', 1728001)",
    )
    .unwrap();
    let look = Look::into(&home).unwrap().unwrap();
    let all = look.usage(None, &jiff::tz::TimeZone::UTC).unwrap();
    let mut used: Vec<_> =
        all.used.iter().map(|one| (one.model.as_str(), one.tokens.input, one.cost)).collect();
    used.sort_by_key(|one| one.1);
    assert_eq!(
        used,
        [("small", 7, None), ("m", 10, None), ("old", 100, Some(0.5))],
        "sums of models, else of the session"
    );
    assert_eq!(
        all.days.iter().map(|day| (day.sessions, day.messages, day.tool_calls)).collect::<Vec<_>>(),
        [(1, 2, 0), (1, 1, 3), (0, 1, 0)]
    );
    let since = look.usage(Some(15.0 * day), &jiff::tz::TimeZone::UTC).unwrap();
    assert_eq!((since.used.len(), since.earlier), (2, 1), "the first one was used since");
    assert_eq!(since.used[0].day.to_string(), "1970-01-21");
}

fn faults(home: &ProfileHome) -> Faults {
    Look::into(home).unwrap().unwrap().faults().unwrap()
}

#[test]
fn an_index_and_sessions_that_are_missing_are_made_anew_and_a_copy_stays() {
    let (_dir, home, db) = home_with_three();
    assert!(faults(&home).is_none(), "{:?}", faults(&home));
    db.execute_batch(
        "PRAGMA foreign_keys = OFF; DROP TRIGGER messages_fts_insert;
         INSERT INTO messages(session_id, role, content, timestamp) VALUES ('lost', 'user', 'orphan words', 500)",
    )
    .unwrap();
    drop(db);
    let found = faults(&home);
    assert_eq!((found.orphans, found.no_index, found.damage.is_empty()), (1, true, true), "{found:?}");
    let mended = repair::mend(&home, &found).unwrap();
    assert!(
        mended.left.is_none() && mended.reindexed && mended.adopted == 1 && mended.saved.is_none(),
        "{mended:?}"
    );
    let copy = Connection::open(&mended.copy).unwrap();
    assert_eq!((count(&copy, "messages"), count(&copy, "sessions")), (7, 3), "as it was");
    let db = store::open_database(&home.state_db()).unwrap();
    assert_eq!((count(&db, "messages"), count(&db, "sessions WHERE source = 'recovered'")), (7, 1));
    assert_eq!(count(&db, "messages_fts WHERE messages_fts MATCH 'orphan'"), 1);
}

#[test]
fn what_can_be_read_of_a_damaged_file_gets_a_new_one() {
    let (_dir, home, db) = home();
    let texts: Vec<String> = (0..400).map(|n| format!("message {n} {}", "x".repeat(300))).collect();
    talk(&db, "s", "cli", 100.0, &texts.iter().map(String::as_str).collect::<Vec<_>>());
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let page: i64 = db
        .query_row(
            "SELECT pageno FROM dbstat WHERE name = 'messages' AND pagetype = 'leaf' LIMIT 1 OFFSET 10",
            [],
            |row| row.get(0),
        )
        .unwrap_or(0);
    drop(db);
    // Without the table of pages any in the middle will do.
    let mut bytes = fs_err::read(home.state_db()).unwrap();
    let middle =
        if page > 0 { usize::try_from(page - 1).unwrap() * 4096 } else { bytes.len() / 4096 / 2 * 4096 };
    bytes[middle..middle + 4096].fill(0xa5);
    fs_err::write(home.state_db(), &bytes).unwrap();
    let found = faults(&home);
    assert!(!found.damage.is_empty());
    let mended = repair::mend(&home, &found).unwrap();
    assert!(mended.left.damage.is_empty(), "{mended:?}");
    assert_eq!(fs_err::read(&mended.copy).unwrap().len(), bytes.len(), "the copy has every page");
    let db = store::open_database(&home.state_db()).unwrap();
    let (messages, sessions) = (count(&db, "messages"), count(&db, "sessions"));
    assert!(messages > 300 && sessions >= 1, "{messages} {sessions} {mended:?}");
    assert!(messages == 400 || !mended.incomplete.is_empty(), "what is missing is said: {mended:?}");
    assert_eq!(count(&db, "messages_fts WHERE messages_fts MATCH 'message'"), messages);
}

#[test]
fn a_file_that_somebody_has_open_is_not_mended() {
    let (_dir, home, db) = home_with_three();
    db.execute_batch("DROP TRIGGER messages_fts_insert; BEGIN; SELECT count(*) FROM sessions").unwrap();
    let found = faults(&home);
    // The connection of this test stays open, as another program's would.
    let refused = repair::mend(&home, &found);
    assert!(matches!(refused, Err(repair::RepairError::InUse { .. })), "{refused:?}");
    drop(db);
}
