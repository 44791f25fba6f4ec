//! What the service says: updates and ids. Bytes from outside, parsed once; nothing in them is believed to be short or sane.

use serde::Deserialize;

/// Most updates that one answer may hold.
const MOST: usize = 1000;
/// Longest id of a chat, a user or a message, in bytes.
const ID: usize = 256;
/// Longest text of one update, in bytes.
const TEXT: usize = 256 * 1024;

/// Why an answer is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    /// No JSON of the expected shape.
    #[error("the service's answer is not understood (line {line}, column {column})")]
    Shape {
        /// Where.
        line: usize,
        /// Where.
        column: usize,
    },
    /// More than anybody should get at once.
    #[error("the service's answer holds {0}")]
    TooMuch(&'static str),
}

/// One update.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Update {
    /// Ascending.
    pub(crate) id: u64,
    /// The chat.
    pub(crate) chat: String,
    /// Several people are in it.
    #[serde(default)]
    pub(crate) group: bool,
    /// Who wrote.
    pub(crate) user: String,
    /// What.
    #[serde(default)]
    pub(crate) text: String,
    /// And what came with it.
    #[serde(default)]
    pub(crate) attachments: Vec<Attachment>,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Attachment {
    /// As its sender calls it.
    pub(crate) name: String,
    /// Its media type.
    #[serde(rename = "type")]
    pub(crate) media_type: String,
    /// Its bytes.
    #[serde(rename = "size")]
    pub(crate) length: u64,
    /// Where it is, below the service's address.
    pub(crate) path: String,
}

/// What one poll brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Updates {
    /// In order, each once.
    pub(crate) sound: Vec<Update>,
    /// Ids of those that nobody can use, as some part of them is empty or too long; in order.
    pub(crate) odd: Vec<u64>,
    /// The id behind the last of all of them.
    pub(crate) next: Option<u64>,
}

/// The updates of one poll. One that is odd spoils no other.
pub(crate) fn updates(bytes: &[u8]) -> Result<Updates, WireError> {
    let mut all: Vec<Update> = json(bytes)?;
    if all.len() > MOST {
        return Err(WireError::TooMuch("too many updates"));
    }
    if all.iter().any(|update| update.id == u64::MAX) {
        // The one behind it is the next to be asked for.
        return Err(WireError::TooMuch("an id that none can follow"));
    }
    all.sort_by_key(|update| update.id);
    all.dedup_by_key(|update| update.id);
    let next = all.last().map(|update| update.id + 1);
    let (sound, odd): (Vec<_>, Vec<_>) = all.into_iter().partition(is_sound);
    Ok(Updates { sound, odd: odd.iter().map(|update| update.id).collect(), next })
}

fn is_sound(update: &Update) -> bool {
    let files = update.attachments.iter().flat_map(|file| [&file.name, &file.media_type, &file.path]);
    let mut ids = [&update.chat, &update.user].into_iter().chain(files);
    ids.all(|id| !id.is_empty() && id.len() <= ID) && update.text.len() <= TEXT
}

/// The id of a message that was sent.
pub(crate) fn sent(bytes: &[u8]) -> Result<String, WireError> {
    #[derive(Deserialize)]
    struct Sent {
        id: String,
    }
    let Sent { id } = json(bytes)?;
    if id.is_empty() || id.len() > ID { Err(WireError::TooMuch("an id that is none")) } else { Ok(id) }
}

fn json<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, WireError> {
    serde_json::from_slice(bytes)
        .map_err(|error| WireError::Shape { line: error.line(), column: error.column() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_are_in_order_each_once_and_of_a_sane_size() {
        let all = updates(
            br#"[{"id":9,"chat":"c","user":"u","text":"b"},{"id":7,"chat":"c","user":"u","text":"a"},
            {"id":9,"chat":"c","user":"u"}]"#,
        )
        .unwrap();
        assert_eq!(all.sound.iter().map(|update| update.id).collect::<Vec<_>>(), [7, 9]);
        assert_eq!((all.odd, all.next), (vec![], Some(10)));
        let with = |field: &str| format!(r#"[{{"id":1,"chat":"c","user":"u",{field}}}]"#);
        let file = r#""attachments":[{"name":"a.png","type":"image/png","size":3,"path":"/files/1"}]"#;
        assert_eq!(updates(with(file).as_bytes()).unwrap().sound[0].attachments[0].length, 3);
        for bad in ["", "{}", "[1]", r#"[{"id":-1,"chat":"c","user":"u"}]"#, r#"[{"id":1,"chat":"c"}]"#] {
            assert!(matches!(updates(bad.as_bytes()), Err(WireError::Shape { .. })), "{bad}");
        }
        let last = r#"[{"id":18446744073709551615,"chat":"c","user":"u"}]"#;
        assert!(matches!(updates(last.as_bytes()), Err(WireError::TooMuch(_))));
        assert_eq!(sent(br#"{"id":"m1"}"#).as_deref(), Ok("m1"));
        assert!(sent(br#"{"id":""}"#).is_err() && sent(b"{}").is_err());
    }

    #[test]
    fn an_odd_update_is_named_and_spoils_no_other() {
        let long = "x".repeat(TEXT + 1);
        for odd in [
            r#""chat":"","user":"u""#.to_owned(),
            r#""chat":"c","user":"""#.to_owned(),
            format!(r#""chat":"c","user":"{}""#, "u".repeat(ID + 1)),
            format!(r#""chat":"c","user":"u","text":"{long}""#),
            r#""chat":"c","user":"u","attachments":[{"name":"","type":"t","size":1,"path":"p"}]"#.to_owned(),
        ] {
            let all = format!(
                r#"[{{"id":3,{odd}}},{{"id":2,"chat":"c","user":"u"}},{{"id":4,"chat":"c","user":"u"}}]"#
            );
            let all = updates(all.as_bytes()).unwrap();
            assert_eq!(all.sound.iter().map(|update| update.id).collect::<Vec<_>>(), [2, 4]);
            assert_eq!((all.odd, all.next), (vec![3], Some(5)));
        }
        let all = updates(br#"[{"id":3,"chat":"","user":""}]"#).unwrap();
        assert_eq!((all.sound, all.next), (vec![], Some(4)), "it is confirmed alone");
        assert_eq!(updates(b"[]"), Ok(Updates::default()));
    }
}
