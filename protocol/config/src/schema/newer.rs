//! Keys that came after 0.19.0 and mean nothing to this program: those of homes whose configuration has a version from 34 on. They
//! are kept as they are, nothing warns of them, and `hermes doctor` names those that a file sets ([`crate::newer`]).
//!
//! A key that this program reads stands in [`super::read`] under every name that it ever had. Of sections that nobody looks into
//! (kind [`Kind::Any`]) only those keys stand here that change what a user sees: which model a job runs on, when a conversation is
//! shortened.

use super::Key;
use super::Kind::{self, Any, Bool, Int, Number, Seconds, Text};
use crate::row::newer;

const YEAR: Kind = Seconds(31_536_000);

const fn anywhere(path: &'static str, also: &'static [&'static str], kind: Kind) -> Key {
    Key { also, ..newer(path, kind) }
}

pub(super) static NEWER: &[Key] = &[
    newer("session", Any),
    newer("auth", Any),
    newer("loops", Any),
    newer("wake_word", Any),
    newer("bot_mode", Any),
    newer("model_overrides", Any),
    newer("models_dev", Any),
    newer("monitoring", Any),
    newer("doctor", Any),
    newer("known_builtin_toolsets", Any),
    newer("context_file_read_timeout", Number),
    newer("model.reasoning_echo", Bool),
    newer("model.key_cmd", Text),
    newer("agent.budget_warning_ratio", Number),
    newer("agent.run_budget_seconds", YEAR),
    newer("agent.gateway_turn_lease_timeout", YEAR),
    newer("agent.agent_cache", Any),
    newer("agent.cron_drain_timeout", YEAR),
    newer("agent.restart_after_turn_timeout", YEAR),
    newer("agent.build_wait_timeout", YEAR),
    newer("agent.empty_response_guard", Any),
    newer("agent.fast_auto_seconds", YEAR),
    newer("agent.execution_guidance", Any),
    newer("agent.stall_guards", Bool),
    newer("agent.bot_mode_protocol", Bool),
    newer("agent.session_stall_timeout", YEAR),
    newer("agent.sanitizer_heal_escalation_threshold", Int(0, 1_000_000)),
    newer("agent.reconnect_attention_after", YEAR),
    newer("agent.gateway_startup_restore_drain_timeout", YEAR),
    newer("agent.gateway_startup_warmup_timeout", YEAR),
    newer("agent.reasoning_echo", Bool),
    newer("agent.turn_liveness", Any),
    newer("compression.threshold_tokens", Int(0, 100_000_000)),
    newer("cron.model", Text),
    newer("cron.model_provider", Text),
    newer("cron.catch_up_missed", Bool),
    // Under its older name it was documented and never read.
    anywhere("gateway.auto_multiplex_migration", &["gateway.auto_migrate"], Bool),
    newer("gateway.signal_interrupt_grace_timeout", YEAR),
    newer("gateway.loop_watchdog", Bool),
    newer("gateway.loop_watchdog_probe_interval_s", YEAR),
    newer("gateway.loop_watchdog_probe_timeout_s", YEAR),
    newer("gateway.loop_watchdog_max_strikes", Int(1, 1_000_000)),
    newer("gateway.startup_watchdog", Bool),
    newer("gateway.startup_watchdog_timeout_seconds", YEAR),
    newer("gateway.bot_loop_guard", Any),
    newer("gateway.trust_env", Bool),
    newer("gateway.relay_url", Text),
    newer("gateway.relay_id", Text),
    newer("gateway.relay_secret", Text).secret(),
    newer("gateway.relay_delivery_key", Text).secret(),
    newer("gateway.relay_inbound_host", Text),
    newer("gateway.relay_inbound_port", Int(0, 65_535)),
    newer("platforms.api_server.history_tool_output_max_chars", Int(0, 1_000_000_000)),
];
