//! The environment a worker is started with: empty, plus this allow-list, plus what is named explicitly.
//!
//! A forgotten variable must fail closed, so the list says what passes and never what is removed.

/// Variables that pass by exact name.
pub const ALLOWED: [&str; 24] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TZ",
    "TMPDIR",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "LANGUAGE",
    MANAGED_DIR,
    LOCK_DIR,
];

/// Variables that pass by prefix.
pub const ALLOWED_PREFIXES: [&str; 2] = ["LC_", "XDG_"];

/// Home of the worker's profile.
pub const HERMES_HOME: &str = "HERMES_HOME";
/// Name of the worker's profile.
pub const HERMES_PROFILE: &str = "HERMES_PROFILE";
/// Number of inherited descriptors, starting at 3 (the `sd_listen_fds` convention; `LISTEN_PID` cannot be known before the
/// fork and is left out).
pub const LISTEN_FDS: &str = "LISTEN_FDS";
/// Names of the inherited descriptors, colon separated: `data:control:road`.
pub const LISTEN_FDNAMES: &str = "LISTEN_FDNAMES";
/// Where an administrator's `config.yaml` and `.env` are, which win over every profile's.
pub const MANAGED_DIR: &str = "HERMES_MANAGED_DIR";
/// The same where the variable is not set.
pub const DEFAULT_MANAGED_DIR: &str = "/etc/hermes";
/// Where gateways of this machine tell each other which bots they use, in place of the user's own state directory.
pub const LOCK_DIR: &str = "HERMES_GATEWAY_LOCK_DIR";
/// Listening sockets that a gateway hands to the program it becomes: its process id, then `descriptor=address` for each.
pub const LISTENERS: &str = "HERMES_LISTENERS";
/// The socket for newer Python programs that a gateway hands to the program it becomes: its process id, the descriptor, device and inode of its name.
pub const GATEWAY_SOCKET: &str = "HERMES_GATEWAY_SOCKET";
/// What a gateway hands to the program it becomes, workers and all: its process id, then the descriptor of the document.
pub const HANDOVER: &str = "HERMES_HANDOVER";
/// Why the program that a gateway had become could not go on as it, for the program before, which it became again.
pub const RETURNED: &str = "HERMES_RETURNED";
/// Set in a worker that only reports what it finds and is ended then: it writes nothing into its home.
pub const EXAMINED: &str = "HERMES_EXAMINED";
/// Set in a gateway that a command has started in the background: it has no terminal that could hang up, and no sticky profile is followed.
pub const DETACHED: &str = "HERMES_GATEWAY_DETACHED";
/// Set in a gateway that another program starts again when it ends.
pub const EXTERNAL_SUPERVISOR: &str = "HERMES_GATEWAY_EXTERNAL_SUPERVISOR";
/// Overrides `gateway.multiplex_profiles`; read by the supervisor from its own environment, and from `.env` by `default`.
pub const MULTIPLEX: &str = "GATEWAY_MULTIPLEX_PROFILES";

/// Limit of open files that a worker sets for itself, and so for what it starts: its gateway has raised its own.
pub const OPEN_FILES: &str = "HERMES_OPEN_FILES";

/// Whether `name` passes from the supervisor's environment into a worker's.
pub fn is_allowed(name: &str) -> bool {
    ALLOWED.contains(&name) || ALLOWED_PREFIXES.iter().any(|p| name.starts_with(p))
}

/// Whether `name` may be listed in `gateway.shared_env`. Bot tokens, API-server keys and webhook secrets identify one
/// profile; sharing one would undo what the gateway is for.
pub fn may_be_shared(name: &str) -> bool {
    let valid = !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    let reserved = matches!(
        name,
        HERMES_HOME
            | HERMES_PROFILE
            | LISTEN_FDS
            | LISTEN_FDNAMES
            | LISTENERS
            | GATEWAY_SOCKET
            | HANDOVER
            | RETURNED
            | EXAMINED
            | DETACHED
            | EXTERNAL_SUPERVISOR
            | OPEN_FILES
            | "LISTEN_PID"
    );
    valid
        && !reserved
        && !name.ends_with("_BOT_TOKEN")
        && name != "API_SERVER_KEY"
        && !(name.contains("WEBHOOK") && name.contains("SECRET"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unlisted_passes() {
        assert!(is_allowed("PATH") && is_allowed("LC_ALL") && is_allowed("XDG_RUNTIME_DIR"));
        for secret in ["OPENAI_API_KEY", "API_SERVER_KEY", "HERMES_HOME", "LD_PRELOAD", "PYTHONPATH", "path"]
        {
            assert!(!is_allowed(secret), "{secret}");
        }
    }

    #[test]
    fn identities_of_one_profile_cannot_be_shared() {
        assert!(may_be_shared("OPENAI_API_KEY"));
        for no in [
            "TELEGRAM_BOT_TOKEN",
            "API_SERVER_KEY",
            "WEBHOOK_SECRET",
            "A=B",
            "",
            "1X",
            "HERMES_HOME",
            LISTENERS,
        ] {
            assert!(!may_be_shared(no), "{no}");
        }
    }
}
