//! `hermes sessions`, `insights` and `inbox` on homes that nobody serves.

use std::os::unix::fs::PermissionsExt as _;

use hermes_tests::Home;
use hermes_tests::command::{Ran, run};
use hermes_tests::state::Shape;
use serde_json::Value;

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).unwrap()
}

/// The home that 0.19.0 left behind.
fn of_0_19_0() -> Home {
    let home = Home::empty();
    let bytes = include_bytes!("../../fixtures/home-0.19.0.tar.gz");
    tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..])).unpack(home.user()).unwrap();
    fs_err::remove_dir(home.root()).unwrap();
    fs_err::rename(home.user().join(".hermes"), home.root()).unwrap();
    home
}

fn files(home: &Home) -> Vec<String> {
    let mut all: Vec<String> =
        home.root().read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned()).collect();
    all.sort();
    all
}

#[test]
fn the_sessions_of_0_19_0_are_read_and_left_as_they_are() {
    let home = of_0_19_0();
    let (before, names) = (fs_err::read(home.root().join("state.db")).unwrap(), files(&home));
    let text = run(&home, &["sessions", "list"]).ok();
    let mut lines = text.lines();
    let head =
        lines.next().unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>();
    assert_eq!(head, ["Preview", "Workspace", "Last Active", "Src", "ID"], "{text}");
    assert!(lines.next().unwrap().starts_with("───"), "{text}");
    assert!(text.contains("hello from the terminal") && text.contains("20261121_011956_f39954"), "{text}");
    assert_eq!(
        json(run(&home, &["sessions", "list", "--source", "webhook", "--json"]))["sessions"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let two = run(&home, &["sessions", "list", "--limit", "2"]);
    assert!(two.err.contains("there are more") && two.ok().lines().count() == 4);
    assert_eq!(run(&home, &["sessions", "list", "--source", "nothing"]).ok(), "No sessions found.\n");
    assert!(run(&home, &["sessions", "list", "--workspace", "/home/user"]).ok().contains("f39954"));

    let shown = run(&home, &["sessions", "show", "20261121_0119"]).ok();
    for part in [
        "Session 20261121_011956_f39954",
        "6 messages, 1 tool call",
        "22 in",
        "hello from the terminal",
        "→ memory {",
        "\ntool memory  ",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let several = run(&home, &["sessions", "show", "2026"]).fails(1);
    assert!(several.contains("several sessions begin with `2026`"), "{several}");
    let found = run(&home, &["sessions", "search", "Door", "code"]).ok();
    assert!(found.contains("20261121_011956_f39954"), "{found}");
    let stats = run(&home, &["sessions", "stats"]).ok();
    assert!(stats.starts_with("Total sessions: 6 ") && stats.contains("  webhook: 3 sessions"), "{stats}");
    assert!(run(&home, &["sessions", "repair", "--check"]).ok().contains("are whole"));
    assert_eq!(run(&home, &["inbox", "list"]).ok(), "Nothing waits, and nothing failed.\n");
    run(&home, &["inbox", "show", "1"]).fails(1);

    // Days enough for a fixture of any age.
    let used = json(run(&home, &["-p", "default", "insights", "--days", "36500", "--json"]));
    assert_eq!(
        (&used["total"]["sessions"], &used["total"]["input_tokens"], &used["total"]["cost_usd"]),
        (&6.into(), &110.into(), &Value::Null),
        "{used}"
    );
    assert!(before == fs_err::read(home.root().join("state.db")).unwrap(), "nothing was written");
    assert_eq!(files(&home), names, "nothing was left beside it");
}

#[test]
fn an_export_is_a_line_for_each_session() {
    let home = of_0_19_0();
    let text = run(&home, &["sessions", "export"]).ok();
    let all: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(all.len(), 6);
    let first = all.iter().find(|one| one["id"] == "20261121_011956_f39954").unwrap();
    let messages = first["messages"].as_array().unwrap();
    assert_eq!((first["source"].as_str(), messages.len()), (Some("cli"), 6));
    assert_eq!(messages[3]["tool_calls"][0]["function"]["name"], "memory", "calls are no text");
    assert!(text.starts_with(r#"{"id": ""#), "written as 0.19.0 writes JSON: {text}");
    let file = home.user().join("backup.jsonl");
    let said = run(&home, &["sessions", "export", file.as_str(), "--source", "webhook"]).ok();
    assert_eq!(said, format!("Exported 3 sessions to {file}\n"));
    assert_eq!(fs_err::read_to_string(&file).unwrap().lines().count(), 3);
    assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let one = run(&home, &["sessions", "export", "--session-id", "api-b4", "-"]).ok();
    assert_eq!(one.lines().count(), 1);
    let nowhere = home.user().join("nowhere/backup.jsonl");
    let failed = run(&home, &["sessions", "export", nowhere.as_str()]).fails(1);
    assert!(failed.contains("cannot write") && failed.contains("nowhere/backup.jsonl"), "{failed}");
}

#[test]
fn sessions_are_renamed_deleted_and_pruned_where_nobody_serves() {
    let home = of_0_19_0();
    assert_eq!(
        run(&home, &["sessions", "rename", "20261121_0119", "Door", "codes"]).ok(),
        "Session '20261121_011956_f39954' renamed to: Door codes\n"
    );
    assert!(run(&home, &["sessions", "list"]).ok().contains("Door codes"));
    assert_eq!(
        run(&home, &["sessions", "delete", "Door codes", "--yes"]).ok(),
        "Deleted session '20261121_011956_f39954' (6 messages).\n"
    );
    // Sessions that have not ended stay, unless somebody wants that.
    let pruned = run(&home, &["sessions", "prune", "--older-than", "0", "--yes"]);
    assert!(pruned.err.contains("2 unused for 0 days have not ended and stay"), "{pruned:?}");
    assert!(pruned.ok().ends_with("Pruned 3 session(s).\n"));
    let rest = json(run(
        &home,
        &["sessions", "prune", "--older-than", "0", "--open", "--source", "api_server", "--yes", "--json"],
    ));
    assert_eq!(rest["deleted"].as_array().unwrap().len(), 2, "{rest}");
    assert_eq!(run(&home, &["sessions", "list"]).ok(), "No sessions found.\n");
    assert_eq!(run(&home, &["sessions", "prune", "--yes"]).ok(), "Nothing to prune.\n");
    let db = rusqlite::Connection::open(home.root().join("state.db")).unwrap();
    assert_eq!(db.query_row("pragma integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
    assert_eq!(db.query_row("select version from schema_version", [], |r| r.get::<_, i64>(0)).unwrap(), 22);
}

/// That a database cannot be read is said with the file, the cause and the next step, by every command.
#[test]
fn a_database_that_cannot_be_read_is_no_empty_one() {
    let home = Home::new();
    assert_eq!(run(&home, &["sessions", "list"]).ok(), "No sessions found.\n");
    home.write(
        "default",
        "state.db",
        "this is no database, and long enough that SQLite looks at it as one\n",
    );
    for args in [
        &["sessions", "list"][..],
        &["sessions", "show", "x"],
        &["sessions", "search", "x"],
        &["sessions", "export"],
        &["sessions", "stats"],
        &["sessions", "prune"],
        &["sessions", "delete", "x", "--yes"],
        &["inbox", "list"],
        &["-p", "default", "insights"],
    ] {
        let said = run(&home, args).fails(1);
        assert!(
            said.starts_with("Error: Could not open session database: ")
                && said.contains("/state.db")
                && said.contains("hint: "),
            "{args:?}: {said}"
        );
    }
    home.profile("coder");
    let rest = run(&home, &["insights"]);
    assert_eq!(rest.code, Some(1));
    assert!(rest.err.contains("profile 'default' is left out"), "{rest:?}");
}

#[test]
fn files_of_newer_programs_are_shown() {
    let home = Home::new();
    Shape::New.make(&home.root().join("state.db"));
    let listed = json(run(&home, &["sessions", "list", "--json"]));
    assert!(!listed["sessions"].as_array().unwrap().is_empty());
    run(&home, &["sessions", "export"]).ok();
    run(&home, &["sessions", "stats"]).ok();
    assert!(run(&home, &["sessions", "repair", "--check"]).ok().contains("are whole"));
}

#[test]
fn a_database_is_mended_with_a_copy_from_before() {
    let home = of_0_19_0();
    let path = home.root().join("state.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA foreign_keys = OFF; DROP TRIGGER messages_fts_insert;
         INSERT INTO messages(session_id, role, content, timestamp) VALUES ('lost', 'user', 'words of the lost', 1795224000)",
    )
    .unwrap();
    drop(db);
    let found = run(&home, &["sessions", "search", "lost"]);
    assert!(found.err.contains("every message was read"), "{found:?}");
    let checked = run(&home, &["sessions", "repair", "--check"]);
    assert_eq!(checked.code, Some(1));
    assert!(
        checked.out.contains("sessions that messages belong to are missing: 1")
            && checked.out.contains("search index"),
        "{checked:?}"
    );
    let mended = run(&home, &["sessions", "repair"]).ok();
    assert!(mended.contains("A copy from before is") && mended.ends_with("✓ It is whole now\n"), "{mended}");
    let copy = files(&home).into_iter().find(|name| name.starts_with("state.db.before-repair-")).unwrap();
    let count = |path: &camino::Utf8Path| -> i64 {
        let db = rusqlite::Connection::open(path).unwrap();
        db.query_row("select count(*) from messages", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count(&home.root().join(copy)), count(&path), "no row is gone");
    let found = run(&home, &["sessions", "search", "lost"]);
    assert!(found.err.is_empty() && found.out.contains("lost  recovered"), "{found:?}");
    assert!(run(&home, &["sessions", "repair"]).ok().contains("are whole"));
}
