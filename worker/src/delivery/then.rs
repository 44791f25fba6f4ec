//! What follows from a try that failed for good. Pure.
//!
//! A text that the service refuses as it is marked up is sent once more without markup; a file that it does not take is named in a text;
//! of an answer that did not get there in all its tries the chat hears at least that. None of these is followed by another of them.

use super::ledger::{LAST, Then, Tried};
use super::outbound::{CHAT_ID, Format, Unsent};
use crate::formatting;

/// [`Due::form`](super::ledger::Due::form) of a text without its markup.
const PLAIN: i64 = 1;
/// What such a text begins with, as in 0.19.0.
const UNFORMATTED: &str = "(Response formatting failed, plain text:)\n\n";
/// Most characters of it, likewise.
const SHOWN: usize = 3500;
/// Said of an answer that did not get there, likewise.
const UNDELIVERED: &str = "⚠️ Message delivery failed after multiple attempts. Please try again — your request was processed but the \
                           response could not be sent.";

/// What follows from a try by a way of this format; none: there is no such way.
pub(super) fn then(tried: &Tried, format: Option<Format>) -> Then {
    let Err(unsent) = &tried.result else { return Then::AsIs };
    let (due, is_over) = (&tried.due, tried.retry_in().is_none());
    if !is_over || matches!(unsent, Unsent::Never { gone: true, .. }) {
        return Then::AsIs;
    }
    if let Some(parcel) = &due.file {
        return Then::Instead { text: unsent_file(&parcel.name, &unsent.to_string()), form: LAST };
    }
    let is_refused = matches!(unsent, Unsent::Never { .. });
    let is_marked_up = !matches!(format, None | Some(Format::Plain | Format::Markdown));
    if is_refused {
        if due.form != 0 || !is_marked_up {
            return Then::AsIs;
        }
        let rest = formatting::plain(&due.content[due.sent..]);
        let shown: String = rest.chars().take(SHOWN).collect();
        return Then::Instead { text: format!("{UNFORMATTED}{shown}"), form: PLAIN };
    }
    let is_chat = due.target.extra.contains_key(CHAT_ID);
    if due.form < LAST && is_chat { Then::Notice(UNDELIVERED) } else { Then::AsIs }
}

/// Said of a file that does not go out.
pub(super) fn unsent_file(name: &str, reason: &str) -> String {
    format!("⚠️ Not sent: {name} ({reason})")
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Due;
    use super::super::parcel::Parcel;
    use super::*;
    use crate::inbound::DeliveryTarget;

    fn due(content: &str, sent: usize, form: i64) -> Due {
        let extra = [(CHAT_ID.to_owned(), "1".to_owned())].into();
        Due {
            id: 1,
            platform: "telegram".to_owned(),
            chat_id: "1".to_owned(),
            target: DeliveryTarget { kind: "telegram".to_owned(), extra },
            content: content.to_owned(),
            sent,
            key: "k".to_owned(),
            ambiguous: false,
            preview: None,
            fresh: false,
            file: None,
            form,
            attempts: 1,
        }
    }

    fn after(due: Due, unsent: Unsent, format: Format) -> Then {
        then(&Tried { due, bytes: 0, result: Err(unsent) }, Some(format))
    }

    #[test]
    fn what_is_refused_with_markup_comes_once_without() {
        let refused = || Unsent::never("can't parse");
        let text = Then::Instead { text: format!("{UNFORMATTED}bold"), form: PLAIN };
        assert_eq!(after(due("sent **bold**", 5, 0), refused(), Format::MarkdownV2), text);
        assert_eq!(after(due("**bold**", 0, PLAIN), refused(), Format::MarkdownV2), Then::AsIs);
        assert_eq!(after(due("**bold**", 0, 0), refused(), Format::Markdown), Then::AsIs);
        assert_eq!(after(due("**bold**", 0, 0), Unsent::gone("blocked"), Format::Bare), Then::AsIs);
        assert_eq!(after(due("**bold**", 0, 0), Unsent::later("busy"), Format::Bare), Then::AsIs);
        let Then::Instead { text, .. } = after(due(&"ä".repeat(9000), 0, 0), refused(), Format::Bare) else {
            panic!("it is said without markup")
        };
        assert_eq!(text.chars().count(), UNFORMATTED.chars().count() + SHOWN);
    }

    #[test]
    fn a_file_that_is_refused_is_named_and_an_answer_that_never_got_there_too() {
        let parcel = Parcel {
            path: "/w/a.pdf".into(),
            name: "a.pdf".to_owned(),
            media_type: "application/pdf".to_owned(),
            shown: true,
        };
        let file = |attempts| Due { file: Some(parcel.clone()), attempts, ..due("", 0, 0) };
        let named = Then::Instead { text: "⚠️ Not sent: a.pdf (too large)".to_owned(), form: LAST };
        assert_eq!(after(file(1), Unsent::never("too large"), Format::Bare), named);
        assert_eq!(after(file(1), Unsent::later("busy"), Format::Bare), Then::AsIs);
        assert!(matches!(after(file(99), Unsent::later("busy"), Format::Bare), Then::Instead { .. }));
        let tried = |form| Due { attempts: 99, ..due("text", 0, form) };
        assert_eq!(after(tried(0), Unsent::later("busy"), Format::Bare), Then::Notice(UNDELIVERED));
        assert_eq!(after(tried(LAST), Unsent::later("busy"), Format::Bare), Then::AsIs);
        let nowhere = Due { target: DeliveryTarget::default(), ..tried(0) };
        assert_eq!(after(nowhere, Unsent::later("busy"), Format::Bare), Then::AsIs);
    }
}
