//! Whether the account works as it is configured, asked once: is there a homeserver, and whose is the token.
//!
//! Nobody logs in by that, since a login makes a device: a password is not tried. Where it was before, by the profile's worker, the token of
//! that login is asked about; else which ways of logging in the homeserver has.

use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};

use super::account::Account;
use super::discovery;
use super::service::{Failure, Who};
use super::settings::{NAME, Settings};
use super::wire::Refusal;
use crate::platform::{Outside, PlatformFuture};

/// What the homeserver has to speak, as it numbers it: since then `/_matrix/client/v3` is there.
const OLDEST: (u32, u32) = (1, 1);
/// How somebody with a password logs in.
const PASSWORD: &str = "m.login.password";

/// Asks, where an account is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: &Settings = outside.config.settings.of(NAME)?;
    let network = super::network(settings, Network::of(&outside.config.env).over(outside.inherited));
    let account = Account::new(settings, network);
    account.lives_in(outside.home);
    Some(Box::pin(async move { ask(&account).await.unwrap_or_else(|failure| failed(&failure)) }))
}

async fn ask(account: &Account) -> Result<Trial, Failure> {
    let service = account.service().await?;
    let versions = match service.versions().await {
        Ok(versions) => versions,
        Err(failure) if is_strange(&failure) => return Ok(strange(&failure, service.pointer().await)),
        Err(failure) => return Err(failure),
    };
    let newest = match newest(&versions) {
        Some(newest) if newest >= OLDEST => newest,
        _ => return Ok(old(&versions)),
    };
    let found = match account.both().await {
        Ok((service, token)) => Some(service.whoami(&token).await),
        // Nobody has logged in yet.
        Err(_) => None,
    };
    let settings = &account.settings;
    let says_no = |found: &Result<Who, Failure>| {
        found.as_ref().is_err_and(|failure| failure.refusal().is_some_and(Refusal::is_of_token))
    };
    match found {
        Some(found) if !says_no(&found) => Ok(known(settings, &found?, newest)),
        refused => {
            let refused = refused.and_then(Result::err);
            let flows = match &settings.password {
                Some(_) => Some(service.flows().await?),
                None => None,
            };
            Ok(unknown(settings, refused.as_ref(), flows.as_deref(), newest))
        }
    }
}

/// The account is known by its token.
fn known(settings: &Settings, who: &Who, (major, minor): (u32, u32)) -> Trial {
    let mut lacks = Vec::new();
    if let Some(wanted) = settings.user_id.as_ref().filter(|user| !user.eq_ignore_ascii_case(&who.user)) {
        lacks.push(Lack::wanted(
            format!(
                "the token is not that of MATRIX_USER_ID, {wanted}, but of {}: that one counts",
                who.user
            ),
            "set MATRIX_ACCESS_TOKEN to a token of the account that is meant, or correct MATRIX_USER_ID",
        ));
    }
    let device = who.device.as_ref().map(|device| format!(", as its device {device}")).unwrap_or_default();
    Trial::answered(
        NAME,
        format!("{} is logged in at a homeserver of Matrix v{major}.{minor}{device}", who.user),
        lacks,
    )
}

/// Nobody is logged in, or not any more. `refused`: what was said of a token. `flows`: the ways of logging in, where there is a password.
fn unknown(
    settings: &Settings,
    refused: Option<&Failure>,
    flows: Option<&[String]>,
    (major, minor): (u32, u32),
) -> Trial {
    let (mut lacks, mut message) = (Vec::new(), format!("a homeserver of Matrix v{major}.{minor} answers"));
    if let Some(failure) = refused {
        let what = format!("the access token is refused ({failure})");
        lacks.push(match (&settings.token, flows) {
            (Some(_), None) => Lack::needed(
                what,
                "take another one of the account (in Element: All settings, Help & About, Advanced), and set MATRIX_ACCESS_TOKEN to it; or set \
                 MATRIX_USER_ID and MATRIX_PASSWORD",
            ),
            (Some(_), Some(_)) => {
                Lack::wanted(what, "set MATRIX_ACCESS_TOKEN to another one, or leave it out: the password is used instead")
            }
            (None, _) => Lack::wanted(
                format!("the last login is over ({failure})"),
                "nothing: it logs in again when it connects; if it does not, `hermes gateway restart`",
            ),
        });
    }
    if let Some(flows) = flows {
        if flows.iter().any(|flow| flow == PASSWORD) {
            message +=
                ", and takes logins with a password; that of MATRIX_PASSWORD is tried when it connects";
        } else {
            let offered = if flows.is_empty() { "none".to_owned() } else { flows.join(", ") };
            lacks.push(Lack::needed(
                format!("the homeserver takes no logins with a password (it has {offered})"),
                "log in with another client, and set MATRIX_ACCESS_TOKEN to the token of that session",
            ));
        }
    }
    Trial::answered(NAME, message, lacks)
}

/// The newest version of a list.
fn newest(versions: &[String]) -> Option<(u32, u32)> {
    let number = |version: &String| {
        let (major, minor) = version.strip_prefix('v')?.split_once('.')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    };
    versions.iter().filter_map(number).max()
}

fn old(versions: &[String]) -> Trial {
    let spoken = if versions.is_empty() { "nothing".to_owned() } else { versions.join(", ") };
    let what =
        format!("the homeserver speaks versions of Matrix that are too old ({spoken}), not v1.1 or newer");
    Trial::answered(
        NAME,
        "a homeserver answers",
        vec![Lack::needed(what, "have it updated, or use another one")],
    )
}

/// Whether an answer is not one of a homeserver to its clients.
fn is_strange(failure: &Failure) -> bool {
    match failure {
        Failure::Garbled(_) => true,
        Failure::Refused { refusal, .. } => (300..500).contains(&refusal.status) && refusal.status != 429,
        _ => false,
    }
}

/// `pointer`: where that server says that the homeserver is.
fn strange(failure: &Failure, pointer: Option<String>) -> Trial {
    let what = format!("what answers at MATRIX_HOMESERVER is no homeserver of Matrix ({failure})");
    let fix = match pointer {
        Some(there) => format!("set MATRIX_HOMESERVER to {there}: it says that its homeserver is there"),
        None => "correct MATRIX_HOMESERVER: it is the address that clients use, which Element shows below Help & About".to_owned(),
    };
    Trial::answered(NAME, "somebody answers", vec![Lack::needed(what, fix)])
}

fn failed(failure: &Failure) -> Trial {
    match failure {
        Failure::Unusable { code, reason } if code == discovery::CODE => {
            let fix = "set MATRIX_HOMESERVER to the address that clients use, which Element shows below Help & About";
            Trial::answered(
                NAME,
                "the server is asked where its homeserver is",
                vec![Lack::needed(reason, fix)],
            )
        }
        Failure::Unusable { reason, .. } => Trial::not_asked(NAME, reason),
        failure => Trial::unreachable(NAME, failure.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use hermes_wire::contract::platform_trials::Verdict;

    use super::super::tests::settings;
    use super::super::wire::WireError;
    use super::*;

    const V: (u32, u32) = (1, 12);

    fn texts(all: &[&str]) -> Vec<String> {
        all.iter().map(|&one| one.to_owned()).collect()
    }

    fn refused(status: u16, code: &str) -> Failure {
        Failure::Refused {
            what: "whoami",
            refusal: Refusal { status, code: code.to_owned(), ..Refusal::default() },
        }
    }

    fn said(trial: &Trial) -> String {
        trial.lacks.iter().map(|lack| format!("{}: {}", lack.what, lack.fix)).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn the_newest_version_counts_whatever_the_order() {
        assert_eq!(newest(&texts(&["r0.6.1", "v1.1", "v1.12", "v1.9", "vx"])), Some((1, 12)));
        assert_eq!(newest(&texts(&["r0.0.1", "r0.6.1"])), None);
        assert_eq!(
            (old(&[]).verdict, old(&texts(&["r0.6.1"])).verdict),
            (Verdict::Lacking, Verdict::Lacking)
        );
    }

    #[test]
    fn the_token_of_another_account_is_said_and_counts() {
        let who = Who { user: "@bot:x.example".to_owned(), device: Some("D1".to_owned()) };
        let fine = known(&settings("user_id: '@BOT:x.example'"), &who, V);
        assert_eq!(
            (fine.verdict, fine.message.as_str(), said(&fine).as_str()),
            (
                Verdict::Fine,
                "@bot:x.example is logged in at a homeserver of Matrix v1.12, as its device D1",
                ""
            )
        );
        let other = known(&settings("user_id: '@ann:x.example'"), &who, V);
        assert_eq!(other.verdict, Verdict::Fine);
        assert!(said(&other).contains("@ann:x.example"), "{other:?}");
    }

    #[test]
    fn a_refused_token_is_the_end_unless_there_is_a_password() {
        let (token, both) = (settings(""), settings("user_id: '@bot:x.example', password: p"));
        let flows = texts(&["m.login.sso", PASSWORD]);
        let no = refused(401, "M_UNKNOWN_TOKEN");
        let end = unknown(&token, Some(&no), None, V);
        assert!(end.verdict == Verdict::Lacking && said(&end).contains("M_UNKNOWN_TOKEN"), "{end:?}");
        assert_eq!(unknown(&both, Some(&no), Some(&flows), V).verdict, Verdict::Fine);
        let fine = unknown(&both, None, Some(&flows), V);
        assert!(
            fine.verdict == Verdict::Fine && fine.message.contains("MATRIX_PASSWORD is tried when"),
            "{fine:?}"
        );
        for flows in [texts(&["m.login.sso"]), Vec::new()] {
            let trial = unknown(&both, None, Some(&flows), V);
            assert!(
                trial.verdict == Verdict::Lacking && said(&trial).contains("MATRIX_ACCESS_TOKEN"),
                "{trial:?}"
            );
        }
    }

    #[test]
    fn who_is_no_homeserver_is_told_from_who_is_not_there() {
        for failure in
            [refused(404, ""), refused(404, "M_UNRECOGNIZED"), Failure::Garbled(WireError::Garbled("x"))]
        {
            assert!(is_strange(&failure), "{failure}");
            assert_eq!(strange(&failure, None).verdict, Verdict::Lacking);
        }
        let there = strange(&refused(404, ""), Some("https://matrix.x.example".to_owned()));
        assert!(said(&there).contains("MATRIX_HOMESERVER to https://matrix.x.example"), "{there:?}");
        for failure in [refused(502, ""), refused(429, "M_LIMIT_EXCEEDED"), Failure::Unsent("x".into())] {
            assert!(!is_strange(&failure) && failed(&failure).verdict == Verdict::Unreachable, "{failure}");
        }
        let fault = Failure::Unusable { code: "x".into(), reason: "no homeserver".into() };
        assert_eq!(failed(&fault).verdict, Verdict::NotAsked);
    }
}
