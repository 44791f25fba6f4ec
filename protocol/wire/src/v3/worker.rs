//! The supervisor and one worker, over the control pair.
//!
//! ```text
//! worker                                   supervisor
//!   Offer  ------------------------------->            (handshake.rs)
//!          <------------------------------- Answer
//!          <------------------------------- Prepare    claim key, generation, role, listeners known so far
//!   Report ------------------------------->            claims, problems, exclusive platforms, settings (default only)
//!          <------------------------------- Admit      final listeners  (or Refuse: exit 78; or Rest: exit 0)
//!   Ready  ------------------------------->            data socket served; exclusive platforms are not waited for
//!   Heartbeat … every interval ----------->            for as long as it lives
//!          <------------------------------- Connect    no other process of this profile is connected
//!   Connected{platform} ------------------>            one for every exclusive platform, whenever its connection stands
//!          <------------------------------- Yield      confirm what was accepted, close
//!   Yielded ------------------------------>            nothing is connected, and will not be before the next Connect
//!   Idle --------------------------------->            nothing to do for as long as `gateway.idle_timeout` says
//!   Restart ------------------------------>            somebody asked for another worker: as the command of the terminal
//!          <------------------------------- StopAccepting
//!   AcceptStopped ------------------------>            from now on no new connection is taken
//!          <------------------------------- Drain      the supervisor has dropped its idle connections (or Rest)
//!   Drained ------------------------------>            then the process exits 0
//! ```
//!
//! **Exclusive platforms** are those whose connection must never stand twice (a bot that polls). A worker connects them after
//! `Connect` only, which is sent once no other process of the profile can be connected: each of them has said `Yielded`, or is
//! dead. `Connect` may come before `Ready` or after it, and more than once. A worker that is about to end yields by itself and
//! says so (`Yielded` unasked); a `Connect` that crosses it changes nothing any more.
//!
//! **Sleep.** A worker whose profile runs on demand says `Idle`, and again every while for as long as it is true; it never does while
//! it holds anything that only a process can: a connection, work. `Rest` ends it as `Drain` does. What its files said it leaves in its
//! status file, with [`Prepare::stamp`], for a gateway that need not start it to know; if it has work after all, it leaves nothing and
//! exits with 75.
//!
//! End of file means the other process is gone: a worker then drains by itself and exits.

use serde::{Deserialize, Serialize};

use super::parts::Prepare;
use super::report::Report;
use crate::v2::parts::{Admit, Heartbeat, LastError};

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
    /// Nobody needs this process for now: as `Drain`, or instead of `Admit`, and leave word of it.
    Rest {
        /// Milliseconds until the supervisor stops waiting.
        deadline_ms: u64,
    },
}

/// Worker to supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "the report comes once, and whoever keeps a message boxes it")]
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
    /// It runs on demand and has had nothing to do for as long as its settings say.
    Idle,
    /// Somebody who may has asked, in a chat, for this worker to be replaced by another one.
    Restart,
}
