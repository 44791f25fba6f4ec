//! Nothing that does not read, or does not come back, stops the gateway.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use hermes_tests::gateway::{both, hermes, run, status};
use hermes_tests::{Home, Running, process, wait};
use nix::sys::signal::Signal;

/// A pipe that takes nothing more.
fn full() -> (std::io::PipeReader, std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (reader, mut writer) = std::io::pipe().unwrap();
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    // The gateway's end blocks, as every terminal and pipe does.
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    (reader, writer)
}

fn worker(home: &Home, name: &str, other_than: u32) -> u32 {
    wait::until(&format!("{name} to be ready"), || {
        let found = status(home).profiles.into_iter().find(|p| p.name == name && p.ready)?;
        found.pid.filter(|pid| *pid != other_than)
    })
}

/// 24: with a standard error that nobody reads, and much to say there, dead workers are replaced, commands are answered and
/// SIGTERM ends the gateway in order.
#[test]
fn n24_a_full_stderr_pipe_stops_nothing() {
    let home = Home::new();
    home.profile("ops");
    let (mut reader, writer) = full();
    let mut command = hermes(&home, &["gateway", "run", "-vv"]);
    command.stdout(writer.try_clone().unwrap()).stderr(writer);
    let mut gateway = Running(command.spawn().unwrap());
    drop(command);
    let mut pid = worker(&home, "ops", 0);
    for _ in 0..3 {
        process::signal(pid, Signal::SIGKILL);
        pid = worker(&home, "ops", pid);
    }
    let stopped = run(&home, &["gateway", "stop", "-p", "ops"]);
    assert!(stopped.status.success(), "{}", both(&stopped));
    process::signal(gateway.0.id(), Signal::SIGTERM);
    let ended = wait::until("the gateway to end", || gateway.0.try_wait().unwrap());
    assert_eq!(ended.code(), Some(0));
    let log = home.read("default", "logs/supervisor.log").unwrap();
    assert!(log.contains("shutdown phase: release"), "the file has what the pipe has not: {log}");
    // Everything that it holds is ours.
    let mut held = Vec::new();
    reader.read_to_end(&mut held).unwrap();
    assert!(held.iter().all(|byte| *byte == b'x'));
}

/// 5: what takes a profile out of service is said where people look, without `-v`.
#[test]
fn n5_trouble_reaches_the_terminal() {
    let home = Home::new();
    home.profile("ops");
    let mut command = hermes(&home, &["gateway", "run"]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut gateway = Running(command.spawn().unwrap());
    let mut pid = worker(&home, "ops", 0);
    for _ in 0..2 {
        process::signal(pid, Signal::SIGKILL);
        pid = worker(&home, "ops", pid);
    }
    home.write("ops", "config.yaml", "agent: {engine: echo}\nplatforms: [\n");
    process::signal(pid, Signal::SIGKILL);
    wait::until_true("ops to fail", || {
        status(&home).profiles.iter().any(|p| p.name == "ops" && p.state == "failed")
    });
    process::signal(gateway.0.id(), Signal::SIGTERM);
    wait::until("the gateway to end", || gateway.0.try_wait().unwrap());
    let mut said = String::new();
    gateway.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        said.lines().any(|l| l.starts_with("WARNING") && l.contains("[ops]") && l.contains("→ backoff")),
        "{said}"
    );
    assert!(
        said.lines().any(|l| l.starts_with("ERROR") && l.contains("[ops]") && l.contains("→ failed")),
        "{said}"
    );
}
