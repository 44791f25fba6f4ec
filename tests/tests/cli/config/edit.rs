//! `hermes config edit`: the user's editor, whatever it does.

use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8PathBuf;
use hermes_tests::Home;
use hermes_tests::command::{Ran, masked};
use hermes_tests::gateway::hermes;

use super::home_with;

/// An editor that is a shell script.
fn editor(home: &Home, script: &str) -> Utf8PathBuf {
    let path = home.user().join("my editor");
    fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn edit(home: &Home, variable: &str, command: &str) -> Ran {
    hermes(home, &["config", "edit"]).env(variable, command).output().unwrap().into()
}

/// What is left beside the files.
fn copies(home: &Home) -> Vec<String> {
    let entries = fs_err::read_dir(home.root()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".edit-")).collect()
}

#[test]
fn an_edit_takes_the_place_of_the_file_when_it_can_be_read() {
    let home = home_with("a: 1 # mine\n", "");
    let command = format!(
        "'{}' --wait",
        editor(&home, "test \"$1\" = --wait && echo 'agent: {max_turns: 5}' >> \"$2\"")
    );
    insta::assert_snapshot!(masked(&home, &edit(&home, "EDITOR", &command).ok()));
    assert_eq!(home.read("default", "config.yaml").unwrap(), "a: 1 # mine\nagent: {max_turns: 5}\n");
    assert_eq!(copies(&home), Vec::<String>::new());
    let said = edit(&home, "VISUAL", "true").ok();
    assert!(said.contains("Nothing was changed."), "{said}");
}

/// Wires 15: what an editor starts is about the profile whose file it has open.
#[test]
fn the_editor_knows_the_profile() {
    let home = home_with("", "");
    let script = editor(&home, "printf 'seen: %s\\n' \"$HERMES_HOME\" > \"$1\"");
    edit(&home, "EDITOR", &format!("'{script}'")).ok();
    assert_eq!(home.read("default", "config.yaml").unwrap(), format!("seen: {}\n", home.root()));
}

#[test]
fn a_missing_file_is_made_with_every_key_as_a_comment() {
    let home = Home::empty();
    let said = edit(&home, "EDITOR", "true").ok();
    assert!(said.starts_with(&format!("Created {}/config.yaml\nOpening ", home.root())), "{said}");
    let text = home.read("default", "config.yaml").unwrap();
    assert!(
        text.contains("#   max_turns: 90")
            && text.lines().all(|line| line.is_empty() || line.starts_with('#'))
    );
    let mode = fs_err::metadata(home.root().join("config.yaml")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
}

#[test]
fn what_cannot_be_read_is_kept_and_never_put_in_place() {
    let home = home_with("a: 1\n", "");
    let script = editor(&home, "printf 'a: 1\\nb: [\\n' > \"$1\"");
    let error = edit(&home, "EDITOR", &format!("'{script}'")).fails(1);
    let kept = copies(&home);
    assert_eq!(kept.len(), 1);
    let mode = fs_err::metadata(home.root().join(&kept[0])).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700, "editors leave copies beside it");
    let copy = home.root().join(&kept[0]).join("config.yaml");
    assert!(error.contains(&format!("{copy}:3:")) && error.contains("is as it was"), "{error}");
    assert_eq!(fs_err::read_to_string(&copy).unwrap(), "a: 1\nb: [\n");
    assert_eq!(home.read("default", "config.yaml").unwrap(), "a: 1\n");
}

#[test]
fn an_editor_that_fails_changes_nothing_and_loses_nothing() {
    let home = home_with("a: 1\n", "");
    let error = edit(&home, "EDITOR", &format!("'{}'", editor(&home, "exit 3"))).fails(1);
    assert!(error.contains("exit code 3") && copies(&home).is_empty(), "{error}");
    let error =
        edit(&home, "EDITOR", &format!("'{}'", editor(&home, "echo 'b: 2' >> \"$1\"; kill -9 $$"))).fails(1);
    assert!(error.contains("a signal") && error.contains("is kept in"), "{error}");
    assert_eq!(copies(&home).len(), 1);
    for (command, part) in [("/no/such/editor", "cannot start the editor"), ("'unclosed", "is not a command")]
    {
        let error = edit(&home, "EDITOR", command).fails(1);
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(home.read("default", "config.yaml").unwrap(), "a: 1\n");
}

#[test]
fn without_an_editor_and_a_terminal_nothing_is_opened() {
    let home = home_with("a: 1\n", "");
    let ran: Ran = hermes(&home, &["config", "edit"]).output().unwrap().into();
    assert!(ran.fails(1).contains("there is no terminal for an editor"));
    assert_eq!(copies(&home), Vec::<String>::new());
}

#[test]
fn somebody_elses_edit_wins_over_a_slow_one_and_both_are_kept() {
    let home = home_with("a: 1\n", "");
    let file = home.root().join("config.yaml");
    let script = editor(&home, &format!("echo 'mine: 1' >> \"$1\"; echo 'theirs: 1' >> '{file}'"));
    let error = edit(&home, "EDITOR", &format!("'{script}'")).fails(1);
    assert!(error.contains("changed by somebody else"), "{error}");
    assert_eq!(home.read("default", "config.yaml").unwrap(), "a: 1\ntheirs: 1\n");
    let copy = home.root().join(&copies(&home)[0]).join("config.yaml");
    assert_eq!(fs_err::read_to_string(copy).unwrap(), "a: 1\nmine: 1\n");
}

#[test]
fn a_broken_file_can_be_repaired_and_problems_are_said() {
    let home = home_with("a: [\n", "");
    let script = editor(&home, "printf 'agent: {max_turns: many}\\n' > \"$1\"");
    let ran = edit(&home, "EDITOR", &format!("'{script}'"));
    assert_eq!(ran.code, Some(78), "{ran:?}");
    assert!(ran.out.contains("✓ Saved") && ran.out.contains("`agent.max_turns` must be"), "{}", ran.out);
    assert_eq!(home.read("default", "config.yaml").unwrap(), "agent: {max_turns: many}\n");
}
