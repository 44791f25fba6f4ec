//! Why what a profile has stored was not shown or changed.

use std::io;

use camino::Utf8PathBuf;
use hermes_wire::{ProfileName, exit};
use hermes_worker::store::StoreError;
use hermes_worker::stored::Unread;
use hermes_worker::stored::repair::RepairError;

use crate::chat::ChatError;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// It cannot be read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// It cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The worker that serves the profile did not do it.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The worker went away while it was at it.
    #[error("the worker of profile '{profile}' went away before it said what it had done")]
    Lost {
        /// The profile.
        profile: ProfileName,
    },
    /// The Python program's gateway is at work on it.
    #[error(
        "the Python program's gateway (PID {pid}) serves profile '{profile}': what its turns need cannot be seen, so nothing was changed"
    )]
    Predecessor {
        /// The profile.
        profile: ProfileName,
        /// Its process.
        pid: u32,
        /// What takes over from it.
        take_over: String,
    },
    /// There is no such session.
    #[error("Session not found: {name}")]
    NoSession {
        /// As it was typed.
        name: String,
    },
    /// Several sessions begin so.
    #[error("several sessions begin with `{name}`: {}", .ids.join(", "))]
    Several {
        /// As it was typed.
        name: String,
        /// Some of them.
        ids: Vec<String>,
    },
    /// The inbox has no such message.
    #[error("the inbox of profile '{profile}' has no message {id}")]
    NoItem {
        /// The profile.
        profile: ProfileName,
        /// Its number.
        id: i64,
    },
    /// A change was not made, for a reason that was given.
    #[error("{id}: {why}")]
    Kept {
        /// The session's id, or the message's number.
        id: String,
        /// Why not.
        why: String,
    },
    /// Nobody is there to be asked.
    #[error("nothing was changed: nobody is there to say yes")]
    NoConfirmation,
    /// A file was not written.
    #[error("cannot write `{path}`")]
    File {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing was mended.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// A worker has the database open that is to be mended.
    #[error("nothing was mended: a gateway serves profile '{profile}', and its worker has the database open")]
    Served {
        /// The profile.
        profile: ProfileName,
    },
}

impl StoredError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Chat(error) => error.exit_code(),
            Self::NoConfirmation => exit::USAGE,
            Self::Lost { .. }
            | Self::Predecessor { .. }
            | Self::Served { .. }
            | Self::Repair(RepairError::InUse { .. }) => exit::UNAVAILABLE,
            Self::Unread(_)
            | Self::Store(_)
            | Self::NoSession { .. }
            | Self::Several { .. }
            | Self::NoItem { .. }
            | Self::Kept { .. }
            | Self::File { .. }
            | Self::Repair(_) => exit::FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let unread = |error: &Unread| {
            format!(
                "the file is {}: look at its owner and mode; `hermes sessions repair --check` looks it over",
                error.path()
            )
        };
        match self {
            Self::Unread(error) | Self::Repair(RepairError::Unread(error)) => Some(unread(error)),
            Self::Chat(error) => error.hint(),
            Self::Lost { .. } => Some("look whether it is done; asked again it does no harm".to_owned()),
            Self::Predecessor { take_over, .. } => Some(format!("`{take_over}` takes over from it")),
            Self::NoSession { .. } => {
                Some("Use a session ID from a previous run (hermes sessions list).".to_owned())
            }
            Self::Several { .. } => Some("more of the id says which".to_owned()),
            Self::NoItem { .. } => Some(
                "`hermes inbox list --all` shows those there are; what was answered is forgotten after a day, what failed after a week"
                    .to_owned(),
            ),
            Self::NoConfirmation => Some("--yes says it".to_owned()),
            Self::Served { profile } => Some(format!(
                "`hermes gateway stop -p {profile}` ends it, `hermes gateway start -p {profile}` starts it again"
            )),
            Self::Repair(RepairError::InUse { .. }) => {
                Some("end the program that has it open: `hermes status` names gateways".to_owned())
            }
            Self::Store(_) | Self::Kept { .. } | Self::File { .. } | Self::Repair(_) => None,
        }
    }
}
