//! Mission control on a terminal: `hermes top` on a pseudo-terminal, as somebody types at it.

use hermes_tests::background::Background;
use hermes_tests::gateway::{both, run};
use hermes_tests::terminal::Screen;
use hermes_tests::{Gateway, Home, process};
use nix::sys::signal::Signal;

fn home() -> Home {
    let home = Home::new();
    home.profile("coder").profile("ops");
    home
}

/// Every profile, its state and its load; restart, stop, start and why by one key; through a gateway that goes and comes; and the terminal is
/// given back.
#[test]
fn n3_mission_control_shows_and_does() {
    let home = home();
    let mut gateway = Gateway::start(&home);
    let mut top = Screen::run(
        &home,
        "hermes top; echo left with $?; stty -a | grep -o '.icanon\\|.echo '; exec sleep 60",
        80,
        24,
    );
    for words in ["PROFILE", "default", "coder", "ops", "ready", "q quit", "log of all profiles"] {
        top.wait_for(words);
    }
    for _ in 0..30 {
        gateway.chat("/p/coder", &Home::key("coder"), "hello");
    }
    top.wait_until("a rate", |screen| {
        screen
            .lines()
            .any(|line| line.starts_with("coder ") && line.contains("ready") && line.contains("ms "))
    });
    top.keep("top-80x24");

    // One key each, about the profile that is selected.
    let before = gateway.worker("coder");
    top.keys("jr");
    top.wait_until("the answer", |screen| {
        screen.lines().any(|line| line.contains('✓') && line.contains("coder"))
    });
    assert_ne!(gateway.worker("coder"), before);
    top.keys("s");
    top.wait_for("stop coder?");
    top.keys("n");
    top.wait_until("the question to be gone", |screen| !screen.contains("stop coder?"));
    assert!(gateway.profile("coder").ready);
    top.keys("sy");
    gateway.wait_state("coder", "parked");
    top.wait_until("coder to be parked", |screen| {
        screen.lines().any(|line| line.starts_with("coder") && line.contains("parked"))
    });
    top.keys("w");
    top.wait_for("why coder");
    top.wait_for("last exit");
    top.keep("top-why-80x24");
    top.keys("qt");
    gateway.wait_ready("coder");

    // Smaller, and larger again.
    top.resize(40, 10);
    top.wait_until("the small screen", |screen| {
        ["default", "coder", "ops"].iter().all(|name| screen.contains(name)) && !screen.contains("q quit")
    });
    top.keep("top-40x10");
    top.resize(140, 40);
    top.wait_for("LAST ERROR");
    top.keep("top-140x40");

    // The gateway goes and comes.
    assert_eq!(gateway.stop(), Some(0));
    top.wait_for("Gateway stopped");
    let again = Gateway::start(&home);
    top.wait_for(&format!("PID {}", again.pid()));
    top.keys("q");
    top.wait_for("left with 0");
    top.wait_until("the terminal as it was", |screen| screen.contains(" icanon") && screen.contains(" echo"));
}

/// Whatever ends it, the terminal is as it was: a signal, Ctrl-C.
#[test]
fn n3_mission_control_gives_the_terminal_back() {
    let home = home();
    let gateway = Gateway::start(&home);
    for end in ["ctrl-c", "SIGTERM"] {
        let mut top = Screen::run(
            &home,
            "hermes top; echo left with $?; stty -a | grep -o '.icanon\\|.echo '; exec sleep 60",
            80,
            24,
        );
        top.wait_for("q quit");
        if end == "ctrl-c" {
            top.keys("\x03");
        } else {
            let is_it = |pid: &u32| {
                fs_err::read(format!("/proc/{pid}/cmdline"))
                    .is_ok_and(|line| line.ends_with(b"hermes\0top\0"))
            };
            let it = process::all()
                .into_iter()
                .filter(|pid| {
                    process::environment(*pid).is_some_and(|all| {
                        process::contains(&all, format!("HERMES_HOME={}", home.root()).as_bytes())
                    })
                })
                .find(is_it);
            process::signal(it.expect("it runs"), Signal::SIGTERM);
        }
        top.wait_for("left with 0");
        top.wait_until("the terminal as it was", |screen| {
            screen.contains(" icanon") && screen.contains(" echo")
        });
        assert!(!top.screen().contains("PROFILE"), "{end}: {}", top.screen());
    }
    drop(gateway);
}

/// Without a terminal it says what shows the same.
#[test]
fn n3_mission_control_needs_a_terminal() {
    let home = home();
    let output = run(&home, &["top"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(both(&output).contains("hermes status --watch"), "{}", both(&output));
}

/// Without a gateway the files are shown, and a restart is a start.
#[test]
fn n3_mission_control_without_a_gateway_shows_the_files_and_starts_one() {
    let home = home();
    let background = Background(&home);
    let mut top = Screen::run(&home, "hermes top", 80, 24);
    top.wait_for("Gateway stopped");
    top.wait_for("coder");
    top.keep("top-stopped-80x24");
    top.keys("r");
    top.wait_until("the answer", |screen| screen.contains('✓'));
    top.wait_for(&format!("PID {}", background.running("default")));
}
