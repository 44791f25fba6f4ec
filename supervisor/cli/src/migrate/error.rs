//! Why gateways were not brought together, or apart.

use std::io;

use camino::{Utf8Path, Utf8PathBuf};
use hermes_gateway::client::ClientError;
use hermes_host::refusal::Io;
use hermes_wire::{ProfileName, exit};

use crate::service::ServiceError;
use crate::settings::SettingsError;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Something stands against it; nothing was changed.
    #[error("nothing was changed: {count} obstacle{}", if *.count == 1 { "" } else { "s" })]
    Obstacles {
        /// How many.
        count: usize,
    },
    /// Nobody is there to be asked.
    #[error("nothing was changed: a migration needs a confirmation, and standard input has none")]
    Unconfirmed,
    /// There is nothing to go back to.
    #[error("there is no migration to take back: {file} does not exist")]
    NeverMigrated {
        /// Where it would be written down.
        file: Utf8PathBuf,
    },
    /// What was written down cannot be read.
    #[error("what there was before cannot be read from {file}: {why}")]
    Torn {
        /// The file.
        file: Utf8PathBuf,
        /// Why not.
        why: String,
    },
    /// A step did not come to its end.
    #[error("{what} did not come about: {why}")]
    Step {
        /// Whose it was.
        profile: Option<ProfileName>,
        /// What was to be.
        what: String,
        /// Why it is not.
        why: String,
    },
    /// It failed, and everything is as it was.
    #[error("the migration failed, and everything is as it was before")]
    RolledBack(#[source] Box<MigrateError>),
    /// It failed, and so did the way back.
    #[error("the migration failed ({failure}), and not everything is as it was before")]
    Stuck {
        /// Why it failed.
        failure: String,
        /// Why the way back did, too.
        source: Box<MigrateError>,
    },
    /// Not everybody serves.
    #[error("not ready: {}", .names.join(", "))]
    NotReady {
        /// Who.
        names: Vec<String>,
    },
    /// A service manager did not do it.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The flag was not set.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A gateway could not be asked.
    #[error("cannot ask the gateway")]
    Client(#[from] ClientError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] Io),
}

impl MigrateError {
    /// A failure of the system.
    pub(crate) fn io(doing: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> Self {
        let at = Io::at(doing, path);
        move |source| Self::System(at(source))
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Obstacles { .. } => exit::CONFIG,
            Self::Settings(e) => e.exit_code(),
            Self::Service(e) => e.exit_code(),
            Self::Unconfirmed
            | Self::NeverMigrated { .. }
            | Self::Torn { .. }
            | Self::Step { .. }
            | Self::RolledBack(_)
            | Self::Stuck { .. }
            | Self::NotReady { .. }
            | Self::Client(_)
            | Self::System(_) => exit::FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Obstacles { .. } => "remove them and run `hermes gateway migrate` again".to_owned(),
            Self::Unconfirmed => "`hermes gateway migrate --dry-run` shows what would be done; `--yes` does it".to_owned(),
            Self::NeverMigrated { .. } => {
                "`hermes config set gateway.multiplex_profiles false` and `hermes gateway restart` serve one profile again"
                    .to_owned()
            }
            Self::Torn { file, .. } => format!(
                "by hand: `hermes config set gateway.multiplex_profiles false`, `hermes -p NAME gateway install` for each profile, `hermes gateway restart`; then remove {file}"
            ),
            Self::Step { profile: Some(profile), .. } => {
                format!("`hermes status {profile}` shows more; `hermes gateway migrate` goes on, `--rollback` goes back")
            }
            Self::Step { profile: None, .. } => {
                "`hermes status` shows more; `hermes gateway migrate` goes on, `--rollback` goes back".to_owned()
            }
            Self::RolledBack(cause) => {
                return cause.hint().filter(|_| !matches!(**cause, Self::Step { .. })).or_else(|| {
                    Some("remove the cause and run `hermes gateway migrate` again; `--keep-going` goes on without such a profile".to_owned())
                });
            }
            Self::Stuck { .. } => "`hermes gateway migrate --rollback` tries the way back again".to_owned(),
            Self::NotReady { .. } => "`hermes status` shows why; `hermes gateway migrate --rollback` goes back".to_owned(),
            Self::Service(e) => return e.hint(),
            Self::Settings(e) => return e.hint(),
            Self::Client(e) => e.hint(),
            Self::System(_) => "check owner, mode and free space".to_owned(),
        })
    }
}
