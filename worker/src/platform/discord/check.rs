//! Whether the bot works as it is configured, asked once: who it is, what its application is allowed, and which servers it is in. Nothing is
//! connected and no session is begun by that. A token that is refused is asked with no second time.

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};
use serde::Deserialize;
use twilight_http_ratelimiting::Method;
use twilight_model::gateway::Intents;
use twilight_model::guild::Permissions;
use twilight_model::oauth::ApplicationFlags;

use super::connection::{INTENTS, PORTAL};
use super::service::{Body, Failure, Service};
use super::settings::{NAME, Settings};
use super::wire::{self, Id, User};
use crate::platform::{Outside, PlatformFuture};

/// Most servers that Discord lists at once.
const LISTED: usize = 200;
/// Most servers that are named for what the bot may not do there.
const NAMED: usize = 5;
/// Longest name that is shown, in characters.
const NAME_SHOWN: usize = 100;

/// Intents that Discord gives nobody who was not granted them, what says that they are, and what the portal calls them.
const PRIVILEGED: [(Intents, ApplicationFlags, &str); 3] = [
    (
        Intents::MESSAGE_CONTENT,
        ApplicationFlags::GATEWAY_MESSAGE_CONTENT.union(ApplicationFlags::GATEWAY_MESSAGE_CONTENT_LIMITED),
        "Message Content Intent",
    ),
    (
        Intents::GUILD_MEMBERS,
        ApplicationFlags::GATEWAY_GUILD_MEMBERS.union(ApplicationFlags::GATEWAY_GUILD_MEMBERS_LIMITED),
        "Server Members Intent",
    ),
    (
        Intents::GUILD_PRESENCES,
        ApplicationFlags::GATEWAY_PRESENCE.union(ApplicationFlags::GATEWAY_PRESENCE_LIMITED),
        "Presence Intent",
    ),
];

/// What it needs in a server, as Discord calls it.
const NEEDED: [(Permissions, &str); 8] = [
    (Permissions::VIEW_CHANNEL, "View Channels"),
    (Permissions::SEND_MESSAGES, "Send Messages"),
    (Permissions::SEND_MESSAGES_IN_THREADS, "Send Messages in Threads"),
    (Permissions::CREATE_PUBLIC_THREADS, "Create Public Threads"),
    (Permissions::EMBED_LINKS, "Embed Links"),
    (Permissions::ATTACH_FILES, "Attach Files"),
    (Permissions::READ_MESSAGE_HISTORY, "Read Message History"),
    (Permissions::ADD_REACTIONS, "Add Reactions"),
];

/// What the application says of itself. What it does not say is not known.
#[derive(Debug, Deserialize)]
struct Program {
    id: Id,
    #[serde(default, deserialize_with = "wire::lenient")]
    flags: Option<u64>,
    /// An invitation needs a login at a web page of the application's own.
    #[serde(default, deserialize_with = "wire::lenient")]
    bot_require_code_grant: bool,
}

/// A server that the bot is in.
#[derive(Debug, Deserialize)]
struct Place {
    #[serde(default, deserialize_with = "wire::lenient")]
    name: String,
    /// What its roles let it do there; single channels may differ.
    #[serde(default, deserialize_with = "wire::lenient")]
    permissions: Option<String>,
}

/// Asks, where the bot is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = super::network(&settings, Network::of(&outside.config.env).over(outside.inherited));
    Some(Box::pin(async move { ask(&settings, &network).await.unwrap_or_else(|failure| failed(&failure)) }))
}

async fn ask(settings: &Settings, network: &Network) -> Result<Trial, Failure> {
    let service = Service::new(settings, network)?;
    // First: with a token that is refused nothing more is asked.
    let me = service.me().await?;
    let (program, places) = tokio::try_join!(
        service.ask::<Program>("applications/@me", Method::Get, "applications/@me", Body::Nothing),
        service.ask::<Vec<Place>>("users/@me/guilds", Method::Get, "users/@me/guilds", Body::Nothing),
    )?;
    Ok(judge(&me, &program, &places))
}

/// Where somebody lets the bot into a server.
fn invitation(program: Id) -> String {
    let permissions = NEEDED.iter().fold(Permissions::empty(), |all, (one, _)| all | *one).bits();
    format!(
        "https://discord.com/oauth2/authorize?client_id={program}&scope=bot+applications.commands&permissions={permissions}"
    )
}

/// What the answers say.
fn judge(me: &User, program: &Program, places: &[Place]) -> Trial {
    let mut lacks = Vec::new();
    if let Some(flags) = program.flags {
        let flags = ApplicationFlags::from_bits_truncate(flags);
        for (intent, granted, called) in PRIVILEGED {
            if INTENTS.contains(intent) && !flags.intersects(granted) {
                lacks.push(Lack::needed(
                    format!("the {called} is not turned on: Discord closes the connection of a bot that asks for it"),
                    format!("turn it on at {PORTAL}/{}/bot, below Privileged Gateway Intents", program.id),
                ));
            }
        }
    }
    let link = invitation(program.id);
    if places.is_empty() {
        lacks.push(Lack::needed(
            "it is in no server, so nobody can write to it",
            format!("invite it: {link}"),
        ));
        if program.bot_require_code_grant {
            lacks.push(Lack::needed(
                "its application requires a code grant, and no invitation of a bot has one",
                format!("turn Requires OAuth2 Code Grant off at {PORTAL}/{}/bot", program.id),
            ));
        }
    }
    let narrow = places.iter().filter_map(|place| Some((place, missing(place)?)));
    for (place, missing) in narrow.take(NAMED) {
        let what = format!("its roles in {} lack: {missing}", shown(&place.name));
        lacks.push(Lack::wanted(what, format!("give its role that, or invite it there again: {link}")));
    }
    let whereabouts = match places {
        [] => "is in no server".to_owned(),
        [one] => format!("is in the server {}", shown(&one.name)),
        many if many.len() < LISTED => format!("is in {} servers", many.len()),
        _ => format!("is in {LISTED} servers or more"),
    };
    Trial::answered(NAME, format!("@{} answers, and {whereabouts}", shown(&me.username)), lacks)
}

/// What its roles in a server lack; none: nothing, or nobody says.
fn missing(place: &Place) -> Option<String> {
    let granted = place.permissions.as_ref()?.parse().ok().map(Permissions::from_bits_truncate)?;
    if granted.contains(Permissions::ADMINISTRATOR) {
        return None;
    }
    let lack = NEEDED.iter().filter(|(one, _)| !granted.contains(*one));
    let lack: Vec<&str> = lack.map(|(_, called)| *called).collect();
    (!lack.is_empty()).then(|| lack.join(", "))
}

/// What a failed request is.
fn failed(failure: &Failure) -> Trial {
    const ELSEWHERE: &str =
        "correct DISCORD_API_BASE_URL, or see what stands between this machine and Discord";
    match failure {
        Failure::Unusable { reason, .. } => Trial::not_asked(NAME, reason),
        Failure::Revoked => Trial::answered(
            NAME,
            "Discord answers",
            vec![Lack::needed(
                "the token of the bot is refused",
                format!(
                    "copy it to DISCORD_BOT_TOKEN again, from the page Bot of its application at {PORTAL} (Reset Token)"
                ),
            )],
        ),
        Failure::Refused { refusal, .. } if !refusal.is_own && refusal.status < 500 => {
            let what = format!("what answers there is not Discord ({failure})");
            Trial::answered(NAME, "somebody answers", vec![Lack::needed(what, ELSEWHERE)])
        }
        Failure::Garbled(_) => {
            let what = format!("what answers there is not Discord: {failure}");
            Trial::answered(NAME, "somebody answers", vec![Lack::needed(what, ELSEWHERE)])
        }
        failure => Trial::unreachable(NAME, failure.to_string()),
    }
}

fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(NAME_SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hermes_config::platform::guide::guide;
    use hermes_wire::contract::platform_trials::Verdict;
    use serde_json::json;

    use super::super::wire::Refusal;
    use super::*;

    fn me() -> User {
        User { username: "x_bot".to_owned(), ..User::default() }
    }

    fn program(more: &serde_json::Value) -> Program {
        let mut all = json!({"id": "77"});
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    fn places(all: &serde_json::Value) -> Vec<Place> {
        serde_json::from_value(all.clone()).unwrap()
    }

    fn said(trial: &Trial) -> String {
        trial.lacks.iter().map(|lack| format!("{}: {}", lack.what, lack.fix)).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn an_intent_that_is_asked_for_and_not_granted_is_missing() {
        let guild = places(&json!([{"id": "1", "name": "Guild", "permissions": "8"}]));
        for (flags, verdict) in [
            (json!(1 << 18), Verdict::Fine),
            (json!(1 << 19), Verdict::Fine),
            // What is not asked for is granted in vain, and of what nobody says nothing is known.
            (json!((1 << 15) | (1 << 13)), Verdict::Lacking),
            (json!(0), Verdict::Lacking),
            (json!(null), Verdict::Fine),
        ] {
            let trial = judge(&me(), &program(&json!({"flags": flags})), &guild);
            assert_eq!(trial.verdict, verdict, "{flags}: {trial:?}");
            assert_eq!(said(&trial).contains("Message Content Intent"), verdict == Verdict::Lacking);
            assert!(!said(&trial).contains("Members") && !said(&trial).contains("Presence"), "{trial:?}");
        }
        let trial = judge(&me(), &program(&json!({"flags": 0})), &guild);
        assert!(said(&trial).contains("/applications/77/bot"), "{trial:?}");
        assert_eq!(trial.message, "@x_bot answers, and is in the server Guild");
    }

    #[test]
    fn a_bot_without_a_server_is_invited_with_what_it_needs() {
        let trial = judge(&me(), &program(&json!({"flags": 1 << 19})), &[]);
        assert_eq!((trial.verdict, trial.lacks.len()), (Verdict::Lacking, 1));
        let link = invitation(Id(77));
        assert!(said(&trial).contains(&link), "{trial:?}");
        // The guide has the same one.
        let steps = guide(NAME).unwrap().steps.join(" ");
        assert!(steps.contains(&link.replace("77&", "APPLICATION_ID&")), "{link}");
        assert!(NEEDED.iter().all(|(_, called)| steps.contains(called)), "{steps}");
        let grant = program(&json!({"flags": 1 << 19, "bot_require_code_grant": true}));
        assert!(said(&judge(&me(), &grant, &[])).contains("Code Grant"));
    }

    #[test]
    fn what_roles_do_not_allow_is_said_and_is_not_the_end() {
        let program = program(&json!({"flags": 1 << 19}));
        let all = NEEDED.iter().fold(0, |all, (one, _)| all | one.bits());
        let narrow = all & !Permissions::ATTACH_FILES.bits() & !Permissions::SEND_MESSAGES.bits();
        let guilds = places(&json!([
            {"name": "Whole", "permissions": all.to_string()}, {"name": "Nar\u{1b}row", "permissions": narrow.to_string()},
            {"name": "Silent"}, {"name": "Odd", "permissions": "many"},
        ]));
        let trial = judge(&me(), &program, &guilds);
        assert_eq!((trial.verdict, trial.lacks.len()), (Verdict::Fine, 1));
        assert!(
            said(&trial).starts_with("its roles in Narrow lack: Send Messages, Attach Files"),
            "{trial:?}"
        );
        assert_eq!(trial.message, "@x_bot answers, and is in 4 servers");
        let many = places(&(0..LISTED).map(|_| json!({"name": "x", "permissions": "0"})).collect());
        let trial = judge(&me(), &program, &many);
        assert!(trial.message.contains("200 servers or more") && trial.lacks.len() == NAMED, "{trial:?}");
    }

    #[test]
    fn who_is_not_discord_is_told_from_who_is_not_there() {
        let refused = |status, is_own| Failure::Refused {
            what: "users/@me",
            refusal: Refusal { status, is_own, ..Refusal::default() },
        };
        for failure in [Failure::Revoked, refused(404, false), Failure::Garbled("users/@me")] {
            let trial = failed(&failure);
            assert_eq!((trial.verdict, trial.lacks.len()), (Verdict::Lacking, 1), "{failure}");
        }
        let limited = Failure::Limited { after: Duration::from_secs(9) };
        for failure in
            [refused(502, false), refused(500, true), refused(404, true), limited, Failure::Lost("x".into())]
        {
            assert_eq!(failed(&failure).verdict, Verdict::Unreachable, "{failure}");
        }
        let fault = Failure::Unusable { code: "x".into(), reason: "no token".into() };
        assert_eq!(failed(&fault).verdict, Verdict::NotAsked);
    }
}
