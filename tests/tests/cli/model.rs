//! `hermes model`: what it shows, lists and sets; keys are named and never shown.

use hermes_tests::Home;
use hermes_tests::command::run;
use hermes_tests::provider::{Provider, Reply};
use serde_json::{Value, json};

const KEY: &str = "sk-model-key-0123456789";

fn prepared(provider: &Provider) -> Home {
    let home = Home::new();
    let config = format!("# mine\n{}agent: {{max_turns: 5}} # as it is\n", provider.model_config());
    home.profile_with(
        "coder",
        &config,
        &format!("CUSTOM_API_KEY={KEY}\nDEEPSEEK_API_KEY=sk-deep-0123456789\n"),
    );
    home
}

#[test]
fn what_is_talked_to_is_shown_with_the_name_of_its_key() {
    let provider = Provider::start();
    let home = prepared(&provider);
    let shown = run(&home, &["-p", "coder", "model"]).ok();
    for line in [
        "Model:     m\n".to_owned(),
        "Provider:  custom\n".to_owned(),
        "Wire:      chat completions\n".to_owned(),
        format!("Endpoint:  {}\n", provider.base_url()),
        format!("Key:       CUSTOM_API_KEY in {}/.env\n", home.of("coder")),
        "Chosen by: model.provider: custom\n".to_owned(),
    ] {
        assert!(shown.contains(&line), "{line}{shown}");
    }
    let value: Value = serde_json::from_str(&run(&home, &["-p", "coder", "model", "--json"]).ok()).unwrap();
    assert_eq!((&value["endpoint"]["model"], &value["engine"]), (&json!("m"), &json!("native")));
    assert!(!shown.contains(KEY) && !value.to_string().contains(KEY));
    let known = run(&home, &["-p", "coder", "model", "providers"]).ok();
    assert!(
        known.lines().any(|line| line.contains("deepseek") && line.contains("✓ DEEPSEEK_API_KEY")),
        "{known}"
    );
    assert!(!known.contains("sk-deep"), "{known}");
    home.profile_with("bare", "{}\n", "");
    let err = run(&home, &["-p", "bare", "model"]).fails(1);
    assert!(err.contains("No inference provider configured") && err.contains("hint: "), "{err}");
}

#[test]
fn models_are_listed_by_the_providers_own_list() {
    let provider = Provider::start();
    let home = prepared(&provider);
    let list = || {
        Reply::Status(
            200,
            Vec::new(),
            json!({"data": [{"id": "z"}, {"id": "m", "context_length": 128_000}]}).to_string(),
        )
    };
    provider.script([list(), list()]);
    let shown = run(&home, &["-p", "coder", "model", "list"]).ok();
    assert!(shown.contains("2 models\n* m     128k\n  z\n"), "{shown}");
    let call = &provider.calls()[0];
    assert!(call.head.starts_with("GET /v1/models HTTP/1.1") && call.head.contains(KEY), "{}", call.head);
    let value: Value =
        serde_json::from_str(&run(&home, &["-p", "coder", "model", "list", "--json"]).ok()).unwrap();
    assert_eq!((&value["current"], value["models"].as_array().unwrap().len()), (&json!("m"), 2));
    provider.script([Reply::error(401, &format!("no such key: {KEY}"))]);
    let err = run(&home, &["-p", "coder", "model", "list"]).fails(1);
    assert!(err.contains("HTTP 401") && !err.contains(KEY), "{err}");
    let err = run(&home, &["-p", "coder", "model", "list", "--provider", "anthropic"]).fails(1);
    assert!(err.contains("ANTHROPIC_API_KEY"), "{err}");
    assert_eq!(provider.calls().len(), 3, "a key goes to its own host alone");
}

#[test]
fn a_model_is_set_with_comments_kept_and_only_where_it_can_answer() {
    let provider = Provider::start();
    let home = prepared(&provider);
    let said = run(&home, &["-p", "coder", "model", "vendor/other"]).ok();
    assert!(said.contains("model.default = vendor/other"), "{said}");
    let config = home.read("coder", "config.yaml").unwrap();
    assert!(
        config.starts_with("# mine\n") && config.contains("# as it is") && config.contains("vendor/other"),
        "{config}"
    );
    let err = run(&home, &["-p", "coder", "model", "set", "--provider", "anthropic", "claude"]).fails(78);
    assert!(err.contains("nothing was written") && err.contains("ANTHROPIC_API_KEY"), "{err}");
    assert_eq!(home.read("coder", "config.yaml").unwrap(), config);
    run(&home, &["-p", "coder", "model", "set", "--provider", "deepseek", "deepseek-chat"]).ok();
    let shown = run(&home, &["-p", "coder", "model"]).ok();
    assert!(
        shown.contains("Endpoint:  https://api.deepseek.com/v1\n") && shown.contains("deepseek-chat"),
        "{shown}"
    );
    let config = home.read("coder", "config.yaml").unwrap();
    assert!(!config.contains("base_url") && !config.contains("CUSTOM_API_KEY"), "{config}");
    let value: Value = serde_json::from_str(
        &run(&home, &["-p", "coder", "model", "set", "deepseek/deepseek-reasoner", "--json"]).ok(),
    )
    .unwrap();
    assert_eq!(value["endpoint"]["model"], "deepseek-reasoner");
    run(&home, &["-p", "coder", "model", "set", "--force", "--provider", "anthropic", "claude"]).ok();
}
