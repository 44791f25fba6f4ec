//! A real worker process against a hand-driven supervisor: inherited sockets, real frames, real HTTP, real signals.
//!
//! The test executable is the worker too: started with `worker` as first argument it runs the library's `run`, so that also
//! what a worker starts from its own image works as in the product.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "test code with a main of its own, which the usual exemptions do not reach"
)]

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::panic::catch_unwind;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use camino::{Utf8Path, Utf8PathBuf};
use command_fds::{CommandFdExt as _, FdMapping};
use hermes_wire::contract::runtime_status::RuntimeStatus;
use hermes_wire::handshake::{Answer, OFFER_HEAD, Offer};
use hermes_wire::latest::{
    Admit, BoundListener, FromWorker, Message as _, Prepare, Report, Role, Severity, ToWorker, Upkeep,
};
use hermes_wire::version::{self, Version};
use hermes_wire::{ProfileHome, ProfileName, RootHome, env, frame};
use hermes_worker::{Mode, WorkerArgs};

const TESTS: [(&str, fn()); 11] = [
    ("reports_serves_and_drains", reports_serves_and_drains),
    ("a_refused_worker_exits_78_and_says_why", a_refused_worker_exits_78_and_says_why),
    ("a_broken_file_is_reported_with_its_place", a_broken_file_is_reported_with_its_place),
    ("without_its_supervisor_it_ends", without_its_supervisor_it_ends),
    ("garbage_on_the_control_socket_ends_it_with_1", garbage_on_the_control_socket_ends_it_with_1),
    ("two_generations_share_socket_and_status", two_generations_share_socket_and_status),
    ("routes_in_the_default_profiles_file_are_served", routes_in_the_default_profiles_file_are_served),
    ("printed_output_is_logged", printed_output_is_logged),
    ("sigterm_drains", sigterm_drains),
    ("a_supervisor_of_the_release_before_is_served", a_supervisor_of_the_release_before_is_served),
    ("orders_about_exclusive_platforms_are_answered", orders_about_exclusive_platforms_are_answered),
];

fn main() -> ExitCode {
    let args: Vec<String> = hermes_host::child::argv();
    if args.get(1).is_some_and(|a| a == "worker") {
        return ExitCode::from(worker(&args[2..]));
    }
    let has = |flag: &str| args.iter().any(|a| a == flag);
    if has("--list") {
        if !has("--ignored") {
            for (name, _) in TESTS {
                println!("{name}: test");
            }
        }
        return ExitCode::SUCCESS;
    }
    let filter = args.iter().skip(1).find(|a| !a.starts_with("--"));
    let wanted = |name: &str| {
        filter.is_none_or(|f| if has("--exact") { name == f } else { name.contains(f.as_str()) })
    };
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name) && !has("--ignored")) {
        let ok = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        failed += u8::from(!ok);
    }
    ExitCode::from(failed)
}

/// The worker's side of this executable.
fn worker(args: &[String]) -> u8 {
    let value = |flag: &str| args.iter().position(|a| a == flag).and_then(|at| args.get(at + 1)).cloned();
    let home = std::env::var_os(env::HERMES_HOME).and_then(|h| h.into_string().ok()).unwrap();
    if args.iter().any(|a| a == "--chatty") {
        std::thread::spawn(|| {
            for _ in 0..100 {
                eprintln!("chatter");
                println!("small talk");
                std::thread::sleep(Duration::from_millis(20));
            }
        });
    }
    let profile: ProfileName = value("--profile").unwrap().parse().unwrap();
    let mode = match value("--routes-for") {
        Some(name) => Mode::RoutesFor(name.parse().unwrap()),
        None => Mode::Supervised,
    };
    hermes_worker::run(WorkerArgs { profile, home: ProfileHome::new(home), mode })
}

const CONFIG: &str = "\
agent: {engine: echo}
platforms:
  webhook:
    extra:
      routes:
        hook: {secret: of-the-hook, prompt: 'hello {name}'}
";

struct Fixture {
    dir: tempfile::TempDir,
    data: UnixListener,
}

impl Fixture {
    fn new(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = UnixListener::bind(dir.path().join("data.sock")).unwrap();
        let fixture = Self { dir, data };
        fs_err::create_dir_all(fixture.home().path()).unwrap();
        fs_err::write(fixture.home().config(), config).unwrap();
        fixture
    }

    fn root(&self) -> RootHome {
        RootHome::new(Utf8Path::from_path(self.dir.path()).unwrap())
    }

    fn home(&self) -> ProfileHome {
        self.root().profile(&"coder".parse().unwrap())
    }

    fn socket(&self) -> Utf8PathBuf {
        self.root().path().join("data.sock")
    }

    fn status(&self) -> RuntimeStatus {
        let bytes = fs_err::read(self.home().runtime_status()).unwrap();
        assert_eq!(bytes, fs_err::read(self.home().gateway_state()).unwrap());
        RuntimeStatus::read(&bytes).unwrap()
    }

    fn state(&self) -> String {
        self.status().gateway_state.unwrap()
    }

    fn start(&self) -> Worker {
        self.start_with(&[])
    }

    fn start_with(&self, more: &[&str]) -> Worker {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mappings = vec![
            FdMapping { parent_fd: OwnedFd::from(self.data.try_clone().unwrap()), child_fd: 3 },
            FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: 4 },
        ];
        command
            .arg0("hermes-gateway")
            .args(["worker", "--profile", "coder"])
            .args(more)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env(env::HERMES_HOME, self.home().path())
            .env(env::HERMES_PROFILE, "coder")
            .env(env::LISTEN_FDS, "2")
            .env(env::LISTEN_FDNAMES, "data:control")
            .process_group(0)
            .stdin(Stdio::null())
            .fd_mappings(mappings)
            .unwrap();
        Worker { child: command.spawn().unwrap(), control: ours, version: version::NEWEST }
    }
}

struct Worker {
    child: Child,
    control: UnixStream,
    /// What the supervisor speaks.
    version: Version,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Worker {
    fn send(&mut self, message: &ToWorker) {
        let bytes = message.encode(self.version).unwrap().unwrap();
        self.control.write_all(&frame::head(bytes.len()).unwrap()).unwrap();
        self.control.write_all(&bytes).unwrap();
    }

    fn receive(&mut self) -> FromWorker {
        let mut head = [0; 4];
        self.control.read_exact(&mut head).unwrap();
        let mut bytes = vec![0; frame::payload_len(head).unwrap()];
        self.control.read_exact(&mut bytes).unwrap();
        FromWorker::decode(self.version, &bytes).unwrap()
    }

    /// The next message that is no heartbeat.
    fn news(&mut self) -> FromWorker {
        loop {
            match self.receive() {
                FromWorker::Heartbeat(_) => {}
                news => return news,
            }
        }
    }

    fn handshake(&mut self) {
        let mut offer = vec![0; OFFER_HEAD];
        self.control.read_exact(&mut offer).unwrap();
        let text = Offer::text_len(&offer).unwrap();
        offer.resize(OFFER_HEAD + text, 0);
        self.control.read_exact(&mut offer[OFFER_HEAD..]).unwrap();
        assert!(Offer::decode(&offer).unwrap().versions.contains(&self.version));
        let answer = Answer::Welcome { version: self.version, build: "test".to_owned() };
        self.control.write_all(&answer.encode()).unwrap();
    }

    fn prepare(&mut self, generation: u64) -> Report {
        self.handshake();
        self.send(&ToWorker::Prepare(Prepare {
            claim_key: [7; 32],
            generation,
            role: Role::Secondary,
            multiplex: None,
            listeners: listeners(),
            supervisor_pid: std::process::id(),
            restarts: 4,
            heartbeat_ms: 50,
            upkeep: Upkeep::default(),
            stamp: String::new(),
        }));
        match self.news() {
            FromWorker::Report(report) => report,
            other => panic!("{other:?}"),
        }
    }

    fn admit(&mut self) {
        let served = vec!["default".to_owned(), "coder".to_owned()];
        self.send(&ToWorker::Admit(Admit { listeners: listeners(), multiplex: true, served }));
        let news = self.news();
        assert_eq!(news, FromWorker::Ready);
    }

    fn serve(&mut self, generation: u64) {
        let report = self.prepare(generation);
        assert!(report.problems.iter().all(|p| p.severity == Severity::Warning), "{:?}", report.problems);
        self.admit();
    }

    fn exit(&mut self) -> ExitStatus {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the worker does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn listeners() -> Vec<BoundListener> {
    vec![BoundListener {
        address: "127.0.0.1:8644".into(),
        host: Some("127.0.0.1".into()),
        platforms: vec!["webhook".into(), "api_server".into()],
    }]
}

/// One request on a connection of its own; head and body of the answer.
fn request(socket: &Utf8Path, head: &str, body: &str) -> (String, String) {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = body.len();
    write!(stream, "{head}\r\nhost: worker\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn hook(socket: &Utf8Path, route: &str, secret: &str) -> (String, String) {
    request(
        socket,
        &format!(
            "POST /webhooks/{route} HTTP/1.1\r\ncontent-type: application/json\r\nx-gitlab-token: {secret}"
        ),
        r#"{"name": "you"}"#,
    )
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn reports_serves_and_drains() {
    let fixture = Fixture::new(CONFIG);
    let mut worker = fixture.start();
    let report = worker.prepare(1);
    assert!(report.gateway.is_none());
    // Nothing is served and nothing written before admission.
    assert!(!fixture.home().runtime_status().exists() && !fixture.home().state_db().exists());
    worker.admit();

    let status = fixture.status();
    assert_eq!((status.gateway_state.as_deref(), status.pid), (Some("running"), Some(worker.child.id())));
    assert_eq!((status.restarts, status.supervisor_pid), (Some(4), Some(std::process::id())));
    assert_eq!((status.argv[0].as_str(), status.served_profiles), ("hermes-gateway", None));
    assert_eq!(status.platforms["webhook"].state, "connected");

    let socket = fixture.socket();
    let (head, body) = request(&socket, "GET /health HTTP/1.1\r\nx-hermes-listener: webhook", "");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("x-content-type-options: nosniff") && head.contains("application/json"), "{head}");
    assert_eq!(body, r#"{"status": "ok", "platform": "webhook"}"#);
    let (_, body) = request(&socket, "GET /health HTTP/1.1", "");
    assert_eq!(
        body,
        r#"{"status": "ok", "platform": "hermes-agent", "version": "0.1.0", "compatible_with": "0.19.0"}"#
    );
    let (head, body) = request(&socket, "GET /nothing HTTP/1.1", "");
    assert!(head.starts_with("HTTP/1.1 404 ") && head.contains("x-frame-options: DENY"), "{head}");
    assert_eq!(body, "404: Not Found");
    let (head, body) = request(&socket, "POST /health HTTP/1.1", "");
    assert!(head.starts_with("HTTP/1.1 405 ") && head.contains("allow: "), "{head}");
    assert_eq!(body, "405: Method Not Allowed");
    let (head, _) = request(&socket, "GET /health HTTP/1.1\r\nx-hermes-profile: ops", "");
    assert!(head.starts_with("HTTP/1.1 404 "), "a request for another profile: {head}");

    assert!(hook(&socket, "hook", "wrong").0.starts_with("HTTP/1.1 401 "));
    let (head, body) = hook(&socket, "hook", "of-the-hook");
    assert!(head.starts_with("HTTP/1.1 202 "), "{head}\n{body}");

    // An open connection outlives the end of accepting and is not closed by the worker.
    let mut idle = UnixStream::connect(&socket).unwrap();
    idle.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let get = |socket: &mut UnixStream| {
        socket.write_all(b"GET /health HTTP/1.1\r\nhost: w\r\n\r\n").unwrap();
        let mut piece = [0; 1024];
        let n = socket.read(&mut piece).unwrap();
        assert!(piece[..n].starts_with(b"HTTP/1.1 200 "));
    };
    get(&mut idle);
    worker.send(&ToWorker::StopAccepting);
    assert_eq!(worker.news(), FromWorker::AcceptStopped);
    get(&mut idle);
    worker.send(&ToWorker::Drain { deadline_ms: 15_000 });
    get(&mut idle);
    drop(idle);
    assert_eq!(worker.news(), FromWorker::Drained);
    assert_eq!(worker.exit().code(), Some(0));
    assert_eq!(fixture.state(), "stopped");
    let log = fs_err::read_to_string(fixture.home().gateway_log()).unwrap();
    assert!(log.lines().all(|l| l.contains("profile=coder")) && log.contains("generation=1"), "{log}");
    assert!(!log.contains("of-the-hook"), "{log}");
}

/// A supervisor that speaks message version 2: the whole life, in its words.
fn a_supervisor_of_the_release_before_is_served() {
    let fixture = Fixture::new(CONFIG);
    let mut worker = fixture.start();
    worker.version = *version::SUPPORTED.start();
    worker.serve(1);
    assert_eq!(fixture.status().platforms["webhook"].state, "connected");
    worker.send(&ToWorker::StopAccepting);
    assert_eq!(worker.news(), FromWorker::AcceptStopped);
    worker.send(&ToWorker::Drain { deadline_ms: 15_000 });
    assert_eq!(worker.news(), FromWorker::Drained);
    assert_eq!(worker.exit().code(), Some(0));
}

/// Where nothing is exclusive nothing changes, and every order to yield has its answer, while it drains too.
fn orders_about_exclusive_platforms_are_answered() {
    let fixture = Fixture::new(CONFIG);
    let mut worker = fixture.start();
    assert_eq!(worker.prepare(1).exclusive, Vec::<String>::new());
    worker.admit();
    worker.send(&ToWorker::Yield { within_ms: 1000 });
    assert_eq!(worker.news(), FromWorker::Yielded);
    worker.send(&ToWorker::Connect);
    worker.send(&ToWorker::Connect);
    // A connection that is open is waited for.
    let mut held = UnixStream::connect(fixture.socket()).unwrap();
    held.write_all(b"GET /health HTTP/1.1\r\nhost: w\r\n\r\n").unwrap();
    assert!(held.read(&mut [0; 1024]).unwrap() > 0);
    worker.send(&ToWorker::StopAccepting);
    assert_eq!(worker.news(), FromWorker::AcceptStopped);
    worker.send(&ToWorker::Drain { deadline_ms: 15_000 });
    worker.send(&ToWorker::Yield { within_ms: 1000 });
    assert_eq!(worker.news(), FromWorker::Yielded);
    drop(held);
    assert_eq!(worker.news(), FromWorker::Drained);
    assert_eq!(worker.exit().code(), Some(0));
}

fn a_refused_worker_exits_78_and_says_why() {
    let fixture = Fixture::new(CONFIG);
    let mut worker = fixture.start();
    worker.prepare(1);
    worker.send(&ToWorker::Refuse { reason: "the same token as ops".into() });
    assert_eq!(worker.exit().code(), Some(78));
    let status = fixture.status();
    assert_eq!(status.gateway_state.as_deref(), Some("startup_failed"));
    assert_eq!(status.exit_reason.as_deref(), Some("the same token as ops"));
}

fn a_broken_file_is_reported_with_its_place() {
    let fixture = Fixture::new("agent: {engine: echo\n");
    let mut worker = fixture.start();
    let report = worker.prepare(1);
    let problem = &report.problems[0];
    assert_eq!(
        (problem.severity, problem.file.as_str()),
        (Severity::Profile, fixture.home().config().as_str())
    );
    assert!(problem.line.is_some(), "{problem:?}");
}

fn without_its_supervisor_it_ends() {
    let fixture = Fixture::new(CONFIG);
    let mut worker = fixture.start();
    worker.serve(1);
    worker.control.shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(worker.exit().code(), Some(0));
    assert_eq!(fixture.state(), "stopped");
}

fn garbage_on_the_control_socket_ends_it_with_1() {
    let fixture = Fixture::new(CONFIG);
    let mut worker = fixture.start();
    worker.serve(1);
    worker.control.write_all(&[0xff; 8]).unwrap();
    assert_eq!(worker.exit().code(), Some(1));
    assert_eq!(fixture.state(), "stopped");
}

fn two_generations_share_socket_and_status() {
    let fixture = Fixture::new(CONFIG);
    let mut old = fixture.start();
    old.serve(1);
    let mut new = fixture.start();
    new.prepare(2);
    assert_eq!(fixture.status().pid, Some(old.child.id()), "the old one still serves");
    new.admit();
    assert_eq!(fixture.status().pid, Some(new.child.id()));
    old.send(&ToWorker::StopAccepting);
    assert_eq!(old.news(), FromWorker::AcceptStopped);
    for _ in 0..20 {
        assert!(request(&fixture.socket(), "GET /health HTTP/1.1", "").0.starts_with("HTTP/1.1 200 "));
    }
    old.send(&ToWorker::Drain { deadline_ms: 5000 });
    assert_eq!(old.news(), FromWorker::Drained);
    assert_eq!(old.exit().code(), Some(0));
    assert_eq!((fixture.status().pid, fixture.state().as_str()), (Some(new.child.id()), "running"));
}

fn routes_in_the_default_profiles_file_are_served() {
    let fixture = Fixture::new("agent: {engine: echo}\n");
    let config = "\
platforms:
  webhook:
    enabled: true
    extra:
      routes:
        theirs: {profile: coder, secret: secret-bound-to-coder, prompt: x}
        other: {secret: secret-of-default, prompt: x}
";
    fs_err::write(fixture.root().path().join("config.yaml"), config).unwrap();
    let mut worker = fixture.start();
    worker.serve(1);
    let socket = fixture.socket();
    let (head, body) = hook(&socket, "theirs", "secret-bound-to-coder");
    assert!(head.starts_with("HTTP/1.1 202 "), "{head}\n{body}");
    assert!(hook(&socket, "other", "secret-of-default").0.starts_with("HTTP/1.1 404 "));
}

fn printed_output_is_logged() {
    let fixture = Fixture::new(CONFIG);
    let mut worker = fixture.start_with(&["--chatty"]);
    worker.serve(1);
    until("printed lines", || {
        let text = fs_err::read_to_string(fixture.home().error_log()).unwrap_or_default();
        let repeated = |name| text.contains(&format!(" INFO {name}: (last line repeated "));
        text.contains(" INFO stderr: chatter profile=coder")
            && text.contains(" INFO stdout: small talk profile=coder")
            && repeated("stderr")
            && repeated("stdout")
    });
}

fn sigterm_drains() {
    let fixture = Fixture::new(CONFIG);
    let mut worker = fixture.start();
    worker.serve(1);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(worker.child.id()).unwrap());
    for ignored in [nix::sys::signal::Signal::SIGINT, nix::sys::signal::Signal::SIGHUP] {
        nix::sys::signal::kill(pid, ignored).unwrap();
    }
    assert!(matches!(worker.receive(), FromWorker::Heartbeat(_)));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(worker.news(), FromWorker::AcceptStopped);
    assert_eq!(worker.news(), FromWorker::Drained);
    assert_eq!(worker.exit().code(), Some(0));
    assert_eq!(fixture.state(), "stopped");
}
