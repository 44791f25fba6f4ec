//! What holds for every input: a configuration of any bytes is judged without a panic, and no problem shows a value.

use hermes_config::platform::Registry;
use hermes_config::{Input, load, of_section};
use hermes_wire::latest::{BoundListener, Role, Severity};
use hermes_wire::{ProfileName, RootHome};
use proptest::prelude::*;

#[path = "../../../worker/src/platform/api_server/settings.rs"]
mod api_server;
#[path = "../../../worker/src/platform/webhook/settings.rs"]
mod webhook;

static REGISTRY: Registry = Registry::new(&[&webhook::DECLARATION, &api_server::DECLARATION]);

/// Text that looks like YAML more often than noise does.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "platforms",
        "webhook",
        "gateway",
        "extra",
        "routes",
        "a",
        "enabled",
        "true",
        "'",
        "\"",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        "{",
        "}",
        "[",
        "]",
        ", ",
        "&x ",
        "*x",
        "<<",
        "|",
        ">",
        "#",
        "!t ",
        "!!str ",
        "? ",
        "---\n",
        "\t",
        "${A}",
        "${",
        "~",
        "\u{feff}",
        "\u{0}",
        "é",
        "%YAML 1.2\n",
        "@",
        "`",
        "\\",
        "-1",
        "1e9",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn check_load(role: Role, yaml: &[u8], env: &[u8]) {
    let name: ProfileName = "coder".parse().expect("a valid name");
    let home = RootHome::new("/h").profile(&name);
    let listeners =
        [BoundListener { address: "127.0.0.1:1".into(), host: None, platforms: vec!["webhook".into()] }];
    let input = Input {
        registry: &REGISTRY,
        profile: &name,
        role,
        multiplex: None,
        listeners: &listeners,
        home: &home,
        yaml: Some(yaml),
        env: Some(env),
    };
    let loaded = load(input);
    assert_eq!(loaded.config.is_none(), loaded.problems.iter().any(|p| p.severity == Severity::Profile));
    assert!(loaded.problems.windows(2).all(|pair| pair[0].severity >= pair[1].severity));
    assert!(
        loaded.problems.iter().all(|p| p.line != Some(0) && p.column != Some(0) && !p.message.is_empty())
    );
    assert_eq!(load(input), loaded);
    let (yaml, env) = (("/h/config.yaml".into(), yaml), ("/h/.env".into(), env));
    let (routes, _) = of_section(&REGISTRY, "webhook", &name, yaml, env, webhook::given);
    assert!(routes.iter().flatten().all(|(_, route)| route.profile.as_deref() == Some("coder")));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn configuration_never_panics_on_text(yaml in yamlish(), env in "(\\PC{0,20}\n|[A-Z_]{1,8}=\\PC{0,12}\n){0,6}") {
        for role in [Role::Primary, Role::Secondary] {
            check_load(role, yaml.as_bytes(), env.as_bytes());
        }
    }

    #[test]
    fn configuration_never_panics_on_bytes(yaml in prop::collection::vec(any::<u8>(), 0..200),
                                           env in prop::collection::vec(any::<u8>(), 0..200)) {
        check_load(Role::Primary, &yaml, &env);
    }

    #[test]
    fn a_value_never_shows_in_a_problem(key in prop::sample::select(vec![
        "model", "agent", "gateway", "platforms", "logging", "session_reset",
    ]), field in "[a-z_]{1,10}") {
        let secret = "hunter2hunter2";
        for yaml in [
            format!("{key}: {{{field}: {secret}}}"), format!("{key}: {secret}"), format!("{key}: [{secret}]"),
            format!("{key}: {{{field}: [{secret}]}}"), format!("{key}: \"{secret}"), format!("{key}: @{secret}"),
            format!("{key}: *{secret}"), format!("{key}: !{secret} x"), format!("{key}: {{{field}: {secret}"),
        ] {
            let name = ProfileName::default_profile();
            let home = RootHome::new("/h").profile(&name);
            let env = format!("{secret}\nA=\"{secret}\n1{secret}=x\n");
            let loaded = load(Input {
                registry: &REGISTRY,
profile: &name, role: Role::Primary, multiplex: None, listeners: &[], home: &home,
                yaml: Some(yaml.as_bytes()), env: Some(env.as_bytes()),
            });
            let shown = format!("{:?}", loaded.problems);
            prop_assert!(!shown.contains(secret), "{} -> {}", yaml, shown);
        }
    }
}
