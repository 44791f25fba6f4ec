//! What an adapter received, and what became of it.

use std::pin::Pin;
use std::time::Duration;

use crate::access::Facts;
use crate::inbound::Inbound;
use crate::store::StoreError;

pub use crate::outgoing::answer::ByteStream;

/// Pause between two offers.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Begins to fetch something.
pub type Open =
    Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<ByteStream, Unfetched>> + Send>> + Send>;

/// Why something that came with a message is not to be had. For people; holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfetched {
    /// It is gone, or never was: another try cannot help.
    #[error("{0}")]
    Gone(String),
    /// Another try may help.
    #[error("{0}")]
    Away(String),
}

/// Something that came with a message, fetched when it is wanted.
pub struct Attached {
    /// Its name, as the sender has it.
    pub name: String,
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub length: u64,
    /// How to get them.
    pub open: Open,
}

/// What an adapter received.
pub struct Arrived {
    /// The message, with [`delivery`](Inbound::delivery) as an answer through this adapter's platform needs it.
    pub event: Inbound,
    /// Server, team or space.
    pub guild_id: Option<String>,
    /// The chat that a thread or a post belongs to.
    pub parent_chat_id: Option<String>,
    /// What came with it.
    pub attachments: Vec<Attached>,
    /// What is known of whoever wrote it.
    pub facts: Facts,
    /// It was made of several messages: the ids of the others, in the scope of its own.
    pub also: Vec<String>,
}

impl From<Inbound> for Arrived {
    fn from(event: Inbound) -> Self {
        Self {
            event,
            guild_id: None,
            parent_chat_id: None,
            attachments: Vec::new(),
            facts: Facts::default(),
            also: Vec::new(),
        }
    }
}

/// What became of an event. In every case it can be confirmed to the platform; but for the last two it is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It will be answered, by whoever is to answer it.
    New,
    /// It was known already.
    Known,
    /// Nobody will answer it; it is kept with the reason.
    Buried,
    /// Too many of its chat wait: nobody will answer it, and its sender is to be told.
    Full,
    /// Its sender may not talk to the profile, and has heard of that what he is to hear.
    TurnedAway,
}

/// What is said to somebody whose message is one too many.
pub(crate) const TOO_MANY: &str = "Too many messages wait here already; this one was not taken.";

/// The event is still the platform's: it is not to be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// To be offered again.
    #[error("{reason}")]
    Later {
        /// When.
        after: Duration,
        /// For people.
        reason: String,
    },
    /// The inbox does not take it.
    #[error("the inbox cannot take it")]
    Store(#[from] StoreError),
}

impl NotTaken {
    /// How long to wait before it is offered again, and why, for people. A lock that is held, a disk that is full: that passes, and the
    /// connection is not to blame.
    ///
    /// # Errors
    ///
    /// The store fails in a way that waiting does not mend.
    pub(crate) fn wait(self) -> Result<(Duration, String), StoreError> {
        match self {
            Self::Later { after, reason } => Ok((after, reason)),
            Self::Store(error) if error.is_of_machine() => Ok((AGAIN, error.reason())),
            Self::Store(error) => Err(error),
        }
    }
}
