//! Times as texts, in UTC; and waiting for one.

const FORM: &str = "%Y-%m-%dT%H:%M:%S%.6f+00:00";

/// A time in seconds since 1970, in the same form; `None`: it is none, or never comes.
pub(crate) fn at(seconds: f64) -> Option<String> {
    Some(timestamp(seconds)?.strftime(FORM).to_string())
}

/// The same by the clocks of a place.
pub(crate) fn at_zone(seconds: f64, zone: &jiff::tz::TimeZone) -> Option<jiff::Zoned> {
    Some(timestamp(seconds)?.to_zoned(zone.clone()))
}

fn timestamp(seconds: f64) -> Option<jiff::Timestamp> {
    let since = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    jiff::Timestamp::from_microsecond(i64::try_from(since.as_micros()).ok()?).ok()
}

/// Now, as 0.19.0 writes it: `2026-11-21T00:30:57.381254+00:00`.
pub(crate) fn now() -> String {
    hermes_host::clock::utc().strftime(FORM).to_string()
}

/// Waits until then; `None`: for ever. Safe to cancel.
pub(crate) async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_that_are_none_have_no_text() {
        assert_eq!(at(1_700_000_000.5).as_deref(), Some("2023-11-14T22:13:20.500000+00:00"));
        assert_eq!([f64::INFINITY, f64::NAN, -1.0, 1e300].map(at), [const { None }; 4]);
    }
}
