//! Requests of the command line. Answers are those of [`crate::v2::reply`].
//!
//! Up to `Apply` they are those of version 2; what comes behind is not said to a gateway of that version.

use serde::{Deserialize, Serialize};

use crate::ProfileName;
use crate::codec::{self, CodecError};
use crate::message::Message;
use crate::v2::reply::ClientReply;
use crate::version::Version;

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
    /// Serve a profile as soon as the gateway of its own has ended, which whoever asks sees to; wait until it is ready. One `Progress`
    /// says that there is such a gateway, and that it is waited for, also when nobody listens any more.
    Succeed {
        /// Which.
        profile: ProfileName,
    },
}

impl ClientRequest {
    /// The version that it came with.
    fn since(&self) -> Version {
        match self {
            Self::Status { .. }
            | Self::Start { .. }
            | Self::Stop { .. }
            | Self::Restart { .. }
            | Self::Reload
            | Self::Shutdown
            | Self::Detach { .. }
            | Self::Rescan { .. }
            | Self::Release { .. }
            | Self::Renamed { .. }
            | Self::Renew
            | Self::Apply => 2,
            Self::Succeed { .. } => 3,
        }
    }
}

impl Message for ClientRequest {
    fn encode(&self, version: Version) -> Result<Option<Vec<u8>>, CodecError> {
        if version < self.since() { Ok(None) } else { codec::encode(self).map(Some) }
    }

    fn decode(version: Version, bytes: &[u8]) -> Result<Self, CodecError> {
        let request: Self = codec::decode(bytes)?;
        if version < request.since() { Err(CodecError::Newer(request.since())) } else { Ok(request) }
    }
}

impl Message for ClientReply {
    fn encode(&self, _version: Version) -> Result<Option<Vec<u8>>, CodecError> {
        codec::encode(self).map(Some)
    }

    fn decode(_version: Version, bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes)
    }
}
