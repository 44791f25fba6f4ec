//! What clients ask first: which models there are, and what this server can do.

use axum::extract::{Path, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::ApiServer;
use super::error::ApiError;
use super::request::{Id, tell};
use super::{params, responses};
use crate::platform::wire;

impl ApiServer {
    /// The model of a profile: its agent. Its aliases are the same agent with another model behind it.
    fn models(&self) -> Vec<Value> {
        let own = &self.0.config.model_name;
        let aliases = self.0.config.model_routes.iter().filter(|route| route.alias != *own);
        let model = |(id, root): (&String, &String)| {
            let parent = (id != own).then_some(own);
            json!({
                "id": id, "object": "model", "created": self.0.started, "owned_by": "hermes",
                "permission": [], "root": root, "parent": parent,
            })
        };
        let aliases = aliases.map(|route| (&route.alias, &route.model));
        std::iter::once((own, own)).chain(aliases).map(model).collect()
    }
}

pub(super) async fn list(State(api): State<ApiServer>, headers: HeaderMap) -> Response {
    tell(api.authorize(&headers).map(|()| json!({"object": "list", "data": api.models()})))
}

pub(super) async fn one(State(api): State<ApiServer>, id: Id, headers: HeaderMap) -> Response {
    tell(api.authorize(&headers).and_then(|()| {
        let Path(id) = id.map_err(|_| ApiError::not_found("No such model: its name is no text"))?;
        if let Some(model) = api.models().into_iter().find(|model| model["id"] == *id) {
            return Ok(model);
        }
        let message = format!("The model '{}' does not exist", wire::first_chars(&id, 256));
        Err(ApiError::new(StatusCode::NOT_FOUND, "invalid_request_error", message)
            .param("model")
            .code("model_not_found"))
    }))
}

pub(super) async fn capabilities(State(api): State<ApiServer>, headers: HeaderMap) -> Response {
    tell(api.authorize(&headers).map(|()| {
        json!({
            "object": "hermes.api_server.capabilities",
            "platform": "hermes-agent",
            "model": api.0.config.model_name,
            "auth": {"type": "bearer", "required": true},
            "runtime": {
                "mode": "server_agent",
                "tool_execution": "server",
                "split_runtime": false,
                "description": "The agent of one profile answers; its sessions are kept on the server.",
            },
            "features": api.features(),
            "parameters": params::listed(api.0.turns.takes_options()),
            "response_parameters": params::listed_of(responses::TABLE, api.0.turns.takes_options()),
            "endpoints": {
                "health": {"method": "GET", "path": "/health"},
                "openapi": {"method": "GET", "path": "/openapi.json"},
                "health_detailed": {"method": "GET", "path": "/health/detailed"},
                "models": {"method": "GET", "path": "/v1/models"},
                "model": {"method": "GET", "path": "/v1/models/{id}"},
                "model_options": {"method": "GET", "path": "/api/model/options"},
                "runs": {"method": "POST", "path": "/v1/runs"},
                "run_status": {"method": "GET", "path": "/v1/runs/{run_id}"},
                "run_events": {"method": "GET", "path": "/v1/runs/{run_id}/events"},
                "run_stop": {"method": "POST", "path": "/v1/runs/{run_id}/stop"},
                "run_approval": {"method": "POST", "path": "/v1/runs/{run_id}/approval"},
                "run_steer": {"method": "POST", "path": "/v1/runs/{run_id}/steer"},
                "capabilities": {"method": "GET", "path": "/v1/capabilities"},
                "responses": {"method": "POST", "path": "/v1/responses"},
                "response": {"method": "GET", "path": "/v1/responses/{response_id}"},
                "response_delete": {"method": "DELETE", "path": "/v1/responses/{response_id}"},
                "response_input_items": {"method": "GET", "path": "/v1/responses/{response_id}/input_items"},
                "skills": {"method": "GET", "path": "/v1/skills"},
                "toolsets": {"method": "GET", "path": "/v1/toolsets"},
                "sessions": {"method": "GET", "path": "/api/sessions"},
                "session_create": {"method": "POST", "path": "/api/sessions"},
                "session": {"method": "GET", "path": "/api/sessions/{session_id}"},
                "session_update": {"method": "PATCH", "path": "/api/sessions/{session_id}"},
                "session_delete": {"method": "DELETE", "path": "/api/sessions/{session_id}"},
                "session_messages": {"method": "GET", "path": "/api/sessions/{session_id}/messages"},
                "session_fork": {"method": "POST", "path": "/api/sessions/{session_id}/fork"},
                "session_chat": {"method": "POST", "path": "/api/sessions/{session_id}/chat"},
                "session_chat_stream": {"method": "POST", "path": "/api/sessions/{session_id}/chat/stream"},
                "chat_completions": {"method": "POST", "path": "/v1/chat/completions"},
            },
        })
    }))
}

impl ApiServer {
    /// Every feature clients may look for; `true` is what works.
    fn features(&self) -> Value {
        let has_model = self.0.turns.takes_options();
        let cors = !self.0.config.cors_origins.is_empty();
        json!({
            "chat_completions": true,
            "chat_completions_streaming": true,
            "client_tools": has_model,
            "responses_api": true,
            "responses_streaming": true,
            "run_submission": true,
            "run_status": true,
            "run_events_sse": true,
            "run_stop": true,
            "run_steer": self.0.turns.is_steered(),
            "runs_idempotency": {"supported": true, "durable": true, "retention_seconds": 86_400},
            "run_approval_response": has_model,
            "tool_progress_events": false,
            "approval_events": has_model,
            "session_resources": true,
            "session_chat": true,
            "session_chat_streaming": true,
            "session_fork": true,
            "skills_api": true,
            "admin_config_rw": false,
            "jobs_admin": false,
            "memory_write_api": false,
            "audio_api": false,
            "realtime_voice": false,
            "session_continuity_header": "X-Hermes-Session-Id",
            "session_key_header": "X-Hermes-Session-Key",
            "cors": cors,
        })
    }
}
