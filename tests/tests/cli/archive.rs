//! `hermes profile export` and `import`: what is printed, what is in an archive and never in one, what comes out of it.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::atomic::{AtomicBool, Ordering};

use camino::{Utf8Path, Utf8PathBuf};
use hermes_tests::Home;
use hermes_tests::archive::{Tar, gunzip, names};
use hermes_tests::command::{Ran, masked, run, transcript};
use hermes_tests::gateway::hermes;
use serde_json::Value;
use tar::EntryType;

fn mode(path: &Utf8Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Runs it in the user's directory.
fn there(home: &Home, args: &[&str]) -> Ran {
    hermes(home, args).current_dir(home.user()).output().unwrap().into()
}

/// Sizes that depend on times and on the compressor.
fn sizes(text: &str) -> String {
    let mask = |line: &str| match line.split_once(" entries, ") {
        Some((before, after)) if before.trim().parse::<u64>().is_ok() => {
            format!("{before} entries, <size>, packed <size>{}", &after[after.find(';').unwrap()..])
        }
        _ if line.contains("\"packed_bytes\"") => "  \"packed_bytes\": <size>,".to_owned(),
        _ => line.to_owned(),
    };
    text.lines().map(mask).collect::<Vec<_>>().join("\n")
}

fn full_profile(home: &Home) {
    home.profile("coder");
    home.write(
        "coder",
        "config.yaml",
        "# mine\nmodel: {default: a/b, api_key: canary-inline} # best\nplatforms:\n  webhook:\n    extra:\n      routes:\n        hook: {secret: canary-route, prompt: 'say {text}'}\n# api_key: canary-comment\nmcp_servers:\n  gh: {command: npx, args: [x, --token, canary-arg], env: {TOKEN: canary-env}, headers: {X-Key: canary-header}}\n",
    );
    home.write("coder", ".env", "# keys\nOPENAI_API_KEY=canary-env-file\n");
    home.write("coder", "honcho.json", r#"{"apiKey": "canary-honcho", "hosts": {}}"#);
    for (path, text) in [
        (".env.bak", "A=canary-1"),
        (".env~", "A=canary-2"),
        (".op.env", "A=canary-3"),
        ("auth.json", "{\"x\": \"canary-4\"}"),
        ("auth.json.old", "{\"x\": \"canary-5\"}"),
        ("config.yaml.bak.20260101_000000", "k: canary-6"),
        (".config.yaml.swp", "canary-7"),
        ("pairing/telegram.json", "canary-8"),
        ("platforms/x/session", "canary-9"),
        ("webhook_subscriptions.json", "{\"s\": {\"secret\": \"canary-10\"}}"),
        ("tls.key", "canary-11"),
        ("tls.pem", "canary-12"),
        ("home/.ssh/id_ed25519", "canary-13"),
        ("home/.netrc", "canary-14"),
        ("home/.config/gh/hosts.yml", "canary-15"),
        ("logs/gateway.log", "canary-16"),
        ("state.db", "canary-17"),
        ("sessions/sessions.json", "what was said"),
        ("backups/x", "canary-19"),
        ("gateway.lock", "canary-20"),
        ("cache/x", "canary-21"),
        ("skills/copy/.env", "# keys\nOPENAI_API_KEY=canary-env-file\n"),
        ("broken.yaml", "token: canary-22\nother: [\n"),
        // What belongs to the profile.
        ("skills/deep/SKILL.md", "deep"),
        ("skills/deep/.env", "TEMPLATE=fill me in\n"),
        ("memories/MEMORY.md", "remember"),
        ("memories/MEMORY.md.lock", ""),
        ("workspace/notes", "n"),
        ("plugins/calendar/plugin.py", "p"),
        ("hooks/on_start.sh", "h"),
        ("scripts/filter.py", "s"),
        (
            "cron/jobs.json",
            "{\"jobs\": [{\"id\": \"f1\", \"name\": \"water\", \"schedule_display\": \"0 9 * * *\", \"enabled\": true, \"state\": \"scheduled\"}, {\"id\": \"f2\", \"name\": \"off\", \"enabled\": false}]}",
        ),
        ("cron/.tick.lock", ""),
    ] {
        home.write("coder", path, text);
    }
    let coder = home.of("coder");
    std::os::unix::fs::symlink("deep", coder.join("skills/alias")).unwrap();
    std::os::unix::fs::symlink(coder.join("workspace/notes"), coder.join("skills/absolute")).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", coder.join("workspace/outside")).unwrap();
    std::os::unix::fs::symlink("nowhere", coder.join("workspace/dangling")).unwrap();
    fs_err::hard_link(coder.join(".env"), coder.join("workspace/innocent")).unwrap();
    fs_err::write(coder.join("workspace/two\nlines"), "x").unwrap();
}

#[test]
fn what_export_and_import_say() {
    let home = Home::new();
    full_profile(&home);
    let to = home.user().join("out/c.tgz");
    let from = home.user().join("out/c.tar.gz");
    insta::assert_snapshot!(sizes(&transcript(
        &home,
        &[
            &format!("profile export Coder -o {to}"),
            &format!("profile export Coder {to} --json"),
            &format!("profile import {from}"),
            &format!("profile import {from} New"),
            &format!("profile import {from} --name newer --json"),
            "profile list",
        ]
    )));
    let text = home.read("new", "config.yaml").unwrap();
    insta::assert_snapshot!("imported_config", text);
    let jobs: Value = serde_json::from_str(&home.read("new", "cron/jobs.json").unwrap()).unwrap();
    let job = &jobs["jobs"][0];
    assert_eq!((job["enabled"].as_bool(), job["state"].as_str()), (Some(false), Some("paused")));
    assert!(job["paused_at"].is_string() && jobs["jobs"][1]["state"].is_null(), "{jobs:#}");
    assert_eq!(home.read("new", "memories/MEMORY.md").unwrap(), "remember");
    assert_eq!(home.read("new", "skills/deep/.env").unwrap(), "TEMPLATE=fill me in\n");
    assert!(home.read("new", ".env").unwrap().lines().all(|line| line.starts_with('#')));
}

#[test]
fn no_credential_leaves() {
    let home = Home::new();
    full_profile(&home);
    // The default profile has the same rule.
    for (path, text) in
        [(".env", "K=canary-d1"), ("auth.json", "canary-d2"), ("config.yaml", "api_key: canary-d3\n")]
    {
        home.write("default", path, text);
    }
    for (name, history) in [("coder", false), ("coder", true), ("default", false), ("default", true)] {
        fs_err::remove_file(home.of("coder").join("state.db")).ok();
        let mut args = vec!["profile", "export", name];
        args.extend(history.then_some("--history"));
        let ran = there(&home, &args);
        assert!(!ran.out.contains("canary-e") && !ran.err.contains("canary"), "{ran:?}");
        let archive = fs_err::read(home.user().join(format!("{name}.tar.gz"))).unwrap();
        let all = gunzip(&archive);
        let text = String::from_utf8_lossy(&all);
        let at = text.find("canary");
        assert_eq!(at, None, "{name}: {:?}", at.map(|at| &text[at.saturating_sub(300)..at + 20]));
        assert!(
            !names(&archive).iter().any(|n| n.ends_with("/.env") && !n.contains("skills/deep")),
            "{name}"
        );
    }
    assert!(
        names(&fs_err::read(home.user().join("coder.tar.gz")).unwrap())
            .contains(&"coder/skills/deep/.env".to_owned())
    );
}

#[test]
fn the_archive_is_private_appears_whole_and_replaces_an_older_one() {
    let home = Home::new();
    home.profile("coder");
    there(&home, &["profile", "export", "coder"]).ok();
    let path = home.user().join("coder.tar.gz");
    assert_eq!(mode(&path), 0o600);
    fs_err::write(&path, "older").unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    there(&home, &["profile", "export", "coder"]).ok();
    assert_eq!(mode(&path), 0o600);
    assert!(fs_err::read(&path).unwrap().starts_with(&[0x1f, 0x8b]));
    // A failure leaves the older one, and nothing else.
    fs_err::write(home.of("coder").join("state.db"), "SQLite format 3\0 and no database").unwrap();
    let before = fs_err::read(&path).unwrap();
    let error = there(&home, &["profile", "export", "coder", "--history"]).fails(1);
    assert!(error.contains("cannot export") && error.contains("state.db"), "{error}");
    assert!(fs_err::read(&path).unwrap() == before);
    let left: Vec<_> =
        home.user().read_dir_utf8().unwrap().map(|e| e.unwrap().file_name().to_owned()).collect();
    assert_eq!(left, ["coder.tar.gz"]);
}

#[test]
fn what_export_refuses() {
    let home = Home::new();
    home.profile("coder");
    fs_err::create_dir(home.user().join("taken.tar.gz")).unwrap();
    fs_err::write(home.user().join("file"), "x").unwrap();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "profile export",
            "profile export nope",
            "profile export bad.name",
            "profile export coder a -o b",
            "profile export coder a b",
            &format!("profile export coder -o {}/taken", home.user()),
            &format!("profile export coder -o {}/file/x", home.user()),
        ]
    ));
}

#[test]
fn two_exports_are_the_same_bytes() {
    let home = Home::new();
    full_profile(&home);
    fs_err::remove_file(home.of("coder").join("state.db")).unwrap();
    let db = rusqlite::Connection::open(home.of("coder").join("state.db")).unwrap();
    db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(x); INSERT INTO t VALUES (1), (2);").unwrap();
    let nested = rusqlite::Connection::open(home.of("coder").join("workspace/data.bin")).unwrap();
    nested.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES (3);").unwrap();
    let export = |to: &str| {
        there(&home, &["profile", "export", "coder", "--history", "-o", to]).ok();
        fs_err::read(home.user().join(format!("{to}.tar.gz"))).unwrap()
    };
    let first = export("one");
    // What is not in it may change, and where it is written does not matter.
    home.write("coder", "logs/more", "x").write("coder", "gateway.pid", "1");
    fs_err::create_dir(home.of("coder").join("workspace/sub")).unwrap();
    fs_err::remove_dir(home.of("coder").join("workspace/sub")).unwrap();
    assert!(export("two") == first);
    let inside = home.of("coder").join("mine");
    there(&home, &["profile", "export", "coder", "--history", "-o", inside.as_str()]).ok();
    there(&home, &["profile", "export", "coder", "--history", "-o", inside.as_str()]).ok();
    assert!(fs_err::read(inside.with_extension("tar.gz")).unwrap() == first, "an archive is not in itself");
    let names = names(&first);
    let mut sorted = names.clone();
    sorted.sort_by_key(|name| name.trim_end_matches('/').replace('/', "\0"));
    assert_eq!(names, sorted);
}

#[test]
fn owners_and_times_of_an_archive_say_nothing_about_the_machine() {
    let home = Home::new();
    full_profile(&home);
    there(&home, &["profile", "export", "coder"]).ok();
    let bytes = gunzip(&fs_err::read(home.user().join("coder.tar.gz")).unwrap());
    for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert!(header.username_bytes().unwrap_or_default().is_empty());
        let path = entry.path().unwrap().into_owned();
        let path = Utf8Path::from_path(&path).unwrap();
        let place = home.of("coder").join(path.strip_prefix("coder").unwrap());
        let meta = fs_err::symlink_metadata(&place).unwrap();
        if meta.is_file() {
            assert_eq!(header.mtime().unwrap(), u64::try_from(meta.mtime()).unwrap(), "{path}");
        }
    }
}

/// In 0.19.0 the archive of a home with a link in it cannot be imported.
#[test]
fn an_archive_with_links_is_importable() {
    let home = Home::new();
    full_profile(&home);
    let said = there(&home, &["profile", "export", "coder"]).ok();
    assert!(
        said.contains("left out workspace/outside: it is a link that leads out of the profile"),
        "{said}"
    );
    let list = names(&fs_err::read(home.user().join("coder.tar.gz")).unwrap());
    assert!(list.contains(&"coder/skills/alias -> deep".to_owned()), "{list:?}");
    assert!(list.contains(&"coder/skills/absolute -> ../workspace/notes".to_owned()), "{list:?}");
    there(&home, &["profile", "import", "coder.tar.gz", "--name", "new"]).ok();
    let new = home.of("new");
    assert_eq!(new.join("skills/alias").read_link_utf8().unwrap(), "deep");
    assert_eq!(fs_err::read_to_string(new.join("skills/alias/SKILL.md")).unwrap(), "deep");
    let leads = new.join("skills/absolute").canonicalize_utf8().unwrap();
    assert_eq!(leads, new.canonicalize_utf8().unwrap().join("workspace/notes"));
}

#[test]
fn history_is_one_instant_while_somebody_writes() {
    let home = Home::new();
    home.profile("coder");
    home.write("coder", "sessions/s.json", "{}");
    let path = home.of("coder").join("state.db");
    let setup = rusqlite::Connection::open(&path).unwrap();
    setup
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
             CREATE TABLE a(x INTEGER, pad TEXT); CREATE TABLE b(x INTEGER, pad TEXT);
             CREATE TABLE hermes_inbox(id INTEGER, state TEXT, finished_at REAL);
             INSERT INTO hermes_inbox VALUES (1, 'waiting', NULL), (2, 'done', 1.0), (3, 'steered', 1.0);
             CREATE TABLE session_turn_leases(conversation_id, holder);
             INSERT INTO session_turn_leases VALUES ('s', 'pid=1:turn=t:platform=cli');",
        )
        .unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut db = rusqlite::Connection::open(&path).unwrap();
            let mut n = 0_i64;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                // Both or neither, in every state that ever was committed.
                let transaction = db.transaction().unwrap();
                for table in ["a", "b"] {
                    let insert = format!("INSERT INTO {table} VALUES (?1, hex(randomblob(900)))");
                    transaction.execute(&insert, [n]).unwrap();
                }
                transaction.commit().unwrap();
            }
            n
        });
        for round in 0..5 {
            let to = format!("r{round}");
            let said = there(&home, &["profile", "export", "coder", "--history", "-o", &to]).ok();
            assert!(said.contains("Databases, each as of one instant: state.db"), "{said}");
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 5);
    });
    let mut last = 0;
    for round in 0..5 {
        let (archive, name) = (format!("r{round}.tar.gz"), format!("new{round}"));
        let said = there(&home, &["profile", "import", &archive, &name]).ok();
        assert!(
            said.contains("Sessions and databases came along (2 messages that waited in the original"),
            "{said}"
        );
        assert!(
            home.read(&name, "sessions/s.json").is_some() && !home.of(&name).join("state.db-wal").exists()
        );
        let db = rusqlite::Connection::open(home.of(&name).join("state.db")).unwrap();
        let one = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(db.query_row("PRAGMA integrity_check", [], |r| r.get::<_, String>(0)).unwrap(), "ok");
        assert_eq!(one("SELECT count(*) FROM a"), one("SELECT count(*) FROM b"));
        assert_eq!(one("SELECT count(*) FROM hermes_inbox"), 1);
        assert_eq!(one("SELECT count(*) FROM session_turn_leases"), 0);
        let newest = one("SELECT coalesce(max(x), 0) FROM a");
        assert!(newest >= last, "each is at least as new as the one before");
        last = newest;
    }
    // Not asked for: not there. And an archive that does not say so brings none.
    there(&home, &["profile", "export", "coder"]).ok();
    let content = names(&fs_err::read(home.user().join("coder.tar.gz")).unwrap());
    assert!(
        !content.iter().any(|name| name.contains("state.db") || name.contains("sessions")),
        "{content:?}"
    );
}

#[test]
fn what_only_begins_like_a_database_is_content() {
    let home = Home::new();
    home.profile("coder");
    home.write("coder", "workspace/fixture.db", "SQLite format 3\0 and then none");
    let said = there(&home, &["profile", "export", "coder"]).ok();
    assert!(said.contains("workspace/fixture.db is no whole database; it was copied as it is"), "{said}");
    there(&home, &["profile", "import", "coder.tar.gz", "new"]).ok();
    assert_eq!(home.read("new", "workspace/fixture.db").unwrap(), "SQLite format 3\0 and then none");
}

/// As 0.19.0 makes it: everything but `.env` and `auth.json`, live files and all.
#[test]
fn an_archive_of_0_19_0_is_taken() {
    let home = Home::new();
    let fixture = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/home-0.19.0.tar.gz");
    let old = home.user().join("old");
    let bytes = gunzip(&fs_err::read(fixture).unwrap());
    tar::Archive::new(&bytes[..]).unpack(&old).unwrap();
    let coder = old.join(".hermes/profiles/coder");
    fs_err::remove_file(coder.join(".env")).unwrap();
    fs_err::write(coder.join("gateway.pid"), "{}").unwrap();
    let to = fs_err::File::create(home.user().join("coder.tar.gz")).unwrap();
    let mut builder = tar::Builder::new(flate2::write::GzEncoder::new(to, flate2::Compression::default()));
    builder.append_dir_all("coder", &coder).unwrap();
    builder.into_inner().unwrap().finish().unwrap();
    let ran = there(&home, &["profile", "import", "coder.tar.gz"]);
    insta::assert_snapshot!(masked(&home, &ran.clone().ok()));
    assert!(
        home.read("coder", "memories/MEMORY.md").is_some()
            && home.read("coder", "skills/dev/tidy/SKILL.md").is_some()
    );
    for gone in ["gateway.pid", "state.db", "auth.lock", "cron/.jobs.lock"] {
        assert!(!home.of("coder").join(gone).exists(), "{gone}");
    }
    for dir in ["memories", "sessions", "skills", "skins", "logs", "plans", "workspace", "cron", "home"] {
        assert!(home.of("coder").join(dir).is_dir(), "{dir}");
    }
}

#[test]
fn modes_are_tamed_and_what_is_missing_is_seeded() {
    let home = Home::new();
    let kind = EntryType::Regular;
    let tar = Tar::default()
        .add(b"c/", EntryType::Directory, b"", 0o777, b"")
        .add(b"c/.env", kind, b"", 0o644, b"A=b\n")
        .add(b"c/auth.json", kind, b"", 0o666, b"{}")
        .add(b"c/workspace/run", kind, b"", 0o6755, b"#!/bin/sh\n")
        .add(b"c/workspace/none", kind, b"", 0, b"x")
        .add(b"c/workspace/dir/", EntryType::Directory, b"", 0o5, b"");
    let archive = home.user().join("a.tgz");
    fs_err::write(&archive, tar.gz()).unwrap();
    let said = there(&home, &["profile", "import", "a.tgz"]).ok();
    assert!(said.contains("brought credentials, readable by you alone now: .env, auth.json"), "{said}");
    let made = home.of("c");
    let modes =
        ["", ".env", "auth.json", "workspace/run", "workspace/none", "workspace/dir", "SOUL.md", "memories"]
            .map(|path| mode(&made.join(path)));
    assert_eq!(modes, [0o700, 0o600, 0o600, 0o755, 0o600, 0o705, 0o644, 0o700]);
    assert_eq!(fs_err::metadata(made.join("workspace/run")).unwrap().mtime(), 1_700_000_000);
    assert_eq!(home.read("c", ".env").unwrap(), "A=b\n");
}

#[test]
fn gzip_zstd_and_plain_tar_are_recognised() {
    let home = Home::new();
    let tar = Tar::default().file("./Cap/SOUL.md", "x").file("note", "beside it").link("./Cap/x", "SOUL.md");
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    let zstd = ruzstd::encoding::compress_to_vec(&tar.end()[..], level);
    let (first, second) = (tar.end()[..600].to_vec(), tar.end()[600..].to_vec());
    let members = [hermes_tests::archive::gz(&first), hermes_tests::archive::gz(&second)].concat();
    for (name, bytes) in [("cap", tar.gz()), ("plain", tar.end()), ("zstd", zstd), ("members", members)] {
        let path = home.user().join("archive");
        fs_err::write(&path, bytes).unwrap();
        let args = ["profile", "import", "archive", "--name", name];
        // Without a name it is the one in the archive.
        there(&home, if name == "cap" { &args[..3] } else { &args }).ok();
        assert_eq!(home.read(name, "SOUL.md").unwrap(), "x");
        assert!(home.read(name, "note").is_none());
    }
}

#[test]
fn the_alias_is_made_as_create_makes_it() {
    let home = Home::new();
    let archive: Utf8PathBuf = home.user().join("a.tar.gz");
    for name in ["status", "x"] {
        fs_err::write(&archive, Tar::default().file(&format!("{name}/SOUL.md"), "x").gz()).unwrap();
        let said = there(&home, &["profile", "import", "a.tar.gz"]).ok();
        insta::assert_snapshot!(format!("alias_of_{name}"), masked(&home, &said));
    }
    assert!(run(&home, &["profile", "list"]).ok().contains("hermes-status"));
}
