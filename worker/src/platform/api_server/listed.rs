//! What the agent of this profile has: skills and groups of tools; and jobs, which it has none of yet.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hermes_host::blocking;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::error::ApiError;
use super::request::{lost, tell};
use super::{ApiServer, NAME};
use crate::platform::{REGISTRY, wire};
use crate::skills::Library;
use crate::tools::catalogue;

pub(super) async fn skills(State(api): State<ApiServer>, headers: HeaderMap) -> Response {
    tell(api.skills(&headers).await)
}

pub(super) async fn toolsets(State(api): State<ApiServer>, headers: HeaderMap) -> Response {
    tell(api.toolsets(&headers).await)
}

/// There is no clock for jobs; said as 0.19.0 says it.
pub(super) async fn jobs(State(api): State<ApiServer>, headers: HeaderMap) -> Response {
    match api.authorize(&headers) {
        Ok(()) => wire::json(StatusCode::NOT_IMPLEMENTED, &json!({"error": "Cron module not available"})),
        Err(error) => error.into_response(),
    }
}

impl ApiServer {
    async fn skills(&self, headers: &HeaderMap) -> Result<Value, ApiError> {
        self.authorize(headers)?;
        let (home, config) = (self.0.home.clone(), std::sync::Arc::clone(&self.0.profile));
        let found = blocking::run(move || Library::new(&home, &config).usable(NAME))
            .await
            .map_err(|error| lost(&error))?;
        let mut listed: Vec<(String, String, Value)> = found
            .into_iter()
            .map(|skill| {
                let category = skill.category();
                let description = skill.front.description.clone().unwrap_or_default();
                let told = json!({"name": skill.name, "description": description, "category": category});
                (category, skill.name, told)
            })
            .collect();
        listed.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let data: Vec<Value> = listed.into_iter().map(|(_, _, told)| told).collect();
        Ok(json!({"object": "list", "data": data}))
    }

    async fn toolsets(&self, headers: &HeaderMap) -> Result<Value, ApiError> {
        self.authorize(headers)?;
        let (home, config) = (self.0.home.clone(), std::sync::Arc::clone(&self.0.profile));
        let data = blocking::run(move || {
            let reaches = |platform: &str| REGISTRY.find(platform).is_some_and(|declared| declared.target);
            let groups = catalogue::groups(&config, &home, reaches);
            let told = groups.into_iter().map(|group| {
                let is_offered = catalogue::judge(&config.toolsets, &group, NAME).is_ok();
                let description = group.lacks.unwrap_or_default();
                json!({
                    "name": group.name, "label": group.name, "description": description,
                    "enabled": is_offered, "configured": group.lacks.is_none(), "tools": group.tools,
                })
            });
            told.collect::<Vec<Value>>()
        });
        let data = data.await.map_err(|error| lost(&error))?;
        Ok(json!({"object": "list", "platform": NAME, "data": data}))
    }
}
