//! Servers as they are published, from npm (with the handshake) and PyPI (without).

use hermes_tests::provider::Provider;
use hermes_tests::tools::Clients;
use hermes_tests::{Gateway, command, process, wait};
use serde_json::json;

use super::{GIVEN, OWN, furnished, of_environment, results, text, wait_for};

/// The reference servers: all tools of all of them in one profile, both eras side by side, each with its own environment.
#[test]
fn servers_of_both_eras_do_what_a_model_asks() {
    let (Some(node), Some(time)) = (Clients::Servers.interpreter(), Clients::PythonServers.interpreter())
    else {
        return;
    };
    let provider = Provider::start();
    let at = |name: &str| {
        Clients::directory()
            .join(format!("servers/node_modules/@modelcontextprotocol/server-{name}/dist/index.js"))
    };
    let place = tempfile::tempdir().unwrap();
    let place = place.path().canonicalize().unwrap();
    fs_err::write(place.join("a.txt"), "what stands there").unwrap();
    let servers = format!(
        "mcp_servers:\n  \
           files: {{command: '{node}', args: ['{files}', '{place}']}}\n  \
           my memory: {{command: '{node}', args: ['{memory}'], env: {{MEMORY_FILE_PATH: '{place}/memory.jsonl'}}}}\n  \
           everything: {{command: '{node}', args: ['{everything}'], env: {{GIVEN: '${{env:GIVEN_KEY}}', LITERAL: '${{NOT_THERE}}'}}}}\n  \
           time: {{command: '{time}', protocol: 2026-07-28}}\n",
        node = node.display(),
        files = at("filesystem").display(),
        memory = at("memory").display(),
        everything = at("everything").display(),
        time = time.display(),
        place = place.display(),
    );
    let home = furnished(&provider, &servers);
    let mut gateway = Gateway::start(&home);
    for (name, protocol) in [
        ("files", "2025-11-25"),
        ("my memory", "2025-11-25"),
        ("everything", "2025-11-25"),
        ("time", "2026-07-28"),
    ] {
        let server = wait_for(&home, name, "connected");
        assert_eq!(server.protocol.as_deref(), Some(protocol), "{name}");
        assert!(server.tools >= 2, "{name}: {server:?}");
    }
    let found = results(
        &gateway,
        &provider,
        &[
            ("mcp__files__read_text_file", json!({"path": place.join("a.txt")})),
            ("mcp__files__read_text_file", json!({"path": "/etc/hostname"})),
            (
                "mcp__my_memory__create_entities",
                json!({"entities": [{"name": "Ana", "entityType": "person", "observations": ["likes tea"]}]}),
            ),
            ("mcp__my_memory__search_nodes", json!({"query": "tea"})),
            (
                "mcp__time__convert_time",
                json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"}),
            ),
            ("mcp__everything__echo", json!({"message": "hello"})),
            ("mcp__everything__get-env", json!({})),
            ("mcp__everything__get_env", json!({})),
            ("mcp__everything__list_resources", json!({})),
            ("mcp__everything__list_prompts", json!({})),
            ("mcp__everything__get_tiny_image", json!({})),
        ],
    );
    assert_eq!(text(&found[0]), "what stands there");
    assert!(found[1]["error"].as_str().unwrap().contains("denied"), "{}", found[1]);
    assert!(text(&found[3]).contains("Ana"), "{}", found[3]);
    assert!(text(&found[4]).contains("21:00"), "{}", found[4]);
    assert!(text(&found[5]).contains("hello"), "{}", found[5]);
    assert!(found[6]["error"].as_str().unwrap().contains("no tool"), "{}", found[6]);
    let environment = of_environment(&found[7]);
    assert_eq!(environment["GIVEN"], GIVEN);
    assert_eq!(environment["LITERAL"], "${NOT_THERE}", "what is not set stays as it is written");
    assert!(environment.get("API_SERVER_KEY").is_none() && environment.get("CUSTOM_API_KEY").is_none());
    assert!(!found[7].to_string().contains(OWN));
    assert!(
        found[8]["result"].is_null() && !found[8]["resources"].as_array().unwrap().is_empty(),
        "{}",
        found[8]
    );
    assert!(!found[9]["prompts"].as_array().unwrap().is_empty(), "{}", found[9]);
    assert!(text(&found[10]).contains("[image, image/png"), "{}", found[10]);
    let listed = command::run(&home, &["mcp", "list"]).ok();
    assert!(listed.contains("time") && listed.contains("connected"), "{listed}");
    let worker = gateway.worker("default");
    let children: Vec<u32> = process::family(worker).into_iter().filter(|pid| *pid != worker).collect();
    assert!(children.len() >= 4, "{children:?}");
    gateway.stop();
    wait::until_true("no server is left", || children.iter().all(|pid| !process::is_alive(*pid)));
}

/// The same servers, tried from the command line.
#[test]
fn a_server_is_added_tested_and_removed() {
    let Some(time) = Clients::PythonServers.interpreter() else { return };
    let provider = Provider::start();
    let home = furnished(&provider, "");
    let time = time.display().to_string();
    let said = command::run(&home, &["mcp", "add", "time", "--env", "LEVEL=debug", "--", &time]).ok();
    assert!(said.contains("✓ Tool server 'time'"), "{said}");
    let said = command::run(&home, &["mcp", "test", "time"]).ok();
    assert!(said.contains("✓ time answers") && said.contains("mcp__time__convert_time"), "{said}");
    let said = command::run(&home, &["mcp", "test", "time", "--json"]).ok();
    let tried: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(tried["ok"], true, "{said}");
    // One that takes longer than ten seconds to answer is taken for one that waits for the handshake, which this one knows, too.
    if tried["took_ms"].as_u64().unwrap() < 10_000 {
        assert_eq!(tried["protocol"], "2026-07-28", "{said}");
    }
    let said = command::run(&home, &["mcp", "remove", "time"]).ok();
    assert!(said.contains("is removed"), "{said}");
    assert!(!home.read("default", "config.yaml").unwrap().contains("mcp_servers"));
}
