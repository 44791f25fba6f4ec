//! One person of WhatsApp has many names: a number, a number with its server and device, and an id that hides the number (`…@lid`). Here
//! they become one.

use camino::Utf8Path;
use hermes_wire::session_key::canonical_whatsapp;

/// Server of people who are known by their numbers.
const PHONE: &str = "@s.whatsapp.net";
/// Server of those who are not.
const HIDDEN: &str = "@lid";
/// Server of groups.
const GROUP: &str = "@g.us";
/// Largest file that is read of a session, in bytes.
const SMALL: usize = 1024;

/// Whether two ids are of one person.
pub(super) fn same(one: &str, other: &str) -> bool {
    canonical_whatsapp(one) == canonical_whatsapp(other)
}

/// A person, or a chat with one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Person {
    /// What he is known by: his number, or the hidden id where that is not known.
    pub(super) id: String,
    /// Where messages to him go.
    pub(super) address: String,
    /// His other ids, in every way in which they are written.
    pub(super) aliases: Vec<String>,
}

/// Whoever has these ids. `phone` looks up the number of a hidden id.
pub(super) fn person(id: &str, other: Option<&str>, phone: impl Fn(&str) -> Option<String>) -> Person {
    let all = [Some(id), other].into_iter().flatten();
    let (mut hidden, mut number) = (None, None);
    for id in all {
        let bare = canonical_whatsapp(id);
        if id.ends_with(HIDDEN) {
            hidden.get_or_insert(bare)
        } else {
            number.get_or_insert(bare)
        };
    }
    let number = number.or_else(|| hidden.as_deref().and_then(phone));
    let mut aliases = Vec::new();
    if let Some(number) = &number {
        aliases.extend([format!("{number}{PHONE}"), format!("+{number}")]);
    }
    if let Some(hidden) = &hidden {
        aliases.extend([format!("{hidden}{HIDDEN}"), hidden.clone()]);
    }
    let (id, address) = match (number, hidden) {
        (Some(number), _) => (number.clone(), format!("{number}{PHONE}")),
        (None, Some(hidden)) => (format!("{hidden}{HIDDEN}"), format!("{hidden}{HIDDEN}")),
        (None, None) => (id.to_owned(), id.to_owned()),
    };
    aliases.retain(|alias| *alias != id);
    Person { id, address, aliases }
}

/// The number of a hidden id, as the session knows it. Blocks.
pub(super) fn phone_of(session: &Utf8Path, hidden: &str) -> Option<String> {
    let is_digits =
        |text: &str| (5..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(hidden) {
        return None;
    }
    let path = session.join(format!("lid-mapping-{hidden}_reverse.json"));
    // Where nothing can be read the hidden id is who he is.
    let bytes = hermes_host::disk::read_bounded(&path, SMALL).ok()?;
    let text: String = serde_json::from_slice(&bytes).ok()?;
    let number = canonical_whatsapp(&text);
    is_digits(&number).then_some(number)
}

/// Where a message goes that is for this chat: an id as it is, the server behind a number.
pub(super) fn address(chat: &str) -> String {
    let chat = chat.trim();
    if chat.contains('@') {
        return chat.to_owned();
    }
    let digits: String = chat.chars().filter(char::is_ascii_digit).collect();
    // Older groups are called after who has made them, and when.
    let is_group = chat.split_once('-').is_some_and(|(one, two)| one.len() > 6 && two.len() > 6);
    if is_group { format!("{chat}{GROUP}") } else { format!("{digits}{PHONE}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn all_ids_of_a_person_are_one() {
        let known = person("4911111:3@s.whatsapp.net", Some("99:1@lid"), nobody);
        assert_eq!((known.id.as_str(), known.address.as_str()), ("4911111", "4911111@s.whatsapp.net"));
        assert_eq!(known.aliases, ["4911111@s.whatsapp.net", "+4911111", "99@lid", "99"]);
        assert_eq!(person("99@lid", Some("4911111@s.whatsapp.net"), nobody), known);
        let found = |lid: &str| (lid == "99").then(|| "4911111".to_owned());
        assert_eq!(person("99:4@lid", None, found), known);
        let hidden = person("99@lid", None, nobody);
        assert_eq!(
            (hidden.id.as_str(), hidden.address.as_str(), hidden.aliases.as_slice()),
            ("99@lid", "99@lid", ["99".to_owned()].as_slice())
        );
        assert!(same("4911111:3@s.whatsapp.net", "+4911111") && !same("4911111@g.us", "4911111"));
    }

    #[test]
    fn a_session_knows_numbers_of_hidden_ids() {
        let dir = tempfile::tempdir().unwrap();
        let session = Utf8Path::from_path(dir.path()).unwrap();
        fs_err::write(session.join("lid-mapping-77777_reverse.json"), "\"4911111\"").unwrap();
        fs_err::write(session.join("lid-mapping-88888_reverse.json"), "{\"x\": 1}").unwrap();
        assert_eq!(phone_of(session, "77777").as_deref(), Some("4911111"));
        for unknown in ["88888", "99999", "../77777", ""] {
            assert_eq!(phone_of(session, unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_number_is_an_address() {
        for (chat, to) in [
            ("+49 111 11", "4911111@s.whatsapp.net"),
            ("4911111", "4911111@s.whatsapp.net"),
            ("1203630@g.us", "1203630@g.us"),
            ("4911111222-1400000000", "4911111222-1400000000@g.us"),
            ("77777@lid", "77777@lid"),
        ] {
            assert_eq!(address(chat), to, "{chat}");
        }
    }
}
