//! `GET /api/model/options`: which models this profile may be asked for, for front ends that offer a choice.
//!
//! The profile's own provider is asked for its list, which is kept for [`FRESH`]; `refresh=1` asks again. Of the other providers that the profile has a
//! key for, what the files name is told, and nobody is asked. Keys and addresses are told of none.
//!
//! One request asks at a time, and the others wait for what it hears; a list that cannot be had is said in `warning`, and asked for again
//! after [`FAILED`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Query, State};
use axum::response::Response;
use hermes_config::platform::ModelRoute;
use hermes_config::{EngineKind, ProfileConfig};
use hermes_host::{blocking, clock};
use hermes_wire::ProfileHome;
use hermes_wire::contract::provider_models::Listed;
use hermes_wire::providers::{TABLE, Wire};
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::ApiServer;
use super::error::ApiError;
use super::request::{is_on, lost, tell};
use crate::engine::native::catalogue;
use crate::provider::{self, Endpoint, NO_KEY, ProviderError};

/// How long a list is good.
const FRESH: Duration = Duration::from_hours(1);
/// After how long a list is asked for again that could not be had.
const FAILED: Duration = Duration::from_mins(1);
/// Stands for a model where only its provider is asked about.
const ANY_MODEL: &str = "any";

/// The ids of a provider's models, or why they are not known.
type Heard = Result<Vec<String>, String>;

/// What the profile's provider said last.
#[derive(Debug, Default)]
pub(super) struct Offers(Mutex<Option<(Instant, Heard)>>);

impl Offers {
    async fn of(&self, endpoint: Endpoint, refresh: bool) -> Heard {
        let mut known = self.0.lock().await;
        let now = clock::now();
        if let Some((at, outcome)) = known.as_ref().filter(|_| !refresh) {
            let good = if outcome.is_ok() { FRESH } else { FAILED };
            if now.saturating_duration_since(*at) < good {
                return outcome.clone();
            }
        }
        let outcome: Heard = match catalogue::list(endpoint, None).await.outcome {
            Listed::Models(models) => Ok(models.into_iter().map(|model| model.id).collect()),
            Listed::Fails { message: why, .. } | Listed::NotAsked { why } => Err(why),
        };
        *known = Some((clock::now(), outcome.clone()));
        outcome
    }
}

pub(super) async fn options(
    State(api): State<ApiServer>,
    query: Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let refresh = query.iter().any(|(name, value)| name == "refresh" && is_on(Some(&json!(value))));
    tell(api.model_options(refresh, &headers).await)
}

/// A provider that is not the profile's own.
#[derive(Debug, PartialEq, Eq)]
struct Other {
    name: String,
    is_declared: bool,
    /// Those of its models that the files name.
    models: BTreeSet<String>,
}

/// What the files say: where turns go, and who else could be asked.
fn said(config: &ProfileConfig, home: &ProfileHome) -> (Result<Endpoint, ProviderError>, Vec<Other>) {
    let own = provider::resolve(config, home);
    let own_name = own.as_ref().map_or_else(|_| String::new(), |endpoint| endpoint.provider.clone());
    let reached = |name: &str| {
        let route = ModelRoute {
            model: ANY_MODEL.to_owned(),
            provider: Some(name.to_owned()),
            ..ModelRoute::default()
        };
        provider::routed(config, &route, home).ok()
    };
    let declared = config.providers.iter().filter(|provider| provider.enabled);
    let declared = declared.map(|provider| (provider.name.as_str(), true));
    let built_in = TABLE.iter().filter(|row| !matches!(row.wire, Wire::Other(_))).map(|row| (row.id, false));
    let mut others: Vec<Other> = Vec::new();
    for (name, is_declared) in declared.chain(built_in) {
        let Some(found) = reached(name) else { continue };
        let is_known = found.provider == own_name || others.iter().any(|other| other.name == found.provider);
        // A server of one's own that nobody names is not one that is there.
        if is_known || (!is_declared && found.key.expose() == NO_KEY) {
            continue;
        }
        let of_it = |name: Option<&str>| name.is_some_and(|name| name.eq_ignore_ascii_case(&found.provider));
        let mut models = BTreeSet::new();
        models.extend(
            config.providers.iter().filter(|p| of_it(Some(&p.name))).filter_map(|p| p.default_model.clone()),
        );
        models.extend(
            config.fallbacks.iter().filter(|m| of_it(m.provider.as_deref())).map(|m| m.default.clone()),
        );
        models.remove("");
        others.push(Other { name: found.provider, is_declared, models });
    }
    (own, others)
}

fn row(name: &str, models: &[String], is_own: bool, is_declared: bool) -> Value {
    json!({
        "slug": name,
        "name": name,
        "models": models,
        "total_models": models.len(),
        "is_current": is_own,
        "is_user_defined": is_declared,
        "source": if is_declared { "user-config" } else { "built-in" },
        "authenticated": true,
    })
}

impl ApiServer {
    async fn model_options(&self, refresh: bool, headers: &HeaderMap) -> Result<Value, ApiError> {
        self.authorize(headers)?;
        let routes = self.0.config.model_routes.iter();
        let aliases: Vec<Value> = routes
            .map(|route| json!({"alias": route.alias, "model": route.model, "provider": route.provider}))
            .collect();
        if self.0.profile.agent.engine != EngineKind::Native {
            // There is no model that could be chosen.
            return Ok(json!({"model": null, "provider": null, "providers": [], "aliases": aliases}));
        }
        let (profile, home) = (Arc::clone(&self.0.profile), self.0.home.clone());
        let found = blocking::run(move || said(&profile, &home)).await;
        let (own, others) = found.map_err(|error| lost(&error))?;
        let mut providers = Vec::new();
        let (mut model, mut provider) = (Value::Null, Value::Null);
        if let Ok(own) = own {
            let own = own.inherits(&self.0.inherited);
            (model, provider) = (own.model.as_str().into(), own.provider.as_str().into());
            let (name, current) = (own.provider.clone(), own.model.clone());
            let is_declared = self.0.profile.providers.iter().any(|p| p.name.eq_ignore_ascii_case(&name));
            let offered = self.0.offers.of(own, refresh).await;
            let warning =
                offered.as_ref().err().map(|why| format!("Its list of models could not be had: {why}"));
            let mut models = offered.unwrap_or_default();
            if !current.is_empty() && !models.contains(&current) {
                models.insert(0, current);
            }
            let mut own = row(&name, &models, true, is_declared);
            if let Some(warning) = warning {
                own["warning"] = warning.into();
            }
            providers.push(own);
        }
        for Other { name, is_declared, models } in others {
            let models: Vec<String> = models.into_iter().collect();
            providers.push(row(&name, &models, false, is_declared));
        }
        Ok(json!({"model": model, "provider": provider, "providers": providers, "aliases": aliases}))
    }
}

#[cfg(test)]
mod tests {
    use hermes_config::{Model, Provider, Secret};

    use super::*;

    fn declared(name: &str, enabled: bool) -> Provider {
        Provider {
            name: name.to_owned(),
            base_url: Some("https://models.example/v1".to_owned()),
            api_key: Some(Secret::new("k-0123456789")),
            default_model: Some(format!("{name}-1")),
            enabled,
            ..Provider::default()
        }
    }

    /// Whom the profile could ask is told, with what its files name; who is off or has no key is not.
    #[test]
    fn other_providers_are_those_that_can_be_asked() {
        let home = ProfileHome::new("/h");
        let mut config = ProfileConfig::new("coder".parse().unwrap());
        config.model.default = "big".to_owned();
        config.model.provider = Some("mine".to_owned());
        config.providers = vec![declared("mine", true), declared("lab", true), declared("off", false)];
        config.fallbacks =
            vec![Model { default: "small".to_owned(), provider: Some("lab".to_owned()), ..Model::default() }];
        let (own, others) = said(&config, &home);
        let own = own.unwrap();
        assert_eq!((own.model.as_str(), own.provider.as_str()), ("big", "mine"));
        let lab = Other {
            name: "lab".to_owned(),
            is_declared: true,
            models: BTreeSet::from(["lab-1".to_owned(), "small".to_owned()]),
        };
        assert_eq!(others, [lab]);
    }
}
