//! A turn that somebody at a terminal asks for: what `hermes chat` sends to a worker, and what it is told meanwhile.
//!
//! ```text
//!  hermes chat                                      worker (the gateway's, or one of the command's own)
//!    POST /terminal/turn   Question (JSON) ────────▶ its session, its turn
//!    ◀──────────────────── Said, one JSON a line ─── … every piece of the answer, every tool
//!    connection ends without an end? ask again ────▶ the same turn goes on, or its answer is told
//!
//!    POST /terminal/talk   Question ───────────────▶ the same, with somebody there who can be asked
//!    ◀──────────────────── Said::Asked …
//!      Reply, one JSON a line of the same body ────▶ what they say
//! ```
//!
//! Only a process of the same user, or root, may ask, on the data socket itself: a request that came in by a listener never gets here,
//! nor does one that the supervisor passes on. A client that goes away ends its turn.
//!
//! Both sides ignore fields that they do not know; a line of a kind that a client does not know is skipped.

use serde::{Deserialize, Serialize};

/// Version of the messages.
pub const SCHEMA: u32 = 1;
/// Where the paths begin that only the user's own processes may ask for.
pub const TERMINAL: &str = "/terminal/";
/// A turn.
pub const TURN: &str = "/terminal/turn";
/// A turn whose client can be asked: the body has the question in its first line, and stays open for what is replied.
pub const TALK: &str = "/terminal/talk";
/// The requests that are made to the provider from now on.
pub const REQUESTS: &str = "/terminal/requests";
/// The last one that was made.
pub const LAST_REQUEST: &str = "/terminal/requests/last";
/// Content type of an answer in lines.
pub const LINES: &str = "application/x-ndjson";
/// Longest question with everything that goes with it, in bytes.
pub const MAX_QUESTION: u64 = 4 << 20;
/// Longest line with a reply, in bytes.
pub const MAX_REPLY: usize = 16 << 10;
/// Longest name of a turn or session, in bytes.
pub const MAX_ID: usize = 128;
/// Longest silence of a worker that is at work, in seconds.
pub const KEEPALIVE_SECS: u64 = 10;
/// The platform whose sessions, tools and hints such turns have.
pub const PLATFORM: &str = "cli";

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// [`SCHEMA`]
    pub schema: u32,
    /// Names the turn: asked again under the same name it goes on where it was.
    pub turn: String,
    /// Its session.
    pub session: Session,
    /// What is asked.
    pub text: String,
    /// Another model than the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Another provider than the profile's; only with a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// Skills whose instructions hold for this question.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skills: Vec<String>,
    /// Most calls to the model that may want tools called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_turns: Option<u32>,
    /// Nobody is asked before a dangerous command.
    #[serde(default)]
    pub yolo: bool,
    /// The requests that are made to the provider are told as well.
    #[serde(default)]
    pub requests: bool,
}

/// What is replied to [`Said::Asked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// One of [`Asked::choices`].
    pub choice: String,
}

/// A command that needs somebody's approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// What would be run, or its beginning.
    pub command: String,
    /// What is dangerous about it.
    pub why: String,
    /// What may be replied: `once`, `session`, `always`, `deny`.
    pub choices: Vec<String>,
    /// Seconds that the question waits; then the command does not run.
    pub timeout: u64,
}

/// Which session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// One of this id, made where there is none.
    New(String),
    /// One that there must be.
    Known(String),
    /// The last one of the terminal.
    Last,
}

/// How much there is of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Messages of everybody: questions, answers, results of tools.
    pub messages: u64,
    /// Questions.
    pub user: u64,
    /// Calls of tools.
    pub tool_calls: u64,
}

/// A request as it was sent to a provider. Values of secrets are masked, wherever they stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// The session whose turn it was.
    pub session: String,
    /// ISO 8601, UTC.
    pub at: String,
    /// The address, without its query.
    pub url: String,
    /// Headers in the order of their names.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte but for secrets; `None` where it was too long to be kept.
    #[serde(default)]
    pub body: Option<String>,
    /// Bytes of the body.
    pub bytes: u64,
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "said", rename_all = "snake_case")]
pub enum Said {
    /// The turn has begun, in this session.
    Begun {
        /// Its id.
        session: String,
        /// What was in it before, where it was there before.
        #[serde(default)]
        before: Option<Counts>,
    },
    /// A piece of the answer.
    Delta {
        /// It.
        text: String,
    },
    /// A tool is being run, or was.
    Tool {
        /// Its name.
        name: String,
        /// The call's id.
        id: String,
        /// Its result is stored.
        done: bool,
    },
    /// The provider is asked once more; nothing of what it said before was told.
    Retrying {
        /// Which attempt this is, from 2.
        attempt: u32,
        /// Why.
        reason: String,
    },
    /// What was sent to the provider.
    Request(Sent),
    /// So many requests were made that could not be told in time.
    Lost {
        /// How many.
        requests: u64,
    },
    /// A command of the turn needs an approval.
    Asked(Asked),
    /// That question has an answer.
    Heard {
        /// The choice.
        choice: String,
    },
    /// What was replied answers nothing: the question had its answer, or has run out of time.
    Unheard,
    /// Nothing new.
    Alive,
    /// The end: an answer, which is stored.
    Answered {
        /// The whole text of the last call to the model.
        text: String,
        /// `stop`, `length`, …
        finish_reason: String,
        /// The limit on calls for tools was reached, so that the answer is a summary.
        #[serde(default)]
        out_of_turns: bool,
        /// What is in the session now.
        counts: Counts,
    },
    /// The end: no answer.
    Failed {
        /// For programs.
        code: String,
        /// What and why.
        message: String,
        /// The next step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
        /// Asked again under the same name it goes on: this worker ends, or has too much to do.
        #[serde(default)]
        again: bool,
    },
    /// Of a later release.
    #[serde(other)]
    Unknown,
}

/// Whether a text can name a turn or a session: printable ASCII without what paths are made of.
pub fn is_id(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'/' | b'\\');
    !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(allowed) && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_clients_of_other_releases_read_them() {
        let begun = Said::Begun { session: "20261130_010203_0a1b2c".to_owned(), before: None };
        assert_eq!(
            serde_json::to_string(&begun).unwrap(),
            r#"{"said":"begun","session":"20261130_010203_0a1b2c","before":null}"#
        );
        let sent = Sent {
            session: "s".to_owned(),
            at: "t".to_owned(),
            url: "u".to_owned(),
            headers: vec![("a".to_owned(), "b".to_owned())],
            body: Some("{}".to_owned()),
            bytes: 2,
        };
        for said in [
            begun,
            Said::Request(sent),
            Said::Asked(Asked {
                command: "rm -rf /x".to_owned(),
                why: "deletes".to_owned(),
                choices: vec!["once".to_owned(), "deny".to_owned()],
                timeout: 60,
            }),
            Said::Heard { choice: "deny".to_owned() },
            Said::Unheard,
            Said::Alive,
            Said::Failed { code: "c".to_owned(), message: "m".to_owned(), hint: None, again: true },
        ] {
            let line = serde_json::to_string(&said).unwrap();
            assert_eq!(serde_json::from_str::<Said>(&line).unwrap(), said, "{line}");
        }
        let later = r#"{"said":"thought","text":"hm"}"#;
        assert_eq!(serde_json::from_str::<Said>(later).unwrap(), Said::Unknown);
        let more = r#"{"said":"delta","text":"x","weight":1}"#;
        assert_eq!(serde_json::from_str::<Said>(more).unwrap(), Said::Delta { text: "x".to_owned() });
    }

    #[test]
    fn a_question_needs_little() {
        let text = r#"{"schema":1,"turn":"t","session":{"new":"s"},"text":"hi"}"#;
        let question: Question = serde_json::from_str(text).unwrap();
        assert_eq!(question.session, Session::New("s".to_owned()));
        assert!(!question.yolo && question.skills.is_empty());
        let last: Session = serde_json::from_str(r#""last""#).unwrap();
        assert_eq!(last, Session::Last);
    }

    #[test]
    fn ids_are_no_paths() {
        assert!(is_id("20261130_010203_0a1b2c") && is_id("agent:main:x"));
        for bad in ["", "a/b", "..", "a..b", "a b", "a\\b", "ä", "\u{1b}x", &"x".repeat(MAX_ID + 1)] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }
}
