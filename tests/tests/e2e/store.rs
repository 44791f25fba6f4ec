//! The database under a running worker: removed, replaced, damaged, locked, of a newer program. Wires 9 and 15.

use hermes_tests::gateway::{both, run};
use hermes_tests::{Gateway, Home, home, wait};
use rusqlite::Connection;

const KEY: &str = home::DEFAULT_KEY;

fn hook(gateway: &Gateway, id: &str) -> u16 {
    gateway.hook("/webhooks/hook", home::SECRET, id, r#"{"text": "x"}"#).status
}

fn database(home: &Home) -> camino::Utf8PathBuf {
    home.root().join("state.db")
}

fn answers(home: &Home) -> i64 {
    let db = Connection::open(database(home)).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db.query_row("SELECT count(*) FROM messages WHERE role = 'assistant'", [], |row| row.get(0)).unwrap()
}

/// A sender that repeats until it is heard, as they do. Returns how often it was told to come again.
fn insist(gateway: &Gateway, id: &str) -> usize {
    let mut refused = 0;
    wait::until(&format!("{id} to be accepted"), || match hook(gateway, id) {
        202 | 200 => Some(refused),
        _ => {
            refused += 1;
            None
        }
    })
}

/// Wires 9: what was acknowledged before the log was removed is kept, what comes after is not acknowledged into nowhere.
#[test]
fn w9_a_removed_log_loses_nothing_that_was_acknowledged() {
    for ends in [&["-wal"][..], &["-wal", "-shm"]] {
        let home = Home::new();
        let gateway = Gateway::start(&home);
        for n in 0..5 {
            assert_eq!(hook(&gateway, &format!("before-{n}")), 202);
        }
        wait::until_true("the answers", || answers(&home) == 5);
        let worker = gateway.worker("default");
        for end in ends {
            fs_err::remove_file(format!("{}{end}", database(&home))).unwrap();
        }
        for n in 0..5 {
            insist(&gateway, &format!("after-{n}"));
        }
        gateway.wait_ready("default");
        assert_ne!(gateway.worker("default"), worker);
        wait::until_true("all answers", || answers(&home) == 10);
        for n in 0..5 {
            assert_eq!(hook(&gateway, &format!("before-{n}")), 200, "{n}: it is known, and not run again");
        }
        let log = fs_err::read_to_string(home.root().join("logs/gateway.log")).unwrap();
        assert!(log.contains("state.db-wal` was removed while it was open"), "{log}");
    }
}

/// Wires 9: a database that is put in the place of the running one is what counts from then on; the old one is whole, and both are.
#[test]
fn w9_a_replaced_database_is_taken_up_and_neither_is_spoilt() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    assert_eq!(hook(&gateway, "first"), 202);
    wait::until_true("the answer", || answers(&home) == 1);
    // As of now, made the way backups are.
    let backup = home.root().join("backup.db");
    Connection::open(database(&home)).unwrap().execute("VACUUM INTO ?1", [backup.as_str()]).unwrap();
    for n in 0..5 {
        assert_eq!(hook(&gateway, &format!("later-{n}")), 202);
    }
    wait::until_true("the answers", || answers(&home) == 6);
    let old = home.root().join("old.db");
    fs_err::rename(database(&home), &old).unwrap();
    fs_err::rename(&backup, database(&home)).unwrap();
    for n in 0..3 {
        insist(&gateway, &format!("after-{n}"));
    }
    wait::until_true("all answers", || answers(&home) >= 4);
    drop(gateway);
    for (path, expected) in [(database(&home), 4), (old, 6)] {
        let db = Connection::open(&path).unwrap();
        let whole: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        let count = "SELECT count(*) FROM messages WHERE role = 'assistant'";
        let found: i64 = db.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!((whole.as_str(), found), ("ok", expected), "{path}");
    }
}

/// Wires 9: damage is a failure with its cause and the next step, and no crash loop; a good copy is seen by itself.
#[test]
fn w9_a_damaged_database_fails_with_the_cause_and_a_good_one_is_seen() {
    let home = Home::new();
    Gateway::start(&home).stop();
    let good = fs_err::read(database(&home)).unwrap();
    for damaged in [&good[..good.len() / 2], &[&[0x5a; 200], &good[200..]].concat()] {
        fs_err::write(database(&home), damaged).unwrap();
        let gateway = Gateway::start(&home);
        let profile = gateway.wait_state("default", "failed");
        let reason = profile.reason.unwrap();
        for part in ["state.db` is damaged", "put a good copy in its place", ".recover"] {
            assert!(reason.contains(part), "{reason}");
        }
        assert!(fs_err::read(database(&home)).unwrap() == *damaged, "it is left as it is");
        fs_err::write(database(&home), &good).unwrap();
        gateway.wait_ready("default");
        assert_eq!(gateway.chat("", KEY, "hello").status, 200);
    }
}

/// Wires 9: damage that shows while it runs ends the worker, which is not started again into it.
#[test]
fn w9_damage_that_shows_while_it_runs_is_a_failure() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home);
    assert_eq!(hook(&gateway, "first"), 202);
    wait::until_true("the answer", || answers(&home) == 1);
    gateway.stop();
    let db = Connection::open(database(&home)).unwrap();
    let root: u64 = db
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'hermes_inbox'", [], |row| {
            row.get::<_, i64>(0).map(i64::unsigned_abs)
        })
        .unwrap();
    drop(db);
    let mut bytes = fs_err::read(database(&home)).unwrap();
    let page = usize::try_from((root - 1) * 4096).unwrap();
    bytes[page..page + 4096].fill(0xff);
    fs_err::write(database(&home), &bytes).unwrap();
    let gateway = Gateway::start(&home);
    wait::until_true("the damage to be found", || {
        hook(&gateway, "second") != 202 && gateway.profile("default").state == "failed"
    });
    let profile = gateway.profile("default");
    assert!(profile.reason.as_deref().unwrap().contains("is damaged"), "{profile:?}");
}

/// Wires 9: while another process holds the write lock, senders and clients hear of it within five seconds; reads go on.
#[test]
fn w9_a_locked_database_is_said_soon_and_reads_go_on() {
    let home = Home::new();
    let gateway = Gateway::start(&home);
    assert_eq!(hook(&gateway, "known"), 202);
    wait::until_true("the answer", || answers(&home) == 1);
    let other = Connection::open(database(&home)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let began = wait::now();
    let answer = gateway.hook("/webhooks/hook", home::SECRET, "late", r#"{"text": "x"}"#);
    let (webhook, chat) = (began.elapsed(), gateway.chat("", KEY, "hello"));
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{}", answer.text());
    assert!(answer.text().contains("locked by another process"), "{}", answer.text());
    assert_eq!((chat.status, chat.header("retry-after").is_some()), (503, true), "{}", chat.text());
    assert!(webhook.as_secs() < 5 && began.elapsed().as_secs() < 10, "{webhook:?}");
    assert_eq!(gateway.get("/v1/models", KEY).status, 200);
    assert_eq!(gateway.get("/health/detailed", KEY).status, 200);
    wait::until_true("status to say so", || {
        let profile = gateway.profile("default");
        profile.state == "degraded" && profile.reason.is_some_and(|why| why.contains("holds the write lock"))
    });
    other.execute_batch("COMMIT").unwrap();
    wait::until_true("it to be over", || {
        gateway.profile("default").ready && gateway.profile("default").state == "ready"
    });
    assert_eq!(hook(&gateway, "late"), 202, "it was refused and is no duplicate");
    assert_eq!(hook(&gateway, "known"), 200);
}

/// Wires 9: logs that have no place are said, and the worker works.
#[test]
fn w9_a_logs_path_that_is_a_file_is_said() {
    let home = Home::new();
    home.profile("coder");
    for name in ["default", "coder"] {
        fs_err::write(home.of(name).join("logs"), "not a directory").unwrap();
    }
    let gateway = Gateway::start(&home);
    assert_eq!(hook(&gateway, "d"), 202);
    assert_eq!(gateway.chat("/p/coder", &Home::key("coder"), "hello").status, 200);
    for (args, name) in [
        (&["status"][..], "coder"),
        (&["gateway", "check"], "coder"),
        (&["doctor"], "coder"),
        (&["-p", "coder", "config", "check"], "coder"),
        (&["config", "check"], "default"),
    ] {
        let text = both(&run(&home, args));
        let logs = home.of(name).join("logs");
        assert!(text.contains(logs.as_str()) && text.contains("it is not a directory"), "{args:?}: {text}");
    }
}

/// Wires 15: a newer program's database is not written; everybody who asks hears its version and what to do.
#[test]
fn w15_a_newer_database_is_refused_by_its_version_and_left_alone() {
    let home = Home::new();
    let mut gateway = Gateway::start(&home);
    assert_eq!(hook(&gateway, "first"), 202);
    wait::until_true("the answer", || answers(&home) == 1);
    gateway.stop();
    let db = Connection::open(database(&home)).unwrap();
    db.execute_batch("UPDATE schema_version SET version = 31; DROP TRIGGER messages_fts_insert").unwrap();
    drop(db);
    let before = fs_err::read(database(&home)).unwrap();
    let gateway = Gateway::start(&home);
    let profile = gateway.wait_state("default", "degraded");
    let reason = profile.reason.unwrap();
    assert!(reason.contains("schema version 31") && reason.contains("up to 30"), "{reason}");
    let answer = gateway.hook("/webhooks/hook", home::SECRET, "second", r#"{"text": "x"}"#);
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true));
    assert!(answer.text().contains("schema version 31"), "{}", answer.text());
    let chat = gateway.chat("", KEY, "hello");
    assert_eq!(chat.status, 503);
    assert!(chat.text().contains("schema version 31"), "{}", chat.text());
    assert_eq!(gateway.get("/v1/models", KEY).status, 200);
    let doctor = both(&run(&home, &["doctor"]));
    assert!(doctor.contains("schema version 31"), "{doctor}");
    assert!(fs_err::read(database(&home)).unwrap() == before, "nothing was written");
    assert!(!database(&home).with_file_name("state.db-wal").exists());
    // Moved away, as the text says: a new history begins.
    fs_err::rename(database(&home), home.root().join("newer.db")).unwrap();
    wait::until_true("it to be served", || gateway.profile("default").state == "ready");
    assert_eq!(insist(&gateway, "second"), 0);
    assert!(fs_err::read(home.root().join("newer.db")).unwrap() == before);
}
