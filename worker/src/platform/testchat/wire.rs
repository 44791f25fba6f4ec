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

/// The updates of one poll, in order.
pub(crate) fn updates(bytes: &[u8]) -> Result<Vec<Update>, WireError> {
    let mut all: Vec<Update> = json(bytes)?;
    if all.len() > MOST {
        return Err(WireError::TooMuch("too many updates"));
    }
    let long = |update: &Update| {
        let files = update.attachments.iter().flat_map(|file| [&file.name, &file.media_type, &file.path]);
        [&update.chat, &update.user].into_iter().chain(files).any(|id| id.is_empty() || id.len() > ID)
            || update.text.len() > TEXT
            // The one behind it is the next to be asked for.
            || update.id == u64::MAX
    };
    if all.iter().any(long) {
        return Err(WireError::TooMuch("an update whose parts are empty or too long"));
    }
    all.sort_by_key(|update| update.id);
    all.dedup_by_key(|update| update.id);
    Ok(all)
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
        assert_eq!(all.iter().map(|update| update.id).collect::<Vec<_>>(), [7, 9]);
        let with = |field: &str| format!(r#"[{{"id":1,"chat":"c","user":"u",{field}}}]"#);
        let file = r#""attachments":[{"name":"a.png","type":"image/png","size":3,"path":"/files/1"}]"#;
        assert_eq!(updates(with(file).as_bytes()).unwrap()[0].attachments[0].length, 3);
        let long = format!(r#""text":"{}""#, "x".repeat(TEXT + 1));
        assert!(matches!(updates(with(&long).as_bytes()), Err(WireError::TooMuch(_))));
        for bad in ["", "{}", "[1]", r#"[{"id":-1,"chat":"c","user":"u"}]"#, r#"[{"id":1,"chat":"c"}]"#] {
            assert!(matches!(updates(bad.as_bytes()), Err(WireError::Shape { .. })), "{bad}");
        }
        for odd in
            [r#"[{"id":1,"chat":"","user":"u"}]"#, r#"[{"id":18446744073709551615,"chat":"c","user":"u"}]"#]
        {
            assert!(matches!(updates(odd.as_bytes()), Err(WireError::TooMuch(_))), "{odd}");
        }
        assert_eq!(sent(br#"{"id":"m1"}"#).as_deref(), Ok("m1"));
        assert!(sent(br#"{"id":""}"#).is_err() && sent(b"{}").is_err());
    }
}
