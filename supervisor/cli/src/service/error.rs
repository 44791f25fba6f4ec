//! Why a service manager did not do what it was asked for.

use std::io;

use camino::Utf8PathBuf;
use hermes_wire::exit;

use super::{Exit, Scope};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A file that is there and cannot be read.
    #[error("the unit {file} cannot be read")]
    Unreadable {
        /// Which.
        file: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The manager does not answer. The first line is 0.19.0's.
    #[error("✗ {scope} systemd not reachable:\n  {why}")]
    Unreachable {
        /// `User` or `System`.
        scope: &'static str,
        /// What it said.
        why: String,
        /// What helps.
        fix: String,
    },
    /// The manager is there, and does not do what it is asked for.
    #[error("launchd cannot manage the gateway here: {why}")]
    Unmanageable {
        /// What was asked, and what it said.
        why: String,
    },
    /// The system's services are root's.
    #[error("System gateway {verb} requires root. Re-run with sudo.")]
    NeedsRoot {
        /// What was to be done.
        verb: &'static str,
    },
    /// There is none. In the Python program's words.
    #[error("the gateway service is not installed")]
    NotInstalled {
        /// Whose.
        scope: Scope,
        /// ` -p coder`, for commands about it.
        flag: String,
    },
    /// launchd has no services of the machine here.
    #[error(
        "launchd starts gateways with their user's session; services of the machine are not installed here"
    )]
    NoMachineScope,
    /// The file of this program, which a unit would start.
    #[error("the file of this program cannot be found")]
    NoProgram {
        /// Why not.
        source: io::Error,
    },
    /// Nobody knows where units belong: the user has no home.
    #[error("units of the user belong into his home, and HOME is not set")]
    NoDirectory,
    /// A file was not written.
    #[error("cannot {what} the unit {file}")]
    File {
        /// What was being done.
        what: &'static str,
        /// To which.
        file: Utf8PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A path has a character that ends a line.
    #[error("`{}` cannot stand in a unit: it has a character that ends a line", .value.escape_default())]
    Unwritable {
        /// The path.
        value: String,
    },
    /// Every name is a unit of another home.
    #[error(
        "the unit {file} is another home's, and so is the other name that this home's could have; nothing was written"
    )]
    NameTaken {
        /// The first.
        file: Utf8PathBuf,
    },
    /// This gateway has a unit already that `install` did not write.
    #[error("the unit {file} was not written by this program{}; nothing was changed", if *.python { ", and starts the Python program's gateway" } else { "" })]
    SomebodyElses {
        /// Which.
        file: Utf8PathBuf,
        /// It starts the Python program.
        python: bool,
    },
    /// A unit of that name belongs to another home.
    #[error("the unit {file} {}; nothing was removed", .home.as_ref().map_or_else(|| "starts no gateway".to_owned(), |home| format!("belongs to another home, {home}")))]
    AnotherHomes {
        /// Which.
        file: Utf8PathBuf,
        /// Whose.
        home: Option<Utf8PathBuf>,
    },
    /// The manager starts it by itself, or does not, and that could not be changed.
    #[error("{name} is installed, and is not {}: {why}", if *.wanted { "enabled" } else { "disabled" })]
    NotEnabled {
        /// Which.
        name: String,
        /// It was to start by itself.
        wanted: bool,
        /// What it said.
        why: String,
    },
    /// The user's services end when he logs out, and that could not be changed.
    #[error("linger cannot be enabled for {user}: {why}")]
    NoLinger {
        /// Who.
        user: String,
        /// What was said.
        why: String,
    },
    /// A home that does not outlive the machine's next start. The text is 0.19.0's.
    #[error(
        "✗ Refusing to write the gateway {what}: HERMES_HOME resolves to a temporary directory ({home})."
    )]
    Temporary {
        /// `systemd unit`, or `launchd plist`.
        what: &'static str,
        /// The home.
        home: Utf8PathBuf,
    },
    /// Root was not named. The text is 0.19.0's.
    #[error(
        "Refusing to install the gateway system service as root; pass --run-as-user root to override (e.g. in LXC containers)"
    )]
    AsRoot,
    /// There is no such user. The text is 0.19.0's.
    #[error("Unknown user: {user}")]
    UnknownUser {
        /// As typed.
        user: String,
    },
    /// It was asked, and the service is not as it should be.
    #[error("the {service} {what}{}", reason(.result.as_deref(), *.exit))]
    NotReached {
        /// Its scope and name.
        service: String,
        /// What is missing: `did not start`.
        what: &'static str,
        /// The manager's word for it.
        result: Option<String>,
        /// How its main process ended.
        exit: Option<Exit>,
        /// The next step.
        next: String,
    },
}

pub(super) fn reason(result: Option<&str>, exit: Option<Exit>) -> String {
    match (exit, result) {
        (Some(Exit::Code(78)), _) => ": its configuration is refused (exit code 78)".to_owned(),
        (Some(Exit::Code(code)), _) if code != 0 => format!(": exit code {code}"),
        (Some(Exit::Signal(number)), _) => {
            let name = nix::sys::signal::Signal::try_from(number)
                .map_or_else(|_| number.to_string(), |s| s.to_string());
            format!(": ended by {name}")
        }
        (_, Some(result)) => format!(": {result}"),
        _ => String::new(),
    }
}

impl ServiceError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotReached { exit: Some(Exit::Code(78)), .. } => exit::CONFIG,
            _ => exit::FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => Some("check its owner and mode".to_owned()),
            Self::Unreachable { fix, .. } => Some(fix.clone()),
            Self::NoProgram { .. } => Some("install it again".to_owned()),
            Self::NoDirectory => {
                Some("set HOME, or install the system's service: `sudo hermes gateway install --system`".to_owned())
            }
            Self::File { .. } => Some("check owner and mode of the directory, and free space".to_owned()),
            Self::Unwritable { .. } => Some("move it to a path without such characters".to_owned()),
            Self::NameTaken { .. } => Some("look at both, and remove the one that nobody needs".to_owned()),
            Self::SomebodyElses { .. } => {
                Some("`hermes gateway install --force` replaces it, and keeps the old one beside it".to_owned())
            }
            Self::AnotherHomes { home: Some(home), .. } => {
                Some(format!("with HERMES_HOME={home} set, `hermes gateway uninstall` removes it"))
            }
            Self::AnotherHomes { home: None, .. } => Some("look at it, and remove it by hand".to_owned()),
            Self::NoLinger { user, .. } => Some(format!("`sudo loginctl enable-linger {user}`; the service itself is installed")),
            Self::NotEnabled { name, wanted, .. } => {
                let verb = if *wanted { "enable" } else { "disable" };
                Some(format!("`systemctl --user {verb} {name}` says more"))
            }
            Self::Temporary { .. } => Some(
                "a service would start with a home that the system removes: set HERMES_HOME to a directory that stays"
                    .to_owned(),
            ),
            Self::UnknownUser { .. } => Some("`getent passwd` lists the users of this machine".to_owned()),
            Self::NotInstalled { scope, flag } => {
                let (sudo, system) = if *scope == Scope::System { ("sudo ", " --system") } else { ("", "") };
                Some(format!("`{sudo}hermes gateway install{system}{flag}` installs it"))
            }
            Self::NoMachineScope => Some("leave --system out".to_owned()),
            Self::NeedsRoot { .. } | Self::AsRoot => None,
            Self::Unmanageable { .. } => Some(
                "`hermes gateway run` runs it without launchd: it is not started again then, nor at login"
                    .to_owned(),
            ),
            Self::NotReached { next, .. } => Some(next.clone()),
        }
    }

    /// Whether its text is one that scripts know, and stands as it is.
    pub(crate) fn is_known_text(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::NeedsRoot { .. }
                | Self::Temporary { .. }
                | Self::AsRoot
                | Self::UnknownUser { .. }
        )
    }
}
