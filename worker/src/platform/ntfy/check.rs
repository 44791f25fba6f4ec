//! Whether the topic can be read as it is configured, asked once. Nothing is published and nothing is taken by that.

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};

use super::NAME;
use super::service::{Failure, Service};
use super::settings::Settings;
use crate::platform::{Outside, PlatformFuture};

/// Asks, where a topic is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Box::pin(async move { ask(&settings, &network).await.unwrap_or_else(|failure| failed(&failure)) }))
}

async fn ask(settings: &Settings, network: &Network) -> Result<Trial, Failure> {
    let service = Service::new(settings, network)?;
    service.may_read(&settings.topic).await?;
    let mut lacks = Vec::new();
    // Nobody needs a password there: whoever guesses the name is the user.
    if settings.token.is_none() && settings.topic.len() < 12 {
        lacks.push(Lack::wanted(
            "anybody who guesses the topic's short name can talk to the profile",
            "choose a long name that nobody guesses, or a server that asks for a token (NTFY_TOKEN)",
        ));
    }
    Ok(Trial::answered(NAME, "the server answers, and the topic can be read", lacks))
}

fn failed(failure: &Failure) -> Trial {
    match failure {
        Failure::Unusable { reason, .. } => Trial::not_asked(NAME, reason),
        Failure::Refused { status: 401 | 403, .. } => {
            let fix = "set NTFY_TOKEN to a token or `user:password` that may read and write the topic";
            Trial::answered(NAME, "the server answers", vec![Lack::needed(failure.to_string(), fix)])
        }
        Failure::Refused { status: 400 | 404, .. } => {
            let fix = "correct NTFY_TOPIC and NTFY_SERVER_URL: what answers there knows no such topic";
            Trial::answered(NAME, "somebody answers", vec![Lack::needed(failure.to_string(), fix)])
        }
        failure => Trial::unreachable(NAME, failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::contract::platform_trials::Verdict;

    use super::super::wire::Refusal;
    use super::*;

    #[test]
    fn who_refuses_is_told_from_who_is_not_there() {
        let of = |status| {
            failed(&Failure::Refused { what: "check", status, refusal: Refusal::default(), after: None })
                .verdict
        };
        assert_eq!([of(401), of(403), of(404)], [Verdict::Lacking; 3]);
        assert_eq!([of(429), of(500), of(502)], [Verdict::Unreachable; 3]);
        assert_eq!(failed(&Failure::Unsent("x".into())).verdict, Verdict::Unreachable);
    }
}
