//! An event for people, in one line. Pure. What comes from outside is shown, never obeyed.

use hermes_wire::contract::events::{Event, what};
use hermes_wire::contract::gateway_status::state;
use hermes_wire::text;
use jiff::tz::TimeZone;

/// `2026-11-29 18:00:00  coder    ready → draining: stop requested (command stop, PID 7, user 0)`.
pub(crate) fn human(event: &Event, zone: &TimeZone, names: usize, color: bool) -> String {
    let at = match super::time(event) {
        Some(at) => at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string(),
        None => clean(&event.at),
    };
    let name = clean(event.profile.as_deref().unwrap_or("(gateway)"));
    let name = crate::columns::pad(&name, names, false);
    let said = event.sentence();
    if !color {
        return format!("{at}  {name}  {said}");
    }
    let code = match (event.what.as_str(), event.to.as_deref().unwrap_or_default()) {
        (_, state::FAILED | state::CRASH_LOOP | state::CONFLICT | "refused") => "31",
        (what::GAP, _) | (_, state::DEGRADED | state::BACKOFF | "down") => "33",
        (_, state::READY | "running" | "applied" | "up") => "32",
        _ => "0",
    };
    format!("\x1b[2m{at}\x1b[0m  \x1b[1m{name}\x1b[0m  \x1b[{code}m{said}\x1b[0m")
}

fn clean(text: &str) -> String {
    text::visible(text.trim()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_that_says_who_and_why() {
        let event = |text: &str| Event::parse(text.as_bytes()).unwrap();
        let stop = event(
            r#"{"at":"2026-11-29T18:00:00.000Z","what":"state","profile":"coder","from":"ready","to":"draining","cause":"stop requested","by":{"who":"command","name":"stop","pid":7,"uid":0}}"#,
        );
        assert_eq!(
            human(&stop, &TimeZone::UTC, 8, false),
            "2026-11-29 18:00:00  coder     ready → draining: stop requested (command stop, PID 7, user 0)"
        );
        let ready = event(
            r#"{"at":"x","what":"state","profile":"a","from":"starting","to":"ready","cause":"ready","by":{"who":"worker"}}"#,
        );
        assert_eq!(ready.sentence(), "starting → ready");
        let died = event(
            r#"{"at":"x","what":"exit","pid":9,"exit":"signal 9 (SIGKILL)","cause":"nobody asked for it","by":{"who":"worker"}}"#,
        );
        assert_eq!(died.sentence(), "worker (PID 9) ended, signal 9 (SIGKILL): nobody asked for it");
        let gap = event(r#"{"at":"x","what":"gap","missing":4,"cause":"they could not be written"}"#);
        assert_eq!(gap.sentence(), "4 events are missing here: they could not be written");
        let evil = event(
            r#"{"at":"\u001b[2J","what":"config","to":"refused","cause":"a\u001b]0;x\u0007","file":"/h/c.yaml"}"#,
        );
        let shown = human(&evil, &TimeZone::UTC, 3, false);
        assert!(!shown.contains('\u{1b}') && shown.ends_with("[/h/c.yaml]"), "{shown}");
        let newer = event(r#"{"at":"x","what":"moon","to":"full"}"#);
        assert_eq!(newer.sentence(), "moon full");
    }
}
