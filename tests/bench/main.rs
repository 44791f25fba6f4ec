//! Benchmarks against running processes: `tests/bench/run [section…]` builds, measures and prints one table.
//!
//! Rules: what is compared runs in the same minute on the same machine, alternating; medians of several rounds; a ratio, not a
//! time, decides. Nothing here is asserted: machines differ, and a table that is read beats a threshold that is loosened.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that fails stops, and its output is its purpose"
)]

mod attacks;
mod chats;
mod density;
mod load;
mod logs;
mod model;
mod profiles;
mod proxy;
mod recovery;
mod sleep;
mod table;
mod terminal;
mod turns;
mod upgrade;
mod webhooks;

use table::Table;

type Section = (&'static str, fn(&mut Table));

const SECTIONS: [Section; 20] = [
    ("proxy", proxy::keep_alive),
    ("bodies", proxy::bodies),
    ("webhooks", webhooks::burst),
    ("turns", turns::run),
    ("large", turns::large),
    ("chats", chats::run),
    ("terminal", terminal::run),
    ("attacks", attacks::run),
    ("memory", density::memory),
    ("idle", density::idle),
    ("start", density::start),
    ("recovery", recovery::kill_and_swap),
    ("upgrade", upgrade::run),
    ("status", density::status),
    ("profiles", profiles::run),
    ("wakes", sleep::wakes),
    ("thousand", sleep::thousand),
    ("stop", sleep::stop),
    ("logs", logs::read),
    ("flood", logs::flood),
];

fn main() {
    let wanted: Vec<String> =
        std::env::args_os().skip(1).filter_map(|name| name.into_string().ok()).collect();
    if let Some(unknown) = wanted.iter().find(|w| !SECTIONS.iter().any(|(name, _)| name == w)) {
        let names: Vec<_> = SECTIONS.iter().map(|(n, _)| *n).collect();
        println!("no section `{unknown}`; there are: {}", names.join(", "));
        return;
    }
    let mut table = Table::default();
    for (name, run) in SECTIONS {
        if wanted.is_empty() || wanted.iter().any(|w| w == name) {
            println!("# {name} …");
            run(&mut table);
        }
    }
    table.print();
}
