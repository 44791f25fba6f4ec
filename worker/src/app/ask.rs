//! The helper process behind `hermes doctor --online`: asks the provider of one profile, prints what came of it, and ends. It
//! reads what a worker would read and writes nothing.

use std::io::Write as _;

use hermes_config::EngineKind;
use hermes_wire::contract::provider_trial::{Outcome, Trial};
use hermes_wire::exit;
use hermes_wire::latest::{Prepare, Role};

use super::Who;
use crate::engine::native::probe;
use crate::load;
use crate::process::Environment;
use crate::provider;

/// The whole life; prints one line of JSON.
pub(super) async fn run(who: &Who, environment: &Environment) -> u8 {
    let prepare = Prepare {
        claim_key: [0; 32],
        generation: 0,
        role: Role::Primary,
        multiplex: None,
        listeners: Vec::new(),
        supervisor_pid: 0,
        restarts: 0,
        heartbeat_ms: 0,
    };
    let loaded = load::load(&who.profile, &who.home, &prepare, environment).await;
    let nobody = |why: String| Trial {
        provider: String::new(),
        model: String::new(),
        base_url: String::new(),
        outcome: Outcome::NotAsked { why },
    };
    let trial = match loaded.config {
        None => nobody("its configuration cannot be used".to_owned()),
        Some(config) if config.agent.engine == EngineKind::Echo => {
            nobody("the built-in echo answers".to_owned())
        }
        Some(config) => match provider::resolve(&config, &who.home) {
            Ok(endpoint) => probe::probe(endpoint.inherits(&environment.base)).await,
            Err(e) => nobody(e.what()),
        },
    };
    let Ok(text) = serde_json::to_vec(&trial) else { return exit::FAILURE };
    let mut out = std::io::stdout().lock();
    if out.write_all(&text).and_then(|()| out.flush()).is_ok() { exit::OK } else { exit::FAILURE }
}
