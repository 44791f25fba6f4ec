//! Why the program, or a gateway that runs it, was not brought up to date.

use camino::Utf8PathBuf;
use hermes_wire::exit;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// Somebody else's to update.
    #[error("Cannot update hermes: this installation is managed by {by}.")]
    Managed {
        /// Whose.
        by: String,
        /// How it is done there.
        next: String,
    },
    /// Nobody knows who put it there.
    #[error("The program itself was not updated: cargo did not install this file.")]
    NotByCargo {
        /// What is to be done instead.
        next: String,
    },
    /// What cargo built it from is gone.
    #[error("cargo installed hermes from the directory {path}, which is gone; nothing was changed")]
    SourceGone {
        /// The directory.
        path: Utf8PathBuf,
    },
    /// No cargo.
    #[error("cargo, which installed hermes, is not on the PATH; nothing was changed")]
    NoCargo {
        /// The command that would have been run.
        command: String,
    },
    /// Cargo ended with an error.
    #[error("cargo install did not succeed ({why}); {state}")]
    CargoFailed {
        /// How it ended.
        why: String,
        /// What became of the program.
        state: &'static str,
        /// The command that was run.
        command: String,
    },
    /// What was installed is not what it should be.
    #[error("the installed program `{exe}` does not say its version ({why})")]
    NoVersion {
        /// The file.
        exe: Utf8PathBuf,
        /// What it did instead.
        why: String,
    },
    /// The file is no gateway.
    #[error(
        "`{program}` is no gateway that could be taken up ({why}); the gateway (PID {pid}) goes on with the program before"
    )]
    NoGateway {
        /// The file.
        program: Utf8PathBuf,
        /// What it did instead.
        why: String,
        /// The gateway.
        pid: u32,
        /// What else belongs to commands about it.
        flag: String,
    },
    /// The new program refuses the files.
    #[error(
        "the new program would not start the gateway (PID {pid}), which goes on with the one before ({said})"
    )]
    WouldNotStart {
        /// The exit code that the new program chose.
        code: u8,
        /// The gateway.
        pid: u32,
        /// What the new program said.
        said: String,
        /// The new program.
        program: Utf8PathBuf,
        /// What else belongs to commands about the gateway.
        flag: String,
    },
    /// One of the two does not know the request.
    #[error(
        "the gateway (PID {pid}) cannot take up the program on disk in place: one of the two is of an older release"
    )]
    TooOld {
        /// The gateway.
        pid: u32,
        /// The command that restarts it.
        restart: String,
    },
    /// It is gone.
    #[error("the gateway (PID {pid}) ended while it took up the new program")]
    Ended {
        /// The gateway.
        pid: u32,
        /// Its log.
        log: Utf8PathBuf,
        /// The command that starts it again.
        restart: String,
    },
    /// It runs the image it ran before.
    #[error("the gateway (PID {pid}) could not go on as `{program}` and runs the program before{}", said(.why.as_deref()))]
    NotExecuted {
        /// The gateway.
        pid: u32,
        /// The file.
        program: Utf8PathBuf,
        /// What the gateway says about it.
        why: Option<String>,
        /// The gateway's log.
        log: Utf8PathBuf,
    },
    /// It is gone, with the new program.
    #[error("the gateway (PID {pid}) ended after it had taken up the new program")]
    EndedAfterwards {
        /// The gateway.
        pid: u32,
        /// Its log.
        log: Utf8PathBuf,
    },
}

fn said(why: Option<&str>) -> String {
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

impl UpdateError {
    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::WouldNotStart { code, .. } => *code,
            Self::Managed { .. }
            | Self::NotByCargo { .. }
            | Self::SourceGone { .. }
            | Self::NoCargo { .. }
            | Self::CargoFailed { .. }
            | Self::NoVersion { .. }
            | Self::NoGateway { .. }
            | Self::TooOld { .. }
            | Self::Ended { .. }
            | Self::NotExecuted { .. }
            | Self::EndedAfterwards { .. } => exit::FAILURE,
        }
    }

    /// The next step.
    pub fn hint(&self) -> String {
        match self {
            Self::Managed { next, .. } => {
                format!("{next}; then `hermes update --skills-only` brings the new skills")
            }
            Self::NotByCargo { next } => next.clone(),
            Self::SourceGone { .. } => {
                "put the source there again, or install from another place with `cargo install --locked`"
                    .to_owned()
            }
            Self::NoCargo { command } => format!("where it is: {command}"),
            Self::CargoFailed { command, .. } => {
                format!("its messages are above; the command was: {command}")
            }
            Self::NoVersion { exe, .. } => {
                format!("run `{exe} --version` to see why; skills and gateways were left alone")
            }
            Self::NoGateway { flag, .. } => {
                format!("install hermes there again; then `hermes gateway restart{flag}`")
            }
            Self::WouldNotStart { program, flag, .. } => format!(
                "`{program} gateway check{flag}` says it again; then `hermes gateway restart{flag}` brings the gateway to it"
            ),
            Self::TooOld { restart, .. } => format!("restart it: {restart}"),
            Self::Ended { log, restart, .. } => {
                format!("its log says why: {log}; this starts it again: {restart}")
            }
            Self::NotExecuted { log, .. } | Self::EndedAfterwards { log, .. } => {
                format!("its log says why: {log}")
            }
        }
    }
}
