//! What somebody at a terminal waits for beside the model, and how fast a stored response is found among ten thousand.

use std::time::Duration;

use hermes_tests::http::Connection;
use hermes_tests::terminal::Screen;
use hermes_tests::{Gateway, Home, command, wait};
use serde_json::json;

use crate::model::{MARK, Model};
use crate::table::{Table, median, ms, p99};

/// Questions of one measurement.
const QUESTIONS: usize = 30;
/// Pieces of one answer, and milliseconds between two: 200 a second.
const PIECES: usize = 600;
const PAUSE: u32 = 5;
const RESPONSES: usize = 10_000;
const FOUND: usize = 1000;

/// Questions of scripts, an answer as it is drawn, responses that are asked for again.
pub(crate) fn run(table: &mut Table) {
    let model = Model::start();
    let home = Home::new();
    let config = format!(
        "model: {{default: m, provider: custom, base_url: '{}', api_key: '${{CUSTOM_API_KEY}}'}}\nauxiliary: {{title_generation: {{enabled: false}}}}\n",
        model.base_url()
    );
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\n", Home::key("coder"));
    home.profile_with("coder", &config, &env);
    let mut gateway = Gateway::start(&home);
    let served = asked(&home, &model);
    let (p50, p99) = drawn(&home);
    gateway.stop();
    drop(gateway);
    let alone = asked(&home, &model);
    table.row(
        "`chat -q`, start to the model's request, served profile, median",
        "<= 30 ms",
        shown(served),
        "-",
    );
    table.row("  with a worker of its own, median", "<= 60 ms", shown(alone), "-");
    table.row(
        format!(
            "interactive answer, {} tokens a second: delay between two on the screen beyond that, p99",
            1000 / PAUSE
        ),
        "<= 16 ms",
        format!("{p99:.1} ms"),
        format!("p50 {p50:.1} ms"),
    );
    responses(table);
}

fn shown(ms: f64) -> String {
    format!("{ms:.1} ms")
}

/// Milliseconds from the start of the process to its question at the model.
fn asked(home: &Home, model: &Model) -> f64 {
    let took = (0..QUESTIONS).map(|_| {
        model.calls();
        let begun = wait::now();
        command::run(home, &["-p", "coder", "chat", "-q", "ping"]).ok();
        ms(model.calls()[0].asked - begun)
    });
    median(took.collect())
}

/// Milliseconds between two pieces on the screen beyond the model's pause: the median, and what one in a hundred exceeds.
fn drawn(home: &Home) -> (f64, f64) {
    let mut screen = Screen::run(home, "hermes -p coder", 100, 50);
    screen.wait_for("coder ❯");
    screen.keys(&format!("tokens {PIECES} {PAUSE}\r"));
    let mut came = Vec::new();
    while came.len() < PIECES {
        let pieces = screen.printed().matches(MARK).count();
        came.resize(pieces.max(came.len()), wait::now());
        wait::pass(Duration::from_micros(200));
    }
    came.truncate(PIECES);
    let gaps: Vec<f64> =
        came.windows(2).map(|pair| (ms(pair[1] - pair[0]) - f64::from(PAUSE)).max(0.0)).collect();
    (median(gaps.clone()), p99(gaps))
}

/// Responses of turns, one after the other, and then some of them again.
fn responses(table: &mut Table) {
    let home = Home::new();
    let config = format!(
        "agent: {{engine: echo}}\nplatforms: {{api_server: {{extra: {{max_stored_responses: {RESPONSES}}}}}}}\n"
    );
    home.profile_with("coder", &config, &format!("API_SERVER_KEY={}\n", Home::key("coder")));
    let gateway = Gateway::start(&home);
    let mut connection = Connection::open(&gateway.address("api_server")).unwrap();
    let key = format!("Bearer {}", Home::key("coder"));
    let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
    let mut ids = Vec::with_capacity(RESPONSES);
    for n in 0..RESPONSES {
        let body = json!({"input": format!("question {n}")}).to_string();
        let response =
            connection.request("POST", "/p/coder/v1/responses", &headers, body.as_bytes()).unwrap();
        ids.push(response.json()["id"].as_str().unwrap().to_owned());
    }
    let mut find = |id: &str| {
        let begun = wait::now();
        let found = connection.request("GET", &format!("/p/coder/v1/responses/{id}"), &headers, b"").unwrap();
        assert_eq!(found.status, 200);
        ms(begun.elapsed())
    };
    // Each time far from the one before.
    let took: Vec<f64> = (0..FOUND).map(|n| find(&ids[n * 7919 % RESPONSES])).collect();
    table.row(
        format!("one of {RESPONSES} stored responses asked for, median"),
        "<= 5 ms",
        shown(median(took.clone())),
        format!("p99 {}", shown(p99(took))),
    );
}
