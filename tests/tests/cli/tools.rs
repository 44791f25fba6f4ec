//! `hermes tools`: what is shown, and what becomes of `config.yaml`.

use hermes_tests::Home;
use hermes_tests::command::{Ran, run};
use serde_json::Value;

const CONFIG: &str = "# mine\nagent: {engine: echo}\ntoolsets:\n  - hermes-cli # all of them\nplatforms:\n  webhook: {enabled: true}\n";

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).unwrap()
}

fn state<'a>(shown: &'a Value, group: &str, platform: &str) -> (bool, &'a str) {
    let group = shown["toolsets"].as_array().unwrap().iter().find(|entry| entry["name"] == group).unwrap();
    let at = &group["platforms"][platform];
    (at["enabled"].as_bool().unwrap(), at["reason"].as_str().unwrap_or_default())
}

/// Groups are shown with who is offered them and why not; turning one on or off edits its list and keeps everything else.
#[test]
fn groups_of_tools_are_shown_and_turned_on_and_off() {
    let home = Home::with_config(CONFIG);
    let shown = json(run(&home, &["tools", "--json"]));
    assert_eq!(shown["schema"], 1);
    assert_eq!(state(&shown, "web", "api_server"), (true, ""));
    assert_eq!(state(&shown, "clarify", "api_server"), (false, "a client of the API cannot be asked"));
    assert!(state(&shown, "web", "webhook").1.contains("platform_toolsets.webhook"));
    let text = run(&home, &["tools"]).ok();
    assert!(text.starts_with("TOOLSET") && text.contains("web_extract"), "{text}");
    let one = run(&home, &["tools", "list", "--platform", "webhook"]).ok();
    assert!(one.contains("off: anybody may write to a webhook"), "{one}");

    let said = run(&home, &["tools", "disable", "web"]).ok();
    assert!(said.contains("agent.disabled_toolsets: [web]"), "{said}");
    let refused = run(&home, &["tools", "enable", "web", "--platform", "telegram"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("hermes tools enable web"), "{}", refused.err);
    run(&home, &["tools", "enable", "web"]).ok();
    run(&home, &["tools", "enable", "web", "--platform", "webhook"]).ok();
    run(&home, &["tools", "disable", "file", "--platform", "telegram"]).ok();
    let shown = json(run(&home, &["tools", "list", "--json"]));
    assert!(state(&shown, "web", "webhook").0 && state(&shown, "clarify", "webhook").0);
    assert!(!state(&shown, "file", "telegram").0 && state(&shown, "web", "telegram").0);
    assert!(run(&home, &["tools", "enable", "web", "--platform", "webhook"]).ok().contains("already"));
    let config = home.read("default", "config.yaml").unwrap();
    assert!(config.starts_with("# mine\n") && config.contains("- hermes-cli # all of them\n"), "{config}");

    for (args, hint) in [
        (&["tools", "enable", "nonsense"][..], "delegation"),
        (&["tools", "list", "--platform", "nonsense"], "hermes tools"),
    ] {
        let refused = run(&home, args);
        assert_eq!(refused.code, Some(1), "{args:?}");
        assert!(refused.err.contains(hint), "{}", refused.err);
    }
}
