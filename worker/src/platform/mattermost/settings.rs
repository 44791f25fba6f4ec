//! What `platforms.mattermost` and the `MATTERMOST_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::sync::Arc;

use hermes_config::Secret;
use hermes_config::access::Listed;
use hermes_config::platform::{self, BASE, Declaration, Fault, Section, claim, field, folded, part, switch};
use hermes_config::row::Kind::{Bool, Choice, List, Section as Mapping, Text};
use hermes_config::row::{Group, key};
use reqwest::Url;

use crate::platform::settings::{self, Faults};

/// The platform's name.
pub(super) const NAME: &str = "mattermost";
/// For programs: what is needed is not there.
const MISSING: &str = "mattermost_config_missing";

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "MATTERMOST",
    credentials: &[&[field("MATTERMOST_TOKEN", "token")]],
    claims: &[claim(
        "mattermost-token",
        &[folded("MATTERMOST_URL", "url"), part("MATTERMOST_TOKEN", "token")],
    )],
    adapter: true,
    exclusive: true,
    target: true,
    keys: Some(&KEYS),
    read: Some(read),
    ..BASE
};

/// Its rows.
static KEYS: Group = Group {
    title: "Mattermost",
    intro: "The address of the server and the token of a bot account turn it on. Every key may also stand below `extra`, which wins; \
            lists may be written with commas in a variable.",
    outro: "",
    keys: &[
        key("platforms.mattermost", Mapping, "a bot account of a Mattermost server"),
        key(
            "platforms.mattermost.url",
            Text,
            "where the server is; `http:` for this machine's own addresses only",
        )
        .env("MATTERMOST_URL"),
        key("platforms.mattermost.token", Text, "the bot account's access token; better in `.env`")
            .env("MATTERMOST_TOKEN")
            .secret(),
        key(
            "platforms.mattermost.require_mention",
            Bool,
            "in channels and groups, answer only who mentions the bot",
        )
        .yes()
        .env("MATTERMOST_REQUIRE_MENTION"),
        key("platforms.mattermost.free_response_channels", List, "channels where no mention is needed")
            .env("MATTERMOST_FREE_RESPONSE_CHANNELS"),
        key(
            "platforms.mattermost.allowed_channels",
            List,
            "the only channels and groups that are listened to; all without it",
        )
        .env("MATTERMOST_ALLOWED_CHANNELS"),
        key(
            "platforms.mattermost.reply_mode",
            Choice(&["off", "thread"]),
            "`thread`: answer a message of a channel in a thread of its own, which is a conversation of its own; what is written in a \
             thread is answered there in any case",
        )
        .text("off")
        .env("MATTERMOST_REPLY_MODE"),
        key("platforms.mattermost.reactions", Bool, "show at a message how its answer is")
            .yes()
            .env("MATTERMOST_REACTIONS"),
        key("platforms.mattermost.typing_indicator", Bool, "show that an answer is being made").yes(),
    ],
};

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub(super) struct Settings {
    /// What the address of everything begins with; none: for a reason that [`fault`](Self::fault) says.
    pub(super) base: Option<Url>,
    pub(super) token: Secret,
    pub(super) require_mention: bool,
    pub(super) free_response_channels: Listed,
    /// Empty: all.
    pub(super) allowed_channels: Listed,
    /// A message of a channel is answered in a thread of its own.
    pub(super) threads: bool,
    pub(super) reactions: bool,
    pub(super) typing: bool,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        vec![&self.token]
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let address = section.text("url", "MATTERMOST_URL");
    let token = section.secret("token", "MATTERMOST_TOKEN").unwrap_or_else(|| Secret::new(""));
    let mut faults = Faults::of(section);
    let base = base_of(&mut faults, address.as_deref());
    judge_token(&mut faults, &token);
    let fault = faults.first;
    let threads = settings::word(section, "reply_mode", "MATTERMOST_REPLY_MODE", &["off", "thread"], "off");
    let listed = |list: Vec<String>| list.into_iter().collect::<Listed>();
    Arc::new(Settings {
        base,
        token,
        require_mention: switch(section, "require_mention", "MATTERMOST_REQUIRE_MENTION", true),
        free_response_channels: listed(
            section.list("free_response_channels", "MATTERMOST_FREE_RESPONSE_CHANNELS"),
        ),
        allowed_channels: listed(section.list("allowed_channels", "MATTERMOST_ALLOWED_CHANNELS")),
        threads: threads == Some("thread"),
        reactions: switch(section, "reactions", "MATTERMOST_REACTIONS", true),
        typing: switch(section, "typing_indicator", "", true),
        fault,
    })
}

/// An address that the token may go to, with `/` at its end.
fn base_of(faults: &mut Faults<'_>, text: Option<&str>) -> Option<Url> {
    const AT: (&str, &str) = ("url", "MATTERMOST_URL");
    const FIX: &str = "Set MATTERMOST_URL to the server's address, as https://chat.example.org.";
    let Some(text) = text else {
        faults.say_of(MISSING, AT, "mattermost has no address of a server", FIX);
        return None;
    };
    let Some(mut url) = settings::address(text) else {
        let what = "mattermost's url is no address that a token may go to: `https:`, or `http:` on this machine's own addresses";
        faults.say_of("mattermost_url", AT, what, FIX);
        return None;
    };
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Some(url)
}

fn judge_token(faults: &mut Faults<'_>, token: &Secret) {
    const AT: (&str, &str) = ("token", "MATTERMOST_TOKEN");
    const FIX: &str = "Copy the access token that Mattermost shows when a bot account is made (Integrations, Bot Accounts).";
    if token.is_empty() {
        faults.say_of(MISSING, AT, "mattermost has no token of a bot account", FIX);
    } else if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = "the token of the mattermost bot holds signs that no token has";
        faults.say_of("mattermost_invalid_auth", AT, what, FIX);
    }
}
