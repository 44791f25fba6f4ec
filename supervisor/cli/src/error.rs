//! Everything a command can end with, in one type: what to print, what to do next, which exit code.
//!
//! `exit_code` and `hint` have no catch-all arm, so a new error must choose both.

use std::io;

use camino::Utf8PathBuf;
use hermes_gateway::app::AppError;
use hermes_gateway::client::ClientError;
use hermes_gateway::instance::{self, InstanceError};
use hermes_gateway::predecessor::Predecessor;
use hermes_host::fault;
use hermes_host::refusal::Io;
use hermes_wire::{ProfileName, exit};

use crate::home::SelectionError;
use crate::migrate::MigrateError;
use crate::profile::error::ProfileError;
use crate::settings::SettingsError;

mod command;
mod edit;
mod logs;
mod update;
mod value;

pub use crate::chat::ChatError;
pub use crate::service::ServiceError;
pub use crate::stored::StoredError;
pub use command::CommandError;
pub use edit::EditError;
pub use logs::LogsError;
pub use update::UpdateError;
pub use value::ValueError;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum HermesError {
    /// No home or profile could be selected.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// A profile could not be made, found, changed or removed.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A setting was not read or changed.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A gateway runs for this home already.
    #[error("{}", already_running(*.pid, .flag))]
    AlreadyRunning {
        /// The holder of the lock.
        pid: u32,
        /// What else belongs to commands about it.
        flag: String,
    },
    /// The Python program's gateway runs for this home.
    #[error("{}", succeeds(.0))]
    Predecessor(Box<Predecessor>),
    /// A gateway holds the lock and does not answer.
    #[error("the gateway of `{home}`{} holds its lock and does not answer", .pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default())]
    Silent {
        /// Its home.
        home: String,
        /// Its process, where it is known.
        pid: Option<u32>,
        /// What else belongs to the command that takes over.
        flag: String,
    },
    /// The instance lock could not be taken.
    #[error("cannot take the instance lock")]
    Instance(#[source] InstanceError),
    /// The live gateway serves this profile, so it may not have one of its own.
    #[error("{}", served(.profile))]
    Served {
        /// The profile.
        profile: ProfileName,
    },
    /// The supervisor could not be asked.
    #[error("cannot ask the gateway")]
    Client(#[source] ClientError),
    /// No gateway runs and the command needs one.
    #[error("no gateway is running for `{home}`")]
    NotRunning {
        /// The root home.
        home: String,
        /// How to start one.
        hint: String,
    },
    /// A gateway that was started in the background ended before it was up.
    #[error("{}", not_started(*.code, .said))]
    NotStarted {
        /// Its exit code, or 128 and the signal that ended it.
        code: u8,
        /// What it printed.
        said: String,
        /// Its log.
        log: Utf8PathBuf,
    },
    /// A command did not do what only it does.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The supervisor said no.
    #[error("{message}")]
    Refused {
        /// The exit code.
        code: u8,
        /// What and why.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
    /// The program, or a gateway that runs it, was not brought up to date.
    #[error(transparent)]
    Update(#[from] UpdateError),
    /// Ctrl-C came first.
    #[error("interrupted; {state}")]
    Interrupted {
        /// How things are left.
        state: &'static str,
        /// The next step.
        hint: Option<&'static str>,
    },
    /// A service manager did not do what it was asked for.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A question got no answer.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// What a profile has stored was not shown or changed.
    #[error(transparent)]
    Stored(#[from] StoredError),
    /// No log was shown.
    #[error(transparent)]
    Logs(#[from] LogsError),
    /// Gateways were not brought together, or apart.
    #[error(transparent)]
    Migrate(#[from] MigrateError),
    /// A file was not edited.
    #[error(transparent)]
    Edit(#[from] EditError),
    /// A value for a setting could not be had.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A profile's home is not there. A text that scripts know.
    #[error("profile directory does not exist: {home}")]
    NoHome {
        /// Where it would be.
        home: Utf8PathBuf,
    },
    /// There is no profile of that name. A text that scripts know.
    #[error("profile '{name}' not found")]
    NoProfile {
        /// The name, as typed.
        name: String,
    },
    /// A first setup is missing, and nobody is there to be asked.
    #[error("Profile '{profile}': {lack}")]
    NotSetUp {
        /// The profile.
        profile: ProfileName,
        /// What it lacks.
        lack: String,
    },
    /// A start would be refused.
    #[error("the gateway would not start: {count} problem{} must be fixed first", if *.count == 1 { "" } else { "s" })]
    CheckFailed {
        /// How many.
        count: usize,
    },
    /// The gateway could not start, or did not end in order.
    #[error(transparent)]
    Gateway(AppError),
    /// The system refused.
    #[error(transparent)]
    System(#[from] Io),
    /// What was asked for did not come about in time.
    #[error("{message}")]
    NotReached {
        /// What is missing.
        message: String,
        /// The next step.
        hint: String,
    },
    /// Standard output cannot be written.
    #[error("cannot write the output")]
    Output(#[from] io::Error),
}

/// First line and advice of 0.19.0, which scripts match.
fn already_running(pid: u32, flag: &str) -> String {
    format!(
        "✗ Another gateway instance is already running (PID {pid}).\n  \
           Use 'hermes gateway restart{flag}' to replace it,\n  \
           or 'hermes gateway stop{flag}' first.\n  \
           Or use 'hermes gateway run --replace{flag}' to auto-replace."
    )
}

/// The first line is 0.19.0's; what takes over is the only way on.
fn succeeds(predecessor: &Predecessor) -> String {
    let Predecessor { pid, command, .. } = predecessor;
    let unit = predecessor.unit().map_or_else(String::new, |(unit, command)| {
        format!("\n  It belongs to {unit}, which may start it again; this ends that: {command}")
    });
    format!(
        "✗ Another gateway instance is already running (PID {pid}).\n  \
           It is the Python program's: {command}\n  \
           Take over from it with '{}'.{unit}",
        predecessor.take_over()
    )
}

/// The first line is 0.19.0's, byte for byte; the commands below it are those that work here.
fn served(profile: &ProfileName) -> String {
    format!(
        "✗ The default gateway is running as a profile multiplexer and already serves profile '{profile}'.\n  \
           When gateway.multiplex_profiles is on, the default gateway is the\n  \
           single inbound process for every profile. Starting a separate\n  \
           gateway for this profile would double-bind its platforms (two\n  \
           pollers on one bot token, port conflicts).\n\
         \n  \
           Manage this profile through the running gateway instead:\n\
         \n    \
             hermes gateway restart -p {profile}\n    \
             hermes gateway stop -p {profile}\n    \
             hermes status -p {profile}\n\
         \n  \
           Pass --force to detach the profile from the running gateway and\n  \
           start a separate gateway for it anyway (not recommended)."
    )
}

/// Its own words, as if it had run here.
fn not_started(code: u8, said: &str) -> String {
    if said.is_empty() {
        format!("the gateway ended with exit code {code} before it was up")
    } else {
        said.to_owned()
    }
}

impl HermesError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Selection(e) => e.exit_code(),
            Self::Profile(e) => e.exit_code(),
            Self::Settings(e) => e.exit_code(),
            Self::AlreadyRunning { .. }
            | Self::Predecessor(_)
            | Self::Output(_)
            | Self::NoHome { .. }
            | Self::NoProfile { .. }
            | Self::NotSetUp { .. }
            // It was to go on.
            | Self::NotStarted { code: exit::OK, .. }
            | Self::NotReached { .. } => exit::FAILURE,
            Self::System(e) if fault::is_of_machine(&e.source) => exit::MACHINE,
            Self::Instance(e) => e.exit_code(),
            Self::Served { .. } | Self::CheckFailed { .. } | Self::System(_) => exit::CONFIG,
            Self::Gateway(e) => e.exit_code(),
            Self::Client(_) | Self::NotRunning { .. } | Self::Silent { .. } => exit::UNAVAILABLE,
            Self::Update(e) => e.exit_code(),
            Self::Service(e) => e.exit_code(),
            Self::Chat(e) => e.exit_code(),
            Self::Stored(e) => e.exit_code(),
            Self::Logs(e) => e.exit_code(),
            Self::Migrate(e) => e.exit_code(),
            Self::Edit(e) => e.exit_code(),
            Self::Value(e) => e.exit_code(),
            Self::Command(e) => e.exit_code(),
            Self::Interrupted { .. } => exit::INTERRUPTED,
            Self::Refused { code, .. } | Self::NotStarted { code, .. } => *code,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Selection(e) => e.hint(),
            Self::Profile(e) => e.hint(),
            Self::Settings(e) => e.hint(),
            Self::AlreadyRunning { .. }
            | Self::Predecessor(_)
            | Self::Served { .. }
            | Self::Output(_)
            | Self::NoHome { .. }
            | Self::NoProfile { .. }
            | Self::System(_) => None,
            Self::Silent { flag, .. } => Some(format!(
                "`hermes gateway run --replace{flag}` takes over; its log is logs/supervisor.log in that home"
            )),
            Self::Instance(e) => Some(e.hint()),
            Self::Client(e) => Some(e.hint()),
            Self::NotRunning { hint, .. } | Self::NotReached { hint, .. } => Some(hint.clone()),
            Self::Refused { hint, .. } => hint.clone(),
            Self::NotStarted { said, log, .. } => said.is_empty().then(|| format!("its log is {log}")),
            Self::Update(e) => Some(e.hint()),
            Self::Migrate(e) => e.hint(),
            Self::Interrupted { hint, .. } => hint.map(str::to_owned),
            Self::Service(e) => e.hint(),
            Self::Chat(e) => e.hint(),
            Self::Stored(e) => e.hint(),
            Self::Logs(e) => e.hint(),
            Self::Edit(e) => e.hint(),
            Self::Value(e) => e.hint(),
            Self::Command(e) => e.hint(),
            Self::NotSetUp { .. } => {
                Some("one of the commands above, or `hermes setup` in a terminal".to_owned())
            }
            Self::CheckFailed { .. } => Some("fix them and run `hermes gateway check` again".to_owned()),
            Self::Gateway(e) => e.hint(),
        }
    }

    /// How the first line begins: texts that scripts know come as they are.
    pub(crate) fn prefix(&self) -> &'static str {
        match self {
            Self::AlreadyRunning { .. } | Self::Predecessor(_) | Self::Served { .. } => "",
            Self::Settings(e) if e.is_known_text() => "",
            Self::Service(e) if e.is_known_text() => "",
            Self::NotStarted { said, .. } if !said.is_empty() => "",
            Self::Migrate(MigrateError::Service(e)) if e.is_known_text() => "",
            _ => "Error: ",
        }
    }
}

impl From<InstanceError> for HermesError {
    fn from(error: InstanceError) -> Self {
        match error {
            InstanceError::AlreadyRunning { pid: Some(pid), lock } => {
                let flag = lock.parent().map(instance::flag_of).unwrap_or_default();
                Self::AlreadyRunning { pid, flag }
            }
            other => Self::Instance(other),
        }
    }
}

impl From<AppError> for HermesError {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Instance(error) => error.into(),
            other => Self::Gateway(other),
        }
    }
}

impl From<ClientError> for HermesError {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { code, message, hint } => Self::Refused { code, message, hint },
            other => Self::Client(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 26: a full disk at the lock is no error of configuration; a lock file that is a directory is one.
    #[test]
    fn what_passes_by_itself_is_not_78() {
        let lock = |source| InstanceError::from(Io::at("write", "/h/gateway.lock")(source));
        for number in [nix::libc::ENOSPC, nix::libc::EMFILE, nix::libc::ENOMEM, nix::libc::EROFS] {
            let error = || io::Error::from_raw_os_error(number);
            assert_eq!(HermesError::from(lock(error())).exit_code(), 71, "{number}");
            let wrapped = io::Error::new(error().kind(), "in a text");
            assert_eq!(HermesError::from(lock(wrapped)).exit_code() == 71, number != nix::libc::EMFILE);
            let source = error();
            let refused = AppError::System { what: "open", object: "/dev/null".to_owned(), source };
            assert_eq!(HermesError::from(refused).exit_code(), 71, "{number}");
        }
        // 2: nobody can be seen who would give it back; `check` says the same.
        let unseen = InstanceError::AlreadyRunning { pid: None, lock: "/h/gateway.lock".into() };
        assert_eq!(HermesError::from(unseen).exit_code(), 78);
        let denied = io::Error::from_raw_os_error(nix::libc::EACCES);
        assert_eq!(HermesError::from(lock(denied)).exit_code(), 78);
    }

    #[test]
    fn texts_that_scripts_match() {
        let served = HermesError::Served { profile: "coder".parse().unwrap() };
        assert_eq!(
            served.to_string().lines().next(),
            Some(
                "✗ The default gateway is running as a profile multiplexer and already serves profile 'coder'."
            )
        );
        assert_eq!(served.exit_code(), 78);
        insta::assert_snapshot!("served", served);
        let running = HermesError::AlreadyRunning { pid: 54, flag: String::new() };
        assert_eq!(running.exit_code(), 1);
        insta::assert_snapshot!("already_running", running);
    }
}
