//! A burst of 10 000 signed webhooks over 16 connections.

use hermes_tests::{Gateway, Home, home, http, process, sign, wait};

use crate::table::{Table, mb, median};

const MESSAGES: u32 = 10_000;
const CONNECTIONS: u32 = 16;

/// Accepted per second, then turns finished per second.
pub(crate) fn burst(table: &mut Table) {
    let mut rounds = Vec::new();
    for _ in 0..3 {
        rounds.push(once());
    }
    let of = |i: usize| median(rounds.iter().map(|r| r[i]).collect());
    table.row(
        "signed webhooks accepted (202, on disk) per second",
        ">= 5000",
        format!("{:.0}", of(0)),
        "Python /health: 560/s",
    );
    table.row(
        "  turns (echo) finished per second, from the first post",
        ">= 1500",
        format!("{:.0}", of(1)),
        "-",
    );
    table.row("  worker RSS at its highest", "bounded", format!("{:.1} MB", of(2)), "-");
}

fn once() -> [f64; 3] {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let (address, worker) = (gateway.address("webhook"), gateway.worker("coder"));
    let secret = format!("{}-coder", home::SECRET);
    let body = br#"{"text": "a deployment finished", "id": 12345, "repository": {"name": "hermes"}}"#;
    let signature = sign::github(&secret, body);
    let requests: Vec<Vec<Vec<u8>>> = (0..CONNECTIONS)
        .map(|c| {
            (0..MESSAGES / CONNECTIONS)
                .map(|n| {
                    let id = format!("{c}-{n}");
                    let headers = [
                        ("X-Hub-Signature-256", signature.as_str()),
                        ("X-GitHub-Delivery", &id),
                        ("Content-Type", "application/json"),
                    ];
                    http::encode("POST", "/p/coder/webhooks/hook", &headers, body)
                })
                .collect()
        })
        .collect();
    let started = wait::now();
    std::thread::scope(|scope| {
        for requests in &requests {
            let address = &address;
            scope.spawn(move || {
                let mut connection = http::Connection::open(address).unwrap();
                for request in requests {
                    connection.send(request).unwrap();
                    assert_eq!(connection.response(false).unwrap().status, 202);
                }
            });
        }
    });
    let accepted = f64::from(MESSAGES) / started.elapsed().as_secs_f64();
    let db = rusqlite::Connection::open(home.of("coder").join("state.db")).unwrap();
    let mut rss = 0;
    wait::until_true("all turns", || {
        rss = rss.max(process::rss(worker));
        db.query_row("select count(*) from sessions where end_reason = 'webhook_complete'", [], |r| {
            r.get::<_, u32>(0)
        })
        .unwrap()
            == MESSAGES
    });
    let finished = f64::from(MESSAGES) / started.elapsed().as_secs_f64();
    [accepted, finished, mb(rss)]
}
