//! The tests' own Mattermost, shown by a client that people use: what `mattermostdriver` takes for Mattermost is enough of it.

use hermes_tests::mattermost::{ANN, BOT, DM, Mattermost, Refusal, TOKEN, TOWN};
use hermes_tests::tools::Clients;

#[test]
fn a_published_client_takes_it_for_mattermost() {
    let server = Mattermost::start();
    Clients::Chats.talk(
        "with_mattermost.py",
        &[
            ("SERVER", server.address().trim_start_matches("http://")),
            ("TOKEN", TOKEN),
            ("NAMES", &format!("{BOT} {ANN} {DM} {TOWN}")),
        ],
        |line| match line {
            "do hear" => server.wait_heard(),
            "do say" => drop(server.say(DM, ANN, "hi there")),
            "do attach" => drop(server.attach(DM, ANN, "with file", "a.txt", b"text")),
            "do limit" => server.refuse("GET users/me", [Refusal::limit(9)]),
            "do check" => {
                let seen = server.seen();
                assert!(
                    seen.iter().any(|seen| seen.files == [("out.txt".to_owned(), b"hello file".to_vec())]),
                    "{seen:?}"
                );
                assert!(seen.iter().any(|seen| seen.text == "changed" && seen.edits == 1), "{seen:?}");
            }
            "do revoke" => server.revoke(true),
            _ => {}
        },
    );
}
