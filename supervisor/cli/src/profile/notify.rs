//! Tells a running gateway what happened on disk. The disk operation is complete whether or not anybody listens; the gateway's
//! own watch would see it a moment later.

use std::time::Duration;

use hermes_gateway::client::{Client, ClientError, Hold, Outcome};
use hermes_wire::latest::ClientRequest;
use hermes_wire::{ProfileName, RootHome};

use crate::home::Surroundings;

/// Time for a worker to drain, start and become ready.
const LIMIT: Duration = Duration::from_secs(180);

/// What a gateway said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// None runs.
    Nobody,
    /// Its line.
    Done(String),
    /// Why it could not.
    Failed(String),
}

impl Told {
    /// For programs: whether a gateway was told, and what it said.
    pub(crate) fn json(&self) -> serde_json::Value {
        match self {
            Self::Nobody => serde_json::Value::Null,
            Self::Done(line) => serde_json::json!({ "done": true, "message": line }),
            Self::Failed(why) => serde_json::json!({ "done": false, "message": why }),
        }
    }

    /// The line to print, if there is anything to say.
    pub(crate) fn line(&self) -> Option<String> {
        match self {
            Self::Nobody => None,
            Self::Done(line) => Some(format!("✓ Gateway: {line}")),
            Self::Failed(why) => Some(format!("⚠ Gateway: {why}")),
        }
    }
}

/// Asks the gateway to look, and to say when `profile` is served.
pub(crate) fn announce(root: &RootHome, env: &Surroundings, profile: &ProfileName) -> Told {
    tell(root, env, &ClientRequest::Rescan { profile: Some(profile.clone()) })
}

/// Tells the gateway that a released home has another name.
pub(crate) fn renamed(root: &RootHome, env: &Surroundings, from: &ProfileName, to: &ProfileName) -> Told {
    tell(root, env, &ClientRequest::Renamed { from: from.clone(), to: to.clone() })
}

fn tell(root: &RootHome, env: &Surroundings, request: &ClientRequest) -> Told {
    let answer =
        Client::connect(root.path(), &env.sockets).and_then(|client| client.ask(request, LIMIT, |_| {}));
    match answer {
        Err(ClientError::NobodyThere { .. }) => Told::Nobody,
        Err(e) => Told::Failed(format!("{e}; {}", e.hint())),
        Ok(Outcome::Done(line)) => Told::Done(line),
        Ok(Outcome::Refused { message, .. }) => Told::Failed(message),
    }
}

/// Takes a profile out of service until the hold is dropped. `None`: no gateway runs.
pub(crate) fn release(
    root: &RootHome,
    env: &Surroundings,
    profile: &ProfileName,
) -> Result<Option<Hold>, ClientError> {
    let client = match Client::connect(root.path(), &env.sockets) {
        Err(ClientError::NobodyThere { .. }) => return Ok(None),
        other => other?,
    };
    client.hold(&ClientRequest::Release { profile: profile.clone() }, LIMIT).map(Some)
}
