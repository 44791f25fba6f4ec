//! The multiplex flag: where it is read, what beats what, what it turns on.

use hermes_tests::gateway::{both, run, status};
use hermes_tests::{Gateway, Home, home, wait};

fn mode_of(home: &Home, env: &[(&str, &str)]) -> (String, String) {
    let mut gateway = Gateway::spawn(home, &[], env);
    gateway.wait_settled();
    let mode = gateway.status().gateway.mode.unwrap();
    gateway.stop();
    (mode, gateway.output())
}

fn with_flag(lines: &str) -> Home {
    let config = Home::config("true", "").replace("gateway:\n  multiplex_profiles: true\n", lines);
    Home::with_config(&config)
}

#[test]
fn c01_flag_absent_one_profile_no_prefix_no_extra_process() {
    let home = with_flag("");
    home.profile("coder");
    let gateway = Gateway::start(&home);
    let status = gateway.status();
    assert_eq!(status.gateway.mode.as_deref(), Some("single"));
    assert_eq!(
        status.profiles.iter().filter(|p| p.pid.is_some()).map(|p| p.name.as_str()).collect::<Vec<_>>(),
        ["default"]
    );
    assert_eq!(gateway.api("GET", "/p/coder/health", &[], b"").status, 404);
    assert_eq!(gateway.api("GET", "/p/default/health", &[], b"").status, 404);
    assert_eq!(gateway.get("/v1/models", home::DEFAULT_KEY).status, 200);
    assert!(home.read("coder", "runtime_status.json").is_none());
    assert!(home.read("coder", "state.db").is_none());
}

#[test]
fn c02_nested_flag_turns_it_on() {
    let home = Home::new();
    assert_eq!(mode_of(&home, &[]).0, "multiplex");
}

#[test]
fn c03_top_level_wins_over_nested_and_null_hides_nothing() {
    for (lines, mode) in [
        ("multiplex_profiles: true\n", "multiplex"),
        ("multiplex_profiles: false\ngateway: {multiplex_profiles: true}\n", "single"),
        ("multiplex_profiles: true\ngateway: {multiplex_profiles: false}\n", "multiplex"),
        ("multiplex_profiles:\ngateway: {multiplex_profiles: true}\n", "multiplex"),
    ] {
        assert_eq!(mode_of(&with_flag(lines), &[]).0, mode, "{lines}");
    }
}

#[test]
fn c05_spellings_of_the_flag() {
    for (text, mode) in [
        ("yes", "multiplex"),
        ("'on'", "multiplex"),
        ("1", "multiplex"),
        ("TRUE", "multiplex"),
        ("no", "single"),
        ("'off'", "single"),
        ("0", "single"),
        ("'False'", "single"),
    ] {
        let home = with_flag(&format!("gateway: {{multiplex_profiles: {text}}}\n"));
        assert_eq!(mode_of(&home, &[]).0, mode, "{text}");
    }
    let home = with_flag("gateway:\n  multiplex_profiles: maybe\n");
    let output = run(&home, &["gateway", "run"]);
    assert_eq!(output.status.code(), Some(78));
    let text = both(&output);
    assert!(text.contains("multiplex_profiles") && text.contains("config.yaml:3"), "{text}");
}

#[test]
fn c06_environment_beats_configuration_and_blank_changes_nothing() {
    assert_eq!(mode_of(&Home::new(), &[("GATEWAY_MULTIPLEX_PROFILES", "off")]).0, "single");
    assert_eq!(
        mode_of(&with_flag("gateway: {multiplex_profiles: false}\n"), &[("GATEWAY_MULTIPLEX_PROFILES", "1")])
            .0,
        "multiplex"
    );
    assert_eq!(mode_of(&Home::new(), &[("GATEWAY_MULTIPLEX_PROFILES", " ")]).0, "multiplex");
}

#[test]
fn c07_unknown_environment_token_is_one_warning() {
    let home = Home::new();
    home.profile("coder").profile("ops");
    let (mode, output) = mode_of(&home, &[("GATEWAY_MULTIPLEX_PROFILES", "maybe")]);
    assert_eq!(mode, "multiplex");
    let warning = "Ignoring unrecognized GATEWAY_MULTIPLEX_PROFILES='maybe' (expected one of ['1', 'on', 'true', 'yes'] or ['0', 'false', 'no', 'off']); falling back to config.yaml.";
    assert_eq!(output.matches(warning).count(), 1, "{output}");
}

#[test]
fn c08_flag_in_a_secondary_is_ignored_with_one_warning() {
    let home = Home::new();
    home.profile_with("coder", "agent: {engine: echo}\ngateway: {multiplex_profiles: false}\n", "");
    let gateway = Gateway::start(&home);
    let status = gateway.status();
    assert_eq!(status.gateway.mode.as_deref(), Some("multiplex"));
    let coder = gateway.profile("coder");
    let warnings: Vec<_> = coder
        .problems
        .iter()
        .filter(|p| {
            p.message.contains("multiplex_profiles")
                || p.key.as_deref().is_some_and(|k| k.contains("multiplex_profiles"))
        })
        .collect();
    assert_eq!(warnings.len(), 1, "{:?}", coder.problems);
    assert!(warnings[0].file.ends_with("profiles/coder/config.yaml"));
    assert!(coder.ready);
}

#[test]
fn c83_flag_turned_off_leaves_no_stale_served_list() {
    let home = Home::new();
    home.profile("coder");
    {
        let mut gateway = Gateway::start(&home);
        wait::until_true("the list", || {
            let text = home.read("default", "gateway_state.json");
            text.is_some_and(|text| text.contains(r#""served_profiles":["default","coder"]"#))
        });
        assert_eq!(gateway.stop(), Some(0));
    }
    home.write("default", "config.yaml", &Home::config("false", ""));
    let gateway = Gateway::start(&home);
    wait::until_true("the list of one", || {
        let text = home.read("default", "gateway_state.json");
        text.is_some_and(|text| text.contains(r#""served_profiles":["default"]"#) && !text.contains("coder"))
    });
    assert_eq!(status(&home).gateway.profiles_desired, 1);
    drop(gateway);
}
