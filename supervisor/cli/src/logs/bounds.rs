//! From when, until when: what somebody types, as the clock on the wall shows it. Pure.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// How a log says a time.
pub(crate) type Wall = DateTime;

/// Neither a time nor an age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadTime;

/// Which end of a span is meant: where the clocks are set back an hour happens twice, and neither end may hide what belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The first moment.
    Since,
    /// The last one.
    Until,
}

/// As the clock on the wall shows it, for what stands in a log.
pub(crate) fn parse(text: &str, now: &Zoned, end: End) -> Result<Wall, BadTime> {
    Ok(match meant(text, now, end)? {
        Meant::Moment(then) => on_the_wall(then, now.time_zone(), end),
        Meant::Wall(wall) => wall,
    })
}

/// As a moment, for what knows one.
pub(crate) fn moment(text: &str, now: &Zoned, end: End) -> Result<Timestamp, BadTime> {
    let wall = match meant(text, now, end)? {
        Meant::Moment(then) => return Ok(then),
        Meant::Wall(wall) => now.time_zone().to_ambiguous_zoned(wall),
    };
    let then = match end {
        End::Since => wall.earlier(),
        End::Until => wall.later(),
    };
    then.map(|then| then.timestamp()).map_err(|_| BadTime)
}

enum Meant {
    /// One that is the same everywhere.
    Moment(Timestamp),
    Wall(Wall),
}

/// `90s`, `30m`, `1h`, `2d`, `1w`, also `1h30m`: that long ago. `2026-11-21`, `2026-11-21 00:30`, `00:30` (today), with a zone or
/// without: then. `now`, `today`, `yesterday`.
fn meant(text: &str, now: &Zoned, end: End) -> Result<Meant, BadTime> {
    let text = text.trim();
    if let Some(ago) = ago(text) {
        return now.timestamp().checked_sub(ago).map(Meant::Moment).map_err(|_| BadTime);
    }
    if let Ok(then) = text.parse::<Timestamp>() {
        return Ok(Meant::Moment(then));
    }
    let today = now.date();
    let (date, time) = match text {
        "now" => return Ok(Meant::Moment(now.timestamp())),
        "today" => (today, None),
        "yesterday" => (today.yesterday().map_err(|_| BadTime)?, None),
        _ => written(text, today)?,
    };
    Ok(Meant::Wall(date.to_datetime(time.unwrap_or(match end {
        End::Since => Time::midnight(),
        // A day that something lasts until is over with its last moment.
        End::Until => Time::MAX,
    }))))
}

/// A date, a time of today, or both.
fn written(text: &str, today: Date) -> Result<(Date, Option<Time>), BadTime> {
    let has_date = text.as_bytes().get(4) == Some(&b'-');
    if has_date && !text.contains(':') {
        return text.parse().map(|date| (date, None)).map_err(|_| BadTime);
    }
    // As it stands in a log: with a comma, or without seconds.
    let text = text.replacen(',', ".", 1);
    if !has_date {
        let time = text.parse::<Time>().ok().filter(|_| text.contains(':'));
        return time.map(|time| (today, Some(time))).ok_or(BadTime);
    }
    let both: DateTime = text.parse().map_err(|_| BadTime)?;
    Ok((both.date(), Some(both.time())))
}

/// A length of time, in numbers with a unit each.
fn ago(text: &str) -> Option<SignedDuration> {
    let mut sum = SignedDuration::ZERO;
    let mut rest = text;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: i64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let mut letters = rest.chars();
        let seconds = match letters.next()?.to_ascii_lowercase() {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        rest = letters.as_str().trim_start();
        sum = sum.checked_add(SignedDuration::from_secs(number.checked_mul(seconds)?))?;
    }
    Some(sum)
}

fn on_the_wall(then: Timestamp, zone: &TimeZone, end: End) -> Wall {
    let wall = then.to_zoned(zone.clone()).datetime();
    match zone.to_ambiguous_timestamp(wall).offset() {
        jiff::tz::AmbiguousOffset::Fold { before, after } => {
            let twice = SignedDuration::from_secs(i64::from((before.seconds() - after.seconds()).abs()));
            let moved = match end {
                End::Since => wall.checked_sub(twice),
                End::Until => wall.checked_add(twice),
            };
            moved.unwrap_or(wall)
        }
        _ => wall,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, now: &str, end: End) -> Option<String> {
        parse(text, &now.parse().unwrap(), end).ok().map(|wall| wall.to_string())
    }

    #[test]
    fn ages_and_moments() {
        let now = "2026-11-21T12:00:00+01:00[Europe/Berlin]";
        for (text, since) in [
            ("1h", "2026-11-21T11:00:00"),
            ("30m", "2026-11-21T11:30:00"),
            ("2d", "2026-11-19T12:00:00"),
            ("10s", "2026-11-21T11:59:50"),
            ("1H30M", "2026-11-21T10:30:00"),
            ("1 h", "2026-11-21T11:00:00"),
            ("2026-11-20", "2026-11-20T00:00:00"),
            ("2026-11-20 07:05", "2026-11-20T07:05:00"),
            ("2026-11-20 07:05:01,250", "2026-11-20T07:05:01.25"),
            ("2026-11-20T07:05:01Z", "2026-11-20T08:05:01"),
            ("07:05", "2026-11-21T07:05:00"),
            ("today", "2026-11-21T00:00:00"),
            ("yesterday", "2026-11-20T00:00:00"),
            ("now", "2026-11-21T12:00:00"),
        ] {
            assert_eq!(at(text, now, End::Since).as_deref(), Some(since), "{text}");
        }
        assert_eq!(at("2026-11-20", now, End::Until).as_deref(), Some("2026-11-20T23:59:59.999999999"));
        for bad in [
            "",
            "5x",
            "h",
            "-1h",
            "1",
            "07",
            "2026-13-01",
            "soon",
            "1h2",
            "99999999999999999999s",
            "9999999999999w",
        ] {
            assert_eq!(at(bad, now, End::Since), None, "{bad}");
        }
    }

    /// The hour that comes twice is shown whole rather than hidden.
    #[test]
    fn where_clocks_are_set_back_nothing_is_hidden() {
        let now = "2026-10-25T02:10:00+01:00[Europe/Berlin]";
        assert_eq!(at("30m", now, End::Since).as_deref(), Some("2026-10-25T01:40:00"));
        assert_eq!(at("0s", now, End::Until).as_deref(), Some("2026-10-25T03:10:00"));
        // What knows moments is not moved, and a time that comes twice is its first or its last.
        let moment = |text, end| moment(text, &now.parse().unwrap(), end).unwrap().to_string();
        assert_eq!(moment("30m", End::Since), "2026-10-25T00:40:00Z");
        assert_eq!(moment("02:05", End::Since), "2026-10-25T00:05:00Z");
        assert_eq!(moment("02:05", End::Until), "2026-10-25T01:05:00Z");
        assert_eq!(moment("2026-10-24", End::Until), "2026-10-24T21:59:59.999999999Z");
    }
}
