//! Which profile a command is about, as somebody types it.

use hermes_tests::Home;
use hermes_tests::command::{run, transcript};

fn home() -> Home {
    let home = Home::new();
    home.profile("coder").profile("ops");
    home
}

/// The profile that a command is about.
fn selected(home: &Home, args: &[&str]) -> String {
    let out = run(home, &[args, &["profile", "--json"]].concat()).ok();
    serde_json::from_str::<serde_json::Value>(&out).unwrap()["name"].as_str().unwrap().to_owned()
}

#[test]
fn every_spelling_selects() {
    let home = home();
    for spelling in [
        &["-p", "coder"][..],
        &["-pcoder"],
        &["-p=coder"],
        &["--profile", "Coder"],
        &["--profile=CODER"],
        &["-p", " coder "],
    ] {
        assert_eq!(selected(&home, spelling), "coder", "{spelling:?}");
        let after = run(&home, &[&["profile", "--json"], spelling].concat()).ok();
        assert!(after.contains("\"coder\""), "{spelling:?}");
    }
    assert_eq!(selected(&home, &["-p", "coder", "--profile=coder"]), "coder");
    run(&home, &["profile", "use", "ops"]).ok();
    assert_eq!(selected(&home, &[]), "ops");
    assert_eq!(selected(&home, &["-p", "default"]), "default");
}

#[test]
fn what_cannot_be_selected_is_refused() {
    let home = home();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "-p nope profile",
            "-p bad.name profile",
            "--profile=bad.name profile",
            "-p main profile",
            "profile -p",
            "-p --json profile",
            "-p coder profile -p ops",
            "gateway run -vp coder -p ops",
        ]
    ));
}

#[test]
fn a_value_that_looks_like_the_flag_is_a_value() {
    let home = home();
    // The description is `-p=x`, the profile is coder.
    run(&home, &["profile", "describe", "coder", "--text=-p=x"]).ok();
    assert!(run(&home, &["profile", "show", "coder", "--json"]).ok().contains("-p=x"));
    assert!(run(&home, &["profile", "show", "--", "-p", "coder"]).fails(2).contains("unexpected argument"));
}

#[test]
fn a_sticky_profile_that_is_gone_is_named_and_can_be_left() {
    let home = home();
    fs_err::write(home.root().join("active_profile"), "gone\n").unwrap();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "profile alias coder --name c1",
            "gateway stop",
            "profile use default",
            "profile alias coder --name c1",
        ]
    ));
    fs_err::write(home.root().join("active_profile"), "gone\n").unwrap();
    for args in [
        &["profile"][..],
        &["profile", "list"],
        &["profile", "show", "coder"],
        &["profile", "create", "new", "--no-alias"],
        &["profile", "delete", "new", "--yes"],
        &["--help"],
    ] {
        let ran = run(&home, args);
        assert_eq!(ran.code, Some(0), "{ran:#?}");
        assert!(ran.err.contains("the sticky profile 'gone' does not exist"), "{args:?}: {ran:#?}");
    }
    assert!(run(&home, &["status"]).out.contains("the sticky profile 'gone' does not exist"));
    assert!(run(&home, &["doctor"]).out.contains("the sticky profile 'gone' does not exist"));
}

#[test]
fn a_start_of_the_gateway_does_not_follow_the_sticky_profile() {
    let home = home();
    home.write("coder", "config.yaml", "model: [\n");
    run(&home, &["profile", "use", "coder"]).ok();
    let ran = run(&home, &["gateway", "check"]);
    assert!(ran.err.contains("this is about the gateway of all profiles; `-p coder`"), "{ran:#?}");
    let own = run(&home, &["gateway", "check", "-p", "coder"]);
    assert!(own.code != Some(0) && !own.err.contains("sticky"), "{own:#?}");
}
