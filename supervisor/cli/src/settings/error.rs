//! Why a setting was not read or changed. No text carries a value.

use std::io;

use camino::Utf8PathBuf;
use hermes_config::path::PathError;
use hermes_host::refusal::Io;
use hermes_wire::exit;

/// See the variants.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Not a key.
    #[error("'{typed}' is not a key: {why}")]
    Key {
        /// As typed.
        typed: String,
        /// Why not.
        why: PathError,
    },
    /// An item named as in a program.
    #[error("'{typed}' is not a key: items of a list are numbered with dots, '{dotted}'")]
    Brackets {
        /// As typed.
        typed: String,
        /// The spelling that works.
        dotted: String,
    },
    /// What is set would keep the profile from starting.
    #[error("'{key}' was not set: a start would refuse the profile: {why}")]
    Refused {
        /// The key.
        key: String,
        /// What a start says; quotes no secret.
        why: String,
    },
    /// Nobody says anything about it.
    #[error("Config key not set: {key}")]
    NotSet {
        /// As typed.
        key: String,
        /// The key or variable that says the same.
        instead: Option<String>,
    },
    /// A package manager owns the files.
    #[error("{0}")]
    PackageManaged(String),
    /// An administrator does.
    #[error(
        "Cannot {doing} '{key}': it is managed by your administrator ({file}) and cannot be changed. Contact your administrator to modify it."
    )]
    Administrator {
        /// `set` or `unset`.
        doing: &'static str,
        /// As typed.
        key: String,
        /// The administrator's file.
        file: Utf8PathBuf,
    },
    /// A file that is not what it should be; it was not touched.
    #[error("cannot read `{file}`: {why}")]
    Unreadable {
        /// The file.
        file: Utf8PathBuf,
        /// Why, with line and column where there are some.
        why: String,
    },
    /// The value is not JSON.
    #[error("the value of '{key}' is not JSON: {why}")]
    Json {
        /// As typed.
        key: String,
        /// Where and what; quotes no value.
        why: String,
    },
    /// More than anybody means.
    #[error("the value of '{0}' is too long")]
    TooLong(String),
    /// A whole section would be lost.
    #[error("'{key}' holds a mapping, which the value would replace")]
    MappingInTheWay {
        /// As typed.
        key: String,
    },
    /// An index where there is no such item.
    #[error("'{key}' is not an item of an existing list in `{file}`")]
    NoSuchItem {
        /// As far as the item.
        key: String,
        /// The file.
        file: Utf8PathBuf,
        /// What to do instead.
        advice: String,
    },
    /// The text has a form that cannot be changed in place.
    #[error(
        "'{key}' cannot be changed in `{file}` without changing something else (an alias, an anchor or a merge key)"
    )]
    Entangled {
        /// As typed.
        key: String,
        /// The file.
        file: Utf8PathBuf,
    },
    /// A variable that may not be written.
    #[error("{why}")]
    Variable {
        /// What is wrong with it.
        why: String,
    },
    /// Somebody else changed the file meanwhile; nothing was written.
    #[error("`{0}` was changed by somebody else meanwhile; nothing was written")]
    Changed(Utf8PathBuf),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] Io),
}

impl SettingsError {
    pub(crate) fn io(doing: &'static str, path: impl Into<Utf8PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let refused = Io::at(doing, path);
        move |source| refused(source).into()
    }

    /// 2 for what cannot be a key or value, else 1, as 0.19.0 does.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Key { .. } | Self::Brackets { .. } | Self::Json { .. } => exit::USAGE,
            Self::Refused { .. } => exit::CONFIG,
            Self::NotSet { .. }
            | Self::PackageManaged(_)
            | Self::Administrator { .. }
            | Self::Unreadable { .. }
            | Self::TooLong(_)
            | Self::MappingInTheWay { .. }
            | Self::NoSuchItem { .. }
            | Self::Entangled { .. }
            | Self::Variable { .. }
            | Self::Changed(_)
            | Self::Io(_) => exit::FAILURE,
        }
    }

    /// Whether the text is 0.19.0's and stands alone.
    pub fn is_known_text(&self) -> bool {
        matches!(self, Self::NotSet { .. } | Self::PackageManaged(_) | Self::Administrator { .. })
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Key { .. } => {
                "keys are names with dots between them: `model.default`; a name with a dot in it stands in quotes: \
                 'a.\"b.c\".d'"
            }
            Self::Unreadable { why, .. } if why.contains("column") => {
                "the file was not touched; correct it (`hermes config edit`) and try again"
            }
            Self::Unreadable { .. } => "the file was not touched; correct it and try again",
            Self::Json { .. } => {
                "quote it for your shell: '[\"a\", \"b\"]'; a text needs its own quotes: '\"a\"'"
            }
            Self::MappingInTheWay { key } => {
                return Some(format!(
                    "name one of its keys, or remove it first: `hermes config unset {key}`"
                ));
            }
            Self::NoSuchItem { advice, .. } => return Some(advice.clone()),
            Self::Entangled { .. } => "change it by hand: `hermes config edit`",
            Self::Brackets { dotted, .. } => return Some(format!("type '{dotted}'")),
            Self::Refused { .. } => {
                "`--force` writes it all the same; `hermes config check` says what is wrong already"
            }
            Self::Changed(_) => "try again",
            Self::Io(_) => "check the directory's owner, mode and free space",
            Self::NotSet { instead, .. } => {
                return instead.as_ref().map(|by| format!("'{by}' says the same"));
            }
            Self::PackageManaged(_)
            | Self::Administrator { .. }
            | Self::TooLong(_)
            | Self::Variable { .. } => return None,
        };
        Some(text.to_owned())
    }
}
