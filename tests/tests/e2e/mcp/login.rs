//! A server over HTTP that wants a login: the login, its tokens, their renewal, and their end.

#![expect(clippy::disallowed_methods, reason = "the test starts the server")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use hermes_tests::provider::Provider;
use hermes_tests::{Gateway, Home, gateway};
use serde_json::json;

use super::{error, fixture, furnished, results, text, wait_for};

struct Guarded {
    child: Child,
    base: String,
}

impl Guarded {
    fn start(words: &[&str]) -> Self {
        let mut child = Command::new("python3")
            .arg(fixture("guarded.py"))
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut base = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut base).unwrap();
        Self { child, base: base.trim().to_owned() }
    }

    fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a browser gets from an address.
fn get(url: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (host, path) = rest.split_once('/').unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Logs in as a user does, with a browser that follows where it is led.
fn log_in(home: &Home) -> String {
    let mut child = gateway::hermes(home, &["mcp", "login", "guarded", "--no-browser"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut said = String::new();
    let url = loop {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "{said}");
        said += &line;
        if let Some(url) = line.trim().strip_prefix("http") {
            break format!("http{url}");
        }
    };
    let led = get(&url);
    let back = led
        .lines()
        .find_map(|line| line.strip_prefix("location: "))
        .unwrap_or_else(|| panic!("{led}"))
        .trim();
    assert!(get(back).contains("You are logged in"));
    out.read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    said
}

#[test]
fn a_login_is_kept_renewed_and_asked_for_when_it_is_over() {
    let guarded = Guarded::start(&["2"]);
    let provider = Provider::start();
    let servers = format!(
        "mcp_servers: {{guarded: {{url: '{}/mcp', auth: oauth, keepalive_interval: 0}}}}\n",
        guarded.base
    );
    let home = furnished(&provider, &servers);
    let gateway = Gateway::start(&home);
    let parked = wait_for(&home, "guarded", "parked");
    let reason = parked.reason.unwrap();
    assert!(reason.contains("`hermes mcp login guarded`"), "{reason}");
    let found = results(&gateway, &provider, &[("mcp__guarded__whoami", json!({}))]);
    assert!(error(&found[0]).contains("mcp login guarded"), "{}", found[0]);

    let said = log_in(&home);
    assert!(said.contains("✓ guarded is logged in"), "{said}");
    assert!(!said.contains("access-1"), "{said}");
    let file = home.root().join("mcp-tokens/guarded.json");
    assert_eq!(fs_err::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    // By itself.
    wait_for(&home, "guarded", "connected");
    let found = results(&gateway, &provider, &[("mcp__guarded__whoami", json!({}))]);
    assert!(text(&found[0]).starts_with("access-"), "{}", found[0]);
    hermes_tests::wait::pass(std::time::Duration::from_millis(2100));
    let found = results(&gateway, &provider, &[("mcp__guarded__whoami", json!({}))]);
    let renewed = text(&found[0]).to_owned();
    assert_ne!(renewed, "access-1", "it was over, and was renewed");
    assert!(fs_err::read_to_string(&file).unwrap().contains(&renewed));

    get(&format!("http://{}/revoke", guarded.address()));
    let found = results(&gateway, &provider, &[("mcp__guarded__whoami", json!({}))]);
    assert!(error(&found[0]).contains("mcp login guarded"), "{}", found[0]);
    for log in ["logs/gateway.log", "logs/gateway.error.log", "runtime_status.json"] {
        let text = home.read("default", log).unwrap_or_default();
        assert!(!text.contains("access-") && !text.contains("refresh-"), "{log}");
    }
}

/// A worker and several commands find a token that is over at the same time: each token that renews is spent once, and nobody is told to log in.
#[test]
fn a_token_that_renews_is_spent_once_by_all_processes() {
    let guarded = Guarded::start(&["2", "0.3"]);
    let provider = Provider::start();
    let servers = format!(
        "mcp_servers: {{guarded: {{url: '{}/mcp', auth: oauth, keepalive_interval: 0}}}}\n",
        guarded.base
    );
    let home = furnished(&provider, &servers);
    let gateway = Gateway::start(&home);
    wait_for(&home, "guarded", "parked");
    log_in(&home);
    wait_for(&home, "guarded", "connected");
    hermes_tests::wait::pass(std::time::Duration::from_millis(2100));
    let commands: Vec<Child> = (0..4)
        .map(|_| {
            let mut command = gateway::hermes(&home, &["mcp", "test", "guarded"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let found = results(&gateway, &provider, &[("mcp__guarded__whoami", json!({}))]);
    assert!(text(&found[0]).starts_with("access-"), "{}", found[0]);
    for command in commands {
        let output = command.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", gateway::both(&output));
    }
    let count = get(&format!("http://{}/count", guarded.address()));
    assert!(count.contains("\"refused\": 0"), "{count}");
}
