//! Whether the bot works as it is configured, asked once: `getMe` and `getWebhookInfo`, which disturb nobody who polls.

use std::sync::Arc;

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};
use serde_json::json;

use super::common::Common;
use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::ways::Ways;
use super::wire::{Me, WebhookInfo};
use crate::platform::{Outside, PlatformFuture};

/// Asks, where the bot is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = super::network(&settings, Network::of(&outside.config.env).over(outside.inherited));
    Some(Box::pin(async move { ask(&settings, &network).await.unwrap_or_else(|failure| failed(&failure)) }))
}

async fn ask(settings: &Settings, network: &Network) -> Result<Trial, Failure> {
    let common = Common::new(Ways::of(settings, network));
    let service = Service::new(settings, network, Arc::new(common))?;
    let me = service.me().await?;
    let info: WebhookInfo = service.call("getWebhookInfo", &json!({})).await?;
    Ok(judge(settings, &me, &info))
}

/// What the answers say.
fn judge(settings: &Settings, me: &Me, info: &WebhookInfo) -> Trial {
    let host = |url: &str| {
        let url = reqwest::Url::parse(url).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_else(|| "another address".to_owned())
    };
    let mut lacks = Vec::new();
    let waiting = info.pending_update_count;
    let way = match &settings.hook {
        Some(hook) if info.url == hook.url.as_str() => {
            if let Some(_at) = info.last_error_date.filter(|_| waiting > 0) {
                lacks.push(Lack::needed(
                    format!("Telegram does not get through to the webhook, and {waiting} updates wait: {}", info.error()),
                    "let what stands before the gateway lead to its listener for webhooks, with a certificate that Telegram trusts",
                ));
            }
            format!("is called at {}", host(&info.url))
        }
        Some(_) if info.url.is_empty() => "is called once it has connected".to_owned(),
        Some(_) => {
            lacks.push(Lack::needed(
                format!("its updates go to {} instead of to this gateway", host(&info.url)),
                "stop the other program; the webhook of this one is set when it connects",
            ));
            "is called elsewhere".to_owned()
        }
        None if info.url.is_empty() => "is polled".to_owned(),
        None => {
            lacks.push(Lack::wanted(
                format!("its updates go to a webhook at {}", host(&info.url)),
                "nothing, if no other program needs it: it is removed when the bot connects",
            ));
            "is polled once it has connected".to_owned()
        }
    };
    let hears_all = !settings.require_mention
        || !settings.free_response_chats.is_empty()
        || !settings.free_response_topics.is_empty()
        || !settings.mention_patterns.is_empty();
    if me.can_read_all_group_messages == Some(false) && hears_all {
        lacks.push(Lack::wanted(
            "in groups it sees commands, replies to it and mentions alone: its privacy mode is on",
            "@BotFather, /setprivacy, Disable, then take it out of its groups and add it again; or set TELEGRAM_REQUIRE_MENTION=true",
        ));
    }
    if me.can_join_groups == Some(false) && settings.allowed_chats.iter().any(|chat| chat.starts_with('-')) {
        lacks.push(Lack::needed(
            "groups are listed for it, and it may be added to none",
            "@BotFather, /setjoingroups, Enable",
        ));
    }
    Trial::answered(NAME, format!("@{} answers, and {way}", me.username), lacks)
}

/// What a failed request is.
fn failed(failure: &Failure) -> Trial {
    match failure {
        Failure::Unusable { reason, .. } => Trial::not_asked(NAME, reason),
        Failure::Refused { refusal, .. }
            if refusal.status == 401 || refusal.status == 404 && refusal.is_own =>
        {
            let fix = "copy TELEGRAM_BOT_TOKEN from @BotFather again (/mybots, the bot, API Token)";
            Trial::answered(
                NAME,
                "Telegram answers",
                vec![Lack::needed(format!("the token is refused: {failure}"), fix)],
            )
        }
        failure => Trial::unreachable(NAME, failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::contract::platform_trials::Verdict;

    use super::super::tests::settings;
    use super::super::wire::Refusal;
    use super::*;

    fn me(reads_all: bool) -> Me {
        Me {
            id: 1,
            username: "x_bot".to_owned(),
            can_join_groups: Some(false),
            can_read_all_group_messages: Some(reads_all),
        }
    }

    fn said(trial: &Trial) -> String {
        trial.lacks.iter().map(|lack| lack.what.as_str()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn what_is_missing_is_said_and_nothing_else() {
        let none = WebhookInfo::default();
        let fine = judge(&settings(""), &me(true), &none);
        assert_eq!((fine.verdict, fine.message.as_str()), (Verdict::Fine, "@x_bot answers, and is polled"));
        assert_eq!(said(&fine), "");
        let private = judge(&settings(""), &me(false), &none);
        assert_eq!(private.verdict, Verdict::Fine);
        assert!(said(&private).contains("privacy mode"), "{private:?}");
        assert_eq!(said(&judge(&settings("require_mention: true"), &me(false), &none)), "");
        let groups = judge(&settings("allowed_chats: [-5]"), &me(true), &none);
        assert_eq!(groups.verdict, Verdict::Lacking);
        let elsewhere = WebhookInfo { url: "https://h.example/bot1:SECRET".to_owned(), ..none };
        let elsewhere = judge(&settings(""), &me(true), &elsewhere);
        assert_eq!(elsewhere.verdict, Verdict::Fine);
        assert!(said(&elsewhere).contains("h.example") && !said(&elsewhere).contains("SECRET"));
    }

    #[test]
    fn a_webhook_that_nothing_comes_by_is_missing() {
        let mut settings = settings("");
        let url = reqwest::Url::parse("https://h.example/telegram").unwrap();
        settings.hook = Some(super::super::settings::Hook { url, secret: hermes_config::Secret::new("s") });
        let info = |url: &str, waiting| WebhookInfo {
            url: url.to_owned(),
            pending_update_count: waiting,
            last_error_date: Some(1),
            last_error_message: Some("Connection refused".to_owned()),
        };
        let own = "https://h.example/telegram";
        for (info, verdict, says) in [
            (info(own, 0), Verdict::Fine, ""),
            (info(own, 3), Verdict::Lacking, "3 updates wait: Connection refused"),
            (info("https://o.example/", 0), Verdict::Lacking, "o.example"),
            (info("", 0), Verdict::Fine, ""),
        ] {
            let trial = judge(&settings, &me(true), &info);
            assert_eq!(trial.verdict, verdict, "{trial:?}");
            assert!(said(&trial).contains(says), "{trial:?}");
        }
    }

    #[test]
    fn a_refused_token_is_no_network() {
        let refused = |status, is_own| Failure::Refused {
            what: "getMe",
            refusal: Refusal { status, is_own, ..Refusal::default() },
        };
        assert_eq!(failed(&refused(401, true)).verdict, Verdict::Lacking);
        assert_eq!(failed(&refused(404, true)).verdict, Verdict::Lacking);
        for failure in
            [refused(404, false), refused(502, false), refused(429, true), Failure::Lost("x".into())]
        {
            assert_eq!(failed(&failure).verdict, Verdict::Unreachable, "{failure}");
        }
    }
}
