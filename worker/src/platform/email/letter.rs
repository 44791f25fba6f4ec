//! A mail of the bot's, as it goes out: what it answers, its own name, and that a program wrote it. Pure but for the date.

use hermes_config::Secret;
use lettre::Address;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Mailbox, Message, MultiPart, SinglePart};
use sha2::{Digest as _, Sha256};

/// What a mail is called that answers none.
const SUBJECT: &str = "Hermes Agent";
/// Longest subject, in characters.
const LONGEST: usize = 300;
/// Longest list of the mails before, in bytes: servers cut headers that are longer.
const REFERENCES: usize = 900;

/// What a mail answers; each part empty where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answered<'a> {
    pub(super) subject: &'a str,
    /// The name of the mail.
    pub(super) id: &'a str,
    /// Those before it, with blanks between, the oldest first.
    pub(super) references: &'a str,
}

/// A file that goes along.
#[derive(Debug)]
pub(super) struct Carried<'a> {
    pub(super) name: &'a str,
    pub(super) media_type: &'a str,
    pub(super) bytes: Vec<u8>,
}

/// The name of the mail of this key: the same whenever it is written, of nobody else, and nothing of the key is in it.
pub(super) fn id(key: &str, to: &str, account: &Secret, domain: &str) -> String {
    let mut hash = Sha256::new();
    // Keys of two profiles may be the same; whoever knows names of mails must not be able to say which comes next.
    for part in [account.expose(), to, key] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let hex = hash.finalize().iter().take(16).fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
    format!("<hermes.{hex}@{domain}>")
}

/// Writes one. An error says what is wrong with it: another try makes no difference.
pub(super) fn write(
    (from, to): (&str, &str),
    answered: Answered<'_>,
    id: String,
    text: &str,
    file: Option<Carried<'_>>,
) -> Result<Vec<u8>, String> {
    let mailbox = |address: &str| -> Result<Mailbox, String> {
        let parsed = address.trim().parse::<Address>();
        let parsed = parsed.map_err(|_| "an address is not understood".to_owned())?;
        Ok(Mailbox::new(None, parsed))
    };
    let word = |name: &'static str, value: &str| {
        HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
    };
    let mut letter = Message::builder()
        .from(mailbox(from)?)
        .to(mailbox(to)?)
        .subject(subject(answered.subject))
        .message_id(Some(id))
        .raw_header(word("Auto-Submitted", "auto-replied"))
        .raw_header(word("X-Auto-Response-Suppress", "All"));
    if !answered.id.is_empty() {
        letter = letter
            .in_reply_to(format!("<{}>", answered.id))
            .references(references(answered.references, answered.id));
    }
    let text = SinglePart::plain(text.to_owned());
    let made = match file {
        None => letter.singlepart(text),
        Some(file) => {
            let kind = ContentType::parse(file.media_type)
                .or_else(|_| ContentType::parse("application/octet-stream"))
                .map_err(|error| error.to_string())?;
            let attached = Attachment::new(file.name.to_owned()).body(file.bytes, kind);
            letter.multipart(MultiPart::mixed().singlepart(text).singlepart(attached))
        }
    };
    Ok(made.map_err(|error| error.to_string())?.formatted())
}

/// The subject of an answer to a mail with this one.
fn subject(of: &str) -> String {
    let of: String = of.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    let of = of.trim();
    let is_answer = of.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:"));
    match of {
        "" => SUBJECT.to_owned(),
        of if is_answer => of.to_owned(),
        of => format!("Re: {of}"),
    }
}

/// The thread up to a mail: its beginning and its end, where all of it is too long.
fn references(before: &str, id: &str) -> String {
    let all: Vec<String> =
        before.split(' ').filter(|id| !id.is_empty()).map(|id| format!("<{id}>")).collect();
    let last = format!("<{id}>");
    let mut left = REFERENCES.saturating_sub(last.len() + all.first().map_or(0, String::len));
    let fitting = all.iter().skip(1).rev().take_while(|id| {
        let fits = id.len() < left;
        left = left.saturating_sub(id.len() + 1);
        fits
    });
    let mut kept: Vec<&str> = fitting.map(String::as_str).collect();
    kept.reverse();
    let first = all.first().map(String::as_str);
    first
        .into_iter()
        .chain(kept)
        .chain([last.as_str()])
        .filter(|id| !id.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::email::wire;

    fn read(bytes: &[u8]) -> wire::Mail {
        wire::mail(bytes, str::to_owned).unwrap()
    }

    #[test]
    fn an_answer_stands_in_its_thread_and_says_that_a_program_wrote_it() {
        let answered = Answered { subject: "Größe", id: "2@x.test", references: "0@x.test 1@x.test" };
        let id = id("key", "ann@x.test", &Secret::new("s"), "example.org");
        let text = "Hällo\n.\nwörld";
        let bytes = write(("Bot@example.org", "ann@x.test"), answered, id.clone(), text, None).unwrap();
        let mail = read(&bytes);
        assert_eq!(mail.subject, "Re: Größe");
        assert_eq!(mail.text, text);
        assert_eq!(mail.id.as_deref(), Some(id.trim_matches(['<', '>'])));
        assert_eq!(mail.references, ["0@x.test", "1@x.test", "2@x.test"]);
        assert!(mail.automatic.is_some(), "another one like it does not answer it");
        let head = String::from_utf8_lossy(&bytes).into_owned();
        assert!(
            head.contains("In-Reply-To: <2@x.test>\r\n") && head.contains("Auto-Submitted: auto-replied\r\n"),
            "{head}"
        );
        let news = write(("bot@example.org", "ann@x.test"), Answered::default(), id, "x", None).unwrap();
        assert_eq!((read(&news).subject.as_str(), read(&news).references.len()), (SUBJECT, 0));
    }

    #[test]
    fn a_mail_has_one_name_however_often_it_is_written() {
        let of = |key: &str, to: &str, secret: &str| id(key, to, &Secret::new(secret), "example.org");
        assert_eq!(of("a", "b", "c"), of("a", "b", "c"));
        assert!(of("a", "b", "c") != of("a-1", "b", "c") && of("a", "b", "c") != of("a", "b", "d"));
    }

    #[test]
    fn a_file_goes_along_whole() {
        let bytes: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        let file = Carried { name: "größe.pdf", media_type: "application/pdf", bytes: bytes.clone() };
        let addresses = ("bot@example.org", "ann@x.test");
        let letter = write(addresses, Answered::default(), "<1@x>".to_owned(), "", Some(file)).unwrap();
        let mail = read(&letter);
        assert_eq!((mail.files[0].name.as_str(), &mail.files[0].bytes[..]), ("größe.pdf", &bytes[..]));
        let odd = Carried { name: "a\r\nBcc: x@y.test", media_type: "odd", bytes: vec![1] };
        let letter = write(addresses, Answered::default(), "<1@x>".to_owned(), "", Some(odd)).unwrap();
        assert!(!String::from_utf8_lossy(&letter).contains("\nBcc:"));
    }

    #[test]
    fn nothing_that_came_makes_another_header() {
        let answered = Answered { subject: "x\r\nBcc: evil@x.test", id: "", references: "" };
        let letter = write(("b@x.test", "a@x.test"), answered, "<1@x>".to_owned(), "", None).unwrap();
        assert!(!String::from_utf8_lossy(&letter).contains("\nBcc:"));
        assert!(
            write(("b@x.test", "a@x.test\r\nBcc: c@x.test"), answered, "<1@x>".to_owned(), "", None).is_err()
        );
    }

    #[test]
    fn a_long_thread_keeps_its_beginning_and_its_end() {
        let before: Vec<String> = (0..100).map(|n| format!("{n}-{}@x.test", "a".repeat(30))).collect();
        let all = references(&before.join(" "), "last@x.test");
        assert!(
            all.len() <= REFERENCES && all.starts_with("<0-") && all.ends_with("> <last@x.test>"),
            "{all}"
        );
        assert!(all.contains("<99-") && !all.contains("<1-"), "{all}");
    }

    #[test]
    fn an_answer_is_called_so_once() {
        for (of, is) in [
            ("x", "Re: x"),
            ("Re: x", "Re: x"),
            ("RE: x", "RE: x"),
            ("", SUBJECT),
            ("Regarding", "Re: Regarding"),
        ] {
            assert_eq!(subject(of), is);
        }
    }
}
