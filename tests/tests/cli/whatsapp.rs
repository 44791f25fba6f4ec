//! `hermes whatsapp`: what is said where something is missing, and linking an account to a stand-in for WhatsApp.

use hermes_tests::Home;
use hermes_tests::command::run;
use hermes_tests::whatsapp::{ACCOUNT, Servers, link};
use serde_json::Value;

fn has_node() -> bool {
    let is_there =
        ["/usr/local/bin/node", "/usr/bin/node"].iter().any(|path| std::path::Path::new(path).exists());
    if !is_there {
        hermes_tests::tools::skip("it needs Node.js 20 or newer");
    }
    is_there
}

#[test]
fn what_is_missing_is_named_with_the_next_step() {
    if !has_node() {
        return;
    }
    let home = Home::with_config(&Home::config("true", ""));
    home.profile("coder");
    let status = run(&home, &["-p", "coder", "whatsapp", "status"]);
    assert_eq!(status.code, Some(1));
    for line in [
        "✓ Node.js: v",
        "✗ Bridge: not installed; `hermes whatsapp install` does that",
        "`hermes -p coder whatsapp pair` does that",
        "✗ Profile 'coder': WhatsApp is off",
        "- Connection: the bridge does not run",
    ] {
        assert!(status.out.contains(line), "{line}: {}", status.out);
    }
    let pair = run(&home, &["whatsapp", "pair"]);
    assert_eq!(pair.code, Some(1));
    assert!(
        pair.err.contains("Error: the bridge is not installed")
            && pair.err.contains("hint: `hermes whatsapp install`"),
        "{}",
        pair.err
    );
    let phone = run(&home, &["whatsapp", "pair", "--phone", "12"]);
    assert!(phone.code == Some(1) && phone.err.contains("the number is none"), "{}", phone.err);
    assert_eq!(run(&home, &["whatsapp"]).code, Some(2));
}

/// Another bridge than ours needs no installation of ours.
#[test]
fn a_script_and_a_bridge_of_somebody_else_s_are_looked_at_instead_of_ours() {
    if !has_node() {
        return;
    }
    let config = Home::config("true", "");
    let home = Home::with_config(&format!("{config}  whatsapp: {{bridge_script: own.js}}\n"));
    home.write("default", ".env", "WHATSAPP_ENABLED=true\n");
    link(&home, "default", ACCOUNT);
    let missing = run(&home, &["whatsapp", "status"]);
    assert!(
        missing.code == Some(1) && missing.out.contains("own.js (bridge_script) is not there"),
        "{}",
        missing.out
    );
    home.write("default", "own.js", "");
    let there = run(&home, &["whatsapp", "status"]);
    assert!(there.code == Some(0) && there.out.contains("✓ Bridge: the script "), "{}", there.out);
    home.write("default", ".env", "WHATSAPP_ENABLED=true\nWHATSAPP_BRIDGE_URL=http://127.0.0.1:9/x\n");
    let theirs = run(&home, &["whatsapp", "status"]);
    assert!(
        theirs.code == Some(0) && theirs.out.contains("somebody else's, at http://127.0.0.1:9;"),
        "{}",
        theirs.out
    );
}

#[test]
fn an_account_is_linked_once_and_again_when_that_is_wanted() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = Home::with_config(&Home::config("true", ""));
    servers.install(&home);
    let linked = run(&home, &["whatsapp", "pair"]);
    assert_eq!(linked.code, Some(0), "{} {}", linked.out, linked.err);
    assert!(linked.out.contains("Linked devices") && linked.out.contains("[scan-me]"), "{}", linked.out);
    assert!(
        linked.out.contains(&format!("({ACCOUNT}@s.whatsapp.net)"))
            && linked.out.contains("WHATSAPP_ENABLED=true"),
        "{}",
        linked.out
    );
    let again = run(&home, &["whatsapp", "pair"]);
    assert!(
        again.code == Some(0) && again.out.contains(&format!("is linked to {ACCOUNT} already")),
        "{}",
        again.out
    );
    assert_eq!(servers.pids(ACCOUNT).len(), 1);
    let other = run(&home, &["whatsapp", "pair", "--again", "--json"]);
    assert_eq!(other.code, Some(0), "{}", other.err);
    let events: Vec<Value> = other.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().any(|event| event["event"] == "qr" && event["qr"] == "scan-me"));
    assert_eq!(events.last().unwrap()["event"], "paired");
    let kept = fs_err::read_dir(home.root().join("platforms/whatsapp")).unwrap().flatten();
    assert!(kept.filter(|entry| entry.file_name().to_string_lossy().starts_with("session.")).count() == 1);
    let code = run(&home, &["whatsapp", "pair", "--again", "--phone", "+49 999 999"]);
    assert!(code.code == Some(0) && code.out.contains("ABCD-1234"), "{} {}", code.out, code.err);
}

#[test]
fn status_tells_programs_the_same() {
    if !has_node() {
        return;
    }
    let servers = Servers::start();
    let home = servers.house("");
    let status = run(&home, &["whatsapp", "status", "--json"]);
    let value: Value = serde_json::from_str(&status.out).unwrap();
    assert_eq!(status.code, Some(0), "{value}");
    assert_eq!(
        (&value["installed"], &value["enabled"], &value["account"]),
        (&true.into(), &true.into(), &ACCOUNT.into())
    );
    assert_eq!(value["bridge"]["running"], false);
    link(&home, "default", ACCOUNT);
    home.write("default", "platforms/whatsapp/session/creds.json", "{ damaged");
    let status = run(&home, &["whatsapp", "status"]);
    assert!(status.code == Some(1) && status.out.contains("is damaged"), "{}", status.out);
}
