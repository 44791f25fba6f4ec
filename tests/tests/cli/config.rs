//! `hermes config`: what is printed, how it ends, and what stands in the two files afterwards.

mod edit;
mod files;
mod managed;
mod terminal;

use hermes_tests::Home;
use hermes_tests::command::{Ran, masked, run, run_with_input, transcript};
use serde_json::Value;

/// A home with one line of configuration, so that paths are short.
fn home_with(yaml: &str, env: &str) -> Home {
    let home = Home::empty();
    home.write("default", "config.yaml", yaml).write("default", ".env", env);
    home
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).unwrap()
}

#[test]
fn a_fresh_home_has_paths_and_defaults() {
    let home = Home::empty();
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "config path",
            "config env-path",
            "config get agent.max_turns",
            "config get gateway.multiplex_profiles",
            "config get logging",
            "config get gateway.shared_env",
            "config get logging --json",
            "config get model.default",
            "config get nope",
            "config get openai_api_key",
            "config unset model.default",
            "config unset openai_api_key",
            "config check",
            "config get",
            "config set model.default",
            "config nonsense",
        ]
    ));
    // Nothing of that made a file.
    assert_eq!(fs_err::read_dir(home.root()).unwrap().count(), 0);
}

#[test]
fn the_summary() {
    let home = home_with(
        "model: {default: a/b, provider: custom, base_url: 'http://me:hunter2@127.0.0.1/v1', api_key: sk-model-0123456789}\n\
         gateway: {multiplex_profiles: true}\ntelegram: {token: hunter2-hunter2-hunter2}\nagent: {max_turn: 5}\n",
        "OPENROUTER_API_KEY=sk-or-0123456789abcdef\nFIRECRAWL_API_KEY=short\nAPI_SERVER_KEY=0123456789abcdef\nNOTES=hunter2\n",
    );
    let text = transcript(&home, &["config show"]);
    assert_eq!(run(&home, &["config"]).ok(), run(&home, &["config", "show"]).ok());
    let text: String = text
        .lines()
        .map(|line| {
            if line.starts_with("  Install:") {
                "  Install:      <hermes>\n".to_owned()
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    insta::assert_snapshot!(text);
    let shown = run(&home, &["config", "show", "--json"]);
    assert!(!shown.out.contains("hunter2"), "{}", shown.out);
    let value = json(shown);
    assert_eq!(value["keys"]["model.default"], serde_json::json!({"value": "a/b", "from": "config.yaml"}));
    assert_eq!(value["keys"]["model.api_key"]["value"], "sk-m...6789");
    assert_eq!(value["keys"]["agent.max_turns"], serde_json::json!({"value": 90, "from": "default"}));
    assert_eq!(
        value["keys"]["platforms.api_server.key"],
        serde_json::json!({"value": "0123...cdef", "from": ".env", "at": "API_SERVER_KEY"})
    );
    assert_eq!(value["variables"]["FIRECRAWL_API_KEY"], "***");
    let codes = value["problems"].as_array().unwrap().iter().map(|p| p["code"].as_str().unwrap());
    assert!(codes.clone().any(|code| code == "unknown_key"), "{:?}", codes.collect::<Vec<_>>());
}

#[test]
fn set_says_what_it_did() {
    let home = home_with("# mine\nmodel: vendor/name   # the one\n", "");
    let lines = [
        "config set gateway.multiplex_profiles true",
        "config set agent.max_turns 50",
        "config set agent.max_turn 50",
        "config set agent.max_turn 50 --force",
        "config set agent.max_turns many",
        "config set agent.max_turns many --force",
        "config set agent.max_turns 50",
        "config set display.streaming maybe",
        "config set display.streaming maybe --force",
        "config unset display.streaming",
        "config set colour blue",
        "config set multiplex_profiles maybe",
        "config set multiplex_profiles maybe --force",
        "config unset multiplex_profiles",
        "config set foo_token hunter2-hunter2",
        "config set gateway.api_token hunter2-hunter2",
        "config set telegram.bot_token hunter2",
        "config set model.base_url http://x/v1",
        "config get model",
        "config set model.model other/first",
        "config set custom_providers[0].name x",
        "config set model.api_base http://y/v1",
        "config set model other/name",
        "config set approvals.mode off",
        "config set a.int -3",
        "config set a.float .5",
        "config set a.zeros 007",
        "config set a.yes yes",
        "config set a.json --json {\"x\":[1,null]}",
        "config set a.text --string 5",
        "config get a",
        "config get a --json",
        "config set terminal.backend docker",
        "config unset terminal.backend",
        "config set WEBHOOK_SECRET hunter2-hunter2-hunter2",
        "config get webhook_secret",
        "config set platforms.webhook.secret other",
        "config unset a",
        "config set x one",
        "config set x.y two",
        "config set platforms.x.\"1.5\" y",
        "config get platforms.x",
    ];
    insta::assert_snapshot!(transcript(&home, &lines));
    insta::assert_snapshot!(
        "files_after_set",
        format!(
            "{}---\n{}",
            home.read("default", "config.yaml").unwrap(),
            home.read("default", ".env").unwrap()
        )
    );
}

#[test]
fn everything_that_is_refused() {
    let yaml = "agent:\n  max_turns: 5 # five\nlist: [1]\nbase: &b {x: 1}\ncopy: *b\n";
    let home = home_with(yaml, "A=1\n");
    let lines = [
        "config set agent 5",
        "config set list.1 x",
        "config set list.name x",
        "config set toolsets.0 x",
        "config set base.x 2",
        "config set a..b 1",
        "config set .a 1",
        "config set a.\"b 1",
        "config set a --json {",
        "config set BAD-X_TOKEN 1",
        "config set 1X_API_KEY 1",
        "config set a --json --string 1",
        "config unset agent.nope",
        "config unset max_turns",
        "config get a..b",
        "config set a -",
    ];
    insta::assert_snapshot!(transcript(&home, &lines));
    assert_eq!(
        (home.read("default", "config.yaml").unwrap(), home.read("default", ".env").unwrap()),
        (yaml.to_owned(), "A=1\n".to_owned())
    );
}

#[test]
fn a_secret_can_come_from_standard_input() {
    let home = Home::empty();
    let set = |input: &str| run_with_input(&home, &["config", "set", "openai_api_key", "-"], input);
    let out = set("hunter2-hunter2\r\n").ok();
    assert!(!out.contains("hunter2"), "{out}");
    assert_eq!(home.read("default", ".env").unwrap(), "OPENAI_API_KEY=hunter2-hunter2\n");
    // A program that should have printed it has failed.
    let error = set("").fails(2);
    assert!(error.contains("standard input held no value"), "{error}");
    assert_eq!(home.read("default", ".env").unwrap(), "OPENAI_API_KEY=hunter2-hunter2\n");
    set("two words # and \"more\"\n").ok();
    assert_eq!(run(&home, &["config", "get", "OPENAI_API_KEY"]).ok(), "two words # and \"more\"\n");
    run_with_input(&home, &["config", "set", "agent.system_prompt", "-"], "two\nlines\n").ok();
    assert_eq!(run(&home, &["config", "get", "agent.system_prompt"]).ok(), "two\nlines\n");
}

#[test]
fn every_profile_has_its_own_files() {
    let home = Home::new();
    home.profile("coder");
    run(&home, &["-p", "coder", "config", "set", "agent.max_turns", "7"]).ok();
    assert_eq!(run(&home, &["config", "get", "agent.max_turns", "-p", "coder"]).ok(), "7\n");
    assert_eq!(run(&home, &["config", "get", "agent.max_turns"]).ok(), "90\n");
    insta::assert_snapshot!(transcript(
        &home,
        &[
            "config path -p coder",
            "config set gateway.max_connections 5 -p coder",
            "config set platforms.webhook.port 5 -p coder",
            "config set platforms.webhook.port 5 --force -p coder",
            "config check -p coder",
            "config get agent.max_turns -p nope",
        ]
    ));
    let value = json(run(&home, &["config", "check", "--json"]));
    assert_eq!((value["refused"].as_bool(), value["profile"].as_str()), (Some(false), Some("default")));
}

/// The page and the schema are what the program says of itself.
#[test]
fn generated_files_are_up_to_date() {
    let home = Home::empty();
    let docs = camino::Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (command, file) in [("docs", "configuration.md"), ("schema", "config.schema.json")] {
        let said = run(&home, &["config", command]).ok();
        let written = fs_err::read_to_string(docs.join(file)).unwrap_or_default();
        assert!(said == written, "docs/{file} is stale: `hermes config {command} > docs/{file}`");
    }
    assert_eq!(
        masked(&home, &run(&home, &["config", "schema"]).ok()).matches(home.root().as_str()).count(),
        0
    );
}

/// What the README says to write would start.
#[test]
fn the_files_of_the_readme_are_accepted() {
    let readme = fs_err::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).unwrap();
    let files: Vec<&str> =
        readme.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let [default, coder, agent] = files[..] else { panic!("{files:?}") };
    let home = Home::empty();
    home.write("default", "config.yaml", default).write("coder", "config.yaml", coder);
    home.write(
        "default",
        ".env",
        "CUSTOM_API_KEY=k\nDEPLOY_SECRET=a-secret-of-deployments\nAPI_SERVER_KEY=0123456789abcdef0123\n",
    );
    home.write("coder", ".env", "ISSUES_SECRET=a-secret-of-issues\n");
    let said = run(&home, &["gateway", "check"]).ok();
    assert!(said.contains("profiles: default, coder") && said.contains("problems: 0"), "{said}");
    // Of another agent only the program is missing here, and the key.
    home.write("coder", "config.yaml", agent);
    let checked = run(&home, &["gateway", "check"]);
    let said = format!("{}{}", checked.out, checked.err);
    assert!(said.contains("claude-agent-acp") && !said.contains("unknown"), "{said}");
}
