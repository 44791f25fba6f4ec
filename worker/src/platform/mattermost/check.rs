//! Whether the bot account works as it is configured, asked once: who it is, and where it is. Nothing is received by that.

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};

use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use super::wire::{Channel, Team, User};
use crate::platform::{Outside, PlatformFuture};

/// Asks, where an account is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Box::pin(async move { ask(&settings, &network).await.unwrap_or_else(|failure| failed(&failure)) }))
}

async fn ask(settings: &Settings, network: &Network) -> Result<Trial, Failure> {
    let service = Service::new(settings, network)?;
    let me = service.me().await?;
    let teams = service.teams().await?;
    let channels = service.channels().await?;
    Ok(judge(settings, &me, &teams, &channels))
}

fn judge(settings: &Settings, me: &User, teams: &[Team], channels: &[Channel]) -> Trial {
    let mut lacks = Vec::new();
    if teams.is_empty() {
        let fix = format!("add @{} to a team: the team's menu, Invite people", me.username);
        lacks.push(Lack::needed("the account is in no team, and sees nothing", fix));
    }
    if !me.is_bot {
        let fix = "make a bot account (Integrations, Bot Accounts), and set MATTERMOST_TOKEN to its token";
        lacks.push(Lack::wanted("the token is that of a person, whose own messages are never answered", fix));
    }
    let is_there = |id: &str| channels.iter().any(|channel| channel.id == id);
    let listed = [&settings.allowed_channels, &settings.free_response_channels];
    for id in listed.into_iter().flat_map(|list| &list.ids).filter(|id| !is_there(id)) {
        let fix = format!("add @{} to the channel, or take the id out of the list", me.username);
        lacks.push(Lack::wanted(format!("the account is not in the listed channel {id}"), fix));
    }
    let names: Vec<&str> = teams.iter().map(|team| team.display_name.as_str()).take(5).collect();
    let of = if names.is_empty() { String::new() } else { format!(" of {}", names.join(", ")) };
    let open = channels.iter().filter(|channel| channel.kind != "D").count();
    Trial::answered(NAME, format!("@{} answers, in {open} channels{of}", me.username), lacks)
}

fn failed(failure: &Failure) -> Trial {
    match failure {
        Failure::Unusable { reason, .. } => Trial::not_asked(NAME, reason),
        Failure::Revoked => {
            let fix = "make another token for the bot account (Integrations, Bot Accounts), and see that it is enabled";
            let lack = Lack::needed("the server takes MATTERMOST_TOKEN for none", fix);
            Trial::answered(NAME, "somebody answers", vec![lack])
        }
        Failure::Refused { refusal, .. } if refusal.id.is_empty() && refusal.status < 429 => {
            let fix = "correct MATTERMOST_URL: it is what people open in their browsers, without what is behind the server";
            let what = format!("what answers there is no Mattermost: it says {}", refusal.status);
            Trial::answered(NAME, "somebody answers", vec![Lack::needed(what, fix)])
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

    #[test]
    fn what_is_missing_is_said() {
        let me = User { id: "ubot".into(), username: "hermes".into(), is_bot: true };
        let team = [Team { display_name: "Us".into() }];
        let channel = [Channel { id: "c1".into(), kind: "O".into(), ..Channel::default() }];
        let of =
            |extra: &str, me: &User, teams: &[Team]| judge(&settings(extra).0.unwrap(), me, teams, &channel);
        let fine = of("allowed_channels: [c1]", &me, &team);
        assert_eq!((fine.verdict, fine.lacks.len()), (Verdict::Fine, 0));
        assert_eq!(fine.message, "@hermes answers, in 1 channels of Us");
        assert_eq!(of("", &me, &[]).verdict, Verdict::Lacking);
        let other = of("allowed_channels: [c2]", &User { is_bot: false, ..me }, &team);
        assert_eq!((other.verdict, other.lacks.len()), (Verdict::Fine, 2));
    }

    #[test]
    fn who_is_no_server_is_told_from_who_is_not_there() {
        let refused = |status, id: &str| {
            let refusal = Refusal { status, id: id.to_owned(), ..Refusal::default() };
            failed(&Failure::Refused { what: "users/me", refusal }).verdict
        };
        assert_eq!(refused(404, ""), Verdict::Lacking);
        assert_eq!([refused(429, ""), refused(502, ""), refused(500, "x")], [Verdict::Unreachable; 3]);
        assert_eq!(failed(&Failure::Revoked).verdict, Verdict::Lacking);
        assert_eq!(failed(&Failure::Unsent("x".into())).verdict, Verdict::Unreachable);
    }
}
