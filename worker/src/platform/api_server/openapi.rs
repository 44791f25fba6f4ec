//! `GET /openapi.json`: what the API takes and answers, as an OpenAPI 3.1 document. It needs no key, and is the same for every profile.
//!
//! Bodies here are JSON that is read by tables ([`super::params`]) and written field by field, as 0.19.0 has it; there are no types behind them
//! that a derive could describe. So the document is made of the same tables: a parameter that is added there is described here. `docs/openapi.json`
//! is a copy of it, which a test compares.

use axum::response::Response;
use hermes_wire::VERSION;
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{params, responses};
use crate::platform::wire;

pub(super) async fn document() -> Response {
    wire::json(StatusCode::OK, &whole())
}

/// One operation.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// Name of the schema of its body.
    takes: Option<&'static str>,
    status: &'static str,
    /// Name of the schema of its answer.
    gives: &'static str,
    /// It may, or does, answer with events.
    streams: bool,
    /// Parameters of its query.
    query: &'static [&'static str],
}

const BASE: Operation = Operation {
    method: "get",
    path: "",
    id: "",
    summary: "",
    takes: None,
    status: "200",
    gives: "Anything",
    streams: false,
    query: &[],
};

const fn get(path: &'static str, id: &'static str, gives: &'static str, summary: &'static str) -> Operation {
    Operation { path, id, summary, gives, ..BASE }
}

const fn post(
    path: &'static str,
    id: &'static str,
    takes: &'static str,
    gives: &'static str,
    summary: &'static str,
) -> Operation {
    Operation { method: "post", path, id, takes: Some(takes), gives, summary, ..BASE }
}

/// All of them.
const OPERATIONS: &[Operation] = &[
    get("/health", "health", "Health", "Whether the gateway serves; needs no key"),
    get("/v1/health", "health_v1", "Health", "The same"),
    get("/health/detailed", "health_detailed", "Anything", "The worker's own state"),
    get("/v1/models", "models", "List", "The profile's agent, and its aliases"),
    get("/v1/models/{id}", "model", "Model", "One of them"),
    Operation {
        query: &["refresh"],
        ..get("/api/model/options", "model_options", "ModelOptions", "Which models may be asked for")
    },
    get("/v1/capabilities", "capabilities", "Anything", "What works, for programs"),
    get("/v1/skills", "skills", "List", "The agent's skills"),
    get("/v1/toolsets", "toolsets", "List", "The agent's groups of tools"),
    Operation {
        streams: true,
        ..post("/v1/chat/completions", "chat_completions", "ChatRequest", "ChatCompletion", "An answer")
    },
    Operation {
        streams: true,
        ..post("/v1/responses", "response_create", "ResponseRequest", "Response", "A response, which is kept")
    },
    get("/v1/responses/{id}", "response", "Response", "A response that is kept"),
    Operation {
        method: "delete",
        ..get("/v1/responses/{id}", "response_delete", "Deleted", "Forgets a response")
    },
    Operation {
        query: &["limit", "order", "after"],
        ..get("/v1/responses/{id}/input_items", "response_input_items", "List", "What was new in its request")
    },
    Operation {
        status: "202",
        ..post("/v1/runs", "run_create", "RunRequest", "RunStarted", "A turn that goes on without its client")
    },
    get("/v1/runs/{id}", "run", "Run", "What is known of a run"),
    Operation {
        streams: true,
        ..get("/v1/runs/{id}/events", "run_events", "Anything", "What happens in a run")
    },
    post("/v1/runs/{id}/stop", "run_stop", "Nothing", "RunStarted", "Has a run stopped"),
    post("/v1/runs/{id}/approval", "run_approval", "Approval", "Anything", "Answers what a run asks"),
    post("/v1/runs/{id}/steer", "run_steer", "Steer", "Steered", "Tells a run something while it goes on"),
    Operation {
        query: &["limit", "offset", "source", "include_children"],
        ..get("/api/sessions", "sessions", "List", "Stored conversations, latest use first")
    },
    Operation {
        status: "201",
        ..post("/api/sessions", "session_create", "SessionRequest", "Session", "A new conversation")
    },
    get("/api/sessions/{id}", "session", "Session", "A conversation"),
    Operation {
        method: "patch",
        ..post(
            "/api/sessions/{id}",
            "session_update",
            "SessionChange",
            "Session",
            "Names or ends a conversation",
        )
    },
    Operation {
        method: "delete",
        ..get("/api/sessions/{id}", "session_delete", "Deleted", "Deletes a conversation")
    },
    get("/api/sessions/{id}/messages", "session_messages", "List", "What was said in it"),
    Operation {
        status: "201",
        ..post(
            "/api/sessions/{id}/fork",
            "session_fork",
            "ForkRequest",
            "Session",
            "A new one that goes on from it",
        )
    },
    post("/api/sessions/{id}/chat", "session_chat", "SessionChat", "SessionAnswer", "A turn in it"),
    Operation {
        streams: true,
        ..post(
            "/api/sessions/{id}/chat/stream",
            "session_chat_stream",
            "SessionChat",
            "Anything",
            "The same, as events",
        )
    },
];

/// The document.
pub(super) fn whole() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = described(operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Hermes gateway",
            "version": VERSION,
            "description": "The API of one profile. Of another than the default one it stands below `/p/<profile>`, with that profile's own key.",
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "`API_SERVER_KEY` of the profile"}},
            "schemas": schemas(),
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

fn described(operation: &Operation) -> Value {
    let mut content = json!({"application/json": {"schema": reference(operation.gives)}});
    if operation.streams {
        // The schema is that of one event.
        content["text/event-stream"] = json!({"schema": reference("Event")});
    }
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "responses": {
            operation.status: {"description": "What was asked for", "content": content},
            "default": {
                "description": "What is wrong, and where",
                "content": {"application/json": {"schema": reference("Error")}},
            },
        },
    });
    if matches!(operation.path, "/health" | "/v1/health") {
        described["security"] = json!([]);
    }
    let mut parameters: Vec<Value> = Vec::new();
    if operation.path.contains("{id}") {
        parameters.push(json!({"name": "id", "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}));
    }
    for name in operation.query {
        let schema = match *name {
            "limit" => {
                let most = if operation.path == "/api/sessions" { 200 } else { 100 };
                json!({"type": "integer", "minimum": 1, "maximum": most})
            }
            "offset" => json!({"type": "integer", "minimum": 0, "maximum": 1_000_000}),
            "order" => json!({"enum": ["asc", "desc"]}),
            _ => json!({"type": "string"}),
        };
        parameters.push(json!({"name": name, "in": "query", "required": false, "schema": schema}));
    }
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if let Some(takes) = operation.takes {
        described["requestBody"] = json!({
            "required": takes != "Nothing",
            "content": {"application/json": {"schema": reference(takes)}},
        });
    }
    described
}

/// An object of these fields, of which some must be there.
fn object(fields: &Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": fields, "required": required})
}

/// The body that a table describes.
fn table(rows: &[params::Row], required: &[&str]) -> Value {
    let mut fields = Map::new();
    for row in rows.iter().filter(|row| row.fate != params::Fate::Refused) {
        let mut field = match row.name {
            "messages" => json!({"type": "array", "minItems": 1, "items": {
                "type": "object",
                "properties": {"role": {"enum": ["system", "developer", "user", "assistant", "tool"]}},
                "required": ["role"],
            }}),
            "input" => json!({"type": ["string", "array"]}),
            "model" | "provider" | "user" | "instructions" | "previous_response_id" => {
                json!({"type": ["string", "null"]})
            }
            "store" => json!({"type": ["boolean", "null"]}),
            _ => json!({}),
        };
        field["description"] = row.note.into();
        fields.insert(row.name.to_owned(), field);
    }
    object(&Value::Object(fields), required)
}

fn schemas() -> Value {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer"});
    let list = json!({"type": "array"});
    let maybe_text = json!({"type": ["string", "null"]});
    json!({
        "Anything": {"type": "object"},
        "Nothing": {},
        "Event": object(&json!({"event": text, "id": text, "data": text}), &[]),
        "Error": object(
            &json!({"error": object(
                &json!({"message": text, "type": text, "param": maybe_text, "code": maybe_text, "hermes": {"type": "object"}}),
                &["message", "type", "code"],
            )}),
            &["error"],
        ),
        "Health": object(&json!({"status": text, "platform": text, "version": text}), &["status"]),
        "List": object(&json!({"object": {"const": "list"}, "data": list, "has_more": {"type": "boolean"}}), &["object", "data"]),
        "Model": object(&json!({"id": text, "object": {"const": "model"}, "created": number, "owned_by": text}), &["id", "object"]),
        "ModelOptions": object(
            &json!({"model": maybe_text, "provider": maybe_text, "providers": list, "aliases": list}),
            &["model", "provider", "providers", "aliases"],
        ),
        "ChatRequest": table(params::TABLE, &["messages"]),
        "ChatCompletion": object(
            &json!({"id": text, "object": {"const": "chat.completion"}, "created": number, "model": text, "choices": list, "usage": {"type": "object"}}),
            &["id", "object", "created", "model", "choices", "usage"],
        ),
        "ResponseRequest": table(responses::TABLE, &["input"]),
        "Response": object(
            &json!({
                "id": text, "object": {"const": "response"}, "created_at": number, "model": text, "output": list,
                "status": {"enum": ["completed", "failed", "in_progress", "incomplete"]},
                "error": {"type": ["object", "null"]}, "usage": {"type": ["object", "null"]},
            }),
            &["id", "object", "created_at", "model", "output", "status"],
        ),
        "Deleted": object(&json!({"id": text, "object": text, "deleted": {"const": true}}), &["id", "object", "deleted"]),
        "RunRequest": object(
            &json!({
                "input": {"type": ["string", "array"]}, "instructions": maybe_text, "session_id": maybe_text,
                "conversation_history": {"type": ["array", "null"]}, "previous_response_id": maybe_text, "model": maybe_text, "provider": maybe_text,
                "model_options": {"type": ["object", "null"]}, "user": maybe_text,
            }),
            &["input"],
        ),
        "RunStarted": object(&json!({"run_id": text, "status": text}), &["run_id", "status"]),
        "Run": object(
            &json!({"object": {"const": "hermes.run"}, "run_id": text, "status": text, "session_id": text, "pending_steer": text}),
            &["object", "run_id", "status"],
        ),
        "Approval": object(&json!({"choice": text}), &["choice"]),
        "Steer": object(&json!({"input": {"type": ["string", "array"]}}), &["input"]),
        "Steered": object(
            &json!({"object": {"const": "hermes.run.steer"}, "run_id": text, "accepted": {"const": true}, "status": text}),
            &["object", "run_id", "accepted"],
        ),
        "SessionRequest": object(
            &json!({"id": maybe_text, "session_id": maybe_text, "title": maybe_text, "model": maybe_text, "system_prompt": maybe_text}),
            &[],
        ),
        "SessionChange": object(&json!({"title": maybe_text, "end_reason": maybe_text}), &[]),
        "ForkRequest": object(&json!({"id": maybe_text, "session_id": maybe_text, "title": maybe_text}), &[]),
        "Session": object(
            &json!({"object": {"const": "hermes.session"}, "session": object(&json!({"id": text, "source": text, "title": maybe_text}), &["id", "source"])}),
            &["object", "session"],
        ),
        "SessionChat": {
            "type": "object",
            "properties": {
                "message": {"type": ["string", "array"]}, "input": {"type": ["string", "array"]},
                "system_message": maybe_text, "instructions": maybe_text,
            },
            "anyOf": [{"required": ["message"]}, {"required": ["input"]}],
        },
        "SessionAnswer": object(
            &json!({"object": {"const": "hermes.session.chat.completion"}, "session_id": text, "message": {"type": "object"}, "usage": {"type": "object"}}),
            &["object", "session_id", "message", "usage"],
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_in_the_documentation_is_the_document() {
        let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
        let copy = fs_err::read_to_string(copy).unwrap_or_default();
        let now = serde_json::to_string_pretty(&whole()).unwrap();
        assert!(copy.trim_end() == now, "docs/openapi.json must hold:\n{now}\nEND");
    }

    /// Every reference leads to a schema, and every operation has its own name.
    #[test]
    fn the_document_is_closed() {
        let document = whole();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for operation in OPERATIONS {
            assert!(operation.takes.is_none_or(|name| schemas.contains_key(name)), "{}", operation.id);
            assert!(schemas.contains_key(operation.gives), "{}", operation.id);
            assert_eq!(
                OPERATIONS.iter().filter(|other| other.id == operation.id).count(),
                1,
                "{}",
                operation.id
            );
        }
    }
}
