//! Platforms of 0.19.0 that have no folder of their own yet. They are known, so that two profiles cannot hold one bot, and that nobody
//! takes them for misspelled; what else they are configured with is kept as it is.

use super::ClaimSpec;
use super::{BASE, Binds, Declaration, Form, claim, field, folded, or, part};

pub(super) static KNOWN: &[Declaration] = &[
    Declaration {
        name: "telegram",
        target: true,
        prefix: "TELEGRAM",
        credentials: &[&[field("TELEGRAM_BOT_TOKEN", "token")]],
        claims: &[claim("telegram-bot-token", &[part("TELEGRAM_BOT_TOKEN", "token")])],
        ..BASE
    },
    Declaration {
        name: "discord",
        target: true,
        prefix: "DISCORD",
        credentials: &[&[field("DISCORD_BOT_TOKEN", "token")]],
        claims: &[claim("discord-bot-token", &[part("DISCORD_BOT_TOKEN", "token")])],
        ..BASE
    },
    Declaration {
        name: "slack",
        target: true,
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
    Declaration {
        name: "matrix",
        target: true,
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
    Declaration {
        name: "whatsapp",
        target: true,
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
    Declaration {
        name: "mattermost",
        target: true,
        prefix: "MATTERMOST",
        credentials: &[&[field("MATTERMOST_TOKEN", "token")]],
        claims: &[claim(
            "mattermost-token",
            &[folded("MATTERMOST_URL", "url"), part("MATTERMOST_TOKEN", "token")],
        )],
        ..BASE
    },
    Declaration {
        name: "email",
        target: true,
        prefix: "EMAIL",
        tools: &["EMAIL_ADDRESS", "EMAIL_PASSWORD", "EMAIL_IMAP_HOST", "EMAIL_SMTP_HOST"],
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
    Declaration {
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
    Declaration {
        name: "homeassistant",
        target: true,
        prefix: "HASS",
        prefixes: &["HOMEASSISTANT"],
        tools: &["HASS_TOKEN", "HASS_URL"],
        credentials: &[&[field("HASS_TOKEN", "token")]],
        claims: &[claim(
            "homeassistant-token",
            &[or(folded("HASS_URL", "url"), "http://homeassistant.local:8123"), part("HASS_TOKEN", "token")],
        )],
        ..BASE
    },
    Declaration {
        name: "ntfy",
        prefix: "NTFY",
        credentials: &[&[field("NTFY_TOPIC", "topic")]],
        claims: &[claim(
            "ntfy-topic",
            &[or(folded("NTFY_SERVER_URL", "server"), "https://ntfy.sh"), part("NTFY_TOPIC", "topic")],
        )],
        ..BASE
    },
    Declaration {
        name: "msgraph_webhook",
        prefix: "MSGRAPH_WEBHOOK",
        switch: Some("MSGRAPH_WEBHOOK_ENABLED"),
        binds: Binds::Port,
        claims: &[claim("msgraph-client-state", &[part("MSGRAPH_WEBHOOK_CLIENT_STATE", "client_state")])],
        ..BASE
    },
    Declaration {
        name: "feishu",
        target: true,
        prefix: "FEISHU",
        credentials: &[&[field("FEISHU_APP_ID", "app_id"), field("FEISHU_APP_SECRET", "app_secret")]],
        binds: Binds::When(field("FEISHU_CONNECTION_MODE", "connection_mode"), "webhook"),
        claims: &[claim("feishu-app-id", &[part("FEISHU_APP_ID", "app_id")])],
        ..BASE
    },
    Declaration {
        name: "wecom",
        target: true,
        prefix: "WECOM",
        credentials: &[&[field("WECOM_BOT_ID", "bot_id"), field("WECOM_SECRET", "secret")]],
        policy: true,
        claims: &[claim("wecom-bot-id", &[part("WECOM_BOT_ID", "bot_id")])],
        ..BASE
    },
    Declaration {
        name: "wecom_callback",
        target: true,
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
    Declaration {
        name: "bluebubbles",
        target: true,
        prefix: "BLUEBUBBLES",
        credentials: &[&[
            field("BLUEBUBBLES_SERVER_URL", "server_url"),
            field("BLUEBUBBLES_PASSWORD", "password"),
        ]],
        binds: Binds::Port,
        claims: &[claim("bluebubbles-server", &[folded("BLUEBUBBLES_SERVER_URL", "server_url")])],
        ..BASE
    },
    Declaration {
        name: "sms",
        target: true,
        prefix: "SMS",
        prefixes: &["TWILIO"],
        tools: &["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_PHONE_NUMBER"],
        credentials: &[&[field("TWILIO_ACCOUNT_SID", "account_sid")]],
        binds: Binds::Port,
        claims: &[claim("twilio-phone-number", &[part("TWILIO_PHONE_NUMBER", "phone_number")])],
        ..BASE
    },
    Declaration {
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
    Declaration {
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
    Declaration {
        name: "weixin",
        target: true,
        prefix: "WEIXIN",
        credentials: &[&[field("WEIXIN_TOKEN", "token")], &[field("WEIXIN_ACCOUNT_ID", "account_id")]],
        policy: true,
        claims: &[
            claim("weixin-bot-token", &[part("WEIXIN_TOKEN", "token")]),
            claim("weixin-account", &[part("WEIXIN_ACCOUNT_ID", "account_id")]),
        ],
        ..BASE
    },
    Declaration {
        name: "dingtalk",
        target: true,
        prefix: "DINGTALK",
        credentials: &[&[
            field("DINGTALK_CLIENT_ID", "client_id"),
            field("DINGTALK_CLIENT_SECRET", "client_secret"),
        ]],
        claims: &[claim("dingtalk-client-id", &[part("DINGTALK_CLIENT_ID", "client_id")])],
        ..BASE
    },
    Declaration {
        name: "qqbot",
        target: true,
        prefix: "QQ",
        prefixes: &["QQBOT"],
        credentials: &[&[field("QQ_APP_ID", "app_id")], &[field("QQ_CLIENT_SECRET", "client_secret")]],
        policy: true,
        claims: &[claim("qqbot-appid", &[part("QQ_APP_ID", "app_id")])],
        ..BASE
    },
    Declaration {
        name: "yuanbao",
        target: true,
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
    Declaration {
        name: "teams",
        prefix: "TEAMS",
        credentials: &[&[
            field("TEAMS_CLIENT_ID", "client_id"),
            field("TEAMS_CLIENT_SECRET", "client_secret"),
        ]],
        claims: &[claim("teams-client-id", &[part("TEAMS_CLIENT_ID", "client_id")])],
        ..BASE
    },
    Declaration { name: "google_chat", prefix: "GOOGLE_CHAT", ..BASE },
    Declaration { name: "simplex", prefix: "SIMPLEX", ..BASE },
    Declaration { name: "relay", prefix: "GATEWAY_RELAY", ..BASE },
];
