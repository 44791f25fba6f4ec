//! The bridge as users get it: npm brings the pinned packages, and the real Baileys is loaded. WhatsApp itself is not needed.

use hermes_tests::gateway::{both, run};
use hermes_tests::tools::{Clients, say};
use hermes_tests::whatsapp::{ACCOUNT, link};
use hermes_tests::{Gateway, Home, wait};

use super::{has_node, log, wait_connection};

#[test]
fn the_pinned_packages_are_brought_and_the_bridge_runs_with_them() {
    if !has_node() {
        return;
    }
    let home = Home::with_config(&Home::config("true", ""));
    // What was brought once is used again: it is 30 MB.
    let kept = Clients::directory().join("whatsapp");
    fs_err::create_dir_all(&kept).unwrap();
    fs_err::create_dir_all(home.root().join("platforms/whatsapp")).unwrap();
    std::os::unix::fs::symlink(&kept, home.root().join("platforms/whatsapp/bridge")).unwrap();
    let installed = run(&home, &["whatsapp", "install"]);
    let said = both(&installed);
    if !installed.status.success() {
        let is_away =
            ["ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "ECONNRESET", "there is no `npm`"];
        assert!(is_away.iter().any(|word| said.contains(word)), "{said}");
        say("the registry of npm could not be reached");
        return;
    }
    assert!(said.contains("The bridge to WhatsApp is in place"), "{said}");
    let again = both(&run(&home, &["whatsapp", "install"]));
    assert!(again.contains("is in place already"), "{again}");
    // A session that Baileys itself has made, of an account that is none.
    let script = home.root().join("make.mjs");
    let library = kept.join("node_modules/@whiskeysockets/baileys/lib/index.js");
    let session = home.of("default").join("platforms/whatsapp/session");
    link(&home, "default", ACCOUNT);
    let text = format!(
        "import {{ initAuthCreds, BufferJSON }} from '{}'\nimport fs from 'node:fs'\nconst creds = initAuthCreds()\n\
         creds.me = {{ id: '{ACCOUNT}:1@s.whatsapp.net', name: 'Bot' }}\n\
         fs.writeFileSync('{session}/creds.json', JSON.stringify(creds, BufferJSON.replacer))\n",
        library.display()
    );
    fs_err::write(&script, text).unwrap();
    #[expect(clippy::disallowed_methods, reason = "Baileys makes a session")]
    let made = std::process::Command::new("node").arg(&script).output().unwrap();
    assert!(made.status.success(), "{}", both(&made));
    let env = home.read("default", ".env").unwrap();
    home.write("default", ".env", &format!("{env}WHATSAPP_ENABLED=true\n"));
    let gateway = Gateway::start(&home);
    wait::until_true("the bridge to answer", || {
        let status = run(&home, &["whatsapp", "status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["bridge"]["running"] == true && status["bridge"]["whatsapp"] != "connected"
    });
    wait_connection(&gateway, "retrying", "whatsapp_network_error");
    assert!(!log(&home).contains("cannot run"), "{}", log(&home));
}
