//! What belongs to a profile, and what to one process, one machine or one identity: the one table that copying, exporting and
//! importing share.
//!
//! Names are those of 0.19.0's homes and of ours. A name decides where it stands at the top of a home, so that a skill may bring
//! a `Cargo.lock` or a `bin/` of its own; only what no process ever wants kept (`*.sock`, `*.tmp`, hidden locks, compiled Python) is known
//! by its name alone at any depth.

use camino::Utf8Path;
use hermes_wire::home::SLACK_TOKENS;
use hermes_worker::REGISTRY;

use super::logins::is_login;

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

const PROCESS: [&str; 17] = [
    hermes_wire::endpoint::IN_HOME,
    "gateway.pid",
    "gateway.lock",
    "gateway.sock.path",
    "gateway_state.json",
    "gateway_desired.json",
    hermes_wire::home::PARKED,
    hermes_wire::home::HEALTHY_KEY,
    "runtime_status.json",
    "processes.json",
    "cron.pid",
    "auth.lock",
    "gateway-starts.log",
    ".clean_shutdown",
    "state",
    // Of homes from 0.20 on.
    "gateway_migration.json",
    ".multiplex_opt_out_rewritten",
];

const HISTORY: [&str; 8] = [
    "sessions",
    "backups",
    "state-snapshots",
    "checkpoints",
    ".hermes_history",
    ".hermes_terminal_history",
    "kanban",
    "terminal-sessions",
];

const CACHE: [&str; 14] = [
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
    ".scratch_tip_shown",
    ".update_check",
    ".tirith-install-failed",
];

const INFRASTRUCTURE: [&str; 12] = [
    "profiles",
    "active_profile",
    "hermes-agent",
    ".worktrees",
    "bin",
    "node_modules",
    "models",
    "runtimes",
    "node",
    "installs",
    "tools",
    ".managed",
];

/// `auth.json` also as the end of `.anthropic_oauth.json`.
const CREDENTIAL: [&str; 5] =
    ["auth.json", ".op.env", "webhook_subscriptions.json", "google_token.json", SLACK_TOKENS];
const CREDENTIAL_DIRECTORIES: [&str; 6] =
    ["pairing", "platforms", "auth", "mcp-tokens", "google_chat_user_tokens", "browser-profile"];

/// What a bot and nobody else needs: whom it knows, how it is reached. Comes along with the channels of a profile.
const OF_BOTS: [&str; 6] = [
    "pairing",
    "platforms",
    "webhook_subscriptions.json",
    SLACK_TOKENS,
    "google_chat_user_tokens",
    "channel_directory.json",
];

/// What an archive of `default` takes from the top of its home, which may be anybody's directory: the names of 0.19.0, and those
/// of this program. Databases only with the history.
const OF_DEFAULT: [&str; 31] = [
    "config.yaml",
    "SOUL.md",
    "MEMORY.md",
    "USER.md",
    "AGENTS.md",
    "CLAUDE.md",
    ".cursorrules",
    "todo.json",
    "system_prompt.md",
    "profile.yaml",
    "distribution.yaml",
    "honcho.json",
    "mcp.json",
    ".no-bundled-skills",
    "skills",
    "skins",
    "hooks",
    "plans",
    "plugins",
    "scripts",
    "cron",
    "sessions",
    "memories",
    "knowledge",
    "preferences",
    "state.db",
    "hermes_state.db",
    "response_store.db",
    "kanban.db",
    "goals.db",
    "memory.db",
];

/// Files that an archive may bring although none is ever written into one: somebody put them there on purpose.
pub(crate) const BROUGHT: [&str; 2] = [".env", "auth.json"];

/// What an archive is asked to hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope {
    /// The home is that of `default`.
    pub(crate) default: bool,
    /// Sessions and databases too.
    pub(crate) history: bool,
}

/// What becomes of an entry of a home in its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    /// Out, as the contract says of its class; needs no mention.
    Out,
    /// Out: it is a login.
    Login,
    /// Out: it stands in the home of `default` and is nothing of a profile.
    Foreign,
}

/// Whether the entry at `path` goes into an archive.
pub(crate) fn verdict(path: &Utf8Path, scope: Scope) -> Verdict {
    let class = class_of(path);
    if !is_wanted(class, path, scope.history) {
        return Verdict::Out;
    }
    let top = path.components().next().map(|c| c.as_str()).unwrap_or_default();
    if scope.default && !top.is_empty() && !OF_DEFAULT.contains(&top) {
        Verdict::Foreign
    } else if is_login(path) {
        Verdict::Login
    } else {
        Verdict::Taken
    }
}

fn is_wanted(class: Class, path: &Utf8Path, history: bool) -> bool {
    match class {
        Class::Content => true,
        Class::Identity => is_job(path, history),
        Class::Database => history && !is_sidecar(path.as_str()),
        Class::History => history && path.starts_with("sessions"),
        Class::Process | Class::Cache | Class::Infrastructure | Class::Credential => false,
    }
}

/// Whether the entry at `path` is taken out of an archive. Whoever packed logins meant to.
pub(crate) fn is_imported(path: &Utf8Path, history: bool) -> bool {
    is_wanted(class_of(path), path, history) || BROUGHT.contains(&path.as_str())
}

/// Whether the entry at `path` belongs to a bot: by its name, or because it is called after a platform (`whatsapp_session`).
pub(crate) fn is_of_bots(path: &Utf8Path) -> bool {
    let top = path.components().next().map(|c| c.as_str()).unwrap_or_default();
    let of_platform = |platform: &str| {
        top.strip_prefix(platform).is_some_and(|rest| rest.starts_with('_') && rest.len() > 1)
    };
    OF_BOTS.contains(&top) || REGISTRY.all().any(|platform| of_platform(platform.name))
}

/// Whether the entry at `path` is in a copy of everything. With its `channels` a profile's bots keep their files.
pub(crate) fn is_copied(path: &Utf8Path, channels: bool) -> bool {
    let class = class_of(path);
    if is_of_bots(path) { channels && class != Class::Process } else { class == Class::Content }
}

/// Scheduled jobs and what belongs to them: not the locks of their scheduler, and what they did only with the history.
fn is_job(path: &Utf8Path, history: bool) -> bool {
    let Ok(below) = path.strip_prefix("cron") else { return false };
    let name = below.components().next().map(|c| c.as_str()).unwrap_or_default();
    if is_database(name) {
        return history && !is_sidecar(name);
    }
    match name {
        "output" => history,
        _ => {
            !name.starts_with('.')
                && !name.starts_with("ticker_")
                && !has_ending(Utf8Path::new(name), &["lock", "pid"])
        }
    }
}

/// A part of a database that means nothing without the moment it was written in.
pub(crate) fn is_sidecar(name: &str) -> bool {
    SIDECARS.iter().any(|suffix| name.ends_with(suffix))
}

/// Ends of the names of such parts.
pub(crate) const SIDECARS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// What the entry at `path`, relative to a home, is. An entry below one that is not content is what that one is.
pub(crate) fn class_of(path: &Utf8Path) -> Class {
    let mut parts = path.components().map(|c| c.as_str());
    let Some(top) = parts.next() else { return Class::Content };
    if path.components().any(|c| c.as_str() == "__pycache__") || has_ending(path, &["pyc", "pyo"]) {
        return Class::Cache;
    }
    let name = path.file_name().unwrap_or_default();
    let lock = path.extension() == Some("lock") && (name.starts_with('.') || top == "memories");
    if has_ending(path, &["sock", "tmp"]) || lock {
        return Class::Process;
    }
    if PROCESS.contains(&top) || top.starts_with(super::staging::PREFIX) {
        return Class::Process;
    }
    // Copies that editors and people leave beside a file hold what it holds.
    if CREDENTIAL.iter().any(|name| top.contains(name)) || top.contains(".env") {
        return Class::Credential;
    }
    if HISTORY.contains(&top) || (top.contains("config.yaml") && top != "config.yaml") {
        return Class::History;
    }
    if CACHE.contains(&top) {
        return Class::Cache;
    }
    if INFRASTRUCTURE.contains(&top) {
        return Class::Infrastructure;
    }
    if CREDENTIAL_DIRECTORIES.contains(&top) {
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
    let stem = SIDECARS.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
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
                "gateway.run gateway.run/x gateway.pid gateway.lock gateway_state.json runtime_status.json processes.json cron.pid auth.lock gateway-starts.log .clean_shutdown x.sock y.pid z.lock w.tmp state state/x memories/MEMORY.md.lock skills/.hub.lock gateway_desired.json gateway.parked gateway.sock gateway.sock.path gateway_migration.json state.db.fts_rebuild.lock",
            ),
            (
                Class::Database,
                "state.db hermes_state.db response_store.db state.db-wal state.db-shm response_store.db-journal kanban.db",
            ),
            (
                Class::History,
                "sessions sessions/sessions.json backups state-snapshots checkpoints kanban/logs/x .hermes_history .hermes_terminal_history config.yaml.bak.20260101_000000 config.yaml~ .config.yaml.swp #config.yaml#",
            ),
            (
                Class::Cache,
                "logs logs/gateway.log errors.log image_cache audio_cache document_cache browser_screenshots cache sandboxes channel_directory.json provider_models_cache.json .update_check .tirith-install-failed __pycache__ skills/a/__pycache__/x.bin skills/a/x.pyc skills/a/x.pyo",
            ),
            (
                Class::Infrastructure,
                "profiles active_profile hermes-agent .worktrees bin bin/x node_modules models runtimes node .managed installs installs/x tools tools/python/bin/x",
            ),
            (
                Class::Credential,
                ".env .env.bak .env~ .env-old env.env.save .op.env auth.json auth.json.old webhook_subscriptions.json.bak pairing pairing/telegram.json platforms webhook_subscriptions.json tls.pem ssh.key .anthropic_oauth.json auth/google_oauth.json mcp-tokens/x.json google_chat_user_tokens/x",
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

    #[test]
    fn files_of_bots_come_with_their_channels_and_without_them_not() {
        for path in [
            "pairing/telegram.json",
            "platforms/x",
            "webhook_subscriptions.json",
            "whatsapp_session/x",
            "telegram_state.json",
        ] {
            let path = Utf8Path::new(path);
            assert!(is_copied(path, true) && !is_copied(path, false), "{path}");
        }
        for path in ["workspace/telegram_x", "skills/email/SKILL.md", "email", "line", "webhook_", "tooling"]
        {
            assert!(is_copied(Utf8Path::new(path), false), "{path}");
        }
        for path in [
            "platforms/bridge.sock",
            "auth/x",
            "cron/jobs.json",
            "state.db",
            "tools/x",
            "cache",
            "gateway.parked",
        ] {
            assert!(!is_copied(Utf8Path::new(path), true), "{path}");
        }
        let out = |path: &str| {
            let scope = Scope { default: false, history: true };
            verdict(Utf8Path::new(path), scope) == Verdict::Out && !is_imported(Utf8Path::new(path), true)
        };
        assert!(["installs/x", "tools/x", "cache/x"].into_iter().all(out));
    }

    #[test]
    fn what_goes_into_an_archive() {
        let exported = |path: &str, history| {
            verdict(Utf8Path::new(path), Scope { default: false, history }) == Verdict::Taken
        };
        for path in [
            "config.yaml",
            "skills/x/.env",
            "cron",
            "cron/jobs.json",
            "cron/scripts/x",
            "home/notes",
            "home/.config/nvim/init.lua",
        ] {
            assert!(exported(path, false), "{path}");
        }
        for path in ["state.db", "sessions/x", "cron/output/x", "cron/executions.db"] {
            assert!(!exported(path, false) && exported(path, true), "{path}");
        }
        for path in [
            ".env",
            "auth.json",
            "state.db-wal",
            "cron/.jobs.lock",
            "cron/ticker_heartbeat",
            "cron/executions.db-wal",
            "home/.ssh",
            "home/.env",
            "logs/x",
            "backups/x",
            "pairing",
        ] {
            assert!(!exported(path, true), "{path}");
        }
        assert!(is_imported(Utf8Path::new(".env"), false) && !is_imported(Utf8Path::new(".env.bak"), false));
    }

    /// Wires 12: the home of `default` may be the user's own.
    #[test]
    fn of_default_only_what_belongs_to_a_profile() {
        let verdict = |path: &str, history| verdict(Utf8Path::new(path), Scope { default: true, history });
        for path in
            ["", "config.yaml", "SOUL.md", "skills/a/SKILL.md", "cron/jobs.json", "hooks/x", "memories"]
        {
            assert_eq!(verdict(path, false), Verdict::Taken, "{path}");
        }
        for path in [
            ".ssh",
            ".aws",
            ".gnupg",
            ".netrc",
            ".kube",
            "projects",
            "Documents",
            "workspace",
            "home",
            ".claude.json",
        ] {
            assert_eq!(verdict(path, true), Verdict::Foreign, "{path}");
        }
        assert_eq!(
            (verdict("sessions/x", true), verdict("state.db", true)),
            (Verdict::Taken, Verdict::Taken)
        );
        assert_eq!((verdict("mine.db", true), verdict("mine.db", false)), (Verdict::Foreign, Verdict::Out));
    }
}
