//! What became of a `set` or `unset`, and what the user should know about it.

use std::fmt;

use camino::Utf8PathBuf;
use hermes_config::mask;
use hermes_wire::latest::Problem;
use hermes_wire::text::is_unseen;
use serde_json::Value as Json;

/// Most characters of a value that are printed.
const SHOWN: usize = 200;

/// A value that was set or removed in a draft.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// The key, as typed, or as it is stored where that differs.
    pub(crate) key: String,
    /// The file it belongs to.
    pub(crate) file: Utf8PathBuf,
    /// The value; `None` for variables and for removals, whose values are not shown.
    pub(crate) value: Option<Json>,
    /// What else there is to say.
    pub(crate) notes: Vec<Note>,
}

/// Something worth saying about a change that was made all the same.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note {
    /// Nobody reads that key.
    Unknown {
        /// The key.
        key: String,
        /// What it may have been meant to be.
        close: Option<String>,
    },
    /// The value is not of the key's type.
    Mismatch {
        /// The key.
        key: String,
        /// What it must be.
        wanted: String,
    },
    /// A value gave way to a mapping.
    Replaced {
        /// Its key.
        key: String,
    },
    /// Written under another name.
    StoredAs {
        /// As typed.
        typed: String,
        /// As written.
        stored: String,
    },
    /// Something else wins over it.
    Beaten {
        /// The key.
        key: String,
        /// A variable or another key.
        by: String,
        /// Where that stands.
        file: Utf8PathBuf,
    },
    /// The key is still set, at another place.
    StillSet {
        /// The key.
        key: String,
        /// The other place.
        by: String,
        /// Where that stands.
        file: Utf8PathBuf,
    },
    /// The variable that says the same was changed as well.
    Mirrored {
        /// Its name.
        variable: &'static str,
    },
    /// Copies of an old secret were replaced too.
    Rotated {
        /// Their keys in `config.yaml`.
        keys: Vec<String>,
    },
    /// Line ends cannot stand in `.env`.
    LineEnds,
    /// Others can read what should be private.
    Loose {
        /// The file.
        file: Utf8PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Others could read it, and it holds a secret now.
    Tightened {
        /// The file.
        file: Utf8PathBuf,
        /// The mode it had.
        mode: u32,
    },
    /// It was not UTF-8 and is now.
    Encoding {
        /// The file.
        file: Utf8PathBuf,
        /// What it was.
        was: &'static str,
    },
    /// What a start would say now and did not before.
    Problem(Box<Problem>),
}

impl Change {
    /// `✓ Set a.b = True in FILE`, secrets masked; without a value for variables.
    pub(crate) fn echo(&self) -> String {
        match &self.value {
            Some(value) => {
                let last = self.key.rsplit('.').next().unwrap_or(&self.key);
                let value = literal(&mask::masked(last.trim_matches(['"', '\'']), value), true);
                let value = match value.char_indices().nth(SHOWN) {
                    Some((end, _)) => format!("{}…", &value[..end]),
                    None => value,
                };
                format!("✓ Set {} = {value} in {}", self.key, self.file)
            }
            None => format!("✓ Set {} in {}", self.key, self.file),
        }
    }

    /// `✓ Unset KEY from FILE`
    pub(crate) fn farewell(&self) -> String {
        format!("✓ Unset {} from {}", self.key, self.file)
    }
}

impl From<Problem> for Note {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl Note {
    /// Whether it is the one that `--force` silences.
    pub(crate) fn is_about_an_unknown_key(&self) -> bool {
        matches!(self, Self::Unknown { .. })
    }
}

/// A value as 0.19.0 prints it: Python's words.
fn literal(value: &Json, outermost: bool) -> String {
    match value {
        Json::Null => "None".to_owned(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::Number(number) => number.to_string(),
        Json::String(text) => {
            let text = text.replace(is_unseen, "␣");
            if outermost { text } else { format!("'{text}'") }
        }
        Json::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| literal(item, false)).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) => {
            let entries: Vec<_> =
                map.iter().map(|(key, value)| format!("'{key}': {}", literal(value, false))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { key, close } => {
                write!(
                    f,
                    "⚠ '{key}' is not a recognized config key — it was saved anyway, but Hermes may not read it."
                )?;
                if let Some(close) = close {
                    write!(f, "\n  Did you mean: {close}")?;
                }
                Ok(())
            }
            Self::Mismatch { key, wanted } => {
                write!(f, "⚠ '{key}' must be {wanted}, which this is not; it was saved as it is.")
            }
            Self::Replaced { key } => {
                write!(f, "⚠ '{key}' had a value of its own, which gave way to a mapping.")
            }
            Self::StoredAs { typed, stored } => write!(f, "Note: '{typed}' is stored as '{stored}'."),
            Self::Beaten { key, by, file } => write!(f, "⚠ '{by}' in {file} wins over '{key}'."),
            Self::StillSet { key, by, file } => write!(f, "⚠ '{key}' is still set, by '{by}' in {file}."),
            Self::Mirrored { variable } => write!(f, "Note: {variable} in .env was changed with it."),
            Self::Rotated { keys } => {
                write!(
                    f,
                    "Note: the old value also stood in config.yaml and was replaced there: {}.",
                    keys.join(", ")
                )
            }
            Self::LineEnds => f.write_str("Note: line ends in the value were dropped."),
            Self::Loose { file, mode } => {
                write!(f, "⚠ others can read {file} (mode {mode:04o}); `chmod 600 {file}` makes it private.")
            }
            Self::Tightened { file, mode } => {
                write!(f, "Note: others could read {file} (mode {mode:04o}); now only you can (0600).")
            }
            Self::Encoding { file, was } => write!(f, "Note: {file} was {was}; it is UTF-8 now."),
            Self::Problem(problem) => f.write_str(crate::status::render::problem(None, problem).trim_end()),
        }
    }
}
