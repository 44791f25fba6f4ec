//! What a command wants changed of what a profile has stored, and what came of it.
//!
//! The worker that serves the profile is asked, on its data socket, by [`CHANGE`]; the answer is one line of a terminal's answer. Where no
//! gateway serves the profile the command does the same by itself. Who may ask is said in [`crate::terminal`].

use serde::{Deserialize, Serialize};

/// Version of the messages.
pub const SCHEMA: u32 = 1;
/// Where a worker is asked for a change.
pub const CHANGE: &str = "/terminal/change";
/// Most things of one change: it is one transaction, and others wait for its end.
pub const MOST: usize = 50;
/// Longest title, in characters.
pub const MAX_TITLE: usize = 100;

/// A change, as it is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Order {
    /// [`SCHEMA`]
    pub schema: u32,
    /// What.
    pub change: Change,
}

/// What is to be changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A session gets a title.
    Rename {
        /// Its id.
        session: String,
        /// The title.
        title: String,
    },
    /// Sessions go, with everything in them.
    Delete {
        /// Their ids.
        sessions: Vec<String>,
        /// One that was used after this time stays, in seconds since the epoch.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unused_since: Option<f64>,
    },
    /// Items of the inbox are tried again, now.
    Retry {
        /// Their numbers.
        items: Vec<i64>,
    },
    /// Items of the inbox get no answer any more.
    Drop {
        /// Their numbers.
        items: Vec<i64>,
    },
}

/// What came of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// What was changed.
    pub done: Vec<Done>,
    /// What was not, and why.
    pub kept: Vec<Kept>,
}

/// Something was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// A session's id, or an item's number.
    pub id: String,
    /// Rows of sessions that went: of a conversation that was made shorter there are several, and those of sub-agents.
    #[serde(default)]
    pub sessions: u64,
    /// Messages that went.
    #[serde(default)]
    pub messages: u64,
}

/// Something was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// A session's id, or an item's number.
    pub id: String,
    /// Why.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_as_workers_of_other_releases_read_them() {
        let order =
            |change| serde_json::to_string(&Order { schema: SCHEMA, change }).expect("texts and numbers");
        assert_eq!(
            order(Change::Delete { sessions: vec!["a".to_owned()], unused_since: None }),
            r#"{"schema":1,"change":{"delete":{"sessions":["a"]}}}"#
        );
        assert_eq!(
            order(Change::Retry { items: vec![7] }),
            r#"{"schema":1,"change":{"retry":{"items":[7]}}}"#
        );
        let more = r#"{"schema":1,"change":{"rename":{"session":"a","title":"b","later":1}},"later":2}"#;
        let read: Order = serde_json::from_str(more).unwrap();
        assert_eq!(read.change, Change::Rename { session: "a".to_owned(), title: "b".to_owned() });
        let done: Changed = serde_json::from_str(r#"{"done":[{"id":"a"}],"kept":[]}"#).unwrap();
        assert_eq!((done.done[0].sessions, done.done[0].messages), (0, 0));
    }
}
