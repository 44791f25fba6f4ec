//! Whether the account works as it is configured, asked once: the daemon, and which accounts it has. Nothing is received by that.

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};

use super::service::{Failure, Service};
use super::settings::Settings;
use super::{NAME, wire};
use crate::platform::{Outside, PlatformFuture};

/// Asks, where an account is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = Network::of(&outside.config.env).over(outside.inherited);
    Some(Box::pin(async move { ask(&settings, &network).await.unwrap_or_else(|failure| failed(&failure)) }))
}

async fn ask(settings: &Settings, network: &Network) -> Result<Trial, Failure> {
    let service = Service::new(settings, network)?;
    service.check().await?;
    Ok(judge(&settings.account, wire::accounts(&service.accounts().await?)))
}

/// `accounts`: those that the daemon has; none: it has one, and does not say which.
fn judge(account: &str, accounts: Option<Vec<String>>) -> Trial {
    match accounts {
        None => Trial::answered(
            NAME,
            "the daemon answers, for the one account that it was started with",
            Vec::new(),
        ),
        Some(all) if all.iter().any(|one| one == account) => {
            Trial::answered(NAME, format!("the daemon answers, and has the account {account}"), Vec::new())
        }
        Some(all) => {
            let what = match all.len() {
                0 => format!("the daemon has no account, and not {account}"),
                n => format!("the daemon has {n} accounts, and {account} is none of them"),
            };
            let fix = "link or register it (`signal-cli link -n hermes`, or `signal-cli -a NUMBER register`), or correct SIGNAL_ACCOUNT";
            Trial::answered(NAME, "the daemon answers", vec![Lack::needed(what, fix)])
        }
    }
}

fn failed(failure: &Failure) -> Trial {
    match failure {
        Failure::Unusable { reason, .. } => Trial::not_asked(NAME, reason),
        Failure::Status { status: 401 | 403, .. } => {
            let lack = Lack::needed(
                failure.to_string(),
                "let the daemon in who is on this machine, or correct SIGNAL_HTTP_URL",
            );
            Trial::answered(NAME, "somebody answers", vec![lack])
        }
        Failure::Status { status: 404, .. } => {
            let fix = "correct SIGNAL_HTTP_URL: it is where `signal-cli daemon --http` listens";
            Trial::answered(
                NAME,
                "somebody answers",
                vec![Lack::needed("what answers there is no daemon of signal-cli", fix)],
            )
        }
        failure => Trial::unreachable(NAME, format!("{failure}; is `signal-cli daemon --http` running?")),
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::contract::platform_trials::Verdict;

    use super::*;

    #[test]
    fn an_account_that_the_daemon_has_not_is_missing() {
        let own = || Some(vec!["+491".to_owned(), "+492".to_owned()]);
        assert_eq!(judge("+491", own()).verdict, Verdict::Fine);
        assert_eq!(judge("+493", own()).verdict, Verdict::Lacking);
        assert_eq!(judge("+493", Some(Vec::new())).verdict, Verdict::Lacking);
        assert_eq!(judge("+493", None).verdict, Verdict::Fine);
    }

    #[test]
    fn who_is_no_daemon_is_told_from_who_is_not_there() {
        let status = |status| failed(&Failure::Status { what: "check", status, text: String::new() }).verdict;
        assert_eq!(
            [status(401), status(404), status(500)],
            [Verdict::Lacking, Verdict::Lacking, Verdict::Unreachable]
        );
        assert_eq!(failed(&Failure::Unsent("x".into())).verdict, Verdict::Unreachable);
    }
}
