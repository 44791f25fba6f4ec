//! What the machine refuses for a while: room on the disk, processes and threads. Nobody is blamed for it, nothing is cut off, and
//! when it is over everything goes on at once.

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use hermes_tests::gateway::{both, hermes, run};
use hermes_tests::mounts::Disk;
use hermes_tests::{Gateway, Home, Running, process, tools, wait};
use nix::sys::signal::Signal;

/// What a profile that the machine does not let run says of itself.
const REFUSED: &str = "the machine does not let it run";

/// Processes and threads that a user may have in these tests: more than a gateway of three profiles needs.
const MOST: usize = 100;

fn reason(gateway: &Gateway<'_>, name: &str) -> String {
    gateway.profile(name).reason.unwrap_or_default()
}

/// 26: a start on a full disk is no error of configuration; a worker that dies on one is tried again until there is room, and
/// then serves within seconds; what needs no disk works meanwhile.
#[test]
fn n26_a_full_disk_is_nobodys_fault_and_passes() {
    let home = Home::empty();
    let Some(disk) = tools::permitted("a mount", Disk::mount(&home.root(), 32)) else { return };
    home.furnish(&Home::config("true", ""));
    home.profile("coder").profile("ops");
    disk.fill();
    let refused = run(&home, &["gateway", "run"]);
    assert_eq!(refused.status.code(), Some(71), "{}", both(&refused));
    assert!(both(&refused).contains("No space left"), "{}", both(&refused));
    disk.free();

    // One that never ran has no file yet whose room it could use again.
    home.profile("fresh");
    home.write("default", "gateway_desired.json", r#"{"schema":1,"stopped":["fresh"]}"#);
    let mut gateway = Gateway::start(&home);
    disk.fill();
    process::signal(gateway.worker("ops"), Signal::SIGKILL);
    let _start = Running(hermes(&home, &["gateway", "start", "-p", "fresh"]).spawn().unwrap());
    wait::until_true("the reason to be shown", || reason(&gateway, "fresh").contains(REFUSED));
    assert_eq!(gateway.get("/p/coder/v1/models", &Home::key("coder")).status, 200);
    let stopped = run(&home, &["gateway", "stop", "-p", "coder"]);
    assert!(stopped.status.success(), "{}", both(&stopped));
    disk.free();
    gateway.wait_ready("fresh");
    gateway.wait_ready("ops");
    let log = home.read("default", "logs/supervisor.log").unwrap();
    assert!(!log.contains("crash_loop"), "{log}");
    let started = run(&home, &["gateway", "start", "-p", "coder"]);
    assert!(started.status.success(), "{}", both(&started));
    assert_eq!(gateway.stop(), Some(0));
}

/// 27: a user who may have no further process or thread: status is whole, a worker that ends is tried again until there may be
/// one, commands are answered.
#[test]
#[expect(clippy::disallowed_methods, reason = "starts programs of another user, with a limit of his")]
fn n27_without_processes_and_threads_nothing_is_cut_off() {
    if !tools::may_be_others() {
        return;
    }
    let home = Home::new();
    home.profile("coder").profile("ops");
    // A user of this test alone: the limit counts everything that he runs.
    let user = 200_000 + std::process::id() % 100_000;
    home.give_to(user);
    let plain = hermes(&home, &["gateway", "run", "-v"]);
    let mut limited = std::process::Command::new("prlimit");
    limited.arg(format!("--nproc={MOST}:{MOST}")).arg(plain.get_program()).args(plain.get_args());
    limited.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    limited.uid(user).gid(user).stdin(Stdio::null());
    let log = fs_err::File::create(home.user().join("gateway.out")).unwrap().into_file();
    limited.stdout(log.try_clone().unwrap()).stderr(log);
    let mut gateway = Gateway::start_by(&home, limited);
    let (coder, ops) = (gateway.worker("coder"), gateway.worker("ops"));
    // What the user has left, somebody else of his takes.
    let hogs: Vec<Running> = (0..MOST)
        .map(|_| {
            let mut hog = std::process::Command::new("sleep");
            Running(hog.arg("600").uid(user).gid(user).spawn().unwrap())
        })
        .collect();
    process::signal(ops, Signal::SIGKILL);
    wait::until_true("the reason to be shown", || reason(&gateway, "ops").contains(REFUSED));
    for _ in 0..20 {
        let status = gateway.status();
        assert!(!status.gateway.stale && status.profiles.len() == 3, "{status:?}");
        let found = status.profiles.iter().find(|profile| profile.name == "coder").unwrap();
        assert_eq!((found.state.as_str(), found.pid), ("ready", Some(coder)));
        assert_eq!(found.platforms["webhook"].state, "connected", "{found:?}");
    }
    let stopped = run(&home, &["gateway", "stop", "-p", "coder"]);
    assert!(stopped.status.success(), "{}", both(&stopped));
    drop(hogs);
    gateway.wait_ready("ops");
    let started = run(&home, &["gateway", "start", "-p", "coder"]);
    assert!(started.status.success(), "{}", both(&started));
    let log = home.read("default", "logs/supervisor.log").unwrap();
    assert!(!log.contains("crash_loop"), "{log}");
    assert_eq!(gateway.stop(), Some(0));
}
