//! Matrix, against a real homeserver: who is answered where, invitations, threads, files, approvals by a reaction, and nothing lost or
//! doubled, whoever dies, restarts or takes over.

mod checked;
mod discovered;
mod faults;
mod lives;
mod outward;
mod talk;
mod together;

use hermes_tests::chats::{self, echo, log};
use hermes_tests::matrix::{Homeserver, Person};
use hermes_tests::{Gateway, Home, home, wait};

/// A home whose default profile has an account; `more` goes into its `.env`.
fn house(env: &str, more: &str) -> Home {
    let home = Home::with_config(&Home::config("true", ""));
    home.write("default", ".env", &format!("API_SERVER_KEY={}\n{env}{more}", home::DEFAULT_KEY));
    home
}

/// State and code of the connection, as status says them.
fn connection(gateway: &Gateway<'_>) -> (String, String) {
    chats::connection(gateway, "default", "matrix")
}

fn wait_connected(gateway: &Gateway<'_>) {
    wait::until_true("the account to be connected", || connection(gateway).0 == "connected");
}

/// A bot, somebody who may talk to it, and what says so.
fn bot_and_ann(server: &Homeserver) -> (Person, Person, String) {
    let (bot, ann) = (server.person("bot"), server.person("ann"));
    let allowed = format!("MATRIX_ALLOWED_USERS={}\n", ann.id);
    (bot, ann, allowed)
}
