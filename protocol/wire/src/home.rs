//! Typed paths under a root home and under a profile's home. Nobody else joins path literals.
//!
//! `RootHome` is `~/.hermes` (or `$HERMES_HOME` of the default profile). The home of `default` is the root home itself; any
//! other profile lives in `<root>/profiles/<name>`. Nothing here touches the file system.

use camino::{Utf8Path, Utf8PathBuf};

use crate::ProfileName;

/// The root home: everything that exists once per gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootHome(Utf8PathBuf);

/// The home of one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileHome(Utf8PathBuf);

macro_rules! paths {
    ($($(#[$doc:meta])* $name:ident => $path:expr),+ $(,)?) => {
        $($(#[$doc])* pub fn $name(&self) -> Utf8PathBuf { self.0.join($path) })+
    };
}

impl RootHome {
    /// Wraps an absolute path.
    pub fn new(path: impl Into<Utf8PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub fn path(&self) -> &Utf8Path {
        &self.0
    }

    /// The home of `name`; the root itself for `default`.
    pub fn profile(&self, name: &ProfileName) -> ProfileHome {
        if name.is_default() {
            ProfileHome(self.0.clone())
        } else {
            ProfileHome(self.profiles().join(name.as_str()))
        }
    }

    /// What is there where the profile `name` was removed by a release that remembers it.
    pub fn tombstone(&self, name: &ProfileName) -> Utf8PathBuf {
        self.tombstones().join(name.as_str())
    }

    paths! {
        /// Where the homes of named profiles live.
        profiles => "profiles",
        /// One entry for every profile that was removed, by name; made by 0.21 and later.
        tombstones => "profiles/.deleted",
        /// The instance lock: locked for the supervisor's life, never unlinked.
        gateway_lock => "gateway.lock",
        /// The PID record: a hint for people and for existing readers.
        gateway_pid => "gateway.pid",
        /// Which profiles were stopped on purpose; written by the supervisor alone.
        desired_state => "gateway_desired.json",
        /// The sticky profile of the command line.
        active_profile => "active_profile",
        /// What there was before the gateways of all profiles became one.
        gateway_migration => "gateway_migration.json",
        /// Note of a newer release that it turned multiplexing on against the configuration.
        opt_out_rewritten => ".multiplex_opt_out_rewritten",
        /// The supervisor's own log.
        supervisor_log => "logs/supervisor.log",
    }
}

impl ProfileHome {
    /// Wraps an absolute path that is known to be a profile's home.
    pub fn new(path: impl Into<Utf8PathBuf>) -> Self {
        Self(path.into())
    }

    /// The directory itself.
    pub fn path(&self) -> &Utf8Path {
        &self.0
    }

    paths! {
        /// Configuration.
        config => "config.yaml",
        /// Credentials.
        env_file => ".env",
        /// The agent's identity text.
        soul => "SOUL.md",
        /// Sessions, messages, inbox.
        state_db => "state.db",
        /// Settings of older gateways, read below `config.yaml`.
        gateway_json => "gateway.json",
        /// Keys and sign-ins of the Python program.
        auth_json => "auth.json",
        /// Jobs of the Python program's scheduler.
        cron_jobs => "cron/jobs.json",
        /// Its hooks.
        hooks => "hooks",
        /// Its boards of cards; in the root home.
        kanban => "kanban",
        /// The first of them.
        kanban_db => "kanban.db",
        /// Status, written by the worker alone.
        runtime_status => "runtime_status.json",
        /// The same bytes under the name that 0.19.0's readers know.
        gateway_state => "gateway_state.json",
        /// Logs: [`log`] in it.
        logs => "logs",
        /// The worker's log.
        gateway_log => "logs/gateway.log",
        /// Warnings and errors of the worker's log again, and what it and its children print.
        error_log => "logs/gateway.error.log",
        /// What has happened to a gateway whose own home this is, and to the profiles that it serves.
        events => "logs/events.jsonl",
        /// What the files said when the profile was last well, by name.
        healthy => "logs/healthy.json",
        /// The key of the hashes in that file.
        healthy_key => HEALTHY_KEY,
        /// Mirror of the routing index for 0.19.0.
        sessions_json => "sessions/sessions.json",
        /// Where its tools work unless `terminal.cwd` says otherwise.
        workspace => "workspace",
        /// What came with messages: `images`, `audio`, `videos`, `documents`.
        cache => "cache",
        /// Who was let in to talk to its bots, and who asks.
        pairing => "platforms/pairing",
        /// The same, where older releases of the Python program have it.
        older_pairing => "pairing",
        /// Webhook routes made by command.
        webhook_subscriptions => "webhook_subscriptions.json",
        /// Scripts that webhook routes may run.
        scripts => "scripts",
        /// Lock of a standalone gateway of this profile (0.19.0, or `--force`).
        gateway_lock => "gateway.lock",
        /// PID record of a standalone gateway of this profile.
        gateway_pid => "gateway.pid",
        /// Where programs of newer Python releases ask the gateway of this home.
        gateway_socket => "gateway.sock",
        /// Where that socket is, when its path in the home would be too long.
        gateway_socket_pointer => "gateway.sock.path",
        /// Put there by a package manager that owns the configuration.
        managed_marker => ".managed",
        /// While it is there, the root home's gateway leaves this profile alone; what it holds means nothing.
        parked => PARKED,
    }

    /// Files whose presence makes a directory a profile; a bare directory is not served.
    pub fn identity_files(&self) -> [Utf8PathBuf; 6] {
        IDENTITY_FILES.map(|f| self.0.join(f))
    }
}

/// Name of a file of [`ProfileHome::logs`]: `gateway` and what else the Python program writes there.
pub fn log(name: &str) -> String {
    format!("{name}.log")
}

/// Who made a temporary file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// This process.
    Process(u32),
    /// A process of this program.
    Unknown,
}

/// Prefix of a temporary file that the process `pid` makes beside the one that it will become; the suffix is `.tmp`.
pub fn temporary_prefix(pid: u32) -> String {
    format!(".hermes-{pid}-")
}

/// Who made the temporary file of this name; `None` where it is none of this program's.
pub fn temporary(name: &str) -> Option<Writer> {
    let name = name.strip_suffix(".tmp")?;
    if let Some(rest) = name.strip_prefix(".hermes-") {
        let pid = rest.split_once('-').and_then(|(pid, _)| pid.parse().ok());
        return Some(pid.map_or(Writer::Unknown, Writer::Process));
    }
    let (file, pid) = name.rsplit_once('.')?;
    let ours = [".runtime_status.json", ".gateway_state.json", "sessions.json"].contains(&file);
    pid.parse().ok().filter(|_| ours).map(Writer::Process)
}

/// Name of the file in a home that holds the tokens of more workspaces of Slack, as the Python program writes it.
pub const SLACK_TOKENS: &str = "slack_tokens.json";

/// Name of [`ProfileHome::parked`].
pub const PARKED: &str = "gateway.parked";
/// What somebody has allowed the profile's model for good.
pub const APPROVALS: &str = "approvals.json";
/// Name of [`ProfileHome::healthy_key`].
pub const HEALTHY_KEY: &str = ".healthy.key";
/// Name of the directory [`RootHome::tombstones`] in `profiles/`.
pub const TOMBSTONES: &str = ".deleted";

/// Names of [`ProfileHome::identity_files`].
pub const IDENTITY_FILES: [&str; 6] =
    ["config.yaml", ".env", "SOUL.md", "profile.yaml", "auth.json", "state.db"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_is_the_root_and_others_live_below_profiles() {
        let root = RootHome::new("/h/.hermes");
        assert_eq!(root.profile(&ProfileName::default_profile()).path(), "/h/.hermes");
        let coder = root.profile(&"coder".parse().unwrap());
        assert_eq!(coder.config(), "/h/.hermes/profiles/coder/config.yaml");
    }
}
