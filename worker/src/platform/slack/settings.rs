//! What `platforms.slack` and the `SLACK_…` variables may hold: what is declared of it, how it is read, and what becomes of it.

use std::collections::BTreeSet;
use std::sync::Arc;

use hermes_config::Secret;
use hermes_config::platform::{
    self, BASE, ClaimSpec, Declaration, Fault, Form, Section, Spot, Tokens, claim, field, part, switch,
};
use hermes_config::row::Kind::{Any, Bool, Choice, List, Section as Mapping, Text};
use hermes_config::row::{Group, Key, kept, key};
use hermes_wire::home::SLACK_TOKENS;
use reqwest::Url;

use crate::platform::settings::{self, Faults, say_idle};

/// The platform's name.
pub(super) const NAME: &str = "slack";
/// Where the Web API is.
const PUBLIC: &str = "https://slack.com/api/";
/// What the status says while an answer is made.
const STATUS: &str = "is thinking...";
/// Most workspaces of one bot.
const WORKSPACES: usize = 32;

/// What kind of identity a token of the bot is.
const BOT_SCOPE: &str = "slack-bot-token";

/// What it declares.
pub(super) static DECLARATION: Declaration = Declaration {
    name: NAME,
    prefix: "SLACK",
    credentials: &[&[field("SLACK_BOT_TOKEN", "token")]],
    claims: &[
        claim("slack-app-token", &[part("SLACK_APP_TOKEN", "app_token")]),
        ClaimSpec { scope: BOT_SCOPE, parts: &[part("SLACK_BOT_TOKEN", "token")], form: Form::Each },
    ],
    tokens: Some(Tokens { name: SLACK_TOKENS, scope: BOT_SCOPE }),
    called: &["/slack/"],
    adapter: true,
    overlaps: true,
    target: true,
    keys: Some(&KEYS),
    kept: IDLE,
    read: Some(read),
    ..BASE
};

/// Its rows.
static KEYS: Group = Group {
    title: "Slack",
    intro: "The token of the bot and that of the app turn it on, in Socket Mode; the signing secret instead of the app's token makes \
            Slack call `/slack/events` of this gateway. Every key may also stand below `extra`, which wins; lists may be written \
            with commas in a variable.",
    outro: "",
    keys: &[
        key("platforms.slack", Mapping, "a bot of one or more workspaces"),
        key(
            "platforms.slack.token",
            Text,
            "the bot's token (`xoxb-…`), several with commas for several workspaces; better in `.env`. More workspaces may stand in \
             `slack_tokens.json` in the home: `{\"T0123ABCD\": {\"token\": \"xoxb-…\"}}`",
        )
        .env("SLACK_BOT_TOKEN")
        .secret(),
        key(
            "platforms.slack.app_token",
            Text,
            "the app's token (`xapp-…`) with `connections:write`, for Socket Mode",
        )
        .env("SLACK_APP_TOKEN")
        .secret(),
        key(
            "platforms.slack.signing_secret",
            Text,
            "what Slack signs its requests with, where it calls this gateway",
        )
        .env("SLACK_SIGNING_SECRET")
        .secret(),
        key(
            "platforms.slack.mode",
            Choice(&["socket", "http"]),
            "how events come: through a socket, or as requests to `/slack/events` on the port of webhooks; by default through a \
             socket where there is an app's token",
        )
        .env("SLACK_MODE"),
        key(
            "platforms.slack.base_url",
            Text,
            "another address of the Web API; `http:` for this machine's own addresses only",
        )
        .env("SLACK_API_BASE_URL"),
        key(
            "platforms.slack.require_mention",
            Bool,
            "in channels, answer only who mentions the bot, or writes in a thread that it takes part in",
        )
        .yes()
        .env("SLACK_REQUIRE_MENTION"),
        key("platforms.slack.strict_mention", Bool, "in threads too, answer only who mentions the bot")
            .no()
            .env("SLACK_STRICT_MENTION"),
        key(
            "platforms.slack.mention_patterns",
            List,
            "regular expressions that count as a mention, in any letter case",
        )
        .env("SLACK_MENTION_PATTERNS"),
        key("platforms.slack.allowed_channels", List, "the only channels that are listened to; all without it")
            .env("SLACK_ALLOWED_CHANNELS"),
        key("platforms.slack.free_response_channels", List, "channels where no mention is needed")
            .env("SLACK_FREE_RESPONSE_CHANNELS"),
        key(
            "platforms.slack.reply_in_thread",
            Bool,
            "answer a message of a channel in a thread of its own, which is a conversation of its own",
        )
        .yes(),
        key(
            "platforms.slack.dm_top_level_threads_as_sessions",
            Bool,
            "the same for a message of a private chat",
        )
        .yes(),
        key("platforms.slack.reply_broadcast", Bool, "show an answer in a thread in its channel too").no(),
        key("platforms.slack.reactions", Bool, "show at a message how its answer is").yes().env("SLACK_REACTIONS"),
        key("platforms.slack.typing_indicator", Bool, "show that an answer is being made").yes(),
        key("platforms.slack.typing_status_text", Text, "what is shown then").text(STATUS),
    ],
};

/// Keys of 0.19.0 that are known here and not acted on; what is set is said.
static IDLE: &[Key] = &[
    kept("platforms.slack.rich_blocks", Bool),
    kept("platforms.slack.feedback_buttons", Bool),
    kept("platforms.slack.suggested_prompts", Any),
    kept("platforms.slack.assistant_thread_titles", Bool),
    kept("platforms.slack.cron_continuable_surface", Any),
];

/// How events come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Mode {
    /// Through a socket that this side opens, with the app's token.
    Socket(Secret),
    /// As requests, signed with this.
    Http(Secret),
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the file")]
pub(super) struct Settings {
    /// The bot's tokens, one a workspace.
    pub(super) tokens: Vec<Secret>,
    /// How many of them, the last ones, stand in the file of tokens alone.
    pub(super) of_file: usize,
    pub(super) mode: Mode,
    /// What a method's address begins with.
    pub(super) base: Url,
    pub(super) require_mention: bool,
    pub(super) strict_mention: bool,
    /// Regular expressions that compile.
    pub(super) mention_patterns: Vec<String>,
    pub(super) allowed_channels: BTreeSet<String>,
    pub(super) free_response_channels: BTreeSet<String>,
    pub(super) reply_in_thread: bool,
    pub(super) dm_threads: bool,
    pub(super) reply_broadcast: bool,
    pub(super) reactions: bool,
    pub(super) typing: bool,
    pub(super) status: String,
    /// Why it cannot run.
    pub(super) fault: Option<Fault>,
}

impl Settings {
    /// Where the token of this number stands.
    pub(super) fn source(&self, n: usize) -> &'static str {
        if n + self.of_file < self.tokens.len() { "SLACK_BOT_TOKEN" } else { SLACK_TOKENS }
    }
}

impl platform::Settings for Settings {
    fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    fn secrets(&self) -> Vec<&Secret> {
        let (Mode::Socket(secret) | Mode::Http(secret)) = &self.mode;
        self.tokens.iter().chain([secret]).collect()
    }
}

/// Reads them.
pub(super) fn read(section: &mut dyn Section) -> Arc<dyn platform::Settings> {
    let tokens = section.secret("token", "SLACK_BOT_TOKEN").unwrap_or_else(|| Secret::new(""));
    let app = section.secret("app_token", "SLACK_APP_TOKEN").filter(|token| !token.is_empty());
    let signing =
        section.secret("signing_secret", "SLACK_SIGNING_SECRET").filter(|secret| !secret.is_empty());
    let wanted = wanted_mode(section);
    let others: Vec<Secret> = section.tokens().iter().map(|one| one.token.clone()).collect();
    let mut faults = Faults::of(section);
    let mut tokens: Vec<Secret> = tokens
        .expose()
        .split(',')
        .map(str::trim)
        .filter(|token| !token.is_empty())
        .map(Secret::new)
        .collect();
    let of_file = faults.tokens(&mut tokens, others);
    let mode = faults.mode(wanted, app, signing);
    let base = faults.address().unwrap_or_else(|| Url::parse(PUBLIC).expect("it is an address"));
    let fault = faults.first;
    say_idle(section, NAME, IDLE, &[]);
    let set = |list: Vec<String>| list.into_iter().collect::<BTreeSet<_>>();
    let status = section.text("typing_status_text", "").unwrap_or_else(|| STATUS.to_owned());
    Arc::new(Settings {
        tokens,
        of_file,
        mode,
        base,
        require_mention: switch(section, "require_mention", "SLACK_REQUIRE_MENTION", true),
        strict_mention: switch(section, "strict_mention", "SLACK_STRICT_MENTION", false),
        mention_patterns: settings::mentions(section, "SLACK_MENTION_PATTERNS", NAME),
        allowed_channels: set(section.list("allowed_channels", "SLACK_ALLOWED_CHANNELS")),
        free_response_channels: set(section.list("free_response_channels", "SLACK_FREE_RESPONSE_CHANNELS")),
        reply_in_thread: switch(section, "reply_in_thread", "", true),
        dm_threads: switch(section, "dm_top_level_threads_as_sessions", "", true),
        reply_broadcast: switch(section, "reply_broadcast", "", false),
        reactions: switch(section, "reactions", "SLACK_REACTIONS", true),
        typing: switch(section, "typing_indicator", "", true),
        status: status.chars().filter(|c| !c.is_control()).take(50).collect(),
        fault,
    })
}

/// What the files say of how events come; `Some(true)`: through a socket.
fn wanted_mode(section: &mut dyn Section) -> Option<bool> {
    const VARIABLE: &str = "SLACK_MODE";
    let said = if section.has_variable(VARIABLE) {
        section.text("mode", VARIABLE).map(|text| text.to_ascii_lowercase())
    } else {
        section.choice("mode", &["socket", "http"]).map(str::to_owned)
    };
    match said.as_deref() {
        None => None,
        Some("socket") => Some(true),
        Some("http") => Some(false),
        Some(_) => {
            let message = format!("`{VARIABLE}` is neither socket nor http, and counts as absent");
            section.warn("wrong_type", Spot::Variable(VARIABLE), message, "Write one of them.");
            None
        }
    }
}

impl Faults<'_> {
    /// Adds those of the file that are not there yet; how many these are.
    fn tokens(&mut self, tokens: &mut Vec<Secret>, more: Vec<Secret>) -> usize {
        const AT: (&str, &str) = ("token", "SLACK_BOT_TOKEN");
        const FIX: &str = "Copy the Bot User OAuth Token (xoxb-…) from OAuth & Permissions of your app.";
        let own = tokens.len();
        if more.iter().any(|token| token.expose().starts_with("xapp-")) {
            let what = format!("what `{SLACK_TOKENS}` has for a workspace is the token of an app");
            self.say("slack_invalid_auth", Spot::Here, &what, FIX);
        }
        for token in more {
            if !tokens.contains(&token) {
                tokens.push(token);
            }
        }
        if tokens.is_empty() {
            self.say_of("slack_config_missing", AT, "slack has no token of a bot", FIX);
        } else if tokens.iter().any(|token| !is_plain(token.expose())) {
            self.say_of(
                "slack_invalid_auth",
                AT,
                "a token of the slack bot holds signs that no token has",
                FIX,
            );
        } else if tokens.iter().any(|token| token.expose().starts_with("xapp-")) {
            let what = "what is set as the token of the slack bot is that of an app";
            self.say_of("slack_invalid_auth", AT, what, FIX);
        }
        if tokens.len() > WORKSPACES {
            let what =
                format!("slack has the tokens of {} workspaces; {WORKSPACES} are served", tokens.len());
            self.say_of("slack_config_missing", AT, &what, "Leave some of them to another profile.");
            tokens.truncate(WORKSPACES);
        }
        tokens.len().saturating_sub(own)
    }

    fn mode(&mut self, wanted: Option<bool>, app: Option<Secret>, signing: Option<Secret>) -> Mode {
        const APP: (&str, &str) = ("app_token", "SLACK_APP_TOKEN");
        const FIX: &str = "Set SLACK_APP_TOKEN to an app-level token (xapp-…) with connections:write, from Basic Information of your \
                           app; or SLACK_SIGNING_SECRET, if Slack is to call this gateway.";
        match (wanted, app, signing) {
            (Some(true) | None, Some(app), _) => {
                if !is_plain(app.expose()) {
                    let what = "the token of the slack app holds signs that no token has";
                    self.say_of("slack_invalid_auth", APP, what, FIX);
                } else if app.expose().starts_with("xoxb-") {
                    let what = "what is set as the token of the slack app is that of a bot";
                    self.say_of("slack_invalid_auth", APP, what, FIX);
                }
                Mode::Socket(app)
            }
            (Some(false) | None, _, Some(signing)) => Mode::Http(signing),
            (Some(false), _, None) => {
                let at = ("signing_secret", "SLACK_SIGNING_SECRET");
                let what = "slack is to call this gateway, and there is no signing secret";
                let fix = "Copy the Signing Secret from Basic Information of your app.";
                self.say_of("slack_config_missing", at, what, fix);
                Mode::Http(Secret::new(""))
            }
            (_, None, _) => {
                self.say_of("slack_config_missing", APP, "slack has no token of an app", FIX);
                Mode::Socket(Secret::new(""))
            }
        }
    }

    /// An address that tokens may go to. A server alone has its methods where Slack has them.
    fn address(&mut self) -> Option<Url> {
        const AT: (&str, &str) = ("base_url", "SLACK_API_BASE_URL");
        let text = self.section.text(AT.0, AT.1)?;
        let Some(mut url) = settings::address(&text) else {
            let what = "base_url of slack is no address of a Web API: `https:`, or `http:` on this machine's own addresses";
            self.say_of("slack_base_url", AT, what, "Write an address such as https://slack.com/api/.");
            return None;
        };
        let path = match url.path() {
            "" | "/" => "/api/".to_owned(),
            path if path.ends_with('/') => path.to_owned(),
            path => format!("{path}/"),
        };
        url.set_path(&path);
        Some(url)
    }
}

/// Whether a text can stand in a header as it is.
fn is_plain(token: &str) -> bool {
    token.bytes().all(|byte| byte.is_ascii_graphic())
}
