//! A bot that polls passes from one worker to the next: never two pollers, nothing lost, nothing said twice, whoever dies when.

use std::sync::atomic::{AtomicBool, Ordering};

use hermes_tests::chat::Chat;
use hermes_tests::gateway::{both, hermes};
use hermes_tests::{Gateway, Home, process, wait};
use nix::sys::signal::Signal;

/// A home whose profile `coder` has a bot.
fn home(chat: &Chat) -> Home {
    let home = Home::new();
    // Every message is to be answered, whatever comes behind it, and nothing else is said.
    let config = format!(
        "agent: {{engine: echo}}\ndisplay: {{busy_input_mode: queue, busy_ack_enabled: false}}\nplatforms: {{{}}}\n",
        chat.section("")
    );
    home.profile_with("coder", &config, &Chat::env());
    home
}

fn restart(home: &Home) -> std::process::Output {
    hermes(home, &["gateway", "restart", "-p", "coder"]).output().unwrap()
}

/// The process of coder that is not `old`, once it is ready and stands by.
fn standing_by(gateway: &Gateway<'_>, old: u32) -> u32 {
    let of_coder = |pid: &u32| {
        let line = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == b"coder")
    };
    let new = wait::until("a newer process", || {
        process::children(gateway.pid()).into_iter().find(|pid| *pid != old && of_coder(pid))
    });
    let ready = format!("generation={}", gateway.profile("coder").generation + 1);
    wait::until_true("it to be ready", || {
        let log = gateway.home.read("coder", "logs/gateway.log").unwrap_or_default();
        log.lines().any(|line| line.contains(&ready) && line.contains(" ready"))
    });
    new
}

/// Everything that was said was answered, once, and no two polled at any time.
fn all_is_well(chat: &Chat, said: usize) {
    for n in 0..said {
        let text = format!("message {n}.");
        wait::until_true(&format!("an answer to `{text}`"), || {
            chat.seen_in(&place(n)).iter().any(|seen| seen.ends_with(&text))
        });
    }
    let seen: Vec<String> = (0..PLACES).flat_map(|n| chat.seen_in(&place(n))).collect();
    assert_eq!(seen.len(), said, "{seen:?}");
    assert_eq!(chat.overlaps(), Vec::<String>::new());
}

/// Chats that are written in, so many that none has more waiting than one may have.
const PLACES: usize = 12;

fn place(n: usize) -> String {
    format!("c{}", n % PLACES)
}

fn say(chat: &Chat, said: &mut usize) {
    chat.say(&place(*said), "ann", &format!("message {said}."));
    *said += 1;
}

#[test]
fn swaps_under_load_have_one_poller_and_lose_nothing() {
    let chat = Chat::start();
    let home = home(&chat);
    let gateway = Gateway::start(&home);
    wait::until_true("a first poll", || chat.polling() > 0);
    assert_eq!(gateway.profile("coder").takeover, None);
    let over = AtomicBool::new(false);
    let said = std::thread::scope(|scope| {
        let talking = scope.spawn(|| {
            let mut said = 0;
            while !over.load(Ordering::SeqCst) {
                say(&chat, &mut said);
                wait::pass(std::time::Duration::from_millis(15));
            }
            said
        });
        for _ in 0..4 {
            let old = gateway.worker("coder");
            let done = restart(&home);
            assert!(done.status.success(), "{}", both(&done));
            assert_ne!(gateway.worker("coder"), old);
        }
        over.store(true, Ordering::SeqCst);
        talking.join().unwrap()
    });
    all_is_well(&chat, said);
    let coder = wait::until("the last takeover", || {
        Some(gateway.profile("coder")).filter(|p| p.takeover.as_ref().is_some_and(|t| t.generation == 5))
    });
    let takeover = coder.takeover.unwrap();
    assert_eq!((takeover.platforms, takeover.from_generation), (vec!["testchat".to_owned()], 4));
    assert!(takeover.pause_ms < 10_000, "{}", takeover.pause_ms);
    assert_eq!((coder.restarts, coder.platforms["testchat"].state.as_str()), (0, "connected"));
    let shown = hermes(&home, &["status", "-p", "coder"]).output().unwrap();
    assert!(both(&shown).contains("testchat from process 4, without a connection for"), "{}", both(&shown));
    assert!(gateway.output().contains("after generation 4 had closed"), "{}", gateway.output());
}

/// The old one is stopped before it can yield, so that everything waits at that point, and then one of the three dies.
#[test]
fn whoever_dies_while_the_new_one_stands_by() {
    for victim in ["old", "new", "nobody"] {
        let chat = Chat::start();
        let home = home(&chat);
        let gateway = Gateway::start(&home);
        wait::until_true("a first poll", || chat.polling() > 0);
        let mut said = 0;
        say(&chat, &mut said);
        all_is_well(&chat, said);
        let old = gateway.worker("coder");
        std::thread::scope(|scope| {
            process::signal(old, Signal::SIGSTOP);
            let restarting = scope.spawn(|| restart(&home));
            let new = standing_by(&gateway, old);
            say(&chat, &mut said);
            let polls = chat.polls().len();
            match victim {
                "old" => process::signal(old, Signal::SIGKILL),
                "new" => {
                    process::signal(new, Signal::SIGKILL);
                    wait::until_true("its end to be known", || {
                        gateway.output().contains("could not take over")
                    });
                    process::signal(old, Signal::SIGCONT);
                }
                // It does not yield: it is ended.
                _ => assert_eq!(polls, chat.polls().len(), "nobody polls while the old one may"),
            }
            let done = restarting.join().unwrap();
            let log = gateway.output();
            assert_eq!(done.status.success(), victim != "new", "{victim}: {}\n{log}", both(&done));
            let serves = if victim == "new" { old } else { new };
            assert_eq!(gateway.worker("coder"), serves, "{victim}");
        });
        say(&chat, &mut said);
        all_is_well(&chat, said);
        let coder = gateway.profile("coder");
        assert_eq!(coder.state, "ready", "{victim}: {coder:?}");
        if victim == "nobody" {
            assert_eq!(coder.last_exit.as_deref(), Some("it did not close its connections within 7 s"));
        }
    }
}

#[test]
fn the_new_one_dies_after_it_was_told_to_connect() {
    let chat = Chat::start();
    let home = home(&chat);
    let gateway = Gateway::start(&home);
    wait::until_true("a first poll", || chat.polling() > 0);
    let mut said = 0;
    for _ in 0..3 {
        let done = restart(&home);
        assert!(done.status.success(), "{}", both(&done));
        // Whether it has polled by now or not.
        let new = gateway.worker("coder");
        process::signal(new, Signal::SIGKILL);
        say(&chat, &mut said);
        all_is_well(&chat, said);
        assert_ne!(gateway.worker("coder"), new);
    }
}

#[test]
fn the_supervisor_dies_while_the_new_one_stands_by() {
    let chat = Chat::start();
    let home = home(&chat);
    let mut said = 0;
    {
        let mut gateway = Gateway::start(&home);
        wait::until_true("a first poll", || chat.polling() > 0);
        say(&chat, &mut said);
        all_is_well(&chat, said);
        let old = gateway.worker("coder");
        process::signal(old, Signal::SIGSTOP);
        std::thread::scope(|scope| {
            let restarting = scope.spawn(|| restart(&home));
            let new = standing_by(&gateway, old);
            say(&chat, &mut said);
            gateway.signal(Signal::SIGKILL);
            gateway.wait();
            assert!(!restarting.join().unwrap().status.success());
            wait::until_true("both to end", || !process::is_alive(old) && !process::is_alive(new));
        });
    }
    let gateway = Gateway::start(&home);
    say(&chat, &mut said);
    all_is_well(&chat, said);
    assert_eq!(gateway.profile("coder").platforms["testchat"].state, "connected");
}
