//! What clients see while the gateway becomes the next program in place.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use hermes_tests::installed::Installed;
use hermes_tests::{Gateway, http, wait};

use crate::load::home_of;
use crate::table::{Table, median};

/// Profiles, and so workers.
const WORKERS: usize = 20;
/// Clients, one connection each, which ask again as soon as they are answered.
const CLIENTS: usize = 32;
/// Upgrades.
const ROUNDS: usize = 5;

/// Upgrades in place with 20 workers under the load of 32 connections.
///
/// A pause is a gap between two answers of one client, and the longest of each client and upgrade is taken: a quantile of
/// latencies alone would hide it, as a client that waits asks nothing else meanwhile.
pub(crate) fn run(table: &mut Table) {
    let home = home_of(WORKERS);
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let address = gateway.address("api_server");
    let (stop, ok, bad) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (latencies, pauses) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let round = AtomicU64::new(0);
    let mut whole = Vec::new();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (address, stop, ok, bad, round) = (&address, &stop, &ok, &bad, &round);
            let (latencies, pauses) = (&latencies, &pauses);
            scope.spawn(move || {
                let path = match client % WORKERS {
                    0 => "/health".to_owned(),
                    n => format!("/p/p{n:04}/health"),
                };
                let mut open: Option<http::Connection> = None;
                let (mut own, mut worst, mut seen) = (Vec::new(), Duration::ZERO, 0);
                let mut last: Instant = wait::now();
                while !stop.load(SeqCst) {
                    let started = wait::now();
                    let connection = open.take().map_or_else(|| http::Connection::open(address), Ok);
                    let asked = connection.and_then(|mut connection| {
                        let response = connection.request("GET", &path, &[], b"")?;
                        open = Some(connection).filter(|_| response.header("connection") != Some("close"));
                        Ok(response.status)
                    });
                    match asked {
                        Ok(200) => ok.fetch_add(1, SeqCst),
                        _ => bad.fetch_add(1, SeqCst),
                    };
                    own.push(started.elapsed().as_secs_f64() * 1e3);
                    worst = worst.max(last.elapsed());
                    last = wait::now();
                    let now = round.load(SeqCst);
                    if now != seen {
                        pauses.lock().unwrap().push(worst.as_secs_f64() * 1e3);
                        (seen, worst) = (now, Duration::ZERO);
                    }
                }
                latencies.lock().unwrap().append(&mut own);
            });
        }
        for _ in 0..ROUNDS {
            installed.replace();
            let started = wait::now();
            assert!(installed.run(&home, &["gateway", "restart"]).status.success());
            whole.push(started.elapsed().as_secs_f64() * 1e3);
            wait::pass(Duration::from_millis(300));
            round.fetch_add(1, SeqCst);
            wait::pass(Duration::from_millis(300));
        }
        stop.store(true, SeqCst);
    });
    let mut latencies = latencies.into_inner().unwrap();
    latencies.sort_by(f64::total_cmp);
    let p999 = latencies[latencies.len() * 999 / 1000];
    let pauses = pauses.into_inner().unwrap();
    let longest = pauses.iter().copied().fold(0.0, f64::max);
    table.row(
        "in-place upgrade, 20 workers, 32 connections: failed requests",
        "0",
        format!("{} of {}", bad.into_inner(), ok.into_inner()),
        format!("{ROUNDS} upgrades"),
    );
    table.row(
        "the same: p99.9 of all requests; longest gap of any client",
        "<= 250 ms",
        format!("{p999:.0} ms; {longest:.0} ms"),
        format!("median gap {:.0} ms", median(pauses)),
    );
    table.row(
        "the same: from the command to every profile ready, median",
        "<= 5 s",
        format!("{:.0} ms", median(whole)),
        "-",
    );
}
