//! Servers that behave badly: they cost their own tools, and nothing else.

use std::time::Duration;

use hermes_tests::provider::Provider;
use hermes_tests::{Gateway, Home, command, process, wait};
use serde_json::json;

use super::{
    GIVEN, OWN, error, fixture, furnished, noted, odd, of_environment, offered_now, results, server, text,
    wait_for,
};

/// The server writes to the home, and names processes as those outside know them.
const UNFENCED: &str = "terminal: {fence: 'off'}\n";

fn note(home: &Home) -> String {
    format!(", env: {{NOTE: '{}/note'}}", home.root())
}

/// Every way of not coming up: the profile is ready, answers, and says what is wrong, without the key that the server printed.
#[test]
fn a_server_that_does_not_come_up_is_parked_and_the_profile_answers() {
    let provider = Provider::start();
    let here = fixture("odd.py");
    let servers = format!(
        "mcp_servers:\n  \
           absent: {{command: no-such-program-anywhere}}\n  \
           exits: {{command: python3, args: ['{here}', exit], protocol: 2025-11-25}}\n  \
           silent: {{command: python3, args: ['{here}', silent], connect_timeout: 0.3}}\n  \
           endless: {{command: python3, args: ['{here}', endless], protocol: 2025-11-25}}\n  \
           off: {{command: python3, enabled: false}}\n  \
           odd: {{args: [x]}}\n  \
           nobody: {{url: 'http://127.0.0.1:9/mcp'}}\n"
    );
    let home = furnished(&provider, &servers);
    let gateway = Gateway::start(&home);
    assert_eq!(offered_now(&gateway, &provider), [] as [&str; 0]);
    assert_eq!(server(&home, "off").unwrap().state, "off");
    assert_eq!(
        server(&home, "odd").unwrap().reason.as_deref(),
        Some("its entry has neither `command` nor `url`")
    );
    for (name, expected) in [
        ("absent", "there is no program `no-such-program-anywhere` in `PATH`"),
        ("exits", "it ended with exit status: 3"),
        ("silent", "it was not ready within 0.3 s"),
        ("nobody", "refused"),
        ("endless", "longer than 16 MiB"),
    ] {
        let server = wait_for(&home, name, "parked");
        let reason = server.reason.unwrap();
        assert!(reason.contains(expected), "{name}: {reason}");
        assert!(!reason.contains("abcdefghijklmnop"), "{reason}");
    }
    let status = command::run(&home, &["status", "-p", "default"]).ok();
    assert!(status.contains("tools from   absent parked: there is no program"), "{status}");
    let status = command::run(&home, &["status"]).ok();
    assert!(status.contains("⚠ default: tool server absent parked: there is no program"), "{status}");
    assert!(gateway.profile("default").ready);
    let log = home.read("default", "logs/gateway.log").unwrap();
    assert!(log.contains("no such database") && !log.contains("abcdefghijklmnop"), "{log}");
}

/// A call's failures: the model hears of each, a server that died is started again, and one that changes its tools is asked again.
#[test]
fn what_goes_wrong_in_a_call_is_a_result() {
    let provider = Provider::start();
    let home = furnished(&provider, "");
    let servers = odd("garbage", ", timeout: 2, protocol: 2025-11-25, env: {GIVEN: '${GIVEN_KEY}'}");
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}{servers}"));
    let gateway = Gateway::start(&home);
    let connected = wait_for(&home, "odd", "connected");
    assert_eq!(connected.tools, 6);
    let found = results(
        &gateway,
        &provider,
        &[
            ("mcp__odd__echo", json!({"a": 1})),
            ("mcp__odd__environment", json!({})),
            ("mcp__odd__fail", json!({})),
            ("mcp__odd__hang", json!({})),
            ("mcp__odd__nothing", json!({})),
        ],
    );
    assert_eq!(text(&found[0]), r#"{"a": 1}"#);
    let environment = of_environment(&found[1]);
    let names: Vec<&String> = environment.as_object().unwrap().keys().collect();
    assert_eq!(environment["GIVEN"], GIVEN, "{names:?}");
    assert!(environment.get("HERMES_HOME").is_none() && !found[1].to_string().contains(OWN), "{names:?}");
    assert!(
        error(&found[2]).contains("refused") && !found[2].to_string().contains("abcdefghij"),
        "{}",
        found[2]
    );
    assert!(error(&found[3]).contains("did not answer within 2 s"), "{}", found[3]);
    assert_eq!(error(&found[4]), "there is no tool `mcp__odd__nothing`");
    // It hangs still: the next call is the end of it, and of nothing else.
    drop(gateway);

    let home = furnished(&provider, &odd("plain", ", protocol: 2025-11-25"));
    let gateway = Gateway::start(&home);
    wait_for(&home, "odd", "connected");
    let found = results(
        &gateway,
        &provider,
        &[("mcp__odd__die", json!({})), ("mcp__odd__echo", json!({})), ("mcp__odd__change", json!({}))],
    );
    assert!(error(&found[0]).contains("whether it was done is not known"), "{}", found[0]);
    assert_eq!(text(&found[1]), "{}", "it was started again");
    wait::until_true("the news are heard", || server(&home, "odd").is_some_and(|server| server.tools == 2));
    assert_eq!(offered_now(&gateway, &provider), ["mcp__odd__echo", "mcp__odd__news"]);
}

/// Much of everything: messages, schemas, results. What is too much is cut.
#[test]
fn what_a_server_says_is_bounded() {
    let provider = Provider::start();
    let here = fixture("odd.py");
    let servers = format!(
        "mcp_servers:\n  \
           chatty: {{command: python3, args: ['{here}', chatty], protocol: 2025-11-25}}\n  \
           huge: {{command: python3, args: ['{here}', huge], protocol: 2025-11-25}}\n  \
           large: {{command: python3, args: ['{here}', large], protocol: 2025-11-25}}\n  \
           flood: {{command: python3, args: ['{here}', flood], protocol: 2025-11-25, connect_timeout: 2}}\n"
    );
    let home = furnished(&provider, &servers);
    let gateway = Gateway::start(&home);
    for name in ["chatty", "huge", "large"] {
        wait_for(&home, name, "connected");
    }
    let huge = server(&home, "huge").unwrap();
    assert!((1..=256).contains(&huge.tools), "{huge:?}");
    let found = results(&gateway, &provider, &[("mcp__large__echo", json!({}))]);
    assert!(found[0].to_string().len() < 60_000, "{}", found[0].to_string().len());
    let log = home.read("default", "logs/gateway.log").unwrap();
    assert!(log.len() < 200_000 && log.contains("lines more"), "{}", log.len());
    assert!(process::rss(gateway.worker("default")) < 120 << 20);
    assert!(gateway.profile("default").ready);
}

/// A changed file starts the profile anew: it has the new servers, and the old ones are gone, with what they started and however
/// stubborn they are.
#[test]
fn servers_come_and_go_with_the_file_and_none_is_left() {
    let provider = Provider::start();
    let home = furnished(&provider, UNFENCED);
    let config = home.read("default", "config.yaml").unwrap();
    let with = |servers: &str| home.write("default", "config.yaml", &format!("{config}{servers}"));
    with(&odd("stubborn", &format!("{}, protocol: 2025-11-25", note(&home))));
    let mut gateway = Gateway::start(&home);
    wait_for(&home, "odd", "connected");
    let first = noted(&home);
    assert_eq!(first.len(), 2, "a server and its child");
    let worker = gateway.worker("default");
    with(&odd("plain", &format!("{}, protocol: 2025-11-25, tools: {{include: [echo]}}", note(&home))));
    gateway.wait_replaced("default", worker);
    wait::until_true("the first server is gone", || first.iter().all(|pid| !process::is_alive(*pid)));
    wait_for(&home, "odd", "connected");
    assert_eq!(offered_now(&gateway, &provider), ["mcp__odd__echo"]);
    let all = noted(&home);
    assert_eq!(all.len(), 3);
    // A worker that is killed leaves none either.
    gateway.kill_worker("default");
    wait::until_true("its server is gone", || !process::is_alive(all[2]));
    wait::until_true("there is another", || noted(&home).len() == 4);
    wait_for(&home, "odd", "connected");
    gateway.stop();
    wait::until_true("none is left", || noted(&home).iter().all(|pid| !process::is_alive(*pid)));
}

/// 75: two profiles with servers of one name and other settings: each sees its own.
#[test]
fn c75_two_profiles_with_servers_of_one_name_have_their_own() {
    let provider = Provider::start();
    let home = furnished(&provider, "");
    let of = |who: &str| {
        odd("plain", &format!(", protocol: 2025-11-25, env: {{WHO: {who}, KEY: '${{ODD_KEY}}'}}"))
    };
    let config = home.read("default", "config.yaml").unwrap();
    home.write("default", "config.yaml", &format!("{config}{}", of("default")));
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &format!("{env}ODD_KEY=canary-odd-default\n"));
    home.profile("other");
    home.write("other", "config.yaml", &format!("{}{}", provider.model_config(), of("other")));
    let env = format!("API_SERVER_KEY={}\nCUSTOM_API_KEY=k\nODD_KEY=canary-odd-other\n", Home::key("other"));
    home.write("other", ".env", &env);
    let gateway = Gateway::start(&home);
    wait_for(&home, "odd", "connected");
    let own = results(&gateway, &provider, &[("mcp__odd__environment", json!({}))]);
    let calls = [("mcp__odd__environment", json!({}))];
    let theirs = gateway.have_done("/p/other", &Home::key("other"), &provider, &calls);
    for (result, who, not) in [(&own[0], "default", "other"), (&theirs[0], "other", "default")] {
        let environment = of_environment(result);
        assert_eq!(environment["WHO"], who);
        assert_eq!(environment["KEY"], format!("canary-odd-{who}"));
        assert!(!result.to_string().contains(&format!("canary-odd-{not}")), "{who}");
    }
}

/// A server that nobody calls is ended, and started again by the next call; its tools are offered all the time.
#[test]
fn a_server_that_is_idle_sleeps() {
    let provider = Provider::start();
    let home = furnished(&provider, UNFENCED);
    let config = home.read("default", "config.yaml").unwrap();
    let servers = odd("plain", &format!("{}, protocol: 2025-11-25, idle_timeout_seconds: 0.5", note(&home)));
    home.write("default", "config.yaml", &format!("{config}{servers}"));
    let gateway = Gateway::start(&home);
    wait_for(&home, "odd", "asleep");
    let first = noted(&home);
    wait::until_true("it is ended", || !process::is_alive(first[0]));
    assert_eq!(offered_now(&gateway, &provider).len(), 6);
    let found = results(&gateway, &provider, &[("mcp__odd__echo", json!({}))]);
    assert_eq!(text(&found[0]), "{}");
    assert_eq!(noted(&home).len(), 2);
}

/// A first turn has the tools of servers that come up in time, and does not wait for others.
#[test]
fn the_first_turn_waits_for_servers_and_not_for_long() {
    let provider = Provider::start();
    let here = fixture("odd.py");
    let servers = format!(
        "mcp_discovery_timeout: 20\nmcp_servers:\n  clarify: {{command: sh, args: [-c, 'sleep 1; exec python3 {here} plain'], protocol: 2025-11-25}}\n"
    );
    let home = furnished(&provider, &servers);
    let gateway = Gateway::start(&home);
    assert!(
        offered_now(&gateway, &provider).contains(&"mcp__clarify__echo".to_owned()),
        "the first turn has it"
    );
    drop(gateway);
    let servers = servers.replace("timeout: 20", "timeout: 0.2").replace("sleep 1", "sleep 3");
    let home = furnished(&provider, &servers);
    let begun = wait::now();
    let gateway = Gateway::start(&home);
    assert_eq!(offered_now(&gateway, &provider), [] as [&str; 0]);
    assert!(begun.elapsed() < Duration::from_secs(20));
}
