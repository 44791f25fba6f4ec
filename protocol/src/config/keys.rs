//! Every key that 0.19.0 or this program reads, so that a misspelt one can be named. Sections that hold free-form maps, and
//! sections nothing here reads yet, are not looked into.

use super::catalog;
use super::reader::{At, Reader};
use crate::latest::Severity;

/// What may stand below a key.
#[derive(Debug)]
pub(super) enum Shape {
    /// Anything.
    Any,
    /// A mapping with these keys, from several lists.
    Keys(&'static [&'static [(&'static str, Shape)]]),
    /// A mapping of free names, or a list, of these.
    Each(&'static Shape),
}

use Shape::{Any, Each, Keys};

type List = &'static [(&'static str, Shape)];

static ROOT: Shape = Keys(&[ROOT_KEYS, ROOT_FREE, GATEWAY_ANYWHERE]);

const ROOT_KEYS: List = &[
    ("model", Keys(&[MODEL])),
    ("agent", Keys(&[AGENT])),
    ("gateway", Keys(&[GATEWAY, GATEWAY_ANYWHERE])),
    ("logging", Keys(&[&[("level", Any), ("max_size_mb", Any), ("backup_count", Any)]])),
    ("session_reset", Keys(&[RESET])),
    ("reset_by_platform", Each(&Keys(&[RESET]))),
    ("reset_by_type", Each(&Keys(&[RESET]))),
    ("platforms", Any),
];

/// Known, and not looked into.
const ROOT_FREE: List = &[
    ("_config_version", Any),
    ("providers", Any),
    ("custom_providers", Any),
    ("fallback_providers", Any),
    ("fallback_model", Any),
    ("credential_pool_strategies", Any),
    ("provider_routing", Any),
    ("provider", Any),
    ("base_url", Any),
    ("context_length", Any),
    ("max_turns", Any),
    ("toolsets", Any),
    ("platform_toolsets", Any),
    ("known_plugin_toolsets", Any),
    ("database", Any),
    ("terminal", Any),
    ("lsp", Any),
    ("web", Any),
    ("browser", Any),
    ("checkpoints", Any),
    ("context_file_max_chars", Any),
    ("file_read_max_chars", Any),
    ("mcp_discovery_timeout", Any),
    ("mcp_single_query_discovery_timeout", Any),
    ("mcp", Any),
    ("mcp_servers", Any),
    ("tool_output", Any),
    ("tool_loop_guardrails", Any),
    ("compression", Any),
    ("prompt_caching", Any),
    ("openrouter", Any),
    ("bedrock", Any),
    ("vertex", Any),
    ("auxiliary", Any),
    ("display", Any),
    ("dashboard", Any),
    ("desktop", Any),
    ("privacy", Any),
    ("tts", Any),
    ("stt", Any),
    ("voice", Any),
    ("human_delay", Any),
    ("context", Any),
    ("memory", Any),
    ("delegation", Any),
    ("moa", Any),
    ("prefill_messages_file", Any),
    ("skills", Any),
    ("curator", Any),
    ("honcho", Any),
    ("timezone", Any),
    ("approvals", Any),
    ("command_allowlist", Any),
    ("quick_commands", Any),
    ("personalities", Any),
    ("hooks", Any),
    ("hooks_auto_accept", Any),
    ("security", Any),
    ("cron", Any),
    ("kanban", Any),
    ("code_execution", Any),
    ("model_catalog", Any),
    ("model_aliases", Any),
    ("network", Any),
    ("sessions", Any),
    ("secrets", Any),
    ("proxy", Any),
    ("onboarding", Any),
    ("updates", Any),
    ("goals", Any),
    ("tools", Any),
    ("platform_hints", Any),
    ("plugins", Any),
    ("image_gen", Any),
    ("video_gen", Any),
    ("x_search", Any),
    ("smart_model_routing", Any),
    ("computer_use", Any),
    ("telemetry", Any),
    ("paste_collapse_threshold", Any),
    ("paste_collapse_threshold_fallback", Any),
    ("runtime", Any),
    ("attachments", Any),
    ("profiles", Any),
    ("export", Any),
    ("max_live_sessions", Any),
    ("bell_on_complete", Any),
    ("stt_enabled", Any),
    ("env", Any),
    ("nix", Any),
];

/// Keys that are read at the top level and below `gateway`.
const GATEWAY_ANYWHERE: List = &[
    ("multiplex_profiles", Any),
    ("multiplex_profile_allowlist", Any),
    ("profile_routes", Any),
    ("group_sessions_per_user", Any),
    ("thread_sessions_per_user", Any),
    ("max_concurrent_sessions", Any),
    ("streaming", Any),
    ("reset_triggers", Any),
    ("always_log_local", Any),
    ("write_sessions_json", Any),
    ("filter_silence_narration", Any),
    ("unauthorized_dm_behavior", Any),
    ("session_store_max_age_days", Any),
];

const MODEL: List = &[
    ("default", Any),
    ("model", Any),
    ("name", Any),
    ("provider", Any),
    ("base_url", Any),
    ("api_base", Any),
    ("api_key", Any),
    ("api", Any),
    ("api_mode", Any),
    ("context_length", Any),
    ("max_tokens", Any),
    ("streaming", Any),
    ("ollama_num_ctx", Any),
    ("default_headers", Any),
    ("extra_headers", Any),
    ("extra_body", Any),
    ("auth_mode", Any),
    ("entra", Any),
    ("key_env", Any),
    ("openai_runtime", Any),
    ("supports_vision", Any),
    ("reasoning_effort", Any),
    ("temperature", Any),
];

const AGENT: List = &[
    ("engine", Any),
    ("max_turns", Any),
    ("api_max_retries", Any),
    ("restart_drain_timeout", Any),
    ("gateway_timeout", Any),
    ("gateway_timeout_warning", Any),
    ("gateway_notify_interval", Any),
    ("gateway_auto_continue_freshness", Any),
    ("clarify_timeout", Any),
    ("local_stream_stale_timeout", Any),
    ("tool_use_enforcement", Any),
    ("intent_ack_continuation", Any),
    ("task_completion_guidance", Any),
    ("parallel_tool_call_guidance", Any),
    ("environment_probe", Any),
    ("environment_hint", Any),
    ("coding_context", Any),
    ("coding_instructions", Any),
    ("verify_on_stop", Any),
    ("verify_guidance", Any),
    ("max_verify_nudges", Any),
    ("service_tier", Any),
    ("image_input_mode", Any),
    ("disabled_toolsets", Any),
    ("reasoning_effort", Any),
    ("reasoning_overrides", Any),
    ("personalities", Any),
    ("personality", Any),
    ("system_prompt", Any),
    ("verbose", Any),
    ("max_tokens", Any),
    ("prefill_messages_file", Any),
    ("save_trajectories", Any),
    ("adaptive_context", Any),
    ("echo_delay_ms", Any),
];

const GATEWAY: List = &[
    // Read by this program.
    ("on_profile_error", Any),
    ("shared_env", Any),
    ("listen", Any),
    ("admin", Any),
    ("max_connections", Any),
    ("max_requests_per_profile", Any),
    ("max_body_bytes", Any),
    ("header_timeout_ms", Any),
    ("hold_ms", Any),
    ("response_timeout_ms", Any),
    ("start_timeout_ms", Any),
    ("stuck_after_ms", Any),
    ("heartbeat_ms", Any),
    // 0.19.0's.
    ("platforms", Any),
    ("platform_connect_timeout", Any),
    ("delivery_ledger", Any),
    ("strict", Any),
    ("max_inbound_media_bytes", Any),
    ("message_timestamps", Any),
    ("media_delivery_allow_dirs", Any),
    ("trust_recent_files", Any),
    ("trust_recent_files_seconds", Any),
    ("restart_loop_guard", Any),
    ("respawn_storm", Any),
    ("scale_to_zero", Any),
    ("systemd_watchdog_seconds", Any),
    ("session_reset", Keys(&[RESET])),
    ("reset_by_platform", Each(&Keys(&[RESET]))),
    ("reset_by_type", Each(&Keys(&[RESET]))),
    ("quick_commands", Any),
    ("stt_enabled", Any),
];

const RESET: List = &[
    ("mode", Any),
    ("at_hour", Any),
    ("idle_minutes", Any),
    ("notify", Any),
    ("notify_exclude_platforms", Any),
    ("bg_process_max_age_hours", Any),
];

/// Keys of every platform.
const PLATFORM: List = &[
    ("enabled", Any),
    ("token", Any),
    ("api_key", Any),
    ("home_channel", Any),
    ("reply_to_mode", Any),
    ("typing_indicator", Any),
    ("typing_status_text", Any),
    ("gateway_restart_notification", Any),
    ("channel_overrides", Any),
    ("channel_prompts", Any),
    ("channel_skill_bindings", Any),
    ("unauthorized_dm_behavior", Any),
    ("notice_delivery", Any),
    ("allow_from", Any),
    ("group_allow_from", Any),
    ("allow_admin_from", Any),
    ("user_allowed_commands", Any),
    ("group_allow_admin_from", Any),
    ("group_user_allowed_commands", Any),
    ("dm_policy", Any),
    ("group_policy", Any),
    ("require_mention", Any),
    ("free_response_channels", Any),
    ("mention_patterns", Any),
    ("reply_prefix", Any),
];

static WEBHOOK: Shape = Keys(&[PLATFORM, WEBHOOK_KEYS, &[("extra", Keys(&[PLATFORM, WEBHOOK_KEYS]))]]);

const WEBHOOK_KEYS: List = &[
    ("host", Any),
    ("port", Any),
    ("secret", Any),
    ("routes", Each(&Keys(&[ROUTE]))),
    ("rate_limit", Any),
    ("max_body_bytes", Any),
    ("script_timeout_seconds", Any),
];

const ROUTE: List = &[
    ("secret", Any),
    ("enabled", Any),
    ("events", Any),
    ("filters", Any),
    ("script", Any),
    ("prompt", Any),
    ("skills", Any),
    ("deliver", Any),
    ("deliver_extra", Any),
    ("deliver_only", Any),
    ("profile", Any),
    ("toolsets", Any),
    ("cron_job", Any),
    ("coalesce", Any),
    ("description", Any),
    ("created_at", Any),
];

static API_SERVER: Shape =
    Keys(&[PLATFORM, API_SERVER_KEYS, &[("extra", Keys(&[PLATFORM, API_SERVER_KEYS]))]]);

const API_SERVER_KEYS: List = &[
    ("host", Any),
    ("port", Any),
    ("key", Any),
    ("cors_origins", Any),
    ("model_name", Any),
    ("model_routes", Each(&Keys(&[MODEL_ROUTE]))),
    ("max_concurrent_runs", Any),
    ("direct_model_requests", Any),
];

const MODEL_ROUTE: List = &[("model", Any), ("provider", Any), ("api_key", Any), ("base_url", Any)];

/// Warns of every key that nothing reads.
pub(super) fn check(reader: &mut Reader<'_>, root: &At) {
    walk(reader, root, &ROOT);
    for platforms in [root.key("platforms"), root.key("gateway.platforms")] {
        for (name, at) in platforms.entries() {
            walk_platform(reader, &name, &at);
            if !catalog::is_platform(&name) {
                let known: Vec<_> = catalog::names().collect();
                if let Some(close) = closest(&name, known.iter().copied()) {
                    let message = format!("`{}` is not a known platform", at.path);
                    reader.warn(
                        "unknown_key",
                        reader.place(&at),
                        message,
                        &format!("Did you mean `{close}`?"),
                    );
                }
            }
        }
    }
    for parent in [root.clone(), root.key("gateway")] {
        for (name, at) in parent.entries().into_iter().filter(|(name, _)| catalog::is_platform(name)) {
            walk_platform(reader, &name, &at);
        }
    }
}

fn walk_platform(reader: &mut Reader<'_>, name: &str, at: &At) {
    match name {
        "webhook" => walk(reader, at, &WEBHOOK),
        "api_server" => walk(reader, at, &API_SERVER),
        _ => {}
    }
}

fn walk(reader: &mut Reader<'_>, at: &At, shape: &Shape) {
    match shape {
        Any => {}
        Each(inner) => {
            for below in at.entries().into_iter().map(|(_, below)| below).chain(at.items()) {
                walk(reader, &below, inner);
            }
        }
        Keys(lists) => {
            for (key, below) in at.entries() {
                let all = || lists.iter().flat_map(|list| list.iter());
                if let Some((_, inner)) = all().find(|(known, _)| *known == key) {
                    walk(reader, &below, inner);
                } else if !(is_above_platforms(at) && catalog::is_platform(&key)) {
                    let message = format!("`{}` is not a known key and is not read", below.path);
                    // A guess is not cheap: nobody reads the thousandth.
                    let full = reader.problems.is_full(Severity::Warning);
                    let guess = if full { None } else { closest(&key, all().map(|(known, _)| *known)) };
                    let fix = guess.map_or("Remove it, or correct its name.".to_owned(), |close| {
                        format!("Did you mean `{close}`?")
                    });
                    reader.warn("unknown_key", reader.place(&below), message, &fix);
                }
            }
        }
    }
}

/// Platforms may stand at the top level and below `gateway` too.
fn is_above_platforms(at: &At) -> bool {
    at.path.is_empty() || at.path == "gateway"
}

/// The known name a person most likely meant.
fn closest<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if key.len() > 64 {
        return None;
    }
    let key = key.to_ascii_lowercase().replace('-', "_");
    let limit = match key.len() {
        0..=2 => 0,
        3..=5 => 1,
        _ => 2,
    };
    let known = known.filter(|name| name.len().abs_diff(key.len()) <= limit);
    known.map(|name| (distance(&key, name), name)).filter(|(d, _)| *d <= limit).min().map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours between two short texts.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut now = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            now[j] = (last[j] + 1).min(now[j - 1] + 1).min(last[j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                now[j] = now[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, now);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_recognised_and_strangers_are_not() {
        let known = ["enabled", "routes", "rate_limit", "port"];
        let close = |key| closest(key, known.into_iter());
        assert_eq!(close("enable"), Some("enabled"));
        assert_eq!(close("ruotes"), Some("routes"));
        assert_eq!(close("rate-limit"), Some("rate_limit"));
        assert_eq!(close("Port"), Some("port"));
        assert_eq!((close("colour"), close("x"), close("")), (None, None, None));
    }
}
