//! Why a profile could not be made, found, changed or removed. Texts are those that scripts know.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use camino::Utf8PathBuf;
use hermes_host::refusal::Io;
use hermes_wire::profile::NameError;
use hermes_wire::{ProfileName, exit};

use super::alias::AliasError;
use super::copy::CopyError;
use crate::archive::ArchiveError;

/// Most lines about one kind of thing.
const LINES: usize = 20;

/// See the variants.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// Not a name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is none of that name.
    #[error("Profile '{0}' does not exist.")]
    Missing(ProfileName),
    /// The same, where making it is what the user may want.
    #[error("Profile '{0}' does not exist. Create it with: hermes profile create {0}")]
    MissingToUse(ProfileName),
    /// The name is taken.
    #[error("Profile '{name}' already exists at {path}")]
    Exists {
        /// As typed.
        name: String,
        /// Where.
        path: Utf8PathBuf,
    },
    /// The new name of a rename.
    #[error("Profile '{0}' already exists.")]
    Taken(ProfileName),
    /// `rename default` to what cannot be shown.
    #[error("A display name is one line of 1 to 64 characters.")]
    DisplayName,
    /// `rename x default`.
    #[error("Cannot rename to 'default' — it is reserved.")]
    RenameToDefault,
    /// `delete default`.
    #[error(
        "Cannot delete the default profile (~/.hermes).\nTo remove everything, remove that directory yourself."
    )]
    DeleteDefault,
    /// Nobody can be asked.
    #[error("deleting a profile needs a confirmation, and standard input has none")]
    NoConfirmation,
    /// `create default`.
    #[error("Cannot create a profile named 'default' — it is the built-in profile (~/.hermes).")]
    CreateDefault,
    /// The source of a copy.
    #[error("Source profile '{name}' does not exist at {path}")]
    SourceMissing {
        /// Its name.
        name: ProfileName,
        /// Where it would be.
        path: Utf8PathBuf,
    },
    /// Two flags that contradict each other.
    #[error(
        "--no-skills is mutually exclusive with --clone / --clone-from / --clone-all (cloning explicitly copies skills from the source profile)."
    )]
    NoSkillsWithClone,
    /// Channels can only be copied together with something.
    #[error("--clone-channels needs --clone, --clone-from or --clone-all")]
    ChannelsWithoutClone,
    /// The source's bots are in use.
    #[error(
        "Cannot copy the channels of profile '{0}' while a gateway serves it: both would connect with the same credentials."
    )]
    ChannelsInUse(ProfileName),
    /// They may be, and who knows does not answer.
    #[error(
        "Cannot copy the channels of profile '{0}': a gateway of all profiles runs and does not say whether it serves that one."
    )]
    ChannelsPerhapsInUse(ProfileName),
    /// A file that should be changed cannot be read as what it is.
    #[error("cannot change `{path}`: {why}")]
    Unreadable {
        /// The file.
        path: Utf8PathBuf,
        /// Why, with the place.
        why: String,
    },
    /// A copy without channels, of a file in which nobody can tell what belongs to one.
    #[error("cannot leave the channels out of a copy of `{path}`: {why}")]
    Channels {
        /// The file.
        path: Utf8PathBuf,
        /// Why not, with the place.
        why: String,
    },
    /// An alias was asked for and cannot be made.
    #[error(transparent)]
    Alias(#[from] AliasError),
    /// An entry could not be copied; nothing was made.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// `import` of nothing.
    #[error("Archive not found: {0}")]
    ArchiveMissing(Utf8PathBuf),
    /// `import` of something else, or of what is damaged.
    #[error("not a gzip tar archive: {path}")]
    NotAnArchive {
        /// As typed.
        path: Utf8PathBuf,
        /// What it is instead.
        #[source]
        source: ArchiveError,
    },
    /// A member that is refused, or a limit.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// No top directory, or several, and no name.
    #[error(
        "Cannot determine profile name from archive. Specify it explicitly: hermes profile import <archive> --name <name>"
    )]
    NoName,
    /// No top directory, or several, for one name.
    #[error("Profile archive must contain exactly one top-level directory.")]
    ManyRoots,
    /// `import` as `default`.
    #[error(
        "Cannot import as 'default' — that is the built-in root profile (~/.hermes). Specify a different name: hermes profile import <archive> --name <name>"
    )]
    ImportDefault,
    /// An entry could not be put into an archive; none was made.
    #[error("cannot export `{path}`")]
    Export {
        /// The entry.
        path: Utf8PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The finished archive holds what must not leave; it was thrown away.
    #[error("the archive would hold values of credentials:{}", leaks(found))]
    Leaks {
        /// Members, and the names of the values in each.
        found: Vec<(String, BTreeSet<String>)>,
    },
    /// So many values that nobody could search for all of them.
    #[error("{0} values of credentials are more than an archive can be searched for")]
    TooManyValues(usize),
    /// Ctrl-C, or the like; nothing was made.
    #[error("interrupted; nothing was changed")]
    Interrupted,
    /// The system refused.
    #[error(transparent)]
    Io(#[from] Io),
}

/// One line for each member.
fn leaks(found: &[(String, BTreeSet<String>)]) -> String {
    let mut text = String::new();
    for (member, names) in found.iter().take(LINES) {
        let names: Vec<&str> = names.iter().take(LINES).map(String::as_str).collect();
        let _ = write!(text, "\n  {member}: {}", names.join(", "));
    }
    if found.len() > LINES {
        let _ = write!(text, "\n  and {} more", found.len() - LINES);
    }
    text
}

impl ProfileError {
    /// For use in `map_err`.
    pub(crate) fn io(doing: &'static str, path: impl Into<Utf8PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let refused = Io::at(doing, path);
        move |source| refused(source).into()
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ChannelsWithoutClone | Self::NoConfirmation => exit::USAGE,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Name(_)
            | Self::Missing(_)
            | Self::MissingToUse(_)
            | Self::Exists { .. }
            | Self::CreateDefault
            | Self::Taken(_)
            | Self::DisplayName
            | Self::RenameToDefault
            | Self::DeleteDefault
            | Self::SourceMissing { .. }
            | Self::NoSkillsWithClone
            | Self::ChannelsInUse(_)
            | Self::ChannelsPerhapsInUse(_)
            | Self::Unreadable { .. }
            | Self::Channels { .. }
            | Self::Alias(_)
            | Self::Copy(_)
            | Self::ArchiveMissing(_)
            | Self::NotAnArchive { .. }
            | Self::Archive(_)
            | Self::NoName
            | Self::ManyRoots
            | Self::ImportDefault
            | Self::Export { .. }
            | Self::Leaks { .. }
            | Self::TooManyValues(_)
            | Self::Io(_) => exit::FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing(_) => Some("`hermes profile list` shows the profiles there are".to_owned()),
            Self::ChannelsInUse(name) => {
                Some(format!("leave out --clone-channels, or stop it first: hermes gateway stop -p {name}"))
            }
            Self::ChannelsPerhapsInUse(_) => {
                Some("leave out --clone-channels, or stop that gateway first: hermes gateway stop".to_owned())
            }
            Self::Unreadable { .. } => Some("correct the file first; it was left as it is".to_owned()),
            Self::Channels { .. } => Some(
                "nothing was made; correct the file, or copy it as it is, with its bots: --clone-channels"
                    .to_owned(),
            ),
            Self::NotAnArchive { .. } => {
                Some("gzip, zstd and plain tar are read; nothing was imported".to_owned())
            }
            Self::Archive(ArchiveError::UnsupportedType { what, .. }) => {
                Some(format!("it is {what}; nothing was imported"))
            }
            Self::Archive(_) => Some("nothing was imported".to_owned()),
            Self::Export { .. } => {
                Some("no archive was written; correct that entry and try again".to_owned())
            }
            Self::Leaks { .. } => Some(
                "no archive was written; remove them there, or say that one is no secret: --allow NAME"
                    .to_owned(),
            ),
            Self::TooManyValues(_) => {
                Some("no archive was written; move what is no setting out of .env".to_owned())
            }
            Self::Copy(_) => Some("nothing was made; correct that entry and try again".to_owned()),
            Self::Io(_) => Some("check owner, mode and free space".to_owned()),
            Self::NoConfirmation => Some("add --yes".to_owned()),
            Self::Name(_)
            | Self::MissingToUse(_)
            | Self::Exists { .. }
            | Self::CreateDefault
            | Self::Taken(_)
            | Self::DisplayName
            | Self::RenameToDefault
            | Self::DeleteDefault
            | Self::SourceMissing { .. }
            | Self::NoSkillsWithClone
            | Self::ChannelsWithoutClone
            | Self::Alias(_)
            | Self::ArchiveMissing(_)
            | Self::NoName
            | Self::ManyRoots
            | Self::ImportDefault
            | Self::Interrupted => None,
        }
    }
}
