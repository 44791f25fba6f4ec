//! What a copy of a profile has, what it has not, and that the command says so.

use hermes_tests::Home;
use hermes_tests::command::{masked, run};
use serde_json::Value;

/// A profile with everything that a copy decides about.
fn source() -> Home {
    let home = Home::new();
    home.profile("coder");
    for (name, text) in [
        (
            "config.yaml",
            "_config_version: 51\n# mine\nmodel: {default: a/b, provider: x} # best\nplatforms:\n  telegram: {token: t}\n  \
             homeassistant: {enabled: false}\nprofile_routes: []\ngateway:\n  multiplex_profiles: true\n  brand_new_key: 1\n",
        ),
        (
            ".env",
            "# keys\nOPENAI_API_KEY=k\nTELEGRAM_BOT_TOKEN=t\nTELEGRAM_ALLOWED_USERS=7\nAPI_SERVER_KEY=0123456789abcdef\n\
             WEBHOOK_SECRET=s\nGATEWAY_ALLOWED_USERS=7\nHASS_TOKEN=h\n",
        ),
        ("SOUL.md", "soul"),
        ("skills/deep/er/SKILL.md", "x"),
        ("memories/MEMORY.md", "remember"),
        ("memories/USER.md", "user"),
        ("memories/notes.md", "note"),
        ("workspace/notes", "n"),
        ("cron/jobs.json", "{\"jobs\": [{\"name\": \"daily\"}]}"),
        ("sessions/sessions.json", "{}"),
        ("pairing/telegram.json", "{}"),
        ("state.db", "x"),
        ("backups/x", "x"),
        (
            "auth.json",
            r#"{"providers": {"openai-codex": {"tokens": {"refresh_token": "r", "access_token": "a"}}, "p": {"api_key": "k"}}}"#,
        ),
    ] {
        home.write("coder", name, text);
    }
    home
}

/// Both kinds of a copy, with what they say.
#[test]
fn what_is_left_behind_is_named() {
    let home = source();
    for kind in ["--clone", "--clone-all"] {
        let name = kind.trim_start_matches('-').replace('-', "_");
        let ran = run(&home, &["-p", "coder", "profile", "create", &name, kind, "--no-alias"]).ok();
        insta::assert_snapshot!(name.as_str(), masked(&home, &ran));
        let config = home.read(&name, "config.yaml").unwrap();
        assert_eq!(
            config,
            "_config_version: 51\n# mine\nmodel: {default: a/b, provider: x} # best\ngateway:\n  brand_new_key: 1\nplatforms:\n  \
             homeassistant:\n    enabled: false\n"
        );
        assert_eq!(home.read(&name, ".env").unwrap(), "# keys\nOPENAI_API_KEY=k\nHASS_TOKEN=h\n");
        for kept in ["SOUL.md", "skills/deep/er/SKILL.md", "memories/MEMORY.md", "memories/USER.md"] {
            assert_eq!(home.read(&name, kept), home.read("coder", kept), "{kept}");
        }
        for gone in
            ["state.db", "cron/jobs.json", "sessions/sessions.json", "pairing/telegram.json", "backups/x"]
        {
            assert!(home.read(&name, gone).is_none(), "{name}: {gone}");
        }
        assert!(home.of(&name).join("cron").is_dir());
        let whole = kind == "--clone-all";
        assert_eq!(home.read(&name, "workspace/notes").is_some(), whole);
        assert_eq!(home.read(&name, "memories/notes.md").is_some(), whole);
        let auth = home.read(&name, "auth.json");
        assert_eq!(
            auth.is_some_and(|auth| auth.contains("api_key") && !auth.contains("refresh_token")),
            whole
        );
    }
    // The source is as it was.
    assert!(home.read("coder", "auth.json").unwrap().contains("refresh_token"));
    assert!(home.read("coder", ".env").unwrap().contains("TELEGRAM_BOT_TOKEN=t"));
}

/// With its channels a copy has the files of its bots too, and still no jobs and no sign-in that only one can renew.
#[test]
fn channels_come_along_when_they_are_asked_for() {
    let home = source();
    let ran = run(
        &home,
        &["profile", "create", "twin", "--clone-all", "--clone-from", "coder", "--clone-channels", "--json"],
    )
    .ok();
    let value: Value = serde_json::from_str(&ran).unwrap();
    assert_eq!(value["channels_left_behind"], serde_json::json!([]));
    assert_eq!(value["not_copied"], serde_json::json!(["backups", "cron", "sessions", "state.db"]));
    assert!(
        value["channels_shared"]
            .as_array()
            .unwrap()
            .iter()
            .any(|one| one["variable"] == "TELEGRAM_BOT_TOKEN")
    );
    assert_eq!(home.read("twin", "config.yaml"), home.read("coder", "config.yaml"));
    assert_eq!(home.read("twin", ".env"), home.read("coder", ".env"));
    assert!(home.read("twin", "pairing/telegram.json").is_some());
    assert!(home.read("twin", "cron/jobs.json").is_none());
    assert!(!home.read("twin", "auth.json").unwrap().contains("refresh_token"));
}

/// A gateway of all profiles that does not say whom it serves, a Python program's for instance, may have the source's bots.
#[test]
fn channels_are_not_copied_while_nobody_knows_who_has_them() {
    use nix::fcntl::{Flock, FlockArg};
    let home = source();
    let lock = fs_err::File::create(home.root().join("gateway.lock")).unwrap().into_file();
    let held = Flock::lock(lock, FlockArg::LockExclusiveNonblock).unwrap();
    let args = ["profile", "create", "twin", "--clone-from", "coder", "--no-alias", "--clone-channels"];
    let error = run(&home, &args).fails(1);
    assert!(
        error.contains("does not say whether it serves that one") && error.contains("gateway stop"),
        "{error}"
    );
    assert!(!home.of("twin").exists());
    drop(held);
    run(&home, &args).ok();
    assert!(home.read("twin", ".env").unwrap().contains("TELEGRAM_BOT_TOKEN"));
}

/// What nobody can read may hold a token: it is passed on to a copy only with the channels.
#[test]
fn a_configuration_that_cannot_be_read_is_copied_with_its_channels_or_not_at_all() {
    let home = source();
    let broken = "telegram: {token: never-twice}\nmodel: [\n";
    home.write("coder", "config.yaml", broken);
    for kind in ["--clone", "--clone-all"] {
        let error = run(&home, &["-p", "coder", "profile", "create", "copy", kind, "--no-alias"]).fails(1);
        let place = format!("copy of `{}`: line 3, column 1: ", home.of("coder").join("config.yaml"));
        assert!(error.contains(&place) && error.contains("--clone-channels"), "{error}");
        assert!(!error.contains("never-twice") && !home.of("copy").exists(), "{error}");
    }
    run(&home, &["-p", "coder", "profile", "create", "copy", "--clone", "--clone-channels", "--no-alias"])
        .ok();
    assert_eq!(home.read("copy", "config.yaml").as_deref(), Some(broken));
}

/// A file behind a link becomes a file of the copy's own: it never writes through to the source.
#[test]
fn a_linked_file_becomes_the_copys_own() {
    let home = source();
    for name in [".env", "config.yaml"] {
        let (real, link) = (home.root().join(format!("shared{name}")), home.of("coder").join(name));
        fs_err::rename(&link, &real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
    }
    for kind in ["--clone", "--clone-all"] {
        let name = kind.trim_start_matches('-').replace('-', "_");
        run(&home, &["profile", "create", &name, kind, "--clone-from", "coder", "--no-alias"]).ok();
        run(&home, &["-p", &name, "config", "set", "model.default", "other"]).ok();
        for file in [".env", "config.yaml"] {
            assert!(fs_err::symlink_metadata(home.of(&name).join(file)).unwrap().is_file(), "{name}: {file}");
        }
    }
    let shared = fs_err::read_to_string(home.root().join("sharedconfig.yaml")).unwrap();
    assert!(shared.contains("a/b") && shared.contains("telegram"), "{shared}");
}

/// What is said of a copy is said in a file of its own, also where the source's stands behind a link; and no two are shown by one name.
#[test]
fn a_copy_is_described_apart_from_its_source() {
    let home = source();
    let text = "display_name: Boss # mine\ndescription: writes code\n";
    let real = home.root().join("shared-profile.yaml");
    fs_err::write(&real, text).unwrap();
    std::os::unix::fs::symlink(&real, home.of("coder").join("profile.yaml")).unwrap();
    run(&home, &["-p", "coder", "profile", "create", "same", "--clone-all", "--no-alias"]).ok();
    let args =
        ["-p", "coder", "profile", "create", "other", "--clone-all", "--no-alias", "--description", "x"];
    run(&home, &args).ok();
    assert_eq!(fs_err::read_to_string(&real).unwrap(), text, "the source's is as it was");
    assert_eq!(home.read("same", "profile.yaml").as_deref(), Some("description: writes code\n"));
    let other = home.read("other", "profile.yaml").unwrap();
    assert!(other.contains("description: x\n") && !other.contains("Boss"), "{other}");
}

/// The version of the configuration is another program's: it is never written, whatever is changed.
#[test]
fn the_version_of_the_configuration_is_never_touched() {
    let home = source();
    run(&home, &["-p", "coder", "config", "set", "agent.max_turns", "unlimited"]).ok();
    run(&home, &["-p", "coder", "config", "set", "gateway.loop_watchdog", "false"]).ok();
    run(&home, &["-p", "coder", "config", "unset", "profile_routes"]).ok();
    let text = home.read("coder", "config.yaml").unwrap();
    assert!(
        text.starts_with("_config_version: 51\n# mine\n") && text.contains("  brand_new_key: 1\n"),
        "{text}"
    );
    assert!(text.contains("max_turns: unlimited\n") && text.contains("loop_watchdog: false\n"), "{text}");
    run(&home, &["profile", "create", "fresh", "--no-alias"]).ok();
    run(&home, &["-p", "fresh", "config", "set", "model.default", "m"]).ok();
    run(&home, &["-p", "fresh", "setup", "--set", "model.provider=openrouter"]);
    assert!(!home.read("fresh", "config.yaml").unwrap().contains("_config_version"));
}

/// `default` cannot have another name; it can be shown by one.
#[test]
fn the_default_profile_is_shown_by_another_name() {
    let home = Home::new();
    home.write("default", "profile.yaml", "# mine\ndescription: root # why\n");
    let text = run(&home, &["profile", "rename", "default", " 小助手: one "]).ok();
    assert!(text.starts_with("✓ default is shown as '小助手: one'\n"), "{text}");
    assert_eq!(
        home.read("default", "profile.yaml").unwrap(),
        "# mine\ndescription: root # why\ndisplay_name: '小助手: one'\n"
    );
    assert!(run(&home, &["profile", "list"]).ok().contains("◆default “小助手: one”"));
    assert!(run(&home, &["profile", "show", "default"]).ok().contains("Shown as: 小助手: one\n"));
    let list: Value = serde_json::from_str(&run(&home, &["profile", "list", "--json"]).ok()).unwrap();
    assert_eq!(
        (&list["profiles"][0]["name"], &list["profiles"][0]["display_name"]),
        (&"default".into(), &"小助手: one".into())
    );
    for wrong in ["", "  ", "a\nb", &"x".repeat(65)] {
        let error = run(&home, &["profile", "rename", "default", wrong]).fails(1);
        assert!(error.contains("one line of 1 to 64 characters"), "{error}");
    }
    run(&home, &["profile", "rename", "default", &"x".repeat(64), "--json"]).ok();
    run(&home, &["profile", "rename", "default", "Default"]).fails(1);
    assert!(home.read("default", "profile.yaml").unwrap().contains(&"x".repeat(64)));
}
