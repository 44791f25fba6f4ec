//! What a worker process is asked to do. The command line itself belongs to the supervisor crate; this is its plain result.

use std::net::SocketAddr;

use hermes_wire::{ProfileHome, ProfileName};

/// Arguments of one worker process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerArgs {
    /// The profile it serves (`--profile`).
    pub profile: ProfileName,
    /// That profile's home, absolute.
    pub home: ProfileHome,
    /// What to do with it.
    pub mode: Mode,
}

/// What a worker process does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Started by a supervisor: descriptors `data` and `control` are inherited.
    Supervised,
    /// In the foreground, without a supervisor, to debug one profile.
    Standalone {
        /// Address of its HTTP listener; `None` = any free port on the loopback interface.
        http: Option<SocketAddr>,
    },
    /// `--routes-for NAME`: prints, as JSON, the webhook routes of `profile`'s file that belong to NAME, and exits.
    RoutesFor(ProfileName),
    /// `--settle-identity`: moves the sessions of a renamed home to its name, and exits.
    SettleIdentity,
    /// `--terminal`: serves one command at a terminal, whose connection is standard input, and ends with it.
    Terminal,
    /// `--ask-models`: asks the provider for its list of models, prints it as JSON, and exits.
    AskModels {
        /// Another provider than the profile's.
        provider: Option<String>,
    },
    /// `hermes mcp test` or `login`: does one thing about a tool server, and exits.
    Server {
        /// Its name.
        name: String,
        /// What.
        task: ServerTask,
    },
    /// `--ask-platforms`: asks the services of its platforms, or of one, prints what came of it as JSON, and exits.
    AskPlatforms {
        /// That one alone.
        only: Option<String>,
        /// The gateway has a port on which services can call; none: nobody knows.
        webhooks: Option<bool>,
    },
    /// `--ask-provider`: asks the provider once, prints what came of it as JSON, and exits.
    AskProvider,
    /// `--try-fence`: tries what can be around programs that it starts, or the rung of that name alone, prints what came of it as JSON, and exits.
    TryFence(String),
}

/// What is done about one tool server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerTask {
    /// It is connected to once.
    Test {
        /// For programs.
        json: bool,
    },
    /// Somebody logs in to it.
    Login {
        /// A browser may be opened.
        browser: bool,
    },
}
