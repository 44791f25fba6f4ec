//! `GET /health/detailed`: this worker's own state, checked now.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use hermes_wire::{COMPATIBLE_WITH, VERSION};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::ApiServer;
use crate::inbound::DedupKey;
use crate::platform::wire;

/// Time the store has to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Use of the disk above which it is reported, in percent.
const DISK_FULL: f64 = 95.0;

/// A check's `status` value.
fn word(good: bool) -> &'static str {
    if good { "ok" } else { "degraded" }
}

pub(super) async fn detailed(State(api): State<ApiServer>, headers: HeaderMap) -> Response {
    if let Err(error) = api.authorize(&headers) {
        return error.into_response();
    }
    wire::json(StatusCode::OK, &api.report().await)
}

impl ApiServer {
    async fn report(&self) -> Value {
        let status = self.0.status.snapshot();
        let state = status.gateway_state.as_deref().unwrap_or("unknown");
        let connected = status.platforms.values().filter(|p| p.state == "connected").count();
        let active = u64::from(self.0.turns.active());
        // What cannot be counted now is told by `state_db`.
        let runs = tokio::time::timeout(PATIENCE, self.0.turns.unfinished_runs()).await;
        let runs = runs.ok().and_then(Result::ok).unwrap_or_default();
        let approvals = tokio::time::timeout(PATIENCE, self.0.inbox.approvals()).await;
        let (pending, since) = approvals.ok().and_then(Result::ok).flatten().unzip();
        let store = self.store_answers().await;
        let model = status.degraded_reason.is_none();
        let provider = status.last_error.is_none();
        let (disk, disk_good) = self.disk();
        let running = state == "running";
        let good = store && model && provider && disk_good && running;
        json!({
            "status": word(good),
            "readiness": {
                "status": if good { "ready" } else { "degraded" },
                "checks": {
                    "state_db": {"status": word(store)},
                    // A worker whose configuration has an error does not serve.
                    "config": {"status": "ok"},
                    "model": {"status": word(model), "reason": status.degraded_reason},
                    "provider": {"status": word(provider), "last_error": status.last_error},
                    "disk": disk,
                    "gateway": {
                        "status": word(running),
                        "state": state,
                        "connected_platforms": connected,
                        "platforms": status.platforms.len(),
                    },
                    "background_queues": {
                        "status": "ok",
                        "active_api_runs": self.active_runs() + runs,
                        "process_completions": 0,
                        "active_delegations": 0,
                    },
                },
            },
            "platform": "hermes-agent",
            "version": VERSION,
            "compatible_with": COMPATIBLE_WITH,
            "profile": self.0.profile.name.as_str(),
            "gateway_state": state,
            "platforms": status.platforms,
            "tool_servers": status.tool_servers,
            "key_pools": status.key_pools,
            "inbox": status.inbox.unwrap_or_default(),
            "approvals": {"pending": pending.unwrap_or(0), "since": since.map(crate::clock::at)},
            "active_agents": active,
            "gateway_busy": active > 0,
            "gateway_drainable": running,
            "exit_reason": status.exit_reason,
            "degraded_reason": status.degraded_reason,
            "last_error": status.last_error,
            "updated_at": status.updated_at,
            "pid": std::process::id(),
        })
    }

    /// Whether the writer thread answers a question in time.
    async fn store_answers(&self) -> bool {
        let key = DedupKey { scope: "health".to_owned(), id: "probe".to_owned() };
        let probe = self.0.inbox.is_known(super::NAME, &key);
        matches!(tokio::time::timeout(PATIENCE, probe).await, Ok(Ok(_)))
    }

    fn disk(&self) -> (Value, bool) {
        let Ok(disk) = nix::sys::statvfs::statvfs(self.0.home.path().as_std_path()) else {
            return (json!({"status": "degraded", "used_percent": null, "free_bytes": null}), false);
        };
        let (total, free) = (wide(disk.blocks()), wide(disk.blocks_available()));
        #[expect(clippy::cast_precision_loss, reason = "a percentage with one digit needs no more")]
        let used = if total == 0 { 0.0 } else { 100.0 * (1.0 - free as f64 / total as f64) };
        let good = used < DISK_FULL;
        let used = (used * 10.0).round() / 10.0;
        let free_bytes = free.saturating_mul(wide(disk.fragment_size()));
        (json!({"status": word(good), "used_percent": used, "free_bytes": free_bytes}), good)
    }
}

/// Counts have other widths elsewhere.
fn wide(count: impl Into<u64>) -> u64 {
    count.into()
}
