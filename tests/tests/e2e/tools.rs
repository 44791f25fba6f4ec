//! D12, D20: what a model has done by the worker's own tools, in a real gateway, and what it is refused.

use std::io::{Read as _, Write as _};

use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home};
use serde_json::{Value, json};

/// Secrets of the profile's own `.env` and of another profile's.
const OWN: &str = "canary-of-default-7f3a";
const OTHER: &str = "canary-of-other-91bc";

fn furnished(provider: &Provider, more: &str) -> Home {
    let agent = "agent: {engine: echo, restart_drain_timeout: 5}\n";
    let config = Home::config("true", "").replace(agent, "agent: {restart_drain_timeout: 5}\n");
    let home = Home::with_config(&format!("{config}{}{more}", provider.model_config()));
    let keys = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY={OWN}\n", home::DEFAULT_KEY);
    home.write("default", ".env", &keys);
    home.profile("other");
    let keys = format!("API_SERVER_KEY={}\nOPENAI_API_KEY={OTHER}\n", Home::key("other"));
    home.write("other", ".env", &keys);
    home
}

/// Has the calls made one after the other in one turn of the API, and gives their results.
fn results(home: &Home, provider: &Provider, calls: &[(&str, Value)]) -> Vec<Value> {
    let gateway = Gateway::start(home);
    gateway.have_done("", home::DEFAULT_KEY, provider, calls)
}

/// D20: files are read, written, patched and searched in the workspace; no path leads to a secret, the profile's own or another's.
#[test]
fn d20_a_model_works_with_files_and_gets_no_secret() {
    let provider = Provider::start();
    let home = furnished(&provider, "");
    let (own, other) = (home.root().join(".env"), home.of("other").join(".env"));
    let found = results(
        &home,
        &provider,
        &[
            ("write_file", json!({"path": "src/a.txt", "content": "one\ntwo\n"})),
            ("patch", json!({"path": "src/a.txt", "old_string": "two", "new_string": "2"})),
            ("read_file", json!({"path": "src/a.txt"})),
            ("search_files", json!({"pattern": "^2$"})),
            ("read_file", json!({"path": own})),
            ("read_file", json!({"path": format!("/proc/self/root{other}")})),
            ("search_files", json!({"pattern": "canary", "path": home.root()})),
            ("write_file", json!({"path": own, "content": ""})),
        ],
    );
    assert_eq!(found[0]["dirs_created"], true, "{}", found[0]);
    assert_eq!(found[1]["success"], true, "{}", found[1]);
    assert_eq!(found[2]["content"], "1|one\n2|2");
    assert_eq!(found[3]["matches"], json!([{"path": "src/a.txt", "line": 2, "content": "2"}]));
    for refused in [&found[4], &found[5], &found[7]] {
        assert!(refused["error"].as_str().unwrap().contains("by tools"), "{refused}");
    }
    assert_eq!(found[6]["total_count"], 0, "{}", found[6]);
    assert_eq!(home.read("default", "workspace/src/a.txt").unwrap(), "one\n2\n");
    assert!(home.read("default", ".env").unwrap().contains(OWN));
    for call in provider.calls() {
        let body = call.body.to_string();
        assert!(!body.contains(OWN) && !body.contains(OTHER), "{body}");
    }
}

/// Pages of the web are read where they may be: by themselves nothing of this machine is, and what hands out credentials never.
#[test]
fn pages_are_read_from_where_they_may_be() {
    let site = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = site.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in site.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let page = "<title>T</title><script>x</script><h1>Head</h1><p>See <a href=/more>more</a>.";
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n",
                page.len()
            );
            let _ = stream.write_all(format!("{head}{page}").as_bytes());
        }
    });
    let page = format!("http://{address}/");
    let calls =
        [("web_extract", json!({"urls": [page, "http://169.254.169.254/latest/", "file:///etc/passwd"]}))];
    for (settings, is_open) in [("", false), ("security: {allow_private_urls: true}\n", true)] {
        let provider = Provider::start();
        let home = furnished(&provider, settings);
        let found = results(&home, &provider, &calls);
        let entries = found[0]["results"].as_array().unwrap();
        if is_open {
            assert_eq!(entries[0]["content"], format!("# Head\n\nSee [more]({page}more)."), "{found:?}");
            assert_eq!(entries[0]["title"], "T");
        } else {
            assert!(
                entries[0]["error"].as_str().unwrap().contains("security.allow_private_urls"),
                "{found:?}"
            );
        }
        assert!(entries[1]["error"].as_str().unwrap().contains("never asked"), "{found:?}");
        assert_eq!(entries[2]["error"], "only http and https are read");
    }
}

/// A skill that the model writes is there for the next session.
#[test]
fn a_skill_that_was_written_is_offered_afterwards() {
    let provider = Provider::start();
    let home = furnished(&provider, "");
    let skill = "---\nname: deploy\ndescription: How a release goes out.\n---\n1. make dist\n";
    let gateway = Gateway::start(&home);
    let found = gateway.have_done(
        "",
        home::DEFAULT_KEY,
        &provider,
        &[
            ("skill_manage", json!({"action": "create", "name": "deploy", "content": skill})),
            (
                "skill_manage",
                json!({"action": "write_file", "name": "deploy", "file_path": "../../.env", "file_content": "x"}),
            ),
            ("skill_view", json!({"name": "deploy"})),
        ],
    );
    assert_eq!(found[0]["success"], true, "{found:?}");
    assert!(found[1]["error"].as_str().unwrap().contains("references/"), "{found:?}");
    assert_eq!(found[2]["content"], skill);
    provider.answer_with(|_| Reply::text("all done"));
    gateway.chat("", home::DEFAULT_KEY, "another").json();
    let system = provider.calls().last().unwrap().body["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(system.contains("- deploy: How a release goes out."), "{system}");
}
