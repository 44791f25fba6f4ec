//! What stands in the files: nothing of the user's is lost, whatever is typed, whatever stands there, whoever else writes.

use std::os::unix::fs::PermissionsExt as _;

use hermes_tests::Home;
use hermes_tests::command::{Ran, run, transcript};
use hermes_tests::gateway::hermes;

use super::home_with;

/// Defect 1 of 0.19.0: `config set` replaced a file that it could not parse by the one new key.
#[test]
fn a_malformed_file_is_refused_with_its_place_and_left_alone() {
    for (yaml, place) in [
        ("model:\n  default: a\n bad: [\nkeep: me\n", "line 3"),
        ("a: 1\n\tb: 2\n", "line 1"),
        ("- a\n- b\n", "line 1"),
        ("a: 1\n---\nb: 2\n", "line 2"),
        ("just text\n", "line 1"),
    ] {
        let home = home_with(yaml, "KEY=1\n");
        for args in [
            &["config", "set", "model.default", "x"][..],
            &["config", "set", "openai_api_key", "x"],
            &["config", "unset", "model.default"],
            &["config", "get", "model.default"],
            &["config", "show"],
        ] {
            let error = run(&home, args).fails(1);
            assert!(error.contains(place) && error.contains("config.yaml"), "{args:?}: {error}");
        }
        run(&home, &["config", "check"]).fails(78);
        assert_eq!(home.read("default", "config.yaml").unwrap(), yaml);
        assert_eq!(home.read("default", ".env").unwrap(), "KEY=1\n");
    }
}

#[test]
fn files_that_cannot_be_read_are_refused() {
    let home = home_with("a: 1\n", "A=1\n");
    let env = home.root().join(".env");
    fs_err::write(&env, b"\xff\xfe\0\0A\0\0\0").unwrap();
    insta::assert_snapshot!("env_not_text", transcript(&home, &["config set x_token y"]));
    assert_eq!(fs_err::read(&env).unwrap(), b"\xff\xfe\0\0A\0\0\0");
    let yaml = home.root().join("config.yaml");
    fs_err::remove_file(&yaml).unwrap();
    fs_err::create_dir(&yaml).unwrap();
    fs_err::write(&env, "").unwrap();
    insta::assert_snapshot!(
        "config_is_a_directory",
        transcript(&home, &["config set a 1", "config get a", "config check"])
    );
    fs_err::remove_dir(&yaml).unwrap();
    std::os::unix::fs::symlink("nowhere/config.yaml", &yaml).unwrap();
    insta::assert_snapshot!("config_is_a_dead_link", transcript(&home, &["config set a 1"]));
    assert!(fs_err::symlink_metadata(&yaml).unwrap().is_symlink());
    fs_err::remove_file(&yaml).unwrap();
    fs_err::write(&yaml, "a: ".to_owned() + &"x".repeat(5 << 20)).unwrap();
    let error = run(&home, &["config", "set", "b", "1"]).fails(1);
    assert!(error.contains("larger than"), "{error}");
}

#[test]
fn comments_order_quotes_and_line_ends_stay() {
    let yaml = "# top\r\nb: 'x'   # why\r\na:\r\n- 1  # one\r\n- {k: v}\r\n# end\r\n";
    let home = home_with(yaml, "# keys\r\nexport A='1'\r\n\r\nB=2 # two\r\nA=9\r\n");
    run(&home, &["config", "set", "b", "--string", "y"]).ok();
    run(&home, &["config", "set", "a.1.k", "w"]).ok();
    run(&home, &["config", "set", "a_token", "new"]).ok();
    assert_eq!(
        home.read("default", "config.yaml").unwrap(),
        yaml.replace("'x'", "'y'").replace("k: v", "k: w")
    );
    assert_eq!(
        home.read("default", ".env").unwrap(),
        "# keys\r\nexport A='1'\r\n\r\nB=2 # two\r\nA=9\r\nA_TOKEN=new\r\n"
    );
}

#[test]
fn modes_are_private_and_what_was_there_is_kept() {
    let mode = |home: &Home, file: &str| {
        fs_err::metadata(home.root().join(file)).unwrap().permissions().mode() & 0o777
    };
    let home = Home::empty();
    run(&home, &["config", "set", "a_token", "x"]).ok();
    run(&home, &["config", "set", "timezone", "UTC"]).ok();
    assert_eq!((mode(&home, ".env"), mode(&home, "config.yaml")), (0o600, 0o600));
    for file in [".env", "config.yaml"] {
        fs_err::set_permissions(home.root().join(file), std::fs::Permissions::from_mode(0o640)).unwrap();
    }
    // Wires 15: where a secret goes, nobody else reads.
    let said = run(&home, &["config", "set", "a_token", "y"]).ok();
    assert!(said.contains("others could read") && said.contains("0640") && said.contains("0600"), "{said}");
    assert!(!run(&home, &["config", "set", "a_token", "z"]).ok().contains("others"));
    let said = run(&home, &["config", "set", "model.api_key", "y"]).ok();
    assert!(said.contains("others can read"), "{said}");
    assert!(!run(&home, &["config", "set", "timezone", "Europe/Berlin"]).ok().contains("others"));
    assert_eq!((mode(&home, ".env"), mode(&home, "config.yaml")), (0o600, 0o640));
}

/// Wires 11: whatever `.env` was saved as, `config` works; a value over several lines goes as a whole, and no byte of it is left.
#[test]
fn a_file_of_any_editor_can_be_changed() {
    let home = home_with("", "");
    let file = home.root().join(".env");
    fs_err::write(
        &file,
        b"# f\xfcr alle\nA_KEY=xOPENAI_API_KEY=y\nPEM_TOKEN=\"-----BEGIN\nc2VjcmV0\n-----END\"\nB=2\n",
    )
    .unwrap();
    assert_eq!(run(&home, &["config", "get", "pem_token"]).ok(), "-----BEGIN\nc2VjcmV0\n-----END\n");
    let said = run(&home, &["config", "check"]).out;
    assert!(said.contains("`OPENAI_API_KEY=` stands within the value of `A_KEY`"), "{said}");
    let said = run(&home, &["doctor"]).out;
    assert!(said.contains("`OPENAI_API_KEY=` stands within the value of `A_KEY`"), "{said}");
    run(&home, &["config", "unset", "pem_token"]).ok();
    assert_eq!(fs_err::read_to_string(&file).unwrap(), "# für alle\nA_KEY=xOPENAI_API_KEY=y\nB=2\n");
    for entry in fs_err::read_dir(home.root()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { fs_err::read(&path).unwrap() } else { Vec::new() };
        assert!(!bytes.windows(8).any(|bytes| bytes == b"c2VjcmV0"), "{}", path.display());
    }
}

/// Wires 15: what a start refuses is not written, unless somebody insists.
#[test]
fn a_value_that_a_start_refuses_is_refused() {
    let home = home_with("agent: {max_turns: 5}\n", "");
    let error = run(&home, &["config", "set", "agent.max_turns", "many"]).fails(78);
    assert!(error.contains("'agent.max_turns' was not set") && error.contains("--force"), "{error}");
    assert_eq!(home.read("default", "config.yaml").unwrap(), "agent: {max_turns: 5}\n");
    run(&home, &["config", "set", "--force", "agent.max_turns", "many"]).ok();
    assert_eq!(home.read("default", "config.yaml").unwrap(), "agent: {max_turns: many}\n");
    // It is refused already: another wrong value is no better, another key is no worse.
    run(&home, &["config", "set", "agent.max_turns", "few"]).fails(78);
    run(&home, &["config", "set", "timezone", "UTC"]).ok();
    run(&home, &["config", "set", "agent.max_turns", "6"]).ok();
}

/// Wires 15: a home among the profiles that is not there is not made.
#[test]
fn nothing_is_made_for_a_profile_that_is_not_there() {
    let home = home_with("", "");
    for name in ["Ghost", "ghost"] {
        let place = home.root().join("profiles").join(name);
        for args in [
            &["config", "set", "timezone", "UTC"][..],
            &["config", "set", "x_token", "1"],
            &["config", "edit"],
        ] {
            let ran: Ran =
                hermes(&home, args).env("HERMES_HOME", &place).env("EDITOR", "true").output().unwrap().into();
            assert!(ran.fails(1).contains("does not exist"));
        }
        assert!(!home.root().join("profiles").exists());
    }
}

#[test]
fn a_link_is_followed() {
    let home = home_with("a: 1\n", "");
    let (file, real) = (home.root().join("config.yaml"), home.user().join("dotfiles.yaml"));
    fs_err::rename(&file, &real).unwrap();
    std::os::unix::fs::symlink(&real, &file).unwrap();
    run(&home, &["config", "set", "b", "2"]).ok();
    assert!(fs_err::symlink_metadata(&file).unwrap().is_symlink());
    assert_eq!(fs_err::read_to_string(&real).unwrap(), "a: 1\nb: 2\n");
}

#[test]
fn many_commands_at_once_lose_nothing() {
    let home = home_with("# mine\n", "");
    let children: Vec<_> = (0..8)
        .flat_map(|n| [format!("k{n}"), format!("k{n}_token")])
        .map(|key| {
            hermes(&home, &["config", "set", &key, "1"]).stdout(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(home.read("default", "config.yaml").unwrap().lines().count(), 9);
    assert_eq!(home.read("default", ".env").unwrap().lines().count(), 8);
    let left: Vec<_> =
        fs_err::read_dir(home.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_rotated_key_is_replaced_where_it_was_copied_to() {
    let yaml = "model:\n  api_key: old-old-old # copy\nauxiliary: {vision: {api_key: old-old-old}}\ncustom_providers:\n  - name: x\n    api_key: \
                old-old-old\ntelegram: {token: old-old-old}\n";
    let home = home_with(yaml, "OPENAI_API_KEY=old-old-old\n");
    insta::assert_snapshot!(transcript(&home, &["config set openai_api_key new-new-new"]));
    assert_eq!(home.read("default", "config.yaml").unwrap(), yaml.replacen("old-old-old", "new-new-new", 3));
    assert_eq!(home.read("default", ".env").unwrap(), "OPENAI_API_KEY=new-new-new\n");
}
