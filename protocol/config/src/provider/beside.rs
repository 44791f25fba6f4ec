//! Who does a job beside the conversation, or a part of it.

use hermes_wire::ProfileHome;
use hermes_wire::providers::Wire;
use serde_json::json;

use super::super::auxiliary::{Auxiliary, Task};
use super::super::{Model, ProfileConfig};
use super::{Endpoint, ProviderError, resolve};

/// Who does a job beside the conversation; `None`: the profile's own model does it.
pub fn auxiliary(
    config: &ProfileConfig,
    task: Task,
    home: &ProfileHome,
) -> Option<Result<Endpoint, ProviderError>> {
    beside(config, config.auxiliary.of(task)?, home)
}

/// Whom sub-agents ask (`delegation.model` and its neighbours); `None`: the model that their turn has.
pub fn delegation(config: &ProfileConfig, home: &ProfileHome) -> Option<Result<Endpoint, ProviderError>> {
    beside(config, &config.children_ask, home)
}

fn beside(
    config: &ProfileConfig,
    auxiliary: &Auxiliary,
    home: &ProfileHome,
) -> Option<Result<Endpoint, ProviderError>> {
    let own = &config.model;
    let model = match (&auxiliary.provider, &auxiliary.base_url) {
        (None, None) => Model {
            default: auxiliary.model.clone().unwrap_or_else(|| own.default.clone()),
            api_key: auxiliary.api_key.clone().or_else(|| own.api_key.clone()),
            api_mode: auxiliary.api_mode.clone().or_else(|| own.api_mode.clone()),
            context_length: own.context_length.filter(|_| auxiliary.model.is_none()),
            ..own.clone()
        },
        (provider, address) => {
            let provider = provider.clone().or_else(|| Some("custom".to_owned()));
            // The same server may well serve the same model; another one need not.
            let is_own = provider.as_ref() == own.provider.as_ref() && address.is_none();
            let default = auxiliary.model.clone().or_else(|| is_own.then(|| own.default.clone()));
            Model {
                default: default.unwrap_or_default(),
                base_url: address.clone().or_else(|| own.base_url.clone().filter(|_| is_own)),
                api_key: auxiliary.api_key.clone().or_else(|| own.api_key.clone().filter(|_| is_own)),
                api_mode: auxiliary.api_mode.clone().or_else(|| own.api_mode.clone().filter(|_| is_own)),
                provider,
                caches_an_hour: own.caches_an_hour,
                ..Model::default()
            }
        }
    };
    if !auxiliary.is_elsewhere() && auxiliary.extra_body.is_empty() && auxiliary.reasoning_effort.is_none() {
        return None;
    }
    let found = resolve(&ProfileConfig { model, ..config.clone() }, home);
    Some(found.map(|mut endpoint| {
        if let Some(effort) = &auxiliary.reasoning_effort {
            let (field, value) = match endpoint.wire {
                Wire::Responses => ("reasoning", json!({ "effort": effort })),
                Wire::Messages => ("output_config", json!({ "effort": effort })),
                Wire::Chat | Wire::Other(_) => ("reasoning_effort", json!(effort)),
            };
            endpoint.extra_body.insert(field.to_owned(), value);
        }
        endpoint.extra_body.extend(auxiliary.extra_body.clone());
        endpoint
    }))
}
