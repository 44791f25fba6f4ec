//! What a turn costs beside its model, and what a long memory costs a turn. The Python program is measured the same way, in the same
//! run, where its tests' installation is there.

use std::io::Write as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use hermes_tests::http::{Connection, encode};
use hermes_tests::{Gateway, Home, wait};
use rusqlite::params;
use serde_json::json;

use crate::model::{Call, MARK, Model};
use crate::table::{Table, mb, median, ms, p99};

const KEY: &str = "turns-api-key-0123456789";
/// Messages of each session before it is measured.
const HISTORY: usize = 50;
const SESSIONS: usize = 10;
const SAMPLES: usize = 10;
/// Concurrent streams, and pieces of each.
const STREAMS: usize = 200;
const PIECES: usize = 100;
/// Messages of the large `state.db`, a hundred a session.
const LARGE: usize = 1_000_000;

/// A gateway whose API is asked.
struct Asked {
    address: String,
    prefix: &'static str,
}

impl Asked {
    fn request(&self, session: Option<&str>, stream: bool, text: &str) -> Vec<u8> {
        let body = json!({"model": "hermes-agent", "stream": stream, "messages": [{"role": "user", "content": text}]});
        let key = format!("Bearer {KEY}");
        let mut headers = vec![("Authorization", key.as_str()), ("Content-Type", "application/json")];
        headers.extend(session.map(|id| ("X-Hermes-Session-Id", id)));
        if stream {
            headers.push(("Connection", "close"));
        }
        encode("POST", &format!("{}/v1/chat/completions", self.prefix), &headers, body.to_string().as_bytes())
    }

    /// One turn, answered whole: what it took.
    fn turn(&self, session: Option<&str>, text: &str) -> Duration {
        let mut connection = Connection::open(&self.address).unwrap();
        let request = self.request(session, false, text);
        let begun = wait::now();
        connection.send(&request).unwrap();
        let response = connection.response(false).unwrap();
        let took = begun.elapsed();
        assert_eq!(response.status, 200, "{}", response.text());
        took
    }

    /// One turn, streamed: when each piece with text came, after the request was sent.
    fn stream(&self, session: Option<&str>, text: &str) -> (Instant, Vec<Instant>) {
        let mut connection = Connection::open(&self.address).unwrap();
        let request = self.request(session, true, text);
        let begun = wait::now();
        connection.send(&request).unwrap();
        assert_eq!(connection.head().unwrap().status, 200);
        let (mut came, mut seen) = (Vec::new(), 0);
        loop {
            let buffered = connection.buffered();
            let pieces = buffered.windows(MARK.len()).filter(|window| *window == MARK.as_bytes()).count();
            let now = wait::now();
            came.extend(std::iter::repeat_n(now, pieces - seen));
            seen = pieces;
            if !connection.fill().unwrap_or(false) {
                return (begun, came);
            }
        }
    }
}

/// Overhead of turns, first bytes, steps of tools, and many streams at once.
pub(crate) fn run(table: &mut Table) {
    let model = Model::start();
    let home = native(&model);
    let gateway = Gateway::start(&home);
    let ours = Asked { address: gateway.address("api_server"), prefix: "/p/coder" };
    let mine = Costs::of(&ours, &model, true);
    let python = Python::start(&model).map(|python| Costs::of(&python.asked(), &model, false));
    let beside = |of: fn(&Costs) -> f64| {
        python
            .as_ref()
            .map_or_else(|| "not installed".to_owned(), |costs| format!("Python: {:.2} ms", of(costs)))
    };
    table.row(
        format!("turn beside its model, {HISTORY} messages before it, median"),
        "<= 3 ms",
        format!("{:.2} ms", mine.turn),
        beside(|costs| costs.turn),
    );
    table.row(
        "  first streamed byte beside its model, median",
        "<= 2 ms",
        format!("{:.2} ms", mine.first),
        beside(|costs| costs.first),
    );
    table.row(
        "  step of a tool (call, run, commit), median",
        "<= 5 ms",
        format!("{:.2} ms", mine.step),
        beside(|costs| costs.step),
    );
    let worker = gateway.worker("coder");
    for (pause, what) in [(0, "no pause"), (20, "20 ms apart")] {
        let (p50, p99) = streams(&ours, pause);
        table.row(
            format!(
                "{STREAMS} streams at once in one worker, pieces {what}: delay between two beyond that, p99"
            ),
            "<= 20 ms",
            format!("{p99:.1} ms"),
            format!("p50 {p50:.1} ms; worker {:.1} MB", mb(hermes_tests::process::rss(worker))),
        );
    }
}

fn native(model: &Model) -> Home {
    let home = Home::new();
    home.profile_with("coder", &model_config(model), &format!("API_SERVER_KEY={KEY}\nCUSTOM_API_KEY=k\n"));
    home
}

fn model_config(model: &Model) -> String {
    format!(
        "model: {{default: m, provider: custom, base_url: '{}', api_key: '${{CUSTOM_API_KEY}}'}}\n\
         platforms: {{api_server: {{extra: {{max_concurrent_runs: 0}}}}}}\n",
        model.base_url()
    )
}

/// Milliseconds beside the model.
struct Costs {
    turn: f64,
    first: f64,
    step: f64,
}

impl Costs {
    fn of(asked: &Asked, model: &Model, has_todo: bool) -> Self {
        let ids: Vec<String> = (0..SESSIONS).map(|n| format!("session-{n}")).collect();
        for id in &ids {
            for _ in 0..HISTORY / 2 {
                asked.turn(Some(id), "ping");
            }
        }
        let (mut turns, mut firsts, mut steps) = (Vec::new(), Vec::new(), Vec::new());
        for id in &ids {
            for _ in 0..SAMPLES {
                model.calls();
                let took = asked.turn(Some(id), "ping");
                turns.extend(last(model).map(|call| ms(took) - ms(call.done - call.asked)));
            }
        }
        for n in 0..SESSIONS * SAMPLES {
            model.calls();
            let (begun, came) = asked.stream(Some(&format!("stream-{n}")), "tokens 1 0");
            let first = came.first().map(|at| *at - begun);
            firsts.extend(first.zip(last(model)).map(|(took, call)| ms(took) - ms(call.first - call.asked)));
        }
        for n in 0..SESSIONS * SAMPLES {
            model.calls();
            let tool = if has_todo { "tool todo {}" } else { "tool todo {\"todos\": []}" };
            asked.turn(Some(&format!("tool-{n}")), tool);
            let calls = model.calls();
            steps.extend(calls.windows(2).map(|pair| ms(pair[1].asked - pair[0].done)));
        }
        Self { turn: median(turns), first: median(firsts), step: median(steps) }
    }
}

fn last(model: &Model) -> Option<Call> {
    // Written when the answer is; it may be there a moment after whoever asked has it.
    let mut calls = model.calls();
    let deadline = wait::now() + Duration::from_secs(1);
    while calls.is_empty() && wait::now() < deadline {
        std::thread::yield_now();
        calls = model.calls();
    }
    calls.pop()
}

/// Milliseconds between two pieces beyond the model's pause: the median, and what one in a hundred exceeds.
fn streams(asked: &Asked, pause: u32) -> (f64, f64) {
    let text = format!("tokens {PIECES} {pause}");
    let gaps: Vec<f64> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..STREAMS).map(|_| scope.spawn(|| asked.stream(None, &text).1)).collect();
        all.into_iter()
            .flat_map(|one| {
                let came = one.join().unwrap();
                assert_eq!(came.len(), PIECES);
                came.windows(2).map(|pair| ms(pair[1] - pair[0]) - f64::from(pause)).collect::<Vec<_>>()
            })
            .collect()
    });
    (median(gaps.clone()), p99(gaps))
}

/// Start, a turn and a search beside a million messages.
pub(crate) fn large(table: &mut Table) {
    let model = Model::start();
    let home = native(&model);
    // It makes the file.
    let mut gateway = Gateway::start(&home);
    let empty = Costs::of_one(&home, &gateway, &model, "before");
    gateway.stop();
    drop(gateway);
    fill(&home);
    let gateway = Gateway::start(&home);
    let full = Costs::of_one(&home, &gateway, &model, "s-5000");
    let compared = |n: f64| format!("an empty one: {n:.1} ms");
    table.row(
        "state.db of 1 000 000 messages: opened by a worker",
        "<= 50 ms",
        format!("{:.1} ms", full.open),
        compared(empty.open),
    );
    table.row(
        "  a session of 100 of them loaded: turn beside its model",
        "<= 10 ms",
        format!("{:.1} ms", full.turn),
        compared(empty.turn),
    );
    table.row(
        "  a search for a word and a phrase: step of session_search",
        "<= 50 ms",
        format!("{:.1} ms", full.search),
        compared(empty.search),
    );
}

struct Memory {
    open: f64,
    turn: f64,
    search: f64,
}

impl Costs {
    fn of_one(home: &Home, gateway: &Gateway<'_>, model: &Model, session: &str) -> Memory {
        let path = home.of("coder").join("state.db");
        let opened = (0..5).map(|_| {
            let begun = wait::now();
            let db = rusqlite::Connection::open(&path).unwrap();
            db.query_row("SELECT count(*) FROM (SELECT 1 FROM sessions LIMIT 1)", [], |row| {
                row.get::<_, i64>(0)
            })
            .unwrap();
            ms(begun.elapsed())
        });
        let open = median(opened.collect());
        let asked = Asked { address: gateway.address("api_server"), prefix: "/p/coder" };
        let mut turns = Vec::new();
        for _ in 0..SAMPLES {
            model.calls();
            let took = asked.turn(Some(session), "ping");
            turns.extend(last(model).map(|call| ms(took) - ms(call.done - call.asked)));
        }
        let mut searches = Vec::new();
        for n in 0..SAMPLES {
            model.calls();
            asked.turn(
                Some(&format!("search-{n}")),
                r#"tool session_search {"query": "word77 OR \"word5 word9\""}"#,
            );
            searches.extend(model.calls().windows(2).map(|pair| ms(pair[1].asked - pair[0].done)));
        }
        Memory { open, turn: median(turns), search: median(searches) }
    }
}

/// Ten thousand sessions of a hundred messages, from a vocabulary of twenty thousand words.
fn fill(home: &Home) {
    let mut db = rusqlite::Connection::open(home.of("coder").join("state.db")).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -200000").unwrap();
    let mut seed: u64 = 42;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % 20_000
    };
    for block in 0..LARGE / 100_000 {
        let writing = db.transaction().unwrap();
        for n in 0..1000 {
            let id = format!("s-{}", block * 1000 + n);
            writing
                .execute("INSERT INTO sessions(id, source, started_at, message_count) VALUES (?1, 'api_server', 1.7e9, 100)", [&id])
                .unwrap();
            for turn in 0..100 {
                let role = if turn % 2 == 0 { "user" } else { "assistant" };
                let text = (0..12).map(|_| format!("word{}", next())).collect::<Vec<_>>().join(" ");
                writing
                    .prepare_cached("INSERT INTO messages(session_id, role, content, timestamp, active) VALUES (?1, ?2, ?3, 1.7e9, 1)")
                    .unwrap()
                    .execute(params![id, role, text])
                    .unwrap();
            }
        }
        writing.commit().unwrap();
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
}

/// The Python program, with one API server. Its gateway needs more than the tests' tools install of it: `PREDECESSOR` names the
/// `hermes` of a whole installation (`pip install hermes-agent==0.19.0 aiohttp`).
struct Python {
    child: Child,
    address: String,
    _home: tempfile::TempDir,
}

impl Python {
    /// `None` where none is named.
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts what it compares with")]
    fn start(model: &Model) -> Option<Self> {
        let program = std::env::var_os("PREDECESSOR")?;
        let home = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "{}security: {{allow_lazy_installs: false}}\nplatforms: {{api_server: {{enabled: true, extra: {{host: 127.0.0.1, port: {port}}}}}}}\n",
            model_config(model)
        );
        let write = |name: &str, text: &str| {
            fs_err::File::create(home.path().join(name)).unwrap().write_all(text.as_bytes()).unwrap();
        };
        write("config.yaml", &config);
        write(
            ".env",
            &format!(
                "API_SERVER_KEY={KEY}\nAPI_SERVER_ENABLED=true\nAPI_SERVER_PORT={port}\nCUSTOM_API_KEY=k\nOPENAI_API_KEY=k\n"
            ),
        );
        let child = std::process::Command::new(program)
            .args(["gateway", "run"])
            .env_clear()
            .env("HERMES_HOME", home.path())
            .env("HOME", home.path())
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let python = Self { child, address: format!("127.0.0.1:{port}"), _home: home };
        wait::until_true("the Python program to listen", || {
            std::net::TcpStream::connect(&python.address).is_ok()
        });
        Some(python)
    }

    fn asked(&self) -> Asked {
        Asked { address: self.address.clone(), prefix: "" }
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
