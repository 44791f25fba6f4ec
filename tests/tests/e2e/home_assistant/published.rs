//! The tests' own house, shown by a client that people use: what `hass-client` takes for Home Assistant is enough of it.

use hermes_tests::home_assistant::{HomeAssistant, TOKEN};
use hermes_tests::tools::Clients;

#[test]
fn a_published_client_takes_it_for_a_house() {
    let assistant = HomeAssistant::start();
    Clients::Chats.talk(
        "with_home_assistant.py",
        &[("HOUSE", &assistant.address()), ("TOKEN", TOKEN)],
        |line| match line {
            "do hear" => assistant.wait_heard(),
            "do change" => assistant.set("lock.door", "unlocked"),
            "do check" => {
                let notices = assistant.notices();
                assert!(
                    notices.len() == 1 && notices[0].text == "second" && assistant.made() == 2,
                    "{notices:?}"
                );
            }
            "do revoke" => assistant.revoke(true),
            _ => {}
        },
    );
}
