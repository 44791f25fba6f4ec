//! Several keys of one provider: what people see of those that are refused, and a changed file of keys.

use hermes_tests::gateway::{both, run};
use hermes_tests::provider::{Provider, Reply};
use hermes_tests::{Gateway, Home, home, wait};
use serde_json::json;

const KEYS: [&str; 3] = ["pool-key-one-8d1f2a3b", "pool-key-two-77ac01fe", "pool-key-three-5e90b1"];

fn pool(keys: &[&str]) -> String {
    let entry = |(priority, key): (usize, &&str)| {
        json!({"id": format!("id-{priority}"), "label": "l", "auth_type": "api_key", "priority": priority, "source": "manual",
            "access_token": key})
    };
    let entries: Vec<_> = keys.iter().enumerate().map(entry).collect();
    json!({"version": 1, "providers": {}, "credential_pool": {"custom:mine": entries}}).to_string()
}

/// The key of the last call.
fn asked_with(provider: &Provider) -> String {
    let calls = provider.calls();
    let head = calls.last().unwrap().head.clone();
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
    line.unwrap_or_else(|| panic!("{head}")).rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn keys_that_are_left_alone_are_counted_and_a_changed_file_reaches_the_worker() {
    let provider = Provider::start();
    let config = Home::config("true", "").replacen("engine: echo, ", "", 1);
    let home = Home::with_config(&format!(
        "{config}model: {{default: m, provider: mine}}\nproviders: {{mine: {{base_url: '{}'}}}}\n\
         auxiliary: {{title_generation: {{enabled: false}}}}\n",
        provider.base_url()
    ));
    home.write("default", "auth.json", &pool(&KEYS));
    let gateway = Gateway::start(&home);
    let known = wait::until("the keys to be counted", || gateway.profile("default").key_pools.remove("mine"));
    assert_eq!((known.keys, known.left_alone.len()), (3, 0));
    assert!(!both(&run(&home, &["status"])).contains("left alone"));

    provider.script([Reply::error(401, "no such key"), Reply::error(402, "insufficient_quota")]);
    assert_eq!(gateway.chat("", home::DEFAULT_KEY, "x").status, 200);
    assert_eq!(asked_with(&provider), KEYS[2]);
    let known = wait::until("the refused keys", || {
        gateway.profile("default").key_pools.remove("mine").filter(|pool| pool.left_alone.len() == 2)
    });
    let reasons: Vec<&str> = known.left_alone.iter().map(|key| key.reason.as_str()).collect();
    assert_eq!(reasons, ["unauthorized", "quota"]);
    assert!(known.left_alone.iter().all(|key| key.until.is_some()), "{known:?}");
    let line = "keys of mine: 2 of 3 left alone: unauthorized (until ";
    let seen = [
        both(&run(&home, &["status"])),
        both(&run(&home, &["status", "-p", "default"])),
        both(&run(&home, &["status", "--json"])),
        gateway.get("/health/detailed", home::DEFAULT_KEY).text(),
        home.read("default", "runtime_status.json").unwrap(),
    ];
    assert!(seen[0].contains(line), "{}", seen[0]);
    assert!(seen[1].contains("mine: 2 of 3 left alone: unauthorized"), "{}", seen[1]);
    for text in &seen[2..] {
        assert!(text.contains("left_alone") && text.contains("quota"), "{text}");
    }
    for text in &seen {
        assert!(KEYS.iter().all(|key| !text.contains(&key[9..])), "{text}");
    }

    // Another file is another worker, which knows what stands in it.
    let worker = gateway.worker("default");
    home.write("default", "auth.json", &pool(&["pool-key-four-91be"]));
    gateway.wait_replaced("default", worker);
    assert_eq!(gateway.chat("", home::DEFAULT_KEY, "y").status, 200);
    assert_eq!(asked_with(&provider), "pool-key-four-91be");
}
