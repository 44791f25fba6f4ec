//! What a client sees when a worker dies or is swapped.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hermes_tests::{Gateway, Home, gateway, http, process, wait};

use crate::table::{Table, median};

/// `kill -9` of an idle worker until the next 200; a swap under 16 connections.
pub(crate) fn kill_and_swap(table: &mut Table) {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let address = gateway.address("api_server");
    let (mut times, mut failed) = (Vec::new(), 0);
    let mut connection = http::Connection::open(&address).unwrap();
    for round in 0..15 {
        assert_eq!(connection.request("GET", "/p/coder/health", &[], b"").unwrap().status, 200);
        process::signal(gateway.worker("coder"), nix::sys::signal::Signal::SIGKILL);
        let started = wait::now();
        match connection.request("GET", "/p/coder/health", &[], b"") {
            Ok(response) if response.status == 200 => times.push(started.elapsed().as_secs_f64() * 1e3),
            _ => {
                failed += 1;
                connection = http::Connection::open(&address).unwrap();
            }
        }
        gateway.wait_ready("coder");
        // Four deaths in a row are near the crash loop: a restart by hand clears the count.
        if round % 3 == 2 {
            gateway::run(&home, &["gateway", "restart", "-p", "coder"]);
        }
    }
    table.row(
        "kill -9 of an idle worker until the next 200, median",
        "<= 100 ms",
        format!("{:.0} ms", median(times)),
        format!("{failed} failed requests"),
    );

    let (stop, ok, bad) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut connection = http::Connection::open(&address).unwrap();
                while !stop.load(SeqCst) {
                    match connection.request("GET", "/p/coder/health", &[], b"") {
                        Ok(response) if response.status == 200 => ok.fetch_add(1, SeqCst),
                        _ => {
                            connection = http::Connection::open(&address).unwrap();
                            bad.fetch_add(1, SeqCst)
                        }
                    };
                }
            });
        }
        for _ in 0..5 {
            assert!(gateway::run(&home, &["gateway", "restart", "-p", "coder"]).status.success());
            wait::pass(std::time::Duration::from_millis(200));
        }
        stop.store(true, SeqCst);
    });
    table.row(
        "5 swaps under load of 16 connections: failed requests",
        "0",
        format!("{} of {}", bad.into_inner(), ok.into_inner()),
        "-",
    );
}
