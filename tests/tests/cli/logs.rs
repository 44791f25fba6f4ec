//! `hermes logs`: files of both programs, rotated ones and broken ones, read without a gateway.

use std::fmt::Write as _;

use hermes_tests::command::{Ran, run, transcript};
use hermes_tests::terminal::Terminal;
use hermes_tests::{Home, Loop};
use serde_json::Value;

/// A line of a worker of this program.
fn worker(second: u32, level: &str, text: &str, profile: &str) -> String {
    format!("{} {level} gateway.turn: {text} profile={profile} generation=1\n", time(second))
}

fn time(second: u32) -> String {
    format!("2026-11-21 {:02}:{:02}:{:02},{:03}", second / 3600, second / 60 % 60, second % 60, second % 1000)
}

fn home() -> Home {
    let home = Home::new();
    home.profile("coder");
    home
}

fn messages(ran: Ran) -> Vec<String> {
    ran.ok().lines().map(|line| line.split_once(": ").map_or(line, |(_, text)| text).to_owned()).collect()
}

fn objects(ran: Ran) -> Vec<Value> {
    ran.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What was typed wrong is said in the words that scripts know, on standard error.
#[test]
fn texts_of_what_cannot_be_shown() {
    let home = home();
    home.write("default", "logs/gateway.log", &worker(1, "INFO", "a", "default"));
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "logs nope",
            "logs coder",
            "logs --since 5x",
            "logs --until soon",
            "logs --level foo",
            "logs --grep (",
            "-p coder logs",
            "-p coder logs gateway",
            "-p coder logs --all",
            "logs --grep nothing",
            "logs gateway",
            "logs gateway.log -n 1",
        ]
    ));
}

/// D23: what the guide types shows what both programs wrote, each record once, tracebacks with their record.
#[test]
fn d23_logs_of_both_programs_are_one() {
    let home = home();
    let python = format!(
        "{} ERROR [s1] run_agent: failed\nTraceback (most recent call last):\n  File \"x.py\"\n{} INFO gateway.run: up\n",
        time(10),
        time(11)
    );
    home.write("coder", "logs/agent.log", &python);
    home.write("coder", "logs/errors.log", &python[..python.find(&time(11)).unwrap()]);
    let bad = worker(20, "WARNING", "slow", "coder");
    home.write("coder", "logs/gateway.log", &format!("{}{bad}", worker(12, "INFO", "fine", "coder")));
    let printed = format!("{} INFO stderr: printed profile=coder generation=1\n", time(21));
    home.write("coder", "logs/gateway.error.log", &format!("{bad}{printed}"));
    let all = run(&home, &["-p", "coder", "logs"]).ok();
    let expected = format!("{python}{}{bad}{printed}", worker(12, "INFO", "fine", "coder"));
    assert_eq!(all, expected);
    assert_eq!(run(&home, &["-p", "coder", "logs", "errors"]).ok().matches("slow").count(), 1);
    let level = run(&home, &["-p", "coder", "logs", "--level", "error"]).ok();
    assert!(level.ends_with("  File \"x.py\"\n") && level.lines().count() == 3, "{level}");
    let found = objects(run(&home, &["-p", "coder", "logs", "--json", "--session", "s1"]));
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["session"], &found[0]["component"]), (&"s1".into(), &"run_agent".into()));
    assert!(found[0]["message"].as_str().unwrap().starts_with("failed\nTraceback"), "{found:?}");
    let component = messages(run(&home, &["-p", "coder", "logs", "--component", "agent"]));
    assert_eq!(component[0], "failed");
    let grep = run(&home, &["-p", "coder", "logs", "--grep", "(?i)file \"X"]).ok();
    assert!(grep.contains("run_agent: failed"), "a record is found by any of its lines: {grep}");
}

/// All profiles and the gateway, by time; rotated files only where the range needs them.
#[test]
fn logs_of_all_are_merged_and_rotated_ones_are_read() {
    let home = home();
    home.write("default", "logs/gateway.log.2", &worker(1, "INFO", "d1", "default"));
    home.write("default", "logs/gateway.log.1", &worker(3, "INFO", "d3", "default"));
    home.write("default", "logs/gateway.log", &worker(5, "ERROR", "d5", "default"));
    home.write(
        "coder",
        "logs/gateway.log",
        &(worker(2, "INFO", "c2", "coder") + &worker(6, "INFO", "c6", "coder")),
    );
    let supervisor = format!("{} WARNING supervise: [coder] ready → backoff\n", time(4));
    home.write("default", "logs/supervisor.log", &supervisor);
    let all = run(&home, &["logs", "--all"]).ok();
    let labels: Vec<&str> = all.lines().map(|line| line.split(" | ").next().unwrap().trim()).collect();
    assert_eq!(labels, ["default", "coder", "default", "supervisor", "default", "coder"], "{all}");
    let last = objects(run(&home, &["logs", "--all", "-n", "3", "--json"]));
    assert_eq!(
        last.iter().map(|o| o["profile"].as_str().unwrap()).collect::<Vec<_>>(),
        ["coder", "default", "coder"]
    );
    assert!(last[0]["file"].as_str().unwrap().ends_with("supervisor.log"));
    let since = run(
        &home,
        &["logs", "--all", "--since", "2026-11-21 00:00:03", "--until", "2026-11-21 00:00:05,999"],
    )
    .ok();
    assert_eq!(since.lines().count(), 3, "{since}");
    let about = run(&home, &["logs", "supervisor", "-p", "coder"]).ok();
    assert!(about.contains("[coder] ready"), "{about}");
    home.profile("ops");
    assert_eq!(run(&home, &["logs", "supervisor", "-p", "ops"]).ok(), "");
    home.write("ops", "logs/supervisor.log", &format!("{} INFO app: a gateway of its own\n", time(9)));
    assert!(run(&home, &["logs", "supervisor", "-p", "ops"]).ok().contains("of its own"));
    let files = run(&home, &["logs", "list"]).ok();
    assert!(files.contains("supervisor.log") && files.contains("+ 2 rotated"), "{files}");
}

/// What a terminal would obey is shown, to files as to terminals; colours are ours alone.
#[test]
fn escapes_and_bytes_are_shown() {
    let home = home();
    let mut log = worker(1, "ERROR", "\u{1b}]0;title\u{7} \u{202e}x", "default").into_bytes();
    log.extend_from_slice(b"\xff\xfe not text\n");
    fs_err::create_dir_all(home.root().join("logs")).unwrap();
    fs_err::write(home.root().join("logs/gateway.log"), log).unwrap();
    let shown = run(&home, &["logs"]).ok();
    assert!(
        shown.contains("\\u{1b}]0;title\\u{7} \\u{202e}x") && shown.contains("\\xff\\xfe not text"),
        "{shown}"
    );
    let terminal = Terminal::run(&home, "hermes logs --color always");
    terminal.wait_for("not text", 1);
    let screen = terminal.screen();
    assert!(screen.contains("\u{1b}[31m") && !screen.contains("\u{1b}]0"), "{screen:?}");
    assert!(screen.contains("--- ") && screen.contains("(last 50) ---"), "{screen:?}");
}

/// D17: a log that cannot be read is named, and what can be is shown.
#[test]
fn an_unreadable_log_is_named() {
    let home = home();
    home.write("default", "logs/gateway.log", &worker(1, "INFO", "shown", "default"));
    home.write("coder", "logs/gateway.log", &worker(2, "INFO", "hidden", "coder"));
    let hidden = Loop::put(home.of("coder").join("logs/gateway.log"));
    let ran = run(&home, &["logs", "--all"]);
    assert!(ran.out.contains("shown"), "{ran:?}");
    let err = ran.fails(1);
    assert!(err.contains("profiles/coder/logs/gateway.log"), "{err}");
    hidden.remove();
}

/// A reader that leaves ends it quietly, and so does more than anybody reads.
#[test]
fn a_closed_pipe_is_no_failure() {
    let home = home();
    let mut log = String::new();
    for n in 0..20_000 {
        let _ = write!(log, "{}", worker(n, "INFO", "long enough to fill what a pipe holds", "default"));
    }
    home.write("default", "logs/gateway.log", &log);
    let mut command = hermes_tests::gateway::hermes(&home, &["logs", "-n", "100000"]);
    let mut child =
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{output:?}");
    assert_eq!(run(&home, &["logs", "-n", "100000"]).ok().lines().count(), 20_000);
}

/// The names of logs, levels and components are offered.
#[test]
fn logs_are_completed() {
    let home = home();
    let offered = |words: &[&str]| run(&home, &[&["__complete", "fish", "--"], words].concat()).ok();
    let names = offered(&["hermes", "logs", "s"]);
    assert!(names.starts_with("supervisor\t"), "{names}");
    assert_eq!(offered(&["hermes", "logs", "--level", "C"]), "CRITICAL\n");
}
