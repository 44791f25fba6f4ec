//! Why no log is shown. Texts are 0.19.0's where it has one.

use camino::Utf8PathBuf;
use hermes_wire::{ProfileName, exit};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// No such log.
    #[error("Unknown log: '{name}'. Available: {}", .known.join(", "))]
    Unknown {
        /// What was typed.
        name: String,
        /// What there is.
        known: Vec<String>,
        /// It is a profile's name.
        profile: Option<ProfileName>,
    },
    /// Neither a time nor an age.
    #[error("Invalid {option} value: '{text}'. Use format like '1h', '30m', '2d'.")]
    Time {
        /// `--since` or `--until`.
        option: &'static str,
        /// What was typed.
        text: String,
    },
    /// No level.
    #[error("Invalid --level: '{0}'. Use DEBUG, INFO, WARNING, ERROR, or CRITICAL.")]
    Level(String),
    /// No regular expression, or one that would take too much.
    #[error("Invalid --grep: {0}")]
    Pattern(String),
    /// There is no such file.
    #[error("Log file not found: {file}")]
    NotFound {
        /// Where it would be.
        file: Utf8PathBuf,
    },
    /// `-p` and `--all`.
    #[error("`--all` is about every profile, and `-p` about one")]
    OneAndAll,
}

impl LogsError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::OneAndAll | Self::Pattern(_) => exit::USAGE,
            Self::Unknown { .. } | Self::Time { .. } | Self::Level(_) | Self::NotFound { .. } => {
                exit::FAILURE
            }
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { profile: Some(profile), .. } => {
                Some(format!("'{profile}' is a profile: `hermes logs -p {profile}`"))
            }
            Self::Time { .. } => Some(
                "also a time: 2026-11-21, '2026-11-21 07:30', 07:30, yesterday, 2026-11-21T07:30:00Z"
                    .to_owned(),
            ),
            Self::NotFound { .. } => {
                Some("logs are made when the profile runs; `hermes logs list` shows what is there".to_owned())
            }
            Self::OneAndAll => Some("give one of the two".to_owned()),
            Self::Unknown { .. } | Self::Level(_) | Self::Pattern(_) => None,
        }
    }
}
