//! Why a value for a setting could not be had from whoever runs the command.

use hermes_wire::exit;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum ValueError {
    /// It stands nowhere, and nobody is there to be asked.
    #[error("a value for '{key}' is missing")]
    Missing {
        /// The setting.
        key: String,
    },
    /// The question was left, or could not be asked without showing the answer.
    #[error("nothing was changed")]
    Cancelled,
    /// Standard input was empty.
    #[error("standard input held no value for '{key}'")]
    Empty {
        /// The setting.
        key: String,
    },
    /// Standard input is no text.
    #[error("the value of '{key}' is not UTF-8")]
    NotUtf8 {
        /// The setting.
        key: String,
    },
    /// Two are to be read from one standard input.
    #[error("only one value can be read from standard input")]
    Twice,
    /// `--set` without `=`. What was typed is not said: it may be a key.
    #[error("what stands behind `--set` has no `=`")]
    NoPair,
}

impl ValueError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Cancelled => exit::INTERRUPTED,
            Self::Missing { .. } | Self::Empty { .. } | Self::NotUtf8 { .. } | Self::Twice | Self::NoPair => {
                exit::USAGE
            }
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { key } => {
                Some(format!("`hermes config set {key} VALUE`, or `-` to read it from standard input"))
            }
            Self::NoPair => Some("write it as --set model.default=NAME".to_owned()),
            Self::Cancelled | Self::Empty { .. } | Self::NotUtf8 { .. } | Self::Twice => None,
        }
    }
}
