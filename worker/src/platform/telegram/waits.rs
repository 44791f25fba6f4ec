//! How long to wait before another try of a lost connection, and when there is none. Pure.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::service::Failure;
use super::wire::Refusal;
use crate::platform::Down;

/// Waits before the second and later tries of a connection that never stood.
const FIRST: [u64; 7] = [1, 2, 4, 8, 15, 15, 15];
/// Of one that stood; behind these the worker's own waits hold.
const AGAIN: [u64; 10] = [5, 10, 20, 40, 60, 60, 60, 60, 60, 60];
/// Other pollers that are waited for.
const CONFLICTS: u32 = 5;
/// What a wait is to a conflict: this, and as much again for each one before.
const CONFLICT: Duration = Duration::from_secs(10);

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Failures {
    tries: AtomicU32,
    conflicts: AtomicU32,
    /// It stood at least once.
    stood: AtomicU32,
}

impl Failures {
    /// It stands.
    pub(super) fn stands(&self) {
        self.tries.store(0, Ordering::Relaxed);
        self.stood.store(1, Ordering::Relaxed);
    }

    /// It stands for longer than another poller would let it.
    pub(super) fn alone(&self) {
        self.conflicts.store(0, Ordering::Relaxed);
    }

    /// What a failed request is to the connection.
    pub(super) fn down(&self, failure: &Failure) -> Down {
        let text = failure.to_string();
        let Failure::Refused { refusal, .. } = failure else {
            return match failure {
                Failure::Unusable { code, .. } => Down::fatal(code, text),
                Failure::Garbled(_) => self.again("telegram_protocol", text, None),
                _ => self.again("telegram_network_error", text, None),
            };
        };
        match refusal.status {
            401 => refused(&text),
            404 if refusal.is_own => refused(&text),
            409 => self.conflict(&text),
            _ => self.again("telegram_network_error", text, refusal.retry_after.map(Duration::from_secs)),
        }
    }

    fn again(&self, code: &str, text: String, asked: Option<Duration>) -> Down {
        let done = self.tries.fetch_add(1, Ordering::Relaxed);
        let waits: &[u64] = if self.stood.load(Ordering::Relaxed) == 0 { &FIRST } else { &AGAIN };
        let own =
            usize::try_from(done).ok().and_then(|done| waits.get(done)).copied().map(Duration::from_secs);
        Down::retrying(code, text).after(asked.or(own))
    }

    fn conflict(&self, text: &str) -> Down {
        self.rival("telegram_polling_conflict", &format!("another program polls this bot: {text}"))
    }

    /// The bot's updates go to another address than the one that was set.
    pub(super) fn elsewhere(&self) -> Down {
        let text =
            "another program took the bot's updates to itself: they go to another webhook, or to who polls";
        self.rival("telegram_webhook_conflict", text)
    }

    fn rival(&self, code: &str, text: &str) -> Down {
        let n = self.conflicts.fetch_add(1, Ordering::Relaxed) + 1;
        if n > CONFLICTS {
            return Down::fatal(
                code,
                format!("{text}; it did so for {CONFLICTS} tries. Stop it, then restart this profile"),
            );
        }
        Down::retrying(code, text).after(Some(CONFLICT * (n + 1)))
    }
}

fn refused(text: &str) -> Down {
    Down::fatal(
        "telegram_invalid_auth",
        format!("the bot's token is refused ({text}): copy TELEGRAM_BOT_TOKEN from @BotFather again"),
    )
}

/// Whether updates go to an address of their own instead of to who polls.
pub(super) fn is_webhook(refusal: &Refusal) -> bool {
    refusal.status == 409 && refusal.says("webhook")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::Class;
    use crate::platform::telegram::wire::WireError;

    fn refusal(status: u16, retry_after: Option<u64>) -> Failure {
        let refusal = Refusal { status, retry_after, is_own: true, ..Refusal::default() };
        Failure::Refused { what: "getUpdates", refusal }
    }

    #[test]
    fn every_failure_has_its_class_and_code() {
        let between = Failure::Refused { what: "x", refusal: Refusal { status: 404, ..Refusal::default() } };
        for (failure, class, code, wait) in [
            (refusal(401, None), Class::Fatal, "telegram_invalid_auth", None),
            (refusal(404, None), Class::Fatal, "telegram_invalid_auth", None),
            (between, Class::Retrying, "telegram_network_error", Some(1)),
            (refusal(409, None), Class::Retrying, "telegram_polling_conflict", Some(20)),
            (refusal(429, Some(7)), Class::Retrying, "telegram_network_error", Some(7)),
            (refusal(502, None), Class::Retrying, "telegram_network_error", Some(1)),
            (refusal(403, None), Class::Retrying, "telegram_network_error", Some(1)),
            (Failure::Unsent("x".into()), Class::Retrying, "telegram_network_error", Some(1)),
            (Failure::Lost("x".into()), Class::Retrying, "telegram_network_error", Some(1)),
            (Failure::Garbled(WireError::TooMuch("x")), Class::Retrying, "telegram_protocol", Some(1)),
            (
                Failure::Unusable { code: "telegram_base_url".into(), reason: "x".into() },
                Class::Fatal,
                "telegram_base_url",
                None,
            ),
        ] {
            let down = Failures::default().down(&failure);
            let waited = down.retry_after.map(|wait| wait.as_secs());
            assert_eq!((down.class, down.code.as_str(), waited), (class, code, wait), "{failure}");
        }
    }

    #[test]
    fn another_poller_is_waited_for_five_times() {
        let failures = Failures::default();
        let next = || failures.down(&refusal(409, None));
        let waits: Vec<_> = (0..5).map(|_| next().retry_after.unwrap().as_secs()).collect();
        assert_eq!(waits, [20, 30, 40, 50, 60]);
        let last = next();
        assert_eq!((last.class, last.code.as_str()), (Class::Fatal, "telegram_polling_conflict"));
        failures.alone();
        assert_eq!(next().retry_after.unwrap().as_secs(), 20);
    }

    #[test]
    fn a_lost_connection_is_tried_again_soon_and_ever_later() {
        let failures = Failures::default();
        let waits = |times| -> Vec<Option<u64>> {
            let next = |_| failures.down(&refusal(502, None)).retry_after.map(|wait| wait.as_secs());
            (0..times).map(next).collect()
        };
        assert_eq!(waits(8), [Some(1), Some(2), Some(4), Some(8), Some(15), Some(15), Some(15), None]);
        failures.stands();
        assert_eq!(waits(5), [Some(5), Some(10), Some(20), Some(40), Some(60)]);
        assert_eq!(waits(6).last(), Some(&None), "the worker's own waits");
    }
}
