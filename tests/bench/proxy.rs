//! The proxy beside HAProxy and nginx, in front of the same worker socket, and beside a worker without any.

use hermes_tests::{Gateway, Home, home, http, process, sign};

use crate::load::{Peer, Seen, wrk};
use crate::table::{Table, mb, median};

const ROUNDS: usize = 5;

/// `GET /p/coder/health`, keep-alive, 32 connections: ours, HAProxy, nginx and no proxy at all, in turns.
pub(crate) fn keep_alive(table: &mut Table) {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let socket = gateway.profile("coder").data_socket.unwrap();
    // A home of its own: nobody else may have this one's profile.
    let alone = Home::new();
    alone.profile("coder");
    let worker = Peer::worker(&alone, "coder");
    let ours = gateway.address("api_server");
    let mut contenders = vec![("ours", format!("http://{ours}/p/coder/health"))];
    let peers = [("HAProxy", Peer::haproxy("coder", &socket)), ("nginx", Peer::nginx("coder", &socket))];
    for (name, peer) in &peers {
        match peer {
            Some(peer) => contenders.push((name, format!("http://{}/p/coder/health", peer.address))),
            None => table.row(format!("GET /p/coder/health: {name}"), "-", "not measured", "not installed"),
        }
    }
    contenders.push(("direct", format!("http://{}/health", worker.address)));
    let mut seen: Vec<(&str, Vec<Seen>)> = contenders.iter().map(|(name, _)| (*name, Vec::new())).collect();
    for _ in 0..ROUNDS {
        for ((_, url), (_, seen)) in contenders.iter().zip(&mut seen) {
            let Some(now) = wrk(url, 32, 4) else {
                return table.row("GET /p/coder/health", "-", "not measured", "wrk is not installed");
            };
            seen.push(now);
        }
    }
    let of = |seen: &[Seen], f: fn(&Seen) -> f64| median(seen.iter().map(f).collect());
    let (_, own) = &seen[0];
    for (name, theirs) in &seen[1..] {
        let must = match *name {
            "HAProxy" => "aim: 1.5 x",
            "direct" => "aim: 0.65 x",
            _ => ">= 1.0 x",
        };
        let (rate, their_rate) = (of(own, |s| s.per_second), of(theirs, |s| s.per_second));
        table.row(
            format!("GET /p/coder/health, 32 connections, against {name}: requests/s"),
            must,
            format!("{rate:.0} = {:.2} x", rate / their_rate),
            format!("{name} {their_rate:.0}"),
        );
        for (what, get) in [("p50", (|s: &Seen| s.p50_us) as fn(&Seen) -> f64), ("p99", |s| s.p99_us)] {
            let (a, b) = (of(own, get), of(theirs, get));
            table.row(
                format!("  {what}"),
                must,
                format!("{a:.0} us = {:.2} x", b / a),
                format!("{name} {b:.0} us"),
            );
        }
    }
}

/// 1 MiB bodies and a stream of 10 000 events.
pub(crate) fn bodies(table: &mut Table) {
    let home = Home::new();
    home.profile_with(
        "coder",
        &format!("agent: {{engine: echo}}\nplatforms: {{webhook: {{extra: {{secret: {}, rate_limit: 100000000, max_body_bytes: 4194304, routes: {{hook: {{events: [never], prompt: x}}}}}}}}}}\n", home::SECRET),
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let gateway = Gateway::start(&home);
    let socket = gateway.profile("coder").data_socket.unwrap();
    let Some(nginx) = Peer::nginx("coder", &socket) else {
        return table.row("1 MiB POST", ">= 1.0 x nginx", "not measured", "nginx is not installed");
    };
    let rss_before = process::rss(gateway.pid());

    let body = format!("{{\"text\": \"{}\"}}", "x".repeat(1024 * 1024 - 12));
    let signature = sign::github(home::SECRET, body.as_bytes());
    let headers = [("X-Hub-Signature-256", signature.as_str()), ("Content-Type", "application/json")];
    let request = http::encode("POST", "/p/coder/webhooks/hook", &headers, body.as_bytes());
    let posts = |address: &str| {
        let mut connection = http::Connection::open(address).unwrap();
        let started = hermes_tests::wait::now();
        for _ in 0..100 {
            connection.send(&request).unwrap();
            assert_eq!(connection.response(false).unwrap().status, 200);
        }
        100.0 / started.elapsed().as_secs_f64()
    };
    compare(
        table,
        "1 MiB POST, one connection: per second",
        posts,
        &gateway.address("webhook"),
        &nginx.address,
    );

    let words = "w ".repeat(10_000);
    let body =
        serde_json::json!({"stream": true, "messages": [{"role": "user", "content": words}]}).to_string();
    let headers =
        [("Authorization", "Bearer coder-api-key-0123456789"), ("Content-Type", "application/json")];
    let request = http::encode("POST", "/p/coder/v1/chat/completions", &headers, body.as_bytes());
    let streams = |address: &str| {
        let mut connection = http::Connection::open(address).unwrap();
        let started = hermes_tests::wait::now();
        connection.send(&request).unwrap();
        let response = connection.response(false).unwrap();
        assert!(
            response.status == 200 && response.complete && response.body.ends_with(b"data: [DONE]\n\n"),
            "{}",
            response.text()
        );
        1.0 / started.elapsed().as_secs_f64()
    };
    compare(
        table,
        "SSE stream of 10 000 events: streams per second",
        streams,
        &gateway.address("api_server"),
        &nginx.address,
    );
    let rss_after = process::rss(gateway.pid());
    table.row(
        "  supervisor RSS before and after",
        "flat",
        format!("{:.1} -> {:.1} MB", mb(rss_before), mb(rss_after)),
        "-",
    );
}

fn compare(table: &mut Table, what: &str, run: impl Fn(&str) -> f64, ours: &str, theirs: &str) {
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (run(ours), run(theirs))).collect();
    let (a, b) = (median(rounds.iter().map(|r| r.0).collect()), median(rounds.iter().map(|r| r.1).collect()));
    table.row(what, ">= 1.0 x nginx", format!("{a:.1} = {:.2} x", a / b), format!("nginx {b:.1}"));
}
