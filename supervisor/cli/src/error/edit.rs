//! Why `config.yaml` was not edited.

use std::io;

use camino::Utf8PathBuf;
use hermes_wire::exit;

use crate::settings::SettingsError;

/// How an editor is chosen.
const CHOICE: &str = "set EDITOR to a command: EDITOR='code --wait' hermes config edit";

/// Why not. Where something was typed, it is kept in the copy at `kept`.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// What the user names as editor has no words.
    #[error("the editor `{line}` is not a command")]
    NotACommand {
        /// As it was named.
        line: String,
    },
    /// Nobody can type.
    #[error("there is no terminal for an editor")]
    NoTerminal,
    /// None is named and none is found.
    #[error("there is no editor: neither EDITOR nor VISUAL is set")]
    NoEditor,
    /// The editor does not start.
    #[error("cannot start the editor `{program}`: {why}")]
    NotStarted {
        /// Its name.
        program: String,
        /// Why not.
        why: io::Error,
    },
    /// The editor started and ended with an error.
    #[error("the editor `{program}` {how}; {file} is as it was")]
    Failed {
        /// Its name.
        program: String,
        /// How it ended.
        how: String,
        /// What was to be edited.
        file: Utf8PathBuf,
        /// What was typed; none where nothing was.
        kept: Option<Utf8PathBuf>,
    },
    /// What was typed cannot be read.
    #[error("what was written cannot be used: {place}\n{file} is as it was")]
    Unreadable {
        /// File, line and column of the mistake, and what it is.
        place: String,
        /// What was to be edited.
        file: Utf8PathBuf,
        /// What was typed.
        kept: Utf8PathBuf,
    },
    /// What was typed could not take the file's place.
    #[error("{why}; what you wrote is in {kept}")]
    NotSaved {
        /// Why not.
        why: SettingsError,
        /// What was to be edited.
        file: Utf8PathBuf,
        /// What was typed.
        kept: Utf8PathBuf,
    },
}

impl EditError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotSaved { why, .. } => why.exit_code(),
            Self::NotACommand { .. }
            | Self::NoTerminal
            | Self::NoEditor
            | Self::NotStarted { .. }
            | Self::Failed { .. }
            | Self::Unreadable { .. } => exit::FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let kept_in = |kept| format!("what you wrote is kept in {kept}");
        match self {
            Self::NotACommand { .. } | Self::NoTerminal | Self::NoEditor | Self::NotStarted { .. } => {
                Some(CHOICE.to_owned())
            }
            Self::Failed { kept, .. } => kept.as_ref().map(kept_in),
            Self::Unreadable { kept, .. } => Some(kept_in(kept)),
            Self::NotSaved { file, .. } => Some(format!("compare it with {file} and try again")),
        }
    }
}
