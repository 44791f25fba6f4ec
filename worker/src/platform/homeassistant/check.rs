//! Whether the house is there as it is configured, asked once. Nothing is changed by that.

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};

use super::service::{Failure, Service};
use super::settings::{NAME, Settings};
use crate::platform::{Outside, PlatformFuture};

/// Asks, where a house is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Box::pin(async move { ask(&settings, &network).await.unwrap_or_else(|failure| failed(&failure)) }))
}

async fn ask(settings: &Settings, network: &Network) -> Result<Trial, Failure> {
    let about = Service::new(settings, network)?.about().await?;
    Ok(judge(settings, about))
}

fn judge(settings: &Settings, about: Option<(String, String)>) -> Trial {
    let Some((name, version)) = about else { return nobody("something else") };
    let mut lacks = Vec::new();
    if settings.filter.is_blind() {
        let fix = "set watch_domains, watch_entities or watch_all: true below platforms.homeassistant in config.yaml";
        lacks.push(Lack::wanted("nothing of the house is watched", fix));
    }
    Trial::answered(NAME, format!("`{name}` answers, Home Assistant {version}"), lacks)
}

fn nobody(said: &str) -> Trial {
    let fix = "correct HASS_URL: it is what people open in their browsers, without what is behind the port";
    let what = format!("what answers there is no Home Assistant: it says {said}");
    Trial::answered(NAME, "somebody answers", vec![Lack::needed(what, fix)])
}

fn failed(failure: &Failure) -> Trial {
    match failure {
        Failure::Unusable { reason, .. } => Trial::not_asked(NAME, reason),
        Failure::Revoked => {
            let fix = "make another long-lived access token (your profile there, Security), and see that this machine is not in ip_bans.yaml";
            let lack = Lack::needed("Home Assistant takes HASS_TOKEN for none", fix);
            Trial::answered(NAME, "somebody answers", vec![lack])
        }
        Failure::Refused { status: status @ ..429, .. } => nobody(&status.to_string()),
        failure => Trial::unreachable(NAME, failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::contract::platform_trials::Verdict;

    use super::super::tests::settings;
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        let of = |extra: &str, about: Option<(&str, &str)>| {
            let about = about.map(|(name, version)| (name.to_owned(), version.to_owned()));
            judge(&settings(extra).0.unwrap(), about)
        };
        let fine = of("watch_all: true", Some(("Home", "2026.11.0")));
        assert_eq!((fine.verdict, fine.lacks.len()), (Verdict::Fine, 0));
        assert_eq!(fine.message, "`Home` answers, Home Assistant 2026.11.0");
        assert_eq!(of("", Some(("Home", "1"))).lacks.len(), 1);
        assert_eq!(of("", None).verdict, Verdict::Lacking);
        let refused = |status| {
            let failure =
                Failure::Refused { what: "config", status, message: String::new(), retry_after: None };
            failed(&failure).verdict
        };
        assert_eq!([refused(404), refused(502)], [Verdict::Lacking, Verdict::Unreachable]);
        assert_eq!(failed(&Failure::Revoked).verdict, Verdict::Lacking);
    }
}
