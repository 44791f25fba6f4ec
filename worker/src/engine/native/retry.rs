//! When a failed call to a provider is made again, and after how long. Pure; the caller waits.
//!
//! What a provider asks for is obeyed as stock clients do: `retry-after-ms`, else `Retry-After`, else our own pace;
//! `x-should-retry` overrules what the status means. A wait that is longer than the turn has is not begun: whoever asked is told
//! when to come back.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use jiff::{Timestamp, ToSpan as _};

use crate::provider::fault::{Again, Fault};

/// How often and how patiently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Calls in total, at least 1 (`agent.api_max_retries`).
    pub attempts: u32,
    /// First wait; doubles with every attempt.
    pub base: Duration,
    /// Longest such wait, before jitter.
    pub cap: Duration,
    /// First wait after an answer that was empty or made no sense.
    pub invalid_base: Duration,
    /// Longest such wait, before jitter.
    pub invalid_cap: Duration,
    /// Longest wait that a turn goes through at a provider's wish; a longer one ends it.
    pub longest_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 3,
            base: Duration::from_secs(2),
            cap: Duration::from_mins(1),
            invalid_base: Duration::from_secs(5),
            invalid_cap: Duration::from_mins(2),
            // What OpenAI's clients heed.
            longest_asked: Duration::from_mins(1),
        }
    }
}

/// A call that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What it means.
    pub(super) fault: Fault,
    /// HTTP status, where there was one.
    pub(super) status: Option<u16>,
    /// For people; shortened, without the key.
    pub(super) message: String,
    /// What the provider asked for.
    pub(super) asked: Asked,
}

/// What a provider says about another call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Asked {
    /// Not before so long.
    pub(super) wait: Option<Duration>,
    /// Whether it helps at all.
    pub(super) again: Option<bool>,
}

/// What follows a failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Another one, after so long.
    Call(Duration),
    /// None: it would fail the same way.
    Never,
    /// None: there were enough.
    Enough,
    /// None: so long nobody waits.
    TooLong(Duration),
}

impl Failure {
    /// A failure without a status.
    pub(super) fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, status: None, message: message.into(), asked: Asked::default() }
    }
}

impl RetryPolicy {
    /// What follows the `failed`th call (from 1). `jitter` is between 0 and 1 and adds up to half to our own pace.
    pub(super) fn next(&self, failed: u32, failure: &Failure, jitter: f64) -> Next {
        let again = failure.fault.again();
        if !failure.asked.again.unwrap_or(again != Again::Never) {
            return Next::Never;
        }
        let asked = failure.asked.wait.filter(|wait| !wait.is_zero());
        if let Some(asked) = asked.filter(|asked| *asked > self.longest_asked) {
            return Next::TooLong(asked);
        }
        if failed >= self.attempts {
            return Next::Enough;
        }
        Next::Call(asked.unwrap_or_else(|| self.pace(failed, again, jitter)))
    }

    fn pace(&self, failed: u32, again: Again, jitter: f64) -> Duration {
        let (base, cap) = match again {
            Again::Later => (self.invalid_base, self.invalid_cap),
            Again::Soon | Again::Never => (self.base, self.cap),
        };
        let doubled = base.saturating_mul(2_u32.saturating_pow(failed.saturating_sub(1)));
        doubled.min(cap).mul_f64(1.0 + jitter.clamp(0.0, 1.0) / 2.0)
    }
}

/// A number between 0 and 1, different on every call. Not for anything that must be unguessable.
pub(crate) fn jitter() -> f64 {
    let random = u32::try_from(RandomState::new().hash_one(0_u8) >> 32).unwrap_or(0);
    f64::from(random) / f64::from(u32::MAX)
}

/// Reads what the headers of an error answer say about another call.
pub(super) fn asked(headers: &HeaderMap, now: Timestamp) -> Asked {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let seconds = |text: &str, unit: f64| {
        text.parse::<f64>().ok().and_then(|n| Duration::try_from_secs_f64(n * unit).ok())
    };
    let wait = text("retry-after-ms").and_then(|ms| seconds(ms, 0.001)).or_else(|| {
        let text = text(RETRY_AFTER.as_str())?;
        seconds(text, 1.0).or_else(|| until(text, now))
    });
    let again = match text("x-should-retry").map(str::to_ascii_lowercase).as_deref() {
        Some("true") => Some(true),
        Some("false") => Some(false),
        _ => None,
    };
    Asked { wait, again }
}

/// How far away an HTTP date is, in any of the three forms of RFC 9110 §5.6.7; nothing where it has passed.
fn until(text: &str, now: Timestamp) -> Option<Duration> {
    let fixed = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let at = fixed.parse_timestamp(text).ok().or_else(|| {
        // `Sunday, 06-Nov-94 08:49:37 GMT` and `Sun Nov  6 08:49:37 1994`, without the name of the day.
        let (_, date) = text.split_once(' ')?;
        ["%d-%b-%y %H:%M:%S GMT", "%b %e %H:%M:%S %Y"].iter().find_map(|form| {
            let date = jiff::civil::DateTime::strptime(form, date.trim()).ok()?;
            date.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
        })
    })?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

/// When a wait from `now` on is over, for people: how long, and the second in UTC.
pub(super) fn when(wait: Duration, now: Timestamp) -> String {
    let secs = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
    let at = i64::try_from(secs).ok().and_then(|secs| now.checked_add(secs.seconds()).ok());
    match at.and_then(|at| at.round(jiff::Unit::Second).ok()) {
        Some(at) => format!("in {secs} s, at {at}"),
        None => format!("in {secs} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_with_up_to_half_on_top() {
        let policy = RetryPolicy { attempts: 99, ..RetryPolicy::default() };
        let busy = Failure::new(Fault::Overloaded, "");
        let empty = Failure::new(Fault::Empty, "");
        let millis = |n, f: &Failure, jitter| match policy.next(n, f, jitter) {
            Next::Call(wait) => wait.as_millis(),
            other => panic!("{other:?}"),
        };
        assert_eq!([1, 2, 3, 6, 40].map(|n| millis(n, &busy, 0.0)), [2_000, 4_000, 8_000, 60_000, 60_000]);
        assert_eq!(
            [1, 2, 3, 6, 40].map(|n| millis(n, &empty, 0.0)),
            [5_000, 10_000, 20_000, 120_000, 120_000]
        );
        assert_eq!(millis(2, &busy, 1.0), 6_000);
        assert!((0..100).map(|_| jitter()).all(|j| (0.0..=1.0).contains(&j)));
    }

    fn now() -> Timestamp {
        "2026-11-21T10:00:00Z".parse().unwrap()
    }

    fn read(headers: &[(&'static str, &'static str)]) -> Asked {
        let headers = headers
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value)))
            .collect();
        asked(&headers, now())
    }

    /// Wires 3: milliseconds, seconds or a date in any of its forms; what is none of them is no wish.
    #[test]
    fn w3_a_providers_wish_is_read_in_every_form() {
        let millis = |text: &'static str| read(&[("retry-after", text)]).wait.map(|wait| wait.as_millis());
        for (text, expected) in [
            ("7", 7_000),
            (" 7 ", 7_000),
            ("0.5", 500),
            ("0", 0),
            ("Sat, 21 Nov 2026 10:00:30 GMT", 30_000),
            ("Sun, 21 Nov 2026 10:00:30 GMT", 30_000),
            ("21 Nov 2026 10:00:30 +0000", 30_000),
            ("Saturday, 21-Nov-26 10:00:30 GMT", 30_000),
            ("Sat Nov 21 10:00:30 2026", 30_000),
            ("Sat, 21 Nov 2026 09:00:00 GMT", 0),
        ] {
            assert_eq!(millis(text), Some(expected), "{text}");
        }
        for bad in ["", "soon", "-1", "NaN", "1e400", "10 minutes"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
        let both = |ms: &'static str| read(&[("retry-after-ms", ms), ("retry-after", "9")]).wait;
        assert_eq!(both("1500.5"), Some(Duration::from_micros(1_500_500)));
        assert_eq!(both("soon"), Some(Duration::from_secs(9)));
        assert_eq!(read(&[("x-should-retry", "True")]).again, Some(true));
        assert_eq!(read(&[("x-should-retry", "false")]).again, Some(false));
        assert_eq!(read(&[("x-should-retry", "maybe")]), Asked::default());
    }

    /// Wires 3: what is asked for is done; what is longer than the turn has is not begun; the provider's word on another call is
    /// the last.
    #[test]
    fn w3_what_a_provider_asks_for_is_obeyed() {
        let policy = RetryPolicy::default();
        let secs = Duration::from_secs;
        let next = |failed, fault, wait, again| {
            let asked = Asked { wait, again };
            policy.next(failed, &Failure { asked, ..Failure::new(fault, "") }, 0.0)
        };
        assert_eq!(next(1, Fault::Limited, Some(secs(7)), None), Next::Call(secs(7)));
        assert_eq!(next(1, Fault::Limited, Some(secs(60)), None), Next::Call(secs(60)));
        assert_eq!(next(1, Fault::Limited, Some(secs(61)), None), Next::TooLong(secs(61)));
        assert_eq!(next(3, Fault::Limited, Some(secs(61)), None), Next::TooLong(secs(61)));
        assert_eq!(next(3, Fault::Limited, Some(secs(7)), None), Next::Enough);
        assert_eq!(next(1, Fault::Overloaded, Some(secs(0)), None), Next::Call(secs(2)), "not at once");
        for (fault, again, expected) in [
            (Fault::Quota, None, Next::Never),
            (Fault::Key, None, Next::Never),
            (Fault::Key, Some(true), Next::Call(secs(2))),
            (Fault::Request, Some(true), Next::Call(secs(2))),
            (Fault::Limited, Some(false), Next::Never),
            (Fault::Overloaded, Some(false), Next::Never),
        ] {
            assert_eq!(next(1, fault, None, again), expected, "{fault:?} {again:?}");
        }
        assert_eq!(when(secs(90), now()), "in 90 s, at 2026-11-21T10:01:30Z");
        assert_eq!(when(Duration::MAX, now()), format!("in {} s", u64::MAX));
    }
}
