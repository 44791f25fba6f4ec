//! Who uses the gateway meanwhile.

use hermes_tests::{http, process, sign};

use super::*;

/// Posts webhooks with ids of its own to one of `targets` after the other and records those that were acknowledged. Any failure
/// is legal, a wrong code is not.
pub(super) fn post(shared: &Shared, targets: &[&'static str], thread: usize, pause: Duration) {
    let mut connection = None;
    for n in 1_usize.. {
        if shared.stop.load(SeqCst) {
            return;
        }
        let name = targets[n % targets.len()];
        // The third message of the one that asks a provider, and no other, kills.
        let word = if name == ASKING && n == 3 { POISON } else { "chaos" };
        let id = format!("{word}-{thread}-{n}");
        let secret =
            if name == "default" { home::SECRET.to_owned() } else { format!("{}-{name}", home::SECRET) };
        let body = format!(r#"{{"text": "{word}"}}"#);
        let signed = sign::Signed::new(&secret, &id, body.as_bytes());
        let address = shared.addresses.lock().unwrap().0.clone();
        let open = connection.take().map_or_else(|| http::Connection::open(&address), Ok);
        let Ok(mut open) = open else {
            wait::pass(Duration::from_millis(20));
            continue;
        };
        match open.request("POST", &format!("/p/{name}/webhooks/hook"), &signed.headers(), body.as_bytes()) {
            Ok(response) if response.status == 202 => {
                shared.acknowledged.lock().unwrap().insert((name, id));
                connection = Some(open);
            }
            Ok(response) => {
                assert!(matches!(response.status, 502..=504), "{}: {}", response.status, response.text());
                connection = Some(open).filter(|_| response.header("connection") != Some("close"));
            }
            Err(_) => {}
        }
        wait::pass(pause);
    }
}

/// Asks the untouched profile, and insists on an answer whenever the same supervisor lived through the whole request.
pub(super) fn ask(shared: &Shared) {
    let mut connection = None;
    while !shared.stop.load(SeqCst) {
        let before = shared.up();
        let address = shared.addresses.lock().unwrap().1.clone();
        let open = connection.take().map_or_else(|| http::Connection::open(&address), Ok);
        let result = open.and_then(|mut open| {
            let response = open.request("GET", "/p/quiet/health", &[], b"")?;
            // A gateway that takes up another program says so.
            connection = Some(open).filter(|_| response.header("connection") != Some("close"));
            Ok(response)
        });
        let after = shared.up();
        match result {
            Ok(response) if response.status == 200 => {
                shared.quiet.fetch_add(1, SeqCst);
            }
            other if before.is_some() && before == after => {
                panic!("a request to the untouched profile failed: {other:?}")
            }
            _ => connection = None,
        }
        wait::pass(Duration::from_millis(2));
    }
}

/// Kills the worker of the profile that asks whenever its poisonous message has reached the provider once more.
pub(super) fn kill_what_is_poisoned(home: &Home, shared: &Shared, stop: &AtomicBool) {
    let mut seen = 0;
    while !stop.load(SeqCst) {
        wait::pass(Duration::from_millis(20));
        let calls = shared.provider.lock().unwrap().as_ref().map(Provider::calls);
        // One that was away begins to count anew.
        let calls = calls.unwrap_or_default();
        let now = calls.iter().filter(|call| call.body.to_string().contains(POISON)).count();
        if now > seen {
            let status = hermes_tests::gateway::status(home);
            let worker = status.profiles.iter().find(|profile| profile.name == ASKING).and_then(|p| p.pid);
            if let Some(pid) = worker.filter(|pid| process::is_alive(*pid)) {
                let _ =
                    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
            }
        }
        seen = now;
    }
}
