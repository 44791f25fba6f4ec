//! Why one command did not do what only it does. What a gateway refused is in the gateway's words, and stands elsewhere.

use camino::Utf8PathBuf;
use hermes_host::pairing::PairingError;
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
    /// `gateway start --take-over` of a profile whose bot somebody uses who is not to be ended.
    #[error("the {bot} stays with process {pid}, as `{file}` says: {why}")]
    BotStays {
        /// What it is called.
        bot: String,
        /// Who has it.
        pid: u32,
        /// The file that says so.
        file: Utf8PathBuf,
        /// Why that one is not ended.
        why: String,
        /// What makes it let go.
        way: String,
    },
    /// `gateway reload` of a profile whose file has no settings of a gateway in force.
    #[error("the settings of a gateway are its default profile's, not those of '{profile}'")]
    NotItsSettings {
        /// The profile.
        profile: ProfileName,
    },
    /// `top` where there is no terminal.
    #[error("`hermes top` needs a terminal")]
    NoTerminal,
    /// `skills enable` and `disable` of a skill that there is not.
    #[error("profile '{profile}' has no skill `{name}`")]
    NoSuchSkill {
        /// The profile.
        profile: ProfileName,
        /// The name.
        name: String,
    },
    /// No tool server of that name.
    #[error("profile '{profile}' has no tool server `{name}`")]
    NoSuchServer {
        /// The profile.
        profile: ProfileName,
        /// The name.
        name: String,
    },
    /// `mcp add` of something that is no tool server.
    #[error("the tool server `{name}` was not added: {why}")]
    NoServer {
        /// The name.
        name: String,
        /// Why not.
        why: String,
    },
    /// A command that only reads needs a file that can be used.
    #[error("`{file}` cannot be used as it is")]
    UnusableConfig {
        /// Which.
        file: Utf8PathBuf,
    },
    /// `tools enable` and `disable` of a group that there is not.
    #[error("there is no toolset `{name}`")]
    NoSuchToolset {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// `setup --platform` of one whose setup nobody wrote down.
    #[error("nobody says how a platform `{name}` is set up")]
    NoGuide {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A platform that nobody knows.
    #[error("there is no platform `{name}`")]
    NoSuchPlatform {
        /// The name.
        name: String,
    },
    /// `tools enable` for a platform, of what stays off there.
    #[error("toolset `{name}` would stay off on {platform}: {why}")]
    StaysOff {
        /// The group.
        name: String,
        /// The platform.
        platform: String,
        /// Why.
        why: String,
    },
    /// `skills install` of something that is no skill, or cannot be one here.
    #[error("`{path}` was not installed: {why}")]
    NotInstalled {
        /// What was to be installed.
        path: Utf8PathBuf,
        /// Why not.
        why: String,
        /// The next step.
        hint: Option<&'static str>,
    },
    /// A profile's files are needed and cannot be used.
    #[error("`{file}` cannot be used: {message}")]
    Unusable {
        /// The file.
        file: Utf8PathBuf,
        /// What is wrong.
        message: String,
    },
    /// `model` has nothing to show, or to set.
    #[error("{message}")]
    NoModel {
        /// What and why.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
    /// The files of pairing cannot be used.
    #[error("nobody knows who was let in")]
    Pairing(#[source] PairingError),
    /// A word that cannot be a platform.
    #[error("`{name}` is no name of a platform")]
    NoPlatformName {
        /// The word.
        name: String,
    },
    /// `pairing approve` with a code that nobody has.
    #[error("Code '{code}' not found or expired for platform '{platform}'.")]
    NoSuchCode {
        /// As it was typed.
        code: String,
        /// The platform.
        platform: String,
    },
    /// `pairing approve` after too many of them.
    #[error(
        "Platform '{platform}' is locked out after too many failed approval attempts.\nLockout clears in ~{minutes} minute(s)."
    )]
    LockedOut {
        /// The platform.
        platform: String,
        /// How long.
        minutes: u64,
    },
    /// `whatsapp` could not do it.
    #[error("{what}")]
    WhatsApp {
        /// What is in the way.
        what: String,
        /// The next step.
        next: Option<String>,
    },
    /// `pairing revoke` of somebody who was not let in.
    #[error("User {user_id} not found in approved list for {platform}.")]
    NotApproved {
        /// Who.
        user_id: String,
        /// The platform.
        platform: String,
        /// An allowlist names him.
        listed: bool,
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

impl From<PairingError> for CommandError {
    fn from(error: PairingError) -> Self {
        match error {
            PairingError::Platform(name) => Self::NoPlatformName { name },
            error => Self::Pairing(error),
        }
    }
}

impl CommandError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::ConfigProblems { .. }
            | Self::NotRestarted
            | Self::NotWritten { .. }
            | Self::BotStays { .. }
            | Self::Unusable { .. }
            | Self::UnusableConfig { .. }
            | Self::WorkedOn { .. } => exit::CONFIG,
            Self::CannotAsk { .. }
            | Self::NoSuchSkill { .. }
            | Self::NoSuchServer { .. }
            | Self::NoServer { .. }
            | Self::NoSuchToolset { .. }
            | Self::NoSuchPlatform { .. }
            | Self::NoGuide { .. }
            | Self::StaysOff { .. }
            | Self::NotInstalled { .. }
            | Self::Pairing(
                PairingError::Read { .. }
                | PairingError::Shape { .. }
                | PairingError::Write { .. }
                | PairingError::Locked { .. }
                | PairingError::Random(_),
            )
            | Self::NoSuchCode { .. }
            | Self::LockedOut { .. }
            | Self::WhatsApp { .. }
            | Self::NotApproved { .. }
            | Self::NoModel { .. } => exit::FAILURE,
            Self::Pairing(PairingError::Platform(_))
            | Self::NoPlatformName { .. }
            | Self::NoProfileNamed
            | Self::NotItsSettings { .. }
            | Self::NoTerminal => exit::USAGE,
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
            Self::NoSuchCode { .. } => Some("Run 'hermes pairing list' to see pending requests.".to_owned()),
            Self::LockedOut { .. } => {
                Some("`hermes pairing approve PLATFORM --request REQUEST` asks for no code".to_owned())
            }
            Self::WhatsApp { next, .. } => next.clone(),
            Self::NotApproved { listed, .. } => listed.then(|| {
                "an allowlist in config.yaml or .env names them, or everybody: that is changed there"
                    .to_owned()
            }),
            Self::NotServed { profile, is_odd, .. } => {
                let more =
                    if *is_odd { format!("`hermes doctor {profile}` says more; ") } else { String::new() };
                Some(format!("{more}`hermes gateway run -p {profile}` runs a gateway of its own"))
            }
            Self::BotStays { way, .. } => Some(way.clone()),
            Self::NotItsSettings { profile } => {
                Some(format!("`hermes gateway restart -p {profile}` replaces the worker of '{profile}'"))
            }
            Self::NoTerminal => {
                Some("`hermes status --watch` shows the same, and `--json` is for programs".to_owned())
            }
            Self::NoSuchSkill { profile, .. } => {
                Some(format!("`hermes skills list -p {profile}` names those that it has"))
            }
            Self::NoSuchServer { profile, .. } => {
                Some(format!("`hermes -p {profile} mcp list` names those that it has"))
            }
            Self::UnusableConfig { .. } => {
                Some("`hermes config check` says what is wrong with it".to_owned())
            }
            Self::NoSuchToolset { known, .. } => Some(format!("there are {}", known.join(", "))),
            Self::NoGuide { known, .. } => Some(format!("there are {known}")),
            Self::NoSuchPlatform { .. } => {
                Some("`hermes tools` shows those of the profile; `cli` is the terminal".to_owned())
            }
            Self::StaysOff { name, .. } => {
                Some(format!("`hermes tools enable {name}` takes it from agent.disabled_toolsets first"))
            }
            Self::NotInstalled { hint, .. } => hint.map(str::to_owned),
            Self::Unusable { .. } => Some("`hermes config check` says everything that is wrong".to_owned()),
            Self::NoModel { hint, .. } => hint.clone(),
            Self::NoPlatformName { .. } => {
                Some("`hermes pairing list` shows who asked, and on which platform".to_owned())
            }
            Self::Pairing(_) | Self::NoServer { .. } | Self::NoProfileNamed | Self::NobodyRuns { .. } => None,
        }
    }
}
