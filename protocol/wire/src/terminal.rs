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
//!
//!    POST /terminal/welcome  Greeting ─────────────▶ who answers here, in which session, which commands there are
//!    POST /terminal/command  Order ────────────────▶ what a command says, and what follows from it
//! ```
//!
//! Only a process of the same user, or root, may ask, on the data socket itself: a request that came in by a listener never gets here,
//! nor does one that the supervisor passes on. A client that goes away ends its turn.
//!
//! Both sides ignore fields that they do not know; a line of a kind that a client does not know is skipped.

use serde::{Deserialize, Serialize};

use crate::stored::Changed;

/// Version of the messages.
pub const SCHEMA: u32 = 1;
/// Where the paths begin that only the user's own processes may ask for.
pub const TERMINAL: &str = "/terminal/";
/// A turn.
pub const TURN: &str = "/terminal/turn";
/// A turn whose client can be asked: the body has the question in its first line, and stays open for what is replied.
pub const TALK: &str = "/terminal/talk";
/// What somebody who sits down at a terminal is shown.
pub const WELCOME: &str = "/terminal/welcome";
/// A command: what begins with a slash.
pub const COMMAND: &str = "/terminal/command";
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
    /// Pictures that go with it: absolute paths of files that the worker reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// Somebody is there who can be asked anything, not only about commands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_attended: bool,
}

/// What somebody who sits down at a terminal wants to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`SCHEMA`]
    pub schema: u32,
    /// Where they want to go on.
    pub session: Session,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// [`SCHEMA`]
    pub schema: u32,
    /// The session that it is about; there may be none of this id yet.
    pub session: String,
    /// It, with its slash.
    pub text: String,
    /// The model that was chosen there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Chosen>,
    /// Nobody is asked there before a dangerous command.
    #[serde(default)]
    pub yolo: bool,
}

/// A model that was chosen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chosen {
    /// Its name.
    pub model: String,
    /// Who serves it, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
}

/// What follows from a command.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "then", rename_all = "snake_case")]
pub enum Then {
    /// Nothing.
    #[default]
    Nothing,
    /// Another session is begun.
    Begin,
    /// It goes on in another session.
    GoOn {
        /// Its id.
        session: String,
    },
    /// Another model answers from now on.
    Model {
        /// It; none: the profile's own.
        chosen: Option<Chosen>,
    },
    /// Somebody is asked before a dangerous command, or nobody is.
    Yolo {
        /// Nobody.
        yolo: bool,
    },
    /// This is asked, as if it had been typed.
    Ask {
        /// It.
        text: String,
    },
    /// Of a later release.
    #[serde(other)]
    Unknown,
}

/// A command, or a skill, as it is offered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its name, without a slash.
    pub name: String,
    /// What it does.
    pub about: String,
    /// It is a skill.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_skill: bool,
}

/// Who answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// The session, and what is in it where it was there before.
    pub session: String,
    /// What is in it; none: there is none of this id yet.
    #[serde(default)]
    pub before: Option<Counts>,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The model that answers, for people.
    pub model: String,
    /// What can be typed with a slash.
    pub offered: Vec<Offered>,
}

/// What is replied to [`Said::Asked`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// One of [`Asked::choices`]; empty where it is no approval.
    #[serde(default)]
    pub choice: String,
    /// What is said to [`Said::Inquired`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A question of the model's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// It, as the model put it.
    pub question: String,
    /// Answers to choose from; others are as good.
    #[serde(default)]
    pub choices: Vec<String>,
    /// Seconds that it waits.
    pub timeout: u64,
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
        /// What it is about to do, in a few words.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        preview: String,
        /// It is done, and did not work.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        failed: bool,
        /// What it has changed in files, as a unified difference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        diff: Option<String>,
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
    /// The model asks something; only where somebody [is there](Question::is_attended).
    Inquired(Inquiry),
    /// That question has an answer.
    Heard {
        /// The choice.
        choice: String,
    },
    /// What was replied answers nothing: the question had its answer, or has run out of time.
    Unheard,
    /// Nothing new.
    Alive,
    /// The end: what became of a change of what is stored.
    Changed(Changed),
    /// The end: who answers here.
    Welcome(Host),
    /// The end: what a command says.
    Told {
        /// For people; may be empty.
        text: String,
        /// What follows.
        #[serde(default)]
        then: Then,
    },
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
            Said::Told { text: "t".to_owned(), then: Then::GoOn { session: "s".to_owned() } },
            Said::Told { text: String::new(), then: Then::Model { chosen: None } },
            Said::Tool {
                name: "patch".to_owned(),
                id: "c".to_owned(),
                done: true,
                preview: String::new(),
                failed: false,
                diff: Some("-a\n+b".to_owned()),
            },
            Said::Inquired(Inquiry { question: "q".to_owned(), choices: Vec::new(), timeout: 9 }),
            Said::Failed { code: "c".to_owned(), message: "m".to_owned(), hint: None, again: true },
        ] {
            let line = serde_json::to_string(&said).unwrap();
            assert_eq!(serde_json::from_str::<Said>(&line).unwrap(), said, "{line}");
        }
        let later = r#"{"said":"thought","text":"hm"}"#;
        assert_eq!(serde_json::from_str::<Said>(later).unwrap(), Said::Unknown);
        let before = r#"{"said":"tool","name":"x","id":"1","done":false}"#;
        assert!(matches!(serde_json::from_str::<Said>(before).unwrap(), Said::Tool { diff: None, .. }));
        let told = r#"{"said":"told","text":"","then":{"then":"later","x":1}}"#;
        assert!(matches!(
            serde_json::from_str::<Said>(told).unwrap(),
            Said::Told { then: Then::Unknown, .. }
        ));
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
