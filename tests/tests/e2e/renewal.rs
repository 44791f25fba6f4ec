//! A running gateway takes up the program on disk in place.

mod previous;
mod refused;
#[cfg(target_os = "linux")]
mod reload;
mod succession;

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use hermes_tests::gateway::{self, both, hermes_at};
use hermes_tests::installed::Installed;
use hermes_tests::{Gateway, Home, home, http, process, sign, wait};
use hermes_wire::handshake::{ANSWER_HEAD, Answer, Offer};
use hermes_wire::latest::{ClientReply, ClientRequest};
use hermes_wire::{codec, frame, version};
use nix::sys::signal::Signal;

/// The file of an image that runs.
fn image(pid: u32) -> (u64, u64) {
    let found = fs_err::metadata(format!("/proc/{pid}/exe")).unwrap();
    (found.dev(), found.ino())
}

/// Whether a process, which may just have ended, runs that program.
fn is_running(pid: u32, program: &Path) -> bool {
    let found = fs_err::metadata(format!("/proc/{pid}/exe"));
    found.is_ok_and(|found| (found.dev(), found.ino()) == file(program))
}

fn file(path: &Path) -> (u64, u64) {
    let found = fs_err::metadata(path).unwrap();
    (found.dev(), found.ino())
}

/// What descriptors of a process stand for, numbers of sockets and pipes left out.
fn descriptors(pid: u32) -> Vec<String> {
    let entries = fs_err::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let names = entries.filter_map(|entry| fs_err::read_link(entry.unwrap().path()).ok());
    let mut names: Vec<String> =
        names.map(|name| name.to_string_lossy().split('[').next().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Sends one request to the supervisor as the command line does; the final answer, `None` where it hangs up.
fn ask(gateway: &Gateway<'_>, request: &ClientRequest) -> Option<ClientReply> {
    use std::io::Read as _;
    let socket = format!("{}/supervisor.sock", gateway.status().gateway.runtime_dir.unwrap());
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(&Offer::ours().encode()).unwrap();
    let mut head = [0; ANSWER_HEAD];
    stream.read_exact(&mut head).unwrap();
    let mut rest = vec![0; Answer::text_len(&head).unwrap()];
    stream.read_exact(&mut rest).unwrap();
    let payload = codec::encode(request).unwrap();
    stream.write_all(&[&frame::head(payload.len()).unwrap(), payload.as_slice()].concat()).unwrap();
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head).ok()?;
        let mut payload = vec![0; frame::payload_len(head).unwrap()];
        stream.read_exact(&mut payload).unwrap();
        match codec::decode(&payload).unwrap() {
            ClientReply::Progress(_) => {}
            last => return Some(last),
        }
    }
}

fn answers(home: &Home, profile: &str) -> i64 {
    let db = rusqlite::Connection::open(home.of(profile).join("state.db")).unwrap();
    db.busy_timeout(Duration::from_secs(5)).unwrap();
    db.query_row("select count(*) from messages where role = 'assistant'", [], |row| row.get(0)).unwrap()
}

/// What clients meet while the gateway is renewed.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    answered: AtomicUsize,
    accepted: AtomicUsize,
}

/// Whether a request was served. One that comes late, on a connection from before, may be told to come again.
fn is_served(response: &http::Response) -> bool {
    if response.status < 300 {
        return true;
    }
    let told = (response.status, response.header("connection"), response.header("x-hermes-error"));
    assert_eq!(told, (503, Some("close"), Some("draining")), "{response:?}");
    false
}

impl Load {
    /// Every webhook that was accepted is answered, and none twice.
    fn assert_answered_once(&self, home: &Home) {
        let accepted = i64::try_from(self.accepted.load(SeqCst)).unwrap();
        assert!(accepted > 0);
        wait::until_true("every webhook to be answered", || answers(home, "coder") >= accepted);
        assert_eq!(answers(home, "coder"), accepted, "each once");
    }

    /// Connections for one request each: none is refused, every one is answered.
    fn connect(&self, address: &str) {
        while !self.stop.load(SeqCst) {
            let response = http::request(address, "GET", "/p/coder/health", &[], b"").unwrap();
            self.answered.fetch_add(usize::from(is_served(&response)), SeqCst);
        }
    }

    /// One connection for as long as it is kept.
    fn keep(&self, address: &str) {
        let mut open: Option<http::Connection> = None;
        while !self.stop.load(SeqCst) {
            let mut connection = open.take().unwrap_or_else(|| http::Connection::open(address).unwrap());
            // An idle connection may be closed at any time.
            let Ok(response) = connection.request("GET", "/p/ops/health", &[], b"") else { continue };
            is_served(&response);
            open = Some(connection).filter(|_| response.header("connection") != Some("close"));
        }
    }

    /// Webhooks, each with an identity of its own and repeated until it is accepted.
    fn post(&self, address: &str) {
        let secret = format!("{}-coder", home::SECRET);
        for n in 0.. {
            if self.stop.load(SeqCst) {
                return;
            }
            let body = br#"{"text": "x"}"#;
            let id = format!("renewal-{n}");
            let signed = sign::Signed::new(&secret, &id, body);
            let post =
                || http::request(address, "POST", "/p/coder/webhooks/hook", &signed.headers(), body).unwrap();
            while !is_served(&post()) {}
            self.accepted.fetch_add(1, SeqCst);
        }
    }
}

#[test]
fn a_new_program_is_taken_up_and_no_client_is_refused() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let installed = Installed::new();
    let mut gateway = Gateway::start_at(&installed.program(), &home);
    let pid = gateway.pid();
    let (api, hooks) = (gateway.address("api_server"), gateway.address("webhook"));
    let record = home.read("default", "gateway.pid").unwrap();
    let load = Load::default();
    std::thread::scope(|scope| {
        scope.spawn(|| load.connect(&api));
        scope.spawn(|| load.connect(&api));
        scope.spawn(|| load.keep(&api));
        scope.spawn(|| load.post(&hooks));
        // Whatever fails here, the clients end.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..2 {
                wait::until_true("clients to be answered", || load.answered.load(SeqCst) > 20);
                let old: Vec<u32> = process::children(pid);
                installed.replace();
                let output = installed.run(&home, &["gateway", "restart"]);
                let text = both(&output);
                assert_eq!(output.status.code(), Some(0), "{text}");
                assert_eq!(
                    text,
                    format!(
                        "✓ The gateway (PID {pid}) runs hermes {} now: 3 of 3 profiles ready\n",
                        env!("CARGO_PKG_VERSION")
                    )
                );
                assert_eq!(image(pid), file(&installed.program()));
                let workers: Vec<u32> = ["default", "coder", "ops"].map(|name| gateway.worker(name)).to_vec();
                for worker in &workers {
                    assert_eq!((image(*worker), process::parent(*worker)), (image(pid), Some(pid)));
                    let environment = process::environment(*worker).unwrap();
                    assert!(!process::contains(&environment, b"HERMES_LISTENERS"));
                    assert!(!old.contains(worker));
                }
                wait::until_true("nobody else to be left", || process::children(pid).len() == 3);
                assert_eq!(
                    (gateway.address("api_server"), gateway.address("webhook")),
                    (api.clone(), hooks.clone())
                );
                load.answered.store(0, SeqCst);
            }
            wait::until_true("clients to be answered", || load.answered.load(SeqCst) > 20);
        }));
        load.stop.store(true, SeqCst);
        done.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    load.assert_answered_once(&home);
    assert_eq!(home.read("default", "gateway.pid").unwrap(), record, "the same process");
    let second = installed.run(&home, &["gateway", "run"]);
    assert_eq!(second.status.code(), Some(1), "{}", both(&second));
    assert!(both(&second).contains(&format!("already running (PID {pid})")), "{}", both(&second));
    // With the program that runs, a restart replaces workers as it always did.
    let output = installed.run(&home, &["gateway", "restart"]);
    assert!(both(&output).contains("✓ every worker was replaced"), "{}", both(&output));
    assert_eq!(gateway.stop(), Some(0));
    gateway.assert_nothing_left();
}

#[test]
fn a_turn_in_flight_is_finished_first() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo, echo_delay_ms: 100}\n",
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let api = gateway.address("api_server");
    let mut connection = http::Connection::open(&api).unwrap();
    connection.send(&http::chat(true, "a b c d e f g h i j")).unwrap();
    assert_eq!(connection.head().unwrap().status, 200);
    installed.replace();
    let mut command = hermes_at(&installed.program(), &home, &["gateway", "restart"]);
    let restart = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while connection.fill().unwrap_or(false) {}
    let text = String::from_utf8_lossy(connection.buffered()).into_owned();
    assert!(text.contains("[DONE]"), "the answer was cut: {text}");
    let output = restart.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(image(gateway.pid()), file(&installed.program()));
    assert_eq!(http::request(&api, "GET", "/p/coder/health", &[], b"").unwrap().status, 200);
}

#[test]
fn a_turn_that_does_not_end_is_cut_in_time_and_resumed_by_the_new_program() {
    let provider = hermes_tests::provider::Provider::start();
    provider.script([hermes_tests::provider::Reply::Hang, hermes_tests::provider::Reply::text("at last")]);
    let config = Home::config("true", "")
        .replace("engine: echo, restart_drain_timeout: 5", "restart_drain_timeout: 1");
    let home = Home::with_config(&format!("{config}{}", provider.model_config()));
    home.write("default", ".env", "CUSTOM_API_KEY=k\nAPI_SERVER_KEY=default-api-key-0123456789\n");
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    wait::until_true("the turn to start", || provider.open() == 1);
    installed.replace();
    let started = wait::now();
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    wait::until_true("the turn to be resumed", || answers(&home, "default") == 1);
    assert_eq!(image(gateway.pid()), file(&installed.program()));
}

#[test]
fn listeners_that_are_not_wanted_any_more_are_closed() {
    let home = Home::new();
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, api, hooks) = (gateway.pid(), gateway.address("api_server"), gateway.address("webhook"));
    installed.replace();
    let config = home.read("default", "config.yaml").unwrap();
    assert!(config.contains("extra: {host: 127.0.0.1, port: 0}"));
    home.write(
        "default",
        "config.yaml",
        &config.replace("extra: {host: 127.0.0.1, port: 0}", "extra: {host: 127.0.0.2, port: 0}"),
    );
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    assert_eq!(image(pid), file(&installed.program()));
    // The watch may have replaced the worker before the restart did: then it is known as another one already.
    wait::until_true("the other address", || gateway.address("api_server").starts_with("127.0.0.2:"));
    assert_eq!(gateway.address("webhook"), hooks);
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    assert!(http::Connection::open(&api).is_err(), "nobody may listen there any more");
}

#[test]
fn a_stop_in_the_middle_is_a_stop() {
    let home = Home::new();
    home.profile_with(
        "coder",
        "agent: {engine: echo, echo_delay_ms: 400}\n",
        "API_SERVER_KEY=coder-api-key-0123456789\n",
    );
    let installed = Installed::new();
    let mut gateway = Gateway::start_at(&installed.program(), &home);
    let api = gateway.address("api_server");
    let mut client = http::Connection::open(&api).unwrap();
    client.send(&http::chat(true, "a b c d e f g h i j")).unwrap();
    assert_eq!(client.head().unwrap().status, 200);
    installed.replace();
    assert!(matches!(ask(&gateway, &ClientRequest::Renew), Some(ClientReply::Done(_))));
    wait::until_true("the drain to begin", || gateway.status().gateway.state == "draining");
    let Some(ClientReply::Refused { code: 75, .. }) = ask(&gateway, &ClientRequest::Renew) else {
        panic!("one at a time")
    };
    // It still listens: whoever connects waits.
    let waiting = http::Connection::open(&api).unwrap();
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.wait(), Some(0));
    gateway.assert_nothing_left();
    drop((waiting, client));
    assert!(http::Connection::open(&api).is_err());
    assert!(!home.root().join("gateway.pid").exists());
}

#[test]
fn an_update_brings_the_gateway_to_the_new_program() {
    let home = Home::new();
    home.profile("coder");
    let installed = Installed::new();
    let root = installed.directory();
    // What cargo leaves behind, and a cargo that installs without building for minutes.
    let list = format!(
        r#"{{"installs": {{"hermes-cli 0.1.0 (path+file://{})": {{"bins": ["hermes"]}}}}}}"#,
        root.display()
    );
    fs_err::write(root.join(".crates2.json"), list).unwrap();
    let cargo = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncp ORIGIN next\necho >> next\nmv next hermes\n"
        .replace("ORIGIN", gateway::binary().to_str().unwrap());
    fs_err::write(root.join("bin/cargo"), cargo).unwrap();
    fs_err::set_permissions(root.join("bin/cargo"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let (pid, api) = (gateway.pid(), gateway.address("api_server"));
    let update = |args: &[&str]| {
        let path = format!("{}:/usr/bin:/bin", root.join("bin").display());
        hermes_at(&installed.program(), &home, args).env("PATH", path).output().unwrap()
    };
    let output = update(&["update"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let (now, release) = (image(pid), env!("CARGO_PKG_VERSION"));
    let end_of_it = format!(
        "→ Bringing the gateway (PID {pid}) to the new program\n\
         ✓ The gateway (PID {pid}) runs hermes {release} now: 2 of 2 profiles ready\n"
    );
    assert!(text.ends_with(&end_of_it), "{text}");
    assert_eq!((now, gateway.address("api_server")), (file(&installed.program()), api));
    let output = update(&["update", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let said = &report["gateways"][0];
    assert_eq!(
        (&said["pid"], &said["renewed"], &said["runs_this_program"], &said["profiles_ready"]),
        (&pid.into(), &true.into(), &true.into(), &2.into())
    );
    assert_ne!(image(pid), now, "once more");
    // A release that does not start is not taken up, and that is the result of the update.
    let broken = format!(
        "#!/bin/sh\ncase \"$*\" in\n--version) echo hermes 9.9.9;;\nupdate*) ;;\n*--proof) echo '{}';;\n*) echo broken; exit 1;;\nesac\n",
        version::PROOF
    );
    let cargo = format!(
        "#!/bin/sh\ncd \"$(dirname \"$0\")\"\ncat > next <<'END'\n{broken}END\nchmod 755 next\nmv next hermes\n"
    );
    fs_err::write(root.join("bin/cargo"), cargo).unwrap();
    let (now, worker) = (image(pid), gateway.worker("coder"));
    let output = update(&["update"]);
    let text = both(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains(&format!("(PID {pid}), which goes on with the one before")), "{text}");
    assert_eq!((image(pid), gateway.worker("coder")), (now, worker));
}

#[test]
fn who_replaced_the_program_by_hand_is_told_what_is_left() {
    let home = Home::new();
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    installed.replace();
    let line = format!(
        "⚠ The gateway (PID {}) still runs the program that was here before.\n  \
         Bring it to this one: hermes gateway restart\n",
        gateway.pid()
    );
    for (args, code) in [(&["update", "--check"][..], 0), (&["update"], 1)] {
        let output = installed.run(&home, args);
        assert_eq!(output.status.code(), Some(code), "{}", both(&output));
        assert!(both(&output).contains(&line), "{}", both(&output));
    }
    // A program in another place cannot be taken up by it; the command that restarts it is named.
    let other = Installed::new();
    other.replace();
    let output = other.run(&home, &["update", "--check"]);
    assert!(both(&output).contains("Restart it: hermes gateway run --replace\n"), "{}", both(&output));
}

#[test]
fn what_asks_from_inside_a_worker_does_not_wait_for_its_own_end() {
    let config =
        Home::config("true", "").replace("prompt: 'say {text}'", "prompt: 'say {text}', script: again.sh");
    // Behind a fence there is no way to the gateway.
    let home = Home::with_config(&format!("{config}terminal: {{fence: 'off'}}\n"));
    let installed = Installed::new();
    let gateway = Gateway::start_at(&installed.program(), &home);
    let said = home.user().join("said");
    home.write(
        "default",
        "scripts/again.sh",
        &format!(
            "export HERMES_HOME='{}' XDG_RUNTIME_DIR='{}'\n'{}' gateway restart > '{said}' 2>&1\necho \"code $?\" >> '{said}'\ncat\n",
            home.root(),
            home.runtime(),
            installed.program().display()
        ),
    );
    installed.replace();
    let started = wait::now();
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "d1", r#"{"text": "x"}"#).status, 202);
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(
        fs_err::read_to_string(&said).unwrap(),
        "✓ accepted; it is carried out without waiting for this turn\ncode 0\n"
    );
    wait::until_true("the new program", || image(gateway.pid()) == file(&installed.program()));
    gateway.wait_ready("default");
    wait::until_true("the message to be answered", || answers(&home, "default") == 1);
}

#[test]
fn a_service_manager_sees_a_reload() {
    let home = Home::new();
    let installed = Installed::new();
    let path = home.runtime().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    // What is between the great words are signs of life.
    let told = || loop {
        let mut bytes = [0; 1024];
        let len = manager.recv(&mut bytes).unwrap();
        let text = String::from_utf8(bytes[..len].to_vec()).unwrap();
        if ["READY=1", "RELOADING=1", "STOPPING=1"].iter().any(|word| text.starts_with(word)) {
            return text;
        }
    };
    let ready = "READY=1\nSTATUS=1 of 1 profile ready";
    let mut gateway =
        Gateway::spawn_at(&installed.program(), &home, &[], &[("NOTIFY_SOCKET", path.as_str())]);
    assert_eq!(told(), ready);
    gateway.wait_settled();
    installed.replace();
    let output = installed.run(&home, &["gateway", "restart"]);
    assert_eq!(output.status.code(), Some(0), "{}", both(&output));
    let reloading = told();
    let since =
        reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{reloading}"));
    let (since, _) = since.split_once('\n').unwrap();
    let uptime = fs_err::read_to_string("/proc/uptime").unwrap();
    let now: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let since = since.parse::<f64>().unwrap() / 1e6;
    assert!((0.0..60.0).contains(&(now - since)), "{since} of {now}");
    assert_eq!(told(), ready);
    assert_eq!(gateway.stop(), Some(0));
    assert!(told().contains("\nEXTEND_TIMEOUT_USEC="));
}
