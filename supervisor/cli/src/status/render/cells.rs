//! Single values as text: times, sizes, colours.

use std::sync::LazyLock;

use hermes_host::zone;
use hermes_wire::contract::gateway_status::state;
use hermes_wire::text;
use jiff::tz::TimeZone;

/// Where whoever looks is.
static ZONE: LazyLock<TimeZone> = LazyLock::new(zone::system);

/// How the output may look.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Look {
    /// With colours.
    pub color: bool,
    /// Columns of the terminal; `None` = as wide as it gets.
    pub width: Option<usize>,
    /// Rows that there are. `None` = as long as it gets.
    pub rows: Option<usize>,
    /// What does not fit scrolls away, so it is summed up at the end; otherwise it is counted instead of shown.
    pub scrolls: bool,
}

/// Colours, or none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// `text` in the colour of a gateway's or worker's state.
    pub(crate) fn state(self, name: &str, text: &str) -> String {
        match name {
            state::READY | "running" => self.with("32", text),
            state::FAILED | state::CRASH_LOOP | state::CONFLICT => self.with("31", text),
            _ if state::is_at_rest(name) => self.with("2", text),
            _ => self.with("33", text),
        }
    }

    pub(super) fn platform(self, name: &str) -> String {
        let shown = clean(name);
        match name {
            "connected" => self.with("32", &shown),
            "fatal" => self.with("31", &shown),
            _ => self.with("33", &shown),
        }
    }
}

/// Text from outside on one line, everything in it to be seen.
pub(crate) fn clean(text: &str) -> String {
    text::visible(text.trim()).into_owned()
}

/// `45s`, `3m 12s`, `2h 13m`, `5d 4h`.
pub(crate) fn duration(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs}s"),
        60..3600 => format!("{}m {}s", secs / 60, secs % 60),
        3600..86_400 => format!("{}h {}m", secs / 3600, secs % 3600 / 60),
        _ => format!("{}d {}h", secs / 86_400, secs % 86_400 / 3600),
    }
}

/// `0.4s` below a minute, else like [`duration`].
pub(crate) fn age(ms: u64) -> String {
    if ms < 60_000 { format!("{}.{}s", ms / 1000, ms % 1000 / 100) } else { duration(ms / 1000) }
}

/// The local time of day of an ISO 8601 time, with the date where `beside` is of another day.
pub(super) fn moment(time: &str, beside: &str) -> String {
    let local = |text: &str| {
        let stamp: jiff::Timestamp = text.parse().ok()?;
        Some(stamp.to_zoned(ZONE.clone()))
    };
    match (local(time), local(beside)) {
        (Some(time), Some(beside)) if time.date() == beside.date() => time.strftime("%H:%M:%S").to_string(),
        (Some(time), _) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        (None, _) => clean(time),
    }
}

/// CPU time.
pub(super) fn cpu(ms: u64) -> String {
    age(ms)
}

/// `6.1 MB`, `1.2 GB`.
pub(crate) fn bytes(n: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", n / unit, n % unit * 10 / unit);
    match n {
        0..1_000_000 => format!("{} kB", n / 1000),
        1_000_000..1_000_000_000 => format!("{} MB", tenths(1_000_000)),
        _ => format!("{} GB", tenths(1_000_000_000)),
    }
}

/// `1 warning`, `2 warnings`.
pub(super) fn plural(n: usize, word: &str) -> String {
    format!("{n} {word}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_short_and_safe() {
        assert_eq!(
            [0, 59, 60, 3599, 3600, 86_399, 90_000].map(duration),
            ["0s", "59s", "1m 0s", "59m 59s", "1h 0m", "23h 59m", "1d 1h"]
        );
        assert_eq!(age(450), "0.4s");
        assert_eq!(age(61_000), "1m 1s");
        assert_eq!([900_000, 6_190_000, 1_250_000_000].map(bytes), ["900 kB", "6.1 MB", "1.2 GB"]);
        assert_eq!(clean("a\x1b[31mb\nc\u{7}"), "a\\u{1b}[31mb\\nc\\u{7}");
        assert_eq!(plural(1, "x") + &plural(2, "x"), "1 x2 xs");
    }
}
