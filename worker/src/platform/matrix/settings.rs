//! What `platforms.matrix` and the `MATRIX_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use hermes_config::access::Listed;
use hermes_config::platform::{self, BASE, Declaration, Fault, Section, claim, field, folded, part, switch};
use hermes_config::row::Kind::{Any, Bool, Choice, Int, List, Number, Section as Mapping, Text};
use hermes_config::row::{Group, Key, kept, key};
use hermes_config::{Secret, unsupported};
use reqwest::Url;

use super::wire::{is_person, well_known};
use crate::platform::settings::{self, Faults, Quotes, at, say_idle, word};

/// The platform's name.
pub(super) const NAME: &str = "matrix";
/// For programs: what is needed is not there.
const MISSING: &str = "matrix_config_missing";
/// Largest file either way where nothing is set, in bytes.
const MEDIA: u64 = 100 * 1024 * 1024;
/// How long what else somebody writes is waited for where nothing is set.
const BATCH: Duration = Duration::from_millis(600);
/// Longest message where nothing is set, and at all: an event has 64 KiB, and holds a message twice.
const LONGEST: u64 = 16_000;
pub(super) const MOST: usize = 30_000;

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "MATRIX",
    credentials: &[&[field("MATRIX_ACCESS_TOKEN", "token")], &[field("MATRIX_PASSWORD", "password")]],
    claims: &[
        claim(
            "matrix-user",
            &[folded("MATRIX_HOMESERVER", "homeserver"), folded("MATRIX_USER_ID", "user_id")],
        ),
        claim("matrix-access-token", &[part("MATRIX_ACCESS_TOKEN", "token")]),
    ],
    adapter: true,
    exclusive: true,
    target: true,
    keys: Some(&KEYS),
    kept: IDLE,
    read: Some(read),
    ..BASE
};

/// Its rows.
static KEYS: Group = Group {
    title: "Matrix",
    intro: "A homeserver and the token of an account, or its id and password, in `.env` are enough to turn it on. Rooms with encryption \
            are not read: this build has none. Every key may also stand below `extra`, which wins; lists may be written with commas in \
            a variable.",
    outro: "",
    keys: &[
        key("platforms.matrix", Mapping, "an account of Matrix"),
        key(
            "platforms.matrix.homeserver",
            Text,
            "the homeserver's address, or its server's name, which is asked where it is (that of `user_id` where nothing is set); `http:` for \
             this machine's own addresses only",
        )
        .env("MATRIX_HOMESERVER"),
        key("platforms.matrix.token", Text, "an access token of the account; better in `.env`")
            .env("MATRIX_ACCESS_TOKEN")
            .secret(),
        key("platforms.matrix.user_id", Text, "the account, as `@bot:example.org`; needed with a password")
            .env("MATRIX_USER_ID"),
        key("platforms.matrix.password", Text, "its password, where there is no token; better in `.env`")
            .env("MATRIX_PASSWORD")
            .secret(),
        key("platforms.matrix.device_id", Text, "the device that a password logs in as")
            .env("MATRIX_DEVICE_ID"),
        key("platforms.matrix.proxy", Text, "proxy for Matrix alone, before that of all requests")
            .env("MATRIX_PROXY")
            .secret(),
        key(
            "platforms.matrix.allowed_rooms",
            List,
            "the only rooms that are listened to, beside private ones; all without it",
        )
        .env("MATRIX_ALLOWED_ROOMS"),
        key("platforms.matrix.free_response_rooms", List, "rooms where no mention is needed")
            .env("MATRIX_FREE_RESPONSE_ROOMS"),
        key(
            "platforms.matrix.require_mention",
            Bool,
            "in rooms, answer only who mentions the bot or answers it",
        )
        .yes()
        .env("MATRIX_REQUIRE_MENTION"),
        key(
            "platforms.matrix.thread_require_mention",
            Bool,
            "the same in threads in which the bot has spoken",
        )
        .no()
        .env("MATRIX_THREAD_REQUIRE_MENTION"),
        key("platforms.matrix.auto_thread", Bool, "in rooms, answer in a thread of the message's own")
            .yes()
            .env("MATRIX_AUTO_THREAD"),
        key("platforms.matrix.dm_auto_thread", Bool, "the same in private rooms")
            .no()
            .env("MATRIX_DM_AUTO_THREAD"),
        key(
            "platforms.matrix.dm_mention_threads",
            Bool,
            "the same in private rooms, for messages that mention the bot",
        )
        .no()
        .env("MATRIX_DM_MENTION_THREADS"),
        key(
            "platforms.matrix.session_scope",
            Choice(&["auto", "room", "thread"]),
            "what a conversation is: a thread where there is one, the whole room, or always a thread",
        )
        .text("auto")
        .env("MATRIX_SESSION_SCOPE"),
        key("platforms.matrix.process_notices", Bool, "answer what other programs say (`m.notice`)")
            .no()
            .env("MATRIX_PROCESS_NOTICES"),
        key("platforms.matrix.allow_room_mentions", Bool, "let `@room` in answers notify everybody")
            .no()
            .env("MATRIX_ALLOW_ROOM_MENTIONS"),
        key(
            "platforms.matrix.allow_public_rooms",
            Bool,
            "follow invitations into rooms that everybody may join",
        )
        .no()
        .env("MATRIX_ALLOW_PUBLIC_ROOMS"),
        key(
            "platforms.matrix.ignore_user_patterns",
            List,
            "regular expressions for ids that are never answered",
        )
        .env("MATRIX_IGNORE_USER_PATTERNS"),
        key("platforms.matrix.reactions", Bool, "show how a turn is by a reaction")
            .yes()
            .env("MATRIX_REACTIONS"),
        key(
            "platforms.matrix.approval_require_sender",
            Bool,
            "only who asked for something may allow it by a reaction",
        )
        .yes()
        .env("MATRIX_APPROVAL_REQUIRE_SENDER"),
        key(
            "platforms.matrix.reply_to_mode",
            Choice(&["off", "first", "all"]),
            "which parts of an answer quote what they answer",
        )
        .text("first")
        .env("MATRIX_REPLY_TO_MODE"),
        key("platforms.matrix.typing_indicator", Bool, "show that an answer is being made").yes(),
        key(
            "platforms.matrix.text_batch_delay_seconds",
            Number,
            "how long what else somebody writes or shows is waited for, from 0 to 2; 0: not at all",
        )
        .env("HERMES_MATRIX_TEXT_BATCH_DELAY_SECONDS"),
        key("platforms.matrix.max_media_bytes", Int(1, 1 << 30), "largest file in either direction")
            .int(104_857_600)
            .env("MATRIX_MAX_MEDIA_BYTES"),
        key(
            "platforms.matrix.max_message_length",
            Int(500, 65_535),
            "longest message, in characters; beyond 30000 an event would be too long, so more is as much",
        )
        .int(16_000)
        .env("MATRIX_MAX_MESSAGE_LENGTH"),
        key(
            "platforms.matrix.e2ee_mode",
            Choice(&["off", "optional", "required"]),
            "encryption, which this build has not: with `required` the platform does not start",
        )
        .text("off")
        .env("MATRIX_E2EE_MODE"),
    ],
};

/// Keys of 0.19.0 that are known here and not acted on; what is set is said.
static IDLE: &[Key] = &[
    kept("platforms.matrix.encryption", Any),
    kept("platforms.matrix.recovery_key", Text).secret(),
    kept("platforms.matrix.recovery_key_output_file", Text),
    kept("platforms.matrix.approval_timeout_seconds", Any),
];

/// Variables of the same.
const IDLE_VARIABLES: [&str; 3] =
    ["MATRIX_RECOVERY_KEY", "MATRIX_RECOVERY_KEY_OUTPUT_FILE", "MATRIX_APPROVAL_TIMEOUT_SECONDS"];

/// Where the homeserver is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Homeserver {
    /// There.
    At(Url),
    /// Where the server of this name says. Empty: nowhere, for a reason that [`fault`](Settings::fault) says.
    Of(String),
}

/// What a conversation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Auto,
    Room,
    Thread,
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub(super) struct Settings {
    pub(super) homeserver: Homeserver,
    pub(super) token: Option<Secret>,
    pub(super) user_id: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) device_id: Option<String>,
    /// Proxy for this platform alone.
    pub(super) proxy: Option<Secret>,
    pub(super) allowed_rooms: Listed,
    pub(super) free_rooms: Listed,
    pub(super) require_mention: bool,
    pub(super) thread_require_mention: bool,
    pub(super) auto_thread: bool,
    pub(super) dm_auto_thread: bool,
    pub(super) dm_mention_threads: bool,
    pub(super) scope: Scope,
    pub(super) notices: bool,
    pub(super) room_mentions: bool,
    pub(super) public_rooms: bool,
    /// Regular expressions that compile.
    pub(super) ignored: Vec<String>,
    pub(super) reactions: bool,
    pub(super) approval_by_sender: bool,
    pub(super) quotes: Quotes,
    pub(super) typing: bool,
    /// How long what else somebody writes is waited for; nothing waits where it is zero.
    pub(super) batch: Duration,
    pub(super) largest: u64,
    pub(super) longest: usize,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        self.token.iter().chain(&self.password).chain(&self.proxy).collect()
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let filled = |secret: Option<Secret>| secret.filter(|secret| !secret.is_empty());
    let token = filled(section.secret("token", "MATRIX_ACCESS_TOKEN"));
    let password = filled(section.secret("password", "MATRIX_PASSWORD"));
    let user_id = section.text("user_id", "MATRIX_USER_ID");
    let mut faults = Faults::of(section);
    let homeserver = faults.homeserver(user_id.as_deref());
    faults.account(token.as_ref(), password.as_ref(), user_id.as_deref());
    faults.encryption();
    let fault = faults.first;
    let idle = IDLE.iter().filter(|key| !key.path.ends_with(".encryption"));
    say_idle(section, NAME, idle, &IDLE_VARIABLES);
    // The key of 0.19.0 for all platforms, where it is what is set.
    let free =
        if section.is_set("free_response_rooms") { "free_response_rooms" } else { "free_response_channels" };
    let most = u64::try_from(MOST).unwrap_or(LONGEST);
    let longest = section.number("max_message_length", "MATRIX_MAX_MESSAGE_LENGTH", 500..=65_535);
    Arc::new(Settings {
        homeserver,
        token,
        user_id,
        password,
        device_id: section.text("device_id", "MATRIX_DEVICE_ID"),
        proxy: filled(section.secret("proxy", "MATRIX_PROXY")),
        allowed_rooms: section.list("allowed_rooms", "MATRIX_ALLOWED_ROOMS").into_iter().collect(),
        free_rooms: section.list(free, "MATRIX_FREE_RESPONSE_ROOMS").into_iter().collect(),
        require_mention: switch(section, "require_mention", "MATRIX_REQUIRE_MENTION", true),
        thread_require_mention: switch(
            section,
            "thread_require_mention",
            "MATRIX_THREAD_REQUIRE_MENTION",
            false,
        ),
        auto_thread: switch(section, "auto_thread", "MATRIX_AUTO_THREAD", true),
        dm_auto_thread: switch(section, "dm_auto_thread", "MATRIX_DM_AUTO_THREAD", false),
        dm_mention_threads: switch(section, "dm_mention_threads", "MATRIX_DM_MENTION_THREADS", false),
        scope: match word(
            section,
            "session_scope",
            "MATRIX_SESSION_SCOPE",
            &["auto", "room", "thread"],
            "auto",
        ) {
            Some("room") => Scope::Room,
            Some("thread") => Scope::Thread,
            _ => Scope::Auto,
        },
        notices: switch(section, "process_notices", "MATRIX_PROCESS_NOTICES", false),
        room_mentions: switch(section, "allow_room_mentions", "MATRIX_ALLOW_ROOM_MENTIONS", false),
        public_rooms: switch(section, "allow_public_rooms", "MATRIX_ALLOW_PUBLIC_ROOMS", false),
        ignored: patterns(section),
        reactions: switch(section, "reactions", "MATRIX_REACTIONS", true),
        approval_by_sender: switch(
            section,
            "approval_require_sender",
            "MATRIX_APPROVAL_REQUIRE_SENDER",
            true,
        ),
        quotes: Quotes::read(section, "MATRIX_REPLY_TO_MODE"),
        typing: switch(section, "typing_indicator", "", true),
        batch: settings::batch(section, "HERMES_MATRIX_TEXT_BATCH_DELAY_SECONDS", 0.0..=2.0).unwrap_or(BATCH),
        largest: section.number("max_media_bytes", "MATRIX_MAX_MEDIA_BYTES", 1..=1 << 30).unwrap_or(MEDIA),
        longest: usize::try_from(longest.unwrap_or(LONGEST).min(most)).unwrap_or(MOST),
        fault,
    })
}

impl Faults<'_> {
    /// An address that a token may go to, or the name of a server that knows one: its own, or that of the account.
    fn homeserver(&mut self, user: Option<&str>) -> Homeserver {
        const KEY: (&str, &str) = ("homeserver", "MATRIX_HOMESERVER");
        let of_user =
            || user.filter(|user| is_person(user))?.split_once(':').map(|(_, server)| server.to_owned());
        let Some(text) = self.section.text(KEY.0, KEY.1).or_else(of_user) else {
            let fix = "Set MATRIX_HOMESERVER in .env to the address of the homeserver, as https://matrix.example.org, or to its server's name.";
            self.say_of(MISSING, (KEY.0, KEY.1), "matrix has no homeserver", fix);
            return Homeserver::Of(String::new());
        };
        if !text.contains("://") && well_known(&text).is_some() {
            return Homeserver::Of(text);
        }
        let url = settings::address(&text);
        if url.is_none() {
            let message = "the homeserver of matrix is no address that a token may go to: `https:`, or `http:` on this machine's own \
                           addresses";
            let fix = "Write an address such as https://matrix.example.org.";
            self.say_of("matrix_base_url", (KEY.0, KEY.1), message, fix);
        }
        url.map_or_else(|| Homeserver::Of(String::new()), Homeserver::At)
    }

    fn account(&mut self, token: Option<&Secret>, password: Option<&Secret>, user: Option<&str>) {
        if token.is_none() && password.is_none() {
            let fix = "Set MATRIX_ACCESS_TOKEN in .env, or MATRIX_USER_ID and MATRIX_PASSWORD.";
            self.say_of(
                MISSING,
                ("token", "MATRIX_ACCESS_TOKEN"),
                "matrix has neither a token nor a password",
                fix,
            );
        }
        if token.is_some_and(|token| !token.expose().bytes().all(|byte| byte.is_ascii_graphic())) {
            let fix = "Copy the access token again, without anything around it.";
            self.say_of(
                "matrix_invalid_auth",
                ("token", "MATRIX_ACCESS_TOKEN"),
                "the token of matrix is none",
                fix,
            );
        }
        if token.is_none() && password.is_some() && user.is_none() {
            let fix = "Set MATRIX_USER_ID to the account, as @bot:example.org.";
            self.say_of(
                MISSING,
                ("user_id", "MATRIX_USER_ID"),
                "matrix has a password, and nobody whose it is",
                fix,
            );
        }
        if user.is_some_and(|user| !is_person(user)) {
            let fix = "Write it as @bot:example.org.";
            self.say_of(
                MISSING,
                ("user_id", "MATRIX_USER_ID"),
                "the account of matrix is no id of anybody",
                fix,
            );
        }
    }

    /// Who wants encryption or nothing gets nothing.
    fn encryption(&mut self) {
        const KEY: (&str, &str) = ("e2ee_mode", "MATRIX_E2EE_MODE");
        let mode = word(self.section, KEY.0, KEY.1, &["off", "optional", "required"], "off");
        let older = switch(self.section, "encryption", "MATRIX_ENCRYPTION", false);
        let (key, variable) = if mode.is_some() { KEY } else { ("encryption", "MATRIX_ENCRYPTION") };
        if mode == Some("required") || (mode.is_none() && older) {
            let message = "matrix is to run with encryption only, which this build has not";
            let fix = "Set MATRIX_E2EE_MODE=off to use it in rooms without encryption.";
            self.say_of("matrix_e2ee_unavailable", (key, variable), message, fix);
        } else if mode == Some("optional") {
            let at = at(self.section, key, variable);
            let message = format!("{}matrix's encryption: rooms with it are not read", unsupported::PREFIX);
            self.section.warn(unsupported::CODE, at, message, "");
        }
    }
}

/// The patterns that are regular expressions.
fn patterns(section: &mut dyn Section) -> Vec<String> {
    const KEY: (&str, &str) = ("ignore_user_patterns", "MATRIX_IGNORE_USER_PATTERNS");
    let all = section.list(KEY.0, KEY.1);
    let at = at(section, KEY.0, KEY.1);
    settings::regular(section, all, at, "matrix's patterns for ids")
}
