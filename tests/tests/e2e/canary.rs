//! Isolation, shown: a canary in every profile is found in no other process, neither in its environment nor in its memory.

use hermes_tests::{Gateway, Home, home, process};

fn canary(name: &str) -> String {
    // Assembled at run time, so that this test's own binary is no carrier either.
    format!("canary-{}-{}", name, "5f2c9a71e4")
}

#[test]
fn c68_c69_no_canary_outside_its_own_worker() {
    if !hermes_tests::tools::may_look_into_others() {
        return;
    }
    let names = ["default", "coder", "ops"];
    // `default` also holds a route of coder's: its file is the one a secondary has reason to read.
    let config = Home::config("true", "").replace(
        "hook: {prompt: 'say {text}'}",
        "hook: {prompt: 'say {text}'}\n        bound: {secret: secret-bound-to-coder, profile: coder}",
    );
    let home = Home::with_config(&format!("{config}model: {{api_key: {}}}\n", canary("yaml-default")));
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nOPENAI_API_KEY={}\n", home::DEFAULT_KEY, canary("default")),
    );
    for name in &names[1..] {
        home.profile(name);
        home.write(
            name,
            ".env",
            &format!(
                "API_SERVER_KEY={}\nOPENAI_API_KEY={}\nWEIXIN_TOKEN={}\n",
                Home::key(name),
                canary(name),
                canary(&format!("bot-{name}"))
            ),
        );
    }
    let mut gateway = Gateway::spawn(&home, &[], &[("UNLISTED_SECRET", &canary("parent"))]);
    gateway.wait_settled();
    // Use everything once, so that what is loaded lazily is loaded.
    for name in names {
        let (prefix, key) = (
            format!("/p/{name}"),
            if name == "default" { home::DEFAULT_KEY.to_owned() } else { Home::key(name) },
        );
        assert_eq!(gateway.chat(&prefix, &key, "hello").status, 200);
        assert_eq!(gateway.get(&format!("{prefix}/v1/models"), "a-wrong-key-0123456789").status, 401);
    }
    assert_eq!(gateway.hook("/p/coder/webhooks/bound", "secret-bound-to-coder", "1", "{}").status, 202);

    let canaries: Vec<(String, &str)> = names
        .iter()
        .flat_map(|n| {
            [(canary(n), *n), (canary(&format!("bot-{n}")), *n), (canary(&format!("yaml-{n}")), *n)]
        })
        .collect();
    let supervisor = gateway.pid();
    let mut found_own = 0;
    for (process_name, pid) in
        names.iter().map(|n| (*n, gateway.worker(n))).chain([("the supervisor", supervisor)])
    {
        let environment = process::environment(pid).unwrap();
        let needles: Vec<&str> = canaries.iter().map(|(c, _)| c.as_str()).collect();
        for needle in &needles {
            assert!(
                !process::contains(&environment, needle.as_bytes()),
                "{needle} is in the environment of {process_name}"
            );
        }
        if process_name != "the supervisor" {
            assert!(
                !process::contains(&environment, canary("parent").as_bytes()),
                "an unlisted variable reached {process_name}"
            );
        }
        let found = process::find_in_memory(pid, &needles);
        for needle in &found {
            let owner = canaries.iter().find(|(c, _)| c == needle).unwrap().1;
            assert_eq!(owner, process_name, "{needle} of {owner} is in the memory of {process_name}");
        }
        found_own += found.len();
    }
    assert!(found_own >= names.len(), "the search found nothing at all: it does not work");
    // The secret of a route in default's file that belongs to coder is in coder, and default's own are not.
    let coder =
        process::find_in_memory(gateway.worker("coder"), &["secret-bound-to-coder", home::DEFAULT_KEY]);
    assert_eq!(coder, ["secret-bound-to-coder"]);

    // Nor in anything written or shown.
    for file in ["runtime_status.json", "logs/gateway.log", "logs/supervisor.log"] {
        for name in names {
            let text = home.read(name, file).unwrap_or_default();
            assert!(!text.contains("canary-"), "{name}/{file}");
        }
    }
    let status = hermes_tests::gateway::both(&hermes_tests::gateway::run(&home, &["status", "--json"]));
    assert!(!status.contains("canary-") && !gateway.output().contains("canary-"));
}
