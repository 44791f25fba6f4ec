//! Logs of a gateway that runs: what is printed, said and shouted by whom, and reading it meanwhile.

use std::fs::File;
use std::io::Write as _;
use std::process::Stdio;

use hermes_tests::gateway::{both, hermes, run};
use hermes_tests::{Gateway, Home, Running, command, process, tools, wait};
use nix::sys::signal::Signal;

/// Standard output, and standard error.
const STDOUT: i32 = 1;
const STDERR: i32 = 2;

/// Where a worker prints what is wrong.
fn printer(gateway: &Gateway<'_>, name: &str) -> Option<File> {
    printer_to(gateway, name, STDERR)
}

fn printer_to(gateway: &Gateway<'_>, name: &str, descriptor: i32) -> Option<File> {
    let worker = gateway.worker(name);
    tools::permitted("descriptors of other processes", process::descriptor(worker, descriptor))
        .map(File::from)
}

/// Bytes of a profile's log and of what it was renamed to.
fn bytes(home: &Home, profile: &str, name: &str) -> u64 {
    let files = home.of(profile).join("logs").read_dir_utf8().unwrap().map(Result::unwrap);
    files.filter(|file| file.file_name().starts_with(name)).map(|file| file.metadata().unwrap().len()).sum()
}

/// N3.6: a worker that prints as fast as it can holds nobody up, itself included; a part is kept, the rest is counted; the log that
/// stood there stays, and the supervisor does not grow.
#[test]
fn n3_6_a_flood_blocks_and_bloats_nobody() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let Some(mut stderr) = printer(&gateway, "coder") else { return };
    stderr.write_all(b"before the flood\n").unwrap();
    assert_eq!(gateway.chat("/p/coder", &Home::key("coder"), "hello").status, 200);
    let (supervisor, worker) = (process::rss(gateway.pid()), gateway.worker("coder"));
    let mut later = stderr.try_clone().unwrap();
    let flood = std::thread::spawn(move || {
        let mut lines = String::new();
        for n in 0..1_500_000_u32 {
            use std::fmt::Write as _;
            let _ = writeln!(lines, "{n:07} a line of which there are far too many");
            if lines.len() > 60_000 {
                stderr.write_all(lines.as_bytes()).unwrap();
                lines.clear();
            }
        }
    });
    let mut answers = 0;
    while !flood.is_finished() {
        assert_eq!(gateway.chat("/p/coder", &Home::key("coder"), "hello").status, 200);
        assert_eq!(gateway.get("/health", "").status, 200);
        answers += 1;
    }
    flood.join().unwrap();
    assert!(answers > 0);
    assert_eq!(gateway.worker("coder"), worker, "the same process");
    assert!(process::rss(gateway.pid()) < supervisor + 2_000_000, "the supervisor is as it was");
    let log = wait::until("the count, and all as before", || {
        later.write_all(b"after the flood\n").unwrap();
        let log = home.read("coder", "logs/gateway.error.log")?;
        log.contains("after the flood").then_some(log)
    });
    assert!(log.contains(" are not kept: "), "{}", &log[log.len().saturating_sub(2000)..]);
    assert!(log.contains("before the flood"), "what stood there is still there");
    let kept = bytes(&home, "coder", "gateway.error.log");
    assert!(kept < 10_000_000, "{kept} bytes of 75 MB");
    for (profile, file) in [
        ("coder", "logs/gateway.log"),
        ("default", "logs/gateway.error.log"),
        ("default", "logs/supervisor.log"),
    ] {
        assert!(!home.read(profile, file).unwrap().contains("far too many"), "{profile}/{file}");
    }
}

/// N3.6: equal lines are one and a count, printed ones, too; secrets of the profile are in none of them.
#[test]
fn n3_6_what_is_printed_is_collapsed_and_free_of_secrets() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let Some(mut stderr) = printer(&gateway, "coder") else { return };
    let line = format!("cannot connect with {}\n", Home::key("coder"));
    stderr.write_all(line.repeat(1000).as_bytes()).unwrap();
    stderr.write_all(b"something else\n").unwrap();
    let log = wait::until("the count", || {
        let log = home.read("coder", "logs/gateway.error.log")?;
        log.contains("something else").then_some(log)
    });
    assert!(log.contains("cannot connect with *** profile=coder"), "{log}");
    // On a busy machine it is told more than once.
    let counts = log.lines().filter_map(|line| line.split_once("(last line repeated ")?.1.split(' ').next());
    let repeated: usize = counts.map(|count| count.parse::<usize>().unwrap()).sum();
    assert_eq!(repeated, 999, "{log}");
    assert!(log.lines().count() < 50, "{log}");
    assert!(!log.contains(&Home::key("coder")), "{log}");
}

/// N3.6: standard output and standard error are told apart, in the file and by `hermes logs`.
#[test]
fn n3_6_standard_output_and_error_are_told_apart() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let Some(mut stderr) = printer(&gateway, "coder") else { return };
    let Some(mut stdout) = printer_to(&gateway, "coder", STDOUT) else { return };
    stdout.write_all(b"what was found\n").unwrap();
    stderr.write_all(b"what was missing\n").unwrap();
    wait::until("both lines", || {
        let log = home.read("coder", "logs/gateway.error.log")?;
        (log.contains("was found") && log.contains("was missing")).then_some(())
    });
    for (component, own, other) in
        [("stdout", "what was found", "missing"), ("stderr", "what was missing", "found")]
    {
        let lines = both(&run(&home, &["-p", "coder", "logs", "--component", component]));
        assert!(lines.contains(&format!(" INFO {component}: {own} profile=coder")), "{lines}");
        assert!(!lines.contains(other), "{lines}");
        let objects = both(&run(&home, &["-p", "coder", "logs", "--component", component, "--json"]));
        let record: serde_json::Value = serde_json::from_str(objects.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&record["component"], &record["profile"]),
            (&component.into(), &"coder".into()),
            "{record}"
        );
    }
}

/// N3.6: the last words of a worker that aborts are in its log, not lost in a pipe.
#[test]
fn n3_6_last_words_are_kept() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let Some(mut stderr) = printer(&gateway, "coder") else { return };
    let worker = gateway.worker("coder");
    for n in 0..500 {
        stderr.write_all(format!("{n} of what was said\n").as_bytes()).unwrap();
    }
    stderr.write_all(b"thread 'main' has overflowed its stack\n").unwrap();
    process::signal(worker, Signal::SIGABRT);
    drop(stderr);
    gateway.wait_replaced("coder", worker);
    let log = home.read("coder", "logs/gateway.error.log").unwrap();
    assert!(log.contains("has overflowed its stack"), "{log}");
    assert!(gateway.profile("coder").last_exit.is_some(), "and it did end");
}

/// N7.4: `logs -f` of one profile, and of all, against the one gateway; Ctrl-C ends it well.
#[test]
fn n7_4_logs_are_followed() {
    let home = Home::new();
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let follow = |args: &[&str], file: &str| {
        let path = home.user().join(file);
        let mut command = hermes(&home, args);
        command.stdout(fs_err::File::create(&path).unwrap().into_parts().0).stderr(Stdio::null());
        (Running(command.spawn().unwrap()), path)
    };
    let (mut one, one_says) = follow(&["-p", "coder", "logs", "-f", "-n", "0"], "one");
    let (mut all, all_say) = follow(&["logs", "--all", "--follow", "--json", "-n", "0"], "all");
    // A profile that comes meanwhile is followed, too.
    home.profile("later");
    gateway.wait_ready("later");
    let worker = gateway.worker("coder");
    gateway.kill_worker("coder");
    let text = |path: &camino::Utf8Path| fs_err::read_to_string(path).unwrap();
    wait::until_true("the records of coder", || text(&one_says).contains(" profile=coder generation="));
    wait::until_true("what the supervisor says", || {
        text(&all_say)
            .lines()
            .any(|line| line.contains("supervisor.log") && line.contains("\"profile\":\"coder\""))
    });
    wait::until_true("a new profile's records", || {
        text(&all_say).lines().any(|line| line.contains("\"profile\":\"later\""))
    });
    assert!(!text(&one_says).contains("profile=default"), "{}", text(&one_says));
    for follower in [&mut one, &mut all] {
        process::signal(follower.0.id(), Signal::SIGINT);
        let ended = wait::until("the end", || follower.0.try_wait().unwrap());
        assert_eq!(ended.code(), Some(0));
    }
    assert!(!process::is_alive(worker));
    // Everything that was followed can be read again, and says the same.
    let again = command::run(&home, &["logs", "--all", "--since", "1h", "--json"]).ok();
    for line in text(&all_say).lines() {
        assert!(again.contains(line), "{line}\n{again}");
    }
}
