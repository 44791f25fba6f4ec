//! D22: homes that newer releases of the Python program wrote, under a real gateway; and 0.19.0 itself on what was written there.

#![expect(clippy::disallowed_methods, reason = "a test starts the predecessor's own interpreter")]

use std::collections::BTreeSet;
use std::process::Command;

use camino::Utf8Path;
use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::state::{Shape, check_search, migrate};
use hermes_tests::tools::Clients;
use hermes_tests::{Gateway, Home, home, wait};
use proc_macro2::{TokenStream, TokenTree};
use rusqlite::fallible_iterator::FallibleIterator as _;
use rusqlite::{Batch, Connection};
use serde_json::{Value, json};

/// Calls the tool once a turn, then says how many messages of users it was shown.
fn answer(body: &Value) -> Reply {
    let messages = body["messages"].as_array().unwrap();
    if messages.last().unwrap()["role"] != "tool" {
        let arguments = json!({"line": "a needle in it"}).to_string();
        return Reply::Calls(vec![("call_1".to_owned(), "note".to_owned(), arguments)]);
    }
    Reply::text(&format!("shown {}", messages.iter().filter(|message| message["role"] == "user").count()))
}

fn with_tools(provider: &Provider) -> Home {
    let agent = "agent: {engine: echo, restart_drain_timeout: 5}\n";
    let config =
        Home::config("true", "").replace(agent, "agent: {trial_tool: notes.txt, restart_drain_timeout: 5}\n");
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n", home::DEFAULT_KEY));
    home
}

fn add(home: &Home, name: &str, provider: &Provider) {
    let config = format!(
        "agent: {{trial_tool: notes.txt}}\nplatforms: {{webhook: {{extra: {{secret: {}-{name}, routes: {{hook: {{prompt: 'say {{text}}'}}}}}}}}}}\n{}",
        home::SECRET,
        provider.model_config()
    );
    home.profile_with(name, &config, &format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n", Home::key(name)));
}

fn open(home: &Utf8Path) -> Connection {
    let db = Connection::open(home.join("state.db")).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
    db
}

fn count(db: &Connection, what: &str) -> i64 {
    db.query_row(&format!("SELECT count(*) FROM {what}"), [], |row| row.get(0)).unwrap()
}

/// Everything in the file but the tables that we add.
fn objects(db: &Connection) -> BTreeSet<(String, Option<String>)> {
    let mut select = db
        .prepare(
            "SELECT name, sql FROM sqlite_schema WHERE tbl_name NOT LIKE 'hermes\\_%' ESCAPE '\\'
             AND tbl_name NOT IN ('delivery_obligations', 'session_turn_leases')",
        )
        .unwrap();
    select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

/// The profile's name, the shape of its file, and how many objects of it may go: triggers of an index whose tokenizer is not there.
const SHAPES: [(&str, Shape, usize); 8] = [
    ("fresh", Shape::New, 0),
    ("one", Shape::Layout1, 0),
    ("stale", Shape::Stale, 0),
    ("short", Shape::NoTrigram, 0),
    ("halfway", Shape::Rebuilding, 0),
    ("inline", Shape::Inline, 0),
    ("cjk", Shape::Cjk, 3),
    ("mixed", Shape::MixedPrompts, 0),
];

/// Every state that a newer file is found in: an API turn with a tool, a webhook, a restart, another turn. The file keeps version and
/// shape, what was written is in its index, and nobody finds fault with it.
#[test]
fn d22_files_of_schema_30_are_continued_in_every_state() {
    let provider = Provider::start();
    provider.answer_with(answer);
    let home = with_tools(&provider);
    for (name, shape, _) in SHAPES {
        add(&home, name, &provider);
        shape.make(&home.of(name).join("state.db"));
    }
    let before = SHAPES.map(|(name, ..)| objects(&open(&home.of(name))));
    let ask = |gateway: &Gateway, name: &str| {
        let answer = gateway.chat(&format!("/p/{name}"), &Home::key(name), "where is the needle?");
        assert!(answer.status == 200 && answer.text().contains("shown 1"), "{name}: {}", answer.text());
    };
    let mut gateway = Gateway::start(&home);
    for (name, ..) in SHAPES {
        gateway.wait_ready(name);
        ask(&gateway, name);
        let path = format!("/p/{name}/webhooks/hook");
        let told = gateway.hook(&path, &format!("{}-{name}", home::SECRET), "d1", r#"{"text": "a needle"}"#);
        assert_eq!(told.status, 202, "{name}: {}", told.text());
        let db = open(&home.of(name));
        wait::until_true("the webhook's answer", || {
            count(&db, "hermes_inbox WHERE state = 'done' AND platform = 'webhook'") == 1
        });
    }
    gateway.stop();
    let mut gateway = Gateway::start(&home);
    for (name, ..) in SHAPES {
        ask(&gateway, name);
    }
    gateway.stop();
    let doctor = both(&run(&home, &["doctor"]));
    assert!(!doctor.contains("database"), "{doctor}");
    assert_eq!(doctor.matches("its search index is detached").count(), 1, "{doctor}");
    assert_eq!(doctor.matches("hermes -p cjk gateway stop").count(), 1, "{doctor}");
    for ((name, shape, gone), before) in SHAPES.into_iter().zip(before) {
        let db = open(&home.of(name));
        let after = objects(&db);
        assert_eq!(
            (before.difference(&after).count(), after.difference(&before).count()),
            (gone, 0),
            "{name}"
        );
        assert_eq!(count(&db, "schema_version WHERE version = 30"), 1, "{name}");
        assert_eq!(count(&db, "messages WHERE id > 9 AND tool_name = 'note'"), 3, "{name}");
        assert_eq!(count(&db, "state_meta WHERE key = 'fts_cjk_stale'"), i64::from(gone > 0), "{name}");
        if matches!(shape, Shape::Stale | Shape::Rebuilding) {
            // As the newer program does in its own time.
            db.execute_batch("INSERT INTO messages_fts(messages_fts) VALUES ('rebuild')").unwrap();
            db.execute_batch("INSERT INTO messages_fts_trigram(messages_fts_trigram) VALUES ('rebuild')")
                .unwrap();
        }
        check_search(&db).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(count(&db, "messages_fts WHERE messages_fts MATCH 'needle'") >= 6, "{name}");
        assert_eq!(count(&db, "pragma_foreign_key_check"), 0, "{name}");
    }
    every_statement_can_be_prepared(&home.of("fresh"));
}

/// All statements of the worker's source that are written in one piece, in a file of schema 30.
fn every_statement_can_be_prepared(home: &Utf8Path) {
    let db = open(home);
    let mut sources = Vec::new();
    let workspace = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    sources_below(&workspace.join("worker/src"), &mut sources);
    let literals: Vec<String> = sources.iter().flat_map(|source| literals(source)).collect();
    for table in literals.iter().filter(|text| text.starts_with("CREATE TEMP TABLE")) {
        db.execute_batch(table).unwrap();
    }
    let is_whole = |text: &&String| {
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or_default();
        // A word alone is no statement.
        words.next().is_some()
            && matches!(first, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "WITH")
            && !text.contains('{')
    };
    let mut prepared = 0;
    for text in literals.iter().filter(is_whole) {
        let mut batch = Batch::new(&db, text);
        while batch.next().unwrap_or_else(|e| panic!("{text}: {e}")).is_some() {
            prepared += 1;
        }
    }
    assert!(prepared > 50, "{prepared} statements were found");
}

fn sources_below(dir: &Utf8Path, sources: &mut Vec<String>) {
    for entry in dir.read_dir_utf8().unwrap() {
        let path = entry.unwrap().path().to_owned();
        // What is said to `response_store.db` is not for this file.
        if path.file_stem() == Some("tests") || path.ends_with("responses/store.rs") {
            continue;
        }
        if path.is_dir() {
            sources_below(&path, sources);
        } else if path.extension() == Some("rs") {
            let text = fs_err::read_to_string(&path).unwrap();
            sources.push(text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned());
        }
    }
}

/// The texts in quotes of a source.
fn literals(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut streams: Vec<TokenStream> = vec![source.parse().unwrap()];
    while let Some(stream) = streams.pop() {
        for token in stream {
            match token {
                TokenTree::Group(group) => streams.push(group.stream()),
                TokenTree::Literal(literal) => {
                    let text = literal.to_string();
                    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                    found.extend(inner.map(|text| text.replace("\\\"", "\"").replace("\\\n", "\n")));
                }
                _ => {}
            }
        }
    }
    found
}

/// 0.19.0's own session store on our files: it reads, searches and continues what we wrote, beside a gateway that runs, and we what it
/// wrote. In a file that we made, and in one that a newer program made.
#[test]
fn d22_0_19_0_continues_what_was_written_and_is_continued() {
    let Some(python) = Clients::Predecessor.interpreter() else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/with_predecessor.py");
    let provider = Provider::start();
    provider.answer_with(answer);
    let home = with_tools(&provider);
    for name in ["ours", "theirs"] {
        add(&home, name, &provider);
    }
    Shape::New.make(&home.of("theirs").join("state.db"));
    let mut gateway = Gateway::start(&home);
    for name in ["ours", "theirs"] {
        gateway.wait_ready(name);
        let key = format!("Bearer {}", Home::key(name));
        let body = json!({"model": "m", "messages": [{"role": "user", "content": "where is the needle?"}]})
            .to_string();
        let ask = |gateway: &Gateway, session: Option<&str>| {
            let mut headers = vec![("Authorization", key.as_str()), ("Content-Type", "application/json")];
            headers.extend(session.map(|id| ("X-Hermes-Session-Id", id)));
            let path = format!("/p/{name}/v1/chat/completions");
            let answer = gateway.api("POST", &path, &headers, body.as_bytes());
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            (answer.header("x-hermes-session-id").unwrap().to_owned(), answer.text())
        };
        let continue_it = |session: &str, messages: &str, word: &str| {
            let mut command = Command::new(&python);
            command.args([script, session, messages, word]).env_clear().env("HERMES_HOME", home.of(name));
            let output = command.env("HOME", home.user()).output().unwrap();
            assert!(
                output.status.success() && both(&output).contains("ok indexes"),
                "{name}: {}",
                both(&output)
            );
        };
        let (session, text) = ask(&gateway, None);
        assert!(text.contains("shown 1"), "{name}: {text}");
        continue_it(&session, "4", "apricot");
        let (same, text) = ask(&gateway, Some(&session));
        assert_eq!(same, session, "{name}");
        assert!(text.contains("shown 3"), "{name}: {text}");
        continue_it(&session, "12", "bramble");
        let (_, text) = ask(&gateway, Some(&session));
        assert!(text.contains("shown 5"), "{name}: {text}");
        let db = open(&home.of(name));
        check_search(&db).unwrap();
        assert_eq!(count(&db, "messages_fts WHERE messages_fts MATCH 'bramble AND asks'"), 1, "{name}");
        let version = if name == "ours" { 22 } else { 30 };
        assert_eq!(count(&db, &format!("schema_version WHERE version = {version}")), 1, "{name}");
    }
    gateway.stop();
}

/// A newer program opens the file of a worker that runs, and commits its migration statement by statement. After each of them a turn in
/// one conversation is answered, knows what was said, and has the same prompt.
#[test]
fn d22_a_migration_under_a_running_worker_breaks_no_turn() {
    let provider = Provider::start();
    provider.answer_with(answer);
    let home = with_tools(&provider);
    let mut gateway = Gateway::start(&home);
    gateway.wait_ready("default");
    let worker = gateway.worker("default");
    let key = format!("Bearer {}", home::DEFAULT_KEY);
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "the needle?"}]}).to_string();
    let mut turns = 0;
    let mut ask = || {
        turns += 1;
        let headers = [
            ("Authorization", key.as_str()),
            ("Content-Type", "application/json"),
            ("X-Hermes-Session-Id", "migrated"),
        ];
        let answer = gateway.api("POST", "/v1/chat/completions", &headers, body.as_bytes());
        let shown = format!("shown {turns}");
        assert!(answer.status == 200 && answer.text().contains(&shown), "turn {turns}: {}", answer.text());
    };
    ask();
    let db = open(&home.root());
    migrate(&db, &mut ask);
    ask();
    let prompts: BTreeSet<String> =
        provider.calls().iter().map(|call| call.body["messages"][0].to_string()).collect();
    assert!(prompts.len() == 1 && prompts.first().unwrap().contains("\"system\""), "{prompts:?}");
    assert_eq!(gateway.worker("default"), worker, "it was not started again");
    gateway.stop();
    assert!(turns > 40, "{turns}");
    assert_eq!(count(&db, "messages"), 4 * turns);
    assert_eq!(count(&db, "schema_version WHERE version = 30"), 1);
    assert_eq!(count(&db, "sessions JOIN system_prompts ON hash = system_prompt_hash"), 1);
    assert!(count(&db, "messages WHERE display_order = id") >= 8);
    check_search(&db).unwrap();
}
