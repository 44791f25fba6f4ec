//! 29: what a worker may not say ends that worker, with the rule as the reason, and costs nobody else anything. The messages come
//! over the control connection of a real worker, taken out of that process.

use std::io::Write as _;
use std::os::unix::net::UnixStream;

use hermes_tests::gateway::{both, run};
use hermes_tests::{Gateway, Home, process, tools, wait};
use hermes_wire::latest::{FromWorker, Heartbeat, Report};
use hermes_wire::{codec, frame};

/// The descriptor of the control connection, by the convention by which a worker inherits it.
const CONTROL: i32 = 4;

fn framed(message: &FromWorker) -> Vec<u8> {
    let payload = codec::encode(message).unwrap();
    [frame::head(payload.len()).unwrap().as_slice(), &payload].concat()
}

/// Writes all of it. The connection is the worker's, which waits nowhere.
fn insist(control: &mut UnixStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match control.write(bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                wait::pass(std::time::Duration::from_millis(1));
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// 29: reports again and again, a flood of heartbeats, what is too long, what is no message: each ends the worker, and while it
/// goes on a stop of another profile is carried out and the supervisor does not grow.
#[test]
fn n29_a_worker_that_breaks_the_rules_is_ended_with_the_rule_as_the_reason() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let gateway = Gateway::start(&home);
    let ops = gateway.worker("ops");
    let Some(_) = tools::permitted("descriptors of other processes", process::descriptor(ops, CONTROL))
    else {
        return;
    };
    let report = framed(&FromWorker::Report(Report::default()));
    let heartbeat = framed(&FromWorker::Heartbeat(Heartbeat::default()));
    // A head that announces what follows, and a beginning of it.
    let long = [frame::head(900_000).unwrap().as_slice(), vec![0; 100_000].as_slice()].concat();
    let garbled = [frame::head(64).unwrap().as_slice(), &[0xff; 64]].concat();
    let before = process::rss(gateway.pid());
    for (message, rule) in [
        (&report, "it said `Report` twice"),
        (&heartbeat, "it sent more than 100 messages a second"),
        (&long, "it sent a message"),
        (&garbled, "it sent what is no message"),
    ] {
        let worker = gateway.worker("coder");
        let mut control = UnixStream::from(process::descriptor(worker, CONTROL).unwrap());
        std::thread::scope(|scope| {
            // Until nobody reads it any more.
            scope.spawn(move || while insist(&mut control, message).is_ok() {});
            let stopped = run(&home, &["gateway", "restart", "-p", "ops"]);
            assert!(stopped.status.success(), "{}", both(&stopped));
            wait::until_true(&format!("the worker to be replaced: {rule}"), || {
                let coder = gateway.profile("coder");
                coder.pid.is_some_and(|pid| pid != worker) && coder.ready
            });
        });
        let said = gateway.profile("coder").last_exit.unwrap_or_default();
        assert!(said.contains(rule), "{rule}: {said}");
    }
    let grown = process::rss(gateway.pid()).saturating_sub(before);
    assert!(grown < 32 << 20, "the supervisor grew by {grown} bytes");
    assert_eq!(gateway.get("/p/ops/v1/models", &Home::key("ops")).status, 200);
}
