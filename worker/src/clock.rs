//! Times as texts.

/// Now, as 0.19.0 writes it: `2026-11-21T00:30:57.381254+00:00`.
pub(crate) fn now() -> String {
    hermes_host::clock::utc().strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}
