//! How long to wait before another try of a lost connection, and when there is none. Pure.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::service::Failure;
use super::wire::Refusal;
use crate::platform::Down;

/// Waits before the second and later tries; behind these the worker's own waits hold.
const AGAIN: [u64; 7] = [1, 2, 5, 5, 10, 20, 30];

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Failures(AtomicU32);

impl Failures {
    /// The connection stands.
    pub(super) fn stands(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// What a failed request is to the connection.
    pub(super) fn down(&self, failure: &Failure) -> Down {
        let text = failure.to_string();
        match failure {
            Failure::Unusable { code, .. } => Down::fatal(code, text),
            Failure::LoggedOut(_) => Down::fatal("matrix_invalid_auth", text),
            Failure::Garbled(_) => self.again("matrix_protocol", text, None),
            Failure::Unsent(_) | Failure::Lost(_) => self.again("matrix_network_error", text, None),
            Failure::Refused { what, refusal } => match refusal {
                Refusal { retry_after, status: 429, .. } => {
                    self.again("matrix_network_error", text, *retry_after)
                }
                refusal if refusal.is_of_token() => refused(&text),
                // A wrong password, and an account that may not log in.
                Refusal { status: 400 | 403, .. } if *what == "login" && !refusal.code.is_empty() => {
                    refused(&text)
                }
                refusal => self.again("matrix_network_error", text, refusal.retry_after),
            },
        }
    }

    fn again(&self, code: &str, text: String, asked: Option<Duration>) -> Down {
        let done = usize::try_from(self.0.fetch_add(1, Ordering::Relaxed)).unwrap_or(usize::MAX);
        let own = AGAIN.get(done).copied().map(Duration::from_secs);
        Down::retrying(code, text).after(asked.or(own))
    }
}

/// The homeserver does not know the account by what it shows.
pub(super) fn refused(text: &str) -> Down {
    Down::fatal(
        "matrix_invalid_auth",
        format!(
            "the homeserver refuses the account ({text}): set MATRIX_ACCESS_TOKEN, or MATRIX_USER_ID and MATRIX_PASSWORD, to what it \
             takes"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::super::wire::WireError;
    use super::*;
    use crate::platform::Class;

    fn refusal(what: &'static str, status: u16, code: &str) -> Failure {
        Failure::Refused { what, refusal: Refusal { status, code: code.to_owned(), ..Refusal::default() } }
    }

    #[test]
    fn every_failure_has_its_class_and_code() {
        let limited = Refusal {
            status: 429,
            code: "M_LIMIT_EXCEEDED".into(),
            retry_after: Some(Duration::from_secs(7)),
            ..Refusal::default()
        };
        let (fatal, again) = (Class::Fatal, Class::Retrying);
        for (failure, class, code, wait) in [
            (refusal("whoami", 401, "M_UNKNOWN_TOKEN"), fatal, "matrix_invalid_auth", None),
            (refusal("sync", 401, ""), fatal, "matrix_invalid_auth", None),
            (refusal("sync", 403, "M_USER_DEACTIVATED"), fatal, "matrix_invalid_auth", None),
            (refusal("login", 403, "M_FORBIDDEN"), fatal, "matrix_invalid_auth", None),
            (refusal("login", 403, ""), again, "matrix_network_error", Some(1)),
            (refusal("sync", 403, "M_FORBIDDEN"), again, "matrix_network_error", Some(1)),
            (refusal("sync", 404, ""), again, "matrix_network_error", Some(1)),
            (refusal("sync", 502, ""), again, "matrix_network_error", Some(1)),
            (Failure::Refused { what: "sync", refusal: limited }, again, "matrix_network_error", Some(7)),
            (Failure::Unsent("x".into()), again, "matrix_network_error", Some(1)),
            (Failure::Lost("x".into()), again, "matrix_network_error", Some(1)),
            (Failure::Garbled(WireError::Garbled("sync")), again, "matrix_protocol", Some(1)),
            (Failure::LoggedOut("x".into()), fatal, "matrix_invalid_auth", None),
            (
                Failure::Unusable { code: "matrix_base_url".into(), reason: "x".into() },
                fatal,
                "matrix_base_url",
                None,
            ),
        ] {
            let down = Failures::default().down(&failure);
            let waited = down.retry_after.map(|wait| wait.as_secs());
            assert_eq!((down.class, down.code.as_str(), waited), (class, code, wait), "{failure}");
        }
    }

    #[test]
    fn a_lost_connection_is_tried_again_soon_and_ever_later() {
        let failures = Failures::default();
        let next = |_| failures.down(&refusal("sync", 502, "")).retry_after.map(|wait| wait.as_secs());
        let waits: Vec<Option<u64>> = (0..8).map(next).collect();
        assert_eq!(waits, [Some(1), Some(2), Some(5), Some(5), Some(10), Some(20), Some(30), None]);
        failures.stands();
        assert_eq!(next(0), Some(1));
    }
}
