//! Which directories are profiles.

use hermes_tests::{Gateway, Home};

fn served(gateway: &Gateway<'_>) -> Vec<String> {
    gateway.status().profiles.into_iter().filter(|p| p.pid.is_some()).map(|p| p.name).collect()
}

#[test]
fn c09_default_first_then_bytewise() {
    let home = Home::new();
    for name in ["b", "a_", "a-", "a", "0", "z"] {
        home.profile(name);
    }
    let gateway = Gateway::start(&home);
    assert_eq!(served(&gateway), ["default", "0", "a", "a-", "a_", "b", "z"]);
}

#[test]
fn c10_c11_c12_c13_what_is_not_served() {
    let home = Home::new();
    home.profile("coder");
    for name in ["UPPER", "a.b", &"x".repeat(65), "default", "main"] {
        home.write(&format!("{name}/."), "config.yaml", "agent: {engine: echo}\n");
    }
    fs_err::create_dir(home.of("bare")).unwrap();
    fs_err::write(home.of("file"), "x").unwrap();
    let outside = home.user().join("outside");
    fs_err::create_dir(&outside).unwrap();
    fs_err::write(outside.join("config.yaml"), "agent: {engine: echo}\n").unwrap();
    fs_err::os::unix::fs::symlink(&outside, home.of("linked")).unwrap();
    let gateway = Gateway::start(&home);
    assert_eq!(served(&gateway), ["default", "coder"]);
    for name in ["UPPER", "a.b", "bare", "file", "linked", "main"] {
        let response = gateway.api("GET", &format!("/p/{name}/health"), &[], b"");
        assert_eq!(
            (response.status, response.text().as_str()),
            (404, r#"{"error": "Unknown or unconfigured profile"}"#),
            "{name}"
        );
    }
    // `default` under profiles/ is not the default profile, and nothing was put there.
    assert!(!home.root().join("profiles/default/state.db").exists());
    assert!(!home.root().join("profiles/main/state.db").exists());
}

#[test]
fn c14_allowlist() {
    for (line, names) in [
        ("", vec!["default", "coder", "ops"]),
        ("  multiplex_profile_allowlist: []\n", vec!["default"]),
        ("  multiplex_profile_allowlist: [ops]\n", vec!["default", "ops"]),
        ("  multiplex_profile_allowlist: ops\n", vec!["default"]),
    ] {
        let home = Home::with_config(&Home::config("true", line));
        home.profile("coder").profile("ops");
        let mut gateway = Gateway::start(&home);
        assert_eq!(served(&gateway), names, "{line}");
        if line.contains(": ops") {
            let problems = gateway.profile("default").problems;
            assert!(
                problems.iter().any(|p| p.key.as_deref().is_some_and(|k| k.contains("allowlist"))),
                "{problems:?}"
            );
        }
        gateway.stop();
    }
}
