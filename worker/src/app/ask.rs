//! The helper processes behind `hermes doctor --online`, `hermes setup` and `hermes model list`: they ask the provider, or the services of
//! the platforms, of one profile, print what came of it, and end. They read what a worker would read and write nothing.

use std::io::Write as _;

use hermes_config::platform::ModelRoute;
use hermes_config::{EngineKind, ProfileConfig};
use hermes_wire::contract::platform_trials::{Trial as PlatformTrial, Trials};
use hermes_wire::contract::provider_models::{Listed, Listing};
use hermes_wire::contract::provider_trial::{Outcome, Trial};
use hermes_wire::exit;
use hermes_wire::latest::Role;
use serde::Serialize;

use super::Who;
use crate::engine::native::{catalogue, probe};
use crate::load;
use crate::platform::{self, Outside};
use crate::process::Environment;
use crate::provider;

/// Stands for a model where none is chosen yet.
const ANY_MODEL: &str = "any";
/// Why nobody is asked.
const UNUSABLE: &str = "its configuration cannot be used";

/// Whether it answers; prints one line of JSON.
pub(super) async fn run(who: &Who, environment: &Environment) -> u8 {
    let nobody = |why: String| Trial {
        provider: String::new(),
        model: String::new(),
        base_url: String::new(),
        outcome: Outcome::NotAsked { why },
    };
    let trial = match config(who, environment).await {
        None => nobody(UNUSABLE.to_owned()),
        Some(config) if config.agent.engine == EngineKind::Echo => {
            nobody("the built-in echo answers".to_owned())
        }
        Some(config) if config.agent.engine == EngineKind::Acp => {
            nobody("another agent answers, which is asked with the next turn".to_owned())
        }
        Some(config) => match provider::resolve(&config, &who.home) {
            Ok(endpoint) => probe::probe(endpoint.inherits(&environment.base)).await,
            Err(e) => nobody(e.what()),
        },
    };
    print(&trial)
}

/// Which models there are, at the profile's provider or another; prints one line of JSON.
pub(super) async fn models(who: &Who, environment: &Environment, provider: Option<&str>) -> u8 {
    let nobody = |why: String| Listing {
        provider: provider.unwrap_or_default().to_owned(),
        model: None,
        base_url: String::new(),
        outcome: Listed::NotAsked { why },
    };
    let listing = match config(who, environment).await {
        None => nobody(UNUSABLE.to_owned()),
        Some(mut config) => {
            let current = Some(config.model.default.clone()).filter(|model| !model.is_empty());
            if current.is_none() {
                ANY_MODEL.clone_into(&mut config.model.default);
            }
            let own = provider::resolve(&config, &who.home);
            let asked = match provider {
                None => own.clone(),
                Some(name) => {
                    let route = ModelRoute {
                        alias: String::new(),
                        model: ANY_MODEL.to_owned(),
                        provider: Some(name.to_owned()),
                        api_key: None,
                        base_url: None,
                    };
                    // The profile's own is asked where it is, with what was configured for it.
                    match &own {
                        Ok(own) if own.provider == name => Ok(own.clone()),
                        _ => provider::routed(&config, &route, &who.home),
                    }
                }
            };
            match asked {
                Ok(endpoint) => {
                    let is_own = own.is_ok_and(|own| own.base_url == endpoint.base_url);
                    let endpoint = endpoint.inherits(&environment.base);
                    catalogue::list(endpoint, current.filter(|_| is_own)).await
                }
                Err(e) => nobody(e.to_string()),
            }
        }
    };
    print(&listing)
}

/// Whether its platforms work as they are configured; prints one line of JSON. `webhooks`: the gateway has a port on which services can
/// call, as far as somebody knows.
pub(super) async fn platforms(
    who: &Who,
    environment: &Environment,
    only: Option<&str>,
    webhooks: Option<bool>,
) -> u8 {
    let platforms = match config(who, environment).await {
        None => only.map(|name| PlatformTrial::not_asked(name, UNUSABLE)).into_iter().collect(),
        Some(config) => {
            platform::trials(
                &Outside {
                    config: &config,
                    home: &who.home,
                    inherited: &environment.base,
                    shared: &platform::Shared::default(),
                    webhooks,
                },
                only,
            )
            .await
        }
    };
    print(&Trials { platforms })
}

/// What the profile's files say.
pub(super) async fn config(who: &Who, environment: &Environment) -> Option<ProfileConfig> {
    let prepare = load::unsupervised(Role::Primary);
    load::load(&who.profile, &who.home, &prepare, environment).await.config
}

fn print(value: &impl Serialize) -> u8 {
    let Ok(text) = serde_json::to_vec(value) else { return exit::FAILURE };
    let mut out = std::io::stdout().lock();
    if out.write_all(&text).and_then(|()| out.flush()).is_ok() { exit::OK } else { exit::FAILURE }
}
