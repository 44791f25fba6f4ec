//! What a failed request is to the connection and to a message. Pure.

use std::time::Duration;

use super::service::Failure;
use super::wire::Refusal;
use crate::delivery::outbound::Unsent;
use crate::platform::Down;

/// What stands in the way until somebody changes something at Slack or in the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    /// For programs.
    pub(super) code: &'static str,
    /// What it is.
    pub(super) what: String,
    /// What to do.
    pub(super) fix: String,
}

impl From<Obstacle> for Down {
    fn from(Obstacle { code, what, fix }: Obstacle) -> Self {
        Self::fatal(code, format!("{what}: {fix}"))
    }
}

/// What a failed request is to the connection. `whose`: the variable of the token that it was made with.
pub(super) fn down(failure: &Failure, whose: &str) -> Down {
    if let Some(obstacle) = obstacle(failure, whose) {
        return obstacle.into();
    }
    let text = failure.to_string();
    match failure {
        Failure::Unusable { code, .. } => Down::fatal(code, text),
        Failure::Refused { refusal, .. } => {
            Down::retrying("slack_network_error", text).after(refusal.retry_after.map(Duration::from_secs))
        }
        _ => Down::retrying("slack_network_error", text),
    }
}

/// What a refusal has in the way for good; none: it may go well later. `whose` as above.
pub(super) fn obstacle(failure: &Failure, whose: &str) -> Option<Obstacle> {
    let Failure::Refused { refusal, .. } = failure else { return None };
    let text = failure.to_string();
    match refusal.error.as_str() {
        _ if refusal.is_auth() => Some(refused(&text, whose)),
        "missing_scope" => Some(scope(&text, &refusal.needed, whose)),
        "forbidden" | "forbidden_team" | "socket_mode_disabled" => Some(off(&text)),
        "access_denied"
        | "no_permission"
        | "org_login_required"
        | "ekm_access_denied"
        | "team_access_not_granted" => Some(refused(&text, whose)),
        _ => None,
    }
}

fn refused(text: &str, whose: &str) -> Obstacle {
    Obstacle {
        code: "slack_invalid_auth",
        what: format!("the token in {whose} is refused ({text})"),
        fix: format!("copy {whose} from your app's page again, and install the app where it was removed"),
    }
}

fn scope(text: &str, needed: &str, whose: &str) -> Obstacle {
    let fix = match (whose, needed) {
        // What a token of an app may do is said when it is made, and never after.
        (super::APP, _) => {
            "make another App-Level Token with the scope `connections:write` (Basic Information of your app), and set SLACK_APP_TOKEN to it"
                .to_owned()
        }
        (_, "") => "compare the scopes of the app with the manifest of `hermes setup`, and install it again".to_owned(),
        (_, needed) => format!("add the scope `{needed}` to the app and install it again"),
    };
    let what = format!("the token in {whose} lacks a scope ({text})");
    Obstacle { code: "slack_missing_scope", what, fix }
}

/// The app takes no events through sockets.
fn off(text: &str) -> Obstacle {
    Obstacle {
        code: "slack_link_disabled",
        what: format!("the app does not use Socket Mode ({text})"),
        fix: "turn Socket Mode on in your app, or set SLACK_SIGNING_SECRET and SLACK_MODE=http".to_owned(),
    }
}

/// The same to the connection.
pub(super) fn disabled(text: &str) -> Down {
    off(text).into()
}

/// What a failed request is to a message.
pub(super) fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        // The files say something wrong: the next worker may have better ones.
        Failure::Unusable { .. } | Failure::Unsent(_) => Unsent::later(reason),
        Failure::Refused { refusal, .. } => refusal_of(refusal, reason),
        Failure::Lost(_) | Failure::Garbled(_) => Unsent::unsure(reason),
    }
}

fn refusal_of(refusal: &Refusal, reason: String) -> Unsent {
    if refusal.is_limit() {
        let after = refusal.retry_after.map(Duration::from_secs);
        return Unsent::Later { after, unsure: false, reason };
    }
    match (refusal.error.as_str(), refusal.status) {
        // What is between may have lost the answer only; a part of it may have been done, as Slack says.
        ("", 500..) | ("internal_error" | "fatal_error", _) => Unsent::unsure(reason),
        (
            ""
            | "service_unavailable"
            | "request_timeout"
            | "team_added_to_org"
            | "upgrade_required"
            | "missing_scope",
            _,
        ) => Unsent::later(reason),
        _ if refusal.is_auth() => Unsent::later(reason),
        (
            "channel_not_found"
            | "not_in_channel"
            | "is_archived"
            | "user_not_found"
            | "user_disabled"
            | "cannot_dm_bot"
            | "messages_tab_disabled"
            | "not_in_team",
            _,
        ) => Unsent::gone(reason),
        _ => Unsent::never(reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Class;
    use crate::platform::slack::wire::WireError;

    fn refusal(status: u16, error: &str, retry_after: Option<u64>) -> Failure {
        let needed = if error == "missing_scope" { "chat:write" } else { "" };
        let refusal = Refusal { status, error: error.to_owned(), needed: needed.to_owned(), retry_after };
        Failure::Refused { what: "auth.test", refusal }
    }

    #[test]
    fn every_failure_has_its_class_and_code() {
        for (failure, class, code, wait) in [
            (refusal(200, "invalid_auth", None), Class::Fatal, "slack_invalid_auth", None),
            (refusal(200, "not_authed", None), Class::Fatal, "slack_invalid_auth", None),
            (refusal(200, "account_inactive", None), Class::Fatal, "slack_invalid_auth", None),
            (refusal(200, "token_revoked", None), Class::Fatal, "slack_invalid_auth", None),
            (refusal(200, "not_allowed_token_type", None), Class::Fatal, "slack_invalid_auth", None),
            (refusal(401, "", None), Class::Fatal, "slack_invalid_auth", None),
            (refusal(200, "missing_scope", None), Class::Fatal, "slack_missing_scope", None),
            (refusal(200, "forbidden", None), Class::Fatal, "slack_link_disabled", None),
            (refusal(429, "ratelimited", Some(7)), Class::Retrying, "slack_network_error", Some(7)),
            (refusal(200, "ratelimited", None), Class::Retrying, "slack_network_error", None),
            (refusal(200, "too_many_websockets", None), Class::Retrying, "slack_network_error", None),
            (refusal(502, "", None), Class::Retrying, "slack_network_error", None),
            (refusal(404, "", None), Class::Retrying, "slack_network_error", None),
            (refusal(200, "something_new", None), Class::Retrying, "slack_network_error", None),
            (Failure::Unsent("x".into()), Class::Retrying, "slack_network_error", None),
            (Failure::Lost("x".into()), Class::Retrying, "slack_network_error", None),
            (Failure::Garbled(WireError::TooMuch("x")), Class::Retrying, "slack_network_error", None),
            (
                Failure::Unusable { code: "slack_base_url".into(), reason: "x".into() },
                Class::Fatal,
                "slack_base_url",
                None,
            ),
        ] {
            let down = down(&failure, "SLACK_BOT_TOKEN");
            let waited = down.retry_after.map(|wait| wait.as_secs());
            assert_eq!((down.class, down.code.as_str(), waited), (class, code, wait), "{failure}");
        }
        let text = down(&refusal(200, "missing_scope", None), "SLACK_BOT_TOKEN").message;
        assert!(text.contains("`chat:write`") && text.contains("SLACK_BOT_TOKEN"), "{text}");
    }

    #[test]
    fn a_message_is_repeated_where_that_helps_and_marked_where_it_may_be_there() {
        let later = |after: Option<u64>, unsure| {
            move |unsent: &Unsent| {
                matches!(unsent, Unsent::Later { after: found, unsure: u, .. }
                if *found == after.map(Duration::from_secs) && *u == unsure)
            }
        };
        for failure in [refusal(429, "ratelimited", Some(9)), refusal(200, "ratelimited", Some(9))] {
            assert!(later(Some(9), false)(&unsent(&failure)), "{failure}");
        }
        for failure in
            [refusal(502, "", None), refusal(200, "internal_error", None), Failure::Lost("x".into())]
        {
            assert!(later(None, true)(&unsent(&failure)), "{failure}");
        }
        for failure in
            [Failure::Unsent("x".into()), refusal(200, "token_revoked", None), refusal(401, "", None)]
        {
            assert!(later(None, false)(&unsent(&failure)), "{failure}");
        }
        assert!(matches!(unsent(&refusal(200, "channel_not_found", None)), Unsent::Never { gone: true, .. }));
        assert!(matches!(unsent(&refusal(200, "no_text", None)), Unsent::Never { gone: false, .. }));
    }
}
