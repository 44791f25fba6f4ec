//! What hostile clients cost others: an untouched profile's requests, quiet and during each attack, in turns.

use std::time::Duration;

use hermes_tests::attack::{Attack, kept, post, trickle};
use hermes_tests::{Gateway, Home};

use crate::load::{Seen, wrk};
use crate::table::{Table, median};

const ROUNDS: usize = 3;
/// Connections of the untouched profile's clients.
const CLIENTS: u32 = 32;
/// Seconds of one measurement.
const SECONDS: u32 = 3;
/// Every connection the gateway takes.
const PLACES: usize = 512;
/// Between two signs of life of what trickles.
const PAUSE: Duration = Duration::from_millis(100);

/// Starts it, at the address of the API server or of webhooks.
type Start = fn(&str, &str) -> Attack;

/// Everybody comes from one address, the untouched profile's clients too.
const ATTACKS: [(&str, Start); 5] = [
    ("300 heads of nothing but `\\r`, pause, `\\n`", |api, _| {
        trickle(api, 300, b"\r", &[b"\n", b"\r"], PAUSE)
    }),
    ("300 bodies that trickle into the 256 places of one profile", |_, webhook| {
        let opening = b"POST /p/coder/webhooks/hook HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{";
        trickle(webhook, 300, opening, &[b" "], PAUSE)
    }),
    ("4 clients that post 60 MB to /nowhere", |api, _| post(api, 4, "/nowhere", 60_000_000)),
    ("100 silent connections more than the limit", |api, _| trickle(api, PLACES + 100, b"", &[b""], PAUSE)),
    ("4 clients that post 40 kB nobody reads, on kept connections", |api, _| {
        kept(api, 4, "/p/coder/v1/nowhere", 40_000)
    }),
];

/// p50 and p99 of `GET /p/ops/health`.
pub(crate) fn run(table: &mut Table) {
    let home = Home::with_config(&Home::config(
        "true",
        &format!("  max_connections: {PLACES}\n  max_connections_per_address: 0\n"),
    ));
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let (address, webhook) = (gateway.address("api_server"), gateway.address("webhook"));
    let url = format!("http://{address}/p/ops/health");
    let measured = || wrk(&url, CLIENTS, SECONDS);
    for (name, start) in ATTACKS {
        let (mut quiet, mut attacked) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let before = measured();
            let attack = start(&address, &webhook);
            let during = measured();
            drop(attack);
            let (Some(before), Some(during)) = (before, during) else {
                return table.row(
                    "an untouched profile during attacks",
                    "<= 2 x",
                    "not measured",
                    "wrk is not installed",
                );
            };
            quiet.push(before);
            attacked.push(during);
        }
        let of = |seen: &[Seen], get: fn(&Seen) -> f64| median(seen.iter().map(get).collect());
        let (p99, p99_quiet) = (of(&attacked, |s| s.p99_us), of(&quiet, |s| s.p99_us));
        let (p50, p50_quiet) = (of(&attacked, |s| s.p50_us), of(&quiet, |s| s.p50_us));
        table.row(
            format!("an untouched profile during: {name}: p50, p99"),
            "<= 2 x",
            format!("{:.2} x, {:.2} x", p50 / p50_quiet, p99 / p99_quiet),
            format!(
                "quiet {p50_quiet:.0} us, {p99_quiet:.0} us; {} connections broken",
                attacked.iter().map(|seen| seen.broken).sum::<u64>()
            ),
        );
    }
}
