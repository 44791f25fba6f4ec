//! Why one command did not do what only it does. What a gateway refused is in the gateway's words, and stands elsewhere.

use camino::Utf8PathBuf;
use hermes_wire::{ProfileName, exit};

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// `config check` found what a start would refuse.
    #[error("{count} problem{} must be fixed first", if *.count == 1 { "" } else { "s" })]
    ConfigProblems {
        /// How many.
        count: usize,
    },
    /// `gateway restart` found the same, and restarted nothing.
    #[error("nothing was restarted: the files would not pass a start")]
    NotRestarted,
    /// `setup` would have written what a start refuses.
    #[error("nothing was written, because a start would refuse it: {place}{message}")]
    NotWritten {
        /// File and key, with what separates them from the message; or nothing.
        place: String,
        /// What is wrong.
        message: String,
        /// The problem's own next step.
        fix: Option<String>,
    },
    /// `setup` can ask no questions in this terminal.
    #[error("the wizard cannot ask here: {why}")]
    CannotAsk {
        /// Why not.
        why: String,
    },
    /// `profile describe` without a profile, in 0.19.0's words.
    #[error("profile describe: profile name is required")]
    NoProfileNamed,
    /// `worker` beside the one that the gateway runs.
    #[error("the gateway{} serves profile `{profile}`; two workers must not share a home", numbered(*.pid))]
    WorkedOn {
        /// The gateway.
        pid: Option<u32>,
        /// The profile.
        profile: ProfileName,
        /// Where its worker can be talked to.
        socket: Option<String>,
    },
    /// The gateway that runs does not have the profile.
    #[error("the gateway that runs{} does not serve profile '{profile}': {why}", numbered(*.pid))]
    NotServed {
        /// The gateway.
        pid: Option<u32>,
        /// The profile.
        profile: ProfileName,
        /// Why it does not.
        why: &'static str,
        /// Whether more can be found out.
        is_odd: bool,
    },
    /// `gateway reload` of a profile whose file has no settings of a gateway in force.
    #[error("the settings of a gateway are its default profile's, not those of '{profile}'")]
    NotItsSettings {
        /// The profile.
        profile: ProfileName,
    },
    /// `gateway status --pid` where no process is.
    #[error("no gateway runs for `{home}`")]
    NobodyRuns {
        /// The home.
        home: Utf8PathBuf,
    },
}

fn numbered(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (PID {pid})")).unwrap_or_default()
}

impl CommandError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ConfigProblems { .. }
            | Self::NotRestarted
            | Self::NotWritten { .. }
            | Self::WorkedOn { .. } => exit::CONFIG,
            Self::CannotAsk { .. } => exit::FAILURE,
            Self::NoProfileNamed | Self::NotItsSettings { .. } => exit::USAGE,
            Self::NotServed { .. } => exit::UNAVAILABLE,
            Self::NobodyRuns { .. } => exit::STOPPED,
        }
    }

    /// The next step.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::ConfigProblems { .. } => Some("fix them and run `hermes config check` again".to_owned()),
            Self::NotRestarted => {
                Some("the gateway goes on with what it has; fix the files and try again".to_owned())
            }
            Self::NotWritten { fix, .. } => fix.clone(),
            Self::CannotAsk { .. } => Some("`hermes setup --set KEY=VALUE` asks nothing".to_owned()),
            Self::WorkedOn { profile, socket, .. } => {
                let talk = socket.as_ref().map_or_else(String::new, |socket| {
                    format!(", or talk to its worker: curl --unix-socket {socket} http://worker/health")
                });
                Some(format!("`hermes gateway stop -p {profile}` makes room{talk}"))
            }
            Self::NotServed { profile, is_odd, .. } => {
                let more =
                    if *is_odd { format!("`hermes doctor {profile}` says more; ") } else { String::new() };
                Some(format!("{more}`hermes gateway run -p {profile}` runs a gateway of its own"))
            }
            Self::NotItsSettings { profile } => {
                Some(format!("`hermes gateway restart -p {profile}` replaces the worker of '{profile}'"))
            }
            Self::NoProfileNamed | Self::NobodyRuns { .. } => None,
        }
    }
}
