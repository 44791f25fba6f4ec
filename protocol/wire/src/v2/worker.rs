//! The supervisor and one worker, over the control pair, as version 2 has it. How it goes today, and what the messages mean, is in
//! [`crate::v3::worker`].

use serde::{Deserialize, Serialize};

use super::parts::{Admit, Claim, GatewaySettings, Heartbeat, LastError, Prepare, Problem};
use crate::ProfileName;

/// Supervisor to worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToWorker {
    /// First message.
    Prepare(Prepare),
    /// Go: serve, and connect every platform that is not exclusive.
    Admit(Admit),
    /// Do not serve; exit with 78.
    Refuse {
        /// Why, for the worker's log and status file.
        reason: String,
    },
    /// Accept no new connection on the data socket, claim nothing new from the inbox.
    StopAccepting,
    /// Finish what runs within the time, then exit 0.
    Drain {
        /// Milliseconds until the supervisor stops waiting. Zero interrupts at once.
        deadline_ms: u64,
    },
    /// Claim nothing more from the inbox: the gateway stops. Requests that are on their way still start their turns.
    StopClaiming,
    /// Exclusive platforms may connect from now on. Said again, it changes nothing.
    Connect,
    /// Confirm to exclusive platforms what was accepted from them, close their connections, do not reconnect, say `Yielded`.
    Yield {
        /// Milliseconds until a connection that does not close in order is to be cut. The process of a worker that does not
        /// answer soon after is ended.
        within_ms: u64,
    },
}

/// Worker to supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FromWorker {
    /// Answer to `Prepare`.
    Report(Report),
    /// Serving.
    Ready,
    /// Still alive.
    Heartbeat(Heartbeat),
    /// Answer to `StopAccepting`.
    AcceptStopped,
    /// Everything is finished; the process exits 0 next.
    Drained,
    /// Ready, and something that its files ask for does not work: readiness stays, state becomes `degraded`. Nothing in it ends
    /// that.
    Degraded {
        /// Names of platforms that are configured and not connected.
        platforms: Vec<String>,
        /// What is wrong in the files; one of the report's problems.
        reason: Option<String>,
        /// The provider's last failure, until a call succeeds.
        last_error: Option<LastError>,
    },
    /// Why the process is about to end unasked. Its status file says the same, where the disk takes it.
    LastWords {
        /// One sentence, with its causes.
        reason: String,
    },
    /// Answer to `Yield`, or unasked before the end: no exclusive platform is connected, and none connects before a `Connect`
    /// that comes after this. Unasked, none ever does.
    Yielded,
    /// The connection of an exclusive platform stands.
    Connected {
        /// Its name, one of [`Report::exclusive`].
        platform: String,
    },
}

/// The worker's view of its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// Exclusive identities this worker will use.
    pub claims: Vec<Claim>,
    /// Everything that is wrong or odd.
    pub problems: Vec<Problem>,
    /// The gateway's settings; from the primary only.
    pub gateway: Option<GatewaySettings>,
    /// Configured platforms whose connection must never stand twice.
    pub exclusive: Vec<String>,
    /// To whom this worker may hand events of its platforms; from `default` only.
    pub hand_over: Vec<HandOver>,
    /// Every platform that can be reached through a listener, configured or not; from the primary only.
    pub families: Vec<Family>,
}

/// The paths of a platform that is reached over HTTP: the listeners on which it was configured serve them and no others.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Family {
    /// Its name.
    pub platform: String,
    /// Its paths, without prefix; one that ends with `/` stands for everything below it.
    pub paths: Vec<String>,
    /// It is the agent's own API: web pages may call it.
    pub is_api: bool,
}

/// Events of a platform that may be handed to a profile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HandOver {
    /// The platform that they come in by.
    pub platform: String,
    /// Whose inbox takes them.
    pub profile: ProfileName,
}
