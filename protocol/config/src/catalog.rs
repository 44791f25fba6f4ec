//! What is known of every platform, adapter or not: what turns it on, whether it binds a port, and which identities only one
//! profile may hold. Data only; [`super::platforms`] applies it.

/// One platform.
#[derive(Debug)]
pub(super) struct Spec {
    /// Name in configuration, status and logs.
    pub(super) name: &'static str,
    /// Start of its variables: `TELEGRAM` for `TELEGRAM_ALLOW_ALL_USERS`.
    pub(super) prefix: &'static str,
    /// A variable that turns it on or off.
    pub(super) switch: Option<&'static str>,
    /// Sets of settings, one of which being complete turns it on.
    pub(super) credentials: &'static [&'static [Field]],
    /// Whether it opens a port.
    pub(super) binds: Binds,
    /// Whether an open policy needs an explicit opt-in.
    pub(super) policy: bool,
    /// Exclusive identities.
    pub(super) claims: &'static [ClaimSpec],
}

/// Whether a platform opens a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binds {
    /// It dials out.
    No,
    /// It listens.
    Port,
    /// It listens when this setting has this value.
    When(Field, &'static str),
}

/// A setting: its variable, and its key in YAML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// Variable; empty = none.
    pub(super) env: &'static str,
    /// Key; empty = none.
    pub(super) key: &'static str,
}

/// An identity that two profiles must not share.
#[derive(Debug)]
pub(super) struct ClaimSpec {
    pub(super) scope: &'static str,
    /// Joined by `|` (0.19.0's `:` for IRC); all must be present.
    pub(super) parts: &'static [Part],
    pub(super) form: Form,
}

/// How an identity's parts become one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Joined by `|`.
    Joined,
    /// Joined by `:`.
    Colon,
    /// A list with commas, each item a claim.
    Each,
    /// A path under the home.
    Path,
    /// `port:<n>`, where it is set and not 0.
    Port,
}

/// One part of an identity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) field: Field,
    /// Where it is not set.
    pub(super) default: Option<&'static str>,
    /// Whether letter case and a final slash are ignored.
    pub(super) fold: bool,
}

const fn field(env: &'static str, key: &'static str) -> Field {
    Field { env, key }
}

const fn part(env: &'static str, key: &'static str) -> Part {
    Part { field: field(env, key), default: None, fold: false }
}

const fn folded(env: &'static str, key: &'static str) -> Part {
    Part { field: field(env, key), default: None, fold: true }
}

const fn or(part: Part, default: &'static str) -> Part {
    Part { default: Some(default), ..part }
}

const fn claim(scope: &'static str, parts: &'static [Part]) -> ClaimSpec {
    ClaimSpec { scope, parts, form: Form::Joined }
}

const BASE: Spec = Spec {
    name: "",
    prefix: "",
    switch: None,
    credentials: &[],
    binds: Binds::No,
    policy: false,
    claims: &[],
};

/// Every platform.
pub(super) static CATALOG: &[Spec] = &[
    Spec { name: "webhook", prefix: "WEBHOOK", switch: Some("WEBHOOK_ENABLED"), binds: Binds::Port, ..BASE },
    Spec {
        name: "api_server",
        prefix: "API_SERVER",
        switch: Some("API_SERVER_ENABLED"),
        binds: Binds::Port,
        ..BASE
    },
    Spec {
        name: "telegram",
        prefix: "TELEGRAM",
        credentials: &[&[field("TELEGRAM_BOT_TOKEN", "token")]],
        claims: &[claim("telegram-bot-token", &[part("TELEGRAM_BOT_TOKEN", "token")])],
        ..BASE
    },
    Spec {
        name: "discord",
        prefix: "DISCORD",
        credentials: &[&[field("DISCORD_BOT_TOKEN", "token")]],
        claims: &[claim("discord-bot-token", &[part("DISCORD_BOT_TOKEN", "token")])],
        ..BASE
    },
    Spec {
        name: "slack",
        prefix: "SLACK",
        credentials: &[&[field("SLACK_BOT_TOKEN", "token")]],
        claims: &[
            claim("slack-app-token", &[part("SLACK_APP_TOKEN", "app_token")]),
            ClaimSpec {
                scope: "slack-bot-token",
                parts: &[part("SLACK_BOT_TOKEN", "token")],
                form: Form::Each,
            },
        ],
        ..BASE
    },
    Spec {
        name: "matrix",
        prefix: "MATRIX",
        credentials: &[&[field("MATRIX_ACCESS_TOKEN", "token")], &[field("MATRIX_PASSWORD", "password")]],
        claims: &[
            claim(
                "matrix-user",
                &[folded("MATRIX_HOMESERVER", "homeserver"), folded("MATRIX_USER_ID", "user_id")],
            ),
            claim("matrix-access-token", &[part("MATRIX_ACCESS_TOKEN", "token")]),
        ],
        ..BASE
    },
    Spec {
        name: "signal",
        prefix: "SIGNAL",
        credentials: &[&[field("SIGNAL_HTTP_URL", "http_url"), field("SIGNAL_ACCOUNT", "account")]],
        claims: &[claim("signal-phone", &[part("SIGNAL_ACCOUNT", "account")])],
        ..BASE
    },
    Spec {
        name: "whatsapp",
        prefix: "WHATSAPP",
        switch: Some("WHATSAPP_ENABLED"),
        policy: true,
        claims: &[
            ClaimSpec {
                scope: "whatsapp-session",
                parts: &[or(part("", "session_path"), "platforms/whatsapp/session")],
                form: Form::Path,
            },
            ClaimSpec { scope: "whatsapp-bridge-port", parts: &[part("", "bridge_port")], form: Form::Port },
        ],
        ..BASE
    },
    Spec {
        name: "mattermost",
        prefix: "MATTERMOST",
        credentials: &[&[field("MATTERMOST_TOKEN", "token")]],
        claims: &[claim(
            "mattermost-token",
            &[folded("MATTERMOST_URL", "url"), part("MATTERMOST_TOKEN", "token")],
        )],
        ..BASE
    },
    Spec {
        name: "email",
        prefix: "EMAIL",
        credentials: &[&[
            field("EMAIL_ADDRESS", "address"),
            field("EMAIL_PASSWORD", "password"),
            field("EMAIL_IMAP_HOST", "imap_host"),
            field("EMAIL_SMTP_HOST", "smtp_host"),
        ]],
        claims: &[claim(
            "email-mailbox",
            &[folded("EMAIL_IMAP_HOST", "imap_host"), folded("EMAIL_ADDRESS", "address")],
        )],
        ..BASE
    },
    Spec {
        name: "irc",
        prefix: "IRC",
        credentials: &[&[field("IRC_SERVER", "server"), field("IRC_CHANNEL", "channel")]],
        claims: &[ClaimSpec {
            scope: "irc",
            parts: &[folded("IRC_SERVER", "server"), or(folded("IRC_NICKNAME", "nickname"), "hermes-bot")],
            form: Form::Colon,
        }],
        ..BASE
    },
    Spec {
        name: "homeassistant",
        prefix: "HASS",
        credentials: &[&[field("HASS_TOKEN", "token")]],
        claims: &[claim(
            "homeassistant-token",
            &[or(folded("HASS_URL", "url"), "http://homeassistant.local:8123"), part("HASS_TOKEN", "token")],
        )],
        ..BASE
    },
    Spec {
        name: "ntfy",
        prefix: "NTFY",
        credentials: &[&[field("NTFY_TOPIC", "topic")]],
        claims: &[claim(
            "ntfy-topic",
            &[or(folded("NTFY_SERVER_URL", "server"), "https://ntfy.sh"), part("NTFY_TOPIC", "topic")],
        )],
        ..BASE
    },
    Spec {
        name: "msgraph_webhook",
        prefix: "MSGRAPH_WEBHOOK",
        switch: Some("MSGRAPH_WEBHOOK_ENABLED"),
        binds: Binds::Port,
        claims: &[claim("msgraph-client-state", &[part("MSGRAPH_WEBHOOK_CLIENT_STATE", "client_state")])],
        ..BASE
    },
    Spec {
        name: "feishu",
        prefix: "FEISHU",
        credentials: &[&[field("FEISHU_APP_ID", "app_id"), field("FEISHU_APP_SECRET", "app_secret")]],
        binds: Binds::When(field("FEISHU_CONNECTION_MODE", "connection_mode"), "webhook"),
        claims: &[claim("feishu-app-id", &[part("FEISHU_APP_ID", "app_id")])],
        ..BASE
    },
    Spec {
        name: "wecom",
        prefix: "WECOM",
        credentials: &[&[field("WECOM_BOT_ID", "bot_id"), field("WECOM_SECRET", "secret")]],
        policy: true,
        claims: &[claim("wecom-bot-id", &[part("WECOM_BOT_ID", "bot_id")])],
        ..BASE
    },
    Spec {
        name: "wecom_callback",
        prefix: "WECOM_CALLBACK",
        credentials: &[&[
            field("WECOM_CALLBACK_CORP_ID", "corp_id"),
            field("WECOM_CALLBACK_CORP_SECRET", "corp_secret"),
        ]],
        binds: Binds::Port,
        claims: &[claim(
            "wecom-callback-app",
            &[part("WECOM_CALLBACK_CORP_ID", "corp_id"), or(part("WECOM_CALLBACK_AGENT_ID", "agent_id"), "")],
        )],
        ..BASE
    },
    Spec {
        name: "bluebubbles",
        prefix: "BLUEBUBBLES",
        credentials: &[&[
            field("BLUEBUBBLES_SERVER_URL", "server_url"),
            field("BLUEBUBBLES_PASSWORD", "password"),
        ]],
        binds: Binds::Port,
        claims: &[claim("bluebubbles-server", &[folded("BLUEBUBBLES_SERVER_URL", "server_url")])],
        ..BASE
    },
    Spec {
        name: "sms",
        prefix: "SMS",
        credentials: &[&[field("TWILIO_ACCOUNT_SID", "account_sid")]],
        binds: Binds::Port,
        claims: &[claim("twilio-phone-number", &[part("TWILIO_PHONE_NUMBER", "phone_number")])],
        ..BASE
    },
    Spec {
        name: "whatsapp_cloud",
        prefix: "WHATSAPP_CLOUD",
        credentials: &[&[
            field("WHATSAPP_CLOUD_PHONE_NUMBER_ID", "phone_number_id"),
            field("WHATSAPP_CLOUD_ACCESS_TOKEN", "access_token"),
        ]],
        binds: Binds::Port,
        claims: &[claim(
            "whatsapp-cloud-number",
            &[part("WHATSAPP_CLOUD_PHONE_NUMBER_ID", "phone_number_id")],
        )],
        ..BASE
    },
    Spec {
        name: "line",
        prefix: "LINE",
        credentials: &[&[
            field("LINE_CHANNEL_ACCESS_TOKEN", "channel_access_token"),
            field("LINE_CHANNEL_SECRET", "channel_secret"),
        ]],
        binds: Binds::Port,
        claims: &[claim("line-channel-token", &[part("LINE_CHANNEL_ACCESS_TOKEN", "channel_access_token")])],
        ..BASE
    },
    Spec {
        name: "weixin",
        prefix: "WEIXIN",
        credentials: &[&[field("WEIXIN_TOKEN", "token")], &[field("WEIXIN_ACCOUNT_ID", "account_id")]],
        policy: true,
        claims: &[
            claim("weixin-bot-token", &[part("WEIXIN_TOKEN", "token")]),
            claim("weixin-account", &[part("WEIXIN_ACCOUNT_ID", "account_id")]),
        ],
        ..BASE
    },
    Spec {
        name: "dingtalk",
        prefix: "DINGTALK",
        credentials: &[&[
            field("DINGTALK_CLIENT_ID", "client_id"),
            field("DINGTALK_CLIENT_SECRET", "client_secret"),
        ]],
        claims: &[claim("dingtalk-client-id", &[part("DINGTALK_CLIENT_ID", "client_id")])],
        ..BASE
    },
    Spec {
        name: "qqbot",
        prefix: "QQ",
        credentials: &[&[field("QQ_APP_ID", "app_id")], &[field("QQ_CLIENT_SECRET", "client_secret")]],
        policy: true,
        claims: &[claim("qqbot-appid", &[part("QQ_APP_ID", "app_id")])],
        ..BASE
    },
    Spec {
        name: "yuanbao",
        prefix: "YUANBAO",
        credentials: &[
            &[field("YUANBAO_APP_ID", "app_id"), field("YUANBAO_APP_SECRET", "app_secret")],
            &[field("YUANBAO_APP_KEY", "app_key"), field("YUANBAO_APP_SECRET", "app_secret")],
        ],
        policy: true,
        claims: &[
            claim("yuanbao-app-key", &[part("YUANBAO_APP_ID", "app_id")]),
            claim("yuanbao-app-key", &[part("YUANBAO_APP_KEY", "app_key")]),
        ],
        ..BASE
    },
    Spec {
        name: "teams",
        prefix: "TEAMS",
        credentials: &[&[
            field("TEAMS_CLIENT_ID", "client_id"),
            field("TEAMS_CLIENT_SECRET", "client_secret"),
        ]],
        claims: &[claim("teams-client-id", &[part("TEAMS_CLIENT_ID", "client_id")])],
        ..BASE
    },
    Spec { name: "google_chat", prefix: "GOOGLE_CHAT", ..BASE },
    Spec { name: "simplex", prefix: "SIMPLEX", ..BASE },
    Spec { name: "relay", prefix: "GATEWAY_RELAY", ..BASE },
];

/// Whether `name` is a platform.
pub(super) fn is_platform(name: &str) -> bool {
    CATALOG.iter().any(|spec| spec.name == name)
}

/// The platform `name`.
pub(super) fn find(name: &str) -> Option<&'static Spec> {
    CATALOG.iter().find(|spec| spec.name == name)
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    CATALOG.iter().map(|spec| spec.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_binding_platforms_are_the_nine_of_the_contract() {
        let mut binding: Vec<_> = CATALOG.iter().filter(|s| s.binds != Binds::No).map(|s| s.name).collect();
        binding.sort_unstable();
        assert_eq!(
            binding,
            [
                "api_server",
                "bluebubbles",
                "feishu",
                "line",
                "msgraph_webhook",
                "sms",
                "webhook",
                "wecom_callback",
                "whatsapp_cloud",
            ]
        );
        let mut policy: Vec<_> = CATALOG.iter().filter(|s| s.policy).map(|s| s.name).collect();
        policy.sort_unstable();
        assert_eq!(policy, ["qqbot", "wecom", "weixin", "whatsapp", "yuanbao"]);
    }
}
