//! The models that a provider offers, by its own list, on request. Its key goes to its own address, and what comes is bounded.

use std::time::Duration;

use hermes_wire::contract::provider_models::{Listed, Listing, Offered};
use hermes_wire::providers::Wire;
use serde_json::Value;

use super::exchange::{body_of, brief, cleaned, refused, unsent};
use super::retry::Failure;
use super::wire::headers;
use super::{client, lenient};
use crate::provider::{Endpoint, Fault};

/// Time that the request has.
const PATIENCE: Duration = Duration::from_secs(20);
/// Most of a list that is read; the longest there is has some 500 models and 1 MB.
const MAX_LIST: usize = 8 * 1024 * 1024;
/// Most models that are shown.
const MAX_MODELS: usize = 5000;
/// Longest name, in characters.
const MAX_NAME: usize = 200;

/// Asks. `current`: the model that turns use, where they go to this provider.
pub(crate) async fn list(endpoint: Endpoint, current: Option<String>) -> Listing {
    let outcome = match ask(&endpoint).await {
        Ok(models) => Listed::Models(models),
        Err(failure) => {
            let Failure { fault, status, message, .. } = cleaned(failure, &endpoint);
            Listed::Fails { class: fault.code().to_owned(), code: status, message: brief(message) }
        }
    };
    Listing { provider: endpoint.provider.clone(), model: current, base_url: endpoint.shown_url(), outcome }
}

async fn ask(endpoint: &Endpoint) -> Result<Vec<Offered>, Failure> {
    let setup = |e: &dyn std::fmt::Display| Failure::new(Fault::Setup, e.to_string());
    let client = client::build(endpoint, Some(PATIENCE)).map_err(|e| setup(&e))?;
    let mut url = endpoint.models_url();
    if endpoint.wire == Wire::Messages {
        // It gives twenty where nobody says how many.
        url.query_pairs_mut().append_pair("limit", "1000");
    }
    let request = client.get(url).timeout(PATIENCE).headers(headers(endpoint).map_err(|e| setup(&e))?);
    let response = request.send().await.map_err(|e| unsent(&e, endpoint))?;
    if !response.status().is_success() {
        return Err(refused(response, endpoint).await);
    }
    let body = body_of(response, MAX_LIST).await;
    let garbled = || Failure::new(Fault::Garbled, "what it answers is no list of models".to_owned());
    let list = lenient::from_body(&body).ok_or_else(garbled)?;
    models(&list.value).ok_or_else(garbled)
}

/// The models of a list, in the order of their ids. `None`: it is none.
fn models(list: &Value) -> Option<Vec<Offered>> {
    let items = list.get("data").or_else(|| list.get("models")).unwrap_or(list).as_array()?;
    let mut all: Vec<Offered> = items.iter().filter_map(offered).take(MAX_MODELS).collect();
    all.sort_by(|a, b| a.id.cmp(&b.id));
    all.dedup_by(|a, b| a.id == b.id);
    Some(all)
}

fn offered(item: &Value) -> Option<Offered> {
    let text = |keys: &[&str]| {
        let found = keys.iter().find_map(|key| item.get(*key)?.as_str());
        found.map(|text| text.trim().chars().filter(|c| !c.is_control()).take(MAX_NAME).collect::<String>())
    };
    let id = item.as_str().map(str::to_owned).or_else(|| text(&["id", "model", "name"]))?;
    let name = text(&["display_name", "name"]).filter(|name| *name != id && !name.is_empty());
    let keys = ["context_length", "context_window", "max_input_tokens", "max_context_length"];
    let context = keys.iter().find_map(|key| item.get(*key)?.as_u64());
    (!id.is_empty()).then_some(Offered { id, name, context })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_every_kind_are_read() {
        let ids =
            |list: &Value| models(list).map(|all| all.into_iter().map(|model| model.id).collect::<Vec<_>>());
        let both = Some(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(
            ids(&json!({"object": "list", "data": [{"id": "b"}, {"id": "a"}, {"id": "a"}, {"x": 1}]})),
            both
        );
        assert_eq!(ids(&json!({"models": [{"name": "a"}, {"model": "b"}]})), both);
        assert_eq!(ids(&json!(["a", "b"])), both);
        assert_eq!(ids(&json!({"error": "no"})), None);
        let all = models(&json!({"data": [{"id": "a", "display_name": "A\u{7}", "context_length": 8000}]}))
            .unwrap();
        assert_eq!(all, [Offered { id: "a".to_owned(), name: Some("A".to_owned()), context: Some(8000) }]);
    }
}
