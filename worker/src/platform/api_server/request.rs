//! What requests for a turn have in common: their body, the model they name, and what makes two of them the same.

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::ApiServer;
use super::error::ApiError;
use super::replay::Fingerprint;
use crate::platform::wire::{BodyError, read_body};

/// Largest request body.
pub(super) const MAX_BODY: u64 = 10_000_000;
/// Longest model name that is echoed, in characters.
const MAX_MODEL: usize = 256;

/// The body of a request.
pub(super) async fn body(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    read_body(headers, body, MAX_BODY).await.map_err(|error| match error {
        BodyError::TooLarge => ApiError::too_large(MAX_BODY),
        BodyError::Broken => ApiError::invalid("Request body ended early"),
        BodyError::Coding => ApiError::unknown_coding(),
        BodyError::Undecodable => ApiError::invalid("Request body is not what its Content-Encoding says"),
    })
}

/// The model that a client names, and the alias of `model_routes` that it is, if it is one.
pub(super) fn model(api: &ApiServer, named: Option<Value>) -> Result<(String, Option<String>), ApiError> {
    let model = match named {
        None | Some(Value::Null) => api.0.config.model_name.clone(),
        Some(Value::String(model)) if model.chars().count() <= MAX_MODEL => model,
        Some(_) => return Err(ApiError::invalid("'model' must be a string").param("model")),
    };
    let route = api.0.config.model_routes.iter().find(|route| route.alias == model);
    let route = route.map(|route| route.alias.clone());
    Ok((model, route))
}

/// Everything that makes two requests the same: the whole body, and the session headers.
pub(super) fn fingerprint(
    fields: &Map<String, Value>,
    model: &str,
    id: Option<&str>,
    key: Option<&str>,
) -> Fingerprint {
    let mut hash = Sha256::new();
    // Compact JSON of the body as sent, so two spellings of one request are equal but for the order of keys.
    let body = serde_json::to_vec(fields).unwrap_or_default();
    for part in
        [&body[..], model.as_bytes(), id.unwrap_or_default().as_bytes(), key.unwrap_or_default().as_bytes()]
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_cover_body_model_and_session_headers() {
        let fields = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let base = fingerprint(&fields(r#"{"messages": [1]}"#), "m", None, None);
        assert_eq!(base, fingerprint(&fields(r#"{ "messages":[1] }"#), "m", None, None));
        for other in [
            fingerprint(&fields(r#"{"messages": [2]}"#), "m", None, None),
            fingerprint(&fields(r#"{"messages": [1]}"#), "n", None, None),
            fingerprint(&fields(r#"{"messages": [1]}"#), "m", Some("s"), None),
            fingerprint(&fields(r#"{"messages": [1]}"#), "m", None, Some("s")),
        ] {
            assert_ne!(base, other);
        }
    }
}
