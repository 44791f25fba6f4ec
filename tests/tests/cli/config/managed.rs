//! Two ways in which somebody else decides: a package manager, and an administrator.

use hermes_tests::Home;
use hermes_tests::command::{Ran, masked};
use hermes_tests::gateway::hermes;

use super::home_with;

fn run_in(home: &Home, env: &[(&str, &str)], args: &[&str]) -> Ran {
    hermes(home, args).envs(env.iter().copied()).output().unwrap().into()
}

#[test]
fn a_package_manager_owns_the_files() {
    let home = home_with("a: 1\n", "A=1\n");
    let managed = [("HERMES_MANAGED", "true")];
    for args in [
        &["config", "set", "a", "2"][..],
        &["config", "set", "a_token", "2"],
        &["config", "unset", "a"],
        &["config", "edit"],
    ] {
        let error = run_in(&home, &managed, args).fails(1);
        insta::allow_duplicates! { insta::assert_snapshot!("managed_by_nixos", error); }
    }
    let error = run_in(&home, &[("HERMES_MANAGED", "homebrew")], &["config", "set", "a", "2"]).fails(1);
    assert!(error.contains("is managed by Homebrew"), "{error}");
    // Reading is nobody's business but the reader's.
    assert_eq!(run_in(&home, &managed, &["config", "get", "a"]).ok(), "1\n");
    run_in(&home, &[("HERMES_MANAGED", "0")], &["config", "set", "a", "2"]).ok();
    fs_err::write(home.root().join(".managed"), "").unwrap();
    run_in(&home, &[], &["config", "set", "a", "3"]).fails(1);
    assert_eq!(
        (home.read("default", "config.yaml").unwrap(), home.read("default", ".env").unwrap()),
        ("a: 2\n".to_owned(), "A=1\n".to_owned())
    );
}

/// Defect 10 of 0.19.0: a pinned variable was refused, and then `✓ Set` was said and the exit code was 0.
#[test]
fn an_administrator_pins_keys_and_variables() {
    let home = home_with("model: {default: mine}\n", "X_TOKEN=mine\n");
    let dir = home.user().join("etc");
    fs_err::create_dir(&dir).unwrap();
    fs_err::write(dir.join("config.yaml"), "model: {default: pinned}\nmax_turns: 3\nwebhook: {port: 1}\n")
        .unwrap();
    fs_err::write(dir.join(".env"), "X_TOKEN=theirs\nAPI_SERVER_PORT=1\n").unwrap();
    let env = [("HERMES_MANAGED_DIR", dir.as_str())];
    let mut text = String::new();
    for args in [
        &["set", "model.default", "x"][..],
        &["set", "model", "x"],
        &["set", "agent.max_turns", "5"],
        &["set", "x_token", "x"],
        &["set", "platforms.api_server.port", "5"],
        &["set", "webhook_port", "5"],
        &["unset", "model.default"],
        &["unset", "X_TOKEN"],
    ] {
        let ran = run_in(&home, &env, &[&["config"], args].concat());
        assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{args:?}");
        text += &ran.err;
    }
    insta::assert_snapshot!(masked(&home, &text));
    let get = |key: &str| run_in(&home, &env, &["config", "get", key]).ok();
    assert_eq!(
        (get("model.default"), get("x_token"), get("agent.max_turns")),
        ("pinned\n".to_owned(), "theirs\n".to_owned(), "3\n".to_owned())
    );
    // Wires 15: that somebody else decides is said where people look.
    let shown = run_in(&home, &env, &["config", "show"]).ok();
    assert!(shown.contains("Administrator:") && shown.contains(dir.join("config.yaml").as_str()), "{shown}");
    let shown = run_in(&home, &env, &["doctor"]).out;
    assert!(shown.contains("an administrator's file is in force"), "{shown}");
    run_in(&home, &env, &["config", "set", "model.provider", "x"]).ok();
    assert_eq!(home.read("default", "config.yaml").unwrap(), "model: {default: mine, provider: x}\n");
    assert_eq!(home.read("default", ".env").unwrap(), "X_TOKEN=mine\n");
    // Pins that nobody can read are not guessed.
    fs_err::write(dir.join("config.yaml"), "model: [\n").unwrap();
    let error = run_in(&home, &env, &["config", "set", "timezone", "UTC"]).fails(1);
    assert!(error.contains("etc/config.yaml"), "{error}");
}
