//! Keys of releases after 0.19.0 that decide who is served.

use super::*;

/// Off where nothing is said, whoever wrote the file; that a newer release may have served all profiles is said where it can matter.
#[test]
fn a_file_of_a_newer_release_is_off_unless_it_says_on() {
    for (yaml, expected) in [
        ("_config_version: 44\n", vec!["multiplex_default"]),
        ("_config_version: 44\ngateway: {multiplex_profiles: false}\n", vec![]),
        ("_config_version: 44\ngateway: {multiplex_profiles: true}\n", vec![]),
        ("_config_version: 33\n", vec![]),
        (
            "_config_version: 43\nmultiplex_profiles: true\ngateway: {multiplex_profile_allowlist: [ops]}\n",
            vec!["allowlist_newer"],
        ),
        (
            "_config_version: 33\nmultiplex_profiles: true\ngateway: {multiplex_profile_allowlist: [ops]}\n",
            vec![],
        ),
    ] {
        let loaded = primary(yaml, "");
        let found: Vec<_> = codes(&loaded)
            .into_iter()
            .filter(|code| code.contains("multiplex") || code.contains("allow"))
            .collect();
        assert_eq!(found, expected, "{yaml}");
        assert_eq!(gateway(loaded).multiplex, yaml.contains("profiles: true"), "{yaml}");
    }
    assert!(
        codes(&primary("_config_version: 44\n", "GATEWAY_MULTIPLEX_PROFILES=off"))
            .iter()
            .all(|c| *c != "multiplex_default")
    );
}

/// Only `gateway.standalone` counts, only beside the default profile, and then nothing else of the file does.
#[test]
fn one_that_stands_alone_says_nothing_else() {
    let own = "platforms: {webhook: {enabled: true, extra: {port: 9000}}}\n";
    for (value, stands) in [
        ("true", true),
        ("'Yes'", true),
        ("1", true),
        ("[x]", true),
        ("false", false),
        ("", false),
        ("maybe", false),
    ] {
        let loaded = secondary(&format!("{own}gateway: {{standalone: {value}}}\n"), "");
        assert_eq!(loaded.problems.iter().any(Problem::is_standalone), stands, "{value}");
        assert_eq!(
            loaded.problems.iter().all(|p| p.severity == Severity::Warning),
            stands,
            "{value}: {:?}",
            loaded.problems
        );
        assert!(!stands || config(loaded).claims.is_empty());
    }
    assert!(!secondary("standalone: true\n", "").problems.iter().any(Problem::is_standalone));
    let alone = load_as("coder", Role::Primary, None, "gateway: {standalone: true}\n", "");
    assert!(!alone.problems.iter().any(Problem::is_standalone));
    assert!(codes(&primary("gateway: {standalone: true}\n", "")).contains(&"ignored_key"));
}
