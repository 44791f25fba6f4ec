//! Requests of the command line. Answers are those of [`crate::v1::client`].

use serde::{Deserialize, Serialize};

use crate::ProfileName;
use crate::codec::{self, CodecError};
use crate::message::Message;
use crate::v1::client as v1;
use crate::v1::client::ClientReply;
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
}

impl Message for ClientRequest {
    fn encode(&self, version: Version) -> Result<Option<Vec<u8>>, CodecError> {
        if version < 2 { codec::encode(&v1::ClientRequest::from(self.clone())) } else { codec::encode(self) }
            .map(Some)
    }

    fn decode(version: Version, bytes: &[u8]) -> Result<Self, CodecError> {
        if version < 2 { codec::decode::<v1::ClientRequest>(bytes)?.try_into() } else { codec::decode(bytes) }
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

impl TryFrom<v1::ClientRequest> for ClientRequest {
    type Error = CodecError;

    fn try_from(old: v1::ClientRequest) -> Result<Self, CodecError> {
        use v1::ClientRequest as V1;
        Ok(match old {
            V1::Status { profile } => Self::Status { profile },
            V1::Start { profile } => Self::Start { profile },
            V1::Stop { profile } => Self::Stop { profile },
            V1::Restart { profile } => Self::Restart { profile },
            V1::Reload => Self::Reload,
            V1::Drain { .. } => return Err(CodecError::Retired("Drain")),
            V1::Shutdown => Self::Shutdown,
            V1::Detach { profile } => Self::Detach { profile },
            V1::Rescan { profile } => Self::Rescan { profile },
            V1::Release { profile } => Self::Release { profile },
            V1::Renamed { from, to } => Self::Renamed { from, to },
            V1::Renew => Self::Renew,
            V1::Apply => Self::Apply,
        })
    }
}

impl From<ClientRequest> for v1::ClientRequest {
    fn from(new: ClientRequest) -> Self {
        use ClientRequest as V2;
        match new {
            V2::Status { profile } => Self::Status { profile },
            V2::Start { profile } => Self::Start { profile },
            V2::Stop { profile } => Self::Stop { profile },
            V2::Restart { profile } => Self::Restart { profile },
            V2::Reload => Self::Reload,
            V2::Shutdown => Self::Shutdown,
            V2::Detach { profile } => Self::Detach { profile },
            V2::Rescan { profile } => Self::Rescan { profile },
            V2::Release { profile } => Self::Release { profile },
            V2::Renamed { from, to } => Self::Renamed { from, to },
            V2::Renew => Self::Renew,
            V2::Apply => Self::Apply,
        }
    }
}
