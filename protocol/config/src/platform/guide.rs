//! How each platform is set up, as people are told: what to click where, and which variables it takes. Text alone: whether this build
//! connects the platform is said by the registry, and whether what was set works by the platform's own check.

/// How one platform is set up.
#[derive(Debug, PartialEq, Eq)]
pub struct Guide {
    /// The platform.
    pub platform: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What to do at the service, in order.
    pub steps: &'static [&'static str],
    /// What it is told in `.env`, in order.
    pub variables: &'static [Variable],
    /// A text to be copied to the service.
    pub paste: Option<Paste>,
}

/// A variable of a platform.
#[derive(Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// What it holds.
    pub about: &'static str,
    /// Nobody must see it.
    pub is_secret: bool,
    /// What holds where nobody says otherwise; empty: nothing does.
    pub default: &'static str,
    /// The platform does not run without it.
    pub is_needed: bool,
}

/// A text to be copied to the service.
#[derive(Debug, PartialEq, Eq)]
pub struct Paste {
    /// What it is.
    pub about: &'static str,
    /// The text.
    pub text: &'static str,
}

const fn secret(name: &'static str, about: &'static str) -> Variable {
    Variable { name, about, is_secret: true, default: "", is_needed: true }
}

const fn needed(name: &'static str, about: &'static str, default: &'static str) -> Variable {
    Variable { name, about, is_secret: false, default, is_needed: true }
}

const fn optional(name: &'static str, about: &'static str) -> Variable {
    Variable { name, about, is_secret: false, default: "", is_needed: false }
}

/// Of every platform that can be set up so.
pub static GUIDES: &[Guide] = &[
    Guide {
        platform: "telegram",
        title: "Telegram",
        steps: &[
            "Open a chat with @BotFather (https://t.me/BotFather), send /newbot, and choose a name and a username that ends with `bot`.",
            "Copy the token that it answers with; it looks like 123456789:AAF…",
            "For groups: send /setprivacy to @BotFather, choose the bot and then Disable, so that it sees more than commands, replies and \
             mentions; afterwards take it out of its groups and add it again.",
            "Your own id, for the list of people who may talk to it: once the bot runs, write to it and look for `Unauthorized user:` in `hermes \
             logs`. Without a list, who writes to it in private gets a code for `hermes pairing approve telegram CODE`.",
        ],
        variables: &[
            secret("TELEGRAM_BOT_TOKEN", "the bot's token, of @BotFather"),
            optional("TELEGRAM_ALLOWED_USERS", "ids of the people who may talk to it, with commas"),
        ],
        paste: None,
    },
    Guide {
        platform: "discord",
        title: "Discord",
        steps: &[
            "Open https://discord.com/developers/applications, New Application, and in it Bot: Reset Token, and copy the token.",
            "On the same page, below Privileged Gateway Intents, turn on MESSAGE CONTENT INTENT. No other one is asked for.",
            "Invite it: OAuth2, URL Generator, scopes `bot` and `applications.commands`; permissions View Channels, Send Messages, Send Messages \
             in Threads, Create Public Threads, Embed Links, Attach Files, Read Message History, Add Reactions. Or open \
             https://discord.com/oauth2/authorize?client_id=APPLICATION_ID&scope=bot+applications.commands&permissions=309237763136 with the \
             id of the application.",
            "Your own id: Discord's settings, Advanced, Developer Mode; then a right click on your name, Copy User ID.",
        ],
        variables: &[
            secret("DISCORD_BOT_TOKEN", "the bot's token, of the page Bot"),
            optional("DISCORD_ALLOWED_USERS", "ids of the people who may talk to it, with commas"),
        ],
        paste: None,
    },
    Guide {
        platform: "slack",
        title: "Slack",
        steps: &[
            "Open https://api.slack.com/apps, Create New App, From a manifest, choose the workspace, and paste the manifest below. It turns on \
             Socket Mode, the bot's scopes, its events, interactivity and the command /hermes.",
            "Basic Information, App-Level Tokens, Generate Token: the scope `connections:write`. Copy the token; it begins with xapp-.",
            "Install App, Install to Workspace. Copy the Bot User OAuth Token; it begins with xoxb-.",
            "Invite it to its channels: /invite @Hermes. Your own member id: your profile in Slack, ⋮, Copy member ID.",
        ],
        variables: &[
            secret("SLACK_BOT_TOKEN", "the bot's token, xoxb-…; those of several workspaces with commas"),
            secret("SLACK_APP_TOKEN", "the app's token for Socket Mode, xapp-…"),
            optional("SLACK_ALLOWED_USERS", "member ids of the people who may talk to it, with commas"),
        ],
        paste: Some(Paste {
            about: "the app's manifest, for Create New App, From a manifest, JSON",
            text: SLACK,
        }),
    },
    Guide {
        platform: "matrix",
        title: "Matrix",
        steps: &[
            "Make an account for the bot at a homeserver, with Element or another client.",
            "Take an access token of it: in Element, All settings, Help & About, Advanced, Access Token. Do not log that session out. With \
             MATRIX_USER_ID and MATRIX_PASSWORD instead of a token it logs in by itself.",
            "Invite it to a room, from an account of MATRIX_ALLOWED_USERS: other invitations are left alone. Rooms with end-to-end encryption \
             are not read.",
        ],
        variables: &[
            needed("MATRIX_HOMESERVER", "the homeserver's address, as https://matrix.example.org", ""),
            secret("MATRIX_ACCESS_TOKEN", "the account's access token"),
            optional(
                "MATRIX_ALLOWED_USERS",
                "the people who may talk to it, as @ann:example.org, with commas",
            ),
        ],
        paste: None,
    },
    Guide {
        platform: "mattermost",
        title: "Mattermost",
        steps: &[
            "As an administrator: System Console, Integrations, Bot Accounts, Enable Bot Account Creation. Then Integrations, Bot Accounts, Add Bot \
             Account, and copy its access token; it is shown once.",
            "Add the bot to a team (the team's menu, Invite people), and to its channels: /invite @its-name. In channels it answers who mentions it.",
            "Ids of channels: a channel's menu, View Info. Your own id, for the list of people who may talk to it: once the bot runs, write to it \
             and look for `Unauthorized user:` in `hermes logs`.",
        ],
        variables: &[
            needed("MATTERMOST_URL", "the server's address, as https://chat.example.org", ""),
            secret("MATTERMOST_TOKEN", "the bot account's access token"),
            optional("MATTERMOST_ALLOWED_USERS", "ids of the people who may talk to it, with commas"),
        ],
        paste: None,
    },
    Guide {
        platform: "homeassistant",
        title: "Home Assistant",
        steps: &[
            "Make a long-lived access token, as a user who is an administrator: your profile in Home Assistant, Security, Long-lived access tokens, \
             Create token.",
            "The address has to begin with https://, or to be on this machine. A house on another one without TLS is reached through a tunnel, as \
             `ssh -N -L 8123:localhost:8123 user@homeassistant.local` and HASS_URL=http://127.0.0.1:8123.",
            "Nothing is told until config.yaml says what is watched, below platforms.homeassistant: watch_domains, watch_entities or watch_all.",
        ],
        variables: &[
            needed("HASS_URL", "where Home Assistant is, as https://home.example.org", ""),
            secret("HASS_TOKEN", "a long-lived access token"),
        ],
        paste: None,
    },
    Guide {
        platform: "signal",
        title: "Signal",
        steps: &[
            "Install signal-cli (https://github.com/AsamK/signal-cli), and give it an account: `signal-cli link -n hermes` shows a code for the \
             app on your phone (Settings, Linked devices); or register a number of its own.",
            "Keep its daemon running, on this machine: `signal-cli daemon --http 127.0.0.1:8080`.",
            "Groups are off until SIGNAL_GROUP_ALLOWED_USERS lists their ids, or `*`.",
        ],
        variables: &[
            needed("SIGNAL_HTTP_URL", "where the daemon listens", "http://127.0.0.1:8080"),
            needed("SIGNAL_ACCOUNT", "the account's number, as +491234567", ""),
            optional("SIGNAL_ALLOWED_USERS", "numbers of the people who may talk to it, with commas"),
        ],
        paste: None,
    },
    Guide {
        platform: "whatsapp",
        title: "WhatsApp",
        steps: &[
            "Node.js is needed on this machine. `hermes whatsapp install` installs the bridge that speaks WhatsApp's protocol.",
            "`hermes whatsapp pair` shows a code for the app on the phone: Settings, Linked devices, Link a device. It is not WhatsApp's official \
             way for bots: use a number that you can do without.",
            "Mode `self-chat` answers only what you write to yourself; `bot` is for a number of its own.",
        ],
        variables: &[
            needed("WHATSAPP_ENABLED", "turns it on", "true"),
            needed("WHATSAPP_MODE", "self-chat or bot", "self-chat"),
            optional("WHATSAPP_ALLOWED_USERS", "numbers of the people who may talk to it, with commas"),
        ],
        paste: None,
    },
    Guide {
        platform: "ntfy",
        title: "ntfy",
        steps: &[
            "Choose a topic whose name nobody guesses (on https://ntfy.sh its name is the password), or one of your own server that asks for a \
             token. Subscribe to it in ntfy's app or on its web page.",
            "Whoever may publish in the topic is the user: put its name into NTFY_ALLOWED_USERS as well.",
        ],
        variables: &[
            needed("NTFY_TOPIC", "the topic that is read, and answered in", ""),
            optional("NTFY_SERVER_URL", "the server, where it is not https://ntfy.sh"),
            Variable {
                name: "NTFY_TOKEN",
                about: "an access token, tk_…, or `user:password`, where the server asks for one",
                is_secret: true,
                default: "",
                is_needed: false,
            },
            optional(
                "NTFY_ALLOWED_USERS",
                "the topic's name once more: who publishes there may talk to the profile",
            ),
        ],
        paste: None,
    },
    Guide {
        platform: "irc",
        title: "IRC",
        steps: &[
            "Choose a server and a channel. Register the bot's nick there, where the network has accounts (/msg NickServ REGISTER …): with \
             IRC_SASL_USERNAME and IRC_SASL_PASSWORD the bot logs in before it is seen.",
            "In the channel it answers who calls it by its nick (`hermes: …`), and in private who is listed. Names in IRC_ALLOWED_USERS are accounts \
             where the server vouches for them, and nicks, which anybody may take, where it does not.",
        ],
        variables: &[
            needed("IRC_SERVER", "the server's host, as irc.libera.chat", ""),
            needed("IRC_CHANNEL", "the channels, with commas, in quotes: '#hermes'", ""),
            optional("IRC_NICKNAME", "the bot's nick, where it is not hermes-bot"),
            optional("IRC_SASL_USERNAME", "the bot's account"),
            Variable {
                name: "IRC_SASL_PASSWORD",
                about: "its password",
                is_secret: true,
                default: "",
                is_needed: false,
            },
            optional(
                "IRC_ALLOWED_USERS",
                "accounts or nicks of the people who may talk to it, in small letters, with commas",
            ),
        ],
        paste: None,
    },
    Guide {
        platform: "email",
        title: "Email",
        steps: &[
            "Make a mailbox of its own for the bot at a provider with IMAP and SMTP: it reads everything that comes in there. At Gmail and others \
             with a second factor, make a password for apps and take that one.",
            "Nobody is believed by his `From:` alone, which anybody can write: the own mail server has to say in `Authentication-Results` that \
             DMARC, DKIM or SPF has passed. Look into the source of a mail that came: the name behind `Authentication-Results:` is \
             EMAIL_AUTHSERV_ID, where it is not of the domain of the address or of the IMAP server.",
            "Servers that are not on ports 993 and 587: EMAIL_IMAP_PORT, EMAIL_SMTP_PORT and EMAIL_TLS (implicit, starttls; none for this machine \
             alone).",
        ],
        variables: &[
            needed("EMAIL_ADDRESS", "the bot's address, as hermes@example.org", ""),
            secret("EMAIL_PASSWORD", "its password, or one for apps"),
            needed("EMAIL_IMAP_HOST", "the server of the inbox, as imap.example.org", ""),
            needed("EMAIL_SMTP_HOST", "the server that answers go out by, as smtp.example.org", ""),
            optional("EMAIL_AUTHSERV_ID", "the name by which the own mail server signs its results"),
            optional("EMAIL_ALLOWED_USERS", "addresses of the people who may talk to it, with commas"),
        ],
        paste: None,
    },
];

/// How a platform is set up; none: nothing is to be done at a service, or nobody wrote it down.
pub fn guide(platform: &str) -> Option<&'static Guide> {
    GUIDES.iter().find(|guide| guide.platform == platform)
}

const SLACK: &str = r#"{
  "display_information": {"name": "Hermes", "description": "An agent of Hermes"},
  "features": {
    "app_home": {"home_tab_enabled": false, "messages_tab_enabled": true, "messages_tab_read_only_enabled": false},
    "bot_user": {"display_name": "Hermes", "always_online": true},
    "assistant_view": {"assistant_description": "An agent of Hermes", "suggested_prompts": []},
    "slash_commands": [
      {"command": "/hermes", "description": "A command to the agent", "usage_hint": "help", "should_escape": false}
    ]
  },
  "oauth_config": {
    "scopes": {
      "bot": [
        "app_mentions:read", "assistant:write", "channels:history", "channels:read", "chat:write", "commands", "files:read",
        "files:write", "groups:history", "groups:read", "im:history", "im:read", "im:write", "mpim:history", "mpim:read",
        "reactions:read", "reactions:write", "users:read"
      ]
    }
  },
  "settings": {
    "event_subscriptions": {
      "bot_events": [
        "app_home_opened", "app_mention", "assistant_thread_context_changed", "assistant_thread_started", "file_shared",
        "message.channels", "message.groups", "message.im", "message.mpim"
      ]
    },
    "interactivity": {"is_enabled": true},
    "org_deploy_enabled": false,
    "socket_mode_enabled": true,
    "token_rotation_enabled": false
  }
}"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_json_with_what_the_adapter_needs() {
        let manifest: serde_json::Value = serde_json::from_str(SLACK).unwrap();
        assert_eq!(manifest["settings"]["socket_mode_enabled"], true);
        let has =
            |list: &serde_json::Value, what: &str| list.as_array().unwrap().iter().any(|one| one == what);
        assert!(has(&manifest["oauth_config"]["scopes"]["bot"], "chat:write"));
        assert!(has(&manifest["settings"]["event_subscriptions"]["bot_events"], "message.im"));
    }
}
