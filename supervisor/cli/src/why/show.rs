//! Why, for people. Pure. What comes from outside is shown, never obeyed.

use std::fmt::Write as _;

use hermes_wire::contract::events::By;
use hermes_wire::contract::gateway_status::state;
use jiff::tz::TimeZone;

use super::{Failing, LastExit, Why};
use crate::events;
use crate::status::render::{Paint, age, clean, duration, problem};

/// All of it.
pub(crate) fn human(why: &Why, zone: &TimeZone, color: bool) -> String {
    let paint = Paint(color);
    let mut text = format!("{} is {}", paint.bold(&why.profile), paint.state(&why.state, &why.state));
    if let Some(secs) = why.since_secs {
        let _ = write!(text, " for {}", duration(secs));
    }
    if why.stale {
        text += if why.pid.is_some() { " (no sign of life lately)" } else { " (from files: nobody answers)" };
    }
    text.push('\n');
    let mut row = |label: &str, value: &str| {
        let _ = writeln!(text, "  {label:<13} {value}");
    };
    let reason = why.reason.as_deref().map(clean).filter(|reason| !reason.is_empty());
    if let Some(reason) = &reason {
        row("because", reason);
    }
    if let Some(file) = &why.file {
        row("file", &clean(file));
    }
    if why.desired == "stopped" && !state::is_at_rest(&why.state) {
        row("wanted", "not to run");
    }
    if let Some(last) = &why.last_exit {
        row("last exit", &last_exit(last, zone));
    }
    if why.restarts > 0 {
        row("restarts", &format!("{} that nobody asked for", why.restarts));
    }
    if let Some(ms) = why.next_attempt_ms {
        row("next attempt", &format!("in {}", age(ms)));
    }
    for error in &why.errors {
        row(error.kind, &failing(error));
    }
    row("changed", &changed(why, zone));
    for named in &why.changed.config {
        row("", &format!("config.yaml: {} {}", clean(&named.name), named.how));
    }
    for named in &why.changed.env {
        row("", &format!(".env: {} {}", clean(&named.name), named.how));
    }
    for unread in &why.unread {
        row("cannot read", &clean(unread));
    }
    for found in &why.problems {
        text += &problem(None, found);
    }
    if !why.events.is_empty() {
        text += "\nWhat happened\n";
        for event in &why.events {
            let at = events::time(event).map(|at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S"));
            let at = at.map_or_else(|| clean(&event.at), |at| at.to_string());
            let _ = writeln!(text, "  {}  {}", paint.dim(&at), event.sentence());
        }
    }
    if let Some(file) = &why.log.file {
        let _ = writeln!(text, "\nLast lines of {}", clean(file.as_str()));
        for line in &why.log.lines {
            let _ = writeln!(text, "  {}", clean(line));
        }
    }
    if why.steps.is_empty() {
        if why.ready {
            text += "\nNothing is wrong that is known here.\n";
        }
        return text;
    }
    text.push('\n');
    for step in &why.steps {
        let _ = writeln!(text, "next: {step}");
    }
    text
}

fn last_exit(last: &LastExit, zone: &TimeZone) -> String {
    let how = clean(&last.how);
    let Some(event) = &last.event else { return how };
    let mut text = how;
    let cause = clean(&event.cause);
    if !cause.is_empty() && !text.contains(&cause) {
        let _ = write!(text, ": {cause}");
    }
    if let Some(by) = event.by.as_ref().map(By::shown).filter(|by| !by.is_empty()) {
        let _ = write!(text, " ({by})");
    }
    if let Some(at) = events::time(event) {
        let _ = write!(text, ", {}", at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S"));
    }
    text
}

fn failing(error: &Failing) -> String {
    let code = error.code.as_deref().map(|code| format!(" ({})", clean(code))).unwrap_or_default();
    let ago = error.secs.map(|secs| format!(", {} ago", duration(secs))).unwrap_or_default();
    let times = error.count.filter(|count| *count > 1);
    let times = times.map(|count| format!(", {count} times in a row")).unwrap_or_default();
    format!("{} {}{code}{ago}{times}: {}", clean(&error.name), clean(&error.class), clean(&error.message))
}

fn changed(why: &Why, zone: &TimeZone) -> String {
    let Some(since) = &why.changed.since else {
        return "not known: it has not been well under a release that notes what its files say".to_owned();
    };
    let at = since.parse::<jiff::Timestamp>().ok();
    let at = at.map_or_else(
        || clean(since),
        |at| at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
    );
    if why.changed.is_nothing() {
        return format!("no key and no variable since it was well, {at}");
    }
    format!("since it was well, {at}:")
}
