//! 14: a home on a file system that does not answer takes nothing away from the others.

use hermes_tests::command::run;
use hermes_tests::mounts::Hanging;
use hermes_tests::{Gateway, Home, process, tools, wait};
use nix::sys::signal::Signal;

fn is_said(gateway: &Gateway<'_>) -> bool {
    let problems = gateway.status().gateway.problems;
    problems.iter().any(|problem| problem.code == "unseen" && problem.file.ends_with("/profiles/slow"))
}

/// 14: while it hangs, status is whole and says so, changes of the others are seen, new profiles are served, dead workers
/// replaced; when it answers again, it is served again.
#[test]
fn n14_a_home_that_hangs_hides_and_stops_no_other() {
    let home = Home::new();
    home.profile("coder").profile("ops").profile("slow");
    let mut gateway = Gateway::start(&home);
    let Some(hanging) = tools::permitted("a mount of FUSE", Hanging::mount(&home.of("slow"))) else { return };
    wait::until_true("the status to say so", || is_said(&gateway));
    let status = gateway.status();
    let names: Vec<&str> = status.profiles.iter().map(|profile| profile.name.as_str()).collect();
    assert_eq!(names, ["default", "coder", "ops", "slow"]);
    assert_eq!(status.profiles[2].platforms["webhook"].state, "connected", "{:?}", status.profiles[2]);
    assert!(run(&home, &["status"]).ok().contains("it does not answer"));

    let coder = gateway.worker("coder");
    home.write("coder", ".env", &format!("API_SERVER_KEY={}\nX=1\n", Home::key("coder")));
    wait::until_true("a change to be seen", || gateway.profile("coder").pid.is_some_and(|pid| pid != coder));
    home.profile("late");
    gateway.wait_ready("late");
    let ops = gateway.worker("ops");
    process::signal(ops, Signal::SIGKILL);
    wait::until_true("a dead worker to be replaced", || {
        gateway.profile("ops").pid.is_some_and(|pid| pid != ops)
    });
    gateway.wait_ready("ops");

    drop(hanging);
    wait::until_true("the status to say no more", || !is_said(&gateway));
    gateway.wait_ready("slow");
    assert_eq!(gateway.get("/p/slow/v1/models", &Home::key("slow")).status, 200);
    assert_eq!(gateway.stop(), Some(0));
}

/// 14: a start beside a home that hangs serves the others, and that one as soon as it answers; without a gateway, status is
/// answered as well.
#[test]
fn n14_a_start_beside_a_home_that_hangs_serves_the_others() {
    let home = Home::new();
    home.profile("coder").profile("slow");
    let Some(hanging) = tools::permitted("a mount of FUSE", Hanging::mount(&home.of("slow"))) else { return };
    let shown = run(&home, &["status"]).ok();
    assert!(shown.contains("coder") && shown.contains("it does not answer"), "{shown}");
    let mut gateway = Gateway::start(&home);
    assert!(gateway.profile("coder").ready && is_said(&gateway));
    drop(hanging);
    gateway.wait_ready("slow");
    assert_eq!(gateway.stop(), Some(0));
}
