//! What a failed request is: to the connection, and to a message. Pure.

use super::service::Failure;
use crate::delivery::outbound::Unsent;
use crate::platform::Down;

/// For programs: the token is none.
pub(super) const INVALID: &str = "mattermost_invalid_auth";
/// For programs: the network, the server, a limit.
pub(super) const NETWORK: &str = "mattermost_network_error";

/// What a failed request is to the connection.
pub(super) fn down(failure: &Failure) -> Down {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { code, .. } => Down::fatal(code, text),
        Failure::Revoked => Down::fatal(INVALID, text),
        Failure::Refused { refusal, .. } => Down::retrying(NETWORK, text).after(refusal.retry_after),
        Failure::Unsent(_) | Failure::Lost(_) => Down::retrying(NETWORK, text),
        Failure::Garbled(_) => Down::retrying("mattermost_protocol", text),
    }
}

/// What a failed request is to a message.
pub(super) fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        // The files say something wrong, or the token was taken back: the next worker may have better ones.
        Failure::Unusable { .. } | Failure::Revoked | Failure::Unsent(_) => Unsent::later(reason),
        Failure::Refused { refusal, .. } => {
            let is_own = !refusal.id.is_empty();
            match refusal.status {
                429 => Unsent::Later { after: refusal.retry_after, unsure: false, reason },
                // What is between may have lost the answer only.
                500.. if !is_own || refusal.status == 504 => Unsent::unsure(reason),
                408 | 500.. => Unsent::later(reason),
                _ if !is_own => Unsent::later(reason),
                // The channel is gone or put away, or the bot is not in it.
                403 | 404 => Unsent::gone(reason),
                400 if is_about_channel(&refusal.id) => Unsent::gone(reason),
                _ => Unsent::never(reason),
            }
        }
        Failure::Lost(_) | Failure::Garbled(_) => Unsent::unsure(reason),
    }
}

fn is_about_channel(id: &str) -> bool {
    id == "api.post.create_post.can_not_post_to_deleted.error"
}

/// Whether what is in the way is the thread that a message is to stand in.
pub(super) fn is_about_thread(failure: &Failure) -> bool {
    failure.refusal().is_some_and(|refusal| refusal.status == 400 && refusal.id.contains("root_id"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::wire::{Refusal, WireError};
    use super::*;
    use crate::platform::Class;

    fn refused(status: u16, id: &str) -> Failure {
        let retry_after = Some(Duration::from_secs(7)).filter(|_| status == 429);
        let refusal = Refusal { status, id: id.to_owned(), retry_after, ..Refusal::default() };
        Failure::Refused { what: "posts", refusal }
    }

    #[test]
    fn every_failure_has_its_class_and_code() {
        let (fatal, again) = (Class::Fatal, Class::Retrying);
        for (failure, class, code, wait) in [
            (Failure::Revoked, fatal, INVALID, None),
            (refused(429, ""), again, NETWORK, Some(7)),
            (refused(403, "api.context.permissions.app_error"), again, NETWORK, None),
            (refused(404, ""), again, NETWORK, None),
            (refused(502, ""), again, NETWORK, None),
            (Failure::Unsent("x".into()), again, NETWORK, None),
            (Failure::Lost("x".into()), again, NETWORK, None),
            (Failure::Garbled(WireError::Shape("x")), again, "mattermost_protocol", None),
            (
                Failure::Unusable { code: "mattermost_url".into(), reason: "x".into() },
                fatal,
                "mattermost_url",
                None,
            ),
        ] {
            let down = down(&failure);
            let waited = down.retry_after.map(|wait| wait.as_secs());
            assert_eq!((down.class, down.code.as_str(), waited), (class, code, wait), "{failure}");
        }
    }

    #[test]
    fn what_the_server_says_of_a_message_is_what_becomes_of_it() {
        let own = "api.some.error";
        let after = Some(Duration::from_secs(7));
        assert!(
            matches!(unsent(&refused(429, "")), Unsent::Later { after: a, unsure: false, .. } if a == after)
        );
        for sure in [
            Failure::Revoked,
            Failure::Unsent("x".into()),
            refused(500, own),
            refused(404, ""),
            refused(400, ""),
        ] {
            assert!(matches!(unsent(&sure), Unsent::Later { unsure: false, .. }), "{sure:?}");
        }
        for unsure in
            [refused(502, ""), refused(504, own), Failure::Lost("x".into()), WireError::Shape("x").into()]
        {
            assert!(matches!(unsent(&unsure), Unsent::Later { unsure: true, .. }), "{unsure:?}");
        }
        for gone in [
            refused(403, own),
            refused(404, own),
            refused(400, "api.post.create_post.can_not_post_to_deleted.error"),
        ] {
            assert!(matches!(unsent(&gone), Unsent::Never { gone: true, .. }), "{gone:?}");
        }
        assert!(matches!(unsent(&refused(400, own)), Unsent::Never { gone: false, .. }));
        assert!(is_about_thread(&refused(400, "api.post.create_post.root_id.app_error")));
        assert!(!is_about_thread(&refused(400, own)));
    }
}
