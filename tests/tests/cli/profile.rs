//! `hermes profile`: what is printed, what is on disk afterwards, and how it ends.

use std::os::unix::fs::PermissionsExt as _;

use hermes_tests::Home;
use hermes_tests::command::{run, run_with_input, transcript};
use serde_json::Value;

fn mode(path: &camino::Utf8Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_first_profile_from_nothing() {
    let home = Home::empty();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "profile list",
            "profile",
            "profile create coder",
            "profile list",
            "profile show Coder",
            "profile use coder",
            "profile",
            "profile list -p default",
            "profile use default",
            "profile create --no-alias --no-skills --description Answers plain",
            "profile describe plain",
            "profile show plain",
        ]
    ));
    let coder = home.of("coder");
    assert_eq!(
        (mode(&coder), mode(&coder.join(".env")), mode(coder.parent().unwrap())),
        (0o700, 0o600, 0o755)
    );
    for dir in ["memories", "sessions", "skills", "skins", "logs", "plans", "workspace", "cron", "home"] {
        assert_eq!(mode(&coder.join(dir)), 0o700, "{dir}");
    }
    assert!(
        home.read("coder", "SOUL.md")
            .unwrap()
            .starts_with("You are Hermes Agent, an intelligent AI assistant")
    );
    assert!(home.of("plain").join(".no-bundled-skills").exists());
    assert!(home.user().join(".local/bin/coder").exists() && !home.user().join(".local/bin/plain").exists());
}

#[test]
fn everything_that_is_refused() {
    let home = Home::new();
    home.profile("coder");
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "profile create",
            "profile create bad.name",
            "profile create hermes",
            "profile create main",
            "profile create default",
            "profile create Coder",
            "profile create new --clone-from nope",
            "profile create new --clone-from bad.name",
            "profile create new --clone --no-skills",
            "profile create new --clone-channels",
            "profile show nope",
            "profile show .bad",
            "profile show a/b",
            "profile show",
            "profile use nope",
            "profile use hermes",
            "profile describe",
            "profile describe nope",
            "profile describe nope --text x",
            "profile alias nope",
            "profile alias coder --name C.1",
            "profile alias coder --name status",
            "profile alias coder --name ls",
            "profile alias default",
            "profile alias coder --remove",
        ]
    ));
    assert!(!home.of("new").exists());
}

#[test]
fn clones() {
    let home = Home::new();
    home.profile("coder");
    home.write(
        "coder",
        "config.yaml",
        "# mine\nmodel: {default: a/b, provider: x} # best\nplatforms: {telegram: {token: t}}\n",
    );
    home.write("coder", ".env", "# keys\nOPENAI_API_KEY=k\nTELEGRAM_BOT_TOKEN=t\n");
    home.write("coder", "skills/deep/er/SKILL.md", "x");
    home.write("coder", "memories/MEMORY.md", "remember");
    home.write("coder", "workspace/notes", "n");
    home.write("coder", "state.db", "x");
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "-p coder profile create one --clone",
            "profile create two --clone-from Coder --no-alias",
            "profile create three --clone-all --clone-from coder --no-alias",
            "profile create four --clone --clone-channels --clone-from coder --no-alias",
            "profile list",
        ]
    ));
    assert_eq!(
        home.read("one", "config.yaml").unwrap(),
        "# mine\nmodel: {default: a/b, provider: x} # best\n"
    );
    assert_eq!(home.read("one", ".env").unwrap(), "# keys\nOPENAI_API_KEY=k\n");
    assert_eq!(home.read("one", "memories/MEMORY.md").unwrap(), "remember");
    assert!(home.read("one", "workspace/notes").is_none() && home.read("three", "workspace/notes").is_some());
    assert!(home.read("three", "state.db").is_none());
    assert!(home.read("four", ".env").unwrap().contains("TELEGRAM_BOT_TOKEN=t"));
    assert_eq!(mode(&home.of("three").join(".env")), 0o600);
}

#[test]
fn a_failed_clone_leaves_no_half_profile() {
    let home = Home::new();
    home.profile("coder");
    fs_err::create_dir(home.of("coder").join("SOUL.md")).unwrap();
    let error = run(&home, &["profile", "create", "new", "--clone-from", "coder"]).fails(1);
    assert!(error.contains("cannot copy") && error.contains("SOUL.md"), "{error}");
    assert!(!run(&home, &["profile", "list"]).ok().contains("new"));
    fs_err::remove_dir(home.of("coder").join("SOUL.md")).unwrap();
    run(&home, &["profile", "create", "new", "--clone-from", "coder"]).ok();
}

#[test]
fn descriptions_keep_what_else_is_in_the_file() {
    let home = Home::new();
    home.profile("coder");
    home.write("coder", "profile.yaml", "# notes\ndisplay_name: C\ndescription: old # why\n");
    run(&home, &["-p", "coder", "profile", "describe", "default", "--text", "the root"]).ok();
    assert_eq!(run(&home, &["profile", "describe", "default"]).ok(), "the root\n");
    run(&home, &["profile", "describe", "coder", "--text", "Writes: code"]).ok();
    let text = home.read("coder", "profile.yaml").unwrap();
    assert_eq!(
        text,
        "# notes\ndisplay_name: C\ndescription: 'Writes: code' # why\ndescription_auto: false\n"
    );
    home.write("coder", "profile.yaml", "a: [\n");
    let error = run(&home, &["profile", "describe", "coder", "--text", "x"]).fails(1);
    assert!(error.contains("cannot change") && error.contains("profile.yaml"), "{error}");
    assert_eq!(home.read("coder", "profile.yaml").unwrap(), "a: [\n");
}

#[test]
fn a_sticky_profile_that_is_gone_locks_nobody_out() {
    let home = Home::new();
    home.profile("coder");
    run(&home, &["profile", "use", "coder"]).ok();
    fs_err::remove_dir_all(home.of("coder")).unwrap();
    for command in
        [&["profile", "list"][..], &["profile"], &["profile", "show", "default"], &["profile", "create", "x"]]
    {
        let ran = run(&home, command);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.err.contains("the sticky profile 'coder' does not exist"), "{ran:?}");
    }
    run(&home, &["--help"]).ok();
    run(&home, &["profile", "create", "y", "--clone"]).fails(1);
    run(&home, &["profile", "use", "default"]).ok();
    assert_eq!(run(&home, &["profile", "list"]).err, "");
}

#[test]
fn json_for_scripts() {
    let home = Home::new();
    home.profile("coder");
    let list: Value = serde_json::from_str(&run(&home, &["profile", "list", "--json"]).ok()).unwrap();
    let names: Vec<_> =
        list["profiles"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!((names, list["profiles"][0]["active"].as_bool()), (vec!["default", "coder"], Some(true)));
    let made: Value =
        serde_json::from_str(&run(&home, &["profile", "create", "new", "--json"]).ok()).unwrap();
    assert_eq!(
        (made["name"].as_str(), made["alias"].as_str(), made["has_keys"].as_bool()),
        (Some("new"), Some("new"), Some(false))
    );
    let shown: Value = serde_json::from_str(&run(&home, &["profile", "show", "new", "--json"]).ok()).unwrap();
    assert_eq!((shown["env"].as_bool(), shown["skills"].is_u64()), (Some(true), true));
    let parsed = |args: &[&str]| serde_json::from_str::<Value>(&run(&home, args).ok()).unwrap();
    let renamed = parsed(&["profile", "rename", "new", "newer", "--json"]);
    assert_eq!(
        (&renamed["to"], &renamed["aliases"][0], &renamed["gateway"]),
        (&"newer".into(), &"newer".into(), &Value::Null)
    );
    run(&home, &["profile", "delete", "newer", "--json"]).fails(2);
    let deleted = parsed(&["profile", "delete", "newer", "--yes", "--json"]);
    assert_eq!((&deleted["name"], &deleted["aliases"][0]), (&"newer".into(), &"newer".into()));
}

#[test]
fn broken_files_never_break_the_list() {
    let home = Home::new();
    home.profile("coder");
    for file in ["config.yaml", "profile.yaml", "distribution.yaml"] {
        home.write("coder", file, "a: [\n");
    }
    fs_err::create_dir(home.of("Upper")).unwrap();
    fs_err::write(home.root().join("profiles/file"), "x").unwrap();
    insta::assert_snapshot!(transcript(&home, &["profile list"]));
}

#[test]
fn renames_and_deletions() {
    let home = Home::new();
    home.profile("coder").profile("taken");
    run(&home, &["profile", "alias", "coder"]).ok();
    run(&home, &["profile", "alias", "coder", "--name", "mycode"]).ok();
    run(&home, &["profile", "use", "coder"]).ok();
    let unit = home.user().join(".config/systemd/user/hermes-gateway-coder.service");
    fs_err::create_dir_all(unit.parent().unwrap()).unwrap();
    fs_err::write(
        &unit,
        format!(
            "[Service]\nExecStart=/usr/bin/hermes -p coder gateway run\nEnvironment=HERMES_HOME={}\n",
            home.of("coder")
        ),
    )
    .unwrap();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "profile rename coder",
            "profile rename coder bad.name",
            "profile rename default x",
            "profile rename coder default",
            "profile rename nope x",
            "profile rename coder taken",
            "profile rename coder coder",
            "profile rename coder Dev",
            "profile list",
            "profile delete default",
            "profile delete nope",
            "profile delete dev",
            "profile delete dev -y",
            "profile list",
        ]
    ));
    assert!(!unit.exists() && !unit.with_file_name("hermes-gateway-dev.service").exists());
    assert!(!home.user().join(".local/bin/mycode").exists() && !home.user().join(".local/bin/dev").exists());
}

#[test]
fn a_rename_takes_its_unit_along() {
    let home = Home::new();
    home.profile("coder");
    let units = home.user().join(".config/systemd/user");
    fs_err::create_dir_all(&units).unwrap();
    fs_err::write(
        units.join("hermes-gateway-coder.service"),
        format!(
            "[Service]\nExecStart=/usr/bin/hermes -p coder gateway run\nEnvironment=HERMES_HOME={}\n",
            home.of("coder")
        ),
    )
    .unwrap();
    run(&home, &["profile", "rename", "coder", "dev"]).ok();
    let text = fs_err::read_to_string(units.join("hermes-gateway-dev.service")).unwrap();
    assert_eq!(
        text,
        format!(
            "[Service]\nExecStart=/usr/bin/hermes -p dev gateway run\nEnvironment=HERMES_HOME={}\n",
            home.of("dev")
        )
    );
    assert!(!units.join("hermes-gateway-coder.service").exists());
}

#[test]
fn a_deletion_asks_and_takes_only_the_name_for_yes() {
    let home = Home::new();
    home.profile("coder");
    for answer in ["no\n", "Coder\n", "\n"] {
        let ran = run_with_input(&home, &["profile", "delete", "coder"], answer);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(ran.out.ends_with("Cancelled.\n"), "{ran:?}");
    }
    let error = run(&home, &["profile", "delete", "coder"]).fails(2);
    assert!(error.contains("add --yes"), "{error}");
    assert!(home.of("coder").exists());
    assert_eq!(run_with_input(&home, &["profile", "delete", "Coder"], " coder \n").code, Some(0));
    assert!(!home.of("coder").exists());
}

#[test]
fn a_linked_profile_loses_only_its_link() {
    let home = Home::new();
    home.profile("real");
    std::os::unix::fs::symlink(home.of("real"), home.of("linked")).unwrap();
    let said = run(&home, &["profile", "delete", "linked", "-y"]).ok();
    assert!(said.contains("was not touched"), "{said}");
    assert!(home.of("real").join("config.yaml").exists() && !home.of("linked").exists());
}

/// A removal that fails leaves everything as it was: a profile goes on, and what was removed before is not served again.
#[test]
fn a_removal_that_fails_changes_nothing() {
    let home = Home::new();
    home.profile("coder").profile("ghost");
    let removed = home.root().join("profiles/.deleted");
    fs_err::create_dir(&removed).unwrap();
    fs_err::write(removed.join("ghost"), "deleted\n").unwrap();
    // The lock of whoever makes or removes a profile cannot be had.
    fs_err::create_dir(home.root().join("profiles/.hermes-making.lock")).unwrap();
    for name in ["coder", "ghost"] {
        run(&home, &["profile", "delete", name, "-y"]).fails(1);
        assert!(home.of(name).join("config.yaml").exists(), "{name}");
    }
    assert!(!removed.join("coder").exists() && removed.join("ghost").exists());
}

#[test]
fn an_interrupted_rename_is_finished_by_the_next_command() {
    let home = Home::new();
    home.profile("coder");
    run(&home, &["profile", "alias", "coder"]).ok();
    run(&home, &["profile", "use", "coder"]).ok();
    // As if the command had been killed right after the directory was renamed.
    fs_err::write(home.root().join("profiles/.hermes-rename-coder"), "coder\ndev\n").unwrap();
    fs_err::rename(home.of("coder"), home.of("dev")).unwrap();
    let ran = run(&home, &["profile", "list"]);
    assert!(
        ran.err.contains("the rename of 'coder' to 'dev' had been interrupted and was finished"),
        "{ran:?}"
    );
    assert!(ran.out.contains("◆dev"), "{ran:?}");
    assert!(home.user().join(".local/bin/dev").exists() && !home.user().join(".local/bin/coder").exists());
    assert!(!home.root().join("profiles/.hermes-rename-coder").exists());
}
