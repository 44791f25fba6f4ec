//! `hermes profile alias`: commands that stand for `hermes -p NAME`, and the files it must not touch.

use std::os::unix::fs::PermissionsExt as _;

use hermes_tests::Home;
use hermes_tests::command::{masked, run, transcript};

fn home() -> Home {
    let home = Home::new();
    home.profile("coder").profile("ops");
    home
}

fn bin(home: &Home) -> camino::Utf8PathBuf {
    let bin = home.user().join(".local/bin");
    fs_err::create_dir_all(&bin).unwrap();
    bin
}

#[test]
fn an_alias_is_made_used_and_removed() {
    let home = home();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "profile alias coder",
            "profile alias coder",
            "profile alias coder --name c1",
            "profile alias ops --name c1",
            "profile alias coder --remove --name c1",
            "profile alias coder --name c2",
            "profile alias coder --remove",
            "profile alias coder --remove",
            "profile alias ops --remove --name c1",
            "profile alias ops --remove --name mine",
        ]
    ));
}

#[test]
fn names_that_cannot_be_are_refused() {
    let home = home();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "profile alias nope",
            "profile alias nope --remove",
            "profile alias Coder",
            "profile alias coder --name Foo",
            "profile alias default",
            "profile alias coder --name default",
            "profile alias coder --name status",
            "profile alias coder --name worker",
            "profile alias coder --name kanban",
            "profile alias coder --name root",
            "profile alias coder --name ../x",
            "profile alias default --name d",
        ]
    ));
    // The place of `ls` differs from system to system.
    let err = run(&home, &["profile", "alias", "coder", "--name", "ls"]).fails(1);
    assert!(err.starts_with("Error: 'ls' conflicts with an existing command (/"), "{err}");
}

#[test]
fn no_file_of_the_user_is_touched() {
    let home = home();
    let bin = bin(&home);
    for (name, text, mode) in [
        ("plain", "notes", 0o644),
        ("tool", "#!/bin/sh\necho mine\n", 0o755),
        ("daily", "#!/bin/sh\nhermes -p coder status\nhermes -p ops status\n", 0o755),
    ] {
        let path = bin.join(name);
        fs_err::write(&path, text).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let err = run(&home, &["profile", "alias", "coder", "--name", name]).fails(1);
        assert!(err.contains("conflicts with an existing"), "{err}");
        // Wires 15: what is there and stays there is a failure.
        let err = run(&home, &["profile", "alias", "coder", "--remove", "--name", name]).fails(1);
        assert!(
            err.contains(&format!("cannot remove alias '{name}'")) && err.contains("is not one of ours"),
            "{err}"
        );
        assert_eq!(fs_err::read_to_string(&path).unwrap(), text);
    }
    let target = home.user().join("precious");
    fs_err::write(&target, "precious").unwrap();
    std::os::unix::fs::symlink(&target, bin.join("link")).unwrap();
    std::os::unix::fs::symlink("/nowhere", bin.join("dangling")).unwrap();
    for name in ["link", "dangling"] {
        run(&home, &["profile", "alias", "coder", "--name", name]).fails(1);
        assert!(bin.join(name).is_symlink());
    }
    assert_eq!(fs_err::read_to_string(&target).unwrap(), "precious");
    assert_eq!(fs_err::read_dir(&bin).unwrap().count(), 5, "nothing temporary is left");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the alias is tried as a shell runs it")]
fn an_alias_runs_the_program_for_its_profile() {
    let home = home();
    run(&home, &["profile", "alias", "coder", "--name", "c1"]).ok();
    let path = bin(&home).join("c1");
    insta::assert_snapshot!(masked(&home, &fs_err::read_to_string(&path).unwrap()), @r#"
    #!/bin/sh
    # hermes-profile-alias: coder
    HERMES_HOME=<root>
    export HERMES_HOME
    exec <hermes> -p coder "$@"
    "#);
    let output = std::process::Command::new(&path)
        .args(["gateway", "check", "--json"])
        .env_clear()
        .env("HOME", home.user())
        .env("XDG_RUNTIME_DIR", home.runtime())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn the_prefix_of_names_is_configured_once() {
    let home = home();
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}profiles: {{alias_prefix: hermes-}}\n"));
    insta::assert_snapshot!(transcript(&home, &["profile alias coder"]));
}

#[test]
fn an_alias_of_a_profile_that_is_gone_can_be_removed() {
    let home = home();
    run(&home, &["profile", "alias", "ops"]).ok();
    fs_err::remove_dir_all(home.of("ops")).unwrap();
    let doctor = run(&home, &["doctor"]).out;
    assert!(doctor.contains("Orphan alias: ops → profile 'ops' no longer exists"), "{doctor}");
    insta::assert_snapshot!(transcript(&home, &["profile alias ops", "profile alias ops --remove"]));
}
