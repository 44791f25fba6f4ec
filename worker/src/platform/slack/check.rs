//! Whether the bot works as it is configured, asked once: `auth.test` with each of its tokens, and `apps.connections.open` with that of the
//! app, which gives out an address that nobody connects to. A token that is refused is asked with no second time.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future;
use hermes_config::network::Network;
use hermes_wire::contract::platform_trials::{Lack, Trial};

use super::failures::{Obstacle, obstacle};
use super::refused::Refused;
use super::service::{Failure, Service};
use super::settings::{Mode, NAME, Settings};
use super::wire::Me;
use super::{APP, NO_PORT, OPEN_PORT, VITAL, shown, useful};
use crate::platform::{Outside, PlatformFuture};

/// Where scopes are added.
const PERMISSIONS: &str =
    "at https://api.slack.com/apps, OAuth & Permissions, Bot Token Scopes, and install the app again";

/// Who the bot is in a workspace, and what it may do there, as far as Slack says so.
type Found = Result<(Me, Option<BTreeSet<String>>), Failure>;

/// How events come, as far as somebody said.
#[derive(Debug)]
enum Way {
    /// Through a socket, which the app may open, or why not.
    Socket(Result<(), Failure>),
    /// As requests, to a port that is open; none: nobody knows.
    Requests(Option<bool>),
}

/// Asks, where the bot is configured.
pub(super) fn check(outside: &Outside<'_>) -> Option<PlatformFuture<'static, Trial>> {
    let settings: Settings = outside.config.settings.of::<Settings>(NAME)?.clone();
    let network = Network::of(&outside.config.env).over(outside.inherited);
    let is_called = outside.webhooks;
    Some(Box::pin(async move {
        ask(&settings, &network, is_called).await.unwrap_or_else(|failure| unasked(&failure))
    }))
}

async fn ask(settings: &Settings, network: &Network, is_called: Option<bool>) -> Result<Trial, Failure> {
    let refused: Arc<Refused> = Arc::default();
    let services = Service::all(settings, network, &refused)?;
    let app = match &settings.mode {
        Mode::Socket(_) => Some(Service::app(settings, network, &refused)?),
        Mode::Http(_) => None,
    };
    let asked = future::join_all(services.iter().map(Service::me));
    let way = async {
        match &app {
            Some(app) => Way::Socket(app.socket().await.map(drop)),
            None => Way::Requests(is_called),
        }
    };
    let (found, way) = future::join(asked, way).await;
    Ok(judge(&found, &|n| settings.source(n), &way))
}

/// What the answers say, to tokens that stand where `source` says.
fn judge(found: &[Found], source: &dyn Fn(usize) -> &'static str, way: &Way) -> Trial {
    let (mut lacks, mut names) = (Vec::new(), Vec::new());
    let (mut unheard, mut strange) = (None, None);
    for (n, one) in found.iter().enumerate() {
        match one {
            Ok((me, scopes)) => {
                let team = shown(if me.team.is_empty() { &me.team_id } else { &me.team });
                names.push(format!("@{} in {team}", shown(&me.user)));
                lacks.extend(scopes.as_ref().and_then(|scopes| of_scopes(scopes, &team)));
            }
            Err(failure) => match obstacle(failure, source(n)) {
                Some(obstacle) => lacks.push(of_token(n, found.len(), obstacle)),
                None if is_strange(failure) => strange = strange.or(Some(failure)),
                None => unheard = unheard.or(Some(failure)),
            },
        }
    }
    let how = match way {
        Way::Socket(Ok(())) => "the app may open sockets",
        Way::Socket(Err(failure)) => {
            match obstacle(failure, APP) {
                Some(Obstacle { what, fix, .. }) => lacks.push(Lack::needed(what, fix)),
                None if failure.error() == "too_many_websockets" => lacks.push(Lack::wanted(
                    "as many sockets of the app are open as Slack allows (10)",
                    "stop what else listens with SLACK_APP_TOKEN",
                )),
                None if is_strange(failure) => strange = strange.or(Some(failure)),
                None => unheard = unheard.or(Some(failure)),
            }
            "events come through a socket"
        }
        Way::Requests(is_called) => {
            if *is_called == Some(false) {
                lacks.push(Lack::needed(NO_PORT, OPEN_PORT));
            }
            "Slack calls /slack/events of this gateway, with signed requests"
        }
    };
    if let Some(failure) = strange {
        let fix = "correct SLACK_API_BASE_URL, or see what stands between this machine and Slack";
        lacks.push(Lack::needed(format!("what answers there is not Slack ({failure})"), fix));
    }
    let message = match names.as_slice() {
        [] if strange.is_some() => "somebody answers".to_owned(),
        [] => "Slack answers".to_owned(),
        names => format!("{} answers; {how}", names.join(", ")),
    };
    match unheard {
        Some(failure) => Trial { lacks, ..Trial::unreachable(NAME, failure.to_string()) },
        None => Trial::answered(NAME, message, lacks),
    }
}

/// What is in the way of one of the bot's tokens.
fn of_token(n: usize, of: usize, Obstacle { what, fix, .. }: Obstacle) -> Lack {
    let which = if of == 1 { String::new() } else { format!("no. {} of {of}: ", n + 1) };
    Lack::needed(format!("{which}{what}"), fix)
}

/// What the app may not do in a workspace.
fn of_scopes(scopes: &BTreeSet<String>, team: &str) -> Option<Lack> {
    if !scopes.contains(VITAL) {
        let what = format!("in {team} the app lacks the scope {VITAL}: no answer can be sent");
        return Some(Lack::needed(what, format!("add it {PERMISSIONS}")));
    }
    let missing = useful(scopes)?;
    let what = format!("in {team} the app lacks scopes, and what they are for does not work: {missing}");
    Some(Lack::wanted(what, format!("add them {PERMISSIONS}")))
}

/// The answer is not one of Slack's.
fn is_strange(failure: &Failure) -> bool {
    match failure {
        Failure::Garbled(_) => true,
        Failure::Refused { refusal, .. } => refusal.error.is_empty() && (300..429).contains(&refusal.status),
        Failure::Unusable { .. } | Failure::Unsent(_) | Failure::Lost(_) => false,
    }
}

/// Why nobody was asked.
fn unasked(failure: &Failure) -> Trial {
    Trial::not_asked(NAME, failure.to_string())
}

#[cfg(test)]
mod tests {
    use hermes_wire::contract::platform_trials::Verdict;

    use super::super::wire::Refusal;
    use super::super::{TOKEN, USEFUL, wire};
    use super::*;

    fn judge(found: &[Found], way: &Way) -> Trial {
        super::judge(found, &|n| if n < 2 { TOKEN } else { "slack_tokens.json" }, way)
    }

    fn me(team: &str) -> Me {
        let text = format!(
            r#"{{"ok": true, "user_id": "U1", "user": "hermes", "team": "{team}", "team_id": "T1"}}"#
        );
        wire::answer("auth.test", 200, None, text.as_bytes()).unwrap().unwrap()
    }

    fn all() -> BTreeSet<String> {
        USEFUL.into_iter().chain([VITAL]).map(str::to_owned).collect()
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the service says it")]
    fn good(team: &str) -> Found {
        Ok((me(team), Some(all())))
    }

    fn refusal(error: &str, needed: &str) -> Failure {
        let refusal = Refusal { status: 200, error: error.into(), needed: needed.into(), retry_after: None };
        Failure::Refused { what: "auth.test", refusal }
    }

    fn said(trial: &Trial) -> String {
        trial.lacks.iter().map(|lack| format!("{}: {}", lack.what, lack.fix)).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn every_workspace_is_named_and_what_is_missing_in_it() {
        let open = Way::Socket(Ok(()));
        let fine = judge(&[good("One"), good("Two")], &open);
        assert_eq!(
            (fine.verdict, fine.message.as_str()),
            (Verdict::Fine, "@hermes in One, @hermes in Two answers; the app may open sockets")
        );
        let without = |scope: &str| {
            let scopes = all().into_iter().filter(|one| one != scope).collect();
            judge(&[good("One"), Ok((me("Two"), Some(scopes)))], &open)
        };
        let (vital, useful) = (without(VITAL), without("files:read"));
        assert!(
            vital.verdict == Verdict::Lacking
                && said(&vital).contains("in Two the app lacks the scope chat:write")
        );
        assert!(
            useful.verdict == Verdict::Fine && said(&useful).contains("does not work: files:read"),
            "{useful:?}"
        );
        assert_eq!(
            said(&judge(&[Ok((me("One"), None))], &open)),
            "",
            "where nobody says, nothing is missing"
        );
        let refused = judge(&[good("One"), Err(refusal("account_inactive", ""))], &open);
        assert_eq!(refused.verdict, Verdict::Lacking);
        assert!(
            said(&refused).starts_with("no. 2 of 2: the token in SLACK_BOT_TOKEN is refused"),
            "{refused:?}"
        );
        assert!(refused.message.contains("One"), "{refused:?}");
        let of_file = judge(&[good("One"), good("Two"), Err(refusal("token_revoked", ""))], &open);
        assert!(
            said(&of_file).starts_with("no. 3 of 3: the token in slack_tokens.json is refused"),
            "{of_file:?}"
        );
    }

    #[test]
    fn the_way_of_events_has_its_own_lacks() {
        let judge = |way: Way| judge(&[good("One")], &way);
        for (error, needed, verdict, says) in [
            ("invalid_auth", "", Verdict::Lacking, "the token in SLACK_APP_TOKEN is refused"),
            (
                "missing_scope",
                "connections:write",
                Verdict::Lacking,
                "App-Level Token with the scope `connections:write`",
            ),
            ("forbidden", "", Verdict::Lacking, "turn Socket Mode on"),
            ("too_many_websockets", "", Verdict::Fine, "as many sockets"),
            ("internal_error", "", Verdict::Unreachable, ""),
        ] {
            let trial = judge(Way::Socket(Err(refusal(error, needed))));
            assert_eq!(trial.verdict, verdict, "{error}: {trial:?}");
            assert!(said(&trial).contains(says), "{trial:?}");
        }
        for (is_open, verdict) in
            [(Some(true), Verdict::Fine), (None, Verdict::Fine), (Some(false), Verdict::Lacking)]
        {
            let trial = judge(Way::Requests(is_open));
            assert!(trial.verdict == verdict && trial.message.contains("/slack/events"), "{trial:?}");
        }
    }

    /// What is known to be missing is said, although not everybody was heard.
    #[test]
    fn a_refused_token_is_no_network() {
        let open = || Way::Socket(Ok(()));
        assert_eq!(judge(&[Err(refusal("invalid_auth", ""))], &open()).verdict, Verdict::Lacking);
        for failure in [refusal("ratelimited", ""), Failure::Unsent("x".into()), Failure::Lost("x".into())] {
            let trial = judge(&[Err(failure), Err(refusal("token_revoked", ""))], &open());
            assert!(
                trial.verdict == Verdict::Unreachable && said(&trial).contains("token_revoked"),
                "{trial:?}"
            );
        }
        let page = |status| Failure::Refused {
            what: "auth.test",
            refusal: Refusal { status, ..Refusal::default() },
        };
        let strange = judge(&[Err(page(404))], &open());
        assert!(
            strange.verdict == Verdict::Lacking && said(&strange).contains("is not Slack"),
            "{strange:?}"
        );
        assert_eq!(judge(&[Err(page(502))], &open()).verdict, Verdict::Unreachable);
        let fault = Failure::Unusable { code: "x".into(), reason: "no token".into() };
        assert_eq!(unasked(&fault).verdict, Verdict::NotAsked);
    }
}
