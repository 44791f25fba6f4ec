//! Wires 14: a gateway that root starts in a user's home.

use hermes_tests::owners::{give, strangers};
use hermes_tests::{Gateway, Home, home};

/// Wires 14: supervisor and workers, started as root, leave nothing in the home that its owner cannot read. And the home has a
/// persona after its first start (wires 15).
#[test]
fn a_gateway_of_root_writes_files_of_the_homes_owner() {
    let home = Home::new();
    home.profile("coder");
    if !give(&[&home.root()], 12345) {
        return;
    }
    let mut gateway = Gateway::start(&home);
    gateway.wait_ready("coder");
    assert_eq!(gateway.hook("/webhooks/hook", home::SECRET, "1", r#"{"text": "x"}"#).status, 202);
    assert_eq!(gateway.chat("/p/coder", &Home::key("coder"), "hello").status, 200);
    assert_eq!(strangers(&home.root(), 12345), Vec::<String>::new(), "while it runs");
    gateway.stop();
    assert_eq!(strangers(&home.root(), 12345), Vec::<String>::new());
    assert!(
        home.read("default", "SOUL.md")
            .unwrap()
            .starts_with("You are Hermes Agent, an intelligent AI assistant")
    );
}
