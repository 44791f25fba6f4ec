//! What a failed request is: to the connection, and to a notification. Pure.

use super::service::Failure;
use crate::delivery::outbound::Unsent;
use crate::platform::Down;

/// For programs: the token is none.
pub(super) const INVALID: &str = "homeassistant_invalid_auth";
/// For programs: the network, the house, a limit.
pub(super) const NETWORK: &str = "homeassistant_network_error";

/// What a failed request is to the connection.
pub(super) fn down(failure: &Failure) -> Down {
    let text = failure.to_string();
    match failure {
        Failure::Unusable { code, .. } => Down::fatal(code, text),
        Failure::Revoked => Down::fatal(INVALID, text),
        Failure::Refused { retry_after, .. } => Down::retrying(NETWORK, text).after(*retry_after),
        Failure::Unsent(_) | Failure::Lost(_) => Down::retrying(NETWORK, text),
    }
}

/// What a failed request is to a notification. One that is sent again is there once, so nothing is unsure.
pub(super) fn unsent(failure: &Failure) -> Unsent {
    let reason = failure.to_string();
    match failure {
        Failure::Refused { status: 400 | 413, .. } => Unsent::never(reason),
        Failure::Refused { retry_after, .. } => Unsent::Later { after: *retry_after, unsure: false, reason },
        Failure::Lost(_) => Unsent::unsure(reason),
        Failure::Unusable { .. } | Failure::Revoked | Failure::Unsent(_) => Unsent::later(reason),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::platform::Class;

    fn refused(status: u16, retry_after: Option<Duration>) -> Failure {
        Failure::Refused { what: "the notification", status, message: String::new(), retry_after }
    }

    #[test]
    fn every_failure_has_its_class_and_code() {
        let wait = Some(Duration::from_secs(7));
        for (failure, class, code, after) in [
            (Failure::Revoked, Class::Fatal, INVALID, None),
            (
                Failure::Unusable { code: "homeassistant_url".into(), reason: "x".into() },
                Class::Fatal,
                "homeassistant_url",
                None,
            ),
            (refused(429, wait), Class::Retrying, NETWORK, wait),
            (refused(502, None), Class::Retrying, NETWORK, None),
            (Failure::Unsent("x".into()), Class::Retrying, NETWORK, None),
            (Failure::Lost("x".into()), Class::Retrying, NETWORK, None),
        ] {
            let down = down(&failure);
            assert_eq!((down.class, down.code.as_str(), down.retry_after), (class, code, after), "{failure}");
        }
        assert!(
            matches!(unsent(&refused(429, wait)), Unsent::Later { after, unsure: false, .. } if after == wait)
        );
        assert!(matches!(unsent(&refused(502, None)), Unsent::Later { unsure: false, .. }));
        assert!(matches!(unsent(&refused(400, None)), Unsent::Never { gone: false, .. }));
        assert!(matches!(unsent(&Failure::Lost("x".into())), Unsent::Later { unsure: true, .. }));
        assert!(matches!(unsent(&Failure::Revoked), Unsent::Later { unsure: false, .. }));
    }
}
