//! Help is complete and free: it needs no home and touches nothing.

use hermes_tests::Home;
use hermes_tests::command::run;
use hermes_tests::gateway::hermes;
use hermes_tests::terminal::Terminal;
use unicode_width::UnicodeWidthStr as _;

#[test]
fn help_of_every_command_answers_without_a_home() {
    let home = Home::empty();
    for command in ["profile", "config", "setup", "skills", "update", "doctor", "gateway", "status"] {
        let text = run(&home, &[command, "--help"]).ok();
        assert!(text.contains("Usage: hermes"), "{text}");
    }
    assert_eq!(fs_err::read_dir(home.root()).unwrap().count(), 0);
}

/// 7: `--version` says what was built from what; `-V` the release alone, for scripts.
#[test]
fn n07_the_version_names_commit_and_target() {
    let home = Home::empty();
    let short = run(&home, &["-V"]).ok();
    let release = short.strip_prefix("hermes ").unwrap().trim_end();
    assert!(release.split('.').count() == 3 && !release.contains(' '), "{short}");
    let long = run(&home, &["--version"]).ok();
    let rest = long.strip_prefix(short.trim_end()).unwrap().trim_end();
    let words: Vec<&str> = rest.split_whitespace().collect();
    assert!(words.last().unwrap().starts_with(std::env::consts::ARCH), "{long}");
    if let [commit, date, _] = words[..] {
        assert!(commit.starts_with('(') && commit.len() > 7, "{long}");
        assert!(date.len() == "2026-11-28)".len() && date.ends_with(')'), "{long}");
    }
}

/// 7: one rule for colours: flag, then NO_COLOR, CLICOLOR_FORCE, terminal.
#[test]
fn n07_colours_are_asked_for_in_one_way() {
    let home = Home::new();
    let shown = |args: &[&str], env: &[(&str, &str)]| {
        let output = hermes(&home, args).envs(env.iter().copied()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap().contains("\x1b[")
    };
    for command in [&["status"][..], &["doctor"], &["--help"], &["nonsense"], &["status", "--nonsense"]] {
        let with = |color: &'static str| [&[color][..], command].concat();
        assert!(!shown(command, &[]), "{command:?}: no terminal");
        assert!(shown(&with("--color=always"), &[("NO_COLOR", "1")]), "{command:?}");
        assert!(shown(command, &[("CLICOLOR_FORCE", "1")]), "{command:?}");
        assert!(!shown(&with("--color=never"), &[("CLICOLOR_FORCE", "1")]), "{command:?}");
        assert!(!shown(command, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), "{command:?}");
    }
}

/// 7: whoever finds something wrong, it begins with one word.
#[test]
fn n07_errors_begin_with_one_word() {
    let home = Home::new();
    for args in
        [&["nonsense"][..], &["gateway", "reload"], &["-p", "nope", "status"], &["profile", "show", "nope"]]
    {
        let ran = run(&home, args);
        assert!(ran.code != Some(0) && ran.err.starts_with("Error: "), "{args:?}: {ran:?}");
    }
}

/// 7: a list that is watched fits the terminal, and `q` ends it.
#[test]
fn n07_a_watched_status_fits_and_ends_with_q() {
    let home = Home::new();
    for n in 0..40 {
        home.profile(&format!("p{n:02}"));
    }
    let mut terminal =
        Terminal::run(&home, "stty rows 20 cols 80; hermes status --watch && echo ended''well");
    terminal.wait_for(" more, ", 1);
    terminal.keys("q");
    terminal.wait_for("endedwell", 1);
}

/// 7: columns hold with wide characters, and in 80 columns.
#[test]
fn n07_the_list_of_profiles_keeps_its_columns() {
    let home = Home::new();
    home.profile_with("wide", "agent: {engine: echo}\nmodel: {default: 模型模型模型模型模型}\n", "");
    home.profile_with("long", &format!("model: {{default: {}}}\n", "m".repeat(26)), "");
    run(&home, &["profile", "alias", "long", "--name", "an-alias-that-is-rather-long"]).ok();
    let terminal = Terminal::run(&home, "stty rows 40 cols 80; hermes profile list; echo ended''well");
    terminal.wait_for("endedwell", 1);
    let screen = terminal.screen();
    let at = |line: &str, what: &str| line.find(what).map(|byte| line[..byte].width());
    let rows: Vec<&str> = screen.lines().map(|line| line.trim_end_matches('\r')).collect();
    let head = rows.iter().find(|row| row.contains("Gateway") && row.contains("Alias")).unwrap();
    let wide = rows.iter().find(|row| row.contains("wide")).unwrap();
    assert_eq!(at(wide, "stopped"), at(head, "Gateway"), "{screen}");
    assert!(rows.iter().all(|row| row.width() <= 80), "{screen}");
}

/// 7: manual pages for every command.
#[test]
fn n07_manual_pages_come_from_the_command_tree() {
    let home = Home::empty();
    let page = run(&home, &["man"]).ok();
    assert!(page.contains(".TH hermes 1") && page.contains("hermes\\-gateway(1)"), "{page}");
    let dir = home.user().join("man1");
    assert!(run(&home, &["man", "--dir", dir.as_str()]).ok().contains(" pages are in "));
    assert!(fs_err::read_to_string(dir.join("hermes-gateway-run.1")).unwrap().contains("\\-\\-replace"));
}
