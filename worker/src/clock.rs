//! Times as texts.

/// Now, as 0.19.0 writes it: `2026-11-21T00:30:57.381254+00:00`.
pub(crate) fn now() -> String {
    hermes_host::clock::utc().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

/// Seconds since the epoch, likewise.
pub(crate) fn at(seconds: f64) -> String {
    let time = std::time::Duration::try_from_secs_f64(seconds)
        .ok()
        .and_then(|since| jiff::SignedDuration::try_from(since).ok());
    let stamp = time
        .and_then(|since| jiff::Timestamp::from_duration(since).ok())
        .unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    stamp.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}
