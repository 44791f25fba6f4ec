//! Which of the two files a key belongs to: 0.19.0's rule, and the variables this program reads by name.

use super::path::KeyPath;
use super::platform::Registry;
use super::schema;

/// Variables without a telling end, of 0.19.0's list.
const LISTED: [&str; 9] = [
    "VOICE_TOOLS_OPENAI_KEY",
    "FIRECRAWL_API_URL",
    "FIRECRAWL_GATEWAY_URL",
    "TOOL_GATEWAY_DOMAIN",
    "TOOL_GATEWAY_SCHEME",
    "TOOL_GATEWAY_USER_TOKEN",
    "BROWSERBASE_PROJECT_ID",
    "FAL_KEY",
    "SUDO_PASSWORD",
];

/// Keys of `terminal` that programs of 0.19.0 read from `.env`, and the variable.
const MIRRORED: [(&str, &str); 15] = [
    ("backend", "TERMINAL_ENV"),
    ("modal_mode", "TERMINAL_MODAL_MODE"),
    ("docker_image", "TERMINAL_DOCKER_IMAGE"),
    ("singularity_image", "TERMINAL_SINGULARITY_IMAGE"),
    ("modal_image", "TERMINAL_MODAL_IMAGE"),
    ("daytona_image", "TERMINAL_DAYTONA_IMAGE"),
    ("docker_mount_cwd_to_workspace", "TERMINAL_DOCKER_MOUNT_CWD_TO_WORKSPACE"),
    ("docker_run_as_host_user", "TERMINAL_DOCKER_RUN_AS_HOST_USER"),
    ("timeout", "TERMINAL_TIMEOUT"),
    ("sandbox_dir", "TERMINAL_SANDBOX_DIR"),
    ("persistent_shell", "TERMINAL_PERSISTENT_SHELL"),
    ("container_cpu", "TERMINAL_CONTAINER_CPU"),
    ("container_memory", "TERMINAL_CONTAINER_MEMORY"),
    ("container_disk", "TERMINAL_CONTAINER_DISK"),
    ("container_persistent", "TERMINAL_CONTAINER_PERSISTENT"),
];

/// The variable of `.env` that a key names; `None`: it is one of `config.yaml`.
pub fn variable(registry: &'static Registry, path: &KeyPath) -> Option<String> {
    let typed = path.single()?;
    let name = typed.to_ascii_uppercase();
    let by_form = name.ends_with("_API_KEY") || name.ends_with("_TOKEN") || name.starts_with("TERMINAL_SSH");
    if by_form || LISTED.contains(&name.as_str()) || is_read(registry, &name) {
        return Some(name);
    }
    // `TELEGRAM_ALLOWED_USERS`: written as variables are, and of a platform.
    let of_platform = typed == name && super::platform_of_variable(registry, &name).is_some();
    of_platform.then_some(name)
}

/// Variables that this program reads by name, although they would be keys of `config.yaml` in 0.19.0.
fn is_read(registry: &'static Registry, name: &str) -> bool {
    schema::variables(registry).any(|(variable, _)| variable == name)
        || registry.variables().any(|(variable, _)| variable == name)
}

/// The variable that says the same as a key of `terminal`, for programs that read only that.
pub fn mirror(path: &KeyPath) -> Option<&'static str> {
    match path.texts().as_slice() {
        ["terminal", key] => MIRRORED.iter().find(|(name, _)| name == key).map(|(_, variable)| *variable),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<String> {
        variable(&crate::REGISTRY, &KeyPath::parse(text).unwrap())
    }

    #[test]
    fn secrets_go_to_the_env_file_and_settings_do_not() {
        for (key, name) in [
            ("foo_token", "FOO_TOKEN"),
            ("openrouter_api_key", "OPENROUTER_API_KEY"),
            ("OPENAI_API_KEY", "OPENAI_API_KEY"),
            ("terminal_ssh_host", "TERMINAL_SSH_HOST"),
            ("fal_key", "FAL_KEY"),
            ("sudo_password", "SUDO_PASSWORD"),
            ("api_server_key", "API_SERVER_KEY"),
            ("WEBHOOK_SECRET", "WEBHOOK_SECRET"),
            ("session_idle_minutes", "SESSION_IDLE_MINUTES"),
            ("TELEGRAM_ALLOWED_USERS", "TELEGRAM_ALLOWED_USERS"),
            ("BAD-X_TOKEN", "BAD-X_TOKEN"),
        ] {
            assert_eq!(of(key).as_deref(), Some(name), "{key}");
        }
        for key in [
            "telegram.bot_token",
            "LD_PRELOAD",
            "model.api_key",
            "\"foo_token\"",
            "timezone",
            "webhook",
            "telegram_allowed_users",
            "api_key",
            "token",
        ] {
            assert_eq!(of(key), None, "{key}");
        }
    }

    #[test]
    fn terminal_keys_have_a_mirror() {
        let mirror = |text| mirror(&KeyPath::parse(text).unwrap());
        assert_eq!(mirror("terminal.backend"), Some("TERMINAL_ENV"));
        assert_eq!((mirror("terminal.cwd"), mirror("terminal"), mirror("x.backend")), (None, None, None));
    }
}
