//! The sockets of a gateway: held, not looked up; nobody else can take their place, and their names come back.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};

use camino::Utf8Path;
use hermes_tests::gateway::{Gateway, both, hermes, run};
use hermes_tests::{Home, Running, http, process, wait};

/// Sixty requests at once, so that connections to the worker have to be made, each of which must be answered by it.
fn all_answered(address: &str, name: &str) {
    let key = format!("Bearer {}", Home::key(name));
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..60)
            .map(|_| {
                let path = format!("/p/{name}/v1/models");
                let key = key.clone();
                scope.spawn(move || http::request(address, "GET", &path, &[("Authorization", &key)], b""))
            })
            .collect();
        for answer in asked {
            let answer = answer.join().unwrap().unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    });
}

/// Commands reach the gateway again, and the data socket's name leads to the worker.
fn commands_work(gateway: &Gateway<'_>) -> String {
    wait::until_true("the gateway to be reached again", || {
        let status = gateway.status();
        !status.gateway.stale
            && status.profiles.iter().any(|p| {
                p.name == "ops"
                    && p.data_socket.as_ref().is_some_and(|name| UnixStream::connect(name).is_ok())
            })
    });
    let restarted = run(gateway.home, &["gateway", "restart", "-p", "ops"]);
    assert!(restarted.status.success(), "{}", both(&restarted));
    gateway.status().gateway.runtime_dir.unwrap()
}

/// 23: without the runtime directory requests go on, and within seconds it is there again with every name in it.
#[test]
fn n23_a_lost_runtime_directory_costs_no_request_and_comes_back() {
    let home = Home::new();
    home.profile("ops");
    let gateway = Gateway::start(&home);
    let address = gateway.address("api_server");
    all_answered(&address, "ops");
    let before = gateway.status().gateway.runtime_dir.unwrap();

    // As a cleaner does it, with the worker's kept connections cut as well.
    fs_err::remove_dir_all(home.runtime()).unwrap();
    process::signal(gateway_worker(&gateway), nix::sys::signal::Signal::SIGKILL);
    all_answered(&address, "ops");
    assert_eq!(commands_work(&gateway), before);

    // Moved away, and back.
    let away = home.user().join("away");
    fs_err::rename(home.runtime(), &away).unwrap();
    all_answered(&address, "ops");
    commands_work(&gateway);
    fs_err::remove_dir_all(home.runtime()).unwrap();
    fs_err::rename(&away, home.runtime()).unwrap();
    all_answered(&address, "ops");
    assert_eq!(commands_work(&gateway), before);
}

/// The worker as the kernel shows it: the command socket may be gone.
fn gateway_worker(gateway: &Gateway<'_>) -> u32 {
    let ops = |pid: &u32| {
        fs_err::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.ends_with(b"--profile\0ops\0"))
    };
    process::children(gateway.pid()).into_iter().find(ops).unwrap()
}

/// What was written to whoever connected to an impostor.
fn overheard(listener: &UnixListener) -> Vec<u8> {
    listener.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(true).unwrap();
        // Nothing yet counts as nothing.
        let _ = stream.read_to_end(&mut heard);
    }
    heard
}

/// 23: a directory and sockets that somebody else puts in the place of ours get neither a request nor a command, and the gateway
/// takes another place for its own.
#[test]
fn n23_an_impostor_in_the_place_of_the_directory_hears_nothing() {
    let home = Home::new();
    home.profile("ops");
    let gateway = Gateway::start(&home);
    let address = gateway.address("api_server");
    let directory = gateway.status().gateway.runtime_dir.unwrap();
    fs_err::rename(home.runtime(), home.user().join("away")).unwrap();
    fs_err::create_dir_all(&directory).unwrap();
    let at = |name: &str| UnixListener::bind(Utf8Path::new(&directory).join(name)).unwrap();
    let impostors = [at("w-ops.sock"), at("supervisor.sock")];
    if nix::unistd::geteuid().is_root() {
        for path in [home.runtime().as_str(), &directory] {
            std::os::unix::fs::chown(path, Some(12345), Some(12345)).unwrap();
        }
    }
    all_answered(&address, "ops");
    let now = commands_work(&gateway);
    if nix::unistd::geteuid().is_root() {
        assert_eq!(now, home.root().join("gateway.run"));
    }
    all_answered(&address, "ops");
    for impostor in &impostors {
        assert_eq!(overheard(impostor), b"");
    }
    drop(gateway);
    assert!(!home.root().join("gateway.run").exists());
}

/// Where the process of another user listens, one path a line; what it hears goes into the other file.
const AT: &str = "IMPOSTOR_AT";
const HEARD: &str = "IMPOSTOR_HEARD";

/// The process of another user, which the test below starts from this very program; by itself no test.
#[test]
#[expect(clippy::disallowed_methods, reason = "what the process is to do is in its environment")]
fn impostor() {
    let (Ok(places), Ok(heard)) = (std::env::var(AT), std::env::var(HEARD)) else { return };
    std::thread::scope(|scope| {
        for place in places.lines() {
            fs_err::create_dir_all(Utf8Path::new(place).parent().unwrap()).unwrap();
            let listener = UnixListener::bind(place).unwrap();
            let heard = &heard;
            scope.spawn(move || {
                for stream in listener.incoming() {
                    let mut file = fs_err::OpenOptions::new().append(true).open(heard).unwrap();
                    std::io::Write::write_all(&mut file, b"<connected>").unwrap();
                    let _ = std::io::copy(&mut stream.unwrap(), &mut file);
                }
            });
        }
        fs_err::write(format!("{heard}.ready"), "").unwrap();
    });
}

/// 23: another user who has the place of the sockets first, or gets it while the gateway runs, and really listens there, hears
/// neither a request nor a command.
#[test]
#[expect(clippy::disallowed_methods, reason = "starts the process of another user")]
fn n23_another_user_who_listens_in_the_place_of_the_sockets_hears_nothing() {
    if !hermes_tests::tools::may_be_others() {
        return;
    }
    let user = 300_000 + std::process::id() % 100_000;
    let (ours, theirs) = (user, user + 100_000);
    let home = Home::new();
    home.profile("ops");
    home.give_to(ours);
    let mut gateway = Gateway::start(&home);
    let directory = gateway.status().gateway.runtime_dir.unwrap();
    assert!(directory.starts_with(home.runtime().as_str()), "{directory}");
    let address = gateway.address("api_server");

    let stage = home.user().join("theirs");
    fs_err::create_dir(&stage).unwrap();
    hermes_tests::home::give(&stage, theirs);
    let heard = stage.join("heard");
    fs_err::write(&heard, "").unwrap();
    hermes_tests::home::give(&heard, theirs);
    fs_err::rename(home.runtime(), home.user().join("away")).unwrap();
    fs_err::create_dir(home.runtime()).unwrap();
    hermes_tests::home::give(&home.runtime(), theirs);
    let places =
        ["w-ops.sock", "w-default.sock", "supervisor.sock"].map(|name| format!("{directory}/{name}"));
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args(["sockets::impostor", "--exact", "--nocapture"])
        .env(AT, places.join("\n"))
        .env(HEARD, &heard);
    std::os::unix::process::CommandExt::uid(&mut command, theirs);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let _impostor = Running(command.spawn().unwrap());
    wait::until_true("the impostor to listen", || Utf8Path::new(&format!("{heard}.ready")).exists());

    all_answered(&address, "ops");
    assert_eq!(commands_work(&gateway), home.root().join("gateway.run"));
    process::signal(gateway.worker("ops"), nix::sys::signal::Signal::SIGKILL);
    all_answered(&address, "ops");
    assert_eq!(gateway.stop(), Some(0));
    // A start finds the place taken.
    let gateway = Gateway::start(&home);
    all_answered(&gateway.address("api_server"), "ops");
    assert_eq!(commands_work(&gateway), home.root().join("gateway.run"));
    assert_eq!(fs_err::read_to_string(&heard).unwrap(), "");
}

/// 23, 33: without a directory of the system's the sockets are in the home, private, never in `/tmp`; a home far deeper than an address has room for works.
#[test]
fn n23_the_fallback_is_in_the_home_however_deep_it_lies() {
    let home = Home::new();
    home.profile("ops");
    let mut deep = home.user();
    while deep.as_str().len() < 400 {
        deep.push("d".repeat(50));
    }
    fs_err::create_dir_all(deep.parent().unwrap()).unwrap();
    fs_err::rename(home.root(), &deep).unwrap();

    let command = |args: &[&str]| {
        let mut command = hermes(&home, args);
        command.env("HERMES_HOME", &deep).env("XDG_RUNTIME_DIR", "");
        command
    };
    let mut gateway = Running(command(&["gateway", "run"]).spawn().unwrap());
    let status = wait::until("the gateway to be ready", || {
        let output = command(&["status", "--json"]).output().unwrap();
        let status: hermes_wire::contract::gateway_status::GatewayStatus =
            serde_json::from_slice(&output.stdout).ok()?;
        (status.gateway.state == "running" && status.gateway.profiles_ready == 2).then_some(status)
    });
    let directory = deep.join("gateway.run");
    assert_eq!(status.gateway.runtime_dir.as_deref(), Some(directory.as_str()));
    assert_eq!(fs_err::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700);
    let address = &status.gateway.listeners.iter().find(|l| l.platforms[0] == "api_server").unwrap().address;
    all_answered(address, "ops");
    let stopped = command(&["gateway", "stop"]).output().unwrap();
    assert!(stopped.status.success(), "{}", both(&stopped));
    assert!(gateway.0.wait().unwrap().success());
    assert!(!directory.exists());
}
