//! Workers outlive the program that started them: what clients, turns and commands see of that.

use super::*;

/// What both programs say of going on with workers.
const GOES_ON: &str = "hermes-gateway goes on with workers (1)";

/// Where text stands in a program; at least once.
fn places(bytes: &[u8], text: &str) -> Vec<usize> {
    let (first, mut at, mut found) = (text.as_bytes()[0], 0, Vec::new());
    while let Some(next) = bytes[at..].iter().position(|byte| *byte == first) {
        at += next;
        if bytes[at..].starts_with(text.as_bytes()) {
            found.push(at);
        }
        at += 1;
    }
    assert!(!found.is_empty(), "`{text}` is not in the program");
    found
}

/// Replaces text in a program by other text of the same length.
fn patch(bytes: &mut [u8], from: &str, to: &str) {
    assert_eq!(from.len(), to.len());
    for at in places(bytes, from) {
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    }
}

/// A turn that a webhook started is not waited for, and not cut: the worker that runs it lives on beside the next one.
#[test]
fn a_turn_goes_on_while_the_program_changes() {
    let provider = hermes_tests::provider::Provider::start();
    provider.script([hermes_tests::provider::Reply::Hang]);
    let config = Home::config("true", "").replace("engine: echo, ", "");
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    home.write("default", ".env", "CUSTOM_API_KEY=k\nAPI_SERVER_KEY=default-api-key-0123456789\n");
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, worker) = (gateway.pid(), gateway.worker("default"));
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    wait::until_true("the turn to start", || provider.open() == 1);
    installed.replace();
    let Some(ClientReply::Done(_)) = ask(&gateway, &ClientRequest::Renew) else { panic!("it is taken up") };
    wait::until_true("the new program", || image(pid) == file(&installed.program()));
    assert!(process::is_alive(worker), "its supervisor is another program, and it is none of its business");
    assert_eq!((provider.open(), process::parent(worker)), (1, Some(pid)));
    gateway.wait_replaced("default", worker);
    assert_eq!(provider.open(), 1, "nor is it when its profile has another worker");
}

/// The listeners of the admin address and of both command sockets are the same sockets afterwards, and so is the lock: whoever connects
/// waits, and nobody finds the gateway gone.
#[test]
fn nobody_who_asks_meanwhile_is_refused() {
    let home = Home::with_config(&Home::config("true", "  admin: 127.0.0.1:0\n"));
    let installed = Installed::new();
    let mut gateway = Gateway::start_at(&installed.program(), &home);
    let admin = gateway.status().gateway.admin.unwrap();
    let record = home.read("default", "gateway.pid").unwrap();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let looks: [Box<dyn Fn() + Send + Sync>; 3] = [
            Box::new(|| {
                let response =
                    http::request(&admin, "GET", "/health", &[("Host", "localhost")], b"").unwrap();
                assert_eq!(response.status, 200);
            }),
            Box::new(|| {
                let output = gateway::run(&home, &["status", "--json"]);
                let status: hermes_wire::contract::gateway_status::GatewayStatus =
                    serde_json::from_slice(&output.stdout).unwrap();
                assert!(!status.gateway.stale, "{}", both(&output));
            }),
            Box::new(|| {
                let socket = home.root().join("gateway.sock");
                let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
                stream.write_all(b"{\"verb\": \"identify\", \"id\": 1, \"protocol\": 1}\n").unwrap();
                let mut said = String::new();
                std::io::Read::read_to_string(&mut stream, &mut said).unwrap();
                assert!(said.contains("\"ok\":true"), "{said}");
            }),
        ];
        for look in looks {
            let (stop, asked) = (&stop, &asked);
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    look();
                    asked.fetch_add(1, SeqCst);
                }
            });
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..3 {
                asked.store(0, SeqCst);
                installed.replace();
                let output = installed.run(&home, &["gateway", "restart"]);
                assert_eq!(output.status.code(), Some(0), "{}", both(&output));
                wait::until_true("them to be answered", || asked.load(SeqCst) > 5);
            }
        }));
        stop.store(true, SeqCst);
        done.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    assert_eq!(gateway.status().gateway.admin.as_deref(), Some(admin.as_str()));
    assert_eq!(home.read("default", "gateway.pid").unwrap(), record);
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
}

/// A program that proves to be a gateway, is executed, and cannot go on as one: the one before goes on, with the same process, the same
/// sockets and the same workers, and says why.
#[test]
fn a_program_that_fails_after_it_was_executed_becomes_the_one_before_again() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let installed = Installed::new();
    let mut gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, api, runs) = (gateway.pid(), gateway.address("api_server"), image(gateway.pid()));
    let workers = ["default", "coder"].map(|name| gateway.worker(name));
    let load = Load::default();
    std::thread::scope(|scope| {
        scope.spawn(|| load.connect(&api));
        scope.spawn(|| load.keep(&api));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            // It looks for a device that is not there.
            installed.replace_with(&gateway::binary(), |bytes| patch(bytes, "/dev/null", "/dev/nuls"));
            let Some(ClientReply::Done(_)) = ask(&gateway, &ClientRequest::Renew) else {
                panic!("it proves")
            };
            let said = wait::until("the program before to say why", || {
                let status = gateway.status();
                status.gateway.problems.into_iter().find(|problem| problem.code == "not_taken_up")
            });
            assert!(said.message.contains("/dev/nuls"), "{}", said.message);
            assert_eq!(image(pid), runs);
            assert!(workers.iter().all(|worker| process::is_alive(*worker)), "nobody was touched");
            load.answered.store(0, SeqCst);
            wait::until_true("clients to be answered", || load.answered.load(SeqCst) > 20);
        }));
        load.stop.store(true, SeqCst);
        done.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    assert!(gateway.output().contains("becoming the program before again"), "{}", gateway.output());
    // A good one is taken up afterwards, and what was said is over.
    installed.replace();
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(image(pid), file(&installed.program()));
    assert!(gateway.status().gateway.problems.iter().all(|problem| problem.code != "not_taken_up"));
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
}

/// A program that proves to be a gateway, is executed, and waits for ever before it serves: 20 seconds later the one before goes on, with the
/// same process, the same sockets and the same workers, and says why. Who asked meanwhile is answered.
#[test]
fn a_program_that_hangs_after_it_was_executed_becomes_the_one_before_again() {
    let home = Home::new();
    home.profile("coder");
    let installed = Installed::new();
    let mut gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, api, runs) = (gateway.pid(), gateway.address("api_server"), image(gateway.pid()));
    let workers = ["default", "coder"].map(|name| gateway.worker(name));
    // In the place of a file that it reads there is a pipe that nobody writes to. Its name is as long.
    let file = "/proc/self/cgroup";
    let pipe = tempfile::Builder::new()
        .prefix("")
        .rand_bytes(file.len() - "/tmp/".len())
        .make_in("/tmp", |path| Ok(nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU)?))
        .unwrap();
    installed.replace_with(&gateway::binary(), |bytes| patch(bytes, file, pipe.path().to_str().unwrap()));
    let Some(ClientReply::Done(_)) = ask(&gateway, &ClientRequest::Renew) else { panic!("it proves") };
    wait::until_true("it to be executed", || image(pid) == super::file(&installed.program()));
    // The listener is there, and whoever comes waits.
    let waits = http::request(&api, "GET", "/health", &[], b"");
    assert!(waits.is_ok_and(|response| response.status == 200));
    let said = wait::until("the program before to say why", || {
        let status = gateway.status();
        status.gateway.problems.into_iter().find(|problem| problem.code == "not_taken_up")
    });
    assert!(said.message.contains("it did not serve within 20 s"), "{}", said.message);
    assert_eq!(image(pid), runs);
    assert_eq!(["default", "coder"].map(|name| gateway.worker(name)), workers, "nobody was touched");
    // A good one is taken up afterwards.
    installed.replace();
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(image(pid), super::file(&installed.program()));
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
}

/// A program that was cut off while it was copied, and one that hands workers over in a way that is not known here.
#[test]
fn a_truncated_program_and_a_newer_one_are_told_apart() {
    let home = Home::new();
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, worker, runs) = (gateway.pid(), gateway.worker("default"), image(gateway.pid()));
    for rest in [1, 10, 100] {
        // Cut off within what is loaded: what lies behind it (symbols, and the half of a debug build) is not needed to run.
        installed.replace_with(&gateway::binary(), |bytes| bytes.truncate(places(bytes, GOES_ON)[0] / rest));
        let Some(ClientReply::Refused { code: 1, message, .. }) = ask(&gateway, &ClientRequest::Renew) else {
            panic!("half a program is none")
        };
        assert!(message.contains("does not prove to be a gateway"), "{message}");
        assert_eq!((image(pid), gateway.worker("default")), (runs, worker), "nothing was changed");
    }
    // It goes on with workers in another version: it is taken up as one that does not.
    installed.replace_with(&gateway::binary(), |bytes| {
        patch(bytes, GOES_ON, &GOES_ON.replace("(1)", "(9)"));
    });
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(image(pid), file(&installed.program()));
    assert!(!process::is_alive(worker));
}

/// 2.7: SIGHUP to a daemon takes up the program on disk, or else what the files say; one that a program refuses is said.
#[test]
fn n2_7_a_hangup_renews_what_is_detached() {
    let home = Home::new();
    home.profile("coder");
    let installed = Installed::new();
    let detached = [("HERMES_GATEWAY_DETACHED", "1")];
    let mut gateway = Gateway::spawn_at(&installed.program(), &home, &[], &detached);
    gateway.wait_settled();
    let (pid, api) = (gateway.pid(), gateway.address("api_server"));
    // The same program: only default's files are looked at again.
    let [default, coder] = ["default", "coder"].map(|name| gateway.worker(name));
    gateway.signal(Signal::SIGHUP);
    gateway.wait_replaced("default", default);
    assert_eq!(gateway.worker("coder"), coder);
    // Another one, which would refuse the files.
    installed.replace();
    let config = home.read("default", "config.yaml").unwrap();
    home.profile_with("bad", "platforms:\n  webhook:\n    enabled: true\n", "");
    let runs = image(pid);
    gateway.signal(Signal::SIGHUP);
    let said = wait::until("the refusal to be said", || {
        let problems = gateway.status().gateway.problems;
        problems.into_iter().find(|problem| problem.code == "not_taken_up")
    });
    assert!(said.message.contains("would not start"), "{}", said.message);
    assert_eq!((image(pid), home.read("default", "config.yaml").unwrap()), (runs, config));
    fs_err::remove_dir_all(home.of("bad")).unwrap();
    gateway.signal(Signal::SIGHUP);
    wait::until_true("the new program", || image(pid) == file(&installed.program()));
    wait::until_true("new workers", || {
        ["default", "coder"].iter().all(|name| {
            gateway.status().profiles.iter().any(|p| {
                p.name == *name && p.ready && p.pid.is_some_and(|pid| is_running(pid, &installed.program()))
            })
        })
    });
    assert_eq!(http::request(&api, "GET", "/p/coder/health", &[], b"").unwrap().status, 200);
    // What nobody reads any more ends nothing.
    gateway.signal(Signal::SIGPIPE);
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
}
