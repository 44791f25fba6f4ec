//! Why a question at a terminal got no answer.

use std::io;

use camino::Utf8PathBuf;
use hermes_gateway::client::ClientError;
use hermes_wire::{ProfileName, exit};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum ChatError {
    /// There is nothing to ask, and nobody who could.
    #[error("there is no question to ask, and standard input and output are no terminal")]
    NoQuestion,
    /// The terminal cannot be read.
    #[error("the terminal cannot be used")]
    Terminal {
        /// Why not.
        source: io::Error,
    },
    /// A text is not text.
    #[error("standard input is not UTF-8")]
    NotUtf8,
    /// A text is too long to be sent.
    #[error("the question is longer than {} MB", .most >> 20)]
    TooLong {
        /// The limit in bytes.
        most: u64,
    },
    /// The worker says why there is no answer.
    #[error("{message}")]
    Failed {
        /// For programs.
        code: String,
        /// What and why.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
    /// The gateway could not be asked who serves the profile.
    #[error("cannot ask the gateway who serves profile '{profile}'")]
    Gateway {
        /// The profile.
        profile: ProfileName,
        /// Why not.
        source: ClientError,
    },
    /// No worker could be started.
    #[error("cannot start a worker for profile '{profile}'")]
    NotStarted {
        /// The profile.
        profile: ProfileName,
        /// Why not.
        source: io::Error,
    },
    /// The worker that was started ended at once.
    #[error("the worker of profile '{profile}' ended before it answered{}", .said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Ended {
        /// The profile.
        profile: ProfileName,
        /// What it printed.
        said: Option<String>,
        /// Its log.
        log: Utf8PathBuf,
    },
    /// The connection broke again and again.
    #[error("the worker of profile '{profile}' was lost {times} times while it answered")]
    Lost {
        /// The profile.
        profile: ProfileName,
        /// How often.
        times: u32,
        /// Its log.
        log: Utf8PathBuf,
    },
    /// Nothing was heard.
    #[error("the worker of profile '{profile}' says nothing: {why}")]
    Silent {
        /// The profile.
        profile: ProfileName,
        /// What is known.
        why: String,
    },
    /// No gateway serves the profile, and the command is about its worker.
    #[error("no gateway serves profile '{profile}', so no worker keeps its requests")]
    NotServed {
        /// The profile.
        profile: ProfileName,
    },
    /// The gateway runs an older program.
    #[error("the worker of profile '{profile}' is of an older release, which cannot be asked")]
    Older {
        /// The profile.
        profile: ProfileName,
    },
    /// A file was not written.
    #[error("cannot write `{path}`")]
    Dump {
        /// The file.
        path: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl ChatError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoQuestion => exit::USAGE,
            Self::NotServed { .. } | Self::Older { .. } | Self::Gateway { .. } => exit::UNAVAILABLE,
            _ => exit::FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let looking = |log: &Utf8PathBuf| {
            Some(format!("its log is {log}; `hermes config check` says what is wrong with its files"))
        };
        match self {
            Self::NoQuestion => Some(
                "`hermes chat -q TEXT` asks one question and prints the answer; `hermes chat --continue -q TEXT` goes on".to_owned(),
            ),
            Self::TooLong { .. } => Some("put the text into a file of the profile's workspace and name it".to_owned()),
            Self::Failed { hint, .. } => hint.clone(),
            Self::Gateway { source, .. } => Some(source.hint()),
            Self::Ended { log, .. } | Self::Lost { log, .. } => looking(log),
            Self::Silent { profile, .. } => Some(format!("`hermes why {profile}` says what keeps it")),
            Self::NotServed { .. } => Some(
                "`hermes gateway run` serves it; `hermes chat -q TEXT --dump FILE` keeps the requests of one question without a gateway"
                    .to_owned(),
            ),
            Self::Older { .. } => Some("`hermes gateway restart` brings it to this release".to_owned()),
            Self::NotUtf8 | Self::Terminal { .. } | Self::NotStarted { .. } | Self::Dump { .. } => None,
        }
    }
}
