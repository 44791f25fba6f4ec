//! Rows of the turn leases in a real file.

use camino::Utf8PathBuf;
use hermes_wire::ProfileHome;
use tempfile::TempDir;

use super::*;
use crate::store::Store;

const ME: Owner = Owner { pid: 4_194_900, start_time: 9 };
const NOW: f64 = 1_000_000.0;

/// A file as a worker leaves it.
async fn file() -> (TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let home = ProfileHome::new(Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap());
    let store = Store::open(&home, ME).unwrap();
    store.close().await;
    let db = Connection::open(home.state_db()).unwrap();
    (dir, db)
}

/// Another program's row.
fn put(db: &Connection, holder: &str, expires: f64) {
    db.execute(
        "INSERT OR REPLACE INTO session_turn_leases(conversation_id, holder, acquired_at, expires_at)
         VALUES ('c', ?1, ?2, ?3)",
        params![holder, NOW - 10.0, expires],
    )
    .unwrap();
}

fn is_free(db: &Connection, watch: &Watch, now: f64) -> bool {
    look(db, watch, ME, Some("c"), now).unwrap().is_none()
}

/// A process that is there as long as this test is.
fn alive() -> u32 {
    std::os::unix::process::parent_id()
}

const GONE: u32 = 4_194_999;

#[tokio::test]
async fn the_root_is_where_compression_began_and_forks_have_their_own() {
    let (_dir, db) = file().await;
    let session =
        |id: &str, parent: Option<&str>, ended: Option<&str>, source: &str, config: Option<&str>| {
            db.execute(
                "INSERT INTO sessions(id, parent_session_id, end_reason, source, model_config, started_at)
             VALUES (?1, ?2, ?3, ?4, ?5, 1.0)",
                params![id, parent, ended, source, config],
            )
            .unwrap();
        };
    session("a", None, Some("compression"), "cli", None);
    session("b", Some("a"), Some("compression"), "cli", Some("{broken"));
    session("tip", Some("b"), None, "cli", Some(r#"{"_branched_from": "another"}"#));
    session("branch", Some("b"), None, "cli", Some(r#"{"_branched_from": "b"}"#));
    session("delegate", Some("b"), None, "cli", Some(r#"{"_delegate_from": "b"}"#));
    session("reset", Some("b"), None, "cli", Some(r#"{"_reset_from": "b"}"#));
    session("tool", Some("b"), None, "tool", None);
    session("list", Some("b"), None, "cli", Some(r#"["_reset_from"]"#));
    session("open", None, None, "cli", None);
    session("child", Some("open"), None, "cli", None);
    for (id, expected) in [
        ("a", "a"),
        ("b", "a"),
        ("tip", "a"),
        ("branch", "branch"),
        ("delegate", "delegate"),
        ("reset", "reset"),
        ("tool", "tool"),
        ("list", "a"),
        ("child", "child"),
        ("none", "none"),
    ] {
        assert_eq!(root(&db, id).unwrap(), expected, "{id}");
    }
    // A circle, and a row that is its own parent: the last one that was not yet passed.
    db.execute("UPDATE sessions SET parent_session_id = 'b' WHERE id = 'a'", []).unwrap();
    assert_eq!(root(&db, "tip").unwrap(), "a");
    assert_eq!(root(&db, "a").unwrap(), "b");
    db.execute("UPDATE sessions SET parent_session_id = 'a' WHERE id = 'a'", []).unwrap();
    assert_eq!(root(&db, "tip").unwrap(), "a");
}

#[tokio::test]
async fn a_row_keeps_its_conversation_while_its_holder_lives() {
    let (_dir, db) = file().await;
    let watch = Watch::default();
    assert!(is_free(&db, &watch, NOW));
    put(&db, &format!("pid={}:turn=t:platform=cli", alive()), NOW + 1.0);
    let Some(Refused::Held(by)) = look(&db, &watch, ME, Some("c"), NOW).unwrap() else { panic!("free") };
    assert!(by.contains(&format!("pid={}:turn=t:platform=cli", alive())), "{by}");
    assert!(is_free(&db, &watch, NOW + 1.0), "its time is over");
    put(&db, &format!("pid={GONE}:turn=t:platform=cli"), NOW + 1.0);
    assert!(is_free(&db, &watch, NOW), "its process is gone");
    put(&db, &format!("pid={}:turn=t:platform=cli", ME.pid), NOW + 1.0);
    assert!(is_free(&db, &watch, NOW), "an earlier process with this one's number");
    put(&db, "no number", NOW + 1.0);
    assert!(!is_free(&db, &watch, NOW), "nothing but its time is known");
    let held = take(&db, ME, "c".to_owned(), "webhook", NOW).unwrap();
    assert!(held.holder.starts_with(&format!("pid={}:turn=", ME.pid)), "{held:?}");
    assert!(held.holder.ends_with(":platform=webhook"), "{held:?}");
    let other = take(&db, ME, "d".to_owned(), "webhook", NOW).unwrap();
    assert_ne!(held.holder, other.holder);
}

/// What `hermes_lease` says of a process says more than a number.
#[tokio::test]
async fn a_row_of_this_program_is_judged_by_its_process_and_its_start() {
    let (_dir, db) = file().await;
    let watch = Watch::default();
    let own = |owner: Owner| {
        db.execute(
            "INSERT OR REPLACE INTO hermes_lease(session_key, owner_pid, owner_start, taken_at, conversation_id, holder)
             VALUES ('k', ?1, ?2, 1.0, 'c', 'pid=1:turn=ours')",
            params![owner.pid, owner.start_column()],
        )
        .unwrap();
    };
    put(&db, "pid=1:turn=ours", NOW + 100.0);
    own(Owner { start_time: Owner::current().start_time + 1, ..Owner::current() });
    assert!(is_free(&db, &watch, NOW), "its process is gone, whoever has the number now");
    own(Owner::current());
    let by = look(&db, &watch, ME, Some("c"), NOW).unwrap();
    assert_eq!(by, Some(Refused::Held("another turn of this gateway runs in this conversation".to_owned())));
    assert!(!is_free(&db, &watch, NOW + 500.0), "it only waits to be renewed");
    own(ME);
    assert!(!is_free(&db, &watch, NOW), "this process's own turn");
    release_all(&db, ME).unwrap();
    assert!(row(&db, "c").unwrap().is_none());
}

/// A clock that jumps, or a machine that slept, takes nothing away; another program does.
#[tokio::test]
async fn a_row_that_ran_out_is_still_its_holders_until_it_is_taken() {
    let (_dir, db) = file().await;
    let held = take(&db, ME, "c".to_owned(), "webhook", NOW).unwrap();
    db.execute(
        "INSERT INTO hermes_lease(session_key, owner_pid, owner_start, taken_at, conversation_id, holder)
         VALUES ('k', ?1, ?2, 1.0, 'c', ?3)",
        params![ME.pid, ME.start_column(), held.holder],
    )
    .unwrap();
    let expires = || row(&db, "c").unwrap().unwrap().expires;
    assert!(holds(&db, &held, NOW + 100.0).unwrap());
    assert!((expires() - (NOW + TTL)).abs() < 0.1, "a step of a good row writes nothing");
    assert!(holds(&db, &held, NOW + 900.0).unwrap());
    assert!((expires() - (NOW + 900.0 + TTL)).abs() < 0.1);
    assert_eq!(renew(&db, ME, NOW + 2000.0).unwrap(), [] as [String; 0]);
    assert!((expires() - (NOW + 2000.0 + TTL)).abs() < 0.1);

    put(&db, "pid=1:turn=thief", NOW + 9000.0);
    assert!(!holds(&db, &held, NOW).unwrap());
    assert_eq!(renew(&db, ME, NOW).unwrap(), std::slice::from_ref(&held.holder));
    assert!(!release(&db, &held).unwrap());
    assert_eq!(row(&db, "c").unwrap().unwrap().holder, "pid=1:turn=thief", "what is another's stays");
}

/// A process that cannot be seen and renews its row lives elsewhere: from then on time alone counts, for every process of ours.
#[tokio::test]
async fn a_holder_that_cannot_be_seen_and_renews_its_row_is_waited_for() {
    let (_dir, db) = file().await;
    let watch = Watch::default();
    let holder = format!("pid={GONE}:turn=t:platform=cli");
    put(&db, &holder, NOW + 300.0);
    watch.look(&db, ME, NOW).unwrap();
    assert!(is_free(&db, &watch, NOW), "no sign yet");
    put(&db, &holder, NOW + 360.0);
    watch.look(&db, ME, NOW + 60.0).unwrap();
    assert!(!is_free(&db, &watch, NOW + 60.0));
    assert!(!is_free(&db, &Watch::default(), NOW + 60.0), "it stands in the file");
    assert!(is_free(&db, &watch, NOW + 360.0), "its time is over");
    put(&db, "pid=4194998:turn=other", NOW + 40.0 * 86_400.0);
    assert!(!is_free(&db, &watch, NOW + 29.0 * 86_400.0));
    assert!(is_free(&db, &watch, NOW + 31.0 * 86_400.0), "the container may be long gone");
}

/// Rows that nobody ever took away hide none that says something.
#[tokio::test]
async fn rows_that_ran_out_are_no_sign_and_in_nobodys_way() {
    let (_dir, db) = file().await;
    let watch = Watch::default();
    db.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 600)
         INSERT INTO session_turn_leases SELECT 'a' || i, 'pid=4194998:turn=' || i, 1.0, 301.0 FROM n",
    )
    .unwrap();
    for until in [300.0, 360.0] {
        put(&db, &format!("pid={GONE}:turn=t:platform=cli"), NOW + until);
        watch.look(&db, ME, NOW).unwrap();
    }
    assert!(!is_free(&db, &watch, NOW));
}

#[tokio::test]
async fn whoever_takes_a_good_row_and_cannot_be_seen_lives_elsewhere() {
    let (_dir, db) = file().await;
    let noted = |db: &Connection| {
        db.query_row("SELECT count(*) FROM state_meta WHERE key = 'hermes_unseen_processes'", [], |row| {
            row.get::<_, i64>(0)
        })
        .unwrap()
    };
    let held = Held { conversation: "c".to_owned(), holder: "pid=7:turn=x".to_owned(), until: NOW };
    put(&db, &format!("pid={}:turn=t", alive()), NOW + 300.0);
    was_taken(&db, ME, &held, NOW).unwrap();
    assert_eq!(noted(&db), 0, "a process of this machine took it, for whatever reason");
    put(&db, &format!("pid={GONE}:turn=t"), NOW + 300.0);
    was_taken(&db, ME, &Held { until: NOW - 11.0, ..held.clone() }, NOW).unwrap();
    assert_eq!(noted(&db), 0, "it had run out");
    was_taken(&db, ME, &held, NOW).unwrap();
    assert_eq!(noted(&db), 1);
}

/// A branch has such columns. Beside a program that uses them, nothing of ours would keep two turns apart.
#[tokio::test]
async fn a_table_of_another_shape_lets_no_turn_begin() {
    let (_dir, db) = file().await;
    let watch = Watch::default();
    for (sql, misfit) in [
        ("ALTER TABLE session_turn_leases ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0", None),
        ("ALTER TABLE session_turn_leases ADD COLUMN owner_pid INTEGER", None),
        (
            "DROP TABLE session_turn_leases;
             CREATE TABLE session_turn_leases(conversation_id TEXT PRIMARY KEY, holder TEXT NOT NULL,
                acquired_at REAL NOT NULL, expires_at REAL NOT NULL, owner_pid INTEGER NOT NULL)",
            Some("a column owner_pid that"),
        ),
        (
            "DROP TABLE session_turn_leases;
             CREATE TABLE session_turn_leases(conversation_id TEXT PRIMARY KEY, holder TEXT NOT NULL,
                acquired_at REAL NOT NULL)",
            Some("no column expires_at"),
        ),
    ] {
        db.execute_batch(sql).unwrap();
        for conversation in [Some("c"), None] {
            match (look(&db, &watch, ME, conversation, NOW).unwrap(), misfit) {
                (None, None) => {}
                (Some(Refused::Unknown(why)), Some(part)) => assert!(why.contains(part), "{why}"),
                (found, expected) => panic!("{found:?} instead of {expected:?}"),
            }
        }
        if misfit.is_none() {
            take(&db, ME, "c".to_owned(), "webhook", NOW).unwrap();
            db.execute("DELETE FROM session_turn_leases", []).unwrap();
        }
    }
}

/// Nobody writes such rows.
#[tokio::test]
async fn a_row_that_says_nothing_is_good_until_its_time_is_over() {
    let (_dir, db) = file().await;
    let watch = Watch::default();
    db.execute_batch(
        "DROP TABLE session_turn_leases;
         CREATE TABLE session_turn_leases(conversation_id TEXT PRIMARY KEY, holder TEXT, acquired_at REAL, expires_at REAL);
         INSERT INTO session_turn_leases VALUES ('c', NULL, NULL, 1000001.0), ('d', X'00ff', 'x', 'y');",
    )
    .unwrap();
    watch.look(&db, ME, NOW).unwrap();
    assert!(!is_free(&db, &watch, NOW));
    assert!(is_free(&db, &watch, NOW + 1.0));
    assert!(look(&db, &watch, ME, Some("d"), NOW).unwrap().is_none(), "no time is none that is left");
    take(&db, ME, "c".to_owned(), "webhook", NOW + 1.0).unwrap();
}
