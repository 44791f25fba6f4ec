//! The gateway as process 1 of a container, its home on a volume.

use std::time::Duration;

use hermes_tests::container::{Container, Image, USER};
use hermes_tests::home::give;
use hermes_tests::{Gateway, Home, http, process, tools, wait};
use nix::sys::signal::Signal;

fn image() -> Option<Image> {
    tools::may_be_others().then(Image::build).and_then(|built| tools::permitted("namespaces", built))
}

/// A volume that belongs to the user of the image.
fn volume() -> Home {
    let home = Home::new();
    home.profile("coder");
    home.give_to(USER);
    home
}

fn models(container: &Container<'_>, prefix: &str, key: &str) -> u16 {
    let listeners = container.status().gateway.listeners;
    let address = listeners.iter().find(|l| l.platforms.iter().any(|p| p == "api_server")).unwrap();
    let key = format!("Bearer {key}");
    let path = format!("{prefix}/v1/models");
    http::request(&address.address, "GET", &path, &[("Authorization", &key)], b"").unwrap().status
}

#[test]
fn n5_4_as_process_1_it_serves_collects_what_is_left_to_it_and_drains_at_sigterm() {
    let Some(image) = image() else { return };
    let home = volume();
    let mut one = image.start("one", &home);
    one.wait_ready("coder");
    assert_eq!(one.status().gateway.pid, Some(1));
    assert_eq!(models(&one, "/p/coder", &Home::key("coder")), 200);

    // A process whose parent is gone belongs to process 1, which collects it; it is nobody's, so it is not ended either.
    let left = one.intrude("sleep 1 >/dev/null 2>&1 & echo started");
    assert_eq!(left.ok(), "started\n");
    let orphan = || {
        let own = process::children(one.first).into_iter();
        own.filter(|pid| {
            fs_err::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sleep\n")
        })
    };
    assert_eq!(orphan().count(), 1, "{:?}", process::family(one.first));
    wait::until_true("the orphan to be collected", || orphan().count() == 0);

    // Made on the machine, outside.
    home.profile("late");
    give(&home.of("late"), USER);
    one.wait_ready("late");
    assert_eq!(models(&one, "/p/late", &Home::key("late")), 200);

    assert_eq!(one.stop(), Some(0));
    let said = one.output();
    assert!(said.contains("drain workers") && said.contains("stopping: SIGTERM"), "{said}");
}

#[test]
fn n5_4_a_second_container_on_the_same_home_is_refused_and_told_the_truth() {
    let Some(image) = image() else { return };
    let home = volume();
    let mut one = image.start("one", &home);
    one.wait_ready("coder");
    let place = "a gateway in another container or on another machine (PID 1 there, host `one`)";
    let next = "hint: run commands about it on `one`; a home has one gateway, so stop that one before this one starts";

    for run in [&["gateway", "run"][..], &["gateway", "run", "--replace"]] {
        let said = image.run("two", &home, run).fails(1);
        assert!(said.contains(&format!("the lock `/data/gateway.lock` is held by {place}")), "{said}");
        assert!(said.contains(next), "{said}");
    }
    let said = image.run("two", &home, &["gateway", "check"]);
    assert_eq!(said.code, Some(78), "{said:#?}");
    assert!(said.out.contains(&format!("it runs already: {place}")), "{said:#?}");
    let said = image.run("two", &home, &["status"]).ok();
    assert!(
        said.contains(&format!("this home is served by {place}, and cannot be asked from here")),
        "{said}"
    );
    assert!(!said.contains(" · PID"), "{said}");
    let said = image.run("two", &home, &["gateway", "stop"]).fails(69);
    assert!(said.contains(&format!("this home is served by {place}")), "{said}");

    // Nor does what watches over another gateway of the machine, which sees the container's processes and not their numbers.
    let other = Home::new();
    let gateway = Gateway::start(&other);
    gateway.signal(Signal::SIGKILL);
    drop(gateway);
    wait::pass(Duration::from_secs(1));

    // None of it has touched the first.
    assert_eq!(models(&one, "/p/coder", &Home::key("coder")), 200);
    let status = one.status();
    assert!(
        !status.gateway.stale && status.profiles.iter().all(|profile| profile.restarts == 0),
        "{status:?}"
    );

    // A container that is killed leaves nothing behind that keeps the next one from starting.
    drop(one);
    one = image.start("two", &home);
    one.wait_ready("coder");
    assert_eq!(one.stop(), Some(0));
}
