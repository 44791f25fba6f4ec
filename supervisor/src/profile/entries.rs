//! What belongs to a profile, and what to one process, one machine or one identity: the one table that copying, exporting and
//! importing share.
//!
//! Names are those of 0.19.0's homes and of ours. A name decides where it stands at the top of a home, so that a skill may bring
//! a `Cargo.lock` or a `bin/` of its own; only what no process ever wants kept (`*.sock`, `*.tmp`, compiled Python) is known
//! by its name alone at any depth.

use camino::Utf8Path;

/// What an entry of a home is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The profile's own: configuration, persona, skills, memories, everything not named here.
    Content,
    /// Of a running process: locks, PID records, sockets, status.
    Process,
    /// A database or a part of one; a plain copy of it while somebody writes is torn.
    Database,
    /// What was said and done before.
    History,
    /// Logs and what can be made again.
    Cache,
    /// Of the installation, not of the profile.
    Infrastructure,
    /// Keys, tokens, pairings.
    Credential,
    /// Acts in the name of this one profile; a second one would act twice.
    Identity,
}

const PROCESS: [&str; 11] = [
    "gateway.pid",
    "gateway.lock",
    "gateway_state.json",
    "gateway_desired.json",
    "runtime_status.json",
    "processes.json",
    "cron.pid",
    "auth.lock",
    "gateway-starts.log",
    ".clean_shutdown",
    "state",
];

const HISTORY: [&str; 5] = ["sessions", "backups", "state-snapshots", "checkpoints", ".hermes_history"];

const CACHE: [&str; 13] = [
    "logs",
    "errors.log",
    "image_cache",
    "audio_cache",
    "document_cache",
    "browser_screenshots",
    "cache",
    "sandboxes",
    "channel_directory.json",
    "provider_models_cache.json",
    ".skills_prompt_snapshot.json",
    ".update_check",
    ".tirith-install-failed",
];

const INFRASTRUCTURE: [&str; 10] = [
    "profiles",
    "active_profile",
    "hermes-agent",
    ".worktrees",
    "bin",
    "node_modules",
    "models",
    "runtimes",
    "node",
    ".managed",
];

const CREDENTIAL: [&str; 4] = ["auth.json", "pairing", "platforms", "webhook_subscriptions.json"];

/// What the entry at `path`, relative to a home, is. An entry below one that is not content is what that one is.
pub(crate) fn class_of(path: &Utf8Path) -> Class {
    let mut parts = path.components().map(|c| c.as_str());
    let Some(top) = parts.next() else { return Class::Content };
    if path.components().any(|c| c.as_str() == "__pycache__") || has_ending(path, &["pyc", "pyo"]) {
        return Class::Cache;
    }
    if has_ending(path, &["sock", "tmp"]) {
        return Class::Process;
    }
    if PROCESS.contains(&top) || top.starts_with(super::staging::PREFIX) {
        return Class::Process;
    }
    if HISTORY.contains(&top) || top.starts_with("config.yaml.bak") {
        return Class::History;
    }
    if CACHE.contains(&top) {
        return Class::Cache;
    }
    if INFRASTRUCTURE.contains(&top) {
        return Class::Infrastructure;
    }
    if CREDENTIAL.contains(&top) || top == ".env" || top.starts_with(".env.") || top == ".op.env" {
        return Class::Credential;
    }
    if top == "cron" && parts.next().is_some() {
        return Class::Identity;
    }
    let top = Utf8Path::new(top);
    if is_database(top.as_str()) {
        return Class::Database;
    }
    if has_ending(top, &["pem", "key"]) {
        return Class::Credential;
    }
    if has_ending(top, &["pid", "lock"]) {
        return Class::Process;
    }
    Class::Content
}

fn is_database(name: &str) -> bool {
    let stem =
        ["-wal", "-shm", "-journal"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    [".db", ".sqlite", ".sqlite3"].iter().any(|ending| stem.ends_with(ending))
}

fn has_ending(path: &Utf8Path, endings: &[&str]) -> bool {
    path.extension().is_some_and(|e| endings.contains(&e)) && path.file_stem().is_some_and(|s| !s.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(path: &str) -> Class {
        class_of(Utf8Path::new(path))
    }

    #[test]
    fn every_name_of_the_contract_has_its_class() {
        for (class_, names) in [
            (
                Class::Process,
                "gateway.pid gateway.lock gateway_state.json runtime_status.json processes.json cron.pid auth.lock gateway-starts.log .clean_shutdown x.sock y.pid z.lock w.tmp state state/x gateway_desired.json",
            ),
            (
                Class::Database,
                "state.db hermes_state.db response_store.db state.db-wal state.db-shm response_store.db-journal kanban.db",
            ),
            (
                Class::History,
                "sessions sessions/sessions.json backups state-snapshots checkpoints .hermes_history config.yaml.bak.20260101_000000",
            ),
            (
                Class::Cache,
                "logs logs/gateway.log errors.log image_cache audio_cache document_cache browser_screenshots cache sandboxes channel_directory.json provider_models_cache.json .update_check .tirith-install-failed __pycache__ skills/a/__pycache__/x.bin skills/a/x.pyc skills/a/x.pyo",
            ),
            (
                Class::Infrastructure,
                "profiles active_profile hermes-agent .worktrees bin bin/x node_modules models runtimes node .managed",
            ),
            (
                Class::Credential,
                ".env .env.bak .op.env auth.json pairing pairing/telegram.json platforms webhook_subscriptions.json tls.pem ssh.key",
            ),
            (Class::Identity, "cron/jobs.json cron/output/x"),
            (
                Class::Content,
                "config.yaml SOUL.md profile.yaml skills skills/a/SKILL.md memories/MEMORY.md cron home workspace/Cargo.lock skills/a/bin/run skills/a/uv.lock skills/a/data.db skills/a/server.pem .pem plugins/x mcp.json distribution.yaml",
            ),
        ] {
            for name in names.split(' ') {
                assert_eq!(class(name), class_, "{name}");
            }
        }
        assert_eq!(class_of(Utf8Path::new("")), Class::Content);
    }
}
