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
        process::environment(*pid).is_some_and(|env| process::contains(&env, b"HERMES_PROFILE=ops"))
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
        let status: hermes_protocol::contract::gateway_status::GatewayStatus =
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
