//! A mail, as it comes: who wrote it, what it says, what it carries, and what its headers say of it. Pure.
//!
//! Nothing in it is believed here: who the sender really is, [`results`](super::results) says.

use bytes::Bytes;
use mail_parser::{HeaderValue, Message, MessageParser, MimeHeaders as _, PartType};

use super::address;

/// Longest text that is taken, in bytes.
const TEXT: usize = 256 * 1024;
/// Most files of one mail.
const FILES: usize = 32;
/// Longest name and subject, in characters.
const LINE: usize = 300;
/// Most mails that a mail names as its thread, and longest name of one in bytes.
const REFERENCES: usize = 50;
const ID: usize = 400;
/// Most of the server's words that are looked at.
const RESULTS: usize = 20;

/// What is in the name of a mailbox whose mails nobody wrote.
const NOBODY: [&str; 11] = [
    "noreply",
    "no-reply",
    "no_reply",
    "donotreply",
    "do-not-reply",
    "mailer-daemon",
    "postmaster",
    "bounce",
    "auto-confirm",
    "auto-reply",
    "automailer",
];
/// The same, where nothing else is in it.
const NOBODY_AT_ALL: [&str; 2] = ["notifications", "automated"];
/// Headers that only programs set.
const OF_PROGRAMS: [&str; 9] = [
    "list-id",
    "list-post",
    "list-unsubscribe",
    "feedback-id",
    "x-auto-response-suppress",
    "x-autoreply",
    "x-autorespond",
    "x-failed-recipients",
    "x-loop",
];

/// A mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// Whoever it says has written it; none: nobody, or several.
    pub(crate) from: Option<Person>,
    pub(crate) subject: String,
    /// Its own name, without brackets.
    pub(crate) id: Option<String>,
    /// The mails before it in its thread, the oldest first.
    pub(crate) references: Vec<String>,
    pub(crate) text: String,
    pub(crate) files: Vec<File>,
    /// Files beyond the most that are taken.
    pub(crate) left_out: usize,
    /// Every `Authentication-Results`, from the top.
    pub(crate) results: Vec<String>,
    /// Why it is one that nobody is to answer.
    pub(crate) automatic: Option<&'static str>,
}

/// Who somebody says he is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// In lower case.
    pub(crate) address: String,
    pub(crate) name: Option<String>,
}

/// A file that comes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) bytes: Bytes,
}

/// Reads one; none: it is no mail. `readable` makes text of HTML.
pub(crate) fn mail(bytes: &[u8], readable: impl Fn(&str) -> String) -> Option<Mail> {
    let message = MessageParser::default().parse(bytes)?;
    let headers: Vec<(String, String)> =
        message.headers_raw().map(|(name, value)| (name.to_ascii_lowercase(), unfolded(value))).collect();
    let results = headers.iter().filter(|(name, _)| name == "authentication-results");
    let results = results.map(|(_, value)| value.clone()).take(RESULTS).collect();
    let from = person(&message, &headers);
    let automatic = automatic(from.as_ref(), &headers);
    let files: Vec<File> = message.attachments().map(file).collect();
    let left_out = files.len().saturating_sub(FILES);
    Some(Mail {
        automatic,
        results,
        subject: message.subject().map(|text| line(text, LINE)).unwrap_or_default(),
        id: message.message_id().and_then(id),
        references: references(&message),
        text: text(&message, readable),
        files: files.into_iter().take(FILES).collect(),
        left_out,
        from,
    })
}

/// One line of a header that goes over several.
fn unfolded(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What a text says, on one line.
fn line(text: &str, most: usize) -> String {
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(most).collect()
}

/// The name of a mail, as it may stand in a header of another one.
fn id(text: &str) -> Option<String> {
    let id = text.trim().trim_matches(['<', '>']);
    let is_right =
        (1..=ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic() && !b"<>".contains(&b));
    is_right.then(|| id.to_owned())
}

fn references(message: &Message<'_>) -> Vec<String> {
    let texts = |value: &HeaderValue<'_>| -> Vec<String> {
        let all = value.as_text_list().unwrap_or_default();
        all.iter().filter_map(|text| id(text)).collect()
    };
    let mut all = texts(message.references());
    if all.is_empty() {
        all = texts(message.in_reply_to());
    }
    let first = all.len().saturating_sub(REFERENCES);
    all.split_off(first)
}

/// The one sender of a mail with one `From:`.
fn person(message: &Message<'_>, headers: &[(String, String)]) -> Option<Person> {
    if headers.iter().filter(|(name, _)| name == "from").count() != 1 {
        return None;
    }
    let mut all = message.from()?.iter();
    let one = all.next()?;
    if all.next().is_some() {
        return None;
    }
    let address = address::of(one.address()?)?;
    let name = one.name().map(|name| line(name, LINE)).filter(|name| !name.is_empty());
    Some(Person { address, name })
}

/// Why nobody is to answer it.
fn automatic(from: Option<&Person>, headers: &[(String, String)]) -> Option<&'static str> {
    let of = |wanted: &str| {
        headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.to_ascii_lowercase())
    };
    let name = from.map(|person| person.address.split('@').next().unwrap_or_default());
    let is_nobodys = name
        .is_some_and(|name| NOBODY.iter().any(|part| name.contains(part)) || NOBODY_AT_ALL.contains(&name));
    let is_auto = |value: String| value.split([';', ' ']).next() != Some("no");
    if is_nobodys {
        return Some("its sender reads no answers");
    }
    if of("return-path").is_some_and(|path| path.replace(' ', "") == "<>") {
        return Some("it is a report of a mail server");
    }
    if of("content-type").is_some_and(|kind| kind.starts_with("multipart/report")) {
        return Some("it is a report");
    }
    if of("auto-submitted").is_some_and(is_auto) {
        return Some("a program sent it");
    }
    if of("precedence").is_some_and(|said| matches!(said.as_str(), "bulk" | "list" | "junk" | "auto_reply")) {
        return Some("it went to many");
    }
    OF_PROGRAMS.iter().any(|name| of(name).is_some()).then_some("it is of a list or a program")
}

/// What it says: its text, or its HTML made readable where it has none.
fn text(message: &Message<'_>, readable: impl Fn(&str) -> String) -> String {
    let mut all = String::new();
    for at in &message.text_body {
        let Some(part) = message.parts.get(usize::try_from(*at).unwrap_or(usize::MAX)) else { continue };
        let more = match &part.body {
            PartType::Text(text) => text.replace("\r\n", "\n"),
            PartType::Html(html) => readable(html),
            _ => continue,
        };
        if !all.is_empty() && !more.trim().is_empty() {
            all.push_str("\n\n");
        }
        all.push_str(more.trim_end());
        if all.len() > TEXT {
            break;
        }
    }
    // Nothing of it would be shown, and databases end a text there.
    all.retain(|c| c != '\0');
    if all.len() > TEXT {
        let end = (0..=TEXT).rev().find(|at| all.is_char_boundary(*at)).unwrap_or(0);
        all.truncate(end);
    }
    all
}

fn file(part: &mail_parser::MessagePart<'_>) -> File {
    let kind = part.content_type();
    let media_type = kind.map(|kind| match kind.subtype() {
        Some(subtype) => format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase(),
        None => kind.ctype().to_ascii_lowercase(),
    });
    let media_type = media_type.filter(|text| text.len() <= 128 && text.contains('/'));
    let name = part.attachment_name().map(|name| line(name, LINE)).filter(|name| !name.is_empty());
    let is_mail = matches!(part.body, PartType::Message(_));
    let otherwise = if is_mail { "message.eml" } else { "attachment" };
    let bytes = match &part.body {
        PartType::Message(inner) => Bytes::copy_from_slice(&inner.raw_message),
        _ => Bytes::copy_from_slice(part.contents()),
    };
    File {
        name: name.unwrap_or_else(|| otherwise.to_owned()),
        media_type: media_type.unwrap_or_else(|| "application/octet-stream".to_owned()),
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Mail {
        mail(text.replace('\n', "\r\n").as_bytes(), |html| format!("[{html}]")).unwrap()
    }

    #[test]
    fn a_mail_is_read() {
        let mail = read(
            "Authentication-Results: mx.example.org;\n dmarc=pass\nReceived: from x\nAuthentication-Results: forged; dmarc=pass\n\
             From: \"Ann, B.\" <Ann@Good.test>\nTo: bot@example.org\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\
             Message-ID: <2@good.test>\nReferences: <0@x> <1@x>\nIn-Reply-To: <1@x>\nMIME-Version: 1.0\n\
             Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/alternative; boundary=c\n\n\
             --c\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nHall=F6chen\n\n\
             --c\nContent-Type: text/html\n\n<b>Hi</b>\n--c--\n--b\nContent-Type: application/pdf; name=a.pdf\n\
             Content-Disposition: attachment; filename=\"b.pdf\"\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n--b--\n",
        );
        let from = mail.from.unwrap();
        assert_eq!((from.address.as_str(), from.name.as_deref()), ("ann@good.test", Some("Ann, B.")));
        assert_eq!((mail.subject.as_str(), mail.text.as_str()), ("Grüße", "Hallöchen"));
        assert_eq!(
            (mail.id.as_deref(), mail.references),
            (Some("2@good.test"), vec!["0@x".to_owned(), "1@x".to_owned()])
        );
        assert_eq!(mail.results, ["mx.example.org; dmarc=pass", "forged; dmarc=pass"]);
        assert_eq!(mail.automatic, None);
        let [file] = mail.files.as_slice() else { panic!("{:?}", mail.files) };
        assert_eq!(
            (file.name.as_str(), file.media_type.as_str(), &*file.bytes),
            ("b.pdf", "application/pdf", &b"hello"[..])
        );
    }

    #[test]
    fn html_is_made_readable_where_there_is_nothing_else() {
        let mail = read("From: a@b.test\nContent-Type: text/html\n\n<p>Hi</p>\n");
        assert_eq!((mail.text.as_str(), mail.files.len()), ("[<p>Hi</p>\r\n]", 0));
    }

    #[test]
    fn there_is_one_sender_or_none() {
        let from = |headers: &str| read(&format!("{headers}\nSubject: x\n\nhi\n")).from;
        assert_eq!(from("From: a@b.test").unwrap().address, "a@b.test");
        for headers in [
            "From: a@b.test, c@d.test",
            "From: a@b.test\nFrom: c@d.test",
            "from: a@b.test\nFROM: a@b.test",
            "From: nobody",
            "From: \"a@b\"@c.test",
            "Sender: a@b.test",
        ] {
            assert_eq!(from(headers), None, "{headers}");
        }
    }

    #[test]
    fn what_programs_send_is_known() {
        let automatic = |headers: &str| read(&format!("{headers}\nSubject: x\n\nhi\n")).automatic;
        for headers in [
            "From: no-reply@b.test",
            "From: bounces+123@b.test",
            "From: Mailer-Daemon@b.test",
            "From: notifications@b.test",
            "Return-Path: <>\nFrom: a@b.test",
            "From: a@b.test\nAuto-Submitted: auto-replied (vacation)",
            "From: a@b.test\nPrecedence: Bulk",
            "From: a@b.test\nList-Id: <x.b.test>",
            "From: a@b.test\nX-Auto-Response-Suppress: All",
            "From: a@b.test\nContent-Type: multipart/report; report-type=delivery-status; boundary=x",
        ] {
            assert!(automatic(headers).is_some(), "{headers}");
        }
        for headers in [
            "From: a@b.test\nAuto-Submitted: no",
            "From: a@bounce.test\nReturn-Path: <a@b.test>",
            "From: mynotifications@b.test",
        ] {
            assert_eq!(automatic(headers), None, "{headers}");
        }
    }

    #[test]
    fn what_is_too_much_is_cut() {
        let long = read(&format!("From: a@b.test\nSubject: {}\n\n{}\n", "s".repeat(500), "ä".repeat(TEXT)));
        assert!(long.text.len() <= TEXT && long.subject.chars().count() == LINE);
        let parts = "--b\nContent-Disposition: attachment; filename=x\n\nx\n".repeat(FILES + 3);
        let many =
            read(&format!("From: a@b.test\nContent-Type: multipart/mixed; boundary=b\n\n{parts}--b--\n"));
        assert_eq!((many.files.len(), many.left_out), (FILES, 3));
        assert!(mail(b"", |_| String::new()).is_none_or(|mail| mail.from.is_none()));
    }
}
