//! The edge between clients, proxy and workers: what one request leaves behind never reaches another.

use std::sync::atomic::{AtomicBool, Ordering};

use hermes_tests::gateway::{both, run};
use hermes_tests::http::{Connection, Response, chat, encode};
use hermes_tests::{Gateway, Home, wait};

/// A client that keeps its connection for as long as it is let.
struct Keeping<'a> {
    address: &'a str,
    open: Option<Connection>,
}

impl Keeping<'_> {
    fn ask(&mut self, request: &[u8]) -> Response {
        let connection = self.open.get_or_insert_with(|| Connection::open(self.address).unwrap());
        // An answer that comes early may end the connection while the rest is still being sent.
        let _ = connection.send(request);
        let response = connection.response(false).unwrap();
        if response.header("connection").is_some_and(|value| value.contains("close")) {
            self.open = None;
        }
        response
    }
}

/// 19: answers that come before the body is read cost nobody a request: not the one who sent it, and no other client.
#[test]
fn an_answer_before_the_body_leaves_no_trace() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let address = gateway.address("api_server");
    let key = format!("Bearer {}", Home::key("coder"));
    let body = vec![b'x'; 40_000];
    let long = vec![b'x'; 200_000];
    let refused = [
        (404, encode("POST", "/p/coder/v1/nowhere", &[], &body)),
        (401, encode("POST", "/p/coder/v1/chat/completions", &[("Authorization", "Bearer wrong")], &body)),
        (405, encode("PUT", "/p/coder/v1/models", &[("Authorization", &key)], &body)),
        (400, encode("POST", "/p/coder/v1/chat/completions", &[("Authorization", &key)], &body)),
        (404, encode("POST", "/p/coder/v1/nowhere", &[], &long)),
    ];
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut client = Keeping { address: &address, open: None };
            let request = encode("GET", "/p/coder/v1/models", &[("Authorization", &key)], b"");
            let mut answers = 0;
            while !done.load(Ordering::Relaxed) {
                assert_eq!(client.ask(&request).status, 200, "after {answers} answers");
                answers += 1;
            }
            answers
        });
        let mut client = Keeping { address: &address, open: None };
        for round in 0..2_000 {
            let (expected, request) = &refused[if round % 40 == 39 { 4 } else { round % 4 }];
            let response = client.ask(request);
            assert_eq!(response.status, *expected, "request {round}: {}", response.text());
        }
        done.store(true, Ordering::Relaxed);
        assert!(others.join().unwrap() > 0);
    });
}

/// 22: what the worker's HTTP library refuses carries what every answer carries, and 100 header lines pass.
#[test]
fn whoever_refuses_it_looks_the_same() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let address = gateway.address("api_server");
    let key = format!("Authorization: Bearer {}\r\n", Home::key("coder"));
    let ask = |path: &str, headers: &str| {
        let mut connection = Connection::open(&address).unwrap();
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n").as_bytes()).unwrap();
        connection.response(false).unwrap()
    };
    let full = format!("{key}{}", "A: b\r\n".repeat(98));
    assert_eq!(ask("/p/coder/v1/models", &full).status, 200);
    for (status, code, response) in [
        (431, "head_too_large", ask("/p/coder/v1/models", &format!("{full}A: b\r\n"))),
        (400, "bad_request", ask("/p/coder/v1/mod`els", &key)),
        (400, "bad_request", ask("/p/coder/v1/<models>", &key)),
        (400, "bad_request", ask("/p/coder/v1/models", "A b\r\n")),
    ] {
        assert_eq!((response.status, response.header("x-hermes-error")), (status, Some(code)));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{response:?}");
        assert_eq!(response.json()["error"]["code"], code);
    }
}

/// 13: a request that was already sent is finished, whatever becomes of its profile meanwhile, although it takes far longer than
/// a request is held for a worker.
#[test]
fn a_request_that_was_sent_is_finished() {
    let ends: [&[&str]; 5] = [
        &["gateway", "stop", "-p", "coder"],
        &["profile", "delete", "coder", "--yes"],
        &["profile", "rename", "coder", "other"],
        &["gateway", "restart", "-p", "coder"],
        &["gateway", "stop"],
    ];
    std::thread::scope(|scope| {
        for end in ends {
            scope.spawn(move || finished(end));
        }
        scope.spawn(|| finished(&[]));
    });
}

/// No command: the worker gets SIGTERM.
fn finished(end: &[&str]) {
    let home = Home::with_config(
        &Home::config("true", "  hold_ms: 100\n")
            .replace("restart_drain_timeout: 5", "restart_drain_timeout: 60"),
    );
    let env = format!("API_SERVER_KEY={}\n", Home::key("coder"));
    home.profile_with("coder", "agent: {engine: echo, echo_delay_ms: 100}\n", &env);
    let gateway = Gateway::start(&home);
    let mut client = Connection::open(&gateway.address("api_server")).unwrap();
    client.send(&chat(false, &"word ".repeat(20))).unwrap();
    wait::until_true("the turn to start", || gateway.profile("coder").requests_active == 1);
    std::thread::scope(|scope| {
        if end.is_empty() {
            let worker = i32::try_from(gateway.worker("coder")).unwrap();
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(worker), nix::sys::signal::Signal::SIGTERM)
                .unwrap();
        } else {
            scope.spawn(|| {
                let output = run(&home, end);
                assert!(output.status.success(), "{end:?}: {}", both(&output));
            });
        }
        let response = client.response(false).unwrap_or_else(|e| panic!("{end:?}: {e}"));
        assert_eq!(response.status, 200, "{end:?}: {}", response.text());
        let said =
            response.json()["choices"][0]["message"]["content"].as_str().unwrap().matches("word").count();
        assert_eq!(said, 20, "{end:?}: {}", response.text());
    });
}

/// 33: a client's key stays in no buffer of the supervisor, however its request arrived and whatever became of it; also while
/// its connection is kept.
#[test]
fn a_key_stays_in_no_buffer_of_the_supervisor() {
    if !hermes_tests::tools::may_look_into_others() {
        return;
    }
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let address = gateway.address("api_server");
    // Assembled at run time, as the test's own memory is not searched but a core of it might be.
    let key = |name: &str| format!("kept-by-nobody-{name}-{}", "7c1f9e02");
    let names =
        ["plain", "split", "grown", "behind", "chunked", "refused", "nowhere", "malformed", "unfinished"];
    let line = |name: &str| format!("Host: h\r\nAuthorization: Bearer {}\r\n", key(name));
    let get = |path: &str, name: &str| format!("GET {path} HTTP/1.1\r\n{}\r\n", line(name));
    let models = "/p/coder/v1/models";
    let fill = "X-Fill: 0123456789012345678901234567890123456789\r\n".repeat(90);
    let mut kept = Vec::new();
    for (pieces, answers) in [
        (vec![get(models, "plain")], 1),
        (
            {
                let (start, end) = {
                    let whole = get(models, "split");
                    let at = whole.len() - 12;
                    (whole[..at].to_owned(), whole[at..].to_owned())
                };
                vec![start, end]
            },
            1,
        ),
        (
            // Byte by byte at first, so that what is kept of it grows again and again.
            {
                let whole = format!("GET {models} HTTP/1.1\r\n{}{fill}\r\n", line("grown"));
                whole.as_bytes().chunks(400).map(|part| String::from_utf8(part.to_vec()).unwrap()).collect()
            },
            1,
        ),
        (vec![format!("{}{}", get("/p/coder/v1/models/x", "plain"), get(models, "behind"))], 2),
        (
            vec![format!(
                "POST /p/coder/v1/nowhere HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n{}",
                get(models, "chunked")
            )],
            2,
        ),
        (vec![get("/p/nobody/v1/models", "refused")], 1),
        (vec![get("/nowhere", "nowhere")], 1),
        (vec![format!("GET {models} HTTP/1.1\r\n{}Broken line\r\n\r\n", line("malformed"))], 1),
        (vec![format!("GET {models} HTTP/1.1\r\n{}", line("unfinished"))], 0),
    ] {
        let mut client = Connection::open(&address).unwrap();
        for piece in &pieces {
            client.send(piece.as_bytes()).unwrap();
            if pieces.len() > 1 {
                // One arrives before the next.
                wait::pass(std::time::Duration::from_millis(5));
            }
        }
        for _ in 0..answers {
            client.response(false).unwrap();
        }
        kept.push(client);
    }
    // Of a request that is not complete the proxy has to keep what there is.
    let unfinished = key("unfinished");
    wait::until_true("the unfinished head to arrive", || {
        !hermes_tests::process::find_in_memory(gateway.pid(), &[&unfinished]).is_empty()
    });
    kept.pop();
    let keys: Vec<String> = names.iter().map(|name| key(name)).collect();
    let needles: Vec<&str> = keys.iter().map(String::as_str).collect();
    wait::until_true("every key to be gone", || {
        hermes_tests::process::find_in_memory(gateway.pid(), &needles).is_empty()
    });
    drop(kept);
}
