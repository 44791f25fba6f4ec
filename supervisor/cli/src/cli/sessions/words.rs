//! Times, numbers and texts of what is stored, for people. Pure.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use serde_json::Value;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A time in seconds since the epoch; `None`: it is none.
fn timestamp(seconds: f64) -> Option<Timestamp> {
    if !(1.0..1e11).contains(&seconds) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a time of the next three thousand years fits")]
    Timestamp::from_microsecond((seconds * 1e6) as i64).ok()
}

/// How long ago it was, as 0.19.0 says it.
pub(in crate::cli) fn ago(seconds: f64, now: &Zoned) -> String {
    let Some(at) = timestamp(seconds) else { return "?".to_owned() };
    let past = now.timestamp().as_second() - at.as_second();
    match past {
        ..MINUTE => "just now".to_owned(),
        MINUTE..HOUR => format!("{}m ago", past / MINUTE),
        HOUR..DAY => format!("{}h ago", past / HOUR),
        DAY.. if past < 2 * DAY => "yesterday".to_owned(),
        DAY.. if past < 7 * DAY => format!("{}d ago", past / DAY),
        _ => at.to_zoned(now.time_zone().clone()).strftime("%Y-%m-%d").to_string(),
    }
}

/// The time by the clocks of a place.
pub(in crate::cli) fn when(seconds: f64, zone: &TimeZone) -> String {
    timestamp(seconds).map_or_else(
        || "?".to_owned(),
        |at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// The time for programs.
pub(in crate::cli) fn iso(seconds: f64) -> Value {
    timestamp(seconds).map_or(Value::Null, |at| at.to_string().into())
}

/// `1 message`, `2 messages`.
pub(in crate::cli) fn many(count: i64, one: &str) -> String {
    format!("{} {one}{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// A number with marks between its thousands.
pub(in crate::cli) fn grouped(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    if number < 0 { format!("-{out}") } else { out }
}

/// Bytes, as people count them.
pub(in crate::cli) fn size(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
    let mb = bytes as f64 / f64::from(1 << 20);
    format!("{mb:.1} MB")
}

/// A text on one line.
pub(in crate::cli) fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_those_of_0_19_0() {
        let now: Zoned = "2026-12-01T12:00:00+00:00[UTC]".parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a time of these days")]
        let at = |past: i64| ago((now.timestamp().as_second() - past) as f64, &now);
        assert_eq!(
            [-5, 0, 59, 60, 3599, 3600, 86_399, 86_400, 172_800, 604_799, 604_800].map(at),
            [
                "just now",
                "just now",
                "just now",
                "1m ago",
                "59m ago",
                "1h ago",
                "23h ago",
                "yesterday",
                "2d ago",
                "6d ago",
                "2026-11-24"
            ]
        );
        assert_eq!([f64::NAN, -1.0, 0.0, 1e300].map(|at| ago(at, &now)), ["?"; 4]);
        assert_eq!(when(1_795_223_999.3, &TimeZone::UTC), "2026-11-21 01:19:59");
        assert_eq!((iso(0.0), iso(1_795_223_999.5)), (Value::Null, "2026-11-21T01:19:59.5Z".into()));
    }

    #[test]
    fn numbers_and_texts() {
        assert_eq!(
            [0, 999, 1000, 1_234_567, -1234].map(grouped),
            ["0", "999", "1,000", "1,234,567", "-1,234"]
        );
        assert_eq!(
            (many(1, "message"), many(0, "message")),
            ("1 message".to_owned(), "0 messages".to_owned())
        );
        assert_eq!(flat(" a\n\n b\tc "), "a b c");
        assert_eq!(size(3 << 19), "1.5 MB");
    }
}
