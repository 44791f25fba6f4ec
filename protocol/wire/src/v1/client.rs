//! The command line and the supervisor, over `supervisor.sock`.
//!
//! One request a connection. The supervisor answers with any number of `Progress`, `Gateway` and `Profile` frames and exactly
//! one final `Done` or `Refused`, then closes. Status travels as JSON (the very objects of `hermes status --json`), one frame a
//! profile, so that a thousand profiles fit and a field more breaks nobody.

use serde::{Deserialize, Serialize};

use crate::ProfileName;

/// What a command asks of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientRequest {
    /// Send status: of everything, or of one profile.
    Status {
        /// The only profile wanted.
        profile: Option<ProfileName>,
    },
    /// Start a profile that was stopped, and wait until it is ready.
    Start {
        /// Which.
        profile: ProfileName,
    },
    /// Stop a profile, remember that, and wait until its process is gone.
    Stop {
        /// Which.
        profile: ProfileName,
    },
    /// Replace a profile's worker without a gap, and wait until the new one is ready.
    Restart {
        /// Which.
        profile: ProfileName,
    },
    /// Look at the homes again, and replace every worker one after the other.
    Reload,
    /// Stop accepting new turns everywhere, keep running.
    Drain {
        /// `false` ends a drain.
        on: bool,
    },
    /// Stop the gateway in order.
    Shutdown,
    /// Hand a profile to a gateway of its own: stop its worker, answer its prefix with 503.
    Detach {
        /// Which.
        profile: ProfileName,
    },
    /// Look at the homes now instead of when the watch does, and answer when that profile is ready, or gone.
    Rescan {
        /// Who is waited for.
        profile: Option<ProfileName>,
    },
    /// Send nobody there, end its worker, and do not start another one for as long as this connection is open. One `Progress`
    /// says that the worker is gone; the final frame never comes, the client hangs up.
    Release {
        /// Which; it need not exist.
        profile: ProfileName,
    },
    /// A released profile's home has another name now: what was remembered of it holds for the new name. Then as `Rescan`.
    Renamed {
        /// The old name.
        from: ProfileName,
        /// The new name.
        to: ProfileName,
    },
    /// Become the program that is on disk now: drain, end every worker, execute it in the same process with the listening
    /// sockets open, start the workers of that one. `Done` comes before any of it; a `Progress` before that says that the
    /// request came from inside a worker, whose end its sender must not wait for.
    Renew,
    /// Put what the primary's files say now into force as a whole, also what that takes away: replace the primary's worker, and
    /// wait until the new one is ready and who is not served any more is gone.
    Apply,
}

/// One frame of the supervisor's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientReply {
    /// One line for people while the request is carried out.
    Progress(String),
    /// JSON of [`crate::contract::gateway_status::Gateway`].
    Gateway(String),
    /// JSON of [`crate::contract::gateway_status::Profile`].
    Profile(String),
    /// Carried out; one line for people, possibly empty.
    Done(String),
    /// Not carried out.
    Refused {
        /// The exit code the command ends with.
        code: u8,
        /// What and why.
        message: String,
        /// The next step.
        hint: Option<String>,
    },
}
