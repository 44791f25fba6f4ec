//! What is said of an account that is asked about on request: every state that it can be in, and that no bridge is started by that.

use hermes_tests::chats::ask;
use hermes_tests::whatsapp::{ACCOUNT, Bridge, Servers, Way};
use hermes_tests::{Gateway, Home, home};

use super::{OPEN, has_node, wait_connection};

#[test]
fn what_is_missing_on_this_machine_is_said_at_once() {
    if !has_node() {
        return;
    }
    let home = Home::with_config(&Home::config("true", ""));
    home.write(
        "default",
        ".env",
        &format!("API_SERVER_KEY={}\nWHATSAPP_ENABLED=true\n{OPEN}", home::DEFAULT_KEY),
    );
    let nothing = ask(&home, "whatsapp");
    assert_eq!((nothing.verdict.as_str(), nothing.lacks.len()), ("lacking", 2), "{nothing:?}");
    assert!(nothing.lacks("the bridge is not installed", "`hermes whatsapp install`"), "{nothing:?}");
    assert!(nothing.lacks("no account is linked", "`hermes whatsapp pair`"), "{nothing:?}");
    // Its own script is looked for where the files say it is.
    home.write("default", ".env", &format!("API_SERVER_KEY={}\nWHATSAPP_ENABLED=true\n", home::DEFAULT_KEY));
    let config = Home::config("true", "").replacen(
        "platforms:\n",
        "platforms:\n  whatsapp: {bridge_script: own.js}\n",
        1,
    );
    home.write("default", "config.yaml", &config);
    let script = ask(&home, "whatsapp");
    assert!(script.lacks("own.js` is not there", "bridge_script"), "{script:?}");
}

#[test]
fn a_bridge_that_runs_is_asked_and_none_is_started() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house(OPEN);
    let quiet = ask(&home, "whatsapp");
    assert_eq!((quiet.verdict.as_str(), quiet.lacks.len()), ("fine", 0), "{quiet:?}");
    assert!(
        quiet.message.starts_with("Node.js ")
            && quiet.message.ends_with(&format!(
                "the bridge is installed, {ACCOUNT} is linked; no bridge runs, so WhatsApp was not asked"
            )),
        "{quiet:?}"
    );
    assert!(servers.pids(ACCOUNT).is_empty(), "nothing was started");
    let gateway = Gateway::start(&home);
    servers.wait_connected(ACCOUNT);
    wait_connection(&gateway, "connected", "");
    let connected = ask(&home, "whatsapp");
    assert!(
        connected.verdict == "fine" && connected.message.ends_with("WhatsApp is connected"),
        "{connected:?}"
    );
    assert_eq!((servers.pids(ACCOUNT).len(), servers.replaced()), (1, 0));
    let file = home.of("default").join("platforms/whatsapp/state/bridge.json");
    let reach: serde_json::Value = serde_json::from_slice(&fs_err::read(&file).unwrap()).unwrap();
    assert!(!connected.printed.contains(reach["secret"].as_str().unwrap()));
    // What was written down of a bridge that is gone leads nowhere.
    let kept = fs_err::read(&file).unwrap();
    drop(gateway);
    fs_err::write(&file, kept).unwrap();
    assert!(ask(&home, "whatsapp").message.contains("no bridge runs"));
}

#[test]
fn a_bridge_at_an_address_is_asked_for_its_health() {
    let bridge = Bridge::start();
    bridge.want("s3cret-of-the-bridge");
    let home = Home::with_config(&Home::config("true", ""));
    let with = |secret: &str| {
        let env = format!(
            "API_SERVER_KEY={}\n{}WHATSAPP_BRIDGE_SECRET={secret}\n",
            home::DEFAULT_KEY,
            bridge.env()
        );
        home.write("default", ".env", &env);
    };
    with("s3cret-of-the-bridge");
    let fine = ask(&home, "whatsapp");
    assert_eq!(
        (fine.verdict.as_str(), fine.message.as_str()),
        ("fine", "the bridge at WHATSAPP_BRIDGE_URL answers, and WhatsApp is connected")
    );
    bridge.be("disconnected");
    let away = ask(&home, "whatsapp");
    assert!(
        away.verdict == "lacking" && away.lacks("it says `disconnected`", "link the account there again"),
        "{away:?}"
    );
    for _ in 0..4 {
        bridge.fail("health", Way::Garbled);
    }
    let strange = ask(&home, "whatsapp");
    assert!(
        strange.verdict == "lacking" && strange.lacks("no bridge of WhatsApp", "WHATSAPP_BRIDGE_URL"),
        "{strange:?}"
    );
    with("another");
    let secret = ask(&home, "whatsapp");
    assert!(
        secret.verdict == "lacking" && secret.lacks("another secret", "WHATSAPP_BRIDGE_SECRET"),
        "{secret:?}"
    );
    assert!(
        [&fine, &away, &strange, &secret].iter().all(|asked| !asked.printed.contains("s3cret-of-the-bridge"))
    );
    assert!(bridge.asked("send").is_empty() && bridge.asked("messages").is_empty());
    drop(bridge);
    let gone = ask(&home, "whatsapp");
    assert!(
        gone.verdict == "unreachable" && gone.message.contains("start it, or correct the address"),
        "{gone:?}"
    );
}
